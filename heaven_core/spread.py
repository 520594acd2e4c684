"""An entity whose fields lie in several engines: its rows taken apart when written, put together when read.

`SpreadBackend` stands before the primary of such an entity. Each engine holds every row, under the row's id and the
LSN of the write that it comes from (`_lsn`); the primary holds that LSN once more per engine (`_v_<backend>`), so
that a row whose parts are of different writes is noticed. An engine is only told what changes for it.

Not here: how the others come to know of a commit (`heaven_core.outbox`), how queries are answered
(`heaven_core.spread_plan`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Backend, Batch, Change, Fetch, Finding, Layout, Limits, Request, Rows, Scan, Written
from heaven_core.codecs import decoder, row_maker
from heaven_core.errors import StorageError
from heaven_core.handlers import IdSet
from heaven_core.placement import LSN, PRIMARY, lsn_column
from heaven_core.types import is_same

if TYPE_CHECKING:
    from heaven_core.outbox import Outbox, Part
    from heaven_core.schema import EntitySchema

UNBOUNDED = Limits(None, None, None)
CHUNK = 10_000
"""Rows of an entry: engines would rather have few writes, and no value may be too large for the primary."""

MOST_IDS = 10
"""Ids in the detail of a finding."""

Row = dict[str, Any]


class Beside:
    """An engine that could be a primary, in the place of one that is not: every write commits at once."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.name, self.type, self.capabilities = inner.name, inner.type, inner.capabilities

    def ddl(self, change: Change, tx: Any) -> None:
        with self._committed() as own:
            self._inner.ddl(change, own)

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        with self._committed() as own:
            return self._inner.write(layout, batch, own)

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        with self._committed() as own:
            return self._inner.delete(layout, ids, own)

    @contextmanager
    def _committed(self) -> Generator[Any]:
        own = self._inner.begin(exclusive=True)
        try:
            yield own
            own.commit()
        finally:
            own.rollback()

    def run(self, request: Request, tx: Any = None) -> Rows:
        return self._inner.run(request)

    def estimate(self, request: Scan) -> int | None:
        return self._inner.estimate(request)

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        return self._inner.recover(layouts, repair=repair)

    def close(self) -> None:
        self._inner.close()


def beside(backend: Any) -> Backend:
    """The engine as one beside the primary."""
    return Beside(backend) if "primary" in backend.capabilities else backend


def dicts(rows: Rows) -> list[Row]:
    """An answer as rows of values."""
    return (rows.make or row_maker(rows.names, rows.decoders))(rows.tuples)


