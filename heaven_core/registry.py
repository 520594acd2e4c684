"""Registries: which implementation has which name, in three layers.

*Built-in* is what installed plugins declare; *process* is what code registered
through `heavenbase.ext`, visible at once in every workspace of the process;
*workspace* is what the extensions active in one workspace contribute. A look-up
asks workspace, process, built-in in this order, so code overrides what is
installed. Vocabulary (types, operations) is process-wide; handlers, strategies
and storage profiles may also come with an extension.

Every registration returns a `Registration`, whose `unregister()` takes it back.
`generation` changes with every change and is part of each plan's cache key.

Not here: finding plugins (`heaven_core.discovery`), the functions that users call
(`heaven_core.ext`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Self

from attrs import fields

from heaven_core.errors import (
    PluginError,
    PluginLoadError,
    RegistrationConflict,
    SchemaError,
    UnknownOp,
    UnknownPlugin,
    did_you_mean,
)
from heaven_core.handlers import Handler, Key
from heaven_core.names import check_identifier
from heaven_core.narrow import is_list
from heaven_core.ops import AGGREGATES, FILTERS, RANKS, Op
from heaven_core.plugin import Extension, StoragePlugin, describe
from heaven_core.strategies import BUILTIN as STRATEGIES
from heaven_core.strategies import Strategy, strategy_identifier
from heaven_core.types import LogicalType, as_type, known_types, put_type, type_identifiers

Kind = Literal["handler", "op", "type", "strategy", "backend", "profile", "extension"]
KINDS: tuple[Kind, ...] = ("handler", "op", "type", "strategy", "backend", "profile", "extension")


Pairs = set[tuple[int, int]]


def same_source(left: Any, right: Any, compared: Pairs | None = None) -> bool:
    """Whether two things are the same object, or come from running the same source again.

    Tests and notebooks run a cell twice; that must not be a conflict. `compared` are the
    pairs being compared already: a class whose method closes over it leads back to itself.
    """
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    compared = set() if compared is None else compared
    if (id(left), id(right)) in compared:
        return True
    compared.add((id(left), id(right)))
    if isinstance(left, (Handler, Op, Extension, StoragePlugin)):
        return _same_parts(left, right, compared)
    name = ("__module__", "__qualname__")
    if not all(hasattr(left, one) and getattr(left, one) == getattr(right, one, None) for one in name):
        return False
    if isinstance(left, type):
        return _same_class(left, right, compared)
    code, other = getattr(left, "__code__", None), getattr(right, "__code__", None)
    return code is not None and other is not None and _same_code(code, other) and _same_bindings(left, right, compared)


def _same_bindings(left: Any, right: Any, compared: Pairs) -> bool:
    """Whether two functions of one code see the same values: defaults, and what they close over."""
    for name in ("__defaults__", "__kwdefaults__"):
        if not _same_value(getattr(left, name, None), getattr(right, name, None), compared):
            return False
    cells = (getattr(left, "__closure__", None) or (), getattr(right, "__closure__", None) or ())
    try:
        pairs = [(one.cell_contents, two.cell_contents) for one, two in zip(*cells, strict=True)]
    except ValueError:  # a cell is empty
        return False
    return all(_same_value(one, two, compared) for one, two in pairs)


def _same_value(left: Any, right: Any, compared: Pairs) -> bool:
    if same_source(left, right, compared):
        return True
    try:
        return type(left) is type(right) and bool(left == right)
    except Exception:  # noqa: BLE001  # a foreign value may refuse to be compared; then it is another
        return False


def _same_parts(left: Any, right: Any, compared: Pairs) -> bool:
    if isinstance(left, Handler):
        same = (left.key, left.owner, left.native) == (right.key, right.owner, right.native)
        return same and same_source(left.compile, right.compile, compared)
    if isinstance(left, Op):
        return all(_same_value(getattr(left, slot), getattr(right, slot), compared) for slot in Op.__slots__)
    if isinstance(left, StoragePlugin):
        return all(
            _same_value(getattr(left, one.name), getattr(right, one.name), compared) for one in fields(StoragePlugin)
        )
    said = [(one.spec.to_dict(), one.requires, one.after, dict(one.runners), one.api) for one in (left, right)]
    if said[0] != said[1]:
        return False
    pairs = zip(left.spec.entities, right.spec.entities, strict=True)
    return all(one.schema() == two.schema() for one, two in pairs) and _same_plugin(left.plugin, right.plugin, compared)


def _same_plugin(left: Any, right: Any, compared: Pairs) -> bool:
    if _same_value(left, right, compared):
        return True
    if any(one is None or isinstance(one, (type, str)) for one in (left, right)):
        return False  # two classes have one type, and are not the same for it
    return same_source(type(left), type(right), compared)


def _same_class(left: type, right: type, compared: Pairs) -> bool:
    members = {
        key for key in (*vars(left), *vars(right)) if not key.startswith("__") or key in {"__init__", "__call__"}
    }
    for key in members:
        one, two = vars(left).get(key), vars(right).get(key)
        if not (_same_value(one, two, compared) or repr(one) == repr(two)):
            return False
    return True


def _same_code(left: Any, right: Any) -> bool:
    if (left.co_code, left.co_names, left.co_varnames) != (right.co_code, right.co_names, right.co_varnames):
        return False
    pairs = list(zip(left.co_consts, right.co_consts, strict=False))
    return len(left.co_consts) == len(right.co_consts) and all(
        _same_code(one, two) if hasattr(one, "co_code") and hasattr(two, "co_code") else one == two
        for one, two in pairs
    )


class Registration:
    """What a registration gives back: `unregister()` undoes it, once."""

    __slots__ = ("_undo", "key", "kind")

    def __init__(self, kind: str, key: Any, undo: Callable[[], None]) -> None:
        self.kind, self.key = kind, key
        self._undo: Callable[[], None] | None = undo

    def unregister(self) -> None:
        """Take the registration back; what it had overridden answers again. A second call does nothing."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.unregister()

    def __repr__(self) -> str:
        return f"<registered {self.kind} {self.key!r}>"


