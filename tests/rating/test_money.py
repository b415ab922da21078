"""Rounding to the currency's minor unit, half up, and shown."""

import pytest

from rating.money import cost_micros, minor_unit_micros, rounding_to_minor_unit


@pytest.mark.parametrize(
    ("amount", "digits", "rounding"),
    [
        (0, 2, 0), (112_000, 2, -2_000), (4_999, 2, -4_999), (5_000, 2, 5_000), (15_000, 2, 5_000),
        (-5_000, 2, -5_000), (-4_999, 2, 4_999), (499_999, 0, -499_999), (500_000, 0, 500_000),
        (1_499, 3, -499), (1_500, 3, 500), (149, 4, -49), (150, 4, 50), (1, 6, 0), (-7, 6, 0),
    ],
)  # fmt: skip
def test_totals_round_half_up_to_the_minor_unit(amount, digits, rounding):
    assert rounding_to_minor_unit(amount, digits) == rounding


def test_a_minor_unit_in_micros():
    assert [minor_unit_micros(digits) for digits in (0, 2, 3, 6)] == [1_000_000, 10_000, 1_000, 1]


def test_overage_rounds_half_up_to_the_micro():
    assert cost_micros(56, 120_000) == 112_000
    assert cost_micros(1, 29) == 0
    assert cost_micros(1, 30) == 1
