"""The same rows and questions through other packages: sqlite-utils and SQLAlchemy's ORM.

Same tables, same pragmas, same process; every figure is a ratio to the hand-written twin,
so that it stands beside ours. Both packages are given the moment as the number that is
stored; JSON, rows and ids are their own business.

Not here: our own figures (`figures`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
import sqlite_utils
from sqlalchemy import event, orm

from heaven_core.identity import new_ids
from tests.benchmarks import twin
from tests.benchmarks.figures import Bench
from tests.benchmarks.measure import Figure, Pairs, Run, compare
from tests.benchmarks.rows import Plain, Row, make_rows
from tests.benchmarks.twin import EPOCH, MICROSECOND, Twin, dicts, stored_dicts

BY_BUCKET = 'create index "by_bucket" on "e_task" ("bucket", "object_id")'


class Mapped(orm.DeclarativeBase):
    """The root of the mapped classes."""


class Task(Mapped):
    """The table of HeavenBase's file, mapped."""

    __tablename__ = "e_task"
    object_id: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str | None]
    title: orm.Mapped[str | None]
    body: orm.Mapped[str | None]
    state: orm.Mapped[str | None]
    bucket: orm.Mapped[int | None]
    score: orm.Mapped[float | None]
    done: orm.Mapped[bool | None]
    due: orm.Mapped[int | None]
    meta: orm.Mapped[Any] = orm.mapped_column(sqlalchemy.JSON)
    version: orm.Mapped[int] = orm.mapped_column("_v")


def _keyed(rows: Sequence[Row], version: str) -> list[Row]:
    """Rows with ids, the moment as it is stored, and a version."""
    return [
        {**row, "object_id": one, "due": (row["due"] - EPOCH) // MICROSECOND, version: 1}
        for one, row in zip(new_ids(len(rows)), rows, strict=True)
    ]


class Utils:
    """A file through sqlite-utils, which gives values back as they are stored: JSON as text, moments as numbers."""

    name = "sqlite-utils"
    by_hand = staticmethod(stored_dicts)

    def __init__(self, path: Path) -> None:
        self.database = sqlite_utils.Database(path)
        for pragma in twin.PRAGMAS:
            self.database.execute(f"pragma {pragma}")
        self.table: Any = self.database["e_task"]

    def insert(self, rows: Sequence[Row]) -> None:
        """All rows at once."""
        self.table.insert_all(_keyed(rows, "_v"))

    def equal(self, bucket: int) -> list[Row]:
        """The rows of a bucket, as the package gives them."""
        return list(self.table.rows_where("bucket = ?", [bucket]))

    def get(self, object_id: str) -> Row:
        """One row; not by `table.get`, which wants the primary key."""
        return next(self.table.rows_where("object_id = ?", [object_id], limit=1))

    def close(self) -> None:
        """Close the file."""
        self.database.close()


class Orm:
    """A file through SQLAlchemy's ORM."""

    name = "SQLAlchemy ORM"
    by_hand = staticmethod(dicts)

    def __init__(self, path: Path) -> None:
        self.engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        event.listen(self.engine, "connect", self._prepare)
        self.session = orm.Session(self.engine)

    @staticmethod
    def _prepare(connection: Any, _: object) -> None:
        for pragma in twin.PRAGMAS:
            connection.execute(f"pragma {pragma}")

    def insert(self, rows: Sequence[Row]) -> None:
        """All rows at once, by the ORM's bulk insert."""
        self.session.execute(sqlalchemy.insert(Task), _keyed(rows, "version"))
        self.session.commit()

    def add_all(self, rows: Sequence[Row]) -> None:
        """All rows at once, as objects."""
        self.session.add_all([Task(**row) for row in _keyed(rows, "version")])
        self.session.commit()

    def equal(self, bucket: int) -> list[Task]:
        """The rows of a bucket as new objects."""
        self.session.expunge_all()
        return list(self.session.scalars(sqlalchemy.select(Task).where(Task.bucket == bucket)))

    def get(self, object_id: str) -> Task | None:
        """One row as a new object."""
        self.session.expunge_all()
        return self.session.get(Task, object_id)

    def close(self) -> None:
        """Close the file."""
        self.session.close()
        self.engine.dispose()


INSERTS: list[tuple[type[Utils | Orm], str, Callable[[Any, Sequence[Row]], None]]] = [
    (Utils, "bulk insert, plain columns", Utils.insert),
    (Orm, "bulk insert, plain columns", Orm.insert),
    (Orm, "insert of objects, plain columns", Orm.add_all),
]


def inserts(bench: Bench, count: int) -> Iterator[Figure]:
    """Rows into an empty table."""
    rows, statements = make_rows(count), bench.statements(Plain)
    for peer, action, write in INSERTS:
        pairs = Pairs()
        for _ in range(3 if count > 20_000 else max(3, bench.pairs // 3)):
            mine, other = bench.twin(statements), bench.twin(statements)
            theirs = peer(mine.path)
            pairs.add(
                lambda theirs=theirs, write=write: lambda: write(theirs, rows),
                lambda other=other: lambda: other.insert(rows),
            )
            for one in (theirs, mine, other):
                one.close()
        yield pairs.figure(peer.name, action, count)


def reads(bench: Bench, count: int) -> Iterator[Figure]:
    """A hundred rows as dicts or objects, and one by its id."""
    other = bench.twin([*bench.statements(Plain), BY_BUCKET])
    ids = other.insert(make_rows(count))
    for peer in (Utils, Orm):
        theirs = peer(other.path)
        for action, left, right in _questions(theirs, other, ids):
            pairs, repeat = compare(left, right, pairs=2 * bench.pairs, seconds=bench.seconds)
            yield pairs.figure(peer.name, action, count, per=repeat)
        theirs.close()
    other.close()


def _questions(theirs: Utils | Orm, other: Twin, ids: list[str]) -> Iterator[tuple[str, Run, Run]]:
    bucket = max(1, len(ids) // 100) // 2
    chosen = ids[:: max(1, len(ids) // 97)]
    left, right = itertools.cycle(chosen), itertools.cycle(chosen)
    yield (
        "100 rows by indexed equality, as dicts",
        lambda: theirs.equal(bucket),
        lambda: theirs.by_hand(other.equal(bucket)),
    )
    yield "get by id", lambda: theirs.get(next(left)), lambda: theirs.by_hand(other.find(next(right)))[0]
