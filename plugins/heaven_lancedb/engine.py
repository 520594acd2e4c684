"""The LanceDB engine: a folder with one table per entity.

A commit of LanceDB is a new version of a table; it does not ask the disk to keep it, so that is done here, for the
files and the folders that a commit made. Several processes may have a folder open; each look is at the latest
version. LanceDB has no order, so rows are ordered here.

Not here: what LanceDB can do (`heaven_lancedb.handlers`), nearest vectors (`heaven_lancedb.vectors`), the folder and
its files (`heaven_lancedb.folder`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from heaven_core import config as settings
from heaven_core.backend import (
    BackendConfig,
    Batch,
    Change,
    Fetch,
    Finding,
    Layout,
    Limits,
    Near,
    Request,
    Rows,
    Scan,
    Written,
)
from heaven_core.codecs import Code, decoder, row_maker
from heaven_core.errors import ConfigError, HeavenError, QueryError
from heaven_core.evaluate import check_bytes, check_rows, most_rows
from heaven_core.evaluate import scan as scan_in_python
from heaven_core.handlers import IdSet, Where
from heaven_lancedb import partitions
from heaven_lancedb.folder import Folder, translated
from heaven_lancedb.handlers import id_set
from heaven_lancedb.reading import FEW, Reader
from heaven_lancedb.vectors import Ranked, Vectors, nearest_of

UNBOUNDED = Limits(None, None, None)
ESTIMATE_BOUND = 10_000


class LanceBackend:
    """One folder of LanceDB tables.

    Options: `database` (or `path`), without which it is `<name>.lance` in the workspace's folder; `nprobes`, the
    partitions that are searched where the vectors do not fit into memory, without which every answer is exact.
    """

    type = "lancedb"
    capabilities = frozenset({"vectors", "durable", "packed"})

    def __init__(self, config: BackendConfig) -> None:
        self.name = config.name
        self.path = config.place(f"{config.name}.lance", "nprobes")
        self._nprobes = _nprobes(config)
        self._folder = Folder(self.path, self.name, config.workspace)
        self._vectors = Vectors(settings.get("vector.memory_budget"))
        self._upkeep: defaultdict[str, partitions.Upkeep] = defaultdict(partitions.Upkeep)

    # protocol --------------------------------------------------------------------------------------------------

    def ddl(self, change: Change, tx: Any) -> None:
        before, after = change
        with self._typing():
            if after is None:
                assert before is not None
                self._folder.drop(before.entity)
            elif before is None:
                from heaven_lancedb.rows import schema

                self._folder.create(after.entity, schema(after))
                partitions.index_ids(self._folder.table(after.entity))
                self._folder.sync(after.entity)
            else:
                from heaven_lancedb.rows import schema

                table = self._folder.table(after.entity)
                if added := schema(after, table.schema.names):
                    table.add_columns(added)
                    self._folder.sync(after.entity)

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        if batch.ids:
            with self._typing():
                from heaven_lancedb.rows import as_table

                rows = as_table(layout, batch)
                put = self._folder.table(layout.entity).merge_insert("object_id")
                put.when_matched_update_all().when_not_matched_insert_all().execute(rows)
                self._committed(layout, len(batch.ids))
        return Written(range(len(batch.ids)), (), 0)

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        with self._typing():
            table = self._folder.table(layout.entity)
            known = set(self._reader(layout, UNBOUNDED).present(ids))
            gone = [one for one in dict.fromkeys(ids) if one in known]
            for start in range(0, len(gone), FEW):
                table.delete(id_set(gone[start : start + FEW])[0])
            if gone:
                self._committed(layout, 0)
        return gone

    def _committed(self, layout: Layout, rows: int) -> None:
        self._folder.sync(layout.entity)
        table, partitioned = self._folder.table(layout.entity), self._nprobes is not None
        if self._upkeep[layout.entity].committed(table, layout, rows, partitioned=partitioned):
            self._folder.sync(layout.entity)

    def run(self, request: Request, tx: Any = None) -> Rows:
        if isinstance(request, Fetch):
            request = Scan(request.layout, request.layout.names, where=IdSet(request.ids), limits=UNBOUNDED)
        assert isinstance(request, Scan)  # only the primary is asked where an id lies
        if request.group is not None or request.search is not None:
            raise QueryError(f"backend {self.name!r}: LanceDB groups and searches nothing here")
        with self._typing():
            if request.near is not None:
                return self._nearest(request)
            return self._scanned(request)

    def estimate(self, request: Scan) -> int | None:
        """The rows that match; None for many, unless all do."""
        with self._typing():
            return self._reader(request.layout, request.limits).count(request.where, ESTIMATE_BOUND)

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        with self._typing():
            known = self._folder.names()
            return [finding for one in layouts for finding in self._damages(one, known)]

    def _damages(self, layout: Layout, known: set[str]) -> Generator[Finding]:
        if layout.entity not in known:
            yield Finding(self.name, layout.entity, "missing-table", "the entity's rows are gone", False)
            return
        reader = self._reader(layout, UNBOUNDED)
        if lost := [name for name in layout.names if name not in reader.table.schema.names]:
            detail = f"the values of {', '.join(lost)} are gone"
            yield Finding(self.name, layout.entity, "missing-column", detail, False)
        elif more := reader.count(None, None) - len(set(reader.ids(None))):
            yield Finding(self.name, layout.entity, "repeated-rows", f"{more} rows have the id of another", False)

    def close(self) -> None:
        self._folder.close()
        self._vectors.forget()

    def destroy(self) -> None:
        """Close and remove what this engine made in the folder, and the folder if nothing else is in it.

        Raises:
            WorkspaceConflict, NotADatabase: it is somebody else's.
        """
        with self._typing():
            self._folder.destroy()
        self.close()

    # reading ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _typing(self) -> Generator[None]:
        """What LanceDB raises becomes a typed error."""
        try:
            yield
        except HeavenError:
            raise
        except Exception as error:  # it raises ValueError, RuntimeError, OSError and more
            raise translated(error, self.name) from error

    def _scanned(self, request: Scan) -> Rows:
        layout, limits = request.layout, request.limits
        keys = tuple(dict.fromkeys((*request.columns, *(one.name for one in request.order))))
        plain = not request.order and not request.offset
        found = self._read(layout, keys, request.where, most_rows(request) if plain else None, limits)
        if plain:
            check_rows(len(found), limits)
            check_bytes(found, limits)
            return Rows(request.columns, decoders(layout, request.columns), found)
        rows = row_maker(keys, decoders(layout, keys))(found)
        rest = Scan(
            layout, request.columns, order=request.order, limit=request.limit, offset=request.offset, limits=limits
        )
        return scan_in_python(rest, rows)

    def _read(
        self, layout: Layout, names: Sequence[str], where: Where | None, limit: int | None, limits: Limits
    ) -> list[tuple[Any, ...]]:
        """Stored values of some columns, in no order."""
        if limits.cancel is not None:
            limits.cancel.check()
        kept = tuple(dict.fromkeys(("object_id", *names)))
        found: list[tuple[Any, ...]] = []
        for batch in () if limit == 0 else self._reader(layout, limits).batches(kept, where, limit):
            columns = [batch.column(one).to_pylist() for one in names]
            found += zip(*columns, strict=True)
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def _nearest(self, request: Scan) -> Rows:
        near, layout = request.near, request.layout
        assert near is not None
        ranked, how = self._ranked(layout, near, request.where, request.limits)
        columns = tuple(dict.fromkeys(("object_id", *request.columns, *(one.name for one in request.order))))
        pairs = self._ranked_rows(layout, columns, ranked, request.limits)
        if request.order:
            from heaven_core.evaluate import order_rows

            pairs.sort(key=lambda pair: pair[0]["object_id"])
            pairs = order_rows(pairs, request.order, lambda pair, key: pair[0][key])
        stop = None if request.limit is None else request.offset + request.limit
        tuples = [(*(row[one] for one in request.columns), distance) for row, distance in pairs[request.offset : stop]]
        check_rows(len(tuples), request.limits)
        check_bytes(tuples, request.limits)
        names = (*request.columns, "_distance")
        return Rows(names, (None,) * len(names), tuples, notes=(how,))

    def _ranked(self, layout: Layout, near: Near, where: Where | None, limits: Limits) -> tuple[Ranked, str]:
        """The nearest rows, and how they were found."""
        reader = self._reader(layout, limits)
        kept = self._vectors.matrix(reader.table, self._folder.version(layout.entity), layout.entity, near)
        if kept is not None:
            how = "exact matrix in memory" + ("" if where is None else ", condition first")
            return kept.nearest(near, None if where is None else reader.ids(where)), how
        if self._nprobes is not None and (found := partitions.probed(reader, near, where, self._nprobes)) is not None:
            return found
        read = reader.batches(("object_id", near.field.name), where)
        return nearest_of(read, near), "exact: vectors read from the table"

    def _ranked_rows(
        self, layout: Layout, names: tuple[str, ...], ranked: Sequence[tuple[str, float]], limits: Limits
    ) -> list[tuple[dict[str, Any], float]]:
        """Rows with some columns, in the order of their distances; ids alone are known without a look."""
        if names == ("object_id",):
            return [({"object_id": one}, distance) for one, distance in ranked]
        ids = IdSet([one for one, _ in ranked])
        rows = row_maker(names, decoders(layout, names))(self._read(layout, names, ids, None, limits))
        by_id = {row["object_id"]: row for row in rows}
        return [(by_id[one], distance) for one, distance in ranked if one in by_id]

    def _reader(self, layout: Layout, limits: Limits) -> Reader:
        return Reader(self._folder.table(layout.entity), limits)


def _nprobes(config: BackendConfig) -> int | None:
    found = config.options.get("nprobes")
    if found is None or (type(found) is int and found > 0):
        return found
    raise ConfigError(f"backend {config.name!r}: nprobes takes a positive whole number, not {found!r}")


def decoders(layout: Layout, names: Sequence[str]) -> tuple[Code | None, ...]:
    """How to read each of these columns."""
    found = (layout.by_name[name].field.dtype for name in names)
    return tuple(None if dtype.kind == "vector" else decoder(dtype) for dtype in found)
