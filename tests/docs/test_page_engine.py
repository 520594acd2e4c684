"""The engine that `docs/writing-a-plugin.md` builds passes the conformance kit, as the page says.

In a process of its own, since a backend that code registers is there for every test of a process. Everyday runs take
a part of the kit: `tests/core/testing/twins.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.soak]


@pytest.mark.timeout(0)
def test_the_engine_of_the_page_passes_the_kit() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/docs/page_engine.py"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout[-5000:]
    assert " passed" in ran.stdout
