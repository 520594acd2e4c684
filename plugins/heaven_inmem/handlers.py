"""What the memory engine can do: every operation on every type, as predicates on one row.

The payload of a filter is the reference meaning from `heaven_core.ops`; that of
an aggregate is a function from the non-null values to the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from heaven_core.handlers import Handler, HandlerContext, Key, QueryFragment
from heaven_core.ops import AGGREGATES, FILTERS, Op, reducer
from heaven_core.patterns import literals
from heaven_core.schema import FieldSchema
from heaven_core.types import BUILTIN, LogicalType

BACKEND = "inmem"


def _filter(op: Op) -> Callable[[FieldSchema, Any, HandlerContext], QueryFragment]:
    def compile_filter(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
        name, test = field.name, op.predicate(field.dtype, value)
        access = (op.name, name, _sought(op.name, value)) if op.name in _THROUGH_INDEXES else None

        def payload(row: Mapping[str, Any]) -> bool:
            return test(row.get(name))

        return QueryFragment(ctx.backend, op.name, name, payload, access=access)

    return compile_filter


_THROUGH_INDEXES = {"eq", "in", "ends_with", "contains", "like"}


def _sought(op: str, value: Any) -> Any:
    """What an index is asked for."""
    if op == "contains":
        return [value]
    return literals(value) if op == "like" else value


def _aggregate(op: Op) -> Callable[[FieldSchema, Any, HandlerContext], QueryFragment]:
    def compile_aggregate(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
        return QueryFragment(ctx.backend, op.name, field.name, reducer(op.name, value))

    return compile_aggregate


def _near(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
    return QueryFragment(ctx.backend, "near", field.name, value, notes="exact: one product over all vectors")


def _strategies(dtype: type[LogicalType[Any]]) -> tuple[str, ...]:
    if dtype.kind == "bytes":
        return ("inline", "external")
    return ("inline", "json", "side") if dtype.kind == "array" else ("inline", "json")


def handlers() -> Iterator[Handler]:
    """Every handler of the memory engine."""
    for dtype in BUILTIN:
        for op in (*FILTERS, *AGGREGATES):
            if not op.serves(dtype):
                continue
            make = _filter(op) if op.kind == "filter" else _aggregate(op)
            for strategy in _strategies(dtype):
                yield Handler(Key(dtype.identifier, op.name, BACKEND, strategy), make, BACKEND)
        yield from _indexed(dtype)


def _indexed(dtype: type[LogicalType[Any]]) -> Iterator[Handler]:
    known = {op.name: op for op in FILTERS}
    if "text" in dtype.traits:
        for op, index in (("ends_with", "suffix-index"), ("contains", "trigram-index"), ("like", "trigram-index")):
            yield Handler(Key(dtype.identifier, op, BACKEND, index), _filter(known[op]), BACKEND)
    if "fulltext" in dtype.traits:
        yield Handler(Key(dtype.identifier, "match", BACKEND, "inverted"), _filter(known["match"]), BACKEND)
    if "vector" in dtype.traits:
        for strategy in ("inline", "vector"):
            yield Handler(Key(dtype.identifier, "near", BACKEND, strategy), _near, BACKEND)
