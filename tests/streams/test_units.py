"""Units of money: ISO 4217 by its own table, and those that a setting names."""

from __future__ import annotations

import pytest

from streams.errors import SettingsError
from streams.settings import load_settings
from streams.units import iso_4217, known_units, minor_digits, named_units, parse_units


@pytest.mark.parametrize(
    ("currency", "digits"),
    [
        ("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("IQD", 3), ("ISK", 0), ("UGX", 0), ("MGA", 2), ("CLF", 4),
        # Unicode's data has these as they are used, with none; ISO 4217 defines two.
        ("AFN", 2), ("LBP", 2), ("YER", 2),
    ],
)  # fmt: skip
def test_minor_units_are_those_of_iso_4217(currency, digits):
    assert minor_digits(currency, {}) == digits


def test_what_has_no_minor_unit_is_no_currency_to_sell_in():
    assert not {"XAU", "XXX", "XTS", "XDR"} & set(iso_4217())
    assert len(iso_4217()) > 150


def test_a_unit_that_nobody_named_is_never_rounded():
    assert minor_digits("USDT", {}) == 6
    assert minor_digits("USDT", {"USDT": 4}) == 4


def test_named_units_are_a_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("CALLMETER_CONFIG", raising=False)
    monkeypatch.delenv("CALLMETER_UNITS", raising=False)
    assert load_settings().units == {}
    monkeypatch.setenv("CALLMETER_UNITS", "USDT:6, POINTS:0")
    assert load_settings().units == named_units() == {"USDT": 6, "POINTS": 0}
    assert {"USDT", "POINTS", "USD"} <= known_units()
    monkeypatch.delenv("CALLMETER_UNITS")
    config = tmp_path / "callmeter.toml"
    config.write_text("[units]\nUSDT = 6\n")
    monkeypatch.setenv("CALLMETER_CONFIG", str(config))
    assert named_units() == {"USDT": 6}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("USDT", "must be names with their places such as USDT:6"),
        ("usdt:6", "must be names"),
        ("US:2", "must be names"),
        ("ABCDEFGHIJK:2", "must be names"),
        ("USDT:x", "must be names"),
        ("USDT:-1", "must be names"),
        ("USDT:7", "USDT has at most 6 places"),
        ("USD:2", "USD is a currency of ISO 4217 with 2 places"),
        (["USDT"], "must be names"),
    ],
)
def test_a_mistake_in_the_setting_is_named(value, why, monkeypatch):
    with pytest.raises(ValueError, match=why):
        parse_units(value)
    if isinstance(value, str):
        monkeypatch.setenv("CALLMETER_UNITS", value)
        with pytest.raises(SettingsError, match=f"CALLMETER_UNITS: .*{why}"):
            load_settings()
