"""Entities as Python classes: `class Doc(Entity): title = field(ShortText).required()`.

Class access to a field gives its reference for queries, instance access its
value. A class makes its schema when it is defined, so a mistake is reported at
the class. `Entity.from_schema` goes the other way.

Not here: the schema as data (`heaven_core.schema`), the conditions that a
reference makes (`heaven_core.expr`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from types import MethodType
from typing import Any, ClassVar, Generic, TypeVar, cast, overload

from heaven_core.errors import SchemaError, UnknownField, did_you_mean, shown
from heaven_core.expr import FieldRef
from heaven_core.names import check_field_name, check_identifier, kebab_case
from heaven_core.schema import (
    MISSING,
    NAME_DESC,
    OBJECT_ID_DESC,
    ComputeSchema,
    EntitySchema,
    FieldSchema,
    StoreChoice,
    checked_default,
)
from heaven_core.types import Identifier, LogicalType, ShortText, as_type, copied

T = TypeVar("T")


class Field(Generic[T]):
    """A field being declared. Each method returns a changed copy, so a field can be a template for others."""

    __slots__ = ("_said", "dtype", "name")

    def __init__(self, dtype: Any, **said: Any) -> None:
        self.dtype: LogicalType[Any] = as_type(dtype)
        self.name = ""
        self._said: dict[str, Any] = said

    def _with(self, **said: Any) -> Field[T]:
        return Field(self.dtype, **{**self._said, **said})

    def required(self, flag: bool = True) -> Field[T]:
        """A row without a value is refused."""
        return self._with(required=flag)

    def default(self, value: T | None) -> Field[T]:
        """The value of a row that does not mention the field."""
        if callable(value):
            raise SchemaError("a default is a value; for a value made at write use .compute(fn, inputs=[...])")
        return self._with(default=value)

    def desc(self, text: str) -> Field[T]:
        """A sentence for readers and tools."""
        return self._with(desc=text)

    def tags(self, *tags: str) -> Field[T]:
        """Labels for readers and tools."""
        return self._with(tags=tags)

    def index(self, flag: bool = True) -> Field[T]:
        """Keep an index of (field, object_id) in the engine: equality, ranges and ordered limits become cheap."""
        return self._with(index=flag)

    def unique(self, flag: bool = True) -> Field[T]:
        """No two rows may have the same value; nulls are not compared."""
        return self._with(unique=flag)

    def compute(self, function: Callable[..., T | None], *, inputs: Any) -> Field[T]:
        """The value is `function(*values of inputs)`, computed at write; rows may not give it."""
        if not callable(function):
            raise SchemaError("compute takes a function")
        if isinstance(inputs, (str, Field)):
            raise SchemaError("compute takes a list of inputs: fields of the class, or their names")
        return self._with(compute=(function, tuple(inputs)))  # a field learns its name when its class is complete

    def store(self, to: str | None = None, strategy: Any = None, *, mirror: bool = False) -> Field[T]:
        """Where the field lies: a backend's name, a storing or index strategy, or both. May be repeated.

        With `mirror` the primary has a copy of a field that lies beside it.
        """
        from heaven_core.strategies import strategy_identifier

        choice = StoreChoice(to, None if strategy is None else strategy_identifier(strategy), mirror)
        return self._with(stores=(*self._said.get("stores", ()), choice))

    def schema(self, entity: str) -> FieldSchema:
        """The field as data."""
        said = dict(self._said)
        compute = said.pop("compute", None)
        if isinstance(compute, tuple):
            from heaven_core.compute import describe

            function, inputs = cast("tuple[Callable[..., Any], tuple[object, ...]]", compute)
            compute = describe(function, tuple(map(_input_name, inputs)))
        if "default" in said and said["default"] is not MISSING:
            said["default"] = checked_default(entity, self.name, self.dtype, said["default"])
        if said.get("unique") and "scalar" not in self.dtype.traits:
            raise SchemaError(f"{entity}.{self.name}: only scalar fields can be unique, not {self.dtype!r}")
        if said.get("index") and "scalar" not in self.dtype.traits:
            raise SchemaError(f"{entity}.{self.name}: .index() is for scalar fields; use .store(strategy=...) here")
        return FieldSchema(entity, self.name, self.dtype, compute=compute, **said)

    @classmethod
    def of(cls, schema: FieldSchema) -> Field[Any]:
        """The declaration that `schema` came from."""
        said = {
            key: getattr(schema, key)
            for key in ("desc", "tags", "required", "default", "index", "unique", "compute", "stores")
        }
        made: Field[Any] = Field(schema.dtype, **said)
        made.name = schema.name
        return made

    def __set_name__(self, owner: type, name: str) -> None:
        if self.name in {"", name}:
            self.name = name
            return
        own = self._with()  # a template that has become another field already
        own.name = name
        setattr(owner, name, own)

    @overload
    def __get__(self, instance: None, owner: type) -> FieldRef[T]: ...
    @overload
    def __get__(self, instance: Entity, owner: type) -> T: ...
    def __get__(self, instance: Entity | None, owner: type) -> Any:
        if instance is None:
            return owner.__dict__["__refs__"][self.name]
        try:
            return instance.__dict__[self.name]
        except KeyError:
            default = type(instance).schema().by_name[self.name].default
            if default is MISSING:
                return None
            value = copied(default)
            if isinstance(default, (list, dict)):  # the caller may change it, and means the row
                vars(instance)[self.name] = value
            return value

    def __set__(self, instance: Entity, value: T | None) -> None:
        instance.__dict__[self.name] = value

    def __repr__(self) -> str:
        return f"field({self.dtype!r})"


def _input_name(given: object) -> str:
    if isinstance(given, str):
        return given
    name = given.name if isinstance(given, Field) else given.field_name if isinstance(given, FieldRef) else ""
    if not name:
        raise SchemaError(
            f"{shown(cast('object', given))} is no input of a compute; pass fields of the class, or their names"
        )
    return name


@overload
def field(dtype: type[LogicalType[T]]) -> Field[T]: ...
@overload
def field(dtype: LogicalType[T]) -> Field[T]: ...
def field(dtype: Any) -> Field[Any]:
    """Declare a field of this logical type; what else is to be said is chained: `field(ShortText).required()`.

    Raises:
        SchemaError: `dtype` is no logical type.
    """
    return Field(dtype)


def _collected(cls: type) -> Iterator[tuple[str, Field[Any]]]:
    """The fields of the class and its bases, in order of declaration, later ones overriding."""
    found: dict[str, Field[Any]] = {}
    for base in reversed(cls.__mro__):
        declared: dict[str, Any] = dict(base.__dict__)
        found.update((name, cast("Field[Any]", one)) for name, one in declared.items() if isinstance(one, Field))
    yield from found.items()


def _notes(cls: type) -> Iterator[tuple[str, Any]]:
    """The class's own public annotations but for those of values of the class: (name, annotation)."""
    if sys.version_info >= (3, 14):
        import annotationlib

        notes: dict[str, Any] = annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    else:
        notes = cls.__dict__.get("__annotations__", {})
    for name, note in notes.items():
        if not name.startswith("_") and not _is_of_class(note):
            yield name, note


