"""The workspace method by method, on each engine: `heaven_core.workspace` and `heaven_core.access`."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.errors import (
    AmbiguousId,
    BackendBusy,
    InvalidValue,
    NotFound,
    PlacementError,
    SchemaConflict,
    SchemaError,
    TransactionError,
    UniqueViolation,
    UnknownEntity,
    UnknownField,
    WorkspaceClosed,
)
from heaven_core.identity import named_id

if TYPE_CHECKING:
    from collections.abc import Callable

    Open = Callable[..., hb.HeavenBase]

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText)
    n = hb.field(hb.Integer).default(3)
    tags = hb.field(hb.Array(hb.ShortText))
    code = hb.field(hb.ShortText).unique()


class Note(hb.Entity):
    text = hb.field(hb.ShortText)


def row(object_id: str, **values: Any) -> dict[str, Any]:
    return {"object_id": object_id, "name": None, "title": None, "n": 3, "tags": None, "code": None, **values}


@pytest.fixture
def docs(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.register(Doc, Note)
    return ws


# -- upsert ----------------------------------------------------------------------------------------------------------


def test_upsert_inserts_and_gives_the_id(docs: hb.HeavenBase) -> None:
    one = docs.upsert(Doc, {"title": "a", "tags": ["x"]})

    assert docs.get(one) == row(one, title="a", tags=["x"])


def test_upsert_replaces_the_whole_row(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "title": "a", "n": 9, "tags": ["x"]})

    docs.upsert(Doc, {"object_id": "a", "title": "b"})

    assert docs.get("a") == row("a", title="b")


def test_upsert_takes_instances_and_ids_of_entities(docs: hb.HeavenBase) -> None:
    one = docs.upsert(Doc, Doc(title="a", object_id="i"))
    two = docs.upsert("doc", {"title": "b", "object_id": "d"})

    assert (one, two) == ("i", "d")
    assert docs.ids(Doc) == ["d", "i"]


def test_a_name_makes_the_same_row_again(docs: hb.HeavenBase) -> None:
    first = docs.upsert(Doc, {"name": "x", "n": 1})
    second = docs.upsert(Doc, {"name": "x", "n": 2})

    assert first == second == named_id("doc", "x")
    assert (docs.count(Doc), docs.get(first)) == (1, row(first, name="x", n=2))
    docs.set(first, {"name": "renamed"})
    assert docs.get(first) == row(first, name="renamed", n=2)


def test_upsert_many_gives_the_ids_in_the_order_of_the_rows(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "m", "title": "old"})

    ids = docs.upsert_many(
        Doc, [{"object_id": "z"}, {"object_id": "m", "title": "new"}, {"name": "n"}, {"object_id": "a"}]
    )

    assert ids == ["z", "m", named_id("doc", "n"), "a"]
    assert [found and found["title"] for found in docs.get_many(ids)] == [None, "new", None, None]
    assert docs.upsert_many(Doc, []) == []


def test_new_ids_are_in_the_order_of_writing(docs: hb.HeavenBase) -> None:
    ids = [one for _ in range(3) for one in docs.upsert_many(Doc, [{"n": 1}] * 4)]

    assert ids == sorted(ids) == docs.ids(Doc)


def test_a_row_equal_to_the_stored_one_keeps_its_version(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"object_id": "a", "n": 1}, {"object_id": "b", "n": 1}])
    before = docs.version("a")

    docs.upsert_many(Doc, [{"object_id": "a", "n": 1}, {"object_id": "b", "n": 2}])

    assert before is not None
    assert docs.version("a") == docs.version("a", Doc) == before
    assert docs.version("a", Note) is None
    assert (docs.version("b") or 0) > before
    assert docs.versions(Doc, ["a", "x", "b"]) == [before, None, docs.version("b")]
    assert docs.version("x") is None


def test_rows_are_checked_against_the_schema_as_it_is_when_they_are_written(docs: hb.HeavenBase) -> None:
    class Wider(hb.Entity):
        identifier = "note"
        text = hb.field(hb.ShortText)
        more = hb.field(hb.Integer).default(7)

    def rows() -> Any:
        docs.register(Wider)
        yield {"object_id": "a", "text": "x"}

    docs.upsert_many("note", rows())

    assert docs.get("a") == {"object_id": "a", "name": None, "text": "x", "more": 7}


# -- set -------------------------------------------------------------------------------------------------------------


def test_set_changes_only_what_is_named(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "title": "t", "n": 1, "tags": ["x"]})

    assert docs.set("a", {"n": None}) == "a"
    assert docs.set("a", {"tags": []}, Doc) == "a"
    assert docs.set("a", {}) == "a"

    assert docs.get("a") == row("a", title="t", n=None, tags=[])


def test_set_refuses_what_is_not_there_and_what_cannot_be(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a"})

    with pytest.raises(NotFound, match=r"no row has the id 'b'$") as raised:
        docs.set("b", {"n": 1})
    with pytest.raises(NotFound, match="no row has the id 'a' in 'note'"):
        docs.set("a", {"text": "x"}, Note)
    with pytest.raises(InvalidValue, match="is another id; an id cannot be changed"):
        docs.set("a", {"object_id": "b"})
    with pytest.raises(UnknownField, match="there is no field 'm'"):
        docs.set("a", {"m": 1})

    assert vars(raised.value)["object_id"] == "b"
    assert docs.get("a") == row("a")


# -- delete ----------------------------------------------------------------------------------------------------------


def test_delete_says_whether_there_was_a_row(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "code": "c"})

    assert docs.delete("a") is True
    assert docs.delete("a") is False
    assert (docs.get("a"), docs.exists("a"), docs.count(Doc)) == (None, False, 0)
    docs.upsert(Doc, {"object_id": "b", "code": "c"})


def test_delete_many_counts_what_was_there(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"object_id": one} for one in "abc"])
    docs.upsert(Note, {"object_id": "n"})

    assert docs.delete_many(["a", "x", "a"], Doc) == 1
    assert docs.delete_many(["n"], Doc) == 0
    assert docs.delete_many([]) == 0
    assert docs.delete_many(one for one in ("b", "n", "x")) == 2
    assert docs.ids(Doc) == ["c"]
    assert docs.ids(Note) == []


# -- get -------------------------------------------------------------------------------------------------------------


def test_get_gives_the_whole_row_or_none(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "title": "t"})

    assert docs.get("a") == docs.get("a", Doc) == docs.get("a", "doc") == row("a", title="t")
    assert docs.get("x") is docs.get("x", Doc) is docs.get("a", Note) is None


def test_ids_may_be_of_any_script(docs: hb.HeavenBase) -> None:
    for one in ("é", "東京", "a b/c'\"", "\U0001f600", "x" * 63):
        assert docs.upsert(Doc, {"object_id": one}) == one
        assert docs.get(one, Doc) == docs.get(one) == row(one)
        assert docs.delete(one)
    assert docs.get("x" * 64, Doc) is None


def test_get_many_keeps_the_order_of_the_ids(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"object_id": one} for one in "ab"])
    docs.upsert(Note, {"object_id": "n", "text": "t"})

    assert docs.get_many(["b", "x", "a", "b"], Doc) == [row("b"), None, row("a"), row("b")]
    assert docs.get_many(["n", "a"]) == [{"object_id": "n", "name": None, "text": "t"}, row("a")]
    assert docs.get_many([], Doc) == []


def test_a_row_that_was_read_belongs_to_the_reader(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "tags": ["x"]})

    for read in (
        docs.get("a"),
        docs.get("a", Doc),
        *docs.get_many(["a", "a"], Doc),
        docs.query(Doc).execute().rows()[0],
    ):
        assert read is not None
        read["tags"].append("y")
        read["n"] = 99

    assert docs.get("a") == row("a", tags=["x"])


def test_exists_says_whether_there_is_a_row(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a"})

    assert docs.exists("a")
    assert docs.exists("a", Doc)
    assert not docs.exists("a", Note)
    assert not docs.exists("b")


@pytest.mark.parametrize(
    "ask",
    [
        lambda ws: ws.get("same"),
        lambda ws: ws.get_many(["same"]),
        lambda ws: ws.exists("same"),
        lambda ws: ws.version("same"),
        lambda ws: ws.set("same", {"name": "x"}),
        lambda ws: ws.delete("same"),
        lambda ws: ws.delete_many(["same"]),
    ],
)
def test_an_id_in_two_entities_needs_the_entity(docs: hb.HeavenBase, ask: Callable[[hb.HeavenBase], Any]) -> None:
    docs.upsert(Doc, {"object_id": "same"})
    docs.upsert(Note, {"object_id": "same", "text": "t"})

    with pytest.raises(AmbiguousId, match=r"the id 'same' is in several entities \(doc, note\); name one"):
        ask(docs)

    assert docs.get("same", Note) == {"object_id": "same", "name": None, "text": "t"}
    assert docs.delete("same", Doc)
    assert docs.get("same") == {"object_id": "same", "name": None, "text": "t"}


def test_an_id_is_found_among_hundreds_of_entities(ws: hb.HeavenBase) -> None:
    ws.register(*(type(f"E{number}", (hb.Entity,), {}) for number in range(510)))  # SQLite joins at most 500
    ws.upsert("e7", {"object_id": "seven"})
    ws.upsert("e509", {"object_id": "last"})

    assert ws.exists("seven")
    assert ws.get("last") == {"object_id": "last", "name": None}
    assert ws.get("none") is None


# -- ids, count, query -----------------------------------------------------------------------------------------------


def test_ids_are_in_order_and_not_bounded_by_the_cap(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"object_id": one} for one in "bca"])

    assert docs.ids(Doc) == ["a", "b", "c"]


def test_count_takes_a_filter(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"n": number} for number in range(5)])

    assert docs.count(Doc) == 5
    assert docs.count(Doc, {"n": {"$gte": 3}}) == docs.count(Doc, Doc.n >= 3) == 2


def test_query_json_is_the_query_in_code(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"n": number} for number in range(5)])

    spec = {"filter": {"n": {"$gte": 3}}, "order": ["-n"], "select": ["n"]}
    found = docs.query_json(Doc, spec)

    assert found == docs.query(Doc).where(Doc.n >= 3).order_by("-n").select("n")
    assert found.execute().column("n") == [4, 3]


def test_explain_tells_the_way_without_going_it(docs: hb.HeavenBase) -> None:
    query = docs.query(Doc).where(Doc.n > 1)

    dry, wet = docs.explain(query), query.explain(analyze=True)

    assert (dry.rows, dry.seconds) == (None, None)
    assert wet.rows == 0
    assert wet.seconds is not None
    assert wet.to_dict()["query"] == query.to_dict()


# -- register --------------------------------------------------------------------------------------------------------


def test_register_tells_what_it_changed(ws: hb.HeavenBase) -> None:
    first = ws.register(Doc)
    several = ws.register(Doc, Note)
    again = ws.register(Note)

    assert first.created
    assert [one.created for one in several] == [False, True]
    assert again.empty
    assert not again.created
    with pytest.raises(TypeError, match="register takes at least one entity class"):
        ws.register()


class Bad(hb.Entity):
    x = hb.field(hb.ShortText).store(to="nowhere")


def test_several_classes_are_registered_all_or_none(ws: hb.HeavenBase) -> None:
    ws.register(Note)
    wider = type("Note", (hb.Entity,), {"text": hb.field(hb.ShortText), "more": hb.field(hb.Integer)})

    with pytest.raises(PlacementError, match=r"bad\.x: there is no backend 'nowhere'"):
        ws.register(Doc, wider, Bad)

    with pytest.raises(UnknownEntity):
        ws.query("doc")
    assert ws.entity("note").schema() == Note.schema()
    ws.upsert(Note, {"text": "still here"})
    assert [diff.created for diff in ws.register(Doc, wider)] == [True, False]


def test_additions_apply_and_old_rows_have_none_of_them(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "old", "title": "a b"})

    class Wider(hb.Entity):
        identifier = "doc"
        title = hb.field(hb.ShortText(400))
        n = hb.field(hb.Integer).default(7)
        tags = hb.field(hb.Array(hb.ShortText))
        code = hb.field(hb.ShortText).unique()
        flag = hb.field(hb.Boolean).default(True)
        more = hb.field(hb.Array(hb.Integer)).store(strategy=hb.SideTable)
        text = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
        rank = hb.field(hb.Integer).index()
        only = hb.field(hb.Integer).unique()

    diff = docs.register(Wider)
    docs.upsert(Wider, {"object_id": "new", "title": "x" * 300, "more": [1], "text": "word", "rank": 1, "only": 1})

    assert (diff.added, diff.changed) == (["flag", "more", "text", "rank", "only"], ["title", "n"])
    old, new = docs.get("old"), docs.get("new")
    assert old is not None
    assert new is not None
    assert [old[name] for name in diff.added] == [None] * 5
    assert (new["n"], new["flag"]) == (7, True)
    assert docs.query(Wider).where(Wider.more.array_contains(1)).execute().ids == ["new"]
    assert docs.query(Wider).where(Wider.text.match("word")).execute().ids == ["new"]
    with pytest.raises(UniqueViolation):
        docs.upsert(Wider, {"only": 1})
    docs.set("old", {"more": [1, 2], "text": "words"})
    assert docs.check().ok


@pytest.mark.parametrize(
    "changed",
    [
        {"text": hb.field(hb.Integer)},
        {},
        {"text": hb.field(hb.ShortText).required()},
        {"text": hb.field(hb.ShortText).index()},
        {"text": hb.field(hb.ShortText), "more": hb.field(hb.Integer).required()},
    ],
    ids=["type", "removed", "required", "index", "new and required"],
)
def test_what_is_more_than_an_addition_is_a_conflict_and_changes_nothing(
    docs: hb.HeavenBase, changed: dict[str, Any]
) -> None:
    with pytest.raises(SchemaConflict, match="entity 'note' is registered otherwise"):
        docs.register(type("Note", (hb.Entity,), changed))

    assert docs.entity("note").schema() == Note.schema()
    docs.upsert(Note, {"text": "x"})


DECLARE = """
import json, heavenbase as hb
class Doc(hb.Entity):
    "A document."
    title = hb.field(hb.ShortText).required().store(strategy=hb.InvertedIndex)
    kind = hb.field(hb.Categorical(["a", "b"])).default("a").index()
    tags = hb.field(hb.Array(hb.Date)).store(strategy=hb.SideTable)
    place = hb.field(hb.Vector[2])
    code = hb.field(hb.Integer).unique()
