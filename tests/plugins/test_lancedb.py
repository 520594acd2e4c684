"""The LanceDB engine: its folder, nearest vectors, what it refuses and how it says so.

Answers are compared with those of other engines in `tests/semantics`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heaven_lancedb
import heavenbase as hb
from heaven_core import config
from heaven_core.backend import Scan
from heaven_core.errors import (
    ConfigError,
    DeadlineExceeded,
    EngineNotInstalled,
    FormatTooNew,
    HeavenError,
    InvalidValue,
    NotADatabase,
    ResultTooLarge,
    StorageError,
    WorkspaceConflict,
)
from heaven_core.handlers import AllOf, AnyOf, IdSet, NoneOf, Where

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.engines("lancedb")]

pytest.importorskip("lancedb")
pytest.importorskip("pyarrow")


class Spot(hb.Entity):
    title = hb.field(hb.ShortText).index()
    level = hb.field(hb.Integer).store(to="near")
    label = hb.field(hb.ShortText).store(to="near")
    place = hb.field(hb.Vector(4))


BACKENDS: dict[str, Any] = {"main": "sqlite", "near": "lancedb"}


def opened(folder: Path, backends: dict[str, Any] = BACKENDS) -> hb.HeavenBase:
    return hb.HeavenBase("spots", path=folder, backends=backends)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with opened(tmp_path / "ws") as workspace:
        workspace.register(Spot)
        yield workspace


def fill(ws: hb.HeavenBase, count: int = 60) -> list[str]:
    dice = random.Random(7)
    rows = [
        {
            "title": f"t{one:03d}",
            "level": one % 5,
            "label": "it's" if one % 2 else "no \\ 'quote",
            "place": [round(dice.uniform(-1, 1), 1) for _ in range(4)] if one % 9 else None,
        }
        for one in range(count)
    ]
    return ws.upsert_many(Spot, rows)


def test_the_declaration_needs_nothing_of_the_engine_and_names_what_installs_it() -> None:
    assert heaven_lancedb.PLUGIN.install_hint() == "pip install 'heaven-core[lancedb]'"
    assert not heaven_lancedb.PLUGIN.primary


def test_vectors_go_there_by_themselves(ws: hb.HeavenBase) -> None:
    assert ws.core().stored(Spot).placement["place"].backend == "near"


# -- nearest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "l2", "dot"])
@pytest.mark.parametrize("budget", [10**6, 1])
@pytest.mark.parametrize(
    "condition", [{}, {"level": 3}, {"title": {"$gt": "t030"}}, {"level": 1, "title": {"$ne": "t001"}}]
)
def test_the_nearest_are_those_of_the_memory_engine_within_the_budget_and_beyond(
    tmp_path: Path, metric: str, budget: int, condition: dict[str, Any]
) -> None:
    def answer(ws: hb.HeavenBase) -> tuple[list[Any], Any]:
        found = ws.query("spot").where(condition).near("place", [0.3, -0.2, 0.9, 0.1], 7, metric).execute()
        return found.column("title"), found.scores

    with config.override(vector__memory_budget=budget), opened(tmp_path / "ws") as ws:
        ws.register(Spot)
        rows = ws.get_many(fill(ws), Spot)
        here = answer(ws)
    with hb.HeavenBase("oracle", preset="debug") as oracle:
        kinds = {one.name: one.dtype for one in Spot.schema().fields[2:]}
        plain = type("Spot", (hb.Entity,), {name: hb.field(kind) for name, kind in kinds.items()})
        oracle.register(plain)
        oracle.upsert_many(plain, [row for row in rows if row is not None])
        assert here == answer(oracle)


def test_a_plan_says_how_the_nearest_are_found(ws: hb.HeavenBase) -> None:
    fill(ws)

    plan = ws.query(Spot).near("place", [1, 0, 0, 0], 3).where({"level": 2}).explain(analyze=True)

    assert plan.steps[-1]["backend"] == "near"
    assert plan.steps[-1]["notes"] == "exact matrix in memory, condition first"
    assert plan.native


@pytest.mark.parametrize("settled_ns", [2_000_000_000, -(10**18)])  # of which one has a folder's time trusted at once
def test_a_changed_vector_is_found_at_once_by_every_process(
    ws: hb.HeavenBase, tmp_path: Path, settled_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_lancedb.folder.SETTLED_NS", settled_ns)
    ids = fill(ws)
    query = ws.query(Spot).near("place", [9, 9, 9, 9], 1, "dot")
    query.execute()
    code = f"""
