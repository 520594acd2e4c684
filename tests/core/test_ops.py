"""Operations as such, `heaven_core.ops`. What each means on each engine is tested with `docs/semantics.md`."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.errors import QueryError, UnsupportedOp
from heaven_core.ops import (
    AGGREGATES,
    FILTERS,
    RANKS,
    JsonGet,
    Op,
    check_path,
    checked_sum,
    comparable_json,
    float_sum,
    mean,
    percentile,
    reducer,
    same_json,
    value_counts,
)
from heaven_core.types import BUILTIN, INT_MAX, INT_MIN, LogicalType, Refused

pytestmark = pytest.mark.unit

FINITE = st.floats(allow_nan=False, allow_infinity=False)
BY_NAME = {op.name: op for op in (*FILTERS, *RANKS, *AGGREGATES)}


# -- operations ------------------------------------------------------------------------------------------------------


def test_names_and_aliases_are_taken_once() -> None:
    names = [name for op in BY_NAME.values() for name in (op.name, *op.aliases)]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("op", BY_NAME.values(), ids=repr)
def test_an_operation_describes_itself_and_serves_some_type(op: Op) -> None:
    assert op.to_dict() == {"identifier": op.name, "kind": op.kind, "aliases": list(op.aliases), "desc": op.desc}
    assert op.desc
    served = [cls for cls in BUILTIN if op.serves(cls)]
    assert served
    assert all(op.serves(cls()) for cls in served)


def test_an_operation_without_a_meaning_on_a_value_says_so() -> None:
    with pytest.raises(UnsupportedOp, match="near has no meaning on a single value"):
        BY_NAME["near"].predicate(hb.Vector(2), [1, 0])


def test_an_operation_of_ones_own_needs_no_more_than_a_test() -> None:
    longer = Op("longer", trait="text", test=lambda dtype, argument: lambda value: len(value) > argument)

    test = longer.predicate(hb.ShortText(), longer.check(hb.ShortText(), 2))

    assert (test("abc"), test("ab"), test(None)) == (True, False, False)
    assert longer.to_json(hb.ShortText(), 2) == 2
    assert not longer.serves(hb.Integer)


NULLS = {"eq": (None, True), "ne": ("a", True), "in": ([None], True), "is_null": (True, True), "contains": ("a", False)}


@pytest.mark.parametrize(("name", "said"), NULLS.items())
def test_a_null_satisfies_what_its_operation_says(name: str, said: tuple[Any, bool]) -> None:
    argument, answer = said

    assert BY_NAME[name].predicate(hb.ShortText(), argument)(None) is answer


# -- JSON ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ([1], [1.0], False),
        ([1], [1], True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({}, [], False),
        ("1", 1, False),
        (None, None, True),
        ([], None, False),
    ],
)
def test_json_values_are_equal_by_value_and_kind(left: Any, right: Any, same: bool) -> None:
    assert same_json(left, right) is same
    assert same_json(right, left) is same


def test_numbers_compare_with_numbers_and_texts_with_texts() -> None:
    assert comparable_json(1, 1.5)
    assert comparable_json("a", "b")
    assert not any(comparable_json(1, other) for other in ("1", True, None, [1]))


@pytest.mark.parametrize(
    ("path", "steps"), [("a", ("a",)), ("a.b", ("a", "b")), (["a", 0, "b.c"], ("a", 0, "b.c")), (("",), ("",))]
)
def test_a_path_is_dotted_text_or_a_list_of_steps(path: Any, steps: tuple[Any, ...]) -> None:
    assert check_path(path) == steps


@pytest.mark.parametrize("path", [[], (), 5, None, [-1], [True], [2**31], [1.5], ["a\0"], "a." * 100 + "b"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(Refused):
        check_path(path)


def test_a_missing_place_is_null() -> None:
    document = {"a": [{"b": 1}, None], "0": "zero"}

    found = [
        JsonGet(path, "eq", None).find(document)
        for path in (("a", 0, "b"), ("a", 1, "b"), ("a", 5), ("a", "0"), (0,), ("0",))
    ]

    assert found == [1, None, None, None, None, "zero"]
    assert JsonGet(("a",), "eq", None).find(None) is None


def test_arguments_of_get_are_equal_by_what_they_ask() -> None:
    assert JsonGet(("a",), "eq", 1) == JsonGet(("a",), "eq", 1)
    assert hash(JsonGet(("a",), "eq", [1])) == hash(JsonGet(("a",), "eq", [1]))
    assert JsonGet(("a",), "eq", 1) != JsonGet(("a",), "ne", 1)
    assert JsonGet(("a",), "eq", 1) != 5


def test_a_checked_argument_may_be_checked_again() -> None:
    op = BY_NAME["get"]
    once = op.check(hb.Json(), {"path": "a.b", "$in": [1, None]})

    assert op.check(hb.Json(), once) == once
    assert op.to_json(hb.Json(), once) == {"path": ["a", "b"], "$in": [1, None]}


# -- aggregates ------------------------------------------------------------------------------------------------------


@given(st.lists(FINITE))
def test_a_sum_of_floats_is_rounded_once(values: list[float]) -> None:
    exact = sum(map(Fraction, values), Fraction())
    largest = Fraction(1.7976931348623157e308) * (1 + Fraction(1, 2**54))

    total = float_sum(values)

    assert total == (math.inf if exact > largest else -math.inf if exact < -largest else float(exact))


@given(st.lists(FINITE, min_size=1))
def test_a_mean_lies_between_its_values(values: list[float]) -> None:
    found = mean(values)

    assert found is not None
    assert min(values) <= found <= max(values) or found == pytest.approx(values[0], rel=1e-15)


def test_sums_that_do_not_fit_are_refused() -> None:
    assert checked_sum(INT_MAX) == INT_MAX
    assert checked_sum(INT_MIN) == INT_MIN
    assert checked_sum(1e308) == 1e308
    for total in (INT_MAX + 1, INT_MIN - 1, math.inf, -math.inf):
        with pytest.raises(QueryError, match="the result does not fit in 64 bits"):
            checked_sum(total)
    with pytest.raises(QueryError):
        reducer("sum")([1e308, 1e308])
    assert reducer("sum")([1e308, 1e308, -1e308]) == 1e308


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1), st.floats(0, 100))
def test_a_percentile_lies_between_its_neighbours(values: list[int], p: float) -> None:
    found = percentile(values, p)

    ordered = sorted(values)
    position = (len(values) - 1) * p / 100
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    assert found is not None
    assert low - abs(low) * 1e-12 - 1e-12 <= found <= high + abs(high) * 1e-12 + 1e-12


def test_percentiles_interpolate() -> None:
    assert [percentile([1, 2, 4], p) for p in (0, 25, 50, 75, 100)] == [1.0, 1.5, 2.0, 3.0, 4.0]
    assert percentile([7], 30) == 7.0
    assert percentile([], 50) is None


def test_values_are_counted_most_frequent_first() -> None:
    assert value_counts(["b", "a", "c", "a", "b"]) == [["a", 2], ["b", 2], ["c", 1]]
    assert value_counts([]) == []


@pytest.mark.parametrize(
    ("op", "full", "empty"),
    [
        ("count", 3, 0),
        ("sum", 6, None),
        ("avg", 2.0, None),
        ("min", 1, None),
        ("max", 3, None),
        ("median", 2.0, None),
        ("value_counts", [[1, 1], [2, 1], [3, 1]], []),
    ],
)
def test_an_aggregate_of_nothing_is_null_or_zero(op: str, full: Any, empty: Any) -> None:
    assert reducer(op)([3, 1, 2]) == full
    assert reducer(op)([]) == empty


def test_a_percentile_takes_its_parameter() -> None:
    assert reducer("percentile", 100.0)([1, 2, 3]) == 3.0


def test_every_type_can_be_asked_for_nulls_and_counted() -> None:
    for cls in BUILTIN:
        dtype: LogicalType[Any] = cls()
        assert BY_NAME["is_null"].serves(dtype)
        assert BY_NAME["count"].serves(dtype)
