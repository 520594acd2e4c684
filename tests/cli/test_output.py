"""What is printed where: terminals, pipes, colours, widths, progress, values that could do harm."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heavenbase.cli.output import working

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Ran, Site

pytestmark = pytest.mark.integration

ESCAPE = "\x1b"
TITLES = ("query", "library", "book", "--select", "title,year", "--order", "object_id")


def _plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_a_terminal_shows_a_table_in_colour(run_on_terminal: Callable[..., Ran], library: str) -> None:
    ran = run_on_terminal(*TITLES)

    assert ran.code == 0
    assert f"{ESCAPE}[1m" in ran.out
    assert [line.rstrip() for line in _plain(ran.out).splitlines()] == [
        "object_id  title                    year",
        "────────────────────────────────────────",
        "b1         The Wild Garden          1870",
        "b2         Sea\\n\\x1b[31mwind\\       1941",
        "b3         Garden of the sea: 日本",
        "3 rows",
    ]


def test_no_colour_is_shown_where_none_is_wanted(run_on_terminal: Callable[..., Ran], library: str) -> None:
    ran = run_on_terminal(*TITLES, NO_COLOR="1")

    assert ESCAPE not in ran.out
    assert "b1         The Wild Garden          1870" in ran.out


def test_a_pipe_gets_no_escape_even_if_colour_is_forced(run: Callable[..., Ran], library: str) -> None:
    ran = run(*TITLES, FORCE_COLOR="1", CLICOLOR_FORCE="1", TTY_COMPATIBLE="1")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "object_id\ttitle\tyear\nb1\tThe Wild Garden\t1870\nb2\tSea\\n\\x1b[31mwind\\\\\t1941\n"
        "b3\tGarden of the sea: 日本\t\n"
    )


@pytest.mark.parametrize("columns", [100, 40, 30])
def test_no_line_is_wider_than_the_terminal(columns: int, screen: Callable[..., Ran], library: str) -> None:
    ran = screen(*TITLES, columns=columns)

    assert max(map(len, ran.out.splitlines())) <= columns
    assert "1870" in ran.out


def test_a_column_is_cut_before_a_narrower_one(screen: Callable[..., Ran], library: str) -> None:
    ran = screen(*TITLES, columns=35)

    assert "b3         Garden of the sea…" in ran.out
    assert "object_id  title               year" in ran.out


def test_columns_that_do_not_fit_come_one_below_the_other(screen: Callable[..., Ran], library: str) -> None:
    ran = screen("query", library, "book", "--limit", "1", "--order", "object_id", columns=60)

    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[:3] == ["object_id  b1", "name", "title      The Wild Garden"]
    assert lines[-1] == "1 row"


def _long_texts(names: list[str]) -> type[hb.Entity]:
    return hb.Entity.from_schema({"id": "part", "fields": [{"name": name, "type": "long-text"} for name in names]})


@pytest.mark.parametrize("columns", [30, 60, 100])
def test_labels_are_whole_where_values_are_cut(columns: int, screen: Callable[..., Ran]) -> None:
    names = ["module", "text", "more", "much_more", "and_more", "the_rest"]
    entity = _long_texts(names)
    with hb.HeavenBase("parts") as workspace:
        workspace.register(entity)
        workspace.upsert("part", {"object_id": "p1", **dict.fromkeys(names, "x" * 400)})

    lines = screen("query", "parts", "part", columns=columns).out.splitlines()

    assert [line.split()[0] for line in lines[:8]] == ["object_id", "name", *names]
    assert lines[3] == f"text       {'x' * (columns - 12)}…"
    assert {len(line) for line in lines[:8]} == {columns}


def test_a_label_as_wide_as_the_terminal_leaves_room_for_the_value(screen: Callable[..., Ran]) -> None:
    entity = _long_texts(["a" * 60, "b", "c"])
    with hb.HeavenBase("parts") as workspace:
        workspace.register(entity)
        workspace.upsert("part", {"object_id": "p1", **dict.fromkeys(["a" * 60, "b", "c"], "x" * 400)})

    ran = screen("query", "parts", "part", columns=50)

    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert f"{'a' * 32}  {'x' * 15}…" in lines
    assert f"{'a' * 28}" in lines
    assert max(map(len, lines)) <= 50


def test_a_long_answer_is_cut_on_a_terminal_and_whole_in_a_pipe(
    run: Callable[..., Ran], screen: Callable[..., Ran]
) -> None:
    class Number(hb.Entity):
        n = hb.field(hb.Integer)

    with hb.HeavenBase("numbers") as workspace:
        workspace.register(Number)
        workspace.upsert_many(Number, [{"n": n} for n in range(1200)])

    shown = screen("query", "numbers", "number", "--select", "n")
    piped = run("query", "numbers", "number", "--select", "n")

    assert len(shown.out.splitlines()) == 1004
    assert "the first 1000 of 1200 rows" in shown.out
    assert len(piped.out.splitlines()) == 1201


def test_long_work_shows_progress_on_a_terminal_and_none_in_a_pipe(
    run: Callable[..., Ran], run_on_terminal: Callable[..., Ran], site: Site
) -> None:
    site.extension("slow", "import time\ntime.sleep(1.5)\n1 / 0")

    shown = run_on_terminal("plugins", PYTHONPATH=str(site.folder))
    piped = run("plugins", PYTHONPATH=str(site.folder))

    assert "loading slow" in shown.out
    assert "─" in shown.out
    assert (piped.err, "loading" in piped.out) == ("", False)


def test_a_pipe_gets_the_result_of_work_that_showed_progress(
    on_terminal: Callable[..., Ran], site: Site, tmp_path: Path
) -> None:
    site.extension("slow", "import time\ntime.sleep(1.5)\n1 / 0")

    command = f"{sys.executable} -m heavenbase.cli plugins | cat > result"
    shown = on_terminal(["bash", "-c", command], tmp_path, columns=100, PYTHONPATH=str(site.folder))

    assert "loading slow" in shown.out
    assert (tmp_path / "result").read_text().startswith("kind\tname\t")


def test_progress_says_what_is_being_done_and_is_gone_at_the_end(
    a_screen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", a_screen)

    with working("asking library") as tell:
        time.sleep(0.8)
        tell("still asking")
        time.sleep(0.3)
        print("not for the reader of the result")

    shown = a_screen.getvalue()
    assert shown.index("asking library") < shown.index("still asking") < shown.index("not for the reader")
    assert shown.endswith(f"{ESCAPE}[1A{ESCAPE}[2K")


def test_quick_work_shows_no_progress(screen: Callable[..., Ran], library: str) -> None:
    assert screen(*TITLES).err == ""


def test_an_encoding_without_the_letters_gets_escapes(run: Callable[..., Ran], library: str) -> None:
    lines = run("query", library, "book", "--select", "title", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    as_json = run("query", library, "book", "--select", "title", "--json", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    assert (lines.code, lines.err, as_json.code) == (0, "", 0)
    assert "sea: \\u65e5\\u672c" in lines.out
    assert '"Garden of the sea: \\u65e5\\u672c"' in as_json.out


def test_a_reader_that_has_had_enough_is_no_error(library: str) -> None:
    script = f"{sys.executable} -m heavenbase.cli query library book --json | true; echo ${{PIPESTATUS[0]}}"

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="a device of Linux")
def test_an_output_that_cannot_be_written_is_one_line(library: str) -> None:
    script = f"{sys.executable} -m heavenbase.cli query library book > /dev/full"

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (2, "hb: the system refused: No space left on device\n")


def test_a_closed_output_is_no_crash(library: str) -> None:
    script = f"{sys.executable} -m heavenbase.cli query library book >&-"

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