import heavenbase as hb
with hb.HeavenBase("spots", path={str(tmp_path / "ws")!r}, backends={BACKENDS!r}) as ws:
    ws.set({ids[1]!r}, {{"place": [5, 5, 5, 5]}})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

    assert query.execute().ids == [ids[1]]


def test_a_vector_of_another_dimension_is_refused(ws: hb.HeavenBase) -> None:
    with pytest.raises(InvalidValue, match=r"spot\.place"):
        ws.upsert(Spot, {"place": [1.0, 2.0]})


# -- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["it's", "''", "\\", "\\'", "a\nb", '"', "`", "%_", "漢 é \U0001f600", "--", "; drop table e_spot"]
)
def test_a_text_is_a_value_whatever_is_in_it(ws: hb.HeavenBase, text: str) -> None:
    ws.upsert_many(Spot, [{"object_id": text, "label": text}, {"object_id": "other", "label": "x"}])

    assert ws.query(Spot).where({"label": text}).execute().ids == [text]
    assert ws.query(Spot).where({"label": {"$contains": text}}).execute().ids == [text]
    assert ws.get(text, Spot)["label"] == text  # type: ignore[index]


# -- the folder ----------------------------------------------------------------------------------------------------


def test_what_a_commit_made_is_on_the_disk_before_it_is_acknowledged(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def noted(number: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        real(number)

    monkeypatch.setattr(os, "fsync", noted)
    fill(ws)

    kinds = {path.split("e_spot.lance/")[-1].split("/")[0] for path in synced if "e_spot.lance" in path}
    assert {"data", "_versions", "_transactions"} <= kinds


def test_the_folder_goes_with_the_workspace(tmp_path: Path) -> None:
    with opened(tmp_path / "ws") as ws:
        ws.register(Spot)
        fill(ws)
        assert (tmp_path / "ws" / "near.lance").is_dir()
        ws.drop()
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("claim", "error", "message"),
    [
        ({"format": 1, "workspace": "other"}, WorkspaceConflict, "belongs to workspace 'other'"),
        ({"format": 9, "workspace": "spots"}, FormatTooNew, "format 9"),
        ({"what": 1}, StorageError, "is damaged"),
    ],
)
def test_a_folder_that_is_not_this_workspace_s_is_refused(
    tmp_path: Path, claim: Any, error: type[Exception], message: str
) -> None:
    folder = tmp_path / "ws" / "near.lance"
    folder.mkdir(parents=True)
    (folder / "heavenbase.json").write_text(json.dumps(claim))

    with opened(tmp_path / "ws") as ws, pytest.raises(error, match=message):
        ws.register(Spot)


def test_a_folder_that_somebody_else_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ws" / "near.lance" / "mine.lance").mkdir(parents=True)

    with opened(tmp_path / "ws") as ws, pytest.raises(NotADatabase, match="did not make this LanceDB folder"):
        ws.register(Spot)


def test_a_table_that_was_removed_from_outside_is_said_to_be(tmp_path: Path) -> None:
    with opened(tmp_path / "ws") as ws:
        ws.register(Spot)
        fill(ws)
    shutil.rmtree(tmp_path / "ws" / "near.lance" / "e_spot.lance")

    with opened(tmp_path / "ws") as ws:
        with pytest.raises(StorageError, match="altered from outside"):
            ws.count("spot", {"level": 1})
        assert ws.count("spot", {"title": "t001"}) == 1


Damage = Callable[[Path], object]


def table_of(folder: Path) -> Any:
    import lancedb

    return lancedb.connect(folder).open_table("e_spot")


DAMAGES: dict[str, tuple[Damage, str]] = {
    "column dropped": (lambda folder: table_of(folder).drop_columns(["level"]), "missing-column"),
    "vectors dropped": (lambda folder: table_of(folder).drop_columns(["place"]), "missing-column"),
    "table removed": (lambda folder: shutil.rmtree(folder / "e_spot.lance"), "missing-table"),
    "folder moved": (lambda folder: folder.rename(folder.with_name("elsewhere")), "missing-table"),
    "rows deleted": (lambda folder: table_of(folder).delete("level < 5"), "lost-part"),
}


@pytest.mark.parametrize(("damage", "kind"), DAMAGES.values(), ids=list(DAMAGES))
@pytest.mark.parametrize("while_open", [True, False])
def test_what_was_altered_from_outside_is_said_by_reads_and_found_by_check(
    tmp_path: Path, damage: Damage, kind: str, while_open: bool
) -> None:
    ws = opened(tmp_path / "ws")
    ws.register(Spot)
    ids = fill(ws)
    ws.query(Spot).near("place", [1, 0, 0, 0]).execute()
    if not while_open:
        ws.close()

    damage(tmp_path / "ws" / "near.lance")

    with ws if while_open else opened(tmp_path / "ws") as ws:
        with pytest.raises(StorageError, match=r"see ws\.check\(\)") as caught:
            ws.get(ids[1], Spot)
        assert str(tmp_path) not in str(caught.value)
        assert {one.kind for one in ws.check().findings if not one.repairable} == {kind}
        assert ws.count("spot", {"title": "t001"}) == 1


def test_a_write_that_cannot_reach_a_table_altered_from_outside_is_not_lost_to_check(ws: hb.HeavenBase) -> None:
    ids = fill(ws)
    table_of(folder_of(ws)).drop_columns(["level"])

    ws.delete_many(ids[:2])  # the primary has it, and the others are told when they can be

    assert [one.kind for one in ws.check().findings] == ["missing-column"]
    with pytest.raises(StorageError, match="altered from outside"):
        ws.query(Spot).near("place", [1, 0, 0, 0]).execute()


def test_rows_that_somebody_put_twice_are_found(ws: hb.HeavenBase) -> None:
    fill(ws)
    table = table_of(folder_of(ws))
    table.add(table.search().limit(3).to_arrow())

    (found,) = ws.check().findings

    assert (found.kind, found.detail) == ("repeated-rows", "3 rows have the id of another")


def test_bounds_of_time_rows_and_bytes_hold(ws: hb.HeavenBase) -> None:
    fill(ws)
    near = ws.query(Spot).near("place", [1, 0, 0, 0], 20)

    for query in (near, near.where({"level": 2}), ws.query(Spot).where({"level": 2}).select("label")):
        with pytest.raises(DeadlineExceeded):
            query.limits(deadline=1e-9).execute()
        with pytest.raises(ResultTooLarge, match="more than 3 rows"):
            query.limits(max_rows=3).execute()
        with pytest.raises(ResultTooLarge, match="passes 10 bytes"):
            query.limits(max_bytes=10).execute()


def test_vectors_that_are_read_for_one_question_keep_to_its_deadline(tmp_path: Path) -> None:
    with config.override(vector__memory_budget=1), opened(tmp_path / "ws") as ws:
        ws.register(Spot)
        fill(ws)
        with pytest.raises(DeadlineExceeded):
            ws.query(Spot).near("place", [1, 0, 0, 0], 3).limits(deadline=1e-9).execute()


def test_a_question_about_vectors_of_another_dimension_is_refused(ws: hb.HeavenBase) -> None:
    with pytest.raises(HeavenError, match="place"):
        ws.query(Spot).near("place", [1.0, 2.0], 3)


def test_deleting_says_which_rows_there_were(ws: hb.HeavenBase) -> None:
    ids = fill(ws, 5)
    backend, layout = ws.core().stored(Spot).spread.parts["near"]  # type: ignore[union-attr]

    assert backend.delete(layout, [ids[3], "none", ids[0], ids[3]], None) == [ids[3], ids[0]]
    assert backend.delete(layout, [ids[3], "none"], None) == []


def test_any_number_of_ids_may_come_from_another_engine(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = fill(ws)
    backend, layout = ws.core().stored(Spot).spread.parts["near"]  # type: ignore[union-attr]
    many = IdSet([*(f"{one:032x}" for one in range(500_000)), *ids[:7]])

    def found(where: Where) -> list[str]:
        return sorted(row[0] for row in backend.run(Scan(layout, where=where)).tuples)

    assert found(many) == sorted(ids[:7])
    assert found(AllOf([many, IdSet(ids[5:])])) == sorted(ids[5:7])
    assert found(NoneOf(many)) == sorted(ids[7:])
    assert found(AnyOf([many, IdSet(ids[:9])])) == sorted(ids[:9])
    assert backend.estimate(Scan(layout, where=many)) is None


# -- partitions ----------------------------------------------------------------------------------------------------


def folder_of(ws: hb.HeavenBase) -> Path:
    assert ws.folder is not None
    return ws.folder / "near.lance"


@pytest.fixture
def partitioned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., hb.HeavenBase]]:
    """A function that opens a workspace whose vectors are beyond the budget, and so many that an index is made."""
    monkeypatch.setattr("heaven_lancedb.partitions.LEAST_ROWS", 100)
    monkeypatch.setattr("heaven_lancedb.partitions.TIDY_ROWS", 100)
    with ExitStack() as stack:
        stack.enter_context(config.override(vector__memory_budget=1))

        def opened_with(**options: int) -> hb.HeavenBase:
            near = {"type": "lancedb", **options}
            ws = stack.enter_context(opened(tmp_path / f"ws{len(options)}", {"main": "sqlite", "near": near}))
            ws.register(Spot)
            return ws

        yield opened_with


