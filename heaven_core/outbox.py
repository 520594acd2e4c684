"""The outbox: what the engines beside the primary have yet to be told, kept in the primary.

A write of an entity whose fields lie in several engines is decided by one commit of the primary, which holds its own
part of the rows and, as entries of the outbox, the parts of the others. Entries are applied in the order of their
LSNs by whoever comes first: the writer after its commit, or a reader that finds some. Applying holds the writers'
lock, so there is one applier at a time in all processes, and doing it twice does no harm: rows are put whole. What a
killed process leaves undone is done by the next.

`hb-spread` has one row per such entity: the LSN of the last write (`written`) and of the last one that every engine
has (`applied`). They are what tells a reader that its engines were of one moment.

Both are entities of the kernel's own, made with the first entity that is spread. Persisted formats.

Not here: what rows become in each engine (`heaven_core.spread`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from heaven_core.backend import Backend, Batch, Change, Fetch, Layout, Limits, Scan
from heaven_core.codecs import decoder, encoder, row_maker
from heaven_core.errors import HeavenError, StorageError
from heaven_core.placement import PRIMARY, Placed, layouts_of
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.types import Artifact, Integer, ShortText

if TYPE_CHECKING:
    from heaven_core.core import WorkspaceCore

T = TypeVar("T")

UNBOUNDED = Limits(None, None, None)

FORMAT = 1
"""The version of an entry's body."""

MOST_BYTES = 64 << 20
"""An entry that would be larger is made two: a primary may take no value of any size."""

ATTEMPTS = 3
"""How often a reader tries to see every engine at one moment before it keeps writers out."""

_text, _integer, _bytes = ShortText(), Integer(), Artifact()

OUTBOX_TABLE = EntitySchema.made(
    "hb-outbox",
    [
        FieldSchema("hb-outbox", "lsn", _integer, required=True),
        FieldSchema("hb-outbox", "entity", _text, required=True),
        FieldSchema("hb-outbox", "backend", _text, required=True),
        FieldSchema("hb-outbox", "body", _bytes, required=True),
    ],
    observed=False,
)

SPREAD_TABLE = EntitySchema.made(
    "hb-spread",
    [
        FieldSchema("hb-spread", "written", _integer, required=True),
        FieldSchema("hb-spread", "applied", _integer, required=True),
    ],
    observed=False,
)

Part = tuple[Backend, Layout]
Row = Mapping[str, Any]
Encoded = Mapping[str, Sequence[Any]]
Overlay = dict[str, str | None]
"""What a transaction has written to one engine and nobody else sees: by the id of a row the entry that has it, None
for a deleted one."""


class State(NamedTuple):
    """How far the engines of an entity are."""

    written: int
    applied: int


class Written(NamedTuple):
    """Rows as an entry has them: the place of each by its id, and the stored values by column."""

    places: dict[str, int]
    columns: dict[str, list[Any]]


class Entry(NamedTuple):
    """Rows for one engine: whole ones, or (with no columns) ids of those that are gone."""

    lsn: int
    entity: str
    backend: str
    ids: list[str]
    columns: dict[str, list[Any]] | None


