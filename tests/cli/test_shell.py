"""`hb shell`: lines that are piped in, a prompt on a real terminal, and a workspace that is closed at the end."""

from __future__ import annotations

import builtins
import os
import pty
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import heavenbase as hb
from heaven_core import config
from heavenbase.cli.shell import namespace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration


# piped in


def test_lines_are_run_and_values_printed(run: Callable[..., Ran], library: str) -> None:
    lines = """
ws.count(Book)
total = 0
for row in ws.query("book").execute():
    total += row["year"] or 0
print(total)

def later():
    return hb.__version__ and None
later()
ws.query(Book).where(Book.year > 1900).select("title").execute()
"""

    ran = run("shell", library, stdin=lines)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[:3] == ["3", "3811", "object_id  title"]
    assert ran.out.splitlines()[-1] == "1 row"


def test_what_is_written_is_there(run: Callable[..., Ran], library: str) -> None:
    run("shell", library, stdin="ws.set('b3', {'year': 2000})\n")

    with hb.HeavenBase(library) as workspace:
        row = workspace.get("b3", "book")
    assert row is not None
    assert row["year"] == 2000


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("print(1)\n1/0\nprint(2)\n", "ZeroDivisionError: division by zero"),
        ("print(1)\nws.query('bok')\nprint(2)", "did you mean 'book'?"),
        ("print(1)\nraise KeyError('x')\nprint(2)", "KeyError: 'x'"),
    ],
)
def test_the_first_error_ends_it_with_1(lines: str, told: str, run: Callable[..., Ran], library: str) -> None:
    ran = run("shell", library, stdin=lines)

    assert (ran.code, ran.out) == (1, "1\n")
    assert told in ran.err
    assert 'File "<hb shell>", line 2' in ran.err
    assert lines.splitlines()[1] in ran.err
    assert "heavenbase/cli" not in ran.err


def test_what_is_no_python_runs_nothing(run: Callable[..., Ran], library: str) -> None:
    ran = run("shell", library, stdin="print(1)\nif\n")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("SyntaxError: invalid syntax\n")
    assert "heavenbase/cli" not in ran.err


@pytest.mark.parametrize(
    ("lines", "code", "err"),
    [("", 0, ""), ("exit()", 0, ""), ("exit(7)", 7, ""), ("import sys; sys.exit('enough')", 1, "enough\n")],
)
def test_the_exit_code_is_that_of_the_lines(
    lines: str, code: int, err: str, run: Callable[..., Ran], library: str
) -> None:
    ran = run("shell", library, stdin=lines)

    assert (ran.code, ran.out, ran.err) == (code, "", err)


def test_the_workspace_is_closed_at_the_end(invoke: Callable[..., Result], library: str) -> None:
    lines = "import builtins\nbuiltins.kept = ws\nbuiltins.was = repr(ws)\n1/0\n"

    result = invoke("shell", library, input=lines)

    kept, was = builtins.__dict__.pop("kept"), builtins.__dict__.pop("was")
    assert result.exit_code == 1
    assert (was, repr(kept)) == ("<HeavenBase 'library': main=sqlite>", "<HeavenBase 'library', closed>")


def test_a_pipe_that_nobody_reads_is_no_error(library: str) -> None:
    script = f"echo 'for i in range(100000): print(i)' | {sys.executable} -m heavenbase.cli shell library | true; echo ${{PIPESTATUS[1]}}"  # noqa: E501

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout == "0\n"
    assert done.stderr == ""


def test_letters_that_the_encoding_lacks_are_escapes(run: Callable[..., Ran], library: str) -> None:
    ran = run("shell", library, stdin="ws.get('b3', 'book')['title']", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    assert (ran.code, ran.out) == (0, "'Garden of the sea: \\u65e5\\u672c'\n")


# in scope


def test_classes_have_their_names_unless_those_are_taken_or_keywords() -> None:
    with hb.HeavenBase("odd", preset="debug") as workspace:
        for identifier in ("a-b", "a_b", "none", "book"):
            workspace.register(hb.Entity.from_schema({"id": identifier, "fields": []}))

        names = namespace(workspace)

    assert {name for name, value in names.items() if isinstance(value, type)} > {"AB", "Book"}
    assert names["AB"].identifier == "a-b"
    assert "None" not in names
    assert names["ws"] is workspace
    assert names["hb"] is hb


# refused


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["libary"], "did you mean 'library'?"),
        (["library", "--backends", "-"], "give --backends as JSON or @file"),
        (["library", "book"], "unexpected extra argument"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], part: str, invoke: Callable[..., Result], library: str) -> None:
    result = invoke("shell", *arguments)

    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert part in line
    assert [one.name for one in (config.home() / "workspaces").iterdir()] == [library]


