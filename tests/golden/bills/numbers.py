"""Item 3: numbers by local calendar days. 30.00 a month in New York, with numbers at 2.00 and at 3.00 a month.

November has 30 local days though its clock is set back on the 1st, December has 31.
"""

from __future__ import annotations

from tests.golden.bills import Bill, fact, subscription, tick


def _rented(number: str, at: str, price: int) -> dict:
    return fact("number.rented", at, "acct_1", number, number=number, price_micros=price, currency="USD")


def _released(number: str, at: str) -> dict:
    return fact("number.released", at, "acct_1", number, number=number)


FACTS = [
    subscription("2026-11-01T04:00:00Z", price_micros=30_000_000, timezone="America/New_York"),
    # From the 10th to the end of November: 10, 11, ... 30 are 21 days. 2,000,000 * 21 // 30 = 1,400,000.
    _rented("one", "2026-11-10T15:00:00Z", 2_000_000),
    # Rented and released on the 10th: a day all the same. 2,000,000 * 1 // 30 = 66,666.
    _rented("two", "2026-11-10T20:00:00Z", 2_000_000),
    _released("two", "2026-11-10T22:00:00Z"),
    # On the 19th at 21:00 in New York, to the 24th at 23:30 there: 19, 20, 21, 22, 23. 3,000,000 * 5 // 30 = 500,000.
    _rented("three", "2026-11-20T02:00:00Z", 3_000_000),
    _released("three", "2026-11-25T04:30:00Z"),
    tick("2026-12-01T05:00:00Z"),
    # December is charged in advance for "one", 2,000,000; it is released on the 11th: 10 days.
    # 2,000,000 * 10 // 31 = 645,161, so 2,000,000 - 645,161 = 1,354,839 are credited.
    _released("one", "2026-12-11T05:00:00Z"),
    tick("2027-01-01T05:00:00Z"),
    tick("2027-02-01T05:00:00Z"),
]


def check(bill: Bill) -> None:
    assert bill.asked("usage") == [
        # 66,666 + 1,400,000 + 500,000 = 1,966,666: 1.97. December's -1,354,839 alone is not asked for: it waits.
        ([("number", 66_666), ("number", 1_400_000), ("number", 500_000)], 1_970_000),
    ]
    assert bill.asked("cycle") == [
        ([("recurring", 30_000_000)], 30_000_000),
        ([("recurring", 30_000_000), ("number", 2_000_000)], 32_000_000),
        # January opened before December closed, so the credit waits for February.
        ([("recurring", 30_000_000)], 30_000_000),
        # 30,000,000 - 1,354,839 = 28,645,161: 28.65.
        ([("recurring", 30_000_000), ("carried_forward", -1_354_839)], 28_650_000),
    ]
    assert [event["numbers"] for event in bill.billing("number.rented")] == [1, 2, 2]
    assert bill.on("dead-letters") == []