class Outbox:
    """The outbox of one open workspace. Any thread may use it."""

    def __init__(self, core: WorkspaceCore) -> None:
        self._core = core
        self._outbox, self._spread = (_layout(schema, core) for schema in (OUTBOX_TABLE, SPREAD_TABLE))
        self.layouts = (self._outbox, self._spread)
        self._overlays: WeakKeyDictionary[Any, dict[tuple[str, str], Overlay]] = WeakKeyDictionary()
        self._read: WeakKeyDictionary[Any, tuple[str, Written]] = WeakKeyDictionary()
        """The entry of each transaction that was read last."""
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._created: WeakSet[Any] = WeakSet()

    def create(self, tx: Any) -> None:
        """Make the tables; for several entities of one transaction once."""
        if tx not in self._created:
            self._created.add(tx)
            for layout in self.layouts:
                self._core.primary.ddl(Change(None, layout), tx)

    # writing -----------------------------------------------------------------------------------------------------

    def add(self, tx: Any, layout: Layout, ids: Sequence[str], columns: Mapping[str, Sequence[Any]] | None) -> None:
        """Say inside a transaction what an engine is to be told once it is committed; canonical values."""
        if not ids:
            return
        lsn = tx.lsn
        encoded = None if columns is None else {name: _encoded(layout, name, one) for name, one in columns.items()}
        body = _packed(ids, encoded)
        if len(body) > MOST_BYTES and len(ids) > 1:  # of values as large as files
            half = len(ids) // 2
            for part in (slice(0, half), slice(half, None)):
                self.add(tx, layout, ids[part], columns and {name: one[part] for name, one in columns.items()})
            return
        number = self._numbers[tx] = self._numbers.get(tx, 0) + 1
        entry: dict[str, Any] = {
            "object_id": f"{lsn:020d}-{number:08d}",
            "lsn": lsn,
            "entity": layout.entity,
            "backend": layout.backend,
            "body": body,
        }
        self._put(tx, self._outbox, OUTBOX_TABLE, [entry])
        self._put_state(tx, layout.entity, written=lsn)
        overlay = self._overlays.setdefault(tx, {}).setdefault((layout.entity, layout.backend), {})
        overlay.update(dict.fromkeys(ids, None if columns is None else entry["object_id"]))

    def _put_state(self, tx: Any, entity: str, **changed: int) -> None:
        state = self.state(entity, tx)._replace(**changed)
        self._put(tx, self._spread, SPREAD_TABLE, [{"object_id": entity, **state._asdict()}])

    def _put(self, tx: Any, layout: Layout, schema: EntitySchema, rows: Sequence[Row]) -> None:
        columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in schema.names}
        self._core.primary.write(layout, Batch(columns["object_id"], columns), tx)

    # reading -----------------------------------------------------------------------------------------------------

    def overlay(self, tx: Any, entity: str, backend: str) -> Overlay:
        """What the transaction itself has written to an engine."""
        return {} if tx is None else self._overlays.get(tx, {}).get((entity, backend), {})

    def written(self, tx: Any, entry: str) -> Written:
        """What an entry of the transaction's own says: it lies in the primary, since it may be large."""
        known, found = self._read.get(tx, (None, None))
        if found is None or known != entry:
            rows = self._core.primary.run(Fetch(self._outbox, (entry,)), tx)
            row = (rows.make or row_maker(rows.names, rows.decoders))(rows.tuples)[0]
            body: dict[str, Any] = _msgpack().unpackb(row["body"])
            found = Written({one: place for place, one in enumerate(body["ids"])}, body["columns"])
            self._read[tx] = entry, found
        return found

    def touches(self, tx: Any, entity: str) -> bool:
        """Whether the transaction has written to an engine of the entity."""
        return tx is not None and any(name == entity for name, _ in self._overlays.get(tx, {}))

    def state(self, entity: str, tx: Any = None) -> State:
        """How far the engines of an entity are; inside a transaction with what it has written."""
        rows = self._core.primary.run(Fetch(self._spread, (entity,)), tx)
        if not rows.tuples:
            return State(0, 0)
        row = (rows.make or row_maker(rows.names, rows.decoders))(rows.tuples)[0]
        return State(row["written"], row["applied"])

    def consistent(self, entity: str, tx: Any, read: Callable[[], T], limits: Limits = UNBOUNDED) -> T:
        """What `read` finds, every engine being of one moment: that of a commit.

        It may be called several times. An engine that another process has is waited for no longer than `limits` say.
        """
        for _ in range(ATTEMPTS):
            # Asked by the transaction, it is a read of the transaction's, which a later commit of others contradicts.
            before = self.state(entity, None if tx is None or tx.locked else tx)
            waiting = before.applied < before.written
            if tx is not None and (tx.locked or waiting):
                _ = tx.lsn  # now nobody else can commit
                if waiting:
                    self.settle(entity, tx)
                return read()
            if waiting:
                self.settle(entity, limits=limits)
                before = self.state(entity)
            try:
                found = read()
            except StorageError:
                if self.state(entity) == before:
                    raise
                continue  # its engines were of several moments
            if self.state(entity) == before:
                return found
        with self._core.writing() as own:
            self.settle(entity, own)
            return read()

    # applying ----------------------------------------------------------------------------------------------------

    def after_commit(self, tx: Any) -> None:
        """Apply what a transaction has written; what cannot be applied now waits for the next who comes."""
        for entity in sorted({entity for entity, _ in self._overlays.pop(tx, {})}):
            try:
                self.settle(entity)
            except HeavenError as error:
                logging.getLogger("heavenbase").warning(
                    "workspace %r: a commit has yet to reach another engine: %s", self._core.id, error
                )

    def settle(self, entity: str, tx: Any = None, limits: Limits = UNBOUNDED) -> None:
        """Apply every committed entry of an entity; in a transaction that holds the writers' lock, or in one's own.

        Entities do not wait for each other: an engine that cannot be reached holds up those that have fields in it.
        """
        if tx is None:
            self._wake(entity, limits.of_a_step())
            with self._core.writing() as own:
                self.settle(entity, own)
            return
        done: list[str] = []
        last = 0
        for object_id, entry in self._entries(entity, tx):
            self._apply(entry)
            done.append(object_id)
            last = entry.lsn
        if done:
            self._core.primary.delete(self._outbox, done, tx)
            self._put_state(tx, entity, applied=last)

    def _wake(self, entity: str, limits: Limits) -> None:
        """Have the engines of an entity at hand, before writers are kept out: one may belong to somebody else yet."""
        spread = self._core.stored(entity).spread
        for name, (backend, layout) in () if spread is None else spread.parts.items():
            if name != PRIMARY:
                backend.run(Scan(layout, limit=1, limits=limits))

    def _entries(self, entity: str, tx: Any) -> Iterator[tuple[str, Entry]]:
        """What others have committed of an entity, in order."""
        own = tx.lsn
        scan = Scan(self._outbox, ("object_id", "lsn", "entity"), limits=UNBOUNDED)
        found = self._core.primary.run(scan, tx).tuples
        waiting = sorted(object_id for object_id, lsn, name in found if lsn != own and name == entity)
        for object_id in waiting:  # one at a time: a body may be large
            rows = self._core.primary.run(Fetch(self._outbox, (object_id,)), tx)
            row = (rows.make or row_maker(rows.names, rows.decoders))(rows.tuples)[0]
            yield object_id, _unpacked(*self._part(row["entity"], row["backend"]), row)

    def _part(self, entity: str, backend: str) -> Part:
        stored = self._core.stored(entity)
        if stored.spread is None or backend not in stored.spread.parts:
            raise StorageError(f"{entity}: the outbox names backend {backend!r}, which has none of its fields")
        return stored.spread.parts[backend]

    def _apply(self, entry: Entry) -> None:
        backend, layout = self._part(entry.entity, entry.backend)
        if entry.columns is None:
            backend.delete(layout, entry.ids, None)
        else:
            backend.write(layout, Batch(entry.ids, entry.columns), None)


