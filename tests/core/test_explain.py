"""Explanations as data and as text, `heaven_core.explain`."""

from __future__ import annotations

import json

import pytest

import heavenbase as hb
from heaven_core.explain import Explanation

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer)


@pytest.fixture
def docs(open_workspace: object) -> hb.HeavenBase:
    ws: hb.HeavenBase = open_workspace("sqlite")  # pyright: ignore[reportCallIssue]
    ws.register(Doc)
    ws.upsert_many(Doc, [{"title": "a", "n": 1}, {"title": "b", "n": 2}])
    return ws


def test_the_text_has_a_line_for_each_step(docs: hb.HeavenBase) -> None:
    said = docs.query(Doc).where(Doc.n > 0, Doc.title.regex("a")).order_by("-n").limit(3).explain()

    assert str(said).splitlines() == [
        "query on doc",
        "  1. filter    n gt                         native main (sqlite, inline)",
        "  2. filter    title regex                  python main (sqlite, inline)",
        "  3. scan                                   native main (sqlite)  order ['-n']; limit 3; estimate 1",
    ]
    assert repr(said) == str(said)
    assert not said.native


def test_the_text_shows_how_the_parts_of_a_condition_are_joined(docs: hb.HeavenBase) -> None:
    query = docs.query(Doc).where((Doc.n > 1) | ~(Doc.title == "a"))
    long = docs.query(Doc).where(Doc.n.in_(list(range(1000))))

    assert "where {'$or': [{'n': {'$gt': 1}}, {'$not': {'title': {'$eq': 'a'}}}]}" in str(query.explain())
    assert "where" not in str(docs.query(Doc).explain())
    assert max(map(len, str(long.explain()).splitlines())) < 400


def test_analysing_adds_time_and_rows(docs: hb.HeavenBase) -> None:
    one = docs.query(Doc).where(Doc.n == 1).explain(analyze=True)
    several = docs.query(Doc).explain(analyze=True)

    assert str(one).splitlines()[-1].startswith("  1 row in ")
    assert str(several).splitlines()[-1].startswith("  2 rows in ")
    assert one.to_dict()["rows"] == 1
    assert one.native


def test_an_explanation_is_json_data_without_time_unless_it_was_measured(docs: hb.HeavenBase) -> None:
    said = docs.query(Doc).where(Doc.n > 0).explain()

    body = json.loads(json.dumps(said.to_dict()))

    assert body["entity"] == "doc"
    assert body["query"] == {"filter": {"n": {"$gt": 0}}}
    assert body["placement"]["n"] == {"backend": "main", "strategy": "inline", "indexes": []}
    assert [step["step"] for step in body["steps"]] == ["filter", "scan"]
    assert "seconds" not in body


def test_a_step_without_a_field_or_a_type_is_shown_too() -> None:
    derived = Explanation(
        "doc", {}, [{"step": "derive", "field": None, "backend": "derived", "mode": "python"}], {}, None, None
    )

    assert str(derived).splitlines()[1] == "  1. derive                                 python derived"
