"""Records become rows strictly: what is no record of its topic is a reject, never a guess and never an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sinks.clickhouse import Store
from sinks.tables import REJECTS, TABLES, Table, reject_columns
from streams.errors import LedgerUnusable
from tests.sinks.story import alerts, month, record, written

BY_NAME = {table.name: table for table in TABLES}
RATED = BY_NAME["rated_calls"]
JSON_TABLES = [table for table in TABLES if table.name not in ("dead_letters", "accounts", "agency_totals")]
STORY = written(month())


def changed(**changes: Any) -> bytes:
    """A rated call with fields changed; None removes one."""
    value = json.loads(STORY["rated-calls"][0].value)
    value.update(changes)
    return json.dumps({name: one for name, one in value.items() if one is not ...}).encode()


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_record_that_the_meter_writes_becomes_a_row(table: Table) -> None:
    records = STORY[table.topic]
    chunk = table.chunk(records)
    assert chunk.rejects == []
    if table.name not in ("accounts", "agency_totals"):
        assert chunk.columns["kafka_offset"] == [one.offset for one in records]
    assert len({len(values) for values in chunk.columns.values()}) == 1
    assert chunk.columns["kafka_offset"], f"the story has nothing for {table.name}"


def test_columns_are_those_of_the_tables(store: Store) -> None:
    wanted = {table.name: set(table.chunk([]).columns) for table in TABLES}
    wanted[REJECTS] = set(reject_columns("alerts", []))
    for name, columns in wanted.items():
        rows = store.rows(
            "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
            " AND default_kind IN ('', 'DEFAULT')",
            {"table": name},
        )
        assert columns == {row["name"] for row in rows}, name


def test_every_amount_and_duration_says_its_unit(store: Store) -> None:
    rows = store.rows(
        "SELECT c.table, c.name, c.comment FROM system.columns AS c JOIN system.tables AS t"
        " ON t.database = c.database AND t.name = c.table"
        " WHERE c.database = currentDatabase() AND t.engine LIKE '%MergeTree'"
    )
    for row in rows:
        if row["name"].endswith("_s"):
            assert "second" in row["comment"], row
        if row["name"].endswith("_micros"):
            assert "millionth" in row["comment"], row


def test_times_keep_their_instant_whatever_zone_they_came_in() -> None:
    ended = "2026-11-03T10:00:00.000001+05:30"
    columns = RATED.chunk([record("rated-calls", 0, changed(ended_at=ended))]).columns
    assert columns["ended_at"] == [1_793_680_200_000_001]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", "truncated"),
        (b"no JSON", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[]", "Expected `object`"),
        (changed() + b"," + changed(), "trailing"),
        (b"{}", "missing required field"),
        (None, "tombstone"),
        (changed(billed_s="1"), "billed_s"),
        (changed(billed_s=1.5), "billed_s"),
        (changed(amount_micros=2**63), "amount_micros"),
        (changed(source_partition=2**31), "source_partition"),
        (changed(cost_micros=-(2**63) - 1), "cost_micros"),
        (changed(ended_at="2026-11-03T10:00:00"), "ended_at"),
        (changed(ended_at="yesterday"), "ended_at"),
        (changed(currency=...), "currency"),
        (changed(currency=None), "currency"),
        (changed(late=0), "late"),
    ],
)
def test_a_record_that_is_no_rated_call_is_a_reject(value: bytes | None, error: str) -> None:
    good = STORY["rated-calls"][0].value
    records = [record("rated-calls", 0, good), record("rated-calls", 1, value), record("rated-calls", 2, good)]
    chunk = RATED.chunk(records)
    assert chunk.columns["kafka_offset"] == [0, 2]
    assert [reject.record.offset for reject in chunk.rejects] == [1]
    assert error in chunk.rejects[0].error


@pytest.mark.parametrize("table", JSON_TABLES, ids=lambda table: table.name)
def test_no_topic_takes_what_is_not_its_own(table: Table) -> None:
    chunk = table.chunk([record(table.topic, 0, b'{"type": "something.else"}'), record(table.topic, 1, None)])
    assert chunk.columns["kafka_offset"] == []
    assert len(chunk.rejects) == 2


def test_fields_that_a_newer_meter_adds_are_ignored() -> None:
    assert not RATED.chunk([record("rated-calls", 0, changed(added="later"))]).rejects


def test_a_dead_letter_keeps_any_bytes_and_its_headers() -> None:
    headers = [("reason", b"malformed"), ("detail", "für".encode()), ("topic", b"account-events")]
    place = [("partition", b"3"), ("offset", b"17")]
    table = BY_NAME["dead_letters"]
    columns = table.chunk(
        [
            record("dead-letters", 0, b"\x00\xff", None, headers=headers + place),
            record("dead-letters", 1, None, headers=headers + place),
        ]
    ).columns
    assert columns["value"] == [b"\x00\xff", None]
    assert columns["account_id"] == ["", "acct_1"]
    assert columns["detail"] == ["für"] * 2
    assert (columns["source_partition"], columns["source_offset"]) == ([3, 3], [17, 17])
    for wrong in ([], headers, [*headers, ("partition", b"x"), ("offset", b"1")]):
        (reject,) = table.chunk([record("dead-letters", 0, b"", headers=wrong)]).rejects
        assert "header" in reject.error


def test_only_the_last_state_of_an_account_in_a_chunk_is_stored() -> None:
    records = STORY["ledger"]
    columns = BY_NAME["accounts"].chunk(records).columns
    assert columns["account_id"] == ["acct_2", "acct_3", "acct_1"]
    assert columns["kafka_offset"] == sorted(columns["kafka_offset"])


def test_a_ledger_of_a_newer_version_ends_the_sink() -> None:
    with pytest.raises(LedgerUnusable, match=r"ledger-0: the record at offset 0, .*acct_1.* of version 255"):
        BY_NAME["accounts"].chunk([record("ledger", 0, b"\xff", b"account\x00acct_1")])


def test_state_of_an_account_that_is_none_is_a_reject() -> None:
    chunk = BY_NAME["accounts"].chunk([record("ledger", 0, b"\x01?", b"account\x00acct_1")])
    assert chunk.columns["kafka_offset"] == []
    assert "truncated" in chunk.rejects[0].error


def test_one_bad_record_among_thousands_is_found() -> None:
    records = alerts(range(3_000))
    records[1_234] = record("alerts", 1_234, b"?")
    chunk = BY_NAME["alerts"].chunk(records)
    assert len(chunk.columns["kafka_offset"]) == 2_999
    assert [reject.record.offset for reject in chunk.rejects] == [1_234]
