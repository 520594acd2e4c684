"""The PostgreSQL engine: its schema, several processes, what it refuses and how it says so.

Answers are compared with those of other engines in `tests/semantics`; servers that go away in `test_postgres_faults`.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

import heaven_postgres
import heavenbase as hb
from heaven_core.errors import (
    BackendBusy,
    ConfigError,
    DeadlineExceeded,
    EngineNotInstalled,
    FormatTooNew,
    NotADatabase,
    PlacementError,
    QueryCancelled,
    ResultTooLarge,
    StorageError,
    TransactionConflict,
    UniqueViolation,
    WorkspaceConflict,
)
from heaven_core.text import index_version, tokens

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.engines("postgres")]

psycopg: Any = pytest.importorskip("psycopg")


class Note(hb.Entity):
    title = hb.field(hb.ShortText).index()
    body = hb.field(hb.LongText).store(strategy="inverted")
    size = hb.field(hb.Integer)
    weight = hb.field(hb.Float)
    place = hb.field(hb.Vector[3]).store(strategy="vector")


Open = Callable[..., hb.HeavenBase]


@pytest.fixture
def options(engine_options: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    return engine_options("postgres")


@pytest.fixture
def opened(options: dict[str, Any], tmp_path: Path) -> Iterator[Open]:
    """Opens the workspace of this test, again and again if wanted; what it leaves on the server is removed."""

    def again(name: str = "notes", **more: Any) -> hb.HeavenBase:
        return hb.HeavenBase(name, path=tmp_path / name, backends={"main": {**options, **more}})

    yield again
    with psycopg.connect(options["url"], autocommit=True) as raw:
        raw.execute(f'drop schema if exists "{options["schema"]}" cascade')


@pytest.fixture
def ws(opened: Open) -> Iterator[hb.HeavenBase]:
    with opened() as workspace:
        workspace.register(Note)
        yield workspace


@pytest.fixture
def raw(options: dict[str, Any]) -> Iterator[Any]:
    """A connection of one's own to the same schema."""
    with psycopg.connect(options["url"], autocommit=True) as connection:
        connection.execute(f'set search_path = "{options["schema"]}", public')
        yield connection


def fill(ws: hb.HeavenBase, count: int = 100) -> list[str]:
    rows = [
        {"title": f"t{one:04}", "body": f"word{one % 7} common", "size": one, "weight": one / 4, "place": [1, one, 2]}
        for one in range(count)
    ]
    return ws.upsert_many(Note, rows)


def test_the_declaration_needs_nothing_of_the_engine_and_names_what_installs_it() -> None:
    assert heaven_postgres.PLUGIN.install_hint() == "pip install 'heaven-core[postgres]'"
    assert heaven_postgres.PLUGIN.primary


