"""A stuck call is cut, marked and alerted: 100 included minutes, then 0.12 a minute at 60/6, calls up to 2 hours.

The first call lasts 3 h = 10,800 s and is cut to 7,200 s: 6,000 s from the allowance, 1,200 s of overage,
(1200 * 120000 + 30) // 60 = 2,400,000 micros. Uncut it would have been 4,800 s of overage, 9.60 instead of 2.40.
The second lasts exactly 2 h = 7,200 s and is not: (7200 * 120000 + 30) // 60 = 14,400,000 micros.
"""

from __future__ import annotations

from tests.golden.bills import Bill, call, subscription, tick

FACTS = [
    subscription(
        "2026-11-01T00:00:00Z",
        included_minutes=100,
        overage="billed",
        overage_micros_per_minute=120_000,
        increments="60/6",
        max_call_s=7_200,
        allowance_alerts_percent=[],
    ),
    call("c1", "2026-11-03T10:00:00Z", "2026-11-03T13:00:00Z"),
    call("c2", "2026-11-03T14:00:00Z", "2026-11-03T16:00:00Z"),
    tick("2026-12-01T00:00:00Z"),
]


def check(bill: Bill) -> None:
    assert bill.calls("call_id", "cut", "duration_s", "billed_s", "allowance_s", "overage_s", "amount_micros") == [
        ("c1", True, 7_200, 7_200, 6_000, 1_200, 2_400_000),
        ("c2", None, 7_200, 7_200, 0, 7_200, 14_400_000),
    ]
    assert bill.alerts("type", "alert_id", "call_id", "used", "limit") == [
        ("stuck_call", "acct_1:sub_1:20261101T000000Z:stuck_call:c1", "c1", 10_800, 7_200)
    ]
    # 2.40 + 14.40
    assert bill.asked("usage") == [([("allowance", 0), ("overage", 16_800_000)], 16_800_000)]
