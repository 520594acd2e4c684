"""DuckDB's errors in our words: what happened, to which backend, what to do. Its own words stay on the cause."""

from __future__ import annotations

import re

import duckdb

from heaven_core.errors import (
    BackendBusy,
    HeavenError,
    NotADatabase,
    QueryError,
    StorageError,
    StorageFull,
    StorageReadOnly,
)
from heaven_core.evaluate import deadline_exceeded


def is_locked(error: duckdb.Error) -> bool:
    """Whether another process has the file."""
    return "Could not set lock" in str(error)


def busy(error: duckdb.Error, name: str) -> BackendBusy:
    """The error for a file that another process has had for too long."""
    found = re.search(r"PID (\d+)", str(error))
    who = f"process {found[1]}" if found else "another process"
    return BackendBusy(
        f"backend {name!r}: {who} has the DuckDB file open, and it belongs to one process at a time; "
        "close the workspace there, or try again later"
    )


def translated(error: duckdb.Error, name: str) -> HeavenError:
    """The typed error for what DuckDB raised."""
    where, text = f"backend {name!r}", str(error)
    if isinstance(error, duckdb.InterruptException):
        return deadline_exceeded()
    if is_locked(error):
        return busy(error, name)
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryError(f"{where}: the query needs more memory than DuckDB may take; narrow it")
    if "No space left" in text:
        return StorageFull(f"{where}: no space is left; the write was undone")
    if "Permission denied" in text or "read-only" in text.lower():
        return StorageReadOnly(f"{where}: its file cannot be written; check folder and permissions")
    if "not a valid DuckDB database" in text or isinstance(error, duckdb.SerializationException):
        return NotADatabase(f"{where}: the file is no DuckDB database, or of another version; choose another location")
    if isinstance(error, duckdb.CatalogException | duckdb.BinderException):
        return StorageError(f"{where}: its tables are not what this workspace made; they were altered from outside")
    return StorageError(f"{where}: DuckDB refused the operation ({type(error).__name__}); the cause has its words")
