"""What the tests of `hb` share: a workspace to ask, ways to run the command, a place to install broken plugins."""

from __future__ import annotations

import datetime as dt
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

import heavenbase as hb
from heaven_core.discovery import INSTALLED, STORAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

# What would change how a terminal is used.
TERMINAL_VARIABLES = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}

BOOKS: list[dict[str, Any]] = [
    {
        "object_id": "b1",
        "title": "The Wild Garden",
        "year": 1870,
        "tags": ["plants", "a\tb"],
        "out": dt.date(1870, 4, 1),
        "seen": dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        "reading": dt.timedelta(hours=5),
        "cover": b"\x00\xff",
        "extra": {"pages": [1, None]},
        "place": [1.0, 0.0],
    },
    {"object_id": "b2", "title": "Sea\n\x1b[31mwind\\", "year": 1941, "place": [0.0, 1.0]},
    {"object_id": "b3", "title": "Garden of the sea: 日本", "place": [1.0, 1.0]},
]


class Book(hb.Entity):
    title = hb.field(hb.ShortText).required().store(strategy=hb.InvertedIndex)
    year = hb.field(hb.Integer).index()
    tags = hb.field(hb.Array[hb.ShortText])
    out = hb.field(hb.Date)
    seen = hb.field(hb.Timestamp)
    reading = hb.field(hb.Duration)
    cover = hb.field(hb.Artifact)
    extra = hb.field(hb.Json)
    place = hb.field(hb.Vector[2])


class Ran(NamedTuple):
    """What a process left behind."""

    code: int
    out: str
    err: str


class Site:
    """A folder that plugins are installed into, for the path of a child process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, name: str, entry_points: str, **modules: str) -> None:
        metadata = self.folder / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(entry_points)
        for module, source in modules.items():
            (self.folder / f"{module}.py").write_text(source)

    def extension(self, name: str, source: str) -> None:
        self.install(f"hb-{name}", f"[heavenbase.extension]\n{name} = hb_{name}:EXTENSION\n", **{f"hb_{name}": source})

    def storage(self, name: str, source: str, **modules: str) -> None:
        self.install(
            f"hb-{name}", f"[heavenbase.storage]\n{name} = hb_{name}:PLUGIN\n", **{f"hb_{name}": source}, **modules
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    folder.mkdir()
    return Site(folder)


@pytest.fixture
def library() -> str:
    """The id of a workspace in the usual place, with three books."""
    with hb.HeavenBase("library") as workspace:
        workspace.register(Book)
        workspace.upsert_many(Book, BOOKS)
    return "library"


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Run `hb` in this process."""
    from heavenbase.cli.app import hb as command

    def invoked(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(command, list(arguments), **options)

    return invoked


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `hb` in this process with both outputs on something that says it is a terminal; without colour."""
    from heavenbase.cli.app import hb as command

    def ran(*arguments: str, columns: int = 100) -> Ran:
        out, err = Screen(), Screen()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("NO_COLOR", "1")
            code = command.main(arguments, standalone_mode=False)
        return Ran(code, out.getvalue(), err.getvalue())

    return ran


@pytest.fixture
def a_screen() -> Screen:
    return Screen()


class Screen(io.StringIO):
    """A terminal, as far as anybody asks."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture
def installed(site: Site) -> Iterator[Site]:
    """A folder that plugins of this process are installed into."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site.folder)
        yield site
    for name in set(sys.modules) - before:
        if name.startswith("hb_"):
            del sys.modules[name]
    INSTALLED.refs(STORAGE)  # forgets those that have gone, so that the next test may reuse their names


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Run `hb` in a process of its own, its output in pipes."""

    def ran(*arguments: str, stdin: str = "", **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "heavenbase.cli", *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            input=stdin,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **environment},
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return ran


@pytest.fixture
def run_on_terminal(tmp_path: Path) -> Callable[..., Ran]:
    """Run `hb` on a terminal of its own; `out` is all that it shows."""

    def ran(*arguments: str, columns: int = 100, **environment: str) -> Ran:
        command = [sys.executable, "-m", "heavenbase.cli", *arguments]
        return _on_terminal(command, tmp_path, columns=columns, **environment)

    return ran


@pytest.fixture
def on_terminal() -> Callable[..., Ran]:
    """Run any command on a terminal of its own."""
    return _on_terminal


def _on_terminal(command: list[str], folder: Path, *, columns: int, **environment: str) -> Ran:
    """What a command shows on a terminal of this width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in TERMINAL_VARIABLES}
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**inherited, "TERM": "xterm-256color", **environment},
    )
    os.close(theirs)
    shown = b""
    while part := _read(ours):
        shown += part
    os.close(ours)
    return Ran(process.wait(), shown.decode().replace("\r\n", "\n"), "")


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""
