"""Named implementations in layers, `heaven_core.registry`. What users register is tested with the seeds."""

from __future__ import annotations

from typing import Any

import pytest

from heaven_core.errors import RegistrationConflict, SchemaError, UnknownOp, UnknownPlugin
from heaven_core.handlers import Handler, Key
from heaven_core.ops import Op
from heaven_core.plugin import Extension, ExtensionSpec, StoragePlugin
from heaven_core.registry import Layer, Registries, handler, handler_list, register_type, registries, same_source
from heaven_core.strategies import InvertedIndex, Strategy, SuffixIndex
from heaven_core.types import Integer, LogicalType, ShortText

pytestmark = pytest.mark.unit


def compiled(field: Any, value: Any, ctx: Any) -> Any:
    return None


def other(field: Any, value: Any, ctx: Any) -> Any:
    return 1


KEY = Key("short-text", "eq", "inmem", "inline")
ONE, TWO = Handler(KEY, compiled, "one"), Handler(KEY, other, "two")


# -- a layer ---------------------------------------------------------------------------------------------------------


def test_what_is_registered_answers_until_it_is_taken_back() -> None:
    layer = Layer("test")

    registration = layer.put("handler", KEY, ONE)
    assert layer.items["handler"] == {KEY: ONE}

    registration.unregister()
    registration.unregister()
    assert layer.items["handler"] == {}


def test_another_thing_under_a_key_needs_replace_and_gives_way_again() -> None:
    layer = Layer("test")
    layer.put("handler", KEY, ONE)

    with pytest.raises(
        RegistrationConflict, match=r"handler \(short-text, eq, inmem, inline\) is registered already"
    ) as raised:
        layer.put("handler", KEY, TWO)
    with layer.put("handler", KEY, TWO, replace=True):
        assert layer.items["handler"][KEY] is TWO

    assert layer.items["handler"][KEY] is ONE
    assert (vars(raised.value)["kind"], vars(raised.value)["key"]) == ("handler", KEY)


def test_each_change_has_a_new_generation() -> None:
    layer = Layer("test")
    seen = [layer.generation]

    registration = layer.put("strategy", "x", SuffixIndex)
    seen.append(layer.generation)
    registration.unregister()
    seen.append(layer.generation)
    registration.unregister()

    assert len(set(seen)) == 3
    assert layer.generation == seen[-1]


def test_kinds_do_not_share_their_keys() -> None:
    layer = Layer("test")

    layer.put("strategy", "x", SuffixIndex)
    layer.put("profile", "x", compiled)

    assert (layer.items["strategy"]["x"], layer.items["profile"]["x"]) == (SuffixIndex, compiled)


def test_a_registration_shows_what_it_is() -> None:
    assert repr(Layer("test").put("strategy", "x", SuffixIndex)) == "<registered strategy 'x'>"


# -- the same source -------------------------------------------------------------------------------------------------


def _ran_again(source: str, name: str) -> tuple[Any, Any]:
    made: list[Any] = []
    for _ in range(2):
        scope: dict[str, Any] = {"__name__": "notebook", "Strategy": Strategy, "ShortText": ShortText}
        exec(source, scope)
        made.append(scope[name])
    return made[0], made[1]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def f(a, b=1):\n    return a + b", "f"),
        ("f = lambda a: [x for x in a if x > 3]", "f"),
        ("class S(Strategy):\n    identifier = 's'\n    def m(self):\n        return 1", "S"),
        (
            "class T(ShortText):\n  identifier = 't'\n  def check(self, value):\n    return super().check(value)",
            "T",
        ),
    ],
)
def test_source_that_ran_twice_makes_the_same(source: str, name: str) -> None:
    first, again = _ran_again(source, name)

    assert first is not again
    assert same_source(first, again)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("def f(a):\n    return a + 1", "def f(a):\n    return a + 2"),
        ("def f(a):\n    return a.x", "def f(a):\n    return a.y"),
        ("def f(a, b=1):\n    return a", "def f(a, b=2):\n    return a"),
        (
            "def f(a):\n    def g():\n        return 1\n    return g",
            "def f(a):\n    def g():\n        return 2\n    return g",
        ),
        ("class f:\n    x = 1", "class f:\n    x = 2"),
        ("class f:\n    x = 1", "class f:\n    x = 1\n    y = 1"),
        ("def f():\n    pass", "class f:\n    pass"),
        ("f = 5", "f = 6"),
    ],
)
def test_another_source_makes_another(left: str, right: str) -> None:
    assert not same_source(_ran_again(left, "f")[0], _ran_again(right, "f")[0])


