"""`heaven_sqlite.checking` and `heaven_sqlite.textcheck`: indexes that answer wrongly are found and made anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]


class Note(hb.Entity):
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    address = hb.field(hb.ShortText).store(strategy=hb.TrigramIndex)
    rank = hb.field(hb.Integer).index()
    code = hb.field(hb.ShortText).unique()
    tags = hb.field(hb.Array(hb.ShortText)).store(strategy=hb.SideTable)


ROWS: list[dict[str, Any]] = [
    {
        "object_id": f"n{one:03}",
        "body": f"hello world {one}",
        "address": f"docs{one}.example.org",
        "rank": one % 10,
        "code": f"c{one}",
        "tags": [f"t{one % 3}"],
    }
    for one in range(200)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.fixture
def ws(folder: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("notes", path=folder) as made:
        made.register(Note)
        made.upsert_many(Note, ROWS)
        yield made


def damage(folder: Path, *statements: str) -> None:
    """Change the file behind the workspace's back."""
    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as raw:
        for one in statements:
            raw.execute(one)


def kinds(report: hb.Report) -> list[tuple[str | None, str, str, bool]]:
    return [(one.entity, one.kind, one.detail, one.repairable) for one in report.findings]


def assert_right(ws: hb.HeavenBase) -> None:
    assert ws.check().ok
    assert ws.query(Note).order_by("object_id").execute().rows() == [{"name": None, **row} for row in ROWS]
    assert len(ws.query(Note).search("hello").limits(max_rows=None).execute()) == 200
    assert ws.query(Note).search("17").execute().ids == ["n017"]
    assert ws.count(Note, Note.address.contains("example")) == 200
    assert ws.count(Note, Note.rank == 3) == 20
    assert ws.query(Note).where(Note.code == "c5").execute().ids == ["n005"]
    assert ws.count(Note, Note.tags.array_contains("t1")) == 67
    ws.upsert(Note, ROWS[7] | {"body": "changed"})
    assert ws.query(Note).search("changed").execute().ids == ["n007"]
    assert ws.check().ok


REPLACED = "update {0} set block = replace(cast(block as blob), cast('{1}' as blob), cast('{2}' as blob))"
TEXT_DAMAGE = {
    "words overwritten": REPLACED.format('"e_note._fts_data"', "hello", "hellp"),
    "a size deleted": 'delete from "e_note._fts_docsize" where id = 3',
    "all sizes deleted": 'delete from "e_note._fts_docsize"',
    "a size changed": "update \"e_note._fts_docsize\" set sz = x'09' where id = 7",
    "the totals changed": "update \"e_note._fts_data\" set block = x'0505' where id = 1",
    "the data emptied": 'delete from "e_note._fts_data"',
    "the data dropped": 'drop table "e_note._fts_data"',
    "the list of pages emptied": 'delete from "e_note._fts_idx"',
    "the list of pages dropped": 'drop table "e_note._fts_idx"',
    "the sizes dropped": 'drop table "e_note._fts_docsize"',
    "the texts dropped": 'drop table "e_note._fts_content"',
    "the texts emptied": 'delete from "e_note._fts_content"',
    "the settings emptied": 'delete from "e_note._fts_config"',
    "the settings dropped": 'drop table "e_note._fts_config"',
    "the structure overwritten": "update \"e_note._fts_data\" set block = x'ffffffff' where id = 10",
    "everything dropped": 'drop table "e_note._fts"',
}


@pytest.mark.parametrize("statement", TEXT_DAMAGE.values(), ids=TEXT_DAMAGE)
def test_a_full_text_index_that_is_damaged_inside_is_found_and_made_anew(
    ws: hb.HeavenBase, folder: Path, statement: str
) -> None:
    damage(folder, statement)

    assert kinds(ws.check()) == [("note", "stale-fulltext", "body", True)]
    assert [one.kind for one in ws.repair().repaired] == ["stale-fulltext"]
    assert_right(ws)


@pytest.mark.parametrize("statement", TEXT_DAMAGE.values(), ids=TEXT_DAMAGE)
def test_a_workspace_with_a_damaged_text_index_opens_and_is_repaired(
    ws: hb.HeavenBase, folder: Path, statement: str
) -> None:
    ws.close()
    damage(folder, statement)

    with hb.HeavenBase("notes", path=folder) as again:
        assert again.repair().ok
        assert_right(again)


