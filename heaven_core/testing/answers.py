"""What a workspace with the engine answers: as `docs/semantics.md` says, and as with the memory engine.

First every operation on awkward values of every type, then random entities, rows, questions and writes.
Not here: how answers are compared (`heaven_core.testing.comparing`).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings

from heaven_core.cancellation import Cancellation
from heaven_core.capabilities import process_capabilities
from heaven_core.entity import Entity
from heaven_core.errors import DeadlineExceeded, QueryCancelled
from heaven_core.ops import AGGREGATES
from heaven_core.query import Query
from heaven_core.testing import worlds
from heaven_core.testing.comparing import Asked, Open, Pairs, Question, ask, usual, write
from heaven_core.testing.decides import in_threads
from heaven_core.testing.subject import Subject
from heaven_core.testing.values import INTEGER, TEXT, TYPES, values_of
from heaven_core.testing.worlds import Dice, Fieldset, Spec, World
from heaven_core.types import LogicalType, Vector, from_spec

EXAMPLES, WRITTEN = 30, 6
"""Random worlds that are asked and written to, in each arrangement."""

ARGUMENTS = 3
"""Arguments of an operation, beside null."""

PARTS = ("contains", "starts_with", "ends_with")
SYNTAX = ["", "%", "_", "\\", "*", "[", "'", '"', "É"]
"""Parts of texts that are syntax somewhere."""

SOON_S = 0.25
"""Within which a query ends that has passed its deadline."""

of_every_type = pytest.mark.parametrize("dtype", TYPES, ids=repr)


def world_of(engine: str, dtype: LogicalType[Any], values: Sequence[Any]) -> World:
    """An entity with the type in each form that the engine has for it, and a row for each value."""
    forms = [one for one in process_capabilities().strategies(type(dtype), backend=engine) if one.stores]
    plain = "scalar" in dtype.traits
    fields = [Fieldset(f"v{place}", dtype, storing=place, place=1) for place in range(max(1, len(forms)))]
    fields.append(Fieldset("indexed", dtype, indexed=plain, searched=True, place=1))
    rows = tuple(
        {"object_id": f"r{place * 7 % 997:03}", **{field.name: value for field in fields}}
        for place, value in enumerate(values)
    )
    return World(tuple(fields), rows)


def filters(types: dict[str, LogicalType[Any]], known: dict[str, list[Any]]) -> Iterator[Spec]:
    """Every operation on every field, with some arguments and with null, and its complement."""
    dice = Dice(random.Random(7).randbytes(100_000))
    dice.theme = worlds.theme(dice)
    for name, dtype in types.items():
        for op in worlds.SERVED[type(dtype)]:
            arguments = [worlds.argument(dice, op, dtype, known[name]) for _ in range(ARGUMENTS)]
            arguments += [None] if op in {"eq", "ne"} else []
            arguments += SYNTAX if op in PARTS and "text" in dtype.traits else []
            yield from ({name: {f"${op}": one}} for one in arguments)
            yield {"$not": {name: {f"${op}": arguments[0]}}}


class Answers(Subject):
    """Questions to a workspace with the engine."""

    def asked(self, pairs: Pairs, dtype: LogicalType[Any], values: Sequence[Any]) -> Asked:
        """A world with these values, in the oracle and in the engine."""
        return Asked(pairs, world_of(self.backend, dtype, values))

    @of_every_type
    def test_every_condition_means_what_it_says(self, pairs: Pairs, dtype: LogicalType[Any]) -> None:
        asked = self.asked(pairs, dtype, [*values_of(dtype), None])
        fields = {field.name: field.dtype for field in asked.world.fields}

        for condition in filters(fields, asked.known):
            asked.check(Question("filter", {"filter": condition}))

    def test_conditions_combine(self, pairs: Pairs) -> None:
        asked = self.asked(pairs, INTEGER, [None, *range(6)])
        one, other, none = {"v0": {"$lt": 3}}, {"indexed": {"$in": [1, 4, None]}}, {"v0": {"$gt": 9}}

        for condition in (
            {"$and": [one, other]},
            {"$or": [one, other]},
            {"$not": {"$and": [one, other]}},
            {"$not": {"$or": [one, {"$not": other}]}},
            {"$or": [{"$and": [one, {"$not": other}]}, none]},
            {"$and": [{"$not": one}, {"$not": none}]},
            {**one, **other},
        ):
            asked.check(Question("filter", {"filter": condition}))

    @of_every_type
    def test_pages_have_the_rows_that_they_should(self, pairs: Pairs, dtype: LogicalType[Any]) -> None:
        values = values_of(dtype)[:20]
        asked = self.asked(pairs, dtype, [None, *values, None, *values[::2]])
        keys = ["v0", "-v0", "indexed"] if "scalar" in dtype.traits else ["object_id", "-object_id"]

        for order in ([], ["object_id"], *([key] for key in keys), [keys[1], "-object_id"]):
            for bounds in ({}, {"limit": 4}, {"limit": 4, "offset": 3}, {"offset": 9}, {"limit": 0}, {"limit": 99}):
                asked.check(Question("page", {"order": order, **bounds} if order else bounds))
            asked.check(Question("page", {"order": order or ["name"], "select": ["v0"], "limit": 5}))
        asked.check(Question("page", {"filter": {"v0": {"$is_null": False}}, "order": ["-object_id"], "limit": 3}))

    @of_every_type
    def test_groups_and_aggregates_are_what_they_should_be(self, pairs: Pairs, dtype: LogicalType[Any]) -> None:
        values = values_of(dtype)[:12]
        asked = self.asked(pairs, dtype, [None, *values, *values[::2], None])
        served = [op.name for op in AGGREGATES if op.serves(dtype)]

        for op in served:
            more = {"p": 33.3} if op == "percentile" else {}
            for name in ("v0", "indexed"):
                spec: Spec = {"aggregate": {"x": {f"${op}": {"field": name, **more}}, "rows": "$count"}}
                spec["aggregate"]["rows"] = {"$count": {}}
                asked.check(Question("groups", spec))
                asked.check(Question("groups", {**spec, "filter": {"object_id": "nobody"}}))
                if "scalar" in dtype.traits:
                    asked.check(Question("groups", {**spec, "group_by": ["indexed"], "order": ["rows", "-indexed"]}))
                    asked.check(Question("groups", {**spec, "group_by": ["v0"], "having": {"rows": {"$gt": 1}}}))

    @pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
    def test_the_nearest_vectors_come_first_and_ties_by_id(self, pairs: Pairs, metric: str) -> None:
        different = [[1.0, 0.0], [0.0, 1.0], [3.0, 4.0], [-2.0, 0.5]]
        vectors = [None if n % 7 == 6 else different[n * n % 4 if n % 3 else n % 4] for n in range(40)]
        asked = self.asked(pairs, Vector(2), vectors)

        for name in (field.name for field in asked.world.fields):
            for top_k in (1, 5, 20, 100):
                near = {"field": name, "query": [1.0, 0.5], "metric": metric, "top_k": top_k}
                asked.check(Question("near", {"near": near}))
                asked.check(Question("near", {"near": near, "limit": 3, "offset": 1}))
                asked.check(Question("near", {"near": near, "filter": {"object_id": {"$gt": "r1"}}}))
                asked.check(Question("near", {"near": near, "order": ["-object_id"]}))

    def test_a_search_finds_the_rows_with_one_of_its_words(self, pairs: Pairs) -> None:
        texts = ["Snow and ice", "ICE", "", None, "snow, snow", "Ísland", "ice-cream", "is", "straße", "STRASSE 7"]
        asked = self.asked(pairs, from_spec("long-text"), texts)

        for words in ("ice", "snow ICE", "island", "strasse", "7 nothing", "cream", "nothing", "", "i"):
            for fields in (["v0"], ["indexed"], ["v0", "indexed"]):
                search = {"search": {"query": words, "fields": fields}}
                asked.check(Question("search", search))
                asked.check(Question("search", {**search, "limit": 2}))
                asked.check(Question("search", {**search, "filter": {"object_id": {"$lt": "r03"}}}))

    # bounds ------------------------------------------------------------------------------------------------------

    def slow(self, open_workspace: Open) -> Query:
        """A query that takes long: thousands of conditions on thousands of texts."""
        ws = open_workspace()
        field = Fieldset("text", TEXT, place=1)
        entity = Entity.from_schema({"id": "page", "fields": [field.spec(self._engines_of(ws))]})
        ws.register(entity)
        ws.upsert_many(entity, [{"text": f"{n} " * 40} for n in range(4_000)])
        return ws.query(entity).where({"$or": [{"text": {"$contains": f"no{n}thing"}} for n in range(1_500)]})

    @staticmethod
    def _engines_of(ws: Any) -> str:
        return "+".join(ws.core().types.values())

    def test_a_query_that_passes_its_deadline_is_stopped(self, arrangement: str, open_workspace: Open) -> None:
        query = self.slow(open_workspace).limits(deadline=0.001)

        assert _is_stopped(query, DeadlineExceeded)

    def test_a_query_that_is_cancelled_is_stopped(self, arrangement: str, open_workspace: Open) -> None:
        stop = Cancellation()
        query = self.slow(open_workspace).limits(cancel=stop)

        timer = threading.Timer(0.05, stop.cancel)
        timer.start()

        assert _is_stopped(query, QueryCancelled)
        timer.join()

    # whole workspaces --------------------------------------------------------------------------------------------

    def test_a_workspace_is_the_same_after_reopening(self, arrangement: str, open_workspace: Open) -> None:
        if not self.plugin().persistent:
            pytest.skip(f"{self.backend} is declared to keep nothing beyond the process")
        dice = Dice(random.Random(11).randbytes(100_000))
        world = worlds.world(dice, 12, 12)
        with open_workspace() as ws:
            entity = Entity.from_schema(world.schema("thing", self._engines_of(ws)))
            ws.register(entity)
            ids = ws.upsert_many(entity, world.rows)
            before = ws.get_many(ids, entity), ws.versions(entity, ids)

        with open_workspace() as ws:
            assert (ws.get_many(ids, "thing"), ws.versions("thing", ids)) == before
            assert ws.check().ok
            ws.drop()
        with open_workspace() as ws:
            ws.register(entity)
            assert ws.count(entity) == 0
            assert ws.check().ok  # nothing of the dropped one has come back

    def test_readers_in_threads_see_whole_writes(self, arrangement: str, open_workspace: Open) -> None:
        ws = open_workspace()
        fields = (Fieldset("here", INTEGER, place=0), Fieldset("there", INTEGER, place=1))
        entity = Entity.from_schema(World(fields, ()).schema("thing", self._engines_of(ws)))
        ws.register(entity)
        ids, done = [f"{n:02}" for n in range(20)], threading.Event()
        put = [ws.upsert_many(entity, [{"object_id": one, "here": 0, "there": 0} for one in ids])]

        def read() -> list[Any]:
            torn: list[Any] = []
            while not done.is_set():
                rows = ws.query(entity).where({"there": {"$gte": 0}}).execute().rows()
                if len(rows) != len(ids) or len({(row["here"], row["there"]) for row in rows}) != 1:
                    torn.append(rows)
            return torn

        def change() -> list[Any]:
            try:
                for n in range(1, 15):
                    put[0] = ws.upsert_many(entity, [{"object_id": one, "here": n, "there": n} for one in ids])
            finally:
                done.set()
            return []

        assert in_threads([read, read, change]) == [[], [], []]

    # anything ----------------------------------------------------------------------------------------------------

    @settings(usual, max_examples=EXAMPLES)
    @given(dice=worlds.dices)
    def test_random_questions_have_the_same_answer_as_in_memory(self, pairs: Pairs, dice: Dice) -> None:
        ask(pairs, dice)

    @settings(usual, max_examples=WRITTEN)
    @given(dice=worlds.dices)
    def test_random_writes_leave_the_same_rows_as_in_memory(self, pairs: Pairs, dice: Dice) -> None:
        write(pairs, dice)


def _is_stopped(query: Query, by: type[Exception]) -> bool:
    """Whether the query is stopped by this error; one that has its answer soon need not be."""
    began = perf_counter()
    try:
        query.execute()
    except by:
        return True
    return perf_counter() - began < SOON_S
