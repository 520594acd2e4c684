"""Matrices kept in step, `heaven_core.matrix_cache`: what is read when, and what is given up."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import pytest

from heaven_core.matrix import Matrix, Packed
from heaven_core.matrix_cache import MatrixCache, Name

pytestmark = pytest.mark.unit

PLACE = Name("doc", "place", 2)


class Shelf:
    """Vectors of one moment, which counts what is read of it."""

    def __init__(self, rows: dict[int, list[float]]) -> None:
        self.rows, self.whole, self.read = dict(rows), 0, []

    rows: dict[int, list[float]]
    whole: int
    read: list[Sequence[int]]

    def count(self) -> int:
        return len(self.rows)

    def everything(self) -> Iterable[Packed]:
        self.whole += 1
        yield self._packed(list(self.rows))

    def of(self, keys: Sequence[int]) -> Packed:
        self.read.append(keys)
        return self._packed([key for key in keys if key in self.rows])

    def _packed(self, keys: list[int]) -> Packed:
        return keys, b"".join(array("f", self.rows[key]).tobytes() for key in keys)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf({key: [float(key), 1.0] for key in range(20)})


def keys(matrix: Matrix | None) -> list[int]:
    assert matrix is not None
    return sorted(key for key, _ in matrix.nearest([1.0, 1.0], 99, "l2"))


def test_vectors_are_read_once_for_a_version(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)

    first = cache.get(PLACE, 3, shelf)

    assert cache.get(PLACE, 3, shelf) is first
    assert keys(first) == list(range(20))
    assert shelf.whole == 1


def test_noted_changes_are_read_when_somebody_asks(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 3, shelf)
    cache.note("doc", 3, 4, [[1], [30]])
    cache.note("other", 1, 9, [[5]])
    cache.note("doc", 4, 7, [range(2, 3)])
    del shelf.rows[1]
    shelf.rows[30] = [3.0, 3.0]

    assert keys(cache.get(PLACE, 7, shelf)) == [0, *range(2, 20), 30]
    assert shelf.read == [[1, 2, 30]]
    assert shelf.whole == 1


def test_a_reader_between_two_commits_gets_what_it_reads(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 3, shelf)
    cache.note("doc", 3, 4, [[1]])
    cache.note("doc", 4, 5, [[2]])
    del shelf.rows[1]
    between = cache.get(PLACE, 4, shelf)
    del shelf.rows[2]

    assert keys(between) == [0, *range(2, 20)]
    assert keys(cache.get(PLACE, 5, shelf)) == [0, *range(3, 20)]
    assert shelf.read == [[1], [2]]


def test_a_reader_of_the_past_gets_no_matrix(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 3, shelf)

    assert cache.get(PLACE, 2, shelf) is None
    assert cache.get(PLACE, 3, shelf) is not None
    assert shelf.whole == 1


def test_a_commit_that_nobody_noted_makes_the_matrix_anew(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 3, shelf)
    cache.note("doc", 4, 5, [[1]])  # another process made version 4

    cache.get(PLACE, 5, shelf)

    assert (shelf.whole, shelf.read) == (2, [])


def test_many_changes_make_the_matrix_anew(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 3, shelf)
    cache.note("doc", 3, 4, [range(6)])

    cache.get(PLACE, 4, shelf)

    assert (shelf.whole, shelf.read) == (2, [])


def test_what_a_failed_commit_noted_is_forgotten(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 3, shelf)
    cache.note("doc", 3, 4, [[1]])
    cache.forget("doc")

    assert keys(cache.get(PLACE, 4, shelf)) == list(range(20))
    assert shelf.whole == 2


def test_commits_that_nobody_asks_about_do_not_pile_up(shelf: Shelf) -> None:
    cache = MatrixCache(10**9)
    cache.get(PLACE, 0, shelf)
    for version in range(5000):
        cache.note("doc", version, version + 1, [[1]])

    assert cache.size_bytes == 0
    assert keys(cache.get(PLACE, 5000, shelf)) == list(range(20))


def test_a_matrix_beyond_the_budget_is_not_read(shelf: Shelf) -> None:
    assert MatrixCache(100).get(PLACE, 3, shelf) is None
    assert shelf.whole == 0
    assert MatrixCache(1000).get(PLACE, 3, shelf) is not None


def test_rows_are_counted_once_for_a_version_that_is_beyond_the_budget(shelf: Shelf) -> None:
    counted: list[int] = []

    class Counting(Shelf):
        def count(self) -> int:
            counted.append(super().count())
            return counted[-1]

    source, cache = Counting(shelf.rows), MatrixCache(100)

    assert [cache.get(PLACE, version, source) for version in (3, 3, 4, 4)] == [None] * 4
    assert len(counted) == 2
    assert cache.is_beyond(PLACE, 4)
    assert not cache.is_beyond(PLACE, 3)


def test_the_one_that_was_not_used_for_longest_makes_room(shelf: Shelf) -> None:
    cache = MatrixCache(2 * 20 * 28)
    for name in "aab":
        cache.get(Name(name, "place", 2), 1, shelf)
    cache.get(Name("a", "place", 2), 1, shelf)
    cache.get(Name("c", "place", 2), 1, shelf)
    whole = shelf.whole
    cache.get(Name("a", "place", 2), 1, shelf)

    assert whole == 3
    assert shelf.whole == 3


def test_a_failed_reading_leaves_nothing_half_done(shelf: Shelf) -> None:
    class Torn(Shelf):
        def everything(self) -> Iterator[Packed]:
            yield from super().everything()
            raise OSError

    cache = MatrixCache(10**9)
    with pytest.raises(OSError):  # noqa: PT011  # its own
        cache.get(PLACE, 3, Torn(shelf.rows))

    assert keys(cache.get(PLACE, 3, shelf)) == list(range(20))
