"""Extending HeavenBase from code: everything of `heaven_core.ext`, and the system extension's list of entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heaven_core.ext import (
    API,
    Backend,
    BackendConfig,
    Extension,
    ExtensionSpec,
    FieldSchema,
    Handler,
    HandlerContext,
    HandlerRegistry,
    Hints,
    Key,
    LogicalType,
    Op,
    Primary,
    QueryFragment,
    Refused,
    Registration,
    StoragePlugin,
    StorageProfile,
    StoreChoice,
    Strategy,
    View,
    register_backend_builder,
    register_backend_class,
    register_extension,
    register_handler,
    register_handler_plugin,
    register_logical_type,
    register_op,
    register_storage_profile,
    register_strategy,
)

if TYPE_CHECKING:
    from heaven_core.hooks import hookimpl
    from heaven_system import system_entities

__all__ = [
    "API",
    "Backend",
    "BackendConfig",
    "Extension",
    "ExtensionSpec",
    "FieldSchema",
    "Handler",
    "HandlerContext",
    "HandlerRegistry",
    "Hints",
    "Key",
    "LogicalType",
    "Op",
    "Primary",
    "QueryFragment",
    "Refused",
    "Registration",
    "StoragePlugin",
    "StorageProfile",
    "StoreChoice",
    "Strategy",
    "View",
    "hookimpl",
    "register_backend_builder",
    "register_backend_class",
    "register_extension",
    "register_handler",
    "register_handler_plugin",
    "register_logical_type",
    "register_op",
    "register_storage_profile",
    "register_strategy",
    "system_entities",
]


def __getattr__(name: str) -> Any:
    if name == "hookimpl":
        import heaven_core.ext

        return heaven_core.ext.hookimpl
    if name == "system_entities":
        import heaven_system

        return heaven_system.system_entities
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
