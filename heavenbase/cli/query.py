"""`hb query`: the rows of an entity that satisfy a question."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from heavenbase.cli.forms import FORMS, chosen_form, form_of_file, print_csv, print_lines
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
from heavenbase.cli.target import check_target, written_to

if TYPE_CHECKING:
    from heaven_core.frame import ResultFrame


_EXAMPLES = """\b
Examples:
  hb query library book --filter '{"year": {"$gte": 1990}}' --order -year --limit 3
  hb query library book --search "wild garden" --select title --json
  hb query library book --output books.csv
  echo '{"group_by": ["genre"], "aggregate": {"n": {"$count": {}}}}' | hb query library book --spec -
"""


@click.command(epilog=_EXAMPLES, short_help="Ask a workspace for rows.")
@asks
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    help="How rows are written; else as the ending of --output says, else as a table.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="Write to this file, whole or not at all; - is stdout, which is the default.",
)
@click.option("--force", is_flag=True, help="Replace the file that --output names.")
@click.option(
    "--spreadsheet", is_flag=True, help="In CSV, put an apostrophe before texts that are formulas to a spreadsheet."
)
@as_json_option
@paged
def query(form: str | None, output: str | None, force: bool, spreadsheet: bool, as_json: bool, **given: Any) -> None:
    """Ask the workspace WORKSPACE for rows of ENTITY.

    A workspace that doesn't exist is an error; it is never created. Dates, durations
    and bytes are printed in their JSON form (ISO 8601, base64), but for Parquet, which
    has types for them. Ranked answers have a last column _score (higher is better) or
    _distance (smaller is nearer).
    """
    question = Question(**given)
    output = None if output == "-" else output
    is_said = form is not None or as_json
    form = chosen_form(form, as_json=as_json, default="table" if is_said else form_of_file(output))
    _check(form, output, force=force, spreadsheet=spreadsheet, counts=question.counts)
    with working(f"asking {question.workspace}"), question.opened() as asked:
        total = asked.count() if question.counts else None
        frame = None if question.counts else asked.execute()
    with nullcontext() if output is None else written_to(output, force=force):
        if frame is None:
            _print_count(form, total)
        else:
            _print(form, frame, spreadsheet=spreadsheet)
    if frame is not None and (form == "table" or output is not None):
        note(rows_text(len(frame)))


def _check(form: str, output: str | None, *, force: bool, spreadsheet: bool, counts: bool) -> None:
    """Refuse what does not go together, before anything is asked."""
    if force and output is None:
        raise click.UsageError("--force is about the file that --output names; name it.")
    if spreadsheet and form != "csv":
        raise click.UsageError("--spreadsheet is about CSV; add --format csv.")
    if form == "parquet":
        from heaven_core.arrow import check_installed

        if counts:
            raise click.UsageError("--count gives one number, which is no Parquet file; choose another --format.")
        if output is None and on_terminal():
            raise click.UsageError("Parquet is nothing for a terminal; name a file with --output.")
        check_installed()
    if output is not None:
        check_target(output, force=force)


def _print_count(form: str, total: int | None) -> None:
    if form == "table":
        write(str(total))
    elif form == "json":
        print_json({"count": total})
    elif form == "jsonl":
        print_lines([{"count": total}])
    else:
        print_csv(["count"], [[total]], spreadsheet=False)


def _print(form: str, frame: ResultFrame, *, spreadsheet: bool) -> None:
    if form == "parquet":
        _print_parquet(frame)
        return
    columns, rows = plain_rows(frame)
    if form == "json":
        print_json(rows)
    elif form == "jsonl":
        print_lines(rows)
    elif form == "csv":
        print_csv(columns, records(columns, rows), spreadsheet=spreadsheet)
    else:
        print_table(columns, records(columns, rows))


def _print_parquet(frame: ResultFrame) -> None:
    from io import BytesIO

    from heaven_core.arrow import write_parquet

    made = BytesIO()  # a file in this form is written back and forth
    write_parquet(frame, made)
    stream: Any = sys.stdout
    if stream is not None:  # None where whoever started us has closed it
        stream.flush()
        stream.buffer.write(made.getbuffer())


def plain_rows(frame: ResultFrame) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the columns, and the rows with every value in its JSON form; the rank comes last if there is one."""
    rows, scores, rank = frame.rows(), frame.scores, frame.rank
    for name, dtype in frame.dtypes.items():
        for row in rows:
            if row[name] is not None:
                row[name] = dtype.to_json(row[name])
    if scores is None or rank is None:
        return list(frame.columns), rows
    for row, score in zip(rows, scores, strict=True):
        row[rank] = score
    return [*frame.columns, rank], rows