def _evaluated(cls: type, name: str, note: Any) -> Any:
    if not isinstance(note, str):
        return note
    module = sys.modules.get(cls.__module__)
    try:
        return eval(note, dict(vars(module)) if module else {}, dict(vars(cls)))  # noqa: S307  # the class's own source text
    except Exception as error:
        raise SchemaError(
            f"{cls.__name__}.{name}: the annotation {note!r} cannot be resolved; write {name} = heavenbase.field(...)"
        ) from error


def _is_of_class(note: Any) -> bool:
    return "ClassVar" in str(note) or "Final" in str(note)


def _refuse_lost(cls: type) -> None:
    """What looks like a field and is none would be passed over without a word; it is never what was meant."""
    for name, value in vars(cls).items():
        if name.startswith("_") or isinstance(value, Field):
            continue
        mistake = _mistaken(name, value) or _hiding(cls, name, value)
        if mistake:
            raise SchemaError(f"{cls.__name__}.{name} {mistake}")
    for name, note in _notes(cls):
        if not isinstance(vars(cls).get(name), Field) and name != "identifier":
            _refuse_annotated(cls, name, note)


def _mistaken(name: str, value: Any) -> str | None:
    """What a field's declaration became by a slip of the pen, and what to write."""
    made = value if isinstance(value, type) else type(value)
    if issubclass(made, LogicalType):
        written = made.__name__ if isinstance(value, type) else repr(value)
        return f"is a type and no field; write {name} = heavenbase.field({written})"
    owner: object = getattr(value, "__self__", None) if isinstance(value, MethodType) else None
    if isinstance(owner, Field):
        return f"is a method and no field; call it: {cast('object', owner)!r}.{value.__name__}(...)"
    if value is field:
        return f"is the function that declares fields; call it: {name} = heavenbase.field(...)"
    if isinstance(value, tuple) and any(isinstance(one, Field) for one in cast("tuple[object, ...]", value)):
        return "is a tuple that holds a field; take away the comma at the end of its line"
    if isinstance(value, FieldRef):
        return f"is the field of another entity; write {name} = heavenbase.field({value.field.dtype!r})"
    return None


def _hiding(cls: type, name: str, value: Any) -> str | None:
    """What to write instead of a value that takes the place of a base's field."""
    for base in cls.__mro__[1:]:
        hidden = base.__dict__.get(name)
        if isinstance(hidden, Field):
            dtype = cast("Field[Any]", hidden).dtype
            return (
                f"is a field, and {shown(value)} would hide it; write {name} = heavenbase.field({dtype!r}), or rename"
            )
    return None


_PYTHON_TYPES: dict[Any, str] = {str: "ShortText", int: "Integer", float: "Float", bool: "Boolean"}


