"""Registries that forget: `heaven_core.testing.isolated_registries`; and what the conformance kit needs.

Not here: the kit (`tests/core/testing`).
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heaven_core.testing
from heaven_core import ext
from heaven_core.entity import Entity, field
from heaven_core.errors import EngineNotInstalled, SchemaError
from heaven_core.registry import KINDS, registries
from heaven_core.strategies import Strategy
from heaven_core.testing import isolated_registries
from heaven_core.types import Integer, ShortText, as_type, known_types

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.unit


class Slug(ShortText):
    identifier = "slug"


class Phonetic(Strategy):
    identifier = "phonetic"


class Thing(Entity):
    label = field(ShortText)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with isolated_registries():
        yield


def compiled(field_schema: Any, value: Any, ctx: Any) -> ext.QueryFragment:
    return ext.QueryFragment(ctx.backend, "eq", field_schema.name, lambda row: True)


def other(field_schema: Any, value: Any, ctx: Any) -> ext.QueryFragment:
    return ext.QueryFragment(ctx.backend, "eq", field_schema.name, lambda row: False)


def no_backend(config: ext.BackendConfig) -> Any:
    raise NotImplementedError(config.name)


def handler(compile_eq: Any, **more: Any) -> ext.Registration:
    return ext.register_handler("test", ShortText, "eq", "inmem", "inline", compile_eq, **more)


def serving() -> Any:
    found = ext.HandlerRegistry.find(ShortText, "eq", "inmem", "inline")
    return found.compile


def register_everything() -> None:
    ext.register_logical_type(Slug)
    ext.register_strategy(Phonetic)
    ext.register_op("sounds_like", trait="text", aliases=("sounds",))
    ext.register_backend_builder("toy", no_backend, primary=True)
    ext.register_handler("test", Slug, "sounds_like", "toy", Phonetic, compiled)
    ext.register_storage_profile("nothing", lambda field_schema, backends: None)
    ext.register_extension(ext.Extension(ext.ExtensionSpec("things", entities=(Thing,))))


def registered() -> dict[str, list[Any]]:
    items = registries().process.items
    return {kind: list(items[kind]) for kind in KINDS}


def test_every_kind_of_registration_is_taken_back() -> None:
    before, types = registered(), dict(known_types())

    with isolated_registries():
        register_everything()
        inside = registered()

    assert all(inside[kind] for kind in KINDS)
    assert registered() == before
    assert dict(known_types()) == types


def register_and_fail() -> None:
    with isolated_registries():
        register_everything()
        raise RuntimeError("a test that fails")


def test_they_are_taken_back_after_an_exception_too() -> None:
    with pytest.raises(RuntimeError):
        register_and_fail()

    assert not registries().process.items["extension"]
    with pytest.raises(SchemaError, match="'slug' is no logical type"):
        as_type("slug")


def test_what_was_registered_before_is_visible_inside_and_answers_again_after() -> None:
    handler(compiled)

    with isolated_registries():
        visible = serving()
        handler(other, replace=True)
        replaced = serving()

    assert (visible, replaced, serving()) == (compiled, other, compiled)


def test_what_the_block_took_back_is_there_again_after() -> None:
    handle = handler(compiled)

    with isolated_registries():
        handle.unregister()
        inside = serving()

    assert inside is not compiled
    assert serving() is compiled


def test_blocks_are_nested() -> None:
    with isolated_registries():
        handler(compiled)
        with isolated_registries():
            handler(other, replace=True)
            ext.register_logical_type(Slug)
            inner = serving()
        outer = serving()

        assert (inner, outer) == (other, compiled)
        assert "slug" not in known_types()

    assert serving() not in {compiled, other}


def test_a_type_that_replaces_a_built_in_one_gives_way_again() -> None:
    class Counter(Integer):
        identifier = "integer"

    with isolated_registries():
        ext.register_logical_type(Counter, replace=True)
        inside = type(as_type("integer"))

    assert inside is Counter
    assert type(as_type("integer")) is Integer


def test_a_handle_from_inside_changes_nothing_after_the_block() -> None:
    with isolated_registries():
        inside = handler(compiled)
        typed = ext.register_logical_type(Slug)
    handler(compiled)
    ext.register_logical_type(Slug)

    inside.unregister()
    typed.unregister()

    assert serving() is compiled
    assert known_types()["slug"] is Slug


def test_open_workspaces_see_both_changes() -> None:
    before = registries().generation

    with isolated_registries():
        handler(compiled)
        inside = registries().generation

    assert len({before, inside, registries().generation}) == 3


@pytest.mark.parametrize("library", ["pytest", "hypothesis"])
def test_the_kit_says_which_library_it_lacks_and_what_installs_it(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(EngineNotInstalled) as caught:
        _ = heaven_core.testing.StorageConformance

    assert str(caught.value) == f"StorageConformance needs {library}; pip install 'heaven-core[testing]'"


def test_registries_that_forget_need_no_library_of_tests() -> None:
    code = (
        "import sys; from heaven_core.testing import isolated_registries\n"
        "with isolated_registries(): pass\n"
        "print([name for name in ('pytest', 'hypothesis', 'numpy') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'StorageConformity'"):
        _ = heaven_core.testing.StorageConformity
