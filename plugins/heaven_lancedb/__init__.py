"""The LanceDB engine: vectors and their neighbours, in a folder of columns, beside a primary. The declaration only."""

from __future__ import annotations

from heaven_core.plugin import StoragePlugin

PLUGIN = StoragePlugin(
    "lancedb",
    backend="heaven_lancedb.engine:LanceBackend",
    handlers="heaven_lancedb.handlers:handlers",
    aliases=("lance",),
    requires=("lancedb", "pyarrow"),
    extra="lancedb",
    api=1,
    desc="vectors and their neighbours, in a folder of columns beside the primary; several processes at a time",
)
