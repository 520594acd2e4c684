"""`hb schema`: the fields of a workspace's entities, as a table, as JSON, or as a Mermaid diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.completing import entities, workspaces
from heavenbase.cli.forms import chosen_form
from heavenbase.cli.location import located, opened
from heavenbase.cli.output import as_json_option, note, print_json, print_table, records, working, write
from heavenbase.cli.pager import paged

if TYPE_CHECKING:
    from heaven_core.derive import EntityRecord
    from heaven_core.schema import FieldSchema
    from heaven_core.workspace import HeavenBase

COLUMNS = ("entity", "field", "type", "rules", "placement", "description")
OWN = "system"
"""The extension of what a workspace knows of itself, shown with `--all` or by name."""


_EXAMPLES = """\b
Examples:
  hb schema library book
  hb schema library --format mermaid > library.mmd
"""


@click.command(epilog=_EXAMPLES, short_help="Show the fields of entities.")
@click.argument("workspace", shell_complete=workspaces)
@click.argument("entity", required=False, shell_complete=entities)
@located
@click.option("--all", "everything", is_flag=True, help="The entities of the extension 'system', too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "json", "mermaid")),
    help="A table (the default), JSON, or a Mermaid entity relationship diagram.",
)
@as_json_option
@paged
def schema(
    workspace: str,
    entity: str | None,
    path: str | None,
    backends: str | None,
    everything: bool,
    form: str | None,
    as_json: bool,
) -> None:
    """Show the fields of every entity of WORKSPACE, or of ENTITY: types, rules, and where they lie.

    In JSON the "schema" of an entity is what hb.Entity.from_schema takes.
    """
    form = chosen_form(form, as_json=as_json, default="text")
    with working(f"reading {workspace}"), opened(workspace, path, backends) as found:
        seen = described(found, entity, everything=everything)
    if form == "json":
        data = [_data(record) for record in seen]
        print_json(data if entity is None else data[0])
    elif form == "mermaid":
        from heavenbase.cli.mermaid import diagram

        write(diagram([record.schema for record in seen]))
    else:
        rows = [_row(record, field) for record in seen for field in record.schema.fields]
        print_table(COLUMNS, records(COLUMNS, rows), is_prose=True)
        if not rows:
            note("no entities; --all has those of the workspace itself")


def described(workspace: HeavenBase, entity: str | None, *, everything: bool) -> list[EntityRecord]:
    """The entities to show; those of the workspace itself only where they are asked for.

    Raises:
        UnknownEntity: the workspace has no such entity.
        SchemaError: it cannot be used here.
    """
    core = workspace.core()
    if entity is not None:
        entity = core.stored(entity).schema.id
    seen = core.entity_records()
    if entity is not None:
        return [record for record in seen if record.schema.id == entity]
    return [record for record in seen if everything or record.owner != OWN]


def _data(record: EntityRecord) -> dict[str, Any]:
    return {
        "entity": record.schema.id,
        "owner": record.owner,
        "schema": record.schema.to_dict(),
        "placement": {} if record.schema.derived else dict(record.placement),
    }


def _row(record: EntityRecord, field: FieldSchema) -> dict[str, Any]:
    return {
        "entity": record.schema.id,
        "field": field.name,
        "type": type_words(field),
        "rules": ", ".join(rules(field)),
        "placement": "derived" if record.schema.derived else _placed(record.placement[field.name]),
        "description": field.desc,
    }


def type_words(field: FieldSchema) -> str:
    """The type in short: ``ShortText``, ``Array[ShortText]``, ``Categorical('a', 'b')``."""
    return repr(field.dtype)


def rules(field: FieldSchema) -> list[str]:
    """What was said of a field beside its type."""
    from heaven_core.schema import MISSING

    words = [flag for flag in ("required", "unique", "index") if getattr(field, flag)]
    if field.default is not MISSING:
        words.append(f"default {field.default!r:.60}")
    if field.compute is not None:
        words.append(f"computed from {', '.join(field.compute.inputs)}")
    return words


def _placed(placed: Any) -> str:
    words = [placed["strategy"], *placed["indexes"], *(["mirror"] if "mirror" in placed else [])]
    return f"{placed['backend']}: {' + '.join(words)}"
