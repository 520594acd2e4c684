"""A workspace is closed while other threads do everything that can be done with it: all of them learn that it was.

The threads change hands a million times a second, so that closing comes between any two steps. The everyday run is
short; `-m soak` goes on for a minute.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import WorkspaceClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

THREADS = 5


class Doc(hb.Entity):
    n = hb.field(hb.Integer).index()
    tags = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


@pytest.fixture
def restless() -> Iterator[None]:
    """Let threads change hands as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def transacted(ws: hb.HeavenBase, *, exclusive: bool) -> None:
    with ws.transaction(exclusive=exclusive) as tx:
        tx.set("d2", {"n": time.monotonic_ns()}, Doc)
        tx.get("d1")


USES: list[Callable[[hb.HeavenBase, int], Any]] = [
    lambda ws, _: ws.query(Doc).where(Doc.body.contains("words")).execute().rows(),
    lambda ws, _: ws.query(Doc).search("words").limit(2).execute(),
    lambda ws, _: ws.query(Doc).group_by("n").aggregate(rows="count").execute().rows(),
    lambda ws, me: ws.upsert(Doc, {"object_id": f"w{me}", "n": time.monotonic_ns(), "tags": ["a", "b"]}),
    lambda ws, me: ws.delete(f"w{me}"),
    lambda ws, _: (ws.get("d1"), ws.version("d1"), ws.versions(Doc, ["d1"])),
    lambda ws, _: transacted(ws, exclusive=False),
    lambda ws, _: transacted(ws, exclusive=True),
    lambda ws, _: ws.register(hb.Entity.from_schema({"id": f"k{random.randrange(99)}", "fields": []})),
    lambda ws, _: ws.check(),
    lambda ws, _: ws.health(),
    lambda ws, _: ws.query("sys-catalog").limit(3).execute(),
    lambda ws, _: list(ws.core().primary.scan(ws.core().stored(Doc).layout)),
]


def errors_of(ws: hb.HeavenBase, dice: random.Random) -> list[BaseException]:
    """What ends each thread when the workspace is closed under all of them."""
    errors: list[BaseException] = []
    together = threading.Barrier(THREADS + 1)

    def work(me: int, order: list[Any]) -> None:
        together.wait()
        try:
            while True:
                for use in order:
                    use(ws, me)
        except BaseException as error:
            errors.append(error)

    ws.register(Doc)
    ws.upsert_many(Doc, [{"object_id": f"d{one}", "n": one, "body": "some words " * 20} for one in range(100)])
    threads = [threading.Thread(target=work, args=(me, dice.sample(USES, len(USES)))) for me in range(THREADS)]
    for thread in threads:
        thread.start()
    together.wait()
    time.sleep(dice.uniform(0, 0.05))
    ws.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread waits for a workspace that is closed"
    return errors


def close_again_and_again(folder: Path, engine: str, seconds: float) -> None:
    dice, ends = random.Random(11), time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < ends:
        where: dict[str, Any] = {"preset": "debug"} if engine == "inmem" else {"path": folder / f"ws{rounds}"}
        errors = errors_of(hb.HeavenBase("closing", **where), dice)

        assert len(errors) == THREADS
        assert all(type(error) is WorkspaceClosed for error in errors), errors
        if engine == "sqlite":
            with hb.HeavenBase("closing", **where) as ws:
                assert ws.check().ok
                ws.drop()
        rounds += 1
    assert rounds > 3


LONG: dict[str, Callable[[hb.HeavenBase], Any]] = {
    "check": lambda ws: ws.check(),
    "query": lambda ws: ws.query(Doc).where(Doc.body.contains("nowhere")).execute(),
    "write": lambda ws: ws.upsert_many(Doc, [{"n": one, "body": "some words " * 20} for one in range(3000)]),
}


@pytest.mark.parametrize("name", LONG)
def test_closing_stops_what_takes_long_and_says_so(tmp_path: Path, name: str) -> None:
    ws = hb.HeavenBase("closing", path=tmp_path / "ws")
    ws.register(Doc)
    ws.upsert_many(Doc, [{"n": one, "body": "some words " * 100} for one in range(3000)])
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                LONG[name](ws)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    ws.close()
    thread.join(60)

    assert [type(error) for error in errors] == [WorkspaceClosed]
    with hb.HeavenBase("closing", path=tmp_path / "ws") as again:
        assert again.check().ok
        assert again.count(Doc) % 3000 == 0


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("engine", ["inmem", "sqlite"])
def test_closing_under_every_use_is_told_to_each_thread(tmp_path: Path, engine: str) -> None:
    close_again_and_again(tmp_path, engine, 2)


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("engine", ["inmem", "sqlite"])
def test_closing_under_every_use_is_told_to_each_thread_for_a_minute(tmp_path: Path, engine: str) -> None:
    close_again_and_again(tmp_path, engine, 60)
