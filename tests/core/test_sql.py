"""What SQL engines share, `heaven_core.sql`: names, trees of conditions, a dialect's table of handlers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core import sql
from heaven_core.errors import QueryError
from heaven_core.handlers import AllOf, AnyOf, HandlerContext, IdSet, NoneOf, QueryFragment, Where
from heaven_core.schema import FieldSchema
from heaven_core.sql import (
    MAX_PARAMETERS,
    NEVER,
    Dialect,
    Sql,
    after_prefix,
    among,
    column,
    encoded_item,
    entity_table,
    fulltext_table,
    handlers,
    item_key,
    padded,
    quote,
    side_table,
    where_sql,
)
from heaven_core.types import LogicalType

pytestmark = pytest.mark.unit


def _is(text: str, *values: Any) -> QueryFragment:
    return QueryFragment("main", "eq", "x", (text, values))


def _field(dtype: LogicalType[Any]) -> FieldSchema:
    return FieldSchema("doc", "x", dtype)


# -- names -----------------------------------------------------------------------------------------------------------


def test_names_are_quoted_whatever_is_in_them() -> None:
    assert quote('a"; drop table b; --') == '"a""; drop table b; --"'
    assert column(_field(hb.Integer())) == 't."x"'


def test_no_table_of_an_entity_is_another_one_s() -> None:
    names = [
        entity_table("doc"),
        fulltext_table("doc"),
        *(side_table("doc", one) for one in ("tags", "fts", "fts_data", "FTS_idx")),
    ]

    assert len(set(names)) == len(names)


# -- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "text", "values"),
    [
        (None, "", ()),
        (_is("a = ?", 1), "a = ?", (1,)),
        (NoneOf(_is("a = ?", 1)), "(a = ?) is not true", (1,)),
        (AllOf([_is("a = ?", 1), _is("b = ?", 2)]), "(a = ? and b = ?)", (1, 2)),
        (AnyOf([_is("a = ?", 1), NoneOf(_is("b"))]), "(a = ? or (b) is not true)", (1,)),
        (AllOf([_is("a")]), "a", ()),
        (AllOf([]), "(1 = 1)", ()),
        (AnyOf([]), "(1 = 0)", ()),
        (IdSet(["b", "a"]), 't."object_id" in (select value from json_each(?))', ('["b","a"]',)),
    ],
)
def test_a_tree_becomes_sql(where: Where | None, text: str, values: tuple[Any, ...]) -> None:
    assert where_sql(where) == (text, values)


def _depth(text: str) -> int:
    deepest = depth = 0
    for char in text:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    return deepest


def test_thousands_of_parts_stay_shallow_and_in_order() -> None:
    text, values = where_sql(AllOf([_is("x <> ?", number) for number in range(5000)]))

    assert values == tuple(range(5000))
    assert text.count(" and ") == 4999
    assert _depth(text) <= 12


def test_more_values_than_an_engine_takes_are_refused() -> None:
    where = AnyOf([_is("x = ?", number) for number in range(MAX_PARAMETERS + 1)])

    with pytest.raises(
        QueryError, match=f"the query compares with {MAX_PARAMETERS + 1} values; at most {MAX_PARAMETERS}"
    ):
        where_sql(where)


def test_a_longer_statement_than_an_engine_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MAX_SQL_CHARS", 100)

    with pytest.raises(QueryError, match="the condition takes 101 characters; at most 100 are possible"):
        where_sql(_is("x" * 101))


@given(st.text(min_size=1, max_size=4), st.text(max_size=3), st.text(max_size=6))
def test_the_end_of_a_prefix_is_the_first_text_after_all_that_have_it(prefix: str, rest: str, other: str) -> None:
    end = after_prefix(prefix)

    assert end is None or prefix + rest < end
    if not other.startswith(prefix):
        assert other < prefix or (end is not None and other >= end)


def test_the_end_of_a_prefix_skips_what_no_text_can_hold() -> None:
    assert after_prefix("a\ud7ff") == "a\ue000"
    assert after_prefix("a\U0010ffff") == "b"
    assert after_prefix("\U0010ffff") is None


@given(st.lists(st.integers(), min_size=1, max_size=70))
def test_lists_are_padded_to_few_lengths_with_nothing_new(values: list[int]) -> None:
    made = padded(values)

    assert made[: len(values)] == values
    assert set(made) == set(values)
    assert len(made) & (len(made) - 1) == 0


def test_membership_in_nothing_never_holds() -> None:
    assert among("x", []) == NEVER
    assert among("x", [1, 2, 3]) == ("x in (?, ?, ?, ?)", (1, 2, 3, 3))


SCALARS = (
    st.booleans() | st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)


@given(SCALARS, SCALARS)
def test_items_of_mixed_arrays_have_one_key_exactly_if_they_are_equal(left: Any, right: Any) -> None:
    same = left == right and isinstance(left, bool) == isinstance(right, bool)

    assert (item_key(left) == item_key(right)) is same


def test_an_item_is_encoded_as_its_type_asks() -> None:
    assert encoded_item(_field(hb.Array()), 1.0) == "n1"
    assert encoded_item(_field(hb.Array(hb.ShortText)), "a") == "a"
    assert encoded_item(_field(hb.Array(hb.Date)), hb.Date().check("2024-05-01")) == "2024-05-01"


# -- dialects --------------------------------------------------------------------------------------------------------


class Small(Dialect):
    backend = "small"
    scans = frozenset({"regex"})

    def contains(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"hb_contains({column(field)}, ?)", (argument,)

    def regex(self, field: FieldSchema, argument: str, strategy: str) -> Sql:
        return f"{column(field)} ~ ?", (argument,)


TABLE = {one.key: one for one in handlers(Small(), lambda dtype, op: ("inline",))}


def _said(dtype: LogicalType[Any], op: str, argument: Any) -> QueryFragment:
    found = next(one for one in TABLE.values() if (one.key.dtype, one.key.op) == (dtype.identifier, op))
    return found.compile(_field(dtype), argument, HandlerContext("main", "small", "inline", "doc"))


SAID: list[tuple[LogicalType[Any], str, Any, Sql]] = [
    (hb.Integer(), "eq", 1, ('t."x" = ?', (1,))),
    (hb.Integer(), "eq", None, ('t."x" is null', ())),
    (hb.Integer(), "ne", 1, ('t."x" is distinct from ?', (1,))),
    (hb.Integer(), "ne", None, ('t."x" is not null', ())),
    (hb.Integer(), "lt", 1, ('t."x" < ?', (1,))),
    (hb.Integer(), "lte", 1, ('t."x" <= ?', (1,))),
    (hb.Integer(), "gt", 1, ('t."x" > ?', (1,))),
    (hb.Integer(), "gte", 1, ('t."x" >= ?', (1,))),
    (
        hb.Date(),
        "between",
        [hb.Date().check("2024-01-01"), hb.Date().check("2024-02-01")],
        ('t."x" between ? and ?', ("2024-01-01", "2024-02-01")),
    ),
    (hb.Integer(), "in", [1, None], ('(t."x" in (?) or t."x" is null)', (1,))),
    (hb.Integer(), "in", [], NEVER),
    (hb.Integer(), "is_null", True, ('t."x" is null', ())),
    (hb.Integer(), "is_null", False, ('t."x" is not null', ())),
    (hb.ShortText(), "starts_with", "ab", ('(t."x" >= ? and t."x" < ?)', ("ab", "ac"))),
    (hb.ShortText(), "starts_with", "", ('t."x" is not null', ())),
    (hb.ShortText(), "starts_with", "\U0010ffff", ('t."x" >= ?', ("\U0010ffff",))),
    (hb.Integer(), "count", None, ('count(t."x")', ())),
    (hb.Integer(), "sum", None, ('sum(t."x")', ())),
    (hb.Integer(), "avg", None, ('avg(t."x")', ())),
    (hb.Integer(), "min", None, ('min(t."x")', ())),
    (hb.Integer(), "max", None, ('max(t."x")', ())),
]


@pytest.mark.parametrize(
    ("dtype", "op", "argument", "sql"), SAID, ids=[f"{op} {argument!a}"[:30] for _, op, argument, _ in SAID]
)
def test_a_dialect_says_an_operation_with_values_as_parameters(
    dtype: LogicalType[Any], op: str, argument: Any, sql: Sql
) -> None:
    made = _said(dtype, op, argument)

    assert (made.payload, made.native, made.field, made.backend) == (sql, True, "x", "main")


def test_an_operation_that_calls_python_is_not_native() -> None:
    assert not _said(hb.ShortText(), "contains", "a").native
    assert [one.native for key, one in TABLE.items() if key.op == "regex"] == [False] * 5


def test_a_dialect_serves_what_it_says_for_the_types_that_have_it() -> None:
    served = {(key.dtype, key.op) for key in TABLE}

    assert ("short-text", "contains") in served
    assert ("integer", "contains") not in served
    assert not [one for one in served if one[1] in {"like", "match", "median"}]
    assert {key.backend for key in TABLE} == {"small"}
