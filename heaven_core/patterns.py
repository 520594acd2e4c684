"""Patterns of `like` and `ilike`: how they are read, tested in Python, and given to SQLite.

``%`` stands for any run of characters, ``_`` for exactly one code point, and a
backslash takes the next character as it is. A pattern matches a whole text, line
breaks included, and case counts; `ilike` is the same on the folded pattern and text
(`heaven_core.text.fold` changes none of the three special characters).

Testing takes at most time proportional to pattern times text, whatever the pattern.

Not here: regular expressions (`heaven_core.regex`), folding (`heaven_core.text`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from heaven_core.errors import QueryError, shown

MAX_GLOB_RUNS = 4
MAX_GLOB_BYTES = 4_000

Segment = tuple[str | int, ...]
"""What stands between two ``%``: literal texts, and numbers of code points that may be any."""

Find = Callable[[str, int, int], int]

_PIECES = r"(?s)%+|_+|(?:[^%_\\]|\\.)+|\\"
_ESCAPE = r"(?s)\\(.)"

_GLOB_LITERALS = {ord(char): f"[{char}]" for char in "*?["}
_GLOB_CONFUSED = frozenset("\ufffd\ufffe\uffff")


def parse_like(pattern: str) -> tuple[Segment, ...]:
    """The segments between the pattern's runs of ``%``: one of them means that there is no ``%``.

    ``"a%%b_c"`` is ``(("a",), ("b", 1, "c"))``; a ``%`` at an end leaves an empty segment there.

    Raises:
        QueryError: the pattern ends in a backslash that escapes nothing.
    """
    segments: list[list[str | int]] = [[]]
    for piece in re.findall(_PIECES, pattern):
        if piece[0] == "%":
            segments.append([])
        elif piece[0] == "_":
            segments[-1].append(len(piece))
        elif piece == "\\":
            raise _lone_backslash(pattern)
        else:
            segments[-1].append(re.sub(_ESCAPE, r"\1", piece) if "\\" in piece else piece)
    return tuple(map(tuple, segments))


def literals(pattern: str) -> list[str]:
    """The runs of characters that stand in every text that matches the pattern.

    Raises:
        QueryError: as for `parse_like`.
    """
    return [part for segment in parse_like(pattern) for part in segment if isinstance(part, str)]


def like_test(pattern: str) -> Callable[[str], bool]:
    """A test whether a text matches the pattern; make it once, call it for each row.

    Raises:
        QueryError: as for `parse_like`.
    """
    first, *rest = parse_like(pattern)
    if not rest:
        return _whole_test(first)
    *inner, last = rest
    return _plain_test(first, inner, last) or _runs_test(first, inner, last)


def to_glob(pattern: str) -> str | None:
    """The SQLite GLOB pattern with the same members, or None where Python should do the test.

    None is for more than `MAX_GLOB_RUNS` runs of ``%`` and for more than `MAX_GLOB_BYTES` of UTF-8:
    SQLite backtracks, and limits the length. And for a pattern with U+FFFD, U+FFFE or U+FFFF, which
    are one and the same to GLOB.

    Raises:
        QueryError: as for `parse_like`.
    """
    segments = parse_like(pattern)
    if len(segments) - 1 > MAX_GLOB_RUNS or len(pattern.encode()) > MAX_GLOB_BYTES:
        return None
    if not _GLOB_CONFUSED.isdisjoint(pattern):
        return None
    return "*".join("".join(map(_glob_part, segment)) for segment in segments)


def _glob_part(part: str | int) -> str:
    return "?" * part if isinstance(part, int) else part.translate(_GLOB_LITERALS)


def _lone_backslash(pattern: str) -> QueryError:
    return QueryError(
        f"like: the pattern {shown(pattern)} ends in a backslash that escapes nothing; "
        "for a backslash itself write two, otherwise remove it"
    )


def _literal(segment: Segment) -> str | None:
    """The segment as one literal text, or None if it has a ``_``."""
    if not segment:
        return ""
    return segment[0] if len(segment) == 1 and isinstance(segment[0], str) else None


def _width(segment: Segment) -> int:
    return sum(part if isinstance(part, int) else len(part) for part in segment)


def _fits(segment: Segment, text: str, at: int) -> bool:
    """Whether the segment's literals stand in the text from `at` on; the room is the caller's to check."""
    for part in segment:
        if isinstance(part, int):
            at += part
        elif text.startswith(part, at):
            at += len(part)
        else:
            return False
    return True


def _whole_test(segment: Segment) -> Callable[[str], bool]:
    literal, width = _literal(segment), _width(segment)
    if literal is not None:
        return literal.__eq__
    return lambda text: len(text) == width and _fits(segment, text, 0)


def _plain_test(first: Segment, inner: list[Segment], last: Segment) -> Callable[[str], bool] | None:
    """The test for patterns that one or two string methods can do: ``%``, ``a%``, ``%a``, ``a%b``, ``%a%``."""
    start, end = _literal(first), _literal(last)
    if start is None or end is None or len(inner) > 1:
        return None
    if inner:
        middle = _literal(inner[0])
        return None if start or end or middle is None else lambda text: middle in text
    room = len(start) + len(end)
    if not room:
        return lambda text: True
    if not end:
        return lambda text: text.startswith(start)
    if not start:
        return lambda text: text.endswith(end)
    return lambda text: len(text) >= room and text.startswith(start) and text.endswith(end)


def _runs_test(first: Segment, inner: list[Segment], last: Segment) -> Callable[[str], bool]:
    """The general test: both ends in place, and the inner segments each at their first chance.

    A segment has one width, so taking the first chance never spoils a later segment and
    nothing has to be tried twice.
    """
    head, tail = _width(first), _width(last)
    steps = [(_finder(segment), _width(segment)) for segment in inner]

    def test(text: str) -> bool:
        at, end = head, len(text) - tail
        if end < head or not _fits(first, text, 0) or not _fits(last, text, end):
            return False
        for find, width in steps:
            found = find(text, at, end)
            if found < 0:
                return False
            at = found + width
        return True

    return test


def _finder(segment: Segment) -> Find:
    """A function of (text, start, end) that gives the first place of the segment in between, or -1."""
    literal, width = _literal(segment), _width(segment)
    if literal is not None:
        return lambda text, start, end: text.find(literal, start, end)
    anchor, offset = _longest_literal(segment)
    rest = width - offset

    def find(text: str, start: int, end: int) -> int:
        if end - start < width:
            return -1
        if not anchor:
            return start
        found = text.find(anchor, start + offset, end - rest + len(anchor))
        while found >= 0 and not _fits(segment, text, found - offset):
            found = text.find(anchor, found + 1, end - rest + len(anchor))
        return found - offset if found >= 0 else -1

    return find


def _longest_literal(segment: Segment) -> tuple[str, int]:
    """The segment's longest literal and its place in the segment; searching for it skips most."""
    anchor, offset, at = "", 0, 0
    for part in segment:
        if isinstance(part, str) and len(part) > len(anchor):
            anchor, offset = part, at
        at += part if isinstance(part, int) else len(part)
    return anchor, offset
