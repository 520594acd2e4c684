"""A workspace for event loops: the same methods, awaited; the work is done in threads, so the loop goes on.

A query that is cancelled is stopped. A write that is cancelled cannot be: whoever cancels it waits until it is
decided, and the `CancelledError` then says so as `committed`.

A transaction has a thread of its own for its length, since one belongs to one thread.

Not here: what the methods do (`heaven_core.access`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from heaven_core.cancellation import Cancellation

if TYPE_CHECKING:
    from heaven_core.access import Access
    from heaven_core.explain import Explanation
    from heaven_core.frame import ResultFrame
    from heaven_core.query import Query
    from heaven_core.workspace import HeavenBase

T = TypeVar("T")


class Lane:
    """Where calls run: the threads of the event loop, or the one of a transaction."""

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor

    def _start(self, call: Callable[..., T], *given: Any, **named: Any) -> asyncio.Future[T]:
        context = copy_context()
        return asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: context.run(call, *given, **named)
        )  # fmt: skip

    async def read(self, call: Callable[..., T], *given: Any, **named: Any) -> T:
        """The call's result; if the waiting is cancelled, the call goes on and nobody learns of it."""
        return await self._start(call, *given, **named)

    async def stoppable(self, stop: Cancellation, call: Callable[..., T], *given: Any, **named: Any) -> T:
        """The call's result; if the waiting is cancelled, so is the call, and its thread is free again."""
        running = self._start(call, *given, **named)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.cancel()
            await _ended(running)
            raise

    async def write(self, call: Callable[..., T], *given: Any, **named: Any) -> T:
        """The call's result; if the waiting is cancelled, the write is decided first, and `committed` says how."""
        running = self._start(call, *given, **named)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError as cancelled:
            await _ended(running)
            cancelled.committed = running.exception() is None  # type: ignore[attr-defined]
            raise


async def _ended(running: asyncio.Future[Any]) -> None:
    """Wait for a call, however often the waiting is cancelled."""
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            continue
    running.exception()  # which has been looked at


def _in_loop(progress: Callable[[int], Any] | None) -> Callable[[int], Any] | None:
    """What a thread calls, so that `progress` is called in the running event loop."""
    return None if progress is None else partial(asyncio.get_running_loop().call_soon_threadsafe, progress)


class AsyncAccess:
    """The reads and writes of a workspace or a transaction, awaited."""

    def __init__(self, access: Access, lane: Lane, workspace: HeavenBase) -> None:
        self._access, self._lane, self._workspace = access, lane, workspace

    # writing -----------------------------------------------------------------------------------------------------

    async def upsert(self, entity: Any, row: Any) -> str:
        """As `ws.upsert`."""
        return await self._lane.write(self._access.upsert, entity, row)

    async def upsert_many(self, entity: Any, rows: Any, *, progress: Callable[[int], Any] | None = None) -> list[str]:
        """As `ws.upsert_many`; `progress` is called in the event loop."""
        return await self._lane.write(self._access.upsert_many, entity, rows, progress=_in_loop(progress))

    async def load(
        self, entity: Any, path: Any, *, format: str | None = None, progress: Callable[[int], Any] | None = None
    ) -> int:
        """As `ws.load`; `progress` is called in the event loop."""
        return await self._lane.write(self._access.load, entity, path, format=format, progress=_in_loop(progress))

    async def set(self, object_id: str, values: Mapping[str, Any], entity: Any = None) -> str:
        """As `ws.set`."""
        return await self._lane.write(self._access.set, object_id, values, entity)

    async def delete(self, object_id: str, entity: Any = None) -> bool:
        """As `ws.delete`."""
        return await self._lane.write(self._access.delete, object_id, entity)

    async def delete_many(self, ids: Iterable[str], entity: Any = None) -> int:
        """As `ws.delete_many`."""
        return await self._lane.write(self._access.delete_many, ids, entity)

    # reading -----------------------------------------------------------------------------------------------------

    async def get(self, object_id: str, entity: Any = None) -> dict[str, Any] | None:
        """As `ws.get`."""
        return await self._lane.read(self._access.get, object_id, entity)

    async def get_many(self, ids: Iterable[str], entity: Any = None) -> list[dict[str, Any] | None]:
        """As `ws.get_many`."""
        return await self._lane.read(self._access.get_many, ids, entity)

    async def exists(self, object_id: str, entity: Any = None) -> bool:
        """As `ws.exists`."""
        return await self._lane.read(self._access.exists, object_id, entity)

    async def version(self, object_id: str, entity: Any = None) -> int | None:
        """As `ws.version`."""
        return await self._lane.read(self._access.version, object_id, entity)

    async def ids(self, entity: Any) -> list[str]:
        """As `ws.ids`."""
        return await self._lane.read(self._access.ids, entity)

    async def count(self, entity: Any, filter: Any = None) -> int:  # the word of the JSON spec
        """As `ws.count`."""
        return await self._lane.read(self._access.count, entity, filter)

    def query(self, entity: Any) -> AsyncQuery:
        """A query over the rows of an entity: built at once, awaited when it is asked."""
        return self._asked_here(self._workspace.query(entity))

    def query_json(self, entity: Any, spec: Mapping[str, Any]) -> AsyncQuery:
        """The query that a JSON spec says."""
        return self._asked_here(self._workspace.query_json(entity, spec))

    def _asked_here(self, query: Query) -> AsyncQuery:
        """A new query, asked in the transaction if this is one: building it needs no thread of that."""
        query.source = self._access
        return AsyncQuery(query, self._lane)


