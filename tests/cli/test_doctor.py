"""`hb doctor`: what it looks at, what it calls broken, what it advises, and that it leaves nothing behind."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from heaven_core import config
from heaven_core.report import Check
from heavenbase.cli import installation
from heavenbase.cli.installation import clock, nearest_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration


def _checks(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    return {(check["kind"], check["name"]): check for check in json.loads(result.stdout)["checks"]}


def test_a_sound_installation_has_nothing_broken(invoke: Callable[..., Result]) -> None:
    result = invoke("doctor", "--json")

    checks = _checks(result)
    assert (result.exit_code, result.stderr, json.loads(result.stdout)["ok"]) == (0, "", True)
    assert {check["state"] for check in checks.values()} <= {"ok", "absent", "warning"}
    assert checks["sqlite", "version"]["detail"] == f"SQLite {sqlite3.sqlite_version}"
    assert checks["sqlite", "files"]["detail"] == "write-ahead log and locks work"
    assert checks["extension", "system"]["state"] == "ok"
    assert sys.version.split()[0] in checks["system", "Python"]["detail"]
    assert str(config.home()) in checks["home", "folder"]["detail"]


def test_it_leaves_nothing_behind_and_makes_no_home(invoke: Callable[..., Result], tmp_path: Path) -> None:
    result = invoke("doctor", "--json", env={"HEAVENBASE_HOME": str(tmp_path / "not" / "made")})

    assert (result.exit_code, list(tmp_path.iterdir())) == (0, [])
    assert _checks(result)["home", "folder"]["detail"].endswith("made, not made yet")


def test_an_engine_that_is_not_installed_is_absent_and_has_its_command(
    invoke: Callable[..., Result], installed: Site
) -> None:
    installed.storage(
        "far",
        "from heaven_core.plugin import StoragePlugin\n"
        "PLUGIN = StoragePlugin('far', backend='hb_far_engine:Far', requires=('no_such_module',), extra='far',\n"
        "                       distribution='hb-far', api=1)\n",
    )

    result = invoke("doctor", "--json")

    check = _checks(result)["storage", "far"]
    assert (result.exit_code, check["state"], check["advice"]) == (0, "absent", "pip install 'hb-far[far]'")


def test_a_broken_plugin_is_broken_and_has_advice(invoke: Callable[..., Result], installed: Site) -> None:
    installed.extension("bad", "1 / 0")

    result = invoke("doctor")

    (line,) = [line for line in result.stdout.splitlines() if "\tbroken\t" in line]
    assert result.exit_code == 1
    assert line == (
        "extension\tbad\tbroken\thb-bad 1.0: import: ZeroDivisionError: division by zero\t"
        "hb-bad is damaged or incomplete: pip install --force-reinstall hb-bad"
    )


def test_a_plugin_that_the_environment_disables_is_absent(invoke: Callable[..., Result], installed: Site) -> None:
    installed.extension("bad", "1 / 0")

    result = invoke("doctor", "--json", env={"HEAVENBASE_NO_PLUGINS": "1"})

    check = _checks(result)["extension", "bad"]
    assert (result.exit_code, check["state"]) == (0, "absent")
    assert check["advice"] == "unset HEAVENBASE_PLUGINS HEAVENBASE_NO_PLUGINS"


PROBED = """
from heaven_core.plugin import StoragePlugin
PLUGIN = StoragePlugin('near', backend='heaven_inmem.engine:MemoryBackend', probe='hb_near_probe:probe', api=1)
"""


def test_an_engine_says_itself_what_it_needs(
    invoke: Callable[..., Result], installed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = (
        "from heaven_core.report import Check\ndef probe(folder):\n yield Check('near', 'x', 'warning', folder.name)"
    )
    installed.storage("near", PROBED, hb_near_probe=probe)

    result = invoke("doctor", "--json")

    assert result.exit_code == 0
    assert _checks(result)["near", "x"]["detail"] == config.home().name


def test_an_engine_that_cannot_say_is_broken(invoke: Callable[..., Result], installed: Site) -> None:
    installed.storage("near", PROBED, hb_near_probe="def probe(folder):\n raise ValueError('no')")

    result = invoke("doctor", "--json")

    assert result.exit_code == 1
    assert _checks(result)["near", "probe"]["detail"] == "ValueError: no"


@pytest.mark.skipif(sys.platform != "linux", reason="a folder of Linux that nobody can write to, root included")
def test_a_home_that_cannot_be_written_is_broken(invoke: Callable[..., Result]) -> None:
    result = invoke("doctor", "--json", env={"HEAVENBASE_HOME": "/proc/heavenbase"})

    checks = _checks(result)
    assert result.exit_code == 1
    assert "it cannot be written" in checks["home", "folder"]["detail"]
    assert checks["home", "folder"]["advice"].startswith("export HEAVENBASE_HOME=")
    assert checks["sqlite", "files"]["state"] == "broken"


def test_a_home_that_is_a_file_is_broken(invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")

    result = invoke("doctor", "--json", env={"HEAVENBASE_HOME": str(tmp_path / "home")})

    assert result.exit_code == 1
    assert _checks(result)["home", "folder"]["detail"].endswith("home is no folder")


def test_a_terminal_shows_a_table_and_a_summary(screen: Callable[..., Ran]) -> None:
    ran = screen("doctor", columns=120)

    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["kind", "name", "state", "detail", "advice"]
    assert " ok" in ran.out.splitlines()[-1]


# Parts


@pytest.mark.parametrize(
    ("now", "stamp", "state"),
    [
        (1_800_000_000.0, 1_800_000_000.5, "ok"),
        (1_800_000_000.0, 1_800_000_060.0, "warning"),
        (1_800_000_060.0, 1_800_000_000.0, "warning"),
        (0.0, 0.0, "broken"),
        (5_000_000_000.0, 5_000_000_000.0, "broken"),
    ],
)
def test_the_clock_is_believed_if_it_can_be(now: float, stamp: float, state: str) -> None:
    assert clock(now, stamp).state == state


def test_the_space_that_is_left_is_judged() -> None:
    states = [installation.space(free).state for free in (0, 49 << 20, 60 << 20, 2 << 30)]

    assert states == ["broken", "broken", "warning", "ok"]


def test_the_nearest_folder_is_the_one_that_exists(tmp_path: Path) -> None:
    assert nearest_folder(tmp_path / "a" / "b") == nearest_folder(tmp_path) == tmp_path


def _distribution(site: Site, name: str, version: str, *requires: str) -> None:
    folder = site.folder / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = [f"Requires-Dist: {one}" for one in requires]
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines])
    )


def test_what_ours_needs_is_looked_for(installed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "OURS", "hb-ours")
    monkeypatch.setattr(installation, "FEATURES", {"far", "good", "old"})
    _distribution(installed, "hb-old", "1.9.2")
    _distribution(installed, "hb-fine", "2.10")
    _distribution(
        installed,
        "hb-ours",
        "1",
        "hb-old>=1.10,<3",
        "hb-fine<3,>=2.9",
        "hb-gone[x]>=1",
        'hb-fine ; extra == "good"',
        "hb-old>=2; extra == 'old'",
        'hb-gone; extra == "far"',
        'hb-gone; extra == "test"',
        'hb-gone; extra == "later"',
    )

    checks = list(installation.requirements())

    assert checks == [
        Check(
            "library",
            "required",
            "broken",
            "hb-old 1.9.2 is installed, and >=1.10,<3 is needed; hb-gone is missing",
            "pip install --upgrade hb-ours",
        ),
        Check("extra", "far", "absent", "hb-gone not installed", "pip install 'hb-ours[far]'"),
        Check("extra", "good", "ok", "hb-fine 2.10", ""),
        Check(
            "extra",
            "old",
            "warning",
            "hb-old 1.9.2 is installed, and >=2 is needed",
            "pip install --upgrade 'hb-ours[old]'",
        ),
    ]


def test_of_the_extras_those_are_told_that_this_version_has_a_use_for() -> None:
    told = {check.name for check in installation.requirements() if check.kind == "extra"}

    assert told == {"arrow", "duckdb", "lancedb", "plot", "postgres"}


def test_what_is_no_distribution_needs_nothing_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "OURS", "hb-no-such-distribution")

    (check,) = installation.requirements()

    assert (check.state, check.advice) == ("warning", "pip install hb-no-such-distribution")


# A workspace


@pytest.fixture
def damaged(library: str) -> str:
    """The id of a workspace that lost two indexes."""
    with closing(sqlite3.connect(config.home() / "workspaces" / library / "main.db")) as connection:
        tables = "select name from sqlite_master where type = 'index' and sql is not null and tbl_name like 'e_book%'"
        for (name,) in connection.execute(tables).fetchall():
            connection.execute(f'drop index "{name}"')
        connection.commit()
    return library


def test_a_sound_workspace_is_reported(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("doctor", library, "--json")

    body, checks = json.loads(result.stdout), _checks(result)
    assert (result.exit_code, body["workspace"]["check"]["ok"], body["workspace"]["health"]["ok"]) == (0, True, True)
    assert checks["backend", "main"]["detail"] == "sqlite"
    assert checks["stored", library]["state"] == "ok"


def test_damage_is_broken_and_repair_mends_it(invoke: Callable[..., Result], damaged: str) -> None:
    found = invoke("doctor", damaged, "--json")
    again = invoke("doctor", damaged, "--json")
    mended = invoke("doctor", damaged, "--repair", "--json")
    after = invoke("doctor", damaged, "--json")

    assert [found.exit_code, again.exit_code, mended.exit_code, after.exit_code] == [1, 1, 0, 0]
    check = _checks(found)["stored", "main/book"]
    assert check["detail"].startswith("missing-index: year")
    assert check["advice"] == "hb doctor library --repair"
    assert json.loads(mended.stdout)["workspace"]["check"]["repaired"]
    assert _checks(mended)["repaired", "main/book"]["state"] == "ok"


def test_what_cannot_be_mended_is_said(invoke: Callable[..., Result], library: str) -> None:
    with closing(sqlite3.connect(config.home() / "workspaces" / library / "main.db")) as connection:
        connection.execute('update "e_book" set title = null')
        connection.commit()

    result = invoke("doctor", library, "--repair", "--json")

    check = _checks(result)["stored", "main/book"]
    assert result.exit_code == 1
    assert (check["detail"], check["advice"]) == (
        "missing-values: rows without title, which is required: 3",
        "restore a backup",
    )


def test_many_findings_of_a_kind_are_one_line(library: str, invoke: Callable[..., Result]) -> None:
    from heaven_core.backend import Finding
    from heaven_core.report import Report
    from heavenbase.cli.doctor import stored

    findings = tuple(Finding("main", "book", "missing-index", name, True) for name in ("a", "b", "c"))

    (check,) = stored("library", Report(False, findings, (), 1), repaired=False)

    assert check.detail == "missing-index: a (and 2 more)"


def test_a_workspace_that_cannot_be_opened_is_broken(invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "main.db").write_text("no database" * 1000)

    result = invoke("doctor", "library", "--path", str(tmp_path), "--json")

    assert (result.exit_code, result.stderr) == (1, "")
    assert "no SQLite database" in _checks(result)["workspace", "library"]["detail"]
    assert json.loads(result.stdout)["workspace"]["error"] == "NotADatabase"


def test_a_workspace_whose_extension_is_gone_is_broken(invoke: Callable[..., Result], installed: Site) -> None:
    import heavenbase as hb

    declared = "from heaven_core.plugin import Extension, ExtensionSpec\nEXTENSION = Extension(ExtensionSpec('gone'))\n"
    installed.extension("gone", declared)
    with hb.HeavenBase("library") as workspace:
        workspace.enable_extension("gone")

    result = invoke("doctor", "library", "--json", env={"HEAVENBASE_NO_PLUGINS": "1"})

    checks = [one for one in json.loads(result.stdout)["checks"] if one["name"] == "gone"]
    assert result.exit_code == 1
    assert [one["state"] for one in checks] == ["absent", "broken"]


def test_a_derived_entity_that_another_script_computes_is_reported_with_what_to_do(
    invoke: Callable[..., Result], library: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import heavenbase as hb\n"
        "def rows(view, hints): return [{'object_id': 'a', 'n': 1}]\n"
        "class Number(hb.Entity):\n"
        "    __derived__ = rows\n"
        "    n = hb.field(hb.Integer)\n"
        f"with hb.HeavenBase({library!r}) as ws: ws.register(Number); assert ws.count(Number) == 1\n"
    )
    subprocess.run([sys.executable, str(script)], check=True)

    result = invoke("doctor", library, "--json")
    listed = {row["entity"]: row for row in json.loads(invoke("ls", library, "--json").stdout)}

    check = _checks(result)["derived", "number"]
    assert check["state"] == "warning"  # what is stored is sound
    assert "derived by '__main__:rows', which cannot be imported here" in check["detail"]
    assert check["advice"] == "ask there, or move its class and function to a module and register it"
    assert listed["number"]["error"].endswith(check["advice"])
    assert listed["sys-catalog"]["error"] is None


def test_a_workspace_that_is_not_there_is_refused_and_not_made(invoke: Callable[..., Result], library: str) -> None:
    result = invoke("doctor", "libary", "--repair")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'library'?" in result.stderr
    assert [one.name for one in (config.home() / "workspaces").iterdir()] == [library]


@pytest.mark.parametrize("option", [["--repair"], ["--path", "x"], ["--backends", "{}"]])
def test_what_is_about_a_workspace_needs_one(option: list[str], invoke: Callable[..., Result]) -> None:
    result = invoke("doctor", *option)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "name it" in result.stderr


@pytest.mark.parametrize("variables", [{}, {"HEAVENBASE_QUERY_MAX_ROWS": "many"}])
def test_a_setting_that_cannot_be_read_is_at_fault_and_no_extension_is(
    invoke: Callable[..., Result], variables: dict[str, str]
) -> None:
    file = config.home() / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('[query]\ndeadline = "soon"\n')

    result = invoke("doctor", "--json", env=variables)

    checks = [check for check in json.loads(result.stdout)["checks"] if check["state"] == "broken"]
    assert result.exit_code == 1
    assert [check["kind"] for check in checks] == ["settings"] * (1 + len(variables))
    assert "query.deadline takes" in checks[0]["detail"]
    assert checks[0]["name"].endswith("config.toml")
    assert "upgrade" not in "".join(check["advice"] for check in checks)
    assert [check["name"] for check in checks[1:]] == list(variables)
    assert _checks(result)["extension", "system"]["state"] == "ok"
