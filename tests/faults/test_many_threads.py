"""Fifty threads read and write one workspace: no error, no lost row, versions that only grow, reads of one moment.

What makes a wrong read visible: accounts between which money is moved in transactions, so that every sum read at one
moment is the same; a counter that is only ever counted up; rows of a batch that all say the same.
The everyday run takes five seconds for each engine; `-m soak` takes a minute.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

THREADS = 50
ACCOUNTS = [f"account{one}" for one in range(8)]
MONEY = 1000


class Account(hb.Entity):
    balance = hb.field(hb.Integer).index()


class Note(hb.Entity):
    writer = hb.field(hb.Integer).index()
    number = hb.field(hb.Integer)
    tags = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    vec = hb.field(hb.Vector[2])


class Worker:
    """One thread: what it has written, and the versions that it has seen."""

    def __init__(self, number: int) -> None:
        self.number, self.dice = number, random.Random(number)
        self.written = self.counted = self.steps = 0
        self.seen: dict[str, int] = {}
        self.error: BaseException | None = None

    def run(self, where: dict[str, Any], ends: float) -> None:
        uses = [self.write, self.write_many, self.move, self.count, self.read_sum, self.read_mine, self.read_batch]
        try:
            with hb.HeavenBase("busy", **where) as ws:
                while time.monotonic() < ends:
                    self.dice.choice(uses)(ws)
                    self.steps += 1
        except BaseException as error:
            self.error = error

    def notes(self, count: int) -> list[dict[str, Any]]:
        first, me = self.written, self.number
        return [
            {
                "object_id": f"t{me}-{number}",
                "writer": me,
                "number": number,
                "tags": [f"writer{me}", "everybody"],
                "body": f"by writer{me} for everybody",
                "vec": [me, number],
            }
            for number in range(first, first + count)
        ]

    def look(self, ws: hb.HeavenBase, one: str, least: int = 0) -> int:
        """The version of a row, which must not go back."""
        version = ws.version(one)
        assert version is not None
        assert version >= max(self.seen.get(one, 0), least)
        self.seen[one] = version
        return version

    def write(self, ws: hb.HeavenBase) -> None:
        (row,) = self.notes(1)
        one = ws.upsert(Note, row)
        self.written += 1
        assert ws.get(one, Note) == {"name": None, **row}
        before = self.look(ws, one)
        ws.set(one, {"name": "again"}, Note)
        assert self.look(ws, one) > before

    def write_many(self, ws: hb.HeavenBase) -> None:
        ids = ws.upsert_many(Note, self.notes(5))
        self.written += 5
        assert len(set(ws.versions(Note, ids))) == 1

    def move(self, ws: hb.HeavenBase) -> None:
        one, other = self.dice.sample(ACCOUNTS, 2)
        with ws.transaction(exclusive=True) as tx:
            held, there = tx.get_many([one, other], Account)
            assert held is not None
            assert there is not None
            tx.set(one, {"balance": held["balance"] - 1}, Account)
            tx.set(other, {"balance": there["balance"] + 1}, Account)
        self.look(ws, one)

    def count(self, ws: hb.HeavenBase) -> None:
        with ws.transaction(exclusive=True) as tx:
            now = (tx.get("counter", Account) or {})["balance"]
            tx.set("counter", {"balance": now + 1}, Account)
        self.counted += 1
        self.look(ws, "counter")

    def read_sum(self, ws: hb.HeavenBase) -> None:
        of_all = {"object_id": {"$in": ACCOUNTS}}
        rows = ws.query(Account).where(of_all).execute().rows()
        assert (len(rows), sum(row["balance"] for row in rows)) == (len(ACCOUNTS), MONEY)
        assert ws.query(Account).where(of_all).aggregate(all=Account.balance.sum()).execute().scalar() == MONEY

    def read_mine(self, ws: hb.HeavenBase) -> None:
        me = self.number
        assert ws.query(Note).where(Note.writer == me).count() == self.written
        assert ws.query(Note).where(Note.body.match(f"writer{me}")).count() == self.written
        assert ws.query(Note).where(Note.tags.array_contains(f"writer{me}")).count() == self.written

    def read_batch(self, ws: hb.HeavenBase) -> None:
        ws.upsert_many(Note, [{"object_id": f"same{one}", "writer": -1, "number": self.steps} for one in range(5)])
        same = ws.query(Note).where(Note.writer == -1).execute().column("number")
        assert len(same) == 5
        assert len(set(same)) == 1
        near = ws.query(Note).where(Note.writer == self.number).near(Note.vec, [1, 1], top_k=3, metric="l2").execute()
        assert len(near) == min(3, self.written)


def work_together(where: dict[str, Any], seconds: float) -> None:
    workers = [Worker(number) for number in range(THREADS)]
    with hb.HeavenBase("busy", **where) as ws:
        ws.register(Account, Note)
        share = MONEY // len(ACCOUNTS)
        ws.upsert_many(Account, [{"object_id": one, "balance": share} for one in ACCOUNTS])
        ws.upsert(Account, {"object_id": "counter", "balance": 0})
        ends = time.monotonic() + seconds
        threads = [threading.Thread(target=worker.run, args=(where, ends)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 60)

        assert not any(thread.is_alive() for thread in threads)
        assert [worker.error for worker in workers if worker.error] == []
        assert all(worker.steps for worker in workers), "a thread never came to its turn"
        mine = ws.query(Note).where(Note.writer >= 0).group_by("writer").aggregate(rows="count").execute().rows()
        expected = Counter({worker.number: worker.written for worker in workers})
        assert Counter({row["writer"]: row["rows"] for row in mine}) == +expected
        assert (ws.get("counter", Account) or {})["balance"] == sum(worker.counted for worker in workers)
        workers[0].read_sum(ws)
        for worker in workers:
            worker.read_mine(ws)
        assert ws.check().ok


@pytest.fixture(params=["inmem", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    return {"preset": "debug"} if request.param == "inmem" else {"path": tmp_path / "ws"}


def test_fifty_threads_lose_nothing_and_read_what_is_there(where: dict[str, Any]) -> None:
    work_together(where, 5)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_fifty_threads_lose_nothing_and_read_what_is_there_for_a_minute(where: dict[str, Any]) -> None:
    work_together(where, 60)