def test_records_are_the_same_if_all_they_hold_is() -> None:
    first, again = _ran_again("def f(field, value, ctx):\n    return 1", "f")

    assert same_source(Handler(KEY, first, "me"), Handler(KEY, again, "me"))
    assert not same_source(Handler(KEY, first, "me"), Handler(KEY, again, "you"))
    assert same_source(Op("x", test=first), Op("x", test=again))
    assert not same_source(Op("x", test=first), Op("x", test=again, aliases=("y",)))
    assert same_source(Extension(ExtensionSpec("a")), Extension(ExtensionSpec("a")))
    assert not same_source(Extension(ExtensionSpec("a")), Extension(ExtensionSpec("a", version="2")))
    assert same_source(StoragePlugin("a", backend=first, api=1), StoragePlugin("a", backend=again, api=1))
    assert not same_source(
        StoragePlugin("a", backend=first, api=1), StoragePlugin("a", backend=again, api=1, primary=True)
    )


def test_what_cannot_be_compared_is_another() -> None:
    class Grumpy:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("never compare me")

        __hash__ = None  # type: ignore[assignment]

    def closing_over(value: Any) -> Any:
        def function() -> Any:
            return value

        return function

    def closing_over_what_comes_later() -> Any:
        def function() -> Any:
            return later  # pyright: ignore[reportUnboundVariable]

        if not function:
            later = 1
        return function

    assert same_source(closing_over(1), closing_over(1))
    assert not same_source(closing_over(1), closing_over(2))
    assert not same_source(closing_over(Grumpy()), closing_over(Grumpy()))
    assert not same_source(closing_over_what_comes_later(), closing_over_what_comes_later())


# -- look-ups through the layers ------------------------------------------------------------------------------------


def test_a_workspace_answers_before_the_process_and_the_process_before_what_is_installed() -> None:
    process = Registries()
    mine, yours = process.for_workspace(), process.for_workspace()
    builtin = process.handler(ShortText, "eq", "inmem", "inline")

    with process.process.put("handler", KEY, ONE):
        with mine.workspace.put("handler", KEY, TWO):
            found = [one.handler(ShortText, "eq", "inmem", "inline") for one in (mine, yours, process)]
            listed = [one for one in mine.handlers(["inmem"]) if one.key == KEY]
        assert mine.handler(ShortText, "eq", "inmem", "inline") is ONE

    assert found == [TWO, ONE, ONE]
    assert listed == [TWO]
    assert builtin is not None
    assert builtin.owner == "inmem"
    assert mine.handler(ShortText, "eq", "inmem", "inline") is builtin


def test_a_type_is_served_by_the_nearest_type_that_it_extends() -> None:
    class Slug(ShortText):
        identifier = "test-slug"

    known = Registries()
    inherited = known.handler(Slug, "eq", "sqlite", "inline")

    with known.process.put("handler", Key("test-slug", "eq", "sqlite", "inline"), ONE):
        assert known.handler(Slug, "eq", "sqlite", "inline") is ONE
        assert known.handler(ShortText, "eq", "sqlite", "inline") is inherited

    assert inherited is known.handler(ShortText, "eq", "sqlite", "inline")
    assert known.handler(Slug, "sum", "sqlite", "inline") is None


def test_a_plan_s_key_changes_with_either_layer() -> None:
    process = Registries()
    mine = process.for_workspace()
    seen = [mine.generation]

    process.process.put("handler", KEY, ONE)
    seen.append(mine.generation)
    mine.workspace.put("handler", KEY, TWO)
    seen.append(mine.generation)

    assert len(set(seen)) == 3


def test_everything_of_a_kind_is_merged_with_the_nearest_layer_winning() -> None:
    process = Registries()
    mine = process.for_workspace()
    process.process.put("profile", "a", "process")
    process.process.put("profile", "b", "process")
    mine.workspace.put("profile", "b", "workspace")

    assert mine.all("profile") == {"a": "process", "b": "workspace"}
    assert mine.get("profile", "b") == "workspace"
    assert mine.get("profile", "c") is None