def _layout(schema: EntitySchema, core: WorkspaceCore) -> Layout:
    placement = {field.name: Placed(PRIMARY, "inline") for field in schema.fields}
    return layouts_of(schema, placement, core.types)[PRIMARY]


# -- the body of an entry ------------------------------------------------------------------------------------------


def _msgpack() -> Any:
    """msgpack, as untyped as it is; imported by the first entry."""
    from importlib import import_module

    return import_module("msgpack")


def _packed(ids: Sequence[str], columns: Encoded | None) -> bytes:
    body: dict[str, Any] = {"format": FORMAT, "ids": list(ids)}
    if columns is not None:
        body["columns"] = columns
    return _msgpack().packb(body)


def _encoded(layout: Layout, name: str, column: Sequence[Any]) -> list[Any]:
    code = encoder(layout.by_name[name].field.dtype)
    return list(column) if code is None else [None if value is None else code(value) for value in column]


def _unpacked(backend: Backend, layout: Layout, row: Row) -> Entry:
    body: dict[str, Any] = _msgpack().unpackb(row["body"])
    if body["format"] > FORMAT:
        from heaven_core.errors import FormatTooNew

        raise FormatTooNew(f"the outbox was written by a newer HeavenBase (format {body['format']}); upgrade this one")
    columns: dict[str, list[Any]] | None = body.get("columns")
    if columns is not None:  # a field that was added since is null
        count = len(body["ids"])
        packed = "packed" in backend.capabilities
        columns = {name: _decoded(layout, name, columns.get(name), count, packed) for name in layout.names}
    return Entry(row["lsn"], row["entity"], row["backend"], body["ids"], columns)


def _decoded(layout: Layout, name: str, column: list[Any] | None, count: int, packed: bool) -> list[Any]:
    if column is None:
        return [None] * count
    dtype = layout.by_name[name].field.dtype
    code = None if packed and dtype.kind == "vector" else decoder(dtype)
    return column if code is None else [None if value is None else code(value) for value in column]
