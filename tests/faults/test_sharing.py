"""One workspace in many hands: several handles, threads, forks and processes, and a process that is killed.

What children run stands as text; they tell their findings as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import ConfigError, HeavenError, UnknownEntity, WorkspaceClosed, WorkspaceConflict

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    n = hb.field(hb.Integer).index()
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


class Wider(hb.Entity):
    """`Doc` with one more field, as the next release of a program has it."""

    identifier = "doc"
    n = hb.field(hb.Integer).index()
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    more = hb.field(hb.ShortText)


@pytest.fixture(params=["inmem", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What opens the test's workspace, again and again."""
    return {"preset": "debug"} if request.param == "inmem" else {"path": tmp_path / "ws"}


def every_use(ws: hb.HeavenBase) -> list[Callable[[], Any]]:
    return [
        lambda: ws.get("a"),
        lambda: ws.get("a", Doc),
        lambda: ws.get_many(["a"], Doc),
        lambda: ws.exists("a"),
        lambda: ws.upsert(Doc, {"object_id": "x"}),
        lambda: ws.upsert_many(Doc, [{"object_id": "x"}]),
        lambda: ws.set("a", {"n": 1}),
        lambda: ws.delete("a"),
        lambda: ws.delete_many(["a"]),
        lambda: ws.ids(Doc),
        lambda: ws.count(Doc),
        lambda: ws.version("a"),
        lambda: ws.entity("doc"),
        lambda: ws.query(Doc),
        lambda: ws.query_json(Doc, {}),
        lambda: ws.register(Doc),
        lambda: ws.transaction().__enter__(),
        lambda: ws.enable_extension("system"),
        ws.extensions,
        lambda: ws.capabilities,
        ws.check,
        ws.repair,
        ws.health,
        ws.drop,
        ws.__enter__,
    ]


# Handles


def test_handles_of_one_workspace_share_their_rows_and_entities(where: dict[str, Any]) -> None:
    with hb.HeavenBase("shared", **where) as one, hb.HeavenBase("shared", **where) as two:
        one.register(Doc)
        one.upsert(Doc, {"object_id": "a", "n": 1})
        two.set("a", {"n": 2})

        assert one.core() is two.core()
        assert one.get("a") == two.get("a", Doc)
        assert two.entity("doc") is Doc


def test_another_id_or_another_place_is_another_workspace(tmp_path: Path) -> None:
    with (
        hb.HeavenBase("one", preset="debug") as one,
        hb.HeavenBase("two", preset="debug") as two,
        hb.HeavenBase("one", path=tmp_path / "a") as three,
        hb.HeavenBase("one", path=tmp_path / "b") as four,
    ):
        one.register(Doc)
        for other in (two, three, four):
            with pytest.raises(UnknownEntity):
                other.query("doc")


def test_another_id_on_the_same_file_is_a_conflict(tmp_path: Path) -> None:
    main = {"main": {"type": "sqlite", "database": tmp_path / "file.db"}}

    with hb.HeavenBase("one", backends=main):
        with pytest.raises(WorkspaceConflict, match="'one'"):
            hb.HeavenBase("two", backends=main)
        hb.HeavenBase("one", backends=main).close()
    with pytest.raises(WorkspaceConflict):
        hb.HeavenBase("two", backends=main)


def test_another_configuration_of_an_open_workspace_is_a_conflict(tmp_path: Path) -> None:
    with hb.HeavenBase("shared", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        with pytest.raises(WorkspaceConflict) as raised:
            hb.HeavenBase("shared", path=tmp_path / "ws", backends={"more": {"type": "inmem"}})
        assert isinstance(raised.value, RuntimeError)
        assert str(tmp_path) not in str(raised.value)
        assert ws.count(Doc) == 0

    hb.HeavenBase("shared", path=tmp_path / "ws", backends={"main": "sqlite", "more": {"type": "inmem"}}).close()


def test_the_same_configuration_in_other_words_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)

    with (
        hb.HeavenBase("shared", path=tmp_path / "ws") as one,
        hb.HeavenBase("shared", path="ws") as two,
        hb.HeavenBase("shared", path=tmp_path / "link" / "ws", preset="local") as three,
        hb.HeavenBase("shared", path=tmp_path / "x" / ".." / "ws", backends={"main": {"type": "sqlite3"}}) as four,
    ):
        assert one.core() is two.core() is three.core() is four.core()


