"""The SQL text of the SQLite engine: tables, writes and scans. No IO here.

Texts depend on layouts only, so they are made once per layout and kept in its
cache; what a user asks for arrives as parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from heaven_core.backend import Change, Column, Grouping, Layout, OrderBy, Scan, Search
from heaven_core.expr import Aggregate
from heaven_core.handlers import GroupsTooWide
from heaven_core.sql import (
    Sql,
    entity_table,
    fulltext_table,
    kept,
    quote,
    reversed_column,
    side_table,
    trigram_table,
    where_sql,
)
from heaven_core.types import Array
from heaven_sqlite.handlers import fts_query

MOST_COLUMNS = 2000
"""Columns of an answer that SQLite makes, as it is usually built."""


STATE = """create table if not exists hb_state (
    id integer primary key check (id = 1), lsn integer not null, epoch integer not null, workspace text not null,
    text_rules text
) strict"""
"""`text_rules` says with which version of them the full-text indexes were made, null where there has been none."""

FULLTEXT_TABLES = """select substr(name, 3, length(name) - 7) from sqlite_master
where name glob 'e_*._fts' and sql like 'create virtual table%'"""
"""The entities that have a full-text index."""

VECTOR_VERSIONS = """create table if not exists hb_vectors (
    entity text primary key, lsn integer not null
) strict, without rowid"""
"""The last write that touched rows of an entity with vectors; what is kept in memory of them is compared with it.

`lsn` is the write's number with 24 bits of chance below it; in older files the number alone, which is less."""

VECTOR_VERSION = "select lsn from hb_vectors where entity = ?"

CLAIM = """select application_id, user_version, (select count(*) from sqlite_master)
from pragma_application_id, pragma_user_version"""
"""Whose file it is, of which version, and whether there is anything in it: in one statement, so of one moment."""

_COLUMN_TYPES = {
    "text": "text",
    "integer": "integer",
    "float": "real",
    "boolean": "integer",
    "timestamp": "integer",
    "date": "text",
    "duration": "integer",
    "array": "text",
    "json": "text",
    "vector": "blob",
    "bytes": "blob",
}


# -- tables --------------------------------------------------------------------------------------------------------


def ddl(change: Change) -> Iterator[str]:
    """The statements that bring what exists from `before` to `after`; additions and a whole drop."""
    before, after = change
    if after is None:
        assert before is not None
        yield from _dropped(before)
    elif before is None:
        yield from _created(after)
    else:
        yield from _extended(before, after)
    if after is not None and vector_fields(after):
        yield VECTOR_VERSIONS


def _created(layout: Layout) -> Iterator[str]:
    columns = ["_rowid integer primary key", '"object_id" text not null unique']
    columns += [_column(one) for one in layout.columns[1:]]
    columns += [f"{reversed_column(name)} text" for name in reversed_fields(layout)]
    columns.append("_v integer not null")
    yield f"create table {entity_table(layout.entity)} ({', '.join(columns)}) strict"
    for one in layout.columns:
        yield from _satellites(layout, one)
    for index in text_indexes(layout):
        yield index.create


def _column(one: Column) -> str:
    return f"{quote(one.name)} {_COLUMN_TYPES[one.field.dtype.kind]}"


def indexes(layout: Layout, one: Column) -> Iterator[tuple[str, str, str]]:
    """The indexes that a column asks for: their kind (unique, index, ending, item), quoted name and statement."""
    table, name = entity_table(layout.entity), quote(one.name)
    if one.field.unique:
        yield _index(layout, one, "unique", f"{table} ({name})")
    if one.field.index:
        yield _index(layout, one, "index", f'{table} ({name}, "object_id")')
    if "suffix-index" in one.indexes:
        yield _index(layout, one, "ending", f'{table} ({reversed_column(one.name)}, "object_id")')
    if one.strategy == "side":
        yield _index(layout, one, "item", f"{side_table(layout.entity, one.name)} (item, row)")


def _index(layout: Layout, one: Column, kind: str, what: str) -> tuple[str, str, str]:
    name = quote(f"e_{layout.entity}.{one.name}.{kind}")
    return kind, name, f"create {'unique index' if kind == 'unique' else 'index'} {name} on {what}"


def _satellites(layout: Layout, one: Column) -> Iterator[str]:
    """The side table and the indexes of a column."""
    if one.strategy == "side":
        yield _side(layout, one)
    for _, _, text in indexes(layout, one):
        yield text


