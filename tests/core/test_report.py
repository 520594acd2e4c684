"""`check`, `repair` and `health`, `heaven_core.report`: planted damage is found, and mended where that can be."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import SchemaError, StorageError
from heaven_core.ext import Extension, ExtensionSpec, register_extension

if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[..., hb.HeavenBase]

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).store(strategy=hb.InvertedIndex)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    tags = hb.field(hb.Array(hb.ShortText)).store(strategy=hb.SideTable)
    days = hb.field(hb.Array(hb.Date)).store(strategy=hb.SideTable)
    end = hb.field(hb.ShortText).index()


ROWS: list[dict[str, Any]] = [
    {"object_id": "a", "title": "Élan vital", "body": "one two", "tags": ["x", "y", "x"], "days": ["2024-05-01"]},
    {"object_id": "b", "title": None, "body": "two three", "tags": [], "end": "e"},
    {"object_id": "c", "tags": None},
]


@pytest.fixture
def ws(open_workspace: Open) -> hb.HeavenBase:
    made = open_workspace("sqlite")
    made.register(Doc)
    made.upsert_many(Doc, ROWS)
    return made


def _damage(ws: hb.HeavenBase, *statements: str) -> None:
    """Change the file behind the workspace's back."""
    assert ws.folder is not None
    with closing(sqlite3.connect(ws.folder / "main.db")) as connection:
        for one in statements:
            connection.execute(one)
        connection.commit()


def test_an_entity_of_a_type_that_is_not_registered_is_a_finding_and_hides_no_other(open_workspace: Open) -> None:
    class Colour(hb.ShortText):
        identifier = "colour"

    class Paint(hb.Entity):
        shade = hb.field(Colour)

    with hb.ext.register_logical_type(Colour), open_workspace("sqlite") as ws:
        ws.register(Doc, Paint)
        ws.upsert_many(Doc, ROWS)
        ws.upsert(Paint, {"shade": "red"})
    ws = open_workspace("sqlite")

    (finding,) = ws.check().findings
    assert (finding.entity, finding.kind, finding.repairable) == ("paint", "unusable-entity", False)
    assert "'colour' is no logical type" in finding.detail
    assert not ws.repair().ok
    assert "doc" in ws.query("sys-metaschema").where({"kind": "entity"}).execute().column("subject")
    assert ws.count("sys-catalog") == len(ROWS)
    assert ws.get("a") is not None
    with pytest.raises(SchemaError, match="'paint' cannot be used"):  # the id may be one of its rows
        ws.get("elsewhere")
    with hb.ext.register_logical_type(Colour):
        assert ws.check().ok
        assert ws.count("paint") == 1


def test_a_sound_workspace_is_ok(engine: str, open_workspace: Open) -> None:
    ws = open_workspace(engine, id="sound")
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    ws.set("a", {"tags": ["z"], "body": None})
    ws.delete("b")

    for report in (ws.check(), ws.repair()):
        assert report.ok
        assert json.loads(json.dumps(report.to_dict())) == {"ok": True, "entities": 3, "findings": [], "repaired": []}


PLANTED: dict[str, tuple[str, str, str]] = {
    "a side row deleted": ("delete from \"e_doc.tags\" where item = 'y'", "stale-side-table", "tags"),
    "a side row added": ("insert into \"e_doc.tags\" values (3, 0, 'new')", "stale-side-table", "tags"),
    "a side row changed": ("update \"e_doc.days\" set item = '2000-01-01'", "stale-side-table", "days"),
    "a side row orphaned": ("insert into \"e_doc.tags\" values (99, 0, 'x')", "stale-side-table", "tags"),
    "a full-text row deleted": ('delete from "e_doc._fts" where rowid = 1', "stale-fulltext", "title, body"),
    "a full-text row changed": (
        "update \"e_doc._fts\" set f_body = 'other' where rowid = 2",
        "stale-fulltext",
        "title, body",
    ),
}


