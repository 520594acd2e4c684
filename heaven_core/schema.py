"""Schemas: what an entity is, as frozen data with a JSON form.

A schema is what is stored, compared and planned with; an `Entity` class is the
comfortable way to write one. `EntitySchema.to_dict()` is a persisted format:
`SCHEMA_FORMAT` is its version.

Not here: how classes are turned into schemas (`heaven_core.entity`), where fields
lie (`heaven_core.placement`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from heaven_core.errors import FormatTooNew, NotResolved, SchemaError, UnknownField, a_kind, did_you_mean
from heaven_core.narrow import is_list, is_mapping
from heaven_core.types import Identifier, LogicalType, Refused, ShortText, check_text, from_spec

SCHEMA_FORMAT = 1

MAX_FIELDS = 950
"""Fields of one entity, the implicit ones aside, whatever the engine: SQLite has room for each of them twice."""


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Any = _Missing()
"""Stands for "not given" where None is a value."""


@attrs.frozen
class StoreChoice:
    """What a user said with `.store(...)`: a backend's name, a strategy, a mirror in the primary."""

    to: str | None = None
    strategy: str | None = None
    mirror: bool = False


@attrs.frozen
class ComputeSchema:
    """A field computed at write from other fields: the function by name, and a hash of its source."""

    reference: str
    inputs: tuple[str, ...]
    source_hash: str
    function: Callable[..., Any] | None = attrs.field(default=None, eq=False, repr=False)

    def resolved(self, entity: str, field: str) -> Callable[..., Any]:
        """The function itself.

        Raises:
            NotResolved: it cannot be imported here, or its source is not known to be what was registered.
        """
        if self.function is not None:
            return self.function
        from heaven_core.compute import load

        try:
            return load(self)
        except (ImportError, AttributeError, ValueError) as error:
            raise NotResolved(
                f"{entity}.{field} is computed by {self.reference!r}, which cannot be used here: {error}; "
                "register the class that declares it before writing",
                entity=entity,
                field=field,
            ) from error


@attrs.frozen
class FieldSchema:
    """One field: its name, its type, and everything that was said about it."""

    entity: str
    name: str
    dtype: LogicalType[Any]
    desc: str = ""
    tags: tuple[str, ...] = ()
    required: bool = False
    default: Any = MISSING
    index: bool = False
    unique: bool = False
    compute: ComputeSchema | None = None
    stores: tuple[StoreChoice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: the type's spec, and what differs from the defaults."""
        body: dict[str, Any] = {"name": self.name, "type": self.dtype.spec()}
        if self.desc:
            body["desc"] = self.desc
        if self.tags:
            body["tags"] = list(self.tags)
        for flag in ("required", "index", "unique"):
            if getattr(self, flag):
                body[flag] = True
        if self.default is not MISSING:
            body["default"] = None if self.default is None else self.dtype.to_json(self.default)
        if self.compute is not None:
            body["compute"] = {
                "function": self.compute.reference,
                "inputs": list(self.compute.inputs),
                "source": self.compute.source_hash,
            }
        if self.stores:
            body["store"] = [_store_dict(choice) for choice in self.stores]
        return body

    @classmethod
    def from_dict(cls, entity: str, body: Any) -> FieldSchema:
        """The field that `to_dict` wrote; a type may also be given as a bare identifier.

        Raises:
            SchemaError: the mapping is not a field's.
        """
        from heaven_core.names import check_field_name

        if not is_mapping(body) or "name" not in body or "type" not in body:
            raise SchemaError(f'a field of {entity!r} is written {{"name": ..., "type": ...}}')
        unknown = set(body) - _FIELD_KEYS
        if unknown:
            word = min(map(str, unknown))
            raise SchemaError(f"{word!r} is no key of a field; {did_you_mean(word, _FIELD_KEYS)}")
        given: dict[str, Any] = dict(body)
        name, dtype = check_field_name(given["name"]), from_spec(given["type"])
        return cls(
            entity=entity,
            name=name,
            dtype=dtype,
            desc=_text(given, "desc"),
            tags=_texts(given, "tags"),
            required=_flag(given, "required"),
            index=_flag(given, "index"),
            unique=_flag(given, "unique"),
            default=checked_default(entity, name, dtype, given["default"]) if "default" in given else MISSING,
            compute=_compute(given.get("compute")),
            stores=_stores(given.get("store", ())),
        )


_FIELD_KEYS = frozenset({"name", "type", "desc", "tags", "required", "index", "unique", "default", "compute", "store"})


def checked_default(entity: str, name: str, dtype: LogicalType[Any], value: Any) -> Any:
    """A default in canonical form.

    Raises:
        SchemaError: the field's type refuses it.
    """
    try:
        return None if value is None else dtype.from_json(value)
    except Refused as refused:
        raise SchemaError(f"{entity}.{name}: the default {refused.reason}") from None


def _store_dict(choice: StoreChoice) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if choice.to is not None:
        body["to"] = choice.to
    if choice.strategy is not None:
        body["strategy"] = choice.strategy
    if choice.mirror:
        body["mirror"] = True
    return body


def _stores(body: Any) -> tuple[StoreChoice, ...]:
    if not is_list(body):
        raise SchemaError("'store' takes a list of store choices")
    return tuple(_store(choice) for choice in body)


def _store(body: Any) -> StoreChoice:
    if not is_mapping(body) or not set(body) <= {"to", "strategy", "mirror"}:
        raise SchemaError('a store choice is written {"to": ..., "strategy": ..., "mirror": ...}')
    for key in ("to", "strategy"):
        if body.get(key) is not None and not isinstance(body[key], str):
            raise SchemaError(f"a store choice's {key!r} is a name")
    return StoreChoice(body.get("to"), body.get("strategy"), _flag(body, "mirror"))


def _compute(body: Any) -> ComputeSchema | None:
    if body is None:
        return None
    if not is_mapping(body) or not {"function", "inputs"} <= set(body):
        raise SchemaError('a compute is written {"function": "module:name", "inputs": [...], "source": hash}')
    given: dict[str, Any] = dict(body)
    return ComputeSchema(_text(given, "function"), _texts(given, "inputs"), _text(given, "source"))


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key, "")
    if not isinstance(value, str):
        raise SchemaError(f"{key!r} takes a text")
    return value


