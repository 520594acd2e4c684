"""Schemas as data, `heaven_core.schema`: the JSON form and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.entity import Entity, field
from heaven_core.errors import FormatTooNew, InvalidName, SchemaError, UnknownField
from heaven_core.schema import (
    MAX_FIELDS,
    MISSING,
    SCHEMA_FORMAT,
    ComputeSchema,
    EntitySchema,
    FieldSchema,
    StoreChoice,
    implicit_fields,
)
from heaven_core.types import (
    Array,
    Artifact,
    Boolean,
    Categorical,
    Date,
    Duration,
    Float,
    Integer,
    Json,
    LogicalType,
    LongText,
    ShortText,
    Timestamp,
    Vector,
)

if TYPE_CHECKING:
    from conftest import Open

pytestmark = pytest.mark.unit

# -- schemas made by hypothesis --------------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False)
TYPED_DEFAULTS: list[tuple[LogicalType[Any], st.SearchStrategy[Any]]] = [
    (ShortText(), st.text("abc é", max_size=9)),
    (LongText(7), st.text("abc", max_size=7)),
    (Categorical(["a", "b"]), st.sampled_from("ab")),
    (Integer(), st.integers(-(2**63), 2**63 - 1)),
    (Float(), FINITE),
    (Boolean(), st.booleans()),
    (Timestamp(), st.just(Timestamp().check("2024-05-01T12:00:00Z"))),
    (Date(), st.dates()),
    (Duration(), st.timedeltas().map(lambda span: span / 10_000)),
    (Array(Integer), st.lists(st.integers(0, 9), max_size=3)),
    (Json(), st.dictionaries(st.text("ab"), st.integers(0, 9), max_size=2)),
    (Vector(2), st.just([0.5, 1.0])),
    (Artifact(), st.binary(max_size=3)),
]
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)
LABELS = st.lists(WORDS, max_size=2).map(tuple)
STORES = st.lists(
    st.builds(
        StoreChoice, st.none() | st.just("main"), st.none() | st.sampled_from(["inline", "inverted"]), st.booleans()
    ),
    max_size=2,
).map(tuple)


@st.composite
def fields(draw: st.DrawFn, name: str) -> FieldSchema:
    dtype, defaults = draw(st.sampled_from(TYPED_DEFAULTS))
    scalar = "scalar" in dtype.traits
    default: Any = draw(st.just(MISSING) | st.none() | defaults)
    compute = draw(st.none() | st.just(ComputeSchema("some.module:function", ("name",), "0" * 32)))
    return FieldSchema(
        "doc",
        name,
        dtype,
        desc=draw(WORDS),
        tags=draw(LABELS),
        required=draw(st.booleans()),
        index=scalar and draw(st.booleans()),
        unique=scalar and draw(st.booleans()),
        default=default if default is MISSING or default is None or compute is not None else dtype.check(default),
        compute=compute if default is MISSING else None,
        stores=draw(STORES),
    )


@st.composite
def schemas(draw: st.DrawFn) -> EntitySchema:
    names = draw(st.lists(st.sampled_from(["title", "n", "self_", "class_", "A1"]), unique=True, max_size=4))
    return EntitySchema.made(
        "doc",
        [draw(fields(name)) for name in names],
        desc=draw(WORDS),
        tags=draw(LABELS),
        derived=draw(st.none() | st.just("some.module:rows")),
        observed=draw(st.booleans()),
    )


@given(schemas())
def test_a_schema_survives_its_json_form(schema: EntitySchema) -> None:
    text = json.dumps(schema.to_dict(), allow_nan=False)

    back = EntitySchema.from_dict(json.loads(text))

    assert back == schema
    assert back.to_dict() == schema.to_dict()
    assert hash(back) == hash(schema)


@given(schemas())
def test_a_schema_survives_being_a_class(schema: EntitySchema) -> None:
    assert Entity.from_schema(schema).schema() == schema
    assert Entity.from_schema(schema.to_dict()).schema() == schema


# -- the form --------------------------------------------------------------------------------------------------------


def test_the_json_form_says_only_what_differs_from_the_defaults() -> None:
    class Doc(Entity):
        title = field(ShortText).required()
        n = field(Integer)

    assert Doc.schema().to_dict() == {
        "format": 1,
        "id": "doc",
        "fields": [
            {"name": "title", "type": {"type": "short-text"}, "required": True},
            {"name": "n", "type": {"type": "integer"}},
        ],
    }


def test_a_schema_may_be_written_by_hand() -> None:
    schema = EntitySchema.from_dict({"id": "doc", "fields": [{"name": "n", "type": "integer", "default": 3}]})

    assert schema.names == ("object_id", "name", "n")
    assert schema.field("n") == FieldSchema("doc", "n", Integer(), default=3)


def test_a_null_default_is_not_a_missing_one() -> None:
    body = {"id": "doc", "fields": [{"name": "n", "type": "integer", "default": None}]}

    assert EntitySchema.from_dict(body).field("n").default is None
    assert EntitySchema.from_dict(body).to_dict()["fields"][0]["default"] is None


def test_the_implicit_fields_come_first_and_are_written_only_if_they_were_changed() -> None:
    class Plain(Entity):
        n = field(Integer)

    class Named(Entity):
        n = field(Integer)
        name = field(ShortText(500)).required()

    assert Plain.schema().fields[:2] == implicit_fields("plain")
    assert Named.schema().names == ("object_id", "name", "n")
    assert [one["name"] for one in Named.schema().to_dict()["fields"]] == ["name", "n"]


def test_missing_is_false_and_says_its_name() -> None:
    assert not MISSING
    assert repr(MISSING) == "MISSING"


# -- refusals --------------------------------------------------------------------------------------------------------


def _doc(**field: Any) -> dict[str, Any]:
    return {"id": "doc", "fields": [{"name": "n", "type": "integer", **field}]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (["doc"], "a schema is a mapping, not a list"),
        ({"id": "doc", "feilds": []}, "'feilds' is no key of a schema; did you mean 'fields'?"),
        ({"id": "doc", "fields": {"n": "integer"}}, "the fields of 'doc' are a list"),
        ({"id": "doc", "fields": ["n"]}, "a field of 'doc' is written"),
        ({"id": "doc", "fields": [{"name": "n"}]}, "a field of 'doc' is written"),
        ({"id": "doc", "desc": 5}, "'desc' takes a text"),
        ({"id": "doc", "tags": "a"}, "'tags' takes a list of texts"),
        ({"id": "doc", "derived": 5}, "'derived' takes a text"),
        ({"id": "doc", "observed": "no"}, "'observed' takes true or false"),
        (_doc(defualt=3), "'defualt' is no key of a field; did you mean 'default'?"),
        (_doc(type="integr"), "'integr' is no logical type; did you mean 'Integer'?"),
        (_doc(default="x"), "doc.n: the default is a str; takes a whole number"),
        (_doc(required="yes"), "'required' takes true or false"),
        (_doc(index=1), "'index' takes true or false"),
        (_doc(tags=[1]), "'tags' takes a list of texts"),
        (_doc(desc=None), "'desc' takes a text"),
        (_doc(store=5), "'store' takes a list of store choices"),
        (_doc(store={"to": "main"}), "'store' takes a list of store choices"),
        (_doc(store=["main"]), "a store choice is written"),
        (_doc(store=[{"where": "main"}]), "a store choice is written"),
        (_doc(store=[{"to": 5}]), "a store choice's 'to' is a name"),
        (_doc(store=[{"mirror": 1}]), "'mirror' takes true or false"),
        (_doc(compute="f"), "a compute is written"),
        (_doc(compute={"function": "m:f"}), "a compute is written"),
        (_doc(compute={"function": "m:f", "inputs": "name"}), "'inputs' takes a list of texts"),
        (_doc(compute={"function": 5, "inputs": ["name"]}), "'function' takes a text"),
        (
            _doc(compute={"function": "m:f", "inputs": ["name"]}, default=3),
            "doc.n is computed and cannot have a default",
        ),
    ],
)
def test_bad_input_is_named(body: Any, message: str) -> None:
    with pytest.raises(SchemaError) as raised:
        EntitySchema.from_dict(body)

    assert message in str(raised.value)


@pytest.mark.parametrize("names", [("n", "n"), ("n", "N"), ("Object_ID",), ("Name",), ("NAME", "name")])
def test_names_that_differ_at_most_by_case_are_refused(names: tuple[str, ...]) -> None:
    body = {"id": "doc", "fields": [{"name": name, "type": "short-text"} for name in names]}

    with pytest.raises(SchemaError, match=r"only by case|at most by case"):
        EntitySchema.from_dict(body)


@pytest.mark.parametrize(
    "body", [{}, {"id": "Doc"}, {"id": 5}, {"id": "doc", "fields": [{"name": "a b", "type": "json"}]}]
)
def test_names_that_break_the_rules_are_refused(body: dict[str, Any]) -> None:
    with pytest.raises(InvalidName):
        EntitySchema.from_dict(body)


@pytest.mark.parametrize(
    "changed", [{"type": "short-text"}, {"default": "a"}, {"compute": {"function": "m:f", "inputs": []}}]
)
def test_object_id_cannot_be_redefined(changed: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="cannot redefine 'object_id'"):
        EntitySchema.from_dict({"id": "doc", "fields": [{"name": "object_id", "type": "identifier", **changed}]})


def test_name_stays_a_short_text() -> None:
    with pytest.raises(SchemaError, match="'name' exists on every entity and is a ShortText"):
        EntitySchema.from_dict({"id": "doc", "fields": [{"name": "name", "type": "integer"}]})


def test_name_cannot_be_computed_because_ids_are_made_from_it() -> None:
    compute = {"function": "builtins:str", "inputs": ["n"]}

    with pytest.raises(SchemaError, match="'name' cannot be computed"):
        EntitySchema.from_dict(
            {
                "id": "doc",
                "fields": [
                    {"name": "name", "type": "short-text", "compute": compute},
                    {"name": "n", "type": "integer"},
                ],
            }
        )


def test_a_compute_needs_inputs_that_exist_and_are_not_computed() -> None:
    def computed(name: str, *inputs: str) -> dict[str, Any]:
        return {"name": name, "type": "integer", "compute": {"function": "m:f", "inputs": list(inputs)}}

    with pytest.raises(UnknownField, match="did you mean 'name'"):
        EntitySchema.from_dict({"id": "doc", "fields": [computed("a", "nam")]})
    with pytest.raises(SchemaError, match=r"doc\.b: its input 'a' is itself computed"):
        EntitySchema.from_dict({"id": "doc", "fields": [computed("a", "name"), computed("b", "a")]})


@pytest.mark.parametrize("version", [SCHEMA_FORMAT + 1, 99])
def test_a_newer_format_is_refused_with_a_sentence(version: int) -> None:
    with pytest.raises(
        FormatTooNew, match=f"this schema has format {version}; this HeavenBase reads up to {SCHEMA_FORMAT}"
    ):
        EntitySchema.from_dict({"format": version, "id": "doc"})


def test_an_unknown_field_is_told_the_nearest() -> None:
    schema = EntitySchema.from_dict(_doc())

    with pytest.raises(UnknownField, match="entity 'doc' has no field 'nam'; did you mean 'name'") as raised:
        schema.field("nam")
    with pytest.raises(UnknownField):
        schema.field(["unhashable"])

    assert vars(raised.value)["field"] == "nam"


def test_an_entity_has_as_many_fields_as_every_engine_can_hold(open_workspace: Open) -> None:
    texts = [
        FieldSchema("wide", f"f{one}", ShortText(), stores=(StoreChoice(None, "suffix-index"),))
        for one in range(MAX_FIELDS)
    ]
    wide = Entity.from_schema(EntitySchema.made("wide", texts))
    row = {"object_id": "a", **{f"f{one}": f"text {one}" for one in range(MAX_FIELDS)}}

    for engine in ("sqlite", "inmem"):
        ws = open_workspace(engine, id=f"wide-{engine}")
        ws.register(wide)
        ws.upsert(wide, row)
        assert ws.query(wide).where({"f7": {"$ends_with": "t 7"}}).order_by(*row).execute().rows() == [
            {"name": None, **row}
        ]
        assert ws.check().ok
    with pytest.raises(SchemaError, match="entity 'wide' has 951 fields; at most 950 are possible"):
        EntitySchema.made("wide", [*texts, FieldSchema("wide", "more", ShortText())])
