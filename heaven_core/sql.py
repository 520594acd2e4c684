"""What SQL engines have in common: names, the assembly of conditions, and handlers made from a dialect.

A dialect is a class with one method per operation that returns `(sql, parameters)`;
an engine's plugin subclasses `Dialect` and overrides what its engine says or does
better. `handlers(dialect)` turns it into the handler table. User text is always a
parameter; names come from checked identifiers and are quoted all the same.

Here are also the tables' names, which are part of the storage format: entity `doc`
lies in `e_doc` (alias `t` in statements), the items of its array field `tags` in
`e_doc.tags`, its full-text index in `e_doc._fts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar

from heaven_core.codecs import Code, RowMaker, decoder, encoder, item_encoder, row_maker
from heaven_core.handlers import (
    AllOf,
    ConditionTooLarge,
    Handler,
    HandlerContext,
    IdSet,
    Key,
    NoneOf,
    QueryFragment,
    Where,
)
from heaven_core.ops import AGGREGATES, FILTERS, Op
from heaven_core.schema import FieldSchema
from heaven_core.types import BUILTIN, Array, LogicalType, canonical_json

if TYPE_CHECKING:
    from heaven_core.backend import Layout

T = TypeVar("T")

Sql = tuple[str, tuple[Any, ...]]

NEVER: Sql = ("(1 = 0)", ())
"""A condition that no row satisfies."""

MAX_PARAMETERS = 32_000
MAX_SQL_CHARS = 500_000
"""Half of what SQLite takes unless built otherwise."""


@lru_cache(maxsize=4096)
def quote(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column(field: FieldSchema) -> str:
    """The column of a field, in a statement whose entity table has the alias t."""
    return f"t.{quote(field.name)}"


def entity_table(entity: str) -> str:
    """The quoted name of an entity's table."""
    return quote(f"e_{entity}")


def side_table(entity: str, field: str) -> str:
    """The quoted name of the table that holds an array field's items."""
    return quote(f"e_{entity}.{field}")


def fulltext_table(entity: str) -> str:
    """The quoted name of an entity's full-text index."""
    return quote(f"e_{entity}._fts")


@lru_cache(maxsize=4096)
def trigram_table(entity: str) -> str:
    """The quoted name of an entity's index of three-character runs."""
    return quote(f"e_{entity}._trigram")


@lru_cache(maxsize=4096)
def reversed_column(field: str) -> str:
    """The quoted name of the column that holds a field's text from its end to its beginning."""
    return quote(f"_reversed_{field}")


def json_ids(ids: Sequence[str]) -> Sql:
    """The condition that a row is among these, as SQLite says it."""
    return 't."object_id" in (select value from json_each(?))', (canonical_json(list(ids)),)


def where_sql(where: Where | None, id_set: Callable[[Sequence[str]], Sql] = json_ids) -> Sql:
    """The condition as SQL; empty for none. `id_set` says how an engine tells rows by their ids.

    A fragment may be null for null fields. `and` and `or` keep that harmless, and a
    complement asks `is not true`, so the whole is two-valued.
    """
    if where is None:
        return "", ()
    parameters: list[Any] = []
    text = _assembled(where, parameters, id_set)
    if len(parameters) > MAX_PARAMETERS:
        raise ConditionTooLarge(
            f"the query compares with {len(parameters)} values; at most {MAX_PARAMETERS} are possible"
        )
    if len(text) > MAX_SQL_CHARS:
        raise ConditionTooLarge(f"the condition takes {len(text)} characters; at most {MAX_SQL_CHARS} are possible")
    return text, tuple(parameters)


def _assembled(where: Where, parameters: list[Any], id_set: Callable[[Sequence[str]], Sql]) -> str:
    if isinstance(where, QueryFragment):
        text, values = where.payload
        parameters.extend(values)
        return text
    if isinstance(where, IdSet):
        text, values = id_set(where.ids)
        parameters.extend(values)
        return text
    if isinstance(where, NoneOf):
        return f"({_assembled(where.part, parameters, id_set)}) is not true"
    if not where.parts:
        return "(1 = 1)" if isinstance(where, AllOf) else NEVER[0]
    return _balanced([_assembled(part, parameters, id_set) for part in where.parts], isinstance(where, AllOf))


def _balanced(parts: Sequence[str], conjunction: bool) -> str:
    """The parts joined as a balanced tree: engines limit the depth of an expression, not its size."""
    word = " and " if conjunction else " or "
    if len(parts) <= 8:
        return parts[0] if len(parts) == 1 else f"({word.join(parts)})"
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], conjunction)}{word}{_balanced(parts[middle:], conjunction)})"


def after_prefix(prefix: str) -> str | None:
    """The first text in code-point order that is greater than every text with this prefix; None if there is none."""
    for end in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[end])
        if code < 0x10FFFF:
            return prefix[:end] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


def between_prefix(expression: str, prefix: str) -> Sql:
    """The texts that begin with a prefix, as a range of the order."""
    end = after_prefix(prefix)
    if end is None:
        return f"{expression} >= ?", (prefix,)
    return f"({expression} >= ? and {expression} < ?)", (prefix, end)


def padded(values: Sequence[Any]) -> list[Any]:
    """The values, the last one repeated up to a power of two, so that few different statements arise."""
    size = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (size - len(values))]


def marks(count: int) -> str:
    """`count` parameter marks."""
    return ", ".join("?" * count)


def among(expression: str, values: Sequence[Any]) -> Sql:
    """`expression in (values)`."""
    if not values:
        return NEVER
    wanted = padded(values)
    return f"{expression} in ({marks(len(wanted))})", tuple(wanted)


