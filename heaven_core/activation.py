"""Activation: which extensions are active in a workspace, and what became of the others.

Required extensions and those named by `extensions.default` are enabled in a new
workspace; a workspace opened again gets the ones it had. Opening never fails
because of an extension: one that is missing, comes from elsewhere or breaks is
listed as failed, its entities can be read and not written, and `enable_extension`
repairs it. Activating is all or nothing per extension, in the order that
`requires` and `after` ask for, then alphabetical.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from heaven_core import config
from heaven_core.discovery import EXTENSION, INSTALLED, PluginFailure, PluginRef
from heaven_core.errors import (
    HeavenError,
    PluginError,
    PluginLoadError,
    StorageError,
    UnknownPlugin,
    a_kind,
    did_you_mean,
)
from heaven_core.plugin import Extension, ExtensionSpec, describe
from heaven_core.registry import registries

if TYPE_CHECKING:
    from heaven_core.core import WorkspaceCore

CODE = "code"


def check_hooks(plugin: object) -> None:
    """What discovery asks of an extension's hook implementer; imports pluggy when there is one."""
    from heaven_core.hooks import check_plugin

    check_plugin(plugin)


INSTALLED.check_hooks = check_hooks


class Activation:
    """The extensions of one workspace: active ones in order, and failures by identifier."""

    def __init__(self, core: WorkspaceCore) -> None:
        self._core = core
        self._active: dict[str, Extension] = {}
        self.failures: dict[str, PluginFailure] = {}
        self.lock = threading.RLock()
        """For enabling. Not the core's lock: enabling writes, and a writer who waits must not keep readers out."""

    def specs(self) -> list[ExtensionSpec]:
        """The active extensions' specs, in order of activation."""
        return [one.spec for one in self._active.values()]

    def state(self) -> dict[str, Extension | PluginFailure]:
        """What became of each extension of the workspace."""
        return {**self._active, **self.failures}

    def failure_of(self, owner: str) -> str | None:
        """Why the entities of an extension cannot be written, or None."""
        failure = self.failures.get(owner)
        if failure is None:
            return None
        return f"its extension {owner!r} is not active (stage {failure.stage}: {failure.hint})"

    # enabling ----------------------------------------------------------------------------------------------------

    def enable(self, identifier: str) -> ExtensionSpec:
        """Make an extension active, with those it requires.

        Raises:
            UnknownPlugin: no extension has this identifier.
            PluginLoadError: it is broken; the cause is what was raised.
        """
        if not isinstance(identifier, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PluginError(f"an extension is named by its identifier, not by {a_kind(identifier)}")
        active = self._active.get(identifier)
        if active is not None:
            return active.spec
        for one in ordered([identifier]):
            if one.identifier not in self._active:
                self._activate(one)
                self._save([one], self._core.extension_rows())
        return self._active[identifier].spec

    def begin(self, identifiers: list[str]) -> None:
        """Enable these in a workspace that has none yet; they are remembered only if all could be."""
        extensions = ordered(identifiers)
        for one in extensions:
            self._activate(one)
        self._save(extensions, {})

    def _activate(self, extension: Extension) -> None:
        core, identifier = self._core, extension.identifier
        registrar = None
        failure = self.failures.pop(identifier, None)
        core.renew(identifier)
        try:
            plugin = extension.load_plugin()
            if plugin is not None:
                registrar = self._hooks().add(identifier, plugin, core.registries.workspace)
            entities: Any = extension.spec.entities
            core.register(entities, owner=identifier)
        except Exception as error:  # foreign code: whatever it raises, the extension is not active
            if registrar is not None:
                registrar.take_back()
                self._hooks().remove(identifier)
            if failure is not None:
                self.failures[identifier] = failure
            core.renew(identifier)
            raise _failed(identifier, error) from error
        self._active[identifier] = extension

    def _save(self, extensions: list[Extension], stored: Mapping[str, tuple[str, str]]) -> None:
        made = {one.identifier: (origin_of(one), one.spec.version) for one in extensions}
        changed = {identifier: pair for identifier, pair in made.items() if stored.get(identifier) != pair}
        if changed:
            self._core.save_extensions(changed)

    def _hooks(self) -> Any:
        from heaven_core.hooks import Hooks

        if self._core.hooks is None:
            self._core.hooks = Hooks(self._core.id)
        return self._core.hooks

    def restore(self, rows: Mapping[str, tuple[str, str]]) -> None:
        """Activate the extensions that the workspace had; failures are noted instead of raised.

        rows: identifier -> (origin, version); an empty origin is any.
        """
        usable: dict[str, Extension] = {}
        for identifier, (origin, version) in rows.items():
            try:
                found = find(identifier)
                if origin and origin_of(found) != origin:
                    raise PluginError(f"it was enabled from {origin!r} and is now found in {origin_of(found)!r}")
                usable[identifier] = found
            except HeavenError as error:
                self._note(identifier, version, error)
        done, left = in_order(usable)
        for one in (*done, *left):
            try:
                self.enable(one.identifier)
            except HeavenError as error:
                self._note(one.identifier, rows[one.identifier][1], error)

    def _note(self, identifier: str, version: str, error: HeavenError) -> None:
        import logging

        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        hint = "install it, or call ws.enable_extension to enable what is there now"
        ref = PluginRef(EXTENSION, identifier, "", "", version)
        self.failures[identifier] = PluginFailure(ref, getattr(error, "stage", None) or "activate", cause, hint)
        self._core.renew(identifier)
        logging.getLogger("heavenbase.plugins").warning(
            "workspace %r: extension %r is not active: %s", self._core.id, identifier, error
        )


def _failed(identifier: str, error: Exception) -> HeavenError:
    if isinstance(error, (PluginLoadError, StorageError)):  # what lies in the storage is no fault of the extension
        return error
    why = error.message if isinstance(error, HeavenError) else describe(error)
    return PluginLoadError(
        f"extension {identifier!r} failed at stage activate: {why}", name=identifier, stage="activate"
    )


def activate(core: WorkspaceCore) -> None:
    """Give a workspace that has just been opened its extensions.

    A new one gets the required ones and those of the setting `extensions.default`; a
    setting that names what there isn't is an error, and the next opening tries again.
    """
    activation = core.activation = Activation(core)
    rows = core.extension_rows()
    if not rows:
        activation.begin([*REQUIRED, *_required_in_code(), *_default()])
        return
    for identifier in REQUIRED:
        activation.enable(identifier)
    wanted = {identifier: (origin or "", version or "") for identifier, (origin, version) in rows.items()}
    activation.restore({**dict.fromkeys(_required_in_code(), ("", "")), **wanted})


REQUIRED = ("system",)
"""What every workspace has; nothing registered in code can take its place."""


def _default() -> list[str]:
    names: list[str] = config.get("extensions.default")
    for name in names:
        try:
            find(name)
        except UnknownPlugin as error:
            raise UnknownPlugin(f"the setting extensions.default: {error.message}", name=name) from error
    return names


def _required_in_code() -> list[str]:
    """Extensions registered in code that say they cannot be skipped. An installed one can: nobody has named it."""
    coded: Mapping[str, Extension] = registries().all("extension")
    return sorted(identifier for identifier, one in coded.items() if one.spec.required)


def find(identifier: str) -> Extension:
    """The extension of this identifier: registered in code, or else installed.

    Raises:
        UnknownPlugin: there is none.
        PluginLoadError: it is installed and broken.
    """
    coded: Extension | None = registries().get("extension", identifier)
    if coded is not None:
        return coded
    try:
        return INSTALLED.named(EXTENSION, identifier)
    except UnknownPlugin as error:
        known = {*registries().all("extension"), *(ref.name for ref in INSTALLED.refs(EXTENSION))}
        raise UnknownPlugin(
            f"there is no extension {identifier!r:.80}; {did_you_mean(identifier, known)}", name=identifier
        ) from error


def origin_of(extension: Extension) -> str:
    """Where an extension comes from: "code", or the distribution that brings it."""
    for ref in INSTALLED.refs(EXTENSION):
        if ref.name == extension.identifier and INSTALLED.state(ref) == "loaded" and INSTALLED.load(ref) is extension:
            return ref.dist
    return CODE


def ordered(identifiers: list[str]) -> list[Extension]:
    """These extensions and those they require, each after what it requires and follows, else alphabetical.

    Raises:
        PluginError: they require each other in a circle.
    """
    found: dict[str, Extension] = {}
    waiting = [(identifier, "") for identifier in dict.fromkeys(identifiers)]
    while waiting:
        identifier, asker = waiting.pop()
        extension = _required(identifier, asker) if asker else find(identifier)
        if extension.identifier not in found:
            found[extension.identifier] = extension
            waiting.extend((one, extension.identifier) for one in extension.requires)
    done, left = in_order(found)
    if left:
        raise PluginError(
            f"extensions require each other in a circle: {', '.join(sorted(one.identifier for one in left))}"
        )
    return done


def _required(identifier: str, asker: str) -> Extension:
    try:
        return find(identifier)
    except UnknownPlugin as error:
        raise UnknownPlugin(f"extension {asker!r} requires another: {error.message}", name=identifier) from error


def in_order(found: Mapping[str, Extension]) -> tuple[list[Extension], list[Extension]]:
    """Extensions, each after what it requires and follows, else required ones first, then alphabetical.

    The second list has those that follow each other in a circle, or one in it.
    """
    done: list[Extension] = []
    left = dict(sorted(found.items(), key=lambda pair: (pair[0] not in REQUIRED, not pair[1].spec.required, pair[0])))
    while left:
        ready = next((one for one in left.values() if not {*one.requires, *one.after} & left.keys()), None)
        if ready is None:
            break
        done.append(left.pop(ready.identifier))
    return done, list(left.values())
