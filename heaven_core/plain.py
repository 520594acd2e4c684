"""Whole columns at a glance: are these values in canonical form already?

A look at each value from Python costs more than writing it. What is here looks at many
values in one pass in C, and answers yes only where that is certain; a no sends the caller to
the checks one by one, which find the culprit or make the canonical form.

Not here: what a type accepts, and the checks one by one (`heaven_core.types`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, repeat
from operator import methodcaller
from typing import Any

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
MAX_JSON_DEPTH = 100
MAX_PARTS = 10_000_000
"""Values on one level that are looked at together; a list that holds itself twice would have ever more."""

_values = methodcaller("values")
_SCALARS = frozenset({str, int, float, bool, type(None)})


def are_plain_texts(texts: Collection[Any]) -> bool:
    """Whether all are of class str, without NUL and lone surrogates."""
    if not set(map(type, texts)) <= {str}:
        return False
    joined = "".join(texts)
    if joined.isascii():
        return "\0" not in joined
    try:
        joined.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in joined


def are_plain_floats(values: Sequence[float]) -> bool:
    """Whether all floats are finite and none is a negative zero; a sum that overflows says no."""
    return math.isfinite(sum(values)) and (0.0 not in values or -1.0 not in map(math.copysign, repeat(1.0), values))


def are_plain_scalars(values: Sequence[Any]) -> bool:
    """Whether all are text, numbers of 64 bits, booleans or None, in canonical form."""
    groups = _by_class(values)
    return groups.keys() <= _SCALARS and _are_plain(groups)


def is_plain_json(values: Sequence[Any]) -> bool:
    """Whether all are JSON data in canonical form; goes through them together, level by level."""
    level = values
    for _ in range(MAX_JSON_DEPTH + 1):
        groups = _by_class(level)
        dicts: Sequence[dict[Any, Any]] = groups.pop(dict, ())
        lists: Sequence[list[Any]] = groups.pop(list, ())
        keys = set[Any]().union(*dicts)
        if not groups.keys() <= _SCALARS or not _are_plain(groups) or not are_plain_texts(keys):
            return False
        if not dicts and not lists:
            return True
        level = [*chain.from_iterable(map(_values, dicts)), *chain.from_iterable(lists)]
        if len(level) > MAX_PARTS:
            return False
    return not level


def _by_class(values: Sequence[Any]) -> dict[type, Sequence[Any]]:
    kinds: set[type] = set(map(type, values))
    if len(kinds) == 1:
        return {kinds.pop(): values}
    groups: dict[type, list[Any]] = {kind: [] for kind in kinds}
    for value in values:
        groups[type(value)].append(value)
    return {**groups}


def _are_plain(groups: Mapping[type, Sequence[Any]]) -> bool:
    """Whether these scalars, by their class, are in canonical form."""
    numbers: Sequence[int] = groups.get(int, ())
    return (
        are_plain_texts(groups.get(str, ()))
        and are_plain_floats(groups.get(float, ()))
        and (not numbers or (INT_MIN <= min(numbers) and max(numbers) <= INT_MAX))
    )