class _Entry:
    """One registration of a key, to be told from others by its identity; running its source again renews the value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Layer:
    """One layer: per kind and key what is registered, the last one answering, and the count of changes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: dict[Kind, dict[Any, Any]] = {kind: {} for kind in KINDS}
        self.generation = 0
        self._entries: dict[tuple[Kind, Any], list[_Entry]] = {}
        """Every registration of a key that has not been taken back; `items` has the last one's value."""
        self._lock = threading.RLock()

    def put(self, kind: Kind, key: Any, value: Any, *, replace: bool = False) -> Registration:
        """Register `value`. The same thing again is the same registration, which either handle takes back.

        Raises:
            RegistrationConflict: the key is taken by something else, and not `replace`.
        """
        with self._lock:
            entries = self._entries.setdefault((kind, key), [])
            if entries and same_source(entries[-1].value, value):
                entry = entries[-1]
                entry.value = value
            elif entries and not replace:
                raise RegistrationConflict(
                    f"{kind} {_readable(key)} is registered already; pass replace=True to put another in its place",
                    kind=kind,
                    key=key,
                )
            else:
                entry = _Entry(value)
                entries.append(entry)
            self.items[kind][key] = value
            self.generation += 1
        return Registration(kind, key, lambda: self._take_back(kind, key, entry))

    def _take_back(self, kind: Kind, key: Any, entry: _Entry) -> None:
        with self._lock:
            entries = self._entries.get((kind, key), [])
            if entry not in entries:
                return  # the other handle of the same thing has done it
            entries.remove(entry)
            self._answer(kind, key)

    def _answer(self, kind: Kind, key: Any) -> None:
        """Let the last registration of a key answer, or nothing if there is none."""
        entries = self._entries.get((kind, key))
        if entries:
            self.items[kind][key] = entries[-1].value
        else:
            self._entries.pop((kind, key), None)
            self.items[kind].pop(key, None)
        self.generation += 1

    def remember(self) -> Callable[[], None]:
        """What is registered now; calling the result makes it so again."""
        with self._lock:
            kept = {where: [(one, one.value) for one in entries] for where, entries in self._entries.items()}
            order: dict[Kind, list[Any]] = {kind: list(self.items[kind]) for kind in KINDS}

        def put_back() -> None:
            with self._lock:
                for entries in kept.values():
                    for entry, value in entries:
                        entry.value = value
                self._entries = {where: [entry for entry, _ in entries] for where, entries in kept.items()}
                for kind, keys in order.items():
                    self.items[kind] = {key: self._entries[kind, key][-1].value for key in keys}
                self.generation += 1

        return put_back


