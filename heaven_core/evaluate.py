"""The reference evaluator: a `Scan` answered in plain Python over rows in memory.

Every engine is measured against it. The memory engine runs on it, derived
entities are answered by it, and it evaluates what an engine cannot. Rows are
mappings from field name to canonical value.

Not here: what one operation means (`heaven_core.ops`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from heaven_core.backend import Grouping, Limits, Near, OrderBy, Rows, Scan, Search
from heaven_core.codecs import Code
from heaven_core.errors import DeadlineExceeded, QueryError, ResultTooLarge, a_kind
from heaven_core.expr import And, Expr, Not, Or, Predicate
from heaven_core.handlers import AllOf, IdSet, NoneOf, QueryFragment, Where
from heaven_core.narrow import is_dict, is_list
from heaven_core.schema import FieldSchema
from heaven_core.types import INT_MAX, LogicalType, copied

Row = Mapping[str, Any]
RowTest = Callable[[Row], bool]


def row_test(where: Where | None) -> RowTest | None:
    """One predicate for a tree whose fragments carry row predicates; None for no condition."""
    if where is None:
        return None
    if isinstance(where, QueryFragment):
        return where.payload
    if isinstance(where, IdSet):
        ids = frozenset(where.ids)
        return lambda row: row["object_id"] in ids
    if isinstance(where, NoneOf):
        inner = row_test(where.part) or _always
        return lambda row: not inner(row)
    tests = [row_test(part) or _always for part in where.parts]
    return _every(tests) if isinstance(where, AllOf) else _some(tests)


def _always(row: Row) -> bool:
    return True


def _every(tests: list[RowTest]) -> RowTest:
    if len(tests) == 2:
        first, second = tests
        return lambda row: first(row) and second(row)

    def every(row: Row) -> bool:
        for test in tests:  # noqa: SIM110  # a generator costs as much as the tests
            if not test(row):
                return False
        return True

    return every


def _some(tests: list[RowTest]) -> RowTest:
    def some(row: Row) -> bool:
        for test in tests:  # noqa: SIM110
            if test(row):
                return True
        return False

    return some


def expr_test(expr: Expr | None) -> RowTest:
    """The meaning of a condition on one row, straight from `heaven_core.ops`."""
    if expr is None:
        return _always
    if isinstance(expr, Predicate):
        name, test = expr.field.name, expr.op.predicate(expr.field.dtype, expr.value)
        return lambda row: test(row.get(name))
    if isinstance(expr, Not):
        inner = expr_test(expr.child)
        return lambda row: not inner(row)
    if isinstance(expr, And):
        return _every([expr_test(child) for child in expr.children])
    if isinstance(expr, Or):
        return _some([expr_test(child) for child in expr.children])
    raise QueryError(f"{a_kind(expr)} is no condition")


class Clock:
    """The deadline of one query and whoever may cancel it, looked at every 64 steps: one may be a slow test."""

    __slots__ = ("_cancel", "_steps", "ends")

    def __init__(self, limits: Limits) -> None:
        self.ends = None if limits.deadline is None else time.monotonic() + limits.deadline
        self._cancel = limits.cancel
        self._steps = 0

    def check(self) -> None:
        """Stop if the time is over or the query was cancelled.

        Raises:
            DeadlineExceeded, QueryCancelled: it is, or was.
        """
        if self._cancel is not None:
            self._cancel.check()
        if self.ends is not None and time.monotonic() > self.ends:
            raise deadline_exceeded()

    def tick(self) -> None:
        """One step; every 64th looks at the clock."""
        self._steps += 1
        if not self._steps & 63:
            self.check()


def deadline_exceeded() -> DeadlineExceeded:
    """The error of a query that ran too long."""
    return DeadlineExceeded(f"the query passed its deadline and was stopped; narrow it, or {_raise_bound('deadline')}")


def _raise_bound(name: str) -> str:
    return f"raise the bound {name} (limits() on the query, or HEAVENBASE_QUERY_{name.upper()})"


def select(rows: Iterable[Row], test: RowTest | None, clock: Clock) -> list[Row]:
    """The rows that pass, under the deadline."""
    found: list[Row] = []
    for row in rows:
        clock.tick()
        if test is None or test(row):
            found.append(row)
    return found


def order_rows(
    rows: list[Any], order: Sequence[OrderBy], value: Callable[[Any, str], Any] = lambda row, key: row[key]
) -> list[Any]:
    """Rows in order: each key ascending or descending, nulls last, the given order for ties."""
    for key in reversed(order):
        present = [row for row in rows if value(row, key.name) is not None]
        absent = [row for row in rows if value(row, key.name) is None]
        present.sort(key=lambda row: value(row, key.name), reverse=key.desc)  # used at once
        rows = present + absent
    return rows


def scan(request: Scan, rows: Iterable[Row], *, everything: Callable[[], Iterable[Row]] | None = None) -> Rows:
    """Answer `request` over `rows`; `everything` gives all rows of the entity where ranking needs them."""
    clock = Clock(request.limits)
    found = select(rows, row_test(request.where), clock)
    if request.group is not None:
        return _grouped(request, request.group, found)
    scores: list[float] | None = None
    if request.near is not None:
        found, scores = nearest(found, request.near)
    elif request.search is not None:
        found, scores = best_matches(found, request.search, everything() if everything else found, clock)
    if request.order:
        found, scores = _reordered(found, scores, request.order)
    elif scores is None and (request.limit is not None or request.offset):
        found = sorted(found, key=lambda row: row["object_id"])
    return answer(request, found, scores)


def _reordered(found: list[Row], scores: list[float] | None, order: Sequence[OrderBy]) -> tuple[list[Row], Any]:
    pairs = list(zip(found, scores if scores is not None else [0.0] * len(found), strict=True))
    pairs.sort(key=lambda pair: pair[0]["object_id"])
    pairs = order_rows(pairs, order, lambda pair, key: pair[0][key])
    return [row for row, _ in pairs], None if scores is None else [score for _, score in pairs]


def answer(request: Scan, found: Sequence[Row], scores: Sequence[float] | None) -> Rows:
    """The requested columns of the rows between offset and limit, within the caps."""
    stop = None if request.limit is None else request.offset + request.limit
    chosen = found[request.offset : stop]
    check_rows(len(chosen), request.limits)
    names = request.columns
    tuples = [tuple([row.get(name) for name in names]) for row in chosen]
    decoders = tuple(_copier(request.layout.by_name[name].field.dtype) for name in names)
    if scores is not None:
        label = "_distance" if request.near is not None else "_score"
        tuples = [(*one, score) for one, score in zip(tuples, scores[request.offset : stop], strict=True)]
        names, decoders = (*names, label), (*decoders, None)
    check_bytes(tuples, request.limits)
    return Rows(names, decoders, tuples)


def _copier(dtype: LogicalType[Any]) -> Code | None:
    return copied if dtype.kind in {"array", "json", "vector"} else None


def most_rows(request: Scan) -> int | None:
    """How many rows decide the answer: the limit, or one more than the cap, which shows that it was passed."""
    limit, cap = request.limit, request.limits.max_rows
    if cap is None or (limit is not None and limit <= cap):
        return limit
    return min(cap, INT_MAX - 1) + 1


def check_rows(count: int, limits: Limits) -> None:
    """Refuse a result of more rows than the cap."""
    if limits.max_rows is not None and count > limits.max_rows:
        raise ResultTooLarge(
            f"the result has more than {limits.max_rows} rows; ask with a limit, or {_raise_bound('max_rows')}"
        )


def gathered(chunks: Iterable[Sequence[tuple[Any, ...]]], limits: Limits) -> list[tuple[Any, ...]]:
    """All rows that come, within the caps."""
    tuples: list[tuple[Any, ...]] = []
    left = limits
    for chunk in chunks:
        tuples += chunk
        check_rows(len(tuples), limits)
        if left.max_bytes is not None:
            left = left._replace(max_bytes=left.max_bytes - _bytes_of(chunk, limits, left.max_bytes))
    return tuples


def check_bytes(tuples: Sequence[tuple[Any, ...]], limits: Limits) -> None:
    """Refuse a result whose texts, bytes and collections pass the cap."""
    if limits.max_bytes is not None:
        _bytes_of(tuples, limits, limits.max_bytes)


def _bytes_of(tuples: Sequence[tuple[Any, ...]], limits: Limits, most: int) -> int:
    total = 0
    for row in tuples:
        total += 16 * len(row)
        for value in row:
            if isinstance(value, (str, bytes)):
                total += len(value)
            elif isinstance(value, (list, tuple, dict)):
                total += _size(value)
        if total > most:
            raise too_many_bytes(limits)
    return total


def _size(value: Any) -> int:
    """About how many bytes a value takes beside its place."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if is_dict(value):
        return 16 * len(value) + sum(map(_size, value)) + sum(map(_size, value.values()))
    if not is_list(value):
        return 0
    numbers = bool(value) and isinstance(value[0], float) and isinstance(value[-1], float)  # a vector, mostly
    return 16 * len(value) + (0 if numbers else sum(map(_size, value)))


