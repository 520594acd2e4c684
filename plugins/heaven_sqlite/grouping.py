"""Grouped answers: what SQLite groups by itself, and what it cannot sum exactly.

Not here: the SQL of groups (`heaven_sqlite.statements`), aggregates as functions
(`heaven_sqlite.functions`). Imported by the first grouped question.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from heaven_core.backend import Grouping, Rows, Scan
from heaven_core.codecs import Code, decoder, row_maker
from heaven_core.evaluate import check_bytes, finish_groups, most_rows
from heaven_core.expr import Aggregate
from heaven_core.ops import checked_sum
from heaven_sqlite import statements
from heaven_sqlite.engine import CHUNK, fetched

if TYPE_CHECKING:
    from heaven_sqlite.connection import Connection


class _Inexact(Exception):  # nothing is wrong: the groups are asked for once more
    """A sum or a mean passed the floats, perhaps only on the way."""


def answer_groups(connection: Connection, request: Scan, group: Grouping) -> Rows:
    """Grouped in SQLite; what it cannot sum is summed in Python, by aggregates of ours."""
    try:
        if statements.is_whole_group_query(request, group):
            return _whole_groups(connection, request, group)
        return _finished_groups(connection, request, group, exact_sums=False)
    except _Inexact:
        pass
    except sqlite3.OperationalError as error:
        if "integer overflow" not in str(error):
            raise
    return _finished_groups(connection, request, group, exact_sums=True)


def _whole_groups(connection: Connection, request: Scan, group: Grouping) -> Rows:
    """The groups that are asked for, in order, from one statement."""
    text, values = statements.whole_group_sql(request, group, most_rows(request))
    tuples = fetched(connection.execute(text, values), request.limits)
    check_bytes(tuples, request.limits)  # even few rows: one value_counts may be large
    if _beyond_floats(tuples, group):
        raise _Inexact
    return Rows(*_group_shape(request, group), tuples)


def _finished_groups(connection: Connection, request: Scan, group: Grouping, *, exact_sums: bool) -> Rows:
    """All groups from SQLite; condition, order and limit in Python."""
    text, values = statements.group_sql(request, group, exact_sums=exact_sums)
    cursor = connection.execute(text, values)
    make = row_maker(*_group_shape(request, group), request.layout.entity)

    def made() -> Iterator[dict[str, Any]]:
        while chunk := cursor.fetchmany(CHUNK):
            if not exact_sums and _beyond_floats(chunk, group):
                raise _Inexact
            yield from make(chunk)

    with closing(cursor):  # which may not be at its end, and would go on showing this thread the past
        return finish_groups(request, group, made())


def _group_shape(request: Scan, group: Grouping) -> tuple[tuple[str, ...], tuple[Code | None, ...]]:
    names = (*group.keys, *(alias for alias, _, _ in group.aggregates))
    keys = [decoder(request.layout.by_name[key].field.dtype) for key in group.keys]
    return names, (*keys, *(_aggregate_decoder(aggregate) for _, aggregate, _ in group.aggregates))


def _beyond_floats(tuples: Sequence[tuple[Any, ...]], group: Grouping) -> bool:
    """Whether one of the sums or means of floats is an infinity."""
    first = len(group.keys)
    floats = [
        position
        for position, (_, aggregate, _) in enumerate(group.aggregates, first)
        if statements.is_float_sum(aggregate)
    ]
    return any(row[position] in (math.inf, -math.inf) for row in tuples for position in floats)


def _aggregate_decoder(aggregate: Aggregate) -> Code | None:
    field = aggregate.field
    if field is None or aggregate.op in {"count", "avg", "median", "percentile"}:
        return None
    code = decoder(field.dtype)
    if aggregate.op == "value_counts":
        return _counts_decoder(code)
    if aggregate.op == "sum":
        return _whole_sum if field.dtype.kind == "integer" else checked_sum
    return code


def _counts_decoder(code: Code | None) -> Code:
    import json

    return lambda text: [[value if code is None else code(value), count] for value, count in json.loads(text)]


def _whole_sum(value: int | str) -> int:
    """A sum of whole numbers; as text where it came from Python because it passed 64 bits on the way."""
    return checked_sum(int(value))
