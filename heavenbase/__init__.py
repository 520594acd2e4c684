"""HeavenBase: a workspace where each field lies in the engine that serves it, and one query spans them all.

    import heavenbase as hb

    class Doc(hb.Entity):
        title = hb.field(hb.ShortText).required()

    with hb.HeavenBase("demo", preset="debug") as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"title": "On storage"})
        print(ws.query(Doc).where(Doc.title.contains("storage")).execute().rows())

Everything here is defined elsewhere and imported at first use; this module has no
logic of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heaven_core._version import __version__
from heaven_core.entity import Entity, Field, field
from heaven_core.errors import HeavenError
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.strategies import (
    ExternalRef,
    InlineColumn,
    InvertedIndex,
    JsonField,
    SideTable,
    Strategy,
    SuffixIndex,
    TrigramIndex,
    VectorIndex,
)
from heaven_core.types import (
    Array,
    Artifact,
    Boolean,
    Categorical,
    Date,
    Duration,
    Float,
    Identifier,
    Integer,
    Json,
    LogicalType,
    LongText,
    MediumText,
    ShortText,
    Timestamp,
    Vector,
)

if TYPE_CHECKING:
    from heaven_core import config as config
    from heaven_core import errors as errors
    from heaven_core.cancellation import Cancellation as Cancellation
    from heaven_core.capabilities import CapabilityIndex
    from heaven_core.frame import ResultFrame as ResultFrame
    from heaven_core.query import Query as Query
    from heaven_core.workspace import HeavenBase as HeavenBase
    from heaven_core.workspace import Transaction as Transaction
    from heaven_system import Catalog as Catalog
    from heaven_system import ConfigLayer as ConfigLayer
    from heaven_system import MetaSchema as MetaSchema
    from heavenbase import ext as ext

    capabilities: CapabilityIndex

_LAZY = {
    "Cancellation": "heaven_core.cancellation:Cancellation",
    "Catalog": "heaven_system:Catalog",
    "ConfigLayer": "heaven_system:ConfigLayer",
    "HeavenBase": "heaven_core.workspace:HeavenBase",
    "MetaSchema": "heaven_system:MetaSchema",
    "Query": "heaven_core.query:Query",
    "ResultFrame": "heaven_core.frame:ResultFrame",
    "Transaction": "heaven_core.workspace:Transaction",
    "config": "heaven_core.config:",
    "errors": "heaven_core.errors:",
    "ext": "heavenbase.ext:",
}

__all__ = [
    "Array",
    "Artifact",
    "Boolean",
    "Cancellation",
    "Catalog",
    "Categorical",
    "ConfigLayer",
    "Date",
    "Duration",
    "Entity",
    "EntitySchema",
    "ExternalRef",
    "Field",
    "FieldSchema",
    "Float",
    "HeavenBase",
    "HeavenError",
    "Identifier",
    "InlineColumn",
    "Integer",
    "InvertedIndex",
    "Json",
    "JsonField",
    "LogicalType",
    "LongText",
    "MediumText",
    "MetaSchema",
    "Query",
    "ResultFrame",
    "ShortText",
    "SideTable",
    "Strategy",
    "SuffixIndex",
    "Timestamp",
    "Transaction",
    "TrigramIndex",
    "Vector",
    "VectorIndex",
    "__version__",
    "capabilities",
    "config",
    "errors",
    "ext",
    "field",
]


def __getattr__(name: str) -> Any:
    if name == "capabilities":
        from heaven_core.capabilities import process_capabilities

        value: Any = process_capabilities()
    elif name in _LAZY:
        module, _, attribute = _LAZY[name].partition(":")
        value = import_module(module)
        value = getattr(value, attribute) if attribute else value
    else:
        raise AttributeError(f"module 'heavenbase' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
