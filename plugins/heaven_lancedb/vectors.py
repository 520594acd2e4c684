"""Nearest vectors in LanceDB: the exact matrix in memory within its budget, else the vectors read for each question.

A matrix is of one version of a table. Beyond the budget the vectors are read part by part, and each part is searched
as the matrix is, so the answer is the same to the last bit. LanceDB's own search is not asked: it computes in 32 bits
and leaves out vectors that it cannot compare, such as a zero vector by its cosine.

Not here: how vectors are compared (`heaven_core.matrix`), the search that may miss some (`heaven_lancedb.partitions`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from heaven_core.backend import Limits, Near
from heaven_core.matrix import Matrix, packed_matrix
from heaven_lancedb.reading import Reader

Ranked = list[tuple[str, float]]
"""Ids with their distances: the nearest first, of one distance those with the first ids."""


class Kept(NamedTuple):
    """The vectors of one version: a matrix whose keys are places in the list of ids, which is in order."""

    version: int
    matrix: Matrix
    ids: list[str]
    places: dict[str, int]

    def nearest(self, near: Near, within: Sequence[str] | None) -> Ranked:
        """The nearest rows, of all or of those with some ids."""
        places = None if within is None else [self.places[one] for one in within if one in self.places]
        found = self.matrix.nearest(near.query, near.top_k, near.metric, places)
        return [(self.ids[place], distance) for place, distance in found]


class Vectors:
    """The matrices of one open engine."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._kept: dict[tuple[str, str, int], Kept] = {}
        self._large: dict[tuple[str, str, int], int] = {}
        """The versions of which the budget was too small for the matrix."""
        self._lock = threading.Lock()

    def matrix(self, table: Any, version: int, entity: str, near: Near) -> Kept | None:
        """The matrix of a version's vectors of the query's dimension; None where the budget is too small for it."""
        key = (entity, near.field.name, len(near.query))
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept.version == version:
                return kept
            self._kept.pop(key, None)
            if self._large.get(key) == version or 4 * len(near.query) * table.count_rows() > self._budget:
                self._large[key] = version
                return None
            kept = _read(Reader(table, Limits(None, None, None)), version, near)
            self._make_room(kept.matrix.size_bytes)
            self._kept[key] = kept
            return kept

    def _make_room(self, size_bytes: int) -> None:
        while self._kept and sum(one.matrix.size_bytes for one in self._kept.values()) + size_bytes > self._budget:
            del self._kept[next(iter(self._kept))]

    def forget(self) -> None:
        """Give up all matrices."""
        with self._lock:
            self._kept = {}


def _read(reader: Reader, version: int, near: Near) -> Kept:
    import pyarrow  # pyright: ignore[reportMissingTypeStubs]

    pa: Any = pyarrow
    read = [_fitting(batch, near) for batch in reader.batches(("object_id", near.field.name), None)]
    parts: list[Any] = [part for part in read if len(part)]
    rows: list[Any] = pa.Table.from_batches(parts).sort_by("object_id").combine_chunks().to_batches() if parts else []
    ids = [one for part in rows for one in part.column("object_id").to_pylist()]
    places = {one: place for place, one in enumerate(ids)}
    packed = [(range(len(part)), _numbers(part, near)) for part in rows]
    return Kept(version, packed_matrix(len(near.query), packed, len(ids)), ids, places)


def nearest_of(batches: Iterable[Any], near: Near) -> Ranked:
    """The nearest of rows that are given in parts, each with `object_id` and the vector."""
    best: Ranked = []
    for batch in batches:
        part = _fitting(batch, near)
        if not len(part):
            continue
        matrix = packed_matrix(len(near.query), [(range(len(part)), _numbers(part, near))])
        ids = part.column("object_id")
        found = matrix.nearest(near.query, near.top_k, near.metric, ties=True)
        best += [(ids[place].as_py(), distance) for place, distance in found]
        best = sorted(best, key=_by_distance)[: near.top_k]
    return best


def _by_distance(pair: tuple[str, float]) -> tuple[float, str]:
    return pair[1], pair[0]


def _fitting(batch: Any, near: Near) -> Any:
    """The rows that have a vector of the query's dimension."""
    import pyarrow.compute  # pyright: ignore[reportMissingTypeStubs]

    pc: Any = pyarrow.compute
    fits = pc.equal(pc.list_value_length(batch.column(near.field.name)), len(near.query))
    return batch if fits.true_count == len(batch) else batch.filter(fits)


def _numbers(batch: Any, near: Near) -> Any:
    """The vectors of rows that all have one, one after the other."""
    return batch.column(near.field.name).flatten().to_numpy()
