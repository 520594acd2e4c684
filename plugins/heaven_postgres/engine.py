"""The PostgreSQL engine: transactions and the protocol of a primary, in one schema of a server's database.

Reading takes a connection for one statement, which sees what was last committed; what needs several sees one moment.
A transaction has a connection of its own from its first write on, and locks the row with the workspace's state, so
there is one writer at a time in all processes, and commits have the order of their LSNs. A commit is on the server's
disk when it returns. If the connection breaks in the midst of one, the server is asked what became of it.

Not here: SQL text (`heaven_postgres.statements`), what PostgreSQL can do (`heaven_postgres.handlers`), connections
(`heaven_postgres.pool`) and how they are made (`heaven_postgres.opening`), how rows are written, grouped, searched
and ranked (the modules of those names).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import psycopg

from heaven_core import config as settings
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
    BackendUnavailable,
    HeavenError,
    PlacementError,
    StorageError,
    TransactionError,
    WorkspaceClosed,
    read_before,
)
from heaven_core.evaluate import gathered, most_rows
from heaven_core.sql import Sql, quote, shape
from heaven_core.sql_scan import count_sql, scan_sql
from heaven_core.text import index_version
from heaven_core.watch import Watch
from heaven_postgres import statements, writing
from heaven_postgres.failures import TOO_LATE, gone, translated
from heaven_postgres.handlers import id_set
from heaven_postgres.opening import Server
from heaven_postgres.pool import STREAMED, WAIT_S, Connection, Pool

if TYPE_CHECKING:
    from heaven_core.matrix_cache import MatrixCache

T = TypeVar("T")

UNBOUNDED = Limits(None, None, None)
ESTIMATE_BOUND = 10_000
LOCATE_GROUP = 250
MOST_KNOWN = 500
"""Statements about an entity that are known to give few rows."""
NARROW_CHARS = 255
WIDE = frozenset({"array", "json", "vector", "bytes"})
MIXED_RULES = "mixed"
"""Processes with different text rules have written; the next opening makes the words of every text anew."""
STATUS = "select pg_xact_status(?::text::xid8)"
ASKED_AGAIN_S = 10.0
"""How long a server that went away during a commit is asked what became of it."""


class Touched(NamedTuple):
    """What a transaction has changed of an entity with vectors: its versions before and after, the rows' numbers."""

    before: int
    after: int
    rowids: list[Sequence[int]]


