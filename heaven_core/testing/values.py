"""Values of every logical type that storage has gone wrong about, in canonical form.

Extremes, both zeros, texts of many scripts and of other languages' syntax, dates at the bounds, numbers that only
look alike. Not here: random ones (`heaven_core.testing.worlds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.testing import worlds
from heaven_core.types import Array, LogicalType, from_spec

TYPES: tuple[LogicalType[Any], ...] = tuple(dict.fromkeys(worlds.TYPES))
"""Every logical type, with every kind of item that an array can have."""

_ALIKE: tuple[Any, ...] = (0, 0.0, -0.0, False, "", "0", 1, 1.0, True, "1", "true", 2**53 + 1, float(2**53))
_VECTORS = ((0.0, -0.0), (1.0, 0.0), (0.1, 1 / 3), (1e30, -1e30), (1e-30, 1e-45), (3.4028234663852886e38, 1.0))


def values_of(dtype: LogicalType[Any]) -> list[Any]:
    """Canonical values of a type, null not among them."""
    return [dtype.check(value) for value in _given(dtype)]


def _given(dtype: LogicalType[Any]) -> Iterator[Any]:
    if isinstance(dtype, Array):
        yield from _arrays(dtype)
    elif dtype.kind == "json":
        yield from _jsons()
    elif dtype.kind == "vector":
        yield from _VECTORS
    elif dtype.kind == "bytes":
        yield from (b"", b"\0", bytes(range(256)), b"\0" * 70_000, "é\0".encode())
    else:
        yield from _scalars(dtype)


def _scalars(dtype: LogicalType[Any]) -> Iterator[Any]:
    if dtype.kind == "text":
        yield from dtype.params().get("values") or _texts(getattr(dtype, "max_chars", 255))
        return
    pools: dict[str, Sequence[Any]] = {
        "integer": [one for theme in worlds.INTEGER_THEMES for one in theme],
        "float": [one for theme in worlds.FLOAT_THEMES for one in theme],
        "boolean": (True, False),
        "timestamp": worlds.TIMESTAMPS,
        "date": worlds.DATES,
        "duration": worlds.DURATIONS,
    }
    yield from pools[dtype.kind]


def _texts(longest: int) -> Iterator[str]:
    yield from dict.fromkeys((*worlds.COMMON, *(one for theme in worlds.TEXT_THEMES for one in theme)))
    yield "\U0010ffff" * longest


def _arrays(dtype: Array) -> Iterator[list[Any]]:
    items = list(_ALIKE) if dtype.item is None else values_of(dtype.item)
    yield []
    yield from ([item] for item in items)
    yield items[:40]
    yield items[1::-1] * 3


def _jsons() -> Iterator[Any]:
    yield from _ALIKE
    yield from ({}, [], [[]], [None], {"": None}, {"a": {"b": [1, {"c": None}]}})
    yield {key: key for key in worlds.JSON_KEYS}
    yield [list(_ALIKE), {"deep": list(_ALIKE)}]
    yield {f"key {n}": [n, n / 7, "漢字" * 20] for n in range(500)}
    nested: Any = 1
    for _ in range(99):
        nested = [nested]
    yield nested


TEXT = from_spec("short-text")
INTEGER = from_spec("integer")
