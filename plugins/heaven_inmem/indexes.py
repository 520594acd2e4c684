"""Indexes of the memory engine: which rows have a value, end with a text, or may hold one.

Each maps values to ids and follows the rows one by one. Not here: the rows (`heaven_inmem.engine`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any


class EqualityIndex:
    """Which ids have a value: for `eq`, `in` and uniqueness."""

    def __init__(self) -> None:
        self._ids: dict[Any, set[str]] = {}

    def add(self, value: Any, object_id: str) -> None:
        """Note that the row has the value."""
        self._ids.setdefault(value, set()).add(object_id)

    def remove(self, value: Any, object_id: str) -> None:
        """Forget it."""
        found = self._ids[value]
        found.discard(object_id)
        if not found:
            del self._ids[value]

    def find(self, value: Any) -> set[str]:
        """The ids with this value."""
        return self._ids.get(value, set())

    def entries(self) -> set[tuple[Any, str]]:
        """Everything in it, for checks."""
        return {(value, one) for value, ids in self._ids.items() for one in ids}


class SuffixList:
    """Reversed texts in order, so that the texts with an ending lie side by side."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, str]] = []

    def add(self, value: str, object_id: str) -> None:
        """Note that the row has the text."""
        insort(self._entries, (value[::-1], object_id))

    def remove(self, value: str, object_id: str) -> None:
        """Forget it."""
        entry = (value[::-1], object_id)
        del self._entries[bisect_left(self._entries, entry)]

    def find(self, ending: str) -> list[str]:
        """The ids whose text ends so."""
        wanted = ending[::-1]
        found: list[str] = []
        for position in range(bisect_left(self._entries, (wanted, "")), len(self._entries)):
            text, object_id = self._entries[position]
            if not text.startswith(wanted):
                break
            found.append(object_id)
        return found

    def entries(self) -> set[tuple[str, str]]:
        """Everything in it, for checks."""
        return {(text[::-1], object_id) for text, object_id in self._entries}


class TrigramSets:
    """Which ids have a run of three characters: those with all runs of a text may hold it."""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}

    def add(self, value: str, object_id: str) -> None:
        """Note that the row has the text."""
        for run in trigrams(value):
            self._ids.setdefault(run, set()).add(object_id)

    def remove(self, value: str, object_id: str) -> None:
        """Forget it."""
        for run in trigrams(value):
            found = self._ids[run]
            found.discard(object_id)
            if not found:
                del self._ids[run]

    def find(self, texts: Sequence[str]) -> list[str] | None:
        """The ids whose text may hold all of these texts; None where they are too short to tell."""
        runs = {run for text in texts for run in trigrams(text)}
        if not runs:
            return None
        fewest, *others = sorted((self._ids.get(run, set[str]()) for run in runs), key=len)
        return sorted(fewest.intersection(*others))

    def entries(self) -> set[tuple[str, str]]:
        """Everything in it, for checks."""
        return {(run, one) for run, ids in self._ids.items() for one in ids}


def trigrams(text: str) -> set[str]:
    """The runs of three characters in a text."""
    return {text[at : at + 3] for at in range(len(text) - 2)}
