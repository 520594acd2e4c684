"""The other side: what a careful programmer would write with `sqlite3` alone for this one table.

The tables are those of a HeavenBase file, statement by statement from its `sqlite_master`;
pragmas, sync mode, encodings and the making of ids are the same, so that both sides leave
the same rows behind (`test_twins.py` checks it). Nothing is validated here, no row is given
a version, and no other table, column or process is thought of: that is the price being
measured.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from heaven_core.identity import new_ids
from heaven_core.text import index_text

Row = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
loads = json.loads

PRAGMAS = (
    "journal_mode = wal",
    "synchronous = full",
    "temp_store = memory",
    "cache_size = -65536",
    "mmap_size = 268435456",
)
COLUMNS = '"object_id", "name", "title", "body", "state", "bucket", "score", "done", "due", "meta"'
SELECT = f'select {COLUMNS} from "e_task"'
BY_ID = f'{SELECT} where "object_id" = ?'
INSERT = f'insert into "e_task" ({COLUMNS}, _v) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'
INSERT_TAGGED = f'insert into "e_task" ({COLUMNS}, _v, "tags") values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)'
_KEPT = COLUMNS.split(", ")[1:]
_STORED = ", ".join(f'"e_task".{name}' for name in _KEPT)
_GIVEN = ", ".join(f"excluded.{name}" for name in _KEPT)
UPSERT = (
    f'{INSERT} on conflict ("object_id") do update set '
    f"{', '.join(f'{name} = excluded.{name}' for name in (*_KEPT, '_v'))} where ({_STORED}) is not ({_GIVEN})"
)


def ddl(path: Path) -> list[str]:
    """The statements that made a file's tables and indexes; what a virtual table makes by itself is left out."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "select name, sql from sqlite_master where sql is not null order by rowid"
        ).fetchall()
    virtual = [name for name, sql in found if sql.lower().startswith("create virtual")]
    return [sql for name, sql in found if not any(name.startswith(f"{one}_") for one in virtual)]


class Twin:
    """An open file with the tables of `statements`."""

    def __init__(self, path: Path, statements: Iterable[str]) -> None:
        connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        for pragma in PRAGMAS:
            connection.execute(f"pragma {pragma}")
        for statement in statements:
            connection.execute(statement)
        self.path = path
        self.connection = connection
        self.execute = connection.execute

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    # writing -----------------------------------------------------------------------------------------------------

    def insert(self, rows: Sequence[Row]) -> list[str]:
        """Rows into the table alone."""
        ids = new_ids(len(rows))
        self.execute("begin immediate")
        self.connection.executemany(INSERT, values(ids, rows))
        self.execute("commit")
        return ids

    def insert_searched(self, rows: Sequence[Row]) -> list[str]:
        """Rows into the table and the full-text index, which takes the text as HeavenBase folds it."""
        ids = new_ids(len(rows))
        self.execute("begin immediate")
        first = self._next_rowid()
        self.connection.executemany(INSERT, values(ids, rows))
        self.connection.executemany(
            'insert into "e_task._fts" (rowid, f_body) values (?, ?)',
            ((number, index_text(row["body"])) for number, row in enumerate(rows, first)),
        )
        self.execute("commit")
        return ids

    def insert_tagged(self, rows: Sequence[Row]) -> list[str]:
        """Rows into the table, and their tags into the side table."""
        ids = new_ids(len(rows))
        self.execute("begin immediate")
        first = self._next_rowid()
        self.connection.executemany(
            INSERT_TAGGED,
            ((*value, dumps(row["tags"])) for value, row in zip(values(ids, rows), rows, strict=True)),
        )
        self.connection.executemany(
            'insert into "e_task.tags" values (?, ?, ?)',
            ((number, place, tag) for number, row in enumerate(rows, first) for place, tag in enumerate(row["tags"])),
        )
        self.execute("commit")
        return ids

    def _next_rowid(self) -> int:
        return (self.execute('select max(_rowid) from "e_task"').fetchone()[0] or 0) + 1

    def upsert(self, rows: Sequence[Row]) -> None:
        """Insert or replace rows that bring their ids; one that equals the stored row is not written."""
        self.execute("begin immediate")
        self.connection.executemany(UPSERT, values([row["object_id"] for row in rows], rows))
        self.execute("commit")

    def upsert_one(self, row: Row) -> None:
        """Insert or replace one row that brings its id."""
        self.execute("begin immediate")
        self.execute(UPSERT, next(values([row["object_id"]], [row])))
        self.execute("commit")

    # reading -----------------------------------------------------------------------------------------------------

    def equal(self, bucket: int) -> list[Any]:
        """The rows of a bucket as tuples."""
        return self.execute(f"{SELECT} where bucket = ?", (bucket,)).fetchall()

    def between(self, low: float, high: float) -> list[Any]:
        """The rows in a range of scores as tuples."""
        return self.execute(f"{SELECT} where score between ? and ?", (low, high)).fetchall()

    def highest(self, count: int) -> list[Any]:
        """The rows with the highest scores as tuples."""
        return self.execute(f'{SELECT} order by score desc, "object_id" limit ?', (count,)).fetchall()

    def find(self, object_id: str) -> list[Any]:
        """The row with this id as a tuple, in a list that is empty if there is none."""
        return self.execute(BY_ID, (object_id,)).fetchall()

    def get(self, object_id: str) -> Row | None:
        """One row as a dict."""
        found = self.find(object_id)
        return dicts(found)[0] if found else None

    def search(self, words: Sequence[str], count: int) -> list[Any]:
        """The best rows by BM25 as tuples with their score, best first."""
        columns = ", ".join(f"t.{name}" for name in COLUMNS.split(", "))
        query = "{f_body} : (" + " OR ".join(f'"{word}"' for word in words) + ")"
        return self.execute(
            f'select {columns}, -f.rank from "e_task._fts" f join "e_task" t on t._rowid = f.rowid '
            'where f."e_task._fts" match ? order by f.rank, t."object_id" limit ?',
            (query, count),
        ).fetchall()

    def by_state(self) -> list[Any]:
        """Count and mean score by state."""
        return self.execute('select state, count("object_id"), avg(score) from "e_task" group by state').fetchall()


def values(ids: Sequence[str], rows: Sequence[Row], version: int = 1) -> Iterator[tuple[Any, ...]]:
    """The parameters of `INSERT`."""
    return (
        (
            one,
            None,
            row["title"],
            row["body"],
            row["state"],
            row["bucket"],
            row["score"],
            row["done"],
            (row["due"] - EPOCH) // MICROSECOND,
            dumps(row["meta"]),
            version,
        )
        for one, row in zip(ids, rows, strict=True)
    )


def dicts(found: Sequence[Any]) -> list[Row]:
    """Stored tuples as rows."""
    return [
        {
            "object_id": object_id,
            "name": name,
            "title": title,
            "body": body,
            "state": state,
            "bucket": bucket,
            "score": score,
            "done": None if done is None else bool(done),
            "due": None if due is None else EPOCH + timedelta(microseconds=due),
            "meta": None if meta is None else loads(meta),
        }
        for object_id, name, title, body, state, bucket, score, done, due, meta in found
    ]


def stored_dicts(found: Sequence[Any]) -> list[Row]:
    """Stored tuples as dicts of the same values."""
    return [
        {
            "object_id": object_id,
            "name": name,
            "title": title,
            "body": body,
            "state": state,
            "bucket": bucket,
            "score": score,
            "done": done,
            "due": due,
            "meta": meta,
        }
        for object_id, name, title, body, state, bucket, score, done, due, meta in found
    ]
