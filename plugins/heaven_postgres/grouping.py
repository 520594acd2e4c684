"""Grouped answers: what PostgreSQL groups, and what it cannot compute. Imported by the first grouped question."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import psycopg

from heaven_core.backend import Grouping, Rows, Scan
from heaven_core.handlers import GroupsTooWide
from heaven_core.sql import Sql
from heaven_core.sql_groups import finished, float_results, groups_sql
from heaven_postgres.handlers import id_set
from heaven_postgres.statements import table

MOST_COLUMNS = 1600
"""Columns of an answer that PostgreSQL makes, less some."""

Fetch = Callable[[Sql], list[tuple[Any, ...]]]


def answer_groups(fetch: Fetch, request: Scan, group: Grouping) -> Rows:
    """Grouped in PostgreSQL; where floats pass their range on the way, they are computed with in Python.

    `fetch` runs a statement, which leaves nothing behind if it fails.
    """
    if len(group.keys) + len(group.aggregates) > MOST_COLUMNS:
        raise GroupsTooWide(f"a group has at most {MOST_COLUMNS} keys and aggregates")
    source, listed = table(request.layout.entity), False
    try:
        tuples = fetch(groups_sql(request, group, source, id_set))
        listed = not all(math.isfinite(value) for value in float_results(tuples, group))
    except psycopg.errors.NumericValueOutOfRange:
        tuples, listed = [], True
    if listed:
        tuples = fetch(groups_sql(request, group, source, id_set, _listed))
    return finished(request, group, tuples, listed=listed)


def _listed(column: str) -> str:
    return f"array_agg({column}) filter (where {column} is not null)"
