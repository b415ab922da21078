"""The schema comes into being once, however often and by however many it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from sinks import migrate as module
from sinks.clickhouse import ClickHouseRefused, DatabaseMissing, Store, Target
from sinks.migrate import Migration, applied, check_schema, migrate, migrations


def test_files_are_numbered_without_holes() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_the_first_run_applies_everything_and_the_second_nothing(empty_target: Target) -> None:
    assert migrate(empty_target) == migrations()
    assert migrate(empty_target) == []
    with Store(empty_target) as store:
        check_schema(store)
        assert applied(store) == {migration.version: migration.checksum for migration in migrations()}


def test_several_at_once_leave_one_record_of_each_file(empty_target: Target) -> None:
    failed: list[Exception] = []

    def run() -> None:
        try:
            migrate(empty_target)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with Store(empty_target) as store:
        rows = store.rows("SELECT version, count() AS records FROM schema_migrations GROUP BY version ORDER BY version")
    assert [tuple(row.values()) for row in rows] == [(migration.version, 1) for migration in migrations()]


def test_a_run_that_was_cut_short_is_done_again(empty_target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Store.command

    def command(store: Store, sql: str, parameters: object = None) -> None:
        if "CREATE VIEW IF NOT EXISTS usage_by_day" in sql:
            raise ClickHouseRefused("cut short")
        real(store, sql)

    with monkeypatch.context() as cut, pytest.raises(ClickHouseRefused):
        cut.setattr(Store, "command", command)
        migrate(empty_target)
    assert [migration.version for migration in migrate(empty_target)] == [each.version for each in migrations()[2:]]


def test_a_database_that_is_not_there_yet_names_the_command(make_target: Callable[[str], Target]) -> None:
    with pytest.raises(DatabaseMissing, match="callmeter migrate"):
        Store(make_target("chdb"))


def test_a_database_without_tables_names_what_it_lacks(make_target: Callable[[str], Target]) -> None:
    target = make_target("chdb")
    with Store(target, use_database=False) as server:
        server.command(f"CREATE DATABASE {target.database}")
    with (
        Store(target) as store,
        pytest.raises(DatabaseMissing, match=r"lacks 0001_rated_calls\.sql.*callmeter migrate"),
    ):
        check_schema(store)


def test_a_file_that_was_changed_after_it_was_applied_is_refused(
    make_target: Callable[[str], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_target("chdb")
    migrate(target)
    changed = [Migration(one.version, one.name, one.text + "\n") for one in migrations()]
    monkeypatch.setattr(module, "migrations", lambda: changed)
    with pytest.raises(ClickHouseRefused, match=r"0001_rated_calls\.sql was changed"):
        migrate(target)


def test_a_database_of_a_newer_callmeter_is_refused(
    make_target: Callable[[str], Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_target("chdb")
    migrate(target)
    older = migrations()[:-1]
    monkeypatch.setattr(module, "migrations", lambda: older)
    with pytest.raises(ClickHouseRefused, match="newer than this Callmeter"):
        migrate(target)
