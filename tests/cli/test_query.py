"""`hb query`: what may be asked, how rows are printed, and that nothing is ever created."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder with `notes.db`, in which a workspace `notes` has one note."""

    class Note(hb.Entity):
        text = hb.field(hb.ShortText)

    folder = tmp_path / "notes"
    with hb.HeavenBase("notes", backends={"main": {"type": "sqlite", "database": folder / "notes.db"}}) as workspace:
        workspace.register(Note)
        workspace.upsert(Note, {"text": "hello"})
    return folder


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


@pytest.mark.parametrize("command", ["query", "explain"])
def test_a_workspace_with_backends_of_its_own_is_found_by_them(
    command: str, invoke: Callable[..., Result], notes: Path
) -> None:
    backends = {"main": {"type": "sqlite", "database": str(notes / "notes.db")}, "index": {"type": "inmem"}}

    result = invoke(command, "notes", "note", "--backends", json.dumps(backends), "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)


def test_a_database_is_named_from_the_current_folder(
    invoke: Callable[..., Result], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(notes)
    (notes / "backends.json").write_text('{"main": {"type": "sqlite3", "path": "notes.db"}}', encoding="utf-8")

    result = invoke("query", "notes", "note", "--backends", "@backends.json", "--count")

    assert (result.exit_code, result.stdout) == (0, "1\n")


@pytest.mark.parametrize("backends", ["{}", '{"main": "sqlite"}', '{"extra": {"type": "inmem"}}'])
def test_backends_without_a_database_mean_the_usual_place(
    backends: str, invoke: Callable[..., Result], library: str
) -> None:
    result = invoke("query", library, "book", "--backends", backends, "--count")

    assert (result.exit_code, result.stdout) == (0, "3\n")


def test_a_path_and_backends_go_together(invoke: Callable[..., Result], tmp_path: Path) -> None:
    with hb.HeavenBase("shelf", path=tmp_path / "mine", backends={"side": "sqlite"}):
        pass

    arguments = ("shelf", "sys-catalog", "--path", str(tmp_path / "mine"), "--backends", '{"side": "sqlite"}')
    result = invoke("query", *arguments, "--count")

    assert (result.exit_code, result.stderr) == (0, "")


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

    assert _refusal(result) == (
        "no SQLite workspace 'library' in the folder that --path names; "
        "give the workspace's own folder, which holds main.db"
    )
    assert sorted(tmp_path.rglob("*")) == before


NO_DATABASE = (
    "no SQLite workspace 'notes' in the database that --backends names for 'main'; "
    "its path starts at the current folder"
)
IN_MEMORY = (
    "workspace 'notes' with 'main' of type 'inmem' lives in the process that has it open, "
    "and no other can ask it; name a stored one"
)


@pytest.mark.parametrize(
    ("backends", "message"),
    [
        ({"main": {"type": "sqlite", "database": "nots.db"}}, NO_DATABASE),
        ({"main": {"type": "sqlite", "database": "empty.db"}}, NO_DATABASE),
        (
            {"main": {"type": "sqlite", "database": "notes.db"}, "side": {"type": "sqlite", "database": "away/s.db"}},
            "backend 'side' of workspace 'notes' has no database where --backends says",
        ),
        (
            {"main": {"type": "sqlite", "database": "notes.db"}, "side": "sqlite"},
            "backend 'side' of workspace 'notes' has no database where --backends says",
        ),
        ({"side": "sqlite"}, "no SQLite workspace 'notes' in the usual place; name others by --path or --backends"),
        ({"main": "memory"}, IN_MEMORY),
        (
            [],
            '--backends takes a JSON object such as {"main": {"type": "sqlite", "database": "notes.db"}}, not a list',
        ),
    ],
)
def test_backends_without_a_workspace_are_an_error_and_create_nothing(
    backends: Any, message: str, invoke: Callable[..., Result], notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(notes)
    (notes / "empty.db").touch()
    before = sorted(notes.rglob("*"))

    result = invoke("query", "notes", "note", "--backends", json.dumps(backends))

    assert _refusal(result) == message
    assert sorted(notes.rglob("*")) == before
    assert not (config.home() / "workspaces").exists()


def test_a_database_that_cannot_be_looked_at_is_refused_by_its_engine(invoke: Callable[..., Result]) -> None:
    backends = {"main": {"type": "sqlite", "database": "long" * 100}}

    result = invoke("query", "notes", "note", "--backends", json.dumps(backends))

    assert "backend 'main'" in _refusal(result)


def test_a_type_whose_data_are_elsewhere_is_opened_to_see(invoke: Callable[..., Result], installed: Site) -> None:
    installed.storage(
        "served",
        "from heaven_core.plugin import StoragePlugin\n"
        "PLUGIN = StoragePlugin('served', backend='heaven_inmem.engine:MemoryBackend', api=1, primary=True)\n",
    )

    result = invoke("query", "notes", "note", "--backends", '{"main": "served"}')

    assert _refusal(result).startswith("workspace 'notes' has no entity 'note'")


def test_a_misspelt_type_of_backend_is_one_line(invoke: Callable[..., Result]) -> None:
    result = invoke("query", "notes", "note", "--backends", '{"main": {"type": "sqlit"}}')

    assert "did you mean 'sqlite'?" in _refusal(result)


def test_an_entity_that_the_named_database_does_not_have_is_one_line(
    invoke: Callable[..., Result], notes: Path
) -> None:
    backends = {"main": {"type": "sqlite", "database": str(notes / "notes.db")}}

    result = invoke("query", "notes", "nite", "--backends", json.dumps(backends))

    assert _refusal(result) == "workspace 'notes' has no entity 'nite'; did you mean 'note'?"


def test_a_misspelt_workspace_gets_a_suggestion(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("query", "libary", "book")

    assert _refusal(result) == (
        "no SQLite workspace 'libary' in the usual place; name others by --path or --backends; did you mean 'library'?"
    )
    assert [one.name for one in (config.home() / "workspaces").iterdir()] == ["library"]


def test_without_any_workspace_the_error_says_where_was_looked(invoke: Callable[..., Result]) -> None:
    result = invoke("query", "library", "book")

    assert _refusal(result) == "no SQLite workspace 'library' in the usual place; name others by --path or --backends"
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
        (
            ["query", "library", "book", "--spec", "@absent.json"],
            "the file 'absent.json' of --spec cannot be read: No such",
        ),
        (["query", "library", "book", "--spec", "@."], "the file '.' of --spec cannot be read: Is a directory"),
        (["query", "library", "book", "--backends", "@no.json"], "the file 'no.json' of --backends cannot be read: No"),
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


def test_a_file_without_json_is_named(invoke: Callable[..., Result], library: str, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{", encoding="utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = invoke("query", library, "book", "--spec", "@spec.json")

    assert _refusal(result).startswith("the file 'spec.json' of --spec is no JSON: Expecting property name")


def test_a_closed_stdin_is_one_line(library: str) -> None:
    script = f"{sys.executable} -m heavenbase.cli query {library} book --spec - <&-"

    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("hb: --spec - reads stdin, which is closed; give the JSON itself.")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (
            ["--filter", '{"place": {"$near": [1, 0]}}'],
            "it stands beside the filter, in the query's 'near'",
        ),
        (
            ["--filter", '{"year": {"$count": {}}}'],
            "beside the filter, in the query's 'aggregate'",
        ),
        (["--spec", '{"group_by": ["year"], "select": ["year"]}'], "filter the rows, and name keys"),
    ],
)
def test_advice_holds_in_a_shell(options: list[str], advice: str, invoke: Callable[..., Result], library: str) -> None:
    assert advice in _refusal(invoke("query", library, "book", *options))


@pytest.mark.parametrize(
    ("setting", "bound", "advice"),
    [
        (
            "HEAVENBASE_QUERY_MAX_ROWS",
            "1",
            "ask with a limit, or raise the bound max_rows (",
        ),
        (
            "HEAVENBASE_QUERY_MAX_BYTES",
            "1",
            "or raise the bound max_bytes (",
        ),
        (
            "HEAVENBASE_QUERY_DEADLINE",
            "1e-9",
            "narrow it, or raise the bound deadline (",
        ),
    ],
)
def test_a_bound_is_raised_by_its_variable(
    setting: str, bound: str, advice: str, run: Callable[..., Ran], library: str
) -> None:
    ran = run("query", library, "sys-metaschema", "--filter", '{"subject": {"$ilike": "%a%"}}', **{setting: bound})

    assert (ran.code, ran.out) == (2, "")
    assert advice in ran.err
    assert setting in ran.err


def test_a_file_that_is_no_database_is_one_line(invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "main.db").write_text("no database" * 1000)

    result = invoke("query", "library", "book", "--path", str(tmp_path))

    assert "no SQLite database" in _refusal(result)


def test_an_error_is_json_on_stderr_where_json_was_asked_for(run: Callable[..., Ran], library: str) -> None:
    ran = run("query", library, "bok", "--json")

    assert (ran.code, ran.out) == (2, "")
    body: dict[str, Any] = json.loads(ran.err)
    assert (body["error"], list(body)) == ("UnknownEntity", ["error", "message"])
