"""What PostgreSQL can do, and how it says it.

What has no exact form here runs in Python, and `explain()` says so: folding, regular expressions of another kind,
words without an index, numbers inside JSON (which it compares as decimals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.codecs import item_encoder
from heaven_core.handlers import Handler, HandlerContext, Key, NotServed, QueryFragment
from heaven_core.ops import JsonGet, Op
from heaven_core.patterns import parse_like
from heaven_core.schema import FieldSchema
from heaven_core.sql import NEVER, Dialect, Sql, after_prefix, column
from heaven_core.sql import handlers as sql_handlers
from heaven_core.text import tokens
from heaven_core.types import Array, LogicalType, Vector, canonical_json
from heaven_postgres.statements import INDEXED_CHARS, ending, words_column

BACKEND = "postgres"
FEW_ITEMS = 8
_SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "="}


class PostgresDialect(Dialect):
    """PostgreSQL 14 and later."""

    backend = BACKEND

    def among(self, expression: str, values: Sequence[Any]) -> Sql:
        return (f"{expression} = any(?)", (list(values),)) if values else NEVER

    # equality --------------------------------------------------------------------------------------------------

    def eq(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return super().eq(field, _no_number(field, argument), strategy)

    def ne(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return super().ne(field, _no_number(field, argument), strategy)

    def in_(self, field: FieldSchema, argument: Sequence[Any], strategy: str) -> Sql:
        return super().in_(field, [_no_number(field, one) for one in argument], strategy)

    # text ------------------------------------------------------------------------------------------------------

    def ends_with(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        if not argument:
            return f"{column(field)} is not null", ()
        if strategy == "suffix-index" and len(argument) <= INDEXED_CHARS:
            return _between(ending(column(field)), argument[::-1])
        return f"right({column(field)}, {len(argument)}) = ?", (argument,)

    def contains(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"strpos({column(field)}, ?) > 0", (argument,)

    def contained_in(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        if not isinstance(field.dtype, Array):
            return f"strpos(?, {column(field)}) > 0", (argument,)
        return f"{_items(field)} <@ ?::jsonb", (_json(field, argument),)

    def like(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        parse_like(argument)  # refuses what no pattern is
        return f"{column(field)} like ? escape '\\'", (argument,)

    def match(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        wanted = list(dict.fromkeys(tokens(argument)))
        return (f"t.{words_column(field.name)} @@ ?::tsquery", (words_query(wanted, "&"),)) if wanted else NEVER

    # arrays and JSON -------------------------------------------------------------------------------------------

    def array_contains(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"{_items(field)} @> ?::jsonb", (_json(field, [argument]),)

    def array_overlaps(self, field: FieldSchema, argument: Sequence[Any], strategy: str) -> Sql:
        if not argument:
            return NEVER
        if len(argument) <= FEW_ITEMS:  # which an index can find
            parts = [f"{_items(field)} @> ?::jsonb"] * len(argument)
            return f"({' or '.join(parts)})", tuple(_json(field, [one]) for one in argument)
        found = f"select 1 from jsonb_array_elements({_items(field)}) item where item.value = any(?::jsonb[])"
        return f"exists ({found})", ([_json(field, [one])[1:-1] for one in argument],)

    def get(self, field: FieldSchema, argument: JsonGet, strategy: str) -> Sql:
        op, wanted = argument.op, argument.value
        place, path = f"({column(field)}::jsonb #> ?::text[])", _path(argument.path)
        if op == "is_null" or (op in {"eq", "ne"} and wanted is None):
            null = wanted if op == "is_null" else op == "eq"
            return f"coalesce(jsonb_typeof({place}), 'null') {'=' if null else '<>'} 'null'", (path,)
        if op in {"eq", "ne"} and isinstance(wanted, bool):
            return f"{place} is {'not ' if op == 'eq' else ''}distinct from ?::jsonb", (path, canonical_json(wanted))
        if not isinstance(wanted, str):
            raise NotServed("numbers inside JSON are compared in Python")
        text, parameters = self._text_at(place, path, op, wanted)
        return (f"({text}) is not true", parameters) if op == "ne" else (text, parameters)

    @staticmethod
    def _text_at(place: str, path: list[str], op: str, wanted: str) -> Sql:
        """What lies at the place is a text, and this is true of it."""
        found = f"({place} #>> '{{}}') collate \"C\""
        if op == "contains":
            compared = f"strpos({found}, ?) > 0"
        elif op in _SIGNS or op == "ne":
            compared = f"{found} {_SIGNS.get(op, '=')} ?"
        else:
            raise NotServed(f"{op} inside JSON is answered in Python")
        return f"(jsonb_typeof({place}) = 'string' and {compared})", (path, path, wanted)

    # aggregates ------------------------------------------------------------------------------------------------

    def median(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self.percentile(field, 50.0, strategy)

    def percentile(self, field: FieldSchema, argument: float, strategy: str) -> Sql:
        order = f"{column(field)}::double precision"
        return f"percentile_cont({float(argument) / 100!r}) within group (order by {order})", ()

    def value_counts(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"array_agg({column(field)}) filter (where {column(field)} is not null)", ()


def _no_number(field: FieldSchema, argument: Any) -> Any:
    """The argument, unless it is a number inside JSON: one number has several texts."""
    if field.dtype.kind == "json" and isinstance(argument, (int, float)) and not isinstance(argument, bool):
        raise NotServed("numbers inside JSON are compared in Python")
    return argument


def id_set(ids: Sequence[str]) -> Sql:
    """The condition that a row is among these."""
    if len(ids) == 1:  # as most are, and quicker
        return 't."object_id" = ?', (ids[0],)
    return 't."object_id" = any(?::text[])', (list(ids),)


def words_query(wanted: Sequence[str], sign: str) -> str:
    """A `tsquery` for words; they hold no quotes, being alphanumeric."""
    return f" {sign} ".join(f"'{word}'" for word in wanted)


def _between(expression: str, prefix: str) -> Sql:
    """The texts that begin with a prefix, as a range of the order of code points."""
    end = after_prefix(prefix)
    low = f'{expression} collate "C" >= ?'
    return (low, (prefix,)) if end is None else (f'({low} and {expression} collate "C" < ?)', (prefix, end))


def _items(field: FieldSchema) -> str:
    """An array as PostgreSQL looks into it. In one without a type numbers of both kinds meet, which it can't tell."""
    assert isinstance(field.dtype, Array)
    if field.dtype.item is None:
        raise NotServed("items of several types are compared in Python")
    return f"{column(field)}::jsonb"


