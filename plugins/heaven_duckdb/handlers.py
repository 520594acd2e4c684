"""What DuckDB can do, and how it says it.

What is missing here runs in Python, and `explain()` says so: DuckDB folds and tokenises otherwise than
`docs/semantics.md` asks, its regular expressions know other classes, and arrays and JSON lie in it as texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.handlers import Handler
from heaven_core.ops import Op
from heaven_core.patterns import parse_like
from heaven_core.schema import FieldSchema
from heaven_core.sql import Dialect, Sql, column
from heaven_core.sql import handlers as sql_handlers
from heaven_core.types import LogicalType, canonical_json

_IN_PYTHON = frozenset({"array", "json"})
"""Types whose values lie in DuckDB as texts: it stores and counts them, and looks into none."""
_ANY_TYPE = frozenset({"is_null", "count"})
_LONG_LIST = 100
"""Longer lists than this are one parameter."""


class DuckDialect(Dialect):
    """DuckDB 2."""

    backend = "duckdb"

    def among(self, expression: str, values: Sequence[Any]) -> Sql:
        if len(values) <= _LONG_LIST:
            return super().among(expression, values)
        return f"{expression} in (select unnest(?))", (list(values),)

    # text ------------------------------------------------------------------------------------------------------

    def starts_with(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"starts_with({column(field)}, ?)", (argument,)

    def ends_with(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"ends_with({column(field)}, ?)", (argument,)

    def contains(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"contains({column(field)}, ?)", (argument,)

    def contained_in(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"contains(?, {column(field)})", (argument,)

    def like(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        parse_like(argument)  # refuses what no pattern is
        return f"{column(field)} like ? escape '\\'", (argument,)

    # aggregates ------------------------------------------------------------------------------------------------

    def median(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return self.percentile(field, 50.0, strategy)

    def percentile(self, field: FieldSchema, argument: float, strategy: str) -> Sql:
        return f"quantile_cont({column(field)}::double, {float(argument) / 100!r})", ()

    def value_counts(self, field: FieldSchema, argument: Any, strategy: str) -> Sql:
        return f"list({column(field)}) filter ({column(field)} is not null)", ()


def id_set(ids: Sequence[str]) -> Sql:
    """The condition that a row is among these."""
    return 't."object_id" in (select unnest(from_json(?::json, \'["VARCHAR"]\')))', (canonical_json(list(ids)),)


def _strategies(dtype: type[LogicalType[Any]], op: Op) -> Sequence[str]:
    if dtype.kind in _IN_PYTHON:
        return ("inline", "json") if op.name in _ANY_TYPE else ()
    return ("inline",)


def handlers() -> Iterator[Handler]:
    """Every handler of the DuckDB engine."""
    yield from sql_handlers(DuckDialect(), _strategies)
