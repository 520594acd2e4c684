"""An engine beside the oracle: the same rows and the same questions in both, and what both must answer.

The oracle is the memory engine. It is in turn compared with `heaven_core.testing.reference`, which evaluates each
question anew. Rows and stored values are compared to the last bit; sums and means of floats within a part in 1e9 of
the magnitudes; searches by their members, since scores are only comparable within one engine.

Not here: what rows and questions there are (`heaven_core.testing.worlds`).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import note as hypothesis_note

from heaven_core.entity import Entity
from heaven_core.errors import DuplicateId, HeavenError, NotFound, QueryError, UniqueViolation
from heaven_core.frame import ResultFrame
from heaven_core.identity import named_id
from heaven_core.query import Query
from heaven_core.testing import reference, worlds
from heaven_core.testing.worlds import Change, Dice, World
from heaven_core.workspace import HeavenBase, Transaction

ORACLE = "inmem"

# Shrinking the bytes would take long and not help: `_smallest` leaves out rows instead.
usual = settings(
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[
        HealthCheck.large_base_example,
        HealthCheck.data_too_large,
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,  # the workspaces that all examples of a test share
        HealthCheck.differing_executors,  # a test that several classes inherit
    ],
)

NOTE_CHARS = 3000
"""Some questions are long on purpose."""

Open = Callable[[], HeavenBase]
"""Opens an empty workspace."""

Spec = dict[str, Any]


def note(what: Any) -> None:
    """Say it if the example fails."""
    hypothesis_note(f"{what}"[:NOTE_CHARS])


class Table:
    """One entity of a world in one workspace, read and written through the workspace or a transaction of it."""

    def __init__(self, ws: HeavenBase, engine: str, entity: str, world: World) -> None:
        self.ws, self.engine = ws, engine
        self.at: HeavenBase | Transaction = ws
        self.entity = self.register(entity, world)

    def register(self, entity: str, world: World) -> type[Entity]:
        self.entity = Entity.from_schema(world.schema(entity, self.engine))
        self.ws.register(self.entity)
        return self.entity

    def query(self, spec: Spec) -> Query:
        return self.at.query_json(self.entity, spec)

    def ask(self, spec: Spec) -> ResultFrame:
        return self.query(spec).execute()

    def check_json(self, spec: Spec) -> None:
        """The JSON form of a question is the same question."""
        query = self.query(spec)
        assert self.query(json.loads(json.dumps(query.to_dict()))) == query

    def all(self) -> dict[str, Any]:
        """Every row by id, to the last bit."""
        ids = self.at.ids(self.entity)
        return {one: reference.exact(row) for one, row in zip(ids, self.at.get_many(ids, self.entity), strict=True)}


class Pairs:
    """Workspaces of the oracle and of another engine, renewed from time to time so that they stay small.

    `engine` is the type of the other, or the types of several joined by "+", the primary first.
    """

    def __init__(self, open_oracle: Open, open_other: Open, engine: str) -> None:
        self._open_oracle, self._open_other, self._engine = open_oracle, open_other, engine
        self._numbers = itertools.count()
        self._pair: list[HeavenBase] = []

    def tables(self, world: World) -> tuple[Table, Table]:
        number = next(self._numbers)
        if not self._pair or number % 100 == 0:
            self.close()
            self._pair = [self._open_oracle(), self._open_other()]
        oracle, other = self._pair
        return Table(oracle, ORACLE, f"e{number}", world), Table(other, self._engine, f"e{number}", world)

    def close(self) -> None:
        pair, self._pair = self._pair, []
        for ws in pair:
            report = ws.check()
            ws.drop()
            assert report.ok, report


# -- questions -----------------------------------------------------------------------------------------------------


class Question(NamedTuple):
    """What is asked, and as which kind of question it is checked."""

    kind: str
    spec: Spec


class Asked:
    """A world in two engines, and the rows that both should have."""

    def __init__(self, pairs: Pairs, world: World) -> None:
        self.world, self.types = world, world.types()
        self.defaults = {field.name: field.default for field in world.fields}
        self.oracle, self.other = self.tables = pairs.tables(world)
        self.rows: list[Spec] = []
        self.known: dict[str, list[Any]] = {}
        for table in self.tables:
            assert table.at.upsert_many(table.entity, world.rows) == [row["object_id"] for row in world.rows]
        self.keep([self.stored(row) for row in world.rows])

    def stored(self, row: Spec) -> Spec:
        """The row as it should be stored."""
        return reference.stored(row, self.types, self.defaults)

    def keep(self, rows: list[Spec]) -> None:
        """Expect these rows from now on."""
        self.rows = rows
        self.known = {name: [row[name] for row in rows if row[name] is not None] for name in self.types}

    def extend(self, world: World) -> None:
        """Register the entity anew, with more fields, which rows that exist do not have."""
        self.world, self.types = world, world.types()
        self.defaults = {field.name: field.default for field in world.fields}
        for table in self.tables:
            table.register(table.entity.identifier, world)
        self.keep([{**dict.fromkeys(self.types), **row} for row in self.rows])

    def matching(self, spec: Spec) -> list[Any]:
        return [row for row in self.rows if reference.holds(spec.get("filter", {}), row, self.types)]

    def check_rows(self) -> None:
        expected = {row["object_id"]: reference.exact(row) for row in self.rows}
        for table in self.tables:
            assert table.all() == expected
            assert table.at.count(table.entity) == len(expected)

    def check_filter(self, spec: Spec) -> None:
        expected = sorted(row["object_id"] for row in self.matching(spec))
        assert sorted(self.oracle.ask(spec).ids) == expected
        assert sorted(self.other.ask(spec).ids) == expected
        assert self.other.query(spec).count() == len(expected)

    def check_page(self, spec: Spec) -> None:
        matching = self.matching(spec)
        names = [*dict.fromkeys(["object_id", *spec["select"]])] if "select" in spec else list(self.types)
        expected = reference.page(reference.in_order(matching, spec.get("order", ()), ["object_id"]), spec)
        rows = [reference.exact({name: row[name] for name in names}) for row in expected]
        for table in self.tables:
            every = {row["object_id"]: reference.exact({name: row[name] for name in names}) for row in matching}
            found = [reference.exact(row) for row in table.ask(spec).rows()]
            assert table.query(spec).explain(analyze=True).rows == len(found)
            if spec.get("order"):
                assert found == rows
            else:
                assert len(found) == len(rows)
                assert all(every.pop(row["object_id"][1]) == row for row in found)

    def check_groups(self, spec: Spec) -> None:
        matching = self.matching(spec)
        try:
            expected = reference.groups(spec, matching, self.types)
        except reference.Refused:
            for table in self.tables:
                with pytest.raises(QueryError, match="does not fit"):
                    table.ask(spec).rows()
            return
        exact = worlds.exact_results(spec, self.types)
        expected = [row for row in expected if reference.holds(spec.get("having", {}), row, exact)]
        if "order" in spec:
            expected = reference.page(reference.in_order(expected, spec["order"], spec.get("group_by", ())), spec)
        for table in self.tables:
            found = table.ask(spec).rows()
            if "order" not in spec:
                found, expected = (sorted(rows, key=lambda row: repr(_key(spec, row))) for rows in (found, expected))
            assert [_key(spec, row) for row in found] == [_key(spec, row) for row in expected]
            for one, other in zip(found, expected, strict=True):
                self._check_aggregates(spec, one, other, matching)

    def _check_aggregates(self, spec: Spec, found: Spec, expected: Spec, matching: list[Any]) -> None:
        assert list(found) == [*spec.get("group_by", ()), *spec["aggregate"]]
        for alias, one in spec["aggregate"].items():
            if not isinstance(expected[alias], float) or "$min" in one or "$max" in one:
                assert reference.exact(found[alias]) == reference.exact(expected[alias])
                continue
            members = [row for row in matching if _key(spec, row) == _key(spec, expected)]
            assert isinstance(found[alias], float)
            assert abs(found[alias] - expected[alias]) <= reference.tolerance(one, members)

    def check_search(self, spec: Spec) -> None:
        rows = [row for row in self.matching(spec) if reference.found_by(spec["search"], row)]
        for table in self.tables:
            found = table.ask(spec)
            if "order" in spec:
                expected = reference.page(reference.in_order(rows, spec["order"], ["object_id"]), spec)
                assert found.ids == [row["object_id"] for row in expected]
                continue
            assert len(set(found.ids)) == len(found.ids) == min(len(rows), spec.get("limit", len(rows)))
            assert set(found.ids) <= {row["object_id"] for row in rows}
            assert found.scores == sorted(found.scores or [], reverse=True)

    def check_near(self, spec: Spec) -> None:
        near = spec["near"]
        name, query = near["field"], self.types[near["field"]].check(near["query"])
        rows = [row for row in self.matching(spec) if row[name] is not None]
        distances = {row["object_id"]: reference.distance(near["metric"], query, row[name]) for row in rows}
        one, other = self.oracle.ask(spec), self.other.ask(spec)
        assert one.ids == other.ids
        assert one.scores == other.scores
        assert one.scores is not None
        nearest = sorted(distances.values())[: near["top_k"]]
        assert len(one) == len(reference.page(nearest, spec))
        if "order" not in spec:
            assert all(map(_close, one.scores, reference.page(nearest, spec)))
        assert all(_close(score, distances[found]) for found, score in zip(one.ids, one.scores, strict=True))

    def questions(self, dice: Dice) -> Iterator[Question]:
        """Questions of every kind about the rows as they are."""
        for condition in worlds.filters(dice, self.types, self.known):
            yield Question("filter", {"filter": condition})
        yield Question("page", worlds.page(dice, self.types, self.known))
        yield Question("groups", worlds.group(dice, self.types, self.known))
        yield Question("groups", worlds.group(dice, self.types, self.known))
        yield Question("search", worlds.search(dice, self.types, self.known))
        if any(dtype.kind == "vector" for dtype in self.types.values()):
            yield Question("near", worlds.near(dice, self.types, self.known))

    def check(self, question: Question) -> None:
        """Compare the answers to a question with each other and with what is expected."""
        self.oracle.check_json(question.spec)
        getattr(self, f"check_{question.kind}")(question.spec)


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def _key(spec: Spec, row: Any) -> list[Any]:
    return [reference.exact(row[key]) for key in spec.get("group_by", ())]


def ask(pairs: Pairs, dice: Dice) -> None:
    """Make a world and questions about it; all must have their answers."""
    asked = Asked(pairs, worlds.world(dice))
    asked.check_rows()
    for question in asked.questions(dice):
        try:
            asked.check(question)
        except Exception:
            note(_smallest(pairs, asked.world, question))
            note(question)
            raise


def _smallest(pairs: Pairs, world: World, question: Question) -> World:
    """A world that still fails the question, without the rows that it doesn't take."""
    for row in world.rows:
        fewer = world._replace(rows=tuple(one for one in world.rows if one is not row))
        try:
            Asked(pairs, fewer).check(question)
        except Exception:  # noqa: BLE001  # whatever goes wrong, it still does without the row
            world = fewer
    return world


