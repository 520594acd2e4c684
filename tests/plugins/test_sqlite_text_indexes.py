"""Texts found through an index in SQLite: by their endings, and by what they hold."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]


class Host(hb.Entity):
    address = hb.field(hb.ShortText).store(strategy=hb.SuffixIndex).store(strategy=hb.TrigramIndex)
    plain = hb.field(hb.ShortText)
    code = hb.field(hb.ShortText).unique()


ROWS = [
    {"object_id": "a", "address": "docs.example.org"},
    {"object_id": "b", "address": "example.com"},
    {"object_id": "c", "address": "%_\\*?[x]"},
    {"object_id": "d", "address": "Straße ümlaut 日本語 😀😀😀"},
    {"object_id": "e", "address": ""},
    {"object_id": "f"},
    {"object_id": "g", "address": 'say "hi" AND OR NOT NEAR(x) : {f} -y*'},
]


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("hosts", path=tmp_path / "hosts") as made:
        made.register(Host)
        made.upsert_many(Host, ROWS)
        yield made


def found(ws: hb.HeavenBase, **condition: Any) -> list[str]:
    return sorted(ws.query(Host).where({"address": {f"${op}": value for op, value in condition.items()}}).execute().ids)


def plan_of(ws: hb.HeavenBase, **condition: Any) -> str:
    """How SQLite says that it answers, in its own words."""
    seen: list[str] = []
    with ws.core().primary.use(None) as connection:
        connection.raw.set_trace_callback(seen.append)
        found(ws, **condition)
        connection.raw.set_trace_callback(None)
        (text,) = [one for one in seen if one.startswith("select t.")]
        return " / ".join(row[3] for row in connection.execute(f"explain query plan {text}"))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"ends_with": ".org"}, ["a"]),
        ({"ends_with": "m"}, ["b"]),
        ({"ends_with": "😀"}, ["d"]),
        ({"ends_with": ""}, list("abcdeg")),
        ({"ends_with": "*"}, ["g"]),
        ({"contains": "example"}, ["a", "b"]),
        ({"contains": "ex"}, ["a", "b"]),
        ({"contains": "Example"}, []),
        ({"contains": "日本語"}, ["d"]),
        ({"contains": "😀😀😀"}, ["d"]),
        ({"contains": '"hi" AND'}, ["g"]),
        ({"contains": "NEAR(x) : {f}"}, ["g"]),
        ({"contains": "%_\\*"}, ["c"]),
        ({"contains": ""}, list("abcdeg")),
        ({"like": "%example%"}, ["a", "b"]),
        ({"like": "docs.%.org"}, ["a"]),
        ({"like": "%exa_ple.com"}, ["b"]),
        ({"like": "%\\%\\_\\\\%"}, ["c"]),
        ({"like": "%"}, list("abcdeg")),
    ],
)
def test_an_index_changes_no_answer(ws: hb.HeavenBase, condition: dict[str, str], expected: list[str]) -> None:
    assert found(ws, **condition) == expected


def test_endings_and_runs_are_looked_up(ws: hb.HeavenBase) -> None:
    assert "SEARCH t USING INDEX e_host.address.ending" in plan_of(ws, ends_with=".org")
    assert "e_host._trigram VIRTUAL TABLE INDEX" in plan_of(ws, contains="example")
    assert "SCAN t" not in plan_of(ws, like="%example%")


def test_a_text_of_two_characters_is_not_looked_up_and_explain_says_so(ws: hb.HeavenBase) -> None:
    steps = [ws.query(Host).where(Host.address.contains(one)).explain().to_dict()["steps"][0] for one in ("ex", "exa")]

    assert steps[0]["notes"] == "no run of three characters to look up, so every row is read"
    assert "notes" not in steps[1]
    assert {one["strategy"] for one in steps} == {"trigram-index"}


def test_indexes_follow_the_rows(ws: hb.HeavenBase) -> None:
    ws.upsert(Host, {"object_id": "a", "address": "moved.net"})
    ws.set("b", {"plain": "touched"}, Host)
    ws.delete("c", Host)

    assert found(ws, ends_with=".org") == []
    assert found(ws, ends_with=".net") == found(ws, contains="oved") == ["a"]
    assert found(ws, ends_with=".com") == found(ws, contains="example") == ["b"]
    assert found(ws, contains="%_\\*") == []
    assert ws.check().ok


def test_a_field_added_later_is_indexed(tmp_path: Path) -> None:
    class Old(hb.Entity):
        identifier = "thing"
        first = hb.field(hb.ShortText).store(strategy=hb.TrigramIndex)

    class New(hb.Entity):
        identifier = "thing"
        first = hb.field(hb.ShortText).store(strategy=hb.TrigramIndex)
        second = hb.field(hb.ShortText).store(strategy=hb.SuffixIndex).store(strategy=hb.TrigramIndex)

    with hb.HeavenBase("things", path=tmp_path) as ws:
        ws.register(Old)
        ws.upsert(Old, {"object_id": "a", "first": "alphabet"})
        ws.register(New)
        ws.upsert(New, {"object_id": "b", "first": "beta", "second": "alphabet"})

        assert ws.query(New).where(New.first.contains("phab")).execute().ids == ["a"]
        assert ws.query(New).where(New.second.contains("phab")).execute().ids == ["b"]
        assert ws.query(New).where(New.second.ends_with("bet")).execute().ids == ["b"]
        assert ws.check().ok


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ('delete from "e_host._trigram"', "stale-trigram"),
        ("update \"e_host._trigram\" set f_address = 'other' where rowid = 1", "stale-trigram"),
        ('drop table "e_host._trigram"', "stale-trigram"),
        ("update e_host set _reversed_address = 'gro' where object_id = 'a'", "stale-endings"),
        ("update e_host set _reversed_address = null", "stale-endings"),
        ('drop index "e_host.address.ending"', "missing-index"),
    ],
)
def test_an_index_that_does_not_agree_is_found_and_made_anew(
    ws: hb.HeavenBase, tmp_path: Path, damage: str, kind: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "hosts" / "main.db", isolation_level=None)) as raw:
        raw.execute(damage)

    assert [one.kind for one in ws.check().findings] == [kind]
    ws.repair()
    assert ws.check().ok
    assert found(ws, ends_with=".org") == ["a"]
    assert found(ws, contains="example") == ["a", "b"]


def test_dropping_the_workspace_takes_the_indexes_along(tmp_path: Path) -> None:
    with hb.HeavenBase("hosts", path=tmp_path) as ws:
        ws.register(Host)
        ws.drop()
    assert not (tmp_path / "main.db").exists()


TEXTS = st.text(st.sampled_from("abcAB 😀é\u0301ßİı\u200d日\ufffd\uffff\U0010ffff%_\"'{}:*-\\"), max_size=12)


@settings(max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), cut=st.data())
def test_every_piece_of_a_text_is_found_in_it(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: st.DataObject
) -> None:
    with hb.HeavenBase("hosts", path=tmp_path_factory.mktemp("hosts")) as ws:
        ws.register(Host)
        ws.upsert_many(Host, [{"object_id": f"{place}", "address": text} for place, text in enumerate(texts)])
        whole = cut.draw(st.sampled_from(texts))
        start = cut.draw(st.integers(0, len(whole)))
        end = cut.draw(st.integers(start, len(whole)))
        piece = whole[start:end]

        assert found(ws, contains=piece) == [f"{one}" for one, text in enumerate(texts) if piece in text]
        assert found(ws, ends_with=piece) == [f"{one}" for one, text in enumerate(texts) if text.endswith(piece)]
        escaped = "".join(f"\\{char}" if char in "%_\\" else char for char in piece)
        assert found(ws, like=f"%{escaped}%") == found(ws, contains=piece)
        ws.drop()
