"""What the core knows of one account. Mutable, inside one partition's ledger; everything else is immutable facts.

`Account` is touched by every call and kept small. `History` changes only with rare facts: ids seen, payment requests,
subscriptions of the past. Both are written to the ledger as arrays: new fields go to the end, with a default.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from rating.facts import RequestLine
from rating.schedules import WholesaleVersion
from rating.terms import Cap, NamedCap, TopUp

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

    def take_back(self, rate: int | None, overage_s: int, overage_micros: int, fee: int) -> None:
        """Count a call no longer; what no call is left of is forgotten."""
        if overage_s:
            key = rate if rate is not None and rate in self.rates else OTHERS
            at = self.rates[key]
            at.overage_s -= overage_s
            at.overage_micros -= overage_micros
            if not at.overage_s:
                del self.rates[key]
        if fee:
            key = fee if fee in self.fees else OTHERS
            of = self.fees[key]
            of.calls -= 1
            of.fee_micros -= fee
            if not of.calls:
                del self.fees[key]


class Period(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """One open period ``[start, end)`` with its own terms and counters (seconds and micros).

    ``alerts_fired`` counts the allowance levels fired (ascending, so a number says which); ``cap_levels_fired`` names
    the percent levels of the cap, ``caps_fired`` those of the caps that have a name. ``cost_micros`` and
    ``margin_micros`` are of the calls whose cost is known in the account's currency. Of a period that was split,
    ``whole_from`` is where the whole of it began (None: at ``start``). ``paused``: it opened while the subscription
    was, so it has no price. ``numbers_settled``: what numbers cost in it is settled elsewhere, by a later part of it or
    by a cancellation. ``by_rate`` is there where the terms have a rate card.
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
    whole_from: datetime | None = None
    paused: bool = False
    numbers_settled: bool = False
    forecast_fired: bool = False
    by_rate: ByRate | None = None

    @property
    def usage_micros(self) -> int:
        """What the period's calls add up to: overage and connection fees."""
        return self.overage_micros + self.fee_micros


class WaitingLine(msgspec.Struct, array_like=True, gc=False):
    """A line for the account's next request: ``quantity * unit_price_micros``, of either sign."""

    line_id: str
    kind: str
    description: str
    quantity: int
    unit: str
    unit_price_micros: int
    period_start: datetime | None = None
    period_end: datetime | None = None

    @property
    def amount_micros(self) -> int:
        """What it adds to the request."""
        return self.quantity * self.unit_price_micros


class Rental(msgspec.Struct, array_like=True, gc=False):
    """A number that is rented, or was and is not settled yet.

    Attributes:
        price_micros: of a whole period.
        released_at: None while it is rented.
        charged: starts of the open periods that it was charged for in advance.
    """

    number: str
    price_micros: int
    rented_at: datetime
    label: str | None = None
    released_at: datetime | None = None
    charged: list[datetime] = []


class Wholesale(msgspec.Struct, array_like=True):
    """Wholesale terms of an agency: all versions, by when they come into force; ids of the facts that set them."""

    versions: list[WholesaleVersion] = []
    fact_ids: set[str] = set()


class ClosedPeriod(msgspec.Struct, array_like=True, gc=False):
    """The last closed period, for late calls that still draw on what its allowance had left."""

    subscription_id: str
    start: datetime
    end: datetime
    allowance_left_s: int


class Hour(msgspec.Struct, array_like=True, gc=False):
    """The newest clock hour of an account whose terms watch for unusual usage.

    Attributes:
        number: hours since 1970.
        billed_s: seconds billed in it so far.
        fired: its alert was given out.
        limit_s: beyond so many seconds it is unusual; None until that is worked out.
    """

    number: int
    billed_s: int = 0
    fired: bool = False
    limit_s: int | None = None


class Hours(msgspec.Struct, array_like=True):
    """The hours before the newest one, by number: seconds billed in each, and those whose alert was given out."""

    billed_s: dict[int, int] = {}
    fired: list[int] = []


class TopUps(msgspec.Struct, array_like=True, gc=False):
    """How an account is topped up, and how often it was in a month (12 times the year and the month, local)."""

    top_up: TopUp | None
    month: int = 0
    bought: int = 0


