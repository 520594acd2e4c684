"""Opening a workspace and knowing its entities, `heaven_core.core`: presets, places, what others have changed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import config
from heaven_core.core import ENTITY_TABLE, EXTENSION_TABLE
from heaven_core.errors import (
    ConfigError,
    InvalidName,
    SchemaConflict,
    SchemaError,
    UnknownEntity,
    UnknownPlugin,
)
from heaven_core.ext import register_backend_builder, register_logical_type

if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[..., hb.HeavenBase]

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)


# -- places ----------------------------------------------------------------------------------------------------------


def test_a_local_workspace_lies_under_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVENBASE_HOME", str(tmp_path / "house"))

    with hb.HeavenBase("demo") as ws:
        folder = ws.folder

    assert folder is not None
    assert folder == tmp_path / "house" / "workspaces" / "demo" == config.home() / "workspaces" / "demo"
    assert (folder / "main.db").is_file()


def test_a_debug_workspace_touches_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVENBASE_HOME", str(tmp_path / "house"))
    monkeypatch.chdir(tmp_path)

    with hb.HeavenBase("demo", preset="debug") as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"title": "x"})
        assert ws.folder is None

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["place", Path("place")])
def test_a_path_is_the_workspace_s_own_folder(
    path: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with hb.HeavenBase("demo", path=path) as ws:
        assert ws.folder == tmp_path / "place"

    assert (tmp_path / "place" / "main.db").is_file()


@pytest.mark.parametrize("key", ["database", "path"])
def test_a_database_of_main_is_the_location(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    backends = {"main": {"type": "sqlite", key: "data.sqlite"}}

    with hb.HeavenBase("demo", backends=backends) as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"title": "x"})
        assert ws.folder == tmp_path / "data.sqlite.d"
    monkeypatch.chdir("/")

    assert (tmp_path / "data.sqlite").is_file()
    with hb.HeavenBase("demo", backends={"main": {"type": "sqlite", "database": tmp_path / "data.sqlite"}}) as again:
        assert again.count("doc") == 1


def test_tilde_is_the_user_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with hb.HeavenBase("demo", path="~/place") as ws:
        assert ws.folder == tmp_path / "place"


def test_a_backend_without_a_location_lies_in_the_workspace_s_folder(tmp_path: Path) -> None:
    with hb.HeavenBase("demo", backends={"main": "sqlite", "more": "sqlite"}, path=tmp_path / "place"):
        pass

    assert sorted(one.name for one in (tmp_path / "place").glob("*.db")) == ["main.db", "more.db"]


# -- backends --------------------------------------------------------------------------------------------------------


def test_backends_stand_over_a_preset_by_name(tmp_path: Path) -> None:
    with hb.HeavenBase("demo", preset="debug", backends={"more": "inmem"}) as ws:
        assert ws.core().types == {"main": "inmem", "more": "inmem"}
        assert repr(ws) == "<HeavenBase 'demo': main=inmem, more=inmem>"
    assert repr(ws) == "<HeavenBase 'demo', closed>"
    with hb.HeavenBase("demo", preset="debug", backends={"main": "sqlite"}, path=tmp_path / "x") as other:
        assert other.core().types == {"main": "sqlite"}


def test_without_a_primary_a_sqlite_one_is_added_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "heavenbase"),
        hb.HeavenBase("demo", backends={"notes": "inmem"}, path=tmp_path / "place") as ws,
    ):
        assert ws.core().types == {"main": "sqlite", "notes": "inmem"}

    assert "a SQLite primary was added to the workspace: none was configured" in caplog.text
    assert (tmp_path / "place" / "main.db").is_file()


@pytest.mark.usefixtures("registered")
def test_main_must_be_able_to_be_a_primary(caplog: pytest.LogCaptureFixture) -> None:
    register_backend_builder("sidecar", lambda config: None)  # pyright: ignore[reportArgumentType]

    with (
        caplog.at_level(logging.INFO, "heavenbase"),
        pytest.raises(ConfigError, match="backend 'main' is the primary, and type 'sidecar' cannot"),
    ):
        hb.HeavenBase("demo", backends={"main": "sidecar"})

    assert "was added" not in caplog.text


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({"preset": "debgu"}, ConfigError, "there is no preset 'debgu'; did you mean 'debug'"),
        ({"backends": {"main": "sqlit"}}, UnknownPlugin, "sqlit"),
        (
            {"backends": {"main": {"type": "sqlite", "databse": "x"}}},
            ConfigError,
            "takes no option 'databse'; did you mean 'database'",
        ),
        (
            {"backends": {"main": {"type": "inmem", "size": 5}}},
            ConfigError,
            "backend 'main' of type inmem takes no option 'size'",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_opened_says_why(how: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        hb.HeavenBase("demo", **how)


@pytest.mark.parametrize("id", ["", "Demo", "a b", "x" * 64, None])
def test_a_workspace_id_follows_the_rules(id: Any) -> None:
    with pytest.raises(InvalidName, match="workspace id"):
        hb.HeavenBase(id, preset="debug")


def test_an_opening_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with pytest.raises(ConfigError):
        hb.HeavenBase("demo", backends={"main": "sqlite", "more": {"type": "inmem", "size": 5}}, path=place)

    with hb.HeavenBase("demo", path=place) as ws:
        assert ws.check().ok


# -- entities --------------------------------------------------------------------------------------------------------


def test_an_entity_is_meant_by_class_and_by_id(ws: hb.HeavenBase) -> None:
    ws.register(Doc)

    assert ws.entity("doc") is ws.entity(Doc) is Doc
    assert ws.count("doc") == ws.count(Doc) == 0


@pytest.mark.parametrize(
    ("entity", "kind", "message"),
    [
        ("dco", UnknownEntity, "workspace 'demo' has no entity 'dco'; did you mean 'doc'"),
        (
            type("Other", (hb.Entity,), {}),
            UnknownEntity,
            r"has no entity 'other'; register it first: ws\.register\(Other\)",
        ),
        (5, SchemaError, "name an entity by its class or its id, not by an int"),
        (object, SchemaError, "name an entity by its class or its id, not by a type"),
        ([], SchemaError, "name an entity by its class or its id, not by a list"),
    ],
    ids=str,
)
def test_what_is_no_entity_is_answered_with_what_could_be_meant(
    ws: hb.HeavenBase, entity: Any, kind: type[Exception], message: str
) -> None:
    ws.register(Doc)

    with pytest.raises(kind, match=message):
        ws.query(entity)


def test_the_kernel_s_own_entities_cannot_be_redefined(ws: hb.HeavenBase) -> None:
    for identifier in ("hb-entity", "hb-mine"):
        with pytest.raises(InvalidName, match="entity ids that begin with 'hb-' belong to the kernel"):
            ws.register(type("Mine", (hb.Entity,), {"identifier": identifier}))


@pytest.mark.parametrize("given", [hb.Entity, 5, "doc", Doc(title="x"), dict])
def test_only_entity_classes_are_registered(ws: hb.HeavenBase, given: Any) -> None:
    with pytest.raises(SchemaError, match="register takes entity classes"):
        ws.register(given)


def test_a_class_that_says_otherwise_than_what_is_registered_is_told_so(ws: hb.HeavenBase) -> None:
    ws.register(Doc)
    changed = type("Doc", (hb.Entity,), {"title": hb.field(hb.ShortText), "n": hb.field(hb.Integer)})

    with pytest.raises(
        SchemaConflict, match=r"class Doc differs from the registered entity 'doc' \(added n\); call ws\.register"
    ):
        ws.query(changed)
    ws.register(changed)

    assert ws.count(changed) == 0


def test_an_older_class_reads_and_sets_what_a_newer_one_has_extended_and_writes_no_whole_rows(
    ws: hb.HeavenBase,
) -> None:
    ws.register(Doc)
    newer = type("Doc", (hb.Entity,), {"title": hb.field(hb.ShortText), "n": hb.field(hb.Integer)})
    ws.register(newer)
    ws.upsert(newer, {"object_id": "a", "title": "x", "n": 1})

    assert ws.query(Doc).where(Doc.title == "x").execute().rows() == [
        {"object_id": "a", "name": None, "title": "x", "n": 1}
    ]
    ws.set("a", {"title": "y"}, Doc)
    with pytest.raises(SchemaConflict, match=r"class Doc is older than .* 'doc': it lacks n, which a whole row by it"):
        ws.upsert(Doc, {"object_id": "a", "title": "z"})
    with pytest.raises(SchemaConflict, match=r"removed n.* declare n in the class too"):
        ws.register(Doc)
    assert ws.get("a") == {"object_id": "a", "name": None, "title": "y", "n": 1}
    assert ws.delete("a", Doc)


def test_the_same_class_written_twice_is_the_same_entity(ws: hb.HeavenBase) -> None:
    ws.register(Doc)
    again = type("Doc", (hb.Entity,), {"title": hb.field(hb.ShortText)})
    ws.upsert(Doc, {"title": "x"})

    assert ws.query(again).where(again.title == "x").count() == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_fields_in_another_order_are_the_same_entity(ws: hb.HeavenBase) -> None:
    ws.register(type("Pair", (hb.Entity,), {"a": hb.field(hb.Integer), "b": hb.field(hb.Integer)}))
    turned = type("Pair", (hb.Entity,), {"b": hb.field(hb.Integer), "a": hb.field(hb.Integer)})

    ws.upsert(turned, {"object_id": "x", "a": 1, "b": 2})

    assert ws.get("x") == {"object_id": "x", "name": None, "a": 1, "b": 2}
    assert ws.register(turned).empty


@pytest.mark.parametrize("table", [ENTITY_TABLE, EXTENSION_TABLE], ids=lambda one: one.id)
def test_the_kernel_s_own_records_are_ordinary_schemas(table: hb.EntitySchema) -> None:
    assert hb.EntitySchema.from_dict(table.to_dict()) == table
    assert not table.observed


# -- several handles and processes -----------------------------------------------------------------------------------

BESIDE = """
import json, sys, heavenbase as hb
class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer)
class Later(hb.Entity):
    x = hb.field(hb.Integer)
