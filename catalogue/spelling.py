"""How values are spelled in a catalogue file, and how they are read: amounts, periods, durations, increments, rates.

Amounts are read from their text into exact decimals and never pass through a float. Every parser raises ValueError
whose text says what is allowed; it never guesses.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from rating.money import MICROS
from rating.terms import INCREMENTS, LARGEST, LONGEST
from streams.units import minor_digits

LARGEST_AMOUNT = Decimal(LARGEST) / MICROS

AMOUNT = "an amount such as 49.00, with at most six decimal places"
RATE = "a rate such as 0.12 per minute, or blocked"
# Overage is billed by the plan's rate card only.
BY_CARD = "by card"
EVERY = "a period such as 1 month, 2 weeks, day or year"
SECONDS = "seconds such as 900, or a duration such as 15 minutes"
BILLING_STEPS = "seconds of the first and of each next increment such as 60/6, or per-second or per-minute"

_amount = re.compile(r"[+-]?[0-9]{1,16}(\.[0-9]{1,6})?").fullmatch
_rate = re.compile(r"(\S+?)\s*(?:per|a|/)\s*(?:minute|min)").fullmatch
_every = re.compile(r"(?:([0-9]{1,9})\s+)?(day|week|month|year)s?").fullmatch
_duration = re.compile(r"([0-9]{1,16})(?:\s*(s|seconds?|m|min|minutes?|h|hours?|d|days?))?").fullmatch
_whole = re.compile(r"[0-9]{1,16}").fullmatch

DURATION_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BILLING_WORDS = {"per-second": "1/1", "per-minute": "60/60"}
TRUE_WORDS = ("true", "yes", "on")
FALSE_WORDS = ("false", "no", "off")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant, or None where nothing is near."""
    folded = {one.casefold(): one for one in known}
    matches = difflib.get_close_matches(word.casefold(), folded, 1, 0.6)
    return folded[matches[0]] if matches else None


def hint(word: str, known: Iterable[str]) -> str:
    """``; did you mean <the nearest known word>?``, or nothing."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


def text_of(value: Any) -> str:
    """A value as the text it was written as. Floats have lost theirs: TypeError-like ValueError."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("must be text or a number written as text")
    return str(value).strip()


def amount(value: Any, signed: bool = False) -> Decimal:
    """An exact amount of money, in units of its currency.

    Raises:
        ValueError: not a plain decimal number, more than six places, or beyond 2**53 micros.
    """
    try:
        text = text_of(value)
    except ValueError:
        text = ""
    if not _amount(text):
        raise ValueError(f"must be {AMOUNT}")
    number = Decimal(text)
    if abs(number) > LARGEST_AMOUNT:
        raise ValueError(f"must be at most {LARGEST_AMOUNT}")
    if number < 0 and not signed:
        raise ValueError("must not be negative")
    return abs(number) if number == 0 else number


def micros(number: Decimal) -> int:
    """An amount in whole micros, exact (amounts have at most six decimal places)."""
    return int(number * MICROS)


def amount_text(number: Decimal, currency: str) -> str:
    """An amount with at least the currency's decimal places: 49 is ``49.00`` in USD."""
    places = max(minor_digits(currency), -int(number.normalize().as_tuple().exponent))
    return f"{number:.{places}f}"


def micros_text(value: int, currency: str) -> str:
    """Micros as an amount with its currency, such as ``49.00 USD``."""
    return f"{amount_text(Decimal(value) / MICROS, currency)} {currency}"


def rate(value: Any) -> Decimal | str | None:
    """An overage rate per minute; None for ``blocked``; `BY_CARD` where only a rate card has rates."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text == "blocked":
            return None
        if text == BY_CARD:
            return BY_CARD
        if (match := _rate(text)) and _amount(match[1]):
            return amount(match[1])
    raise ValueError(f"must be {RATE}")


def per_minute(value: Any) -> Decimal:
    """A rate per minute that is no word."""
    text = value.strip().lower() if isinstance(value, str) else ""
    match = _rate(text)
    if not match or not _amount(match[1]):
        raise ValueError("must be a rate such as 0.03 per minute")
    return amount(match[1])


def every(value: Any) -> str:
    """A billing interval in its one spelling: ``1 month``, ``2 weeks``."""
    match = _every(value.strip().lower()) if isinstance(value, str) else None
    if not match:
        raise ValueError(f"must be {EVERY}")
    count, unit = int(match[1] or 1), match[2]
    if not 1 <= count <= LONGEST[unit]:
        raise ValueError(f"must be 1 to {LONGEST[unit]} {unit}s")
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def interval(spelled: str) -> tuple[str, int]:
    """Unit and count of an interval spelled by `every`: ``("month", 1)``."""
    count, unit = spelled.split()
    return unit.removesuffix("s"), int(count)


def seconds(value: Any, most: int = LARGEST) -> int:
    """A duration in whole seconds."""
    try:
        match = _duration(text_of(value).lower())
    except ValueError:
        match = None
    if not match:
        raise ValueError(f"must be {SECONDS}")
    total = int(match[1]) * DURATION_S[(match[2] or "s")[0]]
    if total > most:
        raise ValueError(f"must be at most {most} seconds")
    return total


def increments(value: Any) -> str:
    """Billing increments as ``first/next`` in seconds."""
    text = value.strip().lower() if isinstance(value, str) else ""
    text = BILLING_WORDS.get("-".join(text.split()), "".join(text.split()))
    match = INCREMENTS.fullmatch(text)
    if not match or max(map(int, match.groups())) > LARGEST:
        raise ValueError(f"must be {BILLING_STEPS}")
    return text


def whole(value: Any, least: int = 0, most: int = LARGEST) -> int:
    """A whole number within bounds."""
    try:
        text = text_of(value)
    except ValueError:
        text = ""
    if not _whole(text) or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(text)


def flag(value: Any) -> bool:
    """True or false; ``yes``, ``no``, ``on`` and ``off`` too."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in TRUE_WORDS + FALSE_WORDS:
        return value.lower() in TRUE_WORDS
    raise ValueError("must be true or false")


def choice(value: Any, allowed: Iterable[str]) -> str:
    """One of some words; spaces and hyphens count as underscores."""
    allowed = tuple(allowed)
    text = re.sub(r"[\s-]+", "_", value.strip().lower()) if isinstance(value, str) else ""
    if text not in allowed:
        raise ValueError(f"must be {' or '.join(allowed)}" + (hint(text, allowed) if text else ""))
    return text
