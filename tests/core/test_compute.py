"""Fields computed at write, `heaven_core.compute`: when they are computed, and where their functions are found."""

from __future__ import annotations

import datetime
import functools
import html
import math
import operator
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.compute import describe, load, source_hash
from heaven_core.errors import ComputeError, InvalidType, InvalidValue, NotResolved

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


def words(title: str | None, body: str | None) -> int:
    return len(f"{title or ''} {body or ''}".split())


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, n: int) -> int:
        return n * self.factor

    def scaled(self, n: int) -> int:
        return n * self.factor

    @classmethod
    def doubled(cls, n: int) -> int:
        return n * 2


class Page(hb.Entity):
    title = hb.field(hb.ShortText)
    body = hb.field(hb.LongText)
    size = hb.field(hb.Integer).compute(words, inputs=[title, body]).index()


# -- at write --------------------------------------------------------------------------------------------------------


def test_a_value_is_computed_when_the_row_is_written(ws: hb.HeavenBase) -> None:
    ws.register(Page)

    ids = ws.upsert_many(Page, [{"title": "a b", "body": "c"}, {"title": "a"}, Page(body="x y")])

    assert [row["size"] for row in ws.get_many(ids) if row] == [3, 1, 2]
    assert ws.query(Page).where(Page.size >= 2).count() == 2


def test_set_computes_anew(ws: hb.HeavenBase) -> None:
    ws.register(Page)
    one = ws.upsert(Page, {"title": "a b", "body": "c"})

    ws.set(one, {"body": "c d e"})

    row = ws.get(one)
    assert row is not None
    assert (row["title"], row["size"]) == ("a b", 5)


def test_a_row_cannot_give_a_computed_value(ws: hb.HeavenBase) -> None:
    ws.register(Page)
    one = ws.upsert(Page, {"title": "a"})

    with pytest.raises(InvalidValue, match=r"page\.size, row 1: 'size' is computed; a row cannot give it"):
        ws.upsert_many(Page, [{"title": "b"}, {"size": 9}])
    with pytest.raises(InvalidValue, match="is computed"):
        ws.set(one, {"size": 9})

    assert ws.count(Page) == 1


def test_a_function_that_fails_stops_the_write_and_names_the_row(ws: hb.HeavenBase) -> None:
    class Ratio(hb.Entity):
        n = hb.field(hb.Integer)
        inverse = hb.field(hb.Float).compute(lambda n: 1 / n, inputs=[n])

    ws.register(Ratio)

    with pytest.raises(ComputeError, match=r"ratio\.inverse, row 1: .* raised ZeroDivisionError for n") as raised:
        ws.upsert_many(Ratio, [{"n": 2}, {"n": 0}])

    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert ws.count(Ratio) == 0


def test_a_computed_value_is_checked_like_any_other(ws: hb.HeavenBase) -> None:
    class Loud(hb.Entity):
        title = hb.field(hb.ShortText)
        upper = hb.field(hb.Integer).compute(str.upper, inputs=[title])  # pyright: ignore[reportArgumentType]

    ws.register(Loud)

    with pytest.raises(InvalidType, match=r"loud\.upper, row 0: 'A' is a str; takes a whole number"):
        ws.upsert(Loud, {"title": "a"})


def test_a_function_that_changes_its_input_does_not_change_the_row(ws: hb.HeavenBase) -> None:
    def longer(tags: list[str]) -> int:
        tags.append("more")
        return len(tags)

    class Tagged(hb.Entity):
        tags = hb.field(hb.Array[hb.ShortText])
        count = hb.field(hb.Integer).compute(longer, inputs=["tags"])

    ws.register(Tagged)
    one = ws.upsert(Tagged, {"tags": ["a"]})
    ws.set(one, {"name": "x"})

    row = ws.get(one, Tagged)
    assert row is not None
    assert (row["tags"], row["count"]) == (["a"], 2)


def test_a_function_may_have_no_inputs_or_read_the_id(ws: hb.HeavenBase) -> None:
    class Made(hb.Entity):
        three = hb.field(hb.Integer).compute(lambda: 3, inputs=[])
        start = hb.field(hb.ShortText).compute(lambda one: one[:2], inputs=["object_id"])

    ws.register(Made)

    ws.upsert(Made, {"object_id": "abc"})

    assert ws.get("abc") == {"object_id": "abc", "name": None, "three": 3, "start": "ab"}