def _texts(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = body.get(key, ())
    if isinstance(value, str) or not is_list(value) or not all(isinstance(one, str) for one in value):
        raise SchemaError(f"{key!r} takes a list of texts")
    return tuple(value)


def _flag(body: Mapping[str, Any], key: str) -> bool:
    value = body.get(key, False)
    if type(value) is not bool:
        raise SchemaError(f"{key!r} takes true or false")
    return value


OBJECT_ID_DESC = "unique in its entity, given or made"
NAME_DESC = "optional; makes the object_id where none is given"


def implicit_fields(entity: str) -> tuple[FieldSchema, FieldSchema]:
    """The two fields of every entity: `object_id` and the optional `name`."""
    return (
        FieldSchema(entity, "object_id", Identifier(), desc=OBJECT_ID_DESC, required=True),
        FieldSchema(entity, "name", ShortText(), desc=NAME_DESC),
    )


@attrs.frozen(slots=True, cache_hash=False)
class EntitySchema:
    """One entity: its id and its fields, `object_id` and `name` first.

    `derived` names the function that computes its rows (then it stores none);
    `observed=False` keeps its writes from observer hooks.
    """

    id: str
    fields: tuple[FieldSchema, ...]
    desc: str = ""
    tags: tuple[str, ...] = ()
    derived: str | None = None
    observed: bool = True
    by_name: Mapping[str, FieldSchema] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "by_name", {field.name: field for field in self.fields})

    def field(self, name: Any) -> FieldSchema:
        """The field of this name.

        Raises:
            UnknownField: there is none; the message has the nearest name.
        """
        try:
            return self.by_name[name]
        except (KeyError, TypeError):
            raise UnknownField(
                f"entity {self.id!r} has no field {name!r:.80}; {did_you_mean(name, self.by_name)}",
                entity=self.id,
                field=name,
            ) from None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all fields, in order."""
        return tuple(self.by_name)

    @property
    def computed(self) -> tuple[FieldSchema, ...]:
        """The fields that are computed at write."""
        return tuple(field for field in self.fields if field.compute is not None)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, which `from_dict` reads back equal."""
        body: dict[str, Any] = {"format": SCHEMA_FORMAT, "id": self.id}
        if self.desc:
            body["desc"] = self.desc
        if self.tags:
            body["tags"] = list(self.tags)
        if self.derived is not None:
            body["derived"] = self.derived
        if not self.observed:
            body["observed"] = False
        plain = implicit_fields(self.id)
        body["fields"] = [field.to_dict() for field in self.fields if field not in plain]
        return body

    @classmethod
    def from_dict(cls, body: Any) -> EntitySchema:
        """The schema that `to_dict` wrote, or one written by hand.

        Raises:
            SchemaError, InvalidName: the mapping is not a schema's.
            FormatTooNew: a newer HeavenBase wrote it.
        """
        from heaven_core.names import check_identifier

        if not is_mapping(body):
            raise SchemaError(f"a schema is a mapping, not {a_kind(body)}")
        given: dict[str, Any] = dict(body)
        unknown = set(given) - _SCHEMA_KEYS
        if unknown:
            word = min(map(str, unknown))
            raise SchemaError(f"{word!r} is no key of a schema; {did_you_mean(word, _SCHEMA_KEYS)}")
        if given.get("format", SCHEMA_FORMAT) not in range(1, SCHEMA_FORMAT + 1):
            raise FormatTooNew(
                f"this schema has format {given['format']!r}; this HeavenBase reads up to {SCHEMA_FORMAT}"
            )
        entity = check_identifier(given.get("id"), "entity id")
        if not isinstance(given.get("fields", []), (list, tuple)):
            raise SchemaError(f"the fields of {entity!r} are a list")
        fields = [FieldSchema.from_dict(entity, one) for one in given.get("fields", [])]
        return cls.made(
            entity,
            fields,
            desc=_text(given, "desc"),
            tags=_texts(given, "tags"),
            derived=_text(given, "derived") or None,
            observed=_flag({"observed": True, **given}, "observed"),
        )

    @classmethod
    def made(cls, entity: str, fields: list[FieldSchema], **rest: Any) -> EntitySchema:
        """The schema of these fields, with the implicit ones added and the whole checked.

        Raises:
            SchemaError: two fields of one name (whatever the case), a compute with unknown inputs, ...
        """
        given = {field.name: field for field in fields}
        if len(given) != len(fields) or len({name.lower() for name in given} | {"object_id"}) != len(
            {*given, "object_id"}
        ):
            raise SchemaError(f"entity {entity!r} has two fields whose names differ at most by case")
        key, name = implicit_fields(entity)
        own_key, own_name = given.pop("object_id", key), given.pop("name", name)
        _check_count(entity, len(given))
        if own_key.dtype != key.dtype or own_key.compute or own_key.default is not MISSING:
            raise SchemaError(f"entity {entity!r} cannot redefine 'object_id'")
        if not isinstance(own_name.dtype, ShortText):
            raise SchemaError(f"entity {entity!r}: 'name' exists on every entity and is a ShortText")
        if own_name.compute is not None:
            raise SchemaError(f"entity {entity!r}: 'name' cannot be computed, since it can make the object_id")
        if any(other.lower() == "name" for other in given):
            raise SchemaError(f"entity {entity!r} has a field whose name differs from 'name' only by case")
        schema = cls(entity, (own_key, own_name, *given.values()), **rest)
        _check_words(f"entity {entity!r}", schema.tags, desc=schema.desc, derived=schema.derived or "")
        for field in schema.fields:
            _check_words(f"{entity}.{field.name}", field.tags, desc=field.desc)
        _check_computes(schema)
        return schema

    def __hash__(self) -> int:
        return hash((self.id, self.names))


_SCHEMA_KEYS = frozenset({"format", "id", "desc", "tags", "derived", "observed", "fields"})


def _check_count(entity: str, count: int) -> None:
    if count > MAX_FIELDS:
        raise SchemaError(
            f"entity {entity!r} has {count} fields; at most {MAX_FIELDS} are possible: "
            "divide it, or keep what belongs together in a Json field"
        )


def _check_words(where: str, tags: tuple[str, ...], **words: str) -> None:
    """Words for readers are stored as any text is."""
    for kind, text in (*((f"its {key}", word) for key, word in words.items()), *(("a tag", tag) for tag in tags)):
        try:
            check_text(text)
        except Refused as refused:
            raise SchemaError(f"{where}: {kind} {refused.reason}") from None


def _check_computes(schema: EntitySchema) -> None:
    for field in schema.computed:
        assert field.compute is not None
        for name in field.compute.inputs:
            source = schema.field(name)
            if source.compute is not None:
                raise SchemaError(f"{schema.id}.{field.name}: its input {name!r} is itself computed")
        if field.default is not MISSING:
            raise SchemaError(f"{schema.id}.{field.name} is computed and cannot have a default")
