"""Every persisted format byte by byte, and a database that an earlier version wrote.

A failure here means: what people have on their disks is read differently from now on. Then
the format's version goes up, older files are upgraded, and the golden values of the old
version stay beside the new ones.
"""

from __future__ import annotations

import importlib.util
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.codecs import encoder, item_encoder
from heaven_core.compute import source_hash
from heaven_core.core import ENTITY_TABLE, EXTENSION_TABLE
from heaven_core.errors import FormatTooNew
from heaven_core.identity import named_id
from heaven_core.schema import SCHEMA_FORMAT
from heaven_core.sql import entity_table, fulltext_table, item_key, side_table
from heaven_core.text import index_text, index_version
from heaven_core.types import LogicalType
from heaven_sqlite.engine import APPLICATION_ID, FORMAT
from heaven_system.catalog import catalog_id
from heaven_system.metaschema import MetaSchema

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]

FIXTURES = Path(__file__).parents[1] / "fixtures"
STORED = FIXTURES / "format_1.sqlite"


# -- ids -------------------------------------------------------------------------------------------------------------


def test_ids_that_are_made_from_names_are_always_the_same() -> None:
    assert named_id("doc", "On storage") == "790a135beaec6cd76f6d8dd17e9294be"
    assert catalog_id("doc", "one") == "ee7ee07431674d11b10d383d588a2af3"
    assert catalog_id("doc", "é") == "20a92cb4722c1def48823b6b3b71098e"


def test_rows_of_the_metaschema_have_ids_of_what_they_describe() -> None:
    with hb.HeavenBase("demo", preset="debug") as ws:
        (entity,) = ws.query(MetaSchema).where({"kind": "entity", "subject": "sys-catalog"}).execute().ids

    assert entity == "0db13119ffd6f44d7d2d56017ba8fedc"


# -- values ----------------------------------------------------------------------------------------------------------

VALUES: list[tuple[LogicalType[Any], Any, Any]] = [
    (hb.ShortText(), "é", "é"),
    (hb.Identifier(), "a", "a"),
    (hb.Categorical(["red"]), "red", "red"),
    (hb.Integer(), -(2**63), -(2**63)),
    (hb.Float(), 0.1, 0.1),
    (hb.Boolean(), True, True),
    (hb.Timestamp(), datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), -1),
    (hb.Timestamp(), datetime(2024, 5, 1, 12, tzinfo=UTC), 1714564800000000),
    (hb.Date(), date(2024, 2, 29), "2024-02-29"),
    (hb.Date(), date(1, 1, 1), "0001-01-01"),
    (hb.Duration(), timedelta(days=-1, microseconds=-1), -86400000001),
    (hb.Array(), ["é", 1, 1.5, True], '["é",1,1.5,true]'),
    (hb.Array(hb.ShortText), ['"\\\n\u2028'], '["\\"\\\\\\n\u2028"]'),
    (hb.Array(hb.Timestamp), [datetime(1970, 1, 1, tzinfo=UTC)], "[0]"),
    (hb.Array(hb.Date), [date(2024, 2, 29)], '["2024-02-29"]'),
    (hb.Array(hb.Duration), [timedelta(seconds=1)], "[1000000]"),
    (hb.Array(hb.Float), [1.0, 1e300, 0.1], "[1.0,1e+300,0.1]"),
    (hb.Json(), {"b": [1, None], "a": {"é": 1.0}, "B": False}, '{"B":false,"a":{"é":1.0},"b":[1,null]}'),
    (hb.Vector(2), [0.5, -2.0], b"\0\0\0?\0\0\0\xc0"),
    (hb.Artifact(), b"\0\xff", b"\0\xff"),
]


@pytest.mark.parametrize(
    ("dtype", "value", "stored"), VALUES, ids=[f"{dtype!r} {stored!a}"[:40] for dtype, _, stored in VALUES]
)
def test_a_value_is_stored_as_ever(dtype: LogicalType[Any], value: Any, stored: Any) -> None:
    encode = encoder(dtype)

    assert (value if encode is None else encode(value)) == stored


