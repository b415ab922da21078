"""Figures as a person reads them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from catalogue.spelling import amount_text
from rating.money import MICROS, rounding_to_minor_unit
from streams.units import minor_digits


def money(micros: int, currency: str) -> str:
    """An amount without its currency, to the unit it is paid in: ``1,234.50``, or ``1,234`` yen."""
    digits = minor_digits(currency)
    return f"{Decimal(micros + rounding_to_minor_unit(micros, digits)) / MICROS:,.{digits}f}"


def money_text(micros: int, currency: str) -> str:
    """An amount with its currency, to the unit it is paid in."""
    return f"{money(micros, currency)} {currency}"


def exact(micros: int, currency: str) -> str:
    """An amount to the micro, with its currency."""
    return f"{amount_text(Decimal(micros) / MICROS, currency)} {currency}"


def day_text(at: str) -> str:
    """The day of a time in an output, in UTC: ``03 Nov``."""
    return f"{datetime.fromisoformat(at):%d %b}"
