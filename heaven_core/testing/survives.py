"""What an engine that declares `durable` keeps when its process is killed in the midst of writing.

For others this is skipped. Not here: what is there after an orderly close (`heaven_core.testing.stores`).
"""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from heaven_core.backend import Layout
from heaven_core.testing.bench import Bench, Row
from heaven_core.testing.subject import Subject
from heaven_core.testing.values import INTEGER

ACKNOWLEDGED = 5
"""Writes after which the process is killed, at some moment of the next one or two; it goes on writing until then."""
ROWS = 2000
"""Enough that a write takes a while."""

CHILD = "from heaven_core.testing.survives import write_until_killed; write_until_killed()"


def _layout(bench: Bench) -> Layout:
    return bench.layout(bench.column("n", INTEGER))


def _rows(n: int) -> list[Row]:
    return [{"object_id": f"{place:04}", "n": n} for place in range(ROWS)]


def write_until_killed() -> None:
    """Write again and again, and say each time that it was written; run in a process of its own."""
    file, name, options, folder = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the test that started us
    spec = spec_from_file_location("kit_subject", file)  # where a plugin may be registered in code
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    bench = Bench(getattr(module, name).plugin(), options, folder)
    layout = bench.made(*[one for one in _layout(bench).columns if one.name == "n"])
    n = 0
    while True:
        n += 1
        bench.write(layout, _rows(n))
        sys.stdout.write(f"{n}\n")
        sys.stdout.flush()


class Survives(Subject):
    """The engine in a process that is killed."""

    def test_what_was_acknowledged_survives_a_killed_process(self, bench: Bench, tmp_path: Path) -> None:
        if "durable" not in bench.opened.capabilities:
            pytest.skip(f"{self.backend} does not declare 'durable'")
        options, folder = bench.place
        bench.opened.close()

        acknowledged = self._written_and_killed((options, folder), tmp_path / "stderr")

        bench.open()
        layout = _layout(bench)
        seen = {row["n"] for row in bench.rows(layout)}
        assert len(bench.rows(layout)) == ROWS
        assert len(seen) == 1
        assert seen.pop() >= acknowledged
        assert bench.engine.recover([layout], repair=False) == []

    def _written_and_killed(self, place: tuple[Any, ...], errors: Path) -> int:
        """The last write that another process acknowledged before it was killed."""
        own = type(self)
        subject = pickle.dumps((sys.modules[own.__module__].__file__, own.__name__, *place))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(  # noqa: S603  # this interpreter, and code of our own
                [sys.executable, "-c", CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            ) as child,
        ):
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(subject)
            child.stdin.close()
            said: list[bytes] = []
            began = time.monotonic()
            for _ in range(ACKNOWLEDGED):
                began = time.monotonic()
                said.append(child.stdout.readline())
            time.sleep(2 * random.random() * (time.monotonic() - began))
            child.kill()
            said += child.stdout.read().splitlines(keepends=True)
        whole = [int(line) for line in said if line.endswith(b"\n")]
        assert whole, errors.read_text(encoding="utf-8", errors="replace")
        return whole[-1]
