"""Questions that cannot be asked, or only just: on both engines a typed error or the right answer, and nothing else.

Limits are here too: depth, size, deadline and caps.
"""

from __future__ import annotations

import json
import re
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.errors import (
    DeadlineExceeded,
    HeavenError,
    InvalidType,
    InvalidValue,
    QueryError,
    QueryTooDeep,
    ResultTooLarge,
    UnknownField,
    UnknownKey,
    UnknownOp,
    UnsupportedOp,
)
from heaven_core.ops import AGGREGATES, FILTERS
from heaven_core.testing import reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

NAN, INF = float("nan"), float("inf")
ROWS = 20


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).required()
    n = hb.field(hb.Integer).index()
    ratio = hb.field(hb.Float)
    flag = hb.field(hb.Boolean)
    kind = hb.field(hb.Categorical(["red", "green"]))
    at = hb.field(hb.Timestamp)
    day = hb.field(hb.Date)
    span = hb.field(hb.Duration)
    tags = hb.field(hb.Array[hb.ShortText])
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    anything = hb.field(hb.Array)
    meta = hb.field(hb.Json)
    blob = hb.field(hb.Artifact)
    vec = hb.field(hb.Vector[3])
    loose = hb.field(hb.Vector)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


class Other(hb.Entity):
    n = hb.field(hb.Integer)


def row(number: int) -> dict[str, Any]:
    if number == ROWS - 1:
        return {"object_id": "d19", "title": "only a title"}
    return {
        "object_id": f"d{number:02}",
        "title": f"Title {number}",
        "n": number,
        "ratio": number / 4,
        "flag": number % 2 == 0,
        "kind": "red" if number % 3 else "green",
        "at": f"2020-01-{number + 1:02}T00:00:00Z",
        "day": f"2020-01-{number + 1:02}",
        "span": f"PT{number}S",
        "tags": ["x", str(number)],
        "numbers": [number, number + 1],
        "anything": [number, "a", True, 0.5],
        "meta": {"a": {"b": number}, "s": f"text {number}", "f": number / 4, "l": [number], "z": None},
        "blob": bytes([number]),
        "vec": [number, 1, 0],
        "loose": [1.0] * (1 + number % 3),
        "body": f"hello wörld number {number}",
    }


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, hb.HeavenBase]]:
    """One workspace on each engine with the same rows; no test writes to them."""
    folder = tmp_path_factory.mktemp("bad-queries")
    with hb.HeavenBase("bad-queries", preset="debug") as memory, hb.HeavenBase("bad-queries", path=folder) as file:
        for ws in (memory, file):
            ws.register(Doc, Other)
            ws.upsert_many(Doc, [row(number) for number in range(ROWS)])
        yield {"inmem": memory, "sqlite": file}


@pytest.fixture(params=["inmem", "sqlite"])
def ws(both: dict[str, hb.HeavenBase], request: pytest.FixtureRequest) -> hb.HeavenBase:
    return both[request.param]


def refused(ask: Callable[[], object]) -> HeavenError:
    with pytest.raises(HeavenError) as raised:
        ask()
    message = str(raised.value)
    assert len(message) < 900
    assert not re.search(r"\b(insert|update|returning)\b|e_doc|/tmp/|0x[0-9a-f]{6}", message)
    assert message.isprintable()
    return raised.value


def answer(ws: hb.HeavenBase, spec: Any) -> list[str]:
    return ws.query_json(Doc, {"order": ["object_id"], **spec}).execute().ids


def nots(depth: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"n": 3}
    for _ in range(depth):
        spec = {"$not": spec}
    return spec


# Misspelt words


TYPOS = [
    ({"filtr": {}}, UnknownKey, "did you mean 'filter'?"),
    ({5: {}}, UnknownKey, "is no key of a query"),
    ({"$filter": {}}, UnknownKey, "is no key of a query"),
    ({"k" * 100_000: {}}, UnknownKey, "is no key of a query"),
    ({"filter": {"titel": "x"}}, UnknownField, "did you mean 'title'?"),
    ({"filter": {"f" * 100_000: "x"}}, UnknownField, "has no field"),
    ({"filter": {"$adn": []}}, UnknownKey, "did you mean '$and'?"),
    ({"filter": {"$" * 100_000: []}}, UnknownKey, "is no key of a filter"),
    ({"filter": {"title": {"$containz": "x"}}}, UnknownOp, "did you mean 'contains'?"),
    ({"filter": {"title": {"$" + "o" * 100_000: "x"}}}, UnknownOp, "there is no operation"),
    ({"filter": {"title": {"$": "x"}}}, UnknownOp, "there is no operation ''"),
    ({"filter": {"title": {"contains": "x"}}}, UnknownKey, "operations are written '$op'"),
    ({"filter": {"title": {"$and": []}}}, UnknownKey, "stands around fields"),
    ({"filter": {"title": {5: "x"}}}, UnknownKey, "operations are written '$op'"),
    ({"filter": {5: "x"}}, UnknownKey, "not a"),
    ({"filter": {"meta": {"$get": {"path": "a", "$eqq": 1}}}}, InvalidValue, "did you mean 'eq'?"),
    ({"select": ["titel"]}, UnknownField, "did you mean 'title'?"),
    ({"order": ["-titel"]}, UnknownField, "did you mean 'title'?"),
    ({"order": ["-"]}, UnknownField, "cannot order by ''"),
    ({"group_by": ["kynd"]}, UnknownField, "did you mean 'kind'?"),
    ({"aggregate": {"x": {"$summ": {"field": "n"}}}}, UnknownOp, "did you mean 'sum'?"),
    ({"aggregate": {"x": {"$sum": {"feild": "n"}}}}, UnknownKey, "did you mean 'field'?"),
    ({"aggregate": {"x": {"$sum": {"field": "nn"}}}}, UnknownField, "did you mean 'n'?"),
    ({"near": {"field": "vec", "query": [1, 0, 0], "topk": 3}}, UnknownKey, "did you mean 'top_k'?"),
    ({"near": {"field": "vek", "query": [1, 0, 0]}}, UnknownField, "did you mean 'vec'?"),
    ({"near": {"field": "vec", "query": [1, 0, 0], "metric": "cosin"}}, QueryError, "did you mean 'cosine'?"),
    ({"search": {"query": "x", "field": "body"}}, UnknownKey, "did you mean 'fields'?"),
    ({"search": {"query": "x", "fields": ["bdy"]}}, UnknownField, "did you mean 'body'?"),
    (
        {"group_by": ["n"], "having": {"cnt": 1}, "aggregate": {"count": {"$count": {}}}},
        UnknownField,
        "'cnt' is none of them",
    ),
]


