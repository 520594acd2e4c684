"""The comparison is fair: both sides of every benchmark leave the same rows and give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks import figures, twin
from tests.benchmarks.figures import Bench
from tests.benchmarks.measure import Figure, Pairs, Sample, compare
from tests.benchmarks.rows import Indexed, Plain, Searched, Tagged, make_rows, tagged

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

COUNT = 300


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench.opened(pairs=1, seconds=0.001) as made:
        yield made


def _everything(connection: Any, table: str, *, without: tuple[str, ...]) -> list[Any]:
    """All rows of a table but for what must differ: ids are random, versions count commits."""
    known = [name for _, name, *_ in connection.execute(f'pragma table_info("{table}")')]
    names = ", ".join(f'"{name}"' for name in known if name not in without)
    return connection.execute(f'select {names} from "{table}" order by rowid').fetchall()


@pytest.mark.parametrize(
    ("entity", "insert", "adapted", "tables"),
    [
        (Plain, twin.Twin.insert, list, ("e_task",)),
        (Searched, twin.Twin.insert_searched, list, ("e_task", "e_task._fts")),
        (Tagged, twin.Twin.insert_tagged, tagged, ("e_task",)),
    ],
)
def test_both_sides_insert_the_same_rows(bench: Bench, entity: Any, insert: Any, adapted: Any, tables: Any) -> None:
    rows = adapted(make_rows(COUNT))
    ws, other = bench.workspace(entity), bench.twin(bench.statements(entity))

    ws.upsert_many(entity, rows)
    insert(other, rows)

    ours = ws.core().primary._reader()
    for table in tables:
        kept = _everything(ours, table, without=("object_id", "_v"))
        assert len(kept) == COUNT
        assert kept == _everything(other, table, without=("object_id", "_v"))
    ws.drop()
    other.close()


def test_both_sides_fill_the_same_side_table(bench: Bench) -> None:
    rows = tagged(make_rows(COUNT))
    ws, other = bench.workspace(Tagged), bench.twin(bench.statements(Tagged))

    ws.upsert_many(Tagged, rows)
    other.insert_tagged(rows)

    text = 'select * from "e_task.tags" order by row, pos'
    kept = ws.core().primary._reader().execute(text).fetchall()
    assert len(kept) == 3 * COUNT
    assert kept == other.execute(text).fetchall()
    ws.drop()
    other.close()


def test_both_sides_have_the_same_tables_and_indexes(bench: Bench) -> None:
    statements = bench.statements(Indexed)

    other = bench.twin(statements)

    assert twin.ddl(other.path) == statements
    assert sum("e_task" in one for one in statements) == 4  # the table, its full-text index and two others
    other.close()


def test_both_sides_give_the_same_answers(bench: Bench) -> None:
    with bench.workspace(Indexed) as ws:
        other = bench.twin(bench.statements(Indexed))
        ids = ws.upsert_many(Indexed, make_rows(COUNT))
        figures.copy(ws, other)

        for action, ours, theirs, _, _ in (*figures.questions(ws, other, COUNT), *figures.single(ws, other, ids)):
            assert _plain(ours()) == _plain(theirs()), action
        other.close()


def _plain(answer: Any) -> list[Any]:
    """Frames, dicts and tuples of stored values as comparable lists, in any order."""
    if hasattr(answer, "_rows"):
        answer = answer._rows.tuples
    rows = answer if isinstance(answer, list) else [answer]
    return sorted(repr(row) for row in rows)


def test_an_upsert_of_the_same_rows_changes_nothing_on_either_side(bench: Bench) -> None:
    with bench.workspace(Plain) as ws:
        other = bench.twin(bench.statements(Plain))
        ids = ws.upsert_many(Plain, make_rows(COUNT))
        given = [{**row, "object_id": one} for one, row in zip(ids, make_rows(COUNT), strict=True)]
        other.upsert(given)
        before = ws.versions(Plain, ids), other.connection.total_changes

        ws.upsert_many(Plain, given)
        other.upsert(given)

        assert (ws.versions(Plain, ids), other.connection.total_changes) == before
        other.close()


def test_the_figure_is_the_median_of_the_ratios_of_neighbours() -> None:
    pairs = Pairs()
    pairs.ours = [Sample(2.0, 1.0), Sample(30.0, 1.0), Sample(9.0, 1.0)]
    pairs.theirs = [Sample(1.0, 1.0), Sample(10.0, 1.0), Sample(3.0, 2.0)]

    figure = pairs.figure("read", "an action", 10, per=2, target=3.0)

    assert (figure.ratio, figure.wall, figure.met) == (3.0, 1.0, True)
    assert (figure.ours_us, figure.theirs_us) == (4.5e6, 1.5e6)


def test_a_figure_without_a_target_is_neither_met_nor_missed() -> None:
    figure = Figure("read", "an action", 1, "hand-written", 9.0, 9.0, (9.0, 9.0), 1, 1.0, 1.0)

    assert figure.met is None
    assert figure.to_dict()["met"] is None


def test_both_sides_are_run_equally_often_and_in_turns() -> None:
    order: list[str] = []

    pairs, repeat = compare(lambda: order.append("a"), lambda: order.append("b"), pairs=4, seconds=0.0001)

    assert len(pairs.ours) == len(pairs.theirs) == 4
    assert order[-8 * repeat :: repeat] == ["a", "b", "b", "a", "a", "b", "b", "a"]
