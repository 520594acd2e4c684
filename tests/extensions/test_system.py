"""What is the system extension's own: which rows `Catalog` and `MetaSchema` have, and what stands in them.

Not here: what a derived entity is (`tests/core/test_derive.py`); that every workspace has the extension
(`tests/seeds/test_extensions_seed.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.capabilities import CapabilityIndex
from heaven_core.errors import SchemaError, UnknownEntity
from heaven_core.testing import isolated_registries
from heaven_system import EXTENSION, Catalog, ConfigLayer, MetaSchema, system_entities
from heaven_system.catalog import catalog_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

ENGINES = ("inmem", "sqlite")


class Book(hb.Entity):
    """A book of the shelf."""

    title = hb.field(hb.ShortText).required().desc("as on the spine").tags("print").store(strategy=hb.InvertedIndex)
    pages = hb.field(hb.Integer)


class Shelf(hb.Entity):
    place = hb.field(hb.ShortText)


@pytest.fixture(params=ENGINES)
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hb.HeavenBase]:
    where: dict[str, Any] = {} if request.param == "inmem" else {"path": tmp_path / "library"}
    with isolated_registries(), hb.HeavenBase("library", backends={"main": request.param}, **where) as made:
        made.register(Book, Shelf)
        yield made


@pytest.fixture
def stocked(ws: hb.HeavenBase) -> hb.HeavenBase:
    """Two books and a shelf, one of the books with the shelf's id."""
    ws.upsert(Book, {"object_id": "one", "name": "first", "title": "a"})
    ws.upsert(Book, {"object_id": "two", "title": "b"})
    ws.upsert(Shelf, {"object_id": "one", "name": "first", "place": "c"})
    return ws


def objects(ws: hb.HeavenBase, **condition: Any) -> list[str]:
    rows = ws.query(Catalog).where(condition).execute().rows()
    return sorted(f"{row['target_entity']} {row['target_id']}" for row in rows)


def described(ws: hb.HeavenBase, **condition: Any) -> list[dict[str, Any]]:
    return ws.query(MetaSchema).where(condition).order_by("subject").execute().rows()


# -- the extension ---------------------------------------------------------------------------------------------------


def test_the_declaration_has_the_entities_of_every_workspace(ws: hb.HeavenBase) -> None:
    (spec,) = ws.extensions()

    assert spec == EXTENSION.spec
    assert spec.required
    assert spec.entities == system_entities() == (Catalog, MetaSchema)


# -- the layers of settings ------------------------------------------------------------------------------------------


