"""What is SQLite's own: tables and indexes, which ones queries use, journal and connections, words of its errors."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import heavenbase as hb
from heaven_core.backend import BackendConfig, Change, Column, Layout
from heaven_core.errors import (
    BackendBusy,
    ConfigError,
    FormatTooNew,
    HeavenError,
    NotADatabase,
    QueryError,
    ResultTooLarge,
    StorageError,
    StorageFull,
    StorageReadOnly,
    TransactionError,
    UniqueViolation,
    WorkspaceClosed,
    WorkspaceConflict,
)
from heaven_core.schema import FieldSchema
from heaven_core.text import index_version
from heaven_core.types import INT_MAX
from heaven_sqlite import engine, statements
from heaven_sqlite.engine import SqliteBackend
from heaven_sqlite.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heaven_core.query import Query

pytestmark = [pytest.mark.integration, pytest.mark.engines("sqlite")]


class Doc(hb.Entity):
    title = hb.field(hb.ShortText).index()
    n = hb.field(hb.Integer).index()
    plain = hb.field(hb.Integer)
    code = hb.field(hb.ShortText).unique()
    body = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)
    tags = hb.field(hb.Array(hb.ShortText)).store(strategy=hb.SideTable)
    sizes = hb.field(hb.Array(hb.Integer))
    meta = hb.field(hb.Json)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[hb.HeavenBase]:
    with hb.HeavenBase("demo", path=tmp_path / "place") as made:
        made.register(Doc)
        yield made


@pytest.fixture
def full(ws: hb.HeavenBase) -> hb.HeavenBase:
    ws.upsert_many(
        Doc,
        [
            {
                "object_id": f"{number:04d}",
                "title": f"title {number % 50}",
                "n": None if number % 10 == 0 else number,
                "plain": number % 7,
                "code": f"c{number}",
                "body": f"words about {number}",
                "tags": [f"t{number % 100}", "all"],
                "sizes": [number],
                "meta": {"k": number},
            }
            for number in range(500)
        ],
    )
    return ws


def _file(ws: hb.HeavenBase) -> sqlite3.Connection:
    assert ws.folder is not None
    return sqlite3.connect(ws.folder / "main.db")


def _said(ws: hb.HeavenBase, query: Query) -> list[str]:
    """The statements that the query runs, with their values."""
    raw = ws.core().primary._reader().raw
    said: list[str] = []
    raw.set_trace_callback(said.append)
    query.execute()
    raw.set_trace_callback(None)
    return said


def _plan(ws: hb.HeavenBase, query: Query) -> str:
    """SQLite's own plan of the statement that the query runs."""
    (statement,) = [one for one in _said(ws, query) if one.startswith("select")]
    raw = ws.core().primary._reader().raw
    return "; ".join(row[3] for row in raw.execute(f"explain query plan {statement}"))


# -- indexes ---------------------------------------------------------------------------------------------------------


