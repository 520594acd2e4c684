"""The extensions document, line by line: each test is named after the line of `docs/seeds.md` that it shows.

The document's code blocks lie in `blocks/` as they stand there and are run unchanged, each in registries of its own.
Not here: extensions that are missing, changed or broken at the next opening (`test_extension_states.py`), what a
registration is (`test_registrations.py`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heaven_core.ext
import heaven_inmem.handlers
import heaven_system
import heavenbase as hb
from heaven_core.discovery import EXTENSION, INSTALLED, STORAGE
from heaven_core.errors import (
    InvalidName,
    PluginError,
    QueryError,
    RegistrationConflict,
    SchemaError,
    UnknownEntity,
    UnknownPlugin,
)
from heaven_core.testing import isolated_registries
from heaven_inmem.engine import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = Path(__file__).resolve().parent / "blocks"
REGISTER, ENABLE = "section_3_register_an_extension", "section_3_enable_an_extension"
HANDLER, DISCOVER = "section_4_register_a_handler", "section_5_discover_capabilities"
SHA256 = {
    REGISTER: "c3ac7a6772632f0ca51359f6d4c5de48a69aa898c28329d4ee3847f20301db61",
    ENABLE: "d3d5a00332a3fb251dc81436530642a82057e4af6f1e85cdf09a3d9ea49f13dc",
    HANDLER: "d3488293b9fac4fa821beee4d5aa1abb31a95c44138e3e859ce7957db272d6e8",
    DISCOVER: "1b4f21a060fb3663e5a126db8458a34156e4f566a365fc3bfafce5ac7abbc671",
}
"""Of each block's text as it stands in the document, with the end of its last line."""
ENGINES = ("inmem", "sqlite")


class Note(hb.Entity):
    identifier = "note"

    text = hb.field(hb.ShortText).store(strategy=hb.SuffixIndex)


class Plain(hb.Entity):
    text = hb.field(hb.ShortText)


class Event(hb.Entity):
    identifier = "event"

    what = hb.field(hb.ShortText)


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    with isolated_registries():
        yield


@pytest.fixture
def open_workspace(tmp_path: Path) -> Iterator[Callable[..., hb.HeavenBase]]:
    """Open a workspace on an engine; closed at the end."""
    handles: list[hb.HeavenBase] = []

    def opened(engine: str = "inmem", identifier: str = "elsewhere", **more: Any) -> hb.HeavenBase:
        more = more or {"backends": {"main": {"type": engine}}, "path": tmp_path / f"{identifier}-{engine}"}
        handles.append(hb.HeavenBase(identifier, **more))
        return handles[-1]

    yield opened
    for handle in handles:
        handle.close()


