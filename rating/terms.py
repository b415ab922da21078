"""Terms: the plan as it stood when a subscription started, frozen into the subscription.

`Terms` is what stands in the fact, checked. `Tariff` is the same made ready for arithmetic, one object for all accounts
on the same terms.
"""

from __future__ import annotations

import hashlib
import re
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, cast

import msgspec
from msgspec import Meta

from rating.period import Interval, zone

if TYPE_CHECKING:
    from rating.cards import Card

LARGEST = 2**53
MAX_YEARS = 100
MAX_DAYS = 36_500

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Signed = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
# So many that their seconds are within bounds, too.
Minutes = Annotated[int, Meta(ge=0, le=LARGEST // 60)]
# Sums of amounts, and what is rounded up from one: an amount at its bound must still be asked for.
Sum = Annotated[int, Meta(ge=-(2**62), le=2**62)]
Percent = Annotated[int, Meta(ge=1, le=LARGEST)]
Days = Annotated[int, Meta(ge=0, le=MAX_DAYS)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z0-9]{3,10}\Z")]

CardId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]

INCREMENTS = re.compile(r"([1-9][0-9]{0,15})/([1-9][0-9]{0,15})")
# Outcomes billed where the terms do not say: an answered call and a voicemail.
BILLED_BY_DEFAULT = {"answered": True, "voicemail": True}
LONGEST = {"day": 36_525, "week": 5_217, "month": 12 * MAX_YEARS, "year": MAX_YEARS}
# Rows of a card made ready for a tariff and kept for the calls to come: more destinations than are called all the time.
MOST_PRICED = 10_000


def check_increments(increments: str) -> None:
    """Raise ValueError where these are no increments."""
    match = INCREMENTS.fullmatch(increments)
    if not match or max(map(int, match.groups())) > LARGEST:
        raise ValueError(f"increments must be first/next in seconds such as 60/6, not {increments[:40]!r}")


class Cap(msgspec.Struct, frozen=True):
    """A level of usage of one period that warns (soft) or turns access off (hard).

    Attributes:
        mode: ``hard`` turns access off at 100 %, ``soft`` only warns.
        minutes: billed minutes, or None for no limit on minutes.
        spend_micros: usage in micros of the account's currency, or None.
        alerts_percent: levels that fire an alert, in percent of the cap.
    """

    mode: Literal["hard", "soft"] = "hard"
    minutes: Minutes | None = None
    spend_micros: Count | None = None
    alerts_percent: tuple[Percent, ...] = (80, 100)

    def __post_init__(self) -> None:
        """Keep the levels ascending, each once."""
        msgspec.structs.force_setattr(self, "alerts_percent", tuple(sorted(set(self.alerts_percent))))


class NamedCap(msgspec.Struct, frozen=True, kw_only=True):
    """One of several caps: a level of one measure, in a period or in a day.

    Attributes:
        name: unique among the caps it is set with.
        on: what is measured. ``minutes``, ``spend`` and ``cost`` have a ceiling, ``margin`` and ``wallet`` a floor.
        limit: minutes for ``minutes`` and ``wallet``, else micros of the currency.
        per: ``period`` or local calendar ``day``.
        mode: ``hard`` turns access off at 100 %, ``soft`` only warns.
        alerts_percent: levels that fire an alert, in percent of the limit.
    """

    name: Id
    on: Literal["minutes", "spend", "cost", "margin", "wallet"]
    limit: Signed
    per: Literal["period", "day"] = "period"
    mode: Literal["hard", "soft"] = "hard"
    alerts_percent: tuple[Percent, ...] = (80, 100)

    def __post_init__(self) -> None:
        """Keep the levels ascending, each once; raise ValueError where the limit does not fit its measure."""
        if self.limit < 0 and self.on != "margin":
            raise ValueError("only a margin may have a limit below 0")
        if self.on in ("minutes", "wallet") and self.limit > LARGEST // 60:
            raise ValueError("limit: more minutes than their seconds may be")
        msgspec.structs.force_setattr(self, "alerts_percent", tuple(sorted(set(self.alerts_percent))))


MOST_CAPS = 32


def check_caps(caps: tuple[NamedCap, ...]) -> None:
    """Raise ValueError where there are too many, or two have one name."""
    if len(caps) > MOST_CAPS:
        raise ValueError(f"at most {MOST_CAPS} caps")
    if len({cap.name for cap in caps}) < len(caps):
        raise ValueError("two caps have the same name")


class TopUp(msgspec.Struct, frozen=True, kw_only=True):
    """A pack that is bought when the wallet, or the credit, falls below a level.

    Attributes:
        below_s: seconds of the wallet, or None where the credit is looked at.
        below_micros: micros of credit, or None.
        most_per_month: how often at most, in a calendar month.
    """

    pack: Id
    minutes: Minutes = 0
    credit_micros: Count = 0
    price_micros: Count
    currency: Currency
    below_s: Count | None = None
    below_micros: Count | None = None
    most_per_month: Annotated[int, Meta(ge=1, le=LARGEST)]

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where the pack would not fill what is low."""
        if (self.below_s is None) == (self.below_micros is None):
            raise ValueError("a top-up has below_s or below_micros, one of them")
        if not (self.minutes if self.below_micros is None else self.credit_micros):
            raise ValueError("a top-up's pack must have minutes for below_s, credit for below_micros")


class Outcomes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which outcomes are billed; None means by default. ``test`` is for test calls."""

    answered: bool | None = None
    voicemail: bool | None = None
    no_answer: bool | None = None
    busy: bool | None = None
    failed: bool | None = None
    canceled: bool | None = None
    test: bool | None = None


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a subscription, as in its ``subscription.started`` fact.

    Amounts in micros of ``currency``; times in seconds unless the name says otherwise.

    Attributes:
        increments: ``first/next``: seconds of the first increment and of each further one.
        rate_card: the card that prices calls; where no row of it matches, the terms' own rate does.
        overage: ``billed`` at the overage rate, or ``blocked``: written off, and access is off while pools are empty.
        packs: whether packs may be applied: all, none, or those named.
        late_window_s: how long after its end a period stays open for its own calls.
        trial_days: local days of a first period that costs nothing; 0 for none.
        trial_included_minutes: allowance of the trial; None for that of any period.
        cancel_credit: whether one who cancels now gets back what was paid for the rest of the period.
        max_call_s: a longer call is stuck: it is cut to that, marked and alerted.
        unusual_usage: whether an hour that bills far more than usual fires an alert.
        forecast_alert: whether an alert fires when a period will go beyond its pools.
    """

    plan: Id
    currency: Currency
    interval: Interval
    plan_version: str = ""
    interval_count: Annotated[int, Meta(ge=1, le=LARGEST)] = 1
    timezone: str = "UTC"
    price_micros: Count = 0
    included_minutes: Minutes = 0
    overage: Literal["billed", "blocked"] = "blocked"
    overage_micros_per_minute: Count | None = None
    increments: str = "1/1"
    minimum_s: Count = 0
    connection_fee_micros: Count = 0
    free_below_s: Count = 0
    outcomes: Outcomes = Outcomes()
    packs: bool | tuple[Id, ...] = True
    due_days: Days = 0
    grace_days: Days = 0
    late_calls: Literal["next_period", "adjust", "write_off"] = "next_period"
    late_window_s: Annotated[int, Meta(ge=0, le=MAX_YEARS * 366 * 86_400)] = 0
    allowance_alerts_percent: tuple[Percent, ...] = (80, 90, 100)
    cap: Cap | None = None
    trial_days: Days = 0
    trial_included_minutes: Minutes | None = None
    cancel_credit: Literal["none", "unused"] = "none"
    max_call_s: Annotated[int, Meta(ge=1, le=LARGEST)] | None = None
    unusual_usage: bool = False
    forecast_alert: bool = False
    rate_card: CardId | None = None

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where fields do not fit each other."""
        check_increments(self.increments)
        if self.overage == "billed" and self.overage_micros_per_minute is None and self.rate_card is None:
            raise ValueError("overage_micros_per_minute is required where overage is billed and there is no rate_card")
        if self.interval_count > LONGEST[self.interval]:
            raise ValueError(f"a period may last at most {MAX_YEARS} years")
        zone(self.timezone)

    @property
    def of_trial(self) -> Terms:
        """The terms of the trial that these begin with: nothing is asked for, and nothing billed beyond the pools."""
        minutes = self.trial_included_minutes
        included = self.included_minutes if minutes is None else minutes
        return msgspec.structs.replace(self, price_micros=0, included_minutes=included, overage="blocked")

    def keeps_time_of(self, other: Terms) -> bool:
        """Whether periods of both have the same length, by the same clock."""
        return (self.interval, self.interval_count, self.timezone) == (
            other.interval,
            other.interval_count,
            other.timezone,
        )


class WholesaleTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform charges an agency, as in ``wholesale.set``. Amounts in micros of ``currency``.

    Attributes:
        cost_policy: ``reported``: the cost reported with a call wins over the wholesale price, where there is one.
        anchor: where the agency's periods are counted from; None: from the fact's ``at``.
        price_micros: of a period, as are ``included_minutes``; ``number_price_micros`` of a number and period.
    """

    currency: Currency
    rate_card: CardId | None = None
    rate_micros_per_minute: Count | None = None
    increments: str = "1/1"
    minimum_s: Count = 0
    connection_fee_micros: Count = 0
    outcomes: Outcomes = Outcomes()
    cost_policy: Literal["card", "reported"] = "card"
    interval: Interval = "month"
    interval_count: Annotated[int, Meta(ge=1, le=LARGEST)] = 1
    timezone: str = "UTC"
    anchor: Annotated[datetime, Meta(tz=True)] | None = None
    price_micros: Count = 0
    included_minutes: Minutes = 0
    number_price_micros: Count = 0
    due_days: Days = 0
    grace_days: Days = 0

    def __post_init__(self) -> None:
        """Raise ValueError (a decoding error for msgspec) where fields do not fit each other."""
        check_increments(self.increments)
        if self.rate_micros_per_minute is None and self.rate_card is None:
            raise ValueError("rate_micros_per_minute is required where there is no rate_card")
        if self.interval_count > LONGEST[self.interval]:
            raise ValueError(f"a period may last at most {MAX_YEARS} years")
        zone(self.timezone)

    @property
    def of_a_call(self) -> Terms:
        """The same as terms by which a call is priced, without pools."""
        return Terms(
            plan="wholesale",
            currency=self.currency,
            interval=self.interval,
            overage="billed",
            overage_micros_per_minute=self.rate_micros_per_minute,
            increments=self.increments,
            minimum_s=self.minimum_s,
            connection_fee_micros=self.connection_fee_micros,
            outcomes=self.outcomes,
            rate_card=self.rate_card,
        )


class NotLoaded:
    """Stands for a card until it is loaded. Calls must not be priced before."""

    least_rate = 0

    def find(self, to_number: str | None, direction: str, tier: str | None) -> int | None:
        """Raise LookupError."""
        raise LookupError("the rate card was not loaded")


class Tariff:
    """Terms made ready for arithmetic: seconds instead of minutes, sets instead of policies.

    Where the terms have a rate card, `priced` gives a copy that has the price of the row for a call.

    Attributes:
        card: the terms' rate card, None for terms without one.
        prefix: of a copy, the prefix of its row; None for the terms' own rate.
        pools: of a copy, whether pools are drawn on.
        least_rate: the lowest rate above 0 that credit may be drawn at; 0 if there is none.
        terms_id: 16 bytes, the hash of the terms' content as it was first written to the ledger.
        included_s: allowance of a period, in seconds.
        rate: overage rate in micros per minute; 0 where there is none.
        blocked: overage is not billed but written off.
        has_rate: overage has a price, or is not billed.
        longest_s: a call of more seconds is cut to so many.
        watched: each call is looked at for unusual usage or the forecast.
        billed_outcomes: outcomes that are billed.
    """

    __slots__ = (
        "_priced",
        "billed_outcomes",
        "blocked",
        "card",
        "fee_micros",
        "first",
        "free_below_s",
        "has_rate",
        "included_s",
        "least_rate",
        "levels",
        "longest_s",
        "minimum_s",
        "next",
        "pools",
        "prefix",
        "rate",
        "terms",
        "terms_id",
        "test_billed",
        "watched",
    )

    def __init__(self, terms: Terms, terms_id: bytes | None = None, card: Card | None = None) -> None:
        self.terms = terms
        self.terms_id = terms_id or hashlib.blake2b(encode_terms(terms), digest_size=16).digest()
        first, following = terms.increments.split("/")
        self.first = int(first)
        self.next = int(following)
        self.minimum_s = terms.minimum_s
        self.free_below_s = terms.free_below_s
        self.fee_micros = terms.connection_fee_micros
        self.rate = terms.overage_micros_per_minute or 0
        self.blocked = terms.overage == "blocked"
        self.has_rate = self.blocked or terms.overage_micros_per_minute is not None
        self.longest_s = LARGEST if terms.max_call_s is None else terms.max_call_s
        self.watched = terms.unusual_usage or terms.forecast_alert
        self.included_s = terms.included_minutes * 60
        self.levels = tuple(sorted(set(terms.allowance_alerts_percent)))
        policy = dict(BILLED_BY_DEFAULT)
        said = msgspec.structs.asdict(terms.outcomes)
        self.test_billed = bool(said.pop("test"))
        policy.update({outcome: billed for outcome, billed in said.items() if billed is not None})
        self.billed_outcomes = frozenset(outcome for outcome, billed in policy.items() if billed)
        if card is None and terms.rate_card is not None:
            card = cast("Card", NotLoaded())
        self.card = card
        self.prefix: str | None = None
        self.pools = True
        rates = [rate for rate in (self.rate, card.least_rate if card else 0) if rate]
        self.least_rate = min(rates, default=0)
        self._priced: dict[int, Tariff] = {}

    def priced(self, to_number: str | None, direction: str, tier: str | None) -> Tariff:
        """The tariff for a call of terms with a card: with the price of its row, or itself where no row matches."""
        assert self.card is not None
        index = self.card.find(to_number, direction, tier)
        if index is None:
            return self
        priced = self._priced.get(index)
        if priced is None:
            if len(self._priced) >= MOST_PRICED:
                self._priced.clear()
            priced = self._priced[index] = self._at(index)
        return priced

    def _at(self, index: int) -> Tariff:
        assert self.card is not None
        row = self.card.rows[index]
        priced = copy(self)
        priced.prefix, priced.rate, priced.pools, priced.has_rate = (
            row.prefix,
            row.rate_micros_per_minute,
            row.pools,
            True,
        )
        if row.increments is not None:
            first, following = row.increments.split("/")
            priced.first, priced.next = int(first), int(following)
        if row.connection_fee_micros is not None:
            priced.fee_micros = row.connection_fee_micros
        return priced

    @property
    def price_of_a_minute(self) -> int | None:
        """The rate in micros per minute; None where there is none."""
        return self.rate if self.prefix is not None else self.terms.overage_micros_per_minute

    def allows_pack(self, pack: str) -> bool:
        """Whether a pack of this name may be applied under these terms."""
        packs = self.terms.packs
        return packs if isinstance(packs, bool) else pack in packs


encode_terms = msgspec.msgpack.Encoder().encode
decode_terms = msgspec.msgpack.Decoder(Terms).decode