USED: dict[str, tuple[Any, list[str]]] = {
    "equality": (lambda q: q.where(Doc.title == "title 3"), ["SEARCH t USING INDEX e_doc.title.index (title=?)"]),
    "membership": (
        lambda q: q.where(Doc.title.in_(["title 3", "title 4"])),
        ["SEARCH t USING INDEX e_doc.title.index (title=?)"],
    ),
    "a range": (lambda q: q.where(Doc.n.between(5, 9)), ["SEARCH t USING INDEX e_doc.n.index (n>? AND n<?)"]),
    "an open range": (lambda q: q.where(Doc.n > 490), ["SEARCH t USING INDEX e_doc.n.index (n>?)"]),
    "a beginning": (
        lambda q: q.where(Doc.title.starts_with("title 4")),
        ["SEARCH t USING INDEX e_doc.title.index (title>? AND title<?)"],
    ),
    "nulls": (lambda q: q.where(Doc.n.is_null()), ["SEARCH t USING INDEX e_doc.n.index (n=?)"]),
    "a unique value": (lambda q: q.where(Doc.code == "c7"), ["SEARCH t USING INDEX e_doc.code.unique (code=?)"]),
    "an id": (
        lambda q: q.where({"object_id": "0007"}),
        ["SEARCH t USING INDEX sqlite_autoindex_e_doc_1 (object_id=?)"],
    ),
    "an item": (
        lambda q: q.where(Doc.tags.array_contains("t7")),
        ["SEARCH t USING INTEGER PRIMARY KEY (rowid=?)", "e_doc.tags USING COVERING INDEX e_doc.tags.item (item=?)"],
    ),
    "items": (
        lambda q: q.where(Doc.tags.array_overlaps(["t7", "t8"])),
        ["e_doc.tags USING COVERING INDEX e_doc.tags.item (item=?)"],
    ),
    "words": (
        lambda q: q.where(Doc.body.match("about 7")),
        ["SEARCH t USING INTEGER PRIMARY KEY (rowid=?)", "SCAN e_doc._fts VIRTUAL TABLE INDEX"],
    ),
    "a ranked search": (
        lambda q: q.search("about 7"),
        ["VIRTUAL TABLE INDEX", "SEARCH t USING INTEGER PRIMARY KEY (rowid=?)"],
    ),
    "both and": (lambda q: q.where((Doc.plain == 3) & (Doc.n == 3)), ["SEARCH t USING INDEX e_doc.n.index (n=?)"]),
    "a choice": (
        lambda q: q.where((Doc.n == 3) | (Doc.code == "c4")),
        ["MULTI-INDEX OR", "e_doc.n.index (n=?)", "e_doc.code.unique (code=?)"],
    ),
}


@pytest.mark.parametrize(("ask", "parts"), USED.values(), ids=USED)
def test_an_index_serves(full: hb.HeavenBase, ask: Any, parts: list[str]) -> None:
    plan = _plan(full, ask(full.query(Doc)))

    for part in parts:
        assert part in plan
    assert "SCAN t" not in plan


@pytest.mark.parametrize("key", ["n", "-n", "title", "-title"])
def test_an_ordered_limit_walks_the_index_instead_of_sorting(full: hb.HeavenBase, key: str) -> None:
    query = full.query(Doc).order_by(key).limit(5)

    plan = _plan(full, query)

    assert f"USING INDEX e_doc.{key.removeprefix('-')}.index" in plan
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan
    everything = full.query(Doc).order_by(key).execute().ids
    assert query.execute().ids == everything[:5]
    assert query.offset(447).execute().ids == everything[447:452]


def test_an_ordered_limit_within_a_range_walks_the_index(full: hb.HeavenBase) -> None:
    plan = _plan(full, full.query(Doc).where(Doc.n > 100).order_by("n").limit(5))

    assert plan == "SEARCH t USING INDEX e_doc.n.index (n>?)"


def test_a_field_without_an_index_is_scanned(full: hb.HeavenBase) -> None:
    assert _plan(full, full.query(Doc).where(Doc.plain == 3)) == "SCAN t"


def test_what_runs_in_python_says_so_and_what_does_not_does_not(full: hb.HeavenBase) -> None:
    native = full.query(Doc).where(
        Doc.n > 3, Doc.title.contains("x"), Doc.tags.array_contains("a"), Doc.body.match("x")
    )
    python = full.query(Doc).where(Doc.title.regex("x"))

    assert native.explain().native
    assert not python.explain().native


def test_long_lists_of_values_are_compared_exactly(full: hb.HeavenBase) -> None:
    class Measure(hb.Entity):
        x = hb.field(hb.Float)

    full.register(Measure)
    full.upsert_many(Measure, [{"object_id": f"{one:04d}", "x": one / 10} for one in range(1500)])

    floats = full.query(Measure).where(Measure.x.in_([one / 10 for one in range(1, 1400)]))
    whole = full.query(Doc).where(Doc.n.in_([*range(1, 1400), None]))

    assert (floats.count(), whole.count()) == (1399, 500)
    assert whole.explain().native


def test_a_search_is_narrowed_and_cut_inside_the_engine(full: hb.HeavenBase) -> None:
    search = full.query(Doc).search("words").where(Doc.n < 30).order_by("n")

    assert search.limit(3).offset(1).execute().column("n") == [2, 3, 4]
    assert search.offset(25).limits(max_rows=None).execute().column("n") == [28, 29]