# -- writes --------------------------------------------------------------------------------------------------------


class RolledBack(Exception):
    """Leaves a transaction without a commit."""


def write(pairs: Pairs, dice: Dice) -> None:
    """Write to a world again and again, in transactions and without; rows, side tables and indexes must follow."""
    asked = Asked(pairs, worlds.world(dice, 4, 6))
    note(asked.world)
    for _ in range(6):
        if dice.once_in(4):
            _transact(asked, dice)
        elif dice.once_in(8):
            asked.extend(worlds.extended(dice, asked.world))
            note(asked.world)
        else:
            _change(asked, dice)
        for question in asked.questions(dice):
            if question.kind == "filter" or dice.once_in(3):
                note(question)
                asked.check(question)


def _transact(asked: Asked, dice: Dice) -> None:
    before, commit = asked.rows, not dice.once_in(2)
    note(f"transaction, {'committed' if commit else 'rolled back'}")
    try:
        with asked.oracle.ws.transaction() as one, asked.other.ws.transaction() as two:
            asked.oracle.at, asked.other.at = one, two
            for _ in range(1 + dice.below(3)):
                _change(asked, dice)
                for question in asked.questions(dice):
                    if dice.once_in(6):
                        note(question)
                        asked.check(question)
            if not commit:
                raise RolledBack
    except RolledBack:
        asked.keep(before)
    finally:
        asked.oracle.at, asked.other.at = asked.oracle.ws, asked.other.ws
    asked.check_rows()


