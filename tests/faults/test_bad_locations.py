"""Places that cannot hold a workspace, and files that are not one, are damaged, or cannot grow any more.

Tests may run as root, whom permissions do not stop: read-only and full places are file systems
mounted in a namespace of a child process, and a limit on the size of its files.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heaven_sqlite.engine
import heavenbase as hb
from heaven_core.errors import (
    BackendBusy,
    FormatTooNew,
    HeavenError,
    NotADatabase,
    StorageError,
    StorageReadOnly,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer).unique()
    meta = hb.field(hb.Json)
    at = hb.field(hb.Timestamp)
    day = hb.field(hb.Date)
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "object_id": f"d{number:03}",
            "title": f"secret title {number}",
            "n": number,
            "meta": {"a": number},
            "at": "2020-01-01T00:00:00Z",
            "day": "2020-01-01",
            "numbers": [number],
            "body": "some words " * 20,
        }
        for number in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace with two hundred rows, closed."""
    with hb.HeavenBase("place", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        ws.upsert_many(Doc, rows(200))
    return tmp_path / "ws"


def reopened(folder: Path) -> hb.HeavenBase:
    return hb.HeavenBase("place", path=folder)


def in_file(database: Path) -> hb.HeavenBase:
    return hb.HeavenBase("place", backends={"main": {"type": "sqlite", "database": database}})


def refused(ask: Callable[[], object]) -> HeavenError:
    """The error of something that must fail; the message names no path, no SQL and no row."""
    with pytest.raises(HeavenError) as raised:
        ask()
    message = str(raised.value)
    assert not re.search(r"/\w+/|\b(select|insert|pragma|begin|where)\b|secret title", message), message
    assert message.isprintable()
    return raised.value


def altered(folder: Path, *statements: str) -> None:
    """Do to the file what nobody should."""
    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)


# Where no file can be


def test_a_folder_below_a_regular_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")

    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
        error = refused(lambda path=path: hb.HeavenBase("place", path=path))
        assert isinstance(error, StorageReadOnly)
        assert isinstance(error, OSError)
        assert isinstance(error.__cause__, OSError)

    assert (tmp_path / "file").read_text() == "a file"


def test_a_database_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    assert isinstance(refused(lambda: in_file(tmp_path)), StorageError)


def test_a_name_longer_than_a_file_may_have_is_refused(tmp_path: Path) -> None:
    assert isinstance(refused(lambda: hb.HeavenBase("place", path=tmp_path / ("x" * 300))), StorageError)


def test_a_link_to_itself_is_refused_and_another_is_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "later").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "later")

    assert isinstance(refused(lambda: hb.HeavenBase("place", path=tmp_path / "loop")), StorageError)
    with hb.HeavenBase("place", path=tmp_path / "link") as ws, hb.HeavenBase("place", path=tmp_path / "later") as same:
        ws.register(Doc)
        assert same.count(Doc) == 0


