"""`hb query --format` and `--output`: CSV as its standard has it, Parquet with types, files whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heavenbase.cli.target import written_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration

BOOKS = ("query", "library", "book", "--order", "object_id")
TEXTS = [
    "plain",
    "a,b",
    'say "x"',
    "two\nlines",
    "two\r\nlines",
    " space ",
    "",
    None,
    "日本",
    "=1+1",
    "@x",
    "-1",
    "\t=1",
]


@pytest.fixture
def texts() -> str:
    class Text(hb.Entity):
        text = hb.field(hb.ShortText)
        number = hb.field(hb.Integer)

    rows = [{"object_id": f"t{at:02}", "text": text, "number": -at} for at, text in enumerate(TEXTS)]
    with hb.HeavenBase("texts") as workspace:
        workspace.register(Text)
        workspace.upsert_many(Text, rows)
    return "texts"


# CSV


def test_csv_is_read_back_as_it_was(run: Callable[..., Ran], texts: str, tmp_path: Path) -> None:
    ran = run("query", texts, "text", "--select", "text,number", "--order", "object_id", "--output", "t.csv")

    content = (tmp_path / "t.csv").read_bytes().decode("utf-8")
    header, *rows = csv.reader(io.StringIO(content, newline=""), strict=True)
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert header == ["object_id", "text", "number"]
    assert [row[1] for row in rows] == [text or "" for text in TEXTS]
    assert [int(row[2]) for row in rows] == [-at for at in range(len(TEXTS))]
    assert content.startswith("object_id,text,number\r\nt00,plain,0\r\n")
    assert content.endswith("\r\n")


def test_null_and_the_empty_text_differ_in_csv(invoke: Callable[..., Result], texts: str) -> None:
    arguments = ("--filter", '{"object_id": {"$in": ["t06", "t07"]}}', "--order", "object_id", "--select", "text")

    result = invoke("query", texts, "text", *arguments, "--format", "csv")

    assert result.stdout_bytes == b'object_id,text\r\nt06,""\r\nt07,\r\n'


def test_formulas_stay_as_they_are_unless_it_is_for_a_spreadsheet(invoke: Callable[..., Result], texts: str) -> None:
    asked = ("query", texts, "text", "--select", "text,number", "--order", "object_id", "--format", "csv")

    plain = list(csv.reader(io.StringIO(invoke(*asked).stdout, newline="")))[1:]
    safe = list(csv.reader(io.StringIO(invoke(*asked, "--spreadsheet").stdout, newline="")))[1:]

    assert [row[1] for row in plain[9:]] == ["=1+1", "@x", "-1", "\t=1"]
    assert [row[1] for row in safe[9:]] == ["'=1+1", "'@x", "'-1", "'\t=1"]
    assert [row[2] for row in safe] == [row[2] for row in plain]
    assert safe[:9] == plain[:9]


def test_a_single_empty_cell_is_no_empty_line(invoke: Callable[..., Result], texts: str) -> None:
    spec = '{"group_by": ["text"], "order": ["text"]}'

    content = invoke("query", texts, "text", "--spec", spec, "--format", "csv").stdout_bytes.decode()

    assert len(list(csv.reader(io.StringIO(content, newline="")))) == len(TEXTS) + 1
    assert "\r\n\r\n" not in content


def test_csv_on_a_terminal_cannot_drive_it(screen: Callable[..., Ran], library: str) -> None:
    ran = screen(*BOOKS, "--format", "csv")

    assert ran.code == 0
    assert "Sea\\n\\x1b[31mwind\\" in ran.out
    assert "\x1b" not in ran.out


def test_other_values_are_json_in_csv(invoke: Callable[..., Result], library: str) -> None:
    content = invoke(*BOOKS, "--format", "csv", "--limit", "1").stdout

    (row,) = csv.DictReader(io.StringIO(content, newline=""))
    assert json.loads(row["extra"]) == {"pages": [1, None]}
    assert (row["cover"], row["out"], row["year"]) == ("AP8=", "1870-04-01", "1870")


# JSON


def test_the_alias_and_the_format_are_one(invoke: Callable[..., Result], library: str) -> None:
    assert invoke(*BOOKS, "--json").stdout == invoke(*BOOKS, "--format", "json").stdout


def test_json_lines_are_one_object_per_line(invoke: Callable[..., Result], library: str) -> None:
    lines = invoke(*BOOKS, "--format", "jsonl").stdout.splitlines()

    assert [json.loads(line) for line in lines] == json.loads(invoke(*BOOKS, "--json").stdout)


def test_no_rows_are_no_lines(invoke: Callable[..., Result], library: str) -> None:
    assert invoke(*BOOKS, "--format", "jsonl", "--limit", "0").stdout == ""


@pytest.mark.parametrize("option", [["--format", "json"], ["--format=jsonl"], ["--json"]])
def test_errors_are_json_where_the_result_would_be(
    option: list[str], invoke: Callable[..., Result], library: str
) -> None:
    result = invoke("query", library, "bok", *option)

    assert json.loads(result.stderr)["error"] == "UnknownEntity"


# Parquet


def test_parquet_keeps_types(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")

    ran = run(*BOOKS, "--output", "books.parquet")

    table = parquet.read_table(tmp_path / "books.parquet")
    with hb.HeavenBase(library) as workspace:
        assert table.equals(workspace.query("book").order_by("object_id").execute().to_arrow())
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert [str(table.schema.field(name).type) for name in ("year", "out", "cover", "tags")] == [
        "int64",
        "date32[day]",
        "binary",
        "list<element: string>",
    ]


def test_parquet_has_the_rank_and_goes_through_a_pipe(library: str, tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    command = [sys.executable, "-m", "heavenbase.cli", "query", library, "book", "--search", "wild garden"]

    done = subprocess.run([*command, "--format", "parquet"], capture_output=True, check=False)

    table = parquet.read_table(io.BytesIO(done.stdout))
    assert (done.returncode, done.stderr, table.num_rows) == (0, b"", 2)
    assert table.column_names[-1] == "_score"
    assert table["_score"][0].as_py() > table["_score"][1].as_py()


def test_parquet_is_nothing_for_a_terminal(screen: Callable[..., Ran], library: str) -> None:
    ran = screen(*BOOKS, "--format", "parquet")

    assert (ran.code, ran.out) == (2, "")
    assert "name a file with --output" in ran.err


def test_without_pyarrow_the_error_has_the_command(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not here')")

    ran = run(*BOOKS, "--output", "books.parquet", PYTHONPATH=str(tmp_path))

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "hb: Arrow tables need pyarrow; pip install 'heaven-core[arrow]'\n"
    assert not list(tmp_path.glob("*books*"))


# Files


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("b.tsv", "object_id\ttitle"),
        ("b.txt", "object_id\ttitle"),
        ("b.csv", "object_id,title"),
        ("b.CSV", "object_id,title"),
        ("b.json", "["),
        ("b.jsonl", '{"object_id": "b1", "title": "The Wild Garden"}'),
        ("b.ndjson", '{"object_id": "b1", "title": "The Wild Garden"}'),
    ],
)
def test_the_ending_of_a_file_says_the_form(
    name: str, first: str, run: Callable[..., Ran], library: str, tmp_path: Path
) -> None:
    ran = run(*BOOKS, "--select", "title", "--output", name, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")

    content = (tmp_path / name).read_text(encoding="utf-8")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert content.splitlines()[0] == first
    assert "日本" in content


@pytest.mark.parametrize(("name", "part"), [("b.xlsx", "the ending '.xlsx'"), ("b", "it has no ending")])
def test_a_file_whose_ending_says_no_form_is_refused_unless_the_form_is_given(
    name: str, part: str, run: Callable[..., Ran], library: str, tmp_path: Path
) -> None:
    refused = run(*BOOKS, "--output", name)
    written = run(*BOOKS, "--output", name, "--format", "csv")
    as_json = run(*BOOKS, "--output", f"2{name}", "--json")

    assert (refused.code, refused.out) == (2, "")
    assert part in refused.err
    assert "known: .csv, .json, .jsonl, .ndjson, .parquet, .tsv, .txt" in refused.err
    assert "--format" in refused.err
    assert (written.code, as_json.code) == (0, 0)
    assert (tmp_path / name).read_text().startswith("object_id,")
    assert (tmp_path / f"2{name}").read_text().startswith("[")


def test_a_minus_for_the_output_is_stdout(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    ran = run(*BOOKS, "--select", "title", "--output", "-")

    assert (ran.code, ran.out.splitlines()[0]) == (0, "object_id\ttitle")
    assert not (tmp_path / "-").exists()


def test_a_format_that_is_given_is_stronger_than_the_ending(
    run: Callable[..., Ran], library: str, tmp_path: Path
) -> None:
    run(*BOOKS, "--output", "b.csv", "--json")

    assert len(json.loads((tmp_path / "b.csv").read_text(encoding="utf-8"))) == 3


def test_a_terminal_is_told_how_many_rows_were_written(
    screen: Callable[..., Ran], library: str, tmp_path: Path
) -> None:
    ran = screen(*BOOKS, "--output", str(tmp_path / "b.csv"))

    assert (ran.code, ran.out) == (0, "3 rows\n")


def test_a_file_that_is_there_is_only_replaced_by_force(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("mine")
    file.chmod(0o640)

    refused = run(*BOOKS, "--output", "b.csv")
    before = file.read_text()
    forced = run(*BOOKS, "--output", "b.csv", "--force")

    assert (refused.code, refused.err) == (
        2,
        "hb: --output 'b.csv' is there already; --force replaces it. Try 'hb query --help'.\n",
    )
    assert before == "mine"
    assert (forced.code, file.read_text(encoding="utf-8").startswith("object_id,")) == (0, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["b.csv"]


def test_a_new_file_has_the_rights_that_new_files_have(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")

    run(*BOOKS, "--output", "b.csv")

    assert (tmp_path / "b.csv").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_stays_a_link(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to("real.csv")

    ran = run(*BOOKS, "--output", "link.csv", "--force")

    assert ran.code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text(encoding="utf-8").startswith("object_id,")


def test_a_question_that_fails_leaves_the_file_as_it_was(run: Callable[..., Ran], library: str, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("mine")

    ran = run("query", library, "bok", "--output", "b.csv", "--force")

    assert ran.code == 2
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("b.csv", "mine")]


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_text("mine")

    def fails() -> None:
        with written_to(str(file), force=True):
            print("half of it")
            raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        fails()

    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("b.csv", "mine")]


def test_who_was_quicker_keeps_the_file(tmp_path: Path) -> None:
    import click

    file = tmp_path / "b.csv"

    with pytest.raises(click.UsageError, match="is there already"), written_to(str(file), force=False):
        file.write_text("somebody else's")

    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("b.csv", "somebody else's")]


def test_a_device_is_written_to_as_it_is(run: Callable[..., Ran], library: str) -> None:
    ran = run(*BOOKS, "--select", "title", "--limit", "1", "--format", "csv", "--output", "/dev/stdout")

    assert (ran.code, ran.out) == (0, "object_id,title\nb1,The Wild Garden\n")


@pytest.mark.skipif(sys.platform != "linux" or not os.path.exists("/dev/full"), reason="a device of Linux")  # noqa: PTH110
def test_a_device_that_is_full_is_one_line(run: Callable[..., Ran], library: str) -> None:
    ran = run(*BOOKS, "--format", "csv", "--output", "/dev/full")

    assert (ran.code, ran.err) == (2, "hb: the system refused: No space left on device\n")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--output", "."], "is a folder"),
        (["--output", "gone/b.csv"], "lies in a folder that isn't there"),
        (["--output", "x" * 300 + ".csv"], "cannot be written: File name too long"),
        (["--force"], "--force is about the file"),
        (["--spreadsheet"], "--spreadsheet is about CSV"),
        (["--json", "--format", "csv"], "--json is --format json"),
        (["--format", "xml"], "'xml' is not one of"),
        (["--format", "parquet", "--count"], "--count gives one number"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: list[str], part: str, invoke: Callable[..., Result], library: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    result = invoke(*BOOKS, *options)

    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert part in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("form", "text"),
    [("table", "3\n"), ("json", '{\n  "count": 3\n}\n'), ("jsonl", '{"count": 3}\n'), ("csv", "count\r\n3\r\n")],
)
def test_a_count_has_every_form_but_parquet(form: str, text: str, invoke: Callable[..., Result], library: str) -> None:
    result = invoke("query", library, "book", "--count", "--format", form)

    assert result.stdout_bytes.decode() == text


def test_a_closed_output_and_a_reader_that_has_gone_are_no_crash(library: str) -> None:
    pytest.importorskip("pyarrow")
    command = f"{sys.executable} -m heavenbase.cli query library book --format"

    for form in ("csv", "jsonl", "parquet"):
        closed = subprocess.run(["bash", "-c", f"{command} {form} >&-"], capture_output=True, text=True, check=False)
        script = f"{command} {form} | true; echo ${{PIPESTATUS[0]}}"
        gone = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

        assert (closed.returncode, closed.stderr) == (0, "")
        assert (gone.stdout, gone.stderr) == ("0\n", "")
