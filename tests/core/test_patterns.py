"""LIKE patterns in `heaven_core.patterns`, against regular expressions and a real SQLite."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.errors import QueryError
from heaven_core.patterns import MAX_GLOB_BYTES, MAX_GLOB_RUNS, like_test, parse_like, to_glob

pytestmark = pytest.mark.unit

LETTERS = "abA[]*?^-!\n.é😀"
pieces = st.sampled_from(["%", "_", "%", "_", r"\%", r"\_", "\\\\", r"\a", r"\[", "\\\n", *LETTERS])
patterns = st.lists(pieces, max_size=10).map("".join)
small_patterns = st.lists(st.sampled_from(["%", "_", "a", "b", "ab"]), max_size=9).map("".join)
texts = st.text(LETTERS + "%_\\", max_size=10)
small_texts = st.text("ab", max_size=12)


def oracle(pattern: str, text: str) -> bool:
    """The pattern as a regular expression of Python, which may backtrack."""
    made, chars = "", iter(pattern)
    for char in chars:
        if char == "%":
            made += ".*"
        elif char == "_":
            made += "."
        else:
            made += re.escape(next(chars) if char == "\\" else char)
    return re.fullmatch(made, text, re.DOTALL) is not None


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as connection:
        yield connection


def globs(db: sqlite3.Connection, glob: str, text: str) -> bool:
    return bool(db.execute("select ? glob ?", (text, glob)).fetchone()[0])


# -- parse_like ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "segments"),
    [
        ("", ((),)),
        ("abc", (("abc",),)),
        ("%", ((), ())),
        ("%%%", ((), ())),
        ("a%%b_c", (("a",), ("b", 1, "c"))),
        ("__a___", ((2, "a", 3),)),
        (r"100\%", (("100%",),)),
        (r"\_\\\x", (("_\\x",),)),
        ("%a%", ((), ("a",), ())),
        ("a\nb%", (("a\nb",), ())),
    ],
)
def test_a_pattern_is_read_as_segments_between_its_runs(pattern: str, segments: object) -> None:
    assert parse_like(pattern) == segments


@pytest.mark.parametrize("pattern", ["\\", "abc\\", "%\\", "\\\\\\"])
@pytest.mark.parametrize("function", [parse_like, like_test, to_glob])
def test_a_backslash_that_escapes_nothing_is_refused(pattern: str, function: object) -> None:
    assert callable(function)

    with pytest.raises(QueryError, match="ends in a backslash that escapes nothing"):
        function(pattern)


# -- like_test -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("", "a", False),
        ("abc", "abc", True),
        ("abc", "Abc", False),
        ("%", "", True),
        ("%", "a\nb", True),
        ("a%", "abc", True),
        ("a%", "bca", False),
        ("%c", "abc", True),
        ("ab%ba", "aba", False),
        ("ab%ba", "abba", True),
        ("%b%", "abc", True),
        ("_", "😀", True),
        ("_", "e\u0301", False),
        ("_", "", False),
        ("_%", "", False),
        ("__%_", "ab", False),
        ("%a_c%", "aabac", False),
        ("%a_c%", "aaabc", True),
        ("a%b%c", "abbc", True),
        ("%ab_%ab", "ababab", True),
        ("%ab%ab", "ab", False),
        ("%_____%", "abc", False),
        (r"%\%%", "50% off", True),
        (r"%\%%", "50 off", False),
        (r"a\_b", "axb", False),
    ],
)
def test_a_text_fits_a_pattern(pattern: str, text: str, expected: bool) -> None:
    assert like_test(pattern)(text) is expected


@given(patterns, texts)
def test_the_test_equals_a_regular_expression_for_strange_characters(pattern: str, text: str) -> None:
    assert like_test(pattern)(text) is oracle(pattern, text)


@given(small_patterns, small_texts)
def test_the_test_equals_a_regular_expression_where_much_matches(pattern: str, text: str) -> None:
    assert like_test(pattern)(text) is oracle(pattern, text)


@given(patterns)
def test_a_test_answers_with_a_plain_boolean(pattern: str) -> None:
    assert type(like_test(pattern)("ab")) is bool


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "pattern", ["%a" * 30 + "%b", "%a_" * 30 + "%b%", "%" + "a" * 100 + "_b%", "%" + "_a" * 100 + "b%"]
)
def test_patterns_that_make_others_backtrack_are_answered_in_time(pattern: str) -> None:
    assert like_test(pattern)("a" * 20_000) is False


# -- to_glob -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [
        ("", ""),
        ("abc", "abc"),
        ("a%%b__", "a*b??"),
        ("a*b?c[d]^", "a[*]b[?]c[[]d]^"),
        (r"\%\_\\", "%_\\"),
    ],
)
def test_a_pattern_has_this_glob(pattern: str, glob: str) -> None:
    assert to_glob(pattern) == glob


@given(patterns, texts)
def test_sqlite_finds_the_same_with_the_glob(db: sqlite3.Connection, pattern: str, text: str) -> None:
    glob = to_glob(pattern)

    if glob is not None:
        assert globs(db, glob, text) is like_test(pattern)(text)


@given(small_patterns, small_texts)
def test_sqlite_finds_the_same_where_much_matches(db: sqlite3.Connection, pattern: str, text: str) -> None:
    glob = to_glob(pattern)

    if glob is not None:
        assert globs(db, glob, text) is like_test(pattern)(text)


def test_a_glob_with_too_many_runs_is_not_offered() -> None:
    assert to_glob("a%" * MAX_GLOB_RUNS) is not None
    assert to_glob("a%" * MAX_GLOB_RUNS + "b%") is None


def test_a_glob_that_is_too_long_is_not_offered() -> None:
    assert to_glob("é" * (MAX_GLOB_BYTES // 2)) is not None
    assert to_glob("é" * (MAX_GLOB_BYTES // 2) + "a") is None


def test_the_longest_glob_is_one_that_sqlite_takes(db: sqlite3.Connection) -> None:
    pattern = "*" * MAX_GLOB_BYTES

    glob = to_glob(pattern)

    assert glob is not None
    assert globs(db, glob, pattern)