@pytest.mark.parametrize(("spec", "kind", "reason"), TYPOS, ids=range(len(TYPOS)))
def test_a_misspelt_word_of_a_spec_gets_the_right_one(
    ws: hb.HeavenBase, spec: Any, kind: type[HeavenError], reason: str
) -> None:
    error = refused(lambda: ws.query_json(Doc, spec).execute())

    assert isinstance(error, kind)
    assert reason in str(error)
    assert isinstance(error, LookupError | ValueError)


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("containz", "contains"),
        ("startswith", "starts_with"),
        ("isnull", "is_null"),
        ("matches", "match"),
        ("sume", ""),
    ],
)
def test_a_misspelt_operation_in_code_is_an_attribute_error_at_once(word: str, right: str) -> None:
    with pytest.raises(AttributeError, match=f"did you mean '{right}'" if right else "has no operation 'sume'"):
        getattr(Doc.title, word)


def test_an_operation_of_another_type_is_an_attribute_error_or_unsupported(ws: hb.HeavenBase) -> None:
    with pytest.raises(AttributeError, match="has no operation"):
        attrgetter("search_text")(Doc.n)
    for spec in (
        {"n": {"$contains": "1"}},
        {"title": {"$array_contains": "x"}},
        {"vec": {"$eq": [1, 2, 3]}},
        {"blob": b"x"},
    ):
        assert isinstance(refused(lambda spec=spec: ws.query_json(Doc, {"filter": spec})), UnsupportedOp)


def test_a_reference_has_no_attributes_that_nobody_made() -> None:
    for name in ("__deepcopy__", "__array__", "_name", "__fspath__"):
        assert not hasattr(Doc.title, name)


# Arguments


REFUSED = [
    ({"filter": {"n": {"$lt": None}}}, InvalidType),
    ({"filter": {"n": {"$gte": "3"}}}, InvalidType),
    ({"filter": {"n": True}}, InvalidType),
    ({"filter": {"n": 1.5}}, InvalidType),
    ({"filter": {"n": 2**70}}, InvalidValue),
    ({"filter": {"n": 10**100_000}}, InvalidValue),
    ({"filter": {"ratio": NAN}}, InvalidValue),
    ({"filter": {"ratio": {"$lt": INF}}}, InvalidValue),
    ({"filter": {"title": "\ud800"}}, InvalidValue),
    ({"filter": {"title": {"$contains": "a\0"}}}, InvalidValue),
    ({"filter": {"title": {"$contains": 5}}}, InvalidType),
    ({"filter": {"title": {"$like": "\\"}}}, QueryError),
    ({"filter": {"title": {"$regex": "("}}}, QueryError),
    ({"filter": {"title": {"$regex": r"\d"}}}, QueryError),
    ({"filter": {"title": {"$regex": "a" * 2000}}}, QueryError),
    ({"filter": {"title": {"$regex": "(?i)x"}}}, QueryError),
    ({"filter": {"kind": "blue"}}, InvalidValue),
    ({"filter": {"at": "2020-01-01T00:00:00"}}, InvalidValue),
    ({"filter": {"at": "soon"}}, InvalidValue),
    ({"filter": {"day": "soon"}}, InvalidValue),
    ({"filter": {"span": {"$gt": "P1M"}}}, InvalidValue),
    ({"filter": {"n": {"$in": "123"}}}, InvalidType),
    ({"filter": {"n": {"$in": 5}}}, InvalidType),
    ({"filter": {"n": {"$in": [1, "x"]}}}, InvalidType),
    ({"filter": {"n": {"$between": [1]}}}, InvalidType),
    ({"filter": {"n": {"$between": [1, None]}}}, InvalidType),
    ({"filter": {"n": {"$is_null": 1}}}, InvalidType),
    ({"filter": {"tags": {"$array_contains": 5}}}, InvalidType),
    ({"filter": {"tags": {"$array_overlaps": "x"}}}, InvalidType),
    ({"filter": {"anything": {"$array_contains": [1]}}}, InvalidType),
    ({"filter": {"meta": {"a": {1: 2}}}}, InvalidType),
    ({"filter": {"meta": {"$eq": NAN}}}, InvalidValue),
    ({"filter": {"meta": {"$get": 5}}}, InvalidType),
    ({"filter": {"meta": {"$get": {"path": [], "$eq": 1}}}}, InvalidType),
    ({"filter": {"meta": {"$get": {"path": [-1], "$eq": 1}}}}, InvalidType),
    ({"filter": {"meta": {"$get": {"path": [2**40], "$eq": 1}}}}, InvalidType),
    ({"filter": {"meta": {"$get": {"path": [1.5], "$eq": 1}}}}, InvalidType),
    ({"filter": {"meta": {"$get": {"path": ["a"] * 101, "$eq": 1}}}}, InvalidValue),
    ({"filter": {"meta": {"$get": {"path": "a", "$lt": True}}}}, InvalidType),
    ({"filter": {"meta": {"$get": {"path": "a", "$eq": 2**70}}}}, InvalidValue),
    ({"filter": {"vec": {"$is_null": None}}}, InvalidType),
    ({"filter": []}, QueryError),
    ({"filter": 5}, QueryError),
    ({"filter": {"title": {}}}, QueryError),
    ({"filter": {"$and": {}}}, QueryError),
    ({"filter": {"$or": [5]}}, QueryError),
    ({"filter": {"$not": []}}, QueryError),
    ({"filter": {"$not": None}}, QueryError),
    ({"select": 5}, QueryError),
    ({"select": [5]}, QueryError),
    ({"select": [["title"]]}, QueryError),
    ({"order": {"n": -1}}, QueryError),
    ({"order": [5]}, QueryError),
    ({"order": ["tags"]}, QueryError),
    ({"order": ["meta"]}, QueryError),
    ({"order": ["vec"]}, QueryError),
    ({"limit": "3"}, QueryError),
    ({"limit": -1}, QueryError),
    ({"limit": True}, QueryError),
    ({"limit": 3.0}, QueryError),
    ({"limit": [3]}, QueryError),
    ({"limit": 2**100}, QueryError),
    ({"offset": -1}, QueryError),
    ({"offset": "0"}, QueryError),
    ({"offset": False}, QueryError),
    ({"near": {"field": "vec"}}, QueryError),
    ({"near": []}, QueryError),
    ({"near": {"field": "title", "query": [1, 2, 3]}}, QueryError),
    ({"near": {"field": ["vec"], "query": [1, 2, 3]}}, QueryError),
    ({"near": {"field": "vec", "query": [1, 2]}}, InvalidValue),
    ({"near": {"field": "vec", "query": "abc"}}, InvalidType),
    ({"near": {"field": "vec", "query": None}}, InvalidType),
    ({"near": {"field": "vec", "query": [NAN, 0, 0]}}, InvalidValue),
    ({"near": {"field": "vec", "query": [0, 0, 0]}}, InvalidValue),
    ({"near": {"field": "loose", "query": [], "metric": "l2"}}, InvalidValue),
    ({"near": {"field": "vec", "query": [1, 0, 0], "top_k": 0}}, QueryError),
    ({"near": {"field": "vec", "query": [1, 0, 0], "top_k": True}}, QueryError),
    ({"near": {"field": "vec", "query": [1, 0, 0], "top_k": "3"}}, QueryError),
    ({"near": {"field": "vec", "query": [1, 0, 0], "top_k": 10**9}}, QueryError),
    ({"near": {"field": "vec", "query": [1, 0, 0], "metric": ["l2"]}}, QueryError),
    ({"search": "hello"}, QueryError),
    ({"search": {"query": 5}}, InvalidType),
    ({"search": {"query": "\ud800"}}, InvalidValue),
    ({"search": {"query": "x", "fields": []}}, QueryError),
    ({"search": {"query": "x", "fields": ["n"]}}, QueryError),
    ({"search": {"query": "x", "fields": [5]}}, QueryError),
    ({"group_by": ["tags"]}, QueryError),
    ({"group_by": ["kind"], "select": ["n"]}, QueryError),
    ({"group_by": ["kind"], "order": ["n"]}, UnknownField),
    ({"group_by": ["kind"], "search": {"query": "x"}}, QueryError),
    ({"aggregate": []}, QueryError),
    ({"aggregate": {"x": 5}}, QueryError),
    ({"aggregate": {"x": {}}}, QueryError),
    ({"aggregate": {"x": {"$sum": 5}}}, QueryError),
    ({"aggregate": {"x": {"$sum": {}}}}, QueryError),
    ({"aggregate": {"x": {"$sum": {"field": ["n"]}}}}, QueryError),
    ({"aggregate": {"x": {"$sum": {"field": "title"}}}}, UnsupportedOp),
    ({"aggregate": {"x": {"$eq": {"field": "n"}}}}, UnsupportedOp),
    ({"aggregate": {"x": {"$sum": {"field": "n", "p": 3}}}}, QueryError),
    ({"aggregate": {"x": {"$percentile": {"field": "n"}}}}, QueryError),
    ({"aggregate": {"x": {"$percentile": {"field": "n", "p": NAN}}}}, QueryError),
    ({"aggregate": {"x": {"$percentile": {"field": "n", "p": 10**400}}}}, QueryError),
    ({"aggregate": {"x": {"$percentile": {"field": "n", "p": True}}}}, QueryError),
    ({"aggregate": {"n": {"$count": {}}}}, QueryError),
    ({"aggregate": {"_score": {"$count": {}}}}, QueryError),
    ({"aggregate": {"": {"$count": {}}}}, QueryError),
    ({"aggregate": {"-x": {"$count": {}}}}, QueryError),
    ({"aggregate": {"$x": {"$count": {}}}}, QueryError),
    ({"aggregate": {"\ud800": {"$count": {}}}}, QueryError),
    ({"aggregate": {"a\nb": {"$count": {}}}}, QueryError),
    ({"aggregate": {"x" * 256: {"$count": {}}}}, QueryError),
    ({"having": {"n": 1}}, QueryError),
    ([], QueryError),
    (None, QueryError),
    ("n", QueryError),
]


