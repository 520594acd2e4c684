"""Whether this Python's SQLite, and the file system under a folder, can do what the engine relies on.

Each is tried, in files of its own that are gone afterwards. Locks are tried against
another process, since SQLite keeps those of one process to itself.

Not here: whether a workspace's own file is sound (`heaven_sqlite.checking`).
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from heaven_core.report import Check
from heaven_sqlite.engine import OLDEST

ANSWER_S = 30.0

_RIVAL = """
import sqlite3, sys
rival = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
print(*rival.execute("select count(*) from tried").fetchone())
try:
    rival.execute("begin immediate")
except sqlite3.OperationalError as error:
    print("kept out" if "locked" in str(error) else type(error).__name__)
else:
    print("let in")
"""


def probe(folder: Path) -> Iterator[Check]:
    """A check of each thing that the engine needs; writes into a new folder in `folder`, and removes it."""
    yield _version()
    yield _fulltext()
    yield _files(folder)


def _version() -> Check:
    needed = ".".join(map(str, OLDEST))
    if sqlite3.sqlite_version_info >= OLDEST:
        return Check("sqlite", "version", "ok", f"SQLite {sqlite3.sqlite_version}")
    return Check(
        "sqlite",
        "version",
        "broken",
        f"SQLite {sqlite3.sqlite_version} is too old; {needed} or later is needed",
        "use a Python that brings a newer SQLite",
    )


def _fulltext() -> Check:
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("create virtual table tried using fts5 (words, tokenize = 'ascii')")
    except sqlite3.Error:
        advice = "use a Python whose SQLite was built with FTS5"
        return Check("sqlite", "full text", "broken", "this SQLite has no FTS5", advice)
    return Check("sqlite", "full text", "ok", "FTS5")


def _files(folder: Path) -> Check:
    advice = "put HEAVENBASE_HOME on a local disk"
    try:
        with TemporaryDirectory(prefix=".hb-probe-", dir=folder) as place:
            wrong = _wrong_with(Path(place, "tried.db"))
    except (sqlite3.Error, OSError, subprocess.SubprocessError) as error:
        return Check("sqlite", "files", "broken", f"a database cannot be written here: {type(error).__name__}", advice)
    if wrong:
        return Check("sqlite", "files", "broken", wrong, advice)
    return Check("sqlite", "files", "ok", "write-ahead log and locks work")


def _wrong_with(file: Path) -> str:
    """What a database at `file` cannot do, or an empty text."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        (mode,) = connection.execute("pragma journal_mode = wal").fetchone()
        if mode != "wal":
            return "this file system has no shared memory for SQLite's write-ahead log"
        connection.execute("create table tried (one)")
        connection.execute("insert into tried values (1)")
        connection.execute("begin immediate")
        connection.execute("insert into tried values (2)")
        told = _rival(file)
        connection.execute("rollback")
    if told == ["1", "kept out"]:
        return ""
    if told == ["1", "let in"]:
        return "this file system does not keep two processes from writing at once"
    return "this file system does not show one process what another has written"


def _rival(file: Path) -> list[str]:
    """What another process finds while this one writes."""
    done = subprocess.run(  # noqa: S603  # this Python, on our own text
        [sys.executable, "-c", _RIVAL, str(file)], capture_output=True, text=True, check=False, timeout=ANSWER_S
    )
    return done.stdout.splitlines()
