"""Entities whose fields lie in several engines: written together, read as one, kept in step.

The answers of random questions over several engines are compared in `tests/semantics`; here is what happens between
the engines. The second one is SQLite once more, which every machine has.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import PlacementError, StorageError, TransactionConflict, UniqueViolation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).unique()
    n = hb.field(hb.Integer).store(to="side")
    tag = hb.field(hb.ShortText).store(to="side")
    at = hb.field(hb.Vector(2)).store(to="far")


BACKENDS = {"main": "sqlite", "side": "sqlite", "far": "sqlite"}


def opened(folder: Path, **more: Any) -> hb.HeavenBase:
    return hb.HeavenBase("spread", path=folder, backends=BACKENDS, **more)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with opened(tmp_path / "ws") as workspace:
        workspace.register(Doc)
        yield workspace


def fill(ws: hb.HeavenBase, count: int = 20) -> list[str]:
    rows = [{"title": f"t{one:02d}", "n": one, "tag": "ab"[one % 2], "at": [float(one), 1.0]} for one in range(count)]
    return ws.upsert_many(Doc, rows)


def part(ws: hb.HeavenBase, name: str) -> tuple[Any, Any]:
    spread = ws.core().stored(Doc).spread
    assert spread is not None
    return spread.parts[name]


def behind_its_back(ws: hb.HeavenBase, name: str, ids: list[str]) -> None:
    """Delete rows from one engine without the others."""
    backend, layout = part(ws, name)
    backend.delete(layout, ids, None)


# -- placement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (hb.field(hb.ShortText).store(to="side").unique(), r"a unique field lies in the primary"),
        (hb.field(hb.ShortText).store(to="memory"), r"backend 'memory' keeps nothing beyond the process"),
        (hb.field(hb.Artifact).store(to="side", strategy="external"), r"files lie beside the primary"),
        (hb.field(hb.ShortText).store(to="nowhere"), r"there is no backend 'nowhere'"),
    ],
)
def test_what_only_the_primary_can_keep_stays_there(tmp_path: Path, field: Any, message: str) -> None:
    kind = type("Thing", (hb.Entity,), {"value": field})
    backends = {"main": "sqlite", "side": "sqlite", "memory": "inmem"}

    with hb.HeavenBase("w", path=tmp_path, backends=backends) as ws, pytest.raises(PlacementError, match=message):
        ws.register(kind)


def test_the_name_of_a_row_cannot_be_elsewhere(tmp_path: Path) -> None:
    class Named(hb.Entity):
        name = hb.field(hb.ShortText).store(to="side")

    with opened(tmp_path) as ws, pytest.raises(PlacementError, match="what a row is called lies in the primary"):
        ws.register(Named)


# -- writing and reading -------------------------------------------------------------------------------------------


def test_a_row_is_one_wherever_its_fields_lie(ws: hb.HeavenBase) -> None:
    (one, *_) = fill(ws)

    assert ws.get(one) == {"object_id": one, "name": None, "title": "t00", "n": 0, "tag": "a", "at": [0.0, 1.0]}
    assert ws.set(one, {"n": 7}) == one
    assert ws.get(one, Doc)["n"] == 7  # type: ignore[index]
    assert ws.delete(one)
    assert ws.get(one) is None
    assert ws.count(Doc, {"n": 7}) == 1  # that of another row


def test_one_question_spans_all_engines(ws: hb.HeavenBase) -> None:
    fill(ws)

    found = (
        ws.query(Doc)
        .where((Doc.n > 3) & (Doc.title.starts_with("t1")) & ~(Doc.tag == "b"))
        .order_by("-n")
        .select("title", "at")
        .limit(2)
        .execute()
    )
    near = ws.query(Doc).near("at", [1.0, 0.0], 3).where({"n": {"$lt": 10}}).execute()

    assert found.rows() == [
        {"object_id": found.ids[0], "title": "t18", "at": [18.0, 1.0]},
        {"object_id": found.ids[1], "title": "t16", "at": [16.0, 1.0]},
    ]
    assert near.column("title") == ["t09", "t08", "t07"]


def test_an_engine_is_only_told_what_changes_for_it(ws: hb.HeavenBase) -> None:
    (one, *_) = fill(ws)
    before = stamps(ws, one)

    ws.set(one, {"n": 100})
    after = stamps(ws, one)
    ws.set(one, {"title": "other"})

    assert after["side"] > before["side"]
    assert after["far"] == before["far"]
    assert stamps(ws, one) == after


def stamps(ws: hb.HeavenBase, object_id: str) -> dict[str, int]:
    """The LSN of the write that each engine has of a row."""
    found: dict[str, int] = {}
    for name in ("side", "far"):
        backend, layout = part(ws, name)
        rows = backend.run(hb_scan(layout))
        found[name] = dict(rows.tuples)[object_id]
    return found


def hb_scan(layout: Any) -> Any:
    from heaven_core.backend import Scan

    return Scan(layout, ("object_id", "_lsn"))


def test_a_row_that_equals_the_stored_one_is_not_written(ws: hb.HeavenBase) -> None:
    (one, *_) = fill(ws)
    version, before = ws.version(one), stamps(ws, one)
    row = ws.get(one)
    assert row is not None

    ws.upsert(Doc, row)

    assert (ws.version(one), stamps(ws, one)) == (version, before)


def test_a_refused_batch_reaches_no_engine(ws: hb.HeavenBase) -> None:
    fill(ws)

    with pytest.raises(UniqueViolation):
        ws.upsert_many(Doc, [{"title": "new", "n": 1000}, {"title": "t01", "n": 1001}])

    assert ws.count(Doc, {"n": {"$gte": 1000}}) == 0
    assert ws.check().ok


def test_a_transaction_sees_its_own_writes_in_every_engine_and_undoes_them(ws: hb.HeavenBase) -> None:
    ids = fill(ws)

    with pytest.raises(ZeroDivisionError), ws.transaction() as tx:  # noqa: PT012  # the whole block is undone
        tx.set(ids[0], {"n": 500})
        tx.delete(ids[1])
        tx.upsert(Doc, {"title": "new", "n": 501, "at": [0.0, 1.0]})
        assert tx.query(Doc).where(Doc.n >= 500).order_by("n").execute().column("n") == [500, 501]
        assert tx.query(Doc).aggregate(rows="count", top=Doc.n.max()).execute().rows() == [{"rows": 20, "top": 501}]
        assert ws.count(Doc, {"n": {"$gte": 500}}) == 0
        raise ZeroDivisionError

    assert ws.count(Doc, {"n": {"$gte": 500}}) == 0
    assert ws.count(Doc) == 20
    assert ws.check().ok


def test_writers_and_readers_of_many_threads_see_whole_rows(ws: hb.HeavenBase) -> None:
    (one, *_) = fill(ws)
    torn: list[Any] = []
    over = threading.Event()

    def read() -> None:
        try:
            while not over.is_set():
                row = ws.get(one, Doc)
                found = ws.query(Doc).where({"object_id": one}).execute().rows()[0]
                torn.extend(each for each in (row, found) if each is None or each["at"] != [float(each["n"]), 1.0])
        except Exception as error:
            torn.append((error, error.__cause__))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(40):
        ws.set(one, {"n": number, "at": [float(number), 1.0]})
    over.set()
    for reader in readers:
        reader.join()

    assert torn == []


def test_reading_what_is_pending_inside_a_transaction_does_not_hinder_its_writes(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = fill(ws)
    with monkeypatch.context() as late:
        late.setattr(ws.core().outbox(), "after_commit", lambda tx: None)
        ws.set(ids[0], {"n": 70})

    with ws.transaction() as tx:
        assert tx.query(Doc).where({"n": 70}).execute().ids == [ids[0]]
        tx.set(ids[0], {"n": 71})

    assert ws.query(Doc).where({"n": 71}).execute().ids == [ids[0]]


def test_a_write_elsewhere_does_not_wait_for_a_transaction_that_is_going_on(ws: hb.HeavenBase) -> None:
    class Other(hb.Entity):
        n = hb.field(hb.Integer)

    ws.register(Other)
    ids = fill(ws)
    done: list[str] = []
    with ws.transaction() as tx:
        before = ws.core().primary.begin()
        ws.core().after_commit(before)  # as after another thread's commit
        before.rollback()
        tx.set(ids[0], {"n": 5})
        ws.core().after_commit(before)
        done.append("not blocked")

    assert done
    assert ws.get(ids[0])["n"] == 5  # type: ignore[index]


# -- other processes -----------------------------------------------------------------------------------------------

CHILD = """
import os, sys
import heavenbase as hb
ws = hb.HeavenBase("spread", path=sys.argv[1], backends={"main": "sqlite", "side": "sqlite", "far": "sqlite"})
"""


def child(folder: Path, code: str, *, killed: bool = False) -> str:
    command = [sys.executable, "-c", CHILD + textwrap.dedent(code), str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == (-9 if killed else 0), run.stderr
    return run.stdout


def test_what_a_killed_process_left_undone_is_done_by_the_next_reader(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws)
    code = """
    def killed(tx): os.kill(os.getpid(), 9)
    ws.core().outbox().after_commit = killed  # after the commit, before the other engines
    ws.upsert("doc", {"object_id": "late", "title": "late", "n": 777, "at": [1.0, 2.0]})
    """

    child(tmp_path / "ws", code, killed=True)

    assert ws.query(Doc).where({"n": 777}).execute().ids == ["late"]
    assert ws.get("late")["at"] == [1.0, 2.0]  # type: ignore[index]
    assert ws.check().ok


def test_what_was_never_committed_is_nowhere(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws)
    code = """
    with ws.transaction() as tx:
        tx.upsert("doc", {"title": "late", "n": 777})
        os.kill(os.getpid(), 9)
    """

    child(tmp_path / "ws", code, killed=True)

    assert ws.count(Doc, {"n": 777}) == 0
    assert ws.count(Doc) == 20
    assert ws.check().ok


def test_another_process_reads_and_writes_the_same_rows(ws: hb.HeavenBase, tmp_path: Path) -> None:
    ids = fill(ws)

    said = child(tmp_path / "ws", f"print(ws.get({ids[3]!r})['n']); ws.set({ids[3]!r}, {{'n': 333}})")

    assert said == "3\n"
    assert ws.query(Doc).where({"n": 333}).execute().ids == [ids[3]]


# -- schema --------------------------------------------------------------------------------------------------------


def test_a_field_in_a_new_engine_is_null_for_the_rows_that_are_there(tmp_path: Path) -> None:
    class Note(hb.Entity):
        title = hb.field(hb.ShortText)

    with opened(tmp_path) as ws:
        ws.register(Note)
        (one, _) = ws.upsert_many(Note, [{"title": "a"}, {"title": "b"}])

    class Longer(hb.Entity):
        identifier = "note"
        title = hb.field(hb.ShortText)
        n = hb.field(hb.Integer).store(to="side")

    with opened(tmp_path) as ws:
        assert ws.register(Longer).added == ["n"]
        assert ws.count(Longer, {"n": None}) == 2
        ws.set(one, {"n": 1})
        assert ws.query(Longer).order_by("n").execute().column("n") == [1, None]
        assert ws.check().ok


def test_a_reopened_workspace_knows_where_everything_lies(tmp_path: Path) -> None:
    with opened(tmp_path) as ws:
        ws.register(Doc)
        fill(ws)
    with opened(tmp_path) as ws:
        assert ws.query("doc").where({"n": {"$lt": 3}}).order_by("title").execute().column("tag") == ["a", "b", "a"]


# -- damage --------------------------------------------------------------------------------------------------------


def test_a_row_that_an_engine_has_lost_is_an_error_and_a_finding(ws: hb.HeavenBase) -> None:
    ids = fill(ws)
    behind_its_back(ws, "side", [ids[0]])

    with pytest.raises(StorageError, match=r"backend 'side' lacks its part of 1 rows.*ws\.check\(\)"):
        ws.get(ids[0])
    (finding,) = ws.check().findings

    assert (finding.backend, finding.kind, finding.repairable) == ("side", "lost-part", False)
    assert ids[0] in finding.detail
    ws.set(ids[1], {"n": 4})  # the others can be used


def test_a_plan_says_which_engine_answers_what(ws: hb.HeavenBase) -> None:
    fill(ws)
    query = ws.query(Doc).where((Doc.n > 3) & (Doc.title > "t05")).order_by("tag").limit(3)

    plan = query.explain(analyze=True)

    assert [(step["step"], step["backend"]) for step in plan.steps] == [
        ("filter", "side"),
        ("filter", "main"),
        ("ids", "main"),
        ("scan", "side"),
    ]
    assert plan.steps[2]["rows"] == 14


@pytest.mark.engines("duckdb")
def test_a_name_that_means_another_engine_than_before_is_refused(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws)
    ws.close()

    with (
        hb.HeavenBase("spread", path=tmp_path / "ws", backends={**BACKENDS, "far": "duckdb"}) as other,
        pytest.raises(PlacementError, match="fields lie in backend 'far' of type 'sqlite', and here that is 'duckdb'"),
    ):
        other.count("doc")


@pytest.mark.parametrize(
    "read",
    [
        lambda tx: tx.query(Doc).aggregate(rows=Doc.tag.count()).execute().scalar(),
        lambda tx: tx.count(Doc, {"tag": "a"}),
        lambda tx: tx.query(Doc).where({"tag": "a"}).order_by("tag").select("tag").execute().ids,
        lambda tx: tx.query(Doc).near("at", [1, 0], top_k=1).select("at").execute().ids,
    ],
    ids=["aggregate", "count", "order", "near"],
)
def test_a_transaction_that_read_another_engine_before_somebody_s_commit_does_not_write(
    ws: hb.HeavenBase, read: Any
) -> None:
    one = fill(ws)[0]
    other = threading.Thread(target=lambda: ws.set(one, {"tag": "z"}))
    with ws.transaction() as tx:
        read(tx)
        other.start()
        other.join()
        with pytest.raises(TransactionConflict):
            tx.set(one, {"tag": "y"})

    assert ws.query(Doc).where({"object_id": one}).execute().column("tag") == ["z"]


def test_an_engine_that_cannot_be_told_anything_does_not_hold_up_what_lies_elsewhere(tmp_path: Path) -> None:
    class Near(hb.Entity):
        n = hb.field(hb.Integer)
        here = hb.field(hb.Integer).store(to="side")

    class Far(hb.Entity):
        n = hb.field(hb.Integer)
        there = hb.field(hb.Integer).store(to="far")

    with opened(tmp_path) as ws:
        ws.register(Near, Far)
        near = ws.upsert(Near, {"n": 1, "here": 1})
        spread = ws.core().stored(Far).spread
        assert spread is not None
        with sqlite3.connect(spread.parts["far"][0]._inner.path) as raw:  # pyright: ignore[reportAttributeAccessIssue]
            raw.execute("alter table e_far rename to e_lost")
        ws.upsert(Far, {"n": 1, "there": 2})  # committed, and not told

        ws.set(near, {"here": 2}, Near)
        assert ws.query(Near).where({"here": 2}).execute().ids == [near]
        assert ws.count(Far, {"n": 1}) == 1  # which the primary answers alone
        with pytest.raises(StorageError, match="'far'"):
            ws.count(Far, {"there": 2})

        with sqlite3.connect(spread.parts["far"][0]._inner.path) as raw:  # pyright: ignore[reportAttributeAccessIssue]
            raw.execute("alter table e_lost rename to e_far")
        assert ws.count(Far, {"there": 2}) == 1


def test_a_write_of_large_values_is_told_in_several_entries(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.outbox.MOST_BYTES", 2000)

    ids = ws.upsert_many(Doc, [{"tag": f"{one}" * 100} for one in range(100)])

    assert ws.query(Doc).order_by("object_id").execute().column("tag") == [
        f"{ids.index(one)}" * 100 for one in sorted(ids)
    ]
