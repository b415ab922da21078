"""The book of one account: every subscription and every period it ever had, kept for good.

Nothing is forgotten when it is over: whether a call is late, or outside any subscription, is read off the history.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.oracle import named
from tests.oracle.anchored import boundary
from tests.oracle.rate_cards import RateCard

Terms = dict[str, Any]


@dataclass(eq=False)
class Period:
    """`[start, end)` of a subscription and what was drawn in it; `totals` sums its rated calls by field."""

    subscription: "Subscription"
    start: datetime
    end: datetime
    closed: bool = False
    totals: Counter[str] = field(default_factory=Counter)
    rated: list[dict[str, Any]] = field(default_factory=list)
    drawn_after_close_s: int = 0
    fired: set[tuple[str, int]] = field(default_factory=set)
    fired_of_caps: dict[str, list[int]] = field(default_factory=dict)
    by_rate: dict[int, Counter[str]] = field(default_factory=dict)
    by_fee: dict[int, Counter[str]] = field(default_factory=dict)

    @property
    def terms(self) -> Terms:
        return self.subscription.terms

    @property
    def included_s(self) -> int:
        return int(self.terms["included_minutes"]) * 60

    @property
    def allowance_left_s(self) -> int:
        return self.included_s - self.totals["allowance_s"] - self.drawn_after_close_s

    @property
    def closes_at(self) -> datetime:
        return self.end + timedelta(seconds=self.terms["late_window_s"])


@dataclass(eq=False)
class Subscription:
    """One account on one set of terms; `end` is None until a cancellation fixes it."""

    subscription_id: str
    start: datetime
    terms: Terms
    card: RateCard | None = None
    periods: list[Period] = field(default_factory=list)
    end: datetime | None = None
    status: str = "active"

    def next_period(self) -> Period:
        terms = self.terms
        n = len(self.periods)
        start, end = (
            boundary(self.start, terms["interval"], terms["interval_count"], terms["timezone"], i) for i in (n, n + 1)
        )
        self.periods.append(Period(self, start, end))
        return self.periods[-1]

    def contains(self, moment: datetime) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)


@dataclass(eq=False)
class Today:
    """A local calendar day and the rated calls that came in it; kept only for accounts with a cap per day."""

    start: datetime
    end: datetime
    rated: list[dict[str, Any]] = field(default_factory=list)
    fired_of_caps: dict[str, list[int]] = field(default_factory=dict)


@dataclass(eq=False)
class Account:
    """`adjustments` wait for the next period to close, summed by the period they correct."""

    account_id: str
    agency_id: str
    currency: str
    subscriptions: list[Subscription] = field(default_factory=list)
    wallet_s: int = 0
    credit_micros: int = 0
    cap: dict[str, Any] | None = None
    caps: list[dict[str, Any]] = field(default_factory=list)
    today: Today | None = None
    rearmed: int = 0
    fact_ids: set[str] = field(default_factory=set)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    adjustments: dict[datetime, dict[str, Any]] = field(default_factory=dict)
    last_closed: Period | None = None
    reasons: frozenset[str] = frozenset()

    @property
    def subscription(self) -> Subscription:
        """The active subscription, or else the last one."""
        return self.subscriptions[-1]

    def open_periods(self) -> list[Period]:
        """Oldest first."""
        return [period for subscription in self.subscriptions for period in subscription.periods if not period.closed]

    def newest_open(self) -> Period | None:
        periods = self.open_periods()
        return periods[-1] if periods else None

    def subscription_at(self, moment: datetime) -> Subscription | None:
        return next((each for each in self.subscriptions if each.contains(moment)), None)

    def cap_reached_at(self, period: Period, percent: int) -> tuple[int, int] | None:
        """(used, limit) in seconds or micros where `percent` of the cap is used up in the period, else None."""
        cap = self.cap or {"minutes": None, "spend_micros": None}
        measures = [
            (period.totals["billed_s"], cap["minutes"], 60),
            (period.totals["amount_micros"], cap["spend_micros"], 1),
        ]
        for used, limit, unit in measures:
            if limit is not None and used * 100 >= percent * limit * unit:
                return used, limit * unit
        return None

    def lowest_rate(self, period: Period) -> int:
        """The least that a minute can cost that credit may be drawn for; 0 if there is none."""
        rates = [period.terms["overage_micros_per_minute"] or 0]
        card = period.subscription.card
        rates.extend(row["rate_micros_per_minute"] for row in (card.rows if card else ()) if row["pools"])
        return min((rate for rate in rates if rate > 0), default=0)

    def reasons_now(self) -> frozenset[str]:
        """Why the account's campaigns may not run, by what the book says at this moment."""
        reasons = set()
        if self.subscription.status == "canceled":
            reasons.add("canceled")
        period = self.newest_open()
        if period is not None:
            if self.cap and self.cap["mode"] == "hard" and self.cap_reached_at(period, 100):
                reasons.add("cap_reached")
            if any(one["mode"] == "hard" and named.reached(self, one, period, 100) for one in self.caps):
                reasons.add("cap_reached")
            rate = self.lowest_rate(period)
            one_more = self.credit_micros > 0 and rate > 0 and (rate + 30) // 60 <= self.credit_micros
            if period.terms["overage"] == "blocked" and not (period.allowance_left_s or self.wallet_s or one_more):
                reasons.add("pools_empty")
        return frozenset(reasons)
