"""What commands print: a table on a terminal, lines with tabs in a pipe, JSON where it was asked for.

Only results go to stdout. Progress goes to stderr, if that is a terminal, and so
does whatever a plugin prints while it is loaded.

Not here: errors (`heavenbase.cli.app`), what the rows are (each command).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MAX_TABLE_ROWS = 1000
"""Rows that a terminal is shown; a pipe gets all."""

_GAP = 2
_LEAST_WIDTH = 16
_PATIENCE_S = 0.5
# Controls, line separators and marks that reorder text: a stored value must not drive the terminal.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_STYLES = {
    **dict.fromkeys(("failed", "broken"), "red"),
    **dict.fromkeys(("active", "ok"), "green"),
    **dict.fromkeys(("disabled", "absent"), "dim"),
    **dict.fromkeys(("no", "python", "warning"), "yellow"),
}

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""The option that every command has."""


def on_terminal() -> bool:
    """Whether somebody reads along."""
    stream: Any = sys.stdout
    return stream is not None and stream.isatty()


def escaped(text: str) -> str:
    """`text` on one line, controls as escapes as Python writes them."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def json_text(value: Any, *, ascii_only: bool = False, indent: int | None = None) -> str:
    """`value` as JSON; values that JSON lacks as the logical types write them."""
    return json.dumps(value, ensure_ascii=ascii_only or not _is_unicode(), indent=indent, default=_plain)


def _is_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")


def _plain(value: Any) -> Any:
    from heaven_core.types import Artifact, Duration

    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return Duration().to_json(value)
    return Artifact().to_json(value)


def write(text: str) -> None:
    """Write a text and a line end to stdout, in stdout's own encoding."""
    stream: Any = sys.stdout
    if stream is not None:  # None where whoever started us has closed it
        stream.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Print `value` as JSON; of a list one item per line, so that lines can be searched and compared."""
    if isinstance(value, list) and value:
        lines = ",\n".join(map(json_text, value))  # pyright: ignore[reportUnknownArgumentType]
        write(f"[\n{lines}\n]")
    else:
        write(json_text(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, is_prose: bool = False) -> None:
    """Print rows under the names of their columns.

    Null is an empty cell. A pipe gets a header and one line per row, with tabs between
    the columns; tabs, line ends, other controls and backslashes in a value are escaped.
    On a terminal long cells are cut, or wrapped if `is_prose`; what cannot stand side
    by side comes one row below the other.
    """
    if not on_terminal():
        write("\n".join("\t".join(map(_field, row)) for row in (columns, *rows)))
        return
    console, shown = _console(), rows[:MAX_TABLE_ROWS]
    cells = [[_words_of(value, None if is_prose else console.width) for value in row] for row in shown]
    widths = _widths(columns, cells, console.width)
    if not widths:
        for row in cells:
            console.print(_record(columns, row, console.width, is_prose=is_prose))
    elif rows:
        console.print(_table(columns, cells, widths, _numeric(shown), is_prose=is_prose))
    if len(shown) < len(rows):
        note(f"the first {len(shown)} of {len(rows)} rows; use --limit, or a pipe, which gets all")


def note(text: str) -> None:
    """Print a remark about the result, on a terminal only."""
    if on_terminal():
        _console().print(_words(text, "dim"))


def rows_text(number: int) -> str:
    """A number of rows in words."""
    return f"{number} row{'' if number == 1 else 's'}"


def size_text(size_bytes: int) -> str:
    """A number of bytes for a reader: ``1.5 MB``."""
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _console() -> Console:
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    return Console(highlight=False, markup=False, emoji=False, color_system=None if plain else "auto")


def _words(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(text, style=style)


def cell_text(value: Any) -> str:
    """A value as a text: itself, or JSON; null is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json_text(value)


def _field(value: Any) -> str:
    return escaped(cell_text(value).replace("\\", "\\\\"))


def _words_of(value: Any, width: int | None) -> Text:
    # Cut before rich measures it: a text may have millions of characters.
    text = escaped(cell_text(value)[: None if width is None else width + 1])
    return _words(text, _STYLES.get(text, "") if width is None else "")  # a stored value means what it means


def _widths(columns: Sequence[str], cells: Sequence[Sequence[Text]], room: int) -> list[int]:
    """How wide each column may be, the widest ones cut first; nothing if they cannot stand side by side."""
    wanted = [max([len(name), *(row[at].cell_len for row in cells)]) for at, name in enumerate(columns)]
    room -= _GAP * (len(columns) - 1)
    for most in range(max(wanted), 0, -1):
        widths = [min(width, most) for width in wanted]
        if sum(widths) <= room:
            return widths if most >= min(_LEAST_WIDTH, max(wanted)) else []
    return []


def _numeric(rows: Sequence[Sequence[Any]]) -> list[bool]:
    """Which columns hold nothing but numbers and nulls."""
    return [
        all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in column)
        for column in zip(*rows, strict=True)
    ]


def _table(
    columns: Sequence[str], cells: Sequence[Sequence[Text]], widths: list[int], numeric: list[bool], *, is_prose: bool
) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0), header_style="bold"
    )
    for name, width, is_numeric in zip(columns, widths, numeric, strict=True):
        table.add_column(
            _words(name),
            width=width,
            justify="right" if is_numeric else "left",
            no_wrap=not is_prose,
            overflow="fold" if is_prose else "ellipsis",
        )
    for row in cells:
        table.add_row(*row)
    return table


def _record(columns: Sequence[str], row: Sequence[Text], room: int, *, is_prose: bool) -> Table:
    """One row, a line per column: names whole, and folded only where they would leave too little for the values."""
    from rich.table import Table

    longest = max(len(name) for name in columns)
    label = max(1, min(longest, room - _GAP - _LEAST_WIDTH))
    value = max(1, room - _GAP - label)
    grid = Table.grid(padding=(0, _GAP))
    grid.add_column(width=label, overflow="fold")
    grid.add_column(max_width=value, no_wrap=not is_prose, overflow="fold" if is_prose else "ellipsis")
    for name, words in zip(columns, row, strict=True):
        grid.add_row(_words(name, "bold"), words)
    grid.add_row()
    return grid


@contextmanager
def working(what: str) -> Generator[Callable[[str], None]]:
    """Work whose only output is what is printed afterwards; gives a function that says what is being done.

    If it takes long and stderr is a terminal, a spinner shows that.
    """
    stream: Any = sys.stderr
    if stream is None or not stream.isatty():
        with redirect_stdout(stream):
            yield lambda _: None
        return
    # The spinner takes hold of stdout as it finds it and gives that back, so ours is the outer one.
    with redirect_stdout(stream), _spinner(what) as tell:
        yield tell


@contextmanager
def _spinner(what: str) -> Generator[Callable[[str], None]]:
    from threading import Timer

    from rich.console import Console

    status = Console(stderr=True, highlight=False).status(_words(what))
    timer = Timer(_PATIENCE_S, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda text: status.update(_words(text))
    finally:
        timer.cancel()
        timer.join()
        status.stop()


def records(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The values of each row in the order of the columns."""
    return [[row[name] for name in columns] for row in rows]
