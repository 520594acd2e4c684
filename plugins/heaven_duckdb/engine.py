"""The DuckDB engine: one file, opened when a field in it is used and closed when it has not been for a while.

DuckDB lets one process have a file; the others wait for it. Every write is one transaction of its own, on the disk
when it returns. The kernel orders writers (`heaven_core.outbox`), so there is one at a time.

Not here: SQL text (`heaven_duckdb.statements`), what DuckDB can do (`heaven_duckdb.handlers`), the file and who has
it (`heaven_duckdb.holder`), groups (`heaven_duckdb.grouping`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

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
from heaven_core.errors import HeavenError, QueryError
from heaven_core.evaluate import gathered, most_rows
from heaven_core.handlers import ConditionTooLarge, IdSet, fragments
from heaven_core.sql import decoders, entity_table
from heaven_core.sql_scan import count_sql, scan_sql
from heaven_duckdb import statements
from heaven_duckdb.failures import translated
from heaven_duckdb.handlers import id_set
from heaven_duckdb.holder import WANTED, Holder

CHUNK = 5000
ESTIMATE_BOUND = 10_000
MOST_CONDITIONS = 300
"""DuckDB's time to plan a query grows with the square of them, and faster."""


class DuckBackend:
    """One DuckDB file. Option: `database` (or `path`); without it `<name>.duckdb` in the workspace's folder."""

    type = "duckdb"
    capabilities = frozenset({"analytics", "durable", "packed"})

    def __init__(self, config: BackendConfig) -> None:
        self.name = config.name
        self.path = config.place(f"{config.name}.duckdb")
        self._holder = Holder(self.path, self.name, config.workspace)

    # protocol --------------------------------------------------------------------------------------------------

    def ddl(self, change: Change, tx: Any) -> None:
        with self._using() as cursor:
            for text in statements.ddl(change):
                cursor.execute(text)

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        if batch.ids:
            from heaven_duckdb.rows import as_table

            with self._using() as cursor:
                cursor.register("hb_batch", as_table(layout, batch))
                cursor.execute(statements.put(layout, "hb_batch"))
        return Written(range(len(batch.ids)), (), 0)

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        with self._using() as cursor:
            return [one for (one,) in cursor.execute(*statements.delete(layout, ids)).fetchall()]

    def run(self, request: Request, tx: Any = None) -> Rows:
        if isinstance(request, Fetch):
            request = Scan(
                request.layout, request.layout.names, where=IdSet(request.ids), limits=Limits(None, None, None)
            )
        assert isinstance(request, Scan)  # only the primary is asked where an id lies
        if request.near is not None or request.search is not None:
            raise QueryError(f"backend {self.name!r}: DuckDB ranks nothing here")
        if sum(1 for _ in fragments(request.where)) > MOST_CONDITIONS:
            raise ConditionTooLarge(f"the query has more than {MOST_CONDITIONS} conditions")
        with self._using(request.limits) as cursor:
            if request.group is not None:
                from heaven_duckdb.grouping import answer_groups

                return answer_groups(cursor, request, request.group)
            text = scan_sql(request, most_rows(request), entity_table(request.layout.entity), id_set)
            tuples = fetched(cursor.execute(*text), request.limits)
        return Rows(request.columns, decoders(request.layout, request.columns), tuples)

    def estimate(self, request: Scan) -> int | None:
        """The rows that match, counted up to a bound; None past it."""
        with self._using(request.limits) as cursor:
            text = count_sql(request, ESTIMATE_BOUND + 1, entity_table(request.layout.entity), id_set)
            found = cursor.execute(*text).fetchall()[0][0]
        return found if found <= ESTIMATE_BOUND else None

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        with self._using() as cursor:
            known = {name for (name,) in cursor.execute(statements.TABLES).fetchall()}
        return [
            Finding(self.name, one.entity, "missing-table", "the entity's rows are gone", False)
            for one in layouts
            if f"e_{one.entity}" not in known
        ]

    def close(self) -> None:
        self._holder.close()

    def destroy(self) -> None:
        """Close and remove the file, if it is this workspace's: a location may have been mistaken.

        Raises:
            WorkspaceConflict, NotADatabase: it is somebody else's.
        """
        if Path(self.path).exists():
            with self._using():  # which looks whose it is
                pass
        self.close()
        for suffix in ("", ".wal", WANTED):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    # connections -----------------------------------------------------------------------------------------------

    @contextmanager
    def _using(self, limits: Limits | None = None) -> Generator[Any]:
        """A cursor of the open file, stopped where the limits say so; what DuckDB raises becomes a typed error."""
        try:
            with self._holder.cursor(limits) as cursor:
                yield cursor
        except HeavenError:
            raise
        except duckdb.Error as error:
            if limits is not None and limits.cancel is not None:
                limits.cancel.check()
            raise translated(error, self.name) from error


def fetched(cursor: Any, limits: Limits) -> list[tuple[Any, ...]]:
    """All rows, within the caps."""
    return gathered(iter(lambda: cursor.fetchmany(CHUNK), []), limits)
