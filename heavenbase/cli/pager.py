"""Long output goes through the reader's pager, on a terminal only.

What a command prints is held until it ends; if it is longer than the terminal, the
program that `PAGER` names shows it (else `less` or `more`). In a pipe nothing is held.

Not here: what is printed (`heavenbase.cli.output`).
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from shutil import get_terminal_size
from typing import Any, TypeVar

import click

from heavenbase.cli.output import on_terminal

Command = TypeVar("Command", bound=Callable[..., Any])


class Held(io.StringIO):
    """What is printed on a terminal, not shown yet; it looks like that terminal to whoever prints."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # of StringIO it is None
        return self._encoding

    def isatty(self) -> bool:
        return True


def paged(command: Command) -> Command:
    """Show what a command prints through a pager if it is long, and give it `--no-pager`."""

    @wraps(command)
    def showing(*args: Any, no_pager: bool, **given: Any) -> Any:
        with _held(wanted=not no_pager):
            return command(*args, **given)

    made: Any = click.option("--no-pager", is_flag=True, help="Print long output as it is, without a pager.")(showing)
    return made


@contextmanager
def _held(*, wanted: bool) -> Generator[None]:
    stream: Any = sys.stdout
    if not wanted or not on_terminal() or not _is_answered():
        yield
        return
    held = Held(stream.encoding or "utf-8")
    try:
        with redirect_stdout(held):
            yield
    finally:
        _show(stream, held.getvalue())


def _is_answered() -> bool:
    """Whether somebody can tell a pager to go on."""
    stream: Any = sys.stdin
    return stream is not None and stream.isatty()


def _show(stream: Any, text: str) -> None:
    columns, lines = get_terminal_size()
    # The prompt that follows takes a line, too.
    if _height(text, columns) < lines:
        stream.write(text)
    else:
        stream.flush()
        click.echo_via_pager(text.removesuffix("\n"))


def _height(text: str, columns: int) -> int:
    """How many lines of a terminal `text` takes, as far as that can be known without measuring each letter."""
    lengths = (len(click.unstyle(line)) for line in text.splitlines())
    return sum(max(1, -(-length // max(columns, 1))) for length in lengths)
