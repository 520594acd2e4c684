"""Python functions inside SQLite: what its own SQL cannot answer exactly.

Registered on every connection under names that begin with `hb_`. They never
raise: a null field is null, and arguments were checked before.
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from heaven_core.ops import JsonGet, find_test, float_sum, items_test, mean, percentile, value_counts
from heaven_core.text import fold, index_text, matches

_loads = json.loads


def _fold(text: str | None) -> str | None:
    return None if text is None else fold(text)


def _index_text(text: str | None) -> str | None:
    return None if text is None else index_text(text)


def _reversed(text: str | None) -> str | None:
    return None if text is None else text[::-1]


@lru_cache(maxsize=64)
def _words(wanted: str) -> list[str]:
    return wanted.split(" ")


def _match(text: str | None, wanted: str) -> bool:
    return text is not None and matches(_words(wanted), text)


@lru_cache(maxsize=64)
def _pattern(pattern: str) -> Callable[[str], bool]:
    from heaven_core.patterns import like_test

    return like_test(pattern)


def _like(text: str | None, pattern: str) -> bool:
    return text is not None and _pattern(pattern)(text)


def _regex(text: str | None, pattern: str) -> bool:
    from heaven_core.regex import compile_regex

    return text is not None and compile_regex(pattern)(text)


@lru_cache(maxsize=16)
def _floats(packed: bytes) -> frozenset[float]:
    return frozenset(array("d", packed))


def _in(value: float | None, packed: bytes) -> bool:
    return value in _floats(packed)


@lru_cache(maxsize=64)
def _json_test(argument: str) -> Callable[[Any], bool]:
    spec = _loads(argument)
    path = tuple(spec.pop("path"))
    ((op, value),) = spec.items()
    get = JsonGet(path, op[1:], value)
    test = find_test(get)
    return lambda found: test(get.find(found))


def _get(text: str | None, argument: str) -> bool:
    return _json_test(argument)(None if text is None else _loads(text))


@lru_cache(maxsize=64)
def _item_test(op: str, spec: str, argument: str) -> Callable[[list[Any]], bool]:
    return items_test(op, _loads(argument), mixed=spec != "typed")


def _items(text: str | None, op: str, spec: str, argument: str) -> bool:
    return text is not None and _item_test(op, spec, argument)(_loads(text))


class _Percentile:
    def __init__(self) -> None:
        self.values: list[float] = []
        self.p = 50.0

    def step(self, value: float | None, p: float) -> None:
        if value is not None:
            self.values.append(value)
        self.p = p

    def finalize(self) -> float | None:
        return percentile(self.values, self.p)


class _ValueCounts:
    def __init__(self) -> None:
        self.values: list[Any] = []

    def step(self, value: Any) -> None:
        if value is not None:
            self.values.append(value)

    def finalize(self) -> str:
        return json.dumps(value_counts(self.values), ensure_ascii=False)


class _Sum:
    """A sum of whole numbers that may pass 64 bits on the way and need not at the end."""

    def __init__(self) -> None:
        self.total: int | None = None

    def step(self, value: int | None) -> None:
        if value is not None:
            self.total = value + (self.total or 0)

    def finalize(self) -> str | None:
        return None if self.total is None else str(self.total)


class _FloatSum:
    def __init__(self) -> None:
        self.values: list[float] = []

    def step(self, value: float | None) -> None:
        if value is not None:
            self.values.append(value)

    def finalize(self) -> float | None:
        return float_sum(self.values) if self.values else None


class _FloatMean(_FloatSum):
    def finalize(self) -> float | None:
        return mean(self.values)


def install(connection: sqlite3.Connection) -> None:
    """Register every function on a connection."""
    for name, count, function in (
        ("hb_fold", 1, _fold),
        ("hb_index_text", 1, _index_text),
        ("hb_reversed", 1, _reversed),
        ("hb_match", 2, _match),
        ("hb_like", 2, _like),
        ("hb_regex", 2, _regex),
        ("hb_in", 2, _in),
        ("hb_get", 2, _get),
        ("hb_items", 4, _items),
    ):
        connection.create_function(name, count, function, deterministic=True)
    aggregates: list[tuple[str, int, Any]] = [
        ("hb_percentile", 2, _Percentile),
        ("hb_value_counts", 1, _ValueCounts),
        ("hb_sum", 1, _Sum),
        ("hb_float_sum", 1, _FloatSum),
        ("hb_float_avg", 1, _FloatMean),
    ]
    for name, count, aggregate in aggregates:
        connection.create_aggregate(name, count, aggregate)
