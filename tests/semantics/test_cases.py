"""`docs/semantics.md` is true: every row of its tables of cases is run on every engine through the public API.

Each filter case is asked under each strategy that the engine has for the type, with and without an index, and so is
its `$not`. The document is complete: each operation has cases that match, that don't and that are null for each
type that has it, and the tables of operations name the types that the code gives them.

To add an engine, add its name to `ENGINES`.
Not here: combinations of conditions and random data (`test_same_answers.py`).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.ops import AGGREGATES, FILTERS, JSON_OPS
from heaven_core.testing.reference import exact
from heaven_core.text import fold, tokens
from heaven_core.types import BUILTIN, LogicalType
from tests.semantics.document import Case, Cells, cases, data, lines, type_of

pytestmark = pytest.mark.integration

ENGINES = ("inmem", "sqlite", "postgres")

OpenEngine = Callable[[str], hb.HeavenBase]

on_engines = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.engines(name)) for name in ENGINES], indirect=True
)


# -- the document --------------------------------------------------------------------------------------------------


def numbered(*headings: str) -> Any:
    """Parameters: the rows of tables, named by their place."""
    return [pytest.param(line.cells, id=f"L{line.number}") for line in lines(*headings)]


# -- the engines ---------------------------------------------------------------------------------------------------


class Entities:
    """A workspace with one entity per type, whose fields hold the value of a case under each strategy there is."""

    def __init__(self, engine: str, ws: hb.HeavenBase) -> None:
        self.engine, self.ws = engine, ws
        self._numbers = itertools.count()
        self.made: dict[str, type[hb.Entity]] = {}
        by_type: dict[str, list[Case]] = {}
        for case in cases():
            by_type.setdefault(case.word, []).append(case)
        for word, several in by_type.items():
            entity = self.made[word] = self.entity(word)
            names = [name for name in entity.schema().names if name not in {"object_id", "name"}]
            rows = [{"object_id": case.id, **dict.fromkeys(names, case.stored)} for case in several]
            ws.upsert_many(entity, rows)

    def entity(self, word: str) -> type[hb.Entity]:
        """A new entity with one field of the type for each strategy, and one with an index."""
        dtype = type_of(word)
        offered = hb.capabilities.strategies(type(dtype), backend=self.engine)
        fields: list[dict[str, Any]] = [
            {"name": f"as_{one.replace('-', '_')}", "type": dtype.spec(), "store": [{"strategy": str(one)}]}
            for one in offered
        ]
        if "scalar" in dtype.traits:
            fields.append({"name": "indexed", "type": dtype.spec(), "index": True})
        return self.fresh(fields)

    def fresh(self, fields: list[dict[str, Any]]) -> type[hb.Entity]:
        """A new entity with these fields."""
        entity = hb.Entity.from_schema({"id": f"e{next(self._numbers)}", "fields": fields})
        self.ws.register(entity)
        return entity

    def holding(self, word: str, values: list[Any]) -> tuple[type[hb.Entity], list[str]]:
        """A new entity with a field `value` that has these values, in rows whose ids ascend."""
        entity = self.fresh([{"name": "value", "type": type_of(word).spec()}])
        stored = [None if value is None else type_of(word).from_json(value) for value in values]
        rows = [{"object_id": f"r{place:03}", "value": value} for place, value in enumerate(stored)]
        return entity, self.ws.upsert_many(entity, rows)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, open_engine: OpenEngine) -> Iterator[Entities]:
    with open_engine(request.param) as ws:
        yield Entities(request.param, ws)


# -- filters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.id}-{case.op}") for case in cases()])
@on_engines
def test_a_case_matches_as_the_page_says_and_its_complement_does_not(engine: Entities, case: Case) -> None:
    entity = engine.made[case.word]
    names = [name for name in entity.schema().names if name not in {"object_id", "name"}]

    found = {
        name: case.id in engine.ws.query_json(entity, {"filter": {name: {f"${case.op}": case.argument}}}).execute().ids
        for name in names
    }
    complement = {
        name: case.id
        in engine.ws.query_json(entity, {"filter": {"$not": {name: {f"${case.op}": case.argument}}}}).execute().ids
        for name in names
    }

    assert found == dict.fromkeys(names, case.matches)
    assert complement == dict.fromkeys(names, not case.matches)


@pytest.mark.parametrize("cells", numbered("type", "op", "refused argument", "error"))
@on_engines
def test_an_argument_is_refused_as_the_page_says(engine: Entities, cells: Cells) -> None:
    entity = engine.fresh([{"name": "value", "type": type_of(cells["type"]).spec()}])

    with pytest.raises(hb.HeavenError) as caught:
        engine.ws.query_json(entity, {"filter": {"value": {f"${cells['op']}": data(cells["refused argument"])}}})

    assert type(caught.value).__name__ == cells["error"]


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", numbered("type", "given", "stored"))
@on_engines
def test_a_value_comes_back_in_its_canonical_form(engine: Entities, cells: Cells) -> None:
    dtype = type_of(cells["type"])

    entity, ids = engine.holding(cells["type"], [data(cells["given"])])

    row = engine.ws.get(ids[0], entity)
    assert row is not None
    assert exact(row["value"]) == exact(dtype.from_json(data(cells["stored"])))
    assert exact(dtype.to_json(row["value"])) == exact(data(cells["stored"]))
    assert engine.ws.query(entity).execute().rows() == [row]


@pytest.mark.parametrize("cells", numbered("type", "refused value", "error"))
@on_engines
def test_a_value_is_refused_as_the_page_says(engine: Entities, cells: Cells) -> None:
    entity = engine.fresh([{"name": "value", "type": type_of(cells["type"]).spec()}])

    with pytest.raises(hb.errors.InvalidValue) as caught:
        engine.ws.upsert_many(entity, [{"value": None}, {"value": data(cells["refused value"])}])

    assert type(caught.value).__name__ == cells["error"]
    assert (caught.value.entity, caught.value.field, caught.value.row) == (entity.identifier, "value", 1)
    assert engine.ws.count(entity) == 0


# -- text ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", numbered("text", "folded"))
def test_a_text_folds_as_the_page_says(cells: Cells) -> None:
    assert fold(data(cells["text"])) == data(cells["folded"])


@pytest.mark.parametrize("cells", numbered("text", "tokens"))
def test_a_text_has_the_tokens_that_the_page_says(cells: Cells) -> None:
    assert tokens(data(cells["text"])) == data(cells["tokens"])


# -- order, groups, ranks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", numbered("type", "ascending"))
@on_engines
def test_rows_come_in_the_order_that_the_page_says(engine: Entities, cells: Cells) -> None:
    dtype, values = type_of(cells["type"]), data(cells["ascending"])
    expected = [None if value is None else dtype.from_json(value) for value in values]
    entity, _ = engine.holding(cells["type"], values[::-1] + values)

    ascending = engine.ws.query(entity).order_by("value").execute()
    descending = engine.ws.query(entity).order_by("-value").execute()

    assert ascending.column("value") == [value for value in expected for _ in range(2)]
    assert descending.column("value") == [value for value in [*expected[-2::-1], None] for _ in range(2)]
    for frame in (ascending, descending):
        assert all(first < second for first, second in zip(frame.ids[::2], frame.ids[1::2], strict=True))


@pytest.mark.parametrize("cells", numbered("type", "values", "aggregate", "p", "result"))
@on_engines
def test_an_aggregate_gives_what_the_page_says(engine: Entities, cells: Cells) -> None:
    for word in cells["type"].split():
        entity, _ = engine.holding(word, data(cells["values"]))
        body = {"field": "value"} | ({"p": data(cells["p"])} if cells["p"] else {})
        query = engine.ws.query_json(entity, {"aggregate": {"x": {f"${cells['aggregate']}": body}}})

        if cells["result"] == "QueryError":
            with pytest.raises(hb.errors.QueryError, match="does not fit"):
                query.execute()
            continue
        found = query.execute().scalar()

        if isinstance(found, float) and cells["aggregate"] not in {"min", "max"}:
            assert math.isclose(found, data(cells["result"]), rel_tol=1e-9)
        else:
            assert exact(found) == exact(_result(type_of(word), cells["aggregate"], data(cells["result"])))


def _result(dtype: LogicalType[Any], aggregate: str, value: Any) -> Any:
    if value is None or aggregate == "count":
        return value
    if aggregate == "value_counts":
        return [[dtype.from_json(one), count] for one, count in value]
    return dtype.from_json(value)


@pytest.mark.parametrize("cells", numbered("values", "search", "found"))
@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "plain"])
@on_engines
def test_a_search_finds_what_the_page_says(engine: Entities, cells: Cells, indexed: bool) -> None:
    store = [{"strategy": "inverted"}] if indexed else []
    entity = engine.fresh([{"name": "value", "type": "long-text", "store": store}])
    ids = engine.ws.upsert_many(entity, [{"value": value} for value in data(cells["values"])])

    found = engine.ws.query(entity).search(data(cells["search"]), "value").execute()

    assert sorted(ids.index(one) for one in found.ids) == data(cells["found"])
    assert found.scores == sorted(found.scores or [], reverse=True)


@pytest.mark.parametrize("cells", numbered("metric", "vectors", "query", "nearest first"))
@on_engines
def test_vectors_are_near_as_the_page_says(engine: Entities, cells: Cells) -> None:
    entity, ids = engine.holding("Vector[2]", data(cells["vectors"]))

    found = engine.ws.query(entity).near("value", data(cells["query"]), metric=cells["metric"]).execute()
    first = engine.ws.query(entity).near("value", data(cells["query"]), top_k=1, metric=cells["metric"]).execute()

    assert [ids.index(one) for one in found.ids] == data(cells["nearest first"])
    assert found.scores == sorted(found.scores or [])
    assert first.ids == found.ids[:1]


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@on_engines
def test_equal_vectors_are_equally_near_and_come_by_id(engine: Entities, metric: str) -> None:
    different = [[math.sin(n * place + n) for place in range(17)] for n in (1, 2, 3)]
    entity, ids = engine.holding("Vector[17]", [different[n * n % 7 % 3] for n in range(53)])

    found = engine.ws.query(entity).near("value", different[0], top_k=53, metric=metric).execute()
    few = engine.ws.query(entity).near("value", different[0], top_k=9, metric=metric)
    even = few.where({"object_id": {"$in": ids[::2]}}).execute()

    assert len(set(found.scores or [])) == 3
    assert found.ids == [one for _, one in sorted(zip(found.scores or [], found.ids, strict=True))]
    assert (few.execute().ids, few.execute().scores) == (found.ids[:9], (found.scores or [])[:9])
    assert even.ids == [one for one in found.ids if one in ids[::2]][:9]


# -- limits --------------------------------------------------------------------------------------------------------


def nested(depth: int, condition: dict[str, Any]) -> dict[str, Any]:
    for _ in range(depth):
        condition = {"$not": condition}
    return condition


@on_engines
def test_a_query_that_passes_a_bound_is_an_error(engine: Entities) -> None:
    entity, _ = engine.holding("ShortText", ["some text"] * 3000)
    query = engine.ws.query(entity).where({"value": {"$regex": "t.*x"}})

    assert len(query.limits(max_rows=3000).execute()) == 3000
    with pytest.raises(hb.errors.ResultTooLarge):
        query.limits(max_rows=2999).execute()
    with pytest.raises(hb.errors.ResultTooLarge):
        query.limit(3).limits(max_bytes=50).execute()
    with pytest.raises(hb.errors.DeadlineExceeded):
        query.limits(deadline=1e-6).execute()


@on_engines
def test_a_condition_may_be_nested_a_hundred_levels_deep(engine: Entities) -> None:
    entity, ids = engine.holding("Integer", [1, 2, None])

    assert engine.ws.query(entity).where(nested(99, {"value": 1})).execute().ids == ids[1:]
    steps = engine.ws.query(entity).where(nested(99, {"value": 1})).explain().to_dict()["steps"]
    assert [step["step"] for step in steps] == ["filter", *["ids"] * 4, "scan"]
    with pytest.raises(hb.errors.QueryTooDeep):
        engine.ws.query(entity).where(nested(100, {"value": 1}))


@on_engines
def test_a_json_value_may_be_nested_a_hundred_levels_deep(engine: Entities) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    entity, ids = engine.holding("Json", [deep])

    assert engine.ws.query(entity).where({"value": {"$eq": deep}}).execute().ids == ids
    found = engine.ws.query(entity).where({"value": {"$get": {"path": [0] * 100, "$eq": 1}}})
    assert found.execute().ids == ids
    with pytest.raises(hb.errors.InvalidValue):
        engine.ws.upsert(entity, {"value": [deep]})
    with pytest.raises(hb.errors.InvalidValue):
        engine.ws.query(entity).where({"value": {"$get": {"path": [0] * 101, "$eq": 1}}})


@on_engines
def test_the_nearest_hundred_thousand_are_the_most_that_can_be_asked_for(engine: Entities) -> None:
    entity, ids = engine.holding("Vector[2]", [[1.0, 0.0]])

    assert engine.ws.query(entity).near("value", [1.0, 0.0], top_k=100_000).execute().ids == ids
    with pytest.raises(hb.errors.QueryError):
        engine.ws.query(entity).near("value", [1.0, 0.0], top_k=100_001)


@pytest.mark.parametrize("word", ["Integer", "Float", "ShortText", "Boolean"])
@on_engines
def test_a_list_of_any_length_can_be_compared_with(engine: Entities, word: str) -> None:
    values = [True, False, None] if word == "Boolean" else ["1", "2", None] if word == "ShortText" else [1, 2, None]
    others: list[Any] = [True] if word == "Boolean" else [f"x{n}" for n in range(40_000)]
    others = others * 40_000 if word == "Boolean" else others if word == "ShortText" else list(range(10, 40_000))
    entity, ids = engine.holding(word, values)

    assert engine.ws.query(entity).where({"value": {"$in": [*others, values[0]]}}).execute().ids == ids[:1]
    assert (
        engine.ws.query(entity).where({"$not": {"value": {"$in": [*others, None]}}}).count() == (word != "Boolean") + 1
    )


@on_engines
def test_any_number_of_conditions_can_stand_side_by_side(engine: Entities) -> None:
    entity, ids = engine.holding("Integer", [-1, 7, None])

    found = engine.ws.query(entity).where({"$or": [{"value": n} for n in range(32_100)]})
    assert found.filter is not None
    others = engine.ws.query(entity).where(~found.filter)

    assert found.execute().ids == ids[1:2]
    assert sorted(others.execute().ids) == [ids[0], ids[2]]
    assert found.explain().native is (engine.engine == "inmem")


# -- completeness --------------------------------------------------------------------------------------------------


def served(op: Any) -> list[str]:
    return [cls.__name__ for cls in BUILTIN if op.serves(cls)]


WORDS = {
    "any text": ["Identifier", "ShortText", "MediumText", "LongText", "Categorical"],
    "ordered": ["any text", "Integer", "Float", "Timestamp", "Date", "Duration"],
    "comparable": ["ordered", "Boolean", "Array", "Json"],
    "all": [cls.__name__ for cls in BUILTIN],
}


def spelt_out(cell: str) -> set[str]:
    """The types that a cell of the tables of operations means."""
    found: set[str] = set()
    for word in re.split(r"[,;] ", cell.split("; without", maxsplit=1)[0]):
        found |= (
            set().union(*map(spelt_out, WORDS[word]))
            if word in WORDS and word != "all"
            else set(WORDS.get(word, [word]))
        )
    return found


def test_there_are_at_least_250_cases() -> None:
    assert len(lines("type", "value", "op", "argument", "matches")) >= 250


@pytest.mark.parametrize("op", FILTERS, ids=lambda op: op.name)
def test_an_operation_has_cases_that_match_that_do_not_and_that_are_null_for_each_type(op: Any) -> None:
    known = {(type(case.dtype).__name__, case.matches) for case in cases() if case.op == op.name}
    nulls = {type(case.dtype).__name__ for case in cases() if case.op == op.name and case.value is None}

    assert known == {(name, flag) for name in served(op) for flag in (True, False)}
    assert nulls == set(served(op))


@pytest.mark.parametrize("question", JSON_OPS)
def test_a_question_at_a_path_has_cases_that_match_that_do_not_and_of_nothing(question: str) -> None:
    asked = [case for case in cases() if case.op == "get" and f"${question}" in case.argument]

    assert {case.matches for case in asked} == {True, False}
    assert any(case.value is None for case in asked)


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda op: op.name)
def test_an_aggregate_has_a_case_for_each_type(aggregate: Any) -> None:
    rows = lines("type", "values", "aggregate", "p", "result")

    known = {
        type(type_of(word)).__name__
        for line in rows
        if line.cells["aggregate"] == aggregate.name
        for word in line.cells["type"].split()
    }

    assert known == set(served(aggregate))


def test_each_type_that_can_be_ordered_has_a_case_of_order() -> None:
    texts = {"Identifier", "MediumText", "LongText"}  # as ShortText

    known = {type(type_of(line.cells["type"])).__name__ for line in lines("type", "ascending")}

    assert known | texts == {cls.__name__ for cls in BUILTIN if "scalar" in cls.traits}


@pytest.mark.parametrize(
    ("headings", "ops"),
    [
        (("operation", "types", "argument", "holds for a value that", "null field"), FILTERS),
        (("aggregate", "types", "result", "of nothing"), AGGREGATES),
    ],
    ids=["filters", "aggregates"],
)
def test_the_table_of_operations_names_the_types_that_have_each(headings: tuple[str, ...], ops: Any) -> None:
    written = {line.cells[headings[0]].strip("`"): spelt_out(line.cells["types"]) for line in lines(*headings)}

    assert written == {op.name: set(served(op)) for op in ops}


def test_the_table_of_questions_at_a_path_has_each() -> None:
    written = " ".join(line.cells["question"].replace("`", "") for line in lines("question", "argument", "holds if"))

    assert sorted(written.split()) == sorted(JSON_OPS)
