"""Agencies, plans, packs and accounts, as they are written in a catalogue file and kept in the topic.

The same models read both: JSON of the topic spells values as the YAML does. Money is an exact decimal in units of its
currency here and becomes micros only in facts.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from catalogue.kinds import (
    Amount,
    CancelCredit,
    CapMode,
    CapName,
    CapPer,
    CardId,
    Cost,
    Country,
    Currency,
    Days,
    Email,
    Every,
    Flag,
    Increments,
    LateCalls,
    Longest,
    Minutes,
    Packs,
    Percents,
    PerMinute,
    Rate,
    Seconds,
    SignedAmount,
    TaxCode,
    TaxId,
    Text,
    Timezone,
    Window,
)
from catalogue.spelling import BY_CARD
from rating.terms import MOST_CAPS

ZERO = Decimal(0)
MEASURES = ("minutes", "spend", "cost", "margin", "wallet")
MONEY = ("spend", "cost", "margin")
AnyCap = TypeVar("AnyCap", bound="NamedCap")


class Model(BaseModel):
    """Closed and immutable: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class NamedCap(Model):
    """A level of one measure in a period or a local day: at 100 % a hard cap turns access off, a soft one only warns.

    Minutes, spend and cost have a ceiling; margin and wallet a floor, which is reached at it or below.

    Attributes:
        minutes: billed minutes.
        spend: usage in units of the currency, as are ``cost`` and ``margin``.
        wallet: minutes.
    """

    minutes: Minutes | None = None
    spend: Amount | None = None
    cost: Amount | None = None
    margin: SignedAmount | None = None
    wallet: Minutes | None = None
    per: CapPer = "period"
    mode: CapMode = "hard"
    alerts_percent: Percents = (80, 100)

    @model_validator(mode="after")
    def _limits_one_thing(self) -> Self:
        if sum(getattr(self, name) is not None for name in MEASURES) != 1:
            raise ValueError(f"must have {', '.join(MEASURES[:-1])} or {MEASURES[-1]}, one of them")
        return self

    @property
    def on(self) -> str:
        """What it limits, one of `MEASURES`."""
        return next(name for name in MEASURES if getattr(self, name) is not None)


class AgencyCap(NamedCap):
    """A cap of all accounts of an agency together; ``currency`` says whose money, where it is not the agency's."""

    currency: Currency | None = None

    @model_validator(mode="after")
    def _has_a_currency_of_money_only(self) -> Self:
        if self.currency is not None and self.on not in MONEY:
            raise ValueError(f"must have no currency: that is for {', '.join(MONEY)}")
        return self


def _not_too_many(caps: dict[str, AnyCap]) -> dict[str, AnyCap]:
    if len(caps) > MOST_CAPS:
        raise ValueError(f"must be at most {MOST_CAPS} caps")
    return caps


NamedCaps = Annotated[dict[CapName, NamedCap], AfterValidator(_not_too_many)]
AgencyCaps = Annotated[dict[CapName, AgencyCap], AfterValidator(_not_too_many)]


class Outcomes(Model):
    """Which outcomes are billed; None means by default (answered and voicemail are). ``test`` is for test calls."""

    answered: Flag | None = None
    voicemail: Flag | None = None
    no_answer: Flag | None = None
    busy: Flag | None = None
    failed: Flag | None = None
    canceled: Flag | None = None
    test: Flag | None = None


class Wholesale(Model):
    """What the platform charges an agency: its calls, and for each of its periods a price and numbers.

    Attributes:
        rate: per minute; where there is a rate card, for what no row of it matches.
        cost: ``reported``: the cost reported with a call wins.
        price: asked for at the start of each period, as ``every`` lays them; it includes ``included_minutes``.
        number_price: of a number that an account rents, a period.
    """

    currency: Currency | None = None
    timezone: Timezone | None = None
    rate: PerMinute | None = None
    rate_card: CardId | None = None
    increments: Increments = "1/1"
    minimum_s: Seconds = 0
    connection_fee: Amount = ZERO
    outcomes: Outcomes = Outcomes()
    cost: Cost = "card"
    every: Every = "1 month"
    price: Amount = ZERO
    included_minutes: Minutes = 0
    number_price: Amount = ZERO
    due_days: Days = 0
    grace_days: Days = 0

    @model_validator(mode="after")
    def _has_rates(self) -> Self:
        if self.rate is None and self.rate_card is None:
            raise ValueError("must have rate or rate_card (or both)")
        return self


