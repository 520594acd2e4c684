"""Batches, `heaven_core.batch`: rows in, checked columns out; or one error with entity, field, row and value."""

from __future__ import annotations

from collections import ChainMap, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.batch import make_batch
from heaven_core.errors import DuplicateId, HeavenError, InvalidType, InvalidValue, SchemaError, UnknownField
from heaven_core.identity import named_id

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).required()
    n = hb.field(hb.Integer).default(3)
    day = hb.field(hb.Date)
    tags = hb.field(hb.Array(hb.ShortText)).default(["new"])


class Other(hb.Entity):
    title = hb.field(hb.ShortText)


SCHEMA = Doc.schema()


class Frozen(Mapping[str, Any]):
    """A mapping that is no dict."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def test_rows_become_columns_of_canonical_values() -> None:
    batch = make_batch(SCHEMA, [{"title": "a", "day": "2024-05-01"}, {"title": "b", "n": None, "tags": ("x",)}])

    assert {name: list(column) for name, column in batch.columns.items() if name != "object_id"} == {
        "name": [None, None],
        "title": ["a", "b"],
        "n": [3, None],
        "day": [date(2024, 5, 1), None],
        "tags": [["new"], ["x"]],
    }
    assert batch.columns["object_id"] == batch.ids
    assert len(set(batch.ids)) == 2


def test_no_rows_make_an_empty_batch_with_every_column() -> None:
    batch = make_batch(SCHEMA, [])

    assert (batch.ids, set(batch.columns)) == ([], {"object_id", "name", "title", "n", "day", "tags"})


@pytest.mark.parametrize(
    "row",
    [
        {"title": "a", "n": 1},
        Doc(title="a", n=1),
        Frozen(title="a", n=1),
        MappingProxyType({"title": "a", "n": 1}),
        ChainMap({"title": "a"}, {"n": 1}),  # pyright: ignore[reportArgumentType]
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_row_is_a_mapping_or_an_instance(row: Any) -> None:
    batch = make_batch(SCHEMA, [row])

    assert (batch.columns["title"][0], batch.columns["n"][0]) == ("a", 1)


def test_rows_come_from_any_iterable_and_are_read_once() -> None:
    batch = make_batch(SCHEMA, ({"title": str(number)} for number in range(3)))

    assert list(batch.columns["title"]) == ["0", "1", "2"]


def test_a_mapping_that_makes_up_what_it_lacks_is_taken_by_what_it_has() -> None:
    made_up = defaultdict(lambda: "made up", {"title": "b", "name": "x"})

    batch = make_batch(SCHEMA, [{"title": "a", "n": 1}, made_up])

    assert list(batch.columns["n"]) == [1, 3]
    assert list(batch.columns["name"]) == [None, "x"]
    assert dict(made_up) == {"title": "b", "name": "x"}


ROWS = st.lists(
    st.fixed_dictionaries(
        {"title": st.text("ab", min_size=1)},
        optional={
            "n": st.none() | st.integers(0, 9),
            "day": st.none() | st.dates(),
            "name": st.none() | st.text("xyz"),
        },
    ),
    max_size=6,
)


@given(ROWS)
def test_rows_of_any_shape_give_the_same_as_each_row_alone(rows: list[dict[str, Any]]) -> None:
    given_ids = [{**row, "object_id": str(number)} for number, row in enumerate(rows)]

    together = make_batch(SCHEMA, given_ids)

    alone = [make_batch(SCHEMA, [row]) for row in given_ids]
    for name in SCHEMA.names:
        assert list(together.columns[name]) == [one.columns[name][0] for one in alone]


# -- ids -------------------------------------------------------------------------------------------------------------


def test_an_explicit_id_wins_over_a_name_over_a_new_one() -> None:
    batch = make_batch(
        SCHEMA, [{"title": "a", "object_id": "given", "name": "x"}, {"title": "b", "name": "x"}, {"title": "c"}]
    )

    assert batch.ids[:2] == ["given", named_id("doc", "x")]
    assert batch.ids[2] not in batch.ids[:2]
    assert not batch.fresh


def test_only_ids_that_were_all_made_now_are_fresh() -> None:
    assert make_batch(SCHEMA, [{"title": "a"}, {"title": "b"}]).fresh
    assert not make_batch(SCHEMA, [{"title": "a", "object_id": "x"}]).fresh
    assert not make_batch(SCHEMA, [{"title": "a"}, {"title": "b", "name": "x"}]).fresh


# -- refusals --------------------------------------------------------------------------------------------------------


def _rows(count: int, **last: Any) -> list[dict[str, Any]]:
    """`count` good rows and a bad one."""
    return [*({"title": "a", "object_id": str(number)} for number in range(count)), {"title": "b", **last}]


@pytest.mark.parametrize(
    ("rows", "kind", "message", "place"),
    [
        (_rows(2, n=True), InvalidType, r"doc\.n, row 2: True is a bool; takes a whole number", ("n", 2)),
        (_rows(2, n=1.5), InvalidType, r"doc\.n, row 2: 1\.5 is a float", ("n", 2)),
        (_rows(0, n=2**70), InvalidValue, r"doc\.n, row 0: \d+ does not fit in 64 bits", ("n", 0)),
        (_rows(1, title="x" * 256), InvalidValue, r"doc\.title, row 1: 'x+'\.\.\. has 256 characters", ("title", 1)),
        (
            _rows(1, title=None),
            InvalidValue,
            r"doc\.title, row 1: None is no value; the field is required",
            ("title", 1),
        ),
        ([{"title": "a"}, {"n": 1}], InvalidValue, r"doc\.title, row 1: None is no value", ("title", 1)),
        ([{"n": 1}, {"n": 2}], InvalidValue, r"doc\.title, row 0: None is no value", ("title", 0)),
        (_rows(1, tags=["a", 5]), InvalidType, r"doc\.tags, row 1: a list of 2 holds 5, which is an int", ("tags", 1)),
        (_rows(1, day="no"), InvalidValue, r"doc\.day, row 1: 'no' is no date", ("day", 1)),
        (_rows(1, object_id=5), InvalidType, r"doc\.object_id, row 1: 5 is an int", ("object_id", 1)),
        (
            _rows(1, object_id=""),
            InvalidValue,
            r"doc\.object_id, row 1: '' is empty; an id has 1 to 63",
            ("object_id", 1),
        ),
        (_rows(1, object_id="x" * 64), InvalidValue, "has 64 characters; at most 63 fit", ("object_id", 1)),
        (_rows(3, object_id="1"), DuplicateId, r"row 3: '1' is also the id of row 1", ("object_id", 3)),
        (
            [{"title": "a", "name": "x"}, {"title": "b", "name": "x"}],
            DuplicateId,
            "'x' also names row 0; the name makes the id, and each row of a batch has its own",
            ("name", 1),
        ),
        (
            _rows(1, titel="x"),
            UnknownField,
            "doc, row 1: there is no field 'titel'; did you mean 'title'",
            ("titel", 1),
        ),
        ([{"titel": "a", "n": 1}], UnknownField, "doc, row 0: there is no field 'titel'", ("titel", 0)),
        ([{"title": "a", 5: 1}], UnknownField, "there is no field 5", (5, 0)),
        ([{"title": "a"}, 5], InvalidType, "doc, row 1: 5 is an int; a row is a mapping or an instance", (None, 1)),
        (
            [{"title": "a"}, Other(title="x")],
            InvalidType,
            "doc, row 1: 'other' is the entity of the instance",
            (None, 1),
        ),
    ],
)
def test_the_first_bad_value_is_named(rows: Any, kind: type[HeavenError], message: str, place: tuple[Any, int]) -> None:
    with pytest.raises(kind, match=message) as raised:
        make_batch(SCHEMA, rows)

    said = vars(raised.value)
    assert (said["entity"], said["field"], said["row"]) == ("doc", *place)


@pytest.mark.parametrize(
    "rows", [{"title": "a"}, "ab", b"ab", Doc(title="a"), 5, None], ids=lambda rows: type(rows).__name__
)
def test_what_is_no_list_of_rows_is_refused(rows: Any) -> None:
    with pytest.raises(SchemaError, match="upsert_many into 'doc' takes an iterable of rows"):
        make_batch(SCHEMA, rows)


def test_a_refused_batch_writes_nothing(ws: hb.HeavenBase) -> None:
    ws.register(Doc)
    ws.upsert(Doc, {"object_id": "old", "title": "a"})

    with pytest.raises(InvalidType):
        ws.upsert_many(Doc, [{"object_id": "old", "title": "changed"}, {"title": "b"}, {"title": 5}])

    assert [row["title"] for row in ws.query(Doc)] == ["a"]


def test_what_was_written_does_not_follow_the_caller_s_objects(ws: hb.HeavenBase) -> None:
    class Box(hb.Entity):
        tags = hb.field(hb.Array(hb.Integer)).default([0])
        meta = hb.field(hb.Json)
        place = hb.field(hb.Vector(2))

    ws.register(Box)
    row: dict[str, Any] = {"object_id": "a", "tags": [1], "meta": {"k": [1]}, "place": [1.0, 0.0]}
    ws.upsert_many(Box, [row, {"object_id": "b"}, {"object_id": "c"}])

    row["tags"].append(2)
    row["meta"]["k"].append(2)
    row["place"][0] = 9.0
    for read in (ws.get("a"), ws.query(Box).where({"object_id": "b"}).execute().rows()[0]):
        assert read is not None
        read["tags"].append(3)

    assert ws.get("a") == {"object_id": "a", "name": None, "tags": [1], "meta": {"k": [1]}, "place": [1.0, 0.0]}
    assert [row and row["tags"] for row in ws.get_many(["b", "c"], Box)] == [[0], [0]]
    assert Box.schema().field("tags").default == [0]