@pytest.mark.parametrize(("statement", "kind", "detail"), PLANTED.values(), ids=PLANTED)
def test_what_follows_from_the_rows_is_found_and_mended(
    ws: hb.HeavenBase, statement: str, kind: str, detail: str
) -> None:
    before = ws.query(Doc).order_by("object_id").execute().rows()
    _damage(ws, statement)

    found = ws.check()
    mended = ws.repair()

    assert not found.ok
    assert [(one.entity, one.kind, one.detail, one.repairable) for one in found.findings] == [
        ("doc", kind, detail, True)
    ]
    assert (mended.ok, mended.repaired, mended.findings) == (True, found.findings, ())
    assert ws.check().ok
    assert ws.query(Doc).order_by("object_id").execute().rows() == before
    assert ws.query(Doc).where(Doc.tags.array_contains("y")).execute().ids == ["a"]
    assert ws.query(Doc).where(Doc.days.array_contains("2024-05-01")).execute().ids == ["a"]
    assert ws.query(Doc).where(Doc.title.match("elan")).execute().ids == ["a"]
    assert sorted(ws.query(Doc).search("two", "body").execute().ids) == ["a", "b"]


OUTSIDE: dict[str, tuple[list[str], list[tuple[str, str, str, bool]]]] = {
    "an index dropped": (
        ['drop index "e_strict.end.index"'],
        [("strict", "missing-index", "end (index)", True)],
    ),
    "a unique index dropped": (
        ['drop index "e_strict.code.unique"'],
        [("strict", "missing-index", "code (unique)", True)],
    ),
    "the index of a side table dropped": (
        ['drop index "e_doc.tags.item"'],
        [("doc", "missing-index", "tags (item)", True)],
    ),
    "a unique index dropped and a value doubled": (
        [
            'drop index "e_strict.code.unique"',
            'drop index "e_strict.end.index"',
            "update e_strict set code = '1' where object_id = 's2'",
        ],
        [
            ("strict", "missing-index", "end (index)", True),
            ("strict", "duplicate-values", "code is unique and 2 rows share values: s1, s2", False),
        ],
    ),
    "a value doubled many times": (
        ['drop index "e_strict.code.unique"', "update e_strict set code = '1'"],
        [
            (
                "strict",
                "duplicate-values",
                "code is unique and 12 rows share values: s1, s10, s11, s12, s2, s3, s4, s5, s6, s7, ...",
                False,
            )
        ],
    ),
    "a required value removed": (
        ["update e_strict set must = null where object_id < 's11'"],
        [("strict", "missing-values", "rows without must, which is required: 2", False)],
    ),
    "a choice that is none": (
        ["update e_strict set colour = 'blue' where object_id = 's1'"],
        [("strict", "damaged-rows", "values of colour", False)],
    ),
    "a version that no write had": (
        ["update e_strict set _v = 1000 where object_id = 's1'"],
        [("strict", "wrong-versions", "rows newer than the last write: 1", True)],
    ),
    "a record removed": (
        ["delete from \"e_hb-entity\" where object_id = 'strict'"],
        [("strict", "orphaned-table", "its rows are there, and no record of what they are", False)],
    ),
    "a table added": (
        ['create table "e_other.tags" (x)', "create table mine (x)"],
        [("other", "orphaned-table", "its rows are there, and no record of what they are", False)],
    ),
}


