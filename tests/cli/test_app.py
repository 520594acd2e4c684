"""The `hb` group: help, version, exit codes, errors as one line, and what it costs those who don't use it."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

import heavenbase as hb
from heavenbase.cli import main
from heavenbase.cli.app import COMMANDS, exit_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration


def test_the_installed_script_is_this_one() -> None:
    (found,) = importlib.metadata.entry_points(group="console_scripts", name="hb")

    assert found.load() is main


def test_the_import_of_heavenbase_loads_neither_the_command_nor_what_it_prints_with() -> None:
    script = (
        "import sys, heavenbase, heavenbase.cli\n"
        "names = ('click', 'rich', 'heavenbase.cli.app')\n"
        "print([name for name in names if name in sys.modules])\n"
        "import heavenbase.cli.app\n"
        "print([name for name in ('click', 'rich') if name in sys.modules])\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == ["[]", "['click']"], done.stderr


def test_the_version_is_printed(run: Callable[..., Ran]) -> None:
    assert run("--version") == (0, f"hb {hb.__version__}\n", "")


def test_help_lists_every_command(run: Callable[..., Ran]) -> None:
    asked, bare, short = run("--help"), run(), run("-h")

    assert (asked.code, asked.err) == (0, "")
    assert asked.out == bare.out == short.out
    assert all(f"\n  {name}" in asked.out for name in COMMANDS)
    assert "..." not in asked.out.partition("Commands:")[2]


WITHOUT_JSON = {"completion", "shell"}
"""Commands whose output is no data."""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_and_its_json_option(name: str, invoke: Callable[..., Result]) -> None:
    result = invoke(name, "--help")

    assert (result.exit_code, result.stderr) == (0, "")
    assert ("--json" in result.stdout) == (name not in WITHOUT_JSON)
    assert f"hb {name}" in result.stdout.partition("Example")[2]


@pytest.mark.parametrize("name", ["query", "explain"])
def test_the_help_says_what_path_and_backends_take(name: str, invoke: Callable[..., Result]) -> None:
    words = " ".join(invoke(name, "--help").stdout.split())

    assert "--path DIR The folder of this workspace itself, the one that holds main.db" in words
    assert "--backends JSON|@FILE|- " in words
    assert '{"main": {"type": "sqlite", "database": "notes.db"}}' in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plugns"], "there is no command 'plugns'; did you mean 'plugins'? Try 'hb --help'."),
        (["plugin", "nwe"], "hb plugin has no command 'nwe'; did you mean 'new'? Try 'hb plugin --help'."),
        (["plugins", "--chek"], "did you mean"),
        (["query", "library"], "Missing argument 'ENTITY'. Try 'hb query --help'."),
        (["query", "library", "book", "more"], "unexpected extra argument"),
        (["--nope"], "Try 'hb --help'."),
        (["pl\nug\x1b[31m"], "there is no command"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, invoke: Callable[..., Result]
) -> None:
    result = invoke(*arguments)

    (line,) = result.stderr.splitlines()
    assert (result.exit_code, result.stdout, line[:4]) == (2, "", "hb: ")
    assert message.lower() in line.lower()
    assert "\x1b" not in line


def test_a_wrong_call_is_json_where_json_was_asked_for(invoke: Callable[..., Result]) -> None:
    result = invoke("plugins", "--json", "--chek")

    assert (result.exit_code, result.stdout) == (2, "")
    assert set(json.loads(result.stderr)) == {"error", "message"}


def test_an_interrupt_ends_quietly() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert exit_code(interrupted, as_json=False) == 130


def test_an_error_of_ours_that_nobody_foresaw_is_not_hidden() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(broken, as_json=False)


def test_the_group_can_be_called_without_leaving_the_process(capsys: pytest.CaptureFixture[str]) -> None:
    from heavenbase.cli.app import hb as command

    code = command.main(["plugns"], standalone_mode=False)

    assert (code, capsys.readouterr().err[:4]) == (2, "hb: ")


def test_a_shell_can_complete_commands_and_options() -> None:
    script = [sys.executable, "-c", "from heavenbase.cli import main; main()"]
    asking = {"_HB_COMPLETE": "bash_complete", "COMP_WORDS": "hb pl", "COMP_CWORD": "1"}

    done = subprocess.run(script, capture_output=True, text=True, check=False, env={**os.environ, **asking})

    assert done.stdout == "plain,plugin\nplain,plugins\n"


def test_every_command_is_a_command(invoke: Callable[..., Result]) -> None:
    from heavenbase.cli.app import hb as group

    context = click.Context(group)

    assert group.list_commands(context) == sorted(COMMANDS)
    assert all(isinstance(group.get_command(context, name), click.Command) for name in COMMANDS)
    assert group.get_command(context, "nope") is None


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (BrokenPipeError(), 0, ""),
        (OSError(28, "No space left on device"), 2, "hb: the system refused: No space left on device\n"),
        (SystemExit(0), 1, "hb: a plugin ended the process while it was loaded\n"),
    ],
)
def test_what_the_system_or_a_plugin_raises_has_an_exit_code(
    raised: BaseException, code: int, told: str, a_screen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> None:
        raise raised

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", a_screen)

    assert exit_code(failing, as_json=False) == code
    assert a_screen.getvalue() == told
