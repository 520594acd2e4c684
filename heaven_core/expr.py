"""Conditions: the tree that `where` takes, made by operators on field references.

`Doc.year >= 2000`, `Doc.title.contains("x") & ~Doc.draft.eq(True)` and the JSON
filter `{"year": {"$gte": 2000}}` make the same four kinds of node. Arguments are
checked when a node is made, so a mistake is reported at the line that holds it.
Depth is kept in each node and limited, so nothing recurses without bound.

Not here: what an operation means (`heaven_core.ops`), how a tree becomes a plan
(`heaven_core.plan`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from heaven_core.errors import (
    InvalidType,
    InvalidValue,
    QueryError,
    QueryTooDeep,
    UnknownKey,
    UnsupportedOp,
    a_kind,
    did_you_mean,
    shown,
)
from heaven_core.narrow import is_list, is_mapping
from heaven_core.ops import Op
from heaven_core.types import Refused

if TYPE_CHECKING:
    from heaven_core.schema import EntitySchema, FieldSchema

T_co = TypeVar("T_co", covariant=True)

MAX_DEPTH = 100
MAX_PARTS = 1_000_000
"""Values and containers in a JSON spec."""


class Expr:
    """A condition on one row. Combine with `&`, `|` and `~`, never with `and`, `or`, `not`."""

    __slots__ = ("depth",)
    depth: int

    def __and__(self, other: Expr) -> Expr:
        return all_of((self, other))

    def __or__(self, other: Expr) -> Expr:
        return any_of((self, other))

    def __invert__(self) -> Expr:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise QueryError("a condition has no truth value; combine conditions with &, | and ~, each in parentheses")

    def to_dict(self) -> dict[str, Any]:
        """The condition as a JSON filter."""
        raise NotImplementedError


class Predicate(Expr):
    """One operation on one field; `value` is the canonical argument."""

    __slots__ = ("field", "op", "value")

    def __init__(self, field: FieldSchema, op: Op, value: Any) -> None:
        self.field, self.op, self.value, self.depth = field, op, value, 1

    def to_dict(self) -> dict[str, Any]:
        return {self.field.name: {f"${self.op.name}": self.op.to_json(self.field.dtype, self.value)}}

    def __repr__(self) -> str:
        return f"<{self.field.name} {self.op.name} ...>"


class _Many(Expr):
    __slots__ = ("children",)
    key = ""

    def __init__(self, children: tuple[Expr, ...]) -> None:
        self.children = children
        self.depth = _checked_depth(1 + max((child.depth for child in children), default=0))

    def to_dict(self) -> dict[str, Any]:
        return {self.key: [child.to_dict() for child in self.children]}

    def __repr__(self) -> str:
        return f"<{self.key} of {len(self.children)}>"


class And(_Many):
    """Every child holds; of no children, always."""

    __slots__ = ()
    key = "$and"


class Or(_Many):
    """One child holds; of no children, never."""

    __slots__ = ()
    key = "$or"


class Not(Expr):
    """The complement: exactly the rows for which the child does not hold."""

    __slots__ = ("child",)

    def __init__(self, child: Expr) -> None:
        self.child = child
        self.depth = _checked_depth(1 + child.depth)

    def to_dict(self) -> dict[str, Any]:
        return {"$not": self.child.to_dict()}

    def __repr__(self) -> str:
        return "<$not>"


def _checked_depth(depth: int) -> int:
    if depth > MAX_DEPTH:
        raise QueryTooDeep(f"the filter is nested more than {MAX_DEPTH} levels deep; flatten it")
    return depth


def all_of(conditions: Iterable[Expr]) -> Expr:
    """The conjunction, flattened: `(a & b) & c` is one And of three."""
    return _combined(And, conditions)


def any_of(conditions: Iterable[Expr]) -> Expr:
    """The disjunction, flattened."""
    return _combined(Or, conditions)


def _combined(kind: type[_Many], conditions: Iterable[Expr]) -> Expr:
    children: list[Expr] = []
    for condition in conditions:
        if not isinstance(condition, Expr):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise QueryError(f"a condition is made from fields, such as Doc.year >= 2000; got {a_kind(condition)}")
        children.extend(condition.children if type(condition) is kind else (condition,))
    return children[0] if len(children) == 1 else kind(tuple(children))


def predicates(expr: Expr | None) -> Iterator[Predicate]:
    """The predicates of a tree, left to right."""
    if isinstance(expr, Predicate):
        yield expr
    elif isinstance(expr, _Many):
        for child in expr.children:
            yield from predicates(child)
    elif isinstance(expr, Not):
        yield from predicates(expr.child)


def predicate(field: FieldSchema, op_name: str, argument: Any) -> Predicate:
    """The checked predicate `field op argument`.

    Raises:
        UnknownOp, UnsupportedOp: no such operation, or this type does not have it.
        InvalidValue, InvalidType: the argument is not one that the operation takes.
    """
    op = find_op(op_name)
    if op.kind != "filter" or not op.serves(field.dtype):
        raise _unsupported(field, op)
    try:
        return Predicate(field, op, op.check(field.dtype, argument))
    except Refused as refused:
        kind = InvalidType if refused.wrong_type else InvalidValue
        raise kind.at(field.entity, field.name, None, argument, f"({op.name}) {refused.about(argument)}") from None
    except QueryError as error:
        raise QueryError(f"{field.entity}.{field.name}: {error}") from error


def find_op(name: str) -> Op:
    """The operation of this name or alias.

    Raises:
        UnknownOp: there is none; the message has the nearest name.
    """
    global _registries  # imported once: this is asked for every condition
    if _registries is None:
        from heaven_core.registry import registries as _registries
    return _registries().op(name)


_registries: Any = None


def _unsupported(field: FieldSchema, op: Op) -> UnsupportedOp:
    from heaven_core.registry import registries

    has = sorted(one.name for one in registries().ops() if one.kind == op.kind == "filter" and one.serves(field.dtype))
    if op.kind != "filter":
        part = "near" if op.kind == "rank" else "aggregate"
        return UnsupportedOp(f"{op.name} is no filter; it stands beside the filter, in the query's {part!r}")
    return UnsupportedOp(
        f"{field.entity}.{field.name} is {field.dtype!r}, which has no {op.name!r}; it has: {', '.join(has)}"
    )


class Aggregate:
    """One number (or list) about a group of rows: an operation on a field, or a count of rows."""

    __slots__ = ("field", "op", "param")

    def __init__(self, op: str, field: FieldSchema | None = None, param: float | None = None) -> None:
        self.op, self.field, self.param = op, field, param

    def to_dict(self) -> dict[str, Any]:
        """The aggregate in a JSON spec."""
        body: dict[str, Any] = {} if self.field is None else {"field": self.field.name}
        if self.param is not None:
            body["p"] = self.param
        return {f"${self.op}": body}

    def key(self) -> tuple[Any, ...]:
        """What distinguishes it from another aggregate of the same query."""
        return (self.op, None if self.field is None else self.field.name, self.param)

    def __repr__(self) -> str:
        return f"<{self.op} of {'rows' if self.field is None else self.field.name}>"


def aggregate(op_name: str, field: FieldSchema | None, param: Any = None) -> Aggregate:
    """The checked aggregate.

    Raises:
        UnknownOp, UnsupportedOp, QueryError: no such aggregate, not for this type, or a bad percentile.
    """
    op = find_op(op_name)
    if op.kind != "aggregate":
        raise UnsupportedOp(f"{op.name} is no aggregate; count, sum, avg, min, max, ... are")
    if field is None and op.name != "count":
        raise QueryError(f"{op.name} needs a field; only count works without one")
    if field is not None and not op.serves(field.dtype):
        raise UnsupportedOp(f"{field.entity}.{field.name} is {field.dtype!r}, which has no {op.name!r}")
    if op.name != "percentile":
        if param is not None:
            raise QueryError(f"{op.name} takes no p; percentile does")
        return Aggregate(op.name, field)
    if isinstance(param, bool) or not isinstance(param, (int, float)) or not 0 <= param <= 100:
        raise QueryError("percentile takes p, a number from 0 to 100")
    return Aggregate(op.name, field, float(param))


class Ordering:
    """A field or an aggregate's name to sort by, and the direction."""

    __slots__ = ("desc", "name")

    def __init__(self, name: str, desc: bool) -> None:
        self.name, self.desc = name, desc

    def __neg__(self) -> Ordering:
        return Ordering(self.name, not self.desc)

    def to_dict(self) -> str:
        """The JSON form: the name, with a minus sign before it for descending."""
        return f"-{self.name}" if self.desc else self.name


