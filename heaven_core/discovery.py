"""The installed plugins: found by their metadata, loaded when asked for, and never able to hurt one another.

A plugin is *found* (its entry point was read, nothing imported), *loaded* (its declaration is here),
*failed* (a value says at which stage and why) or *disabled* (by the environment). Whoever names a
plugin gets it or an error; whoever lists them gets all, the broken ones included.

Environment:
    HEAVENBASE_PLUGINS: names with commas between them; every other plugin is disabled.
    HEAVENBASE_NO_PLUGINS: ``1`` disables all but those of heaven-core itself.
    HEAVENBASE_DISCOVERY: ``stdlib`` reads through importlib.metadata, which is slower
        and knows the import hooks that offer distributions from elsewhere than folders.

Not here: the declarations (`heaven_core.plugin`), what is registered in code, and what is
active in a workspace.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast, overload

from attrs import frozen

from heaven_core.errors import (
    HeavenError,
    PluginError,
    PluginLoadError,
    RegistrationConflict,
    UnknownPlugin,
    did_you_mean,
    shown,
)
from heaven_core.plugin import API, MIN_API, Extension, ExtensionSpec, StoragePlugin, describe, resolve

if TYPE_CHECKING:
    from logging import Logger

STORAGE: Final = "heavenbase.storage"
EXTENSION: Final = "heavenbase.extension"

Stage = Literal["import", "attribute", "type", "api", "hook", "activate"]

_KINDS = {STORAGE: "storage", EXTENSION: "extension"}
_DECLARATIONS: dict[str, type[StoragePlugin | Extension]] = {STORAGE: StoragePlugin, EXTENSION: Extension}
_OWN = "heaven-core"
_PREFIX = "heavenbase."
_SUFFIXES = (".dist-info", ".egg-info")


class PluginRef(NamedTuple):
    """One installed entry point, as the metadata of its distribution has it; nothing of it is imported.

    dist: the normalised name of the distribution (``heaven-core``).
    """

    group: str
    name: str
    target: str
    dist: str
    version: str

    @property
    def kind(self) -> str:
        """``storage`` or ``extension``."""
        return _KINDS.get(self.group, self.group)


@frozen(eq=False)
class PluginFailure:
    """Why a plugin can't be used: a value, so that one broken plugin harms nobody who didn't ask for it.

    stage: how far it came. error: what was raised. hint: what to do about it.
    """

    ref: PluginRef
    stage: Stage
    error: Exception
    hint: str

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return {**self.ref._asdict(), "kind": self.ref.kind, **self.reason()}

    def reason(self) -> dict[str, object]:
        """The part of `to_dict` that isn't about the plugin's identity."""
        return {"stage": self.stage, "error": describe(self.error), "hint": self.hint}

    def as_error(self) -> PluginLoadError:
        """What to raise, from `error`, to somebody who asked for this plugin by name."""
        ref = self.ref
        source = f"{ref.dist} {ref.version}".strip()
        why = self.error.message if isinstance(self.error, HeavenError) else describe(self.error)
        return PluginLoadError(
            f"the {ref.kind} plugin {shown(ref.name)} of {source} failed at stage {self.stage}: {why}; {self.hint}",
            name=ref.name,
            dist=ref.dist,
            version=ref.version,
            stage=self.stage,
            hint=self.hint,
            failure=self,
        )


Outcome = StoragePlugin | Extension | PluginFailure


class Index:
    """The plugins that are installed, each loaded at most once. Thread-safe.

    It follows `sys.path`, or `paths`, or holds exactly `refs`; a change on the paths is seen
    at the next call, and a plugin that had failed is then tried again: once more for each change.

    check_hooks: raises if an object doesn't fit the hook specs. It is asked once per extension
        that implements hooks, at its load; without it the implementation isn't imported.
    """

    def __init__(
        self,
        paths: Sequence[str] | None = None,
        *,
        refs: Iterable[PluginRef] | None = None,
        check_hooks: Callable[[object], None] | None = None,
    ) -> None:
        self.check_hooks = check_hooks
        self._paths = paths
        self._fixed = refs is not None
        self._refs: tuple[PluginRef, ...] = tuple(sorted(refs or ()))
        self._seen: object = None
        self._outcomes: dict[PluginRef, Outcome] = {}
        self._failed_in: object = None  # what lay on the paths when a plugin last failed
        self._locks: dict[PluginRef, RLock] = {}
        self._lock = RLock()

    def refs(self, group: str) -> tuple[PluginRef, ...]:
        """The enabled plugins of a group, by name; imports nothing. One name may come twice."""
        switches = _switches()
        return tuple(ref for ref in self._found() if ref.group == group and not _disabled_by(ref, switches))

    def load(self, ref: PluginRef) -> Outcome:
        """The declaration that `ref` names, or why there is none; the same object at each call."""
        outcome, is_new = self._load(ref)
        if is_new and isinstance(outcome, PluginFailure):
            _logger().warning("%s", outcome.as_error().message)
        return outcome

    @overload
    def named(self, group: Literal["heavenbase.storage"], name: str) -> StoragePlugin: ...
    @overload
    def named(self, group: Literal["heavenbase.extension"], name: str) -> Extension: ...
    @overload
    def named(self, group: str, name: str) -> StoragePlugin | Extension: ...
    def named(self, group: str, name: str) -> StoragePlugin | Extension:
        """The declaration of the plugin that has this name or, for want of one, this alias.

        Raises:
            UnknownPlugin: nothing has the name.
            PluginLoadError: something has, and it can't be used or is disabled; the cause is what was raised.
        """
        claims = [ref for ref in self.refs(group) if ref.name == name]
        ref = next((ref for ref in claims if ref.dist == _OWN), next(iter(claims), None))
        if ref is None:
            return self._aliased(group, name)
        outcome, _ = self._load(ref)
        if isinstance(outcome, PluginFailure):
            raise outcome.as_error() from outcome.error
        return outcome

    def state(self, ref: PluginRef) -> Literal["found", "loaded", "failed", "disabled"]:
        """How far `ref` has come; imports nothing."""
        if _disabled_by(ref):
            return "disabled"
        outcome = self._conflict(ref) or self._outcomes.get(ref)
        if outcome is None:
            return "found"
        return "failed" if isinstance(outcome, PluginFailure) else "loaded"

    def listing(
        self,
        active: Mapping[str, Extension | ExtensionSpec | PluginFailure] | None = None,
        *,
        check: bool = False,
    ) -> list[dict[str, object]]:
        """Every plugin as plain data, ordered by kind and name.

        active: what a workspace made of its extensions, by identifier; those that no
            distribution brought are listed as well, with an empty `dist`.
        check: load all, and of the engines that are installed also the backend and the handlers.

        `available` is None as long as the plugin isn't loaded.
        """
        rows: list[dict[str, object]] = []
        told = dict(active or {})
        for ref in self._found():
            outcome = None if _disabled_by(ref) else self._outcome(ref, check=check)
            if ref.group == EXTENSION and _is_about(told.get(ref.name), ref, outcome):
                rows.append(_row(ref, outcome, told.pop(ref.name)))
            else:
                rows.append(_row(ref, outcome))
        rows += [_row(_ref_of(name, made), None, made) for name, made in told.items()]
        return sorted(rows, key=lambda row: (row["kind"] != "storage", str(row["name"]), str(row["dist"])))

    def refresh(self) -> None:
        """Read the metadata again at the next call, whatever the paths look like."""
        with self._lock:
            self._seen = None

    def _found(self) -> tuple[PluginRef, ...]:
        if self._fixed:
            return self._refs
        paths = _folders(self._paths)
        seen = (paths, _fingerprints(paths), _is_stdlib_wanted())
        with self._lock:
            if seen != self._seen:
                self._replace(scan(None if self._paths is None else paths))
                self._seen = seen
            return self._refs

    def _replace(self, refs: tuple[PluginRef, ...]) -> None:
        if self._seen is not None:
            from importlib import invalidate_caches

            invalidate_caches()
        self._refs = refs
        has_failed = any(isinstance(outcome, PluginFailure) for outcome in self._outcomes.values())
        keeps_failures = has_failed and self._seen is not None and self._failed_in == _contents(_folders(self._paths))
        self._outcomes = {
            ref: outcome
            for ref, outcome in self._outcomes.items()
            if ref in refs and (keeps_failures or not isinstance(outcome, PluginFailure))
        }

    def _load(self, ref: PluginRef) -> tuple[Outcome, bool]:
        if conflict := self._conflict(ref):
            return conflict, False
        if (outcome := self._outcomes.get(ref)) is not None:
            return outcome, False
        with self._lock:
            lock = self._locks.setdefault(ref, RLock())
        # One lock each: a declaration may import another plugin while others load theirs.
        with lock:
            if (outcome := self._outcomes.get(ref)) is not None:
                return outcome, False
            outcome = _load(ref, self.check_hooks)
            if isinstance(outcome, PluginFailure) and not self._fixed:
                self._failed_in = _contents(_folders(self._paths))
            self._outcomes[ref] = outcome
            return outcome, True

    def _outcome(self, ref: PluginRef, *, check: bool) -> Outcome | None:
        if not check:
            return self._conflict(ref) or self._outcomes.get(ref)
        outcome, _ = self._load(ref)
        return _checked_engine(ref, outcome) if isinstance(outcome, StoragePlugin) else outcome

    def _conflict(self, ref: PluginRef) -> PluginFailure | None:
        if ref.dist == _OWN:  # what we bring ourselves is out of a stranger's reach
            return None
        rivals = [other for other in self.refs(ref.group) if other.name == ref.name]
        return _conflict(ref, rivals) if len(rivals) > 1 else None

    def _aliased(self, group: str, name: str) -> StoragePlugin | Extension:
        loaded = [(ref, self._load(ref)[0]) for ref in self.refs(group)] if group == STORAGE else []
        found = [(ref, made) for ref, made in loaded if isinstance(made, StoragePlugin) and name in made.aliases]
        if not found:
            raise self._unknown(group, name)
        if len(found) > 1:
            failure = _conflict(found[0][0]._replace(name=name), [ref for ref, _ in found])
            raise failure.as_error() from failure.error
        return found[0][1]

    def _unknown(self, group: str, name: str) -> PluginError:
        kind = _KINDS.get(group, group)
        for ref in self._found():
            if ref.group == group and ref.name == name:
                variable = _disabled_by(ref)
                return PluginLoadError(
                    f"the {kind} plugin {shown(name)} of {ref.dist} is installed but disabled by {variable}",
                    name=name,
                    dist=ref.dist,
                    version=ref.version,
                    stage=None,
                )
        known = tuple(sorted({ref.name for ref in self.refs(group)}))
        return UnknownPlugin(
            f"no {kind} plugin named {shown(name)} is installed; {_near(name, known)}", name=name, known=known
        )


def scan(paths: Sequence[str] | None = None, prefix: str = _PREFIX) -> tuple[PluginRef, ...]:
    """The entry points on `paths` (`sys.path` by default) whose group starts with `prefix`, sorted.

    Reads metadata files and nothing else. Of two distributions of one name the first on
    the paths wins, as it does for imports.
    """
    refs: set[PluginRef] = set()
    seen: set[str] = set()
    for name, version, text in _distributions(paths, prefix):
        dist = _normalised(name)
        if dist not in seen:
            seen.add(dist)
            refs.update(PluginRef(group, key, target, dist, version) for group, key, target in _entries(text, prefix))
    return tuple(sorted(refs))


def _distributions(paths: Sequence[str] | None, prefix: str) -> Iterator[tuple[str, str, str]]:
    """(name, version, entry points) of each distribution; the text is empty where it can't matter."""
    if _is_stdlib_wanted():
        yield from _distributions_of_stdlib(paths)
        return
    for path in _folders(paths):
        try:
            folders = sorted(name for name in os.listdir(path or ".") if name.lower().endswith(_SUFFIXES))  # noqa: PTH208  # pathlib is slower
        except NotADirectoryError:  # a zip file, most likely
            yield from _distributions_of_stdlib([path])
            continue
        except OSError:
            continue
        if path.lower().endswith(".egg"):
            yield from _distributions_of_stdlib([path])
            continue
        for folder in folders:
            yield from _distribution(os.path.join(path, folder), folder, prefix)  # noqa: PTH118  # as above


