"""`hb capabilities`: the lists, what the filters leave of them, and names that mean nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration


def _picked(result: Result) -> dict[str, list[str]]:
    assert (result.exit_code, result.stderr) == (0, "")
    body: dict[str, Any] = json.loads(result.stdout)
    return {section: [option["identifier"] for option in options] for section, options in body.items()}


def test_without_filters_everything_is_listed(invoke: Callable[..., Result]) -> None:
    picked = _picked(invoke("capabilities", "--json"))

    assert list(picked) == ["logical_types", "strategies", "backends", "ops"]
    assert picked["logical_types"] == list(hb.capabilities.logical_types())
    assert picked["strategies"] == list(hb.capabilities.strategies())
    assert picked["backends"] == list(hb.capabilities.backends())
    assert picked["ops"] == list(hb.capabilities.ops())


def test_each_filter_narrows_the_other_lists(invoke: Callable[..., Result]) -> None:
    picked = _picked(invoke("capabilities", "--type", "short-text", "--strategy", "inline", "--json"))
    by_op = _picked(invoke("capabilities", "--backend", "sqlite", "--op", "array_contains", "--json"))

    assert (picked["logical_types"], picked["strategies"]) == (["short-text"], ["inline"])
    assert picked["ops"] == list(hb.capabilities.ops(hb.ShortText, hb.InlineColumn))
    assert (by_op["backends"], by_op["ops"]) == (["sqlite"], ["array_contains"])
    assert by_op["logical_types"] == list(hb.capabilities.logical_types(backend="sqlite", op="array_contains"))
    assert "array" in by_op["logical_types"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["--type", "ShortText"], ["--type", "short-text"]),
        (["--type", "shorttext"], ["--type", "short-text"]),
        (["--strategy", "InlineColumn"], ["--strategy", "inline"]),
        (["--op", "$contains"], ["--op", "contains"]),
        (["--backend", "memory"], ["--backend", "inmem"]),
    ],
)
def test_a_thing_answers_to_its_other_names(one: list[str], other: list[str], invoke: Callable[..., Result]) -> None:
    picked = _picked(invoke("capabilities", "--json", *one))

    assert picked == _picked(invoke("capabilities", "--json", *other))
    assert picked["ops"]


def test_what_does_not_go_together_leaves_empty_lists(invoke: Callable[..., Result]) -> None:
    together = ("capabilities", "--type", "json", "--op", "near")

    assert set(map(len, _picked(invoke(*together, "--json")).values())) == {0}
    assert invoke(*together).stdout == "kind\tname\taliases\tavailable\tdescription\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--type", "shorttxt"], "there is no logical type 'shorttxt'; did you mean 'short-text'?"),
        (["--strategy", "inlin"], "did you mean 'inline'?"),
        (["--backend", "sqlit"], "did you mean 'sqlite'?"),
        (["--op", "contain"], "did you mean 'contains'?"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(options: list[str], message: str, invoke: Callable[..., Result]) -> None:
    result = invoke("capabilities", *options)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("hb: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_engine_that_is_not_installed_is_listed_with_the_command_that_installs_it(
    run: Callable[..., Ran], site: Site
) -> None:
    declaration = (
        "from heaven_core.plugin import StoragePlugin\n"
        "PLUGIN = StoragePlugin('quack', backend='x:Y', api=1, requires=('hb_absent',), extra='quack', desc='Ducks')\n"
    )
    site.storage("quack", declaration)

    ran = run("capabilities", PYTHONPATH=str(site.folder))

    assert (ran.code, ran.err) == (0, "")
    assert "backend\tquack\t\tno\tDucks; pip install 'heaven-core[quack]'" in ran.out.splitlines()


def test_a_broken_plugin_is_a_warning_and_hides_nothing(run: Callable[..., Ran], site: Site) -> None:
    site.storage("broken", "1 / 0")

    lines = run("capabilities", PYTHONPATH=str(site.folder))
    as_json = run("capabilities", "--json", PYTHONPATH=str(site.folder))

    assert (lines.code, as_json.code) == (0, 0)
    assert "backend\tsqlite\t" in lines.out
    assert lines.err.startswith("hb: warning: the storage plugin 'broken' of hb-broken 1.0 failed at stage import")
    assert list(json.loads(as_json.err)) == ["warning"]


def test_a_terminal_shows_a_table(screen: Callable[..., Ran]) -> None:
    full = screen("capabilities", "--type", "vector", columns=120)
    empty = screen("capabilities", "--type", "json", "--op", "near")

    assert full.out.splitlines()[0].split() == ["kind", "name", "aliases", "available", "description"]
    assert "op        near" in full.out
    assert empty.out == "nothing has all of this\n"


def test_a_broken_plugin_is_a_warning_in_this_process_too(invoke: Callable[..., Result], installed: Site) -> None:
    installed.storage("broken", "1 / 0")

    result = invoke("capabilities", "--op", "near")

    assert (result.exit_code, result.stderr.count("hb: warning: ")) == (0, 1)


def test_a_plugin_whose_handlers_are_broken_is_warned_of_once(run: Callable[..., Ran], site: Site) -> None:
    declaration = (
        "from heaven_core.plugin import StoragePlugin\n"
        "PLUGIN = StoragePlugin('quack', backend='x:Y', handlers='hb_handlers:H', api=1)\n"
    )
    site.storage("quack", declaration, hb_handlers="1 / 0")

    ran = run("capabilities", "--op", "contains", PYTHONPATH=str(site.folder))

    (line,) = ran.err.splitlines()
    assert (ran.code, line[:13]) == (0, "hb: warning: ")
    assert "backend\tsqlite\t" in ran.out
