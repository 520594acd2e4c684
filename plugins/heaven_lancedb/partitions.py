"""LanceDB's indexes: of the ids, so that a row is found by its id, and on request of vectors in partitions.

The index of vectors (IVF_FLAT) puts near vectors into one partition; a search looks into the partitions that are
nearest to the query and may miss vectors in others. So it is used where the backend's option `nprobes` says how many
partitions are searched, beyond the budget of the matrix and by cosine only, and each answer says so.

Indexes are made and brought up to date by writers. Rows that are not in an index yet are found without it.
Not here: exact answers (`heaven_lancedb.vectors`).
"""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from math import isqrt
from typing import Any

from heaven_core.backend import Layout, Near
from heaven_core.handlers import IdSet, NoneOf, QueryFragment, Where
from heaven_lancedb.reading import Reader, condition
from heaven_lancedb.vectors import Ranked, nearest_of

LEAST_ROWS = 20_000
"""Rows from which an index of vectors is worth its making."""
GROWN = 4
"""How many times the rows that it was made for an index takes before it is made anew."""
KEPT = timedelta(minutes=10)
"""How long a version stays that another process may be reading."""


def index_ids(table: Any) -> None:
    """Make the index of ids."""
    lancedb: Any = import_module("lancedb.index")
    table.create_index("object_id", config=lancedb.BTree())


def tidy(table: Any, layout: Layout, *, partitioned: bool) -> None:
    """Join small files, remove old versions, bring the indexes up to date; with `partitioned` those of vectors too."""
    names = [one.name for one in table.list_indices()]
    if "object_id_idx" not in names:
        index_ids(table)
    if partitioned:
        rows: int = table.count_rows()
        for one in layout.columns:
            if one.field.dtype.kind == "vector" and rows >= LEAST_ROWS:
                _partition(table, one.name, rows, names)
    table.optimize(cleanup_older_than=KEPT)


def _partition(table: Any, field: str, rows: int, names: list[str]) -> None:
    """Make the index of a field's vectors, of about as many partitions as each has rows."""
    known = {name: count for name in names if (count := _partitions(name, field)) is not None}
    if any(rows <= GROWN * count**2 for count in known.values()):
        return
    lancedb: Any = import_module("lancedb.index")
    count = isqrt(rows)
    config = lancedb.IvfFlat(distance_type="cosine", num_partitions=count)
    table.create_index(field, config=config, name=_index_name(field, count))
    for name in known.keys() - {_index_name(field, count)}:
        table.drop_index(name)


def _index_name(field: str, count: int) -> str:
    return f"{field}_ivf_{count}"


def _partitions(name: str, field: str) -> int | None:
    """How many partitions an index of a field's vectors has: its name says it, as LanceDB does not."""
    count = name.removeprefix(f"{field}_ivf_")
    return int(count) if count != name and count.isdigit() else None


def partitions_of(table: Any, field: str) -> int | None:
    """How many partitions the index of a field's vectors has; None without an index."""
    found = [_partitions(one.name, field) for one in table.list_indices()]
    return max((one for one in found if one is not None), default=None)


def probed(reader: Reader, near: Near, where: Where | None, nprobes: int) -> tuple[Ranked, str] | None:
    """The nearest rows of some partitions, and a sentence that says so; None where only an exact search will do."""
    if near.metric != "cosine" or not _is_text(where):
        return None
    count = partitions_of(reader.table, near.field.name)
    if count is None:
        return None
    ranked = nearest_of(_search(reader, near, where, nprobes), near)
    if len(ranked) < near.top_k:  # an index does not have every vector: a zero vector has no place in it
        return None
    return ranked, f"IVF_FLAT, {min(nprobes, count)} of {count} partitions: approximate"


def _search(reader: Reader, near: Near, where: Where | None, nprobes: int) -> Any:
    name = near.field.name
    search = reader.table.search(list(near.query), vector_column_name=name).distance_type(near.metric)
    search = search.nprobes(nprobes).maximum_nprobes(0)  # further partitions where these have too few rows
    if (text := condition(where)) is not None:
        search = search.where(text, prefilter=True)
    search = search.select(["object_id", name, "_distance"]).limit(near.top_k)
    return search.to_arrow(timeout=reader.timeout()).to_batches()


def _is_text(where: Where | None) -> bool:
    """Whether a condition is LanceDB's own: ids are read and searched exactly, which costs less."""
    if where is None or isinstance(where, QueryFragment):
        return True
    if isinstance(where, IdSet):
        return False
    return _is_text(where.part) if isinstance(where, NoneOf) else all(map(_is_text, where.parts))
