"""What a folder says of the primary that its workspace was made with: nobody gets an empty workspace by mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import FormatTooNew, StorageError, WorkspaceConflict
from heaven_core.workspace import workspace_exists
from heaven_sqlite.engine import SqliteBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]

OTHER: dict[str, Any] = {"main": {"type": "other"}}


@pytest.fixture(autouse=True)
def _other() -> Iterator[None]:
    """A primary of another type, as far as the kernel can tell."""
    with hb.ext.register_backend_builder("other", SqliteBackend, primary=True):
        yield


def made(path: Path | None = None, **more: Any) -> Path:
    with hb.HeavenBase("demo", path=path, **more) as ws:
        folder = ws.folder
    assert folder is not None
    return folder


def test_a_workspace_with_another_primary_is_not_opened_as_an_empty_one_of_sqlite() -> None:
    folder = made(backends=OTHER)
    before = sorted(one.name for one in folder.iterdir())

    with pytest.raises(WorkspaceConflict, match=r"made with a primary of type 'other', not 'sqlite'; pass backends="):
        hb.HeavenBase("demo")

    assert sorted(one.name for one in folder.iterdir()) == before
    made(backends=OTHER)


def test_a_workspace_of_sqlite_is_not_opened_with_another_primary(tmp_path: Path) -> None:
    made(tmp_path)

    with pytest.raises(WorkspaceConflict, match="made with a primary of type 'sqlite', not 'other'"):
        made(tmp_path, backends=OTHER)

    assert not (tmp_path / "workspace.json").exists()


def test_the_marker_has_always_the_same_bytes_and_holds_no_options(tmp_path: Path) -> None:
    made(tmp_path, backends=OTHER)

    assert (tmp_path / "workspace.json").read_bytes() == b'{"format": 1, "primary": "other"}\n'


def test_what_says_by_itself_where_it_is_needs_no_marker(tmp_path: Path) -> None:
    made(tmp_path / "usual")
    made(tmp_path / "apart", backends={"main": {"type": "other", "database": str(tmp_path / "a.db")}})
    made(tmp_path / "memory", backends={"main": "inmem"})

    assert list(tmp_path.glob("**/workspace.json")) == []


def test_a_workspace_that_could_not_be_made_leaves_no_marker(tmp_path: Path) -> None:
    with pytest.raises(hb.errors.ConfigError):
        made(tmp_path / "new", backends={"main": {"type": "other", "colour": "red"}})

    assert not (tmp_path / "new" / "workspace.json").exists()


def test_dropping_the_workspace_removes_the_marker(tmp_path: Path) -> None:
    with hb.HeavenBase("demo", path=tmp_path / "one", backends=OTHER) as ws:
        ws.drop()

    assert not (tmp_path / "one" / "workspace.json").exists()
    made(tmp_path / "one")


def test_a_workspace_in_memory_leaves_the_marker_of_another_alone(tmp_path: Path) -> None:
    made(tmp_path, backends=OTHER)

    with hb.HeavenBase("scratch", path=tmp_path, backends={"main": "inmem"}) as ws:
        ws.drop()

    assert (tmp_path / "workspace.json").exists()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", StorageError),
        ("[]", StorageError),
        ('{"format": 1}', StorageError),
        ('{"format": 1, "primary": 5}', StorageError),
        ('{"format": "x", "primary": "other"}', StorageError),
        (json.dumps({"format": 2, "primary": "other"}), FormatTooNew),
    ],
)
def test_a_marker_that_cannot_be_read_is_said_to_be_one(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / "workspace.json").write_text(text)

    with pytest.raises(error, match=r"workspace\.json in the workspace's folder") as raised:
        made(tmp_path)

    assert str(tmp_path) not in str(raised.value)
    assert not (tmp_path / "main.db").exists()


def test_a_folder_that_cannot_be_written_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError) as raised:
        made(tmp_path / "file" / "below", backends=OTHER)

    assert str(tmp_path) not in str(raised.value)


def test_a_workspace_with_a_marker_exists() -> None:
    assert not workspace_exists("demo")
    made(backends=OTHER)
    assert workspace_exists("demo")
