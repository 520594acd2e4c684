"""The conformance kit finds what it should: engines that break one promise each fail exactly the checks of it.

The engines are in `twins.py`. Each is tested in a process of its own, since its tests fail on purpose; what has
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
    "Timestamp",
)


def failed(name: str, folder: Path) -> set[str]:
    """The checks that a twin fails."""
    told = folder / "told.xml"
    twins = Path(__file__).with_name("twins.py")
    random = "" if any("random" in one for one in EVERY[name]) else " and not random"
    chosen = f"not ({' or '.join(LEFT_OUT)}){random}"
    command = [sys.executable, "-m", "pytest", f"{twins}::{name}", "-q", "-k", chosen, f"--junitxml={told}"]
    command += ["-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist", "-o", "junit_family=xunit2"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, CHOSEN: name}
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return {
        case.attrib["name"].partition("[")[0]
        for case in ElementTree.parse(told).getroot().iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    }


@pytest.mark.parametrize("name", EVERY)
def test_an_engine_fails_exactly_the_checks_of_the_promise_that_it_breaks(name: str, tmp_path: Path) -> None:
    assert failed(name, tmp_path) == EVERY[name]


def test_a_twin_breaks_what_the_kit_checks() -> None:
    checks = {name for name in dir(StorageConformance) if name.startswith("test_")}

    assert set().union(*EVERY.values()) <= checks
