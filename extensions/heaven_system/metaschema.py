"""`MetaSchema`: the workspace's structure as rows: entities, fields with their placement, extensions, registries.

Derived, so it never disagrees with what it describes. The some thousand
combinations of type, operation, backend and strategy are rows of kind
`capability`; a query that asks for another kind, or for an entity's rows, does
not pay for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from heaven_core.capabilities import Options
from heaven_core.derive import EntityRecord, Hints, View
from heaven_core.entity import Entity
from heaven_core.entity import field as declare
from heaven_core.identity import digest
from heaven_core.plugin import ExtensionSpec
from heaven_core.types import Array, Boolean, Identifier, Json, MediumText, ShortText

Row = dict[str, Any]


def _row(kind: str, subject: str, *, desc: str = "", tags: Sequence[str] = (), **rest: Any) -> Row:
    key = digest(f"{kind}\x1f{subject}", b"hb-meta")
    words = {"desc": desc[:4095], "tags": [tag[:255] for tag in tags]}  # a class may say more than a row holds
    return {"object_id": key, "name": subject[:255], "kind": kind, "subject": subject, **words, **rest}


def rows(view: View, hints: Hints) -> Iterator[Row]:
    """All rows, but for those of kinds that the query cannot mean."""
    if hints.allow("kind", "entity") or hints.allow("kind", "field"):
        for record in view.entities():
            if hints.allow("entity", record.schema.id):
                yield from _entity(record)
    if not hints.allow("entity", None):
        return
    if hints.allow("kind", "extension"):
        for spec in view.extensions():
            yield _extension(spec)
    for kind, options in _registries(view):
        if hints.allow("kind", kind):
            for option in options():
                yield _option(kind, option)
    if hints.allow("kind", "capability"):
        yield from _capabilities(view)


def _extension(spec: ExtensionSpec) -> Row:
    return _row(
        "extension",
        spec.identifier,
        title=spec.name[:255],
        desc=spec.desc,
        version=spec.version[:255],
        tags=spec.tags,
        required=spec.required,
        meta=spec.to_dict(),
    )


def _entity(record: EntityRecord) -> Iterator[Row]:
    schema = record.schema
    yield _row(
        "entity",
        schema.id,
        entity=schema.id,
        desc=schema.desc,
        tags=schema.tags,
        owner=record.owner,
        meta={"fields": list(schema.names), "derived": schema.derived, "observed": schema.observed},
    )
    for one in schema.fields:
        placed = record.placement[one.name]
        yield _row(
            "field",
            f"{schema.id}.{one.name}",
            entity=schema.id,
            field=one.name,
            dtype=one.dtype.identifier,
            desc=one.desc,
            tags=one.tags,
            required=one.required,
            owner=record.owner,
            backend=None if schema.derived else placed["backend"],
            strategy=None if schema.derived else placed["strategy"],
            meta={"schema": one.to_dict(), "indexes": list(placed["indexes"])},
        )


def _registries(view: View) -> Iterator[tuple[str, Callable[[], Options]]]:
    index = view.capabilities
    yield "logical-type", index.logical_types
    yield "strategy", index.strategies
    yield "op", index.ops
    yield "backend", index.backends


def _option(kind: str, option: Any) -> Row:
    details = option.to_dict()
    return _row(kind, option.identifier, desc=details.get("desc", ""), tags=details["aliases"], meta=details)


def _capabilities(view: View) -> Iterator[Row]:
    for one in view.capabilities.combinations():
        subject = ".".join((one["dtype"], one["op"], one["backend"], one["strategy"]))
        yield _row(
            "capability", subject, dtype=one["dtype"], backend=one["backend"], strategy=one["strategy"], meta=one
        )


class MetaSchema(Entity):
    """The workspace described by itself: structure, capabilities and extensions."""

    identifier = "sys-metaschema"
    __derived__ = rows

    kind = declare(Identifier).desc("entity, field, extension, logical-type, strategy, op, backend or capability")
    subject = declare(MediumText).desc("what the row is about, such as doc.title")
    title = declare(ShortText).desc("the name for people")
    entity = declare(Identifier).desc("the entity, of entities and fields")
    field = declare(Identifier).desc("the field's name")
    dtype = declare(Identifier).desc("the logical type's identifier")
    desc = declare(MediumText).desc("a sentence about it")
    tags = declare(Array(ShortText)).desc("labels; for registries, the aliases")
    required = declare(Boolean).desc("whether a field needs a value, or an extension cannot be skipped")
    version = declare(ShortText).desc("the extension's version")
    owner = declare(ShortText).desc("the extension that brought the entity, or empty")
    backend = declare(Identifier).desc("the backend that holds the field")
    strategy = declare(Identifier).desc("the strategy that stores it")
    meta = declare(Json).desc("everything else")
