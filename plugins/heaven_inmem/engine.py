"""The memory engine: rows as dicts, replaced whole and never changed, so readers need no lock.

A transaction keeps its writes in an overlay that only it sees; commit applies the
overlay at once. Writers are serialised by one lock, taken with the LSN.

Not here: evaluation of a scan (`heaven_core.evaluate`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core.backend import (
    BackendConfig,
    Batch,
    Change,
    Fetch,
    Finding,
    Layout,
    Limits,
    Locate,
    Request,
    Rows,
    Scan,
    Written,
)
from heaven_core.errors import (
    BackendBusy,
    ConfigError,
    TransactionError,
    UniqueViolation,
    WorkspaceClosed,
    did_you_mean,
    read_before,
)
from heaven_core.evaluate import Clock, answer, order_rows, row_test, scan, select
from heaven_core.handlers import AllOf, QueryFragment, Where
from heaven_core.narrow import is_dict, is_list
from heaven_core.schema import FieldSchema
from heaven_core.types import copied, is_same
from heaven_inmem.indexes import EqualityIndex, SuffixList, TrigramSets

if TYPE_CHECKING:
    from heaven_core.matrix import Matrix

Row = dict[str, Any]
LOCK_WAIT_S = 30.0


class Table:
    """One entity: its rows by id, and the indexes that its layout asks for."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.rows: dict[str, Row] = {}
        self.version = 0
        self.matrices: dict[tuple[str, int], tuple[int, Vectors]] = {}
        self.indexes: dict[str, EqualityIndex] = {}
        self.suffixes: dict[str, SuffixList] = {}
        self.trigrams: dict[str, TrigramSets] = {}
        self.reindex()

    def reindex(self) -> None:
        """Build every index anew from the rows."""
        scalar = [column for column in self.layout.columns if column.field.index or column.field.unique]
        self.indexes = {column.name: EqualityIndex() for column in scalar}
        self.suffixes = {
            column.name: SuffixList() for column in self.layout.columns if "suffix-index" in column.indexes
        }
        self.trigrams = {
            column.name: TrigramSets() for column in self.layout.columns if "trigram-index" in column.indexes
        }
        for row in self.rows.values():
            self._note(row)

    def put(self, row: Row) -> None:
        """Insert or replace a row."""
        self.drop(row["object_id"])
        self.rows[row["object_id"]] = row
        self._note(row)
        self.version += 1

    def drop(self, object_id: str) -> None:
        """Remove a row if it is there."""
        row = self.rows.pop(object_id, None)
        if row is None:
            return
        for name, index in self._every_index():
            if row[name] is not None:
                index.remove(row[name], object_id)
        self.version += 1

    def _note(self, row: Row) -> None:
        for name, index in self._every_index():
            if row.get(name) is not None:
                index.add(row[name], row["object_id"])

    def _every_index(self) -> Iterator[tuple[str, EqualityIndex | SuffixList | TrigramSets]]:
        yield from self.indexes.items()
        yield from self.suffixes.items()
        yield from self.trigrams.items()

    def vectors(self, name: str, dim: int) -> Vectors:
        """A field's vectors of `dim` numbers, made once per version."""
        from heaven_core.matrix import matrix_of

        version = self.version
        kept = self.matrices.get((name, dim))
        if kept is not None and kept[0] == version:
            return kept[1]
        ids = sorted(object_id for object_id, row in list(self.rows.items()) if len(row.get(name) or ()) == dim)
        positions = {object_id: position for position, object_id in enumerate(ids)}
        vectors = Vectors(matrix_of([self.rows[one][name] for one in ids]), ids, positions)
        self.matrices[name, dim] = (version, vectors)
        return vectors


class Vectors(NamedTuple):
    """A matrix, whose rows are in the order of their ids, so that ties are too."""

    matrix: Matrix
    ids: list[str]
    positions: dict[str, int]


