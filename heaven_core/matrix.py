"""Exact nearest vectors over an in-memory matrix.

One float32 matrix per vector field, with the keys of its rows; a query is one
single-threaded matrix-vector product (several BLAS threads stall each other on
small machines), and a second look in 64 bits at the rows that may be nearest.
A matrix never changes: `with_changes` gives another one, which shares memory with
it, so readers need no lock. numpy is imported here and nowhere else in the kernel
but in `heaven_core.arrow`, at first use.

Not here: when a matrix is worth its memory, and keeping one in step with what is
stored (`heaven_core.matrix_cache`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from heaven_core.errors import InvalidValue

METRICS = ("cosine", "l2", "dot")

_ROWS = 4096
"""How many rows are taken to 64 bits at once."""
_TINY, _HUGE = 1e-15, 1e15
"""Lengths between which 32-bit products neither vanish nor overflow."""
_GROWTH = 1.25
_FEW_KEYS = 16
_MOST_DEAD = 0.25
"""The share of rows that are there no more, past which a matrix is made anew."""

Packed = tuple[Sequence[int], Any]
"""Some rows: their keys, and their vectors as little-endian 32-bit floats, in bytes or an array."""


class _Store:
    """Memory that matrices share: rows up to what a matrix counts belong to it and never change."""

    __slots__ = ("factors", "keys", "norms", "used", "vectors")

    def __init__(self, room: int, dim: int) -> None:
        import numpy

        self.keys: Any = numpy.empty(room, numpy.int64)
        self.vectors: Any = numpy.empty((room, dim), numpy.float32)
        self.norms: Any = numpy.empty(room)
        self.factors: Any = numpy.empty(room, numpy.float32)
        self.used = 0

    def append(self, keys: Any, vectors: Any) -> None:
        """Put rows behind those that are used; there is room for them."""
        import numpy

        start, self.used = self.used, self.used + len(keys)
        self.keys[start : self.used], self.vectors[start : self.used] = keys, vectors
        for at in range(0, len(keys), _ROWS):
            part = vectors[at : at + _ROWS]
            norms = numpy.sqrt(numpy.einsum("ij,ij->i", part, part, dtype=numpy.float64))
            self.norms[start + at : start + at + len(part)] = norms
            sound = (norms > _TINY) & (norms < _HUGE)
            self.factors[start + at : start + at + len(part)] = numpy.where(sound, 1 / (norms + ~sound), numpy.nan)

    def with_room(self, more: int, kept: Any = None) -> _Store:
        """This or, where `more` rows do not fit or only the `kept` ones are wanted, a copy with room for them."""
        if kept is None and self.used + more <= len(self.keys):
            return self
        chosen = slice(0, self.used) if kept is None else kept
        count = self.used if kept is None else len(kept)
        store = _Store(int((count + more) * _GROWTH), self.vectors.shape[1])
        for part in ("keys", "vectors", "norms", "factors"):
            getattr(store, part)[:count] = getattr(self, part)[chosen]
        store.used = count
        return store


class Matrix:
    """Vectors by row, each with a key. Made by `matrix_of`, `packed_matrix` or `with_changes`."""

    __slots__ = ("_dead", "_dead_count", "_sorted", "_store", "count", "keys", "vectors")

    def __init__(self, store: _Store, count: int, dead: Any = None, dead_count: int = 0) -> None:
        self._store, self.count = store, count
        self.keys: Any = store.keys[:count]
        self.vectors: Any = store.vectors[:count]
        self._dead, self._dead_count = dead, dead_count
        self._sorted: Any = None

    @property
    def size(self) -> int:
        """How many vectors there are to find."""
        return self.count - self._dead_count

    @property
    def size_bytes(self) -> int:
        """How much memory its rows take; room for more is not used until there are more."""
        return self.count * (4 * self.vectors.shape[1] + 20)

    # changing ----------------------------------------------------------------------------------------------------

    def with_changes(self, gone: Iterable[int], put: Packed) -> Matrix:
        """A matrix without the rows of some keys and with others; a key that is in both is replaced."""
        import numpy

        keys = numpy.asarray(put[0], dtype=numpy.int64)
        vectors = _unpacked(put[1], self.vectors.shape[1])
        dead = numpy.zeros(self.count, dtype=bool) if self._dead is None else self._dead.copy()
        dead[self.positions([*gone, *put[0]])] = True
        dead_count = int(dead.sum())
        if dead_count > _MOST_DEAD * self.count or self._store.used != self.count:
            store = self._store.with_room(len(keys), numpy.flatnonzero(~dead))
            store.append(keys, vectors)
            return Matrix(store, store.used)
        store = self._store.with_room(len(keys))
        store.append(keys, vectors)
        dead = numpy.concatenate([dead, numpy.zeros(len(keys), dtype=bool)])
        return Matrix(store, store.used, dead if dead_count else None, dead_count)

    # searching ---------------------------------------------------------------------------------------------------

    def positions(self, keys: Sequence[int]) -> Any:
        """Where the rows of these keys lie, in no order; keys that are not here are left out."""
        import numpy

        wanted = numpy.unique(numpy.asarray(keys, dtype=numpy.int64))
        if self._sorted is None and len(wanted) <= _FEW_KEYS:
            found = [numpy.flatnonzero(self.keys == key) for key in wanted]
            places = numpy.concatenate(found) if found else numpy.zeros(0, dtype=numpy.int64)
            return places if self._dead is None else places[~self._dead[places]]
        if self._sorted is None:
            alive = numpy.arange(self.count) if self._dead is None else numpy.flatnonzero(~self._dead)
            order = numpy.argsort(self.keys[alive], kind="stable")
            self._sorted = (self.keys[alive][order], alive[order])
        known, places = self._sorted
        at = numpy.searchsorted(known, wanted)
        at[at == len(known)] = 0
        return places[at[known[at] == wanted]] if len(known) else numpy.zeros(0, dtype=numpy.int64)

    def sample(self, count: int) -> list[int]:
        """The keys of at most `count` rows by chance, the same ones each time."""
        import numpy

        chosen = numpy.arange(self.count)
        if count < self.count:  # twice as many, as some may be dead or come twice
            chosen = numpy.unique(numpy.random.default_rng(0).integers(0, self.count, 2 * count))
        alive = chosen if self._dead is None else chosen[~self._dead[chosen]]
        keys: list[int] = numpy.random.default_rng(1).permutation(self.keys[alive])[:count].tolist()
        return keys

    def nearest(
        self, query: Sequence[float], top_k: int, metric: str, positions: Any = None, *, ties: bool = False
    ) -> list[tuple[int, float]]:
        """The `top_k` nearest rows as (key, distance), nearest first, rows of one distance by position.

        With `ties`, all rows that are as far away as the last of them come too.
        Distances: cosine `1 - cos`, l2 the Euclidean distance, dot the negative product.
        A stored zero vector is at cosine distance 1. `positions` restricts the rows.
        """
        import numpy

        if top_k <= 0 or not self.size:
            return []
        vector = numpy.asarray(query, dtype=numpy.float32)
        with numpy.errstate(all="ignore"):
            rows = self._candidates(vector, metric, top_k, positions)
            exact = self._exact(vector, metric, rows)
        order: Any = numpy.argsort(exact, kind="stable")
        if not ties or top_k >= len(order):
            order = order[:top_k]
        else:
            farthest = exact[order[top_k - 1]]
            order = order[: numpy.count_nonzero(exact[order] <= farthest)]
        keys: list[int] = self.keys[rows[order]].tolist()
        distances: list[float] = exact[order].tolist()
        return list(zip(keys, distances, strict=True))

    def _candidates(self, query: Any, metric: str, top_k: int, positions: Any) -> Any:
        """Positions of all rows that may be among the `top_k` nearest once rounding is allowed for, ascending."""
        import numpy

        rows = None if positions is None else numpy.sort(numpy.asarray(positions, dtype=numpy.int64))
        among = self.size if rows is None else len(rows)
        if top_k >= among:
            if rows is not None:
                return rows
            return numpy.arange(self.count) if self._dead is None else numpy.flatnonzero(~self._dead)
        rough, error = self._rough(query, metric, rows)
        if rows is None and self._dead is not None:
            rough[self._dead] = numpy.inf
        farthest = numpy.partition(rough + error, top_k - 1)[top_k - 1]
        found = numpy.flatnonzero(~(rough - error > farthest))  # what is no number stays in
        if rows is None and self._dead is not None:
            found = found[~self._dead[found]]
        return found if rows is None else rows[found]

    def _rough(self, query: Any, metric: str, rows: Any) -> tuple[Any, Any]:
        """Distances (of l2: their squares) by one 32-bit product, and by how much each may be wrong."""
        import numpy

        matrix = self.vectors if rows is None else self.vectors[rows]
        norms: Any = self._norms(rows)
        length = float(_length(query))
        if metric == "cosine":
            query = (query / length).astype(numpy.float32)
        with _one_thread():
            products = matrix @ query
        sound = numpy.isfinite(products)
        if not sound.all():
            products[~sound] = numpy.nan  # what overflowed on the way says nothing
        share = 4.0 * (len(query) + 8) * float(numpy.finfo(numpy.float32).eps)
        if metric == "cosine":
            return 1.0 - products * self._factors(rows), share
        error = share * length * norms + _TINY
        if metric == "dot":
            return -products, error
        return norms**2 - products - products + length**2, 2 * error  # twice a product may be too large for 32 bits

    def _norms(self, rows: Any) -> Any:
        norms = self._store.norms[: self.count]
        return norms if rows is None else norms[rows]

    def _factors(self, rows: Any) -> Any:
        """What a product with a row becomes a cosine by, in 32 bits; not a number where those do not suffice."""
        factors = self._store.factors[: self.count]
        return factors if rows is None else factors[rows]

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


def matrix_of(vectors: Sequence[Sequence[float]]) -> Matrix:
    """A matrix of these vectors, all of one dimension; the keys are their positions."""
    import numpy

    rows = numpy.asarray(vectors, dtype=numpy.float32)
    store = _Store(len(rows), rows.shape[1] if len(rows) else 0)
    store.append(numpy.arange(len(rows)), rows)
    return Matrix(store, len(rows))


def packed_matrix(dim: int, parts: Iterable[Packed], room: int = 0) -> Matrix:
    """A matrix of packed vectors of `dim` numbers; `room` says about how many there will be."""
    store = _Store(int(room * _GROWTH), dim)
    for keys, packed in parts:
        store = store.with_room(len(keys))
        store.append(keys, _unpacked(packed, dim))
    return Matrix(store, store.used)


def _unpacked(packed: Any, dim: int) -> Any:
    import numpy

    return numpy.frombuffer(packed, dtype="<f4").reshape(-1, dim)


def _length(vector: Any) -> Any:
    import numpy

    return numpy.sqrt((vector.astype(numpy.float64) ** 2).sum())


_limit: Callable[[], Any] | None = None


def _one_thread() -> Any:
    """BLAS on one thread for the length of a block; the libraries are looked for once per process."""
    global _limit
    if _limit is None:
        from threadpoolctl import ThreadpoolController  # pyright: ignore[reportMissingTypeStubs]

        controller: Any = ThreadpoolController()
        _limit = lambda: controller.limit(limits=1, user_api="blas")  # noqa: E731
    return _limit()


def check_query(entity: str, field: str, query: Sequence[float], metric: str) -> None:
    """Refuse a query vector that has no direction where the metric needs one.

    Raises:
        InvalidValue: a vector of no numbers; a zero vector under cosine.
    """
    if not query:
        raise InvalidValue.at(entity, field, None, list(query), "has no dimensions; give a number for each")
    if metric == "cosine" and not any(query):
        raise InvalidValue.at(entity, field, None, list(query), "is a zero vector, which has no cosine; use l2 or dot")
