"""Transactions and their rules: all or nothing, one thread, no nesting, own writes visible, nothing lost.

On the memory engine and on SQLite alike.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.errors import (
    AmbiguousId,
    HeavenError,
    InvalidType,
    NotFound,
    TransactionError,
    UniqueViolation,
    WorkspaceClosed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    n = hb.field(hb.Integer).index()
    code = hb.field(hb.ShortText).unique()
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    vec = hb.field(hb.Vector[2])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


class Tag(hb.Entity):
    label = hb.field(hb.ShortText).required()


def opened(kind: str, folder: Path, name: str = "ledger") -> hb.HeavenBase:
    ws = hb.HeavenBase(name, preset="debug") if kind == "inmem" else hb.HeavenBase(name, path=folder / name)
    ws.register(Doc, Tag)
    return ws


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with opened(request.param, tmp_path) as workspace:
        yield workspace


def in_thread(call: Callable[[], Any]) -> Any:
    """What a call gives, or raises, in a thread of its own."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert results, "the thread hangs"
    return results[0]


# All or nothing


def test_a_transaction_is_committed_at_the_end_of_its_block(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a", "n": 1})
        tx.upsert_many(Tag, [{"object_id": "t1", "label": "x"}, {"object_id": "t2", "label": "y"}])
        tx.set("a", {"n": 2})

    assert ws.get("a", Doc) == {
        "object_id": "a",
        "name": None,
        "n": 2,
        "code": None,
        "numbers": None,
        "vec": None,
        "body": None,
    }
    assert ws.ids(Tag) == ["t1", "t2"]


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_undoes_the_writes_to_every_entity(
    ws: hb.HeavenBase, kind: type[BaseException], exclusive: bool
) -> None:
    ws.upsert_many(Doc, [{"object_id": "kept", "n": 1, "numbers": [1], "body": "one"}, {"object_id": "other", "n": 5}])
    before = (ws.get_many(["kept", "other"], Doc), ws.versions(Doc, ["kept", "other"]), ws.ids(Tag))

    def fail() -> None:
        with ws.transaction(exclusive=exclusive) as tx:
            tx.upsert(Tag, {"label": "x"})
            tx.upsert(Doc, {"object_id": "new", "n": 2, "numbers": [2, 3], "body": "two"})
            tx.set("kept", {"n": 9, "numbers": [9], "body": "nine"})
            tx.delete("other")
            raise kind("stop")

    with pytest.raises(kind, match="stop"):
        fail()

    assert (ws.get_many(["kept", "other"], Doc), ws.versions(Doc, ["kept", "other"]), ws.ids(Tag)) == before
    assert ws.query(Doc).where(Doc.body.match("two") | Doc.body.match("nine")).count() == 0
    assert ws.query(Doc).where(Doc.numbers.array_overlaps([2, 9])).count() == 0
    assert ws.check().ok
    assert ws.upsert(Doc, {"object_id": "next"}) == "next"


def test_writes_of_one_transaction_have_one_version_and_those_of_the_next_a_greater_one(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a"})
        tx.upsert(Tag, {"object_id": "b", "label": "x"})
        tx.upsert(Doc, {"object_id": "c"})
    first = {ws.version(one) for one in ("a", "b", "c")}
    with ws.transaction() as tx:
        tx.set("a", {"n": 1})
        tx.upsert(Doc, {"object_id": "c"})

    assert len(first) == 1
    assert ws.version("c") in first
    assert (ws.version("a") or 0) > max(one for one in first if one is not None)


def test_a_transaction_without_writes_changes_nothing_and_takes_no_lock(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a"})
    version = ws.version("a") or 0

    with ws.transaction() as tx:
        assert tx.count(Doc) == 1
        assert in_thread(lambda: ws.upsert(Doc, {"object_id": "b"})) == "b"
        assert tx.count(Doc) == 2

    assert ws.version("b") == version + 1


# What it sees


def test_a_transaction_reads_its_own_writes_in_every_way(ws: hb.HeavenBase) -> None:
    ws.upsert_many(
        Doc, [{"object_id": f"d{one}", "n": one, "vec": [one, 1], "body": f"old word{one}"} for one in range(4)]
    )

    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "new", "n": 10, "code": "c", "numbers": [7], "vec": [0, 1], "body": "new word"})
        tx.set("d1", {"n": 20})
        assert tx.delete("d2") is True
        assert tx.delete("d2") is False

        assert tx.ids(Doc) == ["d0", "d1", "d3", "new"]
        assert tx.count(Doc) == 4
        assert [row and row["n"] for row in tx.get_many(["d1", "d2", "new"], Doc)] == [20, None, 10]
        assert (tx.exists("d2"), tx.exists("new"), tx.get("d2")) == (False, True, None)
        assert tx.version("new") == tx.version("d1") != tx.version("d0")
        assert tx.query(Doc).where(Doc.n >= 3).order_by("-n").execute().ids == ["d1", "new", "d3"]
        assert tx.query(Doc).where(Doc.code == "c").execute().ids == ["new"]
        assert tx.query(Doc).where(Doc.numbers.array_contains(7)).execute().ids == ["new"]
        assert tx.query(Doc).where(Doc.body.match("word")).execute().ids == ["new"]
        assert tx.query(Doc).search("new").execute().ids == ["new"]
        assert tx.query(Doc).near(Doc.vec, [0, 1], top_k=2).execute().ids == ["d0", "new"]
        assert tx.query(Doc).aggregate(s=Doc.n.sum()).execute().scalar() == 33
        assert tx.query_json(Doc, {"filter": {"n": {"$in": [10, 2]}}}).execute().ids == ["new"]
        with pytest.raises(NotFound):
            tx.set("d2", {"n": 1})

    assert ws.ids(Doc) == ["d0", "d1", "d3", "new"]


def test_nobody_else_sees_a_write_before_the_commit(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "n": 1})

    with ws.transaction() as tx:
        tx.set("a", {"n": 2})
        tx.upsert(Doc, {"object_id": "b"})

        assert (ws.get("a") or {})["n"] == 1
        assert ws.count(Doc) == 1
        assert in_thread(lambda: (ws.ids(Doc), (ws.get("a") or {})["n"])) == (["a"], 1)

    assert (ws.ids(Doc), (ws.get("a") or {})["n"]) == (["a", "b"], 2)


