"""Long output on a terminal goes through the pager, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ran

pytestmark = pytest.mark.integration

ASKED = ("query", "numbers", "number", "--select", "n", "--order", "n")
SHORT = (*ASKED, "--limit", "30")


@pytest.fixture(autouse=True)
def _numbers() -> None:
    class Number(hb.Entity):
        n = hb.field(hb.Integer)

    with hb.HeavenBase("numbers") as workspace:
        workspace.register(Number)
        workspace.upsert_many(Number, [{"n": n} for n in range(60)])


@pytest.fixture
def marking(tmp_path: Path) -> str:
    """A pager that says that it was there."""
    script = tmp_path / "marking"
    script.write_text("#!/bin/sh\necho PAGED\ncat\n")
    script.chmod(0o755)
    return str(script)


def test_output_longer_than_the_terminal_goes_through_the_pager(
    run_on_terminal: Callable[..., Ran], marking: str
) -> None:
    ran = run_on_terminal(*ASKED, PAGER=marking, NO_COLOR="1")

    shown = ran.out.partition("PAGED\n")[2]  # before it there may be the sign that it took long
    lines = [line.rstrip() for line in shown.splitlines()]
    assert (ran.code, len(lines), lines[-1]) == (0, 63, "60 rows")
    assert "\x1b" not in shown


@pytest.mark.parametrize("arguments", [SHORT, (*ASKED, "--no-pager")])
def test_short_output_and_unwanted_pages_do_not(
    arguments: tuple[str, ...], run_on_terminal: Callable[..., Ran], marking: str
) -> None:
    ran = run_on_terminal(*arguments, PAGER=marking)

    assert ran.code == 0
    assert "rows" in ran.out
    assert "PAGED" not in ran.out


def test_lines_wider_than_the_terminal_count_as_the_lines_that_they_take(
    run_on_terminal: Callable[..., Ran], marking: str
) -> None:
    narrow = run_on_terminal(*SHORT, "--json", columns=30, PAGER=marking)
    wide = run_on_terminal(*SHORT, "--json", columns=100, PAGER=marking)

    assert "PAGED" in narrow.out
    assert "PAGED" not in wide.out


def test_a_pipe_has_no_pager(run: Callable[..., Ran], marking: str) -> None:
    ran = run(*ASKED, PAGER=marking)

    assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", 61)
    assert "PAGED" not in ran.out


def test_a_terminal_that_nobody_types_at_has_no_pager(marking: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "heavenbase.cli", *ASKED]
    environment = {**os.environ, "PAGER": marking, "TERM": "xterm"}

    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=theirs, check=False, env=environment, cwd=tmp_path)

    os.close(theirs)
    assert done.returncode == 0
    assert b"PAGED" not in os.read(ours, 65536)
    os.close(ours)


def test_a_reader_that_has_had_enough_is_no_error(run_on_terminal: Callable[..., Ran]) -> None:
    ran = run_on_terminal(*ASKED, PAGER="head -n 1", NO_COLOR="1")

    assert ran.code == 0
    assert ran.out.split()[-2:] == ["object_id", "n"]


def test_a_pager_that_is_not_there_loses_nothing(run_on_terminal: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run_on_terminal(*ASKED, PAGER=str(tmp_path / "gone"), PATH=str(tmp_path), NO_COLOR="1")

    assert ran.code == 0
    assert "60 rows" in ran.out


def test_what_goes_wrong_is_told_as_ever(run_on_terminal: Callable[..., Ran], marking: str) -> None:
    ran = run_on_terminal("query", "numbers", "nmber", PAGER=marking)

    assert ran.code == 2
    assert ran.out.endswith("hb: workspace 'numbers' has no entity 'nmber'; did you mean 'number'?\n")
    assert "PAGED" not in ran.out


@pytest.mark.skipif(not os.path.exists("/usr/bin/less"), reason="needs less")  # noqa: PTH110
def test_less_shows_the_first_page_in_colour_and_ends_with_q(tmp_path: Path) -> None:
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"PAGER", "LESS", "NO_COLOR"}}
    command = [sys.executable, "-m", "heavenbase.cli", *ASKED]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"}, cwd=tmp_path
    )
    os.close(theirs)
    shown = b""
    while b"\n:" not in shown and b"\r:" not in shown:
        shown += os.read(ours, 65536)
    os.write(ours, b"q")
    while process.poll() is None:
        try:
            shown += os.read(ours, 65536)
        except OSError:
            break

    assert process.wait() == 0
    os.close(ours)
    assert b"\x1b[1mobject_id" in shown
    assert b"60 rows" not in shown