def test_closing_one_handle_leaves_the_others_and_may_be_repeated(where: dict[str, Any]) -> None:
    one, two = hb.HeavenBase("shared", **where), hb.HeavenBase("shared", **where)
    one.register(Doc)
    one.upsert(Doc, {"object_id": "a"})

    one.close()
    one.close()

    assert two.count(Doc) == 1
    two.close()


def test_no_method_of_a_closed_handle_works(where: dict[str, Any]) -> None:
    ws = hb.HeavenBase("shared", **where)
    ws.register(Doc)
    query = ws.query(Doc)
    ws.close()

    for use in [*every_use(ws), query.execute, query.explain, query.count]:
        with pytest.raises(WorkspaceClosed, match="closed"):
            use()
    assert "closed" in repr(ws)


def test_a_handle_that_nobody_holds_any_more_is_closed(where: dict[str, Any]) -> None:
    keeper = hb.HeavenBase("shared", **where)
    hb.HeavenBase("shared", **where)
    gc.collect()

    keeper.drop()


def test_debug_data_dies_with_the_last_close() -> None:
    one, two = hb.HeavenBase("shared", preset="debug"), hb.HeavenBase("shared", preset="debug")
    one.register(Doc)
    one.upsert(Doc, {"object_id": "a"})
    one.close()
    assert two.count(Doc) == 1
    two.close()

    with hb.HeavenBase("shared", preset="debug") as ws:
        with pytest.raises(UnknownEntity):
            ws.count("doc")
        ws.register(Doc)
        assert ws.count(Doc) == 0


def test_drop_is_refused_while_others_have_it_open_and_then_removes_everything(where: dict[str, Any]) -> None:
    one, two = hb.HeavenBase("shared", **where), hb.HeavenBase("shared", **where)
    one.register(Doc)
    one.upsert(Doc, {"object_id": "a"})

    with pytest.raises(WorkspaceConflict, match="has other open handles"):
        one.drop()
    assert two.count(Doc) == 1
    two.close()
    one.drop()

    with pytest.raises(WorkspaceClosed):
        one.count(Doc)
    assert not where.get("path", Path("/nowhere/at/all")).exists()
    with hb.HeavenBase("shared", **where) as ws, pytest.raises(UnknownEntity):
        ws.count("doc")


def test_drop_leaves_what_others_have_put_into_the_folder(tmp_path: Path) -> None:
    ws = hb.HeavenBase("shared", path=tmp_path / "ws")
    (tmp_path / "ws" / "mine.txt").write_text("keep")

    ws.drop()

    assert [one.name for one in (tmp_path / "ws").iterdir()] == ["mine.txt"]


def test_a_failed_opening_counts_no_handle(tmp_path: Path) -> None:
    ws = hb.HeavenBase("shared", path=tmp_path / "ws")
    for _ in range(3):
        with pytest.raises(WorkspaceConflict):
            hb.HeavenBase("shared", path=tmp_path / "ws", backends={"more": "inmem"})
        with pytest.raises(ConfigError):
            hb.HeavenBase("shared", path=tmp_path / "ws", preset="nope")

    ws.drop()


# Threads


