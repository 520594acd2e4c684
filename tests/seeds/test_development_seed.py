"""How one works on the repository, line by line: each test is named after the line of `docs/seeds.md` that it shows.

Not here: the wheel and the README's commands (`tests/test_packaging.py`).
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
SPEEDS = {"unit", "integration"}


def text_of(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def headings(page: str) -> list[str]:
    return re.findall(r"^## (.+)$", page, flags=re.MULTILINE)


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL, **more
    )


@cache
def project() -> dict[str, Any]:
    return tomllib.loads(text_of("pyproject.toml"))


TELLER = """
def pytest_collection_modifyitems(items):
    for item in items:
        print("test:", item.nodeid.partition("::")[0], *{marker.name for marker in item.iter_markers()})
"""
"""A plugin of pytest that says of each test where it is and what it is marked with."""


@cache
def collection() -> str:
    """What pytest, told nothing but to look, says that it would run."""
    with TemporaryDirectory() as folder:
        Path(folder, "hb_teller.py").write_text(TELLER, encoding="utf-8")
        command = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "hb_teller")
        done = run(*command, env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path[1:]])})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def collected(marker: str = "") -> set[str]:
    """The modules from which it takes tests, or tests with a marker."""
    lines = [line.split() for line in collection().splitlines() if line.startswith("test: ")]
    return {module for _, module, *markers in lines if not marker or marker in markers}


def modules() -> dict[str, set[str]]:
    """Every test module with the markers that it gives to all of its tests."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return {path.relative_to(ROOT).as_posix(): markers(ast.parse(path.read_text(encoding="utf-8"))) for path in files}


def markers(tree: ast.Module) -> set[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            return {one.attr for one in ast.walk(node.value) if isinstance(one, ast.Attribute)} - {"mark"}
    return set()


def requirements(given: list[Any]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower().replace("_", "-") for one in given}


@cache
def locked() -> list[dict[str, Any]]:
    return tomllib.loads(text_of("uv.lock"))["package"]


def direct() -> list[str]:
    """Every requirement that the project states itself, in an extra or a group too."""
    extras, groups = project()["project"]["optional-dependencies"], project()["dependency-groups"]
    return [*project()["project"]["dependencies"], *chain(*extras.values(), *groups.values())]


def outside(given: list[str]) -> list[str]:
    """The locked versions that these requirements do not allow; a package may be locked at one for each Python."""
    wanted = [one for one in map(Requirement, given) if one.name != "heaven-core"]
    return [
        f"{one}: {package['version']}"
        for one in wanted
        for package in locked()
        if package["name"] == canonicalize_name(one.name) and not one.specifier.contains(package["version"], True)
    ]


def test_every_test_module_says_whether_it_is_unit_or_integration() -> None:
    unmarked = [name for name, given in modules().items() if len(given & SPEEDS) != 1]

    assert unmarked == [], "give each module pytestmark = pytest.mark.unit or pytest.mark.integration"


def test_no_test_says_otherwise_than_its_module() -> None:
    both = [
        f"{name}::{node.name}"
        for name in modules()
        for node in ast.walk(ast.parse(text_of(name)))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and {one.attr for each in node.decorator_list for one in ast.walk(each) if isinstance(one, ast.Attribute)}
        & SPEEDS
    ]

    assert both == [], "pytest would take these under both markers; move them to a module of the other kind"


def test_X25_the_lock_file_has_what_uv_sync_installs() -> None:
    packages = {one["name"]: one for one in locked()}
    ours = packages["heaven-core"]
    extras: dict[str, list[str]] = project()["project"]["optional-dependencies"]

    names = {one["name"] for one in ours["dependencies"]}

    assert names == requirements(project()["project"]["dependencies"])
    assert set(ours["optional-dependencies"]) == extras.keys()
    assert set(ours["dev-dependencies"]) == {"dev"}
    assert requirements(direct()) <= packages.keys()
    assert outside(direct()) == [], "uv lock brings the lock file up to date"


def test_X26_an_editable_install_imports_every_package_from_the_checkout(tmp_path: Path) -> None:
    installed = run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--disable-pip-version-check", "--ignore-installed", "--prefix", str(tmp_path), "-e", "."),
    )
    packages = sysconfig.get_path("purelib", vars={"base": str(tmp_path), "platbase": str(tmp_path)})
    program = (
        "import site, sys; site.addsitedir(sys.argv[1]); sys.path.append(sys.argv[2])\n"
        "import heavenbase, heaven_core, heaven_inmem, heaven_sqlite, heaven_system\n"
        "from importlib.metadata import entry_points\n"
        "print(heavenbase.__file__, heaven_sqlite.__file__, heaven_system.__file__, sep='\\n')\n"
        "print(len(entry_points(group='heavenbase.storage')))\n"
    )

    imported = run(sys.executable, "-I", "-S", "-c", program, packages, sysconfig.get_path("purelib"))

    assert installed.returncode == 0, installed.stderr
    assert imported.stdout.splitlines() == [
        str(ROOT / "heavenbase" / "__init__.py"),
        str(ROOT / "plugins" / "heaven_sqlite" / "__init__.py"),
        str(ROOT / "extensions" / "heaven_system" / "__init__.py"),
        str(len(project()["project"]["entry-points"]["heavenbase.storage"])),
    ], imported.stderr


