"""Checking a schema: that each entity's table has its columns, its values can be read, and its words are those of
its texts.

Not here: the server's own files and indexes, which its administrator checks (`pg_amcheck`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heaven_core.backend import Finding, Layout
from heaven_core.codecs import DAMAGE
from heaven_core.core import ENTITY_TABLE, RESERVED
from heaven_core.sql import decoders, quote
from heaven_core.text import tokens
from heaven_postgres import statements
from heaven_postgres.pool import Connection
from heaven_postgres.writing import refill_words


def check(connection: Connection, layouts: Sequence[Layout], backend: str) -> Iterator[Finding]:
    """Everything that is wrong, as of one moment."""
    tables = {name for (name,) in connection.rows(f"{statements.TABLES[:-1]}current_schema()")}
    for layout in layouts:
        if layout.entity not in tables:
            yield Finding(backend, layout.entity, "missing-table", "the entity's rows are gone", False)
            continue
        columns = {name for (name,) in connection.rows(statements.COLUMNS, (layout.entity,))}
        missing = sorted({*layout.names, "_v"} - columns)
        if missing:
            yield Finding(backend, layout.entity, "missing-column", ", ".join(missing), False)
            continue
        unreadable = _unreadable(connection, layout)
        if unreadable:
            yield Finding(backend, layout.entity, "damaged-rows", f"values of {', '.join(unreadable)}", False)
            continue
        last = f"(select lsn from {statements.STATE_TABLE})"
        if connection.rows(f"select 1 from {statements.table(layout.entity)} where _v > {last} limit 1"):
            yield Finding(backend, layout.entity, "wrong-versions", "rows are newer than the last write", True)
        for name in statements.fulltext_fields(layout):
            if not _words_agree(connection, layout, name):
                yield Finding(backend, layout.entity, "stale-fulltext", name, True)
    yield from _orphans(connection, layouts, tables, backend)


def _unreadable(connection: Connection, layout: Layout) -> list[str]:
    """The fields with a value that no encoder wrote."""
    found: list[str] = []
    for name, code in zip(layout.names, decoders(layout, layout.names), strict=True):
        if code is None or code is bool:
            continue
        text = f"select {quote(name)} from {statements.table(layout.entity)} where {quote(name)} is not null"
        try:
            for (value,) in connection.stream(text, ()):
                code(value)
        except DAMAGE:
            found.append(name)
    return found


def _words_agree(connection: Connection, layout: Layout, name: str) -> bool:
    words, length = statements.words_column(name), statements.length_column(name)
    text = f"select {quote(name)}, tsvector_to_array({words}), {length} from {statements.table(layout.entity)}"
    for given, kept, count in connection.stream(text, ()):
        expected = None if given is None else tokens(given)
        if (None if expected is None else set(expected)) != (None if kept is None else set(kept)):
            return False
        if count != len(expected or ()):
            return False
    return True


def _orphans(connection: Connection, layouts: Sequence[Layout], tables: set[str], backend: str) -> Iterator[Finding]:
    """Tables of entities that the workspace has no record of."""
    if ENTITY_TABLE.id not in tables:  # then nothing here says which entities there are
        return
    known = {one.entity for one in layouts}
    known.update(one for (one,) in connection.rows(f'select "object_id" from {statements.table(ENTITY_TABLE.id)}'))
    schema = connection.rows("select current_schema()::text")[0][0]
    for (entity,) in connection.rows(statements.OWN_TABLES, (schema,)):
        if entity not in known and not entity.startswith(RESERVED):
            yield Finding(
                backend, entity, "orphaned-table", "its rows are there, and no record of what they are", False
            )


def mend(connection: Connection, layouts: Sequence[Layout], findings: Sequence[Finding]) -> None:
    """Make anew what follows from the rows."""
    by_entity = {layout.entity: layout for layout in layouts}
    for finding in findings:
        if finding.entity not in by_entity:
            continue
        if finding.kind == "stale-fulltext":
            refill_words(connection, finding.entity, [finding.detail])
        elif finding.kind == "wrong-versions":
            last = f"(select lsn from {statements.STATE_TABLE})"  # that of the repair, which is a write like any other
            connection.run(f"update {statements.table(finding.entity)} set _v = {last} where _v > {last}")
