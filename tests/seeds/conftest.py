"""What the tests of the source documents share: plugins that are installed for the length of a test."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a plugin of this group and name: a distribution on `sys.path` whose module defines PLUGIN."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    modules: list[str] = []

    def install(group: str, name: str, source: str, *, dist: str = "", version: str = "1.0") -> None:
        module, dist = f"seedplugin_{name}", dist or f"seed-{name}"
        modules.append(module)
        (folder / f"{module}.py").write_text(source)
        metadata = folder / f"{dist.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:PLUGIN\n")
        importlib.invalidate_caches()

    yield install
    for module in modules:
        sys.modules.pop(module, None)
