"""What every engine promises about rows: layouts made, extended and dropped, values kept, rows replaced and ordered.

The engine is called as the kernel calls it. Not here: transactions and versions, which only a primary has
(`heaven_core.testing.decides`), and questions with conditions (`heaven_core.testing.answers`).
"""

from __future__ import annotations

from typing import Any

import pytest

from heaven_core.backend import Batch, Change, OrderBy, Scan
from heaven_core.codecs import encoder
from heaven_core.errors import HeavenError, ResultTooLarge
from heaven_core.handlers import IdSet
from heaven_core.placement import LSN
from heaven_core.testing import reference, worlds
from heaven_core.testing.bench import UNBOUNDED, Bench, Row
from heaven_core.testing.reference import exact
from heaven_core.testing.subject import Subject
from heaven_core.testing.values import INTEGER, TEXT, TYPES, values_of
from heaven_core.types import Array, Json, LogicalType, Vector

MANY = 5_000
"""Rows, more than an engine is likely to handle at once."""

of_every_type = pytest.mark.parametrize("dtype", TYPES, ids=repr)
of_every_ordered_type = pytest.mark.parametrize("dtype", [one for one in TYPES if "scalar" in one.traits], ids=repr)


def rows_of(bench: Bench, dtype: LogicalType[Any]) -> tuple[Any, list[Row]]:
    """A layout with the type in each form, and a row for each awkward value, the last with null."""
    layout = bench.made(*bench.columns(dtype))
    names = [name for name in layout.names if name not in {"object_id", "name", LSN}]
    values = [*values_of(dtype), None]
    return layout, [{"object_id": f"r{place:03}", **dict.fromkeys(names, one)} for place, one in enumerate(values)]


def by_id(rows: list[Row]) -> dict[str, Any]:
    """Rows to be compared to the last bit; a name that nobody gave doesn't matter."""
    assert len({row["object_id"] for row in rows}) == len(rows)
    return {row["object_id"]: exact({key: one for key, one in row.items() if key != "name"}) for row in rows}


