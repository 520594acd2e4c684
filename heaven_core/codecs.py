"""Codecs: canonical values as the flat values that engines store, and back.

Chosen by `LogicalType.kind`, so a type of your own inherits its storage. Text,
numbers and bytes pass as they are. A persisted format: a change here needs a new
storage format version and an upgrade.

Not here: what values are valid (`heaven_core.types`).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from heaven_core.errors import HeavenError, StorageError
from heaven_core.types import EPOCH, MICROSECOND, Array, LogicalType, canonical_json

Code = Callable[[Any], Any]

_loads = json.loads


def _encode_timestamp(value: Any) -> int:
    return (value - EPOCH) // MICROSECOND


def _decode_timestamp(value: int) -> Any:
    return EPOCH + timedelta(microseconds=value)


def _encode_duration(value: timedelta) -> int:
    return value // MICROSECOND


def _decode_duration(value: int) -> timedelta:
    return timedelta(microseconds=value)


def _encode_vector(value: Sequence[float] | bytes) -> bytes:
    if isinstance(value, bytes):  # packed already
        return value
    import sys

    packed = array("f", value)
    if sys.byteorder != "little":
        packed.byteswap()
    return packed.tobytes()


def _decode_vector(value: bytes) -> list[float]:
    import sys

    packed = array("f")
    packed.frombytes(value)
    if sys.byteorder != "little":
        packed.byteswap()
    return packed.tolist()


def _vector_decoder(dim: int) -> Code:
    """Refuses bytes that are a vector, but none of this field: nothing else would notice that they are damaged."""

    def decode(value: bytes) -> list[float]:
        if len(value) != 4 * dim:
            raise ValueError("another dimension")
        return _decode_vector(value)

    return decode


_ENCODERS: dict[str, Code] = {
    "timestamp": _encode_timestamp,
    "date": date.isoformat,
    "duration": _encode_duration,
    "json": canonical_json,
    "vector": _encode_vector,
}
_DECODERS: dict[str, Code] = {
    "boolean": bool,
    "timestamp": _decode_timestamp,
    "date": date.fromisoformat,
    "duration": _decode_duration,
    "json": _loads,
    "vector": _decode_vector,
}


def encoder(dtype: LogicalType[Any]) -> Code | None:
    """The function from a non-null canonical value to what is stored; None where they are the same."""
    if not isinstance(dtype, Array):
        return _ENCODERS.get(dtype.kind)
    item = None if dtype.item is None else encoder(dtype.item)
    return canonical_json if item is None else lambda value: canonical_json([item(one) for one in value])


def decoder(dtype: LogicalType[Any]) -> Code | None:
    """The function from what is stored back to the value; None where they are the same."""
    if not isinstance(dtype, Array):
        dim = dtype.params().get("dim") if dtype.kind == "vector" else None
        return _DECODERS.get(dtype.kind) if dim is None else _vector_decoder(dim)
    item = None if dtype.item is None or dtype.item.kind == "boolean" else decoder(dtype.item)
    return _loads if item is None else lambda value: [item(one) for one in _loads(value)]


def item_encoder(dtype: LogicalType[Any]) -> Code | None:
    """As `encoder`, for the items of an array."""
    return encoder(dtype.item) if isinstance(dtype, Array) and dtype.item is not None else None


def encode_column(dtype: LogicalType[Any], column: Sequence[Any]) -> Sequence[Any]:
    """A column of canonical values as stored values; the same object where nothing changes."""
    code = encoder(dtype)
    return column if code is None else [None if value is None else code(value) for value in column]


def encoded(dtype: LogicalType[Any], column: Sequence[Any]) -> Iterable[Any]:
    """As `encode_column`, each value when it is read, so that a big column is not there twice."""
    code = encoder(dtype)
    return column if code is None else (None if value is None else code(value) for value in column)


RowMaker = Callable[[Sequence[Sequence[Any]]], list[dict[str, Any]]]


def row_maker(names: Sequence[str], decoders: Sequence[Code | None], entity: str = "") -> RowMaker:
    """A function from stored tuples to dicts, written out for these columns.

    A dict display over unpacked names is about twice as fast as `dict(zip(...))`.
    The names come from checked schemas and stand in the code as literals.

    The function raises StorageError for a stored value that is not what an encoder wrote; the
    message has the entity, where it is given, the field and the row.
    """
    slots = [f"v{index}" for index in range(len(names))]
    parts: list[str] = []
    for name, code, slot in zip(names, decoders, slots, strict=True):
        value = slot if code is None else f"None if {slot} is None else d{slot}({slot})"
        parts.append(f"{name!r}: {value}")
    unpack = ", ".join(slots) + ("," if slots else "")
    source = f"def make(rows):\n    return [{{{', '.join(parts)}}} for ({unpack}) in rows]\n"
    scope: dict[str, Any] = {f"d{slot}": code for slot, code in zip(slots, decoders, strict=True) if code is not None}
    exec(source, scope)  # noqa: S102  # holds no foreign text: names come from checked schemas
    return _guarded(scope["make"], names, decoders, entity) if any(decoders) else scope["make"]


def _guarded(make: RowMaker, names: Sequence[str], decoders: Sequence[Code | None], entity: str) -> RowMaker:
    def guarded(rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        try:
            return make(rows)
        except HeavenError:
            raise
        except DAMAGE as error:
            raise damaged(names, decoders, rows, entity) from error

    return guarded


DAMAGE = (ValueError, TypeError, ArithmeticError, LookupError)
"""What decoders raise at values that no encoder wrote."""


def damaged(
    names: Sequence[str], decoders: Sequence[Code | None], rows: Iterable[Sequence[Any]], entity: str = ""
) -> StorageError:
    """The error for a stored value that cannot be read, which is looked for in the rows."""
    field, object_id = _culprit(names, decoders, rows)
    where = f"{entity}.{field}" if entity else field
    row = "" if object_id is None else f" in row {object_id!r:.300}"
    return StorageError(
        f"a stored value of {where}{row} cannot be read: it was damaged outside; see ws.check(), and restore a backup"
    )


def _culprit(
    names: Sequence[str], decoders: Sequence[Code | None], rows: Iterable[Sequence[Any]]
) -> tuple[str, str | None]:
    """The field whose value cannot be read, and the id of its row, if that is among the columns."""
    key = names.index("object_id") if "object_id" in names else None
    for row in rows:
        for name, code, value in zip(names, decoders, row, strict=False):  # ranked rows have a score more
            if code is not None and value is not None and not _is_readable(code, value):
                return name, None if key is None else row[key]
    return ", ".join(names), None


def _is_readable(code: Code, value: Any) -> bool:
    try:
        code(value)
    except DAMAGE:
        return False
    return True