def test_operations_are_found_by_name_and_alias() -> None:
    known = Registries()

    assert known.op("gte") is known.op(">=")
    assert len({one.name for one in known.ops()}) == len(known.ops())
    with pytest.raises(UnknownOp, match="there is no operation 'contians'; did you mean 'contains'"):
        known.op("contians")


def test_strategies_are_found_by_identifier_and_alias() -> None:
    known = Registries()

    assert known.strategy("inverted") is known.strategy("fulltext") is InvertedIndex
    with pytest.raises(SchemaError, match="there is no strategy 'invrted'; did you mean 'inverted'"):
        known.strategy("invrted")


def test_a_backend_in_code_is_found_before_an_installed_one() -> None:
    known = Registries()
    mine = StoragePlugin("mine", backend=compiled, api=1, aliases=("sqlite",))

    with known.process.put("backend", "mine", mine):
        assert known.backend("sqlite") is known.backend("mine") is mine
        assert {"inmem", "mine", "sqlite"} <= set(known.backend_types())

    assert known.backend("sqlite3").name == "sqlite"
    with pytest.raises(UnknownPlugin):
        known.backend("mine")


def test_the_handlers_of_an_unknown_backend_are_none() -> None:
    assert registries().builtin_handlers("no-such-engine") == {}


def test_what_plugins_ship_is_read_once_and_anew_when_it_is_forgotten() -> None:
    known = Registries()
    first = known.builtin_handlers("inmem")

    assert known.for_workspace().builtin_handlers("inmem") is first
    known.for_workspace().forget_handlers()
    assert known.builtin_handlers("inmem") is not first
    assert known.builtin_handlers("inmem").keys() == first.keys()


def test_a_table_of_handlers_may_be_given_as_list_function_or_nothing() -> None:
    assert handler_list([ONE]) == handler_list(lambda: iter([ONE])) == [ONE]
    assert handler_list(None) == []


# -- making handlers -------------------------------------------------------------------------------------------------


def test_a_handler_is_made_from_classes_or_identifiers() -> None:
    expected = Handler(Key("short-text", "ends_with", "sqlite", "suffix-index"), compiled, "me")

    assert handler("me", ShortText, "ends_with", "sqlite3", SuffixIndex, compiled) == expected
    assert handler("me", "short-text", "ends_with", "sqlite", "suffix-index", compiled) == expected
    assert handler("me", ShortText(9), "ends_with", "sqlite", SuffixIndex(), compiled) == expected
    assert handler("me", ShortText, "eq", "engine-to-come", "inline", compiled).key.backend == "engine-to-come"


@pytest.mark.parametrize(
    ("dtype", "op", "strategy", "function", "kind", "message"),
    [
        ("shrt-text", "eq", "inline", compiled, SchemaError, "'shrt-text' is no logical type"),
        (ShortText, "eqq", "inline", compiled, UnknownOp, "there is no operation 'eqq'"),
        (ShortText, "eq", "inlne", compiled, SchemaError, "there is no strategy 'inlne'; did you mean 'inline'"),
        (ShortText, "eq", 5, compiled, SchemaError, "5 is no strategy"),
        (ShortText, "eq", "inline", "compiled", TypeError, "the handler for 'eq' of 'me' must be callable"),
    ],
)
def test_a_handler_of_unknown_parts_is_refused(
    dtype: Any, op: str, strategy: Any, function: Any, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        handler("me", dtype, op, "inmem", strategy, function)


def test_a_type_needs_an_identifier_that_is_not_taken(registered: None) -> None:
    class Nameless(ShortText):
        pass

    class Taken(ShortText):
        identifier = "integer"

    class Unchecked(LogicalType[str]):
        identifier, kind = "unchecked", "text"

    with pytest.raises(SchemaError, match="a subclass of LogicalType with an identifier of its own"):
        register_type(Nameless)
    with pytest.raises(SchemaError, match="'unchecked' has no check of its own; extend the nearest built-in type"):
        register_type(Unchecked)
    with pytest.raises(RegistrationConflict, match="logical type 'integer' is built in"):
        register_type(Taken)
    with register_type(Taken, replace=True):
        assert registries().types()["integer"] is Taken
    assert registries().types()["integer"] is Integer