with hb.HeavenBase("demo") as ws:
    ws.register(Doc)
    ws.upsert(Doc, {"object_id": "one", "title": "first words", "tags": ["2024-05-01"], "place": [1, 0], "code": 1})
    print(json.dumps(Doc.schema().to_dict()))
"""
REOPEN = """
import json, heavenbase as hb
from heaven_core.errors import InvalidValue, UniqueViolation
with hb.HeavenBase("demo") as ws:
    Doc = ws.entity("doc")
    ws.upsert("doc", {"object_id": "two", "title": "second words", "tags": ["2024-05-02"], "place": [0, 1]})
    ws.set("one", {"code": 5})
    refused = []
    for row in ({"n": 1}, {"title": "x", "kind": "c"}, {"title": "x", "code": 5}):
        try: ws.upsert("doc", row)
        except Exception as error: refused.append(type(error).__name__)
    print(json.dumps([
        Doc.schema().to_dict(), refused, ws.get("two")["kind"], ws.query("doc").search("second").execute().ids,
        ws.query(Doc).where(Doc.tags.array_contains("2024-05-01")).execute().ids,
        ws.query("doc").near("place", [0, 1], 1).execute().ids, ws.check().ok, ws.get("one")["code"],
    ]))
"""


def test_a_workspace_opens_elsewhere_without_its_classes(elsewhere: Callable[..., Any]) -> None:
    declared = elsewhere(DECLARE)

    found = elsewhere(REOPEN)

    assert found == [
        declared,
        ["UnknownField", "InvalidValue", "UniqueViolation"],
        "a",
        ["two"],
        ["one"],
        ["two"],
        True,
        5,
    ]


# -- transactions ----------------------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "n": 1})

    with pytest.raises(ZeroDivisionError), docs.transaction() as tx:  # noqa: PT012  # the whole block is undone
        tx.upsert(Doc, {"object_id": "b"})
        tx.set("a", {"n": 2})
        tx.delete("a")
        raise ZeroDivisionError
    with docs.transaction() as tx:
        tx.upsert(Note, {"object_id": "n"})
        tx.set("a", {"n": 5})

    assert (docs.ids(Doc), docs.ids(Note)) == (["a"], ["n"])
    assert docs.get("a", Doc) == row("a", n=5)


def test_a_transaction_reads_its_own_writes_and_others_do_not(docs: hb.HeavenBase) -> None:
    docs.upsert_many(Doc, [{"object_id": "a", "n": 1, "code": "x"}, {"object_id": "b", "n": 2}])

    with docs.transaction() as tx:
        tx.set("a", {"n": 5, "code": None})
        tx.delete("b")
        tx.upsert(Doc, {"object_id": "c", "n": 9, "code": "x", "tags": ["t"]})

        assert tx.ids(Doc) == ["a", "c"]
        assert [one["n"] for one in tx.query(Doc).where(Doc.n > 4).order_by("n")] == [5, 9]
        assert (tx.get("b"), tx.exists("c"), tx.count(Doc, {"code": "x"})) == (None, True, 1)
        assert tx.get_many(["c", "b"], Doc)[1] is None
        assert tx.version("c") == tx.version("a") != docs.version("a")
        assert tx.query(Doc).where(Doc.tags.array_contains("t")).execute().ids == ["c"]
        assert tx.query(Doc).aggregate(total=Doc.n.sum()).execute().scalar() == 14
        assert docs.ids(Doc) == ["a", "b"]
        assert docs.get("a", Doc) == row("a", n=1, code="x")

    assert docs.ids(Doc) == ["a", "c"]


def test_a_write_that_is_refused_leaves_the_rest_of_the_transaction(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "code": "x"})

    with docs.transaction() as tx:
        tx.upsert(Doc, {"object_id": "b", "code": "y"})
        with pytest.raises(UniqueViolation):
            tx.upsert_many(Doc, [{"object_id": "c"}, {"object_id": "d", "code": "x"}])
        tx.upsert(Doc, {"object_id": "e"})

    assert docs.ids(Doc) == ["a", "b", "e"]


def test_transactions_cannot_be_nested_nor_written_around(docs: hb.HeavenBase) -> None:
    with docs.transaction():
        with pytest.raises(TransactionError, match="transactions cannot be nested"), docs.transaction():
            pass
        for write in (
            lambda: docs.upsert(Doc, {}),
            lambda: docs.delete("a"),
            lambda: docs.set("a", {}),
        ):
            with pytest.raises(TransactionError, match="going on in this thread; write through it"):
                write()
        with pytest.raises(TransactionError, match="register entities before it"):
            docs.register(Doc)
        with pytest.raises(TransactionError, match="repair after it"):
            docs.repair()
        with pytest.raises(TransactionError, match="drop the workspace after it"):
            docs.drop()

    docs.upsert(Doc, {})


def test_a_transaction_ends_with_its_block(docs: hb.HeavenBase) -> None:
    with docs.transaction() as tx:
        assert repr(tx) == "<transaction, open>"

    assert repr(tx) == "<transaction, ended>"
    for use in (lambda: tx.get("a"), lambda: tx.upsert(Doc, {}), lambda: tx.query(Doc)):
        with pytest.raises(TransactionError, match="this transaction has ended"):
            use()


def test_a_transaction_belongs_to_its_thread(docs: hb.HeavenBase) -> None:
    caught: list[BaseException] = []

    with docs.transaction() as tx:

        def work() -> None:
            try:
                tx.upsert(Doc, {})
            except TransactionError as error:
                caught.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert [str(error) for error in caught] == ["a transaction belongs to the thread that opened it"]


def test_a_transaction_that_writes_nothing_is_no_commit(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a"})
    before = docs.version("a") or 0

    with docs.transaction() as tx:
        assert tx.exists("a")
    docs.upsert(Doc, {"object_id": "b"})

    assert docs.version("b") == before + 1


def test_what_is_read_in_an_exclusive_transaction_stays_true_until_its_commit(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "counter", "n": 0})

    def work() -> None:
        for _ in range(10):
            with docs.transaction(exclusive=True) as tx:
                found = tx.get("counter", Doc)
                assert found is not None
                tx.set("counter", {"n": found["n"] + 1}, Doc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = docs.get("counter")
    assert found is not None
    assert found["n"] == 40


def test_a_writer_waits_only_so_long(docs: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("heaven_inmem.engine", "LOCK_WAIT_S"), ("heaven_sqlite.engine", "BUSY_WAIT_S")):
        monkeypatch.setattr(f"{module}.{name}", 0.05)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            docs.upsert(Doc, {})
        except BackendBusy as error:
            caught.append(error)

    with docs.transaction(exclusive=True):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert "another transaction has been writing for" in str(caught[0])
    docs.upsert(Doc, {})


def test_reading_does_not_wait_for_a_writer(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a"})
    found: list[Any] = []
    started = time.monotonic()

    with docs.transaction(exclusive=True) as tx:
        tx.delete("a")
        thread = threading.Thread(target=lambda: found.append(docs.get("a")))
        thread.start()
        thread.join()

    assert found == [row("a")]
    assert time.monotonic() - started < 5


def test_any_thread_may_use_a_workspace(docs: hb.HeavenBase) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                one = docs.upsert(Doc, {"title": f"{number}-{step}", "n": number})
                assert docs.get(one, Doc) is not None
                assert docs.count(Doc, {"n": number}) == step + 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert docs.count(Doc) == 50


# -- the handle ------------------------------------------------------------------------------------------------------


def test_a_workspace_is_a_context_manager(engine: str, open_workspace: Open) -> None:
    with open_workspace(engine) as ws:
        ws.register(Doc)

    for use in (lambda: ws.count(Doc), lambda: ws.upsert(Doc, {}), ws.check, lambda: ws.capabilities, ws.extensions):
        with pytest.raises(WorkspaceClosed):
            use()


def test_a_query_outlives_nothing(engine: str, open_workspace: Open) -> None:
    ws = open_workspace(engine)
    ws.register(Doc)
    query = ws.query(Doc)
    ws.close()

    with pytest.raises(WorkspaceClosed):
        query.execute()


def test_derived_and_system_entities_can_be_asked(docs: hb.HeavenBase) -> None:
    docs.upsert(Doc, {"object_id": "a", "name": "named"})

    assert docs.query(hb.Catalog).where({"target_entity": "doc"}).execute().column("target_id") == ["a"]
    with pytest.raises(SchemaError, match="is derived from others and cannot be written"):
        docs.upsert(hb.Catalog, {})
    assert [one.identifier for one in docs.extensions()] == ["system"]
