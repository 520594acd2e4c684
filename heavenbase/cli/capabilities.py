"""`hb capabilities`: which types, strategies, backends and operations there are, and which go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.completing import picks
from heavenbase.cli.output import as_json_option, note, print_json, print_table, records, working
from heavenbase.cli.pager import paged

if TYPE_CHECKING:
    from heaven_core.capabilities import Options

COLUMNS = ("kind", "name", "aliases", "available", "description")
KINDS = {"logical_types": "type", "strategies": "strategy", "backends": "backend", "ops": "op"}


_EXAMPLES = """\b
Examples:
  hb capabilities --type ShortText --backend sqlite
  hb capabilities --op near --json
"""


@click.command(epilog=_EXAMPLES, short_help="List what can be picked for a field.")
@click.option(
    "--type",
    "dtype",
    metavar="TYPE",
    shell_complete=picks("logical_types"),
    help="Only what goes with this type, such as short-text.",
)
@click.option(
    "--strategy",
    metavar="STRATEGY",
    shell_complete=picks("strategies"),
    help="Only what goes with this strategy, such as inline.",
)
@click.option(
    "--backend",
    metavar="BACKEND",
    shell_complete=picks("backends"),
    help="Only what this backend type can do, such as sqlite.",
)
@click.option("--op", metavar="OP", shell_complete=picks("ops"), help="Only what has this operation, such as contains.")
@as_json_option
@paged
def capabilities(as_json: bool, **filters: str | None) -> None:
    """List what can be picked for a field: types, strategies, backends and operations.

    The options narrow the lists to what goes together: an operation is listed if the
    given type has it, under the given strategy, in the given backend. Types and
    strategies may be given by class name, too.
    """
    with working("reading the capabilities"):
        found = picked(**filters)
    if as_json:
        print_json({section: [option.to_dict() for option in options] for section, options in found.items()})
        return
    rows = [_row(KINDS[section], option.to_dict()) for section, options in found.items() for option in options]
    print_table(COLUMNS, records(COLUMNS, rows), is_prose=True)
    if not rows:
        note("nothing has all of this")


def picked(
    dtype: str | None = None, strategy: str | None = None, backend: str | None = None, op: str | None = None
) -> dict[str, Options]:
    """The options of each kind that go with all that is given.

    Raises:
        SchemaError, UnknownPlugin, PluginLoadError, UnknownOp: a name means nothing here.
    """
    from heaven_core.capabilities import process_capabilities
    from heaven_core.registry import registries

    index, known = process_capabilities(), registries()
    dtype = None if dtype is None else _type_named(dtype)
    strategy = None if strategy is None else known.strategy(strategy).identifier
    backend = None if backend is None else known.backend(backend).name
    op = None if op is None else known.op(op.removeprefix("$")).name
    return {
        "logical_types": _only(index.logical_types(strategy=strategy, backend=backend, op=op), dtype),
        "strategies": _only(index.strategies(dtype, backend=backend, op=op), strategy),
        "backends": _only(index.backends(dtype, strategy, op=op), backend),
        "ops": _only(index.ops(dtype, strategy, backend), op),
    }


def _only(options: Options, chosen: str | None) -> Options:
    return options if chosen is None else tuple(option for option in options if option == chosen)


def _type_named(word: str) -> str:
    """The identifier of the type that `word` is the identifier, class name or alias of, in any case."""
    from heaven_core.errors import SchemaError, did_you_mean
    from heaven_core.types import known_types

    types = known_types()
    for identifier, cls in types.items():
        if word.lower() in {name.lower() for name in (identifier, cls.__name__, *cls.aliases)}:
            return identifier
    raise SchemaError(f"there is no logical type {word!r:.80}; {did_you_mean(word, types)}")


def _row(kind: str, option: Mapping[str, Any]) -> dict[str, Any]:
    available = {True: "yes", False: "no", None: None}[option.get("available")]
    words = [option["desc"], option.get("install", "")]
    return {
        "kind": kind,
        "name": option["identifier"],
        "aliases": " ".join(option["aliases"]),
        "available": available,
        "description": "; ".join(filter(None, words)),
    }
