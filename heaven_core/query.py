"""Queries: immutable descriptions of a question, in code or as JSON, equal to each other.

`ws.query(Doc).where(Doc.year >= 2000).order_by("-year").limit(10)` and
`ws.query_json(Doc, {"filter": {"year": {"$gte": 2000}}, "order": ["-year"], "limit": 10})`
make the same `Query`; `to_dict()` gives the JSON. A query does nothing until
`execute()`, `explain()`, `count()` or iteration.

Not here: how it is answered (`heaven_core.plan`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heaven_core.backend import DEFAULT_LIMITS, Limits, OrderBy
from heaven_core.errors import (
    InvalidType,
    InvalidValue,
    QueryError,
    UnknownField,
    UnknownKey,
    a_kind,
    did_you_mean,
    shown,
)
from heaven_core.expr import (
    Aggregate,
    Expr,
    FieldRef,
    Ordering,
    aggregate,
    all_of,
    as_expr,
    check_nesting,
    field_of,
    from_filter,
)
from heaven_core.frame import RANK_COLUMNS
from heaven_core.narrow import is_list, is_mapping
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.types import INT_MAX, Float, Integer, LogicalType, Refused

if TYPE_CHECKING:
    from heaven_core.explain import Explanation, Source
    from heaven_core.frame import ResultFrame

MAX_WEIGHT = 1e6
KEYS = ("filter", "select", "order", "limit", "offset", "near", "search", "aggregate", "group_by", "having")
METRICS = ("cosine", "l2", "dot")
MAX_TOP_K = 100_000
MAX_ALIAS = 255


class NearSpec:
    """The nearest `top_k` rows to a vector."""

    __slots__ = ("field", "metric", "query", "top_k")

    def __init__(self, field: FieldSchema, query: list[float], top_k: int, metric: str) -> None:
        self.field, self.query, self.top_k, self.metric = field, query, top_k, metric

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"field": self.field.name, "query": list(self.query), "top_k": self.top_k, "metric": self.metric}


class SearchSpec:
    """A ranked full-text search in some fields; None are those that the entity's placement suggests."""

    __slots__ = ("fields", "query", "weights")

    def __init__(self, query: str, fields: tuple[FieldSchema, ...] | None, weights: tuple[float, ...] = ()) -> None:
        self.query, self.fields, self.weights = query, fields, weights

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        if self.fields is None:
            return {"query": self.query}
        names = [field.name for field in self.fields]
        weighted = dict(zip(names, self.weights, strict=True)) if self.weights else names
        return {"query": self.query, "fields": weighted}


