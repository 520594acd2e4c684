"""A workspace in an event loop: the same answers, the loop goes on, and what a cancellation means."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.access import Access
from heaven_core.aio import AsyncAccess, AsyncQuery
from heaven_core.errors import InvalidType, QueryCancelled
from heaven_core.query import Query

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer)


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("loop", path=tmp_path, backends={"main": request.param}) as workspace:
        workspace.register(Doc)
        yield workspace


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 30))


def test_every_method_of_rows_and_queries_is_there() -> None:
    sync = {name for name in vars(Access) if not name.startswith("_")} - {"core", "entity", "explain", "run_query"}
    queries = {name for name, one in vars(Query).items() if not name.startswith("_") and inspect.isfunction(one)}

    assert sync - {"versions"} <= set(vars(AsyncAccess))
    assert queries <= set(vars(AsyncQuery))


def test_rows_are_written_and_read(ws: hb.HeavenBase, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"title": "c", "n": 3}\n{"title": "d", "n": 4}\n')
    seen: list[int] = []

    async def work() -> None:
        aio = ws.aio
        one = await aio.upsert(Doc, {"title": "a", "n": 1})
        two, _ = await aio.upsert_many(Doc, [{"title": "b", "n": 2}, {"title": "x"}])
        assert await aio.load(Doc, file, progress=seen.append) == 2
        assert await aio.set(one, {"n": 10}) == one
        assert (await aio.get(one, Doc))["n"] == 10  # type: ignore[index]
        assert [row and row["title"] for row in await aio.get_many([two, "none"], Doc)] == ["b", None]
        assert await aio.exists(two)
        assert await aio.version(one) == ws.version(one)
        assert await aio.count(Doc, {"n": {"$gt": 2}}) == 3
        assert await aio.delete(one)
        assert await aio.delete_many([two, "none"], Doc) == 1
        assert await aio.ids(Doc) == ws.ids(Doc)
        assert seen == [2]

    run(work())


def test_queries_are_built_as_ever_and_awaited(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"title": f"t{one % 3}", "n": one} for one in range(30)])

    async def work() -> None:
        query = ws.aio.query(Doc).where(Doc.n >= 5).order_by("-n").limit(3).select("n")
        assert (await query.execute()).column("n") == [29, 28, 27]
        assert await query.count() == 3
        assert (await query.explain()).native in (True, False)
        groups = ws.aio.query(Doc).group_by("title").aggregate(total=Doc.n.sum()).having({"total": {"$gt": 140}})
        assert (await groups.order_by("title").execute()).column("total") == [145, 155]
        again = ws.aio.query_json(Doc, query.to_dict())
        assert (await again.execute()).ids == (await query.execute()).ids
        assert [row["n"] async for row in ws.aio.query(Doc).order_by("n").offset(27)] == [27, 28, 29]
        assert [len(part) async for part in ws.aio.query(Doc).iter_frames(20)] == [20, 10]

    run(work())


def test_the_loop_goes_on_meanwhile(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(ws), "count", lambda *_: time.sleep(0.3))

    async def work() -> int:
        counting = asyncio.create_task(ws.aio.count(Doc))
        turns = 0
        while not counting.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns

    assert run(work()) >= 5


def test_an_error_is_the_same(ws: hb.HeavenBase) -> None:
    with pytest.raises(InvalidType, match=r"doc\.n, row 0"):
        run(ws.aio.upsert(Doc, {"n": "x"}))


# -- transactions --------------------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(ws: hb.HeavenBase) -> None:
    async def work() -> None:
        async with ws.aio.transaction() as tx:
            await tx.upsert(Doc, {"object_id": "a", "n": 1})
            await tx.set("a", {"n": 2}, Doc)
            assert (await tx.query(Doc).execute()).column("n") == [2]
            assert await ws.aio.count(Doc) == 0

    async def undone() -> None:
        async with ws.aio.transaction(exclusive=True) as tx:
            await tx.delete("a", Doc)
            raise ZeroDivisionError

    run(work())
    with pytest.raises(ZeroDivisionError):
        run(undone())

    assert ws.get("a", Doc)["n"] == 2  # type: ignore[index]


def test_two_transactions_take_turns(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "n": 0})

    async def count_up() -> None:
        for _ in range(5):
            async with ws.aio.transaction(exclusive=True) as tx:
                row = await tx.get("a", Doc)
                assert row is not None
                await tx.set("a", {"n": row["n"] + 1}, Doc)

    async def work() -> None:
        await asyncio.gather(*(count_up() for _ in range(4)))

    run(work())

    assert ws.get("a", Doc)["n"] == 20  # type: ignore[index]


# -- cancellation --------------------------------------------------------------------------------------------------


def test_a_cancelled_write_is_decided_and_says_so(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()
    real = type(ws).upsert

    def slow(self: hb.HeavenBase, entity: Any, row: Any) -> str:
        begun.set()
        go.wait(10)
        return real(self, entity, row)

    monkeypatch.setattr(type(ws), "upsert", slow)

    async def work(row: dict[str, Any]) -> Any:
        begun.clear()
        go.clear()
        writing = asyncio.create_task(ws.aio.upsert(Doc, row))
        await asyncio.to_thread(begun.wait, 10)
        writing.cancel()
        await asyncio.sleep(0.05)
        assert not writing.done()  # it waits for the decision
        writing.cancel()  # and goes on waiting
        go.set()
        with pytest.raises(asyncio.CancelledError) as raised:
            await writing
        return raised.value.committed  # type: ignore[attr-defined]

    assert run(work({"n": 1})) is True
    assert run(work({"n": "refused"})) is False
    assert ws.count(Doc) == 1


def test_a_cancelled_query_is_stopped(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()

    def endless(self: Query) -> Any:
        try:
            while True:
                time.sleep(0.01)
                assert self.limits_.cancel is not None
                self.limits_.cancel.check()
        except QueryCancelled:
            stopped.set()
            raise

    monkeypatch.setattr(Query, "execute", endless)

    async def work() -> None:
        asking = asyncio.create_task(ws.aio.query(Doc).execute())
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run(work())

    assert stopped.is_set()


def test_a_cancellation_inside_a_transaction_undoes_it(ws: hb.HeavenBase) -> None:
    async def block() -> None:
        async with ws.aio.transaction() as tx:
            await tx.upsert(Doc, {"n": 1})
            await asyncio.sleep(60)

    async def work() -> None:
        running = asyncio.create_task(block())
        await asyncio.sleep(0.2)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(work())

    assert ws.count(Doc) == 0
    ws.upsert(Doc, {"n": 2})  # the writers' lock is free


def test_a_time_out_of_a_write_is_a_time_out(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(ws).upsert
    monkeypatch.setattr(type(ws), "upsert", lambda *given: (time.sleep(0.2), real(*given))[1])

    async def work() -> Any:
        with pytest.raises(TimeoutError) as raised:
            async with asyncio.timeout(0.05):
                await ws.aio.upsert(Doc, {"n": 1})
        return raised.value.__cause__.committed  # type: ignore[union-attr]

    assert run(work()) is True
    assert ws.count(Doc) == 1


async def _cancelled_in_a_block(ws: hb.HeavenBase) -> BaseException | None:
    try:
        async with asyncio.timeout(0.02), ws.aio.transaction() as tx:
            await tx.upsert_many(Doc, [{"title": f"t{one}"} for one in range(20_000)])
            await asyncio.sleep(5)
    except TimeoutError as error:
        return error.__cause__
    return None


def test_a_write_inside_a_block_that_was_undone_does_not_say_that_it_was_committed(ws: hb.HeavenBase) -> None:
    cause: Any = asyncio.run(_cancelled_in_a_block(ws))

    assert cause is not None
    assert cause.committed is False
    assert ws.count(Doc) == 0
