"""How rows get into SQLite's tables and out of them: the entity's table, side tables, the full-text index.

A batch is compared with what is stored first; rows that are equal are left alone,
so their `_v` stays. All inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core.backend import Batch, Layout, Written
from heaven_core.codecs import decoder, encode_column, encoded, item_encoder
from heaven_core.errors import HeavenError, UniqueViolation
from heaven_core.sql import encoded_item, entity_table, quote, reversed_column, side_table
from heaven_core.text import index_text
from heaven_core.types import canonical_json
from heaven_sqlite import statements
from heaven_sqlite.failures import translated

if TYPE_CHECKING:
    from heaven_sqlite.connection import Connection

CHUNK = 5000


class Changed(NamedTuple):
    """A row of the batch that differs from the stored one: its position, the rowid, and the values to store."""

    position: int
    rowid: int
    row: tuple[Any, ...]


RowIds = list[Sequence[int]]


def write(connection: Connection, layout: Layout, batch: Batch, lsn: int, backend: str, rowids: RowIds) -> Written:
    """Insert new rows, replace changed ones; nothing of the batch stays if one fails.

    `rowids` receives the numbers of the rows that were changed, where `statements.is_numbered`.

    Raises:
        UniqueViolation: with the position in the batch as `row`.
        sqlite3.Error: anything else, which the engine turns into its own words.
    """
    if not batch.ids:
        return Written((), (), 0)
    if len(batch.ids) == 1 and not statements.has_satellites(layout):
        return _write_one(connection, layout, batch, lsn, backend, rowids)
    connection.execute("savepoint hb_write")
    try:
        written = _write(connection, layout, batch, lsn, rowids)
    except BaseException as error:
        _undo(connection)
        if isinstance(error, sqlite3.IntegrityError):
            raise _violation(connection, layout, batch, error, backend) from error
        raise
    connection.execute("release hb_write")
    return written


def _undo(connection: Connection) -> None:
    """Back to the savepoint; a full or failing disk may have undone the whole transaction."""
    if connection.in_transaction:
        connection.execute("rollback to hb_write")
        connection.execute("release hb_write")


def _write_one(connection: Connection, layout: Layout, batch: Batch, lsn: int, backend: str, rowids: RowIds) -> Written:
    """One row of one table is one statement, which leaves nothing behind if it fails."""
    try:
        return _write(connection, layout, batch, lsn, rowids)
    except sqlite3.IntegrityError as error:
        raise _violation(connection, layout, batch, error, backend) from error


def _write(connection: Connection, layout: Layout, batch: Batch, lsn: int, rowids: RowIds) -> Written:
    count = len(batch.ids)
    if batch.fresh or (count > 100 and _is_empty(connection, layout)):
        order = range(count) if batch.fresh else sorted(range(count), key=batch.ids.__getitem__)
        _insert(connection, layout, batch, order, lsn, rowids)
        return Written(range(count), (), 0)
    inserted: list[int] = []
    changed: list[Changed] = []
    for start in range(0, count, CHUNK):
        _compare(connection, layout, batch, range(start, min(start + CHUNK, count)), inserted, changed)
    if changed:
        rowids.append([one.rowid for one in changed])
        _update(connection, layout, batch, changed, lsn)
    if inserted:
        _insert(connection, layout, batch, sorted(inserted, key=batch.ids.__getitem__), lsn, rowids)
    return Written(inserted, [one.position for one in changed], count - len(inserted) - len(changed))


def _is_empty(connection: Connection, layout: Layout) -> bool:
    return connection.execute(f"select 1 from {entity_table(layout.entity)} limit 1").fetchone() is None


def _compare(
    connection: Connection,
    layout: Layout,
    batch: Batch,
    positions: Sequence[int],
    inserted: list[int],
    changed: list[Changed],
) -> None:
    """Tell the new rows from those that differ from the stored ones."""
    ids = batch.ids
    part = canonical_json([ids[position] for position in positions])
    found = {row[1]: row for row in connection.execute(statements.existing(layout), (part,))}
    if len(found) < len(positions):
        inserted.extend(position for position in positions if ids[position] not in found)
        positions = [position for position in positions if ids[position] in found]
    for position, row in zip(positions, zip(*_encoded(layout, batch, positions), strict=True), strict=True):
        stored = found[row[0]]
        if stored[1:] != row:
            changed.append(Changed(position, stored[0], row))


def _encoded(layout: Layout, batch: Batch, positions: Sequence[int]) -> Iterator[Iterable[Any]]:
    """The columns of the rows at these positions as they are stored, made while they are read."""
    everything = len(positions) == len(batch.ids) and isinstance(positions, range)
    for one in layout.columns:
        column = batch.columns[one.name]
        yield encoded(one.field.dtype, column if everything else [column[position] for position in positions])


def _reversed(layout: Layout, batch: Batch, positions: Sequence[int]) -> Iterator[Iterable[Any]]:
    """The texts of fields that are indexed by their endings, from their ends to their beginnings."""
    for name in statements.reversed_fields(layout):
        column = batch.columns[name]
        yield [None if (text := column[position]) is None else text[::-1] for position in positions]


def _insert(
    connection: Connection, layout: Layout, batch: Batch, order: Sequence[int], lsn: int, numbers: RowIds
) -> None:
    columns = [*_encoded(layout, batch, order), *_reversed(layout, batch, order)]
    if not statements.is_numbered(layout):
        connection.executemany(statements.insert(layout), zip(*columns, repeat(lsn)))
        return
    last = connection.execute(f"select max(_rowid) from {entity_table(layout.entity)}").fetchone()[0] or 0
    rowids = range(last + 1, last + 1 + len(order))
    numbers.append(rowids)
    connection.executemany(statements.insert_numbered(layout), zip(rowids, *columns, repeat(lsn)))
    _insert_satellites(connection, layout, batch, order, rowids)


def _update(connection: Connection, layout: Layout, batch: Batch, changed: Sequence[Changed], lsn: int) -> None:
    rowids = [one.rowid for one in changed]
    _free_unique(connection, layout, rowids)
    endings = zip(*_reversed(layout, batch, [one.position for one in changed]), strict=True)
    more = endings if statements.reversed_fields(layout) else repeat(())
    parameters = ((*one.row[1:], *ends, lsn, one.rowid) for one, ends in zip(changed, more))  # noqa: B905
    connection.executemany(statements.update(layout), parameters)
    if statements.has_satellites(layout):
        _delete_satellites(connection, layout, rowids)
        _insert_satellites(connection, layout, batch, [one.position for one in changed], rowids)


def _free_unique(connection: Connection, layout: Layout, rowids: Sequence[int]) -> None:
    """Let rows of one batch exchange unique values: SQLite checks each row, we promise the batch."""
    names = [quote(one.name) for one in layout.columns if one.field.unique]
    if names and len(rowids) > 1:
        sets = ", ".join(f"{name} = null" for name in names)
        text = f"update {entity_table(layout.entity)} set {sets} where _rowid = ?"
        connection.executemany(text, ((rowid,) for rowid in rowids))


def _insert_satellites(
    connection: Connection, layout: Layout, batch: Batch, positions: Sequence[int], rowids: Sequence[int]
) -> None:
    for one in statements.side_fields(layout):
        text = f"insert into {side_table(layout.entity, one.name)} values (?, ?, ?)"
        connection.executemany(text, _items(one.field, batch.columns[one.name], positions, rowids))
    for index in statements.text_indexes(layout):
        texts = [indexed(index, [batch.columns[name][position] for position in positions]) for name in index.names]
        connection.executemany(index.insert, zip(rowids, *texts, strict=True))


def indexed(index: statements.TextIndex, texts: Sequence[str | None]) -> Sequence[str | None]:
    """What the index keeps of these texts."""
    return [None if text is None else index_text(text) for text in texts] if index.function else texts


def _items(field: Any, column: Sequence[Any], positions: Sequence[int], rowids: Sequence[int]) -> Iterator[Any]:
    lists = ((rowid, column[position] or ()) for position, rowid in zip(positions, rowids, strict=True))
    if field.dtype.item is not None and item_encoder(field.dtype) is None:
        return ((rowid, place, item) for rowid, items in lists for place, item in enumerate(items))
    return ((rowid, place, encoded_item(field, item)) for rowid, items in lists for place, item in enumerate(items))


def _delete_satellites(connection: Connection, layout: Layout, rowids: Sequence[int]) -> None:
    marked = [(rowid,) for rowid in rowids]
    for one in statements.side_fields(layout):
        connection.executemany(f"delete from {side_table(layout.entity, one.name)} where row = ?", marked)
    for index in statements.text_indexes(layout):
        connection.executemany(f"delete from {index.table} where rowid = ?", marked)


def delete(connection: Connection, layout: Layout, ids: Sequence[str]) -> tuple[list[str], Sequence[int]]:
    """Delete rows with all that belongs to them; the ids that existed, in the order given, and the rows' numbers."""
    table = entity_table(layout.entity)
    found: dict[str, int] = {}
    connection.execute("savepoint hb_write")
    try:
        for start in range(0, len(ids), CHUNK):
            part = canonical_json(list(ids[start : start + CHUNK]))
            text = f'select "object_id", _rowid from {table} where "object_id" in (select value from json_each(?))'
            found.update(connection.execute(text, (part,)).fetchall())
        rowids = list(found.values())
        if statements.has_satellites(layout):
            _delete_satellites(connection, layout, rowids)
        connection.executemany(f"delete from {table} where _rowid = ?", [(rowid,) for rowid in rowids])
    except BaseException:
        _undo(connection)
        raise
    connection.execute("release hb_write")
    return [one for one in dict.fromkeys(ids) if one in found], list(found.values())