class Query:
    """A question about one entity. Every method returns a new query."""

    __slots__ = (
        "aggregates",
        "filter",
        "group",
        "having_",
        "limit_",
        "limits_",
        "near_",
        "offset_",
        "order",
        "schema",
        "search_",
        "selected",
        "source",
    )

    def __init__(self, source: Source, schema: EntitySchema) -> None:
        self.source, self.schema = source, schema
        self.filter: Expr | None = None
        self.selected: tuple[str, ...] | None = None
        self.order: tuple[OrderBy, ...] = ()
        self.limit_: int | None = None
        self.offset_ = 0
        self.near_: NearSpec | None = None
        self.search_: SearchSpec | None = None
        self.group: tuple[str, ...] = ()
        self.aggregates: tuple[tuple[str, Aggregate], ...] = ()
        self.having_: Expr | None = None
        self.limits_ = DEFAULT_LIMITS

    def _copy(self) -> Query:
        new = Query.__new__(Query)
        new.source, new.schema, new.filter, new.selected = self.source, self.schema, self.filter, self.selected
        new.order, new.limit_, new.offset_, new.near_ = self.order, self.limit_, self.offset_, self.near_
        new.search_, new.group, new.aggregates = self.search_, self.group, self.aggregates
        new.having_, new.limits_ = self.having_, self.limits_
        return new

    # building ----------------------------------------------------------------------------------------------------

    def where(self, *conditions: Expr | Mapping[str, Any]) -> Query:
        """Only rows that satisfy every condition, here and in earlier calls."""
        new = self._copy()
        if len(conditions) == 1 and self.filter is None:
            new.filter = as_expr(self.schema, conditions[0])
            return new
        parts = [as_expr(self.schema, condition) for condition in conditions]
        kept = [part for part in (self.filter, *parts) if part is not None]
        new.filter = all_of(kept) if kept else None
        return new

    def near(self, field: Any, query: Any, top_k: int = 10, metric: str = "cosine") -> Query:
        """The `top_k` rows nearest to `query` that satisfy the rest, nearest first.

        Metrics: cosine (distance 1 - cos), l2 (Euclidean), dot (negative product).
        """
        target = field_of(self.schema, field)
        if "vector" not in target.dtype.traits:
            raise QueryError(f"{self.schema.id}.{target.name} is {target.dtype!r}; near needs a Vector field")
        if metric not in METRICS:
            raise QueryError(f"there is no metric {metric!r:.40}; {did_you_mean(metric, METRICS)}")
        from heaven_core.matrix import check_query

        vector = _argument(target, target.dtype, query, "near")
        check_query(self.schema.id, target.name, vector, metric)
        new = self._copy()
        new.near_ = NearSpec(target, vector, _whole("top_k", top_k, 1, MAX_TOP_K), metric)
        return new

    def search(self, query: str, fields: Any = None) -> Query:
        """Rows with at least one word of `query` in one of the fields, best BM25 first.

        fields: names or references, or a mapping from them to how much a word in each counts,
            such as ``{"title": 3, "body": 1}``. Without it: those with a full-text index, or
            else every text field.
        """
        weights = tuple(_weight(name, one) for name, one in fields.items()) if is_mapping(fields) else ()
        chosen = _search_fields(self.schema, list(fields) if is_mapping(fields) else fields)
        text = _search_text(self.schema, query)
        new = self._copy()
        new.search_ = SearchSpec(text, chosen, weights)
        return new

    def select(self, *fields: Any) -> Query:
        """Only these fields in the rows; `object_id` always comes along."""
        names = [field_of(self.schema, field).name for field in _flat(fields)]
        new = self._copy()
        new.selected = tuple(dict.fromkeys(names))
        return new

    def order_by(self, *keys: Any, desc: bool = False) -> Query:
        """Sort by fields (or names of aggregates): `"year"`, `"-year"`, `Doc.year.desc()`; nulls last.

        Raises:
            UnknownField: there is no such field. In a grouped query an aggregate of that name may
                still be to come, so it is looked for when the query is asked.
            QueryError: the field has no order.
        """
        new = self._copy()
        order = {one.name: one for one in self.order}
        is_grouped = bool(self.group or self.aggregates)
        for one in (self._ordering(key, desc) for key in _flat(keys)):
            if not is_grouped or one.name in self.schema.by_name:
                _check_order(self.schema, one.name, self.schema.names)
            order.setdefault(one.name, one)  # a key that comes again changes nothing
        new.order = tuple(order.values())
        return new

    def _ordering(self, key: Any, desc: bool) -> OrderBy:
        if isinstance(key, Ordering):
            return OrderBy(key.name, key.desc)
        if isinstance(key, str):
            return OrderBy(key.removeprefix("-"), key.startswith("-") or desc)
        return OrderBy(field_of(self.schema, key).name, desc)

    def limit(self, count: int | None) -> Query:
        """At most `count` rows; which ones is unspecified without an order."""
        new = self._copy()
        new.limit_ = None if count is None else _whole("limit", count, 0)
        return new

    def offset(self, count: int) -> Query:
        """Skip `count` rows."""
        new = self._copy()
        new.offset_ = _whole("offset", count, 0)
        return new

    def group_by(self, *fields: Any) -> Query:
        """One row per combination of these fields' values; null is a value of its own."""
        new = self._copy()
        for field in (field_of(self.schema, one) for one in _flat(fields)):
            if "scalar" not in field.dtype.traits:
                raise QueryError(
                    f"{self.schema.id}.{field.name} is {field.dtype!r}; only scalar fields can be grouped by"
                )
            if field.name not in new.group:
                new.group = (*new.group, field.name)
        return new

    def aggregate(self, /, **named: Any) -> Query:
        """Named aggregates over the groups, or over all rows: `total=Doc.price.sum()`, `n="count"`."""
        new = self._copy()
        taken = dict(new.aggregates)
        for alias, one in named.items():
            if alias in self.schema.by_name or alias in taken or alias in RANK_COLUMNS:
                raise QueryError(
                    f"the aggregate {shown(alias)} has the name of a field or of another aggregate; call it differently"
                )
            if not 0 < len(alias) <= MAX_ALIAS or alias[0] in "-$" or not alias.isprintable():
                raise QueryError(
                    f"{shown(alias)} cannot name an aggregate; a name has 1 to {MAX_ALIAS} printable characters, "
                    "the first of which is neither - nor $"
                )
            taken[alias] = self._aggregate(alias, one)
        new.aggregates = tuple(taken.items())
        return new

    def _aggregate(self, alias: str, given: Any) -> Aggregate:
        if isinstance(given, Aggregate):
            if given.field is not None:
                field_of(self.schema, FieldRef(given.field))
            return given
        if isinstance(given, str):
            return aggregate(given, None)
        if not is_mapping(given) or len(given) != 1:
            form = "{'$sum': {'field': name}} or Doc.field.sum()"
            raise QueryError(f"the aggregate {shown(alias)} is written {form}")
        ((key, body),) = given.items()
        if not isinstance(key, str) or not is_mapping(body):
            raise QueryError(f"the aggregate {shown(alias)} is written {{'$sum': {{'field': name}}}}")
        unknown = set(body) - {"field", "p"}
        if unknown:
            word = min(map(str, unknown))
            raise UnknownKey(f"the aggregate {shown(alias)} has no {shown(word)}; {did_you_mean(word, ('field', 'p'))}")
        field = None if body.get("field") is None else field_of(self.schema, body["field"])
        return aggregate(key.removeprefix("$"), field, body.get("p"))

    def having(self, condition: Expr | Mapping[str, Any]) -> Query:
        """Only groups that satisfy the condition, a filter on group keys and aggregates' names.

        Raises:
            UnknownField: the grouped answer has no such column.
        """
        new, columns = self._copy(), groups_schema(self)
        try:
            part = as_expr(columns, condition)
        except UnknownField as error:
            name, known = vars(error).get("field"), (*self.group, *(alias for alias, _ in self.aggregates))
            raise UnknownField(
                f"having compares the columns of the grouped answer, and {shown(name)} is none of them; "
                f"{did_you_mean(name, known)}",
                entity=self.schema.id,
                field=name,
            ) from None
        kept = [one for one in (self.having_, part) if one is not None]
        new.having_ = all_of(kept) if kept else None
        return new

    def limits(self, /, **bounds: Any) -> Query:
        """Other bounds than the defaults: `deadline` (seconds), `max_rows`, `max_bytes`; None for none.

        And `cancel`, a `Cancellation` by which another thread can stop the query.
        """
        unknown = set(bounds) - set(Limits._fields)
        if unknown:
            word = min(unknown)
            raise UnknownKey(f"there is no bound {shown(word)}; {did_you_mean(word, Limits._fields)}")
        for key, value in bounds.items():
            if key == "cancel":
                from heaven_core.cancellation import Cancellation

                if not isinstance(value, Cancellation | None):
                    raise QueryError(f"the bound 'cancel' takes a heavenbase.Cancellation or None, not {a_kind(value)}")
                continue
            kinds = (int, float) if key == "deadline" else int
            most = INT_MAX if key == "deadline" else value
            fits = isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= most
            if value is not None and not fits:
                number = "number" if key == "deadline" else "whole number"
                raise QueryError(f"the bound {key!r} takes a positive {number} or None")
        new = self._copy()
        new.limits_ = self.limits_._replace(**bounds)
        return new

    # asking ------------------------------------------------------------------------------------------------------

    def execute(self) -> ResultFrame:
        """The answer.

        Raises:
            DeadlineExceeded, ResultTooLarge: a bound was passed; nothing is returned.
            QueryError: the parts do not fit together.
        """
        return self.source.run_query(self)

    def explain(self, *, analyze: bool = False) -> Explanation:
        """How the question would be answered; with `analyze` it is, and times and rows are added."""
        return self.source.explain(self, analyze=analyze)

    def count(self) -> int:
        """How many rows satisfy the conditions."""
        if self.group or self.aggregates or self.near_ or self.search_:
            return len(self.execute())
        plain = self._copy()
        plain.order, plain.selected, plain.limit_, plain.offset_ = (), None, None, 0
        total: int = plain.aggregate(_count="count").execute().scalar()  # no field has such a name
        rest = max(total - self.offset_, 0)
        return rest if self.limit_ is None else min(rest, self.limit_)

    def iter_frames(self, size: int = 1000) -> Iterator[ResultFrame]:
        """The answer in parts of at most `size` rows, without ever having all of it in memory.

        Rows without an order are read part by part, in the order of their ids: each part is of
        its own moment, so a row that others write meanwhile may be in the answer or not, and none
        comes twice. With an order the ids are read at once and the rows part by part, those that no
        longer satisfy the condition left out. Ranked and
        grouped answers are made whole, then cut. The deadline and the cap on bytes are those of
        each part; there is no cap on rows.

        Raises:
            QueryError: `size` is no whole number from 1 to 100 000.
        """
        _whole("size", size, 1, 100_000)
        return self._frames(size)

    def _frames(self, size: int) -> Iterator[ResultFrame]:
        free = self.limits(max_rows=None)
        if self.group or self.aggregates or self.near_ or self.search_ or self.schema.derived:
            yield from free.execute().iter_frames(size)
        elif self.order:
            ids = free.select("object_id").execute().ids
            for start in range(0, len(ids), size):
                again = of_ids(free, ids[start : start + size])
                part = (again if self.filter is None else again.where(self.filter)).execute()
                if len(part):
                    yield part
        else:
            yield from free._by_id(size)

    def _by_id(self, size: int) -> Iterator[ResultFrame]:
        """The rows in the order of their ids, each part after the last id of the one before."""
        key: FieldRef[str] = FieldRef(self.schema.field("object_id"))
        left, last = self.limit_, None
        while left is None or left > 0:
            part = self if last is None else self.offset(0).where(key > last)
            frame = part.order_by("object_id").limit(size if left is None else min(size, left)).execute()
            if len(frame):
                yield frame
            if len(frame) < size:
                return
            last = frame.ids[-1]
            left = None if left is None else left - len(frame)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for part in self._frames(1000):
            yield from part.rows()

    # JSON --------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The JSON spec, from which `query_json` makes the same query; bounds are not part of it."""
        spec: dict[str, Any] = {}
        if self.filter is not None:
            spec["filter"] = self.filter.to_dict()
        if self.selected is not None:
            spec["select"] = list(self.selected)
        if self.order:
            spec["order"] = [f"-{one.name}" if one.desc else one.name for one in self.order]
        if self.limit_ is not None:
            spec["limit"] = self.limit_
        if self.offset_:
            spec["offset"] = self.offset_
        if self.near_ is not None:
            spec["near"] = self.near_.to_dict()
        if self.search_ is not None:
            spec["search"] = self.search_.to_dict()
        if self.group:
            spec["group_by"] = list(self.group)
        if self.aggregates:
            spec["aggregate"] = {alias: one.to_dict() for alias, one in self.aggregates}
        if self.having_ is not None:
            spec["having"] = self.having_.to_dict()
        return spec

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Query):
            return NotImplemented
        return (self.schema.id, self.to_dict(), self.limits_) == (other.schema.id, other.to_dict(), other.limits_)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<query on {self.schema.id!r}: {', '.join(self.to_dict()) or 'all rows'}>"