def _readable(key: Any) -> str:
    return "(" + ", ".join(key) + ")" if is_list(key) else repr(key)


class Registries:
    """The process's two layers, with look-ups through them; a workspace adds a third with `for_workspace`."""

    def __init__(self) -> None:
        self.process = Layer("process")
        self._seeds: dict[str, _Seed] = {}
        self._ops: dict[str, Op] = {}
        for op in (*FILTERS, *RANKS, *AGGREGATES):
            for name in (op.name, *op.aliases):
                self._ops[name] = op
        self._lock = threading.RLock()

    @property
    def generation(self) -> Any:
        """Changes whenever a look-up may answer differently."""
        return self.process.generation

    def layers(self) -> tuple[Layer, ...]:
        """The layers above the built-in one, the first to answer first."""
        return (self.process,)

    def get(self, kind: Kind, key: Any) -> Any | None:
        """What is registered in code under the key, or None."""
        for layer in self.layers():
            found = layer.items[kind].get(key)
            if found is not None:
                return found
        return None

    def all(self, kind: Kind) -> dict[Any, Any]:
        """Everything registered in code under a kind, the nearest layer winning."""
        merged: dict[Any, Any] = {}
        for layer in reversed(self.layers()):
            merged.update(layer.items[kind])
        return merged

    # operations and types ------------------------------------------------------------------------------------

    def op(self, name: str) -> Op:
        """The operation of this name or alias.

        Raises:
            UnknownOp: there is none; the message has the nearest name.
        """
        found = self.process.items["op"].get(name) or self._ops.get(name)
        if found is None:
            names = {op.name for op in self.ops()}
            raise UnknownOp(f"there is no operation {name!r:.80}; {did_you_mean(name, names)}", op=name)
        return found

    def ops(self) -> list[Op]:
        """Every operation once."""
        seen = {op.name: op for op in (*self._ops.values(), *self.process.items["op"].values())}
        return list(seen.values())

    def types(self) -> Mapping[str, type[LogicalType[Any]]]:
        """Every logical type, by identifier."""
        return known_types()

    def strategies(self) -> dict[str, type[Strategy]]:
        """Every strategy, by identifier."""
        return {**{one.identifier: one for one in STRATEGIES}, **self.all("strategy")}

    def strategy(self, given: str) -> type[Strategy]:
        """The strategy of this identifier or alias.

        Raises:
            SchemaError: there is none.
        """
        known = self.strategies()
        if given in known:
            return known[given]
        for one in known.values():
            if given in one.aliases:
                return one
        raise SchemaError(f"there is no strategy {given!r:.80}; {did_you_mean(given, known)}")

    # backends ------------------------------------------------------------------------------------------------

    def backend(self, name: str) -> StoragePlugin:
        """The storage plugin of this type name or alias.

        Raises:
            UnknownPlugin, PluginLoadError: there is none, or it is broken.
        """
        coded = self.all("backend")
        for plugin in coded.values():
            if name == plugin.name or name in plugin.aliases:
                return plugin
        from heaven_core.discovery import INSTALLED, STORAGE

        plugin = INSTALLED.named(STORAGE, name)
        self.notice(plugin)
        return plugin

    def backend_types(self) -> dict[str, StoragePlugin]:
        """Every backend type that can be loaded as a declaration, whether its engine is installed or not."""
        from heaven_core.discovery import INSTALLED, STORAGE

        loaded = (INSTALLED.load(ref) for ref in INSTALLED.refs(STORAGE))
        found = {one.name: one for one in loaded if isinstance(one, StoragePlugin)}
        for plugin in found.values():
            self.notice(plugin)
        return {**found, **self.all("backend")}

    # handlers ------------------------------------------------------------------------------------------------

    def handler(self, dtype: type[LogicalType[Any]], op: str, backend: str, strategy: str) -> Handler | None:
        """The handler of this key, or of the nearest type that `dtype` extends; None if there is none."""
        for identifier in type_identifiers(dtype):
            key = Key(identifier, op, backend, strategy)
            found = self.get("handler", key) or self.builtin_handlers(backend).get(key)
            if found is not None:
                return found
        return None

    def handlers(self, backends: Iterable[str]) -> Iterator[Handler]:
        """Every handler for these backend types, the nearest layer winning."""
        wanted = list(backends)
        coded: dict[Key, Handler] = self.all("handler")
        for backend in wanted:
            for key, handler in self.usable_handlers(backend).items():
                if key not in coded:
                    yield handler
        yield from (handler for key, handler in coded.items() if key.backend in wanted)

    def builtin_handlers(self, backend: str) -> Mapping[Key, Handler]:
        """What the installed plugin of this backend type ships, read once; nothing for a type that isn't installed.

        Raises:
            PluginError: the plugin's table of handlers cannot be used.
        """
        with self._lock:
            seed = self._seeds.get(backend)
            if seed is None:
                seed = self._seeds[backend] = _Seed(_installed(backend))
        if isinstance(seed.handlers, PluginError):
            raise seed.handlers
        return seed.handlers

    def usable_handlers(self, backend: str) -> Mapping[Key, Handler]:
        """As `builtin_handlers`, for listings: a broken plugin is logged, and must not hide the others."""
        try:
            return self.builtin_handlers(backend)
        except PluginError as error:
            import logging

            logging.getLogger("heavenbase.plugins").warning("%s", error)
            return {}

    def notice(self, plugin: StoragePlugin) -> None:
        """Learn that this plugin is installed: handlers read from another one, or from none, are read again."""
        with self._lock:
            seed = self._seeds.get(plugin.name)
            if seed is not None and seed.plugin is not plugin:
                del self._seeds[plugin.name]

    def forget_handlers(self) -> None:
        """Read the plugins' handlers again at the next look-up."""
        with self._lock:
            self._seeds.clear()

    def for_workspace(self) -> WorkspaceRegistries:
        """These registries with a layer of one workspace above them."""
        return WorkspaceRegistries(self)