def _change(asked: Asked, dice: Dice) -> None:
    """One write in all engines: same outcome, the expected rows, and new versions of changed rows only."""
    change = worlds.change(dice, asked.world, asked.rows)
    note(change)
    expected, outcome = _after(asked, change)
    ids = [row["object_id"] for row in asked.rows]
    versions = [table.at.versions(table.entity, ids) for table in asked.tables]

    assert [_outcome(table, change) for table in asked.tables] == [outcome, outcome]

    kept = {row["object_id"]: reference.exact(row) for row in expected}
    same = [kept.get(row["object_id"]) == reference.exact(row) for row in asked.rows]
    for table, before in zip(asked.tables, versions, strict=True):
        if table.at is table.ws:  # all writes of one transaction make one version
            after = table.at.versions(table.entity, ids)
            assert [one == other for one, other in zip(before, after, strict=True)] == same
    asked.keep(expected)
    asked.check_rows()


def _outcome(table: Table, change: Change) -> Any:
    """What a change gave: its result, or the class of its error."""
    try:
        if change.kind == "upsert":
            return table.at.upsert_many(table.entity, change.rows)
        if change.kind == "set":
            return table.at.set(change.ids[0], change.rows[0], table.entity)
        return table.at.delete_many(change.ids, table.entity)
    except HeavenError as error:
        return type(error)


def _after(asked: Asked, change: Change) -> tuple[list[Spec], Any]:
    """The rows after a change, and its result or the class of its error."""
    now = {row["object_id"]: row for row in asked.rows}
    if change.kind == "delete":
        gone = set(change.ids) & set(now)
        return [row for one, row in now.items() if one not in gone], len(gone)
    if change.kind == "set" and change.ids[0] not in now:
        return asked.rows, NotFound
    if change.bad is not None:
        return asked.rows, change.bad
    rows = change.rows if change.kind == "upsert" else [{**now[change.ids[0]], **change.rows[0]}]
    made = [asked.stored(row) for row in rows]
    for row in made:
        row["object_id"] = row["object_id"] or named_id(asked.oracle.entity.identifier, row["name"])
    ids = [row["object_id"] for row in made]
    if len(set(ids)) < len(ids):
        return asked.rows, DuplicateId
    now |= {row["object_id"]: row for row in made}
    for field in asked.world.fields:
        values = [row[field.name] for row in now.values() if row[field.name] is not None]
        if field.unique and len(set(values)) < len(values):
            return asked.rows, UniqueViolation
    return list(now.values()), ids[0] if change.kind == "set" else ids
