"""The SQLite engine: one file, crash-safe, in Python's own library. The declaration only."""

from __future__ import annotations

from heaven_core.plugin import StoragePlugin

PLUGIN = StoragePlugin(
    "sqlite",
    backend="heaven_sqlite.engine:SqliteBackend",
    handlers="heaven_sqlite.handlers:handlers",
    aliases=("sqlite3",),
    api=1,
    primary=True,
    probe="heaven_sqlite.probe:probe",
    desc="one file per workspace, durable at every commit, full text by FTS5",
)
