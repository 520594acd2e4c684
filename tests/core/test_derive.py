"""Derived entities, `heaven_core.derive`: asked like any other, stored nowhere, written by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.derive import Hints, View
from heaven_core.errors import DuplicateId, InvalidType, InvalidValue, NotResolved, QueryError, SchemaError
from heaven_core.plan import equalities

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


class Task(hb.Entity):
    title = hb.field(hb.ShortText)
    owner = hb.field(hb.ShortText)
    hours = hb.field(hb.Integer)


asked: list[Hints] = []


def rows(view: View, hints: Hints) -> Iterator[dict[str, Any]]:
    asked.append(hints)
    totals: dict[str, list[dict[str, Any]]] = {}
    for row in view.query("task").where({"owner": {"$is_null": False}}).execute().rows():
        totals.setdefault(row["owner"], []).append(row)
    for owner, tasks in totals.items():
        if hints.allow("owner", owner):
            hours = sum(task["hours"] for task in tasks)
            yield {
                "object_id": f"load-{owner}",
                "owner": owner,
                "hours": hours,
                "text": " ".join(task["title"] for task in tasks),
                "place": [float(hours), 1.0],
            }


class Load(hb.Entity):
    """How much work everybody has."""

    __derived__ = rows
    owner = hb.field(hb.ShortText)
    hours = hb.field(hb.Integer)
    text = hb.field(hb.LongText)
    place = hb.field(hb.Vector(2))
    note = hb.field(hb.ShortText)


@pytest.fixture
def loads(ws: hb.HeavenBase) -> hb.HeavenBase:
    asked.clear()
    ws.register(Task, Load)
    ws.upsert_many(
        Task,
        [
            {"object_id": "1", "title": "write the tests", "owner": "ann", "hours": 2},
            {"object_id": "2", "title": "read the code", "owner": "ann", "hours": 3},
            {"object_id": "3", "title": "write words", "owner": "bob", "hours": 5},
            {"object_id": "4", "title": "nobody's", "hours": 9},
        ],
    )
    return ws


def test_rows_are_computed_when_they_are_asked_for(loads: hb.HeavenBase) -> None:
    assert asked == []

    found = loads.query(Load).where(Load.hours == 5).order_by("-owner").select("owner", "note").execute()

    assert found.rows() == [
        {"object_id": "load-bob", "owner": "bob", "note": None},
        {"object_id": "load-ann", "owner": "ann", "note": None},
    ]
    loads.set("3", {"hours": 6})
    assert loads.query(Load).where(Load.hours == 5).execute().ids == ["load-ann"]


def test_they_are_limited_grouped_and_counted(loads: hb.HeavenBase) -> None:
    assert loads.query(Load).order_by("owner").limit(1).offset(1).execute().ids == ["load-bob"]
    assert loads.count(Load) == 2
    assert loads.count(Load, {"hours": {"$gt": 5}}) == 0
    grouped = loads.query(Load).group_by("hours").aggregate(people="count", who=Load.owner.max()).having({"people": 2})
    assert grouped.execute().rows() == [{"hours": 5, "people": 2, "who": "bob"}]
    assert loads.ids(Load) == ["load-ann", "load-bob"]


def test_they_are_searched_and_ranked(loads: hb.HeavenBase) -> None:
    assert loads.query(Load).search("write words", "text").execute().ids == ["load-bob", "load-ann"]
    near = loads.query(Load).where(Load.owner != "x").near("place", [5, 1], top_k=1, metric="l2").execute()
    assert (near.ids, near.scores) == (["load-ann"], [0.0])
    assert loads.query(Load).search("nothing").execute().ids == []


def test_they_are_read_by_id(loads: hb.HeavenBase) -> None:
    row = loads.get("load-ann", Load)

    assert row is not None
    assert (row["hours"], row["name"]) == (5, None)
    assert loads.get("load-eve", Load) is None
    assert [one and one["owner"] for one in loads.get_many(["load-bob", "x", "load-ann"], Load)] == ["bob", None, "ann"]
    assert (loads.exists("load-bob", Load), loads.exists("x", Load)) == (True, False)
    assert loads.version("load-bob", Load) is None
    assert loads.versions(Load, ["load-bob", "x"]) == [None, None]


def test_without_its_entity_a_derived_row_is_not_found(loads: hb.HeavenBase) -> None:
    assert loads.get("load-ann") is None
    assert not loads.exists("load-ann")


def test_hints_say_what_can_be_in_the_answer(loads: hb.HeavenBase) -> None:
    found = loads.query(Load).where(Load.owner.in_(["ann", "eve"]), Load.hours > 1).execute()

    assert found.ids == ["load-ann"]
    assert asked[-1].equal == {"owner": frozenset({"ann", "eve"})}
    assert asked[-1].allow("owner", "ann")
    assert not asked[-1].allow("owner", "bob")
    assert asked[-1].allow("text", "anything")


def test_hints_are_drawn_from_what_must_hold_only() -> None:
    one, two = Load.owner == "ann", Load.owner.in_(["ann", "bob"])

    assert equalities(one & two & (Load.hours == 5)) == {"owner": frozenset({"ann"})}
    assert equalities(one | two) == {}
    assert equalities(~one) == {}
    assert equalities(None) == {}


def test_a_hint_that_is_not_used_changes_no_answer(ws: hb.HeavenBase) -> None:
    def everything(view: View, hints: Hints) -> list[dict[str, Any]]:
        return [{"object_id": one, "kind": one} for one in "abc"]

    class Letter(hb.Entity):
        __derived__ = everything
        kind = hb.field(hb.ShortText)

    ws.register(Letter)

    assert ws.query(Letter).where(Letter.kind == "b").execute().ids == ["b"]


@pytest.mark.parametrize(
    "write",
    [
        lambda ws: ws.upsert(Load, {"owner": "eve"}),
        lambda ws: ws.upsert_many(Load, []),
        lambda ws: ws.set("load-ann", {"hours": 1}, Load),
        lambda ws: ws.delete("load-ann", Load),
        lambda ws: ws.delete_many(["load-ann"], "load"),
    ],
)
def test_writing_is_refused(loads: hb.HeavenBase, write: Callable[[hb.HeavenBase], Any]) -> None:
    with pytest.raises(SchemaError, match="entity 'load' is derived from others and cannot be written"):
        write(loads)


def test_inside_a_transaction_its_own_writes_are_seen(loads: hb.HeavenBase) -> None:
    with loads.transaction() as tx:
        tx.upsert(Task, {"title": "t", "owner": "eve", "hours": 1})

        assert tx.count(Load) == 3
        assert loads.count(Load) == 2


def test_the_view_shows_the_structure(loads: hb.HeavenBase) -> None:
    view = View(loads)

    assert [one.schema.id for one in view.entities()] == ["load", "sys-catalog", "sys-metaschema", "task"]
    assert [one.identifier for one in view.extensions()] == ["system"]
    assert view.capabilities is loads.capabilities
    assert view.versions("task", ["1", "x"]) == [loads.version("1"), None]


def test_a_derived_entity_is_not_in_the_engine(loads: hb.HeavenBase) -> None:
    assert loads.check().ok
    explained = loads.query(Load).explain(analyze=True)
    assert [step["step"] for step in explained.steps] == ["derive"]
    assert loads.query(Load).explain().rows is None


MODULE = """
import heavenbase as hb
def rows(view, hints):
    yield {"object_id": "one", "n": view.query("task").count()}
