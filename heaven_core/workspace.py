"""The workspace: `HeavenBase("demo")`, what users hold in their hands.

Opening finds or makes the workspace at its location; closing the last handle of a
process closes the engines. Rows are read and written through the methods of
`heaven_core.access.Access`, which a transaction has too.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from heaven_core import config, marker
from heaven_core.access import Access, Writer
from heaven_core.core import WorkspaceCore
from heaven_core.errors import ConfigError, TransactionError, did_you_mean
from heaven_core.names import check_identifier
from heaven_core.paths import resolved
from heaven_core.placement import PRIMARY
from heaven_core.registry import registries
from heaven_core.sharing import absolute_path, acquire, check_usable, drop, is_open, normalised, release

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.aio import AsyncWorkspace
    from heaven_core.capabilities import CapabilityIndex
    from heaven_core.entity import Entity
    from heaven_core.plugin import ExtensionSpec
    from heaven_core.report import Health, Report
    from heaven_core.schema_diff import SchemaDiff

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "debug": {PRIMARY: {"type": "inmem"}},
    "local": {PRIMARY: {"type": "sqlite"}},
    "server": {PRIMARY: {"type": "postgres"}},
}
"""Backends by preset: `debug` keeps everything in memory, `local` in one SQLite file, `server` in PostgreSQL."""

SPARE: dict[str, dict[str, dict[str, Any]]] = {
    "debug": {},
    "local": {"duckdb": {"type": "duckdb"}, "lancedb": {"type": "lancedb"}},
    "server": {},
}
"""More backends by preset, which a workspace has from the moment that a field names them."""


class HeavenBase(Access):
    """A workspace: entities with typed fields, each field in the engine that serves it, one query over all.

    preset: "local" (one folder per workspace under the user's data folder, or under
        `HEAVENBASE_HOME`), "debug" (in memory) or "server" (in PostgreSQL, where the
        setting `server.url` says); without backends the default is the
        setting `preset`, which is "local".
    backends: name -> {"type": ..., options}; over a preset, by name.
    path: the workspace's own folder.

    Handles of one workspace in one process share its engines; each is closed for
    itself. Use it as a context manager, or call `close`.

    Raises:
        InvalidName: the id breaks the naming rules.
        ConfigError, UnknownPlugin: preset or backends that cannot be used.
        WorkspaceConflict: it is open in this process with other backends, or was made with another primary.
        StorageError: the location cannot be used.
    """

    def __init__(
        self,
        id: str,  # the word of the interface
        *,
        preset: str | None = None,
        backends: Mapping[str, Any] | None = None,
        path: str | Path | None = None,
    ) -> None:
        self.id = check_identifier(id, "workspace id")
        self._core: WorkspaceCore | None = None
        preset = _preset(preset, backends)
        chosen = _backends(preset, backends)
        location, folder = _location(self.id, chosen, path)
        self._core = acquire(self.id, location, folder, chosen, {} if preset is None else SPARE[preset])
        self._finalizer = weakref.finalize(self, release, self._core)
        self._finalizer.atexit = True

    # the handle --------------------------------------------------------------------------------------------------

    def core(self) -> WorkspaceCore:
        core = self._core
        if core is None or core.forked:
            core = check_usable(core, self.id)
        return core

    def close(self) -> None:
        """Close this handle; the last one of the process closes the engines. A second call does nothing."""
        if self._core is not None:
            self._core = None
            self._finalizer()

    def drop(self) -> None:
        """Remove the workspace with everything in it, and close the handle.

        Raises:
            WorkspaceConflict: other handles are open.
            TransactionError: a transaction or a write of this thread is going on.
        """
        core = self.core()
        self._own_thread(core, "drop the workspace after it")
        drop(core)
        self._finalizer.detach()
        self._core = None

    @property
    def folder(self) -> Path | None:
        """The workspace's own folder, where engines without a location of their own write; None in memory."""
        from pathlib import Path

        folder = self.core().folder
        return None if folder is None else Path(folder)

    def __enter__(self) -> Self:
        self.core()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._core is None:
            return f"<HeavenBase {self.id!r}, closed>"
        kinds = ", ".join(f"{name}={kind}" for name, kind in self._core.types.items())
        return f"<HeavenBase {self.id!r}: {kinds}>"

    # reading and writing -----------------------------------------------------------------------------------------

    def _reading(self) -> Any:
        return None

    @contextmanager
    def _writing(self) -> Generator[Writer]:
        core = self.core()
        thread = self._own_thread(core, "write through it")
        tx = core.primary.begin()
        writer = Writer(core, tx)
        core.threads.add(thread)
        try:
            yield writer
            lsn = tx.lsn if tx.locked else 0
            tx.commit()
        except BaseException:
            tx.rollback()
            raise
        finally:
            core.threads.discard(thread)
        core.after_commit(tx)
        _tell(core, writer, lsn)

    def _together(self) -> AbstractContextManager[Transaction]:
        return self.transaction()

    @staticmethod
    def _own_thread(core: WorkspaceCore, instead: str) -> int:
        """The running thread, which must not be in the midst of a write: it would wait for itself."""
        thread = threading.get_ident()
        if thread in core.threads:
            raise TransactionError(f"a transaction or a write of this workspace is going on in this thread; {instead}")
        return thread

    @contextmanager
    def transaction(self, exclusive: bool = False) -> Generator[Transaction]:
        """Several reads and writes as one: committed at the end of the block, undone by an exception.

        The object has the workspace's own methods; it belongs to this thread, reads its
        own writes and cannot be nested. Calls on the workspace inside the block are not
        part of it. With `exclusive` the writers' lock is taken first, so what is read
        inside stays true until the commit; else at the first write.
        """
        core = self.core()
        thread = self._own_thread(core, "transactions cannot be nested")
        writer = Writer(core, core.primary.begin(exclusive=exclusive))
        core.threads.add(thread)
        try:
            if exclusive:
                core.catch_up(writer.tx)
            yield Transaction(self, writer)
            if writer.torn:
                raise TransactionError(
                    "a stream of rows was not written to its end in this transaction; nothing of it is committed"
                )
            lsn = writer.tx.lsn if writer.tx.locked else 0
            writer.tx.commit()
        except BaseException:
            writer.tx.rollback()
            raise
        finally:
            core.threads.discard(thread)
            writer.ended = True
        core.after_commit(writer.tx)
        _tell(core, writer, lsn)

    @property
    def aio(self) -> AsyncWorkspace:
        """The same methods for event loops, awaited."""
        from heaven_core.aio import AsyncWorkspace

        return AsyncWorkspace(self)

    # schema ------------------------------------------------------------------------------------------------------

    def register(self, *entities: type[Entity]) -> Any:
        """Make entities exist in the workspace; for one that does, apply what its class adds.

        Returns the difference to what was there (a list for several), which is empty
        where nothing was. All of them are registered, or none.

        Raises:
            SchemaConflict: a class differs by more than additions.
            PlacementError: no configured backend can hold a field as asked.
        """
        if not entities:
            raise TypeError("register takes at least one entity class")
        core = self.core()
        self._own_thread(core, "register entities before it")
        diffs: list[SchemaDiff] = core.register(entities)
        return diffs[0] if len(diffs) == 1 else diffs

    def enable_extension(self, identifier: str) -> ExtensionSpec:
        """Make an extension active here: its entities are registered and its hooks called. Returns its spec.

        Enabling an active one changes nothing.

        Raises:
            UnknownPlugin: no such extension.
            PluginLoadError: it is broken; the message says at which stage.
        """
        core = self.core()
        assert core.activation is not None
        self._own_thread(core, "enable extensions before it")
        with core.activation.lock:
            return core.activation.enable(identifier)

    def extensions(self) -> list[ExtensionSpec]:
        """The active extensions, in order of activation."""
        return self.core().extension_specs()

    @property
    def capabilities(self) -> CapabilityIndex:
        """What this workspace's backends can do; may be called, which changes nothing."""
        return self.core().capabilities

    # care --------------------------------------------------------------------------------------------------------

    def check(self) -> Report:
        """Whether everything stored is consistent; changes nothing."""
        from heaven_core.report import make_report

        return make_report(self.core(), repair=False)

    def repair(self) -> Report:
        """Mend what follows from other data; never invents any. The report says what was found and mended."""
        from heaven_core.report import make_report

        core = self.core()
        self._own_thread(core, "repair after it")
        return make_report(core, repair=True)

    def health(self) -> Health:
        """Whether every backend answers and every extension is active; quick."""
        from heaven_core.report import make_health

        return make_health(self.core())


