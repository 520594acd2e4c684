"""Who has the DuckDB file: opened at the first use, closed after a pause, so that other processes have their turn.

Opening it again takes a tenth of a second and more, so the pause is some seconds. A process that waits says so by a
file beside the database, and has its turn as soon as nobody uses it here.

Not here: what is done with the file (`heaven_duckdb.engine`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from heaven_core.backend import Limits
from heaven_core.errors import (
    FormatTooNew,
    NotADatabase,
    StorageReadOnly,
    WorkspaceClosed,
    WorkspaceConflict,
)
from heaven_core.evaluate import deadline_exceeded
from heaven_core.watch import Watch
from heaven_duckdb import statements
from heaven_duckdb.failures import busy, is_locked

FORMAT = 1
IDLE_S = 5.0
"""How long the file stays open after its last use, if no other process waits for it."""
SWEEP_S = 0.25
"""How often that is looked at."""
TURN_S = 0.1
"""How long it is left to one that waits, who looks every `BUSY_PAUSE_S`."""
BUSY_WAIT_S = 10.0
BUSY_PAUSE_S = 0.02
WANTED = ".wanted"
"""What the name of the file ends with that says that somebody waits."""

SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


class Holder:
    """One DuckDB file. Any thread may use it."""

    def __init__(self, path: str, name: str, workspace: str) -> None:
        self._path, self._name, self._workspace = path, name, workspace
        self._lock = threading.Lock()
        self._connection: Any = None
        self._users = 0
        self._last = 0.0
        self._again = 0.0
        """When it may be opened here once more."""
        self._sweeper: threading.Thread | None = None
        self._wanted = Path(f"{path}{WANTED}")
        self._closed = False
        self._watch = Watch()

    @contextmanager
    def cursor(self, limits: Limits | None = None) -> Generator[Any]:
        """A cursor of the file, which stays open meanwhile; interrupted where the limits say so."""
        cursor = self._taken(limits)
        try:
            with self._watch.over(cursor.interrupt, limits):
                yield cursor
        finally:
            cursor.close()
            with self._lock:
                self._users -= 1
                self._last = time.monotonic()
                if self._closed:
                    self._shut()

    def _gone(self) -> WorkspaceClosed:
        return WorkspaceClosed(f"backend {self._name!r}: the workspace was closed while this was going on")

    def _taken(self, limits: Limits | None) -> Any:
        """A cursor, as soon as no other process has the file; nobody else waits meanwhile.

        Raises:
            BackendBusy, DeadlineExceeded, QueryCancelled, WorkspaceClosed: it takes too long.
        """
        deadline = None if limits is None else limits.deadline
        ends = time.monotonic() + (BUSY_WAIT_S if deadline is None else min(BUSY_WAIT_S, deadline))
        while True:
            try:
                with self._lock:
                    if self._closed:
                        raise self._gone()
                    if self._connection is None and time.monotonic() >= self._again:
                        self._connection = self._opened()
                        self._watch_over()
                    if self._connection is not None:
                        cursor = self._connection.cursor()
                        self._users += 1
                        return cursor
            except duckdb.IOException as error:
                if not is_locked(error):
                    raise
                with suppress(OSError):
                    self._wanted.touch()
                if limits is not None and limits.cancel is not None:
                    limits.cancel.check()
                if time.monotonic() > ends:
                    raise (
                        busy(error, self._name) if deadline is None or deadline > BUSY_WAIT_S else deadline_exceeded()
                    ) from error
            time.sleep(BUSY_PAUSE_S)

    def _opened(self) -> Any:
        try:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageReadOnly(
                f"backend {self._name!r}: its folder cannot be created ({error.strerror}); choose another location"
            ) from error
        connection = duckdb.connect(self._path, config=SETTINGS)
        try:
            self._claim(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _claim(self, connection: Any) -> None:
        """Make an empty file ours; refuse one of somebody else, and one of a newer format."""
        tables = {name for (name,) in connection.execute(statements.TABLES).fetchall()}
        if "hb_state" not in tables:
            if tables:
                raise NotADatabase(
                    f"backend {self._name!r}: HeavenBase did not make this DuckDB database; choose another location"
                )
            connection.execute("begin")
            connection.execute(statements.STATE)
            connection.execute("insert into hb_state values (?, ?)", [FORMAT, self._workspace])
            connection.execute("commit")
        found, workspace = connection.execute("select format, workspace from hb_state").fetchall()[0]
        if found > FORMAT:
            raise FormatTooNew(
                f"backend {self._name!r}: the DuckDB file has storage format {found}; this HeavenBase reads up to "
                f"{FORMAT}; upgrade it"
            )
        if workspace != self._workspace:
            raise WorkspaceConflict(
                f"backend {self._name!r}: the DuckDB file belongs to workspace {workspace!r}; open it under that id, "
                "or choose another location"
            )

    # closing -----------------------------------------------------------------------------------------------------

    def _watch_over(self) -> None:
        """Look after the open file, from a thread that lives as long as it is open."""
        with suppress(OSError):  # those who wait say so again and again
            self._wanted.unlink(missing_ok=True)
        self._sweeper = threading.Thread(target=self._sweep, name="heaven-duckdb-sweep", daemon=True)
        self._sweeper.start()

    def _sweep(self) -> None:
        while True:
            time.sleep(SWEEP_S)
            with self._lock:
                if self._sweeper is not threading.current_thread():
                    return
                wanted = self._wanted.exists()
                if self._users == 0 and (wanted or time.monotonic() - self._last > IDLE_S):
                    self._shut()
                    self._again = time.monotonic() + TURN_S if wanted else 0.0

    def _shut(self) -> None:
        if self._users == 0 and self._connection is not None:
            connection, self._connection = self._connection, None
            self._sweeper = None
            connection.close()

    def close(self) -> None:
        """Close the file for good, as soon as nobody uses it."""
        with self._lock:
            self._closed = True
            self._shut()
