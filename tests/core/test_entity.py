"""Entity classes, `heaven_core.entity`: declaring fields, reading them on class and instance, classes from schemas."""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

import heavenbase as hb
from heaven_core.entity import Entity, Field, field
from heaven_core.errors import InvalidName, SchemaError, UnknownField
from heaven_core.expr import FieldRef
from heaven_core.schema import StoreChoice
from heaven_core.types import Array, Integer, Json, LongText, ShortText, Vector

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


class Doc(Entity):
    """A document.

    With a longer story.
    """

    title = field(ShortText).required().desc("what it is called")
    n = field(Integer).default(3).index().tags("number", "small")
    body = field(LongText).store(strategy=hb.InvertedIndex)
    labels = field(Array(ShortText)).default([])


# -- declaring -------------------------------------------------------------------------------------------------------


def test_a_class_makes_its_schema() -> None:
    schema = Doc.schema()

    assert (schema.id, schema.desc, schema.names) == (
        "doc",
        "A document.",
        ("object_id", "name", "title", "n", "body", "labels"),
    )
    assert (schema.field("title").required, schema.field("title").desc) == (True, "what it is called")
    assert (schema.field("n").default, schema.field("n").index, schema.field("n").tags) == (
        3,
        True,
        ("number", "small"),
    )
    assert schema.field("body").stores == (StoreChoice(None, "inverted"),)


def test_a_field_takes_a_class_an_instance_an_identifier_or_a_spec() -> None:
    for given in (ShortText, ShortText(), "short-text", {"type": "short-text"}):
        assert field(given).dtype == ShortText()  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_what_is_no_type_is_refused_at_the_field() -> None:
    with pytest.raises(SchemaError, match=r"str is no logical type; did you mean heavenbase\.ShortText"):
        field(str)  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_each_word_about_a_field_makes_a_new_one() -> None:
    template = field(ShortText)

    words: list[Field[Any]] = [
        template.required(),
        template.default("a"),
        template.desc("d"),
        template.tags("t"),
        template.index(),
        template.unique(),
        template.store(strategy="inline"),
        template.compute(str.upper, inputs=["name"]),
    ]

    template.name = "plain"
    plain = template.schema("doc")
    for changed in words:
        changed.name = "plain"
        assert changed.schema("doc") != plain


def test_flags_can_be_taken_back() -> None:
    made = field(ShortText).required().unique().index().required(False).unique(False).index(False)
    made.name = "x"

    assert (made.schema("d").required, made.schema("d").unique, made.schema("d").index) == (False, False, False)


def test_a_template_serves_several_fields_and_classes() -> None:
    short = field(ShortText).required()

    class First(Entity):
        x = short
        y = short

    class Second(Entity):
        z = short

    assert First.schema().names[2:] == ("x", "y")
    assert Second.schema().names[2:] == ("z",)
    assert (First(x="1", y="2").x, First(x="1", y="2").y, Second(z="3").z) == ("1", "2", "3")
    assert repr(First.y) == "<field first.y: ShortText>"


