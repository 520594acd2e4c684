"""How answers look when they are printed: `heaven_core.show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.show import as_html, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


class Film(hb.Entity):
    title = hb.field(hb.ShortText)
    year = hb.field(hb.Integer)
    score = hb.field(hb.Float)
    tags = hb.field(hb.Array[hb.ShortText])
    meta = hb.field(hb.Json)
    poster = hb.field(hb.Artifact)


@pytest.fixture
def ws() -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("films", preset="debug") as opened:
        opened.register(Film)
        yield opened


def test_a_frame_prints_as_a_table(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    ws.upsert_many(Film, [{"object_id": "a", "title": "The Wind", "year": 1928}, {"object_id": "b", "year": 7}])

    shown = str(ws.query(Film).select("title", "year").order_by("object_id").execute())

    assert shown.splitlines() == [
        "object_id  title     year",
        "─────────  ────────  ────",
        "a          The Wind  1928",
        "b                       7",
        "2 rows",
    ]


def test_values_are_shown_briefly(ws: hb.HeavenBase) -> None:
    ws.upsert(Film, {"score": 1 / 3, "tags": ["a", "b"], "meta": {"a": [None], "b": 1}, "poster": b"12345"})

    (line,) = as_text(ws.query(Film).select("score", "tags", "meta", "poster").execute(), 120).splitlines()[2:-1]

    assert line.split(maxsplit=1)[1] == '0.333333  ["a","b"]  {"a":[null],"b":1}  5 bytes'


def test_a_rank_is_the_last_column(ws: hb.HeavenBase) -> None:
    ws.upsert(Film, {"title": "The Wind"})

    frame = ws.query(Film).search("wind").select("title").execute()

    assert frame.rank == "_score"
    assert as_text(frame, 80).splitlines()[0].endswith("_score")
    assert ws.query(Film).execute().rank is None


def test_many_rows_are_cut_and_counted(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Film, [{"year": number} for number in range(1500)])

    lines = as_text(ws.query(Film).select("year").execute(), 80).splitlines()

    assert len(lines) == 2 + 20 + 1
    assert lines[-1] == "1,500 rows, the first 20 shown"


def test_what_does_not_fit_is_cut_and_columns_without_room_are_named(ws: hb.HeavenBase) -> None:
    ws.upsert(Film, {"object_id": "x" * 63, "title": "long " * 40})

    lines = as_text(ws.query(Film).execute(), 30).splitlines()

    assert all(len(line) <= 30 for line in lines)
    assert "…" in lines[2]
    assert "and " in lines[-1]


def test_an_empty_answer_has_its_columns(ws: hb.HeavenBase) -> None:
    assert as_text(ws.query(Film).select("title").execute(), 80).splitlines() == [
        "object_id  title",
        "─────────  ─────",
        "0 rows",
    ]


def test_a_stored_value_drives_neither_a_terminal_nor_a_page(ws: hb.HeavenBase) -> None:
    ws.upsert(Film, {"title": "\x1b[31mred\n<script>alert(1)</script>\u202e"})
    frame = ws.query(Film).select("title").execute()

    assert "\x1b" not in as_text(frame, 200)
    assert r"\x1b[31mred\n<script>" in as_text(frame, 200)
    assert "<script>" not in as_html(frame)
    assert "\u202e" not in as_html(frame)


def test_a_notebook_gets_the_same_rows_as_html(ws: hb.HeavenBase) -> None:
    ws.upsert(Film, {"object_id": "a", "title": "Tom & Jerry"})

    html = ws.query(Film).select("title").execute()._repr_html_()

    assert "<th>object_id</th><th>title</th>" in html
    assert "<td>a</td><td>Tom &amp; Jerry</td>" in html
    assert "<p>1 row</p>" in html


def test_the_head_of_a_frame_is_a_frame(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Film, [{"object_id": f"{number:02}"} for number in range(12)])
    frame = ws.query(Film).order_by("object_id").execute()

    assert frame.head().ids == [f"{number:02}" for number in range(10)]
    assert frame.head(2).ids == ["00", "01"]
    assert len(frame.head(-1)) == 0


TEXTS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "title": st.none()
                | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
            }
        ),
        max_size=4,
    ),
    width=st.integers(1, 100),
)
def test_any_text_in_any_terminal_makes_one_line_per_row(rows: list[dict[str, Any]], width: int) -> None:
    with hb.HeavenBase("any", preset="debug") as ws:
        ws.register(Film)
        ws.upsert_many(Film, rows)

        lines = as_text(ws.query(Film).select("title").execute(), width).split("\n")

    assert len(lines) == 2 + len(rows) + 1
