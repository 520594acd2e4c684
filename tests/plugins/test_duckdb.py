"""The DuckDB engine: its file, who has it, what it refuses and how it says so.

Answers are compared with those of other engines in `tests/semantics`.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import heaven_duckdb
import heavenbase as hb
from heaven_core.errors import (
    BackendBusy,
    ConfigError,
    DeadlineExceeded,
    EngineNotInstalled,
    FormatTooNew,
    NotADatabase,
    QueryCancelled,
    ResultTooLarge,
    StorageError,
    WorkspaceConflict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.engines("duckdb")]

duckdb: Any = pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")


class Sale(hb.Entity):
    shop = hb.field(hb.ShortText)
    amount = hb.field(hb.Float).store(to="duck")
    pieces = hb.field(hb.Integer).store(to="duck")
    kind = hb.field(hb.Categorical(["book", "map"])).store(to="duck")


BACKENDS: dict[str, Any] = {"main": "sqlite", "duck": "duckdb"}


def opened(folder: Path, name: str = "shop", backends: dict[str, Any] = BACKENDS) -> hb.HeavenBase:
    return hb.HeavenBase(name, path=folder, backends=backends)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with opened(tmp_path / "ws") as workspace:
        workspace.register(Sale)
        yield workspace


def fill(ws: hb.HeavenBase, count: int = 100) -> list[str]:
    kinds = ("book", "map", None)
    rows = [{"shop": f"s{one % 7}", "amount": one / 4, "pieces": one, "kind": kinds[one % 3]} for one in range(count)]
    return ws.upsert_many(Sale, rows)


def test_the_declaration_needs_nothing_of_the_engine_and_names_what_installs_it() -> None:
    assert heaven_duckdb.PLUGIN.install_hint() == "pip install 'heaven-core[duckdb]'"
    assert not heaven_duckdb.PLUGIN.primary


# -- answers -------------------------------------------------------------------------------------------------------


def test_a_group_over_its_fields_is_answered_by_duckdb_alone(ws: hb.HeavenBase) -> None:
    fill(ws)
    query = ws.query(Sale).where(Sale.pieces < 99).group_by("kind").aggregate(n="count", mean=Sale.amount.avg())

    rows = query.order_by("kind").execute().rows()
    plan = query.explain()

    assert rows == [
        {"kind": "book", "n": 33, "mean": 12.0},
        {"kind": "map", "n": 33, "mean": 12.25},
        {"kind": None, "n": 33, "mean": 12.5},
    ]
    assert {step["backend"] for step in plan.steps} == {"duck"}
    assert plan.native


def test_every_aggregate_has_the_answer_of_the_others(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"pieces": one, "amount": float(one)} for one in (2, 1, 2, 3)] + [{}])

    (row,) = (
        ws.query(Sale)
        .aggregate(
            total=Sale.pieces.sum(),
            mean=Sale.pieces.avg(),
            middle=Sale.amount.median(),
            ninety=Sale.pieces.percentile(90),
            counts=Sale.pieces.value_counts(),
            there=Sale.pieces.count(),
        )
        .execute()
        .rows()
    )

    assert row == {
        "total": 8,
        "mean": 2.0,
        "middle": 2.0,
        "ninety": pytest.approx(2.7),
        "counts": [[2, 2], [1, 1], [3, 1]],
        "there": 4,
    }


def test_floats_that_pass_their_range_on_the_way_are_summed_all_the_same(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"amount": one} for one in (1e308, 1e308, -1e308)])

    assert ws.query(Sale).aggregate(total=Sale.amount.sum()).execute().scalar() == 1e308


# -- the file ------------------------------------------------------------------------------------------------------


def test_the_file_is_made_when_a_field_needs_it_and_goes_with_the_workspace(tmp_path: Path) -> None:
    file = tmp_path / "ws" / "duck.duckdb"
    with opened(tmp_path / "ws") as ws:
        assert not file.exists()
        ws.register(Sale)
        fill(ws)
        assert file.exists()
        ws.drop()
    assert not file.exists()


def test_another_process_waits_for_the_file_and_has_it_when_it_was_idle(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws)

    assert child(tmp_path, "print(ws.count('sale', {'pieces': {'$lt': 10}}))") == "10\n"
    assert ws.count(Sale, {"pieces": {"$lt": 5}}) == 5


def test_another_process_has_its_turn_while_this_one_asks_again_and_again(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws)
    over = threading.Event()
    failed: list[Exception] = []

    def ask() -> None:
        try:
            while not over.is_set():
                assert ws.count(Sale, {"pieces": {"$lt": 5}}) == 5
                time.sleep(0.02)
        except Exception as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert child(tmp_path, "print(ws.count('sale', {'pieces': {'$lt': 10}}))") == "10\n"
    finally:
        over.set()
        asking.join()
    assert not failed


def test_the_file_stays_open_for_a_while_and_not_for_long(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws)
    holder = ws.core().backends["duck"]._holder
    time.sleep(0.6)
    assert holder._connection is not None

    monkeypatch.setattr("heaven_duckdb.holder.IDLE_S", 0.1)
    ends = time.monotonic() + 10
    while holder._connection is not None and time.monotonic() < ends:
        time.sleep(0.05)
    assert holder._connection is None
    assert ws.count(Sale, {"pieces": 1}) == 1


def idle(ws: hb.HeavenBase) -> None:
    """What happens after a pause."""
    holder = ws.core().backends["duck"]._holder
    with holder._lock:
        holder._shut()


def child(folder: Path, code: str) -> str:
    start = f"import heavenbase as hb\nws = hb.HeavenBase('shop', path={str(folder / 'ws')!r}, backends={BACKENDS!r})\n"
    run = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@contextmanager
def holding_elsewhere(file: Path) -> Iterator[int]:
    """Another process that has the file, by its number."""
    code = "import duckdb, sys, time\nc = duckdb.connect(sys.argv[1])\nprint('has it', flush=True)\ntime.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "has it\n"
        yield holder.pid
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_process_that_keeps_the_file_is_named(
    ws: hb.HeavenBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ws)
    idle(ws)
    monkeypatch.setattr("heaven_duckdb.holder.BUSY_WAIT_S", 0.1)
    with holding_elsewhere(tmp_path / "ws" / "duck.duckdb") as number:
        with pytest.raises(BackendBusy, match=rf"backend 'duck': process {number} has the DuckDB file open"):
            ws.count(Sale, {"pieces": 1})
        assert ws.query(Sale).where({"shop": "s1"}).select("shop").execute().ids  # what needs no DuckDB goes on


def test_a_write_that_cannot_reach_duckdb_is_kept_until_it_can(
    ws: hb.HeavenBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(ws)
    backend = ws.core().backends["duck"]
    with monkeypatch.context() as broken:
        broken.setattr(type(backend), "write", _unreachable)
        ws.upsert(Sale, {"object_id": "late", "pieces": 1000})
        assert "has yet to reach another engine" in caplog.text
        with pytest.raises(StorageError, match="unreachable"):
            ws.count(Sale, {"pieces": 1000})

    assert ws.query(Sale).where({"pieces": 1000}).execute().ids == ["late"]


def _unreachable(*_: Any) -> Any:
    raise StorageError("unreachable")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: path.write_bytes(b"no database" * 100), NotADatabase, "no DuckDB database"),
        (lambda path: _made(path, "create table mine (x integer)"), NotADatabase, "HeavenBase did not make this"),
        (
            lambda path: _made(path, _STATE, "insert into hb_state values (1, 'other')"),
            WorkspaceConflict,
            "belongs to workspace 'other'",
        ),
        (lambda path: _made(path, _STATE, "insert into hb_state values (99, 'shop')"), FormatTooNew, "format 99"),
    ],
)
def test_a_file_that_is_not_this_workspace_s_is_refused(
    tmp_path: Path, make: Any, error: type[Exception], message: str
) -> None:
    (tmp_path / "ws").mkdir()
    make(tmp_path / "ws" / "duck.duckdb")

    with opened(tmp_path / "ws") as ws, pytest.raises(error, match=message):
        ws.register(Sale)


_STATE = "create table hb_state (format integer, workspace varchar)"


def _made(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_table_that_was_altered_from_outside_is_said_to_be(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws)
    ws.close()
    _made(tmp_path / "ws" / "duck.duckdb", "alter table e_sale drop column pieces")

    with opened(tmp_path / "ws") as again, pytest.raises(StorageError, match="altered from outside") as raised:
        again.count("sale", {"pieces": 1})

    assert "select" not in str(raised.value)


def test_a_misspelt_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no option 'pathh'; did you mean 'path'"):
        opened(tmp_path, backends={"main": "sqlite", "duck": {"type": "duckdb", "pathh": "x"}})


def test_a_missing_library_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.plugin._is_importable", lambda name: name != "duckdb")

    with pytest.raises(EngineNotInstalled, match=r"pip install 'heaven-core\[duckdb\]'"):
        opened(tmp_path)


def test_a_query_that_waits_for_the_file_keeps_its_deadline_and_nobody_else_waits(
    ws: hb.HeavenBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ws)
    idle(ws)
    with holding_elsewhere(tmp_path / "ws" / "duck.duckdb"):
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            ws.query(Sale).where(Sale.pieces > 1).limits(deadline=0.3).execute()
        assert time.monotonic() - began < 3
        assert ws.count(Sale, {"shop": "s1"}) > 0

        with monkeypatch.context() as impatient:
            impatient.setattr("heaven_duckdb.holder.BUSY_WAIT_S", 0.1)
            ws.upsert(Sale, {"shop": "late", "pieces": 5})  # committed; DuckDB has yet to be told
        with pytest.raises(DeadlineExceeded):
            ws.query(Sale).where(Sale.pieces > 1).limits(deadline=0.3).execute()
        assert ws.count(Sale, {"shop": "late"}) == 1
        ws.close()
        assert time.monotonic() - began < 5


def test_more_conditions_than_duckdb_plans_well_are_answered_in_python(ws: hb.HeavenBase) -> None:
    fill(ws)
    began = time.monotonic()

    assert ws.count(Sale, {"$and": [{"pieces": {"$ne": one}} for one in range(3000)]}) == 0

    assert time.monotonic() - began < 10


# -- bounds --------------------------------------------------------------------------------------------------------

SLOW = "select count(*) from range(100000) a, range(100000) b where hash(a.range + b.range) % 7 = 3"


def test_a_query_that_takes_too_long_is_stopped(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws)
    monkeypatch.setattr("heaven_duckdb.engine.scan_sql", lambda *asked: (SLOW, ()))
    began = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        ws.query(Sale).where(Sale.pieces > 1).select("pieces").limits(deadline=0.3).execute()

    assert time.monotonic() - began < 5


def test_another_thread_can_stop_a_query(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws)
    monkeypatch.setattr("heaven_duckdb.engine.scan_sql", lambda *asked: (SLOW, ()))
    stop = hb.Cancellation()
    threading.Timer(0.2, stop.cancel).start()

    with pytest.raises(QueryCancelled):
        ws.query(Sale).where(Sale.pieces > 1).select("pieces").limits(cancel=stop).execute()


def test_an_answer_beyond_the_caps_is_refused(ws: hb.HeavenBase) -> None:
    fill(ws)
    query = ws.query(Sale).where(Sale.pieces >= 0)

    with pytest.raises(ResultTooLarge, match="more than 10 rows"):
        query.select("pieces").limits(max_rows=10).execute()
    with pytest.raises(ResultTooLarge, match="passes 100 bytes"):
        query.limits(max_bytes=100).execute()


@pytest.mark.parametrize(
    "statements", [["create table mine (x integer)"], [_STATE, "insert into hb_state values (1, 'other')"]]
)
def test_dropping_a_workspace_leaves_a_file_that_is_somebody_else_s(tmp_path: Path, statements: list[str]) -> None:
    file = tmp_path / "theirs.duckdb"
    _made(file, *statements)
    backends = {"main": "sqlite", "duck": {"type": "duckdb", "database": str(file)}}

    with pytest.raises((NotADatabase, WorkspaceConflict)):
        opened(tmp_path / "ws", backends=backends).drop()

    assert file.exists()


def test_a_program_ends_without_a_word_of_the_library_s(tmp_path: Path) -> None:
    code = f"""
import time
import heavenbase as hb
ws = hb.HeavenBase("shop", path={str(tmp_path)!r}, backends={BACKENDS!r})
class Sale(hb.Entity):
    n = hb.field(hb.Integer).store(to="duck")
ws.register(Sale)
ws.upsert(Sale, {{"n": 1}})
for _ in range(30):
    ws.query(Sale).where(Sale.n == 1).execute()
time.sleep(0.1)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert (ran.stdout, ran.stderr) == ("", "")
