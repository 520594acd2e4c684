"""Rows that no workspace takes: an error names entity, field, row and value, and nothing of the batch is kept.

Everything here holds on the memory engine and on SQLite alike.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import heavenbase as hb
from heaven_core.errors import (
    DuplicateId,
    HeavenError,
    InvalidType,
    InvalidValue,
    NotFound,
    SchemaError,
    UniqueViolation,
    UnknownEntity,
    UnknownField,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

NAN, INF = float("nan"), float("inf")


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).required()
    note = hb.field(hb.ShortText(10))
    n = hb.field(hb.Integer)
    ratio = hb.field(hb.Float)
    flag = hb.field(hb.Boolean)
    kind = hb.field(hb.Categorical(["red", "green"]))
    at = hb.field(hb.Timestamp)
    day = hb.field(hb.Date)
    span = hb.field(hb.Duration)
    tags = hb.field(hb.Array[hb.ShortText])
    numbers = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)
    anything = hb.field(hb.Array)
    meta = hb.field(hb.Json)
    blob = hb.field(hb.Artifact)
    vec = hb.field(hb.Vector[3])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    c = hb.field(hb.Integer).unique()
    code = hb.field(hb.ShortText).unique()


class Unspeakable:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def nested(depth: int) -> Any:
    value: Any = "end"
    for _ in range(depth):
        value = [value]
    return value


def self_containing() -> list[Any]:
    value: list[Any] = []
    value.extend([value, value])
    return value


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hb.HeavenBase]:
    where: dict[str, Any] = {"preset": "debug"} if request.param == "inmem" else {"path": tmp_path / "ws"}
    with hb.HeavenBase("bad-rows", **where) as workspace:
        workspace.register(Doc)
        workspace.upsert_many(
            Doc,
            [
                {"object_id": f"kept-{one}", "title": f"confidential {one}", "c": one, "code": f"code-{one}", "n": one}
                for one in range(3)
            ],
        )
        yield workspace


def state(ws: hb.HeavenBase) -> tuple[int, list[Any], list[int | None]]:
    """Everything that a write could have changed."""
    ids = ws.ids(Doc)
    return ws.count(Doc), ws.get_many(ids, Doc), ws.versions(Doc, ids)


def refused(ws: hb.HeavenBase, write: Callable[[], object]) -> HeavenError:
    """The error of a write that must fail and leave everything as it was; its message tells no tales."""
    before = state(ws)
    with pytest.raises(HeavenError) as raised:
        write()
    assert state(ws) == before
    message = str(raised.value)
    assert len(message) < 500
    assert "confidential" not in message
    assert not re.search(r"\b(select|insert|update|where|returning)\b|/tmp/|0x[0-9a-f]{6}", message)
    assert message.isprintable()
    return raised.value


def place(error: HeavenError) -> tuple[Any, ...]:
    said = vars(error)
    return said["entity"], said["field"], said["row"]


WRONG_TYPE = [
    ("title", 5, "is an int"),
    ("title", b"bytes", "is a bytes"),
    ("title", ["a"], "is a list"),
    ("n", True, "is a bool"),
    ("n", 1.5, "is a float"),
    ("n", 1.0, "is a float"),
    ("n", "12", "is a str"),
    ("n", Unspeakable(), "Unspeakable"),
    ("ratio", True, "is a bool"),
    ("ratio", "1.5", "is a str"),
    ("flag", 1, "is an int"),
    ("flag", "yes", "is a str"),
    ("kind", 5, "is an int"),
    ("kind", ["red"], "is a list"),
    ("at", 1_600_000_000, "is an int"),
    ("at", date(2020, 1, 1), "is a date"),
    ("day", datetime(2020, 1, 1, tzinfo=UTC), "is a datetime"),
    ("day", 20200101, "is an int"),
    ("span", 60, "is an int"),
    ("tags", "abc", "is a str"),
    ("tags", {"a": 1}, "is a dict"),
    ("tags", ["a", 1], "holds 1, which is an int"),
    ("tags", ["a", {}], "holds a dict of 0, which is a dict"),
    ("tags", ["a", None], "holds None, which is null"),
    ("numbers", [1, True], "holds True, which is a bool"),
    ("anything", [1, [2]], "holds a list of 1, which is a list"),
    ("meta", {1: "a"}, "has a key that is not text"),
    ("meta", {"a": {(1, 2): "b"}}, "has a key that is not text"),
    ("meta", {"a": {1, 2}}, "which is a set"),
    ("meta", {"a": b"x"}, "which is a bytes"),
    ("meta", {"a": Unspeakable()}, "Unspeakable"),
    ("blob", "text", "is a str"),
    ("vec", "abc", "is a str"),
    ("vec", 5, "is an int"),
    ("vec", [1, 2, "3"], "holds '3', which is a str"),
    ("vec", [1, 2, True], "holds True, which is a bool"),
    ("vec", [1, 2, None], "holds None"),
    ("object_id", 5, "is an int"),
    ("object_id", b"id", "is a bytes"),
    ("name", 5, "is an int"),
]

BAD_VALUE = [
    ("title", None, "the field is required"),
    ("title", "x" * 256, "has 256 characters; at most 255 fit"),
    ("note", "x" * 11, "has 11 characters; at most 10 fit"),
    ("body", "x" * 65536, "at most 65535 fit"),
    ("title", "a\0b", "holds a NUL character"),
    ("title", "a\ud800b", "holds a lone surrogate"),
    ("body", "\udfff", "holds a lone surrogate"),
    ("n", 2**63, "does not fit in 64 bits"),
    ("n", -(2**63) - 1, "does not fit in 64 bits"),
    ("n", 2**70, "1180591620717411303424 does not fit in 64 bits"),
    ("n", 2**100_000, "an int of 100001 bits does not fit in 64 bits"),
    ("ratio", NAN, "is not a finite number"),
    ("ratio", INF, "is not a finite number"),
    ("ratio", 2**53 + 1, "is an int that no 64-bit float equals"),
    ("ratio", 10**400, "does not fit in a 64-bit float"),
    ("kind", "grene", "did you mean 'green'?"),
    ("at", datetime(2020, 1, 1), "has no time zone"),  # noqa: DTZ001  # that is the point
    ("at", "2020-01-01T00:00:00", "has no time zone"),
    ("at", "2020-13-01T00:00:00Z", "is no ISO 8601 date and time"),
    ("at", "yesterday", "is no ISO 8601 date and time"),
    ("at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "lies outside the years 1 to 9999"),
    ("day", "2020-02-30", "is no date written YYYY-MM-DD"),
    ("day", "30.2.2020", "is no date written YYYY-MM-DD"),
    ("span", "P1Y", "is no ISO 8601 duration"),
    ("span", "P", "is no ISO 8601 duration"),
    ("span", timedelta.max, "does not fit in 64 bits of microseconds"),
    ("tags", ["a\0"], "holds a NUL character"),
    ("numbers", [2**70], "does not fit in 64 bits"),
    ("anything", [NAN], "holds nan, which is not a finite number"),
    ("anything", [2**70], "does not fit in 64 bits"),
    ("anything", ["\ud800"], "holds a lone surrogate"),
    ("meta", NAN, "is not a finite number"),
    ("meta", {"a": [1, {"b": INF}]}, "holds inf, which is not a finite number"),
    ("meta", {"a": 2**70}, "holds 1180591620717411303424, which does not fit in 64 bits"),
    ("meta", {"\ud800": 1}, "holds a lone surrogate"),
    ("meta", {"a": "\0"}, "holds a NUL character"),
    ("meta", nested(102), "is nested deeper than 100 levels"),
    ("meta", nested(100_000), "is nested deeper than 100 levels"),
    ("meta", self_containing(), "is nested deeper than 100 levels"),
    ("vec", [1, 2], "has 2 dimensions; the field has 3"),
    ("vec", [], "has 0 dimensions; the field has 3"),
    ("vec", [1, 2, NAN], "holds NaN, an infinity"),
    ("vec", [1, 2, -INF], "holds NaN, an infinity"),
    ("vec", [1, 2, 1e39], "holds NaN, an infinity or a number beyond 32-bit floats"),
    ("vec", [1, 2, 2**2000], "holds a number that no 32-bit float can hold"),
    ("object_id", "", "is empty"),
    ("object_id", "x" * 64, "has 64 characters; at most 63 fit"),
    ("object_id", "\ud800", "holds a lone surrogate"),
]


def rows_with(field: str, value: object) -> list[dict[str, Any]]:
    """Three rows of which the second is bad."""
    rows = [{"title": "confidential, and fine"}, {"title": "the second"}, {"title": "also confidential"}]
    rows[1][field] = value  # pyright: ignore[reportArgumentType]
    return rows


def names(cases: list[tuple[str, Any, str]]) -> list[str]:
    return [f"{field}-{number}" for number, (field, _, _) in enumerate(cases)]


@pytest.mark.parametrize(("field", "value", "reason"), WRONG_TYPE, ids=names(WRONG_TYPE))
def test_a_value_of_another_type_is_refused_with_its_place(
    ws: hb.HeavenBase, field: str, value: object, reason: str
) -> None:
    error = refused(ws, lambda: ws.upsert_many(Doc, rows_with(field, value)))

    assert isinstance(error, InvalidType)
    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert (error.entity, error.field, error.row) == ("doc", field, 1)
    assert error.value is value
    assert str(error).startswith(f"doc.{field}, row 1: ")
    assert reason in str(error)


@pytest.mark.parametrize(("field", "value", "reason"), BAD_VALUE, ids=names(BAD_VALUE))
def test_a_value_that_the_field_cannot_hold_is_refused_with_its_place(
    ws: hb.HeavenBase, field: str, value: object, reason: str
) -> None:
    error = refused(ws, lambda: ws.upsert_many(Doc, rows_with(field, value)))

    assert isinstance(error, InvalidValue)
    assert not isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert (error.entity, error.field, error.row) == ("doc", field, 1)
    assert error.value is value
    assert str(error).startswith(f"doc.{field}, row 1: ")
    assert reason in str(error)


@pytest.mark.parametrize("field", ["n", "title", "meta", "vec", "at"])
def test_a_bad_value_is_found_in_a_single_upsert_and_in_a_set_too(ws: hb.HeavenBase, field: str) -> None:
    upsert = refused(ws, lambda: ws.upsert(Doc, {"title": "x", field: Unspeakable()}))
    change = refused(ws, lambda: ws.set("kept-1", {field: Unspeakable()}))

    for error in (upsert, change):
        assert isinstance(error, InvalidType)
        assert (error.entity, error.field, error.row) == ("doc", field, 0)


def test_the_last_of_many_rows_is_found_and_none_of_the_others_is_written(ws: hb.HeavenBase) -> None:
    rows: list[dict[str, Any]] = [{"title": f"confidential {one}", "n": one} for one in range(5000)]
    rows.append({"title": "bad", "n": "5000"})

    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, InvalidType)
    assert error.row == 5000


def test_the_first_bad_row_of_several_is_named(ws: hb.HeavenBase) -> None:
    rows = [{"title": "x", "n": 1}, {"title": "x", "n": "one"}, {"title": "x", "n": "two"}]

    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, InvalidType)
    assert (error.row, error.value) == (1, "one")


def test_a_required_field_that_a_row_leaves_out_is_named_with_the_row(ws: hb.HeavenBase) -> None:
    error = refused(ws, lambda: ws.upsert_many(Doc, [{"title": "x", "n": 1}, {"n": 2}]))

    assert isinstance(error, InvalidValue)
    assert (error.entity, error.field, error.row, error.value) == ("doc", "title", 1, None)


# Unknown fields


def test_an_unknown_field_is_refused_with_the_nearest_name(ws: hb.HeavenBase) -> None:
    error = refused(ws, lambda: ws.upsert_many(Doc, [{"title": "x"}, {"title": "x", "titel": "y"}]))

    assert isinstance(error, UnknownField)
    assert isinstance(error, LookupError)
    assert place(error) == ("doc", "titel", 1)
    assert "did you mean 'title'?" in str(error)


@pytest.mark.parametrize(
    "key",
    [5, None, True, ("title",), "title ", "TITLE", "", "_v", "_rowid", "\ud800", "title; drop table e_doc", "e" * 5000],
)
def test_whatever_is_no_field_is_an_unknown_field(ws: hb.HeavenBase, key: Any) -> None:
    error = refused(ws, lambda: ws.upsert(Doc, {"title": "x", key: 1}))

    assert isinstance(error, UnknownField)


def test_a_mapping_that_makes_up_missing_keys_does_not_hide_an_unknown_field(ws: hb.HeavenBase) -> None:
    made_up = defaultdict(int, title="x", bogus=3)

    error = refused(ws, lambda: ws.upsert_many(Doc, [{"title": "a", "n": 1}, made_up]))

    assert isinstance(error, UnknownField)
    assert place(error) == ("doc", "bogus", 1)


def test_an_unknown_field_of_an_instance_is_refused_when_it_is_made() -> None:
    with pytest.raises(UnknownField, match="did you mean 'title'"):
        Doc(titel="x")


# Ids


def test_one_id_twice_in_a_batch_is_refused_with_both_rows(ws: hb.HeavenBase) -> None:
    rows = [{"object_id": one, "title": "x"} for one in ("a", "b", "a")]

    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, DuplicateId)
    assert (error.entity, error.field, error.row, error.value) == ("doc", "object_id", 2, "a")
    assert "row 0" in str(error)


def test_one_name_twice_in_a_batch_is_one_id_twice(ws: hb.HeavenBase) -> None:
    rows = [{"name": "same", "title": "x"}, {"title": "y"}, {"name": "same", "title": "z"}]

    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, DuplicateId)
    assert error.row == 2


def test_set_cannot_change_an_id(ws: hb.HeavenBase) -> None:
    error = refused(ws, lambda: ws.set("kept-0", {"object_id": "other"}))

    assert isinstance(error, InvalidValue)
    assert error.field == "object_id"


@pytest.mark.parametrize(
    "bad",
    [5, None, b"x", ["kept-0"], {}, 2**70, Unspeakable(), np.array(["a", "b"]), np.array(["kept-0"])],
    ids=range(9),
)
def test_what_is_no_id_is_refused_wherever_one_is_taken(ws: hb.HeavenBase, bad: Any) -> None:
    for ask in (ws.get, ws.exists, ws.version, ws.delete, lambda one, *entity: ws.set(one, {"n": 1}, *entity)):
        for entity in ((), (Doc,)):
            with pytest.raises(InvalidType):
                ask(bad, *entity)
    for ask_many in (ws.get_many, ws.delete_many):
        with pytest.raises(InvalidType):
            ask_many([bad], Doc)
    with pytest.raises(InvalidType):
        ws.versions(Doc, [bad])


TABLES = [
    np.array([7]),
    np.array(7),
    np.array([1.5, 2.5]),
    np.array(["red"]),
    np.array([]),
    np.array([[1, 2], [3, 4]]),
    np.ma.array([True]),
    pd.Series([1.5]),
    pd.Series(["red", "green"]),
    pd.DataFrame({"a": [7]}),
]


@pytest.mark.parametrize("table", TABLES, ids=range(len(TABLES)))
def test_no_table_stands_for_one_value(ws: hb.HeavenBase, table: Any) -> None:
    for field in ("title", "n", "ratio", "flag", "kind", "at", "day", "span", "meta", "blob", "name"):
        error = refused(ws, lambda field=field: ws.upsert_many(Doc, rows_with(field, table)))
        assert isinstance(error, InvalidType)
        assert place(error) == ("doc", field, 1)
        assert isinstance(refused(ws, lambda field=field: ws.set("kept-0", {field: table})), InvalidType)
        for filter in ({field: table}, {field: {"$in": [table]}}):
            with pytest.raises(HeavenError):
                ws.count(Doc, filter)


@pytest.mark.parametrize("bad", ["\ud800", "a\0b"])
def test_text_that_can_be_no_id_is_refused_wherever_one_is_taken(ws: hb.HeavenBase, bad: str) -> None:
    for ask in (ws.get, ws.exists, ws.version, ws.delete):
        for entity in ((), (Doc,)):
            with pytest.raises(InvalidValue):
                ask(bad, *entity)
    with pytest.raises(InvalidValue):
        ws.versions(Doc, [bad])


def test_a_text_is_no_list_of_ids(ws: hb.HeavenBase) -> None:
    for ask in (ws.get_many, ws.delete_many):
        for bad in ("kept-0", 5, None):
            with pytest.raises(InvalidType):
                ask(bad, Doc)  # pyright: ignore[reportArgumentType]


def test_an_id_that_is_too_long_is_simply_absent(ws: hb.HeavenBase) -> None:
    assert ws.get("x" * 10_000, Doc) is None
    assert ws.get("x" * 10_000) is None
    with pytest.raises(NotFound) as raised:
        ws.set("x" * 10_000, {"n": 1})
    assert len(str(raised.value)) < 300


def test_set_of_an_absent_row_is_not_found(ws: hb.HeavenBase) -> None:
    for entity in ((), (Doc,), ("doc",)):
        error = refused(ws, lambda entity=entity: ws.set("absent", {"n": 1}, *entity))
        assert isinstance(error, NotFound)
        assert isinstance(error, LookupError)
        assert "absent" in str(error)


# Uniqueness


def test_a_taken_value_of_a_unique_field_names_field_row_and_value(ws: hb.HeavenBase) -> None:
    rows = [{"title": "x", "code": "free"}, {"title": "x", "code": "code-1"}]

    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, UniqueViolation)
    assert isinstance(error, ValueError)
    assert (error.entity, error.field, error.row, error.value) == ("doc", "code", 1, "code-1")


def test_a_unique_field_is_not_mistaken_for_another_whose_name_begins_alike(ws: hb.HeavenBase) -> None:
    assert Doc.schema().field("c").unique

    error = refused(ws, lambda: ws.upsert(Doc, {"title": "x", "c": 77, "code": "code-2"}))

    assert isinstance(error, UniqueViolation)
    assert (error.field, error.value) == ("code", "code-2")


def test_two_rows_of_one_batch_cannot_share_a_unique_value(ws: hb.HeavenBase) -> None:
    rows = [{"title": "x", "code": "new"}, {"title": "x"}, {"title": "x", "code": "new"}]

    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, UniqueViolation)
    assert (error.field, error.row, error.value) == ("code", 2, "new")


def test_rows_of_one_batch_can_exchange_unique_values(ws: hb.HeavenBase) -> None:
    rows = [
        {"object_id": "kept-0", "title": "x", "code": "code-1", "c": 2},
        {"object_id": "kept-1", "title": "x", "code": "code-2", "c": 0},
        {"object_id": "kept-2", "title": "x", "code": "code-0", "c": 1},
    ]

    ws.upsert_many(Doc, rows)

    assert [row and (row["code"], row["c"]) for row in ws.get_many(["kept-0", "kept-1", "kept-2"], Doc)] == [
        ("code-1", 2),
        ("code-2", 0),
        ("code-0", 1),
    ]
    assert ws.check().ok


def test_a_value_that_one_row_of_a_batch_gives_up_another_can_take(ws: hb.HeavenBase) -> None:
    ws.upsert_many(
        Doc, [{"title": "new", "object_id": "new", "code": "code-0"}, {"title": "old", "object_id": "kept-0"}]
    )

    row = ws.get("new")
    assert row is not None
    assert row["code"] == "code-0"


def test_set_to_a_taken_value_is_refused_and_to_its_own_is_not(ws: hb.HeavenBase) -> None:
    error = refused(ws, lambda: ws.set("kept-0", {"code": "code-1"}))

    assert isinstance(error, UniqueViolation)
    assert (error.field, error.value) == ("code", "code-1")
    assert ws.set("kept-0", {"code": "code-0"}) == "kept-0"


def test_nulls_of_a_unique_field_are_not_compared(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"title": "x"}, {"title": "y"}])

    assert ws.count(Doc, {"code": None}) == 2


# What is no row at all


@pytest.mark.parametrize("row", ["abc", b"abc", 5, None, ["title"], [("title", "x")], {"title"}, Unspeakable()])
def test_what_is_no_row_is_refused_with_its_position(ws: hb.HeavenBase, row: Any) -> None:
    error = refused(ws, lambda: ws.upsert_many(Doc, [{"title": "x"}, row]))

    assert isinstance(error, InvalidType)
    assert (error.entity, error.row) == ("doc", 1)


@pytest.mark.parametrize("rows", [None, 5, "abc", b"abc", {"title": "x"}, Doc(title="x"), Doc])
def test_what_is_no_list_of_rows_is_refused(ws: hb.HeavenBase, rows: Any) -> None:
    error = refused(ws, lambda: ws.upsert_many(Doc, rows))

    assert isinstance(error, SchemaError)


def test_an_instance_of_another_entity_is_refused(ws: hb.HeavenBase) -> None:
    class Other(hb.Entity):
        title = hb.field(hb.ShortText)

    error = refused(ws, lambda: ws.upsert(Doc, Other(title="x")))

    assert isinstance(error, InvalidType)
    assert "'other'" in str(error)


def test_set_takes_a_mapping(ws: hb.HeavenBase) -> None:
    error = refused(ws, lambda: ws.set("kept-0", [("n", 1)]))  # pyright: ignore[reportArgumentType]

    assert isinstance(error, SchemaError)


@pytest.mark.parametrize(
    "entity", [5, None, [], "", "dok", "e_doc", "Doc", "'; drop table e_doc; --", "x" * 5000, hb.Entity, str]
)
def test_what_is_no_entity_is_refused_by_reads_and_writes(ws: hb.HeavenBase, entity: Any) -> None:
    for ask in (
        lambda: ws.upsert(entity, {"title": "x"}),
        lambda: ws.query(entity),
        lambda: ws.count(entity),
        lambda: ws.ids(entity),
        lambda: ws.entity(entity),
        lambda: ws.get_many(["kept-0"], entity) if entity is not None else ws.entity(None),
        lambda: ws.delete_many(["kept-0"], entity) if entity is not None else ws.entity(None),
    ):
        assert isinstance(refused(ws, ask), SchemaError)


def test_an_unknown_entity_gets_the_nearest_name(ws: hb.HeavenBase) -> None:
    with pytest.raises(UnknownEntity, match="did you mean 'doc'"):
        ws.entity("dok")


@pytest.mark.parametrize("write", ["upsert", "set", "delete"])
def test_a_derived_entity_cannot_be_written(ws: hb.HeavenBase, write: str) -> None:
    present = ws.ids(hb.Catalog)[0]
    calls: dict[str, Callable[[], object]] = {
        "upsert": lambda: ws.upsert(hb.Catalog, {"name": "x"}),
        "set": lambda: ws.set(present, {"name": "x"}, hb.Catalog),
        "delete": lambda: ws.delete(present, hb.Catalog),
    }

    error = refused(ws, calls[write])

    assert isinstance(error, SchemaError)
    assert "derived" in str(error)


def test_what_cannot_be_registered_is_refused(ws: hb.HeavenBase) -> None:
    for bad in (5, None, "doc", hb.Entity, str, Doc(title="x"), {"id": "x"}):
        assert isinstance(refused(ws, lambda bad=bad: ws.register(bad)), SchemaError)  # pyright: ignore[reportArgumentType]


def test_a_failing_compute_names_field_and_row_and_writes_nothing(ws: hb.HeavenBase) -> None:
    class Ratio(hb.Entity):
        n = hb.field(hb.Integer)
        inverse = hb.field(hb.Float).compute(lambda n: 1 / n, inputs=["n"])

    ws.register(Ratio)

    with pytest.raises(HeavenError) as raised:
        ws.upsert_many(Ratio, [{"n": 1}, {"n": 0}])

    assert place(raised.value) == ("ratio", "inverse", 1)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert ws.count(Ratio) == 0


def test_rows_given_by_a_generator_that_breaks_leave_nothing(ws: hb.HeavenBase) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"title": "first"}
        raise RuntimeError("the source dried up")

    before = state(ws)

    with pytest.raises(RuntimeError, match="dried up"):
        ws.upsert_many(Doc, rows())

    assert state(ws) == before


def test_what_a_caller_does_to_its_row_later_does_not_reach_the_store(ws: hb.HeavenBase) -> None:
    row: dict[str, Any] = {"object_id": "mine", "title": "x", "tags": ["a"], "meta": {"a": [1]}, "vec": [1.0, 2.0, 3.0]}
    ws.upsert(Doc, row)

    row["tags"].append("b")
    row["meta"]["a"].append(NAN)
    row["vec"][0] = 9.0
    found = ws.get("mine")
    assert found is not None
    found["meta"]["a"].append("changed")

    again = ws.get("mine")
    assert again is not None
    assert (again["tags"], again["meta"], again["vec"]) == (["a"], {"a": [1]}, [1.0, 2.0, 3.0])
