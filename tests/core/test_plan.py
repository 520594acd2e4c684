"""How a query is answered, `heaven_core.plan`: by handlers where there are any, in Python where there are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import heavenbase as hb
from heaven_core.errors import DeadlineExceeded, QueryError, ResultTooLarge
from heaven_core.ext import QueryFragment, register_backend_builder, register_handler
from heaven_core.handlers import NotServed
from heaven_core.plan import MAX_NESTING, LazyTypes, dtypes
from heaven_inmem.engine import MemoryBackend

pytestmark = pytest.mark.unit


class Doc(hb.Entity):
    title = hb.field(hb.LongText)
    kind = hb.field(hb.ShortText)
    n = hb.field(hb.Integer)
    tags = hb.field(hb.Array(hb.ShortText))
    meta = hb.field(hb.Json)
    place = hb.field(hb.Vector(2))


ROWS: list[dict[str, Any]] = [
    {"object_id": "a", "title": "the quick fox", "kind": "x", "n": 1, "tags": ["t"], "meta": {"k": 1}, "place": [1, 0]},
    {
        "object_id": "b",
        "title": "the lazy dog",
        "kind": "y",
        "n": 2,
        "tags": ["t", "u"],
        "meta": {"k": "v"},
        "place": [0, 1],
    },
    {"object_id": "c", "title": "a quick dog", "kind": "x", "n": None, "tags": [], "meta": None, "place": [1, 1]},
    {"object_id": "d", "title": None, "kind": None, "n": 2, "tags": None, "meta": {"k": None}, "place": None},
]


@pytest.fixture
def bare(registered: None) -> Iterator[hb.HeavenBase]:
    """A workspace on an engine that has not a single handler."""
    register_backend_builder("bare", MemoryBackend, primary=True)
    with hb.HeavenBase("bare", backends={"main": "bare"}) as ws:
        ws.register(Doc)
        ws.upsert_many(Doc, ROWS)
        yield ws


@pytest.fixture
def docs(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    return ws


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "everything": lambda q: q.order_by("object_id"),
    "a filter": lambda q: q.where(Doc.n >= 2, ~Doc.title.contains("fox")).order_by("-object_id").select("n"),
    "nothing": lambda q: q.where(Doc.n > 99),
    "a choice": lambda q: q.where((Doc.kind == "x") | Doc.tags.array_contains("u")).order_by("n"),
    "a path": lambda q: q.where(Doc.meta["k"] == 1),
    "words": lambda q: q.where(Doc.title.match("QUICK")).order_by("object_id"),
    "a search": lambda q: q.search("quick dog", "title").select("kind"),
    "a search that is filtered, ordered and cut": lambda q: (
        q.search("quick dog", "title").where(Doc.kind == "x").order_by("-object_id").limit(1)
    ),
    "a search without words": lambda q: q.search("?!", "title"),
    "the nearest": lambda q: q.near("place", [1, 0], 2),
    "the nearest that are filtered, ordered and cut": lambda q: (
        q.near("place", [1, 0], 5, "l2").where(Doc.n != 1).order_by("-title").offset(1)
    ),
    "groups": lambda q: (
        q.group_by("kind")
        .aggregate(rows="count", total=Doc.n.sum(), each=Doc.n.value_counts())
        .order_by("-rows", "kind")
    ),
    "groups that are chosen": lambda q: (
        q.where(Doc.n.is_null(False)).group_by("n").aggregate(first=Doc.title.min()).having({"n": 2})
    ),
    "one number": lambda q: q.aggregate(middle=Doc.n.median(), most=Doc.n.max()),
}


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_without_handlers_the_answers_are_the_same(bare: hb.HeavenBase, docs: hb.HeavenBase, ask: Any) -> None:
    expected, found = ask(docs.query(Doc)).execute(), ask(bare.query(Doc)).execute()

    assert found.rows() == expected.rows()
    assert found.ids == expected.ids
    assert found.columns == expected.columns
    assert (found.scores is None) == (expected.scores is None)


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_is_explained_without_being_answered(docs: hb.HeavenBase, ask: Any) -> None:
    query = ask(docs.query(Doc))

    dry, wet = query.explain(), query.explain(analyze=True)

    assert (dry.rows, wet.rows) == (None, len(query.execute()))
    assert [step["step"] for step in dry.steps] == [step["step"] for step in wet.steps]
    assert {step["mode"] for step in dry.steps} <= {"native", "python"}


def test_what_runs_in_python_says_why(bare: hb.HeavenBase) -> None:
    asked = {
        "filter": (bare.query(Doc).where(Doc.n == 1), "no handler: scanned in Python"),
        "near": (bare.query(Doc).near("place", [1, 0]), "exact matrix in Python: the engine has no vectors"),
        "search": (bare.query(Doc).search("dog", "title"), "BM25 in Python: the field has no full-text index"),
    }

    for step, (query, notes) in asked.items():
        said = query.explain()
        assert not said.native
        assert (said.steps[0]["step"], said.steps[0]["mode"], said.steps[0]["notes"]) == (step, "python", notes)
        assert said.steps[-1].get("estimate") is None
    assert bare.query(Doc).group_by("kind").aggregate(total=Doc.n.sum()).explain().steps == [
        {"step": "group", "backend": "main", "mode": "python"}
    ]


def test_bounds_hold_for_what_runs_in_python(bare: hb.HeavenBase) -> None:
    search = bare.query(Doc).search("the a", "title")

    with pytest.raises(ResultTooLarge, match="more than 2 rows"):
        search.limits(max_rows=2).execute()
    with pytest.raises(ResultTooLarge, match="passes 40 bytes"):
        search.limits(max_bytes=40).execute()
    bare.upsert_many(Doc, [{"title": "the", "n": number} for number in range(1500)])
    with pytest.raises(DeadlineExceeded):
        bare.query(Doc).where(Doc.n > 1).limits(deadline=1e-9).execute()


def test_a_deep_condition_is_answered_in_parts(docs: hb.HeavenBase) -> None:
    condition: Any = Doc.n == 2
    for step in range(30):
        condition = ~(condition & (Doc.kind != f"k{step}")) | (Doc.kind == "z")

    said = docs.query(Doc).where(condition).explain(analyze=True)

    assert any(f"nested deeper than {MAX_NESTING} levels" in step.get("notes", "") for step in said.steps)
    assert sorted(docs.query(Doc).where(condition).execute().ids) == ["b", "d"]
    assert docs.query(Doc).where(condition).explain().rows is None


def test_a_condition_too_large_for_the_engine_is_answered_in_python(
    open_workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = open_workspace("sqlite")
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    monkeypatch.setattr("heaven_core.sql.MAX_PARAMETERS", 5)
    query = ws.query(Doc).where(*(Doc.n != number for number in range(2, 20)), Doc.kind == "x").order_by("object_id")

    said = query.explain()

    assert query.execute().ids == ["a", "c"]
    assert (said.native, said.rows) == (False, None)
    assert "too large for the engine" in str(said)
    assert query.explain(analyze=True).rows == 2


def test_a_handler_that_gives_no_fragment_is_named(docs: hb.HeavenBase, engine: str, registered: None) -> None:
    register_handler("me", hb.ShortText, "contains", engine, "inline", lambda field, value, ctx: "x")  # pyright: ignore[reportArgumentType]

    with pytest.raises(QueryError, match=r"the handler for contains on kind \(of me\) returned no QueryFragment"):
        docs.query(Doc).where(Doc.kind.contains("x")).execute()


def test_explaining_waits_only_a_moment_for_an_estimate(open_workspace: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.plan.ESTIMATE_S", 0.002)
    ws = open_workspace("sqlite")
    ws.register(Doc)
    ws.upsert_many(Doc, [{"kind": f"{'ab' * 60}{number}", "n": number} for number in range(30_000)])
    slow = ws.query(Doc).where(Doc.kind.regex("(a|b)*c$"))

    began = time.process_time()
    (*_, scan) = slow.explain().steps

    assert scan["estimate"] is None
    assert time.process_time() - began < 0.5
    monkeypatch.undo()
    assert ws.query(Doc).where(Doc.n < 5).explain().steps[-1]["estimate"] == 5


def test_search_looks_into_the_fields_that_a_profile_indexed(open_workspace: Any, registered: None) -> None:
    def profile(field: Any, backends: Any) -> Any:
        return hb.ext.StoreChoice(strategy="inverted") if field.name == "kind" else None

    class Note(hb.Entity):
        kind = hb.field(hb.ShortText)
        other = hb.field(hb.ShortText)

    with hb.ext.register_storage_profile("kinds", profile):
        ws = open_workspace("sqlite")
        ws.register(Note)
    ws.upsert_many(Note, [{"object_id": "a", "kind": "pear"}, {"object_id": "b", "other": "pear"}])

    assert ws.query(Note).search("pear").execute().ids == ["a"]
    assert ws.query(Note).search("pear").explain().native
    assert ws.query(Note).search("pear", ["other"]).execute().ids == ["b"]


# -- near and search together ----------------------------------------------------------------------------------------


class Place(hb.Entity):
    words = hb.field(hb.ShortText).store(strategy=hb.InvertedIndex)
    at = hb.field(hb.Vector[2])
    n = hb.field(hb.Integer)


@pytest.fixture
def places(open_workspace: Any, engine: str) -> hb.HeavenBase:
    ws = open_workspace(engine)
    ws.register(Place)
    words = {"a": "wind", "b": "sea", "c": "wind sea", "d": "sand", "e": "wind wind"}
    ws.upsert_many(
        Place, [{"object_id": key, "words": text, "at": [1, n], "n": n} for n, (key, text) in enumerate(words.items())]
    )
    return ws


def test_near_and_search_together_are_fused_by_rank(places: hb.HeavenBase) -> None:
    query = places.query(Place).near("at", [1, 0], top_k=2).search("wind").select("n")
    near, found = (
        places.query(Place).near("at", [1, 0], top_k=2).execute().ids,
        places.query(Place).search("wind").limit(2).execute().ids,
    )
    expected = {key: sum(1 / (61 + ids.index(key)) for ids in (near, found) if key in ids) for key in {*near, *found}}

    frame = query.execute()

    assert near == ["a", "b"]
    assert frame.ids == sorted(expected, key=lambda key: (-expected[key], key))
    assert frame.scores == [expected[key] for key in frame.ids]
    assert (frame.columns, frame.rank) == (("object_id", "n"), "_score")
    assert places.query_json(Place, query.to_dict()) == query


def test_a_fused_answer_keeps_to_filter_order_limit_and_offset(places: hb.HeavenBase) -> None:
    query = places.query(Place).near("at", [1, 0], top_k=4).search("wind sea")
    ids = query.execute().ids

    assert query.offset(1).limit(2).execute().ids == ids[1:3]
    assert query.order_by("-n").execute().ids == sorted(ids, reverse=True)
    assert query.order_by("-n").limit(2).execute().ids == sorted(ids, reverse=True)[:2]
    assert set(query.where(Place.n > 1).execute().ids) == {"c", "d", "e"}
    assert query.count() == len(ids)


def test_words_that_nothing_has_leave_the_nearest(places: hb.HeavenBase) -> None:
    query = places.query(Place).near("at", [1, 0], top_k=2)

    assert query.search("nothing").execute().ids == ["a", "b"]
    assert query.search("...").execute().ids == ["a", "b"]


def test_explaining_a_fused_query_shows_both_ways_and_reads_nothing(places: hb.HeavenBase) -> None:
    said = places.query(Place).near("at", [1, 0]).search("wind").explain()

    assert [step["step"] for step in said.steps] == ["near", "search", "fuse"]
    assert said.rows is None


@pytest.mark.parametrize("late", [False, True], ids=["compiling", "looking at a row"])
def test_a_handler_that_raises_is_named(open_workspace: Any, registered: None, late: bool) -> None:
    def broken(field: Any, value: Any, ctx: Any) -> QueryFragment:
        if not late:
            raise KeyError("nope")
        return QueryFragment(ctx.backend, "starts_with", field.name, lambda row: row["nope"])

    ws = open_workspace("inmem")
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    register_handler("me", hb.ShortText, "starts_with", "inmem", "inline", broken)

    with pytest.raises(QueryError, match=r"starts_with on kind \(of me\)") as raised:
        ws.query(Doc).where(Doc.kind.starts_with("x")).execute()

    assert "KeyError: 'nope'" in str(raised.value)
    assert isinstance(raised.value.__cause__, KeyError)


def test_what_a_handler_has_no_exact_form_for_is_answered_in_python(
    docs: hb.HeavenBase, engine: str, registered: None
) -> None:
    def only_letters(field: Any, value: Any, ctx: Any) -> QueryFragment:
        raise NotServed("not this one")

    register_handler("me", hb.ShortText, "contains", engine, "inline", only_letters)
    query = docs.query(Doc).where(Doc.kind.contains("x")).order_by("object_id")

    assert query.execute().ids == docs.query(Doc).where(Doc.kind == "x").order_by("object_id").execute().ids != []
    assert not query.explain().native


def test_a_handler_registered_while_a_workspace_is_open_serves_the_next_query(
    open_workspace: Any, registered: None
) -> None:
    ws = open_workspace("inmem")
    ws.register(Doc)
    ws.upsert_many(Doc, ROWS)
    ask = ws.query(Doc).where(Doc.kind.starts_with("x")).order_by("object_id")
    before = ask.execute().ids

    def nobody(field: Any, value: Any, ctx: Any) -> QueryFragment:
        return QueryFragment(ctx.backend, "starts_with", field.name, lambda row: False, notes="nobody")

    registration = register_handler("me", hb.ShortText, "starts_with", "inmem", "inline", nobody)
    during, said = ask.execute().ids, ask.explain().steps[0]
    registration.unregister()

    assert (before, during, ask.execute().ids) == (["a", "c"], [], ["a", "c"])
    assert (said["handler"], said["notes"]) == ("me", "nobody")


def test_the_types_of_an_answer_are_worked_out_when_asked(docs: hb.HeavenBase) -> None:
    plain = LazyTypes(docs.query(Doc).select("n"))

    assert plain["n"] == hb.Integer()
    assert set(plain) == {*Doc.schema().names, "_score", "_distance"}
    assert len(plain) == len(Doc.schema().names) + 2
    assert dtypes(docs.query(Doc).group_by("kind").aggregate(rows="count")) == {
        "kind": hb.ShortText(),
        "rows": hb.Integer(),
    }


def test_more_aggregates_than_an_engine_has_columns_are_answered(ws: hb.HeavenBase) -> None:
    class Sale(hb.Entity):
        shop = hb.field(hb.ShortText)
        price = hb.field(hb.Integer)

    ws.register(Sale)
    ws.upsert_many(Sale, [{"shop": "ab"[one % 2], "price": one} for one in range(10)])
    many: dict[str, Any] = {f"a{one}": Sale.price.percentile(one / 20.01) for one in range(2001)}
    wanted = ws.query(Sale).where(Sale.price >= 2).group_by("shop").order_by("-a7", "shop").limit(1)

    (row,) = wanted.aggregate(**many).execute().rows()

    assert (len(row), row["shop"], row["a0"], row["a2000"]) == (2002, "b", 3, pytest.approx(9, abs=0.01))


def test_a_key_of_the_order_that_comes_again_changes_nothing(ws: hb.HeavenBase) -> None:
    class Sale(hb.Entity):
        price = hb.field(hb.Integer)

    ws.register(Sale)
    ws.upsert_many(Sale, [{"object_id": f"s{one}", "price": one % 3} for one in range(6)])
    once = ws.query(Sale).order_by("-price", "object_id")

    assert ws.query(Sale).order_by("-price", *["price", "-price"] * 1001, "object_id") == once
    assert once.execute().ids == ["s2", "s5", "s1", "s4", "s0", "s3"]


def test_a_group_is_ordered_by_a_key_that_is_named_twice(ws: hb.HeavenBase) -> None:
    class Sale(hb.Entity):
        shop = hb.field(hb.ShortText)

    ws.register(Sale)
    ws.upsert_many(Sale, [{"shop": one} for one in "abca"])
    rows = ws.query(Sale).group_by("shop").aggregate(n="count").order_by("-n", "-shop", "shop").execute().rows()

    assert [(row["shop"], row["n"]) for row in rows] == [("a", 2), ("c", 1), ("b", 1)]
