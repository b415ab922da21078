"""Reading one line of the log: what a fact must look like, written down as tables.

A fact comes out as a plain dict with every field of its table, defaults filled in and times as aware datetimes.
Anything else is `Refused` with the reason of its dead letter. Unknown fields are dropped.
"""

import json
from typing import Any

from tests.oracle.checks import (
    MAX_INTEGER,
    Fact,
    Table,
    card_id,
    currency,
    date,
    expect,
    identifier,
    increments,
    instant,
    list_of,
    long_identifier,
    natural,
    one_of,
    optional,
    packs,
    positive,
    required,
    table,
    text,
    time,
    total,
    truth,
    up_to,
    whole,
    zone,
)

MAX_BYTES = 262_144
DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
LONGEST_DAYS = 36_525


class Refused(Exception):
    """The line becomes a dead letter."""

    def __init__(self, reason: str, account: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.account = account


OUTCOMES = ("answered", "voicemail", "no_answer", "busy", "failed", "canceled")
BILLED_BY_DEFAULT = {"answered": True, "voicemail": True}


def outcomes(value: Any) -> dict[str, bool]:
    expect(isinstance(value, dict))
    expect(set(value) <= {*OUTCOMES, "test"})
    return {outcome: truth(billed) for outcome, billed in value.items()}


def description(value: Any) -> str:
    expect(len(text(value)) <= 512)
    return str(value)


def some_description(value: Any) -> str:
    expect(description(value) != "")
    return str(value)


def label(value: Any) -> str:
    expect(len(text(value).encode()) <= 128)
    return str(value)


cap = table(
    {
        "minutes": optional(up_to(MAX_INTEGER // 60)),
        "spend_micros": optional(natural),
        "mode": required(one_of("hard", "soft")),
        "alerts_percent": required(list_of(positive)),
    }
)
_NAMED_CAP: Table = {
    "name": required(identifier),
    "on": required(one_of("minutes", "spend", "cost", "margin", "wallet")),
    "limit": required(whole),
    "per": (one_of("period", "day"), "period"),
    "mode": (one_of("hard", "soft"), "hard"),
    "alerts_percent": (list_of(positive), [80, 100]),
}
_named_cap = table(_NAMED_CAP)


def caps(value: Any) -> list[Fact]:
    listed = list_of(_named_cap)(value)
    expect(len(listed) <= 32 and len({each["name"] for each in listed}) == len(listed))
    for each in listed:
        expect(each["limit"] >= 0 or each["on"] == "margin")
        expect(each["on"] not in ("minutes", "wallet") or each["limit"] <= MAX_INTEGER // 60)
    return listed


_agency_cap = table(_NAMED_CAP | {"currency": optional(currency)})


def agency_caps(value: Any) -> list[Fact]:
    caps([{name: item for name, item in each.items() if name != "currency"} for each in list_of(_agency_cap)(value)])
    listed = list_of(_agency_cap)(value)
    for each in listed:
        expect((each["currency"] is not None) == (each["on"] in ("spend", "cost", "margin")))
    return listed


_terms = table(
    {
        "plan": required(identifier),
        "currency": required(currency),
        "interval": required(one_of("day", "week", "month", "year")),
        "interval_count": (positive, 1),
        "timezone": (zone, "UTC"),
        "price_micros": (natural, 0),
        "included_minutes": (up_to(MAX_INTEGER // 60), 0),
        "overage": (one_of("billed", "blocked"), "blocked"),
        "overage_micros_per_minute": optional(natural),
        "increments": (increments, (1, 1)),
        "minimum_s": (natural, 0),
        "connection_fee_micros": (natural, 0),
        "free_below_s": (natural, 0),
        "outcomes": (outcomes, {}),
        "packs": (packs, True),
        "due_days": (up_to(36_500), 0),
        "grace_days": (up_to(36_500), 0),
        "late_calls": (one_of("next_period", "adjust", "write_off"), "next_period"),
        "late_window_s": (up_to(LONGEST_DAYS * 86_400), 0),
        "allowance_alerts_percent": (list_of(positive), [80, 90, 100]),
        "cap": optional(cap),
        "trial_days": (up_to(36_500), 0),
        "trial_included_minutes": optional(up_to(MAX_INTEGER // 60)),
        "cancel_credit": (one_of("none", "unused"), "none"),
        "max_call_s": optional(positive),
        "unusual_usage": (truth, False),
        "forecast_alert": (truth, False),
        "rate_card": optional(card_id),
    }
)


_top_up = table(
    {
        "pack": required(identifier),
        "minutes": (up_to(MAX_INTEGER // 60), 0),
        "credit_micros": (natural, 0),
        "price_micros": required(natural),
        "currency": required(currency),
        "below_s": optional(natural),
        "below_micros": optional(natural),
        "most_per_month": required(positive),
    }
)


def top_up(value: Any) -> Fact:
    wanted: Fact = _top_up(value)
    expect((wanted["below_s"] is None) != (wanted["below_micros"] is None))
    expect(wanted["minutes" if wanted["below_micros"] is None else "credit_micros"] > 0)
    return wanted


_wholesale = table(
    {
        "currency": required(currency),
        "rate_card": optional(card_id),
        "rate_micros_per_minute": optional(natural),
        "increments": (increments, (1, 1)),
        "minimum_s": (natural, 0),
        "connection_fee_micros": (natural, 0),
        "outcomes": (outcomes, {}),
        "cost_policy": (one_of("card", "reported"), "card"),
        "interval": (one_of("day", "week", "month", "year"), "month"),
        "interval_count": (positive, 1),
        "timezone": (zone, "UTC"),
        "anchor": optional(instant),
        "price_micros": (natural, 0),
        "included_minutes": (up_to(MAX_INTEGER // 60), 0),
        "number_price_micros": (natural, 0),
        "due_days": (up_to(36_500), 0),
        "grace_days": (up_to(36_500), 0),
    }
)


def wholesale(value: Any) -> Fact:
    said: Fact = _wholesale(value)
    expect(said["interval_count"] * DAYS[said["interval"]] <= LONGEST_DAYS)
    expect((said["rate_micros_per_minute"], said["rate_card"]) != (None, None))
    return said


def terms(value: Any) -> Fact:
    frozen: Fact = _terms(value)
    expect(frozen["interval_count"] * DAYS[frozen["interval"]] <= LONGEST_DAYS)
    rates = (frozen["overage_micros_per_minute"], frozen["rate_card"])
    expect(frozen["overage"] == "blocked" or rates != (None, None))
    return frozen


line = table(
    {
        "line_id": required(text),
        "kind": required(text),
        "description": required(text),
        "quantity": required(whole),
        "unit": required(text),
        "unit_price_micros": required(whole),
        "amount_micros": required(total),
        "period_start": optional(date),
        "period_end": optional(date),
    }
)
OF_AN_ACCOUNT: Table = {"account_id": required(identifier), "agency_id": required(identifier)}
ONCE: Table = OF_AN_ACCOUNT | {"fact_id": required(identifier), "at": required(instant)}
OF_A_CALL: Table = {
    "campaign_id": optional(identifier),
    "agent_id": optional(identifier),
    "direction": required(one_of("inbound", "outbound", "web")),
    "from_number": optional(text),
    "to_number": optional(text),
    "started_at": required(time),
    "answered_at": optional(time),
    "ended_at": required(time),
    "outcome": required(one_of(*OUTCOMES)),
    "test": (truth, False),
    "tier": optional(text),
    "cost_micros": optional(natural),
    "cost_currency": optional(currency),
}
FACTS: dict[str, Table] = {
    "call.completed": OF_AN_ACCOUNT | {"call_id": required(identifier)} | OF_A_CALL,
    "call.corrected": ONCE | {"corrects": required(identifier)} | OF_A_CALL,
    "call.voided": ONCE | {"call_id": required(identifier), "reason": (text, "")},
    "subscription.started": ONCE | {"subscription_id": required(identifier), "terms": required(terms)},
    "subscription.canceled": ONCE
    | {"subscription_id": required(identifier), "when": required(one_of("period_end", "now"))},
    "subscription.changed": ONCE
    | {
        "subscription_id": required(identifier),
        "terms": required(terms),
        "when": required(one_of("next_period", "now")),
    },
    "subscription.paused": ONCE | {"subscription_id": required(identifier)},
    "subscription.resumed": ONCE | {"subscription_id": required(identifier)},
    "number.rented": ONCE
    | {
        "number": required(identifier),
        "price_micros": required(natural),
        "currency": optional(currency),
        "label": optional(label),
    },
    "number.released": ONCE | {"number": required(identifier)},
    "pack.applied": ONCE
    | {
        "pack": required(identifier),
        "minutes": (natural, 0),
        "credit_micros": (natural, 0),
        "price_micros": required(natural),
        "currency": required(currency),
    },
    "wallet.adjusted": ONCE | {"minutes": (whole, 0), "credit_micros": (whole, 0), "reason": optional(text)},
    "cap.set": ONCE | {"cap": required(optional(cap)[0])},
    "caps.set": ONCE | {"caps": required(caps)},
    "top_up.set": ONCE | {"top_up": required(optional(top_up)[0])},
    "payment_request.created": ONCE
    | {
        "fact_id": required(long_identifier),
        "payment_request_id": required(long_identifier),
        "kind": required(one_of("cycle", "usage", "pack", "one_time")),
        "subscription_id": optional(identifier),
        "period_start": optional(date),
        "period_end": optional(date),
        "currency": required(currency),
        "lines": required(list_of(line)),
        "subtotal_micros": required(total),
        "rounding_micros": required(whole),
        "tax_micros": (whole, 0),
        "total_micros": required(total),
        "due_at": required(date),
        "grace_ends_at": required(date),
        "gateway": (identifier, "manual"),
        "external_id": optional(identifier),
        "tax_included": (truth, False),
    },
    "payment_request.sent": ONCE
    | {
        "payment_request_id": required(long_identifier),
        "gateway": required(identifier),
        "external_id": required(identifier),
        "tax_micros": (natural, 0),
        "tax_included": (truth, False),
        "actor": optional(identifier),
    },
    "payment_request.settled": ONCE
    | {
        "payment_request_id": required(long_identifier),
        "status": required(one_of("paid", "failed", "canceled")),
        "actor": optional(identifier),
        "reference": optional(text),
        "note": optional(text),
    },
    "payment_request.corrected": ONCE
    | {
        "payment_request_id": required(long_identifier),
        "corrects": required(long_identifier),
        "kind": required(one_of("credit_note", "refund")),
        "amount_micros": required(positive),
        "currency": required(currency),
        "tax_micros": (natural, 0),
        "description": (description, ""),
        "actor": optional(identifier),
        "reference": optional(text),
        "note": optional(text),
        "external_id": optional(identifier),
    },
    "payment_request.disputed": ONCE
    | {
        "payment_request_id": required(long_identifier),
        "dispute_id": required(identifier),
        "status": required(one_of("opened", "won", "lost")),
        "amount_micros": required(positive),
        "currency": required(currency),
        "actor": optional(identifier),
        "reference": optional(text),
        "note": optional(text),
    },
    "payment_request.numbered": ONCE
    | {"payment_request_id": required(long_identifier), "number": required(identifier)},
    "one_time.charged": ONCE
    | {
        "amount_micros": required(positive),
        "currency": required(currency),
        "description": required(some_description),
    },
    "agency.caps_set": {
        "fact_id": required(identifier),
        "agency_id": required(identifier),
        "at": required(instant),
        "caps": required(agency_caps),
    },
    "wholesale.set": {
        "fact_id": required(identifier),
        "agency_id": required(identifier),
        "at": required(instant),
        "terms": required(wholesale),
    },
    "agency.access": {
        "fact_id": required(identifier),
        "agency_id": required(identifier),
        "at": required(instant),
        "sequence": required(natural),
        "allowed": required(truth),
    },
    "rules.set": {
        "at": required(instant),
        "max_future_s": required(natural),
        "max_call_s": required(natural),
        "duplicate_retention_days": required(up_to(90)),
    },
    "tick": {"at": required(instant), "jump": (truth, False)},
}


def _no_number(name: str) -> None:
    raise ValueError(name)


def _account_in(document: Any) -> str | None:
    """Whose dead letter it is: any text will do, also one too long to be an id."""
    try:
        return text(document["account_id"]) or None
    except (ValueError, TypeError, KeyError):
        return None


def _adds_up(fact: Fact) -> bool:
    """Amounts of a payment request, or of a document that corrects one, go together."""
    if fact["type"] == "payment_request.corrected":
        return bool(fact["tax_micros"] <= fact["amount_micros"])
    if fact["type"] != "payment_request.created":
        return True
    tax = 0 if fact["tax_included"] else fact["tax_micros"]
    lines = sum(each["amount_micros"] for each in fact["lines"])
    return bool(lines == fact["subtotal_micros"] == fact["total_micros"] - fact["rounding_micros"] - tax)


def read(raw: bytes) -> Fact:
    """The fact of a line, with its `type`; raises Refused."""
    if len(raw) > MAX_BYTES:
        raise Refused("too_large")
    try:
        document = json.loads(raw.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refused("malformed") from None
    account = _account_in(document)
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str):
        raise Refused("malformed", account)
    if kind not in FACTS:
        raise Refused("unknown_type", account)
    try:
        fact = {"type": kind, **table(FACTS[kind])(document)}
        expect(_adds_up(fact))
        return fact
    except ValueError:
        raise Refused("malformed", account) from None