class MemoryTransaction:
    """An overlay of changes: per entity, id -> new row, or None for deleted."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self._lsn = 0
        self._read: int | None = None
        self.changes: dict[str, dict[str, Row | None]] = {}
        self.undo: list[Callable[[], None]] = []
        self._bumps = 0
        self._open = True

    @property
    def locked(self) -> bool:
        return self._lsn > 0

    @property
    def lsn(self) -> int:
        if not self._open:
            raise TransactionError("this transaction has ended")
        if not self._lsn:
            self._backend.take_writer()
            if self._read not in (None, self._backend.last_lsn):
                self._backend.release_writer()
                raise read_before(self._backend.name)
            self._lsn = self._backend.last_lsn + 1
        return self._lsn

    def note_read(self) -> None:
        """Remember as of which commit the transaction reads: what it then writes may depend on that."""
        if self._read is None:
            self._read = self._backend.last_lsn

    @property
    def epoch(self) -> int:
        return self._backend.epoch + self._bumps

    def bump_epoch(self) -> None:
        _ = self.lsn
        self._bumps += 1

    def commit(self) -> None:
        if self._open and self._lsn:
            self._backend.apply(self.changes, self._lsn, self._bumps)
        self._end()

    def rollback(self) -> None:
        if self._open:
            for undo in reversed(self.undo):
                undo()
        self._end()

    def _end(self) -> None:
        if self._open and self._lsn:
            self._backend.release_writer()
        self._open = False


class MemoryBackend:
    """All entities of one workspace in this process's memory."""

    capabilities = frozenset({"primary", "transactions", "vectors", "fulltext"})

    def __init__(self, config: BackendConfig) -> None:
        if config.options:
            word = min(map(str, config.options))
            raise ConfigError(
                f"backend {config.name!r} of type inmem takes no option {word!r}; {did_you_mean(word, ())}"
            )
        self.name, self.type = config.name, "inmem"
        self.tables: dict[str, Table] = {}
        self._closed = False
        self.last_lsn = 0
        self.epoch = 0
        self._writer = threading.Lock()
        self._data = threading.RLock()

    # transactions ----------------------------------------------------------------------------------------------

    def begin(self, *, exclusive: bool = False) -> MemoryTransaction:
        tx = MemoryTransaction(self)
        if exclusive:
            _ = tx.lsn
        return tx

    def take_writer(self) -> None:
        """Wait for the writers' lock."""
        if not self._writer.acquire(timeout=LOCK_WAIT_S):
            raise BackendBusy(f"backend {self.name!r}: another transaction has been writing for {LOCK_WAIT_S:.0f} s")

    def release_writer(self) -> None:
        """Let the next writer in."""
        self._writer.release()

    def _table(self, layout: Layout) -> Table:
        try:
            return self.tables[layout.entity]
        except KeyError:
            raise self._gone() from None

    def _gone(self) -> WorkspaceClosed:
        return WorkspaceClosed(f"backend {self.name!r}: the workspace was closed while this was going on")

    def apply(self, changes: dict[str, dict[str, Row | None]], lsn: int, bumps: int) -> None:
        """Make a transaction's overlay visible, all at once."""
        with self._data:
            if self._closed:
                raise self._gone()
            for entity, rows in changes.items():
                table = self.tables.get(entity)
                if table is None:
                    continue
                for object_id, row in rows.items():
                    if row is None:
                        table.drop(object_id)
                    else:
                        table.put(row)
            self.last_lsn = lsn
            self.epoch += bumps

    # schema ----------------------------------------------------------------------------------------------------

    def ddl(self, change: Change, tx: MemoryTransaction) -> None:
        layout = change.after or change.before
        assert layout is not None
        before = self.tables.get(layout.entity)
        with self._data:
            if change.after is None:
                self.tables.pop(layout.entity, None)
            else:
                table = Table(change.after)
                if before is not None:
                    defaults = {column.name: None for column in change.after.columns}
                    table.rows = {key: {**defaults, **row} for key, row in before.rows.items()}
                    table.reindex()
                self.tables[layout.entity] = table
        tx.undo.append(lambda: self._put_back(layout.entity, before))

    def _put_back(self, entity: str, before: Table | None) -> None:
        with self._data:
            if before is None:
                self.tables.pop(entity, None)
            else:
                self.tables[entity] = before

    # writes ----------------------------------------------------------------------------------------------------

    def write(self, layout: Layout, batch: Batch, tx: MemoryTransaction) -> Written:
        lsn = tx.lsn
        table = self._table(layout)
        overlay = tx.changes.setdefault(layout.entity, {})
        names = layout.names
        inserted: list[int] = []
        updated: list[int] = []
        made: dict[str, Row] = {}
        columns = [_kept(column.field, batch.columns[column.name]) for column in layout.columns]
        for position, values in enumerate(zip(*columns, strict=True)):
            row: Row = dict(zip(names, values, strict=True))
            object_id = row["object_id"]
            before = overlay[object_id] if object_id in overlay else table.rows.get(object_id)
            if before is not None and all(is_same(before[name], row[name]) for name in names):
                continue
            (inserted if before is None else updated).append(position)
            row["_v"] = lsn
            made[object_id] = row
        self._check_unique(table, overlay, batch)
        overlay.update(made)
        return Written(inserted, updated, len(batch.ids) - len(inserted) - len(updated))

    def _check_unique(self, table: Table, overlay: dict[str, Row | None], batch: Batch) -> None:
        """Row by row, as the error names the first row whose value a stored row or an earlier one has."""
        written = set(batch.ids)
        for column in table.layout.columns:
            if not column.field.unique:
                continue
            name = column.name
            index = table.indexes[name]
            taken = {row[name] for one, row in overlay.items() if row is not None and one not in written}
            for position, value in enumerate(batch.columns[name]):
                if value is None:
                    continue
                if value in taken or any(one not in overlay and one not in written for one in index.find(value)):
                    raise UniqueViolation.at(
                        table.layout.entity, name, position, value, "is taken by another row; the field is unique"
                    )
                taken.add(value)

    def delete(self, layout: Layout, ids: Sequence[str], tx: MemoryTransaction) -> list[str]:
        _ = tx.lsn
        table = self._table(layout)
        overlay = tx.changes.setdefault(layout.entity, {})
        gone: list[str] = []
        for object_id in ids:
            present = overlay[object_id] is not None if object_id in overlay else object_id in table.rows
            if present:
                overlay[object_id] = None
                gone.append(object_id)
        return gone

    # reads -----------------------------------------------------------------------------------------------------

    def run(self, request: Request, tx: MemoryTransaction | None = None) -> Rows:
        if tx is not None:
            tx.note_read()
        if isinstance(request, Locate):
            return self._located(request, tx)
        if isinstance(request, Fetch):
            return self._fetched(request, tx)
        table = self._table(request.layout)
        overlay = None if tx is None else tx.changes.get(request.layout.entity)
        if overlay:
            return scan(request, _merged(table, overlay), everything=lambda: _merged(table, overlay))
        if request.near is not None and request.group is None:
            return self._nearest(request, table)
        return scan(request, self._candidates(table, request.where), everything=lambda: self._all(table))

    def _all(self, table: Table) -> list[Row]:
        with self._data:
            return list(table.rows.values())

    def _candidates(self, table: Table, where: Where | None) -> list[Row]:
        """Rows that may match: through an index where the condition offers one, else all."""
        with self._data:
            ids = _through_index(table, where)
            if ids is None:
                return list(table.rows.values())
            return [table.rows[one] for one in ids if one in table.rows]

    def _nearest(self, request: Scan, table: Table) -> Rows:
        near = request.near
        assert near is not None
        with self._data:
            matrix, ids, positions = table.vectors(near.field.name, len(near.query))
        within: list[int] | None = None
        if request.where is not None:
            found = select(self._candidates(table, request.where), row_test(request.where), Clock(request.limits))
            within = sorted(positions[row["object_id"]] for row in found if row["object_id"] in positions)
        pairs = matrix.nearest(near.query, near.top_k, near.metric, within)
        with self._data:
            rows = [(table.rows.get(ids[position]), distance) for position, distance in pairs]
        kept = [(row, distance) for row, distance in rows if row is not None]
        if request.order:
            kept = order_rows(
                sorted(kept, key=lambda pair: pair[0]["object_id"]), request.order, lambda pair, key: pair[0][key]
            )
        return answer(request, [row for row, _ in kept], [distance for _, distance in kept])

    def _fetched(self, request: Fetch, tx: MemoryTransaction | None) -> Rows:
        table = self._table(request.layout)
        overlay = {} if tx is None else tx.changes.get(request.layout.entity, {})
        rows = (overlay[one] if one in overlay else table.rows.get(one) for one in request.ids)
        whole = Scan(request.layout, request.layout.names, limits=Limits(None, None, None))
        return answer(whole, [row for row in rows if row is not None], None)

    def _located(self, request: Locate, tx: MemoryTransaction | None) -> Rows:
        found: list[tuple[Any, ...]] = []
        for layout in request.layouts:
            overlay = {} if tx is None else tx.changes.get(layout.entity, {})
            table = self._table(layout)
            row = overlay[request.object_id] if request.object_id in overlay else table.rows.get(request.object_id)
            if row is not None:
                found.append((layout.entity, request.object_id))
        return Rows(("entity", "object_id"), (None, None), found)

    def versions(self, layout: Layout, ids: Sequence[str], tx: MemoryTransaction | None = None) -> list[int | None]:
        if tx is not None:
            tx.note_read()
        table = self._table(layout)
        overlay = {} if tx is None else tx.changes.get(layout.entity, {})
        rows = [overlay[one] if one in overlay else table.rows.get(one) for one in ids]
        return [None if row is None else row["_v"] for row in rows]

    def scan(self, layout: Layout, *, batch_rows: int = 1000) -> Iterator[list[str]]:
        with self._data:
            ids = sorted(self._table(layout).rows)
        for start in range(0, len(ids), batch_rows):
            yield ids[start : start + batch_rows]

    def estimate(self, request: Scan) -> int | None:
        table = self._table(request.layout)
        with self._data:
            ids = _through_index(table, request.where)
        return len(table.rows) if ids is None else len(ids)

    # care ------------------------------------------------------------------------------------------------------

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        findings: list[Finding] = []
        with self._data:
            for layout in layouts:
                table = self.tables.get(layout.entity)
                if table is None:
                    findings.append(
                        Finding(self.name, layout.entity, "missing-table", "the entity's rows are gone", False)
                    )
                elif stale := _stale_indexes(table):
                    findings.append(Finding(self.name, layout.entity, "stale-index", ", ".join(stale), True))
                    if repair:
                        table.reindex()
        return findings

    def close(self) -> None:
        with self._data:
            self.tables, self._closed = {}, True

    def destroy(self) -> None:
        self.close()