def how(query: Any) -> str:
    return query.explain(analyze=True).steps[-1]["notes"]


def test_an_answer_from_some_partitions_says_so(partitioned: Callable[..., hb.HeavenBase]) -> None:
    ws = partitioned(nprobes=2)
    fill(ws, 400)
    near = ws.query(Spot).near("place", [0.3, -0.2, 0.9, 0.1], 5)

    assert how(near) == "IVF_FLAT, nprobes=2: approximate"
    assert len(near.execute()) == 5
    assert near.execute().scores == sorted(near.execute().scores or [])
    assert how(ws.query(Spot).near("place", [0.3, 0, 0, 0], 5, "l2")) == "exact: vectors read from the table"
    assert [one.index_type for one in table_of(folder_of(ws)).list_indices()] == ["BTree", "IvfFlat"]


def test_all_partitions_have_the_answer_of_the_exact_search(partitioned: Callable[..., hb.HeavenBase]) -> None:
    ws, exact = partitioned(nprobes=1000), partitioned()
    rows = [row for row in ws.get_many(fill(ws, 400), Spot) if row is not None]
    exact.upsert_many(Spot, rows)

    for wanted in ([0.3, -0.2, 0.9, 0.1], [-1.0, 0.5, 0.2, 0.0]):
        found = ws.query(Spot).near("place", wanted, 7).execute()
        expected = exact.query(Spot).near("place", wanted, 7).execute()
        assert (found.ids, found.scores) == (expected.ids, expected.scores)


