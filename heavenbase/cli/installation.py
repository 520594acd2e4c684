"""What `hb doctor` looks at beside plugins and workspaces: versions, what ours need, the home folder, the clock.

Each check is a row of `heaven_core.report.Check` and harms nothing; what is written goes
into a new folder that is removed again. The home folder itself is never made.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from heaven_core._version import __version__
from heaven_core.errors import ConfigError
from heaven_core.report import Check

OURS = "heaven-core"
LITTLE_BYTES, TOO_LITTLE_BYTES = 1 << 30, 50 << 20
"""Free space below which there is a warning, and below which nothing works for long."""
CLOCK_TOLERANCE_S = 5.0
FIRST_YEAR, LAST_YEAR = 2025, 2100

FEATURES = frozenset({"arrow", "plot"})
"""Extras of features that this version has. Those of its engines are named by their plugins; others wait for theirs."""

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)"
    r"(?:\[[^]]*])?"
    r"(?P<bounds>[^;]*)"
    r"(?:;.*?extra == ['\"](?P<extra>[^'\"]+))?"
)
_BOUND = re.compile(r"(>=|<)\s*([0-9]+(?:\.[0-9]+)*)")


class Requirement(NamedTuple):
    """A distribution that ours needs: always, or for an extra. `bounds` are pairs such as (">=", "1.5")."""

    name: str
    bounds: tuple[tuple[str, str], ...]
    extra: str | None


def versions() -> Iterator[Check]:
    """HeavenBase and Python, and whether they can work together here."""
    yield Check("system", "HeavenBase", "ok", __version__)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.platform.startswith(("linux", "darwin")):
        yield Check("system", "Python", "ok", f"{python} on {platform.system()}")
    else:
        yield Check("system", "Python", "warning", f"{python} on {platform.system()}, where HeavenBase isn't tested")


def requirements() -> Iterator[Check]:
    """The libraries that ours needs, and those of each extra."""
    declared = _declared()
    if declared is None:
        yield Check(
            "library",
            OURS,
            "warning",
            "it isn't installed as a distribution, so what it needs is not known",
            f"pip install {OURS}",
        )
        return
    core = [one for one in declared if one.extra is None]
    wrong = [words for one in core if (words := _wrong_with(one))]
    state = "broken" if wrong else "ok"
    detail = "; ".join(wrong) or f"{len(core)} libraries"
    yield Check("library", "required", state, detail, f"pip install --upgrade {OURS}" if wrong else "")
    for extra in sorted({one.extra for one in declared if one.extra} & _offered()):
        yield _extra(extra, [one for one in declared if one.extra == extra])


def _offered() -> set[str]:
    """The extras that are of use here: those of features, and those that a plugin of this distribution names."""
    from heaven_core.discovery import INSTALLED, STORAGE
    from heaven_core.plugin import StoragePlugin
    from heavenbase.cli.plugins import silent_log

    with silent_log():  # what is wrong with a plugin has a check of its own
        found = [INSTALLED.load(ref) for ref in INSTALLED.refs(STORAGE) if ref.dist == OURS]
    return {*FEATURES, *(one.extra for one in found if isinstance(one, StoragePlugin) and one.extra)}


def _extra(extra: str, needed: Sequence[Requirement]) -> Check:
    missing = [one.name for one in needed if _installed(one.name) is None]
    if missing:
        return Check("extra", extra, "absent", f"{', '.join(missing)} not installed", f"pip install '{OURS}[{extra}]'")
    if wrong := [words for one in needed if (words := _wrong_with(one))]:
        return Check("extra", extra, "warning", "; ".join(wrong), f"pip install --upgrade '{OURS}[{extra}]'")
    return Check("extra", extra, "ok", ", ".join(f"{one.name} {_installed(one.name)}" for one in needed))


def _declared() -> list[Requirement] | None:
    try:
        lines = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return None
    return [_requirement(line) for line in lines]


def _requirement(line: str) -> Requirement:
    found = _REQUIREMENT.match(line)
    assert found is not None
    return Requirement(found["name"], tuple(_BOUND.findall(found["bounds"])), found["extra"])


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _wrong_with(one: Requirement) -> str:
    """Why a requirement isn't met, or an empty text."""
    version = _installed(one.name)
    if version is None:
        return f"{one.name} is missing"
    if all(_holds(_numbers(version), sign, _numbers(bound)) for sign, bound in one.bounds):
        return ""
    return f"{one.name} {version} is installed, and {','.join(map(''.join, one.bounds))} is needed"


