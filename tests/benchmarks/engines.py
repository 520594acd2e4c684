"""What several engines cost and gain: groups in DuckDB, nearest vectors in LanceDB, and writing to both.

The other side is the engine's own library, on the same rows in a file or folder of its own; where it says so, the
same question to the same rows in SQLite.

Not here: one engine beside `sqlite3` (`figures`, `finding`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import heavenbase as hb
from tests.benchmarks.figures import Action, Bench
from tests.benchmarks.measure import Figure, Pairs, compare

DIM = 128
GROUP_HAND, GROUP_SQLITE = 1.3, 0.05
NEAR_FLAT = 0.3
MOST_VECTORS = 100_000
IN_SQLITE, BY_MATRIX = "the same, to the same rows in SQLite", "near, best 10 by cosine, to LanceDB's search"
LARGE = {IN_SQLITE: 1_000_000, BY_MATRIX: 100_000}
"""Targets that are set for so many rows."""

_numbers = itertools.count()


class Fact(hb.Entity):
    """A row whose numbers lie in DuckDB."""

    identifier = "fact"
    name = hb.field(hb.ShortText)
    state = hb.field(hb.ShortText).store(to="columns")
    amount = hb.field(hb.Float).store(to="columns")
    pieces = hb.field(hb.Integer).store(to="columns")


class PlainFact(hb.Entity):
    """The same in the primary."""

    identifier = "plain-fact"
    state = hb.field(hb.ShortText)
    amount = hb.field(hb.Float)
    pieces = hb.field(hb.Integer)


class Spot(hb.Entity):
    """A vector in LanceDB, and a number to filter by in the primary."""

    identifier = "spot"
    n = hb.field(hb.Integer).index()
    place = hb.field(hb.Vector[DIM])


def engines(bench: Bench, count: int) -> Iterator[Figure]:
    """All figures about several engines."""
    for actions in (groups, vectors):
        for action, ours, theirs, target, headline in actions(bench, count):
            pairs, repeat = compare(ours, theirs, pairs=2 * bench.pairs, seconds=bench.seconds)
            aimed = target if count >= LARGE.get(action, 0) else None
            yield pairs.figure("engines", action, count, per=repeat, target=aimed, headline=headline)
    yield from inserts(bench, count)


def _folder(bench: Bench) -> Path:
    folder = bench.folder / f"engines-{next(_numbers)}"
    folder.mkdir()
    return folder


def _opened(folder: Path) -> hb.HeavenBase:
    backends = {"main": "sqlite", "columns": "duckdb", "near": "lancedb"}
    return hb.HeavenBase("engines", path=folder / "ws", backends=backends)


def _facts(count: int) -> list[dict[str, Any]]:
    states = ("new", "open", "held", "done", "gone")
    return [
        {"name": f"f{one}", "state": states[one % 5], "amount": (one * 7919 % 100_003) / 7, "pieces": one % 1000}
        for one in range(count)
    ]


# -- groups --------------------------------------------------------------------------------------------------------


def groups(bench: Bench, count: int) -> Iterator[Action]:
    """A group and a mean in DuckDB, by hand and in SQLite."""
    duckdb: Any = import_module("duckdb")
    folder, rows = _folder(bench), _facts(count)
    with _opened(folder) as ws:
        ws.register(Fact, PlainFact)
        ws.upsert_many(Fact, rows)
        ws.upsert_many(PlainFact, [{key: row[key] for key in ("state", "amount", "pieces")} for row in rows])
        by_hand = duckdb.connect(str(folder / "hand.duckdb"))
        _fill_by_hand(by_hand, rows)

        def ours() -> Any:
            return ws.query(Fact).where(Fact.pieces < 900).group_by("state").aggregate(
                n="count", mean=Fact.amount.avg()
            ).execute()  # fmt: skip

        def in_sqlite() -> Any:
            query = ws.query(PlainFact).where(PlainFact.pieces < 900).group_by("state")
            return query.aggregate(n="count", mean=PlainFact.amount.avg()).execute()

        def hand() -> Any:
            text = "select state, count(*), avg(amount) from fact where pieces < ? group by state"
            return by_hand.cursor().execute(text, [900]).fetchall()

        yield "group in DuckDB, to duckdb by hand", ours, hand, GROUP_HAND, True
        yield IN_SQLITE, ours, in_sqlite, GROUP_SQLITE, True
        by_hand.close()


def _fill_by_hand(connection: Any, rows: list[dict[str, Any]]) -> None:
    pyarrow: Any = import_module("pyarrow")
    table = pyarrow.Table.from_pylist(rows)
    connection.register("given", table)
    connection.execute("create table fact as select * from given")
    connection.unregister("given")


# -- vectors -------------------------------------------------------------------------------------------------------


def _spots(count: int) -> tuple[list[dict[str, Any]], Any]:
    made = np.random.default_rng(7).normal(size=(count, DIM)).astype(np.float32)
    return [{"n": one % 100, "place": vector} for one, vector in enumerate(made.tolist())], made


def vectors(bench: Bench, count: int) -> Iterator[Action]:
    """The nearest by the matrix in memory, beside LanceDB's own search of all vectors."""
    if count > MOST_VECTORS:
        return
    lancedb: Any = import_module("lancedb")
    folder, (rows, made) = _folder(bench), _spots(count)
    with _opened(folder) as ws:
        ws.register(Spot)
        ids = ws.upsert_many(Spot, rows)
        table = _table_by_hand(lancedb.connect(folder / "hand"), ids, rows)
        query = made[0].tolist()

        def ours() -> Any:
            return ws.query(Spot).near("place", query, 10).select("n").execute()

        def some() -> Any:
            return ws.query(Spot).near("place", query, 10).where(Spot.n == 7).select("n").execute()

        def hand() -> Any:
            return table.search(query).distance_type("cosine").select(["id", "n", "_distance"]).limit(10).to_arrow()

        def hand_some() -> Any:
            search = table.search(query).distance_type("cosine").where("n = 7", prefilter=True)
            return search.select(["id", "n", "_distance"]).limit(10).to_arrow()

        yield BY_MATRIX, ours, hand, NEAR_FLAT, True
        yield "near, best 10 of 1 % by a condition in SQLite, to LanceDB's filter", some, hand_some, None, True


def _table_by_hand(database: Any, ids: list[str], rows: list[dict[str, Any]]) -> Any:
    pa: Any = import_module("pyarrow")
    schema = pa.schema([("id", pa.string()), ("n", pa.int64()), ("place", pa.list_(pa.float32(), DIM))])
    columns = [ids, [row["n"] for row in rows], [row["place"] for row in rows]]
    arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
    return database.create_table("spot", pa.table(arrays, schema=schema))


# -- writes --------------------------------------------------------------------------------------------------------


class Wide(hb.Entity):
    """A row over three engines."""

    identifier = "wide"
    name = hb.field(hb.ShortText)
    amount = hb.field(hb.Float).store(to="columns")
    place = hb.field(hb.Vector[DIM])


def inserts(bench: Bench, count: int) -> Iterator[Figure]:
    """New rows over three engines, beside the same rows written to each by hand, one after the other, unsafely."""
    if count > MOST_VECTORS:
        return
    rows = [{"name": f"w{one}", "amount": one / 3, "place": row["place"]} for one, row in enumerate(_spots(count)[0])]
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
        ids = hb_ids(len(rows))
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


def hb_ids(count: int) -> list[str]:
    """Ids as HeavenBase makes them."""
    from heaven_core.identity import identify

    return list(identify("wide", [None] * count, [None] * count)[0])
