"""Rows as Arrow tables, which DuckDB takes as they are. Imported by the first write, as Arrow is large."""

from __future__ import annotations

from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]

from heaven_core.backend import Batch, Layout
from heaven_core.codecs import encode_column
from heaven_duckdb.statements import column_type

pa: Any = pyarrow  # which has no types to speak of

_ARROW: dict[str, Any] = {
    "varchar": pa.string(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "blob": pa.binary(),
}


def as_table(layout: Layout, batch: Batch) -> Any:
    """The rows of a batch as a table."""
    arrays = [
        pa.array(encode_column(one.field.dtype, batch.columns[one.name]), type=_ARROW[column_type(one)])
        for one in layout.columns
    ]
    return pa.table(arrays, names=list(layout.names))
