"""Where the words of a search stand in a text, for people to see.

A word is marked where it is as it was written: case, accents and spelling are those
of the text. Folding and words are those of `heaven_core.text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

from heaven_core.text import tokens

_ASCII_WORD = re.compile(r"[0-9A-Za-z]+")
_CUT = "…"
_BREAKS = "\u200b"
"""Invisible, and a gap all the same: the zero width space."""


class Span(NamedTuple):
    """A word in a text: from where to where, in characters, and what it is when folded."""

    start: int
    end: int
    tokens: tuple[str, ...]


def words(text: str) -> Iterator[Span]:
    """The words of a text in order; together their tokens are those of the text."""
    if text.isascii():
        for found in _ASCII_WORD.finditer(text):
            yield Span(found.start(), found.end(), tuple(tokens(found[0])))
        return
    start = 0
    for end in _seams(text):
        found = tuple(tokens(text[start:end]))
        if found:
            yield Span(start, end, found)
        start = end


def _seams(text: str) -> Iterator[int]:
    """Where one word or gap ends and the next begins: a character with its marks is never cut."""
    start, before = 0, False
    for at in range(1, len(text) + 1):
        if at < len(text) and text[at] not in _BREAKS and _follows(text[at]) and _joins(text[start]):
            continue
        piece = text[start:at]
        joins = _joins(piece) and (before or bool(tokens(piece)))
        if start and not (joins and before):
            yield start
        start, before = at, joins
    if text:
        yield len(text)


@lru_cache(maxsize=4096)
def _follows(char: str) -> bool:
    """Whether a character belongs to the one before it: a mark, or an invisible one."""
    from unicodedata import category

    return category(char) in ("Mn", "Mc", "Me", "Cf")


@lru_cache(maxsize=4096)
def _joins(piece: str) -> bool:
    """Whether letters on both sides of it are one word."""
    return len(tokens(f"a{piece}a")) == 1


def marked(
    text: str,
    wanted: Collection[str],
    *,
    before: str,
    after: str,
    width: int | None,
    escape: Callable[[str], str] | None = None,
) -> str | None:
    """The part of a text with the most of the wanted words, each between `before` and `after`; None if it has none.

    width: about how many characters of the text to show; None for all of it.
    escape: what each piece of the text becomes, such as `html.escape`; the marks are left as they are.
    """
    known = frozenset(wanted)
    hits = [one for one in words(text) if not known.isdisjoint(one.tokens)]
    if not hits:
        return None
    start, end = (0, len(text)) if width is None or len(text) <= width else _window(text, hits, width)
    shown = escape or str
    parts = [_CUT] if start else []
    at = start
    for hit in hits:
        if start <= hit.start and hit.end <= end:
            parts += [shown(text[at : hit.start]), before, shown(text[hit.start : hit.end]), after]
            at = hit.end
    parts += [shown(text[at:end]), _CUT if end < len(text) else ""]
    return "".join(parts)


def _window(text: str, hits: list[Span], width: int) -> tuple[int, int]:
    """The stretch of about `width` characters with the most different words, the first of several such."""
    best, most = 0, 0
    last, counts = 0, dict[str, int]()
    for first, hit in enumerate(hits):
        while last < len(hits) and hits[last].end - hit.start <= width:
            for token in hits[last].tokens:
                counts[token] = counts.get(token, 0) + 1
            last += 1
        if len(counts) > most:
            best, most = first, len(counts)
        if last <= first:  # the word alone is wider
            last = first + 1
            continue
        for token in hit.tokens:
            counts[token] -= 1
            if not counts[token]:
                del counts[token]
    inside = [one for one in hits[best:] if one.end - hits[best].start <= width] or [hits[best]]
    room = max(width - (inside[-1].end - inside[0].start), 0)
    start = max(min(inside[0].start - room // 2, len(text) - width), 0)
    end = min(max(start + width, inside[-1].end), len(text))
    return _at_a_gap(text, start, inside[0].start), _back_to_a_gap(text, inside[-1].end, end)


def _at_a_gap(text: str, start: int, stop: int) -> int:
    """The beginning of the first whole word from `start` on."""
    if not start:
        return 0
    gap = re.compile(r"\s+").search(text, start - 1, stop)
    return gap.end() if gap else start


def _back_to_a_gap(text: str, start: int, end: int) -> int:
    """The end of the last whole word up to `end`."""
    if end == len(text):
        return end
    gaps = [found.start() for found in re.finditer(r"\s+", text[start : end + 1])]
    return start + gaps[-1] if gaps else end
