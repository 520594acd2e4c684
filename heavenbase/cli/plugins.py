"""`hb plugins`: every installed plugin, the broken ones included."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.output import as_json_option, print_json, print_table, records, working
from heavenbase.cli.pager import paged

if TYPE_CHECKING:
    from heaven_core.discovery import PluginFailure, PluginRef
    from heaven_core.plugin import Extension

COLUMNS = ("kind", "name", "version", "dist", "api", "state", "available", "note")


_EXAMPLES = """\b
Examples:
  hb plugins
  hb plugins --check --json
"""


@click.command(epilog=_EXAMPLES, short_help="List the installed plugins.")
@click.option("--check", is_flag=True, help="Load engines and handlers too, and activate each extension.")
@as_json_option
@paged
def plugins(check: bool, as_json: bool) -> int:
    """List the installed plugins: storage engines and extensions.

    The declarations are loaded, which imports no engine. With --check everything is
    loaded, and every extension is activated in a workspace in memory that is thrown
    away. An engine whose library isn't installed is not available, which is no failure;
    the note has the command that installs it.

    The exit code is 1 if any plugin failed, at whichever stage: import, attribute,
    type, api, hook or activate.
    """
    with working("looking for plugins") as tell, silent_log():
        rows = listing(tell, check=check)
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, records(COLUMNS, [_readable(row) for row in rows]), is_prose=True)
    return 1 if any(row["failure"] for row in rows) else 0


def listing(tell: Callable[[str], None], *, check: bool) -> list[dict[str, Any]]:
    """Every installed plugin as `Index.listing` has it, declarations loaded; with `check` all of it."""
    from heaven_core.activation import INSTALLED  # activation adds the check of hooks
    from heaven_core.discovery import EXTENSION, STORAGE
    from heaven_core.plugin import Extension

    outcomes: dict[PluginRef, Any] = {}
    for ref in (*INSTALLED.refs(STORAGE), *INSTALLED.refs(EXTENSION)):
        tell(f"loading {ref.name}")
        outcomes[ref] = INSTALLED.load(ref)
    active: dict[str, Extension | PluginFailure] = {}
    for ref, outcome in outcomes.items():
        if check and isinstance(outcome, Extension):
            tell(f"activating {ref.name}")
            active[ref.name] = _activated(ref, outcome)
    tell("loading engines")
    return INSTALLED.listing(active, check=check)


def _activated(ref: PluginRef, extension: Extension) -> Extension | PluginFailure:
    """The extension if a new workspace can activate it, or else why not."""
    from heaven_core import config
    from heaven_core.discovery import PluginFailure
    from heaven_core.errors import HeavenError
    from heaven_core.workspace import HeavenBase

    # Without the default extensions, so that each one answers for itself and for what it requires.
    try:
        with config.override(extensions__default=[]), HeavenBase("hb-plugins-check", preset="debug") as workspace:
            workspace.enable_extension(ref.name)
    except HeavenError as error:
        cause = error.__cause__ if getattr(error, "name", ref.name) == ref.name else None
        hint = f"it loads and no workspace can use it: pip install --upgrade {ref.dist}"
        return PluginFailure(ref, "activate", cause if isinstance(cause, Exception) else error, hint)
    return extension


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with words for `available`, and a note that says why and what to do."""
    failure = row["failure"]
    available = {True: "yes", False: "no", None: None}[row["available"]]
    remark: str | None = None
    if failure:
        remark = f"{failure['stage']}: {failure['error']}; {failure['hint']}"
    elif available == "no":
        remark = row["install"]
    return {**row, "available": available, "note": remark}


@contextmanager
def silent_log() -> Generator[None]:
    """Keep failures out of the log, because the list has them."""
    logger = logging.getLogger("heavenbase.plugins")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
