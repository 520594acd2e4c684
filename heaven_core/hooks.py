"""Hooks: where active extensions take part in a workspace, by pluggy.

Three kinds, each with its own rule:

* *contribution* (`heaven_contribute`): at activation; strict and transactional.
  An exception makes the extension failed and takes back what it had contributed.
  So is `heaven_commands`, which is asked outside of workspaces: an exception, or one
  thing in the answer that cannot be used, and none of the extension's commands are.
* *veto* (`heaven_before_write`): before a write takes the lock; an exception
  aborts the write and reaches the caller.
* *observer* (`heaven_after_commit`): after a commit; isolated. An exception is
  recorded and logged, never raised. Writes of entities with `__observed__ = False`
  are not shown to observers.

No hook is called per row. Hooks are called in no promised order.

Not here: one implementation by name (`heaven_core.registry`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pluggy

from heaven_core.errors import PluginError, a_kind, did_you_mean, shown
from heaven_core.handlers import Compile
from heaven_core.names import check_identifier
from heaven_core.narrow import is_mapping
from heaven_core.plugin import describe
from heaven_core.registry import Layer, Registration
from heaven_core.registry import handler as make_handler

PROJECT = "heavenbase"
MAX_FAILURES = 1000

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks an implementation: `@hookimpl def heaven_after_commit(self, commit): ...`."""


class Write(NamedTuple):
    """A write about to happen, after its values were checked.

    `kind` is "upsert" or "delete". `columns` maps each field to its values, in the order of `ids`;
    it is None for a delete.
    """

    workspace: str
    entity: str
    kind: str
    ids: Sequence[str]
    columns: Any


class Changed(NamedTuple):
    """What a commit did to one entity: the ids of the rows that it inserted, updated and deleted."""

    entity: str
    inserted: tuple[str, ...]
    updated: tuple[str, ...]
    deleted: tuple[str, ...]


class Commit(NamedTuple):
    """A commit that has happened: its number and what it changed, entity by entity."""

    workspace: str
    lsn: int
    changes: tuple[Changed, ...]


class ObserverFailure(NamedTuple):
    """An observer that raised."""

    extension: str
    hook: str
    error: BaseException

    def to_dict(self) -> dict[str, str]:
        """Plain JSON."""
        return {"extension": self.extension, "hook": self.hook, "error": describe(self.error)}


class Registrar:
    """What a contribution may register, for one workspace; everything is taken back if the extension fails."""

    def __init__(self, layer: Layer, owner: str) -> None:
        self._layer, self._owner = layer, owner
        self.registrations: list[Registration] = []

    def handler(self, dtype: Any, op: str, backend: str, strategy: Any, compile: Compile) -> None:
        """Serve an operation on a type under a strategy of a backend type."""
        made = make_handler(self._owner, dtype, op, backend, strategy, compile)
        self.registrations.append(self._layer.put("handler", made.key, made))

    def strategy(self, strategy: Any) -> None:
        """Make a strategy known."""
        self.registrations.append(self._layer.put("strategy", strategy.identifier, strategy))

    def storage_profile(self, name: str, profile: Any) -> None:
        """Say where fields go that say nothing themselves."""
        self.registrations.append(self._layer.put("profile", name, profile))

    def take_back(self) -> None:
        """Undo everything, as the kernel does if the extension fails."""
        for registration in reversed(self.registrations):
            registration.unregister()
        self.registrations.clear()


class Specs:
    """The hooks, with their kinds. Names of arguments are part of the interface."""

    @hookspec
    def heaven_contribute(self, registrar: Registrar) -> None:
        """Contribution: register handlers, strategies and storage profiles for this workspace.

        Called once, when the extension becomes active. An exception makes the extension failed, and
        everything that it had registered is taken back.
        """

    @hookspec
    def heaven_commands(self) -> Mapping[str, str]:
        """Contribution: the commands that `hb` gains, each name with the `"module:attribute"` of a click command."""
        raise NotImplementedError

    @hookspec
    def heaven_before_write(self, write: Write) -> None:
        """Veto: look at a checked write before it happens; raise to abort it.

        Called once per write and entity, before the write takes the lock. The exception reaches the
        caller as it is, and nothing is written. A veto cannot change the write, nor write itself.
        """

    @hookspec
    def heaven_after_commit(self, commit: Commit) -> None:
        """Observer: learn of a commit that has happened.

        Called once per commit that changed something. An exception is recorded, logged and listed in
        `ws.health().observers`; the commit stands and the other observers are still called.
        Writes of entities with `__observed__ = False` are not shown.
        """


