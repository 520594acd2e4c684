"""Answers, `heaven_core.frame` and `heaven_core.arrow`: ids, rows, columns, tables of other libraries."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import heavenbase as hb
from heaven_core.arrow import arrow_type
from heaven_core.backend import Rows
from heaven_core.errors import EngineNotInstalled, QueryError, UnknownField
from heaven_core.frame import ResultFrame
from heaven_core.types import Array, Integer, Json, ShortText

pytestmark = pytest.mark.unit

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Every(hb.Entity):
    """A field of each type."""

    short = hb.field(hb.ShortText)
    whole = hb.field(hb.Integer)
    real = hb.field(hb.Float)
    flag = hb.field(hb.Boolean)
    colour = hb.field(hb.Categorical(["red", "green"]))
    moment = hb.field(hb.Timestamp)
    day = hb.field(hb.Date)
    span = hb.field(hb.Duration)
    mixed = hb.field(hb.Array)
    days = hb.field(hb.Array(hb.Date))
    place = hb.field(hb.Vector(2))
    meta = hb.field(hb.Json)
    blob = hb.field(hb.Artifact)


FULL: dict[str, Any] = {
    "object_id": "a",
    "name": "first",
    "short": "é",
    "whole": 2**63 - 1,
    "real": 0.1,
    "flag": True,
    "colour": "red",
    "moment": NOON,
    "day": date(2024, 5, 1),
    "span": timedelta(days=-1, microseconds=1),
    "mixed": ["a", 1, True],
    "days": [date(2024, 5, 1)],
    "place": [0.5, -1.0],
    "meta": {"k": [1, None]},
    "blob": b"\0\xff",
}
EMPTY: dict[str, Any] = {**dict.fromkeys(FULL), "object_id": "b"}


@pytest.fixture
def frame(ws: hb.HeavenBase) -> ResultFrame:
    ws.register(Every)
    ws.upsert_many(Every, [FULL, EMPTY])
    return ws.query(Every).order_by("object_id").execute()


# -- reading ---------------------------------------------------------------------------------------------------------


def test_rows_are_plain_dicts_that_the_caller_owns(frame: ResultFrame) -> None:
    rows = frame.rows()

    assert rows == [FULL, EMPTY] == list(frame)
    assert all(type(row) is dict for row in rows)
    rows[0]["mixed"].append("changed")
    rows[0]["short"] = "changed"
    assert frame.rows() == [FULL, EMPTY]


def test_ids_are_there_whatever_was_selected(ws: hb.HeavenBase) -> None:
    ws.register(Every)
    ws.upsert_many(Every, [FULL, EMPTY])

    found = ws.query(Every).select("whole").order_by("-object_id").execute()

    assert found.ids == ["b", "a"]
    assert (found.columns, len(found)) == (("object_id", "whole"), 2)
    assert found.rows() == [{"object_id": "b", "whole": None}, {"object_id": "a", "whole": 2**63 - 1}]
    assert ws.query(Every).group_by("flag").execute().ids == []


def test_a_column_is_a_list_of_values(frame: ResultFrame) -> None:
    assert frame.column("moment") == [NOON, None]
    assert frame.column("object_id") == ["a", "b"]
    assert frame.to_dict() == {name: [FULL[name], EMPTY[name]] for name in FULL}
    with pytest.raises(UnknownField, match="the result has no column 'momnt'; did you mean 'moment'"):
        frame.column("momnt")


def test_a_scalar_is_the_one_value_there_is(ws: hb.HeavenBase) -> None:
    ws.register(Every)
    ws.upsert_many(Every, [FULL, EMPTY])
    query = ws.query(Every)

    assert query.aggregate(n="count").execute().scalar() == 2
    assert query.where(Every.flag == True).select("day").execute().scalar() == date(2024, 5, 1)  # noqa: E712
    assert query.where(Every.flag == True).select("object_id").execute().scalar() == "a"  # noqa: E712
    for asked, found in (
        (query.select("day"), "2 and 1"),
        (query.limit(1), "1 and 14"),
        (query.where({"short": "x"}).select("day"), "0 and 1"),
    ):
        with pytest.raises(QueryError, match=f"scalar needs one row and one column; the result has {found}"):
            asked.execute().scalar()


@pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1]), (2, [2]), (5, [2])])
def test_batches_have_at_most_their_size(frame: ResultFrame, size: int, sizes: list[int]) -> None:
    batches = list(frame.iter_batches(size))

    assert [len(batch) for batch in batches] == sizes
    assert [row for batch in batches for row in batch] == [FULL, EMPTY]


@pytest.mark.parametrize("size", [0, -1, "x", 1.5, None, True])
def test_a_batch_of_no_rows_is_refused(frame: ResultFrame, size: Any) -> None:
    with pytest.raises(QueryError, match="a batch has a size of at least 1, a whole number, not "):
        frame.iter_batches(size)


@pytest.mark.parametrize("name", ["hue", 5, None, ["n"], np.array(["n", "t"])], ids=str)
def test_what_is_no_column_is_refused(frame: ResultFrame, name: Any) -> None:
    with pytest.raises(UnknownField, match="the result has no column"):
        frame.column(name)


def test_scores_stand_beside_the_rows(ws: hb.HeavenBase) -> None:
    ws.register(Every)
    ws.upsert_many(Every, [FULL, {**EMPTY, "place": [1.0, 0.0]}])

    near = ws.query(Every).near("place", [1, 0], metric="l2").select("place").execute()

    assert near.scores == [0.0, pytest.approx(1.25**0.5)]
    assert near.columns == ("object_id", "place")
    assert near.rows()[0] == {"object_id": "b", "place": [1.0, 0.0]}
    assert [list(row) for batch in near.iter_batches(1) for row in batch] == [["object_id", "place"]] * 2
    assert ws.query(Every).execute().scores is None


def test_columns_have_the_types_of_their_fields(ws: hb.HeavenBase) -> None:
    ws.register(Every)
    ws.upsert(Every, FULL)

    plain = ws.query(Every).select("day", "days").execute()
    grouped = (
        ws.query(Every)
        .group_by("day")
        .aggregate(n="count", most=Every.span.max(), each=Every.day.value_counts())
        .execute()
    )

    assert plain.dtypes == {"object_id": hb.Identifier(), "day": hb.Date(), "days": Array(hb.Date)}
    assert grouped.dtypes == {"day": hb.Date(), "n": Integer(), "most": hb.Duration(), "each": Json()}


def test_an_answer_without_columns_is_empty() -> None:
    nothing = ResultFrame(Rows((), (), []), {})

    assert (nothing.ids, nothing.scores, nothing.rows(), nothing.to_dict(), list(nothing.iter_batches())) == (
        [],
        None,
        [],
        {},
        [],
    )


# -- tables ----------------------------------------------------------------------------------------------------------


def test_an_arrow_table_has_a_type_for_each_logical_type(frame: ResultFrame) -> None:
    table = frame.to_arrow()

    assert {name: str(table.schema.field(name).type) for name in table.column_names} == {
        "object_id": "string",
        "name": "string",
        "short": "string",
        "whole": "int64",
        "real": "double",
        "flag": "bool",
        "colour": "string",
        "moment": "timestamp[us, tz=UTC]",
        "day": "date32[day]",
        "span": "duration[us]",
        "mixed": "string",
        "days": "list<item: date32[day]>",
        "place": "fixed_size_list<item: float>[2]",
        "meta": "string",
        "blob": "binary",
    }


def test_an_arrow_table_has_the_values_and_the_nulls(frame: ResultFrame) -> None:
    first, second = frame.to_arrow().to_pylist()

    assert json.loads(first.pop("mixed")) == FULL["mixed"]
    assert json.loads(first.pop("meta")) == FULL["meta"]
    assert first == {key: value for key, value in FULL.items() if key not in {"mixed", "meta"}}
    assert second == EMPTY


def test_a_pandas_frame_has_the_rows(frame: ResultFrame) -> None:
    table = frame.to_pandas()

    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == list(FULL)
    assert table["moment"][0] == pd.Timestamp(NOON)  # pyright: ignore[reportGeneralTypeIssues]
    assert (table["short"][0], table["real"][0], table["blob"][0]) == ("é", 0.1, b"\0\xff")
    assert list(table["day"].isna()) == [False, True]


def test_a_pandas_frame_keeps_whole_numbers_and_booleans_beside_nulls(ws: hb.HeavenBase) -> None:
    class Count(hb.Entity):
        n = hb.field(hb.Integer)
        ok = hb.field(hb.Boolean)
        all_there = hb.field(hb.Integer)

    ws.register(Count)
    ws.upsert_many(Count, [{"n": 2**60 + 1, "ok": True, "all_there": 1}, {"all_there": 2}])

    table = ws.query(Count).order_by("all_there").execute().to_pandas()

    assert (table["n"][0], table["ok"][0]) == (2**60 + 1, True)
    assert [str(table[name].dtype) for name in ("n", "ok", "all_there")] == ["Int64", "boolean", "int64"]
    assert list(table["n"].isna()) == [False, True]


def test_tables_of_a_ranked_answer_have_its_rank(ws: hb.HeavenBase) -> None:
    class Place(hb.Entity):
        at = hb.field(hb.Vector(2))

    ws.register(Place)
    ws.upsert_many(Place, [{"at": [1, 0]}, {"at": [0, 1]}])
    found = ws.query(Place).near("at", [1, 0]).execute()

    for table in (found.to_arrow().to_pydict(), found.to_pandas().to_dict("list"), found.to_polars().to_dict()):
        assert list(table["_distance"]) == found.scores
    assert "_distance" not in found.rows()[0]


def test_a_polars_frame_has_the_rows(frame: ResultFrame) -> None:
    table = frame.to_polars()

    assert isinstance(table, pl.DataFrame)
    assert table.columns == list(FULL)
    assert table["moment"].to_list() == [NOON, None]
    assert table["whole"].to_list() == [2**63 - 1, None]
    assert table["days"].to_list() == [[date(2024, 5, 1)], None]


def test_grouped_answers_and_empty_ones_become_tables(ws: hb.HeavenBase) -> None:
    ws.register(Every)
    empty = ws.query(Every).execute().to_arrow()
    ws.upsert_many(Every, [FULL, EMPTY])

    grouped = (
        ws.query(Every)
        .group_by("flag")
        .aggregate(
            n="count",
            by_day=Every.day.value_counts(),
            by_span=Every.span.value_counts(),
            by_short=Every.short.value_counts(),
        )
        .order_by("flag")
        .execute()
    )

    assert (empty.num_rows, str(empty.schema.field("place").type)) == (0, "fixed_size_list<item: float>[2]")
    assert grouped.to_arrow().to_pylist()[0] == {
        "flag": True,
        "n": 1,
        "by_day": '[["2024-05-01",1]]',
        "by_span": '[["-P0DT86399.999999S",1]]',
        "by_short": '[["é",1]]',
    }


def test_a_vector_without_a_dimension_and_a_column_without_a_type_have_one_in_arrow() -> None:
    assert arrow_type(hb.Vector()) == pa.list_(pa.float32())
    assert arrow_type(None) == pa.string()
    assert arrow_type(Array(ShortText)) == pa.list_(pa.string())


@pytest.mark.parametrize(
    ("module", "convert", "message"),
    [
        ("pyarrow", ResultFrame.to_arrow, r"pip install 'heaven-core\[arrow\]'"),
        ("pandas", ResultFrame.to_pandas, "pip install pandas"),
        ("polars", ResultFrame.to_polars, "pip install polars"),
    ],
)
def test_a_missing_library_is_named_with_its_command(
    module: str, convert: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(EngineNotInstalled, match=message):
        convert(ResultFrame(Rows((), (), []), {}))
