"""Configuration: a value for each key, and where it came from.

Layers, the first that has a key wins: code (`config.set`), environment
(`HEAVENBASE_` and the key in capitals with underscores), the project's
`heavenbase.toml` (the nearest at or above the current folder), the user's
`config.toml`, defaults. A list in a nearer layer replaces the other. Keys may be
written with or without the leading `heavenbase.`.

Not here: reading the two files, and what an untrusted project may not set
(`heaven_core.config_files`, imported where there is a file); changing them
(`heaven_core.config_edit`).
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core.errors import ConfigError, a_kind, did_you_mean, shown
from heaven_core.narrow import is_list
from heaven_core.paths import absolute, user_folder

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.config_files import FileLayer


class Key(NamedTuple):
    """What a setting takes: `kind` is names, number, integer, boolean, text or location (a path)."""

    kind: str
    default: Any
    desc: str
    optional: bool = False
    """Whether None (in a file `"none"`) is a value, too."""
    choices: tuple[str, ...] = ()
    """The texts that it may be; empty means any."""

    @property
    def takes(self) -> str:
        """The values in words."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        return _WORDS[self.kind] + (" or None" if self.optional else "")


_WORDS = {
    "names": "a list of names",
    "number": "a positive number",
    "integer": "a positive whole number",
    "boolean": "true or false",
    "text": "a text",
    "location": "a path",
}

KEYS: dict[str, Key] = {
    "extensions.default": Key("names", [], "extensions that every new workspace enables"),
    "home": Key("location", None, "the folder of workspaces without a path; by default your platform's data folder"),
    "preset": Key(
        "text",
        "local",
        "the preset of a workspace opened without preset and backends",
        choices=("debug", "local", "server"),
    ),
    "query.deadline": Key("number", 30.0, "seconds that a query may take", optional=True),
    "query.max_bytes": Key("integer", 1 << 30, "bytes that a result may have, estimated", optional=True),
    "query.max_rows": Key("integer", 1_000_000, "rows that a result may have", optional=True),
    "server.url": Key(
        "text",
        None,
        "the address of the preset `server`; by default the engine's own variables say it",
        optional=True,
    ),
    "vector.memory_budget": Key("integer", 256 << 20, "bytes of memory that vectors kept for `near` may take"),
}
"""Every key there is."""

PROJECT_FILE, USER_FILE = "heavenbase.toml", "config.toml"
REDACTED = "<redacted>"
_MOST = 10**18  # engines and clocks count in 64 bits


class Setting(NamedTuple):
    """A value and its origin: "code", "env:NAME", "project file", "user file" or "default"."""

    value: Any
    origin: str


class Entry(NamedTuple):
    """A value that one layer has for a key; `ignored` says why it does not count, and is empty where it may."""

    layer: str
    """code, environment, project or user."""
    key: str
    value: Any
    origin: str
    effective: bool
    ignored: str


_code: dict[str, Any] = {}


def known(key: str) -> str:
    """The name of a key, without `heavenbase.`.

    Raises:
        ConfigError: there is no such key.
    """
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"a setting is named by a text such as 'query.deadline', not by {a_kind(key)}")
    name = key.removeprefix("heavenbase.")
    if name not in KEYS:
        raise ConfigError(f"there is no setting {key!r:.80}; {did_you_mean(name, KEYS)}")
    return name


def setting(key: str) -> Setting:
    """The value of a key and where it came from.

    Raises:
        ConfigError: no such key, a value of the wrong kind, or a file that cannot be read.
    """
    name = known(key)
    if name in _code:
        return Setting(_own(_code[name]), "code")
    given = _from_environment(name)
    if given is not None:
        return given
    for layer in _files():
        if name in layer.values:
            return Setting(_own(layer.values[name]), layer.origin)
    return Setting(_default(name), "default")


def get(key: str) -> Any:
    """The value of a key."""
    return setting(key).value


def set(key: str, value: Any) -> None:  # reads as config.set(...)
    """Set a key in this process, over every other layer."""
    name = known(key)
    _code[name] = checked(name, value, "code")


def unset(key: str) -> None:
    """Take back what `set` said."""
    _code.pop(known(key), None)


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


def entries() -> list[Entry]:
    """What each layer sets, nearest layer first; defaults are no entries.

    Raises:
        ConfigError: as `setting`.
    """
    found = [("code", name, value, "code", "") for name, value in sorted(_code.items())]
    given = {name: _from_environment(name) for name in KEYS}
    found += [("environment", name, one.value, one.origin, "") for name, one in given.items() if one is not None]
    for layer in _files():
        values = {name: (value, "") for name, value in layer.values.items()} | dict(layer.ignored)
        found += [(layer.name, name, value, layer.origin, why) for name, (value, why) in sorted(values.items())]
    taken: dict[str, str] = {}
    for layer_name, name, _, _, why in found:
        if not why:
            taken.setdefault(name, layer_name)
    return [
        Entry(layer, name, _own(value), origin, not why and taken[name] == layer, why)
        for layer, name, value, origin, why in found
    ]