class WorkspaceRegistries(Registries):
    """The process's registries seen from one workspace, whose extensions contribute a layer of their own."""

    def __init__(self, parent: Registries) -> None:
        self.parent = parent
        self.workspace = Layer("workspace")
        self.process = parent.process
        self._ops = parent._ops  # the same process-wide vocabulary

    @property
    def generation(self) -> Any:
        return (self.process.generation, self.workspace.generation)

    def layers(self) -> tuple[Layer, ...]:
        return (self.workspace, self.process)

    def builtin_handlers(self, backend: str) -> Mapping[Key, Handler]:
        return self.parent.builtin_handlers(backend)

    def notice(self, plugin: StoragePlugin) -> None:
        self.parent.notice(plugin)

    def forget_handlers(self) -> None:
        self.parent.forget_handlers()


class _Seed:
    """The handlers that an installed plugin declares, by key, or why they cannot be used."""

    __slots__ = ("handlers", "plugin")

    def __init__(self, plugin: StoragePlugin | None) -> None:
        self.plugin = plugin
        self.handlers: dict[Key, Handler] | PluginError
        try:
            self.handlers = {} if plugin is None else _declared(plugin)
        except PluginError as error:
            self.handlers = error


def _installed(backend: str) -> StoragePlugin | None:
    from heaven_core.discovery import INSTALLED, STORAGE

    try:
        return INSTALLED.named(STORAGE, backend)
    except UnknownPlugin:
        return None


