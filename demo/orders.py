"""The facts beside calls: what accounts buy and rent, and what agencies and the platform decide. As plain dicts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from catalogue.card_file import read_card
from catalogue.terms import terms_of
from demo.market import (
    CARD_CURRENCY,
    RETAIL_CARD,
    WHOLESALE_CARD,
    Tenant,
    book,
    micros,
    month_start,
    plan_of,
    text,
    wholesale_terms,
)
from rating.cards import Card

Fact = dict[str, Any]


def cards() -> list[Card]:
    """The demo's rate cards: retail, wholesale."""
    return [read_card(file, currency=CARD_CURRENCY).card for file in (RETAIL_CARD, WHOLESALE_CARD)]


def wholesale_set(agency_id: str, card_id: str) -> Fact:
    """What the platform charges an agency from the month's start on; for every partition."""
    terms = wholesale_terms(agency_id, card_id)
    at = text(month_start(terms["timezone"]))
    fact_id = f"wholesale-{agency_id}"
    return {"type": "wholesale.set", "fact_id": fact_id, "agency_id": agency_id, "at": at, "terms": terms}


def subscription_started(tenant: Tenant) -> Fact:
    """An account is put on its plan."""
    return {
        **_head("subscription.started", f"start-{tenant.account_id}", tenant, month_start(tenant.timezone)),
        "subscription_id": f"sub-{tenant.account_id}",
        "terms": _terms(tenant.plan, tenant.agency_id),
    }


def plan_changed(tenant: Tenant, plan: str, at: datetime) -> Fact:
    """An account goes on with another plan, at once."""
    return {
        **_head("subscription.changed", f"change-{tenant.account_id}", tenant, at),
        "subscription_id": f"sub-{tenant.account_id}",
        "when": "now",
        "terms": _terms(plan, tenant.agency_id),
    }


def pack_applied(tenant: Tenant, pack: str, at: datetime) -> Fact:
    """A pack is sold to an account."""
    return {**_head("pack.applied", f"{pack}-{tenant.account_id}", tenant, at), **_pack(tenant, pack)}


def top_up_set(tenant: Tenant, pack: str, below_s: int, most_per_month: int) -> Fact:
    """An account buys a pack by itself whenever its wallet runs low."""
    head = _head("top_up.set", f"top-up-{tenant.account_id}", tenant, month_start(tenant.timezone))
    return {**head, "top_up": {**_pack(tenant, pack), "below_s": below_s, "most_per_month": most_per_month}}


def number_rented(tenant: Tenant, label: str | None, at: datetime) -> Fact:
    """An account rents its number, at the price of its plan."""
    return {
        **_head("number.rented", f"rent-{tenant.account_id}", tenant, at),
        "number": tenant.number,
        "price_micros": number_price(tenant),
        "currency": book().agency(tenant.agency_id).currency,
        "label": label,
    }


def number_released(tenant: Tenant, at: datetime) -> Fact:
    """An account gives its number back."""
    return {**_head("number.released", f"release-{tenant.account_id}", tenant, at), "number": tenant.number}


def number_price(tenant: Tenant) -> int:
    """What a number costs an account in a whole period, in micros."""
    return micros(plan_of(tenant).number_price or "0")


def period_paid(tenant: Tenant, at: datetime, reference: str) -> Fact:
    """An account has paid for the period that began in the month, as its bank tells."""
    request_id = f"sub-{tenant.account_id}:{month_start(tenant.timezone):%Y%m%dT%H%M%SZ}:cycle"
    return {
        **_head("payment_request.settled", f"{request_id}:paid", tenant, at),
        "payment_request_id": request_id,
        "status": "paid",
        "actor": "bank",
        "reference": reference,
    }


def agency_caps_set(agency_id: str, fact_id: str, limits: dict[str, tuple[int, str, list[int]]], at: datetime) -> Fact:
    """An agency limits the minutes that all its accounts use together in a period.

    Args:
        agency_id: the agency.
        fact_id: the fact's id.
        limits: by name: minutes, soft or hard, levels of alerts in percent.
        at: when.
    """
    caps = [
        {"name": name, "on": "minutes", "limit": limit, "per": "period", "mode": mode, "alerts_percent": levels}
        for name, (limit, mode, levels) in limits.items()
    ]
    return {"type": "agency.caps_set", "fact_id": fact_id, "agency_id": agency_id, "at": text(at), "caps": caps}


def call_voided(call: Fact, at: datetime) -> Fact:
    """A call should not have been billed."""
    named = {name: call[name] for name in ("account_id", "agency_id", "call_id")}
    fact_id = f"void-{call['call_id']}"
    return {"type": "call.voided", "fact_id": fact_id, **named, "at": text(at), "reason": "test of the platform"}


def call_corrected(call: Fact, ended_at: datetime, cost_micros: int | None, at: datetime) -> Fact:
    """A call has ended earlier than was reported."""
    rest = {name: value for name, value in call.items() if name not in ("type", "call_id")}
    head = {"type": "call.corrected", "fact_id": f"correct-{call['call_id']}", "corrects": call["call_id"]}
    return {**rest, **head, "at": text(at), "ended_at": text(ended_at), "cost_micros": cost_micros}


def _head(kind: str, fact_id: str, tenant: Tenant, at: datetime) -> Fact:
    named = {"account_id": tenant.account_id, "agency_id": tenant.agency_id}
    return {"type": kind, "fact_id": fact_id, **named, "at": text(at)}


def _terms(plan: str, agency_id: str) -> Fact:
    name, found = book().plan(plan, agency_id)
    return terms_of(name, found, book().agency(agency_id))


def _pack(tenant: Tenant, pack: str) -> Fact:
    name, found = book().pack(pack, tenant.agency_id)
    currency = book().agency(tenant.agency_id).currency
    price = micros(found.price)
    return {"pack": name, "minutes": found.minutes, "credit_micros": 0, "price_micros": price, "currency": currency}
