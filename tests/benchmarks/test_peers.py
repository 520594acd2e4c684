"""The other packages do the same work: their rows are those of the hand-written code. Slow to import, so on request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.figures import Bench
from tests.benchmarks.rows import Plain, make_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.peers]

COUNT = 300


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench.opened(pairs=1, seconds=0.001) as made:
        yield made


@pytest.mark.parametrize("number", range(3))
def test_a_peer_inserts_the_same_rows(bench: Bench, number: int) -> None:
    from tests.benchmarks import peers

    make, _, insert = peers.INSERTS[number]
    mine, other = bench.twin(bench.statements(Plain)), bench.twin(bench.statements(Plain))
    theirs = make(mine.path)

    insert(theirs, make_rows(COUNT))
    theirs.close()
    other.insert(make_rows(COUNT))

    text = 'select title, body, state, bucket, score, done, due, meta from "e_task" order by rowid'
    kept, expected = (_loaded(one.execute(text).fetchall()) for one in (mine, other))
    assert len(kept) == COUNT
    assert kept == expected
    mine.close()
    other.close()


def _loaded(rows: list[Any]) -> list[Any]:
    return [(*row[:-1], json.loads(row[-1])) for row in rows]


@pytest.mark.parametrize("name", ["Utils", "Orm"])
def test_a_peer_finds_the_same_rows(bench: Bench, name: str) -> None:
    from tests.benchmarks import peers

    other = bench.twin([*bench.statements(Plain), peers.BY_BUCKET])
    ids = other.insert(make_rows(COUNT))
    theirs = getattr(peers, name)(other.path)

    found = [_id(one) for one in theirs.equal(1)]
    single = theirs.get(ids[7])

    assert sorted(found) == sorted(row[0] for row in other.equal(1))
    assert _id(single) == ids[7]
    theirs.close()
    other.close()


def _id(row: Any) -> str:
    return row["object_id"] if isinstance(row, dict) else row.object_id


def test_chroma_finds_the_same_rows_as_lancedb_alone(bench: Bench) -> None:
    pytest.importorskip("chromadb")
    from tests.benchmarks import nearest, vector_peers

    rows, vectors = nearest.spots(COUNT)
    theirs = vector_peers.Chroma(bench.folder / "chroma")
    hand = nearest.Hand(bench.folder, theirs.insert(rows), rows, vectors)

    for below in (COUNT, COUNT // 2):
        found = hand.nearest_below(vectors[3], below)
        expected = list(zip(found.column("id").to_pylist(), found.column("n").to_pylist(), strict=True))
        assert [one[:2] for one in theirs.nearest(vectors[3].tolist(), below)] == expected
    hand.close()
