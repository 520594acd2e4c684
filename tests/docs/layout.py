"""Markdown: tables, fenced blocks, words of docstrings. Knows nothing of what a page is about."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any


def words(documented: Any) -> str:
    """A docstring up to its sections, paragraph by paragraph, one sentence per line.

    Raises:
        LookupError: there is none.
    """
    text = inspect.cleandoc(documented.__doc__ or "")
    if not text:
        raise LookupError(f"{documented.__name__} has no docstring")
    text = re.split(r"\n(?:Args|Raises|Returns):\n", text)[0].strip()
    return "\n\n".join(map(_sentences, text.split("\n\n")))


def _sentences(paragraph: str) -> str:
    return re.sub(r"(?<=[a-z)`]\.) (?=[A-Z`])", "\n", " ".join(paragraph.split()))


def capitalised(text: str) -> str:
    """With a capital at the beginning, the rest as it is."""
    return text[:1].upper() + text[1:]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_row(headings), f"|{'---|' * len(headings)}", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "|" + "".join(f" {cell(one)} |" if one else " |" for one in cells)


def cell(text: str) -> str:
    """`text` as it may stand in a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def fenced(language: str, text: str) -> list[str]:
    """The lines of a block of code."""
    return [f"```{language}", *text.rstrip("\n").split("\n"), "```"]


def codes(names: Iterable[str]) -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def anchor(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def joined(lines: Iterable[str]) -> str:
    """Lines as a file."""
    return "\n".join(lines) + "\n"