def test_groups_are_cut_inside_the_engine(full: hb.HeavenBase) -> None:
    query = full.query(Doc).group_by("n").aggregate(rows="count").order_by("-rows", "n")

    assert query.offset(1).limit(2).execute().column("n") == [1, 2]
    assert _said(full, query.offset(1).limit(2))[0].endswith("limit 2 offset 1")
    assert _said(full, query.limits(max_rows=451))[0].endswith("limit 452")


def test_a_few_groups_that_are_large_pass_even_the_usual_cap(
    full: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "USUAL_BYTES", 500)
    counts = full.query(Doc).aggregate(titles=Doc.title.value_counts())

    with pytest.raises(ResultTooLarge, match="the result passes 500 bytes"):
        counts.limits(max_bytes=500).execute()


def test_groups_in_order_of_a_sum_that_passes_the_floats_on_the_way(full: hb.HeavenBase) -> None:
    class Measure(hb.Entity):
        key = hb.field(hb.ShortText)
        x = hb.field(hb.Float)

    full.register(Measure)
    rows = {"b": [1e308, 1e308, -1e308, -1e308], "a": [1.0, 2.0], "c": [2.0]}
    full.upsert_many(Measure, [{"key": key, "x": x} for key, values in rows.items() for x in values])
    query = full.query(Measure).group_by("key").aggregate(total=Measure.x.sum())

    assert query.order_by("-total").limit(2).execute().column("key") == ["a", "c"]
    assert query.order_by("total").limit(1).execute().rows() == [{"key": "b", "total": 0.0}]
    assert query.order_by("key").offset(1).limit(1).execute().rows() == [{"key": "b", "total": 0.0}]
    assert query.having({"total": 0.0}).execute().column("key") == ["b"]


def test_an_answer_that_is_refused_midway_does_not_hold_this_thread_in_the_past(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"n": number, "title": "x" * 200} for number in range(11_000)])
    groups = ws.query(Doc).group_by("n").aggregate(rows="count").having({"rows": 1})

    for number, query in enumerate((ws.query(Doc).limits(max_bytes=2_000_000), groups.limits(max_rows=5)), 1):
        with pytest.raises(ResultTooLarge) as kept:
            query.execute()
        ws.upsert(Doc, {})
        assert ws.count(Doc) == 11_000 + number
        assert kept.value.__traceback__ is not None


# -- tables ----------------------------------------------------------------------------------------------------------


def _layout(*columns: Column) -> Layout:
    key = Column(hb.EntitySchema.from_dict({"id": "doc"}).field("object_id"), "inline")
    return Layout("doc", "main", "sqlite", [key, *columns])


X = Column(FieldSchema("doc", "x", hb.Integer()), "inline")


def test_an_added_full_text_field_rebuilds_the_index_over_all_of_them(ws: hb.HeavenBase) -> None:
    ws.upsert(Doc, {"object_id": "old", "body": "first words"})

    class Wider(Doc):
        identifier = "doc"
        more = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)

    ws.register(Wider)
    ws.upsert(Wider, {"object_id": "new", "more": "other words"})

    assert ws.query(Wider).where(Wider.body.match("words")).execute().ids == ["old"]
    assert sorted(ws.query(Wider).search("words", ["body", "more"]).execute().ids) == ["new", "old"]
    assert ws.check().ok


def test_a_dropped_entity_takes_its_satellites_with_it(ws: hb.HeavenBase) -> None:
    stored = ws.core().stored(Doc)
    backend = ws.core().primary
    tx = backend.begin(exclusive=True)

    backend.ddl(Change(stored.layout, None), tx)
    tx.commit()

    with closing(_file(ws)) as connection:
        left = [name for (name,) in connection.execute("select name from sqlite_master where name like 'e_doc%'")]
    assert left == []


def test_extending_twice_or_not_at_all_adds_nothing() -> None:
    layout = _layout(X)

    assert list(statements.ddl(Change(layout, layout))) == []
    assert list(statements.ddl(Change(_layout(), layout))) == ['alter table "e_doc" add column "x" integer']