class Transaction(Access):
    """An open transaction: the workspace's reads and writes, together or not at all."""

    def __init__(self, workspace: HeavenBase, writer: Writer) -> None:
        self._workspace = workspace
        self._writer = writer
        self._thread = threading.get_ident()

    def core(self) -> WorkspaceCore:
        if self._writer.ended:
            raise TransactionError("this transaction has ended; use the workspace, or open another")
        if threading.get_ident() != self._thread:
            raise TransactionError("a transaction belongs to the thread that opened it")
        return self._workspace.core()

    def _reading(self) -> Any:
        self.core()
        return self._writer.tx

    @contextmanager
    def _writing(self) -> Generator[Writer]:
        self.core()
        yield self._writer

    @contextmanager
    def _together(self) -> Generator[Transaction]:
        before = self._writer.writes
        try:
            yield self
        except BaseException:
            self._writer.torn = self._writer.torn or self._writer.writes > before
            raise

    def __repr__(self) -> str:
        return f"<transaction, {'ended' if self._writer.ended else 'open'}>"


def workspace_exists(id: str, path: str | Path | None = None) -> bool:
    """Whether `HeavenBase(id, path=path)` would find a workspace rather than make one; touches nothing.

    Raises:
        InvalidName: the id breaks the naming rules.
    """
    from pathlib import Path

    usual = _backends(_preset(None, None), None)
    location, folder = _location(check_identifier(id, "workspace id"), usual, path)
    if folder is None:  # the setting `preset` says: in memory
        return is_open(id, location)
    return holds_data(Path(folder, f"{PRIMARY}.db")) or marker.is_there(folder)


