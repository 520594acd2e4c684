"""Computed fields: the functions behind `.compute(fn, inputs=)`, as they are stored and found again.

A function is stored as `module:qualname` and a hash of its source. Reading never
needs it; a write does, and a function that cannot be imported, or whose source
has changed, stops the write instead of storing something else.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from heaven_core.schema import ComputeSchema


def describe(function: Callable[..., Any], inputs: tuple[str, ...]) -> ComputeSchema:
    """How `function` is stored."""
    home: Any = getattr(function, "__objclass__", function)  # of a built-in method such as str.upper
    module = getattr(home, "__module__", None) or "?"
    name = getattr(function, "__qualname__", None)
    if name is None or _is_bound(function):
        name = f"<{type(function).__qualname__}>"
    return ComputeSchema(f"{module}:{name}", inputs, source_hash(function), function)


def _is_bound(function: Callable[..., Any]) -> bool:
    """Whether it is a method of one object, which no name leads to."""
    owner = getattr(function, "__self__", None)
    return owner is not None and not isinstance(owner, (type, ModuleType))


def source_hash(function: Callable[..., Any]) -> str:
    """A hash of the function's source text, or of its code where there is no source; empty for builtins."""
    import hashlib
    import inspect
    import textwrap

    try:
        text = textwrap.dedent(inspect.getsource(function)).encode()
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        if code is None:
            return ""
        text = code.co_code + repr([const for const in code.co_consts if not hasattr(const, "co_code")]).encode()
    return hashlib.sha256(text).hexdigest()[:32]


def load(stored: ComputeSchema) -> Callable[..., Any]:
    """The function that `describe` stored.

    Raises:
        ImportError, AttributeError: it is not there.
        ValueError: it is there with another source.
    """
    from heaven_core.plugin import resolve

    if "<" in stored.reference:
        raise ImportError("it was a local function, a lambda or an object")
    function = resolve(stored.reference)
    if not callable(function):
        raise AttributeError(f"{stored.reference} is not a function")
    if stored.source_hash and source_hash(function) != stored.source_hash:
        raise ValueError("its source has changed since it was registered")
    return function
