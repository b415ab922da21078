"""An hour that bills far more than usual fires one alert.

24 hours with one call each: 23 of 10 min = 600 s and one of 30 min = 1,800 s: 23 * 600 + 1,800 = 15,600 s, mean
650 s, four times that is 2,600 s: less than an hour, so 3,600 s are the limit. The 25th hour bills 3,600 s in all,
which is not more, and then 60 s, which is. Another call in it fires nothing: once an hour.
With the 25th hour (3,720 s) there are 25 hours of 19,320 s: 4 * 19320 // 25 = 3,091, still below 3,600.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.golden.bills import Bill, Fact, call, subscription

FIRST = datetime(2026, 11, 2, 8, tzinfo=UTC)


def _call(hour: int, at_s: int, lasts_s: int) -> Fact:
    begun = FIRST + timedelta(hours=hour, seconds=at_s)
    return call(f"h{hour}-{at_s}", begun.isoformat(), (begun + timedelta(seconds=lasts_s)).isoformat())


FACTS = [
    subscription("2026-11-01T00:00:00Z", overage="billed", overage_micros_per_minute=1, unusual_usage=True),
    *(_call(hour, 0, 1_800 if hour == 5 else 600) for hour in range(24)),
    _call(24, 0, 3_000),
    _call(24, 60, 600),
    _call(24, 120, 60),
    _call(24, 180, 60),
    # The hour after it is as usual.
    _call(25, 0, 3_590),
]


def check(bill: Bill) -> None:
    assert bill.alerts("type", "alert_id", "level", "used", "limit", "hour", "at") == [
        (
            "unusual_usage", "acct_1:sub_1:20261101T000000Z:unusual_usage:20261103T080000Z", 400, 3_660, 3_600,
            "2026-11-03T08:00:00Z", "2026-11-03T08:03:00Z",
        )
    ]  # fmt: skip
