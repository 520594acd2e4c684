"""The parquetfile engine: a folder with one Parquet file per entity, written anew at each write.

A write is on the disk when it returns, and whoever reads meanwhile sees the file before it or the file after it.
HeavenBase orders the writers, so there is one at a time in all processes.

Not here: which conditions the engine answers by itself (`hb_parquetfile.handlers`); the rest of a question, such as
its order, is answered in Python.
"""

# pyright: reportAttributeAccessIssue=false
# (pyarrow makes most of its functions when it is imported)

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import and_, or_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hb_parquetfile.handlers import Comparison
from heaven_core.backend import (
    BackendConfig,
    Batch,
    Change,
    Column,
    Fetch,
    Finding,
    Layout,
    Limits,
    Request,
    Rows,
    Scan,
    Written,
)
from heaven_core.codecs import decoder, encode_column, row_maker
from heaven_core.errors import FormatTooNew, StorageError, WorkspaceClosed
from heaven_core.evaluate import Clock, scan
from heaven_core.handlers import AllOf, ConditionTooLarge, IdSet, NoneOf, QueryFragment, Where, fragments

FORMAT = 1
"""The version of what a file holds, which is written into it."""

MOST_CONDITIONS = 200
"""Arrow takes a condition apart recursively; more of them are answered in Python."""

ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.int64(),
    "date": pa.string(),
    "duration": pa.int64(),
    "array": pa.string(),
    "json": pa.string(),
    "vector": pa.binary(),
    "bytes": pa.binary(),
}
"""How each kind of value lies in a file; `heaven_core.codecs` brings it into that form."""


