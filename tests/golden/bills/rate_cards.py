"""Item 1: a bill by a rate card. 10 minutes a month for 20.00 USD; what is not on the card costs 0.60 a minute."""

from __future__ import annotations

from rating.cards import Card, Row
from tests.golden.bills import Bill
from tests.golden.story import Teller, tick

CARD = Card(
    "retail-2026",
    "USD",
    [
        # Germany: 0.12 a minute in steps of a minute. Berlin: 0.09 outbound, by the terms' steps, 0.01 a call.
        Row("49", None, None, 120_000, "60/60"),
        Row("4930", "outbound", None, 90_000, None, 10_000),
        # Germany, agents of tier gold: 0.24.
        Row("49", None, "gold", 240_000, "60/60"),
        # Premium numbers: 2.40 a minute and 0.50 a call, whatever is left of the allowance.
        Row("1900", None, None, 2_400_000, "60/60", 500_000, pools=False),
    ],
)
CARDS = {CARD.card_id: CARD}

one = Teller("acct")
FACTS = [
    one.started(
        "2026-11-01T00:00:00Z",
        "a plan with a card",
        plan="world",
        price_micros=20_000_000,
        included_minutes=10,
        overage_micros_per_minute=600_000,
        increments="6/6",
        due_days=0,
        grace_days=0,
        rate_card=CARD.card_id,
    ),
    # Premium, 61 s: the row's steps make it 120 s. No pool: 120 s of overage, 2 * 2,400,000 = 4,800,000. Fee 500,000.
    one.call("2026-11-02T10:00:00Z", 61, "premium", to_number="+19005550100"),
    # Munich, 550.2 s: 551 s, by the minute 600 s. The allowance has 600 s. Overage 0.
    one.call("2026-11-03T10:00:00Z", 550.2, "all of the allowance", to_number="+498912345"),
    # Berlin, outbound, 100 s: the terms' steps of 6 s make it 102 s. (102 * 90,000 + 30) // 60 = 153,000. Fee 10,000.
    one.call("2026-11-04T10:00:00Z", 100, "the longest prefix", to_number="+493012345"),
    # Berlin, inbound: the row of Berlin is for outbound calls. Germany: 100 s -> 120 s, 2 * 120,000 = 240,000.
    one.call("2026-11-05T10:00:00Z", 100, "another direction", to_number="+493012345", direction="inbound"),
    # Berlin, outbound, gold: the longest prefix goes before the tier. 3 s -> 6 s: 6 * 1,500 = 9,000. Fee 10,000.
    one.call("2026-11-06T10:00:00Z", 3, "prefix before tier", to_number="+493012345", tier="gold"),
    # Munich, gold: 0.24. 1 s -> 60 s: 240,000.
    one.call("2026-11-07T10:00:00Z", 1, "a tier", to_number="+498912345", tier="gold"),
    # Paris is not on the card: the terms' 0.60. 7 s -> 12 s: (12 * 600,000 + 30) // 60 = 120,000.
    one.call("2026-11-08T10:00:00Z", 7, "not on the card", to_number="+33123456"),
    tick("2026-12-01T00:00:00Z", jump=True),
]
REQUESTS = [
    # November's, then December's, which opens before November closes.
    ("cycle", [("recurring", 1, 20_000_000, 20_000_000)], 20_000_000),
    ("cycle", [("recurring", 1, 20_000_000, 20_000_000)], 20_000_000),
    (
        "usage",
        [
            # All seconds of the allowance, at 0.
            ("allowance", 600, 0, 0),
            # 102 + 6 = 108 s at 90,000 // 60 = 1,500 a second.
            ("overage", 108, 1_500, 162_000),
            # 120 s at 2,000.
            ("overage", 120, 2_000, 240_000),
            # 60 s at 4,000.
            ("overage", 60, 4_000, 240_000),
            # 12 s at 10,000: the terms' rate.
            ("overage", 12, 10_000, 120_000),
            # 120 s at 40,000.
            ("overage", 120, 40_000, 4_800_000),
            # Two calls to Berlin, one premium call.
            ("connection_fee", 2, 10_000, 20_000),
            ("connection_fee", 1, 500_000, 500_000),
        ],
        # 162,000 + 240,000 + 240,000 + 120,000 + 4,800,000 + 20,000 + 500,000 = 6,082,000: 6.08 USD, 2,000 dropped.
        6_080_000,
    ),
]


def check(bill: Bill) -> None:
    """Every request that is asked for, line by line."""
    fields = ("kind", "quantity", "unit_price_micros", "amount_micros")
    assert bill.on("dead-letters") == []
    assert [
        (
            request["kind"],
            [tuple(line[field] for field in fields) for line in request["lines"]],
            request["total_micros"],
        )
        for request in bill.requests
    ] == REQUESTS
