"""Completion: the scripts, what a real bash gets from them, and silence where something is broken."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from heaven_core import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from conftest import Ran, Site

pytestmark = pytest.mark.integration

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def hb_script(tmp_path: Path) -> Path:
    """A folder with `hb` as its only command."""
    script = tmp_path / "bin" / "hb"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m heavenbase.cli "$@"\n')
    script.chmod(0o755)
    return script.parent


@pytest.fixture
def complete(hb_script: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """What bash offers after these words; the last one is being typed."""

    def completed(*words: str, **environment: str) -> list[str]:
        line = " ".join(shlex.quote(word) for word in words)
        script = (
            f'PATH={shlex.quote(str(hb_script))}:$PATH; eval "$(hb completion bash)"\n'
            f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
            '_hb_completion hb; printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        done = subprocess.run(
            ["bash", "--norc", "-c", script],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return completed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_that_asks_hb(shell: str, run: Callable[..., Ran]) -> None:
    ran = run("completion", shell)

    assert (ran.code, ran.err) == (0, "")
    assert f"_HB_COMPLETE={shell}_complete" in ran.out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_understood_by_its_shell(shell: str, run: Callable[..., Ran], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    (tmp_path / "script").write_text(run("completion", shell).out)

    done = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused(invoke: Callable[..., Result]) -> None:
    result = invoke("completion", "tcsh")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "'tcsh' is not one of 'bash', 'fish', 'zsh'" in result.stderr


def test_without_a_shell_the_choice_is_named_on_one_readable_line(invoke: Callable[..., Result]) -> None:
    result = invoke("completion")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Choose from: bash, fish, zsh. Try 'hb completion --help'." in result.stderr
    assert "\\n" not in result.stderr


@needs_bash
def test_bash_completes_commands_options_and_choices(complete: Callable[..., list[str]]) -> None:
    assert complete("hb", "pl") == ["plugin", "plugins"]
    assert complete("hb", "plugins", "--ch") == ["--check"]
    assert complete("hb", "query", "--format", "js") == ["json", "jsonl"]
    assert complete("hb", "completion", "") == ["bash", "fish", "zsh"]
    assert complete("hb", "capabilities", "--type", "short") == ["short-text"]


@needs_bash
@pytest.mark.parametrize("command", ["query", "explain", "schema"])
def test_bash_completes_workspaces_and_entities(command: str, complete: Callable[..., list[str]], library: str) -> None:
    assert complete("hb", command, "li") == [library]
    assert complete("hb", command, library, "") == ["book", "sys-catalog", "sys-metaschema"]


@needs_bash
def test_bash_completes_fields(complete: Callable[..., list[str]], library: str) -> None:
    asked = ("hb", "query", library, "book")

    assert complete(*asked, "--select", "t") == ["title", "tags"]
    assert complete(*asked, "--select", "title,t") == ["title,tags"]
    assert complete(*asked, "--order", "year,-se") == ["year,-seen"]
    assert complete(*asked, "--limit", "3", "--order", "ye") == ["year"]


@needs_bash
@pytest.mark.parametrize("command", ["ls", "doctor", "shell"])
def test_bash_completes_the_workspace_of_other_commands(
    command: str, complete: Callable[..., list[str]], library: str
) -> None:
    assert complete("hb", command, "l") == [library]


@needs_bash
def test_bash_completes_in_a_workspace_elsewhere(
    complete: Callable[..., list[str]], library: str, tmp_path: Path
) -> None:
    shutil.move(config.home() / "workspaces" / library, tmp_path / "moved")

    assert complete("hb", "query", "--path", "moved", library, "b") == ["book"]
    assert complete("hb", "query", "--path", "moved", library, "book", "--order", "ti") == ["title"]


@needs_bash
def test_bash_completes_commands_of_extensions(complete: Callable[..., list[str]], site: Site) -> None:
    site.extension(
        "greeting",
        "from heaven_core.plugin import Extension, ExtensionSpec\n"
        "EXTENSION = Extension(ExtensionSpec('greeting'), plugin='hb_greeting_hooks:Hooks')\n",
    )
    (site.folder / "hb_greeting_hooks.py").write_text(
        "from heaven_core.hooks import hookimpl\n"
        "class Hooks:\n    @hookimpl\n    def heaven_commands(self):\n        print('noise')\n"
        "        return {'greet': 'no_such_module:x'}\n"
    )

    assert complete("hb", "gr", PYTHONPATH=str(site.folder)) == ["greet"]
    assert complete("hb", "greet", "--", PYTHONPATH=str(site.folder)) == []


@needs_bash
def test_what_is_broken_is_silent(complete: Callable[..., list[str]], library: str, site: Site) -> None:
    site.extension("bad", "1 / 0")
    (config.home() / "workspaces" / "broken").mkdir()
    (config.home() / "workspaces" / "broken" / "main.db").write_text("no database" * 1000)
    broken = {"PYTHONPATH": str(site.folder)}

    assert complete("hb", "query", "broken", "", **broken) == []
    assert complete("hb", "query", "gone", "", **broken) == []
    assert complete("hb", "query", library, "gone", "--order", "", **broken) == []
    assert complete("hb", "query", "--backends", "-", library, "", **broken) == []
    assert complete("hb", "query", "--backends", "{", library, "", **broken) == []
    assert complete("hb", "nosuch", "", **broken) == []
    assert complete("hb", "q", **broken) == ["query"]
    assert not (config.home() / "workspaces" / "gone").exists()


@needs_bash
def test_a_tab_at_a_real_prompt_completes(hb_script: Path, library: str, tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "PATH": f"{hb_script}:{os.environ['PATH']}", "PS1": "ready> ", "TERM": "dumb"}
    process = subprocess.Popen(
        ["bash", "--norc", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path
    )
    os.close(theirs)

    def until(sign: bytes) -> bytes:
        shown = b""
        while sign not in shown:
            shown += os.read(ours, 65536)
        return shown

    until(b"ready> ")
    os.write(ours, b'eval "$(hb completion bash)"; echo d"o"ne\n')
    until(b"done\r\n")
    os.write(ours, b"hb query lib\t")
    until(b"library ")
    os.write(ours, b"bo\t")
    until(b"book ")
    os.write(ours, b"--count\n")
    answered = until(b"\n3\r\n")
    os.write(ours, b"exit\n")

    assert answered
    process.wait()
    os.close(ours)
