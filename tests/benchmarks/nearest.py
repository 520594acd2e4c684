"""Nearest vectors in LanceDB, with and without a condition in SQLite, beside ways to write the same by hand.

The vectors lie in LanceDB and the number of the condition in SQLite, on both sides, and every way gives the ids,
numbers and distances of the ten nearest rows. By hand everybody knows how many rows satisfy the condition.

Not here: other questions to several engines (`engines`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import heavenbase as hb
from heaven_core import config
from tests.benchmarks.figures import Bench
from tests.benchmarks.measure import Figure, Pairs, compare

DIM, TOP = 128, 10
SHARES = {"0.1 %": 0.001, "1 %": 0.01, "10 %": 0.1, "50 %": 0.5}
TARGET, SLACK_US = 1.3, 500
"""Against the best way by hand: so many times its time, or so much more."""
FLAT, FLAT_ROWS = 0.3, 100_000
"""Against LanceDB's search of all vectors, of so many rows."""
NPROBES, QUERIES = (5, 20), 50
LEAST_ROWS = 20_000
"""Rows from which LanceDB's vectors get an index."""
SETTLED_S = 2.5
"""Until so long after a commit each question asks LanceDB whether there was another."""

Found = list[tuple[str, int, float]]
Way = Callable[["Hand", Any, int], Found]


class Spot(hb.Entity):
    """A vector in LanceDB, and a number to filter by in the primary; the numbers are 0 to the count, shuffled."""

    identifier = "spot"
    n = hb.field(hb.Integer).index()
    place = hb.field(hb.Vector[DIM])


def spots(count: int) -> tuple[list[dict[str, Any]], Any]:
    """Rows, and their vectors as an array."""
    chance = np.random.default_rng(7)
    made = chance.normal(size=(count, DIM)).astype(np.float32)
    numbers = chance.permutation(count).tolist()
    return [{"n": n, "place": vector} for n, vector in zip(numbers, made.tolist(), strict=True)], made


def lance_table(folder: Path) -> Any:
    """An empty table of LanceDB, by hand."""
    lancedb, pa = import_module("lancedb"), import_module("pyarrow")
    schema = pa.schema([("id", pa.string()), ("n", pa.int64()), ("place", pa.list_(pa.float32(), DIM))])
    return lancedb.connect(folder).create_table("spot", schema=schema)


def as_arrow(ids: list[str], rows: list[dict[str, Any]]) -> Any:
    """Rows as that table takes them."""
    pa = import_module("pyarrow")
    places = pa.array([row["place"] for row in rows], type=pa.list_(pa.float32(), DIM))
    return pa.table({"id": ids, "n": [row["n"] for row in rows], "place": places})