def test_an_id_that_a_transaction_gives_to_two_entities_is_ambiguous_inside_it(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "same"})

    with ws.transaction() as tx:
        tx.upsert(Tag, {"object_id": "same", "label": "x"})
        with pytest.raises(AmbiguousId):
            tx.get("same")
        assert ws.get("same") is not None
        tx.delete("same", Tag)
        assert tx.get("same") is not None


# Errors inside


def test_a_refused_write_leaves_the_earlier_ones_of_the_transaction_usable(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "kept", "code": "taken"})

    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "before", "code": "free"})
        for rows, kind in (
            ([{"object_id": "x", "code": "new"}, {"object_id": "y", "code": "taken"}], UniqueViolation),
            ([{"object_id": "x", "code": "free"}], UniqueViolation),
            ([{"object_id": "x", "numbers": [1]}, {"object_id": "y", "n": "one"}], InvalidType),
        ):
            with pytest.raises(kind):
                tx.upsert_many(Doc, rows)
        with pytest.raises(UniqueViolation):
            tx.set("kept", {"code": "free"})
        assert tx.ids(Doc) == ["before", "kept"]
        tx.upsert(Doc, {"object_id": "after", "code": "new"})

    assert ws.ids(Doc) == ["after", "before", "kept"]
    assert (ws.get("kept") or {})["code"] == "taken"
    assert ws.check().ok


