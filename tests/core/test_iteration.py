"""Answers read part by part, `Query.iter_frames`: every row once, in order, without all of them in memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.errors import QueryError, ResultTooLarge

pytestmark = pytest.mark.integration


class Note(hb.Entity):
    n = hb.field(hb.Integer)
    kind = hb.field(hb.ShortText).index()
    body = hb.field(hb.LongText)
    place = hb.field(hb.Vector[2])


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("notes", path=tmp_path, backends={"main": {"type": request.param}}) as made:
        made.register(Note)
        made.upsert_many(
            Note,
            [
                {"n": one, "kind": f"k{one % 3}", "body": f"word{one % 5}", "place": [1.0, float(one)]}
                for one in range(95)
            ],
        )
        yield made


def sizes(frames: Iterator[hb.ResultFrame]) -> list[int]:
    return [len(one) for one in frames]


@pytest.mark.parametrize("size", [1, 7, 94, 95, 96, 1000])
def test_every_row_comes_once(ws: hb.HeavenBase, size: int) -> None:
    frames = list(ws.query(Note).iter_frames(size))

    assert sorted(one for frame in frames for one in frame.column("n")) == list(range(95))
    assert [one for frame in frames for one in frame.ids] == ws.ids(Note)
    assert all(len(frame) == size for frame in frames[:-1])
    assert 0 < len(frames[-1]) <= size


def test_parts_together_are_the_answer(ws: hb.HeavenBase) -> None:
    for query in (
        ws.query(Note).where(Note.kind == "k1"),
        ws.query(Note).where(Note.kind == "k1").select("n"),
        ws.query(Note).order_by("-n"),
        ws.query(Note).order_by("kind", "-n").offset(5).limit(31).select("kind"),
        ws.query(Note).order_by("object_id").limit(20),
        ws.query(Note).group_by("kind").aggregate(total="count").order_by("kind"),
        ws.query(Note).near(Note.place, [1.0, 0.0], 40, "l2"),
        ws.query(Note).search("word2 word3", "body"),
        ws.query(Note).where(Note.n > 1000),
    ):
        whole, parts = query.execute(), list(query.iter_frames(10))
        rows = [row for frame in parts for row in frame.rows()]

        key = "kind" if query.group else "object_id"
        ordered = bool(query.order or query.near_ or query.search_)
        assert (rows if ordered else sorted(rows, key=lambda row: row[key])) == (
            whole.rows() if ordered else sorted(whole.rows(), key=lambda row: row[key])
        )
        assert all(0 < len(frame) <= 10 for frame in parts)


@pytest.mark.parametrize(
    ("offset", "limit", "expected"), [(0, 25, 25), (90, None, 5), (10, 7, 7), (95, None, 0), (0, 0, 0)]
)
def test_offset_and_limit_count_over_all_parts(
    ws: hb.HeavenBase, offset: int, limit: int | None, expected: int
) -> None:
    found = [one for frame in ws.query(Note).offset(offset).limit(limit).iter_frames(6) for one in frame.ids]

    assert len(found) == len(set(found)) == expected


def test_rows_that_are_written_meanwhile_make_none_come_twice(ws: hb.HeavenBase) -> None:
    seen: list[str] = []
    for frame in ws.query(Note).iter_frames(10):
        seen += frame.ids
        ws.upsert_many(Note, [{"n": -1} for _ in range(3)])
        ws.set(seen[0], {"kind": "moved"}, Note)

    assert len(seen) == len(set(seen))
    assert len(seen) >= 95


def test_inside_a_transaction_its_own_rows_come_too(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Note, {"object_id": "mine", "n": 500})
        assert 500 in [row["n"] for row in tx.query(Note)]
    assert next(iter(ws.query(Note).where(Note.n == 500)))["object_id"] == "mine"


def test_the_cap_on_rows_is_not_for_what_is_read_part_by_part(ws: hb.HeavenBase) -> None:
    query = ws.query(Note).limits(max_rows=10)

    with pytest.raises(ResultTooLarge):
        query.execute()
    assert sum(sizes(query.iter_frames(5))) == 95
    assert len(list(query.order_by("n"))) == 95


def test_no_more_is_read_than_is_taken(ws: hb.HeavenBase) -> None:
    frames = ws.query(Note).iter_frames(10)
    first = next(frames)
    ws.delete_many(ws.ids(Note), Note)

    assert len(first) == 10
    assert list(frames) == []
    assert list(islice(ws.query(Note), 3)) == []


@pytest.mark.parametrize("size", [0, -1, True, "5", 1.0, 100_001])
def test_a_size_that_is_none_is_refused(ws: hb.HeavenBase, size: Any) -> None:
    with pytest.raises(QueryError, match="size takes a whole number"):
        ws.query(Note).iter_frames(size)


def test_memory_does_not_grow_with_the_rows(tmp_path: Any) -> None:
    with hb.HeavenBase("many", path=tmp_path) as ws:
        ws.register(Note)
        peaks: list[int] = []
        for count in (2_000, 20_000):
            ws.upsert_many(Note, [{"n": one, "body": "x" * 300} for one in range(count - ws.count(Note))])
            tracemalloc.start()
            total = sum(1 for _ in ws.query(Note))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert total == count
    assert peaks[1] < 1.5 * peaks[0]


def test_a_row_that_has_changed_meanwhile_comes_only_if_the_condition_still_holds(ws: hb.HeavenBase) -> None:
    frames = ws.query(Note).where(Note.kind == "k0").order_by("-n").iter_frames(10)
    first = next(frames)
    last = ws.query(Note).where(Note.kind == "k0").order_by("n").limit(1).execute().ids[0]
    ws.set(last, {"kind": "k1"})

    rows = [*first.rows(), *(row for frame in frames for row in frame.rows())]
    assert {row["kind"] for row in rows} == {"k0"}
    assert last not in {row["object_id"] for row in rows}
    assert len(rows) == 31
