"""Two processes on one workspace: each sees what the other has written and registered, whatever it had kept.

The other process does what it is told line by line, so that each test says in which order things happen.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import SchemaConflict, StorageError, UniqueViolation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

OTHER = """
import json, sys
import heavenbase as hb

class Doc(hb.Entity):
    n = hb.field(hb.Integer)
    tags = hb.field(hb.Array[hb.ShortText])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)

class Wider(hb.Entity):
    identifier = "doc"
    n = hb.field(hb.Integer)
    tags = hb.field(hb.Array[hb.ShortText])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    title = hb.field(hb.ShortText).unique()
    more = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    items = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)

class Late(hb.Entity):
    n = hb.field(hb.Integer)

ws = hb.HeavenBase("two", path=sys.argv[1])
for line in sys.stdin:
    try:
        answer = eval(line)
    except hb.HeavenError as error:
        answer = [type(error).__name__, str(error)]
    print(json.dumps(answer), flush=True)
"""


class Doc(hb.Entity):
    n = hb.field(hb.Integer)
    tags = hb.field(hb.Array[hb.ShortText])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)


class Wider(hb.Entity):  # `Doc` in the next release of a program
    identifier = "doc"
    n = hb.field(hb.Integer)
    tags = hb.field(hb.Array[hb.ShortText])
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    title = hb.field(hb.ShortText).unique()
    more = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    items = hb.field(hb.Array[hb.Integer]).store(strategy=hb.SideTable)


class Other:
    """The other process."""

    def __init__(self, place: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def says(self, line: str) -> Any:
        """The value of an expression there; for an error, its class and message."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line.replace("\n", " ") + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.communicate(timeout=30)
        assert self.process.returncode == 0


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("two", path=tmp_path / "ws") as opened:
        opened.register(Doc)
        opened.upsert_many(Doc, [{"object_id": f"d{one}", "n": one, "tags": ["a"], "body": "ice"} for one in range(4)])
        yield opened


@pytest.fixture
def other(ws: hb.HeavenBase, tmp_path: Path) -> Iterator[Other]:
    process = Other(tmp_path / "ws")
    yield process
    process.end()


# Rows and versions


def test_a_write_is_seen_by_queries_that_were_planned_before_it(ws: hb.HeavenBase, other: Other) -> None:
    queries = [
        "ws.query('doc').where({'n': {'$gte': 2}}).count()",
        "ws.query('doc').where({'body': {'$match': 'ice'}}).count()",
        "ws.query('doc').where({'tags': {'$array_contains': 'a'}}).count()",
        "len(ws.query('doc').search('ice').execute())",
        "ws.query('doc').group_by('n').aggregate(rows='count').execute().rows()[-1]['rows']",
        "(ws.get('d3') or {}).get('n')",
    ]
    before = [other.says(query) for query in queries]

    ws.upsert(Doc, {"object_id": "d4", "n": 3, "tags": ["a"], "body": "ice"})
    ws.delete("d2")
    ws.set("d3", {"n": 4})

    assert before == [2, 4, 4, 4, 1, 3]
    assert [other.says(query) for query in queries] == [2, 4, 4, 4, 1, 4]
    assert other.says("[row['n'] for row in ws.query('doc').order_by('n').execute().rows()]") == [0, 1, 3, 4]


def test_versions_are_the_same_in_both_and_grow_over_both(ws: hb.HeavenBase, other: Other) -> None:
    seen: list[int] = []
    for turn in range(12):
        if turn % 2:
            ws.upsert(Doc, {"object_id": "shared", "n": turn})
        else:
            other.says(f"ws.upsert(Doc, {{'object_id': 'shared', 'n': {turn}}})")
        mine, theirs = ws.version("shared"), other.says("ws.version('shared')")
        assert mine == theirs
        assert mine is not None
        seen.append(mine)

    assert seen == sorted(set(seen))


def test_a_row_that_stays_equal_keeps_its_version_whoever_writes_it(ws: hb.HeavenBase, other: Other) -> None:
    before = ws.versions(Doc, ["d0", "d1", "d2"])

    other.says("ws.upsert_many(Doc, [{'object_id': f'd{n}', 'n': n, 'tags': ['a'], 'body': 'ice'} for n in range(2)])")
    other.says("ws.set('d2', {'n': 2})")
    ws.set("d2", {"n": 2})

    assert ws.versions(Doc, ["d0", "d1", "d2"]) == before
    other.says("ws.set('d1', {'n': 9})")
    after = ws.versions(Doc, ["d0", "d1", "d2"])
    assert [one == two for one, two in zip(before, after, strict=True)] == [True, False, True]


def test_a_transaction_reads_one_moment_while_the_other_process_writes(ws: hb.HeavenBase, other: Other) -> None:
    with ws.transaction(exclusive=True) as tx:
        tx.set("d0", {"n": 100})
        assert other.says("(ws.get('d0') or {})['n']") == 0
        assert tx.count(Doc) == 4

    assert other.says("(ws.get('d0') or {})['n']") == 100


# Schema