def run_block(name: str, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a block as it stands; a workspace that it opened is the caller's to close."""
    namespace = {"__name__": "seed_block"} if namespace is None else namespace
    exec(compile((BLOCKS / f"{name}.py").read_text(encoding="utf-8"), f"{name}.py", "exec"), namespace)
    return namespace


def extension(identifier: str = "events", *entities: type[hb.Entity], **said: Any) -> hb.ext.Extension:
    spec = hb.ext.ExtensionSpec(identifier, entities=entities or (Event,), **said)
    return hb.ext.Extension(spec)


def found_in(ws: hb.HeavenBase, kind: str, subject: str) -> dict[str, Any]:
    """The one row of `sys-metaschema` about this subject."""
    (row,) = ws.query(hb.MetaSchema).where({"kind": kind, "subject": subject}).execute().rows()
    return row


def texts(ws: hb.HeavenBase, condition: Any) -> list[Any]:
    return ws.query(Note).where(condition).order_by("text").execute().column("text")


def shouting(field: Any, value: Any, ctx: Any) -> hb.ext.QueryFragment:
    """Compile a condition whose answer no built-in operation gives: upper-case texts only, whatever is asked."""
    return hb.ext.QueryFragment(ctx.backend, "ends_with", field.name, lambda row: (row.get(field.name) or "").isupper())


def memory_handlers(backend: str) -> list[hb.ext.Handler]:
    """The handlers of the memory engine under another backend's name."""
    return [one._replace(key=one.key._replace(backend=backend)) for one in heaven_inmem.handlers.handlers()]


class Recorder(MemoryBackend):
    """A memory engine that remembers what it was asked to do."""

    type = "recorder"

    def __init__(self, config: hb.ext.BackendConfig) -> None:
        super().__init__(config)
        self.type, self.config = "recorder", config
        self.calls: list[str] = []

    def run(self, request: Any, tx: Any = None) -> Any:
        self.calls.append("run")
        return super().run(request, tx)

    def estimate(self, request: Any) -> int | None:
        self.calls.append("estimate")
        return super().estimate(request)


# -- the blocks ------------------------------------------------------------------------------------------------------


def test_the_blocks_are_the_documents_own_letter_by_letter() -> None:
    files = (path for path in BLOCKS.iterdir() if path.is_file())

    assert {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in files} == SHA256


# -- two layers ------------------------------------------------------------------------------------------------------


def test_E1_both_layers_are_reached_through_one_import_path() -> None:
    module = importlib.import_module("heavenbase.ext")

    assert hb.ext is module
    assert set(heaven_core.ext.__all__) <= set(module.__all__)
    assert {"ExtensionSpec", "register_extension", "register_backend_builder", "register_handler"} <= set(dir(module))


def test_E2_extending_changes_no_method_of_the_workspace(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    def methods(ws: hb.HeavenBase) -> dict[str, str]:
        public = [name for name in dir(ws) if not name.startswith("_")]
        return {name: str(inspect.signature(value)) for name in public if callable(value := getattr(ws, name))}

    ws = open_workspace()
    before, attributes = methods(ws), dir(ws)

    run_block(REGISTER)
    run_block(HANDLER)
    ws.enable_extension("audit")

    assert methods(ws) == before
    assert dir(ws) == attributes


def test_E3_an_entity_extension_is_entities_and_rows_of_the_metaschema(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace()
    hb.ext.register_extension(extension("events", Event))

    ws.enable_extension("events")

    assert ws.entity("event") is Event
    assert found_in(ws, "entity", "event")["owner"] == "events"
    assert found_in(ws, "extension", "events")["meta"]["entities"] == ["event"]


def test_E4_a_developer_extension_adds_backends_handlers_strategies_types_and_ops() -> None:
    class Phonetic(hb.Strategy):
        identifier = "phonetic"

    class Email(hb.ShortText):
        identifier = "email"

    hb.ext.register_backend_builder("toy", MemoryBackend, primary=True)
    hb.ext.register_strategy(Phonetic)
    hb.ext.register_logical_type(Email)
    hb.ext.register_op("sounds_like", trait="text")
    hb.ext.register_handler("demo", Email, "sounds_like", "toy", Phonetic, shouting)

    index = hb.capabilities
    assert "toy" in index.backends(Email, Phonetic, op="sounds_like")
    assert index.strategies(Email, backend="toy") == ("phonetic",)
    assert index.logical_types(backend="toy") == ("email",)
    assert index.ops(Email, Phonetic, backend="toy") == ("sounds_like",)


def test_E5_an_enabled_entity_is_described_like_a_registered_one(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    registered, enabled = open_workspace(identifier="registered"), open_workspace(identifier="enabled")
    hb.ext.register_extension(extension("events", Event))

    registered.register(Event)
    enabled.enable_extension("events")

    def described(ws: hb.HeavenBase) -> list[dict[str, Any]]:
        rows = ws.query(hb.MetaSchema).where({"entity": "event"}).order_by("subject").execute().rows()
        return [{key: value for key, value in row.items() if key != "owner"} for row in rows]

    assert len(described(enabled)) == 4  # the entity, object_id, name and what
    assert described(enabled) == described(registered)


@pytest.mark.parametrize("engine", ENGINES)
def test_E6_a_registration_takes_effect_in_open_workspaces_at_once(
    engine: str, open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    ws = open_workspace(engine)
    ws.register(Plain)
    ws.upsert_many(Plain, [{"text": "low"}, {"text": "slow"}])
    query = ws.query(Plain).where(Plain.text.ends_with("low"))
    before = len(query.execute())

    payload: Any = (lambda row: False) if engine == "inmem" else ("0", ())
    handle = hb.ext.register_handler(
        "demo",
        hb.ShortText,
        "ends_with",
        engine,
        hb.InlineColumn,
        lambda field, value, ctx: hb.ext.QueryFragment(ctx.backend, "ends_with", field.name, payload),
    )
    during = len(query.execute())
    handle.unregister()

    assert (before, during, len(query.execute())) == (2, 0, 2)


# -- the system extension --------------------------------------------------------------------------------------------


def test_E7_system_is_required_and_the_only_shipped_extension_that_is() -> None:
    shipped = [ref for ref in INSTALLED.refs(EXTENSION) if ref.dist == "heaven-core"]

    loaded = [INSTALLED.named(EXTENSION, ref.name) for ref in shipped]

    assert [one.identifier for one in loaded if one.spec.required] == ["system"]


@pytest.mark.parametrize("how", [{"preset": "debug"}, {"preset": "local"}, {}])
def test_E8_every_workspace_has_system(how: dict[str, Any]) -> None:
    with hb.config.override(extensions__default=[]), hb.HeavenBase("bare", **how) as ws:
        active = [spec.identifier for spec in ws.extensions()]

        assert active == ["system"]
        ws.drop()


def test_E10_the_system_extension_is_a_package_like_any_other() -> None:
    folder = ROOT / "extensions" / "heaven_system"

    assert INSTALLED.named(EXTENSION, "system") is heaven_system.EXTENSION
    assert (folder / "__init__.py").is_file()
    assert not (ROOT / "src").exists()


def test_E13_the_catalog_finds_concrete_objects(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()
    ws.register(Note, Event)
    note = ws.upsert(Note, {"name": "first", "text": "a"})
    ws.upsert(Event, {"name": "second", "what": "b"})

    (row,) = ws.query(hb.Catalog).where({"name": "first"}).execute().rows()

    assert hb.Catalog.identifier == "sys-catalog"
    assert (row["target_entity"], row["target_id"], row["version"]) == ("note", note, ws.version(note))
    assert ws.count(hb.Catalog) == 2


def test_E14_the_metaschema_holds_structure_capabilities_and_extensions(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace()
    ws.register(Note)

    field = found_in(ws, "field", "note.text")
    capability = found_in(ws, "capability", "short-text.ends_with.inmem.suffix-index")

    assert hb.MetaSchema.identifier == "sys-metaschema"
    assert (field["dtype"], field["backend"], field["strategy"]) == ("short-text", "main", "inline")
    assert field["meta"]["indexes"] == ["suffix-index"]
    assert capability["strategy"] == "suffix-index"
    assert found_in(ws, "extension", "system")["required"] is True


def test_E19_config_layer_exists_and_is_enabled_by_nobody(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()

    assert hb.ConfigLayer is heaven_system.ConfigLayer
    assert hb.ConfigLayer.identifier == "sys-config-layer"
    assert hb.ext.system_entities() == (hb.Catalog, hb.MetaSchema)
    with pytest.raises(UnknownEntity, match="sys-config-layer"):
        ws.entity("sys-config-layer")


# -- entity extensions -----------------------------------------------------------------------------------------------


def test_E25_the_first_block_registers_an_extension(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    namespace = run_block(REGISTER)

    spec = open_workspace().enable_extension("audit")

    assert spec.entities == (namespace["AuditLog"],)
    assert (spec.name, spec.desc, spec.tags) == ("Audit Log", "Optional audit rows.", ("audit",))


def test_E25_running_the_first_block_again_is_no_conflict(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    run_block(REGISTER)

    again = run_block(REGISTER)

    assert open_workspace().enable_extension("audit").entities == (again["AuditLog"],)


def test_E26_an_extension_in_code_shadows_an_installed_one_and_says_so_in_the_log(
    site: Callable[..., None],
    open_workspace: Callable[..., hb.HeavenBase],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    site(
        EXTENSION,
        "audit",
        "from heaven_core.plugin import Extension, ExtensionSpec\n"
        "PLUGIN = Extension(ExtensionSpec('audit', name='Installed'))\n",
    )
    installed = open_workspace(identifier="before").enable_extension("audit")

    with caplog.at_level(logging.INFO, "heavenbase"):
        run_block(REGISTER)
    coded = open_workspace(identifier="after").enable_extension("audit")

    assert (installed.name, coded.name) == ("Installed", "Audit Log")
    assert [record.getMessage() for record in caplog.records if "audit" in record.getMessage()] == [
        "extension audit registered in code overrides an installed one"
    ]
    assert len(recwarn) == 0


def test_E26_a_required_extension_cannot_be_shadowed() -> None:
    with pytest.raises(PluginError, match="'system' is required"):
        hb.ext.register_extension(extension("system"))


def test_E27_an_extension_takes_its_spec_first() -> None:
    spec = hb.ext.ExtensionSpec("events")

    assert hb.ext.Extension(spec).spec is spec
    assert next(iter(inspect.signature(hb.ext.Extension).parameters)) == "spec"


def test_E28_an_entity_says_its_id_and_its_fields_in_its_class() -> None:
    audit_log = run_block(REGISTER)["AuditLog"]

    schema = audit_log.schema()

    assert schema.id == "audit-log"
    assert schema.by_name["event"].dtype == hb.ShortText()


def test_E29_an_unknown_extension_is_an_error_that_names_it(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()
    run_block(REGISTER)

    with pytest.raises(UnknownPlugin, match="no extension 'audti'; did you mean 'audit'") as caught:
        ws.enable_extension("audti")

    assert isinstance(caught.value, hb.HeavenError)
    assert [spec.identifier for spec in ws.extensions()] == ["system"]


@given(st.text("abzAZ09-_ .é/", max_size=66) | st.sampled_from(["a" * 63, "a" * 64, "", "hb-x", "con"]))
def test_E30_an_extension_is_named_by_the_rules_of_workspaces(identifier: str) -> None:
    def refused(make: Callable[[], Any]) -> bool:
        try:
            make()
        except InvalidName:
            return True
        return False

    as_extension = refused(lambda: hb.ext.ExtensionSpec(identifier))
    as_workspace = refused(lambda: hb.HeavenBase(identifier, preset="debug").close())

    assert as_extension is as_workspace


def test_E31_name_desc_and_version_are_read_by_a_query(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()
    hb.ext.register_extension(extension("events", name="Events", desc="What happened.", version="2.1"))
    ws.enable_extension("events")

    spec = {"filter": {"kind": "extension", "subject": "events"}, "select": ["title", "desc", "version"]}
    (row,) = ws.query_json(hb.MetaSchema, spec).execute().rows()

    assert (row["title"], row["desc"], row["version"]) == ("Events", "What happened.", "2.1")


def test_E32_entities_exist_from_the_enabling_on(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()
    hb.ext.register_extension(extension("events", Event))
    with pytest.raises(UnknownEntity, match="event"):
        ws.query(Event)

    ws.enable_extension("events")

    assert ws.upsert(Event, {"what": "now it works"})


def test_E33_a_required_extension_cannot_be_skipped(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    earlier = open_workspace("sqlite")
    earlier.close()
    hb.ext.register_extension(extension("events", Event, required=True))

    with hb.config.override(extensions__default=[]):
        new, old = open_workspace(identifier="new"), open_workspace("sqlite")

    assert [spec.identifier for spec in new.extensions()] == ["system", "events"]
    assert [spec.identifier for spec in old.extensions()] == ["system", "events"]


def test_E34_tags_and_meta_can_be_read_back(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()
    hb.ext.register_extension(extension("events", tags=("log", "time"), meta={"owner": "ops", "levels": [1, 2]}))

    spec = ws.enable_extension("events")
    row = found_in(ws, "extension", "events")

    assert (spec.tags, spec.meta["owner"]) == (("log", "time"), "ops")
    assert row["tags"] == ["log", "time"]
    assert row["meta"]["meta"] == {"owner": "ops", "levels": [1, 2]}


def test_E35_a_spec_takes_eight_keywords_of_which_the_block_leaves_out_three() -> None:
    parameters = inspect.signature(hb.ext.ExtensionSpec).parameters

    spec = hb.ext.ExtensionSpec(identifier="audit", name="Audit Log", desc="", entities=(), tags=())

    assert set(parameters) == {"identifier", "name", "desc", "version", "entities", "required", "tags", "meta"}
    assert (spec.version, spec.required, dict(spec.meta)) == ("0", False, {})


def test_E36_the_second_block_enables_it_in_one_workspace(capsys: pytest.CaptureFixture[str]) -> None:
    namespace = run_block(ENABLE, run_block(REGISTER))

    first, *rest = capsys.readouterr().out.splitlines()
    namespace["ws"].close()

    assert first == "audit"
    assert "identifier='audit'" in "".join(rest)


def test_E37_another_workspace_does_not_get_it(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    one, other = open_workspace(identifier="one"), open_workspace(identifier="other")
    hb.ext.register_extension(extension("events", Event))

    one.enable_extension("events")

    assert "events" in [spec.identifier for spec in one.extensions()]
    assert "events" not in [spec.identifier for spec in other.extensions()]
    with pytest.raises(UnknownEntity):
        other.entity("event")


def test_E38_the_setting_in_code_enables_extensions_in_new_workspaces(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    hb.ext.register_extension(extension("audit", Event))
    hb.ext.register_extension(extension("my-package", Note))

    hb.config.set("heavenbase.extensions.default", ["audit", "my-package"])
    try:
        ws = open_workspace()
    finally:
        hb.config.unset("heavenbase.extensions.default")

    assert [spec.identifier for spec in ws.extensions()] == ["system", "audit", "my-package"]


@pytest.mark.parametrize("text", ["audit,my-package", '["audit", "my-package"]'])
def test_E38_the_setting_in_the_environment_does_the_same(
    text: str, open_workspace: Callable[..., hb.HeavenBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    hb.ext.register_extension(extension("audit", Event))
    hb.ext.register_extension(extension("my-package", Plain))
    monkeypatch.setenv("HEAVENBASE_EXTENSIONS_DEFAULT", text)

    ws = open_workspace("sqlite")

    assert [spec.identifier for spec in ws.extensions()] == ["system", "audit", "my-package"]
    assert ws.count(Event) == 0


def test_E39_the_setting_replaces_the_defaults_and_system_stays(
    open_workspace: Callable[..., hb.HeavenBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    hb.ext.register_extension(extension("broad", Event))
    hb.ext.register_extension(extension("narrow", Note))
    monkeypatch.setenv("HEAVENBASE_EXTENSIONS_DEFAULT", "broad")

    outside = open_workspace(identifier="outside")
    with hb.config.override(extensions__default=["narrow"]):
        narrow = open_workspace(identifier="narrow")
    with hb.config.override(extensions__default=[]):
        bare = open_workspace(identifier="bare")
    after = open_workspace(identifier="after")

    assert [spec.identifier for spec in outside.extensions()] == ["system", "broad"]
    assert [spec.identifier for spec in narrow.extensions()] == ["system", "narrow"]
    assert [spec.identifier for spec in bare.extensions()] == ["system"]
    assert [spec.identifier for spec in after.extensions()] == ["system", "broad"]


def test_E40_enabled_entities_are_placed_and_planned_like_any_other(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace()
    hb.ext.register_extension(extension("notes", Note))
    ws.enable_extension("notes")

    explained = ws.query(Note).where(Note.text.ends_with("x")).explain()

    assert explained.placement["text"] == {"backend": "main", "strategy": "inline", "indexes": ["suffix-index"]}
    assert explained.steps[0]["strategy"] == "suffix-index"


# -- developer registries --------------------------------------------------------------------------------------------


def test_E41_a_backend_registered_by_a_builder_is_configured_placed_on_and_queried(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    built: list[Recorder] = []

    def build(config: hb.ext.BackendConfig) -> Recorder:
        built.append(Recorder(config))
        return built[-1]

    hb.ext.register_backend_builder(
        "recorder", build, primary=True, aliases=("rec",), handlers=memory_handlers("recorder")
    )

    ws = open_workspace(backends={"main": {"type": "rec"}})
    ws.register(Note)
    ws.upsert_many(Note, [{"text": "pass"}, {"text": "fail"}])
    explained = ws.query(Note).where(Note.text.ends_with("ss")).explain()

    assert (built[0].config.name, built[0].config.type, built[0].config.workspace) == ("main", "recorder", "elsewhere")
    assert texts(ws, Note.text.ends_with("ss")) == ["pass"]
    assert (explained.steps[0]["backend_type"], explained.steps[0]["strategy"]) == ("recorder", "suffix-index")
    assert ws.capabilities.backends(hb.ShortText, hb.SuffixIndex, op="ends_with") == ("main",)
    assert "recorder" in hb.capabilities.backends(hb.ShortText, hb.SuffixIndex, op="ends_with")


def test_E42_a_backend_registered_by_its_class_does_the_same(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    hb.ext.register_backend_class(Recorder, handlers=lambda: memory_handlers("recorder"))

    ws = open_workspace(backends={"main": {"type": "recorder"}})
    ws.register(Note)
    ws.upsert_many(Note, [{"text": "pass"}, {"text": "fail"}])

    assert texts(ws, Note.text.ends_with("ss")) == ["pass"]
    assert ws.query(Note).where(Note.text.ends_with("ss")).explain().native
    assert ws.capabilities.ops(hb.ShortText, hb.SuffixIndex, backend="main") == ("ends_with",)


def test_E43_a_registered_handler_compiles_queries(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()
    ws.register(Note)
    ws.upsert_many(Note, [{"text": "loud"}, {"text": "LOUD"}])

    hb.ext.register_handler("demo", hb.ShortText, "ends_with", "inmem", hb.SuffixIndex, shouting)

    assert texts(ws, Note.text.ends_with("loud")) == ["LOUD"]


@pytest.mark.parametrize("registry", [hb.ext.HandlerRegistry, hb.ext.HandlerRegistry()])
def test_E44_the_registry_itself_registers_too(registry: Any) -> None:
    handle = registry.register("demo", hb.ShortText, "ends_with", "inmem", "suffix-index", shouting)
    during = registry.find(hb.ShortText, "ends_with", "inmem", "suffix-index")
    handle.unregister()
    after = registry.find(hb.ShortText, "ends_with", "inmem", "suffix-index")

    assert (during.owner, during.compile) == ("demo", shouting)
    assert after.owner == "inmem"


@pytest.mark.parametrize("engine", ENGINES)
def test_E45_a_registered_strategy_places_fields_and_finds_handlers(
    engine: str, open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    class Phonetic(hb.Strategy):
        identifier = "phonetic"
        desc = "texts by how they sound"

    payload: Any = (lambda row: row["text"] == "Meyer") if engine == "inmem" else ("t.\"text\" = 'Meyer'", ())
    hb.ext.register_strategy(Phonetic)
    hb.ext.register_handler(
        "demo",
        hb.ShortText,
        "eq",
        engine,
        "phonetic",
        lambda field, value, ctx: hb.ext.QueryFragment(ctx.backend, "eq", field.name, payload),
    )

    class Person(hb.Entity):
        text = hb.field(hb.ShortText).store(strategy=Phonetic)

    ws = open_workspace(engine)
    ws.register(Person)
    ws.upsert_many(Person, [{"text": "Meyer"}, {"text": "Maier"}])
    query = ws.query(Person).where(Person.text == "Maier")

    assert query.execute().column("text") == ["Meyer"]
    assert query.explain().steps[0]["strategy"] == "phonetic"
    assert query.explain().placement["text"]["indexes"] == ["phonetic"]


@pytest.mark.parametrize("engine", ENGINES)
def test_E46_a_registered_type_is_checked_stored_and_queried(
    engine: str, open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    class Email(hb.ShortText):
        identifier = "email"
        desc = "an address"

        def check(self, value: Any) -> str:
            text = super().check(value).lower()
            if "@" not in text:
                raise hb.ext.Refused("is no address")
            return text

    class Person(hb.Entity):
        mail = hb.field(Email).index().unique()

    hb.ext.register_logical_type(Email)
    ws = open_workspace(engine)
    ws.register(Person)
    key = ws.upsert(Person, {"mail": "Ann@Example.org"})

    assert ws.get(key) == {"object_id": key, "name": None, "mail": "ann@example.org"}
    assert ws.query(Person).where(Person.mail.ends_with("@example.org")).execute().ids == [key]
    assert ws.query_json(Person, {"filter": {"mail": {"$gt": "a"}}}).execute().ids == [key]
    assert found_in(ws, "field", "person.mail")["dtype"] == "email"
    assert "ends_with" in ws.capabilities.ops(Email, hb.InlineColumn)
    with pytest.raises(hb.errors.InvalidValue, match=r"person\.mail.*is no address"):
        ws.upsert(Person, {"mail": "nowhere"})


def test_E46_a_registered_type_is_known_again_at_the_next_opening(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    class Code(hb.ShortText):
        identifier = "code"

    class Part(hb.Entity):
        code = hb.field(Code)

    handle = hb.ext.register_logical_type(Code)
    with open_workspace("sqlite") as ws:
        ws.register(Part)
        ws.upsert(Part, {"object_id": "a", "code": "x-1"})
    handle.unregister()

    ws = open_workspace("sqlite")
    with pytest.raises(SchemaError, match="entity 'part' cannot be used: 'code' is no logical type"):
        ws.get("a", "part")
    hb.ext.register_logical_type(Code)

    assert ws.get("a", "part") == {"object_id": "a", "name": None, "code": "x-1"}


@pytest.mark.parametrize("engine", ENGINES)
def test_E47_a_registered_operation_works_in_json_and_as_a_method(
    engine: str, open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    def has_words(dtype: Any, argument: int) -> Callable[[str], bool]:
        return lambda value: len(value.split()) == argument

    hb.ext.register_op("has_words", trait="text", test=has_words, aliases=("words",), desc="has so many words")
    ws = open_workspace(engine)
    ws.register(Plain)
    ws.upsert_many(Plain, [{"text": "one"}, {"text": "one two"}, {"text": None}])
    as_method = Plain.text.has_words(2)  # pyright: ignore[reportAttributeAccessIssue]  # known at run time

    query = ws.query(Plain).where(as_method)

    assert query.execute().column("text") == ["one two"]
    for name in ("has_words", "words"):
        assert ws.query_json(Plain, {"filter": {"text": {f"${name}": 2}}}) == query
    assert ws.count(Plain, {"$not": {"text": {"$has_words": 2}}}) == 2
    assert (query.explain().native, query.explain().steps[0]["mode"]) == (False, "python")
    assert "has_words" in hb.capabilities.ops()


def test_E47_a_handler_serves_a_registered_operation_natively(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    hb.ext.register_op("has_length", trait="text")
    hb.ext.register_handler(
        "demo",
        hb.ShortText,
        "has_length",
        "sqlite",
        hb.InlineColumn,
        lambda field, value, ctx: hb.ext.QueryFragment(
            ctx.backend, "has_length", field.name, (f'length(t."{field.name}") = ?', (value,))
        ),
    )
    ws = open_workspace("sqlite")
    ws.register(Event)
    ws.upsert_many(Event, [{"what": "four"}, {"what": "three"}])
    query = ws.query_json(Event, {"filter": {"what": {"$has_length": 5}}})

    assert query.execute().column("what") == ["three"]
    assert query.explain().native
    assert "has_length" in hb.capabilities.ops(hb.ShortText, hb.InlineColumn, backend="sqlite")


def test_E48_a_storage_profile_places_fields_that_say_nothing(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    class Tagged(hb.Entity):
        tags = hb.field(hb.Array(hb.ShortText))
        labels = hb.field(hb.Array(hb.ShortText)).store(strategy=hb.JsonField)

    def arrays_aside(field: hb.FieldSchema, backends: Mapping[str, str]) -> hb.ext.StoreChoice | None:
        return hb.ext.StoreChoice(strategy="side") if field.dtype.kind == "array" else None

    hb.ext.register_storage_profile("arrays-aside", arrays_aside)
    ws = open_workspace("sqlite")
    ws.register(Tagged)
    ws.upsert(Tagged, {"tags": ["a"], "labels": ["b"]})

    explained = ws.query(Tagged).where(Tagged.tags.array_contains("a")).explain()

    assert explained.placement["tags"]["strategy"] == "side"
    assert explained.placement["labels"]["strategy"] == "json"
    assert ws.count(Tagged, {"tags": {"$array_contains": "a"}}) == 1


def test_E49_a_handler_that_gives_anything_but_one_fragment_is_refused(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    def several(field: Any, value: Any, ctx: Any) -> Any:
        return [shouting(field, value, ctx), shouting(field, value, ctx)]

    ws = open_workspace()
    ws.register(Note)
    hb.ext.register_handler("demo", hb.ShortText, "ends_with", "inmem", "suffix-index", several)

    with pytest.raises(QueryError, match=r"ends_with on text \(of demo\) returned no QueryFragment"):
        ws.query(Note).where(Note.text.ends_with("x")).execute()


def test_E50_compiling_and_explaining_run_nothing_in_the_engine(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    built: list[Recorder] = []
    hb.ext.register_backend_builder(
        "recorder",
        lambda config: built.append(Recorder(config)) or built[-1],
        primary=True,
        handlers=memory_handlers("recorder"),
    )
    ws = open_workspace(backends={"main": {"type": "recorder"}})
    ws.register(Note)
    (engine,) = built
    engine.calls.clear()

    query = ws.query(Note).where(Note.text.ends_with("x"))
    query.explain()
    explaining = list(engine.calls)
    query.execute()

    assert explaining == ["estimate"]
    assert engine.calls == ["estimate", "run"]


def test_E51_the_third_block_registers_a_handler() -> None:
    namespace = run_block(HANDLER)

    found = hb.ext.HandlerRegistry.find(hb.ShortText, "ends_with", "inmem", "suffix-index")

    assert (found.owner, found.compile) == ("demo", namespace["compile_ends_with"])


@pytest.mark.parametrize("engine", ENGINES)
def test_E52_a_handler_is_called_with_the_field_the_value_and_the_context(
    engine: str, open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    seen: list[tuple[Any, ...]] = []

    def compile_eq(field_schema: Any, value: Any, ctx: Any) -> hb.ext.QueryFragment:
        seen.append((field_schema.entity, field_schema.name, value, ctx.backend, ctx.backend_type, ctx.strategy))
        payload: Any = (lambda row: True) if engine == "inmem" else ("1", ())
        return hb.ext.QueryFragment(ctx.backend, "eq", field_schema.name, payload)

    ws = open_workspace(engine)
    ws.register(Event)
    hb.ext.register_handler("demo", hb.ShortText, "eq", engine, "inline", compile_eq)

    ws.count(Event, {"what": "tea"})

    assert seen == [("event", "what", "tea", "main", engine, "inline")]


def test_E53_a_fragment_takes_backend_op_field_and_payload_by_position() -> None:
    payload = object()

    fragment = hb.ext.QueryFragment("main", "ends_with", "text", payload)

    assert (fragment.backend, fragment.op, fragment.field) == ("main", "ends_with", "text")
    assert fragment.payload is payload


def test_E54_the_memory_engine_takes_a_predicate_on_a_row(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    seen: list[Any] = []

    def payload(row: Any) -> Any:
        seen.append(row.get("no such field", "the default"))
        return row.get("text", "")  # anything with a truth value

    ws = open_workspace()
    ws.register(Note)
    ws.upsert_many(Note, [{"text": ""}, {"text": "something"}, {"text": None}])
    hb.ext.register_handler(
        "demo",
        hb.ShortText,
        "ends_with",
        "inmem",
        "suffix-index",
        lambda field, value, ctx: hb.ext.QueryFragment(ctx.backend, "ends_with", field.name, payload),
    )

    assert texts(ws, Note.text.ends_with("zzz")) == ["something"]
    assert seen == ["the default"] * 3


def test_E55_a_handler_is_registered_by_owner_type_op_backend_strategy_and_function() -> None:
    names = list(inspect.signature(hb.ext.register_handler).parameters)

    handle = hb.ext.register_handler("demo", hb.ShortText, "ends_with", "memory", "SuffixIndex", shouting)

    assert names == ["owner", "dtype", "op", "backend", "strategy", "compile", "replace"]
    assert tuple(handle.key) == ("short-text", "ends_with", "inmem", "suffix-index")
    assert hb.SuffixIndex.identifier == "suffix-index"


def test_E56_a_query_in_any_workspace_goes_through_the_handler_of_the_block(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace(identifier="not-the-owner")
    ws.register(Note)
    ws.upsert_many(Note, [{"text": "hand"}, {"text": None}])
    query = ws.query(Note).where(Note.text.ends_with("None"))
    before = len(query.execute())

    run_block(HANDLER)
    found = query.execute().rows()

    # The block turns a missing text into the word None, which the built-in handler never does.
    assert before == 0
    assert [row["text"] for row in found] == [None]
    assert query.explain().steps[0]["handler"] == "demo"
    assert "handler demo" in str(query.explain())


def test_E56_two_handlers_in_code_for_one_key_are_a_conflict_unless_replaced(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace()
    ws.register(Note)
    ws.upsert_many(Note, [{"text": "LOUD"}])
    run_block(HANDLER)

    with pytest.raises(RegistrationConflict, match="short-text, ends_with, inmem, suffix-index"):
        hb.ext.register_handler("rival", hb.ShortText, "ends_with", "inmem", "suffix-index", shouting)
    assert texts(ws, Note.text.ends_with("x")) == []
    hb.ext.register_handler("rival", hb.ShortText, "ends_with", "inmem", "suffix-index", shouting, replace=True)

    assert texts(ws, Note.text.ends_with("x")) == ["LOUD"]


def test_E57_handler_plugins_are_found_under_the_path_of_the_document() -> None:
    module = importlib.import_module("heavenbase.handlers.plugins")
    package = importlib.import_module("heavenbase.handlers")

    assert module.register_handler_plugin is hb.ext.register_handler_plugin
    assert package.register_handler is hb.ext.register_handler
    assert {one.key.backend for one in module.sqlite()} == {"sqlite"}
    assert {one.key.backend for one in module.inmem()} == {"inmem"}
    assert dir(module) == sorted(module.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = module.nonsense


def test_E57_a_handler_plugin_registers_its_whole_table_or_nothing() -> None:
    def table() -> Iterator[hb.ext.Handler]:
        yield hb.ext.Handler(
            hb.ext.Key("short-text", "ends_with", "inmem", "suffix-index"), shouting, "x", native=False
        )
        yield hb.ext.Handler(hb.ext.Key("long-text", "ends_with", "inmem", "suffix-index"), shouting, "x")

    handles = hb.ext.register_handler_plugin("demo", table)
    found = hb.ext.HandlerRegistry.find(hb.ShortText, "ends_with", "inmem", "suffix-index")
    for handle in handles:
        handle.unregister()
    hb.ext.register_handler("rival", hb.LongText, "ends_with", "inmem", "suffix-index", memory_handlers("x")[0].compile)

    assert (found.owner, found.native) == ("demo", False)
    with pytest.raises(RegistrationConflict):
        hb.ext.register_handler_plugin("demo", table)
    assert hb.ext.HandlerRegistry.find(hb.ShortText, "ends_with", "inmem", "suffix-index").owner == "inmem"


TOY_ENGINE = """
from heaven_core.plugin import StoragePlugin
from heaven_inmem.engine import MemoryBackend
from heaven_inmem.handlers import handlers as memory

def backend(config):
    return MemoryBackend(config)

def handlers():
    return [one._replace(key=one.key._replace(backend="toyengine"), owner="toyengine") for one in memory()]

PLUGIN = StoragePlugin("toyengine", backend=backend, handlers=__name__ + ":handlers", api=1, primary=True)
"""


def test_E58_a_strangers_engine_is_seeded_like_ours(
    site: Callable[..., None], open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    before = hb.capabilities.backends()
    site(STORAGE, "toyengine", TOY_ENGINE)

    ws = open_workspace(backends={"main": {"type": "toyengine"}})
    ws.register(Note)
    ws.upsert(Note, {"text": "found"})

    assert "toyengine" not in before
    assert "toyengine" in hb.capabilities.backends(hb.ShortText, hb.SuffixIndex, op="ends_with")
    assert texts(ws, Note.text.ends_with("und")) == ["found"]


KERNEL = ROOT / "heaven_core"
ENGINE_NAMES = ("inmem", "sqlite", "duckdb", "lancedb", "postgres", "psycopg")
ENGINE_WORDS = ("memory", "lance")
"""Aliases that are words of the language too: they name an engine where they are the whole text."""
NAMED = {
    ("workspace", "PRESETS", "inmem"): "a preset is a choice of engines under a short name",
    ("workspace", "PRESETS", "sqlite"): "a preset is a choice of engines under a short name",
    ("workspace", "PRESETS", "postgres"): "a preset is a choice of engines under a short name",
    ("workspace", "SPARE", "duckdb"): "a preset is a choice of engines under a short name",
    ("workspace", "SPARE", "lancedb"): "a preset is a choice of engines under a short name",
    ("marker", "USUAL", "sqlite"): "a folder with its file says by that itself which engine it is",
    ("testing.subject", "Subject", "sqlite"): "the kit tries an engine that is no primary beside this one",
    ("testing.comparing", "ORACLE", "inmem"): "the engine that others are measured against",
    ("workspace", "_with_primary", "sqlite"): "a primary that nobody configured is a file of this engine",
    ("sharing", "normalised", "sqlite"): "a message shows by an example how a backend is written",
    ("sharing", "_file", "inmem"): "a message says what to write where somebody wants no file",
    ("sharing", "_file", "memory"): "a file of this name is what that message is about",
}
"""Where the kernel names an engine, and why it may: module, definition, name."""


def test_E58_what_seeds_and_plans_in_the_kernel_names_no_engine() -> None:
    found = {one for path in KERNEL.rglob("*.py") for one in _engines_named(path)}

    assert ("workspace", "PRESETS", "sqlite") in found
    assert found - NAMED.keys() == set(), "ask the registries, or say in NAMED why the kernel has to know this engine"


def test_the_names_that_the_kernel_must_not_say_are_those_of_all_shipped_engines() -> None:
    shipped = [INSTALLED.named(STORAGE, ref.name) for ref in INSTALLED.refs(STORAGE) if ref.dist == "heaven-core"]

    unseen = [name for one in shipped for name in (one.name, *one.aliases) if not list(_engines_in(name))]

    assert shipped
    assert unseen == []


def _engines_named(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield module, definition and engine of each text that names one; what only documents is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = ".".join(path.relative_to(KERNEL).with_suffix("").parts)
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for definition in tree.body:
        for node in ast.walk(definition):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
                yield from ((module, _defined(definition), name) for name in _engines_in(node.value))


def _engines_in(text: str) -> Iterator[str]:
    yield from (name for name in ENGINE_NAMES if name in text.lower())
    yield from (word for word in ENGINE_WORDS if word == text.lower().strip(": "))


def _defined(statement: ast.stmt) -> str:
    """The name that a statement of a module defines."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case _:
            return ""


# -- capabilities ----------------------------------------------------------------------------------------------------


def test_E59_a_picker_is_built_from_the_public_index_alone() -> None:
    index, dead_ends = hb.capabilities, []

    for dtype in index.logical_types(backend="sqlite"):
        for strategy in index.strategies(dtype, backend="sqlite"):
            ops = index.ops(dtype, strategy, backend="sqlite")
            missing = [op for op in ops if "sqlite" not in index.backends(dtype, strategy, op=op)]
            if not ops or missing:
                dead_ends.append((dtype, strategy, missing))

    assert dead_ends == []
    assert index.supports("short-text", "contains", "sqlite", "inline")
    assert not index.supports("short-text", "near", "sqlite", "inline")


def test_E60_the_index_lists_the_logical_types() -> None:
    types = hb.capabilities.logical_types()

    assert {"short-text", "integer", "array", "vector", "json", "artifact"} <= set(types)
    assert next(one for one in types if one == "vector").to_dict()["class"] == "Vector"


def test_E61_strategies_are_listed_for_a_bare_type() -> None:
    assert "vector" in hb.capabilities.strategies(hb.Vector)
    assert "vector" not in hb.capabilities.strategies(hb.ShortText)
    assert hb.capabilities.strategies(hb.Vector) == hb.capabilities.strategies("vector")


def test_E62_backends_are_listed_for_type_strategy_and_operation() -> None:
    found = hb.capabilities.backends(hb.Array, hb.SideTable, op="array_contains")

    assert {"inmem", "sqlite"} <= set(found)
    assert hb.capabilities.backends(hb.Array, hb.SideTable, op="regex") == ()


def test_E63_operations_are_listed_for_type_strategy_and_backend() -> None:
    found = hb.capabilities.ops(hb.ShortText, hb.InlineColumn, backend="sqlite")

    assert {"eq", "contains", "regex", "count"} <= set(found)
    assert "near" not in found


def test_E64_the_workspaces_index_answers_with_and_without_a_call(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    ws = open_workspace()

    assert ws.capabilities() is ws.capabilities
    assert ws.capabilities().backends() == ws.capabilities.backends() == ("main",)


def test_E65_the_workspaces_index_has_the_same_methods_for_its_own_backends(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace("sqlite")
    ours, everything = ws.capabilities, hb.capabilities

    methods = {name for name in dir(everything) if not name.startswith("_")}

    assert {name for name in dir(ours) if not name.startswith("_")} == methods
    assert ours.backends(hb.Array, hb.SideTable, op="array_contains") == ("main",)
    assert ours.ops(hb.ShortText, hb.InlineColumn) == everything.ops(hb.ShortText, hb.InlineColumn, backend="sqlite")
    with pytest.raises(UnknownPlugin, match="this workspace has no backend 'inmem'"):
        ours.ops(hb.ShortText, hb.InlineColumn, backend="inmem")


def test_E66_the_workspaces_index_names_only_its_backends(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    memory = open_workspace(preset="debug")
    file = open_workspace("sqlite", "on-file")

    assert memory.capabilities.backends(hb.Vector, hb.VectorIndex, op="near") == ("main",)
    assert set(file.capabilities.backends(hb.Vector, hb.VectorIndex, op="near")) <= {"main"}


def test_E67_every_option_is_plain_json_data(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    for index in (hb.capabilities, open_workspace().capabilities):
        options = [*index.logical_types(), *index.strategies(), *index.backends(), *index.ops()]

        dicts = [option.to_dict() for option in options]

        assert len(dicts) > 50
        assert json.loads(json.dumps(dicts)) == dicts
        assert [one["identifier"] for one in dicts] == options


def test_E68_a_new_workspace_describes_the_registries_and_computes_combinations_when_asked(
    open_workspace: Callable[..., hb.HeavenBase],
) -> None:
    ws = open_workspace()
    index = ws.capabilities
    query = ws.query(hb.MetaSchema)

    counted = query.group_by("kind").aggregate(n="count").execute().rows()
    kinds = {row["kind"]: row["n"] for row in counted}
    combinations = query.where({"kind": "capability"}).count()

    assert kinds["logical-type"] == len(index.logical_types())
    assert kinds["strategy"] == len(index.strategies())
    assert kinds["op"] == len(index.ops())
    assert kinds["backend"] == len(index.backends())
    assert kinds["capability"] == combinations == len(index.combinations()) > 300


def test_E69_the_fourth_block_discovers_capabilities() -> None:
    namespace = run_block(DISCOVER)

    assert namespace["ws"].id == "demo"
    namespace["ws"].close()


# -- the checklist of the document -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "group"), [("plugins", STORAGE), ("extensions", EXTENSION)])
def test_E70_a_component_lies_in_the_folder_of_its_role(folder: str, group: str) -> None:
    packages = {path.parent.name.removeprefix("heaven_") for path in (ROOT / folder).glob("heaven_*/__init__.py")}

    shipped = {ref.name for ref in INSTALLED.refs(group) if ref.dist == "heaven-core"}

    assert packages
    assert shipped == packages


def test_E71_a_built_in_component_is_exported_by_its_package_and_by_the_face() -> None:
    for entity in heaven_system.system_entities():
        assert entity.__name__ in heaven_system.__all__
        assert getattr(hb, entity.__name__) is entity
        assert entity.__name__ in hb.__all__
    for known, base in ((hb.capabilities.logical_types(), hb.LogicalType), (hb.capabilities.strategies(), hb.Strategy)):
        for option in known:
            name = option.to_dict()["class"]
            assert issubclass(getattr(hb, name), base)
            assert name in hb.__all__


@pytest.mark.parametrize("folder", ["plugins", "extensions"])
def test_E72_every_engine_and_extension_has_tests_of_its_own(folder: str) -> None:
    packages = [path.parent.name for path in (ROOT / folder).glob("heaven_*/__init__.py")]

    modules = {one: (ROOT / "tests" / folder).glob(f"test_{one.removeprefix('heaven_')}*.py") for one in packages}

    assert packages
    assert [one for one, paths in modules.items() if not any(_tests(path, one) for path in paths)] == []


def _tests(path: Path, package: str) -> bool:
    """Whether a module has tests and imports a package to test it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {one.partition(".")[0] for node in tree.body for one in _imported(node)}
    return package in imported and any(_defined(node).startswith("test_") for node in tree.body)


def _imported(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []


def test_E73_one_command_of_the_readme_passes_the_tests() -> None:
    printed = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "readme", "2"], capture_output=True, text=True, check=True
    )

    assert "-m pytest" in printed.stdout
    assert "\ntest *arguments:" in (ROOT / "justfile").read_text(encoding="utf-8")


def test_E74_the_demo_of_an_extension_runs(tmp_path: Path) -> None:
    demo = ROOT / "demos" / "developer" / "03_write_an_extension.py"

    ran = subprocess.run(
        [sys.executable, str(demo)], capture_output=True, text=True, check=False, cwd=tmp_path, stdin=subprocess.DEVNULL
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []
