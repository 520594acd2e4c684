"""Each engine passes the conformance kit for storage plugins: `heaven_core.testing.StorageConformance`.

To add an engine, add a class; one whose tests need places of their own overrides the fixture `backend_options`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from heaven_core.testing import StorageConformance

pytestmark = pytest.mark.integration


@pytest.mark.engines("inmem")
class TestInmem(StorageConformance):
    backend = "inmem"


@pytest.mark.engines("sqlite")
class TestSqlite(StorageConformance):
    backend = "sqlite"


@pytest.mark.engines("duckdb", "sqlite")
class TestDuckdb(StorageConformance):
    backend = "duckdb"


@pytest.mark.engines("lancedb", "sqlite")
class TestLancedb(StorageConformance):
    backend = "lancedb"


@pytest.mark.engines("postgres", "sqlite")
class TestPostgres(StorageConformance):
    backend = "postgres"

    @pytest.fixture
    def backend_options(self, engine_options: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in engine_options("postgres").items() if name != "type"}
