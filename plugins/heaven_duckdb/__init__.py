"""The DuckDB engine: columns for analytics, in one file, beside a primary. The declaration only."""

from __future__ import annotations

from heaven_core.plugin import StoragePlugin

PLUGIN = StoragePlugin(
    "duckdb",
    backend="heaven_duckdb.engine:DuckBackend",
    handlers="heaven_duckdb.handlers:handlers",
    requires=("duckdb", "pyarrow"),
    extra="duckdb",
    api=1,
    desc="columns for analytics: groups and aggregates over millions of rows, in one file beside the primary",
)
