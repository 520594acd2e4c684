"""What a plugin declares about itself: light, frozen, and importable without its engine.

An entry point names one of these declarations::

    [project.entry-points."heavenbase.storage"]
    duckdb = "heaven_duckdb:PLUGIN"            # a StoragePlugin

    [project.entry-points."heavenbase.extension"]
    audit = "heaven_audit:EXTENSION"           # an Extension

Everything heavy is a ``"module:attribute"`` string that is imported at first use.

Not here: finding what is installed (`heaven_core.discovery`), the hooks that an
extension may implement, and the registries that declarations end up in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import cast

from attrs import field, frozen

from heaven_core.errors import EngineNotInstalled, InvalidType, InvalidValue, PluginLoadError, printable, shown
from heaven_core.names import check_identifier

API = 1
"""The plugin interface that this kernel speaks; a declaration says which one it was written for."""

MIN_API = 1
"""The oldest plugin interface that this kernel still accepts."""

_EMPTY: Mapping[str, str] = MappingProxyType({})


def resolve(reference: str) -> object:
    """The object that ``"module:attr"`` or ``"module:attr.attr"`` names; imports the module.

    Raises:
        PluginLoadError: its `stage` is ``"import"`` or ``"attribute"``; the cause is what the module raised.
    """
    module, path = _split(reference)
    try:
        target: object = import_module(module)
    except (Exception, SystemExit) as error:  # foreign code may raise anything at import, or leave
        raise _refused(reference, "import", f"importing {module} failed: {describe(error)}") from error
    try:
        for name in path:
            target = getattr(target, name)
    except Exception as error:  # a module's own __getattr__ is foreign code too
        raise _refused(reference, "attribute", describe(error)) from error
    return target


def describe(error: BaseException) -> str:
    """One line about a foreign `error`, without the folders of this machine: ``ImportError: no such thing``."""
    import re

    text = _text(error).strip().partition("\n")[0]
    text = re.sub(r"(?<![\w:/.])(?:[A-Za-z]:)?[/\\](?:[^\s'\"()/\\]+[/\\])+", "", text)
    text = printable(text)
    text = text if len(text) <= 200 else text[:200] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # a foreign error may be unable to print itself
        return ""


def _split(reference: str) -> tuple[str, list[str]]:
    module, _, path = reference.partition(":")
    if module and path:
        return module.strip(), path.strip().split(".")
    raise _refused(reference, "attribute", "it must look like 'module:attribute'")


def _refused(reference: str, stage: str, why: str) -> PluginLoadError:
    return PluginLoadError(f"{shown(reference)} cannot be loaded: {why}", reference=reference, stage=stage)


def _wrong(value: object, reason: str, argument: str | None = None) -> InvalidValue:
    return InvalidType.at(None, argument, None, value, reason)


def _items(value: Iterable[object], argument: str) -> tuple[object, ...]:
    if isinstance(value, (str, bytes, type)) or not isinstance(value, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _wrong(value, "stands where several are expected; write a tuple", argument)
    return tuple(value)


# The converters below are made for one argument each, so that a message can name it.


def _texts(argument: str) -> Callable[[Iterable[str]], tuple[str, ...]]:
    def texts(value: Iterable[str]) -> tuple[str, ...]:
        items = _items(value, argument)
        for item in items:
            if not isinstance(item, str):
                raise _wrong(item, "must be a str", argument)
        return cast("tuple[str, ...]", items)

    return texts


def _identifiers(argument: str) -> Callable[[Iterable[str]], tuple[str, ...]]:
    def identifiers(value: Iterable[str]) -> tuple[str, ...]:
        return tuple(check_identifier(item, f"each of {argument}") for item in _items(value, argument))

    return identifiers


def _classes(value: Iterable[type[object]]) -> tuple[type[object], ...]:
    items = _items(value, "entities")
    for item in items:
        if not isinstance(item, type):
            raise _wrong(item, "must be an entity class", "entities")
    return cast("tuple[type[object], ...]", items)


def _json_mapping(value: Mapping[str, object]) -> Mapping[str, object]:
    """A read-only copy; it has to be JSON, since the MetaSchema shows it."""
    from json import dumps

    try:
        dumps(_plain(value), allow_nan=False)
        return MappingProxyType(dict(value))
    except (TypeError, ValueError, RecursionError):
        raise _wrong(value, "must be a mapping of JSON data", "meta") from None


def _references(value: Mapping[str, str]) -> Mapping[str, str]:
    for item in value.values():
        if not isinstance(item, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # authors may not type-check
            raise _wrong(item, "must be a 'module:attribute' string", "runners")
    return MappingProxyType(dict(value))


def _name_of_storage(value: str) -> str:
    return check_identifier(value, "storage plugin name")


def _extension_id(value: str) -> str:
    return check_identifier(value, what="extension identifier")


def _api(value: int) -> int:
    if type(value) is int:
        return value
    raise _wrong(value, "must be the int of the plugin API")


@frozen(eq=False)
class StoragePlugin:
    """One storage engine, as its package declares it.

    name: what users write as the backend's type; equal to the name of the entry point.
    backend: the class, or a function, that opens it: itself or as ``"module:Class"``.
    handlers: ``"module:ATTR"`` of its operations; that module imports no engine.
    api: the plugin interface that it was written for.
    aliases: other names that it answers to.
    requires: importable modules that are there exactly if the engine is installed.
    extra: the extra of `distribution` that installs them.
    primary: whether it can be the backend ``main``.
    persistent: whether its data outlive the process; one that isn't needs no folder.
    probe: ``"module:function"`` that takes a folder it may write in and gives a `report.Check` for each thing
        that the engine needs; `hb doctor` calls it where the engine is installed.
    """

    name: str = field(converter=_name_of_storage)
    backend: str | Callable[..., object] = field(kw_only=True)
    handlers: str | None = field(kw_only=True, default=None)
    api: int = field(kw_only=True, converter=_api)
    aliases: tuple[str, ...] = field(kw_only=True, default=(), converter=_identifiers("aliases"))
    requires: tuple[str, ...] = field(kw_only=True, default=(), converter=_texts("requires"))
    extra: str | None = field(kw_only=True, default=None)
    primary: bool = field(kw_only=True, default=False)
    persistent: bool = field(kw_only=True, default=True)
    desc: str = field(kw_only=True, default="")
    distribution: str = field(kw_only=True, default="heaven-core")
    probe: str | None = field(kw_only=True, default=None)

    def available(self) -> bool:
        """Whether the engine is installed; imports nothing of it."""
        return not self._missing()

    def install_hint(self) -> str:
        """The command that installs the engine; empty if it needs none."""
        if self.extra:
            return f"pip install '{self.distribution}[{self.extra}]'"
        if self.requires:
            return f"install what provides the Python module {' and '.join(self.requires)}"
        return ""

    def load_backend(self) -> Callable[..., object]:
        """What opens the engine; imports it.

        Raises:
            EngineNotInstalled: its library is missing.
            PluginLoadError: anything else; the cause is what was raised.
        """
        if missing := self._missing():
            raise self._not_installed(missing)
        backend = self._resolved(self.backend) if isinstance(self.backend, str) else self.backend
        if callable(backend):
            return backend
        raise PluginLoadError(
            f"the backend of {self.name!r} must be a class or a function, not of type {type(backend).__name__}",
            name=self.name,
            stage="type",
        )

    def load_handlers(self) -> object:
        """What `handlers` names, or None; works without the engine.

        Raises:
            EngineNotInstalled: the module needs the engine all the same, and it is missing.
            PluginLoadError: anything else; the cause is what was raised.
        """
        return None if self.handlers is None else self._resolved(self.handlers)

    def load_probe(self) -> object:
        """What `probe` names, or None.

        Raises:
            EngineNotInstalled: the module needs the engine, and it is missing.
            PluginLoadError: anything else; the cause is what was raised.
        """
        return None if self.probe is None else self._resolved(self.probe)

    def _resolved(self, reference: str) -> object:
        try:
            return resolve(reference)
        except PluginLoadError as error:
            missing = self._missing()
            if missing and isinstance(error.__cause__, ImportError):
                raise self._not_installed(missing) from error.__cause__
            stage = vars(error)["stage"]
            message = f"storage plugin {self.name!r}: {error.message}"
            raise PluginLoadError(message, name=self.name, reference=reference, stage=stage) from error.__cause__

    def _missing(self) -> list[str]:
        return [name for name in self.requires if not _is_importable(name)]

    def _not_installed(self, missing: list[str]) -> EngineNotInstalled:
        hint = self.install_hint()
        return EngineNotInstalled(
            f"the engine of {self.name!r} is not installed (missing: {', '.join(missing)}); {hint}",
            name=self.name,
            hint=hint,
        )


@frozen
class ExtensionSpec:
    """What an entity extension adds to a workspace, as data.

    identifier: its stable id; the naming rule of workspace ids.
    name, desc, version: what people read.
    entities: the entity classes that are registered when it is enabled.
    required: it can't be skipped.
    tags, meta: for discovery and tooling; `meta` is a read-only copy.
    """

    identifier: str = field(converter=_extension_id)
    name: str = field(kw_only=True, default="")
    desc: str = field(kw_only=True, default="")
    version: str = field(kw_only=True, default="0")
    entities: tuple[type[object], ...] = field(kw_only=True, default=(), converter=_classes)
    required: bool = field(kw_only=True, default=False)
    tags: tuple[str, ...] = field(kw_only=True, default=(), converter=_texts("tags"))
    meta: Mapping[str, object] = field(kw_only=True, default=_EMPTY, converter=_json_mapping, hash=False)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON, with the entities as their identifiers; the caller owns it."""
        return {
            "identifier": self.identifier,
            "name": self.name,
            "desc": self.desc,
            "version": self.version,
            "entities": [getattr(entity, "identifier") for entity in self.entities],  # noqa: B009
            "required": self.required,
            "tags": list(self.tags),
            "meta": _plain(self.meta),
        }