def test_a_change_that_fails_is_a_storage_error(ws: hb.HeavenBase) -> None:
    backend = ws.core().primary
    tx = backend.begin()

    with pytest.raises(StorageError, match="backend 'main': ") as raised:
        backend.ddl(Change(None, ws.core().stored(Doc).layout), tx)
    tx.rollback()

    assert "create table" not in str(raised.value)


# -- the version of the text rules -----------------------------------------------------------------------------------


def _text_rules(ws: hb.HeavenBase) -> str | None:
    with closing(_file(ws)) as connection:
        return connection.execute("select text_rules from hb_state").fetchone()[0]


def _older(ws: hb.HeavenBase, *more: str) -> Path:
    """As if an older Python, whose rules made other words, had written the workspace last."""
    folder = ws.folder
    assert folder is not None
    ws.close()
    with closing(sqlite3.connect(folder / "main.db")) as connection:
        for text in (
            "update \"e_doc._fts\" set f_body = 'other words'",
            "update hb_state set text_rules = '1-13.0.0'",
            *more,
        ):
            connection.execute(text)
        connection.commit()
    return folder


def test_the_rules_are_recorded_with_the_first_full_text_index(tmp_path: Path) -> None:
    class Plain(hb.Entity):
        n = hb.field(hb.Integer)

    with hb.HeavenBase("demo", path=tmp_path) as ws:
        ws.register(Plain)
        ws.upsert(Plain, {"n": 1})
        assert _text_rules(ws) is None
        ws.register(Doc)
        assert _text_rules(ws) == index_version()


def test_other_rules_make_every_full_text_index_anew_at_opening(full: hb.HeavenBase) -> None:
    class Note(hb.Entity):
        head = hb.field(hb.ShortText).store(strategy=hb.InvertedIndex)
        text = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)

    full.register(Note)
    full.upsert(Note, {"object_id": "é", "head": "Élan", "text": None})
    folder = _older(full, "update \"e_note._fts\" set f_head = 'x', f_text = 'elan'")

    for _ in range(2):
        with hb.HeavenBase("demo", path=folder) as ws:
            assert ws.query("doc").where({"body": {"$match": "about 7"}}).execute().ids == ["0007"]
            assert ws.query("note").search("elan", ["head"]).execute().ids == ["é"]
            assert ws.query("note").search("elan", ["text"]).execute().ids == []
            assert ws.check().ok
            assert _text_rules(ws) == index_version()


