"""Exact nearest vectors, `heaven_core.matrix`, against the same in plain Python."""

from __future__ import annotations

import math
import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.errors import InvalidValue
from heaven_core.matrix import METRICS, check_query, matrix_of, packed_matrix

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

    found = matrix_of(vectors).nearest(query, top_k, metric)

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
        found = matrix_of(vectors).nearest([1.0, 0.0], top_k, "l2")
        assert [position for position, _ in found] == list(range(top_k))


def test_only_the_given_rows_are_looked_at() -> None:
    matrix = matrix_of([[0.0, 1.0], [1.0, 0.0], [2.0, 0.0], [0.0, 2.0]])

    assert matrix.nearest([1.0, 0.0], 2, "l2", [0, 2]) == [(2, 1.0), (0, pytest.approx(math.sqrt(2)))]
    assert matrix.nearest([1.0, 0.0], 2, "l2", []) == []


def test_a_zero_vector_is_at_cosine_distance_one() -> None:
    found = matrix_of([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).nearest([2.0, 0.0], 3, "cosine")

    assert found == [(1, 0.0), (0, 1.0), (2, 2.0)]


def test_vectors_of_extreme_lengths_have_a_direction() -> None:
    found = matrix_of([[3e38, 3e38], [1e-40, 0.0], [1e-3, 1e-3]]).nearest([1.0, 0.0], 3, "cosine")

    assert [position for position, _ in found] == [1, 0, 2]
    assert found[1][1] == pytest.approx(1 - math.sqrt(0.5), abs=1e-6)


def test_nothing_is_nearest_to_nothing() -> None:
    assert matrix_of([]).nearest([1.0], 3, "l2") == []
    assert matrix_of([[1.0]]).nearest([1.0], 0, "l2") == []


def test_many_rows_are_ranked_exactly() -> None:
    chance = random.Random(5)
    vectors = [array("f", [chance.gauss(0, 1) for _ in range(8)]).tolist() for _ in range(6000)]
    query = [1.0] * 8

    for metric in METRICS:
        found = matrix_of(vectors).nearest(query, 20, metric)
        expected = sorted(range(6000), key=lambda one: (_distance(metric, vectors[one], query), one))[:20]
        assert [position for position, _ in found] == expected


def packed(vectors: list[list[float]]) -> bytes:
    return b"".join(array("f", vector).tobytes() for vector in vectors)


@given(
    start=st.lists(st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=2), max_size=8),
    changes=st.lists(
        st.tuples(
            st.sets(st.integers(0, 11), max_size=4),
            st.dictionaries(
                st.integers(0, 11), st.lists(st.integers(-3, 3).map(float), min_size=2, max_size=2), max_size=4
            ),
        ),
        max_size=6,
    ),
    top_k=st.integers(1, 5),
)
def test_a_changed_matrix_is_the_one_made_of_what_is_there(
    start: list[list[float]],
    changes: list[tuple[set[int], dict[int, list[float]]]],
    top_k: int,
) -> None:
    rows = dict(enumerate(start))
    matrix = packed_matrix(2, [(list(rows), packed(start))])
    for gone, put in changes:
        before, earlier = matrix, matrix.nearest([1.0, 2.0], 3, "l2")
        matrix = matrix.with_changes(gone, (list(put), packed(list(put.values()))))
        rows = {key: vector for key, vector in rows.items() if key not in gone} | put

        assert before.nearest([1.0, 2.0], 3, "l2") == earlier

    assert matrix.size == len(rows)
    for metric in METRICS:
        found = matrix.nearest([1.0, 2.0], top_k, metric, ties=True)
        everything = sorted((_distance(metric, vector, [1.0, 2.0]), key) for key, vector in rows.items())
        wanted = [key for distance, key in everything if distance <= everything[min(top_k, len(rows)) - 1][0] + 1e-12]
        assert sorted(key for key, _ in found) == sorted(wanted)
        among = matrix.positions([1, 3, 5, 99])
        assert {key for key, _ in matrix.nearest([1.0, 2.0], 9, metric, among)} == {1, 3, 5} & set(rows)


def test_two_changes_of_one_matrix_do_not_meet() -> None:
    matrix = packed_matrix(1, [([1], packed([[1.0]]))], room=8)

    left = matrix.with_changes([], ([2], packed([[2.0]])))
    right = matrix.with_changes([], ([3], packed([[3.0]])))

    assert [key for key, _ in left.nearest([0.0], 9, "l2")] == [1, 2]
    assert [key for key, _ in right.nearest([0.0], 9, "l2")] == [1, 3]


def test_a_sample_is_spread_over_the_rows_that_are_there() -> None:
    matrix = packed_matrix(1, [(list(range(100)), packed([[1.0]] * 100))]).with_changes(range(50, 60), ([], b""))

    sample = matrix.sample(9)

    assert len(set(sample)) == 9
    assert not set(sample) & set(range(50, 60))
    assert len({key % 10 for key in sample}) > 4  # not every tenth
    assert sample == matrix.sample(9)
    assert sorted(matrix.sample(1000)) == [*range(50), *range(60, 100)]


@pytest.mark.parametrize("metric", METRICS)
def test_products_that_overflow_in_32_bits_do_not_hide_the_nearest(metric: str) -> None:
    vectors = [[3e38, 3e38, -3e38], [3.2e38, 0.0, 0.0], [1.0, 1.0, 1.0], [-3e38, 2e38, 1e38]]
    query = [2.0, 2.0, 2.0]

    found = matrix_of(vectors).nearest(query, 1, metric)

    assert found[0][0] == min(range(4), key=lambda one: _distance(metric, vectors[one], query))


@pytest.mark.parametrize("metric", METRICS)
def test_long_vectors_do_not_hide_a_nearer_one(metric: str) -> None:
    vectors = [*([2e19, 0.0, 1e18],) * 3, [1e19, 0.0, 1.0], [3e38, 1e38, 0.0]]
    query = [1e19, 0.0, 1.0]

    found = matrix_of(vectors).nearest(query, 1, metric)

    assert found[0][0] == min(range(5), key=lambda one: _distance(metric, vectors[one], query))


def test_a_zero_query_has_no_cosine() -> None:
    with pytest.raises(
        InvalidValue, match=r"doc\.place: a list of 2 is a zero vector, which has no cosine; use l2 or dot"
    ):
        check_query("doc", "place", [0.0, 0.0], "cosine")
    check_query("doc", "place", [0.0, 0.0], "l2")


def test_a_query_needs_a_number() -> None:
    with pytest.raises(InvalidValue, match="has no dimensions; give a number for each"):
        check_query("doc", "place", [], "l2")
