"""How foreign code leaves: what `exit()` at a prompt, or `sys.exit()` in an extension's command, means."""

from __future__ import annotations

import click


def code_of(ended: SystemExit) -> int:
    """The exit code that Python would give; as Python does, prints what is neither a number nor None."""
    if ended.code is None or isinstance(ended.code, int):
        return ended.code or 0
    click.echo(ended.code, err=True)
    return 1
