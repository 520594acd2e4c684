"""The LanceDB engine: its folder, nearest vectors, what it refuses and how it says so.

Answers are compared with those of other engines in `tests/semantics`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heaven_lancedb
import heavenbase as hb
from heaven_core import config
from heaven_core.errors import (
    ConfigError,
    EngineNotInstalled,
    FormatTooNew,
    InvalidValue,
    NotADatabase,
    StorageError,
    WorkspaceConflict,
)

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


def test_a_changed_vector_is_found_at_once_by_every_process(ws: hb.HeavenBase, tmp_path: Path) -> None:
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
    import shutil

    with opened(tmp_path / "ws") as ws:
        ws.register(Spot)
        fill(ws)
    shutil.rmtree(tmp_path / "ws" / "near.lance" / "e_spot.lance")

    with opened(tmp_path / "ws") as ws:
        with pytest.raises(StorageError, match="altered from outside"):
            ws.count("spot", {"level": 1})
        assert ws.count("spot", {"title": "t001"}) == 1


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
