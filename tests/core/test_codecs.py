"""Stored forms of values, `heaven_core.codecs`. The bytes themselves are pinned in `test_formats`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.codecs import decoder, encode_column, encoder, item_encoder, row_maker
from heaven_core.types import (
    INT_MAX,
    INT_MIN,
    Array,
    Artifact,
    Boolean,
    Date,
    Duration,
    Float,
    Integer,
    Json,
    LogicalType,
    ShortText,
    Timestamp,
    Vector,
)

pytestmark = pytest.mark.unit

STORABLE = (str, int, float, bytes)
"""What any engine can hold as it is."""

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
MOMENTS = st.datetimes(timezones=st.just(UTC))
WHOLE = st.integers(INT_MIN, INT_MAX)
SPANS = st.timedeltas(timedelta(microseconds=INT_MIN), timedelta(microseconds=INT_MAX))
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=9,
)

KINDS: list[tuple[LogicalType[Any], st.SearchStrategy[Any]]] = [
    (ShortText(), TEXTS),
    (Integer(), WHOLE),
    (Float(), FLOATS),
    (Boolean(), st.booleans()),
    (Timestamp(), MOMENTS),
    (Date(), st.dates()),
    (Duration(), SPANS),
    (Array(), st.lists(st.booleans() | WHOLE | FLOATS | TEXTS)),
    (Array(ShortText), st.lists(TEXTS)),
    (Array(Boolean), st.lists(st.booleans())),
    (Array(Float), st.lists(FLOATS)),
    (Array(Timestamp), st.lists(MOMENTS)),
    (Array(Date), st.lists(st.dates())),
    (Array(Duration), st.lists(SPANS)),
    (Vector(), st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False))),
    (Json(), JSON.filter(lambda value: value is not None)),
    (Artifact(), st.binary()),
]


@pytest.mark.parametrize(("dtype", "values"), KINDS, ids=lambda one: repr(one)[:20])
@given(data=st.data())
def test_a_value_survives_being_stored(
    dtype: LogicalType[Any], values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = dtype.check(data.draw(values))
    encode, decode = encoder(dtype), decoder(dtype)

    stored = value if encode is None else encode(value)
    back = stored if decode is None else decode(stored)

    assert isinstance(stored, STORABLE)
    assert repr(back) == repr(value) if dtype.kind != "json" else back == value


@given(st.lists(st.none() | MOMENTS))
def test_a_stored_moment_sorts_like_the_moment(column: list[datetime | None]) -> None:
    present = [value for value in column if value is not None]

    stored = encode_column(Timestamp(), present)

    assert sorted(stored) == list(encode_column(Timestamp(), sorted(present)))


@given(st.lists(st.dates()))
def test_a_stored_day_sorts_like_the_day(column: list[Any]) -> None:
    assert sorted(encode_column(Date(), column)) == list(encode_column(Date(), sorted(column)))


def test_nulls_stay_nulls_in_a_stored_column() -> None:
    assert list(encode_column(Date(), [None, Date().check("2024-05-01")])) == [None, "2024-05-01"]


def test_a_column_that_is_stored_as_it_is_is_not_copied() -> None:
    column = [1, None]

    assert encode_column(Integer(), column) is column


def test_a_type_of_ones_own_is_stored_like_the_one_it_extends() -> None:
    class Deadline(Timestamp):
        identifier = "test-deadline"

    assert encoder(Deadline()) is encoder(Timestamp())
    assert decoder(Deadline()) is decoder(Timestamp())


def test_the_items_of_an_array_are_stored_like_values_of_their_type() -> None:
    assert item_encoder(Array(Date)) is encoder(Date())
    assert item_encoder(Array(Integer)) is None
    assert item_encoder(Array()) is None
    assert item_encoder(Json()) is None


def test_vectors_are_stored_the_same_way_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, decode = encoder(Vector()), decoder(Vector())
    assert encode is not None
    assert decode is not None
    here = encode([0.5, -2.0])

    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    there = encode([0.5, -2.0])

    assert there == b"".join(here[at : at + 4][::-1] for at in (0, 4))
    assert decode(there) == [0.5, -2.0]


# -- row_maker -------------------------------------------------------------------------------------------------------


def test_tuples_become_dicts_with_decoded_values() -> None:
    make = row_maker(("object_id", "flag", "n"), (None, bool, None))

    rows = make([("a", 1, 5), ("b", None, None)])

    assert rows == [{"object_id": "a", "flag": True, "n": 5}, {"object_id": "b", "flag": None, "n": None}]
    assert rows[0]["flag"] is True


def test_one_column_and_no_column_make_rows_too() -> None:
    assert row_maker(("n",), (None,))([(1,), (2,)]) == [{"n": 1}, {"n": 2}]
    assert row_maker((), ())([(), ()]) == [{}, {}]


@given(st.lists(st.text(), unique=True, max_size=5), st.integers(0, 3))
def test_names_of_any_spelling_become_keys(names: list[str], count: int) -> None:
    rows = [tuple(range(number, number + len(names))) for number in range(count)]

    assert row_maker(names, [None] * len(names))(rows) == [dict(zip(names, row, strict=True)) for row in rows]


def test_rows_are_dicts_of_their_own() -> None:
    make = row_maker(("n",), (None,))

    first, second = make([(1,), (1,)])
    first["n"] = 2

    assert second == {"n": 1}
