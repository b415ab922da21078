"""Bills computed by hand: one module for each thing a plan can say, with its arithmetic in comments.

Each module has ``FACTS``, a log as it would be written, and ``check(bill)``, which holds what `callmeter simulate` says
of it, and what is asked for it, against the numbers worked out by hand. `tests/golden/test_bills.py` runs them all,
through the core and through the oracle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rating.cards import NO_CARDS, Cards
from rating.request import request_for
from rating.simulate import simulate
from streams.units import minor_digits

Fact = dict[str, Any]


class Bill:
    """What comes of a log: outputs by topic, and the payment requests that the billing job would ask for."""

    def __init__(self, facts: Iterable[Fact], units: Mapping[str, int] | None = None, cards: Cards = NO_CARDS) -> None:
        self.lines = [json.dumps(fact).encode() for fact in facts]
        self.outputs = list(simulate(self.lines, cards))
        asked = [request_for(event, lambda currency: minor_digits(currency, units or {})) for event in self.billing()]
        self.requests = [request for request in asked if request is not None]

    def on(self, topic: str, **wanted: Any) -> list[dict[str, Any]]:
        """Outputs of a topic, those with certain values of some fields."""
        values = [output["value"] for output in self.outputs if output["topic"] == topic]
        return [value for value in values if all(value.get(name) == item for name, item in wanted.items())]

    def calls(self, *fields: str) -> list[tuple[Any, ...]]:
        """Of each rated call the given fields."""
        return [tuple(call.get(field) for field in fields) for call in self.on("rated-calls")]

    def billing(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Billing events, of one type or all."""
        return self.on("billing-events", **({"type": kind} if kind else {}))

    def alerts(self, *fields: str) -> list[tuple[Any, ...]]:
        """Of each alert the given fields."""
        return [tuple(alert.get(field) for field in fields) for alert in self.on("alerts")]

    def asked(self, kind: str) -> list[tuple[list[tuple[str, int]], int]]:
        """Of each request of a kind: its lines as (kind, amount), and its total."""
        return [
            ([(line["kind"], line["amount_micros"]) for line in request["lines"]], request["total_micros"])
            for request in self.requests
            if request["kind"] == kind
        ]


def subscription(at: str, account: str = "acct_1", number: int = 1, **terms: Any) -> Fact:
    """An account is put on terms, in US dollars by the month unless they say otherwise."""
    usual = {"plan": "starter", "currency": "USD", "interval": "month"}
    return fact("subscription.started", at, account, number, subscription_id=f"sub_{number}", terms={**usual, **terms})


def call(name: str, started: str, ended: str, account: str = "acct_1", **fields: Any) -> Fact:
    """An answered outbound call."""
    return {
        "type": "call.completed", "call_id": name, "account_id": account, "agency_id": "ag_1", "direction": "outbound",
        "started_at": started, "answered_at": started, "ended_at": ended, "outcome": "answered", **fields,
    }  # fmt: skip


def fact(kind: str, at: str, account: str = "acct_1", number: int | str = 1, /, **fields: Any) -> Fact:
    """A fact of any other type; ``number`` tells it from others of its type and account."""
    own = {"fact_id": f"{kind}-{number}", "account_id": account, "agency_id": "ag_1", "at": at}
    return {"type": kind, **own, **fields}


def tick(at: str, **fields: Any) -> Fact:
    """The time."""
    return {"type": "tick", "at": at, **fields}
