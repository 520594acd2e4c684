"""SQLite's errors in our words: what happened, to which backend, what to do.

SQL and values stay on the cause, which is the original exception.
"""

from __future__ import annotations

import os.path
import sqlite3

from heaven_core.errors import (
    BackendBusy,
    HeavenError,
    NotADatabase,
    StorageError,
    StorageFull,
    StorageReadOnly,
    WorkspaceClosed,
)
from heaven_core.evaluate import deadline_exceeded

_BY_CODE: dict[int, tuple[type[StorageError], str]] = {
    sqlite3.SQLITE_BUSY: (BackendBusy, "another process has been writing for too long; try again"),
    sqlite3.SQLITE_LOCKED: (BackendBusy, "another process has been writing for too long; try again"),
    sqlite3.SQLITE_NOTADB: (NotADatabase, "the file is no SQLite database; choose another location"),
    sqlite3.SQLITE_READONLY: (StorageReadOnly, "the location is read-only; choose one that can be written"),
    sqlite3.SQLITE_CANTOPEN: (
        StorageReadOnly,
        "the database file cannot be opened or created; check folder and permissions",
    ),
    sqlite3.SQLITE_FULL: (StorageFull, "no space is left; the write was undone"),
    sqlite3.SQLITE_CORRUPT: (StorageError, "the database file is damaged; restore a backup"),
    sqlite3.SQLITE_IOERR: (StorageError, "the disk failed to read or write; what was being written was undone"),
}


def no_database(name: str) -> NotADatabase:
    """The error for a file that was never SQLite's."""
    return NotADatabase(f"backend {name!r}: {_BY_CODE[sqlite3.SQLITE_NOTADB][1]}")


def check_no_folder(path: str, name: str) -> None:
    """Refuse a folder, of which SQLite only says that it cannot be opened.

    Raises:
        NotADatabase: that is what lies there.
    """
    if os.path.isdir(path):
        raise NotADatabase(f"backend {name!r}: its 'database' is a folder; name a file in it, which may be new")


def misplaced(name: str) -> StorageError:
    """The error for a file that is no longer where it was opened."""
    return StorageError(
        f"backend {name!r}: its file was moved, deleted or replaced while the workspace was open; "
        "close the workspace, and open it where the file is"
    )


def translated(error: sqlite3.Error, name: str) -> HeavenError:
    """The typed error for what SQLite raised."""
    where = f"backend {name!r}"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_INTERRUPT:
        return deadline_exceeded()
    if code in _BY_CODE:
        kind, why = _BY_CODE[code]
        return kind(f"{where}: {why}")
    text = str(error).lower()  # it may end with names and values, so only its beginning counts
    if text.startswith(("no such table", "no such column", "table e_")):
        return StorageError(f"{where}: its tables are not what this workspace made; they were altered from outside")
    if text.startswith(("malformed json", "could not decode")):
        return StorageError(f"{where}: {_BY_CODE[sqlite3.SQLITE_CORRUPT][1]}")
    if "closed database" in text:
        return WorkspaceClosed(f"{where}: the workspace was closed while this was going on")
    return StorageError(f"{where}: SQLite refused the operation ({type(error).__name__}); the cause has its words")
