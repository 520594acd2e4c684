"""Fields in files, `heaven_core.external`: the same rows as with bytes inside them, and files that come and go."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import external
from heaven_core.backend import Change
from heaven_core.errors import InvalidValue, NotFound, ResultTooLarge, StorageError, StorageFull, WorkspaceClosed
from heaven_core.hooks import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heaven_core.hooks import Write

    Open = Callable[..., hb.HeavenBase]

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    scan = hb.field(hb.Artifact).store(strategy=hb.ExternalRef)
    cover = hb.field(hb.Artifact).store(strategy="external")
    thumb = hb.field(hb.Artifact)


class Measured(hb.Entity):
    title = hb.field(hb.ShortText)
    data = hb.field(hb.Artifact).required().default(b"none").store(strategy=hb.ExternalRef)
    size = hb.field(hb.Integer).compute(len, inputs=[data])
    copy = hb.field(hb.Artifact).compute(bytes.upper, inputs=[data]).store(strategy=hb.ExternalRef)


@pytest.fixture
def ws(engine: str, open_workspace: Open, tmp_path: Path) -> hb.HeavenBase:
    made = open_workspace(engine, path=tmp_path / "ws")
    made.register(Doc, Measured)
    return made


@pytest.fixture
def stored(open_workspace: Open) -> hb.HeavenBase:
    """On SQLite, with a row whose file can be damaged."""
    made = open_workspace("sqlite")
    made.register(Doc, Measured)
    made.upsert_many(Doc, [{"object_id": "a", "scan": b"scan", "cover": b"cover"}, {"object_id": "b"}])
    return made


def folder_of(ws: hb.HeavenBase) -> Path:
    assert ws.folder is not None
    (found,) = ws.folder.glob("external*")
    return found


def files_of(ws: hb.HeavenBase) -> list[Path]:
    assert ws.folder is not None
    return sorted(one for one in ws.folder.glob("external*/*/*"))


def path_of(ws: hb.HeavenBase, content: bytes) -> Path:
    digest = sha256(content).hexdigest()
    return folder_of(ws) / digest[:2] / digest[2:]


def age(ws: hb.HeavenBase) -> None:
    """Make every file old enough for being collected."""
    for one in files_of(ws):
        os.utime(one, (1, 1))


def undone(ws: hb.HeavenBase, change: Callable[[Any], object]) -> None:
    """A transaction that is rolled back."""
    with suppress(ZeroDivisionError), ws.transaction() as tx:
        change(tx)
        raise ZeroDivisionError


# -- the same as inline ----------------------------------------------------------------------------------------------


def test_bytes_come_back_wherever_they_are_asked_for(ws: hb.HeavenBase) -> None:
    row = {"object_id": "a", "name": None, "title": "t", "scan": b"\0\xff", "cover": b"", "thumb": b"t"}
    ws.upsert_many(Doc, [row, {"object_id": "b"}])

    empty = {"object_id": "b", "name": None, "title": None, "scan": None, "cover": None, "thumb": None}
    query = ws.query(Doc).order_by("object_id")
    assert ws.get("a") == ws.get("a", Doc) == row
    assert ws.get_many(["b", "x", "a"], Doc) == [empty, None, row]
    assert query.execute().rows() == [row, empty]
    assert query.execute().column("scan") == [b"\0\xff", None]
    assert query.select("cover").execute().rows() == [
        {"object_id": "a", "cover": b""},
        {"object_id": "b", "cover": None},
    ]
    assert query.select("scan").limit(1).execute().scalar() == b"\0\xff"
    assert [row for batch in query.execute().iter_batches(1) for row in batch] == [row, empty]
    assert len(files_of(ws)) == 2


def test_rows_hold_hashes_and_files_the_bytes(stored: hb.HeavenBase) -> None:
    assert stored.folder is not None

    with closing(sqlite3.connect(stored.folder / "main.db")) as file:
        (table,) = file.execute("select sql from sqlite_master where name = 'e_doc'").fetchone()
        rows = file.execute('select "object_id", "scan", "thumb" from e_doc').fetchall()

    assert '"scan" text, "cover" text, "thumb" blob' in table
    assert rows == [("a", "59ad1b2fc74287ded1bba7af67765d23ad4a49f1ae51902cc2ed3f8ebee96cfa", None), ("b", None, None)]
    assert path_of(stored, b"scan").read_bytes() == b"scan"
    assert stored.core().stored(Doc).placement["scan"].to_dict() == {
        "backend": "main",
        "strategy": "external",
        "indexes": [],
    }


def test_nulls_are_asked_for_and_counted_without_a_file(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": "a", "scan": b"1"}, {"object_id": "b", "scan": b""}, {"object_id": "c"}])
    for one in files_of(ws):
        one.unlink()

    assert ws.query(Doc).where(Doc.scan.is_null(True)).select("title").execute().ids == ["c"]
    assert ws.count(Doc, {"scan": {"$is_null": False}}) == 2
    assert ws.query(Doc).aggregate(n=Doc.scan.count()).execute().scalar() == 2
    assert ws.query(Doc).select("title").order_by("object_id").execute().ids == ["a", "b", "c"]
    assert ws.exists("a")
    assert ws.exists("a", Doc)
    assert ws.ids(Doc) == ["a", "b", "c"]
    assert ws.delete("a")


def test_tables_of_other_libraries_hold_the_bytes(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": "a", "scan": b"\0\xff"}, {"object_id": "b"}])
    frame = ws.query(Doc).select("scan").order_by("object_id").execute()

    assert frame.to_arrow().column("scan").to_pylist() == [b"\0\xff", None]
    assert frame.to_pandas()["scan"].tolist() == [b"\0\xff", None]
    assert frame.to_polars()["scan"].to_list() == [b"\0\xff", None]
    assert "2 bytes" in repr(frame)


def test_a_row_equal_to_the_stored_one_keeps_its_version(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "title": "t", "scan": b"1"})
    before = ws.version("a")

    ws.upsert(Doc, {"object_id": "a", "title": "t", "scan": bytearray(b"1")})
    assert ws.version("a") == before
    ws.upsert(Doc, {"object_id": "a", "title": "t", "scan": b"2"})
    assert ws.version("a") != before
    assert ws.get("a", Doc)["scan"] == b"2"  # type: ignore[index]  # it is there


def test_equal_bytes_lie_there_once(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"scan": b"same", "cover": b"same"} for _ in range(20)])

    assert [one.read_bytes() for one in files_of(ws)] == [b"same"]
    rows = ws.query(Doc).execute().rows()
    assert {(row["scan"], row["cover"]) for row in rows} == {(b"same", b"same")}


def test_computes_read_the_bytes_and_may_make_some(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Measured, [{"object_id": "a", "data": b"abc"}, {"object_id": "b"}])
    rows = ws.get_many(["a", "b"], Measured)
    assert [(row["size"], row["copy"]) for row in rows if row] == [(3, b"ABC"), (4, b"NONE")]

    ws.set("a", {"title": "t"})
    assert ws.get("a", Measured) == {
        "object_id": "a",
        "name": None,
        "title": "t",
        "data": b"abc",
        "size": 3,
        "copy": b"ABC",
    }
    ws.set("a", {"data": b"longer"})
    assert [(row["size"], row["copy"]) for row in ws.get_many(["a"], Measured) if row] == [(6, b"LONGER")]
    with pytest.raises(InvalidValue, match=r"measured\.data, row 0: None is no value; the field is required"):
        ws.set("a", {"data": None})


def test_setting_another_field_neither_reads_nor_writes_the_file(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "scan": b"1", "cover": b"2"})
    path_of(ws, b"1").unlink()

    ws.set("a", {"title": "t", "cover": b"3"})

    assert not path_of(ws, b"1").exists()
    assert ws.query(Doc).select("title", "cover").execute().rows() == [{"object_id": "a", "title": "t", "cover": b"3"}]
    ws.set("a", {"scan": b"1"})  # which is how a lost file is given again
    assert ws.get("a", Doc) == {
        "object_id": "a",
        "name": None,
        "title": "t",
        "scan": b"1",
        "cover": b"3",
        "thumb": None,
    }
    with pytest.raises(NotFound, match="no row has the id 'b' in 'doc'"):
        ws.set("b", {"title": "t"}, Doc)
    ws.set("a", {"scan": None})
    assert ws.query(Doc).where(Doc.scan.is_null(True)).execute().ids == ["a"]


def test_a_type_of_ones_own_that_refuses_some_bytes_may_lie_in_files(open_workspace: Open, registered: None) -> None:
    class Picture(hb.Artifact):
        identifier = "picture"

        def check(self, value: Any) -> bytes:
            from heaven_core.types import Refused

            if not super().check(value).startswith(b"PNG"):
                raise Refused("is no picture")
            return value

        def check_column(self, column: Any) -> Any:
            return [None if value is None else self.check(value) for value in column]

    class Album(hb.Entity):
        title = hb.field(hb.ShortText)
        picture = hb.field(Picture).store(strategy=hb.ExternalRef)

    hb.ext.register_logical_type(Picture)
    ws = open_workspace("sqlite")
    ws.register(Album)
    ws.upsert(Album, {"object_id": "a", "picture": b"PNG1"})

    ws.set("a", {"title": "t"})

    assert ws.get("a") == {"object_id": "a", "name": None, "title": "t", "picture": b"PNG1"}
    with pytest.raises(InvalidValue, match="is no picture"):
        ws.set("a", {"picture": b"GIF"})


def test_a_transaction_reads_its_own_files_and_undoes_its_rows(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "scan": b"old"})

    def change(tx: Any) -> None:
        tx.upsert(Doc, {"object_id": "a", "scan": b"new"})
        tx.set("a", {"title": "t"})
        assert tx.get("a", Doc)["scan"] == b"new"
        assert tx.query(Doc).execute().column("scan") == [b"new"]

    undone(ws, change)

    assert ws.get("a", Doc)["scan"] == b"old"  # type: ignore[index]  # it is there
    with ws.transaction(exclusive=True) as tx:
        tx.upsert(Doc, {"object_id": "a", "scan": b"new"})
    assert ws.query(Doc).execute().column("scan") == [b"new"]


def test_a_refused_batch_writes_no_row(ws: hb.HeavenBase) -> None:
    with pytest.raises(InvalidValue, match=r"doc\.scan, row 1: 'text' is a str; takes bytes"):
        ws.upsert_many(Doc, [{"scan": b"1"}, {"scan": "text"}])

    assert ws.count(Doc) == 0
    assert files_of(ws) == []


def test_vetoes_see_the_bytes_and_a_refused_write_leaves_no_file(ws: hb.HeavenBase, registered: None) -> None:
    seen: list[Any] = []

    class Watch:
        @hookimpl
        def heaven_before_write(self, write: Write) -> None:
            if write.columns is not None:
                seen.append(write.columns["scan"])
                if b"bad" in write.columns["scan"]:
                    raise ValueError("bad")

    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("watch"), plugin=Watch()))
    ws.enable_extension("watch")
    ws.upsert(Doc, {"object_id": "a", "scan": b"1"})
    ws.set("a", {"title": "t"})
    with pytest.raises(ValueError, match="bad"):
        ws.upsert(Doc, {"scan": b"bad"})

    assert seen == [(b"1",), (b"1",), (b"bad",)]
    assert files_of(ws) == [path_of(ws, b"1")]


def test_a_derived_entity_reads_the_bytes_of_others(ws: hb.HeavenBase) -> None:
    def sizes(view: Any, hints: Any) -> Iterator[dict[str, Any]]:
        for row in view.query("doc").execute():
            yield {"object_id": row["object_id"], "size": len(row["scan"] or b""), "again": row["scan"]}

    class Sizes(hb.Entity):
        __derived__ = sizes
        size = hb.field(hb.Integer)
        again = hb.field(hb.Artifact).store(strategy=hb.ExternalRef)

    ws.register(Sizes)
    ws.upsert_many(Doc, [{"object_id": "a", "scan": b"123"}, {"object_id": "b"}])

    assert ws.query(Sizes).where(Sizes.size >= 1).execute().rows() == [
        {"object_id": "a", "name": None, "size": 3, "again": b"123"}
    ]
    assert ws.check().ok


def test_ranked_rows_have_their_bytes_and_read_no_others(ws: hb.HeavenBase) -> None:
    class Page(hb.Entity):
        place = hb.field(hb.Vector[2])
        text = hb.field(hb.LongText)
        scan = hb.field(hb.Artifact).store(strategy=hb.ExternalRef)

    ws.register(Page)
    rows = [("a", [1.0, 0.0], "ice"), ("b", [0.0, 1.0], "snow ice")]
    ws.upsert_many(
        Page, [{"object_id": one, "place": place, "text": text, "scan": one.encode()} for one, place, text in rows]
    )

    near = ws.query(Page).near("place", [0.0, 1.0], top_k=2)
    search = ws.query(Page).search("snow", fields=["text"])
    assert near.execute().column("scan") == [b"b", b"a"]
    assert near.search("snow", fields=["text"]).select("scan").limit(1).execute().column("scan") == [b"b"]
    assert search.execute().column("scan") == [b"b"]
    for one in files_of(ws):
        one.unlink()
    assert near.select("text").execute().ids == ["b", "a"]
    assert search.select("text").execute().ids == ["b"]


def test_the_cap_counts_the_bytes_of_the_files_as_if_they_were_inline(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": str(number), "scan": b"x" * 1000, "thumb": b"x" * 1000} for number in range(3)])

    for name in ("scan", "thumb"):
        query = ws.query(Doc).select(name)
        most = 3 * (1000 + 2 * 16 + 1)
        assert len(query.limits(max_bytes=most).execute()) == 3
        with pytest.raises(ResultTooLarge, match=f"the result passes {most - 1} bytes"):
            query.limits(max_bytes=most - 1).execute()
    for one in files_of(ws):
        one.unlink()
    with pytest.raises(StorageError, match="its file is missing"):  # nothing to count, and nothing to give
        ws.query(Doc).select("scan").limits(max_bytes=10_000).execute()


def test_explain_says_which_columns_are_read_from_files(ws: hb.HeavenBase, engine: str) -> None:
    ws.upsert(Doc, {"scan": b"1"})
    question = ws.query(Doc).where(Doc.scan.is_null(False)).select("title", "scan")

    plan = question.explain()

    assert plan.steps[0] | {"strategy": "external", "mode": "native"} == plan.steps[0]
    assert plan.steps[-1]["files"] == ["scan"]
    assert plan.to_dict()["placement"]["scan"]["strategy"] == "external"
    assert f"native main ({engine})  files ['scan']; estimate 1" in str(plan)
    assert "files" not in question.select("title").explain().steps[-1]


def test_the_index_of_capabilities_has_files_for_bytes_and_nothing_else(ws: hb.HeavenBase, engine: str) -> None:
    for index in (hb.capabilities, ws.capabilities):
        assert index.strategies(hb.Artifact) == ("inline", "external")
        assert index.logical_types(strategy=hb.ExternalRef) == ("artifact",)
    assert ws.capabilities.ops(hb.Artifact, hb.ExternalRef) == ("is_null", "count")
    assert hb.capabilities.supports(hb.Artifact, "is_null", engine, hb.ExternalRef)

    class Essay(hb.Entity):
        text = hb.field(hb.LongText).store(strategy=hb.ExternalRef)

    with pytest.raises(hb.errors.PlacementError, match="has no 'external' for LongText; it has: inline"):
        ws.register(Essay)


def test_a_profile_may_send_bytes_into_files(ws: hb.HeavenBase, registered: None) -> None:
    class Plain(hb.Entity):
        data = hb.field(hb.Artifact)

    hb.ext.register_storage_profile(
        "files",
        lambda field, backends: hb.ext.StoreChoice(strategy="external") if field.dtype.kind == "bytes" else None,
    )
    ws.register(Plain)
    ws.upsert(Plain, {"object_id": "a", "data": b"1"})

    assert path_of(ws, b"1").exists()
    assert ws.get("a") == {"object_id": "a", "name": None, "data": b"1"}


def test_a_field_that_is_added_may_lie_in_files(ws: hb.HeavenBase) -> None:
    class Before(hb.Entity):
        identifier = "note"
        title = hb.field(hb.ShortText)

    class After(hb.Entity):
        identifier = "note"
        title = hb.field(hb.ShortText)
        scan = hb.field(hb.Artifact).store(strategy=hb.ExternalRef)

    ws.register(Before)
    ws.upsert(Before, {"object_id": "a", "title": "t"})

    ws.register(After)

    assert ws.get("a", After) == {"object_id": "a", "name": None, "title": "t", "scan": None}
    ws.set("a", {"scan": b"1"})
    assert ws.query(After).execute().column("scan") == [b"1"]


# -- where the files lie ---------------------------------------------------------------------------------------------


def test_without_a_folder_the_bytes_stay_in_memory_and_explain_says_so(open_workspace: Open) -> None:
    ws = open_workspace("inmem")
    ws.register(Doc)

    ws.upsert(Doc, {"object_id": "a", "scan": b"1"})

    assert ws.folder is None
    assert ws.get("a", Doc)["scan"] == b"1"  # type: ignore[index]  # it is there
    assert ws.query(Doc).explain().to_dict()["placement"]["scan"]["strategy"] == "inline"
    assert ws.check().ok


def test_a_workspace_in_memory_takes_its_files_with_it(open_workspace: Open, tmp_path: Path) -> None:
    ws = open_workspace("inmem", path=tmp_path / "ws")
    ws.register(Doc)
    ws.upsert(Doc, {"scan": b"1"})
    assert len(files_of(ws)) == 1

    ws.close()

    assert list((tmp_path / "ws").iterdir()) == []


def test_beside_a_database_with_a_place_of_its_own_files_lie_beside_it(tmp_path: Path) -> None:
    """Or two workspaces with one folder would collect each other's files."""
    opened = [
        hb.HeavenBase(
            name, backends={"main": {"type": "sqlite", "database": tmp_path / f"{name}.db"}}, path=tmp_path / "both"
        )
        for name in ("one", "two")
    ]
    for ws in opened:
        ws.register(Doc)
        ws.upsert(Doc, {"object_id": "a", "scan": ws.id.encode()})

    for name in ("one", "two"):
        (found,) = tmp_path.glob(f"{name}.db.d/external/*/*")
        assert found.read_bytes() == name.encode()
        os.utime(found, (1, 1))
    for ws in opened:
        assert ws.repair().ok
        assert ws.get("a", Doc)["scan"] == ws.id.encode()  # type: ignore[index]  # it is there
        ws.drop()
    assert list(tmp_path.glob("*.d*")) == []


