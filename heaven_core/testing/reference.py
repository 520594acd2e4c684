"""The answers that `docs/semantics.md` asks for, worked out row by row and as plainly as possible.

The meaning of one operation on one value is that of `heaven_core.ops`, which the tables of the document hold to
account; how conditions combine, how rows are ordered, grouped and found is written here a second time, on purpose
without looking at how `heaven_core.evaluate` does it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from fractions import Fraction
from functools import cmp_to_key
from typing import Any

from heaven_core.narrow import is_dict, is_pure_list
from heaven_core.ops import FILTERS
from heaven_core.text import tokens
from heaven_core.types import INT_MAX, INT_MIN, LogicalType

Row = Mapping[str, Any]
Types = Mapping[str, LogicalType[Any]]

OPS = {op.name: op for op in FILTERS}


class Refused(Exception):
    """The question has no answer: a sum does not fit."""


def exact(value: Any) -> Any:
    """What two values share only if they are the same to the last bit and of one type, in whatever order of keys."""
    if is_dict(value):
        return {key: exact(one) for key, one in value.items()}
    if is_pure_list(value):
        return [exact(one) for one in value]
    if isinstance(value, float):
        return "float", value.hex()
    assert getattr(value, "tzinfo", None) in {None, UTC}
    return type(value).__name__, value


def stored(row: Row, types: Types, defaults: Row) -> dict[str, Any]:
    """What a user's row is once it is stored: every field, in canonical form, defaults where it says nothing."""
    given = {**defaults, **row}
    values = {name: given.get(name) for name in types}
    return {name: None if value is None else types[name].check(value) for name, value in values.items()}


# -- conditions ----------------------------------------------------------------------------------------------------


def holds(spec: Mapping[str, Any], row: Row, types: Types) -> bool:
    """Whether a row satisfies a filter."""
    return all(_entry_holds(key, value, row, types) for key, value in spec.items())


def _entry_holds(key: str, value: Any, row: Row, types: Types) -> bool:
    if key == "$not":
        return not holds(value, row, types)
    if key == "$and":
        return all(holds(part, row, types) for part in value)
    if key == "$or":
        return any(holds(part, row, types) for part in value)
    asked: Mapping[str, Any] = value if is_dict(value) else {"$eq": value}
    return all(_op_holds(op[1:], argument, row[key], types[key]) for op, argument in asked.items())


def _op_holds(name: str, argument: Any, value: Any, dtype: LogicalType[Any]) -> bool:
    op = OPS[name]
    found = op.predicate(dtype, op.check(dtype, argument))(value)
    assert type(found) is bool
    return found


# -- order ---------------------------------------------------------------------------------------------------------


def in_order(rows: Iterable[Row], keys: Sequence[str], last: Sequence[str]) -> list[Row]:
    """Rows by these keys ("-n" descends), nulls last either way, ties by the keys `last`, ascending."""

    def compared(left: Row, right: Row) -> int:
        for key in (*keys, *last):
            name = key.removeprefix("-")
            one, other = left[name], right[name]
            if one is None or other is None:
                if (one is None) is not (other is None):
                    return 1 if one is None else -1
            elif one != other:
                return (1 if one > other else -1) * (-1 if key.startswith("-") else 1)
        return 0

    return sorted(rows, key=cmp_to_key(compared))


def page(rows: Sequence[Any], spec: Mapping[str, Any]) -> list[Any]:
    """What limit and offset leave."""
    rest = rows[spec.get("offset", 0) :]
    return list(rest[: spec["limit"]] if "limit" in spec else rest)


# -- groups --------------------------------------------------------------------------------------------------------


def groups(spec: Mapping[str, Any], rows: Iterable[Row], types: Types) -> list[dict[str, Any]]:
    """The groups of a grouped query with their aggregates, in no order, before having, limit and offset."""
    keys: Sequence[str] = spec.get("group_by", ())
    members: dict[tuple[Any, ...], list[Row]] = {} if keys else {(): []}
    for row in rows:
        members.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, key, strict=True)) | {alias: aggregated(one, found) for alias, one in spec["aggregate"].items()}
        for key, found in members.items()
    ]


def aggregated(aggregate: Mapping[str, Any], rows: Sequence[Row]) -> Any:
    """One aggregate of the rows of a group."""
    ((op, body),) = aggregate.items()
    if "field" not in body:
        return len(rows)
    values = [row[body["field"]] for row in rows if row[body["field"]] is not None]
    if op == "$count":
        return len(values)
    if op == "$value_counts":
        return [[value, count] for value, count in sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))]
    if not values:
        return None
    if op in {"$min", "$max"}:
        return min(values) if op == "$min" else max(values)
    if op in {"$sum", "$avg"}:
        return _sum(values) if op == "$sum" else float(sum(map(Fraction, values)) / len(values))
    return _percentile(sorted(values), Fraction(body.get("p", 50)))


def _sum(values: Sequence[Any]) -> Any:
    total = sum(map(Fraction, values))
    if isinstance(values[0], int):
        if not INT_MIN <= total <= INT_MAX:
            raise Refused
        return int(total)
    try:
        return float(total)
    except OverflowError:
        raise Refused from None


def _percentile(ordered: Sequence[Any], p: Fraction) -> float:
    position = (len(ordered) - 1) * p / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    share = position - low
    return float(Fraction(ordered[low]) * (1 - share) + Fraction(ordered[high]) * share)


def tolerance(aggregate: Mapping[str, Any], rows: Iterable[Row]) -> float:
    """How far an aggregate over floats may be from the exact one: a part in 1e9 of the sum of the magnitudes."""
    ((_, body),) = aggregate.items()
    values = [row[body["field"]] for row in rows if row[body["field"]] is not None]
    return float(sum(abs(Fraction(value)) / 10**9 for value in values)) + 5e-324


# -- ranking -------------------------------------------------------------------------------------------------------


def found_by(search: Mapping[str, Any], row: Row) -> bool:
    """Whether a row has one word of a search in one of its fields."""
    wanted = set(tokens(search["query"]))
    return any(wanted.intersection(tokens(row[name])) for name in search["fields"] if row[name] is not None)


def distance(metric: str, query: Sequence[float], vector: Sequence[float]) -> float:
    """The distance of two vectors."""
    product = math.fsum(one * other for one, other in zip(query, vector, strict=True))
    if metric == "dot":
        return -product
    if metric == "l2":
        return math.sqrt(math.fsum((one - other) ** 2 for one, other in zip(query, vector, strict=True)))
    lengths = math.sqrt(math.fsum(one * one for one in query)) * math.sqrt(math.fsum(one * one for one in vector))
    return 1.0 - product / lengths if lengths else 1.0
