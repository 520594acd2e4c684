"""One core per workspace and process: opening counts a handle, the last close closes the engines.

Also here: reading the `backends=` mapping, since two openings are the same
workspace only if it says the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from heaven_core import marker
from heaven_core.activation import activate
from heaven_core.core import WorkspaceCore
from heaven_core.errors import ConfigError, WorkspaceClosed, WorkspaceConflict, a_kind, shown
from heaven_core.narrow import is_mapping
from heaven_core.paths import absolute, resolved
from heaven_core.placement import PRIMARY
from heaven_core.registry import registries

_cores: dict[tuple[str, str], WorkspaceCore] = {}
_guard = threading.RLock()


def _after_fork() -> None:
    """In the child: connections cannot be shared, so handles made before the fork refuse to work."""
    global _guard  # the parent's lock may have been held
    for core in _cores.values():
        core.forked = True
    _cores.clear()
    _guard = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def acquire(
    identifier: str,
    location: str,
    folder: str | None,
    backends: Mapping[str, dict[str, Any]],
    spare: Mapping[str, dict[str, Any]],
) -> WorkspaceCore:
    """The core of a workspace, opened if nobody has it open; counts a handle.

    Raises:
        WorkspaceConflict: it is open with other backends, or was made with another primary.
    """
    with _guard:
        key = (identifier, location)
        core = _cores.get(key)
        if core is None:
            needs_marker = _check_folder(identifier, folder, backends[PRIMARY])
            core = WorkspaceCore(identifier, location, folder, backends, spare)
            try:
                activate(core)
                if folder is not None and needs_marker:
                    marker.write(folder, core.types[PRIMARY])
                    core.marked = True
                core.settle()
            except BaseException:
                core.close()
                raise
            _cores[key] = core
        elif core.options != {name: dict(options) for name, options in backends.items()}:
            raise WorkspaceConflict(
                f"workspace {identifier!r} is open in this process with other backends; close it first, "
                "or open it with the same ones"
            )
        core.spare = {**core.spare, **spare}
        core.handles += 1
        return core


def _check_folder(identifier: str, folder: str | None, main: Mapping[str, Any]) -> bool:
    """Whether the folder has to say what its primary is.

    Raises:
        WorkspaceConflict: it says another one than this.
    """
    if folder is None or "database" in main or not registries().backend(main["type"]).persistent:
        return False
    if main["type"] != marker.USUAL or marker.is_there(folder):
        marker.check(identifier, folder, main["type"])
    return main["type"] != marker.USUAL


def release(core: WorkspaceCore) -> None:
    """One handle less; the last one closes the core."""
    with _guard:
        core.handles -= 1
        if core.handles == 0 and not core.forked:
            _cores.pop((core.id, core.location), None)
            core.close()


def is_open(identifier: str, location: str) -> bool:
    """Whether this process has the workspace open."""
    with _guard:
        return (identifier, location) in _cores


def drop(core: WorkspaceCore) -> None:
    """Remove everything, if this is the only handle.

    Raises:
        WorkspaceConflict: others are open.
    """
    with _guard:
        if core.handles > 1:
            raise WorkspaceConflict(
                f"workspace {core.id!r} has other open handles in this process ({core.handles - 1}); close those first"
            )
        core.handles = 0
        _cores.pop((core.id, core.location), None)
        core.destroy()


def normalised(backends: Any) -> dict[str, dict[str, Any]]:
    """Backends as a mapping from name to options, types in canonical form, `path` as `database`.

    Raises:
        ConfigError: a name or an entry that cannot be used.
    """
    from heaven_core.names import check_identifier

    if not is_mapping(backends):
        raise ConfigError(f"backends is a mapping such as {{'main': {{'type': 'sqlite'}}}}, not {a_kind(backends)}")
    made: dict[str, dict[str, Any]] = {}
    for name, given in backends.items():
        check_identifier(name, "backend name")
        entry: Any = {"type": given} if isinstance(given, str) else given
        if not is_mapping(entry) or not isinstance(entry.get("type"), str):
            raise ConfigError(f"backend {name!r} is written {{'type': 'sqlite', ...}}")
        options: dict[str, Any] = dict(entry)
        options["type"] = registries().backend(options["type"]).name
        if "path" in options:
            if "database" in options:
                raise ConfigError(f"backend {name!r} has both 'path' and 'database', which mean the same")
            options["database"] = options.pop("path")
        if "database" in options:
            options["database"] = _file(name, options["database"])
        made[str(name)] = options
    return made


def _file(backend: str, location: Any) -> str:
    if location == ":memory:":
        raise ConfigError(f"backend {backend!r}: a database in memory is type 'inmem', not a file")
    return resolved(absolute_path(location, f"backend {backend!r}: 'database'"))


def absolute_path(given: Any, what: str) -> str:
    """The path that a user gave, from the root; a leading `~` is the home folder.

    Raises:
        ConfigError: it can be no path on this machine, or is empty.
    """
    if isinstance(given, str) and not given:  # as a path it would be the current folder
        raise ConfigError(f"{what} is empty; name a folder or a file, or leave it out")
    try:
        return absolute(given)
    except (TypeError, ValueError):
        raise ConfigError(f"{what} is no path: {shown(given)}") from None


def check_usable(core: WorkspaceCore | None, identifier: str) -> WorkspaceCore:
    """The core of a handle that is open in this process.

    Raises:
        WorkspaceClosed: it was closed, or comes from another process.
    """
    if core is None:
        raise WorkspaceClosed(f"workspace {identifier!r} was closed; open it again with HeavenBase({identifier!r})")
    raise WorkspaceClosed(
        f"workspace {identifier!r} was opened before this process was forked; open it again in the new process"
    )
