"""A PostgreSQL server that goes away, comes back, or lets nobody in; and writers that are killed.

Real servers and sockets: between the engine and the server stands a relay that cuts the wire where a test says so.
Not here: what the engine refuses by itself (`test_postgres`).
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import heavenbase as hb
from heaven_core.errors import BackendUnavailable
from tests.conftest import POSTGRES_URL, started_postgres

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.engines("postgres")]

psycopg: Any = pytest.importorskip("psycopg")


class Item(hb.Entity):
    label = hb.field(hb.ShortText)
    n = hb.field(hb.Integer)


Open = Callable[..., hb.HeavenBase]


@pytest.fixture
def options(engine_options: Callable[[str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    made = engine_options("postgres")
    yield made
    with psycopg.connect(made["url"], autocommit=True) as raw:
        raw.execute(f'drop schema if exists "{made["schema"]}" cascade')


def opened(options: dict[str, Any], path: Path, **more: Any) -> hb.HeavenBase:
    return hb.HeavenBase("faults", path=path, backends={"main": {**options, **more}})


def end_connections(url: str) -> None:
    """What a server does to everybody when it goes down."""
    with psycopg.connect(url, autocommit=True) as raw:
        raw.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'heavenbase'")
        while raw.execute("select 1 from pg_stat_activity where application_name = 'heavenbase'").fetchall():
            time.sleep(0.01)


# -- connections that break ----------------------------------------------------------------------------------------


def test_a_server_that_was_restarted_between_two_calls_is_not_noticed(options: dict[str, Any], tmp_path: Path) -> None:
    with opened(options, tmp_path) as ws:
        ws.register(Item)
        key = ws.upsert(Item, {"n": 1})
        end_connections(options["url"])
        assert ws.get(key, Item) == {"object_id": key, "name": None, "label": None, "n": 1}
        end_connections(options["url"])
        ws.upsert(Item, {"n": 2})
        end_connections(options["url"])
        with ws.transaction() as tx:
            tx.upsert(Item, {"n": 3})
        assert ws.count(Item) == 3


def test_a_transaction_whose_connection_breaks_is_undone_and_says_so(options: dict[str, Any], tmp_path: Path) -> None:
    with opened(options, tmp_path) as ws:
        ws.register(Item)
        with pytest.raises(BackendUnavailable, match="the server went away; what was being written was undone"):
            _write_across_a_break(ws, options["url"])
        assert ws.count(Item) == 0
        ws.upsert(Item, {"n": 2})
        assert ws.count(Item) == 1


def _write_across_a_break(ws: hb.HeavenBase, url: str) -> None:
    with ws.transaction() as tx:
        tx.upsert(Item, {"n": 1})
        end_connections(url)
        tx.upsert(Item, {"n": 2})


def test_a_query_whose_connection_breaks_is_asked_once_more_and_then_given_up(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(options, tmp_path) as ws:
        ws.register(Item)
        key = ws.upsert(Item, {"n": 1})
        query = ws.query(Item).select("n")
        slow = f"select t.object_id, t.n from item t, pg_sleep(0.8) where t.object_id = '{key}'"
        monkeypatch.setattr("heaven_postgres.engine.scan_sql", lambda *asked: (slow, ()))
        threading.Timer(0.3, end_connections, args=(options["url"],)).start()
        assert query.execute().rows() == [{"object_id": key, "n": 1}]

        for after in (0.3, 0.9):
            threading.Timer(after, end_connections, args=(options["url"],)).start()
        with pytest.raises(BackendUnavailable, match="the server went away"):
            query.execute()


class Relay:
    """Stands between a client and a server's socket, and cuts the wire around a commit when told to."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.cut = ""
        """before: a commit does not reach the server; after: its answer does not reach the client."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._target)
                self._open += [client, server]
                state = {"cut": False}
                threading.Thread(target=self._upstream, args=(client, server, state), daemon=True).start()
                threading.Thread(target=self._downstream, args=(client, server, state), daemon=True).start()

    def _upstream(self, client: socket.socket, server: socket.socket, state: dict[str, bool]) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.cut and b"commit\0" in data:
                    cut, self.cut = self.cut, ""
                    state["cut"] = True
                    if cut == "after":
                        server.sendall(data)
                        time.sleep(0.3)  # for the server to do it
                    client.shutdown(socket.SHUT_RDWR)
                    server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    @staticmethod
    def _downstream(client: socket.socket, server: socket.socket, state: dict[str, bool]) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if state["cut"]:
                    return
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def relay(options: dict[str, Any]) -> Iterator[Relay]:
    if POSTGRES_URL:
        pytest.skip("the relay stands before a socket of this run's own server")
    with psycopg.connect(options["url"]) as raw:
        (folder,), (port,) = raw.execute("show unix_socket_directories").fetchone(), raw.execute("show port").fetchone()
    made = Relay(f"{folder.split(',')[0]}/.s.PGSQL.{port}")
    yield made
    made.close()


def _through(relay: Relay, options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "url": f"postgresql://postgres@127.0.0.1:{relay.port}/postgres?sslmode=disable"}


def test_a_commit_whose_answer_is_lost_is_asked_for_and_was_done(
    relay: Relay, options: dict[str, Any], tmp_path: Path
) -> None:
    with opened(_through(relay, options), tmp_path) as ws:
        ws.register(Item)
        relay.cut = "after"

        key = ws.upsert(Item, {"n": 1})

        assert relay.cut == ""
        assert ws.get(key, Item) == {"object_id": key, "name": None, "label": None, "n": 1}


def test_a_commit_that_is_lost_on_the_way_is_asked_for_and_was_not_done(
    relay: Relay, options: dict[str, Any], tmp_path: Path
) -> None:
    with opened(_through(relay, options), tmp_path) as ws:
        ws.register(Item)
        relay.cut = "before"

        with pytest.raises(BackendUnavailable, match="was undone, and it can be tried again"):
            ws.upsert(Item, {"n": 1})

        assert ws.count(Item) == 0
        ws.upsert(Item, {"n": 2})


# -- a server of one's own -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A server that tests may stop, and change."""
    with TemporaryDirectory(prefix="hb-postgres-") as folder, started_postgres(folder) as started:
        yield started