class _Reference:
    """Something that is asked by conditions. It can be indexed, so Python would go through it without an end."""

    __slots__ = ()
    field: FieldSchema

    def _is(self, op: str, argument: Any) -> Predicate:
        """The condition that `op` holds here. Each kind of reference has its own."""
        raise NotImplementedError

    def __eq__(self, other: Any) -> Predicate:  # type: ignore[override]  # a condition, as in every query language
        return self._is("eq", other)

    def __ne__(self, other: Any) -> Predicate:  # type: ignore[override]
        return self._is("ne", other)

    def __hash__(self) -> int:
        return hash((self.field.entity, self.field.name))

    def __lt__(self, other: Any) -> Predicate:
        return self._is("lt", other)

    def __le__(self, other: Any) -> Predicate:
        return self._is("lte", other)

    def __gt__(self, other: Any) -> Predicate:
        return self._is("gt", other)

    def __ge__(self, other: Any) -> Predicate:
        return self._is("gte", other)

    def eq(self, value: Any) -> Predicate:
        """The field equals `value`; None means it has none."""
        return self._is("eq", value)

    def ne(self, value: Any) -> Predicate:
        """The field does not equal `value`; a null field does not."""
        return self._is("ne", value)

    def lt(self, value: Any) -> Predicate:
        """The field comes before `value`."""
        return self._is("lt", value)

    def lte(self, value: Any) -> Predicate:
        """The field comes before `value` or equals it."""
        return self._is("lte", value)

    def gt(self, value: Any) -> Predicate:
        """The field comes after `value`."""
        return self._is("gt", value)

    def gte(self, value: Any) -> Predicate:
        """The field comes after `value` or equals it."""
        return self._is("gte", value)

    def in_(self, values: Any) -> Predicate:
        """The field equals one of `values`; None among them stands for null."""
        return self._is("in", values)

    def between(self, low: Any, high: Any) -> Predicate:
        """The field lies between `low` and `high`, both included."""
        return self._is("between", [low, high])

    def is_null(self, flag: bool = True) -> Predicate:
        """The field has no value; with False: it has one."""
        return self._is("is_null", flag)

    def contains(self, text: str) -> Predicate:
        """The text holds `text`."""
        return self._is("contains", text)

    def starts_with(self, text: str) -> Predicate:
        """The text begins with `text`."""
        return self._is("starts_with", text)

    def ends_with(self, text: str) -> Predicate:
        """The text ends with `text`."""
        return self._is("ends_with", text)

    def __iter__(self) -> NoReturn:
        raise InvalidType(
            f"{self.field.entity}.{self.field.name} stands for a field and has no items; "
            "its values are in an answer: query.execute().column(...)"
        )

    def __contains__(self, item: object) -> NoReturn:
        raise InvalidType(
            f"{self.field.entity}.{self.field.name} stands for a field and cannot be asked with 'in'; "
            "write a condition such as .in_([...]), .contains(...) or .array_contains(...)"
        )