@pytest.mark.parametrize(("spec", "kind"), REFUSED, ids=range(len(REFUSED)))
def test_what_has_no_meaning_is_refused(ws: hb.HeavenBase, spec: Any, kind: type[HeavenError]) -> None:
    error = refused(lambda: ws.query_json(Doc, spec).execute().rows())

    assert isinstance(error, kind)
    assert isinstance(error, LookupError | ValueError)


def test_a_bad_argument_names_entity_field_and_value(ws: hb.HeavenBase) -> None:
    error = refused(lambda: ws.query(Doc).where(Doc.n >= "3"))

    assert isinstance(error, InvalidType)
    assert (error.entity, error.field, error.row, error.value) == ("doc", "n", None, "3")


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: bool(Doc.n),
        lambda: bool(Doc.n == 3),
        lambda: (Doc.n > 1) and (Doc.n < 3),
        lambda: 1 < Doc.n < 3,
        lambda: Doc.n == 3 or Doc.n == 4,  # noqa: PLR1714
        lambda: not (Doc.n == 3),  # noqa: SIM201  # pyright: ignore[reportGeneralTypeIssues]
        lambda: Doc.n in [1, 2],
        lambda: Doc.title["a"],
        lambda: (Doc.n == 3) & True,  # pyright: ignore[reportOperatorIssue]
        lambda: (Doc.n == 3) | {"n": 4},  # pyright: ignore[reportOperatorIssue]
        lambda: Doc.meta[None] == 1,  # pyright: ignore[reportArgumentType]
        lambda: Doc.meta["a"]["\ud800"] == 1,
    ],
)
def test_python_operators_that_cannot_work_say_so(misuse: Callable[[], object]) -> None:
    assert isinstance(refused(misuse), QueryError | InvalidValue)


@pytest.mark.parametrize("condition", [5, "n = 3", True, [Doc.n == 3], Doc.n, object()])
def test_where_takes_conditions_only(ws: hb.HeavenBase, condition: Any) -> None:
    assert isinstance(refused(lambda: ws.query(Doc).where(condition)), QueryError)
    assert isinstance(refused(lambda: ws.count(Doc, condition)), QueryError)