def test_the_same_rules_make_an_opening_wait_for_no_writer(
    full: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_WAIT_S", 0.05)
    folder, before = full.folder, full.version(full.upsert(Doc, {}))
    assert folder is not None
    assert before is not None
    full.close()

    with closing(sqlite3.connect(folder / "main.db")) as other:
        other.execute("begin immediate")
        with hb.HeavenBase("demo", path=folder) as again:
            other.execute("rollback")
            assert again.version(again.upsert("doc", {})) == before + 1


def test_of_those_who_open_at_once_one_makes_the_indexes_anew(full: hb.HeavenBase) -> None:
    before = full.version(full.upsert(Doc, {}))
    assert before is not None
    folder = _older(full)
    config = BackendConfig("main", "sqlite", {}, folder, "demo")
    made: list[SqliteBackend] = []
    threads = [threading.Thread(target=lambda: made.append(SqliteBackend(config))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for backend in made:
        backend.close()
    assert len(made) == 4
    with hb.HeavenBase("demo", path=folder) as ws:
        assert ws.query("doc").where({"body": {"$match": "about 7"}}).execute().ids == ["0007"]
        assert ws.check().ok
        assert ws.version(ws.upsert("doc", {})) == before + 2


def test_a_write_by_other_rules_than_the_recorded_ones_is_remembered_until_the_next_opening(
    full: hb.HeavenBase,
) -> None:
    folder = full.folder
    with closing(_file(full)) as connection:  # as if a newer Python had opened it meanwhile
        connection.execute("update hb_state set text_rules = '1-99.0.0'")
        connection.commit()

    full.upsert(Doc, {"body": "new"})
    assert _text_rules(full) == "mixed"
    full.upsert(Doc, {"body": "new"})
    assert _text_rules(full) == "mixed"
    full.close()

    with hb.HeavenBase("demo", path=folder) as again:
        assert _text_rules(again) == index_version()
        assert len(again.query("doc").search("new").execute()) == 2


def test_a_damaged_entity_does_not_keep_the_other_indexes_from_being_made_anew(full: hb.HeavenBase) -> None:
    class Note(hb.Entity):
        text = hb.field(hb.LongText).store(strategy=hb.InvertedIndex)

    full.register(Note)
    full.upsert(Note, {"object_id": "n", "text": "words"})
    folder = _older(full, 'drop table "e_doc"', "update \"e_note._fts\" set f_text = 'x'")

    with hb.HeavenBase("demo", path=folder) as ws:
        assert ws.query("note").search("words").execute().ids == ["n"]
        assert [(one.entity, one.kind) for one in ws.check().findings] == [("doc", "missing-table")]


# -- durability and connections --------------------------------------------------------------------------------------


def test_commits_are_durable_and_readers_do_not_wait(ws: hb.HeavenBase) -> None:
    backend = ws.core().primary
    tx = backend.begin()
    settings = {
        key: [one.execute(f"pragma {key}").fetchone()[0] for one in (backend._reader(), tx.connection)]
        for key in ("journal_mode", "synchronous", "temp_store")
    }
    tx.rollback()

    assert settings == {"journal_mode": ["wal", "wal"], "synchronous": [2, 2], "temp_store": [2, 2]}


def test_extensions_of_sqlite_cannot_be_loaded(ws: hb.HeavenBase) -> None:
    with pytest.raises(sqlite3.OperationalError, match="not authorized"):
        ws.core().primary._reader().execute("select load_extension('x')")


def test_each_thread_has_its_own_connection_and_gives_it_back(ws: hb.HeavenBase) -> None:
    backend = ws.core().primary
    mine = backend._reader()
    seen: list[Any] = []
    ready = threading.Barrier(4)

    def read() -> None:
        ws.count(Doc)
        seen.append(backend._reader())
        ready.wait()

    for _ in range(3):
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len({id(one) for one in seen[:4]}) == 4
    assert mine not in seen
    assert len({id(one) for one in seen}) <= 8  # those of threads that have ended serve the next ones


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list the files of a process")
def test_hundreds_of_threads_leave_no_files_open(ws: hb.HeavenBase) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))

    for _ in range(200):
        thread = threading.Thread(target=lambda: ws.count(Doc))
        thread.start()
        thread.join()

    assert len(list(Path("/proc/self/fd").iterdir())) - before < 20


def test_a_transaction_that_has_ended_is_over(ws: hb.HeavenBase) -> None:
    tx = ws.core().primary.begin(exclusive=True)
    tx.commit()
    tx.commit()
    tx.rollback()

    with pytest.raises(TransactionError, match="this transaction has ended"):
        _ = tx.lsn


def test_no_parameter_is_numbered_for_some_pythons_warn_of_it(ws: hb.HeavenBase) -> None:
    layouts = [ws.core().stored("doc").layout] * 2

    text = statements.locate_sql(layouts)

    assert (text.count(" = ?"), "?1" in text) == (2, False)


def test_a_closed_backend_opens_nothing(tmp_path: Path) -> None:
    backend = SqliteBackend(BackendConfig("main", "sqlite", {}, tmp_path, "demo"))
    backend.close()
    backend.close()

    with pytest.raises(WorkspaceClosed, match="backend 'main': the workspace was closed"):
        backend.begin()


def test_another_process_s_writer_is_waited_for_only_so_long(
    ws: hb.HeavenBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_WAIT_S", 0.05)
    assert ws.folder is not None
    path = ws.folder / "main.db"
    ws.close()

    with hb.HeavenBase("demo", path=path.parent) as again, closing(sqlite3.connect(path)) as other:
        other.execute("begin immediate")
        with pytest.raises(BackendBusy, match="another process has been writing for too long; try again"):
            again.upsert("doc", {})
        with pytest.raises(BackendBusy), again.transaction(exclusive=True):
            pass
        other.execute("rollback")
        again.upsert("doc", {})
        assert again.count("doc") == 1


# -- whose file it is ------------------------------------------------------------------------------------------------


def test_a_file_of_another_make_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign, text, empty = tmp_path / "foreign.db", tmp_path / "text.db", tmp_path / "empty.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("create table theirs (x)")
    text.write_bytes(b"not a database, but long enough to be looked at" * 50)
    empty.touch()
    before = foreign.read_bytes(), text.read_bytes()

    for path, kind in (
        (foreign, "a SQLite database that HeavenBase did not make"),
        (text, "the file is no SQLite database"),
    ):
        with pytest.raises(NotADatabase, match=f"backend 'main': .*{kind}") as raised:
            hb.HeavenBase("demo", backends={"main": {"type": "sqlite", "database": path}})
        assert str(tmp_path) not in str(raised.value)
    with hb.HeavenBase("demo", backends={"main": {"type": "sqlite", "database": empty}}) as ws:
        assert ws.check().ok

    assert (foreign.read_bytes(), text.read_bytes()) == before


def test_a_folder_for_a_database_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(NotADatabase, match="backend 'main': its 'database' is a folder; name a file in it"):
        hb.HeavenBase("odd", backends={"main": {"type": "sqlite", "database": tmp_path}})

    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused_with_a_sentence(ws: hb.HeavenBase) -> None:
    assert ws.folder is not None
    folder = ws.folder
    ws.close()
    with closing(sqlite3.connect(folder / "main.db")) as connection:
        connection.execute("pragma user_version = 99")

    with pytest.raises(
        FormatTooNew, match="the database has storage format 99; this HeavenBase reads up to 1; upgrade it"
    ):
        hb.HeavenBase("demo", path=folder)


def test_a_file_belongs_to_one_workspace(ws: hb.HeavenBase) -> None:
    assert ws.folder is not None

    with pytest.raises(WorkspaceConflict, match="the database belongs to workspace 'demo'"):
        hb.HeavenBase("other", backends={"main": {"type": "sqlite", "database": ws.folder / "main.db"}})


@pytest.mark.parametrize(
    ("options", "folder", "message"),
    [
        ({"databas": "x"}, Path("/nowhere"), "takes no option 'databas'; did you mean 'database'"),
        ({}, None, "needs a folder or a 'database'"),
    ],
)
def test_a_backend_needs_a_place(options: dict[str, Any], folder: Path | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SqliteBackend(BackendConfig("main", "sqlite", options, folder, "demo"))


# -- words -----------------------------------------------------------------------------------------------------------


WORDS: list[tuple[int, str, type[HeavenError], str]] = [
    (sqlite3.SQLITE_BUSY, "database is locked", BackendBusy, "another process has been writing for too long"),
    (sqlite3.SQLITE_NOTADB, "file is not a database", NotADatabase, "is no SQLite database"),
    (sqlite3.SQLITE_READONLY, "attempt to write a readonly database", StorageReadOnly, "read-only"),
    (sqlite3.SQLITE_CANTOPEN, "unable to open database file", StorageReadOnly, "cannot be opened or created"),
    (sqlite3.SQLITE_FULL, "database or disk is full", StorageFull, "no space is left"),
    (sqlite3.SQLITE_CORRUPT, "database disk image is malformed", StorageError, "is damaged; restore a backup"),
    (sqlite3.SQLITE_CORRUPT | 1 << 8, "malformed", StorageError, "is damaged; restore a backup"),
    (sqlite3.SQLITE_IOERR, "disk I/O error", StorageError, "the disk failed"),
    (sqlite3.SQLITE_ERROR, "no such table: e_secret", StorageError, "altered from outside"),
    (sqlite3.SQLITE_ERROR, "malformed JSON", StorageError, "is damaged; restore a backup"),
    (
        sqlite3.SQLITE_ERROR,
        "Cannot operate on a closed database.",
        WorkspaceClosed,
        "was closed while this was going on",
    ),
    (
        sqlite3.SQLITE_ERROR,
        'near "selec": syntax error: secret is locked',
        StorageError,
        "SQLite refused the operation",
    ),
]


@pytest.mark.parametrize(("code", "text", "kind", "message"), WORDS, ids=[text for _, text, *_ in WORDS])
def test_sqlite_s_words_become_ours(code: int, text: str, kind: type[HeavenError], message: str) -> None:
    raised = sqlite3.OperationalError(text)
    raised.sqlite_errorcode = code

    error = translated(raised, "main")

    assert type(error) is kind
    assert message in str(error)
    assert "backend 'main'" in str(error)
    assert "secret" not in str(error)


def test_no_message_holds_sql_or_values(full: hb.HeavenBase, caplog: pytest.LogCaptureFixture) -> None:
    with closing(_file(full)) as connection:
        connection.execute('alter table "e_doc" rename to "gone"')
    asked: list[Any] = [
        lambda: full.query(Doc).where(Doc.title == "top-secret").execute(),
        lambda: full.upsert(Doc, {"title": "top-secret", "code": "other"}),
        lambda: full.get("top-secret", Doc),
        lambda: full.delete("top-secret", Doc),
        lambda: full.query(Doc).aggregate(rows="count").execute(),
        lambda: full.versions(Doc, ["top-secret"]),
    ]

    with caplog.at_level(logging.DEBUG):
        for ask in asked:
            with pytest.raises(StorageError) as raised:
                ask()
            said = str(raised.value).lower()
            assert not any(word in said for word in ("select", "insert", "e_doc", "top-secret", "main.db"))
            assert isinstance(raised.value.__cause__, sqlite3.Error)

    assert "top-secret" not in caplog.text


# -- values at the edge ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 1, None])
def test_a_sum_that_does_not_fit_is_refused_even_in_a_group_that_the_limit_cuts_off(
    ws: hb.HeavenBase, limit: int | None
) -> None:
    class Account(hb.Entity):
        owner = hb.field(hb.ShortText)
        amount = hb.field(hb.Integer).index()

    ws.register(Account)
    ws.upsert_many(Account, [{"owner": "a", "amount": 1}, *({"owner": "b", "amount": 2**62} for _ in range(2))])
    query = ws.query(Account).group_by("owner").aggregate(total=Account.amount.sum()).order_by("owner").limit(limit)

    with pytest.raises(QueryError, match="does not fit"):
        query.execute()


def test_sums_that_pass_64_bits_on_the_way_are_exact_and_at_the_end_refused(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"plain": INT_MAX}, {"plain": INT_MAX}, {"plain": -INT_MAX}])
    total = ws.query(Doc).aggregate(total=Doc.plain.sum())

    assert total.execute().scalar() == INT_MAX
    ws.upsert(Doc, {"plain": INT_MAX})
    with pytest.raises(QueryError, match="does not fit in 64 bits"):
        total.execute()


def test_unique_values_may_be_exchanged_in_one_batch(ws: hb.HeavenBase) -> None:
    ws.upsert_many(Doc, [{"object_id": "a", "code": "x"}, {"object_id": "b", "code": "y"}])

    ws.upsert_many(Doc, [{"object_id": "a", "code": "y"}, {"object_id": "b", "code": "x"}])

    assert [one and one["code"] for one in ws.get_many(["a", "b"], Doc)] == ["y", "x"]
    with pytest.raises(UniqueViolation, match=r"doc\.code, row 1: 'x' is taken by another row"):
        ws.upsert_many(Doc, [{"object_id": "c"}, {"object_id": "d", "code": "x"}])


def test_batches_larger_than_a_chunk_are_written_read_and_deleted(ws: hb.HeavenBase) -> None:
    ids = ws.upsert_many(Doc, [{"object_id": f"{number:05d}", "n": number, "tags": ["a"]} for number in range(11_000)])

    ws.upsert_many(Doc, [{"object_id": one, "n": 1} for one in ids])

    assert len(ws.query(Doc).execute()) == 11_000
    assert len([one for one in ws.get_many(ids, Doc) if one]) == 11_000
    assert list(map(len, ws.core().primary.scan(ws.core().stored(Doc).layout, batch_rows=4000))) == [4000, 4000, 3000]
    assert ws.delete_many(ids) == 11_000
    assert ws.count(Doc) == 0
    assert ws.check().ok


def test_an_estimate_is_exact_up_to_its_bound(full: hb.HeavenBase) -> None:
    steps = full.query(Doc).where(Doc.plain == 3).explain().steps

    assert steps[-1]["estimate"] == full.count(Doc, Doc.plain == 3)
