"""Extending HeavenBase from code: `hb.ext`, for entity extensions and for physical behaviour.

Everything here is process-wide and takes effect at once, in open workspaces too.
Each `register_*` returns a `Registration` with `unregister()`. Registering the
same thing again changes nothing; something else under a taken key is a
`RegistrationConflict` unless `replace=True`. What is registered in code overrides
what is installed, which is logged to `heavenbase.plugins`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from heaven_core.activation import REQUIRED
from heaven_core.backend import Backend, BackendConfig, Primary
from heaven_core.derive import Hints, View
from heaven_core.discovery import EXTENSION, INSTALLED, STORAGE
from heaven_core.errors import InvalidName, PluginError, SchemaError, a_kind
from heaven_core.expr import FieldRef
from heaven_core.handlers import Compile, Handler, HandlerContext, Key, QueryFragment
from heaven_core.names import check_field_name, check_identifier
from heaven_core.ops import FILTERS, Op
from heaven_core.plugin import API, MIN_API, Extension, ExtensionSpec, StoragePlugin
from heaven_core.registry import Registration, handler_list, register_type, registries
from heaven_core.registry import handler as make_handler
from heaven_core.schema import FieldSchema, StoreChoice
from heaven_core.strategies import BUILTIN as STRATEGIES
from heaven_core.strategies import Strategy, strategy_identifier
from heaven_core.types import LogicalType, Refused, as_type

if TYPE_CHECKING:
    from heaven_core.hooks import hookimpl

__all__ = [
    "API",
    "Backend",
    "BackendConfig",
    "Extension",
    "ExtensionSpec",
    "FieldSchema",
    "Handler",
    "HandlerContext",
    "HandlerRegistry",
    "Hints",
    "Key",
    "LogicalType",
    "Op",
    "Primary",
    "QueryFragment",
    "Refused",
    "Registration",
    "StoragePlugin",
    "StorageProfile",
    "StoreChoice",
    "Strategy",
    "View",
    "hookimpl",
    "register_backend_builder",
    "register_backend_class",
    "register_extension",
    "register_handler",
    "register_handler_plugin",
    "register_logical_type",
    "register_op",
    "register_storage_profile",
    "register_strategy",
]

StorageProfile = Callable[[FieldSchema, Mapping[str, str]], StoreChoice | None]
"""Says where a field goes that says nothing itself: from the field and the backends (name -> type), or None."""


def _say(what: str, name: str) -> None:
    import logging

    logging.getLogger("heavenbase.plugins").info("%s %s registered in code overrides an installed one", what, name)


def register_extension(extension: Extension, *, replace: bool = False) -> Registration:
    """Make an entity extension known; workspaces enable it by its identifier.

    It shadows an installed one of the same identifier, except a required one.

    Raises:
        PluginError: it would shadow a required extension.
        RegistrationConflict: another one in code has the identifier.
    """
    if not isinstance(extension, Extension):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise PluginError(f"register_extension takes an Extension, not {a_kind(extension)}")
    if not MIN_API <= extension.api <= API:
        raise PluginError(
            f"extension {extension.identifier!r} was written for plugin API {extension.api}; "
            f"this heaven-core speaks {API}"
        )
    identifier = extension.identifier
    if identifier in REQUIRED:
        raise PluginError(f"extension {identifier!r} is required and cannot be replaced; choose another identifier")
    registration = registries().process.put("extension", identifier, extension, replace=replace)
    if any(ref.name == identifier for ref in INSTALLED.refs(EXTENSION)):
        _say("extension", identifier)
    return registration


def register_handler(
    owner: str,
    dtype: Any,
    op: str,
    backend: str,
    strategy: Any,
    compile: Compile,  # what it does
    *,
    replace: bool = False,
) -> Registration:
    """Serve an operation on a logical type under a strategy of a backend type.

    owner: who registers it, for diagnostics; it never scopes.
    compile: `(field_schema, value, ctx) -> QueryFragment`; it does no IO.

    Raises:
        UnknownOp, SchemaError: operation, type or strategy are not known.
        RegistrationConflict: another handler in code has the key.
    """
    return _serve(make_handler(owner, dtype, op, backend, strategy, compile), replace)


def _serve(made: Handler, replace: bool) -> Registration:
    registration = registries().process.put("handler", made.key, made, replace=replace)
    if made.key in registries().usable_handlers(made.key.backend):
        _say("handler", ", ".join(made.key))
    return registration


def _as_one(kind: str, name: str, registrations: list[Registration]) -> Registration:
    """One handle on several registrations."""

    def undo() -> None:
        for one in reversed(registrations):
            one.unregister()

    return Registration(kind, name, undo)


class _OnClassOrInstance:
    """A method that works on the process's registry when called on the class."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: HandlerRegistry | None, owner: type[HandlerRegistry]) -> Callable[..., Any]:
        target = owner() if instance is None else instance
        return lambda *args, **named: self.function(target, *args, **named)


class HandlerRegistry:
    """The process's handlers as an object: `HandlerRegistry.register(...)` is `register_handler(...)`."""

    @_OnClassOrInstance
    def register(
        self,
        owner: str,
        dtype: Any,
        op: str,
        backend: str,
        strategy: Any,
        compile: Compile,
        *,
        replace: bool = False,
    ) -> Registration:
        """As `register_handler`."""
        return register_handler(owner, dtype, op, backend, strategy, compile, replace=replace)

    @_OnClassOrInstance
    def find(self, dtype: Any, op: str, backend: str, strategy: Any) -> Handler | None:
        """The handler that would serve, or None."""
        kind = type(as_type(dtype))
        return registries().handler(kind, op, registries().backend(backend).name, strategy_identifier(strategy))


