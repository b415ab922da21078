"""The oracle against numbers worked out by hand from domain.md: seconds, money, periods."""

from datetime import datetime
from typing import Any

import pytest

from tests.oracle.anchored import boundary, days_later
from tests.oracle.pricing import draw
from tests.oracle.story import Told, call, pack, started, tick

POOLS = ("allowance_s", "wallet_s", "credit_s", "credit_micros", "overage_s", "written_off_s", "overage_micros")


def test_the_worked_example_of_domain_md() -> None:
    told = Told([started("2026-11-01T00:00:00Z", increments="60/6"), call("c", "2026-11-03T10:19:39.7Z", 243.2)])
    assert told.calls("duration_s", "billed_s") == [(244, 246)]
    drawn = draw(246, 130, 60, 0, {"overage": "billed", "overage_micros_per_minute": 120_000})
    assert drawn == dict(zip(POOLS, (130, 60, 0, 0, 56, 0, 112_000), strict=True))


@pytest.mark.parametrize(
    ("seconds", "terms", "billed", "fee"),
    [
        (0.000001, {}, 1, 0),
        (1, {}, 1, 0),
        (1.000001, {}, 2, 0),
        (6, {"increments": "6/6"}, 6, 0),
        (6.000001, {"increments": "6/6"}, 12, 0),
        (30, {"increments": "30/6"}, 30, 0),
        (31, {"increments": "30/6"}, 36, 0),
        (36.5, {"increments": "30/6"}, 42, 0),
        (60, {"increments": "60/60"}, 60, 0),
        (60.2, {"increments": "60/60"}, 120, 0),
        (1, {"increments": "60/6"}, 60, 0),
        (67, {"increments": "60/6"}, 72, 0),
        (5, {"minimum_s": 30}, 30, 0),
        (1, {"minimum_s": 61, "increments": "60/60"}, 120, 0),
        (0, {}, 0, 0),
        (0, {"connection_fee_micros": 5_000}, 0, 5_000),
        (0, {"minimum_s": 30}, 30, 0),
        (5, {"free_below_s": 6, "connection_fee_micros": 5_000}, 0, 0),
        (5.1, {"free_below_s": 6, "connection_fee_micros": 5_000, "increments": "60/6"}, 60, 5_000),
        (0, {"free_below_s": 1, "minimum_s": 30, "connection_fee_micros": 5_000}, 0, 0),
        (86_400, {"increments": "60/60"}, 86_400, 0),
    ],
)
def test_billed_seconds_and_fee(seconds: float, terms: dict[str, Any], billed: int, fee: int) -> None:
    told = Told([started("2026-11-01T00:00:00Z", **terms), call("c", "2026-11-03T10:00:00Z", seconds)])
    assert told.calls("billed_s", "fee_micros") == [(billed, fee)]


@pytest.mark.parametrize(
    ("fields", "outcomes", "billed"),
    [
        ({}, {}, 60),
        ({"outcome": "voicemail"}, {}, 60),
        ({"outcome": "voicemail"}, {"voicemail": False}, 0),
        ({"outcome": "no_answer", "answered_at": None}, {}, 0),
        ({"outcome": "busy"}, {"busy": True}, 60),
        ({"outcome": "failed"}, {}, 0),
        ({"outcome": "canceled"}, {}, 0),
        ({"test": True}, {}, 0),
        ({"test": True}, {"test": True}, 60),
        ({"test": True}, {"test": True, "answered": False}, 0),
        ({"outcome": "failed", "test": True}, {"test": True}, 0),
    ],
)
def test_outcome_policy(fields: dict[str, Any], outcomes: dict[str, bool], billed: int) -> None:
    told = Told([started("2026-11-01T00:00:00Z", outcomes=outcomes), call("c", "2026-11-03T10:00:00Z", 60, **fields)])
    assert told.calls("billed_s") == [billed]


def test_an_unanswered_call_whose_outcome_is_billed_costs_the_minimum() -> None:
    terms = {"outcomes": {"no_answer": True}, "minimum_s": 10, "increments": "6/6"}
    facts = [started("2026-11-01T00:00:00Z", **terms)]
    facts.append(call("c", "2026-11-03T10:00:00Z", outcome="no_answer", answered_at=None))
    assert Told(facts).calls("duration_s", "billed_s") == [(0, 12)]