def test_sixteen_threads_read_and_write_without_an_error_or_a_lost_row(where: dict[str, Any]) -> None:
    written: dict[int, int] = {}
    failures: list[BaseException] = []
    stop = time.monotonic() + 2

    def work(number: int) -> None:
        dice, count = random.Random(number), 0
        try:
            with hb.HeavenBase("busy", **where) as ws:
                while time.monotonic() < stop:
                    mine = f"t{number}-{count}"
                    ws.upsert(Doc, {"object_id": mine, "n": number, "numbers": [count], "body": f"word{number} common"})
                    count += 1
                    assert ws.get(mine, Doc) is not None
                    match dice.randrange(6):
                        case 0:
                            assert ws.query(Doc).where(Doc.n == number).count() == count
                        case 1:
                            frame = ws.query(Doc).where(Doc.body.match(f"word{number}")).select("n").execute()
                            assert frame.column("n") == [number] * count
                        case 2:
                            with ws.transaction() as tx:
                                tx.set(mine, {"n": -1})
                                tx.set(mine, {"n": number})
                        case 3:
                            ws.upsert(Doc, {"object_id": "everybody's", "n": -2, "numbers": [number]})
                        case 4:
                            assert ws.query(Doc).search("common").limit(3).execute().scores
                        case _:
                            assert (
                                ws.query(Doc).where(Doc.numbers.array_contains(count - 1), Doc.n == number).count() == 1
                            )
        except BaseException as error:
            failures.append(error)
        written[number] = count

    with hb.HeavenBase("busy", **where) as ws:
        ws.register(Doc)
        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)

        assert failures == []
        assert sum(written.values()) > 50
        assert ws.query(Doc).where(Doc.n >= 0).count() == sum(written.values())
        for number, count in written.items():
            assert ws.query(Doc).where(Doc.n == number).count() == count
        assert ws.check().ok