class Task(hb.Entity):
    title = hb.field(hb.ShortText)
class Number(hb.Entity):
    __derived__ = rows
    n = hb.field(hb.Integer)
"""


def test_it_is_computed_again_after_reopening_without_its_class(elsewhere: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "numbers_of.py").write_text(MODULE)
    opened = "import json, heavenbase as hb\nwith hb.HeavenBase('derived') as ws:\n"
    elsewhere(f"import numbers_of as m\n{opened}    ws.register(m.Task, m.Number); ws.upsert(m.Task, {{}}); print(1)")

    found = elsewhere(f"{opened}    print(json.dumps(ws.query('number').execute().column('n')))")
    (tmp_path / "numbers_of.py").unlink()
    lost = elsewhere(
        "from heaven_core.errors import NotResolved\n"
        f"{opened}    try: ws.count('number')\n"
        "    except NotResolved as error: print(json.dumps([str(error), ws.count('task')]))"
    )

    assert found == [1]
    why = "entity 'number' is derived by 'numbers_of:rows', which cannot be imported here"
    assert lost == [f"{why}; install or import what brings it", 1]


def test_a_function_may_be_given_by_its_name(
    ws: hb.HeavenBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "letters_of.py").write_text("def rows(view, hints):\n    return [{'object_id': 'a'}]\n")
    monkeypatch.syspath_prepend(tmp_path)

    class Letter(hb.Entity):
        __derived__ = "letters_of:rows"

    ws.register(Letter)

    assert ws.ids(Letter) == ["a"]


def test_a_local_function_is_found_as_long_as_its_class_is_there(open_workspace: Callable[..., hb.HeavenBase]) -> None:
    def local(view: View, hints: Hints) -> list[dict[str, Any]]:
        return [{"object_id": "x"}]

    class Local(hb.Entity):
        __derived__ = local

    first = open_workspace("sqlite")
    first.register(Local)
    first.close()

    again = open_workspace("sqlite")

    with pytest.raises(NotResolved, match="entity 'local' is derived by"):
        again.count("local")
    assert again.count(Local) == 1


# -- rows that are none ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "kind", "message"),
    [
        ([{"object_id": 1}], InvalidType, r"wrong\.object_id, row 0: 1 is an int"),
        ([{"object_id": "a"}, {"title": "x"}], InvalidValue, r"wrong\.object_id, row 1: None is no id"),
        ([{"object_id": "a", "title": 5}], InvalidType, r"wrong\.title, row 0: 5 is an int"),
        ([{"object_id": "a"}, {"object_id": "a"}], DuplicateId, "is also the id of row 0"),
        ([5], QueryError, "deriving entity 'wrong' failed: TypeError"),
        (None, QueryError, "deriving entity 'wrong' failed: TypeError"),
    ],
    ids=str,
)
def test_rows_that_do_not_fit_the_entity_are_refused(ws: hb.HeavenBase, rows: Any, kind: Any, message: str) -> None:
    class Wrong(hb.Entity):
        title = hb.field(hb.ShortText)
        __derived__ = staticmethod(lambda view, hints: rows)

    ws.register(Wrong)

    with pytest.raises(kind, match=message):
        ws.query(Wrong).execute()


def test_an_entity_that_is_derived_from_itself_says_so(ws: hb.HeavenBase) -> None:
    class Snake(hb.Entity):
        title = hb.field(hb.ShortText)
        __derived__ = staticmethod(lambda view, hints: view.query("snake").execute().rows())

    ws.register(Snake)

    with pytest.raises(QueryError, match="entity 'snake' is derived from itself"):
        ws.count(Snake)


def test_a_schema_cannot_make_any_function_run(ws: hb.HeavenBase, capsys: pytest.CaptureFixture[str]) -> None:
    ws.register(hb.Entity.from_schema({"id": "odd", "derived": "builtins:print", "fields": []}))

    with pytest.raises(NotResolved, match="derived by 'builtins:print', which no class here declares"):
        ws.count("odd")
    assert capsys.readouterr().out == ""
