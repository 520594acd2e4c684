"""What HeavenBase costs over `sqlite3` by hand: bulk writes, queries, single rows.

The queries are built inside the timed section, as a program does that asks a question
once; the same ones built before it are shown beside them, as variations.

Not here: how pairs are timed (`measure`), the other side (`twin`), other packages (`peers`).
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import heavenbase as hb
from tests.benchmarks import twin
from tests.benchmarks.measure import Figure, Pairs, Run, compare
from tests.benchmarks.rows import Indexed, Plain, Row, Searched, Tagged, make_rows, tagged
from tests.benchmarks.twin import Twin

FRAME, DICTS, GET = 1.1, 1.1, 1.5
PLAIN, SATELLITES = 1.3, 1.15

_numbers = itertools.count()


class Bench:
    """A folder for the files of one run, and how thorough the run is."""

    def __init__(self, folder: Path, *, pairs: int, seconds: float) -> None:
        self.folder, self.pairs, self.seconds = folder, pairs, seconds

    @classmethod
    @contextmanager
    def opened(cls, *, pairs: int = 15, seconds: float = 0.01) -> Iterator[Bench]:
        """A bench whose folder is removed afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="heavenbase-bench-"))
        try:
            yield cls(folder, pairs=pairs, seconds=seconds)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def workspace(self, entity: type[hb.Entity]) -> hb.HeavenBase:
        """A new workspace with this one entity."""
        ws = hb.HeavenBase("bench", path=self.folder / f"ours-{next(_numbers)}")
        ws.register(entity)
        return ws

    def twin(self, statements: list[str]) -> Twin:
        """A new file with these tables."""
        return Twin(self.folder / f"theirs-{next(_numbers)}.db", statements)

    def statements(self, entity: type[hb.Entity]) -> list[str]:
        """The statements that make an entity's tables, with all others of a workspace."""
        ws = self.workspace(entity)
        ws.close()
        return twin.ddl(file_of(ws, self.folder))


def file_of(ws: hb.HeavenBase, folder: Path) -> Path:
    """The file of the newest workspace in the folder; it was closed."""
    return max(folder.glob("ours-*/main.db"), key=lambda path: int(path.parent.name.partition("-")[2]))


# -- bulk writes -----------------------------------------------------------------------------------------------------

Insert = tuple[str, type[hb.Entity], Callable[[Twin, list[Row]], list[str]], Callable[[list[Row]], list[Row]], float]


def _same(rows: list[Row]) -> list[Row]:
    return rows


INSERTS: list[Insert] = [
    ("bulk insert, plain columns", Plain, Twin.insert, _same, PLAIN),
    ("bulk insert, with full text", Searched, Twin.insert_searched, _same, SATELLITES),
    ("bulk insert, with a side table", Tagged, Twin.insert_tagged, tagged, SATELLITES),
]


def inserts(bench: Bench, count: int) -> Iterator[Figure]:
    """Rows into an empty table, one transaction; each sample has files of its own."""
    rows = make_rows(count)
    for action, entity, write, adapted, target in INSERTS:
        given, statements, pairs = adapted(rows), bench.statements(entity), Pairs()
        for _ in range(_fewer(bench.pairs, count)):
            ws, other = bench.workspace(entity), bench.twin(statements)
            pairs.add(
                lambda ws=ws, entity=entity, given=given: lambda: ws.upsert_many(entity, given),
                lambda other=other, write=write, given=given: lambda: write(other, given),
            )
            ws.drop()
            other.close()
        yield pairs.figure("write", action, count, target=target)


