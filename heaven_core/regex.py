r"""Regular expressions: what `regex` accepts, and how it is tested.

The syntax is RE2's and the engine is google-re2, so a test takes time linear in the
text whatever the pattern. The search is unanchored, case counts, ``.`` is any
character but a line feed, and ``^`` and ``$`` are the ends of the whole text.

Refused, with a sentence that says what to write instead, is what engines and readers
understand differently: the classes ``\w \d \s`` (ASCII here, Unicode there), the word
boundary ``\b``, single bytes ``\C``, and every inline flag.

Not here: `like` (`heaven_core.patterns`); the translation for an engine that has the same regexes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from heaven_core.errors import QueryError, shown

MAX_LENGTH = 1_000
MAX_MEMORY = 1 << 20
"""Bytes for a compiled pattern and the states that it builds while it searches."""

_KEPT = 128

_REFUSED = {
    "w": r"for a word character write [0-9A-Za-z_], or [\pL\pN_] for all scripts",
    "W": r"for what is no word character write [^0-9A-Za-z_], or [^\pL\pN_] for all scripts",
    "d": r"for a digit write [0-9], or \p{Nd} for all scripts",
    "D": r"for what is no digit write [^0-9], or \P{Nd} for all scripts",
    "s": r"for white space write [ \t\n\f\r]",
    "S": r"for what is no white space write [^ \t\n\f\r]",
    "b": r"for the start of a word write what stands before it, such as (?:^|[^0-9A-Za-z_])",
    "B": r"for the inside of a word write what stands there, such as [0-9A-Za-z_]",
    "C": r"for a character write .",
}

# A quotation, an escape, a whole class (in which "(?" is two plain characters), the start of a group, or a character.
_CLASS = r"\[\^?\]?+(?>\[:.*?:\]|\\.|[^\]\\])*+\]"
_PIECES = rf"(?s)\\Q.*?(?:\\E|\Z)|\\.|{_CLASS}|\(\?:|\(\?P<|\(\?|."


def compile_regex(pattern: str) -> Callable[[str], bool]:
    """A test whether the pattern is found anywhere in a text; any thread may use it.

    The last `_KEPT` of them are kept, so asking again is cheap.

    Raises:
        QueryError: the pattern is longer than `MAX_LENGTH`, is no valid RE2 syntax, needs more than
            `MAX_MEMORY`, or has something that is refused here; the message says what to write instead.
    """
    return _compiled(pattern)


@lru_cache(_KEPT)
def _compiled(pattern: str) -> Callable[[str], bool]:
    if len(pattern) > MAX_LENGTH:
        raise QueryError(
            f"regex: the pattern {shown(pattern)} has {len(pattern)} characters; "
            f"at most {MAX_LENGTH} are allowed, so ask for less in one pattern"
        )
    _check_pieces(pattern)
    search = _engine_pattern(pattern).search
    return lambda text: search(text.encode()) is not None  # bytes spare re2 the translation of offsets


def _check_pieces(pattern: str) -> None:
    for piece in re.findall(_PIECES, pattern):
        if piece == "(?":
            raise _refused_group(pattern)
        if piece[0] == "[":
            for escaped in re.findall(r"(?s)\\(.)", piece):
                _check_escape(pattern, escaped)
        elif piece[0] == "\\":
            _check_escape(pattern, piece[1:])


def _check_escape(pattern: str, escaped: str) -> None:
    if escaped in _REFUSED:
        raise QueryError(
            f"regex: the pattern {shown(pattern)} has \\{escaped}, which not all engines take for the same; "
            f"{_REFUSED[escaped]}"
        )


def _refused_group(pattern: str) -> QueryError:
    return QueryError(
        f"regex: in the pattern {shown(pattern)} a group begins with (? and is neither (?:...) nor (?P<name>...); "
        r"there are no flags and no look-around: write [Aa] for either case, (?:.|\n) for any character, "
        "or combine several conditions"
    )


def _engine_pattern(pattern: str) -> Any:
    import re2  # pyright: ignore[reportMissingTypeStubs]

    engine: Any = re2  # it has no types
    options = engine.Options()
    options.log_errors = False  # it would print to stderr
    options.never_capture = True  # a test has no use for groups, and finding them takes longer
    options.max_mem = MAX_MEMORY
    try:
        return engine.compile(pattern, options)
    except engine.error as error:
        reason = error.args[0].decode(errors="replace")
        raise _invalid(pattern, reason) from None  # the cause has nothing but the reason


def _invalid(pattern: str, reason: str) -> QueryError:
    if "too large" in reason:
        return QueryError(
            f"regex: the pattern {shown(pattern)} needs more memory than the {MAX_MEMORY >> 10} KiB allowed; "
            "use smaller repetitions or smaller classes"
        )
    return QueryError(f"regex: the pattern {shown(pattern)} is not valid RE2 syntax ({shown(reason, 100)}); correct it")
