"""Plugins that break at each of the six stages: whoever names one gets an error, and nobody else notices.

A plugin is installed by writing its module and its dist-info into a folder on `sys.path`, as pip would.
"""

from __future__ import annotations

import importlib
import logging
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.discovery import EXTENSION, INSTALLED, STORAGE
from heaven_core.errors import EngineNotInstalled, HeavenError, PluginError, PluginLoadError, SchemaError, UnknownPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

HEADER = """
import heavenbase as hb
from heaven_core.ext import Extension, ExtensionSpec, StoragePlugin, hookimpl

class Note(hb.Entity):
    identifier = "{name}-note"
    text = hb.field(hb.ShortText)
"""
SOUND = HEADER + 'EXTENSION = Extension(ExtensionSpec("{name}", version="1", entities=(Note,)))\n'

EXTENSIONS: dict[str, tuple[str, str, type[BaseException]]] = {
    # what it is called: its source, the stage, what it raised
    "raises": ("raise RuntimeError('half of it is missing')", "import", RuntimeError),
    "needs": ("import a_module_that_nobody_has", "import", ImportError),
    "garbled": ("def (", "import", SyntaxError),
    "leaves": ("import sys; sys.exit(3)", "import", PluginLoadError),
    "empty": ("", "attribute", AttributeError),
    "lazy": ("def __getattr__(name): raise OSError('no network')", "attribute", OSError),
    "number": ("EXTENSION = 5", "type", PluginError),
    "engine": (HEADER + 'EXTENSION = StoragePlugin("{name}", backend="m:B", api=1)', "type", PluginError),
    "misnamed": (HEADER + 'EXTENSION = Extension(ExtensionSpec("another"))', "type", PluginError),
    "newer": (HEADER + 'EXTENSION = Extension(ExtensionSpec("{name}"), api=99)', "api", PluginError),
    "ancient": (HEADER + 'EXTENSION = Extension(ExtensionSpec("{name}"), api=0)', "api", PluginError),
    "hookless": (
        HEADER
        + """
class Hooks:
    @hookimpl
    def heaven_befor_write(self, write): ...
EXTENSION = Extension(ExtensionSpec("{name}", entities=(Note,)), plugin=Hooks)
""",
        "hook",
        PluginError,
    ),
    "arguments": (
        HEADER
        + """
class Hooks:
    @hookimpl
    def heaven_after_commit(self, comit): ...
EXTENSION = Extension(ExtensionSpec("{name}", entities=(Note,)), plugin=Hooks)
""",
        "hook",
        PluginError,
    ),
    "contributes": (
        HEADER
        + """
class Hooks:
    @hookimpl
    def heaven_contribute(self, registrar):
        registrar.handler(hb.ShortText, "eq", "inmem", "suffix-index", lambda field, value, ctx: None)
        raise KeyError("nothing to contribute")
EXTENSION = Extension(ExtensionSpec("{name}", entities=(Note,)), plugin=Hooks)
""",
        "activate",
        KeyError,
    ),
    "constructs": (
        HEADER
        + """
class Hooks:
    def __init__(self):
        raise ZeroDivisionError("not now")
EXTENSION = Extension(ExtensionSpec("{name}", entities=(Note,)), plugin=Hooks)
""",
        "hook",
        ZeroDivisionError,
    ),
    "places": (
        HEADER
        + """
class Far(hb.Entity):
    text = hb.field(hb.ShortText).store(to="a-backend-that-nobody-has")
EXTENSION = Extension(ExtensionSpec("{name}", entities=(Note, Far)))
""",
        "activate",
        SchemaError,
    ),
}


