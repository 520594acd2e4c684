"""Handlers: how one operation on one field becomes one fragment for one engine.

A handler is found by (logical type, operation, backend type, strategy), compiles
to exactly one `QueryFragment` and does no IO. The dict of all handlers, read from
the other side, is the capability index. Each storage plugin ships its own; code
may add to them through `heavenbase.ext.register_handler`.

Also here: the tree of fragments that a backend is asked to evaluate.
Not here: the order of layers in which handlers are looked up (`heaven_core.registry`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from heaven_core.errors import QueryError
from heaven_core.schema import FieldSchema


class QueryFragment:
    """One compiled condition, ranking or aggregate on one field.

    `payload` is fixed per dialect: a predicate on one row for the memory engine
    (it may use `row.get(name, default)`), `(sql, parameters)` for SQL engines, the
    engine's own filter elsewhere. For an aggregate of the memory engine it is a
    function from the list of non-null values to the result.

    native: False where the engine only calls back into Python; `explain()` says so.
    access: a hint the backend may use to find candidates faster, never to decide.
    """

    __slots__ = ("access", "backend", "field", "native", "notes", "op", "payload")

    def __init__(
        self,
        backend: str,
        op: str,
        field: str,
        payload: Any,
        *,
        native: bool = True,
        notes: str = "",
        access: Any = None,
    ) -> None:
        self.backend, self.op, self.field, self.payload = backend, op, field, payload
        self.native, self.notes, self.access = native, notes, access

    def __repr__(self) -> str:
        return f"<fragment {self.op} on {self.field} for {self.backend}>"


class HandlerContext:
    """What a handler may know beside field and value: the backend's name and type, the strategy, the entity."""

    __slots__ = ("backend", "backend_type", "entity", "strategy")

    def __init__(self, backend: str, backend_type: str, strategy: str, entity: str) -> None:
        self.backend, self.backend_type, self.strategy, self.entity = backend, backend_type, strategy, entity


Compile = Callable[[FieldSchema, Any, HandlerContext], QueryFragment]


class Key(NamedTuple):
    """What a handler is found by: four identifiers."""

    dtype: str
    op: str
    backend: str
    strategy: str


class Handler(NamedTuple):
    """A compile function under its key; `owner` says who registered it and never scopes it."""

    key: Key
    compile: Compile
    owner: str
    native: bool = True


class IdSet:
    """Rows whose object_id is among these: how one engine's answer is handed to another."""

    __slots__ = ("ids",)

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids


class AllOf:
    """Rows for which every part holds."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Where]) -> None:
        self.parts = parts


class AnyOf:
    """Rows for which one part holds."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Where]) -> None:
        self.parts = parts


class NoneOf:
    """Rows for which the part does not hold: the complement, nulls included."""

    __slots__ = ("part",)

    def __init__(self, part: Where) -> None:
        self.part = part


Where = QueryFragment | IdSet | AllOf | AnyOf | NoneOf


class ConditionTooLarge(QueryError):
    """An engine cannot take a condition of this size. The planner then answers it in Python, so users never see it."""


class NotServed(QueryError):
    """A handler has no exact form of an operation for this field or argument. The planner then answers it in Python."""


class GroupsTooWide(QueryError):
    """An engine cannot compute so many aggregates at once. The planner then groups in Python."""


def fragments(where: Where | None) -> Iterator[QueryFragment]:
    """The fragments of a tree, left to right."""
    if isinstance(where, QueryFragment):
        yield where
    elif isinstance(where, (AllOf, AnyOf)):
        for part in where.parts:
            yield from fragments(part)
    elif isinstance(where, NoneOf):
        yield from fragments(where.part)
