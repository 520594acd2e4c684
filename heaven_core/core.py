"""The shared state behind every handle of one workspace in this process.

Handles of one (id, location) share one core, counted by reference. The core opens
the backends, knows the entities and active extensions, and keeps both in two
ordinary entities of its own in the primary (`hb-entity`, `hb-extension`), so a
workspace needs no re-declaration when it is opened again.

Not here: reading and writing rows (`heaven_core.access`), the activation of
extensions (`heaven_core.activation`).
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from heaven_core import config, marker
from heaven_core.backend import BackendConfig, Change, Finding, Layout, Limits, Scan
from heaven_core.batch import make_batch
from heaven_core.capabilities import CapabilityIndex
from heaven_core.derive import EntityRecord, resolve_derive
from heaven_core.entity import GENERATED, Entity
from heaven_core.errors import (
    HeavenError,
    InvalidName,
    PlacementError,
    PluginError,
    SchemaConflict,
    SchemaError,
    StorageError,
    UnknownEntity,
    a_kind,
    did_you_mean,
)
from heaven_core.placement import (
    PRIMARY,
    Placed,
    layouts_of,
    place,
    placement_from_dict,
    placement_to_dict,
    types_in,
    without_files,
)
from heaven_core.registry import registries
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.schema_diff import SchemaDiff, compare, is_older
from heaven_core.stored import StoredEntity
from heaven_core.types import Json, ShortText

if TYPE_CHECKING:
    from heaven_core.activation import Activation
    from heaven_core.external import ExternalBackend
    from heaven_core.files import FileStore
    from heaven_core.hooks import Hooks
    from heaven_core.outbox import Outbox
    from heaven_core.plugin import ExtensionSpec, StoragePlugin
    from heaven_core.spread import SpreadBackend

_text, _json = ShortText(), Json()

ENTITY_TABLE = EntitySchema.made(
    "hb-entity",
    [
        FieldSchema("hb-entity", "body", _json, required=True),
        FieldSchema("hb-entity", "placement", _json, required=True),
        FieldSchema("hb-entity", "owner", _text),
    ],
    observed=False,
)
"""The kernel's own record of entities: object_id is the entity's id. A persisted format."""

EXTENSION_TABLE = EntitySchema.made(
    "hb-extension",
    [FieldSchema("hb-extension", "origin", _text), FieldSchema("hb-extension", "version", _text)],
    observed=False,
)
"""The kernel's own record of enabled extensions: object_id is the extension's identifier. A persisted format."""

RESERVED = "hb-"


def _inline(schema: EntitySchema) -> dict[str, Placed]:
    return {field.name: Placed(PRIMARY, "json" if field.dtype.kind == "json" else "inline") for field in schema.fields}


class WorkspaceCore:
    """One open workspace: its backends, its entities, its extensions."""

    def __init__(
        self,
        identifier: str,
        location: str,
        folder: str | None,
        backends: Mapping[str, dict[str, Any]],
        spare: Mapping[str, dict[str, Any]],
    ) -> None:
        self.id, self.location, self.folder = identifier, location, folder
        self.options = {name: dict(options) for name, options in backends.items()}
        self.spare = spare
        """Backends that are opened when a field lies in them."""
        self.marked = False
        """Whether the folder says that this is its primary."""
        self.handles = 0
        self.lock = threading.RLock()
        self.registries = registries().for_workspace()
        self.limits = Limits(config.get("query.deadline"), config.get("query.max_rows"), config.get("query.max_bytes"))
        self.hooks: Hooks | None = None
        self.forked = False
        self.threads: set[int] = set()
        """Threads with an open `ws.transaction()`."""
        self.backends: dict[str, Any] = {}
        self.types: dict[str, str] = {}
        self.epoch = -1
        self._stored: dict[Any, StoredEntity] = {}
        self._raw: dict[str, dict[str, Any]] = {}
        self.activation: Activation | None = None
        self._files: FileStore | None = None
        self._outbox: Outbox | None = None
        self._setup: Any = None
        """The transaction that makes a new workspace; `settle` commits it."""
        try:
            self._open_backends()
            self._open_tables()
        except BaseException:
            self.close()
            raise

    # opening -----------------------------------------------------------------------------------------------------

    def _open_backends(self) -> None:
        for name, options in self.options.items():
            self._open(name, options)
        self.primary = self.backends[PRIMARY]

    def _open(self, name: str, options: Mapping[str, Any]) -> None:
        plugin = self._plugin(options)
        rest = {key: value for key, value in options.items() if key != "type"}
        made: Any = plugin.load_backend()
        try:
            backend = made(BackendConfig(name, plugin.name, rest, self.folder, self.id))
        except HeavenError:
            raise
        except Exception as error:  # a plugin's code
            raise StorageError(
                f"backend {name!r} of type {plugin.name!r} could not be opened: {type(error).__name__}"
            ) from error
        self.backends, self.types = {**self.backends, name: backend}, {**self.types, name: plugin.name}
        self.capabilities = CapabilityIndex(self.registries, self.types)

    def open_spare(self, names: Iterable[str]) -> None:
        """Open those of these backends that are spare and have not been opened yet.

        Raises:
            EngineNotInstalled: its library is missing.
        """
        with self.lock:
            for name in names:
                if name not in self.backends and name in self.spare:
                    self._open(name, self.spare[name])

    def placed_in(self) -> set[str]:
        """The backends in which fields of stored entities lie."""
        found: set[str] = set()
        with self.lock:  # somebody may be registering
            for row in self._raw.values():
                try:
                    found |= {one.backend for one in placement_from_dict(row["placement"]).values()}
                except (KeyError, TypeError, AttributeError):  # damaged, as whoever uses the entity is told
                    continue
        return found

    def _plugin(self, options: Mapping[str, Any]) -> StoragePlugin:
        return self.registries.backend(options["type"])

    def _open_tables(self) -> None:
        """Find the kernel's own tables, or make them in a new workspace."""
        self._entities = layouts_of(ENTITY_TABLE, _inline(ENTITY_TABLE), self.types)[PRIMARY]
        self._extensions = layouts_of(EXTENSION_TABLE, _inline(EXTENSION_TABLE), self.types)[PRIMARY]
        self.reread()
        if self.epoch:
            return
        self._setup = tx = self.primary.begin(exclusive=True)
        if not tx.epoch:
            for layout in (self._entities, self._extensions):
                self.primary.ddl(Change(None, layout), tx)
            tx.bump_epoch()
            self.epoch = tx.epoch
        else:  # another process was quicker
            self.settle()
            self.reread()

    def settle(self) -> None:
        """Make a new workspace real, with all that was registered in it so far: one commit, whatever it has."""
        tx, self._setup = self._setup, None
        if tx is not None:
            try:
                tx.commit()
            finally:
                tx.rollback()

    def _read_entities(self, tx: Any) -> dict[str, dict[str, Any]]:
        return {row["object_id"]: row for row in self._all(self._entities, tx)}

    def _all(self, layout: Layout, tx: Any = None) -> list[dict[str, Any]]:
        from heaven_core.codecs import row_maker

        rows = self.primary.run(Scan(layout, layout.names, limits=Limits(None, None, None)), tx or self._setup)
        return (rows.make or row_maker(rows.names, rows.decoders, layout.entity))(rows.tuples)

    def catch_up(self, tx: Any) -> None:
        """Inside a write: learn what another process has changed in the schema."""
        if tx.epoch != self.epoch:
            with self.lock:
                self._refresh(self._read_entities(tx), tx.epoch)

    def _refresh(self, raw: dict[str, dict[str, Any]], epoch: int) -> None:
        changed = {name for name in {*raw, *self._raw} if raw.get(name) != self._raw.get(name)}
        self._raw, self.epoch = raw, epoch
        self._forget(changed)

    def _is_spread(self) -> bool:
        """Whether fields of any entity lie beside the primary."""
        return bool(self.placed_in() - {PRIMARY})

    # entities ----------------------------------------------------------------------------------------------------

    def stored(self, entity: Any) -> StoredEntity:
        """The entity that a class, an identifier or an alias means.

        Raises:
            UnknownEntity: the workspace has no such entity.
            SchemaConflict: the class says otherwise than what is registered.
        """
        try:
            return self._stored[entity]
        except (KeyError, TypeError):
            pass  # what is raised below has nothing to do with it
        return self._find(entity)

    def _find(self, entity: Any) -> StoredEntity:
        identifier = self._identifier(entity)
        with self.lock:
            if identifier not in self._raw:
                self.reread()
            if identifier not in self._raw:
                raise self._unknown(identifier, entity)
            stored = self._stored.get(identifier)
            if stored is None:
                stored = self._stored[identifier] = self._load(identifier)
            if isinstance(entity, type):
                self._check_same(stored, entity)
                is_generated = stored.cls.__module__ == GENERATED
                given = cast("type[Entity]", entity)
                if is_generated and given is not stored.cls and given.schema() == stored.schema:
                    stored = self._bind(entity)
                self._stored[entity] = stored
            return stored

    def reread(self) -> None:
        """Learn what another process has committed to the schema; takes no lock, and next to no time if nothing."""
        if self._setup is not None:
            return
        tx = self.primary.begin()
        try:
            epoch = tx.epoch  # before the rows: they may be newer than it, which the next look mends
            if epoch != self.epoch:
                with self.lock:
                    if epoch != self.epoch:  # else a thread here has registered something, and is done by now
                        self._refresh(self._read_entities(tx) if epoch else {}, epoch)
        finally:
            tx.rollback()

    @staticmethod
    def _identifier(entity: Any) -> str:
        if isinstance(entity, str):
            return entity
        if isinstance(entity, type) and issubclass(entity, Entity) and entity is not Entity:
            return entity.identifier
        raise SchemaError(f"name an entity by its class or its id, not by {a_kind(cast('object', entity))}")

    def _unknown(self, identifier: str, entity: Any) -> UnknownEntity:
        known = [name for name in self._raw if not name.startswith(RESERVED)]
        how = (
            f"register it first: ws.register({entity.__name__})"
            if isinstance(entity, type)
            else did_you_mean(identifier, known)
        )
        return UnknownEntity(f"workspace {self.id!r} has no entity {identifier!r:.80}; {how}", entity=identifier)

    @staticmethod
    def _check_same(stored: StoredEntity, cls: type[Entity]) -> None:
        if cls is stored.cls or cls.schema() == stored.schema:
            return
        diff = compare(stored.schema, cls.schema())
        if not diff.empty and not is_older(cls.schema(), stored.schema):
            raise SchemaConflict(
                f"class {cls.__name__} differs from the registered entity {stored.schema.id!r} ({diff}); "
                f"call ws.register({cls.__name__}) to apply additions",
                diff=diff,
            )

    def _load(self, identifier: str) -> StoredEntity:
        row = self._raw[identifier]
        try:
            schema = EntitySchema.from_dict(row["body"])
        except SchemaError as error:
            raise SchemaError(
                f"entity {identifier!r} cannot be used: {error}; register or install what it was made with"
            ) from error
        cls = Entity.from_schema(schema)
        try:
            placement = self._opened(identifier, row["placement"])
            return self._made(cls.schema(), cls, placement, row["owner"] or "")
        except (KeyError, TypeError, AttributeError) as error:
            raise StorageError(f"the record of entity {identifier!r} is damaged; restore a backup") from error

    def _bind(self, cls: type[Entity]) -> StoredEntity:
        """The entity with the user's class in place of the generated one."""
        row = self._raw[cls.identifier]
        made = self._made(cls.schema(), cls, self._opened(cls.identifier, row["placement"]), row["owner"] or "")
        self._stored[made.schema.id] = made
        return made

    def _made(self, schema: EntitySchema, cls: type[Entity], placement: dict[str, Placed], owner: str) -> StoredEntity:
        self.open_spare(sorted({one.backend for one in placement.values()}))
        layouts = layouts_of(schema, placement, self.types)
        layout = layouts[PRIMARY]
        derive = resolve_derive(schema, cls) if schema.derived else None
        failure = None if self.activation is None else self.activation.failure_of(owner)
        spread = self._spread(schema, layouts) if derive is None and len(layouts) > 1 else None
        backend = spread or self.primary
        in_files = derive is None and any(one.strategy == "external" for one in layout.columns)
        external = self._external(backend, layout) if in_files else None
        more: Any = {"derive": derive, "failure": failure, "external": external, "spread": spread}
        backend = external or backend
        return StoredEntity(schema, cls, placement, layout, backend, self.registries, **more)

    def _opened(self, identifier: str, body: Mapping[str, Any]) -> dict[str, Placed]:
        """A stored placement, with what fields lie in opened.

        Raises:
            PlacementError: the workspace was opened without it, or with something else of that name.
        """
        made = types_in(body)
        self.open_spare(sorted(made))
        for name, kind in sorted(made.items()):
            found = self.types.get(name)
            if found is None or (kind and found != kind):
                how = f"{name!r}: {kind!r}" if kind else f"{name!r}"
                now = "the workspace was opened without" if found is None else f"here that is {found!r}"
                raise PlacementError(
                    f"{identifier}: fields lie in backend {name!r}{kind and f' of type {kind!r}'}, and {now}; open it "
                    f"with the same backends= as when the entity was registered, {how} among them"
                )
        return placement_from_dict(body)

    def _spread(self, schema: EntitySchema, layouts: Mapping[str, Layout]) -> SpreadBackend:
        """The engines of an entity whose fields lie in several."""
        from heaven_core.spread import SpreadBackend, beside

        engines = {name: self.primary if name == PRIMARY else beside(self.backends[name]) for name in layouts}
        return SpreadBackend(schema, self.outbox(), {name: (engines[name], layouts[name]) for name in layouts})

    def outbox(self) -> Outbox:
        """What the engines beside the primary have yet to be told."""
        with self.lock:
            if self._outbox is None:
                from heaven_core.outbox import Outbox

                self._outbox = Outbox(self)
            return self._outbox

    def after_commit(self, tx: Any) -> None:
        """Let what a transaction has committed reach the engines beside the primary."""
        if self._outbox is not None:
            self._outbox.after_commit(tx)

    def _external(self, backend: Any, layout: Layout) -> ExternalBackend:
        """The engine for an entity with fields in files."""
        from heaven_core.external import ExternalBackend

        files = self.files()
        assert files is not None  # else `without_files` has placed the fields otherwise
        return ExternalBackend(backend, layout, files)

    def files(self) -> FileStore | None:
        """The files of fields that lie outside their rows; None where nothing may be written to disk."""
        if self.folder is None:
            return None
        with self.lock:
            if self._files is None:
                from heaven_core.files import FileStore

                # Beside the database where it has a place of its own: another workspace may have the same folder.
                folder = f"{self.location}.d" if "database" in self.options[PRIMARY] else self.folder
                self._files = FileStore(folder, private=not self._plugin(self.options[PRIMARY]).persistent)
            return self._files

    def usable_stored(self) -> tuple[list[StoredEntity], dict[str, HeavenError]]:
        """The entities that can be used, ordered by id, and of the others why not: a type or an engine is missing."""
        usable: list[StoredEntity] = []
        errors: dict[str, HeavenError] = {}
        with self.lock:
            self.reread()
            for name in sorted(self._raw):
                try:
                    usable.append(self.stored(name))
                except (SchemaError, StorageError, PluginError) as error:
                    errors[name] = error
        return usable, errors

    def entity_records(self) -> list[EntityRecord]:
        """Every entity that can be used, with placement and owner."""
        return [
            EntityRecord(
                one.schema,
                {name: placed.to_dict() for name, placed in one.placement.items()},
                self._raw[one.schema.id]["owner"] or "",
            )
            for one in self.usable_stored()[0]
        ]

    # registering -------------------------------------------------------------------------------------------------

    def register(self, classes: tuple[type[Entity], ...], owner: str = "") -> list[SchemaDiff]:
        """Make entities exist, or apply additions to them, all in one transaction."""
        with self.lock:
            known = [self._registered(cls) for cls in classes]
            if all(diff is not None and diff.empty for diff in known):
                return [diff for diff in known if diff is not None]
        tx = self._setup or self.primary.begin(exclusive=True)  # the writers' lock before ours, as in every write
        try:
            with self.lock:
                self.catch_up(tx)
                made = [self._apply(cls, owner, tx) for cls in classes]
                if any(diff.created or not diff.empty for _, diff, _ in made):
                    self._save(made, owner, tx)
                    tx.bump_epoch()
                epoch = tx.epoch
                if tx is not self._setup:
                    tx.commit()
                self.epoch = epoch
                self._forget(stored.schema.id for stored, _, _ in made)
                for stored, _, row in made:
                    self._adopt(stored, row)
        finally:
            if tx is not self._setup:
                tx.rollback()
        return [diff for _, diff, _ in made]

    def _registered(self, cls: Any) -> SchemaDiff | None:
        """The difference to what is stored, or None for an entity that is not there."""
        if not (isinstance(cls, type) and issubclass(cls, Entity) and cls is not Entity):
            raise SchemaError(f"register takes entity classes, not {cls!r:.60}")
        if cls.identifier.startswith(RESERVED):
            raise InvalidName(
                f"entity ids that begin with {RESERVED!r} belong to the kernel; call {cls.identifier!r} otherwise"
            )
        row, schema = self._raw.get(cls.identifier), cls.schema()
        if row is None:
            return None
        if row["body"] == schema.to_dict():  # as in every opening but the first: nothing has to be parsed
            diff = SchemaDiff(schema.id)
        else:
            diff = compare(EntitySchema.from_dict(row["body"]), schema)
        stored = self._stored.get(schema.id)
        if diff.empty and (stored is None or stored.cls is not cls):
            self._stored[cls] = self._bind(cls)
        return diff

    def _apply(self, cls: type[Entity], owner: str, tx: Any) -> tuple[StoredEntity, SchemaDiff, dict[str, Any]]:
        schema = cls.schema()
        before = self._raw.get(schema.id)
        owner = owner if before is None else before["owner"] or ""  # who brought it, whoever extends it
        configured = {name: self.types[name] for name in self.options}
        spare = {name: options["type"] for name, options in self.spare.items()}
        placement = place(schema, configured, self.registries, spare)
        if self.folder is None:
            placement = without_files(placement)
        old: StoredEntity | None = None
        if before is None:
            diff = SchemaDiff(schema.id, created=True)
        else:
            old = self._load(schema.id)
            diff = compare(old.schema, schema)
            diff.check_additive()
            placement = {**placement, **{name: old.placement[name] for name in old.placement if name in schema.by_name}}
        stored = self._made(schema, cls, placement, owner)
        if not schema.derived and (old is None or not diff.empty):
            if stored.spread is not None:  # first, since it reads rows of a table that may be locked once it is altered
                self._prepare(stored.spread, old, tx)
            self.primary.ddl(Change(None if old is None else old.layout, stored.layout), tx)
        row = {
            "object_id": schema.id,
            "body": schema.to_dict(),
            "placement": placement_to_dict(placement, self.types),
            "owner": owner,
        }
        return stored, diff, row

    def _prepare(self, spread: SpreadBackend, old: StoredEntity | None, tx: Any) -> None:
        """Make what the engines beside the primary need for an entity."""
        if not self._is_spread():
            self.outbox().create(tx)  # the first one that is spread
        spread.prepare(None if old is None else old.spread, None if old is None else old.layout)

    def _save(self, made: list[tuple[StoredEntity, SchemaDiff, dict[str, Any]]], owner: str, tx: Any) -> None:
        self.primary.write(self._entities, make_batch(ENTITY_TABLE, [row for _, _, row in made]), tx)

    def _forget(self, identifiers: Iterable[str]) -> None:
        """Make these entities anew at their next use."""
        names = frozenset(identifiers)
        for key in [key for key, one in self._stored.items() if one.schema.id in names]:
            del self._stored[key]

    def _adopt(self, stored: StoredEntity, row: dict[str, Any]) -> None:
        self._raw[stored.schema.id] = {"name": None, **row}
        self._stored[stored.schema.id] = self._stored[stored.cls] = stored

    # extensions --------------------------------------------------------------------------------------------------

    def extension_rows(self) -> dict[str, tuple[str, str]]:
        """Enabled extensions as stored: identifier -> (origin, version)."""
        return {row["object_id"]: (row["origin"], row["version"]) for row in self._all(self._extensions)}

    def save_extensions(self, extensions: Mapping[str, tuple[str, str]]) -> None:
        """Remember that extensions are enabled: identifier -> (origin, version)."""
        rows = [
            {"object_id": identifier, "origin": origin, "version": version}
            for identifier, (origin, version) in extensions.items()
        ]
        with self.writing() as tx:
            self.primary.write(self._extensions, make_batch(EXTENSION_TABLE, rows), tx)

    def renew(self, owner: str) -> None:
        """Make the entities of an extension anew at their next use, because its state has changed."""
        with self.lock:
            self._forget(name for name, row in self._raw.items() if row["owner"] == owner)

    def extension_specs(self) -> list[ExtensionSpec]:
        """The active extensions, in order of activation."""
        return [] if self.activation is None else self.activation.specs()

    @contextmanager
    def writing(self) -> Generator[Any]:
        """A transaction of the kernel's own, or a part of the one that makes the workspace."""
        if self._setup is not None:
            yield self._setup
            return
        tx = self.primary.begin(exclusive=True)
        try:
            yield tx
            tx.commit()
        finally:
            tx.rollback()

    # care --------------------------------------------------------------------------------------------------------

    def findings(self, *, repair: bool) -> list[Finding]:
        """What is wrong in the backends."""
        usable, errors = self.usable_stored()
        layouts = [one.layout for one in usable if one.derive is None]
        spread = [one.spread for one in usable if one.spread is not None]
        own = [self._entities, self._extensions, *(self.outbox().layouts if self._is_spread() else ())]
        found = self.primary.recover([*own, *layouts], repair=repair)
        for one in spread:
            one.check(found, repair=repair)
        found += [Finding(PRIMARY, name, "unusable-entity", str(error), False) for name, error in errors.items()]
        files = self.files()
        if files is None:
            return found
        from heaven_core import external

        if repair:
            external.collect(self, files, found)
            return found
        return found + list(external.check(files, usable, found))

    def close(self) -> None:
        """Close every backend; a workspace that is still being made is not."""
        if self._setup is not None:
            self._setup.rollback()
        for backend in self.backends.values():
            backend.close()
        if self._files is not None:
            self._files.close()

    def destroy(self) -> None:
        """Remove everything that was stored."""
        self.open_spare(self.placed_in())
        for _, backend in sorted(self.backends.items(), key=lambda one: one[0] == PRIMARY):  # the primary last:
            if hasattr(backend, "destroy"):  # one that refuses, as its file is another's, leaves the workspace as it is
                backend.destroy()
        if self.folder is not None and self.marked:
            marker.remove(self.folder)
        files = self.files()
        if files is not None and self.folder is not None:
            files.destroy()
            files.close()
            _remove_empty(self.folder, files.folder)


def _remove_empty(*folders: str) -> None:
    from pathlib import Path

    for folder in map(Path, folders):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
