"""Item 4: a plan of usage only, one of a price only, one without overage, and one that lives on its wallet."""

from __future__ import annotations

from tests.golden.bills import Bill, call, fact, subscription, tick

START, END = "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"
# 90 s each, but for the first.
BEGAN, ENDED = "2026-11-03T10:00:00Z", "2026-11-03T10:01:30Z"
FACTS = [
    # Usage only, at 60/6: 244 s -> 60 + 31 * 6 = 246 s; 246 * 120,000 / 60 = 492,000.
    subscription(START, "usage", overage="billed", overage_micros_per_minute=120_000, increments="60/6"),
    call("c", BEGAN, "2026-11-03T10:04:04Z", "usage"),
    # A price only: calls are counted, and cost nothing.
    subscription(START, "price", price_micros=25_000_000, overage="billed", overage_micros_per_minute=0),
    call("c", BEGAN, ENDED, "price"),
    # No overage: 60 s of the allowance, 30 s written off; access is off.
    subscription(START, "blocked", price_micros=10_000_000, included_minutes=1),
    call("c", BEGAN, ENDED, "blocked"),
    # Wallet only: off from the start, on with a pack of 2 minutes, 90 s of it used.
    subscription(START, "wallet"),
    fact("pack.applied", "2026-11-02T00:00:00Z", "wallet", pack="two", minutes=2, price_micros=500_000, currency="USD"),
    call("c", BEGAN, ENDED, "wallet"),
    tick(END),
]


def check(bill: Bill) -> None:
    assert bill.calls("account_id", "allowance_s", "wallet_s", "overage_s", "written_off_s", "amount_micros") == [
        ("usage", 0, 0, 246, 0, 492_000),
        ("price", 0, 0, 90, 0, 0),
        ("blocked", 60, 0, 0, 30, 0),
        ("wallet", 0, 90, 0, 0, 0),
    ]
    asked = [(request["account_id"], request["kind"], request["total_micros"]) for request in bill.requests]
    assert sorted(asked) == [
        # November and December; nothing but that.
        ("blocked", "cycle", 10_000_000),
        ("blocked", "cycle", 10_000_000),
        ("price", "cycle", 25_000_000),
        ("price", "cycle", 25_000_000),
        # 0.492: 0.49.
        ("usage", "usage", 490_000),
        ("wallet", "pack", 500_000),
    ]
    access = [(change["account_id"], change["reasons"]) for change in bill.on("access-events")]
    assert access == [
        ("blocked", ["pools_empty"]),
        ("wallet", ["pools_empty"]),
        ("wallet", []),
        # A new month, a new minute.
        ("blocked", []),
    ]
    assert len(bill.billing("cycle.closed")) == 4