class FieldRef(_Reference, Generic[T_co]):
    """A field as it stands in a query: `Doc.title`. Its methods make conditions and aggregates."""

    __slots__ = ("field",)

    def __init__(self, field: FieldSchema) -> None:
        self.field = field

    @property
    def field_name(self) -> str:
        """The field's name."""
        return self.field.name

    def _is(self, op: str, argument: Any) -> Predicate:
        return predicate(self.field, op, argument)

    def __bool__(self) -> NoReturn:
        raise QueryError(
            f"{self.field.entity}.{self.field.name} has no truth value in a query; compare it with something"
        )

    def match(self, query: str) -> Predicate:
        """The text holds every word of `query`, whatever the case and the accents."""
        return self._is("match", query)

    def like(self, pattern: str) -> Predicate:
        r"""The text fits `pattern`: `%` any run, `_` one character, backslash escapes."""
        return self._is("like", pattern)

    def ilike(self, pattern: str) -> Predicate:
        """As `like`, whatever the case."""
        return self._is("ilike", pattern)

    def regex(self, pattern: str) -> Predicate:
        """The RE2 expression `pattern` is found somewhere in the text."""
        return self._is("regex", pattern)

    def array_contains(self, item: Any) -> Predicate:
        """The array has `item`."""
        return self._is("array_contains", item)

    def array_overlaps(self, items: Any) -> Predicate:
        """The array has one of `items`."""
        return self._is("array_overlaps", items)

    def contained_in(self, other: Any) -> Predicate:
        """Every item is among `other`; for a text field: the text lies within `other`."""
        return self._is("contained_in", other)

    def __getitem__(self, step: str | int) -> JsonRef:
        if "json" not in self.field.dtype.traits:
            raise UnsupportedOp(f"{self.field.entity}.{self.field.name} is {self.field.dtype!r}; only Json has paths")
        return JsonRef(self.field, (step,))

    def count(self) -> Aggregate:
        """How many rows of the group have a value."""
        return aggregate("count", self.field)

    def sum(self) -> Aggregate:
        """The sum over the group."""
        return aggregate("sum", self.field)

    def avg(self) -> Aggregate:
        """The mean over the group."""
        return aggregate("avg", self.field)

    def min(self) -> Aggregate:
        """The first value of the group in order."""
        return aggregate("min", self.field)

    def max(self) -> Aggregate:
        """The last value of the group in order."""
        return aggregate("max", self.field)

    def median(self) -> Aggregate:
        """The middle value of the group."""
        return aggregate("median", self.field)

    def percentile(self, p: float) -> Aggregate:
        """The value at `p` percent (0 to 100), by linear interpolation."""
        return aggregate("percentile", self.field, p)

    def value_counts(self) -> Aggregate:
        """[value, count] pairs of the group, most frequent first."""
        return aggregate("value_counts", self.field)

    def asc(self) -> Ordering:
        """Ascending, for `order_by`; nulls last."""
        return Ordering(self.field.name, False)

    def desc(self) -> Ordering:
        """Descending, for `order_by`; nulls last."""
        return Ordering(self.field.name, True)

    def __neg__(self) -> Ordering:
        return self.desc()

    def __repr__(self) -> str:
        return f"<field {self.field.entity}.{self.field.name}: {self.field.dtype!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """An operation registered in code, by its name; anything else is an AttributeError that helps."""
            if name.startswith("_"):
                raise AttributeError(name)
            from heaven_core.registry import registries

            known = {op.name: op for op in registries().ops()}
            op = known.get(name)
            if op is not None and op.kind == "filter" and op.serves(self.field.dtype):
                return lambda argument: self._is(name, argument)
            has = [one.name for one in known.values() if one.serves(self.field.dtype)]
            has += [attr for attr in dir(type(self)) if not attr.startswith("_")]
            where = f"{self.field.entity}.{self.field.name}"
            raise AttributeError(
                f"{where} ({self.field.dtype!r}) has no operation {name!r}; {did_you_mean(name, set(has))}"
            )


class JsonRef(_Reference):
    """A place inside a Json field: `Doc.meta["a"][0]`; its methods make conditions."""

    __slots__ = ("field", "path")

    def __init__(self, field: FieldSchema, path: tuple[str | int, ...]) -> None:
        self.field, self.path = field, path

    def __getitem__(self, step: str | int) -> JsonRef:
        return JsonRef(self.field, (*self.path, step))

    def __repr__(self) -> str:
        steps = "".join(f"[{step!r}]" for step in self.path)
        return f"<field {self.field.entity}.{self.field.name}{steps}>"

    def _is(self, op: str, argument: Any) -> Predicate:
        return predicate(self.field, "get", {"path": list(self.path), f"${op}": argument})


# -- JSON filters --------------------------------------------------------------------------------------------------

JSON_KEYS = ("$and", "$or", "$not")


def nesting(value: Any, limit: int) -> int:
    """How deep containers are nested in `value`; stops counting past `limit`. Never recurses.

    Raises:
        QueryError: it has more than `MAX_PARTS` parts, as a container that holds itself twice has.
    """
    depth, parts, level = 0, 0, [value]
    while level and depth <= limit:
        inner: list[Any] = []
        found = False
        for item in level:
            if is_mapping(item):
                found = True
                inner.extend(item.values())
            elif is_list(item):
                found = True
                inner.extend(item)
            if parts + len(inner) > MAX_PARTS:
                raise QueryError(f"the query has more than {MAX_PARTS} parts; ask for less at once")
        depth += found
        parts += len(inner)
        level = inner
    return depth


def check_nesting(spec: Any) -> None:
    """Refuse a spec that is nested deeper than the limit, before anything else looks at it.

    Raises:
        QueryTooDeep: the message does not render the spec.
    """
    if nesting(spec, 2 * MAX_DEPTH) > 2 * MAX_DEPTH:
        raise QueryTooDeep(f"the query is nested more than {MAX_DEPTH} levels deep; flatten it")


def from_filter(schema: EntitySchema, spec: Any, depth: int = 0) -> Expr | None:
    """The condition that a JSON filter says, or None for an empty one. Call `check_nesting` first.

    Raises:
        UnknownField, UnknownOp, UnknownKey, InvalidValue, QueryError: with the nearest right word.
    """
    _checked_depth(depth)
    if not is_mapping(spec):
        raise QueryError(f"a filter is a mapping such as {{'field': value}}, not {a_kind(spec)}")
    parts = [_entry(schema, key, value, depth + 1) for key, value in spec.items()]
    return all_of(parts) if parts else None


def _or_all(expr: Expr | None) -> Expr:
    return And(()) if expr is None else expr


def _entry(schema: EntitySchema, key: Any, value: Any, depth: int) -> Expr:
    if not isinstance(key, str):
        raise UnknownKey(f"a filter's keys are field names and {', '.join(JSON_KEYS)}, not {a_kind(key)}")
    if key in {"$and", "$or"}:
        if not is_list(value):
            raise QueryError(f"{key} takes a list of filters, not {a_kind(value)}")
        parts = [_or_all(from_filter(schema, part, depth)) for part in value]
        return (all_of if key == "$and" else any_of)(parts)
    if key == "$not":
        return Not(_or_all(from_filter(schema, value, depth)))
    if key.startswith("$"):
        raise UnknownKey(f"{shown(key)} is no key of a filter; {did_you_mean(key, JSON_KEYS)}")
    return _field_entry(schema.field(key), value)


def _field_entry(field: FieldSchema, value: Any) -> Expr:
    if not is_mapping(value):
        return predicate(field, "eq", value)
    keys: list[Any] = list(value)
    if "json" in field.dtype.traits and not any(isinstance(key, str) and key.startswith("$") for key in keys):
        return predicate(field, "eq", value)
    if not keys:
        raise QueryError(f"{field.entity}.{field.name}: an empty mapping asks nothing; write {{'$op': value}}")
    parts: list[Expr] = []
    for key in keys:
        if not isinstance(key, str) or not key.startswith("$"):
            raise UnknownKey(f"{field.entity}.{field.name}: operations are written '$op'; got {key!r:.40}")
        if key in JSON_KEYS:
            raise UnknownKey(
                f"{field.entity}.{field.name}: {key} stands around fields: {{{key!r}: ...}}, not inside one"
            )
        parts.append(predicate(field, key[1:], value[key]))
    return all_of(parts)


def as_expr(schema: EntitySchema, condition: Any) -> Expr | None:
    """`condition` as a tree: an Expr as it is, a mapping as a JSON filter, None as None.

    Raises:
        UnknownField, QueryError: it asks for fields that the schema does not have, or of another entity.
    """
    if condition is None:
        return None
    if isinstance(condition, Expr):
        for one in (condition,) if type(condition) is Predicate else predicates(condition):
            if one.field.entity != schema.id:
                raise QueryError(f"{one.field.entity}.{one.field.name} belongs to another entity than {schema.id!r}")
            schema.field(one.field.name)
        return condition
    if is_mapping(condition):
        check_nesting(condition)
        return from_filter(schema, condition)
    raise QueryError(f"where takes conditions or a filter mapping, not {a_kind(condition)}")


def field_of(schema: EntitySchema, given: Any) -> FieldSchema:
    """The field that a name or a reference means in `schema`.

    Raises:
        UnknownField: the entity has no such field.
        QueryError: the reference is of another entity, or neither name nor reference.
    """
    if isinstance(given, FieldRef):
        if given.field.entity != schema.id:
            raise QueryError(f"{given!r} belongs to another entity than {schema.id!r}")
        return schema.field(given.field.name)
    if isinstance(given, str):
        return schema.field(given)
    if isinstance(given, JsonRef):
        where = f"{given.field.entity}.{given.field.name}"
        raise QueryError(
            f"a path inside the Json field {where} stands in conditions only, and cannot be grouped, ordered, "
            "aggregated or selected by; give what lies there a field of its own, which can be a computed one"
        )
    raise QueryError(f"name a field or pass a reference such as Doc.title, not {a_kind(given)}")
