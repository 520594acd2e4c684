"""Queries stopped by another thread, `heaven_core.cancellation`, and deadlines over several steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.errors import DeadlineExceeded, QueryCancelled, QueryError

pytestmark = pytest.mark.integration

ROWS = 30_000


class Note(hb.Entity):
    text = hb.field(hb.ShortText)
    meta = hb.field(hb.Json)
    n = hb.field(hb.Integer)


@pytest.fixture(scope="module", params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[hb.HeavenBase]:
    path = tmp_path_factory.mktemp("notes")
    with hb.HeavenBase("notes", path=path, backends={"main": {"type": request.param}}) as made:
        made.register(Note)
        made.upsert_many(Note, [{"text": f"{'ab' * 40}{one}", "meta": {"n": one}, "n": one} for one in range(ROWS)])
        yield made


def slow(ws: hb.HeavenBase) -> dict[str, Callable[[], hb.Query]]:
    """Questions that take long: in the engine, by a function in Python, step by step, grouped."""
    pattern = Note.text.regex("(a|b)+[0-9]*7$")
    return {
        "filter": lambda: ws.query(Note).where(*[pattern | (Note.text.regex(f"(b|a)+{one}$")) for one in range(60)]),
        "search": lambda: ws.query(Note).search(" ".join(f"ab{one}" for one in range(3000))),
        "group": lambda: (
            ws.query(Note).where(pattern | Note.text.regex("x$")).group_by("text").aggregate(middle=Note.n.median())
        ),
    }


@pytest.mark.parametrize("kind", ["filter", "search", "group"])
def test_another_thread_stops_a_query(ws: hb.HeavenBase, kind: str) -> None:
    stop = hb.Cancellation()
    query = slow(ws)[kind]().limits(cancel=stop)
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(query.execute())
        except QueryCancelled as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.02)
    stop.cancel()
    said = time.monotonic()
    thread.join()

    assert time.monotonic() - said < 2
    (found,) = outcome
    assert isinstance(found, QueryCancelled)
    assert str(found) == "the query was cancelled by another thread; nothing was returned"
    assert ws.query(Note).limit(1).execute().ids  # the workspace goes on


def test_a_query_that_was_cancelled_before_does_not_begin(ws: hb.HeavenBase) -> None:
    stop = hb.Cancellation()
    stop.cancel()
    stop.cancel()

    assert stop.cancelled
    with pytest.raises(QueryCancelled):
        ws.query(Note).limit(1).limits(cancel=stop).execute()


def test_one_word_stops_several_queries_and_leaves_others_alone(ws: hb.HeavenBase) -> None:
    stop = hb.Cancellation()
    stopped = ws.query(Note).limits(cancel=stop)
    stop.cancel()

    for query in (stopped.limit(1), stopped.where(Note.n < 3), stopped.aggregate(total="count")):
        with pytest.raises(QueryCancelled):
            query.execute()
    assert len(ws.query(Note).limit(2).limits(cancel=hb.Cancellation()).execute()) == 2


def test_a_transaction_goes_on_after_a_cancelled_query(ws: hb.HeavenBase) -> None:
    stop = hb.Cancellation()
    stop.cancel()
    with ws.transaction() as tx:
        tx.upsert(Note, {"object_id": "mine", "n": -1})
        with pytest.raises(QueryCancelled):
            tx.query(Note).limits(cancel=stop).execute()

    assert ws.get("mine", Note) is not None
    ws.delete("mine", Note)


@pytest.mark.parametrize("given", [True, "stop", 5, threading.Event()])
def test_only_a_cancellation_cancels(ws: hb.HeavenBase, given: Any) -> None:
    with pytest.raises(QueryError, match=r"the bound 'cancel' takes a heavenbase\.Cancellation or None"):
        ws.query(Note).limits(cancel=given)


def test_a_deadline_is_that_of_all_steps_together(ws: hb.HeavenBase) -> None:
    op = hb.ext.Op("drowse", trait="text", test=lambda dtype, argument: _slept)
    with hb.ext.register_op(op):
        query = ws.query(Note).where({"n": {"$lt": 50}, "text": {"$drowse": 1}}, {"text": {"$drowse": 2}})
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            query.limits(deadline=0.2).execute()
        assert time.monotonic() - started < 1.5


def _slept(value: str) -> bool:
    time.sleep(0.0005)
    return True