def test_threads_that_open_and_close_handles_do_not_disturb_each_other(where: dict[str, Any]) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(15):
                with hb.HeavenBase("coming", **where) as ws:
                    ws.register(Doc)
                    ws.upsert(Doc, {"object_id": f"t{number}-{count}"})
                    assert ws.exists(f"t{number}-{count}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)

    assert failures == []
    if "path" in where:
        with hb.HeavenBase("coming", **where) as ws:
            assert ws.count(Doc) == 90


def test_closing_under_readers_and_writers_gives_them_typed_errors(where: dict[str, Any]) -> None:
    for _ in range(5):
        errors = closed_under_work(hb.HeavenBase("closing", **where))

        assert len(errors) == 4
        assert all(isinstance(error, HeavenError) for error in errors), errors
    if "path" in where:
        with hb.HeavenBase("closing", **where) as ws:
            assert ws.check().ok


def closed_under_work(ws: hb.HeavenBase) -> list[BaseException]:
    """What four threads get that read and write without end when another closes the workspace."""
    errors: list[BaseException] = []
    started = threading.Barrier(5)

    def work(number: int) -> None:
        started.wait()
        try:
            while True:
                ws.query(Doc).where(Doc.body.contains("words")).execute().rows()
                ws.upsert(Doc, {"object_id": f"w{number}", "n": time.monotonic_ns()})
        except BaseException as error:
            errors.append(error)

    ws.register(Doc)
    ws.upsert_many(Doc, [{"object_id": f"d{one}", "n": one, "body": "some words " * 50} for one in range(500)])
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(0.05)
    ws.close()
    for thread in threads:
        thread.join(60)
    return errors


def test_threads_register_entities_at_the_same_time(where: dict[str, Any]) -> None:
    failures: list[BaseException] = []

    def work(ws: hb.HeavenBase, number: int) -> None:
        try:
            for count in range(5):
                made = hb.Entity.from_schema(
                    {"id": f"kind{number}-{count}", "fields": [{"name": "n", "type": "integer"}]}
                )
                ws.register(made, Doc)
                ws.upsert(made, {"n": count})
                ws.upsert(Doc, {"n": number})
        except BaseException as error:
            failures.append(error)

    with hb.HeavenBase("schemas", **where) as ws:
        threads = [threading.Thread(target=work, args=(ws, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)

        assert failures == []
        assert ws.count(Doc) == 30
        assert sum(ws.count(f"kind{number}-{count}") for number in range(6) for count in range(5)) == 30


# Processes


PROLOGUE = """
import json, os, sys, threading, time
import heavenbase as hb

class Doc(hb.Entity):
    n = hb.field(hb.Integer).index()
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)

place, number = sys.argv[1], int(sys.argv[2])
"""


def child(script: str, place: Path, number: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROLOGUE + script, str(place), str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> Any:
    try:
        out, err = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"the process did not end; it had said {out!r} {err!r}") from None
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return json.loads(out)


def test_searching_beside_a_writer_finds_what_is_there(where: dict[str, Any]) -> None:
    class Note(hb.Entity):
        title = hb.field(hb.ShortText)  # no index: ranked in Python, over two reads

    with hb.HeavenBase("notes", **where) as ws:
        ws.register(Note)
        kept = ws.upsert_many(Note, [{"title": "hello"}] * 50)
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                ws.upsert_many(Note, [{"object_id": f"x{one}", "title": "hello"} for one in range(20)])
                ws.delete_many([f"x{one}" for one in range(20)], Note)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            found = [set(ws.query(Note).search("hello").execute().ids) for _ in range(60)]
        finally:
            stop.set()
            writer.join()

    assert all(one >= set(kept) for one in found)


def test_processes_that_create_one_workspace_at_the_same_time_all_get_it(tmp_path: Path) -> None:
    script = """
while not os.path.exists(place + "/go"):
    time.sleep(0.001)
with hb.HeavenBase("born", path=place + "/ws") as ws:
    ws.register(Doc)
    ws.upsert(Doc, {"object_id": f"p{number}", "n": number})
    print(json.dumps(ws.check().ok))
"""
    children = [child(script, tmp_path, number) for number in range(6)]
    time.sleep(0.8)
    (tmp_path / "go").touch()

    assert [told(one) for one in children] == [True] * 6
    with hb.HeavenBase("born", path=tmp_path / "ws") as ws:
        assert ws.ids(Doc) == [f"p{number}" for number in range(6)]


def test_two_processes_write_at_the_same_time_none_is_lost_and_versions_grow(tmp_path: Path) -> None:
    script = """
seen = []
with hb.HeavenBase("two", path=place) as ws:
    for count in range(150):
        one = f"p{number}-{count}"
        if count % 3 == 2:
            with ws.transaction(exclusive=True) as tx:
                counter = tx.get("counter", Doc)["n"]
                tx.upsert(Doc, {"object_id": one, "n": count, "numbers": [count], "body": "some words"})
                tx.set("counter", {"n": counter + 1}, Doc)
        else:
            ws.upsert(Doc, {"object_id": one, "n": count, "numbers": [count], "body": "some words"})
        seen.append(ws.version(one))
print(json.dumps(seen))
"""
    with hb.HeavenBase("two", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"object_id": "counter", "n": 0})
        children = [child(script, tmp_path / "ws", number) for number in range(2)]

        one, two = (told(process) for process in children)

        for versions in (one, two):
            assert versions == sorted(set(versions))
        assert not {*one} & {*two}
        assert ws.count(Doc) == 301
        assert (ws.get("counter") or {})["n"] == 100
        assert ws.query(Doc).where(Doc.body.match("words")).count() == 300
        assert ws.check().ok


def test_a_process_sees_what_another_has_registered_and_extended(tmp_path: Path) -> None:
    script = """
class Wider(hb.Entity):
    identifier = "doc"
    n = hb.field(hb.Integer).index()
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    more = hb.field(hb.ShortText)

class Late(hb.Entity):
    n = hb.field(hb.Integer)

with hb.HeavenBase("schema", path=place) as ws:
    ws.register(Wider, Late)
    ws.upsert(Wider, {"object_id": "b", "more": "new"})
    ws.upsert(Late, {"object_id": "late"})
print(json.dumps("done"))
"""
    with hb.HeavenBase("schema", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"object_id": "a", "n": 1})

        assert told(child(script, tmp_path / "ws")) == "done"

        assert (ws.get("late") or {})["object_id"] == "late"
        assert ws.count("late") == 1
        ws.register(Wider)
        assert (ws.get("b") or {})["more"] == "new"
        assert ws.upsert(Wider, {"object_id": "c", "more": "here"}) == "c"
        assert ws.check().ok


def test_a_killed_writer_leaves_the_old_or_the_new_state(tmp_path: Path) -> None:
    script = """
ws = hb.HeavenBase("killed", path=place)
generation = max(ws.query(Doc).execute().column("n"), default=0)
print("ready", flush=True)
while True:
    generation += 1
    if generation % 2:
        body = f"word{generation} same"
        rows = [
            {"object_id": f"d{one}", "n": generation, "numbers": [generation, one], "body": body} for one in range(300)
        ]
        ws.upsert_many(Doc, rows)
    else:
        with ws.transaction() as tx:
            for one in range(300):
                tx.set(f"d{one}", {"n": generation, "numbers": [generation, one], "body": f"word{generation} same"})
"""
    with hb.HeavenBase("killed", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        ws.upsert_many(
            Doc, [{"object_id": f"d{one}", "n": 0, "numbers": [0, one], "body": "word0 same"} for one in range(300)]
        )
    dice = random.Random(7)
    generations = [0]

    for _ in range(8):
        process = child(script, tmp_path / "ws")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(dice.uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)

        with hb.HeavenBase("killed", path=tmp_path / "ws") as ws:
            rows = ws.query(Doc).order_by("object_id").execute().rows()
            (generation,) = {row["n"] for row in rows}
            assert len(rows) == 300
            assert all(row["numbers"][0] == generation for row in rows)
            assert ws.query(Doc).where(Doc.body.match(f"word{generation}")).count() == 300
            assert ws.query(Doc).where(Doc.numbers.array_contains(generation)).count() >= 300
            assert len(set(ws.versions(Doc, [row["object_id"] for row in rows]))) == 1
            assert ws.check().ok
            generations.append(generation)

    assert generations == sorted(generations)
    assert generations[-1] > 0


def test_a_process_killed_while_it_creates_a_workspace_leaves_one_that_opens(tmp_path: Path) -> None:
    script = """
print("ready", flush=True)
with hb.HeavenBase("born", path=place + f"/ws{number}") as ws:
    ws.register(Doc)
"""
    dice = random.Random(3)
    for number in range(8):
        process = child(script, tmp_path, number)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)

        with hb.HeavenBase("born", path=tmp_path / f"ws{number}") as ws:
            ws.register(Doc)
            assert [spec.identifier for spec in ws.extensions()] == ["system"]
            assert ws.upsert(Doc, {"object_id": "a"}) == "a"
            assert ws.check().ok


# Forks


FORKED = """
def every_use(ws):
    return [
        lambda: ws.get("a"), lambda: ws.upsert(Doc, {"n": 1}), lambda: ws.set("a", {"n": 1}), lambda: ws.delete("a"),
        lambda: ws.ids(Doc), lambda: ws.count(Doc), lambda: ws.query(Doc), lambda: ws.register(Doc),
        lambda: ws.transaction().__enter__(), ws.check, ws.health, ws.extensions, ws.drop,
    ]

def forked(work):
    '''What `work` gives in a forked child.'''
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writing, json.dumps(work()).encode())
            os._exit(0)
        except BaseException as error:
            os.write(writing, json.dumps(repr(error)).encode())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return told

def error_of(use):
    try:
        use()
    except hb.HeavenError as error:
        return type(error).__name__ + (" forked" if "forked" in str(error) else "")
    return "no error"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("kind", ["inmem", "sqlite"])
def test_a_handle_inherited_by_a_fork_raises_there_and_works_on_here(tmp_path: Path, kind: str) -> None:
    script = """
where = {"preset": "debug"} if number else {"path": place}
ws = hb.HeavenBase("forked", **where)
ws.register(Doc)
ws.upsert(Doc, {"object_id": "a", "n": 1})
query = ws.query(Doc)

def inherit():
    errors = sorted({error_of(use) for use in [*every_use(ws), query.execute, query.count]})
    ws.close()
    with hb.HeavenBase("forked", **where) as own:
        own.register(Doc)
        own.upsert(Doc, {"object_id": "child"})
        return [errors, own.ids(Doc)]

def inside():
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "parent"})
        return forked(lambda: [error_of(lambda: tx.get("a")), error_of(lambda: hb.HeavenBase("forked", **where))])

