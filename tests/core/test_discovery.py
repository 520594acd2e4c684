"""Finding and loading installed plugins: `heaven_core.discovery`.

A plugin is installed by writing ``x.py`` and ``x-1.0.dist-info`` into a folder on `sys.path`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from typing import TYPE_CHECKING, Any, cast

import pluggy
import pytest

from heaven_core.discovery import EXTENSION, INSTALLED, STORAGE, Index, PluginFailure, PluginRef, scan
from heaven_core.errors import PluginError, PluginLoadError, RegistrationConflict, UnknownPlugin
from heaven_core.plugin import API, Extension, ExtensionSpec, StoragePlugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit

STORAGE_SOURCE = """
from heaven_core.plugin import StoragePlugin
MODULE = {module!r}
PLUGIN = StoragePlugin({name!r}, backend=MODULE + "_backend:Backend", handlers=MODULE + "_handlers:HANDLERS", api=1)
"""
EXTENSION_SOURCE = """
from heaven_core.plugin import Extension, ExtensionSpec
EXTENSION = Extension(ExtensionSpec({name!r}, version="3"))
"""


class Site:
    """A folder on sys.path that plugins are installed into."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, dist: str, entry_points: str, *, version: str = "1.0", suffix: str = "dist-info") -> Path:
        metadata = self.folder / f"{dist.replace('-', '_')}-{version}.{suffix}"
        metadata.mkdir(parents=True)
        header = f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n"
        (metadata / ("METADATA" if suffix == "dist-info" else "PKG-INFO")).write_text(header)
        (metadata / "entry_points.txt").write_text(entry_points)
        return metadata

    def write(self, module: str, source: str) -> None:
        (self.folder / f"{module}.py").write_text(source)
        importlib.invalidate_caches()

    def storage(self, name: str, source: str | None = None, *, dist: str | None = None, module: str = "") -> None:
        module = module or f"hb_{name}"
        self.write(module, STORAGE_SOURCE.format(name=name, module=module) if source is None else source)
        self.install(dist or f"hb-{name}", f"[{STORAGE}]\n{name} = {module}:PLUGIN\n")

    def extension(self, name: str, source: str | None = None) -> None:
        self.write(f"hb_{name}", EXTENSION_SOURCE.format(name=name) if source is None else source)
        self.install(f"hb-{name}", f"[{EXTENSION}]\n{name} = hb_{name}:EXTENSION\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    before = set(sys.modules)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if name.startswith("hb_"):
            del sys.modules[name]


@pytest.fixture
def index(site: Site) -> Index:
    return Index([str(site.folder)])


def _only(index: Index, group: str = STORAGE) -> PluginRef:
    (ref,) = index.refs(group)
    return ref


def _failure(index: Index, group: str = STORAGE) -> PluginFailure:
    outcome = index.load(_only(index, group))
    assert isinstance(outcome, PluginFailure)
    return outcome


# Finding


def test_a_plugin_is_found_from_its_metadata(site: Site, index: Index) -> None:
    site.storage("quack")

    assert index.refs(STORAGE) == (PluginRef(STORAGE, "quack", "hb_quack:PLUGIN", "hb-quack", "1.0"),)
    assert index.refs(EXTENSION) == ()


def test_what_is_found_is_not_imported(site: Site, index: Index) -> None:
    site.storage("quack", "raise RuntimeError('imported')")

    ref = _only(index)
    rows = index.listing()

    assert "hb_quack" not in sys.modules
    assert index.state(ref) == "found"
    assert [(row["name"], row["state"], row["available"], row["failure"]) for row in rows] == [
        ("quack", "found", None, None)
    ]


def test_plugins_come_in_the_order_of_their_names(site: Site, index: Index) -> None:
    for name in ("zebra", "ant", "mouse"):
        site.storage(name)

    assert [ref.name for ref in index.refs(STORAGE)] == ["ant", "mouse", "zebra"]


def test_the_first_distribution_of_a_name_on_the_paths_wins(tmp_path: Path) -> None:
    first, second = Site(tmp_path / "first"), Site(tmp_path / "second")
    first.install("hb-Quack.X", f"[{STORAGE}]\nnew = a:B\n", version="2.0")
    second.install("hb_quack--x", f"[{STORAGE}]\nold = a:B\n", version="1.0")

    refs = scan([str(first.folder), str(second.folder)])

    assert [(ref.name, ref.dist, ref.version) for ref in refs] == [("new", "hb-quack-x", "2.0")]


def test_a_distribution_without_plugins_hides_an_older_one_that_has_some(tmp_path: Path) -> None:
    first, second = Site(tmp_path / "first"), Site(tmp_path / "second")
    first.install("hb-quack", "[console_scripts]\nquack = a:b\n", version="2.0")
    second.install("hb-quack", f"[{STORAGE}]\nquack = a:B\n", version="1.0")

    assert scan([str(first.folder), str(second.folder)]) == ()


def test_an_egg_info_folder_counts_and_gives_its_version(site: Site) -> None:
    site.install("hb-one", f"[{STORAGE}]\none = a:B\n", suffix="egg-info", version="1.5-py3.11")
    develop = site.folder / "hb_two.egg-info"
    develop.mkdir()
    (develop / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: hb-two\nVersion: 2.5\n\nVersion: 9 of the text\n")
    (develop / "entry_points.txt").write_text(f"[{STORAGE}]\ntwo = a:B\n")

    assert [(ref.dist, ref.version) for ref in scan([str(site.folder)])] == [("hb-one", "1.5"), ("hb-two", "2.5")]


def test_a_distribution_without_any_version_is_found_all_the_same(site: Site) -> None:
    (site.folder / "hb_one.dist-info").mkdir()
    (site.folder / "hb_one.dist-info" / "entry_points.txt").write_text(f"[{STORAGE}]\none = a:B\n")

    assert [(ref.dist, ref.version) for ref in scan([str(site.folder)])] == [("hb-one", "")]


def test_what_an_interrupted_installation_left_behind_is_passed_over(site: Site) -> None:
    site.install("hb-quack", f"[{STORAGE}]\nquack = a:B\n")
    (site.folder / "~b_quack-0.9.dist-info").mkdir()
    (site.folder / "~b_quack-0.9.dist-info" / "entry_points.txt").write_text(f"[{STORAGE}]\nquack = a:B\n")

    assert [ref.version for ref in scan([str(site.folder)])] == ["1.0"]


def test_lines_that_are_no_entry_are_passed_over(site: Site) -> None:
    ours = f"[{STORAGE}]\n# comment\n\nnonsense\n  spaced  =  a:B  \n"
    site.install("hb-odd", f"stray = a:b\n{ours}[other]\nx = y\n[{EXTENSION}]\ne=m:E[x]\n")

    refs = scan([str(site.folder)])

    assert [(ref.group, ref.name, ref.target) for ref in refs] == [
        (EXTENSION, "e", "m:E[x]"),
        (STORAGE, "spaced", "a:B"),
    ]


def test_metadata_that_is_no_utf8_does_not_stop_the_others(site: Site) -> None:
    site.install("hb-good", f"[{STORAGE}]\ngood = a:B\n")
    (site.install("hb-latin", "") / "entry_points.txt").write_bytes(f"[{STORAGE}]\ncaf\xe9 = a:B\n".encode("latin-1"))
    (site.folder / "hb_folder-1.dist-info" / "entry_points.txt").mkdir(parents=True)
    (site.folder / "hb_file-1.egg-info").write_text("a file, as distutils wrote it")

    names = [ref.name for ref in scan([str(site.folder)])]

    assert names == ["caf\N{REPLACEMENT CHARACTER}", "good"]


def test_paths_that_are_not_there_are_passed_over(site: Site) -> None:
    site.install("hb-quack", f"[{STORAGE}]\nquack = a:B\n")

    refs = scan([str(site.folder / "absent"), str(site.folder)])

    assert [ref.name for ref in refs] == ["quack"]


def test_an_empty_path_is_the_current_folder(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("hb-quack", f"[{STORAGE}]\nquack = a:B\n")
    monkeypatch.chdir(site.folder)

    assert [ref.name for ref in scan([""])] == ["quack"]


def test_a_path_that_is_no_string_is_passed_over_as_imports_do(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install("hb-quack", f"[{STORAGE}]\nquack = a:B\n")
    monkeypatch.setattr(sys, "path", [site.folder])

    assert scan() == ()


def test_a_zip_on_the_path_is_read_too(tmp_path: Path) -> None:
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hb_zipped.py", STORAGE_SOURCE.format(name="zipped", module="hb_zipped"))
        file.writestr("hb_zipped-4.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: hb-zipped\nVersion: 4.2\n")
        file.writestr("hb_zipped-4.2.dist-info/entry_points.txt", f"[{STORAGE}]\nzipped = hb_zipped:PLUGIN\n")

    refs = scan([str(archive)])

    assert refs == (PluginRef(STORAGE, "zipped", "hb_zipped:PLUGIN", "hb-zipped", "4.2"),)


def test_damaged_metadata_in_a_zip_does_not_stop_the_others(tmp_path: Path) -> None:
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hb_bare-1.dist-info/entry_points.txt", f"[{STORAGE}]\nbare = a:B\n")
        file.writestr("hb_latin-1.dist-info/METADATA", b"Name: hb-latin\nVersion: 1\n")
        file.writestr("hb_latin-1.dist-info/entry_points.txt", f"[{STORAGE}]\ncaf\xe9 = a:B\n".encode("latin-1"))
        file.writestr("hb_good-1.dist-info/METADATA", "Name: hb-good\n")
        file.writestr("hb_good-1.dist-info/entry_points.txt", f"[{STORAGE}]\ngood = a:B\n")

    assert [(ref.name, ref.version) for ref in scan([str(archive)])] == [("good", "")]


def test_a_plugin_in_a_zip_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "app.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hb_unzipped.py", STORAGE_SOURCE.format(name="unzipped", module="hb_unzipped"))
        file.writestr("hb_unzipped-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: hb-unzipped\nVersion: 1\n")
        file.writestr("hb_unzipped-1.dist-info/entry_points.txt", f"[{STORAGE}]\nunzipped = hb_unzipped:PLUGIN\n")
    monkeypatch.syspath_prepend(archive)

    plugin = Index([str(archive)]).named(STORAGE, "unzipped")

    assert plugin.name == "unzipped"


def test_a_legacy_egg_folder_is_read_too(tmp_path: Path) -> None:
    egg = tmp_path / "hb_old-1.0-py3.11.egg"
    (egg / "EGG-INFO").mkdir(parents=True)
    (egg / "EGG-INFO" / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: hb-old\nVersion: 1.0\n")
    (egg / "EGG-INFO" / "entry_points.txt").write_text(f"[{STORAGE}]\nold = a:B\n")

    assert [(ref.name, ref.dist, ref.version) for ref in scan([str(egg)])] == [("old", "hb-old", "1.0")]


@pytest.mark.parametrize("reader", ["own", "stdlib"])
def test_both_readers_see_what_importlib_metadata_sees_here(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVENBASE_DISCOVERY", reader)

    found = scan(prefix="")

    assert set(found) == _by_stdlib(sys.path)
    assert "console_scripts" in {ref.group for ref in found}


@pytest.mark.parametrize("reader", ["own", "stdlib"])
def test_300_distributions_are_read_as_importlib_metadata_reads_them(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = _synthetic_distributions(tmp_path, count=300)
    monkeypatch.setenv("HEAVENBASE_DISCOVERY", reader)

    begun = time.process_time()
    found = scan(paths)
    print(f"{len(found)} entry points of 300 distributions in {(time.process_time() - begun) * 1000:.1f} ms CPU")

    assert set(found) == {ref for ref in _by_stdlib(paths) if ref.group.startswith("heavenbase.")}
    assert len(found) > 60
    assert list(found) == sorted(found)


def _synthetic_distributions(folder: Path, count: int) -> list[str]:
    """Two paths, an overlap of names between them, every fourth one a plugin and every third one with scripts."""
    sites = [Site(folder / "one"), Site(folder / "two")]
    for number in range(count):
        parts = ["[console_scripts]\nrun = a:b\n"] * (number % 3 == 0)
        parts += [f"[{STORAGE}]\ns{number} = hb_{number}:PLUGIN\n"] * (number % 4 == 0)
        parts += [f"\n[{EXTENSION}]\n# one\ne{number}=hb_{number}:EXTENSION [x]\n"] * (number % 8 == 0)
        kind = "egg-info" if number % 10 == 0 else "dist-info"
        sites[number % 2].install(f"Pkg.{number}", "".join(parts), version=f"1.{number}", suffix=kind)
        if number % 6 == 0:
            sites[1].install(f"pkg-{number}", f"[{STORAGE}]\nlate = a:b\n", version="0.1")
    for site in sites:
        for metadata in list(site.folder.iterdir())[::7]:
            (metadata / "entry_points.txt").unlink()
    return [str(site.folder) for site in sites]


def _by_stdlib(paths: list[str]) -> set[PluginRef]:
    seen: set[str] = set()
    refs: set[PluginRef] = set()
    for found in importlib.metadata.distributions(path=paths):
        dist = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        if dist not in seen:
            seen.add(dist)
            refs |= {PluginRef(ep.group, ep.name, ep.value, dist, found.version) for ep in found.entry_points}
    return refs


def test_finding_imports_none_of_the_heavy_modules(tmp_path: Path) -> None:
    paths = _synthetic_distributions(tmp_path, count=20)
    code = (
        "import sys; sys.path[:0] = %r; from heaven_core.discovery import INSTALLED as index;"
        "assert len(index.refs('heavenbase.storage')) >= 4, index.refs('heavenbase.storage'); index.listing();"
        "heavy = ['importlib.metadata', 'email', 'configparser', 'zipfile', 'logging', 'pluggy', 'asyncio', 'json'];"
        "print([name for name in heavy if name in sys.modules])"
    )

    run = subprocess.run([sys.executable, "-c", code % paths], capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.stderr) == ("[]", "")


# The cache


def test_metadata_is_read_again_only_when_a_path_has_changed(site: Site, index: Index) -> None:
    site.storage("quack")
    before = index.refs(STORAGE)
    metadata = site.folder / "hb_quack-1.0.dist-info"
    (metadata / "entry_points.txt").write_text(f"[{STORAGE}]\nother = a:B\n")

    unchanged = index.refs(STORAGE)
    site.storage("late")
    _touch(site.folder)

    assert unchanged == before
    assert [ref.name for ref in index.refs(STORAGE)] == ["late", "other"]


def test_a_refresh_reads_again_in_any_case(site: Site, index: Index) -> None:
    site.storage("quack")
    index.refs(STORAGE)
    (site.folder / "hb_quack-1.0.dist-info" / "entry_points.txt").write_text(f"[{STORAGE}]\nother = a:B\n")

    index.refresh()

    assert [ref.name for ref in index.refs(STORAGE)] == ["other"]


def test_the_process_wide_index_follows_sys_path(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.storage("quackquack")
    before = [ref.name for ref in INSTALLED.refs(STORAGE)]
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(site.folder)])

    assert "quackquack" in before
    assert "quackquack" not in [ref.name for ref in INSTALLED.refs(STORAGE)]


def test_an_index_of_given_plugins_sees_no_others(site: Site) -> None:
    site.storage("quack")
    given = PluginRef(STORAGE, "quack", "hb_quack:PLUGIN", "made-up", "1")

    index = Index(refs=[given])

    assert index.refs(STORAGE) == (given,)
    assert index.named(STORAGE, "quack").name == "quack"


def _touch(folder: Path) -> None:
    """Make the folder look changed even where the clock of the file system is coarse."""
    later = folder.stat().st_mtime_ns + 1_000_000
    os.utime(folder, ns=(later, later))


# Loading


def test_a_loaded_plugin_is_its_declaration(site: Site, index: Index) -> None:
    site.storage("quack")
    site.extension("audit")

    storage, extension = index.load(_only(index)), index.load(_only(index, EXTENSION))

    assert isinstance(storage, StoragePlugin)
    assert isinstance(extension, Extension)
    assert (storage.name, extension.identifier) == ("quack", "audit")
    assert index.state(_only(index)) == "loaded"


def test_a_plugin_is_loaded_once(site: Site, index: Index) -> None:
    site.storage("quack")

    assert index.load(_only(index)) is index.load(_only(index)) is index.named(STORAGE, "quack")


def test_a_broken_plugin_is_imported_once_by_many_threads(site: Site, index: Index) -> None:
    site.write("hb_counter", "TIMES = []")
    site.storage("quack", "import time, hb_counter; hb_counter.TIMES.append(1); time.sleep(0.05); 1 / 0")
    ref = _only(index)
    outcomes: list[object] = []

    threads = [threading.Thread(target=lambda: outcomes.append(index.load(ref))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 8
    assert len(set(map(id, outcomes))) == 1
    assert sys.modules["hb_counter"].TIMES == [1]


def test_a_declaration_may_ask_for_another_plugin_while_it_is_imported(site: Site) -> None:
    site.storage("first")
    source = "from heaven_core.discovery import INSTALLED\nINSTALLED.named('heavenbase.storage', 'first')\n"
    site.storage("second", source + STORAGE_SOURCE.format(name="second", module="hb_second"))

    assert INSTALLED.named(STORAGE, "second").name == "second"


def test_the_extras_of_an_entry_point_are_no_part_of_its_attribute(site: Site, index: Index) -> None:
    site.storage("quack")
    (site.folder / "hb_quack-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{STORAGE}]\nquack = hb_quack:PLUGIN [engine]\n"
    )

    assert index.named(STORAGE, "quack").name == "quack"


def test_a_missing_module_fails_at_import(site: Site, index: Index) -> None:
    site.install("hb-quack", f"[{STORAGE}]\nquack = hb_absent_module:PLUGIN\n")

    failure = _failure(index)

    assert failure.stage == "import"
    assert isinstance(failure.error, ModuleNotFoundError)
    assert "pip install --force-reinstall hb-quack" in failure.hint


def test_a_module_that_raises_fails_at_import(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")

    failure = _failure(index)

    assert failure.stage == "import"
    assert isinstance(failure.error, ZeroDivisionError)
    assert index.state(failure.ref) == "failed"


def test_a_syntax_error_fails_at_import(site: Site, index: Index) -> None:
    site.storage("quack", "def def")

    assert (_failure(index).stage, type(_failure(index).error)) == ("import", SyntaxError)


def test_a_missing_attribute_fails_at_attribute(site: Site, index: Index) -> None:
    site.storage("quack", "")

    failure = _failure(index)

    assert failure.stage == "attribute"
    assert isinstance(failure.error, AttributeError)


def test_an_entry_point_without_an_attribute_fails_at_attribute(site: Site, index: Index) -> None:
    site.storage("quack")
    (site.folder / "hb_quack-1.0.dist-info" / "entry_points.txt").write_text(f"[{STORAGE}]\nquack = hb_quack\n")

    failure = _failure(index)

    assert failure.stage == "attribute"
    assert "module:attribute" in str(failure.error)


@pytest.mark.parametrize("source", ["PLUGIN = 5", "from heaven_core.plugin import StoragePlugin as PLUGIN"])
def test_what_is_no_declaration_fails_at_type(site: Site, index: Index, source: str) -> None:
    site.storage("quack", source)

    failure = _failure(index)

    assert failure.stage == "type"
    assert "has to be of type StoragePlugin, not" in str(failure.error)


HOSTILE_SOURCE = """
class Hostile:
    __class__ = property(lambda self: 1 / 0)
    def __repr__(self): return 1 / 0
PLUGIN = Hostile()
"""


def test_an_object_that_raises_at_any_touch_fails_at_type(site: Site, index: Index) -> None:
    site.storage("quack", HOSTILE_SOURCE)

    assert _failure(index).stage == "type"


def test_a_declaration_of_the_other_group_fails_at_type(site: Site, index: Index) -> None:
    site.storage("quack", EXTENSION_SOURCE.format(name="quack").replace("EXTENSION =", "PLUGIN ="))

    assert _failure(index).stage == "type"


def test_a_declaration_of_another_name_fails_at_type(site: Site, index: Index) -> None:
    site.storage("quack", STORAGE_SOURCE.format(name="duck", module="hb_quack"))

    failure = _failure(index)

    assert failure.stage == "type"
    assert "'duck'" in str(failure.error)
    assert "'quack'" in str(failure.error)


@pytest.mark.parametrize(("api", "upgrade"), [(API + 1, "heaven-core"), (0, "hb-quack")])
def test_another_api_fails_at_api_and_says_what_to_upgrade(site: Site, index: Index, api: int, upgrade: str) -> None:
    site.storage("quack", STORAGE_SOURCE.format(name="quack", module="hb_quack").replace("api=1", f"api={api}"))

    failure = _failure(index)

    assert failure.stage == "api"
    assert isinstance(failure.error, PluginError)
    assert failure.hint == f"pip install --upgrade {upgrade}"


HOOKS_SOURCE = """
import pluggy
from heaven_core.plugin import Extension, ExtensionSpec
hookimpl = pluggy.HookimplMarker("hb_test")
EXTENSION = Extension(ExtensionSpec("audit"), plugin="hb_hooks:Hooks")
class Hooks:
    @hookimpl
    def {hook}: ...
"""


def _check_hooks(plugin: object) -> None:
    """The check as the kernel makes it: an unknown hook and an unknown argument are errors."""

    class Specs:
        @pluggy.HookspecMarker("hb_test")
        def after_commit(self, lsn: int) -> None: ...

    manager = pluggy.PluginManager("hb_test")
    manager.add_hookspecs(Specs)
    manager.register(plugin)
    manager.check_pending()


@pytest.mark.parametrize("hook", ["after_comit(self)", "after_commit(self, row)"])
def test_a_hook_that_no_spec_knows_fails_at_hook(site: Site, hook: str) -> None:
    site.extension("audit", HOOKS_SOURCE.format(hook=hook))
    site.write("hb_hooks", HOOKS_SOURCE.format(hook=hook))
    index = Index([str(site.folder)], check_hooks=_check_hooks)

    failure = _failure(index, EXTENSION)

    assert failure.stage == "hook"
    assert isinstance(failure.error, pluggy.PluginValidationError)


def test_a_hook_that_fits_its_spec_passes(site: Site) -> None:
    site.extension("audit", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))
    site.write("hb_hooks", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))

    loaded = Index([str(site.folder)], check_hooks=_check_hooks).named(EXTENSION, "audit")

    assert loaded.identifier == "audit"


def test_a_missing_hook_implementation_fails_at_hook(site: Site) -> None:
    site.extension("audit", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))
    index = Index([str(site.folder)], check_hooks=_check_hooks)

    failure = _failure(index, EXTENSION)

    assert failure.stage == "hook"
    assert isinstance(failure.error, ModuleNotFoundError)
    assert failure.hint == "hb-audit is damaged or incomplete: pip install --force-reinstall hb-audit"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (
            "undefined_name\n",
            (
                "'hb_hooks:Hooks' cannot be loaded: importing hb_hooks failed: NameError: name 'undefined_name' is not "
                "defined; that is a mistake in hb-audit: correct it, or tell its authors"
            ),
        ),
        (
            "from heaven_core.plugin import no_such_name\n",
            "hb-audit doesn't fit this heaven-core: pip install --upgrade heaven-core hb-audit",
        ),
    ],
    ids=["a mistake of its own", "a name that this kernel lacks"],
)
def test_hooks_that_cannot_be_imported_say_with_what_and_whose_fault_it_is(source: str, hint: str, site: Site) -> None:
    site.extension("audit", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))
    site.write("hb_hooks", source)

    failure = _failure(Index([str(site.folder)], check_hooks=_check_hooks), EXTENSION)

    assert (failure.stage, failure.hint) == ("hook", hint)


def test_without_a_check_the_hook_implementation_is_not_imported(site: Site, index: Index) -> None:
    site.extension("audit", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))
    site.write("hb_hooks", "raise RuntimeError")

    loaded = index.load(_only(index, EXTENSION))

    assert isinstance(loaded, Extension)
    assert "hb_hooks" not in sys.modules


def test_a_failure_at_activation_is_the_same_kind_of_value(site: Site, index: Index) -> None:
    site.extension("audit")

    failure = PluginFailure(_only(index, EXTENSION), "activate", ValueError("no key"), "set audit.keys")

    assert json.loads(json.dumps(failure.to_dict())) == {
        "group": EXTENSION,
        "kind": "extension",
        "name": "audit",
        "target": "hb_audit:EXTENSION",
        "dist": "hb-audit",
        "version": "1.0",
        "stage": "activate",
        "error": "ValueError: no key",
        "hint": "set audit.keys",
    }


def test_an_interrupt_while_a_plugin_is_imported_passes_through(site: Site, index: Index) -> None:
    site.storage("quack", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        index.load(_only(index))
    assert index.state(_only(index)) == "found"


def test_a_broken_plugin_does_not_hide_the_others(site: Site, index: Index) -> None:
    site.storage("ant", "1 / 0")
    site.storage("bee")
    site.storage("cat", "PLUGIN = None")

    outcomes = {ref.name: index.load(ref) for ref in index.refs(STORAGE)}

    assert isinstance(outcomes["bee"], StoragePlugin)
    assert {name for name, outcome in outcomes.items() if isinstance(outcome, PluginFailure)} == {"ant", "cat"}
    assert index.named(STORAGE, "bee").name == "bee"


def test_a_failure_that_nobody_asked_for_is_logged_once(
    site: Site, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    site.storage("quack", "1 / 0")

    with caplog.at_level(logging.INFO, logger="heavenbase.plugins"):
        index.load(_only(index))
        index.load(_only(index))

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "'quack' of hb-quack 1.0 failed at stage import" in record.getMessage()


def test_a_failed_plugin_is_tried_again_after_the_installation_has_changed(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")
    site.storage("bee")
    kept = index.named(STORAGE, "bee")
    first = index.load(index.refs(STORAGE)[1])

    site.write("hb_quack", STORAGE_SOURCE.format(name="quack", module="hb_quack") + "# mended\n")
    _touch(site.folder)

    assert isinstance(first, PluginFailure)
    assert index.named(STORAGE, "quack").name == "quack"
    assert index.named(STORAGE, "bee") is kept


def test_byte_code_written_beside_a_failed_plugin_does_not_make_it_be_tried_again(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")
    first = index.load(index.refs(STORAGE)[0])

    (site.folder / "__pycache__").mkdir(exist_ok=True)
    _touch(site.folder)

    assert isinstance(first, PluginFailure)
    assert index.load(index.refs(STORAGE)[0]) is first


def test_what_has_loaded_stays_loaded_after_the_installation_has_changed(site: Site) -> None:
    site.extension("audit", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))
    site.write("hb_hooks", HOOKS_SOURCE.format(hook="after_commit(self, lsn)"))
    checked: list[object] = []
    index = Index([str(site.folder)], check_hooks=checked.append)
    index.named(EXTENSION, "audit")

    site.storage("late")
    _touch(site.folder)
    index.named(EXTENSION, "audit")

    assert [ref.name for ref in index.refs(STORAGE)] == ["late"]
    assert len(checked) == 1


def test_a_plugin_installed_meanwhile_is_importable(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    monkeypatch.syspath_prepend(library)
    index = Index([str(site.folder)])
    first = index.refs(STORAGE), importlib.util.find_spec("hb_late")
    unchanged = library.stat()

    (library / "hb_late.py").write_text(STORAGE_SOURCE.format(name="late", module="hb_late"))
    os.utime(library, ns=(unchanged.st_atime_ns, unchanged.st_mtime_ns))  # as within one tick of a coarse clock
    site.install("hb-late", f"[{STORAGE}]\nlate = hb_late:PLUGIN\n")
    _touch(site.folder)

    assert first == ((), None)
    assert index.named(STORAGE, "late").name == "late"


# Named means strict


def test_an_unknown_name_gets_a_suggestion_and_the_known_names(site: Site, index: Index) -> None:
    site.storage("quack")
    site.storage("bee")

    with pytest.raises(UnknownPlugin) as raised:
        index.named(STORAGE, "quak")

    assert "did you mean 'quack'? known: bee, quack" in str(raised.value)
    assert vars(raised.value)["known"] == ("bee", "quack")


def test_an_unknown_name_is_told_when_there_are_no_plugins_at_all(index: Index) -> None:
    with pytest.raises(LookupError, match="no extension plugin named 'audit' is installed; there are none"):
        index.named(EXTENSION, "audit")


def test_naming_a_broken_plugin_raises_from_its_cause(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")

    with pytest.raises(PluginLoadError) as raised:
        index.named(STORAGE, "quack")

    error = raised.value
    assert isinstance(error.__cause__, ZeroDivisionError)
    told = vars(error)
    assert (error.name, told["dist"], told["version"], told["stage"]) == ("quack", "hb-quack", "1.0", "import")
    assert told["hint"] in str(error)
    assert "hb-quack 1.0 failed at stage import: ZeroDivisionError: division by zero" in str(error)


def test_the_message_about_a_broken_plugin_does_not_name_the_folders_of_this_machine(site: Site, index: Index) -> None:
    site.storage("quack", "from hb_quack_helper import absent")
    site.write("hb_quack_helper", "")

    with pytest.raises(PluginLoadError) as raised:
        index.named(STORAGE, "quack")

    assert str(site.folder) not in str(raised.value)
    assert str(site.folder) not in json.dumps(index.listing())


def test_a_broken_plugin_raises_each_time_that_it_is_named(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")

    errors = [_raised(index, "quack") for _ in range(2)]

    assert errors[0].__cause__ is errors[1].__cause__


def _raised(index: Index, name: str) -> PluginError:
    with pytest.raises(PluginError) as raised:
        index.named(STORAGE, name)
    return raised.value


def test_a_plugin_answers_to_its_aliases(site: Site, index: Index) -> None:
    source = STORAGE_SOURCE.format(name="quack", module="hb_quack").replace("api=1", "api=1, aliases=('q',)")
    site.storage("quack", source)
    site.storage("broken", "1 / 0")

    assert index.named(STORAGE, "q") is index.named(STORAGE, "quack")


def test_a_name_comes_before_an_alias(site: Site, index: Index) -> None:
    source = STORAGE_SOURCE.format(name="quack", module="hb_quack").replace("api=1", "api=1, aliases=('bee',)")
    site.storage("quack", source)
    site.storage("bee")

    assert index.named(STORAGE, "bee").name == "bee"


def test_one_alias_of_two_plugins_is_an_error_that_names_both(site: Site, index: Index) -> None:
    for name in ("ant", "bee"):
        source = STORAGE_SOURCE.format(name=name, module=f"hb_{name}").replace("api=1", "api=1, aliases=('q',)")
        site.storage(name, source)

    error = _raised(index, "q")

    assert isinstance(error, PluginLoadError)
    assert "hb-ant" in str(error)
    assert "hb-bee" in str(error)


# One name, two distributions


@pytest.fixture
def rivals(site: Site) -> Site:
    site.storage("quack", dist="hb-one", module="hb_one")
    site.storage("quack", dist="hb-two", module="hb_two")
    site.storage("bee")
    return site


@pytest.mark.usefixtures("rivals")
def test_a_name_that_two_distributions_claim_is_an_error_for_whom_names_it(index: Index) -> None:
    error = _raised(index, "quack")

    assert isinstance(error, PluginLoadError)
    assert isinstance(error.__cause__, RegistrationConflict)
    assert "hb-one (hb_one:PLUGIN) and hb-two (hb_two:PLUGIN)" in str(error)
    assert "pip uninstall hb-two" in str(error)
    assert "hb_one" not in sys.modules


def test_a_stranger_cannot_take_one_of_our_own_names(site: Site, index: Index) -> None:
    site.storage("sqlite", dist="hb-stranger", module="hb_stranger")
    site.storage("sqlite", dist="heaven-core", module="hb_ours")

    assert sorted((row["dist"], row["state"]) for row in index.listing()) == [
        ("hb-stranger", "failed"),
        ("heaven-core", "found"),
    ]
    assert index.named(STORAGE, "sqlite").name == "sqlite"
    assert "hb_stranger" not in sys.modules


@pytest.mark.usefixtures("rivals")
def test_rivals_harm_nobody_else(index: Index) -> None:
    loaded = [index.load(ref) for ref in index.refs(STORAGE)]

    assert index.named(STORAGE, "bee").name == "bee"
    assert [type(outcome) for outcome in loaded] == [StoragePlugin, PluginFailure, PluginFailure]


@pytest.mark.usefixtures("rivals")
def test_rivals_are_both_listed_as_failed(index: Index) -> None:
    rows = [(row["name"], row["dist"], row["state"]) for row in index.listing()]

    assert rows == [("bee", "hb-bee", "found"), ("quack", "hb-one", "failed"), ("quack", "hb-two", "failed")]


def test_one_name_in_two_groups_is_no_conflict(site: Site, index: Index) -> None:
    site.storage("quack")
    site.write("hb_ext", EXTENSION_SOURCE.format(name="quack"))
    site.install("hb-ext", f"[{EXTENSION}]\nquack = hb_ext:EXTENSION\n")

    assert index.named(STORAGE, "quack").name == index.named(EXTENSION, "quack").identifier


# Switched off


def test_the_allow_list_disables_the_others(site: Site, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    site.storage("quack")
    site.storage("bee", "raise RuntimeError('imported')")
    site.extension("audit")
    monkeypatch.setenv("HEAVENBASE_PLUGINS", "quack, audit")

    rows = index.listing(check=True)

    assert [ref.name for ref in index.refs(STORAGE)] == ["quack"]
    assert {row["name"]: row["state"] for row in rows}["bee"] == "disabled"
    assert {row["name"]: row["state"] for row in rows}["audit"] == "loaded"
    assert "hb_bee" not in sys.modules


def test_naming_a_disabled_plugin_says_what_disabled_it(
    site: Site, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.storage("quack")
    monkeypatch.setenv("HEAVENBASE_PLUGINS", "sqlite")

    with pytest.raises(PluginLoadError, match="'quack' of hb-quack is installed but disabled by HEAVENBASE_PLUGINS"):
        index.named(STORAGE, "quack")
    assert index.state(PluginRef(STORAGE, "quack", "hb_quack:PLUGIN", "hb-quack", "1.0")) == "disabled"


def test_an_empty_allow_list_is_none(site: Site, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    site.storage("quack")
    monkeypatch.setenv("HEAVENBASE_PLUGINS", " ")

    assert index.named(STORAGE, "quack").name == "quack"


def test_no_plugins_leaves_those_of_the_distribution_itself(
    site: Site, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.storage("quack")
    site.storage("own", dist="heaven-core")
    monkeypatch.setenv("HEAVENBASE_NO_PLUGINS", "1")

    assert [ref.name for ref in index.refs(STORAGE)] == ["own"]
    assert {row["name"]: row["state"] for row in index.listing()} == {"own": "found", "quack": "disabled"}


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_no_plugins_can_be_said_no_to(site: Site, index: Index, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    site.storage("quack")
    monkeypatch.setenv("HEAVENBASE_NO_PLUGINS", value)

    assert [ref.name for ref in index.refs(STORAGE)] == ["quack"]


def test_disabling_one_rival_settles_the_conflict(site: Site, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    site.storage("quack", dist="heaven-core", module="hb_one")
    site.storage("quack", dist="hb-hijack", module="hb_two")
    monkeypatch.setenv("HEAVENBASE_NO_PLUGINS", "1")

    plugin = index.named(STORAGE, "quack")

    assert plugin.backend == "hb_one_backend:Backend"


# Listing


def _listed(index: Index, **arguments: Any) -> dict[str, object]:
    (row,) = index.listing(**arguments)
    return row


def test_a_loaded_plugin_is_listed_with_what_it_declares(site: Site, index: Index) -> None:
    source = STORAGE_SOURCE.format(name="quack", module="hb_quack")
    site.storage("quack", source.replace("api=1", "api=1, requires=('hb_absent',), extra='q', distribution='hb-quack'"))
    index.named(STORAGE, "quack")

    assert _listed(index) == {
        "kind": "storage",
        "name": "quack",
        "version": "1.0",
        "dist": "hb-quack",
        "api": 1,
        "state": "loaded",
        "available": False,
        "extra": "q",
        "install": "pip install 'hb-quack[q]'",
        "failure": None,
    }


def test_a_failed_plugin_is_listed_with_its_stage_error_and_hint(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")
    index.load(_only(index))

    row = _listed(index)

    assert (row["state"], row["available"]) == ("failed", False)
    assert row["failure"] == {
        "stage": "import",
        "error": "ZeroDivisionError: division by zero",
        "hint": "hb-quack is damaged or incomplete: pip install --force-reinstall hb-quack",
    }


def test_storage_comes_before_extensions_in_the_list(site: Site, index: Index) -> None:
    site.storage("zebra")
    site.extension("audit")

    assert [(row["kind"], row["name"]) for row in index.listing()] == [("storage", "zebra"), ("extension", "audit")]


WHOLE = "class Backend:\n    ddl = write = delete = run = estimate = recover = close = lambda *given: None"
"""A backend with every method that the kernel calls."""


def test_a_check_loads_everything(site: Site, index: Index) -> None:
    site.storage("quack")
    site.write("hb_quack_backend", WHOLE)
    site.write("hb_quack_handlers", "HANDLERS = {}")
    site.extension("audit")

    rows = index.listing(check=True)

    assert [(row["name"], row["state"], row["available"]) for row in rows] == [
        ("quack", "loaded", True),
        ("audit", "loaded", True),
    ]
    assert {"hb_quack_backend", "hb_quack_handlers"} <= sys.modules.keys()


MISNAMED = """
from heaven_core.handlers import Handler, Key

def HANDLERS():
    yield Handler(Key("integer", "eq", "quak", "inline"), lambda *given: None, "quack")
"""


@pytest.mark.parametrize(
    ("backend", "handlers", "stage"),
    [
        (WHOLE, "1 / 0", "import"),
        (WHOLE, "OTHER = {}", "attribute"),
        ("import hb_absent", "HANDLERS = {}", "import"),
        ("Backend = None", "HANDLERS = {}", "type"),
        (WHOLE.replace("= estimate", ""), "HANDLERS = {}", "attribute"),
        (WHOLE, MISNAMED, "attribute"),
    ],
)
def test_a_check_finds_broken_handlers_and_backends(
    site: Site, index: Index, backend: str, handlers: str, stage: str
) -> None:
    site.storage("quack")
    site.write("hb_quack_backend", backend)
    site.write("hb_quack_handlers", handlers)

    row = _listed(index, check=True)

    assert row["state"] == "failed"
    assert cast("dict[str, object]", row["failure"])["stage"] == stage


def test_an_engine_that_is_not_installed_is_unavailable_and_no_failure(site: Site, index: Index) -> None:
    source = STORAGE_SOURCE.format(name="quack", module="hb_quack")
    site.storage("quack", source.replace("api=1", "api=1, requires=('hb_absent_engine',), extra='quack'"))

    row = _listed(index, check=True)

    assert (row["state"], row["available"], row["failure"]) == ("loaded", False, None)
    assert row["install"] == "pip install 'heaven-core[quack]'"


def test_what_a_workspace_activated_is_listed_as_active(site: Site, index: Index) -> None:
    site.extension("audit")
    loaded = index.named(EXTENSION, "audit")

    by_extension = _listed(index, active={"audit": loaded})
    by_spec = _listed(index, active={"audit": loaded.spec})

    assert by_extension == by_spec
    assert (by_spec["state"], by_spec["dist"], by_spec["api"]) == ("active", "hb-audit", 1)


def test_what_a_workspace_failed_to_activate_is_listed_as_failed(site: Site, index: Index) -> None:
    site.extension("audit")
    index.named(EXTENSION, "audit")
    failure = PluginFailure(_only(index, EXTENSION), "activate", ValueError("no key"), "set audit.keys")

    row = _listed(index, active={"audit": failure})

    assert row["state"] == "failed"
    assert row["failure"] == {"stage": "activate", "error": "ValueError: no key", "hint": "set audit.keys"}


def test_an_extension_registered_in_code_is_listed_beside_the_one_that_it_shadows(site: Site, index: Index) -> None:
    site.extension("audit")

    rows = index.listing({"audit": Extension(ExtensionSpec("audit", version="9"))})

    assert [(row["dist"], row["version"], row["state"]) for row in rows] == [
        ("", "9", "active"),
        ("hb-audit", "1.0", "found"),
    ]


def test_an_extension_that_has_gone_is_listed_as_failed(index: Index) -> None:
    gone = PluginRef(EXTENSION, "audit", "", "hb-audit", "1.0")
    failure = PluginFailure(gone, "activate", LookupError("not installed"), "pip install hb-audit")

    row = _listed(index, active={"audit": failure})

    assert (row["name"], row["dist"], row["state"]) == ("audit", "hb-audit", "failed")


def test_a_stored_extension_of_another_version_is_listed_beside_the_installed_one(site: Site, index: Index) -> None:
    site.extension("audit")
    stored = PluginRef(EXTENSION, "audit", "", "hb-other", "0.1")

    rows = index.listing({"audit": PluginFailure(stored, "activate", LookupError("elsewhere"), "enable it again")})

    assert [(row["dist"], row["state"]) for row in rows] == [("hb-audit", "found"), ("hb-other", "failed")]


def test_the_list_is_plain_json(site: Site, index: Index) -> None:
    site.storage("quack", "1 / 0")
    site.extension("audit")

    rows = index.listing(check=True)

    assert json.loads(json.dumps(rows)) == rows
