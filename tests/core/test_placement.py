"""Where fields go, `heaven_core.placement`: what was said, what a profile says, what the type's default is."""

from __future__ import annotations

import json
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.errors import HeavenError, PlacementError, SchemaError
from heaven_core.ext import StoreChoice, register_storage_profile
from heaven_core.handlers import HandlerContext, QueryFragment
from heaven_core.placement import (
    Placed,
    default_strategy,
    layouts_of,
    offered,
    place,
    placement_from_dict,
    placement_to_dict,
    without_files,
)
from heaven_core.registry import registries
from heaven_core.schema import EntitySchema, FieldSchema
from heaven_core.types import Array, LogicalType, ShortText

pytestmark = pytest.mark.unit

ONE = {"main": "sqlite"}


def _field(dtype: LogicalType[Any] | None = None, *stores: StoreChoice) -> FieldSchema:
    return FieldSchema("doc", "x", dtype or ShortText(), stores=stores)


def _placed(field: FieldSchema, backends: dict[str, str] | None = None) -> Placed:
    return place(EntitySchema.made("doc", [field]), backends or ONE, registries())["x"]


@pytest.mark.parametrize(
    ("dtype", "strategy"),
    [
        (hb.ShortText(), "inline"),
        (hb.Timestamp(), "inline"),
        (hb.Array(), "json"),
        (hb.Json(), "json"),
        (hb.Vector(2), "inline"),
    ],
    ids=repr,
)
def test_a_field_that_says_nothing_goes_to_main_in_the_form_of_its_type(dtype: LogicalType[Any], strategy: str) -> None:
    assert default_strategy(_field(dtype)) == strategy
    assert _placed(_field(dtype)) == Placed("main", strategy)


def test_an_index_alone_implies_the_default_storage() -> None:
    assert _placed(_field(None, StoreChoice(strategy="inverted"))) == Placed("main", "inline", ("inverted",))


def test_choices_add_up_and_aliases_mean_their_strategy() -> None:
    stores = (
        StoreChoice(to="main"),
        StoreChoice(strategy="InlineColumn"),
        StoreChoice("main", "fulltext"),
        StoreChoice(strategy="inverted"),
    )

    assert _placed(_field(None, *stores)) == Placed("main", "inline", ("inverted",))


def test_a_mirror_is_remembered_and_one_that_is_none_leaves_no_trace() -> None:
    two = {**ONE, "other": "sqlite"}
    mirrored = _placed(_field(None, StoreChoice("other", "inverted", mirror=True)), two)
    plain = _placed(_field(None, StoreChoice("other")), two)

    assert placement_to_dict({"x": mirrored, "y": plain}, two) == {
        "x": {"backend": "other", "strategy": "inline", "indexes": ["inverted"], "mirror": True, "type": "sqlite"},
        "y": {"backend": "other", "strategy": "inline", "indexes": [], "type": "sqlite"},
    }
    assert placement_from_dict(placement_to_dict({"x": mirrored, "y": plain}, two)) == {"x": mirrored, "y": plain}


def test_an_array_may_lie_in_a_table_of_its_own() -> None:
    assert _placed(_field(Array(ShortText), StoreChoice(strategy="side"))) == Placed("main", "side")