said = {"child": forked(inherit), "transaction": inside()}
ws.upsert(Doc, {"object_id": "later"})
said["parent"] = ws.ids(Doc)
said["ok"] = ws.check().ok
ws.close()
print(json.dumps(said))
"""

    found = told(child(FORKED + script, tmp_path / "ws", int(kind == "inmem")))

    errors, ids = found["child"]
    assert errors == ["WorkspaceClosed forked"]
    assert ids == (["child"] if kind == "inmem" else ["a", "child"])
    # SQLite cannot be opened again by a child that has inherited an open transaction on the file.
    assert found["transaction"] == ["WorkspaceClosed forked", "no error" if kind == "inmem" else "StorageError forked"]
    assert found["parent"] == ["a", *([] if kind == "inmem" else ["child"]), "later", "parent"]
    assert found["ok"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_a_fork_commits_outlives_the_close_of_its_parent(tmp_path: Path) -> None:
    script = """
ws = hb.HeavenBase("orphan", path=place)
ws.register(Doc)
ws.upsert(Doc, {"object_id": "parent"})
reading, writing = os.pipe()
reading2, writing2 = os.pipe()
pid = os.fork()
if not pid:
    with hb.HeavenBase("orphan", path=place) as own:
        own.upsert(Doc, {"object_id": "early"})
        os.write(writing, b"x")
        os.read(reading2, 1)
        own.upsert(Doc, {"object_id": "late"})
    os._exit(0)