@pytest.mark.parametrize(
    ("billed", "pools", "rate", "overage", "drawn"),
    [
        # 120,000 a minute is 2,000 a second: 50,000 pay 25 seconds, 31 are left
        (56, (0, 0, 50_000), 120_000, "billed", (0, 0, 25, 50_000, 31, 0, 62_000)),
        (56, (0, 0, 50_000), 120_000, "blocked", (0, 0, 25, 50_000, 0, 31, 0)),
        (56, (0, 0, 112_000), 120_000, "billed", (0, 0, 56, 112_000, 0, 0, 0)),
        (56, (0, 0, 111_999), 120_000, "billed", (0, 0, 55, 110_000, 1, 0, 2_000)),
        # at 7 a minute 12 seconds cost (84 + 30) // 60 = 1, 13 cost 2
        (20, (0, 0, 1), 7, "billed", (0, 0, 12, 1, 8, 0, 1)),
        # at 1 a minute 29 seconds cost nothing, 89 cost 1, 90 cost 2
        (29, (0, 0, 1), 1, "blocked", (0, 0, 29, 0, 0, 0, 0)),
        (95, (0, 0, 1), 1, "blocked", (0, 0, 89, 1, 0, 6, 0)),
        # without credit, or without a rate, credit pays nothing
        (20, (0, 0, 0), 7, "blocked", (0, 0, 0, 0, 0, 20, 0)),
        (20, (0, 0, 99), 0, "billed", (0, 0, 0, 0, 20, 0, 0)),
        (20, (0, 0, 99), None, "blocked", (0, 0, 0, 0, 0, 20, 0)),
        # half a micro is rounded up: 30 / 60; 29 / 60 is not
        (1, (0, 0, 0), 30, "billed", (0, 0, 0, 0, 1, 0, 1)),
        (1, (0, 0, 0), 29, "billed", (0, 0, 0, 0, 1, 0, 0)),
        # one call over all four
        (100, (10, 20, 40_000), 120_000, "billed", (10, 20, 20, 40_000, 50, 0, 100_000)),
    ],
)
def test_drawdown(
    billed: int, pools: tuple[int, int, int], rate: int | None, overage: str, drawn: tuple[int, ...]
) -> None:
    terms = {"overage": overage, "overage_micros_per_minute": rate}
    assert tuple(draw(billed, *pools, terms)[name] for name in POOLS) == drawn


@pytest.mark.parametrize(
    ("anchor", "interval", "count", "zone", "boundaries"),
    [
        ("2026-01-31T00:00Z", "month", 1, "UTC", ["2026-02-28T00:00Z", "2026-03-31T00:00Z", "2026-04-30T00:00Z"]),
        # midnight in New York: 05:00 in winter, 04:00 in summer
        (
            "2026-01-31T05:00Z",
            "month",
            1,
            "America/New_York",
            ["2026-02-28T05:00Z", "2026-03-31T04:00Z", "2026-04-30T04:00Z"],
        ),
        # 02:30 does not exist on 8 March: 03:30 it is, the same instant of the day; then 02:30 in summer time
        ("2026-03-07T07:30Z", "day", 1, "America/New_York", ["2026-03-08T07:30Z", "2026-03-09T06:30Z"]),
        # 01:30 comes twice on 1 November: the first
        ("2026-10-31T05:30Z", "day", 1, "America/New_York", ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]),
        # an anchor at the second of the two
        ("2026-11-01T06:30Z", "day", 1, "America/New_York", ["2026-11-02T06:30Z", "2026-11-03T06:30Z"]),
        # half an hour of daylight saving: 02:15 is skipped on 4 October
        ("2026-10-02T15:45Z", "day", 1, "Australia/Lord_Howe", ["2026-10-03T15:45Z", "2026-10-04T15:15Z"]),
        # 02:30 on 29 March does not exist in Berlin: 03:30 in summer time
        ("2026-02-28T01:30Z", "day", 29, "Europe/Berlin", ["2026-03-29T01:30Z", "2026-04-27T00:30Z"]),
        # a leap day by the year
        (
            "2024-02-28T18:15Z",
            "year",
            1,
            "Asia/Kathmandu",
            ["2025-02-27T18:15Z", "2026-02-27T18:15Z", "2027-02-27T18:15Z", "2028-02-28T18:15Z"],
        ),
        ("2025-11-30T00:00Z", "month", 3, "UTC", ["2026-02-28T00:00Z", "2026-05-30T00:00Z", "2026-08-30T00:00Z"]),
        ("2026-12-25T00:00Z", "week", 2, "UTC", ["2027-01-08T00:00Z", "2027-01-22T00:00Z"]),
    ],
)
def test_anchored_boundaries(anchor: str, interval: str, count: int, zone: str, boundaries: list[str]) -> None:
    start = datetime.fromisoformat(anchor)
    found = [boundary(start, interval, count, zone, n + 1) for n in range(len(boundaries))]
    assert found == [datetime.fromisoformat(each) for each in boundaries]
    assert boundary(start, interval, count, zone, 0) == start


