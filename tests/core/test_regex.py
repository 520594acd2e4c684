"""What `heaven_core.regex` accepts, refuses and answers."""

from __future__ import annotations

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import re2

from heaven_core.errors import QueryError
from heaven_core.regex import MAX_LENGTH, compile_regex

pytestmark = pytest.mark.unit


def is_valid_for_the_engine(pattern: str) -> bool:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        return False
    return True


def is_accepted(pattern: str) -> bool:
    try:
        compile_regex(pattern)
    except QueryError:
        return False
    return True


# -- meaning -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("b+", "abbc", True),
        ("^b", "abc", False),
        ("^abc$", "abc", True),
        ("abc$", "abc\n", False),
        ("^b", "a\nb", False),
        ("a.c", "a\nc", False),
        ("a.c", "a😀c", True),
        ("^.$", "é", True),
        ("^.$", "e\u0301", False),
        ("a[^x]c", "a\nc", True),
        ("(?:.|\\n)*z", "a\nz", True),
        ("ABC", "abc", False),
        ("[Aa]bc", "Abc", True),
        ("(?P<year>[0-9]{4})-", "in 2024-05", True),
        ("(a)(b)?c", "ac", True),
        (r"\p{Greek}", "λ", True),
        (r"^\pL+$", "Ünïcödé", True),
        (r"[[:alpha:]]", "é", False),
        (r"\x{1F600}", "😀", True),
        (r"\Q.*\E$", "a.*", True),
        (r"\Q.*\E$", "abc", False),
        (r"\\d", r"a\d", True),
        (r"\Q\d(?i)\E", r"\d(?i)", True),
        ("[(?i)]", "?", True),
        (r"\(?i", "i", True),
        (r"\Aab\z", "ab", True),
        ("a*?b", "aab", True),
    ],
)
def test_a_pattern_is_searched_anywhere_in_the_text(pattern: str, text: str, expected: bool) -> None:
    assert compile_regex(pattern)(text) is expected


@pytest.mark.timeout(10)
@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a*)*b", "(x+x+)+y", "(?:a?){100}b"])
def test_patterns_that_make_others_backtrack_are_answered_in_time(pattern: str) -> None:
    text = "a" * 30_000 + "!" + "x" * 30_000

    assert compile_regex(pattern)(text) is False


def test_a_compiled_pattern_is_kept() -> None:
    assert compile_regex("kept[0-9]") is compile_regex("kept[0-9]")


def test_many_threads_compile_and_search_at_once() -> None:
    def found(number: int) -> bool:
        return compile_regex(f"^item{number % 7}[a-z]+$")(f"item{number % 7}abc" * (1 + number % 2))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(found, range(2_000)))

    assert answers == [number % 2 == 0 for number in range(2_000)]


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("escaped", "wWdDsSbBC")
@pytest.mark.parametrize("form", ["\\{}", "a\\{}+", "(?:x|\\{})", "\\\\\\{}", "\\Qa\\E\\{}"])
def test_an_ambiguous_escape_is_refused_with_what_to_write_instead(escaped: str, form: str) -> None:
    pattern = form.format(escaped)

    with pytest.raises(QueryError, match="write") as caught:
        compile_regex(pattern)

    assert f"has \\{escaped}," in str(caught.value)


@pytest.mark.parametrize(
    "pattern", [r"[\w]", r"[^\d.]", r"[]\s]", r"[^]\s]", r"[[:alpha:]\D]", r"[[]\W", r"[a\]\S]", r"[[:]\w]"]
)
def test_an_ambiguous_escape_is_refused_in_a_class_too(pattern: str) -> None:
    with pytest.raises(QueryError, match="write"):
        compile_regex(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?i)a",
        "(?i:a)",
        "a(?-i)",
        "(?s).",
        "(?m)^a",
        "(?U)a+",
        "(?is:a)",
        "(?=a)",
        "(?<!a)b",
        "(?<n>a)",
        "(?P=n)",
        "[(]?(?i)",
    ],
)
def test_flags_and_look_around_are_refused(pattern: str) -> None:
    with pytest.raises(QueryError, match=r"write \[Aa\] for either case"):
        compile_regex(pattern)


@pytest.mark.parametrize("pattern", ["(", "a**", "[a", "a{2,1}", "\\", "x{1001}", "(?:a", r"\1", r"\y", "é("])
def test_an_invalid_pattern_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(QueryError, match="is not valid RE2 syntax") as caught:
        compile_regex(pattern)

    assert caught.value.__suppress_context__
    assert str(caught.value).isprintable()


def test_a_long_pattern_is_refused() -> None:
    assert compile_regex("x" * MAX_LENGTH)("x" * MAX_LENGTH)

    with pytest.raises(QueryError, match="1001 characters"):
        compile_regex("x" * (MAX_LENGTH + 1))


def test_a_pattern_that_needs_much_memory_is_refused() -> None:
    with pytest.raises(QueryError, match="needs more memory"):
        compile_regex(r"\pL{1,1000}")


def test_nothing_is_printed_about_a_bad_pattern_or_a_greedy_one(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(QueryError):
        compile_regex("(unclosed")
    compile_regex("[ab]*a[ab]{900}c")("ab" * 5_000)

    assert capfd.readouterr() == ("", "")


def test_exactly_the_ambiguous_patterns_are_refused() -> None:
    # An unknown letter in place of w and i is an error for the engine wherever it would read an escape or a
    # flag, and a plain character elsewhere: so the engine itself tells where a refusal is due.
    def refusal_is_due(pattern: str) -> bool:
        return not is_valid_for_the_engine(pattern.replace("w", "y").replace("i", "z"))

    made = map(
        "".join, itertools.product(["\\", "w", "(?i)", "[", "]", "^", "[:", "[:alpha:]", "\\Q", "\\E"], repeat=4)
    )
    valid = [pattern for pattern in made if is_valid_for_the_engine(pattern)]

    wrong = [pattern for pattern in valid if is_accepted(pattern) is refusal_is_due(pattern)]

    assert len(valid) > 500
    assert wrong == []


def test_the_engine_is_imported_only_when_a_pattern_is_compiled() -> None:
    program = """
import sys, heaven_core.regex
print("re2" in sys.modules)
heaven_core.regex.compile_regex("a")
print("re2" in sys.modules)
"""

    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert made.stdout.split() == ["False", "True"]