@pytest.mark.parametrize(
    "statement",
    [
        REPLACED.format('"e_note._trigram_data"', "ple", "plf"),
        'delete from "e_note._trigram_data"',
        'drop table "e_note._trigram_data"',
        'delete from "e_note._trigram_idx"',
    ],
)
def test_a_trigram_index_that_is_damaged_inside_is_found_and_made_anew(
    ws: hb.HeavenBase, folder: Path, statement: str
) -> None:
    damage(folder, statement)

    assert kinds(ws.check()) == [("note", "stale-trigram", "address", True)]
    assert ws.repair().ok
    assert_right(ws)


def hide(folder: Path, index: str, *statements: str) -> None:
    """Change rows while SQLite does not know of an index."""
    name = "name = '" + index + "'"
    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as raw:
        rows = raw.execute(f"select * from sqlite_master where {name}").fetchall()
        raw.execute("pragma writable_schema = on")
        raw.execute(f"delete from sqlite_master where {name}")
    damage(folder, *statements)
    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as raw:
        raw.execute("pragma writable_schema = on")
        raw.executemany("insert into sqlite_master values (?, ?, ?, ?, ?)", rows)


@pytest.mark.parametrize(
    ("index", "detail", "there", "back"),
    [
        (
            "e_note.rank.index",
            "rank (index)",
            "update e_note set rank = 77 where rank = 3",
            "update e_note set rank = 3 where rank = 77",
        ),
        (
            "e_note.code.unique",
            "code (unique)",
            "update e_note set code = 'other' where code = 'c5'",
            "update e_note set code = 'c5' where code = 'other'",
        ),
        (
            "e_note.tags.item",
            "tags (item)",
            "update \"e_note.tags\" set item = 'other'",
            "update \"e_note.tags\" set item = 't' || ((row - 1) % 3)",
        ),
    ],
)
def test_an_index_that_disagrees_with_its_table_is_found_and_made_anew(
    ws: hb.HeavenBase, folder: Path, index: str, detail: str, there: str, back: str
) -> None:
    ws.close()
    damage(folder, there)
    hide(folder, index, back)

    with hb.HeavenBase("notes", path=folder) as again:
        assert kinds(again.check()) == [("note", "stale-index", detail, True)]
        assert [one.detail for one in again.repair().repaired] == [detail]
        assert_right(again)


def test_a_unique_index_that_disagrees_with_rows_that_share_a_value_is_not_made_anew(
    ws: hb.HeavenBase, folder: Path
) -> None:
    ws.close()
    hide(folder, "e_note.code.unique", "update e_note set code = 'c1' where code = 'c2'")

    with hb.HeavenBase("notes", path=folder) as again:
        found = kinds(again.check())
        again.repair()

        assert found == [("note", "duplicate-values", "code is unique and 2 rows share values: n001, n002", False)]
        assert kinds(again.check()) == found


def test_an_index_that_somebody_added_and_that_disagrees_is_made_anew(ws: hb.HeavenBase, folder: Path) -> None:
    ws.close()
    damage(folder, "create index mine on e_note (rank)", "update e_note set rank = 77 where rank = 3")
    hide(folder, "mine", "update e_note set rank = 3 where rank = 77")

    with hb.HeavenBase("notes", path=folder) as again:
        assert kinds(again.check()) == [(None, "stale-index", "mine", True)]
        assert again.repair().ok
        assert_right(again)


def test_a_check_waits_for_no_writer_and_keeps_none_waiting(ws: hb.HeavenBase, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as raw:
        raw.execute("begin immediate")
        assert ws.check().ok
        raw.execute("rollback")
    with ws.transaction() as tx:
        tx.set("n001", {"rank": 5})
        assert ws.check().ok


def test_a_check_leaves_nothing_in_the_file(ws: hb.HeavenBase, folder: Path) -> None:
    with closing(sqlite3.connect(folder / "main.db")) as raw:
        before = list(raw.iterdump())
        assert ws.check().ok
        assert list(raw.iterdump()) == before