def test_what_one_registers_the_other_can_use_at_once(ws: hb.HeavenBase, other: Other) -> None:
    assert other.says("ws.count('late')")[0] == "UnknownEntity"

    ws.register(hb.Entity.from_schema({"id": "late", "fields": [{"name": "n", "type": "integer"}]}))
    ws.upsert("late", {"object_id": "x", "n": 1})

    assert other.says("ws.count('late')") == 1
    assert other.says("ws.get('x')") == {"object_id": "x", "name": None, "n": 1}
    assert other.says("ws.upsert(Late, {'object_id': 'y', 'n': 2})") == "y"
    assert other.says("ws.register(Late).empty")
    assert ws.ids("late") == ["x", "y"]
    assert sorted(row["target_id"] for row in ws.query("sys-catalog").execute().rows()) == [
        *(f"d{one}" for one in range(4)),
        "x",
        "y",
    ]


def test_additions_of_one_reach_the_queries_and_writes_of_the_other(ws: hb.HeavenBase, other: Other) -> None:
    mine = ws.query(Doc).where({"body": {"$match": "ice"}})
    assert mine.count() == 4

    other.says("ws.register(Wider).to_dict()")
    other.says("ws.upsert(Wider, {'object_id': 'w', 'title': 'T', 'body': 'ice', 'more': 'snow', 'items': [7]})")

    assert mine.count() == 5
    assert (ws.get("w", "doc") or {})["title"] == "T"
    assert ws.query("doc").where({"items": {"$array_contains": 7}}).execute().ids == ["w"]
    assert ws.query("doc").where({"more": {"$match": "snow"}}).execute().ids == ["w"]
    ws.set("d0", {"body": "water"}, Doc)
    assert mine.count() == 4
    ws.set("d1", {"more": "snow too", "items": [7, 8]}, "doc")
    assert other.says("sorted(ws.query(Wider).search('snow', 'more').execute().ids)") == ["d1", "w"]
    with pytest.raises(SchemaConflict, match="older than the registered entity"):
        ws.upsert(Doc, {"n": 1})
    with pytest.raises(UniqueViolation, match=r"doc\.title"):
        ws.upsert("doc", {"title": "T"})
    assert ws.register(Wider).empty
    assert ws.upsert(Wider, {"object_id": "new", "title": "U", "more": "snow"}) == "new"
    assert ws.check().ok
    assert other.says("ws.check().ok")


def test_one_registers_while_the_other_writes_without_a_pause(ws: hb.HeavenBase, other: Other) -> None:
    stop, written, failures = threading.Event(), [0], list[BaseException]()

    def write() -> None:
        try:
            while not stop.is_set():
                ws.upsert("doc", {"object_id": f"t{written[0]}", "n": -1, "tags": ["t"], "body": "rain"})
                written[0] += 1
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    made: list[str] = []
    for one in range(20):
        other.says(f"ws.register(hb.Entity.from_schema({{'id': 'kind{one}', 'fields': []}})).to_dict()")
        made.append(other.says(f"ws.upsert('kind{one}', {{}})"))
    other.says("ws.register(Wider).to_dict()")
    found = other.says("ws.query(Wider).where({'body': {'$match': 'rain'}, 'title': None}).count()")
    stop.set()
    writer.join(30)

    assert failures == []
    assert written[0] >= found > 0
    assert ws.query("doc").where({"body": {"$match": "rain"}}).count() == written[0]
    assert [ws.ids(f"kind{one}") for one in range(20)] == [[one] for one in made]
    assert other.says("ws.check().ok")
    assert ws.check().ok


def test_both_register_the_same_at_the_same_time(ws: hb.HeavenBase, other: Other) -> None:
    for one in range(10):
        schema = {"id": f"same{one}", "fields": [{"name": "n", "type": "integer", "index": True}]}
        mine = threading.Thread(target=ws.register, args=(hb.Entity.from_schema(schema),))
        mine.start()
        theirs = other.says(f"ws.register(hb.Entity.from_schema(json.loads('''{json.dumps(schema)}'''))).to_dict()")
        mine.join(30)

        assert not isinstance(theirs, list), theirs
        ws.upsert(f"same{one}", {"object_id": "a", "n": 1})
        assert other.says(f"ws.query('same{one}').where({{'n': 1}}).execute().ids") == ["a"]

    assert ws.check().ok


def test_an_entity_that_differs_is_a_conflict_for_the_second(ws: hb.HeavenBase, other: Other) -> None:
    ws.register(hb.Entity.from_schema({"id": "late", "fields": [{"name": "n", "type": "short-text"}]}))

    kind, message = other.says("ws.register(Late).to_dict()")

    assert kind == "SchemaConflict"
    assert "late" in message


# The end


def test_a_workspace_that_one_drops_gives_the_other_typed_errors(
    ws: hb.HeavenBase, other: Other, tmp_path: Path
) -> None:
    assert other.says("ws.drop()") is None
    there = sorted(tmp_path.rglob("*"))

    for write in (lambda: ws.upsert(Doc, {"n": 1}), lambda: ws.set("d0", {"n": 1}, Doc), lambda: ws.delete("d0", Doc)):
        with pytest.raises(StorageError, match="moved, deleted or replaced"):
            write()
    assert not ws.health().ok
    assert sorted(tmp_path.rglob("*")) == there, "a dropped workspace was made again"

    ws.close()
    with hb.HeavenBase("two", path=tmp_path / "ws") as again:
        again.register(Doc)
        assert again.count(Doc) == 0