def _folders(paths: Sequence[str] | None) -> tuple[str, ...]:
    given = cast("Sequence[object]", sys.path if paths is None else paths)
    return tuple(dict.fromkeys(path for path in given if isinstance(path, str)))  # Python imports from no other


def _distribution(path: str, folder: str, prefix: str) -> Iterator[tuple[str, str, str]]:
    name, _, rest = folder.rpartition(".")[0].partition("-")
    if not name or name.startswith("~"):  # what an interrupted installation left behind
        return
    content = _content(os.path.join(path, "entry_points.txt"))  # noqa: PTH118  # pathlib is slower
    if f"[{prefix}".encode() not in content:
        yield name, "", ""
        return
    version = rest.partition("-")[0] or _version(path)
    yield name, version, content.decode(errors="replace")


def _distributions_of_stdlib(paths: Sequence[str] | None) -> Iterator[tuple[str, str, str]]:
    from importlib import metadata

    for found in metadata.distributions() if paths is None else metadata.distributions(path=list(paths)):
        try:
            header, text = cast("Mapping[str, str]", found.metadata), found.read_text("entry_points.txt")
            name, version = header.get("Name", ""), header.get("Version", "")
        except (AttributeError, TypeError, OSError, UnicodeError):  # damaged metadata is nobody's plugin
            continue
        if name and not name.startswith("~"):
            yield name, version, text or ""


