"""Fragments and the trees of them, `heaven_core.handlers`."""

from __future__ import annotations

import pytest

from heaven_core.handlers import AllOf, AnyOf, IdSet, NoneOf, QueryFragment, fragments

pytestmark = pytest.mark.unit


def test_the_fragments_of_a_tree_come_from_left_to_right() -> None:
    one, two, three = (QueryFragment("main", "eq", name, None) for name in "abc")

    tree = AllOf([one, AnyOf([NoneOf(two), IdSet(["x"])]), AllOf([]), three])

    assert list(fragments(tree)) == [one, two, three]
    assert list(fragments(None)) == list(fragments(IdSet([]))) == []


def test_a_fragment_shows_what_it_is_for_and_not_its_values() -> None:
    assert repr(QueryFragment("main", "eq", "title", ("x = ?", ("secret",)))) == "<fragment eq on title for main>"
