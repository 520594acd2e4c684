"""Conditions, `heaven_core.expr`: operators, flattening, depth, JSON filters, and what a mistake is answered with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core import expr
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
from heaven_core.expr import (
    MAX_DEPTH,
    And,
    Expr,
    Not,
    Or,
    Predicate,
    aggregate,
    all_of,
    any_of,
    as_expr,
    check_nesting,
    field_of,
    find_op,
    from_filter,
    nesting,
    predicates,
)
from heaven_core.ext import register_op

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer)
    x = hb.field(hb.Float)
    when = hb.field(hb.Timestamp)
    took = hb.field(hb.Duration)
    flag = hb.field(hb.Boolean)
    colour = hb.field(hb.Categorical(["red", "green"]))
    tags = hb.field(hb.Array(hb.ShortText))
    meta = hb.field(hb.Json)
    place = hb.field(hb.Vector(2))


class Other(hb.Entity):
    title = hb.field(hb.ShortText)
    z = hb.field(hb.Integer)


SCHEMA = Doc.schema()
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def _json(expr: Expr) -> dict[str, Any]:
    return expr.to_dict()


# -- operators and methods -------------------------------------------------------------------------------------------

SAID: list[tuple[Predicate, dict[str, Any]]] = [
    (Doc.n == 1, {"n": {"$eq": 1}}),
    (Doc.n != 1, {"n": {"$ne": 1}}),
    (Doc.n < 1, {"n": {"$lt": 1}}),
    (Doc.n <= 1, {"n": {"$lte": 1}}),
    (Doc.n > 1, {"n": {"$gt": 1}}),
    (Doc.n >= 1, {"n": {"$gte": 1}}),
    (Doc.n.eq(1), {"n": {"$eq": 1}}),
    (Doc.n.ne(1), {"n": {"$ne": 1}}),
    (Doc.n.lt(1), {"n": {"$lt": 1}}),
    (Doc.n.lte(1), {"n": {"$lte": 1}}),
    (Doc.n.gt(1), {"n": {"$gt": 1}}),
    (Doc.n.gte(1), {"n": {"$gte": 1}}),
    (Doc.n == None, {"n": {"$eq": None}}),  # noqa: E711
    (Doc.n.in_([1, None]), {"n": {"$in": [1, None]}}),
    (Doc.n.between(1, 2), {"n": {"$between": [1, 2]}}),
    (Doc.n.is_null(), {"n": {"$is_null": True}}),
    (Doc.n.is_null(False), {"n": {"$is_null": False}}),
    (Doc.title.match("a b"), {"title": {"$match": "a b"}}),
    (Doc.title.like("a%"), {"title": {"$like": "a%"}}),
    (Doc.title.ilike("A%"), {"title": {"$ilike": "A%"}}),
    (Doc.title.contains("a"), {"title": {"$contains": "a"}}),
    (Doc.title.starts_with("a"), {"title": {"$starts_with": "a"}}),
    (Doc.title.ends_with("a"), {"title": {"$ends_with": "a"}}),
    (Doc.title.regex("^a"), {"title": {"$regex": "^a"}}),
    (Doc.title.contained_in("abc"), {"title": {"$contained_in": "abc"}}),
    (Doc.tags.array_contains("a"), {"tags": {"$array_contains": "a"}}),
    (Doc.tags.array_overlaps(["a"]), {"tags": {"$array_overlaps": ["a"]}}),
    (Doc.tags.contained_in({"a"}), {"tags": {"$contained_in": ["a"]}}),
    (Doc.tags == ["a"], {"tags": {"$eq": ["a"]}}),
    (Doc.meta == {"a": [1]}, {"meta": {"$eq": {"a": [1]}}}),
    (Doc.when >= NOON, {"when": {"$gte": "2024-05-01T12:00:00+00:00"}}),
    (Doc.took < timedelta(seconds=1), {"took": {"$lt": "P0DT1.000000S"}}),
    (Doc.meta["a"][0] == 1, {"meta": {"$get": {"path": ["a", 0], "$eq": 1}}}),
    (Doc.meta["a"] != None, {"meta": {"$get": {"path": ["a"], "$ne": None}}}),  # noqa: E711
    (Doc.meta["a"] < 1, {"meta": {"$get": {"path": ["a"], "$lt": 1}}}),
    (Doc.meta["a"] <= "x", {"meta": {"$get": {"path": ["a"], "$lte": "x"}}}),
    (Doc.meta["a"] > 1, {"meta": {"$get": {"path": ["a"], "$gt": 1}}}),
    (Doc.meta["a"] >= 1.5, {"meta": {"$get": {"path": ["a"], "$gte": 1.5}}}),
    (Doc.meta["a"].in_([1, "x"]), {"meta": {"$get": {"path": ["a"], "$in": [1, "x"]}}}),
    (Doc.meta["a"].between(1, 2), {"meta": {"$get": {"path": ["a"], "$between": [1, 2]}}}),
    (Doc.meta["a"].is_null(), {"meta": {"$get": {"path": ["a"], "$is_null": True}}}),
    (Doc.meta["a"].contains("x"), {"meta": {"$get": {"path": ["a"], "$contains": "x"}}}),
    (Doc.meta["a"].starts_with("x"), {"meta": {"$get": {"path": ["a"], "$starts_with": "x"}}}),
    (Doc.meta["a"].ends_with("x"), {"meta": {"$get": {"path": ["a"], "$ends_with": "x"}}}),
]


@pytest.mark.parametrize(("condition", "filter"), SAID, ids=[str(said) for _, said in SAID])
def test_a_condition_in_code_is_a_json_filter_and_back(condition: Predicate, filter: dict[str, Any]) -> None:
    assert _json(condition) == filter
    parsed = from_filter(SCHEMA, filter)
    assert isinstance(parsed, Predicate)
    assert (parsed.field, parsed.op, parsed.value) == (condition.field, condition.op, condition.value)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"n": 1}, {"n": {"$eq": 1}}),
        ({"n": None}, {"n": {"$eq": None}}),
        ({"meta": {"a": 1}}, {"meta": {"$eq": {"a": 1}}}),
        ({"n": {"$==": 1}}, {"n": {"$eq": 1}}),
        ({"n": {"$>=": 1}}, {"n": {"$gte": 1}}),
        ({"meta": {"$get": {"path": "a.b", "$eq": 1}}}, {"meta": {"$get": {"path": ["a", "b"], "$eq": 1}}}),
        ({"n": {"$gte": 1, "$lt": 5}}, {"$and": [{"n": {"$gte": 1}}, {"n": {"$lt": 5}}]}),
        ({"n": 1, "title": "x"}, {"$and": [{"n": {"$eq": 1}}, {"title": {"$eq": "x"}}]}),
        ({"$and": [{}, {"n": 1}]}, {"n": {"$eq": 1}}),
        ({"$and": []}, {"$and": []}),
        ({"$or": []}, {"$or": []}),
        ({"$not": {}}, {"$not": {"$and": []}}),
        ({"$or": [{"n": 1}]}, {"n": {"$eq": 1}}),
        ({"$not": {"n": 1}}, {"$not": {"n": {"$eq": 1}}}),
    ],
    ids=str,
)
def test_a_filter_has_short_forms(short: dict[str, Any], long: dict[str, Any]) -> None:
    condition = from_filter(SCHEMA, short)

    assert condition is not None
    assert condition.to_dict() == long


def test_an_empty_filter_is_no_condition() -> None:
    assert from_filter(SCHEMA, {}) is None
    assert as_expr(SCHEMA, None) is None


# -- combining -------------------------------------------------------------------------------------------------------


def test_conditions_of_one_kind_are_flattened() -> None:
    a, b, c = Doc.n == 1, Doc.n == 2, Doc.n == 3

    both, either = (a & b) & c, a | (b | c)

    assert isinstance(both, And)
    assert isinstance(either, Or)
    assert (both.children, either.children) == ((a, b, c), (a, b, c))
    assert all_of([a]) is a
    assert any_of([a]) is a
    assert (both.depth, (both | c).depth, (~both).depth) == (2, 3, 3)


def test_different_kinds_are_nested() -> None:
    condition = ((Doc.n == 1) & (Doc.n == 2)) | ~(Doc.n == 3)

    assert condition.to_dict() == {
        "$or": [{"$and": [{"n": {"$eq": 1}}, {"n": {"$eq": 2}}]}, {"$not": {"n": {"$eq": 3}}}]
    }
    assert [one.value for one in predicates(condition)] == [1, 2, 3]
    assert list(predicates(None)) == []


def test_five_thousand_terms_stay_flat() -> None:
    condition = all_of(Doc.n != number for number in range(5000))

    assert condition.depth == 2
    parsed = as_expr(SCHEMA, {"$and": [{"n": {"$ne": number}} for number in range(5000)]})
    assert parsed is not None
    assert parsed.to_dict() == condition.to_dict()


LEAVES = st.sampled_from([Doc.n == 1, Doc.title.contains("a"), Doc.flag.eq(True), Doc.meta["a"] > 1, Doc.n.is_null()])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3).map(all_of) | st.lists(inner, max_size=3).map(any_of) | inner.map(Not),
    max_leaves=12,
)


@given(TREES)
def test_a_tree_survives_its_json_form(tree: Expr) -> None:
    parsed = as_expr(SCHEMA, tree.to_dict())

    assert parsed is not None
    assert parsed.to_dict() == tree.to_dict()
    assert parsed.depth == tree.depth


def test_and_or_not_of_the_language_are_refused() -> None:
    with pytest.raises(QueryError, match=r"a condition has no truth value; combine conditions with &, | and ~"):
        bool(Doc.n == 1)
    with pytest.raises(QueryError, match=r"doc\.n has no truth value in a query"):
        bool(Doc.n)


def test_only_conditions_can_be_combined() -> None:
    with pytest.raises(QueryError, match=r"a condition is made from fields, such as .*; got a bool"):
        (Doc.n == 1) & True  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]


def test_conditions_are_shown_without_their_values() -> None:
    secret = (Doc.title == "secret") & ~(Doc.n == 1)

    assert repr(secret) == "<$and of 2>"
    assert [repr(one) for one in predicates(secret)] == ["<title eq ...>", "<n eq ...>"]
    assert repr(~secret) == "<$not>"


# -- depth -----------------------------------------------------------------------------------------------------------


def _nots(levels: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"n": 1}
    for _ in range(levels):
        spec = {"$not": spec}
    return spec


def test_a_filter_may_be_nested_up_to_the_limit() -> None:
    condition = as_expr(SCHEMA, _nots(MAX_DEPTH - 1))

    assert condition is not None
    assert condition.depth == MAX_DEPTH


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1, 1000, 100_000])
def test_a_deeper_filter_is_refused_without_being_shown(levels: int) -> None:
    with pytest.raises(QueryTooDeep, match="nested more than") as raised:
        as_expr(SCHEMA, _nots(levels))

    assert len(str(raised.value)) < 100


def test_depth_is_limited_in_code_too() -> None:
    condition: Expr = Doc.n == 1
    for _ in range(MAX_DEPTH - 1):
        condition = ~condition

    with pytest.raises(QueryTooDeep):
        _ = ~condition


def test_nesting_is_counted_through_lists_and_mappings() -> None:
    assert nesting(1, 10) == 0
    assert nesting({"a": [1, {"b": ()}]}, 10) == 4
    assert nesting([[[[]]]], 2) == 3
    check_nesting({"a": 1})


def test_a_spec_with_too_many_parts_is_refused_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expr, "MAX_PARTS", 100)

    with pytest.raises(QueryError, match="the query has more than 100 parts; ask for less at once"):
        as_expr(SCHEMA, {"n": {"$in": list(range(101))}})


def test_a_spec_that_holds_itself_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["$not"] = endless

    with pytest.raises(QueryTooDeep):
        as_expr(SCHEMA, endless)


# -- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Doc.n == "x", InvalidType, r"doc\.n: 'x' \(eq\) is a str; takes a whole number"),
        (lambda: Doc.n == True, InvalidType, r"True \(eq\) is a bool"),  # noqa: E712
        (lambda: Doc.n == 2**70, InvalidValue, "does not fit in 64 bits"),
        (lambda: Doc.n < None, InvalidType, r"None \(lt\) is null, which nothing can be compared with; use is_null"),
        (lambda: Doc.colour == "rad", InvalidValue, "is not among its values; did you mean 'red'"),
        (lambda: Doc.n.in_(5), InvalidType, "is an? int; takes a list of values"),
        (lambda: Doc.n.between(1, None), InvalidType, "is null"),
        (lambda: Doc.n.is_null("yes"), InvalidType, "is a str; takes true or false"),  # pyright: ignore[reportArgumentType]
        (lambda: Doc.title.like("a\\"), QueryError, "doc.title: "),
        (lambda: Doc.title.regex("("), QueryError, "doc.title: "),
        (lambda: Doc.title.contains(5), InvalidType, "takes text"),  # pyright: ignore[reportArgumentType]
        (lambda: Doc.tags.array_contains(None), InvalidType, "an Array holds no nulls"),
        (lambda: Doc.flag < True, UnsupportedOp, r"doc\.flag is Boolean, which has no 'lt'; it has: .*eq.*is_null"),
        (lambda: Doc.n.contains("x"), UnsupportedOp, "which has no 'contains'; it has: between, eq"),
        (lambda: Doc.place == [1, 2], UnsupportedOp, r"doc\.place is Vector\[2\], which has no 'eq'; it has: is_null"),
        (lambda: Doc.n["a"], UnsupportedOp, r"doc\.n is Integer; only Json has paths"),
        (lambda: Doc.meta["a"] < None, InvalidType, "is null"),
        (lambda: Doc.meta["a"] < True, InvalidType, "has no order; compare with a number or a text"),
        (lambda: Doc.meta["a"].between(1, "x"), InvalidValue, "has bounds of two types"),
        (lambda: Doc.meta[-1] == 1, InvalidType, "has a step that is neither a key nor a position"),
        (lambda: Doc.meta[1.5] == 1, InvalidType, "has a step that is neither a key nor a position"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_a_bad_argument_is_named_where_it_is_written(make: Any, kind: type[HeavenError], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ({"titel": "x"}, UnknownField, "entity 'doc' has no field 'titel'; did you mean 'title'"),
        ({"n": {"$grt": 1}}, UnknownOp, "there is no operation 'grt'; did you mean 'gt'"),
        ({"n": {"$near": 1}}, UnsupportedOp, "near is no filter; it stands beside the filter, in the query's 'near'"),
        (
            {"n": {"$sum": 1}},
            UnsupportedOp,
            "sum is no filter; .* in the query's 'aggregate'",
        ),
        ({"n": {"gt": 1}}, UnknownKey, r"doc\.n: operations are written '\$op'; got 'gt'"),
        ({"n": {1: 1}}, UnknownKey, "operations are written"),
        ({"n": {"$not": {"$eq": 1}}}, UnknownKey, r"\$not stands around fields"),
        ({"n": {}}, QueryError, "an empty mapping asks nothing"),
        ({"$nor": []}, UnknownKey, r"'\$nor' is no key of a filter; did you mean '\$or'"),
        ({"$and": {"n": 1}}, QueryError, r"\$and takes a list of filters, not a dict"),
        ({"$or": [1]}, QueryError, "a filter is a mapping such as .*, not an int"),
        ({"$not": 5}, QueryError, "a filter is a mapping"),
        ({5: 1}, UnknownKey, "a filter's keys are field names and .*, not an int"),
        ({"meta": {"$get": {"path": "a"}}}, InvalidType, "takes {"),
        ({"meta": {"$get": {"path": "a", "$like": "x"}}}, InvalidValue, "asks 'like' of a JSON value; known: between"),
        ({"meta": {"$get": {"path": [], "$eq": 1}}}, InvalidType, "is no path"),
        ({"meta": {"$get": {"path": ["a"] * 101, "$eq": 1}}}, InvalidValue, "is a path of more than 100 steps"),
        ([{"n": 1}], QueryError, "where takes conditions or a filter mapping, not a list"),
        (True, QueryError, "where takes conditions or a filter mapping, not a bool"),
    ],
    ids=str,
)
def test_a_bad_filter_is_answered_with_what_could_be_meant(spec: Any, kind: type[HeavenError], message: str) -> None:
    with pytest.raises(kind, match=message):
        as_expr(SCHEMA, spec)


def test_a_misspelt_operation_is_an_attribute_error_that_helps() -> None:
    with pytest.raises(
        AttributeError, match=r"doc\.title \(ShortText\) has no operation 'containz'; did you mean 'contains'"
    ):
        Doc.title.containz("x")  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(AttributeError, match="_private"):
        Doc.title._private  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018
    assert not hasattr(Doc.title, "__array__")


def test_a_condition_on_another_entity_is_refused() -> None:
    with pytest.raises(QueryError, match=r"other\.title belongs to another entity than 'doc'"):
        as_expr(SCHEMA, (Doc.n == 1) & ~(Other.title == "x"))


def test_a_condition_on_a_field_that_the_stored_entity_lacks_is_refused() -> None:
    narrow = hb.EntitySchema.from_dict({"id": "doc", "fields": []})

    with pytest.raises(UnknownField, match="entity 'doc' has no field 'n'"):
        as_expr(narrow, Doc.n == 1)


def test_a_field_is_meant_by_name_or_reference() -> None:
    assert field_of(SCHEMA, "n") == field_of(SCHEMA, Doc.n) == SCHEMA.field("n")
    with pytest.raises(QueryError, match="belongs to another entity than 'doc'"):
        field_of(SCHEMA, Other.title)
    with pytest.raises(QueryError, match=r"name a field or pass a reference such as Doc\.title, not an int"):
        field_of(SCHEMA, 5)


# -- the rest of a reference -----------------------------------------------------------------------------------------


def test_a_reference_orders_both_ways() -> None:
    assert [one.to_dict() for one in (Doc.n.asc(), Doc.n.desc(), -Doc.n, -Doc.n.desc())] == ["n", "-n", "-n", "n"]


@pytest.mark.parametrize("reference", [Doc.title, Doc.n, Doc.tags, Doc.meta, Doc.meta["a"]], ids=repr)
def test_a_reference_holds_nothing_to_go_through(reference: Any) -> None:
    goes: list[Any] = [list, tuple, set, iter, dict, lambda one: [*one], lambda one: next(iter(one)), sorted]

    for go in goes:
        with pytest.raises(TypeError, match=r"doc\.\w+ .*has no items; .*execute"):
            go(reference)
    for item in ("a", 0, None):
        with pytest.raises(TypeError, match=r"doc\.\w+ .*cannot be asked with 'in'; write a condition.*contains"):
            assert item in reference
    with pytest.raises(HeavenError):
        hb.HeavenBase("items", preset="debug").upsert_many(Doc, reference)


def test_references_can_be_keys() -> None:
    assert hash(Doc.n) == hash(Doc.n)
    assert hash(Doc.meta["a"]) == hash(Doc.meta["a"])


def test_a_reference_makes_aggregates() -> None:
    made = [Doc.n.count(), Doc.n.sum(), Doc.n.avg(), Doc.n.min(), Doc.n.max(), Doc.n.median(), Doc.n.value_counts()]

    assert [next(iter(one.to_dict())) for one in made] == [
        "$count",
        "$sum",
        "$avg",
        "$min",
        "$max",
        "$median",
        "$value_counts",
    ]
    assert Doc.n.percentile(90).to_dict() == {"$percentile": {"field": "n", "p": 90.0}}
    assert Doc.n.percentile(90).key() == ("percentile", "n", 90.0)
    assert (repr(Doc.n.sum()), repr(aggregate("count", None))) == ("<sum of n>", "<count of rows>")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: aggregate("total", None), UnknownOp, "there is no operation 'total'"),
        (lambda: aggregate("eq", None), UnsupportedOp, "eq is no aggregate; count, sum, avg"),
        (lambda: aggregate("sum", None), QueryError, "sum needs a field; only count works without one"),
        (Doc.title.sum, UnsupportedOp, r"doc\.title is ShortText, which has no 'sum'"),
        (lambda: aggregate("sum", SCHEMA.field("n"), 5), QueryError, "sum takes no p; percentile does"),
        (lambda: Doc.n.percentile(101), QueryError, "percentile takes p, a number from 0 to 100"),
        (lambda: Doc.n.percentile(True), QueryError, "percentile takes p"),
        (lambda: aggregate("percentile", SCHEMA.field("n")), QueryError, "percentile takes p"),
    ],
)
def test_a_bad_aggregate_is_named(make: Any, kind: type[HeavenError], message: str) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_an_operation_registered_in_code_is_a_method(registered: None) -> None:
    register_op("longer_than", trait="text", test=lambda dtype, argument: lambda value: len(value) > argument)

    condition = Doc.title.longer_than(3)  # pyright: ignore[reportAttributeAccessIssue]

    assert condition.to_dict() == {"title": {"$longer_than": 3}}
    assert find_op("longer_than").name == "longer_than"
    with pytest.raises(AttributeError, match="has no operation 'longer_than'"):
        Doc.n.longer_than(3)  # pyright: ignore[reportAttributeAccessIssue]
