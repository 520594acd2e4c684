"""`hb schema`: tables, JSON that makes the entity again, and diagrams that nothing can break."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heavenbase.cli.mermaid import diagram

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran

pytestmark = pytest.mark.integration


def _double(year: int | None) -> int | None:
    return None if year is None else year * 2


@pytest.fixture
def shelf() -> str:
    class Shelf(hb.Entity):
        """Where books stand"""

        topic = hb.field(hb.ShortText).required().unique().desc("what they are about")
        metres = hb.field(hb.Integer).index().default(3)
        twice = hb.field(hb.Integer).compute(_double, inputs=[metres])
        text = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
        tags = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)

    with hb.HeavenBase("house") as workspace:
        workspace.register(Shelf)
    return "house"


def test_fields_are_lines_with_type_rules_placement_and_description(invoke: Callable[..., Result], shelf: str) -> None:
    result = invoke("schema", shelf, "shelf")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "entity\tfield\ttype\trules\tplacement\tdescription",
        "shelf\tobject_id\tIdentifier\trequired\tmain: inline\tunique in its entity, given or made",
        "shelf\tname\tShortText\t\tmain: inline\toptional; makes the object_id where none is given",
        "shelf\ttopic\tShortText\trequired, unique\tmain: inline\twhat they are about",
        "shelf\tmetres\tInteger\tindex, default 3\tmain: inline\t",
        "shelf\ttwice\tInteger\tcomputed from metres\tmain: inline\t",
        "shelf\ttext\tLongText\t\tmain: inline + inverted\t",
        "shelf\ttags\tArray[ShortText]\t\tmain: side\t",
    ]


def test_all_entities_are_shown_but_those_of_the_workspace_itself(invoke: Callable[..., Result], shelf: str) -> None:
    plain = {line.split("\t")[0] for line in invoke("schema", shelf).stdout.splitlines()[1:]}
    every = {line.split("\t")[0] for line in invoke("schema", shelf, "--all").stdout.splitlines()[1:]}
    named = invoke("schema", shelf, "sys-catalog").stdout.splitlines()

    assert plain == {"shelf"}
    assert every == {"shelf", "sys-catalog", "sys-metaschema"}
    assert named[1].split("\t")[4] == "derived"


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"], ["--json", "--format", "json"]])
def test_json_makes_the_same_entity_again(option: list[str], invoke: Callable[..., Result], shelf: str) -> None:
    one = json.loads(invoke("schema", shelf, "shelf", *option).stdout)
    (first,) = json.loads(invoke("schema", shelf, *option).stdout)

    assert one == first
    assert (one["entity"], one["owner"]) == ("shelf", "")
    assert one["placement"]["text"] == {"backend": "main", "strategy": "inline", "indexes": ["inverted"]}
    with hb.HeavenBase(shelf) as workspace:
        assert hb.Entity.from_schema(one["schema"]).schema() == workspace.entity("shelf").schema()


def test_two_forms_at_once_are_refused(invoke: Callable[..., Result], shelf: str) -> None:
    result = invoke("schema", shelf, "--json", "--format", "mermaid")

    assert (result.exit_code, result.stdout) == (2, "")
    assert json.loads(result.stderr)["error"] == "UsageError"


def test_a_misspelt_entity_gets_a_suggestion(invoke: Callable[..., Result], shelf: str) -> None:
    result = invoke("schema", shelf, "shelv")

    assert (result.exit_code, result.stderr) == (
        2,
        "hb: workspace 'house' has no entity 'shelv'; did you mean 'shelf'?\n",
    )


def test_no_entities_are_no_error(screen: Callable[..., Ran]) -> None:
    with hb.HeavenBase("empty"):
        pass

    ran = screen("schema", "empty")

    assert (ran.code, ran.out) == (0, "no entities; --all has those of the workspace itself\n")


def test_a_description_cannot_drive_the_terminal(screen: Callable[..., Ran]) -> None:
    schema = {"id": "doc", "fields": [{"name": "a", "type": "text", "desc": "red \x1b[31m \u202e wide 日本 \t"}]}
    with hb.HeavenBase("docs") as workspace:
        workspace.register(hb.Entity.from_schema(schema))

    for columns in (20, 40, 100, 200):
        shown = screen("schema", "docs", columns=columns).out
        assert not {"\x1b", "\u202e", "\t"} & set(shown)
        assert "日本" in shown


# Diagrams

_ENTITY = re.compile(r'    "[a-z][a-z0-9_-]*" \{')
_WORD = r"(?!(?i:pk|fk|uk)\b(?![-\[(]))[A-Za-z][A-Za-z0-9\-_\[\]()]*"
_FIELD = re.compile(rf'        {_WORD} {_WORD}(?: (?:PK|UK))?(?: "[^"%~#;{{}}<>`\\\x00-\x1f]+")?')


def _is_sound(text: str) -> bool:
    """Whether Mermaid's lexer reads each line as what it is meant to be."""
    first, *lines = text.split("\n")
    return first == "erDiagram" and all(
        line == "    }" or _ENTITY.fullmatch(line) or _FIELD.fullmatch(line) for line in lines
    )


def test_a_diagram_has_entities_fields_keys_and_descriptions(invoke: Callable[..., Result], shelf: str) -> None:
    result = invoke("schema", shelf, "--format", "mermaid")

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "erDiagram",
        '    "shelf" {',
        '        identifier object_id PK "unique in its entity, given or made"',
        '        short-text name "optional, makes the object_id where none is given"',
        '        short-text topic UK "required: what they are about"',
        "        integer metres",
        "        integer twice",
        "        long-text text",
        "        array[short-text] tags",
        "    }",
    ]
    assert _is_sound(result.stdout.rstrip("\n"))


@pytest.mark.parametrize("name", ["pk", "PK", "fK", "uk"])
def test_a_field_named_like_a_key_is_none(name: str) -> None:
    schema = hb.EntitySchema.from_dict({"id": "class", "fields": [{"name": name, "type": "integer"}]})

    assert f"        integer {name}_\n" in diagram([schema])


def test_types_with_parameters_are_one_word() -> None:
    fields: list[Any] = [
        {"name": "a", "type": hb.Vector(3).spec()},
        {"name": "b", "type": hb.Array(hb.Identifier).spec()},
        {"name": "c", "type": hb.Categorical(['x" {', "%%"]).spec()},
        {"name": "d", "type": "array"},
    ]
    schema = hb.EntitySchema.from_dict({"id": "direction", "fields": fields})

    lines = diagram([schema]).splitlines()

    assert [line.split() for line in lines[4:-1]] == [
        ["vector(3)", "a"],
        ["array[identifier]", "b"],
        ["categorical", "c"],
        ["array", "d"],
    ]


@given(
    st.from_regex(r"[a-z][a-z0-9_-]{0,10}[a-z0-9]", fullmatch=True),
    st.lists(
        st.tuples(st.from_regex(r"f[A-Za-z0-9_]{0,10}", fullmatch=True), st.text()), unique_by=lambda p: p[0].lower()
    ),
)
def test_nothing_that_a_schema_says_breaks_a_diagram(entity: str, fields: list[tuple[str, str]]) -> None:
    from heaven_core.schema import EntitySchema, FieldSchema
    from heaven_core.types import ShortText

    schema = EntitySchema(entity, tuple(FieldSchema(entity, name, ShortText(), desc=desc) for name, desc in fields))

    assert _is_sound(diagram([schema]))
