"""Configuration: a value for each key, and where it came from.

Layers, the first that has a key wins: code (`config.set`), environment
(`HEAVENBASE_` and the key in capitals with underscores), defaults. A list in a
nearer layer replaces the other. Keys may be written with or without the leading
`heavenbase.`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core.errors import ConfigError, did_you_mean, shown
from heaven_core.narrow import is_list
from heaven_core.paths import absolute

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS: dict[str, Any] = {
    "extensions.default": [],
    "query.deadline": 30.0,
    "query.max_rows": 1_000_000,
    "query.max_bytes": 1 << 30,
    "vector.memory_budget": 1 << 28,
}
"""Every key there is, with its default."""


class Setting(NamedTuple):
    """A value and its origin: "code", "env:NAME" or "default"."""

    value: Any
    origin: str


_code: dict[str, Any] = {}


def _known(key: str) -> str:
    name = key.removeprefix("heavenbase.")
    if name not in DEFAULTS:
        raise ConfigError(f"there is no setting {key!r:.80}; {did_you_mean(name, DEFAULTS)}")
    return name


def setting(key: str) -> Setting:
    """The value of a key and where it came from.

    Raises:
        ConfigError: no such key, or a value of the wrong kind in the environment.
    """
    name = _known(key)
    if name in _code:
        return Setting(_code[name], "code")
    variable = "HEAVENBASE_" + name.upper().replace(".", "_")
    text = os.environ.get(variable)
    if text is not None:
        return Setting(_checked(name, _parsed(name, text), variable), f"env:{variable}")
    return Setting(DEFAULTS[name], "default")


def get(key: str) -> Any:
    """The value of a key."""
    return setting(key).value


def set(key: str, value: Any) -> None:  # reads as config.set(...)
    """Set a key in this process, over every other layer."""
    name = _known(key)
    _code[name] = _checked(name, value, "code")


def unset(key: str) -> None:
    """Take back what `set` said."""
    _code.pop(_known(key), None)


@contextmanager
def override(**values: Any) -> Generator[None]:
    """Set keys (dots written as two underscores) for the length of a block."""
    before = dict(_code)
    try:
        for key, value in values.items():
            set(key.replace("__", "."), value)
        yield
    finally:
        _code.clear()
        _code.update(before)


def _parsed(name: str, text: str) -> Any:
    if isinstance(DEFAULTS[name], list) and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _checked(name: str, value: Any, origin: str) -> Any:
    default = DEFAULTS[name]
    if isinstance(default, list):
        if is_list(value) and all(isinstance(one, str) for one in value):
            return list(value)
        raise ConfigError(f"{name} takes a list of names, not {shown(value)} (from {origin})")
    if value is None:
        return None
    whole = isinstance(default, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value > 0:
        number = "whole number" if whole else "number"
        raise ConfigError(f"{name} takes a positive {number} or None, not {shown(value)} (from {origin})")
    return value


def home() -> Path:
    """The folder where workspaces without a path live: `HEAVENBASE_HOME`, or the user's data folder."""
    from pathlib import Path

    return Path(home_folder())


def home_folder() -> str:
    """As `home`, as text.

    Raises:
        ConfigError: `HEAVENBASE_HOME` is no path.
    """
    given = os.environ.get("HEAVENBASE_HOME")
    if given:
        try:
            return absolute(given)
        except ValueError:
            raise ConfigError(f"HEAVENBASE_HOME is no path: {shown(given)}") from None
    from platformdirs import user_data_dir

    return user_data_dir("heavenbase", appauthor=False)
