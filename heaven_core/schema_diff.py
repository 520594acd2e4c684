"""The difference between two schemas of one entity: what registering a changed class would do.

Additions apply by themselves: new fields without a value for old rows, longer
texts, descriptions, defaults, computes. Everything else needs an explicit change
of schema and is a `SchemaConflict`.
"""

from __future__ import annotations

from typing import Any

from heaven_core.errors import SchemaConflict
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.types import Categorical

_FIXED = ("index", "unique", "stores")


class SchemaDiff:
    """What differs: added, changed and removed fields, and why a change is no addition."""

    __slots__ = ("added", "changed", "conflicts", "created", "entity", "outdated", "removed")

    def __init__(self, entity: str, *, created: bool = False) -> None:
        self.entity, self.created = entity, created
        self.added: list[str] = []
        self.changed: list[str] = []
        self.removed: list[str] = []
        self.conflicts: list[str] = []
        self.outdated = False
        """Whether what is registered only adds to the class."""

    @property
    def empty(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.changed or self.removed or self.conflicts)

    def check_additive(self) -> None:
        """Refuse a difference that is more than additions.

        Raises:
            SchemaConflict: the message says what.
        """
        if self.conflicts or self.removed:
            if self.removed and not self.conflicts:
                way = f"declare {', '.join(self.removed)} in the class too, as its newer version does"
            elif self.outdated:
                way = "what is registered is newer than the class, so take the newer class"
            else:
                way = "only additions apply by themselves, so give the class another identifier and copy the rows"
            raise SchemaConflict(f"entity {self.entity!r} is registered otherwise: {self}; {way}", diff=self)

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON data."""
        return {name: getattr(self, name) for name in ("entity", "created", "added", "changed", "removed", "conflicts")}

    def __str__(self) -> str:
        parts = [
            f"{word} {', '.join(names)}" for word in ("added", "changed", "removed") if (names := getattr(self, word))
        ]
        return "; ".join([*parts, *self.conflicts]) or ("created" if self.created else "no difference")

    def __repr__(self) -> str:
        return f"<diff of {self.entity!r}: {self}>"


def compare(before: EntitySchema, after: EntitySchema) -> SchemaDiff:
    """What `after` changes about `before`."""
    diff = _compared(before, after)
    diff.outdated = bool(diff.removed or diff.conflicts) and is_older(after, before)
    return diff


def _compared(before: EntitySchema, after: EntitySchema) -> SchemaDiff:
    diff = SchemaDiff(after.id)
    diff.removed = [name for name in before.by_name if name not in after.by_name]
    for field in after.fields:
        old = before.by_name.get(field.name)
        if old is None:
            diff.added.append(field.name)
            if field.required:
                diff.conflicts.append(f"{field.name} is new and required, which old rows do not satisfy")
        elif old != field:
            _compare_field(diff, old, field)
    if (before.derived is None) is not (after.derived is None):
        diff.conflicts.append("it is derived in one and stored in the other")
    elif before.derived != after.derived:
        diff.changed.append("(derivation)")
    if (before.desc, before.tags, before.observed) != (after.desc, after.tags, after.observed):
        diff.changed.append("(description)")
    return diff


def is_older(schema: EntitySchema, stored: EntitySchema) -> bool:
    """Whether `stored` is `schema` with additions: an older class may read such an entity."""
    diff = _compared(schema, stored)
    return not (diff.empty or diff.removed or diff.conflicts)


def _compare_field(diff: SchemaDiff, old: FieldSchema, new: FieldSchema) -> None:
    diff.changed.append(new.name)
    if old.dtype != new.dtype and not _is_wider(old, new):
        diff.conflicts.append(f"{new.name} was {old.dtype!r} and would be {new.dtype!r}")
    for flag in _FIXED:
        if getattr(old, flag) != getattr(new, flag):
            diff.conflicts.append(f"{new.name} differs in {flag}")
    if new.required and not old.required:
        diff.conflicts.append(f"{new.name} would become required")


def _is_wider(old: FieldSchema, new: FieldSchema) -> bool:
    """Whether every value of the old type is one of the new: more room for text, more values of a Categorical."""
    if isinstance(old.dtype, Categorical) and isinstance(new.dtype, Categorical):
        return set(old.dtype.values) <= set(new.dtype.values)
    one, other = getattr(old.dtype, "max_chars", None), getattr(new.dtype, "max_chars", None)
    return type(old.dtype) is type(new.dtype) and one is not None and other is not None and one <= other
