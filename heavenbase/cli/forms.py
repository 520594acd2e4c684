"""The forms in which an answer is printed: `--format`, its alias `--json`, and the ending of a file's name.

Not here: tables and JSON themselves (`heavenbase.cli.output`), Parquet (`heaven_core.arrow`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from heaven_core.errors import shown
from heavenbase.cli.output import cell_text, escaped, json_text, on_terminal, write

FORMS = ("table", "json", "jsonl", "csv", "parquet")
ENDINGS = {
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".tsv": "table",
    ".txt": "table",
}
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes a cell for a formula by."""


def chosen_form(form: str | None, *, as_json: bool, default: str) -> str:
    """What `--format` and `--json` ask for together."""
    if as_json and form not in {None, "json"}:
        raise click.UsageError(f"--json is --format json; leave one of it and --format {form} out.")
    return "json" if as_json else form or default


def form_of_file(name: str | None) -> str:
    """The form that the ending of a file's name asks for; a table (lines with tabs) for stdout, a device or a pipe.

    Raises:
        UsageError: the ending says nothing.
    """
    if name is None or _is_special(Path(name)):
        return "table"
    ending = Path(name).suffix
    if ending.lower() in ENDINGS:
        return ENDINGS[ending.lower()]
    what = f"the ending {shown(ending)} is none that" if ending else "it has no ending by which"
    raise click.UsageError(
        f"--output {shown(name, 200)}: {what} hb knows a form by (known: {', '.join(ENDINGS)}); "
        "change the name, or say the form with --format."
    )


def _is_special(path: Path) -> bool:
    """Whether something is there that is no file, and has no ending because of that."""
    try:
        return path.exists() and not path.is_file()
    except OSError:  # who writes to it will say what is wrong
        return False


def print_lines(rows: Sequence[Any]) -> None:
    """Print each row as JSON on a line of its own."""
    for row in rows:
        write(json_text(row))


def print_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, spreadsheet: bool) -> None:
    """Print rows as RFC 4180 has it: a header, CRLF, quotes around what needs them.

    Null is an empty cell and an empty text is two quotes. For a `spreadsheet`, texts that
    it would take for a formula get an apostrophe before them.
    """
    stream: Any = sys.stdout
    if stream is None:  # None where whoever started us has closed it
        return
    for row in (columns, *rows):
        cells = [_cell(value, spreadsheet=spreadsheet) for value in row]
        # One empty cell alone would be an empty line, which readers skip.
        stream.write(",".join(cells if cells != [""] else ['""']) + "\r\n")


def _cell(value: Any, *, spreadsheet: bool) -> str:
    text = cell_text(value)
    if on_terminal():
        text = escaped(text)
    if spreadsheet and isinstance(value, str) and text.startswith(FORMULA):
        text = f"'{text}"
    if (not text and value is not None) or any(one in text for one in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
