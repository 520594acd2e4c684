"""Groups of an SQL engine: the statement that makes them, and what is left to do when they are there.

Sums and means of floats may pass their range on the way, which every engine shows in a way of its own. The values are
then asked for as lists and summed in Python.

Not here: aggregates as SQL (each engine's dialect). Imported by the first grouped question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from heaven_core.backend import Grouping, Rows, Scan
from heaven_core.codecs import Code, decoder, row_maker
from heaven_core.evaluate import finish_groups
from heaven_core.expr import Aggregate
from heaven_core.ops import checked_sum, reducer
from heaven_core.sql import Sql, quote
from heaven_core.sql_scan import IdSetSql, conditioned


def groups_sql(
    request: Scan, group: Grouping, source: str, id_set: IdSetSql, listed: Callable[[str], str] | None = None
) -> Sql:
    """The statement of all groups of a scan, in no order and without `having`.

    With `listed`, which says how the engine makes a list of a column, the values of what floats may fail are listed.
    """
    values: list[Any] = []
    columns = [f"t.{quote(key)}" for key in group.keys]
    for _, aggregate, fragment in group.aggregates:
        if listed is not None and is_of_floats(aggregate):
            assert aggregate.field is not None
            columns.append(listed(f"t.{quote(aggregate.field.name)}"))
        else:
            text, parameters = fragment.payload
            values.extend(parameters)
            columns.append(text)
    text, more = conditioned(request, f"select {', '.join(columns)} from {source} t", id_set)
    if group.keys:
        text += f" group by {', '.join(columns[: len(group.keys)])}"
    return text, (*values, *more)


def is_of_floats(aggregate: Aggregate) -> bool:
    """Whether it computes with floats, which may give an infinity on the way."""
    computes = aggregate.op in {"sum", "avg", "median", "percentile"}
    return computes and aggregate.field is not None and aggregate.field.dtype.kind == "float"


def float_results(tuples: Iterable[Sequence[Any]], group: Grouping) -> Iterator[float]:
    """What was computed with floats."""
    places = [place for place, (_, one, _) in enumerate(group.aggregates, len(group.keys)) if is_of_floats(one)]
    return (row[place] for row in tuples for place in places if row[place] is not None)


def finished(request: Scan, group: Grouping, tuples: Iterable[Sequence[Any]], *, listed: bool) -> Rows:
    """The answer from the groups that the engine made; `listed` says that the statement was asked for lists."""
    codes = [decoder(request.layout.by_name[key].field.dtype) for key in group.keys]
    codes += [_decoder(aggregate, listed) for _, aggregate, _ in group.aggregates]
    names = (*group.keys, *(alias for alias, _, _ in group.aggregates))
    return finish_groups(request, group, row_maker(names, codes)(list(_with_empty(tuples, group))))


def _with_empty(tuples: Iterable[Sequence[Any]], group: Grouping) -> Iterator[tuple[Any, ...]]:
    """No value to count is an empty list, and no null."""
    counts = {place for place, (_, one, _) in enumerate(group.aggregates, len(group.keys)) if one.op == "value_counts"}
    for row in tuples:
        yield tuple([[] if value is None and place in counts else value for place, value in enumerate(row)])


def _decoder(aggregate: Aggregate, listed: bool) -> Code | None:
    """How to read an aggregate's result."""
    field = aggregate.field
    if field is None or aggregate.op == "count":
        return None
    if aggregate.op == "value_counts":
        return _counts(decoder(field.dtype))
    if listed and is_of_floats(aggregate):
        return reducer(aggregate.op, aggregate.param)
    if aggregate.op == "sum":
        return _sum
    return float if aggregate.op in {"avg", "median", "percentile"} else decoder(field.dtype)


def _sum(value: Any) -> Any:
    return checked_sum(value + 0.0 if isinstance(value, float) else int(value))  # no zero below zero


def _counts(code: Code | None) -> Code:
    def counted(values: Sequence[Any]) -> list[list[Any]]:
        pairs = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
        return [[value if code is None else code(value), count] for value, count in pairs]

    return counted
