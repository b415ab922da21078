"""Item 2: what the platform asks an agency for. Wholesale 30.00 a month, 10 minutes included, 1.00 a number.

Its first period is on Berlin's clock (UTC+1), from 10 November 0:00 to 10 December 0:00: 30 days.
"""

from __future__ import annotations

from typing import Any

from tests.golden.bills import Bill
from tests.golden.story import Fact, Teller, tick

one, two = Teller("acct"), Teller("acct_2")


def wholesale(number: int, at: str, **terms: Any) -> Fact:
    """Wholesale terms of the agency: 0.05 a minute in steps of 6 s; reported costs win."""
    usual = {
        "currency": "USD",
        "increments": "6/6",
        "rate_micros_per_minute": 50_000,
        "cost_policy": "reported",
        "timezone": "Europe/Berlin",
        "price_micros": 30_000_000,
        "included_minutes": 10,
        "number_price_micros": 1_000_000,
        "due_days": 14,
    }
    own = {"fact_id": f"w{number}", "agency_id": "ag_1", "at": at}
    return {"type": "wholesale.set", **own, "terms": {**usual, **terms}}


def rented(teller: Teller, at: str, number: str) -> Fact:
    """A number, for nothing to its account."""
    return teller.fact("number.rented", at, "a number", number=number, price_micros=0)


def released(teller: Teller, at: str, number: str) -> Fact:
    """A number is given back."""
    return teller.fact("number.released", at, "no longer", number=number)


def retail(teller: Teller) -> Fact:
    """A plan that matters to nobody here."""
    return teller.started("2026-11-01T00:00:00Z", "0.12 a minute", price_micros=0, included_minutes=0)


FACTS = [
    # So that no tick is needed before each call.
    {
        "type": "rules.set",
        "at": "2026-11-01T00:00:00Z",
        "max_future_s": 4_000_000,
        "max_call_s": 86_400,
        "duplicate_retention_days": 90,
    },
    tick("2026-11-01T00:00:00Z"),
    retail(one),
    retail(two),
    # Before there are terms: a calendar month, for which nobody is asked.
    one.call("2026-11-05T10:00:00Z", 60, "its cost was reported", cost_micros=777),
    rented(one, "2026-11-08T10:00:00Z", "+491"),
    rented(one, "2026-11-08T10:00:00Z", "+494"),
    tick("2026-11-09T20:00:00Z"),
    # Cuts November off at the 10th, 0:00 in Berlin.
    wholesale(1, "2026-11-09T23:00:00Z"),
    one.call("2026-11-09T22:59:59Z", 60, "a second before there are terms: nothing", cost_micros=777),
    # The period opens: 30.00.
    tick("2026-11-09T23:00:00Z"),
    # 61 s: 66 s, (66 * 50,000 + 30) // 60 = 55,000.
    one.call("2026-11-11T10:00:00Z", 61, "by the terms"),
    # 551 s: 552 s, 460,000.
    one.call("2026-11-12T10:00:00Z", 551, "by the terms"),
    # 70,000 were reported: that counts, and the price of its 66 s does not.
    one.call("2026-11-13T10:00:00Z", 61, "reported", cost_micros=70_000, cost_currency="USD"),
    # Euros were reported, which no request in dollars can ask for: 55,000 for 66 s.
    one.call("2026-11-14T10:00:00Z", 61, "reported in euros", cost_micros=90_000, cost_currency="EUR"),
    # Released at 0:30 of the 15th in Berlin: the 10th to the 14th are 5 of 30 days, 1,000,000 * 5 // 30 = 166,666.
    released(one, "2026-11-14T23:30:00Z", "+494"),
    # From the 20th on: 20 of 30 days, 666,666. For an evening: 1 of 30 days, 33,333.
    rented(two, "2026-11-20T10:00:00Z", "+492"),
    rented(two, "2026-11-20T18:00:00Z", "+493"),
    released(two, "2026-11-20T22:59:00Z", "+493"),
    # 1 s: 6 s, 5,000. The other account is the agency's, too.
    two.call("2026-11-21T10:00:00Z", 1, "of the other account"),
    # Twice the price: calls cost it from then on, the period from the next one on.
    wholesale(2, "2026-12-01T00:00:00Z", price_micros=60_000_000, rate_micros_per_minute=100_000),
    # 66 s: 110,000.
    two.call("2026-12-02T10:00:00Z", 61, "at the new rate"),
    # The next period opens, at 60.00; this one is open for another hour.
    tick("2026-12-09T23:30:00Z", jump=True),
    # Closes: 66 + 552 + 66 + 6 + 66 = 756 s for 55,000 + 460,000 + 55,000 + 5,000 + 110,000 = 685,000; 906 a second
    # is 684,936, and 64 are left. Reported: 70,000. Of 756 s 600 are included: 685,000 * 600 // 756 = 543,650.
    # Numbers: 33,333 + 166,666 + 666,666 + 1,000,000 for +491. In all 2,078,015, which is 2.08.
    tick("2026-12-10T00:00:00Z"),
    # Late: counts in the period that is open now. 66 s, 110,000.
    two.call("2026-12-09T20:00:00Z", 61, "late"),
    # The call of 551 s was none: 552 s and 460,000 are taken back here.
    one.fact("call.voided", "2026-12-12T00:00:00Z", "was none", call_id="acct-7"),
    # Closes: 66 - 552 = -486 s for 110,000 - 460,000 = -350,000: 720 a second is -349,920, and -80 are left.
    # Nothing is included in less than nothing. Two numbers, 31 of 31 days: 2,000,000. In all 1,650,000.
    tick("2027-01-10T00:00:00Z", jump=True),
]


def check(bill: Bill) -> None:
    """Requests of the platform to the agency, whose accounts are asked by themselves."""
    asked = [request for request in bill.requests if request["account_id"] == ""]
    told = [
        (
            request["payment_request_id"],
            [(line["line_id"], line["quantity"], line["amount_micros"]) for line in request["lines"]],
            request["total_micros"],
        )
        for request in asked
    ]
    assert told == [
        ("wholesale:ag_1:20261109T230000Z:cycle", [("recurring", 1, 30_000_000)], 30_000_000),
        ("wholesale:ag_1:20261209T230000Z:cycle", [("recurring", 1, 60_000_000)], 60_000_000),
        (
            "wholesale:ag_1:20261109T230000Z:usage",
            [
                ("minutes", 756, 684_936),
                ("call_rounding", 1, 64),
                ("reported", 1, 70_000),
                ("included", 1, -543_650),
                ("number:1", 1, 33_333),
                ("number:5", 1, 166_666),
                ("number:20", 1, 666_666),
                ("number:30", 1, 1_000_000),
            ],
            2_080_000,
        ),
        ("wholesale:ag_1:20270109T230000Z:cycle", [("recurring", 1, 60_000_000)], 60_000_000),
        (
            "wholesale:ag_1:20261209T230000Z:usage",
            [("minutes", -486, -349_920), ("call_rounding", 1, -80), ("number:31", 2, 2_000_000)],
            1_650_000,
        ),
    ]
    assert asked[2]["due_at"] == "2026-12-23T23:00:00Z"
    # Usage is what its calls cost: two were rated before there were terms.
    costs = bill.calls("cost_source", "cost_micros")
    assert sum(micros for source, micros in costs if source) == 685_000 + 70_000 - 350_000
    assert sum(event["usage_micros"] for event in bill.billing("agency.cycle_closed")) == 405_000
