"""Scans as SQL, for engines that say them as the standard does: `t` is the entity's table, marks are `?`.

`source` is the table, quoted; `id_set` says how the engine tells rows by their ids. Texts depend on what is asked,
values are parameters.

Not here: tables and writes, which are each engine's own; how conditions are put together (`heaven_core.sql`); what
becomes of groups (`heaven_core.sql_groups`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from heaven_core.backend import OrderBy, Scan
from heaven_core.sql import Sql, quote, where_sql

IdSetSql = Callable[[Sequence[str]], Sql]


def scan_sql(request: Scan, limit: int | None, source: str, id_set: IdSetSql) -> Sql:
    """The statement of a scan that is neither ranked nor grouped."""
    columns = ", ".join(f"t.{quote(name)}" for name in request.columns)
    text, values = conditioned(request, f"select {columns} from {source} t", id_set)
    return limited(text + order_sql(request.order), values, limit, request.offset)


def conditioned(request: Scan, text: str, id_set: IdSetSql) -> Sql:
    """A statement, with the condition of the request."""
    condition, values = where_sql(request.where, id_set)
    return (f"{text} where {condition}" if condition else text), values


def order_sql(order: Sequence[OrderBy]) -> str:
    """`order by` with nulls last and object_id for ties; empty for no order."""
    return f" order by {', '.join(_order_terms(order))}" if order else ""


def _order_terms(order: Sequence[OrderBy]) -> Iterator[str]:
    for one in order:
        yield f"t.{quote(one.name)} {'desc' if one.desc else 'asc'} nulls last"
    if not any(one.name == "object_id" for one in order):
        yield 't."object_id"'


def limited(text: str, values: tuple[Any, ...], limit: int | None, offset: int) -> Sql:
    """A statement, with limit and offset."""
    if limit is not None:
        text, values = f"{text} limit ?", (*values, limit)
    if offset:
        text, values = f"{text} offset ?", (*values, offset)
    return text, values


def count_sql(request: Scan, bound: int, source: str, id_set: IdSetSql) -> Sql:
    """How many rows match, up to a bound."""
    text, values = conditioned(request, f"select 1 from {source} t", id_set)
    return f"select count(*) from ({text} limit {bound}) found", values
