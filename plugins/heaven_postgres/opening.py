"""Which server, database and schema, and whether what lies there is ours: connecting, creating, dropping.

Not here: what is done on the connections (`heaven_postgres.engine`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from heaven_core import config as settings
from heaven_core.backend import BackendConfig
from heaven_core.errors import ConfigError, FormatTooNew, StorageError, WorkspaceConflict, a_kind, did_you_mean
from heaven_core.placement import PRIMARY
from heaven_core.sql import quote
from heaven_postgres import statements
from heaven_postgres.failures import not_ours, translated, unreachable
from heaven_postgres.pool import WAIT_S, Connection

FORMAT = 1
OLDEST = 140_000
"""The oldest PostgreSQL that has what is used here."""
CONNECT_S = 10
USUAL_CONNECTIONS = 20
OPTIONS = ("connections", "schema", "url")

_SETUP = f"""set client_min_messages = warning; set lock_timeout = {WAIT_S * 1000:.0f}; set statement_timeout = 0;
set idle_in_transaction_session_timeout = 0; set default_transaction_isolation = 'read committed';
set extra_float_digits = 1; set standard_conforming_strings = on;
select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') in ('off', 'local')"""
"""What the engine relies on, whatever the server or the user's role says otherwise."""

_LOCK = "select pg_advisory_xact_lock(hashtextextended('heavenbase', 0))"
"""Taken where a schema is made or dropped: servers do not order that by themselves."""


class Server:
    """The options of one backend, as what they mean."""

    def __init__(self, config: BackendConfig) -> None:
        self.name, self._workspace = config.name, config.workspace
        options = dict(config.options)
        for word in sorted(options.keys() - set(OPTIONS)):
            raise ConfigError(
                f"backend {self.name!r} of type postgres takes no option {word!r}; {did_you_mean(word, OPTIONS)}"
            )
        self._url = options.get("url") or settings.get("server.url") or ""
        self._conninfo = _conninfo(self.name, self._url)
        usual = f"hb_{self._workspace}" if self.name == PRIMARY else f"hb_{self._workspace}.{self.name}"
        self.schema = _schema(self.name, options.get("schema"), usual)
        self.connections = _connections(self.name, options.get("connections", USUAL_CONNECTIONS))
        self.pgvector: str | None = None
        """The schema that pgvector lies in; None for a database without it."""

    # connecting --------------------------------------------------------------------------------------------------

    def connect(self) -> Connection:
        """A new connection, set up."""
        try:
            raw: Any = psycopg.connect(self._conninfo, autocommit=True, cursor_factory=psycopg.RawCursor)
        except psycopg.Error as error:
            raise unreachable(error, self.name, named=bool(self._url)) from error
        connection = Connection(raw)
        try:
            self._check_server(raw)
            connection.run(f"set search_path = {quote(self.schema)}; {_SETUP}")
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise translated(error, self.name) from error
            raise
        return connection

    def _check_server(self, raw: Any) -> None:
        if raw.info.server_version < OLDEST:
            raise StorageError(f"backend {self.name!r}: the server is older than PostgreSQL {OLDEST // 10_000}")
        encoding = raw.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StorageError(
                f"backend {self.name!r}: the database is encoded as {encoding}, which does not hold every text; "
                "create one with encoding UTF8"
            )

    # whose it is -------------------------------------------------------------------------------------------------

    def prepare(self) -> str | None:
        """Make the schema ours if it is new, or check that it is and not newer than we are. Its text rules."""
        connection = self.connect()
        try:
            if not self._is_ours(connection):
                self._create(connection)
            rules = self._check(connection)
            found = connection.rows(statements.EXTENSION)
            self.pgvector = found[0][0] if found else None
            return rules
        except psycopg.Error as error:
            raise translated(error, self.name) from error
        finally:
            connection.close()

    def _is_ours(self, connection: Connection) -> bool:
        """Whether the schema has our state; False if it has nothing at all."""
        tables = {name for (name,) in connection.rows(statements.TABLES, (self.schema,))}
        if tables and statements.STATE_TABLE.strip('"') not in tables:
            raise not_ours(self.name, self.schema)
        return bool(tables)

    def _create(self, connection: Connection) -> None:
        with connection.raw.transaction():
            connection.run(_LOCK)
            if self._is_ours(connection):  # another process was quicker
                return
            own = not connection.rows("select 1 from pg_namespace where nspname = ?", (self.schema,))
            if own:
                connection.run(f"create schema {quote(self.schema)}")
            connection.run(statements.STATE)
            text = f"insert into {statements.STATE_TABLE} values (1, ?, 0, 0, ?, ?, null, ?)"
            connection.run(text, (FORMAT, self._workspace, self.name, own))

    def _check(self, connection: Connection) -> str | None:
        text = f"select format, workspace, backend, text_rules from {statements.STATE_TABLE}"
        found = connection.rows(text)
        if not found:
            raise StorageError(f"backend {self.name!r}: its state is gone; restore a backup")
        version, workspace, backend, rules = found[0]
        if version > FORMAT:
            raise FormatTooNew(
                f"backend {self.name!r}: the schema has storage format {version}; this HeavenBase reads up to "
                f"{FORMAT}; upgrade it"
            )
        if (workspace, backend) != (self._workspace, self.name):
            raise WorkspaceConflict(
                f"backend {self.name!r}: schema {self.schema!r} belongs to backend {backend!r} of workspace "
                f"{workspace!r}; open it under that id, or choose another with 'schema'"
            )
        return rules

    def find_pgvector(self, connection: Connection) -> None:
        """Know whether pgvector is there; install it where that can be done. In a transaction.

        Without it vectors are searched in memory, so whatever stands in the way is no error.
        """
        if self.pgvector is None and connection.rows(statements.INSTALLABLE):
            connection.run("savepoint hb_extension")
            try:
                connection.run("create extension if not exists vector schema public")
            except psycopg.Error as error:
                if connection.broken:
                    raise
                connection.run("rollback to savepoint hb_extension")
                logging.getLogger("heavenbase").info("backend %r: no pgvector (%s)", self.name, error.sqlstate)
            connection.run("release savepoint hb_extension")
            found = connection.rows(statements.EXTENSION)
            self.pgvector = found[0][0] if found else None

    def fulltext_fields(self, connection: Connection) -> Iterator[tuple[str, Sequence[str]]]:
        """Of every entity in the schema the fields whose words are kept, by what columns there are."""
        for (entity,) in connection.rows(statements.OWN_TABLES, (self.schema,)):
            known = {name for (name,) in connection.rows(statements.COLUMNS, (entity,))}
            fields = sorted(name for name in known if statements.words_column(name).strip('"') in known)
            if fields:
                yield entity, fields

    def destroy(self) -> None:
        """Drop our tables, and the schema if we have made it and nothing else is in it."""
        connection = self.connect()
        try:
            if not self._is_ours(connection):
                return
            self._check(connection)
            with connection.raw.transaction():
                connection.run(_LOCK)
                own = connection.rows(f"select own_schema from {statements.STATE_TABLE}")[0][0]
                tables = [name for (name,) in connection.rows(statements.OWN_TABLES, (self.schema,))]
                for name in (*tables, "hb.vectors", "hb.state"):
                    connection.run(f"drop table if exists {quote(name)}")
                if own and not connection.rows(statements.TABLES, (self.schema,)):
                    self._drop_schema(connection)
        finally:
            connection.close()

    def _drop_schema(self, connection: Connection) -> None:
        try:
            with connection.raw.transaction():
                connection.run(f"drop schema {quote(self.schema)}")
        except psycopg.errors.DependentObjectsStillExist:  # somebody's functions or types
            pass


