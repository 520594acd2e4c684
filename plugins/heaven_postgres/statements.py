"""The SQL text of the PostgreSQL engine: tables and writes. No IO here.

An entity's table has the entity's id as its name, and lies in the schema of the workspace. Names with a dot are the
engine's own: no id has one. Texts are compared by their bytes (collation C), which in UTF-8 is the order of code
points. A column whose name begins with an underscore is the engine's or the kernel's.

Not here: scans, which PostgreSQL says as the standard does (`heaven_core.sql_scan`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from heaven_core.backend import Change, Column, Layout
from heaven_core.sql import kept, quote
from heaven_core.types import LogicalType

STATE_TABLE = '"hb.state"'

STATE = f"""create table if not exists {STATE_TABLE} (
    id integer primary key check (id = 1), format integer not null, lsn bigint not null, epoch bigint not null,
    workspace text not null, backend text not null, text_rules text, own_schema boolean not null
);
create table if not exists "hb.vectors" (entity text collate "C" primary key, version bigint not null)"""
"""`text_rules` says with which version of them the full-text columns were made, null where there has been none;
`own_schema` says that the engine has made the schema; `version` is that of an entity's vectors."""

TABLES = "select table_name::text from information_schema.tables where table_schema = ?"

MARK = "rows of a HeavenBase entity"
"""The comment on each of our tables: others in the schema may look the same."""

OWN_TABLES = f"""select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = ? and c.relkind = 'r' and obj_description(c.oid, 'pg_class') = '{MARK}' order by 1"""

BEGIN = f"""begin; update {STATE_TABLE} set lsn = lsn + 1
returning lsn, epoch, text_rules, pg_current_xact_id()::text"""
"""The row lock on the state is the writers' lock, so the order of LSNs is the order of commits."""

LONGEST = 63
"""Bytes of a name; PostgreSQL cuts the rest off."""
INDEXED_CHARS = 500
"""Characters that surely fit into an index with an order; of longer texts there are hashes."""
MOST_DIMENSIONS = 2000
"""Dimensions that pgvector indexes."""

_COLUMN_TYPES = {
    "text": 'text collate "C"',
    "integer": "bigint",
    "float": "double precision",
    "boolean": "boolean",
    "timestamp": "bigint",
    "date": 'text collate "C"',
    "duration": "bigint",
    "array": 'text collate "C"',
    "json": 'text collate "C"',
    "vector": "bytea",
    "bytes": "bytea",
}


def fitted(name: str) -> str:
    """A quoted name, which PostgreSQL does not cut."""
    if len(name) > LONGEST:
        name = f"{name[:40]}.{blake2b(name.encode(), digest_size=8).hexdigest()}"
    return quote(name)


def table(entity: str) -> str:
    """The quoted name of an entity's table."""
    return quote(entity)


def words_column(field: str) -> str:
    """The quoted name of the column with the words of a text, for full-text search."""
    return fitted(f"_words_{field}")


def length_column(field: str) -> str:
    """The quoted name of the column that counts them."""
    return fitted(f"_length_{field}")


def near_column(field: str) -> str:
    """The quoted name of the column with the same vector as pgvector has it."""
    return fitted(f"_near_{field}")


@kept
def fulltext_fields(layout: Layout) -> list[str]:
    """The fields with a full-text index."""
    return [one.name for one in layout.columns if "inverted" in one.indexes]


@kept
def vector_fields(layout: Layout) -> list[str]:
    """The fields that hold vectors."""
    return [one.name for one in layout.columns if one.field.dtype.kind == "vector"]


def can_be_near(one: Column) -> bool:
    """Whether pgvector can index a field that asks for an index of its vectors."""
    return "vector" in one.indexes and one.field.dtype.params().get("dim", MOST_DIMENSIONS + 1) <= MOST_DIMENSIONS


# -- tables --------------------------------------------------------------------------------------------------------

EXTENSION = """select n.nspname::text from pg_extension e join pg_namespace n on n.oid = e.extnamespace
where e.extname = 'vector'"""
"""The schema that pgvector lies in."""

INSTALLABLE = "select 1 from pg_available_extensions where name = 'vector'"

COLUMNS = """select column_name::text from information_schema.columns
where table_schema = current_schema() and table_name = ?"""
"""An entity's columns as they are."""


SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})
"""Names of columns that every table has by itself."""


def ddl(change: Change, vectors: str | None) -> Iterator[str]:
    """The statements that bring what exists from `before` to `after`; additions and a whole drop.

    `vectors` is the schema of pgvector, None for a server without it.
    """
    before, after = change
    if after is None:
        assert before is not None
        yield f"drop table if exists {table(before.entity)}"
    elif before is None:
        columns = ['"object_id" text collate "C" primary key', "_v bigint not null"]
        columns += [text for one in after.columns[1:] for text in _columns(one, vectors)]
        yield f"create table {table(after.entity)} ({', '.join(columns)})"
        yield f"comment on table {table(after.entity)} is '{MARK}'"
        if vector_fields(after):
            yield _numbers(after)
        for one in after.columns:
            yield from indexes(after, one, vectors)
    else:
        yield from _extended(before, after, vectors)


def _extended(before: Layout, after: Layout, vectors: str | None) -> Iterator[str]:
    for one in after.columns:
        if one.name not in before.by_name:
            for text in _columns(one, vectors):
                yield f"alter table {table(after.entity)} add column {text}"
            yield from indexes(after, one, vectors)
    if vector_fields(after) and not vector_fields(before):
        yield _numbers(after)


