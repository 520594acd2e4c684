"""`docs/semantics.md` as data: the rows of its tables, and its cases one by one.

Read by the tests that hold every engine to it (`test_cases.py`) and by the reference pages (`tests/docs/reference.py`).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import heavenbase as hb
from heaven_core.types import BUILTIN, LogicalType

PAGE = Path(__file__).resolve().parents[2] / "docs" / "semantics.md"
CATEGORIES = ["blue", "green", "red", "Red", "a_b%", ""]

Cells = dict[str, str]


class Line(NamedTuple):
    """One row of a table: where it stands, and its cells by heading."""

    number: int
    cells: Cells


@cache
def lines(*headings: str) -> list[Line]:
    """The rows of all tables with exactly these headings."""
    found: list[Line] = []
    current: list[str] | None = None
    for number, text in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), 1):
        if not text.startswith("|"):
            current = None
            continue
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")]
        if current is None:
            current = cells
        elif current == list(headings) and not set(text) <= set("|- "):
            assert len(cells) == len(headings), f"line {number} has {len(cells)} cells"
            found.append(Line(number, dict(zip(headings, cells, strict=True))))
    assert found, f"the page has no table with {headings}"
    return found


def data(cell: str) -> Any:
    """The JSON in a cell."""
    assert cell.startswith("`")
    assert cell.endswith("`")
    return json.loads(cell[1:-1])


@cache
def type_of(word: str) -> LogicalType[Any]:
    """The type that a cell names."""
    names: dict[str, Any] = {cls.__name__: cls for cls in BUILTIN}
    made = eval(word, {"__builtins__": {}}, {**names, "Categorical": hb.Categorical(CATEGORIES)})
    return made if isinstance(made, LogicalType) else made()


class Case(NamedTuple):
    """One filter case for one type."""

    id: str
    word: str
    value: Any
    op: str
    argument: Any
    matches: bool

    @property
    def dtype(self) -> LogicalType[Any]:
        return type_of(self.word)

    @property
    def stored(self) -> Any:
        return None if self.value is None else self.dtype.from_json(self.value)


@cache
def cases() -> list[Case]:
    found: list[Case] = []
    for line in lines("type", "value", "op", "argument", "matches"):
        cells = line.cells
        assert cells["matches"] in {"yes", "no"}
        found.extend(
            Case(
                f"L{line.number}-{word}",
                word,
                data(cells["value"]),
                cells["op"],
                data(cells["argument"]),
                cells["matches"] == "yes",
            )
            for word in cells["type"].split()
        )
    return found