def test_another_process_reads_what_lies_in_files(stored: hb.HeavenBase, elsewhere: Callable[..., Any]) -> None:
    found = elsewhere(
        "import json, heavenbase as hb\n"
        f"ws = hb.HeavenBase('demo', path={str(stored.folder)!r})\n"
        "print(json.dumps([ws.get('a')['scan'].decode(), ws.check().ok]))"
    )

    assert found == ["scan", True]


def test_dropping_a_workspace_removes_its_files(ws: hb.HeavenBase, tmp_path: Path) -> None:
    ws.upsert(Doc, {"scan": b"1"})

    ws.drop()

    assert not (tmp_path / "ws").exists()


def test_dropping_a_workspace_whose_entities_nobody_has_used_removes_its_files(stored: hb.HeavenBase) -> None:
    folder = stored.folder
    assert folder is not None
    stored.close()

    hb.HeavenBase("demo", path=folder).drop()

    assert not folder.exists()


# -- lost files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", ["missing", "damaged"])
def test_a_lost_file_is_an_error_that_names_the_row_and_no_path(ws: hb.HeavenBase, problem: str) -> None:
    ws.upsert_many(Doc, [{"object_id": "a", "scan": b"1"}, {"object_id": "b", "scan": b"2"}])
    if problem == "missing":
        path_of(ws, b"2").unlink()
    else:
        path_of(ws, b"2").write_bytes(b"3")

    for read in (
        lambda: ws.get("b"),
        lambda: ws.get_many(["a", "b"], Doc),
        lambda: ws.query(Doc).execute(),
        lambda: ws.query(Doc).select("scan").execute(),
    ):
        with pytest.raises(StorageError) as caught:
            read()
        assert str(caught.value) == (
            f"doc.scan, row 'b': its file is {problem}; "
            "restore the workspace's folder of files from a backup, or write the value again"
        )
        error: Any = caught.value
        assert (error.entity, error.field, error.object_id) == ("doc", "scan", "b")
    assert ws.get("a") is not None
    ws.upsert(Doc, {"object_id": "b", "scan": b"2"})
    assert ws.get("b", Doc)["scan"] == b"2"  # type: ignore[index]  # it is there
    assert ws.check().ok