def test_several_store_choices_are_kept_in_order() -> None:
    class Note(Entity):
        text = field(ShortText).store("main").store(strategy=hb.SuffixIndex).store("main", "inverted", mirror=True)

    assert Note.schema().field("text").stores == (
        StoreChoice("main"),
        StoreChoice(None, "suffix-index"),
        StoreChoice("main", "inverted", mirror=True),
    )


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: field(ShortText).default(str), r"a default is a value.*use \.compute"),  # pyright: ignore[reportArgumentType]
        (lambda: field(ShortText).compute("upper", inputs=["name"]), "compute takes a function"),  # pyright: ignore[reportArgumentType]
        (lambda: field(ShortText).compute(str.upper, inputs="name"), "compute takes a list of inputs"),
        (lambda: field(ShortText).store(strategy=5), "5 is no strategy; pass one such as heavenbase.SideTable"),
    ],
)
def test_a_mistake_is_reported_where_it_is_written(declare: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        declare()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"t": ShortText}, r"Bad\.t is a type and no field; write t = heavenbase\.field\(ShortText\)"),
        ({"t": Array[Integer]}, r"write t = heavenbase\.field\(Array\[Integer\]\)"),
        (
            {"n": field(Integer).required},
            r"Bad\.n is a method and no field; call it: field\(Integer\)\.required\(\.\.\.\)",
        ),
        ({"n": field(Integer).default}, r"call it: field\(Integer\)\.default\(\.\.\.\)"),
        ({"n": field}, r"Bad\.n is the function that declares fields; call it: n = heavenbase\.field\(\.\.\.\)"),
        ({"n": (field(Integer),)}, r"Bad\.n is a tuple that holds a field; take away the comma"),
        ({"n": Entity.object_id}, r"Bad\.n is the field of another entity; write n = heavenbase\.field\(Identifier\)"),
        (
            {"name": "hello"},
            r"Bad\.name is a field, and 'hello' would hide it; write name = heavenbase\.field\(ShortText\)",
        ),
        ({"name": property(str)}, r"Bad\.name is a field, and .* would hide it"),
        ({"n": field(Integer).default("x")}, r"bad\.n: the default is a str; takes a whole number"),  # pyright: ignore[reportArgumentType]
        ({"v": field(Vector(2)).unique()}, r"bad\.v: only scalar fields can be unique, not Vector\[2\]"),
        ({"a": field(Array).index()}, r"bad\.a: \.index\(\) is for scalar fields"),
        ({"c": field(ShortText).compute(str.upper, inputs=[5])}, "5 is no input of a compute"),
        ({"c": field(ShortText).compute(str.upper, inputs=[field(ShortText)])}, "is no input of a compute"),
        ({"a": field(ShortText), "A": field(ShortText)}, "two fields whose names differ at most by case"),
        ({"schema": field(Json)}, "cannot have a field 'schema': Entity uses that name itself"),
        ({"to_dict": field(Json)}, "cannot have a field 'to_dict': Entity uses that name itself"),
        ({"from_schema": field(Json)}, "cannot have a field 'from_schema'"),
        ({"identifier": field(ShortText)}, "cannot have a field 'identifier'"),
        ({"object_id": field(Integer)}, "cannot redefine 'object_id'"),
        ({"name": field(LongText)}, "'name' exists on every entity and is a ShortText"),
    ],
)
def test_a_mistake_is_reported_at_the_class(body: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        type("Bad", (Entity,), body)


@pytest.mark.parametrize(
    ("note", "value", "message"),
    [
        (
            ShortText,
            "hello",
            r"Bad\.t has a type and a plain value; write t = heavenbase\.field\(ShortText\)\.default\(",
        ),
        ("ShortText", None, r"write t = heavenbase\.field\(ShortText\)\.default\(\.\.\.\)"),
        (Array[Integer], [1], r"write t = heavenbase\.field\(Array\[Integer\]\)"),
        (int, 5, r"write t = heavenbase\.field\(Integer\)\.default\(\.\.\.\), or ClassVar for a value of the class"),
        ("str", "x", r"write t = heavenbase\.field\(ShortText\)"),
    ],
    ids=str,
)
def test_an_annotation_with_a_plain_value_is_no_field_and_is_refused(note: Any, value: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        type("Bad", (Entity,), {"__annotations__": {"t": note}, "t": value, "__module__": __name__})


def test_a_class_may_have_values_that_are_no_fields() -> None:
    class Note(Entity):
        identifier: str = "a-note"  # pyright: ignore[reportIncompatibleVariableOverride]
        text: Field[str] = field(ShortText)
        limit: ClassVar[int] = 5
        last: Final = 5
        colours = ("red", "green")
        known: "dict[str, NoSuchName]" = {}  # noqa: F821, RUF012, UP037  # pyright: ignore[reportUndefinedVariable]
        _private: ShortText = "x"  # pyright: ignore[reportAssignmentType]

        def size(self) -> int:
            return len(self.text)

    assert Note.schema().names == ("object_id", "name", "text")
    assert Note(text="abc").size() == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"desc": "\ud800"}, "entity 'doc': its desc holds a lone surrogate"),
        ({"tags": ["a", "\ud800"]}, "entity 'doc': a tag holds a lone surrogate"),
        ({"fields": [{"name": "n", "type": "integer", "desc": "\ud800"}]}, r"doc\.n: its desc holds a lone surrogate"),
        ({"fields": [{"name": "n", "type": "integer", "tags": ["a\0"]}]}, r"doc\.n: a tag holds a NUL character"),
        ({"derived": "\ud800"}, "entity 'doc': its derived holds a lone surrogate"),
    ],
)
def test_words_that_no_engine_can_keep_are_refused(body: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Entity.from_schema({"id": "doc", **body})


def test_words_are_checked_in_a_class_too() -> None:
    for declared in (field(Integer).desc("\ud800"), field(Integer).tags("\ud800"), field(Integer).desc(5)):  # pyright: ignore[reportArgumentType]
        with pytest.raises(SchemaError, match=r"bad\.n: "):
            type("Bad", (Entity,), {"n": declared})
    with pytest.raises(SchemaError, match="entity 'bad': its desc holds a lone surrogate"):
        type("Bad", (Entity,), {"__desc__": "\ud800"})


@pytest.mark.parametrize("name", ["_hidden", "lambda", "größe", "x" * 64])
def test_a_field_needs_a_name_that_code_and_engines_can_write(name: str) -> None:
    with pytest.raises(InvalidName, match="field name"):
        type("Bad", (Entity,), {name: field(Integer)})


def test_an_input_of_a_compute_is_a_field_its_name_or_its_reference() -> None:
    class Base(Entity):
        title = field(ShortText)

    class Sub(Base):
        upper = field(ShortText).compute(str.upper, inputs=[Base.title])

    class Plain(Entity):
        title = field(ShortText)
        upper = field(ShortText).compute(str.upper, inputs=[title])
        lower = field(ShortText).compute(str.lower, inputs=["title"])

    for cls, name in ((Sub, "upper"), (Plain, "upper"), (Plain, "lower")):
        compute = cls.schema().field(name).compute
        assert compute is not None
        assert compute.inputs == ("title",)


# -- identifiers -----------------------------------------------------------------------------------------------------


def test_the_id_is_the_class_name_in_kebab_case_unless_it_is_given() -> None:
    class AuditLogEntry(Entity):
        pass

    class Renamed(Entity):
        identifier = "other-name"

    class Below(Renamed):
        pass

    assert (AuditLogEntry.identifier, Renamed.identifier, Below.identifier) == (
        "audit-log-entry",
        "other-name",
        "below",
    )


@pytest.mark.parametrize("identifier", ["Doc", "", "a b", "x" * 64, 5])
def test_an_id_that_breaks_the_rules_is_refused(identifier: Any) -> None:
    with pytest.raises(InvalidName, match="entity id"):
        type("Bad", (Entity,), {"identifier": identifier})


# -- annotations -----------------------------------------------------------------------------------------------------


class Annotated(Entity):
    title: hb.ShortText
    tags: hb.Array[hb.ShortText]
    limit: hb.ShortText(20)  # pyright: ignore[reportInvalidTypeForm]
    n: "hb.Integer" = field(Integer).default(1)  # pyright: ignore[reportAssignmentType]  # noqa: UP037
    KINDS: ClassVar[tuple[str, ...]] = ("a",)
    helper: ClassVar[Path]
    """The type is imported for type checkers only, as is usual."""
    _private: int


def test_annotations_that_are_strings_declare_fields() -> None:
    names = {one.name: one.dtype for one in Annotated.schema().fields[2:]}

    assert names == {"title": ShortText(), "tags": Array(ShortText), "limit": ShortText(20), "n": Integer()}
    assert Annotated.schema().field("n").default == 1


def test_annotations_that_are_objects_declare_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain_annotations.py").write_text(
        "from typing import ClassVar\n"
        "import heavenbase as hb\n"
        "class Plain(hb.Entity):\n"
        "    title: hb.ShortText\n"
        "    tags: hb.Array[hb.Integer]\n"
        "    KINDS: ClassVar[int] = 1\n"
        "    later: ClassVar[int]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    try:
        plain = importlib.import_module("plain_annotations").Plain
    finally:
        sys.modules.pop("plain_annotations", None)

    assert plain.schema().names[2:] == ("title", "tags")
    assert plain(title="x").title == "x"


def test_an_annotation_that_cannot_be_resolved_says_what_to_write() -> None:
    class Local(ShortText):
        identifier = "test-local"

    with pytest.raises(
        SchemaError, match=re.escape("Bad.x: the annotation 'Local' cannot be resolved; write x = heavenbase.field")
    ):

        class Bad(Entity):
            x: Local


def test_an_annotation_that_is_no_type_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"int is no logical type; did you mean heavenbase\.Integer"):

        class Bad(Entity):
            x: int


