"""The declarations of `heaven_core.plugin`."""

from __future__ import annotations

import importlib
import json
import sys
import types
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest

from heaven_core.errors import EngineNotInstalled, InvalidName, InvalidType, PluginLoadError
from heaven_core.plugin import API, MIN_API, Extension, ExtensionSpec, StoragePlugin, describe, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit


class AuditLog:
    identifier = "audit-log"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _write(folder: Path, name: str, source: str) -> None:
    path = folder / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    importlib.invalidate_caches()


def _duck(**changes: Any) -> StoragePlugin:
    values: dict[str, Any] = {"backend": "quack_backend:Backend", "api": 1, "requires": ("quackdb",), "extra": "quack"}
    return StoragePlugin("quack", **(values | changes))


def test_the_kernel_accepts_its_own_api() -> None:
    assert MIN_API <= API


def test_declarations_are_frozen() -> None:
    spec = ExtensionSpec("audit")

    for declaration, field in ((_duck(), "api"), (spec, "version"), (Extension(spec), "api")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(declaration, field, 2)


# resolve


def test_a_reference_names_an_attribute_of_a_module() -> None:
    assert resolve("json:dumps") is json.dumps


def test_a_reference_may_have_a_dotted_path() -> None:
    assert resolve("json.decoder:JSONDecoder.decode") is json.JSONDecoder.decode


@pytest.mark.parametrize("reference", ["json", "json:", ":dumps", ""])
def test_a_reference_without_module_or_attribute_is_refused(reference: str) -> None:
    with pytest.raises(PluginLoadError, match="module:attribute"):
        resolve(reference)


def test_a_missing_module_fails_at_import_and_keeps_the_cause() -> None:
    with pytest.raises(PluginLoadError) as raised:
        resolve("no_such_module_at_all:thing")

    assert vars(raised.value)["stage"] == "import"
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_missing_attribute_fails_at_attribute_and_keeps_the_cause() -> None:
    with pytest.raises(PluginLoadError) as raised:
        resolve("json:no_such_thing")

    assert vars(raised.value)["stage"] == "attribute"
    assert isinstance(raised.value.__cause__, AttributeError)


def test_a_module_that_raises_an_attribute_error_fails_at_import(modules: Path) -> None:
    _write(modules, "raises_attribute", "None.nothing")

    with pytest.raises(PluginLoadError) as raised:
        resolve("raises_attribute:x")

    assert vars(raised.value)["stage"] == "import"


def test_an_interrupt_during_an_import_passes_through(modules: Path) -> None:
    _write(modules, "interrupts", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        resolve("interrupts:x")


def test_a_failed_import_does_not_tell_where_this_machine_keeps_its_files(modules: Path) -> None:
    _write(modules, "imports_wrongly", "from helper_of_it import absent")
    _write(modules, "helper_of_it", "")

    with pytest.raises(PluginLoadError) as raised:
        resolve("imports_wrongly:x")

    assert str(modules) in str(raised.value.__cause__)
    assert str(modules) not in str(raised.value)
    assert "cannot import name 'absent' from 'helper_of_it'" in str(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (OSError(2, "No such file", "/home/me/data/x.so"), "FileNotFoundError: [Errno 2] No such file: 'x.so'"),
        (ValueError("see https://example.org/a/b"), "ValueError: see https://example.org/a/b"),
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError("\x1b[31mé"), "ValueError: \\x1b[31mé"),
    ],
)
def test_a_foreign_error_is_described_in_one_line_without_folders(error: Exception, expected: str) -> None:
    assert describe(error) == expected


def test_an_error_that_cannot_print_itself_is_described_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert describe(Mute()) == "Mute"


# StoragePlugin


def test_an_engine_without_requirements_is_available() -> None:
    plugin = StoragePlugin("inmem", backend=dict, api=1)

    assert plugin.available()
    assert plugin.install_hint() == ""
    assert plugin.load_backend() is dict
    assert plugin.load_handlers() is None


def test_an_engine_is_available_once_its_module_is_there(modules: Path) -> None:
    before = _duck().available()
    _write(modules, "quackdb", "raise RuntimeError('imported')")

    assert not before
    assert _duck().available()
    assert "quackdb" not in sys.modules


def test_an_engine_that_needs_two_modules_is_unavailable_with_one(modules: Path) -> None:
    _write(modules, "quackdb", "")

    assert not _duck(requires=("quackdb", "pondlib")).available()