class Site:
    """A folder on `sys.path` that plugins are installed into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(
        self, name: str, source: str, group: str = EXTENSION, attribute: str = "EXTENSION", version: str = "1.0"
    ) -> None:
        module = f"hb_faulty_{name}"
        (self.folder / f"{module}.py").write_text(source.replace("{name}", name))
        metadata = self.folder / f"{module}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hb-faulty-{name}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{attribute}\n")
        sys.modules.pop(module, None)
        importlib.invalidate_caches()
        INSTALLED.refresh()

    def uninstall(self, name: str) -> None:
        for one in self.folder.glob(f"hb_faulty_{name}*"):
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        sys.modules.pop(f"hb_faulty_{name}", None)
        INSTALLED.refresh()

    def upgrade(self, name: str, source: str, version: str) -> None:
        self.uninstall(name)
        self.install(name, source, version=version)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(folder)
    yield Site(folder)
    for name in [name for name in sys.modules if name.startswith("hb_faulty_")]:
        del sys.modules[name]
    INSTALLED.refresh()


@pytest.fixture(params=["inmem", "sqlite"])
def ws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[hb.HeavenBase]:
    where: dict[str, Any] = {"preset": "debug"} if request.param == "inmem" else {"path": tmp_path / "ws"}
    with hb.HeavenBase("faulty", **where) as workspace:
        yield workspace


def failed(name: str, *, check: bool = True) -> dict[str, Any] | None:
    """The failure of a plugin as the listing has it."""
    (found,) = [one for one in INSTALLED.listing(check=check) if one["name"] == name]
    return found["failure"]  # pyright: ignore[reportReturnType]


def refused(error: pytest.ExceptionInfo[HeavenError], name: str, stage: str) -> None:
    message = str(error.value)
    assert isinstance(error.value, PluginLoadError)
    assert (error.value.name, vars(error.value)["stage"]) == (name, stage)
    assert name in message
    assert stage in message
    assert message.isprintable()
    assert not re.search(r"/\w+/", message)


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_broken_extension_harms_only_who_asks_for_it(site: Site, ws: hb.HeavenBase, name: str) -> None:
    source, stage, raised = EXTENSIONS[name]
    site.install(name, source)
    site.install("sound", SOUND)
    before = [spec.identifier for spec in ws.extensions()]

    with pytest.raises(PluginLoadError) as error:
        ws.enable_extension(name)

    refused(error, name, stage)
    assert isinstance(error.value, ImportError)
    cause = error.value.__cause__
    assert isinstance(cause, raised)
    assert [spec.identifier for spec in ws.extensions()] == before
    assert name not in str(ws.capabilities().backends())
    with pytest.raises(SchemaError):
        ws.entity(f"{name}-note")
    assert ws.enable_extension("sound").identifier == "sound"
    assert ws.upsert("sound-note", {"object_id": "one", "text": "it works"}) == "one"
    assert ws.check().ok


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_broken_extension_is_listed_with_its_stage_and_hides_nobody(site: Site, name: str) -> None:
    source, stage, _ = EXTENSIONS[name]
    site.install(name, source)
    site.install("sound", SOUND)

    assert failed(name, check=False) is None
    failure = failed(name)

    if stage == "activate":
        assert failure is None
    else:
        assert failure is not None
        assert failure["stage"] == stage
        assert failure["hint"]
        assert not re.search(r"/\w+/", str(failure))
    assert failed("sound") is None
    assert {row["name"] for row in INSTALLED.listing()} >= {name, "sound", "system", "inmem", "sqlite"}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_workspace_opens_with_a_broken_extension_installed(site: Site, name: str, tmp_path: Path) -> None:
    site.install(name, EXTENSIONS[name][0])

    with hb.HeavenBase("around", path=tmp_path / "new") as ws:
        assert [spec.identifier for spec in ws.extensions()] == ["system"]
        assert ws.health().ok


@pytest.mark.parametrize("name", ["raises", "empty", "number", "newer", "hookless", "contributes"])
def test_a_default_extension_that_is_broken_is_an_error_and_the_next_opening_tries_again(
    site: Site, name: str, tmp_path: Path
) -> None:
    source, stage, _ = EXTENSIONS[name]
    site.install(name, source)

    with hb.config.override(extensions__default=[name]):
        for _ in range(2):
            with pytest.raises(PluginLoadError) as error:
                hb.HeavenBase("strict", path=tmp_path / "ws")
            refused(error, name, stage)
        site.upgrade(name, SOUND, "2.0")
        with hb.HeavenBase("strict", path=tmp_path / "ws") as ws:
            assert [spec.identifier for spec in ws.extensions()] == ["system", name]


@pytest.mark.parametrize("name", ["raises", "leaves", "empty", "number", "newer", "hookless", "contributes"])
def test_an_extension_that_breaks_later_leaves_its_rows_readable_and_is_repaired_by_enabling(
    site: Site, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.install(name, SOUND)
    with hb.HeavenBase("later", path=tmp_path / "ws") as ws:
        ws.enable_extension(name)
        ws.upsert(f"{name}-note", {"object_id": "one", "text": "from before"})
    site.upgrade(name, EXTENSIONS[name][0], "2.0")

    with caplog.at_level(logging.WARNING), hb.HeavenBase("later", path=tmp_path / "ws") as ws:
        assert name in caplog.text
        assert [spec.identifier for spec in ws.extensions()] == ["system"]
        health = ws.health()
        assert not health.ok
        assert health.extensions[name] == "failed"
        assert health.failures[0]["stage"] == EXTENSIONS[name][1]
        assert ws.query(f"{name}-note").execute().column("text") == ["from before"]
        assert ws.get("one") is not None
        for write in (
            lambda: ws.upsert(f"{name}-note", {"text": "new"}),
            lambda: ws.set("one", {"text": "new"}),
            lambda: ws.delete("one"),
        ):
            with pytest.raises(SchemaError, match="not active"):
                write()

        site.upgrade(name, SOUND, "3.0")
        ws.enable_extension(name)

        assert ws.health().ok
        assert ws.set("one", {"text": "repaired"}) == "one"


def test_an_extension_that_was_uninstalled_is_listed_as_failed(site: Site, tmp_path: Path) -> None:
    site.install("gone", SOUND)
    with hb.HeavenBase("later", path=tmp_path / "ws") as ws:
        ws.enable_extension("gone")
        ws.upsert("gone-note", {"object_id": "one", "text": "still here"})
    site.uninstall("gone")

    with hb.HeavenBase("later", path=tmp_path / "ws") as ws:
        assert ws.health().extensions == {"system": "active", "gone": "failed"}
        assert ws.query("gone-note").execute().column("text") == ["still here"]
        with pytest.raises(UnknownPlugin):
            ws.enable_extension("gone")


def test_two_distributions_of_one_name_are_a_conflict_for_who_names_it_only(site: Site, ws: hb.HeavenBase) -> None:
    site.install("twice", SOUND)
    other = site.folder / "hb_faulty_rival-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: hb-faulty-rival\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text(f"[{EXTENSION}]\ntwice = hb_faulty_twice:EXTENSION\n")
    INSTALLED.refresh()

    with pytest.raises(PluginLoadError, match="hb-faulty-rival") as error:
        ws.enable_extension("twice")

    assert "pip uninstall" in str(error.value)
    assert ws.health().ok


@pytest.mark.parametrize(
    "entry_points",
    [
        "",
        "[",
        "nonsense",
        f"[{EXTENSION}]\nnothing",
        f"[{EXTENSION}]\n= x:y",
        f"[{EXTENSION}]\nx = ",
        f"[{EXTENSION}]\nx = :",
        "\x00\xff",
    ],
)
def test_damaged_metadata_is_passed_over_or_fails_alone(site: Site, ws: hb.HeavenBase, entry_points: str) -> None:
    metadata = site.folder / "hb_faulty_damaged-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text(entry_points)
    INSTALLED.refresh()

    rows = INSTALLED.listing(check=True)

    assert {"system", "inmem", "sqlite"} <= {row["name"] for row in rows}
    assert ws.health().ok


# Storage plugins


ENGINES: dict[str, tuple[str, str]] = {
    "raises": ("raise RuntimeError('half of it is missing')", "import"),
    "leaves": ("import sys; sys.exit(3)", "import"),
    "empty": ("", "attribute"),
    "number": ("PLUGIN = 5", "type"),
    "extension": (HEADER + 'PLUGIN = Extension(ExtensionSpec("{name}"))', "type"),
    "newer": (HEADER + 'PLUGIN = StoragePlugin("{name}", backend="m:B", api=99)', "api"),
    "misnamed": (HEADER + 'PLUGIN = StoragePlugin("another", backend="m:B", api=1)', "type"),
    "nobackend": (
        HEADER + 'PLUGIN = StoragePlugin("{name}", backend="hb_faulty_none:B", api=1, primary=True)',
        "import",
    ),
    "noclass": (
        HEADER + 'PLUGIN = StoragePlugin("{name}", backend="hb_faulty_noclass:B", api=1, primary=True)',
        "attribute",
    ),
    "nohandlers": (
        HEADER
        + """