def fill_satellites(connection: Connection, before: Layout, after: Layout) -> None:
    """Fill the text indexes that an extended entity has anew from the rows that are there."""
    for index in statements.text_indexes(after):
        if index not in statements.text_indexes(before):
            connection.execute(index.fill)


def rebuild(connection: Connection, index: statements.TextIndex) -> None:
    """Make a text index anew from the rows."""
    from heaven_sqlite import textcheck  # opening a workspace does without it

    textcheck.drop(connection, index)
    connection.execute(index.create)
    connection.execute(index.fill)


def rebuild_reversed(connection: Connection, layout: Layout, name: str) -> None:
    """Make the reversed texts of a field anew from the rows."""
    column = reversed_column(name)
    wrong = f"{column} is not hb_reversed({quote(name)})"
    connection.execute(f"update {entity_table(layout.entity)} set {column} = hb_reversed({quote(name)}) where {wrong}")


def rebuild_every_fulltext(connection: Connection) -> None:
    """Make all full-text indexes anew from what stands in the file; a damaged one is left for a check to find."""
    from heaven_sqlite import textcheck

    for (entity,) in connection.execute(statements.FULLTEXT_TABLES).fetchall():
        connection.execute("savepoint hb_rebuild")
        try:
            columns = connection.execute("select name from pragma_table_info(?)", (f"e_{entity}._fts",)).fetchall()
            names = [name.removeprefix("f_") for (name,) in columns]
            rebuild(connection, statements.fulltext_index(entity, names))
        except sqlite3.DatabaseError as error:
            if not textcheck.is_damage(error):  # the disk, not the tables
                raise
            connection.execute("rollback to hb_rebuild")
        connection.execute("release hb_rebuild")


