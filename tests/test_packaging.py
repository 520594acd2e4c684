"""The distribution is what it says: one wheel, one entry point for each package, commands that work as printed.

Here: entry points against folders, the wheel's contents, the README's commands, what the kernel may import.
Not here: how entry points are found at run time (`tests/core/test_discovery.py`).
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[1]
GROUPS = {"plugins": "heavenbase.storage", "extensions": "heavenbase.extension"}
OUTER = ("heaven_core", "heavenbase")
# What `hb plugin new` copies: packages of their own, with tests.
TEMPLATE = "heavenbase/cli/template/"
# Libraries whose import name differs from the name they are installed by.
IMPORT_NAMES = {"attrs": {"attr", "attrs"}, "google-re2": {"re2"}, "pyyaml": {"yaml"}}
# Standard from a later Python on, where code may ask for it.
LATER_STANDARD_MODULES = {"annotationlib"}
# Kernel modules that may know more: optional libraries inside functions, and the test kits.
KERNEL_EXCEPTIONS = {
    "heaven_core.arrow": {"pandas", "polars", "pyarrow"},
    "heaven_core.testing": {"hypothesis", "pytest"},
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(ROOT)]

    built = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert built.returncode == 0, built.stdout + built.stderr
    return next(target.glob("*.whl"))


@pytest.mark.parametrize("folder", GROUPS)
def test_each_package_has_exactly_one_entry_point_and_each_entry_point_a_package(
    folder: str, project: dict[str, Any]
) -> None:
    targets = project["project"]["entry-points"][GROUPS[folder]].values()

    named = sorted(target.partition(":")[0] for target in targets)

    assert named == sorted(_packages(folder))


@pytest.mark.parametrize(("folder", "attribute"), [("plugins", "PLUGIN"), ("extensions", "EXTENSION")])
def test_an_entry_point_is_named_like_its_package(folder: str, attribute: str, project: dict[str, Any]) -> None:
    entry_points = project["project"]["entry-points"][GROUPS[folder]]

    expected = {name: f"heaven_{name}:{attribute}" for name in entry_points}

    assert entry_points == expected


@pytest.mark.parametrize("folder", ["plugins", "extensions", "tests", "demos", "docs"])
def test_a_folder_that_editable_installs_expose_is_no_package(folder: str) -> None:
    init = ROOT / folder / "__init__.py"

    assert init.parent.is_dir()
    assert not init.exists(), f"{folder}/__init__.py would shadow other packages named {folder}"


def test_each_package_carries_its_types() -> None:
    packages = [ROOT / name for name in OUTER]
    packages += [ROOT / folder / name for folder in GROUPS for name in _packages(folder)]

    untyped = [package.name for package in packages if not (package / "py.typed").is_file()]

    assert untyped == []


def test_the_wheel_holds_the_import_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in _names(wheel)}

    packages = {top for top in tops if not top.endswith(".dist-info")}

    assert packages == {*OUTER, *itertools.chain.from_iterable(map(_packages, GROUPS))}
    assert len(tops - packages) == 1


def test_the_wheel_holds_every_module_of_the_checkout_and_no_test(wheel: Path) -> None:
    own = (name for name in _names(wheel) if not name.startswith(TEMPLATE))
    shipped = {name for name in own if name.endswith((".py", "py.typed"))}

    sources = set(_sources())

    assert shipped == sources
    assert not [name for name in shipped if re.search(r"(^|/)(tests?/|test_|conftest)", name)]


def test_the_wheel_holds_the_template_of_plugins(wheel: Path) -> None:
    source = ROOT / "demos" / "plugin_template"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    known = subprocess.run(listed, cwd=source, capture_output=True, text=True, check=False)
    if known.returncode:
        pytest.skip("no checkout of git, so it isn't known which files are the template's")

    shipped = {name.removeprefix(TEMPLATE) for name in _names(wheel) if name.startswith(TEMPLATE)}

    assert shipped == set(known.stdout.splitlines())
    assert "pyproject.toml" in shipped


def test_the_wheel_names_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}

    assert "hb = heavenbase.cli:main" in texts["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert "Apache License" in texts["LICENSE"]


def test_all_names_every_other_extra_but_those_for_tests_and_the_large_one_of_the_demo(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]

    named = re.findall(r"[a-z]+", extras["all"][0].partition("[")[2])

    assert sorted(named) == sorted(extras.keys() - {"all", "demo", "test", "testing"})


def test_the_import_contracts_cover_every_package(project: dict[str, Any]) -> None:
    linter = project["tool"]["importlinter"]
    contracts = {contract["id"]: contract for contract in linter["contracts"]}
    plugins, extensions = set(_packages("plugins")), set(_packages("extensions"))

    everyone = {*OUTER, *plugins, *extensions}

    assert set(linter["root_packages"]) == everyone
    assert everyone - {"heaven_core"} <= set(contracts["kernel"]["forbidden_modules"])
    assert set(contracts["sqlite"]["source_modules"]) == everyone - {"heaven_sqlite"}
    assert set(contracts["plugins"]["modules"]) == plugins
    assert set(contracts["plugins-extensions"]["source_modules"]) == plugins
    assert set(contracts["plugins-extensions"]["forbidden_modules"]) == extensions
    assert set(contracts["extensions"]["source_modules"]) == extensions
    assert plugins <= set(contracts["extensions"]["forbidden_modules"])
    assert set(contracts["face"]["source_modules"]) == everyone - {"heavenbase"}


def test_the_kernel_imports_only_the_standard_library_and_its_declared_dependencies(project: dict[str, Any]) -> None:
    grimp = pytest.importorskip("grimp")
    standard = sys.stdlib_module_names | LATER_STANDARD_MODULES
    known = _import_names(project["project"]["dependencies"]) | standard | {"heaven_core"}

    graph = grimp.build_graph("heaven_core", include_external_packages=True, cache_dir=None)
    strangers = [
        f"{module} -> {imported}"
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.partition(".")[0] not in known | _exceptions(module)
    ]

    assert strangers == []


@pytest.mark.parametrize("position", [1, 2])
def test_a_command_of_the_readme_is_one_line_that_needs_nothing_else(position: int) -> None:
    language, body = _fenced_blocks()[position - 1]

    assert language == "sh"
    assert len(body.splitlines()) == 1
    assert body.startswith("python3 -m venv .venv && ")
    assert not re.search(r"\\|\bcd\b|\bgit\b|\bcurl\b|\bsudo\b|\buv\b|[<$]", body)


def test_the_readme_shows_the_quickstart_first_and_the_tests_second() -> None:
    (_, first), (_, second) = _fenced_blocks()[:2]

    assert re.search(r"pip install( --quiet)? \. && \S+python demos/quickstart\.py$", first)
    assert re.search(r'pip install( --quiet)? -e "\.\[test\]" && \S+ -m pytest ', second)
    assert second.endswith('-m "not soak and not peers"')


@pytest.mark.parametrize("position", [1, 2])
def test_the_ci_script_takes_its_commands_from_the_readme(position: int) -> None:
    command = ["bash", str(ROOT / ".ci" / "run"), "readme", str(position)]

    printed = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)

    assert printed.stdout.strip() == _fenced_blocks()[position - 1][1]


def test_the_ci_script_has_no_test_command_of_its_own() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

    assert "run_readme 2" in script
    assert "-m pytest" not in script
    assert re.findall(r"/pytest\b.*", script) == ['/pytest" hb-parquetfile)']  # the template's own tests


def test_the_lock_file_names_only_the_public_index() -> None:
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")

    hosts = set(re.findall(r"\b\w+://[^/\"]*", lock))
    sources = set(re.findall(r"source = \{ (\w+ = \"[^\"]*\")", lock))

    assert hosts == {"https://pypi.org", "https://files.pythonhosted.org"}
    assert sources == {'editable = "."', 'registry = "https://pypi.org/simple"'}


def _packages(folder: str) -> list[str]:
    return [path.parent.name for path in (ROOT / folder).glob("*/__init__.py")]


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _sources() -> Iterator[str]:
    """Yield the path inside the wheel of each module and marker in the checkout."""
    for prefix, folder in [("", name) for name in OUTER] + [(name, "") for name in GROUPS]:
        root = ROOT / prefix
        for path in (root / folder).rglob("*"):
            if path.suffix == ".py" or path.name == "py.typed":
                yield path.relative_to(root).as_posix()


def _fenced_blocks() -> list[tuple[str, str]]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)\n```$", readme, flags=re.MULTILINE | re.DOTALL)


def _import_names(requirements: Collection[str]) -> set[str]:
    names: set[str] = set()
    for requirement in requirements:
        name = re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower()
        names |= IMPORT_NAMES.get(name, {name.replace("-", "_")})
    return names


def _exceptions(module: str) -> set[str]:
    allowed: set[str] = set()
    for prefix, names in KERNEL_EXCEPTIONS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            allowed |= names
    return allowed
