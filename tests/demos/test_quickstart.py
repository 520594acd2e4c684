"""The quickstart demo, run as its readers run it: as a process of its own, on the real standard library.

The runs share one workspace and build on each other: the first, a second, one after the rows were tampered with, one
that starts afresh on a terminal. Not here: how source files become rows (`tests/demos/test_stdlib_corpus.py`).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest

import heavenbase as hb
from demos.stdlib_corpus import Corpus, read_corpus

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).resolve().parents[2] / "demos" / "quickstart.py"


def environment(home: Path, **more: str) -> dict[str, str]:
    """The variables of a user whose home, and whose workspaces, are in `home`."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COLUMNS"))}
    return {**plain, "HOME": str(home), "HEAVENBASE_HOME": str(home / "data"), "PYTHONUTF8": "1", **more}


def run(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the demo from a folder that is not its own, in a pipe."""
    return subprocess.run(
        [sys.executable, "-P", str(SCRIPT), *arguments],
        cwd=home,
        env=environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=home,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def stream(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def section(output: str, number: int) -> list[str]:
    """The lines of one answer."""
    blocks = re.split(r"\n\n(?=\d\. )", output)
    return blocks[number].partition("\n\n")[2].partition("\n\n")[0].splitlines()


def stored(output: str) -> tuple[int, ...]:
    """How many rows were new, changed, unchanged and removed."""
    (line,) = [line for line in output.splitlines() if line.startswith("Stored ")]
    found = re.match(r"Stored  ([\d,]+) new, ([\d,]+) changed, ([\d,]+) unchanged, ([\d,]+) removed, [\d.]+ s$", line)
    assert found is not None, line
    return tuple(int(number.replace(",", "")) for number in found.groups())


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def folder(home: Path) -> Path:
    return home / "data" / "workspaces" / "quickstart"


@pytest.fixture(scope="module")
def first(home: Path) -> subprocess.CompletedProcess[str]:
    return run(home)


@pytest.fixture(scope="module")
def second(home: Path, first: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert first.returncode == 0, first.stderr
    return run(home)


@pytest.fixture(scope="module")
def after_tampering(
    home: Path, folder: Path, second: subprocess.CompletedProcess[str]
) -> subprocess.CompletedProcess[str]:
    """A run on a workspace where one row was removed, one changed, and one added that the library doesn't have."""
    assert second.returncode == 0, second.stderr
    with hb.HeavenBase("quickstart", path=folder) as ws:
        gone, changed = ws.query("definition").where({"module": "textwrap"}).limit(2).execute().ids
        ws.delete(gone, "definition")
        ws.set(changed, {"lines": 0}, "definition")
        ws.upsert("definition", {"name": "m.f", "module": "m", "kind": "function", "lines": 1, "is_async": False})
    return run(home)


@pytest.fixture(scope="module")
def afresh_on_a_terminal(home: Path, after_tampering: subprocess.CompletedProcess[str]) -> str:
    """What a terminal is sent by a run that removes the workspace first."""
    assert after_tampering.returncode == 0, after_tampering.stderr
    return on_a_terminal(home, "--fresh")


def on_a_terminal(home: Path, *arguments: str) -> str:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=home,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    sent = b""
    try:
        while part := os.read(ours, 65536):
            sent += part
    except OSError:  # how Linux says that nobody is at the other end any more
        pass
    finally:
        os.close(ours)
    assert process.wait() == 0, sent
    return sent.decode()


# The first run


def test_the_first_run_stores_every_definition(first: subprocess.CompletedProcess[str], corpus: Corpus) -> None:
    assert (first.returncode, first.stderr) == (0, "")
    assert stored(first.stdout) == (len(corpus.rows), 0, 0, 0)
    assert len(corpus.rows) > 5000
    assert "Nothing has changed" not in first.stdout


def test_a_pipe_gets_plain_lines_of_fewer_than_80_columns(first: subprocess.CompletedProcess[str]) -> None:
    control = [char for char in first.stdout if char < " " and char != "\n"]

    longest = max(map(len, first.stdout.splitlines()))

    assert control == []
    assert longest < 80


def test_the_search_ranks_what_opens_files(first: subprocess.CompletedProcess[str], corpus: Corpus) -> None:
    lines = section(first.stdout, 1)
    names = {row["name"] for row in corpus.rows}

    found = [re.match(r" +(\d+\.\d\d)  ([\w.]+): (.+)", line) for line in lines]
    scores = [float(one[1]) for one in found if one]

    assert len(scores) == len(lines) == 6
    assert scores == sorted(scores, reverse=True)
    assert {one[2] for one in found if one} <= names
    assert sum("open" in one[2] for one in found if one) >= 3


def test_functions_with_a_timeout_are_found_by_their_parameters(
    first: subprocess.CompletedProcess[str], corpus: Corpus
) -> None:
    expected = [row for row in corpus.rows if "timeout" in row["params"] and row["kind"] != "class"]
    expected.sort(key=lambda row: (-row["lines"], row["name"]))

    *lines, total = section(first.stdout, 2)

    assert [line.split("(")[0].split() for line in lines] == [[str(row["lines"]), row["name"]] for row in expected[:6]]
    assert total.split() == [str(len(expected)), "in", "all"]
    assert "subprocess.run" in {row["name"] for row in expected}


def test_the_longest_definitions_are_those_of_the_corpus(
    first: subprocess.CompletedProcess[str], corpus: Corpus
) -> None:
    known = {(str(row["lines"]), row["kind"], row["name"]) for row in corpus.rows}
    longest: Counter[str] = Counter()
    for row in corpus.rows:
        longest[row["module"]] = max(longest[row["module"]], row["lines"])

    lines = [tuple(line.split()) for line in section(first.stdout, 3)]

    assert [int(line[0]) for line in lines] == sorted(longest.values(), reverse=True)[:6]
    assert set(lines) <= known


def test_bars_are_as_long_as_the_counts_are_big(first: subprocess.CompletedProcess[str], corpus: Corpus) -> None:
    counts = Counter(row["module"] for row in corpus.rows)

    drawn = [line.split() for line in section(first.stdout, 4)]
    lengths = [len(bar) for _, bar, _ in drawn]

    assert [(module, int(count)) for module, _, count in drawn] == sorted(
        counts.items(), key=lambda pair: (-pair[1], pair[0])
    )[:10]
    assert lengths == [max(1, lengths[0] * int(count) // counts.most_common(1)[0][1]) for _, _, count in drawn]
    assert lengths[0] > 30


def test_the_explanation_names_the_index_behind_each_condition(first: subprocess.CompletedProcess[str]) -> None:
    text = "\n".join(section(first.stdout, 5))

    assert re.search(r"doc match +native main \(sqlite, inverted\)", text)
    assert re.search(r"params array_contains +native main \(sqlite, side\)", text)
    assert re.search(r"\d rows in [\d.]+ ms", text)


def test_the_last_words_say_what_was_done_and_what_the_rows_lack(
    first: subprocess.CompletedProcess[str], corpus: Corpus
) -> None:
    words = " ".join(first.stdout.split())

    assert re.search(
        rf"Read {corpus.modules} modules, stored {len(corpus.rows):,} rows and answered 5 questions "
        r"\(\d+ ms\) in \d+\.\d s\.",
        words,
    )
    assert f"{corpus.redefined:,} definitions gave way to a later one of the same name." in words
    assert f"{corpus.cut:,} texts were too long for their field and were cut." in words


def test_the_place_is_shown_from_home_and_holds_a_sound_workspace(
    first: subprocess.CompletedProcess[str], home: Path, folder: Path, corpus: Corpus
) -> None:
    assert "The rows are in ~/data/workspaces/quickstart;" in first.stdout
    assert str(home) not in first.stdout

    with hb.HeavenBase("quickstart", path=folder) as ws:
        assert ws.check().ok
        assert ws.count("definition") == len(corpus.rows)


def test_the_program_at_the_end_runs(first: subprocess.CompletedProcess[str], home: Path, corpus: Corpus) -> None:
    program = textwrap.dedent(first.stdout.partition("ask them more:")[2])

    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home,
        env=environment(home),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert (ran.stdout, ran.stderr) == (f"{sum(row['is_async'] for row in corpus.rows)}\n", "")


# Later runs


def test_a_second_run_changes_nothing_and_says_so(second: subprocess.CompletedProcess[str], corpus: Corpus) -> None:
    assert (second.returncode, second.stderr) == (0, "")
    assert stored(second.stdout) == (0, 0, len(corpus.rows), 0)
    assert "Nothing has changed since the last run: every row kept its version." in second.stdout


def test_a_second_run_answers_the_same(
    first: subprocess.CompletedProcess[str], second: subprocess.CompletedProcess[str]
) -> None:
    answers = [[section(one.stdout, number) for number in range(1, 5)] for one in (first, second)]

    assert answers[0] == answers[1]


def test_a_run_counts_what_it_had_to_mend(after_tampering: subprocess.CompletedProcess[str], corpus: Corpus) -> None:
    assert stored(after_tampering.stdout) == (1, 1, len(corpus.rows) - 2, 1)
    assert "Nothing has changed" not in after_tampering.stdout


def test_fresh_starts_with_an_empty_workspace(afresh_on_a_terminal: str, corpus: Corpus) -> None:
    shown = re.sub(r".*\r(?!\n)", "", afresh_on_a_terminal.replace("\r\n", "\n"))

    assert stored(shown) == (len(corpus.rows), 0, 0, 0)


def test_a_terminal_shows_progress_that_goes_away(afresh_on_a_terminal: str) -> None:
    reading = afresh_on_a_terminal.partition("Read ")[0].split("\r")
    storing = afresh_on_a_terminal.partition("Read ")[2].partition("Stored ")[0].split("\r")

    for label, drawn in [("reading", reading), ("storing", storing)]:
        bars = [line for line in drawn if line.startswith(label)]
        assert len(bars) > 5
        assert bars[-1].endswith(f"[{'#' * 33}] 100 %")
        assert drawn[-2:] == [" " * len(bars[-1]), ""]


# Other ways to run it


def test_debug_in_an_ascii_locale_leaves_nothing_behind(tmp_path: Path, corpus: Corpus) -> None:
    ran = run(tmp_path, "--preset", "debug", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.isascii()
    assert stored(ran.stdout) == (len(corpus.rows), 0, 0, 0)
    assert re.search(r"^  [\w.]+ +#{20,} \d+$", ran.stdout, flags=re.MULTILINE)
    assert ran.stdout.endswith("The workspace was in memory and is gone.\n")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_one_line_and_leaves_a_sound_workspace(tmp_path: Path) -> None:
    process = start(tmp_path, "--path", "here")
    stream(process.stdout).readline()

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)

    assert errors == "\nStopped. Rows are stored all or none, so the workspace is whole.\n"
    assert process.returncode == 130
    with hb.HeavenBase("quickstart", path=tmp_path / "here") as ws:
        assert ws.check().ok


class CutShort(list[dict[str, Any]]):
    """Rows that somebody interrupts after the first two batches."""

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key.start and key.start > 500:
            raise KeyboardInterrupt
        return super().__getitem__(key)


def test_rows_are_stored_all_or_none(tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the demo adds its folder
    from demos import quickstart

    counts = {"modules": 1, "skipped": [], "cut": 0, "redefined": 0, "seconds": 0.0}
    with hb.HeavenBase("quickstart", path=tmp_path) as ws:
        ws.register(quickstart.Definition)
        quickstart.store(ws, quickstart.Corpus(corpus.rows[:50], **counts))
        before = {one: ws.version(one) for one in ws.ids("definition")}

        with pytest.raises(KeyboardInterrupt):
            quickstart.store(ws, quickstart.Corpus(CutShort(corpus.rows[50:1500]), **counts))

        assert {one: ws.version(one) for one in ws.ids("definition")} == before
        assert len(before) == 50
        assert ws.check().ok


def test_who_stops_reading_is_not_told_off(tmp_path: Path) -> None:
    process = start(tmp_path, "--preset", "debug")
    output = stream(process.stdout)

    beginning = output.readline()
    output.close()
    errors = stream(process.stderr).read()

    assert beginning.startswith("The standard library of Python")
    assert (process.wait(timeout=60), errors) == (0, "")
    stream(process.stderr).close()


def test_a_place_that_cannot_be_used_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "main.db").write_bytes(b"not a database at all, and long enough to tell" * 100)

    ran = run(tmp_path, "--path", ".", "--fresh")

    assert ran.returncode == 1
    assert re.fullmatch(r"quickstart: .+\n", ran.stderr)
    assert (tmp_path / "main.db").read_bytes().startswith(b"not a database")


@pytest.mark.parametrize("arguments", [["--preset", "none"], ["--preset", "debug", "--path", "x"], ["--colour"]])
def test_options_that_make_no_sense_are_refused(arguments: list[str], tmp_path: Path) -> None:
    ran = run(tmp_path, *arguments)

    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: quickstart.py")
    assert list(tmp_path.iterdir()) == []
