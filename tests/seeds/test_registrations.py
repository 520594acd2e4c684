"""What a registration in code is: the same again is the same, another is a conflict, each can be taken back.

Not here: what each kind of registration does (`test_extensions_seed.py`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.discovery import STORAGE
from heaven_core.errors import (
    InvalidName,
    PlacementError,
    PluginError,
    RegistrationConflict,
    SchemaError,
    UnsupportedOp,
)
from heaven_core.testing import isolated_registries
from heaven_inmem.engine import MemoryBackend
from heaven_inmem.handlers import handlers as memory_handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.integration

KEY = (hb.ShortText, "ends_with", "inmem", "suffix-index")

CELL = """
import heavenbase as hb

class Loud(hb.ShortText):
    identifier = "loud"

    def check(self, value):
        return super().check(value).upper()

class Phonetic(hb.Strategy):
    identifier = "phonetic"

def never(field, value, ctx, limit=3):
    return hb.ext.QueryFragment(ctx.backend, "ends_with", field.name, lambda row: row is limit)

handles = [
    hb.ext.register_logical_type(Loud),
    hb.ext.register_strategy(Phonetic),
    hb.ext.register_op("is_loud", trait="text", test=lambda dtype, argument: lambda value: value.isupper() is argument),
    hb.ext.register_handler("cell", hb.ShortText, "ends_with", "inmem", "suffix-index", never),
    hb.ext.register_storage_profile("inline", lambda field, backends: None),
    hb.ext.register_backend_builder("toy", lambda config: None),
]
"""


class Note(hb.Entity):
    text = hb.field(hb.ShortText).store(strategy=hb.SuffixIndex)


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolated_registries():
        yield


@pytest.fixture
def ws() -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("registrations", preset="debug") as opened:
        opened.register(Note)
        yield opened


def run_cell() -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "cell"}
    exec(CELL, namespace)
    return namespace


def answering(answer: bool) -> Callable[..., hb.ext.QueryFragment]:
    def compiled(field: Any, value: Any, ctx: Any) -> hb.ext.QueryFragment:
        return hb.ext.QueryFragment(ctx.backend, "ends_with", field.name, lambda row: answer)

    return compiled


def serving() -> Any:
    return hb.ext.HandlerRegistry.find(*KEY).compile


def test_the_same_object_again_changes_nothing() -> None:
    compiled = answering(True)
    first = hb.ext.register_handler("demo", *KEY, compiled)

    second = hb.ext.register_handler("demo", *KEY, compiled)
    after = serving()
    first.unregister()
    second.unregister()

    assert after is compiled
    assert serving() is not compiled


def test_running_a_cell_again_is_the_same_registration_with_the_new_objects() -> None:
    run_cell()

    again = run_cell()
    during = (serving(), hb.capabilities.strategies(), hb.capabilities.logical_types())
    for handle in again["handles"]:
        handle.unregister()

    assert during[0] is again["never"]
    assert "phonetic" in during[1]
    assert "loud" in during[2]
    assert serving() is not again["never"]
    assert "phonetic" not in hb.capabilities.strategies()
    assert "loud" not in hb.capabilities.logical_types()
    assert "is_loud" not in hb.capabilities.ops()
    assert "toy" not in hb.capabilities.backends()


def test_one_function_closing_over_other_values_is_another_handler() -> None:
    hb.ext.register_handler("demo", *KEY, answering(True))

    with pytest.raises(RegistrationConflict, match="registered already; pass replace=True"):
        hb.ext.register_handler("demo", *KEY, answering(False))


def test_another_owner_is_another_handler() -> None:
    compiled = answering(True)
    hb.ext.register_handler("demo", *KEY, compiled)

    with pytest.raises(RegistrationConflict):
        hb.ext.register_handler("rival", *KEY, compiled)


def test_an_extension_with_other_entities_under_the_same_identifier_is_a_conflict() -> None:
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("notes", entities=(Note,))))

    with pytest.raises(RegistrationConflict, match="extension 'notes' is registered already"):
        hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("notes")))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_replacements_are_taken_back_in_any_order(order: tuple[int, int]) -> None:
    builtin, first, second = serving(), answering(True), answering(False)
    handles = [
        hb.ext.register_handler("demo", *KEY, first),
        hb.ext.register_handler("demo", *KEY, second, replace=True),
    ]

    handles[order[0]].unregister()
    between = serving()
    handles[order[1]].unregister()

    assert between is (second if order[0] == 0 else first)
    assert serving() is builtin


def test_types_are_taken_back_in_any_order() -> None:
    class First(hb.ShortText):
        identifier = "code"

    class Second(hb.LongText):
        identifier = "code"

    first = hb.ext.register_logical_type(First)
    second = hb.ext.register_logical_type(Second, replace=True)

    first.unregister()
    during = next(one for one in hb.capabilities.logical_types() if one == "code").to_dict()["class"]
    second.unregister()

    assert during == "Second"
    assert "code" not in hb.capabilities.logical_types()


def test_a_registration_is_a_context_manager(ws: hb.HeavenBase) -> None:
    ws.upsert(Note, {"text": "a"})
    query = ws.query(Note).where(Note.text.ends_with("zzz"))

    with hb.ext.register_handler("demo", *KEY, answering(True)):
        inside = len(query.execute())

    assert (inside, len(query.execute())) == (1, 0)


def test_every_override_of_something_installed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Inline(hb.Strategy):
        identifier = "inline"
        stores = True

    with caplog.at_level(logging.INFO, "heavenbase.plugins"):
        hb.ext.register_handler("demo", *KEY, answering(True))
        hb.ext.register_op("ends_with", trait="text", test=lambda dtype, argument: lambda value: True)
        hb.ext.register_strategy(Inline)
        hb.ext.register_backend_builder("inmem", MemoryBackend, primary=True)

    said = [record.getMessage().split(" registered")[0] for record in caplog.records]
    assert said == [
        "handler short-text, ends_with, inmem, suffix-index",
        "operation ends_with",
        "strategy inline",
        "backend inmem",
    ]


@pytest.mark.parametrize("asked_before", [True, False])
def test_a_builder_under_an_installed_name_keeps_the_installed_handlers(asked_before: bool) -> None:
    from heaven_core.registry import registries

    registries().forget_handlers()
    if asked_before:
        hb.capabilities.ops(hb.ShortText, backend="inmem")
    built: list[str] = []

    def build(config: hb.ext.BackendConfig) -> MemoryBackend:
        built.append(config.name)
        return MemoryBackend(config)

    hb.ext.register_backend_builder("inmem", build, primary=True)

    with hb.HeavenBase("rebuilt", preset="debug") as ws:
        ws.register(Note)
        native = ws.query(Note).where(Note.text.ends_with("a")).explain().native

    assert (built, native) == (["main"], True)


def test_a_table_with_one_wrong_handler_registers_nothing() -> None:
    handlers: list[Any] = [*list(memory_handlers())[:2], "no handler"]

    with pytest.raises(PluginError, match="toy: handlers are given as Handler"):
        hb.ext.register_backend_builder("toy", MemoryBackend, handlers=handlers)

    assert "toy" not in hb.capabilities.backends()


def test_an_operation_whose_alias_is_taken_registers_nothing() -> None:
    hb.ext.register_op("loudness", trait="text", aliases=("volume",))

    with pytest.raises(RegistrationConflict, match="volume"):
        hb.ext.register_op("size_of", trait="text", aliases=("volume",))

    assert "size_of" not in hb.capabilities.ops()


@pytest.mark.parametrize("name", ["desc", "field", "sum", "is null", "1st", "_hidden"])
def test_an_operation_that_no_method_could_reach_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        hb.ext.register_op(name, trait="text")


def test_only_filters_can_be_registered() -> None:
    with pytest.raises(PluginError, match="only filters"):
        hb.ext.register_op("mode", kind="aggregate")


def test_an_operation_without_meaning_and_handler_says_so(ws: hb.HeavenBase) -> None:
    hb.ext.register_op("sounds_like", trait="text")

    with pytest.raises(UnsupportedOp, match=r"sounds_like .* no handler serves it here"):
        ws.query_json(Note, {"filter": {"text": {"$sounds_like": "x"}}}).execute()


class Unnamed(hb.ShortText):
    pass


class Aside(hb.SideTable):
    pass


@pytest.mark.parametrize(
    ("register", "given"),
    [
        (hb.ext.register_logical_type, Unnamed),
        (hb.ext.register_logical_type, hb.ShortText()),
        (hb.ext.register_strategy, Aside),
        (hb.ext.register_strategy, "side"),
    ],
)
def test_a_class_without_an_identifier_of_its_own_is_refused(register: Any, given: Any) -> None:
    with pytest.raises(SchemaError, match="with an identifier of its own"):
        register(given)


def test_a_built_in_type_is_replaced_only_on_purpose() -> None:
    class Count(hb.Integer):
        identifier = "integer"

    with pytest.raises(RegistrationConflict, match="'integer' is built in"):
        hb.ext.register_logical_type(Count)


@pytest.mark.parametrize(
    ("register", "given"),
    [
        (hb.ext.register_extension, "audit"),
        (hb.ext.register_backend_class, object),
        (lambda profile: hb.ext.register_storage_profile("aside", profile), "side"),
    ],
)
def test_what_is_no_plugin_is_refused(register: Any, given: Any) -> None:
    with pytest.raises(PluginError):
        register(given)


@pytest.mark.parametrize("answer", ["side", 5, ZeroDivisionError()])
def test_a_profile_that_fails_or_gives_no_choice_is_named(ws: hb.HeavenBase, answer: Any) -> None:
    class Tagged(hb.Entity):
        tags = hb.field(hb.Array(hb.ShortText))

    def profile(field: Any, backends: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    hb.ext.register_storage_profile("aside", profile)

    with pytest.raises(PlacementError, match=r"tagged\.\w+: storage profile 'aside'"):
        ws.register(Tagged)


def test_a_profile_is_not_asked_about_ids_and_derived_entities(ws: hb.HeavenBase) -> None:
    asked: list[str] = []

    def profile(field: Any, backends: Any) -> None:
        asked.append(f"{field.entity}.{field.name}")

    class Tagged(hb.Entity):
        tags = hb.field(hb.Array(hb.ShortText))

    hb.ext.register_storage_profile("watching", profile)
    with hb.HeavenBase("profiled", preset="debug") as new:
        new.register(Tagged)

    assert asked == ["tagged.name", "tagged.tags"]


BROKEN_ENGINE = """
from heaven_core.plugin import StoragePlugin

def handlers():
    raise KeyError("no table")

PLUGIN = StoragePlugin("broken", backend="heaven_inmem.engine:MemoryBackend", handlers=__name__ + ":handlers", api=1,
                       primary=True)
"""


def test_an_engine_with_a_broken_table_hides_no_other(
    site: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    site(STORAGE, "broken", BROKEN_ENGINE)

    found = hb.capabilities.backends(hb.ShortText, hb.InlineColumn, op="eq")

    assert {"inmem", "sqlite"} <= set(found)
    assert "broken" not in found
    assert "the handlers of storage plugin 'broken' cannot be used: KeyError" in caplog.text


def test_an_engine_with_a_broken_table_is_an_error_for_those_who_name_it(site: Callable[..., None]) -> None:
    site(STORAGE, "broken", BROKEN_ENGINE)

    with (
        hb.HeavenBase("broken", backends={"main": {"type": "broken"}}) as ws,
        pytest.raises(PluginError, match="'broken' cannot be used"),
    ):
        ws.register(Note)
