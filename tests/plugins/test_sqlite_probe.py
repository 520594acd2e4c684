"""What the SQLite plugin says of this Python's SQLite and of a folder, `heaven_sqlite.probe`."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from heaven_sqlite import probe as module
from heaven_sqlite.probe import _rival, probe

pytestmark = pytest.mark.integration


def test_all_is_well_on_a_local_disk_and_nothing_stays_there(tmp_path: Path) -> None:
    found = list(probe(tmp_path))

    assert [(one.name, one.state) for one in found] == [("version", "ok"), ("full text", "ok"), ("files", "ok")]
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_that_is_too_old_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OLDEST", (99, 1))

    version = next(iter(probe(tmp_path)))

    assert (version.state, version.detail) == (
        "broken",
        f"SQLite {sqlite3.sqlite_version} is too old; 99.1 or later is needed",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="a folder of Linux that nobody can write to, root included")
def test_a_folder_that_cannot_be_written_is_broken() -> None:
    *_, files = probe(Path("/proc"))

    assert (files.state, files.advice) == ("broken", "put HEAVENBASE_HOME on a local disk")


def test_the_rival_sees_what_is_committed_and_is_kept_out_only_while_somebody_writes(tmp_path: Path) -> None:
    file = tmp_path / "tried.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("create table tried (one)")
        free = _rival(file)
        connection.execute("begin immediate")
        connection.execute("insert into tried values (1)")
        busy = _rival(file)

    assert (free, busy) == (["0", "let in"], ["0", "kept out"])
