"""What the core knows of one account. Mutable, inside one partition's ledger; everything else is immutable facts.

`Account` is touched by every call and kept small. `History` changes only with rare facts: ids seen, payment requests,
subscriptions of the past. Both are written to the ledger as arrays: new fields go to the end, with a default.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from rating.terms import Cap, NamedCap

# Rates and fees of a period that are counted apart. A fact has 262,144 bytes, and a line of a request takes 250.
MOST_RATES = 300
MOST_FEES = 100
OTHERS = -1


class Adjustment(msgspec.Struct, array_like=True, gc=False):
    """Late calls of one closed period, to be asked for with the next usage request."""

    period_start: datetime
    calls: int
    billed_s: int
    amount_micros: int


class RateUsage(msgspec.Struct, array_like=True, gc=False):
    """Overage of a period at one rate."""

    overage_s: int = 0
    overage_micros: int = 0


class FeeUsage(msgspec.Struct, array_like=True, gc=False):
    """Connection fees of a period, of one amount each."""

    calls: int = 0
    fee_micros: int = 0


class ByRate(msgspec.Struct, array_like=True, gc=False):
    """Overage and fees of a period whose terms have a rate card, by rate and by fee.

    ``OTHERS`` stands for the rates or fees beyond as many as a payment request has room for.
    """

    rates: dict[int, RateUsage] = {}
    fees: dict[int, FeeUsage] = {}

    def count(self, rate: int, overage_s: int, overage_micros: int, fee: int) -> None:
        """Count a call."""
        if overage_s:
            at = self.rates.setdefault(
                rate if rate in self.rates or len(self.rates) < MOST_RATES else OTHERS, RateUsage()
            )
            at.overage_s += overage_s
            at.overage_micros += overage_micros
        if fee:
            of = self.fees.setdefault(fee if fee in self.fees or len(self.fees) < MOST_FEES else OTHERS, FeeUsage())
            of.calls += 1
            of.fee_micros += fee


class Period(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """One open period ``[start, end)`` with its own terms and counters (seconds and micros).

    ``alerts_fired`` counts the allowance levels fired (ascending, so a number says which); ``cap_levels_fired`` names
    the percent levels of the cap, ``caps_fired`` those of the caps that have a name. ``cost_micros`` and
    ``margin_micros`` are of the calls whose cost is known in the account's currency. ``by_rate`` is there where the
    terms have a rate card.
    """

    start: datetime
    end: datetime
    subscription_id: str
    terms_id: bytes
    included_s: int
    allowance_left_s: int
    calls: int = 0
    late_calls: int = 0
    billed_s: int = 0
    allowance_s: int = 0
    wallet_s: int = 0
    credit_micros: int = 0
    overage_s: int = 0
    written_off_s: int = 0
    overage_micros: int = 0
    fee_micros: int = 0
    alerts_fired: int = 0
    cap_levels_fired: list[int] = []
    cost_micros: int = 0
    margin_micros: int = 0
    caps_fired: dict[str, list[int]] | None = None
    by_rate: ByRate | None = None

    @property
    def usage_micros(self) -> int:
        """What the period's calls add up to: overage and connection fees."""
        return self.overage_micros + self.fee_micros


class ClosedPeriod(msgspec.Struct, array_like=True, gc=False):
    """The last closed period, for late calls that still draw on what its allowance had left."""

    subscription_id: str
    start: datetime
    end: datetime
    allowance_left_s: int


class Subscription(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """One account on one set of terms. ``ends_at`` is set once it is canceled; ``opened`` counts its periods so far."""

    subscription_id: str
    plan: str
    anchor: datetime
    terms_id: bytes
    opened: int = 0
    ends_at: datetime | None = None
    status: str = "active"


class Day(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """A local calendar day ``[start, end)``, as ticks tell it, and what was rated in it (seconds and micros)."""

    start: datetime
    end: datetime
    billed_s: int = 0
    usage_micros: int = 0
    cost_micros: int = 0
    margin_micros: int = 0
    caps_fired: dict[str, list[int]] = {}


class Caps(msgspec.Struct, array_like=True, kw_only=True):
    """The caps of an account that have a name.

    Attributes:
        caps: as they were set last.
        day: what was rated today; None where no cap is per day.
        rearmed: how often levels of a wallet fired anew: it keeps the ids of alerts apart.
    """

    caps: tuple[NamedCap, ...]
    day: Day | None = None
    rearmed: int = 0


class Account(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """The hot state of an account.

    Attributes:
        periods: open periods, oldest first; the last one is the newest.
        wallet_s: purchased seconds.
        credit_micros: prepaid money.
        reasons: why access is off, sorted; calls are allowed when empty.
        adjustments: late calls of closed periods, not yet asked for.
        next_due: unix microseconds at which a tick has something to do here; None for never.
        caps: those that have a name; None where there never were any.
    """

    account_id: str
    agency_id: str
    currency: str
    subscription: Subscription
    periods: list[Period] = []
    wallet_s: int = 0
    credit_micros: int = 0
    cap: Cap | None = None
    reasons: list[str] = []
    last_closed: ClosedPeriod | None = None
    adjustments: list[Adjustment] = []
    next_due: int | None = None
    caps: Caps | None = None

    @property
    def newest(self) -> Period | None:
        """The newest open period."""
        return self.periods[-1] if self.periods else None


class History(msgspec.Struct, array_like=True, kw_only=True):
    """The cold state of an account.

    Attributes:
        fact_ids: ids of the facts that were applied; a second one changes nothing.
        requests: payment requests by id: whole while they can still change, afterwards only their final status.
        subscriptions: ended ones, oldest first.
    """

    fact_ids: set[str] = set()
    requests: dict[str, dict[str, Any] | str] = {}
    subscriptions: list[Subscription] = []
