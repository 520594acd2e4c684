"""What can be picked, `heaven_core.capabilities`: the index agrees with the handlers, and filters compose."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.capabilities import CapabilityIndex, Option, process_capabilities
from heaven_core.errors import SchemaError, UnknownOp, UnknownPlugin
from heaven_core.ext import StoragePlugin
from heaven_core.registry import Registries, registries
from heaven_core.types import BUILTIN

pytestmark = pytest.mark.unit

INDEX = process_capabilities()


# -- options ---------------------------------------------------------------------------------------------------------


def test_an_option_is_its_identifier_and_knows_more() -> None:
    option = Option("inline", {"class": "InlineColumn", "aliases": ("InlineColumn",)})

    assert option == "inline"
    assert (option.identifier, option.aliases) == ("inline", ("InlineColumn",))
    assert option.to_dict() == {"identifier": "inline", "class": "InlineColumn", "aliases": ["InlineColumn"]}
    with pytest.raises(AttributeError, match="an option of identifier, class, aliases has no 'desc'"):
        option.desc  # noqa: B018


def test_an_option_can_be_copied_and_sent() -> None:
    option = INDEX.ops(hb.ShortText)[0]

    for twin in (copy.copy(option), copy.deepcopy(option), pickle.loads(pickle.dumps(option))):
        assert twin == option
        assert twin.to_dict() == option.to_dict()


# -- what there is ---------------------------------------------------------------------------------------------------


def test_without_filters_everything_is_listed() -> None:
    assert set(INDEX.logical_types()) >= {cls.identifier for cls in BUILTIN}
    assert set(INDEX.strategies()) >= {"inline", "json", "side", "inverted", "suffix-index", "vector"}
    assert set(INDEX.backends()) >= {"inmem", "sqlite"}
    assert set(INDEX.ops()) >= {"eq", "match", "near", "count"}


def test_every_option_is_json_data() -> None:
    for options in (INDEX.logical_types(), INDEX.strategies(), INDEX.backends(), INDEX.ops()):
        for option in options:
            body = json.loads(json.dumps(option.to_dict()))
            assert body["identifier"] == option
            assert body["desc"]


def test_the_index_is_its_own_call() -> None:
    assert INDEX() is INDEX


# -- what goes together ----------------------------------------------------------------------------------------------


def test_filters_narrow_what_is_listed() -> None:
    assert INDEX.strategies(hb.Array, backend="sqlite", op="array_contains") == ("inline", "json", "side")
    assert set(INDEX.backends(hb.ShortText, hb.SuffixIndex, op="ends_with")) == {"inmem", "postgres", "sqlite"}
    assert INDEX.backends(hb.ShortText, "json") == ("inmem",)
    assert INDEX.logical_types(op="near") == ("vector",)
    assert set(INDEX.logical_types(strategy=hb.InvertedIndex, backend="sqlite")) == {
        "short-text",
        "medium-text",
        "long-text",
    }
    assert set(INDEX.ops(hb.Boolean, "inline", "sqlite")) == {"eq", "ne", "in", "is_null", "count", "value_counts"}
    assert INDEX.logical_types(strategy="external") == ("artifact",)


def test_type_strategy_operation_and_backend_are_given_in_any_form() -> None:
    wanted = INDEX.ops(hb.ShortText, hb.InlineColumn, "sqlite")

    assert INDEX.ops("short-text", "inline", "sqlite3") == wanted
    assert INDEX.ops(hb.ShortText(9), hb.InlineColumn(), "sqlite") == wanted
    assert INDEX.ops("ShortText", "InlineColumn", "sqlite") == wanted
    assert INDEX.backends(hb.Array, op="$array_contains") == INDEX.backends(hb.Array, op="array_contains")


def test_a_type_of_ones_own_can_what_the_one_it_extends_can() -> None:
    class Slug(hb.ShortText):
        identifier = "test-slug"

    assert INDEX.ops(Slug, "inline", "sqlite") == INDEX.ops(hb.ShortText, "inline", "sqlite")


def test_the_index_agrees_with_the_handlers() -> None:
    known = registries()

    combinations = INDEX.combinations()

    assert len(combinations) > 500
    for one in combinations[::50]:
        dtype = known.types()[one["dtype"]]
        assert known.handler(dtype, one["op"], one["backend"], one["strategy"]) is not None
        assert INDEX.supports(one["dtype"], one["op"], one["backend"], one["strategy"])
    assert not INDEX.supports(hb.ShortText, "near", "sqlite", "inline")


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda: INDEX.ops("shrt-text"), SchemaError, "'shrt-text' is no logical type"),
        (lambda: INDEX.ops(hb.ShortText, "inlin"), SchemaError, "there is no strategy 'inlin'"),
        (lambda: INDEX.backends(hb.ShortText, op="eqq"), UnknownOp, "there is no operation 'eqq'"),
        (lambda: INDEX.ops(hb.ShortText, backend="no-such-engine"), UnknownPlugin, "no-such-engine"),
    ],
)
def test_what_is_unknown_is_named(ask: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        ask()


# -- a workspace's index ---------------------------------------------------------------------------------------------


def test_a_workspace_names_its_backends_by_their_names(open_workspace: Any) -> None:
    ws = open_workspace("inmem", backends={"main": {"type": "inmem"}, "files": {"type": "sqlite"}}, path=None)
    index = ws.capabilities

    assert index.backends() == ("main", "files")
    assert [one.type for one in index.backends(hb.Array, hb.SideTable)] == ["inmem", "sqlite"]
    assert index.backends(hb.ShortText, "json") == ("main",)
    assert index.ops(hb.ShortText, backend="files") == index.ops(hb.ShortText, backend="sqlite")


def test_a_workspace_says_nothing_about_engines_that_it_does_not_have(open_workspace: Any) -> None:
    index = open_workspace("inmem").capabilities

    with pytest.raises(UnknownPlugin, match="this workspace has no backend 'sqlite'; known: main"):
        index.ops(hb.ShortText, backend="sqlite")
    assert {one["backend"] for one in index.combinations()} == {"inmem"}


def test_an_engine_that_is_not_installed_says_how_to_install_it() -> None:
    known = Registries()
    absent = StoragePlugin(
        "absent",
        backend="absent:Backend",
        api=1,
        requires=("no_such_library",),
        extra="absent",
        distribution="heaven-absent",
    )

    with known.process.put("backend", "absent", absent):
        (option,) = [one for one in CapabilityIndex(known).backends() if one == "absent"]

    assert (option.available, option.install) == (False, "pip install 'heaven-absent[absent]'")
    assert "install" not in INDEX.backends()[0].to_dict()
