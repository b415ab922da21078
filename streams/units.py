"""Units of money: the currencies of ISO 4217 with their minor units, and units named by ``CALLMETER_UNITS``.

The table of ISO 4217 is that of the package ``iso4217``, which follows its maintenance agency. A named unit is whatever
else an agency sells in, such as ``USDT:6``: its places are those that totals are rounded to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

# Money is counted in micros: nothing has more places than that.
MOST_DIGITS = 6
SPELLING = "names with their places such as USDT:6,POINTS:0; a name has 3 to 10 capital letters and digits"

_name = re.compile(r"[A-Z0-9]{3,10}").fullmatch


@cache
def iso_4217() -> Mapping[str, int]:
    """Currencies of ISO 4217 and their minor units: 2 places for USD, 0 for JPY, 3 for KWD."""
    from iso4217 import Currency

    return {one.code: one.exponent for one in Currency if one.exponent is not None}


def parse_units(value: Any) -> dict[str, int]:
    """Named units as a setting spells them: ``USDT:6,POINTS:0``, or a table of a TOML file.

    Raises:
        ValueError: something else; a currency of ISO 4217; more than six places.
    """
    if isinstance(value, str):
        pairs = [part.strip().partition(":") for part in value.split(",") if part.strip()]
        value = {name.strip(): digits.strip() for name, _, digits in pairs}
    if not isinstance(value, Mapping):
        raise ValueError(f"must be {SPELLING}")
    units = {}
    for name, digits in value.items():
        if not isinstance(name, str) or not _name(name) or not re.fullmatch("[0-9]", str(digits)):
            raise ValueError(f"must be {SPELLING}")
        if name in iso_4217():
            raise ValueError(f"{name} is a currency of ISO 4217 with {iso_4217()[name]} places, and no other unit")
        if int(digits) > MOST_DIGITS:
            raise ValueError(f"{name} has at most {MOST_DIGITS} places, for money is counted in millionths")
        units[name] = int(digits)
    return units


def minor_digits(currency: str, units: Mapping[str, int] | None = None) -> int:
    """Places of the smallest payable amount of a currency or a named unit.

    A unit that nobody has named here has all six: what is asked for it is exact, never rounded by a guess.
    """
    named = named_units() if units is None else units
    return named.get(currency, iso_4217().get(currency, MOST_DIGITS))


def known_units() -> set[str]:
    """Every currency and unit that can be sold in."""
    return {*iso_4217(), *named_units()}


def named_units() -> Mapping[str, int]:
    """The units that this process's settings name."""
    return _named(os.environ.get("CALLMETER_UNITS"), os.environ.get("CALLMETER_CONFIG"))


@lru_cache(maxsize=8)
def _named(variable: str | None, config: str | None) -> Mapping[str, int]:
    if variable is None and config is None:
        return {}
    from streams.settings import load_settings

    return load_settings().units
