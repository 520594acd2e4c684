"""Extensions at the next opening: missing, changed, broken, repaired. Opening never fails because of one.

Not here: enabling in a workspace that is open (`test_extensions_seed.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.discovery import EXTENSION
from heaven_core.errors import PluginError, PluginLoadError, SchemaError, TransactionError, UnknownPlugin
from heaven_core.testing import isolated_registries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Event(hb.Entity):
    what = hb.field(hb.ShortText)


class Extra(hb.Entity):
    text = hb.field(hb.ShortText)


EVENTS = hb.ext.Extension(hb.ext.ExtensionSpec("events", version="1", entities=(Event,)))


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolated_registries():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[[], hb.HeavenBase]]:
    handles: list[hb.HeavenBase] = []

    def open_again() -> hb.HeavenBase:
        handles.append(hb.HeavenBase("states", path=folder))
        return handles[-1]

    yield open_again
    for handle in handles:
        handle.close()


@pytest.fixture
def enabled(folder: Path) -> hb.ext.Registration:
    """A closed workspace in which `events` was enabled and has a row; the extension is still registered."""
    registration = hb.ext.register_extension(EVENTS)
    with hb.HeavenBase("states", path=folder) as ws:
        ws.enable_extension("events")
        ws.upsert(Event, {"object_id": "e1", "what": "begin"})
    return registration


def active(ws: hb.HeavenBase) -> list[str]:
    return [spec.identifier for spec in ws.extensions()]


def test_an_extension_is_active_again_at_the_next_opening(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    ws = opened()

    assert active(ws) == ["system", "events"]
    assert ws.entity("event") is Event
    assert ws.health().ok


def test_a_missing_extension_is_listed_as_failed_and_its_rows_are_readable(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    enabled.unregister()

    ws = opened()
    generated = ws.entity("event")

    assert active(ws) == ["system"]
    assert ws.health().extensions == {"system": "active", "events": "failed"}
    assert not ws.health().ok
    assert generated is not Event
    assert ws.get("e1") == {"object_id": "e1", "name": None, "what": "begin"}
    assert ws.query(generated).where(generated.what == "begin").execute().ids == ["e1"]  # pyright: ignore[reportAttributeAccessIssue]
    assert ws.check().ok


@pytest.mark.parametrize(
    "write",
    [
        lambda ws: ws.upsert("event", {"what": "x"}),
        lambda ws: ws.upsert(Event, {"what": "x"}),
        lambda ws: ws.upsert(ws.entity("event"), {"what": "x"}),
        lambda ws: ws.set("e1", {"what": "x"}),
        lambda ws: ws.delete("e1"),
        lambda ws: ws.delete_many(["e1"], "event"),
    ],
)
def test_a_write_to_an_entity_of_a_missing_extension_raises_and_changes_nothing(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase], write: Callable[[hb.HeavenBase], Any]
) -> None:
    enabled.unregister()
    ws = opened()

    with pytest.raises(SchemaError, match="'event' cannot be written: its extension 'events' is not active"):
        write(ws)

    assert ws.get("e1") == {"object_id": "e1", "name": None, "what": "begin"}
    assert ws.count("event") == 1


def test_other_entities_are_written_as_ever(enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]) -> None:
    enabled.unregister()
    ws = opened()
    ws.register(Extra)

    ws.upsert(Extra, {"text": "fine"})

    assert ws.count(Extra) == 1


def test_enabling_a_missing_extension_names_it(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    enabled.unregister()
    ws = opened()

    with pytest.raises(UnknownPlugin, match="no extension 'events'"):
        ws.enable_extension("events")

    assert ws.health().extensions["events"] == "failed"
    with pytest.raises(SchemaError, match="not active"):
        ws.upsert("event", {"what": "x"})


@pytest.mark.parametrize("named", [lambda generated: generated, lambda generated: "event", lambda generated: Event])
def test_enabling_repairs_it_whichever_way_the_entity_was_used_before(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase], named: Callable[[Any], Any]
) -> None:
    enabled.unregister()
    ws = opened()
    entity = named(ws.entity("event"))
    with pytest.raises(SchemaError, match="not active"):
        ws.upsert(entity, {"what": "too early"})

    hb.ext.register_extension(EVENTS)
    spec = ws.enable_extension("events")

    assert spec is EVENTS.spec
    assert ws.upsert(entity, {"what": "now"})
    assert ws.health().ok
    assert active(ws) == ["system", "events"]


def test_the_repair_lasts(enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]) -> None:
    enabled.unregister()
    with opened() as ws:
        hb.ext.register_extension(EVENTS)
        ws.enable_extension("events")

    assert active(opened()) == ["system", "events"]


INSTALLED_EVENTS = """
from heaven_core.plugin import Extension, ExtensionSpec
from heaven_core.entity import Entity, field
from heaven_core.types import ShortText

