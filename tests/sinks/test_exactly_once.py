"""Appending is exactly once, whoever else appends and whenever somebody is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sinks import exactly_once
from sinks.clickhouse import ClickHouseAway, Store, Target
from sinks.columns import Columns
from sinks.exactly_once import STAGING, Appender, PositionMoved, RowsHidden, drop_orphans
from sinks.tables import REJECTS, TABLES, Reject, reject_columns
from tests.sinks.story import alerts, month, record, written

TABLE = next(table for table in TABLES if table.name == "alerts")


def columns(offsets: range, partition: int = 0, account: str = "acct_1") -> Columns:
    return TABLE.chunk(alerts(offsets, partition, account)).columns


def offsets(store: Store, partition: int = 0) -> list[int]:
    rows = store.rows(f"SELECT kafka_offset FROM alerts WHERE kafka_partition = {partition} ORDER BY kafka_offset")
    return [row["kafka_offset"] for row in rows]


@pytest.fixture
def make_appender(target: Target) -> Iterator[Callable[..., Appender]]:
    made: list[Appender] = []

    def make(table: str = "alerts", **scope: str) -> Appender:
        made.append(Appender(Store(target), table, scope))
        return made[-1]

    yield make
    for appender in made:
        appender.close()


@pytest.fixture
def appender(make_appender: Callable[..., Appender]) -> Appender:
    return make_appender()


def test_the_position_is_that_of_the_last_row_of_the_partition(appender: Appender) -> None:
    assert appender.position(0) is None
    assert appender.append(0, columns(range(5)), None) == 4
    assert appender.append(3, columns(range(7, 9), partition=3), None) == 8
    assert (appender.position(0), appender.position(3), appender.position(1)) == (4, 8, None)


def test_what_is_there_already_is_not_inserted_again(make_appender: Callable[..., Appender], store: Store) -> None:
    first, second = make_appender(), make_appender()
    first.append(0, columns(range(5)), None)
    assert second.append(0, columns(range(5)), None) == 4
    assert second.append(0, columns(range(3)), 4) == 4
    assert offsets(store) == list(range(5))


def test_who_lost_goes_on_after_the_winners_rows(make_appender: Callable[..., Appender], store: Store) -> None:
    winner, loser = make_appender(), make_appender()
    winner.append(0, columns(range(5)), None)
    assert loser.append(0, columns(range(8)), None) == 7
    assert offsets(store) == list(range(8))


def test_of_two_at_the_same_moment_one_is_dropped_whole(make_appender: Callable[..., Appender], store: Store) -> None:
    both = [(make_appender(), "one"), (make_appender(), "two")]
    expected: int | None = None
    for turn in range(8):
        start = 0 if expected is None else expected + 1
        barrier = threading.Barrier(2)

        def swap(appender: Appender, account: str, length: int) -> None:
            rows = columns(range(start, start + length), account=account)  # noqa: B023
            barrier.wait()  # noqa: B023
            appender._swap(0, rows, expected, 0)  # noqa: B023

        threads = [threading.Thread(target=swap, args=(*both[n], 3 + n)) for n in (turn % 2, 1 - turn % 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = store.rows(f"SELECT account_id, count() AS rows FROM alerts WHERE kafka_offset >= {start} GROUP BY 1")
        assert found in ([{"account_id": "one", "rows": 3}], [{"account_id": "two", "rows": 4}])
        expected = both[0][0].position(0)


def test_the_token_alone_decides_where_the_guard_would_let_both_in(
    make_appender: Callable[..., Appender], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_appender(), make_appender()
    first.append(0, columns(range(3)), None)
    # As if the second had looked at the position before the first one's part was there.
    guard = "(SELECT maxOrNull(kafka_offset) FROM alerts WHERE kafka_partition = {partition:Int32})"
    with tampered(second, lambda sql: sql.replace(guard, "(SELECT NULL)")):
        second._swap(0, columns(range(4), account="other"), None, 0)
    assert offsets(store) == list(range(3))


def test_a_part_that_was_lost_with_its_token_kept_is_written_again(appender: Appender, store: Store) -> None:
    appender.append(0, columns(range(3)), None)
    store.command("ALTER TABLE alerts DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert appender.position(0) is None
    assert appender.append(0, columns(range(3)), None) == 2
    assert offsets(store) == list(range(3))


def test_rows_that_vanish_while_a_sink_runs_stop_it(appender: Appender, store: Store) -> None:
    appender.append(0, columns(range(6)), None)
    store.command("ALTER TABLE alerts DELETE WHERE kafka_offset > 2 SETTINGS mutations_sync = 2")
    with pytest.raises(PositionMoved, match="up to offset 5, now only up to 2"):
        appender.append(0, columns(range(6, 9)), 5)
    assert offsets(store) == list(range(3))


@pytest.mark.parametrize("shown", ["0", "kafka_offset < 2"])
def test_rows_that_a_policy_hides_stop_the_sink_instead_of_coming_in_again(
    make_appender: Callable[..., Appender], store: Store, shown: str
) -> None:
    running, starting = make_appender(), make_appender()
    hide(running, shown)
    # It saw an empty table, and the policy came afterwards.
    assert running.position(0) is None
    make_appender().append(0, columns(range(4)), None)
    for step in (lambda: starting.position(0), lambda: running.append(0, columns(range(6)), None)):
        hide(starting, shown)
        with pytest.raises(RowsHidden, match=r"alerts has 4 rows, of which this user is shown [02]: a row"):
            step()
    assert offsets(store) == list(range(4))


def hide(appender: Appender, shown: str) -> None:
    """As a row policy would, which the embedded engine does not let us make: all but some rows are filtered out."""
    appender._store._client.set_client_setting("additional_table_filters", f"{{'alerts': '{shown}'}}")


def test_more_rows_than_one_insert_may_hold_go_in_several(
    appender: Appender, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactly_once, "MOST_ROWS", 4)
    assert appender.append(0, columns(range(10)), None) == 9
    assert offsets(store) == list(range(10))


def test_one_insert_is_one_part(appender: Appender, store: Store) -> None:
    many = {name: values * 40_000 for name, values in columns(range(4)).items()}
    many["kafka_offset"] = list(range(160_000))
    appender.append(0, many, None)
    parts = store.rows(
        "SELECT rows, level FROM system.parts WHERE database = currentDatabase() AND table = 'alerts' AND active"
    )
    assert parts == [{"rows": 160_000, "level": 0}]


def test_a_sink_killed_between_staging_and_insert_leaves_nothing_behind_but_its_staging_table(
    make_appender: Callable[..., Appender], store: Store
) -> None:
    killed = make_appender()

    def die(sql: str) -> str:
        if "SELECT" in sql:
            raise ClickHouseAway("killed")
        return sql

    with tampered(killed, die), pytest.raises(ClickHouseAway):
        killed.append(0, columns(range(5)), None)
    assert offsets(store) == []
    assert make_appender().append(0, columns(range(5)), None) == 4
    # And the very same one, which after an error simply tries again.
    assert killed.append(0, columns(range(5)), None) == 4
    assert offsets(store) == list(range(5))


def test_rows_that_reach_the_staging_table_late_are_not_inserted(appender: Appender, store: Store) -> None:
    appender.append(0, columns(range(2)), None)
    late = columns(range(2, 4))
    real = appender._store.insert

    def insert(table: str, rows: dict[str, Any], types: dict[str, str]) -> None:
        real(table, {**rows, "load_id": [99] * 2, **late}, types)
        real(table, rows, types)

    appender._store.insert = insert  # type: ignore[method-assign, assignment]
    assert appender.append(0, columns(range(2, 5)), 1) == 4
    assert offsets(store) == list(range(5))


def test_a_staging_table_that_lost_rows_is_filled_again(appender: Appender, store: Store) -> None:
    losing = iter([True, False])
    real = appender._store.insert

    def insert(table: str, rows: dict[str, Any], types: dict[str, str]) -> None:
        real(table, rows, types)
        if next(losing, False):
            store.command(f"TRUNCATE TABLE {table}")

    appender._store.insert = insert  # type: ignore[method-assign]
    assert appender.append(0, columns(range(3)), None) == 2
    assert offsets(store) == list(range(3))


def test_a_staging_table_that_somebody_dropped_is_made_again(appender: Appender, store: Store) -> None:
    position = appender.append(0, columns(range(3)), None)
    store.command(f"DROP TABLE {appender._staging}")
    assert appender.append(0, columns(range(5)), position) == 4
    assert offsets(store) == list(range(5))


def test_what_a_failed_insert_left_in_the_staging_table_does_not_pile_up(appender: Appender, store: Store) -> None:
    def fail(sql: str) -> str:
        if sql.startswith("INSERT"):
            raise ClickHouseAway("no disk space")
        return sql

    for _ in range(3):
        with tampered(appender, fail), pytest.raises(ClickHouseAway):
            appender.append(0, columns(range(5)), None)
        assert store.value(f"SELECT count() FROM {appender._staging}") == 5
    assert appender.append(0, columns(range(5)), None) == 4
    assert store.value(f"SELECT count() FROM {appender._staging}") == 0
    assert offsets(store) == list(range(5))


def test_columns_that_are_not_sent_are_stored_as_if_they_were(appender: Appender, store: Store) -> None:
    """A column that has only what is stored without it is left out; one that has anything else is not."""
    chunk = columns(range(3))
    # Zero in a column that may be null is no null.
    chunk.update(level=[0] * 3, call_id=[""] * 3, forecast_micros=[0] * 3, hour=[None] * 3, runs_out_at=[None, 1, None])
    appender.append(0, chunk, None)
    stored = store.rows(
        "SELECT level, call_id, forecast_micros, hour, toUnixTimestamp64Micro(runs_out_at) AS runs_out_at FROM alerts"
        " ORDER BY kafka_offset"
    )
    nothing = {"level": 0, "call_id": "", "forecast_micros": 0, "hour": None}
    assert stored == [{**nothing, "runs_out_at": at} for at in (None, 1, None)]


def test_rejects_have_a_position_for_each_topic(make_appender: Callable[..., Appender], store: Store) -> None:
    for topic in ("alerts", "rated-calls"):
        rejects = reject_columns(topic, [Reject(record(topic, 7, b"\x00\xff"), "no JSON")])
        appender = make_appender(REJECTS, kafka_topic=topic)
        assert appender.append(0, rejects, None) == 7
        assert appender.append(0, rejects, None) == 7
    assert store.value("SELECT count() FROM sink_rejects") == 2


def test_merging_accounts_keeps_the_position(make_appender: Callable[..., Appender], store: Store) -> None:
    table = next(table for table in TABLES if table.name == "accounts")
    appender = make_appender("accounts")
    chunk = table.chunk(written(month())[table.topic]).columns
    half = len(chunk["kafka_offset"]) // 2
    position = appender.append(0, {name: values[:half] for name, values in chunk.items()}, None)
    assert appender.append(0, chunk, position) == chunk["kafka_offset"][-1]
    store.command("OPTIMIZE TABLE accounts FINAL")
    assert appender.position(0) == chunk["kafka_offset"][-1]


def test_staging_tables_of_the_dead_are_dropped(make_target: Callable[[str], Target]) -> None:
    from sinks.migrate import migrate

    target = make_target("chdb")
    migrate(target)
    with Store(target) as store:
        dead = Appender(store.another(), "alerts")
        dead.append(0, columns(range(2)), None)
        dead._store.close()
        drop_orphans(store)
        assert not store.rows(
            f"SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '{STAGING}')"
        )


@contextmanager
def tampered(appender: Appender, change: Callable[[str], str]) -> Iterator[None]:
    """Changes the statements of an appender before they run."""
    real = appender._store.command

    def command(sql: str, parameters: Any = None) -> None:
        real(change(sql), parameters)

    appender._store.command = command  # type: ignore[method-assign]
    yield
    appender._store.command = real  # type: ignore[method-assign]
