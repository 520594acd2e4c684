"""The required extension: `Catalog` finds concrete objects, `MetaSchema` describes the workspace itself.

Both are derived entities: ordinary to query, computed when asked, stored nowhere.
"""

from __future__ import annotations

from heaven_core.entity import Entity
from heaven_core.plugin import Extension, ExtensionSpec
from heaven_system.catalog import Catalog
from heaven_system.config_layer import ConfigLayer
from heaven_system.metaschema import MetaSchema

__all__ = ["EXTENSION", "Catalog", "ConfigLayer", "MetaSchema", "system_entities"]

EXTENSION = Extension(
    ExtensionSpec(
        "system",
        name="System",
        desc="Finds every object of a workspace and describes its structure",
        version="1",
        entities=(Catalog, MetaSchema),
        required=True,
        tags=("system",),
    ),
    api=1,
)


def system_entities() -> tuple[type[Entity], ...]:
    """The entity classes that every workspace has."""
    return (Catalog, MetaSchema)
