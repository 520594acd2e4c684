"""Operations: what can be asked of a field, and what each answer is.

This module is `docs/semantics.md` as code. Every operation checks its argument
(`check`), has a JSON form of it (`to_json`) and a reference meaning on one
Python value (`test`), which engines are measured against and which runs where an
engine has no native form. Logic is two-valued: a null field satisfies what
`on_null` says, and `$not` is the complement.

Not here: how an engine compiles an operation (`heaven_core.handlers`), how
conditions combine (`heaven_core.expr`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from heaven_core.narrow import is_collection, is_dict, is_list, is_mapping, is_pure_list
from heaven_core.types import INT_MAX, INT_MIN, Array, LogicalType, Refused, canonical_json, check_text, wrong_kind

if TYPE_CHECKING:
    from fractions import Fraction

Test = Callable[[Any], bool]
Kind = Literal["filter", "rank", "aggregate"]


class Op:
    """One operation: its name, which types have it, its argument and its meaning.

    `trait` names the family of types that have it (see `LogicalType.traits`);
    None means every type. `check(dtype, argument)` gives the canonical argument
    or raises `Refused`. `test(dtype, argument)` gives a function from a non-null
    value to a bool. `on_null(argument)` is the answer for a null field.
    """

    __slots__ = ("aliases", "check", "desc", "kind", "name", "on_null", "test", "to_json", "trait")

    def __init__(
        self,
        name: str,
        *,
        trait: str | None = None,
        kind: Kind = "filter",
        check: Callable[[LogicalType[Any], Any], Any] | None = None,
        test: Callable[[LogicalType[Any], Any], Test] | None = None,
        on_null: Callable[[Any], bool] | None = None,
        to_json: Callable[[LogicalType[Any], Any], Any] | None = None,
        aliases: tuple[str, ...] = (),
        desc: str = "",
    ) -> None:
        self.name, self.trait, self.kind, self.aliases, self.desc = name, trait, kind, aliases, desc
        self.check = check or _as_is
        self.test = test
        self.on_null = on_null or _never
        self.to_json = to_json or _as_is

    def serves(self, dtype: LogicalType[Any] | type[LogicalType[Any]]) -> bool:
        """Whether the type has this operation."""
        return self.trait is None or self.trait in dtype.traits

    def predicate(self, dtype: LogicalType[Any], argument: Any) -> Test:
        """The meaning as one function of a field's value, null included."""
        if self.test is None:
            from heaven_core.errors import UnsupportedOp

            raise UnsupportedOp(
                f"{self.name} has no meaning on a single value, and no handler serves it here; "
                "register the operation with test=..., or a handler for this backend and strategy"
            )
        test, null = self.test(dtype, argument), self.on_null(argument)
        return lambda value: null if value is None else test(value)

    def to_dict(self) -> dict[str, Any]:
        """What a picker shows, as JSON data."""
        return {"identifier": self.name, "kind": self.kind, "aliases": list(self.aliases), "desc": self.desc}

    def __repr__(self) -> str:
        return f"Op({self.name!r})"


def _as_is(dtype: LogicalType[Any], argument: Any) -> Any:
    return argument


def _never(argument: Any) -> bool:
    return False


# -- arguments -----------------------------------------------------------------------------------------------------


def _value(dtype: LogicalType[Any], argument: Any) -> Any:
    if argument is None:
        raise Refused("is null, which nothing can be compared with; use is_null", wrong_type=True)
    return dtype.check_argument(argument)


def _value_or_null(dtype: LogicalType[Any], argument: Any) -> Any:
    return None if argument is None else dtype.check_argument(argument)


def _list(argument: Any) -> list[Any]:
    if not is_collection(argument):
        raise wrong_kind(argument, "a list of values")
    return list(argument)


def _values(dtype: LogicalType[Any], argument: Any) -> list[Any]:
    return [_value_or_null(dtype, value) for value in _list(argument)]


def _range(dtype: LogicalType[Any], argument: Any) -> list[Any]:
    bounds = _list(argument)
    if isinstance(argument, (set, frozenset)):
        raise Refused("is a set, which has no first and last; takes [lowest, highest]", wrong_type=True)
    if len(bounds) != 2:
        raise Refused(f"has {len(bounds)} bounds; takes [lowest, highest], both included", wrong_type=True)
    return [_value(dtype, bound) for bound in bounds]


def _flag(dtype: LogicalType[Any], argument: Any) -> bool:
    if type(argument) is not bool:
        raise wrong_kind(argument, "true or false")
    return argument


