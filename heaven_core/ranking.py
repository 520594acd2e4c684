"""Nearest rows of an SQL engine: which of them, from the matrix in memory or from what the engine reads out.

A condition is answered before the ranking where few rows satisfy it, and on the nearest rows where many do; a sample
tells which.

Not here: how vectors are compared (`heaven_core.matrix`), which matrices are kept (`heaven_core.matrix_cache`), how
an engine reads vectors and conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from heaven_core.backend import Near, Rows, Scan
from heaven_core.evaluate import check_bytes, check_rows
from heaven_core.sql import shape

if TYPE_CHECKING:
    from heaven_core.matrix import Matrix, Packed

SAMPLE = 200
"""Rows on which a condition is tried, to learn how many satisfy it."""
FEW = 0.04
"""The share of rows up to which a condition is answered first."""

Ranked = list[tuple[int, float]]
"""Keys of rows with their distances, the nearest first."""


class Vectors(Protocol):
    """The vectors of one field that have the query's dimension, and the condition of the question; of one moment."""

    @property
    def conditional(self) -> bool:
        """Whether there is a condition."""
        ...

    def matching(self) -> Iterable[Packed]:
        """The vectors of the rows that satisfy the condition, in parts."""
        ...

    def keys(self) -> Sequence[int]:
        """The rows that satisfy the condition."""
        ...

    def satisfying(self, keys: Sequence[int]) -> set[int]:
        """Those of the rows that satisfy the condition."""
        ...


class Ranking:
    """One question for the nearest rows, those that tie with the last of them too."""

    def __init__(self, vectors: Vectors, near: Near) -> None:
        self._vectors, self._near = vectors, near

    def from_matrix(self, matrix: Matrix) -> tuple[Ranked, str]:
        """The nearest rows, and how they were found."""
        if not self._vectors.conditional:
            return self._nearest(matrix, self._near.top_k), "exact matrix in memory"
        sample = matrix.sample(SAMPLE)
        share = len(self._vectors.satisfying(sample)) / max(len(sample), 1)
        if share > FEW:
            found = self._overfetched(matrix, share)
            if found is not None:
                return found, "exact matrix in memory, condition on the nearest"
        positions = matrix.positions(self._vectors.keys())
        return self._nearest(matrix, self._near.top_k, positions), "exact matrix in memory, condition first"

    def streamed(self) -> tuple[Ranked, str]:
        """The nearest rows without a matrix that is kept, and how they were found."""
        from heaven_core.matrix import packed_matrix

        best: Ranked = []
        for part in self._vectors.matching():
            matrix = packed_matrix(len(self._near.query), [part])
            best = sorted(best + self._nearest(matrix, self._near.top_k), key=_distance)
            best = with_ties(best, self._near.top_k)
        return best, "exact: vectors read from the table"

    def _nearest(self, matrix: Matrix, count: int, positions: Any = None) -> Ranked:
        return matrix.nearest(self._near.query, count, self._near.metric, positions, ties=True)

    def _overfetched(self, matrix: Matrix, share: float) -> Ranked | None:
        """The nearest rows that satisfy the condition, from more of the nearest; None if those grow too many."""
        wanted = int(1.5 * self._near.top_k / share) + 10
        while wanted <= max(matrix.size // 5, 1000):
            near = self._nearest(matrix, wanted)
            satisfying = self._vectors.satisfying([key for key, _ in near])
            found = [one for one in near if one[0] in satisfying]
            if len(found) >= self._near.top_k or len(near) == matrix.size:
                return with_ties(found, self._near.top_k)
            wanted *= 4
        return None


def _distance(pair: tuple[int, float]) -> float:
    return pair[1]


def with_ties(ranked: Ranked, count: int) -> Ranked:
    """The first `count`, and those that are as far away as the last of them."""
    if len(ranked) <= count:
        return ranked
    farthest = ranked[count - 1][1]
    return [one for one in ranked if one[1] <= farthest]


def cut(ranked: Ranked, count: int, first: Callable[[Sequence[int], int], Sequence[int]]) -> Ranked:
    """The first `count`, of rows at one distance those with the first ids: `first` says which of some rows they are."""
    if len(ranked) <= count:
        return ranked
    inside = [one for one in ranked if one[1] < ranked[count - 1][1]]
    tied = [key for key, _ in ranked[len(inside) :]]
    return inside + [(key, ranked[count - 1][1]) for key in first(tied, count - len(inside))]


def ranked_rows(request: Scan, found: list[tuple[Any, ...]], distances: Mapping[int, float], how: str) -> Rows:
    """The answer from rows that begin with key and id: by distance unless an order was asked for, cut and capped."""
    if not request.order:
        found.sort(key=lambda row: (distances[row[0]], row[1]))
    stop = None if request.limit is None else request.offset + request.limit
    tuples = [(*row[2:], distances[row[0]]) for row in found[request.offset : stop]]
    check_rows(len(tuples), request.limits)
    check_bytes(tuples, request.limits)
    names, codes, _ = shape(request.layout, request.columns)
    return Rows((*names, "_distance"), (*codes, None), tuples, notes=(how,))
