"""The connections of one SQLite file: a thread's own for reading, spare ones for transactions, and none across a fork.

SQLite keeps its file locks per process. A child of a fork that opens a file whose connections
it has inherited takes the parent's locks for its own, and what it commits can be lost. So a
fork waits for the write that is going on, and connections are closed before it and made anew
after it. Where one is in the midst of a transaction, the child is told that it cannot open
that file.

Not here: setting up a connection, and what runs on it (`heaven_sqlite.engine`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress

from heaven_core.errors import HeavenError
from heaven_sqlite.connection import Connection, Held

FORK_WAIT_S = 5.0

File = tuple[int, int]


class Pool:
    """Connections, and the lock among this process's writers. Any thread may take one."""

    def __init__(self, path: str, connect: Callable[[], sqlite3.Connection], gone: Callable[[], HeavenError]) -> None:
        self._path, self._connect, self._gone = path, connect, gone
        self.closed = False
        self._file: File | None = None
        self._local = threading.local()
        self._guard = threading.RLock()
        self._all: list[Connection] = []
        self._spare: list[Connection] = []
        self._writer = threading.Lock()
        self._writing: int | None = None
        self._paused: list[Callable[[], None]] = []
        _pools.add(self)

    def take(self) -> Connection:
        """A connection for one user at a time: a spare one or a new one."""
        with self._guard:  # around connecting too, so that a fork waits for it
            if self.closed:
                raise self._gone()
            while self._spare:
                connection = self._spare.pop()
                if not connection.shut:
                    return connection
            connection = Connection(self._connect())
            self._file = self._file or file_at(self._path)
            self._all.append(connection)
            return connection

    @property
    def opened(self) -> bool:
        """Whether there has been a connection."""
        return self._file is not None

    @property
    def misplaced(self) -> bool:
        """Whether the path leads to another file than the one that was opened first, or nowhere."""
        return self._file is not None and file_at(self._path) != self._file

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next user. Without the lock, which a fork may have left taken."""
        if self.closed:
            connection.close()
        elif not connection.shut:
            self._spare.append(connection)

    def reader(self) -> Connection:
        """This thread's own connection."""
        try:
            connection: Connection = self._local.connection
        except AttributeError:
            return self._hold()
        return self._hold() if connection.shut else connection

    def _hold(self) -> Connection:
        held = self._local.held = Held(self.take(), self.give_back)
        self._local.connection = held.connection
        return held.connection

    def take_writer(self, wait_s: float) -> bool:
        """Wait for the lock among this process's writers; whether it came in time."""
        if not self._writer.acquire(timeout=wait_s):
            return False
        self._writing = threading.get_ident()
        return True

    def release_writer(self) -> None:
        """Let the next writer in."""
        self._writing = None
        self._writer.release()

    def close(self) -> None:
        """Close every connection; a second call does nothing."""
        with self._guard:
            self.closed = True
            connections, self._all, self._spare = self._all, [], []
        for connection in connections:
            connection.close()

    # around a fork -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Before a fork: let the write end that is going on, keep others from beginning, close connections."""
        ends = time.monotonic() + FORK_WAIT_S
        self._paused = []
        if self._writing != threading.get_ident() and self._writer.acquire(timeout=FORK_WAIT_S):
            self._paused.append(self._writer.release)
        self._guard.acquire()
        self._paused.append(self._guard.release)
        for connection in self._all:
            if connection.lock.acquire(timeout=max(ends - time.monotonic(), 0)):
                self._paused.append(connection.lock.release)
                if not connection.in_transaction:
                    connection.shut = True
                    with suppress(sqlite3.Error):
                        connection.raw.close()
        self._all = [connection for connection in self._all if not connection.shut]

    def resume(self) -> None:
        """After a fork, in the parent: go on."""
        for release in reversed(self._paused):
            release()
        self._paused = []

    def abandon(self) -> None:
        """After a fork, in the child: nothing here is used any more, and what is open is never closed."""
        self._guard, self._writer = threading.RLock(), threading.Lock()
        _inherited.extend(self._all)
        file = file_at(self._path)
        if self._all and file is not None:
            _unusable.add(file)


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_inherited: list[Connection] = []
_unusable: set[File] = set()


def file_at(path: str) -> File | None:
    """What tells the file at the path from others, as long as somebody has it open; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_usable(path: str) -> bool:
    """Whether this process may open the file: not where it was forked in the midst of a transaction on it."""
    return not _unusable or file_at(path) not in _unusable


def _before_fork() -> None:
    for pool in list(_pools):
        if not pool.closed:
            pool.pause()


def _after_fork_in_parent() -> None:
    for pool in list(_pools):
        pool.resume()


def _after_fork_in_child() -> None:
    for pool in list(_pools):
        pool.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
