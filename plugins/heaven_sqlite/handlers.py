"""What SQLite can do, and how it says it.

Functions whose names begin with `hb_` are Python functions that the engine
registers on its connections (`heaven_sqlite.functions`): they stand where SQLite
has no form that gives the answer `docs/semantics.md` asks for, and `explain()`
says that they run in Python.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.codecs import item_encoder
from heaven_core.handlers import Handler, HandlerContext, Key, QueryFragment
from heaven_core.narrow import is_list
from heaven_core.ops import JsonGet, Op
from heaven_core.patterns import literals, to_glob
from heaven_core.schema import FieldSchema
from heaven_core.sql import (
    NEVER,
    Dialect,
    Sql,
    among,
    between_prefix,
    column,
    encoded_item,
    fulltext_table,
    quote,
    reversed_column,
    side_table,
    trigram_table,
)
from heaven_core.sql import (
    handlers as sql_handlers,
)
from heaven_core.text import fold, tokens
from heaven_core.types import Array, LogicalType, Vector, canonical_json

_PLAIN_KEY = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_- ")
_SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "="}
_INDEXED = {
    "match": "inverted",
    "ends_with": "suffix-index",
    "contains": "trigram-index",
    "like": "trigram-index",
}
"""The index that answers an operation on texts."""
TRIGRAM = 3
_LONG_LIST = 1000
"""Longer lists than this are one parameter each, so that a query may have many."""
_LONG_JSON_LIST = 8
"""A JSON field is compared with more values than this in Python, which reads it once."""


class SqliteDialect(Dialect):
    """SQLite 3.38 and later."""

    backend = "sqlite"
    scans = frozenset({"match", "regex"})
    distinct = "is not"

    def among(self, expression: str, values: Sequence[Any]) -> Sql:
        if len(values) <= _LONG_LIST:
            return among(expression, values)
        if isinstance(values[0], float):  # SQLite's reading of decimals is not exact
            return f"hb_in({expression}, ?)", (array("d", values).tobytes(),)
        return f"{expression} in (select value from json_each(?))", (canonical_json(list(values)),)

    # text ------------------------------------------------------------------------------------------------------

    def like(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        glob = to_glob(argument)
        exact: Sql = (f"{column(field)} glob ?", (glob,)) if glob else (f"hb_like({column(field)}, ?)", (argument,))
        return _by_trigrams(field, literals(argument), exact) if strategy == "trigram-index" else exact

    def ilike(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        folded = fold(argument)
        glob = to_glob(folded)
        if glob is None:
            return f"hb_like(hb_fold({column(field)}), ?)", (folded,)
        return f"hb_fold({column(field)}) glob ?", (glob,)

    def contains(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        exact = f"instr({column(field)}, ?) > 0", (argument,)
        return _by_trigrams(field, [argument], exact) if strategy == "trigram-index" else exact

    def ends_with(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        if not argument:
            return f"{column(field)} is not null", ()
        if strategy == "suffix-index":
            return between_prefix(f"t.{reversed_column(field.name)}", argument[::-1])
        return f"substr({column(field)}, -{len(argument)}) = ?", (argument,)

    def regex(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"hb_regex({column(field)}, ?)", (argument,)

    def match(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        wanted = list(dict.fromkeys(tokens(argument)))
        if not wanted:
            return NEVER
        if strategy != "inverted":
            return f"hb_match({column(field)}, ?)", (" ".join(wanted),)
        table = fulltext_table(field.entity)
        query = fts_query([field.name], wanted, "AND")
        return f"t._rowid in (select rowid from {table} where {table} match ?)", (query,)

    def notes(self, strategy: str, sql: str) -> str:
        if strategy == "trigram-index" and "_trigram" not in sql:
            return "no run of three characters to look up, so every row is read"
        return ""

    def contained_in(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        if not isinstance(field.dtype, Array):
            return f"instr(?, {column(field)}) > 0", (argument,)
        if strategy == "side":
            text, values = self.among("item", [encoded_item(field, one) for one in argument])
            inner = f"select 1 from {side_table(field.entity, field.name)} where row = t._rowid and not ({text})"
            return f"({column(field)} is not null and not exists ({inner}))", values
        if not _by_json_each(field, argument):
            return self._items("contained_in", field, argument)
        text, values = self.among("value", [_json_item(field, one) for one in argument])
        inner = f"select 1 from json_each({column(field)}) where not ({text})"
        return f"({column(field)} is not null and not exists ({inner}))", values

    # arrays ----------------------------------------------------------------------------------------------------

    def array_contains(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self._having_one("array_contains", field, [argument], strategy)

    def array_overlaps(self, field: FieldSchema, argument: Sequence[Any], strategy: str) -> Sql:
        return self._having_one("array_overlaps", field, argument, strategy)

    def _having_one(self, op: str, field: FieldSchema, wanted: Sequence[Any], strategy: str) -> Sql:
        if not wanted:
            return NEVER
        if strategy == "side":
            text, values = self.among("item", [encoded_item(field, one) for one in wanted])
            return f"t._rowid in (select row from {side_table(field.entity, field.name)} where {text})", values
        if not _by_json_each(field, wanted):
            return self._items(op, field, wanted[0] if op == "array_contains" else wanted)
        text, values = self.among("value", [_json_item(field, one) for one in wanted])
        only = "type = 'text' and " if _item_kind(field) is None else ""
        return f"exists (select 1 from json_each({column(field)}) where {only}{text})", values

    @staticmethod
    def _items(op: str, field: FieldSchema, argument: Any) -> Sql:
        """Items that SQLite's JSON would not compare exactly (floats, mixed types) are compared in Python."""
        spec = "" if _item_kind(field) is None else "typed"
        code = item_encoder(field.dtype)
        if code is not None:
            argument = [code(one) for one in argument] if is_list(argument) else code(argument)
        return f"hb_items({column(field)}, ?, ?, ?)", (op, spec, canonical_json(argument))

    # JSON ------------------------------------------------------------------------------------------------------

    def eq(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        if field.dtype.kind == "json" and argument is not None:
            return _json_equal(field, "$", argument)
        return super().eq(field, argument, strategy)

    def ne(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        if field.dtype.kind == "json" and argument is not None:
            text, values = self.eq(field, argument, strategy)
            return f"({text}) is not true", values
        return super().ne(field, argument, strategy)

    def in_(self, field: FieldSchema, argument: Sequence[Any], strategy: str) -> Sql:
        if field.dtype.kind != "json":
            return super().in_(field, argument, strategy)
        parts = [self.eq(field, one, strategy) for one in argument]
        if not parts:
            return NEVER
        if len(parts) > _LONG_JSON_LIST:
            return _json_in_python(field, JsonGet((), "in", argument))
        return "(" + " or ".join(text for text, _ in parts) + ")", tuple(one for _, values in parts for one in values)

    def get(self, field: FieldSchema, argument: JsonGet, strategy: str) -> Sql:
        path = _json_path(argument.path)
        if path is not None:
            native = _json_native(field, path, argument)
            if native is not None:
                return native
        return _json_in_python(field, argument)

    # aggregates ------------------------------------------------------------------------------------------------

    def median(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"hb_percentile({column(field)}, 50.0)", ()

    def percentile(self, field: FieldSchema, argument: float, strategy: str) -> Sql:
        return f"hb_percentile({column(field)}, ?)", (argument,)

    def value_counts(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"coalesce(hb_value_counts({column(field)}), '[]')", ()  # without a row it is never called


def fts_query(fields: Sequence[str], wanted: Sequence[str], word: str) -> str:
    """A FTS5 query for tokens in columns; tokens hold no quotes, being alphanumeric."""
    columns = " ".join(quote(f"f_{name}") for name in fields)
    return f"{{{columns}}} : (" + f" {word} ".join(f'"{token}"' for token in wanted) + ")"


def _by_trigrams(field: FieldSchema, texts: Sequence[str], exact: Sql) -> Sql:
    """Rows that the index finds to hold the texts; what it finds is looked at once more."""
    wanted = [text for text in texts if len(text) >= TRIGRAM]
    if not wanted:
        return exact
    phrases = " AND ".join(quote(text) for text in wanted)  # FTS5 quotes texts as SQL quotes names
    table = trigram_table(field.entity)
    found = f"t._rowid in (select rowid from {table} where {table} match ?)"
    return f"({found} and {exact[0]})", (f"{{{quote(f'f_{field.name}')}}} : ({phrases})", *exact[1])


def _item_kind(field: FieldSchema) -> str | None:
    assert isinstance(field.dtype, Array)
    return None if field.dtype.item is None else field.dtype.item.kind


def _by_json_each(field: FieldSchema, wanted: Any) -> bool:
    """Whether comparing with `json_each`'s values is exact: not for floats, nor for mixed types."""
    kind = _item_kind(field)
    if kind is None:
        return False
    return kind != "float"


def _json_item(field: FieldSchema, value: Any) -> Any:
    code = item_encoder(field.dtype)
    return value if code is None else code(value)


def _json_path(path: Sequence[str | int]) -> str | None:
    """The path in SQLite's notation, or None for keys whose quoting differs between versions."""
    text = "$"
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step and _PLAIN_KEY.issuperset(step):
            text += f'."{step}"'
        else:
            return None
    return text


def _json_in_python(field: FieldSchema, argument: JsonGet) -> Sql:
    return f"hb_get({column(field)}, ?)", (
        canonical_json({"path": list(argument.path), f"${argument.op}": argument.value}),
    )


def _json_equal(field: FieldSchema, path: str, wanted: Any) -> Sql:
    """What lies at the path equals a value that is not null."""
    source = column(field)
    kind = f"json_type({source}, ?)"
    if isinstance(wanted, bool):
        return f"{kind} = ?", (path, "true" if wanted else "false")
    if isinstance(wanted, str):
        return f"({kind} = 'text' and json_extract({source}, ?) = ?)", (path, path, wanted)
    if path == "$" and isinstance(wanted, (dict, list)):
        return f"{source} = ?", (canonical_json(wanted),)
    argument = JsonGet((), "eq", wanted)
    if path != "$" or isinstance(wanted, (dict, list)):
        raise ValueError("only whole fields are compared with collections here")
    return _json_number(field, path, "=", wanted, argument)


def _json_number(field: FieldSchema, path: str, sign: str, wanted: float, argument: JsonGet) -> Sql:
    """Whole numbers compare in SQLite; stored reals in Python, since SQLite's parsing of decimals is not exact."""
    source = column(field)
    python, values = _json_in_python(field, argument)
    whole = f"when 'integer' then json_extract({source}, ?) {sign} ?"
    text = f"case json_type({source}, ?) {whole} when 'real' then {python} else 0 end"
    return text, (path, path, wanted, *values)


def _json_native(field: FieldSchema, path: str, argument: JsonGet) -> Sql | None:
    """The condition in SQLite's own JSON functions, or None where only Python is exact."""
    op, wanted, source = argument.op, argument.value, column(field)
    kind = f"json_type({source}, ?)"
    if op == "is_null" or (op in {"eq", "ne"} and wanted is None):
        null = wanted if op == "is_null" else op == "eq"
        return f"coalesce({kind}, 'null') {'=' if null else '<>'} 'null'", (path,)
    if op in {"eq", "ne"} and isinstance(wanted, (bool, str)):
        text, values = _json_equal(field, path, wanted)
        return (f"({text}) is not true", values) if op == "ne" else (text, values)
    if op in _SIGNS and isinstance(wanted, str):
        return f"({kind} = 'text' and json_extract({source}, ?) {_SIGNS[op]} ?)", (path, path, wanted)
    if op in _SIGNS and type(wanted) is int:
        return _json_number(field, path, _SIGNS[op], wanted, argument)
    if op == "contains":
        return f"({kind} = 'text' and instr(json_extract({source}, ?), ?) > 0)", (path, path, wanted)
    return None


def _strategies(dtype: type[LogicalType[Any]], op: Op) -> Sequence[str]:
    if dtype.kind == "array":
        return ("inline", "json", "side")
    if op.name in _INDEXED:
        return ("inline", _INDEXED[op.name]) if "text" in dtype.traits else ("inline",)
    if dtype.kind == "bytes":
        return ("inline", "external")
    return ("inline", "json") if dtype.kind == "json" else ("inline",)


def handlers() -> Iterator[Handler]:
    """Every handler of the SQLite engine."""
    yield from sql_handlers(SqliteDialect(), _strategies)
    for strategy in ("inline", "vector"):
        yield Handler(Key(Vector.identifier, "near", SqliteDialect.backend, strategy), _near, SqliteDialect.backend)


def _near(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
    return QueryFragment(ctx.backend, "near", field.name, value, notes="exact: one product over all vectors")
