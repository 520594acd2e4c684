"""What a shell offers after Tab: ids of workspaces, of entities, and names of fields.

Asked at each press of the key, so everything is quick, and whatever goes wrong gives
nothing: a shell in the midst of a line is no place for an error.

Not here: the scripts for the shells (`hb completion`); commands and options, which click knows.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from io import StringIO
from typing import Any

import click
from click.shell_completion import CompletionItem

Completer = Callable[[click.Context, click.Parameter, str], list[str]]


@contextmanager
def silent() -> Generator[None]:
    """Where a shell asks, nothing is logged or said on stderr, whatever a plugin or a workspace has to say."""
    if "_HB_COMPLETE" not in os.environ:
        yield
        return
    logging.disable()
    try:
        with redirect_stderr(StringIO()):
            yield
    except Exception:  # noqa: BLE001  # a shell in the midst of a line is no place for a traceback
        sys.exit(1)
    finally:
        logging.disable(logging.NOTSET)


def quiet(find: Callable[[click.Context, str], Iterable[str]]) -> Completer:
    """A completer from a function that finds words; one that fails finds none and says nothing."""

    @wraps(find)
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            with redirect_stdout(StringIO()):
                return [word for word in find(context, incomplete) if word.startswith(incomplete)]
        except (Exception, SystemExit):  # noqa: BLE001  # a damaged workspace, a plugin's code: nothing is offered
            return []

    return complete


def folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders, which the shell itself finds."""
    return [CompletionItem(incomplete, type="dir")]


def picks(kind: str) -> Completer:
    """The names of one kind that `hb capabilities` lists, such as ``ops``."""

    @quiet
    def listed(context: click.Context, incomplete: str) -> Iterable[str]:
        from heaven_core.capabilities import process_capabilities

        return getattr(process_capabilities(), kind)()

    return listed


@quiet
def workspaces(context: click.Context, incomplete: str) -> Iterable[str]:
    """The workspaces in the usual place."""
    from heaven_core.workspace import workspace_ids

    return workspace_ids()


@quiet
def entities(context: click.Context, incomplete: str) -> Iterable[str]:
    """The entities of the workspace that the line names."""
    with _opened(context) as workspace:
        return [one.schema.id for one in workspace.core().usable_stored()[0]]


@quiet
def fields(context: click.Context, incomplete: str) -> Iterable[str]:
    """The fields of the entity that the line names, after the commas of a list and its minus."""
    before, comma, last = incomplete.rpartition(",")
    minus = "-" if last.startswith("-") else ""
    with _opened(context) as workspace:
        names = workspace.core().stored(_argument(context, "entity", 1)).schema.names
    given = {name.lstrip("-") for name in before.split(",")}
    return [f"{before}{comma}{minus}{name}" for name in names if name not in given]


def _opened(context: click.Context) -> Any:
    from heavenbase.cli.location import opened

    backends = context.params.get("backends")
    if backends == "-":  # stdin belongs to the shell
        raise EOFError
    return opened(_argument(context, "workspace", 0), context.params.get("path"), backends)


def _argument(context: click.Context, name: str, place: int) -> str:
    """An argument of the line; after an option whose value is being typed click leaves them all in `args`."""
    return context.params.get(name) or context.args[place]