def item_key(value: Any) -> str:
    """An item of an untyped array as one text that is equal exactly when the items are."""
    if isinstance(value, bool):
        return f"b{int(value)}"
    if isinstance(value, str):
        return f"s{value}"
    return f"n{int(value)}" if value == int(value) else f"n{value!r}"


class Dialect:
    """How one SQL dialect says each operation. Methods get the field, the canonical argument and the strategy.

    `scans` are operations that run through a function in Python.
    """

    backend = ""
    scans: frozenset[str] = frozenset()
    distinct = "is distinct from"

    def value(self, field: FieldSchema, argument: Any) -> Any:
        """The argument as the engine stores such a value."""
        code = encoder(field.dtype)
        return argument if code is None else code(argument)

    # equality and order ----------------------------------------------------------------------------------------

    def eq(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        if argument is None:
            return f"{column(field)} is null", ()
        return f"{column(field)} = ?", (self.value(field, argument),)

    def ne(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        if argument is None:
            return f"{column(field)} is not null", ()
        return f"{column(field)} {self.distinct} ?", (self.value(field, argument),)

    def _compared(self, field: FieldSchema, sign: str, argument: Any) -> Sql:
        return f"{column(field)} {sign} ?", (self.value(field, argument),)

    def lt(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self._compared(field, "<", argument)

    def lte(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self._compared(field, "<=", argument)

    def gt(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self._compared(field, ">", argument)

    def gte(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self._compared(field, ">=", argument)

    def in_(self, field: FieldSchema, argument: Sequence[Any], strategy: str) -> Sql:
        values = [self.value(field, one) for one in argument if one is not None]
        text, parameters = self.among(column(field), values)
        return (f"({text} or {column(field)} is null)", parameters) if None in argument else (text, parameters)

    def among(self, expression: str, values: Sequence[Any]) -> Sql:
        """`expression in (values)`; a dialect with a better form for long lists overrides it."""
        return among(expression, values)

    def between(self, field: FieldSchema, argument: Sequence[Any], strategy: str) -> Sql:
        low, high = (self.value(field, one) for one in argument)
        return f"{column(field)} between ? and ?", (low, high)

    def is_null(self, field: FieldSchema, argument: bool, strategy: str) -> Sql:
        return f"{column(field)} is {'' if argument else 'not '}null", ()

    # text ------------------------------------------------------------------------------------------------------

    def starts_with(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        if not argument:
            return f"{column(field)} is not null", ()
        return between_prefix(column(field), argument)

    def notes(self, strategy: str, sql: str) -> str:
        """What `explain` should add about a condition; a dialect with something to say overrides it."""
        return ""

    def has(self, op: str) -> bool:
        """Whether the dialect says this operation at all."""
        return hasattr(self, method_name(op))

    # aggregates ------------------------------------------------------------------------------------------------

    def count(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"count({column(field)})", ()

    def sum(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"sum({column(field)})", ()

    def avg(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"avg({column(field)})", ()

    def min(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"min({column(field)})", ()

    def max(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"max({column(field)})", ()


def method_name(op: str) -> str:
    """The dialect's method for an operation."""
    return "in_" if op == "in" else op


def encoded_item(field: FieldSchema, value: Any) -> Any:
    """An array item as a side table stores it."""
    if isinstance(field.dtype, Array) and field.dtype.item is None:
        return item_key(value)
    code = item_encoder(field.dtype)
    return value if code is None else code(value)


def handlers(dialect: Dialect, strategies: Callable[[type[LogicalType[Any]], Op], Sequence[str]]) -> Iterator[Handler]:
    """The handler table of a dialect; `strategies` says under which strategies a type has an operation."""
    for dtype in BUILTIN:
        for op in (*FILTERS, *AGGREGATES):
            if not op.serves(dtype) or not dialect.has(op.name):
                continue
            for strategy in strategies(dtype, op):
                native = not (op.name in dialect.scans and strategy in {"inline", "json", "side"})
                compile_op = _compiler(dialect, op.name, native)
                yield Handler(
                    Key(dtype.identifier, op.name, dialect.backend, strategy), compile_op, dialect.backend, native
                )


def _compiler(dialect: Dialect, op: str, native: bool) -> Callable[[FieldSchema, Any, HandlerContext], QueryFragment]:
    say: Callable[[FieldSchema, Any, str], Sql] = getattr(dialect, method_name(op))

    def compile_sql(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
        payload = say(field, value, ctx.strategy)
        notes = dialect.notes(ctx.strategy, payload[0])
        return QueryFragment(
            ctx.backend, op, field.name, payload, native=native and "hb_" not in payload[0], notes=notes
        )

    return compile_sql


# -- layouts -------------------------------------------------------------------------------------------------------


def kept(make: Callable[[Layout], T]) -> Callable[[Layout], T]:
    """`make`, called once per layout: what it made stays in the layout's cache."""
    name = make.__name__

    @wraps(make)
    def once(layout: Layout) -> T:
        found: T | None = layout.cache.get(name)
        if found is None:
            found = layout.cache[name] = make(layout)
        return found

    return once


Shape = tuple[tuple[str, ...], tuple[Code | None, ...], RowMaker]


def shape(layout: Layout, columns: tuple[str, ...]) -> Shape:
    """Names, decoders and the maker of dicts for a selection, kept per layout."""
    key = "shape" if columns is layout.names else ("shape", columns)
    found = layout.cache.get(key)
    if found is None:
        codes = decoders(layout, columns)
        found = layout.cache[key] = (columns, codes, row_maker(columns, codes, layout.entity))
    return found


def decoders(layout: Layout, names: Sequence[str]) -> tuple[Code | None, ...]:
    """How to read each of these columns."""
    return tuple(decoder(layout.by_name[name].field.dtype) for name in names)
