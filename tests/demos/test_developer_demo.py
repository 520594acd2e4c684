"""The demo of extending from code, run as its readers run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).resolve().parents[2] / "demos" / "developer" / "03_write_an_extension.py"
SOUPS = "Leek SOUP, Onion soup"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ran(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", str(SCRIPT)],
        cwd=home,
        env={**os.environ, "HOME": str(home), "HEAVENBASE_HOME": str(home / "data")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def parts(ran: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The lines below each heading."""
    return [[line.strip() for line in part.splitlines()[1:]] for part in ran.stdout.split("\n\n")]


def test_it_runs_in_memory_and_leaves_nothing_behind(ran: subprocess.CompletedProcess[str], home: Path) -> None:
    assert (ran.returncode, ran.stderr) == (0, "")
    assert list(home.iterdir()) == []


def test_the_entity_extension_brings_its_entity(parts: list[list[str]]) -> None:
    assert parts[0] == [
        "Cookbook is enabled beside System",
        "4 recipes are stored; the fields that MetaSchema describes:",
        "recipe.object_id, recipe.name, recipe.title, recipe.minutes",
    ]


def test_an_operation_is_unknown_then_scanned_for_then_served_by_the_handler(parts: list[list[str]]) -> None:
    unknown, scanned, served = parts[1]

    assert unknown.startswith("refused: there is no operation 'ends_with_any_case'")
    assert scanned == f"{SOUPS}  (no handler: scanned in Python)"
    assert served == f"{SOUPS}  (the handler of 'demo')"


def test_everything_is_taken_back_at_the_end_but_the_rows(parts: list[list[str]]) -> None:
    refused, kept, unknown = parts[2]

    assert refused == parts[1][0]
    assert kept == "the workspace keeps what it has: 4 recipes"
    assert unknown.startswith("another one is told: there is no extension 'cookbook'")
