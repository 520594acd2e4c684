"""Every engine gives the same answers: random entities, rows and questions, with the memory engine as the oracle.

How they are compared is the conformance kit's (`heaven_core.testing.comparing`), as are the worlds.

To add an engine, add it to `ENGINES`, or a combination of several to `MIXES`. Everyday runs take some examples;
`-m soak` takes many more.
Not here: what each operation means (`test_cases.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings

import heavenbase as hb
from heaven_core import config
from heaven_core.testing import worlds
from heaven_core.testing.comparing import ORACLE, Asked, Pairs, Question, ask, note, usual, write
from heaven_core.testing.worlds import Dice, Fieldset, World
from heaven_core.types import from_spec

pytestmark = pytest.mark.integration

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
    "sqlite+duckdb+lancedb+postgres",
)
"""Several at once: the first is the primary, and fields lie in any. A server by itself, too, which takes its time."""

EVERYDAY, SOAK = 200, 20_000
MIXED, MIXED_SOAK = 30, 2_000
"""Of each of them."""


@pytest.fixture(scope="module")
def pairs(request: pytest.FixtureRequest, open_engine: Callable[[str], hb.HeavenBase]) -> Iterator[Pairs]:
    made = Pairs(lambda: open_engine(ORACLE), lambda: open_engine(request.param), request.param)
    yield made
    made.close()


def _pairs_of(names: tuple[str, ...]) -> pytest.MarkDecorator:
    several = [pytest.param(name, marks=pytest.mark.engines(*name.split("+"))) for name in names]
    return pytest.mark.parametrize("pairs", several, indirect=True)


on_pairs, on_mixes = _pairs_of(ENGINES), _pairs_of(MIXES)


@on_pairs
@settings(usual, max_examples=EVERYDAY)
@given(dice=worlds.dices)
def test_the_same_question_has_the_same_answer_everywhere(pairs: Pairs, dice: Dice) -> None:
    ask(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_pairs
@settings(usual, max_examples=SOAK)
@given(dice=worlds.dices)
def test_the_same_question_has_the_same_answer_everywhere_for_long(pairs: Pairs, dice: Dice) -> None:
    ask(pairs, dice)


@on_mixes
@settings(usual, max_examples=MIXED)
@given(dice=worlds.dices)
def test_a_question_over_several_engines_has_the_same_answer(pairs: Pairs, dice: Dice) -> None:
    ask(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_mixes
@settings(usual, max_examples=MIXED_SOAK)
@given(dice=worlds.dices)
def test_a_question_over_several_engines_has_the_same_answer_for_long(pairs: Pairs, dice: Dice) -> None:
    ask(pairs, dice)


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
def near_pairs(request: pytest.FixtureRequest, open_engine: Callable[[str], hb.HeavenBase]) -> Iterator[Pairs]:
    """Vectors in LanceDB, which a budget of one byte makes read them from the table."""
    with config.override(vector__memory_budget=request.param):
        mix = "sqlite+lancedb+sqlite"
        made = Pairs(lambda: open_engine(ORACLE), lambda: open_engine(mix), mix)
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


@on_pairs
@settings(usual, max_examples=EVERYDAY // 5)
@given(dice=worlds.dices)
def test_the_same_writes_leave_the_same_rows_everywhere(pairs: Pairs, dice: Dice) -> None:
    write(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_pairs
@settings(usual, max_examples=SOAK // 5)
@given(dice=worlds.dices)
def test_the_same_writes_leave_the_same_rows_everywhere_for_long(pairs: Pairs, dice: Dice) -> None:
    write(pairs, dice)


@on_mixes
@settings(usual, max_examples=MIXED // 6)
@given(dice=worlds.dices)
def test_writes_to_several_engines_leave_the_same_rows(pairs: Pairs, dice: Dice) -> None:
    write(pairs, dice)


@pytest.mark.soak
@pytest.mark.timeout(0)
@on_mixes
@settings(usual, max_examples=MIXED_SOAK // 5)
@given(dice=worlds.dices)
def test_writes_to_several_engines_leave_the_same_rows_for_long(pairs: Pairs, dice: Dice) -> None:
    write(pairs, dice)


# -- many rows -----------------------------------------------------------------------------------------------------

MANY = 10_000
MANY_FIELDS = (
    Fieldset("n", from_spec("integer"), indexed=True),
    Fieldset("text", from_spec("short-text"), searched=True),
    Fieldset("tags", from_spec({"type": "array", "item": "short-text"}), storing=2),
)


def _many(step: int) -> list[dict[str, Any]]:
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
