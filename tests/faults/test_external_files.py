"""Fields in files when things go wrong: processes that are killed, several at once, a full disk, a large file.

What children run stands as text; they are real processes with real signals.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]

MIB = 1 << 20


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    scan = hb.field(hb.Artifact).store(strategy=hb.ExternalRef)


PROLOGUE = """
import json, os, random, sys, time
import heavenbase as hb

class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    scan = hb.field(hb.Artifact).store(strategy=hb.ExternalRef)

ws = hb.HeavenBase("files", path=sys.argv[1])
ws.register(Doc)

def tell(word):
    print(json.dumps(word), flush=True)
"""


def child(code: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROLOGUE + code, str(folder), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str]) -> Any:
    """The next thing that a child says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        assert process.stderr is not None
        raise AssertionError(process.stderr.read())
    return json.loads(line)


def killed(process: subprocess.Popen[str]) -> list[Any]:
    """What a child had said and nobody has read when it was killed."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    return [json.loads(line) for line in said.splitlines() if line.endswith(("]", '"', "}"))]


def finished(process: subprocess.Popen[str]) -> list[Any]:
    said, wrong = process.communicate(timeout=110)
    assert process.returncode == 0, wrong
    return [json.loads(line) for line in said.splitlines()]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "external").glob("??/*"))


def age(folder: Path) -> None:
    """Make every file old enough for being collected."""
    for one in files(folder):
        os.utime(one, (1, 1))


def soon(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.0005)


# -- kill -9 ---------------------------------------------------------------------------------------------------------


def test_a_process_that_is_killed_between_the_file_and_the_commit_leaves_the_old_row(tmp_path: Path) -> None:
    process = child(
        """
ws.upsert(Doc, {"object_id": "a", "scan": b"old"})
with ws.transaction() as tx:
    tx.upsert(Doc, {"object_id": "a", "scan": b"new"})
    tell("put")
    time.sleep(60)
""",
        tmp_path,
    )
    assert told(process) == "put"
    assert len(files(tmp_path)) == 2

    killed(process)

    with hb.HeavenBase("files", path=tmp_path) as ws:
        assert ws.get("a", Doc.identifier)["scan"] == b"old"  # type: ignore[index]  # it is there
        assert ws.check().ok  # the file is young
        age(tmp_path)
        assert [one.kind for one in ws.check().findings] == ["orphaned-file"]
        assert ws.repair().ok
        assert [one.read_bytes() for one in files(tmp_path)] == [b"old"]


def test_a_process_that_is_killed_while_it_writes_a_file_leaves_no_half_one(tmp_path: Path) -> None:
    process = child(
        """
value = os.urandom(1 << 20) * 256
tell("ready")
ws.upsert(Doc, {"object_id": "a", "scan": value})
tell("done")
""",
        tmp_path,
    )
    assert told(process) == "ready"
    soon(lambda: any(one.suffix == ".tmp" and one.stat().st_size for one in files(tmp_path)))
    process.send_signal(signal.SIGSTOP)
    (unfinished,) = files(tmp_path)
    assert unfinished.suffix == ".tmp"

    with hb.HeavenBase("files", path=tmp_path) as ws:
        assert ws.check().ok  # it is young: whoever writes it may be alive
        age(tmp_path)
        ws.repair()
        assert unfinished.exists()  # and is, however old it seems
        assert killed(process) == []
        assert ws.count("doc") == 0
        assert [one.kind for one in ws.repair().repaired] == ["orphaned-file"]
        assert ws.check().ok
    assert files(tmp_path) == []


WRITER = """
dice = random.Random(sys.argv[2])
ws.upsert(Doc, {"object_id": "first", "scan": b"first"})
tell("first")
while True:
    one = str(dice.randrange(6))
    value = bytes([dice.randrange(4)]) * dice.choice((1, 10, 100_000, 2_000_000))
    if dice.random() < 0.3:
        with ws.transaction() as tx:
            tx.set("first", {"scan": value})
            tx.delete(one)
    else:
        ws.upsert(Doc, {"object_id": one, "scan": value, "title": f"{value[0]} {len(value)}"})
    tell([one, value[0], len(value)])
