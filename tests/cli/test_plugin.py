"""`hb plugin new`: what it writes, what it refuses, and that what it writes is a plugin that works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration

TEMPLATE = Path(__file__).resolve().parents[2] / "demos" / "plugin_template"
SHELF = [
    "README.md",
    "pyproject.toml",
    "src/hb_shelf/__init__.py",
    "src/hb_shelf/engine.py",
    "src/hb_shelf/handlers.py",
    "src/hb_shelf/py.typed",
    "tests/test_shelf.py",
]


def _texts(folder: Path) -> dict[str, str]:
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        inner.as_posix(): path.read_text(encoding="utf-8")
        for inner, path in paths.items()
        if not any(part.startswith((".", "__pycache__")) for part in inner.parts)
    }


def test_a_distribution_is_written_and_the_next_steps_are_told(run: Callable[..., Ran], tmp_path: Path) -> None:
    ran = run("plugin", "new", "shelf")

    lines = ran.out.splitlines()
    assert (ran.code, ran.err, lines[0]) == (0, "", "hb-shelf:")
    assert [line.strip() for line in lines[1 : lines.index("")]] == SHELF == sorted(_texts(tmp_path / "hb-shelf"))
    assert lines[lines.index("Next:") + 1 :] == [
        "  python -m pip install -e 'hb-shelf[test]'",
        "  python -m pytest hb-shelf",
        "  hb plugins --check",
    ]


def test_the_name_stands_everywhere_in_its_form(invoke: Callable[..., Result], tmp_path: Path) -> None:
    result = invoke("plugin", "new", "top-shelf_2", "--into", str(tmp_path), "--json")

    said, texts = json.loads(result.stdout), _texts(tmp_path / "hb-top-shelf_2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert {key: said[key] for key in ("name", "distribution", "module", "cls")} == {
        "name": "top-shelf_2",
        "distribution": "hb-top-shelf_2",
        "module": "hb_top_shelf_2",
        "cls": "TopShelf2",
    }
    assert sorted(texts) == said["files"]
    assert not any("parquetfile" in text.lower().replace("pq.parquetfile", "") for text in (*texts, *texts.values()))
    assert 'top-shelf_2 = "hb_top_shelf_2:PLUGIN"' in texts["pyproject.toml"]
    assert "class TestTopShelf2(StorageConformance):" in texts["tests/test_top_shelf_2.py"]


def test_under_its_own_name_it_is_the_template(invoke: Callable[..., Result], tmp_path: Path) -> None:
    invoke("plugin", "new", "parquetfile", "--into", str(tmp_path))

    assert _texts(tmp_path / "hb-parquetfile") == _texts(TEMPLATE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Shelf"], "for example 'shelf'"),
        (["../shelf"], "storage plugin name '../shelf' must be"),
        ([""], "storage plugin name '' must be"),
        (["sqlite"], "there is a storage plugin 'sqlite' already, from heaven-core"),
        (["memory"], "there is a storage plugin 'memory' already, from heaven-core"),
        (["shelf", "--into", "nowhere"], "'nowhere' does not exist"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    arguments: list[str], message: str, run: Callable[..., Ran], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))

    ran = run("plugin", "new", *arguments)

    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert message in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_another_distribution_has_is_refused(
    invoke: Callable[..., Result], installed: Site, tmp_path: Path
) -> None:
    installed.storage("shelf", "raise ImportError('broken')")

    result = invoke("plugin", "new", "shelf", "--into", str(tmp_path))

    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is a storage plugin 'shelf' already, from hb-shelf" in result.stderr


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_never_touched(kind: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    there = tmp_path / "hb-shelf"
    there.mkdir() if kind == "folder" else there.write_text("mine")

    ran = run("plugin", "new", "shelf", "--json")

    assert (ran.code, ran.out) == (2, "")
    assert json.loads(ran.err) == {
        "error": "UsageError",
        "message": "hb-shelf is there already; choose another name, or --into. Try 'hb plugin new --help'.",
    }
    assert there.is_dir() if kind == "folder" else there.read_text() == "mine"


def _python(*arguments: str, folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def built(run: Callable[..., Ran], tmp_path: Path) -> Path:
    """A folder that the wheel of a new plugin is installed into; the plugin's source is beside it."""
    run("plugin", "new", "shelf")
    site = tmp_path / "site"
    command = ["-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "hb-shelf"]
    made = _python(*command, folder=tmp_path, site=site)
    assert made.returncode == 0, made.stdout + made.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel)]
    installed = _python(*pip, folder=tmp_path, site=site)
    assert installed.returncode == 0, installed.stderr
    return site


def _tested(built: Path, *arguments: str) -> str:
    done = _python("-m", "pytest", "-q", *arguments, folder=built.parent / "hb-shelf", site=built)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_new_plugin_is_found_and_passes_its_tests(built: Path) -> None:
    listed = _python("-m", "heavenbase.cli", "plugins", "--check", "--json", folder=built.parent, site=built)

    row = next(row for row in json.loads(listed.stdout) if row["name"] == "shelf")
    assert (row["dist"], row["state"], row["available"], row["failure"]) == ("hb-shelf", "loaded", True, None)
    assert " passed" in _tested(built, "-k", "any_tool or native or damaged or protocol or Integer-")


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_new_plugin_passes_all_of_the_conformance_kit(built: Path) -> None:
    assert " passed" in _tested(built)
