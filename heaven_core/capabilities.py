"""The capability index: what can be picked, for user interfaces and diagnostics.

It is the dict of handlers read from the other side, so it never disagrees with
what queries really do. `heavenbase.capabilities` reads what is installed and
registered; `ws.capabilities` reads the same, with the workspace's contributions,
restricted to its backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Self

from heaven_core.handlers import Handler
from heaven_core.narrow import is_list
from heaven_core.ops import Op
from heaven_core.registry import Registries
from heaven_core.strategies import Strategy, strategy_identifier
from heaven_core.types import LogicalType, as_type, is_type_class, type_identifiers


class Option(str):
    """One thing that can be picked: a text (its identifier) that also knows what a picker shows."""

    __slots__ = ("_details",)
    _details: Mapping[str, Any]

    def __new__(cls, identifier: str, details: Mapping[str, Any] | None = None) -> Self:
        made = super().__new__(cls, identifier)
        made._details = {"identifier": identifier, **(details or {})}
        return made

    @property
    def identifier(self) -> str:
        """The identifier, as plain text."""
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything known about the option, as JSON data."""
        return {key: list(value) if is_list(value) else value for key, value in self._details.items()}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._details[name]
        except KeyError:
            raise AttributeError(f"an option of {', '.join(self._details)} has no {name!r}") from None

    def __reduce__(self) -> Any:
        return (Option, (str(self), dict(self._details)))


Options = tuple[Option, ...]


class CapabilityIndex:
    """What types, strategies, backends and operations there are, and which of them go together.

    Types and strategies may be given as class, instance or identifier.
    """

    def __init__(self, registries: Registries, backends: Mapping[str, str] | None = None) -> None:
        self._registries = registries
        self._backends = backends
        """Name -> type of a workspace's backends; None for everything that is installed."""

    def __call__(self) -> CapabilityIndex:
        """The index itself, so that `ws.capabilities()` and `ws.capabilities` are the same."""
        return self

    def __repr__(self) -> str:
        kinds = ("logical_types", "strategies", "backends", "ops")
        return f"<capabilities: {', '.join(f'{len(getattr(self, one)())} {one}' for one in kinds)}>"

    # what there is ---------------------------------------------------------------------------------------------

    def logical_types(self, *, strategy: Any = None, backend: str | None = None, op: str | None = None) -> Options:
        """The logical types, or those that have all that is given."""
        known = self._registries.types()
        if strategy is None and backend is None and op is None:
            return tuple(map(type_option, known.values()))
        served = {handler.key.dtype for handler in self._matching(None, strategy, backend, op)}
        return tuple(type_option(cls) for cls in known.values() if served.intersection(type_identifiers(cls)))

    def strategies(self, dtype: Any = None, *, backend: str | None = None, op: str | None = None) -> Options:
        """The strategies, or those under which the rest can be had."""
        known = self._registries.strategies()
        if dtype is None and backend is None and op is None:
            return tuple(map(strategy_option, known.values()))
        served = {handler.key.strategy for handler in self._matching(dtype, None, backend, op)}
        return tuple(strategy_option(one) for name, one in known.items() if name in served)

    def backends(self, dtype: Any = None, strategy: Any = None, *, op: str | None = None) -> Options:
        """The backends, or those that serve the rest; a workspace's by name, otherwise by type."""
        types = self._types()
        if dtype is not None or strategy is not None or op is not None:
            served = {handler.key.backend for handler in self._matching(dtype, strategy, None, op)}
            types = {name: kind for name, kind in types.items() if kind in served}
        return tuple(self._backend_option(name, kind) for name, kind in types.items())

    def ops(self, dtype: Any = None, strategy: Any = None, backend: str | None = None) -> Options:
        """The operations, or those that the rest has."""
        known = self._registries.ops()
        if dtype is None and strategy is None and backend is None:
            return tuple(map(op_option, known))
        served = {handler.key.op for handler in self._matching(dtype, strategy, backend, None)}
        return tuple(op_option(one) for one in known if one.name in served)

    def supports(self, dtype: Any, op: str, backend: str, strategy: Any) -> bool:
        """Whether the combination has a handler."""
        return any(True for _ in self._matching(dtype, strategy, backend, op))

    def combinations(self) -> list[dict[str, str]]:
        """Every combination that has a handler; some thousands, computed at each call."""
        return [dict(handler.key._asdict()) for handler in self._matching(None, None, None, None)]

    # how it is found -------------------------------------------------------------------------------------------

    def _types(self) -> dict[str, str]:
        if self._backends is not None:
            return dict(self._backends)
        return {name: name for name in sorted(self._registries.backend_types())}

    def _matching(self, dtype: Any, strategy: Any, backend: str | None, op: str | None) -> Iterable[Handler]:
        kinds = set(self._types().values()) if backend is None else {self._backend_type(backend)}
        names = None if dtype is None else set(type_identifiers(_type_class(dtype)))
        wanted = None if strategy is None else self._registries.strategy(strategy_identifier(strategy)).identifier
        operation = None if op is None else self._registries.op(op.removeprefix("$")).name
        for handler in self._registries.handlers(sorted(kinds)):
            key = handler.key
            if names is not None and key.dtype not in names:
                continue
            if (wanted is None or key.strategy == wanted) and (operation is None or key.op == operation):
                yield handler

    def _backend_type(self, backend: str) -> str:
        if self._backends is not None and backend in self._backends:
            return self._backends[backend]
        kind = self._registries.backend(backend).name
        if self._backends is not None and kind not in self._backends.values():
            from heaven_core.errors import UnknownPlugin, did_you_mean

            raise UnknownPlugin(f"this workspace has no backend {backend!r}; {did_you_mean(backend, self._backends)}")
        return kind

    def _backend_option(self, name: str, kind: str) -> Option:
        plugin = self._registries.backend(kind)
        details: dict[str, Any] = {
            "type": plugin.name,
            "aliases": plugin.aliases,
            "desc": plugin.desc,
            "available": plugin.available(),
            "primary": plugin.primary,
            "persistent": plugin.persistent,
        }
        if not details["available"]:
            details["install"] = plugin.install_hint()
        return Option(name, details)


def _type_class(given: Any) -> type[LogicalType[Any]]:
    return given if is_type_class(given) else type(as_type(given))


def type_option(cls: type[LogicalType[Any]]) -> Option:
    """A logical type as an option."""
    return Option(cls.identifier, {"class": cls.__name__, "aliases": cls.aliases, "desc": cls.desc, "kind": cls.kind})


def strategy_option(cls: type[Strategy]) -> Option:
    """A strategy as an option."""
    return Option(
        cls.identifier, {"class": cls.__name__, "aliases": cls.aliases, "desc": cls.desc, "stores": cls.stores}
    )


def op_option(op: Op) -> Option:
    """An operation as an option."""
    return Option(op.name, {"kind": op.kind, "aliases": op.aliases, "desc": op.desc, "json": f"${op.name}"})


def process_capabilities() -> CapabilityIndex:
    """The index over everything that is installed and registered in this process."""
    from heaven_core.registry import registries

    return CapabilityIndex(registries())
