"""Fields that lie in files: the rows hold hashes, the bytes lie in the workspace's folder.

`ExternalBackend` stands before the engine of an entity with such fields: it turns bytes into hashes on the way in
and hashes into bytes on the way out, so neither the engine nor the rest of the kernel knows of files.

Which files may go, and why no writer loses one:

- Files are only ever removed by `collect`, in a transaction of its own that holds the writers' lock, and only those
  that no committed row names.
- A write makes its files first, before it takes the writers' lock where it can. Under the lock, which it then
  keeps until its commit, it looks whether they are still the same files, and puts what is not once more. So a row
  that is committed has its files, however long the write waited, whatever else used the same bytes.
- A reader holds no lock. Where it misses a file, the row may have been replaced since the engine answered and its
  file collected: the engine is asked again, and only a file that is missed each time is lost.
- A deleted or replaced row, a rolled-back transaction and a killed process leave files that no row names. They do
  no harm; `check` reports them and `repair` collects them once they have not been touched for `GRACE_S`. That
  pause spares writes in progress from being reported and disturbed; no committed row depends on it, or on a clock.

Not here: the files themselves (`heaven_core.files`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Backend, Batch, Change, Fetch, Finding, Layout, Limits, Request, Rows, Scan, Written
from heaven_core.codecs import row_maker
from heaven_core.errors import ResultTooLarge, StorageError
from heaven_core.evaluate import Clock, check_bytes, too_many_bytes
from heaven_core.files import Entry, FileStore, Put, Unreadable, is_recent
from heaven_core.placement import PRIMARY
from heaven_core.stored import StoredEntity
from heaven_core.types import Artifact

if TYPE_CHECKING:
    from heaven_core.core import WorkspaceCore

GRACE_S = 600.0
"""How long a file that no row names is left alone: a write in progress may have just put it."""

ATTEMPTS = 5
"""How often an answer is asked for whose files are collected while it is read."""

CHUNK = 5000
"""Files that are collected at once, while writers wait."""

MOST_IDS = 10
"""Ids in the detail of a finding."""

UNBOUNDED = Limits(None, None, None)


class References(list["str | None"]):
    """A column of hashes, with the bytes of those files that were put, and which files these are."""

    __slots__ = ("put",)

    def __init__(self, references: Iterable[str | None], put: Sequence[tuple[Put, bytes]] = ()) -> None:
        super().__init__(references)
        self.put = put


class ExternalBackend:
    """An engine for one entity, some of whose fields lie in files."""

    def __init__(self, inner: Backend, layout: Layout, files: FileStore) -> None:
        self._inner, self._files = inner, files
        self.name, self.type, self.capabilities = inner.name, inner.type, inner.capabilities
        self.fields = tuple(column.name for column in layout.columns if column.strategy == "external")
        """The fields that lie in files."""

    # writing ---------------------------------------------------------------------------------------------------

    def staged(self, layout: Layout, batch: Batch) -> Batch:
        """The batch with hashes for bytes; their files are durable. Takes no lock."""
        made = {name: self._references(layout, name, batch.columns[name]) for name in self.fields}
        return batch._replace(columns={**batch.columns, **made})

    def _references(self, layout: Layout, name: str, column: Sequence[Any]) -> References:
        if isinstance(column, References):
            return column
        present = [value for value in column if value is not None]
        put = list(zip(self._put(layout, name, present), present, strict=True))
        made = iter(put)
        return References([None if value is None else next(made)[0].reference for value in column], put)

    def _put(self, layout: Layout, name: str, values: Sequence[bytes]) -> list[Put]:
        if not values:
            return []
        try:
            return self._files.put_many(values)
        except StorageError as error:
            raise type(error)(f"{layout.entity}.{name}: {error}", entity=layout.entity, field=name) from error

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        staged = self.staged(layout, batch)
        _ = tx.lsn  # the writers' lock: from now to the end of the transaction nobody collects
        for name in self.fields:
            column: Any = staged.columns[name]
            gone = [value for one, value in column.put if self._files.stamp(one.reference) != one.stamp]
            self._put(layout, name, gone)
        return self._inner.write(layout, staged, tx)

    def current(
        self, stored: StoredEntity, object_id: str, values: Mapping[str, Any], tx: Any, *, whole: bool
    ) -> tuple[dict[str, Any] | None, dict[str, References]]:
        """The row that `values` are to change; of files that nobody will look at only what the row calls them.

        In the row, empty bytes stand for those. `whole`: somebody looks at everything.
        """
        rows = self._inner.run(Fetch(stored.layout, (object_id,)), tx)
        if not rows.tuples:
            return None, {}
        computed = [field.compute for field in stored.schema.computed if field.compute is not None]
        inputs = {name for compute in computed for name in compute.inputs}
        old = [name for name in self.fields if name not in values and stored.schema.by_name[name].compute is None]
        read = [name for name in old if whole or name in inputs or not _is_plain(stored, name)]
        try:
            rows = self._filled(stored.layout, rows, read, UNBOUNDED, Clock(UNBOUNDED))
        except Lost as lost:
            raise lost.error() from None
        row = (rows.make or row_maker(rows.names, rows.decoders))(rows.tuples)[0]
        kept = {name: References([row[name]]) for name in old if name not in read and row[name] is not None}
        return {**row, **dict.fromkeys(kept, b"")}, kept

    # reading ---------------------------------------------------------------------------------------------------

    def run(self, request: Request, tx: Any = None) -> Rows:
        if not isinstance(request, (Scan, Fetch)) or (isinstance(request, Scan) and request.group is not None):
            return self._inner.run(request, tx)
        limits = request.limits if isinstance(request, Scan) else UNBOUNDED
        clock = Clock(limits)
        attempts = 0
        while True:
            rows = self._inner.run(request, tx)
            try:
                return self._filled(request.layout, rows, self.fields, limits, clock)
            except Lost as lost:
                attempts += 1
                if lost.problem == "damaged" or attempts == ATTEMPTS:
                    raise lost.error() from None

    def _filled(self, layout: Layout, rows: Rows, fields: Sequence[str], limits: Limits, clock: Clock) -> Rows:
        """The answer with bytes for the hashes of these fields.

        Raises:
            Lost: a file is missing or damaged.
        """
        places = [(rows.names.index(name), name) for name in fields if name in rows.names]
        if not places:
            return rows
        named: dict[str, tuple[str, str]] = {}
        for row in rows.tuples:
            for place, name in places:
                if row[place] is not None:
                    named.setdefault(row[place], (name, row[0]))
        if not named:
            return rows
        self._check_bytes(rows, [place for place, _ in places], limits)
        contents = {one: self._content(layout, one, *where, clock) for one, where in named.items()}
        tuples: list[tuple[Any, ...]] = []
        for row in rows.tuples:
            filled = list(row)
            for place, _ in places:
                filled[place] = None if row[place] is None else contents[row[place]]
            tuples.append(tuple(filled))
        return rows._replace(tuples=tuples)

    def _content(self, layout: Layout, reference: str, field: str, object_id: str, clock: Clock) -> bytes:
        clock.check()
        try:
            return self._files.read(reference)
        except Unreadable as unreadable:
            raise Lost(layout.entity, field, object_id, unreadable.problem) from None
        except StorageError as error:
            where = f"{layout.entity}.{field}, row {object_id!r}"
            raise type(error)(f"{where}: {error}", entity=layout.entity, field=field, object_id=object_id) from error

    def _check_bytes(self, rows: Rows, places: Sequence[int], limits: Limits) -> None:
        """The cap on the bytes of an answer, before the files are read; the engine has counted their names."""
        if limits.max_bytes is None:
            return
        named = [row[place] for row in rows.tuples for place in places if row[place] is not None]
        sizes = {one: self._files.size(one) or 0 for one in set(named)}
        more = sum(sizes[one] - len(one) for one in named)
        try:
            check_bytes(rows.tuples, limits._replace(max_bytes=limits.max_bytes - more))
        except ResultTooLarge:
            raise too_many_bytes(limits) from None

    def references(self, layout: Layout, tx: Any = None) -> Iterator[tuple[str, str, str]]:
        """Every hash in the rows, with its field and the row's id."""
        rows = self._inner.run(Scan(layout, ("object_id", *self.fields), limits=UNBOUNDED), tx)
        for object_id, *found in rows.tuples:
            for name, reference in zip(self.fields, found, strict=True):
                if reference is not None:
                    yield name, object_id, reference

    # the rest of the protocol ----------------------------------------------------------------------------------

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        return self._inner.delete(layout, ids, tx)

    def ddl(self, change: Change, tx: Any) -> None:
        self._inner.ddl(change, tx)

    def estimate(self, request: Scan) -> int | None:
        return self._inner.estimate(request)

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        return self._inner.recover(layouts, repair=repair)

    def close(self) -> None:
        self._inner.close()


