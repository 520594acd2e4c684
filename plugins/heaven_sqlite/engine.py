"""The SQLite engine: connections, transactions, and the protocol of a primary.

One connection per thread for reading and one per open transaction, all in
autocommit mode with explicit `begin`. WAL keeps readers out of the writer's way;
`synchronous = full` makes every commit durable before it returns.

Not here: SQL text (`heaven_sqlite.statements`), what SQLite can do
(`heaven_sqlite.handlers`), how rows are changed (`heaven_sqlite.writing`), grouped
(`heaven_sqlite.grouping`) and ranked by vectors (`heaven_sqlite.vectors`), which thread
has which connection (`heaven_sqlite.pool`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from heaven_core import config as config_module
from heaven_core.backend import (
    BackendConfig,
    Batch,
    Change,
    Fetch,
    Finding,
    Layout,
    Limits,
    Locate,
    Request,
    Rows,
    Scan,
    Written,
)
from heaven_core.errors import (
    BackendBusy,
    HeavenError,
    StorageError,
    StorageReadOnly,
    TransactionError,
    WorkspaceClosed,
    WorkspaceConflict,
    read_before,
)
from heaven_core.evaluate import check_bytes, check_rows, most_rows
from heaven_core.sql import shape
from heaven_core.text import index_version
from heaven_core.types import canonical_json
from heaven_sqlite import statements, writing
from heaven_sqlite.connection import Connection
from heaven_sqlite.failures import check_no_folder, misplaced, no_database, translated
from heaven_sqlite.functions import install
from heaven_sqlite.pool import Pool, is_usable

if TYPE_CHECKING:
    from heaven_core.matrix_cache import MatrixCache

APPLICATION_ID = 0x48424153
FORMAT = 1
OLDEST = (3, 38)
"""The oldest SQLite that has what is used here."""
BUSY_WAIT_S = 30.0
BUSY_PAUSE_S = 0.001
CHUNK = 5000
ESTIMATE_BOUND = 10_000
USUAL_BYTES = Limits().max_bytes
LOCATE_GROUP = 250
SMALLEST_PAGE = 512
MIXED_RULES = "mixed"
"""Processes with different text rules have written; the next opening makes every full-text index anew."""


class Touched(NamedTuple):
    """What a transaction has changed of an entity: its versions before and after, and the rows by their numbers."""

    before: int
    after: int
    rowids: list[Sequence[int]]


class SqliteTransaction:
    """A transaction on a connection of its own; `begin immediate` comes with the first use of `lsn`."""

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend
        self._connection = backend.take_connection()
        self._lsn = 0
        self._read: int | None = None
        self._epoch = 0
        self.text_rules: str | None = None
        """The rules that the full-text indexes follow, once `lsn` is taken; None where there is no index."""
        self.touched: dict[str, Touched] = {}
        """Of entities with vectors: what this transaction has changed."""
        self._noted = False
        self._open = True

    @property
    def connection(self) -> Connection:
        """The connection; before anything is written, another one if a fork has closed it."""
        if self._connection.shut:
            if self._lsn:
                raise self._lost()
            self._connection = self._backend.take_connection()
        return self._connection

    @property
    def locked(self) -> bool:
        return self._lsn > 0

    @property
    def lsn(self) -> int:
        if not self._open:
            raise TransactionError("this transaction has ended")
        if not self._lsn:
            self._begin()
        elif not self.connection.in_transaction:
            raise self._lost()
        return self._lsn

    def _lost(self) -> HeavenError:
        if self._backend.closed:
            return WorkspaceClosed(f"backend {self._backend.name!r}: the workspace was closed during a transaction")
        # SQLite does that where the disk fails or is full.
        return TransactionError("this transaction was undone when a write failed; start another")

    def _begin(self) -> None:
        backend = self._backend
        backend.take_writer()
        try:
            backend.check_place()
            self._lock_file()
            self._lsn, self._epoch, self.text_rules = self._state("lsn = lsn + 1")
            if self._read not in (None, self._lsn - 1):
                raise read_before(backend.name)
            if self.text_rules not in (None, MIXED_RULES) and self.text_rules != index_version():
                self.note_text_rules(MIXED_RULES)
        except BaseException as error:
            # Under the lock, or closing comes in between; what it raises says less than the error at hand.
            with suppress(sqlite3.Error), self._connection.lock:
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
            self._lsn = 0
            backend.release_writer()
            if isinstance(error, sqlite3.Error):
                raise backend.typed(error) from error
            raise

    def note_read(self) -> None:
        """Remember as of which commit the transaction reads: what it then writes may depend on that."""
        if self._read is None and not self._lsn:
            with self._backend.use(self) as connection, self._backend.typing():
                self._read = self._present(connection.execute("select lsn from hb_state").fetchone())[0]

    def _lock_file(self) -> None:
        """`begin immediate`, asking often: SQLite's own pauses grow to 100 ms, and beside a busy process it starves."""
        ends = time.monotonic() + BUSY_WAIT_S
        while not self._is_file_locked(ends):
            time.sleep(BUSY_PAUSE_S)

    def _is_file_locked(self, ends: float) -> bool:
        with self._backend.use(self) as connection:
            connection.execute("pragma busy_timeout = 0")
            try:
                connection.execute("begin immediate")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > ends:
                    raise
                return False
            finally:
                connection.execute(f"pragma busy_timeout = {BUSY_WAIT_S * 1000:.0f}")
        return True

    def _state(self, change: str) -> tuple[int, int, str | None]:
        with self.connection.lock:
            row = self.connection.execute(f"update hb_state set {change} returning lsn, epoch, text_rules").fetchone()
        return self._present(row)

    def note_text_rules(self, version: str) -> None:
        """Say with which text rules the full-text indexes are made from now on."""
        with self.connection.lock:
            self.connection.execute("update hb_state set text_rules = ?", (version,))
        self.text_rules = version

    def _present(self, row: Any) -> Any:
        if row is None:
            raise StorageError(f"backend {self._backend.name!r}: the database is damaged; restore a backup")
        return row

    @property
    def epoch(self) -> int:
        if self._lsn or not self._open:
            _ = self.lsn
            return self._epoch
        self._backend.check_place()
        connection = self.connection
        try:  # by hand what `typing` and `use` do: this is asked whenever an entity is named by its id
            with connection.lock:
                if not connection.shut:
                    return self._present(connection.execute("select epoch from hb_state").fetchone())[0]
        except sqlite3.Error as error:
            raise self._backend.typed(error) from error
        return self.epoch

    def bump_epoch(self) -> None:
        _ = self.lsn
        with self._backend.typing():
            _, self._epoch, _ = self._state("epoch = epoch + 1")

    def touch(self, layout: Layout, rowids: Sequence[Sequence[int]]) -> None:
        """Note that rows were changed, of an entity that has vectors. With the connection's lock."""
        if not statements.vector_fields(layout) or not any(rowids):
            return
        from heaven_core.matrix_cache import new_version
        from heaven_sqlite import vectors

        entity = layout.entity
        if entity not in self.touched:
            before, after = vectors.version(self.connection, entity), new_version(self._lsn)
            vectors.put_version(self.connection, entity, after)
            self.touched[entity] = Touched(before, after, [])
        self.touched[entity].rowids.extend(rowids)

    def commit(self) -> None:
        try:
            if self._open and self.locked:
                _ = self.lsn  # raises if it is there no more
                self._backend.check_place()
                for entity, (before, after, rowids) in self.touched.items():
                    self._noted = True
                    self._backend.matrices.note(entity, before, after, rowids)
                with self.connection.lock:
                    self.connection.execute("commit")
                self._noted = False
        except sqlite3.Error as error:
            self.rollback()
            raise self._backend.typed(error) from error
        self._end()

    def rollback(self) -> None:
        if self._noted:  # and did not happen
            for entity in self.touched:
                self._backend.matrices.forget(entity)
        try:
            with self._connection.lock:
                if self._open and self._lsn and self._connection.in_transaction:
                    self._connection.execute("rollback")
        except sqlite3.Error as error:
            raise self._backend.typed(error) from error
        finally:
            self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._backend.give_back(self._connection)
            if self._lsn:
                self._backend.release_writer()


