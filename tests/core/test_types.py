"""The logical types of `heaven_core.types`: what each accepts, what it refuses and why, and its JSON forms."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core import types
from heaven_core.errors import SchemaError, shown
from heaven_core.types import (
    BUILTIN,
    INT_MAX,
    INT_MIN,
    Array,
    Artifact,
    Boolean,
    Categorical,
    Date,
    Duration,
    Float,
    Identifier,
    Integer,
    Json,
    LogicalType,
    LongText,
    MediumText,
    Refused,
    ShortText,
    Timestamp,
    Vector,
    as_type,
    canonical_json,
    copied,
    from_spec,
    known_types,
    type_identifiers,
)

pytestmark = pytest.mark.unit


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Day(date):
    pass


class Moment(datetime):
    pass


class Span(timedelta):
    pass


EAST = timezone(timedelta(hours=2))
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
COLOURS = Categorical(["red", "green"])

ACCEPTED: list[tuple[LogicalType[Any], Any, Any]] = [
    (ShortText(), "a", "a"),
    (ShortText(), "", ""),
    (ShortText(), "é" * 255, "é" * 255),
    (ShortText(), "\U0001f600", "\U0001f600"),
    (ShortText(), Text("a"), "a"),
    (ShortText(), np.str_("a"), "a"),
    (ShortText(3), "abc", "abc"),
    (Identifier(), "x" * 63, "x" * 63),
    (MediumText(), "x" * 4095, "x" * 4095),
    (LongText(), "x" * 65535, "x" * 65535),
    (COLOURS, "red", "red"),
    (COLOURS, Text("red"), "red"),
    (Integer(), 0, 0),
    (Integer(), INT_MIN, INT_MIN),
    (Integer(), INT_MAX, INT_MAX),
    (Integer(), Whole(7), 7),
    (Integer(), np.int32(7), 7),
    (Integer(), np.uint8(7), 7),
    (Float(), 1.5, 1.5),
    (Float(), 2, 2.0),
    (Float(), 2**53, float(2**53)),
    (Float(), Real(1.5), 1.5),
    (Float(), np.float32(0.5), 0.5),
    (Float(), np.float64(0.1), 0.1),
    (Float(), np.int64(3), 3.0),
    (Boolean(), True, True),
    (Boolean(), np.bool_(False), False),
    (Timestamp(), NOON, NOON),
    (Timestamp(), datetime(2024, 5, 1, 14, tzinfo=EAST), NOON),
    (Timestamp(), "2024-05-01T12:00:00Z", NOON),
    (Timestamp(), "2024-05-01T14:00:00+02:00", NOON),
    (Timestamp(), Moment(2024, 5, 1, 12, tzinfo=UTC), NOON),
    (Timestamp(), datetime(2024, 5, 1, 12, tzinfo=UTC, fold=1), NOON),
    (Timestamp(), pd.Timestamp("2024-05-01T12:00:00Z"), NOON),
    (Date(), date(2024, 5, 1), date(2024, 5, 1)),
    (Date(), "2024-05-01", date(2024, 5, 1)),
    (Date(), Day(2024, 5, 1), date(2024, 5, 1)),
    (Duration(), timedelta(seconds=90), timedelta(seconds=90)),
    (Duration(), Span(seconds=90), timedelta(seconds=90)),
    (Duration(), pd.Timedelta(seconds=90), timedelta(seconds=90)),
    (Duration(), "PT90S", timedelta(seconds=90)),
    (Duration(), "PT9999999999S", timedelta(seconds=9999999999)),
    (Duration(), "PT2562047788H", timedelta(hours=2562047788)),
    (Duration(), "P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=500)),
    (Duration(), "-PT0.000001S", -timedelta(microseconds=1)),
    (Duration(), timedelta(microseconds=INT_MAX), timedelta(microseconds=INT_MAX)),
    (Array(), ["a", 1, 1.5, True], ["a", 1, 1.5, True]),
    (Array(), (), []),
    (Array(), np.array([1, 2]), [1, 2]),
    (Array(), [np.bool_(True), np.int8(1), np.float32(0.5), np.str_("x")], [True, 1, 0.5, "x"]),
    (Array(Integer), (1, 2), [1, 2]),
    (Array(Integer), [Whole(1), 2], [1, 2]),
    (Array(Date), ["2024-05-01"], [date(2024, 5, 1)]),
    (Array(Float), [1, 2.5], [1.0, 2.5]),
    (Vector(2), [1, 0.5], [1.0, 0.5]),
    (Vector(2), (0.1, 0), [float(np.float32(0.1)), 0.0]),
    (Vector(2), np.array([1.0, 2.0]), [1.0, 2.0]),
    (Vector(1), [np.float64(2.0)], [2.0]),
    (Vector(), [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),
    (Json(), {"a": [1, None, {"b": 1.5}], "c": True}, {"a": [1, None, {"b": 1.5}], "c": True}),
    (Json(), ("a", Whole(1)), ["a", 1]),
    (Json(), {Text("k"): Text("v")}, {"k": "v"}),
    (Json(), np.int64(3), 3),
    (Json(), "text", "text"),
    (Artifact(), b"\0\xff", b"\0\xff"),
    (Artifact(), bytearray(b"ab"), b"ab"),
    (Artifact(), memoryview(b"ab"), b"ab"),
]

WRONG_TYPE, BAD_VALUE = True, False
DEEP: Any = 1
for _ in range(101):
    DEEP = [DEEP]

REFUSED: list[tuple[LogicalType[Any], Any, str, bool]] = [
    (ShortText(), 1, r"is an int; takes text \(str\)", WRONG_TYPE),
    (ShortText(), b"a", "is a bytes; takes text", WRONG_TYPE),
    (ShortText(), np.int64(1), "is an int; takes text", WRONG_TYPE),
    (ShortText(), "x" * 256, "has 256 characters; at most 255 fit", BAD_VALUE),
    (ShortText(2), Text("abc"), "has 3 characters; at most 2 fit", BAD_VALUE),
    (ShortText(), "a\0b", "holds a NUL character", BAD_VALUE),
    (ShortText(), "a\ud800", "holds a lone surrogate", BAD_VALUE),
    (Identifier(), "x" * 64, "has 64 characters; at most 63 fit", BAD_VALUE),
    (COLOURS, "rad", "is not among its values; did you mean 'red'", BAD_VALUE),
    (COLOURS, 1, "takes text", WRONG_TYPE),
    (Integer(), True, "is a bool; takes a whole number", WRONG_TYPE),
    (Integer(), np.bool_(True), "is a bool; takes a whole number", WRONG_TYPE),
    (Integer(), 1.0, "is a float; takes a whole number", WRONG_TYPE),
    (Integer(), np.float64(1.0), "is a float; takes a whole number", WRONG_TYPE),
    (Integer(), np.datetime64(5, "ns"), "is a datetime64; takes a whole number", WRONG_TYPE),
    (Integer(), np.timedelta64(5, "ns"), "is a timedelta64; takes a whole number", WRONG_TYPE),
    (Float(), np.complex128(1), "is a complex128; takes a number", WRONG_TYPE),
    (Integer(), "1", "is a str; takes a whole number", WRONG_TYPE),
    (Integer(), 2**70, "does not fit in 64 bits", BAD_VALUE),
    (Integer(), INT_MIN - 1, "does not fit in 64 bits", BAD_VALUE),
    (Float(), True, "is a bool; takes a number", WRONG_TYPE),
    (Float(), "1.5", "is a str; takes a number", WRONG_TYPE),
    (Float(), math.nan, "is not a finite number", BAD_VALUE),
    (Float(), -math.inf, "is not a finite number", BAD_VALUE),
    (Float(), np.float32("nan"), "is not a finite number", BAD_VALUE),
    (Float(), 2**53 + 1, "is an int that no 64-bit float equals", BAD_VALUE),
    (Float(), 10**400, "does not fit in a 64-bit float", BAD_VALUE),
    (Boolean(), 1, "is an int; takes True or False", WRONG_TYPE),
    (Boolean(), "true", "is a str; takes True or False", WRONG_TYPE),
    (Boolean(), np.int8(0), "is an int; takes True or False", WRONG_TYPE),
    (Timestamp(), datetime(2024, 5, 1), "has no time zone; add one", BAD_VALUE),  # noqa: DTZ001  # that is the point
    (Timestamp(), "2024-05-01T12:00:00", "has no time zone", BAD_VALUE),
    (Timestamp(), "yesterday", "is no ISO 8601 date and time", BAD_VALUE),
    (Timestamp(), date(2024, 5, 1), "is a date; takes an aware datetime", WRONG_TYPE),
    (Timestamp(), pd.NaT, "is a NaTType; takes an aware datetime", WRONG_TYPE),
    (Timestamp(), datetime.min.replace(tzinfo=EAST), "lies outside the years 1 to 9999", BAD_VALUE),
    (Date(), NOON, "is a datetime; takes a date", WRONG_TYPE),
    (Date(), "1 May 2024", "is no date written YYYY-MM-DD", BAD_VALUE),
    (Date(), 20240501, "takes a date", WRONG_TYPE),
    (Duration(), 90, "is an int; takes a timedelta", WRONG_TYPE),
    (Duration(), "90 seconds", "is no ISO 8601 duration", BAD_VALUE),
    (Duration(), "P", "is no ISO 8601 duration", BAD_VALUE),
    (Duration(), "P999999999DT999999999H", "is longer than a timedelta can be", BAD_VALUE),
    (Duration(), timedelta.max, "does not fit in 64 bits of microseconds", BAD_VALUE),
    (Array(), "abc", "is a str; takes a list", WRONG_TYPE),
    (Array(), {"a"}, "is a set; takes a list", WRONG_TYPE),
    (Array(), [None], "is null; an Array holds no nulls", WRONG_TYPE),
    (Array(), [[1]], "is a list; takes text, a number or a boolean", WRONG_TYPE),
    (Array(), [2**70], "does not fit in 64 bits", BAD_VALUE),
    (Array(), [math.nan], "is not a finite number", BAD_VALUE),
    (Array(), np.zeros((2, 2)), "is a ndarray; takes a list", WRONG_TYPE),
    (Array(), [np.array([1, 2])], "is a ndarray; takes text, a number or a boolean", WRONG_TYPE),
    (Array(Integer), np.array([5], "datetime64[ns]"), "is a datetime64; takes a whole number", WRONG_TYPE),
    (Array(Integer), [1, True], "is a bool; takes a whole number", WRONG_TYPE),
    (Array(ShortText(2)), ["abc"], "has 3 characters; at most 2 fit", BAD_VALUE),
    (Vector(2), [1.0], "has 1 dimensions; the field has 2", BAD_VALUE),
    (Vector(2), np.float64(1.0), "is a float; takes a list of numbers", WRONG_TYPE),
    (Vector(), np.array(1.0), "is a float; takes a list of numbers", WRONG_TYPE),
    (Vector(1), np.array([5], "datetime64[ns]"), "is a ndarray; takes a list of numbers", WRONG_TYPE),
    (Vector(2), "ab", "is a str; takes a list of numbers", WRONG_TYPE),
    (Vector(2), [True, 1.0], "is a bool; takes a number", WRONG_TYPE),
    (Vector(2), [math.nan, 1.0], "holds NaN, an infinity", BAD_VALUE),
    (Vector(2), [1e39, 1.0], "holds NaN, an infinity or a number beyond 32-bit floats", BAD_VALUE),
    (Vector(2), [10**400, 1.0], "holds a number that no 32-bit float can hold", BAD_VALUE),
    (Json(), {1: "a"}, "has a key that is not text", WRONG_TYPE),
    (Json(), {"a": {1, 2}}, "is a set; takes JSON data", WRONG_TYPE),
    (Json(), [math.inf], "is not a finite number", BAD_VALUE),
    (Json(), {"k\0": 1}, "holds a NUL character", BAD_VALUE),
    (Json(), DEEP, "is nested deeper than 100 levels", BAD_VALUE),
    (Artifact(), "text", "is a str; takes bytes", WRONG_TYPE),
    (Artifact(), [1, 2], "is a list; takes bytes", WRONG_TYPE),
]


def _named(case: tuple[Any, ...]) -> str:
    return f"{case[0]!r} {ascii(case[1]).partition(' at 0x')[0][:30]}"


@pytest.mark.parametrize("case", ACCEPTED, ids=_named)
def test_an_accepted_value_becomes_its_canonical_form(case: tuple[LogicalType[Any], Any, Any]) -> None:
    dtype, value, canonical = case

    checked = dtype.check(value)

    assert checked == canonical
    assert type(checked) is type(canonical)


@pytest.mark.parametrize("case", ACCEPTED, ids=_named)
def test_a_canonical_form_stays_as_it_is(case: tuple[LogicalType[Any], Any, Any]) -> None:
    dtype, _, canonical = case

    assert dtype.check(canonical) == canonical


@pytest.mark.parametrize("case", REFUSED, ids=_named)
def test_a_refused_value_is_told_why(case: tuple[LogicalType[Any], Any, str, bool]) -> None:
    dtype, value, reason, wrong_type = case

    with pytest.raises(Refused, match=reason) as raised:
        dtype.check(value)

    assert raised.value.wrong_type is wrong_type


@pytest.mark.parametrize("case", REFUSED, ids=_named)
def test_a_refused_value_in_a_column_is_found_at_its_place(case: tuple[LogicalType[Any], Any, str, bool]) -> None:
    dtype, value, reason, wrong_type = case

    with pytest.raises(Refused, match=reason) as raised:
        dtype.check_column([None, value, None])

    assert (raised.value.index, raised.value.wrong_type) == (1, wrong_type)
    assert raised.value.value is value


def test_negative_zero_is_zero() -> None:
    assert math.copysign(1, Float().check(-0.0)) == 1
    assert math.copysign(1, Float().check_column([1.0, -0.0])[1]) == 1
    assert math.copysign(1, Json().check({"a": [-0.0]})["a"][0]) == 1
    assert math.copysign(1, Json().check_column([{"a": [-0.0]}])[0]["a"][0]) == 1
    assert math.copysign(1, Array().check_column([[-0.0]])[0][0]) == 1
    assert math.copysign(1, Array(Float).check_column([[-0.0]])[0][0]) == 1


def test_a_moment_is_kept_in_utc_wherever_it_was_written() -> None:
    checked = Timestamp().check(datetime(2024, 5, 1, 1, tzinfo=EAST))

    assert (checked.tzinfo, checked.day, checked.hour) == (UTC, 30, 23)


# -- columns ---------------------------------------------------------------------------------------------------------

LOOSE: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(max_size=5)
    | st.text(min_size=2, max_size=3).map(Text)
    | st.sampled_from(["a\0", "\ud800", "x" * 300]),
    "integer": st.integers(-(2**65), 2**65) | st.integers(-5, 5).map(np.int64) | st.booleans(),
    "float": st.floats() | st.integers(-(2**60), 2**60) | st.sampled_from([-0.0, 1e308, 10**400]),
    "boolean": st.booleans() | st.booleans().map(np.bool_) | st.integers(0, 1),
    "timestamp": st.datetimes(timezones=st.sampled_from([UTC, EAST])) | st.datetimes(),
    "date": st.dates() | st.datetimes() | st.sampled_from(["2024-05-01", "no"]),
    "duration": st.timedeltas() | st.sampled_from(["PT1S", "no"]),
    "bytes": st.binary(max_size=4) | st.text(max_size=2),
}
SCALARS = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=3)
LOOSE["array"] = st.lists(SCALARS, max_size=3) | st.lists(st.integers(-3, 3), max_size=3) | st.tuples(st.integers(0, 1))
LOOSE["vector"] = st.lists(st.floats(width=32) | st.integers(-3, 3), min_size=2, max_size=2) | st.just([1.0])
LOOSE["json"] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
COLUMN_TYPES: list[LogicalType[Any]] = [
    ShortText(),
    COLOURS,
    Integer(),
    Float(),
    Boolean(),
    Timestamp(),
    Date(),
    Duration(),
    Array(),
    Array(Integer),
    Array(Float),
    Vector(2),
    Json(),
    Artifact(),
]


def _one_by_one(dtype: LogicalType[Any], column: list[Any]) -> Any:
    """What checking each value gives: the canonical column, or the position of the first refused value."""
    checked: list[Any] = []
    for position, value in enumerate(column):
        try:
            checked.append(None if value is None else dtype.check(value))
        except Refused as refused:
            return position, refused.reason
    return checked


@pytest.mark.parametrize("dtype", COLUMN_TYPES, ids=repr)
@given(data=st.data())
def test_checking_a_column_is_checking_each_value(dtype: LogicalType[Any], data: st.DataObject) -> None:
    values = st.sampled_from(["red", "green", "blue"]) if dtype == COLOURS else LOOSE[dtype.kind]
    column = data.draw(st.lists(st.none() | values, max_size=6) | st.lists(values, max_size=6))
    expected = _one_by_one(dtype, column)

    try:
        checked: Any = list(dtype.check_column(column))
    except Refused as refused:
        checked = refused.index, refused.reason

    assert repr(checked) == repr(expected)  # repr tells 1 from True and 0.0 from -0.0


@pytest.mark.parametrize(
    ("dtype", "column"),
    [
        (ShortText(), ["a", "é", None]),
        (COLOURS, ["red", None]),
        (Integer(), [1, None]),
        (Float(), [0.0, 1.5]),
        (Boolean(), [True, None]),
        (Date(), [date(2024, 5, 1), None]),
    ],
    ids=repr,
)
def test_a_column_in_canonical_form_is_not_copied(dtype: LogicalType[Any], column: list[Any]) -> None:
    assert dtype.check_column(column) is column


@pytest.mark.parametrize("cls", BUILTIN)
def test_a_column_of_nulls_passes_every_type(cls: type[LogicalType[Any]]) -> None:
    assert list(cls().check_column([None, None])) == [None, None]
    assert list(cls().check_column([])) == []


# -- arguments -------------------------------------------------------------------------------------------------------


def test_a_text_to_compare_with_may_be_longer_than_the_field() -> None:
    assert ShortText(2).check_argument("abc") == "abc"


def test_a_text_to_compare_with_must_be_among_the_categories() -> None:
    with pytest.raises(Refused, match="is not among its values"):
        COLOURS.check_argument("blue")


# -- JSON forms ------------------------------------------------------------------------------------------------------

STRICT: list[tuple[LogicalType[Any], st.SearchStrategy[Any]]] = [
    (ShortText(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)),
    (Integer(), st.integers(INT_MIN, INT_MAX)),
    (Float(), st.floats(allow_nan=False, allow_infinity=False)),
    (Boolean(), st.booleans()),
    (Timestamp(), st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(EAST))),  # noqa: DTZ001
    (Date(), st.dates()),
    (Duration(), st.timedeltas(timedelta(microseconds=INT_MIN), timedelta(microseconds=INT_MAX))),
    (Array(), st.lists(st.booleans() | st.integers(-9, 9) | st.text("ab"))),
    (Array(Timestamp), st.lists(st.datetimes(min_value=datetime(2, 1, 1), timezones=st.just(UTC)))),  # noqa: DTZ001
    (Vector(2), st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2)),
    (Json(), st.dictionaries(st.text("ab"), st.lists(st.booleans() | st.none() | st.integers(-9, 9)))),
    (Artifact(), st.binary()),
]


@pytest.mark.parametrize(("dtype", "values"), STRICT, ids=lambda one: repr(one)[:20])
@given(data=st.data())
def test_a_value_survives_its_json_form(
    dtype: LogicalType[Any], values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = dtype.check(data.draw(values))

    text = json.dumps(dtype.to_json(value), allow_nan=False)

    assert dtype.from_json(json.loads(text)) == value


def test_json_forms_are_what_other_tools_write() -> None:
    assert Timestamp().to_json(NOON) == "2024-05-01T12:00:00+00:00"
    assert Date().to_json(date(2024, 5, 1)) == "2024-05-01"
    assert Duration().to_json(timedelta(days=-1, microseconds=1)) == "-P0DT86399.999999S"
    assert Artifact().to_json(b"\0\xff") == "AP8="
    assert Array(Date).to_json([date(2024, 5, 1)]) == ["2024-05-01"]


def test_bytes_come_from_base64_or_as_they_are() -> None:
    assert Artifact().from_json("AP8=") == b"\0\xff"
    assert Artifact().from_json(b"ab") == b"ab"
    with pytest.raises(Refused, match="is no base64 text"):
        Artifact().from_json("AP8")


SPECS: list[tuple[Any, dict[str, Any]]] = [
    (ShortText(), {"type": "short-text"}),
    (ShortText(300), {"type": "short-text", "max_chars": 300}),
    (COLOURS, {"type": "categorical", "values": ["red", "green"]}),
    (Array(), {"type": "array"}),
    (Array[Integer], {"type": "array", "item": {"type": "integer"}}),
    (Array(ShortText(5)), {"type": "array", "item": {"type": "short-text", "max_chars": 5}}),
    (Vector[3], {"type": "vector", "dim": 3}),
    (Vector(), {"type": "vector"}),
    (Timestamp(), {"type": "timestamp"}),
]


@pytest.mark.parametrize(("dtype", "spec"), SPECS, ids=repr)
def test_a_type_survives_its_spec(dtype: LogicalType[Any], spec: dict[str, Any]) -> None:
    assert dtype.spec() == spec
    assert from_spec(spec) == dtype
    assert hash(from_spec(spec)) == hash(dtype)


@pytest.mark.parametrize("cls", BUILTIN)
def test_a_type_is_meant_by_class_identifier_and_alias(cls: type[LogicalType[Any]]) -> None:
    assert as_type(cls) == as_type(cls()) == as_type(cls.identifier) == as_type({"type": cls.identifier}) == cls()
    for alias in cls.aliases:
        assert as_type(alias) == cls()


def test_types_of_other_parameters_are_other_types() -> None:
    assert ShortText() != ShortText(10)
    assert ShortText() != MediumText(255)
    assert Array(Integer) != Array()
    assert {Vector[2], Vector(2)} == {Vector[2]}


LONG_NAME = "x" * 100_000


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (str, "str is no logical type; did you mean heavenbase.ShortText?"),
        (dict, "did you mean heavenbase.Json?"),
        (5, "'5' is no logical type; known: Array, Artifact, "),
        ("Intger", "'Intger' is no logical type; did you mean 'Integer'?"),
        ({"typ": "x"}, 'a type is written {"type": "short-text", ...}'),
        ({"type": "nope"}, "'nope' is no logical type"),
        (LONG_NAME, "'" + "x" * 60 + "'... is no logical type; known: "),
        ({"type": "\udfff\n"}, r"'\udfff\n' is no logical type"),
        ({"type": "vector", "dims": 3}, "type 'vector' does not take 'dims'"),
        ({"type": "vector", "dim": "3"}, "type 'vector': Vector takes a dimension from 1 to 65536, not '3'"),
        ({"type": "vector", 5: 3, "dims": LONG_NAME}, "type 'vector' does not take '5, dims'"),
        ({"type": "array", "itm": "integer"}, "type 'array' does not take 'itm'"),
        ({"type": "array", "item": {"type": "json"}}, "Array takes a scalar item type, not Json"),
    ],
    ids=shown,
)
def test_what_is_no_type_is_answered_with_what_could_be_meant(given_: Any, message: str) -> None:
    with pytest.raises(SchemaError) as raised:
        as_type(given_)

    assert message in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShortText(0), "ShortText takes a positive number of characters, not 0"),
        (lambda: LongText(True), "LongText takes a positive number of characters, not True"),
        (lambda: Categorical("red"), "Categorical takes a list of texts"),
        (lambda: Categorical(5), "Categorical takes a list of texts"),  # pyright: ignore[reportArgumentType]
        (lambda: Categorical([1]), "Categorical takes a list of texts"),  # pyright: ignore[reportArgumentType]
        (lambda: Categorical([]), "Categorical takes at least one text, such as"),
        (lambda: Categorical(["a", "a"]), "Categorical takes each value once"),
        (lambda: Categorical(["a\0"]), "a value of Categorical holds a NUL character"),
        (lambda: Array[Array], "Array takes a scalar item type, not Array"),
        (lambda: Array[Vector(2)], r"Array takes a scalar item type, not Vector\[2\]"),
        (lambda: Vector[0], "Vector takes a dimension from 1 to 65536, not 0"),
        (lambda: Vector(70_000), "Vector takes a dimension"),
    ],
)
def test_a_type_refuses_bad_parameters(make: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        make()


@pytest.mark.parametrize(
    ("dtype", "shown"),
    [
        (ShortText(), "ShortText"),
        (ShortText(9), "ShortText(9)"),
        (Array[Integer], "Array[Integer]"),
        (Vector[3], "Vector[3]"),
    ],
)
def test_a_type_is_shown_as_it_is_written(dtype: LogicalType[Any], shown: str) -> None:
    assert repr(dtype) == shown


# -- a type of one's own ---------------------------------------------------------------------------------------------


class Email(ShortText):
    """Text with an at sign."""

    identifier = "test-email"
    aliases = ("Email",)

    def check(self, value: Any) -> str:
        text = super().check(value)
        if "@" not in text:
            raise Refused("is no e-mail address", value=value)
        return text

    def check_column(self, column: Any) -> Any:
        return self.check_each(column)


class Root(LogicalType[Any]):
    identifier = "test-root"


class Even(LogicalType[int]):
    """Whole numbers that two divides, with nothing but a check."""

    identifier = "test-even"
    kind = "integer"

    def check(self, value: Any) -> int:
        if type(value) is not int or value % 2:
            raise Refused("is not even", value=value)
        return value


def test_a_type_of_ones_own_narrows_the_one_it_extends() -> None:
    assert Email().check("a@b") == "a@b"
    with pytest.raises(Refused, match="is no e-mail address"):
        Email().check("ab")
    with pytest.raises(Refused, match="takes text"):
        Email().check(5)


def test_a_type_of_ones_own_is_served_by_what_serves_the_one_it_extends() -> None:
    assert type_identifiers(Email) == ("test-email", "short-text")
    assert (Email.kind, Email.traits) == (ShortText.kind, ShortText.traits)


def test_a_type_of_ones_own_equals_only_its_kind() -> None:
    assert Email() == Email()
    assert Email() != ShortText()
    assert Email(9).spec() == {"type": "test-email", "max_chars": 9}


def test_a_type_that_is_not_registered_cannot_be_named_and_can_be_used() -> None:
    assert "test-email" not in known_types()
    with pytest.raises(SchemaError):
        as_type("test-email")
    assert as_type(Email) == Email()


def test_a_root_type_without_a_check_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Root().check(1)
    assert Root().to_json([1]) == [1]


def test_a_type_from_scratch_needs_no_more_than_a_check() -> None:
    assert Even().check_argument(4) == 4
    assert Even().check_column([2, None, 4]) == [2, None, 4]
    assert Even().from_json(Even().to_json(2)) == 2
    with pytest.raises(Refused, match="is not even") as raised:
        Even().check_column([2, 3])

    assert (raised.value.index, raised.value.value) == (1, 3)
    assert Even.of(Even().params()) == Even()


# -- helpers ---------------------------------------------------------------------------------------------------------


def test_canonical_json_is_one_text_per_value() -> None:
    assert canonical_json({"b": 1, "a": "é\u2028/"}) == '{"a":"é\u2028/","b":1}'
    assert canonical_json([1.0, 1, True, None]) == "[1.0,1,true,null]"
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(math.nan)


REAL_ENCODER: Any = json.encoder.c_make_encoder  # pyright: ignore[reportAttributeAccessIssue]


def _made_otherwise(markers: Any, *rest: Any) -> Any:
    """An interpreter's encoder that takes our call for something else."""
    return (lambda value, level: ("something else",)) if markers is None else REAL_ENCODER(markers, *rest)


@pytest.mark.parametrize("direct", [None, _made_otherwise])
def test_canonical_json_is_the_same_without_the_interpreter_s_own_encoder(
    direct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"b": [1.0, 1, True, None, "é\u2028/\n"], "a": {}}
    usual = canonical_json(value)

    monkeypatch.setattr(types, "_json_text", None)
    monkeypatch.setattr(json.encoder, "c_make_encoder", direct)

    assert canonical_json(value) == usual


def test_a_copy_can_be_changed_without_changing_its_original() -> None:
    original = {"a": [1, {"b": 2}]}

    copy = copied(original)
    copy["a"][1]["b"] = 3

    assert original == {"a": [1, {"b": 2}]}
    assert copied("text") == "text"
