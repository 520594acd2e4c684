"""Everything that HeavenBase raises on purpose, in one tree.

A leaf also inherits the builtin that a caller would expect (`KeyError`-like
things are `LookupError`, bad values are `ValueError`), so ordinary Python code
can catch them without knowing this module::

    HeavenError
    ├── ConfigError (ValueError)             a setting that cannot be used
    ├── PluginError                          something installed or registered is at fault
    │   ├── UnknownPlugin (LookupError)      no such backend or extension
    │   ├── PluginLoadError (ImportError)    found, asked for, and broken
    │   ├── EngineNotInstalled (ImportError) declared, but its library is missing
    │   └── RegistrationConflict (ValueError) a key is taken
    ├── SchemaError (ValueError)             an entity or its fields are at fault
    │   ├── InvalidName                      an identifier that breaks the naming rules
    │   ├── UnknownEntity (LookupError)
    │   ├── UnknownField (LookupError)
    │   ├── PlacementError                   no engine can hold the field as asked
    │   └── SchemaConflict                   a change that is not additive
    ├── InvalidValue (ValueError)            a value that its field refuses
    │   ├── InvalidType (TypeError)          ... because of its Python type
    │   ├── DuplicateId                      one id twice in a batch
    │   └── UniqueViolation                  another row has this value
    ├── QueryError (ValueError)              a question that cannot be asked
    │   ├── UnknownOp (LookupError)
    │   ├── UnknownKey (LookupError)
    │   ├── QueryTooDeep
    │   ├── UnsupportedOp                    known, but not for this type or placement
    │   ├── DeadlineExceeded (TimeoutError)
    │   ├── QueryCancelled
    │   └── ResultTooLarge
    ├── NotFound (LookupError)               no row has this id
    ├── AmbiguousId (LookupError)            two entities have it
    ├── NotResolved (LookupError)            a stored function that cannot be imported
    ├── ComputeError                         a computed field's function raised
    ├── WorkspaceError (RuntimeError)        the workspace is in the wrong state
    │   ├── WorkspaceConflict                open or made with another configuration
    │   ├── WorkspaceClosed
    │   └── TransactionError
    │       └── TransactionConflict          what it has read was changed before it wrote
    └── StorageError (OSError)               an engine said no
        ├── NotADatabase
        ├── FormatTooNew
        ├── StorageReadOnly
        ├── StorageFull
        ├── BackendUnavailable (ConnectionError)
        └── BackendBusy (TimeoutError)

A message says what went wrong, with which thing, and what to do. It never holds
SQL, a parameter value that was not the caller's own mistake, or a secret: those
stay on attributes or on the cause.

Not here: the decision when to raise; each module raises its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import IOBase
from os import PathLike
from typing import Any, cast


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A sentence that helps after a misspelt `word`, or the list of what is known."""
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(str(word), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "there are none"
    listed = ", ".join(map(printable, names[:30]))
    return f"known: {listed}" + (", ..." if len(names) > 30 else "")


def a_kind(value: object) -> str:
    """The class of a value, for messages: ``an int``, ``a str``."""
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}"


def printable(text: str) -> str:
    """`text` with escapes for what would not be seen or would drive a terminal: controls, bidi marks, surrogates."""
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def shown(value: object, limit: int = 60) -> str:
    """`value` as a message shows it: its repr, cut, on one line and safe to print; letters of any script stay."""
    if isinstance(value, (list, tuple, dict, set, frozenset)):
        return f"{a_kind(value)} of {len(value)}"  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >> 128:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)) and len(value) > limit:
        text = f"{value[:limit]!r}..."
    else:
        text = repr(value) if isinstance(value, (str, bytes, int, float, bool, type(None))) else _described(value)
    text = printable(text)
    return text if len(text) <= limit + 20 else text[:limit] + "..."


def _described(value: object) -> str:
    if isinstance(value, (IOBase, PathLike)):  # their repr is a place on this machine
        return a_kind(cast("object", value))
    try:
        return " ".join(repr(value).split())  # a table's is many lines
    except Exception:  # noqa: BLE001  # an object of somebody else that cannot describe itself
        return a_kind(value)


class HeavenError(Exception):
    """The root: catch this to catch everything that HeavenBase raises on purpose.

    Keyword arguments become attributes, so that code can read what a message says.
    """

    def __init__(self, message: str, **attributes: Any) -> None:
        super().__init__(message)
        self.message = message
        for key, value in attributes.items():
            setattr(self, key, value)

    def __str__(self) -> str:  # KeyError and OSError would print it their own way
        return self.message


class ConfigError(HeavenError, ValueError):
    """A setting that cannot be used."""