class Stores(Subject):
    """Rows in the engine."""

    @of_every_type
    def test_values_come_back_as_they_were_written(self, bench: Bench, dtype: LogicalType[Any]) -> None:
        layout, rows = rows_of(bench, dtype)

        bench.write(layout, rows)

        assert by_id(bench.rows(layout)) == by_id(rows)
        assert by_id(bench.fetched(layout, [row["object_id"] for row in rows])) == by_id(rows)
        assert bench.engine.recover([layout], repair=False) == []

    @of_every_type
    def test_values_are_there_after_reopening(self, persistent: Bench, dtype: LogicalType[Any]) -> None:
        layout, rows = rows_of(persistent, dtype)
        persistent.write(layout, rows)

        persistent.reopen()

        assert by_id(persistent.rows(layout)) == by_id(rows)
        assert persistent.engine.recover([layout], repair=False) == []

    @of_every_type
    def test_a_field_can_be_added_and_is_null_in_rows_that_exist(self, bench: Bench, dtype: LogicalType[Any]) -> None:
        before = bench.made(bench.column("n", INTEGER))
        bench.write(before, [{"object_id": "old", "n": 1}])

        after = bench.layout(bench.column("n", INTEGER), *bench.columns(dtype))
        bench.engine.ddl(Change(before, after), None)

        names = [name for name in after.names if name not in {"object_id", "name", "n", LSN}]
        new = {"object_id": "new", "n": None, **dict.fromkeys(names, values_of(dtype)[0])}
        bench.write(after, [new])
        assert by_id(bench.rows(after)) == by_id([{"object_id": "old", "n": 1, **dict.fromkeys(names)}, new])

    def test_a_dropped_layout_takes_its_rows_with_it_and_no_others(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        other = bench.layout(bench.column("n", INTEGER), entity="another")
        bench.engine.ddl(Change(None, other), None)
        for one in (layout, other):
            bench.write(one, [{"object_id": "a", "n": 1}])

        bench.engine.ddl(Change(layout, None), None)
        bench.engine.ddl(Change(None, layout), None)

        assert bench.rows(layout) == []
        assert by_id(bench.rows(other)) == by_id([{"object_id": "a", "n": 1}])

    def test_ids_are_told_apart_to_the_last_character(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        ids = [*worlds.OBJECT_IDS, "x" * 63, "\U0010ffff" * 63, "A", " a", "a "]
        rows: list[Row] = [{"object_id": one, "n": place} for place, one in enumerate(ids)]

        bench.write(layout, rows)

        assert by_id(bench.rows(layout)) == by_id(rows)
        for row in rows:
            assert by_id(bench.fetched(layout, [row["object_id"]])) == by_id([row])
            assert bench.ids(layout, where=IdSet([row["object_id"]])) == [row["object_id"]]

    def test_a_row_is_replaced_as_a_whole(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER), bench.column("text", TEXT))
        bench.write(layout, [{"object_id": "a", "n": 1, "text": "one"}, {"object_id": "b", "n": 2, "text": "two"}])

        bench.write(layout, [{"object_id": "a", "text": "new"}, {"object_id": "c", "n": 3}])

        assert by_id(bench.rows(layout)) == by_id(
            [
                {"object_id": "a", "n": None, "text": "new"},
                {"object_id": "b", "n": 2, "text": "two"},
                {"object_id": "c", "n": 3, "text": None},
            ]
        )

    @pytest.mark.parametrize("dtype", [Json(), Array(), Vector(2)], ids=repr)
    def test_what_is_stored_is_nobody_elses_object(self, bench: Bench, dtype: LogicalType[Any]) -> None:
        layout, given = bench.made(bench.column("value", dtype)), [1.5, 2.5]

        bench.write(layout, [{"object_id": "a", "value": given}])
        given.append(3.5)
        bench.rows(layout)[0]["value"].append(4.5)
        bench.fetched(layout, ["a"])[0]["value"].append(5.5)

        assert by_id(bench.rows(layout)) == by_id([{"object_id": "a", "value": [1.5, 2.5]}])

    def test_deleted_rows_are_gone_and_the_others_stay(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        bench.write(layout, [{"object_id": one, "n": 1} for one in "abc"])

        bench.engine.delete(layout, ["a", "nobody", "c"], None)
        bench.engine.delete(layout, [], None)

        assert bench.ids(layout) == ["b"]
        assert bench.fetched(layout, ["a", "c"]) == []

    def test_nothing_can_be_written_and_asked_for(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))

        bench.write(layout, [])

        assert (bench.rows(layout), bench.fetched(layout, []), bench.ids(layout, where=IdSet([]))) == ([], [], [])

    def test_many_rows_are_written_found_and_deleted_at_once(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER), bench.column("text", TEXT))
        ids = [f"{n:05}" for n in range(MANY)]
        bench.write(layout, [{"object_id": one, "n": n, "text": f"t{n}"} for n, one in enumerate(ids)])
        odd, even = ids[1::2], ids[::2]

        assert sorted(bench.ids(layout)) == ids
        assert sorted(bench.ids(layout, where=IdSet([*odd, "nobody"]))) == odd
        assert sorted(row["object_id"] for row in bench.fetched(layout, [*even, "nobody"])) == even
        bench.engine.delete(layout, odd, None)
        assert sorted(bench.ids(layout)) == even

    @of_every_ordered_type
    def test_rows_are_ordered_with_nulls_last_and_ties_by_id(self, bench: Bench, dtype: LogicalType[Any]) -> None:
        layout = bench.made(bench.column("value", dtype))
        values = [None, *values_of(dtype)]
        rows = [{"object_id": f"{place * 7 % 997:03}", "value": one} for place, one in enumerate(values + values)]
        bench.write(layout, rows)

        for key in ("value", "-value"):
            expected = [row["object_id"] for row in reference.in_order(rows, [key], ["object_id"])]
            order = (OrderBy("value", desc=key != "value"),)
            assert bench.ids(layout, order=order) == expected
            assert bench.ids(layout, order=order, limit=5, offset=2) == expected[2:7]
            assert bench.ids(layout, order=order, offset=len(rows) - 1) == expected[-1:]
            assert bench.ids(layout, order=order, limit=0) == []

    def test_a_limit_without_an_order_leaves_so_many_rows(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        bench.write(layout, [{"object_id": f"{n}", "n": n} for n in range(10)])

        assert [len(set(bench.ids(layout, limit=limit))) for limit in (0, 1, 9, 10, 11)] == [0, 1, 9, 10, 10]

    def test_an_answer_with_more_rows_than_the_cap_is_refused(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        bench.write(layout, [{"object_id": f"{n}", "n": n} for n in range(10)])

        assert len(bench.ids(layout, limits=UNBOUNDED._replace(max_rows=10))) == 10
        assert len(bench.ids(layout, limit=3, limits=UNBOUNDED._replace(max_rows=3))) == 3
        for more in ({}, {"order": (OrderBy("n"),)}, {"limit": 9}):
            with pytest.raises(ResultTooLarge):
                bench.ids(layout, limits=UNBOUNDED._replace(max_rows=8), **more)

    def test_an_answer_with_more_bytes_than_the_cap_is_refused(self, bench: Bench) -> None:
        layout = bench.made(bench.column("text", TEXT))
        bench.write(layout, [{"object_id": f"{n}", "text": "x" * 255} for n in range(10)])

        assert len(bench.rows(layout, limits=UNBOUNDED._replace(max_bytes=100_000))) == 10
        with pytest.raises(ResultTooLarge):
            bench.rows(layout, limits=UNBOUNDED._replace(max_bytes=2_000))

    def test_an_estimate_is_none_or_plausible(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        bench.write(layout, [{"object_id": f"{n}", "n": n} for n in range(100)])

        found = bench.engine.estimate(Scan(layout))

        assert found is None or (type(found) is int and 10 <= found <= 1000)

    def test_vectors_may_come_as_their_bytes(self, bench: Bench) -> None:
        if "packed" not in bench.opened.capabilities:
            pytest.skip(f"{self.backend} does not declare 'packed'")
        dtype = Vector(2)
        layout, pack = bench.made(bench.column("vector", dtype)), encoder(dtype)
        assert pack is not None
        more = {name: [1] for name in layout.names if name == LSN} | {name: [None] for name in ("name",)}
        columns = {"object_id": ["a"], "vector": [pack([0.5, -2.0])], **more}

        bench.engine.write(layout, Batch(["a"], {name: columns[name] for name in layout.names}), None)

        assert by_id(bench.rows(layout)) == by_id([{"object_id": "a", "vector": [0.5, -2.0]}])

    def test_lost_rows_are_a_finding(self, bench: Bench) -> None:
        bench.made(bench.column("n", INTEGER))
        lost = bench.layout(bench.column("n", INTEGER), entity="another")

        (finding,) = bench.engine.recover([lost], repair=False)

        assert (finding.backend, finding.entity, finding.repairable) == (bench.name, "another", False)

    def test_a_second_close_does_nothing(self, bench: Bench) -> None:
        bench.opened.close()

        bench.opened.close()

    def test_a_closed_engine_refuses_with_an_error_of_its_own(self, bench: Bench) -> None:
        layout = bench.made(bench.column("n", INTEGER))
        bench.write(layout, [{"object_id": "a", "n": 1}])

        bench.opened.close()

        with pytest.raises(HeavenError):
            bench.rows(layout)
        with pytest.raises(HeavenError):
            bench.write(layout, [{"object_id": "b", "n": 2}])
