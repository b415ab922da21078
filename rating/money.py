"""Money is a whole number of micros (millionths of a currency's unit), never a float.

Sums stay exact in micros. Only what a payer is asked for is rounded, half up, to the minor unit that the currency is
paid in: cents for USD, whole yen for JPY.
"""

from __future__ import annotations

MICROS = 1_000_000

# ISO 4217: decimal places of the currencies that do not have two.
MINOR_DIGITS = {
    **dict.fromkeys(
        (
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def minor_unit_micros(currency: str) -> int:
    """Micros in the smallest payable unit of a currency (ISO 4217 code): 10,000 for USD, 1,000,000 for JPY."""
    return int(10 ** (6 - MINOR_DIGITS.get(currency, 2)))


def rounding_to_minor_unit(amount_micros: int, currency: str) -> int:
    """Micros to add to an amount so that it is a whole number of minor units, rounded half up.

    Half up means away from zero at exactly half, for amounts of either sign.
    """
    unit = minor_unit_micros(currency)
    units = (2 * abs(amount_micros) + unit) // (2 * unit)
    rounded = units * unit if amount_micros >= 0 else -units * unit
    return rounded - amount_micros


def cost_micros(seconds: int, rate_micros_per_minute: int) -> int:
    """Price of whole seconds at a rate per minute, in micros, rounded half up."""
    return (seconds * rate_micros_per_minute + 30) // 60
