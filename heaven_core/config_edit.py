"""Changing the files of settings: comments, order and spelling stay, and a reader sees the old file or the new one.

Writers take turns by a lock on the folder, and read again under it, so none undoes
what another has just written. Whether a key and its value are right is checked
before anything is touched; so is, before the new file takes the old one's place, that
it says what it should.

Not here: reading settings (`heaven_core.config`, `heaven_core.config_files`).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from heaven_core import config
from heaven_core.config_files import Content, leads_out, read, settings, trusted
from heaven_core.errors import BackendBusy, ConfigError, did_you_mean, shown
from heaven_core.narrow import is_dict
from heaven_core.paths import resolved

_PATIENCE_S = 10.0

Change = Callable[[Any], None]


def save(path: str, key: str, value: Any) -> None:
    """Set a key in a file, which is made if need be.

    A project that was trusted before stays so: it is its user who changes it.

    Raises:
        ConfigError: no such key, a value of the wrong kind, or a file that cannot be read or written.
        BackendBusy: another process has held the file's folder for too long.
    """
    name = config.known(key)
    config.checked(name, value, "the value to save", os.path.dirname(path))
    written = "none" if value is None else value
    _edit_trusted(path, lambda document: _put(document, name, written), {name: written})


def remove(path: str, key: str) -> None:
    """Take a key out of a file, also one that is no setting.

    Raises:
        ConfigError: the file doesn't set it, or cannot be read or written.
        BackendBusy: another process has held the file's folder for too long.
    """
    name = key.removeprefix("heavenbase.")
    content = read(path)
    there = {} if content is None else settings(content)
    there.pop("trust", None)
    if name not in there:
        if name not in config.KEYS:
            raise ConfigError(f"there is no setting {shown(key)}; {did_you_mean(name, {*config.KEYS, *there})}")
        raise ConfigError(f"{os.path.basename(path)} does not set {name}; see what does: hb config show --origin")
    _edit_trusted(path, lambda document: _take(document, name), {name: None})


def trust(content: Content) -> None:
    """Let a project set everything, as long as its file stays what `content` is.

    Raises:
        ConfigError: the user's file cannot be read or written, or the folder's name is no text.
        BackendBusy: another process has held the file's folder for too long.
    """
    folder, digest = content.folder, content.digest
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise ConfigError("the name of this project's folder is no text in UTF-8; rename it to trust it") from None

    def change(document: Any) -> None:
        import tomlkit

        if "trust" not in document:
            document["trust"] = tomlkit.table()
        document["trust"][folder] = digest

    _edit(_user_file(), change, {}, {folder: digest})


def untrust(folder: str) -> bool:
    """Take back what `trust` said of a folder, which may be gone by now; whether anything was said.

    Raises:
        ConfigError: the user's file cannot be read or written.
        BackendBusy: another process has held the file's folder for too long.
    """
    path = _user_file()
    content = read(path)
    if content is None or folder not in trusted(content):
        return False
    _edit(path, lambda document: document["trust"].remove(folder), {}, {folder: None})
    return True


def trusted_projects() -> list[tuple[str, str]]:
    """The folder of each project that the user's file trusts, and how it stands: trusted, changed or gone."""
    path = config.user_file()
    user = None if path is None else read(path)
    found: list[tuple[str, str]] = []
    for folder, digest in sorted(trusted(user).items()) if user is not None else ():
        content = read(os.path.join(folder, config.PROJECT_FILE))
        state = "gone" if content is None else "trusted" if content.digest == digest else "changed"
        found.append((folder, state))
    return found


def _user_file() -> str:
    path = config.user_file()
    if path is None:
        raise ConfigError("your home folder is unknown here; set HEAVENBASE_HOME")
    return path


# the document -------------------------------------------------------------------------------------------------------


def _put(document: Any, name: str, value: Any) -> None:
    """Set it where it is set now, in whichever spelling, or else in the table of its section."""
    import tomlkit

    if (place := _place(document, name)) is not None:
        table, key = place
        table[key] = value
        return
    *sections, last = name.split(".")
    table: Any = document
    for section in sections:
        if section not in table:
            table[section] = tomlkit.table()
        table = table[section]
    table[last] = value


