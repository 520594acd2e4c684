"""Every command that prints: closed and broken outputs, poor encodings, narrow terminals, wide letters."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Ran

pytestmark = pytest.mark.integration

PRINTING = [
    ("ls",),
    ("ls", "wide"),
    ("schema", "wide"),
    ("schema", "wide", "--json"),
    ("schema", "wide", "--format", "mermaid"),
    ("doctor", "wide"),
    ("doctor", "--json"),
    ("query", "wide", "word", "--format", "csv"),
    ("query", "wide", "word", "--format", "jsonl"),
    ("completion", "bash"),
    ("--help",),
]
TABLES = [("ls",), ("ls", "wide"), ("schema", "wide"), ("doctor", "wide"), ("query", "wide", "word")]


@pytest.fixture(autouse=True)
def _wide() -> None:
    class Word(hb.Entity):
        text = hb.field(hb.ShortText).desc("日本語の説明 e\u0301 👩‍🚀 " * 8)

    with hb.HeavenBase("wide") as workspace:
        workspace.register(Word)
        workspace.upsert_many(Word, [{"text": "日本語" * 20}, {"text": "e\u0301" * 50}, {"text": "👩‍🚀" * 9}])


def _sh(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


def _command(arguments: tuple[str, ...]) -> str:
    return f"{sys.executable} -m heavenbase.cli {' '.join(arguments)}"


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_closed_output_and_a_reader_that_has_gone_are_no_crash(arguments: tuple[str, ...]) -> None:
    closed = _sh(f"{_command(arguments)} >&-")
    gone = _sh(f"{_command(arguments)} | true; echo ${{PIPESTATUS[0]}}")

    assert (closed.returncode, closed.stderr) == (0, "")
    assert (gone.stdout, gone.stderr) == ("0\n", "")


@pytest.mark.parametrize("arguments", PRINTING, ids=" ".join)
def test_a_poor_encoding_gets_escapes(arguments: tuple[str, ...], run: Callable[..., Ran]) -> None:
    plain = run(*arguments, LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")

    assert (plain.code, plain.err) == (0, "")
    assert plain.out.isascii()


@pytest.mark.parametrize("arguments", TABLES, ids=" ".join)
def test_tables_fit_terminals_of_any_width(arguments: tuple[str, ...], screen: Callable[..., Ran]) -> None:
    for columns in (10, 20, 41, 80, 200):
        ran = screen(*arguments, columns=columns)

        assert ran.code == 0
        assert max(map(cell_len, ran.out.splitlines())) <= columns


@pytest.mark.parametrize("arguments", TABLES, ids=" ".join)
def test_a_real_terminal_that_is_narrow_and_poor_is_no_crash(
    arguments: tuple[str, ...], run_on_terminal: Callable[..., Ran]
) -> None:
    ran = run_on_terminal(*arguments, columns=24, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PAGER="cat")

    assert ran.code == 0
    assert "Traceback" not in ran.out
