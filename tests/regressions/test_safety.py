"""Known mistakes W32 to W34 and W36: what is meant as data must stay data, on its way in, at rest and in messages."""

from __future__ import annotations

import os
import pickle
import sqlite3
import struct
import traceback
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import HeavenError, InvalidName, InvalidValue, StorageError, UniqueViolation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration

PAYLOADS = [
    '"; drop table "e_doc"; --',
    "' or '1'='1",
    "1); delete from e_doc; --",
    'x" union select sql from sqlite_master --',
    "n` desc; update e_doc set n = 9 --",
]


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer).unique()
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


ROWS = [{"object_id": f"d{one}", "title": "plain", "n": one, "body": "hello there"} for one in range(3)]

AS_VALUES: dict[str, Callable[[str], dict[str, Any]]] = {
    "filter": lambda payload: {"filter": {"title": payload}},
    "pattern": lambda payload: {"filter": {"title": {"$contains": payload}}},
    "match": lambda payload: {"filter": {"$and": [{"body": {"$match": payload}}, {"title": payload}]}},
}
AS_NAMES: dict[str, Callable[[str], dict[str, Any]]] = {
    "field": lambda payload: {"filter": {payload: 1}},
    "op": lambda payload: {"filter": {"n": {f"${payload}": 1}}},
    "order": lambda payload: {"order": [payload]},
    "select": lambda payload: {"select": [payload]},
    "group_by": lambda payload: {"group_by": [payload], "aggregate": {"rows": {"$count": {}}}},
}


@pytest.fixture
def docs(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    return ws


@pytest.mark.parametrize("payload", PAYLOADS)
def test_w32_hostile_text_is_a_value_or_refused_and_never_a_statement(docs: hb.HeavenBase, payload: str) -> None:
    for make in AS_VALUES.values():
        assert docs.query_json(Doc, make(payload)).execute().ids == []
    for make in AS_NAMES.values():
        with pytest.raises(HeavenError):
            docs.query_json(Doc, make(payload)).execute()
    docs.upsert(Doc, {"object_id": payload, "title": payload})

    assert docs.query_json(Doc, AS_VALUES["filter"](payload)).execute().ids == [payload]
    docs.delete(payload)
    assert [docs.get(row["object_id"]) for row in ROWS] == [{"name": None, **row} for row in ROWS]


@pytest.mark.parametrize("bad", [*PAYLOADS, "", "Doc", "a b", "é", "x" * 64, "hb-doc\n"])
def test_w33_an_identifier_is_checked_where_the_schema_is_made(bad: str) -> None:
    with pytest.raises(InvalidName):
        hb.Entity.from_schema({"id": bad, "fields": [{"name": "n", "type": "integer"}]})
    with pytest.raises(InvalidName):
        hb.Entity.from_schema({"id": "doc", "fields": [{"name": f"{bad} ", "type": "integer"}]})
    with pytest.raises(InvalidName):
        hb.HeavenBase(bad, preset="debug")


class Bomb:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_w34_what_lies_in_the_storage_is_never_run_and_a_damaged_row_is_an_error(tmp_path: Path) -> None:
    class Item(hb.Entity):
        data = hb.field(hb.Json)
        tags = hb.field(hb.Array[hb.ShortText])
        vec = hb.field(hb.Vector[2])

    columns = ["data", "tags", "vec"]
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"), protocol=0)
    bomb += b" " * (-len(bomb) % 4)  # a vector, by its length, of more dimensions
    with hb.HeavenBase("mistakes", path=tmp_path / "ws") as ws:
        ws.register(Item)
        ws.upsert_many(Item, [{"object_id": one, "data": {"a": 1}, "tags": ["a"], "vec": [1, 2]} for one in columns])
        assert ws.count(Item) == 3
    with closing(sqlite3.connect(tmp_path / "ws" / "main.db")) as file, file:
        for column in columns:
            (kind,) = file.execute(f'select typeof("{column}") from e_item where object_id = ?', (column,)).fetchone()
            planted = bomb.decode() if kind == "text" else bomb
            file.execute(f'update e_item set "{column}" = ? where object_id = ?', (planted, column))

    with hb.HeavenBase("mistakes", path=tmp_path / "ws") as ws:
        for column in columns:
            with pytest.raises(StorageError, match="damaged"):
                ws.get(column, Item)
            with pytest.raises(StorageError, match="damaged"):
                ws.query(Item).where({"object_id": column}).execute().rows()
        assert not ws.check().ok

    assert not (tmp_path / "exploded").exists()


def test_w34_numbers_in_a_vector_that_are_none_are_found_by_a_check(tmp_path: Path) -> None:
    class Point(hb.Entity):
        vec = hb.field(hb.Vector[2])

    with hb.HeavenBase("mistakes", path=tmp_path / "ws") as ws:
        ws.register(Point)
        ws.upsert(Point, {"object_id": "a", "vec": [1, 2]})
        assert ws.check().ok
        with closing(sqlite3.connect(tmp_path / "ws" / "main.db")) as file, file:
            file.execute("update e_point set vec = ?", (struct.pack("<2f", 1, float("nan")),))

        report = ws.check()

    assert [(one.entity, one.kind) for one in report.findings] == [("point", "damaged-rows")]


SECRET = "the-secret-of-a-customer"


def test_w36_a_message_shows_no_statement_and_no_values_but_the_one_at_fault(
    docs: hb.HeavenBase, tmp_path: Path
) -> None:
    mistakes: list[Callable[[], Any]] = [
        lambda: docs.upsert(Doc, {"title": SECRET, "n": 1}),
        lambda: docs.upsert(Doc, {"title": SECRET, "n": 2**70}),
        lambda: docs.upsert(Doc, {"title": SECRET, "body": "\ud800"}),
        lambda: docs.upsert(Doc, {"title": SECRET, "m": 1}),
        lambda: docs.query_json(Doc, {"filter": {"title": SECRET, "m": 1}}).execute(),
        lambda: docs.query(Doc).where(Doc.title == SECRET).limits(max_rows=0.5).execute(),
    ]

    for mistake in mistakes:
        with pytest.raises(HeavenError) as raised:
            mistake()
        _check_discreet(raised.value)


def test_w36_an_engine_that_fails_is_not_quoted(tmp_path: Path) -> None:
    with hb.HeavenBase("mistakes", path=tmp_path / "ws") as ws:
        ws.register(Doc)
        ws.upsert_many(Doc, ROWS)
        with closing(sqlite3.connect(tmp_path / "ws" / "main.db")) as file, file:
            file.execute("drop table e_doc")

        for mistake in (
            lambda: ws.upsert(Doc, {"title": SECRET}),
            lambda: ws.query(Doc).where(Doc.title == SECRET).execute(),
        ):
            with pytest.raises(StorageError) as raised:
                mistake()
            _check_discreet(raised.value)
            assert isinstance(raised.value.__cause__, sqlite3.Error)


def _check_discreet(error: HeavenError) -> None:
    text = "".join(traceback.format_exception_only(error))
    assert SECRET not in text
    assert not any(word in text.lower() for word in ("select ", "insert ", "update e_", " where ", "e_doc", "sqlite_"))
    assert "/" not in text.replace("HEAVENBASE_", "")


def test_w36_a_taken_value_is_the_one_at_fault_and_shown(docs: hb.HeavenBase) -> None:
    with pytest.raises(UniqueViolation, match=r"^doc\.n, row 0: 1 is taken by another row") as raised:
        docs.upsert(Doc, {"title": SECRET, "n": 1})

    assert isinstance(raised.value, InvalidValue)
