"""Which extensions become active and in which order, `heaven_core.activation`; reopening is tested with the seeds."""

from __future__ import annotations

from typing import Any

import pytest

import heavenbase as hb
from heaven_core.activation import find, in_order, ordered, origin_of
from heaven_core.errors import PluginError, PluginLoadError, UnknownPlugin
from heaven_core.ext import Extension, ExtensionSpec, register_extension

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("registered")]


def extension(identifier: str, **said: Any) -> Extension:
    spec = {key: said.pop(key) for key in ("entities", "required", "version") if key in said}
    made = Extension(ExtensionSpec(identifier, **spec), **said)
    register_extension(made)
    return made


def names(extensions: list[Extension]) -> list[str]:
    return [one.identifier for one in extensions]


# -- order -----------------------------------------------------------------------------------------------------------


def test_the_order_is_alphabetical_where_nobody_asks_for_another() -> None:
    for identifier in ("c", "a", "b"):
        extension(identifier)

    assert names(ordered(["c", "b", "a", "c"])) == ["a", "b", "c"]


def test_what_is_required_comes_along_and_before() -> None:
    extension("a", requires=("m",))
    extension("m", requires=("z",))
    extension("z")

    assert names(ordered(["a"])) == ["z", "m", "a"]


def test_after_orders_those_that_are_there_and_brings_nobody() -> None:
    extension("a", after=("b", "not-there"))
    extension("b")

    assert names(ordered(["a", "b"])) == ["b", "a"]
    assert names(ordered(["a"])) == ["a"]


def test_required_extensions_come_first() -> None:
    extension("a")
    extension("z", required=True)

    assert names(ordered(["a", "z", "system"])) == ["system", "z", "a"]


@pytest.mark.parametrize("word", ["requires", "after"])
def test_a_circle_is_refused_and_named(word: str) -> None:
    extension("a", **{word: ("b",)})
    extension("b", **{word: ("c",)})
    extension("c", **{word: ("a",)})
    free = extension("free")

    with pytest.raises(PluginError, match="extensions require each other in a circle: a, b, c"):
        ordered(["a", "b", "c", "free"])

    done, left = in_order({one: find(one) for one in ("a", "b", "c", "free")})
    assert done == [free]
    assert names(left) == ["a", "b", "c"]


def test_a_requirement_that_is_missing_is_named() -> None:
    extension("a", requires=("systen",))

    with pytest.raises(UnknownPlugin, match="there is no extension 'systen'; did you mean 'system'"):
        ordered(["a"])


# -- finding ---------------------------------------------------------------------------------------------------------


def test_an_installed_extension_is_found_and_says_its_distribution() -> None:
    assert find("system").spec.required
    assert origin_of(find("system")) == "heaven-core"


def test_code_comes_before_what_is_installed() -> None:
    mine = extension("mine")

    assert find("mine") is mine
    assert origin_of(mine) == "code"


def test_what_is_not_there_is_answered_with_the_nearest() -> None:
    extension("audit")

    with pytest.raises(UnknownPlugin, match="there is no extension 'audti'; did you mean 'audit'"):
        find("audti")


# -- enabling --------------------------------------------------------------------------------------------------------


class Log(hb.Entity):
    identifier = "test-log"
    text = hb.field(hb.ShortText)


class Clash(hb.Entity):
    identifier = "test-log"
    text = hb.field(hb.Integer)


def test_a_required_extension_is_active_before_the_one_that_asks(ws: hb.HeavenBase) -> None:
    extension("base", entities=(Log,))
    extension("above", requires=("base",))

    spec = ws.enable_extension("above")

    assert spec.identifier == "above"
    assert [one.identifier for one in ws.extensions()] == ["system", "base", "above"]
    ws.upsert(Log, {"text": "x"})


def test_an_extension_whose_entities_do_not_fit_is_not_active_and_leaves_nothing(ws: hb.HeavenBase) -> None:
    ws.register(Log)
    extension("clashing", entities=(Clash,))

    with pytest.raises(PluginLoadError, match=r"extension 'clashing' failed at stage activate: .*text was ShortText"):
        ws.enable_extension("clashing")

    assert [one.identifier for one in ws.extensions()] == ["system"]
    ws.upsert(Log, {"text": "still here"})
    assert ws.health().ok


def test_a_plugin_that_cannot_be_imported_names_its_stage(ws: hb.HeavenBase) -> None:
    extension("gone", plugin="no_such_module_anywhere:Hooks")

    with pytest.raises(PluginLoadError) as raised:
        ws.enable_extension("gone")

    assert vars(raised.value)["stage"] == "import"


def test_the_owner_of_an_entity_is_the_extension_that_brought_it(ws: hb.HeavenBase) -> None:
    extension("logging", entities=(Log,))

    ws.enable_extension("logging")

    owners = {one.schema.id: one.owner for one in ws.core().entity_records()}
    assert owners == {"sys-catalog": "system", "sys-metaschema": "system", "test-log": "logging"}