class Lost(Exception):  # never leaves this module
    """A file that a row names is missing or damaged."""

    def __init__(self, entity: str, field: str, object_id: str, problem: str) -> None:
        super().__init__(problem)
        self.entity, self.field, self.object_id, self.problem = entity, field, object_id, problem

    def error(self) -> StorageError:
        """What users see."""
        return StorageError(
            f"{self.entity}.{self.field}, row {self.object_id!r}: its file is {self.problem}; "
            "restore the workspace's folder of files from a backup, or write the value again",
            entity=self.entity,
            field=self.field,
            object_id=self.object_id,
        )


def _is_plain(stored: StoredEntity, name: str) -> bool:
    """Whether the type takes any bytes, and so the empty ones that stand for others."""
    return type(stored.schema.by_name[name].dtype) is Artifact


# -- care ----------------------------------------------------------------------------------------------------------


def check(files: FileStore, entities: Sequence[StoredEntity], found: Sequence[Finding]) -> Iterator[Finding]:
    """What is wrong with the files, each of which is read; `found` is what is wrong with the rows."""
    entries = list(files.entries())  # before the rows: a file that is put meanwhile is not among them
    broken = {one.entity for one in found if not one.repairable}
    problems: dict[str, str | None] = {}
    for one in entities:
        if one.external is not None and not broken & {None, one.schema.id}:
            yield from _lost(files, one, one.external, problems)
    if broken:
        return
    unused = _unused(entries, problems)
    if unused:
        size = sum(entry.size for entry in unused)
        yield Finding(PRIMARY, None, "orphaned-file", f"{len(unused)} that no row names, {size} bytes", True)
    if abandoned := files.abandoned(dry=True):
        yield Finding(PRIMARY, None, "orphaned-folder", f"{abandoned} of processes that were killed", True)


