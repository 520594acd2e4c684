"""Checking a SQLite file: its pages, its rows, and that indexes, side tables and full-text indexes agree with them.

What is computed from the rows can be made anew; a damaged row table cannot. Rows are read
without the indexes, which may be what is wrong.

Not here: whether what a text index keeps of its words is right (`heaven_sqlite.textcheck`).
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Column, Finding, Layout
from heaven_core.codecs import DAMAGE, Code, decoder
from heaven_core.core import ENTITY_TABLE, EXTENSION_TABLE, RESERVED
from heaven_core.sql import encoded_item, entity_table, quote, reversed_column, side_table
from heaven_core.types import Categorical, LogicalType, Refused
from heaven_sqlite import statements, textcheck, writing

if TYPE_CHECKING:
    from heaven_sqlite.connection import Connection

MOST_IDS = 10
"""Ids in the detail of a finding."""


_OF_AN_INDEX = re.compile(
    r"(?:row \S+ missing from|row \S+ values differ from|wrong # of entries in|non-unique entry in"
    r"|rowid not at end-of-record for row \S+ of) index (.+)",
    re.DOTALL,
)
"""What SQLite says of an index that does not agree with its table, though both can be read."""

_OF_A_TEXT_INDEX = re.compile(r".*FTS5 table ", re.DOTALL)
"""What SQLite 3.44 and later say of a text index, which is looked through here too."""

_PASSING = {sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
"""What says nothing of the file."""


def check(connection: Connection, layouts: Sequence[Layout], backend: str) -> list[Finding]:
    """Everything that is wrong in the file, as of one moment.

    Reads only, so nobody waits for it, also where the file is locked or read-only: what SQLite
    can look through only by a write is copied to temporary tables first, one text index at a time.
    """
    connection.execute("pragma temp_store = file")  # a copy is as large as the index
    connection.execute("begin")
    try:
        return list(_everything(connection, layouts, backend))
    finally:
        with suppress(sqlite3.Error):  # of a connection that was closed meanwhile
            if connection.in_transaction:
                connection.execute("rollback")
            connection.execute("pragma temp_store = memory")


def _everything(connection: Connection, layouts: Sequence[Layout], backend: str) -> Iterator[Finding]:
    stale = _stale_indexes(connection)
    if stale is None:
        yield Finding(backend, None, "damaged-pages", "the database file is damaged; restore a backup", False)
        return
    names = _names(connection)
    for layout in layouts:
        yield from _entity(connection, layout, names, stale, backend)
    known = {name for layout in layouts for _, _, name in _kept(layout)}
    for name in sorted(stale - known):  # of orphaned tables, and what somebody added
        yield Finding(backend, None, "stale-index", name[1:-1], True)
    yield from _orphans(connection, layouts, names, backend)


def _stale_indexes(connection: Connection) -> set[str] | None:
    """The indexes (quoted) that do not agree with their tables; None where the file itself is damaged."""
    found: set[str] = set()
    try:
        for (said,) in connection.execute(f"pragma integrity_check({2**31 - 1})"):
            if (one := _OF_AN_INDEX.fullmatch(said)) is not None:
                found.add(quote(one[1]))
            elif said != "ok" and not _OF_A_TEXT_INDEX.match(said):
                return None
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _PASSING:
            raise
        return None  # too damaged to be looked through
    return found


def _kept(layout: Layout) -> Iterator[tuple[Column, str, str]]:
    """The indexes of an entity, each with its column, kind and quoted name."""
    yield layout.columns[0], "unique", quote(f"sqlite_autoindex_e_{layout.entity}_1")
    for one in layout.columns:
        for kind, name, _ in statements.indexes(layout, one):
            yield one, kind, name


def _names(connection: Connection) -> set[str]:
    """The tables and indexes that are there."""
    return {quote(name) for (name,) in connection.execute("select name from sqlite_master")}


def _entity(
    connection: Connection, layout: Layout, names: set[str], stale: set[str], backend: str
) -> Iterator[Finding]:
    if entity_table(layout.entity) not in names:
        yield Finding(backend, layout.entity, "missing-table", "the entity's rows are gone", False)
        return
    unreadable = _unreadable(connection, layout)
    if unreadable:
        yield Finding(backend, layout.entity, "damaged-rows", f"values of {', '.join(unreadable)}", False)
        return
    for kind, detail, repairable in (
        *_rows(connection, layout),
        *_indexes(connection, layout, names, stale),
        *_copies(connection, layout, names),
    ):
        yield Finding(backend, layout.entity, kind, detail, repairable)


Found = Iterator[tuple[str, str, bool]]
"""Kind, detail, and whether it can be repaired."""


def _unreadable(connection: Connection, layout: Layout) -> list[str]:
    """The fields with a stored value that nobody wrote; one pass if there is none."""
    if _reads(connection, layout, layout.columns):
        return []
    return [one.name for one in layout.columns if not _reads(connection, layout, [one])]


def _reads(connection: Connection, layout: Layout, columns: Sequence[Column]) -> bool:
    codes = [(place, code) for place, one in enumerate(columns) if (code := _reader(one.field.dtype)) is not None]
    wanted = ", ".join(quote(one.name) for one in columns)
    try:
        for row in connection.execute(f"select {wanted} from {entity_table(layout.entity)} not indexed"):
            for place, code in codes:
                if row[place] is not None:
                    code(row[place])
    except (sqlite3.Error, Refused, *DAMAGE):
        return False
    return True


def _reader(dtype: LogicalType[Any]) -> Code | None:
    """What fails at a value that nobody wrote."""
    if isinstance(dtype, Categorical):
        return dict.fromkeys(dtype.values).__getitem__
    code = decoder(dtype)
    if dtype.kind != "vector" or code is None:
        return code
    return lambda value: dtype.check(code(value))  # any four bytes are a number, also one that is none


def _rows(connection: Connection, layout: Layout) -> Found:
    """Rows without a value that they must have, and rows that are newer than the last write."""
    required = [one.name for one in layout.columns if one.field.required]
    counts = [f"count(*) filter (where {quote(name)} is null)" for name in required]
    counts.append("count(*) filter (where _v > (select lsn from hb_state))")
    row = connection.execute(f"select {', '.join(counts)} from {entity_table(layout.entity)} not indexed").fetchone()
    for name, count in zip(required, row[:-1], strict=True):
        if count:
            yield "missing-values", f"rows without {name}, which is required: {count}", False
    if row[-1]:
        yield "wrong-versions", f"rows newer than the last write: {row[-1]}", True


def _indexes(connection: Connection, layout: Layout, names: set[str], stale: set[str]) -> Found:
    for one, kind, name in _kept(layout):
        if kind == "item" and side_table(layout.entity, one.name) not in names:
            continue
        if name in names and name not in stale:
            continue
        sharing = _sharing(connection, layout, one) if kind == "unique" else []
        if sharing:
            shown = ", ".join(sharing[:MOST_IDS]) + (", ..." if len(sharing) > MOST_IDS else "")
            yield "duplicate-values", f"{one.name} is unique and {len(sharing)} rows share values: {shown}", False
        else:
            yield "stale-index" if name in stale else "missing-index", _detail(one, kind), True


def _detail(one: Column, kind: str) -> str:
    return f"{one.name} ({kind})"


def _sharing(connection: Connection, layout: Layout, one: Column) -> list[str]:
    """The ids of rows that have the value of another row."""
    table, name = f"{entity_table(layout.entity)} not indexed", quote(one.name)
    shared = f"select {name} from {table} group by {name} having count(*) > 1"
    found = connection.execute(f'select "object_id" from {table} where {name} in ({shared}) order by "object_id"')
    return [object_id for (object_id,) in found]


def _copies(connection: Connection, layout: Layout, names: set[str]) -> Found:
    """What is kept beside the rows and does not agree with them."""
    for one in statements.side_fields(layout):
        if side_table(layout.entity, one.name) not in names or not _side_agrees(connection, layout, one.name):
            yield "stale-side-table", one.name, True
    for index in statements.text_indexes(layout):
        if index.table not in names or not _text_index_agrees(connection, index):
            yield f"stale-{index.kind}", ", ".join(index.names), True
    for name in statements.reversed_fields(layout):
        wrong = f"{reversed_column(name)} is not hb_reversed({quote(name)})"
        if connection.execute(
            f"select 1 from {entity_table(layout.entity)} not indexed where {wrong} limit 1"
        ).fetchone():
            yield "stale-endings", name, True


def _orphans(connection: Connection, layouts: Sequence[Layout], names: set[str], backend: str) -> Iterator[Finding]:
    """Tables of entities that the workspace has no record of."""
    records = entity_table(ENTITY_TABLE.id)
    if records not in names:  # then nothing here says which entities there are
        return
    known = {ENTITY_TABLE.id, EXTENSION_TABLE.id}
    known.update(one.entity for one in layouts if one.entity.startswith(RESERVED))
    known.update(one for (one,) in connection.execute(f'select "object_id" from {records}'))
    tables = connection.execute("select name from sqlite_master where type = 'table' and name glob 'e_*'")
    for entity in sorted({name[2:].split(".")[0] for (name,) in tables} - known):
        yield Finding(backend, entity, "orphaned-table", "its rows are there, and no record of what they are", False)


def _side_agrees(connection: Connection, layout: Layout, name: str) -> bool:
    field = layout.by_name[name].field
    code = decoder(field.dtype)
    assert code is not None
    rows = connection.execute(f"select _rowid, {quote(name)} from {entity_table(layout.entity)} not indexed")
    expected = Counter(
        (rowid, place, encoded_item(field, item))
        for rowid, text in rows
        if text is not None
        for place, item in enumerate(code(text))
    )
    kept = f"select row, pos, item from {side_table(layout.entity, name)} order by row, pos"  # by the table itself
    return expected == Counter(connection.execute(kept))


def _text_index_agrees(connection: Connection, index: statements.TextIndex) -> bool:
    try:
        return _texts_agree(connection, index) and textcheck.words_agree(connection, index)
    except sqlite3.DatabaseError as error:
        if not textcheck.is_damage(error):
            raise
        return False


def _texts_agree(connection: Connection, index: statements.TextIndex) -> bool:
    columns = ", ".join(map(quote, index.names))
    text = f"select _rowid, {columns} from {entity_table(index.entity)} not indexed order by _rowid"
    expected = ((row[0], *writing.indexed(index, row[1:])) for row in connection.execute(text))
    kept = connection.execute(f"select rowid, {index.columns} from {index.table} order by rowid")
    return all(one == other for one, other in zip_longest(expected, kept))


def mend(connection: Connection, layouts: Sequence[Layout], findings: Sequence[Finding]) -> None:
    """Make anew what follows from the rows."""
    by_entity = {layout.entity: layout for layout in layouts}
    for finding in findings:
        if finding.kind == "stale-index":
            _reindex(connection, by_entity.get(finding.entity or ""), finding.detail)
        layout = by_entity.get(finding.entity or "")
        if layout is None or not finding.repairable:
            continue
        for text in statements.satellites(layout, _names(connection)):
            with suppress(sqlite3.IntegrityError):  # of an index over values that are not unique
                connection.execute(text)
        for index in statements.text_indexes(layout):
            if finding.kind == f"stale-{index.kind}":
                writing.rebuild(connection, index)
        if finding.kind == "stale-endings":
            writing.rebuild_reversed(connection, layout, finding.detail)
        elif finding.kind == "stale-side-table":
            writing.rebuild_side(connection, layout, finding.detail)
        elif finding.kind == "wrong-versions":
            last = "(select lsn from hb_state)"  # that of the repair, which is a write like any other
            connection.execute(f"update {entity_table(layout.entity)} set _v = {last} where _v > {last}")


def _reindex(connection: Connection, layout: Layout | None, detail: str) -> None:
    """Make anew the index that a finding names: by its column and kind, or by itself where it is of no entity."""
    named = (
        [quote(detail)]
        if layout is None
        else [name for one, kind, name in _kept(layout) if _detail(one, kind) == detail]
    )
    for name in set(named) & _names(connection):
        with suppress(sqlite3.IntegrityError):  # of an index over values that are not unique
            connection.execute(f"reindex {name}")
