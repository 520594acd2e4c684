"""The naming rules of `heaven_core.names`."""

from __future__ import annotations

import keyword
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core.errors import InvalidName, SchemaError
from heaven_core.names import check_field_name, check_identifier, kebab_case

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("value", ["a", "doc", "sys-catalog", "my_table", "doc2", "a-_-b", "a" * 63])
def test_a_valid_identifier_is_returned_as_it_is(value: str) -> None:
    assert check_identifier(value) is value


@pytest.mark.parametrize(
    "value",
    ["", "a" * 64, "Doc", "1doc", "-doc", "_doc", "doc-", "doc_", "do c", "do.c", "doc\n", "é", "doc²", "do\u0131c"],
)
def test_any_other_string_is_refused(value: str) -> None:
    with pytest.raises(InvalidName):
        check_identifier(value)


@pytest.mark.parametrize("value", [None, 1, b"doc", ["doc"], object])
def test_what_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(InvalidName):
        check_identifier(value)
    with pytest.raises(InvalidName):
        check_field_name(value)


def test_the_message_names_what_the_value_and_the_rule() -> None:
    with pytest.raises(InvalidName) as raised:
        check_identifier("Audit Log", what="extension id")

    assert str(raised.value).startswith("extension id 'Audit Log' must be 1 to 63 characters from a-z")
    assert isinstance(raised.value, SchemaError)
    assert vars(raised.value) | {"message": ""} == {"message": "", "value": "Audit Log", "what": "extension id"}


@pytest.mark.parametrize(
    ("value", "near"), [("AuditLog", "audit-log"), ("audit log", "audit-log"), ("9lives", "lives"), ("_x_", "x")]
)
def test_the_message_offers_a_valid_identifier(value: str, near: str) -> None:
    with pytest.raises(InvalidName, match=f"for example '{near}'"):
        check_identifier(value)


def test_a_huge_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidName) as raised:
        check_identifier("x" * 100_000)

    assert len(str(raised.value)) < 300


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=70))
def test_the_rule_is_the_pattern_that_it_says(value: str) -> None:
    expected = re.fullmatch(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?", value) is not None

    assert _is_accepted(check_identifier, value) == expected


@given(st.text(alphabet="abz09-_A", max_size=66))
def test_the_rule_is_the_pattern_near_its_edges(value: str) -> None:
    expected = re.fullmatch(r"[a-z]([a-z0-9_-]{0,61}[a-z0-9])?", value) is not None

    assert _is_accepted(check_identifier, value) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AuditLog", "audit-log"),
        ("HTTPServer", "http-server"),
        ("Doc2", "doc2"),
        ("Doc2Vec", "doc2-vec"),
        ("MyHTTP2Server", "my-http2-server"),
        ("doc", "doc"),
        ("X", "x"),
        ("my_table", "my-table"),
        ("_Private", "private"),
        ("Audit__Log_", "audit-log"),
    ],
)
def test_a_class_name_suggests_an_identifier(name: str, expected: str) -> None:
    assert kebab_case(name) == expected


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,25}", fullmatch=True))
def test_every_ascii_class_name_suggests_a_valid_identifier(name: str) -> None:
    suggested = kebab_case(name)

    assert check_identifier(suggested) == suggested
    assert kebab_case(suggested) == suggested


@pytest.mark.parametrize("value", ["a", "title", "Title", "a1", "a_b", "class_", "match", "x" * 63])
def test_a_valid_field_name_is_returned_as_it_is(value: str) -> None:
    assert check_field_name(value) is value


@pytest.mark.parametrize("value", ["", "1a", "_a", "a-b", "a b", "é", "a\n", "class", "None", "x" * 64])
def test_any_other_field_name_is_refused(value: str) -> None:
    with pytest.raises(InvalidName, match="field name"):
        check_field_name(value)


@given(st.text(alphabet="aZ09_-é ", max_size=66) | st.sampled_from(keyword.kwlist))
def test_the_rule_of_field_names_is_the_pattern_that_it_says(value: str) -> None:
    expected = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", value) is not None and not keyword.iskeyword(value)

    assert _is_accepted(check_field_name, value) == expected


def _is_accepted(check: object, value: str) -> bool:
    assert callable(check)
    try:
        check(value)
    except InvalidName:
        return False
    return True
