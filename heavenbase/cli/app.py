"""The `hb` group: which commands there are, what their exit codes mean, and how an error is told.

A command returns its exit code, or None for 0. Codes: 0 all is well, 1 the command
found something broken, 2 it was used wrongly or HeavenBase refused, 130 interrupted.
An error is one line on stderr, or one JSON object there where `--json` was given;
what HeavenBase logs as a warning is told the same way.

Installed extensions add commands (`heavenbase.cli.contributed`); they are looked for when
help is asked for, or a name that none of ours has.

Not here: the commands, one module each, imported when one is used.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import pairwise
from typing import Any

import click
from click.shell_completion import CompletionItem

from heaven_core._version import __version__
from heaven_core.errors import HeavenError, did_you_mean, shown
from heavenbase.cli.completing import silent
from heavenbase.cli.contributed import contributed_commands
from heavenbase.cli.leaving import code_of
from heavenbase.cli.output import escaped, json_text, write

FINDINGS, REFUSED, INTERRUPTED = 1, 2, 130

FOREIGN = "heavenbase.foreign-command"
"""The key in a context's `meta` of the name of a command that an extension brings."""

COMMANDS = {
    "capabilities": "heavenbase.cli.capabilities:capabilities",
    "completion": "heavenbase.cli.completion:completion",
    "config": "heavenbase.cli.config:config",
    "doctor": "heavenbase.cli.doctor:doctor",
    "explain": "heavenbase.cli.explain:explain",
    "ls": "heavenbase.cli.ls:ls",
    "plugin": "heavenbase.cli.plugin:plugin",
    "plugins": "heavenbase.cli.plugins:plugins",
    "query": "heavenbase.cli.query:query",
    "schema": "heavenbase.cli.schema:schema",
    "shell": "heavenbase.cli.shell:shell",
}


class Commands(click.Group):
    """A group whose commands are imported when they are named, and whose errors are one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        return getattr(import_module(module), attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        found = contributed_commands(COMMANDS)
        if name not in found:
            known = {*COMMANDS, *found}
            raise click.UsageError(f"there is no command {shown(name)}; {did_you_mean(name, known)}", ctx)
        ctx.meta[FOREIGN] = name
        return name, found[name].loaded(), args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(ctx, formatter)
        if found := contributed_commands(COMMANDS):
            with formatter.section("Commands of extensions"):
                formatter.write_dl([(name, f"from {one.source}") for name, one in sorted(found.items())])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        own = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            return own
        found = contributed_commands(COMMANDS)
        more = [CompletionItem(name, help=f"from {found[name].source}") for name in sorted(found)]
        return own + [item for item in more if item.value.startswith(incomplete)]

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that `args` name, and exit; without `standalone_mode` return the exit code."""
        with silent():
            self._main_shell_completion(extra, "hb", complete_var)
        given = sys.argv[1:] if args is None else list(args)

        def call() -> Any:
            with self.make_context("hb", list(given), **extra) as context:
                try:
                    return self.invoke(context)
                except SystemExit as ended:
                    if FOREIGN in context.meta:  # a command of somebody else may end as it likes
                        raise click.exceptions.Exit(code_of(ended)) from None
                    raise

        code = exit_code(call, as_json=_wants_json(given))
        if standalone_mode:
            sys.exit(code)
        return code


def _wants_json(given: Sequence[str]) -> bool:
    """Whether the result is to be JSON; looked for in the words, because errors in them are told so, too."""
    forms = {"json", "jsonl"}
    return (
        "--json" in given
        or any(option == "--format" and form in forms for option, form in pairwise(given))
        or any(word.partition("=")[0] == "--format" and word.partition("=")[2] in forms for word in given)
    )


_EPILOG = """\b
Exit codes:
  0  all is well
  1  something is broken (a plugin, a workspace)
  2  a wrong argument, or HeavenBase refused

\b
Example:
  hb query library book --order -year --limit 3
"""


@click.group(
    cls=Commands,
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hb", message="%(prog)s %(version)s")
@click.pass_context
def hb(context: click.Context) -> None:
    """HeavenBase from a shell: what is installed, what a workspace holds, and questions to it.

    On a terminal the answers are tables, paged where they are long; in a pipe they are
    lines with tabs between the columns; with --json they are JSON.
    """
    if context.invoked_subcommand is None:
        write(context.get_help())


def exit_code(call: Callable[[], Any], *, as_json: bool) -> int:
    """The code to exit with after `call`, whose errors are told on stderr."""
    _accept_any_text()
    try:
        with _warnings_told(as_json=as_json):
            result = call()
        _flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (click.Abort, EOFError, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return _complain(error, f"{_words(error)}{_help_hint(error)}", as_json=as_json)
    except HeavenError as error:
        return _complain(error, error.message, as_json=as_json)
    except OSError as error:
        return _unwritten(error, as_json=as_json)
    except SystemExit as error:
        return _complain(error, "a plugin ended the process while it was loaded", as_json=as_json, code=FINDINGS)
    return result if type(result) is int else 0


def _accept_any_text() -> None:
    """Print what the terminal's encoding lacks as an escape instead of failing."""
    stream: Any = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    stream: Any = sys.stdout
    if stream is not None:  # None where whoever started us has closed it
        stream.flush()


def _complain(error: BaseException, message: str, *, as_json: bool, code: int = REFUSED) -> int:
    _tell("error", message, as_json=as_json, name=type(error).__name__)
    return code


def _tell(kind: str, message: str, *, as_json: bool, name: str = "") -> None:
    line = escaped(message)
    if as_json:
        body = {kind: name, "message": line} if name else {kind: line}
        click.echo(json_text(body, ascii_only=True), err=True)
    else:
        click.echo(f"hb: {line}" if kind == "error" else f"hb: {kind}: {line}", err=True)


def _words(error: click.ClickException) -> str:
    """The message on one line: click lists what can be chosen on a line each."""
    text = error.format_message()
    return f"{text.rstrip('.')}.".replace("\n\t", " ") if isinstance(error, click.MissingParameter) else text


def _help_hint(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" Try '{context.command_path} --help'." if context is not None else ""


def _unwritten(error: OSError, *, as_json: bool) -> int:
    """Whoever reads the output has had enough (which is no error), or it cannot be written."""
    # Python flushes once more at its end, and must not fail again.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 0
    return _complain(error, f"the system refused: {error.strerror or type(error).__name__}", as_json=as_json)


class _Teller(logging.Handler):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__(logging.WARNING)
        self._as_json = as_json
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._told:
            self._told.add(message)
            _tell("warning", message, as_json=self._as_json)


@contextmanager
def _warnings_told(*, as_json: bool) -> Generator[None]:
    logger, teller = logging.getLogger("heavenbase"), _Teller(as_json=as_json)
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)