def test_fields_of_another_entity_are_refused(ws: hb.HeavenBase) -> None:
    for ask in (
        lambda: ws.query(Doc).select(Other.n),
        lambda: ws.query(Doc).order_by(Other.n),
        lambda: ws.query(Doc).group_by(Other.n),
        lambda: ws.query(Doc).aggregate(x=Other.n.sum()),
        lambda: ws.query(Doc).where(Other.n == 3).execute(),
        lambda: ws.query(Doc).where((Doc.n == 1) | ~(Other.n == 3)).execute(),
        lambda: ws.query(Doc).near(Other.n, [1, 2, 3]),
    ):
        assert isinstance(refused(ask), QueryError)


@pytest.mark.parametrize(
    "bounds",
    [
        {"deadline": 0},
        {"deadline": -1},
        {"deadline": NAN},
        {"deadline": "1"},
        {"deadline": True},
        {"max_rows": 1.5},
        {"max_rows": 0},
        {"max_bytes": "1"},
        {"max_row": 1},
        {"self": 1},
    ],
)
def test_bounds_are_positive_numbers(ws: hb.HeavenBase, bounds: dict[str, Any]) -> None:
    assert isinstance(refused(lambda: ws.query(Doc).limits(**bounds)), QueryError)


def test_a_result_has_no_columns_that_nobody_asked_for(ws: hb.HeavenBase) -> None:
    frame = ws.query(Doc).execute()

    assert isinstance(refused(lambda: frame.column("titel")), UnknownField)
    assert isinstance(refused(frame.scalar), QueryError)
    assert isinstance(refused(lambda: list(frame.iter_batches(0))), QueryError)


# Depth


@pytest.mark.parametrize("depth", [101, 1_000, 100_000])
def test_nots_beyond_the_limit_are_refused_at_once(ws: hb.HeavenBase, depth: int) -> None:
    spec = nots(depth)
    started = time.perf_counter()

    error = refused(lambda: ws.query_json(Doc, {"filter": spec}))
    in_code = refused(lambda: ws.query(Doc).where(spec))

    assert time.perf_counter() - started < 1
    for one in (error, in_code):
        assert isinstance(one, QueryTooDeep)
        assert len(str(one)) < 100


@pytest.mark.parametrize("depth", [1, 2, 20, 21, 50, 98, 99])
def test_nots_within_the_limit_are_answered(ws: hb.HeavenBase, depth: int) -> None:
    expected = ["d03"] if depth % 2 == 0 else [f"d{one:02}" for one in range(ROWS) if one != 3]

    assert answer(ws, {"filter": nots(depth)}) == expected


def test_nots_in_code_are_refused_where_they_become_too_many() -> None:
    condition: Any = Doc.n == 3

    def deepen() -> None:
        nonlocal condition
        for _ in range(1000):
            condition = ~condition

    assert isinstance(refused(deepen), QueryTooDeep)
    assert condition.depth == 100


@pytest.mark.parametrize("key", ["$and", "$or"])
def test_nested_lists_beyond_the_limit_are_refused_and_within_are_answered(ws: hb.HeavenBase, key: str) -> None:
    def spec(depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {"n": 3}
        for level in range(depth):
            made = {key: [made, {"n": {"$gte" if key == "$and" else "$lt": -level}}]}
        return made

    assert isinstance(refused(lambda: ws.query_json(Doc, {"filter": spec(1000)})), QueryTooDeep)
    assert answer(ws, {"filter": spec(90)}) == ["d03"]


def test_alternating_levels_are_answered_as_deep_as_is_allowed(ws: hb.HeavenBase) -> None:
    spec: dict[str, Any] = {"n": 3}
    for level in range(48):
        spec = {"$not": {"$or": [spec, {"n": 100 + level}]}}

    assert answer(ws, {"filter": spec}) == ["d03"]


@pytest.mark.parametrize("key", ["having", "near", "search", "aggregate", "select", "order", "limit"])
def test_depth_is_measured_before_anything_looks_at_any_key(ws: hb.HeavenBase, key: str) -> None:
    error = refused(lambda: ws.query_json(Doc, {key: nots(100_000)}))

    assert isinstance(error, QueryTooDeep)


def test_deep_values_are_refused_wherever_a_value_is_taken(ws: hb.HeavenBase) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]

    for ask in (
        lambda: Doc.meta == deep,
        lambda: Doc.meta.in_([deep]),
        lambda: Doc.meta["a"] == deep,
        lambda: Doc.n == deep,
        lambda: Doc.tags.array_contains(deep),
        lambda: Doc.anything.array_overlaps(deep),
        lambda: ws.query(Doc).search("x", deep),
        lambda: ws.query(Doc).near(Doc.vec, deep),
    ):
        assert isinstance(refused(ask), InvalidValue | QueryError)


def test_a_path_of_a_thousand_steps_is_refused() -> None:
    place: Any = Doc.meta
    for _ in range(1000):
        place = place["a"]

    assert isinstance(refused(lambda: place == 1), InvalidValue)


def test_a_spec_that_contains_itself_is_refused_at_once(ws: hb.HeavenBase) -> None:
    once: list[Any] = []
    once.append({"$and": once})
    twice: list[Any] = []
    twice.extend([{"$or": twice}, {"$or": twice}])
    started = time.perf_counter()

    for circle in (once, twice):
        assert isinstance(refused(lambda circle=circle: ws.query_json(Doc, {"filter": {"$and": circle}})), QueryError)

    assert time.perf_counter() - started < 10


# Size


def test_five_thousand_terms_in_an_and_are_answered(ws: hb.HeavenBase) -> None:
    terms = [{"n": {"$ne": number}} for number in range(5, 5005)]

    assert answer(ws, {"filter": {"$and": terms}}) == ["d00", "d01", "d02", "d03", "d04", "d19"]


def test_five_thousand_terms_in_an_or_are_answered(ws: hb.HeavenBase) -> None:
    terms = [{"n": number} for number in range(17, 5017)]

    assert answer(ws, {"filter": {"$or": terms}}) == ["d17", "d18"]


def test_five_thousand_terms_of_other_operations_are_answered(ws: hb.HeavenBase) -> None:
    contains = [{"title": {"$contains": f"itle {number}"}} for number in range(17, 5017)]
    places = [{"meta": {"$get": {"path": "a.b", "$eq": number}}} for number in range(17, 5017)]
    words = [{"body": {"$match": f"number {number}"}} for number in range(17, 1017)]

    assert answer(ws, {"filter": {"$or": contains}}) == ["d17", "d18"]
    assert answer(ws, {"filter": {"$or": places}}) == ["d17", "d18"]
    assert answer(ws, {"filter": {"$or": words}}) == ["d17", "d18"]


