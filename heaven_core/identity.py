"""Identity: where the `object_id` of a row comes from.

An explicit id wins. Else a name gives a deterministic id, so writing the same
thing again is an upsert. Else a UUIDv7, made in batches and ascending within the
process, so that indexes grow at their end.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

MAX_ID_CHARS = 63

_lock = threading.Lock()
_last = 0


def _after_fork() -> None:
    """In the child: count on from nowhere, or it would make the ids that the parent makes."""
    global _last, _lock  # the parent's lock may have been held
    _last, _lock = 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def named_id(entity: str, name: str) -> str:
    """The id of a named row: 32 hexadecimal digits of blake2b over entity and name. A persisted format."""
    return digest(f"{entity}\x1f{name}")


def digest(text: str, person: bytes = b"") -> str:
    """32 hexadecimal digits of blake2b, for whatever `person` says. A persisted format."""
    global _blake2b  # hashlib brings OpenSSL, which opening a workspace does not need
    if _blake2b is None:
        from hashlib import blake2b as _blake2b
    return _blake2b(text.encode(), digest_size=16, person=person).hexdigest()


_blake2b: Any = None


def new_ids(count: int) -> list[str]:
    """`count` new ids, each greater than every one before it in this process: UUIDv7 without dashes.

    A clock that goes back does not: the last id is counted on until time has caught up.
    """
    global _last  # one clock per process
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(9), "big")
    random_a, random_b = noise >> 60, noise & ((1 << 61) - 1)
    start = (milliseconds << 80) | (0x7 << 76) | ((random_a & 0xFFF) << 64) | (0b10 << 62) | random_b
    with _lock:
        start = max(start, _last + 1)
        _last = start + count - 1
    return [f"{number:032x}" for number in range(start, start + count)]


def identify(entity: str, given: Sequence[Any], names: Sequence[Any]) -> tuple[list[str], bool]:
    """The ids of rows with these explicit ids and names (None for none), and whether all of them are new."""
    if given and None not in given:
        return list(given), False
    needed = [
        position for position, (one, name) in enumerate(zip(given, names, strict=True)) if one is None and name is None
    ]
    if len(needed) == len(given):
        return new_ids(len(given)), True
    ids = [
        one if one is not None else None if name is None else named_id(entity, name)
        for one, name in zip(given, names, strict=True)
    ]
    for position, made in zip(needed, new_ids(len(needed)) if needed else (), strict=True):
        ids[position] = made
    return ids, False  # pyright: ignore[reportReturnType]  # every None was replaced
