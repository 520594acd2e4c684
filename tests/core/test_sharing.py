"""One core per workspace and process, `heaven_core.sharing`; and how backends may be written."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import ConfigError, InvalidName, StorageError, UnknownPlugin, WorkspaceClosed, WorkspaceConflict
from heaven_core.sharing import normalised

if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[..., hb.HeavenBase]

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)


# -- backends as they are written ------------------------------------------------------------------------------------


def test_backends_are_brought_into_one_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    made = normalised(
        {
            "main": "memory",
            "a": {"type": "sqlite3"},
            "b": {"type": "sqlite", "path": "b.db"},
            "c": {"type": "sqlite", "database": Path("~") / "c.db"},
        }
    )

    assert made == {
        "main": {"type": "inmem"},
        "a": {"type": "sqlite"},
        "b": {"type": "sqlite", "database": str(tmp_path / "b.db")},
        "c": {"type": "sqlite", "database": str(Path.home() / "c.db")},
    }


def test_what_was_given_is_not_changed() -> None:
    given = {"main": {"type": "sqlite3", "path": "x.db"}}

    normalised(given)

    assert given == {"main": {"type": "sqlite3", "path": "x.db"}}


@pytest.mark.parametrize(
    ("backends", "kind", "message"),
    [
        ([("main", "sqlite")], ConfigError, "backends is a mapping such as .*, not a list"),
        ({"main": 5}, ConfigError, "backend 'main' is written"),
        ({"main": {"path": "x"}}, ConfigError, "backend 'main' is written"),
        ({"main": {"type": 5}}, ConfigError, "backend 'main' is written"),
        ({"Main": "sqlite"}, InvalidName, "backend name 'Main'"),
        ({5: "sqlite"}, InvalidName, "backend name 5"),
        ({"main": "sqlit"}, UnknownPlugin, "sqlit"),
        ({"main": {"type": "sqlite", "path": "a", "database": "b"}}, ConfigError, "both 'path' and 'database'"),
        ({"main": {"type": "sqlite", "path": None}}, ConfigError, "backend 'main': 'database' is"),
        ({"main": {"type": "sqlite", "path": ":memory:"}}, ConfigError, "a database in memory is type 'inmem'"),
    ],
    ids=str,
)
def test_backends_that_cannot_be_used_are_named(backends: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        normalised(backends)


# -- handles ---------------------------------------------------------------------------------------------------------


def test_handles_of_one_workspace_share_what_they_see(engine: str, open_workspace: Open) -> None:
    first, second = open_workspace(engine), open_workspace(engine)
    first.register(Doc)

    one = second.upsert(Doc, {"title": "x"})

    assert first.exists(one)
    assert first.core() is second.core()


def test_closing_one_leaves_the_others(engine: str, open_workspace: Open) -> None:
    first, second = open_workspace(engine), open_workspace(engine)
    first.register(Doc)

    first.close()
    first.close()

    assert second.count(Doc) == 0
    with pytest.raises(WorkspaceClosed, match=r"workspace 'demo' was closed; open it again with HeavenBase\('demo'\)"):
        first.count(Doc)
    with pytest.raises(WorkspaceClosed), first:
        pass


def test_a_handle_that_nobody_holds_is_closed(open_workspace: Open) -> None:
    kept = open_workspace("inmem")

    hb.HeavenBase("demo", preset="debug")
    gc.collect()

    assert kept.core().handles == 1


def test_data_in_memory_dies_with_the_last_handle(open_workspace: Open) -> None:
    first = open_workspace("inmem")
    first.register(Doc)
    first.close()

    second = open_workspace("inmem")

    assert "doc" not in [one.schema.id for one in second.core().entity_records()]


def test_another_configuration_is_a_conflict(open_workspace: Open, tmp_path: Path) -> None:
    open_workspace("sqlite")

    with pytest.raises(WorkspaceConflict, match="workspace 'demo' is open in this process with other backends"):
        hb.HeavenBase(
            "demo", backends={"main": {"type": "sqlite"}, "more": {"type": "inmem"}}, path=tmp_path / "workspace-demo"
        )


def test_another_id_or_another_place_is_another_workspace(open_workspace: Open, tmp_path: Path) -> None:
    first = open_workspace("sqlite")
    first.register(Doc)
    first.upsert(Doc, {"title": "x"})

    elsewhere = open_workspace("sqlite", path=tmp_path / "elsewhere")
    other = open_workspace("sqlite", id="other")

    for one in (elsewhere, other):
        one.register(Doc)
        assert one.count(Doc) == 0


def test_one_place_is_one_workspace_however_it_is_written(
    open_workspace: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    first = open_workspace("sqlite", path=tmp_path / "real")

    relative = open_workspace("sqlite", path="real")
    linked = open_workspace("sqlite", path=tmp_path / "link")

    assert first.core() is relative.core() is linked.core()


def test_one_database_under_two_spellings_is_one_workspace(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    def opened(text: str) -> hb.HeavenBase:
        return hb.HeavenBase("one", backends={"main": {"type": "sqlite", "database": f"{tmp_path}/{text}"}})

    with opened("real/x.db") as first, opened("real/../real/x.db") as second, opened("link/x.db") as third:
        assert first.core() is second.core() is third.core()


def test_one_folder_with_another_engine_is_a_conflict(tmp_path: Path) -> None:
    with hb.HeavenBase("one", path=tmp_path), pytest.raises(WorkspaceConflict, match="with other backends"):
        hb.HeavenBase("one", path=tmp_path, preset="debug")


def test_a_workspace_of_engines_that_keep_nothing_has_no_folder(registered: None) -> None:
    from heaven_inmem.engine import MemoryBackend

    hb.ext.register_backend_class(MemoryBackend, "toy", persistent=False)

    with hb.HeavenBase("fleeting", backends={"main": {"type": "toy"}}) as ws:
        assert ws.folder is None


def test_dropping_needs_the_only_handle(engine: str, open_workspace: Open) -> None:
    first, second = open_workspace(engine), open_workspace(engine)

    with pytest.raises(
        WorkspaceConflict, match=r"workspace 'demo' has other open handles in this process \(1\); close"
    ):
        first.drop()
    second.close()
    first.drop()

    with pytest.raises(WorkspaceClosed):
        first.ids(Doc)
    with pytest.raises(WorkspaceClosed):
        first.drop()


def test_dropping_removes_everything_and_nothing_else(open_workspace: Open, tmp_path: Path) -> None:
    folder = tmp_path / "workspace-demo"
    ws = open_workspace("sqlite")
    ws.register(Doc)
    ws.upsert(Doc, {"title": "x"})
    (folder / "mine.txt").write_text("kept")

    ws.drop()

    assert [one.name for one in folder.iterdir()] == ["mine.txt"]
    again = open_workspace("sqlite")
    assert "doc" not in [one.schema.id for one in again.core().entity_records()]
    (folder / "mine.txt").unlink()
    again.drop()
    assert not folder.exists()


def test_opening_from_many_threads_gives_one_core(open_workspace: Open, tmp_path: Path) -> None:
    opened: list[hb.HeavenBase] = []

    def work() -> None:
        opened.append(hb.HeavenBase("demo", path=tmp_path / "shared"))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id(one.core()) for one in opened}) == 1
    assert opened[0].core().handles == 6
    for one in opened:
        one.close()


def test_a_handle_from_another_process_refuses_every_use(open_workspace: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    ws = open_workspace("inmem")
    ws.register(Doc)

    with monkeypatch.context() as child:
        child.setattr(ws.core(), "forked", True)
        for use in (lambda: ws.count(Doc), lambda: ws.upsert(Doc, {}), ws.check, ws.drop):
            with pytest.raises(WorkspaceClosed, match="was opened before this process was forked; open it again"):
                use()

    assert ws.count(Doc) == 0


def test_a_link_that_leads_to_itself_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(StorageError, match="backend 'main': "):
        hb.HeavenBase("demo", path=tmp_path / "loop")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_handle_inherited_across_a_fork_refuses_to_work(elsewhere: Callable[..., Any]) -> None:
    found = elsewhere(
        """
import os, json, heavenbase as hb
from heaven_core.errors import WorkspaceClosed
class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
ws = hb.HeavenBase("demo"); ws.register(Doc); ws.upsert(Doc, {"title": "x"})
read, write = os.pipe()
if os.fork() == 0:
    try:
        ws.count(Doc); said = "worked"
    except WorkspaceClosed as error:
        said = str(error)
    ws.close()
    with hb.HeavenBase("demo") as own:
        said = [said, own.count(Doc)]
    os.write(write, json.dumps(said).encode()); os._exit(0)
os.wait(); os.close(write)
print(json.dumps([json.loads(os.read(read, 10000)), ws.count(Doc)]))
"""
    )

    (said, own), parent = found
    assert "was opened before this process was forked; open it again in the new process" in said
    assert (own, parent) == (1, 1)
