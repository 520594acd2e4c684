"""Plans over several engines: who answers first, what is passed on, and what is done in Python.

That the answers are right is compared at random in `tests/semantics`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).index()
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    n = hb.field(hb.Integer).store(to="one")
    even = hb.field(hb.Boolean).store(to="one")
    kind = hb.field(hb.ShortText).store(to="two")
    at = hb.field(hb.Vector(2)).store(to="two")


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    backends = {"main": "sqlite", "one": "sqlite", "two": "sqlite"}
    with hb.HeavenBase("plans", path=tmp_path, backends=backends) as workspace:
        workspace.register(Doc)
        workspace.upsert_many(
            Doc,
            [
                {
                    "title": f"t{one:03d}",
                    "body": "wind and sea" if one % 3 else "sea",
                    "n": one,
                    "even": one % 2 == 0,
                    "kind": f"k{one % 10}",
                    "at": [float(one), 1.0],
                }
                for one in range(200)
            ],
        )
        yield workspace


def steps(query: Any) -> list[tuple[str, str]]:
    return [(step["step"], step["backend"]) for step in query.explain(analyze=True).steps if step["step"] != "filter"]


def test_a_question_to_one_engine_is_asked_there_alone(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).where(Doc.n > 190).order_by("-n").select("n")

    assert steps(query) == [("scan", "one")]
    assert query.execute().column("n") == list(range(199, 190, -1))


def test_the_most_selective_engine_is_asked_first_and_the_next_within_its_ids(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).where((Doc.n < 5) & (Doc.kind != "k1") & (Doc.title != "t002"))

    plan = query.explain(analyze=True)
    joins = [step for step in plan.steps if step["step"] == "ids"]

    assert [(step["backend"], step["rows"]) for step in joins] == [("one", 5), ("two", 4)]
    assert "within 5" in joins[1]["notes"]
    assert query.count() == 3


def test_few_rows_of_the_home_are_handed_on_rather_than_many_fetched(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).where((Doc.title == "t042") & (Doc.n >= 0))

    (join,) = [step for step in query.explain(analyze=True).steps if step["step"] == "ids"]

    assert join["rows"] == 1
    assert "within 1" in join["notes"]


def test_a_choice_between_engines_is_a_union_and_a_complement_an_anti_join(ws: hb.HeavenBase) -> None:
    either = ws.query(Doc).where((Doc.n == 3) | (Doc.kind == "k9") | (Doc.title == "t000"))
    neither = ws.query(Doc).where(~((Doc.n == 3) | (Doc.kind == "k9") | (Doc.title == "t000")))

    assert (either.count(), neither.count()) == (22, 178)


def near_notes(query: Any) -> str:
    plan = query.explain(analyze=True)
    assert plan.native
    return plan.steps[-1]["notes"]


def test_few_rows_of_a_condition_elsewhere_are_ranked_by_themselves(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).near("at", [0.0, 1.0], 3, "l2").where((Doc.n >= 100) & (Doc.n < 105)).select("title")

    assert near_notes(query).endswith("condition first")
    assert steps(query) == [("ids", "one"), ("near", "two")]
    assert query.execute().column("title") == ["t100", "t101", "t102"]


def test_a_condition_elsewhere_that_many_rows_satisfy_is_asked_of_the_nearest(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_core.spread_plan.SHARE", 0.01)
    query = ws.query(Doc).near("at", [0.0, 1.0], 3, "l2").where(Doc.even == False).select("title")  # noqa: E712

    plan = query.explain(analyze=True)

    assert "the condition elsewhere asked of the 19 nearest" in plan.steps[-1]["notes"]
    assert "within 19" in plan.steps[-2]["notes"]
    assert query.execute().column("title") == ["t001", "t003", "t005"]
    assert query.order_by("-title").limit(2).execute().column("title") == ["t005", "t003"]
    assert query.offset(2).execute().column("title") == ["t005"]


def test_more_of_the_nearest_are_looked_at_until_enough_satisfy_the_condition(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_core.spread_plan.SHARE", 0.0)
    far = ws.query(Doc).near("at", [0.0, 1.0], 2, "l2").where(Doc.n >= 150)
    assert "asked of the 352 nearest" in near_notes(far)
    assert far.execute().column("n") == [150, 151]

    monkeypatch.setattr("heaven_core.spread_plan.FEW", 50)
    ids_first = ws.query(Doc).near("at", [0.0, 1.0], 2, "l2").where(Doc.n >= 150)
    assert "elsewhere" not in near_notes(ids_first)
    assert steps(ids_first) == [("ids", "one"), ("near", "two")]
    assert ids_first.execute().column("n") == [150, 151]


def test_conditions_of_every_kind_are_asked_of_the_nearest(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.spread_plan.SHARE", 0.0)
    near = ws.query(Doc).near("at", [0.0, 1.0], 4, "l2")
    kind = Doc.kind == "k3"

    for condition, found in (
        ((Doc.even == False) & (Doc.title > "t010"), [11, 13, 15, 17]),  # noqa: E712
        ((Doc.n > 4) | kind, [3, 5, 6, 7]),
        (~((Doc.n < 8) | kind), [8, 9, 10, 11]),
        (kind & (Doc.n > 4) & (Doc.title != "t013"), [23, 33, 43, 53]),
        (Doc.body.match("wind") & (Doc.n >= 0), [1, 2, 4, 5]),
        (Doc.title.regex("9$") & (Doc.n >= 0), [9, 19, 29, 39]),
        (Doc.n > 1000, []),
    ):
        assert near.where(condition).execute().column("n") == found


def test_a_plan_without_an_answer_says_which_way_would_be_taken(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_core.spread_plan.SHARE", 0.01)
    near = ws.query(Doc).near("at", [0.0, 1.0], 3)

    few, many = near.where(Doc.n == 3).explain(), near.where(Doc.n > 3).explain()

    assert "answered there" in few.steps[-2]["notes"]
    assert "notes" not in few.steps[-1]
    assert "the condition elsewhere asked of the 14 nearest" in many.steps[-1]["notes"]


def test_an_order_over_several_engines_is_made_in_python(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).order_by("kind", "-n").limit(3).select("kind", "n")

    assert ("order", "python") in steps(query)
    assert query.execute().column("n") == [190, 180, 170]
    assert query.offset(1).execute().column("n") == [180, 170, 160]


def test_a_group_over_several_engines_is_made_in_python(ws: hb.HeavenBase) -> None:
    across = ws.query(Doc).group_by("kind").aggregate(total=Doc.n.sum()).order_by("kind").limit(2)
    within = ws.query(Doc).group_by("even").aggregate(total=Doc.n.sum()).order_by("even")

    assert across.execute().column("total") == [1900, 1920]
    assert within.execute().column("total") == [10000, 9900]
    assert [step["mode"] for step in across.explain().steps if step["step"] == "group"] == ["python"]
    assert [step["backend"] for step in within.explain().steps if step["step"] == "group"] == ["one"]


def test_counting_is_done_where_the_condition_lies(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).where(Doc.kind == "k3").aggregate(rows="count")

    assert {step["backend"] for step in query.explain().steps} == {"two"}
    assert query.execute().scalar() == 20


def test_words_and_nearness_of_different_engines_are_fused(ws: hb.HeavenBase) -> None:
    words = ws.query(Doc).search("wind").where(Doc.n < 10).limit(3)
    both = ws.query(Doc).search("wind").near("at", [0.0, 1.0], 5).where(Doc.even == True).limit(4)  # noqa: E712

    assert len(words.execute()) == 3
    found = both.execute()
    assert found.scores == sorted(found.scores or [], reverse=True)
    assert set(found.column("even")) == {True}


def test_a_search_over_fields_of_several_engines_is_done_in_python(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).search("k3 wind", ["kind", "body"])

    assert {step["mode"] for step in query.explain().steps if step["step"] == "search"} == {"python"}
    assert set(query.execute().column("title")) >= {"t003", "t001"}


def test_bounds_hold_over_all_engines_together(ws: hb.HeavenBase) -> None:
    query = ws.query(Doc).where(Doc.n >= 0)

    with pytest.raises(hb.errors.ResultTooLarge, match="more than 10 rows"):
        query.limits(max_rows=10).execute()
    with pytest.raises(hb.errors.ResultTooLarge, match="passes 500 bytes"):
        query.limits(max_bytes=500).execute()
    with pytest.raises(hb.errors.DeadlineExceeded):
        query.limits(deadline=1e-9).execute()


def test_a_plan_without_an_answer_reads_no_rows(ws: hb.HeavenBase) -> None:
    plan = ws.query(Doc).where((Doc.n < 5) & (Doc.kind == "k1")).order_by("title", "n").explain()

    assert plan.rows is None
    assert [step["backend"] for step in plan.steps if step["step"] == "ids"] == ["one", "two"]


# -- mirrors -------------------------------------------------------------------------------------------------------


class Mirrored(hb.Entity):
    title = hb.field(hb.ShortText).index()
    n = hb.field(hb.Integer).store(to="one", mirror=True).index()
    kind = hb.field(hb.ShortText).store(to="one", mirror=True)
    body = hb.field(hb.LongText).store(to="one", strategy=hb.InvertedIndex, mirror=True)
    alone = hb.field(hb.Integer).store(to="one")
    at = hb.field(hb.Vector(2)).store(to="two", mirror=True)


@pytest.fixture
def mirrored(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.register(Mirrored)
    ws.upsert_many(
        Mirrored,
        [
            {
                "name": f"{one}",
                "title": f"t{one:03d}",
                "n": one,
                "kind": f"k{one % 3}",
                "body": "wind" if one % 3 else "sea",
                "alone": -one,
                "at": [float(one), 1.0],
            }
            for one in range(60)
        ],
    )
    return ws


def backends(query: Any) -> set[str]:
    return {step["backend"] for step in query.explain(analyze=True).steps}


def test_what_the_primary_has_a_copy_of_is_answered_there(mirrored: hb.HeavenBase) -> None:
    query = mirrored.query(Mirrored)

    for one in (
        query.where(Mirrored.n > 50, Mirrored.title < "t058").select("kind"),
        query.where((Mirrored.n == 7) | (Mirrored.title == "t001")).order_by("-n").select("title", "n", "at"),
        query.where(Mirrored.kind == "k1").order_by("n", "title").limit(3).select("n"),
    ):
        assert backends(one) == {"main"}
    assert query.where(Mirrored.n > 56).order_by("n").execute().column("kind") == ["k0", "k1", "k2"]


def test_a_group_goes_to_the_engine_that_the_fields_were_placed_in(mirrored: hb.HeavenBase) -> None:
    groups = mirrored.query(Mirrored).group_by("kind").aggregate(total=Mirrored.n.sum()).order_by("kind")

    assert backends(groups) == {"one"}
    assert backends(groups.where(Mirrored.alone < -3)) == {"one"}
    assert backends(groups.where(Mirrored.title < "t030")) == {"main"}
    assert groups.execute().column("total") == [570, 590, 610]
    assert groups.where(Mirrored.title < "t003").execute().column("total") == [0, 1, 2]


def test_fields_of_two_engines_are_grouped_on_the_copies(mirrored: hb.HeavenBase) -> None:
    query = mirrored.query(Mirrored).group_by("title").aggregate(most=Mirrored.n.max()).order_by("-title").limit(2)

    assert steps(query) == [("aggregate", "main"), ("group", "main")]
    assert query.explain().native
    assert query.execute().rows() == [{"title": "t059", "most": 59}, {"title": "t058", "most": 58}]


def test_an_index_of_the_fields_own_engine_is_not_given_up_for_the_copy(mirrored: hb.HeavenBase) -> None:
    query = mirrored.query(Mirrored).where(Mirrored.body.match("sea"), Mirrored.title < "t010").select("title")

    explained = query.explain(analyze=True)

    assert explained.native
    assert {step["backend"] for step in explained.steps if step.get("op") == "match"} == {"one"}
    assert sorted(query.execute().column("title")) == ["t000", "t003", "t006", "t009"]
    assert mirrored.query(Mirrored).search("sea").limit(30).execute().rows()[0]["body"] == "sea"


def test_near_is_asked_where_the_vector_was_placed(mirrored: hb.HeavenBase) -> None:
    query = mirrored.query(Mirrored).near("at", [5.0, 1.0], top_k=2, metric="l2").where(Mirrored.n != 5)

    assert query.explain().steps[-1]["backend"] == "two"
    assert sorted(query.select("n").execute().column("n")) == [4, 6]


def test_a_row_whose_fields_all_have_copies_is_read_from_the_primary_alone(tmp_path: Path) -> None:
    class Whole(hb.Entity):
        title = hb.field(hb.ShortText)
        n = hb.field(hb.Integer).store(to="one", mirror=True)

    with hb.HeavenBase("whole", path=tmp_path, backends={"main": "sqlite", "one": "sqlite"}) as ws:
        ws.register(Whole)
        one = ws.upsert(Whole, {"title": "a", "n": 1})
        (tmp_path / "one.db").unlink()
        assert ws.get(one, Whole) == {"object_id": one, "name": None, "title": "a", "n": 1}


def test_both_copies_change_together_or_not_at_all(mirrored: hb.HeavenBase) -> None:
    one = mirrored.query(Mirrored).where(Mirrored.n == 7).execute().ids[0]
    with pytest.raises(ZeroDivisionError), mirrored.transaction() as tx:  # noqa: PT012  # the whole block is undone
        tx.set(one, {"n": 700}, Mirrored)
        assert tx.query(Mirrored).where(Mirrored.n == 700).count() == 1
        raise ZeroDivisionError
    total = mirrored.query(Mirrored).aggregate(total=Mirrored.n.sum())
    assert (total.execute().scalar(), mirrored.get(one, Mirrored)) == (1770, mirrored.get(one))

    mirrored.set(one, {"n": 700}, Mirrored)

    assert backends(total) == {"one"}
    assert total.execute().scalar() == 1770 + 693
    assert mirrored.query(Mirrored).where(Mirrored.n == 700).execute().ids == [one]
    mirrored.delete(one, Mirrored)
    assert total.execute().scalar() == 1763
    assert mirrored.check().ok
