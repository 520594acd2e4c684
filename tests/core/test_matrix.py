"""Exact nearest vectors, `heaven_core.matrix`, against the same in plain Python."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.errors import InvalidValue
from heaven_core.matrix import METRICS, Matrix, check_query

pytestmark = pytest.mark.unit

NUMBERS = st.floats(-1e6, 1e6, width=32).filter(lambda value: value == 0 or abs(value) > 1e-6)


def _distance(metric: str, left: list[float], right: list[float]) -> float:
    product = math.fsum(one * two for one, two in zip(left, right, strict=True))
    if metric == "dot":
        return -product
    if metric == "l2":
        return math.sqrt(math.fsum((one - two) ** 2 for one, two in zip(left, right, strict=True)))
    lengths = math.hypot(*left) * math.hypot(*right)
    return 1.0 - (product / lengths if lengths else 0.0)


@pytest.mark.parametrize("metric", METRICS)
@given(
    vectors=st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=12),
    query=st.lists(NUMBERS, min_size=3, max_size=3),
    top_k=st.integers(1, 14),
)
def test_the_nearest_are_those_of_plain_python(
    metric: str, vectors: list[list[float]], query: list[float], top_k: int
) -> None:
    if metric == "cosine" and not any(query):
        query = [1.0, 0.0, 0.0]
    ids = [f"{position:02d}" for position in range(len(vectors))]

    found = Matrix(ids, vectors).nearest(query, top_k, metric)

    expected = [_distance(metric, vector, query) for vector in vectors]
    assert len(found) == min(top_k, len(vectors))
    for position, distance in found:
        assert distance == pytest.approx(expected[position], rel=1e-9, abs=1e-6)
    distances = [distance for _, distance in found]
    assert distances == sorted(distances)
    scale = max(map(abs, expected))
    assert distances[-1] <= sorted(expected)[len(found) - 1] + 1e-9 * scale + 1e-6


def test_ties_are_in_the_order_of_the_ids_wherever_the_cut_falls() -> None:
    vectors = [[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 5

    for top_k in (1, 3, 5, 7, 10):
        found = Matrix([f"{one:02d}" for one in range(10)], vectors).nearest([1.0, 0.0], top_k, "l2")
        assert [position for position, _ in found] == list(range(top_k))


def test_only_the_given_rows_are_looked_at() -> None:
    matrix = Matrix(list("abcd"), [[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 2.0]])

    assert matrix.nearest([1.0, 0.0], 2, "l2", [0, 2]) == [(2, 1.0), (0, pytest.approx(math.sqrt(2)))]
    assert matrix.nearest([1.0, 0.0], 2, "l2", []) == []


def test_a_zero_vector_is_at_cosine_distance_one() -> None:
    found = Matrix(list("abc"), [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).nearest([2.0, 0.0], 3, "cosine")

    assert found == [(1, 0.0), (0, 1.0), (2, 2.0)]


def test_vectors_of_extreme_lengths_have_a_direction() -> None:
    found = Matrix(list("abc"), [[3e38, 3e38], [1e-40, 0.0], [1e-3, 1e-3]]).nearest([1.0, 0.0], 3, "cosine")

    assert [position for position, _ in found] == [1, 0, 2]
    assert found[1][1] == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


def test_nothing_is_nearest_to_nothing() -> None:
    assert Matrix([], []).nearest([1.0], 3, "l2") == []
    assert Matrix(["a"], [[1.0]]).nearest([1.0], 0, "l2") == []


def test_many_rows_are_ranked_exactly() -> None:
    chance = random.Random(5)
    vectors = [array("f", [chance.gauss(0, 1) for _ in range(8)]).tolist() for _ in range(6000)]
    query = [1.0] * 8

    for metric in METRICS:
        found = Matrix([f"{one:05d}" for one in range(6000)], vectors).nearest(query, 20, metric)
        expected = sorted(range(6000), key=lambda one: (_distance(metric, vectors[one], query), one))[:20]
        assert [position for position, _ in found] == expected


def test_lengths_are_computed_once() -> None:
    matrix = Matrix(list("ab"), [[3.0, 4.0], [0.0, 0.0]])

    assert matrix.norms().tolist() == [5.0, 0.0]
    assert matrix.norms() is matrix.norms()


def test_a_zero_query_has_no_cosine() -> None:
    with pytest.raises(
        InvalidValue, match=r"doc\.place: a list of 2 is a zero vector, which has no cosine; use l2 or dot"
    ):
        check_query("doc", "place", [0.0, 0.0], "cosine")
    check_query("doc", "place", [0.0, 0.0], "l2")


def test_a_query_needs_a_number() -> None:
    with pytest.raises(InvalidValue, match="has no dimensions; give a number for each"):
        check_query("doc", "place", [], "l2")
