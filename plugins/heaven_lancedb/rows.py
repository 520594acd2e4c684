"""Rows as Arrow tables, and how each type of value lies in them. Imported by the first write, as Arrow is large."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]

from heaven_core.backend import Batch, Column, Layout
from heaven_core.codecs import encode_column

pa: Any = pyarrow  # which has no types to speak of

_ARROW: dict[str, Any] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.int64(),
    "date": pa.string(),
    "duration": pa.int64(),
    "array": pa.string(),
    "json": pa.string(),
    "bytes": pa.binary(),
}


def _type(one: Column) -> Any:
    dtype: Any = one.field.dtype
    if dtype.kind == "vector":
        return pa.list_(pa.float32(), dtype.dim) if dtype.dim else pa.list_(pa.float32())
    return _ARROW[dtype.kind]


def schema(layout: Layout, known: Collection[str] = ()) -> Any:
    """The columns of an entity's table but for those that are known; None if there are no others."""
    fields = [pa.field(one.name, _type(one)) for one in layout.columns if one.name not in known]
    return pa.schema(fields) if fields else None


def as_table(layout: Layout, batch: Batch) -> Any:
    """The rows of a batch as a table."""
    return pa.table([_array(one, batch) for one in layout.columns], schema=schema(layout))


def _array(one: Column, batch: Batch) -> Any:
    column = encode_column(one.field.dtype, batch.columns[one.name])
    return _vectors(one, column) if one.field.dtype.kind == "vector" else pa.array(column, type=_type(one))


def _vectors(one: Column, packed: Sequence[bytes | None]) -> Any:
    """Vectors from their bytes, which Arrow takes as they are."""
    dim = getattr(one.field.dtype, "dim", None)
    lacking = pa.array([value is None for value in packed], type=pa.bool_())
    filler = b"" if dim is None else bytes(4 * dim)
    parts = [filler if value is None else value for value in packed]
    joined = b"".join(parts)
    numbers = pa.Array.from_buffers(pa.float32(), len(joined) // 4, [None, pa.py_buffer(joined)])
    if dim is not None:
        return pa.FixedSizeListArray.from_arrays(numbers, type=_type(one), mask=lacking)
    ends = [0, *accumulate(len(part) // 4 for part in parts)]
    return pa.ListArray.from_arrays(pa.array(ends, type=pa.int32()), numbers, mask=lacking)
