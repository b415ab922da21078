"""What the second fold knows of one agency: totals of its open periods and days, its caps, whether they turn it off.

Written to the agency ledger as arrays: new fields go to the end, with a default.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from rating.account import Request, Settled, WaitingLine
from rating.agency_facts import LARGEST_SUM, AgencyCap, Delta, WholesaleSums
from rating.schedules import WholesaleVersion
from rating.terms import WholesaleTerms


class Totals(msgspec.Struct, array_like=True, kw_only=True):
    """Rated calls summed up in one currency (seconds and micros); cost and margin of calls whose cost is known in it.

    ``late_calls`` are those among them whose own period was closed.
    """

    calls: int = 0
    late_calls: int = 0
    billed_s: int = 0
    amount_micros: int = 0
    cost_micros: int = 0
    margin_micros: int = 0

    def add(self, delta: Delta, late: bool = False) -> None:
        """Add what a transaction says."""
        self.calls += delta.calls
        if late:
            self.late_calls += delta.calls
        self.billed_s = min(self.billed_s + delta.billed_s, LARGEST_SUM)
        self.amount_micros = min(self.amount_micros + delta.amount_micros, LARGEST_SUM)
        self.cost_micros = min(self.cost_micros + delta.cost_micros, LARGEST_SUM)
        self.margin_micros = max(min(self.margin_micros + delta.margin_micros, LARGEST_SUM), -LARGEST_SUM)


class Span(msgspec.Struct, array_like=True, kw_only=True):
    """A period or a day of an agency ``[start, end)``: totals by currency, levels fired by the names of caps.

    Attributes:
        terms: of a period, the wholesale terms that it is billed by; None where the platform asks for nothing.
        included_s: seconds that its price includes.
        whole_days: local calendar days of the whole period, where this is a part of one.
        wholesale: what the calls in it cost the agency.
    """

    start: datetime
    end: datetime
    totals: dict[str, Totals] = {}
    caps_fired: dict[str, list[int]] = {}
    terms: WholesaleTerms | None = None
    included_s: int = 0
    whole_days: int = 1
    wholesale: WholesaleSums | None = None

    def of(self, currency: str) -> Totals:
        """The totals of a currency, to be added to."""
        return self.totals.setdefault(currency, Totals())


class Agency(msgspec.Struct, array_like=True, kw_only=True):
    """State of one agency.

    Attributes:
        periods: open ones, oldest first; the last one is the newest.
        days: the day of the clock, and those that some source partition is ahead to, oldest first.
        closed_until: end of the last closed period.
        wallet_s: purchased seconds of all its accounts.
        off: a hard cap is reached: its accounts were told to be off.
        accesses: how often they were told.
        rearmed: how often levels of a wallet fired anew.
        fact_ids: of the facts that people wrote.
        next_due: unix microseconds at which the clock has something to do here.
        numbers: the last number given to a payment request, by year.
    """

    agency_id: str
    periods: list[Span] = []
    days: list[Span] = []
    closed_until: datetime | None = None
    wallet_s: int = 0
    caps: tuple[AgencyCap, ...] = ()
    off: bool = False
    accesses: int = 0
    rearmed: int = 0
    fact_ids: set[str] = set()
    next_due: int | None = None
    numbers: dict[str, int] = {}

    @property
    def newest(self) -> Span | None:
        """The newest open period."""
        return self.periods[-1] if self.periods else None


class Rental(msgspec.Struct, array_like=True):
    """A number that an account of an agency has, or had and the agency has not been asked for all of it."""

    rented_at: datetime
    released_at: datetime | None = None


class AgencyHistory(msgspec.Struct, array_like=True, kw_only=True):
    """The cold state of an agency: what is between it and the platform.

    Attributes:
        versions: its wholesale terms, ascending by ``at``; ``fact_ids`` of the facts that set them, and of those of
            its requests.
        lines: lines that wait for its next payment request.
        requests: its payment requests by id that can still change (of those that an older Callmeter settled, the
            status).
        settled: those that change no more, and documents that correct one.
        refunded: micros given back of payment requests, by their ids.
        numbers: the last number given to one of these, by year.
    """

    versions: list[WholesaleVersion] = []
    fact_ids: set[str] = set()
    lines: list[WaitingLine] = []
    requests: dict[str, Request | str] = {}
    settled: dict[str, Settled] = {}
    refunded: dict[str, int] = {}
    numbers: dict[str, int] = {}

    def request(self, request_id: str) -> Request | Settled | str | None:
        """What is known of a payment request; None if there is none of this id."""
        return self.requests.get(request_id) or self.settled.get(request_id)
