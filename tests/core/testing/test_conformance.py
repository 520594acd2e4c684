"""The conformance kit finds what it should: engines that break one promise each fail exactly the checks of it.

The engines are in `twins.py`. They are tested in other processes, since their tests fail on purpose; what has
nothing to do with the promise is left out (fields of most types, an engine that could be primary as one beside).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from heaven_core.testing import StorageConformance
from tests.core.testing.twins import CHOSEN, EVERY

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[3]
LEFT_OUT = (
    "beside",
    *("Array", "Artifact", "Boolean", "Categorical", "Duration", "Identifier", "LongText", "MediumText"),
    *("Float", "Json", "Timestamp"),
)


RANDOM = [name for name, breaks in EVERY.items() if any("random" in one for one in breaks)]
OTHERS = [name for name in EVERY if name not in RANDOM]
GROUPS = [OTHERS[start : start + 5] for start in range(0, len(OTHERS), 5)]
"""Twins that share a process, which takes longer to start than to test one."""


def failed(names: list[str], folder: Path) -> dict[str, set[str]]:
    """The checks that each of the twins fails."""
    told = folder / "told.xml"
    chosen = f"not ({' or '.join(LEFT_OUT)}){'' if names is RANDOM else ' and not random'}"
    command = [sys.executable, "-m", "pytest", str(Path(__file__).with_name("twins.py")), "-q", "-k", chosen]
    command += [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:cov",
        "-p",
        "no:xdist",
        "--assert=plain",
        "--tb=no",
        f"--junitxml={told}",
    ]
    environment = {**os.environ, CHOSEN: " ".join(names), "CI": "true"}  # the same examples at each run
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, set[str]] = {name: set() for name in names}
    for case in ElementTree.parse(told).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            found[case.attrib["classname"].rpartition(".")[2]].add(case.attrib["name"].partition("[")[0])
    return found


@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_an_engine_fails_exactly_the_checks_of_the_promise_that_it_breaks(names: list[str], tmp_path: Path) -> None:
    assert failed(names, tmp_path) == {name: set(EVERY[name]) for name in names}


def test_what_nobody_thought_of_is_found_by_random_worlds(tmp_path: Path) -> None:
    found = failed(RANDOM, tmp_path)

    assert {name: checks & EVERY[name] for name, checks in found.items()} == {name: EVERY[name] for name in RANDOM}
    assert all("random" in check for checks in found.values() for check in checks)


def test_a_twin_breaks_what_the_kit_checks() -> None:
    checks = {name for name in dir(StorageConformance) if name.startswith("test_")}

    assert set().union(*EVERY.values()) <= checks