class Hand:
    """The same rows in a SQLite file and a LanceDB table, and in memory what a careful programmer keeps there."""

    def __init__(self, folder: Path, ids: list[str], rows: list[dict[str, Any]], vectors: Any) -> None:
        self.count, self._vectors = len(ids), vectors
        self.sqlite: Any = import_module("sqlite3").connect(folder / "hand.db")
        self.sqlite.execute("pragma journal_mode = wal")
        self.sqlite.execute("create table spot (id text primary key, n integer)")
        self.sqlite.executemany("insert into spot values (?, ?)", zip(ids, (row["n"] for row in rows), strict=True))
        self.sqlite.execute("create index by_n on spot (n, id)")
        self.sqlite.commit()
        self._table = lance_table(folder / "hand")
        self._table.add(as_arrow(ids, rows))
        self._table.create_index("id", config=import_module("lancedb.index").BTree())
        self._ids, self._places = ids, {one: place for place, one in enumerate(ids)}
        self._lengths = np.linalg.norm(vectors, axis=1)

    def nearest(self, query: Any) -> Any:
        """LanceDB's search of all vectors."""
        return self._search(query).select(["id", "n", "_distance"]).limit(TOP).to_arrow()

    def nearest_below(self, query: Any, below: int) -> Any:
        """LanceDB's search with the number in its own table, as its own filter has it."""
        search = self._search(query).where(f"n < {below}", prefilter=True)
        return search.select(["id", "n", "_distance"]).limit(TOP).to_arrow()

    def exact(self, query: Any, ids: list[str]) -> list[str]:
        """The ids of the nearest rows, by what a workspace calls them."""
        return [one for one, _ in _best(self._vectors, self._lengths, query, ids)]

    def ids_first(self, query: Any, below: int) -> Found:
        """The ids in the text of LanceDB's filter."""
        search = self._search(query).where(_among(self._matching(below)), prefilter=True).limit(TOP)
        return self._with_numbers(_pairs(search.to_arrow()))

    def nearest_first(self, query: Any, below: int) -> Found:
        """More of LanceDB's nearest, of which SQLite says which satisfy the condition."""
        wanted = int(1.5 * TOP * self.count / below) + 1
        while True:
            pairs = _pairs(self._search(query).limit(wanted).to_arrow())
            text = "select id from spot where id in (select value from json_each(?)) and n < ?"
            kept = {one for (one,) in self.sqlite.execute(text, (json.dumps([one for one, _ in pairs]), below))}
            found = [pair for pair in pairs if pair[0] in kept]
            if len(found) >= TOP or len(pairs) == self.count:
                return self._with_numbers(found[:TOP])
            wanted *= 4

    def fetched(self, query: Any, below: int) -> Found:
        """The vectors of the ids, compared by numpy."""
        read = self._table.search().where(_among(self._matching(below))).select(["id", "place"]).to_arrow()
        vectors = read.column("place").combine_chunks().flatten().to_numpy().reshape(-1, DIM)
        ids = read.column("id").to_pylist()
        return self._with_numbers(_best(vectors, np.linalg.norm(vectors, axis=1), query, ids))

    def by_matrix(self, query: Any, below: int) -> Found:
        """All vectors in memory, of which the rows of the ids are compared."""
        ids = self._matching(below)
        rows = np.fromiter(map(self._places.__getitem__, ids), dtype=np.int64, count=len(ids))
        return self._with_numbers(_best(self._vectors[rows], self._lengths[rows], query, ids))

    def _matching(self, below: int) -> list[str]:
        return [one for (one,) in self.sqlite.execute("select id from spot where n < ?", (below,))]

    def _search(self, query: Any) -> Any:
        return self._table.search(query).distance_type("cosine").select(["id", "_distance"])

    def _with_numbers(self, pairs: list[tuple[str, float]]) -> Found:
        text = "select id, n from spot where id in (select value from json_each(?))"
        numbers = dict(self.sqlite.execute(text, (json.dumps([one for one, _ in pairs]),)).fetchall())
        return [(one, numbers[one], distance) for one, distance in pairs]

    def close(self) -> None:
        """Close the file."""
        self.sqlite.close()


def _among(ids: list[str]) -> str:
    return f"id in ({', '.join(repr(one) for one in ids)})"


def _pairs(read: Any) -> list[tuple[str, float]]:
    return list(zip(read.column("id").to_pylist(), read.column("_distance").to_pylist(), strict=True))


def _best(vectors: Any, lengths: Any, query: Any, ids: list[str]) -> list[tuple[str, float]]:
    distances = 1 - (vectors @ query) / (lengths * np.linalg.norm(query))
    best = np.argpartition(distances, TOP - 1)[:TOP]
    return [(ids[place], float(distances[place])) for place in best[np.argsort(distances[best])]]


WAYS: dict[str, Way] = {
    "matrix and rows": Hand.by_matrix,
    "ids in LanceDB's filter": Hand.ids_first,
    "LanceDB's nearest first": Hand.nearest_first,
    "vectors of the ids": Hand.fetched,
}
IN_MEMORY = "matrix and rows"


def figures(bench: Bench, folder: Path, count: int) -> Iterator[Figure]:
    """All figures about nearest vectors: with the matrix in memory, and beyond its budget."""
    rows, vectors = spots(count)
    yield inserts(folder, rows)
    with _opened(folder) as ws:
        ws.register(Spot)
        ids = ws.upsert_many(Spot, rows)
        hand = Hand(folder, ids, rows, vectors)
        time.sleep(SETTLED_S)
        yield from _to_lancedb(bench, ws, hand, vectors)
        yield from _filtered(bench, ws, hand, vectors, WAYS, "")
    with config.override(vector__memory_budget=1), _opened(folder) as ws, closing(hand):
        ways = {name: way for name, way in WAYS.items() if name != IN_MEMORY}
        yield from _filtered(bench, ws, hand, vectors, ways, ", beyond the budget")
        if count >= LEAST_ROWS:
            yield from _partitioned(bench, folder, rows, hand, vectors)


def inserts(folder: Path, rows: list[dict[str, Any]]) -> Figure:
    """New rows into SQLite and LanceDB, beside the same rows put into one table of LanceDB by hand."""
    pairs = Pairs()
    for number in range(3):
        ws, table = _opened(folder / f"insert{number}"), lance_table(folder / f"by-hand{number}")
        ws.register(Spot)
        pairs.add(
            lambda ws=ws: lambda: ws.upsert_many(Spot, rows),
            lambda table=table: lambda: table.add(as_arrow(hb_ids(len(rows)), rows)),
        )
        ws.drop()
    return pairs.figure("engines", "insert of rows with vectors, to LanceDB's add", len(rows))


