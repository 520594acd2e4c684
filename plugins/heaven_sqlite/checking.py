"""Checking a SQLite file: its pages, and that side tables and full-text indexes agree with the rows.

What is computed from the rows can be made anew; a damaged row table cannot.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from heaven_core.backend import Finding, Layout
from heaven_core.codecs import DAMAGE, decoder
from heaven_core.sql import encoded_item, entity_table, fulltext_table, quote, side_table
from heaven_core.text import index_text
from heaven_sqlite import statements, writing

if TYPE_CHECKING:
    from heaven_sqlite.connection import Connection


def check(connection: Connection, layouts: Sequence[Layout], backend: str) -> list[Finding]:
    """Everything that is wrong in the file."""
    if not _pages_agree(connection):
        return [Finding(backend, None, "damaged-pages", "the database file is damaged; restore a backup", False)]
    return [one for layout in layouts for one in _entity(connection, layout, backend)]


def _pages_agree(connection: Connection) -> bool:
    try:
        return connection.execute("pragma quick_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError:  # too damaged to be looked through
        return False


def _entity(connection: Connection, layout: Layout, backend: str) -> Iterator[Finding]:
    known = _tables(connection)
    if entity_table(layout.entity) not in known:
        yield Finding(backend, layout.entity, "missing-table", "the entity's rows are gone", False)
        return
    unreadable = _unreadable(connection, layout)
    if unreadable:
        yield Finding(backend, layout.entity, "damaged-rows", f"values of {', '.join(unreadable)}", False)
        return
    for one in statements.side_fields(layout):
        if side_table(layout.entity, one.name) not in known or not _side_agrees(connection, layout, one.name):
            yield Finding(backend, layout.entity, "stale-side-table", one.name, True)
    texts = statements.fulltext_fields(layout)
    if texts and (fulltext_table(layout.entity) not in known or not _fulltext_agrees(connection, layout)):
        yield Finding(backend, layout.entity, "stale-fulltext", ", ".join(texts), True)


def _tables(connection: Connection) -> set[str]:
    return {quote(name) for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}


def _unreadable(connection: Connection, layout: Layout) -> list[str]:
    """The fields with a stored value that nobody wrote."""
    return [one.name for one in layout.columns if not _decodes(connection, layout, one.name)]


def _decodes(connection: Connection, layout: Layout, name: str) -> bool:
    code = decoder(layout.by_name[name].field.dtype)
    try:
        for (value,) in connection.execute(f"select {quote(name)} from {entity_table(layout.entity)}"):
            if code is not None and value is not None:
                code(value)
    except (sqlite3.Error, *DAMAGE):
        return False
    return True


def _side_agrees(connection: Connection, layout: Layout, name: str) -> bool:
    field = layout.by_name[name].field
    code = decoder(field.dtype)
    assert code is not None
    rows = connection.execute(f"select _rowid, {quote(name)} from {entity_table(layout.entity)}")
    expected = Counter(
        (rowid, place, encoded_item(field, item))
        for rowid, text in rows
        if text is not None
        for place, item in enumerate(code(text))
    )
    return expected == Counter(connection.execute(f"select row, pos, item from {side_table(layout.entity, name)}"))


def _fulltext_agrees(connection: Connection, layout: Layout) -> bool:
    names = statements.fulltext_fields(layout)
    columns = ", ".join(map(quote, names))
    indexed = ", ".join(quote(f"f_{name}") for name in names)
    rows = connection.execute(f"select _rowid, {columns} from {entity_table(layout.entity)} order by _rowid")
    kept = connection.execute(f"select rowid, {indexed} from {fulltext_table(layout.entity)} order by rowid")
    expected = ((row[0], *(None if text is None else index_text(text) for text in row[1:])) for row in rows)
    return list(expected) == kept.fetchall()


def mend(connection: Connection, layouts: Sequence[Layout], findings: Sequence[Finding]) -> None:
    """Make anew what follows from the rows."""
    by_entity = {layout.entity: layout for layout in layouts}
    for finding in findings:
        layout = by_entity.get(finding.entity or "")
        if layout is None:
            continue
        for text in statements.satellites(layout, _tables(connection)):
            connection.execute(text)
        if finding.kind == "stale-fulltext":
            writing.rebuild_fulltext(connection, layout.entity, statements.fulltext_fields(layout))
        elif finding.kind == "stale-side-table":
            writing.rebuild_side(connection, layout, finding.detail)
