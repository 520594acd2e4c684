"""Whether a workspace exists, without making one: `heaven_core.workspace.workspace_exists` and `workspace_ids`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import heavenbase as hb
from heaven_core import config
from heaven_core.errors import InvalidName
from heaven_core.workspace import workspace_exists, workspace_ids

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def test_a_workspace_exists_once_it_was_opened_and_until_it_is_dropped() -> None:
    before = workspace_exists("demo")
    workspace = hb.HeavenBase("demo")
    open_, ids = workspace_exists("demo"), workspace_ids()
    workspace.drop()

    assert (before, open_, ids) == (False, True, ["demo"])
    assert (workspace_exists("demo"), workspace_ids()) == (False, [])


def test_a_workspace_with_a_path_exists_there_only(tmp_path: Path) -> None:
    with hb.HeavenBase("demo", path=tmp_path / "one"):
        pass

    assert workspace_exists("demo", tmp_path / "one")
    assert not workspace_exists("demo", tmp_path / "two")
    assert not workspace_exists("demo")
    assert workspace_ids() == []


def test_looking_creates_nothing(tmp_path: Path) -> None:
    found = workspace_exists("demo"), workspace_exists("demo", tmp_path / "deep" / "er"), workspace_ids()

    assert found == (False, False, [])
    assert (list(tmp_path.iterdir()), list(config.home().iterdir())) == ([], [])


@pytest.mark.parametrize("content", ["a file", "an empty database"])
def test_what_is_no_workspace_is_none(content: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if content == "a file":
        place.write_text("")
    else:
        place.mkdir()
        (place / "main.db").touch()

    assert not workspace_exists("demo", place)


def test_a_place_that_cannot_be_looked_at_is_left_to_whoever_opens_it(tmp_path: Path) -> None:
    assert workspace_exists("demo", tmp_path / ("long" * 100))


def test_an_id_that_no_workspace_can_have_is_refused() -> None:
    with pytest.raises(InvalidName):
        workspace_exists("../demo")
