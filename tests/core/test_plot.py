"""Charts of grouped answers: `heaven_core.plot`, with real matplotlib and without."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import heavenbase as hb
from heaven_core.errors import QueryError, UnknownField
from heaven_core.plot import Bars, Groups, as_text
from heaven_core.show import text_width
from heaven_core.types import INT_MAX, INT_MIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heaven_core.frame import ResultFrame

pytestmark = pytest.mark.integration


class Sale(hb.Entity):
    place = hb.field(hb.ShortText)
    year = hb.field(hb.Integer)
    day = hb.field(hb.Date)
    moment = hb.field(hb.Timestamp)
    price = hb.field(hb.Float)
    number = hb.field(hb.Integer)


@pytest.fixture
def ws() -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("shop", preset="debug") as opened:
        opened.register(Sale)
        yield opened


@pytest.fixture(autouse=True)
def _agg(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    mpl.use("agg")
    monkeypatch.setenv("COLUMNS", "40")
    yield
    plt.close("all")


def counted(ws: hb.HeavenBase, places: Sequence[str | None]) -> ResultFrame:
    ws.upsert_many(Sale, [{"place": place} for place in places])
    return ws.query(Sale).group_by("place").aggregate(sales="count").order_by("-sales", "place").execute()


def summed(ws: hb.HeavenBase, rows: Sequence[tuple[str, int | None]]) -> ResultFrame:
    ws.upsert_many(Sale, [{"place": place, "number": number} for place, number in rows])
    return ws.query(Sale).group_by("place").aggregate(total=Sale.number.sum()).order_by("place").execute()


def lines_of(chart: Bars | Any) -> list[str]:
    assert isinstance(chart, Bars)
    return repr(chart).splitlines()


def heights(ax: Axes) -> list[list[float]]:
    return [[patch.get_height() for patch in bars] for bars in ax.containers]


def texts(ticks: Sequence[Any]) -> list[str]:
    return [tick.get_text() for tick in ticks]


# -- text ------------------------------------------------------------------------------------------------------------


def test_a_group_is_a_line_with_its_number_and_a_bar_as_long(ws: hb.HeavenBase) -> None:
    frame = counted(ws, ["Rome"] * 4 + ["Athens"] * 2 + ["Paris"])

    assert lines_of(frame.bars()) == [
        "sales by place",
        "Rome    4  " + "█" * 29,
        "Athens  2  " + "█" * 14 + "▌",
        "Paris   1  " + "█" * 7 + "▎",
    ]
    assert str(frame.bars()) == repr(frame.bars())


def test_negative_numbers_lie_left_of_a_common_zero(ws: hb.HeavenBase) -> None:
    frame = summed(ws, [("a", 10), ("b", -10), ("c", 0), ("d", None), ("e", 5)])

    assert lines_of(frame.bars()) == [
        "total by place",
        "a    10  " + " " * 15 + "│" + "█" * 15,
        "b   -10  " + "█" * 15 + "│",
        "c     0  " + " " * 15 + "│",
        "d  null  " + " " * 15 + "│",
        "e     5  " + " " * 15 + "│" + "█" * 7 + "▌",
    ]


def test_only_negative_numbers_fill_the_room_to_the_left(ws: hb.HeavenBase) -> None:
    assert lines_of(summed(ws, [("a", -1), ("b", -2)]).bars())[1:] == [
        "a  -1  " + " " * 16 + "█" * 16 + "│",
        "b  -2  " + "█" * 32 + "│",
    ]


def test_what_is_not_zero_is_seen_however_small(ws: hb.HeavenBase) -> None:
    assert lines_of(summed(ws, [("a", INT_MAX), ("b", 1)]).bars())[2].endswith("  1  ▏")


def test_beside_a_far_greater_number_of_the_other_sign_one_is_seen_too(ws: hb.HeavenBase) -> None:
    _, great, one = lines_of(summed(ws, [("a", INT_MIN), ("b", 1)]).bars())

    assert (great.rpartition("█")[2], one.rpartition(" ")[2]) == ("│", "│▏")


def test_huge_numbers_are_written_out_and_fit(ws: hb.HeavenBase) -> None:
    frame = summed(ws, [("a", INT_MAX), ("b", INT_MIN)])

    _, first, second = lines_of(frame.bars())

    assert "9,223,372,036,854,775,807" in first
    assert "-9,223,372,036,854,775,808" in second
    assert max(map(text_width, (first, second))) <= 40


def test_floats_at_the_end_of_their_range_have_bars(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"place": "a", "price": 1.7e308}, {"place": "b", "price": -1.7e308}])
    frame = ws.query(Sale).group_by("place").aggregate(most=Sale.price.max()).order_by("place").execute()

    _, first, second = lines_of(frame.bars())

    assert first.count("█") == second.count("█") > 8


def test_each_column_has_a_chart_of_its_own_with_its_own_scale(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"place": "a", "price": 1000.5}, {"place": "b", "price": 250.125}])
    grouped = ws.query(Sale).group_by("place").aggregate(sales="count", dearest=Sale.price.max()).order_by("place")

    assert lines_of(grouped.execute().bars()) == [
        "sales by place",
        "a  1  " + "█" * 34,
        "b  1  " + "█" * 34,
        "",
        "dearest by place",
        "a   1000.5  " + "█" * 28,
        "b  250.125  " + "█" * 7,
    ]
    assert lines_of(grouped.execute().bars("dearest"))[0] == "dearest by place"


def test_days_and_moments_are_in_the_order_of_time_with_null_last(ws: hb.HeavenBase) -> None:
    days = [date(2024, 3, 1), None, date(1999, 1, 1), date(2024, 2, 29)]
    ws.upsert_many(Sale, [{"day": day, "moment": day and datetime(day.year, 1, 1, tzinfo=UTC)} for day in days])

    by_day = ws.query(Sale).group_by("day").aggregate(n="count").order_by("-n", "-day").execute()
    by_moment = ws.query(Sale).group_by("moment").aggregate(n="count").order_by("-n").execute()

    assert [line.split()[0] for line in lines_of(by_day.bars())[1:]] == [
        "1999-01-01",
        "2024-02-29",
        "2024-03-01",
        "null",
    ]
    assert [line.split()[0] for line in lines_of(by_moment.bars())[1:]] == ["1999-01-01", "2024-01-01", "null"]


def test_other_groups_keep_the_order_of_the_answer(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"year": year} for year in (1999, 2001, 2001, 2000)])

    frame = ws.query(Sale).group_by("year").aggregate(n="count").order_by("-n", "-year").execute()

    assert [line.split()[0] for line in lines_of(frame.bars())[1:]] == ["2001", "2000", "1999"]


def test_groups_by_several_keys_are_called_by_all_of_them(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"place": "Rome", "year": 2000}, {"place": None, "year": 2001}])

    frame = ws.query(Sale).group_by("place", "year").aggregate(n="count").order_by("year").execute()

    assert [line.rpartition("  1  ")[0] for line in lines_of(frame.bars())[1:]] == ["Rome, 2000", "null, 2001"]
    assert texts(frame.plot().get_xticklabels()) == ["Rome, 2000", "null, 2001"]


def test_of_many_groups_the_first_are_shown_and_the_others_counted(ws: hb.HeavenBase) -> None:
    frame = counted(ws, [f"place {number:04}" for number in range(1234)])

    lines = lines_of(frame.bars())

    assert len(lines) == 1 + 20 + 1
    assert (lines[20].split()[1], lines[-1]) == ("0019", "… 1,214 more")
    assert lines_of(frame.head(20).bars())[-1].startswith("place 0019")


def test_an_answer_without_rows_says_that_it_has_no_groups(ws: hb.HeavenBase) -> None:
    assert lines_of(counted(ws, []).bars()) == ["sales by place", "no groups"]


def test_a_group_s_name_neither_drives_the_terminal_nor_takes_all_of_it(ws: hb.HeavenBase) -> None:
    frame = counted(ws, ["\x1b[31mred\n", "東" * 60, "e\u0301"])

    lines = lines_of(frame.bars())

    assert "\x1b" not in repr(frame.bars())
    assert all(text_width(line) <= 40 for line in lines)
    assert any("東東…" in line for line in lines)
    before = {text_width(line.partition("  1  ")[0]) for line in lines[1:]}
    assert before == {15}


@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            st.none() | st.integers(INT_MIN, INT_MAX) | st.floats(allow_nan=False, allow_infinity=False),
        ),
        max_size=30,
    ),
    width=st.integers(1, 120),
)
def test_any_numbers_in_any_terminal_make_one_line_each(rows: list[tuple[str, Any]], width: int) -> None:
    keys = [key for key, _ in rows]
    groups = Groups(
        "key", keys, [key.encode("unicode_escape").decode() for key in keys], {"n": [n for _, n in rows]}, False
    )

    lines = as_text(groups, width).split("\n")

    assert len(lines) == 1 + min(max(len(rows), 1), 20) + (len(rows) > 20)
    for (_, number), line in zip(rows[:20], lines[1:], strict=False):
        assert bool(number) == any(one in line for one in "█▏▎▍▌▋▊▉")
    if width > 60:
        assert all(text_width(line) <= width for line in lines)


# -- matplotlib ------------------------------------------------------------------------------------------------------


def test_bars_are_drawn_with_the_names_and_numbers_of_the_groups(ws: hb.HeavenBase) -> None:
    frame = counted(ws, ["Rome", "Rome", None])

    ax = frame.plot()

    assert isinstance(ax, Axes)
    assert heights(ax) == [[2.0, 1.0]]
    assert texts(ax.get_xticklabels()) == ["Rome", "null"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_legend()) == ("place", "sales", None)
    ax.figure.canvas.draw()


def test_several_columns_stand_side_by_side_with_a_legend(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Sale, [{"place": "a", "number": -3}, {"place": "b"}])
    grouped = ws.query(Sale).group_by("place").aggregate(n="count", _low=Sale.number.min()).order_by("place")

    ax = grouped.execute().plot()

    first, second = heights(ax)
    assert (first, second[0], math.isnan(second[1])) == ([1.0, 1.0], -3.0, True)
    assert [text.lstrip("\u200b") for text in texts(ax.get_legend().get_texts())] == ["n", "_low"]
    assert heights(grouped.execute().plot("_low"))[0][0] == -3.0
    ax.figure.canvas.draw()


def test_time_is_a_line_in_order_and_what_has_no_time_is_named(ws: hb.HeavenBase) -> None:
    days = [date(2024, 3, 1), None, date(2023, 3, 1), date(2024, 3, 1)]
    ws.upsert_many(Sale, [{"day": day, "moment": day and datetime(day.year, 1, 1, tzinfo=UTC)} for day in days])

    for key in ("day", "moment"):
        ax = ws.query(Sale).group_by(key).aggregate(n="count").order_by("-n").execute().plot()
        (line,) = ax.get_lines()
        times = list(line.get_xdata(orig=False))

        assert times == sorted(times)
        assert list(line.get_ydata()) == [1.0, 2.0]
        assert ax.get_xlabel() == f"{key} (null: n 1)"
        ax.figure.canvas.draw()


def test_of_many_bars_the_first_are_drawn_and_the_others_counted(ws: hb.HeavenBase) -> None:
    ax = counted(ws, [f"place {number:04}" for number in range(1234)]).plot()

    assert len(heights(ax)[0]) == 50
    assert ax.get_xlabel() == "place (… 1,184 more)"


def test_an_answer_without_rows_gives_empty_axes(ws: hb.HeavenBase) -> None:
    for key in ("place", "day"):
        ax = ws.query(Sale).group_by(key).aggregate(n="count", m=Sale.number.sum()).execute().plot()

        assert not [height for series in heights(ax) for height in series]
        ax.figure.canvas.draw()


def test_names_are_shown_as_they_are_and_not_as_mathematics(ws: hb.HeavenBase) -> None:
    ax = counted(ws, ["$\\frac$", "5 $"]).plot()

    ax.figure.canvas.draw()

    assert texts(ax.get_xticklabels()) == [r"\$\frac\$", r"5 \$"]


def test_names_that_have_no_room_side_by_side_stand_upright(ws: hb.HeavenBase) -> None:
    few = counted(ws, ["Rome", "Athens"]).plot()
    many = counted(ws, [f"a place called {number}" for number in range(9)]).plot()

    few.figure.canvas.draw()
    many.figure.canvas.draw()

    assert {tick.get_rotation() for tick in few.get_xticklabels()} == {0}
    assert {tick.get_rotation() for tick in many.get_xticklabels()} == {90}


def test_many_bars_get_a_wider_figure(ws: hb.HeavenBase) -> None:
    few, many = (counted(ws, [f"{group}{number}" for number in range(count)]) for group, count in (("a", 2), ("b", 90)))

    usual, wide = (frame.plot().figure.get_figwidth() for frame in (few, many))

    assert usual == mpl.rcParams["figure.figsize"][0]
    assert wide >= 50 * 0.2


def test_huge_counts_can_be_drawn(ws: hb.HeavenBase) -> None:
    ax = summed(ws, [("a", INT_MAX), ("b", INT_MIN)]).plot()

    assert heights(ax) == [[float(INT_MAX), float(INT_MIN)]]
    ax.figure.canvas.draw()


def test_axes_that_are_given_are_drawn_on_and_no_figure_is_made(ws: hb.HeavenBase) -> None:
    frame = counted(ws, ["Rome"])
    figure = mpl.figure.Figure()  # pyright: ignore[reportAttributeAccessIssue]
    mine = figure.subplots()

    assert frame.plot(ax=mine) is mine
    assert plt.get_fignums() == []
    assert frame.plot() is not frame.plot()
    assert len(plt.get_fignums()) == 2
    with pytest.raises(QueryError, match="plot draws on the Axes of matplotlib, and ax is a Figure"):
        frame.plot(ax=figure)


# -- what cannot be drawn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["plot", "bars"])
def test_what_has_no_groups_or_no_numbers_is_refused_with_what_to_do(ws: hb.HeavenBase, draw: str) -> None:
    ws.upsert(Sale, {"place": "Rome", "number": 1})
    query = ws.query(Sale)
    grouped = query.group_by("place").aggregate(n="count", last=Sale.place.max(), each=Sale.place.value_counts())

    for asked, columns, message in (
        (query, (), r"only groups can be drawn, .* ask with group_by\(...\) and aggregate\(...\)"),
        (query.aggregate(n="count"), (), "only groups can be drawn"),
        (query.group_by("place"), (), r"the groups by place have no numbers; add some, such as aggregate\(n='count'\)"),
        (grouped, (), r"column 'last' holds ShortText, which is no number; draw others: plot\('n'\)"),
        (grouped, ("each",), "column 'each' holds Json, which is no number"),
        (grouped, ("place",), "'place' is what the answer is grouped by"),
    ):
        with pytest.raises(QueryError, match=message):
            getattr(asked.execute(), draw)(*columns)
    with pytest.raises(UnknownField, match="the result has no column 'm'"):
        getattr(grouped.execute(), draw)("m")
    assert getattr(grouped.execute(), draw)("n") is not None


def test_groups_without_any_number_say_what_to_add(ws: hb.HeavenBase) -> None:
    frame = ws.query(Sale).group_by("place").aggregate(last=Sale.place.max()).execute()

    with pytest.raises(QueryError, match="which is no number; add a count, a sum or a mean"):
        frame.bars()


# -- without matplotlib ----------------------------------------------------------------------------------------------

PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
import heavenbase as hb

class Sale(hb.Entity):
    place = hb.field(hb.ShortText)

with hb.HeavenBase("shop", preset="debug") as ws:
    ws.register(Sale)
    ws.upsert_many(Sale, [{{"place": "Rome"}}, {{"place": "Rome"}}])
    frame = ws.query(Sale).group_by("place").aggregate(n="count").execute()
    assert "matplotlib" not in sys.modules
    print(repr(frame.plot()))
"""


def test_without_matplotlib_a_plot_is_bars_of_text() -> None:
    command = [sys.executable, "-W", "error", "-X", "utf8", "-c", PROGRAM.format(blocked="matplotlib")]

    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)

    assert (ran.stdout.splitlines(), ran.stderr) == (["n by place", "Rome  2  " + "█" * 31], "")


def test_a_matplotlib_that_is_broken_says_so() -> None:
    command = [sys.executable, "-X", "utf8", "-c", PROGRAM.format(blocked="numpy")]

    ran = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)

    assert "No module named 'numpy'" in ran.stderr
    assert ran.stdout == ""
