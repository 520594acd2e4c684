"""Plans over several engines: one query of an entity whose fields do not lie in one place.

A query has a *home*: the engine that orders, groups or ranks, if one holds all that this needs. Conditions on fields
of other engines are answered there first, by ids alone, the most selective first, each within the ids before it; the
home takes what is left as a set of ids. What is selected elsewhere is read last and only for the rows that are
returned. What no engine can do alone (an order or a group over fields of several) is done in Python on just the
columns it needs.

The nearest vectors that satisfy a condition elsewhere are found in one of two ways. Where few rows satisfy it, their
ids come first and the home ranks those. Where many do, the home is asked for more of the nearest than are wanted, and
the condition is asked of them alone. How an engine finds the nearest is its own matter.

Every row lies in every engine of its entity, so a complement may be taken anywhere. A field with a mirror lies in two:
the copy in the primary is used where that spares another engine, unless only the field's own has the operation.

Not here: a query within one engine (`heaven_core.plan`), how engines are kept in step (`heaven_core.outbox`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from heaven_core import evaluate
from heaven_core.backend import Backend, Column, Fetch, Layout, Limits, Near, Rows, Scan
from heaven_core.errors import DeadlineExceeded, StorageError
from heaven_core.expr import And, Expr, Not, Or, Predicate, predicates
from heaven_core.handlers import AllOf, AnyOf, IdSet, NoneOf, Where
from heaven_core.placement import PRIMARY
from heaven_core.plan import ESTIMATE_S, MAX_NESTING, Planner, levels
from heaven_core.query import Query
from heaven_core.schema import FieldSchema
from heaven_core.spread import SpreadBackend, dicts
from heaven_core.stored import Resolved, StoredEntity

FEW = 5000
"""Up to so many ids are passed to another engine rather than have it look at all its rows."""

SHARE = 0.04
"""The share of rows up to which a condition is answered before the nearest are looked for, of at most `FEW` rows."""

FIRST = 10
"""How many times as many of the nearest as are wanted are looked at first where nobody knows how many will satisfy."""

Row = dict[str, Any]
Need = tuple[FieldSchema, str | None]
"""A field, and the operation if there is one."""


class SpreadPlanner(Planner):
    """One query against an entity in several engines."""

    def __init__(self, stored: StoredEntity, query: Query, tx: Any, *, dry: bool = False) -> None:
        super().__init__(stored, query, tx, dry=dry)
        assert stored.spread is not None
        self.spread: SpreadBackend = stored.spread
        self.home = self._home()
        self._whole: Layout | None = None
        """What a query in Python is answered over: all fields."""

    # where things lie --------------------------------------------------------------------------------------------

    def _part(self) -> tuple[Backend, Layout]:
        return self._engine(self.home) if self._whole is None else (self.stored.backend, self._whole)

    def _engine(self, name: str) -> tuple[Backend, Layout]:
        backend, layout = self.spread.parts[name]
        return (self.stored.backend if name == PRIMARY else backend), layout

    def _resolve(self, field: FieldSchema, op: str) -> Resolved:
        return self.stored.resolve(field, op, self.home if self.home in self._engines(field) else None)

    def _engines(self, field: FieldSchema, op: str | None = None) -> Iterable[str]:
        """The engines that hold a field, and can do the operation as well as any of them; object_id lies in each."""
        if field.name == "object_id":
            return self.spread.parts
        placed = self.stored.placement[field.name]
        if not placed.mirror:
            return (placed.backend,)
        if op is not None and self._is_native(field, op) and not self._is_native(field, op, PRIMARY):
            return (placed.backend,)
        return (PRIMARY, placed.backend)

    def _is_native(self, field: FieldSchema, op: str, at: str | None = None) -> bool:
        handler = self.stored.resolve(field, op, at).handler
        return handler is not None and handler.native

    def _holding(self, needs: Iterable[Need]) -> list[str]:
        """The engines that each hold all of these, the primary first."""
        engines = [self._engines(field, op) for field, op in needs]
        return [name for name in self.spread.parts if all(name in one for one in engines)]

    def _fields(self, names: Iterable[str]) -> list[Need]:
        return [(self.stored.schema.field(name), None) for name in names]

    def _home(self) -> str:
        query = self.query
        if query.near_ is not None:
            return self.stored.placement[query.near_.field.name].backend
        if query.search_ is not None:
            own = {self.stored.placement[field.name].backend for field in self._search_fields()}
            return own.pop() if len(own) == 1 else PRIMARY
        groups = bool(query.group or query.aggregates)
        wanted = self._grouped_fields() if groups else [one.name for one in query.order]
        able = self._holding(self._fields(wanted))
        if groups:  # which is what a field lies elsewhere for, so not on its copy
            own = {self.stored.placement[one].backend for one in wanted if one != "object_id"}
            able.sort(key=lambda name: name not in own)
        alone = self._holding(_needs(query.filter))
        return next((name for name in able if name in alone), able[0] if able else PRIMARY)

    def _grouped_fields(self) -> list[str]:
        query = self.query
        return [*query.group, *(one.field.name for _, one in query.aggregates if one.field is not None)]

    # conditions --------------------------------------------------------------------------------------------------

    def _where(self, expr: Expr, room: int) -> Where:
        holding = self._holding(_needs(expr))
        if self.home in holding:
            return super()._where(expr, room)
        if isinstance(expr, Predicate) or (self.within is not None and holding):
            return IdSet(self._ids(holding[0], expr, self.within))
        children = (expr.child,) if isinstance(expr, Not) else _children(expr)
        left = room - 1 - levels(len(children))
        if left < 0 and room < MAX_NESTING:
            return self._first(expr)
        if isinstance(expr, Not):
            return NoneOf(self._where(expr.child, left))
        groups = self._grouped_by_engine(children)
        return self._all_of(groups, left) if isinstance(expr, And) else self._any_of(groups, left)

    def _grouped_by_engine(self, children: Sequence[Expr]) -> dict[str | None, list[Expr]]:
        """The parts of a condition by the engine that can answer them; None for those that need several."""
        groups: dict[str | None, list[Expr]] = {}
        for child in children:
            holding = self._holding(_needs(child))
            where = self.home if self.home in holding else holding[0] if holding else None
            groups.setdefault(where, []).append(child)
        return groups

    def _any_of(self, groups: dict[str | None, list[Expr]], room: int) -> Where:
        found: dict[str, None] = {}
        for name, children in groups.items():
            if name is not None and name != self.home:
                found.update(dict.fromkeys(self._ids(name, _joined(Or, children), self.within)))
        parts: list[Where] = [IdSet(list(found))]
        parts += [self._where(child, room) for name in (self.home, None) for child in groups.get(name, ())]
        return AnyOf(parts)

    def _all_of(self, groups: dict[str | None, list[Expr]], room: int) -> Where:
        own = [self._where(child, room) for child in groups.get(self.home, ())]
        others = {
            name: _joined(And, children) for name, children in groups.items() if name is not None and name != self.home
        }
        ids = self._home_ids(own, others)
        for name in sorted(others, key=lambda one: _rank(self._expected(one, others[one]))):
            ids = self._ids(name, others[name], ids)
            if not ids and not self.dry:
                return IdSet(())
        mixed = [self._where(child, room) for child in groups.get(None, ())]
        parts: list[Where] = [*([] if ids is None else [IdSet(ids)]), *own, *mixed]
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def _home_ids(self, own: list[Where], others: dict[str, Expr]) -> Sequence[str] | None:
        """The ids that the home's part of a condition leaves, where they are few and fewer than the others'."""
        if self.within is not None:
            return self.within
        if not own or not others or self.dry:
            return None
        backend, layout = self._part()
        here = _estimate(backend, Scan(layout, where=AllOf(own)), self._left())
        if here is None or here > FEW:
            return None
        there = min(_rank(self._expected(name, expr)) for name, expr in others.items())
        if there <= here:
            return None
        return self._found(AllOf(own))

    def _expected(self, name: str, expr: Expr) -> int | None:
        """About how many rows an engine has for a condition; None for many, or if that takes long to say."""
        planner = self._at(name)
        if any(planner._resolve(leaf.field, leaf.op.name).compile is None for leaf in predicates(expr)):
            return None
        backend, layout = planner._part()
        return _estimate(backend, Scan(layout, where=planner._where(expr, MAX_NESTING)), self._left())

    def _ids(self, name: str, expr: Expr, within: Sequence[str] | None) -> list[str]:
        """The rows for which a condition on one other engine holds, among some or all."""
        planner = self._at(name)
        planner.within = within
        where = planner._where(expr, MAX_NESTING)
        if within is not None:
            where = AllOf([IdSet(within), where])
        found = [] if self.dry else planner._found(where)
        self.steps += planner.steps
        _, layout = self._engine(name)
        step: dict[str, Any] = {"step": "ids", "backend": name, "backend_type": layout.backend_type, "mode": "native"}
        step["notes"] = "answered there, joined as ids" + ("" if within is None else f", within {len(within)}")
        if self.analyze:
            step["rows"] = len(found)
        self.steps.append(step)
        return found

    def _at(self, name: str) -> SpreadPlanner:
        """A planner for the same query with another home."""
        planner = SpreadPlanner(self.stored, self.query, self.tx, dry=self.dry)
        planner.home, planner.explaining, planner._ends, planner.analyze = (
            name,
            self.explaining,
            self._ends,
            self.analyze,
        )
        return planner

    # nearest -----------------------------------------------------------------------------------------------------

    def _near(self) -> Rows:
        query = self.query
        assert query.near_ is not None
        children = _conjuncts(query.filter)
        apart = [one for one in children if self.home not in self._holding(_needs(one))]
        if not apart or self.in_python or self._resolve(query.near_.field, "near").compile is None:
            return super()._near()
        wanted = self._first_wanted(apart, query.near_.top_k)
        if wanted is None:
            return super()._near()
        known = len(self.steps)
        own = [one for one in children if one not in apart]
        ranked = self._among_nearest(_joined(And, own) if own else None, _joined(And, apart), wanted)
        if ranked is not None:
            return self._ranked_rows(ranked)
        del self.steps[known:]
        return super()._near()

    def _first_wanted(self, apart: Sequence[Expr], top_k: int) -> int | None:
        """How many of the nearest to look at for a condition elsewhere; None where few rows satisfy it."""
        groups = {name: some for name, some in self._grouped_by_engine(apart).items() if name is not None}
        expected = min((_rank(self._expected(name, _joined(And, some))) for name, some in groups.items()), default=None)
        if expected is None or expected > FEW:
            return FIRST * top_k
        if expected <= SHARE * FEW:  # as a share of so few rows that they are not counted
            return None
        backend, layout = self._engine(PRIMARY)
        rows = _estimate(backend, Scan(layout), self._left())
        if rows is None or expected <= SHARE * rows:
            return None
        return int(1.5 * top_k * rows / expected) + 10

    def _among_nearest(self, own: Expr | None, apart: Expr, wanted: int) -> list[tuple[str, float]] | None:
        """The nearest rows that satisfy a condition elsewhere, from more of the nearest; None if those grow too many.

        The home has them in order, so the first ones that satisfy it are the nearest that do.
        """
        near = self.query.near_
        assert near is not None
        where, most = self.where(own), max(FEW, FIRST * near.top_k)
        while wanted <= most:
            found, notes = self._nearest(where, wanted)
            asked = self._asked_of([one for one, _ in found], apart)
            kept = asked.ids
            if self.dry or len(kept) >= near.top_k or len(found) < wanted:
                self.steps += asked.steps
                self.steps.append(self._near_step(notes, wanted))
                return [pair for pair in found if pair[0] in kept][: near.top_k]
            wanted = max(4 * wanted, int(1.5 * near.top_k * wanted / max(len(kept), 1)))
        return None

    def _nearest(self, where: Where | None, count: int) -> tuple[list[tuple[str, float]], tuple[str, ...]]:
        """The ids of the home's nearest rows with their distances, and how they were found."""
        spec = self.query.near_
        assert spec is not None
        if self.dry:
            return [], ()
        near = Near(spec.field, spec.query, count, spec.metric)
        backend, layout = self._part()
        rows = backend.run(Scan(layout, where=where, near=near, limits=self._left().of_a_step()), self._seen(self.home))
        return [(row[0], row[-1]) for row in rows.tuples], rows.notes

    def _asked_of(self, ids: Sequence[str], apart: Expr) -> _Asked:
        """Which of some rows satisfy a condition, and the steps in which that was asked."""
        planner = self._at(self.home)
        planner.within = ids
        where = planner._where(apart, MAX_NESTING)
        if isinstance(where, IdSet) or self.dry:
            return _Asked(set(where.ids) if isinstance(where, IdSet) else set(), planner.steps)
        return _Asked(set(planner._found(AllOf([IdSet(ids), where]))), planner.steps)

    def _near_step(self, notes: Sequence[str], wanted: int) -> dict[str, Any]:
        spec = self.query.near_
        assert spec is not None
        _, layout = self._part()
        said = "; ".join((*notes, f"the condition elsewhere asked of the {wanted} nearest"))
        step = {"step": "near", "backend": self.home, "backend_type": layout.backend_type, "mode": "native"}
        return step | {"field": spec.field.name, "notes": said}

    def _ranked_rows(self, ranked: list[tuple[str, float]]) -> Rows:
        """The rows of an answer by their ids and distances, ordered and cut as the query says."""
        query = self.query
        if self.dry:
            return Rows((), (), [])
        chosen = ranked
        if query.order:
            rows = {one: {"object_id": one} for one, _ in ranked}
            self._complete(rows, [one.name for one in query.order if one.name != "object_id"])
            distances = dict(ranked)
            ordered = evaluate.order_rows(sorted(rows.values(), key=_object_id), query.order)
            chosen = [(row["object_id"], distances[row["object_id"]]) for row in ordered]
        stop = None if query.limit_ is None else query.offset_ + query.limit_
        chosen = chosen[query.offset_ : stop]
        evaluate.check_rows(len(chosen), query.limits_)
        return self._hydrated(chosen, "_distance")

    # reading -----------------------------------------------------------------------------------------------------

    def _columns(self, names: tuple[str, ...], where: Where | None) -> list[Row]:
        """Some columns of the rows that satisfy a condition of the home's."""
        backend, layout = self._part()
        here = tuple(one for one in names if one in layout.by_name)
        scan = Scan(layout, ("object_id", *(one for one in here if one != "object_id")), where=where)
        scan.limits = self._left().of_a_step()
        rows = {row["object_id"]: row for row in dicts(backend.run(scan, self._seen(self.home)))}
        self._complete(rows, [one for one in names if one not in here])
        return list(rows.values())

    def _found(self, where: Where) -> list[str]:
        """The ids of the rows that satisfy a condition of the home's."""
        backend, layout = self._part()
        scan = Scan(layout, where=where, limits=self._left().of_a_step())
        return [row[0] for row in backend.run(scan, self._seen(self.home)).tuples]

    def _complete(self, rows: dict[str, Row], names: Sequence[str]) -> None:
        """Add columns of other engines to rows by id."""
        sources = {one: next(iter(self._engines(self.stored.schema.field(one)))) for one in names}
        for name in dict.fromkeys(sources.values()):
            wanted = tuple(one for one in names if sources[one] == name)
            if name != PRIMARY:
                self.spread.complete(rows, name, wanted, self.tx, self._left().of_a_step())
                continue
            backend, layout = self._engine(PRIMARY)
            scan = Scan(layout, ("object_id", *wanted), where=IdSet(list(rows)), limits=self._left().of_a_step())
            found = dicts(backend.run(scan, self.tx))
            if len(found) < len(rows):
                lost = min(rows.keys() - {row["object_id"] for row in found})
                raise StorageError(
                    f"{self.stored.schema.id}, row {lost!r}: backend {self.home!r} has it, the primary has not; "
                    "see ws.check()"
                )
            for row in found:
                rows[row["object_id"]].update(row)

    def _seen(self, name: str) -> Any:
        """The transaction to read an engine in: the others have none."""
        return self.tx if name == PRIMARY else None

    def columns(self) -> tuple[str, ...]:
        selected = self.query.selected
        names = self.stored.schema.names if selected is None else selected
        return tuple(dict.fromkeys(("object_id", *names)))

    # answering ---------------------------------------------------------------------------------------------------

    def run(self) -> Rows:
        if self.dry or self._is_of_the_primary():
            return super().run()
        if self.spread.outbox.touches(self.tx, self.stored.schema.id):
            return self._over_everything()
        return self.spread.outbox.consistent(self.stored.schema.id, self.tx, self._anew, self._left())

    def _is_of_the_primary(self) -> bool:
        """Whether no other engine is asked for anything, so that none has to be in step."""
        query = self.query
        names = [*self._grouped_fields(), *(one.name for one in query.order if not (query.group or query.aggregates))]
        if not (query.group or query.aggregates):
            names += self.columns()
        if query.near_ is not None:
            names.append(query.near_.field.name)
        if query.search_ is not None:
            names += [field.name for field in self._search_fields()]
        return self.home == PRIMARY and PRIMARY in self._holding([*_needs(query.filter), *self._fields(names)])

    def _anew(self) -> Rows:
        self.steps = []
        return super().run()

    def _over_everything(self) -> Rows:
        """Inside a transaction that has written to several engines: its rows, and the query in Python."""
        self.steps.append({"step": "scan", "backend": "python", "mode": "python", "field": None})
        self.steps[-1]["notes"] = "the transaction has written to several engines, so its rows are read in Python"
        _, layout = self._engine(PRIMARY)
        ids = [
            row["object_id"] for row in dicts(self.spread.run(Scan(layout, limits=self._left().of_a_step()), self.tx))
        ]
        rows = dicts(self.stored.backend.run(Fetch(layout, ids), self.tx))
        self._whole = Layout(
            layout.entity, "python", "python", [Column(one, "inline") for one in self.stored.schema.fields]
        )
        return self._in_memory(rows)

    def _answered(self, scan: Scan) -> Rows:
        """The home's answer to a scan, with the columns of the others."""
        if scan.group is not None:
            return super()._answered(scan)
        apart = [one.name for one in scan.order if one.name not in scan.layout.by_name]
        names = scan.columns
        here = tuple(one for one in names if one in scan.layout.by_name)
        if apart:
            return self._ordered_apart(scan, names)
        if len(here) == len(names):
            return super()._answered(scan)
        scan.columns = here
        rows = super()._answered(scan)
        return rows if self.dry else self._widened(rows, names)

    def _widened(self, rows: Rows, names: tuple[str, ...]) -> Rows:
        """An answer with more columns, in the order of `names`; a rank stays last."""
        label = tuple(one for one in rows.names if one not in self.stored.schema.by_name)
        found = {row["object_id"]: row for row in dicts(rows)}
        self._complete(found, [one for one in names if one not in rows.names])
        tuples = [tuple([row[one] for one in (*names, *label)]) for row in found.values()]
        evaluate.check_bytes(tuples, self.query.limits_)
        return Rows((*names, *label), (None,) * (len(names) + len(label)), tuples, notes=rows.notes)

    def _ordered_apart(self, scan: Scan, names: tuple[str, ...]) -> Rows:
        """An order that the home cannot make alone: ids and keys first, then the rows that are returned."""
        order, offset, limit = scan.order, scan.offset, scan.limit
        scan.columns, scan.order, scan.offset, scan.limit = ("object_id",), (), 0, None
        scan.limits = scan.limits.of_a_step()
        rows = super()._answered(scan)
        self.steps.append(_python_step("order", ", ".join(one.name for one in order), "over fields of several engines"))
        if self.dry:
            return rows
        found = {row["object_id"]: row for row in dicts(rows)}
        self._complete(found, [one.name for one in order if one.name != "object_id"])
        chosen = evaluate.order_rows(sorted(found.values(), key=_object_id), order)
        chosen = chosen[offset : None if limit is None else offset + limit]
        evaluate.check_rows(len(chosen), self.query.limits_)
        label = tuple(one for one in rows.names if one != "object_id")
        kept = [tuple([row[one] for one in ("object_id", *label)]) for row in chosen]
        return self._widened(Rows(("object_id", *label), (None,) * (1 + len(label)), kept), names)

    def _hydrated(self, ranked: list[tuple[str, float]], label: str) -> Rows:
        pairs = Rows(("object_id", label), (None, None), list(ranked))
        return self._widened(pairs, self.columns())

    def _grouped(self, where: Where | None) -> Rows:
        if self.home in self._holding(self._fields(self._grouped_fields())):
            return super()._grouped(where)
        return self._grouped_in_python(where, "over fields of several engines")


