"""The preset `local`: SQLite, and beside it the engines that a field or a profile names, from then on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import PlacementError

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite", "duckdb", "lancedb")]


class Sale(hb.Entity):
    shop = hb.field(hb.ShortText)
    amount = hb.field(hb.Float).store(to="duckdb")
    likeness = hb.field(hb.Vector(2)).store(to="lancedb")


class Plain(hb.Entity):
    title = hb.field(hb.ShortText)
    likeness = hb.field(hb.Vector(2))


def placed(ws: hb.HeavenBase, entity: Any) -> dict[str, str]:
    return {name: one["backend"] for name, one in ws.query(entity).explain().to_dict()["placement"].items()}


def test_a_field_that_names_an_engine_lies_in_it_and_is_found_again() -> None:
    with hb.HeavenBase("demo") as ws:
        ws.register(Sale)
        ws.upsert(Sale, {"name": "one", "shop": "a", "amount": 2.5, "likeness": [1, 0]})
        assert placed(ws, Sale) | {"object_id": "main", "name": "main"} == placed(ws, Sale)
        assert (placed(ws, Sale)["amount"], placed(ws, Sale)["likeness"]) == ("duckdb", "lancedb")
        folder = ws.folder

    assert folder is not None
    assert {"main.db", "duckdb.duckdb", "lancedb.lance"} <= {one.name for one in folder.iterdir()}
    with hb.HeavenBase("demo") as ws:
        assert repr(ws) == "<HeavenBase 'demo': main=sqlite>"
        near = ws.query("sale").near("likeness", [1, 0]).where({"amount": {"$gt": 1}}).execute()
        assert near.column("shop") == ["a"]
        assert repr(ws) == "<HeavenBase 'demo': main=sqlite, duckdb=duckdb, lancedb=lancedb>"
        assert set(ws.capabilities.backends()) == {"main", "duckdb", "lancedb"}
        assert ws.check().ok


def test_what_names_no_engine_stays_in_the_primary_whatever_is_open() -> None:
    with hb.HeavenBase("demo") as ws:
        ws.register(Sale, Plain)
        assert set(placed(ws, Plain).values()) == {"main"}


def test_a_profile_may_name_an_engine_that_is_installed() -> None:
    seen: list[dict[str, str]] = []

    def profile(field: hb.ext.FieldSchema, backends: Mapping[str, str]) -> hb.ext.StoreChoice | None:
        seen.append(dict(backends))
        return hb.ext.StoreChoice(to="lancedb") if field.dtype.kind == "vector" else None

    with hb.ext.register_storage_profile("vectors", profile), hb.HeavenBase("demo") as ws:
        ws.register(Plain)
        assert placed(ws, Plain)["likeness"] == "lancedb"

    assert seen[-1] == {"main": "sqlite", "duckdb": "duckdb", "lancedb": "lancedb"}


def test_only_the_preset_has_them() -> None:
    with (
        hb.HeavenBase("demo", backends={"main": "sqlite"}) as ws,
        pytest.raises(PlacementError, match="there is no backend 'duckdb'; add 'duckdb' to backends="),
    ):
        ws.register(Sale)
    with hb.HeavenBase("both", preset="local", backends={"columns": "duckdb"}) as ws:
        ws.register(Sale)
        assert placed(ws, Sale)["amount"] == "duckdb"
        assert repr(ws) == "<HeavenBase 'both': main=sqlite, columns=duckdb, duckdb=duckdb, lancedb=lancedb>"


def test_a_second_handle_by_the_preset_brings_them() -> None:
    with hb.HeavenBase("demo", backends={"main": "sqlite"}), hb.HeavenBase("demo") as ws:
        ws.register(Sale)
        assert placed(ws, Sale)["amount"] == "duckdb"


def test_opened_without_them_the_workspace_says_which_are_missing() -> None:
    with hb.HeavenBase("demo") as ws:
        ws.register(Sale)

    with hb.HeavenBase("demo", backends={"main": "sqlite"}) as ws:
        with pytest.raises(
            PlacementError, match="sale: fields lie in backend 'duckdb' of type 'duckdb', and the workspace was opened"
        ):
            ws.query("sale")
        assert [one.kind for one in ws.check().findings] == ["unusable-entity"]


def test_dropping_removes_what_lies_in_them_though_nobody_has_used_them() -> None:
    with hb.HeavenBase("demo") as ws:
        ws.register(Sale)
        folder = ws.folder

    hb.HeavenBase("demo").drop()

    assert folder is not None
    assert not folder.exists()


WITHOUT = """
import json, sys
sys.modules["duckdb"] = None  # as if it were not installed
import heavenbase as hb

class Sale(hb.Entity):
    shop = hb.field(hb.ShortText)
    amount = hb.field(hb.Float).store(to="duckdb")

def said(action):
    try:
        return repr(action())
    except hb.HeavenError as error:
        return f"{type(error).__name__}: {error}"

with hb.HeavenBase("demo") as ws:
    print(json.dumps({
        "register": said(lambda: ws.register(Sale)),
        "count": said(lambda: ws.count("sale")),
        "health": ws.health().backends.get("duckdb", {}).get("error"),
        "check": [one.detail for one in ws.check().findings],
        "drop": said(ws.drop),
    }))
"""


def without_duckdb() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_without_the_library_a_field_that_names_it_is_refused_with_the_command_that_installs_it() -> None:
    said = without_duckdb()

    assert said["register"].startswith("EngineNotInstalled: ")
    assert "pip install 'heaven-core[duckdb]'" in said["register"]
    assert said["count"].startswith("UnknownEntity: ")
    assert (said["drop"], said["health"], said["check"]) == ("None", None, [])


def test_where_the_library_has_gone_the_rows_stay_and_everything_says_what_to_install() -> None:
    class Sale(hb.Entity):
        shop = hb.field(hb.ShortText)
        amount = hb.field(hb.Float).store(to="duckdb")

    with hb.HeavenBase("demo") as ws:
        ws.register(Sale)
        ws.upsert(Sale, {"shop": "a", "amount": 2.5})

    said = without_duckdb()

    for words in (said["register"], said["count"], said["drop"], said["health"], *said["check"]):
        assert "pip install 'heaven-core[duckdb]'" in words
    with hb.HeavenBase("demo") as ws:
        assert ws.query(Sale).execute().column("amount") == [2.5]
