"""The memory engine: everything in Python objects, nothing on disk. The declaration only."""

from __future__ import annotations

from heaven_core.plugin import StoragePlugin

PLUGIN = StoragePlugin(
    "inmem",
    backend="heaven_inmem.engine:MemoryBackend",
    handlers="heaven_inmem.handlers:handlers",
    aliases=("memory",),
    api=1,
    primary=True,
    persistent=False,
    desc="Python objects in this process; gone with the last handle. The reference for every other engine.",
)
