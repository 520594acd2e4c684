"""The reference evaluator, `heaven_core.evaluate`: scans answered in plain Python."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import evaluate
from heaven_core.backend import Column, Grouping, Layout, Limits, Near, OrderBy, Scan, Search
from heaven_core.errors import DeadlineExceeded, QueryError, ResultTooLarge
from heaven_core.evaluate import Clock, best_matches, check_bytes, expr_test, finish_groups, order_rows, row_test, scan
from heaven_core.expr import all_of, any_of
from heaven_core.handlers import AllOf, AnyOf, IdSet, NoneOf, QueryFragment
from heaven_core.ops import reducer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.LongText)
    n = hb.field(hb.Integer)
    tags = hb.field(hb.Array(hb.ShortText))
    place = hb.field(hb.Vector(2))


LAYOUT = Layout("doc", "main", "inmem", [Column(field, "inline") for field in Doc.schema().fields])
TITLES = ["the quick fox", "the lazy dog", "a quick dog and a quick fox", None]
ROWS: list[dict[str, Any]] = [
    {"object_id": one, "name": None, "title": title, "n": number, "tags": [one], "place": place}
    for one, title, number, place in zip(
        "dbca", TITLES, [2, None, 1, 2], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], None], strict=True
    )
]


def _is(field: str, value: Any) -> QueryFragment:
    return QueryFragment("main", "eq", field, lambda row: row[field] == value)


def _ids(request: Scan, rows: Any = ROWS) -> list[str]:
    return [row[0] for row in scan(request, rows).tuples]


# -- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        (None, "dbca"),
        (_is("n", 2), "da"),
        (NoneOf(_is("n", 2)), "bc"),
        (IdSet(["a", "b", "x"]), "ba"),
        (AllOf([]), "dbca"),
        (AnyOf([]), ""),
        (NoneOf(AllOf([])), ""),
        (AllOf([_is("n", 2), _is("title", None)]), "a"),
        (AllOf([_is("n", 2), IdSet(["a", "d"]), NoneOf(IdSet(["a"]))]), "d"),
        (AnyOf([_is("n", 1), IdSet(["a"])]), "ca"),
    ],
)
def test_a_tree_of_fragments_chooses_rows(where: Any, ids: str) -> None:
    assert sorted(_ids(Scan(LAYOUT, where=where))) == sorted(ids)


def test_no_condition_is_no_test() -> None:
    assert row_test(None) is None
    assert expr_test(None)({})


def test_a_condition_means_what_its_operations_mean() -> None:
    condition = all_of([any_of([Doc.n == 2, Doc.n.is_null()]), ~Doc.title.contains("fox")])

    assert [row["object_id"] for row in ROWS if expr_test(condition)(row)] == ["b", "a"]
    assert not expr_test(any_of([]))({})
    with pytest.raises(QueryError, match=r"an int is no condition"):
        expr_test(5)  # pyright: ignore[reportArgumentType]


# -- order, offset, limit --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ([OrderBy("n")], "cadb"),
        ([OrderBy("n", desc=True)], "adcb"),
        ([OrderBy("n"), OrderBy("object_id", desc=True)], "cdab"),
        ([OrderBy("title")], "cbda"),
        ([OrderBy("object_id", desc=True)], "dcba"),
    ],
    ids=str,
)
def test_rows_are_ordered_with_nulls_last_and_ties_by_id(order: list[OrderBy], ids: str) -> None:
    assert "".join(_ids(Scan(LAYOUT, order=tuple(order)))) == ids
    assert "".join(_ids(Scan(LAYOUT, order=tuple(order), offset=1, limit=2))) == ids[1:3]


def test_a_limit_without_an_order_takes_the_first_ids() -> None:
    assert _ids(Scan(LAYOUT, limit=2)) == ["a", "b"]
    assert _ids(Scan(LAYOUT, offset=3)) == ["d"]
    assert _ids(Scan(LAYOUT, limit=0)) == []


def test_ordering_keeps_the_order_of_equal_rows() -> None:
    rows = [{"k": 1, "v": "b"}, {"k": 1, "v": "a"}, {"k": None, "v": "c"}]

    assert order_rows(rows, [OrderBy("k", desc=True)]) == rows


def test_collections_in_an_answer_are_copies() -> None:
    answer = scan(Scan(LAYOUT, ("object_id", "tags"), where=IdSet(["a"])), ROWS)

    (decode,) = answer.decoders[1:]
    assert decode is not None
    decode(answer.tuples[0][1]).append("changed")

    assert ROWS[3]["tags"] == ["a"]


# -- ranking ---------------------------------------------------------------------------------------------------------


def _search(*words: str, **more: Any) -> Scan:
    return Scan(LAYOUT, search=Search((Doc.schema().field("title"),), words), **more)


def test_search_is_bm25_over_all_rows() -> None:
    found = scan(_search("quick", "fox"), ROWS)

    scores = {row[0]: row[-1] for row in found.tuples}
    lengths = {"d": 3, "b": 3, "c": 7, "a": 0}
    average = sum(lengths.values()) / 4

    def bm25(document: str, counts: list[int]) -> float:
        idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
        norm = 1.2 * (1 - 0.75 + 0.75 * lengths[document] / average)
        return sum(idf * count * 2.2 / (count + norm) for count in counts)

    assert found.names == ("object_id", "_score")
    assert scores == {"c": pytest.approx(bm25("c", [2, 1])), "d": pytest.approx(bm25("d", [1, 1]))}


def test_a_filter_narrows_a_search_and_leaves_its_scores() -> None:
    alone = {row[0]: row[1] for row in scan(_search("dog"), ROWS).tuples}

    narrowed = scan(_search("dog", where=_is("n", 1)), ROWS, everything=lambda: ROWS)

    assert narrowed.tuples == [("c", alone["c"])]


def test_a_search_in_nothing_finds_nothing() -> None:
    assert scan(_search("dog"), []).tuples == []
    assert best_matches([], Search((Doc.schema().field("title"),), ("dog",)), [], Clock(Limits())) == ([], [])


def test_equal_scores_are_in_the_order_of_ids() -> None:
    rows = [{"object_id": one, "title": "dog"} for one in "ba"]

    assert [row[0] for row in scan(_search("dog"), rows).tuples] == ["a", "b"]


def test_a_ranked_answer_may_be_ordered_otherwise_and_cut() -> None:
    near = Near(Doc.schema().field("place"), [1.0, 0.0], 10, "l2")

    plain = scan(Scan(LAYOUT, near=near, limit=2), ROWS)
    ordered = scan(Scan(LAYOUT, near=near, order=(OrderBy("object_id"),), offset=1), ROWS)

    assert plain.names == ("object_id", "_distance")
    assert plain.tuples == [("d", 0.0), ("c", 1.0)]
    assert ordered.tuples == [("c", 1.0), ("d", 0.0)]
    assert scan(Scan(LAYOUT, near=near, where=_is("title", None)), ROWS).tuples == []


# -- groups ----------------------------------------------------------------------------------------------------------


def _grouping(keys: tuple[str, ...], having: Any = None) -> Grouping:
    count, total = hb.Query(None, Doc.schema()).aggregate(rows="count", top=Doc.title.max()).aggregates  # pyright: ignore[reportArgumentType]
    made = [
        (alias, one, QueryFragment("main", one.op, "x", reducer(one.op, one.param))) for alias, one in (count, total)
    ]
    return Grouping(keys, tuple(made), having)


def test_rows_are_grouped_with_null_as_a_group_of_its_own() -> None:
    request = Scan(LAYOUT, group=_grouping(("n",)), order=(OrderBy("rows", desc=True),))

    assert scan(request, ROWS).tuples == [
        (2, 2, "the quick fox"),
        (1, 1, "a quick dog and a quick fox"),
        (None, 1, "the lazy dog"),
    ]


def test_without_keys_there_is_one_group_even_of_no_rows() -> None:
    assert scan(Scan(LAYOUT, group=_grouping(())), ROWS).tuples == [(4, "the quick fox")]
    assert scan(Scan(LAYOUT, group=_grouping(())), []).tuples == [(0, None)]
    assert scan(Scan(LAYOUT, group=_grouping(("n",))), []).tuples == []


def test_groups_are_chosen_ordered_and_cut() -> None:
    having = hb.Query(None, Doc.schema()).group_by("n").aggregate(rows="count").having({"rows": 1}).having_  # pyright: ignore[reportArgumentType]

    request = Scan(LAYOUT, group=_grouping(("n",), having), order=(OrderBy("n"),), offset=1, limit=5)

    assert [row[0] for row in scan(request, ROWS).tuples] == [None]


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_too_many_rows_are_refused_and_as_many_as_allowed_are_not() -> None:
    assert len(_ids(Scan(LAYOUT, limits=Limits(None, 4, None)))) == 4
    with pytest.raises(ResultTooLarge, match=r"the result has more than 3 rows; ask with a limit"):
        scan(Scan(LAYOUT, limits=Limits(None, 3, None)), ROWS)
    with pytest.raises(ResultTooLarge):
        scan(Scan(LAYOUT, group=_grouping(("n",)), limits=Limits(None, 2, None)), ROWS)


def test_too_many_bytes_are_refused() -> None:
    check_bytes([("x" * 100, None)], Limits(None, None, 132))
    check_bytes([("x" * 10**6,)], Limits(None, None, None))
    for row in (("x" * 101, None), (b"x" * 101, None), ([0] * 7, None), ({"k": 1, "l": 2}, *[None] * 7)):
        with pytest.raises(ResultTooLarge, match="the result passes 132 bytes"):
            check_bytes([row], Limits(None, None, 132))


def test_what_lies_in_collections_is_counted() -> None:
    check_bytes([(["x" * 100],)], Limits(None, None, 132))
    check_bytes([([0.5] * 7, None)], Limits(None, None, 144))
    for value in (["x" * 101], [["x" * 50, 7]] * 2, {"k": "x" * 100}, {"k" * 101: 1}, [1.5, {"k": b"x" * 100}]):
        with pytest.raises(ResultTooLarge):
            check_bytes([(value,)], Limits(None, None, 132))


def test_no_more_groups_are_made_than_are_asked_for() -> None:
    made: list[int] = []

    def groups(count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            made.append(number)
            yield {"n": number, "rows": 1, "top": "x"}

    group = _grouping(("n",))
    assert len(finish_groups(Scan(LAYOUT, group=group, offset=2, limit=3), group, groups(100)).tuples) == 3
    assert len(made) == 5
    made.clear()
    for order in ((), (OrderBy("rows"),)):
        with pytest.raises(ResultTooLarge):
            finish_groups(
                Scan(LAYOUT, group=group, order=order, offset=2, limits=Limits(None, 3, None)), group, groups(100)
            )
        assert len(made) == 6
        made.clear()


def _ticks(clock: Clock, count: int) -> None:
    for _ in range(count):
        clock.tick()


def test_a_query_that_runs_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(evaluate, "time", SimpleNamespace(monotonic=lambda: now[0]))
    clock = Clock(Limits(deadline=5.0))

    now[0] = 4.9
    _ticks(clock, 2000)
    now[0] = 5.1

    with pytest.raises(DeadlineExceeded, match="the query passed its deadline"):
        _ticks(clock, 1000)
    Clock(Limits(deadline=None)).check()