def test_a_missing_library_is_named_with_its_command(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_core.plugin._is_importable", lambda name: name != "psycopg")

    with pytest.raises(EngineNotInstalled, match=r"pip install 'heaven-core\[postgres\]'"):
        opened()


# -- what lies on the server ---------------------------------------------------------------------------------------


def test_what_lies_on_the_server_is_as_it_was(ws: hb.HeavenBase, raw: Any) -> None:
    # A persisted format: a change here needs a new version of it, and an upgrade of what is there.
    one = {"object_id": "x", "title": "one", "body": "A rose is a rose", "size": 1, "weight": 0.5, "place": [1, 0, 0]}
    ws.upsert(Note, one)

    columns = raw.execute(
        "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), coalesce(l.collname, '') "
        "from pg_attribute a join pg_class c on c.oid = a.attrelid left join pg_collation l on l.oid = a.attcollation "
        "where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and a.attnum > 0 "
        "and c.relname in ('note', 'hb.state', 'hb.vectors') order by 1, a.attnum"
    ).fetchall()
    indexes = raw.execute("select indexdef from pg_indexes where tablename = 'note' and schemaname = current_schema()")
    (row,) = raw.execute('select "object_id", _v, title, body, _words_body::text, _length_body, place from note')

    assert [one[1:] for one in columns if one[0] == "note"] == [
        ("object_id", "text", "C"),
        ("_v", "bigint", ""),
        ("name", "text", "C"),
        ("title", "text", "C"),
        ("body", "text", "C"),
        ("_words_body", "tsvector", ""),
        ("_length_body", "integer", ""),
        ("size", "bigint", ""),
        ("weight", "double precision", ""),
        ("place", "bytea", ""),
        ("_near_place", "vector(3)", ""),
        ("_rowid", "bigint", ""),
    ]
    assert [one[1] for one in columns if one[0] == "hb.state"] == [
        *("id", "format", "lsn", "epoch", "workspace", "backend", "text_rules", "own_schema")
    ]
    assert sorted(one.split(" USING ")[1] for (one,) in indexes) == [
        "btree (_rowid)",
        "btree (object_id)",
        "btree (title, object_id)",
        "gin (_words_body)",
        "hnsw (_near_place vector_cosine_ops)",
    ]
    assert row == (
        "x",
        3,
        "one",
        "A rose is a rose",
        "'a':1,4 'is':3 'rose':2,5",
        5,
        bytes.fromhex("0000803f" + 16 * "0"),
    )


def test_a_workspace_is_there_again_without_a_declaration(opened: Open) -> None:
    with opened() as first:
        first.register(Note)
        ids = fill(first, 10)

    with opened() as again:
        assert again.query("note").where({"object_id": ids[3]}).select("title").execute().column("title") == ["t0003"]
        assert again.query("note").search("word3").execute().ids == [ids[3]]
        assert again.check().ok


def test_two_backends_of_one_workspace_have_a_schema_each(
    engine_options: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    url = engine_options("postgres")["url"]
    server = {"type": "postgres", "url": url}

    class Split(hb.Entity):
        here = hb.field(hb.Integer)
        there = hb.field(hb.Integer).store(to="other")

    with hb.HeavenBase("pair-of-schemas", path=tmp_path, backends={"main": server, "other": server}) as ws:
        ws.register(Split)
        (one,) = ws.upsert_many(Split, [{"here": 1, "there": 2}])
        assert ws.query(Split).where((Split.here == 1) & (Split.there == 2)).execute().ids == [one]
        with psycopg.connect(url) as raw:
            found = raw.execute("select nspname from pg_namespace where nspname like 'hb_pair-of-schemas%' order by 1")
            assert found.fetchall() == [("hb_pair-of-schemas",), ("hb_pair-of-schemas.other",)]
        ws.drop()
        with psycopg.connect(url) as raw:
            assert not raw.execute("select 1 from pg_namespace where nspname like 'hb_pair-of-%'").fetchall()


@pytest.mark.parametrize("made", ["create table mine (x integer)", "create view mine as select 1 as x"])
def test_a_schema_that_is_somebody_else_s_is_left_alone(
    opened: Open, options: dict[str, Any], raw: Any, made: str
) -> None:
    raw.execute(f'create schema "{options["schema"]}"')
    raw.execute(made)

    with pytest.raises(NotADatabase, match="HeavenBase did not make what is in schema"):
        opened()

    assert raw.execute("select count(*) from mine").fetchone() is not None


def test_another_workspace_s_schema_is_refused_by_name(opened: Open) -> None:
    opened().close()

    with pytest.raises(WorkspaceConflict, match="belongs to backend 'main' of workspace 'notes'"):
        opened("other")


def test_a_newer_format_is_not_touched(opened: Open, raw: Any) -> None:
    opened().close()
    raw.execute('update "hb.state" set format = 99')

    with pytest.raises(FormatTooNew, match="storage format 99"):
        opened()


def test_dropping_a_workspace_leaves_what_others_put_beside_it(ws: hb.HeavenBase, raw: Any) -> None:
    raw.execute("create table theirs (object_id text)")

    ws.drop()

    found = raw.execute("select tablename from pg_tables where schemaname = current_schema()").fetchall()
    assert found == [("theirs",)]


def test_dropping_a_workspace_leaves_tables_that_only_look_like_its_own(ws: hb.HeavenBase, raw: Any) -> None:
    fill(ws, 3)
    raw.execute("create table backup as select * from note")
    raw.execute("create view report as select object_id, _v, title from backup")

    assert ws.check().ok
    ws.drop()

    assert raw.execute("select count(*) from report").fetchone() == (3,)
    assert raw.execute("select tablename from pg_tables where schemaname = current_schema()").fetchall() == [
        ("backup",)
    ]


@pytest.mark.parametrize("name", ["xmin", "ctid", "tableoid"])
def test_a_field_with_the_name_of_a_system_column_is_refused(opened: Open, name: str) -> None:
    entity = hb.Entity.from_schema({"id": "odd", "fields": [{"name": name, "type": "integer"}]})
    with opened() as ws, pytest.raises(PlacementError, match=f"odd.{name}: PostgreSQL has a column of this name"):
        ws.register(entity)


def test_dropping_a_workspace_leaves_a_schema_that_was_there_before(
    opened: Open, options: dict[str, Any], raw: Any
) -> None:
    raw.execute(f'create schema "{options["schema"]}"')
    with opened() as ws:
        ws.register(Note)
        ws.drop()

    assert raw.execute("select current_schema()").fetchone() == (options["schema"],)
    assert not raw.execute("select 1 from pg_tables where schemaname = current_schema()").fetchall()


def test_arrays_with_a_side_table_have_an_index_over_their_items(opened: Open, raw: Any) -> None:
    class Paper(hb.Entity):
        authors = hb.field(hb.Array[hb.ShortText]).store(strategy=hb.SideTable)

    with opened() as ws:
        ws.register(Paper)
        (one, *_) = ws.upsert_many(Paper, [{"authors": ["Ada", "Ben"]}, {"authors": ["Ben"]}, {}])
        raw.execute("set enable_seqscan = off")
        plan = raw.execute("""explain select 1 from paper t where t.authors::jsonb @> '["Ada"]'::jsonb""").fetchall()

        assert ws.query(Paper).where(Paper.authors.array_contains("Ada")).execute().ids == [one]
        assert "Bitmap Index Scan" in str(plan)


def test_a_long_name_is_not_cut_and_takes_no_other_s_place(opened: Open) -> None:
    long = "x" * 60
    fields = [
        {"name": f"{long}{end}", "type": "short-text", "store": [{"strategy": "inverted"}]} for end in ("one", "two")
    ]
    entity = hb.Entity.from_schema({"id": "e" * 63, "fields": fields})
    with opened() as ws:
        ws.register(entity)
        (one,) = ws.upsert_many(entity, [{f"{long}one": "alpha", f"{long}two": "beta"}])

        assert ws.query(entity).search("alpha", fields=[f"{long}one"]).execute().ids == [one]
        assert not ws.query(entity).search("alpha", fields=[f"{long}two"]).execute().ids
        assert ws.check().ok


def test_a_field_that_comes_later_is_searched_and_ranked_like_the_others(opened: Open) -> None:
    class Later(hb.Entity):
        identifier = "note"
        title = hb.field(hb.ShortText).index()
        body = hb.field(hb.LongText).store(strategy="inverted")
        size = hb.field(hb.Integer)
        weight = hb.field(hb.Float)
        place = hb.field(hb.Vector[3]).store(strategy="vector")
        more = hb.field(hb.LongText).store(strategy="inverted")
        other = hb.field(hb.Vector[2])

    with opened() as ws:
        ws.register(Note)
        fill(ws, 5)
        ws.register(Later)
        new = ws.upsert(Later, {"more": "zebra", "other": [1, 0]})

        assert ws.query(Later).search("zebra", fields=["more"]).execute().ids == [new]
        assert ws.query(Later).near(Later.other, [1, 0]).execute().ids == [new]
        assert ws.check().ok


# -- options -------------------------------------------------------------------------------------------------------


def test_a_misspelt_option_is_refused(opened: Open) -> None:
    with pytest.raises(ConfigError, match="takes no option 'shema'; did you mean 'schema'"):
        opened(shema="x")


@pytest.mark.parametrize(
    "given", [{"schema": 'a"b'}, {"schema": ""}, {"schema": "x" * 64}, {"schema": "pg_mine"}, {"schema": "$user"}]
)
def test_a_schema_that_cannot_be_is_refused(opened: Open, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'schema'"):
        opened(**given)


@pytest.mark.parametrize("given", [0, 1, 1001, True, "9"])
def test_a_number_of_connections_that_cannot_be_is_refused(opened: Open, given: Any) -> None:
    with pytest.raises(ConfigError, match="'connections' is a whole number from 2 to 1000"):
        opened(connections=given)


@pytest.mark.parametrize("url", ["postgresql//user:swordfish@host/%%", "postgresql://u:swordfish@h/\ud800"])
def test_an_address_that_is_none_is_refused_without_repeating_its_password(opened: Open, url: str) -> None:
    with pytest.raises(ConfigError, match="is no PostgreSQL address") as raised:
        opened(url=url)

    assert "swordfish" not in f"{raised.value!r} {raised.value.__cause__!r}"
    assert raised.value.__suppress_context__


def test_the_preset_server_is_where_the_setting_says(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEAVENBASE_SERVER_URL", options["url"])

    with hb.HeavenBase("preset-of-server", preset="server", path=tmp_path) as ws:
        ws.register(Note)
        fill(ws, 3)
        assert ws.count(Note) == 3
        ws.drop()


# -- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 100])
def test_rows_of_one_batch_exchange_unique_values(opened: Open, count: int) -> None:
    class Seat(hb.Entity):
        number = hb.field(hb.Integer).unique()
        label = hb.field(hb.LongText).unique()

    def rows(shift: int) -> list[dict[str, Any]]:
        numbers = [(one + shift) % count for one in range(count)]
        return [{"object_id": f"s{one}", "number": n, "label": "é" * 20_000 + str(n)} for one, n in enumerate(numbers)]

    with opened() as ws:
        ws.register(Seat)
        ws.upsert_many(Seat, rows(0))
        ws.upsert_many(Seat, rows(1))

        assert ws.count(Seat, {"object_id": "s0", "number": 1}) == 1
        with pytest.raises(UniqueViolation) as raised:
            ws.upsert_many(
                Seat, [{"object_id": "new", "number": 10_000}, {"object_id": "newer", "label": "é" * 20_000 + "1"}]
            )
        assert raised.value.row == 1
        assert ws.count(Seat) == count


def test_a_row_that_is_equal_is_not_written(ws: hb.HeavenBase) -> None:
    ids = fill(ws, 60)
    rows = ws.get_many(ids, Note)
    before = ws.versions(Note, ids)
    (rows[7] or {})["size"] = -1

    ws.upsert_many(Note, rows)

    assert [one != other for one, other in zip(before, ws.versions(Note, ids), strict=True)].index(True) == 7
    assert sum(one != other for one, other in zip(before, ws.versions(Note, ids), strict=True)) == 1


def test_a_transaction_writes_a_table_more_than_once(ws: hb.HeavenBase) -> None:
    with ws.transaction() as tx:
        first = tx.upsert_many(Note, [{"title": f"a{one}"} for one in range(50)])
        tx.upsert_many(Note, [{"object_id": one, "title": "b"} for one in first[:30]])
        assert tx.count(Note, {"title": "b"}) == 30

    assert ws.count(Note) == 50
    assert ws.count(Note, {"title": "b"}) == 30


def test_a_question_that_fails_inside_a_transaction_leaves_what_it_wrote(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ws.transaction() as tx:
        tx.upsert(Note, {"title": "kept"})
        with monkeypatch.context() as slow:
            slow.setattr("heaven_postgres.engine.scan_sql", lambda *asked: (SLOW, ()))
            with pytest.raises(DeadlineExceeded):
                tx.query(Note).limits(deadline=0.2).execute()
        with pytest.raises(ResultTooLarge):
            tx.query(Note).limits(max_bytes=1).execute()
        tx.upsert(Note, {"title": "too"})

    assert ws.count(Note) == 2


def test_a_transaction_that_read_before_somebody_s_commit_does_not_write(ws: hb.HeavenBase) -> None:
    other = threading.Thread(target=lambda: ws.upsert(Note, {"title": "first"}))
    with ws.transaction() as tx:
        tx.count(Note)
        other.start()
        other.join()
        with pytest.raises(TransactionConflict):
            tx.upsert(Note, {"title": "second"})

    assert ws.count(Note) == 1


def test_more_threads_than_connections_wait_for_their_turn(opened: Open) -> None:
    with opened(connections=3) as ws:
        ws.register(Note)
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for one in range(5):
                    ws.upsert(Note, {"title": f"{number}-{one}"})
                    assert ws.count(Note, {"title": f"{number}-{one}"}) == 1
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert not failed
        assert ws.count(Note) == 60


# -- several processes ---------------------------------------------------------------------------------------------

_COUNT = """
import sys
import heavenbase as hb

url, schema, path = sys.argv[1:]

class Counter(hb.Entity):
    value = hb.field(hb.Integer)

with hb.HeavenBase("notes", path=path, backends={"main": {"type": "postgres", "url": url, "schema": schema}}) as ws:
    ws.register(Counter)
    for _ in range(25):
        with ws.transaction(exclusive=True) as tx:
            value = tx.get("one", Counter)["value"] if tx.exists("one", Counter) else 0
            tx.upsert(Counter, {"object_id": "one", "value": value + 1})
    print("done")
"""


def test_processes_that_open_and_write_at_once_lose_nothing(
    opened: Open, options: dict[str, Any], tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", textwrap.dedent(_COUNT), options["url"], options["schema"], str(tmp_path / "p")]
    children = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(4)]

    assert [child.communicate(timeout=100)[0] for child in children] == ["done\n"] * 4

    with opened() as ws:
        assert ws.query("counter").select("value").execute().column("value") == [100]


def test_a_lock_that_somebody_holds_is_said_to_be_held(opened: Open, raw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_postgres.opening._SETUP", "set lock_timeout = 200")
    with opened() as ws:
        ws.register(Note)
        with raw.transaction():
            raw.execute('select * from "hb.state" for update')
            with pytest.raises(BackendBusy, match="another process has been writing for too long"):
                ws.upsert(Note, {"title": "x"})
        ws.upsert(Note, {"title": "y"})
        assert ws.count(Note) == 1


# -- words ---------------------------------------------------------------------------------------------------------


def test_words_are_counted_exactly(ws: hb.HeavenBase, raw: Any) -> None:
    from heaven_postgres.pool import numbered
    from heaven_postgres.searching import _count

    counts = [1, 2, 3, 10, 77, 128, 254, 255]
    ws.upsert_many(Note, [{"object_id": f"n{one:03}", "body": "rose thorn " * one} for one in counts])

    text, values = _count(_search_of(ws, "rose"), "rose")
    with psycopg.RawCursor(raw) as cursor:
        found = cursor.execute(numbered(f'select {text} from note t order by "object_id"'), values).fetchall()

    assert [one for (one,) in found] == counts


def _search_of(ws: hb.HeavenBase, query: str) -> Any:
    from heaven_core.backend import Search

    return Search((Note.schema().by_name["body"],), tuple(tokens(query)))


@pytest.mark.parametrize("weights", [{"body": 1.0, "title": 1.0}, {"body": 0.5, "title": 3.0}])
def test_words_weigh_as_they_do_in_memory(opened: Open, weights: dict[str, float]) -> None:
    class Text(hb.Entity):
        title = hb.field(hb.ShortText).store(strategy="inverted")
        body = hb.field(hb.LongText).store(strategy="inverted")

    words = ["zebra", "word", "filler", "émigré", "漢字"]
    rows = [
        {
            "object_id": f"t{one:02}",
            "title": " ".join(words[: one % 4]) or None,
            "body": " ".join(words[(one + two) % 5] for two in range(one)),
        }
        for one in range(40)
    ]
    found: list[dict[str, float]] = []
    for ws in (opened(), hb.HeavenBase("memory", preset="debug")):
        with ws:
            ws.register(Text)
            ws.upsert_many(Text, rows)
            frame = ws.query(Text).search("zebra 漢 EMIGRE", fields=weights).execute()
            found.append(dict(zip(frame.ids, frame.scores or (), strict=True)))

    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert list(found[0]) == list(found[1])


def test_words_of_another_python_s_rules_are_made_anew(opened: Open, raw: Any) -> None:
    with opened() as ws:
        ws.register(Note)
        ids = fill(ws, 30)
    raw.execute("""update "hb.state" set text_rules = '0-older'""")
    raw.execute("update note set _words_body = null, _length_body = 0")

    with opened() as again:
        assert again.query("note").search("word3").execute().ids != []
        assert again.query("note").where({"body": {"$match": "common"}}).count() == len(ids)
        assert again.check().ok
    assert raw.execute('select text_rules from "hb.state"').fetchone() == (index_version(),)


# -- vectors -------------------------------------------------------------------------------------------------------


def _random(count: int) -> list[list[float]]:
    import numpy as np

    return np.random.default_rng(5).normal(size=(count, 3)).astype("float32").tolist()


def test_vectors_beyond_the_budget_are_found_by_pgvector_and_it_is_said(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = _random(2000)
    with opened() as ws:
        ws.register(Note)
        ws.upsert_many(Note, [{"size": one, "place": vector} for one, vector in enumerate(vectors)])
        exact = ws.query(Note).near(Note.place, [1, 0, 0], top_k=10).execute()
        odd = ws.query(Note).where(Note.size >= 1990).near(Note.place, [1, 0, 0], top_k=5).execute()
        by_l2 = ws.query(Note).near(Note.place, [1, 0, 0], top_k=10, metric="l2").execute()
    monkeypatch.setenv("HEAVENBASE_VECTOR_MEMORY_BUDGET", "1")

    with opened() as again:
        near = again.query("note").near("place", [1, 0, 0], top_k=10)
        found = near.execute()
        assert "approximate: pgvector's HNSW" in str(near.explain(analyze=True))
        assert len(set(found.ids) & set(exact.ids)) >= 9
        assert set(found.scores or ()) & set(exact.scores or ())  # to the last bit, since they are computed here

        # a condition that few satisfy: the index goes on until there are enough
        assert (
            again.query("note").where({"size": {"$gte": 1990}}).near("place", [1, 0, 0], top_k=5).execute().ids
            == odd.ids
        )

        other = again.query("note").near("place", [1, 0, 0], top_k=10, metric="l2")
        assert other.execute().ids == by_l2.ids  # the index is for cosine
        assert "exact" in str(other.explain(analyze=True))


def test_a_transaction_that_wrote_vectors_still_has_exact_answers(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Note, [{"place": vector} for vector in _random(300)])
    with ws.transaction() as tx:
        tx.upsert(Note, {"object_id": "zero", "place": [0, 0, 0]})  # which no index for cosine has
        near = tx.query(Note).near(Note.place, [1, 0, 0], top_k=301)

        assert "zero" in near.execute().ids
        assert "exact" in str(near.explain(analyze=True))


def test_a_server_without_pgvector_ranks_in_memory(opened: Open, monkeypatch: pytest.MonkeyPatch, raw: Any) -> None:
    monkeypatch.setattr("heaven_postgres.statements.INSTALLABLE", "select 1 where false")
    monkeypatch.setattr("heaven_postgres.statements.EXTENSION", "select 'x' where false")
    with opened() as ws:
        ws.register(Note)
        ids = fill(ws, 10)

        assert ws.query(Note).near(Note.place, [1, 3, 2], top_k=1).execute().ids == [ids[3]]
        found = raw.execute("select 1 from pg_attribute where attrelid = 'note'::regclass and attname = '_near_place'")
        assert not found.fetchall()


def test_a_matrix_follows_what_another_process_writes(opened: Open, options: dict[str, Any], raw: Any) -> None:
    with opened() as ws:
        ws.register(Note)
        ids = fill(ws, 50)
        assert ws.query(Note).near(Note.place, [0, 0, 1], top_k=1).execute().ids == [ids[0]]
        code = f"""
            import heavenbase as hb
            main = {{"type": "postgres", "url": {options["url"]!r}, "schema": {options["schema"]!r}}}
            with hb.HeavenBase("notes", backends={{"main": main}}) as ws:
                ws.upsert("note", {{"object_id": "new", "place": [0, 0, 5]}})
        """
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)

        assert ws.query(Note).near(Note.place, [0, 0, 1], top_k=1).execute().ids == ["new"]


# -- bounds --------------------------------------------------------------------------------------------------------

SLOW = "select pg_sleep(20)::text, 1, 2, 3, 4, 5, 6"


def test_a_query_that_takes_too_long_is_stopped(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_postgres.engine.scan_sql", lambda *asked: (SLOW, ()))
    began = time.monotonic()

    with pytest.raises(DeadlineExceeded):
        ws.query(Note).where(Note.size > 1).limits(deadline=0.3).execute()

    assert time.monotonic() - began < 5


def test_another_thread_can_stop_a_query(ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heaven_postgres.engine.scan_sql", lambda *asked: (SLOW, ()))
    stop = hb.Cancellation()
    threading.Timer(0.2, stop.cancel).start()
    began = time.monotonic()

    with pytest.raises(QueryCancelled):
        ws.query(Note).where(Note.size > 1).limits(cancel=stop).execute()

    assert time.monotonic() - began < 5


def test_an_answer_beyond_the_caps_is_refused_and_the_next_one_comes(ws: hb.HeavenBase) -> None:
    fill(ws)
    query = ws.query(Note).where(Note.size >= 0)

    with pytest.raises(ResultTooLarge, match="more than 10 rows"):
        query.limits(max_rows=10).execute()
    with pytest.raises(ResultTooLarge):
        query.limits(max_bytes=100).execute()
    assert len(query.execute()) == 100


# -- care ----------------------------------------------------------------------------------------------------------


def test_a_table_that_was_altered_from_outside_is_said_to_be(ws: hb.HeavenBase, raw: Any) -> None:
    fill(ws)
    raw.execute("alter table note drop column size")

    with pytest.raises(StorageError, match="altered from outside") as raised:
        ws.count(Note, {"size": 1})

    assert "select" not in str(raised.value)
    assert [(one.kind, one.detail) for one in ws.check().findings] == [("missing-column", "size")]


@pytest.mark.parametrize(
    ("damage", "kind", "repairable"),
    [
        ("update note set _words_body = '''other'':1' where size = 3", "stale-fulltext", True),
        ("update note set _length_body = 7 where size = 3", "stale-fulltext", True),
        ("update note set body = 'altered' where size = 3", "stale-fulltext", True),
        ("update note set _v = 10000", "wrong-versions", True),
        ("update note set place = '\\x00' where size = 3", "damaged-rows", False),
        ("drop table note", "missing-table", False),
    ],
)
def test_a_check_finds_damage_and_mends_what_follows_from_the_rest(
    ws: hb.HeavenBase, raw: Any, damage: str, kind: str, repairable: bool
) -> None:
    fill(ws)
    raw.execute(damage)

    assert [(one.kind, one.repairable) for one in ws.check().findings] == [(kind, repairable)]
    ws.repair()
    assert ws.check().ok is repairable


def test_a_table_without_a_record_is_found(ws: hb.HeavenBase, raw: Any) -> None:
    raw.execute("create table lost (object_id text, _v bigint)")
    raw.execute("comment on table lost is 'rows of a HeavenBase entity'")

    assert [(one.kind, one.entity) for one in ws.check().findings] == [("orphaned-table", "lost")]