class _Asked(NamedTuple):
    """Rows that satisfy a condition, and the steps in which that was found."""

    ids: set[str]
    steps: list[dict[str, Any]]


def _needs(expr: Expr | None) -> list[Need]:
    """The fields of a condition with what is done to them."""
    return [(leaf.field, leaf.op.name) for leaf in predicates(expr)]


def _object_id(row: Row) -> str:
    return row["object_id"]


def _children(expr: Expr) -> Sequence[Expr]:
    assert isinstance(expr, (And, Or))
    return expr.children


def _conjuncts(expr: Expr | None) -> Sequence[Expr]:
    """What must hold together for a condition to hold."""
    if expr is None:
        return ()
    return expr.children if isinstance(expr, And) else (expr,)


def _joined(kind: type[And | Or], children: Sequence[Expr]) -> Expr:
    return children[0] if len(children) == 1 else kind(tuple(children))


def _rank(estimate: int | None) -> float:
    return float("inf") if estimate is None else estimate


def _estimate(backend: Backend, scan: Scan, left: Limits) -> int | None:
    scan.limits = Limits(ESTIMATE_S if left.deadline is None else min(ESTIMATE_S, left.deadline), None, None)
    try:
        return backend.estimate(scan)
    except DeadlineExceeded:
        return None


def _python_step(step: str, field: str, notes: str) -> dict[str, Any]:
    return {"step": step, "field": field, "backend": "python", "mode": "python", "notes": notes}
