"""`hb query`: what may be asked, how rows are printed, and that nothing is ever created."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration


def _ids(result: Result) -> list[str]:
    assert (result.exit_code, result.stderr) == (0, "")
    return [row["object_id"] for row in json.loads(result.stdout)]


def test_rows_are_printed_as_json_in_the_json_form_of_each_type(run: Callable[..., Ran], library: str) -> None:
    ran = run("query", library, "book", "--filter", '{"object_id": "b1"}', "--json")

    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == [
        {
            "object_id": "b1",
            "name": None,
            "title": "The Wild Garden",
            "year": 1870,
            "tags": ["plants", "a\tb"],
            "out": "1870-04-01",
            "seen": "2020-01-02T00:00:00+00:00",
            "reading": "P0DT18000.000000S",
            "cover": "AP8=",
            "extra": {"pages": [1, None]},
            "place": [1.0, 0.0],
        }
    ]


def test_json_rows_come_one_per_line(run: Callable[..., Ran], library: str) -> None:
    ran = run("query", library, "book", "--select", "title", "--json")

    first, *rows, last = ran.out.splitlines()
    assert (first, last) == ("[", "]")
    assert [json.loads(row.removesuffix(","))["object_id"] for row in rows] == ["b1", "b2", "b3"]


def test_rows_are_lines_with_tabs_in_a_pipe_and_their_values_on_one_line(run: Callable[..., Ran], library: str) -> None:
    ran = run("query", library, "book", "--select", "title,tags", "--select", "extra", "--order", "object_id")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "object_id\ttitle\ttags\textra",
        'b1\tThe Wild Garden\t["plants", "a\\\\tb"]\t{"pages": [1, null]}',
        "b2\tSea\\n\\x1b[31mwind\\\\\t\t",
        "b3\tGarden of the sea: 日本\t\t",
    ]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--filter", '{"year": {"$gte": 1900}}'], ["b2"]),
        (["--order", "-year"], ["b2", "b1", "b3"]),
        (["--order", "year,-title"], ["b1", "b2", "b3"]),
        (["--order", "-object_id", "--limit", "2"], ["b3", "b2"]),
        (["--limit", "0"], []),
        (["--search", "garden", "--order", "object_id"], ["b1", "b3"]),
        (["--spec", '{"filter": {"title": {"$match": "sea"}}, "order": ["-object_id"]}'], ["b3", "b2"]),
        (["--spec", '{"order": ["-object_id"], "limit": 3}', "--limit", "1"], ["b3"]),
        (["--spec", '{"near": {"field": "place", "query": [0, 2], "top_k": 2}}'], ["b2", "b3"]),
    ],
)
def test_a_question_is_asked_with_options(
    options: list[str], ids: list[str], invoke: Callable[..., Result], library: str
) -> None:
    result = invoke("query", library, "book", "--json", *options)

    assert _ids(result) == ids


def test_a_specification_comes_from_stdin_or_from_a_file(
    invoke: Callable[..., Result], library: str, tmp_path: Path
) -> None:
    spec = '{"filter": {"title": {"$contains": "日"}}}'
    (tmp_path / "spec.json").write_text(spec, encoding="utf-8")

    from_stdin = invoke("query", library, "book", "--json", "--spec", "-", input=spec)
    from_file = invoke("query", library, "book", "--json", "--spec", f"@{tmp_path / 'spec.json'}")

    assert _ids(from_stdin) == _ids(from_file) == ["b3"]


def test_a_ranked_answer_has_its_rank_as_last_column(invoke: Callable[..., Result], library: str) -> None:
    found = invoke("query", library, "book", "--search", "wild", "--select", "title")
    near = invoke(
        "query",
        library,
        "book",
        "--spec",
        '{"near": {"field": "place", "query": [0, 3]}, "select": ["year"]}',
        "--json",
    )

    header, row = found.stdout.splitlines()
    assert header == "object_id\ttitle\t_score"
    assert float(row.split("\t")[2]) > 0
    assert list(json.loads(near.stdout)[0]) == ["object_id", "year", "_distance"]


def test_groups_are_printed_with_their_keys_and_aggregates(invoke: Callable[..., Result], library: str) -> None:
    spec = (
        '{"group_by": ["out"], "aggregate": {"n": {"$count": {}}, "outs": {"$value_counts": {"field": "out"}}},'
        ' "order": ["out"]}'
    )

    result = invoke("query", library, "book", "--spec", spec, "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == [
        {"out": "1870-04-01", "n": 1, "outs": [["1870-04-01", 1]]},
        {"out": None, "n": 2, "outs": []},
    ]


def test_rows_can_be_counted(invoke: Callable[..., Result], library: str) -> None:
    plain = invoke("query", library, "book", "--count")
    filtered = invoke("query", library, "book", "--count", "--json", "--filter", '{"year": {"$is_null": false}}')

    assert (plain.stdout, json.loads(filtered.stdout)) == ("3\n", {"count": 2})


def test_no_rows_are_a_header_in_a_pipe_and_an_empty_list_in_json(invoke: Callable[..., Result], library: str) -> None:
    nothing = ("query", library, "book", "--select", "title", "--filter", '{"year": 1}')

    assert invoke(*nothing).stdout == "object_id\ttitle\n"
    assert json.loads(invoke(*nothing, "--json").stdout) == []


def test_a_workspace_in_a_folder_of_its_own_is_found_by_path(invoke: Callable[..., Result], tmp_path: Path) -> None:
    class Note(hb.Entity):
        text = hb.field(hb.ShortText)

    with hb.HeavenBase("notes", path=tmp_path / "mine") as workspace:
        workspace.register(Note)
        workspace.upsert(Note, {"text": "hello"})

    result = invoke("query", "notes", "note", "--path", str(tmp_path / "mine"), "--select", "text", "--json")

    assert json.loads(result.stdout)[0]["text"] == "hello"


def test_what_the_workspace_knows_of_itself_can_be_asked_for(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("query", library, "sys-metaschema", "--filter", '{"kind": "entity", "subject": "book"}', "--count")

    assert (result.exit_code, result.stdout) == (0, "1\n")


# What goes wrong


def _refusal(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("hb: ")
    return line.removeprefix("hb: ")


@pytest.mark.parametrize("folder", ["absent", "empty", "full"])
def test_a_workspace_that_does_not_exist_is_an_error_and_is_not_created(
    folder: str, invoke: Callable[..., Result], tmp_path: Path
) -> None:
    place = tmp_path / folder
    if folder != "absent":
        place.mkdir()
    if folder == "full":
        (place / "main.py").write_text("")
        (place / "main.db").write_text("")
    before = sorted(tmp_path.rglob("*"))

    result = invoke("query", "library", "book", "--path", str(place))

    assert _refusal(result) == "there is no workspace 'library' in the folder given by --path"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_misspelt_workspace_gets_a_suggestion(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("query", "libary", "book")

    assert _refusal(result) == "there is no workspace 'libary'; did you mean 'library'?"
    assert [one.name for one in (config.home() / "workspaces").iterdir()] == ["library"]


def test_without_any_workspace_the_error_says_so(invoke: Callable[..., Result]) -> None:
    result = invoke("query", "library", "book")

    assert _refusal(result) == "there is no workspace 'library'; there are none"
    assert not (config.home() / "workspaces").exists()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["query", "../etc", "book"], "workspace id '../etc' must be"),
        (["query", "library", "bok"], "has no entity 'bok'; did you mean 'book'?"),
        (["query", "library", "book", "--select", "titel"], "did you mean 'title'?"),
        (["query", "library", "book", "--order", "-yer"], "did you mean 'year'?"),
        (["query", "library", "book", "--filter", '{"titel": "x"}'], "did you mean 'title'?"),
        (["query", "library", "book", "--filter", '{"title": {"$containz": "x"}}'], "did you mean 'contains'?"),
        (["query", "library", "book", "--filter", '{"year": 1.5}'], "book.year: 1.5"),
        (["query", "library", "book", "--spec", '{"filtr": {}}'], "did you mean 'filter'?"),
        (["query", "library", "book", "--spec", "[1]"], "--spec takes a JSON object"),
        (["query", "library", "book", "--spec", "@absent.json"], "--spec names cannot be read: No such file"),
        (["query", "library", "book", "--filter", "{"], "--filter is no JSON: Expecting property name"),
        (["query", "library", "book", "--filter", '{"year": 1, "year": 2}'], "the key 'year' comes twice"),
        (["query", "library", "book", "--filter", '{"$not":' * 1000 + "{}" + "}" * 1000], "nested"),
        (["query", "library", "book", "--filter", "[" * 100_000], "nested too deeply"),
        (["query", "library", "book", "--filter", "9" * 5000], "--filter is no JSON: Exceeds the limit"),
        (["query", "library", "book", "--search", "\udcff"], "lone surrogate"),
        (["query", "library", "book", "--limit", "-1"], "Try 'hb query --help'."),
    ],
)
def test_a_question_that_cannot_be_asked_is_one_line(
    arguments: list[str], part: str, invoke: Callable[..., Result], library: str
) -> None:
    line = _refusal(invoke(*arguments))

    assert part in line
    assert len(line) < 400


def test_a_specification_that_is_no_text_is_one_line(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("query", library, "book", "--spec", "-", input=b"\xff")

    assert _refusal(result).startswith("--spec is no JSON: ")


def test_a_file_that_is_no_database_is_one_line(invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "main.db").write_text("no database" * 1000)

    result = invoke("query", "library", "book", "--path", str(tmp_path))

    assert "no SQLite database" in _refusal(result)


def test_an_error_is_json_on_stderr_where_json_was_asked_for(run: Callable[..., Ran], library: str) -> None:
    ran = run("query", library, "bok", "--json")

    assert (ran.code, ran.out) == (2, "")
    body: dict[str, Any] = json.loads(ran.err)
    assert (body["error"], list(body)) == ("UnknownEntity", ["error", "message"])
