"""`hb config`: settings, the files that they come from, and which projects are trusted.

Not here: what a setting takes and where it comes from (`heaven_core.config`), writing
the files (`heaven_core.config_edit`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from heavenbase.cli.output import as_json_option, escaped, note, on_terminal, print_json, print_table, records, write
from heavenbase.cli.trust import trust, untrust
from heavenbase.cli.values import shown_path, shown_value, value_text
from heavenbase.cli.verbs import Verbs

COLUMNS = ("key", "value")
ORIGIN_COLUMNS = ("key", "value", "origin", "file", "state")


_EXAMPLES = """\b
Examples:
  hb config show --origin --json
  hb config set query.deadline 5
  hb config set extensions.default audit,mine --project
  hb config trust .
"""


@click.group(cls=Verbs, epilog=_EXAMPLES, invoke_without_command=True, short_help="Read and change settings.")
@click.pass_context
def config(context: click.Context) -> None:
    """Read and change settings.

    A setting comes from the first layer that has it: code, environment, the nearest
    heavenbase.toml at or above the current folder, your own config.toml, defaults.
    """
    if context.invoked_subcommand is None:
        write(context.get_help())


def _keys(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from heaven_core.config import KEYS

    return [key for key in KEYS if key.startswith(incomplete)]


_key = click.argument("key", shell_complete=_keys)
_project = click.option("--project", is_flag=True, help="In the project's heavenbase.toml.")
_user = click.option("--user", is_flag=True, help="In your own config.toml, which is the default.")


@config.command(epilog="\b\nExample:\n  hb config get query.deadline\n", short_help="Print the value of a setting.")
@_key
@as_json_option
def get(key: str, as_json: bool) -> None:
    """Print the value of the setting KEY in the form that `hb config set` takes."""
    from heaven_core.config import known, setting

    found, name = setting(key), known(key)
    value = shown_value(name, found.value)
    if as_json:
        print_json({"key": name, "value": value, "origin": found.origin})
    else:
        write(escaped(value_text(value)) if on_terminal() else value_text(value))


class SetCommand(click.Command):
    """A command that takes a negative number for a value and not for an option, so that the value is checked."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = any(_NEGATIVE.match(word) for word in args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(
                f"{error.format_message()} Put a value that begins with '-' after '--'.", ctx
            ) from None


_NEGATIVE = re.compile(r"-[.\d]")

_SET_EXAMPLES = """\b
Examples:
  hb config set query.max_rows 5000
  hb config set query.deadline none
  hb config set extensions.default audit,mine --project
"""


@config.command("set", cls=SetCommand, epilog=_SET_EXAMPLES, short_help="Set a setting in a file.")
@_key
@click.argument("value")
@_project
@_user
@as_json_option
def set_(key: str, value: str, project: bool, user: bool, as_json: bool) -> None:
    """Set KEY to VALUE in a file, whose comments and order stay.

    A list is written with commas between the names. With --project the file is the
    nearest heavenbase.toml at or above the current folder, or a new one in it. Words that
    begin with - are options, but for numbers and for what comes after --.
    """
    from heaven_core import config as settings
    from heaven_core.config_edit import save

    path = _file(project=project, user=user)
    name = settings.known(key)
    given = settings.parsed(name, value)
    if settings.KEYS[name].kind == "location" and value:
        given = _location(value, str(Path(path).parent) if project else None)
    save(path, name, given)
    _report(name, path, as_json=as_json)


@config.command(epilog="\b\nExample:\n  hb config unset query.max_rows\n", short_help="Take a setting out of a file.")
@_key
@_project
@_user
@as_json_option
def unset(key: str, project: bool, user: bool, as_json: bool) -> None:
    """Take KEY out of a file, so that the next layer's value holds."""
    from heaven_core.config_edit import remove

    path = _file(project=project, user=user)
    remove(path, key)
    _report(key.removeprefix("heavenbase."), path, as_json=as_json)


@config.command(epilog="\b\nExample:\n  hb config show --origin\n", short_help="List the settings.")
@click.option("--origin", is_flag=True, help="Also where values come from, and those that don't count.")
@as_json_option
def show(origin: bool, as_json: bool) -> None:
    """List every setting with its value.

    With --origin a key has a row for each layer that sets it, and the state of each:
    effective, overridden by a nearer layer, or ignored and why.
    """
    rows = _rows() if origin else [row for row in _rows() if row["state"] == "effective"]
    columns = ORIGIN_COLUMNS if origin else COLUMNS
    if as_json:
        print_json([{column: row[column] for column in columns} for row in rows])
    else:
        plain = [{**row, "value": value_text(row["value"])} for row in rows]
        print_table(columns, records(columns, plain), is_prose=True)


def _rows() -> list[dict[str, Any]]:
    """Each key in order: the value that holds, then those of other layers."""
    from heaven_core.config import KEYS, entries, setting

    others = [one for one in entries() if not one.effective]
    rows: list[dict[str, Any]] = []
    for name in sorted(KEYS):
        found = setting(name)
        rows.append(_row(name, found.value, found.origin, "effective"))
        for one in others:
            if one.key == name:
                state = f"ignored: {one.ignored}" if one.ignored else "overridden"
                rows.append(_row(name, one.value, one.origin, state))
    return rows


def _row(name: str, value: Any, origin: str, state: str) -> dict[str, Any]:
    from heaven_core import config as settings

    path = {"project file": settings.project_file, "user file": settings.user_file}.get(origin, lambda: None)()
    file = None if path is None else shown_path(path)
    return {"key": name, "value": shown_value(name, value), "origin": origin, "file": file, "state": state}


def _file(*, project: bool, user: bool) -> str:
    """The file to change."""
    from heaven_core import config as settings
    from heaven_core.errors import ConfigError

    if project and user:
        raise click.UsageError("--project and --user exclude each other.")
    if project:
        return settings.project_file() or str(Path.cwd() / settings.PROJECT_FILE)
    path = settings.user_file()
    if path is None:
        raise ConfigError("your home folder is unknown here; set HEAVENBASE_HOME")
    return path


def _location(given: str, project: str | None) -> str:
    """A path from the shell as a file keeps it: within the project from its folder, else from the root or `~`."""
    from heaven_core.paths import resolved
    from heaven_core.sharing import absolute_path

    path = absolute_path(given, "the value")
    if given.startswith("~"):
        return given
    if ".." in path.split("/"):
        path = resolved(path)
    if project is not None and path.startswith(f"{project}/"):
        return path[len(project) + 1 :]
    return path


def _report(name: str, path: str, *, as_json: bool) -> None:
    """Say what holds now, which may be another layer's value, or nothing if it was no setting."""
    from heaven_core.config import KEYS, setting

    told: dict[str, Any] = {"key": name, "file": shown_path(path)}
    if name in KEYS:
        found = setting(name)
        told |= {"value": shown_value(name, found.value), "origin": found.origin}
    if as_json:
        print_json(told)
    elif name in KEYS:
        note(f"{name} is now {escaped(value_text(told['value']))} ({told['origin']}); changed: {told['file']}")
    else:
        note(f"{escaped(name)} is gone; changed: {told['file']}")


for _command in (trust, untrust):
    config.add_command(_command)
