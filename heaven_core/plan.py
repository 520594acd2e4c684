"""Plans: how a query becomes requests to a backend, and the answer a frame.

Conditions are compiled fragment by fragment through the handlers; which handler
serves a field and an operation is looked up once and kept per entity until a
registry changes. What no handler serves runs in Python on just the columns it
needs and joins the rest as a set of ids. `explain` shows each step and where it
runs.

Not here: SQL (`heaven_core.sql`), evaluation in Python (`heaven_core.evaluate`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from heaven_core import evaluate
from heaven_core.backend import Backend, Grouping, Layout, Limits, Near, Rows, Scan, Search
from heaven_core.codecs import row_maker
from heaven_core.derive import Hints
from heaven_core.errors import DeadlineExceeded, HeavenError, QueryError
from heaven_core.explain import Explanation
from heaven_core.expr import Aggregate, And, Expr, Not, Or, Predicate, predicates
from heaven_core.frame import ResultFrame
from heaven_core.handlers import (
    AllOf,
    AnyOf,
    ConditionTooLarge,
    GroupsTooWide,
    HandlerContext,
    IdSet,
    NoneOf,
    NotServed,
    QueryFragment,
    Where,
)
from heaven_core.ops import reducer
from heaven_core.plugin import describe
from heaven_core.query import Query, aggregate_type, check_parts, of_ids, ranked_parts, text_fields
from heaven_core.schema import FieldSchema
from heaven_core.stored import Resolved, StoredEntity
from heaven_core.types import Float, LogicalType

ESTIMATE_S = 0.02
"""How long `explain` waits for an estimate."""

MAX_NESTING = 20
"""Levels of a condition that an engine is given at once: SQLite's parser has a small stack."""