def _holds(version: tuple[int, ...], sign: str, bound: tuple[int, ...]) -> bool:
    return version >= bound if sign == ">=" else version < bound


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at the end: ``1.0rc1`` and ``1`` are alike here."""
    found = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else [0]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


# the home folder -----------------------------------------------------------------------------------------------------


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def settings() -> Iterator[Check]:
    """The settings that cannot be read, each file's first and each variable's."""
    from heaven_core import config
    from heaven_core.config_files import layers
    from heavenbase.cli.values import shown_path

    project, user = config.project_file(), config.user_file()
    for path, arguments in ((project, (project, None)), (user, (None, user))):
        if path is not None and Path(path).exists() and (why := _refused(lambda given=arguments: layers(*given))):
            yield Check("settings", shown_path(path), "broken", why, f"correct {shown_path(path)}")
    for name in config.KEYS:
        variable = config.variable(name)
        if variable in os.environ and (why := _refused(lambda key=name: config.setting(key))):
            yield Check("settings", variable, "broken", why, f"unset {variable}")


def _refused(read: Callable[[], object]) -> str:
    try:
        read()
    except ConfigError as error:
        return error.message
    return ""


def usual_settings() -> dict[str, Any]:
    """What `config.override` takes to look around where settings cannot be read: defaults, and sound variables."""
    from heaven_core import config

    found: dict[str, Any] = {}
    for name in config.KEYS:
        with suppress(ConfigError):
            found[name.replace(".", "__")] = config.without_files(name)
    return found


def home(folder: Path) -> Iterator[Check]:
    """Whether workspaces can be kept at `folder`: it can be written, there is space, its clock is this one's."""
    origin = "HEAVENBASE_HOME" if os.environ.get("HEAVENBASE_HOME") else "your data folder"
    place = nearest_folder(folder)
    where = f"{origin}: {folder}" + ("" if place == folder else ", not made yet")
    if not place.is_dir():
        yield Check("home", "folder", "broken", f"{where}; {place.name} is no folder", _SET_HOME)
        return
    try:
        with TemporaryDirectory(prefix=".hb-probe-", dir=place) as made:
            file = Path(made, "tried")
            file.write_bytes(b"tried")
            stamp = file.stat().st_mtime
    except OSError as error:
        yield Check("home", "folder", "broken", f"{where}; it cannot be written: {error.strerror}", _SET_HOME)
        return
    yield Check("home", "folder", "ok", where)
    yield space(shutil.disk_usage(place).free)
    yield clock(time.time(), stamp)


_SET_HOME = "export HEAVENBASE_HOME=<a folder that you can write>"


def space(free: int) -> Check:
    """Whether `free` bytes are enough."""
    from heavenbase.cli.output import size_text

    detail = f"{size_text(free)} free"
    if free < TOO_LITTLE_BYTES:
        return Check("home", "space", "broken", detail, _MORE_SPACE)
    if free < LITTLE_BYTES:
        return Check("home", "space", "warning", detail, _MORE_SPACE)
    return Check("home", "space", "ok", detail)


_MORE_SPACE = "make room, or export HEAVENBASE_HOME=<a folder on a larger disk>"


def clock(now: float, stamp: float) -> Check:
    """Whether the time is believable, and the file system's the same; new ids and timestamps are made from it."""
    year = time.gmtime(now).tm_year
    if not FIRST_YEAR <= year < LAST_YEAR:
        return Check("system", "clock", "broken", f"it says that this is the year {year}", "set the clock")
    apart = abs(now - stamp)
    if apart > CLOCK_TOLERANCE_S:
        return Check(
            "system", "clock", "warning", f"the file system's is {apart:.0f} s away from it", "let both follow NTP"
        )
    return Check("system", "clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))
