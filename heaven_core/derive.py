"""Derived entities: rows computed from others when somebody asks, stored nowhere.

    class Busy(Entity):
        __derived__ = "my_package.busy:rows"      # or the function itself
        title = field(ShortText)

    def rows(view, hints):
        for row in view.query("doc").where(...).execute().rows():
            yield {"object_id": row["object_id"], "title": row["title"]}

The function gets a `View` of the workspace and the query's `Hints`, and yields
mappings; conditions, order, groups and limits are applied to them afterwards, so
hints are only there to make fewer rows. A derived entity costs nothing at write
time, and writing to it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core.errors import HeavenError, InvalidValue, NotResolved, QueryError
from heaven_core.plugin import describe

if TYPE_CHECKING:
    from heaven_core.capabilities import CapabilityIndex
    from heaven_core.plugin import ExtensionSpec
    from heaven_core.query import Query
    from heaven_core.schema import EntitySchema


class Hints(NamedTuple):
    """What a derived entity may use to make fewer rows: values that fields must equal. Never needed for correctness."""

    equal: Mapping[str, frozenset[Any]]

    def allow(self, field: str, value: Any) -> bool:
        """Whether rows with this value can be in the answer."""
        wanted = self.equal.get(field)
        return wanted is None or value in wanted


Derive = Callable[[Any, "Hints"], Iterable[Mapping[str, Any]]]


class EntityRecord(NamedTuple):
    """An entity of the workspace: its schema, where each field lies, and the extension that brought it (or "")."""

    schema: EntitySchema
    placement: Mapping[str, Mapping[str, Any]]
    owner: str


class View:
    """What a derived entity may read: the workspace's schema and, by query, its rows."""

    def __init__(self, access: Any) -> None:
        self._access = access

    def entities(self) -> list[EntityRecord]:
        """Every entity of the workspace, ordered by id."""
        return self._access.core().entity_records()

    def extensions(self) -> list[ExtensionSpec]:
        """The active extensions."""
        return self._access.core().extension_specs()

    @property
    def capabilities(self) -> CapabilityIndex:
        """What the workspace's backends can do."""
        return self._access.core().capabilities

    def query(self, entity: Any) -> Query:
        """A query that reads what the caller reads: inside a transaction, its own writes too."""
        return self._access.query(entity)

    def versions(self, entity: Any, ids: list[str]) -> list[int | None]:
        """The version of each row, None for absent ones."""
        return self._access.versions(entity, ids)


def derived_rows(schema: EntitySchema, derive: Derive, view: View, hints: Hints) -> list[dict[str, Any]]:
    """What a derived entity's function yields, checked as rows that somebody writes are.

    Raises:
        UnknownField, InvalidType, InvalidValue, DuplicateId: a row does not fit the entity.
        QueryError: the function raised, which is the cause.
    """
    from heaven_core.batch import make_batch

    try:
        given = [dict(row) for row in derive(view, hints)]
    except HeavenError:
        raise
    except RecursionError as error:
        raise QueryError(f"entity {schema.id!r} is derived from itself; derive it from others") from error
    except Exception as error:  # a user's function may raise anything
        raise QueryError(f"deriving entity {schema.id!r} failed: {describe(error)}") from error
    for position, row in enumerate(given):
        if row.get("object_id") is None:
            raise InvalidValue.at(schema.id, "object_id", position, None, "is no id; a derived row needs one")
    names, columns = schema.names, make_batch(schema, given).columns
    return [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]


def resolve_derive(schema: EntitySchema, cls: Any) -> Callable[[View, Hints], Iterable[Mapping[str, Any]]]:
    """The function behind a derived entity; one that cannot be imported raises when the entity is read."""
    given = _declared(cls)
    if given is not None:
        return given

    def late(view: View, hints: Hints) -> Iterable[Mapping[str, Any]]:
        return _imported(schema)(view, hints)

    return late


def why_not_derived(schema: EntitySchema, cls: Any, *, imports: bool = True) -> str:
    """Why a derived entity cannot be read in this process, and what to do; empty if it can, or is none.

    Without `imports` only what can be said without importing anything.
    """
    if schema.derived is None or _declared(cls) is not None:
        return ""
    if imports:
        try:
            _imported(schema)
        except NotResolved as error:
            return error.message
        return ""
    return _not_importable(schema) if _is_of_a_script(schema.derived) else ""


def _declared(cls: Any) -> Any:
    """The function that a class of this process declares, if it declares the function itself."""
    given: Any = cls.__dict__.get("__derived__") if cls is not None else None
    return None if isinstance(given, str) else given


def _imported(schema: EntitySchema) -> Any:
    """The function behind a derived entity, by its name.

    Raises:
        NotResolved: it cannot be imported, or nobody here declares it to be a derivation.
    """
    from heaven_core.entity import derivations
    from heaven_core.plugin import resolve

    reference = schema.derived or ""
    try:
        function: Any = resolve(reference)
    except ImportError as error:
        raise NotResolved(_not_importable(schema)) from error
    if reference not in derivations:  # importing it has made its class, if it is a derivation at all
        raise NotResolved(
            f"entity {schema.id!r} is derived by {reference!r}, which no class here declares; "
            "import the module of its class"
        )
    return function


def _not_importable(schema: EntitySchema) -> str:
    what = f"entity {schema.id!r} is derived by {schema.derived!r}, which cannot be imported here"
    if _is_of_a_script(schema.derived or ""):
        return f"{what}: it is a script's own; ask there, or move its class and function to a module and register it"
    return f"{what}; install or import what brings it"


def _is_of_a_script(reference: str) -> bool:
    return reference.startswith("__main__:") or "<" in reference
