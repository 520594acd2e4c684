"""Rows that come one after the other: written a part at a time, all of them or none, in bounded memory."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import heavenbase as hb
from heaven_core.errors import (
    ComputeError,
    DuplicateId,
    InvalidType,
    InvalidValue,
    TransactionError,
    UniqueViolation,
    UnknownField,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Open = Callable[..., hb.HeavenBase]

pytestmark = pytest.mark.integration


def halved(n: int | None) -> int | None:
    if n == 13:
        raise ArithmeticError
    return None if n is None else n // 2


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).unique()
    n = hb.field(hb.Integer)
    half = hb.field(hb.Integer).compute(halved, inputs=["n"])


@pytest.fixture
def ws(engine: str, open_workspace: Open, monkeypatch: pytest.MonkeyPatch) -> hb.HeavenBase:
    """A workspace that takes streams ten rows at a time."""
    monkeypatch.setattr("heaven_core.parts.PART_ROWS", 10)
    monkeypatch.setattr("heaven_core.load.PART_ROWS", 10)
    made = open_workspace(engine)
    made.register(Doc)
    return made


def rows(count: int, **odd: Any) -> Iterator[dict[str, Any]]:
    """Rows one after the other; the one whose number is `at` is as `odd` says."""
    at = odd.pop("at", None)
    for number in range(count):
        yield odd if number == at else {"title": f"t{number}", "n": number + 100}


# -- what is taken -------------------------------------------------------------------------------------------------


def test_a_generator_is_written_in_parts_and_its_ids_are_in_order(ws: hb.HeavenBase) -> None:
    seen: list[int] = []

    ids = ws.upsert_many(Doc, rows(25), progress=seen.append)

    assert [row and row["title"] for row in ws.get_many(ids, Doc)] == [f"t{number}" for number in range(25)]
    assert seen == [10, 20, 25]
    assert len({ws.version(one) for one in ids}) == 1


def test_what_has_a_length_is_one_part(ws: hb.HeavenBase) -> None:
    seen: list[int] = []

    ids = ws.upsert_many(Doc, list(rows(25)), progress=seen.append)

    assert (len(ids), seen) == (25, [25])


def test_an_empty_stream_writes_nothing(ws: hb.HeavenBase) -> None:
    seen: list[int] = []

    assert ws.upsert_many(Doc, iter(()), progress=seen.append) == []
    assert seen == []


def test_a_reader_of_record_batches_is_taken_however_long_its_batches_are(ws: hb.HeavenBase) -> None:
    seen: list[int] = []
    schema = pa.schema({"title": pa.string()})
    titles = [[f"{size}-{one}" for one in range(size)] for size in (3, 24, 0)]
    batches = [pa.record_batch([pa.array(one, pa.string())], schema) for one in titles]

    ids = ws.upsert_many(Doc, pa.RecordBatchReader.from_batches(schema, batches), progress=seen.append)

    assert [row and row["title"] for row in ws.get_many(ids, Doc)] == titles[0] + titles[1]
    assert seen == [3, 13, 23, 27]


def test_an_iterator_may_mix_tables_and_rows(ws: hb.HeavenBase) -> None:
    seen: list[int] = []
    given = [
        pa.record_batch({"title": [f"a{one}" for one in range(12)]}),
        {"title": "b"},
        pl.DataFrame({"title": ["c0", "c1"]}),
        Doc(title="d"),
    ]

    ids = ws.upsert_many(Doc, iter(given), progress=seen.append)

    assert [row and row["title"] for row in ws.get_many(ids, Doc)][-5:] == ["a11", "b", "c0", "c1", "d"]
    assert seen == [10, 16]


def test_rows_of_a_query_may_be_written_while_it_is_read(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, rows(25))

    ws.upsert_many(Doc, ({"title": f"new {row['title']}"} for row in ws.query(Doc)))

    assert ws.count(Doc) == 50


# -- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("odd", "error", "message"),
    [
        ({"n": "x"}, InvalidType, r"doc\.n, row 23: 'x' is"),
        ({"nn": 1}, UnknownField, r"^doc, row 23: there is no field 'nn'"),
        ({"n": 13}, ComputeError, r"doc\.half, row 23: .* raised ArithmeticError"),
        ({"title": "t3"}, UniqueViolation, r"doc\.title, row 23: 't3' is taken"),
        ({"object_id": "", "n": 1}, InvalidValue, r"doc\.object_id, row 23: '' is empty"),
    ],
)
def test_an_error_names_the_row_in_the_whole_stream_and_nothing_is_written(
    ws: hb.HeavenBase, odd: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        ws.upsert_many(Doc, rows(25, at=23, **odd))

    assert vars(raised.value)["row"] == 23
    assert ws.count(Doc) == 0


@pytest.mark.parametrize("at", [3, 23])
def test_the_cause_of_an_error_is_the_same_in_every_part(ws: hb.HeavenBase, at: int) -> None:
    with pytest.raises(ComputeError, match=f"row {at}: ") as raised:
        ws.upsert_many(Doc, rows(25, at=at, n=13))

    assert isinstance(raised.value.__cause__, ArithmeticError)


def test_no_two_rows_of_a_stream_have_one_id_however_far_apart(ws: hb.HeavenBase) -> None:
    def named(*names: str) -> Iterator[dict[str, Any]]:
        return ({"name": name} for name in names)

    apart, near = [f"n{one}" for one in range(22)], [f"n{one}" for one in range(25)]
    apart[21], near[22] = "n4", "n20"

    with pytest.raises(DuplicateId, match=r"doc\.name, row 21: 'n4' also names an earlier row"):
        ws.upsert_many(Doc, named(*apart))
    with pytest.raises(DuplicateId, match=r"doc\.name, row 22: 'n20' also names row 20"):
        ws.upsert_many(Doc, named(*near))
    with pytest.raises(DuplicateId, match=r"doc\.object_id, row 12: 'i2' is also the id of an earlier row"):
        ws.upsert_many(Doc, ({"object_id": f"i{one}"} for one in (*range(12), 2)))

    assert ws.count(Doc) == 0


def test_a_file_has_no_id_twice_either(ws: hb.HeavenBase, tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text("".join(json.dumps({"object_id": f"i{one % 21}"}) + "\n" for one in range(25)))

    with pytest.raises(DuplicateId, match=r"doc\.object_id, row 21: 'i0'"):
        ws.load(Doc, file)

    assert ws.count(Doc) == 0


def test_what_the_generator_raises_undoes_what_came_before(ws: hb.HeavenBase) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield from rows(25)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ws.upsert_many(Doc, broken())

    assert ws.count(Doc) == 0


# -- transactions --------------------------------------------------------------------------------------------------


def test_inside_a_transaction_a_stream_is_part_of_it(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert_many(Doc, rows(25))
        assert (tx.count(Doc), ws.count(Doc)) == (25, 0)

    assert ws.count(Doc) == 25


def test_a_transaction_with_half_a_stream_cannot_be_committed(ws: hb.HeavenBase) -> None:
    with pytest.raises(TransactionError, match="a stream of rows was not written to its end"), ws.transaction() as tx:  # noqa: PT012  # the whole block
        tx.upsert(Doc, {"title": "before"})
        with pytest.raises(InvalidType):
            tx.upsert_many(Doc, rows(25, at=23, n="x"))

    assert ws.count(Doc) == 0


def test_a_transaction_goes_on_after_a_stream_of_which_nothing_was_written(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"title": "before"})
        with pytest.raises(InvalidType):
            tx.upsert_many(Doc, rows(25, at=3, n="x"))

    assert ws.count(Doc) == 1


def test_a_generator_that_writes_itself_may_do_so_in_the_first_part_only(ws: hb.HeavenBase) -> None:
    def writing(count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            ws.upsert(Doc, {"title": f"while {count}: {number}"})
            yield {"title": f"t{count}-{number}"}

    ws.upsert_many(Doc, writing(5))
    with pytest.raises(TransactionError, match="is going on in this thread"):
        ws.upsert_many(Doc, writing(15))

    assert ws.count(Doc, {"title": {"$starts_with": "t"}}) == 5
    assert ws.count(Doc, {"title": {"$starts_with": "while 15"}}) == 10


# -- elsewhere -----------------------------------------------------------------------------------------------------


def test_an_event_loop_is_told_the_progress(ws: hb.HeavenBase) -> None:
    seen: list[int] = []

    async def work() -> list[str]:
        return await ws.aio.upsert_many(Doc, rows(25), progress=seen.append)

    assert len(asyncio.run(work())) == 25
    assert seen == [10, 20, 25]


@pytest.mark.engines("duckdb")
def test_a_stream_reaches_every_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.parts.PART_ROWS", 10)

    class Spread(hb.Entity):
        title = hb.field(hb.ShortText)
        n = hb.field(hb.Integer).store(to="columns")

    with hb.HeavenBase("spread", path=tmp_path, backends={"main": "sqlite", "columns": "duckdb"}) as ws:
        ws.register(Spread)
        with pytest.raises(InvalidType, match=r"spread\.n, row 23"):
            ws.upsert_many(Spread, rows(25, at=23, n="x"))
        assert ws.count(Spread) == 0
        ws.upsert_many(Spread, rows(25))
        assert ws.query(Spread).aggregate(total=Spread.n.sum()).execute().scalar() == sum(range(100, 125))
        assert ws.check().ok


# -- memory --------------------------------------------------------------------------------------------------------

MEASURED = """
import json, resource, sys
import heavenbase as hb