def test_a_closed_stdin_is_one_line(library: str) -> None:
    script = f"{sys.executable} -m heavenbase.cli shell library <&-"

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hb: hb shell reads stdin, which is closed.")


# a prompt


class Prompt:
    """`hb shell` on a terminal of its own, typed at."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self._shown = ""
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "heavenbase.cli", "shell", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={**os.environ, "TERM": "dumb", "PYTHON_BASIC_REPL": "1", **environment},
        )
        os.close(theirs)

    def until(self, sign: str) -> str:
        """What is shown up to `sign`, from where the last call left off."""
        while sign not in self._shown:
            self._shown += os.read(self._ours, 65536).decode()
        shown, sign, self._shown = self._shown.partition(sign)
        return shown + sign

    def type(self, line: str) -> None:
        os.write(self._ours, line.encode())

    def leave(self) -> int:
        """The exit code after an end of file, typed at a prompt: between two of them the terminal would keep it."""
        self.until(">>> ")
        self.type("\x04")
        return self.end()

    def end(self) -> int:
        try:
            return self._process.wait(timeout=60)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._ours)


def test_a_prompt_answers_and_is_left(library: str, tmp_path: Path) -> None:
    prompt = Prompt(tmp_path, library, "--plain")

    banner = prompt.until(">>> ")
    prompt.type("ws.query(Book).where(Book.year == 1870).select('title').execute()\n")
    answer = prompt.until("1 row")
    prompt.type("1/0\n")
    prompt.until("ZeroDivisionError")
    prompt.type("ws.cou\t")
    prompt.until("ws.count(")
    prompt.type("'book') + 39\n")
    prompt.until("42")
    prompt.type("exit(4)\n")

    assert "In scope: ws (library), hb, Book" in banner
    assert "The Wild Garden" in answer
    assert prompt.end() == 4


def test_a_prompt_remembers_its_lines_for_their_owner_only(library: str, tmp_path: Path) -> None:
    pytest.importorskip("readline")
    prompt = Prompt(tmp_path, library, "--plain")
    prompt.until(">>> ")
    prompt.type("40 + 2\n")
    prompt.until("42")
    assert prompt.leave() == 0

    again = Prompt(tmp_path, library, "--plain")
    again.until(">>> ")
    again.type("\x1b[A")
    again.until("40 + 2")
    again.type("\n")

    assert again.leave() == 0
    history = config.home() / "shell-history"
    assert "40 + 2" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


# Stands for IPython, to see how it is started; the real one is tried where it is installed.
STARTED = """
def start_ipython(argv, user_ns):
    print("STARTED", argv, sorted(user_ns), user_ns["ws"].count("book"))
"""


def test_ipython_is_the_prompt_where_it_is_installed(library: str, tmp_path: Path, site: Site) -> None:
    (site.folder / "IPython.py").write_text(STARTED)

    prompt = Prompt(tmp_path, library, PYTHONPATH=str(site.folder))
    shown = prompt.until("STARTED ['--no-banner']") + prompt.until(" 3\r\n")

    assert prompt.end() == 0
    assert "'Book', " in shown
    assert "'hb', 'ws'] 3" in shown


def test_python_s_own_prompt_is_there_all_the_same(library: str, tmp_path: Path, site: Site) -> None:
    (site.folder / "IPython.py").write_text(STARTED)

    prompt = Prompt(tmp_path, library, "--plain", PYTHONPATH=str(site.folder))
    shown = prompt.until(">>> ")
    prompt.type("\x04")

    assert "STARTED" not in shown
    assert prompt.end() == 0


def test_a_real_ipython_answers(library: str, tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    prompt = Prompt(tmp_path, library, IPYTHONDIR=str(tmp_path / "ipython"))
    prompt.until("In [1]")
    prompt.type("ws.count('book') + 39\n")
    prompt.until("42")
    prompt.type("exit\n")

    assert prompt.end() == 0