@contextmanager
def stopped(server: Any) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.ensure_postgres_running()


def test_a_server_that_is_down_is_said_to_be_and_used_when_it_is_back(server: Any, tmp_path: Path) -> None:
    options = {"type": "postgres", "url": server.get_uri(), "schema": "down"}
    with opened(options, tmp_path) as ws:
        ws.register(Item)
        key = ws.upsert(Item, {"n": 1})
        with stopped(server):
            began = time.monotonic()
            for call in (lambda: ws.get(key, Item), lambda: ws.upsert(Item, {"n": 2}), lambda: ws.query(Item).count()):
                with pytest.raises(BackendUnavailable, match="is the server running"):
                    call()
            assert time.monotonic() - began < 20
            with pytest.raises(BackendUnavailable, match="is the server running"):
                hb.HeavenBase("other", path=tmp_path / "other", backends={"main": {**options, "schema": "other"}})
        assert ws.get(key, Item) == {"object_id": key, "name": None, "label": None, "n": 1}
        ws.upsert(Item, {"n": 2})
        assert ws.count(Item) == 2


@pytest.fixture(scope="module")
def guarded(server: Any) -> str:
    """The address of the server for a role that needs a password, without one."""
    secret = uuid4().hex
    with psycopg.connect(server.get_uri(), autocommit=True) as raw:
        raw.execute(f"create role guest login password '{secret}'")
        raw.execute("create database guarded owner guest")
        (file,) = raw.execute("show hba_file").fetchone()
        rules = server.pgdata / "pg_hba.conf"
        assert str(rules) == file
        rules.write_text("local all guest scram-sha-256\n" + rules.read_text())
        raw.execute("select pg_reload_conf()")
    host = server.get_uri().split("host=")[1]
    return f"postgresql://guest:%s@/guarded?host={host}#{secret}"