def test_a_folder_named_like_the_engine_is_not_the_engine(modules: Path) -> None:
    (modules / "quackdb").mkdir()
    importlib.invalidate_caches()

    assert not _duck().available()


def test_a_dotted_requirement_may_live_in_a_namespace_package(modules: Path) -> None:
    _write(modules, "quackdb/engine/__init__", "")

    assert _duck(requires=("quackdb.engine",)).available()


def test_a_module_that_is_blocked_is_not_available(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(modules, "quackdb", "")
    monkeypatch.setitem(sys.modules, "quackdb", None)

    assert not _duck().available()


def test_a_module_that_somebody_made_by_hand_is_available(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quackdb", types.ModuleType("quackdb"))

    assert _duck().available()


def test_a_missing_engine_names_the_command(modules: Path) -> None:
    _write(modules, "quack_backend", "import quackdb\nclass Backend: ...")

    with pytest.raises(EngineNotInstalled) as raised:
        _duck().load_backend()

    assert "pip install 'heaven-core[quack]'" in str(raised.value)
    assert vars(raised.value)["hint"] == "pip install 'heaven-core[quack]'"


def test_a_plugin_of_another_distribution_names_its_own_extra() -> None:
    assert _duck(distribution="hb-quack").install_hint() == "pip install 'hb-quack[quack]'"


def test_an_engine_without_an_extra_names_its_modules() -> None:
    assert "quackdb and pondlib" in _duck(extra=None, requires=("quackdb", "pondlib")).install_hint()


def test_a_missing_engine_is_told_before_the_backend_is_imported(modules: Path) -> None:
    _write(modules, "quack_backend", "class Backend: ...")

    with pytest.raises(EngineNotInstalled):
        _duck().load_backend()

    assert "quack_backend" not in sys.modules


def test_the_backend_is_imported_when_it_is_loaded(modules: Path) -> None:
    _write(modules, "quackdb", "")
    _write(modules, "quack_backend", "class Backend: ...")

    backend = _duck().load_backend()

    assert backend is sys.modules["quack_backend"].Backend


def test_a_broken_backend_of_an_installed_engine_keeps_its_cause(modules: Path) -> None:
    _write(modules, "quackdb", "")
    _write(modules, "quack_backend", "import something_else_that_is_missing")

    with pytest.raises(PluginLoadError) as raised:
        _duck().load_backend()

    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_a_backend_that_cannot_be_called_is_refused(modules: Path) -> None:
    _write(modules, "quackdb", "")
    _write(modules, "quack_backend", "Backend = 5")

    with pytest.raises(PluginLoadError, match="must be a class or a function, not of type int"):
        _duck().load_backend()


def test_handlers_load_without_the_engine(modules: Path) -> None:
    _write(modules, "quack_handlers", "HANDLERS = {'eq': 1}")

    assert _duck(handlers="quack_handlers:HANDLERS").load_handlers() == {"eq": 1}


def test_handlers_that_need_a_missing_engine_name_the_command(modules: Path) -> None:
    _write(modules, "quack_handlers", "import quackdb")

    with pytest.raises(EngineNotInstalled, match=r"heaven-core\[quack\]"):
        _duck(handlers="quack_handlers:HANDLERS").load_handlers()


def test_broken_handlers_keep_their_cause_even_without_the_engine(modules: Path) -> None:
    _write(modules, "quack_handlers", "1 / 0")

    with pytest.raises(PluginLoadError) as raised:
        _duck(handlers="quack_handlers:HANDLERS").load_handlers()

    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("change", [{"aliases": "pg"}, {"requires": "quackdb"}, {"requires": (1,)}, {"api": "1"}])
def test_a_declaration_with_a_wrong_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidType):
        _duck(**change)


def test_names_and_aliases_keep_the_naming_rule() -> None:
    with pytest.raises(InvalidName, match="storage plugin name"):
        StoragePlugin("Quack", backend=dict, api=1)
    with pytest.raises(InvalidName):
        _duck(aliases=("Quacky",))


# ExtensionSpec


def test_the_identifier_is_positional_or_a_keyword() -> None:
    assert ExtensionSpec("audit") == ExtensionSpec(identifier="audit")


def test_the_identifier_of_an_extension_keeps_the_naming_rule() -> None:
    with pytest.raises(InvalidName, match="extension identifier 'Audit'"):
        ExtensionSpec("Audit")


def test_sequences_become_tuples() -> None:
    spec = ExtensionSpec("audit", entities=[AuditLog], tags=iter(["a", "b"]))

    assert spec.entities == (AuditLog,)
    assert spec.tags == ("a", "b")


@pytest.mark.parametrize("change", [{"entities": AuditLog}, {"entities": ("AuditLog",)}, {"tags": "a"}, {"tags": 1}])
def test_what_is_no_sequence_of_the_right_things_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidType):
        ExtensionSpec("audit", **change)