def from_json(query: Query, spec: Any) -> Query:
    """`query`, which is empty, with everything that a JSON spec says.

    Raises:
        QueryError: with the nearest right word for unknown keys, fields and operations.
    """
    if not is_mapping(spec):
        raise QueryError(f"a query is a mapping with keys such as 'filter', not {a_kind(spec)}")
    check_nesting(spec)
    for key in spec:
        if key not in KEYS:
            raise UnknownKey(f"{shown(key)} is no key of a query; {_rather(query.schema, key)}")
    given: dict[str, Any] = {key: value for key, value in spec.items() if value is not None}
    for key, apply in _PARTS.items():
        if key in given:
            query = apply(query, given[key])
    return query


def _rather(schema: EntitySchema, key: Any) -> str:
    """What could be meant by a key of a spec that is none."""
    if isinstance(key, str) and key in schema.by_name:
        return f"conditions on fields stand in 'filter': {{'filter': {{{key!r}: ...}}}}"
    return did_you_mean(key, KEYS)


def _filter(query: Query, value: Any) -> Query:
    condition = from_filter(query.schema, value)
    return query if condition is None else query.where(condition)


def _aggregate(query: Query, value: Any) -> Query:
    if not is_mapping(value):
        raise QueryError("'aggregate' takes a mapping from names to aggregates")
    if not all(isinstance(key, str) for key in value):
        raise QueryError("'aggregate' takes a mapping whose keys, the names of the results, are texts")
    return query.aggregate(**value)


