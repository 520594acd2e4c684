"""Where a workspace is said to be, and whether one is there: `hb` opens what exists and makes nothing.

Looked at are the files of SQLite. A type that keeps its data elsewhere is opened to see.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from heavenbase.cli.completing import folders
from heavenbase.cli.given import read_json

if TYPE_CHECKING:
    from heaven_core.errors import WorkspaceError
    from heaven_core.workspace import HeavenBase

Options = Mapping[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--path",
        metavar="DIR",
        shell_complete=folders,
        help="The folder of this workspace itself, the one that holds main.db, if it isn't in the usual place.",
    ),
    click.option(
        "--backends",
        metavar="JSON|@FILE|-",
        help='The backends that it was made with, such as \'{"main": {"type": "sqlite", "database": "notes.db"}}\'.',
    ),
)


def located(command: Command) -> Command:
    """Give a command the options that say where a workspace is: `path` and `backends`, for `opened`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@contextmanager
def opened(workspace: str, path: str | None, backends: str | None) -> Generator[HeavenBase]:
    """The workspace, which is closed at the end and never created.

    Raises:
        WorkspaceError: there is no such workspace.
        HeavenError: it cannot be opened.
    """
    from heaven_core.workspace import HeavenBase

    chosen = there(workspace, path, backends)
    with HeavenBase(workspace, path=path, backends=chosen) as found:
        yield found


def there(workspace: str, path: str | None, backends: str | None) -> dict[str, dict[str, Any]] | None:
    """The backends of a workspace that exists, in the form that `HeavenBase` takes; None for the usual ones.

    Raises:
        WorkspaceError: there is no such workspace.
        ConfigError, InvalidName, QueryError, UnknownPlugin: what was given cannot be used.
    """
    chosen = None if backends is None else check_backends(read_json("--backends", backends))
    check_there(workspace, path, chosen)
    return chosen


def check_backends(given: Any) -> dict[str, dict[str, Any]]:
    """What ``--backends`` holds, in the form that `HeavenBase(backends=...)` takes.

    Raises:
        ConfigError, InvalidName, UnknownPlugin: it cannot be used.
    """
    from heaven_core.errors import ConfigError, a_kind
    from heaven_core.narrow import is_mapping
    from heaven_core.sharing import normalised

    if not is_mapping(given):
        example = '{"main": {"type": "sqlite", "database": "notes.db"}}'
        raise ConfigError(f"--backends takes a JSON object such as {example}, not {a_kind(given)}")
    return normalised(given)


def check_there(workspace: str, path: str | None, backends: Mapping[str, Options] | None) -> None:
    """Raise unless the workspace exists; without backends it has those of the setting `preset`.

    Raises:
        WorkspaceError: it does not; the message says where was looked, and has the nearest that does.
        InvalidName: no workspace can have this id.
    """
    from heaven_core import config
    from heaven_core.errors import WorkspaceError
    from heaven_core.names import check_identifier
    from heaven_core.placement import PRIMARY
    from heaven_core.registry import registries
    from heaven_core.workspace import PRESETS, holds_data

    check_identifier(workspace, "workspace id")
    if backends is None:
        backends = PRESETS[config.get("preset")]
        if not registries().backend(backends[PRIMARY]["type"]).persistent:
            raise _looked_for_in_memory(workspace, path)
    main = backends.get(PRIMARY, {"type": "sqlite"})
    if not registries().backend(main["type"]).persistent:
        raise WorkspaceError(
            f"workspace {workspace!r} with 'main' of type {main['type']!r} lives in the process that has it open, "
            "and no other can ask it; name a stored one"
        )
    if main["type"] == "sqlite":
        _check_main(workspace, path, main)
    folder = _folder(workspace, path, main)
    for name, options in backends.items():
        if name != PRIMARY and options["type"] == "sqlite":
            file = Path(options.get("database", folder / f"{name}.db"))
            if not holds_data(file):
                raise WorkspaceError(
                    f"backend {name!r} of workspace {workspace!r} has no database where --backends says"
                )


def _looked_for_in_memory(workspace: str, path: str | None) -> WorkspaceError:
    """The error where a setting keeps every workspace in memory, which no other process can look into."""
    from heaven_core import config
    from heaven_core.errors import WorkspaceError
    from heaven_core.placement import PRIMARY
    from heaven_core.workspace import holds_data

    preset, origin = config.setting("preset")
    is_stored = holds_data(Path(_folder(workspace, path, {}), f"{PRIMARY}.db"))
    there = "a stored one of this id is there; ask it" if is_stored else "ask a stored one"
    return WorkspaceError(
        f"workspace {workspace!r} is looked for in memory, where no other process can ask it, because the setting "
        f"'preset' is {preset!r} (from: {origin}); {there} with HEAVENBASE_PRESET=local before the command, or "
        f"change the setting: {_ASIDE.get(origin, 'unset HEAVENBASE_PRESET')}"
    )


_ASIDE = {
    "project file": "hb config set preset local --project",
    "user file": "hb config set preset local",
}
"""How to change a setting where it comes from; else it is the environment."""


def _check_main(workspace: str, path: str | None, main: Options) -> None:
    from heaven_core import marker
    from heaven_core.errors import WorkspaceError, did_you_mean
    from heaven_core.placement import PRIMARY
    from heaven_core.workspace import holds_data, workspace_ids

    # Whatever the setting `preset` says: --backends may have named SQLite.
    if holds_data(Path(main.get("database", _folder(workspace, path, main) / f"{PRIMARY}.db"))):
        return
    if "database" in main:
        where = "the database that --backends names for 'main'; its path starts at the current folder"
    elif path is not None:
        where = "the folder that --path names; give the workspace's own folder, which holds main.db"
    else:
        where = "the usual place; name others by --path or --backends"
        if known := workspace_ids():
            where += f"; {did_you_mean(workspace, known)}"
    made = marker.primary_of(str(_folder(workspace, path, main)))
    if made is not None and made != main["type"]:
        raise WorkspaceError(
            f"workspace {workspace!r} has a primary of type {made!r}; name it, as in "
            f"""--backends '{{"main": {{"type": "{made}", ...}}}}'"""
        )
    raise WorkspaceError(f"no SQLite workspace {workspace!r} in {where}")


def _folder(workspace: str, path: str | None, main: Options) -> Path:
    """The folder in which backends without a database of their own keep their files."""
    from heaven_core import config
    from heaven_core.sharing import absolute_path

    if path is not None:
        return Path(absolute_path(path, "--path"))
    return Path(f"{main['database']}.d" if "database" in main else config.workspace_folder(workspace))
