"""Changing the files of settings, `heaven_core.config_edit`: what stays, what is refused, and two who write at once.

Not here: the command (`tests/cli/test_config.py`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heaven_core import config, config_edit, config_files
from heaven_core.config_edit import remove, save, trust, trusted_projects, untrust
from heaven_core.errors import BackendBusy, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from heaven_core.config_files import Content

pytestmark = pytest.mark.integration

COMMENTED = """\
# the settings of our library
query.deadline = 5  # seconds

# bounds
[heavenbase.query]
max_rows = 10   # few

[extensions]
default = [
  "audit",  # always
]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a project's file is to be, in the current folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder / "heavenbase.toml"


@pytest.fixture
def mine() -> Path:
    """Where the user's file is to be."""
    return config.home() / "config.toml"


def content_of(file: Path) -> Content:
    content = config_files.read(str(file))
    assert content is not None
    return content


# -- setting and unsetting -------------------------------------------------------------------------------------------


def test_a_setting_is_saved_in_a_new_file_that_only_its_user_reads(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deeper" / "config.toml"

    save(str(file), "query.max_rows", 5)

    assert tomllib.loads(file.read_text()) == {"query": {"max_rows": 5}}
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


def test_a_new_project_s_file_has_the_rights_of_any_new_file(file: Path) -> None:
    before = os.umask(0o027)
    try:
        save(str(file), "query.max_rows", 5)
    finally:
        os.umask(before)

    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_keeps_its_rights(mine: Path) -> None:
    mine.write_text("")
    mine.chmod(0o640)

    save(str(mine), "query.max_rows", 5)

    assert stat.S_IMODE(mine.stat().st_mode) == 0o640


def test_comments_order_and_spelling_stay(file: Path) -> None:
    file.write_text(COMMENTED)

    save(str(file), "query.deadline", 2.5)
    save(str(file), "query.max_rows", 20)
    save(str(file), "vector.memory_budget", 1024)

    changed = COMMENTED.replace("= 5 ", "= 2.5 ").replace("= 10 ", "= 20 ")
    assert file.read_text() == changed + "\n[vector]\nmemory_budget = 1024\n"


@pytest.mark.parametrize("text", ["", "[query]\nmax_bytes = 7\n", "[heavenbase]\ny = 2\n", "# only this\n"])
def test_a_key_without_a_section_is_one_of_the_whole_file(text: str, file: Path) -> None:
    file.write_text(text)

    save(str(file), "preset", "debug")

    assert tomllib.loads(file.read_text())["preset"] == "debug"
    assert text.strip() in file.read_text()


def test_none_is_saved_as_its_word(file: Path) -> None:
    save(str(file), "query.deadline", None)

    assert file.read_text() == '[query]\ndeadline = "none"\n'
    assert config.setting("query.deadline") == (None, "project file")


def test_what_is_taken_out_is_gone_and_the_rest_stays(file: Path) -> None:
    file.write_text(COMMENTED)

    remove(str(file), "heavenbase.query.max_rows")

    assert file.read_text() == COMMENTED.replace("max_rows = 10   # few\n", "")


def test_a_key_that_is_no_setting_can_be_taken_out(file: Path) -> None:
    file.write_text("query.deadlin = 5\n")

    remove(str(file), "query.deadlin")

    assert file.read_text().strip() == ""


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("query.deadlin", "there is no setting 'query.deadlin'; did you mean 'query.deadline'?"),
        ("query.deadline", r"heavenbase\.toml does not set query\.deadline"),
        ("trust", "there is no setting 'trust'"),
    ],
)
def test_what_is_not_there_cannot_be_taken_out(key: str, message: str, file: Path) -> None:
    file.write_text("query.max_rows = 5")

    with pytest.raises(ConfigError, match=message):
        remove(str(file), key)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("query.deadlin", 5, "did you mean 'query.deadline'"),
        ("query.deadline", "soon", "takes a positive number or None, not 'soon'"),
        ("preset", "lokal", "takes 'debug' or 'local' or 'server', not 'lokal'"),
    ],
)
def test_what_no_layer_would_take_is_not_saved(key: str, value: Any, message: str, file: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        save(str(file), key, value)

    assert not file.exists()


@pytest.mark.parametrize("text", ["query = 5\n", "[[query]]\n", "query.max_rows.a = 1\n", "no TOML", "a" * 70_000])
def test_a_file_in_which_there_is_no_place_for_the_key_stays_as_it_is(text: str, file: Path) -> None:
    file.write_text(text)

    with pytest.raises(ConfigError, match=r"heavenbase\.toml"):
        save(str(file), "query.max_rows", 5)

    assert (file.read_text(), list(file.parent.iterdir())) == (text, [file])


def test_a_link_stays_a_link(mine: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles" / "hb.toml"
    dotfiles.parent.mkdir()
    dotfiles.write_text("# mine\n")
    mine.symlink_to(dotfiles)

    save(str(mine), "query.max_rows", 5)

    assert mine.is_symlink()
    assert dotfiles.read_text() == "# mine\n\n[query]\nmax_rows = 5\n"


def test_a_project_s_link_that_leads_out_is_not_written_through(file: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.toml").write_text("query.max_rows = 1")
    file.symlink_to(tmp_path / "outside.toml")

    with pytest.raises(ConfigError, match="leads out of its folder"):
        save(str(file), "query.max_rows", 5)

    assert (tmp_path / "outside.toml").read_text() == "query.max_rows = 1"


def test_what_a_stranger_may_have_written_does_not_become_ours(file: Path) -> None:
    file.write_text("query.max_rows = 1")
    file.chmod(0o666)

    with pytest.raises(ConfigError, match="left alone, because everybody may write it"):
        save(str(file), "query.deadline", 5)


def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")

    with pytest.raises(ConfigError, match=r"the folder of config\.toml cannot be made"):
        save(str(tmp_path / "plain" / "config.toml"), "query.max_rows", 5)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.write_text("query.max_rows = 1\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(ConfigError, match=r"config\.toml cannot be written: No space left on device"):
        save(str(mine), "query.max_rows", 2)

    assert (mine.read_text(), list(mine.parent.iterdir())) == ("query.max_rows = 1\n", [mine])


VALUES = {
    "extensions.default": st.lists(st.text(st.characters(codec="utf-8"), max_size=8), max_size=3),
    "home": st.text(st.characters(codec="utf-8", exclude_characters="\0~"), min_size=1, max_size=8),
    "preset": st.sampled_from(["debug", "local"]),
    "query.deadline": st.none() | st.floats(1e-6, 1e9) | st.integers(1, 10**9),
    "query.max_rows": st.none() | st.integers(1, 10**12),
    "vector.memory_budget": st.integers(1, 10**12),
}
SPELLINGS = ["{0} = {1}", "heavenbase.{0} = {1}", '"{0}" = {1}', '"heavenbase.{0}" = {1}']
steps = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(lambda key: st.tuples(st.just(key), st.just("remove") | VALUES[key])),
    max_size=8,
)


@given(steps=steps, before=st.dictionaries(st.sampled_from(sorted(VALUES)), st.sampled_from(SPELLINGS), max_size=3))
def test_whatever_is_saved_in_turn_is_what_the_file_says(
    steps: list[tuple[str, Any]], before: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("edited") / "config.toml"
    examples = {"extensions.default": '["x"]', "home": '"x"', "preset": '"local"'}
    lines = [spelling.format(key, examples.get(key, "7")) for key, spelling in before.items()]
    file.write_text("# a comment that stays\n" + "".join(f"{line}\n" for line in lines))
    expected = {key: tomllib.loads(f"a = {examples.get(key, '7')}")["a"] for key in before}

    for key, value in steps:
        if value != "remove":
            save(str(file), key, value)
            expected[key] = "none" if value is None else value
        elif key in expected:
            remove(str(file), key)
            del expected[key]

    assert config_files.settings(content_of(file)) == expected
    assert file.read_text().startswith("# a comment that stays")


# -- trust -----------------------------------------------------------------------------------------------------------


def test_trust_is_the_folder_and_the_digest_in_the_user_s_file(file: Path, mine: Path) -> None:
    file.write_text("query.max_rows = 1")
    mine.write_text("# mine\nquery.deadline = 5\n")

    trust(content_of(file))

    digest = f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert mine.read_text() == f'# mine\nquery.deadline = 5\n\n[trust]\n"{file.parent}" = "{digest}"\n'
    assert trusted_projects() == [(str(file.parent), "trusted")]


def test_trust_that_is_taken_back_is_gone(file: Path) -> None:
    file.write_text('extensions.default = ["mine"]')
    trust(content_of(file))

    assert (untrust(str(file.parent)), untrust(str(file.parent))) == (True, False)
    assert (config.get("extensions.default"), trusted_projects()) == ([], [])


def test_trust_says_how_it_stands(file: Path) -> None:
    states: list[str] = []
    file.write_text("query.max_rows = 1")
    trust(content_of(file))
    states.append(trusted_projects()[0][1])
    file.write_text("query.max_rows = 2")
    states.append(trusted_projects()[0][1])
    file.unlink()
    states.append(trusted_projects()[0][1])

    assert states == ["trusted", "changed", "gone"]


def test_who_changes_a_trusted_project_trusts_what_it_becomes(file: Path) -> None:
    file.write_text('extensions.default = ["one"]')
    trust(content_of(file))

    save(str(file), "extensions.default", ["two"])
    after = config.get("extensions.default")
    remove(str(file), "extensions.default")

    assert (after, trusted_projects()) == (["two"], [(str(file.parent), "trusted")])


def test_who_changes_an_untrusted_project_does_not_trust_it(file: Path) -> None:
    file.write_text('extensions.default = ["evil"]')

    save(str(file), "query.max_rows", 5)

    assert (config.get("extensions.default"), trusted_projects()) == ([], [])


@pytest.mark.parametrize("name", ["a b", 'a"b', "a\\b", "a\nb", "a'b", "ü日本", "a.b", "trust", "a]b", "#a"])
def test_a_project_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "heavenbase.toml").write_text('extensions.default = ["mine"]')

    trust(content_of(folder / "heavenbase.toml"))

    assert config.get("extensions.default") == ["mine"]
    assert trusted_projects() == [(str(folder), "trusted")]
    assert untrust(str(folder))


def test_a_name_that_is_no_text_is_refused_in_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "heavenbase.toml").write_text("query.max_rows = 1")
    content = content_of(folder / "heavenbase.toml")

    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        trust(content)


# -- several at once -------------------------------------------------------------------------------------------------

SAVER = """
import sys
from heaven_core import config, config_edit
number = int(sys.argv[1])
for count in range(1, 16):
    config_edit.save(config.user_file(), sys.argv[2], number * 1000 + count)
    config_edit.trust(config_edit.Content(f"/p{number}-{count}/heavenbase.toml", b"", ""))
"""


def test_processes_that_save_at_once_lose_nothing(mine: Path) -> None:
    keys = ["query.deadline", "query.max_rows", "query.max_bytes", "vector.memory_budget"]
    processes = [
        subprocess.Popen([sys.executable, "-c", SAVER, str(number), key]) for number, key in enumerate(keys, 1)
    ]
    codes = [process.wait(timeout=100) for process in processes]

    assert codes == [0] * 4
    assert [config.get(key) for key in keys] == [1015, 2015, 3015, 4015]
    assert len(trusted_projects()) == 60
    assert list(mine.parent.iterdir()) == [mine]


def test_a_reader_never_sees_half_a_file(mine: Path) -> None:
    save(str(mine), "query.deadline", 1)
    writer = subprocess.Popen([sys.executable, "-c", SAVER, "1", "query.deadline"])
    seen: set[Any] = set()
    while writer.poll() is None:
        seen.add(config.setting("query.deadline").origin)

    assert (writer.returncode, seen) == (0, {"user file"})


def test_a_folder_that_somebody_keeps_locked_is_not_waited_for_without_end(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_edit, "_PATIENCE_S", 0.05)
    handle = os.open(mine.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)

        with pytest.raises(BackendBusy, match="another process is changing the settings"):
            save(str(mine), "query.max_rows", 5)
    finally:
        os.close(handle)

    assert not mine.exists()


def test_a_file_system_without_locks_is_written_all_the_same(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockless(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lockless)

    save(str(mine), "query.max_rows", 5)

    assert config.get("query.max_rows") == 5


def test_a_user_without_a_home_folder_trusts_nobody(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> None:
        raise KeyError

    file.write_text('extensions.default = ["mine"]')
    for name in ("HEAVENBASE_HOME", "HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)

    with pytest.raises(ConfigError, match="set HEAVENBASE_HOME"):
        trust(content_of(file))
    assert (config.get("extensions.default"), trusted_projects()) == ([], [])
