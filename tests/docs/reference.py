"""The pages in `docs/reference/`, made from the code: one per logical type, operation, strategy and hook.

Their words are those of the code (docstrings, `desc`, parameters); what engines do comes from their handlers, what an
operation says of null from `docs/semantics.md` (`serving.py`); each has an example (`examples.py`) with what it prints.
Nothing on them depends on when or where they are made. `python -m tests.docs` writes them.

Not here: `llms.txt` (`llms.py`); whether the committed pages are these (`test_reference.py`).
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import docstring_parser

import heavenbase as hb
from heaven_core import hooks
from heaven_core.ops import Op
from heaven_core.strategies import BUILTIN as STRATEGIES
from heaven_core.strategies import Strategy
from heaven_core.types import BUILTIN as TYPES
from heaven_core.types import LogicalType, as_type
from tests.docs import examples
from tests.docs.layout import anchor, capitalised, codes, fenced, joined, table, words
from tests.docs.programs import own_settings, program, ran, shown
from tests.docs.serving import EITHER, NATIVE, OPS, PYTHON, SCAN, engines, headings_of, how, offered, row_of, served

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "reference"
MADE = "<!-- Made by `python -m tests.docs` from the code: change the words there, not here. -->"
SEMANTICS = "../../semantics.md"
OP_KINDS = {"filter": "Filters", "rank": "Ranks", "aggregate": "Aggregates"}


class Entry(NamedTuple):
    """A page: where it lies below the folder, what it is about, one line about it, and its text."""

    path: str
    name: str
    desc: str
    text: str


@cache
def entries() -> Mapping[str, tuple[Entry, ...]]:
    """The pages by section, in the code's own order.

    Raises:
        LookupError: a thing has no description, no example or no case in `docs/semantics.md`.
    """
    with own_settings():
        return {
            "Logical types": tuple(map(_type_page, TYPES)),
            **{title: tuple(_op_page(op) for op in OPS if op.kind == kind) for kind, title in OP_KINDS.items()},
            "Strategies": tuple(map(_strategy_page, STRATEGIES)),
            "Hooks": tuple(map(_hook_page, hooks.KINDS)),
        }


def pages() -> dict[str, str]:
    """Path below the folder -> text, of the index and of every page."""
    return {"README.md": _index()} | {entry.path: entry.text for section in entries().values() for entry in section}


def _index() -> str:
    lines = [
        MADE,
        "",
        "# Reference",
        "",
        "One page for each thing that has a name in a schema, a query or an extension, with an example that runs.",
        "What the operations answer is said in [Semantics](../semantics.md), how to ask in [Queries](../query.md).",
        "",
        "The pages say how each engine serves an operation on a type, strategy by strategy:",
        "",
        f"- *{NATIVE}*: the engine does it by itself;",
        f"- *{PYTHON}*: the engine calls a function of HeavenBase for each row;",
        f"- *{EITHER}*: the one or the other, by the argument and by the type of an array's items;",
        f"- *{SCAN}*: there is no handler, so HeavenBase reads the field of every row and decides itself.",
        "",
        "The answer is the same, and `explain()` says which it was.",
    ]
    for title, section in entries().items():
        rows = ([f"[`{entry.name}`]({entry.path})", entry.desc] for entry in section)
        lines += ["", f"## {title}", "", *table(("name", "what it is"), rows)]
    return joined(lines)


# -- logical types -------------------------------------------------------------------------------------------------


def _type_page(cls: type[LogicalType[Any]]) -> Entry:
    example = _example(examples.TYPES, "type", cls.identifier)
    source = program(
        f"hb.field({example.dtype})",
        [
            f'thing = ws.upsert(Thing, {{"value": {example.value}}})',
            'value = ws.get(thing)["value"]',
            "print(repr(value))",
            "try:",
            f'    ws.upsert(Thing, {{"value": {example.refused}}})',
            "except hb.errors.InvalidValue as error:",
            '    print(f"{type(error).__name__}: {error}")',
        ],
        imports=example.imports,
    )
    printed, names = ran(source)
    dtype = names["Thing"].schema().field("value").dtype
    facts = {
        "identifier": f"`{cls.identifier}`",
        "class": f"`heavenbase.{cls.__name__}`",
        "other names": _other_names(cls),
        "in Python": "any JSON value" if cls.kind == "json" else f"`{cls.exact.__name__}`",
        "in JSON": f"such as `{json.dumps(dtype.to_json(names['value']), ensure_ascii=False)}`",
        "takes, equals, order": _semantics("Values"),
        "null": f"a field without a value; {_semantics('Logic')}",
    }
    where = (
        [f"`{engine}`", *(_strategies(cls, engine, stores=stores) for stores in (True, False))] for engine in engines()
    )
    served_by = (
        [_link("ops", op.name), *(how(op, cls, engine) for engine in engines())] for op in OPS if op.serves(cls)
    )
    lines = [
        *_opening(cls.identifier, words(cls)),
        *table(("", ""), facts.items()),
        *_parameters(cls),
        *_section("Example", *shown(source, printed), "", *_schema_as_json(names["Thing"])),
        *_section("Where it lies", *table(("engine", "stored as", "indexes"), where)),
        *_section("Operations", *table(("operation", *engines()), served_by)),
    ]
    return Entry(f"types/{cls.identifier}.md", cls.identifier, cls.desc, joined(lines))


def _strategies(cls: type[LogicalType[Any]], engine: str, *, stores: bool) -> str:
    found = [one.identifier for one in offered(cls, engine) if one.stores is stores]
    return ", ".join(_link("strategies", name) for name in found) or "none"


def _parameters(cls: type[LogicalType[Any]]) -> list[str]:
    """A table of the parameters of a type; the docstring that describes one may be that of a base."""
    named = [
        one.name
        for one in inspect.signature(cls).parameters.values()
        if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    known: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for one in docstring_parser.parse(base.__dict__.get("__doc__") or "").params:
            known[one.arg_name] = " ".join((one.description or "").split()).rstrip(".")
    if missing := [name for name in named if not known.get(name)]:
        raise LookupError(f"the docstring of {cls.__name__} says nothing of {', '.join(missing)}")
    return ["", *table(("parameter", "what it is"), ([f"`{name}`", known[name]] for name in named))] if named else []


def _schema_as_json(entity: Any) -> list[str]:
    schema = {"id": entity.identifier, "fields": entity.schema().to_dict()["fields"]}
    if hb.Entity.from_schema(schema).schema() != entity.schema():
        raise LookupError(f"the JSON schema of the example with {schema['fields']} does not give the same entity")
    return ["The entity as JSON, for `hb.Entity.from_schema`:", "", *fenced("json", json.dumps(schema))]


# -- operations ----------------------------------------------------------------------------------------------------


def _op_page(op: Op) -> Entry:
    example = _example(examples.OPS, "operation", op.name)
    asked, column = _question(op, example.asked)
    source = program(
        f"hb.field({example.dtype})",
        [
            f"values = ({example.values}, None)",
            'ws.upsert_many(Thing, [{"value": value} for value in values])',
            f"query = ws.query(Thing).{asked}",
            f'print(query.execute().column("{column}"))',
            "assert ws.query_json(Thing, query.to_dict()) == query",
        ],
        imports=example.imports,
    )
    printed, names = ran(source)
    as_json = json.dumps(names["query"].to_dict(), ensure_ascii=False)
    by_type = (
        [_link("types", cls.identifier), *(how(op, cls, engine) for engine in engines())]
        for cls in TYPES
        if op.serves(cls)
    )
    lines = [
        *_opening(op.name, f"{capitalised(op.desc)}."),
        *table(("", ""), _op_facts(op).items()),
        *_section("Example", *shown(source, printed), "", "The same question as JSON, for `ws.query_json`:", ""),
        *fenced("json", as_json),
        *_section("Types and engines", *table(("type", *engines()), by_type)),
    ]
    return Entry(f"ops/{op.name}.md", op.name, op.desc, joined(lines))


def _question(op: Op, asked: str) -> tuple[str, str]:
    """The rest of a query that asks it, and the column to look at."""
    if op.kind == "filter":
        return f'where({asked}).order_by("object_id")', "value"
    return (asked, "value") if op.kind == "rank" else (f"aggregate(answer={asked})", "answer")


def _op_facts(op: Op) -> dict[str, str]:
    facts = {"kind": op.kind, "other names": codes(op.aliases) or "none"}
    if op.kind == "rank":
        facts["null"] = "rows without a value are left out"
    else:
        cells = {key: text.replace("](#", f"]({SEMANTICS}#") for key, text in row_of(op).items()}
        if op.kind == "filter":
            facts |= {"argument": cells["argument"], "holds for a null field": cells["null field"]}
        else:
            facts |= {"result": cells["result"], "null": "is skipped", "of nothing": cells["of nothing"]}
    return facts | {"normative": ", ".join(map(_semantics, headings_of(op)))}


# -- strategies ----------------------------------------------------------------------------------------------------


def _strategy_page(cls: type[Strategy]) -> Entry:
    example = _example(examples.STRATEGIES, "strategy", cls.identifier)
    source = _strategy_program(cls, example)
    printed, names = ran(source)
    facts = {
        "identifier": f"`{cls.identifier}`",
        "class": f"`heavenbase.{cls.__name__}`",
        "other names": _other_names(cls),
        "kind": "storing: it holds the field's value" if cls.stores else "index: it stands beside a storing strategy",
        "null": f"means the same under every strategy; {_semantics('Logic')}",
        "how to choose": "[Placement](../../placement.md#strategies)",
    }
    rows = [row for dtype in TYPES if (row := _served(cls, dtype)) is not None]
    lines = [
        *_opening(cls.identifier, words(cls)),
        *table(("", ""), facts.items()),
        *_section("Example", *shown(source, printed), "", *_schema_as_json(names["Thing"])),
        *_section("What it serves", *(table(("type", *engines()), rows) if rows else ["No engine offers it yet."])),
    ]
    return Entry(f"strategies/{cls.identifier}.md", cls.identifier, cls.desc, joined(lines))


def _strategy_program(cls: type[Strategy], example: examples.StrategyExample) -> str:
    """A question to a field that is stored so; where no engine offers it, what one is told."""
    dtype = type(as_type(eval(example.dtype, {"hb": hb})))
    offering = [one for one in engines() if cls in offered(dtype, one)]
    engine = "sqlite" if "sqlite" in offering else offering[0] if offering else None
    where = 'path="reference"' if engine in {None, "sqlite"} else f'backends={{"main": {{"type": "{engine}"}}}}'
    asked = example.asked if example.asked.startswith("near(") else f"where({example.asked})"
    body = [f'ws.upsert(Thing, {{"value": {example.value}}})', f"print(ws.query(Thing).{asked}.explain())"]
    source = program(f"hb.field({example.dtype}).store(strategy=hb.{cls.__name__})", body, where=where)
    if engine is not None:
        return source
    told = ["try:", "    ws.register(Thing)", "except hb.errors.PlacementError as error:", "    print(error)"]
    return source.partition("    ws.register(Thing)\n")[0] + "".join(f"    {line}\n" for line in told)


def _served(cls: type[Strategy], dtype: type[LogicalType[Any]]) -> list[str] | None:
    """A type's row on the page of a strategy: the operations that each engine has under it."""
    known = [op.name for op in OPS if op.serves(dtype)]
    found = [served(cls, dtype, engine) for engine in engines()]
    if not any(found):
        return None
    return [_link("types", dtype.identifier), *("all" if ops == known else codes(ops) or "none" for ops in found)]