def test_items_of_side_tables_are_stored_as_ever() -> None:
    assert [item_key(item) for item in ("1", "", 1, -1, 1.5, 1e300, 2.0, True, False)] == [
        "s1",
        "s",
        "n1",
        "n-1",
        "n1.5",
        f"n{int(1e300)}",
        "n2",
        "b1",
        "b0",
    ]
    encode = item_encoder(hb.Array(hb.Timestamp))
    assert encode is not None
    assert encode(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1_000_000


def test_texts_are_indexed_as_ever() -> None:
    assert index_text("Élan naïve straße, 東京 don't!") == "elan naive strasse 東 京 don t"


def test_a_function_is_told_by_the_hash_of_its_source(tmp_path: Path) -> None:
    source = "def shout(title):\n    return title.upper()\n"
    (tmp_path / "shouting.py").write_text(f"if True:\n    {source.replace(chr(10), chr(10) + '    ').rstrip(' ')}")
    shout = _module(tmp_path / "shouting.py").shout

    assert source_hash(shout) == sha256(source.encode()).hexdigest()[:32]


# -- schemas ---------------------------------------------------------------------------------------------------------


def test_the_format_of_schemas_has_this_version() -> None:
    assert SCHEMA_FORMAT == 1


def test_a_schema_is_stored_as_ever() -> None:
    class Doc(hb.Entity):
        """A document."""

        __tags__ = ("kept",)
        __observed__ = False
        title = hb.field(hb.ShortText(99)).required().unique().desc("d").tags("t").store("main", hb.InvertedIndex)
        when = hb.field(hb.Timestamp).default(datetime(2024, 5, 1, tzinfo=UTC)).index()
        upper = hb.field(hb.LongText).compute(str.upper, inputs=[title])

    assert Doc.schema().to_dict() == {
        "format": 1,
        "id": "doc",
        "desc": "A document.",
        "tags": ["kept"],
        "observed": False,
        "fields": [
            {
                "name": "title",
                "type": {"type": "short-text", "max_chars": 99},
                "desc": "d",
                "tags": ["t"],
                "required": True,
                "unique": True,
                "store": [{"to": "main", "strategy": "inverted"}],
            },
            {"name": "when", "type": {"type": "timestamp"}, "index": True, "default": "2024-05-01T00:00:00+00:00"},
            {
                "name": "upper",
                "type": {"type": "long-text"},
                "compute": {"function": "builtins:str.upper", "inputs": ["title"], "source": ""},
            },
        ],
    }


def test_the_kernel_s_own_entities_are_as_ever() -> None:
    assert ENTITY_TABLE.to_dict()["fields"] == [
        {"name": "body", "type": {"type": "json"}, "required": True},
        {"name": "placement", "type": {"type": "json"}, "required": True},
        {"name": "owner", "type": {"type": "short-text"}},
    ]
    assert EXTENSION_TABLE.to_dict()["fields"] == [
        {"name": "origin", "type": {"type": "short-text"}},
        {"name": "version", "type": {"type": "short-text"}},
    ]


# -- the SQLite file -------------------------------------------------------------------------------------------------


def test_a_sqlite_file_says_whose_it_is_and_of_which_version(tmp_path: Path) -> None:
    with hb.HeavenBase("demo", path=tmp_path):
        pass

    with closing(sqlite3.connect(tmp_path / "main.db")) as connection:
        said = [
            connection.execute(f"pragma {key}").fetchone()[0]
            for key in ("application_id", "user_version", "journal_mode")
        ]

    assert said == [APPLICATION_ID, FORMAT, "wal"]
    assert (APPLICATION_ID.to_bytes(4), FORMAT) == (b"HBAS", 1)


def test_tables_are_named_after_their_entities() -> None:
    assert (entity_table("doc"), side_table("doc", "tags"), fulltext_table("doc")) == (
        '"e_doc"',
        '"e_doc.tags"',
        '"e_doc._fts"',
    )


TABLES = """\
CREATE TABLE hb_state ( id integer primary key check (id = 1), lsn integer not null, epoch integer not null, workspace text not null, text_rules text ) strict
CREATE TABLE "e_hb-entity" (_rowid integer primary key, "object_id" text not null unique, "name" text, "body" text, "placement" text, "owner" text, _v integer not null) strict
CREATE TABLE "e_hb-extension" (_rowid integer primary key, "object_id" text not null unique, "name" text, "origin" text, "version" text, _v integer not null) strict
CREATE TABLE "e_every-type" (_rowid integer primary key, "object_id" text not null unique, "name" text, "short" text, "key" text, "medium" text, "long" text, "whole" integer, "real" real, "flag" integer, "colour" text, "moment" integer, "day" text, "span" integer, "mixed" text, "tags" text, "days" text, "loose" text, "place" blob, "meta" text, "blob" blob, "upper" text, _v integer not null) strict
CREATE INDEX "e_every-type.short.index" on "e_every-type" ("short", "object_id")
CREATE UNIQUE INDEX "e_every-type.key.unique" on "e_every-type" ("key")
CREATE INDEX "e_every-type.whole.index" on "e_every-type" ("whole", "object_id")
CREATE TABLE "e_every-type.tags" (row integer not null, pos integer not null, item text not null, primary key (row, pos)) without rowid, strict
CREATE INDEX "e_every-type.tags.item" on "e_every-type.tags" (item, row)
CREATE TABLE "e_every-type.days" (row integer not null, pos integer not null, item text not null, primary key (row, pos)) without rowid, strict
CREATE INDEX "e_every-type.days.item" on "e_every-type.days" (item, row)
CREATE TABLE "e_every-type.loose" (row integer not null, pos integer not null, item text not null, primary key (row, pos)) without rowid, strict
CREATE INDEX "e_every-type.loose.item" on "e_every-type.loose" (item, row)
CREATE VIRTUAL TABLE "e_every-type._fts" using fts5 ("f_long", tokenize = 'ascii')"""  # noqa: E501

ADDED = """\
CREATE TABLE hb_vectors ( entity text primary key, lsn integer not null ) strict, without rowid"""
"""What today's version adds to a file; one without it is read as well, and gets it with the next write of vectors."""

ROWS: dict[str, list[tuple[Any, ...]]] = {
    "hb_state": [(1, 4, 3, "format-1", "1-14.0.0")],
    "e_every-type": [
        (
            1,
            "e31d99933f924849f6c8b592818035b1",
            "named",
            "by name",
            *[None] * 3,
            7,
            1e300,
            0,
            *[None] * 5,
            "[]",
            *[None] * 3,
            "[]",
            b"",
            "BY NAME",
            3,
        ),
        (2, "empty", None, "changed", *[None] * 17, "CHANGED", 4),
        (
            3,
            "full",
            "first",
            "Élan",
            "k-1",
            "medium",
            "The quick brown fox, naïve façade",
            -(2**63),
            0.1,
            1,
            "green",
            -1,
            "2024-02-29",
            -86400000001,
            '["a",1,1.5,true]',
            '["x","y","x"]',
            '["2024-05-01"]',
            '["1",1,1.5,false]',
            b"\xcd\xcc\xcc=\0\0\0\xc0",
            '{"a":1.0,"b":[1,null,{"a":"é"}]}',
            b"\0\xff",
            "ÉLAN",
            3,
        ),
    ],
    "e_every-type.tags": [(3, 0, "x"), (3, 1, "y"), (3, 2, "x")],
    "e_every-type.days": [(3, 0, "2024-05-01")],
    "e_every-type.loose": [(3, 0, "s1"), (3, 1, "n1"), (3, 2, "n1.5"), (3, 3, "b0")],
    "e_every-type._fts": [(None,), (None,), ("the quick brown fox naive facade",)],
    "e_hb-extension": [(1, "system", None, "heaven-core", "1", 1)],
}
"""What lies in the tables of the stored file, value by value."""


def _tables(connection: sqlite3.Connection) -> str:
    shadows = "name like '%.\\_fts\\_%' escape '\\'"
    found = connection.execute(
        f"select sql from sqlite_master where sql is not null and not ({shadows}) order by rowid"
    )
    return "\n".join(" ".join(sql.split()) for (sql,) in found)


def _rows(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    ordered = {"e_every-type.tags": "1, 2", "e_every-type.days": "1, 2", "e_every-type.loose": "1, 2"}
    return {
        name: connection.execute(f'select * from "{name}" order by {ordered.get(name, "rowid")}').fetchall()
        for name in ROWS
    }


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stored_file_is_what_this_page_says() -> None:
    with closing(sqlite3.connect(f"file:{STORED}?immutable=1", uri=True)) as connection:
        assert _tables(connection) == TABLES
        assert _rows(connection) == ROWS


def test_the_same_workspace_is_written_the_same_way_today(tmp_path: Path) -> None:
    _module(FIXTURES / "make_format_1.py").write(tmp_path / "today.sqlite")

    with closing(sqlite3.connect(tmp_path / "today.sqlite")) as connection:
        assert _tables(connection) == f"{TABLES}\n{ADDED}"
        state = [(1, 4, 3, "format-1", index_version())]
        assert _rows(connection) == {**ROWS, "hb_state": state}
        assert connection.execute("select entity, lsn >> 24 from hb_vectors").fetchall() == [("every-type", 4)]
        (body, placement, owner) = connection.execute(
            "select body, placement, owner from \"e_hb-entity\" where object_id = 'every-type'"
        ).fetchone()
    with closing(sqlite3.connect(f"file:{STORED}?immutable=1", uri=True)) as connection:
        stored = connection.execute(
            "select body, placement, owner from \"e_hb-entity\" where object_id = 'every-type'"
        ).fetchone()
    assert (body, placement, owner) == stored


@pytest.fixture
def earlier(tmp_path: Path) -> Any:
    """The stored workspace, opened from a copy."""
    shutil.copy(STORED, tmp_path / "earlier.sqlite")
    with hb.HeavenBase(
        "format-1", backends={"main": {"type": "sqlite", "database": tmp_path / "earlier.sqlite"}}
    ) as ws:
        yield ws


FULL: dict[str, Any] = {
    "object_id": "full",
    "name": "first",
    "short": "Élan",
    "key": "k-1",
    "medium": "medium",
    "long": "The quick brown fox, naïve façade",
    "whole": -(2**63),
    "real": 0.1,
    "flag": True,
    "colour": "green",
    "moment": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    "day": date(2024, 2, 29),
    "span": timedelta(days=-1, microseconds=-1),
    "mixed": ["a", 1, 1.5, True],
    "tags": ["x", "y", "x"],
    "days": [date(2024, 5, 1)],
    "loose": ["1", 1, 1.5, False],
    "place": [0.10000000149011612, -2.0],
    "meta": {"b": [1, None, {"a": "é"}], "a": 1.0},
    "blob": b"\0\xff",
    "upper": "ÉLAN",
}


def test_records_of_a_newer_format_are_refused_as_such(tmp_path: Path) -> None:
    with hb.HeavenBase("newer", path=tmp_path / "ws"):
        pass
    with closing(sqlite3.connect(tmp_path / "ws" / "main.db")) as connection:
        connection.execute("""update "e_hb-entity" set body = json_set(body, '$.format', 9)""")
        connection.commit()

    with pytest.raises(FormatTooNew, match="has format 9"):
        hb.HeavenBase("newer", path=tmp_path / "ws")


def test_an_earlier_workspace_is_read(earlier: hb.HeavenBase) -> None:
    every = earlier.entity("every-type")

    assert earlier.get("full") == FULL
    assert earlier.get("empty") == {**dict.fromkeys(FULL), "object_id": "empty", "short": "changed", "upper": "CHANGED"}
    assert [earlier.version(one) for one in earlier.ids(every)] == [3, 4, 3]
    assert earlier.query(every).search("naive FACADE").execute().ids == ["full"]
    assert earlier.query(every).where({"tags": {"$array_contains": "y"}}).execute().ids == ["full"]
    assert earlier.query(every).where({"loose": {"$array_contains": 1}}).execute().ids == ["full"]
    assert earlier.query(every).where({"moment": {"$lt": "1970-01-01T00:00:00Z"}}).execute().ids == ["full"]
    assert earlier.query(every).near("place", [0, -1], 1).execute().ids == ["full"]
    assert earlier.query(hb.Catalog).where({"target_entity": "every-type"}).count() == 3
    assert earlier.check().ok
    assert earlier.health().ok


def test_an_earlier_workspace_is_written(earlier: hb.HeavenBase) -> None:
    declared = _module(FIXTURES / "make_format_1.py").Every

    assert earlier.register(declared).empty
    earlier.set("full", {"short": "new"})
    row = earlier.get("full")

    assert row == {**FULL, "short": "new", "upper": "NEW"}
    assert earlier.version("full") == (5 if index_version() == "1-14.0.0" else 6)  # where the index was made anew
    assert earlier.upsert(declared, {"name": "named", "short": "again"}) == "e31d99933f924849f6c8b592818035b1"
    assert earlier.check().ok