def _address(guarded: str, password: str | None = None) -> str:
    url, secret = guarded.split("#")
    return url % (secret if password is None else password)


@pytest.mark.parametrize(
    ("password", "told"), [("swordfish", "refused user or password"), ("", "wants a password; put it in 'url'")]
)
def test_a_wrong_password_is_said_to_be_and_not_repeated(
    guarded: str, tmp_path: Path, password: str, told: str
) -> None:
    with pytest.raises(BackendUnavailable, match=told) as raised:
        opened({"type": "postgres", "url": _address(guarded, password)}, tmp_path)

    error: BaseException | None = raised.value
    while error is not None:
        assert "swordfish" not in repr(error)
        error = error.__cause__


def test_a_role_with_no_more_than_its_database_is_enough(guarded: str, tmp_path: Path) -> None:
    class Place(hb.Entity):
        at = hb.field(hb.Vector[2]).store(strategy="vector")  # the role may not install pgvector

    with opened({"type": "postgres", "url": _address(guarded)}, tmp_path) as ws:
        ws.register(Item, Place)
        ws.upsert(Item, {"n": 1})
        key = ws.upsert(Place, {"at": [1, 0]})
        assert ws.query(Place).near(Place.at, [1, 0], top_k=1).execute().ids == [key]
        ws.drop()


def test_no_message_and_no_plan_shows_the_password(guarded: str, tmp_path: Path) -> None:
    secret = guarded.split("#")[1]
    with opened({"type": "postgres", "url": _address(guarded)}, tmp_path) as ws:
        ws.register(Item)
        told = [repr(ws), repr(ws.query(Item)), str(ws.query(Item).explain(analyze=True)), repr(ws.check())]
        with pytest.raises(hb.errors.WorkspaceConflict) as raised:
            opened({"type": "postgres", "url": _address(guarded), "schema": "elsewhere"}, tmp_path)
        told.append(repr(raised.value))
        assert not [one for one in told if secret in one]
        ws.drop()


# -- writers that are killed ---------------------------------------------------------------------------------------

_PAIRS = """
    import sys
    import heavenbase as hb

    url, schema, path = sys.argv[1:]

    class Item(hb.Entity):
        label = hb.field(hb.ShortText)
        n = hb.field(hb.Integer)

    main = {"type": "postgres", "url": url, "schema": schema}
    with hb.HeavenBase("faults", path=path, backends={"main": main}) as ws:
        ws.register(Item)
        number = ws.count(Item) // 40
        while True:
            with ws.transaction() as tx:
                for side in "ab":
                    tx.upsert_many(Item, [{"object_id": f"{side}{number}-{one}", "n": number} for one in range(20)])
            print(number, flush=True)
            number += 1
"""


def test_a_killed_writer_leaves_whole_transactions_and_loses_none_that_it_reported(
    options: dict[str, Any], tmp_path: Path
) -> None:
    arguments = [sys.executable, "-c", textwrap.dedent(_PAIRS), options["url"], options["schema"], str(tmp_path / "p")]
    dice, reported = random.Random(7), -1
    for _ in range(5):
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        reported = max(reported, int(child.stdout.readline()))
        time.sleep(dice.random() / 5)
        child.send_signal(signal.SIGKILL)
        rest = child.communicate()[0].split()
        reported = max([reported, *map(int, rest)])

    with opened(options, tmp_path) as ws:
        groups = ws.query("item").group_by("n").aggregate(rows="count").execute().rows()
        assert {one["rows"] for one in groups} == {40}
        assert {one["n"] for one in groups} >= set(range(reported + 1))
        assert ws.check().ok
