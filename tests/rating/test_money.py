"""Rounding to the currency's minor unit, half up, and shown."""

import pytest
from babel.numbers import get_currency_precision

from rating.money import MINOR_DIGITS, cost_micros, minor_unit_micros, rounding_to_minor_unit


@pytest.mark.parametrize(
    ("amount", "currency", "rounding"),
    [
        (0, "USD", 0), (112_000, "USD", -2_000), (4_999, "USD", -4_999), (5_000, "USD", 5_000), (15_000, "USD", 5_000),
        (-5_000, "USD", -5_000), (-4_999, "USD", 4_999), (499_999, "JPY", -499_999), (500_000, "JPY", 500_000),
        (1_499, "KWD", -499), (1_500, "KWD", 500),
    ],
)  # fmt: skip
def test_totals_round_half_up_to_the_minor_unit(amount, currency, rounding):
    assert rounding_to_minor_unit(amount, currency) == rounding


@pytest.mark.parametrize("currency", [*sorted(MINOR_DIGITS), "USD", "EUR", "CHF"])
def test_minor_units_are_those_of_iso_4217(currency):
    known_otherwise = {"ISK": 0, "UGX": 0, "IQD": 3}  # Unicode's data says how they are used, ISO how they are defined
    digits = known_otherwise.get(currency, get_currency_precision(currency))
    assert minor_unit_micros(currency) == 10 ** (6 - digits)


def test_overage_rounds_half_up_to_the_micro():
    assert cost_micros(56, 120_000) == 112_000
    assert cost_micros(1, 29) == 0
    assert cost_micros(1, 30) == 1
