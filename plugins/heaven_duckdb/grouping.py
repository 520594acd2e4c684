"""Grouped answers: what DuckDB groups, and what it cannot sum exactly. Imported by the first grouped question."""

from __future__ import annotations

import math
from typing import Any

from heaven_core.backend import Grouping, Rows, Scan
from heaven_core.sql import entity_table
from heaven_core.sql_groups import finished, float_results, groups_sql
from heaven_duckdb.handlers import id_set


def answer_groups(cursor: Any, request: Scan, group: Grouping) -> Rows:
    """Grouped in DuckDB; floats that pass their range on the way are computed with in Python."""
    source = entity_table(request.layout.entity)
    tuples = cursor.execute(*groups_sql(request, group, source, id_set)).fetchall()
    listed = any(math.isinf(value) or math.isnan(value) for value in float_results(tuples, group))
    if listed:
        tuples = cursor.execute(*groups_sql(request, group, source, id_set, _listed)).fetchall()
    return finished(request, group, tuples, listed=listed)


def _listed(column: str) -> str:
    return f"list({column}) filter ({column} is not null)"
