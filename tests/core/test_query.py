"""Queries, `heaven_core.query`: immutable, equal to their JSON, and refusing bad input at the call that has it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.backend import DEFAULT_LIMITS, Limits
from heaven_core.errors import (
    HeavenError,
    InvalidType,
    InvalidValue,
    QueryError,
    QueryTooDeep,
    UnknownField,
    UnknownKey,
    UnknownOp,
    UnsupportedOp,
)
from heaven_core.query import Query, aggregate_type, check_parts, from_json
from heaven_core.types import Array, Float, Integer, Json, LogicalType, ShortText, Timestamp

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    n = hb.field(hb.Integer)
    when = hb.field(hb.Timestamp)
    tags = hb.field(hb.Array(hb.ShortText))
    meta = hb.field(hb.Json)
    place = hb.field(hb.Vector(2))


class Other(hb.Entity):
    z = hb.field(hb.Integer)


class Numbers(hb.Entity):
    n = hb.field(hb.Integer)


def query(entity: type[hb.Entity] = Doc) -> Query:
    """A query that is never executed."""
    return Query(None, entity.schema())  # pyright: ignore[reportArgumentType]


BUILDERS: dict[str, Callable[[Query], Query]] = {
    "where": lambda q: q.where(Doc.n > 1),
    "near": lambda q: q.near("place", [1, 0], top_k=3, metric="l2"),
    "search": lambda q: q.search("words", "title"),
    "select": lambda q: q.select("title"),
    "order_by": lambda q: q.order_by("-n"),
    "limit": lambda q: q.limit(3),
    "offset": lambda q: q.offset(3),
    "group_by": lambda q: q.group_by("n"),
    "aggregate": lambda q: q.aggregate(rows="count"),
    "having": lambda q: q.aggregate(rows="count").having({"rows": 1}),
    "limits": lambda q: q.limits(deadline=1.0, max_rows=None),
}


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_a_builder_gives_a_new_query_and_leaves_the_old_one(build: Callable[[Query], Query]) -> None:
    start = query()

    built = build(start)

    assert built != start
    assert start == query()
    assert build(start) == built


@pytest.mark.parametrize("build", [one for name, one in BUILDERS.items() if name != "limits"], ids=list(BUILDERS)[:-1])
def test_a_query_equals_the_one_made_from_its_json(build: Callable[[Query], Query]) -> None:
    built = build(query())

    spec = json.loads(json.dumps(built.to_dict()))

    assert from_json(query(), spec) == built


# -- round trips -----------------------------------------------------------------------------------------------------

FILTERS = st.sampled_from(
    [
        {"n": 1},
        {"n": {"$gte": 1, "$lt": 9}},
        {"title": {"$contains": "a"}},
        {"when": {"$lt": "2024-05-01T12:00:00Z"}},
        {"tags": {"$array_overlaps": ["a", "b"]}},
        {"meta": {"$get": {"path": "a.b", "$ne": None}}},
        {"$or": [{"n": 1}, {"$not": {"title": "x"}}]},
        {},
    ]
)
PLAIN = {
    "select": st.lists(st.sampled_from(["title", "n", "object_id"]), min_size=1, max_size=4) | st.just("n"),
    "near": st.fixed_dictionaries(
        {"field": st.just("place"), "query": st.just([1, 0.5])}, optional={"top_k": st.integers(1, 9)}
    ),
    "search": st.fixed_dictionaries(
        {"query": st.just("a b")}, optional={"fields": st.just(["title"]) | st.just("body")}
    ),
}
GROUPED = {
    "group_by": st.lists(st.sampled_from(["title", "n"]), max_size=3) | st.just("n"),
    "aggregate": st.dictionaries(
        st.sampled_from(["a", "b c", "_x"]),
        st.sampled_from(["count", {"$sum": {"field": "n"}}, {"percentile": {"field": "n", "p": 90}}, {"$count": {}}]),
        min_size=1,
    ),
}
ANY = {
    "filter": FILTERS,
    "limit": st.integers(0, 9) | st.none(),
    "offset": st.integers(0, 9),
    "order": st.lists(st.sampled_from(["n", "-n", "-title"]), max_size=2) | st.just("-n"),
}
SPECS = st.fixed_dictionaries({}, optional={**ANY, **PLAIN}) | st.fixed_dictionaries({}, optional={**ANY, **GROUPED})


@given(SPECS)
def test_a_spec_becomes_a_query_that_survives_its_json_form(spec: dict[str, Any]) -> None:
    first = from_json(query(), spec)

    text = json.dumps(first.to_dict(), allow_nan=False)

    assert from_json(query(), json.loads(text)) == first
    assert from_json(query(), json.loads(text)).to_dict() == first.to_dict()


@given(SPECS)
def test_a_key_that_is_null_says_nothing(spec: dict[str, Any]) -> None:
    nulls = {key: None for key in ("filter", "select", "limit", "near", "having") if key not in spec}

    assert from_json(query(), {**spec, **nulls}) == from_json(query(), spec)


def test_the_json_form_holds_what_was_said_and_nothing_else() -> None:
    assert query().to_dict() == {}
    assert query().where(Doc.n > 1).order_by("-n", Doc.title).limit(0).select(Doc.title, "n", "title").to_dict() == {
        "filter": {"n": {"$gt": 1}},
        "select": ["title", "n"],
        "order": ["-n", "title"],
        "limit": 0,
    }
    grouped = query().group_by("title").aggregate(total=Doc.n.sum()).having({"total": {"$gt": 2}})
    assert grouped.to_dict() == {
        "group_by": ["title"],
        "aggregate": {"total": {"$sum": {"field": "n"}}},
        "having": {"total": {"$gt": 2}},
    }


# -- builders --------------------------------------------------------------------------------------------------------


def test_conditions_of_several_calls_all_hold() -> None:
    built = query().where(Doc.n > 1, {"title": "x"}).where().where(Doc.n < 9)

    assert built.to_dict()["filter"] == {"$and": [{"n": {"$gt": 1}}, {"title": {"$eq": "x"}}, {"n": {"$lt": 9}}]}
    assert query().where({}, {}).to_dict() == {}


def test_names_may_come_as_one_list() -> None:
    assert query().select(["title", "n"]) == query().select("title", "n")
    assert query().order_by(["-n", "title"]) == query().order_by("-n", "title")
    assert query().group_by(["n"]) == query().group_by("n")
    assert query().search("a", ["title"]) == query().search("a", "title")


def test_order_is_said_in_several_ways() -> None:
    for key in ("-n", Doc.n.desc(), -Doc.n):
        assert query().order_by(key) == query().order_by("n", desc=True) == query().order_by(Doc.n, desc=True)
    assert query().order_by("n").order_by("-title").to_dict()["order"] == ["n", "-title"]


def test_a_search_without_fields_leaves_them_to_the_placement() -> None:
    assert query().search("a").to_dict()["search"] == {"query": "a"}
    assert query().search("a", ["body"]).to_dict()["search"] == {"query": "a", "fields": ["body"]}


def test_a_later_near_search_select_and_limit_replaces_the_earlier_one() -> None:
    built = query().near("place", [1, 0]).near("place", [0, 1]).select("n").select("title").limit(1).limit(None)

    assert built.to_dict() == {
        "near": {"field": "place", "query": [0.0, 1.0], "top_k": 10, "metric": "cosine"},
        "select": ["title"],
    }


def test_limits_are_kept_apart_from_the_question() -> None:
    built = query().limits(deadline=1.5, max_rows=None)

    assert built.limits_ == Limits(1.5, None, DEFAULT_LIMITS.max_bytes)
    assert built.to_dict() == {}
    assert built != query()


@pytest.mark.parametrize("bound", [0, -1, math.inf, math.nan, 10**400, True, "1"])
def test_a_bound_is_a_positive_number_that_a_clock_can_count(bound: Any) -> None:
    with pytest.raises(QueryError, match="'deadline' takes a positive number"):
        query().limits(deadline=bound)


def test_the_names_of_aggregates_in_a_spec_are_texts() -> None:
    with pytest.raises(QueryError, match="are texts"):
        from_json(query(), {"aggregate": {1: "count", "1": {"$max": {"field": "n"}}}})


def test_a_grouped_query_may_be_ordered_by_an_aggregate_that_is_still_to_come() -> None:
    built = query().group_by("title").order_by("-rows").aggregate(rows="count")

    check_parts(built)

    assert built.to_dict()["order"] == ["-rows"]


def test_having_names_keys_and_aggregates() -> None:
    built = query().group_by("title").aggregate(rows="count", mean=Doc.n.avg())

    narrowed = built.having({"rows": {"$gt": 1}}).having({"title": {"$contains": "a"}, "mean": {"$lt": 0.5}})

    assert narrowed.to_dict()["having"] == {
        "$and": [{"rows": {"$gt": 1}}, {"title": {"$contains": "a"}}, {"mean": {"$lt": 0.5}}]
    }
    assert built.having({}) == built


AGGREGATED: list[tuple[Any, LogicalType[Any]]] = [
    ("count", Integer()),
    (Doc.n.count(), Integer()),
    (Doc.n.avg(), Float()),
    (Doc.n.median(), Float()),
    (Doc.n.percentile(5), Float()),
    (Doc.n.sum(), Integer()),
    (Doc.when.max(), Timestamp()),
    (Doc.title.min(), ShortText()),
    (Doc.title.value_counts(), Json()),
]


@pytest.mark.parametrize(("one", "dtype"), AGGREGATED, ids=repr)
def test_an_aggregate_has_a_type(one: Any, dtype: LogicalType[Any]) -> None:
    ((_, made),) = query().aggregate(a=one).aggregates

    assert aggregate_type(made) == dtype


def test_an_aggregate_may_have_any_name() -> None:
    assert [alias for alias, _ in query().aggregate(self="count", source="count").aggregates] == ["self", "source"]


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: query().where(5), QueryError, "where takes conditions or a filter mapping, not an int"),  # pyright: ignore[reportArgumentType]
        (lambda: query().where(Other.z == 1), QueryError, r"other\.z belongs to another entity than 'doc'"),
        (lambda: query().where({"m": 1}), UnknownField, "entity 'doc' has no field 'm'"),
        (lambda: query().near("title", [1, 0]), QueryError, r"doc\.title is ShortText; near needs a Vector field"),
        (lambda: query().near("plce", [1, 0]), UnknownField, "did you mean 'place'"),
        (lambda: query().near("place", [1]), InvalidValue, r"\(near\) has 1 dimensions; the field has 2"),
        (lambda: query().near("place", "ab"), InvalidType, r"\(near\) is a str; takes a list of numbers"),
        (lambda: query().near("place", [0, 0]), InvalidValue, "is a zero vector, which has no cosine; use l2 or dot"),
        (
            lambda: query().near("place", [1, 0], metric="cos"),
            QueryError,
            "there is no metric 'cos'; did you mean 'cosine'",
        ),
        (lambda: query().near("place", [1, 0], top_k=0), QueryError, "top_k takes a whole number from 1 to 100000"),
        (lambda: query().near("place", [1, 0], top_k=1.5), QueryError, "top_k takes a whole number, not a float"),  # pyright: ignore[reportArgumentType]
        (lambda: query().search(5), InvalidType, "search takes a text such as 'wild garden', not an int$"),  # pyright: ignore[reportArgumentType]
        (lambda: query().search("a\0"), InvalidValue, "holds a NUL character"),
        (lambda: query().search("a", "n"), QueryError, r"doc\.n is Integer; search needs text fields"),
        (lambda: query().search("a", []), QueryError, "search in which fields of 'doc'"),
        (lambda: query().select("titel"), UnknownField, "did you mean 'title'"),
        (lambda: query().select(5), QueryError, "name a field or pass a reference"),
        (lambda: query().order_by(5), QueryError, "name a field or pass a reference"),
        (lambda: query().order_by(Other.z), QueryError, "belongs to another entity"),
        (lambda: query().limit(-1), QueryError, "limit takes a whole number from 0 to"),
        (lambda: query().limit(True), QueryError, "limit takes a whole number, not a bool"),
        (lambda: query().offset("3"), QueryError, "offset takes a whole number, not a str"),  # pyright: ignore[reportArgumentType]
        (lambda: query().offset(2**63), QueryError, "offset takes a whole number from 0 to"),
        (lambda: query().group_by("meta"), QueryError, r"doc\.meta is Json; only scalar fields can be grouped by"),
        (lambda: query().group_by("nn"), UnknownField, "has no field 'nn'"),
        (lambda: query().aggregate(n="count"), QueryError, "'n' has the name of a field or of another aggregate"),
        (lambda: query().aggregate(a="count").aggregate(a="count"), QueryError, "'a' has the name of a field or of"),
        (lambda: query().aggregate(_score="count"), QueryError, "'_score' has the name of a field or of another"),
        (lambda: query().aggregate(**{"-a": "count"}), QueryError, "'-a' cannot name an aggregate"),
        (lambda: query().aggregate(a=5), QueryError, "the aggregate 'a' is written"),
        (lambda: query().aggregate(a={"$sum": {}, "$avg": {}}), QueryError, "the aggregate 'a' is written"),
        (lambda: query().aggregate(a={"$sum": "n"}), QueryError, "the aggregate 'a' is written"),
        (lambda: query().aggregate(a={5: {}}), QueryError, "the aggregate 'a' is written"),
        (
            lambda: query().aggregate(a={"$sum": {"fild": "n"}}),
            UnknownKey,
            "the aggregate 'a' has no 'fild'; did you mean",
        ),
        (lambda: query().aggregate(a={"$smu": {"field": "n"}}), UnknownOp, "did you mean 'sum'"),
        (lambda: query().aggregate(a="sum"), QueryError, "sum needs a field"),
        (lambda: query().aggregate(a={"$sum": {"field": "title"}}), UnsupportedOp, "has no 'sum'"),
        (lambda: query().aggregate(a=Numbers.n.sum()), QueryError, "belongs to another entity"),
        (lambda: query().having({"n": 1}), QueryError, "having needs group_by or aggregate before it"),
        (lambda: query().group_by("n").having({"title": "x"}), UnknownField, "'title' is none of them; known: n"),
        (
            lambda: query().group_by("n").having(Doc.title == "x"),
            UnknownField,
            "having compares the columns of the grouped answer, and 'title' is none of them; known: n",
        ),
        (lambda: query().order_by("-yeer"), UnknownField, "cannot order by 'yeer': no such field"),
        (lambda: query().order_by("titel"), UnknownField, "did you mean 'title'"),
        (lambda: query().order_by("-tags"), QueryError, r"doc\.tags is Array\[ShortText\], which has no order"),
        (lambda: query().group_by("n").order_by("meta"), QueryError, r"doc\.meta is Json, which has no order"),
        (lambda: query().order_by(Doc.meta["x"]), QueryError, r"a path inside the Json field doc\.meta stands in cond"),
        (lambda: query().group_by(Doc.meta["x"]), QueryError, "cannot be grouped, ordered, aggregated or selected by"),
        (lambda: query().limits(dedline=1), UnknownKey, "there is no bound 'dedline'; did you mean 'deadline'"),
        (lambda: query().limits(deadline=0), QueryError, "the bound 'deadline' takes a positive number or None"),
        (lambda: query().limits(max_rows=True), QueryError, "the bound 'max_rows' takes a positive whole number"),
    ],
)
def test_a_builder_refuses_bad_input_and_says_what_it_takes(
    make: Callable[[], Query], kind: type[HeavenError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ([], QueryError, "a query is a mapping with keys such as 'filter', not a list"),
        ({"filtr": {}}, UnknownKey, "'filtr' is no key of a query; did you mean 'filter'"),
        ({5: 1}, UnknownKey, "5 is no key of a query"),
        ({"n": 3}, UnknownKey, r"'n' is no key of a query; conditions on fields stand in 'filter': \{'filter': \{'n'"),
        ({"filter": [1]}, QueryError, "a filter is a mapping"),
        ({"select": 5}, QueryError, "'select' takes a list of names"),
        ({"order": ["n", 5]}, QueryError, "'order' takes a list of names"),
        ({"group_by": {"n": 1}}, QueryError, "'group_by' takes a list of names"),
        ({"aggregate": ["count"]}, QueryError, "'aggregate' takes a mapping from names to aggregates"),
        ({"near": [1, 0]}, QueryError, "'near' takes a mapping with field, query"),
        ({"near": {"field": "place"}}, QueryError, "'near' needs 'query'"),
        (
            {"near": {"field": "place", "query": [1, 0], "topk": 3}},
            UnknownKey,
            "'near' has no key 'topk'; did you mean 'top_k'",
        ),
        ({"search": {"fields": ["title"]}}, QueryError, "'search' needs 'query'"),
        ({"search": "words"}, QueryError, "'search' takes a mapping with query"),
        ({"limit": "3"}, QueryError, "limit takes a whole number"),
        ({"having": {"a": 1}}, QueryError, "having needs group_by or aggregate"),
    ],
    ids=str,
)
def test_a_bad_spec_is_answered_with_what_could_be_meant(spec: Any, kind: type[HeavenError], message: str) -> None:
    with pytest.raises(kind, match=message):
        from_json(query(), spec)


def test_a_spec_that_is_too_deep_is_refused_before_it_is_looked_at() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]

    with pytest.raises(QueryTooDeep):
        from_json(query(), {"select": deep})


@pytest.mark.parametrize(
    ("built", "kind", "message"),
    [
        (query().group_by("n").select("n"), QueryError, "a grouped query has no near, search or select"),
        (query().aggregate(a="count").search("x"), QueryError, "a grouped query has no near, search or select"),
        (
            query().group_by("n").order_by("-m"),
            UnknownField,
            "cannot order by 'm': it is neither a group key nor an aggregate; known: n",
        ),
        (query().order_by("n").group_by("title"), UnknownField, "cannot order by 'n': it is neither a group key nor"),
        (
            query().group_by("n").order_by("title"),
            UnknownField,
            "cannot order by 'title': it is neither a group key nor",
        ),
        (
            query().group_by("n").aggregate(c=Doc.title.value_counts()).order_by("c"),
            QueryError,
            "cannot order by 'c': value_counts gives lists",
        ),
    ],
    ids=repr,
)
def test_parts_that_do_not_fit_together_are_refused_when_it_is_asked(
    built: Query, kind: type[HeavenError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        check_parts(built)


# -- asking ----------------------------------------------------------------------------------------------------------


def test_counting_follows_limit_and_offset(ws: hb.HeavenBase) -> None:
    ws.register(Numbers)
    ws.upsert_many(Numbers, [{"n": number % 3} for number in range(10)])
    some = ws.query(Numbers).where(Numbers.n < 2)

    assert some.count() == 7
    assert (some.limit(3).count(), some.offset(5).count(), some.offset(9).count(), some.limit(0).count()) == (
        3,
        2,
        0,
        0,
    )
    assert some.order_by("-n").select("n").count() == 7
    assert ws.query(Numbers).group_by("n").count() == 3


def test_a_field_of_any_name_does_not_disturb_counting(ws: hb.HeavenBase) -> None:
    class Odd(hb.Entity):
        hb_count = hb.field(hb.Integer)
        count = hb.field(hb.Integer)

    ws.register(Odd)
    ws.upsert(Odd, {"count": 5})

    assert ws.count(Odd) == 1


def test_iterating_gives_rows(ws: hb.HeavenBase) -> None:
    ws.register(Numbers)
    ws.upsert_many(Numbers, [{"object_id": "a", "n": 1}, {"object_id": "b", "n": 2}])

    assert [row["n"] for row in ws.query(Numbers).order_by("-n")] == [2, 1]


def test_queries_are_not_equal_to_other_things_and_cannot_be_hashed() -> None:
    assert query() != 5
    assert query() != query(Numbers)
    with pytest.raises(TypeError, match="unhashable"):
        hash(query())


def test_a_query_is_shown_by_its_parts() -> None:
    assert repr(query()) == "<query on 'doc': all rows>"
    assert repr(query().where(Doc.title == "secret").limit(3)) == "<query on 'doc': filter, limit>"
    assert repr(Array(ShortText)) in repr(Doc.tags)