def _text(dtype: LogicalType[Any], argument: Any) -> str:
    return check_text(argument)


def _like(dtype: LogicalType[Any], argument: Any) -> str:
    from heaven_core.patterns import parse_like

    parse_like(check_text(argument))
    return argument


def _regex(dtype: LogicalType[Any], argument: Any) -> str:
    from heaven_core.regex import compile_regex

    compile_regex(check_text(argument))
    return argument


def _item(dtype: LogicalType[Any], argument: Any) -> Any:
    assert isinstance(dtype, Array)
    if argument is None or dtype.item is None:
        return dtype.check_item(argument)
    return dtype.item.check_argument(argument)


def _items(dtype: LogicalType[Any], argument: Any) -> list[Any]:
    return [_item(dtype, value) for value in _list(argument)]


def _text_or_items(dtype: LogicalType[Any], argument: Any) -> Any:
    return _items(dtype, argument) if isinstance(dtype, Array) else check_text(argument)


def _json_value(dtype: LogicalType[Any], value: Any) -> Any:
    return None if value is None else dtype.to_json(value)


def _json_values(dtype: LogicalType[Any], values: Sequence[Any]) -> list[Any]:
    return [_json_value(dtype, value) for value in values]


def _json_item(dtype: LogicalType[Any], value: Any) -> Any:
    item = dtype.item if isinstance(dtype, Array) else None
    return value if item is None else item.to_json(value)


def _json_items(dtype: LogicalType[Any], value: Any) -> Any:
    return [_json_item(dtype, item) for item in value] if isinstance(dtype, Array) else value


# -- equality ------------------------------------------------------------------------------------------------------


def same_json(left: Any, right: Any) -> bool:
    """Equality of two JSON values: numbers by value, objects and lists by their canonical text.

    So `1 == 1.0` but `[1] != [1.0]`, and a boolean never equals a number.
    """
    if is_compound(left) or is_compound(right):
        return type(left) is type(right) and (canonical_json(left) == canonical_json(right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return left == right


def equality(dtype: LogicalType[Any]) -> Callable[[Any, Any], bool]:
    """The equality of a type's values: plain `==`, or that of JSON where values mix types."""
    if dtype.kind == "json" or (isinstance(dtype, Array) and dtype.item is None):
        return same_json
    return _plain_equal


def _plain_equal(left: Any, right: Any) -> bool:
    return left == right


def _eq_test(dtype: LogicalType[Any], argument: Any) -> Test:
    if argument is None:
        return lambda value: False
    same = equality(dtype)
    return (lambda value: value == argument) if same is _plain_equal else (lambda value: same(value, argument))


def _ne_test(dtype: LogicalType[Any], argument: Any) -> Test:
    equal = _eq_test(dtype, argument)
    return lambda value: not equal(value)


def _in_test(dtype: LogicalType[Any], argument: Sequence[Any]) -> Test:
    values = [value for value in argument if value is not None]
    same = equality(dtype)
    if same is _plain_equal and not isinstance(dtype, Array):
        known = frozenset(values)
        return lambda value: value in known
    return lambda value: any(same(value, other) for other in values)


# -- text ----------------------------------------------------------------------------------------------------------


def _like_test(dtype: LogicalType[Any], argument: str) -> Test:
    from heaven_core.patterns import like_test

    return like_test(argument)


def _ilike_test(dtype: LogicalType[Any], argument: str) -> Test:
    from heaven_core.patterns import like_test
    from heaven_core.text import fold

    test = like_test(fold(argument))
    return lambda value: test(fold(value))


def _match_test(dtype: LogicalType[Any], argument: str) -> Test:
    from heaven_core.text import matches, tokens

    wanted = tokens(argument)
    return (lambda value: matches(wanted, value)) if wanted else (lambda value: False)


def _regex_test(dtype: LogicalType[Any], argument: str) -> Test:
    from heaven_core.regex import compile_regex

    return compile_regex(argument)


# -- arrays --------------------------------------------------------------------------------------------------------


def items_test(op: str, argument: Any, *, mixed: bool) -> Callable[[Sequence[Any]], bool]:
    """The meaning of `array_contains`, `array_overlaps` or `contained_in` on an array; `mixed` for an untyped one."""
    wanted = frozenset(_keys([argument] if op == "array_contains" else argument, mixed))
    if op == "contained_in":
        return lambda items: wanted.issuperset(_keys(items, mixed))
    return lambda items: not wanted.isdisjoint(_keys(items, mixed))


def _keys(items: Iterable[Any], mixed: bool) -> Iterable[Any]:
    """Items as what equals where they do: in a mixed array a Boolean is no number."""
    return [(item,) if type(item) is bool else item for item in items] if mixed else items


def _items_op(op: str) -> Callable[[LogicalType[Any], Any], Test]:
    def test(dtype: LogicalType[Any], argument: Any) -> Test:
        return items_test(op, argument, mixed=isinstance(dtype, Array) and dtype.item is None)

    return test


def _contained_in_test(dtype: LogicalType[Any], argument: Any) -> Test:
    if not isinstance(dtype, Array):
        return lambda value: value in argument
    return _items_op("contained_in")(dtype, argument)


# -- JSON paths ----------------------------------------------------------------------------------------------------

JSON_OPS = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "between", "is_null", "contains", "starts_with", "ends_with")


def is_compound(value: Any) -> bool:
    """Whether a JSON value is an object or a list."""
    return isinstance(value, (dict, list))


def _stepped(value: Any, step: str | int) -> Any:
    """What lies one step further, or None."""
    if isinstance(step, str):
        return value.get(step) if is_dict(value) else None
    return value[step] if is_pure_list(value) and step < len(value) else None


class JsonGet:
    """The argument of `get`: a path into a JSON value, and what to ask of what lies there."""

    __slots__ = ("op", "path", "value")

    def __init__(self, path: tuple[str | int, ...], op: str, value: Any) -> None:
        self.path, self.op, self.value = path, op, value

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, JsonGet) and (self.path, self.op) == (other.path, other.op) and self.value == other.value
        )

    def __hash__(self) -> int:
        return hash((self.path, self.op))

    def find(self, value: Any) -> Any:
        """What lies at the path, or None: a missing place is null."""
        for step in self.path:
            value = _stepped(value, step)
        return value


