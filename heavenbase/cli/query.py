"""`hb query`: the rows of an entity that satisfy a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.output import as_json_option, note, print_json, print_table, records, rows_text, working, write
from heavenbase.cli.pager import paged
from heavenbase.cli.question import Question, asks

if TYPE_CHECKING:
    from heaven_core.frame import ResultFrame


_EXAMPLES = """\b
Examples:
  hb query library book --filter '{"year": {"$gte": 1990}}' --order -year --limit 3
  hb query library book --search "wild garden" --select title --json
  echo '{"group_by": ["genre"], "aggregate": {"n": {"$count": {}}}}' | hb query library book --spec -
"""


@click.command(epilog=_EXAMPLES, short_help="Ask a workspace for rows.")
@asks
@as_json_option
@paged
def query(as_json: bool, **given: Any) -> None:
    """Ask the workspace WORKSPACE for rows of ENTITY.

    A workspace that doesn't exist is an error; it is never created. Dates, durations
    and bytes are printed in their JSON form (ISO 8601, base64). Ranked answers have a
    last column _score (higher is better) or _distance (smaller is nearer).
    """
    question = Question(**given)
    with working(f"asking {question.workspace}"), question.opened() as asked:
        total = asked.count() if question.counts else None
        frame = None if question.counts else asked.execute()
    if frame is None:
        print_json({"count": total}) if as_json else write(str(total))
        return
    columns, rows = plain_rows(frame, "_score" if asked.near_ is None else "_distance")
    if as_json:
        print_json(rows)
        return
    print_table(columns, records(columns, rows))
    note(rows_text(len(rows)))


def plain_rows(frame: ResultFrame, rank: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the columns, and the rows with every value in its JSON form; `rank` comes last if there is one."""
    rows, scores = frame.rows(), frame.scores
    for name, dtype in frame.dtypes.items():
        for row in rows:
            if row[name] is not None:
                row[name] = dtype.to_json(row[name])
    if scores is None:
        return list(frame.columns), rows
    for row, score in zip(rows, scores, strict=True):
        row[rank] = score
    return [*frame.columns, rank], rows
