"""Type guards for data from outside, so that checking it keeps a type checker informed.

`isinstance(value, dict)` leaves keys and values of unknown type; these leave them
`Any`, which is what data from a user is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard


def is_mapping(value: Any) -> TypeGuard[Mapping[Any, Any]]:
    """Whether `value` is a mapping."""
    return isinstance(value, Mapping)


def is_dict(value: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether `value` is a dict."""
    return isinstance(value, dict)


def is_pure_list(value: Any) -> TypeGuard[list[Any]]:
    """Whether `value` is a list."""
    return isinstance(value, list)


def is_list(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether `value` is a list or a tuple."""
    return isinstance(value, (list, tuple))


def is_collection(value: Any) -> TypeGuard[list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any]]:
    """Whether `value` is a list, a tuple or a set."""
    return isinstance(value, (list, tuple, set, frozenset))


def iterator(value: Any) -> Iterator[Any] | None:
    """What goes through `value`, or None where nothing does: a numpy array of no axis has `__iter__` all the same."""
    try:
        return iter(value)
    except TypeError:
        return None
