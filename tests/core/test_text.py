"""Folding and tokenising in `heaven_core.text`, and that a real ASCII tokenizer agrees with it."""

from __future__ import annotations

import random
import sqlite3
import sys
import unicodedata
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.text import MAX_TOKEN, fold, index_text, index_version, matches, tokens, unicode_version

pytestmark = pytest.mark.unit

ASSIGNED = [
    chr(code)
    for code in range(1, sys.maxunicode + 1)
    if unicodedata.category(chr(code)) not in {"Cn", "Co", "Cs"} and not 0x3400 <= code <= 0x9FFF
]
MARKS = [char for char in ASSIGNED if unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"}]
DECOMPOSED = sorted({part for char in ASSIGNED for part in unicodedata.normalize("NFD", char)})
CASED = [char for char in ASSIGNED if char.casefold() != char]
PLAIN = "aAzZ09 _-'\"*\t\n,ßéÉẞİıſ½²①漢々〇がガｶﾞー한글हिंदीไทยعربيעִב😀\u00ad\u200b\u200d\u0345"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
hard_texts = st.lists(
    st.sampled_from(MARKS) | st.sampled_from(DECOMPOSED) | st.sampled_from(CASED) | st.sampled_from(PLAIN)
).map("".join)
ascii_texts = st.text(st.characters(max_codepoint=127, exclude_characters="\0"))
any_texts = texts | hard_texts | ascii_texts


def fts5_tokens(text: str) -> Counter[str]:
    """The tokens, with repeats, that SQLite's FTS5 makes of a text with its ASCII tokenizer."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("create virtual table words using fts5(body, tokenize='ascii')")
        db.execute("create virtual table vocabulary using fts5vocab(words, instance)")
        db.execute("insert into words values (?)", (text,))
        return Counter(term for (term,) in db.execute("select term from vocabulary"))


def fts5_finds(text: str, token: str) -> bool:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("create virtual table words using fts5(body, tokenize='ascii')")
        db.execute("insert into words values (?)", (text,))
        return db.execute("select 1 from words where words match ?", (f'"{token}"',)).fetchone() is not None


# -- versions ------------------------------------------------------------------------------------------------------


def test_the_version_of_an_index_holds_that_of_the_character_data() -> None:
    version = index_version()

    assert unicode_version() == unicodedata.unidata_version
    assert version.endswith(f"-{unicodedata.unidata_version}")
    assert version != unicode_version()


# -- fold ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ABC", "abc"),
        ("Straße", "STRASSE"),
        ("É", "e\u0301"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("\u212a", "k"),
        ("ŉ", "ʼN"),
        ("ᾴ", "α\u0345\u0301"),
        ("\u01f0", "J\u030c"),
    ],
)
def test_spellings_that_differ_in_case_or_composition_fold_alike(left: str, right: str) -> None:
    assert fold(left) == fold(right)


def test_folding_keeps_diacritics_and_compatibility_characters_apart() -> None:
    assert fold("É") != fold("E")
    assert fold("\uff21") != fold("A")


def test_folded_text_is_composed_even_where_case_folding_takes_characters_apart() -> None:
    assert "\u01f0".casefold() == "j\u030c"
    assert fold("\u01f0") == "\u01f0"


@given(any_texts)
def test_folding_twice_changes_nothing(text: str) -> None:
    once = fold(text)

    assert fold(once) == once


@given(any_texts)
def test_folding_does_not_depend_on_how_the_text_is_composed(text: str) -> None:
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)


@given(ascii_texts)
def test_the_short_way_for_ascii_equals_the_definition(text: str) -> None:
    assert fold(text) == unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


@given(st.text("%_\\aé\u0301\u0338\u0345ßK", max_size=12))
def test_folding_leaves_the_special_characters_of_patterns_alone(text: str) -> None:
    special = [char for char in text if char in "%_\\"]

    assert [char for char in fold(text) if char in "%_\\"] == special


# -- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ,;-- \n", []),
        ("The quick-brown FOX", ["the", "quick", "brown", "fox"]),
        ("snake_case and x2", ["snake", "case", "and", "x2"]),
        ("don't", ["don", "t"]),
        ("Les ÉLÈVES français", ["les", "eleves", "francais"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("İstanbul", ["istanbul"]),
        ("ήλιος ΉΛΙΟΣ", ["ηλιοσ", "ηλιοσ"]),
        ("Việt Nam", ["viet", "nam"]),
        ("Привёт", ["привет"]),
        ("北京大学 Beijing", ["北", "京", "大", "学", "beijing"]),
        ("日本語のテキスト", ["日", "本", "語", "の", "テ", "キ", "ス", "ト"]),
        ("がか", ["が", "か"]),
        ("か\u3099か", ["が", "か"]),
        ("v2漢x", ["v2", "漢", "x"]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("हिन्दी", ["हिन्दी"]),
        ("שָׁלוֹם", ["שלום"]),
        ("مُحَمَّد", ["محمد"]),
        ("co\u00adoperate", ["cooperate"]),
        ("1\ufe0f\u20e3 a\u034fb c\u20ddd 漢\U000e0100", ["1", "ab", "cd", "漢"]),
        ("zero\u200bwidth", ["zero", "width"]),
        ("tea 🍵 time", ["tea", "time"]),
        ("≠ a≠b", ["a", "b"]),
        ("“quoted”—dash…", ["quoted", "dash"]),
        ("x² ½ Ⅷ", ["x²", "½", "ⅷ"]),
    ],
)
def test_a_text_has_these_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(any_texts)
def test_the_tokens_of_joined_tokens_are_the_same_tokens(text: str) -> None:
    found = tokens(text)

    assert tokens(" ".join(found)) == found


def test_letters_that_compose_once_a_mark_between_them_is_dropped_are_composed() -> None:
    assert tokens("\u09c7\u0301\u09be") == ["\u09cb"]


@given(any_texts)
def test_tokens_depend_on_the_folded_text_only(text: str) -> None:
    found = tokens(text)

    assert tokens(fold(text)) == found
    assert tokens(unicodedata.normalize("NFD", text)) == found


@given(any_texts)
def test_a_token_holds_no_separator_and_no_other_ascii_than_small_letters_and_digits(text: str) -> None:
    found = tokens(text)

    assert all(found)
    for char in "".join(found):
        assert char in "abcdefghijklmnopqrstuvwxyz0123456789" or not char.isascii()
        assert char.isalnum() or unicodedata.category(char) in {"Mn", "Mc"}


def test_every_assigned_character_gives_stable_tokens() -> None:
    sampled = random.Random(7).sample(ASSIGNED, 5_000)

    unstable = [
        char for char in sampled for text in (char, f"a{char}e\u0301") if tokens(" ".join(tokens(text))) != tokens(text)
    ]

    assert unstable == []


@pytest.mark.parametrize("letter", ["A", "é", "ß", "क\u093f", "한"])
def test_a_run_longer_than_a_token_is_cut_and_nothing_of_it_is_lost(letter: str) -> None:
    text = "x " + letter * 600 + " y"

    found = tokens(text)

    assert max(map(len, found)) == MAX_TOKEN
    assert "".join(found) == "x" + "".join(tokens(letter)) * 600 + "y"
    assert tokens(" ".join(found)) == found


def test_a_text_of_every_character_does_not_make_tokenising_wrong_afterwards() -> None:
    everything = "".join(map(chr, range(0x80, 0xD800))) + "".join(map(chr, range(0xE000, 0x16000)))

    tokens(everything)

    assert tokens("Éa漢É \U00012000\U00010400") == ["ea", "漢", "e", "\U00012000\U00010428"]


# -- index_text ----------------------------------------------------------------------------------------------------


def test_ascii_text_is_indexed_as_it_is() -> None:
    text = "Plain TEXT, with 'punctuation'; and " + "-" * 600

    assert index_text(text) is text


def test_other_text_is_indexed_as_its_tokens() -> None:
    assert index_text("Élan vital; 北京!") == "elan vital 北 京"


@given(any_texts)
def test_a_real_ascii_tokenizer_makes_the_same_tokens_of_the_index_text(text: str) -> None:
    assert fts5_tokens(index_text(text)) == Counter(tokens(text))


@given(any_texts)
def test_a_real_ascii_tokenizer_finds_each_token(text: str) -> None:
    given_text = index_text(text)

    lost = [token for token in set(tokens(text)) if not fts5_finds(given_text, token)]

    assert lost == []


@given(st.integers(0, 300), st.integers(200, 700), st.sampled_from(["x", "é", "\U00010400"]))
def test_long_runs_anywhere_are_cut_the_same_way_in_the_index(before: int, length: int, letter: str) -> None:
    text = "." * before + letter * length + ". end"

    assert fts5_tokens(index_text(text)) == Counter(tokens(text))


def test_a_run_longer_than_the_engine_can_index_is_still_found() -> None:
    text = "é" * 40_000

    assert fts5_tokens(index_text(text)) == Counter(tokens(text))
    assert fts5_tokens(index_text("a" * 40_000)) == Counter(tokens("a" * 40_000))


# -- matches -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("fox brown", "The quick-brown FOX", True),
        ("fox cat", "The quick-brown FOX", False),
        ("row", "The quick-brown FOX", False),
        ("eleve", "un ÉLÈVE", True),
        ("élève", "un eleve", True),
        ("京北", "北京", True),
        ("", "anything", False),
        ("!?", "anything !?", False),
        ("a a", "a", True),
    ],
)
def test_a_text_matches_if_it_has_every_token_of_the_query(query: str, text: str, expected: bool) -> None:
    assert matches(tokens(query), text) is expected


@given(any_texts, any_texts)
def test_matching_is_inclusion_of_tokens(query: str, text: str) -> None:
    wanted = tokens(query)

    assert matches(wanted, text) is (bool(wanted) and set(wanted) <= set(tokens(text)))


@given(any_texts)
def test_a_text_matches_each_of_its_tokens(text: str) -> None:
    assert all(matches([token], text) for token in tokens(text))