from heaven_inmem.engine import MemoryBackend
PLUGIN = StoragePlugin("{name}", backend=MemoryBackend, handlers="hb_faulty_none:H", api=1, primary=True)
""",
        "import",
    ),
}


@pytest.mark.parametrize("name", ENGINES)
def test_a_broken_engine_harms_only_who_names_it(site: Site, ws: hb.HeavenBase, name: str, tmp_path: Path) -> None:
    source, stage = ENGINES[name]
    site.install(name, source, STORAGE, "PLUGIN")

    def use() -> None:
        with hb.HeavenBase("broken", backends={"main": {"type": name}}, path=tmp_path / "broken") as broken:
            broken.register(hb.Entity.from_schema({"id": "doc", "fields": [{"name": "n", "type": "integer"}]}))
            broken.query("doc").where({"n": 3}).execute()

    with pytest.raises(PluginError) as error:
        use()

    assert name in str(error.value)
    assert str(error.value).isprintable()
    assert not re.search(r"/\w+/", str(error.value))
    failure = failed(name)
    assert failure is not None
    assert failure["stage"] == stage
    assert ws.health().ok
    with hb.HeavenBase("other", path=tmp_path / "other") as other:
        assert other.health().ok


@pytest.mark.parametrize("name", ENGINES)
def test_a_broken_engine_does_not_disturb_what_lists_engines(site: Site, ws: hb.HeavenBase, name: str) -> None:
    site.install(name, ENGINES[name][0], STORAGE, "PLUGIN")

    assert {"inmem", "sqlite"} <= set(hb.capabilities.backends())
    assert "eq" in hb.capabilities.ops(hb.ShortText, hb.InlineColumn, backend="sqlite")
    assert "contains" in ws.capabilities.ops(hb.ShortText)
    with pytest.raises(UnknownPlugin, match="did you mean 'sqlite'"):
        hb.HeavenBase("typo", backends={"main": {"type": "sqlitee"}})


def test_an_engine_whose_library_is_missing_says_what_to_install(site: Site, tmp_path: Path) -> None:
    source = (
        HEADER
        + """
PLUGIN = StoragePlugin(
    "far", backend="m:B", requires=("a_library",), extra="far", distribution="hb-far", api=1, primary=True
)
"""
    )
    site.install("far", source, STORAGE, "PLUGIN")

    with pytest.raises(EngineNotInstalled, match=re.escape("pip install 'hb-far[far]'")) as error:
        hb.HeavenBase("far", backends={"main": {"type": "far"}}, path=tmp_path / "far")

    assert isinstance(error.value, ImportError)
    (row,) = [one for one in INSTALLED.listing(check=True) if one["name"] == "far"]
    assert (row["available"], row["failure"]) == (False, None)
