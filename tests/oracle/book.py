"""The book of one account: every subscription and every period it ever had, kept for good.

Nothing is forgotten when it is over: whether a call is late, or outside any subscription, is read off the history.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.oracle import named
from tests.oracle.anchored import boundary
from tests.oracle.rate_cards import card_in
from tests.oracle.wholesale import Wholesale

Terms = dict[str, Any]


@dataclass(eq=False)
class Rental:
    """A number that an account has, from its first day to the one it gives it back on."""

    number: str
    price: int
    since: datetime
    label: str | None
    until: datetime | None = None

    def held_at(self, moment: datetime) -> bool:
        return self.since <= moment and (self.until is None or moment < self.until)


@dataclass(eq=False)
class Whole:
    """A period before anybody split it or cut it short: what prices are for, and what numbers are settled by.

    `paid` has the rentals that were charged in advance; it is None once numbers are settled.
    """

    start: datetime
    end: datetime
    paid: list[Rental] | None = field(default_factory=list)

    def share(self, amount: int, since: datetime) -> int:
        """What falls on the time from `since` to the end, in whole seconds, rounded down."""
        left, all_of_it = (int((self.end - moment).total_seconds() // 1) for moment in (since, self.start))
        return amount * left // all_of_it if all_of_it else 0


@dataclass(eq=False)
class Period:
    """`[start, end)` of a subscription and what was drawn in it; `totals` sums its rated calls by field."""

    subscription: "Subscription"
    start: datetime
    end: datetime
    terms: Terms
    whole: Whole
    included_s: int
    paused: bool
    closed: bool = False
    totals: Counter[str] = field(default_factory=Counter)
    rated: list[dict[str, Any]] = field(default_factory=list)
    drawn_after_close_s: int = 0
    fired: set[tuple[str, int]] = field(default_factory=set)
    fired_of_caps: dict[str, list[int]] = field(default_factory=dict)
    by_rate: dict[int, Counter[str]] = field(default_factory=dict)
    by_fee: dict[int, Counter[str]] = field(default_factory=dict)

    @property
    def is_last_part(self) -> bool:
        return self.end == self.whole.end

    @property
    def allowance_left_s(self) -> int:
        return self.included_s - self.totals["allowance_s"] - self.drawn_after_close_s

    @property
    def closes_at(self) -> datetime:
        return self.end + timedelta(seconds=self.terms["late_window_s"])


@dataclass(eq=False)
class Subscription:
    """One account on one set of terms; `end` is None until a cancellation, or other terms, fix it.

    Periods begin at the boundaries from number `first` on, counted from `anchor`; a trial, and a part that was split
    off, come before those. `pending` are the terms from the next period on.
    """

    subscription_id: str
    start: datetime
    terms: Terms
    anchor: datetime
    first: int = 0
    status: str = "active"
    periods: list[Period] = field(default_factory=list)
    end: datetime | None = None
    pending: Terms | None = None

    @property
    def in_trial(self) -> bool:
        return len(self.periods) == 1 and self.periods[0].end == self.anchor and self.periods[0].start < self.anchor

    def boundary(self, n: int) -> datetime:
        terms = self.terms
        return boundary(self.anchor, terms["interval"], terms["interval_count"], terms["timezone"], n)

    def next_number(self) -> int:
        """Of the boundary that the next period begins at."""
        regular = [each for each in self.periods if each.start >= self.anchor and each.start == each.whole.start]
        return self.first + len(regular)

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
class Standing:
    """How a call stands rated, or stood before it was voided, in which period; and all else that it was."""

    rated: dict[str, Any]
    period: Period
    former: list[tuple[dict[str, Any], Period]] = field(default_factory=list)
    voided: bool = False
    corrected: bool = False


def is_owed(request: dict[str, Any]) -> bool:
    """Whether a payment request is still to be paid."""
    return request["status"] in ("pending", "overdue", "failed")


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
    agency_off: bool = False
    fact_ids: set[str] = field(default_factory=set)
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)
    # What ticks have told by now, also while one of them is being worked through.
    time: datetime | None = None
    shown: str | None = None
    adjustments: dict[datetime, dict[str, Any]] = field(default_factory=dict)
    last_closed: Period | None = None
    rentals: list[Rental] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    reasons: frozenset[str] = frozenset()
    standing: dict[str, Standing] = field(default_factory=dict)
    top_up: dict[str, Any] | None = None
    wholesale: Wholesale = field(default_factory=Wholesale)
    # How often it was topped up, by local calendar month.
    topped_up: Counter[tuple[int, int]] = field(default_factory=Counter)
    # Billed seconds by clock hour, as far back as hours are kept.
    hours: Counter[datetime] = field(default_factory=Counter)
    unusual: set[datetime] = field(default_factory=set)

    @property
    def subscription(self) -> Subscription:
        """The active subscription, or else the last one."""
        return self.subscriptions[-1]

    @property
    def debt(self) -> str | None:
        """What its unpaid cycles make of it: past_due, blocked, or nothing."""
        owed = [one for one in self.requests.values() if one["kind"] == "cycle" and is_owed(one)]
        late = [one for one in owed if one["overdue_at"]]
        if any(self.time is not None and one["grace_ends_at"] <= self.time for one in late):
            return "blocked"
        return "past_due" if late else None

    @property
    def status(self) -> str:
        """Of its subscription, as people see it."""
        own = self.subscription.status
        return own if own == "canceled" else self.debt or own

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
        card = card_in(period.terms)
        rates.extend(row["rate_micros_per_minute"] for row in (card.rows if card else ()) if row["pools"])
        return min((rate for rate in rates if rate > 0), default=0)

    def reasons_now(self) -> frozenset[str]:
        """Why the account's campaigns may not run, by what the book says at this moment."""
        reasons = {self.debt} if self.debt else set()
        if self.subscription.status in ("canceled", "paused"):
            reasons.add(self.subscription.status)
        period = self.newest_open()
        if period is not None:
            if self.agency_off:
                reasons.add("agency_cap_reached")
            if self.cap and self.cap["mode"] == "hard" and self.cap_reached_at(period, 100):
                reasons.add("cap_reached")
            if any(one["mode"] == "hard" and named.reached(self, one, period, 100) for one in self.caps):
                reasons.add("cap_reached")
            rate = self.lowest_rate(period)
            one_more = self.credit_micros > 0 and rate > 0 and (rate + 30) // 60 <= self.credit_micros
            if period.terms["overage"] == "blocked" and not (period.allowance_left_s or self.wallet_s or one_more):
                reasons.add("pools_empty")
        return frozenset(reasons)