def test_an_annotation_cannot_take_the_name_of_a_method() -> None:
    with pytest.raises(SchemaError, match="cannot have a field 'to_dict': Entity uses that name itself"):

        class Bad(Entity):
            to_dict: hb.Json  # pyright: ignore[reportIncompatibleMethodOverride]


def test_an_annotation_overrides_an_inherited_field() -> None:
    class Base(Entity):
        x: hb.Integer

    class Sub(Base):
        x: hb.Float  # pyright: ignore[reportIncompatibleVariableOverride]

    assert (Base.schema().field("x").dtype, Sub.schema().field("x").dtype) == (Integer(), hb.Float())


# -- inheritance -----------------------------------------------------------------------------------------------------


def test_a_subclass_has_the_fields_of_its_bases_and_its_own() -> None:
    class Longer(Doc):
        n = field(Integer).default(9)
        pages = field(Integer)

    assert Longer.schema().names == ("object_id", "name", "title", "n", "body", "labels", "pages")
    assert (Longer().n, Doc().n) == (9, 3)
    assert repr(Longer.title) == "<field longer.title: ShortText>"
    assert repr(Doc.title) == "<field doc.title: ShortText>"


def test_a_mixin_brings_fields_into_several_entities() -> None:
    class Stamped:
        made = field(hb.Timestamp)

    class First(Stamped, Entity):
        x = field(Integer)

    class Second(Stamped, Entity):
        y = field(Integer)

    assert First.schema().names == ("object_id", "name", "made", "x")
    assert Second.schema().names == ("object_id", "name", "made", "y")