def home() -> Path:
    """The folder where workspaces without a path live: `HEAVENBASE_HOME`, or the user's data folder."""
    from pathlib import Path

    return Path(home_folder())


def home_folder() -> str:
    """As `home`, as text.

    Raises:
        ConfigError: `HEAVENBASE_HOME` is no path.
    """
    return get("home")


def workspace_folder(identifier: str) -> str:
    """The folder of a workspace without a path.

    Raises:
        ConfigError: an untrusted project says where, and a link leads out of the project from there.
    """
    home, origin = setting("home")
    folder = f"{home}/workspaces/{identifier}"
    if origin == "project file":
        from heaven_core.config_files import check_confined

        check_confined(_files(), f"{folder}/main.db")
    return folder


# values -------------------------------------------------------------------------------------------------------------


def parsed(name: str, text: str) -> Any:
    """What a text from a shell means for a key: names with commas between them, JSON, `none`, or the text itself."""
    kind = KEYS[name].kind
    if kind in {"text", "location"}:
        return text
    if kind == "names" and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if text.strip().lower() == "none":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def checked(name: str, value: Any, origin: str, base: str = "") -> Any:
    """A value as its key takes it; a path from the root, where a relative one begins at `base` or the current folder.

    Raises:
        ConfigError: it is of the wrong kind; the message has the origin.
    """
    key = KEYS[name]
    if value is None and key.optional:
        return None
    try:
        return _as_kind(key, value, base)
    except (OSError, TypeError, ValueError):  # the first where the current folder is gone
        was = REDACTED if is_secret(name) else shown(value)
        raise ConfigError(f"{name} takes {key.takes}, not {was} (from {origin})") from None


def _as_kind(key: Key, value: Any, base: str) -> Any:
    if key.kind == "names":
        fits = is_list(value) and all(isinstance(one, str) for one in value)
        value = list(value) if fits else value
    elif key.kind == "boolean":
        fits = isinstance(value, bool)
    elif key.kind == "text":
        fits = isinstance(value, str) and (not key.choices or value in key.choices)
    elif key.kind == "location":
        fits = isinstance(value, str) and value != ""
        value = absolute(value if value[:1] == "~" else os.path.join(base, value)) if fits else value
    else:
        kinds = int if key.kind == "integer" else (int, float)
        fits = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= _MOST
    if not fits:
        raise ValueError(key.kind)
    return value


def is_secret(name: str) -> bool:
    """Whether the values of a key are shown to nobody: those beneath `*.keys`, and addresses, which hold passwords."""
    return "keys" in name.split(".")[:-1] or name.endswith(".url")


def _own(value: Any) -> Any:
    """A value that the caller may change."""
    return list(value) if is_list(value) else value


# layers -------------------------------------------------------------------------------------------------------------


def variable(name: str) -> str:
    """The environment variable of a key."""
    return "HEAVENBASE_" + name.upper().replace(".", "_")


def without_files(name: str) -> Any:
    """The value that a key would have if there were no files: a variable's where that is sound, or the default.

    Raises:
        ConfigError: there is no default here.
    """
    try:
        given = _from_environment(name)
    except ConfigError:
        given = None
    return _default(name) if given is None else given.value


def _from_environment(name: str) -> Setting | None:
    called = variable(name)
    text = os.environ.get(called)
    if text is None or (text == "" and KEYS[name].kind in {"text", "location"}):
        return None
    return Setting(checked(name, parsed(name, text), called), f"env:{called}")


def _default(name: str) -> Any:
    if name != "home":
        return _own(KEYS[name].default)
    try:
        return user_folder("data")
    except RuntimeError:
        raise ConfigError("your home folder is unknown here; set HEAVENBASE_HOME") from None


def _files() -> Sequence[FileLayer]:
    """The layers that files are, nearest first; a few looks at the disk where there are none."""
    project, user = project_file(), user_file()
    has_user = user is not None and os.path.exists(user)
    if project is None and not has_user:
        return ()
    from heaven_core.config_files import layers

    return layers(project, user if has_user else None)


def project_file() -> str | None:
    """The nearest `heavenbase.toml` at or above the current folder."""
    try:
        return project_file_from(os.getcwd())
    except OSError:  # the current folder is gone
        return None


def project_file_from(folder: str) -> str | None:
    """The nearest `heavenbase.toml` at or above a folder; what is no file of that name is passed by."""
    while True:
        path = os.path.join(folder, PROJECT_FILE)
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                return path
        except OSError:
            pass
        if folder == os.path.dirname(folder):
            return None
        folder = os.path.dirname(folder)


def user_file() -> str | None:
    """Where the user's file is, or would be: in the folder that `HEAVENBASE_HOME` names, or the user's for settings."""
    given = _from_environment("home")
    # Not a relative one: whoever has made the folder that we are in shall not speak for the user.
    if given is not None and os.environ["HEAVENBASE_HOME"].startswith(("/", "~")):
        return os.path.join(given.value, USER_FILE)
    try:
        return os.path.join(user_folder("config"), USER_FILE)
    except RuntimeError:  # a user without a home folder has no such layer
        return None
