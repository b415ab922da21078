"""A call is corrected in an open period, and another one in a closed period.

10 included minutes a month, 0.12 a minute beyond, 0.05 for a connection; due at once.
November:
- c1, 8 min = 480 s: all from the allowance (120 s left), fee 0.05.
- c2, 5 min = 300 s: 120 s from the allowance, 180 s of overage: (180 * 120000 + 30) // 60 = 360,000, and 50,000.
- c1 was 2 min = 120 s: 480 s go back to the allowance (480 s left), and 120 s are taken: 360 s left.
- c3 is voided: 60 s of the allowance come and go; its fee is taken back.
So November has 2 calls, 120 + 300 = 420 s: allowance 120 + 120 = 240 s, overage 180 s; usage 360,000 + 2 * 50,000.
December, which has nothing of its own, corrects c2 of November: it was 4 min = 240 s.
- taken back: -(360,000 + 50,000) = -410,000, and 120 s of November's allowance, which has 360 + 120 = 480 s then;
- rated anew: 240 s, all of them from that allowance: only the fee of 50,000.
The adjustment is -410,000 + 50,000 = -360,000: the request of December would be negative, so it asks for nothing, and
the credit is carried forward; January's usage of 10 min of overage, 1,200,000 + 50,000, is lowered by it to 890,000.
"""

from __future__ import annotations

from tests.golden.bills import Bill, call, fact, subscription, tick


def _again(number: int, name: str, begun: str, ended: str, at: str) -> dict:
    content = {key: value for key, value in call(name, begun, ended).items() if key not in ("type", "call_id")}
    return {**content, **fact("call.corrected", at, "acct_1", number), "corrects": name}


FACTS = [
    subscription(
        "2026-11-01T00:00:00Z",
        included_minutes=10,
        overage="billed",
        overage_micros_per_minute=120_000,
        connection_fee_micros=50_000,
        allowance_alerts_percent=[],
    ),
    call("c1", "2026-11-03T10:00:00Z", "2026-11-03T10:08:00Z"),
    call("c2", "2026-11-03T11:00:00Z", "2026-11-03T11:05:00Z"),
    _again(1, "c1", "2026-11-03T10:00:00Z", "2026-11-03T10:02:00Z", "2026-11-04T00:00:00Z"),
    call("c3", "2026-11-03T12:00:00Z", "2026-11-03T12:01:00Z"),
    fact("call.voided", "2026-11-04T00:00:00Z", call_id="c3"),
    tick("2026-12-01T00:00:00Z"),
    _again(2, "c2", "2026-11-03T11:00:00Z", "2026-11-03T11:04:00Z", "2026-12-05T00:00:00Z"),
    tick("2027-01-01T00:00:00Z"),
    call("c4", "2027-01-01T10:00:00Z", "2027-01-01T10:20:00Z"),
    tick("2027-02-01T00:00:00Z"),
]


def check(bill: Bill) -> None:
    fields = ("call_id", "correction", "billed_s", "allowance_s", "overage_s", "amount_micros", "allowance_left_s")
    assert bill.calls(*fields) == [
        ("c1", None, 480, 480, 0, 50_000, 120),
        ("c2", None, 300, 120, 180, 410_000, 0),
        ("c1", "refund", -480, -480, 0, -50_000, 480),
        ("c1", "rerated", 120, 120, 0, 50_000, 360),
        ("c3", None, 60, 60, 0, 50_000, 300),
        ("c3", "refund", -60, -60, 0, -50_000, 360),
        ("c2", "refund", -300, -120, -180, -410_000, 480),
        ("c2", "rerated", 240, 240, 0, 50_000, 240),
        ("c4", None, 1_200, 600, 600, 1_250_000, 0),
    ]
    november, december, january = bill.billing("cycle.closed")
    assert [november[name] for name in ("calls", "billed_s", "allowance_s", "overage_s", "usage_micros")] == [
        2, 420, 240, 180, 460_000,
    ]  # fmt: skip
    assert (december["usage_micros"], december["lines_micros"]) == (0, 0)
    adjusted = [line["amount_micros"] for line in december["lines"] + december_opening(bill) if _adjusts(line)]
    assert adjusted == [-410_000, 50_000]
    # 460,000 for November; nothing for December; 1,250,000 - 360,000 for January.
    totals = [request["total_micros"] for request in bill.requests]
    assert totals == [460_000, 890_000]
    assert january["usage_micros"] == 1_250_000


def december_opening(bill: Bill) -> list[dict]:
    """Lines of January's opening: it comes before December's close, so it is what the adjustment waited for."""
    return [line for event in bill.billing("cycle.opened") for line in event["lines"]]


def _adjusts(line: dict) -> bool:
    return line["kind"] == "adjustment"
