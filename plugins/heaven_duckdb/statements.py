"""The SQL text of the DuckDB engine: tables and writes. No IO here.

Not here: scans, which DuckDB says as the standard does (`heaven_core.sql_scan`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from heaven_core.backend import Change, Column, Layout
from heaven_core.sql import Sql, entity_table, quote
from heaven_duckdb.handlers import id_set

STATE = "create table if not exists hb_state (format integer not null, workspace varchar not null)"

TABLES = "select table_name from duckdb_tables() where schema_name = 'main'"

_COLUMN_TYPES = {
    "text": "varchar",
    "integer": "bigint",
    "float": "double",
    "boolean": "boolean",
    "timestamp": "bigint",
    "date": "varchar",
    "duration": "bigint",
    "array": "varchar",
    "json": "varchar",
    "vector": "blob",
    "bytes": "blob",
}


def column_type(one: Column) -> str:
    """How a field's values lie in a table."""
    return _COLUMN_TYPES[one.field.dtype.kind]


# -- tables --------------------------------------------------------------------------------------------------------


def ddl(change: Change) -> Iterator[str]:
    """The statements that bring what exists from `before` to `after`; additions and a whole drop."""
    before, after = change
    if after is None:
        assert before is not None
        yield f"drop table if exists {entity_table(before.entity)}"
    elif before is None:
        columns = ", ".join(f"{quote(one.name)} {column_type(one)}" for one in after.columns)
        yield f"drop table if exists {entity_table(after.entity)}"  # of a registration that was not committed
        yield f"create table {entity_table(after.entity)} ({columns})"
    else:
        for one in after.columns:
            if one.name not in before.by_name:
                yield (
                    f"alter table {entity_table(after.entity)} add column if not exists "
                    f"{quote(one.name)} {column_type(one)}"
                )


# -- writes --------------------------------------------------------------------------------------------------------


def put(layout: Layout, source: str) -> str:
    """Replace or insert the rows of a view; without a key on the table, which would slow every write."""
    names = [quote(name) for name in layout.names]
    sets = ", ".join(f"{name} = s.{name}" for name in names[1:])
    values = ", ".join(f"s.{name}" for name in names)
    return (
        f"merge into {entity_table(layout.entity)} t using {source} s on t.object_id = s.object_id "
        f"when matched then update set {sets} when not matched then insert ({', '.join(names)}) values ({values})"
    )


def delete(layout: Layout, ids: Sequence[str]) -> Sql:
    """Delete rows; the statement gives the ids that existed."""
    condition, values = id_set(ids)
    return f'delete from {entity_table(layout.entity)} t where {condition} returning "object_id"', values
