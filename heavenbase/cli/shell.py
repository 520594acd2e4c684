"""`hb shell`: a Python prompt with a workspace in it, or the lines that are piped in."""

from __future__ import annotations

import ast
import code
import linecache
import sys
import traceback
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.completing import workspaces
from heavenbase.cli.leaving import code_of
from heavenbase.cli.location import located, opened
from heavenbase.cli.output import working

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.workspace import HeavenBase

FILE = "<hb shell>"
MOST_NAMES = 20
MOST_LINES = 1000
"""Lines of history that are kept."""


_EXAMPLES = """\b
Examples:
  hb shell library
  echo 'ws.query("book").order_by("-year").execute()' | hb shell library
"""


@click.command(epilog=_EXAMPLES, short_help="Open a Python prompt with a workspace in it.")
@click.argument("workspace", shell_complete=workspaces)
@located
@click.option("--plain", is_flag=True, help="Python's own prompt, even where IPython is installed.")
def shell(workspace: str, path: str | None, backends: str | None, plain: bool) -> int:
    """Open a Python prompt with WORKSPACE in it, which is closed at the end.

    In scope are ws, the workspace; hb, which is heavenbase; and its entities' classes by
    name. Answers are printed as tables. What is piped in is run instead, up to the first
    error, and the exit code is 1 if there is one. The prompt is IPython's where that is
    installed.
    """
    stream: Any = sys.stdin
    if stream is None:  # None where whoever started us has closed it
        raise click.UsageError("hb shell reads stdin, which is closed.")
    if backends == "-":
        raise click.UsageError("hb shell reads its lines from stdin; give --backends as JSON or @file.")
    with ExitStack() as held:
        with working(f"opening {workspace}"):
            ws = held.enter_context(opened(workspace, path, backends))
            names = namespace(ws)
        try:
            return _prompt(names, plain=plain) if stream.isatty() else run(stream.read(), names)
        except SystemExit as ended:  # exit() is how a prompt is left
            return code_of(ended)


def namespace(workspace: HeavenBase) -> dict[str, Any]:
    """What is in scope; of entities with one class name the first has it, and a keyword is none."""
    import heavenbase as hb

    names: dict[str, Any] = {"__name__": "__main__", "hb": hb, "ws": workspace}
    for stored in workspace.core().usable_stored()[0]:
        if not iskeyword(stored.cls.__name__):
            names.setdefault(stored.cls.__name__, stored.cls)
    return names


# piped in ------------------------------------------------------------------------------------------------------------


def run(source: str, names: dict[str, Any]) -> int:
    """Run lines, and print the values of expressions as a prompt does; 1 if one raised."""
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)  # for tracebacks
    try:
        body = ast.parse(source, FILE).body
    except (SyntaxError, ValueError) as error:
        traceback.print_exception(error, limit=0)
        return 1
    for statement in body:
        try:
            exec(_compiled(statement), names)  # noqa: S102  # what the user typed
        except BrokenPipeError:  # whoever reads has had enough
            raise
        except Exception as error:  # noqa: BLE001  # whatever it raises is the user's
            traceback.print_exception(error.with_traceback(_beyond_ours(error)))
            return 1
    return 0


def _beyond_ours(error: Exception) -> Any:
    return error.__traceback__ and error.__traceback__.tb_next


def _compiled(statement: ast.stmt) -> Any:
    if isinstance(statement, ast.Expr):
        return compile(ast.Interactive([statement]), FILE, "single", dont_inherit=True)
    return compile(ast.Module([statement], []), FILE, "exec", dont_inherit=True)


# a prompt ------------------------------------------------------------------------------------------------------------


def _prompt(names: dict[str, Any], *, plain: bool) -> int:
    start = None if plain else _ipython()
    click.echo(_banner(names))
    if start is not None:
        start(argv=["--no-banner"], user_ns=names)
        return 0
    with _editing(names):
        code.interact(banner="", local=names, exitmsg="")
    return 0


def _banner(names: dict[str, Any]) -> str:
    from heaven_core._version import __version__

    classes = [name for name, value in names.items() if isinstance(value, type)]
    listed = ", ".join(classes[:MOST_NAMES]) + (", ..." if len(classes) > MOST_NAMES else "")
    python = sys.version.partition(" ")[0]
    return f"HeavenBase {__version__} on Python {python}. In scope: ws ({names['ws'].id}), hb, {listed}."


def _ipython() -> Any:
    """What starts IPython, or None."""
    from importlib import import_module

    try:
        return import_module("IPython").start_ipython
    except ImportError:
        return None


@contextmanager
def _editing(names: dict[str, Any]) -> Generator[None]:
    """Completion by Tab, and the lines of earlier prompts, where Python has readline."""
    try:
        import readline
        import rlcompleter
    except ImportError:
        yield
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    history = _history()
    with suppress(OSError):  # there is none yet
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_history_length(MOST_LINES)
        with suppress(OSError):  # no folder for it, and the workspace is elsewhere; or it is full
            history.touch(mode=0o600)  # values may stand in it
            readline.write_history_file(history)


def _history() -> Path:
    from heaven_core import config

    return config.home() / "shell-history"
