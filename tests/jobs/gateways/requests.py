"""Payment requests as they are asked for."""

from __future__ import annotations

from typing import Any

from jobs.gateways.base import Buyer
from rating.money import rounding_to_minor_unit
from rating.request import line
from streams.units import minor_digits

START, END = "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"


def request_of(
    buyer: Buyer, lines: list[dict[str, Any]] | None = None, currency: str = "USD", **fields: Any
) -> dict[str, Any]:
    """A usage request of a buyer: allowance, overage of 2.46, and what rounding each call came to, unless told."""
    lines = USAGE if lines is None else lines
    subtotal = sum(one["amount_micros"] for one in lines)
    rounding = rounding_to_minor_unit(subtotal, minor_digits(currency))
    return {
        "payment_request_id": "sub_1:20261101T000000Z:usage",
        "account_id": buyer.account_id,
        "agency_id": buyer.agency_id,
        "subscription_id": "sub_1",
        "kind": "usage",
        "currency": currency,
        "period_start": START,
        "period_end": END,
        "created_at": START,
        "due_at": "2026-11-08T00:00:00Z",
        "lines": lines,
        "subtotal_micros": subtotal,
        "rounding_micros": rounding,
        "tax_micros": 0,
        "total_micros": subtotal + rounding,
        "status": "pending",
        "external_id": None,
        **fields,
    }


USAGE = [
    line("allowance", "allowance", "Used from the allowance", 6000, "second", 0, START, END),
    line("overage", "overage", "Overage", 1230, "second", 2000, START, END),
    line("call_rounding", "call_rounding", "Overage is rounded per call", 1, "period", 0, START, END, 4567),
]


def one_line(amount_micros: int) -> list[dict[str, Any]]:
    """Lines of a request with one amount."""
    return [line("pack", "pack", "Pack boost-60", 1, "pack", amount_micros)]
