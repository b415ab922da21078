"""The same usage in four units of money: only the total is rounded, to the unit's own places, half up.

Each account has 1 included minute a month and pays 7.5055 a minute beyond; one call of 104 s at 1/1.
Overage 104 - 60 = 44 s; 44 * 7.5055 / 60 = 5.504033...; in micros
(44 * 7505500 + 30) // 60 = 330242030 // 60 = 5504033.
"""

from __future__ import annotations

from tests.golden.bills import Bill, call, fact, subscription, tick

UNITS = {"USDT": 6, "POINTS": 1}
# JPY has no places: 5.504033 -> 6. KWD has three: 5.504. USDT is named with six: 5.504033. POINTS with one: 5.5.
TOTALS = {"JPY": 6_000_000, "KWD": 5_504_000, "USDT": 5_504_033, "POINTS": 5_500_000}
USAGE = 5_504_033


def _account(currency: str) -> list[dict]:
    account, terms = f"acct_{currency}", {"overage": "billed", "overage_micros_per_minute": 7_505_500}
    return [
        subscription("2026-11-01T00:00:00Z", account, currency=currency, included_minutes=1, **terms),
        call("c1", "2026-11-03T10:00:00Z", "2026-11-03T10:01:44Z", account),
        # A pack in another unit is refused: units are never mixed.
        fact("pack.applied", "2026-11-04T00:00:00Z", account, pack="boost", minutes=9, price_micros=1, currency="USD"),
    ]


FACTS = [*(fact for currency in TOTALS for fact in _account(currency)), tick("2026-12-01T00:00:00Z")]


def check(bill: Bill) -> None:
    assert bill.calls("currency", "overage_s", "amount_micros") == [(currency, 44, USAGE) for currency in TOTALS]
    assert {request["currency"]: request["total_micros"] for request in bill.requests} == TOTALS
    for request in bill.requests:
        assert request["subtotal_micros"] == USAGE
        assert request["rounding_micros"] == TOTALS[request["currency"]] - USAGE
    refused = [(letter["reason"], letter["detail"]) for letter in bill.on("dead-letters")]
    assert refused == [("wrong_currency", f"the account is in {name}, the pack in USD") for name in TOTALS]
