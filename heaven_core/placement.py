"""Placement: where each field of an entity lies, decided once at `register` and stored.

In this order: what the field's `.store(...)` says, what a registered storage
profile says, the default of its type. A field has one storing strategy in one
backend and any number of index strategies beside it.

Not here: the SQL or files that a layout becomes; that is the backend's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from heaven_core.backend import Column, Layout
from heaven_core.errors import PlacementError, a_kind, did_you_mean
from heaven_core.ops import AGGREGATES, FILTERS, RANKS
from heaven_core.plugin import describe
from heaven_core.registry import Registries
from heaven_core.schema import EntitySchema, FieldSchema, StoreChoice
from heaven_core.types import Integer, ShortText

PRIMARY = "main"
_HASH = ShortText()
_LSN = Integer()


class Placed(NamedTuple):
    """Where one field lies."""

    backend: str
    strategy: str
    indexes: tuple[str, ...] = ()
    mirror: bool = False
    """Whether a copy, without indexes of its own, lies in the primary."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        body = {"backend": self.backend, "strategy": self.strategy, "indexes": list(self.indexes)}
        return {**body, "mirror": True} if self.mirror else body

    def lies_in(self, backend: str) -> bool:
        """Whether the backend has the field's values."""
        return backend == self.backend or (self.mirror and backend == PRIMARY)

    def seen_in(self, backend: str, field: FieldSchema) -> Placed:
        """How the field lies in a backend that has its values: its own, or one that has a copy."""
        return self if backend == self.backend else Placed(backend, default_strategy(field))


Placement = Mapping[str, Placed]


def place(
    schema: EntitySchema, backends: Mapping[str, str], registries: Registries, spare: Mapping[str, str] | None = None
) -> dict[str, Placed]:
    """Where each field goes; `backends` maps names to types, `spare` those that only hold what names them.

    Raises:
        PlacementError: a field asks for what no configured backend can do.
    """
    return {field.name: _placed(schema, field, backends, registries, spare or {}) for field in schema.fields}


def _placed(
    schema: EntitySchema,
    field: FieldSchema,
    configured: Mapping[str, str],
    registries: Registries,
    spare: Mapping[str, str],
) -> Placed:
    backends = {**spare, **configured}
    choices = field.stores
    if not choices and not schema.derived and field.name != "object_id":
        choices = _profiled(field, configured, registries, spare)
    names = {choice.to for choice in choices if choice.to is not None}
    if len(names) > 1:
        raise PlacementError(f"{_where(field)}: one backend holds a field, not {' and '.join(sorted(names))}")
    backend = names.pop() if names else _usual_backend(field, configured, registries)
    if backend not in backends:
        kinds = registries.backend_types()
        how = f"add {backend!r} to backends=" if backend in kinds else did_you_mean(backend, backends)
        raise PlacementError(f"{_where(field)}: there is no backend {backend!r}; {how}")
    if backend != PRIMARY:
        _check_beside(field, backend, backends, registries)
    mirror = any(choice.mirror for choice in choices)
    if mirror and backend == PRIMARY:
        raise PlacementError(f"{_where(field)}: a mirror is a copy in the primary, where the field lies already")
    asked = [registries.strategy(choice.strategy) for choice in choices if choice.strategy is not None]
    storing = list(dict.fromkeys(one.identifier for one in asked if one.stores))
    indexes = tuple(dict.fromkeys(one.identifier for one in asked if not one.stores))
    if len(storing) > 1:
        raise PlacementError(f"{_where(field)}: one strategy stores a field, not {' and '.join(storing)}")
    strategy = storing[0] if storing else default_strategy(field)
    if strategy == "external" and backend != PRIMARY:
        raise PlacementError(f"{_where(field)}: files lie beside the primary, {PRIMARY!r}; place the field there")
    for one in (*storing, *indexes):
        _check_offered(field, backend, backends[backend], one, registries)
    return Placed(backend, strategy, indexes, mirror)


def _usual_backend(field: FieldSchema, backends: Mapping[str, str], registries: Registries) -> str:
    """The primary; for vectors the one backend beside it that ranks them, if there is exactly one."""
    if field.dtype.kind != "vector":
        return PRIMARY
    persistent = registries.backend(backends[PRIMARY]).persistent
    ranking = [
        name
        for name, kind in backends.items()
        if name != PRIMARY
        and registries.handler(type(field.dtype), "near", kind, "inline")
        and (registries.backend(kind).persistent or not persistent)
    ]
    return ranking[0] if len(ranking) == 1 else PRIMARY


def _check_beside(field: FieldSchema, backend: str, backends: Mapping[str, str], registries: Registries) -> None:
    """Refuse what only the primary can keep: identity, uniqueness, and data that outlives the process."""
    if field.name in {"object_id", "name"}:
        raise PlacementError(f"{_where(field)}: what a row is called lies in the primary, {PRIMARY!r}")
    if field.unique:
        raise PlacementError(
            f"{_where(field)}: a unique field lies in the primary, {PRIMARY!r}, which decides who was first"
        )
    persistent, primary = (registries.backend(backends[one]).persistent for one in (backend, PRIMARY))
    if primary and not persistent:
        raise PlacementError(
            f"{_where(field)}: backend {backend!r} keeps nothing beyond the process, while the rows are to stay; "
            "place the field elsewhere"
        )