# -- hooks ---------------------------------------------------------------------------------------------------------


def _hook_page(name: str) -> Entry:
    example = _example(examples.HOOKS, "hook", name)
    spec = getattr(hooks.Specs, name)
    source = f"import json\n\nimport heavenbase as hb\n\n\n{example}"
    printed, _ = ran(source)
    taken = {key: str(one.annotation) for key, one in inspect.signature(spec).parameters.items() if key != "self"}
    _, _, said = words(spec).partition(": ")
    facts = {
        "kind": hooks.KINDS[name],
        "is given": ", ".join(f"`{key}`, a [`{kind}`](#{anchor(kind)})" for key, kind in taken.items()) or "nothing",
        "how to take part": "[Extensions](../../extensions.md#hooks)",
    }
    lines = [
        *_opening(name, capitalised(said)),
        *table(("", ""), facts.items()),
        *_section("Example", *shown(source, printed)),
        *(line for kind in _mentioned(taken.values()) for line in _described(kind)),
    ]
    first = said.splitlines()[0].rstrip(".")
    return Entry(f"hooks/{name}.md", name, f"{hooks.KINDS[name]}: {first}", joined(lines))


def _annotations(kind: type) -> dict[str, str]:
    """The fields of a record with their types, as they are written."""
    return {name: getattr(one, "__forward_arg__", one) for name, one in inspect.get_annotations(kind).items()}


