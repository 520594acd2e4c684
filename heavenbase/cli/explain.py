"""`hb explain`: how a question is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from heaven_core.narrow import is_list
from heavenbase.cli.output import (
    as_json_option,
    note,
    on_terminal,
    print_json,
    print_table,
    records,
    rows_text,
    working,
    write,
)
from heavenbase.cli.pager import paged
from heavenbase.cli.question import Question, asks

if TYPE_CHECKING:
    from heaven_core.plan import Explanation
    from heaven_core.query import Query

COLUMNS = ("step", "field", "op", "mode", "backend", "strategy", "notes")
_EXTRAS = ("order", "limit", "estimate", "handler", "notes")


_EXAMPLES = """\b
Example:
  hb explain library book --search "wild garden" --limit 3 --analyze
"""


@click.command(epilog=_EXAMPLES, short_help="Show how a question is answered.")
@asks
@click.option("--analyze", is_flag=True, help="Answer the question too, and add time and rows.")
@as_json_option
@paged
def explain(analyze: bool, as_json: bool, **given: Any) -> None:
    """Show how a question to WORKSPACE about ENTITY is answered: its steps, and what runs natively.

    Takes the same options as hb query. The mode of a step is native where the engine
    does it, and python where rows are read and looked at one by one.
    """
    question = Question(**given)
    with working(f"asking {question.workspace}"), question.opened() as asked:
        explanation = (counting(asked) if question.counts else asked).explain(analyze=analyze)
    if as_json:
        print_json(explanation.to_dict())
    elif on_terminal():
        _print_steps(explanation)
    else:
        write(str(explanation))


def counting(query: Query) -> Query:
    """The query that `query.count()` asks."""
    if query.group or query.aggregates or query.near_ or query.search_:
        return query
    plain = type(query)(query.source, query.schema).aggregate(hb_count="count")
    return plain if query.filter is None else plain.where(query.filter)


def _print_steps(explanation: Explanation) -> None:
    print_table(COLUMNS, records(COLUMNS, [_row(step) for step in explanation.steps]), is_prose=True)
    if explanation.seconds is not None:
        note(f"{rows_text(explanation.rows or 0)} in {explanation.seconds * 1000:.2f} ms")


def _row(step: dict[str, Any]) -> dict[str, Any]:
    kind = step.get("backend_type")
    return {
        **dict.fromkeys(COLUMNS),
        **step,
        "backend": f"{step['backend']} ({kind})" if kind else step["backend"],
        "notes": "; ".join(f"{key} {_told(step[key])}" for key in _EXTRAS if step.get(key) is not None),
    }


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if is_list(value) else str(value)