def rebuild_side(connection: Connection, layout: Layout, name: str) -> None:
    """Make an array field's item table anew from the rows."""
    field = layout.by_name[name].field
    code = decoder(field.dtype)
    assert code is not None
    table = side_table(layout.entity, name)
    connection.execute(f"delete from {table}")
    rows = connection.execute(f"select _rowid, {quote(name)} from {entity_table(layout.entity)}").fetchall()
    items = [
        (rowid, place, encoded_item(field, item))
        for rowid, text in rows
        if text is not None
        for place, item in enumerate(code(text))
    ]
    connection.executemany(f"insert into {table} values (?, ?, ?)", items)


def _violation(
    connection: Connection, layout: Layout, batch: Batch, error: sqlite3.IntegrityError, backend: str
) -> HeavenError:
    """Which row of the batch broke which uniqueness: found by asking, since SQLite names the column only."""
    for one in layout.columns:
        if one.field.unique and str(error).endswith(f".{one.name}"):
            column = batch.columns[one.name]
            position = _offender(connection, layout, batch, one.name)
            value = None if position is None else column[position]
            return UniqueViolation.at(
                layout.entity, one.name, position, value, "is taken by another row; the field is unique"
            )
    return translated(error, backend)


def _offender(connection: Connection, layout: Layout, batch: Batch, name: str) -> int | None:
    ids, field = set(batch.ids), layout.by_name[name].field
    text = f'select "object_id" from {entity_table(layout.entity)} where {quote(name)} = ?'
    seen: set[Any] = set()
    for position, value in enumerate(encode_column(field.dtype, batch.columns[name])):
        if value is None:
            continue
        holder = connection.execute(text, (value,)).fetchone()
        if value in seen or (holder is not None and holder[0] not in ids):
            return position
        seen.add(value)
    return None