_PARTS: dict[str, Callable[[Query, Any], Query]] = {
    "filter": _filter,
    "near": lambda query, value: query.near(**_body("near", value, ("field", "query"), ("top_k", "metric"))),
    "search": lambda query, value: query.search(**_body("search", value, ("query",), ("fields",))),
    "select": lambda query, value: query.select(*_names("select", value)),
    "group_by": lambda query, value: query.group_by(*_names("group_by", value)),
    "aggregate": _aggregate,
    "having": lambda query, value: query.having(value),
    "order": lambda query, value: query.order_by(*_names("order", value)),
    "limit": lambda query, value: query.limit(value),
    "offset": lambda query, value: query.offset(value),
}
"""How each key of a spec is applied; in an order in which each finds what it needs."""


def _names(key: str, value: Any) -> Sequence[str]:
    names = [value] if isinstance(value, str) else value
    if not is_list(names) or not all(isinstance(name, str) for name in names):
        raise QueryError(f"{key!r} takes a list of names")
    return names


def _body(key: str, value: Any, needed: tuple[str, ...], allowed: tuple[str, ...]) -> dict[str, Any]:
    if not is_mapping(value):
        raise QueryError(f"{key!r} takes a mapping with {', '.join(needed)}")
    body: dict[str, Any] = {str(name): one for name, one in value.items()}
    for name in body:
        if name not in (*needed, *allowed):
            raise UnknownKey(f"{key!r} has no key {name!r:.40}; {did_you_mean(name, (*needed, *allowed))}")
    for name in needed:
        if name not in body:
            raise QueryError(f"{key!r} needs {name!r}")
    return body