with hb.HeavenBase("demo") as ws:
    ws.register(Doc, Later)
    ws.upsert(Doc, {"object_id": "theirs", "title": "b", "n": 5})
    print(1)
"""


def test_what_another_process_adds_is_learnt_without_reopening(elsewhere: Callable[..., Any]) -> None:
    with hb.HeavenBase("demo") as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"object_id": "mine", "title": "a"})

        elsewhere(BESIDE)

        assert ws.entity("later").schema().names == ("object_id", "name", "x")
        ws.upsert("doc", {"object_id": "third", "title": "c", "n": 7})
        assert ws.get("third", "doc") == {"object_id": "third", "name": None, "title": "c", "n": 7}
        assert {row["object_id"]: row["n"] for row in ws.query("doc")} == {"mine": None, "theirs": 5, "third": 7}


def test_a_field_that_another_process_added_is_kept_by_a_write_with_the_old_class(
    elsewhere: Callable[..., Any],
) -> None:
    with hb.HeavenBase("demo") as ws:
        ws.register(Doc)
        elsewhere(BESIDE)

        ws.set("theirs", {"title": "changed"})

        assert ws.get("theirs") == {"object_id": "theirs", "name": None, "title": "changed", "n": 5}


def test_an_entity_of_a_type_that_is_not_known_here_says_so_and_hides_no_other(open_workspace: Open) -> None:
    class Slug(hb.ShortText):
        identifier = "test-slug"

    with register_logical_type(Slug), open_workspace("sqlite") as first:
        first.register(Doc, type("Page", (hb.Entity,), {"slug": hb.field(Slug)}))
        first.upsert(Doc, {"object_id": "a"})

    again = open_workspace("sqlite")

    with pytest.raises(
        SchemaError, match=r"entity 'page' cannot be used: 'test-slug' is no logical type; .*register or install"
    ):
        again.query("page")
    assert again.get("a", Doc) == {"object_id": "a", "name": None, "title": None}
    with register_logical_type(Slug):
        assert again.count("page") == 0


def test_entities_are_listed_in_the_order_of_their_ids(ws: hb.HeavenBase) -> None:
    ws.register(Doc, type("Another", (hb.Entity,), {}))

    records = ws.core().entity_records()

    assert [one.schema.id for one in records] == ["another", "doc", "sys-catalog", "sys-metaschema"]
    assert records[1].placement["title"] == {"backend": "main", "strategy": "inline", "indexes": []}
    assert (records[1].owner, records[2].owner) == ("", "system")
