"""Data in: rows from tables of other libraries and from files, and back out again."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import heavenbase as hb
from heaven_core.errors import ConfigError, InvalidType, InvalidValue, StorageError, UniqueViolation, UnknownField

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Book(hb.Entity):
    title = hb.field(hb.ShortText).unique()
    pages = hb.field(hb.Integer)
    price = hb.field(hb.Float)
    read = hb.field(hb.Boolean)
    kind = hb.field(hb.Categorical(["novel", "map"]))
    bought = hb.field(hb.Timestamp)
    day = hb.field(hb.Date)
    took = hb.field(hb.Duration)
    tags = hb.field(hb.Array[hb.ShortText])
    mixed = hb.field(hb.Array)
    place = hb.field(hb.Vector(2))
    meta = hb.field(hb.Json)
    cover = hb.field(hb.Artifact)


FULL: dict[str, Any] = {
    "object_id": "a",
    "name": None,
    "title": 'é, "q"\nline',
    "pages": 2**60 + 1,
    "price": 0.1,
    "read": True,
    "kind": "map",
    "bought": datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=UTC),
    "day": date(2024, 2, 29),
    "took": timedelta(microseconds=-1),
    "tags": ["x", "y"],
    "mixed": [1, "a", True],
    "place": [0.5, 1.0],
    "meta": {"a": [1, None, {"b": "c"}]},
    "cover": b"\0\xff",
}
EMPTY = dict.fromkeys(FULL) | {"object_id": "b"}


@pytest.fixture
def ws() -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("library", preset="debug") as workspace:
        workspace.register(Book)
        yield workspace


def filled(ws: hb.HeavenBase) -> hb.ResultFrame:
    ws.upsert_many(Book, [FULL, EMPTY])
    return ws.query(Book).order_by("object_id").execute()


def emptied(ws: hb.HeavenBase) -> None:
    ws.delete_many(["a", "b"], Book)


def stored(ws: hb.HeavenBase) -> list[dict[str, Any]]:
    return ws.query(Book).order_by("object_id").execute().rows()


# -- tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["to_arrow", "to_pandas"])
def test_a_table_of_an_answer_is_taken_back_as_it_was(ws: hb.HeavenBase, library: str) -> None:
    table = getattr(filled(ws), library)()
    if library == "to_pandas":  # which has no marks on columns
        table["meta"] = table["mixed"] = None
    emptied(ws)

    assert ws.upsert_many(Book, table) == ["a", "b"]

    changed = {"meta": None, "mixed": None} if library == "to_pandas" else {}
    assert stored(ws) == [{**FULL, **changed}, EMPTY]


def test_a_polars_frame_is_taken(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Book, pl.DataFrame({"title": ["a", None], "pages": [1, None], "tags": [["x"], None]}))

    assert sorted(row["title"] or "" for row in stored(ws)) == ["", "a"]


def test_a_pandas_frame_with_gaps_has_nulls(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Book, pd.DataFrame({"object_id": ["a", "b"], "price": [1.5, None], "title": ["x", None]}))

    assert [(row["price"], row["title"]) for row in stored(ws)] == [(1.5, "x"), (None, None)]


def test_what_a_field_refuses_it_refuses_from_a_table_too(ws: hb.HeavenBase) -> None:
    with pytest.raises(InvalidType, match=r"book\.pages, row 0: 1\.0 is a float"):
        ws.upsert_many(Book, pa.table({"pages": [1.0, 1.5]}))
    with pytest.raises(UnknownField, match="no field 'pagess'; did you mean 'pages'"):
        ws.upsert_many(Book, pa.table({"pagess": [1]}))
    with pytest.raises(InvalidValue, match="nanoseconds"):
        ws.upsert_many(Book, pa.table({"bought": pa.array([1], type=pa.timestamp("ns", tz="UTC"))}))

    assert ws.count(Book) == 0


def test_nanoseconds_that_are_whole_microseconds_are_taken(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Book, pa.table({"bought": pa.array([1000], type=pa.timestamp("ns", tz="UTC"))}))

    assert stored(ws)[0]["bought"] == datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)


# -- objects -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Bound:
    title: str
    pages: int = 3


@dataclasses.dataclass
class Loose:
    title: str
    tags: list[str]


def test_instances_of_attrs_and_dataclasses_are_rows(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Book, (one for one in (Bound("a"), Loose("b", ["x"]), {"title": "c"}, Book(title="d"))))

    assert {row["title"]: (row["pages"], row["tags"]) for row in stored(ws)} == {
        "a": (3, None),
        "b": (None, ["x"]),
        "c": (None, None),
        "d": (None, None),
    }


def test_another_object_is_no_row(ws: hb.HeavenBase) -> None:
    with pytest.raises(InvalidType, match="a row is a mapping or an instance"):
        ws.upsert_many(Book, [object()])


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_parquet_file_of_an_answer_is_loaded_as_it_was(ws: hb.HeavenBase, tmp_path: Path) -> None:
    filled(ws).to_parquet(tmp_path / "books.parquet")
    emptied(ws)

    assert ws.load(Book, tmp_path / "books.parquet") == 2

    assert stored(ws) == [FULL, EMPTY]


def test_json_lines_are_loaded(ws: hb.HeavenBase, tmp_path: Path) -> None:
    file = tmp_path / "books.jsonl"
    rows = [
        {"object_id": "a", "title": "x", "bought": "2024-02-29T12:00:00Z", "meta": {"k": [1]}, "cover": "AP8="},
        {"object_id": "b", "place": [1, 2], "took": "PT1S", "day": "2024-02-29"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")

    assert ws.load(Book, str(file)) == 2

    one, two = stored(ws)
    assert (one["bought"], one["meta"], one["cover"]) == (datetime(2024, 2, 29, 12, tzinfo=UTC), {"k": [1]}, b"\0\xff")
    assert (two["place"], two["took"], two["day"]) == ([1.0, 2.0], timedelta(seconds=1), date(2024, 2, 29))


def test_a_csv_file_is_loaded_with_the_types_of_the_fields(ws: hb.HeavenBase, tmp_path: Path) -> None:
    file = tmp_path / "books.csv"
    file.write_text('object_id,title,pages,price,read,tags,place\n1,007,7,1.5,true,"[""x""]","[1,2]"\nb,"",,,,,\n')

    assert ws.load(Book, file) == 2

    one, two = stored(ws)
    assert (one["object_id"], one["title"], one["pages"], one["price"], one["read"]) == ("1", "007", 7, 1.5, True)
    assert (one["tags"], one["place"]) == (["x"], [1.0, 2.0])
    assert (two["title"], two["pages"], two["tags"]) == ("", None, None)


def test_a_large_file_is_read_in_parts_and_written_whole_or_not_at_all(
    ws: hb.HeavenBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_core.load.PART_ROWS", 10)
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text("".join(json.dumps({"title": f"t{one}"}) + "\n" for one in range(25)))
    bad.write_text("".join(json.dumps({"pages": one if one < 23 else "x"}) + "\n" for one in range(25)))
    seen: list[int] = []

    assert ws.load(Book, good, progress=seen.append) == 25
    with pytest.raises(InvalidValue, match=r"book\.pages, row 23"):
        ws.load(Book, bad)

    assert seen == [10, 20, 25]
    assert ws.count(Book) == 25


def test_a_file_may_be_loaded_inside_a_transaction(ws: hb.HeavenBase, tmp_path: Path) -> None:
    file = tmp_path / "books.jsonl"
    file.write_text('{"title": "a"}\n')

    with pytest.raises(ZeroDivisionError), ws.transaction() as tx:  # noqa: PT012  # the whole block is undone
        assert tx.load(Book, file) == 1
        assert tx.count(Book) == 1
        raise ZeroDivisionError

    assert ws.count(Book) == 0


def test_a_value_that_another_row_of_the_file_has_is_named_with_its_row(ws: hb.HeavenBase, tmp_path: Path) -> None:
    file = tmp_path / "books.jsonl"
    file.write_text('{"title": "a"}\n{"title": "b"}\n{"title": "a"}\n')

    with pytest.raises(UniqueViolation, match=r"book\.title, row 2"):
        ws.load(Book, file)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("books.xlsx", b"", ConfigError, r"'books.xlsx' has no ending that says its format \(\.parquet, \.csv"),
        ("missing.csv", None, StorageError, "'missing.csv' cannot be read"),
        ("books.parquet", b"no parquet at all", InvalidValue, "this is no Parquet file"),
        ("books.csv", b"title,pages\na,1\nb,many\n", InvalidValue, r"^book\.pages, row 1: 'many' is no integer$"),
        ("books.csv", b"price\n1,5\n", InvalidValue, "books.csv: "),
        ("books.csv", b"title;pages\na;1\n", InvalidValue, "books.csv: its columns are not separated by commas"),
        ("books.jsonl", b'{"title": "a"}\nnonsense\n', InvalidValue, "books.jsonl, line 2: this is no JSON"),
        ("books.jsonl", b'{"title": "\xff"}\n', InvalidValue, "'books.jsonl' is not written in UTF-8"),
        ("books.jsonl", b'{"meta": ' + 200_000 * b"[", InvalidValue, "line 1: this is no JSON"),
        ("books.jsonl", b"[1]\n", InvalidValue, "line 1: this is a list; each line is one object"),
        ("books.jsonl", b'{"cover": "%"}\n', InvalidValue, "is no base64"),
        ("books.csv", b"tags\n[]\nx\n", InvalidValue, "tags, row 1: 'x' is no JSON, as which lists stand in CSV"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_refused_in_one_sentence(
    ws: hb.HeavenBase, tmp_path: Path, name: str, content: bytes | None, error: type[Exception], message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(error, match=message) as raised:
        ws.load(Book, tmp_path / name)

    assert str(tmp_path) not in str(raised.value)
    assert ws.count(Book) == 0


def test_the_format_may_be_said_and_a_misspelt_one_is_refused(ws: hb.HeavenBase, tmp_path: Path) -> None:
    (tmp_path / "books.txt").write_text('{"title": "a"}\n')

    assert ws.load(Book, tmp_path / "books.txt", format="jsonl") == 1
    with pytest.raises(ConfigError, match="load takes the path of a file, not an int"):
        ws.load(Book, 5)
    with pytest.raises(ConfigError, match="no format 'json' of files; did you mean 'jsonl'"):
        ws.load(Book, tmp_path / "books.txt", format="json")


@pytest.mark.parametrize("path", ["~no-such-user/x.csv", "a\ud800.csv", "a\0.jsonl"])
def test_a_path_that_can_be_none_is_refused(ws: hb.HeavenBase, path: str) -> None:
    with pytest.raises((ConfigError, StorageError)):
        ws.load(Book, path)


def test_json_lines_may_begin_with_a_byte_order_mark(ws: hb.HeavenBase, tmp_path: Path) -> None:
    (tmp_path / "books.jsonl").write_bytes(b'\xef\xbb\xbf{"title": "a"}\n')

    assert ws.load(Book, tmp_path / "books.jsonl") == 1