os.read(reading, 1)
ws.close()
os.write(writing2, b"x")
said = {"status": os.waitpid(pid, 0)[1]}
with hb.HeavenBase("orphan", path=place) as ws:
    said |= {"ids": ws.ids(Doc), "ok": ws.check().ok}
print(json.dumps(said))
"""

    found = told(child(script, tmp_path / "ws"))

    assert found == {"status": 0, "ids": ["early", "late", "parent"], "ok": True}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_ids_made_after_a_fork_differ_from_those_of_the_parent() -> None:
    script = """
from heaven_core import identity

future = (time.time_ns() // 1_000_000 + 3_600_000) << 80
identity._last = future  # as after a clock that went back

def some():
    return identity.new_ids(50)

theirs = [forked(some) for _ in range(3)]
print(json.dumps([some(), *theirs]))
"""

    batches = told(child(FORKED + script, Path()))

    assert len({one for batch in batches for one in batch}) == 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks_while_other_threads_write_neither_hang_nor_harm(tmp_path: Path) -> None:
    script = """
ws = hb.HeavenBase("forking", path=place)
ws.register(Doc)
stop = threading.Event()
counts = [0] * 4

def write(which):
    while not stop.is_set():
        ws.upsert(Doc, {"object_id": f"t{which}-{counts[which]}", "n": which, "numbers": [1], "body": "some words"})
        ws.get(f"t{which}-{counts[which]}")
        counts[which] += 1
        time.sleep(0.002)  # SQLite queues nobody: who never pauses can keep another process out for long

threads = [threading.Thread(target=write, args=(which,)) for which in range(4)]
for thread in threads:
    thread.start()

def visit():
    with hb.HeavenBase("forking", path=place) as own:
        before = own.count(Doc)
        own.upsert(Doc, {"n": 99})
        return own.count(Doc) > before

visits = [forked(visit) for _ in range(12)]
stop.set()
for thread in threads:
    thread.join()
said = {
    "visits": visits,
    "rows": ws.query(Doc).where(Doc.n < 99).count(),
    "written": sum(counts),
    "guests": ws.count(Doc, {"n": 99}),
    "ok": ws.check().ok,
}
ws.close()
print(json.dumps(said))
"""

    found = told(child(FORKED + script, tmp_path / "ws"))

    assert found["visits"] == [True] * 12
    assert found["rows"] == found["written"] > 0
    assert found["guests"] == 12
    assert found["ok"]
