"""`hb config`: what it prints, which file it changes, and how trust is given and taken.

Not here: which layer wins, what is ignored (`tests/core/test_config_files.py`), how a file is changed
(`tests/core/test_config_edit.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from heaven_core import config
from heavenbase.cli.values import shown_path, value_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, where a `heavenbase.toml` can be put."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def file(project: Path) -> Path:
    return project / "heavenbase.toml"


@pytest.fixture
def mine() -> Path:
    return config.home() / "config.toml"


def lines(result: Result) -> list[list[str]]:
    return [line.split("\t") for line in result.stdout.splitlines()]


# -- reading ---------------------------------------------------------------------------------------------------------


def test_without_a_command_it_explains_itself(invoke: Callable[..., Result]) -> None:
    result = invoke("config")

    assert (result.exit_code, result.stderr) == (0, "")
    assert all(f"\n  {verb} " in result.stdout for verb in ("get", "set", "unset", "show", "trust", "untrust"))


@pytest.mark.parametrize("verb", ["get", "set", "unset", "show", "trust", "untrust"])
def test_each_command_has_an_example_and_its_json_option(verb: str, invoke: Callable[..., Result]) -> None:
    result = invoke("config", verb, "--help")

    assert f"\n    hb config {verb}" in result.stdout.partition("Example")[2]
    assert "--json" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shwo"], "hb: hb config has no command 'shwo'; did you mean 'show'? Try 'hb config --help'."),
        (["get", "query.deadlin"], "hb: there is no setting 'query.deadlin'; did you mean 'query.deadline'?"),
        (["set", "query.deadlin", "5"], "hb: there is no setting 'query.deadlin'; did you mean 'query.deadline'?"),
        (["set", "query.deadline", "soon"], "hb: query.deadline takes a positive number or None, not 'soon'"),
        (["set", "preset", "lokal"], "hb: preset takes 'debug' or 'local' or 'server', not 'lokal'"),
        (["set", "home", ""], "hb: home takes a path, not ''"),
        (["set", "home", "~nobody-has-this-name"], "hb: the value is no path"),
        (["unset", "query.deadlin"], "hb: there is no setting 'query.deadlin'; did you mean 'query.deadline'?"),
        (["unset", "query.deadline"], "hb: config.toml does not set query.deadline"),
        (["set", "preset", "debug", "--user", "--project"], "hb: --project and --user exclude each other."),
        (["trust"], "hb: there is no heavenbase.toml there or above"),
        (["untrust"], "hb: this project is not trusted"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, invoke: Callable[..., Result], mine: Path
) -> None:
    result = invoke("config", *arguments)

    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert line.startswith(message)
    assert not mine.exists()


def test_get_prints_the_value_alone(invoke: Callable[..., Result]) -> None:
    assert invoke("config", "get", "query.deadline").stdout == "30.0\n"
    assert invoke("config", "get", "heavenbase.extensions.default").stdout == "[]\n"
    assert json.loads(invoke("config", "get", "heavenbase.query.deadline", "--json").stdout) == {
        "key": "query.deadline",
        "value": 30.0,
        "origin": "default",
    }


def test_show_lists_every_key(invoke: Callable[..., Result]) -> None:
    result = invoke("config", "show")

    assert lines(result)[0] == ["key", "value"]
    assert [row[0] for row in lines(result)[1:]] == sorted(config.KEYS)


def test_show_says_where_values_come_from_and_which_do_not_count(
    invoke: Callable[..., Result], file: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.write_text("query.max_rows = 4\nquery.deadline = 4\n")
    file.write_text('extensions.default = ["mine"]\nquery.deadline = 5\n')
    monkeypatch.setenv("HEAVENBASE_QUERY_MAX_BYTES", "6")

    rows = lines(invoke("config", "show", "--origin"))

    assert rows[0] == ["key", "value", "origin", "file", "state"]
    assert ["extensions.default", "[]", "default", "", "effective"] in rows
    assert [
        ["extensions.default", "mine", "project file", "heavenbase.toml", "ignored: this project is not trusted"],
        ["query.deadline", "5", "project file", "heavenbase.toml", "effective"],
        ["query.deadline", "4", "user file", str(mine), "overridden"],
        ["query.max_bytes", "6", "env:HEAVENBASE_QUERY_MAX_BYTES", "", "effective"],
        ["query.max_rows", "4", "user file", str(mine), "effective"],
    ] == [row for row in rows[1:] if row[2] != "default" and row[0] != "home"]


def test_show_as_json_has_the_values_themselves(invoke: Callable[..., Result], file: Path) -> None:
    file.write_text("query.deadline = 'none'\n")

    bare = json.loads(invoke("config", "show", "--json").stdout)
    full = json.loads(invoke("config", "show", "--origin", "--json").stdout)

    assert {"key": "query.deadline", "value": None} in bare
    assert {
        "key": "query.deadline",
        "value": None,
        "origin": "project file",
        "file": "heavenbase.toml",
        "state": "effective",
    } in full


def test_what_an_untrusted_project_may_not_set_is_named_on_stderr(invoke: Callable[..., Result], file: Path) -> None:
    file.write_text('preset = "debug"\nextensions.default = ["x"]\n')

    result = invoke("config", "get", "preset")

    assert (result.exit_code, result.stdout) == (0, "local\n")
    assert result.stderr == (
        "hb: warning: heavenbase.toml: ignored preset, extensions.default, because this project is not trusted; "
        "look at it, then allow it with: hb config trust .\n"
    )


def test_a_secret_is_shown_by_no_command(
    invoke: Callable[..., Result], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.KEYS, "audit.keys.signing", config.Key("text", "", "a key"))
    file.write_text('audit.keys.signing = "s3cret"\n')
    commands = [["trust", "--yes"], ["get", "audit.keys.signing"], ["show", "--origin"], ["show", "--json"]]
    commands.append(["set", "audit.keys.signing", "s3cret2"])

    printed = [invoke("config", *command).output for command in commands]

    assert config.get("audit.keys.signing") == "s3cret"
    assert all("<redacted>" in text for text in printed[:-1])
    assert "s3cret" not in "".join(printed)


# -- changing --------------------------------------------------------------------------------------------------------


def test_set_changes_the_user_s_file_or_the_project_s(invoke: Callable[..., Result], file: Path, mine: Path) -> None:
    results = [
        invoke("config", "set", "query.max_rows", "5"),
        invoke("config", "set", "query.deadline", "none", "--user"),
        invoke("config", "set", "query.max_rows", "6", "--project"),
    ]

    assert [(one.exit_code, one.stdout, one.stderr) for one in results] == [(0, "", "")] * 3
    assert tomllib.loads(mine.read_text()) == {"query": {"max_rows": 5, "deadline": "none"}}
    assert tomllib.loads(file.read_text()) == {"query": {"max_rows": 6}}


def test_the_project_s_file_is_the_nearest_one(
    invoke: Callable[..., Result], file: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("# the project's\n")
    (project / "deeper").mkdir()
    monkeypatch.chdir(project / "deeper")

    told = json.loads(invoke("config", "set", "query.max_rows", "5", "--project", "--json").stdout)

    assert file.read_text() == "# the project's\n\n[query]\nmax_rows = 5\n"
    assert told == {"key": "query.max_rows", "file": "../heavenbase.toml", "value": 5, "origin": "project file"}


def test_set_says_what_holds_now_if_somebody_reads_along(
    screen: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAVENBASE_QUERY_MAX_ROWS", "9")

    ran = screen("config", "set", "query.max_rows", "5", columns=200)

    assert ran.out.startswith("query.max_rows is now 9 (env:HEAVENBASE_QUERY_MAX_ROWS); changed: ")


@pytest.mark.parametrize(
    ("key", "texts"),
    [
        ("extensions.default", ["audit,mine", "audit", "", '["a,b", ""]', '["[x]"]']),
        ("query.deadline", ["0.5", "7", "none"]),
        ("preset", ["debug"]),
        ("home", ["/a/b c", "~/x"]),
    ],
)
def test_what_get_prints_set_takes(key: str, texts: list[str], invoke: Callable[..., Result], mine: Path) -> None:
    del_home = {"env": {"HEAVENBASE_HOME": None, "XDG_CONFIG_HOME": str(mine.parent)}}
    for text in texts:
        assert invoke("config", "set", key, text, **del_home).exit_code == 0
        printed = invoke("config", "get", key, **del_home).stdout.removesuffix("\n")
        before = invoke("config", "get", key, "--json", **del_home).stdout
        invoke("config", "set", key, printed, **del_home)

        assert invoke("config", "get", key, "--json", **del_home).stdout == before


@pytest.mark.parametrize(
    ("given", "where", "written"),
    [
        ("data", "--project", "data"),
        ("./a/../data", "--project", "data"),
        ("/elsewhere", "--project", "/elsewhere"),
        ("~/data", "--project", "~/data"),
        ("data", "--user", "{project}/data"),
        ("../data", "--user", "{parent}/data"),
        ("~/data", "--user", "~/data"),
    ],
)
def test_a_path_is_written_so_that_it_means_the_same_from_everywhere(
    given: str, where: str, written: str, invoke: Callable[..., Result], file: Path, mine: Path, project: Path
) -> None:
    invoke("config", "set", "home", given, where)

    text = (file if where == "--project" else mine).read_text()
    assert tomllib.loads(text)["home"] == written.format(project=project, parent=project.parent)


def test_unset_takes_a_setting_out(invoke: Callable[..., Result], mine: Path, screen: Callable[..., Ran]) -> None:
    mine.write_text("query.max_rows = 5\nquery.deadlin = 5\n")

    told = json.loads(invoke("config", "unset", "query.max_rows", "--json").stdout)
    unknown = screen("config", "unset", "query.deadlin", columns=200)

    assert (told["value"], told["origin"]) == (1_000_000, "default")
    assert unknown.out.startswith("query.deadlin is gone; changed: ")
    assert mine.read_text().strip() == ""


def test_a_broken_file_is_one_line_that_says_where(invoke: Callable[..., Result], mine: Path) -> None:
    mine.write_text("query.max_rows = 5\nquery.deadline = \n")

    result = invoke("config", "show")

    assert result.exit_code == 2
    assert result.stderr == "hb: config.toml is no TOML: Invalid value (at line 2, column 18)\n"


def test_a_wrong_value_in_a_file_can_be_set_right(invoke: Callable[..., Result], mine: Path) -> None:
    mine.write_text("query.deadline = 'soon'\n")

    before = invoke("config", "get", "query.deadline")
    after = invoke("config", "set", "query.deadline", "5")

    assert "not 'soon' (from config.toml, line 1)" in before.stderr
    assert (after.exit_code, config.get("query.deadline")) == (0, 5)


def test_keys_are_completed_in_a_shell() -> None:
    asking = {"_HB_COMPLETE": "bash_complete", "COMP_WORDS": "hb config get query.max_", "COMP_CWORD": "3"}

    done = subprocess.run(
        [sys.executable, "-c", "from heavenbase.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **asking},
    )

    assert done.stdout == "plain,query.max_bytes\nplain,query.max_rows\n"


# -- trust -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def switching(file: Path) -> Path:
    file.write_text('query.max_rows = 5\nextensions.default = ["mine"]\nhome = "../x"\n')
    return file


def test_trust_shows_what_it_allows(invoke: Callable[..., Result], switching: Path) -> None:
    result = invoke("config", "trust", ".", "--yes")

    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result) == [
        ["key", "value", "effective"],
        ["extensions.default", "mine", "if trusted"],
        ["home", f"{switching.parent}/../x", "if trusted"],
        ["query.max_rows", "5", "always"],
    ]
    assert config.get("extensions.default") == ["mine"]


@pytest.mark.parametrize("given", [".", "heavenbase.toml", "deeper", "{project}", "{project}/heavenbase.toml"])
def test_a_project_is_named_by_its_folder_its_file_or_anything_beneath(
    given: str, invoke: Callable[..., Result], switching: Path, project: Path
) -> None:
    (project / "deeper").mkdir()
    named = given.format(project=project)

    told = json.loads(invoke("config", "trust", named, "--yes", "--json").stdout)
    listed = json.loads(invoke("config", "trust", "--list", "--json").stdout)
    taken = json.loads(invoke("config", "untrust", named.removesuffix("heavenbase.toml") or ".", "--json").stdout)

    assert told["project"] == taken["project"] == str(project)
    assert listed == [{"project": str(project), "state": "trusted"}]
    assert lines(invoke("config", "trust", "--list")) == [["project", "state"]]


def test_what_is_trusted_is_what_was_shown(invoke: Callable[..., Result], switching: Path) -> None:
    invoke("config", "trust", "--yes")
    switching.write_text('extensions.default = ["evil"]\n')

    result = invoke("config", "get", "extensions.default")

    assert result.stdout == "[]\n"
    assert "the file has changed since it was trusted" in result.stderr
    assert "changed" in invoke("config", "trust", "--list").stdout


def test_of_a_file_that_is_not_read_everything_waits_for_trust(invoke: Callable[..., Result], file: Path) -> None:
    file.write_text("query.max_rows = 5\n")
    file.chmod(0o666)

    rows = lines(invoke("config", "trust", "--yes"))

    assert rows[1:] == [["query.max_rows", "5", "if trusted"]]
    assert config.get("query.max_rows") == 5


def test_a_link_is_trusted_where_it_lies(invoke: Callable[..., Result], file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "heavenbase.toml").write_text('extensions.default = ["mine"]\n')
    file.symlink_to(other / "heavenbase.toml")

    told = json.loads(invoke("config", "trust", "heavenbase.toml", "--json", "-y").stdout)

    assert told["project"] == str(file.parent)
    assert config.get("extensions.default") == ["mine"]
    assert json.loads(invoke("config", "untrust", "heavenbase.toml", "--json").stdout)["project"] == str(file.parent)


def test_trust_in_a_folder_that_is_gone_can_be_taken_back(
    invoke: Callable[..., Result], switching: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke("config", "trust", "--yes")
    monkeypatch.chdir(project.parent)
    switching.unlink()
    project.rmdir()

    assert invoke("config", "untrust", "project").exit_code == 0
    assert lines(invoke("config", "trust", "--list")) == [["project", "state"]]


@pytest.mark.parametrize(("answer", "code", "value"), [("y", 0, ["mine"]), ("n", 1, []), ("", 1, [])])
def test_who_sits_at_a_terminal_is_asked(
    answer: str,
    code: int,
    value: list[str],
    switching: Path,
    monkeypatch: pytest.MonkeyPatch,
    a_screen: Any,
    capsys: Any,
) -> None:
    from heavenbase.cli.app import hb as command

    a_screen.write(f"{answer}\n")
    a_screen.seek(0)
    monkeypatch.setattr("sys.stdin", a_screen)

    assert command.main(["config", "trust"], standalone_mode=False) == code
    assert capsys.readouterr().err.startswith("Trust heavenbase.toml as long as it stays like this? [y/N]")
    assert config.get("extensions.default") == value


def test_who_says_yes_is_not_asked(switching: Path, screen: Callable[..., Ran]) -> None:
    ran = screen("config", "trust", "--yes")

    assert (ran.code, ran.out.splitlines()[-1]) == (0, "trusted: heavenbase.toml")
    assert screen("config", "untrust").out == "no longer trusted: heavenbase.toml\n"


@pytest.mark.parametrize(
    ("options", "why"), [([], "there is no terminal to ask you at"), (["--json"], "--json asks nothing")]
)
def test_nothing_is_trusted_where_nobody_can_be_asked_unless_yes_is_said(
    options: list[str], why: str, invoke: Callable[..., Result], switching: Path
) -> None:
    result = invoke("config", "trust", *options)

    assert result.exit_code == 2
    assert f"nothing was trusted: {why}" in result.stderr
    assert "add --yes" in result.stderr
    assert config.get("extensions.default") == []
    assert ("if trusted" in result.stdout) == (not options)  # what the file sets is shown all the same


@pytest.mark.parametrize("given", ["gone", "gone/heavenbase.toml"])
def test_a_project_folder_that_is_not_there_is_said_to_be_missing(given: str, invoke: Callable[..., Result]) -> None:
    result = invoke("config", "trust", given, "--yes")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"hb: there is no folder '{given}'")


@pytest.mark.parametrize("given", [["-3"], ["-.5"], ["--", "-x"], ["--user", "--", "-3"]])
def test_a_value_that_begins_with_a_minus_is_answered_by_the_check_of_values(
    given: list[str], invoke: Callable[..., Result]
) -> None:
    result = invoke("config", "set", "query.deadline", *given)

    assert result.exit_code == 2
    assert result.stderr.startswith("hb: query.deadline takes a positive number or None, not ")


def test_an_option_that_there_is_not_says_how_to_give_such_a_value(invoke: Callable[..., Result]) -> None:
    result = invoke("config", "set", "query.deadline", "5", "--projct")

    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert "Put a value that begins with '-' after '--'." in result.stderr


def test_a_broken_file_is_not_trusted(invoke: Callable[..., Result], file: Path) -> None:
    file.write_text("extensions.default = 5\n")

    result = invoke("config", "trust")

    assert result.exit_code == 2
    assert "extensions.default takes a list of names, not 5 (from heavenbase.toml, line 1)" in result.stderr


def test_trust_also_shows_what_only_a_newer_version_knows(invoke: Callable[..., Result], file: Path) -> None:
    file.write_text('[capsule.trust]\nroots = ["x"]\nsince = 07:32:00\n[audit.keys]\na = "s3cret"\n')

    result = invoke("config", "trust", "--json", "--yes")

    assert {row["key"]: row["value"] for row in json.loads(result.stdout)["settings"]} == {
        "capsule.trust.roots": "a list of 1",
        "capsule.trust.since": "datetime.time(7, 32)",
        "audit.keys.a": "<redacted>",
    }


def test_an_ignored_value_that_json_has_no_form_for_breaks_no_list(invoke: Callable[..., Result], file: Path) -> None:
    file.write_text("extensions.default = 07:32:00\npreset = nan\n")

    rows = json.loads(invoke("config", "show", "--origin", "--json").stdout)

    ignored = {row["key"]: row["value"] for row in rows if row["state"].startswith("ignored")}
    assert ignored == {"extensions.default": "datetime.time(7, 32)", "preset": "nan"}


def test_a_value_or_a_folder_drives_no_terminal(
    screen: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a\x1b[31mb"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("HEAVENBASE_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    (folder / "heavenbase.toml").write_text('home = "x\\u001b[32m"\n')

    printed = [
        screen("config", *command).out
        for command in (
            ["get", "home"],
            ["show", "--origin"],
            ["trust", "--yes"],
            ["trust", "--list"],
            ["set", "home", "y\x1b[33m", "--project"],
            ["unset", "home", "--project"],
            ["untrust"],
        )
    ]

    assert "\\x1b[32m" in printed[0]
    assert "\x1b[3" not in "".join(printed)


# -- other commands --------------------------------------------------------------------------------------------------


def test_a_question_goes_where_the_settings_say(invoke: Callable[..., Result], library: str, mine: Path) -> None:
    there = invoke("query", library, "book", "--count")
    mine.write_text('preset = "debug"\n')
    in_memory = invoke("query", library, "book", "--count")

    assert (there.exit_code, there.stdout) == (0, "3\n")
    assert in_memory.exit_code == 2
    assert "the setting 'preset' is 'debug' (from: user file)" in in_memory.stderr
    assert "a stored one of this id is there; ask it with HEAVENBASE_PRESET=local before" in in_memory.stderr
    assert "hb config set preset local\n" in in_memory.stderr


def test_a_project_that_looks_in_memory_is_named_with_what_to_do(
    invoke: Callable[..., Result], library: str, file: Path
) -> None:
    file.write_text('preset = "debug"\n')
    invoke("config", "trust", "--yes")

    in_memory = invoke("query", library, "book", "--count")
    by_backends = invoke("query", library, "book", "--count", "--backends", '{"main": "sqlite"}')
    assert invoke("config", "set", "preset", "local", "--project").exit_code == 0
    mended = invoke("query", library, "book", "--count")

    assert "'preset' is 'debug' (from: project file)" in in_memory.stderr
    assert "hb config set preset local --project" in in_memory.stderr
    assert (by_backends.stdout, mended.stdout) == ("3\n", "3\n")


# -- values and paths ------------------------------------------------------------------------------------------------


def test_a_path_is_shown_from_where_one_stands(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "ann"))

    shown = [
        shown_path(str(path))
        for path in (project / "a.toml", project / "b" / "c.toml", tmp_path / "a.toml", tmp_path / "ann" / "x.toml")
    ]

    assert shown == ["a.toml", "b/c.toml", "../a.toml", "~/x.toml"]
    assert shown_path("/elsewhere/a.toml") == "/elsewhere/a.toml"


def test_a_value_is_written_as_it_is_typed() -> None:
    values = [None, True, 5, 0.5, "a b", [], ["a", "b"], ["a,b"], [""]]

    assert [value_text(value) for value in values] == [
        "none",
        "true",
        "5",
        "0.5",
        "a b",
        "[]",
        "a,b",
        '["a,b"]',
        '[""]',
    ]
