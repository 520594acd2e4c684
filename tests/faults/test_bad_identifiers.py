"""Hostile names and texts: refused where a name is asked for, kept to the letter where text is, and nothing else.

Each payload goes through every place that takes a name or a text; afterwards the file's tables and rows are as before.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import (
    ConfigError,
    HeavenError,
    InvalidName,
    PluginError,
    QueryError,
    SchemaError,
    UniqueViolation,
    UnknownEntity,
    UnknownField,
    UnknownKey,
    UnknownOp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

PAYLOADS = [
    '\'; drop table "e_doc"; --',
    '"; drop table "e_doc"; --',
    '") union select object_id, sql, 1 from sqlite_master --',
    "x' or '1'='1",
    "1; update e_doc set n = 0; --",
    "\\'; delete from e_doc; --",
    '$."a"; drop table e_doc',
    'hello" OR f_body:* NOT NEAR(hello, 5) ^ { - "',
    "[a-z]*?%_",
    "{0} %s %(n)s ${HOME} {{n}}",
    "__import__('os').system('true')",
    "../../../etc/passwd",
    "line\nbreak\tand\x7f\x1b[31m",
    "Ünïcödé 𝒳 \u202e\u0301 \U0001f4a5",
]


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).index()
    n = hb.field(hb.Integer)
    code = hb.field(hb.ShortText).unique()
    tags = hb.field(hb.Array[hb.ShortText])
    labels = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)
    anything = hb.field(hb.Array)
    meta = hb.field(hb.Json)
    vec = hb.field(hb.Vector[2])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hb.HeavenBase]:
    where: dict[str, Any] = {"preset": "debug"} if request.param == "inmem" else {"path": tmp_path / "ws"}
    with hb.HeavenBase("hostile", **where) as workspace:
        workspace.register(Doc)
        workspace.upsert_many(
            Doc, [{"object_id": f"d{one}", "title": "plain", "n": one, "body": "hello there"} for one in range(3)]
        )
        yield workspace
        assert workspace.check().ok
        assert [row["n"] for row in workspace.get_many(["d0", "d1", "d2"], Doc) if row] == [0, 1, 2]


def tables(ws: hb.HeavenBase) -> list[tuple[str, str]]:
    """The tables of the file, by another connection; none of the memory engine."""
    if ws.folder is None:
        return []
    with closing(sqlite3.connect(ws.folder / "main.db")) as other:
        return other.execute("select name, sql from sqlite_master order by name").fetchall()


def written(payload: str) -> dict[str, Any]:
    return {
        "object_id": payload,
        "name": payload,
        "title": payload,
        "code": payload,
        "tags": [payload, payload],
        "labels": [payload, "other"],
        "anything": [payload, 1],
        "meta": {payload: payload, "list": [payload]},
        "body": f"hello {payload}",
    }


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_text_is_kept_and_given_back_to_the_letter(ws: hb.HeavenBase, payload: str) -> None:
    before = tables(ws)

    assert ws.upsert(Doc, written(payload)) == payload

    assert ws.get(payload) == {**written(payload), "n": None, "vec": None}
    assert ws.get_many([payload, "d0"], Doc)[0] == ws.get(payload, Doc)
    assert ws.exists(payload)
    assert ws.version(payload) == ws.versions(Doc, [payload])[0]
    assert ws.set(payload, {"n": 7}) == payload
    assert ws.count(Doc) == 4
    assert ws.delete(payload) is True
    assert ws.count(Doc) == 3
    assert tables(ws) == before


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_text_is_found_by_every_operation_as_itself(ws: hb.HeavenBase, payload: str) -> None:
    ws.upsert(Doc, written(payload))
    like = payload.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")

    for condition in (
        Doc.object_id == payload,
        Doc.name == payload,
        Doc.title == payload,
        Doc.title.in_([payload, "nothing"]),
        Doc.title.between(payload, payload),
        Doc.title.contains(payload),
        Doc.title.starts_with(payload),
        Doc.title.ends_with(payload),
        Doc.title.contained_in(f"<{payload}>"),
        Doc.title.like(like),
        Doc.title.ilike(f"%{like}%"),
        Doc.tags.array_contains(payload),
        Doc.tags.array_overlaps([payload, "nothing"]),
        Doc.labels.array_contains(payload),
        Doc.labels.contained_in([payload, "other"]),
        Doc.anything.array_contains(payload),
        Doc.meta[payload] == payload,
        Doc.meta[payload].contains(payload),
        Doc.meta["list"] == [payload],
        Doc.meta == {payload: payload, "list": [payload]},
    ):
        query = ws.query(Doc).where(condition)
        assert query.execute().ids == [payload], condition
        assert ws.query_json(Doc, query.to_dict()).execute().ids == [payload]
        assert payload not in ws.query(Doc).where(~condition).execute().ids


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_question_about_plain_rows_finds_nothing(ws: hb.HeavenBase, payload: str) -> None:
    before = tables(ws)

    for condition in (
        Doc.title == payload,
        Doc.title.contains(payload),
        Doc.title.regex("\\Q" + payload.replace("\\E", "") + "\\E"),
        Doc.body.match(f"{payload} absentword"),
        Doc.labels.array_contains(payload),
        Doc.meta[payload] == 1,
    ):
        assert ws.query(Doc).where(condition).execute().ids == []
    assert set(ws.query(Doc).search(f"{payload} hello").execute().ids) == {"d0", "d1", "d2"}
    assert ws.get(payload) is None
    assert ws.delete(payload) is False
    assert tables(ws) == before


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_name_is_refused_wherever_a_query_takes_one(ws: hb.HeavenBase, payload: str) -> None:
    before = tables(ws)
    specs: list[tuple[Any, type[Exception]]] = [
        ({payload: 1}, UnknownKey),
        ({"filter": {payload: 1}}, LookupError),
        ({"filter": {f"${payload}": 1}}, UnknownKey),
        ({"filter": {"title": {f"${payload}": 1}}}, UnknownOp),
        ({"filter": {"meta": {"$get": {"path": "a", f"${payload}": 1}}}}, HeavenError),
        ({"select": [payload]}, UnknownField),
        ({"order": [payload]}, UnknownField),
        ({"order": [f"-{payload}"]}, UnknownField),
        ({"group_by": [payload]}, UnknownField),
        ({"aggregate": {"x": {f"${payload}": {"field": "n"}}}}, UnknownOp),
        ({"aggregate": {"x": {"$sum": {"field": payload}}}}, UnknownField),
        ({"aggregate": {"x": {"$sum": {payload: "n"}}}}, UnknownKey),
        ({"aggregate": {"x": {"$count": {}}}, "having": {payload: 1}}, LookupError),
        ({"near": {"field": payload, "query": [1, 0]}}, UnknownField),
        ({"near": {"field": "vec", "query": [1, 0], "metric": payload}}, QueryError),
        ({"near": {"field": "vec", "query": [1, 0], payload: 1}}, UnknownKey),
        ({"search": {"query": "x", "fields": [payload]}}, UnknownField),
        ({"search": {"query": "x", payload: 1}}, UnknownKey),
        ({"limit": payload}, QueryError),
        ({"offset": payload}, QueryError),
    ]

    for spec, kind in specs:
        with pytest.raises(kind) as raised:
            ws.query_json(Doc, spec).execute()
        assert isinstance(raised.value, HeavenError)
        assert str(raised.value).isprintable(), spec

    assert tables(ws) == before


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_name_of_an_aggregate_is_refused_or_only_a_name(ws: hb.HeavenBase, payload: str) -> None:
    spec = {
        "group_by": ["title"],
        "aggregate": {payload: {"$count": {}}},
        "having": {payload: {"$gte": 2}},
        "order": [payload],
    }
    if not payload.isprintable() or payload.startswith("$"):
        with pytest.raises(QueryError):
            ws.query_json(Doc, spec)
        return

    assert ws.query_json(Doc, spec).execute().rows() == [{"title": "plain", payload: 3}]
    assert ws.query(Doc).aggregate(**{payload: Doc.n.sum()}).execute().scalar() == 3


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_name_is_no_entity_and_no_extension(ws: hb.HeavenBase, payload: str) -> None:
    before = tables(ws)

    for ask in (ws.entity, ws.query, ws.ids, ws.count):
        with pytest.raises(UnknownEntity):
            ask(payload)
    for write in (
        lambda: ws.upsert(payload, {"title": "x"}),
        lambda: ws.set("d0", {"n": 5}, payload),
        lambda: ws.delete("d0", payload),
    ):
        with pytest.raises(UnknownEntity):
            write()
    with pytest.raises(UnknownField):
        ws.upsert(Doc, {payload: 1})
    with pytest.raises(UnknownField):
        ws.set("d0", {payload: 1})
    with pytest.raises(PluginError):
        ws.enable_extension(payload)
    assert tables(ws) == before


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_value_in_an_error_is_shown_safely(ws: hb.HeavenBase, payload: str) -> None:
    ws.upsert(Doc, {"code": payload})

    with pytest.raises(UniqueViolation) as raised:
        ws.upsert(Doc, {"code": payload})

    assert raised.value.value == payload
    assert str(raised.value).isprintable()


# Where a name is made


BAD_IDS = [
    *PAYLOADS,
    "",
    "Doc",
    "1doc",
    "-doc",
    "doc-",
    "a" * 64,
    "dóc",
    "do c",
    "doc\n",
    "e.f",
    "con:1",
    "a/b",
    "a\0b",
    "\ud800",
]


@pytest.mark.parametrize("bad", [*BAD_IDS, 5, None, b"doc", ("doc",), True])
def test_a_bad_id_is_refused_when_it_is_made(bad: Any, tmp_path: Path) -> None:
    for make in (
        lambda: hb.HeavenBase(bad, path=tmp_path / "never"),
        lambda: hb.Entity.from_schema({"id": bad, "fields": []}),
        lambda: hb.ext.ExtensionSpec(bad),
        lambda: hb.ext.StoragePlugin(bad, backend="m:B", api=1),
        lambda: hb.HeavenBase("ok", backends={bad: {"type": "inmem"}}),
    ):
        with pytest.raises(InvalidName) as raised:
            make()
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 500
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_class_with_a_bad_id_is_refused_when_it_is_defined(bad: str) -> None:
    with pytest.raises(InvalidName):
        type("Bad", (hb.Entity,), {"identifier": bad})


BAD_FIELDS = [
    *PAYLOADS,
    "",
    "1n",
    "_n",
    "n-1",
    "n.1",
    "a b",
    "naïve",
    "class",
    "None",
    "a" * 64,
    "a\n",
    "a\0",
    "\ud800",
    'a"',
]


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_bad_field_name_is_refused_when_it_is_made(bad: str) -> None:
    with pytest.raises(SchemaError) as by_schema:
        hb.Entity.from_schema({"id": "doc", "fields": [{"name": bad, "type": "integer"}]})
    assert str(by_schema.value).isprintable()
    if not bad.startswith("_") and "\ud800" not in bad and "\0" not in bad:
        with pytest.raises(SchemaError):
            type("Bad", (hb.Entity,), {bad: hb.field(hb.Integer)})


@pytest.mark.parametrize(
    "name", ["object_id", "Object_Id", "NAME", "Name", "schema", "to_dict", "from_schema", "identifier"]
)
def test_a_field_cannot_take_a_name_that_every_entity_uses(name: str) -> None:
    with pytest.raises(SchemaError):
        hb.Entity.from_schema({"id": "doc", "fields": [{"name": name, "type": "integer"}]})
    with pytest.raises(SchemaError):
        type("Bad", (hb.Entity,), {name: hb.field(hb.Integer)})


def test_two_fields_cannot_differ_by_case_only() -> None:
    fields = [{"name": "Title", "type": "integer"}, {"name": "title", "type": "integer"}]

    with pytest.raises(SchemaError, match="case"):
        hb.Entity.from_schema({"id": "doc", "fields": fields})


def test_an_entity_cannot_take_the_kernels_own_ids(ws: hb.HeavenBase) -> None:
    for identifier in ("hb-entity", "hb-extension", "hb-other"):
        with pytest.raises(InvalidName):
            ws.register(hb.Entity.from_schema({"id": identifier, "fields": []}))
    for identifier in ("hb-entity", "hb-extension", "hb_state", "e_doc", "sqlite_master"):
        with pytest.raises(UnknownEntity):
            ws.query(identifier)


WORDS = [
    "select",
    "table",
    "rowid",
    "oid",
    "index",
    "order",
    "group",
    "rank",
    "fts",
    "fts_data",
    "fts_config",
    "hb_count",
    "v",
    "t",
    "f",
]


def test_words_of_sql_and_of_the_storage_are_good_names(ws: hb.HeavenBase) -> None:
    text = {"type": "short-text", "unique": True, "store": [{"strategy": "inverted"}]}
    array = {"type": {"type": "array", "item": {"type": "short-text"}}, "store": [{"strategy": "side"}]}
    if ws.folder is None:
        array.pop("store")
    texts = hb.Entity.from_schema({"id": "select", "fields": [{"name": word, **text} for word in WORDS]})
    arrays = hb.Entity.from_schema(
        {"id": "group", "fields": [*({"name": word, **array} for word in WORDS), {"name": "body", **text}]}
    )
    ws.register(texts, arrays)

    ws.upsert(texts, {"object_id": "one", **{word: f"the {word}" for word in WORDS}})
    ws.upsert(arrays, {"object_id": "two", "body": "words", **{word: [word] for word in WORDS}})

    for word in WORDS:
        assert ws.query(texts).where({word: {"$match": word}}).order_by(word).execute().ids == ["one"]
        assert ws.query(arrays).where({word: {"$array_contains": word}}).execute().ids == ["two"]
    assert ws.query(texts).search("rowid").execute().ids == ["one"]
    assert ws.query(arrays).search("words").execute().ids == ["two"]
    assert ws.count(texts) == 1
    assert ws.check().ok


def test_names_as_long_as_they_may_be_work(ws: hb.HeavenBase) -> None:
    name = "a" * 63
    entity = hb.Entity.from_schema(
        {
            "id": name,
            "fields": [
                {"name": name, "type": "short-text", "unique": True, "index": True},
                {"name": name[1:] + "b", "type": "integer"},
            ],
        }
    )
    ws.register(entity)

    ws.upsert(entity, {"object_id": name, name: "x"})

    assert ws.query(entity).where({name: "x"}).execute().ids == [name]


SCHEMAS: list[Any] = [
    None,
    5,
    [],
    {},
    {"id": "doc", "fields": 5},
    {"id": "doc", "fields": [5]},
    {"id": "doc", "fields": [{}]},
    {"id": "doc", "fields": [{"name": "a"}]},
    {"id": "doc", "fields": [{"name": "a", "type": "strnig"}]},
    {"id": "doc", "fields": [{"name": "a", "type": 5}]},
    {"id": "doc", "fields": [{"name": "a", "type": {"type": "vector", "dim": "3"}}]},
    {"id": "doc", "fields": [{"name": "a", "type": {"type": "vector", "dim": -1}}]},
    {"id": "doc", "fields": [{"name": "a", "type": {"type": "short-text", "max_chars": 0}}]},
    {"id": "doc", "fields": [{"name": "a", "type": {"type": "integer", "bits": 8}}]},
    {"id": "doc", "fields": [{"name": "a", "type": {"type": "array", "item": "json"}}]},
    {"id": "doc", "fields": [{"name": "a", "type": {"type": "categorical", "values": [1]}}]},
    {"id": "doc", "fields": [{"name": "a", "type": "integer", "uniqe": True}]},
    {"id": "doc", "fields": [{"name": "a", "type": "integer", "unique": 1}]},
    {"id": "doc", "fields": [{"name": "a", "type": "integer", "default": "x"}]},
    {"id": "doc", "fields": [{"name": "a", "type": "integer"}, {"name": "a", "type": "integer"}]},
    {"id": "doc", "fields": [{"name": "object_id", "type": "integer"}]},
    {"id": "doc", "fields": [{"name": "name", "type": "integer"}]},
    {"id": "doc", "fields": [{"name": "a", "type": "integer", "compute": {"function": "m:f", "inputs": ["b"]}}]},
    {"id": "doc", "field": []},
    {"id": "doc", "tags": "x"},
    {"id": "doc", "desc": 5},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaError) as raised:
        hb.Entity.from_schema(schema)

    assert str(raised.value).isprintable()


def test_a_schema_of_a_newer_format_is_refused_with_a_sentence() -> None:
    from heaven_core.errors import FormatTooNew

    with pytest.raises(FormatTooNew, match="format 2"):
        hb.Entity.from_schema({"format": 2, "id": "doc", "fields": []})


PLACES: list[tuple[Callable[[], Any], type[HeavenError]]] = [
    (lambda: hb.field(hb.ShortText).store(to="elsewhere"), HeavenError),
    (lambda: hb.field(hb.ShortText).store(strategy="no-such-strategy"), HeavenError),
    (lambda: hb.field(hb.Integer).store(strategy=hb.InvertedIndex), HeavenError),
    (lambda: hb.field(hb.Integer).store(strategy=hb.SideTable), HeavenError),
    (lambda: hb.field(hb.ShortText).store(strategy=hb.VectorIndex), HeavenError),
]


@pytest.mark.parametrize(("make", "kind"), PLACES, ids=range(len(PLACES)))
def test_a_field_that_no_backend_can_hold_so_is_refused_and_nothing_is_registered(
    ws: hb.HeavenBase, make: Callable[[], Any], kind: type[HeavenError]
) -> None:
    before = tables(ws)

    with pytest.raises(kind):
        ws.register(type("Placed", (hb.Entity,), {"ok": hb.field(hb.Integer), "a": make()}))

    assert tables(ws) == before
    with pytest.raises(UnknownEntity):
        ws.entity("placed")


BACKENDS: list[tuple[dict[str, Any], type[HeavenError]]] = [
    ({"backends": []}, ConfigError),
    ({"backends": "sqlite"}, ConfigError),
    ({"backends": {"main": 5}}, ConfigError),
    ({"backends": {"main": {}}}, ConfigError),
    ({"backends": {"main": {"type": 5}}}, ConfigError),
    ({"backends": {"main": {"type": "sqlte"}}}, PluginError),
    ({"backends": {"main": {"type": "sqlite", "databse": "x"}}}, ConfigError),
    ({"backends": {"main": {"type": "sqlite", 5: "x", "a": 1}}}, ConfigError),
    ({"backends": {"main": {"type": "sqlite", "database": 5}}}, ConfigError),
    ({"backends": {"main": {"type": "sqlite", "database": "a\0b"}}}, ConfigError),
    ({"backends": {"main": {"type": "sqlite", "database": ":memory:"}}}, ConfigError),
    ({"backends": {"main": {"type": "sqlite", "database": "x", "path": "x"}}}, ConfigError),
    ({"backends": {"main": {"type": "inmem", "size": 5}}}, ConfigError),
    ({"preset": "lokal"}, ConfigError),
    ({"preset": ["local"]}, ConfigError),
    ({"preset": 5}, ConfigError),
    ({"path": 5}, ConfigError),
    ({"path": "a\0b"}, ConfigError),
    ({"path": "a\ud800b"}, ConfigError),
    ({"path": b"bytes"}, ConfigError),
]


@pytest.mark.parametrize(("said", "kind"), BACKENDS, ids=range(len(BACKENDS)))
def test_a_workspace_that_cannot_be_meant_is_refused(
    said: dict[str, Any], kind: type[HeavenError], tmp_path: Path
) -> None:
    with pytest.raises(kind) as raised:
        hb.HeavenBase("refused", **{"path": tmp_path / "ws", **said})

    assert str(raised.value).isprintable()
    assert not (tmp_path / "ws").exists()
