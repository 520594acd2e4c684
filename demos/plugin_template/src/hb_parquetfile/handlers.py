"""What the engine answers by itself: comparisons of texts and moments, and what is null.

A handler compiles one operation on one field into a fragment and reads nothing. The payload is ours: here a
comparison as data, since this module is imported where pyarrow may be missing.

What is not here runs in Python, and `explain()` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from heaven_core.codecs import encoder
from heaven_core.handlers import Handler, HandlerContext, Key, QueryFragment
from heaven_core.schema import FieldSchema
from heaven_core.types import BUILTIN

COMPARISONS = ("eq", "lt", "lte", "gt", "gte")
COMPARED = {"text", "date", "timestamp"}
"""Kinds of values that Arrow compares as `docs/semantics.md` says, in the form that they are stored in."""


class Comparison(NamedTuple):
    """One condition on one column; `value` is as it is stored, `op` one of the comparisons or `is_null`."""

    column: str
    op: str
    value: Any


def compiler(op: str) -> Callable[[FieldSchema, Any, HandlerContext], QueryFragment]:
    """What compiles this operation."""

    def compiled(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
        if op == "eq" and value is None:  # only null equals null
            return QueryFragment(ctx.backend, op, field.name, Comparison(field.name, "is_null", True))
        encode = None if op == "is_null" else encoder(field.dtype)
        stored = value if encode is None else encode(value)
        return QueryFragment(ctx.backend, op, field.name, Comparison(field.name, op, stored))

    return compiled


def handlers() -> Iterator[Handler]:
    """Every handler of the engine; a type has those of the forms in which the engine can hold it."""
    for dtype in BUILTIN:
        ops = ("is_null", *COMPARISONS) if dtype.kind in COMPARED else ("is_null",)
        form = "json" if dtype.kind in {"array", "json"} else "inline"
        for op in ops:
            yield Handler(Key(dtype.identifier, op, "parquetfile", form), compiler(op), "parquetfile")
