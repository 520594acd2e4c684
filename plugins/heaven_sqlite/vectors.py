"""Nearest vectors in SQLite: float32 blobs, and the exact matrix of them in memory.

A field's vectors are read once and kept (`heaven_core.matrix_cache`) as of the last
write that touched the entity, which `hb_vectors` says. What does not fit the budget
is read again for each question, a part at a time.

Not here: which rows are the nearest (`heaven_core.ranking`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Layout, Near, Rows, Scan
from heaven_core.matrix_cache import MatrixCache, Name
from heaven_core.ranking import Ranked, Ranking, cut, ranked_rows
from heaven_core.sql import Sql, entity_table, quote, where_sql
from heaven_core.types import canonical_json
from heaven_sqlite import statements

if TYPE_CHECKING:
    from heaven_core.matrix import Packed
    from heaven_sqlite.connection import Connection

PART = 4096


def version(connection: Connection, entity: str) -> int:
    """The version of an entity's vectors, which grows with each write that touches them; 0 for none."""
    try:
        row = connection.execute(statements.VECTOR_VERSION, (entity,)).fetchone()
    except sqlite3.OperationalError:
        if connection.execute("select 1 from sqlite_master where name = 'hb_vectors'").fetchone() is not None:
            raise
        row = None  # a file of before there was such a table, and no write since
    return 0 if row is None else row[0]


def put_version(connection: Connection, entity: str, version: int) -> None:
    """Say that the write touches the entity."""
    connection.execute(statements.VECTOR_VERSIONS)
    connection.execute("insert or replace into hb_vectors values (?, ?)", (entity, version))


def nearest(connection: Connection, request: Scan, cache: MatrixCache | None) -> Rows:
    """The rows that are nearest among those that satisfy the condition; without a cache they are read anew."""
    near = request.near
    assert near is not None
    with _one_moment(connection):
        vectors = _Vectors(connection, request.layout, near, where_sql(request.where))
        ranked, how = _ranked(connection, vectors, request.layout, near, cache)
        found = cut(ranked, near.top_k, partial(_first, connection, request.layout))
        return _rows(connection, request, found, how)


@contextmanager
def _one_moment(connection: Connection) -> Generator[None]:
    """Let several statements see the same: inside a transaction they do."""
    if connection.in_transaction:
        yield
        return
    connection.execute("begin")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("rollback")


class _Vectors:
    """The vectors of one field that have the query's dimension, with the condition of the question."""

    def __init__(self, connection: Connection, layout: Layout, near: Near, condition: Sql) -> None:
        self._connection, self._condition = connection, condition
        self._table, self._name = entity_table(layout.entity), f"t.{quote(near.field.name)}"
        self._dim = len(near.query)

    # what a cache reads ------------------------------------------------------------------------------------------

    def count(self) -> int:
        return self._connection.execute(f"select count(*) from {self._table}").fetchone()[0]

    def everything(self) -> Iterator[Packed]:
        return self._parts("1", ())

    def of(self, keys: Sequence[int]) -> Packed:
        found: list[tuple[int, bytes]] = []
        for numbers, packed in self._parts("t._rowid in (select value from json_each(?))", (canonical_json(keys),)):
            size = 4 * self._dim
            found += [(number, packed[place * size : (place + 1) * size]) for place, number in enumerate(numbers)]
        return [number for number, _ in found], b"".join(packed for _, packed in found)

    def _parts(self, condition: str, values: tuple[Any, ...]) -> Iterator[Packed]:
        text = f"select t._rowid, {self._name} from {self._table} t where length({self._name}) = ? and ({condition})"
        cursor = self._connection.execute(text, (4 * self._dim, *values))
        while rows := cursor.fetchmany(PART):
            yield [row[0] for row in rows], b"".join([row[1] for row in rows])

    # what ranking asks -------------------------------------------------------------------------------------------

    @property
    def conditional(self) -> bool:
        return bool(self._condition[0])

    def matching(self) -> Iterator[Packed]:
        text, values = self._condition
        return self._parts(text or "1", values)

    def keys(self) -> list[int]:
        text, values = self._condition
        rows = self._connection.execute(f"select t._rowid from {self._table} t where {text}", values).fetchall()
        return [number for (number,) in rows]

    def satisfying(self, keys: Sequence[int]) -> set[int]:
        text, values = self._condition
        among = f"select t._rowid from {self._table} t where t._rowid in (select value from json_each(?)) and ({text})"
        return {number for (number,) in self._connection.execute(among, (canonical_json(list(keys)), *values))}


def _ranked(
    connection: Connection, vectors: _Vectors, layout: Layout, near: Near, cache: MatrixCache | None
) -> tuple[Ranked, str]:
    """The nearest rows, those that tie with the last of them too, and how they were found."""
    ranking = Ranking(vectors, near)
    if cache is not None:
        name = Name(layout.entity, near.field.name, len(near.query))
        matrix = cache.get(name, version(connection, layout.entity), vectors)
        if matrix is not None:
            return ranking.from_matrix(matrix)
    return ranking.streamed()


def _first(connection: Connection, layout: Layout, keys: Sequence[int], count: int) -> list[int]:
    """Of these rows those with the first ids."""
    text = (
        f"select _rowid from {entity_table(layout.entity)} where _rowid in (select value from json_each(?)) "
        'order by "object_id" limit ?'
    )
    return [key for (key,) in connection.execute(text, (canonical_json(list(keys)), count)).fetchall()]


def _rows(connection: Connection, request: Scan, ranked: Ranked, how: str) -> Rows:
    """The rows that are asked for, in order, with their distances."""
    layout, distances = request.layout, dict(ranked)
    columns = ", ".join(f"t.{quote(name)}" for name in request.columns)
    text = (
        f'select t._rowid, t."object_id", {columns} from {entity_table(layout.entity)} t '
        "where t._rowid in (select value from json_each(?))" + statements.order_sql(layout, request.order)
    )
    found = connection.execute(text, (canonical_json(list(distances)),)).fetchall()
    return ranked_rows(request, found, distances, how)