class AsyncWorkspace(AsyncAccess):
    """What `ws.aio` is: the workspace's methods, awaited."""

    def __init__(self, workspace: HeavenBase) -> None:
        super().__init__(workspace, Lane(), workspace)

    @asynccontextmanager
    async def transaction(self, exclusive: bool = False) -> AsyncGenerator[AsyncAccess]:
        """As `ws.transaction`, in a thread of its own: committed at the end of the block, undone by an exception.

        A cancellation inside the block undoes it; one while it is being committed waits, and says `committed`.
        """
        with ThreadPoolExecutor(1, "heavenbase-transaction") as executor:
            lane = Lane(executor)
            block = self._workspace.transaction(exclusive)
            tx = await lane.write(block.__enter__)
            try:
                yield AsyncAccess(tx, lane, self._workspace)
            except BaseException as error:
                await lane.write(block.__exit__, type(error), error, error.__traceback__)
                if isinstance(error, asyncio.CancelledError):  # a write inside may have said that it was done
                    error.committed = False  # type: ignore[attr-defined]
                raise
            await lane.write(block.__exit__, None, None, None)


class AsyncQuery:
    """A query whose answer is awaited; building it is the same as for `Query`, and makes a new one each time."""

    __slots__ = ("_lane", "query")

    def __init__(self, query: Query, lane: Lane) -> None:
        self.query, self._lane = query, lane

    def _with(self, query: Query) -> AsyncQuery:
        return AsyncQuery(query, self._lane)

    def where(self, *conditions: Any) -> AsyncQuery:
        """As `Query.where`."""
        return self._with(self.query.where(*conditions))

    def near(self, *given: Any, **named: Any) -> AsyncQuery:
        """As `Query.near`."""
        return self._with(self.query.near(*given, **named))

    def search(self, *given: Any, **named: Any) -> AsyncQuery:
        """As `Query.search`."""
        return self._with(self.query.search(*given, **named))

    def select(self, *fields: Any) -> AsyncQuery:
        """As `Query.select`."""
        return self._with(self.query.select(*fields))

    def order_by(self, *keys: Any, desc: bool = False) -> AsyncQuery:
        """As `Query.order_by`."""
        return self._with(self.query.order_by(*keys, desc=desc))

    def limit(self, count: Any) -> AsyncQuery:
        """As `Query.limit`."""
        return self._with(self.query.limit(count))

    def offset(self, count: Any) -> AsyncQuery:
        """As `Query.offset`."""
        return self._with(self.query.offset(count))

    def group_by(self, *fields: Any) -> AsyncQuery:
        """As `Query.group_by`."""
        return self._with(self.query.group_by(*fields))

    def aggregate(self, /, **named: Any) -> AsyncQuery:
        """As `Query.aggregate`."""
        return self._with(self.query.aggregate(**named))

    def having(self, *conditions: Any) -> AsyncQuery:
        """As `Query.having`."""
        return self._with(self.query.having(*conditions))

    def limits(self, /, **bounds: Any) -> AsyncQuery:
        """As `Query.limits`."""
        return self._with(self.query.limits(**bounds))

    def to_dict(self) -> dict[str, Any]:
        """As `Query.to_dict`."""
        return self.query.to_dict()

    async def execute(self) -> ResultFrame:
        """The answer; a cancellation stops the query."""
        return await self._asked(lambda query: query.execute())

    async def count(self) -> int:
        """How many rows satisfy the conditions."""
        return await self._asked(lambda query: query.count())

    async def explain(self, *, analyze: bool = False) -> Explanation:
        """As `Query.explain`."""
        return await self._asked(lambda query: query.explain(analyze=analyze))

    async def _asked(self, ask: Callable[[Query], T]) -> T:
        stop = self.query.limits_.cancel or Cancellation()
        return await self._lane.stoppable(stop, ask, self.query.limits(cancel=stop))

    async def iter_frames(self, size: int = 1000) -> AsyncIterator[ResultFrame]:
        """As `Query.iter_frames`: the answer in parts, the loop going on while each is read."""
        parts = self.query.iter_frames(size)

        def taken() -> ResultFrame | None:
            return next(parts, None)

        while (part := await self._lane.read(taken)) is not None:
            yield part

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        async for part in self.iter_frames():
            for row in part:
                yield row

    def __repr__(self) -> str:
        return f"<awaited {self.query!r}>"