def _numbers(layout: Layout) -> str:
    """Number the rows, as the vectors in memory go by numbers."""
    return f"alter table {table(layout.entity)} add column _rowid bigint generated by default as identity unique"


def _columns(one: Column, vectors: str | None) -> Iterator[str]:
    yield f"{quote(one.name)} {_COLUMN_TYPES[one.field.dtype.kind]}"
    if "inverted" in one.indexes:
        yield f"{words_column(one.name)} tsvector"
        yield f"{length_column(one.name)} integer not null default 0"
    if vectors is not None and can_be_near(one):
        yield f"{near_column(one.name)} {quote(vectors)}.vector({one.field.dtype.params()['dim']})"


def indexes(layout: Layout, one: Column, vectors: str | None) -> Iterator[str]:
    """The statements that make the indexes and constraints of a column."""
    name, source = quote(one.name), table(layout.entity)
    short = is_short(one.field.dtype)
    if one.field.unique:  # checked at the end of a statement, so that rows may exchange their values
        what = f"unique ({name})" if short else f"exclude using hash ({name} with =)"
        yield f"alter table {source} add {what} deferrable initially immediate"
    if one.field.index:
        yield f"create index on {source} " + (f'({name}, "object_id")' if short else f"using hash ({name})")
    if one.strategy == "side":
        yield f"create index on {source} using gin (({name}::jsonb) jsonb_path_ops)"
    if "suffix-index" in one.indexes:
        yield f'create index on {source} (({ending(name)}) collate "C", "object_id")'
    if "inverted" in one.indexes:
        yield f"create index on {source} using gin ({words_column(one.name)})"
    if vectors is not None and can_be_near(one):
        yield f"create index on {source} using hnsw ({near_column(one.name)} {quote(vectors)}.vector_cosine_ops)"


def ending(column: str) -> str:
    """The last characters of a text from its end, as an index of endings holds them."""
    return f"reverse(right({column}, {INDEXED_CHARS}))"


def is_short(dtype: LogicalType[Any]) -> bool:
    """Whether each value of the type fits into an index with an order."""
    if dtype.kind == "text":
        return getattr(dtype, "max_chars", INDEXED_CHARS + 1) <= INDEXED_CHARS
    return dtype.kind not in {"array", "json", "vector", "bytes"}


# -- writes --------------------------------------------------------------------------------------------------------


@kept
def _stored(layout: Layout) -> list[str]:
    return [quote(name) for name in layout.names]


def written(layout: Layout, near: Sequence[str]) -> list[str]:
    """The columns that a write fills, quoted and in the order of its values: the kernel's, then the engine's.

    `near` are the fields whose vectors pgvector has once more.
    """
    names = [*_stored(layout), "_v"]
    for field in fulltext_fields(layout):
        names += [words_column(field), length_column(field)]
    return names + [near_column(field) for field in near]


def copy(layout: Layout, near: Sequence[str], target: str) -> str:
    """Take rows from us into a table."""
    return f"copy {target} ({', '.join(written(layout, near))}) from stdin"


def stage(layout: Layout, near: Sequence[str]) -> tuple[str, str]:
    """The temporary table that takes rows before they are compared, and what makes it."""
    names = ", ".join(written(layout, near))
    name = quote(f"hb.stage.{blake2b(f'{layout.entity}: {names}'.encode(), digest_size=8).hexdigest()}")
    rows = f"select {names} from {table(layout.entity)} with no data"
    return name, f"create temporary table if not exists {name} on commit delete rows as {rows}"


def put_staged(layout: Layout, near: Sequence[str]) -> str:
    """Insert or replace what was staged; equal rows are left alone."""
    names = ", ".join(written(layout, near))
    rows = f'select {names} from {stage(layout, near)[0]} order by "object_id"'
    return f"insert into {table(layout.entity)} as t ({names}) {rows} {_replaced(layout, near)}"


def put_values(layout: Layout, near: Sequence[str], count: int) -> str:
    """Insert or replace some rows whose values are parameters; equal rows are left alone."""
    names = written(layout, near)
    rows = ", ".join([f"({', '.join('?' * len(names))})"] * count)
    return f"insert into {table(layout.entity)} as t ({', '.join(names)}) values {rows} {_replaced(layout, near)}"


def _replaced(layout: Layout, near: Sequence[str]) -> str:
    """What becomes of rows that are there; the statement then gives id, whether it is new, and number."""
    number = "t._rowid" if vector_fields(layout) else "0"
    values = _stored(layout)[1:]
    if not values:
        return f'on conflict ("object_id") do nothing returning t."object_id", true, {number}'
    sets = ", ".join(f"{name} = excluded.{name}" for name in written(layout, near)[1:])
    old, new = (f"row({', '.join(f'{source}.{name}' for name in values)})" for source in ("t", "excluded"))
    return (
        f'on conflict ("object_id") do update set {sets} where {old} is distinct from {new} '
        f'returning t."object_id", t.xmax = 0, {number}'
    )


def delete(layout: Layout) -> str:
    """Delete the rows of a list of ids; the statement gives ids and numbers of those that were there."""
    number = "_rowid" if vector_fields(layout) else "0"
    return f'delete from {table(layout.entity)} where "object_id" = any(?) returning "object_id", {number}'


def locate(layouts: Sequence[Layout]) -> str:
    """One statement that asks several entities for an id, which is given once for each."""
    return " union all ".join(
        f'select {position}, "object_id" from {table(one.entity)} where "object_id" = ?'
        for position, one in enumerate(layouts)
    )