def test_five_thousand_terms_in_code_are_answered(ws: hb.HeavenBase) -> None:
    condition = Doc.n == 17
    for number in range(18, 5017):
        condition |= Doc.n == number

    assert ws.query(Doc).where(condition).order_by("object_id").execute().ids == ["d17", "d18"]


def test_five_thousand_terms_within_a_not_are_answered(ws: hb.HeavenBase) -> None:
    terms = [{"n": number} for number in range(2, 5002)]

    assert answer(ws, {"filter": {"$not": {"$or": terms}}}) == ["d00", "d01", "d19"]


IN = [
    ("n", list(range(18, 20_018)), ["d18"]),
    ("ratio", [number / 4 for number in range(18, 20_018)], ["d18"]),
    ("title", [f"Title {number}" for number in range(18, 20_018)], ["d18"]),
    ("object_id", [f"d{number:02}" for number in range(18, 20_018)], ["d18", "d19"]),
    (
        "day",
        [f"{1000 + number // 28 // 12:04}-{number // 28 % 12 + 1:02}-{number % 28 + 1:02}" for number in range(20_000)],
        [],
    ),
    ("n", [None, *range(18, 20_018)], ["d18", "d19"]),
    ("meta", [{"x": number} for number in range(20_000)], []),
]


@pytest.mark.parametrize(
    ("field", "values", "expected"), IN, ids=[f"{field}-{at}" for at, (field, *_) in enumerate(IN)]
)
def test_twenty_thousand_values_in_an_in_are_answered(
    ws: hb.HeavenBase, field: str, values: list[Any], expected: list[str]
) -> None:
    rest = [one for one in ws.ids(Doc) if one not in expected]

    assert answer(ws, {"filter": {field: {"$in": values}}}) == expected
    assert answer(ws, {"filter": {"$not": {field: {"$in": values}}}}) == rest


def test_twenty_thousand_items_for_an_array_are_answered(ws: hb.HeavenBase) -> None:
    texts, numbers = [str(number) for number in range(18, 20_018)], list(range(19, 20_019))

    assert answer(ws, {"filter": {"tags": {"$array_overlaps": texts}}}) == ["d18"]
    assert answer(ws, {"filter": {"numbers": {"$array_overlaps": numbers}}}) == ["d18"]
    assert answer(ws, {"filter": {"numbers": {"$contained_in": [18, *numbers]}}}) == ["d18"]


def test_twenty_thousand_words_are_searched_and_matched(ws: hb.HeavenBase) -> None:
    words = " ".join(f"w{number}" for number in range(20_000))

    assert len(answer(ws, {"search": {"query": f"{words} hello"}})) == ROWS - 1
    assert answer(ws, {"filter": {"body": {"$match": f"{words} hello"}}}) == []
    assert answer(ws, {"filter": {"title": {"$match": f"{words} title"}}}) == []


def test_a_spec_of_millions_of_parts_is_refused(ws: hb.HeavenBase) -> None:
    error = refused(lambda: ws.query_json(Doc, {"filter": {"n": {"$in": [0] * 1_000_001}}}))

    assert isinstance(error, QueryError)


def test_patterns_and_texts_of_a_megabyte_are_answered(ws: hb.HeavenBase) -> None:
    for op, argument in (
        ("$contains", "a" * 1_000_000),
        ("$starts_with", "a" * 1_000_000),
        ("$ends_with", "a" * 1_000_000),
        ("$like", "%a" * 50_000),
        ("$ilike", "_" * 100_000),
        ("$eq", "a" * 1_000_000),
        ("$lt", "A" * 1_000_000),
    ):
        assert answer(ws, {"filter": {"title": {op: argument}}}) == []


def test_limits_and_offsets_far_beyond_the_rows_are_answered(ws: hb.HeavenBase) -> None:
    assert len(answer(ws, {"limit": 2**62})) == ROWS
    assert answer(ws, {"offset": 2**62}) == []
    assert answer(ws, {"limit": 2**62, "offset": 18}) == ["d18", "d19"]
    assert answer(ws, {"limit": 0}) == []


def test_vectors_of_other_dimensions_are_left_out(ws: hb.HeavenBase) -> None:
    frame = ws.query(Doc).near(Doc.loose, [1.0, 1.0], top_k=ROWS, metric="l2").execute()

    assert sorted(frame.ids) == ["d01", "d04", "d07", "d10", "d13", "d16"]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
def test_the_largest_vectors_have_distances_and_no_warnings(ws: hb.HeavenBase, metric: str) -> None:
    frame = ws.query(Doc).near(Doc.vec, [3.4e38, -3.4e38, 3.4e38], top_k=5, metric=metric).execute()

    assert len(frame) == 5
    assert frame.scores == sorted(frame.scores or [])


# Deadlines and caps


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, hb.HeavenBase]]:
    """Rows whose text takes milliseconds to be looked through: three hundred of them, some seconds in all."""

    class Page(hb.Entity):
        n = hb.field(hb.Integer)
        text = hb.field(hb.LongText)
        data = hb.field(hb.Json)

    rows = [{"n": number, "text": "übermäßig lang " * 4000, "data": {"a": "ä" * 1000}} for number in range(300)]
    folder = tmp_path_factory.mktemp("slow")
    with hb.HeavenBase("slow", preset="debug") as memory, hb.HeavenBase("slow", path=folder) as file:
        for ws in (memory, file):
            ws.register(Page)
            ws.upsert_many(Page, rows)
        yield {"inmem": memory, "sqlite": file}


@pytest.fixture(params=["inmem", "sqlite"])
def pages(slow: dict[str, hb.HeavenBase], request: pytest.FixtureRequest) -> hb.HeavenBase:
    return slow[request.param]


SLOW = {
    "match": {"filter": {"text": {"$match": "nirgends"}}},
    "ilike": {"filter": {"text": {"$ilike": "%nirgends%"}}},
    "not": {"filter": {"$not": {"text": {"$match": "nirgends"}}}},
    "search": {"search": {"query": "nirgends"}},
    "group": {"filter": {"text": {"$match": "nirgends"}}, "group_by": ["n"], "aggregate": {"c": {"$count": {}}}},
    "order": {"filter": {"text": {"$match": "nirgends"}}, "order": ["-n"], "limit": 3},
}


