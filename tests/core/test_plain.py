"""Columns at a glance, `heaven_core.plain`: a yes is certain, since the checks one by one would change nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core import plain
from heaven_core.plain import are_plain_floats, are_plain_scalars, are_plain_texts, is_plain_json
from heaven_core.types import Json, Refused

pytestmark = pytest.mark.unit

LOOSE = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(max_size=2)
    | st.sampled_from(["\0", "\ud800", -0.0, b"x", (1,), {1}])
)
NESTED = st.recursive(
    LOOSE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2) | st.integers(0, 1), inner, max_size=3)
    ),
    max_leaves=8,
)


def _unchanged(value: Any) -> bool:
    try:
        return repr(Json().check(value)) == repr(value)
    except Refused:
        return False


@given(st.lists(NESTED, max_size=5))
def test_a_yes_about_json_is_certain(column: list[Any]) -> None:
    if is_plain_json(column):
        assert all(map(_unchanged, column))


@given(st.lists(LOOSE, max_size=5))
def test_a_yes_about_scalars_is_certain(column: list[Any]) -> None:
    if are_plain_scalars(column):
        assert all(map(_unchanged, column))


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        (["a", "é"], True),
        ([], True),
        (["a\0"], False),
        (["é\0"], False),
        (["\ud800"], False),
        (["a", 1], False),
        (["a", None], False),
    ],
)
def test_texts_are_looked_at_together(values: list[Any], answer: bool) -> None:
    assert are_plain_texts(values) is answer


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([1.0, 0.0], True),
        ([], True),
        ([-0.0], False),
        ([1.0, -0.0], False),
        ([math.nan], False),
        ([math.inf, -math.inf], False),
        ([1e308, 1e308], False),
    ],
)
def test_floats_are_looked_at_together(values: list[float], answer: bool) -> None:
    assert are_plain_floats(values) is answer


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_usual_data_gets_a_yes() -> None:
    assert is_plain_json([{"a": [1, None, {"b": True}]}, None, [], "x", 1.5, {}])
    assert is_plain_json([])
    assert is_plain_json([_nested(100)])
    assert are_plain_scalars([1, "a", None, True, 1.5])


def test_what_is_too_deep_or_too_wide_gets_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    endless: list[Any] = []
    endless.extend([endless, endless])

    assert not is_plain_json([_nested(101)])
    monkeypatch.setattr(plain, "MAX_PARTS", 1000)
    assert not is_plain_json([endless])
    assert not is_plain_json([[1] * 1001])
