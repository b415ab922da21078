"""Item 4: a trial, a change of plan at once, a pause, a cancellation with a credit, and a start anew."""

from __future__ import annotations

from tests.golden.bills import Bill, call, fact, subscription, tick

SMALL = {"price_micros": 30_000_000, "included_minutes": 100, "overage": "blocked", "cancel_credit": "unused"}
LARGE = {
    "plan": "large", "currency": "USD", "interval": "month", "price_micros": 60_000_000, "included_minutes": 600,
    "overage": "billed", "overage_micros_per_minute": 100_000, "cancel_credit": "unused",
}  # fmt: skip
SUB = {"subscription_id": "sub_1"}

FACTS = [
    # A week for nothing with 5 minutes: 300 s from the allowance, 60 s written off.
    subscription("2026-11-01T00:00:00Z", trial_days=7, trial_included_minutes=5, **SMALL),
    call("trial", "2026-11-03T10:00:00Z", "2026-11-03T10:06:00Z"),
    # The first month is 8 November to 8 December: 30 days, 2,592,000 s.
    tick("2026-11-08T00:00:00Z"),
    # 15 days are left, 1,296,000 s, the half. Credit 30,000,000 / 2, charge 60,000,000 / 2, allowance 36,000 s / 2.
    fact("subscription.changed", "2026-11-23T00:00:00Z", when="now", terms=LARGE, **SUB),
    fact("subscription.paused", "2026-12-01T00:00:00Z", **SUB),
    # 8 December to 8 January opens while paused: nothing is asked for it. 31 days, 2,678,400 s.
    tick("2026-12-08T00:00:00Z"),
    # 15 days and a half are left, 1,339,200 s, the half: charge 30,000,000, allowance 18,000 s.
    fact("subscription.resumed", "2026-12-23T12:00:00Z", **SUB),
    tick("2026-12-24T00:00:00Z"),
    # 18,600 s: 18,000 s of the allowance, 600 s of overage: 600 * 100,000 / 60 = 1,000,000.
    call("long", "2026-12-24T10:00:00Z", "2026-12-24T15:10:00Z"),
    # 7 of 31 days are left: 60,000,000 * 604,800 // 2,678,400 = 13,548,387.
    fact("subscription.canceled", "2027-01-01T00:00:00Z", when="now", **SUB),
    tick("2027-01-01T00:00:00Z"),
    subscription("2027-02-01T00:00:00Z", number=2, **SMALL),
]


def check(bill: Bill) -> None:
    assert bill.calls("allowance_s", "overage_s", "written_off_s", "amount_micros") == [
        (300, 0, 60, 0),
        (18_000, 600, 0, 1_000_000),
    ]
    assert bill.asked("cycle") == [
        ([("recurring", 30_000_000)], 30_000_000),
        ([("charge", 30_000_000), ("credit", -15_000_000)], 15_000_000),
        ([("charge", 30_000_000)], 30_000_000),
        # Of the credit 1,000,000 was used up by the overage: 30,000,000 - 12,548,387 = 17,451,613: 17.45.
        ([("recurring", 30_000_000), ("carried_forward", -12_548_387)], 17_450_000),
    ]
    # 1,000,000 of overage less 13,548,387 is below 0: 12,548,387 are carried forward, and nothing is asked.
    assert bill.asked("usage") == []
    last = bill.billing("cycle.closed")[-1]
    assert (last["usage_micros"], last["lines_micros"]) == (1_000_000, -1_000_000)
    assert [(line["kind"], line["amount_micros"]) for line in last["lines"]] == [
        ("credit", -13_548_387),
        ("carried_forward", 12_548_387),
    ]
    opened = [
        (event["status"], event["plan"], event["included_s"], event["price_micros"])
        for event in bill.billing("cycle.opened")
    ]
    assert opened == [
        ("trialing", "starter", 300, 0),
        ("active", "starter", 6_000, 30_000_000),
        ("active", "large", 18_000, 30_000_000),
        ("paused", "large", 0, 0),
        ("active", "large", 18_000, 30_000_000),
        ("active", "starter", 6_000, 30_000_000),
    ]
    assert [change["status"] for change in bill.billing("subscription.status_changed")] == [
        "trialing", "active", "paused", "active", "canceled", "active",
    ]  # fmt: skip
    assert [change["reasons"] for change in bill.on("access-events")] == [
        # The trial is used up; the first month has minutes again; the pause; the end.
        ["pools_empty"], [], ["paused"], [], ["canceled"], [],
    ]  # fmt: skip