def test_what_is_said_of_an_entity_reaches_its_subclasses_except_its_derivation() -> None:
    class Base(Entity):
        """A base."""

        __tags__ = ("kept",)
        __observed__ = False
        __derived__ = "somewhere:rows"

    class Sub(Base):
        pass

    assert (Sub.schema().tags, Sub.schema().observed) == (("kept",), False)
    assert (Sub.schema().derived, Sub.schema().desc) == (None, "")


def test_a_derived_entity_names_its_function() -> None:
    def rows(view: Any, hints: Any) -> list[Any]:
        return []

    class Computed(Entity):
        __derived__ = rows

    assert Computed.schema().derived == f"{__name__}:test_a_derived_entity_names_its_function.<locals>.rows"


# -- access ----------------------------------------------------------------------------------------------------------


def test_the_class_gives_the_reference_and_the_instance_the_value() -> None:
    doc = Doc(title="On storage")

    assert isinstance(Doc.title, FieldRef)
    assert doc.title == "On storage"
    doc.title = "Changed"
    assert doc.title == "Changed"


def test_the_implicit_fields_can_be_read_on_class_and_instance() -> None:
    assert repr(Entity.object_id) == "<field entity.object_id: Identifier>"
    assert repr(Doc.name) == "<field doc.name: ShortText>"
    assert (Doc().object_id, Doc(name="a").name) == (None, "a")


def test_a_field_that_was_not_given_has_its_default_or_none() -> None:
    assert (Doc().n, Doc().body) == (3, None)


def test_a_default_is_not_shared_between_instances() -> None:
    first, second = Doc(), Doc()

    first.labels.append("mine")

    assert (second.labels, Doc.schema().field("labels").default) == ([], [])


def test_an_instance_refuses_an_unknown_field() -> None:
    with pytest.raises(UnknownField, match="entity 'doc' has no field 'titel'; did you mean 'title'"):
        Doc(titel="x")


def test_a_field_may_be_called_self() -> None:
    class Odd(Entity):
        self: hb.Integer

    assert Odd(self=1).to_dict() == {"self": 1}


def test_an_instance_gives_what_it_was_given() -> None:
    doc = Doc(title="x", n=1)

    values = doc.to_dict()
    values["title"] = "changed"

    assert doc.to_dict() == {"title": "x", "n": 1}
    assert repr(doc) == "Doc(title='x', n=1)"


def test_instances_are_equal_by_class_and_values_and_cannot_be_hashed() -> None:
    class Other(Doc):
        pass

    assert Doc(title="x") == Doc(title="x")
    assert Doc(title="x") != Doc(title="y")
    assert Doc(title="x") != Other(title="x")
    with pytest.raises(TypeError, match="unhashable"):
        hash(Doc())


# -- classes from schemas --------------------------------------------------------------------------------------------


def test_a_class_comes_from_a_schema_and_gives_it_back() -> None:
    made = Entity.from_schema(Doc.schema())

    assert made.schema() == Doc.schema()
    assert (made.__name__, made.__module__) == ("Doc", "heavenbase.generated")
    assert made(title="x").n == 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_class_comes_from_json() -> None:
    made = Entity.from_schema(
        {"id": "audit-log_2", "desc": "two\nlines ", "fields": [{"name": "n", "type": "integer", "default": 7}]}
    )

    assert (made.__name__, made.identifier) == ("AuditLog2", "audit-log_2")
    assert made.schema().desc == "two\nlines "
    assert made().n == 7  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", ["schema", "to_dict", "from_schema", "identifier"])
def test_a_schema_cannot_bring_a_field_that_hides_a_method(name: str) -> None:
    with pytest.raises(SchemaError, match=f"cannot have a field '{name}'"):
        Entity.from_schema({"id": "doc", "fields": [{"name": name, "type": "json"}]})


def test_a_field_shows_its_type() -> None:
    assert repr(field(ShortText)) == "field(ShortText)"


def test_what_is_done_to_a_default_of_an_instance_is_part_of_its_row() -> None:
    class Basket(Entity):
        things = field(Json).default([])

    one, other = Basket(), Basket()
    one.things.append("apple")

    assert one.to_dict() == {"things": ["apple"]}
    assert (other.things, Basket().to_dict()) == ([], {})