@pytest.mark.parametrize(
    ("stores", "backends", "kind", "message"),
    [
        ([StoreChoice(to="man")], ONE, PlacementError, r"doc\.x: there is no backend 'man'; did you mean 'main'"),
        (
            [StoreChoice(to="other")],
            {**ONE, "other": "inmem"},
            PlacementError,
            r"doc\.x: backend 'other' keeps nothing beyond the process",
        ),
        (
            [StoreChoice(to="main"), StoreChoice(to="other")],
            {**ONE, "other": "inmem"},
            PlacementError,
            "one backend holds a field, not main and other",
        ),
        ([StoreChoice(mirror=True)], ONE, PlacementError, "a mirror is a copy in the primary"),
        (
            [StoreChoice(strategy="inline"), StoreChoice(strategy="json")],
            ONE,
            PlacementError,
            "one strategy stores a field, not inline and json",
        ),
        (
            [StoreChoice(strategy="vector")],
            ONE,
            PlacementError,
            r"backend 'main' \(sqlite\) has no 'vector' for ShortText; it has: inline, .*inverted",
        ),
        ([StoreChoice(strategy="side")], ONE, PlacementError, "has no 'side' for ShortText"),
        (
            [StoreChoice(strategy="invertd")],
            ONE,
            SchemaError,
            "there is no strategy 'invertd'; did you mean 'inverted'",
        ),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_cannot_be_is_refused_with_what_can(
    stores: list[StoreChoice], backends: dict[str, str], kind: type[HeavenError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        _placed(_field(None, *stores), backends)


def test_the_offer_is_what_the_engine_has_handlers_for() -> None:
    texts = ["inverted", "suffix-index", "trigram-index"]
    assert offered(_field(), "sqlite", registries()) == ["inline", *texts]
    assert offered(_field(Array(ShortText)), "sqlite", registries()) == ["inline", "json", "side"]
    assert offered(_field(), "inmem", registries()) == ["inline", "json", *texts]
    assert offered(_field(hb.Artifact()), "sqlite", registries()) == ["inline", "external"]


def test_a_profile_speaks_for_fields_that_say_nothing_and_the_last_one_first(registered: None) -> None:
    register_storage_profile("texts", lambda field, backends: StoreChoice(strategy="inverted"))
    register_storage_profile("silent", lambda field, backends: None)
    asked: list[dict[str, str]] = []
    register_storage_profile(
        "x-only",
        lambda field, backends: asked.append(dict(backends)) or (StoreChoice("main") if field.name == "x" else None),
    )

    placed = place(EntitySchema.made("doc", [_field()]), ONE, registries())

    assert (placed["x"], placed["name"]) == (Placed("main", "inline"), Placed("main", "inline", ("inverted",)))
    assert _placed(_field(None, StoreChoice(strategy="inline"))) == Placed("main", "inline")
    assert asked[0] == ONE


@pytest.mark.parametrize(
    ("backends", "where"),
    [
        (ONE, "main"),
        ({**ONE, "near": "sqlite"}, "near"),
        ({**ONE, "near": "sqlite", "too": "sqlite"}, "main"),
        ({**ONE, "columns": "duckdb"}, "main"),
        ({**ONE, "columns": "duckdb", "near": "lancedb"}, "near"),
        ({**ONE, "fleeting": "inmem"}, "main"),
    ],
)
def test_vectors_lie_in_the_one_engine_beside_the_primary_that_ranks_them(backends: dict[str, str], where: str) -> None:
    schema = EntitySchema.made("doc", [FieldSchema("doc", "v", hb.Vector(2)), FieldSchema("doc", "n", hb.Integer())])

    placed = place(schema, backends, registries())

    assert (placed["v"].backend, placed["n"].backend) == (where, "main")


def test_a_placement_survives_its_json_form() -> None:
    placement = {"a": Placed("main", "inline", ("inverted", "suffix-index")), "b": Placed("main", "json")}

    assert placement_from_dict(json.loads(json.dumps(placement_to_dict(placement, ONE)))) == placement


def test_a_layout_has_the_fields_of_its_backend_and_the_id() -> None:
    schema = EntitySchema.made("doc", [_field(), FieldSchema("doc", "far", ShortText())])
    placement = {**place(schema, ONE, registries()), "far": Placed("vectors", "inline")}

    layouts = layouts_of(schema, placement, {**ONE, "vectors": "lancedb", "unused": "sqlite"})
    here, there = layouts["main"], layouts["vectors"]

    assert list(layouts) == ["main", "vectors"]
    assert here.names == ("object_id", "name", "x", "_v_vectors")
    assert there.names == ("object_id", "far", "_lsn")
    assert repr(there) == "<layout of doc in vectors>"


def test_what_lies_in_files_is_a_text_to_the_engine_and_stays_in_rows_without_a_folder() -> None:
    schema = EntitySchema.made(
        "doc", [FieldSchema("doc", "x", hb.Artifact(), stores=(StoreChoice(strategy="external"),))]
    )
    placement = place(schema, ONE, registries())

    (column,) = [one for one in layouts_of(schema, placement, ONE)["main"].columns if one.name == "x"]

    assert placement["x"] == Placed("main", "external")
    assert (column.strategy, column.field.dtype.kind, schema.field("x").dtype.kind) == ("external", "text", "bytes")
    assert without_files(placement) == {**placement, "x": Placed("main", "inline")}


@pytest.mark.parametrize("dtype", [ShortText(), hb.LongText(), hb.Json(), Array(ShortText), hb.Vector(2)])
def test_only_bytes_lie_in_files_whatever_handlers_there_are(dtype: Any, registered: None) -> None:
    def compiled(field: FieldSchema, value: Any, ctx: HandlerContext) -> QueryFragment:
        return QueryFragment(ctx.backend, "is_null", field.name, None)

    hb.ext.register_handler("test", dtype.identifier, "is_null", "sqlite", "external", compiled)

    assert "external" not in offered(_field(dtype), "sqlite", registries())
