"""Words of a search marked in texts, `heaven_core.highlight`."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.errors import QueryError, UnknownField
from heaven_core.highlight import marked, words
from heaven_core.text import tokens

pytestmark = pytest.mark.unit

ODD = st.text(
    st.sampled_from(
        "abZ 09-_.é\u0301\u0300e\u00ad\u200b\u200dßİıǰ日本語ガ\u3099か\u1100\u1161\u11a8क\u093eि\u094d😀\u0338=<\n"
    )
    | st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=20,
)


@given(ODD)
def test_the_words_of_a_text_have_its_tokens(text: str) -> None:
    found = list(words(text))

    assert [token for one in found for token in one.tokens] == tokens(text)
    assert all(one.start < one.end for one in found)
    assert all(left.end <= right.start for left, right in pairwise(found))


@given(ODD, st.integers(1, 30))
def test_what_is_marked_is_a_part_of_the_text(text: str, width: int) -> None:
    wanted = tokens(text)[:2]
    found = marked(text, wanted, before="", after="", width=width)

    assert (found is None) == (not wanted)
    if found is not None:
        assert found.removeprefix("…").removesuffix("…") in text


def mark(text: str, query: str, width: int | None = None) -> str | None:
    return marked(text, tokens(query), before="[", after="]", width=width)


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("Logs are all you need.", "LOGS need", "[Logs] are all you [need]."),
        ("A catalogue of logs", "log", None),
        ("Ein schönes Café, cafe\u0301!", "cafe", "Ein schönes [Café], [cafe\u0301]!"),
        ("STRASSE und Straße", "strasse", "[STRASSE] und [Straße]"),
        ("日本語の本", "本", "日[本]語の[本]"),
        ("soft\u00adhyphen", "softhyphen", "[soft\u00adhyphen]"),
        ("a\u200bb", "b", "a\u200b[b]"),
        ("", "x", None),
    ],
)
def test_words_are_marked_as_they_are_written(text: str, query: str, expected: str | None) -> None:
    assert mark(text, query) == expected


def test_the_part_with_the_most_words_is_shown_at_whole_words() -> None:
    text = "one alpha " + "filler " * 50 + "then alpha beta gamma here " + "filler " * 50

    assert mark(text, "alpha beta gamma", 50) == "…filler then [alpha] [beta] [gamma] here filler…"
    assert mark(text, "one", 12) == "[one] alpha…"


def test_a_word_wider_than_the_part_is_shown_whole() -> None:
    assert mark("x " + "y" * 40 + " z", "y" * 40, 10) == f"…[{'y' * 40}]…"


def test_the_text_is_escaped_and_the_marks_are_not() -> None:
    found = marked("<b>logs</b> & pages", ["logs"], before="<em>", after="</em>", width=None, escape=escape)

    assert found == "&lt;b&gt;<em>logs</em>&lt;/b&gt; &amp; pages"


class Paper(hb.Entity):
    title = hb.field(hb.ShortText).store(strategy=hb.InvertedIndex)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    year = hb.field(hb.Integer)


PAPERS = [
    {"object_id": "a", "title": "On logs", "body": "Pages, and nothing else."},
    {"object_id": "b", "title": "On pages", "body": "Logs and more logs and logs."},
    {"object_id": "c", "title": "Neither", "body": None},
]


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    with hb.HeavenBase("papers", path=tmp_path, backends={"main": {"type": request.param}}) as made:
        made.register(Paper)
        made.upsert_many(Paper, PAPERS)
        yield made


def test_an_answer_shows_where_its_words_are(ws: Any) -> None:
    frame = ws.query(Paper).search("logs").execute()

    shown = dict(zip(frame.ids, frame.highlights("title"), strict=True))
    assert shown == {"a": "On **logs**", "b": None}
    assert frame.head(1).highlights("body", before="<", after=">")[0] in (None, "<Logs> and more <logs> and <logs>.")


@pytest.mark.parametrize(
    ("search", "field", "width", "message"),
    [
        (False, "title", 9, "there is nothing to highlight: the query has no search"),
        (True, "title", 0, "a width of at least 1"),
        (True, "year", 9, "year is Integer; highlights are made in texts"),
    ],
)
def test_highlights_of_nothing_are_refused(ws: Any, search: bool, field: str, width: int, message: str) -> None:
    query = ws.query(Paper).search("logs") if search else ws.query(Paper)
    with pytest.raises(QueryError, match=message):
        query.execute().highlights(field, width=width)
    with pytest.raises(UnknownField, match="did you mean 'title'"):
        ws.query(Paper).search("logs").execute().highlights("titel")
    with pytest.raises(QueryError, match="marked by texts, not by a NoneType"):
        ws.query(Paper).search("logs").execute().highlights("title", before=None)


def test_a_weight_says_how_much_a_field_counts(ws: Any) -> None:
    query = ws.query(Paper)

    assert query.search("logs", {"title": 50, Paper.body: 1}).execute().ids == ["a", "b"]
    assert query.search("logs", {"title": 0.01, "body": 50}).execute().ids == ["b", "a"]
    spec = query.search("logs", {"title": 3}).to_dict()
    assert spec == {"search": {"query": "logs", "fields": {"title": 3.0}}}
    assert ws.query_json(Paper, spec) == query.search("logs", {"title": 3})
    assert ws.query_json(Paper, spec).execute().ids == ["a"]


def test_weights_work_with_filters_order_and_nearness(ws: Any) -> None:
    query = ws.query(Paper).search("logs", {"title": 2, "body": 1}).where(Paper.title.contains("page"))

    assert query.execute().ids == ["b"]
    assert query.order_by("-title").limit(1).execute().ids == ["b"]


@pytest.mark.parametrize("weight", [0, -1, True, "2", None, float("nan"), float("inf"), 1e7])
def test_a_weight_that_is_none_is_refused(ws: Any, weight: Any) -> None:
    with pytest.raises(QueryError, match="the weight of 'title' is a number above 0"):
        ws.query(Paper).search("logs", {"title": weight})
