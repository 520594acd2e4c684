"""The same vectors and questions through Chroma, which finds its neighbours by an index that may miss some.

The hand-written side is LanceDB alone, which searches all vectors. Chroma is in no extra of this package: it is
measured where it is installed (`pip install chromadb`), and left out elsewhere.

Not here: our own figures (`nearest`), other packages for rows without vectors (`peers`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import nearest
from tests.benchmarks.figures import Bench
from tests.benchmarks.measure import Figure, Pairs, compare
from tests.benchmarks.nearest import SHARES, TOP, Hand, as_arrow, hb_ids, lance_table

FEW = 20_000
"""Rows past which one insert is measured once: it takes half a minute."""

_numbers = itertools.count()


class Chroma:
    """A collection on the disk, of the same rows."""

    def __init__(self, folder: Path) -> None:
        chromadb: Any = import_module("chromadb")
        quiet = import_module("chromadb.config").Settings(anonymized_telemetry=False)
        self._client: Any = chromadb.PersistentClient(path=str(folder), settings=quiet)
        space = {"hnsw:space": "cosine"}
        self._rows: Any = self._client.create_collection("spot", metadata=space, embedding_function=None)

    def insert(self, rows: list[dict[str, Any]]) -> list[str]:
        """All rows, as many at a time as it takes."""
        ids, size = hb_ids(len(rows)), self._client.get_max_batch_size()
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            vectors, numbers = [row["place"] for row in some], [{"n": row["n"]} for row in some]
            self._rows.add(ids=ids[start : start + size], embeddings=vectors, metadatas=numbers)
        return ids

    def nearest(self, query: Any, below: int | None = None) -> list[tuple[str, int, float]]:
        """The ids, numbers and distances of the ten nearest rows, perhaps of those below a number."""
        where = {} if below is None else {"where": {"n": {"$lt": below}}}
        found = self._rows.query(query_embeddings=[query], n_results=TOP, include=["metadatas", "distances"], **where)
        numbers = [one["n"] for one in found["metadatas"][0]]
        return list(zip(found["ids"][0], numbers, found["distances"][0], strict=True))


def figures(bench: Bench, count: int) -> Iterator[Figure]:
    """Rows with vectors put and found; nothing where Chroma is not installed."""
    if find_spec("chromadb") is None:
        print("Chroma is left out: it is not installed (pip install chromadb)")
        return
    rows, vectors = nearest.spots(count)
    pairs, folder = Pairs(), bench.folder
    for _ in range(3 if count <= FEW else 1):
        folder = bench.folder / f"vectors-{next(_numbers)}"
        theirs, table = Chroma(folder / "chroma"), lance_table(folder / "lance")
        pairs.add(
            lambda theirs=theirs: lambda: theirs.insert(rows),
            lambda table=table: lambda: table.add(as_arrow(hb_ids(len(rows)), rows)),
        )
    yield pairs.figure("Chroma", "insert of rows with vectors", count)
    yield from _questions(bench, folder, rows, vectors)


def _questions(bench: Bench, folder: Path, rows: list[dict[str, Any]], vectors: Any) -> Iterator[Figure]:
    theirs = Chroma(folder / "chroma-asked")
    hand = Hand(folder, theirs.insert(rows), rows, vectors)
    wanted = vectors[0] + np.float32(0.1)
    query = wanted.tolist()
    pairs, repeat = compare(
        lambda: theirs.nearest(query), lambda: hand.nearest(wanted), pairs=bench.pairs, seconds=bench.seconds
    )
    yield pairs.figure("Chroma", "near, best 10 by cosine", hand.count, per=repeat)
    for share, part in SHARES.items():
        below = int(part * hand.count)
        pairs, repeat = compare(
            lambda below=below: theirs.nearest(query, below),
            lambda below=below: hand.nearest_below(wanted, below),
            pairs=bench.pairs,
            seconds=bench.seconds,
        )
        yield pairs.figure("Chroma", f"near of {share}", hand.count, per=repeat)
    hand.close()
