"""The PostgreSQL engine: a schema of a server's database, shared by processes and machines. The declaration only."""

from __future__ import annotations

from heaven_core.plugin import StoragePlugin

PLUGIN = StoragePlugin(
    "postgres",
    backend="heaven_postgres.engine:PostgresBackend",
    handlers="heaven_postgres.handlers:handlers",
    aliases=("postgresql",),
    requires=("psycopg",),
    extra="postgres",
    api=1,
    primary=True,
    desc="a server's database, shared by processes and machines; full text, vectors by pgvector where it is there",
)