def _content(path: str) -> bytes:
    # Without io.open, which costs three times as much; most distributions have no such file.
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return b""
    try:
        parts = [os.read(handle, 65536)]
        while parts[-1]:
            parts.append(os.read(handle, 65536))
        return b"".join(parts)
    except OSError:  # a folder of that name
        return b""
    finally:
        os.close(handle)


def _version(path: str) -> str:
    header = _content(os.path.join(path, "PKG-INFO")) or _content(os.path.join(path, "METADATA"))  # noqa: PTH118
    for line in header.partition(b"\n\n")[0].splitlines():
        if line.startswith(b"Version:"):
            return line[8:].strip().decode(errors="replace")
    return ""


def _entries(text: str, prefix: str) -> Iterator[tuple[str, str, str]]:
    """(group, name, target) of an entry_points.txt; lines that are none are passed over."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif line and not line.startswith("#") and group.startswith(prefix):
            name, equals, target = line.partition("=")
            if equals:
                yield group, name.strip(), target.strip()


def _normalised(name: str) -> str:
    words = name.lower().replace("_", "-").replace(".", "-")
    while "--" in words:
        words = words.replace("--", "-")
    return words


def _fingerprints(paths: Iterable[str]) -> tuple[object, ...]:
    return tuple(_fingerprint(path) for path in paths)


def _fingerprint(path: str) -> object:
    try:
        found = os.stat(path or ".")  # noqa: PTH116  # pathlib is slower, and this runs at each look
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _contents(paths: Iterable[str]) -> tuple[object, ...]:
    """What could make a failed plugin work when it changes: names on each path, times of modules and metadata.

    The byte code that an import writes is none of it, though it changes the time of the folder it lies in.
    """
    return tuple((path, _listing(path)) for path in paths)


def _listing(path: str) -> object:
    try:
        with os.scandir(path or ".") as entries:
            return frozenset((entry.name, _time(entry)) for entry in entries if entry.name != "__pycache__")
    except OSError:
        return _fingerprint(path)


def _time(entry: os.DirEntry[str]) -> int:
    is_package = entry.is_dir() and not entry.name.lower().endswith(_SUFFIXES)
    return 0 if is_package else entry.stat(follow_symlinks=False).st_mtime_ns


def _is_stdlib_wanted() -> bool:
    return os.environ.get("HEAVENBASE_DISCOVERY", "").strip().lower() == "stdlib"


def _switches() -> tuple[list[str], bool]:
    listed = os.environ.get("HEAVENBASE_PLUGINS", "").replace(",", " ").split()
    blocked = os.environ.get("HEAVENBASE_NO_PLUGINS", "").strip().lower() not in {"", "0", "false", "no", "off"}
    return listed, blocked


def _disabled_by(ref: PluginRef, switches: tuple[list[str], bool] | None = None) -> str:
    """The environment variable that disables `ref`, or an empty string."""
    listed, blocked = switches or _switches()
    if listed and ref.name not in listed:
        return "HEAVENBASE_PLUGINS"
    return "HEAVENBASE_NO_PLUGINS" if blocked and ref.dist != _OWN else ""


def _load(ref: PluginRef, check_hooks: Callable[[object], None] | None) -> Outcome:
    try:
        declared = resolve(ref.target.partition("[")[0].strip())
    except PluginLoadError as error:
        return _unresolved(ref, error)
    try:
        return _misfit(ref, declared) or _checked_hooks(ref, cast("StoragePlugin | Extension", declared), check_hooks)
    except Exception as error:  # noqa: BLE001  # a lazy proxy may raise at any touch
        return PluginFailure(ref, "type", error, _other_version(ref))


def _misfit(ref: PluginRef, declared: object) -> PluginFailure | None:
    expected = _DECLARATIONS.get(ref.group)
    if expected is None or not isinstance(declared, expected):
        wanted = expected.__name__ if expected else "StoragePlugin or Extension"
        return _wrong_type(ref, f"{ref.target} has to be of type {wanted}, not {type(declared).__name__}")
    if not MIN_API <= declared.api <= API:
        return _wrong_api(ref, declared.api)
    name = declared.name if isinstance(declared, StoragePlugin) else declared.identifier
    if name != ref.name:
        why = f"{ref.target} declares the name {shown(name)}, its entry point {shown(ref.name)}"
        return PluginFailure(ref, "type", PluginError(why), f"tell the authors of {ref.dist}: both have to be the same")
    return None


def _checked_hooks(
    ref: PluginRef, declared: StoragePlugin | Extension, check_hooks: Callable[[object], None] | None
) -> Outcome:
    if check_hooks is None or not isinstance(declared, Extension) or declared.plugin is None:
        return declared
    try:
        check_hooks(declared.load_plugin())
    except Exception as error:  # noqa: BLE001  # the implementation is foreign code
        return PluginFailure(ref, "hook", _cause(error), _hooks_hint(ref, error))
    return declared


def _checked_engine(ref: PluginRef, plugin: StoragePlugin) -> Outcome:
    try:
        if plugin.available():
            handlers = plugin.load_handlers()
            if callable(handlers):
                _check_handlers(plugin.name, cast("Iterable[Any]", handlers()))
            _check_methods(plugin.load_backend(), primary=plugin.primary)
    except PluginLoadError as error:
        return _unresolved(ref, error)
    except Exception as error:  # noqa: BLE001  # what makes the handlers is foreign code
        return PluginFailure(ref, "attribute", error, _other_version(ref))
    return plugin


def _check_handlers(name: str, handlers: Iterable[Any]) -> None:
    for one in handlers:
        if one.key.backend != name:
            raise TypeError(f"a handler for {one.key.op} is made for backend {one.key.backend!r}, not {name!r}")


def _check_methods(made: object, *, primary: bool) -> None:
    """Refuse a class without a method that the kernel will call; of a function nothing is known."""
    from heaven_core.backend import Backend, Primary

    protocols = (Backend, Primary) if primary else (Backend,)
    wanted = {name for one in protocols for name, what in vars(one).items() if callable(what) and name[0] != "_"}
    lacking = sorted(name for name in wanted if isinstance(made, type) and not callable(getattr(made, name, None)))
    if lacking:
        raise TypeError(f"its backend has no {' and no '.join(lacking)}")


def _unresolved(ref: PluginRef, error: PluginLoadError) -> PluginFailure:
    stage = cast("Stage", getattr(error, "stage", "import"))
    return PluginFailure(ref, stage, _cause(error), _damaged(ref))


def _damaged(ref: PluginRef) -> str:
    return f"{ref.dist} is damaged or incomplete: pip install --force-reinstall {ref.dist}"


def _hooks_hint(ref: PluginRef, error: Exception) -> str:
    """What to do about hooks: another version helps where they want other names of ours, but not against mistakes."""
    if not isinstance(error, PluginLoadError):
        return _other_version(ref)
    cause = _cause(error)
    if not isinstance(cause, ImportError):
        return f"{error.message}; that is a mistake in {ref.dist}: correct it, or tell its authors"
    is_ours = (cause.name or "").partition(".")[0] in {"heaven_core", "heavenbase"}
    return _other_version(ref) if is_ours else _damaged(ref)


def _wrong_type(ref: PluginRef, why: str) -> PluginFailure:
    return PluginFailure(ref, "type", PluginError(why), _other_version(ref))


def _wrong_api(ref: PluginRef, api: int) -> PluginFailure:
    spoken = f"{MIN_API} to {API}" if MIN_API < API else str(API)
    error = PluginError(f"it was written for plugin API {api}, and this {_OWN} speaks {spoken}")
    return PluginFailure(ref, "api", error, f"pip install --upgrade {_OWN if api > API else ref.dist}")


def _cause(error: Exception) -> Exception:
    cause = error.__cause__ if isinstance(error, PluginLoadError) else None
    return cause if isinstance(cause, Exception) else error


def _other_version(ref: PluginRef) -> str:
    return f"{ref.dist} doesn't fit this {_OWN}: pip install --upgrade {' '.join(dict.fromkeys((_OWN, ref.dist)))}"


def _conflict(ref: PluginRef, rivals: Sequence[PluginRef]) -> PluginFailure:
    sources = " and ".join(sorted({f"{rival.dist} ({rival.target})" for rival in rivals}))
    error = RegistrationConflict(f"the name {shown(ref.name)} is claimed by {sources}", name=ref.name)
    foreign = sorted({rival.dist for rival in rivals} - {_OWN})
    hint = f"uninstall one of them: pip uninstall {foreign[-1]}" if foreign else f"pip install --force-reinstall {_OWN}"
    return PluginFailure(ref, "import", error, hint)


def _near(name: str, known: Sequence[str]) -> str:
    hint = did_you_mean(name, known)
    return f"{hint} known: {', '.join(known[:30])}" if hint.startswith("did") else hint


def _is_about(made: object, ref: PluginRef, outcome: Outcome | None) -> bool:
    if isinstance(made, PluginFailure):
        return made.ref == ref
    return isinstance(outcome, Extension) and (made is outcome or made is outcome.spec)


def _ref_of(name: str, made: Extension | ExtensionSpec | PluginFailure) -> PluginRef:
    if isinstance(made, PluginFailure):
        return made.ref
    spec = made.spec if isinstance(made, Extension) else made
    return PluginRef(EXTENSION, name, "", "", spec.version)


def _row(ref: PluginRef, outcome: Outcome | None, made: object = None) -> dict[str, object]:
    failure = next((value for value in (made, outcome) if isinstance(value, PluginFailure)), None)
    declared = next((value for value in (outcome, made) if isinstance(value, (StoragePlugin, Extension))), None)
    engine = declared if isinstance(declared, StoragePlugin) else None
    return {
        "kind": ref.kind,
        "name": ref.name,
        "version": ref.version,
        "dist": ref.dist,
        "api": declared.api if declared else None,
        "state": _state(ref, declared, made, failure),
        "available": _is_available(declared or made, failure),
        "extra": engine.extra if engine else None,
        "install": engine.install_hint() if engine else "",
        "failure": failure.reason() if failure else None,
    }


def _is_available(declared: object, failure: PluginFailure | None) -> bool | None:
    if failure:
        return False
    if isinstance(declared, StoragePlugin):
        return declared.available()
    return None if declared is None else True


def _state(ref: PluginRef, declared: object, made: object, failure: PluginFailure | None) -> str:
    if failure:
        return "failed"
    if made is not None:
        return "active"
    if declared is not None:
        return "loaded"
    return "disabled" if _disabled_by(ref) else "found"


def _logger() -> Logger:
    import logging

    return logging.getLogger("heavenbase.plugins")


INSTALLED = Index()
"""The plugins on `sys.path`, for the whole process."""
