"""A process that writes is killed at any moment: the workspace has what was committed, or one write more, never a part.

The writer says after each write that it has returned; so what is there afterwards is known exactly: the state after
the last write that it told of, or the next one. The states are worked out here without a workspace. A few kills
every day, hundreds with `-m soak`.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

State = dict[str, dict[str, Any]]
Operations = list[tuple[str, Any]]

STEPS = '''
import random

def row(step, one):
    return {
        "object_id": f"d{one}", "name": f"name{step}", "n": step, "code": f"c{step}-{one}",
        "tags": [f"step{step}", f"one{one}"], "body": f"word{step} in all", "vec": [float(step), float(one)],
    }

def operations(state, step):
    """The writes of a step, which are one write together."""
    dice = random.Random(step)
    some = dice.sample(range(60), 40)
    held = sorted(state)
    if step % 5 == 0:
        return [("upsert", [row(step, one) for one in some])]
    if step % 5 == 1:
        sets = [("set", (one, {"n": step, "body": f"word{step} in all", "tags": [f"step{step}"]})) for one in held[:9]]
        return [*sets, ("upsert", [row(step, one) for one in some[:5] if f"d{one}" not in held[:9]])]
    if step % 5 == 2:
        return [("delete", dice.sample(held, len(held) // 3))]
    if step % 5 == 3:
        return [("upsert", [dict(state[one]) for one in held[:20]] + [row(step, 60 + step)])]
    return [("delete", held[:5]), ("upsert", [row(step, one) for one in range(60)])]

def after(state, step):
    """The rows after a step."""
    now = dict(state)
    for kind, what in operations(state, step):
        if kind == "upsert":
            now.update({one["object_id"]: one for one in what})
        elif kind == "set":
            now[what[0]] = {**now[what[0]], **what[1]}
        else:
            for one in what:
                del now[one]
    return now
'''

WRITER = """
import sys
import heavenbase as hb

class Doc(hb.Entity):
    n = hb.field(hb.Integer).index()
    code = hb.field(hb.ShortText).unique()
    tags = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    vec = hb.field(hb.Vector[2])

def run(at, kind, what):
    if kind == "upsert":
        at.upsert_many(Doc, what)
    elif kind == "set":
        at.set(what[0], what[1], Doc)
    else:
        at.delete_many(what, Doc)

place, step = sys.argv[1], int(sys.argv[2])
state = {}
for one in range(step):
    state = after(state, one)
with hb.HeavenBase("killed", path=place) as ws:
    ws.register(Doc)
    print(step, flush=True)
    while True:
        writes = operations(state, step)
        if len(writes) == 1:
            run(ws, *writes[0])
        else:
            with ws.transaction() as tx:
                for one in writes:
                    run(tx, *one)
        state = after(state, step)
        step += 1
        print(step, flush=True)
"""

made: dict[str, Any] = {}
exec(STEPS, made)  # what the writer runs as well


def killed_after(place: Path, step: int, seconds: float) -> int:
    """Let a writer go on from a step and kill it; the last step that it said was done."""
    command = [sys.executable, "-c", STEPS + WRITER, str(place), str(step)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"{step}\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()  # `communicate` would leave out what is buffered here
    process.communicate(timeout=60)
    assert err == ""
    done = [int(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]
    return done[-1] if done else step


def rows_of(ws: hb.HeavenBase) -> State:
    rows = ws.query("doc").execute().rows()
    return {row["object_id"]: row for row in rows}


def check_whole(ws: hb.HeavenBase, state: State) -> None:
    """Indexes, side tables and versions say what the rows say."""
    for step in {row["n"] for row in state.values()}:
        theirs = sorted(one for one, row in state.items() if row["n"] == step)
        told = sorted(one for one, row in state.items() if f"step{step}" in row["tags"])
        assert sorted(ws.query("doc").where({"n": step}).execute().ids) == theirs
        assert sorted(ws.query("doc").where({"body": {"$match": f"word{step}"}}).execute().ids) == theirs
        assert sorted(ws.query("doc").where({"tags": {"$array_contains": f"step{step}"}}).execute().ids) == told
    for one, row in list(state.items())[:5]:
        near = ws.query("doc").near("vec", row["vec"], top_k=len(state), metric="l2").execute()
        assert (len(near), (near.scores or [])[0]) == (len(state), 0.0)
        assert ws.query("doc").where({"code": row["code"]}).execute().ids == [one]
    assert None not in ws.versions("doc", list(state))
    report = ws.check()
    assert report.ok, report.findings


def kill_again_and_again(place: Path, rounds: int) -> None:
    dice, step = random.Random(rounds), 0
    states: list[State] = [{}]
    newest, moved = 0, 0
    for _ in range(rounds):
        told = killed_after(place, step, dice.choice([0, dice.uniform(0, 0.01), dice.uniform(0, 0.1)]))
        while len(states) <= told + 1:
            states.append(made["after"](states[-1], len(states) - 1))
        with hb.HeavenBase("killed", path=place) as ws:
            found = rows_of(ws)
            assert found in (states[told], states[told + 1]), f"neither the state of step {told} nor the next"
            check_whole(ws, found)
            version = max([newest, *(one or 0 for one in ws.versions("doc", list(found)))])
            assert version >= newest
            newest = version
        step = told if found == states[told] else told + 1
        moved += step > 0
    assert moved > rounds / 2, "the writer was killed before it wrote anything"


def test_a_killed_writer_leaves_a_whole_state(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "ws", 12)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_writer_killed_very_often_leaves_a_whole_state(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path / "ws", 300)