class Agency(Model):
    """A tenant. Its time zone and currency are those of its plans, unless a plan says otherwise.

    ``packs`` are those that its accounts may buy: all, none, or those named. ``caps`` are by name, over all its
    accounts together; None says nothing of them. ``wholesale`` is what the platform charges it; None says nothing.
    """

    name: Text
    currency: Currency
    timezone: Timezone = "UTC"
    packs: Packs = True
    caps: AgencyCaps | None = None
    wholesale: Wholesale | None = None


class Cap(Model):
    """A level of usage of one period: at 100 % a hard cap turns access off, a soft one only warns.

    Attributes:
        minutes: billed minutes of a period, or None.
        spend: usage of a period in units of the currency, or None.
    """

    minutes: Minutes | None = None
    spend: Amount | None = None
    mode: CapMode = "hard"
    alerts_percent: Percents = (80, 100)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.minutes is None and self.spend is None:
            raise ValueError("must have minutes or spend (or both)")
        return self


class Plan(Model):
    """What an account is sold. ``every`` is in its one spelling (`spelling.every`); ``overage`` None means blocked.

    Attributes:
        price: asked for at the start of each period.
        overage: rate per minute beyond allowance, wallet and credit; ``by card``: only the rate card has rates.
        rate_card: id of the card that prices calls; where no row of it matches, ``overage`` does.
        packs: whether packs may be applied: all, none, or those named.
        late_window_s: seconds that a period stays open for its own calls after its end.
        trial_days: days of a first period that costs nothing.
        trial_included_minutes: allowance of the trial; None for the plan's.
        cancel_credit: whether one who cancels now is credited the unused part of the price.
        number_price: of a rented number a period, where the command names no other; None for no price.
        max_call_s: a longer call is stuck, and cut to that.
        unusual_usage: whether an hour that bills far more than usual raises an alert.
        forecast_alert: whether an alert is raised when a period will go beyond its pools.
        tax_code: what is sold, for the tax that Stripe reckons; None for the agency's default. No part of the terms.
    """

    agency: Text
    description: Text | None = None
    currency: Currency | None = None
    timezone: Timezone | None = None
    price: Amount = ZERO
    every: Every
    included_minutes: Minutes = 0
    overage: Rate = None
    increments: Increments = "1/1"
    minimum_s: Seconds = 0
    connection_fee: Amount = ZERO
    free_below_s: Seconds = 0
    outcomes: Outcomes = Outcomes()
    packs: Packs = True
    due_days: Days = 0
    grace_days: Days = 0
    late_calls: LateCalls = "next_period"
    late_window_s: Window = 0
    allowance_alerts_percent: Percents = (80, 90, 100)
    cap: Cap | None = None
    trial_days: Days = 0
    trial_included_minutes: Minutes | None = None
    cancel_credit: CancelCredit = "none"
    number_price: Amount | None = None
    max_call_s: Longest | None = None
    unusual_usage: Flag = False
    forecast_alert: Flag = False
    rate_card: CardId | None = None
    tax_code: TaxCode | None = None

    @model_validator(mode="after")
    def _has_rates(self) -> Self:
        if self.overage == BY_CARD and self.rate_card is None:
            raise ValueError(f"overage: {BY_CARD} needs a rate_card")
        return self


class Pack(Model):
    """A one-time block of minutes for the wallet, or of credit, at a price."""

    agency: Text
    description: Text | None = None
    currency: Currency | None = None
    minutes: Minutes = 0
    credit: Amount = ZERO
    price: Amount

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not self.minutes and not self.credit:
            raise ValueError("must have minutes or credit (or both)")
        return self


class Account(Model):
    """An agency's client, with what an invoice needs to know of it.

    ``packs`` None: those of its agency. ``caps`` are by name, beside the one of its plan; None says nothing of them.
    ``province`` is that of the country, such as NY or ON; ``tax_id`` has its kind in front: ``eu_vat:DE123456789``.
    """

    agency: Text
    name: Text
    email: Email | None = None
    country: Country | None = None
    postal_code: Text | None = None
    province: Text | None = None
    tax_id: TaxId | None = None
    packs: Packs | None = None
    caps: NamedCaps | None = None


class Assignment(Model):
    """The plan on offer to an account: what `assign` shows to the client and `start` starts."""

    agency: Text
    plan: Text


class GatewayLink(Model):
    """Which gateway asks an agency's accounts for money, with that gateway's own options. No secrets are in it."""

    agency: Text
    gateway: Text
    options: dict[str, Text] = {}


Body = Agency | Plan | Pack | Account | Assignment | GatewayLink