class SqliteBackend:
    """One SQLite file. Option: `database` (or `path`), its path; without it `main.db` in the workspace's folder."""

    capabilities = frozenset({"primary", "transactions", "fulltext", "vectors", "durable", "packed"})

    def __init__(self, config: BackendConfig) -> None:
        self.name, self.type = config.name, "sqlite"
        self.path = config.place(f"{config.name}.db")
        self._workspace = config.workspace
        self._budget: int = config_module.get("vector.memory_budget")
        self._matrices: list[MatrixCache] = []
        self._pool = Pool(self.path, self.connect, self._gone)
        self.take_connection, self.give_back = self._pool.take, self._pool.give_back
        self._prepare()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._pool.closed

    @property
    def matrices(self) -> MatrixCache:
        """The vectors that are kept in memory; most workspaces have none."""
        from heaven_core.matrix_cache import MatrixCache

        if not self._matrices:
            self._matrices.append(MatrixCache(self._budget))  # two threads at once may put two: the first one counts
        return self._matrices[0]

    # connections -----------------------------------------------------------------------------------------------

    def connect(self) -> sqlite3.Connection:
        """A new connection to the file, set up."""
        try:
            raw = sqlite3.connect(
                self._uri(),
                timeout=BUSY_WAIT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=512,
                uri=True,
            )
        except sqlite3.Error as error:
            raise self.typed(error) from error
        try:
            raw.execute("pragma synchronous = full")
            raw.execute("pragma temp_store = memory")
            raw.execute("pragma cache_size = -65536")
            raw.execute("pragma mmap_size = 268435456")
            install(raw)
            self.check_place()
        except BaseException as error:  # of a damaged file SQLite may say what is no text
            raw.close()
            if isinstance(error, sqlite3.Error):
                raise self.typed(error) from error
            raise
        return raw

    def _uri(self) -> str:
        """The file for SQLite; one that was there once is never made anew."""
        path = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        return f"file:{path}?mode={'rw' if self._pool.opened else 'rwc'}"

    def _prepare(self) -> None:
        """Create the file's state, or check that it is ours and not newer than we are."""
        if sqlite3.sqlite_version_info < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old; {needed} or later is needed")
        try:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
        except OSError as error:
            raise StorageReadOnly(
                f"backend {self.name!r}: its folder cannot be created ({error.strerror}); choose another location"
            ) from error
        check_no_folder(self.path, self.name)
        if self._is_scrap():
            raise no_database(self.name)
        if not is_usable(self.path):
            raise StorageError(
                f"backend {self.name!r}: this process was forked in the midst of a transaction on the database; "
                "fork outside of transactions, or start processes with 'spawn'"
            )
        connection = self.take_connection()
        try:
            if not self._is_ours(connection):
                self._create(connection)
            rules = self._check_workspace(connection)
            self.give_back(connection)
            if rules is not None and rules != index_version():
                self._reindex()
        except sqlite3.Error as error:
            self.close()
            raise translated(error, self.name) from error
        except HeavenError:
            self.close()
            raise

    def _is_scrap(self) -> bool:
        """Whether the file is smaller than any database: SQLite takes a few bytes for none and writes over them."""
        try:
            return 0 < os.stat(self.path).st_size < SMALLEST_PAGE
        except OSError:
            return False

    def _is_ours(self, connection: Connection) -> bool:
        """Whether the file has our state; False if it has nothing at all. Changes nothing."""
        ours, version, tables = connection.execute(statements.CLAIM).fetchone()
        if ours == APPLICATION_ID and version > FORMAT:
            raise too_new(self.name, version)
        if ours != APPLICATION_ID and (ours or version or tables):
            raise not_ours(self.name)
        return ours == APPLICATION_ID

    def _check_workspace(self, connection: Connection) -> str | None:
        """Refuse another workspace's file: two ids on one file would not know of each other. Its text rules."""
        row = connection.execute("select workspace, text_rules from hb_state").fetchone()
        if row is None:
            return None
        if row[0] != self._workspace:
            raise WorkspaceConflict(
                f"backend {self.name!r}: the database belongs to workspace {row[0]!r}; open it under that id, "
                "or choose another location"
            )
        return row[1]

    def _reindex(self) -> None:
        """Make every full-text index anew: its words were made by another Python's rules."""
        tx = self.begin(exclusive=True)
        try:
            if tx.text_rules != index_version():  # else another process was quicker
                writing.rebuild_every_fulltext(tx.connection)
                tx.note_text_rules(index_version())
                tx.commit()
        finally:
            tx.rollback()

    def _create(self, connection: Connection) -> None:
        # An empty file has nothing to lose: what is written here reaches the disk with the first commit after it.
        connection.execute("pragma synchronous = normal")
        connection.execute("pragma journal_mode = wal")
        connection.execute("begin immediate")
        if not self._is_ours(connection):
            connection.execute(statements.STATE)
            connection.execute("insert into hb_state values (1, 0, 0, ?, null)", (self._workspace,))
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
            connection.execute(f"pragma user_version = {FORMAT}")
        connection.execute("commit")
        connection.execute("pragma synchronous = full")

    def _gone(self) -> WorkspaceClosed:
        return WorkspaceClosed(f"backend {self.name!r}: the workspace was closed while this was going on")

    def typed(self, error: sqlite3.Error) -> HeavenError:
        """What SQLite raised as a typed error; whatever happens after closing or losing the file is due to that."""
        if self.closed:
            return self._gone()
        return misplaced(self.name) if self._pool.misplaced else translated(error, self.name)

    @contextmanager
    def typing(self) -> Generator[None]:
        """What SQLite raises inside becomes a typed error."""
        try:
            yield
        except sqlite3.Error as error:
            raise self.typed(error) from error

    def check_place(self) -> None:
        """Refuse to go on where the file was moved, deleted or replaced: what is written would be lost, or twofold."""
        if self._pool.misplaced:
            raise misplaced(self.name)

    @contextmanager
    def use(self, tx: SqliteTransaction | None) -> Generator[Connection]:
        """The transaction's connection, or this thread's own, locked against closing."""
        while True:
            connection = self._reader() if tx is None else tx.connection
            with connection.lock:
                if not connection.shut:  # by a fork between the two lines above
                    yield connection
                    return

    def _reader(self) -> Connection:
        return self._pool.reader()

    def take_writer(self) -> None:
        """Wait for the lock among this process's writers; the file's own lock orders processes."""
        if not self._pool.take_writer(BUSY_WAIT_S):
            raise BackendBusy(f"backend {self.name!r}: another transaction has been writing for {BUSY_WAIT_S:.0f} s")

    def release_writer(self) -> None:
        """Let the next writer in."""
        self._pool.release_writer()

    # protocol --------------------------------------------------------------------------------------------------

    def begin(self, *, exclusive: bool = False) -> SqliteTransaction:
        tx = SqliteTransaction(self)
        if exclusive:
            try:
                _ = tx.lsn
            except BaseException:
                tx.rollback()
                raise
        return tx

    def ddl(self, change: Change, tx: SqliteTransaction) -> None:
        _ = tx.lsn
        try:
            with tx.connection.lock:
                for text in statements.ddl(change):
                    tx.connection.execute(text)
                if change.before is not None and change.after is not None:
                    writing.fill_satellites(tx.connection, change.before, change.after)
                if tx.text_rules is None and change.after is not None and statements.fulltext_fields(change.after):
                    tx.note_text_rules(index_version())
        except sqlite3.Error as error:
            raise self.typed(error) from error

    def write(self, layout: Layout, batch: Batch, tx: SqliteTransaction) -> Written:
        lsn = tx.lsn
        with self.typing(), tx.connection.lock:
            rowids: list[Sequence[int]] = []
            written = writing.write(tx.connection, layout, batch, lsn, self.name, rowids)
            tx.touch(layout, rowids)
            return written

    def delete(self, layout: Layout, ids: Sequence[str], tx: SqliteTransaction) -> list[str]:
        _ = tx.lsn
        with self.typing(), tx.connection.lock:
            gone, rowids = writing.delete(tx.connection, layout, ids)
            tx.touch(layout, [rowids])
            return gone

    def run(self, request: Request, tx: SqliteTransaction | None = None) -> Rows:
        if tx is not None:
            tx.note_read()
        connection = self._reader() if tx is None else tx.connection
        try:
            with connection.lock:
                if connection.shut:  # by a fork between the two lines above
                    return self.run(request, tx)
                if type(request) is Scan:
                    return self._scan(connection, request, tx)
                if isinstance(request, Fetch):
                    return _fetch(connection, request)
                assert isinstance(request, Locate)
                return _locate(connection, request)
        except sqlite3.Error as error:
            if connection.cancel is not None:
                connection.cancel.check()
            raise self.typed(error) from error
        finally:
            connection.deadline = connection.cancel = None

    def _scan(self, connection: Connection, request: Scan, tx: SqliteTransaction | None) -> Rows:
        limits = request.limits
        connection.cancel = limits.cancel
        if limits.deadline is not None:
            connection.deadline = time.monotonic() + limits.deadline
        if request.group is not None:
            from heaven_sqlite.grouping import answer_groups

            return answer_groups(connection, request, request.group)
        if request.near is not None:
            from heaven_sqlite import vectors

            own = tx is not None and request.layout.entity in tx.touched
            return vectors.nearest(connection, request, None if own else self.matrices)
        text, values = statements.scan_sql(request, most_rows(request))
        tuples = fetched(connection.execute(text, values), limits)
        names, codes, make = shape(request.layout, request.columns)
        if request.search is not None:
            return Rows((*names, "_score"), (*codes, None), tuples)
        return Rows(names, codes, tuples, make)

    def estimate(self, request: Scan) -> int | None:
        """The rows that match, counted up to a bound; None past it."""
        text, values = statements.count_sql(request, ESTIMATE_BOUND + 1)
        with self.use(None) as connection, self.typing():
            if request.limits.deadline is not None:
                connection.deadline = time.monotonic() + request.limits.deadline
            try:
                found: int = connection.execute(text, values).fetchone()[0]
            finally:
                connection.deadline = None
        return found if found <= ESTIMATE_BOUND else None

    def versions(self, layout: Layout, ids: Sequence[str], tx: SqliteTransaction | None = None) -> list[int | None]:
        text = (
            f'select "object_id", _v from {statements.entity_table(layout.entity)} '
            'where "object_id" in (select value from json_each(?))'
        )
        if tx is not None:
            tx.note_read()
        with self.use(tx) as connection, self.typing():
            known: dict[str, int] = dict(connection.execute(text, (canonical_json(list(ids)),)).fetchall())
        return [known.get(one) for one in ids]

    def scan(self, layout: Layout, *, batch_rows: int = 1000) -> Iterator[list[str]]:
        last = ""
        table = statements.entity_table(layout.entity)
        text = f'select "object_id" from {table} where "object_id" > ? order by "object_id" limit ?'
        while True:
            with self.use(None) as connection, self.typing():
                found = connection.execute(text, (last, batch_rows)).fetchall()
            if not found:
                return
            yield [one for (one,) in found]
            last = found[-1][0]

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        from heaven_sqlite.checking import check, mend

        self.check_place()
        with self.use(None) as connection, self.typing():
            findings = check(connection, layouts, self.name)
        if repair and any(one.repairable for one in findings):
            tx = self.begin(exclusive=True)
            try:
                with tx.connection.lock, self.typing():
                    mend(tx.connection, layouts, findings)
                tx.commit()
            finally:
                tx.rollback()
        return findings

    def close(self) -> None:
        self._pool.close()

    def destroy(self) -> None:
        self.close()
        if os.path.exists(self.path):  # it may be another's by now
            self.check_place()
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{suffix}")


