"""Result frames as Arrow, pandas and polars tables, with a column type for each logical type; and tables as rows.

pyarrow, pandas and polars are imported here and nowhere else in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, BinaryIO

from heaven_core.errors import EngineNotInstalled, InvalidValue
from heaven_core.plugin import describe
from heaven_core.types import Array, Duration, LogicalType, Vector, canonical_json

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.frame import ResultFrame
    from heaven_core.schema import EntitySchema


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
    fields = [_arrow_field(name, frame.dtypes.get(name)) for name in frame.columns]
    if frame.rank is not None:
        arrays.append(pa.array(frame.scores, type=pa.float64()))
        fields.append(pa.field(frame.rank, pa.float64()))
    return pa.table(arrays, schema=pa.schema(fields))


JSON_MARK = {b"heavenbase": b"json"}
"""Says of a column of texts that they are JSON, for whoever reads the table back."""


def _arrow_field(name: str, dtype: LogicalType[Any] | None) -> Any:
    return _pyarrow().field(name, arrow_type(dtype), metadata=JSON_MARK if _is_json(dtype) else None)


# -- tables as rows ------------------------------------------------------------------------------------------------


def table_rows(schema: EntitySchema, table: Any) -> list[dict[str, Any]]:
    """The rows of a table as dicts.

    Raises:
        EngineNotInstalled: pyarrow is missing.
        InvalidValue: moments or spans of time with nanoseconds, which no type here has.
    """
    found = _pyarrow().table(table)
    names = found.column_names
    columns = [_values(schema, found.schema.field(place), found.column(place)) for place in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def table_parts(schema: EntitySchema, table: Any, part_rows: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, or of a stream of record batches, a part at a time.

    Raises:
        As `table_rows`.
    """
    pa = _pyarrow()
    with pa.RecordBatchReader.from_stream(table) as reader:
        for batch in reader:
            for start in range(0, batch.num_rows, part_rows):
                yield table_rows(schema, pa.Table.from_batches([batch.slice(start, part_rows)], reader.schema))


def _values(schema: EntitySchema, field: Any, column: Any) -> list[Any]:
    pa = _pyarrow()
    kind = field.type
    if (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns":
        wanted = pa.timestamp("us", tz=kind.tz) if pa.types.is_timestamp(kind) else pa.duration("us")
        try:
            column = column.cast(wanted)
        except pa.ArrowInvalid as error:
            raise InvalidValue(
                f"{schema.id}.{field.name}: the column has nanoseconds, and times have microseconds here; round them",
                entity=schema.id,
                field=field.name,
            ) from error
    values: list[Any] = column.to_pylist()
    marks: dict[bytes, bytes] = field.metadata or {}
    if marks.get(b"heavenbase") == b"json":
        from json import loads

        return [None if value is None else loads(value) for value in values]
    return values


def parquet_rows(file: Path, schema: EntitySchema, chunk_rows: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of a Parquet file, a part at a time."""
    parquet = _module("pyarrow.parquet", "Parquet files need pyarrow; pip install 'heaven-core[arrow]'")
    pa = _pyarrow()
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(chunk_rows):
                yield table_rows(schema, pa.Table.from_batches([batch], schema=opened.schema_arrow))
    except pa.ArrowInvalid as error:
        raise InvalidValue(f"{file.name}: this is no Parquet file that can be read") from error


def csv_rows(file: Path, schema: EntitySchema) -> Iterator[list[dict[str, Any]]]:
    """The rows of a CSV file with a line of names, a part at a time; an empty cell is null, quotes make it a text."""
    csv = _module("pyarrow.csv", "CSV files need pyarrow; pip install 'heaven-core[arrow]'")
    pa = _pyarrow()
    plain = {"integer": pa.int64(), "float": pa.float64(), "boolean": pa.bool_()}
    types = {field.name: plain.get(field.dtype.kind, pa.string()) for field in schema.fields}
    convert = csv.ConvertOptions(
        column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parse = csv.ParseOptions(newlines_in_values=True)
    try:
        with csv.open_csv(file, convert_options=convert, parse_options=parse) as opened:
            _check_separator(file, schema, opened.schema.names)
            for batch in opened:
                yield table_rows(schema, pa.Table.from_batches([batch]))
    except pa.ArrowInvalid as error:
        texts = csv.ConvertOptions(
            column_types=dict.fromkeys(types, pa.string()), null_values=[""], strings_can_be_null=True
        )
        told = {name: kind for name, kind in types.items() if kind != pa.string()}
        with suppress(pa.ArrowInvalid), csv.open_csv(file, convert_options=texts, parse_options=parse) as opened:
            _raise_at_culprit(schema, opened, told)
        raise InvalidValue(f"{file.name}: {describe(error)}") from error


def _check_separator(file: Path, schema: EntitySchema, names: Sequence[str]) -> None:
    if len(names) == 1 and names[0] not in schema.by_name and any(one in names[0] for one in ";\t|"):
        raise InvalidValue(f"{file.name}: its columns are not separated by commas, as those of a CSV file are here")


def _raise_at_culprit(schema: EntitySchema, batches: Any, types: Mapping[str, Any]) -> None:
    """Raise for the first cell of a CSV file that is not of its column's type."""
    pa, row = _pyarrow(), 0
    for batch in batches:
        columns = {name: batch.column(name) for name in batch.schema.names if name in types}
        for name, column in columns.items():
            try:
                column.cast(types[name])
            except pa.ArrowInvalid:
                for place, value in enumerate(column.to_pylist()):
                    if not _is_castable(value, types[name]):
                        why = f"is no {schema.by_name[name].dtype.identifier}"
                        raise InvalidValue.at(schema.id, name, row + place, value, why) from None
        row += batch.num_rows


def _is_castable(value: str | None, kind: Any) -> bool:
    pa = _pyarrow()
    try:
        pa.scalar(value, pa.string()).cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


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
