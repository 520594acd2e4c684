"""`Catalog`: every stored row of every entity as one row, to find objects without knowing their entity.

Derived: it reads ids and names of the entities that a query can mean, when asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from heaven_core.derive import Hints, View
from heaven_core.entity import Entity, field
from heaven_core.identity import digest
from heaven_core.types import Identifier, Integer, ShortText


def catalog_id(entity: str, object_id: str) -> str:
    """The id of an object's row in the catalog."""
    return digest(f"{entity}\x1f{object_id}", b"hb-catalog")


def rows(view: View, hints: Hints) -> Iterator[dict[str, Any]]:
    """One row per stored row; only entities, ids and names that the query allows are read."""
    for record in view.entities():
        schema = record.schema
        if schema.derived or not hints.allow("target_entity", schema.id):
            continue
        query = view.query(schema.id).select("object_id", "name").limits(max_rows=None, max_bytes=None)
        if "target_id" in hints.equal:
            query = query.where({"object_id": {"$in": sorted(hints.equal["target_id"] - {None})}})
        if "name" in hints.equal:
            query = query.where({"name": {"$in": list(hints.equal["name"])}})
        found = query.execute().rows()
        versions = view.versions(schema.id, [row["object_id"] for row in found])
        for row, version in zip(found, versions, strict=True):
            yield {
                "object_id": catalog_id(schema.id, row["object_id"]),
                "name": row["name"],
                "target_entity": schema.id,
                "target_id": row["object_id"],
                "version": version,
                "owner": record.owner,
            }


class Catalog(Entity):
    """Every concrete object of the workspace: which entity, which id, which version."""

    identifier = "sys-catalog"
    __derived__ = rows

    target_entity = field(Identifier).desc("the entity that has the object")
    target_id = field(Identifier).desc("the object's own object_id")
    version = field(Integer).desc("the number of the write that last changed it")
    owner = field(ShortText).desc("the extension that brought the entity, or empty")
