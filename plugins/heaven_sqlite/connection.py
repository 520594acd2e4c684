"""A connection to a SQLite file, with the deadline of the query that it runs.

Not here: opening and setting it up, and which thread has which (`heaven_sqlite.engine`).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heaven_core.cancellation import Cancellation

STEPS_BETWEEN_LOOKS = 1_000
"""Steps of SQLite's machine between two looks at the clock: some hundred rows, each perhaps a slow function's."""


CLOSE_WAIT_S = 5.0


class Connection:
    """One SQLite connection, with the deadline of the query that it runs and whoever may cancel it.

    Whoever runs something on it holds `lock` meanwhile: closing a connection under another
    thread's statement would end the process. `shut` says that a fork has closed it.
    """

    __slots__ = ("cancel", "deadline", "execute", "executemany", "lock", "raw", "shut")

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self.lock = threading.RLock()
        self.shut = False
        self.execute = self.raw.execute
        self.executemany = self.raw.executemany
        self.deadline: float | None = None
        self.cancel: Cancellation | None = None
        self.raw.set_progress_handler(self._late, STEPS_BETWEEN_LOOKS)

    def _late(self) -> bool:
        if self.cancel is not None and self.cancel.cancelled:
            return True
        return self.deadline is not None and time.monotonic() > self.deadline

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; none is where another thread has closed the connection."""
        try:
            return self.raw.in_transaction
        except sqlite3.ProgrammingError:
            return False

    def close(self) -> None:
        """Stop what runs, undo what is pending and close; what does not stop in time keeps it open."""
        if not self.lock.acquire(blocking=False):
            with suppress(sqlite3.ProgrammingError):  # closed already
                self.raw.interrupt()
            if not self.lock.acquire(timeout=CLOSE_WAIT_S):
                return
            with suppress(sqlite3.Error):
                self.raw.execute("select 1")  # else the interrupt would also stop the checkpoint of the close
        try:
            self.raw.close()
        finally:
            self.lock.release()


class Held:
    """A thread's connection: goes back when the thread ends, so that short-lived threads leave none behind."""

    __slots__ = ("_give_back", "connection")

    def __init__(self, connection: Connection, give_back: Callable[[Connection], None]) -> None:
        self.connection, self._give_back = connection, give_back

    def __del__(self) -> None:
        self._give_back(self.connection)
