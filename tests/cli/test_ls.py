"""`hb ls`: workspaces without opening them, the entities of one, and that nothing is ever created."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest

import heavenbase as hb
from heaven_core import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration


def test_workspaces_are_listed_with_size_and_time(invoke: Callable[..., Result], library: str) -> None:
    with hb.HeavenBase("archive"):
        pass

    result = invoke("ls", "--json")

    rows = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [row["workspace"] for row in rows] == ["archive", library]
    folder = config.home() / "workspaces" / library
    assert rows[1]["size_bytes"] == sum(file.stat().st_size for file in folder.iterdir()) > 0
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(rows[1]["modified"])
    assert age < dt.timedelta(minutes=5)


def test_a_pipe_gets_bytes_and_a_terminal_words(
    invoke: Callable[..., Result], screen: Callable[..., Ran], library: str
) -> None:
    header, row = invoke("ls").stdout.splitlines()
    shown = screen("ls")

    assert header == "workspace\tsize\tmodified"
    assert int(row.split("\t")[1]) > 0
    assert " kB" in shown.out


def test_a_workspace_that_is_damaged_is_listed_all_the_same(invoke: Callable[..., Result], library: str) -> None:
    (config.home() / "workspaces" / library / "main.db").write_text("no database")

    assert invoke("ls").stdout.splitlines()[1].startswith(f"{library}\t11\t")


def test_no_workspaces_are_no_error_and_no_folder_is_made(
    invoke: Callable[..., Result], screen: Callable[..., Ran], tmp_path: Path
) -> None:
    result = invoke("ls", env={"HEAVENBASE_HOME": str(tmp_path / "home")})

    assert (result.exit_code, result.stdout) == (0, "workspace\tsize\tmodified\n")
    assert json.loads(invoke("ls", "--json").stdout) == []
    assert "no workspaces in the usual place" in screen("ls").out
    assert list(tmp_path.iterdir()) == []


def test_entities_are_listed_with_rows_fields_owner_and_placement(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("ls", library, "--json")

    rows = {row["entity"]: row for row in json.loads(result.stdout)}
    assert (result.exit_code, result.stderr) == (0, "")
    assert list(rows) == ["book", "sys-catalog", "sys-metaschema"]
    assert rows["book"] == {
        "entity": "book",
        "rows": 3,
        "fields": 11,
        "owner": "",
        "derived": False,
        "placement": {"main": {"inline": 9, "inverted": 1, "json": 2}},
        "error": None,
    }
    assert (rows["sys-catalog"]["rows"], rows["sys-catalog"]["owner"]) == (None, "system")


def test_entities_are_lines_in_a_pipe(invoke: Callable[..., Result], library: str) -> None:
    lines = invoke("ls", library).stdout.splitlines()

    assert lines[:2] == [
        "entity\trows\tfields\towner\tplacement",
        "book\t3\t11\t\tmain: 9 inline, 2 json, 1 inverted",
    ]
    assert lines[2].endswith("\tsystem\tderived")


def test_an_entity_that_cannot_be_used_is_listed_with_the_reason(invoke: Callable[..., Result], library: str) -> None:
    class Email(hb.ShortText):
        identifier = "email"

    from heaven_core.testing import isolated_registries

    with isolated_registries():
        hb.ext.register_logical_type(Email)
        person = type("Person", (hb.Entity,), {"mail": hb.field(Email)})
        with hb.HeavenBase(library) as workspace:
            workspace.register(person)

    rows = {row["entity"]: row for row in json.loads(invoke("ls", library, "--json").stdout)}

    assert rows["person"]["rows"] is None
    assert "'email'" in rows["person"]["error"]
    assert rows["book"]["rows"] == 3


def test_a_workspace_elsewhere_is_found_by_path_and_backends(invoke: Callable[..., Result], tmp_path: Path) -> None:
    with hb.HeavenBase("notes", path=tmp_path / "mine"):
        pass
    database = str(tmp_path / "other.db")
    with hb.HeavenBase("more", backends={"main": {"type": "sqlite", "database": database}}):
        pass

    by_path = invoke("ls", "notes", "--path", str(tmp_path / "mine"))
    backends = json.dumps({"main": {"type": "sqlite", "database": database}})
    by_backends = invoke("ls", "more", "--backends", backends)

    assert (by_path.exit_code, by_backends.exit_code) == (0, 0)
    assert "sys-catalog" in by_path.stdout
    assert "sys-catalog" in by_backends.stdout


@pytest.mark.parametrize("command", ["ls", "schema"])
def test_a_workspace_that_is_not_there_is_refused_and_not_made(
    command: str, invoke: Callable[..., Result], library: str
) -> None:
    result = invoke(command, "libary")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'library'?" in result.stderr
    assert [one.name for one in (config.home() / "workspaces").iterdir()] == [library]


def test_where_a_workspace_is_needs_a_workspace(invoke: Callable[..., Result]) -> None:
    result = invoke("ls", "--path", "x")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "name it" in result.stderr


def test_a_thousand_entities_are_listed(invoke: Callable[..., Result]) -> None:
    classes = [type(f"E{number}", (hb.Entity,), {"n": hb.field(hb.Integer)}) for number in range(1000)]
    with hb.HeavenBase("many") as workspace:
        workspace.register(*classes)

    assert len(invoke("ls", "many").stdout.splitlines()) == 1003


def test_an_empty_file_is_no_workspace_in_the_list_nor_by_its_name(invoke: Callable[..., Result], library: str) -> None:
    folder = config.home() / "workspaces" / "bad2"
    folder.mkdir()
    (folder / "main.db").touch()

    listed, named = invoke("ls", "--json"), invoke("ls", "bad2")

    assert [row["workspace"] for row in json.loads(listed.stdout)] == [library]
    assert named.exit_code != 0
    assert "no SQLite workspace 'bad2'" in named.stderr
    assert "did you mean 'bad2'" not in named.stderr