def _whole(what: str, value: Any, least: int, most: int = 2**62) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise QueryError(f"{what} takes a whole number, not {a_kind(value)}")
    if not least <= value <= most:
        raise QueryError(f"{what} takes a whole number from {least} to {most}")
    return value


def _flat(given: Sequence[Any]) -> Sequence[Any]:
    """The arguments, or the one list that was given instead of them."""
    if len(given) == 1 and is_list(given[0]):
        return given[0]
    return given


def _search_text(schema: EntitySchema, value: Any) -> str:
    """The text to search for, which is of no field: what is wrong with it is said of `search`."""
    from heaven_core.types import check_text

    try:
        return check_text(value)
    except Refused as refused:
        kind, given = (InvalidType, a_kind(value)) if refused.wrong_type else (InvalidValue, shown(value))
        why = "" if refused.wrong_type else f", which {refused.reason}"
        raise kind(
            f"search takes a text such as 'wild garden', not {given}{why}",
            entity=schema.id,
            field=None,
            row=None,
            value=value,
            reason=refused.reason,
        ) from None


def _argument(field: FieldSchema, dtype: LogicalType[Any], value: Any, what: str) -> Any:
    try:
        return dtype.check_argument(value)
    except Refused as refused:
        kind = InvalidType if refused.wrong_type else InvalidValue
        raise kind.at(field.entity, field.name, None, value, f"({what}) {refused.about(value)}") from None


