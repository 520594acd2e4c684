"""Rows from files: Parquet, CSV and JSON lines, a part at a time.

Not here: how parts are written (`heaven_core.access`), Arrow (`heaven_core.arrow`), what a row is
(`heaven_core.batch`).
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from os import fsencode, strerror
from pathlib import Path
from typing import Any

from heaven_core.errors import ConfigError, InvalidValue, StorageError, a_kind, did_you_mean, shown
from heaven_core.narrow import is_dict
from heaven_core.parts import PART_ROWS
from heaven_core.schema import EntitySchema

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}

Rows = list[dict[str, Any]]


def file_parts(path: Any, schema: EntitySchema, form: str | None) -> Iterator[Rows]:
    """The rows of a file, a part at a time.

    Raises:
        ConfigError: no such format.
        StorageError: the file cannot be read.
        InvalidValue: it holds something else than its format says.
    """
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        raise ConfigError(f"load takes the path of a file, not {a_kind(path)}")
    try:
        file = Path(path).expanduser()
        if b"\0" in fsencode(file):
            raise ValueError(path)
    except (RuntimeError, ValueError):
        raise ConfigError(f"load takes the path of a file, and {shown(path)} can be none") from None
    return _checked(file, PARTS[_form(file, form)](file, schema))


def _form(file: Path, form: str | None) -> str:
    known = sorted(set(FORMATS.values()))
    if form is not None:
        if form not in known:
            raise ConfigError(f"there is no format {form!r:.40} of files; {did_you_mean(form, known)}")
        return form
    if file.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"{file.name!r} has no ending that says its format ({', '.join(FORMATS)}); say it with format="
        )
    return FORMATS[file.suffix.lower()]


def _checked(file: Path, parts: Iterator[Rows]) -> Iterator[Rows]:
    """The parts; a file that cannot be read is said to be one."""
    while True:
        try:
            part = next(parts, None)
        except UnicodeError as error:
            raise InvalidValue(f"{file.name!r} is not written in UTF-8") from error
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            why = strerror(error.errno) if error.errno else a_kind(error)  # pyarrow's own words hold the path
            raise StorageError(f"{file.name!r} cannot be read ({why})") from error
        if part is None:
            return
        if part:
            yield part


# -- JSON lines ----------------------------------------------------------------------------------------------------


def _json_lines(file: Path, schema: EntitySchema) -> Iterator[Rows]:
    with file.open(encoding="utf-8-sig") as lines:
        numbered = enumerate(lines)
        while part := list(islice(numbered, PART_ROWS)):
            yield [_json_row(file, schema, number, line) for number, line in part if line.strip()]


def _json_row(file: Path, schema: EntitySchema, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{file.name}, line {number + 1}: this is no JSON; each line is one object") from error
    if not is_dict(row):
        raise InvalidValue(f"{file.name}, line {number + 1}: this is {a_kind(row)}; each line is one object")
    return {str(name): _from_json(schema, str(name), value) for name, value in row.items()}


def _from_json(schema: EntitySchema, name: str, value: Any) -> Any:
    """Bytes are texts in JSON; everything else is taken as it stands."""
    field = schema.by_name.get(name)
    if field is None or field.dtype.kind != "bytes" or not isinstance(value, str):
        return value
    try:
        return b64decode(value, validate=True)
    except ValueError as error:
        raise InvalidValue.at(schema.id, name, None, value, "is no base64, as which bytes stand in JSON") from error


# -- Arrow ---------------------------------------------------------------------------------------------------------


def _parquet(file: Path, schema: EntitySchema) -> Iterator[Rows]:
    from heaven_core.arrow import parquet_rows

    return parquet_rows(file, schema, PART_ROWS)


def _csv(file: Path, schema: EntitySchema) -> Iterator[Rows]:
    from heaven_core.arrow import csv_rows

    total = 0
    for rows in csv_rows(file, schema):
        yield [
            {name: _from_text(schema, name, value, number) for name, value in row.items()}
            for number, row in enumerate(rows, total)
        ]
        total += len(rows)


def _from_text(schema: EntitySchema, name: str, value: Any, row: int) -> Any:
    """A cell of a CSV file: lists and JSON are JSON texts."""
    field = schema.by_name.get(name)
    if value is None or field is None:
        return value
    if field.dtype.kind in {"array", "vector", "json"}:
        try:
            return json.loads(value)
        except ValueError as error:
            raise InvalidValue.at(schema.id, name, row, value, "is no JSON, as which lists stand in CSV") from error
    return _from_json(schema, name, value)


PARTS: Mapping[str, Callable[[Path, EntitySchema], Iterator[Rows]]] = {
    "parquet": _parquet,
    "csv": _csv,
    "jsonl": _json_lines,
}
