"""Paths as text, `heaven_core.paths`: as `pathlib` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.paths import absolute, resolved

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