@pytest.mark.parametrize("name", SLOW)
def test_a_query_past_its_deadline_is_stopped(pages: hb.HeavenBase, name: str) -> None:
    query = pages.query_json("page", SLOW[name]).limits(deadline=0.05)
    started = time.perf_counter()

    error = refused(query.execute)

    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error, TimeoutError)
    assert time.perf_counter() - started < 3


def test_a_workspace_answers_after_a_deadline_as_before(pages: hb.HeavenBase) -> None:
    refused(pages.query_json("page", SLOW["match"]).limits(deadline=0.02).execute)

    assert pages.query("page").where({"n": {"$lt": 3}}).count() == 3


def test_a_deadline_in_a_transaction_leaves_its_writes_usable(pages: hb.HeavenBase) -> None:
    with pages.transaction() as tx:
        tx.set(pages.ids("page")[0], {"data": {"b": 1}})
        assert isinstance(refused(tx.query_json("page", SLOW["match"]).limits(deadline=0.02).execute), DeadlineExceeded)
        assert tx.count("page", {"data": {"b": 1}}) == 1

    assert pages.count("page", {"data": {"b": 1}}) == 1
    pages.set(pages.ids("page")[0], {"data": {"a": "ä" * 1000}})


def test_the_deadline_of_a_process_comes_from_its_configuration(pages: hb.HeavenBase, tmp_path: Any) -> None:
    assert pages.query("page").limits_.deadline == 30
    with (
        hb.config.override(query__deadline=0.25, query__max_rows=7),
        hb.HeavenBase("bounded", path=tmp_path / "ws") as ws,
    ):
        ws.register(Other)
        ws.upsert_many(Other, [{"n": number} for number in range(8)])
        assert ws.query(Other).limits_.deadline == 0.25
        assert isinstance(refused(ws.query(Other).execute), ResultTooLarge)


def test_more_rows_than_the_cap_are_refused_and_as_many_are_not(ws: hb.HeavenBase) -> None:
    assert isinstance(refused(ws.query(Doc).limits(max_rows=ROWS - 1).execute), ResultTooLarge)
    assert isinstance(refused(ws.query(Doc).group_by("n").limits(max_rows=5).execute), ResultTooLarge)
    assert len(ws.query(Doc).limits(max_rows=ROWS).execute()) == ROWS
    assert len(ws.query(Doc).limit(3).limits(max_rows=3).execute()) == 3
    assert len(ws.query(Doc).limits(max_rows=None, max_bytes=None, deadline=None).execute()) == ROWS


def test_a_few_rows_with_more_bytes_than_the_cap_are_refused(pages: hb.HeavenBase) -> None:
    query = pages.query("page").limit(10)

    assert isinstance(refused(query.limits(max_bytes=100_000).execute), ResultTooLarge)
    assert isinstance(refused(query.select("data").limits(max_bytes=100).execute), ResultTooLarge)
    assert len(query.select("n").limits(max_bytes=100_000).execute()) == 10


def test_ranked_results_have_the_same_caps(ws: hb.HeavenBase) -> None:
    near = ws.query(Doc).near(Doc.vec, [1, 0, 0], top_k=10)
    search = ws.query(Doc).search("hello")

    for query in (near, search):
        assert isinstance(refused(query.limits(max_rows=5).execute), ResultTooLarge)
        assert isinstance(refused(query.limits(max_bytes=50).execute), ResultTooLarge)


GROUPED: dict[str, tuple[Callable[[hb.HeavenBase], hb.Query], int]] = {
    "of a key": (lambda ws: ws.query(Doc).group_by("n"), ROWS),
    "in order": (lambda ws: ws.query(Doc).group_by("n").aggregate(rows="count").order_by("-rows"), ROWS),
    "in order of a sum of floats": (
        lambda ws: ws.query(Doc).group_by("n").aggregate(total=Doc.ratio.sum()).order_by("-total"),
        ROWS,
    ),
    "that satisfy a condition": (
        lambda ws: ws.query(Doc).group_by("n").aggregate(rows="count").having({"rows": 1}),
        ROWS,
    ),
    "that satisfy a condition, in order": (
        lambda ws: ws.query(Doc).group_by("n").aggregate(rows="count").having({"rows": 1}).order_by("n"),
        ROWS,
    ),
    "from the third": (lambda ws: ws.query(Doc).group_by("n").order_by("n").offset(2), ROWS - 2),
    "from the third with a condition": (
        lambda ws: ws.query(Doc).group_by("n").aggregate(rows="count").having({"rows": 1}).offset(2),
        ROWS - 2,
    ),
    "cut": (lambda ws: ws.query(Doc).group_by("n").limit(4), 4),
    "cut after a condition": (
        lambda ws: ws.query(Doc).group_by("n").aggregate(rows="count").having({"rows": 1}).limit(4),
        4,
    ),
}


@pytest.mark.parametrize("name", GROUPED)
def test_groups_have_the_same_caps(ws: hb.HeavenBase, name: str) -> None:
    make, count = GROUPED[name]
    query = make(ws)

    assert isinstance(refused(query.limits(max_rows=count - 1).execute), ResultTooLarge)
    assert isinstance(refused(query.limits(max_bytes=count * 16 - 1).execute), ResultTooLarge)
    assert len(query.limits(max_rows=count, max_bytes=count * 32).execute()) == count


def test_the_counts_of_values_are_bytes_too(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).aggregate(titles=Doc.title.value_counts())

    assert isinstance(refused(query.limits(max_bytes=150).execute), ResultTooLarge)
    assert len(query.limits(max_rows=1, max_bytes=2000).execute().scalar()) == ROWS


@pytest.mark.parametrize("cap", [2**63 - 2, 2**63 - 1, 2**63, 2**70])
def test_a_cap_may_be_as_large_as_you_like(ws: hb.HeavenBase, cap: int) -> None:
    assert len(ws.query(Doc).limits(max_rows=cap, max_bytes=cap).execute()) == ROWS
    assert len(ws.query(Doc).order_by("n").offset(1).limits(max_rows=cap).execute()) == ROWS - 1
    assert len(ws.query(Doc).search("hello").limits(max_rows=cap).execute()) == ROWS - 1
    assert len(ws.query(Doc).group_by("n").offset(1).limits(max_rows=cap).execute()) == ROWS - 1
    with_condition = ws.query(Doc).group_by("n").aggregate(rows="count").having({"rows": 1})
    assert len(with_condition.limits(max_rows=cap).execute()) == ROWS


# Anything at all


