"""Workspaces of every engine for the tests of semantics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.testing.worlds import backend_name

if TYPE_CHECKING:
    from pathlib import Path

OpenEngine = Callable[[str], hb.HeavenBase]


@pytest.fixture(scope="session")
def open_engine(
    tmp_path_factory: pytest.TempPathFactory,
    require_engine: Callable[[str], None],
    engine_options: Callable[[str], dict[str, Any]],
) -> Iterator[OpenEngine]:
    """A function that opens a new, empty workspace on an engine, or on several joined by "+", the primary first."""
    folder: Path = tmp_path_factory.mktemp("semantics")
    numbers = itertools.count()
    with ExitStack() as stack:

        def opened(engine: str) -> hb.HeavenBase:
            kinds = engine.split("+")
            for kind in kinds:
                require_engine(kind)
            name = f"w{next(numbers)}"
            backends = {backend_name(place): engine_options(kind) for place, kind in enumerate(kinds)}
            return stack.enter_context(hb.HeavenBase(name, backends=backends, path=folder / name))

        yield opened
