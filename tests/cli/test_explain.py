"""`hb explain`: the steps of a question as text, as JSON and as a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration

QUESTION = ("explain", "library", "book", "--filter", '{"year": {"$gte": 1900}}', "--order", "-year", "--limit", "2")


def test_the_steps_are_lines_in_a_pipe(run: Callable[..., Ran], library: str) -> None:
    ran = run(*QUESTION)

    lines = ran.out.splitlines()
    assert (ran.code, ran.err, lines[0]) == (0, "", "query on book")
    assert "year gte" in lines[1]
    assert "native" in lines[1]
    assert " ms" not in ran.out


def test_the_question_is_answered_only_with_analyze(invoke: Callable[..., Result], library: str) -> None:
    plain = json.loads(invoke(*QUESTION, "--json").stdout)
    analyzed = json.loads(invoke(*QUESTION, "--json", "--analyze").stdout)

    assert plain["query"] == {"filter": {"year": {"$gte": 1900}}, "order": ["-year"], "limit": 2}
    assert "rows" not in plain
    assert analyzed["rows"] == 1
    assert analyzed["seconds"] > 0
    assert analyzed["steps"][0]["backend_type"] == "sqlite"


def test_a_count_is_explained_as_it_is_counted(invoke: Callable[..., Result], library: str) -> None:
    counted = json.loads(invoke(*QUESTION, "--count", "--json", "--analyze").stdout)
    searched = json.loads(invoke("explain", library, "book", "--search", "sea", "--count", "--json").stdout)

    assert counted["query"]["filter"] == {"year": {"$gte": 1900}}
    assert counted["rows"] == 1
    assert list(counted["query"]) == ["filter", "aggregate"]
    assert "search" in searched["query"]


def test_a_terminal_shows_the_steps_as_a_table(screen: Callable[..., Ran], library: str) -> None:
    ran = screen(*QUESTION, "--analyze", columns=120)

    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert ran.code == 0
    assert lines[0].split() == ["step", "field", "op", "mode", "backend", "strategy", "notes"]
    assert lines[2].split()[:4] == ["filter", "year", "gte", "native"]
    assert "main (sqlite)" in lines[2]
    assert "order -year; limit 2" in ran.out
    assert lines[-1].startswith("1 row in ")


def test_an_unknown_workspace_is_one_line(invoke: Callable[..., Result]) -> None:
    result = invoke("explain", "library", "book")

    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
