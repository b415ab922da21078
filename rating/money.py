"""Money is a whole number of micros (millionths of a currency's unit), never a float.

Sums stay exact in micros. Only what a payer is asked for is rounded, half up, to the minor unit that the currency is
paid in: cents for USD, whole yen for JPY. Which currency has how many places is told from outside (`streams.units`).
"""

from __future__ import annotations

MICROS = 1_000_000


def minor_unit_micros(digits: int) -> int:
    """Micros in the smallest payable unit of a currency with so many places: 10,000 for 2 (USD), 1,000,000 for 0."""
    return int(10 ** (6 - digits))


def rounding_to_minor_unit(amount_micros: int, digits: int) -> int:
    """Micros to add to an amount so that it is a whole number of minor units, rounded half up.

    Half up means away from zero at exactly half, for amounts of either sign.

    Args:
        amount_micros: what is to be rounded.
        digits: decimal places of the currency's minor unit, 0 to 6.
    """
    unit = minor_unit_micros(digits)
    units = (2 * abs(amount_micros) + unit) // (2 * unit)
    rounded = units * unit if amount_micros >= 0 else -units * unit
    return rounded - amount_micros


def micros_text(amount_micros: int) -> str:
    """Micros as a decimal number of units, without needless places: 120,000 is ``0.12``."""
    units, places = divmod(abs(amount_micros), MICROS)
    text = f"{units}.{places:06d}".rstrip("0").removesuffix(".")
    return f"-{text}" if amount_micros < 0 else text


def cost_micros(seconds: int, rate_micros_per_minute: int) -> int:
    """Price of whole seconds at a rate per minute, in micros, rounded half up."""
    return (seconds * rate_micros_per_minute + 30) // 60