def too_new(name: str, version: int) -> StorageError:
    """The error for a file of a newer format."""
    from heaven_core.errors import FormatTooNew

    return FormatTooNew(
        f"backend {name!r}: the database has storage format {version}; this HeavenBase reads up to {FORMAT}; upgrade it"
    )


def not_ours(name: str) -> StorageError:
    """The error for a database of somebody else."""
    from heaven_core.errors import NotADatabase

    return NotADatabase(f"backend {name!r}: the file is a SQLite database that HeavenBase did not make; choose another")


def fetched(cursor: sqlite3.Cursor, limits: Limits) -> list[tuple[Any, ...]]:
    """All rows, within the caps; the byte cap is looked at once per chunk, and for few rows if a caller set it."""
    tuples = cursor.fetchmany(CHUNK)
    if len(tuples) < CHUNK:
        check_rows(len(tuples), limits)
        if len(tuples) > 1000 or limits.max_bytes != USUAL_BYTES:
            check_bytes(tuples, limits)
        return tuples
    chunk = tuples
    left = limits
    with closing(cursor):  # an error may keep it, and it would go on showing this thread the past
        while chunk:
            check_rows(len(tuples), limits)
            left = _spent(chunk, left, limits)
            chunk = cursor.fetchmany(CHUNK)
            tuples.extend(chunk)
    return tuples


