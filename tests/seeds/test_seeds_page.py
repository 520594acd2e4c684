"""`docs/seeds.md` and the tests agree: each line stands there once, and each test that it names exists."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
COVERED = "E1-E8, E10, E13-E14, E19, E25-E74, X25-X26, X42-X47, X61-X63, X65"
EVERYTHING = "E1-E74, C1-C59, A1-A72, X1-X65"
DECIDED = "E2, E6, E10, E19, E26, E39, E56-E57, E64, E68, E70, E73, X45-X46, X65"
"""Lines where the documents disagree, with each other or with us, so that the page has to say what holds."""


class Line(NamedTuple):
    number: str
    claim: str
    tests: list[str]
    answer: str


def numbers(text: str) -> Iterator[str]:
    """Yield E1, E2, E3, E7 for `E1-E3, E7`."""
    for letter, first, last in re.findall(r"\b([A-Z])(\d+)(?:-[A-Z](\d+))?", text):
        yield from (f"{letter}{number}" for number in range(int(first), int(last or first) + 1))


@cache
def parts() -> tuple[str, str]:
    page = (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8")
    covered, _, later = page.partition("\n## Not in this version\n")
    return covered, later


def lines() -> list[Line]:
    rows = re.findall(r"^\| ([A-Z]\d+) \| (.*?) \| (.*?) \|(.*?)\|$", parts()[0], flags=re.MULTILINE)
    return [Line(number, claim, re.findall(r"`(\w+)`", shown), answer.strip()) for number, claim, shown, answer in rows]


@cache
def written() -> frozenset[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests" / "seeds").glob("test_*.py")]
    names = (node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in names if name.startswith("test_"))


def test_each_line_of_this_version_stands_on_the_page_once() -> None:
    counted = Counter(line.number for line in lines())

    assert counted == Counter(numbers(COVERED))


def test_each_line_names_a_test_and_each_test_that_is_named_exists() -> None:
    assert [line.number for line in lines() if not line.tests] == []
    assert [name for line in lines() for name in line.tests if name not in written()] == []


def test_each_test_of_a_line_is_named_at_its_line_and_at_no_other() -> None:
    at_lines = {name: line.number for line in lines() for name in line.tests}

    named = {name: match[1] for name in written() if (match := re.match(r"test_([EX]\d+)_", name))}

    assert at_lines == named


def test_a_line_that_was_decided_says_why() -> None:
    answers = {line.number: line.answer for line in lines()}

    assert [number for number in numbers(DECIDED) if not answers[number].endswith(".")] == []


def test_every_other_line_is_listed_as_not_in_this_version() -> None:
    later = Counter(numbers(parts()[1]))

    assert later == Counter(numbers(EVERYTHING)) - Counter(numbers(COVERED))
