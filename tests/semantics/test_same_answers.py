"""Every engine gives the same answers: random entities, rows and questions, with the memory engine as the oracle.

The memory engine in turn is compared with `tests.semantics.reference`, which evaluates each question anew. Rows
and stored values are compared to the last bit; sums and means of floats within a part in 1e9 of the magnitudes;
searches by their members, since scores are only comparable within one engine.

To add an engine, add it to `ENGINES`, or a combination of several to `MIXES`. Everyday runs take some examples;
`-m soak` takes many more.
Not here: what each operation means (`test_cases.py`).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import note as hypothesis_note

import heavenbase as hb
from heaven_core import config
from heaven_core.identity import named_id
from heaven_core.types import from_spec
from tests.semantics import reference, worlds
from tests.semantics.worlds import Change, Dice, Fieldset, World

pytestmark = pytest.mark.integration

ORACLE = "inmem"
ENGINES = ("sqlite",)
"""Engines to compare with the oracle, each by itself."""

MIXES = (
    "postgres",
    "inmem+inmem",
    "sqlite+sqlite",
    "sqlite+duckdb",
    "sqlite+lancedb",
    "inmem+duckdb+sqlite",
    "sqlite+duckdb+lancedb",
    "postgres+duckdb+lancedb",
    "sqlite+postgres",
)
"""Several at once: the first is the primary, and fields lie in any. A server by itself, too, which takes its time."""

EVERYDAY, SOAK = 400, 20_000
MIXED, MIXED_SOAK = 30, 2_000
"""Of each of them."""

# Shrinking the bytes would take long and not help: `_smallest` leaves out rows instead.
usual = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.large_base_example, HealthCheck.data_too_large, HealthCheck.too_slow],
)

NOTE_CHARS = 3000
"""Some questions are long on purpose."""

OpenEngine = Callable[[str], hb.HeavenBase]
Spec = dict[str, Any]


def note(what: Any) -> None:
    """Say it if the example fails."""
    hypothesis_note(f"{what}"[:NOTE_CHARS])


class Table:
    """One entity of a world in one workspace, read and written through the workspace or a transaction of it."""

    def __init__(self, ws: hb.HeavenBase, engine: str, entity: str, world: World) -> None:
        self.ws, self.engine = ws, engine
        self.at: hb.HeavenBase | hb.Transaction = ws
        self.entity = self.register(entity, world)

    def register(self, entity: str, world: World) -> type[hb.Entity]:
        self.entity = hb.Entity.from_schema(world.schema(entity, self.engine))
        self.ws.register(self.entity)
        return self.entity

    def query(self, spec: Spec) -> hb.Query:
        return self.at.query_json(self.entity, spec)

    def ask(self, spec: Spec) -> hb.ResultFrame:
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
    """Workspaces of the oracle and of another engine, renewed from time to time so that they stay small."""

    def __init__(self, open_engine: OpenEngine, engine: str) -> None:
        self._open, self._engine = open_engine, engine
        self._numbers = itertools.count()
        self._pair: list[hb.HeavenBase] = []

    def tables(self, world: World) -> tuple[Table, Table]:
        number = next(self._numbers)
        if not self._pair or number % 100 == 0:
            self.close()
            self._pair = [self._open(ORACLE), self._open(self._engine)]
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
                with pytest.raises(hb.errors.QueryError, match="does not fit"):
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


@pytest.fixture(scope="module")
def pairs(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Iterator[Pairs]:
    made = Pairs(open_engine, request.param)
    yield made
    made.close()


def _pairs_of(names: tuple[str, ...]) -> pytest.MarkDecorator:
    several = [pytest.param(name, marks=pytest.mark.engines(*name.split("+"))) for name in names]
    return pytest.mark.parametrize("pairs", several, indirect=True)


on_pairs, on_mixes = _pairs_of(ENGINES), _pairs_of(MIXES)


def _ask(pairs: Pairs, dice: Dice) -> None:
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
        except Exception:
            world = fewer
    return world


@on_pairs
@settings(usual, max_examples=EVERYDAY)
@given(dice=worlds.dices)
def test_the_same_question_has_the_same_answer_everywhere(pairs: Pairs, dice: Dice) -> None:
    _ask(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_pairs
@settings(usual, max_examples=SOAK)
@given(dice=worlds.dices)
def test_the_same_question_has_the_same_answer_everywhere_for_long(pairs: Pairs, dice: Dice) -> None:
    _ask(pairs, dice)


@on_mixes
@settings(usual, max_examples=MIXED)
@given(dice=worlds.dices)
def test_a_question_over_several_engines_has_the_same_answer(pairs: Pairs, dice: Dice) -> None:
    _ask(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_mixes
@settings(usual, max_examples=MIXED_SOAK)
@given(dice=worlds.dices)
def test_a_question_over_several_engines_has_the_same_answer_for_long(pairs: Pairs, dice: Dice) -> None:
    _ask(pairs, dice)


# -- nearest -------------------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, float]] = {
    "ids first": {"spread_plan.FEW": 1_000_000, "spread_plan.SHARE": 1.0},
    "ids first, several at a time": {"spread_plan.FEW": 1_000_000, "reading.FEW": 2, "reading.SHARE": 1.0},
    "ids first, picked from all rows": {"spread_plan.FEW": 1_000_000, "reading.FEW": 1, "reading.SHARE": 0.0},
    "the nearest first": {"spread_plan.FEW": 100, "spread_plan.SHARE": 0.0, "spread_plan.FIRST": 1},
    "the nearest first, until they are too many": {"spread_plan.FEW": -1, "spread_plan.FIRST": 2},
}
"""How a condition and the nearest of other engines may be brought together: bounds that otherwise decide it."""

NEAREST = 12


@pytest.fixture(scope="module", params=[1 << 20, 1], ids=["within the budget", "beyond the budget"])
def near_pairs(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Iterator[Pairs]:
    """Vectors in LanceDB, which a budget of one byte makes read them from the table."""
    with config.override(vector__memory_budget=request.param):
        made = Pairs(open_engine, "sqlite+lancedb+sqlite")
        yield made
        made.close()


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    from heaven_core import spread_plan
    from heaven_lancedb import reading

    modules = {"spread_plan": spread_plan, "reading": reading}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in request.param.items():
            module, _, constant = name.partition(".")
            patch.setattr(modules[module], constant, value)
        yield


@pytest.mark.engines("sqlite", "lancedb")
@pytest.mark.usefixtures("way")
@settings(usual, max_examples=NEAREST)
@given(dice=worlds.dices)
def test_the_nearest_are_the_same_whichever_way_they_are_found(near_pairs: Pairs, dice: Dice) -> None:
    asked = Asked(near_pairs, worlds.world(dice))
    if not any(dtype.kind == "vector" for dtype in asked.types.values()):
        return
    for _ in range(4):
        question = Question("near", worlds.near(dice, asked.types, asked.known))
        if "filter" not in question.spec:
            question.spec["filter"] = worlds.condition(dice, asked.types, asked.known)
        note(asked.world)
        note(question)
        asked.check(question)


# -- writes --------------------------------------------------------------------------------------------------------


class RolledBack(Exception):
    """Leaves a transaction without a commit."""


def _write(pairs: Pairs, dice: Dice) -> None:
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
    except hb.HeavenError as error:
        return type(error)


def _after(asked: Asked, change: Change) -> tuple[list[Spec], Any]:
    """The rows after a change, and its result or the class of its error."""
    now = {row["object_id"]: row for row in asked.rows}
    if change.kind == "delete":
        gone = set(change.ids) & set(now)
        return [row for one, row in now.items() if one not in gone], len(gone)
    if change.kind == "set" and change.ids[0] not in now:
        return asked.rows, hb.errors.NotFound
    if change.bad is not None:
        return asked.rows, change.bad
    rows = change.rows if change.kind == "upsert" else [{**now[change.ids[0]], **change.rows[0]}]
    made = [asked.stored(row) for row in rows]
    for row in made:
        row["object_id"] = row["object_id"] or named_id(asked.oracle.entity.identifier, row["name"])
    ids = [row["object_id"] for row in made]
    if len(set(ids)) < len(ids):
        return asked.rows, hb.errors.DuplicateId
    now |= {row["object_id"]: row for row in made}
    for field in asked.world.fields:
        values = [row[field.name] for row in now.values() if row[field.name] is not None]
        if field.unique and len(set(values)) < len(values):
            return asked.rows, hb.errors.UniqueViolation
    return list(now.values()), ids[0] if change.kind == "set" else ids


@on_pairs
@settings(usual, max_examples=EVERYDAY // 5)
@given(dice=worlds.dices)
def test_the_same_writes_leave_the_same_rows_everywhere(pairs: Pairs, dice: Dice) -> None:
    _write(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_pairs
@settings(usual, max_examples=SOAK // 5)
@given(dice=worlds.dices)
def test_the_same_writes_leave_the_same_rows_everywhere_for_long(pairs: Pairs, dice: Dice) -> None:
    _write(pairs, dice)


@on_mixes
@settings(usual, max_examples=MIXED // 6)
@given(dice=worlds.dices)
def test_writes_to_several_engines_leave_the_same_rows(pairs: Pairs, dice: Dice) -> None:
    _write(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_mixes
@settings(usual, max_examples=MIXED_SOAK // 5)
@given(dice=worlds.dices)
def test_writes_to_several_engines_leave_the_same_rows_for_long(pairs: Pairs, dice: Dice) -> None:
    _write(pairs, dice)


# -- many rows -----------------------------------------------------------------------------------------------------

MANY = 10_000
MANY_FIELDS = (
    Fieldset("n", from_spec("integer"), indexed=True),
    Fieldset("text", from_spec("short-text"), searched=True),
    Fieldset("tags", from_spec({"type": "array", "item": "short-text"}), storing=2),
)


def _many(step: int) -> list[Spec]:
    return [
        {"object_id": f"{n:05}", "n": n // step, "text": f"word{n % 7} é{n // step}", "tags": [f"t{n % 11}", str(n)]}
        for n in range(MANY)
    ]


@_pairs_of((*ENGINES, "postgres", "sqlite+duckdb+lancedb"))
def test_more_rows_than_an_engine_handles_at_once_are_the_same_everywhere(pairs: Pairs) -> None:
    tables = pairs.tables(World(MANY_FIELDS, ()))
    first, second = _many(1), _many(2)
    ids = [row["object_id"] for row in first]
    some = ids[::-2]

    found: list[list[Any]] = []
    for table in tables:
        table.at.upsert_many(table.entity, first)
        before = table.at.versions(table.entity, ids)
        table.at.upsert_many(table.entity, second)
        after = table.at.versions(table.entity, ids)
        found.append(
            [
                [one != other for one, other in zip(before, after, strict=True)],
                table.at.get_many(some, table.entity),
                table.ask({"order": ["object_id"]}).rows(),
                table.ask({"filter": {"object_id": {"$in": some}}, "order": ["-n"], "limit": 5001, "offset": 2}).ids,
                sorted(table.ask({"filter": {"$not": {"tags": {"$array_overlaps": some}}}, "limit": MANY}).ids),
                sorted(table.ask({"search": {"query": "WORD3 e77", "fields": ["text"]}}).ids),
                table.ask({"group_by": ["n"], "aggregate": {"rows": "count"}, "order": ["-n"], "limit": 3}).rows(),
                table.at.delete_many([*some, "none"], table.entity),
                table.at.ids(table.entity),
                sorted(table.ask({"filter": {"text": {"$match": "word3"}}}).ids),
            ]
        )

    assert found[0] == found[1]
    assert found[1][0] == [False, *[True] * (MANY - 1)]
    assert found[1][1] == [{"name": None, **second[int(one)]} for one in some]
