"""Handler plugins: how one is registered, and the tables of the engines that come with HeavenBase, by name.

    from heavenbase.handlers.plugins import register_handler_plugin, sqlite

    for handler in sqlite():
        print(handler.key)

Each table is defined in its engine's package and imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from heaven_core.ext import register_handler_plugin

if TYPE_CHECKING:
    from heaven_inmem.handlers import handlers as inmem
    from heaven_sqlite.handlers import handlers as sqlite

__all__ = ["inmem", "register_handler_plugin", "sqlite"]

_LAZY = {"inmem": "heaven_inmem.handlers", "sqlite": "heaven_sqlite.handlers"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    table = globals()[name] = import_module(_LAZY[name]).handlers
    return table


def __dir__() -> list[str]:
    return sorted(__all__)
