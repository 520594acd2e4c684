"""The plugin that is tested: which it is, how it is opened, and in which arrangements workspaces use it.

Not here: what is checked (the modules beside this one).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from heaven_core.registry import registries
from heaven_core.testing.bench import Bench
from heaven_core.testing.comparing import ORACLE, Open, Pairs
from heaven_core.testing.worlds import backend_name
from heaven_core.workspace import HeavenBase

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.plugin import StoragePlugin

ALONE, BESIDE = "alone", "beside"
"""The engine is the primary and holds everything; it holds some fields beside another primary."""


class Subject:
    """What a test class says about the plugin, and what its tests get."""

    backend: ClassVar[str]
    """The registered type of the plugin."""

    options: ClassVar[Mapping[str, Any]] = {}
    """What a workspace gives to open it, beside the type."""

    @classmethod
    def plugin(cls) -> StoragePlugin:
        """The plugin's declaration."""
        return registries().backend(cls.backend)

    @classmethod
    def arrangements(cls) -> list[str]:
        """How workspaces can use the plugin."""
        return [ALONE, BESIDE] if cls.plugin().primary else [BESIDE]

    @pytest.fixture
    def backend_options(self) -> Mapping[str, Any]:
        """The options; override the fixture where each test needs a place of its own, such as a schema of a server."""
        return self.options

    @pytest.fixture(autouse=True)
    def _own_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HEAVENBASE_HOME", str(tmp_path / "home"))

    @pytest.fixture
    def bench(self, tmp_path: Path, backend_options: Mapping[str, Any]) -> Generator[Bench]:
        """The engine, open and empty."""
        bench = Bench(self.plugin(), backend_options, tmp_path / "engine")
        yield bench
        bench.opened.close()

    @pytest.fixture
    def primary(self, bench: Bench) -> Bench:
        """The engine as a primary; a test that takes it is skipped for others."""
        if not bench.plugin.primary:
            pytest.skip(f"{self.backend} is not declared as a primary")
        return bench

    @pytest.fixture
    def persistent(self, bench: Bench) -> Bench:
        """The engine as one that keeps what it has; a test that takes it is skipped for others."""
        if not bench.plugin.persistent:
            pytest.skip(f"{self.backend} is declared to keep nothing beyond the process")
        return bench

    def engines(self, arrangement: str) -> str:
        """The types of the workspace's backends, joined by "+", the primary first."""
        if arrangement == ALONE:
            return self.backend
        return f"{'sqlite' if self.plugin().persistent else ORACLE}+{self.backend}"

    @pytest.fixture
    def open_workspace(self, arrangement: str, tmp_path: Path, backend_options: Mapping[str, Any]) -> Generator[Open]:
        """A function that opens a workspace in which the engine is arranged so; always the same place."""
        with ExitStack() as stack:

            def opened() -> HeavenBase:
                return stack.enter_context(self._opened(arrangement, tmp_path / "workspace", backend_options))

            yield opened

    def _opened(self, arrangement: str, folder: Path, options: Mapping[str, Any]) -> HeavenBase:
        kinds = self.engines(arrangement).split("+")
        backends: dict[str, dict[str, Any]] = {backend_name(place): {"type": kind} for place, kind in enumerate(kinds)}
        backends[backend_name(len(kinds) - 1)] |= options
        return HeavenBase("kit", backends=backends, path=folder)

    @pytest.fixture
    def pairs(self, arrangement: str, open_workspace: Open, tmp_path: Path) -> Generator[Pairs]:
        """Workspaces of the oracle and with the engine, to be compared; sound at the end."""

        def oracle() -> HeavenBase:
            return HeavenBase("oracle", backends={"main": ORACLE}, path=tmp_path / "oracle")

        made = Pairs(oracle, open_workspace, self.engines(arrangement))
        yield made
        made.close()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test in each arrangement that the plugin can have."""
        if "arrangement" in metafunc.fixturenames:
            metafunc.parametrize("arrangement", self.arrangements())