def _refuse_annotated(cls: type, name: str, note: Any) -> None:
    """`title: ShortText = "hello"`: an annotation makes a field only where it stands alone."""
    try:
        meant = _evaluated(cls, name, note)
    except SchemaError:
        return  # a class's own business
    made = meant if isinstance(meant, type) else type(meant)
    if issubclass(made, LogicalType):
        written, else_ = (made.__name__ if isinstance(meant, type) else repr(meant)), ""
    elif made is meant and meant in _PYTHON_TYPES:
        written, else_ = _PYTHON_TYPES[meant], ", or ClassVar for a value of the class"
    else:
        return
    raise SchemaError(
        f"{cls.__name__}.{name} has a type and a plain value; "
        f"write {name} = heavenbase.field({written}).default(...){else_}"
    )


GENERATED = "heavenbase.generated"
"""The module of classes that `from_schema` makes: what they say is data, and was written by nobody here."""

derivations: set[str] = set()
"""The functions, as ``module:name``, that a class in this process declares to derive an entity by."""


class Entity:
    """The base of your entities: rows with an `object_id`, an optional `name`, and your fields.

    An instance is a row being made; it stands in no connection to a workspace.

        class Doc(Entity):
            title = field(ShortText).required()

        ws.upsert(Doc, Doc(title="On storage"))
    """

    identifier: ClassVar[str]
    """The entity's id; without one it is the class name in kebab-case."""
    __schema__: ClassVar[EntitySchema]
    __refs__: ClassVar[dict[str, FieldRef[Any]]]
    __derived__: ClassVar[Any] = None
    __observed__: ClassVar[bool] = True
    __tags__: ClassVar[tuple[str, ...]] = ()

    object_id: Field[str] = Field(Identifier, required=True, desc=OBJECT_ID_DESC)
    name: Field[str] = Field(ShortText, desc=NAME_DESC)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, note in list(_notes(cls)):  # a list, since it changes the class that is looked at
            if name not in cls.__dict__:
                declared: Field[Any] = Field(_evaluated(cls, name, note))
                declared.__set_name__(cls, name)
                setattr(cls, name, declared)
        _refuse_lost(cls)
        _define(cls)

    def __init__(self, /, **values: Any) -> None:
        schema = type(self).schema()
        for name in values:
            if name not in schema.by_name:
                raise UnknownField(
                    f"entity {schema.id!r} has no field {name!r}; {did_you_mean(name, schema.by_name)}",
                    entity=schema.id,
                    field=name,
                )
        self.__dict__.update(values)

    @classmethod
    def schema(cls) -> EntitySchema:
        """The entity as data."""
        return cls.__schema__

    @classmethod
    def from_schema(cls, schema: EntitySchema | Mapping[str, Any]) -> type[Entity]:
        """A class made from a schema or its JSON form.

        Raises:
            SchemaError, InvalidName: it is no schema.
        """
        made = schema if isinstance(schema, EntitySchema) else EntitySchema.from_dict(schema)
        body: dict[str, Any] = {
            "identifier": made.id,
            "__doc__": made.desc or None,
            "__desc__": made.desc,
            "__derived__": made.derived,
            "__observed__": made.observed,
            "__tags__": made.tags,
            "__module__": GENERATED,
        }
        for one in made.fields:
            body[one.name] = Field.of(one)
        name = "".join(part.capitalize() for part in made.id.replace("_", "-").split("-"))
        return type(name, (Entity,), body)

    def to_dict(self) -> dict[str, Any]:
        """The values that were given, by field."""
        return dict(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # a mutable row

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value!r}' for key, value in self.__dict__.items())})"


def _define(cls: type[Entity]) -> None:
    own = cls.__dict__.get("identifier")
    if own is not None and isinstance(own, Field):
        raise SchemaError("an entity cannot have a field 'identifier': the class uses that name itself")
    entity = check_identifier(own if own is not None else kebab_case(cls.__name__), "entity id")
    cls.identifier = entity
    fields: list[FieldSchema] = []
    for name, declared in _collected(cls):
        check_field_name(name)
        for base in cls.__mro__[1:]:
            if name in base.__dict__ and not isinstance(base.__dict__[name], Field):
                raise SchemaError(
                    f"entity {entity!r} cannot have a field {name!r}: {base.__name__} uses that name itself"
                )
        fields.append(declared.schema(entity))
    derived = cls.__dict__.get("__derived__")
    if derived is not None and not isinstance(derived, str):
        derived = f"{derived.__module__}:{derived.__qualname__}"
    if derived is not None and cls.__module__ != GENERATED:
        derivations.add(derived)
    cls.__schema__ = EntitySchema.made(
        entity,
        fields,
        desc=cls.__dict__.get("__desc__", (cls.__dict__.get("__doc__") or "").strip().split("\n")[0]),
        tags=tuple(cls.__tags__),
        derived=derived,
        observed=cls.__observed__,
    )
    cls.__refs__ = {one.name: FieldRef(one) for one in cls.__schema__.fields}


def _define_root() -> None:
    """Entity itself has the two implicit fields, so that `Entity.object_id` works in a type checker's eyes and here."""
    fields = [declared.schema("entity") for declared in (Entity.__dict__["object_id"], Entity.__dict__["name"])]
    Entity.__schema__ = EntitySchema.made("entity", fields)
    Entity.__refs__ = {one.name: FieldRef(one) for one in Entity.__schema__.fields}


_define_root()

__all__ = ["ComputeSchema", "Entity", "Field", "field"]