def _mentioned(annotations: Iterable[str]) -> list[type]:
    """The classes of `heaven_core.hooks` that annotations mention, and those that these mention."""
    found: dict[type, None] = {}
    for word in re.findall(r"\w+", " ".join(annotations)):
        kind = vars(hooks).get(word)
        if isinstance(kind, type) and kind.__module__ == hooks.__name__:
            found |= dict.fromkeys([kind, *_mentioned(_annotations(kind).values())])
    return list(found)


def _described(kind: type) -> list[str]:
    """A section about what a hook is given: the fields of a record, or methods."""
    rows: list[list[str]] = []
    if issubclass(kind, tuple):
        head = ("field", "type")
        rows += [[f"`{name}`", f"`{written}`"] for name, written in _annotations(kind).items()]
    else:
        head = ("method", "what it does")
        for name, method in vars(kind).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                parameters = list(inspect.signature(method).parameters)[1:]
                rows.append([f"`{name}({', '.join(parameters)})`", words(method)])
    return _section(f"`{kind.__name__}`", words(kind), "", *table(head, rows))


# -- what pages share ----------------------------------------------------------------------------------------------


def _example(known: Mapping[str, Any], kind: str, name: str) -> Any:
    if name not in known:
        raise LookupError(f"{kind} {name!r} has no example; add one to tests/docs/examples.py")
    return known[name]


def _opening(name: str, said: str) -> list[str]:
    if len(said) < 2:
        raise LookupError(f"{name!r} has no description; give it a desc or a docstring")
    return [MADE, "", f"# `{name}`", "", said, ""]


def _section(title: str, *lines: str) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _other_names(cls: Any) -> str:
    return codes(name for name in cls.aliases if name != cls.__name__) or "none"


def _link(folder: str, name: str) -> str:
    return f"[`{name}`](../{folder}/{name}.md)"


def _semantics(title: str) -> str:
    return f"[{title}]({SEMANTICS}#{anchor(title)})"