def test_meta_is_a_read_only_copy() -> None:
    given = {"team": "trust"}
    spec = ExtensionSpec("audit", meta=given)

    given["team"] = "other"

    assert spec.meta["team"] == "trust"
    with pytest.raises(TypeError):
        cast("dict[str, object]", spec.meta)["team"] = "x"


def test_a_spec_with_meta_can_be_hashed() -> None:
    specs = {ExtensionSpec("audit", meta={"a": [1]}), ExtensionSpec("audit", meta={"a": [1]})}

    assert len(specs) == 1


def test_a_spec_as_plain_json() -> None:
    spec = ExtensionSpec(
        identifier="audit",
        name="Audit Log",
        desc="Optional audit rows.",
        entities=(AuditLog,),
        tags=("audit",),
        meta={"links": ("a", "b"), "deep": {1: None}},
    )

    assert json.loads(json.dumps(spec.to_dict())) == spec.to_dict()
    assert spec.to_dict() == {
        "identifier": "audit",
        "name": "Audit Log",
        "desc": "Optional audit rows.",
        "version": "0",
        "entities": ["audit-log"],
        "required": False,
        "tags": ["audit"],
        "meta": {"links": ["a", "b"], "deep": {"1": None}},
    }


# Extension


def test_an_extension_takes_its_spec_first_and_has_its_identifier() -> None:
    extension = Extension(ExtensionSpec("audit"), requires=["system"], after=("prompt",))

    assert extension.identifier == "audit"
    assert extension.requires == ("system",)
    assert extension.api == API


@pytest.mark.parametrize("change", [{"requires": "system"}, {"runners": {"session": 5}}, {"api": True}])
def test_an_extension_with_a_wrong_type_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidType):
        Extension(ExtensionSpec("audit"), **change)


def test_an_extension_without_a_spec_is_refused() -> None:
    with pytest.raises(InvalidType, match="must be an ExtensionSpec"):
        Extension(cast("ExtensionSpec", "audit"))


def test_runners_are_a_read_only_copy() -> None:
    given = {"session": "m:Session"}
    extension = Extension(ExtensionSpec("execution"), runners=given)

    given.clear()

    assert dict(extension.runners) == {"session": "m:Session"}
    with pytest.raises(TypeError):
        cast("dict[str, str]", extension.runners)["x"] = "m:X"


def test_a_hook_object_is_used_as_it_is() -> None:
    hooks = object()

    assert Extension(ExtensionSpec("audit"), plugin=hooks).load_plugin() is hooks
    assert Extension(ExtensionSpec("audit")).load_plugin() is None


def test_a_hook_class_gives_a_new_instance_each_time(modules: Path) -> None:
    _write(modules, "audit_hooks", "class Hooks: ...")
    extension = Extension(ExtensionSpec("audit"), plugin="audit_hooks:Hooks")

    first, second = extension.load_plugin(), extension.load_plugin()

    assert type(first) is type(second) is sys.modules["audit_hooks"].Hooks
    assert first is not second


def test_a_hook_class_is_not_imported_by_the_declaration(modules: Path) -> None:
    _write(modules, "audit_hooks", "class Hooks: ...")

    Extension(ExtensionSpec("audit"), plugin="audit_hooks:Hooks")

    assert "audit_hooks" not in sys.modules


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"tags": "audit"}, "tags: 'audit' stands where several are expected"),
        ({"entities": ["doc"]}, "entities: 'doc' must be an entity class"),
        ({"meta": {"icon": object()}}, r"meta: .* must be a mapping of JSON data"),
        ({"meta": 5}, "meta: 5 must be a mapping of JSON data"),
    ],
    ids=["one text", "a name for a class", "no JSON", "no mapping"],
)
def test_a_mistake_in_a_spec_names_the_argument(said: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidType, match=message):
        ExtensionSpec("audit", **said)
