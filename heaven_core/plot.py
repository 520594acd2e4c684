"""Charts of grouped answers: through matplotlib where it is installed, as bars of text anywhere.

Matplotlib is imported here and nowhere else in the kernel, and only when somebody plots.
Nothing is shown, saved or blocked by itself: `plot` gives the Axes, `bars` gives text
that a prompt or a notebook displays like any other value.

Not here: answers as tables for the eye (`heaven_core.show`), as data (`heaven_core.arrow`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from heaven_core.errors import QueryError
from heaven_core.show import GAP, cell, cut, text_width

if TYPE_CHECKING:
    from heaven_core.frame import ResultFrame

MAX_TEXT_GROUPS = 20
MAX_BARS = 50
MOST_LABEL_SHARE = 0.4
"""Of the width of a text chart, for the groups' names."""
LEAST_BAR_CHARS = 4
LEAST_SHARE = 1e-9
LEAST_BAR_INCHES = 0.2
MOST_LABEL_CHARS = 40
"""Of a group's name below a bar."""
MOST_CHARS_ABREAST = 60
"""Names that are longer than this all together stand upright below their bars."""

_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_FULL = "█"
_ZERO = "│"

Number = int | float | None


@attrs.frozen
class Groups:
    """What is drawn: the groups with their names, and a series of numbers for each column."""

    title: str
    """The keys' names."""
    keys: Sequence[Any]
    """The values of the one key, or tuples of several keys' values."""
    labels: Sequence[str]
    series: dict[str, Sequence[Number]]
    is_time: bool
    """Whether the one key is a moment or a day, by which the groups are then sorted, null last."""


def groups_of(frame: ResultFrame, keys: Sequence[str], columns: Sequence[str]) -> Groups:
    """The groups of an answer, with these columns, or all columns beside the keys.

    Raises:
        QueryError: the answer has no groups, or a column no numbers.
        UnknownField: the answer has no such column.
    """
    if not keys:
        raise QueryError(
            "only groups can be drawn, and this answer has none; ask with group_by(...) and aggregate(...)"
        )
    names = list(dict.fromkeys(columns)) or [name for name in frame.columns if name not in keys]
    if not names:
        raise QueryError(f"the groups by {', '.join(keys)} have no numbers; add some, such as aggregate(n='count')")
    series = {name: _numbers(frame, keys, name) for name in names}
    values = [frame.column(name) for name in keys]
    is_time = len(keys) == 1 and frame.dtypes[keys[0]].kind in {"timestamp", "date"}
    order = list(range(len(frame)))
    if is_time:
        order.sort(key=lambda at: (values[0][at] is None, values[0][at] or 0))
    rows = list(zip(*values, strict=True))
    return Groups(
        title=", ".join(keys),
        keys=[rows[at][0] if len(keys) == 1 else rows[at] for at in order],
        labels=[", ".join(_label(one) for one in rows[at]) for at in order],
        series={name: [numbers[at] for at in order] for name, numbers in series.items()},
        is_time=is_time,
    )


def _numbers(frame: ResultFrame, keys: Sequence[str], name: str) -> list[Number]:
    found = frame.column(name)
    if name in keys:
        raise QueryError(f"{name!r} is what the answer is grouped by; name the columns whose numbers are to be drawn")
    dtype = frame.dtypes[name]
    if dtype.kind not in {"integer", "float"}:
        known = [one for one, other in frame.dtypes.items() if other.kind in {"integer", "float"} and one not in keys]
        rather = f"draw others: plot({', '.join(map(repr, known))})" if known else "add a count, a sum or a mean"
        raise QueryError(f"column {name!r} holds {dtype!r}, which is no number; {rather}")
    return found


def _label(value: Any) -> str:
    return "null" if value is None else cell(value)


# -- text ----------------------------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class Bars:
    """A chart of text, one below the other for each column; printing it shows it, as wide as the terminal."""

    groups: Groups

    def __repr__(self) -> str:
        from shutil import get_terminal_size

        return as_text(self.groups, get_terminal_size().columns)


def as_text(groups: Groups, width: int) -> str:
    """The chart as lines of at most `width` columns of a terminal, or as few as there must be."""
    return "\n\n".join("\n".join(_chart(groups, name, width)) for name in groups.series)


def _chart(groups: Groups, name: str, width: int) -> list[str]:
    """A heading, one line per group, and how many there are beyond those; each chart has a scale of its own."""
    heading = cut(f"{name} by {groups.title}", width)
    labels = groups.labels[:MAX_TEXT_GROUPS]
    numbers = groups.series[name][:MAX_TEXT_GROUPS]
    if not labels:
        return [heading, "no groups"]
    texts = [_number_text(number) for number in numbers]
    number_width = max(map(len, texts))
    most = max(int(width * MOST_LABEL_SHARE), 1)
    labels = [cut(label, most) for label in labels]
    label_width = max(map(text_width, labels))
    room = max(width - label_width - number_width - 2 * len(GAP), LEAST_BAR_CHARS)
    lines = [
        f"{label}{' ' * (label_width - text_width(label))}{GAP}{text:>{number_width}}{GAP}{bar}".rstrip()
        for label, text, bar in zip(labels, texts, _bars(numbers, room), strict=True)
    ]
    more = len(groups.labels) - len(labels)
    return [heading, *lines, *([f"… {more:,} more"] if more else [])]