def _declared(plugin: StoragePlugin) -> dict[Key, Handler]:
    found = plugin.load_handlers()
    try:
        return {handler.key: handler for handler in handler_list(found)}
    except PluginError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise PluginLoadError(
            f"the handlers of storage plugin {plugin.name!r} cannot be used: {describe(error)}; "
            f"install a working version of {plugin.distribution}",
            name=plugin.name,
            stage="type",
        ) from error


def handler_list(given: Any) -> list[Handler]:
    """Handlers given as an iterable, as a function that gives one, or as None."""
    if given is None:
        return []
    made: Any = given() if callable(given) else given
    return list(made)


_REGISTRIES = Registries()


def registries() -> Registries:
    """The registries of this process."""
    return _REGISTRIES


def register_type(cls: type[LogicalType[Any]], *, replace: bool = False) -> Registration:
    """Make a logical type known to schemas and handlers of this process."""
    if not (isinstance(cls, type) and issubclass(cls, LogicalType) and cls.__dict__.get("identifier")):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SchemaError("a logical type is a subclass of LogicalType with an identifier of its own")
    check_identifier(cls.identifier, "logical type identifier")
    if not cls.kind or not any("check" in base.__dict__ for base in cls.__mro__[: cls.__mro__.index(LogicalType)]):
        raise SchemaError(
            f"logical type {cls.identifier!r} has no check of its own; "
            "extend the nearest built-in type, such as ShortText"
        )
    layer, identifier = _REGISTRIES.process, cls.identifier
    is_builtin = identifier in known_types() and identifier not in layer.items["type"]
    if is_builtin and not replace and known_types()[identifier] is not cls:
        raise RegistrationConflict(f"logical type {identifier!r} is built in; pass replace=True to put another there")
    registration = layer.put("type", identifier, cls, replace=replace)
    put_type(identifier, cls)

    def take_back() -> None:
        registration.unregister()
        put_type(identifier, layer.items["type"].get(identifier))

    return Registration("type", identifier, take_back)


def remember() -> Callable[[], None]:
    """What is registered in code now, logical types included; calling the result makes it so again."""
    put_back = _REGISTRIES.process.remember()

    def restore() -> None:
        put_back()
        coded = _REGISTRIES.process.items["type"]
        for identifier in list(known_types()):
            put_type(identifier, coded.get(identifier))
        for identifier, cls in coded.items():
            put_type(identifier, cls)

    return restore


def handler(owner: str, dtype: Any, op: str, backend: str, strategy: Any, compile_op: Any) -> Handler:
    """A checked handler: type as class, instance or identifier, operation by name, strategy as class or identifier.

    Raises:
        SchemaError, UnknownOp: the type or the operation is not known; register it first.
        TypeError: `compile_op` is not callable.
    """
    identifier = (
        dtype.identifier if isinstance(dtype, type) and issubclass(dtype, LogicalType) else as_type(dtype).identifier
    )
    if not callable(compile_op):
        raise TypeError(f"the handler for {op!r} of {owner!r} must be callable")
    name = _REGISTRIES.op(op).name
    key = Key(identifier, name, _backend_name(backend), _REGISTRIES.strategy(strategy_identifier(strategy)).identifier)
    checked: Any = compile_op
    return Handler(key, checked, owner)


def _backend_name(backend: str) -> str:
    """The canonical type name of a backend; one that is not known (yet) as it is."""
    try:
        return _REGISTRIES.backend(backend).name
    except UnknownPlugin:
        return backend
