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
from typing import Any

from heaven_core.backend import Layout, Near
from heaven_core.handlers import IdSet, NoneOf, QueryFragment, Where
from heaven_lancedb.reading import Reader, condition
from heaven_lancedb.vectors import Ranked, nearest_of

TIDY_COMMITS = 100
"""Commits after which a table is tidied up."""
TIDY_ROWS = 20_000
"""Rows that were put, as half of those that there are at least, after which it is too."""
INDEX_ROWS, INDEX_SHARE = 5000, 0.2
"""Rows that were put, as such a share of those that there are at least, after which the index of ids has them."""
LEAST_ROWS = 20_000
"""Rows from which an index of vectors is worth its making."""
KEPT = timedelta(minutes=10)
"""How long a version stays that another process may be reading."""


class Upkeep:
    """What was written to one table since it was cared for: in this process, and what others left in small files."""

    def __init__(self) -> None:
        self._commits = self._rows = self._unindexed = 0
        self._is_first = True

    def committed(self, table: Any, layout: Layout, rows: int, *, partitioned: bool) -> bool:
        """Count a commit that put some rows, and care for the table where it is due; whether it was."""
        if self._is_first:
            self._commits, self._is_first = table.stats()["fragment_stats"]["num_small_fragments"], False
        self._commits, self._rows, self._unindexed = self._commits + 1, self._rows + rows, self._unindexed + rows
        if self._commits >= TIDY_COMMITS or (self._rows >= TIDY_ROWS and 2 * self._rows >= table.count_rows()):
            tidy(table, layout, partitioned=partitioned)
            self._commits = self._rows = self._unindexed = 0
            return True
        if self._unindexed >= INDEX_ROWS and self._unindexed >= INDEX_SHARE * table.count_rows():
            index_ids(table)
            self._unindexed = 0
            return True
        return False


def index_ids(table: Any) -> None:
    """Make the index of ids, anew where there is one."""
    lancedb: Any = import_module("lancedb.index")
    table.create_index("object_id", config=lancedb.BTree())


def tidy(table: Any, layout: Layout, *, partitioned: bool) -> None:
    """Join small files, remove old versions, bring the index of ids up to date; with `partitioned` those of vectors."""
    known = _indexed(table)
    vectors = [one.name for one in layout.columns if one.field.dtype.kind == "vector"] if partitioned else []
    if "object_id" not in known:
        index_ids(table)
    for name in known.keys() & set(vectors):  # else LanceDB joins its partitions to a few, loudly
        table.drop_index(known[name])
    table.optimize(cleanup_older_than=KEPT)
    if table.count_rows() >= LEAST_ROWS:
        lancedb: Any = import_module("lancedb.index")
        for name in vectors:
            table.create_index(name, config=lancedb.IvfFlat(distance_type="cosine"))


def _indexed(table: Any) -> dict[str, str]:
    """The columns that have an index, with its name."""
    return {column: one.name for one in table.list_indices() for column in one.columns}


def probed(reader: Reader, near: Near, where: Where | None, nprobes: int) -> tuple[Ranked, str] | None:
    """The nearest rows of some partitions, and a sentence that says so; None where only an exact search will do."""
    if near.metric != "cosine" or not _is_text(where):
        return None
    if near.field.name not in _indexed(reader.table):
        return None
    ranked = nearest_of(_search(reader, near, where, nprobes), near)
    if len(ranked) < near.top_k:  # other partitions have more, or rows that no index has, such as a zero vector
        return None
    return ranked, f"IVF_FLAT, nprobes={nprobes}: approximate"


def _search(reader: Reader, near: Near, where: Where | None, nprobes: int) -> Any:
    name = near.field.name
    search = reader.table.search(list(near.query), vector_column_name=name).distance_type(near.metric)
    search = search.nprobes(nprobes)
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
