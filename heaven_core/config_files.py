"""The two layers of settings that are files: reading them, and what an untrusted project may not set.

A file that stays as it is is read once. Anybody may have written the `heavenbase.toml`
of a folder that you work in, so it is *untrusted*: keys that decide which code runs,
whom you believe and whether rows are kept, and paths that lead out of the project, are
ignored and named on the logger `heavenbase`, unless the user's own file trusts the
project's folder with exactly this content. A file of another user isn't even parsed.

Not here: the keys and the order of the layers (`heaven_core.config`), writing
(`heaven_core.config_edit`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from heaven_core.config import KEYS, PROJECT_FILE, checked
from heaven_core.errors import ConfigError, did_you_mean, shown
from heaven_core.narrow import is_dict
from heaven_core.paths import resolved

PROTECTED = ("extensions", "capsule.registry", "capsule.trust", "audit.keys", "preset", "server", "trust")
"""What only a trusted project sets: these keys and all beneath them. `trust` is where the user's file keeps its own."""

MAX_BYTES = 1 << 16
_MOST_DOTS = 256  # reading a dotted key takes time with the square of its parts
_MOST_NAMED = 5

UNTRUSTED = "this project is not trusted"
CHANGED = "the file has changed since it was trusted"
OUTSIDE = "it leads out of the project"


class FileLayer(NamedTuple):
    """The settings of one file: those that count, and for the others what they would be and why they don't."""

    name: str
    """project or user."""
    path: str
    values: Mapping[str, Any]
    ignored: Mapping[str, tuple[Any, str]]
    confined: bool = False
    """Whether its paths must stay within its folder."""

    @property
    def origin(self) -> str:
        return f"{self.name} file"


class Content(NamedTuple):
    """The bytes of a file, and why they are nobody's word here (or "")."""

    path: str
    data: bytes
    strange: str

    @property
    def name(self) -> str:
        """What messages call it; never where it is."""
        return os.path.basename(self.path)

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    @property
    def digest(self) -> str:
        """What trust in this content is written as."""
        from hashlib import sha256

        return f"sha256:{sha256(self.data).hexdigest()}"


def layers(project: str | None, user: str | None) -> tuple[FileLayer, ...]:
    """What the project's and the user's file set, where there are such files.

    Raises:
        ConfigError: a file that cannot be read, is no TOML, or has a value of the wrong kind.
    """
    made: list[FileLayer] = []
    trust: Mapping[str, str] = {}
    if user is not None and (content := _read_again(user)) is not None:
        trust, layer = _user(content)
        made.append(layer)
    if project is not None and (content := _read_again(project)) is not None:
        made.insert(0, _project(content, trust))
    return tuple(made)


def _user(content: Content) -> tuple[Mapping[str, str], FileLayer]:
    if content.strange:
        _warn(content, f"it is not read, because {content.strange}")
        return {}, FileLayer("user", content.path, {}, {})
    given = settings(content)
    given.pop("trust", None)
    values, unknown = _split(content, given, {})
    _warn_unknown(content, unknown)
    return trusted(content), FileLayer("user", content.path, values, {})


def _project(content: Content, trust: Mapping[str, str]) -> FileLayer:
    seen = trust.get(content.folder)
    is_trusted = seen is not None and seen == content.digest
    if content.strange and not is_trusted:
        _warn(content, f"it is not read, because {content.strange}; {_ADVICE}")
        return FileLayer("project", content.path, {}, {})
    given = settings(content)
    refused = {} if is_trusted else _refused(content, given, UNTRUSTED if seen is None else CHANGED)
    values, unknown = _split(content, given, refused)
    _warn_refused(content, refused)
    _warn_unknown(content, unknown)
    ignored = {name: (_meant(content, name, given[name]), why) for name, why in refused.items() if name in KEYS}
    return FileLayer("project", content.path, values, ignored, confined=not is_trusted)


def reviewed(content: Content) -> FileLayer:
    """What a project's file sets where nobody trusts it; `ignored` is what trust would let it set besides.

    Raises:
        ConfigError: as `layers`, ignored settings included.
    """
    given = settings(content)
    refused = dict.fromkeys(given, content.strange) if content.strange else _refused(content, given, UNTRUSTED)
    values, _ = _split(content, given, {})
    allowed = {name: value for name, value in values.items() if name not in refused}
    ignored = {name: (_meant(content, name, given[name]), why) for name, why in refused.items()}
    return FileLayer("project", content.path, allowed, ignored)