def _conninfo(backend: str, url: Any) -> str:
    """What libpq takes; whatever is wrong with it is said without it, as it may hold a password."""
    if not isinstance(url, str):
        raise ConfigError(f"backend {backend!r}: its 'url' is a text, not {a_kind(url)}")
    try:
        given: Mapping[str, Any] = conninfo_to_dict(url)
        url.encode()
    except (psycopg.Error, UnicodeError):
        raise ConfigError(
            f"backend {backend!r}: its 'url' is no PostgreSQL address; "
            "it is written postgresql://user:password@host:5432/database"
        ) from None
    usual: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "application_name": "heavenbase",
        "tcp_user_timeout": int(WAIT_S * 1000),
    }
    return make_conninfo("", **{**usual, "keepalives_idle": 30, **given, "client_encoding": "UTF8"})


_IS_PLAIN = re.compile(r"[^\0-\x1f\"\ud800-\udfff]+").fullmatch


def _schema(backend: str, given: Any, usual: str) -> str:
    if given is None:
        return statements.fitted(usual).strip('"')
    if not isinstance(given, str) or not given or given.startswith(("pg_", "$")) or not _IS_PLAIN(given):
        raise ConfigError(f"backend {backend!r}: its 'schema' is the name of a schema such as 'heaven'")
    if len(given.encode()) > statements.LONGEST:
        raise ConfigError(f"backend {backend!r}: its 'schema' has more than {statements.LONGEST} bytes")
    return given


def _connections(backend: str, given: Any) -> int:
    if type(given) is not int or not 2 <= given <= 1000:
        raise ConfigError(f"backend {backend!r}: its 'connections' is a whole number from 2 to 1000")
    return given
