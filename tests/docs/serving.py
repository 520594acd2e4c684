"""Who serves which operation on which type, under which strategy, and what `docs/semantics.md` says of it.

Read off the handlers that our plugins ship. Whether one does the work in its engine is found by compiling the cases
of `docs/semantics.md` with it, so the answer is that of `explain()`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from heaven_core.handlers import Handler, HandlerContext, NotServed
from heaven_core.ops import AGGREGATES, FILTERS, RANKS, Op
from heaven_core.registry import registries
from heaven_core.schema import FieldSchema
from heaven_core.strategies import BUILTIN as STRATEGIES
from heaven_core.strategies import Strategy
from heaven_core.types import LogicalType, Refused, type_identifiers
from tests.docs.layout import codes
from tests.semantics import document

OPS: tuple[Op, ...] = (*FILTERS, *RANKS, *AGGREGATES)
NATIVE, EITHER, PYTHON, SCAN = "native", "native or Python", "Python", "Python, by a scan"

Type = type[LogicalType[Any]]


@cache
def engines() -> tuple[str, ...]:
    """The storage plugins of this distribution; others that happen to be installed have no place on a page."""
    file = Path(__file__).resolve().parents[2] / "pyproject.toml"
    project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    return tuple(sorted(project["entry-points"]["heavenbase.storage"]))


@cache
def _handlers(engine: str) -> list[Handler]:
    return list(registries().builtin_handlers(engine).values())


def offered(cls: Type, engine: str) -> list[type[Strategy]]:
    """The strategies that an engine has for a type."""
    names = type_identifiers(cls)
    found = {one.key.strategy for one in _handlers(engine) if one.key.dtype in names}
    return [one for one in STRATEGIES if one.identifier in found]


def served(strategy: type[Strategy], cls: Type, engine: str) -> list[str]:
    """The operations that an engine has on a type under a strategy."""
    wanted = (cls.identifier, strategy.identifier)
    found = {one.key.op for one in _handlers(engine) if (one.key.dtype, one.key.strategy) == wanted}
    return [op.name for op in OPS if op.name in found]


def how(op: Op, cls: Type, engine: str) -> str:
    """How an engine serves an operation on a type, such as: native: `inverted`; Python: `inline`."""
    found: dict[str, list[str]] = {}
    for handler in _handlers(engine):
        if (handler.key.op, handler.key.dtype) == (op.name, cls.identifier):
            found.setdefault(_mode(handler, op, cls), []).append(handler.key.strategy)
    parts = [f"{mode}: {codes(sorted(found[mode]))}" for mode in (NATIVE, EITHER, PYTHON) if mode in found]
    return "; ".join(parts) or SCAN


def _mode(handler: Handler, op: Op, cls: Type) -> str:
    if op.kind == "rank":
        return NATIVE if handler.native else PYTHON
    ctx = HandlerContext(handler.key.backend, handler.key.backend, handler.key.strategy, "thing")
    modes = {
        handler.native and _is_native(handler, FieldSchema("thing", "value", dtype), argument, ctx)
        for dtype, argument in arguments(op, cls)
    }
    if not modes:
        raise LookupError(f"docs/semantics.md has no case of {op.name} on {cls.__name__}, so it is untested")
    return EITHER if len(modes) == 2 else NATIVE if modes == {True} else PYTHON


def _is_native(handler: Handler, field: FieldSchema, argument: Any, ctx: HandlerContext) -> bool:
    try:
        return handler.compile(field, argument, ctx).native
    except NotServed:
        return False


# -- the semantics page --------------------------------------------------------------------------------------------


def arguments(op: Op, cls: Type) -> Iterator[tuple[LogicalType[Any], Any]]:
    """The types and arguments of the cases of an operation on a type; texts share those that they all take."""
    if op.kind == "aggregate":
        for line in _aggregate_lines(op):
            for dtype in map(document.type_of, line.cells["type"].split()):
                if type(dtype) is cls:
                    yield dtype, json.loads(line.cells["p"].strip("`") or "null")
        return
    cases = [case for case in document.cases() if case.op == op.name]
    own = [case.dtype for case in cases if type(case.dtype) is cls]
    for case in cases:
        if type(case.dtype) is cls:
            yield case.dtype, op.check(case.dtype, case.argument)
        elif own and cls.kind == case.dtype.kind == "text":
            try:
                yield own[0], op.check(own[0], case.argument)
            except Refused:  # a text that is not among those of a Categorical
                continue


def _aggregate_lines(op: Op) -> list[document.Line]:
    rows = document.lines("type", "values", "aggregate", "p", "result")
    return [line for line in rows if line.cells["aggregate"] == op.name]


def row_of(op: Op) -> Mapping[str, str]:
    """The row that says what an operation means.

    Raises:
        LookupError: no table has it.
    """
    headings = ("operation", "types", "argument", "holds for a value that", "null field")
    if op.kind == "aggregate":
        headings = ("aggregate", "types", "result", "of nothing")
    for line in document.lines(*headings):
        if line.cells[headings[0]].strip("`") == op.name:
            return line.cells
    raise LookupError(f"docs/semantics.md says nothing of {op.name} in its table of {headings[0]}s")


def headings_of(op: Op) -> list[str]:
    """The headings of the semantics page under which an operation is defined and has its cases."""
    if op.kind == "rank":
        return [_above(line.number) for line in document.lines("metric", "vectors", "query", "nearest first")[:1]]
    if op.kind == "aggregate":
        return [_above(line.number) for line in _aggregate_lines(op)[:1]]
    numbers = [int(case.id[1:].partition("-")[0]) for case in document.cases() if case.op == op.name]
    return list(dict.fromkeys(["Operations", *map(_above, numbers)]))


@cache
def _titles() -> list[tuple[int, str]]:
    text = document.PAGE.read_text(encoding="utf-8").splitlines()
    return [(number, line.removeprefix("## ")) for number, line in enumerate(text, 1) if line.startswith("## ")]


def _above(number: int) -> str:
    return [title for line, title in _titles() if line < number][-1]