class PluginError(HeavenError):
    """Something that is installed or registered is at fault."""


class UnknownPlugin(PluginError, LookupError):
    """No backend or extension has this name."""


class PluginLoadError(PluginError, ImportError):
    """A plugin was asked for by name, was found, and could not be used.

    `stage` says how far it came; `name` and `dist` say which one.
    """


class EngineNotInstalled(PluginError, ImportError):
    """A declared engine whose library is missing; the message has the command that installs it."""


class RegistrationConflict(PluginError, ValueError):
    """The key is taken by somebody else."""


class SchemaError(HeavenError, ValueError):
    """An entity declaration is at fault."""


class InvalidName(SchemaError):
    """An identifier that breaks the naming rules."""


class UnknownEntity(SchemaError, LookupError):
    """This workspace has no such entity."""


class UnknownField(SchemaError, LookupError):
    """The entity has no such field."""


class PlacementError(SchemaError):
    """No configured engine can hold the field as asked."""


class SchemaConflict(SchemaError):
    """The declaration differs from the stored one by more than additions."""


class InvalidValue(HeavenError, ValueError):
    """A value that its field refuses; nothing of its batch was written.

    Attributes: `entity`, `field`, `row` (position in the batch, from 0), `value`, `reason`.
    """

    entity: str | None
    field: str | None
    row: int | None
    value: Any
    reason: str

    @classmethod
    def at(cls, entity: str | None, field: str | None, row: int | None, value: object, reason: str) -> InvalidValue:
        """The error for one value of one row, with a message that names all four."""
        place = ".".join(part for part in (entity, field) if part) or "value"
        where = f"{place}, row {row}" if row is not None else place
        what = shown(value)
        said = reason.replace(f"is {what};", "is of the wrong kind;", 1)  # where only its kind is shown
        return cls(f"{where}: {what} {said}", entity=entity, field=field, row=row, value=value, reason=reason)


class InvalidType(InvalidValue, TypeError):
    """A value whose Python type its field refuses: values are never coerced silently."""


class DuplicateId(InvalidValue):
    """One object_id twice in a batch."""


class UniqueViolation(InvalidValue):
    """Another row of the entity has this value in a unique field."""


class QueryError(HeavenError, ValueError):
    """A question that cannot be asked."""


class UnknownOp(QueryError, LookupError):
    """No such operation."""


class UnknownKey(QueryError, LookupError):
    """No such key in a JSON query or filter."""


class QueryTooDeep(QueryError):
    """The filter is nested deeper than the limit."""


class UnsupportedOp(QueryError):
    """A known operation that this type or this placement does not have."""


class DeadlineExceeded(QueryError, TimeoutError):
    """The query took longer than its deadline and was stopped."""


class QueryCancelled(QueryError):
    """Another thread cancelled the query."""


class ResultTooLarge(QueryError):
    """The result passed the cap on rows or bytes; nothing was returned."""


class NotFound(HeavenError, LookupError):
    """No row has this id."""


class AmbiguousId(HeavenError, LookupError):
    """More than one entity has a row of this id; name the entity."""


class NotResolved(HeavenError, LookupError):
    """A function that the schema stores by name cannot be imported here."""


class ComputeError(HeavenError):
    """The function of a computed field raised for a row; what it raised is the cause. Nothing was written."""


class WorkspaceError(HeavenError, RuntimeError):
    """The workspace is in the wrong state for this."""


class WorkspaceConflict(WorkspaceError):
    """This workspace is open already, or was made, with another configuration."""


class WorkspaceClosed(WorkspaceError):
    """The handle was closed, dropped, or inherited from another process."""


class TransactionError(WorkspaceError):
    """A transaction was used outside its rules."""


class TransactionConflict(TransactionError):
    """Somebody committed between what a transaction has read and its first write; begin it again."""


def read_before(name: str) -> TransactionConflict:
    """The error of a backend's transaction that has read what was changed since."""
    return TransactionConflict(
        f"backend {name!r}: another write was committed since this transaction began to read; "
        "begin it again, or open it with transaction(exclusive=True)"
    )


class StorageError(HeavenError, OSError):
    """An engine refused; the cause holds the engine's own words."""


class NotADatabase(StorageError):
    """The file is there and is not what it should be."""


class FormatTooNew(StorageError):
    """Written by a newer HeavenBase; this one does not touch it."""


class StorageReadOnly(StorageError):
    """The location cannot be written."""


class StorageFull(StorageError):
    """No space is left where the engine writes."""


class BackendUnavailable(StorageError, ConnectionError):
    """A server cannot be reached, refuses to let us in, or went away."""


class BackendBusy(StorageError, TimeoutError):
    """Another process held the engine for longer than the wait."""