def test_X42_pytest_without_arguments_takes_the_whole_suite() -> None:
    named = {name for name in modules() if "def test_" in text_of(name) or "(StorageConformance)" in text_of(name)}

    assert project()["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests"]
    assert collected() == named, "nothing in pyproject.toml may narrow what pytest takes"
    assert "deselected" not in collection()


def test_X43_the_unit_marker_takes_unit_tests_and_no_others() -> None:
    known = modules()

    found = collected("unit")

    assert found
    assert [name for name in found if "unit" not in known[name]] == []


def test_a_unit_test_that_is_not_fast_fails(tmp_path: Path) -> None:
    rule, limit = text_of("tests", "conftest.py"), "UNIT_SECONDS = 20\n"
    (tmp_path / "conftest.py").write_text(rule.replace(limit, "UNIT_SECONDS = 0.2\n"), encoding="utf-8")
    slow = "import time, pytest\nmark = pytest.mark\npytestmark = [{}]\ndef test_that_waits(): time.sleep(0.6)\n"
    said = {"unit": "mark.unit", "integration": "mark.integration", "patient": "mark.unit, mark.timeout(60)"}
    for name, given in said.items():
        (tmp_path / f"test_{name}.py").write_text(slow.format(given), encoding="utf-8")

    done = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")),
        *("--rootdir", str(tmp_path), str(tmp_path)),
    )

    assert rule.count(limit) == 1
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"^FAILED .*test_unit\.py::test_that_waits", done.stdout, flags=re.MULTILINE)
    assert "Failed: Timeout" in done.stdout


def test_X44_the_integration_marker_takes_integration_tests_and_no_others() -> None:
    known = modules()

    found = collected("integration")

    assert Path(__file__).resolve().relative_to(ROOT).as_posix() in found
    assert [name for name in found if "integration" not in known[name]] == []
    assert not found & collected("unit")


def test_X45_types_are_checked_strictly() -> None:
    settings = project()["tool"]["pyright"]

    assert set(settings["strict"]) == {"heaven_core", "heavenbase", "plugins", "extensions"}
    assert set(settings["strict"]) < set(settings["include"])
    assert re.search(r"^step \"types\" types$", text_of(".ci", "run"), flags=re.MULTILINE)
    assert "-m pyright" in text_of(".ci", "run")


def test_X46_one_tool_formats_and_lints() -> None:
    script = text_of(".ci", "run")

    assert "ruff format --check ." in script
    assert "ruff check ." in script
    assert not re.search(r"\bblack\b", text_of("pyproject.toml"))


def test_X47_coverage_shows_the_lines_that_are_missing(tmp_path: Path) -> None:
    measured = run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--cov", "--cov-report=term"),
        "tests/core/test_names.py",
        env={**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")},
    )

    assert measured.returncode == 0, measured.stdout + measured.stderr
    assert re.search(r"^Name +Stmts +Miss +Branch +BrPart +Cover +Missing$", measured.stdout, flags=re.MULTILINE)
    assert re.search(r"^heaven_core/workspace\.py .*%.* \d+", measured.stdout, flags=re.MULTILINE)


def test_X61_the_guide_for_contributors_covers_workflow_tests_and_pull_requests() -> None:
    assert {"Set up", "Tests", "Pull requests"} <= set(headings(text_of("CONTRIBUTING.md")))


def test_X62_the_conventions_of_issues_are_written_down() -> None:
    page = text_of("docs", "PROCESS", "ISSUE_CONVENTIONS.md")

    assert {"Titles", "Labels", "Sections", "Invariants", "Rollout and flags"} <= set(headings(page))


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_X63_there_are_issue_templates(name: str) -> None:
    template = yaml.safe_load((TEMPLATES / name).read_text(encoding="utf-8"))

    fields = [one for one in template["body"] if one["type"] != "markdown"]

    assert template["name"]
    assert template["description"]
    assert any(one.get("validations", {}).get("required") for one in fields)
    assert len({one["id"] for one in fields}) == len(fields)


def test_X65_the_licence_is_apache_2() -> None:
    licence = text_of("LICENSE")

    assert project()["project"]["license"] == "Apache-2.0"
    assert licence.split()[:4] == ["Apache", "License", "Version", "2.0,"]