def levels(parts: int) -> int:
    """How many levels of parentheses a list of parts becomes: a balanced tree of groups of eight."""
    return 1 + (max(parts - 1, 0) // 8).bit_length()


class Planner:
    """One query against one stored entity: compiles, runs, and notes its steps for `explain`."""

    def __init__(self, stored: StoredEntity, query: Query, tx: Any, *, dry: bool = False) -> None:
        check_parts(query)
        self.stored, self.query, self.tx, self.dry = stored, query, tx, dry
        self.in_python = False
        """Whether the whole filter runs in Python, because it is too large for the engine."""
        self.within: Sequence[str] | None = None
        """The rows of which a condition is asked, by their ids; None for all."""
        self.steps: list[dict[str, Any]] = []
        self.explaining = dry
        self.analyze = False
        self._ends: float | None = None

    def _part(self) -> tuple[Backend, Layout]:
        """The engine that answers, and what it stores of the entity."""
        return self.stored.backend, self.stored.layout

    def _resolve(self, field: FieldSchema, op: str) -> Resolved:
        """The handler of the engine that answers."""
        return self.stored.resolve(field, op)

    def _left(self) -> Limits:
        """The query's bounds, with the time that is left of it after the steps before."""
        limits = self.query.limits_
        if limits.cancel is not None:
            limits.cancel.check()
        if limits.deadline is None:
            return limits
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + limits.deadline
            return limits
        if now > self._ends:
            raise evaluate.deadline_exceeded()
        return limits._replace(deadline=self._ends - now)

    # conditions --------------------------------------------------------------------------------------------------

    def where(self, expr: Expr | None) -> Where | None:
        """The condition as a tree of fragments and id sets."""
        if expr is None:
            return None
        return self._all_in_python(expr) if self.in_python else self._where(expr, MAX_NESTING)

    def _all_in_python(self, expr: Expr) -> Where:
        fields = tuple(dict.fromkeys(one.field.name for one in predicates(expr)))
        ctx = self._part()[1]
        notes = "no handler: too large for the engine, so scanned in Python"
        self.steps.append({"step": "filter", "field": ", ".join(fields), "backend": ctx.backend, "mode": "python"})
        self.steps[-1] |= {"backend_type": ctx.backend_type, "notes": notes}
        if self.dry:
            return IdSet(())
        test, clock = evaluate.expr_test(expr), evaluate.Clock(self._left())
        rows = self._columns(tuple(dict.fromkeys(("object_id", *fields))), None)
        return IdSet([row["object_id"] for row in evaluate.select(rows, test, clock)])

    def _where(self, expr: Expr, room: int) -> Where:
        """`expr` as a tree of at most `room` levels; what lies deeper is answered first and joined as ids."""
        if type(expr) is Predicate:
            return self._leaf(expr)
        if isinstance(expr, Not):
            return NoneOf(self._where(expr.child, room - 1)) if room > 0 else self._first(expr)
        assert isinstance(expr, (And, Or))
        left = room - levels(len(expr.children))
        if left < 0 and room < MAX_NESTING:
            return self._first(expr)
        parts = [self._where(child, left) for child in expr.children]
        return AllOf(parts) if isinstance(expr, And) else AnyOf(parts)

    def _first(self, expr: Expr) -> Where:
        where = self._where(expr, MAX_NESTING)
        notes = f"nested deeper than {MAX_NESTING} levels: answered first, joined as ids"
        self.steps.append({"step": "ids", "backend": self._part()[1].backend, "mode": "native", "notes": notes})
        return IdSet(() if self.dry else [row["object_id"] for row in self._columns(("object_id",), where)])

    def _leaf(self, leaf: Predicate) -> Where:
        resolved = self._resolve(leaf.field, leaf.op.name)
        if resolved.compile is None:
            return self._in_python(leaf)
        try:
            fragment = resolved.compile(leaf.field, leaf.value, resolved.ctx)
        except NotServed:
            return self._in_python(leaf)
        except HeavenError:
            raise
        except Exception as error:  # a handler is a plugin's code
            raise QueryError(
                f"the handler for {leaf.op.name} on {leaf.field.name} (of {_owner(resolved)}) raised {describe(error)}"
            ) from error
        if not isinstance(fragment, QueryFragment):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise QueryError(
                f"the handler for {leaf.op.name} on {leaf.field.name} (of {_owner(resolved)}) returned no QueryFragment"
            )
        if self.explaining:
            native = fragment.native and resolved.handler is not None and resolved.handler.native
            self._note("filter", leaf, resolved.ctx, native, fragment.notes, owner=_owner(resolved))
        return fragment

    def _in_python(self, leaf: Predicate) -> Where:
        """Rows found by evaluating one predicate in Python on the one column it needs."""
        self._note("filter", leaf, self._resolve(leaf.field, leaf.op.name).ctx, False, "no handler: scanned in Python")
        if self.dry:
            return IdSet(())
        test = leaf.op.predicate(leaf.field.dtype, leaf.value)
        names = tuple(dict.fromkeys(("object_id", leaf.field.name)))
        rows = self._columns(names, None if self.within is None else IdSet(self.within))
        found = evaluate.select(rows, lambda row: test(row[leaf.field.name]), evaluate.Clock(self._left()))
        return IdSet([row["object_id"] for row in found])

    def _columns(self, names: tuple[str, ...], where: Where | None) -> list[dict[str, Any]]:
        limits = self._left().of_a_step()
        backend, layout = self._part()
        rows = backend.run(Scan(layout, names, where=where, limits=limits), self.tx)
        return row_maker(rows.names, rows.decoders, layout.entity)(rows.tuples)

    def _note(self, step: str, leaf: Any, ctx: HandlerContext, native: bool, notes: str, owner: str = "") -> None:
        entry: dict[str, Any] = {
            "step": step,
            "field": leaf.field.name,
            "op": leaf.op if isinstance(leaf.op, str) else leaf.op.name,
            "type": leaf.field.dtype.identifier,
            "backend": ctx.backend,
            "backend_type": ctx.backend_type,
            "strategy": ctx.strategy or self.stored.placement[leaf.field.name].strategy,
            "mode": "native" if native else "python",
        }
        if owner and owner != ctx.backend_type:
            entry["handler"] = owner
        if notes:
            entry["notes"] = notes
        self.steps.append(entry)

    # answering ---------------------------------------------------------------------------------------------------

    def run(self) -> Rows:
        """The rows of the answer."""
        query = self.query
        if query.limits_.cancel is not None:
            query.limits_.cancel.check()
        if query.near_ is not None and query.search_ is not None:
            return self._fused()
        if self.stored.derive is not None:
            return self._derived()
        if query.near_ is not None:
            return self._near()
        where = self.where(query.filter)
        if query.group or query.aggregates:
            return self._grouped(where)
        if query.search_ is not None:
            return self._search(where)
        return self._answered(self._scan(where))

    def columns(self) -> tuple[str, ...]:
        """The columns of an ungrouped answer: object_id, then what was selected."""
        selected = self.query.selected
        if selected is None:
            return self.stored.layout.names
        return tuple(dict.fromkeys(("object_id", *selected)))

    def _scan(self, where: Where | None, **more: Any) -> Scan:
        query = self.query
        return Scan(
            self._part()[1],
            self.columns(),
            where=where,
            order=query.order,
            limit=query.limit_,
            offset=query.offset_,
            limits=self._left(),
            **more,
        )

    def _answered(self, scan: Scan) -> Rows:
        if self.explaining:
            self._note_scan(scan)
            if self.dry:
                return Rows((), (), [])
        try:
            rows = self._part()[0].run(scan, self.tx)
        except HeavenError:
            raise
        except Exception as error:
            if foreign := self._foreign_handlers():
                why = f"a row could not be looked at: {describe(error)}; handlers in use: {foreign}"
                raise QueryError(why) from error
            raise
        if self.explaining and rows.notes:
            self.steps[-1]["notes"] = "; ".join(rows.notes)
        return rows

    def _foreign_handlers(self) -> str:
        """The handlers in the filter that are not the engine's own, for a message."""
        own = {"", self.stored.layout.backend_type}
        found = {
            f"{leaf.op.name} on {leaf.field.name} (of {owner})"
            for leaf in predicates(self.query.filter)
            if (owner := _owner(self._resolve(leaf.field, leaf.op.name))) not in own
        }
        return ", ".join(sorted(found))

    def _note_scan(self, scan: Scan) -> None:
        entry: dict[str, Any] = {
            "step": "group" if scan.group else "near" if scan.near else "search" if scan.search else "scan",
            "backend": scan.layout.backend,
            "backend_type": scan.layout.backend_type,
            "mode": "native",
        }
        if scan.search:
            entry["field"] = ", ".join(field.name for field in scan.search.fields)
        if scan.near:
            entry["field"] = scan.near.field.name
        if scan.order:
            entry["order"] = [f"-{one.name}" if one.desc else one.name for one in scan.order]
        if scan.limit is not None:
            entry["limit"] = scan.limit
        if files := [name for name in scan.columns if self.stored.placement[name].strategy == "external"]:
            entry["files"] = files
        if not (scan.group or scan.near or scan.search):
            entry["estimate"] = None if self._joins_ids() else self._estimate(scan)
        self.steps.append(entry)

    def _estimate(self, scan: Scan) -> int | None:
        """The engine's estimate, if it has one soon: it may look at rows."""
        limits = Limits(ESTIMATE_S, None, None)
        try:
            return self._part()[0].estimate(Scan(scan.layout, where=scan.where, limits=limits))
        except DeadlineExceeded:
            return None

    def _joins_ids(self) -> bool:
        return any(step["step"] == "ids" or step.get("notes", "").startswith("no handler") for step in self.steps)

    def _near(self) -> Rows:
        spec, where = self.query.near_, self.where(self.query.filter)
        assert spec is not None
        near = Near(spec.field, spec.query, spec.top_k, spec.metric)
        if self._resolve(spec.field, "near").compile is not None:
            return self._answered(self._scan(where, near=near))
        self.steps.append(self._python_step("near", spec.field, "exact matrix in Python: the engine has no vectors"))
        return self._ranked_in_python(where, (spec.field.name,), lambda rows: evaluate.nearest(rows, near), "_distance")

    def _fused(self) -> Rows:
        """The best rows by nearness and by words, one order made of both by reciprocal rank fusion."""
        query = self.query
        lists = [[row[0] for row in self._sub(part).tuples] for part in ranked_parts(query)]
        self.steps.append({"step": "fuse", "field": None, "backend": "python", "mode": "python"})
        if self.dry:
            return Rows((), (), [])
        scores = evaluate.fused(lists)
        found = self._sub(of_ids(query, list(scores)), quiet=True)
        tuples = [(*row, scores[row[0]]) for row in found.tuples]
        if not query.order:
            tuples.sort(key=lambda row: (-row[-1], row[0]))
        stop = None if query.limit_ is None else query.offset_ + query.limit_
        return Rows((*found.names, "_score"), (*found.decoders, None), tuples[query.offset_ : stop])

    def _sub(self, query: Query, *, quiet: bool = False) -> Rows:
        planner = type(self)(self.stored, query, self.tx, dry=self.dry)
        planner.in_python, planner.explaining, planner._ends = self.in_python, self.explaining, self._ends
        planner.analyze = self.analyze
        rows = planner.run()
        self.steps += [] if quiet else planner.steps
        return rows

    def _search(self, where: Where | None) -> Rows:
        from heaven_core.text import tokens

        spec = self.query.search_
        assert spec is not None
        fields = self._search_fields()
        search = Search(fields, tuple(dict.fromkeys(tokens(spec.query))), spec.weights)
        if not search.tokens:
            where = AnyOf(())
            return self._ranked_in_python(where, (), lambda rows: ([], []), "_score")
        if all(self._is_indexed(field) for field in fields):
            return self._answered(self._scan(where, search=search))
        names = tuple(field.name for field in fields)
        for field in fields:
            self.steps.append(self._python_step("search", field, "BM25 in Python: the field has no full-text index"))
        if self.dry:
            return Rows((), (), [])
        everything = self._columns(("object_id", *names), None)
        clock = evaluate.Clock(self._left())
        return self._ranked_in_python(
            where, names, lambda rows: evaluate.best_matches(rows, search, everything, clock), "_score"
        )

    def _is_indexed(self, field: FieldSchema) -> bool:
        """Whether the engine that answers has the words of a field."""
        placed = self.stored.placement[field.name]
        return "inverted" in placed.indexes and placed.backend == self._part()[1].backend

    def _search_fields(self) -> tuple[FieldSchema, ...]:
        """Those that were named; else those with a full-text index, whoever placed it; else every text but the name."""
        spec = self.query.search_
        assert spec is not None
        if spec.fields is not None:
            return spec.fields
        texts = text_fields(self.stored.schema)
        indexed = [field for field in texts if "inverted" in self.stored.placement[field.name].indexes]
        return tuple(indexed or [field for field in texts if field.name != "name"] or texts)

    def _python_step(self, step: str, field: FieldSchema, notes: str) -> dict[str, Any]:
        ctx = self._resolve(field, step).ctx
        return {
            "step": step,
            "field": field.name,
            "backend": ctx.backend,
            "backend_type": ctx.backend_type,
            "mode": "python",
            "notes": notes,
        }

    def _ranked_in_python(
        self,
        where: Where | None,
        names: tuple[str, ...],
        rank: Callable[[Sequence[Any]], tuple[list[Any], list[float]]],
        label: str,
    ) -> Rows:
        """Rank on just the columns that ranking and ordering need, then fetch the rows that are returned."""
        if self.dry:
            return Rows((), (), [])
        needed = tuple(dict.fromkeys(("object_id", *names, *(one.name for one in self.query.order))))
        found, scores = rank(self._columns(needed, where))
        pairs = list(zip(found, scores, strict=True))
        if self.query.order:
            pairs.sort(key=lambda pair: pair[0]["object_id"])
            pairs = evaluate.order_rows(pairs, self.query.order, lambda pair, key: pair[0][key])
        stop = None if self.query.limit_ is None else self.query.offset_ + self.query.limit_
        chosen = pairs[self.query.offset_ : stop]
        evaluate.check_rows(len(chosen), self.query.limits_)
        return self._hydrated([(row["object_id"], score) for row, score in chosen], label)

    def _hydrated(self, ranked: list[tuple[str, float]], label: str) -> Rows:
        """The selected columns of ranked rows; no others, since one may lie in a large file."""
        columns, limits = self.columns(), self.query.limits_
        where = IdSet([one for one, _ in ranked])
        rows = self.stored.backend.run(Scan(self.stored.layout, columns, where=where, limits=limits), self.tx)
        by_id = {row[0]: row for row in rows.tuples}
        tuples = [(*by_id[object_id], score) for object_id, score in ranked if object_id in by_id]
        evaluate.check_bytes(tuples, limits)
        return Rows((*columns, label), (*rows.decoders, None), tuples)

    # groups ------------------------------------------------------------------------------------------------------

    def _grouped(self, where: Where | None) -> Rows:
        query = self.query
        compiled = [(alias, one, self._aggregate(one)) for alias, one in query.aggregates]
        if any(fragment is None for _, _, fragment in compiled):
            return self._grouped_in_python(where)
        ready = tuple((alias, one, fragment) for alias, one, fragment in compiled if fragment is not None)
        try:
            return self._answered(self._group_scan(where, ready))
        except GroupsTooWide:
            return self._grouped_in_python(where)

    def _group_scan(self, where: Where | None, aggregates: tuple[tuple[str, Aggregate, QueryFragment], ...]) -> Scan:
        query = self.query
        group = Grouping(query.group, aggregates, query.having_)
        return Scan(
            self._part()[1],
            where=where,
            order=query.order,
            limit=query.limit_,
            offset=query.offset_,
            group=group,
            limits=self._left(),
        )

    def _aggregate(self, one: Aggregate) -> QueryFragment | None:
        field = one.field if one.field is not None else self.stored.schema.by_name["object_id"]
        resolved = self._resolve(field, one.op)
        if resolved.compile is None:
            return None
        fragment = resolved.compile(field, one.param, resolved.ctx)
        if self.explaining:
            leaf = _Leaf(field, one.op)
            self._note("aggregate", leaf, resolved.ctx, fragment.native, fragment.notes, owner=_owner(resolved))
        return fragment

    def _grouped_in_python(self, where: Where | None, notes: str = "") -> Rows:
        aggregates = tuple(_python_aggregate(alias, one) for alias, one in self.query.aggregates)
        fields = [one.field.name for _, one, _ in aggregates if one.field is not None]
        names = tuple(dict.fromkeys(("object_id", *self.query.group, *fields)))
        step = {"step": "group", "backend": self._part()[1].backend, "mode": "python"}
        self.steps.append({**step, "notes": notes} if notes else step)
        if self.dry:
            return Rows((), (), [])
        scan = self._group_scan(None, aggregates)
        return evaluate.scan(scan, self._columns(names, where))

    # derived entities --------------------------------------------------------------------------------------------

    def _derived(self) -> Rows:
        query, stored = self.query, self.stored
        assert stored.derive is not None
        self.steps.append({"step": "derive", "field": None, "backend": "derived", "mode": "python"})
        if self.dry:
            return Rows((), (), [])
        from heaven_core.derive import View, derived_rows  # which imports this module, for the hints

        hints = Hints(equalities(query.filter))
        rows = list(derived_rows(stored.schema, stored.derive, View(query.source), hints))
        return self._in_memory(rows)

    def _in_memory(self, rows: Sequence[Any]) -> Rows:
        """The query over rows that lie in memory."""
        query = self.query
        where = QueryFragment("python", "all", "", evaluate.expr_test(query.filter))
        if query.group or query.aggregates:
            aggregates = tuple(_python_aggregate(alias, one) for alias, one in query.aggregates)
            return evaluate.scan(self._group_scan(where, aggregates), rows)
        more: dict[str, Any] = {}
        if query.near_ is not None:
            spec = query.near_
            more["near"] = Near(spec.field, spec.query, spec.top_k, spec.metric)
        if query.search_ is not None:
            from heaven_core.text import tokens

            wanted = tuple(dict.fromkeys(tokens(query.search_.query)))
            more["search"] = Search(self._search_fields(), wanted, query.search_.weights)
        return evaluate.scan(self._scan(where, **more), rows, everything=lambda: rows)


class _Leaf(NamedTuple):
    field: FieldSchema
    op: str


def _owner(resolved: Resolved) -> str:
    return "" if resolved.handler is None else resolved.handler.owner


def _python_aggregate(alias: str, one: Aggregate) -> tuple[str, Aggregate, QueryFragment]:
    name = "object_id" if one.field is None else one.field.name
    return alias, one, QueryFragment("python", one.op, name, reducer(one.op, one.param))


def equalities(expr: Expr | None) -> dict[str, frozenset[Any]]:
    """Fields that must equal one of some values for the condition to hold, as far as that is easily seen."""
    if isinstance(expr, Predicate):
        if expr.op.name == "eq" and expr.field.dtype.kind == "text":
            return {expr.field.name: frozenset([expr.value])}
        if expr.op.name == "in" and expr.field.dtype.kind == "text":
            return {expr.field.name: frozenset(expr.value)}
        return {}
    found: dict[str, frozenset[Any]] = {}
    if isinstance(expr, And):
        for child in expr.children:
            for name, values in equalities(child).items():
                found[name] = found[name] & values if name in found else values
    return found


def dtypes(query: Query) -> Mapping[str, LogicalType[Any]]:
    """The logical type of each column that the answer can have."""
    if not (query.group or query.aggregates):
        return {field.name: field.dtype for field in query.schema.fields} | {"_score": Float(), "_distance": Float()}
    keys = {name: query.schema.field(name).dtype for name in query.group}
    return keys | {alias: aggregate_type(one) for alias, one in query.aggregates}


class LazyTypes(Mapping[str, LogicalType[Any]]):
    """`dtypes(query)`, worked out when somebody asks: most answers are read without it."""

    __slots__ = ("_found", "_query")

    def __init__(self, query: Query) -> None:
        self._query = query
        self._found: Mapping[str, LogicalType[Any]] | None = None

    def _all(self) -> Mapping[str, LogicalType[Any]]:
        if self._found is None:
            self._found = dtypes(self._query)
        return self._found

    def __getitem__(self, key: str) -> LogicalType[Any]:
        return self._all()[key]

    def __iter__(self) -> Any:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def run(stored: StoredEntity, query: Query, tx: Any) -> ResultFrame:
    """The answer to a query."""
    planner = _planner(stored, query, tx)
    searched = "" if query.search_ is None else query.search_.query
    return ResultFrame(_rows(planner), LazyTypes(query), query.group, searched, query.schema.id)


def _planner(stored: StoredEntity, query: Query, tx: Any, *, dry: bool = False) -> Planner:
    if stored.spread is None:
        return Planner(stored, query, tx, dry=dry)
    from heaven_core.spread_plan import SpreadPlanner  # which knows this module

    return SpreadPlanner(stored, query, tx, dry=dry)


def _rows(planner: Planner) -> Rows:
    """The planner's answer, with its filter in Python if it is too large for the engine."""
    try:
        return planner.run()
    except ConditionTooLarge:
        planner.in_python, planner.steps = True, []
        return planner.run()


def explain(stored: StoredEntity, query: Query, tx: Any, *, analyze: bool) -> Explanation:
    """How the query is answered; with `analyze`, after having answered it."""
    planner = _planner(stored, query, tx, dry=not analyze)
    planner.explaining, planner.analyze = True, analyze
    started = time.perf_counter()
    rows = _rows(planner)
    seconds = time.perf_counter() - started
    return Explanation(
        stored.schema.id,
        query.to_dict(),
        planner.steps,
        {name: placed.to_dict() for name, placed in stored.placement.items()},
        seconds if analyze else None,
        len(rows.tuples) if analyze else None,
    )
