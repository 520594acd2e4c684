"""What HeavenBase costs before it does anything: CPU time and modules of fresh interpreters, at three points.

`import`: a bare `import heavenbase`. `class`: an entity with ten fields besides. `workspace`:
a workspace of the preset `local` besides, created with twenty entities of five fields in one
`register`, closed, opened again and given the same classes.

The measure is the CPU time of the child process (user and system) over that of an
interpreter that does nothing. Byte code is warm, as after the first start of a program.

Not here: the gates (`tests/core/test_light_door.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

EMPTY = "pass"

IMPORT = "import heavenbase as hb"

CLASS = f"""
{IMPORT}
class Ten(hb.Entity):
    one = hb.field(hb.ShortText).required()
    two = hb.field(hb.Integer).index()
    three = hb.field(hb.Float).default(1.5)
    four = hb.field(hb.Boolean)
    five = hb.field(hb.Timestamp)
    six = hb.field(hb.Date)
    seven = hb.field(hb.LongText)
    eight = hb.field(hb.Array(hb.ShortText))
    nine = hb.field(hb.Json)
    ten = hb.field(hb.Vector(8))
"""

WORKSPACE = f"""
{CLASS}
def entity(number):
    return type(f"Thing{{number}}", (hb.Entity,), {{
        "title": hb.field(hb.ShortText).required(),
        "body": hb.field(hb.LongText),
        "rank": hb.field(hb.Integer).index(),
        "score": hb.field(hb.Float),
        "meta": hb.field(hb.Json),
    }})

entities = [entity(number) for number in range(20)]

def opened(path):
    with hb.HeavenBase("door", path=path) as ws:
        ws.register(*entities)

opened("data/first")
opened("data/first")
"""

REPORT = """
import sys
report = {"modules": sorted(sys.modules)}
"""

WALL = """
import os, time
def wall(path):
    began = time.perf_counter()
    opened(path)
    return time.perf_counter() - began
def synced():
    with open("data/probe", "wb") as file:
        file.write(b"x" * 4096)
        began = time.perf_counter()
        os.fsync(file.fileno())
        return time.perf_counter() - began
report = {"create": wall("data/second"), "reopen": wall("data/second"), "fsync": min(synced() for _ in range(5))}
"""

SEND = """
import json
print(json.dumps(report))
"""

POINTS = {"import": IMPORT, "class": CLASS, "workspace": WORKSPACE}
BUDGET = {"import": 45.0, "class": 15.0, "workspace": 15.0}
"""CPU milliseconds that each point may add to the one before it; the first, to an empty interpreter."""
WALL_BUDGET = 20.0
"""Milliseconds on the wall for creating and reopening, every commit on the disk."""


class Cost(NamedTuple):
    """CPU milliseconds of fresh processes."""

    least: float
    middle: float


class Child:
    """A folder in which interpreters are started, each with an empty data folder and warm byte code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = ("COVERAGE_", "COV_CORE_", "HEAVENBASE_", "PYTHON", "PYTEST_")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(kept)}
        self.environment["PYTHONPYCACHEPREFIX"] = str(folder / "byte-code")
        self.environment["HEAVENBASE_HOME"] = str(folder / "home")

    def run(self, code: str) -> tuple[float, Any]:
        """CPU milliseconds of one process, and what it printed as JSON (None for nothing)."""
        with tempfile.TemporaryDirectory(dir=self.folder) as room:
            (Path(room) / "data").mkdir()  # so that opening changes nothing in the current folder, which is searched
            process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=room, env=self.environment, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            printed = process.stdout.read()
            process.stdout.close()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"the interpreter ended with {process.returncode}")
        return (used.ru_utime + used.ru_stime) * 1e3, json.loads(printed) if printed else None

    def warm(self) -> None:
        """Write the byte code of everything that is measured."""
        self.run(WORKSPACE + REPORT + SEND)

    def modules(self, point: str) -> set[str]:
        """What an interpreter has imported at this point beyond an empty one."""
        _, before = self.run(REPORT + SEND)
        _, after = self.run(POINTS[point] + REPORT + SEND)
        return set(after["modules"]) - set(before["modules"])


def costs(child: Child, runs: int) -> dict[str, Cost]:
    """The CPU time of an empty interpreter ("empty") and of each point over it; the runs take turns."""
    child.warm()
    samples: dict[str, list[float]] = {"empty": [], **{point: [] for point in POINTS}}
    for _ in range(runs):
        for point, taken in samples.items():
            taken.append(child.run(POINTS.get(point, EMPTY))[0])
    empty = Cost(min(samples["empty"]), median(samples["empty"]))
    found = {"empty": empty}
    for point in POINTS:
        taken = samples[point]
        found[point] = Cost(min(taken) - empty.least, median(taken) - empty.middle)
    return found


def walls(child: Child, runs: int) -> dict[str, Cost]:
    """Milliseconds on the wall once all modules are loaded: to create, to reopen, and of one fsync for comparison."""
    child.warm()
    found = [child.run(WORKSPACE + WALL + SEND)[1] for _ in range(runs)]
    for one in found:
        one["both"] = one["create"] + one["reopen"]
    return {
        name: Cost(min(one[name] for one in found) * 1e3, median(one[name] for one in found) * 1e3)
        for name in ("create", "reopen", "both", "fsync")
    }


def budget(point: str) -> float:
    """What all points up to this one may cost together, in CPU milliseconds over an empty interpreter."""
    names = list(POINTS)
    return sum(BUDGET[name] for name in names[: names.index(point) + 1])


TITLES = {
    "import": "import heavenbase",
    "class": "and a class with ten fields",
    "workspace": "and a workspace with 20 entities, made and reopened",
}


def records(child: Child, runs: int) -> Iterator[dict[str, Any]]:
    """Everything as plain data: each point from the empty interpreter on, each by itself, and the wall."""
    found = costs(child, runs)
    before = Cost(0.0, 0.0)
    for point, title in TITLES.items():
        cost = found[point]
        yield _record(f"{title}: together", cost, budget(point))
        if point != "import":
            yield _record(
                f"{title}: by itself", Cost(cost.least - before.least, cost.middle - before.middle), BUDGET[point]
            )
        before = cost
    wall = walls(child, max(5, runs // 2))
    yield _record("wall ms, workspace made and reopened, modules loaded", wall["both"], WALL_BUDGET)
    for name in ("create", "reopen", "fsync"):
        yield _record(f"wall ms, {name} alone", wall[name], None)


def _record(action: str, cost: Cost, target: float | None) -> dict[str, Any]:
    met = None if target is None else cost.least <= target
    return {"action": action, "least": cost.least, "median": cost.middle, "target": target, "met": met}
