"""Paths as text, `heaven_core.paths`: as `pathlib` reads them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.paths import absolute, resolved, user_folder

pytestmark = pytest.mark.unit


@given(st.text(st.sampled_from("ab./ "), max_size=12).filter(lambda text: not text.startswith("//")))
def test_a_path_is_absolute_as_pathlib_has_it(text: str) -> None:
    assert absolute(text) == str(Path(text).absolute())


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert absolute("~/a") == absolute(Path("~", "a")) == f"{tmp_path}/a"
    assert absolute("~") == str(tmp_path)
    assert absolute("./~") == f"{Path.cwd()}/~"


@pytest.mark.parametrize("given", [None, 1, b"a", "a\0b", "\ud800", "~nobody-has-this-name/a"])
def test_what_can_be_no_path_is_refused(given: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        absolute(given)


def test_links_are_followed_as_far_as_they_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    assert resolved(str(tmp_path / "link" / "x")) == str(tmp_path.resolve() / "there" / "x")
    assert resolved(str(tmp_path / "loop")) == str(tmp_path.resolve() / "loop")


def test_a_path_from_the_root_needs_no_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert absolute("/a/./b") == "/a/b"
    with pytest.raises(FileNotFoundError):
        absolute("a")


@pytest.mark.parametrize("home", ["/home/ann", "/home/ann/", "/", "relative", "", None])
@pytest.mark.parametrize("base", ["/x", "/x/", "relative", "", None])
def test_the_user_s_folders_are_those_of_platformdirs(
    home: str | None, base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HOME": home, "XDG_CONFIG_HOME": base, "XDG_DATA_HOME": base}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)

    assert user_folder("config") == platformdirs.user_config_dir("heavenbase", appauthor=False)
    assert user_folder("data") == platformdirs.user_data_dir("heavenbase", appauthor=False)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems ask platformdirs")
def test_the_usual_folders_cost_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # whoever imports it now fails

    assert user_folder("data") == "/home/ann/.local/share/heavenbase"
