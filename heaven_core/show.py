"""How an answer looks to somebody who prints it: a table in a terminal, a table in a notebook.

Made for eyes: some rows, long texts cut, one line per row, controls escaped, so that a
stored value cannot drive a terminal or a page.

Not here: what commands print (`heavenbase.cli.output`), and data for programs
(`heaven_core.arrow`, `ResultFrame.rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heaven_core.frame import ResultFrame

MAX_ROWS = 20
MAX_CELL_CHARS = 200
LEAST_WIDTH = 8
GAP = "  "
CUT = "…"


def as_text(frame: ResultFrame, width: int) -> str:
    """The first rows as lines of at most `width` columns of a terminal, and how many rows there are.

    What does not fit is cut, the widest columns first; columns that have no room even so are left out and named.
    """
    names, rows = _shown(frame)
    table = [names, *([cell(value) for value in row] for row in rows)]
    columns = [[row[at] for row in table] for at in range(len(names))]
    widths = _widths([max(map(text_width, column)) for column in columns], width)
    numeric = [all(_is_number(row[at]) for row in rows) and bool(rows) for at in range(len(names))]
    lines = [_line(row, widths, numeric) for row in table]
    rule = GAP.join("─" * one for one in widths)
    left_out = names[len(widths) :]
    more = [f"and {', '.join(left_out)}"] if left_out else []
    return "\n".join([lines[0], rule, *lines[1:], cut("; ".join([_count(frame), *more]), width)])


def as_html(frame: ResultFrame) -> str:
    """The first rows as an HTML table, and how many rows there are."""
    from html import escape

    names, rows = _shown(frame)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell(value))}</td>' for value in row)}</tr>" for row in rows)
    return (
        f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(_count(frame))}</p></div>"
    )


def _shown(frame: ResultFrame) -> tuple[list[str], list[list[Any]]]:
    """Names and values of the first rows, with the rank as the last column."""
    part = frame.head(MAX_ROWS)
    names = list(part.columns)
    rows = [list(row.values()) for row in part.rows()]
    if part.scores is not None and part.rank is not None:
        names.append(part.rank)
        rows = [[*row, score] for row, score in zip(rows, part.scores, strict=True)]
    return names, rows


def _count(frame: ResultFrame) -> str:
    count = len(frame)
    words = f"{count:,} row{'' if count == 1 else 's'}"
    return words if count <= MAX_ROWS else f"{words}, the first {MAX_ROWS} shown"


def cell(value: Any) -> str:
    """A value on one line: long ones cut, controls escaped, null empty."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value):,} bytes"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else _plain(value)
    cut = text[:MAX_CELL_CHARS] + (CUT if len(text) > MAX_CELL_CHARS else "")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in cut)


def _plain(value: Any) -> str:
    from json import dumps

    if not isinstance(value, (list, dict)):
        return str(value)
    return dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def text_width(text: str) -> int:
    """Columns of a terminal: East Asian wide characters take two, marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(one) else 2 if east_asian_width(one) in "WF" else 1 for one in text)


def _widths(wanted: Sequence[int], room: int) -> list[int]:
    """How wide each column is, the widest cut first; of too many the last are left out."""
    fitting = list(wanted)
    least = [min(one, LEAST_WIDTH) for one in fitting]
    while len(fitting) > 1 and sum(least[: len(fitting)]) + len(GAP) * (len(fitting) - 1) > room:
        fitting.pop()
    room = max(room - len(GAP) * (len(fitting) - 1), 1)
    for most in range(max(fitting, default=0), 0, -1):
        widths = [min(one, most) for one in fitting]
        if sum(widths) <= room:
            return widths
    return [1] * len(fitting)


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    parts: list[str] = []
    for cell, width, is_numeric in zip(cells, widths, numeric, strict=False):
        text = cut(cell, width)
        space = " " * (width - text_width(text))
        parts.append(space + text if is_numeric else text + space)
    return GAP.join(parts).rstrip()


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns of a terminal."""
    if text_width(text) <= width:
        return text
    kept, used = "", 0
    for one in text:
        used += text_width(one)
        if used > width - 1:
            break
        kept += one
    return kept + CUT
