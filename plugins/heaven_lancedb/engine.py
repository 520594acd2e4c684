"""The LanceDB engine: a folder with one table per entity.

A commit of LanceDB is a new version of a table; it does not ask the disk to keep it, so that is done here, for the
files and the folders that a commit made. Several processes may have a folder open; each look is at the latest
version. LanceDB has no order, so rows are ordered here.

Not here: what LanceDB can do (`heaven_lancedb.handlers`), nearest vectors (`heaven_lancedb.vectors`), the folder and
its files (`heaven_lancedb.folder`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
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
    Request,
    Rows,
    Scan,
    Written,
)
from heaven_core.codecs import Code, decoder, row_maker
from heaven_core.errors import HeavenError, QueryError
from heaven_core.evaluate import check_bytes, check_rows, most_rows
from heaven_core.evaluate import scan as scan_in_python
from heaven_core.handlers import IdSet, Where
from heaven_core.sql import where_sql
from heaven_lancedb.folder import Folder, translated
from heaven_lancedb.handlers import id_set
from heaven_lancedb.vectors import Vectors

ESTIMATE_BOUND = 10_000
OPTIMIZE_EVERY = 100
"""Commits after which small files are joined and old versions removed."""
KEPT = timedelta(minutes=10)
"""How long a version stays that another process may be reading."""


class LanceBackend:
    """One folder of LanceDB tables. Option: `database` (or `path`); without it `<name>.lance` in the workspace's."""

    type = "lancedb"
    capabilities = frozenset({"vectors", "durable", "packed"})

    def __init__(self, config: BackendConfig) -> None:
        self.name = config.name
        self.path = config.place(f"{config.name}.lance")
        self._folder = Folder(self.path, self.name, config.workspace)
        self._vectors = Vectors(settings.get("vector.memory_budget"))
        self._commits: dict[str, int] = {}

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
                self._committed(layout)
        return Written(range(len(batch.ids)), (), 0)

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        if ids:
            with self._typing():
                self._folder.table(layout.entity).delete(id_set(ids)[0])
                self._committed(layout)
        return list(ids)

    def _committed(self, layout: Layout) -> None:
        self._folder.sync(layout.entity)
        count = self._commits[layout.entity] = self._commits.get(layout.entity, 0) + 1
        if count % OPTIMIZE_EVERY == 0:
            self._folder.table(layout.entity).optimize(cleanup_older_than=KEPT)
            self._folder.sync(layout.entity)

    def run(self, request: Request, tx: Any = None) -> Rows:
        if isinstance(request, Fetch):
            request = Scan(
                request.layout, request.layout.names, where=IdSet(request.ids), limits=Limits(None, None, None)
            )
        assert isinstance(request, Scan)  # only the primary is asked where an id lies
        if request.group is not None or request.search is not None:
            raise QueryError(f"backend {self.name!r}: LanceDB groups and searches nothing here")
        with self._typing():
            if request.near is not None:
                return self._nearest(request)
            return self._scanned(request)

    def estimate(self, request: Scan) -> int | None:
        """The rows that match, counted up to a bound; None past it."""
        with self._typing():
            found: int = self._folder.table(request.layout.entity).count_rows(_condition(request.where))
        return found if found <= ESTIMATE_BOUND else None

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        with self._typing():
            known = self._folder.names()
        return [
            Finding(self.name, one.entity, "missing-table", "the entity's rows are gone", False)
            for one in layouts
            if one.entity not in known
        ]

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
        if limit == 0:  # which LanceDB takes for none
            return []
        search = self._folder.table(layout.entity).search().select(list(names))
        condition = _condition(where)
        if condition is not None:
            search = search.where(condition)
        if limit is not None:
            search = search.limit(limit)
        timeout = None if limits.deadline is None else timedelta(seconds=limits.deadline)
        table = search.to_arrow(timeout=timeout)
        columns = [table.column(one).to_pylist() for one in names]
        return list(zip(*columns, strict=True)) if names else []

    def _nearest(self, request: Scan) -> Rows:
        near, layout = request.near, request.layout
        assert near is not None
        table = self._folder.table(layout.entity)
        within = None if request.where is None else self._ids(layout, request.where, request.limits)
        ranked, how = self._vectors.nearest(table, layout.entity, near, within)
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

    def _ids(self, layout: Layout, where: Where, limits: Limits) -> list[str]:
        if isinstance(where, IdSet):
            return list(where.ids)
        return [one for (one,) in self._read(layout, ("object_id",), where, None, limits)]


def _condition(where: Where | None) -> str | None:
    return None if where is None else where_sql(where, id_set)[0]


def decoders(layout: Layout, names: Sequence[str]) -> tuple[Code | None, ...]:
    """How to read each of these columns."""
    found = (layout.by_name[name].field.dtype for name in names)
    return tuple(None if dtype.kind == "vector" else decoder(dtype) for dtype in found)
