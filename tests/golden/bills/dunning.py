"""A month that is not paid in time: past due, blocked, paid, and what is corrected of it; and a one-time charge.

The account is in New York, where summer time ends on 1 November 2026 at 2:00: midnight is 04:00 UTC on the first, and
05:00 UTC from then on. 49.00 for the month is due three days later and has a week of grace.

what                      owed   came in  outstanding
asked                    49.00            49.00
credit note of 9.00      40.00            40.00
due 4 November 05:00                      40.00  past due
grace 11 November 05:00                   40.00  blocked
paid 12 November          0.00    40.00    0.00  active
refund of 10.00                   30.00    0.00
dispute of 20.00 opened           30.00    0.00  nothing is decided
dispute lost                      10.00    0.00  a refund of 20.00
"""

from __future__ import annotations

from tests.golden.bills import Bill, fact, subscription, tick

START = "2026-11-01T04:00:00Z"
DUE, GRACE = "2026-11-04T05:00:00Z", "2026-11-11T05:00:00Z"
LINE = {
    "line_id": "recurring", "kind": "recurring", "description": "Plan starter", "quantity": 1, "unit": "period",
    "unit_price_micros": 49_000_000, "amount_micros": 49_000_000,
}  # fmt: skip
ABOUT = {"payment_request_id": "november"}
CORRECTION = {"corrects": "november", "currency": "USD", "actor": "jane"}
DISPUTE = {**ABOUT, "dispute_id": "dp_1", "amount_micros": 20_000_000, "currency": "USD", "actor": "bank"}

FACTS = [
    subscription(
        START, included_minutes=100, price_micros=49_000_000, due_days=3, grace_days=7, timezone="America/New_York"
    ),
    {
        **fact("payment_request.created", START, **ABOUT),
        "kind": "cycle",
        "currency": "USD",
        "lines": [LINE],
        "subtotal_micros": 49_000_000,
        "rounding_micros": 0,
        "total_micros": 49_000_000,
        "due_at": DUE,
        "grace_ends_at": GRACE,
    },
    {**fact("payment_request.numbered", START, **ABOUT), "number": "2026-000001"},
    {
        **fact("payment_request.corrected", "2026-11-02T12:00:00Z", **CORRECTION),
        "kind": "credit_note",
        "payment_request_id": "note",
        "amount_micros": 9_000_000,
    },
    # A second before it is due, and then.
    tick("2026-11-04T04:59:59Z"),
    tick(DUE),
    tick(GRACE),
    fact("payment_request.settled", "2026-11-12T12:00:00Z", status="paid", actor="jane", reference="4711", **ABOUT),
    {
        **fact("payment_request.corrected", "2026-11-13T12:00:00Z", "acct_1", 2, **CORRECTION),
        "kind": "refund",
        "payment_request_id": "refund",
        "amount_micros": 10_000_000,
    },
    # One mill too much: no more than 30.00 is left of what was paid.
    {
        **fact("payment_request.corrected", "2026-11-13T12:00:00Z", "acct_1", 3, **CORRECTION),
        "kind": "refund",
        "payment_request_id": "too much",
        "amount_micros": 30_001_000,
    },
    fact("payment_request.disputed", "2026-11-13T13:00:00Z", status="opened", **DISPUTE),
    fact("payment_request.disputed", "2026-11-13T14:00:00Z", "acct_1", 2, status="lost", **DISPUTE),
    fact("one_time.charged", "2026-11-14T12:00:00Z", amount_micros=25_005_000, currency="USD", description="Set-up"),
]


def check(bill: Bill) -> None:
    told = bill.on("payment-requests", payment_request_id="november")
    assert [(one["status"], one["left_micros"], one["paid_micros"]) for one in told] == [
        # Created; numbered; credited.
        ("pending", 49_000_000, 0), ("pending", 49_000_000, 0), ("pending", 40_000_000, 0),
        ("overdue", 40_000_000, 0), ("paid", 0, 40_000_000),
    ]  # fmt: skip
    assert (told[-1]["number"], told[-1]["total_micros"], told[-1]["overdue_at"]) == ("2026-000001", 49_000_000, DUE)
    documents = [one for name in ("note", "refund") for one in bill.on("payment-requests", payment_request_id=name)]
    assert [(one["kind"], one["total_micros"], one["paid_micros"]) for one in documents] == [
        ("credit_note", -9_000_000, 0), ("refund", -10_000_000, -10_000_000),
    ]  # fmt: skip
    disputes = bill.on("payment-requests", payment_request_id="dispute:dp_1")
    assert [(one["status"], one["disputed_micros"], one["total_micros"]) for one in disputes] == [
        ("opened", 20_000_000, 0), ("lost", 20_000_000, 0),
    ]  # fmt: skip
    (back,) = bill.on("payment-requests", payment_request_id="refund:dp_1")
    assert (back["corrects"], back["paid_micros"]) == ("november", -20_000_000)
    (alert,) = bill.on("alerts", type="dispute")
    assert (alert["used"], alert["limit"], alert["payment_request_id"]) == (20_000_000, 40_000_000, "november")
    statuses = bill.billing("subscription.status_changed")
    assert [(one["status"], one["at"]) for one in statuses] == [
        ("active", START), ("past_due", DUE), ("blocked", GRACE), ("active", "2026-11-12T12:00:00Z"),
    ]  # fmt: skip
    # In days of New York.
    assert statuses[1]["banner"] == (
        "40 USD is past due since 2026-11-04. Campaigns are paused until it is paid. "
        "From 2026-11-11 on the account is blocked."
    )
    assert [one["reasons"] for one in bill.on("access-events")] == [["past_due"], ["blocked"], []]
    (letter,) = bill.on("dead-letters")
    assert letter["reason"] == "illegal_change"
    # What the billing job asks for: the month, and 25.005 rounded up to 25.01, due on 17 November at noon UTC.
    assert [(one["kind"], one["total_micros"], one["due_at"]) for one in bill.requests] == [
        ("cycle", 49_000_000, DUE), ("one_time", 25_010_000, "2026-11-17T12:00:00Z"),
    ]  # fmt: skip
