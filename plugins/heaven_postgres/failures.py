"""PostgreSQL's errors in our words: what happened, to which backend, what to do.

SQL, values and the server's own words stay on the cause. Where a server cannot be reached at all there is no code to
go by, and its words are looked at.
"""

from __future__ import annotations

import psycopg

from heaven_core.errors import (
    BackendBusy,
    BackendUnavailable,
    HeavenError,
    NotADatabase,
    StorageError,
    StorageFull,
    StorageReadOnly,
    TransactionError,
)
from heaven_core.evaluate import deadline_exceeded
from heaven_core.handlers import ConditionTooLarge

TOO_LATE = "57014"
"""What a statement is ended with that passes its time or is cancelled."""

_BY_CODE: dict[str, tuple[type[HeavenError], str]] = {
    "25006": (StorageReadOnly, "the server takes no writes; is it a replica?"),
    "25P02": (TransactionError, "this transaction was undone when a statement failed; start another"),
    "3D000": (BackendUnavailable, "the server has no such database; create it, or name another in 'url'"),
    "40001": (BackendBusy, "another process was writing to the same rows; try again"),
    "40P01": (BackendBusy, "another process was writing to the same rows; try again"),
    "42501": (StorageReadOnly, "the server's user may not do that; grant it the right to create and to write"),
    "54000": (StorageError, "a row or a text is larger than PostgreSQL takes; see its limits in docs/workspace.md"),
    "54011": (StorageError, "the entity has more columns than PostgreSQL takes, 1 600 with those of its indexes"),
    "53100": (StorageFull, "no space is left on the server; the write was undone"),
    "53300": (BackendBusy, "the server has no connection left; lower 'connections', or try again"),
    "54001": (ConditionTooLarge, "the condition is nested too deep for the server"),
    "55P03": (BackendBusy, "another process has been writing for too long; try again"),
}
_ALTERED = frozenset({"42P01", "42703", "42804", "42883", "3F000", "0A000"})
"""No such table, column, type, function or schema."""

_AT_THE_DOOR = (
    ("authentication failed", "the server refused user or password; look at 'url'"),
    ("no password supplied", "the server wants a password; put it in 'url', or in PGPASSWORD"),
    ("no pg_hba.conf entry", "the server lets nobody in from here under this user; look at its pg_hba.conf"),
    ("too many clients", "the server has no connection left; try again later"),
    ("remaining connection slots", "the server has no connection left; try again later"),
    ("starting up", "the server is starting; try again in a moment"),
    ("shutting down", "the server is going down; try again when it is back"),
    ("could not translate host name", "there is no such host; look at 'url'"),
    ("not known", "there is no such host; look at 'url'"),
    ("failed to resolve", "there is no such host; look at 'url'"),
    ("refused", "nothing answers there; is the server running, and is 'url' right?"),
    ("No such file", "nothing answers there; is the server running, and is 'url' right?"),
    ("timeout expired", "the server did not answer in time; is it running, and is 'url' right?"),
)


def unreachable(error: psycopg.Error, name: str, *, named: bool) -> HeavenError:
    """The error for a connection that did not come to be; `named` says that somebody said where the server is."""
    code, text = error.sqlstate, str(error)
    if code in _BY_CODE:
        return translated(error, name)
    if 'database "' in text and "does not exist" in text:
        why = _BY_CODE["3D000"][1]
    elif 'role "' in text and "does not exist" in text:
        why = _AT_THE_DOOR[0][1]
    else:
        why = next((why for words, why in _AT_THE_DOOR if words in text), "the server cannot be reached; see the cause")
    where = "" if named else "; no 'url' was given, and the setting server.url (HEAVENBASE_SERVER_URL) has none"
    return BackendUnavailable(f"backend {name!r}: {why}{where}")


def gone(name: str) -> BackendUnavailable:
    """The error for a connection that broke while it was used."""
    return BackendUnavailable(
        f"backend {name!r}: the server went away; what was being written was undone, and it can be tried again"
    )


def translated(error: psycopg.Error, name: str) -> HeavenError:
    """The typed error for what PostgreSQL said."""
    where, code = f"backend {name!r}", error.sqlstate or ""
    if code == TOO_LATE:
        return deadline_exceeded()
    if code in _BY_CODE:
        kind, why = _BY_CODE[code]
        return kind(f"{where}: {why}")
    if code in _ALTERED:
        return StorageError(f"{where}: its tables are not what this workspace made; they were altered from outside")
    if code.startswith(("08", "57P")) or (isinstance(error, psycopg.OperationalError) and not code):
        return gone(name)
    if code.startswith("XX"):
        return StorageError(f"{where}: the server's files are damaged; restore a backup")
    return StorageError(f"{where}: PostgreSQL refused the operation ({type(error).__name__}); the cause has its words")


def not_ours(name: str, schema: str) -> NotADatabase:
    """The error for a schema of somebody else."""
    return NotADatabase(
        f"backend {name!r}: HeavenBase did not make what is in schema {schema!r}; choose another with 'schema'"
    )
