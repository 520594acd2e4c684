"""Reading and writing: the methods that a workspace and a transaction share.

A workspace opens a transaction per write; a transaction is one. Everything else
is the same code, so both have the same methods with the same meaning.

Not here: opening and closing (`heaven_core.workspace`), shared state
(`heaven_core.core`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Batch, Fetch, Limits, Locate, Scan
from heaven_core.batch import frozen_columns, is_stream, make_batch, mappings
from heaven_core.errors import (
    AmbiguousId,
    ComputeError,
    InvalidType,
    InvalidValue,
    NotFound,
    QueryError,
    SchemaConflict,
    SchemaError,
    TransactionError,
    UnknownField,
    a_kind,
    shown,
)
from heaven_core.handlers import IdSet
from heaven_core.narrow import is_mapping, iterator
from heaven_core.stored import StoredEntity
from heaven_core.types import Identifier, Refused

if TYPE_CHECKING:
    from heaven_core.core import WorkspaceCore
    from heaven_core.entity import Entity
    from heaven_core.explain import Explanation
    from heaven_core.frame import ResultFrame
    from heaven_core.hooks import Changed
    from heaven_core.query import Query
    from heaven_core.schema import EntitySchema, FieldSchema

_KEY = Identifier()
_run: Any = None
_Query: Any = None


class Writer:
    """One write in progress: the primary's transaction, and what it has changed so far."""

    __slots__ = ("changes", "core", "ended", "torn", "tx", "writes")

    def __init__(self, core: WorkspaceCore, tx: Any) -> None:
        self.core, self.tx = core, tx
        self.changes: list[Changed] = []
        self.ended = False
        self.writes = 0
        self.torn = False
        """Whether some parts of a stream were written, and the rest was not."""

    def lock(self) -> None:
        """Take the writers' lock and the LSN; learn of schema changes by other processes."""
        _ = self.tx.lsn
        self.core.catch_up(self.tx)

    def note(
        self, entity: StoredEntity, inserted: Sequence[str], updated: Sequence[str], deleted: Sequence[str]
    ) -> None:
        """Remember a change for observers."""
        hooks = self.core.hooks
        if hooks is not None and hooks.observes and entity.schema.observed and (inserted or updated or deleted):
            from heaven_core.hooks import Changed  # whoever has hooks has imported them

            self.changes.append(Changed(entity.schema.id, tuple(inserted), tuple(updated), tuple(deleted)))


