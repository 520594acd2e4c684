"""What several engines cost and gain: groups in DuckDB, and writing to three of them.

The other side is the engine's own library, on the same rows in a file or folder of its own; where it says so, the
same question to the same rows in SQLite.

Not here: nearest vectors (`nearest`), one engine beside `sqlite3` (`figures`, `finding`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import heavenbase as hb
from tests.benchmarks import nearest
from tests.benchmarks.figures import Action, Bench
from tests.benchmarks.measure import Figure, Pairs, compare
from tests.benchmarks.rows import Plain, Row, make_rows

DIM = nearest.DIM
GROUP_HAND, GROUP_SQLITE = 1.3, 0.05
MOST_VECTORS = 100_000
PART = 100_000
IN_SQLITE = "the same, to the same rows in SQLite"
LARGE = {IN_SQLITE: 1_000_000}
"""Targets that are set for so many rows."""

_numbers = itertools.count()


class Fact(Plain):
    """A task whose numbers lie in DuckDB."""

    identifier = "fact"
    state = hb.field(hb.ShortText).store(to="columns")
    bucket = hb.field(hb.Integer).store(to="columns")
    score = hb.field(hb.Float).store(to="columns")


def engines(bench: Bench, count: int) -> Iterator[Figure]:
    """All figures about several engines."""
    for action, ours, theirs, target, headline in groups(bench, count):
        pairs, repeat = compare(ours, theirs, pairs=2 * bench.pairs, seconds=bench.seconds)
        aimed = target if count >= LARGE.get(action, 0) else None
        yield pairs.figure("engines", action, count, per=repeat, target=aimed, headline=headline)
    if count <= MOST_VECTORS:
        yield from nearest.figures(bench, _folder(bench), count)
        yield from inserts(bench, count)


def _folder(bench: Bench) -> Path:
    folder = bench.folder / f"engines-{next(_numbers)}"
    folder.mkdir()
    return folder


def _opened(folder: Path) -> hb.HeavenBase:
    backends = {"main": "sqlite", "columns": "duckdb", "near": "lancedb"}
    return hb.HeavenBase("engines", path=folder / "ws", backends=backends)


# -- groups --------------------------------------------------------------------------------------------------------


def groups(bench: Bench, count: int) -> Iterator[Action]:
    """A group and a mean in DuckDB, by hand and in SQLite, of rows that have more than what is grouped."""
    duckdb: Any = import_module("duckdb")
    folder, rows = _folder(bench), make_rows(count)
    most = max(1, count // 100) // 2
    with _opened(folder) as ws:
        ws.register(Fact, Plain)
        for start in range(0, count, PART):
            ws.upsert_many(Fact, rows[start : start + PART])
            ws.upsert_many(Plain, rows[start : start + PART])
        by_hand = duckdb.connect(str(folder / "hand.duckdb"))
        _fill_by_hand(by_hand, rows)
        del rows

        def ours() -> Any:
            asked = ws.query(Fact).where(Fact.bucket < most).group_by("state")
            return asked.aggregate(rows="count", mean=Fact.score.avg()).execute()

        def in_sqlite() -> Any:
            asked = ws.query(Plain).where(Plain.bucket < most).group_by("state")
            return asked.aggregate(rows="count", mean=Plain.score.avg()).execute()

        def hand() -> Any:
            text = "select state, count(*), avg(score) from fact where bucket < ? group by state"
            return by_hand.cursor().execute(text, [most]).fetchall()

        yield "group in DuckDB, to duckdb by hand", ours, hand, GROUP_HAND, True
        yield IN_SQLITE, ours, in_sqlite, GROUP_SQLITE, True
        by_hand.close()


def _fill_by_hand(connection: Any, rows: list[Row]) -> None:
    pyarrow: Any = import_module("pyarrow")
    columns = {name: [row[name] for row in rows] for name in ("state", "bucket", "score")}
    connection.register("given", pyarrow.table(columns))
    connection.execute("create table fact as select * from given")
    connection.unregister("given")


# -- writes --------------------------------------------------------------------------------------------------------


class Wide(hb.Entity):
    """A row over three engines."""

    identifier = "wide"
    name = hb.field(hb.ShortText)
    amount = hb.field(hb.Float).store(to="columns")
    place = hb.field(hb.Vector[DIM])


def inserts(bench: Bench, count: int) -> Iterator[Figure]:
    """New rows over three engines, beside the same rows written to each by hand, one after the other, unsafely."""
    places = enumerate(row["place"] for row in nearest.spots(count)[0])
    rows = [{"name": f"w{one}", "amount": one / 3, "place": place} for one, place in places]
    pairs = Pairs()
    for _ in range(3):
        folder = _folder(bench)
        ws, hand = _opened(folder), _Hand(folder)
        ws.register(Wide)
        pairs.add(lambda ws=ws: lambda: ws.upsert_many(Wide, rows), lambda hand=hand: lambda: hand.insert(rows))
        ws.drop()
        hand.close()
    yield pairs.figure("engines", "insert over three engines, to unsafe writes", count)


class _Hand:
    """The three engines by hand."""

    def __init__(self, folder: Path) -> None:
        pyarrow: Any = import_module("pyarrow")
        self._arrow = pyarrow
        self._sqlite = import_module("sqlite3").connect(folder / "hand.db")
        self._sqlite.execute("pragma journal_mode = wal")
        self._sqlite.execute("create table wide (id text primary key, name text)")
        self._duckdb = import_module("duckdb").connect(str(folder / "hand.duckdb"))
        self._duckdb.execute("create table wide (id varchar, amount double)")
        vector = pyarrow.list_(pyarrow.float32(), DIM)
        self._schema = pyarrow.schema([("id", pyarrow.string()), ("place", vector)])
        lancedb: Any = import_module("lancedb")
        self._lance = lancedb.connect(folder / "hand.lance").create_table("wide", schema=self._schema)

    def insert(self, rows: list[dict[str, Any]]) -> None:
        ids = nearest.hb_ids(len(rows))
        with self._sqlite:
            values = ((one, row["name"]) for one, row in zip(ids, rows, strict=True))
            self._sqlite.executemany("insert into wide values (?, ?)", values)
        given = self._arrow.table({"id": ids, "amount": [row["amount"] for row in rows]})
        self._duckdb.register("given", given)
        self._duckdb.execute("insert into wide select * from given")
        self._lance.add(self._arrow.table([ids, self._vectors(rows)], schema=self._schema))

    def _vectors(self, rows: list[dict[str, Any]]) -> Any:
        return self._arrow.array([row["place"] for row in rows], type=self._schema.field("place").type)

    def close(self) -> None:
        self._sqlite.close()
        self._duckdb.close()
