"""Nearest vectors in SQLite: the matrix in memory, what keeps it in step, and what happens without it."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core import config
from heaven_core.errors import HeavenError, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]

NUMBERS = st.integers(-3, 3).map(float)
VECTORS = st.lists(NUMBERS, min_size=2, max_size=2)


class Spot(hb.Entity):
    place = hb.field(hb.Vector[2])
    free = hb.field(hb.Vector)
    n = hb.field(hb.Integer).index()
    code = hb.field(hb.ShortText).unique()


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("spots", path=tmp_path / "spots") as made:
        made.register(Spot)
        yield made


def fill(ws: Any, count: int, start: int = 0) -> None:
    chance = random.Random(count + start)
    rows = [
        {"object_id": f"{one:05d}", "n": one, "place": [chance.gauss(0, 1), chance.gauss(0, 1)]}
        for one in range(start, start + count)
    ]
    ws.upsert_many(Spot, rows)


def how(query: Any) -> str:
    return query.explain(analyze=True).to_dict()["steps"][-1]["notes"]


def same_everywhere(ws: Any, oracle: Any) -> None:
    for metric in ("cosine", "l2", "dot"):
        for condition in ({}, {"n": {"$lt": 2}}, {"n": {"$gte": 1}}):
            for top_k in (1, 3, 50):
                answers = [
                    one.query(Spot).where(condition).near(Spot.place, [1.0, 2.0], top_k, metric).execute()
                    for one in (ws, oracle)
                ]
                assert answers[0].ids == answers[1].ids
                assert answers[0].column("_distance") == pytest.approx(answers[1].column("_distance"))


ROWS: Any = st.lists(
    st.fixed_dictionaries(
        {
            "object_id": st.sampled_from("abcdefgh"),
            "n": st.integers(0, 3),
            "place": VECTORS | st.none(),
        }
    ),
    max_size=4,
    unique_by=lambda row: str(row["object_id"]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), ROWS),
        st.tuples(st.just("undo"), ROWS),
        st.tuples(st.just("delete"), st.lists(st.sampled_from("abcdefgh"), max_size=3)),
    ),
    max_size=8,
)


@settings(max_examples=30)
@given(steps=STEPS)
def test_whatever_was_written_the_nearest_are_those_of_the_memory_engine(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("steps")
    with hb.HeavenBase("spots", path=path) as ws, hb.HeavenBase("oracle", preset="debug") as oracle:
        for one in (ws, oracle):
            one.register(Spot)
        for kind, argument in steps:
            for one in (ws, oracle):
                step(one, kind, argument)
            same_everywhere(ws, oracle)
        ws.drop()


def step(ws: Any, kind: str, argument: Any) -> None:
    if kind == "upsert":
        ws.upsert_many(Spot, argument)
    elif kind == "delete":
        ws.delete_many(argument, Spot)
    else:
        with suppress(ZeroDivisionError), ws.transaction() as tx:
            tx.upsert_many(Spot, argument)
            tx.query(Spot).near(Spot.place, [1.0, 2.0]).execute()
            raise ZeroDivisionError


def statements_of(ws: Any, question: Any) -> list[str]:
    """The statements that SQLite is given for a question."""
    seen: list[str] = []
    backend = ws.core().primary
    with backend.use(None) as connection:
        connection.raw.set_trace_callback(seen.append)
        try:
            question()
        finally:
            connection.raw.set_trace_callback(None)
    return seen


def test_the_vectors_are_read_once_and_after_a_write_only_the_changed_ones(ws: hb.HeavenBase) -> None:
    fill(ws, 300)
    query = ws.query(Spot).near(Spot.place, [1.0, 0.0], 5)
    reads = [one for one in statements_of(ws, query.execute) if "length(" in one]
    again = [one for one in statements_of(ws, query.execute) if "length(" in one]

    ws.upsert(Spot, {"object_id": "new", "place": [1.0, 0.0]})
    ws.delete("00007", Spot)
    after = [one for one in statements_of(ws, query.execute) if "length(" in one]

    assert len(reads) == 1
    assert again == []
    assert len(after) == 1
    assert "json_each('[8,301]')" in after[0]
    assert query.execute().ids[0] == "new"


def test_a_write_to_another_entity_leaves_the_matrix_alone(ws: hb.HeavenBase) -> None:
    class Note(hb.Entity):
        text = hb.field(hb.ShortText)

    ws.register(Note)
    fill(ws, 50)
    query = ws.query(Spot).near(Spot.place, [1.0, 0.0])
    query.execute()

    ws.upsert(Note, {"text": "hello"})

    assert not [one for one in statements_of(ws, query.execute) if "length(" in one]


def test_a_transaction_sees_its_own_vectors_and_nobody_else_does(ws: hb.HeavenBase) -> None:
    fill(ws, 20)
    ws.query(Spot).near(Spot.place, [9.0, 9.0], 1, "l2").execute()
    with ws.transaction() as tx:
        before = tx.query(Spot).near(Spot.place, [9.0, 9.0], 1, "l2").execute().ids
        tx.upsert(Spot, {"object_id": "mine", "place": [9.0, 9.0]})
        inside = tx.query(Spot).near(Spot.place, [9.0, 9.0], 1, "l2").execute().ids
        outside = ws.query(Spot).near(Spot.place, [9.0, 9.0], 1, "l2").execute().ids

    assert inside == ["mine"]
    assert outside == before != inside
    assert ws.query(Spot).near(Spot.place, [9.0, 9.0], 1, "l2").execute().ids == ["mine"]


def test_a_transaction_that_is_undone_leaves_the_matrix_alone(ws: hb.HeavenBase) -> None:
    fill(ws, 50)
    query = ws.query(Spot).near(Spot.place, [1.0, 0.0], 5)
    before = query.execute().ids
    step(ws, "undo", [{"object_id": "gone", "place": [1.0, 0.0]}])

    assert [one for one in statements_of(ws, query.execute) if "length(" in one] == []
    assert query.execute().ids == before


def test_a_refused_batch_leaves_no_vector_behind(ws: hb.HeavenBase) -> None:
    ws.upsert(Spot, {"object_id": "a", "place": [1.0, 0.0], "code": "taken"})
    ws.query(Spot).near(Spot.place, [1.0, 0.0]).execute()
    with ws.transaction() as tx:
        with pytest.raises(HeavenError):
            tx.upsert_many(
                Spot,
                [{"object_id": "b", "place": [1.0, 0.0]}, {"object_id": "c", "place": [1.0, 0.0], "code": "taken"}],
            )
        tx.upsert(Spot, {"object_id": "d", "place": [1.0, 0.0]})

    assert ws.query(Spot).near(Spot.place, [1.0, 0.0]).execute().ids == ["a", "d"]


def test_vectors_that_another_process_writes_are_found(ws: hb.HeavenBase, tmp_path: Path) -> None:
    fill(ws, 20)
    query = ws.query(Spot).near(Spot.place, [50.0, 50.0], 1, "l2")
    query.execute()
    other = (
        "import sys, heavenbase as hb\n"
        "with hb.HeavenBase('spots', path=sys.argv[1]) as ws:\n"
        "    ws.upsert(ws.entity('spot'), {'object_id': 'far', 'place': [50.0, 50.0]})\n"
    )
    subprocess.run([sys.executable, "-c", other, str(tmp_path / "spots")], check=True)

    assert query.execute().ids == ["far"]


def test_what_does_not_fit_the_budget_is_read_each_time_with_the_same_answer(tmp_path: Path) -> None:
    def answers(budget: int) -> tuple[list[list[str]], str]:
        with config.override(vector__memory_budget=budget), hb.HeavenBase("spots", path=tmp_path) as ws:
            near = ws.query("spot").near("place", [1.0, -1.0], 7)
            return [near.execute().ids, near.where({"n": {"$lt": 100}}).execute().ids], how(near)

    with hb.HeavenBase("spots", path=tmp_path) as ws:
        ws.register(Spot)
        fill(ws, 500)
    kept, first = answers(10**6)

    assert first == "exact matrix in memory"
    assert answers(1000) == (kept, "exact: vectors read from the table")


def test_an_open_workspace_keeps_the_budget_that_it_was_opened_with(ws: hb.HeavenBase) -> None:
    fill(ws, 100)

    with config.override(vector__memory_budget=1):
        assert how(ws.query(Spot).near(Spot.place, [1.0, -1.0], 7)) == "exact matrix in memory"


def test_the_matrix_that_was_not_used_for_longest_is_given_up() -> None:
    with config.override(vector__memory_budget=3 * 100 * 8), hb.HeavenBase("two", preset="local") as ws:
        ws.register(Spot)
        ws.upsert_many(Spot, [{"place": [1.0, float(one)], "free": [1.0, float(one)]} for one in range(100)])
        for field in ("place", "free", "place", "free"):
            ws.query(Spot).near(field, [1.0, 1.0]).execute()
        assert 0 < ws.core().primary.matrices.size_bytes < 2 * 100 * 28


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"n": {"$lt": 20}}, "exact matrix in memory, condition first"),
        ({"n": {"$gte": 20}}, "exact matrix in memory, condition on the nearest"),
    ],
)
def test_a_condition_is_answered_first_where_few_rows_satisfy_it(
    ws: hb.HeavenBase, condition: dict[str, Any], expected: str
) -> None:
    fill(ws, 2000)
    query = ws.query(Spot).where(condition).near(Spot.place, [1.0, 1.0], 10, "l2")

    assert how(query) == expected
    rows: list[Any] = list(ws.query(Spot).where(condition).execute().rows())
    rows.sort(key=lambda row: (sum((one - 1) ** 2 for one in row["place"]), row["object_id"]))
    assert query.execute().ids == [row["object_id"] for row in rows[:10]]


def test_a_condition_that_the_nearest_fail_is_answered_all_the_same(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Spot, [{"object_id": f"{one:05d}", "n": one, "place": [float(one), 0.0]} for one in range(6000)])
    query = ws.query(Spot).where(Spot.n >= 5500).near(Spot.place, [0.0, 0.0], 3, "l2")

    assert query.execute().ids == ["05500", "05501", "05502"]
    assert how(query) == "exact matrix in memory, condition first"


def test_ties_go_to_the_first_ids_wherever_the_rows_lie(ws: hb.HeavenBase) -> None:
    ids = [f"{one:03d}" for one in range(40)]
    random.Random(3).shuffle(ids)
    for one in ids:
        ws.upsert(Spot, {"object_id": one, "place": [1.0, 1.0]})

    assert ws.query(Spot).near(Spot.place, [1.0, 1.0], 5).execute().ids == sorted(ids)[:5]
    assert ws.query(Spot).near(Spot.place, [1.0, 1.0], 5).order_by(-Spot.n).limit(2).execute().ids == sorted(ids)[:2]


def test_order_limit_and_offset_are_those_of_the_nearest(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Spot, [{"object_id": f"{one}", "n": 9 - one, "place": [float(one), 0.0]} for one in range(10)])
    near = ws.query(Spot).near(Spot.place, [0.0, 0.0], 4, "l2")

    assert near.execute().ids == ["0", "1", "2", "3"]
    assert near.offset(1).limit(2).execute().ids == ["1", "2"]
    assert near.order_by("n").execute().ids == ["3", "2", "1", "0"]
    frame = near.select("n").order_by("n").limit(1).execute()
    assert [frame.ids, frame.column("n"), frame.column("_distance")] == [["3"], [6], [3.0]]


def test_a_field_of_any_dimension_is_searched_among_those_of_the_query(ws: hb.HeavenBase) -> None:
    ws.upsert_many(
        Spot,
        [
            {"object_id": "two", "free": [1.0, 0.0]},
            {"object_id": "three", "free": [1.0, 0.0, 0.0]},
            {"object_id": "none"},
        ],
    )

    assert ws.query(Spot).near(Spot.free, [1.0, 0.0]).execute().ids == ["two"]
    assert ws.query(Spot).near(Spot.free, [1.0, 0.0, 0.0]).execute().ids == ["three"]
    assert ws.query(Spot).near(Spot.free, [1.0]).execute().ids == []


@pytest.mark.parametrize("bad", [[float("nan"), 0.0], [1.0], [0.0, 0.0], [1e39, 0.0], ["1", 0], None])
def test_a_query_vector_that_is_none_is_refused(ws: hb.HeavenBase, bad: Any) -> None:
    with pytest.raises((InvalidValue, HeavenError)):
        ws.query(Spot).near(Spot.place, bad).execute()


def test_a_field_added_later_is_searched(tmp_path: Path) -> None:
    class Old(hb.Entity):
        identifier = "thing"
        n = hb.field(hb.Integer)

    class New(hb.Entity):
        identifier = "thing"
        n = hb.field(hb.Integer)
        place = hb.field(hb.Vector[2])

    with hb.HeavenBase("things", path=tmp_path) as ws:
        ws.register(Old)
        ws.upsert(Old, {"object_id": "old", "n": 1})
        ws.register(New)
        assert ws.query(New).near(New.place, [1.0, 0.0]).execute().ids == []
        ws.set("old", {"place": [1.0, 0.0]}, New)
        assert ws.query(New).near(New.place, [1.0, 0.0]).execute().ids == ["old"]


def test_a_file_without_the_table_of_versions_is_searched(tmp_path: Path) -> None:
    with hb.HeavenBase("spots", path=tmp_path) as ws:
        ws.register(Spot)
        fill(ws, 10)
        expected = ws.query(Spot).near(Spot.place, [1.0, 1.0]).execute().ids
    with sqlite3.connect(tmp_path / "main.db") as raw:
        raw.execute("drop table hb_vectors")
    raw.close()

    with hb.HeavenBase("spots", path=tmp_path) as ws:
        assert ws.query(Spot).near(Spot.place, [1.0, 1.0]).execute().ids == expected
        ws.upsert(Spot, {"object_id": "new", "place": [1.0, 1.0]})
        assert "new" in ws.query(Spot).near(Spot.place, [1.0, 1.0]).execute().ids
        assert ws.check().ok


def test_readers_beside_writers_never_see_a_vector_of_another_moment(ws: hb.HeavenBase) -> None:
    """Each write moves one row and its mark together; a reader must find the mark that belongs to the distance."""
    ws.upsert_many(Spot, [{"object_id": f"{one:03d}", "n": 0, "place": [0.0, 1.0]} for one in range(200)])
    over = threading.Event()
    wrong: list[Any] = []

    def read() -> None:
        while not over.is_set():
            frame = ws.query(Spot).near(Spot.place, [0.0, 0.0], 200, "l2").select("n").execute()
            pairs = list(zip(frame.column("n"), frame.column("_distance"), strict=True))
            wrong.extend((turn, distance) for turn, distance in pairs if distance != turn + 1)
            if len(pairs) != 200:
                wrong.append(len(pairs))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    chance = random.Random(1)
    for turn in range(120):
        chosen = chance.sample(range(200), 1 + turn % 3)
        ws.upsert_many(Spot, [{"object_id": f"{one:03d}", "n": turn, "place": [0.0, turn + 1.0]} for one in chosen])
    over.set()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_file_that_is_restored_while_it_is_open_and_written_to_again_is_searched_as_it_is(
    ws: hb.HeavenBase, tmp_path: Path
) -> None:
    def nearest() -> list[str]:
        return ws.query(Spot).near(Spot.place, [1.0, 0.0], 1).execute().ids

    ws.upsert_many(Spot, [{"object_id": "a", "place": [1.0, 0.0]}, {"object_id": "b", "place": [0.0, 1.0]}])
    with (
        closing(sqlite3.connect(tmp_path / "spots" / "main.db")) as file,
        closing(sqlite3.connect(tmp_path / "kept.db")) as kept,
    ):
        file.backup(kept)
        ws.set("a", {"place": [0.0, 1.0]})
        ws.set("b", {"place": [1.0, 0.0]})
        assert nearest() == ["b"]
        kept.backup(file)
        ws.set("b", {"n": 1})
        ws.set("b", {"n": 2})

        assert nearest() == ["a"]
        ws.set("b", {"n": 3})
        assert nearest() == ["a"]
