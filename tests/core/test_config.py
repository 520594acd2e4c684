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
        ("query.deadline", "none", None),
        ("preset", "debug", "debug"),
        ("vector.memory_budget", "1024", 1024),
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
        ("query.max_rows", 10**19, "query.max_rows takes a positive"),
        ("query.deadline", float("inf"), "query.deadline takes a positive number or None, not inf"),
        ("query.deadline", float("nan"), "query.deadline takes a positive number or None, not nan"),
        ("vector.memory_budget", None, "vector.memory_budget takes a positive whole number, not None"),
        ("preset", "lokal", "preset takes 'debug' or 'local' or 'server', not 'lokal'"),
        ("home", "a\0b", "home takes a path, not 'a.x00b'"),
        ("home", 5, "home takes a path, not 5"),
        ("query.max_row", 5, "there is no setting 'query.max_row'; did you mean 'query.max_rows'"),
    ],
)
def test_a_bad_setting_is_refused_when_it_is_set(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.set(key, value)


def test_a_default_has_the_kind_of_its_key() -> None:
    for name, key in config.KEYS.items():
        if name != "home":
            assert config.checked(name, key.default, "default") == key.default
            assert config.get(name) == key.default


@pytest.mark.parametrize(
    ("value", "fits"), [(True, True), (False, True), (1, False), ("true", False), (None, False)], ids=str
)
def test_a_switch_takes_true_and_false_alone(value: Any, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(config.KEYS, "some.switch", config.Key("boolean", default=False, desc="a switch"))

    if fits:
        with config.override(some__switch=value):
            assert config.get("some.switch") is value
    else:
        with pytest.raises(ConfigError, match=r"some\.switch takes true or false"):
            config.set("some.switch", value)


def test_a_default_that_is_a_list_is_the_caller_s_own() -> None:
    config.get("extensions.default").append("prompt")

    assert config.get("extensions.default") == []


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

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # whoever runs the tests may have settings
    monkeypatch.setenv("HEAVENBASE_HOME", "")
    assert config.setting("home").origin == "default"

    monkeypatch.delenv("HEAVENBASE_HOME")
    assert config.home().name == "heavenbase"
    assert not config.home().is_relative_to(tmp_path)


def test_home_is_a_setting_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with config.override(home="here"):
        monkeypatch.chdir("/")
        with hb.HeavenBase("demo") as workspace:
            folder = workspace.folder

    assert folder == tmp_path / "here" / "workspaces" / "demo"
    assert config.setting("home").origin == "env:HEAVENBASE_HOME"


def test_a_bad_home_in_the_environment_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEAVENBASE_HOME", "~nobody-has-this-name/x")

    with pytest.raises(ConfigError, match=r"home takes a path, not .* \(from HEAVENBASE_HOME\)"):
        config.home()


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HEAVENBASE_HOME")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)

    with pytest.raises(ConfigError, match="your home folder is unknown here; set HEAVENBASE_HOME"):
        config.home()
    assert config.user_file() is None
    assert config.get("query.deadline") == 30.0


def test_whoever_is_asked_for_a_workspace_in_memory_says_whether_it_is_open() -> None:
    from heaven_core.workspace import workspace_exists

    with config.override(preset="debug"):
        before = workspace_exists("demo")
        with hb.HeavenBase("demo"):
            during = workspace_exists("demo")
        after = workspace_exists("demo")

    assert (before, during, after) == (False, True, False)


@pytest.mark.parametrize("call", [lambda: config.get(None), lambda: config.set(5, 1), lambda: config.unset(b"x")])  # type: ignore[arg-type]
def test_a_setting_is_named_by_a_text(call: Any) -> None:
    with pytest.raises(ConfigError, match="named by a text"):
        call()


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
