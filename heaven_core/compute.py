"""Computed fields: the functions behind `.compute(fn, inputs=)`, as they are stored and found again.

A function is stored as `module:qualname` and a hash of its source. Reading never
needs it; a write does, and a function that cannot be imported, or whose source
has changed, stops the write instead of storing something else. A schema is data,
from whomever: without the hash it gets no function at all, but for those of
Python itself that have no source and can do no harm. What a class declares in
this process is used as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from heaven_core.schema import ComputeSchema

_BUILTINS = "abs all any ascii bin bool bytes chr divmod float hex int len max min oct ord repr round sorted str sum"
HARMLESS: Mapping[str, frozenset[str] | None] = {
    "builtins": frozenset(_BUILTINS.split()),
    "datetime": frozenset({"date", "datetime", "time", "timedelta"}),
    "math": None,
    "_operator": None,
}
"""What needs no hash: functions and classes of these modules, with their methods; None stands for all.

They have no source, and only make a value from values.
"""


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
        ValueError: it is there with another source, or was stored without the hash of one.
    """
    from heaven_core.plugin import resolve

    if "<" in stored.reference:
        raise ImportError("it was a local function, a lambda or an object")
    if not stored.source_hash and not _may_be_harmless(stored.reference):  # nor is its module imported
        raise ValueError("it was stored without a hash of its source")
    function = resolve(stored.reference)
    if not callable(function):
        raise AttributeError(f"{stored.reference} is not a function")
    if source_hash(function) != stored.source_hash:
        raise ValueError("its source has changed since it was registered")
    if not stored.source_hash and describe(function, ()).reference != stored.reference:
        raise ValueError("that is no name of its own")  # another module's, reached through a harmless one
    return function


def _may_be_harmless(reference: str) -> bool:
    module, _, path = reference.partition(":")
    names = HARMLESS.get(module, frozenset[str]())
    return names is None or path.partition(".")[0] in names
