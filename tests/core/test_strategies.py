"""The built-in strategies, `heaven_core.strategies`: names and promises."""

from __future__ import annotations

from typing import Any

import pytest

from heaven_core.errors import SchemaError
from heaven_core.strategies import BUILTIN, SideTable, Strategy, strategy_identifier

pytestmark = pytest.mark.unit


def test_identifiers_and_aliases_are_taken_once_and_described() -> None:
    names = [name for one in BUILTIN for name in (one.identifier, *one.aliases)]

    assert len(names) == len(set(names))
    assert all(one.desc and one.__doc__ for one in BUILTIN)
    assert [one.identifier for one in BUILTIN if one.stores] == ["inline", "json", "side", "external"]


@pytest.mark.parametrize("given", [SideTable, SideTable(), "side"])
def test_a_strategy_is_meant_by_class_instance_or_text(given: Any) -> None:
    assert strategy_identifier(given) == "side"


@pytest.mark.parametrize("given", [5, None, dict, object()])
def test_what_is_no_strategy_is_refused(given: Any) -> None:
    with pytest.raises(SchemaError, match=r"is no strategy; pass one such as heavenbase\.SideTable"):
        strategy_identifier(given)


def test_a_strategy_of_ones_own_is_an_index_unless_it_says_otherwise() -> None:
    class Sorted(Strategy):
        identifier = "sorted"

    assert not Sorted.stores
    assert strategy_identifier(Sorted) == "sorted"
