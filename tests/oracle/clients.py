"""What the writer of logs knows of the accounts it writes about, and how it writes times and requests."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

from tests.oracle.anchored import boundary

Fact = dict[str, Any]
OFFSETS = ((0, "Z"),) * 8 + ((0, "+00:00"), (120, "+02:00"), (-300, "-05:00"), (345, "+05:45"), (-210, "-03:30"))


def stamp(random: Random, moment: datetime) -> str:
    """ISO 8601 in one of several zones, with no more digits of a fraction than needed."""
    minutes, suffix = random.choice(OFFSETS)
    text = (moment + timedelta(minutes=minutes)).isoformat()[:-6]
    return (text.rstrip("0") if "." in text else text) + suffix


class Signup:
    """A subscription as far as the writer has to know it."""

    def __init__(self, subscription_id: str, at: datetime, terms: Fact) -> None:
        self.subscription_id = subscription_id
        self.at = at
        self.terms = terms
        self.number = 0
        self.ends: datetime | None = None

    def boundary(self, n: int) -> datetime:
        terms = self.terms
        zone = terms.get("timezone", "UTC")
        return boundary(self.at, terms["interval"], terms["interval_count"], zone, max(0, n))

    def period_around(self, now: datetime) -> int:
        while self.boundary(self.number + 1) <= now:
            self.number += 1
        return self.number

    @property
    def window(self) -> timedelta:
        return timedelta(seconds=self.terms.get("late_window_s", 0))


class Client:
    """An account as far as the writer has to know it."""

    def __init__(self, account_id: str, agency_id: str, currency: str) -> None:
        self.account_id = account_id
        self.agency_id = agency_id
        self.currency = currency
        self.signups: list[Signup] = []
        self.requests = ["sub_0:20260101T000000Z:cycle"]
        self.numbers: list[str] = []


def request_fields(random: Random, now: datetime, kind: str, length: timedelta) -> Fact:
    """What a payment request asks for: one line, its total rounded to cents; due somewhere in a period's length."""
    due = now + length * random.choice((-0.2, 0, 0, 0.1, 0.3, 1)) * random.random()
    grace = due + random.choice((timedelta(0), timedelta(days=1), timedelta(days=7), length * random.random()))
    span: Fact = {"period_start": stamp(random, now), "period_end": stamp(random, now)}
    if kind in ("pack", "one_time"):
        span = {"period_start": None, "period_end": None}
    line = {
        "line_id": "1",
        "kind": "recurring",
        "description": "Plan starter",
        "quantity": 1,
        "unit": "period",
        "unit_price_micros": 49_004_000,
        "amount_micros": 49_004_000,
        **span,
    }
    return {
        "kind": kind,
        **span,
        "lines": [line],
        "subtotal_micros": 49_004_000,
        "rounding_micros": -4_000,
        "tax_micros": 0,
        "total_micros": 49_000_000,
        "due_at": stamp(random, due),
        "grace_ends_at": stamp(random, grace),
    }
