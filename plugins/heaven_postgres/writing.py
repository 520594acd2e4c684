"""How rows get into PostgreSQL's tables: by COPY where they are many, as parameters where they are few.

The server compares a batch with what is stored and leaves equal rows alone, so their `_v` stays. All inside the
caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import psycopg

from heaven_core.backend import Batch, Layout, Written
from heaven_core.codecs import encode_column, encoded
from heaven_core.errors import HeavenError, UniqueViolation
from heaven_core.sql import quote
from heaven_core.text import tokens
from heaven_postgres import statements
from heaven_postgres.failures import translated
from heaven_postgres.pool import Connection

FEW = 20
"""Rows up to which they are parameters of one statement."""
LAST_PLACE = 16_383
"""The last place of a word in a text that PostgreSQL tells from others."""

Taken = (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation)


def write(
    connection: Connection, layout: Layout, batch: Batch, lsn: int, backend: str, near: Sequence[str]
) -> tuple[Written, Sequence[int]]:
    """Insert new rows, replace changed ones; nothing of the batch stays if one fails. With the numbers of the rows.

    Raises:
        UniqueViolation: with the position in the batch as `row`.
        psycopg.Error: anything else, which the engine turns into its own words.
    """
    if not batch.ids:
        return Written((), (), 0), ()
    connection.run("savepoint hb_write")
    try:
        written = _write(connection, layout, batch, lsn, near)
    except BaseException as error:
        if not connection.broken:
            connection.run("rollback to savepoint hb_write; release savepoint hb_write")
            if isinstance(error, Taken):
                raise _violation(connection, layout, batch, error, backend) from error
        raise
    connection.run("release savepoint hb_write")
    return written


def _write(
    connection: Connection, layout: Layout, batch: Batch, lsn: int, near: Sequence[str]
) -> tuple[Written, Sequence[int]]:
    count = len(batch.ids)
    if count <= FEW:
        rows = list(_rows(layout, batch, lsn, near))
        text = statements.put_values(layout, near, count)
        return _told(batch.ids, connection.rows(text, [value for row in rows for value in row]))
    if not statements.vector_fields(layout) and (batch.fresh or _is_empty(connection, layout)):
        _copy(connection, layout, batch, lsn, near, statements.table(layout.entity))
        return Written(range(count), (), 0), ()
    name, created = statements.stage(layout, near)
    connection.run(created)
    _copy(connection, layout, batch, lsn, near, name)
    told = _told(batch.ids, connection.rows(statements.put_staged(layout, near)))
    connection.run(f"truncate {name}")  # a transaction may write more than once
    return told


def _is_empty(connection: Connection, layout: Layout) -> bool:
    return not connection.rows(f"select 1 from {statements.table(layout.entity)} limit 1")


def _told(ids: Sequence[str], rows: Sequence[tuple[str, bool, int]]) -> tuple[Written, Sequence[int]]:
    """What the server says that it did, by positions in the batch."""
    new = {object_id: is_new for object_id, is_new, _ in rows}
    inserted = [position for position, one in enumerate(ids) if new.get(one) is True]
    updated = [position for position, one in enumerate(ids) if new.get(one) is False]
    return Written(inserted, updated, len(ids) - len(new)), [number for _, _, number in rows]


def _copy(connection: Connection, layout: Layout, batch: Batch, lsn: int, near: Sequence[str], target: str) -> None:
    cursor = connection.raw.cursor()
    with cursor.copy(statements.copy(layout, near, target)) as copy:
        for row in _rows(layout, batch, lsn, near):
            copy.write_row(row)


def _rows(layout: Layout, batch: Batch, lsn: int, near: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of a batch as the columns of `statements.written`."""
    columns: list[Iterable[Any]] = [encoded(one.field.dtype, batch.columns[one.name]) for one in layout.columns]
    columns.append(repeat(lsn))
    for name in statements.fulltext_fields(layout):
        words = [words_of(text) for text in batch.columns[name]]
        columns += [[one for one, _ in words], [length for _, length in words]]
    for name in near:
        columns.append([None if one is None else vector_text(one) for one in batch.columns[name]])
    return zip(*columns)  # noqa: B905  # repeat has no end


def words_of(text: str | None) -> tuple[str | None, int]:
    """A text's words as PostgreSQL reads them into a `tsvector`, each with its places, and how many there are."""
    if text is None:
        return None, 0
    places: dict[str, list[str]] = {}
    words = tokens(text)
    for place, word in enumerate(words, 1):
        places.setdefault(word, []).append(str(min(place, LAST_PLACE)))
    return " ".join(f"'{word}':{','.join(found)}" for word, found in places.items()), len(words)


def vector_text(vector: Any) -> str:
    """A vector as pgvector reads it."""
    if isinstance(vector, bytes):
        from array import array

        vector = array("f", vector)
    return f"[{','.join(map(repr, vector))}]"


def delete(connection: Connection, layout: Layout, ids: Sequence[str]) -> tuple[list[str], Sequence[int]]:
    """Delete rows; the ids that existed, in the order given, and the rows' numbers."""
    found = dict(connection.rows(statements.delete(layout), (list(ids),)))
    return [one for one in dict.fromkeys(ids) if one in found], list(found.values())


def refill_words(connection: Connection, entity: str, fields: Sequence[str]) -> None:
    """Make the words of some fields anew from the texts."""
    source = statements.table(entity)
    for field in fields:
        words, length = statements.words_column(field), statements.length_column(field)
        name = quote("hb.words")
        connection.run(
            f'create temporary table {name} (id text collate "C", words tsvector, length integer) on commit drop'
        )
        rows = connection.rows(f'select "object_id", {quote(field)} from {source}')
        with connection.raw.cursor().copy(f"copy {name} from stdin") as copy:
            for object_id, text in rows:
                copy.write_row((object_id, *words_of(text)))
        connection.run(
            f"update {source} t set {words} = w.words, {length} = w.length from {name} w "
            f'where t."object_id" = w.id and (t.{words}, t.{length}) is distinct from (w.words, w.length)'
        )
        connection.run(f"drop table {name}")


def _violation(connection: Connection, layout: Layout, batch: Batch, error: psycopg.Error, backend: str) -> HeavenError:
    """Which row of the batch broke which uniqueness: found by asking, since the server names the constraint only."""
    for one in layout.columns:
        if one.field.unique:
            position = _offender(connection, layout, batch, one.name)
            if position is not None:
                return UniqueViolation.at(
                    layout.entity,
                    one.name,
                    position,
                    batch.columns[one.name][position],
                    "is taken by another row; the field is unique",
                )
    return translated(error, backend)


def _offender(connection: Connection, layout: Layout, batch: Batch, name: str) -> int | None:
    field = layout.by_name[name].field
    values = list(encode_column(field.dtype, batch.columns[name]))
    text = f'select {quote(name)}, "object_id" from {statements.table(layout.entity)} where {quote(name)} = any(?)'
    wanted = [value for value in values if value is not None]
    holders = dict(connection.rows(text, (wanted,))) if wanted else {}
    ids, seen = set(batch.ids), set[Any]()
    for position, value in enumerate(values):
        if value is None:
            continue
        if value in seen or (value in holders and holders[value] not in ids):
            return position
        seen.add(value)
    return None
