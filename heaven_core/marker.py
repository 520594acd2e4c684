"""The marker: what a workspace's folder says of a primary that does not lie in it as `main.db`.

A folder with a `main.db` says by that itself that its primary is SQLite. For any other primary that has no place of
its own (`database`) the file `workspace.json` names the type, so that nobody who forgets `backends=` is given an
empty workspace. It holds nothing else: no options, so no secrets. A persisted format.
"""

from __future__ import annotations

import os
from typing import Any

from heaven_core.errors import FormatTooNew, StorageError, WorkspaceConflict
from heaven_core.placement import PRIMARY

FILE = "workspace.json"
FORMAT = 1
USUAL = "sqlite"


def is_there(folder: str) -> bool:
    """Whether the folder has a marker."""
    return os.path.exists(f"{folder}/{FILE}")


def check(identifier: str, folder: str, kind: str) -> None:
    """Raise if the folder was made with a primary of another type than this.

    Raises:
        WorkspaceConflict: it was; the message says what to pass.
        StorageError, FormatTooNew: the marker cannot be read.
    """
    made = primary_of(folder)
    if made is not None and made != kind:
        raise WorkspaceConflict(
            f"the folder of workspace {identifier!r} was made with a primary of type {made!r}, not {kind!r}; "
            f"pass backends={{{PRIMARY!r}: {{'type': {made!r}, ...}}}} as when it was made, or another path"
        )


def primary_of(folder: str) -> str | None:
    """The type of the primary that the folder was made with, None where nothing says so."""
    try:
        with open(f"{folder}/{FILE}", encoding="utf-8") as stream:
            return _read(stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return USUAL if _is_filled(f"{folder}/{PRIMARY}.db") else None
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, StorageError):
            raise
        raise _damaged() from error


def _is_filled(file: str) -> bool:
    try:
        return os.stat(file).st_size > 0
    except OSError:
        return False


def _read(text: str) -> str:
    import json

    try:
        body: Any = json.loads(text)
        version, primary = body["format"], body["primary"]
        if version > FORMAT:
            raise FormatTooNew(
                f"{FILE} in the workspace's folder is of a newer HeavenBase (format {version}); upgrade this one"
            )
        if not isinstance(primary, str):
            raise _damaged()
        return primary
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged() from error


def _damaged() -> StorageError:
    return StorageError(f"{FILE} in the workspace's folder cannot be read; restore it from a backup")


def write(folder: str, kind: str) -> None:
    """Let the folder say what its primary is, if it does not yet; durable when it returns.

    Raises:
        StorageError: nothing can be written there.
    """
    if is_there(folder):
        return
    draft = f"{folder}/.{FILE}.{os.getpid()}"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(draft, "w", encoding="utf-8") as stream:
            stream.write(f'{{"format": {FORMAT}, "primary": "{kind}"}}\n')
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, f"{folder}/{FILE}")
    except OSError as error:
        raise StorageError(f"the workspace's folder cannot be written ({os.strerror(error.errno or 0)})") from error


def remove(folder: str) -> None:
    """Take the marker away, if there is one."""
    if is_there(folder):
        os.unlink(f"{folder}/{FILE}")
