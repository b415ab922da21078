"""From a plan to the terms that are frozen into a subscription."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from catalogue.model import MONEY, Agency, AgencyCap, Cap, NamedCap, Pack, Plan, Wholesale
from catalogue.spelling import interval, micros

VERSION_DIGITS = 16


def cap_of(cap: Cap | None) -> dict[str, Any] | None:
    """A cap as it stands in facts; money in micros."""
    if cap is None:
        return None
    return {
        "minutes": cap.minutes,
        "spend_micros": None if cap.spend is None else micros(cap.spend),
        "mode": cap.mode,
        "alerts_percent": list(cap.alerts_percent),
    }


def named_caps(caps: Mapping[str, NamedCap], agency: Agency | None = None) -> list[dict[str, Any]]:
    """Caps that have a name, as they stand in facts; limits in minutes or micros.

    Args:
        caps: by name.
        agency: whose accounts they are over; None for those of an account.
    """
    written = []
    for name, cap in caps.items():
        limit = getattr(cap, cap.on)
        fact = {
            "name": name,
            "on": cap.on,
            "limit": micros(limit) if isinstance(limit, Decimal) else limit,
            "per": cap.per,
            "mode": cap.mode,
            "alerts_percent": list(cap.alerts_percent),
        }
        if agency is not None and cap.on in MONEY:
            fact["currency"] = (cap.currency if isinstance(cap, AgencyCap) else None) or agency.currency
        written.append(fact)
    return written


def currency_of(sold: Plan | Pack, agency: Agency) -> str:
    """The currency of a plan or pack: its own, else its agency's."""
    return sold.currency or agency.currency


def terms_of(name: str, plan: Plan, agency: Agency) -> dict[str, Any]:
    """The terms of a plan, whole: nothing in them is looked up again later.

    ``plan_version`` is a hash of everything else in them, so plans that bill alike have the same one, whatever their
    description and spelling.
    """
    unit, count = interval(plan.every)
    terms = {
        "plan": name,
        "currency": currency_of(plan, agency),
        "interval": unit,
        "interval_count": count,
        "timezone": plan.timezone or agency.timezone,
        "price_micros": micros(plan.price),
        "included_minutes": plan.included_minutes,
        "overage": "blocked" if plan.overage is None else "billed",
        "overage_micros_per_minute": micros(plan.overage) if isinstance(plan.overage, Decimal) else None,
        "increments": plan.increments,
        "minimum_s": plan.minimum_s,
        "connection_fee_micros": micros(plan.connection_fee),
        "free_below_s": plan.free_below_s,
        "outcomes": plan.outcomes.model_dump(exclude_none=True),
        "packs": plan.packs if isinstance(plan.packs, bool) else list(plan.packs),
        "due_days": plan.due_days,
        "grace_days": plan.grace_days,
        "late_calls": plan.late_calls,
        "late_window_s": plan.late_window_s,
        "allowance_alerts_percent": list(plan.allowance_alerts_percent),
        "cap": cap_of(plan.cap),
        "trial_days": plan.trial_days,
        "trial_included_minutes": plan.trial_included_minutes,
        "cancel_credit": plan.cancel_credit,
        "max_call_s": plan.max_call_s,
        "unusual_usage": plan.unusual_usage,
        "forecast_alert": plan.forecast_alert,
        "rate_card": plan.rate_card,
    }
    content = json.dumps(terms, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    version = hashlib.sha256(content.encode()).hexdigest()[:VERSION_DIGITS]
    return {"plan": name, "plan_version": version, **terms}


def wholesale_terms_of(wholesale: Wholesale, agency: Agency) -> dict[str, Any]:
    """What the platform charges an agency, as it stands in facts."""
    unit, count = interval(wholesale.every)
    return {
        "currency": wholesale.currency or agency.currency,
        "rate_card": wholesale.rate_card,
        "rate_micros_per_minute": None if wholesale.rate is None else micros(wholesale.rate),
        "increments": wholesale.increments,
        "minimum_s": wholesale.minimum_s,
        "connection_fee_micros": micros(wholesale.connection_fee),
        "outcomes": wholesale.outcomes.model_dump(exclude_none=True),
        "cost_policy": wholesale.cost,
        "interval": unit,
        "interval_count": count,
        "timezone": wholesale.timezone or agency.timezone,
        "price_micros": micros(wholesale.price),
        "included_minutes": wholesale.included_minutes,
        "number_price_micros": micros(wholesale.number_price),
        "due_days": wholesale.due_days,
        "grace_days": wholesale.grace_days,
    }
