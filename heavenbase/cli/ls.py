"""`hb ls`: the workspaces in the usual place, or the entities of one workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.completing import workspaces
from heavenbase.cli.location import located, opened
from heavenbase.cli.output import (
    as_json_option,
    note,
    on_terminal,
    print_json,
    print_table,
    records,
    size_text,
    working,
)
from heavenbase.cli.pager import paged

if TYPE_CHECKING:
    from heaven_core.placement import Placement
    from heaven_core.stored import StoredEntity
    from heaven_core.workspace import HeavenBase

WORKSPACE_COLUMNS = ("workspace", "size", "modified")
ENTITY_COLUMNS = ("entity", "rows", "fields", "owner", "placement")


_EXAMPLES = """\b
Examples:
  hb ls
  hb ls library --json
"""


@click.command(epilog=_EXAMPLES, short_help="List workspaces, or the entities of one.")
@click.argument("workspace", required=False, shell_complete=workspaces)
@located
@as_json_option
@paged
def ls(workspace: str | None, path: str | None, backends: str | None, as_json: bool) -> None:
    """List the workspaces in the usual place, or the entities of WORKSPACE.

    Listing workspaces opens none of them: size and time are those of their files. An
    entity that is computed from others (a derived one) has no rows of its own, so none
    are counted. Nothing is ever created.
    """
    if workspace is None:
        if path or backends:
            raise click.UsageError("--path and --backends are about a workspace; name it.")
        _print_workspaces(as_json=as_json)
        return
    with working(f"listing {workspace}"), opened(workspace, path, backends) as found:
        rows = entities(found)
    if as_json:
        print_json(rows)
    else:
        print_table(ENTITY_COLUMNS, records(ENTITY_COLUMNS, [_readable(row) for row in rows]), is_prose=True)


def _print_workspaces(*, as_json: bool) -> None:
    rows = stored_workspaces()
    if as_json:
        print_json(rows)
        return
    told = [{**row, "size": size_text(row["size_bytes"]) if on_terminal() else row["size_bytes"]} for row in rows]
    print_table(WORKSPACE_COLUMNS, records(WORKSPACE_COLUMNS, told))
    if not rows:
        note("no workspaces in the usual place; those with a path of their own are not known")


def stored_workspaces() -> list[dict[str, Any]]:
    """The workspaces in the usual place: id, bytes on the disk, time of the last change to a file."""
    from heaven_core import config
    from heaven_core.workspace import workspace_ids

    root = config.home() / "workspaces"
    return [{"workspace": name, **_measured(root / name)} for name in workspace_ids()]


def _measured(folder: Path) -> dict[str, Any]:
    size, modified = 0, 0.0
    for file in folder.rglob("*"):
        try:
            found = file.stat()
        except OSError:  # gone meanwhile, as files of a write-ahead log go
            continue
        if file.is_file():
            size += found.st_size
            modified = max(modified, found.st_mtime)
    return {"size_bytes": size, "modified": datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")}


def entities(workspace: HeavenBase) -> list[dict[str, Any]]:
    """Every entity of the workspace, ordered by id, those included that cannot be used here."""
    core = workspace.core()
    owners = {record.schema.id: record.owner for record in core.entity_records()}
    usable, errors = core.usable_stored()
    rows = [_row(workspace, stored, owners.get(stored.schema.id, "")) for stored in usable]
    rows += [_unusable(name, str(error)) for name, error in errors.items()]
    return sorted(rows, key=lambda row: row["entity"])


def _row(workspace: HeavenBase, stored: StoredEntity, owner: str) -> dict[str, Any]:
    from heaven_core.derive import why_not_derived

    schema = stored.schema
    is_derived = stored.derive is not None
    why_not = why_not_derived(schema, stored.cls, imports=False)
    return {
        "entity": schema.id,
        "rows": None if is_derived else workspace.count(schema.id),
        "fields": len(schema.fields),
        "owner": owner,
        "derived": is_derived,
        "placement": {} if is_derived else placed_by(stored.placement),
        "error": why_not or None,
    }


def _unusable(name: str, error: str) -> dict[str, Any]:
    return {
        "entity": name,
        "rows": None,
        "fields": None,
        "owner": "",
        "derived": False,
        "placement": {},
        "error": error,
    }


def placed_by(placement: Placement) -> dict[str, dict[str, int]]:
    """How many fields each backend has under each strategy, indexes included."""
    found: dict[str, Counter[str]] = {}
    for placed in placement.values():
        found.setdefault(placed.backend, Counter()).update((placed.strategy, *placed.indexes))
    return {backend: dict(counts) for backend, counts in found.items()}


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with words for its placement."""
    words: Sequence[str] = [f"{backend}: {_counted(counts)}" for backend, counts in row["placement"].items()]
    return {**row, "placement": row["error"] or ("derived" if row["derived"] else "; ".join(words))}


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {strategy}" for strategy, count in counts.items())
