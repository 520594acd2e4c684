"""Known mistakes W1 to W12: answers that are wrong and say nothing, and values that change on their way in.

What a test asks for is worked out here from the rows, so that both engines giving the same wrong answer is a failure.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import HeavenError, InvalidType, InvalidValue, QueryError, UnknownField

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

NAN = float("nan")
STORES: list[Any] = [None, hb.SideTable, hb.JsonField]


def placed(dtype: Any, strategy: Any) -> Any:
    return hb.field(dtype) if strategy is None else hb.field(dtype).store(strategy=strategy)


def ids_of(query: Any) -> list[str]:
    return sorted(query.execute().ids)


# Arrays


@pytest.mark.parametrize("strategy", STORES, ids=lambda one: one.__name__ if one else "unplaced")
def test_w01_array_contains_finds_an_item_of_a_typed_array_in_every_placement(ws: hb.HeavenBase, strategy: Any) -> None:
    class Doc(hb.Entity):
        tags = placed(hb.Array[hb.ShortText], strategy)

    ws.register(Doc)
    ws.upsert_many(Doc, [{"object_id": "ab", "tags": ["a", "b"]}, {"object_id": "b", "tags": ["b"]}])
    ws.upsert_many(Doc, [{"object_id": "none"}, {"object_id": "empty", "tags": []}])

    assert ids_of(ws.query(Doc).where(Doc.tags.array_contains("a"))) == ["ab"]
    assert ids_of(ws.query(Doc).where(Doc.tags.array_contains("b"))) == ["ab", "b"]
    assert ids_of(ws.query(Doc).where(~Doc.tags.array_contains("a"))) == ["b", "empty", "none"]
    assert ids_of(ws.query_json(Doc, {"filter": {"tags": {"$array_contains": "c"}}})) == []


@pytest.mark.parametrize("strategy", STORES, ids=lambda one: one.__name__ if one else "unplaced")
def test_w02_an_untyped_array_answers_as_a_typed_one(ws: hb.HeavenBase, strategy: Any) -> None:
    class Doc(hb.Entity):
        tags = placed(hb.Array, strategy)

    ws.register(Doc)
    ws.upsert_many(Doc, [{"object_id": "ab", "tags": ["a", "b"]}, {"object_id": "mixed", "tags": ["1", 1, True, 1.5]}])

    assert ids_of(ws.query(Doc).where(Doc.tags.array_contains("a"))) == ["ab"]
    assert ids_of(ws.query(Doc).where(Doc.tags.array_contains("1"))) == ["mixed"]
    assert ids_of(ws.query(Doc).where(Doc.tags.array_contains(1.5))) == ["mixed"]
    assert ids_of(ws.query(Doc).where(Doc.tags.array_overlaps(["b", 1]))) == ["ab", "mixed"]
    assert ids_of(ws.query(Doc).where(Doc.tags.array_contains("c"))) == []


# Vectors


class Point(hb.Entity):
    n = hb.field(hb.Integer).index()
    vec = hb.field(hb.Vector[4])


ROWS = 400
METRICS = ["cosine", "l2", "dot"]


@pytest.fixture
def points(ws: hb.HeavenBase) -> hb.HeavenBase:
    """Rows that are the farther from the first axis the greater their `n`: filters on it exclude the nearest."""
    ws.register(Point)
    angles = [one * math.pi / 2 / ROWS for one in range(ROWS)]
    ws.upsert_many(
        Point,
        [
            {"object_id": f"p{one:03}", "n": one, "vec": [math.cos(angle), math.sin(angle), 0, 0]}
            for one, angle in enumerate(angles)
        ],
    )
    return ws


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("least", [0, 40, ROWS // 2, ROWS - 10, ROWS - 3, ROWS])
def test_w03_a_filter_with_near_leaves_as_many_rows_as_there_are(
    points: hb.HeavenBase, least: int, metric: str
) -> None:
    found = points.query(Point).where(Point.n >= least).near(Point.vec, [1, 0, 0, 0], top_k=5, metric=metric).execute()

    assert found.ids == [f"p{one:03}" for one in range(least, min(least + 5, ROWS))]


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05, 0.5, 1.0])
def test_w04_a_narrow_and_a_wide_filter_rank_alike(points: hb.HeavenBase, share: float) -> None:
    least = ROWS - int(ROWS * share)

    query = points.query(Point).where(Point.n >= least).near(Point.vec, [0, 1, 0, 0], top_k=10, metric="cosine")

    assert query.execute().ids == [f"p{one:03}" for one in range(ROWS - 1, least - 1, -1)][:10]
    assert query.limit(3).execute().ids == [f"p{one:03}" for one in range(ROWS - 1, least - 1, -1)][:3]


# Values on their way in


def test_w05_an_unknown_field_is_named(ws: hb.HeavenBase) -> None:
    ws.register(Point)
    writes: list[Callable[[], Any]] = [
        lambda: ws.upsert(Point, {"n": 1, "vek": [1, 2, 3, 4]}),
        lambda: ws.upsert_many(Point, [{"n": 1}, {"vek": None}]),
        lambda: ws.set(ws.upsert(Point, {"object_id": "a"}), {"vek": 1}),
    ]

    for write in writes:
        with pytest.raises(UnknownField, match=r"'vek'.*did you mean 'vec'"):
            write()

    assert ws.ids(Point) == ["a"]


@pytest.mark.parametrize("bad", [1.5, 1.0, True, "12", b"1", [1]])
def test_w06_an_integer_is_a_whole_number_and_nothing_else(ws: hb.HeavenBase, bad: Any) -> None:
    ws.register(Point)

    with pytest.raises(InvalidType, match=r"point\.n, row 1: ") as raised:
        ws.upsert_many(Point, [{"n": 1}, {"n": bad}])

    assert (raised.value.field, raised.value.row, raised.value.value) == ("n", 1, bad)
    assert ws.count(Point) == 0


@pytest.mark.parametrize("strategy", STORES, ids=lambda one: one.__name__ if one else "unplaced")
@pytest.mark.parametrize("bad", [[1], ["a", {"b": 1}], ["a", None], ["a", ["b"]], "a", {"a": 1}])
def test_w07_the_items_of_an_array_have_its_type(ws: hb.HeavenBase, strategy: Any, bad: Any) -> None:
    class Doc(hb.Entity):
        tags = placed(hb.Array[hb.ShortText], strategy)

    ws.register(Doc)

    with pytest.raises(InvalidValue, match=r"doc\.tags, row 0: "):
        ws.upsert(Doc, {"tags": bad})

    assert ws.count(Doc) == 0
    one = ws.upsert(Doc, {"tags": ["1", "true"]})
    assert (ws.get(one) or {})["tags"] == ["1", "true"]


@pytest.mark.parametrize("number", [NAN, math.inf, -math.inf], ids=str)
def test_w08_what_is_no_number_is_stored_nowhere(ws: hb.HeavenBase, number: float) -> None:
    class Doc(hb.Entity):
        vec = hb.field(hb.Vector[2])
        data = hb.field(hb.Json)
        ratio = hb.field(hb.Float)
        items = hb.field(hb.Array[hb.Float])

    ws.register(Doc)
    rows = [{"vec": [1.0, number]}, {"data": {"a": [number]}}, {"data": number}, {"ratio": number}, {"items": [number]}]

    for row in rows:
        with pytest.raises(InvalidValue, match=rf"doc\.{next(iter(row))}, row 0: "):
            ws.upsert(Doc, row)

    assert ws.count(Doc) == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("query", [[NAN, 0, 0, 0], [1, math.inf, 0, 0], [1e39, 0, 0, 0]], ids=str)
def test_w09_a_question_near_no_vector_is_refused(points: hb.HeavenBase, query: list[float], metric: str) -> None:
    spec = {"near": {"field": "vec", "query": query, "top_k": 3, "metric": metric}}

    with pytest.raises(HeavenError, match="vec"):
        points.query(Point).near(Point.vec, query, top_k=3, metric=metric).execute()
    with pytest.raises(HeavenError, match="vec"):
        points.query_json(Point, spec).execute()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("top_k", [1, 3, ROWS - 1, ROWS, ROWS + 1])
def test_w09_near_gives_no_more_rows_than_asked_for(points: hb.HeavenBase, top_k: int, metric: str) -> None:
    assert len(points.query(Point).near(Point.vec, [0, 0, 1, 1e-30], top_k=top_k, metric=metric).execute()) == min(
        top_k, ROWS
    )


# Questions


@pytest.mark.parametrize("bad", ["3", 3.0, True, -1, [3], object()])
@pytest.mark.parametrize("word", ["limit", "offset"])
def test_w10_a_limit_is_a_whole_number(points: hb.HeavenBase, word: str, bad: Any) -> None:
    with pytest.raises(QueryError, match=word):
        getattr(points.query(Point), word)(bad)
    with pytest.raises(QueryError, match=word):
        points.query_json(Point, {word: bad})


def test_w11_null_is_a_value_like_others_for_eq_ne_and_not(ws: hb.HeavenBase) -> None:
    class Doc(hb.Entity):
        kind = hb.field(hb.Categorical(["red", "blue"]))
        n = hb.field(hb.Integer)

    ws.register(Doc)
    given: dict[str, Any] = {"a": "red", "b": "blue", "c": None, "d": None, "e": "red"}
    ws.upsert_many(
        Doc, [{"object_id": one, "kind": kind, "n": len(one) if kind else None} for one, kind in given.items()]
    )

    def those(test: Callable[[Any], bool]) -> list[str]:
        return [one for one, kind in given.items() if test(kind)]

    assert ids_of(ws.query(Doc).where(Doc.kind == None)) == those(lambda kind: kind is None)  # noqa: E711
    assert ids_of(ws.query(Doc).where(Doc.kind != None)) == those(lambda kind: kind is not None)  # noqa: E711
    assert ids_of(ws.query(Doc).where(Doc.kind != "red")) == those(lambda kind: kind != "red")
    assert ids_of(ws.query(Doc).where(~(Doc.kind == "red"))) == those(lambda kind: kind != "red")
    assert ids_of(ws.query(Doc).where(Doc.kind.in_(["red", None]))) == those(lambda kind: kind != "blue")
    assert ids_of(ws.query(Doc).where(~Doc.kind.in_(["red"]))) == those(lambda kind: kind != "red")
    assert ids_of(ws.query(Doc).where(Doc.n > 0)) == those(lambda kind: kind is not None)
    assert ids_of(ws.query(Doc).where(~(Doc.n > 0))) == those(lambda kind: kind is None)
    assert ids_of(ws.query_json(Doc, {"filter": {"kind": None}})) == those(lambda kind: kind is None)
    assert ids_of(ws.query_json(Doc, {"filter": {"kind": {"$is_null": False}}})) == those(lambda kind: kind is not None)


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("containz", "contains"),
        ("start_with", "starts_with"),
        ("isnull", "is_null"),
        ("mach", "match"),
        ("betwen", "between"),
    ],
)
def test_w12_a_misspelt_operation_is_an_attribute_error_where_it_stands(word: str, right: str) -> None:
    class Doc(hb.Entity):
        title = hb.field(hb.ShortText)

    with pytest.raises(AttributeError, match=f"did you mean '{right}'"):
        getattr(Doc.title, word)
    assert not hasattr(Doc.title, "search_text")
    assert json.dumps((Doc.title == "a").to_dict()) == '{"title": {"$eq": "a"}}'
