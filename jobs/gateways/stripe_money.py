"""Amounts as Stripe counts them: whole minor units of a currency, some of them only in steps.

Stripe's own table (https://docs.stripe.com/currencies), which is not that of ISO 4217: the ariary has no minor unit
there, and krona and shilling are counted in hundredths that must be zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jobs.gateways.base import Rejected
from rating.money import micros_text

WITHOUT_MINOR_UNIT = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF")
)
# Hundredths and thousandths whose last digits must be 0.
WHOLE_ONLY = frozenset(("ISK", "UGX"))
THOUSANDTHS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
MOST_LINES = 200


class Steps(NamedTuple):
    """The smallest amount of a currency that Stripe takes: in micros, and in its minor units."""

    micros: int
    minor: int


class Item(NamedTuple):
    """One line of an invoice at Stripe; the amount in minor units."""

    line_id: str
    text: str
    amount: int
    period: tuple[str, str] | None


def steps_of(currency: str) -> Steps:
    """What amounts of a currency are multiples of."""
    if currency in WITHOUT_MINOR_UNIT:
        return Steps(1_000_000, 1)
    if currency in WHOLE_ONLY:
        return Steps(1_000_000, 100)
    return Steps(10_000, 10 if currency in THOUSANDTHS else 1)


def to_minor(micros: int, currency: str) -> int:
    """Micros in Stripe's minor units.

    Raises:
        Rejected: Stripe takes no such amount.
    """
    step = steps_of(currency)
    if micros % step.micros:
        smallest = micros_text(step.micros)
        raise Rejected(f"Stripe takes {currency} in steps of {smallest} only, and not {micros_text(micros)}")
    return micros // step.micros * step.minor


def to_micros(minor: int, currency: str) -> int:
    """Stripe's minor units in micros."""
    step = steps_of(currency)
    return minor * step.micros // step.minor


def items_of(request: Mapping[str, Any], no_credits: bool) -> list[Item]:
    """The lines of a payment request in whole minor units, which sum to what is asked without a tax on top.

    Lines are exact to the micro and only their total is rounded; Stripe rounds each line. So what each line loses is
    given to those that lost most, and the sum is ours.

    Args:
        request: a payment request.
        no_credits: negative amounts are refused (Stripe Tax does that), so they are taken off the largest ones.

    Raises:
        Rejected: Stripe takes no such total.
    """
    currency = request["currency"]
    lines = _few(request["lines"])
    asked = request["subtotal_micros"] + request["rounding_micros"]
    to_minor(asked, currency)
    step = steps_of(currency)
    counts = [line["amount_micros"] // step.micros for line in lines]
    left = [line["amount_micros"] % step.micros for line in lines]
    largest_first = sorted(range(len(lines)), key=lambda number: -left[number])
    for number in largest_first[: asked // step.micros - sum(counts)]:
        counts[number] += 1
    texts = [_text(line, currency) for line in lines]
    if no_credits:
        counts, texts = _without_credits(counts, texts)
    return [
        Item(line["line_id"], text, count * step.minor, _period(line))
        for line, text, count in zip(lines, texts, counts, strict=True)
    ]


def _few(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Lines, as many as an invoice has room for; the rest is one."""
    if len(lines) <= MOST_LINES:
        return list(lines)
    kept, rest = list(lines[: MOST_LINES - 1]), lines[MOST_LINES - 1 :]
    amount = sum(line["amount_micros"] for line in rest)
    text = f"{len(rest)} further lines"
    return [
        *kept,
        {"line_id": "others", "description": text, "quantity": 1, "unit": "period", "amount_micros": amount},
    ]


def _without_credits(counts: list[int], texts: list[str]) -> tuple[list[int], list[str]]:
    credit = -sum(count for count in counts if count < 0)
    counts = [max(0, count) for count in counts]
    texts = list(texts)
    for number in sorted(range(len(counts)), key=lambda number: -counts[number]):
        taken = min(credit, counts[number])
        if taken:
            counts[number] -= taken
            credit -= taken
            texts[number] += " (less credits)"
    return counts, texts


def _text(line: Mapping[str, Any], currency: str) -> str:
    quantity, unit = line["quantity"], line["unit"]
    if unit == "second":
        minutes, seconds = divmod(quantity, 60)
        text = f"{line['description']}: {minutes} min {seconds} s"
        price = line.get("unit_price_micros", 0) * 60
        return f"{text} at {micros_text(price)} {currency} a minute" if price else text
    if quantity == 1:
        return str(line["description"])
    return f"{line['description']}: {quantity} at {micros_text(line['unit_price_micros'])} {currency}"


def _period(line: Mapping[str, Any]) -> tuple[str, str] | None:
    start, end = line.get("period_start"), line.get("period_end")
    return (start, end) if start and end else None
