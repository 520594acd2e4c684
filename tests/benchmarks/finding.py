"""What finding costs over the same done by hand: nearest vectors with numpy, pieces of texts, long conditions.

Not here: rows by equality, range and order (`figures`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

import heavenbase as hb
from tests.benchmarks.figures import Action, Bench
from tests.benchmarks.measure import Figure, Pairs, Run, compare
from tests.benchmarks.rows import WORDS
from tests.benchmarks.twin import Twin

DIM = 32
TERMS = 5_000

_blas = ThreadpoolController()


class Spot(hb.Entity):
    """A vector, and a number to filter by."""

    identifier = "spot"
    n = hb.field(hb.Integer).index()
    place = hb.field(hb.Vector[DIM])


class Host(hb.Entity):
    """A text with an index of its pieces, and the same text without."""

    identifier = "host"
    plain = hb.field(hb.ShortText)
    found = hb.field(hb.ShortText).store(strategy=hb.TrigramIndex).store(strategy=hb.SuffixIndex)


def finds(bench: Bench, count: int) -> Iterator[Figure]:
    """All figures about finding."""
    yield from _compared(bench, count, vectors)
    yield from _compared(bench, count, texts)


def _compared(bench: Bench, count: int, actions: Any) -> Iterator[Figure]:
    for action, ours, theirs, target, headline in actions(bench, count):
        pairs, repeat = compare(ours, theirs, pairs=2 * bench.pairs, seconds=bench.seconds)
        yield pairs.figure("find", action, count, per=repeat, target=target, headline=headline)


# -- vectors ---------------------------------------------------------------------------------------------------------


class ByHand:
    """What numpy alone would keep: the vectors, their lengths, and where the rows are."""

    def __init__(self, other: Twin) -> None:
        self.other = other
        found = other.execute('select _rowid, place from "e_spot" order by _rowid').fetchall()
        self.rowids = np.array([rowid for rowid, _ in found])
        self.vectors = np.frombuffer(b"".join(blob for _, blob in found), dtype="<f4").reshape(-1, DIM)
        self.lengths = np.linalg.norm(self.vectors, axis=1)

    def nearest(self, query: Any, positions: Any = None) -> list[Any]:
        """The ten nearest rows by cosine, read by their numbers."""
        vectors = self.vectors if positions is None else self.vectors[positions]
        lengths = self.lengths if positions is None else self.lengths[positions]
        with _blas.limit(limits=1, user_api="blas"):
            distances = 1 - (vectors @ (query / np.linalg.norm(query))) / lengths
        best = np.argpartition(distances, 9)[:10]
        best = best[np.argsort(distances[best], kind="stable")]
        numbers = self.rowids[best if positions is None else positions[best]].tolist()
        rows = self.other.execute(
            'select _rowid, "object_id", "name", n, place from "e_spot" '
            "where _rowid in (select value from json_each(?))",
            (json.dumps(numbers),),
        ).fetchall()
        return sorted(rows, key=lambda row: numbers.index(row[0]))

    def below(self, limit: int, query: Any) -> list[Any]:
        """The ten nearest of the rows below a number: the condition first."""
        found = self.other.execute('select _rowid from "e_spot" where n < ?', (limit,)).fetchall()
        return self.nearest(query, np.searchsorted(self.rowids, [number for (number,) in found]))


def vectors(bench: Bench, count: int) -> Iterator[Action]:
    """Nearest vectors, all and filtered, to numpy over a matrix that lies ready."""
    chance = np.random.default_rng(7)
    data = chance.standard_normal((count, DIM)).astype("f4")
    with bench.workspace(Spot) as ws:
        for start in range(0, count, 50_000):
            part = data[start : start + 50_000].tolist()
            ws.upsert_many(Spot, [{"n": (start + at) % 1000, "place": one} for at, one in enumerate(part)])
        wanted = chance.standard_normal(DIM).astype("f4")
        query = wanted.tolist()
        with closing(Twin(ws.core().primary.path, [])) as other:
            hand = ByHand(other)
            near = lambda: ws.query(Spot).near(Spot.place, query)  # noqa: E731
            yield (
                "near, best 10 by cosine, as frame",
                lambda: near().execute(),
                lambda: hand.nearest(wanted),
                None,
                True,
            )
            for share, limit in (("1 %", 10), ("50 %", 500)):
                yield (
                    f"near, best 10 of {share} of the rows, as frame",
                    lambda limit=limit: near().where(Spot.n < limit).execute(),
                    lambda limit=limit: hand.below(limit, wanted),
                    None,
                    True,
                )


# -- texts and conditions --------------------------------------------------------------------------------------------


def texts(bench: Bench, count: int) -> Iterator[Action]:
    """Pieces of texts with and without an index, and a condition of 5 000 terms."""
    chance = random.Random(7)
    names = [f"{chance.choice(WORDS)}-{chance.randrange(10**6)}.{chance.choice(WORDS)}.example" for _ in range(count)]
    with bench.workspace(Host) as ws:
        for start in range(0, count, 50_000):
            part = names[start : start + 50_000]
            ws.upsert_many(
                Host, [{"object_id": f"h{start + at}", "plain": one, "found": one} for at, one in enumerate(part)]
            )
        piece, end = names[count // 2][3:16], names[count // 3][-22:]
        with closing(Twin(ws.core().primary.path, [])) as other:
            yield from _pieces(ws, other, piece, end)
            step = max(count // TERMS, 1)
            ids = [f"h{one}" for one in range(0, count, step)][:TERMS]
            yield (
                f"a condition of {len(ids)} terms, as frame",
                lambda: ws.query(Host).where({"$or": [{"object_id": one} for one in ids]}).execute(),
                lambda: _by_ids(other, ids),
                None,
                True,
            )


COLUMNS = '"object_id", "name", plain, "found"'


def _pieces(ws: hb.HeavenBase, other: Twin, piece: str, end: str) -> Iterator[Action]:
    scan = f'select {COLUMNS} from "e_host" where instr("found", ?) > 0'
    trigram = (
        f'select {COLUMNS} from "e_host" where _rowid in '
        '(select rowid from "e_host._trigram" where "e_host._trigram" match ?)'
    )
    ending = f'select {COLUMNS} from "e_host" where _reversed_found >= ? and _reversed_found < ?'
    back = end[::-1]
    actions: list[tuple[str, Run, Run]] = [
        (
            "text within a text, without an index",
            lambda: ws.query(Host).where(Host.plain.contains(piece)).execute(),
            lambda: other.execute(scan, (piece,)).fetchall(),
        ),
        (
            "text within a text, trigram index",
            lambda: ws.query(Host).where(Host.found.contains(piece)).execute(),
            lambda: other.execute(trigram, (f'"{piece}"',)).fetchall(),
        ),
        (
            "text at the end, suffix index",
            lambda: ws.query(Host).where(Host.found.ends_with(end)).execute(),
            lambda: other.execute(ending, (back, back[:-1] + chr(ord(back[-1]) + 1))).fetchall(),
        ),
        (
            "the same with the index, to a scan by hand",
            lambda: ws.query(Host).where(Host.found.contains(piece)).execute(),
            lambda: other.execute(scan, (piece,)).fetchall(),
        ),
    ]
    for action, ours, theirs in actions:
        yield action, ours, theirs, 0.05 if "to a scan" in action else None, True


def _by_ids(other: Twin, ids: list[str]) -> list[Any]:
    text = f'select {COLUMNS} from "e_host" where "object_id" in (select value from json_each(?))'
    return other.execute(text, (json.dumps(ids),)).fetchall()


# -- growth ----------------------------------------------------------------------------------------------------------


def growth(bench: Bench, sizes: list[int]) -> Iterator[Figure]:
    """What a row costs among many, to what it costs among few: 1.00 is flat."""
    from tests.benchmarks.rows import Plain, make_rows

    small, *others = sizes
    with bench.workspace(Plain) as little:
        little.upsert_many(Plain, make_rows(small))
        for size in others:
            rows = make_rows(small, seed=9)
            with bench.workspace(Plain) as big:
                for start in range(0, size, 50_000):
                    big.upsert_many(Plain, make_rows(min(50_000, size - start), seed=start))
                yield _grown(
                    "insert of one more batch, per row", size, _batches(big, rows), _batches(little, rows), bench
                )
                yield _grown(
                    "iterating a query, per row",
                    size,
                    _iterated(big, size // small),
                    lambda: sum(1 for _ in little.query(Plain).limit(small)),
                    bench,
                )
                yield _memory(big, size)
                big.drop()
    yield _opening(bench)


MANY, FEW = 1000, 20


def _opening(bench: Bench) -> Figure:
    """A workspace with a thousand entities, opened and asked one question, to one with twenty."""
    paths: list[Path] = []
    for count in (MANY, FEW):
        paths.append(bench.folder / f"entities-{count}")
        with hb.HeavenBase("bench", path=paths[-1]) as ws:
            ws.register(*[_entity(number) for number in range(count)])
    pairs = Pairs()
    for _ in range(bench.pairs):
        pairs.add(lambda: lambda: _opened(paths[0]), lambda: lambda: _opened(paths[1]))
    return pairs.figure("growth", f"opening with {MANY} entities, to {FEW}", MANY, against=f"{FEW} entities")


def _entity(number: int) -> type[hb.Entity]:
    spec = {"id": f"thing-{number}", "fields": [{"name": "a", "type": "short-text"}, {"name": "b", "type": "integer"}]}
    return hb.Entity.from_schema(spec)


def _opened(path: Path) -> int:
    with hb.HeavenBase("bench", path=path) as ws:
        return ws.query("thing-7").count()


def _memory(ws: hb.HeavenBase, size: int) -> Figure:
    """The process's memory at its height while all rows are gone through, to what it was before."""
    from tests.benchmarks.rows import Plain

    sum(1 for _ in ws.query(Plain).limit(5000))  # SQLite's cache is there
    before = peak = _resident()
    for number, _ in enumerate(ws.query(Plain)):
        if number % 10_000 == 0:
            peak = max(peak, _resident())
    ratio = peak / before
    action = "memory while a query is iterated, to before"
    return Figure("growth", action, size, "before", ratio, ratio, (ratio, ratio), 1, 0.0, 0.0)


def _resident() -> int:
    """The process's resident memory in bytes, without the pages of files."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * 4096


def _batches(ws: hb.HeavenBase, rows: list[Any]) -> Run:
    from tests.benchmarks.rows import Plain

    return lambda: ws.delete_many(ws.upsert_many(Plain, rows), Plain)


def _iterated(ws: hb.HeavenBase, times: int) -> Run:
    """The same number of rows as on the other side, from the middle of many."""
    from tests.benchmarks.rows import Plain

    count = ws.count(Plain) // times
    middle = ws.query(Plain).order_by("object_id").offset(ws.count(Plain) // 2).limit(1).execute().ids[0]
    return lambda: sum(1 for _ in ws.query(Plain).where({"object_id": {"$gte": middle}}).limit(count))


def _grown(action: str, size: int, ours: Run, theirs: Run, bench: Bench) -> Figure:
    pairs = Pairs()
    ours()  # warm
    theirs()
    for _ in range(bench.pairs):
        pairs.add(lambda: ours, lambda: theirs)
    return pairs.figure("growth", action, size, against="ten thousand rows")
