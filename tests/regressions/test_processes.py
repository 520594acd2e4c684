"""Known mistakes W46 to W52: what a program finds on the disk, in memory and on its screen that nobody asked for."""

from __future__ import annotations

import importlib.metadata
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import UnknownEntity, WorkspaceConflict
from heaven_core.workspace import workspace_exists, workspace_ids

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    n = hb.field(hb.Integer)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


IN_MEMORY = """
import heavenbase as hb
class Doc(hb.Entity):
    n = hb.field(hb.Integer)
with hb.HeavenBase("memory", preset="debug") as ws:
    ws.register(Doc)
    ws.upsert_many(Doc, [{"n": one} for one in range(10)])
    assert ws.query(Doc).where(Doc.n > 4).count() == 5
    assert ws.check().ok
hb.capabilities.backends()
"""


@pytest.mark.parametrize("script", ["import heavenbase as hb; hb.HeavenBase", IN_MEMORY], ids=["import", "in memory"])
def test_w46_nothing_is_written_that_was_not_asked_for(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, script: str
) -> None:
    done = run("-c", script)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob("*")] == ["home"]


def test_w47_one_name_is_one_workspace_in_a_process(where: dict[str, Any]) -> None:
    with hb.HeavenBase("one", **where) as first, hb.HeavenBase("one", **where) as second:
        first.register(Doc)
        first.upsert(Doc, {"object_id": "a", "n": 1})

        assert (second.get("a") or {})["n"] == 1
        assert second.entity("doc") is Doc
        second.set("a", {"n": 2})
        assert (first.get("a") or {})["n"] == 2
        if "path" in where:
            with pytest.raises(WorkspaceConflict, match="with other backends"):
                hb.HeavenBase("one", path=where["path"], backends={"main": "inmem"})


def test_w48_a_workspace_in_memory_is_nowhere_taken_for_one_that_lasts(tmp_path: Path) -> None:
    with hb.HeavenBase("fleeting", preset="debug") as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"n": 1})
        assert ws.folder is None
        assert workspace_ids() == []
        assert not workspace_exists("fleeting")

    assert not workspace_exists("fleeting")
    with hb.HeavenBase("fleeting", preset="debug") as again, pytest.raises(UnknownEntity):
        again.count("doc")
    with hb.HeavenBase("lasting") as ws:
        ws.register(Doc)
        assert ws.folder is not None
    assert workspace_ids() == ["lasting"]
    assert workspace_exists("lasting")


COMMANDS = [
    ["--help"],
    ["--version"],
    ["plugins"],
    ["plugins", "--check"],
    ["capabilities", "--json"],
    ["query", "shelf", "doc", "--json"],
    ["explain", "shelf", "doc"],
]


def test_w49_an_ordinary_command_says_nothing_beside_its_answer(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    made = run("-c", IN_MEMORY.replace('"memory", preset="debug"', '"shelf"'))
    assert (made.returncode, made.stderr) == (0, "")

    for command in COMMANDS:
        done = run("-m", "heavenbase.cli", *command)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout, command


def test_w50_a_whole_session_stays_small(run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    weigh = "import sys, resource; print([len(sys.modules), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])"
    empty = run("-c", weigh)

    done = run("-c", IN_MEMORY.replace('"memory", preset="debug"', '"shelf"') + weigh)

    assert done.returncode == 0, done.stderr
    modules, memory = json.loads(done.stdout)
    modules_of_none, memory_of_none = json.loads(empty.stdout)
    factor = 1024 if sys.platform == "darwin" else 1
    assert modules - modules_of_none < 250
    assert (memory - memory_of_none) / factor < 40_000
    files = [one for one in tmp_path.rglob("*") if one.is_file()]
    assert [one.name for one in files] == ["main.db"]


def test_w50_few_distributions_are_installed_with_it() -> None:
    required = importlib.metadata.requires("heaven-core") or []

    assert len([one for one in required if "extra ==" not in one]) <= 16


NAMES = {
    "ext": [
        "Extension",
        "ExtensionSpec",
        "QueryFragment",
        "register_backend_builder",
        "register_backend_class",
        "register_extension",
        "register_handler",
        "register_logical_type",
        "register_op",
        "register_strategy",
    ],
    "": ["Entity", "HeavenBase", "capabilities", "config", "field"],
}


@pytest.mark.parametrize("place", NAMES)
def test_w51_every_name_that_the_pages_use_is_there(ws: hb.HeavenBase, place: str) -> None:
    home = getattr(hb, place) if place else hb

    assert [name for name in NAMES[place] if not hasattr(home, name)] == []
    assert ws.capabilities().ops(hb.ShortText) == ws.capabilities.ops(hb.ShortText)
    assert ws.enable_extension("system").identifier == "system"


def test_w52_readers_do_not_wait_for_a_writer(ws: hb.HeavenBase) -> None:
    ws.register(Doc)
    ws.upsert_many(Doc, [{"object_id": f"d{one}", "n": one, "body": "some words"} for one in range(50)])
    found: list[Any] = []
    reads: list[Callable[[], Any]] = [
        lambda: (ws.get("d1", Doc) or {})["n"],
        lambda: ws.query(Doc).where(Doc.n < 10).count(),
        lambda: len(ws.query(Doc).search("words").execute()),
        lambda: ws.version("d1") is not None,
    ]
    with ws.transaction(exclusive=True) as tx:
        tx.upsert_many(Doc, [{"object_id": f"d{one}", "n": -1} for one in range(50)])
        threads = [threading.Thread(target=lambda read=read: found.append(read()), daemon=True) for read in reads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        before_commit = list(found)

    assert sorted(before_commit) == [1, True, 10, 50]
    assert ws.query(Doc).where(Doc.n < 10).count() == 50