def too_many_bytes(limits: Limits) -> ResultTooLarge:
    """The error of a result that is too large."""
    return ResultTooLarge(
        f"the result passes {limits.max_bytes} bytes; select fewer fields, ask with a limit, "
        f"or {_raise_bound('max_bytes')}"
    )


# -- ranking -------------------------------------------------------------------------------------------------------


def nearest(rows: Sequence[Row], near: Near) -> tuple[list[Row], list[float]]:
    """The `top_k` nearest of the rows that have a vector of the query's dimension, with their distances."""
    from heaven_core.matrix import matrix_of

    name = near.field.name
    fitting = (row for row in rows if row.get(name) is not None and len(row[name]) == len(near.query))
    present = sorted(fitting, key=lambda row: row["object_id"])
    if not present:
        return [], []
    matrix = matrix_of([row[name] for row in present])
    found = matrix.nearest(near.query, near.top_k, near.metric)
    return [present[position] for position, _ in found], [distance for _, distance in found]


RANK_OFFSET = 60
"""How little the very first places count beyond the next ones; the constant of the method's authors."""


def fused(lists: Sequence[Sequence[str]]) -> dict[str, float]:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009): the score of each id that is in a list.

    An id has ``1 / (60 + its place)`` from each list that it is in, places from 1.
    """
    scores: dict[str, float] = {}
    for ids in lists:
        for place, one in enumerate(ids, 1):
            scores[one] = scores.get(one, 0.0) + 1 / (RANK_OFFSET + place)
    return scores


K1, B = 1.2, 0.75


def best_matches(
    rows: Sequence[Row], search: Search, everything: Iterable[Row], clock: Clock
) -> tuple[list[Row], list[float]]:
    """Rows with at least one token, best BM25 first (ties by id); a higher score is better."""
    names = dict(zip((field.name for field in search.fields), search.weights or repeat(1.0)))  # noqa: B905
    counts: dict[str, tuple[dict[str, float], int]] = {}
    in_documents = dict.fromkeys(search.tokens, 0)
    length, documents = 0, 0
    for row in everything:
        clock.tick()
        found, size = _token_counts(row, names, in_documents)
        counts[row["object_id"]] = (found, size)
        documents, length = documents + 1, length + size
        for token in found:
            in_documents[token] += 1
    average = length / documents if length else 1.0
    scored: list[tuple[float, str, Row]] = []
    for row in rows:  # one of them may have been written since the others were read
        found, size = counts.get(row["object_id"]) or _token_counts(row, names, in_documents)
        if found:
            scored.append((-_bm25(found, size, average, documents, in_documents), row["object_id"], row))
    scored.sort(key=lambda one: one[:2])
    return [row for _, _, row in scored], [-score for score, _, _ in scored]


def _token_counts(row: Row, weights: Mapping[str, float], wanted: Mapping[str, int]) -> tuple[dict[str, float], int]:
    """How often each wanted token is there, a field's occurrences times its weight, and how many tokens there are."""
    from heaven_core.text import tokens

    found: dict[str, float] = {}
    size = 0
    for name, weight in weights.items():
        value = row.get(name)
        if value is None:
            continue
        words = tokens(value)
        size += len(words)
        for word in words:
            if word in wanted:
                found[word] = found.get(word, 0.0) + weight
    return found, size


