"""The SQL text of the DuckDB engine: tables, writes and scans. No IO here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from heaven_core.backend import Change, Column, Grouping, Layout, OrderBy, Scan
from heaven_core.expr import Aggregate
from heaven_core.sql import Sql, entity_table, quote, where_sql
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


# -- scans ---------------------------------------------------------------------------------------------------------


def scan(request: Scan, limit: int | None) -> Sql:
    """The statement of a scan that is neither ranked nor grouped."""
    columns = ", ".join(f"t.{quote(name)}" for name in request.columns)
    text, values = _conditioned(request, f"select {columns} from {entity_table(request.layout.entity)} t")
    if request.order:
        text += f" order by {', '.join(_order_terms(request.order))}"
    return _limited(text, values, limit, request.offset)


def _conditioned(request: Scan, text: str) -> Sql:
    condition, values = where_sql(request.where, id_set)
    return (f"{text} where {condition}" if condition else text), values


def _order_terms(order: Sequence[OrderBy]) -> Iterator[str]:
    for one in order:
        yield f"t.{quote(one.name)} {'desc' if one.desc else 'asc'} nulls last"
    if not any(one.name == "object_id" for one in order):
        yield 't."object_id"'


def _limited(text: str, values: tuple[Any, ...], limit: int | None, offset: int) -> Sql:
    if limit is not None:
        text, values = f"{text} limit ?", (*values, limit)
    if offset:
        text, values = f"{text} offset ?", (*values, offset)
    return text, values


def count(request: Scan, bound: int) -> Sql:
    """How many rows match, up to a bound."""
    text, values = _conditioned(request, f"select 1 from {entity_table(request.layout.entity)} t")
    return f"select count(*) from ({text} limit {bound})", values


def groups(request: Scan, group: Grouping, *, exact_sums: bool) -> Sql:
    """The statement of all groups of a scan, in no order and without `having`.

    With `exact_sums`, what is summed comes as lists, for Python to sum.
    """
    values: list[Any] = []
    columns = [f"t.{quote(key)}" for key in group.keys]
    for _, aggregate, fragment in group.aggregates:
        text, parameters = fragment.payload
        values.extend(parameters)
        columns.append(_listed(aggregate) if exact_sums and is_float_sum(aggregate) else text)
    text, more = _conditioned(request, f"select {', '.join(columns)} from {entity_table(request.layout.entity)} t")
    if group.keys:
        text += f" group by {', '.join(columns[: len(group.keys)])}"
    return text, (*values, *more)


def is_float_sum(aggregate: Aggregate) -> bool:
    """Whether it sums floats, which may give an infinity on the way."""
    return aggregate.op in {"sum", "avg"} and aggregate.field is not None and aggregate.field.dtype.kind == "float"


def _listed(aggregate: Aggregate) -> str:
    assert aggregate.field is not None
    name = f"t.{quote(aggregate.field.name)}"
    return f"list({name}) filter ({name} is not null)"
