"""Batches: rows as users give them, checked by column and turned into canonical columns with ids.

Either every row of a batch is good or an error names the first bad value with
entity, field and row; nothing is written before that is known. The bulk path
works on whole columns, since a check per value costs more than the write.

Not here: what a type accepts (`heaven_core.types`), where ids come from
(`heaven_core.identity`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from operator import itemgetter
from types import MappingProxyType
from typing import Any, cast

from heaven_core.backend import Batch
from heaven_core.entity import Entity
from heaven_core.errors import (
    ComputeError,
    DuplicateId,
    InvalidType,
    InvalidValue,
    SchemaError,
    UnknownField,
    a_kind,
    did_you_mean,
)
from heaven_core.identity import identify
from heaven_core.narrow import is_mapping, iterator
from heaven_core.schema import MISSING, EntitySchema, FieldSchema
from heaven_core.types import Refused, copied

Columns = dict[str, Sequence[Any]]


def make_batch(schema: EntitySchema, rows: Iterable[Any]) -> Batch:
    """The checked batch of these rows: mappings or instances of the entity.

    Absent fields take their default or null; computed ones are computed.

    Raises:
        UnknownField, InvalidType, InvalidValue, DuplicateId: naming entity, field, row and value.
        NotResolved: a computed field's function cannot be used here.
        ComputeError: it raised.
    """
    given = mappings(schema, rows)
    if not given:
        return Batch([], {name: [] for name in schema.names})
    columns = _columns(schema, given)
    for field in schema.fields:
        if field.compute is None:
            columns[field.name] = _checked(field, columns.get(field.name), len(given))
    ids, fresh = identify(schema.id, columns["object_id"], columns["name"])
    if not fresh:
        _check_ids(schema, ids, columns)
    columns["object_id"] = ids
    for field in schema.computed:
        columns[field.name] = _checked(field, _computed(field, columns, len(given)), len(given))
    return Batch(ids, columns, fresh)


def mappings(schema: EntitySchema, rows: Any) -> list[Mapping[str, Any]]:
    """The rows as a list of mappings: of a table, of mappings, of instances of the entity, attrs or dataclasses.

    Raises:
        SchemaError, InvalidType: something else than rows.
    """
    if is_table(rows):
        from heaven_core.arrow import table_rows

        return list(table_rows(schema, rows))
    several = None if isinstance(rows, (Mapping, str, bytes, Entity)) else iterator(rows)
    if several is None:
        kind = a_kind(cast("object", rows))
        raise SchemaError(f"upsert_many into {schema.id!r} takes an iterable of rows, not {kind}")
    given = list(several)
    if set(map(type, given)) <= {dict}:
        return given
    return [_mapping(schema, row, position) for position, row in enumerate(given)]


def _mapping(schema: EntitySchema, row: Any, position: int) -> Mapping[str, Any]:
    if isinstance(row, Entity):
        if type(row).schema().id != schema.id:
            raise InvalidType.at(
                schema.id, None, position, type(row).schema().id, "is the entity of the instance; it belongs elsewhere"
            )
        return row.to_dict()
    if is_mapping(row):
        return dict(row)  # another mapping may make up what it does not have
    if names := _field_names(row):
        return {name: getattr(row, name) for name in names}
    raise InvalidType.at(schema.id, None, position, row, f"is {a_kind(row)}; a row is a mapping or an instance")


def is_stream(rows: Any) -> bool:
    """Whether rows come one after the other, so that nobody knows yet how many there are."""
    return not isinstance(rows, Sized) and (is_table(rows) or iterator(rows) is not None)


def is_table(rows: object) -> bool:
    """Whether this is a table of columns, or a stream of such, whoever made it."""
    return hasattr(type(rows), "__arrow_c_stream__")


def _field_names(row: object) -> list[str]:
    """The fields of an instance whose class attrs or dataclasses made."""
    made: Any = getattr(type(row), "__attrs_attrs__", None)
    if made is not None:
        return [one.name for one in made]
    return list(getattr(type(row), "__dataclass_fields__", ()))


def _columns(schema: EntitySchema, rows: Sequence[Mapping[str, Any]]) -> Columns:
    """The given values by field; a field that no row mentions is left out."""
    keys = tuple(rows[0])
    if set(map(len, rows)) == {len(keys)}:
        try:
            columns: Columns = {key: list(map(itemgetter(key), rows)) for key in keys}
        except KeyError:
            columns = {}  # rows differ in their keys
        if columns:
            _check_keys(schema, keys, 0)
            return columns
    found: dict[str, None] = {}
    for position, row in enumerate(rows):
        if not row.keys() <= found.keys():
            _check_keys(schema, row, position)
            found.update(dict.fromkeys(row))
    return {name: _column(schema.by_name[name], rows) for name in found}


def _column(field: FieldSchema, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    absent = None if field.default is MISSING else field.default
    name = field.name
    return [row.get(name, absent) for row in rows]


def _check_keys(schema: EntitySchema, keys: Iterable[Any], position: int) -> None:
    for key in keys:
        field = schema.by_name.get(key) if isinstance(key, str) else None
        if field is None:
            raise UnknownField(
                f"{schema.id}, row {position}: there is no field {key!r:.80}; {did_you_mean(key, schema.by_name)}",
                entity=schema.id,
                field=key,
                row=position,
            )
        if field.compute is not None:
            raise InvalidValue.at(schema.id, key, position, key, "is computed; a row cannot give it")


def _checked(field: FieldSchema, column: Sequence[Any] | None, count: int) -> Sequence[Any]:
    """The column in canonical form; its default where no row mentions the field."""
    if column is None:
        default = None if field.default is MISSING else field.default
        column = [default] * count
        if default is None and not field.required:
            return column
    try:
        checked = field.dtype.check_column(column)
    except Refused as refused:
        kind = InvalidType if refused.wrong_type else InvalidValue
        index = refused.index
        value = refused.value if index is None else column[index]
        raise kind.at(field.entity, field.name, index, value, refused.about(value)) from None
    if field.required and field.name != "object_id" and None in checked:
        position = list(checked).index(None)
        raise InvalidValue.at(field.entity, field.name, position, None, "is no value; the field is required")
    return checked


def _check_ids(schema: EntitySchema, ids: Sequence[str], given: Columns) -> None:
    if "" in ids:
        raise InvalidValue.at(schema.id, "object_id", list(ids).index(""), "", "is empty; an id has 1 to 63 characters")
    if len(set(ids)) == len(ids):
        return
    seen: dict[str, int] = {}
    for position, one in enumerate(ids):
        if one in seen:
            raise _duplicate(schema, one, seen[one], position, given)
        seen[one] = position


def _duplicate(schema: EntitySchema, object_id: str, first: int, second: int, given: Columns) -> InvalidValue:
    if given["object_id"][second] is None:  # the id was made from the name, which is what the caller knows
        name = given["name"][second]
        reason = f"also names row {first}; the name makes the id, and each row of a batch has its own"
        return DuplicateId.at(schema.id, "name", second, name, reason)
    reason = f"is also the id of row {first}; each row of a batch has its own"
    return DuplicateId.at(schema.id, "object_id", second, object_id, reason)


def frozen_columns(schema: EntitySchema, columns: Columns) -> Mapping[str, Sequence[Any]]:
    """The checked columns for somebody who may look and not touch."""
    composite = {"array", "json", "vector"}
    return MappingProxyType(
        {
            name: tuple(map(copied, column)) if schema.by_name[name].dtype.kind in composite else tuple(column)
            for name, column in columns.items()
        }
    )


def _computed(field: FieldSchema, columns: Columns, count: int) -> list[Any]:
    assert field.compute is not None
    function = field.compute.resolved(field.entity, field.name)
    inputs = [_kept(columns[name]) for name in field.compute.inputs]
    if not inputs:
        return [_call(field, function, (), position) for position in range(count)]
    return [_call(field, function, values, position) for position, values in enumerate(zip(*inputs, strict=True))]


def _kept(column: Sequence[Any]) -> Sequence[Any]:
    """The column for a function that may change what it is given: the row stays as it is."""
    return [copied(value) if isinstance(value, (list, dict)) else value for value in column]


def _call(field: FieldSchema, function: Callable[..., Any], values: Sequence[Any], position: int) -> Any:
    try:
        return function(*values)
    except Exception as error:  # a user's function may raise anything
        assert field.compute is not None
        raise ComputeError(
            f"{field.entity}.{field.name}, row {position}: {field.compute.reference or 'its function'} "
            f"raised {type(error).__name__} for {', '.join(field.compute.inputs) or 'no inputs'}; "
            "correct the row or the function, nothing was written",
            entity=field.entity,
            field=field.name,
            row=position,
        ) from error
