"""A workspace of a thousand entities: what it costs to open and to extend does not grow with what is not touched.

Costs are counts, of statements that reach the file, or ratios of times measured side by side; the figures are in
`docs/benchmarks.md`. SQLite's own cost of a new full-text index does grow with the tables of a file.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import AmbiguousId, UnknownEntity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from heaven_core.derive import Hints, View

pytestmark = pytest.mark.integration

MANY, SOME, FEW = 1000, 300, 20


def kind(number: int, **more: Any) -> type[hb.Entity]:
    fields: list[dict[str, Any]] = [
        {"name": "n", "type": "integer", "index": True},
        {"name": "title", "type": "short-text"},
        {"name": "tags", "type": {"type": "array", "item": "short-text"}},
    ]
    return hb.Entity.from_schema({"id": f"kind{number}", "fields": [*fields, *more.get("fields", ())]})


def filled(folder: Path, count: int) -> Path:
    """A workspace with that many entities, one row in each; `object_id` r0 is in the first, and so on."""
    made = [kind(number) for number in range(count)]
    with hb.HeavenBase("many", path=folder) as ws:
        ws.register(*made)
        with ws.transaction() as tx:
            for number, one in enumerate(made):
                tx.upsert(one, {"object_id": f"r{number}", "name": f"name{number % 7}", "n": number})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    root = tmp_path_factory.mktemp("many")
    return {count: filled(root / str(count), count) for count in (FEW, SOME, MANY)}


@pytest.fixture
def ws(folders: dict[int, Path]) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("many", path=folders[MANY]) as opened:
        yield opened


def statements(ws: hb.HeavenBase, use: Callable[[], Any]) -> int:
    """How many statements SQLite runs for a use, those that it makes itself included."""
    seen: list[str] = []
    pool: Any = ws.core().primary._pool
    for connection in pool._all:
        connection.raw.set_trace_callback(seen.append)
    try:
        use()
    finally:
        for connection in pool._all:
            connection.raw.set_trace_callback(None)
    return len(seen)


def warmed(ws: hb.HeavenBase) -> None:
    """Let the workspace open the connections that it will use."""
    ws.register(hb.Entity.from_schema({"id": f"warm{time.monotonic_ns()}", "fields": []}))
    ws.get("r1")


def extending(ws: hb.HeavenBase) -> list[int]:
    """Statements of one more entity, of a field more for one, of a row, and of reading it."""
    warmed(ws)
    wider = kind(3, fields=[{"name": f"m{time.monotonic_ns()}", "type": "integer"}])
    late = hb.Entity.from_schema({"id": f"late{time.monotonic_ns()}", "fields": [{"name": "n", "type": "integer"}]})
    return [
        statements(ws, lambda: ws.register(late)),
        statements(ws, lambda: ws.register(wider)),
        statements(ws, lambda: ws.upsert(late, {"object_id": "new", "n": 1})),
        statements(ws, lambda: ws.get("new", late)),
        statements(ws, lambda: ws.query(late).where({"n": 1}).execute().rows()),
        statements(ws, lambda: ws.delete("new", late)),
    ]


def test_one_more_entity_takes_as_many_statements_beside_a_thousand_as_beside_twenty(tmp_path: Path) -> None:
    counts: dict[int, list[int]] = {}
    for count in (FEW, SOME):
        with hb.HeavenBase("many", path=filled(tmp_path / str(count), count)) as ws:
            counts[count] = extending(ws)

    assert counts[SOME] == counts[FEW]
    assert all(counts[FEW])


def test_an_id_without_its_entity_is_looked_for_in_few_statements(ws: hb.HeavenBase) -> None:
    warmed(ws)

    assert statements(ws, lambda: ws.get("r777")) <= MANY // 250 + 4
    assert statements(ws, lambda: ws.get("nobody")) <= MANY // 250 + 4


def test_opening_costs_each_entity_the_same_however_many_there_are(folders: dict[int, Path]) -> None:
    def opened(count: int) -> float:
        started = time.process_time()
        hb.HeavenBase("many", path=folders[count]).close()
        return time.process_time() - started

    def grows(tries: int) -> float:
        """What an entity costs in a large workspace, in terms of what one costs in a small one."""
        few, some, many = (min(opened(count) for _ in range(tries)) for count in (FEW, SOME, MANY))
        return (many - some) / (MANY - SOME) / ((some - few) / (SOME - FEW))

    assert any(grows(tries) < 1.5 for tries in (3, 5, 8, 12, 20))


def test_a_row_is_found_by_its_id_alone(ws: hb.HeavenBase) -> None:
    for number in (0, 249, 250, 499, 500, 777, 999):
        row = ws.get(f"r{number}")
        assert row is not None
        assert (row["n"], row["name"]) == (number, f"name{number % 7}")
        assert ws.version(f"r{number}") == ws.version(f"r{number}", f"kind{number}")
    assert ws.get("r1000") is None
    with ws.transaction() as tx:
        tx.upsert("kind5", {"object_id": "r998"})
        with pytest.raises(AmbiguousId, match=r"kind5, kind998"):
            tx.get("r998")
        tx.delete("r998", "kind5")


def test_the_catalog_has_a_row_of_every_entity(ws: hb.HeavenBase) -> None:
    rows = ws.query("sys-catalog").order_by("target_id").execute().rows()

    mine = [row for row in rows if row["target_entity"].startswith("kind")]
    assert {(row["target_entity"], row["target_id"]) for row in mine} == {(f"kind{n}", f"r{n}") for n in range(MANY)}
    assert ws.query("sys-catalog").where({"target_entity": "kind7"}).execute().column("target_id") == ["r7"]
    assert ws.query("sys-catalog").where({"target_id": "r777"}).execute().column("target_entity") == ["kind777"]
    assert ws.count("sys-catalog", {"name": "name3"}) == len(range(3, MANY, 7))
    by_name = ws.query("sys-catalog").where({"name": {"$is_null": False}}).group_by("name").aggregate(rows="count")
    assert sum(row["rows"] for row in by_name.execute().rows()) == MANY
    assert ws.count("sys-metaschema", {"kind": "entity", "subject": {"$starts_with": "kind"}}) == MANY
    assert ws.count("sys-metaschema", {"kind": "field", "entity": "kind7"}) >= 3


def test_a_catalog_query_of_one_entity_reads_that_one(ws: hb.HeavenBase) -> None:
    query = ws.query("sys-catalog").where({"target_entity": "kind7"})
    query.execute()

    assert statements(ws, query.execute) <= 8


def of_every_kind(view: View, hints: Hints) -> Iterator[dict[str, Any]]:
    """The numbers of every entity that has them, by the first letter of its id."""
    for record in view.entities():
        schema = record.schema
        if schema.derived or not {"n", "title"} <= set(schema.names) or not hints.allow("source", schema.id):
            continue
        for row in view.query(schema.id).select("object_id", "n").execute().rows():
            yield {"object_id": f"{schema.id}-{row['object_id']}", "source": schema.id, "n": row["n"]}


class Number(hb.Entity):
    """Every number of the workspace."""

    __derived__ = of_every_kind
    source = hb.field(hb.Identifier)
    n = hb.field(hb.Integer)


def test_a_derived_entity_of_a_user_goes_over_all_of_them(ws: hb.HeavenBase) -> None:
    ws.register(Number)

    assert ws.count(Number) == MANY
    assert ws.query(Number).aggregate(all=Number.n.sum()).execute().scalar() == sum(range(MANY))
    top = ws.query(Number).where(Number.n >= 990).order_by("-n").limit(3).execute()
    assert top.column("source") == ["kind999", "kind998", "kind997"]
    ws.set("r5", {"n": 5000}, "kind5")
    assert ws.query(Number).where(Number.source == "kind5").execute().column("n") == [5000]
    ws.set("r5", {"n": 5}, "kind5")
    assert ws.get("kind9-r9", Number) == {"object_id": "kind9-r9", "name": None, "source": "kind9", "n": 9}
    assert statements(ws, ws.query(Number).where(Number.source == "kind5").execute) <= 8


def test_a_thousand_classes_are_registered_anew_and_none_is_changed(ws: hb.HeavenBase) -> None:
    made = [kind(number) for number in range(MANY) if number != 3]
    warmed(ws)

    diffs: list[Any] = []
    count = statements(ws, lambda: diffs.extend(ws.register(*made)))

    assert all(diff.empty for diff in diffs)
    assert count == 0
    with pytest.raises(UnknownEntity, match="did you mean 'kind"):
        ws.count("kinds5")
    assert ws.health().ok