KEYS = ["filter", "select", "order", "limit", "offset", "near", "search", "aggregate", "group_by", "having"]
FIELDS = [*Doc.schema().names, "nope", "", "\ud800"]
OPS = [f"${op.name}" for op in (*FILTERS, *AGGREGATES)] + ["$near", "$nope", "$", "eq", "$and", "$or", "$not"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**70), 10**400])
    | st.floats()
    | st.text(st.characters(categories=["L", "N", "P", "S", "Z", "Cs", "Cc"]), max_size=8)
    | st.sampled_from(
        ["red", "2020-01-03", "2020-01-03T00:00:00Z", "PT3S", "a.b", "hello", "x", "Title 3", "%3", "(", "d03"]
    )
    | st.sampled_from(FIELDS)
)
garbage = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars, inner, max_size=3), max_leaves=8
)


def mostly(*good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(*good, *good, *good, garbage)


arguments = garbage | st.lists(scalars, max_size=5) | st.lists(st.integers(-3, 25), min_size=2, max_size=3)
places = st.lists(st.sampled_from(["a", "b", "s", "f", "l", "z", 0, 1, '"', "."]), min_size=1, max_size=3)
gets = st.builds(
    lambda path, op, value: {"path": path, op: value},
    places | garbage,
    st.sampled_from(["$eq", "$ne", "$lt", "$gte", "$in", "$between", "$is_null", "$contains", "$nope"]),
    arguments,
)
fields = st.sampled_from(FIELDS)
sound = st.sampled_from(
    [
        {"n": {"$gte": 7}},
        {"n": {"$in": [1, 2, None]}},
        {"title": {"$contains": "itle 1"}},
        {"title": {"$ilike": "%E 1_"}},
        {"title": {"$regex": "[13]$"}},
        {"title": {"$match": "title"}},
        {"body": {"$match": "WORLD number"}},
        {"ratio": {"$between": [0.5, 3]}},
        {"flag": True},
        {"kind": {"$ne": "red"}},
        {"at": {"$lt": "2020-01-05T01:00:00+02:00"}},
        {"day": {"$gt": "2020-01-05"}},
        {"span": "PT3S"},
        {"tags": {"$array_contains": "7"}},
        {"numbers": {"$array_overlaps": [3, 9]}},
        {"anything": {"$contained_in": [3, "a", True, 0.5]}},
        {"meta": {"$get": {"path": ["a", "b"], "$lte": 5}}},
        {"meta": {"$get": {"path": "f", "$gt": 1.25}}},
        {"meta": {"$get": {"path": "l", "$eq": [4]}}},
        {"vec": {"$is_null": True}},
        {},
    ]
)
entries = (
    sound
    | sound
    | st.dictionaries(
        fields, arguments | st.dictionaries(st.sampled_from(OPS), arguments | gets, max_size=2), max_size=2
    )
)
filters = st.recursive(
    entries,
    lambda inner: (
        st.fixed_dictionaries({"$and": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$or": st.lists(inner, max_size=3)})
        | st.fixed_dictionaries({"$not": inner})
    ),
    max_leaves=6,
)
whole = st.integers(-2, 30)
names = st.lists(st.sampled_from([*FIELDS, *(f"-{name}" for name in FIELDS), "c", "-c"]), max_size=3)
aggregates = st.dictionaries(
    st.sampled_from(["c", "total", "self", "n", "_score", "\ud800", 'x"; drop table e_doc; --']),
    st.builds(
        lambda op, body: {op: body},
        st.sampled_from(OPS),
        st.fixed_dictionaries({}, optional={"field": fields, "p": scalars}),
    )
    | st.just({"$count": {}}),
    max_size=3,
)
nears = st.fixed_dictionaries(
    {
        "field": st.sampled_from(["vec", "loose", "title"]),
        "query": st.lists(st.floats(width=32) | st.integers(-3, 3), max_size=4),
    },
    optional={"top_k": whole, "metric": st.sampled_from(["cosine", "l2", "dot", "nope"])},
)
searches = st.fixed_dictionaries({"query": st.text(max_size=12) | scalars}, optional={"fields": names | garbage})
conditions = filters | st.dictionaries(
    st.sampled_from(["c", "total", "n"]),
    st.dictionaries(st.sampled_from(["$gte", "$lt", "$eq", "$nope"]), whole, max_size=1),
)
scalar_names = st.lists(st.sampled_from(["n", "kind", "flag", "-n", "title", "day"]), max_size=2)
plain: dict[str, st.SearchStrategy[Any]] = {
    "filter": filters,
    "select": st.lists(st.sampled_from(Doc.schema().names), max_size=3),
    "order": scalar_names,
    "limit": whole,
    "offset": whole,
}
ranked = {**plain, "near": nears}
searched = {**plain, "search": searches}
grouped = {
    "filter": filters,
    "group_by": st.lists(st.sampled_from(["n", "kind", "flag"]), max_size=2),
    "aggregate": aggregates | st.just({"c": {"$count": {}}, "total": {"$sum": {"field": "n"}}}),
    "having": conditions,
    "order": st.lists(st.sampled_from(["c", "-c", "kind", "-total"]), max_size=2),
    "limit": whole,
}
wild = {key: mostly(value) for key, value in {**ranked, **searched, **grouped, "order": names, "select": names}.items()}
odd = st.dictionaries(st.sampled_from(KEYS) | scalars, garbage, max_size=4)


@st.composite
def anything(draw: st.DrawFn) -> Any:
    """A spec, mostly; a function, since the strategies together are longer than hypothesis cares to show."""
    shape = draw(st.sampled_from([plain, plain, plain, ranked, searched, grouped, grouped, wild, odd, garbage]))
    return draw(shape if isinstance(shape, st.SearchStrategy) else st.fixed_dictionaries({}, optional=shape))


TYPES = {name: field.dtype for name, field in Doc.schema().by_name.items()}
STORED = [reference.stored(row(number), TYPES, {}) for number in range(ROWS)]


def check_right(query: hb.Query, frame: hb.ResultFrame) -> None:
    """Compare an answer with the one that is worked out from the rows, without an engine."""
    spec = query.to_dict()
    matching = [one for one in STORED if reference.holds(spec.get("filter", {}), one, TYPES)]
    if "near" in spec or "search" in spec:
        check_ranked(spec, matching, frame)
    elif "group_by" in spec or "aggregate" in spec:
        check_grouped(spec, matching, frame)
    else:
        names = [*dict.fromkeys(["object_id", *spec.get("select", Doc.schema().names)])]
        found = [reference.exact(one) for one in frame.rows()]
        ordered = reference.in_order(matching, spec.get("order", ()), ["object_id"])
        made = [reference.exact({name: one[name] for name in names}) for one in ordered]
        if spec.get("order"):
            assert found == reference.page(made, spec)
        else:
            assert len(found) == len(reference.page(made, spec))
            assert all(one in made for one in found)


def check_ranked(spec: dict[str, Any], matching: list[Any], frame: hb.ResultFrame) -> None:
    members = {one["object_id"] for one in matching}
    if "search" in spec:
        search = {"fields": ["body"], **spec["search"]}  # the one that has an index
        words = {one["object_id"] for one in matching if reference.found_by(search, one)}
        members = words if "near" not in spec else members
    if "near" in spec:
        near, size = spec["near"], len(spec["near"]["query"])
        close = {one["object_id"] for one in matching if one[near["field"]] and len(one[near["field"]]) == size}
        members = close if "search" not in spec else members
    assert set(frame.ids) <= members
    assert len(set(frame.ids)) == len(frame.ids)
    if "near" in spec and "search" in spec:
        return  # which rows are in both lists depends on the engine's scores
    most = len(members) if "near" not in spec else min(len(members), spec["near"].get("top_k", 10))
    assert len(frame) == len(reference.page(range(most), spec))


def check_grouped(spec: dict[str, Any], matching: list[Any], frame: hb.ResultFrame) -> None:
    keys = spec.get("group_by", ())
    found = frame.rows()
    groups: dict[str, list[Any]] = {} if keys else {"[]": []}
    for one in matching:
        groups.setdefault(repr([reference.exact(one[key]) for key in keys]), []).append(one)
    if "having" not in spec:
        assert len(found) == len(reference.page(list(groups), spec))
    for one in found:
        members = groups.pop(repr([reference.exact(one[key]) for key in keys]))
        for alias, aggregate in spec.get("aggregate", {}).items():
            expected = reference.aggregated(aggregate, members)
            if isinstance(expected, float):
                assert abs(one[alias] - expected) <= reference.tolerance(aggregate, members)
            else:
                assert reference.exact(one[alias]) == reference.exact(expected)


Outcome = tuple[str, Any]


def outcome(ws: hb.HeavenBase, spec: Any) -> Outcome:
    """What asking gives: the error's class, or the rows where their order is said, or their number."""
    try:
        query = ws.query_json(Doc, spec)
        assert ws.query_json(Doc, query.to_dict()).to_dict() == query.to_dict()
        query.explain()
        frame = query.execute()
        rows = frame.rows()
    except HeavenError as error:
        return type(error).__name__, str(error).isprintable() and len(str(error)) < 2000
    assert len(rows) == len(frame)
    check_right(query, frame)
    if query.near_ and query.search_:  # which of the best words are near as well depends on the engine's scores
        return "answer", None
    if query.near_ or query.search_ or query.limit_ is not None or query.offset_:
        return "answer", len(rows)
    return "answer", sorted(json.dumps(row, sort_keys=True, default=repr) for row in rows)


def check_anything(both: dict[str, hb.HeavenBase], spec: Any) -> None:
    memory, file = (outcome(ws, spec) for ws in both.values())

    assert memory == file
    assert memory[1] is not False, "an error has a message that can be shown"


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(spec=anything())
def test_any_spec_is_answered_alike_or_refused_with_a_typed_error(both: dict[str, hb.HeavenBase], spec: Any) -> None:
    check_anything(both, spec)


@pytest.mark.soak
@pytest.mark.timeout(0)
@settings(max_examples=20_000, suppress_health_check=[HealthCheck.too_slow])
@given(spec=anything())
def test_any_of_very_many_specs_is_answered_alike_or_refused(both: dict[str, hb.HeavenBase], spec: Any) -> None:
    check_anything(both, spec)


VALID: list[dict[str, Any]] = [
    {"filter": {"n": {"$between": [2, 9]}, "title": {"$contains": "itle"}}, "order": ["-n"], "limit": 3},
    {"filter": {"$or": [{"tags": {"$array_contains": "3"}}, {"$not": {"flag": True}}]}, "select": ["title", "n"]},
    {"filter": {"meta": {"$get": {"path": ["a", "b"], "$gte": 4}}}, "order": ["ratio", "object_id"], "offset": 2},
    {
        "group_by": ["kind"],
        "aggregate": {"c": {"$count": {}}, "m": {"$median": {"field": "n"}}},
        "having": {"c": {"$gt": 1}},
    },
    {"near": {"field": "vec", "query": [1, 0, 0], "top_k": 5, "metric": "l2"}, "filter": {"n": {"$gte": 3}}},
    {"search": {"query": "hello number 3", "fields": ["body"]}, "limit": 2},
]


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_valid_spec_with_something_exchanged_is_answered_alike_or_refused(
    both: dict[str, hb.HeavenBase], data: st.DataObject
) -> None:
    spec = json.loads(json.dumps(data.draw(st.sampled_from(VALID))))
    for _ in range(data.draw(st.integers(1, 3))):
        spec = exchanged(spec, data)

    check_anything(both, spec)


def exchanged(spec: Any, data: st.DataObject) -> Any:
    """`spec` with one of its parts, anywhere, replaced, renamed, repeated or left out."""
    if not isinstance(spec, dict | list) or not spec or data.draw(st.integers(0, 4)) == 0:
        return data.draw(garbage | filters)
    if isinstance(spec, list):
        at = data.draw(st.integers(0, len(spec) - 1))
        how = data.draw(st.sampled_from(["inside", "drop", "repeat"]))
        middle = {"inside": lambda: [exchanged(spec[at], data)], "drop": list, "repeat": lambda: [spec[at], spec[at]]}[
            how
        ]()
        return [*spec[:at], *middle, *spec[at + 1 :]]
    key = data.draw(st.sampled_from(sorted(spec, key=repr)))
    rest = {one: value for one, value in spec.items() if one != key}
    how = data.draw(st.sampled_from(["inside", "drop", "rename"]))
    if how == "drop":
        return rest
    if how == "rename":
        return {**rest, data.draw(st.sampled_from([*FIELDS, *OPS, *KEYS])): spec[key]}
    return {**rest, key: exchanged(spec[key], data)}
