"""Workspaces of every engine for the tests of semantics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from pathlib import Path

OpenEngine = Callable[[str], hb.HeavenBase]


@pytest.fixture(scope="session")
def open_engine(
    tmp_path_factory: pytest.TempPathFactory, require_engine: Callable[[str], None]
) -> Iterator[OpenEngine]:
    """A function that opens a new, empty workspace whose primary is the engine; closed at the end."""
    folder: Path = tmp_path_factory.mktemp("semantics")
    numbers = itertools.count()
    with ExitStack() as stack:

        def opened(engine: str) -> hb.HeavenBase:
            require_engine(engine)
            name = f"w{next(numbers)}"
            return stack.enter_context(hb.HeavenBase(name, backends={"main": {"type": engine}}, path=folder / name))

        yield opened
