"""What a changed class changes, `heaven_core.schema_diff`: additions apply, the rest is a conflict."""

from __future__ import annotations

import json
from typing import Any

import pytest

from heaven_core.errors import SchemaConflict
from heaven_core.schema import EntitySchema
from heaven_core.schema_diff import SchemaDiff, compare, is_older

pytestmark = pytest.mark.unit


def _schema(*fields: dict[str, Any], **rest: Any) -> EntitySchema:
    return EntitySchema.from_dict({"id": "doc", "fields": list(fields), **rest})


def _n(**changes: Any) -> dict[str, Any]:
    return {"name": "n", "type": "integer", **changes}


def test_a_schema_does_not_differ_from_itself() -> None:
    diff = compare(_schema(_n()), _schema(_n()))

    assert diff.empty
    assert str(diff) == "no difference"
    diff.check_additive()


ADDITIONS: list[tuple[EntitySchema, EntitySchema, str]] = [
    (_schema(), _schema(_n()), "added n"),
    (_schema(_n()), _schema(_n(desc="a number")), "changed n"),
    (_schema(_n()), _schema(_n(tags=["x"], default=3)), "changed n"),
    (_schema(_n(required=True)), _schema(_n()), "changed n"),
    (_schema(_n(type="short-text")), _schema(_n(type={"type": "short-text", "max_chars": 300})), "changed n"),
    (
        _schema(_n(type={"type": "categorical", "values": ["a"]})),
        _schema(_n(type={"type": "categorical", "values": ["b", "a"]})),
        "changed n",
    ),
    (_schema(_n()), _schema(_n(compute={"function": "m:f", "inputs": ["name"]})), "changed n"),
    (_schema(_n()), _schema(_n(), desc="numbers"), "changed (description)"),
    (_schema(_n()), _schema(_n(), observed=False), "changed (description)"),
    (_schema(_n(), derived="__main__:rows"), _schema(_n(), derived="package:rows"), "changed (derivation)"),
]


@pytest.mark.parametrize(("before", "after", "said"), ADDITIONS, ids=[said for *_, said in ADDITIONS])
def test_an_addition_applies(before: EntitySchema, after: EntitySchema, said: str) -> None:
    diff = compare(before, after)

    diff.check_additive()

    assert str(diff) == said
    assert not diff.empty


CONFLICTS: list[tuple[EntitySchema, EntitySchema, str]] = [
    (_schema(_n()), _schema(), "removed n"),
    (_schema(), _schema(_n(required=True)), "n is new and required, which old rows do not satisfy"),
    (_schema(_n()), _schema(_n(type="float")), "n was Integer and would be Float"),
    (
        _schema(_n(type={"type": "short-text", "max_chars": 300})),
        _schema(_n(type="short-text")),
        "n was ShortText(300)",
    ),
    (_schema(_n(type="short-text")), _schema(_n(type="long-text")), "n was ShortText and would be LongText"),
    (
        _schema(_n(type={"type": "categorical", "values": ["a", "b"]})),
        _schema(_n(type={"type": "categorical", "values": ["a"]})),
        "n was Categorical(['a', 'b']) and would be Categorical(['a'])",
    ),
    (_schema(_n()), _schema(_n(required=True)), "n would become required"),
    (_schema(_n()), _schema(_n(index=True)), "n differs in index"),
    (_schema(_n()), _schema(_n(unique=True)), "n differs in unique"),
    (_schema(_n()), _schema(_n(store=[{"strategy": "json"}])), "n differs in stores"),
    (_schema(_n()), _schema(_n(), derived="m:f"), "it is derived in one and stored in the other"),
]


@pytest.mark.parametrize(("before", "after", "said"), CONFLICTS, ids=[said for *_, said in CONFLICTS])
def test_what_is_no_addition_is_a_conflict(before: EntitySchema, after: EntitySchema, said: str) -> None:
    diff = compare(before, after)

    with pytest.raises(SchemaConflict) as raised:
        diff.check_additive()

    assert said in str(raised.value)
    assert vars(raised.value)["diff"] is diff


def test_a_difference_is_json_data() -> None:
    diff = compare(_schema(_n()), _schema({"name": "m", "type": "json"}))

    assert json.loads(json.dumps(diff.to_dict())) == {
        "entity": "doc",
        "created": False,
        "added": ["m"],
        "changed": [],
        "removed": ["n"],
        "conflicts": [],
    }
    assert repr(diff) == "<diff of 'doc': added m; removed n>"


def test_a_new_entity_says_that_it_was_created() -> None:
    assert str(SchemaDiff("doc", created=True)) == "created"


@pytest.mark.parametrize(("before", "after", "said"), ADDITIONS)
def test_what_has_additions_may_be_read_by_the_older_class(
    before: EntitySchema, after: EntitySchema, said: str
) -> None:
    assert is_older(before, after)
    assert not is_older(after, after)


def test_registering_an_older_class_is_told_apart_from_a_change() -> None:
    newer = _schema(_n(type={"type": "short-text", "max_chars": 300}), {"name": "more", "type": "integer"})
    older = _schema(_n(type="short-text"))

    with pytest.raises(SchemaConflict, match="take the newer class"):
        compare(newer, older).check_additive()
    with pytest.raises(SchemaConflict, match="another identifier"):
        compare(newer, _schema(_n(type="integer"))).check_additive()