def workspace_ids() -> list[str]:
    """The ids of the workspaces in the usual place, in order; those with a path of their own are not known."""
    root = config.home() / "workspaces"
    return sorted(one.parent.name for one in root.glob(f"*/{PRIMARY}.db") if holds_data(one))


def holds_data(file: Path) -> bool:
    """Whether the file has content, or cannot be looked at; then opening it says why."""
    try:
        return file.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _tell(core: WorkspaceCore, writer: Writer, lsn: int) -> None:
    """Show a commit to the observers."""
    if writer.changes and core.hooks is not None and core.hooks.observes:
        from heaven_core.hooks import Commit

        core.hooks.after_commit(Commit(core.id, lsn, tuple(writer.changes)))


def _preset(preset: str | None, backends: Mapping[str, Any] | None) -> str | None:
    """The preset to open with: the given one, else that of the settings where no backends are given either."""
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"there is no preset {preset!r:.40}; {did_you_mean(preset, PRESETS)}")
    return config.get("preset") if preset is None and backends is None else preset


def _backends(preset: str | None, backends: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """The backends to open; a primary is added where none is given."""
    base = {} if preset is None else PRESETS[preset]
    chosen = {**normalised(base), **normalised({} if backends is None else backends)}
    return _with_primary(chosen)


def _with_primary(chosen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    main = chosen.get(PRIMARY)
    if main is not None and registries().backend(main["type"]).primary:
        return chosen
    if main is not None:
        raise ConfigError(
            f"backend 'main' is the primary, and type {main['type']!r} cannot be one; "
            "call it by another name, and a SQLite primary is added"
        )
    import logging

    logging.getLogger("heavenbase").info("a SQLite primary was added to the workspace: none was configured")
    return {PRIMARY: {"type": "sqlite"}, **chosen}


def _location(
    identifier: str, backends: Mapping[str, dict[str, Any]], path: str | Path | None
) -> tuple[str, str | None]:
    """What tells this workspace from others, and its folder (None if nothing may be written)."""
    main = backends[PRIMARY]
    if path is not None:
        folder = absolute_path(path, "the workspace's path")
    elif "database" in main:
        folder = main["database"] + ".d"
    elif not any(_is_persistent(options) for options in backends.values()):
        return "process", None
    else:
        folder = config.workspace_folder(identifier)
    return resolved(main.get("database", folder)), folder


def _is_persistent(options: Mapping[str, Any]) -> bool:
    return registries().backend(options["type"]).persistent