def test_a_narrow_condition_has_as_many_rows_as_there_are(partitioned: Callable[..., hb.HeavenBase]) -> None:
    ws = partitioned(nprobes=1)
    fill(ws, 400)

    here = ws.query(Spot).near("place", [0.3, -0.2, 0.9, 0.1], 60).where({"level": 3})
    elsewhere = ws.query(Spot).near("place", [0.3, -0.2, 0.9, 0.1], 30).where({"title": {"$lt": "t040"}})

    assert len(here.execute()) == 60
    assert len(elsewhere.execute()) == 30


def test_a_row_is_found_before_it_is_in_the_index(partitioned: Callable[..., hb.HeavenBase]) -> None:
    ws = partitioned(nprobes=1)
    fill(ws, 400)
    new = ws.upsert(Spot, {"place": [0.123, -0.2, 0.9, 0.1]})

    assert ws.query(Spot).near("place", [0.123, -0.2, 0.9, 0.1], 1).execute().ids == [new]


def test_without_the_option_every_answer_is_exact_and_no_index_is_made(tmp_path: Path) -> None:
    with config.override(vector__memory_budget=1), opened(tmp_path / "ws") as ws:
        ws.register(Spot)
        fill(ws)
        assert how(ws.query(Spot).near("place", [1, 0, 0, 0], 5)) == "exact: vectors read from the table"
        assert [one.index_type for one in table_of(folder_of(ws)).list_indices()] == ["BTree"]


