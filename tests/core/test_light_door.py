"""Light at the door: what may be imported, and how much CPU time that may cost, at three points.

A bare import, a class with ten fields, a workspace that is made and reopened. The sets and
numbers of modules are exact; CPU time is a gate with slack, beside a program of about the same
length that runs in turns with it, since the machine may be busy or slow. The strict figures come
from `python -m tests.benchmarks --only door`.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks import door

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

POINTS = list(door.POINTS)

ENGINES = {"adbc_driver_sqlite", "apsw", "chdb", "duckdb", "lancedb", "psycopg", "psycopg2", "sqlalchemy"}
HEAVY = {
    "asyncio",
    "cattrs",
    "click",
    "cloudpickle",
    "cryptography",
    "fastmcp",
    "importlib.metadata",
    "msgspec",
    "numpy",
    "pandas",
    "platformdirs",
    "polars",
    "pyarrow",
    "re2",
    "rich",
    "tomlkit",
    "yaml",
}
QUIET = {"_hashlib", "email", "http", "logging", "pathlib", "pluggy", "ssl", "tempfile", "unittest", "uuid", "zipfile"}
"""Nobody forbids these; opening a workspace was freed of them once, and shall stay so."""

OWN = {"import": 13, "class": 13, "workspace": 51}
"""How many modules of HeavenBase are loaded. Lower them when you can; raise them only with a reason: the last one was
the marker, which every opening looks for."""
FOREIGN = {"import": 70, "class": 70, "workspace": 80}
"""How many others, a few more than on Python 3.11: interpreters differ."""

SLACK = 1.3
REFERENCE = """
import asyncio, decimal, email.message, http.client, logging.config, sqlite3, unittest.mock, xml.etree.ElementTree
"""
REFERENCE_MS = 72.0
"""What the reference costs over an empty interpreter on the machine that the budgets were made for.

An empty interpreter alone is too short to be a measure: it slips through the gaps of a busy machine.
"""
ROUNDS, RUNS = 8, 5


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> door.Child:
    made = door.Child(tmp_path_factory.mktemp("door"))
    made.warm()
    made.run(REFERENCE)
    return made


@pytest.fixture(scope="module")
def modules(child: door.Child) -> dict[str, set[str]]:
    return {point: child.modules(point) for point in POINTS}


def _families(modules: set[str]) -> set[str]:
    """The modules, and the packages that they are in."""
    return {".".join(parts[:length]) for parts in (name.split(".") for name in modules) for length in range(1, 3)}


def _own(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("heaven")}


@pytest.mark.parametrize("point", POINTS)
def test_no_heavy_module_is_imported(modules: dict[str, set[str]], point: str) -> None:
    assert _families(modules[point]) & HEAVY == set()


@pytest.mark.parametrize("point", POINTS)
def test_no_engine_but_sqlite_is_imported(modules: dict[str, set[str]], point: str) -> None:
    engines = _families(modules[point]) & (ENGINES | {"sqlite3", "heaven_inmem", "heaven_duckdb", "heaven_lancedb"})

    assert engines == ({"sqlite3"} if point == "workspace" else set())


@pytest.mark.parametrize("point", POINTS)
def test_what_opening_was_freed_of_stays_away(modules: dict[str, set[str]], point: str) -> None:
    assert _families(modules[point]) & QUIET == set()


@pytest.mark.parametrize("point", POINTS)
def test_the_number_of_modules_does_not_grow(modules: dict[str, set[str]], point: str) -> None:
    own = _own(modules[point])

    assert len(own) <= OWN[point], sorted(own)
    assert len(modules[point] - own) <= FOREIGN[point], sorted(modules[point] - own)


def test_a_class_with_ten_fields_imports_nothing_more(modules: dict[str, set[str]]) -> None:
    assert modules["class"] == modules["import"]


@pytest.mark.parametrize("point", POINTS)
def test_the_cpu_time_up_to_this_point_is_within_the_budget(child: door.Child, point: str) -> None:
    allowed = SLACK * door.budget(point)

    assert any(cost <= allowed for cost in _costs(child, point, above=None))


def test_the_cpu_time_of_a_class_with_ten_fields_is_within_the_budget(child: door.Child) -> None:
    allowed = SLACK * door.BUDGET["class"]

    assert any(cost <= allowed for cost in _costs(child, "class", above="import"))


def _costs(child: door.Child, point: str, *, above: str | None) -> Iterator[float]:
    """CPU milliseconds of a point above another as on a machine of the usual speed, more exact with every round."""
    shares: list[float] = []
    for _ in range(ROUNDS):
        for _ in range(RUNS):
            empty, reference, there = (child.run(code)[0] for code in (door.EMPTY, REFERENCE, door.POINTS[point]))
            below = empty if above is None else child.run(door.POINTS[above])[0]
            shares.append((there - below) / (reference - empty))
        yield median(shares) * REFERENCE_MS