def _take(document: Any, name: str) -> None:
    place = _place(document, name)
    assert place is not None
    table, key = place
    del table[key]


def _place(document: Any, name: str) -> tuple[Any, str] | None:
    """The table and the key in it that spell a setting."""
    waiting: list[tuple[Any, str]] = [(document, "")]
    while waiting:
        table, prefix = waiting.pop()
        for key, value in table.items():
            path = f"{prefix}{key}"
            if path.removeprefix("heavenbase.") == name and not is_dict(value):
                return table, key
            if is_dict(value) and path != "trust":
                waiting.append((value, f"{path}."))
    return None


# the file -----------------------------------------------------------------------------------------------------------


def _edit_trusted(path: str, change: Change, says: dict[str, Any]) -> None:
    """Edit a file; if it is a trusted project's, trust what it becomes."""
    before, after = _edit(path, change, says, {})
    if os.path.basename(path) == config.PROJECT_FILE and is_trusted(before):
        trust(after)


def is_trusted(content: Content) -> bool:
    """Whether the user's file trusts a project with this content."""
    path = config.user_file()
    user = None if path is None else read(path)
    return user is not None and not user.strange and trusted(user).get(content.folder) == content.digest


def _edit(path: str, change: Change, says: dict[str, Any], trusts: dict[str, str | None]) -> tuple[Content, Content]:
    """Change a file under the lock, sure that it says this afterwards (None: no longer) and else the same as before."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    target = _target(path)
    with _locked(os.path.dirname(target)):
        before = read(path)
        if before is not None and before.strange:
            raise ConfigError(f"{before.name} is left alone, because {before.strange}; put your own in its place")
        old = Content(path, b"", "") if before is None else before
        expected = _without_none({**settings(old), **says}), _without_none({**trusted(old), **trusts})
        try:
            document: Any = tomlkit.parse(old.data)
            change(document)
            new = Content(path, tomlkit.dumps(document).encode(), "")
            found = settings(new)
        except (TOMLKitError, ValueError, KeyError, TypeError) as error:
            raise _by_hand(path) from error
        if (_but_trust(found), trusted(new)) != (_but_trust(expected[0]), expected[1]):
            raise _by_hand(path)
        _replace(target, new.data)
    return old, new


def _by_hand(path: str) -> ConfigError:
    return ConfigError(f"{os.path.basename(path)} is written in a way that cannot be edited; change it by hand")


def _but_trust(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "trust"}


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _target(path: str) -> str:
    """The file to write: where a link leads, as the user's may, but no project's may lead out of its folder."""
    if os.path.basename(path) == config.PROJECT_FILE and leads_out(os.path.dirname(path), path):
        raise ConfigError(f"{config.PROJECT_FILE} is a link that leads out of its folder; edit the file itself")
    target = resolved(path)
    try:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder of {os.path.basename(path)} cannot be made: {error.strerror}") from error
    return target


@contextmanager
def _locked(folder: str) -> Generator[None]:
    """The folder's lock, so that two who change a file there take turns."""
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"the folder of the settings cannot be opened: {error.strerror}") from error
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackendBusy("another process is changing the settings; try again") from None
                time.sleep(0.01)
            except OSError:  # a file system without locks; the file is still replaced as a whole
                break
        yield
    finally:
        os.close(handle)


def _replace(target: str, data: bytes) -> None:
    """Put the file in place at once and for good, with the rights of the one before it."""
    folder, name = os.path.split(target)
    draft = os.path.join(folder, f".{name}.{os.getpid()}-{time.monotonic_ns()}")
    rights = 0o666 if name == config.PROJECT_FILE else 0o600  # less what the user's umask takes away
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, rights), "wb") as file:
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(os.stat(target).st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, target)
        _sync(folder)
    except OSError as error:
        with suppress(OSError):
            os.unlink(draft)
        raise ConfigError(f"{name} cannot be written: {error.strerror}") from error


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
