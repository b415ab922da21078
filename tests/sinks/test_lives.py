"""Numbers, campaigns and the life of a subscription in ClickHouse, in both engines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from sinks.clickhouse import Store, Target
from sinks.exactly_once import Appender
from sinks.numbers import campaigns, numbers
from sinks.tables import TABLES
from tests.sinks.story import lives, month, written


@pytest.fixture
def filled(target: Target) -> Iterator[Store]:
    story = written([*month(), *lives()])
    for table in TABLES:
        appender = Appender(Store(target), table.name)
        appender.append(0, table.chunk(story[table.topic]).columns, None)
        appender.close()
    with Store(target) as store:
        yield store


def test_numbers_are_listed_with_the_calls_that_they_had_while_they_were_rented(filled: Store) -> None:
    told = [
        (row["number"], row["label"], row["price_micros"], row["currency"], row["calls"], row["billed_s"])
        for row in numbers(filled, released=True)
    ]
    assert told == [("+1", "desk", 2_000_000, "USD", 0, 0), ("+2", "", 2_000_000, "USD", 1, 60)]
    assert [row["number"] for row in numbers(filled, "acct_4")] == ["+1"]
    assert [row["number"] for row in numbers(filled, agency="ag_1")] == ["+1"]
    assert numbers(filled, agency="ag_2") == []
    released = {row["number"]: row["released_at"] for row in numbers(filled, released=True)}
    assert released == {"+1": None, "+2": datetime.fromisoformat("2026-12-03T00:00:00Z")}


def test_campaigns_are_counted_with_usage_for_each(filled: Store) -> None:
    [campaign] = campaigns(filled, "acct_4")
    assert (campaign["campaign_id"], campaign["calls"], campaign["billed_s"]) == ("camp_4", 2, 180)
    assert (campaign["first_day"].day, campaign["last_day"].day) == (2, 3)
    assert [row["campaign_id"] for row in campaigns(filled, "acct_1")] == ["camp_0", "camp_1"]
    assert campaigns(filled, agency="ag_2") == []
    whole = filled.rows("SELECT sum(calls) AS calls, sum(amount_micros) AS amount FROM campaigns")
    calls = filled.rows(
        "SELECT count() AS calls, sum(amount_micros) AS amount FROM rated_calls WHERE campaign_id != ''"
    )
    assert whole == calls


def test_an_account_shows_numbers_status_and_what_waits(filled: Store) -> None:
    [account] = filled.rows("SELECT * FROM accounts_current WHERE account_id = 'acct_4'")
    assert (account["status"], account["plan"], account["numbers"]) == ("paused", "less", 1)
    assert account["waiting_micros"] == -28_000_000
    others = filled.rows("SELECT numbers, waiting_micros, status FROM accounts_current WHERE account_id != 'acct_4'")
    assert {(row["numbers"], row["waiting_micros"]) for row in others} == {(0, 0)}


def test_billing_events_have_the_life_of_a_subscription(filled: Store) -> None:
    rows = filled.rows(
        "SELECT type, plan, previous_plan, change, status, number, numbers, price_micros FROM billing_events"
        " WHERE account_id = 'acct_4' ORDER BY kafka_offset"
    )
    assert [(row["type"], row["status"]) for row in rows] == [
        ("subscription.status_changed", "active"),
        ("cycle.opened", "active"),
        ("number.rented", ""),
        ("number.rented", ""),
        ("number.released", ""),
        ("subscription.changed", ""),
        ("cycle.opened", "active"),
        ("subscription.status_changed", "paused"),
    ]
    assert [(row["number"], row["numbers"]) for row in rows if row["number"]] == [("+1", 1), ("+2", 2), ("+2", 1)]
    assert (rows[5]["plan"], rows[5]["previous_plan"], rows[5]["change"]) == ("less", "starter", "now")