def register_handler_plugin(owner: str, handlers: Any, *, replace: bool = False) -> list[Registration]:
    """Register many handlers at once: an iterable of `Handler`, or a function that gives one.

    All are registered, or none.
    """
    made: list[Registration] = []
    try:
        for one in handler_list(handlers):
            if not isinstance(one, Handler):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise PluginError(f"{owner}: handlers are given as Handler(...), not as {a_kind(one)}")
            key: Key = one.key
            named = make_handler(owner, key.dtype, key.op, key.backend, key.strategy, one.compile)
            made.append(_serve(named._replace(native=one.native), replace))
    except BaseException:
        for registration in reversed(made):
            registration.unregister()
        raise
    return made


def register_op(op: Op | str, *, replace: bool = False, **said: Any) -> Registration:
    """Make a filter known: usable as `{"field": {"$name": value}}` and as `Entity.field.name(value)`.

    Given by name, the keywords are those of `Op` (`trait`, `test`, `check`, ...). With a
    `test` it works on every engine, evaluated in Python where no handler serves it.

    Raises:
        InvalidName: it cannot be a method's name, or a field reference uses the name for something else.
        PluginError: it is no filter.
        RegistrationConflict: another one in code has the name.
    """
    made = Op(op, **said) if isinstance(op, str) else op
    check_field_name(made.name)
    if made.kind != "filter":
        raise PluginError(f"operation {made.name!r}: only filters can be registered, not a {made.kind}")
    builtin = {one.name for one in FILTERS}
    if hasattr(FieldRef, made.name) and made.name not in builtin:
        raise InvalidName(f"an operation cannot be called {made.name!r}: a field has a method of that name already")
    registered: list[Registration] = []
    try:
        for name in (made.name, *made.aliases):
            registered.append(registries().process.put("op", name, made, replace=replace))  # noqa: PERF401  # undone below
    except BaseException:
        _as_one("op", made.name, registered).unregister()
        raise
    if made.name in builtin:
        _say("operation", made.name)
    return _as_one("op", made.name, registered)


def register_strategy(strategy: type[Strategy], *, replace: bool = False) -> Registration:
    """Make a strategy known to placement and handlers."""
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy) and strategy.__dict__.get("identifier")):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SchemaError("a strategy is a subclass of Strategy with an identifier of its own")
    identifier = check_identifier(strategy.identifier, "strategy identifier")
    registration = registries().process.put("strategy", identifier, strategy, replace=replace)
    if any(one.identifier == identifier for one in STRATEGIES):
        _say("strategy", identifier)
    return registration


def register_logical_type(dtype: type[LogicalType[Any]], *, replace: bool = False) -> Registration:
    """Make a logical type known to schemas; it inherits storage and handlers of the type that it extends."""
    return register_type(dtype, replace=replace)


def register_storage_profile(name: str, profile: StorageProfile, *, replace: bool = False) -> Registration:
    """Say where fields go that say nothing themselves. The profile registered last is asked first."""
    if not callable(profile):
        raise PluginError(f"storage profile {name!r} is a function of a field and the backends, not {a_kind(profile)}")
    return registries().process.put("profile", name, profile, replace=replace)


def register_backend_builder(
    name: str,
    builder: Callable[[BackendConfig], Backend],
    *,
    aliases: tuple[str, ...] = (),
    handlers: Any = (),
    primary: bool = False,
    persistent: bool = True,
    desc: str = "",
    replace: bool = False,
) -> Registration:
    """Make a backend type known by a function from its configuration to an open backend.

    handlers: an iterable of `Handler`, or a function that gives one: what the engine can do.
        Under the name of an installed backend they are added to those that it ships.
    """
    plugin = StoragePlugin(
        name, backend=builder, api=API, aliases=aliases, primary=primary, persistent=persistent, desc=desc
    )
    backend = registries().process.put("backend", name, plugin, replace=replace)
    try:
        served = register_handler_plugin(name, handlers, replace=replace)
    except BaseException:
        backend.unregister()
        raise
    if any(ref.name == name for ref in INSTALLED.refs(STORAGE)):
        _say("backend", name)
    return _as_one("backend", name, [backend, *served])


def register_backend_class(
    cls: type[Any], name: str | None = None, *, replace: bool = False, **said: Any
) -> Registration:
    """Make a backend type known by its class, whose constructor takes a `BackendConfig`.

    Without a name, the class's attribute `type` is it; `handlers` may be an attribute too,
    and `capabilities` say whether it can be a primary.
    """
    chosen = name or getattr(cls, "type", None)
    if not isinstance(chosen, str):
        raise PluginError(f"{cls.__name__} needs an attribute 'type' with the backend's name, or pass one")
    said.setdefault("handlers", getattr(cls, "handlers", ()))
    said.setdefault("primary", "primary" in getattr(cls, "capabilities", ()))
    return register_backend_builder(chosen, cls, replace=replace, **said)


def __getattr__(name: str) -> Any:
    if name != "hookimpl":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import heaven_core.hooks  # pluggy is imported by those who write hooks

    return heaven_core.hooks.hookimpl