def _side(layout: Layout, one: Column) -> str:
    assert isinstance(one.field.dtype, Array)
    kind = "text" if one.field.dtype.item is None else _COLUMN_TYPES[one.field.dtype.item.kind]
    return (
        f"create table {side_table(layout.entity, one.name)} "
        f"(row integer not null, pos integer not null, item {kind} not null, "
        "primary key (row, pos)) without rowid, strict"
    )


class TextIndex(NamedTuple):
    """An index of texts in a table of its own, with one column `f_<field>` per field."""

    kind: str
    table: str
    entity: str
    names: tuple[str, ...]
    tokenizer: str
    function: str
    """The SQL function that makes of a text what is indexed; empty where that is the text itself."""

    @property
    def columns(self) -> str:
        """The names of its columns."""
        return ", ".join(quote(f"f_{name}") for name in self.names)

    @property
    def create(self) -> str:
        """What creates it."""
        return f"create virtual table {self.table} using fts5 ({self.columns}, tokenize = '{self.tokenizer}')"

    @property
    def fill(self) -> str:
        """What fills it from the rows."""
        texts = ", ".join(f"{self.function}({quote(name)})" for name in self.names)
        return (
            f"insert into {self.table} (rowid, {self.columns}) "
            f"select _rowid, {texts} from {entity_table(self.entity)} order by _rowid"
        )

    @property
    def insert(self) -> str:
        """What indexes one row: rowid, then the texts."""
        return f"insert into {self.table} (rowid, {self.columns}) values ({', '.join('?' * (len(self.names) + 1))})"


@kept
def fulltext_fields(layout: Layout) -> list[str]:
    """The fields in the entity's full-text index."""
    return [one.name for one in layout.columns if "inverted" in one.indexes]


@kept
def text_indexes(layout: Layout) -> list[TextIndex]:
    """The indexes of texts that the entity has."""
    found = [fulltext_index(layout.entity, fulltext_fields(layout))]
    names = tuple(one.name for one in layout.columns if "trigram-index" in one.indexes)
    table = trigram_table(layout.entity)
    found.append(TextIndex("trigram", table, layout.entity, names, "trigram case_sensitive 1", ""))
    return [one for one in found if one.names]


def fulltext_index(entity: str, names: Sequence[str]) -> TextIndex:
    """The full-text index of these fields."""
    return TextIndex("fulltext", fulltext_table(entity), entity, tuple(names), "ascii", "hb_index_text")


@kept
def reversed_fields(layout: Layout) -> list[str]:
    """The fields whose texts are also kept from their ends to their beginnings."""
    return [one.name for one in layout.columns if "suffix-index" in one.indexes]


def satellites(layout: Layout, known: Collection[str]) -> Iterator[str]:
    """What creates the side tables, indexes and text indexes that are not among the known names (quoted)."""
    for one in layout.columns:
        if one.strategy == "side" and side_table(layout.entity, one.name) not in known:
            yield _side(layout, one)
        for _, name, text in indexes(layout, one):
            if name not in known:
                yield text
    yield from (one.create for one in text_indexes(layout) if one.table not in known)


def _extended(before: Layout, after: Layout) -> Iterator[str]:
    table = entity_table(after.entity)
    for one in after.columns:
        if one.name not in before.by_name:
            yield f"alter table {table} add column {_column(one)}"
            if "suffix-index" in one.indexes:
                yield f"alter table {table} add column {reversed_column(one.name)} text"
            yield from _satellites(after, one)
    changed = [one for one in text_indexes(after) if one not in text_indexes(before)]
    for one in text_indexes(before):
        if one.table in {other.table for other in changed}:
            yield f"drop table {one.table}"
    yield from (one.create for one in changed)


def _dropped(layout: Layout) -> Iterator[str]:
    yield f"drop table if exists {entity_table(layout.entity)}"
    for one in layout.columns:
        if one.strategy == "side":
            yield f"drop table if exists {side_table(layout.entity, one.name)}"
    for one in text_indexes(layout):
        yield f"drop table if exists {one.table}"


@kept
def side_fields(layout: Layout) -> list[Column]:
    """The array fields with a table of their own."""
    return [one for one in layout.columns if one.strategy == "side"]


@kept
def has_satellites(layout: Layout) -> bool:
    """Whether rows of the entity lie in more tables than one."""
    return bool(side_fields(layout) or text_indexes(layout))