# -- found again -----------------------------------------------------------------------------------------------------

DECLARATION = """
import heavenbase as hb
def shout(title):
    return title.upper() + "!"
class Cry(hb.Entity):
    title = hb.field(hb.ShortText)
    loud = hb.field(hb.ShortText).compute(shout, inputs=[title])
    strip = hb.field(hb.ShortText).compute(str.strip, inputs=[title])
"""
WRITE = """
import json, heavenbase as hb
from heaven_core.errors import NotResolved
with hb.HeavenBase("cries") as ws:
    try:
        one = ws.upsert("cry", {"title": " b"})
        print(json.dumps([ws.get(one)["loud"], ws.get(one)["strip"]]))
    except NotResolved as error:
        print(json.dumps({"error": str(error), "read": ws.query("cry").execute().column("loud")}))
"""


def test_a_stored_function_is_imported_by_the_next_process(elsewhere: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "cries.py").write_text(DECLARATION)
    declare = "import heavenbase as hb, cries\nwith hb.HeavenBase('cries') as ws:\n"
    elsewhere(f"{declare}    ws.register(cries.Cry); ws.upsert(cries.Cry, {{'title': 'a'}}); print(1)")

    same = elsewhere(WRITE)
    (tmp_path / "cries.py").write_text(DECLARATION.replace('"!"', '"?"'))
    changed = elsewhere(WRITE)
    (tmp_path / "cries.py").unlink()
    gone = elsewhere(WRITE)

    assert same == [" B!", "b"]
    assert "cry.loud is computed by 'cries:shout'" in changed["error"]
    assert "its source has changed since it was registered" in changed["error"]
    assert "cry.loud is computed by 'cries:shout', which cannot be used here" in gone["error"]
    assert sorted(gone["read"]) == [" B!", "A!"]


@pytest.mark.parametrize(
    "function",
    [words, Scale.doubled, html.escape, str.upper, len, float, math.sqrt, operator.add, datetime.date.isoformat],
    ids=lambda one: one.__qualname__,
)
def test_a_function_with_a_name_is_found_again(function: Any) -> None:
    assert load(describe(function, ())) == function


UNCHECKED = [
    "os:system",
    "posix:system",
    "builtins:eval",
    "builtins:exec",
    "builtins:open",
    "builtins:__import__",
    "builtins:getattr",
    "builtins:type",
    "builtins:str.__class__",
    "math:__loader__.load_module",
    "datetime:sys.exit",
    "operator:_operator.call",
    "operator:attrgetter",
    "_functools:reduce",
    f"{__name__}:words",
]


@pytest.mark.parametrize("source", [{}, {"source": ""}, {"source": "0" * 32}], ids=["none", "empty", "wrong"])
@pytest.mark.parametrize("reference", UNCHECKED)
def test_a_schema_in_json_names_no_function_that_nobody_vouches_for(
    reference: str, source: dict[str, str], ws: hb.HeavenBase
) -> None:
    compute = {"function": reference, "inputs": ["title"], **source}
    fields = [{"name": "title", "type": "short-text"}, {"name": "n", "type": "integer", "compute": compute}]
    ws.register(hb.Entity.from_schema({"id": "note", "fields": fields}))

    with pytest.raises(
        NotResolved, match=rf"note\.n is computed by '{re.escape(reference)}', .* register the class"
    ) as raised:
        ws.upsert("note", {"title": "exit 1"})

    assert (raised.value.entity, raised.value.field) == ("note", "n")  # pyright: ignore[reportAttributeAccessIssue]
    assert ws.count("note") == 0


def test_a_function_that_nobody_vouches_for_is_not_even_imported(ws: hb.HeavenBase) -> None:
    compute = {"function": "this:d", "inputs": []}
    ws.register(hb.Entity.from_schema({"id": "note", "fields": [{"name": "n", "type": "json", "compute": compute}]}))

    with pytest.raises(NotResolved, match="without a hash of its source"):
        ws.upsert("note", {})

    assert "this" not in sys.modules