def _search_fields(schema: EntitySchema, given: Any) -> tuple[FieldSchema, ...] | None:
    if not text_fields(schema):
        raise QueryError(f"entity {schema.id!r} has no text field to search in")
    if given is None:
        return None
    chosen = tuple(field_of(schema, one) for one in (_flat(given) if is_list(given) else (given,)))
    for field in chosen:
        if "fulltext" not in field.dtype.traits:
            raise QueryError(f"{schema.id}.{field.name} is {field.dtype!r}; search needs text fields")
    if not chosen:
        raise QueryError(f"search in which fields of {schema.id!r}? Leave `fields` out for those with an index")
    return chosen


def _weight(field: Any, given: Any) -> float:
    """How much a word in a field counts."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= MAX_WEIGHT:
        name = field if isinstance(field, str) else getattr(field, "field_name", field)
        raise QueryError(
            f"search: the weight of {shown(name)} is a number above 0 and up to {MAX_WEIGHT:.0f}, not {shown(given)}"
        )
    return float(given)


def text_fields(schema: EntitySchema) -> list[FieldSchema]:
    """The fields that can be searched."""
    return [field for field in schema.fields if "fulltext" in field.dtype.traits]


def ranked_parts(query: Query) -> list[Query]:
    """The two questions that a query with `near` and `search` puts: the ids of its best rows by either."""
    assert query.near_ is not None
    parts = [query.select("object_id").limit(query.near_.top_k) for _ in range(2)]
    for part in parts:
        part.order, part.offset_ = (), 0
    parts[0].search_ = parts[1].near_ = None
    return parts


def of_ids(query: Query, ids: Sequence[str]) -> Query:
    """The query's columns and order for these rows, whatever else it asks."""
    part = Query(query.source, query.schema).where({"object_id": {"$in": list(ids)}})
    part.selected, part.order, part.limits_ = query.selected, query.order, query.limits_
    return part


def groups_schema(query: Query) -> EntitySchema:
    """The group keys and aggregates of a query as the fields of a schema, for conditions on them."""
    fields = [query.schema.field(name) for name in query.group]
    fields += [FieldSchema(query.schema.id, alias, aggregate_type(one)) for alias, one in query.aggregates]
    if not fields:
        raise QueryError("having needs group_by or aggregate before it")
    return EntitySchema(query.schema.id, tuple(fields))


def aggregate_type(one: Aggregate) -> LogicalType[Any]:
    """The logical type of an aggregate's result."""
    from heaven_core.types import Json

    if one.op == "count" or one.field is None:
        return Integer()
    if one.op in {"avg", "median", "percentile"}:
        return Float()
    return Json() if one.op == "value_counts" else one.field.dtype


_NO_GROUP = "it is neither a group key nor an aggregate"


def check_parts(query: Query) -> None:
    """Refuse combinations that have no meaning.

    Raises:
        QueryError, UnknownField: they are named.
    """
    grouped = bool(query.group or query.aggregates)
    if grouped and (query.near_ or query.search_ or query.selected):
        raise QueryError("a grouped query has no near, search or select; filter the rows, and name keys and aggregates")
    columns = [*query.group, *(alias for alias, _ in query.aggregates)]
    for one in query.order:
        _check_order(query.schema, one.name, columns if grouped else query.schema.names, grouped=grouped)
        if any(alias == one.name and aggregate.op == "value_counts" for alias, aggregate in query.aggregates):
            raise QueryError(f"cannot order by {one.name!r}: value_counts gives lists, which have no order")


def _check_order(schema: EntitySchema, name: str, known: Sequence[str], *, grouped: bool = False) -> None:
    """Refuse to order by what is none of the `known` columns, or has no order."""
    field = schema.by_name.get(name)
    if field is not None and "scalar" not in field.dtype.traits:
        raise QueryError(f"{schema.id}.{name} is {field.dtype!r}, which has no order")
    if name not in known:
        where = _NO_GROUP if grouped else "no such field (aggregates are named before the order)"
        raise UnknownField(
            f"cannot order by {shown(name)}: {where}; {did_you_mean(name, known)}", entity=schema.id, field=name
        )
