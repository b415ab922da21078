"""A pack that is bought by hand, and one that is bought by itself, at most twice a month.

1 included minute, overage 0.12 a minute; the top-up buys 10 minutes at 5.00 when the wallet has less than 5 minutes.
- By hand: 2 minutes at 1.50. The wallet has 120 s.
- 1st call, 60 s: the allowance gives all of it; nothing is bought though 120 s are below 300 s.
- 2nd call, 100 s: wallet 120 - 100 = 20 s: below, so 600 s are bought: 620 s.
- 3rd call, 320 s: wallet 300 s, not below 300.
- 4th call, 60 s: wallet 240 s: bought: 840 s.
- 5th call, 900 s: 840 s from the wallet, 60 s of overage at 0.12. Below, but twice is enough for November.
- In December (New York): 60 s: the new allowance is enough. 60 s more: overage 0.12, and the third pack.
"""

from __future__ import annotations

from tests.golden.bills import Bill, call, fact, subscription, tick

TOP_UP = {
    "pack": "auto", "minutes": 10, "price_micros": 5_000_000, "currency": "USD", "below_s": 300, "most_per_month": 2
}  # fmt: skip
FACTS = [
    subscription(
        "2026-11-01T04:00:00Z",
        timezone="America/New_York",
        included_minutes=1,
        overage="billed",
        overage_micros_per_minute=120_000,
        allowance_alerts_percent=[],
        due_days=3,
    ),
    fact("top_up.set", "2026-11-01T05:00:00Z", top_up=TOP_UP),
    fact("pack.applied", "2026-11-02T00:00:00Z", pack="small", minutes=2, price_micros=1_500_000, currency="USD"),
    call("c1", "2026-11-03T10:00:00Z", "2026-11-03T10:01:00Z"),
    call("c2", "2026-11-03T11:00:00Z", "2026-11-03T11:01:40Z"),
    call("c3", "2026-11-03T12:00:00Z", "2026-11-03T12:05:20Z"),
    call("c4", "2026-11-03T13:00:00Z", "2026-11-03T13:01:00Z"),
    # Its end is in December by UTC, and still in November in New York.
    call("c5", "2026-12-01T04:30:00Z", "2026-12-01T04:45:00Z"),
    tick("2026-12-01T05:00:00Z"),
    call("c6", "2026-12-01T10:00:00Z", "2026-12-01T10:01:00Z"),
    call("c7", "2026-12-01T11:00:00Z", "2026-12-01T11:01:00Z"),
]


def check(bill: Bill) -> None:
    assert bill.calls("call_id", "allowance_s", "wallet_s", "overage_s", "amount_micros", "wallet_left_s") == [
        ("c1", 60, 0, 0, 0, 120),
        ("c2", 0, 100, 0, 0, 20),
        ("c3", 0, 320, 0, 0, 300),
        ("c4", 0, 60, 0, 0, 240),
        ("c5", 0, 840, 60, 120_000, 0),
        ("c6", 60, 0, 0, 0, 0),
        ("c7", 0, 0, 60, 120_000, 0),
    ]
    credited = bill.billing("pack.credited")
    # The facts are lines 0 to 10 of the log; the calls c2, c4 and c7 are lines 4, 6 and 10.
    assert [(one["fact_id"], one.get("automatic"), one["wallet_left_s"]) for one in credited] == [
        ("pack.applied-1", None, 120),
        ("topup:0:4", True, 620),
        ("topup:0:6", True, 840),
        ("topup:0:10", True, 600),
    ]
    # Due three days later on the same clock.
    assert [one["due_at"] for one in credited[1:3]] == ["2026-11-06T11:01:40Z", "2026-11-06T13:01:00Z"]
    # 1.50 by hand, and three times 5.00.
    assert bill.asked("pack") == [([("pack", 1_500_000)], 1_500_000), *[([("pack", 5_000_000)], 5_000_000)] * 3]
    # November's allowance and 100 + 320 + 60 + 840 s of the wallet at 0, and a minute of overage.
    assert bill.asked("usage") == [([("allowance", 0), ("wallet", 0), ("overage", 120_000)], 120_000)]