class Access(ABC):
    """What a workspace and a transaction can both do. Any thread may use a workspace; a transaction belongs to one."""

    @abstractmethod
    def core(self) -> WorkspaceCore:
        """The shared state; raises if this handle cannot be used any more."""

    @abstractmethod
    def _reading(self) -> Any:
        """The transaction to read in, or None to read what is committed."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Writer]:
        """A write, committed at the end unless a transaction is around it."""

    # writing -----------------------------------------------------------------------------------------------------

    def upsert(self, entity: Any, row: Mapping[str, Any] | Entity) -> str:
        """Insert a row or replace it whole: absent fields take their default or null. Returns its id.

        Raises:
            UnknownEntity, UnknownField, InvalidType, InvalidValue, UniqueViolation: nothing is written.
        """
        return self._put(entity, [row]).ids[0]

    def upsert_many(self, entity: Any, rows: Any, *, progress: Callable[[int], Any] | None = None) -> list[str]:
        """Insert or replace rows, all or none; the ids in the order of the rows.

        `rows` are mappings, instances of the entity, of attrs or of dataclasses, in anything that goes through them;
        or a table of pyarrow, pandas or polars, which needs the extra `arrow`.

        What has no length (a generator, a reader of record batches, an iterator of tables) is taken and written a
        part at a time, so only the ids of all rows are in memory at once. `progress` is called with the rows so far
        after each part.

        A row that equals the stored one isn't written and keeps its version.

        Raises:
            UnknownEntity, UnknownField, InvalidType, InvalidValue, DuplicateId, UniqueViolation: naming entity,
                field, row and value; nothing of the batch is written.
        """
        if is_stream(rows):
            from heaven_core.parts import stream_parts

            ids: list[str] = []
            schema = self._writable(entity).schema
            self._put_parts(entity, schema, stream_parts(schema, rows), progress, ids.extend)
            return ids
        batch = self._put(entity, rows)
        if progress is not None and batch.ids:
            progress(len(batch.ids))
        return list(batch.ids)

    def _put(self, entity: Any, rows: Any) -> Batch:
        """Write rows that are there, in one batch."""
        stored = self._writable(entity)
        if entity is not stored.cls and isinstance(entity, type):
            _check_complete(entity, stored)
        given = mappings(stored.schema, rows)
        batch = make_batch(stored.schema, given)
        if not batch.ids:
            return batch
        with self._writing() as writer:
            self._veto(stored, "upsert", batch.ids, batch.columns)
            batch = stored.staged(batch)
            writer.lock()
            current = self._writable(entity)
            if current.schema is not stored.schema:
                stored, batch = current, make_batch(current.schema, given)
            self._write(writer, stored, batch)
        return batch

    def _put_parts(
        self,
        entity: Any,
        schema: EntitySchema,
        parts: Iterator[Sequence[Any]],
        progress: Callable[[int], Any] | None,
        keep: Callable[[Sequence[str]], Any] | None = None,
    ) -> int:
        """Write rows that come in parts, all or none; how many they are. `keep` is given the ids of each part."""
        from heaven_core.parts import Ids, further

        total, known = 0, Ids(schema.id)
        part = next(parts, None)  # before there is a transaction: whoever makes the rows may write, too
        with self._together() as tx:
            while part is not None:
                try:
                    batch = tx._put(entity, part)
                except (InvalidValue, UnknownField, ComputeError) as error:
                    if not total:
                        raise
                    raise further(error, total) from error.__cause__  # it is the same one, with another number
                known.add(batch, total)
                total += len(batch.ids)
                if keep is not None:
                    keep(batch.ids)
                if progress is not None:
                    progress(total)
                part = next(parts, None)
        return total

    def _write(self, writer: Writer, stored: StoredEntity, batch: Batch) -> None:
        written = stored.backend.write(stored.layout, batch, writer.tx)
        writer.writes += 1
        if writer.core.hooks is not None and writer.core.hooks.observes:
            ids = batch.ids
            writer.note(stored, [ids[one] for one in written.inserted], [ids[one] for one in written.updated], ())

    def load(
        self, entity: Any, path: Any, *, format: str | None = None, progress: Callable[[int], Any] | None = None
    ) -> int:
        """Insert or replace the rows of a file, all or none; how many they are.

        The format is that of the ending unless it is said: ``parquet``, ``csv`` or ``jsonl``. The file is read a
        part at a time; `progress` is called with the rows so far after each.

        Raises:
            ConfigError: no such format.
            StorageError: the file cannot be read.
            EngineNotInstalled: Parquet and CSV need the extra `arrow`.
            UnknownEntity, UnknownField, InvalidType, InvalidValue, DuplicateId, UniqueViolation: as `upsert_many`, the
                row being that of the file.
        """
        from heaven_core.load import file_parts

        schema = self._stored(entity).schema
        return self._put_parts(entity, schema, file_parts(path, schema, format), progress)

    @abstractmethod
    def _together(self) -> AbstractContextManager[Access]:
        """What several writes are made through, so that they are one: where one of them fails, none is committed."""

    def set(self, object_id: str, values: Mapping[str, Any], entity: Any = None) -> str:
        """Change only the named fields of a row; computed ones follow. Returns the id.

        Raises:
            NotFound: no row has this id.
            AmbiguousId: no entity was given and more than one has it.
        """
        _check_id(object_id)
        if not is_mapping(values):
            raise SchemaError(f"set takes a mapping of fields to values, not {a_kind(values)}")
        with self._writing() as writer:
            writer.lock()
            stored = self._holder(object_id, None, writer.tx) if entity is None else self._writable(entity)
            row, kept = self._current(stored, object_id, values, writer.tx)
            if stored is None or row is None:
                raise NotFound(f"no row has the id {shown(object_id)}{_inside(entity)}", object_id=object_id)
            self._check_writable(stored)
            merged = {key: value for key, value in row.items() if stored.schema.by_name[key].compute is None}
            batch = _changed(stored, merged, values, object_id)
            self._veto(stored, "upsert", batch.ids, batch.columns)
            self._write(writer, stored, batch._replace(columns={**batch.columns, **kept}) if kept else batch)
        return object_id

    def _current(
        self, stored: StoredEntity | None, object_id: str, values: Mapping[str, Any], tx: Any
    ) -> tuple[dict[str, Any] | None, Mapping[str, Any]]:
        """The row that is to change, and the columns that are written as they lie there: files that nobody reads."""
        if stored is None or stored.external is None:
            return None if stored is None else _one(stored, object_id, tx), {}
        hooks = self.core().hooks
        return stored.external.current(stored, object_id, values, tx, whole=hooks is not None and bool(hooks.vetoes))

    def delete(self, object_id: str, entity: Any = None) -> bool:
        """Delete a row; whether it was there.

        Raises:
            AmbiguousId: no entity was given and more than one has the id.
        """
        return self.delete_many([object_id], entity) == 1

    def delete_many(self, ids: Iterable[str], entity: Any = None) -> int:
        """Delete rows; how many were there. Absent ids are ignored."""
        wanted = list(dict.fromkeys(_check_ids(ids)))
        if not wanted:
            return 0
        with self._writing() as writer:
            writer.lock()
            if entity is not None:
                return self._delete(writer, self._writable(entity), wanted)
            groups = self._held(wanted, writer.tx)
            return sum(self._delete(writer, self._writable(name), found) for name, found in groups.items())

    def _held(self, ids: Sequence[str], tx: Any) -> dict[str, list[str]]:
        """The ids of rows by the entity that has them; absent ones are left out."""
        usable, errors = self.core().usable_stored()
        layouts = [one.layout for one in usable if one.derive is None]
        groups: dict[str, list[str]] = {}
        if len(ids) <= len(layouts) or errors:
            for one in ids:
                holder = self._holder(one, None, tx)
                if holder is not None:
                    groups.setdefault(holder.schema.id, []).append(one)
            return groups
        seen: set[str] = set()
        for layout in layouts:
            scan = Scan(layout, ("object_id",), where=IdSet(ids), limits=Limits(None, None, None))
            found = [one for (one,) in self.core().primary.run(scan, tx).tuples]
            if twice := seen.intersection(found):
                self._holder(min(twice), None, tx)  # which raises
            seen.update(found)
            groups[layout.entity] = found
        return {name: found for name, found in groups.items() if found}

    def _delete(self, writer: Writer, stored: StoredEntity, ids: list[str]) -> int:
        self._veto(stored, "delete", ids, None)
        gone = stored.backend.delete(stored.layout, ids, writer.tx)
        writer.note(stored, (), (), gone)
        return len(gone)

    def _veto(self, stored: StoredEntity, kind: str, ids: Sequence[str], columns: Any) -> None:
        hooks = self.core().hooks
        if hooks is not None and hooks.vetoes:
            from heaven_core.hooks import Write

            shown_columns = None if columns is None else frozen_columns(stored.schema, columns)
            hooks.before_write(Write(self.core().id, stored.schema.id, kind, tuple(ids), shown_columns))

    # reading -----------------------------------------------------------------------------------------------------

    def get(self, object_id: str, entity: Any = None) -> dict[str, Any] | None:
        """The row with this id as a dict of `object_id`, `name` and all fields, or None.

        Raises:
            AmbiguousId: no entity was given and more than one has the id.
        """
        if entity is None:
            stored = self._holder(_check_id(object_id), None, self._reading())
            return None if stored is None else _one(stored, object_id, self._reading())
        if type(object_id) is not str or not object_id.isascii():
            object_id = _check_id(object_id)
        stored = self._stored(entity)
        if stored.derive is not None:
            return self._derived_rows(stored, [object_id]).get(object_id)
        rows = stored.backend.run(Fetch(stored.layout, (object_id,)), self._reading())
        if not rows.tuples:
            _check_id(object_id)
            return None
        return rows.make(rows.tuples)[0] if rows.make is not None else _dicts(rows)[0]

    def get_many(self, ids: Iterable[str], entity: Any = None) -> list[dict[str, Any] | None]:
        """The rows with these ids in the order of the ids, None for absent ones."""
        wanted = _check_ids(ids)
        if entity is None:
            return [self.get(one) for one in wanted]
        stored = self._stored(entity)
        if stored.derive is not None:
            found = self._derived_rows(stored, wanted)
        else:
            rows = stored.backend.run(Fetch(stored.layout, list(dict.fromkeys(wanted))), self._reading())
            found = {row["object_id"]: row for row in _dicts(rows)}
        return [dict(found[one]) if one in found else None for one in wanted]

    def _derived_rows(self, stored: StoredEntity, ids: list[str]) -> dict[str, dict[str, Any]]:
        from heaven_core.query import Query

        frame = Query(self, stored.schema).where({"object_id": {"$in": ids}}).execute()
        return {row["object_id"]: row for row in frame.rows()}

    def exists(self, object_id: str, entity: Any = None) -> bool:
        """Whether a row has this id."""
        return self._holder(_check_id(object_id), entity, self._reading()) is not None

    def version(self, object_id: str, entity: Any = None) -> int | None:
        """The number of the write that last changed the row (they grow with each commit), or None."""
        stored = self._holder(_check_id(object_id), entity, self._reading())
        return None if stored is None or stored.derive is not None else self.versions(stored.schema.id, [object_id])[0]

    def versions(self, entity: Any, ids: Sequence[str]) -> list[int | None]:
        """The version of each row, None for absent ones."""
        wanted = _check_ids(ids)
        stored = self._stored(entity)
        if stored.derive is not None:
            return [None] * len(wanted)
        return self.core().primary.versions(stored.layout, wanted, self._reading())

    def ids(self, entity: Any) -> list[str]:
        """The ids of all rows of the entity, in order."""
        return self.query(entity).select("object_id").order_by("object_id").limits(max_rows=None).execute().ids

    def count(self, entity: Any, filter: Any = None) -> int:  # the word of the JSON spec
        """How many rows the entity has, or how many satisfy the filter."""
        query = self.query(entity)
        return (query if filter is None else query.where(filter)).count()

    def entity(self, identifier: Any) -> type[Entity]:
        """The class of an entity: the registered one, or one generated from the stored schema.

        Raises:
            UnknownEntity: the workspace has no such entity.
        """
        return self._stored(identifier).cls

    def query(self, entity: Any) -> Query:
        """A query over the rows of an entity."""
        global _Query  # as `_run`
        if _Query is None:
            from heaven_core.query import Query as _Query
        query: Query = _Query(self, self._stored(entity).schema)
        query.limits_ = self.core().limits
        return query

    def query_json(self, entity: Any, spec: Mapping[str, Any]) -> Query:
        """The query that a JSON spec says.

        Raises:
            QueryError: with the nearest right word for unknown keys, fields and operations.
        """
        from heaven_core.query import from_json

        return from_json(self.query(entity), spec)

    def explain(self, query: Query, *, analyze: bool = False) -> Explanation:
        """How a query is answered; with `analyze`, with times and rows. The same as `query.explain()`."""
        from heaven_core.plan import explain
        from heaven_core.query import Query

        if not isinstance(query, Query):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may not type-check
            raise QueryError(f"explain takes a query such as ws.query(Doc).where(...), not {a_kind(query)}")
        return explain(self.core().stored(query.schema.id), query, self._reading(), analyze=analyze)

    def run_query(self, query: Query) -> ResultFrame:
        """The answer to a query of this handle."""
        global _run  # the planner is imported once, by the first query
        if _run is None:
            from heaven_core.plan import run as _run
        return _run(self.core().stored(query.schema.id), query, self._reading())

    # finding -----------------------------------------------------------------------------------------------------

    def _stored(self, entity: Any) -> StoredEntity:
        """The entity: by its class as that knows it, by its id as it is now, whatever another process has added."""
        core = self.core()
        if isinstance(entity, str):
            core.reread()
        return core.stored(entity)

    def _writable(self, entity: Any) -> StoredEntity:
        stored = self._stored(entity)
        self._check_writable(stored)
        return stored

    @staticmethod
    def _check_writable(stored: StoredEntity) -> None:
        if stored.derive is not None:
            raise SchemaError(f"entity {stored.schema.id!r} is derived from others and cannot be written")
        if stored.failure is not None:
            raise SchemaError(f"entity {stored.schema.id!r} cannot be written: {stored.failure}")

    def _holder(self, object_id: str, entity: Any, tx: Any) -> StoredEntity | None:
        """The entity that has a row of this id."""
        core = self.core()
        if entity is not None:
            stored = self._stored(entity)
            if stored.derive is not None:
                return stored if self._derived_rows(stored, [object_id]) else None
            found = stored.backend.run(Locate([stored.layout], object_id), tx).tuples
            return stored if found else None
        usable, errors = core.usable_stored()
        layouts = [one.layout for one in usable if one.derive is None]
        found = core.primary.run(Locate(layouts, object_id), tx).tuples
        if len(found) > 1:
            names = ", ".join(sorted(name for name, _ in found))
            raise AmbiguousId(f"the id {object_id!r} is in several entities ({names}); name one", object_id=object_id)
        if not found and errors:  # it may be one of theirs
            raise next(iter(errors.values()))
        return core.stored(found[0][0]) if found else None


def _check_complete(cls: Any, stored: StoredEntity) -> None:
    """Refuse whole rows by a class that would make other ones than what is registered.

    It would empty the fields that it does not know, or fill others in its own way.
    """
    if cls.schema() == stored.schema:
        return
    lacking = [name for name in stored.schema.names if name not in cls.schema().by_name]
    if lacking:
        raise SchemaConflict(
            f"class {cls.__name__} is older than the registered entity {stored.schema.id!r}: it lacks "
            f"{', '.join(lacking)}, which a whole row by it would empty; use the newer class, or ws.set"
        )
    known = stored.schema.by_name
    other = [one.name for one in cls.schema().fields if _filling(one) != _filling(known[one.name])]
    if other:
        raise SchemaConflict(
            f"class {cls.__name__} has another default or compute than the registered entity {stored.schema.id!r} for "
            f"{', '.join(other)}; call ws.register({cls.__name__}) if the class is the newer one, else use that one"
        )


def _filling(field: FieldSchema) -> tuple[Any, Any]:
    """What makes a value where a row gives none."""
    return field.default, field.compute


def _dicts(rows: Any) -> list[dict[str, Any]]:
    from heaven_core.codecs import row_maker

    return (rows.make or row_maker(rows.names, rows.decoders))(rows.tuples)


def _one(stored: StoredEntity, object_id: str, tx: Any) -> dict[str, Any] | None:
    found = _dicts(stored.backend.run(Fetch(stored.layout, (object_id,)), tx))
    return found[0] if found else None


def _check_id(object_id: Any) -> str:
    try:
        return _KEY.check_argument(object_id)
    except Refused as refused:
        kind = InvalidType if refused.wrong_type else InvalidValue
        raise kind.at(None, "object_id", None, object_id, refused.reason) from None


def _check_ids(ids: Any) -> list[str]:
    given = iterator(ids)
    if given is None or isinstance(ids, str):
        raise InvalidType.at(None, "object_id", None, ids, "is no list of ids")
    return list(map(_check_id, given))


def _changed(stored: StoredEntity, row: dict[str, Any], values: Mapping[str, Any], object_id: str) -> Batch:
    """The batch of one row with some fields changed; its id stays."""
    make_named = {**row, **values}
    if make_named["object_id"] != object_id:
        raise InvalidValue.at(
            stored.schema.id, "object_id", 0, make_named["object_id"], "is another id; an id cannot be changed"
        )
    return make_batch(stored.schema, [make_named])


def _inside(entity: Any) -> str:
    if entity is None:
        return ""
    return f" in {entity if isinstance(entity, str) else entity.identifier!r}"


__all__ = ["Access", "TransactionError", "Writer"]
