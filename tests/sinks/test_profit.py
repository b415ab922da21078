"""Profit in ClickHouse is the sum of what the rated calls say, by every key: the bill worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from aiokafka.structs import ConsumerRecord

from sinks.clickhouse import Store, Target
from sinks.exactly_once import Appender
from sinks.migrate import migrate
from sinks.profit import REPORTS, profit
from sinks.tables import TABLES
from tests.golden.bills import Bill
from tests.golden.bills import wholesale as bill

# Of COSTS in the bill: what the calls bring, what they cost.
AMOUNT, COST = 1_080_000, 2_656_000
BY_DESTINATION = {"": (720_000, 180_000), "1900": (240_000, 2_200_000), "49": (120_000, 276_000)}


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest) -> Iterator[Store]:
    target = Target("chdb", "profit", folder=str(request.getfixturevalue("engine")))
    migrate(target)
    [table] = [table for table in TABLES if table.name == "rated_calls"]
    calls = Bill(bill.FACTS, cards=bill.CARDS).on("rated-calls")
    records = [
        ConsumerRecord("rated-calls", 0, offset, 0, 0, b"acct", msgspec.json.encode(call), None, 0, 0, [])
        for offset, call in enumerate(calls)
    ]
    chunk = table.chunk(records)
    assert not chunk.rejects
    appender = Appender(Store(target), table.name)
    appender.append(0, chunk.columns, None)
    appender.close()
    with Store(target) as store:
        yield store


@pytest.mark.parametrize("by", REPORTS)
def test_profit_adds_up_whatever_a_line_is(filled: Store, by: str) -> None:
    rows = profit(filled, by, {})
    assert [sum(row[name] for row in rows) for name in ("calls", "amount_micros", "known_cost_micros")] == [
        7, AMOUNT, COST,
    ]  # fmt: skip
    assert all(row["profit_micros"] == row["amount_micros"] - row["known_cost_micros"] for row in rows)


def test_a_destination_is_the_prefix_of_the_card(filled: Store) -> None:
    rows = profit(filled, "destination", {"agency": "ag_1"})
    assert {row["destination"]: (row["amount_micros"], row["known_cost_micros"]) for row in rows} == BY_DESTINATION
    assert profit(filled, "destination", {"agency": "ag_2"}) == []


def test_the_views_say_the_same(filled: Store) -> None:
    rows = filled.rows("SELECT destination, sum(profit_micros) AS earned FROM profit GROUP BY destination")
    assert {row["destination"]: row["earned"] for row in rows} == {
        destination: amount - cost for destination, (amount, cost) in BY_DESTINATION.items()
    }
    calls = filled.rows("SELECT * FROM profit_by_call ORDER BY ended_at")
    assert sum(call["profit_micros"] for call in calls) == AMOUNT - COST
    assert [call["cost_source"] for call in calls].count("reported") == 1
