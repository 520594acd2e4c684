"""`hb config trust` and `hb config untrust`: whose `heavenbase.toml` may set everything.

Not here: what an untrusted one may not set (`heaven_core.config_files`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.output import as_json_option, note, print_json, print_table, records
from heavenbase.cli.values import shown_path, shown_value, value_text

if TYPE_CHECKING:
    from heaven_core.config_files import Content


COLUMNS = ("key", "value", "effective")


_TRUST_EXAMPLES = """\b
Examples:
  hb config trust .
  hb config trust ~/code/library --yes
  hb config trust --list --json
"""


@click.command(epilog=_TRUST_EXAMPLES, short_help="Let a project's file set everything.")
@click.argument("path", default=".", metavar="[PATH]")
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@click.option("--list", "lists", is_flag=True, help="Only list what is trusted.")
@as_json_option
def trust(path: str, yes: bool, lists: bool, as_json: bool) -> int | None:
    """Let the heavenbase.toml at or above PATH set everything, as long as it stays as it is.

    Shows what the file sets, and marks what it sets only if it is trusted; then you are
    asked. Where nobody can be asked, in a script or with --json, nothing is trusted
    without --yes.
    """
    from heaven_core import config_edit

    if lists:
        _list_trusted(as_json=as_json)
        return None
    content = _project_content(path)
    rows = _reviewed(content)
    if not as_json:
        plain = [{**row, "value": value_text(row["value"])} for row in rows]
        print_table(COLUMNS, records(COLUMNS, plain), is_prose=True)
    if not yes and not _agreed(content, as_json=as_json):
        return 1
    config_edit.trust(content)
    if as_json:
        print_json({"project": content.folder, "digest": content.digest, "settings": rows})
    else:
        note(f"trusted: {shown_path(content.path)}")
    return None


@click.command(epilog="\b\nExample:\n  hb config untrust .\n", short_help="Take trust back.")
@click.argument("path", default=".", metavar="[PATH]")
@as_json_option
def untrust(path: str, as_json: bool) -> None:
    """Trust the project at or above PATH no longer; its folder may be gone."""
    from heaven_core import config_edit
    from heaven_core.config import PROJECT_FILE, project_file_from
    from heaven_core.errors import ConfigError

    folder = _folder(path)
    found = project_file_from(folder)
    places = [folder] if found is None else [folder, str(Path(found).parent)]
    taken = next((place for place in places if config_edit.untrust(place)), None)
    if taken is None:
        raise ConfigError("this project is not trusted; list those that are: hb config trust --list")
    if as_json:
        print_json({"project": taken})
    else:
        note(f"no longer trusted: {shown_path(f'{taken}/{PROJECT_FILE}')}")


def _folder(path: str) -> str:
    """The folder that a path means: itself, or that of the file; if the file is a link, where the link lies."""
    from heaven_core.config import PROJECT_FILE
    from heaven_core.paths import resolved
    from heaven_core.sharing import absolute_path

    return resolved(absolute_path(path, "PATH").removesuffix(f"/{PROJECT_FILE}") or "/")


def _project_content(path: str) -> Content:
    from heaven_core.config import PROJECT_FILE, project_file_from
    from heaven_core.config_files import read
    from heaven_core.errors import ConfigError, shown

    folder = _folder(path)
    if not Path(folder).exists():
        raise ConfigError(f"there is no folder {shown(path, 200)}; give the project's folder, or its {PROJECT_FILE}")
    found = project_file_from(folder)
    content = None if found is None else read(found)
    if content is None:
        raise ConfigError(f"there is no {PROJECT_FILE} there or above; make one: hb config set KEY VALUE --project")
    return content


def _reviewed(content: Content) -> list[dict[str, Any]]:
    """What the file sets, and since when that counts."""
    from heaven_core.config_files import reviewed

    layer = reviewed(content)
    always = [(name, value, "always") for name, value in layer.values.items()]
    trusted = [(name, value, "if trusted") for name, (value, _) in layer.ignored.items()]
    return [
        {"key": name, "value": shown_value(name, value), "effective": when}
        for name, value, when in (*sorted(trusted), *always)
    ]


def _agreed(content: Content, *, as_json: bool) -> bool:
    """Whether the person at the terminal agrees.

    Raises:
        ConfigError: there is nobody to ask.
    """
    from heaven_core.errors import ConfigError

    stream: Any = sys.stdin
    if as_json or stream is None or not stream.isatty():
        why = "--json asks nothing" if as_json else "there is no terminal to ask you at"
        raise ConfigError(f"nothing was trusted: {why}; look at what the file sets, and if you agree, add --yes")
    return click.confirm(f"Trust {shown_path(content.path)} as long as it stays like this?", err=True)


def _list_trusted(*, as_json: bool) -> None:
    from heaven_core.config_edit import trusted_projects

    columns = ("project", "state")
    rows = [{"project": folder, "state": state} for folder, state in trusted_projects()]
    if as_json:
        print_json(rows)
        return
    print_table(
        columns, records(columns, [{**row, "project": shown_path(row["project"])} for row in rows]), is_prose=True
    )