def hb_ids(count: int) -> list[str]:
    """Ids as HeavenBase makes them."""
    from heaven_core.identity import identify

    return list(identify("spot", [None] * count, [None] * count)[0])


def _to_lancedb(bench: Bench, ws: hb.HeavenBase, hand: Hand, vectors: Any) -> Iterator[Figure]:
    """The matrix beside LanceDB's own search of all vectors, and of some."""
    wanted, below = vectors[0] + np.float32(0.1), hand.count // 100
    near = lambda: ws.query(Spot).near("place", query, TOP).select("n")  # noqa: E731  # made anew by each run
    query = wanted.tolist()
    for action, ours, theirs, target in (
        (
            "near, best 10 by cosine, to LanceDB's search",
            lambda: near().execute(),
            lambda: hand.nearest(wanted),
            FLAT if hand.count >= FLAT_ROWS else None,
        ),
        (
            "near of 1 % by a condition in SQLite, to LanceDB's own filter",
            lambda: near().where(Spot.n < below).execute(),
            lambda: hand.nearest_below(wanted, below),
            None,
        ),
    ):
        pairs, repeat = compare(ours, theirs, pairs=bench.pairs, seconds=bench.seconds)
        yield pairs.figure("engines", action, hand.count, per=repeat, target=target)


def _opened(folder: Path, **options: int) -> hb.HeavenBase:
    near = {"type": "lancedb", **options}
    return hb.HeavenBase("nearest", path=folder / "ws", backends={"main": "sqlite", "near": near})


def _partitioned(bench: Bench, folder: Path, rows: list[dict[str, Any]], hand: Hand, vectors: Any) -> Iterator[Figure]:
    """Some partitions of an index beside LanceDB's search of all vectors, and how many of the nearest they have.

    The vectors have no groups, so neighbours are in many partitions: the worst that an index can be given.
    """
    queries = [vectors[place] + np.float32(0.1) for place in range(QUERIES)]
    ids: list[str] = []
    for nprobes in NPROBES:
        with _opened(folder / "partitions", nprobes=nprobes) as ws:
            ws.register(Spot)
            ids = ids or ws.upsert_many(Spot, rows)
            near = lambda query, ws=ws: ws.query(Spot).near("place", query.tolist(), TOP).execute()  # noqa: E731
            pairs, repeat = compare(
                lambda near=near: near(queries[0]),
                lambda: hand.nearest(queries[0]),
                pairs=bench.pairs,
                seconds=bench.seconds,
            )
            figure = pairs.figure(
                "engines", f"near with nprobes={nprobes}, to LanceDB's search", hand.count, per=repeat
            )
            yield figure
            hits = sum(len({*near(query).ids} & {*hand.exact(query, ids)}) for query in queries)
            share = hits / (TOP * QUERIES)
            action = f"of the ten nearest, those that nprobes={nprobes} has"
            yield figure._replace(action=action, ratio=share, wall=share, spread=(share, share))


def _filtered(
    bench: Bench, ws: hb.HeavenBase, hand: Hand, vectors: Any, ways: dict[str, Way], where: str
) -> Iterator[Figure]:
    """The ten nearest of some of the rows, beside each way by hand; the target is set to the best of them."""
    wanted = vectors[0] + np.float32(0.1)
    query = wanted.tolist()
    for share, part in SHARES.items():
        below = int(part * hand.count)

        def ours(below: int = below) -> Any:
            rows = ws.query(Spot).near("place", query, TOP).where(Spot.n < below).select("n").execute()
            return list(zip(rows.ids, rows.column("n"), rows.scores or (), strict=True))

        found: list[Figure] = []
        for name, way in ways.items():
            theirs = lambda way=way, below=below: way(hand, wanted, below)  # noqa: E731  # one of a row of sides
            assert [one[:2] for one in ours()] == [one[:2] for one in theirs()]
            pairs, repeat = compare(ours, theirs, pairs=bench.pairs, seconds=bench.seconds)
            action = f"near of {share}{where}, to {name} by hand"
            found.append(pairs.figure("engines", action, hand.count, per=repeat))
        best = min(found, key=lambda one: one.theirs_us)
        for one in found:
            target = max(TARGET, 1 + SLACK_US / one.theirs_us) if one is best else None
            yield one._replace(target=target, headline=one is best)