def test_a_unique_value_can_move_within_a_transaction(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": "a", "code": "one"}, {"object_id": "b", "code": "two"}])

    with ws.transaction() as tx:
        tx.delete("a")
        tx.set("b", {"code": "one"})
        tx.upsert(Doc, {"object_id": "c", "code": "two"})
        tx.set("b", {"code": "three"})
        tx.upsert(Doc, {"object_id": "a", "code": "one"})

    assert [row and row["code"] for row in ws.get_many(["a", "b", "c"], Doc)] == ["one", "three", "two"]
    with pytest.raises(UniqueViolation):
        ws.upsert(Doc, {"code": "three"})


def test_an_insert_and_its_deletion_in_one_transaction_leave_no_trace(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a", "code": "x", "numbers": [1], "body": "word"})
        tx.delete("a")

    assert ws.count(Doc) == 0
    assert ws.check().ok
    assert ws.upsert(Doc, {"code": "x"})


# Rules


def test_transactions_cannot_be_nested_not_even_through_another_handle(ws: hb.HeavenBase, tmp_path: Path) -> None:
    kind = "inmem" if ws.folder is None else "sqlite"
    with opened(kind, tmp_path) as other, ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a"})
        for handle in (ws, other):
            with pytest.raises(TransactionError, match="nested"):
                handle.transaction().__enter__()
        assert tx.count(Doc) == 1

    with ws.transaction() as tx:
        assert tx.count(Doc) == 1


def test_transactions_of_two_workspaces_can_be_open_in_one_thread(ws: hb.HeavenBase, tmp_path: Path) -> None:
    with opened("sqlite", tmp_path, "second") as second, ws.transaction() as one, second.transaction() as two:
        one.upsert(Doc, {"object_id": "a"})
        two.upsert(Doc, {"object_id": "b"})

    assert ws.ids(Doc) == ["a"]


def test_two_threads_may_each_have_a_transaction(ws: hb.HeavenBase) -> None:
    def other() -> int:
        with ws.transaction() as tx:
            return tx.count(Doc)

    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a"})
        assert in_thread(other) == 0


def test_the_workspace_refuses_to_write_while_its_thread_has_a_transaction(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "n": 1})

    with ws.transaction() as tx:
        for write in (
            lambda: ws.upsert(Doc, {"object_id": "b"}),
            lambda: ws.upsert_many(Doc, [{"object_id": "b"}]),
            lambda: ws.set("a", {"n": 2}),
            lambda: ws.delete("a"),
            lambda: ws.delete_many(["a"], Doc),
            lambda: ws.register(type("Late", (hb.Entity,), {"n": hb.field(hb.Integer)})),
            lambda: ws.enable_extension("system"),
        ):
            with pytest.raises(TransactionError):
                write()
        tx.upsert(Doc, {"object_id": "c"})

    assert ws.ids(Doc) == ["a", "c"]
    assert ws.upsert(Doc, {"object_id": "b"}) == "b"


def test_a_transaction_belongs_to_the_thread_that_opened_it(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a"})
        query = tx.query(Doc)
        for use in (
            lambda: tx.get("a"),
            lambda: tx.upsert(Doc, {"object_id": "b"}),
            lambda: tx.delete("a"),
            lambda: tx.set("a", {"n": 1}),
            lambda: tx.count(Doc),
            lambda: tx.query(Doc),
            query.execute,
            query.explain,
        ):
            assert isinstance(in_thread(use), TransactionError)

    assert ws.ids(Doc) == ["a"]


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_nothing_works_on_a_transaction_after_its_end(ws: hb.HeavenBase, how: str) -> None:
    def run() -> tuple[Any, Any]:
        with ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "a"})
            kept.extend((tx, tx.query(Doc)))
            if how == "rollback":
                raise RuntimeError
        return tx, None

    kept: list[Any] = []
    if how == "rollback":
        with pytest.raises(RuntimeError):
            run()
    else:
        run()
    tx, query = kept

    for use in (
        lambda: tx.get("a"),
        lambda: tx.upsert(Doc, {"object_id": "b"}),
        lambda: tx.delete("a"),
        lambda: tx.ids(Doc),
        lambda: tx.entity("doc"),
        query.execute,
    ):
        with pytest.raises(TransactionError, match="ended"):
            use()
    assert ws.count(Doc) == (how == "commit")
    assert "ended" in repr(tx)


def test_a_frame_outlives_its_transaction(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "a", "n": 1})
        frame = tx.query(Doc).execute()

    assert [row["n"] for row in frame.rows()] == [1]


