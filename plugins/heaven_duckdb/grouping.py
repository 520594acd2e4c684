"""Grouped answers: what DuckDB groups, and what it cannot sum exactly. Imported by the first grouped question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from heaven_core.backend import Grouping, Rows, Scan
from heaven_core.codecs import Code, decoder, row_maker
from heaven_core.evaluate import finish_groups
from heaven_core.expr import Aggregate
from heaven_core.ops import checked_sum, reducer
from heaven_duckdb import statements


def answer_groups(cursor: Any, request: Scan, group: Grouping) -> Rows:
    """Grouped in DuckDB; floats that pass their range on the way are summed in Python."""
    tuples = cursor.execute(*statements.groups(request, group, exact_sums=False)).fetchall()
    exact = any(math.isinf(value) or math.isnan(value) for value in _float_sums(tuples, group))
    if exact:
        tuples = cursor.execute(*statements.groups(request, group, exact_sums=True)).fetchall()
    codes = [decoder(request.layout.by_name[key].field.dtype) for key in group.keys]
    codes += [_decoder(aggregate, exact) for _, aggregate, _ in group.aggregates]
    names = (*group.keys, *(alias for alias, _, _ in group.aggregates))
    return finish_groups(request, group, row_maker(names, codes)(list(_with_empty(tuples, group))))


def _with_empty(tuples: Iterable[Sequence[Any]], group: Grouping) -> Iterator[tuple[Any, ...]]:
    """No value to count is an empty list, and no null."""
    counts = {place for place, (_, one, _) in enumerate(group.aggregates, len(group.keys)) if one.op == "value_counts"}
    for row in tuples:
        yield tuple([[] if value is None and place in counts else value for place, value in enumerate(row)])


def _float_sums(tuples: Sequence[tuple[Any, ...]], group: Grouping) -> Iterator[float]:
    places = [
        place for place, (_, one, _) in enumerate(group.aggregates, len(group.keys)) if statements.is_float_sum(one)
    ]
    return (row[place] for row in tuples for place in places if row[place] is not None)


def _decoder(aggregate: Aggregate, exact: bool) -> Code | None:
    """How to read an aggregate's result."""
    field = aggregate.field
    if field is None or aggregate.op in {"count", "median", "percentile"}:
        return None
    if aggregate.op == "value_counts":
        return _counts(decoder(field.dtype))
    if exact and statements.is_float_sum(aggregate):
        return reducer(aggregate.op, None)
    if aggregate.op == "sum":
        return _sum
    return None if aggregate.op == "avg" else decoder(field.dtype)


def _sum(value: Any) -> Any:
    return checked_sum(value + 0.0 if isinstance(value, float) else value)  # no zero below zero


def _counts(code: Code | None) -> Code:
    def counted(values: Sequence[Any]) -> list[list[Any]]:
        pairs = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
        return [[value if code is None else code(value), count] for value, count in pairs]

    return counted