def default_strategy(field: FieldSchema) -> str:
    """The storing strategy of a field that says nothing."""
    return "json" if field.dtype.kind in {"array", "json"} else "inline"


def _profiled(
    field: FieldSchema, backends: Mapping[str, str], registries: Registries, spare: Mapping[str, str]
) -> Sequence[StoreChoice]:
    """What the registered profiles say of a field that says nothing itself; the last registered answers first.

    Of the spare backends they are told those whose library is there.
    """
    profiles = registries.all("profile")
    if profiles:
        ready = {name: kind for name, kind in spare.items() if registries.backend(kind).available()}
        backends = {**ready, **backends}
    for name, profile in reversed(list(profiles.items())):
        try:
            choice = profile(field, dict(backends))
        except Exception as error:  # foreign code may raise anything
            raise PlacementError(f"{_where(field)}: storage profile {name!r} failed: {describe(error)}") from error
        if choice is None:
            continue
        if not isinstance(choice, StoreChoice):
            raise PlacementError(
                f"{_where(field)}: storage profile {name!r} gave {a_kind(choice)}, "
                "and a profile gives a StoreChoice or None"
            )
        return (choice,)
    return ()


def offered(field: FieldSchema, backend_type: str, registries: Registries) -> list[str]:
    """The strategies under which the backend type has any operation for the field's type."""
    known = registries.strategies()
    return [one for one in known if _offers(field, backend_type, one, registries)]


def _offers(field: FieldSchema, backend_type: str, strategy: str, registries: Registries) -> bool:
    if strategy != "external" and field.dtype.kind == "bytes":
        return strategy == "inline"
    if strategy == "external" and field.dtype.kind != "bytes":
        return False
    names = {op.name for op in (*FILTERS, *RANKS, *AGGREGATES)} | {op.name for op in registries.ops()}
    return any(registries.handler(type(field.dtype), op, backend_type, strategy) for op in names)


def _check_offered(field: FieldSchema, backend: str, backend_type: str, strategy: str, registries: Registries) -> None:
    if not _offers(field, backend_type, strategy, registries):
        raise PlacementError(
            f"{_where(field)}: backend {backend!r} ({backend_type}) has no {strategy!r} for {field.dtype!r}; "
            f"it has: {', '.join(offered(field, backend_type, registries))}"
        )


def _where(field: FieldSchema) -> str:
    return f"{field.entity}.{field.name}"


def without_files(placement: Placement) -> dict[str, Placed]:
    """The placement where nothing may be written to disk: what would lie in files stays with the rows, in memory."""
    return {
        name: one._replace(strategy="inline") if one.strategy == "external" else one for name, one in placement.items()
    }


MOST_CHARS = 60
LSN = "_lsn"
"""The column of an engine beside the primary that holds the LSN of the write that a row comes from."""


def lsn_column(backend: str) -> str:
    """The column of the primary that holds the same for each engine beside it; at most 63 characters."""
    if len(backend) <= MOST_CHARS:
        return f"_v_{backend}"
    from hashlib import blake2b

    return f"_v_{backend[:40]}_{blake2b(backend.encode(), digest_size=8).hexdigest()}"


def layouts_of(schema: EntitySchema, placement: Placement, backends: Mapping[str, str]) -> dict[str, Layout]:
    """What each backend stores of the entity, the primary first; one that holds none of its fields has no layout."""
    names = list(dict.fromkeys((PRIMARY, *(one.backend for one in placement.values()))))
    return {name: _layout_of(schema, placement, name, backends[name], names[1:]) for name in names}


def _layout_of(
    schema: EntitySchema, placement: Placement, backend: str, backend_type: str, others: Sequence[str]
) -> Layout:
    """What one backend stores of the entity: of a field that lies in files, the hash."""
    seen = [
        (field, placement[field.name].seen_in(backend, field))
        for field in schema.fields
        if placement[field.name].lies_in(backend) or field.name == "object_id"
    ]
    columns = [
        Column(
            attrs.evolve(field, dtype=_HASH) if placed.strategy == "external" else field,
            placed.strategy,
            placed.indexes,
        )
        for field, placed in seen
    ]
    hidden = [lsn_column(one) for one in others] if backend == PRIMARY else [LSN]
    columns += [Column(FieldSchema(schema.id, name, _LSN), "inline") for name in hidden]
    return Layout(schema.id, backend, backend_type, columns)


def placement_to_dict(placement: Placement, types: Mapping[str, str]) -> dict[str, Any]:
    """The JSON form that is stored with the schema; of a backend beside the primary with its type."""
    return {
        name: placed.to_dict() | ({} if placed.backend == PRIMARY else {"type": types[placed.backend]})
        for name, placed in placement.items()
    }


def types_in(body: Mapping[str, Any]) -> dict[str, str]:
    """The backends that a stored placement names, with their types; "" where it does not say."""
    return {one["backend"]: one.get("type", "") for one in body.values()}


def placement_from_dict(body: Mapping[str, Any]) -> dict[str, Placed]:
    """The placement that `placement_to_dict` wrote."""
    return {
        name: Placed(one["backend"], one["strategy"], tuple(one["indexes"]), one.get("mirror", False))
        for name, one in body.items()
    }
