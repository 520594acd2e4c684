"""The known mistakes W1 to W52, and that each has a test here.

They were seen in other systems for the same purpose; a test is named after its mistake, `test_w05_...`, and asks
for the right behaviour on every engine. Where they are:

- W1-W12, wrong answers and silently changed values: `test_wrong_answers.py`
- W32-W36, what is data being run or shown: `test_safety.py`
- W37-W45, errors that do not help: `test_clear_errors.py`
- W46-W52, files, memory, output and threads: `test_processes.py`

`LATER` has those about what does not exist yet, each with what it waits for.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

LAST = 52
LATER: dict[int, str] = {
    13: "a deleted capsule is not loaded: waits for capsules",
    **dict.fromkeys(range(14, 27), "what a capsule captures, checks and says: waits for capsules"),
    **dict.fromkeys(range(27, 32), "a crash between two engines: waits for a second engine beside the primary"),
    35: "restoring a capsule never runs it: waits for capsules",
}


def numbers_here() -> set[int]:
    """The numbers that tests of this folder are named after."""
    texts = [one.read_text() for one in sorted(Path(__file__).parent.glob("test_*.py"))]
    return {int(number) for text in texts for number in re.findall(r"^def test_w(\d\d)_", text, re.MULTILINE)}


def test_every_number_has_a_test_or_waits_for_something() -> None:
    assert numbers_here() | set(LATER) == set(range(1, LAST + 1))


def test_nothing_waits_that_is_tested() -> None:
    assert numbers_here() & set(LATER) == set()
