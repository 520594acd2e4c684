"""The search demo, run as its readers run it: with hashed words, and with the sentence model where that is installed.

The runs with hashed words share one workspace. Not here: how source files become rows (`test_stdlib_corpus.py`).
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import heavenbase as hb
from demos.embedders import DIMENSIONS, HASHING, PACKAGE, best_embedder

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite", "duckdb", "lancedb")]

SCRIPT = Path(__file__).resolve().parents[2] / "demos" / "library_search.py"
needs_the_model = pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo from a folder that is not its own, in a pipe, for a user whose home is `home`."""
    plain = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=home,
        env={**plain, "HOME": str(home), "HEAVENBASE_HOME": str(home / "data"), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def section(output: str, number: int) -> str:
    """The lines of one answer."""
    return re.split(r"\n\n(?=\d\. )", output)[number]


def dot(one: list[float], other: list[float]) -> float:
    return sum(map(float.__mul__, one, other))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home: Path) -> subprocess.CompletedProcess[str]:
    return run(home, "--hashing", "--rows", "150")


# Embedders


def test_hashed_vectors_are_of_length_one_and_always_the_same() -> None:
    one, empty, again = HASHING.embed(["Open a file, safely", "", "open A FILE safely"])

    assert len(one) == len(empty) == DIMENSIONS
    assert one == again
    assert math.isclose(math.hypot(*one), 1)
    assert math.isclose(math.hypot(*empty), 1)


def test_texts_with_the_same_words_are_nearer_than_others() -> None:
    one, near, far = HASHING.embed(["read the lines of a file", "reads a line of the file", "wait for a thread"])

    assert dot(one, near) > 2 * abs(dot(one, far))


def test_hashing_is_taken_when_asked_for_or_without_the_model() -> None:
    assert best_embedder(hashing=True) is HASHING
    if find_spec(PACKAGE) is None:
        assert best_embedder() is HASHING


# The run with hashed words


def test_it_says_aloud_that_words_are_hashed_and_how_to_get_the_model(first: subprocess.CompletedProcess[str]) -> None:
    assert (first.returncode, first.stderr) == (0, "")
    assert "vectors are made by hashing words" in " ".join(first.stdout.split())
    assert "pip install 'heaven-core[demo]'\n" in first.stdout


def test_a_bounded_number_of_rows_is_taken_and_it_says_so(first: subprocess.CompletedProcess[str]) -> None:
    assert re.search(
        r"^Read      [\d,]+ definitions with a docstring; 150 are taken, all with --all$", first.stdout, re.MULTILINE
    )
    assert re.search(r"^Embedded  150 texts, ", first.stdout, re.MULTILINE)


def test_each_question_is_answered_and_conditions_hold(first: subprocess.CompletedProcess[str], home: Path) -> None:
    ranked = {
        number: re.findall(r"^ +\d\.\d{3}  ([\w.]+): ", section(first.stdout, number), re.MULTILINE)
        for number in range(1, 5)
    }

    assert [len(ranked[1]), len(ranked[4])] == [6, 6]
    with hb.HeavenBase("library-search-hashing", path=home / "data/workspaces/library-search-hashing") as ws:
        rows = {row["name"]: row for row in ws.query("definition").execute().rows()}
        assert ws.check().ok
    assert len(rows) == 150
    assert all("timeout" in rows[name]["params"] for name in ranked[2])
    assert all(rows[name]["kind"] == "function" and rows[name]["lines"] < 30 for name in ranked[3])
    assert sum(map(int, re.findall(r"^\w+ +(\d+) ", section(first.stdout, 5), re.MULTILINE))) == 150


def test_the_explanation_names_all_three_engines_and_the_time(first: subprocess.CompletedProcess[str]) -> None:
    text = section(first.stdout, 6)

    for engine in ("main (sqlite", "duckdb (duckdb", "lancedb (lancedb"):
        assert engine in text
    assert re.search(r"\d rows in [\d.]+ ms", text)


def test_the_answers_are_the_same_in_all_placements(first: subprocess.CompletedProcess[str]) -> None:
    table = section(first.stdout, 7)

    lines = re.findall(r"^[a-z, ]+?((?: +\d+\.\d\d){4})$", table, re.MULTILINE)

    assert len(lines) == 5
    assert "The answers are the same in all placements: yes." in " ".join(table.split())


def test_it_prints_plain_lines_and_nothing_of_the_machine(first: subprocess.CompletedProcess[str], home: Path) -> None:
    assert max(map(len, first.stdout.splitlines())) < 80
    assert str(home) not in first.stdout
    assert "The rows are in ~/data/workspaces/library-search-hashing" in first.stdout


def test_it_leaves_nothing_but_the_workspace(first: subprocess.CompletedProcess[str], home: Path) -> None:
    assert first.returncode == 0

    assert [str(one.relative_to(home)) for one in home.glob("*/*/*")] == ["data/workspaces/library-search-hashing"]


def test_a_second_run_embeds_nothing_anew_and_answers_the_same(
    first: subprocess.CompletedProcess[str], home: Path
) -> None:
    second = run(home, "--hashing", "--rows", "150")

    assert (second.returncode, second.stderr) == (0, "")
    assert "Embedded  0 texts, all known\n" in second.stdout
    assert [section(second.stdout, number) for number in range(1, 6)] == [
        section(first.stdout, number) for number in range(1, 6)
    ]


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--rows", "x"], ["--rows", "5", "--all"]])
def test_options_that_make_no_sense_are_refused(arguments: list[str], tmp_path: Path) -> None:
    ran = run(tmp_path, *arguments)

    assert ran.returncode == 2
    assert ran.stderr.startswith("usage: library_search.py")
    assert list(tmp_path.iterdir()) == []


# The run with the sentence model


@needs_the_model
@pytest.mark.timeout(300)
def test_the_model_finds_the_same_meaning_in_other_words() -> None:
    program = (
        "import json, socket, sys\n"
        "def refused(*given, **named): raise OSError('no network here')\n"
        "socket.socket.connect = socket.getaddrinfo = refused\n"
        "from embedders import best_embedder\n"
        "print(json.dumps(best_embedder().embed(['a quick automobile', 'a fast car', 'a slow banana'])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPT.parent, capture_output=True, encoding="utf-8", check=True
    )
    one, near, far = json.loads(done.stdout)

    assert len(one) == DIMENSIONS
    assert dot(one, near) > 0.6 > dot(one, far)


@needs_the_model
@pytest.mark.timeout(300)
def test_with_the_model_it_runs_and_says_so(tmp_path: Path) -> None:
    ran = run(tmp_path, "--rows", "40")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "all-MiniLM-L6-v2, which looks at meaning" in " ".join(ran.stdout.split())
    assert "The answers are the same in all placements: yes." in " ".join(ran.stdout.split())
