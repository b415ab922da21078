"""Item 2: what calls bring and what they cost the agency. Retail 0.12 a minute, 10 minutes included."""

from __future__ import annotations

from typing import Any

from rating.cards import Card, Row
from tests.golden.bills import Bill
from tests.golden.story import Teller, tick

# Germany 0.03 by the second; premium numbers 1.00 a minute, by the minute, and 0.20 a call.
CARD = Card(
    "wholesale-2026",
    "USD",
    [Row("49", None, None, 30_000, "1/1"), Row("1900", None, None, 1_000_000, "60/60", 200_000)],
)
CARDS = {CARD.card_id: CARD}

one = Teller("acct")


def wholesale(number: int, at: str, **terms: Any) -> dict[str, Any]:
    """Wholesale terms of the agency, steps of 6 s where the card has none."""
    usual = {"currency": "USD", "increments": "6/6", "rate_card": CARD.card_id, "rate_micros_per_minute": 50_000}
    own = {"fact_id": f"w{number}", "agency_id": "ag_1", "at": at}
    return {"type": "wholesale.set", **own, "terms": {**usual, **terms}}


FACTS = [
    wholesale(1, "2026-11-01T00:00:00Z"),
    wholesale(2, "2026-11-10T00:00:00Z", cost_policy="reported"),
    one.started(
        "2026-11-01T00:00:00Z",
        "0.12 a minute",
        price_micros=0,
        included_minutes=10,
        increments="60/60",
        due_days=0,
        grace_days=0,
    ),
    # 550.2 s: 600 s of the allowance, 0. Costs 551 s by the second: (551 * 30,000 + 30) // 60 = 275,500.
    one.call("2026-11-02T10:00:00Z", 550.2, "included, but not for nothing", to_number="+4989123"),
    # 61 s: 120 s, 240,000. Costs 120 s at 1.00 and 0.20: 2,000,000 + 200,000. A loss of 1,960,000.
    one.call("2026-11-03T10:00:00Z", 61, "premium, without a retail card", to_number="+19005550100"),
    # 61 s: 120 s, 240,000. Not on the card: 66 s at 0.05: (66 * 50,000 + 30) // 60 = 55,000. Reported, but by card.
    one.call("2026-11-04T10:00:00Z", 61, "the wholesale rate", to_number="+33123", cost_micros=1),
    # 61 s: 240,000. The reported cost wins: 70,000.
    one.call("2026-11-10T00:00:00Z", 61, "in force from this instant on", to_number="+33123", cost_micros=70_000),
    # 1 s: 60 s, 120,000. Nothing reported: 1 s at 0.03, 500.
    one.call("2026-11-11T10:00:00Z", 1, "nothing was reported", to_number="+4989123"),
    # Not answered: 0 and 0.
    one.call("2026-11-12T10:00:00Z", 0, "busy", outcome="busy", answered_at=None, to_number="+4989123"),
    # Rated late: what was in force when it ended counts. 240,000 for 120 s; 61 s -> 66 s: 55,000.
    one.call("2026-11-05T10:00:00Z", 61, "before the reported ones counted", to_number="+33123", cost_micros=1),
    tick("2026-12-01T00:00:00Z", jump=True),
]
COSTS = [
    # amount, cost, profit, where from, wholesale seconds
    (0, 275_500, -275_500, "wholesale", 551),
    (240_000, 2_200_000, -1_960_000, "wholesale", 120),
    (240_000, 55_000, 185_000, "wholesale", 66),
    (240_000, 70_000, 170_000, "reported", 66),
    (120_000, 500, 119_500, "wholesale", 1),
    (0, 0, 0, "wholesale", 0),
    (240_000, 55_000, 185_000, "wholesale", 66),
]


def check(bill: Bill) -> None:
    """Cost and profit of every call; what the account is asked does not change."""
    told = bill.calls("amount_micros", "cost_micros", "margin_micros", "cost_source", "wholesale_billed_s")
    assert told == COSTS
    # 240,000 * 4 + 120,000 = 1,080,000: 540 s at 2,000 and the allowance.
    assert bill.asked("usage") == [([("allowance", 0), ("overage", 1_080_000)], 1_080_000)]