def _meant(content: Content, name: str, value: Any) -> Any:
    """What an ignored setting would be; in words where it is of the wrong kind, or unknown to this version."""
    try:
        return _checked(content, name, value)
    except (ConfigError, KeyError):
        return shown(value)


def check_confined(layers: Iterable[FileLayer], place: str) -> None:
    """Raise if an untrusted project would have rows kept outside of it, through a link.

    Raises:
        ConfigError: it would.
    """
    if any(layer.confined and leads_out(os.path.dirname(layer.path), place) for layer in layers):
        raise ConfigError(
            f"the workspaces' folder in {PROJECT_FILE} leads out of the project; look at it, "
            "then allow it with: hb config trust ."
        )


def _split(content: Content, given: Mapping[str, Any], refused: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The settings that count, checked, and the names that are no settings."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in KEYS and name not in refused:
            values[name] = _checked(content, name, value)
    return values, [name for name in given if name not in KEYS and name not in refused]


def _checked(content: Content, name: str, value: Any) -> Any:
    meant = None if value == "none" and KEYS[name].optional else value  # TOML has no word for nothing
    try:
        return checked(name, meant, content.name, content.folder)
    except ConfigError:
        line = _line_of(content, name)
        return checked(name, meant, f"{content.name}, line {line}" if line else content.name, content.folder)


def _refused(content: Content, given: Mapping[str, Any], why: str) -> dict[str, str]:
    """The settings that an untrusted project may not have, each with the reason."""
    return {
        name: why if is_protected(name) else OUTSIDE
        for name, value in given.items()
        if is_protected(name) or (name in KEYS and KEYS[name].kind == "location" and leads_out(content.folder, value))
    }


def is_protected(name: str) -> bool:
    """Whether only a trusted project may set this."""
    return any(name == one or name.startswith(f"{one}.") for one in PROTECTED)


def leads_out(folder: str, value: Any) -> bool:
    """Whether a path is outside of a folder, links followed."""
    try:
        place = resolved(checked("home", value, "", folder))
    except ConfigError:  # no path at all, which is said where it is checked
        return False
    inside = resolved(folder)
    return place != inside and not place.startswith(inside.rstrip("/") + "/")


# reading ------------------------------------------------------------------------------------------------------------

_contents: dict[str, tuple[tuple[int, ...], Content]] = {}


def _read_again(path: str) -> Content | None:
    """The file as it is now, from memory where nothing has touched it; None if it has just gone."""
    kept = _contents.get(path)
    try:
        if kept is not None and kept[0] == _stamp(path, os.stat(path)):
            return kept[1]
        content, stamp = _read(path)
    except FileNotFoundError:
        return None
    if len(_contents) > 100:  # a process that wanders through folders
        _contents.clear()
    _contents[path] = (stamp, content)
    return content


def read(path: str) -> Content | None:
    """The file as it is now; None if there is none.

    Raises:
        ConfigError: it is no ordinary file, cannot be read, or is larger than settings are.
    """
    try:
        return _read(path)[0]
    except FileNotFoundError:
        return None


def _stamp(path: str, status: os.stat_result) -> tuple[int, ...]:
    """What changes whenever the file does: its content, whom it belongs to, who may write it, where a link leads."""
    link = os.lstat(path)
    changed = (status.st_mtime_ns, status.st_ctime_ns, link.st_ctime_ns)
    return (*changed, status.st_size, status.st_ino, status.st_dev, link.st_ino)


def _read(path: str) -> tuple[Content, tuple[int, ...]]:
    name = os.path.basename(path)
    try:
        # Without waiting: something that is no file may have taken its place.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status, data = os.fstat(handle), None
            if stat.S_ISREG(status.st_mode):
                with open(handle, "rb", closefd=False) as file:
                    data = file.read(MAX_BYTES + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise
    except OSError as error:
        status, data = os.stat(path), b""
        if not _strange(path, status):  # a stranger's file is no reason to fail
            raise ConfigError(f"{name} cannot be read: {error.strerror}") from error
    if data is None:
        raise ConfigError(f"{name} is no ordinary file; put one in its place, or remove it")
    return Content(path, data, _strange(path, status)), _stamp(path, status)


def _strange(path: str, status: os.stat_result) -> str:
    """Why the file is not this user's own (or the system's), or ""."""
    ours = {0, os.geteuid()}
    link = os.lstat(path)
    if status.st_uid not in ours or link.st_uid not in ours:
        return "it belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "everybody may write it"
    is_project = os.path.basename(path) == PROJECT_FILE
    if is_project and stat.S_ISLNK(link.st_mode) and leads_out(os.path.dirname(path), path):
        return "it is a link that leads out of its folder"
    return ""


# parsing ------------------------------------------------------------------------------------------------------------


def settings(content: Content) -> dict[str, Any]:
    """Every setting of a file by its full name, as TOML has it.

    Raises:
        ConfigError: it is no TOML, or sets a key twice in two spellings.
    """
    found: dict[str, Any] = {}
    for name, value in flattened(_tables(content.data, content.name)):
        if name in found:
            raise ConfigError(f"{content.name} sets {shown(name)} twice, in two spellings; remove one")
        found[name] = value
    return found


def trusted(content: Content) -> dict[str, str]:
    """The projects that the user's file trusts: the folder of each, and the digest of what it trusts there."""
    given: Any = _tables(content.data, content.name).get("trust", {})
    if not is_dict(given):
        return {}
    return {folder: digest for folder, digest in given.items() if isinstance(digest, str)}


@lru_cache(maxsize=8)
def _tables(data: bytes, name: str) -> dict[str, Any]:
    import tomllib

    if len(data) > MAX_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_BYTES} bytes, and no settings are; shorten it")
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.count(b".") > _MOST_DOTS:
            raise ConfigError(f"{name}, line {number} has too many dots; break it up")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}, line {line} is no text in UTF-8") from error
    except RecursionError as error:
        raise ConfigError(f"{name} is nested too deeply") from error
    except ValueError as error:
        last = data.rstrip().count(b"\n") + 1
        where = str(error).replace("at end of document", f"at line {last}, the last one")
        raise ConfigError(f"{name} is no TOML: {where}") from error