class Event(Entity):
    what = field(ShortText)

PLUGIN = Extension(ExtensionSpec("events", version="7", entities=(Event,)))
"""


def test_one_that_comes_from_elsewhere_is_failed_until_it_is_enabled(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase], site: Callable[..., None]
) -> None:
    enabled.unregister()
    site(EXTENSION, "events", INSTALLED_EVENTS)
    ws = opened()
    (failure,) = ws.health().failures

    spec = ws.enable_extension("events")
    ws.close()

    assert "enabled from 'code' and is now found in 'seed-events'" in failure["error"]
    assert spec.version == "7"
    again = opened()
    assert active(again) == ["system", "events"]
    assert again.upsert("event", {"what": "x"})


def test_a_newer_version_that_only_adds_is_taken_over(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    class Wider(hb.Entity):
        identifier = "event"

        what = hb.field(hb.ShortText)
        where = hb.field(hb.ShortText)

    hb.ext.register_extension(
        hb.ext.Extension(hb.ext.ExtensionSpec("events", version="2", entities=(Wider, Extra))), replace=True
    )

    ws = opened()

    assert ws.extensions()[1].version == "2"
    assert ws.get("e1", Wider) == {"object_id": "e1", "name": None, "what": "begin", "where": None}
    assert ws.upsert(Extra, {"text": "new"})


def test_a_newer_version_that_contradicts_the_stored_rows_is_failed_and_they_stay_readable(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    class Other(hb.Entity):
        identifier = "event"

        what = hb.field(hb.Integer)

    hb.ext.register_extension(
        hb.ext.Extension(hb.ext.ExtensionSpec("events", version="2", entities=(Extra, Other))), replace=True
    )

    ws = opened()

    assert ws.health().extensions["events"] == "failed"
    assert ws.get("e1") == {"object_id": "e1", "name": None, "what": "begin"}
    with pytest.raises(hb.errors.UnknownEntity):
        ws.entity("extra")
    with pytest.raises(PluginLoadError, match="'events' failed at stage activate"):
        ws.enable_extension("events")


class Refusing:
    @hb.ext.hookimpl
    def heaven_contribute(self, registrar: Any) -> None:
        registrar.handler(hb.ShortText, "ends_with", "sqlite", "inline", lambda field, value, ctx: None)
        raise KeyError("no such thing")


def test_one_that_breaks_leaves_nothing_behind_and_can_be_repaired(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    broken = hb.ext.Extension(EVENTS.spec, plugin=Refusing)
    breaking = hb.ext.register_extension(broken, replace=True)

    ws = opened()
    ws.register(Extra)
    ws.upsert(Extra, {"text": "begin"})

    assert ws.health().extensions["events"] == "failed"
    assert ws.count(Extra, Extra.text.ends_with("gin")) == 1
    with pytest.raises(PluginLoadError, match="KeyError: 'no such thing'"):
        ws.enable_extension("events")
    breaking.unregister()
    ws.enable_extension("events")
    assert ws.upsert("event", {"what": "x"})


def test_an_entity_belongs_to_whoever_brought_it_first(opened: Callable[[], hb.HeavenBase]) -> None:
    class Wider(hb.Entity):
        identifier = "event"

        what = hb.field(hb.ShortText)
        where = hb.field(hb.ShortText)

    hb.ext.register_extension(EVENTS)
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("wider", entities=(Wider, Extra))))
    ws = opened()
    ws.register(Extra)

    ws.enable_extension("events")
    ws.enable_extension("wider")

    owners = {record.schema.id: record.owner for record in ws.core().entity_records()}
    assert (owners["event"], owners["extra"]) == ("events", "")


def test_extensions_become_active_in_the_order_that_they_ask_for(opened: Callable[[], hb.HeavenBase]) -> None:
    for identifier, more in {"a": {"after": ("c",)}, "b": {"requires": ("d",)}, "c": {}, "d": {}}.items():
        hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec(identifier), **more))

    with opened() as ws:
        for identifier in ("a", "b", "c"):
            ws.enable_extension(identifier)
        first = active(ws)

    assert first == ["system", "a", "d", "b", "c"]
    assert active(opened()) == ["system", "c", "a", "d", "b"]


def test_extensions_that_require_each_other_in_a_circle_are_failed_and_the_others_active(
    opened: Callable[[], hb.HeavenBase],
) -> None:
    handles = [hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec(one))) for one in ("a", "b", "c")]
    with opened() as ws:
        for identifier in ("a", "b", "c"):
            ws.enable_extension(identifier)
    for handle in handles[:2]:
        handle.unregister()
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("a"), requires=("b",)))
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("b"), requires=("a",)))

    ws = opened()

    assert ws.health().extensions == {"system": "active", "c": "active", "a": "failed", "b": "failed"}


def test_enabling_an_active_one_changes_nothing_and_returns_its_spec(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    ws = opened()

    again = ws.enable_extension("events")

    assert again is ws.extensions()[1]
    assert active(ws) == ["system", "events"]


def test_an_extension_is_not_enabled_inside_a_transaction(opened: Callable[[], hb.HeavenBase]) -> None:
    hb.ext.register_extension(EVENTS)
    ws = opened()

    with ws.transaction(), pytest.raises(TransactionError, match="enable extensions before it"):
        ws.enable_extension("events")

    assert active(ws) == ["system"]


@pytest.mark.parametrize("identifier", [None, 5, ["events"], EVENTS])
def test_an_extension_is_named_by_a_text(opened: Callable[[], hb.HeavenBase], identifier: Any) -> None:
    with pytest.raises(PluginError, match="named by its identifier"):
        opened().enable_extension(identifier)


def test_a_default_that_does_not_exist_is_an_error_and_the_next_opening_tries_again(
    opened: Callable[[], hb.HeavenBase],
) -> None:
    hb.ext.register_extension(EVENTS)

    with (
        hb.config.override(extensions__default=["events", "evnets"]),
        pytest.raises(UnknownPlugin, match="'evnets'; did you mean 'events'"),
    ):
        opened()
    with hb.config.override(extensions__default=["events"]):
        ws = opened()

    assert active(ws) == ["system", "events"]


def test_a_default_that_breaks_is_an_error_and_the_next_opening_tries_again(
    opened: Callable[[], hb.HeavenBase],
) -> None:
    breaking = hb.ext.register_extension(hb.ext.Extension(EVENTS.spec, plugin=Refusing))

    with hb.config.override(extensions__default=["events"]):
        with pytest.raises(PluginLoadError, match="'events' failed at stage activate"):
            opened()
        breaking.unregister()
        hb.ext.register_extension(EVENTS)
        ws = opened()

    assert active(ws) == ["system", "events"]
    assert ws.upsert(Event, {"what": "x"})


def test_a_default_is_for_new_workspaces_only(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("later")))

    with hb.config.override(extensions__default=["later"]):
        ws = opened()

    assert active(ws) == ["system", "events"]


def test_a_required_one_that_breaks_does_not_keep_an_old_workspace_shut(
    enabled: hb.ext.Registration, opened: Callable[[], hb.HeavenBase]
) -> None:
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("policy", required=True), plugin=Refusing))

    ws = opened()

    assert active(ws) == ["system", "events"]
    assert ws.health().extensions["policy"] == "failed"
