"""Fixtures of the kernel's tests: workspaces on either engine, registrations that are taken back, other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from heaven_core.testing import isolated_registries
from heaven_core.workspace import HeavenBase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Open = Callable[..., HeavenBase]

ENGINES = ("inmem", "sqlite")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The type of the primary; a test that takes it runs on each."""
    return request.param


@pytest.fixture
def open_workspace(tmp_path: Path) -> Iterator[Open]:
    """A function that opens a workspace on an engine, in a folder of the test; all are closed at the end."""
    opened: list[HeavenBase] = []

    def open_one(engine: str = "sqlite", id: str = "demo", **options: Any) -> HeavenBase:
        where: dict[str, Any] = {} if engine == "inmem" else {"path": tmp_path / f"workspace-{id}"}
        opened.append(HeavenBase(id, **{"backends": {"main": {"type": engine}}, **where, **options}))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def ws(engine: str, open_workspace: Open) -> HeavenBase:
    """A new workspace on each engine."""
    return open_workspace(engine)


@pytest.fixture
def registered() -> Iterator[None]:
    """Whatever the test registers in code is taken back."""
    with isolated_registries():
        yield


@pytest.fixture
def elsewhere(tmp_path: Path) -> Callable[..., Any]:
    """A function that runs Python source in another process and gives back what it prints, as JSON.

    Modules are looked for in the test's folder first; `HEAVENBASE_HOME` is this test's.
    """

    paths = [str(tmp_path), os.environ.get("PYTHONPATH")]

    def run(source: str, **environment: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run
