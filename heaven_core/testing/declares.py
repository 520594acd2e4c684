"""What a plugin says of itself, and that it is so: its declaration, its methods, its capabilities, its handlers.

Which checks a plugin has to pass follows from what it declares, so that must be true first.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from heaven_core.backend import Backend, Primary
from heaven_core.errors import ConfigError
from heaven_core.handlers import Handler
from heaven_core.registry import registries
from heaven_core.testing.bench import Bench
from heaven_core.testing.subject import Subject
from heaven_core.types import known_types

RANKING = {"vectors": "near", "fulltext": "match"}
"""Capabilities, and the operation that an engine with one of them has a handler for."""


def _methods(protocol: type) -> dict[str, Any]:
    return {
        name: method
        for cls in protocol.__mro__
        for name, method in vars(cls).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


def _takes(method: Any, asked: Any) -> bool:
    """Whether a bound method can be called as the protocol's is."""
    several = list(inspect.signature(asked).parameters.values())[1:]
    required = [one for one in several if one.default is one.empty]
    calls = (several, required) if len(required) < len(several) else (several,)
    try:
        for call in calls:
            places = [None for one in call if one.kind is not one.KEYWORD_ONLY]
            names = {one.name: None for one in call if one.kind is one.KEYWORD_ONLY}
            inspect.signature(method).bind(*places, **names)
    except TypeError:
        return False
    return True


class Declares(Subject):
    """The plugin and what it says of itself."""

    def handlers(self) -> list[Handler]:
        """Every handler for the engine."""
        return list(registries().handlers([self.plugin().name]))

    def test_the_engine_is_called_as_it_was_opened(self, bench: Bench) -> None:
        assert (bench.opened.name, bench.opened.type) == (bench.name, self.plugin().name)

    def test_the_engine_can_be_a_primary_exactly_if_the_plugin_says_so(self, bench: Bench) -> None:
        capabilities: Any = bench.opened.capabilities

        assert type(capabilities) is frozenset
        assert ("primary" in capabilities) is self.plugin().primary

    def test_every_method_of_the_protocol_is_there(self, bench: Bench) -> None:
        protocol: Any = Primary if self.plugin().primary else Backend

        wrong = [
            name
            for name, asked in _methods(protocol).items()
            if not callable(method := getattr(bench.opened, name, None)) or not _takes(method, asked)
        ]

        assert wrong == []

    def test_an_option_that_it_does_not_have_is_refused_by_name(self, bench: Bench) -> None:
        with pytest.raises(ConfigError, match="no_such_option"):
            bench.another(no_such_option=1)

    def test_every_handler_is_for_a_type_an_operation_and_a_strategy_that_exist(self) -> None:
        ops, strategies = {op.name for op in registries().ops()}, registries().strategies()

        unknown = [
            handler.key
            for handler in self.handlers()
            if handler.key.dtype not in known_types()
            or handler.key.op not in ops
            or handler.key.strategy not in strategies
        ]

        assert unknown == []

    @pytest.mark.parametrize("capability", RANKING)
    def test_an_engine_that_ranks_has_a_handler_for_it(self, bench: Bench, capability: str) -> None:
        served = any(handler.key.op == RANKING[capability] for handler in self.handlers())

        assert capability not in bench.opened.capabilities or served