class Subscription(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """One account on one set of terms; a change of terms makes another one of the same id.

    Attributes:
        anchor: what its boundaries count from.
        opened: number of the next boundary that a period begins at; -1 where that is a trial, which ends at boundary 0.
        ends_at: set once it is canceled, or was changed.
        status: ``trialing``, ``active``, ``paused``, ``canceled``; ``changed`` of one that another one took over from.
        starts_at: where its first period began; None at the anchor.
        next_terms_id: the terms of the next period that opens, where they are others.
    """

    subscription_id: str
    plan: str
    anchor: datetime
    terms_id: bytes
    opened: int = 0
    ends_at: datetime | None = None
    status: str = "active"
    starts_at: datetime | None = None
    next_terms_id: bytes | None = None

    @property
    def start(self) -> datetime:
        """Where its first period began."""
        return self.starts_at or self.anchor

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.status != "canceled"


class Dunning(msgspec.Struct, array_like=True, gc=False):
    """What payment requests that are not paid do to an account.

    Attributes:
        status: ``past_due`` or ``blocked``; None: neither.
        due_at: when a tick next has something to do: a request falls due, or its grace ends; None for never.
        banner: what the account's people are told; None where there is nothing to say.
    """

    status: str | None = None
    due_at: datetime | None = None
    banner: str | None = None


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
        lines: for the next request, in the order they came.
        numbers: how many numbers are rented.
        rentals: how many the history knows: with those that are released and not settled.
        top_ups: packs that are bought by themselves; None where there never were any.
        hour: the newest clock hour, where the terms watch for unusual usage.
        wallet_told_s: what the agency's total was told of the wallet.
        dunning: what is not paid; None where nothing is to be paid.
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
    lines: list[WaitingLine] = []
    numbers: int = 0
    rentals: int = 0
    hour: Hour | None = None
    top_ups: TopUps | None = None
    wallet_told_s: int = 0
    dunning: Dunning | None = None

    @property
    def status(self) -> str:
        """The status of its subscription, as it is shown: what is not paid goes before anything but its end."""
        own, dunning = self.subscription.status, self.dunning
        return own if dunning is None or dunning.status is None or own == "canceled" else dunning.status

    @property
    def newest(self) -> Period | None:
        """The newest open period."""
        return self.periods[-1] if self.periods else None


class Correction(msgspec.Struct, array_like=True, gc=False):
    """A call that was corrected: rated calls as they stand in the topic, as JSON.

    Attributes:
        latest: its rating, the last one before it was voided.
        former: other ratings that it had, the last one last.
        voided: nothing of it stands.
    """

    latest: bytes
    former: list[bytes] = []
    voided: bool = False


class Change(msgspec.Struct):
    """A payment request got another status: when, by whom, and what they said of it."""

    status: str
    at: datetime
    actor: str | None = None
    reference: str | None = None
    note: str | None = None


class Request(msgspec.Struct, kw_only=True):
    """A payment request, or a document that corrects one, as it stands; the record of ``payment-requests``.

    Attributes:
        number: None until it has one.
        actor: of the latest change, as ``reference`` and ``note``.
        overdue_at: the tick that found it due and not paid.
        tax_included: the tax is in the total, not on top of it.
        credited_micros: what credit notes take away from it.
        left_micros: what is still to be paid.
        paid_micros: what was paid; negative of a refund.
        corrects: of a credit note, refund or dispute, which request.
        changes: of its status, oldest first.
        disputed_micros: of a dispute, what the payer's bank wants back.
    """

    payment_request_id: str
    kind: str
    currency: str
    lines: list[RequestLine]
    subtotal_micros: int
    rounding_micros: int
    tax_micros: int
    total_micros: int
    due_at: datetime
    grace_ends_at: datetime
    subscription_id: str | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    gateway: str = "manual"
    external_id: str | None = None
    account_id: str
    agency_id: str
    status: str = "pending"
    reference: str | None = None
    note: str | None = None
    created_at: datetime
    updated_at: datetime
    paid_at: datetime | None = None
    number: str | None = None
    actor: str | None = None
    overdue_at: datetime | None = None
    tax_included: bool = False
    credited_micros: int = 0
    left_micros: int = 0
    paid_micros: int = 0
    corrects: str | None = None
    changes: list[Change] = []
    disputed_micros: int = 0


class Settled(msgspec.Struct, array_like=True):
    """What is kept of a payment request that changes no more: as much as a refund of it needs."""

    status: str
    kind: str
    paid_micros: int
    subscription_id: str | None
    gateway: str

    @classmethod
    def of(cls, request: Request) -> Settled:
        """What is kept of a request."""
        return cls(request.status, request.kind, request.paid_micros, request.subscription_id, request.gateway)


class History(msgspec.Struct, array_like=True, kw_only=True):
    """The cold state of an account.

    Attributes:
        fact_ids: ids of the facts that were applied; a second one changes nothing.
        requests: payment requests by id that can still change (of those that an older Callmeter settled, the status).
        subscriptions: ended ones, oldest first.
        rentals: numbers that are rented, or released and not settled yet, in the order they were rented.
        corrections: calls that were corrected, by their ids.
        settled: payment requests by id that change no more.
        refunded: micros given back of payment requests, by their ids.
    """

    fact_ids: set[str] = set()
    requests: dict[str, Request | str] = {}
    subscriptions: list[Subscription] = []
    rentals: list[Rental] = []
    corrections: dict[str, Correction] = {}
    settled: dict[str, Settled] = {}
    refunded: dict[str, int] = {}

    def request(self, request_id: str) -> Request | Settled | str | None:
        """What is known of a payment request; None if there is none of this id."""
        return self.requests.get(request_id) or self.settled.get(request_id)
