"""Facts for the tests, short to write: every argument not given has a harmless value."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from rating.simulate import simulate

TERMS: dict[str, Any] = {
    "plan": "starter",
    "currency": "USD",
    "interval": "month",
    "included_minutes": 10,
    "overage": "billed",
    "overage_micros_per_minute": 120_000,
}


def subscription(at="2026-11-01T00:00:00Z", account="acct_1", agency="ag_1", fact="start", sub="sub_1", **terms):
    return {
        "type": "subscription.started", "fact_id": fact, "account_id": account, "agency_id": agency,
        "subscription_id": sub, "at": at, "terms": {**TERMS, **terms},
    }  # fmt: skip


def call(number, ended="2026-11-03T10:10:00Z", answered="2026-11-03T10:00:00Z", account="acct_1", **fields):
    return {
        "type": "call.completed", "call_id": f"call_{number}", "account_id": account, "agency_id": "ag_1",
        "direction": "outbound", "started_at": answered, "answered_at": answered, "ended_at": ended,
        "outcome": "answered", **fields,
    }  # fmt: skip


def fact(kind, number, at="2026-11-02T00:00:00Z", account="acct_1", **fields):
    return {"type": kind, "fact_id": f"fact_{number}", "account_id": account, "agency_id": "ag_1", "at": at, **fields}


def pack(number, minutes=60, **fields):
    return fact("pack.applied", number, pack="boost", minutes=minutes, price_micros=9_000_000, currency="USD", **fields)


def tick(at, **fields):
    return {"type": "tick", "at": at, **fields}


def encode(facts):
    """JSON lines of some facts; bytes stay as they are."""
    return [one if isinstance(one, bytes) else json.dumps(one).encode() for one in facts]


def outputs(*facts):
    """What the core gives out, by topic."""
    found = defaultdict(list)
    for output in simulate(encode(facts)):
        found[output["topic"]].append(output["value"])
    return found


def refused(*facts):
    """Reasons of the dead letters."""
    return [letter["reason"] for letter in outputs(*facts)["dead-letters"]]
