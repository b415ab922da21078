"""Item 4: a change of plan with the next period, to a year; and one taken back before it came."""

from __future__ import annotations

from tests.golden.bills import Bill, fact, subscription, tick

TERMS = {"plan": "other", "currency": "USD", "interval": "month", "price_micros": 50_000_000}
SUB = {"subscription_id": "sub_1"}


def _changed(at: str, number: int, **terms: object) -> dict:
    own = {"when": "next_period", "terms": {**TERMS, **terms}}
    return fact("subscription.changed", at, "acct_1", number, **own, **SUB)


FACTS = [
    # Counted from the 31st: the second month is 28 February to 31 March.
    subscription("2026-01-31T00:00:00Z", price_micros=30_000_000),
    _changed("2026-02-01T00:00:00Z", 1),
    # Of two the last counts; months stay months, so the 31st stays what they are counted from.
    _changed("2026-02-02T00:00:00Z", 2, plan="third", price_micros=40_000_000),
    tick("2026-02-28T00:00:00Z"),
    tick("2026-03-31T00:00:00Z"),
    # Years: they count from the 30th of April, where the first of them begins.
    _changed("2026-04-01T00:00:00Z", 3, plan="yearly", interval="year", price_micros=400_000_000),
    tick("2026-04-30T00:00:00Z"),
    tick("2027-04-30T00:00:00Z", jump=True),
]


def check(bill: Bill) -> None:
    assert [
        (event["plan"], event["period_start"][:10], event["period_end"][:10]) for event in bill.billing("cycle.opened")
    ] == [
        ("starter", "2026-01-31", "2026-02-28"),
        ("third", "2026-02-28", "2026-03-31"),
        ("third", "2026-03-31", "2026-04-30"),
        ("yearly", "2026-04-30", "2027-04-30"),
        ("yearly", "2027-04-30", "2028-04-30"),
    ]
    assert [total for _, total in bill.asked("cycle")] == [30_000_000, 40_000_000, 40_000_000, 400_000_000, 400_000_000]
    assert [(event["plan"], event["previous_plan"]) for event in bill.billing("subscription.changed")] == [
        ("third", "starter"),
        ("yearly", "third"),
    ]