@pytest.fixture
def layered(ws: hb.HeavenBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hb.HeavenBase]:
    """A workspace in which each layer sets something, the project something that it may not, too."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "heavenbase.toml").write_text('extensions.default = ["mine"]\n[query]\ndeadline = 5\nmax_rows = 50\n')
    (hb.config.home() / "config.toml").write_text("query.max_rows = 40\n")
    monkeypatch.chdir(project)
    monkeypatch.setenv("HEAVENBASE_QUERY_DEADLINE", "6")
    ws.register(ConfigLayer)
    with hb.config.override(query__deadline=7):
        yield ws


def layers(ws: hb.HeavenBase, **condition: Any) -> set[tuple[str, str, str]]:
    rows = ws.query(ConfigLayer).where(condition).execute().rows()
    return {(row["layer"], row["key"], str(row["value"])) for row in rows}


def test_each_layer_has_a_row_for_each_setting_that_it_sets(layered: hb.HeavenBase) -> None:
    assert layers(layered) == {
        ("code", "query.deadline", "7"),
        ("environment", "query.deadline", "6"),
        ("environment", "home", str(hb.config.home())),
        ("project", "query.deadline", "5"),
        ("project", "query.max_rows", "50"),
        ("project", "extensions.default", "['mine']"),
        ("user", "query.max_rows", "40"),
    }


def test_one_row_of_a_key_is_effective_and_it_is_the_value_that_holds(layered: hb.HeavenBase) -> None:
    rows = layered.query(ConfigLayer).where({"effective": True}).execute().rows()

    assert {row["key"]: (row["value"], row["origin"]) for row in rows} == {
        key: hb.config.setting(key) for key in ("home", "query.deadline", "query.max_rows")
    }


def test_what_an_untrusted_project_may_not_set_is_a_row_that_says_so(layered: hb.HeavenBase) -> None:
    (row,) = layered.query(ConfigLayer).where({"ignored": {"$is_null": False}}).execute().rows()

    assert (row["layer"], row["key"], row["effective"]) == ("project", "extensions.default", False)
    assert row["ignored"] == "this project is not trusted"


def test_the_rows_are_those_of_the_moment(layered: hb.HeavenBase) -> None:
    before = layered.count(ConfigLayer, {"layer": "user"})
    (hb.config.home() / "config.toml").write_text("")

    assert (before, layered.count(ConfigLayer, {"layer": "user"})) == (1, 0)


def test_a_secret_is_in_no_row(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hb.config.KEYS, "audit.keys.signing", hb.config.Key("text", "", "a key"))
    monkeypatch.setenv("HEAVENBASE_AUDIT_KEYS_SIGNING", "s3cret")
    ws.register(ConfigLayer)

    assert hb.config.get("audit.keys.signing") == "s3cret"
    assert layers(ws, key="audit.keys.signing") == {("environment", "audit.keys.signing", "<redacted>")}


def test_nobody_writes_settings_through_their_rows(ws: hb.HeavenBase) -> None:
    ws.register(ConfigLayer)

    with pytest.raises(SchemaError, match="derived"):
        ws.upsert(ConfigLayer, {"layer": "user", "key": "extensions.default", "value": ["audit"]})


def test_no_workspace_has_the_rows_by_itself_and_who_registers_them_keeps_them(tmp_path: Path) -> None:
    with hb.HeavenBase("kept", path=tmp_path / "kept") as one:
        with pytest.raises(UnknownEntity):
            one.query("sys-config-layer")
        one.register(ConfigLayer)
    with hb.HeavenBase("kept", path=tmp_path / "kept") as two:
        assert "home" in two.query("sys-config-layer").execute().column("key")


# -- the catalog -----------------------------------------------------------------------------------------------------


def test_the_catalog_has_a_row_for_each_stored_row_and_none_for_derived_ones(stocked: hb.HeavenBase) -> None:
    assert objects(stocked) == ["book one", "book two", "shelf one"]


def test_objects_of_two_entities_with_one_id_are_two_rows(stocked: hb.HeavenBase) -> None:
    ids = stocked.query(Catalog).where({"target_id": "one"}).execute().ids

    assert sorted(ids) == sorted([catalog_id("book", "one"), catalog_id("shelf", "one")])
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ({"target_entity": "book"}, ["book one", "book two"]),
        ({"target_id": "two"}, ["book two"]),
        ({"target_id": {"$in": ["two", "none"]}}, ["book two"]),
        ({"target_id": None}, []),
        ({"target_id": {"$in": [None, "two"]}}, ["book two"]),
        ({"name": "first"}, ["book one", "shelf one"]),
        ({"name": None}, ["book two"]),
        ({"name": "first", "target_entity": "shelf"}, ["shelf one"]),
        ({"target_entity": "sys-metaschema"}, []),
        ({"owner": ""}, ["book one", "book two", "shelf one"]),
    ],
    ids=str,
)
def test_the_catalog_finds_objects_by_entity_id_name_and_owner(
    condition: dict[str, Any], found: list[str], stocked: hb.HeavenBase
) -> None:
    assert objects(stocked, **condition) == found


def test_a_version_in_the_catalog_is_the_objects_own(stocked: hb.HeavenBase) -> None:
    stocked.set("two", {"pages": 7})

    rows = stocked.query(Catalog).where({"target_entity": "book"}).execute().rows()

    assert {row["target_id"]: row["version"] for row in rows} == {
        one: stocked.version(one, Book) for one in ("one", "two")
    }
    assert len({row["version"] for row in rows}) == 2


def test_the_catalog_forgets_what_is_deleted(stocked: hb.HeavenBase) -> None:
    stocked.delete("one", Book)

    assert objects(stocked, target_id="one") == ["shelf one"]


def test_an_object_and_its_structure_tell_which_extension_brought_them(ws: hb.HeavenBase) -> None:
    class Card(hb.Entity):
        text = hb.field(hb.ShortText)

    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("cards", entities=(Card,))))
    ws.enable_extension("cards")
    ws.upsert(Card, {"text": "a"})

    assert ws.query(Catalog).where({"owner": "cards"}).execute().column("target_entity") == ["card"]
    assert {row["owner"] for row in described(ws, entity="card")} == {"cards"}
    assert {row["owner"] for row in described(ws, entity="sys-catalog")} == {"system"}


# -- the metaschema --------------------------------------------------------------------------------------------------


def test_an_entity_is_described_with_its_fields(ws: hb.HeavenBase) -> None:
    (row,) = described(ws, kind="entity", subject="book")

    assert (row["name"], row["entity"], row["desc"], row["owner"]) == ("book", "book", "A book of the shelf.", "")
    assert row["meta"]["fields"] == ["object_id", "name", "title", "pages"]
    assert not row["meta"]["derived"]


def test_a_field_is_described_with_its_type_and_its_place(ws: hb.HeavenBase) -> None:
    (row,) = described(ws, kind="field", subject="book.title")

    assert (row["entity"], row["field"], row["dtype"], row["desc"]) == (
        "book",
        "title",
        "short-text",
        "as on the spine",
    )
    assert (row["tags"], row["required"]) == (["print"], True)
    assert (row["backend"], row["strategy"], row["meta"]["indexes"]) == ("main", "inline", ["inverted"])
    assert row["meta"]["schema"]["name"] == "title"


def test_a_field_that_is_stored_nowhere_has_no_place(ws: hb.HeavenBase) -> None:
    rows = described(ws, kind="field", entity="sys-catalog")

    assert len(rows) == len(Catalog.schema().fields)
    assert {(row["backend"], row["strategy"]) for row in rows} == {(None, None)}


def test_no_two_rows_of_the_metaschema_share_an_id(ws: hb.HeavenBase) -> None:
    ids = ws.query(MetaSchema).execute().ids

    assert len(ids) == len(set(ids)) > 50


@pytest.mark.parametrize("kind", ["entity", "field", "extension", "logical-type", "strategy", "op", "backend"])
def test_a_kind_that_is_asked_for_has_the_rows_that_it_has_among_all(kind: str, ws: hb.HeavenBase) -> None:
    among_all = [row for row in described(ws) if row["kind"] == kind]

    assert among_all
    assert described(ws, kind=kind) == among_all


def test_combinations_are_rows_like_any_other(ws: hb.HeavenBase) -> None:
    among_all = [row for row in described(ws) if row["kind"] == "capability"]

    assert len(among_all) == len(ws.capabilities.combinations()) > 100
    assert described(ws, kind="capability") == among_all


EQUAL_FILTERS: list[list[dict[str, Any]]] = [
    [
        {"kind": "capability"},
        {"kind": {"$in": ["capability"]}},
        {"kind": {"$starts_with": "capability"}},
        {"$or": [{"kind": "capability"}, {"kind": "x"}]},
        {"$not": {"kind": {"$ne": "capability"}}},
        {"$and": [{"kind": "capability"}, {"entity": None}]},
        {"kind": "capability", "entity": {"$in": [None, "book"]}},
    ],
    [{}, {"subject": {"$is_null": False}}, {"$or": [{"kind": "capability"}, {"kind": {"$ne": "capability"}}]}],
    [{"kind": {"$ne": "capability"}}, {"$not": {"kind": "capability"}}],
    [
        {"entity": "book"},
        {"entity": {"$in": ["book"]}},
        {"entity": {"$like": "book"}},
        {"$not": {"entity": {"$ne": "book"}}},
    ],
    [{"kind": "extension"}, {"kind": {"$ends_with": "xtension"}}, {"kind": "extension", "entity": None}],
    [{"backend": "main"}, {"backend": {"$like": "main"}}],
    [{"subject": "book.title"}, {"subject": {"$like": "book.title"}}, {"name": "book.title"}],
]


@pytest.mark.parametrize("equal", EQUAL_FILTERS, ids=range(len(EQUAL_FILTERS)))
def test_filters_that_mean_the_same_have_the_same_rows(equal: list[dict[str, Any]], ws: hb.HeavenBase) -> None:
    first, *others = (described(ws, **filter) for filter in equal)

    assert first
    for rows, filter in zip(others, equal[1:], strict=True):
        assert rows == first
        assert ws.count(MetaSchema, filter) == len(first)


def test_a_description_longer_than_a_row_holds_is_cut(ws: hb.HeavenBase) -> None:
    class Wordy(hb.Entity):
        __desc__ = "d" * 5000
        __tags__ = ("t" * 300,)
        text = hb.field(hb.ShortText).desc("f" * 5000).tags("g" * 300)

    ws.register(Wordy)

    (entity,), (field,) = described(ws, kind="entity", entity="wordy"), described(ws, subject="wordy.text")

    assert (entity["desc"], entity["tags"]) == ("d" * 4095, ["t" * 255])
    assert (field["desc"], field["tags"], field["meta"]["schema"]["desc"]) == ("f" * 4095, ["g" * 255], "f" * 5000)


def test_a_query_for_one_kind_computes_no_other(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("combinations", "logical_types", "ops"):
        monkeypatch.setattr(CapabilityIndex, name, lambda *_: pytest.fail("something else was computed"))

    for condition in ({"kind": "field"}, {"kind": {"$in": ["entity", "extension", "backend"]}}, {"entity": "book"}):
        assert described(ws, **condition)
    with pytest.raises(pytest.fail.Exception, match="something else was computed"):
        described(ws)
