"""Settings and where they come from, `heaven_core.config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import heavenbase as hb
from heaven_core import config
from heaven_core.errors import ConfigError, ResultTooLarge

pytestmark = pytest.mark.unit


def test_without_a_word_the_default_holds() -> None:
    assert config.setting("query.max_rows") == (1_000_000, "default")
    assert config.get("extensions.default") == []


def test_code_wins_over_the_environment_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVENBASE_QUERY_MAX_ROWS", "5")

    from_environment = config.setting("query.max_rows")
    with config.override(query__max_rows=7):
        from_code = config.setting("query.max_rows")

    assert from_environment == (5, "env:HEAVENBASE_QUERY_MAX_ROWS")
    assert from_code == (7, "code")
    assert config.setting("query.max_rows") == from_environment


def test_what_was_set_can_be_taken_back() -> None:
    config.set("query.deadline", 1.5)
    try:
        assert config.get("query.deadline") == 1.5
    finally:
        config.unset("query.deadline")
        config.unset("query.deadline")

    assert config.setting("query.deadline").origin == "default"


def test_a_block_leaves_everything_as_it_was() -> None:
    with pytest.raises(ConfigError), config.override(query__deadline=1, query__max_rows="many"):
        pass
    with config.override(query__deadline=1), config.override(query__deadline=2):
        assert config.get("query.deadline") == 2

    assert config.setting("query.deadline").origin == "default"


def test_a_key_may_have_its_prefix() -> None:
    with config.override(heavenbase__query__deadline=9):
        assert config.get("query.deadline") == config.get("heavenbase.query.deadline") == 9


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("extensions.default", "audit, prompt,", ["audit", "prompt"]),
        ("extensions.default", '["audit"]', ["audit"]),
        ("extensions.default", "", []),
        ("query.deadline", "0.5", 0.5),
        ("query.deadline", "null", None),
        ("query.max_bytes", "1024", 1024),
    ],
)
def test_the_environment_says_lists_numbers_and_nothing(
    key: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAVENBASE_" + key.upper().replace(".", "_"), text)

    assert config.get(key) == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("extensions.default", "audit", "extensions.default takes a list of names, not 'audit' .*code"),
        ("extensions.default", ["audit", 5], "extensions.default takes a list of names"),
        ("query.deadline", "soon", "query.deadline takes a positive number or None, not 'soon'"),
        ("query.deadline", True, "query.deadline takes a positive number"),
        ("query.max_rows", 0, "query.max_rows takes a positive .*number or None, not 0"),
        ("query.max_row", 5, "there is no setting 'query.max_row'; did you mean 'query.max_rows'"),
    ],
)
def test_a_bad_setting_is_refused_when_it_is_set(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.set(key, value)


def test_a_bad_setting_in_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVENBASE_QUERY_DEADLINE", "soon")
    monkeypatch.setenv("HEAVENBASE_EXTENSIONS_DEFAULT", "[5]")

    with pytest.raises(ConfigError, match="HEAVENBASE_QUERY_DEADLINE"):
        config.get("query.deadline")
    with pytest.raises(ConfigError, match="HEAVENBASE_EXTENSIONS_DEFAULT"):
        config.get("extensions.default")


def test_a_list_that_was_set_does_not_follow_the_caller_s() -> None:
    mine = ["audit"]
    with config.override(extensions__default=mine):
        mine.append("prompt")

        assert config.get("extensions.default") == ["audit"]


def test_home_is_the_variable_s_folder_or_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEAVENBASE_HOME", str(tmp_path / "h"))
    assert config.home() == tmp_path / "h"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEAVENBASE_HOME", "relative")
    assert config.home() == tmp_path / "relative"

    monkeypatch.setenv("HEAVENBASE_HOME", "~/x")
    assert config.home() == Path.home() / "x"

    monkeypatch.delenv("HEAVENBASE_HOME")
    assert config.home().name == "heavenbase"
    assert not config.home().is_relative_to(tmp_path)


def test_the_bounds_of_queries_are_settings(open_workspace: Any) -> None:
    class Doc(hb.Entity):
        n = hb.field(hb.Integer)

    with config.override(query__max_rows=2):
        ws = open_workspace("inmem")
    ws.register(Doc)
    ws.upsert_many(Doc, [{"n": number} for number in range(3)])

    with pytest.raises(ResultTooLarge, match="more than 2 rows"):
        ws.query(Doc).execute()
    assert len(ws.query(Doc).limits(max_rows=None).execute()) == 3