def test_a_failed_opening_leaves_nothing_open_and_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "ws").write_text("in the way")
    refused(lambda: hb.HeavenBase("place", path=tmp_path / "ws"))
    (tmp_path / "ws").unlink()

    with hb.HeavenBase("place", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        assert ws.count(Doc) == 0


# What is no workspace


@pytest.mark.parametrize(
    "content",
    [
        b"hello, this is no database\n" * 300,
        b"\x00" * 8192,
        b"SQLite format 4\x00" + b"x" * 4080,
        b"x",
        b"PK\x03\x04" * 2000,
    ],
)
def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.db"
    path.write_bytes(content)

    error = refused(lambda: in_file(path))

    assert isinstance(error, NotADatabase)
    assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["notes.db"]


@pytest.mark.parametrize(
    "statements",
    [
        ["create table notes (text)", "insert into notes values ('mine')"],
        ["pragma application_id = 5"],
        ["pragma user_version = 3"],
        ["pragma application_id = 1749", "create table notes (text)", "drop table notes"],
        ["create view v as select 1"],
    ],
)
def test_a_database_of_somebody_else_is_refused_and_not_touched(tmp_path: Path, statements: list[str]) -> None:
    path = tmp_path / "foreign.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
    before = path.read_bytes()

    error = refused(lambda: in_file(path))

    assert isinstance(error, NotADatabase)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["foreign.db"]


def test_an_empty_file_becomes_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()

    with in_file(tmp_path / "empty.db") as ws:
        ws.register(Doc)
        assert ws.upsert(Doc, {"object_id": "one"}) == "one"


@pytest.mark.parametrize("version", [2, 99, 2**31 - 1])
def test_a_file_of_a_newer_format_is_refused_with_both_numbers_and_not_touched(folder: Path, version: int) -> None:
    altered(folder, f"pragma user_version = {version}")
    before = (folder / "main.db").read_bytes()

    error = refused(lambda: reopened(folder))

    assert isinstance(error, FormatTooNew)
    assert f"storage format {version}" in str(error)
    assert "up to 1" in str(error)
    assert "upgrade" in str(error)
    assert (folder / "main.db").read_bytes() == before


def test_an_entity_of_a_newer_format_is_refused_when_it_is_used(folder: Path) -> None:
    altered(folder, "update \"e_hb-entity\" set body = json_set(body, '$.format', 7) where object_id = 'doc'")

    with reopened(folder) as ws:
        assert isinstance(refused(lambda: ws.query("doc")), FormatTooNew)


# What was damaged


def tried(folder: Path) -> list[Any]:
    """Everything that one would do with a workspace; only typed errors may come of it."""
    try:
        ws = reopened(folder)
    except HeavenError as error:
        return [type(error).__name__]
    with ws:
        return [
            _outcome(ask)
            for ask in (
                lambda: ws.count(Doc),
                lambda: len(ws.query(Doc).execute().rows()),
                lambda: ws.query(Doc).where(Doc.body.match("words")).count(),
                lambda: ws.query(Doc).where(Doc.numbers.array_contains(7)).order_by("-n").execute().rows(),
                lambda: ws.query(Doc).search("some").limit(3).execute().rows(),
                lambda: ws.query(Doc).group_by("day").aggregate(s=Doc.n.sum()).execute().rows(),
                lambda: ws.get("d007"),
                lambda: ws.get_many(["d007", "d100"], Doc),
                lambda: ws.versions(Doc, ["d007"]),
                lambda: ws.set("d007", {"title": "new"}),
                lambda: ws.upsert(Doc, {"object_id": "new", "body": "new"}),
                lambda: ws.delete("d008"),
                lambda: ws.ids(Doc),
                lambda: ws.check().ok,
                lambda: ws.repair().ok,
                lambda: ws.health().ok,
            )
        ]


def _outcome(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except HeavenError as error:
        return type(error).__name__


@pytest.mark.parametrize("kept", [1, 50, 100, 1000, 4095, 4096, 5000, 12_288, 50_000])
def test_a_file_that_was_cut_off_gives_typed_errors(folder: Path, kept: int) -> None:
    content = (folder / "main.db").read_bytes()
    assert len(content) > kept
    (folder / "main.db").write_bytes(content[:kept])

    outcomes = tried(folder)

    assert "StorageError" in outcomes or outcomes == ["NotADatabase"]


@pytest.mark.parametrize("seed", range(12))
def test_a_file_with_overwritten_pages_gives_typed_errors_and_fails_its_check(folder: Path, seed: int) -> None:
    content = bytearray((folder / "main.db").read_bytes())
    dice = random.Random(seed)
    for _ in range(12):
        at = dice.randrange(4096 * (seed % 3), len(content) - 64)
        content[at : at + 64] = dice.randbytes(64)
    (folder / "main.db").write_bytes(content)

    outcomes = tried(folder)

    assert len(outcomes) == 1 or "StorageError" in outcomes or outcomes[-3:-1] == [False, False]


def test_rows_that_were_altered_outside_are_typed_errors_and_found_by_check(folder: Path) -> None:
    altered(folder, "update e_doc set meta = '{', day = 'someday', numbers = '[' where object_id = 'd001'")

    with reopened(folder) as ws:
        for ask in (
            lambda: ws.get("d001"),
            lambda: ws.get_many(["d001"], Doc),
            lambda: ws.query(Doc).execute().rows(),
            lambda: ws.query(Doc).execute().column("meta"),
            lambda: ws.query(Doc).execute().column("day"),
            lambda: ws.set("d001", {"title": "x"}),
        ):
            error = refused(ask)
            assert isinstance(error, StorageError)
            assert "damaged" in str(error)
        assert ws.query(Doc).select("title").execute().column("title")[1] == "secret title 1"
        report = ws.check()
        assert not report.ok
        assert [(one.kind, one.entity, one.repairable) for one in report.findings] == [("damaged-rows", "doc", False)]
        assert "meta, day, numbers" in report.findings[0].detail
        assert not ws.repair().ok
        ws.upsert(Doc, rows(2)[1])
        assert ws.check().ok


def test_side_tables_and_indexes_that_were_altered_outside_are_found_and_repaired(folder: Path) -> None:
    altered(
        folder,
        'delete from "e_doc.numbers" where item between 3 and 9',
        'update "e_doc.numbers" set item = 1000 where item = 50',
        'delete from "e_doc._fts" where rowid < 5',
    )

    with reopened(folder) as ws:
        assert {one.kind for one in ws.check().findings} == {"stale-side-table", "stale-fulltext"}
        assert all(one.repairable for one in ws.check().findings)
        assert ws.repair().ok
        assert ws.check().ok
        assert ws.query(Doc).where(Doc.numbers.array_contains(5)).execute().ids == ["d005"]
        assert ws.query(Doc).where(Doc.body.match("words")).count() == 200


@pytest.mark.parametrize(
    "statement",
    [
        "delete from hb_state",
        "drop table hb_state",
        'drop table "e_hb-entity"',
        'drop table "e_hb-extension"',
        "update \"e_hb-entity\" set body = '{'",
        "update \"e_hb-entity\" set body = '{}'",
        "update \"e_hb-entity\" set body = '[1]'",
        "update \"e_hb-entity\" set placement = '{}'",
        "update \"e_hb-entity\" set placement = '[]'",
        'update "e_hb-entity" set placement = \'{"object_id": 5}\'',
        "drop table e_doc",
        "alter table e_doc rename column title to other",
        "alter table e_doc drop column title",
        'drop table "e_doc._fts"',
        'drop table "e_doc.numbers"',
        "update hb_state set epoch = epoch + 5",
    ],
)
def test_a_schema_that_was_altered_outside_gives_typed_errors(folder: Path, statement: str) -> None:
    altered(folder, statement)

    outcomes = tried(folder)

    if "epoch" in statement:
        assert outcomes[0] == 200
    else:
        assert any("Error" in str(one) or "Invalid" in str(one) or one is False for one in outcomes)


def test_a_row_file_is_never_executed(folder: Path, tmp_path: Path) -> None:
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as other:
        other.execute("update e_doc set meta = ? where object_id = 'd001'", (pickle.dumps(Trap(), 0).decode(),))

    with reopened(folder) as ws:
        assert isinstance(refused(lambda: ws.get("d001")), StorageError)
    assert not (tmp_path / "sprung").exists()


# Who is there already


def test_a_lock_held_by_another_process_is_busy_after_the_wait_and_free_afterwards(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaven_sqlite.engine, "BUSY_WAIT_S", 0.2)
    with reopened(folder) as ws, closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as other:
        other.execute("begin immediate")

        error = refused(lambda: ws.upsert(Doc, {"object_id": "new"}))
        assert ws.get("d001") is not None
        other.execute("rollback")

        assert isinstance(error, BackendBusy)
        assert isinstance(error, TimeoutError)
        assert ws.upsert(Doc, {"object_id": "new"}) == "new"


def test_a_thread_that_waits_for_another_threads_transaction_is_busy_after_the_wait(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heaven_sqlite.engine, "BUSY_WAIT_S", 0.2)
    found: list[HeavenError] = []

    with reopened(folder) as ws:
        with ws.transaction(exclusive=True) as tx:
            thread = threading.Thread(target=lambda: found.append(refused(lambda: ws.upsert(Doc, {"object_id": "b"}))))
            thread.start()
            thread.join()
            tx.upsert(Doc, {"object_id": "a"})

        assert [type(error) for error in found] == [BackendBusy]
        assert ws.exists("a")
        assert ws.upsert(Doc, {"object_id": "b"}) == "b"


def test_very_many_short_threads_leave_no_connections_behind(folder: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("this system does not list a process's descriptors")
    with reopened(folder) as ws:
        for _ in range(20):
            thread = threading.Thread(target=ws.get, args=("d001", Doc))
            thread.start()
            thread.join()
        before = len(list(descriptors.iterdir()))
        for _ in range(300):
            thread = threading.Thread(target=ws.get, args=("d001", Doc))
            thread.start()
            thread.join()

        assert len(list(descriptors.iterdir())) <= before + 5


# Where nothing more fits


PROLOGUE = """
import json, os, sys
import heavenbase as hb

class Doc(hb.Entity):
    n = hb.field(hb.Integer)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)

said = {}
def told(name, ask):
    try:
        said[name] = ask()
    except hb.HeavenError as error:
        assert "/" not in str(error).replace("I/O", ""), str(error)
        said[name] = type(error).__name__

def fill(write, words, limit=3000):
    '''Write rows until one does not fit; how many did.'''
    for number in range(limit):
        try:
            write(Doc, {"object_id": f"{words}-{number}", "n": number, "body": f"{words} " * 800})
        except hb.HeavenError as error:
            said["full"] = type(error).__name__
            return number
    raise AssertionError("nothing stopped it")

"""

MOUNT = "mount -t tmpfs -o size={size} tmpfs {place}"


@cache
def namespace() -> tuple[str, ...] | None:
    """The command under which a child may mount file systems that nobody else sees, or None."""
    for options in (("-m",), ("-rm",)):
        command = ("unshare", *options)
        if shutil.which("unshare") is None:
            return None
        probe = subprocess.run([*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
        if probe.returncode == 0:
            return command
    return None


def mounted(place: Path, size: str, script: str) -> dict[str, Any]:
    """What `script` says, run where `place` is a file system of `size` of its own."""
    command = namespace()
    if command is None:
        pytest.skip("file systems cannot be mounted here, not even in a namespace")
    place.mkdir(exist_ok=True)
    shell = f'{MOUNT.format(size=size, place=place)} && exec "$0" -c "$1" "$2"'
    return said(
        subprocess.run(
            [*command, "sh", "-c", shell, sys.executable, PROLOGUE + script, str(place)], check=False, **CHILD
        )
    )


CHILD: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 100}


def said(child: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert child.returncode == 0, child.stderr
    assert "Traceback" not in child.stderr
    return json.loads(child.stdout)


def test_a_full_disk_refuses_the_write_keeps_the_rest_and_recovers(tmp_path: Path) -> None:
    found = mounted(
        tmp_path / "small",
        "8m",
        """
place = sys.argv[1]
ws = hb.HeavenBase("full", path=place + "/ws")
ws.register(Doc)
done = fill(ws.upsert, "alpha")
said["rows"] = (ws.count(Doc), done)
said["ok"] = ws.check().ok
said["matched"] = ws.query(Doc).where(Doc.body.match("alpha")).count()
told("many", lambda: ws.upsert_many(Doc, [{"n": one, "body": "beta " * 9000} for one in range(200)]))
said["after_many"] = (ws.count(Doc), ws.query(Doc).where(Doc.body.match("beta")).count())
ws.close()
with hb.HeavenBase("full", path=place + "/ws") as ws:
    said["reopened"] = (ws.count(Doc), ws.check().ok)
    told("delete", lambda: ws.delete_many(ws.ids(Doc)[: done // 2]))
print(json.dumps(said))
""",
    )

    count, done = found["rows"]
    assert found["full"] == "StorageFull"
    assert count == done > 10
    assert found["ok"]
    assert found["matched"] == done
    assert found["many"] == "StorageFull"
    assert found["after_many"] == [done, 0]
    assert found["reopened"] == [done, True]


def test_a_disk_that_fills_during_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    found = mounted(
        tmp_path / "small",
        "8m",
        """
place = sys.argv[1]
with hb.HeavenBase("full", path=place + "/ws") as ws:
    ws.register(Doc)
    ws.upsert(Doc, {"object_id": "before", "body": "gamma"})
    def run():
        with ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "inside", "n": 1})
            rows = [{"n": one, "body": os.urandom(9000).hex()} for one in range(3000)]
            try:
                tx.upsert_many(Doc, rows)
            except hb.HeavenError as error:
                said["full"] = type(error).__name__
            tx.upsert(Doc, {"object_id": "after", "n": 2})
    told("transaction", run)
    said["ids"] = ws.ids(Doc)
    said["ok"] = ws.check().ok
    told("next", lambda: ws.upsert(Doc, {"object_id": "next", "n": 3}))
    said["next_ids"] = ws.ids(Doc)
print(json.dumps(said))
""",
    )

    assert found["full"] == "StorageFull"
    assert found["ok"]
    assert found["next"] == "next"
    # SQLite undoes the statement alone or the whole transaction; then it cannot be gone on with.
    whole = {"transaction": None, "ids": ["after", "before", "inside"]}
    undone = {"transaction": "TransactionError", "ids": ["before"]}
    assert {key: found.get(key) for key in whole} in (whole, undone)


def test_a_disk_that_is_read_only_is_refused_as_such(tmp_path: Path) -> None:
    found = mounted(
        tmp_path / "ro",
        "8m",
        """
import subprocess
place = sys.argv[1]
with hb.HeavenBase("mine", path=place + "/ws") as ws:
    ws.register(Doc)
    ws.upsert(Doc, {"object_id": "one", "n": 1})
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
told("new", lambda: hb.HeavenBase("new", path=place + "/other").close())
told("deeper", lambda: hb.HeavenBase("new", path=place + "/far/below").close())
told("old", lambda: hb.HeavenBase("mine", path=place + "/ws").close())
subprocess.run(["mount", "-o", "remount,rw", place], check=True)
with hb.HeavenBase("mine", path=place + "/ws") as ws:
    said["row"] = ws.get("one")["n"]
print(json.dumps(said))
""",
    )

    assert found == {"new": "StorageReadOnly", "deeper": "StorageReadOnly", "old": "StorageReadOnly", "row": 1}


LIMITED = """
import resource
place = sys.argv[1]
with hb.HeavenBase("limited", path=place + "/ws") as ws:
    ws.register(Doc)
    ws.upsert(Doc, {"object_id": "before", "n": 1})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    done = fill(ws.upsert, "delta")
    said["rows"] = (ws.count(Doc), done)
    told("many", lambda: ws.upsert_many(Doc, [{"n": one, "body": "beta " * 9000} for one in range(200)]))
    said["after_many"] = ws.query(Doc).where(Doc.body.match("beta")).count()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    told("next", lambda: ws.upsert(Doc, {"object_id": "next", "body": "epsilon"}))
    said["ok"] = ws.check().ok
    said["found"] = ws.query(Doc).where(Doc.body.match("epsilon")).execute().ids
with hb.HeavenBase("limited", path=place + "/ws") as ws:
    said["reopened"] = (ws.count(Doc), ws.check().ok)
print(json.dumps(said))
"""


def test_a_file_that_may_not_grow_refuses_the_write_keeps_the_rest_and_recovers(tmp_path: Path) -> None:
    pytest.importorskip("resource")

    found = said(subprocess.run([sys.executable, "-c", PROLOGUE + LIMITED, str(tmp_path)], check=False, **CHILD))

    count, done = found["rows"]
    assert found["full"] in {"StorageFull", "StorageError"}
    assert count == done + 1
    assert done > 5
    assert found["many"] in {"StorageFull", "StorageError"}
    assert found["after_many"] == 0
    assert found["next"] == "next"
    assert found["ok"]
    assert found["found"] == ["next"]
    assert found["reopened"] == [done + 2, True]


def test_too_many_open_files_is_a_typed_error_and_passes(folder: Path) -> None:
    pytest.importorskip("resource")
    script = """
import resource
ws = hb.HeavenBase("place", path=sys.argv[1])
ws.count("doc")  # the first query imports what answers queries, which takes files too
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(open(os.devnull))
except OSError:
    pass
import threading
results = []
def work():
    told("thread", lambda: ws.count("doc"))
thread = threading.Thread(target=work); thread.start(); thread.join()
told("other", lambda: hb.HeavenBase("other", path=sys.argv[1] + "/../other").close())
del held
thread = threading.Thread(target=lambda: told("later", lambda: ws.count("doc"))); thread.start(); thread.join()
print(json.dumps(said))
"""

    found = said(subprocess.run([sys.executable, "-c", PROLOGUE + script, str(folder)], check=False, **CHILD))

    assert found["thread"] in {200, "StorageReadOnly", "StorageError"}
    assert found["other"] in {"StorageReadOnly", "StorageError"}
    assert found["later"] == 200


def test_an_empty_path_is_refused_and_is_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(hb.errors.ConfigError, match="the workspace's path is empty"):
        hb.HeavenBase("x", path="")
    with pytest.raises(hb.errors.ConfigError, match="'database' is empty"):
        hb.HeavenBase("x", backends={"main": {"type": "sqlite", "database": ""}})
    assert list(tmp_path.iterdir()) == []