"""


def test_processes_that_are_killed_at_any_moment_leave_whole_rows(tmp_path: Path) -> None:
    dice = random.Random(7)
    for number in range(8):
        process = child(WRITER, tmp_path, str(number))
        assert told(process) == "first"
        time.sleep(dice.uniform(0, 0.5))
        killed(process)

        with hb.HeavenBase("files", path=tmp_path) as ws:
            assert {one.kind for one in ws.check().findings} <= {"orphaned-file"}
            for row in ws.query("doc").execute():
                if row["title"] is not None:
                    assert row["title"] == f"{row['scan'][0]} {len(row['scan'])}"
            if number % 2:
                age(tmp_path)
                assert ws.repair().ok
                scans = {row["scan"] for row in ws.query("doc").execute()}
                assert {one.read_bytes() for one in files(tmp_path)} == scans
                assert len(files(tmp_path)) == len(scans)


def test_a_workspace_in_memory_that_is_killed_leaves_a_folder_that_the_next_one_collects(tmp_path: Path) -> None:
    where: dict[str, Any] = {"preset": "debug", "path": tmp_path}
    code = 'ws.close(); ws = hb.HeavenBase("other", preset="debug", path=sys.argv[1] + "/memory"); ws.register(Doc)\n'
    process = child(code + 'ws.upsert(Doc, {"scan": b"1"}); tell("put"); time.sleep(60)', tmp_path)
    assert told(process) == "put"
    where["path"] = tmp_path / "memory"
    (alive,) = where["path"].iterdir()

    with hb.HeavenBase("mine", **where) as ws:
        ws.register(Doc)
        ws.upsert(Doc, {"object_id": "a", "scan": b"2"})
        assert ws.repair().ok
        assert alive.exists()  # its process lives
        killed(process)
        (finding,) = ws.check().findings
        assert (finding.kind, finding.detail) == ("orphaned-folder", "1 of processes that were killed")
        assert ws.repair().repaired == (finding,)
        assert not alive.exists()
        assert ws.get("a", Doc)["scan"] == b"2"  # type: ignore[index]  # it is there


# -- several processes -----------------------------------------------------------------------------------------------

TOGETHER = """
from heaven_core import external
external.GRACE_S = 0.0
ends = time.monotonic() + 5
count = 0
dice = random.Random(sys.argv[2])
while time.monotonic() < ends:
    if sys.argv[3] == "collect":
        ws.repair()
    else:
        one = str(dice.randrange(5))
        ws.upsert(Doc, {"object_id": one, "scan": bytes([dice.randrange(3)]) * 1000})
        for row in ws.query(Doc).execute():
            assert len(set(row["scan"])) == 1 and len(row["scan"]) == 1000
        if dice.random() < 0.5:
            ws.delete(one)
    count += 1
tell(count)
"""


def test_processes_that_write_the_same_bytes_beside_a_collector_lose_none(tmp_path: Path) -> None:
    with hb.HeavenBase("files", path=tmp_path) as ws:
        ws.register(Doc)
    roles = ("write", "write", "collect")

    counts = [
        finished(one)[-1] for one in [child(TOGETHER, tmp_path, str(number), role) for number, role in enumerate(roles)]
    ]

    assert min(counts) > 2
    with hb.HeavenBase("files", path=tmp_path) as ws:
        assert ws.check().ok
        age(tmp_path)
        assert ws.repair().ok
        assert {one.read_bytes() for one in files(tmp_path)} == {row["scan"] for row in ws.query("doc").execute()}


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_a_file_that_may_not_grow_refuses_the_write_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = child(
        """
import resource
from heaven_core.errors import StorageFull
ws.upsert(Doc, {"object_id": "a", "scan": b"small"})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
try:
    ws.upsert_many(Doc, [{"object_id": "b", "scan": b"1"}, {"object_id": "a", "scan": bytes(4 << 20)}])
except StorageFull as error:
    tell(str(error))
tell([ws.get("a")["scan"].decode(), ws.get("b")])
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
ws.upsert(Doc, {"object_id": "a", "scan": bytes(4 << 20)})
tell(len(ws.get("a")["scan"]))
""",
        tmp_path,
    )

    assert finished(process) == [
        "doc.scan: no space is left for the workspace's files; nothing was written",
        ["small", None],
        4 * MIB,
    ]
    assert sorted(one.stat().st_size for one in files(tmp_path)) == [1, 5, 4 * MIB]


def test_a_large_file_takes_the_memory_of_one_copy(tmp_path: Path) -> None:
    process = child(
        """
import gc, resource
def peak():
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024) >> 20
ws.upsert(Doc, {"object_id": "small", "scan": b"1"})
ws.query(Doc).execute().rows()
value = os.urandom(1 << 20) * 200
before = peak()
ws.upsert(Doc, {"object_id": "a", "scan": value})
ws.upsert(Doc, {"object_id": "b", "scan": value})
ws.set("a", {"title": "t"})
ws.delete("b")
written = peak() - before
same = ws.get("a")["scan"] == value
read = peak() - before
del value
same = same and len(ws.query(Doc).select("scan").order_by("object_id").execute().column("scan")[0]) == 200 << 20
asked = peak() - before
ok = ws.check().ok
tell([written, same, read, asked, ok, peak() - before])
""",
        tmp_path,
    )

    written, same, read, asked, ok, checked = finished(process)[-1]

    assert same
    assert ok
    assert written < 40  # MiB beside the value itself
    assert read < 240
    assert asked < 240
    assert checked < 240