def flattened(tables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value with its dotted name, without the leading `heavenbase.`; the table `trust` is one value."""
    waiting: list[tuple[str, Any]] = list(tables.items())[::-1]
    while waiting:  # not by recursion: a file may nest deeper than the stack
        name, value = waiting.pop()
        if is_dict(value) and name != "trust":
            waiting += [(f"{name}.{key}", one) for key, one in value.items()][::-1]
        else:
            yield name.removeprefix("heavenbase."), value


def _line_of(content: Content, name: str) -> int | None:
    """Where a key is set, as far as its lines show it."""
    import tomllib

    table: list[str] = []
    for number, line in enumerate(content.data.decode("utf-8").splitlines(), 1):
        try:
            if line.lstrip().startswith("["):
                table = list(_path(tomllib.loads(line)))
                continue
            left = line.partition("=")[0]
            path = ".".join([*table, *_path(tomllib.loads(f"{left}=0"))]).removeprefix("heavenbase.")
        except (ValueError, RecursionError):  # a line within a longer value
            continue
        if path == name or name.startswith(f"{path}."):
            return number
    return None


def _path(tables: Any) -> Iterator[str]:
    while is_dict(tables) and tables:
        ((key, tables),) = tables.items()
        yield key


# telling ------------------------------------------------------------------------------------------------------------

_ADVICE = "look at it, then allow it with: hb config trust ."
_told: set[tuple[str, str]] = set()


def _warn(content: Content, message: str) -> None:
    """Say it once in this process."""
    if (content.path, message) in _told:
        return
    import logging

    _told.add((content.path, message))
    logging.getLogger("heavenbase").warning("%s: %s", content.name, message)


def _warn_refused(content: Content, refused: Mapping[str, str]) -> None:
    for why in dict.fromkeys(refused.values()):
        names = _listed(name for name, reason in refused.items() if reason == why)
        _warn(content, f"ignored {names}, because {why}; {_ADVICE}")


def _warn_unknown(content: Content, unknown: list[str]) -> None:
    # A warning: an older version shall be able to read the file of a newer one.
    for name in unknown[:_MOST_NAMED]:
        _warn(content, f"there is no setting {shown(name)}; {did_you_mean(name[:80], KEYS)}")
    if len(unknown) > _MOST_NAMED:
        _warn(content, f"{len(unknown) - _MOST_NAMED} more are no settings")


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    return ", ".join(name if name in KEYS else shown(name) for name in every[:_MOST_NAMED]) + more
