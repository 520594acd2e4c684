"""Connections to one server: made when somebody needs one, kept for the next, forgotten when the server goes away.

Not psycopg's pool: that one makes connections in the background, so that whoever waits for one learns only that none
came, and neither that the password is wrong nor that the server is down.

Not here: what is said on a connection (`heaven_postgres.engine`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from heaven_core.errors import BackendBusy, HeavenError

WAIT_S = 30.0
CANCEL_S = 5.0
STREAMED = 5000
"""Rows that an answer may have at most to be taken whole."""


@lru_cache(maxsize=4096)
def numbered(text: str) -> str:
    """A statement with `$1`, `$2` for its marks; no name and no text in it holds a question mark."""
    first, *rest = text.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


class Connection:
    """One connection, which one thread uses at a time."""

    __slots__ = ("new", "raw", "timeout_ms")

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.new = True
        """Whether nobody has used it before."""
        self.timeout_ms = 0

    @property
    def broken(self) -> bool:
        """Whether it is of no use any more."""
        return self.raw.closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open on it, failed or not."""
        return self.raw.info.transaction_status not in {TransactionStatus.IDLE, TransactionStatus.UNKNOWN}

    def rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and fetch all that it gives."""
        return self.raw.execute(numbered(text), values, binary=True).fetchall()

    def run(self, text: str, values: Sequence[Any] = ()) -> None:
        """Run a statement; several if there are no values."""
        self.raw.execute(numbered(text) if values else text, values or None)

    def stream(self, text: str, values: Sequence[Any]) -> Any:
        """Run a statement and give its rows as they come."""
        return self.raw.cursor().stream(numbered(text), values, binary=True, size=STREAMED)

    def limit(self, timeout_ms: int) -> None:
        """Let statements take so long; 0 for as long as they want."""
        if timeout_ms != self.timeout_ms:
            self.run(f"set statement_timeout = {timeout_ms}")
            self.timeout_ms = timeout_ms

    def interrupt(self) -> None:
        """Stop what runs on it; from another thread."""
        with suppress(psycopg.Error):
            self.raw.cancel_safe(timeout=CANCEL_S)

    def close(self) -> None:
        """Close it, whatever it is doing."""
        with suppress(psycopg.Error):
            self.raw.close()


class Pool:
    """The connections of one open engine, at most `most` at a time. Any thread may take one."""

    def __init__(
        self, name: str, most: int, connect: Callable[[], Connection], closed_error: Callable[[], HeavenError]
    ) -> None:
        self._name, self._connect, self._closed_error = name, connect, closed_error
        self._room = threading.BoundedSemaphore(most)
        self._guard = threading.Lock()
        self._spare: list[Connection] = []
        self._used: set[Connection] = set()
        self._process = os.getpid()
        self.closed = False

    def take(self) -> Connection:
        """A connection for one user: a spare one or a new one.

        Raises:
            BackendBusy: all are in use for too long.
        """
        if not self._room.acquire(timeout=WAIT_S):
            raise BackendBusy(
                f"backend {self._name!r}: all its connections have been in use for {WAIT_S:.0f} s; "
                "raise 'connections', or use fewer threads"
            )
        try:
            return self._taken()
        except BaseException:
            self._room.release()
            raise

    def _taken(self) -> Connection:
        with self._guard:
            if self.closed:
                raise self._closed_error()
            connection = self._spare.pop() if self._spare else None
            if connection is not None:
                self._used.add(connection)
                return connection
        connection = self._connect()
        with self._guard:
            if not self.closed:
                self._used.add(connection)
                return connection
        connection.close()
        raise self._closed_error()

    def give_back(self, connection: Connection, *, sound: bool = True) -> None:
        """Keep a connection for the next user; one that is not sound, or in the midst of something, is closed."""
        connection.new = False
        with self._guard:
            self._used.discard(connection)
            keep = sound and not self.closed and not connection.broken and not connection.in_transaction
            if keep:
                self._spare.append(connection)
        if not keep:
            connection.close()
        self._room.release()

    def forget(self) -> None:
        """Close the spare ones: the server has gone away, and each of them would fail once."""
        with self._guard:
            spare, self._spare = self._spare, []
        for connection in spare:
            connection.close()

    def close(self) -> None:
        """Close every connection; what runs on one is stopped. A second call does nothing."""
        with self._guard:
            self.closed = True
            used = list(self._used)
        if self._process != os.getpid():  # after a fork they are the parent's
            return
        self.forget()
        for connection in used:
            connection.interrupt()