def test_due_days_are_local_calendar_days() -> None:
    midnight = datetime.fromisoformat("2026-03-01T05:00Z")
    assert days_later(midnight, 7, "America/New_York") == datetime.fromisoformat("2026-03-08T05:00Z")
    assert days_later(midnight, 8, "America/New_York") == datetime.fromisoformat("2026-03-09T04:00Z")
    told = Told([started("2026-03-01T05:00:00Z", timezone="America/New_York", due_days=7, grace_days=1)])
    assert told.billing("cycle.opened", "due_at", "grace_ends_at") == [("2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z")]


def test_a_usage_line_is_the_plain_sum_of_its_rated_calls() -> None:
    # 7 a minute: 4 s cost (28 + 30) // 60 = 0, 5 s cost (35 + 30) // 60 = 1; three calls of 5 s cost 3, not 2
    facts = [started("2026-11-01T00:00:00Z", overage_micros_per_minute=7, connection_fee_micros=100)]
    facts += [call(f"c{i}", f"2026-11-0{i}T10:00:00Z", seconds) for i, seconds in ((1, 5), (2, 5), (3, 5), (4, 4))]
    told = Told([*facts, tick("2026-12-01T00:00:00Z")])
    assert told.calls("amount_micros") == [101, 101, 101, 100]
    closed = told.billing("cycle.closed", "calls", "overage_s", "overage_micros", "fee_micros", "usage_micros")
    assert closed == [(4, 19, 3, 400, 403)]


@pytest.mark.parametrize(
    ("fields", "margin"),
    [
        ({}, None),
        ({"cost_micros": None}, None),
        ({"cost_micros": 40_000}, 80_000),
        ({"cost_micros": 150_000, "cost_currency": "USD"}, -30_000),
        ({"cost_micros": 40_000, "cost_currency": "EUR"}, None),
        ({"cost_micros": 0}, 120_000),
    ],
)
def test_margin(fields: dict[str, Any], margin: int | None) -> None:
    told = Told([started("2026-11-01T00:00:00Z"), call("c", "2026-11-03T10:00:00Z", 60, **fields)])
    assert told.calls("margin_micros") == [margin]


def test_balances_after_each_call() -> None:
    facts = [started("2026-11-01T00:00:00Z", included_minutes=1), pack("2026-11-01T00:00:00Z", 1, 20_000)]
    facts += [call(f"c{i}", f"2026-11-0{i}T10:00:00Z", 45) for i in (2, 3, 4)]
    told = Told(facts)
    balances = told.calls("allowance_left_s", "wallet_left_s", "credit_left_micros")
    assert balances == [(15, 60, 20_000), (0, 30, 20_000), (0, 0, 0)]
    # the third: 30 s from the wallet, 10 s for the credit, 5 s overage
    assert told.calls("wallet_s", "credit_s", "overage_s", "amount_micros")[2] == (30, 10, 5, 10_000)