class SpreadBackend:
    """The engines of one entity as one: the primary and those beside it."""

    def __init__(self, schema: EntitySchema, outbox: Outbox, parts: Mapping[str, Part]) -> None:
        self._schema, self.outbox = schema, outbox
        self.parts = parts
        """Every engine with what it stores of the entity, by the backend's name; the primary first."""
        self._primary: Any
        self._primary, self._layout = parts[PRIMARY]
        self._others = {name: part for name, part in parts.items() if name != PRIMARY}
        self.name, self.type, self.capabilities = self._primary.name, self._primary.type, self._primary.capabilities

    # writing -----------------------------------------------------------------------------------------------------

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        lsn, count = tx.lsn, len(batch.ids)
        stored = {} if batch.fresh else self._stored(batch.ids, tx)
        columns = dict(batch.columns)
        changed: dict[str, list[int]] = {}
        for name, (_, part) in self._others.items():
            fields = [one for one in part.names if one not in {"object_id", LSN}]
            new = range(count) if not stored else self._changed(batch, fields, stored)
            changed[name] = list(new)
            column = lsn_column(name)
            lsns = [lsn] * count if not stored else [stored.get(one, {}).get(column, lsn) for one in batch.ids]
            for position in changed[name]:
                lsns[position] = lsn
            columns[column] = lsns
        written = self._primary.write(layout, batch._replace(columns=columns), tx)
        for name, (_, part) in self._others.items():
            self._tell(part, batch, changed[name], lsn, tx)
        return written

    @staticmethod
    def _changed(batch: Batch, fields: Sequence[str], stored: Mapping[str, Row]) -> list[int]:
        """The positions of rows that are new, or differ from the stored ones in one of the fields."""
        found: list[int] = []
        for position, object_id in enumerate(batch.ids):
            row = stored.get(object_id)
            if row is None or not all(is_same(row[name], batch.columns[name][position]) for name in fields):
                found.append(position)
        return found

    def _tell(self, part: Layout, batch: Batch, positions: Sequence[int], lsn: int, tx: Any) -> None:
        for start in range(0, len(positions), CHUNK):
            some = positions[start : start + CHUNK]
            ids = [batch.ids[position] for position in some]
            columns = {name: [batch.columns[name][position] for position in some] for name in part.names if name != LSN}
            self.outbox.add(tx, part, ids, columns | {LSN: [lsn] * len(ids)})

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        gone: list[str] = self._primary.delete(layout, ids, tx)
        for _, part in self._others.values():
            self.outbox.add(tx, part, gone, None)
        return gone

    # reading -----------------------------------------------------------------------------------------------------

    def run(self, request: Request, tx: Any = None) -> Rows:
        if not isinstance(request, Fetch):
            return self._primary.run(request, tx)
        found = self._stored(request.ids, tx)
        names = self._schema.names
        tuples = [tuple([row[name] for name in names]) for row in found.values()]
        return Rows(names, (None,) * len(names), tuples)

    def _stored(self, ids: Sequence[str], tx: Any) -> dict[str, Row]:
        """The rows with these ids, with the LSN of each part."""
        return self.outbox.consistent(self._schema.id, tx, lambda: self._assembled(ids, tx))

    def _assembled(self, ids: Sequence[str], tx: Any) -> dict[str, Row]:
        found = {row["object_id"]: row for row in dicts(self._primary.run(Fetch(self._layout, ids), tx))}
        for name, (_, part) in self._others.items():
            if lacking := [one for one in part.names if one not in self._layout.by_name and one != LSN]:
                self.complete(found, name, lacking, tx)
        return found

    def complete(
        self,
        rows: Mapping[str, Row],
        backend: str,
        names: Sequence[str],
        tx: Any,
        limits: Limits = UNBOUNDED,
    ) -> None:
        """Add to rows of the entity, by id, what an engine beside the primary holds of them.

        Raises:
            StorageError: it lacks a row, or has one of another write.
        """
        if not rows:
            return
        engine, layout = self._others[backend]
        wanted = [one for one in layout.names if one != "object_id" and one in (*names, LSN)]
        overlay = self.outbox.overlay(tx, self._schema.id, backend)
        absent = [one for one in rows if one not in overlay]
        codes = {one: decoder(layout.by_name[one].field.dtype) for one in wanted if one != LSN}
        entries: dict[str, list[str]] = {}
        for object_id in rows.keys() & overlay.keys():
            entry = overlay[object_id]
            assert entry is not None  # else the primary would not have the row
            entries.setdefault(entry, []).append(object_id)
        for entry, ids in entries.items():
            written = self.outbox.written(tx, entry)
            for object_id in ids:
                place = written.places[object_id]
                for one, code in codes.items():
                    value = written.columns[one][place]
                    rows[object_id][one] = value if code is None or value is None else code(value)
        if absent:
            self._fill(
                rows,
                engine.run(Scan(layout, ("object_id", *wanted), where=IdSet(absent), limits=limits)),
                absent,
                layout,
            )

    def _fill(self, rows: Mapping[str, Row], found: Rows, ids: Sequence[str], layout: Layout) -> None:
        column, left = lsn_column(layout.backend), set(ids)
        for row in dicts(found):
            object_id, lsn = row.pop("object_id"), row.pop(LSN)
            if rows[object_id].get(column, lsn) == lsn:
                left.discard(object_id)
                rows[object_id].update(row)
        if left:
            raise StorageError(
                f"{self._schema.id}, row {min(left)!r}: backend {layout.backend!r} lacks its part of {len(left)} rows, "
                "or has another write's; see ws.check()",
                entity=self._schema.id,
                object_id=min(left),
            )

    # the rest of the protocol --------------------------------------------------------------------------------------

    def ddl(self, change: Change, tx: Any) -> None:
        self._primary.ddl(change, tx)

    def estimate(self, request: Scan) -> int | None:
        return self._primary.estimate(request)

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        return self._primary.recover(layouts, repair=repair)

    def close(self) -> None:
        self._primary.close()

    # schema and care -----------------------------------------------------------------------------------------------

    def prepare(self, before: SpreadBackend | None, known: Layout | None) -> None:
        """Bring the engines beside the primary to this entity's layouts; rows that are there get their nulls.

        `known` is what the primary had of the entity before: None for a new one.

        Nobody sees that before the commit of the schema, and doing it again does no harm.
        """
        for name, (engine, layout) in self._others.items():
            old = None if before is None or name not in before.parts else before.parts[name][1]
            engine.ddl(Change(old, layout), None)
            if known is not None and old is None:
                for ids in self._primary.scan(known):
                    engine.write(
                        layout, Batch(ids, dict.fromkeys(layout.names, [None] * len(ids)) | {"object_id": ids}), None
                    )

    def check(self, findings: list[Finding], *, repair: bool) -> None:
        """What the engines beside the primary lack, or have too much of."""
        damages = [one for engine, layout in self._others.values() for one in engine.recover([layout], repair=repair)]
        findings += damages
        for name in self._others:
            try:
                findings += self.outbox.consistent(self._schema.id, None, lambda: list(self._differing(name)))  # noqa: B023
            except StorageError:  # what is so damaged that it cannot be compared has been found before
                if all(one.repairable for one in damages):
                    raise

    def _differing(self, backend: str) -> Iterable[Finding]:
        engine, layout = self._others[backend]
        column = lsn_column(backend)
        here = dict(self._primary.run(Scan(self._layout, ("object_id", column), limits=UNBOUNDED)).tuples)
        there = dict(engine.run(Scan(layout, ("object_id", LSN), limits=UNBOUNDED)).tuples)
        lost = sorted(one for one, lsn in here.items() if there.get(one) != lsn)
        extra = sorted(there.keys() - here.keys())
        for kind, ids in (("lost-part", lost), ("extra-part", extra)):
            if ids:
                shown = ", ".join(ids[:MOST_IDS]) + (", ..." if len(ids) > MOST_IDS else "")
                yield Finding(backend, self._schema.id, kind, f"{len(ids)} rows: {shown}", kind == "extra-part")