def check_path(path: Any) -> tuple[str | int, ...]:
    """A JSON path in canonical form: keys and positions; dotted text is split at its dots."""
    steps = path.split(".") if isinstance(path, str) else path
    if not is_list(steps) or not steps:
        raise Refused('is no path; takes "a.b" or ["a", 0, "b"]', wrong_type=True)
    if len(steps) > 100:
        raise Refused("is a path of more than 100 steps")
    for step in steps:
        if type(step) is int and 0 <= step < 2**31:
            continue
        if type(step) is not str:
            raise Refused("has a step that is neither a key nor a position from 0", wrong_type=True)
        check_text(step)
    return tuple(steps)


def _get(dtype: LogicalType[Any], argument: Any) -> JsonGet:
    if isinstance(argument, JsonGet):
        path, op, value = argument.path, argument.op, argument.value
    elif is_mapping(argument) and "path" in argument and len(argument) == 2:
        path = argument["path"]
        (key,) = (key for key in argument if key != "path")
        op, value = str(key).removeprefix("$"), argument[key]
    else:
        raise Refused('takes {"path": ["a", "b"], "$op": value}', wrong_type=True)
    if op not in JSON_OPS:
        from heaven_core.errors import did_you_mean

        raise Refused(f"asks {op!r} of a JSON value; {did_you_mean(op, JSON_OPS)}")
    return JsonGet(check_path(path), op, _json_argument(dtype, op, value))


def _json_argument(dtype: LogicalType[Any], op: str, value: Any) -> Any:
    if op == "is_null":
        return _flag(dtype, value)
    if op in {"contains", "starts_with", "ends_with"}:
        return check_text(value)
    if op == "in":
        return [_value_or_null(dtype, item) for item in _list(value)]
    if op == "between":
        low, high = (_json_ordered(dtype, bound) for bound in _range(dtype, value))
        if isinstance(low, str) is not isinstance(high, str):
            raise Refused("has bounds of two types")
        return [low, high]
    if op in {"eq", "ne"}:
        return _value_or_null(dtype, value)
    return _json_ordered(dtype, value)


def _json_ordered(dtype: LogicalType[Any], value: Any) -> Any:
    checked = _value(dtype, value)
    if isinstance(checked, bool) or not isinstance(checked, (int, float, str)):
        raise Refused("has no order; compare with a number or a text", wrong_type=True)
    return checked


def comparable_json(left: Any, right: Any) -> bool:
    """Whether two JSON values have an order: number with number, text with text."""
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    both = (left, right)
    return all(isinstance(one, str) for one in both) or all(isinstance(one, (int, float)) for one in both)