def _json(field: FieldSchema, items: Sequence[Any]) -> str:
    code = item_encoder(field.dtype)
    return canonical_json(list(items) if code is None else [code(one) for one in items])


def _path(steps: Sequence[str | int]) -> list[str]:
    """A path for `#>`, which takes keys and places alike as texts; so one that could be taken for the other is not."""
    for step in steps:
        if isinstance(step, str) and step.lstrip("+-").strip().isdecimal():
            raise NotServed("a key that looks like a place is looked up in Python")
    if any(isinstance(step, int) for step in steps):
        raise NotServed("a place in a list is looked up in Python")
    return [str(step) for step in steps]


def _strategies(dtype: type[LogicalType[Any]], op: Op) -> Sequence[str]:
    if dtype.kind == "array":
        return ("inline", "json", "side")
    if dtype.kind == "json":
        return ("inline", "json")
    if op.name == "match":
        return ("inverted",)
    if op.name == "ends_with" and "text" in dtype.traits:
        return ("inline", "suffix-index")
    if dtype.kind == "bytes":
        return ("inline", "external")
    return ("inline",)


def handlers() -> Iterator[Handler]:
    """Every handler of the PostgreSQL engine."""
    yield from sql_handlers(PostgresDialect(), _strategies)
    for strategy in ("inline", "vector"):
        yield Handler(Key(Vector.identifier, "near", BACKEND, strategy), _near, BACKEND)


def _near(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
    return QueryFragment(ctx.backend, "near", field.name, value, notes="exact, unless pgvector's index is used")