def test_a_class_vouches_for_the_function_it_declares(ws: hb.HeavenBase) -> None:
    class Note(hb.Entity):
        title = hb.field(hb.ShortText)
        n = hb.field(hb.Json).compute(os.fspath, inputs=[title])  # a builtin

    ws.register(hb.Entity.from_schema(Note.schema().to_dict()))
    with pytest.raises(NotResolved, match="register the class that declares it"):
        ws.upsert("note", {"title": "a"})

    ws.register(Note)

    assert ws.get(ws.upsert("note", {"title": "a"})) is not None


def test_a_copy_of_a_declared_schema_keeps_a_function_of_python_itself(ws: hb.HeavenBase) -> None:
    class Note(hb.Entity):
        title = hb.field(hb.ShortText)
        upper = hb.field(hb.ShortText).compute(str.upper, inputs=[title])

    ws.register(hb.Entity.from_schema(Note.schema().to_dict()))

    row = ws.get(ws.upsert("note", {"title": "a"}))

    assert row is not None
    assert row["upper"] == "A"


@pytest.mark.parametrize(
    "function",
    [lambda n: n, Scale(2), Scale(2).scaled, functools.partial(words, "x"), "x".join],
    ids=["lambda", "instance", "method", "partial", "bound"],
)
def test_a_function_that_no_name_leads_to_is_not_mistaken_for_another(function: Any) -> None:
    stored = describe(function, ())

    with pytest.raises(ImportError):
        load(stored)
    assert stored.resolved("doc", "n") is function


def test_a_name_that_means_something_else_by_now_is_not_used() -> None:
    stored = describe(words, ())

    with pytest.raises(AttributeError, match="is not a function"):
        load(type(stored)("math:pi", (), ""))
    with pytest.raises(ValueError, match="its source has changed"):
        load(type(stored)(f"{__name__}:Scale", (), stored.source_hash))
    with pytest.raises(NotResolved, match=r"doc\.n is computed by 'no_such_module:f', which cannot be used here"):
        type(stored)("no_such_module:f", (), "").resolved("doc", "n")


def test_a_function_without_source_text_is_told_by_its_code() -> None:
    here: dict[str, Any] = {}
    exec("def made(n):\n    return n + 1", here)
    first = here["made"]
    exec("\n\ndef made(n):\n    return n + 1", here)
    again = here["made"]
    exec("def made(n):\n    return n + 2", here)
    second = here["made"]

    assert source_hash(first) == source_hash(again)
    assert source_hash(first) != source_hash(second)
    assert (source_hash(len), len(source_hash(first))) == ("", 32)


# -- in another process, from another folder -------------------------------------------------------------------------

SHAPES = """
import functools
import heavenbase as hb

class Texts:
    @staticmethod
    def short(title):
        return title[:2]

    @classmethod
    def long(cls, title):
        return title * 2

    def bound(self, title):
        return title + "?"

class Inner:
    class Deep:
        @staticmethod
        def last(title):
            return title[-1:]

def traced(function):
    @functools.wraps(function)
    def inner(title):
        return function(title)
    return inner

@traced
def wrapped(title):
    return "<" + title + ">"

def suffixed(suffix):
    def add(title):
        return title + suffix
    return add

class Shape(hb.Entity):
    title = hb.field(hb.ShortText)
    made = hb.field(hb.ShortText).compute(FUNCTION, inputs=[title])
"""
TRY = """
import json, os, sys
os.chdir("/")
import heavenbase as hb
from heaven_core.errors import NotResolved
said = {}
with hb.HeavenBase("shapes") as ws:
    said["read"] = ws.query("shape").execute().column("made")
    said["found"] = ws.count("shape", {"made": said["read"][0]})
    try:
        said["made"] = ws.get(ws.upsert("shape", {"title": "xyz"}))["made"]
    except NotResolved as error:
        said["error"] = [str(error), error.entity, error.field]
    try:
        ws.set(ws.query("shape").limit(1).execute().ids[0], {"title": "uvw"}, "shape")
    except NotResolved as error:
        said["set"] = True
    said["rows"] = ws.count("shape")
    said["deleted"] = ws.delete(ws.ids("shape")[0])
    said["imported"] = "shapes_of" in sys.modules
print(json.dumps(said))
"""


def declared(elsewhere: Callable[..., Any], folder: Path, function: str) -> str:
    """Register an entity whose field that function computes, in a process of its own; what it computed."""
    (folder / "shapes_of.py").write_text(SHAPES.replace("FUNCTION", function))
    return elsewhere(
        "import json, heavenbase as hb, shapes_of\n"
        "with hb.HeavenBase('shapes') as ws:\n"
        "    ws.register(shapes_of.Shape)\n"
        "    print(json.dumps(ws.get(ws.upsert(shapes_of.Shape, {'object_id': 'a', 'title': 'abc'}))['made']))"
    )


