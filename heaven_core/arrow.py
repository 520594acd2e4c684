"""Result frames as Arrow, pandas and polars tables, with a column type for each logical type.

pyarrow, pandas and polars are imported here and nowhere else in the kernel.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from heaven_core.errors import EngineNotInstalled
from heaven_core.types import Array, Duration, LogicalType, Vector, canonical_json

if TYPE_CHECKING:
    from heaven_core.frame import ResultFrame


def _pyarrow() -> Any:
    return _module("pyarrow", "Arrow tables need pyarrow; pip install 'heaven-core[arrow]'")


def _module(name: str, otherwise: str) -> Any:
    """An optional library, as untyped as libraries without stubs are."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise EngineNotInstalled(otherwise) from error


def check_installed() -> None:
    """Raise unless Arrow tables can be made.

    Raises:
        EngineNotInstalled: pyarrow is missing; the message has the command that installs it.
    """
    _pyarrow()


def arrow_type(dtype: LogicalType[Any] | None) -> Any:
    """The Arrow type of a logical type's column; Json and untyped arrays are JSON text."""
    pa = _pyarrow()
    if isinstance(dtype, Array) and dtype.item is not None:
        return pa.list_(arrow_type(dtype.item))
    if isinstance(dtype, Vector):
        return pa.list_(pa.float32(), dtype.dim) if dtype.dim else pa.list_(pa.float32())
    known = {
        "integer": pa.int64(),
        "float": pa.float64(),
        "boolean": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
        "duration": pa.duration("us"),
        "bytes": pa.binary(),
    }
    return pa.string() if dtype is None else known.get(dtype.kind, pa.string())


def _is_json(dtype: LogicalType[Any] | None) -> bool:
    return dtype is not None and (dtype.kind == "json" or (isinstance(dtype, Array) and dtype.item is None))


def _json_text(value: Any) -> str:
    """JSON data as text; counted dates and times, which `value_counts` gives, as texts inside it."""
    try:
        return canonical_json(value)
    except TypeError:
        return canonical_json([[_iso(one), count] for one, count in value])


def _iso(value: Any) -> str:
    return Duration().to_json(value) if isinstance(value, timedelta) else value.isoformat()


def to_arrow(frame: ResultFrame) -> Any:
    """The frame as an Arrow table; a ranked answer has its rank as the last column."""
    pa = _pyarrow()
    arrays: list[Any] = []
    for name in frame.columns:
        dtype = frame.dtypes.get(name)
        values = frame.column(name)
        if _is_json(dtype):
            values = [None if value is None else _json_text(value) for value in values]
        arrays.append(pa.array(values, type=arrow_type(dtype)))
    names = list(frame.columns)
    if frame.rank is not None:
        arrays.append(pa.array(frame.scores, type=pa.float64()))
        names.append(frame.rank)
    return pa.table(arrays, names=names)


def write_parquet(frame: ResultFrame, stream: BinaryIO) -> None:
    """Write the frame as a Parquet file."""
    parquet = _module("pyarrow.parquet", "Parquet files need pyarrow; pip install 'heaven-core[arrow]'")
    parquet.write_table(to_arrow(frame), stream)


def to_pandas(frame: ResultFrame) -> Any:
    """The frame as a pandas frame."""
    pandas = _module("pandas", "this needs pandas; pip install pandas")
    pa = _pyarrow()
    nullable = {pa.int64(): pandas.Int64Dtype(), pa.bool_(): pandas.BooleanDtype()}
    table = to_arrow(frame)
    lacking = {field.name for field, column in zip(table.schema, table.columns, strict=True) if column.null_count}
    whole = table.to_pandas(types_mapper=nullable.get)
    # Without nulls numpy's own types hold every value; with them they would make floats of whole numbers.
    plain = {
        field.name: "int64" if field.type == pa.int64() else "bool"
        for field in table.schema
        if field.type in nullable and field.name not in lacking
    }
    return whole.astype(plain)


def to_polars(frame: ResultFrame) -> Any:
    """The frame as a polars frame."""
    polars = _module("polars", "this needs polars; pip install polars")
    return polars.from_arrow(to_arrow(frame))
