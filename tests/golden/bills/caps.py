"""Caps with a name, of an account and of its agency: what reaches them, what they turn off, and what is billed anyway.

Two accounts of one agency pay 0.12 a minute, nothing is included; each minute costs 0.05. The agency's cap is 5 minutes
a day, hard; the first account's are 0.30 of spend (hard, at 80 and 100 %) and a margin that must stay above 0.20.

call  account  minutes  amount  cost   spend of 1  margin of 1  minutes of the agency today
c1    1        2        0.24    0.10   0.24        0.14         2
c2    1        1        0.12    0.05   0.36        0.21         3
c3    2        2        0.24    0.10               -            5
c4    2        1        0.12    0.05               -            6 (in progress when the cap was reached)
"""

from __future__ import annotations

from tests.golden.bills import Bill, call, fact, subscription, tick

TERMS = {"included_minutes": 0, "overage": "billed", "overage_micros_per_minute": 120_000}
AGENCY_CAP = {"name": "day", "on": "minutes", "limit": 5, "per": "day", "mode": "hard", "alerts_percent": [100]}


def _minutes(name: str, at: str, minutes: int, account: str) -> dict:
    start, end = f"2026-11-03T{at}:00Z", f"2026-11-03T{at[:3]}{int(at[3:]) + minutes:02}:00Z"
    return call(name, start, end, account, cost_micros=minutes * 50_000, cost_currency="USD")


FACTS = [
    subscription("2026-11-01T00:00:00Z", "acct_1", 1, **TERMS),
    subscription("2026-11-01T00:00:00Z", "acct_2", 2, **TERMS),
    tick("2026-11-03T00:00:00Z"),
    {
        "type": "agency.caps_set",
        "fact_id": "a",
        "agency_id": "ag_1",
        "at": "2026-11-03T00:00:00Z",
        "caps": [AGENCY_CAP],
    },
    fact(
        "caps.set",
        "2026-11-03T00:00:00Z",
        caps=[
            {"name": "spend", "on": "spend", "limit": 300_000},
            {"name": "margin", "on": "margin", "limit": 200_000, "mode": "soft", "alerts_percent": [100]},
        ],
    ),
    _minutes("c1", "10:00", 2, "acct_1"),
    _minutes("c2", "10:10", 1, "acct_1"),
    # Raised, and re-evaluated at once: 0.36 of 0.50.
    fact("caps.set", "2026-11-03T10:20:00Z", "acct_1", 2, caps=[{"name": "spend", "on": "spend", "limit": 500_000}]),
    _minutes("c3", "10:30", 2, "acct_2"),
    _minutes("c4", "10:31", 1, "acct_2"),
    tick("2026-11-04T00:00:00Z"),
    tick("2026-12-01T00:00:00Z"),
]


def check(bill: Bill) -> None:
    assert bill.calls("call_id", "amount_micros", "margin_micros") == [
        ("c1", 240_000, 140_000), ("c2", 120_000, 70_000), ("c3", 240_000, 140_000), ("c4", 120_000, 70_000),
    ]  # fmt: skip
    # c1 is 80 % of the spend (0.24 of 0.30), and its margin of 0.14 is below 0.20; c2 is 120 % of the spend.
    assert bill.alerts("type", "cap", "level", "used", "limit") == [
        ("cap", "spend", 80, 240_000, 300_000),
        ("cap", "margin", 100, 140_000, 200_000),
        ("cap", "spend", 100, 360_000, 300_000),
        # 5 minutes of 5, with c3.
        ("agency_cap", "day", 100, 300, 300),
    ]
    agency, off, on = ["agency_cap_reached"], ["cap_reached"], []
    assert [(one["account_id"], one["reasons"]) for one in bill.on("access-events")] == [
        ("acct_1", off), ("acct_1", on), ("acct_1", agency), ("acct_2", agency), ("acct_1", on), ("acct_2", on),
    ]  # fmt: skip
    # 0.24 + 0.12 and 0.24 + 0.12: all four calls are asked for.
    assert [request["total_micros"] for request in bill.requests] == [360_000, 360_000]
