"""Both kinds of ClickHouse: the embedded engine in this process, and one behind HTTP in another."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sinks.clickhouse import Store, Target, parse_dsn
from sinks.migrate import migrate
from tests.sinks.front import ClickHouse, clickhouse_front


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """The session's ClickHouse behind HTTP. A test that takes it away must bring it back."""
    with clickhouse_front(tmp_path_factory.mktemp("clickhouse"), password="secret") as running:
        yield running


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the embedded engine, open for the module: this process can have one folder open at a time."""
    folder = tmp_path_factory.mktemp("engine")
    with Store(Target("chdb", folder=str(folder)), use_database=False):
        yield folder


@pytest.fixture
def make_target(request: pytest.FixtureRequest) -> Callable[[str], Target]:
    """Makes a target with a database name of its own, ``chdb`` or ``http``; the database is not there yet."""

    def make(kind: str) -> Target:
        database = f"t{uuid.uuid4().hex[:10]}"
        if kind == "chdb":
            return Target("chdb", database, folder=str(request.getfixturevalue("engine")))
        return parse_dsn(request.getfixturevalue("clickhouse").dsn(database))

    return make


@pytest.fixture(params=["chdb", "http"])
def empty_target(request: pytest.FixtureRequest, make_target: Callable[[str], Target]) -> Target:
    """Either kind, without its database."""
    return make_target(request.param)


@pytest.fixture(scope="module")
def migrated() -> dict[str, Target]:
    """By kind, a database that has its tables already."""
    return {}


@pytest.fixture(params=["chdb", "http"])
def target(request: pytest.FixtureRequest, make_target: Callable[[str], Target], migrated: dict[str, Target]) -> Target:
    """Either kind, with all tables, which are empty; a test that changes tables makes a database of its own."""
    kind = request.param
    if kind not in migrated:
        target = make_target(kind)
        migrate(target)
        migrated[kind] = target
    with Store(migrated[kind]) as store:
        for table in store.rows(
            "SELECT name FROM system.tables "
            "WHERE database = currentDatabase() AND engine LIKE '%MergeTree' AND name != 'schema_migrations'"
        ):
            store.command(f"TRUNCATE TABLE `{table['name']}`")
    return migrated[kind]


@pytest.fixture
def store(target: Target) -> Iterator[Store]:
    """A connection to the test's database."""
    with Store(target) as opened:
        yield opened