KINDS = {
    "heaven_contribute": "contribution",
    "heaven_commands": "contribution",
    "heaven_before_write": "veto",
    "heaven_after_commit": "observer",
}
"""The kind of each hook."""


def new_manager() -> pluggy.PluginManager:
    """A plugin manager with our specs and no plugins."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specs)
    return manager


def check_plugin(plugin: object) -> None:
    """Refuse a plugin that implements an unknown hook or takes an unknown argument.

    Raises:
        PluginError: the message names the hook.
    """
    manager = new_manager()
    try:
        for name in (name for name in dir(plugin) if manager.parse_hookimpl_opts(plugin, name) is not None):
            if name not in KINDS:
                raise PluginError(f"{type(plugin).__name__}.{name} is no hook; {did_you_mean(name, KINDS)}")
        manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_misfit(manager, plugin)) from error


def commands_of(plugin: object) -> dict[str, str]:
    """What a plugin's `heaven_commands` gives, checked: name -> ``"module:attribute"``; empty without that hook.

    Raises:
        PluginError, InvalidName: the answer cannot be used. Or whatever the plugin raises.
    """
    manager = new_manager()
    manager.register(plugin)
    found: dict[str, str] = {}
    for answer in manager.hook.heaven_commands():
        if not is_mapping(answer):
            raise PluginError(f"heaven_commands gives a mapping of names to 'module:attribute', not {a_kind(answer)}")
        for name, reference in answer.items():
            check_identifier(name, "the name of a command")
            if not isinstance(reference, str) or ":" not in reference:
                raise PluginError(f"the command {shown(name)} is named as 'module:attribute', not {shown(reference)}")
            found[name] = reference
    return found


def _misfit(manager: pluggy.PluginManager, plugin: object) -> str:
    """Which argument of which hook nobody passes; pluggy says it with the plugin's address in memory."""
    from inspect import signature

    for name in KINDS:
        if manager.parse_hookimpl_opts(plugin, name) is None:
            continue
        taken = signature(getattr(Specs, name)).parameters.keys() - {"self"}
        unknown = sorted(signature(getattr(plugin, name)).parameters.keys() - {"self", *taken})
        if unknown:
            gets = next(iter(taken), "nothing")
            return f"{type(plugin).__name__}.{name} takes {', '.join(unknown)}, which no hook passes; it gets {gets}"
    return f"{type(plugin).__name__} does not fit the hooks of heaven_core.hooks"


class Hooks:
    """The hooks of one workspace."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._manager = new_manager()
        self.failures: deque[ObserverFailure] = deque(maxlen=MAX_FAILURES)
        """Of observers, oldest first; the oldest are forgotten."""

    def add(self, identifier: str, plugin: object, layer: Layer) -> Registrar:
        """Register an extension's hooks and let it contribute, all or nothing."""
        check_plugin(plugin)
        self._manager.register(plugin, name=identifier)
        registrar = Registrar(layer, identifier)
        try:
            for implementation in self._manager.hook.heaven_contribute.get_hookimpls():
                if implementation.plugin is plugin:
                    implementation.function(*([registrar] if implementation.argnames else []))
        except Exception:
            registrar.take_back()
            self._manager.unregister(name=identifier)
            raise
        return registrar

    def remove(self, identifier: str) -> None:
        """Forget an extension's hooks."""
        if self._manager.has_plugin(identifier):
            self._manager.unregister(name=identifier)

    @property
    def vetoes(self) -> bool:
        """Whether anybody wants to see writes before they happen."""
        return bool(self._manager.hook.heaven_before_write.get_hookimpls())

    @property
    def observes(self) -> bool:
        """Whether anybody wants to see commits."""
        return bool(self._manager.hook.heaven_after_commit.get_hookimpls())

    def before_write(self, write: Write) -> None:
        """Ask everybody; the first exception aborts."""
        self._manager.hook.heaven_before_write(write=write)

    def after_commit(self, commit: Commit) -> None:
        """Tell everybody, each on its own."""
        for implementation in self._manager.hook.heaven_after_commit.get_hookimpls():
            try:
                implementation.function(*([commit] if implementation.argnames else []))
            except Exception as error:  # noqa: BLE001  # an observer must not break a write that has happened
                self._record(implementation.plugin_name, error)

    def _record(self, identifier: str, error: Exception) -> None:
        import logging

        self.failures.append(ObserverFailure(identifier, "heaven_after_commit", error))
        logging.getLogger("heavenbase.hooks").warning(
            "extension %r failed to observe a commit of workspace %r", identifier, self._workspace, exc_info=error
        )
