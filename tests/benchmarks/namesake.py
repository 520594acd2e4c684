"""The package named `heavenbase` on PyPI, which can't share an environment with this one: as a child process.

    python -m venv /tmp/other && /tmp/other/bin/pip install heavenbase==0.1.2.2
    python -m tests.benchmarks --only door --namesake /tmp/other/bin/python

Both sides run the same script in a process of their own, each with its own interpreter, an empty
home and the same thousand rows in a SQLite file in memory or, for us, on disk with every commit
made durable. The figures are CPU seconds of theirs to ours: larger is better for us.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from statistics import median
from typing import Any

from tests.benchmarks.measure import Figure

COUNT, GETS, QUESTIONS = 1000, 100, 10
RUNS = 3

SCRIPT = """
import json, sys, time

asked = json.load(sys.stdin)
began = time.process_time()
import heavenbase as hb


class Task(hb.Entity):
    identifier = "task"
    title = hb.field(hb.ShortText)
    body = hb.field(hb.MediumText)
    state = hb.field(hb.ShortText)
    bucket = hb.field(hb.Integer)
    score = hb.field(hb.Float)


ws = hb.HeavenBase("bench", **asked["options"])
ws.register(Task)
spent = {"open": time.process_time() - began}
began = time.process_time()
ws.upsert_many(Task, asked["rows"])
spent["insert"] = time.process_time() - began
began = time.process_time()
for row in asked["rows"][: asked["gets"]]:
    assert ws.get(row["object_id"], Task) is not None
spent["get"] = time.process_time() - began
began = time.process_time()
for bucket in range(asked["questions"]):
    assert len(list(ws.query(Task).where(Task.bucket == bucket).execute().rows())) == 100
spent["query"] = time.process_time() - began
print(json.dumps(spent))
"""

THEIRS = {"backends": {"main": {"type": "sqlite", "database": ":memory:"}}, "detached": True}
OURS: dict[str, Any] = {"path": "bench"}

TITLES = {
    "open": "import, open and register one entity",
    "insert": f"insert {COUNT} rows",
    "get": "get by id",
    "query": "100 rows by equality, as dicts",
}


def figures(interpreter: str) -> Iterator[Figure]:
    """What the same script costs there, to what it costs here."""
    rows = make_rows()
    ours = [_run(sys.executable, rows, OURS) for _ in range(RUNS)]
    theirs = [_run(interpreter, rows, THEIRS) for _ in range(RUNS)]
    for step, title in TITLES.items():
        low, high = median(one[step] for one in ours), median(one[step] for one in theirs)
        ratios = sorted(one[step] / low for one in theirs)
        per = {"get": GETS, "query": QUESTIONS}.get(step, 1)
        yield Figure(
            "heavenbase 0.1.2.2",
            title,
            COUNT,
            "heaven-core",
            high / low,
            high / low,
            (ratios[0], ratios[-1]),
            RUNS,
            high / per * 1e6,
            low / per * 1e6,
        )


def make_rows() -> list[dict[str, Any]]:
    """A thousand rows of five plain fields, with the ids and names that both sides ask for."""
    chance = random.Random(7)
    return [
        {
            "object_id": f"t{one:05d}",
            "name": f"n{one}",
            "title": f"task {one}",
            "body": "word " * 12,
            "state": "open",
            "bucket": one % 10,
            "score": chance.random(),
        }
        for one in range(COUNT)
    ]


def _run(interpreter: str, rows: list[dict[str, Any]], options: dict[str, Any]) -> dict[str, float]:
    asked = {"rows": rows, "options": options, "gets": GETS, "questions": QUESTIONS}
    with tempfile.TemporaryDirectory() as home:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEAVENBASE_", "PYTHON"))}
        done = subprocess.run(
            [interpreter, "-W", "ignore", "-c", SCRIPT],
            input=json.dumps(asked),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env={**kept, "HOME": home, "HEAVENBASE_HOME": home},
            check=True,
        )
    return json.loads(done.stdout.splitlines()[-1])