def test_an_abandoned_transaction_is_undone_and_blocks_nobody(ws: hb.HeavenBase) -> None:
    def abandon() -> None:
        context = ws.transaction(exclusive=True)
        tx = context.__enter__()
        tx.upsert(Doc, {"object_id": "a"})

    in_thread(abandon)

    assert ws.upsert(Doc, {"object_id": "b"}) == "b"
    assert ws.ids(Doc) == ["b"]


def test_closing_the_workspace_inside_its_transaction_loses_it_with_a_typed_error(tmp_path: Path) -> None:
    def run() -> None:
        ws = opened("sqlite", tmp_path)
        with ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "a"})
            ws.close()
            with pytest.raises(WorkspaceClosed):
                tx.upsert(Doc, {"object_id": "b"})

    with pytest.raises(WorkspaceClosed):
        run()

    with opened("sqlite", tmp_path) as again:
        assert again.ids(Doc) == []
        assert again.upsert(Doc, {"object_id": "c"}) == "c"


# Exclusive


def test_an_exclusive_transaction_holds_the_lock_from_its_beginning(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "n": 1})
    order: list[str] = []
    started = threading.Event()

    def write() -> None:
        started.set()
        ws.set("a", {"n": 100})
        order.append("other")

    thread = threading.Thread(target=write)
    with ws.transaction(exclusive=True) as tx:
        read = (tx.get("a") or {})["n"]
        thread.start()
        started.wait(10)
        time.sleep(0.1)
        assert (tx.get("a") or {})["n"] == read
        tx.set("a", {"n": read + 1})
        order.append("exclusive")
    thread.join(30)

    assert order == ["exclusive", "other"]
    assert (ws.get("a") or {})["n"] == 100


def test_two_threads_count_to_four_hundred_without_losing_one(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "counter", "n": 0})
    failures: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(200):
                with ws.transaction(exclusive=True) as tx:
                    row = tx.get("counter", Doc)
                    assert row is not None
                    tx.set("counter", {"n": row["n"] + 1}, Doc)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)

    assert failures == []
    assert (ws.get("counter") or {})["n"] == 400


# Hooks


def test_observers_see_one_commit_and_nothing_of_what_was_undone(ws: hb.HeavenBase) -> None:
    seen: list[Any] = []

    class Watch:
        @hb.ext.hookimpl
        def heaven_after_commit(self, commit: Any) -> None:
            seen.append([(one.entity, one.inserted, one.updated, one.deleted) for one in commit.changes])

    extension = hb.ext.Extension(hb.ext.ExtensionSpec("watching"), plugin=Watch())
    with hb.ext.register_extension(extension):
        ws.enable_extension("watching")
        with ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "a"})
            tx.upsert(Tag, {"object_id": "b", "label": "x"})
            assert seen == []
        with suppress(RuntimeError), ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "c"})
            raise RuntimeError

    assert seen == [[("doc", ("a",), (), ()), ("tag", ("b",), (), ())]]


def test_a_veto_inside_a_transaction_stops_that_write_only(ws: hb.HeavenBase) -> None:
    class Guard:
        @hb.ext.hookimpl
        def heaven_before_write(self, write: Any) -> None:
            if write.entity == "tag":
                raise PermissionError("no tags")

    extension = hb.ext.Extension(hb.ext.ExtensionSpec("guarding"), plugin=Guard())
    with hb.ext.register_extension(extension):
        ws.enable_extension("guarding")
        with ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "a"})
            with pytest.raises(PermissionError):
                tx.upsert(Tag, {"label": "x"})
            tx.upsert(Doc, {"object_id": "b"})

    assert ws.ids(Doc) == ["a", "b"]
    assert ws.count(Tag) == 0


def test_a_clash_inside_a_batch_names_the_second_row_even_where_that_row_is_stored_already(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "b", "code": "x"})
        with pytest.raises(UniqueViolation) as raised:
            tx.upsert_many(Doc, [{"object_id": "a", "code": "x"}, {"object_id": "b", "code": "x"}])

        assert (raised.value.field, raised.value.row, raised.value.value) == ("code", 1, "x")
        assert tx.ids(Doc) == ["b"]


# Anything at all