def _kept(field: FieldSchema, column: Sequence[Any]) -> Sequence[Any]:
    """The column without objects that the caller may go on changing; the keys of JSON in order, as everywhere."""
    if field.dtype.kind == "json":
        return [_in_order(value) for value in column]
    return [copied(value) for value in column] if field.dtype.kind in {"array", "vector"} else column


def _in_order(value: Any) -> Any:
    if is_dict(value):
        return {key: _in_order(value[key]) for key in sorted(value)}
    return list(map(_in_order, value)) if is_list(value) else value


def _merged(table: Table, overlay: dict[str, Row | None]) -> Iterable[Row]:
    rows = {**table.rows, **overlay}
    return [row for row in rows.values() if row is not None]


def _through_index(table: Table, where: Where | None) -> list[str] | None:
    """Ids that an index gives for the condition or a part of it that must hold; None if none helps."""
    if isinstance(where, AllOf):
        for part in where.parts:
            found = _through_index(table, part)
            if found is not None:
                return found
        return None
    if not isinstance(where, QueryFragment) or where.access is None:
        return None
    op, name, value = where.access
    if op == "ends_with":
        return table.suffixes[name].find(value) if name in table.suffixes else None
    if op in {"contains", "like"}:
        return table.trigrams[name].find(value) if name in table.trigrams else None
    if name == "object_id":
        return [value] if op == "eq" else [one for one in dict.fromkeys(value) if one is not None]
    if name not in table.indexes or value is None or (op == "in" and None in value):
        return None
    values = [value] if op == "eq" else list(dict.fromkeys(value))
    return [one for wanted in values for one in sorted(table.indexes[name].find(wanted))]


def _stale_indexes(table: Table) -> list[str]:
    fresh = Table(table.layout)
    fresh.rows = table.rows
    fresh.reindex()
    kinds = ((table.indexes, fresh.indexes), (table.suffixes, fresh.suffixes), (table.trigrams, fresh.trigrams))
    return [name for now, wanted in kinds for name, index in now.items() if index.entries() != wanted[name].entries()]