@kept
def vector_fields(layout: Layout) -> list[str]:
    """The fields that hold vectors."""
    return [one.name for one in layout.columns if one.field.dtype.kind == "vector"]


@kept
def is_numbered(layout: Layout) -> bool:
    """Whether whoever inserts rows has to know their numbers."""
    return has_satellites(layout) or bool(vector_fields(layout))


# -- writes --------------------------------------------------------------------------------------------------------


@kept
def insert(layout: Layout) -> str:
    """Insert one row: values in the layout's order, reversed texts, then `_v`."""
    return _insert(layout, _written(layout))


@kept
def insert_numbered(layout: Layout) -> str:
    """As `insert`, with `_rowid` before the values."""
    return _insert(layout, ["_rowid", *_written(layout)])


def _written(layout: Layout) -> list[str]:
    return [*map(quote, layout.names), *map(reversed_column, reversed_fields(layout)), "_v"]


def _insert(layout: Layout, names: Sequence[str]) -> str:
    return f"insert into {entity_table(layout.entity)} ({', '.join(names)}) values ({', '.join('?' * len(names))})"


@kept
def update(layout: Layout) -> str:
    """Replace one row: values in the layout's order without object_id, reversed texts, `_v`, then the rowid."""
    sets = ", ".join(f"{name} = ?" for name in _written(layout)[1:])
    return f"update {entity_table(layout.entity)} set {sets} where _rowid = ?"


@kept
def existing(layout: Layout) -> str:
    """Stored rows of a JSON list of ids: rowid, then the layout's columns."""
    names = ", ".join(map(quote, layout.names))
    return (
        f"select _rowid, {names} from {entity_table(layout.entity)} "
        'where "object_id" in (select value from json_each(?))'
    )


# -- scans ---------------------------------------------------------------------------------------------------------


def select_list(layout: Layout, names: Sequence[str]) -> str:
    """`select ... from ...` for these columns, kept per layout."""
    key = "select" if names is layout.names else ("select", tuple(names))
    text = layout.cache.get(key)
    if text is None:
        columns = ", ".join(f"t.{quote(name)}" for name in names)
        text = layout.cache[key] = f"select {columns} from {entity_table(layout.entity)} t"
    return text


def order_sql(layout: Layout, order: Sequence[OrderBy]) -> str:
    """`order by` with nulls last and object_id for ties; empty for no order."""
    if not order:
        return ""
    key = ("order", tuple(order))
    text = layout.cache.get(key)
    if text is None:
        text = layout.cache[key] = f" order by {', '.join(_order_terms(layout, order))}"
    return text


def _order_terms(layout: Layout, order: Sequence[OrderBy]) -> list[str]:
    terms: list[str] = []
    for one in order:
        name = f"t.{quote(one.name)}"
        direction = " desc" if one.desc else ""
        never_null = layout.by_name[one.name].field.name == "object_id"
        terms.append(f"{name}{direction}" + ("" if one.desc or never_null else " nulls last"))
    if not any(one.name == "object_id" for one in order):
        terms.append('t."object_id"')
    return terms


def scan_sql(request: Scan, limit: int | None) -> Sql:
    """The statement of a scan that is neither ranked by vectors nor grouped."""
    condition, values = where_sql(request.where)
    layout = request.layout
    if request.search is not None:
        return _search_sql(request, condition, values, limit)
    text = select_list(layout, request.columns)
    if condition:
        text += f" where {condition}"
    text += order_sql(layout, request.order)
    return _limited(text, values, limit, request.offset)


def count_sql(request: Scan, bound: int) -> Sql:
    """How many rows satisfy a scan's condition, at least up to a bound; of all rows SQLite knows it quickly."""
    condition, values = where_sql(request.where)
    table = entity_table(request.layout.entity)
    if not condition:
        return f"select count(*) from {table}", ()
    return f"select count(*) from (select 1 from {table} t where {condition} limit ?)", (*values, bound)


def _limited(text: str, values: tuple[Any, ...], limit: int | None, offset: int) -> Sql:
    if limit is not None:
        text += " limit ?"
        values = (*values, limit)
    elif offset:
        text += " limit -1"
    if offset:
        text += " offset ?"
        values = (*values, offset)
    return text, values


