"""Exact nearest vectors over an in-memory matrix.

One float32 matrix per vector field, with the ids of its rows; a query is one
single-threaded matrix-vector product (several BLAS threads stall each other on
small machines), and a second look in 64 bits at the rows that may be nearest.
numpy is imported here and nowhere else in the kernel, at first use.

Not here: when a matrix is worth its memory; whoever keeps one decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from heaven_core.errors import InvalidValue

METRICS = ("cosine", "l2", "dot")

_ROWS = 4096
"""How many rows are taken to 64 bits at once."""
_TINY, _HUGE = 1e-15, 1e15
"""Lengths between which 32-bit products neither vanish nor overflow."""


class Matrix:
    """Vectors by row, in the order of `ids`, which is ascending so that ties resolve by id."""

    def __init__(self, ids: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        import numpy

        self.ids = ids
        self.vectors: Any = numpy.asarray(vectors, dtype=numpy.float32)
        self._norms: Any = None

    def nearest(
        self, query: Sequence[float], top_k: int, metric: str, positions: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """The `top_k` nearest rows as (position, distance), nearest first, ties by id.

        Distances: cosine `1 - cos`, l2 the Euclidean distance, dot the negative product.
        A stored zero vector is at cosine distance 1. `positions` restricts the rows.
        """
        import numpy

        if not len(self.ids) or top_k <= 0:
            return []
        rows = numpy.arange(len(self.ids)) if positions is None else numpy.asarray(positions, dtype=numpy.int64)
        vector = numpy.asarray(query, dtype=numpy.float32)
        with numpy.errstate(all="ignore"):
            if top_k < len(rows):
                rough = self._distances(vector, metric, None if positions is None else rows)
                rows = rows[self._candidates(rough, vector, metric, top_k)]
            exact = self._exact(vector, metric, rows)
        order = numpy.argsort(exact, kind="stable")[:top_k]
        return [(int(rows[index]), float(exact[index])) for index in order]

    def _distances(self, query: Any, metric: str, rows: Any) -> Any:
        """Distances by one 32-bit product: equal vectors may differ in their last digits, by their place."""
        import numpy
        from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]

        matrix = self.vectors if rows is None else self.vectors[rows]
        if metric == "cosine":
            query = (query / _length(query)).astype(numpy.float32)
        with threadpool_limits(1, user_api="blas"):
            if metric == "l2":
                return numpy.sqrt(((matrix - query) ** 2).sum(axis=1))
            products = matrix @ query
        if metric == "dot":
            return -products
        norms = self.norms() if rows is None else self.norms()[rows]
        return 1.0 - numpy.where((norms > _TINY) & (norms < _HUGE), products / norms, numpy.nan)

    def _candidates(self, rough: Any, query: Any, metric: str, top_k: int) -> Any:
        """Positions of all that may be among the `top_k` nearest once rounding is allowed for."""
        import numpy

        edge = numpy.partition(rough, top_k - 1)[top_k - 1]
        margin = 4.0 * (len(query) + 8) * float(numpy.finfo(numpy.float32).eps)
        if metric == "dot":
            margin *= float(self.norms().max()) * float(_length(query))
        elif metric == "l2":
            margin *= float(edge)
        return numpy.flatnonzero(~(rough > edge + margin + _TINY))  # what is no number stays in

    def _exact(self, query: Any, metric: str, rows: Any) -> Any:
        """Distances in 64 bits, each row for itself, so that equal vectors have equal ones."""
        import numpy

        parts = [self._exact_part(query, metric, rows[at : at + _ROWS]) for at in range(0, len(rows), _ROWS)]
        return numpy.concatenate(parts) if parts else numpy.zeros(0)

    def _exact_part(self, query: Any, metric: str, rows: Any) -> Any:
        import numpy

        vectors, wanted = self.vectors[rows].astype(numpy.float64), query.astype(numpy.float64)
        if metric == "l2":
            return numpy.sqrt(((vectors - wanted) ** 2).sum(axis=1))
        products = (vectors * wanted).sum(axis=1)
        if metric == "dot":
            return 0.0 - products
        norms = numpy.sqrt((vectors**2).sum(axis=1))
        return 1.0 - numpy.where(norms == 0, 0.0, products / (norms * _length(query)))

    def norms(self) -> Any:
        """The rows' lengths, computed once."""
        import numpy

        if self._norms is None:
            self._norms = numpy.sqrt((self.vectors.astype(numpy.float64) ** 2).sum(axis=1))
        return self._norms


def _length(vector: Any) -> Any:
    import numpy

    return numpy.sqrt((vector.astype(numpy.float64) ** 2).sum())


def check_query(entity: str, field: str, query: Sequence[float], metric: str) -> None:
    """Refuse a query vector that has no direction where the metric needs one.

    Raises:
        InvalidValue: a vector of no numbers; a zero vector under cosine.
    """
    if not query:
        raise InvalidValue.at(entity, field, None, list(query), "has no dimensions; give a number for each")
    if metric == "cosine" and not any(query):
        raise InvalidValue.at(entity, field, None, list(query), "is a zero vector, which has no cosine; use l2 or dot")