def _fewer(pairs: int, count: int) -> int:
    """Fewer pairs where one takes long."""
    if count > 200_000:
        return 3
    return max(3, pairs // 2) | 1 if count > 20_000 else pairs


def upserts(bench: Bench, count: int) -> Iterator[Figure]:
    """All rows again, none of them changed."""
    rows, pairs = make_rows(count), Pairs()
    with bench.workspace(Plain) as ws, _closing(bench.twin(bench.statements(Plain))) as other:
        ids = ws.upsert_many(Plain, rows)
        given = [{**row, "object_id": one} for one, row in zip(ids, rows, strict=True)]
        other.upsert(given)
        for _ in range(_fewer(bench.pairs, count)):
            pairs.add(lambda: lambda: ws.upsert_many(Plain, given), lambda: lambda: other.upsert(given))
    yield pairs.figure("write", "bulk upsert, nothing changed", count)


# -- queries and single rows -------------------------------------------------------------------------------------------

Action = tuple[str, Run, Run, "float | None", bool]


def reads(bench: Bench, count: int) -> Iterator[Figure]:
    """Questions to a table with indexes, and single rows."""
    rows = make_rows(count)
    with bench.workspace(Indexed) as ws, _closing(bench.twin(bench.statements(Indexed))) as other:
        ids = ws.upsert_many(Indexed, rows)
        copy(ws, other)
        for action, ours, theirs, target, headline in (*questions(ws, other, count), *single(ws, other, ids)):
            pairs, repeat = compare(ours, theirs, pairs=5 * bench.pairs, seconds=bench.seconds)
            yield pairs.figure("read", action, count, per=repeat, target=target, headline=headline)


def copy(ws: hb.HeavenBase, other: Twin) -> None:
    """The very same rows, ids and index entries on the other side."""
    found = ws.query(Indexed).order_by("object_id").limits(max_rows=None, max_bytes=None).execute().rows()
    other.execute("begin immediate")
    other.connection.executemany(twin.INSERT, twin.values([row["object_id"] for row in found], found))
    other.connection.executemany(
        'insert into "e_task._fts" (rowid, f_body) values (?, ?)',
        ((number, twin.index_text(row["body"])) for number, row in enumerate(found, 1)),
    )
    other.execute("commit")


def questions(ws: hb.HeavenBase, other: Twin, count: int) -> Iterator[Action]:
    bucket = max(1, count // 100) // 2
    low, high = 0.5, 0.5 + 100 / count
    words = "ledger mountain"

    def equal() -> hb.Query:
        return ws.query(Indexed).where(Indexed.bucket == bucket)

    def between() -> hb.Query:
        return ws.query(Indexed).where(Indexed.score.between(low, high))

    def highest() -> hb.Query:
        return ws.query(Indexed).order_by("-score").limit(100)

    def best() -> hb.Query:
        return ws.query(Indexed).search(words).limit(10)

    def by_state() -> hb.Query:
        return ws.query(Indexed).group_by("state").aggregate(n="count", mean=Indexed.score.avg())

    questions: list[tuple[str, Callable[[], hb.Query], Run, float | None]] = [
        ("100 rows by indexed equality, as frame", equal, lambda: other.equal(bucket), FRAME),
        ("100 rows by indexed range, as frame", between, lambda: other.between(low, high), FRAME),
        ("first 100 in indexed order, as frame", highest, lambda: other.highest(100), FRAME),
        ("full text, best 10 by BM25, as frame", best, lambda: other.search(words.split(), 10), None),
        ("group by 5 states: count and mean", by_state, other.by_state, None),
    ]
    for action, build, theirs, target in questions:
        built = build()
        yield action, lambda build=build: build().execute(), theirs, target, True
        yield f"{action} (built before)", built.execute, theirs, None, False
    built = equal()
    by_hand: Run = lambda: twin.dicts(other.equal(bucket))  # noqa: E731  # one of a row of actions
    yield "100 rows by indexed equality, as dicts", lambda: equal().execute().rows(), by_hand, DICTS, True
    yield "100 rows by indexed equality, as dicts (built before)", lambda: built.execute().rows(), by_hand, None, False


def single(ws: hb.HeavenBase, other: Twin, ids: list[str]) -> Iterator[Action]:
    ours, theirs = itertools.cycle(ids[:: len(ids) // 97]), itertools.cycle(ids[:: len(ids) // 97])
    yield "get by id", lambda: ws.get(next(ours), Indexed), lambda: other.get(next(theirs)), GET, True
    yield (
        "get by id, entity not said",
        lambda: ws.get(next(ours)),
        lambda: other.get(next(theirs)),
        None,
        False,
    )


def single_writes(bench: Bench, count: int) -> Iterator[Figure]:
    """One changed row per transaction: what a commit costs on the wall is the disk's matter."""
    rows = make_rows(count)
    with bench.workspace(Plain) as ws, _closing(bench.twin(bench.statements(Plain))) as other:
        ids = ws.upsert_many(Plain, rows)
        keyed = [{**row, "object_id": one} for one, row in zip(ids, rows, strict=True)]
        other.upsert(keyed)
        ours, theirs = _changing(keyed), _changing(keyed)
        pairs, repeat = compare(
            lambda: ws.upsert(Plain, next(ours)),
            lambda: other.upsert_one(next(theirs)),
            pairs=5 * bench.pairs,
            seconds=bench.seconds,
        )
        yield pairs.figure("write", "upsert of one changed row", count, per=repeat)


def _changing(rows: list[Row]) -> Iterator[Row]:
    for turn in itertools.count():
        for row in rows:
            yield {**row, "bucket": turn}


@contextmanager
def _closing(other: Twin) -> Iterator[Twin]:
    try:
        yield other
    finally:
        other.close()


def writes(bench: Bench, count: int) -> Iterator[Figure]:
    """All figures about writing."""
    yield from inserts(bench, count)
    yield from upserts(bench, count)
    yield from single_writes(bench, count)