@pytest.mark.parametrize(
    ("function", "first", "second"),
    [("Texts.short", "ab", "xy"), ("Texts.long", "abcabc", "xyzxyz"), ("Inner.Deep.last", "c", "z")],
)
def test_a_function_of_a_class_is_found_by_the_next_process(
    elsewhere: Callable[..., Any], tmp_path: Path, function: str, first: str, second: str
) -> None:
    assert declared(elsewhere, tmp_path, function) == first

    said = elsewhere(TRY)

    assert said["read"] == [first]
    assert said["made"] == second
    assert said["imported"]
    assert "set" not in said


@pytest.mark.parametrize(
    ("function", "first"),
    [
        ("lambda title: title + '!'", "abc!"),
        ("suffixed('+')", "abc+"),
        ("Texts().bound", "abc?"),
        ("functools.partial(Texts.short)", "ab"),
    ],
)
def test_a_function_that_no_name_leads_to_stops_writes_of_the_next_process_only(
    elsewhere: Callable[..., Any], tmp_path: Path, function: str, first: str
) -> None:
    assert declared(elsewhere, tmp_path, function) == first

    said = elsewhere(TRY)

    message, entity, field = said["error"]
    assert (entity, field) == ("shape", "made")
    assert message.startswith("shape.made is computed by ")
    assert "register the class" in message
    assert (said["read"], said["found"]) == ([first], 1)
    assert said["set"]
    assert (said["rows"], said["deleted"]) == (1, True)


def moved_away(folder: Path) -> None:
    (folder / "shapes_of.py").rename(folder / "shapes_elsewhere.py")


def rewritten(folder: Path) -> None:
    module = folder / "shapes_of.py"
    module.write_text(module.read_text().replace("title[:2]", "title[:1]"))


def renamed(folder: Path) -> None:
    module = folder / "shapes_of.py"
    module.write_text(module.read_text().replace("short", "brief"))


def broken(folder: Path) -> None:
    (folder / "shapes_of.py").write_text("1 / 0")


@pytest.mark.parametrize("spoil", [moved_away, rewritten, renamed, broken], ids=lambda one: one.__name__)
def test_a_function_that_is_not_what_it_was_stops_writes_and_no_read(
    elsewhere: Callable[..., Any], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    declared(elsewhere, tmp_path, "Texts.short")
    spoil(tmp_path)

    said = elsewhere(TRY)

    assert "shape.made is computed by 'shapes_of:Texts.short', which cannot be used here" in said["error"][0]
    assert (said["read"], said["found"], said["rows"], said["deleted"]) == (["ab"], 1, 1, True)
    assert said["set"]


def test_the_same_source_in_another_place_of_its_module_is_the_same_function(
    elsewhere: Callable[..., Any], tmp_path: Path
) -> None:
    declared(elsewhere, tmp_path, "Texts.short")
    module = tmp_path / "shapes_of.py"
    module.write_text(f"'''Moved down.'''\n\n\n# and around\n{module.read_text()}")

    assert elsewhere(TRY)["made"] == "xy"


def test_reading_imports_no_module_of_a_function(elsewhere: Callable[..., Any], tmp_path: Path) -> None:
    declared(elsewhere, tmp_path, "Texts.short")
    read = TRY[: TRY.index("    try:")] + "    said['imported'] = 'shapes_of' in sys.modules\nprint(json.dumps(said))"

    said = elsewhere(read)

    assert said == {"read": ["ab"], "found": 1, "imported": False}


def test_a_decorated_function_is_told_by_the_source_of_what_it_wraps(
    elsewhere: Callable[..., Any], tmp_path: Path
) -> None:
    assert declared(elsewhere, tmp_path, "wrapped") == "<abc>"

    said = elsewhere(TRY)
    module = tmp_path / "shapes_of.py"
    module.write_text(module.read_text().replace('"<" + title', '"(" + title'))
    changed = elsewhere(TRY.replace('["read"][0]', '["read"][-1]'))

    assert said["made"] == "<xyz>"
    assert "its source has changed" in changed["error"][0]
