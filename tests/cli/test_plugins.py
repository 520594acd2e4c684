"""`hb plugins`: what it lists, the six stages at which a plugin fails, and what it checks.

Plugins are installed by writing modules and a dist-info folder onto the path of the process.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from heaven_core import config

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration

EXTENSION = """
from heaven_core.plugin import Extension, ExtensionSpec
EXTENSION = Extension(ExtensionSpec({name!r}, version="3"{spec}){extension})
"""
STORAGE = """
from heaven_core.plugin import StoragePlugin
PLUGIN = StoragePlugin({name!r}, backend="hb_{name}_engine:Backend", api=1{more})
"""
HOOKS = """
from heaven_core.hooks import hookimpl
class Hooks:
    @hookimpl
    def {hook}: {body}
"""
COLUMNS = ["kind", "name", "version", "dist", "api", "state", "available", "note"]


def _extension(name: str, extension: str = "", spec: str = "") -> str:
    return EXTENSION.format(name=name, extension=extension, spec=spec)


def _storage(name: str, more: str = "") -> str:
    return STORAGE.format(name=name, more=more)


def _rows(ran: Ran) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(ran.out)}


def test_the_plugins_are_listed_with_tabs_between_the_columns(run: Callable[..., Ran]) -> None:
    ran = run("plugins")

    header, *lines = [line.split("\t") for line in ran.out.splitlines()]
    assert (ran.code, ran.err, header) == (0, "", COLUMNS)
    assert [(line[0], line[1], line[3], line[5], line[6]) for line in lines] == [
        ("storage", "duckdb", "heaven-core", "loaded", "yes"),
        ("storage", "inmem", "heaven-core", "loaded", "yes"),
        ("storage", "lancedb", "heaven-core", "loaded", "yes"),
        ("storage", "postgres", "heaven-core", "loaded", "yes"),
        ("storage", "sqlite", "heaven-core", "loaded", "yes"),
        ("extension", "system", "heaven-core", "loaded", "yes"),
    ]


def test_a_check_activates_the_extensions(run: Callable[..., Ran]) -> None:
    ran = run("plugins", "--check", "--json")

    assert (ran.code, ran.err) == (0, "")
    assert {name: row["state"] for name, row in _rows(ran).items()} == {
        "duckdb": "loaded",
        "inmem": "loaded",
        "lancedb": "loaded",
        "postgres": "loaded",
        "sqlite": "loaded",
        "system": "active",
    }


def test_an_engine_that_is_not_installed_is_unavailable_and_no_failure(run: Callable[..., Ran], site: Site) -> None:
    site.storage("quack", _storage("quack", ", requires=('hb_absent',), extra='q', distribution='hb-quack'"))

    as_json = run("plugins", "--json", "--check", PYTHONPATH=str(site.folder))
    as_lines = run("plugins", PYTHONPATH=str(site.folder))

    row = _rows(as_json)["quack"]
    line = next(line for line in as_lines.out.splitlines() if "quack" in line)
    assert (as_json.code, as_json.err, as_lines.code) == (0, "", 0)
    assert (row["available"], row["failure"], row["state"]) == (False, None, "loaded")
    assert line.split("\t")[-2:] == ["no", "pip install 'hb-quack[q]'"]


STAGES = {
    "import": "import hb_not_there",
    "attribute": "",
    "type": "EXTENSION = 5",
    "api": _extension("broken", ", api=99"),
    "hook": _extension("broken", ", plugin='hb_hooks:Hooks'"),
    "activate": _extension("broken", ", plugin='hb_contributes:Hooks'"),
}
HOOK_MODULES = {
    "hb_hooks": HOOKS.format(hook="heaven_no_such_hook(self)", body="..."),
    "hb_contributes": HOOKS.format(hook="heaven_contribute(self, registrar)", body="raise KeyError('no key')"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_plugin_that_fails_at_any_stage_gives_exit_code_1_and_does_not_hide_the_others(
    stage: str, run: Callable[..., Ran], site: Site
) -> None:
    site.extension("broken", STAGES[stage])
    site.extension("whole", _extension("whole"))
    site.install("modules", "", **HOOK_MODULES)

    ran = run("plugins", "--check", "--json", PYTHONPATH=str(site.folder))

    rows = _rows(ran)
    assert (ran.code, ran.err) == (1, "")
    assert (rows["broken"]["state"], rows["broken"]["failure"]["stage"]) == ("failed", stage)
    assert "hb-broken" in rows["broken"]["failure"]["hint"] or stage == "api"
    assert {name: row["state"] for name, row in rows.items() if name != "broken"} == {
        "duckdb": "loaded",
        "inmem": "loaded",
        "lancedb": "loaded",
        "postgres": "loaded",
        "sqlite": "loaded",
        "system": "active",
        "whole": "active",
    }


def test_a_broken_declaration_is_found_without_a_check(run: Callable[..., Ran], site: Site) -> None:
    site.extension("broken", STAGES["import"])

    ran = run("plugins", PYTHONPATH=str(site.folder))

    line = next(line for line in ran.out.splitlines() if "broken" in line).split("\t")
    assert (ran.code, ran.err) == (1, "")
    assert line[5:7] == ["failed", "no"]
    assert line[7].startswith("import: ModuleNotFoundError: No module named 'hb_not_there'; ")


def test_what_only_an_activation_finds_is_found_with_a_check_only(run: Callable[..., Ran], site: Site) -> None:
    site.extension("broken", STAGES["activate"])
    site.install("modules", "", **HOOK_MODULES)

    without = run("plugins", PYTHONPATH=str(site.folder))
    with_check = run("plugins", "--check", PYTHONPATH=str(site.folder))

    assert (without.code, with_check.code) == (0, 1)
    assert "activate: KeyError: 'no key'" in with_check.out


def test_a_check_loads_the_engine_too(run: Callable[..., Ran], site: Site) -> None:
    site.storage("quack", _storage("quack"), hb_quack_engine="1 / 0")

    without = run("plugins", PYTHONPATH=str(site.folder))
    with_check = run("plugins", "--check", "--json", PYTHONPATH=str(site.folder))

    assert (without.code, with_check.code) == (0, 1)
    assert _rows(with_check)["quack"]["failure"]["error"] == "ZeroDivisionError: division by zero"


def test_an_extension_that_requires_a_broken_one_fails_and_names_it(run: Callable[..., Ran], site: Site) -> None:
    site.extension("broken", STAGES["activate"])
    site.extension("needy", _extension("needy", ", requires=('broken',)"))
    site.install("modules", "", **HOOK_MODULES)

    rows = _rows(run("plugins", "--check", "--json", PYTHONPATH=str(site.folder)))

    assert rows["needy"]["failure"]["stage"] == "activate"
    assert "'broken'" in rows["needy"]["failure"]["error"]


def test_a_broken_default_extension_does_not_keep_the_others_from_being_checked(
    run: Callable[..., Ran], site: Site
) -> None:
    site.extension("broken", STAGES["activate"])
    site.install("modules", "", **HOOK_MODULES)

    ran = run(
        "plugins", "--check", "--json", PYTHONPATH=str(site.folder), HEAVENBASE_EXTENSIONS_DEFAULT="broken,absent"
    )

    assert {name for name, row in _rows(ran).items() if row["failure"]} == {"broken"}


def test_extensions_of_one_entity_id_do_not_fail_each_other(run: Callable[..., Ran], site: Site) -> None:
    entity = "import heavenbase as hb\nclass Note(hb.Entity):\n    text = hb.field(hb.{type})\n"
    for name, kind in (("one", "ShortText"), ("two", "Integer")):
        site.extension(name, entity.format(type=kind) + _extension(name, spec=", entities=(Note,)"))

    ran = run("plugins", "--check", "--json", PYTHONPATH=str(site.folder))

    assert (ran.code, [_rows(ran)[name]["state"] for name in ("one", "two")]) == (0, ["active", "active"])


def test_a_check_without_an_engine_in_memory_says_that_extensions_cannot_be_activated(
    run: Callable[..., Ran],
) -> None:
    ran = run("plugins", "--check", "--json", HEAVENBASE_PLUGINS="system")

    rows = _rows(ran)
    assert (ran.code, rows["inmem"]["state"], rows["system"]["state"]) == (1, "disabled", "failed")
    assert "HEAVENBASE_PLUGINS" in rows["system"]["failure"]["error"]


def test_a_disabled_plugin_is_listed_and_not_imported(run: Callable[..., Ran], site: Site) -> None:
    site.extension("broken", STAGES["import"])

    ran = run("plugins", "--check", "--json", PYTHONPATH=str(site.folder), HEAVENBASE_NO_PLUGINS="1")

    row = _rows(ran)["broken"]
    assert (ran.code, row["state"], row["available"], row["failure"]) == (0, "disabled", None, None)


def test_what_a_plugin_prints_while_it_is_loaded_is_no_part_of_the_output(run: Callable[..., Ran], site: Site) -> None:
    site.extension("chatty", "print('hello')\n" + _extension("chatty"))

    ran = run("plugins", "--json", PYTHONPATH=str(site.folder))

    assert (ran.code, ran.err, "chatty" in _rows(ran)) == (0, "hello\n", True)


def test_a_plugin_that_ends_the_process_is_told_as_a_failure(run: Callable[..., Ran], site: Site) -> None:
    site.extension("quitter", "raise SystemExit(0)")

    ran = run("plugins", "--check", PYTHONPATH=str(site.folder))

    assert ran.code == 1
    assert "hb: a plugin ended the process" in ran.err or "SystemExit" in ran.out


def test_a_check_leaves_no_workspace_and_no_setting_behind(invoke: Callable[..., Result]) -> None:
    before = config.setting("extensions.default")

    result = invoke("plugins", "--check", "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    assert config.setting("extensions.default") == before
    assert not logging.getLogger("heavenbase.plugins").disabled
    assert not (config.home() / "workspaces").exists()


def test_the_table_on_a_terminal_has_what_to_do_about_a_failure(screen: Callable[..., Ran], installed: Site) -> None:
    installed.extension("broken", STAGES["import"])

    ran = screen("plugins", columns=150)

    lines = ran.out.splitlines()
    assert (ran.code, ran.err) == (1, "")
    assert lines[0].split() == COLUMNS
    assert set(lines[1]) == {"─"}
    assert "failed  no         import: ModuleNotFoundError" in ran.out
    assert max(map(len, lines)) <= 150


def test_a_failed_activation_is_explained_by_its_cause(invoke: Callable[..., Result], installed: Site) -> None:
    installed.extension("broken", STAGES["activate"])
    installed.extension("needy", _extension("needy", ", requires=('broken',)"))
    installed.install("modules", "", **HOOK_MODULES)

    result = invoke("plugins", "--check", "--json")

    failures = {row["name"]: row["failure"] for row in json.loads(result.stdout) if row["failure"]}
    assert (result.exit_code, result.stderr) == (1, "")
    assert failures["broken"]["error"] == "KeyError: 'no key'"
    assert failures["needy"]["error"].startswith("PluginLoadError: extension 'broken' failed at stage activate")


def test_a_failure_in_a_narrow_window_is_told_in_full(screen: Callable[..., Ran], installed: Site) -> None:
    installed.extension("broken", STAGES["import"])

    ran = screen("plugins", columns=50)

    told = " ".join(line[11:].strip() for line in ran.out.partition("note       import")[2].splitlines()[1:])
    assert "pip install --force-reinstall hb-broken" in told
    assert max(map(len, ran.out.splitlines())) <= 50