class Doc(hb.Entity):
    title = hb.field(hb.ShortText).index()
    body = hb.field(hb.LongText)
    n = hb.field(hb.Integer)

def rows(count):
    for number in range(count):
        yield {"title": f"title {number}", "body": f"{number} " * 40, "n": number}

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10))

with hb.HeavenBase("memory") as ws:
    ws.register(Doc)
    ws.upsert_many(Doc, rows(120_000))  # fills what the engine keeps in memory
    before = peak_mb()
    count = len(ws.upsert_many(Doc, rows(300_000)))
    print(json.dumps([count, peak_mb() - before]))
"""


@pytest.mark.timeout(300)
def test_300_000_rows_of_a_generator_take_a_few_parts_of_memory() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)

    count, megabytes = json.loads(done.stdout)

    assert count == 300_000
    assert megabytes < 64  # their ids take 27; as a list they would be more than 200


def test_what_other_engines_are_to_be_told_of_a_stream_is_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_core.parts.PART_ROWS", 500)

    class Spread(hb.Entity):
        title = hb.field(hb.ShortText)
        body = hb.field(hb.LongText).store(to="two")

    with hb.HeavenBase("spread", path=tmp_path, backends={"main": "sqlite", "two": "sqlite"}) as ws:
        ws.register(Spread)
        ws.upsert_many(Spread, ({"body": f"{one}"} for one in range(1000)))  # whatever is imported, is
        tracemalloc.start()
        try:
            ws.upsert_many(Spread, ({"body": f"{one} " * 100} for one in range(10_000)))  # 5 MB of text
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        with ws.transaction() as tx:  # what it has written it reads, wherever that lies
            ids = tx.upsert_many(Spread, ({"body": f"{one}"} for one in range(1200)))
            assert [row and row["body"] for row in tx.get_many(ids, Spread)] == [f"{one}" for one in range(1200)]
            tx.set(ids[700], {"body": "changed"}, Spread)
            assert [tx.get(ids[one], Spread) is not None for one in (0, 700, 1199)] == [True] * 3
            assert (tx.get(ids[700]) or {})["body"] == "changed"
            tx.delete(ids[0])
            assert tx.get(ids[0], Spread) is None
        assert ws.count(Spread) == 1000 + 10_000 + 1199
        assert ws.check().ok

    assert peak < 4_500_000
