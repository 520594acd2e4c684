"""The layers that are files, `heaven_core.config_files`: what counts, what doesn't, and what an attacker gets.

Not here: what `hb config` makes of them (`tests/cli/test_config.py`), writing (`test_config_edit.py`).
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core import config, config_edit, config_files
from heaven_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def user() -> Callable[[str], Path]:
    """A function that writes the user's file."""

    def write(text: str) -> Path:
        file = config.home() / "config.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which a `heavenbase.toml` can be put; `HEAVENBASE_HOME` says nothing about `home`."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def file(project: Path) -> Path:
    """Where the project's file is to be."""
    return project / "heavenbase.toml"


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without `HEAVENBASE_HOME`, so that files may say where `home` is; gives the folder of the settings."""
    monkeypatch.delenv("HEAVENBASE_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "heavenbase"


def trust_now() -> None:
    path = config.project_file()
    assert path is not None
    content = config_files.read(path)
    assert content is not None
    config_edit.trust(content)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- the order of the layers -----------------------------------------------------------------------------------------


def test_each_layer_covers_the_ones_behind_it(
    file: Path, user: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [config.setting("query.max_rows")]
    user("query.max_rows = 2")
    said.append(config.setting("query.max_rows"))
    file.write_text("query.max_rows = 3")
    said.append(config.setting("query.max_rows"))
    monkeypatch.setenv("HEAVENBASE_QUERY_MAX_ROWS", "4")
    said.append(config.setting("query.max_rows"))
    with config.override(query__max_rows=5):
        said.append(config.setting("query.max_rows"))

    assert said == [
        (1_000_000, "default"),
        (2, "user file"),
        (3, "project file"),
        (4, "env:HEAVENBASE_QUERY_MAX_ROWS"),
        (5, "code"),
    ]


def test_a_list_in_a_nearer_layer_replaces_the_one_behind_it(file: Path, user: Callable[[str], Path]) -> None:
    user('extensions.default = ["one", "two"]')
    file.write_text('extensions.default = ["three"]')
    trust_now()

    assert config.get("extensions.default") == ["three"]


def test_a_list_from_a_file_is_the_caller_s_own(user: Callable[[str], Path]) -> None:
    user('extensions.default = ["one"]')

    config.get("extensions.default").append("two")

    assert config.get("extensions.default") == ["one"]


def test_the_nearest_project_file_counts_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "heavenbase.toml").write_text("query.max_rows = 1\nquery.deadline = 1\n")
    deeper = project / "a" / "b"
    deeper.mkdir(parents=True)
    (project / "a" / "heavenbase.toml").write_text("query.max_rows = 2")
    monkeypatch.chdir(deeper)

    assert config.get("query.max_rows") == 2
    assert config.setting("query.deadline").origin == "default"


@pytest.mark.parametrize(
    "text",
    [
        "query.max_rows = 7",
        "[query]\nmax_rows = 7",
        "query = {max_rows = 7}",
        '"query.max_rows" = 7',
        '"query" . "max_rows" = 7',
        "heavenbase.query.max_rows = 7",
        "[heavenbase]\nquery.max_rows = 7",
        "[heavenbase.query]\nmax_rows = 7",
        '"heavenbase.query.max_rows" = 7',
        '[heavenbase]\n"query.max_rows" = 7',
    ],
)
def test_a_key_may_be_spelled_in_every_way_that_toml_has(text: str, user: Callable[[str], Path]) -> None:
    user(text)

    assert config.get("query.max_rows") == 7


def test_none_is_a_word_in_files(user: Callable[[str], Path]) -> None:
    user('query.deadline = "none"')

    assert config.setting("query.deadline") == (None, "user file")


def test_a_file_that_changes_or_goes_is_noticed(file: Path) -> None:
    seen: list[Any] = []
    for text in ("query.max_rows = 1", "query.max_rows = 2", "query.deadline = 3"):
        file.write_text(text)
        seen.append(config.get("query.max_rows"))
    file.unlink()

    assert seen == [1, 2, 1_000_000]
    assert config.setting("query.deadline").origin == "default"


def test_a_file_that_stays_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("query.max_rows = 1")
    config.get("query.max_rows")
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened again"))

    assert config.get("query.max_rows") == 1


def test_without_files_nothing_is_imported_for_them(elsewhere: Callable[..., Any]) -> None:
    loaded = elsewhere(
        "import sys, json\nfrom heaven_core import config\nconfig.get('query.deadline')\n"
        "print(json.dumps([name for name in ('tomllib', 'tomlkit', 'platformdirs', 'heaven_core.config_files')"
        " if name in sys.modules]))"
    )

    assert loaded == []


def test_an_entry_tells_what_each_layer_sets(file: Path, user: Callable[[str], Path]) -> None:
    user("query.max_rows = 2")
    file.write_text('query.max_rows = 3\npreset = "debug"')

    entries = [one for one in config.entries() if one.layer != "environment"]

    assert entries == [
        ("project", "preset", "debug", "project file", False, "this project is not trusted"),
        ("project", "query.max_rows", 3, "project file", True, ""),
        ("user", "query.max_rows", 2, "user file", False, ""),
    ]


# -- where the user's file is ----------------------------------------------------------------------------------------


def test_the_user_s_file_is_in_the_folder_of_the_variable_or_the_platform(
    no_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    platform = config.user_file()
    monkeypatch.setenv("HEAVENBASE_HOME", str(tmp_path / "h"))

    assert platform == str(no_home / "config.toml")
    assert config.user_file() == str(tmp_path / "h" / "config.toml")


def test_a_variable_that_depends_on_the_current_folder_brings_no_user_s_file(
    no_home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data").mkdir()
    (project / "data" / "config.toml").write_text('extensions.default = ["evil"]')
    monkeypatch.setenv("HEAVENBASE_HOME", "data")

    assert config.user_file() == str(no_home / "config.toml")
    assert config.get("extensions.default") == []
    assert config.home() == project / "data"


def test_home_in_the_user_s_file_begins_at_the_file(no_home: Path, project: Path) -> None:
    no_home.mkdir(parents=True)
    (no_home / "config.toml").write_text('home = "data"')

    assert config.home() == no_home / "data"


def test_the_setting_preset_opens_in_memory(user: Callable[[str], Path], project: Path) -> None:
    user('preset = "debug"')

    with hb.HeavenBase("demo") as by_setting, hb.HeavenBase("other", preset="local") as by_word:
        kinds = repr(by_setting), repr(by_word)

    assert kinds == ("<HeavenBase 'demo': main=inmem>", "<HeavenBase 'other': main=sqlite>")


def test_the_setting_preset_has_no_say_where_backends_are_given(user: Callable[[str], Path], tmp_path: Path) -> None:
    user('preset = "debug"')

    with hb.HeavenBase("demo", backends={}, path=tmp_path / "w") as workspace:
        assert repr(workspace) == "<HeavenBase 'demo': main=sqlite>"


def test_the_presets_of_the_setting_are_those_that_there_are() -> None:
    from heaven_core.workspace import PRESETS

    assert config.KEYS["preset"].choices == tuple(sorted(PRESETS))


# -- what is wrong in a file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query.deadline = ", r"heavenbase\.toml is no TOML: .*line 1"),
        ("a = 1\na = 2", r"heavenbase\.toml is no TOML: .*line 2"),
        (b"a = 1\nb = '\xff'", r"heavenbase\.toml, line 2 is no text in UTF-8"),
        ("# x\nquery.deadline = 'soon'", r"query\.deadline takes .*, not 'soon' \(from heavenbase\.toml, line 2\)"),
        ("\n[heavenbase.query]\n\nmax_rows = 1.5", r"query\.max_rows takes .* line 4"),
        ("query = {max_bytes = -1}", r"query\.max_bytes takes .* not -1 .* line 1"),
        ("query.deadline = inf", r"query\.deadline takes .* not inf"),
        ("query.deadline = nan", r"query\.deadline takes .* not nan"),
        ("query.max_rows = true", r"query\.max_rows takes .* not True"),
        ("query.max_rows = 2026-11-21", r"query\.max_rows takes a positive whole number"),
        ("vector.memory_budget = 'none'", r"vector\.memory_budget takes a positive whole number, not 'none'"),
        ("home = 5", r"home takes a path, not 5"),
        ("home = ''", r"home takes a path, not ''"),
        ("home = 'a\\u0000b'\n".replace("'", '"'), r"home takes a path"),
        ("query.deadline = 1\n[query]\nmax_rows = 2", r"is no TOML"),
        ("query.deadline = 1\nheavenbase.query.deadline = 2", r"sets 'query\.deadline' twice, in two spellings"),
        ("a = " + "[" * 9000, r"nested too deeply"),
        ("a = " + "{a=" * 9000, r"nested too deeply"),
        ("a = " + "1" * 5000, r"is no TOML"),
        ("a" + ".a" * 3000 + " = 1", r"line 1 has too many dots"),
        ("a = 1\n" * 20_000, r"is larger than 65536 bytes"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_broken_file_is_named_with_the_line(text: str | bytes, message: str, file: Path, tmp_path: Path) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError, match=message) as raised:
        config.get("query.deadline")

    assert str(tmp_path) not in str(raised.value)


def test_a_file_that_is_as_large_as_it_may_be_is_read_quickly(file: Path) -> None:
    line = "a" + ".a" * 250 + "{} = 1\n"
    file.write_text("".join(line.format(number) for number in range(120)) + "query.max_rows = 5\n")

    assert config.get("query.max_rows") == 5


def test_a_secret_of_the_wrong_kind_is_in_no_message(
    user: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.KEYS, "audit.keys.signing", config.Key("text", "", "a key"))
    user("audit.keys.signing = 123456789")

    with pytest.raises(ConfigError, match=r"not <redacted>") as raised:
        config.get("audit.keys.signing")

    assert "123456789" not in str(raised.value)


def test_an_unknown_key_in_a_file_is_a_warning_that_is_said_once(
    user: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    user("query.deadlin = 5\nnewer.thing = 1\nquery.max_rows = 9\n")

    for _ in range(3):
        assert config.get("query.max_rows") == 9

    assert len(warnings(caplog)) == 2
    assert "config.toml: there is no setting 'query.deadlin'; did you mean 'query.deadline'?" in warnings(caplog)


def test_very_many_unknown_keys_are_few_warnings(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("".join(f"a{number} = 1\n" for number in range(3000)))

    config.get("query.max_rows")

    assert len(warnings(caplog)) == 6
    assert "heavenbase.toml: 2995 more are no settings" in warnings(caplog)


def test_a_user_s_file_that_is_a_folder_is_refused(project: Path) -> None:
    (config.home() / "config.toml").mkdir()

    with pytest.raises(ConfigError, match=r"config\.toml is no ordinary file; put one in its place"):
        config.get("query.max_rows")


# -- the untrusted project -------------------------------------------------------------------------------------------

SWITCHES = [
    'extensions.default = ["evil"]',
    '[extensions]\ndefault = ["evil"]',
    'extensions = {default = ["evil"]}',
    '"extensions.default" = ["evil"]',
    '"extensions" . "default" = ["evil"]',
    'heavenbase.extensions.default = ["evil"]',
    '[heavenbase]\nextensions.default = ["evil"]',
    '[heavenbase.extensions]\ndefault = ["evil"]',
    '["heavenbase.extensions"]\ndefault = ["evil"]',
    '"heavenbase.extensions.default" = ["evil"]',
    '"\\u0065xtensions.default" = ["evil"]',
    'extensions."default" = ["evil"]',
]


@pytest.mark.parametrize("text", SWITCHES)
def test_an_untrusted_project_enables_no_extension_however_it_spells_it(
    text: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(text)

    assert config.setting("extensions.default") == ([], "default")
    (line,) = warnings(caplog)
    assert line.startswith("heavenbase.toml: ignored extensions.default, because this project is not trusted; ")
    assert line.endswith("look at it, then allow it with: hb config trust .")


@pytest.mark.parametrize("text", SWITCHES)
def test_a_trusted_project_does(text: str, file: Path) -> None:
    file.write_text(text)
    trust_now()

    assert config.setting("extensions.default") == (["evil"], "project file")


@pytest.mark.parametrize("text", ["extensions.default.x = 1", "[[extensions]]\na = 1", "extensions = 5"])
def test_what_only_begins_like_a_protected_key_is_ignored_too(
    text: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(text)

    assert config.setting("extensions.default").origin == "default"
    assert [line for line in warnings(caplog) if "not trusted" in line]


@pytest.mark.parametrize(
    "key", ["capsule.registry.url", "capsule.trust.roots", "audit.keys.signing", "preset", "trust", "extensions"]
)
def test_every_protected_key_is_ignored_and_named_whether_it_is_there_yet_or_not(
    key: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f'{key} = "x"')

    config.get("query.max_rows")

    (line,) = warnings(caplog)
    assert key in line
    assert "not trusted" in line


def test_what_is_not_protected_counts_without_trust(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("query.deadline = 1\nquery.max_rows = 2\nquery.max_bytes = 3\nvector.memory_budget = 4\n")

    values = [
        config.get(key) for key in ("query.deadline", "query.max_rows", "query.max_bytes", "vector.memory_budget")
    ]

    assert (values, warnings(caplog)) == ([1, 2, 3, 4], [])


def test_a_project_cannot_trust_itself_or_another(file: Path, project: Path) -> None:
    text = 'extensions.default = ["evil"]\n'
    file.write_text(text)
    content = config_files.read(str(file))
    assert content is not None
    for spelling in ("[trust]", "[heavenbase.trust]"):
        file.write_text(f'{text}{spelling}\n"{project}" = "{content.digest}"\n')

        assert config.get("extensions.default") == []


def test_an_ignored_value_of_the_wrong_kind_breaks_nothing(file: Path) -> None:
    file.write_text("extensions.default = 5\nquery.max_rows = 2\n")

    assert config.get("query.max_rows") == 2


def test_no_extension_of_an_untrusted_project_is_enabled_in_a_workspace(
    file: Path, registered: None, open_workspace: Callable[..., hb.HeavenBase]
) -> None:
    hb.ext.register_extension(hb.ext.Extension(hb.ext.ExtensionSpec("evil")))
    file.write_text('extensions.default = ["evil"]')

    before = [spec.identifier for spec in open_workspace("sqlite", "before").extensions()]
    trust_now()
    after = [spec.identifier for spec in open_workspace("sqlite", "after").extensions()]

    assert (before, after) == (["system"], ["system", "evil"])


def test_a_file_that_changes_is_untrusted_again_and_one_that_changes_back_is_trusted(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = 'extensions.default = ["good"]\n'
    file.write_text(good)
    trust_now()
    trusted = config.get("extensions.default")
    file.write_text('extensions.default = ["evil"]\n')
    changed = config.get("extensions.default")
    file.write_text(good)

    assert (trusted, changed, config.get("extensions.default")) == (["good"], [], ["good"])
    assert "the file has changed since it was trusted" in warnings(caplog)[0]


def test_trust_is_in_a_folder_and_not_in_a_content(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('extensions.default = ["good"]\n')
    trust_now()
    other = tmp_path / "other"
    other.mkdir()
    (other / "heavenbase.toml").write_bytes(file.read_bytes())
    monkeypatch.chdir(other)

    assert config.get("extensions.default") == []


# -- locations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["data", "./data", ".", "a/../data", "a/b/c"])
def test_an_untrusted_project_keeps_its_workspaces_within_it(
    value: str, no_home: Path, file: Path, project: Path
) -> None:
    file.write_text(f'home = "{value}"')

    found = config.setting("home")

    assert found.origin == "project file"
    assert os.path.realpath(found.value) == os.path.realpath(project / value)


@pytest.mark.parametrize(
    "value", ["..", "../project-2", "/tmp/x", "~/x", "~", "a/../../x", "/", "link", "link/deeper", "a/../link"]
)
def test_an_untrusted_project_keeps_them_nowhere_else(
    value: str, no_home: Path, file: Path, project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "project-2").mkdir()
    (project / "link").symlink_to(tmp_path)
    file.write_text(f'home = "{value}"')

    assert config.setting("home").origin == "default"
    assert "ignored home, because it leads out of the project" in warnings(caplog)[0]


def test_a_trusted_one_may(no_home: Path, file: Path, tmp_path: Path) -> None:
    file.write_text('home = "../elsewhere"')
    trust_now()

    assert config.setting("home").origin == "project file"
    assert os.path.realpath(config.home()) == str(tmp_path / "elsewhere")


def test_a_folder_that_becomes_a_link_later_is_seen(no_home: Path, file: Path, project: Path, tmp_path: Path) -> None:
    file.write_text('home = "data"')
    before = config.setting("home").origin
    (project / "data").symlink_to(tmp_path)

    assert (before, config.setting("home").origin) == ("project file", "default")


@pytest.mark.parametrize("place", ["data/workspaces", "data/workspaces/demo", "data/workspaces/demo/main.db"])
def test_a_link_beneath_the_project_s_home_opens_nothing_outside(
    place: str, no_home: Path, file: Path, project: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    file.write_text('home = "data"')
    (project / place).parent.mkdir(parents=True)
    (project / place).symlink_to(outside / "main.db" if place.endswith(".db") else outside)

    with pytest.raises(ConfigError, match="leads out of the project"):
        hb.HeavenBase("demo")

    assert list(outside.iterdir()) == []


def test_workspaces_of_a_project_s_home_are_in_it(no_home: Path, file: Path, project: Path) -> None:
    file.write_text('home = "data"')

    with hb.HeavenBase("demo") as workspace:
        assert workspace.folder == project / "data" / "workspaces" / "demo"


# -- files of others, and things that are no files -------------------------------------------------------------------


@as_root
def test_the_file_of_another_user_is_not_even_parsed(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("this is [no TOML")
    os.chown(file, NOBODY, NOBODY)

    assert config.setting("query.max_rows").origin == "default"
    assert "heavenbase.toml: it is not read, because it belongs to another user" in warnings(caplog)[0]


@as_root
def test_the_file_of_another_user_may_be_trusted_as_it_is(file: Path) -> None:
    file.write_text("query.max_rows = 5")
    os.chown(file, NOBODY, NOBODY)
    trust_now()
    trusted = config.get("query.max_rows")
    file.write_text("query.max_rows = 6")

    assert (trusted, config.setting("query.max_rows").origin) == (5, "default")


@as_root
def test_a_link_that_another_user_has_laid_is_not_followed(file: Path, project: Path) -> None:
    (project / "mine.toml").write_text("query.max_rows = 5")
    file.symlink_to("mine.toml")
    before = config.get("query.max_rows")
    os.chown(file, NOBODY, NOBODY, follow_symlinks=False)

    assert (before, config.setting("query.max_rows").origin) == (5, "default")


def test_a_file_that_everybody_may_write_is_nobody_s_word(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("query.max_rows = 5")
    file.chmod(0o666)

    assert config.setting("query.max_rows").origin == "default"
    assert "everybody may write it" in warnings(caplog)[0]


def test_a_user_s_file_that_everybody_may_write_neither_sets_nor_trusts(
    user: Callable[[str], Path], file: Path
) -> None:
    file.write_text('extensions.default = ["good"]')
    trust_now()
    mine = config.home() / "config.toml"
    mine.write_text(mine.read_text() + "\n[query]\nmax_rows = 5\n")
    before = config.get("extensions.default"), config.get("query.max_rows")
    mine.chmod(stat.S_IMODE(mine.stat().st_mode) | stat.S_IWOTH)

    assert before == (["good"], 5)
    assert (config.get("extensions.default"), config.get("query.max_rows")) == ([], 1_000_000)


def test_a_link_within_the_project_is_followed_and_one_out_of_it_is_not(
    file: Path, project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (project / "inner.toml").write_text("query.max_rows = 5")
    (tmp_path / "outer.toml").write_text("query.max_rows = 6")
    file.symlink_to("inner.toml")
    inner = config.get("query.max_rows")
    file.unlink()
    file.symlink_to(tmp_path / "outer.toml")

    assert (inner, config.setting("query.max_rows").origin) == (5, "default")
    assert "it is a link that leads out of its folder" in warnings(caplog)[0]


def test_a_link_to_a_project_that_is_trusted_gets_none_of_its_trust(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "heavenbase.toml").write_text('extensions.default = ["good"]')
    content = config_files.read(str(other / "heavenbase.toml"))
    assert content is not None
    config_edit.trust(content)
    file.symlink_to(other / "heavenbase.toml")

    assert config.get("extensions.default") == []


@pytest.mark.parametrize(("rights", "fails"), [(0o600, True), (0o666, False)])
def test_a_file_that_cannot_be_read_is_an_error_if_it_is_ours(
    rights: int, fails: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    file.write_text("query.max_rows = 5")
    file.chmod(rights)
    monkeypatch.setattr(os, "open", refused)  # root may read everything

    if fails:
        with pytest.raises(ConfigError, match=r"heavenbase\.toml cannot be read: Permission denied"):
            config.get("query.max_rows")
    else:
        assert config.setting("query.max_rows").origin == "default"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["fifo", "folder", "broken link", "device"])
def test_what_is_no_file_is_passed_by(kind: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "heavenbase.toml").write_text("query.max_rows = 5")
    deeper = project / "deeper"
    deeper.mkdir()
    place = deeper / "heavenbase.toml"
    {
        "fifo": lambda: os.mkfifo(place),
        "folder": place.mkdir,
        "broken link": lambda: place.symlink_to("nowhere"),
        "device": lambda: place.symlink_to("/dev/zero"),
    }[kind]()
    monkeypatch.chdir(deeper)

    assert config.get("query.max_rows") == 5


@pytest.mark.timeout(10)
def test_a_pipe_that_takes_the_file_s_place_stops_nobody(file: Path) -> None:
    os.mkfifo(file)

    with pytest.raises(ConfigError, match="no ordinary file"):
        config_files.layers(str(file), None)


def test_a_giant_file_of_a_stranger_is_no_reason_to_fail(file: Path) -> None:
    file.write_text("#" * 1_000_000)
    file.chmod(0o666)

    assert config.setting("query.max_rows").origin == "default"


def test_a_file_in_the_home_folder_is_a_project_like_any_other(
    no_home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deeper = project / "code" / "library"
    deeper.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(project))
    monkeypatch.chdir(deeper)
    (project / "heavenbase.toml").write_text('extensions.default = ["evil"]\nquery.max_rows = 5\n')

    assert (config.get("extensions.default"), config.get("query.max_rows")) == ([], 5)


def test_a_folder_that_is_gone_has_no_project(project: Path) -> None:
    project.rmdir()

    assert config.project_file() is None
    assert config.get("query.max_rows") == 1_000_000