def _spent(chunk: Sequence[tuple[Any, ...]], left: Limits, limits: Limits) -> Limits:
    if left.max_bytes is None:
        return left
    size = sum(len(value) for row in chunk for value in row if isinstance(value, (str, bytes)))
    remaining = left.max_bytes - size - 16 * len(chunk) * len(chunk[0])
    if remaining < 0:
        from heaven_core.evaluate import too_many_bytes

        raise too_many_bytes(limits)
    return left._replace(max_bytes=remaining)


def _fetch(connection: Connection, request: Fetch) -> Rows:
    layout = request.layout
    names, codes, make = shape(layout, layout.names)
    if len(request.ids) == 1:
        text = layout.cache.get("get")
        if text is None:
            text = layout.cache["get"] = statements.select_list(layout, layout.names) + ' where t."object_id" = ?'
        return Rows(names, codes, connection.execute(text, request.ids).fetchall(), make)
    text = statements.select_list(layout, layout.names) + ' where t."object_id" in (select value from json_each(?))'
    tuples: list[tuple[Any, ...]] = []
    for start in range(0, len(request.ids), CHUNK):
        part = canonical_json(list(request.ids[start : start + CHUNK]))
        tuples.extend(connection.execute(text, (part,)).fetchall())
    return Rows(names, codes, tuples, make)


def _locate(connection: Connection, request: Locate) -> Rows:
    found: list[tuple[Any, ...]] = []
    layouts: Sequence[Layout] = request.layouts
    for start in range(0, len(layouts), LOCATE_GROUP):
        group = layouts[start : start + LOCATE_GROUP]
        text = statements.locate_sql(group)
        located: list[tuple[int, str]] = connection.execute(text, (request.object_id,) * len(group)).fetchall()
        found.extend((group[position].entity, object_id) for position, object_id in located)
    return Rows(("entity", "object_id"), (None, None), found)