@pytest.mark.parametrize("value", [0, -1, "20", 1.5, True])
def test_a_number_of_partitions_that_is_none_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match="nprobes takes a positive whole number"):
        opened(tmp_path, {"main": "sqlite", "near": {"type": "lancedb", "nprobes": value}})


def test_a_misspelt_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no option 'pathh'; did you mean 'path'"):
        opened(tmp_path, {"main": "sqlite", "near": {"type": "lancedb", "pathh": "x"}})


def test_a_missing_library_is_named_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.plugin._is_importable", lambda name: name != "lancedb")

    with pytest.raises(EngineNotInstalled, match=r"pip install 'heaven-core\[lancedb\]'"):
        opened(tmp_path)


def test_opening_a_workspace_does_not_import_what_nobody_uses(tmp_path: Path) -> None:
    code = f"""
import sys
import heavenbase as hb
with hb.HeavenBase("spots", path={str(tmp_path)!r}, backends={BACKENDS!r}) as ws:
    print(sorted({{"lancedb", "pyarrow", "duckdb"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)

    assert ran.stdout == "[]\n"


def test_dropping_a_workspace_leaves_a_folder_that_is_somebody_else_s(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    (theirs / "photos.lance").mkdir(parents=True)
    (theirs / "letter.txt").write_text("dear")
    backends = {"main": "sqlite", "near": {"type": "lancedb", "database": str(theirs)}}

    with pytest.raises(NotADatabase):
        opened(mine, backends).drop()

    assert (theirs / "letter.txt").read_text() == "dear"
    assert (theirs / "photos.lance").is_dir()


def test_dropping_a_workspace_removes_its_tables_and_no_other_file(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "letter.txt").write_text("dear")
    ws = opened(tmp_path / "mine", {"main": "sqlite", "near": {"type": "lancedb", "database": str(shared)}})
    ws.register(Spot)
    fill(ws)

    ws.drop()

    assert [one.name for one in shared.iterdir()] == ["letter.txt"]


def test_small_files_that_others_left_are_joined_by_whoever_writes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heaven_lancedb.partitions.TIDY_COMMITS", 20)
    for _ in range(3):
        with opened(tmp_path / "ws") as ws:
            ws.register(Spot)
            for one in range(12):
                ws.upsert(Spot, {"title": f"p{one}", "place": [1, one, 0, 0]})

    stats = table_of(tmp_path / "ws" / "near.lance").stats()
    assert stats["fragment_stats"]["num_fragments"] <= 21