def test_lost_files_are_found_with_their_rows_and_nothing_is_invented(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": f"r{number:02}", "scan": b"1"} for number in range(12)])
    ws.upsert_many(Doc, [{"object_id": "x", "scan": b"2", "cover": b"3"}, {"object_id": "y", "cover": b"4"}])
    path_of(ws, b"1").unlink()
    path_of(ws, b"3").write_bytes(b"?")

    found = ws.check()

    assert [(one.entity, one.kind, one.detail, one.repairable) for one in found.findings] == [
        ("doc", "damaged-file", "cover of 1 rows: x", False),
        ("doc", "missing-file", f"scan of 12 rows: {', '.join(f'r{n:02}' for n in range(10))}, ...", False),
    ]
    assert not found.ok
    repaired = ws.repair()
    assert (repaired.ok, repaired.repaired, repaired.findings) == (False, (), found.findings)
    assert json.loads(json.dumps(found.to_dict()))["ok"] is False


def test_a_lost_file_that_a_compute_needs_stops_a_change(ws: hb.HeavenBase) -> None:
    ws.upsert(Measured, {"object_id": "a", "data": b"1", "title": "old"})
    path_of(ws, b"1").unlink()

    with pytest.raises(StorageError, match=r"measured\.data, row 'a': its file is missing"):
        ws.set("a", {"title": "new"})

    assert ws.query(Measured).select("title").execute().column("title") == ["old"]
    ws.set("a", {"data": b"22", "title": "new"})
    assert ws.get_many(["a"], Measured)[0] == {
        "object_id": "a",
        "name": None,
        "title": "new",
        "data": b"22",
        "size": 2,
        "copy": b"22",
    }


def test_a_disk_that_is_full_refuses_the_row_and_names_the_field(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.upsert(Doc, {"object_id": "a", "scan": b"old"})

    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageFull, match=r"doc\.scan: no space is left for the workspace's files") as caught:
            ws.upsert_many(Doc, [{"object_id": "b"}, {"object_id": "a", "scan": b"new"}])

    error: Any = caught.value
    assert (error.entity, error.field) == ("doc", "scan")
    assert ws.query(Doc).execute().column("scan") == [b"old"]
    assert files_of(ws) == [path_of(ws, b"old")]


def test_a_folder_of_files_that_was_replaced_by_a_link_is_refused(stored: hb.HeavenBase, tmp_path: Path) -> None:
    folder = folder_of(stored)
    stored.close()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    with hb.HeavenBase("demo", path=folder.parent) as ws:
        for use, where in (
            (lambda: ws.get("a", "doc"), r"doc\.scan, row 'a': "),
            (lambda: ws.upsert("doc", {"scan": b"1"}), r"doc\.scan: "),
            (ws.check, ""),
        ):
            with pytest.raises(StorageError, match=f"^{where}the workspace's folder 'external' is a link") as caught:
                use()
            assert str(tmp_path) not in str(caught.value)
        ws.drop()
    assert (tmp_path / "elsewhere/59").exists()


def test_the_engine_before_which_files_lie_is_asked_for_the_rest(ws: hb.HeavenBase, engine: str) -> None:
    ws.upsert(Doc, {"object_id": "a", "scan": b"1"})
    core = ws.core()
    stored = core.stored(Doc)
    backend = stored.backend

    assert (backend.name, backend.type, backend.capabilities) == ("main", engine, core.primary.capabilities)
    assert backend.recover([stored.layout], repair=False) == []
    with core.writing() as tx:
        backend.ddl(Change(stored.layout, None), tx)
        assert [one.kind for one in core.primary.recover([stored.layout], repair=False)] in ([], ["missing-table"])
    assert [one.kind for one in backend.recover([stored.layout], repair=False)] == ["missing-table"]
    backend.close()
    with pytest.raises(WorkspaceClosed):
        ws.upsert(Doc, {"object_id": "a", "scan": b"2"})


def test_a_hash_that_somebody_wrote_into_a_row_leads_nowhere(stored: hb.HeavenBase, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with closing(sqlite3.connect(stored.folder / "main.db")) as file:  # type: ignore[operator]  # it has a folder
        file.execute("update e_doc set scan = '../../../secret' where object_id = 'a'")
        file.commit()

    with pytest.raises(StorageError, match=r"doc\.scan, row 'a': its file is damaged"):
        stored.get("a", Doc)
    assert [(one.kind, one.detail) for one in stored.check().findings] == [("damaged-file", "scan of 1 rows: a")]


# -- files that no row names -----------------------------------------------------------------------------------------


def test_files_that_no_row_names_are_found_and_collected_once_they_are_old(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": one, "scan": one.encode(), "cover": b"shared"} for one in "abc"])
    ws.upsert(Measured, {"data": b"c"})
    ws.delete_many(["a", "c"])
    ws.set("b", {"scan": b"new"})
    undone(ws, lambda tx: tx.upsert(Doc, {"scan": b"undone"}))

    assert ws.check().ok  # they are young: a write that is going on may have put them
    assert ws.repair().ok
    assert len(files_of(ws)) == 7
    age(ws)
    (finding,) = ws.check().findings
    report = ws.repair()

    expected = (None, "orphaned-file", "3 that no row names, 8 bytes", True)
    assert (finding.entity, finding.kind, finding.detail, finding.repairable) == expected
    assert (report.ok, report.repaired) == (True, (finding,))
    assert files_of(ws) == sorted(path_of(ws, one) for one in (b"new", b"shared", b"c", b"C"))
    assert ws.get("b", Doc)["cover"] == b"shared"  # type: ignore[index]  # it is there


def test_what_a_killed_process_left_unfinished_is_collected(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"scan": b"1"})
    unfinished = path_of(ws, b"1").with_suffix(".0123456789abcdef.tmp")
    unfinished.write_bytes(b"half")
    (path_of(ws, b"1").parent / "notes.txt").write_bytes(b"somebody's")

    assert ws.check().ok
    age(ws)
    assert [one.detail for one in ws.check().findings] == ["1 that no row names, 4 bytes"]
    assert ws.repair().ok
    assert not unfinished.exists()
    assert sorted(one.name for one in files_of(ws)) == sorted([path_of(ws, b"1").name, "notes.txt"])


def test_a_file_that_is_used_again_is_not_collected(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "scan": b"1"})
    ws.delete("a")
    age(ws)

    ws.upsert(Doc, {"object_id": "b", "scan": b"1"})

    assert ws.repair().ok
    assert ws.get("b", Doc)["scan"] == b"1"  # type: ignore[index]  # it is there


def test_nothing_is_collected_while_a_row_cannot_be_read(stored: hb.HeavenBase) -> None:
    """It may name any of the files."""
    stored.delete("a")
    age(stored)
    assert stored.folder is not None
    with closing(sqlite3.connect(stored.folder / "main.db")) as file:
        file.execute("alter table e_measured rename to aside")
        file.commit()

    report = stored.repair()

    assert [one.kind for one in report.findings] == ["missing-table"]
    assert len(files_of(stored)) == 2
    with closing(sqlite3.connect(stored.folder / "main.db")) as file:
        file.execute("alter table aside rename to e_measured")
        file.commit()
    assert [one.kind for one in stored.repair().repaired] == ["orphaned-file"]
    assert files_of(stored) == []


def test_nothing_is_collected_while_an_entity_cannot_be_used(open_workspace: Open) -> None:
    class Scan(hb.Artifact):
        identifier = "scan"

    class Sheet(hb.Entity):
        scan = hb.field(Scan).store(strategy=hb.ExternalRef)

    with hb.ext.register_logical_type(Scan), open_workspace("sqlite") as first:
        first.register(Sheet)
        first.upsert(Sheet, {"object_id": "a", "scan": b"1"})
        age(first)
    ws = open_workspace("sqlite")

    assert [one.kind for one in ws.repair().findings] == ["unusable-entity"]
    assert len(files_of(ws)) == 1
    with hb.ext.register_logical_type(Scan):
        assert ws.repair().ok
        assert ws.get("a", "sheet")["scan"] == b"1"  # type: ignore[index]  # it is there


def test_many_files_are_collected_in_parts(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "CHUNK", 2)
    ws.upsert_many(Doc, [{"object_id": str(number), "scan": str(number).encode()} for number in range(7)])
    ws.delete_many([str(number) for number in range(1, 7)])
    age(ws)

    assert ws.repair().ok
    assert files_of(ws) == [path_of(ws, b"0")]


def test_a_write_that_waits_for_the_lock_makes_collected_files_anew(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "scan": b"other"})
    written = threading.Event()

    def write() -> None:
        ws.upsert(Doc, {"object_id": "b", "scan": b"waiting"})
        written.set()

    writer = threading.Thread(target=write)
    with ws.transaction(exclusive=True):
        writer.start()
        ends = time.monotonic() + 30
        while not path_of(ws, b"waiting").exists() and time.monotonic() < ends:
            time.sleep(0.001)
        path_of(ws, b"waiting").unlink()  # as the collector does, which holds the lock too
        assert not written.is_set()
    writer.join()

    assert ws.get("b", Doc)["scan"] == b"waiting"  # type: ignore[index]  # it is there


