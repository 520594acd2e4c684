"""The README is true: its programs run as they are, and its tables name what there is.

Not here: its two commands (`tests/test_packaging.py`); its links, and that its blocks print what it shows
(`tests/docs/test_code_blocks.py`).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.plugin import Extension, StoragePlugin, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = {"heavenbase.storage": ("PLUGIN", StoragePlugin), "heavenbase.extension": ("EXTENSION", Extension)}


def part(heading: str) -> str:
    """The text below a heading, up to the next."""
    return README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def table(heading: str) -> Iterator[list[str]]:
    """The rows of the table below a heading, as cells."""
    lines = [line for line in part(heading).splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def in_code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def packages(folder: str) -> list[str]:
    return sorted(path.parent.name for path in (ROOT / folder).glob("*/__init__.py"))


def declared(program: str) -> dict[str, Any]:
    """What a program of the README leaves in its module."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(program, "README.md", "exec"), names)
    return names


@pytest.mark.parametrize("program", PYTHON, ids=lambda text: text.strip().splitlines()[-1][:30])
def test_each_program_runs_as_it_is_and_leaves_nothing_behind(program: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_introduction_has_five_lines() -> None:
    introduction = README.partition("# HeavenBase\n\n")[2].partition("\n\n")[0]

    assert len(introduction.splitlines()) == 5


def test_the_first_program_comes_after_the_two_commands() -> None:
    languages = re.findall(r"^```(\w+)$", README, flags=re.MULTILINE)

    assert languages[:3] == ["sh", "sh", "python"]
    assert "hb.HeavenBase(" in PYTHON[0]


def test_the_table_of_plugins_names_each_package_with_its_types() -> None:
    rows = list(table("Storage plugins"))

    named = [in_code(row[0]) for row in rows]
    types = [in_code(row[1]) for row in rows]
    plugins = [resolve(f"{package}:PLUGIN") for (package,) in named]

    assert named == [[package] for package in packages("plugins")]
    assert types == [[plugin.name, *plugin.aliases] for plugin in plugins if isinstance(plugin, StoragePlugin)]


def test_the_table_of_plugins_says_how_each_engine_is_installed() -> None:
    rows = list(table("Storage plugins"))

    plugins = [resolve(f"{in_code(row[0])[0]}:PLUGIN") for row in rows]

    for row, plugin in zip(rows, plugins, strict=True):
        assert isinstance(plugin, StoragePlugin)
        assert row[-1].replace("`", "") == (plugin.install_hint() or "included")


def test_the_table_of_extensions_names_each_package_with_its_identifier() -> None:
    rows = list(table("Extensions"))

    named = [in_code(row[0]) for row in rows]
    identifiers = [in_code(row[1]) for row in rows]
    extensions = [resolve(f"{package}:EXTENSION") for (package,) in named]

    assert named == [[package] for package in packages("extensions")]
    assert identifiers == [[one.identifier] for one in extensions if isinstance(one, Extension)]


def test_the_tables_name_the_entities_that_an_extension_brings() -> None:
    for row in table("Extensions"):
        extension = resolve(f"{in_code(row[0])[0]}:EXTENSION")
        assert isinstance(extension, Extension)

        entities = {entity.__name__ for entity in extension.spec.entities}

        assert entities <= set(in_code(row[2]))


def test_the_entry_points_shown_name_what_the_programs_declare() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    shown = tomllib.loads(text)["project"]["entry-points"]
    made = {key: value for program in PYTHON[1:] for key, value in declared(program).items()}

    assert set(shown) == set(GROUPS) == set(PROJECT["project"]["entry-points"])
    for group, (attribute, kind) in GROUPS.items():
        ((name, target),) = shown[group].items()
        declaration = made[attribute]
        assert isinstance(declaration, kind)
        assert target.partition(":")[2] == attribute
        assert name == (declaration.name if isinstance(declaration, StoragePlugin) else declaration.identifier)


def test_the_plugin_shown_has_the_shape_of_its_entry_point() -> None:
    plugin = next(value for program in PYTHON[1:] if (value := declared(program).get("PLUGIN")))
    (target,) = re.findall(r'^shelf = "(\w+):PLUGIN"$', README, flags=re.MULTILINE)

    assert isinstance(plugin, StoragePlugin)
    assert plugin.backend.startswith(f"{target}.") if isinstance(plugin.backend, str) else False
    assert (plugin.handlers or "").startswith(f"{target}.")
    assert plugin.primary


def test_the_extension_shown_can_be_enabled() -> None:
    extension = next(value for program in PYTHON[1:] if (value := declared(program).get("EXTENSION")))

    with hb.ext.register_extension(extension), hb.HeavenBase("readme", preset="debug") as ws:
        ws.enable_extension(extension.identifier)
        ws.upsert("loan", {"book": "Emma"})

        assert ws.count("loan") == 1


def test_it_says_which_package_it_is_not() -> None:
    words = " ".join(part("What it is not").split())

    assert "independent implementation of the public HeavenBase documents" in words
    assert "not the package named `heavenbase` on PyPI" in words
    assert "can't share an environment" in words