def _search_sql(request: Scan, condition: str, values: tuple[Any, ...], limit: int | None) -> Sql:
    """Best BM25 first; FTS5's rank is smaller for better rows, so the score is its negative."""
    layout, search = request.layout, request.search
    assert search is not None
    table = fulltext_table(layout.entity)
    columns = ", ".join(f"t.{quote(name)}" for name in request.columns)
    text = (
        f"select {columns}, -f.rank from {table} f join {entity_table(layout.entity)} t on t._rowid = f.rowid "
        f"where f.{table} match ?"
    )
    asked: tuple[Any, ...] = (fts_query([field.name for field in search.fields], search.tokens, "OR"),)
    if search.weights:
        text += " and f.rank match ?"
        asked = (*asked, _weighted(layout, search))
    if condition:
        text += f" and {condition}"
    text += order_sql(layout, request.order) if request.order else ' order by f.rank, t."object_id"'
    return _limited(text, (*asked, *values), limit, request.offset)


def _weighted(layout: Layout, search: Search) -> str:
    """FTS5's ranking function, with how much a word in each of the index's columns counts."""
    known = dict(zip((field.name for field in search.fields), search.weights, strict=True))
    return f"bm25({', '.join(repr(known.get(name, 1.0)) for name in fulltext_fields(layout))})"


def group_sql(request: Scan, group: Grouping, *, exact_sums: bool) -> Sql:
    """The statement of all groups of a scan, in no order and without `having`.

    With `exact_sums`, numbers are summed in Python, where they cannot overflow on the way.
    """
    layout = request.layout
    if len(group.keys) + len(group.aggregates) > MOST_COLUMNS:
        raise GroupsTooWide(f"a group has at most {MOST_COLUMNS} keys and aggregates")
    values: list[Any] = []
    columns = [f"t.{quote(key)}" for key in group.keys]
    for _, aggregate, fragment in group.aggregates:
        text, parameters = fragment.payload
        values.extend(parameters)
        columns.append(f"{_exact_prefix(aggregate)}{text}" if exact_sums else text)
    condition, more = where_sql(request.where)
    values.extend(more)
    text = f"select {', '.join(columns)} from {entity_table(layout.entity)} t"
    if condition:
        text += f" where {condition}"
    if group.keys:
        text += f" group by {', '.join(columns[: len(group.keys)])}"
    return text, tuple(values)


def whole_group_sql(request: Scan, group: Grouping, limit: int | None) -> Sql:
    """The statement of a grouped scan that has no `having`: the groups in order, from its offset on."""
    text, values = group_sql(request, group, exact_sums=False)
    if request.order:
        text += _group_order(request, group)
    return _limited(text, values, limit, request.offset)


def _exact_prefix(aggregate: Aggregate) -> str:
    """What makes `sum(x)` or `avg(x)` the function that does the same in Python."""
    if is_float_sum(aggregate):
        return "hb_float_"
    whole = aggregate.op == "sum" and aggregate.field is not None and aggregate.field.dtype.kind == "integer"
    return "hb_" if whole else ""


def is_float_sum(aggregate: Aggregate) -> bool:
    """Whether it sums floats, which may give an infinity."""
    field = aggregate.field
    return aggregate.op in {"sum", "avg"} and field is not None and field.dtype.kind == "float"


def is_whole_group_query(request: Scan, group: Grouping) -> bool:
    """Whether SQLite alone answers: not where it would hide something.

    An infinity in one group may stand for a number, so that the order of all is wrong. A sum that
    does not fit is an error even in a group that the limit cuts off, where SQLite does not look.
    """
    sums = {alias for alias, aggregate, _ in group.aggregates if is_float_sum(aggregate)}
    if group.having is not None or any(one.name in sums for one in request.order):
        return False
    return request.limit is None or all(aggregate.op != "sum" for _, aggregate, _ in group.aggregates)


def _group_order(request: Scan, group: Grouping) -> str:
    names = [*group.keys, *(alias for alias, _, _ in group.aggregates)]
    terms: list[str] = []
    ordered = {one.name for one in request.order}
    for one in (*request.order, *(OrderBy(key) for key in group.keys if key not in ordered)):
        position = names.index(one.name) + 1
        terms.append(f"{position} desc nulls last" if one.desc else f"{position} nulls last")
    return f" order by {', '.join(terms)}"


def locate_sql(layouts: Sequence[Layout]) -> str:
    """One statement that asks up to 250 entities for an id, which is given once for each.

    Not as `?1` for all: Python 3.12.0 to 3.12.3 warn of numbered parameters, as if they were named.
    """
    return " union all ".join(
        f'select {position}, "object_id" from {entity_table(one.entity)} where "object_id" = ?'
        for position, one in enumerate(layouts)
    )
