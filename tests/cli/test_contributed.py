"""Commands that extensions bring: listed, called, completed; and what is broken is a warning and no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration

DECLARED = """
from heaven_core.plugin import Extension, ExtensionSpec
EXTENSION = Extension(ExtensionSpec({name!r}), plugin="hb_{name}_hooks:Hooks")
"""
HOOKS = """
from heaven_core.hooks import hookimpl

class Hooks:
    @hookimpl
    def heaven_commands(self):
        {body}
"""
COMMANDS = """
import sys
import click
import heavenbase as hb

@click.command()
@click.argument("workspace")
@click.option("--loud", is_flag=True)
def greet(workspace, loud):
    "Greet every book."
    with hb.HeavenBase(workspace) as ws:
        for title in ws.query("book").order_by("object_id").execute().column("title")[:1]:
            click.echo(f"hello {title.upper() if loud else title}")

@click.command()
@click.argument("code")
def leave(code):
    if code == "return":
        return 4
    if code == "true":
        return True
    if code == "exit":
        click.get_current_context().exit(5)
    sys.exit(int(code) if code.isdigit() else code)

@click.command()
def burst():
    raise ZeroDivisionError("by zero")

@click.group()
def many():
    "Several."

@many.command()
def one():
    click.echo("one")

NOTHING = 3
"""


def _install(site: Site, name: str, body: str, commands: str | None = None) -> None:
    modules = {f"hb_{name}": DECLARED.format(name=name), f"hb_{name}_hooks": HOOKS.format(body=body)}
    if commands is not None:
        modules[f"hb_{name}_commands"] = commands
    site.install(f"hb-{name}", f"[heavenbase.extension]\n{name} = hb_{name}:EXTENSION\n", **modules)


@pytest.fixture
def greeting(site: Site) -> Site:
    names = ("greet", "leave", "burst", "many", "nothing", "gone")
    body = f"return {{name: f'hb_greeting_commands:{{name}}' for name in {names!r}}}"
    _install(site, "greeting", body.replace("{name}'", '{name.upper() if name == "nothing" else name}\''), COMMANDS)
    return site


@pytest.fixture
def greet(greeting: Site, run: Callable[..., Ran]) -> Callable[..., Ran]:
    """Run `hb` in a process that has the distribution `hb-greeting`."""

    def ran(*arguments: str, **environment: str) -> Ran:
        return run(*arguments, PYTHONPATH=str(greeting.folder), **environment)

    return ran


def test_help_lists_them_with_their_distribution(greet: Callable[..., Ran]) -> None:
    ran = greet("--help")

    section = ran.out.partition("Commands of extensions:\n")[2]
    assert (ran.code, ran.err) == (0, "")
    assert section.splitlines()[2].split() == ["greet", "from", "hb-greeting", "1.0"]


def test_help_imports_none_of_them(greet: Callable[..., Ran], greeting: Site) -> None:
    (greeting.folder / "hb_greeting_commands.py").write_text("1 / 0")

    ran = greet("--help")

    assert (ran.code, ran.err) == (0, "")
    assert " greet " in ran.out


def test_one_is_called_like_ours(greet: Callable[..., Ran], library: str) -> None:
    plain = greet("greet", library)
    loud = greet("greet", library, "--loud")
    explained = greet("greet", "--help")
    below = greet("many", "one")

    assert plain == (0, "hello The Wild Garden\n", "")
    assert loud.out == "hello THE WILD GARDEN\n"
    assert "Usage: hb greet [OPTIONS] WORKSPACE" in explained.out
    assert below == (0, "one\n", "")


def test_its_errors_are_told_like_ours(greet: Callable[..., Ran], library: str) -> None:
    refused = greet("greet", "No such id")
    misused = greet("greet", library, "--lound")
    as_json = greet("greet", "No such id", "--json")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("hb: workspace id 'No such id' must be")
    assert (misused.code, misused.err.count("\n")) == (2, 1)
    assert "Did you mean '--loud'?" in misused.err
    assert json.loads(as_json.err)["error"] == "NoSuchOption"


@pytest.mark.parametrize(
    ("word", "code", "err"),
    [("return", 4, ""), ("true", 0, ""), ("exit", 5, ""), ("0", 0, ""), ("7", 7, ""), ("sorry", 1, "sorry\n")],
)
def test_its_exit_code_is_its_own(word: str, code: int, err: str, greet: Callable[..., Ran]) -> None:
    ran = greet("leave", word)

    assert (ran.code, ran.out, ran.err) == (code, "", err)


def test_a_fault_in_it_is_not_hidden(greet: Callable[..., Ran]) -> None:
    ran = greet("burst")

    assert ran.code == 1
    assert ran.err.endswith("ZeroDivisionError: by zero\n")


@pytest.mark.parametrize(
    ("name", "why"),
    [("nothing", "is of type int, which is no click command"), ("gone", "has no attribute 'gone'")],
)
def test_one_that_cannot_be_loaded_is_an_error_when_it_is_named(name: str, why: str, greet: Callable[..., Ran]) -> None:
    ran = greet(name)

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"hb: the command '{name}' of hb-greeting 1.0 ")
    assert why in ran.err


def test_a_misspelt_name_gets_a_suggestion(greet: Callable[..., Ran]) -> None:
    ran = greet("gret")

    assert (ran.code, ran.err) == (2, "hb: there is no command 'gret'; did you mean 'greet'? Try 'hb --help'.\n")


def test_our_own_commands_load_no_extension(site: Site, run: Callable[..., Ran], library: str) -> None:
    _install(site, "bad", "print('loaded')\n        return {}")

    ran = run("query", library, "book", "--count", PYTHONPATH=str(site.folder))

    assert ran == (0, "3\n", "")


BROKEN = [
    ("1 / 0", "the commands of hb-bad 1.0 are left out: ZeroDivisionError: division by zero"),
    ("raise SystemExit(3)", "the commands of hb-bad 1.0 are left out: SystemExit: 3"),
    ("return [1]", "heaven_commands gives a mapping of names to 'module:attribute', not a list"),
    ("return {'Bad Name': 'a:b'}", "the name of a command 'Bad Name' must be"),
    ("return {1: 'a:b'}", "the name of a command 1 must be"),
    ("return {'fine': 'no_colon'}", "the command 'fine' is named as 'module:attribute', not 'no_colon'"),
    ("return {'fine': print}", "the command 'fine' is named as 'module:attribute', not "),
    ("return {'query': 'a:b'}", "hb-bad 1.0 wants to be the command 'query', which hb has itself; it is left out"),
]


@pytest.mark.parametrize(("body", "warning"), BROKEN)
def test_a_broken_extension_is_a_warning_and_the_others_work(
    body: str, warning: str, greet: Callable[..., Ran], greeting: Site, library: str
) -> None:
    _install(greeting, "bad", body)

    helped, called, unknown = greet("--help"), greet("greet", library), greet("gret")

    assert (helped.code, called.code, unknown.code) == (0, 0, 2)
    assert " greet " in helped.out
    assert called.out == "hello The Wild Garden\n"
    assert helped.err.count("\n") == 1
    assert helped.err == called.err
    assert helped.err.startswith("hb: warning: ")
    assert warning in helped.err


@pytest.mark.parametrize("broken", ["declaration", "hooks", "misspelt", "arguments"])
def test_an_extension_that_cannot_be_loaded_is_a_warning(
    broken: str, greet: Callable[..., Ran], greeting: Site, library: str
) -> None:
    _install(greeting, "bad", "return {}")
    file = greeting.folder / ("hb_bad.py" if broken == "declaration" else "hb_bad_hooks.py")
    changed = {
        "declaration": "1 / 0",
        "hooks": "1 / 0",
        "misspelt": file.read_text().replace("heaven_commands", "heaven_comands"),
        "arguments": file.read_text().replace("(self)", "(self, group)"),
    }
    file.write_text(changed[broken])

    ran = greet("greet", library)

    assert (ran.code, ran.out) == (0, "hello The Wild Garden\n")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("hb: warning: the extension plugin 'bad' of hb-bad 1.0 failed at stage")


def test_a_name_that_two_want_goes_to_neither(greet: Callable[..., Ran], greeting: Site, library: str) -> None:
    _install(greeting, "rival", "return {'greet': 'hb_greeting_commands:one', 'other': 'hb_greeting_commands:one'}")

    ran = greet("greet", library)

    warning, error = ran.err.splitlines()
    assert ran.code == 2
    assert warning == (
        "hb: warning: hb-greeting 1.0 and hb-rival 1.0 both want to be the command 'greet'; "
        "it goes to neither, uninstall one of them"
    )
    assert error.startswith("hb: there is no command 'greet'")
    assert greet("other").out == "one\n"


def test_an_extension_without_commands_brings_none(site: Site, run: Callable[..., Ran]) -> None:
    site.extension("plain", DECLARED.format(name="plain").replace(', plugin="hb_plain_hooks:Hooks"', ""))

    ran = run("--help", PYTHONPATH=str(site.folder))

    assert (ran.code, ran.err) == (0, "")
    assert "Commands of extensions" not in ran.out


def test_a_disabled_extension_brings_none(greet: Callable[..., Ran]) -> None:
    ran = greet("greet", HEAVENBASE_NO_PLUGINS="1")

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("hb: there is no command 'greet'")


def test_they_are_found_in_the_same_process_too(invoke: Callable[..., Result], installed: Site, library: str) -> None:
    _install(installed, "hello", "return {'greet': 'hb_hello_commands:greet'}", COMMANDS)

    result = invoke("greet", library)

    assert (result.exit_code, result.stdout) == (0, "hello The Wild Garden\n")
