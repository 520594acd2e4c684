"""What is the memory engine's own: its indexes, its overlay of uncommitted rows, its matrices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import heavenbase as hb
from heaven_core.backend import BackendConfig, Change
from heaven_core.errors import ConfigError, TransactionError, UniqueViolation
from heaven_inmem.engine import MemoryBackend
from heaven_inmem.indexes import EqualityIndex, SuffixList, TrigramSets

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.unit, pytest.mark.engines("inmem")]


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).store(strategy=hb.SuffixIndex)
    n = hb.field(hb.Integer).index()
    code = hb.field(hb.ShortText).unique()
    place = hb.field(hb.Vector(2)).store(strategy=hb.VectorIndex)
    meta = hb.field(hb.Json)
    days = hb.field(hb.Array(hb.Date))


@pytest.fixture
def ws() -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("demo", preset="debug") as made:
        made.register(Doc)
        yield made


def _looked_at(ws: hb.HeavenBase, query: hb.Query) -> tuple[list[str], int]:
    """The ids of the answer, and how many rows were candidates for it."""
    backend = ws.core().primary
    candidates: list[int] = []
    original = backend._candidates

    def counted(table: Any, where: Any) -> Any:
        rows = original(table, where)
        candidates.append(len(rows))
        return rows

    backend._candidates = counted
    try:
        return query.execute().ids, candidates[0]
    finally:
        del backend._candidates


# -- indexes ---------------------------------------------------------------------------------------------------------


PAIRS = st.lists(st.tuples(st.text("ab", max_size=3), st.sampled_from("xyz")), unique=True, max_size=12)


@given(PAIRS, st.data(), st.text("ab", max_size=3))
def test_an_index_finds_what_is_in_it(pairs: list[tuple[str, str]], data: st.DataObject, wanted: str) -> None:
    equal, suffix = EqualityIndex(), SuffixList()
    gone = data.draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    for value, one in pairs:
        equal.add(value, one)
        suffix.add(value, one)
    for value, one in gone:
        equal.remove(value, one)
        suffix.remove(value, one)
    left = set(pairs) - set(gone)

    assert equal.find(wanted) == {one for value, one in left if value == wanted}
    assert sorted(suffix.find(wanted)) == sorted(one for value, one in left if value.endswith(wanted))
    assert equal.entries() == suffix.entries() == left


@pytest.fixture
def full(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.upsert_many(
        Doc,
        [
            {"object_id": f"{one:03d}", "title": f"t{one % 10}", "n": one % 20 or None, "code": f"c{one}"}
            for one in range(100)
        ],
    )
    return ws


@pytest.mark.parametrize(
    ("condition", "found", "candidates"),
    [
        (Doc.n == 3, 5, 5),
        (Doc.n.in_([3, 4, 3]), 10, 10),
        (Doc.code == "c7", 1, 1),
        (Doc.code == "none", 0, 0),
        (Doc.title.ends_with("3"), 10, 10),
        (Doc.object_id == "007", 1, 1),
        (Doc.object_id.in_(["007", "008", "007"]), 2, 2),
        ((Doc.n > 2) & (Doc.n == 3), 5, 5),
        (Doc.n == None, 5, 100),  # noqa: E711
        (Doc.n.in_([3, None]), 10, 100),
        (Doc.n > 17, 10, 100),
        (Doc.title == "t3", 10, 100),
        ((Doc.n == 3) | (Doc.n == 4), 10, 100),
        (~(Doc.n == 3), 95, 100),
    ],
    ids=lambda one: str(one)[:40],
)
def test_an_index_narrows_what_is_looked_at(full: hb.HeavenBase, condition: Any, found: int, candidates: int) -> None:
    ids, seen = _looked_at(full, full.query(Doc).where(condition))

    assert (len(ids), seen) == (found, candidates)
    assert full.query(Doc).where(condition).explain().steps[-1]["estimate"] == candidates


def test_indexes_follow_changes_and_deletions(full: hb.HeavenBase) -> None:
    full.set("003", {"n": 99, "title": "ends with z", "code": None})
    full.delete("023")

    assert full.query(Doc).where(Doc.n == 3).execute().ids == ["043", "063", "083"]
    assert full.query(Doc).where(Doc.n == 99).execute().ids == ["003"]
    assert full.query(Doc).where(Doc.title.ends_with("z")).execute().ids == ["003"]
    full.upsert(Doc, {"code": "c3"})
    assert full.check().ok


def test_an_index_that_comes_later_has_the_old_rows(full: hb.HeavenBase) -> None:
    class Wider(Doc):
        identifier = "doc"
        more = hb.field(hb.Integer).index()

    full.register(Wider)
    full.set("003", {"more": 7}, Wider)

    assert _looked_at(full, full.query(Wider).where(Wider.n == 3)) == (["003", "023", "043", "063", "083"], 5)
    assert _looked_at(full, full.query(Wider).where(Wider.more == 7)) == (["003"], 1)


# -- uniqueness ------------------------------------------------------------------------------------------------------


def test_uniqueness_counts_what_a_transaction_has_changed(full: hb.HeavenBase) -> None:
    with full.transaction() as tx:
        tx.delete("001", Doc)
        tx.upsert(Doc, {"object_id": "new", "code": "c1"})
        with pytest.raises(UniqueViolation, match=r"doc\.code, row 0: 'c1' is taken by another row"):
            tx.upsert(Doc, {"object_id": "newer", "code": "c1"})
        with pytest.raises(UniqueViolation):
            tx.set("new", {"code": "c2"}, Doc)
        tx.set("002", {"code": "c1-free"}, Doc)
        tx.upsert(Doc, {"object_id": "newest", "code": "c2"})

    assert full.query(Doc).where(Doc.code.in_(["c1", "c2"])).order_by("code").execute().ids == ["new", "newest"]


def test_values_of_other_types_are_other_values(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "meta": {"k": 1}})
    before = ws.version("a")

    for meta in ({"k": 1.0}, {"k": True}, [1], {"k": "1"}):
        ws.upsert(Doc, {"object_id": "a", "meta": meta})
        after = ws.version("a")
        assert before is not None
        assert after is not None
        assert after > before
        before = after
    ws.upsert(Doc, {"object_id": "a", "meta": {"k": "1"}})

    assert ws.version("a") == before


def test_an_equal_list_of_anything_is_no_change(ws: hb.HeavenBase) -> None:
    row = {"object_id": "a", "days": ["2024-05-01"], "place": [1, 0], "meta": [1.5, {"k": None}]}
    ws.upsert(Doc, row)
    before = ws.version("a")

    ws.upsert(Doc, row)
    assert ws.version("a") == before
    ws.upsert(Doc, {**row, "days": ["2024-05-02"]})
    assert ws.version("a") != before


# -- vectors ---------------------------------------------------------------------------------------------------------


def test_the_matrix_is_built_anew_only_after_a_change(ws: hb.HeavenBase) -> None:
    ws.upsert_many(
        Doc, [{"object_id": one, "place": place} for one, place in (("a", [1, 0]), ("b", [0, 1]), ("c", None))]
    )
    table = ws.core().primary.tables["doc"]
    ask = ws.query(Doc).near("place", [1, 0], 5)
    first = ask.execute().ids
    built = table.matrices["place", 2][1]

    assert (first, ask.execute().ids) == (["a", "b"], ["a", "b"])
    assert table.matrices["place", 2][1] is built
    ws.set("c", {"place": [1, 0.1]})
    assert ask.execute().ids == ["a", "c", "b"]
    assert ask.where(Doc.object_id != "a").execute().ids == ["c", "b"]
    assert ask.order_by("-object_id").execute().ids == ["c", "b", "a"]
    assert ask.where({"object_id": "none"}).execute().ids == []


def test_a_transaction_ranks_its_own_vectors(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "a", "place": [0, 1]})

    with ws.transaction() as tx:
        tx.upsert(Doc, {"object_id": "b", "place": [1, 0]})
        assert tx.query(Doc).near("place", [1, 0]).execute().ids == ["b", "a"]
        assert ws.query(Doc).near("place", [1, 0]).execute().ids == ["a"]


# -- the protocol ----------------------------------------------------------------------------------------------------


def test_a_schema_change_that_is_undone_leaves_the_old_tables(ws: hb.HeavenBase) -> None:
    backend, layout = ws.core().primary, ws.core().stored(Doc).layout
    ws.upsert(Doc, {"object_id": "a"})

    tx = backend.begin(exclusive=True)
    backend.ddl(Change(layout, None), tx)
    assert "doc" not in backend.tables
    tx.rollback()

    assert ws.ids(Doc) == ["a"]


def test_a_dropped_entity_is_gone(ws: hb.HeavenBase) -> None:
    backend, layout = ws.core().primary, ws.core().stored(Doc).layout

    tx = backend.begin(exclusive=True)
    backend.ddl(Change(layout, None), tx)
    tx.commit()

    assert "doc" not in backend.tables


def test_a_transaction_that_has_ended_is_over(ws: hb.HeavenBase) -> None:
    tx = ws.core().primary.begin(exclusive=True)
    tx.commit()
    tx.commit()
    tx.rollback()

    with pytest.raises(TransactionError, match="this transaction has ended"):
        _ = tx.lsn


def test_ids_are_scanned_in_order_in_batches(full: hb.HeavenBase) -> None:
    batches = list(full.core().primary.scan(full.core().stored(Doc).layout, batch_rows=30))

    assert list(map(len, batches)) == [30, 30, 30, 10]
    assert [one for batch in batches for one in batch] == full.ids(Doc)


def test_the_engine_takes_no_options() -> None:
    with pytest.raises(ConfigError, match="backend 'main' of type inmem takes no option 'path'"):
        MemoryBackend(BackendConfig("main", "inmem", {"path": "x"}, None, "demo"))


def test_runs_of_three_characters_lead_to_the_rows_that_may_hold_a_text() -> None:
    runs = TrigramSets()
    for text, object_id in (("abcd", "a"), ("xbcdx", "b"), ("ab", "c"), ("bcxabc", "d")):
        runs.add(text, object_id)

    assert runs.find(["bcd"]) == ["a", "b"]
    assert runs.find(["abc", "bc"]) == ["a", "d"]
    assert runs.find(["zzz"]) == []
    assert runs.find(["ab", ""]) is None

    runs.remove("abcd", "a")
    assert runs.find(["bcd"]) == ["b"]
    assert runs.find(["abc"]) == ["d"]


def test_the_keys_of_json_come_back_in_order_as_from_every_engine() -> None:
    class Bag(hb.Entity):
        things = hb.field(hb.Json)

    with hb.HeavenBase("bags", preset="debug") as ws:
        ws.register(Bag)
        one = ws.upsert(Bag, {"things": {"b": [{"y": 1, "x": 2}], "a": 2}})
        row = ws.get(one, Bag)

    assert row is not None
    assert json.dumps(row["things"]) == '{"a": 2, "b": [{"x": 2, "y": 1}]}'
