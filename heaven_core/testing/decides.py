"""What a primary promises besides: it decides which rows exist, in transactions whose numbers grow.

For an engine that is not declared as a primary all of this is skipped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from heaven_core.backend import Change, Column, Layout, Locate, Written
from heaven_core.errors import HeavenError, TransactionConflict, UniqueViolation
from heaven_core.testing.bench import Bench, Row
from heaven_core.testing.stores import by_id
from heaven_core.testing.subject import Subject
from heaven_core.testing.values import INTEGER, TEXT
from heaven_core.types import Json

ALIKE: tuple[tuple[Any, Any], ...] = (
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1}, {"a": True}),
    ({"a": None}, {}),
    ([1, 2], [2, 1]),
)
"""JSON values that are equal in Python, or almost, and are not the same."""


@contextmanager
def committing(bench: Bench) -> Generator[Any]:
    """A transaction that is committed at the end, unless something is raised."""
    tx = bench.opened.begin()
    try:
        yield tx
        tx.commit()
    finally:
        tx.rollback()


def counter(bench: Bench) -> Layout:
    """A layout with one number, and a row `a` in it."""
    layout = bench.made(bench.column("n", INTEGER))
    bench.write(layout, [{"object_id": "a", "n": 1}])
    return layout


def said(written: Written) -> tuple[list[int], list[int], int]:
    """What a write says that it did."""
    return list(written.inserted), list(written.updated), written.unchanged


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls give, all running at once; raises what one of them raises."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return [one.result() for one in [threads.submit(call) for call in calls]]


class Decides(Subject):
    """The engine as the primary."""

    # writes ------------------------------------------------------------------------------------------------------

    def test_a_write_says_which_rows_it_inserted_replaced_and_left_alone(self, primary: Bench) -> None:
        layout = primary.made(primary.column("n", INTEGER))
        primary.write(layout, [{"object_id": "a", "n": 1}, {"object_id": "b", "n": None}])

        rows: list[Row] = [{"object_id": one, "n": n} for one, n in (("c", 3), ("a", 1), ("b", 2))]

        assert said(primary.write(layout, rows)) == ([0], [2], 1)
        assert said(primary.write(layout, rows)) == ([], [], 3)

    def test_an_equal_row_keeps_its_version_and_a_changed_one_gets_that_of_the_write(self, primary: Bench) -> None:
        layout = primary.made(primary.column("n", INTEGER), primary.column("text", TEXT))
        rows: list[Row] = [{"object_id": "a", "n": 1, "text": None}, {"object_id": "b", "n": 2, "text": "x"}]
        primary.write(layout, rows)
        before = primary.opened.versions(layout, ["a", "b", "nobody"])

        with committing(primary) as tx:
            primary.write(layout, [rows[0], {**rows[1], "text": None}], tx)
            number = tx.lsn

        assert before[2] is None
        assert before[0] == before[1] < number
        assert primary.opened.versions(layout, ["a", "b"]) == [before[0], number]

    @pytest.mark.parametrize(("one", "other"), ALIKE, ids=repr)
    def test_values_that_only_look_alike_are_a_change(self, primary: Bench, one: Any, other: Any) -> None:
        layout = primary.made(primary.column("value", Json()))
        primary.write(layout, [{"object_id": "a", "value": one}])

        written = primary.write(layout, [{"object_id": "a", "value": other}])

        assert said(written) == ([], [0], 0)
        assert by_id(primary.rows(layout)) == by_id([{"object_id": "a", "value": other}])

    def test_a_delete_answers_with_the_ids_that_existed(self, primary: Bench) -> None:
        layout = primary.made(primary.column("n", INTEGER))
        primary.write(layout, [{"object_id": one} for one in "abc"])

        with committing(primary) as tx:
            first = primary.opened.delete(layout, ["nobody", "a", "b"], tx)
            second = primary.opened.delete(layout, ["b", "c"], tx)

        assert (sorted(first), second) == (["a", "b"], ["c"])

    # unique values -----------------------------------------------------------------------------------------------

    def unique(self, bench: Bench) -> Layout:
        """A layout with a unique text, and two rows."""
        column: Column = bench.column("text", TEXT, unique=True)
        layout = bench.made(column)
        bench.write(layout, [{"object_id": "a", "text": "A"}, {"object_id": "b", "text": "B"}])
        return layout

    @pytest.mark.parametrize("values", [["new", "B"], ["new", "new"]], ids=["stored", "in the batch"])
    def test_a_value_that_another_row_has_is_refused_with_its_position(self, primary: Bench, values: list[str]) -> None:
        layout = self.unique(primary)
        before = by_id(primary.rows(layout))

        with pytest.raises(UniqueViolation) as caught:
            primary.write(layout, [{"object_id": f"x{place}", "text": one} for place, one in enumerate(values)])

        assert (caught.value.entity, caught.value.field, caught.value.row) == ("thing", "text", 1)
        assert by_id(primary.rows(layout)) == before

    def test_after_a_refused_value_the_transaction_is_as_before_and_can_go_on(self, primary: Bench) -> None:
        layout = self.unique(primary)

        with committing(primary) as tx:
            with pytest.raises(UniqueViolation):
                primary.write(layout, [{"object_id": "c", "text": "C"}, {"object_id": "d", "text": "A"}], tx)
            assert sorted(primary.ids(layout, tx)) == ["a", "b"]
            primary.write(layout, [{"object_id": "e", "text": "C"}], tx)

        assert sorted(primary.ids(layout)) == ["a", "b", "e"]

    def test_unique_values_may_change_hands_within_a_batch_and_nulls_be_many(self, primary: Bench) -> None:
        layout = self.unique(primary)
        swapped: list[Row] = [{"object_id": "a", "text": "B"}, {"object_id": "b", "text": "A"}]
        nulls: list[Row] = [{"object_id": one, "text": None} for one in "cd"]

        primary.write(layout, [*swapped, *nulls])

        assert by_id(primary.rows(layout)) == by_id([*swapped, *nulls])

    # transactions ------------------------------------------------------------------------------------------------

    def test_a_transaction_reads_its_own_writes_and_nobody_else_does(self, primary: Bench) -> None:
        layout = counter(primary)
        new: list[Row] = [{"object_id": "a", "n": 2}, {"object_id": "b", "n": 3}]

        with committing(primary) as tx:
            primary.write(layout, new, tx)
            primary.opened.delete(layout, ["a"], tx)
            inside = primary.rows(layout, tx), primary.fetched(layout, ["a", "b"], tx)
            versions = primary.opened.versions(layout, ["a", "b"], tx)
            outside = primary.rows(layout), primary.fetched(layout, ["a", "b"])
            number = tx.lsn

        assert [by_id(one) for one in inside] == [by_id(new[1:])] * 2
        assert versions == [None, number]
        assert [by_id(one) for one in outside] == [by_id([{"object_id": "a", "n": 1}])] * 2
        assert by_id(primary.rows(layout)) == by_id(new[1:])

    def test_a_rollback_undoes_everything(self, primary: Bench) -> None:
        layout = counter(primary)
        before = primary.opened.versions(layout, ["a"])
        other = primary.layout(primary.column("n", INTEGER), entity="another")
        tx = primary.opened.begin()
        epoch = tx.epoch

        primary.opened.ddl(Change(None, other), tx)
        tx.bump_epoch()
        primary.write(layout, [{"object_id": "a", "n": 2}, {"object_id": "b", "n": 3}], tx)
        primary.opened.delete(layout, ["a"], tx)
        tx.rollback()
        tx.rollback()

        assert by_id(primary.rows(layout)) == by_id([{"object_id": "a", "n": 1}])
        assert primary.opened.versions(layout, ["a"]) == before
        assert [one.entity for one in primary.opened.recover([layout, other], repair=False)] == ["another"]
        with committing(primary) as tx:
            assert tx.epoch == epoch

    def test_an_ended_transaction_writes_nothing_more(self, primary: Bench) -> None:
        layout = counter(primary)
        for end in ("commit", "rollback"):
            tx = primary.opened.begin()
            assert tx.lsn
            getattr(tx, end)()
            with pytest.raises(HeavenError):
                primary.write(layout, [{"object_id": "b", "n": 2}], tx)

        assert primary.ids(layout) == ["a"]

    def test_the_number_grows_with_each_commit(self, primary: Bench) -> None:
        layout = counter(primary)
        numbers: list[int] = []

        for n in range(5):
            with committing(primary) as tx:
                assert not tx.locked
                primary.write(layout, [{"object_id": "a", "n": n}], tx)
                numbers.append(tx.lsn)
                assert tx.locked
                assert tx.lsn == numbers[-1]

        assert numbers == sorted(set(numbers))
        assert primary.opened.versions(layout, ["a"]) == numbers[-1:]

    def test_the_epoch_counts_committed_changes_of_schema(self, primary: Bench) -> None:
        counter(primary)
        tx = primary.opened.begin()
        before = tx.epoch
        tx.rollback()

        with committing(primary) as tx:
            tx.bump_epoch()
            inside = tx.epoch

        with committing(primary) as tx:
            assert (inside, tx.epoch) == (before + 1, before + 1)

    def test_an_exclusive_transaction_has_the_lock_at_once(self, primary: Bench) -> None:
        tx = primary.opened.begin(exclusive=True)

        locked, number = tx.locked, tx.lsn
        tx.rollback()

        assert locked
        assert number > 0

    def test_to_write_after_reading_what_somebody_has_changed_is_a_conflict(self, primary: Bench) -> None:
        layout = counter(primary)
        reads: list[Callable[[Any], Any]] = [
            lambda tx: primary.rows(layout, tx),
            lambda tx: primary.fetched(layout, ["a"], tx),
            lambda tx: primary.opened.versions(layout, ["a"], tx),
            lambda tx: primary.opened.run(Locate([layout], "a"), tx),
        ]
        for n, read in enumerate(reads):
            tx = primary.opened.begin()
            read(tx)
            primary.write(layout, [{"object_id": "b", "n": n}])

            with pytest.raises(TransactionConflict):
                primary.write(layout, [{"object_id": "a", "n": 2}], tx)
            tx.rollback()

        assert by_id(primary.fetched(layout, ["a"])) == by_id([{"object_id": "a", "n": 1}])

    def test_to_write_without_having_read_is_none(self, primary: Bench) -> None:
        layout = counter(primary)
        with committing(primary) as tx:
            primary.write(layout, [{"object_id": "b", "n": 2}])
            primary.write(layout, [{"object_id": "a", "n": 3}], tx)

        assert sorted(primary.ids(layout)) == ["a", "b"]

    # many threads ------------------------------------------------------------------------------------------------

    def test_writers_in_threads_lose_no_update(self, primary: Bench) -> None:
        layout, threads, times = counter(primary), 4, 10

        def count() -> None:
            for _ in range(times):
                with committing_exclusively() as tx:
                    (row,) = primary.fetched(layout, ["a"], tx)
                    primary.write(layout, [{"object_id": "a", "n": row["n"] + 1}], tx)

        @contextmanager
        def committing_exclusively() -> Generator[Any]:
            tx = primary.opened.begin(exclusive=True)
            try:
                yield tx
                tx.commit()
            finally:
                tx.rollback()

        in_threads([count] * threads)

        assert primary.rows(layout)[0]["n"] == 1 + threads * times

    def test_readers_in_threads_see_whole_commits(self, primary: Bench) -> None:
        layout, done = primary.made(primary.column("n", INTEGER)), threading.Event()
        ids = [f"{n:02}" for n in range(50)]
        primary.write(layout, [{"object_id": one, "n": 0} for one in ids])

        def read() -> list[set[int]]:
            torn: list[set[int]] = []
            while not done.is_set():
                seen = {row["n"] for row in primary.rows(layout)}
                if len(seen) != 1:
                    torn.append(seen)
            return torn

        def write() -> list[set[int]]:
            try:
                for n in range(1, 40):
                    primary.write(layout, [{"object_id": one, "n": n} for one in ids])
            finally:
                done.set()
            return []

        assert in_threads([read, read, read, write]) == [[], [], [], []]

    # what is there -----------------------------------------------------------------------------------------------

    def test_a_scan_gives_every_id_once_in_order_in_batches(self, primary: Bench) -> None:
        layout = primary.made(primary.column("n", INTEGER))
        ids = sorted([*(f"{n:03}" for n in range(25)), "é", "Z", "\U0010ffff", "\uffff"])
        primary.write(layout, [{"object_id": one} for one in reversed(ids)])

        batches = list(primary.opened.scan(layout, batch_rows=10))

        assert [one for batch in batches for one in batch] == ids
        assert max(map(len, batches)) <= 10

    def test_an_id_is_located_in_the_layouts_that_hold_it(self, primary: Bench) -> None:
        layouts = [primary.layout(primary.column("n", INTEGER), entity=f"e{n}") for n in range(3)]
        for layout in layouts:
            primary.engine.ddl(Change(None, layout), None)
        for layout, one in zip(layouts, ("a", "b", "a"), strict=True):
            primary.write(layout, [{"object_id": one}])

        def located(one: str) -> list[tuple[Any, ...]]:
            return sorted(primary.opened.run(Locate(layouts, one)).tuples)

        assert located("a") == [("e0", "a"), ("e2", "a")]
        assert (located("b"), located("c")) == ([("e1", "b")], [])

    def test_numbers_versions_and_epoch_are_there_after_reopening(self, primary: Bench, persistent: Bench) -> None:
        layout = counter(primary)
        with committing(primary) as tx:
            tx.bump_epoch()
            number, epoch = tx.lsn, tx.epoch
        versions = primary.opened.versions(layout, ["a"])

        persistent.reopen()

        assert primary.opened.versions(layout, ["a"]) == versions
        with committing(primary) as tx:
            assert tx.epoch == epoch
            assert tx.lsn > number

    def test_nothing_is_left_of_an_engine_that_was_destroyed(self, primary: Bench) -> None:
        layout = counter(primary)

        primary.opened.destroy()
        primary.open()

        assert [one.kind for one in primary.opened.recover([layout], repair=False)] == ["missing-table"]
        primary.engine.ddl(Change(None, layout), None)
        assert primary.rows(layout) == []