def _bm25(found: Mapping[str, float], size: int, average: float, documents: int, df: Mapping[str, int]) -> float:
    score = 0.0
    for token, count in found.items():
        idf = math.log(1 + (documents - df[token] + 0.5) / (df[token] + 0.5))
        score += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * size / (average or 1.0)))
    return score


# -- groups --------------------------------------------------------------------------------------------------------


def _grouped(request: Scan, group: Grouping, rows: Iterable[Row]) -> Rows:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple([row.get(key) for key in group.keys]), []).append(row)
    if not group.keys and not groups:
        groups[()] = []
    return finish_groups(request, group, (_reduced(group, key, members) for key, members in groups.items()))


def _reduced(group: Grouping, key: Sequence[Any], members: Sequence[Row]) -> dict[str, Any]:
    result = dict(zip(group.keys, key, strict=True))
    for alias, aggregate, fragment in group.aggregates:
        result[alias] = reduce(fragment.payload, aggregate.field, members)
    return result


def reduce(payload: Callable[[list[Any]], Any], field: FieldSchema | None, members: Sequence[Row]) -> Any:
    """An aggregate over a group: of the non-null values of a field, or of the rows."""
    if field is None:
        return len(members)
    return payload([row[field.name] for row in members if row.get(field.name) is not None])


def finish_groups(request: Scan, group: Grouping, made: Iterable[dict[str, Any]]) -> Rows:
    """Condition, order, offset and limit on finished groups, within the caps; no more are taken than it needs."""
    if group.having is not None:
        made = filter(expr_test(group.having), made)
    most = most_rows(request)
    if most is not None and (not request.order or most != request.limit):
        made = islice(made, min(request.offset + most, INT_MAX))
    found = list(made)
    if request.order:
        if group.keys:
            found = order_rows(found, [OrderBy(key) for key in group.keys])
        found = order_rows(found, request.order)
    stop = None if request.limit is None else request.offset + request.limit
    found = found[request.offset : stop]
    check_rows(len(found), request.limits)
    names = (*group.keys, *(alias for alias, _, _ in group.aggregates))
    tuples = [tuple([result[name] for name in names]) for result in found]
    check_bytes(tuples, request.limits)
    return Rows(names, (None,) * len(names), tuples)
