"""The folder of a LanceDB engine: whose it is, its tables, and that the disk has what was committed.

Not here: what is in the tables (`heaven_lancedb.engine`).
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from heaven_core.errors import (
    FormatTooNew,
    HeavenError,
    NotADatabase,
    StorageError,
    StorageFull,
    StorageReadOnly,
    WorkspaceClosed,
    WorkspaceConflict,
)
from heaven_core.evaluate import deadline_exceeded

FORMAT = 1
CLAIM = "heavenbase.json"
SETTLED_NS = 2_000_000_000
"""How old a change of a folder must be for the next one to have another time: file systems count no finer."""


class Folder:
    """The tables of one folder, which is made at the first use. Any thread may use it."""

    def __init__(self, path: str, name: str, workspace: str) -> None:
        self._path, self._name, self._workspace = Path(path), name, workspace
        self._lock = threading.RLock()
        self._database: Any = None
        self._tables: dict[str, Any] = {}
        self._synced: dict[str, set[Path]] = {}
        self._versions: dict[str, tuple[int, int]] = {}
        """By entity when its folder of versions was changed last, and the version as of then."""
        self._closed = False

    def table(self, entity: str) -> Any:
        """The table of an entity, as of its latest version."""
        with self._lock:
            if entity not in self._tables:
                self._tables[entity] = self._opened().open_table(f"e_{entity}")
            return self._tables[entity]

    def version(self, entity: str) -> int:
        """The latest version of an entity's table; LanceDB is asked only where there may have been a commit since."""
        table = self.table(entity)
        changed = _changed_ns(self._path / f"e_{entity}.lance" / "_versions")
        known = self._versions.get(entity)
        if known is not None and known[0] == changed:
            return known[1]
        settled = changed is not None and time.time_ns() - changed > SETTLED_NS
        found: int = table.version
        if settled and changed is not None:
            self._versions[entity] = (changed, found)
        return found

    def names(self) -> set[str]:
        """The entities that have a table."""
        database = self._opened()
        return {one.name.removeprefix("e_").removesuffix(".lance") for one in self._path.glob("e_*.lance") if database}

    def create(self, entity: str, schema: Any) -> None:
        """Make an entity's table; one of a registration that was not committed goes."""
        with self._lock:
            if entity in self.names():
                self.drop(entity)
            self._tables[entity] = self._opened().create_table(f"e_{entity}", schema=schema)
            self.sync(entity)

    def drop(self, entity: str) -> None:
        """Remove an entity's table."""
        with self._lock:
            self._tables.pop(entity, None)
            self._synced.pop(entity, None)
            self._versions.pop(entity, None)
            self._opened().drop_table(f"e_{entity}", ignore_missing=True)
            _sync(self._path)

    def _opened(self) -> Any:
        with self._lock:
            if self._closed:
                raise WorkspaceClosed(f"backend {self._name!r}: the workspace was closed while this was going on")
            if self._database is None:
                from importlib import import_module

                self._claim()
                # Imported by the first use: it takes longer than everything else that opening a workspace does.
                lancedb: Any = import_module("lancedb")
                self._database = lancedb.connect(self._path, read_consistency_interval=timedelta(0))
            return self._database

    def _claim(self) -> None:
        """Make an empty folder ours; refuse one of somebody else, and one of a newer format."""
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / CLAIM
        if not file.exists():
            if any(self._path.glob("*.lance")):
                raise NotADatabase(
                    f"backend {self._name!r}: HeavenBase did not make this LanceDB folder; choose another location"
                )
            part = file.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps({"format": FORMAT, "workspace": self._workspace}))
            _sync(part)
            part.replace(file)
            _sync(self._path)
        self._check_claim(file)

    def _check_claim(self, file: Path) -> None:
        try:
            said = json.loads(file.read_text())
            found, workspace = said["format"], said["workspace"]
        except (ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"backend {self._name!r}: the LanceDB folder is damaged ({CLAIM}); restore a backup"
            ) from error
        if found > FORMAT:
            raise FormatTooNew(
                f"backend {self._name!r}: the LanceDB folder has storage format {found}; this HeavenBase reads up to "
                f"{FORMAT}; upgrade it"
            )
        if workspace != self._workspace:
            raise WorkspaceConflict(
                f"backend {self._name!r}: the LanceDB folder belongs to workspace {workspace!r}; open it under that "
                "id, or choose another location"
            )

    def sync(self, entity: str) -> None:
        """Have the disk keep what the last commit of a table made: its files, then the folders that name them."""
        with self._lock:
            root = self._path / f"e_{entity}.lance"
            known = self._synced.setdefault(entity, set())
            folders = [root, *(one for one in root.rglob("*") if one.is_dir())]
            now: set[Path] = set()
            for folder in folders:
                files = {Path(one.path) for one in os.scandir(folder) if one.is_file()}
                fresh = files - known
                for file in fresh:
                    _sync(file)
                if fresh or folder not in known:
                    _sync(folder)
                now |= files | {folder}
            self._synced[entity] = now

    def destroy(self) -> None:
        """Remove the tables and the claim, if the folder is this workspace's; files of others stay."""
        if not self._path.exists():
            return
        self._claim()
        for table in self._path.glob("e_*.lance"):
            shutil.rmtree(table)
        (self._path / CLAIM).unlink()
        if not any(self._path.iterdir()):
            self._path.rmdir()

    def close(self) -> None:
        """Close the folder for good."""
        with self._lock:
            self._closed = True
            self._tables, self._database = {}, None


def _changed_ns(folder: Path) -> int | None:
    """When files came to a folder or went last; None without the folder."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _sync(path: Path) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # joined with others meanwhile
        return
    try:
        os.fsync(number)
    finally:
        os.close(number)


def translated(error: Exception, name: str) -> HeavenError:
    """The typed error for what LanceDB raised; its own words stay on the cause."""
    where, text = f"backend {name!r}", str(error)
    if "timeout" in text.lower() or isinstance(error, TimeoutError):
        return deadline_exceeded()
    if "No space left" in text:
        return StorageFull(f"{where}: no space is left; the write was undone")
    if isinstance(error, PermissionError) or "Permission denied" in text or "Read-only" in text:
        return StorageReadOnly(f"{where}: its folder cannot be written; check the folder and its permissions")
    if "was not found" in text or "No field named" in text or "not found" in text.lower():
        return StorageError(
            f"{where}: its tables are not what this workspace made; they were altered from outside; see ws.check()"
        )
    return StorageError(f"{where}: LanceDB refused the operation ({type(error).__name__}); the cause has its words")
