"""`docs/cli.md` tells the truth: its shell sessions are run on a terminal and compared with what is printed there.

Compared loosely: runs of blanks, versions, sizes, times and the last digits of scores may differ, and a line of three
dots stands for any lines.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Ran

pytestmark = pytest.mark.integration

# A sign that it takes long, which a busy machine brings about, from where the cursor is hidden to where it is erased.
_WAITING = re.compile("\x1b\\[\\?25l.*?\x1b\\[\\?25h\r\x1b\\[1A\x1b\\[2K", re.DOTALL)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


class Step(NamedTuple):
    """A command as the page has it, and what it prints there."""

    command: str
    expected: list[str]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def _steps(block: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *expected = part.rstrip("\n").split("\n")
        yield Step(command, expected)


SESSIONS = [list(_steps(block)) for block in _blocks("console")]
NAMES = [session[0].command[:40] for session in SESSIONS]


def _loosely(line: str) -> str:
    line = re.sub(r"\d+\.\d+\.\d+", "VERSION", line)
    line = re.sub(r"\d+\.\d+(e-?\d+)? ms", "TIME", line)
    line = re.sub(r"\d+\.\d kB", "SIZE", line)
    line = re.sub(r"\d{4}-\d\d-\d\dT[\d:+]+", "WHEN", line)
    line = re.sub(r"(\d\.\d{3})\d+(e-?\d+)?", r"\1\2", line)
    return re.sub(r"[\s─]+", " ", line).strip()


def _pattern(expected: list[str]) -> str:
    lines = [r"(?:[^\n]*\n)*" if line == "..." else re.escape(f"{_loosely(line)}\n") for line in expected]
    return "".join(lines)


@pytest.fixture
def shell(tmp_path: Path) -> Path:
    """A folder with what the page makes in Python, and `hb` as its only command."""
    script = tmp_path / "bin" / "hb"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m heavenbase.cli "$@"\n')
    script.chmod(0o755)
    subprocess.run([sys.executable, "-c", "\n".join(_blocks("python"))], check=True, cwd=tmp_path)
    return tmp_path


@pytest.mark.parametrize("session", SESSIONS, ids=NAMES)
def test_a_session_prints_what_the_page_says(session: list[Step], shell: Path, on_terminal: Callable[..., Ran]) -> None:
    # One shell for the whole session, because `$?` is part of one; a mark tells the outputs apart.
    script = "\n".join(f"{step.command}\nlast=$?; echo =====; (exit $last)" for step in session)

    ran = on_terminal(
        ["bash", "-c", f"PATH={shlex.quote(str(shell / 'bin'))}:$PATH\n{script}"], shell, columns=100, NO_COLOR="1"
    )

    printed = _WAITING.sub("", ran.out).split("=====\n")[:-1]
    assert len(printed) == len(session)
    for step, text in zip(session, printed, strict=True):
        lines = "".join(f"{_loosely(line)}\n" for line in text.splitlines())
        assert re.fullmatch(_pattern(step.expected), lines), f"$ {step.command}\n{text}"


def test_the_page_has_an_example_of_every_command() -> None:
    from heavenbase.cli.app import COMMANDS

    shown = {
        step.command.partition("hb ")[2].split()[0] for session in SESSIONS for step in session if "hb " in step.command
    }

    assert set(COMMANDS) <= shown