@pytest.mark.parametrize(("done", "expected"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_was_done_to_the_tables_from_outside_is_found(
    ws: hb.HeavenBase, open_workspace: Open, done: list[str], expected: list[tuple[str, str, str, bool]]
) -> None:
    class Strict(hb.Entity):
        must = hb.field(hb.ShortText).required()
        code = hb.field(hb.ShortText).unique()
        end = hb.field(hb.Integer).index()
        colour = hb.field(hb.Categorical(["red", "green"]))

    ws.register(Strict)
    ws.upsert_many(
        Strict, [{"object_id": f"s{one}", "must": "m", "code": str(one), "colour": "red"} for one in range(1, 13)]
    )
    assert ws.check().ok
    ws.close()
    again = open_workspace("sqlite")
    _damage(again, *done)

    found = again.check().findings
    mended = again.repair()

    assert sorted((one.entity or "", one.kind, one.detail, one.repairable) for one in found) == sorted(expected)
    assert [one.repairable for one in mended.repaired] == [True] * sum(one[3] for one in expected)
    assert [one.repairable for one in mended.findings] == [False] * sum(not one[3] for one in expected)
    assert mended.ok is again.check().ok is all(one[3] for one in expected)


def test_a_repaired_version_is_that_of_the_repair(ws: hb.HeavenBase) -> None:
    last = ws.version("a")
    assert last is not None
    _damage(ws, "update e_doc set _v = 9223372036854775807 where object_id = 'b'")

    assert ws.repair().ok

    assert ws.version("a") == last
    assert ws.version("b") == last + 1
    assert ws.version(ws.upsert(Doc, {})) == last + 2


def test_a_check_beside_writers_finds_nothing(ws: hb.HeavenBase) -> None:
    done = threading.Event()

    def write() -> None:
        for number in range(200):
            ws.upsert(Doc, {"object_id": "a", "body": f"text {number}", "tags": [str(number)]})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reports = [ws.check()]
    while not done.is_set():
        reports.append(ws.check())
    writer.join()

    assert [one.findings for one in reports if not one.ok] == []


def test_checking_changes_nothing(ws: hb.HeavenBase) -> None:
    _damage(ws, 'delete from "e_doc.tags"')

    assert ws.check().findings == ws.check().findings != ()


def test_several_findings_are_mended_at_once(ws: hb.HeavenBase) -> None:
    _damage(ws, 'delete from "e_doc.tags"', 'delete from "e_doc.days"', 'delete from "e_doc._fts"')

    report = ws.repair()

    assert (report.ok, len(report.repaired)) == (True, 3)


def test_lost_rows_are_reported_and_not_invented(ws: hb.HeavenBase) -> None:
    _damage(ws, 'drop table "e_doc"')

    report = ws.repair()

    assert not report.ok
    assert [(one.entity, one.kind, one.repairable) for one in report.findings] == [("doc", "missing-table", False)]
    assert report.repaired == ()
    with pytest.raises(StorageError, match="its tables are not what this workspace made") as raised:
        ws.count(Doc)
    assert "select" not in str(raised.value).lower()
    assert isinstance(raised.value.__cause__, sqlite3.Error)


@pytest.mark.parametrize("table", ["e_doc.tags", "e_doc._fts"])
def test_a_lost_index_is_made_anew(ws: hb.HeavenBase, table: str) -> None:
    _damage(ws, f'drop table "{table}"')

    found = ws.check()
    mended = ws.repair()

    assert [one.repairable for one in found.findings] == [True]
    assert mended.ok
    ws.upsert(Doc, {"object_id": "d", "tags": ["y"], "body": "two"})
    assert ws.query(Doc).where(Doc.tags.array_contains("y")).order_by("object_id").execute().ids == ["a", "d"]
    assert sorted(ws.query(Doc).search("two", "body").execute().ids) == ["a", "b", "d"]


def test_a_value_that_nobody_wrote_is_reported_and_stops_those_who_read_it(ws: hb.HeavenBase) -> None:
    _damage(ws, "update \"e_doc\" set tags = '[\"x\",' where object_id = 'a'")

    report = ws.repair()

    assert [(one.kind, one.detail, one.repairable) for one in report.findings] == [
        ("damaged-rows", "values of tags", False)
    ]
    found = ws.query(Doc).execute()
    for read in (lambda: ws.get("a"), found.rows, lambda: found.column("tags")):
        with pytest.raises(
            StorageError, match=r"a stored value of doc\.tags in row 'a' cannot be read: it was damaged outside"
        ):
            read()
    assert ws.get("b") is not None
    assert len(found.column("title")) == 3


def test_damaged_pages_are_reported_first(ws: hb.HeavenBase) -> None:
    assert ws.folder is not None
    path = ws.folder / "main.db"
    ws.upsert_many(Doc, [{"title": "x" * 200} for _ in range(300)])
    ws.close()
    content = bytearray(path.read_bytes())
    pages = [at for at in range(4096, len(content), 4096) if b"x" * 200 in content[at : at + 4096]]
    content[pages[len(pages) // 2] : pages[len(pages) // 2] + 200] = b"\xff" * 200
    path.write_bytes(content)

    with hb.HeavenBase("demo", path=path.parent) as again:
        report = again.repair()

    assert [(one.entity, one.kind, one.repairable) for one in report.findings] == [(None, "damaged-pages", False)]


def test_a_damaged_record_of_an_entity_is_named(ws: hb.HeavenBase) -> None:
    assert ws.folder is not None
    folder = ws.folder
    ws.close()
    with closing(sqlite3.connect(folder / "main.db")) as connection:
        connection.execute("update \"e_hb-entity\" set placement = '{\"title\":5}' where object_id = 'doc'")
        connection.commit()

    with (
        hb.HeavenBase("demo", path=folder) as again,
        pytest.raises(StorageError, match="the record of entity 'doc' is damaged"),
    ):
        again.query("doc")


def test_a_stale_index_in_memory_is_found_and_mended(open_workspace: Open) -> None:
    ws = open_workspace("inmem", id="memory")
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    ws.core().primary.tables["doc"].indexes["end"].remove("e", "b")
    assert ws.query(Doc).where(Doc.end == "e").execute().ids == []

    report = ws.repair()

    assert [(one.kind, one.detail) for one in report.repaired] == [("stale-index", "end")]
    assert report.ok
    assert ws.query(Doc).where(Doc.end == "e").execute().ids == ["b"]


def test_lost_rows_in_memory_are_reported(open_workspace: Open) -> None:
    ws = open_workspace("inmem", id="memory")
    ws.register(Doc)
    del ws.core().primary.tables["doc"]

    report = ws.repair()

    assert [(one.entity, one.kind, one.repairable) for one in report.findings] == [("doc", "missing-table", False)]


# -- health ----------------------------------------------------------------------------------------------------------


def test_a_healthy_workspace_says_so(engine: str, open_workspace: Open) -> None:
    health = open_workspace(engine, id="sound").health()

    assert health.ok
    assert (health.backends["main"]["type"], health.backends["main"]["ok"]) == (engine, True)
    assert "primary" in health.backends["main"]["capabilities"]
    assert health.extensions == {"system": "active"}
    assert json.loads(json.dumps(health.to_dict()))["failures"] == []


def test_every_backend_is_listed(open_workspace: Open) -> None:
    health = open_workspace("inmem", id="two", backends={"main": "inmem", "more": "inmem"}).health()

    assert health.ok
    assert list(health.backends) == ["main", "more"]


def test_an_engine_that_does_not_answer_is_unhealthy(ws: hb.HeavenBase) -> None:
    _damage(ws, 'drop table "e_hb-extension"')

    health = ws.health()

    assert not health.ok
    assert health.backends["main"]["ok"] is False
    assert "backend 'main'" in health.backends["main"]["error"]


def test_a_failed_extension_is_unhealthy_and_says_why(open_workspace: Open) -> None:
    with register_extension(Extension(ExtensionSpec("passing"))):
        first = open_workspace("sqlite", id="failing")
        first.enable_extension("passing")
        first.close()

    health = open_workspace("sqlite", id="failing").health()

    assert not health.ok
    assert health.extensions == {"system": "active", "passing": "failed"}
    assert [one["name"] for one in json.loads(json.dumps(health.to_dict()))["failures"]] == ["passing"]
