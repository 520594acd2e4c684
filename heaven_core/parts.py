"""Rows that come one after the other, taken a part at a time: what is in memory is one part, not all of them.

Also here: what holds for a stream as a whole, though it is written in parts. A row's number counts from its first
row, and no id may come twice.

Not here: what a row is (`heaven_core.batch`), files (`heaven_core.load`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from heaven_core.backend import Batch
from heaven_core.batch import is_table
from heaven_core.errors import ComputeError, DuplicateId, InvalidValue, UnknownField
from heaven_core.identity import named_id
from heaven_core.schema import EntitySchema

PART_ROWS = 10_000

Refusal = InvalidValue | UnknownField | ComputeError
"""What names a row by its position."""


def stream_parts(schema: EntitySchema, stream: Any) -> Iterator[Sequence[Any]]:
    """The rows of a stream, a part at a time: of an Arrow stream, or of an iterator over rows or over tables."""
    if is_table(stream):
        from heaven_core.arrow import table_parts

        return table_parts(schema, stream, PART_ROWS)
    return _cut(chain.from_iterable(_rows(schema, one) for one in stream))


def _rows(schema: EntitySchema, given: Any) -> Iterable[Any]:
    if not is_table(given):
        return (given,)
    from heaven_core.arrow import table_parts

    return chain.from_iterable(table_parts(schema, given, PART_ROWS))


def _cut(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while part := list(islice(rows, PART_ROWS)):
        yield part


class Ids:
    """The ids that the rows of a stream have brought themselves; those that are made here are new anyway."""

    def __init__(self, entity: str) -> None:
        self._entity, self._known = entity, set[str]()

    def add(self, batch: Batch, before: int) -> None:
        """Remember those of one more part.

        Raises:
            DuplicateId: an earlier part has one of them.
        """
        if batch.fresh:
            return
        for position, one in enumerate(batch.ids):
            if one in self._known:
                raise self._twice(batch, position, before)
        self._known.update(batch.ids)

    def _twice(self, batch: Batch, position: int, before: int) -> InvalidValue:
        name, row = batch.columns["name"][position], before + position
        if name is not None and batch.ids[position] == named_id(self._entity, name):  # what the caller knows it by
            return DuplicateId.at(self._entity, "name", row, name, "also names an earlier row; the name makes the id")
        reason = "is also the id of an earlier row; each row has its own"
        return DuplicateId.at(self._entity, "object_id", row, batch.ids[position], reason)


def further(error: Refusal, before: int) -> Refusal:
    """The error of a part with the row counted from the beginning of the stream."""
    said: dict[str, Any] = dict(vars(error))
    row = said.get("row")
    if row is None:
        return error
    if isinstance(error, DuplicateId):  # its reason names another row
        reason = re.sub(r"\brow (\d+)", lambda found: f"row {before + int(found[1])}", error.reason)
        return DuplicateId.at(error.entity, error.field, before + row, error.value, reason)
    message = said.pop("message").replace(f", row {row}: ", f", row {before + row}: ", 1)
    return type(error)(message, **{**said, "row": before + row})
