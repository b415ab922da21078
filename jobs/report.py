"""What a closing did, agency by agency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass
class AgencyTotals:
    """What a closing did for one agency.

    Attributes:
        subscriptions: how many had a period closed.
        periods_closed: how many periods.
        requests: payment requests to its accounts that were called for.
        amounts_micros: their totals, by currency.
        wholesale_periods_closed: how many periods of its own, of what the platform asks it for.
        wholesale_amounts_micros: totals of the platform's requests to it that were called for, by currency.
    """

    subscriptions: int = 0
    periods_closed: int = 0
    requests: int = 0
    amounts_micros: dict[str, int] = field(default_factory=dict)
    wholesale_periods_closed: int = 0
    wholesale_amounts_micros: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """How a closing ended.

    Attributes:
        until: the time that was asked for.
        done: nothing is open.
        open: what is open, in words.
        clickhouse: ClickHouse was asked too.
        agencies: totals by agency, sorted.
    """

    until: datetime
    done: bool
    open: list[str]
    clickhouse: bool
    agencies: dict[str, AgencyTotals]


class Tally:
    """Counts what billing events tell.

    Attributes:
        periods_closed: of all agencies.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.periods_closed = 0
        self._agencies: dict[str, AgencyTotals] = {}
        self._subscriptions: set[tuple[str, str]] = set()

    def period_closed(self, event: Mapping[str, Any]) -> None:
        """Count a ``cycle.closed``."""
        self.periods_closed += 1
        totals = self._of(event)
        totals.periods_closed += 1
        subscription = event["account_id"], event["subscription_id"]
        if subscription not in self._subscriptions:
            self._subscriptions.add(subscription)
            totals.subscriptions += 1

    def wholesale_period_closed(self, event: Mapping[str, Any]) -> None:
        """Count an ``agency.cycle_closed``."""
        self.periods_closed += 1
        self._of(event).wholesale_periods_closed += 1

    def request_called_for(self, request: Mapping[str, Any]) -> None:
        """Count a payment request."""
        totals = self._of(request)
        amounts = totals.wholesale_amounts_micros
        if request["account_id"]:
            totals.requests += 1
            amounts = totals.amounts_micros
        currency = request["currency"]
        amounts[currency] = amounts.get(currency, 0) + request["total_micros"]

    def agencies(self) -> dict[str, AgencyTotals]:
        """Totals by agency, sorted."""
        return dict(sorted(self._agencies.items()))

    def _of(self, content: Mapping[str, Any]) -> AgencyTotals:
        return self._agencies.setdefault(content["agency_id"], AgencyTotals())