class ParquetfileBackend:
    """A folder of Parquet files. Option: `database` (or `path`); without it a folder in the workspace's own."""

    type = "parquetfile"
    capabilities = frozenset({"durable"})

    def __init__(self, config: BackendConfig) -> None:
        self.name = config.name
        self._folder = Path(config.place(config.name))
        self._writing = threading.Lock()
        self._closed = False

    # writing -----------------------------------------------------------------------------------------------------

    def ddl(self, change: Change, tx: Any) -> None:
        layout = change.after or change.before
        assert layout is not None
        with self._using(), self._writing:
            file = self._file(layout)
            if change.after is None:
                file.unlink(missing_ok=True)
                return
            table = self._read(file) if file.exists() else schema_of(layout).empty_table()
            for field in schema_of(layout):
                if field.name not in table.column_names:
                    table = table.append_column(field, pa.nulls(len(table), field.type))
            self._save(file, table)

    def write(self, layout: Layout, batch: Batch, tx: Any) -> Written:
        if batch.ids:
            schema = schema_of(layout)
            columns = [
                pa.array(encode_column(one.field.dtype, batch.columns[one.name]), schema.field(one.name).type)
                for one in layout.columns
            ]
            with self._using(), self._writing:
                others = self._without(layout, batch.ids)
                self._save(self._file(layout), pa.concat_tables([others, pa.table(columns, schema=schema)]))
        return Written(range(len(batch.ids)), (), 0)  # only a primary has to tell new rows from old ones

    def delete(self, layout: Layout, ids: Sequence[str], tx: Any) -> list[str]:
        if ids:
            with self._using(), self._writing:
                self._save(self._file(layout), self._without(layout, ids))
        return list(ids)

    def _without(self, layout: Layout, ids: Sequence[str]) -> pa.Table:
        """The rows that are there but for these."""
        table = self._read(self._file(layout), list(layout.names))
        return table.filter(pc.invert(pc.is_in(table["object_id"], pa.array(ids, pa.string()))))

    def _save(self, file: Path, table: pa.Table) -> None:
        """Durable before it returns: the new file, and its place in the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        with new.open("wb") as stream:
            pq.write_table(table.replace_schema_metadata({"heavenbase": str(FORMAT)}), stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(file)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # reading -----------------------------------------------------------------------------------------------------

    def run(self, request: Request, tx: Any = None) -> Rows:
        if isinstance(request, Fetch):
            whole = Limits(None, None, None)
            request = Scan(request.layout, request.layout.names, where=IdSet(request.ids), limits=whole)
        assert isinstance(request, Scan)  # only a primary is asked where an id lies
        layout, clock = request.layout, Clock(request.limits)
        names = list(dict.fromkeys(("object_id", *request.columns, *(key.name for key in request.order))))
        with self._using():
            table = self._read(self._file(layout), names, condition(request.where))
        clock.check()
        tuples = list(zip(*(table[name].to_pylist() for name in names), strict=True))
        decoders = [decoder(layout.by_name[name].field.dtype) for name in names]
        rest = Scan(
            layout,
            request.columns,
            order=request.order,
            limit=request.limit,
            offset=request.offset,
            limits=request.limits,
        )
        return scan(rest, row_maker(names, decoders)(tuples))

    def estimate(self, request: Scan) -> int | None:
        """How many rows there are, which the file says at its end; None where there is a condition."""
        with self._using():
            return None if request.where else pq.read_metadata(self._file(request.layout)).num_rows

    def _read(self, file: Path, columns: list[str] | None = None, where: pc.Expression | None = None) -> pa.Table:
        """Columns of a file, of the rows that a condition holds for."""
        with file.open("rb") as stream:  # the file as it is now, whoever puts another in its place
            opened = pq.ParquetFile(stream)
            self._check_format(opened.schema_arrow)
            if where is None:
                return opened.read(columns)
            return opened.read().filter(where).select(columns or opened.schema_arrow.names)

    def _check_format(self, schema: pa.Schema) -> None:
        found = int((schema.metadata or {}).get(b"heavenbase", 0))
        if not found:
            raise StorageError(f"backend {self.name!r}: HeavenBase did not write this file; choose another location")
        if found > FORMAT:
            raise FormatTooNew(f"backend {self.name!r}: the file has format {found}; upgrade hb-parquetfile")

    # care --------------------------------------------------------------------------------------------------------

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        lost = [one.entity for one in layouts if not self._file(one).exists()]
        return [Finding(self.name, entity, "missing-table", "the entity's rows are gone", False) for entity in lost]

    def close(self) -> None:
        self._closed = True

    def destroy(self) -> None:
        """Close, and remove the files that are ours."""
        with self._using():
            for file in self._folder.glob("*.parquet"):
                self._check_format(pq.read_schema(file))
                file.unlink()
            if self._folder.exists() and not any(self._folder.iterdir()):
                self._folder.rmdir()
        self.close()

    def _file(self, layout: Layout) -> Path:
        return self._folder / f"{layout.entity}.parquet"

    @contextmanager
    def _using(self) -> Generator[None]:
        """Refuse what is done after closing; what Arrow and the system raise becomes a typed error."""
        if self._closed:
            raise WorkspaceClosed(f"backend {self.name!r} is closed")
        try:
            yield
        except StorageError:  # ours, and an OSError too
            raise
        except (pa.ArrowException, OSError) as error:
            raise StorageError(
                f"backend {self.name!r}: a file cannot be read or written ({type(error).__name__}); see ws.check()"
            ) from error


def schema_of(layout: Layout) -> pa.Schema:
    """The columns of an entity's file."""

    def arrow(one: Column) -> pa.DataType:
        return ARROW[one.field.dtype.kind]

    return pa.schema([pa.field(one.name, arrow(one)) for one in layout.columns])


def condition(where: Where | None) -> pc.Expression | None:
    """The condition as Arrow takes it; it holds or doesn't, and is never null.

    Raises:
        ConditionTooLarge: it has too many parts; HeavenBase then answers it in Python.
    """
    if where is None:
        return None
    if sum(1 for _ in fragments(where)) > MOST_CONDITIONS:
        raise ConditionTooLarge(f"parquetfile takes at most {MOST_CONDITIONS} conditions")
    return _expression(where)


def _expression(where: Where) -> pc.Expression:
    if isinstance(where, QueryFragment):
        return _compared(where.payload)
    if isinstance(where, IdSet):
        return pc.field("object_id").isin(pa.array(where.ids, pa.string()))
    if isinstance(where, NoneOf):
        return ~_expression(where.part)
    parts = [_expression(part) for part in where.parts]
    every = isinstance(where, AllOf)
    return reduce(and_ if every else or_, parts, pc.scalar(every))  # of no parts all hold, and none does


def _compared(asked: Comparison) -> pc.Expression:
    column = pc.field(asked.column)
    if asked.op == "is_null":
        return column.is_null() if asked.value else column.is_valid()
    compare = {"eq": pc.equal, "lt": pc.less, "lte": pc.less_equal, "gt": pc.greater, "gte": pc.greater_equal}
    return column.is_valid() & pc.coalesce(compare[asked.op](column, pc.scalar(asked.value)), pc.scalar(False))
