"""An entity as a workspace knows it, and which handler serves an operation on one of its fields.

Not here: where fields lie (`heaven_core.placement`), how a query is answered (`heaven_core.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core.backend import Backend, Batch, Layout
from heaven_core.handlers import Compile, Handler, HandlerContext
from heaven_core.schema import EntitySchema, FieldSchema

if TYPE_CHECKING:
    from heaven_core.derive import Derive
    from heaven_core.entity import Entity
    from heaven_core.external import ExternalBackend
    from heaven_core.placement import Placement
    from heaven_core.registry import Registries
    from heaven_core.spread import SpreadBackend


class StoredEntity:
    """An entity as a workspace knows it: schema, class, placement, and the backend that holds it."""

    __slots__ = (
        "backend",
        "cls",
        "derive",
        "external",
        "failure",
        "layout",
        "placement",
        "registries",
        "resolved",
        "schema",
        "seen",
        "spread",
    )

    def __init__(
        self,
        schema: EntitySchema,
        cls: type[Entity],
        placement: Placement,
        layout: Layout,
        backend: Backend,
        registries: Registries,
        *,
        derive: Derive | None = None,
        failure: str | None = None,
        external: ExternalBackend | None = None,
        spread: SpreadBackend | None = None,
    ) -> None:
        self.schema, self.cls, self.placement, self.layout = schema, cls, placement, layout
        self.backend, self.registries, self.derive = backend, registries, derive
        self.failure = failure
        """Why writes are refused: the extension that owns the entity is not active."""
        self.external = external
        """The backend once more if fields lie in files."""
        self.spread = spread
        """The engines one by one if fields lie in several."""
        self.resolved: dict[tuple[str, ...], Resolved] = {}
        self.seen: Any = None

    def staged(self, batch: Batch) -> Batch:
        """The batch with the files of its values made, which takes time and needs no lock."""
        return batch if self.external is None else self.external.staged(self.layout, batch)

    def resolve(self, field: FieldSchema, op: str, at: str | None = None) -> Resolved:
        """The handler for an operation on a field, its context, and how to compile it.

        `at` names the backend for a field that lies in several: the object_id, or one with a mirror.
        """
        generation = self.registries.generation
        if generation != self.seen:
            self.resolved, self.seen = {}, generation
        key = (field.name, op) if at is None else (field.name, op, at)
        found = self.resolved.get(key)
        if found is None:
            found = self.resolved[key] = self._resolve(field, op, at)
        return found

    def _resolve(self, field: FieldSchema, op: str, at: str | None) -> Resolved:
        placed = self.placement[field.name]
        if at is not None:
            placed = placed.seen_in(at, field)
        kind = self.layout.backend_type if self.spread is None else self.spread.parts[placed.backend][1].backend_type
        for strategy in (*placed.indexes, placed.strategy):
            handler = self.registries.handler(type(field.dtype), op, kind, strategy)
            if handler is not None:
                return Resolved(
                    handler, HandlerContext(placed.backend, kind, strategy, self.schema.id), handler.compile
                )
        return Resolved(None, HandlerContext(placed.backend, kind, "", self.schema.id), None)


class Resolved(NamedTuple):
    """A handler with its context; without one the operation runs in Python."""

    handler: Handler | None
    ctx: HandlerContext
    compile: Compile | None
