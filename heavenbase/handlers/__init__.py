"""Handlers: what one is, and how one is registered. All of it is defined in `heaven_core`."""

from __future__ import annotations

from heaven_core.ext import (
    Handler,
    HandlerContext,
    HandlerRegistry,
    Key,
    QueryFragment,
    register_handler,
    register_handler_plugin,
)

__all__ = [
    "Handler",
    "HandlerContext",
    "HandlerRegistry",
    "Key",
    "QueryFragment",
    "register_handler",
    "register_handler_plugin",
]
