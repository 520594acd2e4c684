"""Whether a text index finds what it should, and dropping one whatever it has become.

FTS5 keeps a text index in five tables of its own. It compares them with each other by a
command that is a write, for which it would have to wait and let others wait. So the tables
are copied into a temporary index, which is compared instead.

Not here: whether the texts in it are those of the rows (`heaven_sqlite.checking`).
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from heaven_core.sql import quote

if TYPE_CHECKING:
    from heaven_sqlite.connection import Connection
    from heaven_sqlite.statements import TextIndex

COPIED = ("data", "idx", "docsize", "config")
PARTS = (*COPIED, "content")


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the error says that the index is damaged, or that one of its tables is gone."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}


def words_agree(connection: Connection, index: TextIndex) -> bool:
    """Whether the index has the words of the texts that are kept in it, each where it can be found.

    Raises:
        sqlite3.DatabaseError: it cannot be read, or does not agree; see `is_damage`.
    """
    connection.execute(f"select 1 from {index.table} where {index.table} match 'aaa' limit 1").fetchall()
    connection.execute("savepoint hb_copy")
    try:
        _copy(connection, index)
        if not connection.execute("select 1 from temp.hb_copy_config where k = 'version' and v in (4, 5)").fetchone():
            return False  # whoever opened it before that does not notice
        connection.execute("insert into temp.hb_copy (hb_copy, rank) values ('integrity-check', 1)")
        return _is_reachable(connection)
    finally:
        if connection.in_transaction:
            connection.execute("rollback to hb_copy")
            connection.execute("release hb_copy")


def _copy(connection: Connection, index: TextIndex) -> None:
    names = index.columns.split(", ")
    texts = ", ".join(f"c{place} as {name}" for place, name in enumerate(names))
    connection.execute(f"create temp view hb_texts as select id, {texts} from main.{_part(index, 'content')}")
    connection.execute(
        f"create virtual table temp.hb_copy using fts5 "
        f"({index.columns}, tokenize = '{index.tokenizer}', content = 'hb_texts', content_rowid = 'id')"
    )
    for part in COPIED:
        connection.execute(f"delete from temp.hb_copy_{part}")
        connection.execute(f"insert into temp.hb_copy_{part} select * from main.{_part(index, part)}")


def _is_reachable(connection: Connection) -> bool:
    """Whether every page on which a word begins is in the list by which words are looked up; FTS5 checks the reverse.

    A page's id is its segment's number, six bits that are 0 for pages of words, and its number in
    the segment. The third and fourth byte say where its words end; where some begin on it, more follows.
    """
    lost = (
        "select 1 from temp.hb_copy_data where id > 10 and (id >> 31) & 63 = 0 "
        "and hex(substr(block, 3, 2)) < printf('%04X', length(block)) "
        "and (id >> 37, id & 0x7fffffff) not in (select segid, pgno >> 1 from temp.hb_copy_idx) limit 1"
    )
    return connection.execute(lost).fetchone() is None


def _part(index: TextIndex, part: str) -> str:
    return quote(f"{index.table[1:-1]}_{part}")


def drop(connection: Connection, index: TextIndex) -> None:
    """Drop a text index, also one that FTS5 refuses to open: it gets the tables of an empty one first."""
    try:
        connection.execute(f"drop table if exists {index.table}")
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        _empty(connection, index)
        connection.execute(f"drop table if exists {index.table}")


def _empty(connection: Connection, index: TextIndex) -> None:
    connection.execute(
        f"create virtual table temp.hb_empty using fts5 ({index.columns}, tokenize = '{index.tokenizer}')"
    )
    for part in PARTS:
        made = "select sql from sqlite_temp_master where name = ?"
        (text,) = connection.execute(made, (f"hb_empty_{part}",)).fetchone()
        connection.execute(f"drop table if exists main.{_part(index, part)}")
        connection.execute(f"create table main.{_part(index, part)} ({text.partition('(')[2]}")
        connection.execute(f"insert into main.{_part(index, part)} select * from temp.hb_empty_{part}")
    connection.execute("drop table temp.hb_empty")
