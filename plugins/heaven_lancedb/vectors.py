"""Nearest vectors in LanceDB: the exact matrix in memory within its budget, else LanceDB's own search, made exact.

A matrix is of one version of a table. Beyond the budget LanceDB finds more than are asked for, and their distances
are computed anew in 64 bits, until none that it left out could be nearer: so every engine has the same order and the
same distances.

Not here: how vectors are compared (`heaven_core.matrix`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from heaven_core.backend import Near
from heaven_core.matrix import Matrix, matrix_of
from heaven_lancedb.handlers import id_set

MORE = 20
"""How many rows beyond those asked for are looked at first."""
SLACK = 1e-4
"""By how much LanceDB's own distances, in 32 bits, may be wrong, relative to their size."""

Ranked = list[tuple[str, float]]


class Kept(NamedTuple):
    """The vectors of one version: a matrix whose keys are places in the list of ids, which is in order."""

    version: int
    matrix: Matrix
    ids: list[str]
    places: dict[str, int]


class Vectors:
    """The matrices of one open engine."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._kept: dict[tuple[str, str, int], Kept] = {}
        self._lock = threading.Lock()

    def nearest(self, table: Any, entity: str, near: Near, within: Sequence[str] | None) -> tuple[Ranked, str]:
        """The nearest rows, of one distance those with the first ids; and how they were found."""
        kept = self._matrix(table, (entity, near.field.name, len(near.query)))
        if kept is None:
            return searched(table, near, within), "exact: LanceDB's search, distances computed anew"
        places = None if within is None else [kept.places[one] for one in within if one in kept.places]
        found = kept.matrix.nearest(near.query, near.top_k, near.metric, places)
        how = "exact matrix in memory" + ("" if within is None else ", condition first")
        return [(kept.ids[place], distance) for place, distance in found], how

    def _matrix(self, table: Any, key: tuple[str, str, int]) -> Kept | None:
        with self._lock:
            version = table.version
            kept = self._kept.get(key)
            if kept is not None and kept.version == version:
                return kept
            _, name, dim = key
            if 4 * dim * table.count_rows() > self._budget:
                return None
            self._kept.pop(key, None)
            rows = table.search().select(["object_id", name]).where(f"`{name}` is not null").to_arrow()
            pairs = zip(rows.column("object_id").to_pylist(), rows.column(name).to_pylist(), strict=True)
            fitting = sorted((one, vector) for one, vector in pairs if len(vector) == dim)
            ids = [one for one, _ in fitting]
            matrix = matrix_of([vector for _, vector in fitting])
            kept = Kept(version, matrix, ids, {one: place for place, one in enumerate(ids)})
            self._make_room(matrix.size_bytes)
            self._kept[key] = kept
            return kept

    def _make_room(self, size_bytes: int) -> None:
        while self._kept and sum(one.matrix.size_bytes for one in self._kept.values()) + size_bytes > self._budget:
            del self._kept[next(iter(self._kept))]

    def forget(self) -> None:
        """Give up all matrices."""
        with self._lock:
            self._kept = {}


def searched(table: Any, near: Near, within: Sequence[str] | None) -> Ranked:
    """The nearest rows by LanceDB's search, widened until the order of the first ones is certain."""
    name, wanted = near.field.name, near.top_k + MORE
    condition = f"`{name}` is not null" + ("" if within is None else f" and {id_set(within)[0]}")
    while True:
        search = table.search(list(near.query), vector_column_name=name).distance_type(near.metric)
        rows = search.where(condition, prefilter=True).select(["object_id", name, "_distance"]).limit(wanted).to_arrow()
        ids, rough = rows.column("object_id").to_pylist(), rows.column("_distance").to_pylist()
        order = sorted(range(len(ids)), key=ids.__getitem__)
        vectors = rows.column(name).to_pylist()
        matrix = matrix_of([vectors[place] for place in order])
        found = matrix.nearest(near.query, near.top_k, near.metric)
        ranked = [(ids[order[place]], distance) for place, distance in found]
        if len(ids) < wanted or _is_certain(ranked, near, rough):
            return ranked
        wanted *= 4


def _is_certain(ranked: Ranked, near: Near, rough: Sequence[float]) -> bool:
    """Whether everything that was left out is farther than the last one that counts."""
    if len(ranked) < near.top_k:
        return False
    last, edge = ranked[-1][1], max(rough)
    if near.metric == "l2":
        edge = edge**0.5  # LanceDB's are squares
    elif near.metric == "dot":
        edge -= 1.0  # LanceDB's are one less the product
    return last < edge - SLACK * max(1.0, abs(edge), abs(last))