def _json_test(op: str, wanted: Any) -> Test:
    """The meaning of `op` on what lies at a path, null included."""
    if op == "is_null":
        return lambda found: (found is None) is wanted
    if op == "eq":
        return lambda found: same_json(found, wanted)
    if op == "ne":
        return lambda found: not same_json(found, wanted)
    if op == "in":
        return lambda found: any(same_json(found, one) for one in wanted)
    if op in {"contains", "starts_with", "ends_with"}:
        test = _TEXT_TESTS[op](wanted)
        return lambda found: isinstance(found, str) and test(found)
    if op == "between":
        low, high = wanted
        return lambda found: comparable_json(found, low) and low <= found <= high
    compare = COMPARISONS[op]
    return lambda found: comparable_json(found, wanted) and compare(found, wanted)


def find_test(argument: JsonGet) -> Test:
    """The meaning of a `get` on what its path finds, null included."""
    return _json_test(argument.op, argument.value)


def _get_test(dtype: LogicalType[Any], argument: JsonGet) -> Test:
    test = _json_test(argument.op, argument.value)
    return lambda value: test(argument.find(value))


def _get_on_null(argument: JsonGet) -> bool:
    return _json_test(argument.op, argument.value)(None)


def _get_json(dtype: LogicalType[Any], argument: JsonGet) -> Any:
    return {"path": list(argument.path), f"${argument.op}": argument.value}


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda left, right: left < right,
    "lte": lambda left, right: left <= right,
    "gt": lambda left, right: left > right,
    "gte": lambda left, right: left >= right,
}

_TEXT_TESTS: dict[str, Callable[[str], Test]] = {
    "contains": lambda wanted: lambda value: wanted in value,
    "starts_with": lambda wanted: lambda value: value.startswith(wanted),
    "ends_with": lambda wanted: lambda value: value.endswith(wanted),
}


def _comparison(name: str, desc: str, alias: str) -> Op:
    compare = COMPARISONS[name]

    def test(dtype: LogicalType[Any], argument: Any) -> Test:
        return lambda value: compare(value, argument)

    return Op(name, trait="order", check=_value, test=test, to_json=_json_value, aliases=(alias,), desc=desc)


def _text_op(name: str, desc: str) -> Op:
    make = _TEXT_TESTS[name]
    return Op(name, trait="text", check=_text, test=lambda dtype, argument: make(argument), desc=desc)


def _between_test(dtype: LogicalType[Any], argument: Any) -> Test:
    low, high = argument
    return lambda value: low <= value <= high


class _ContainedIn(Op):
    __slots__ = ()

    def serves(self, dtype: LogicalType[Any] | type[LogicalType[Any]]) -> bool:
        return bool({"text", "array"} & dtype.traits)


FILTERS: tuple[Op, ...] = (
    Op(
        "eq",
        trait="equal",
        check=_value_or_null,
        test=_eq_test,
        on_null=lambda argument: argument is None,
        to_json=_json_value,
        aliases=("==",),
        desc="equals the value; eq null finds what has none",
    ),
    Op(
        "ne",
        trait="equal",
        check=_value_or_null,
        test=_ne_test,
        on_null=lambda argument: argument is not None,
        to_json=_json_value,
        aliases=("!=",),
        desc="differs from the value; null differs from every value",
    ),
    _comparison("lt", "comes before the value", "<"),
    _comparison("lte", "comes before the value or equals it", "<="),
    _comparison("gt", "comes after the value", ">"),
    _comparison("gte", "comes after the value or equals it", ">="),
    Op(
        "in",
        trait="equal",
        check=_values,
        test=_in_test,
        on_null=lambda argument: None in argument,
        to_json=_json_values,
        aliases=("in_",),
        desc="equals one of the values",
    ),
    Op(
        "between",
        trait="order",
        check=_range,
        test=_between_test,
        to_json=_json_values,
        desc="lies between two bounds, both included",
    ),
    Op(
        "is_null",
        check=_flag,
        test=lambda dtype, argument: lambda value: not argument,
        on_null=lambda argument: argument,
        desc="has no value (true) or has one (false)",
    ),
    Op(
        "match",
        trait="fulltext",
        check=_text,
        test=_match_test,
        desc="holds every word of the query",
    ),
    Op("like", trait="text", check=_like, test=_like_test, desc="fits a pattern of % and _ as a whole"),
    Op("ilike", trait="text", check=_like, test=_ilike_test, desc="fits a pattern, whatever the case"),
    _text_op("contains", "holds the text somewhere"),
    _text_op("starts_with", "begins with the text"),
    _text_op("ends_with", "ends with the text"),
    Op("regex", trait="text", check=_regex, test=_regex_test, desc="has a place that fits the RE2 expression"),
    Op(
        "array_contains",
        trait="array",
        check=_item,
        test=_items_op("array_contains"),
        to_json=_json_item,
        desc="has the item",
    ),
    Op(
        "array_overlaps",
        trait="array",
        check=_items,
        test=_items_op("array_overlaps"),
        to_json=_json_items,
        desc="has one of the items",
    ),
    _ContainedIn(
        "contained_in",
        check=_text_or_items,
        test=_contained_in_test,
        to_json=_json_items,
        desc="has only items that are among the given ones; a text lies within the given one",
    ),
    Op(
        "get",
        trait="json",
        check=_get,
        test=_get_test,
        on_null=_get_on_null,
        to_json=_get_json,
        desc="has something at the path that satisfies the question",
    ),
)

