"""What a call costs its agency: every version of its wholesale terms is kept, and asked at each call."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.pricing import billed_and_fee, price_of, terms_for
from tests.oracle.rate_cards import BY_ID
from tests.oracle.reading import Refused


@dataclass(eq=False)
class Wholesale:
    """Of one agency: terms in the order they were set, each with when it comes into force."""

    versions: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    fact_ids: set[str] = field(default_factory=set)

    @property
    def first(self) -> datetime | None:
        """When the earliest terms come into force."""
        return min((at for at, _ in self.versions), default=None)

    def set(self, fact: Fact) -> bool:
        """False where it was set before."""
        if fact["fact_id"] in self.fact_ids:
            return False
        terms = fact["terms"]
        if any(before["currency"] != terms["currency"] for _, before in self.versions):
            raise Refused("wrong_currency")
        if terms["rate_card"] is not None:
            if terms["rate_card"] not in BY_ID:
                raise Refused("unknown_rate_card")
            if BY_ID[terms["rate_card"]].currency != terms["currency"]:
                raise Refused("wrong_currency")
        self.versions.append((fact["at"].astimezone(UTC), terms))
        self.fact_ids.add(fact["fact_id"])
        return True

    def in_force(self, moment: datetime) -> dict[str, Any] | None:
        """The one that began last; of two at once the one set later."""
        begun = [(at, number, terms) for number, (at, terms) in enumerate(self.versions) if at <= moment]
        return max(begun, key=lambda one: one[:2])[2] if begun else None

    def passes_on(self, call: Fact, currency: str) -> bool:
        """Whether the cost reported with a call of an account counts: by the policy, and in the platform's currency."""
        terms = self.in_force(call["ended_at"])
        known = terms is not None and call["cost_micros"] is not None and terms["cost_policy"] == "reported"
        return known and terms is not None and (call["cost_currency"] or currency) == terms["currency"]

    def cost(self, account: str, call: Fact, most_s: int | None, currency: str) -> dict[str, Any]:
        """The fields of a rated call that tell what it cost; none where nothing is in force."""
        terms = self.in_force(call["ended_at"])
        if terms is None:
            return {}
        whole = {
            **terms,
            "overage_micros_per_minute": terms["rate_micros_per_minute"],
            "max_call_s": most_s,
            "free_below_s": 0,
        }
        priced = terms_for(call, whole)
        _, billed, fee = billed_and_fee(call, priced)
        if billed > MAX_INTEGER:
            raise Refused("out_of_range", account)
        rate = priced["overage_micros_per_minute"]
        said = {
            "cost_source": "reported",
            "wholesale_billed_s": billed,
            "wholesale_rate_micros_per_minute": rate,
            "wholesale_rate_prefix": priced["row"]["prefix"] if priced["row"] else None,
        }
        if self.passes_on(call, currency):
            return said
        if billed and rate is None:
            raise Refused("no_rate", account)
        cost = price_of(billed, rate or 0) + fee
        if cost > MAX_INTEGER:
            raise Refused("out_of_range", account)
        return said | {"cost_source": "wholesale", "cost_micros": cost, "cost_currency": terms["currency"]}