def _lost(
    files: FileStore, stored: StoredEntity, external: ExternalBackend, problems: dict[str, str | None]
) -> Iterator[Finding]:
    """The rows whose files are missing or damaged, by field."""
    suspects: list[tuple[str, str, str]] = []
    for field, object_id, reference in external.references(stored.layout):
        if reference not in problems:
            problems[reference] = files.problem(reference)
        if problems[reference] is not None:
            suspects.append((field, object_id, reference))
    if not suspects:
        return
    still = set(external.references(stored.layout))  # one may have been replaced, and its file collected
    lost: dict[tuple[str, str], list[str]] = {}
    for field, object_id, reference in sorted(still.intersection(suspects)):
        lost.setdefault((f"{problems[reference]}-file", field), []).append(object_id)
    for (kind, field), ids in lost.items():
        shown = ", ".join(ids[:MOST_IDS]) + (", ..." if len(ids) > MOST_IDS else "")
        yield Finding(PRIMARY, stored.schema.id, kind, f"{field} of {len(ids)} rows: {shown}", False)


def collect(core: WorkspaceCore, files: FileStore, found: Sequence[Finding]) -> None:
    """Remove the files that no row names, a part at a time under the writers' lock.

    None where rows cannot be read, as `found` says: they may name any.
    """
    if not all(one.repairable for one in found):
        return
    files.abandoned(dry=False)
    entries = list(files.entries())
    named = _named(core, None)
    unused = [] if named is None else _unused(entries, named)
    for start in range(0, len(unused), CHUNK):
        tx = core.primary.begin(exclusive=True)
        try:
            core.catch_up(tx)
            named = _named(core, tx)
            if named is not None:
                _remove(files, unused[start : start + CHUNK], named)
        finally:
            tx.rollback()


def _named(core: WorkspaceCore, tx: Any) -> set[str] | None:
    """The hashes that rows hold; None where an entity cannot be used, whose rows might hold others."""
    usable, errors = core.usable_stored()
    found: set[str] = set()
    for one in usable:
        if one.external is not None:
            found.update(reference for _, _, reference in one.external.references(one.layout, tx))
    return None if errors else found


def _unused(entries: Sequence[Entry], named: Collection[str]) -> list[Entry]:
    return [one for one in entries if one.reference not in named and not is_recent(one.changed, GRACE_S)]


def _remove(files: FileStore, unused: Sequence[Entry], named: Collection[str]) -> None:
    """Remove those that are still unused: somebody may have put the same bytes again."""
    for entry in unused:
        changed = files.changed(entry)
        if changed is not None and entry.reference not in named and not is_recent(changed, GRACE_S):
            files.remove(entry)
