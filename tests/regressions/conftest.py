"""Workspaces on each engine, and other processes, for the tests of known mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ENGINES = ("inmem", "sqlite")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def where(engine: str, tmp_path: Path) -> dict[str, Any]:
    """What opens the test's workspace, again and again."""
    return {"preset": "debug"} if engine == "inmem" else {"path": tmp_path / "ws"}


@pytest.fixture
def ws(where: dict[str, Any]) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("mistakes", **where) as opened:
        yield opened
        assert opened.check().ok


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs a command on an empty home folder, with all warnings shown."""
    home = tmp_path / "home"
    home.mkdir()

    def run_one(*command: str) -> subprocess.CompletedProcess[str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HEAVENBASE_")}
        return subprocess.run(
            [sys.executable, "-W", "default", *command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**kept, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"), "PYTHONDONTWRITEBYTECODE": "1"},
        )

    return run_one