class PostgresTransaction:
    """A transaction; it has a connection from the first use of `lsn` on."""

    def __init__(self, backend: PostgresBackend) -> None:
        self._backend = backend
        self._connection: Connection | None = None
        self._lsn, self._epoch, self._number = 0, 0, ""
        self._read: int | None = None
        self.text_rules: str | None = None
        self.touched: dict[str, Touched] = {}
        self._open = True

    @property
    def connection(self) -> Connection:
        """The connection, of a transaction that has the writers' lock."""
        _ = self.lsn
        assert self._connection is not None
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
        elif self._connection is None or self._connection.broken:
            raise self._backend.lost()
        return self._lsn

    def _begin(self) -> None:
        backend = self._backend
        backend.take_writer()
        try:
            self._connection = backend.writing_connection(self._started)
            if self._read not in (None, self._lsn - 1):
                raise read_before(backend.name)
            if self.text_rules not in (None, MIXED_RULES) and self.text_rules != index_version():
                self.note_text_rules(MIXED_RULES)
        except BaseException:
            self._lsn = 0
            self._leave(undo=True)
            raise

    def _started(self, connection: Connection) -> None:
        """Begin, and lock the state."""
        cursor = connection.raw.execute(statements.BEGIN)
        cursor.nextset()
        row = cursor.fetchone()
        if row is None:
            raise StorageError(f"backend {self._backend.name!r}: its state is gone; restore a backup")
        self._lsn, self._epoch, self.text_rules, self._number = row

    def note_read(self) -> None:
        """Remember as of which commit the transaction reads: what it then writes may depend on that."""
        if self._read is None and not self._lsn:
            self._read = self._backend.state()[0]

    def note_text_rules(self, version: str) -> None:
        """Say with which text rules the words are made from now on."""
        self.connection.run(f"update {statements.STATE_TABLE} set text_rules = ?", (version,))
        self.text_rules = version

    @property
    def epoch(self) -> int:
        if self._lsn or not self._open:
            _ = self.lsn
            return self._epoch
        return self._backend.state()[1]

    def bump_epoch(self) -> None:
        with self._backend.typing():
            text = f"update {statements.STATE_TABLE} set epoch = epoch + 1 returning epoch"
            self._epoch = self.connection.rows(text)[0][0]

    def touch(self, layout: Layout, rowids: Sequence[int]) -> None:
        """Note that rows were changed, of an entity that has vectors."""
        if not statements.vector_fields(layout) or not rowids:
            return
        from heaven_core.matrix_cache import new_version
        from heaven_postgres import vectors

        entity = layout.entity
        if entity not in self.touched:
            before, after = vectors.version(self.connection, entity), new_version(self._lsn)
            self.connection.run(vectors.SET_VERSION, (entity, after))
            self.touched[entity] = Touched(before, after, [])
        self.touched[entity].rowids.append(rowids)

    def read(self, limits: Limits, work: Callable[[Connection], T]) -> T:
        """Read with the transaction's own writes; what fails or takes too long leaves them as they are."""
        connection = self.connection
        with self._backend.typing():
            late = f"set local statement_timeout = {timeout_ms(limits)}"
            connection.run(f"savepoint hb_read; {late}")
            try:
                with self._backend.watching(connection, limits):
                    found = work(connection)
            except BaseException:
                if not connection.broken:
                    connection.run("rollback to savepoint hb_read; release savepoint hb_read")
                if limits.cancel is not None:
                    limits.cancel.check()
                raise
            connection.run("release savepoint hb_read; set local statement_timeout = 0")
            return found

    def commit(self) -> None:
        if self._open and self._lsn:
            _ = self.lsn  # raises if it is there no more
            for entity, (before, after, rowids) in self.touched.items():
                self._backend.matrices.note(entity, before, after, rowids)
            try:
                self._commit()
            except BaseException:
                for entity in self.touched:
                    self._backend.matrices.forget(entity)
                self.rollback()
                raise
        self._end(undo=False)

    def _commit(self) -> None:
        assert self._connection is not None
        try:
            self._connection.run("commit")
        except psycopg.Error as error:
            if not self._connection.broken:
                raise self._backend.typed(error) from error
            if not self._backend.has_committed(self._number):
                raise gone(self._backend.name) from error

    def rollback(self) -> None:
        self._end(undo=True)

    def _end(self, *, undo: bool) -> None:
        if self._open:
            self._open = False
            if self._lsn:
                self._leave(undo=undo)

    def _leave(self, *, undo: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if undo and not connection.broken:
                with suppress(psycopg.Error):  # a connection that cannot do that is closed, which does it
                    connection.run("rollback")
            self._backend.give_back(connection)
        self._backend.release_writer()


class PostgresBackend:
    """One schema of a PostgreSQL database.

    Options: `url` (without it the setting `server.url`, else what libpq's own variables say), `schema` (without it
    one for the workspace) and `connections`, the most that are open at a time.
    """

    type = "postgres"
    capabilities = frozenset({"primary", "transactions", "fulltext", "vectors", "durable", "packed", "shared"})

    def __init__(self, config: BackendConfig) -> None:
        self.name = config.name
        self._server = Server(config)
        self._pool = Pool(self.name, self._server.connections, self._server.connect, self._gone)
        self.give_back = self._pool.give_back
        self._writer = threading.Lock()
        self._watch = Watch()
        self._budget: int = settings.get("vector.memory_budget")
        self._matrices: list[MatrixCache] = []
        try:
            rules = self._server.prepare()
            if rules is not None and rules != index_version():
                self._rewrite_words()
        except BaseException:
            self.close()
            raise

    def _rewrite_words(self) -> None:
        """Make the words of every text anew: they were made by another Python's rules."""
        tx = self.begin(exclusive=True)
        try:
            if tx.text_rules != index_version():  # else another process was quicker
                with self.typing():
                    for entity, fields in self._server.fulltext_fields(tx.connection):
                        writing.refill_words(tx.connection, entity, fields)
                    tx.note_text_rules(index_version())
                tx.commit()
        finally:
            tx.rollback()

    @property
    def matrices(self) -> MatrixCache:
        """The vectors that are kept in memory; most workspaces have none."""
        from heaven_core.matrix_cache import MatrixCache

        if not self._matrices:
            self._matrices.append(MatrixCache(self._budget))  # two threads at once may put two: the first one counts
        return self._matrices[0]

    # connections -----------------------------------------------------------------------------------------------

    def _gone(self) -> WorkspaceClosed:
        return WorkspaceClosed(f"backend {self.name!r}: the workspace was closed while this was going on")

    def lost(self) -> HeavenError:
        """The error of a transaction whose connection is there no more."""
        return self._gone() if self._pool.closed else gone(self.name)

    def typed(self, error: psycopg.Error) -> HeavenError:
        """What psycopg raised as a typed error; whatever happens after closing is due to that."""
        return self._gone() if self._pool.closed else translated(error, self.name)

    @contextmanager
    def typing(self) -> Generator[None]:
        """What psycopg raises inside becomes a typed error."""
        try:
            yield
        except psycopg.Error as error:
            raise self.typed(error) from error

    def take_writer(self) -> None:
        """Wait for the lock among this process's writers; the row of the state orders processes."""
        if not self._writer.acquire(timeout=WAIT_S):
            raise BackendBusy(f"backend {self.name!r}: another transaction has been writing for {WAIT_S:.0f} s")

    def release_writer(self) -> None:
        """Let the next writer in."""
        self._writer.release()

    def writing_connection(self, begin: Callable[[Connection], None]) -> Connection:
        """A connection on which a transaction has begun; another one if the server has gone away since its last use."""
        while True:
            connection = self._pool.take()
            again = not connection.new
            try:
                connection.limit(0)
                begin(connection)
            except BaseException as error:
                again = again and connection.broken
                self.give_back(connection, sound=False)
                if not again or not isinstance(error, psycopg.Error):
                    raise self.typed(error) if isinstance(error, psycopg.Error) else error from error
                self._pool.forget()
                continue
            return connection

    @contextmanager
    def watching(self, connection: Connection, limits: Limits) -> Generator[None]:
        """Stop what runs on the connection when somebody cancels it; time is the server's matter."""
        if limits.cancel is None:
            yield
            return
        with self._watch.over(connection.interrupt, Limits(None, None, None, limits.cancel)):
            yield

    def _ask(self, tx: PostgresTransaction | None, limits: Limits, work: Callable[[Connection], T]) -> T:
        """What `work` finds on a connection, inside a transaction on that one's."""
        if tx is not None:
            tx.note_read()
            if tx.locked:
                return tx.read(limits, work)
        while True:
            connection = self._pool.take()
            again, sound = not connection.new, True
            try:
                connection.limit(timeout_ms(limits))
                with self.watching(connection, limits):
                    return work(connection)
            except psycopg.Error as error:
                sound = error.sqlstate not in {None, TOO_LATE}  # what is cancelled late would stop the next user
                if limits.cancel is not None:
                    limits.cancel.check()
                if not (again and connection.broken) or self._pool.closed:
                    raise self.typed(error) from error
                self._pool.forget()
            finally:
                self.give_back(connection, sound=sound)

    def state(self) -> tuple[int, int]:
        """LSN and epoch as last committed."""
        rows = self._ask(None, UNBOUNDED, lambda one: one.rows(f"select lsn, epoch from {statements.STATE_TABLE}"))
        if not rows:
            raise StorageError(f"backend {self.name!r}: its state is gone; restore a backup")
        return rows[0][0], rows[0][1]

    def has_committed(self, number: str) -> bool:
        """What became of a transaction during whose commit the connection broke.

        Raises:
            StorageError: the server cannot be asked.
        """
        ends = time.monotonic() + ASKED_AGAIN_S
        self._pool.forget()
        while True:
            try:
                status = self._ask(None, UNBOUNDED, lambda one: one.rows(STATUS, (number,)))[0][0]
            except BackendUnavailable:
                status = "unknown"
            if status in {"committed", "aborted"}:
                return status == "committed"
            if time.monotonic() > ends:
                raise StorageError(
                    f"backend {self.name!r}: the server went away during a commit, and whether it was committed is "
                    "not known; look at the rows when it is back"
                )
            time.sleep(0.2)

    # protocol --------------------------------------------------------------------------------------------------

    def begin(self, *, exclusive: bool = False) -> PostgresTransaction:
        tx = PostgresTransaction(self)
        if exclusive:
            _ = tx.lsn
        return tx

    def ddl(self, change: Change, tx: PostgresTransaction) -> None:
        with self.typing():
            after = change.after
            for name in sorted(statements.SYSTEM_COLUMNS.intersection(() if after is None else after.names)):
                raise PlacementError(
                    f"{change.after and change.after.entity}.{name}: PostgreSQL has a column of this name in every "
                    "table; call the field otherwise"
                )
            if after is not None and any(map(statements.can_be_near, after.columns)):
                self._server.find_pgvector(tx.connection)
            for text in statements.ddl(change, self._server.pgvector):
                tx.connection.run(text)
            if after is not None and tx.text_rules is None and statements.fulltext_fields(after):
                tx.note_text_rules(index_version())

    def _near_fields(self, connection: Connection, layout: Layout) -> Sequence[str]:
        """The fields whose vectors pgvector has, too: whether the server had it when the columns were made."""
        found: Sequence[str] | None = layout.cache.get("near")
        if found is None:
            wanted = [one.name for one in layout.columns if statements.can_be_near(one)]
            if wanted:
                known = {quote(name) for (name,) in connection.rows(statements.COLUMNS, (layout.entity,))}
                wanted = [name for name in wanted if statements.near_column(name) in known]
            found = layout.cache["near"] = wanted
        return found

    def write(self, layout: Layout, batch: Batch, tx: PostgresTransaction) -> Written:
        with self.typing():
            near = self._near_fields(tx.connection, layout)
            written, rowids = writing.write(tx.connection, layout, batch, tx.lsn, self.name, near)
            tx.touch(layout, rowids)
            return written

    def delete(self, layout: Layout, ids: Sequence[str], tx: PostgresTransaction) -> list[str]:
        with self.typing():
            deleted, rowids = writing.delete(tx.connection, layout, ids)
            tx.touch(layout, rowids)
            return deleted

    def run(self, request: Request, tx: PostgresTransaction | None = None) -> Rows:
        if isinstance(request, Fetch):
            return self._fetch(request, tx)
        if isinstance(request, Locate):
            return self._ask(tx, UNBOUNDED, lambda connection: _locate(connection, request))
        return self._ask(tx, request.limits, lambda connection: self._scan(connection, request, tx))

    def _fetch(self, request: Fetch, tx: PostgresTransaction | None) -> Rows:
        layout = request.layout
        text = layout.cache.get("get")
        if text is None:
            text, _ = scan_sql(Scan(layout, layout.names), None, statements.table(layout.entity), id_set)
            layout.cache["get"] = text
        condition, values = id_set(request.ids)
        tuples = self._ask(tx, UNBOUNDED, lambda one: one.rows(f"{text} where {condition}", values))
        names, codes, make = shape(layout, layout.names)
        return Rows(names, codes, tuples, make)

    def _scan(self, connection: Connection, request: Scan, tx: PostgresTransaction | None) -> Rows:
        if request.group is not None:
            from heaven_postgres.grouping import answer_groups

            return answer_groups(self._fetcher(connection, tx), request, request.group)
        if request.near is not None:
            from heaven_postgres import vectors

            own = tx is not None and request.layout.entity in tx.touched
            near = request.near.field.name in self._near_fields(connection, request.layout)
            pgvector = quote(self._server.pgvector) if near and self._server.pgvector else None
            with _one_moment(connection):
                return vectors.nearest(connection, request, None if own else self.matrices, pgvector)
        if request.search is not None:
            from heaven_postgres.searching import answer_search

            with _one_moment(connection):
                return answer_search(lambda sql: connection.rows(*sql), request, request.search)
        most = most_rows(request)
        text, values = scan_sql(request, most, statements.table(request.layout.entity), id_set)
        few = _few(request)
        whole = text in few or (most is not None and most <= STREAMED)
        with closing(_chunks(connection, text, values, whole)) as chunks:  # an error would keep it, and what it runs
            tuples = gathered(chunks, request.limits)
        if len(tuples) > STREAMED:
            few.discard(text)
        elif len(few) < MOST_KNOWN and _is_narrow(request):
            few.add(text)
        names, codes, make = shape(request.layout, request.columns)
        return Rows(names, codes, tuples, make)

    @staticmethod
    def _fetcher(connection: Connection, tx: PostgresTransaction | None) -> Callable[[Sql], list[tuple[Any, ...]]]:
        """What runs a statement that may fail and be followed by another."""

        def fetch(sql: Sql) -> list[tuple[Any, ...]]:
            try:
                return connection.rows(*sql)
            except psycopg.Error:
                if tx is not None and tx.locked and not connection.broken:
                    connection.run("rollback to savepoint hb_read")
                raise

        return fetch

    def estimate(self, request: Scan) -> int | None:
        """The rows that match, counted up to a bound; None past it."""
        text, values = count_sql(request, ESTIMATE_BOUND + 1, statements.table(request.layout.entity), id_set)
        found: int = self._ask(None, request.limits, lambda one: one.rows(text, values))[0][0]
        return found if found <= ESTIMATE_BOUND else None

    def versions(self, layout: Layout, ids: Sequence[str], tx: PostgresTransaction | None = None) -> list[int | None]:
        condition, values = id_set(ids)
        text = f'select t."object_id", t._v from {statements.table(layout.entity)} t where {condition}'
        known = dict(self._ask(tx, UNBOUNDED, lambda one: one.rows(text, values)))
        return [known.get(one) for one in ids]

    def scan(self, layout: Layout, *, batch_rows: int = 1000) -> Iterator[list[str]]:
        source, last = statements.table(layout.entity), ""
        text = f'select "object_id" from {source} where "object_id" > ? order by "object_id" limit ?'
        while True:
            values = (last, batch_rows)
            found = [key for (key,) in self._ask(None, UNBOUNDED, lambda one: one.rows(text, values))]  # noqa: B023
            if not found:
                return
            yield found
            last = found[-1]

    def recover(self, layouts: Sequence[Layout], *, repair: bool) -> list[Finding]:
        from heaven_postgres import checking

        def look(connection: Connection) -> list[Finding]:
            with _one_moment(connection):
                return list(checking.check(connection, layouts, self.name))

        findings = self._ask(None, UNBOUNDED, look)
        if repair and any(one.repairable for one in findings):
            tx = self.begin(exclusive=True)
            try:
                with self.typing():
                    checking.mend(tx.connection, layouts, findings)
                tx.commit()
            finally:
                tx.rollback()
        return findings

    def close(self) -> None:
        self._pool.close()

    def destroy(self) -> None:
        """Remove what is the workspace's in the schema, and the schema if nothing else is in it; then close.

        Raises:
            WorkspaceConflict, NotADatabase: it is somebody else's.
        """
        with self.typing():
            self._server.destroy()
        self.close()


def timeout_ms(limits: Limits) -> int:
    """How long the server may take over a statement; 0 for as long as it wants."""
    if limits.deadline is None:
        return 0
    if limits.deadline < 1:
        return max(int(limits.deadline * 1000), 1)
    return 1000 * ceil(limits.deadline)  # whole seconds: what is left of a query differs at each step, and is said anew


@contextmanager
def _one_moment(connection: Connection) -> Generator[None]:
    """Let several statements see the same: inside a transaction that has the writers' lock they do."""
    if connection.in_transaction:
        yield
        return
    connection.run("begin isolation level repeatable read read only")
    try:
        yield
    finally:
        if not connection.broken:
            connection.run("rollback")


def _few(request: Scan) -> set[str]:
    """Statements about an entity that gave few rows: their answers are taken whole, which is quicker.

    One may give more the next time, so only narrow rows are asked for in this way.
    """
    found: set[str] = request.layout.cache.setdefault("few", set())
    return found


def _is_narrow(request: Scan) -> bool:
    """Whether a million of the rows that are asked for fit into memory."""
    dtypes = (request.layout.by_name[name].field.dtype for name in request.columns)
    return all(getattr(dtype, "max_chars", 0) <= NARROW_CHARS and dtype.kind not in WIDE for dtype in dtypes)


def _chunks(connection: Connection, text: str, values: Sequence[Any], whole: bool) -> Generator[list[tuple[Any, ...]]]:
    """The rows of a statement, a part at a time unless they are to be taken whole."""
    if whole:
        yield connection.rows(text, values)
        return
    chunk: list[tuple[Any, ...]] = []
    for row in connection.stream(text, values):
        chunk.append(row)
        if len(chunk) == STREAMED:
            yield chunk
            chunk = []
    yield chunk


def _locate(connection: Connection, request: Locate) -> Rows:
    found: list[tuple[Any, ...]] = []
    layouts: Sequence[Layout] = request.layouts
    for start in range(0, len(layouts), LOCATE_GROUP):
        group = layouts[start : start + LOCATE_GROUP]
        located: list[tuple[int, str]] = connection.rows(statements.locate(group), (request.object_id,) * len(group))
        found += [(group[position].entity, object_id) for position, object_id in located]
    return Rows(("entity", "object_id"), (None, None), found)