def test_writers_readers_and_the_collector_at_once_lose_nothing(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the pause that keeps it from young files: no committed row depends on that."""
    monkeypatch.setattr(external, "GRACE_S", 0.0)
    ends = time.monotonic() + 4
    failures: list[BaseException] = []
    counts: dict[str, int] = dict.fromkeys(("write", "read", "collect"), 0)

    def repeatedly(name: str, call: Callable[[int], object]) -> None:
        while time.monotonic() < ends and not failures:
            try:
                call(counts[name])
            except BaseException as error:
                failures.append(error)
            counts[name] += 1

    def write(number: int) -> None:
        with ws.transaction() as tx:
            tx.upsert_many(Doc, [{"object_id": f"{one}", "scan": b"%d" % ((number + one) % 3)} for one in range(4)])
            tx.delete(str(number % 4))

    def read(number: int) -> None:
        for row in ws.query(Doc).execute():
            assert row["scan"] in {b"0", b"1", b"2"}
        ws.get(str(number % 4), Doc)

    calls = [("write", write), ("write", write), ("read", read), ("collect", lambda number: ws.repair())]
    threads = [threading.Thread(target=repeatedly, args=one) for one in calls]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert failures == []
    assert min(counts.values()) > 3
    age(ws)
    assert ws.repair().ok
    assert {one.read_bytes() for one in files_of(ws)} == {row["scan"] for row in ws.query(Doc).execute()}
