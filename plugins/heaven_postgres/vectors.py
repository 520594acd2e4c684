"""Nearest vectors in PostgreSQL: the exact matrix in memory, or the index of pgvector beyond its budget.

Vectors lie as bytes of 32-bit floats. A field's are read once and kept (`heaven_core.matrix_cache`) as of the last
write that touched the entity, which `hb.vectors` says. A field that asks for the strategy `vector` has them once more
as pgvector's type, with an HNSW index for cosine, if the server has pgvector: what does not fit the budget is then
found by that index, which may miss some, and says so. Distances are computed here in any case.

Not here: which rows are the nearest (`heaven_core.ranking`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Layout, Near, Rows, Scan
from heaven_core.matrix_cache import MatrixCache, Name
from heaven_core.ranking import Ranked, Ranking, cut, ranked_rows
from heaven_core.sql import Sql, quote, where_sql
from heaven_core.sql_scan import order_sql
from heaven_postgres.handlers import id_set
from heaven_postgres.statements import near_column, table

if TYPE_CHECKING:
    from heaven_core.matrix import Packed
    from heaven_postgres.pool import Connection

PART = 4096
EF_SEARCH = 200
"""How many candidates pgvector keeps while it searches; more find more, and take longer."""
MOST_BY_INDEX = 500
"""The most rows that the index is asked for."""

Fetch = Callable[[Sql], list[tuple[Any, ...]]]

SET_VERSION = """insert into "hb.vectors" values (?, ?) on conflict (entity) do update set version = excluded.version"""
VERSION = 'select version from "hb.vectors" where entity = ?'


def version(connection: Connection, entity: str) -> int:
    """The version of an entity's vectors; 0 for none."""
    found = connection.rows(VERSION, (entity,))
    return found[0][0] if found else 0


def nearest(connection: Connection, request: Scan, cache: MatrixCache | None, pgvector: str | None) -> Rows:
    """The rows that are nearest among those that satisfy the condition; on a connection that sees one moment.

    Without a cache vectors are read anew. `pgvector` is the schema of it, quoted, if it has the field's vectors, too.
    """
    near, layout = request.near, request.layout
    assert near is not None
    vectors = _Vectors(connection, layout, near, where_sql(request.where, id_set))
    ranked, how = _ranked(vectors, layout, near, cache, pgvector)
    return _rows(connection, request, cut(ranked, near.top_k, partial(_first, connection, layout)), how)


def _ranked(
    vectors: _Vectors, layout: Layout, near: Near, cache: MatrixCache | None, pgvector: str | None
) -> tuple[Ranked, str]:
    ranking = Ranking(vectors, near)
    if cache is None:
        return ranking.streamed()
    name, now = Name(layout.entity, near.field.name, len(near.query)), version(vectors.connection, layout.entity)
    matrix = cache.get(name, now, vectors)
    if matrix is not None:
        return ranking.from_matrix(matrix)
    able = near.metric == "cosine" and near.top_k <= MOST_BY_INDEX
    if pgvector is not None and able and cache.is_beyond(name, now):
        found = vectors.by_index(pgvector)
        if len(found) >= near.top_k:
            return found, f"approximate: pgvector's HNSW, ef_search {EF_SEARCH}; it may miss some"
    return ranking.streamed()


class _Vectors:
    """The vectors of one field that have the query's dimension, with the condition of the question."""

    def __init__(self, connection: Connection, layout: Layout, near: Near, condition: Sql) -> None:
        self.connection, self._near, self._condition = connection, near, condition
        self._table, self._name = table(layout.entity), f"t.{quote(near.field.name)}"
        self._size = 4 * len(near.query)

    # what a cache reads ------------------------------------------------------------------------------------------

    def count(self) -> int:
        return self.connection.rows(f"select count(*) from {self._table}")[0][0]

    def everything(self) -> Iterator[Packed]:
        return self._parts("true", ())

    def of(self, keys: Sequence[int]) -> Packed:
        parts = list(self._parts("t._rowid = any(?::bigint[])", (list(keys),)))
        return [key for found, _ in parts for key in found], b"".join(packed for _, packed in parts)

    def _parts(self, condition: str, values: tuple[Any, ...]) -> Iterator[Packed]:
        text = f"select t._rowid, {self._name} from {self._table} t where length({self._name}) = ? and ({condition})"
        keys: list[int] = []
        packed: list[bytes] = []
        for key, vector in self.connection.stream(text, (self._size, *values)):
            keys.append(key)
            packed.append(vector)
            if len(keys) == PART:
                yield keys, b"".join(packed)
                keys, packed = [], []
        if keys:
            yield keys, b"".join(packed)

    # what ranking asks -------------------------------------------------------------------------------------------

    @property
    def conditional(self) -> bool:
        return bool(self._condition[0])

    def matching(self) -> Iterator[Packed]:
        text, values = self._condition
        return self._parts(text or "true", values)

    def keys(self) -> list[int]:
        text, values = self._condition
        return [key for (key,) in self.connection.rows(f"select t._rowid from {self._table} t where {text}", values)]

    def satisfying(self, keys: Sequence[int]) -> set[int]:
        text, values = self._condition
        among = f"select t._rowid from {self._table} t where t._rowid = any(?::bigint[]) and ({text})"
        return {key for (key,) in self.connection.rows(among, (list(keys), *values))}

    # pgvector ----------------------------------------------------------------------------------------------------

    def by_index(self, pgvector: str) -> Ranked:
        """The nearest rows by pgvector's index, with exact distances; inside a transaction.

        Its scan goes on until enough rows satisfy the condition: without `iterative_scan` it would end early.
        """
        from heaven_core.matrix import packed_matrix
        from heaven_postgres.writing import vector_text

        self.connection.run(
            f"set local hnsw.ef_search = {EF_SEARCH}; set local hnsw.iterative_scan = strict_order; "
            "set local enable_seqscan = off"
        )
        text, values = self._condition
        more = f" and ({text})" if text else ""
        near = f"t.{near_column(self._near.field.name)}"
        rows = self.connection.rows(
            f"select t._rowid, {self._name} from {self._table} t where {near} is not null{more} "
            f"order by {near} operator({pgvector}.<=>) ?::{pgvector}.vector limit ?",
            (*values, vector_text(self._near.query), 2 * self._near.top_k),
        )
        self.connection.run("set local enable_seqscan = default")  # the transaction may go on to other things
        matrix = packed_matrix(self._size // 4, [([key for key, _ in rows], b"".join(vector for _, vector in rows))])
        return matrix.nearest(self._near.query, self._near.top_k, self._near.metric, ties=True)


def _first(connection: Connection, layout: Layout, keys: Sequence[int], count: int) -> list[int]:
    """Of these rows those with the first ids."""
    text = f'select _rowid from {table(layout.entity)} where _rowid = any(?::bigint[]) order by "object_id" limit ?'
    return [key for (key,) in connection.rows(text, (list(keys), count))]


def _rows(connection: Connection, request: Scan, ranked: Ranked, how: str) -> Rows:
    """The rows that are asked for, in order, with their distances."""
    layout, distances = request.layout, dict(ranked)
    columns = ", ".join(f"t.{quote(name)}" for name in request.columns)
    text = (
        f'select t._rowid, t."object_id", {columns} from {table(layout.entity)} t '
        "where t._rowid = any(?::bigint[])" + order_sql(request.order)
    )
    found = connection.rows(text, (list(distances),))
    return ranked_rows(request, found, distances, how)
