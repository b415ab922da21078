"""A forecast: 100 included minutes a month of 30 days, 0.12 a minute, 0.05 for each connection.

The period is 30 * 86,400 = 2,592,000 s long. On the 3rd at noon, 2.5 days = 216,000 s in, 450 s have been billed in
one call: 450 * 2592000 // 216000 = 5,400 s by the end: within 6,000 s.
On the 5th at noon, 4.5 days = 388,800 s in, 1,200 s: 1200 * 2592000 // 388800 = 8,000 s. 6,800 s are to come, 4,800
of them from the allowance; 2,000 s of overage make (2000 * 120000 + 30) // 60 = 4,000,000 micros, and two fees of
50,000 become 100000 * 2592000 // 388800 = 666,666: 4,666,666 micros in all. The allowance runs out after
388800 * 6000 // 1200 = 1,944,000 s = 22.5 days: on the 23rd at noon.
"""

from __future__ import annotations

from tests.golden.bills import Bill, call, subscription, tick

FACTS = [
    subscription(
        "2026-11-01T00:00:00Z",
        included_minutes=100,
        overage="billed",
        overage_micros_per_minute=120_000,
        connection_fee_micros=50_000,
        forecast_alert=True,
        allowance_alerts_percent=[],
    ),
    # Within the first 24 hours nothing is forecast, or 1 s in 1 hour would be.
    call("c0", "2026-11-01T01:00:00Z", "2026-11-01T01:00:00Z", outcome="no_answer"),
    call("c1", "2026-11-03T11:52:30Z", "2026-11-03T12:00:00Z"),
    call("c2", "2026-11-05T11:47:30Z", "2026-11-05T12:00:00Z"),
    # Worse by now, but once a period is enough.
    call("c3", "2026-11-06T11:00:00Z", "2026-11-06T12:00:00Z"),
    tick("2026-12-01T00:00:00Z"),
]


def check(bill: Bill) -> None:
    assert bill.alerts("type", "alert_id", "level", "used", "limit", "forecast_micros", "runs_out_at", "at") == [
        (
            "forecast_overage", "acct_1:sub_1:20261101T000000Z:forecast_overage:100", 100, 8_000, 6_000, 4_666_666,
            "2026-11-23T12:00:00Z", "2026-11-05T12:00:00Z",
        )
    ]  # fmt: skip
    # It did not go on like that: 450 + 750 + 3,600 = 4,800 s, all from the allowance, and three fees.
    assert bill.asked("usage") == [([("allowance", 0), ("connection_fee", 150_000)], 150_000)]