def _number_text(number: Number) -> str:
    if number is None:
        return "null"
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"


def _bars(numbers: Sequence[Number], room: int) -> list[str]:
    """A bar for each number, from a common zero; null has none."""
    biggest = max((abs(number) for number in numbers if number), default=1)
    shares = [_share(number, biggest) for number in numbers]  # no sum of them overflows
    below, above = -min(0.0, *shares), max(0.0, *shares)
    if not below:
        return [_to_the_right(share * room / above) if share else "" for share in shares]
    room -= len(_ZERO)
    left = min(max(round(room * below / (below + above)), 1), room - 1 if above else room)
    scale = room / (below + above)
    return [
        _to_the_left(-share * scale, left) + _ZERO
        if share < 0
        else " " * left + _ZERO + (_to_the_right(min(share * scale, room - left)) if share else "")
        for share in shares
    ]


def _share(number: Number, biggest: float) -> float:
    """The number as a part of the biggest; nothing but zero and null becomes zero."""
    return math.copysign(max(abs(number / biggest), LEAST_SHARE), number) if number else 0.0


def _to_the_right(length: float) -> str:
    """A bar that is exact to an eighth of a character; what is not nothing is seen."""
    full, eighths = divmod(max(round(length * 8), 1), 8)
    return _FULL * full + _EIGHTHS[eighths]


def _to_the_left(length: float, room: int) -> str:
    return (_FULL * min(max(round(length), 1), room)).rjust(room)


# -- matplotlib ----------------------------------------------------------------------------------------------------


def has_matplotlib() -> bool:
    """Whether matplotlib can be imported; one that is there and broken says so itself."""
    from importlib import import_module

    try:
        import_module("matplotlib")
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        return False
    return True


def draw(groups: Groups, ax: Any) -> Any:
    """Lines over time, or bars; on `ax`, or on the axes of a new pyplot figure, which are returned."""
    ax = _axes(ax, 0 if groups.is_time else min(len(groups.labels), MAX_BARS))
    if groups.is_time:
        _draw_lines(groups, ax)
    else:
        _draw_bars(groups, ax)
    if len(groups.series) == 1:
        ax.set_ylabel(_unmarked(next(iter(groups.series))))
    else:
        ax.legend()
    return ax


def _axes(ax: Any, bars: int) -> Any:
    """The axes that were given, or those of a new figure, which is wide enough for so many bars."""
    from importlib import import_module

    if ax is None:
        pyplot = import_module("matplotlib.pyplot")
        width, height = pyplot.rcParams["figure.figsize"]
        size = (max(width, bars * LEAST_BAR_INCHES), height)
        return pyplot.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, import_module("matplotlib.axes").Axes):
        raise QueryError(f"plot draws on the Axes of matplotlib, and ax is a {type(ax).__name__}")
    return ax


def _draw_lines(groups: Groups, ax: Any) -> None:
    """A line for each series; the group without a time has no place on the axis, and is named below it."""
    count = len(groups.keys) - (None in groups.keys)
    for name, numbers in groups.series.items():
        ax.plot(groups.keys[:count], _floats(numbers[:count]), marker="o", label=_legend(name))
    title = groups.title
    if count < len(groups.keys):
        apart = [f"{name} {_number_text(numbers[count])}" for name, numbers in groups.series.items()]
        title += f" (null: {', '.join(apart)})"
    ax.set_xlabel(_unmarked(title))
    ax.tick_params(axis="x", rotation=30)


def _draw_bars(groups: Groups, ax: Any) -> None:
    labels = [_unmarked(cut(label, MOST_LABEL_CHARS)) for label in groups.labels[:MAX_BARS]]
    places = range(len(labels))
    width = 0.8 / len(groups.series)
    for number, (name, numbers) in enumerate(groups.series.items()):
        shift = (number - (len(groups.series) - 1) / 2) * width
        ax.bar([place + shift for place in places], _floats(numbers[:MAX_BARS]), width, label=_legend(name))
    ax.set_xticks(places, labels)
    if sum(map(len, labels)) > MOST_CHARS_ABREAST:
        ax.tick_params(axis="x", rotation=90)
    more = len(groups.labels) - len(labels)
    ax.set_xlabel(_unmarked(groups.title) + (f" (… {more:,} more)" if more else ""))


def _floats(numbers: Sequence[Number]) -> list[float]:
    return [math.nan if number is None else float(number) for number in numbers]


def _legend(name: str) -> str:
    """Matplotlib leaves names that begin with an underscore out of legends."""
    return _unmarked(f"\u200b{name}" if name.startswith("_") else name)


def _unmarked(text: str) -> str:
    """Text that matplotlib shows as it is: between two dollars it would read mathematics."""
    return text.replace("$", r"\$")
