"""What LanceDB can do, and how it says it: conditions as texts, nearest vectors.

It has no parameters, so values stand in the text as literals, made in one place (`literal`). What is missing here
(folded text, regular expressions, arrays, JSON, aggregates) runs in Python, and `explain()` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.codecs import encoder
from heaven_core.handlers import Handler, HandlerContext, Key, QueryFragment
from heaven_core.ops import FILTERS, Op
from heaven_core.patterns import parse_like
from heaven_core.schema import FieldSchema
from heaven_core.sql import NEVER, Sql
from heaven_core.types import BUILTIN, INT_MIN, LogicalType, Vector

BACKEND = "lancedb"

_SIGNS = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_CALLS = {"starts_with": "starts_with", "ends_with": "ends_with", "contains": "contains"}
_OPAQUE = frozenset({"array", "json", "vector", "bytes"})
"""Kinds of values that LanceDB keeps and does not look into."""


def name(field: FieldSchema) -> str:
    """A field's column in a condition."""
    return f"`{field.name}`"


def literal(value: Any) -> str:
    """A stored value as it stands in a condition."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return f"cast('{value!r}' as double)"
    return (
        str(value) if value > INT_MIN else f"cast('{value}' as bigint)"
    )  # whose digits alone are no number of 64 bits


def id_set(ids: Sequence[str]) -> Sql:
    """The condition that a row is among these."""
    return (f"`object_id` in ({', '.join(map(literal, ids))})", ()) if ids else NEVER


def _condition(op: str, field: FieldSchema, argument: Any) -> str:
    column = name(field)
    if op == "is_null":
        return f"{column} is {'' if argument else 'not '}null"
    if op in {"eq", "ne"} and argument is None:
        return f"{column} is {'' if op == 'eq' else 'not '}null"
    if op == "in":
        return _among(field, argument)
    if op == "between":
        low, high = (literal(_stored(field, one)) for one in argument)
        return f"({column} >= {low} and {column} <= {high})"
    if op in _CALLS:
        return f"{_CALLS[op]}({column}, {literal(argument)})"
    if op == "like":
        parse_like(argument)  # refuses what no pattern is
        return f"{column} like {literal(argument)} escape '\\'"
    wanted = literal(_stored(field, argument))
    if op == "ne":
        return f"({column} is null or {column} <> {wanted})"
    return f"{column} {_SIGNS.get(op, '=')} {wanted}"


def _among(field: FieldSchema, argument: Sequence[Any]) -> str:
    values = [literal(_stored(field, one)) for one in argument if one is not None]
    parts = [f"{name(field)} in ({', '.join(values)})"] if values else []
    if None in argument:
        parts.append(f"{name(field)} is null")
    return f"({' or '.join(parts)})" if parts else NEVER[0]


def _stored(field: FieldSchema, value: Any) -> Any:
    code = encoder(field.dtype)
    return value if code is None else code(value)


def _filter(op: Op) -> Any:
    def compile_filter(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
        return QueryFragment(ctx.backend, op.name, field.name, (_condition(op.name, field, value), ()))

    return compile_filter


def _near(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
    return QueryFragment(ctx.backend, "near", field.name, value, notes="exact")


_SAID = frozenset({"eq", "ne", "in", "between", "is_null", *_SIGNS, *_CALLS, "like"})


def _serves(op: Op, dtype: type[LogicalType[Any]]) -> bool:
    return op.serves(dtype) and op.name in _SAID and (op.name == "is_null" or dtype.kind not in _OPAQUE)


def handlers() -> Iterator[Handler]:
    """Every handler of the LanceDB engine."""
    for dtype in BUILTIN:
        for op in FILTERS:
            if _serves(op, dtype):
                for strategy in ("inline", "json") if dtype.kind in {"array", "json"} else ("inline",):
                    yield Handler(Key(dtype.identifier, op.name, BACKEND, strategy), _filter(op), BACKEND)
    for strategy in ("inline", "vector"):
        yield Handler(Key(Vector.identifier, "near", BACKEND, strategy), _near, BACKEND)