RANKS: tuple[Op, ...] = (Op("near", trait="vector", kind="rank", desc="nearest vectors first"),)


def _sort_key_of_count(pair: tuple[Any, int]) -> tuple[int, Any]:
    return (-pair[1], pair[0])


AGGREGATES: tuple[Op, ...] = (
    Op("count", kind="aggregate", desc="how many rows have a value"),
    Op("sum", trait="number", kind="aggregate", desc="the sum of the values; null of nothing"),
    Op("avg", trait="number", kind="aggregate", aliases=("mean",), desc="the mean of the values; null of nothing"),
    Op("min", trait="order", kind="aggregate", desc="the first value in order; null of nothing"),
    Op("max", trait="order", kind="aggregate", desc="the last value in order; null of nothing"),
    Op("median", trait="number", kind="aggregate", desc="the middle value, or the mean of the two middle ones"),
    Op("percentile", trait="number", kind="aggregate", desc="the value at p percent, by linear interpolation"),
    Op("value_counts", trait="scalar", kind="aggregate", desc="[value, count] pairs, most frequent first"),
)


def percentile(values: Sequence[float], p: float) -> float | None:
    """The value at `p` percent of the sorted values, by linear interpolation; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    position = (len(ordered) - 1) * (p / 100)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    share = position - low
    if share == 0 or ordered[low] == ordered[high]:
        return float(ordered[low])
    return ordered[low] * (1 - share) + ordered[high] * share


def value_counts(values: Sequence[Any]) -> list[list[Any]]:
    """[value, count] pairs of the non-null values, most frequent first, ties by value."""
    counts: dict[Any, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return [[value, number] for value, number in sorted(counts.items(), key=_sort_key_of_count)]


def mean(values: Sequence[float]) -> float | None:
    """The mean, which always fits where the values do; None of nothing."""
    if not values:
        return None
    try:
        return math.fsum(values) / len(values)
    except OverflowError:
        return float(_exact_sum(values) / len(values))


def float_sum(values: Sequence[float]) -> float:
    """The sum of floats, rounded once; an infinity where it is beyond 64-bit floats."""
    try:
        return math.fsum(values)
    except OverflowError:  # perhaps only on the way
        total = _exact_sum(values)
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def _exact_sum(values: Sequence[float]) -> Fraction:
    from fractions import Fraction

    return sum(map(Fraction, values), Fraction())


def checked_sum(total: Any) -> Any:
    """A sum of whole numbers or of floats that fits in 64 bits.

    Raises:
        QueryError: it does not.
    """
    if math.isfinite(total) if isinstance(total, float) else INT_MIN <= total <= INT_MAX:
        return total
    from heaven_core.errors import QueryError

    raise QueryError("sum: the result does not fit in 64 bits; narrow the filter or the groups, or use avg")


def _total(values: Sequence[float]) -> float | None:
    if not values:
        return None
    return checked_sum(sum(values) if all(type(value) is int for value in values) else float_sum(values))


def _least(values: Sequence[Any]) -> Any:
    return min(values) if values else None


def _greatest(values: Sequence[Any]) -> Any:
    return max(values) if values else None


_REDUCERS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    "count": len,
    "sum": _total,
    "avg": mean,
    "min": _least,
    "max": _greatest,
    "value_counts": value_counts,
}


def reducer(op: str, param: float | None = None) -> Callable[[Sequence[Any]], Any]:
    """The meaning of an aggregate: a function from the non-null values of a group to the result."""
    if op in {"median", "percentile"}:
        p = 50.0 if param is None else param
        return lambda values: percentile(values, p)
    return _REDUCERS[op]
