"""The folder of an open workspace is moved, deleted or replaced: writes are refused, and nothing is made in its place.

What was opened can be read on through connections that are open: its rows are the right ones. Whatever needs the
file where it was gets a typed error.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import HeavenError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

ROWS = [f"d{one}" for one in range(10)]


class Doc(hb.Entity):
    n = hb.field(hb.Integer).index()
    tags = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ws"


@pytest.fixture
def ws(folder: Path) -> Iterator[hb.HeavenBase]:
    """A workspace with a connection for this thread and one that waits for the next write."""
    with hb.HeavenBase("place", path=folder) as opened:
        opened.register(Doc)
        opened.upsert_many(Doc, [{"object_id": one, "n": 1, "tags": [one], "body": "ice"} for one in ROWS])
        opened.count(Doc)
        opened.set("d0", {"n": 1})
        yield opened


def moved(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def deleted(folder: Path) -> None:
    shutil.rmtree(folder)


def emptied(folder: Path) -> None:
    for one in folder.iterdir():
        one.unlink()


def without_database(folder: Path) -> None:
    (folder / "main.db").unlink()


def replaced(folder: Path) -> None:
    """Another database of the same workspace lies there, as after somebody put back a copy."""
    folder.rename(folder.with_name("away"))
    with hb.HeavenBase("place", path=folder.with_name("copy")) as copy:
        copy.register(Doc)
        copy.upsert(Doc, {"object_id": "theirs"})
    folder.with_name("copy").rename(folder)


HOW = [moved, deleted, emptied, without_database, replaced]


def in_thread(use: Callable[[], Any]) -> Any:
    """What `use` gives in a thread that has no connection yet."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(use())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    return found[0]


def transacted(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        tx.set("d1", {"n": 2}, Doc)


WRITES: dict[str, Callable[[hb.HeavenBase], Any]] = {
    "upsert": lambda ws: ws.upsert(Doc, {"object_id": "new", "n": 2}),
    "set": lambda ws: ws.set("d1", {"n": 2}, Doc),
    "delete": lambda ws: ws.delete("d1", Doc),
    "transaction": transacted,
    "exclusive": lambda ws: ws.transaction(exclusive=True).__enter__(),
    "register": lambda ws: ws.register(hb.Entity.from_schema({"id": "late", "fields": []})),
}


@pytest.mark.parametrize("lose", HOW)
def test_every_write_is_refused_with_what_has_happened(
    ws: hb.HeavenBase, folder: Path, lose: Callable[[Path], None]
) -> None:
    lose(folder)
    there = sorted(folder.rglob("*"))

    for write in WRITES.values():
        for error in (in_thread(lambda write=write: write(ws)), _error(lambda write=write: write(ws))):
            assert isinstance(error, StorageError)
            assert "was moved, deleted or replaced while the workspace was open" in str(error)
            assert str(folder) not in str(error)

    assert sorted(folder.rglob("*")) == there, "something was made where the folder was"


@pytest.mark.parametrize("lose", HOW)
def test_reads_see_the_rows_that_were_opened_or_say_that_they_cannot(
    ws: hb.HeavenBase, folder: Path, lose: Callable[[Path], None]
) -> None:
    lose(folder)
    reads: list[Callable[[], Any]] = [
        lambda: sorted(ws.query(Doc).execute().ids),
        lambda: sorted(ws.query(Doc).where(Doc.body.match("ice")).execute().ids),
        lambda: [one for one in ROWS if ws.get(one, Doc)],
        lambda: [one for one in ROWS if ws.get(one)],
        lambda: sorted(row["target_id"] for row in ws.query("sys-catalog").execute().rows()),
    ]

    for read in reads:
        for found in (_outcome(read), in_thread(lambda read=read: _outcome(read))):
            assert found == ROWS or isinstance(found, StorageError), found


@pytest.mark.parametrize("lose", HOW)
def test_a_workspace_without_its_file_is_not_healthy_and_closes(
    ws: hb.HeavenBase, folder: Path, lose: Callable[[Path], None]
) -> None:
    assert ws.health().ok
    lose(folder)
    there = sorted(folder.rglob("main.db"))

    health = ws.health()

    assert not health.ok
    assert "was moved, deleted or replaced" in health.backends["main"]["error"]
    assert isinstance(_error(ws.check), StorageError)
    ws.close()
    assert sorted(folder.rglob("main.db")) == there


def test_a_transaction_whose_folder_is_lost_before_its_end_is_not_committed(ws: hb.HeavenBase, folder: Path) -> None:
    def lose_within() -> None:
        with ws.transaction() as tx:
            tx.upsert(Doc, {"object_id": "inside"})
            moved(folder)

    assert isinstance(_error(lose_within), StorageError)
    ws.close()

    with hb.HeavenBase("place", path=folder.with_name("away")) as away:
        assert away.ids(Doc) == ROWS
        assert away.check().ok


def test_a_folder_that_comes_back_is_worked_with_again(ws: hb.HeavenBase, folder: Path) -> None:
    moved(folder)
    assert isinstance(_error(lambda: ws.upsert(Doc, {"object_id": "lost"})), StorageError)

    folder.with_name("away").rename(folder)

    assert ws.upsert(Doc, {"object_id": "kept"}) == "kept"
    assert in_thread(lambda: ws.ids(Doc)) == [*ROWS, "kept"]
    assert ws.health().ok
    assert ws.check().ok


def test_a_moved_workspace_has_everything_where_it_is_now(ws: hb.HeavenBase, folder: Path) -> None:
    versions = ws.versions(Doc, ROWS)
    moved(folder)

    with hb.HeavenBase("place", path=folder.with_name("away")) as away:
        assert away.ids(Doc) == ROWS
        assert away.versions(Doc, ROWS) == versions
        assert away.upsert(Doc, {"object_id": "new"}) == "new"
        assert away.check().ok


def test_dropping_never_removes_what_somebody_else_put_there(ws: hb.HeavenBase, folder: Path) -> None:
    replaced(folder)

    assert isinstance(_error(ws.drop), StorageError)

    with hb.HeavenBase("place", path=folder) as theirs:
        assert theirs.ids(Doc) == ["theirs"]


def test_dropping_a_workspace_whose_folder_is_gone_is_done(ws: hb.HeavenBase, folder: Path) -> None:
    deleted(folder)

    ws.drop()

    assert not folder.exists()


@pytest.mark.parametrize("name", ["100%", "50%25", "what?", "a#b", "?mode=memory", "ä ö", "file:x"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    for _ in range(2):
        with hb.HeavenBase("named", path=tmp_path / name) as ws:
            ws.register(Doc)
            ws.upsert(Doc, {"object_id": "a", "n": 1})
            assert in_thread(lambda ws=ws: ws.ids(Doc)) == ["a"]

    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "main.db").is_file()


def _error(use: Callable[[], Any]) -> Exception:
    with pytest.raises(HeavenError) as raised:
        use()
    return raised.value


def _outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except HeavenError as error:
        return error