ids = st.sampled_from(["a", "b", "c", "d"])
codes = st.sampled_from([None, "x", "y", "z"])
steps = st.lists(
    st.tuples(st.just("upsert"), st.lists(st.tuples(ids, codes), min_size=1, max_size=3))
    | st.tuples(st.just("set"), st.tuples(ids, codes))
    | st.tuples(st.just("delete"), st.lists(ids, max_size=3)),
    max_size=6,
)


def apply(tx: Any, step: tuple[str, Any]) -> Any:
    """One step; its result, or the class and the place of its error."""
    kind, said = step
    try:
        if kind == "upsert":
            return tx.upsert_many(
                Doc, [{"object_id": one, "code": code, "numbers": [1], "body": code} for one, code in said]
            )
        if kind == "set":
            return tx.set(said[0], {"code": said[1]}, Doc)
        return tx.delete_many(said, Doc)
    except HeavenError as error:
        return type(error).__name__, vars(error).get("field"), vars(error).get("row"), vars(error).get("value")


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(parts=st.lists(st.tuples(steps, st.booleans()), min_size=1, max_size=3))
def test_both_engines_do_the_same_in_any_transactions(pair: list[hb.HeavenBase], parts: list[tuple[Any, bool]]) -> None:
    def run(ws: hb.HeavenBase) -> list[Any]:
        told: list[Any] = [ws.delete_many(["a", "b", "c", "d"], Doc) * 0]
        for one, keep in parts:
            try:
                with ws.transaction() as tx:
                    told.extend(apply(tx, step) for step in one)
                    told.append(tx.query(Doc).order_by("object_id").execute().rows())
                    if not keep:
                        raise LookupError("undo")
            except LookupError:
                told.append("undone")
            told.append(ws.query(Doc).order_by("object_id").execute().rows())
            told.append(ws.query(Doc).where(Doc.body.match("x y z")).count())
            told.append(ws.query(Doc).where(Doc.body.match("x")).order_by("object_id").execute().ids)
        return told

    memory, file = (run(ws) for ws in pair)

    assert memory == file
    assert all(ws.check().ok for ws in pair)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[hb.HeavenBase]]:
    folder = tmp_path_factory.mktemp("pair")
    with opened("inmem", folder, "pair") as memory, opened("sqlite", folder, "pair") as file:
        yield [memory, file]


# -- what was read before the first write --------------------------------------------------------------------------


def test_an_update_that_follows_from_an_old_read_is_refused(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "n": 1})

    with pytest.raises(hb.errors.TransactionConflict, match="begin it again"), ws.transaction() as tx:  # noqa: PT012  # the refused write ends it
        seen = tx.get("a", Doc)
        assert seen is not None
        in_thread(lambda: ws.set("a", {"n": 10}))
        tx.set("a", {"n": seen["n"] + 1})

    assert ws.get("a", Doc)["n"] == 10  # type: ignore[index]
    ws.set("a", {"n": 11})  # and the next writer has its turn


def test_counting_up_in_many_threads_loses_nothing_when_refused_blocks_begin_again(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "n": 0})

    def count_up() -> None:
        for _ in range(10):
            while True:
                with suppress(hb.errors.TransactionConflict), ws.transaction() as tx:
                    row = tx.get("a", Doc)
                    assert row is not None
                    tx.set("a", {"n": row["n"] + 1}, Doc)
                    break

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ws.get("a", Doc)["n"] == 40  # type: ignore[index]


def test_a_commit_before_the_first_read_and_one_after_the_first_write_are_no_conflict(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        in_thread(lambda: ws.upsert(Doc, {"object_id": "a", "n": 1}))
        assert tx.get("a", Doc) is not None
        tx.set("a", {"n": 2}, Doc)
        assert tx.get("a", Doc)["n"] == 2  # type: ignore[index]
        tx.set("a", {"n": 3}, Doc)

    assert ws.get("a", Doc)["n"] == 3  # type: ignore[index]


def test_a_transaction_that_only_reads_has_no_conflict(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        assert tx.count(Doc) == 0
        in_thread(lambda: ws.upsert(Doc, {"object_id": "a"}))
        assert tx.count(Doc) == 1