def _check_spec(instance: object, attribute: object, value: object) -> None:
    if not isinstance(value, ExtensionSpec):
        raise _wrong(value, "must be an ExtensionSpec")


@frozen(eq=False)
class Extension:
    """An extension as its package declares it: the spec, and how it takes part.

    api: the plugin interface that it was written for.
    requires: identifiers of the extensions that have to be active with it, before it.
    after: identifiers of those that come before it if they are active at all.
    plugin: the object that implements its hooks, or ``"module:Class"``.
    runners: name to ``"module:Class"``; resolved process-wide when one is used.
    """

    spec: ExtensionSpec = field(validator=_check_spec)
    api: int = field(kw_only=True, default=API, converter=_api)
    requires: tuple[str, ...] = field(kw_only=True, default=(), converter=_identifiers("requires"))
    after: tuple[str, ...] = field(kw_only=True, default=(), converter=_identifiers("after"))
    plugin: object = field(kw_only=True, default=None)
    runners: Mapping[str, str] = field(kw_only=True, default=_EMPTY, converter=_references)

    @property
    def identifier(self) -> str:
        """The identifier of the spec."""
        return self.spec.identifier

    def load_plugin(self) -> object:
        """The object that implements the hooks, or None; a class gives a new instance at each call.

        Raises:
            PluginLoadError: the string can't be resolved; the cause is what was raised.
        """
        plugin = resolve(self.plugin) if isinstance(self.plugin, str) else self.plugin
        return plugin() if isinstance(plugin, type) else plugin


def _is_importable(module: str) -> bool:
    from importlib.util import find_spec

    top, _, below = module.partition(".")
    try:
        spec = find_spec(top)
    except ValueError:  # imported, by somebody who gave it no spec
        return True
    if spec is None:
        return False
    # A folder without code, such as a database directory named like its engine, is
    # importable as a namespace package; it counts only where one is asked for by a dotted name.
    is_folder = spec.origin is None and spec.submodule_search_locations is not None
    return bool(below) or not is_folder


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value)
        return {str(key): _plain(item) for key, item in pairs.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in cast("Iterable[object]", value)]
    return value
