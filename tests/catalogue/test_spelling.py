"""How values are spelled: exact, bounded, and never guessed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import spelling
from catalogue.spelling import LARGEST_AMOUNT

AMOUNT = "must be an amount such as 49.00, with at most six decimal places"
RATE = "must be a rate such as 0.12 per minute, or blocked"
EVERY = "must be a period such as 1 month, 2 weeks, day or year"
SECONDS = "must be seconds such as 900, or a duration such as 15 minutes"
STEPS = "must be seconds of the first and of each next increment such as 60/6, or per-second or per-minute"


@given(st.integers(-(2**53), 2**53))
def test_an_amount_written_with_all_its_places_gives_its_micros_back(micros):
    text = f"{'-' if micros < 0 else ''}{abs(micros) // 1_000_000}.{abs(micros) % 1_000_000:06}"
    assert spelling.micros(spelling.amount(text, signed=True)) == micros


@given(st.integers(0, 2**53), st.sampled_from(["USD", "JPY", "KWD"]))
def test_an_amount_shown_is_the_amount_read(micros, currency):
    amount = Decimal(micros) / 1_000_000
    assert spelling.amount(spelling.amount_text(amount, currency)) == amount


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_float_is_never_an_amount(value):
    with pytest.raises(ValueError, match=AMOUNT):
        spelling.amount(value)


@given(st.text(max_size=12))
def test_any_text_is_an_exact_amount_or_refused(text):
    try:
        amount = spelling.amount(text)
    except ValueError:
        return
    assert amount == Decimal(text.strip())
    assert spelling.micros(amount) == amount * 1_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("49.00", "49.00"),
        ("49", "49"),
        (" 0.000001 ", "0.000001"),
        ("+5", "5"),
        ("9007199254.740992", "9007199254.740992"),
    ],
)
def test_an_amount_keeps_its_text(text, expected):
    assert str(spelling.amount(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.0000001", AMOUNT),
        ("49,00", AMOUNT),
        ("1e3", AMOUNT),
        ("1_000", AMOUNT),
        (".5", AMOUNT),
        ("5.", AMOUNT),
        ("NaN", AMOUNT),
        ("٤", AMOUNT),
        ("", AMOUNT),
        (None, AMOUNT),
        (True, AMOUNT),
        ([], AMOUNT),
        ("-0.01", "must not be negative"),
        ("9007199254.740993", "must be at most 9007199254.740992"),
    ],
)
def test_what_is_no_amount_is_refused(text, message):
    with pytest.raises(ValueError) as error:
        spelling.amount(text)
    assert str(error.value) == message


def test_amounts_up_to_the_bound_are_exact():
    assert spelling.micros(LARGEST_AMOUNT) == 2**53


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.12 per minute", Decimal("0.12")),
        ("0.125/min", Decimal("0.125")),
        ("1 a minute", Decimal(1)),
        ("0 per minute", Decimal(0)),
        ("blocked", None),
        ("Blocked", None),
    ],
)
def test_overage_is_a_rate_or_blocked(text, expected):
    assert spelling.rate(text) == expected


@pytest.mark.parametrize("text", ["0.12", "0.12 per hour", "per minute", "none", "", None, Decimal(1), "x per minute"])
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError) as error:
        spelling.rate(text)
    assert str(error.value) == RATE


@pytest.mark.parametrize(
    ("text", "spelled", "interval"),
    [
        ("1 month", "1 month", ("month", 1)),
        ("month", "1 month", ("month", 1)),
        ("2 weeks", "2 weeks", ("week", 2)),
        ("Year", "1 year", ("year", 1)),
        ("14 day", "14 days", ("day", 14)),
    ],
)
def test_a_period_has_one_spelling(text, spelled, interval):
    assert spelling.every(text) == spelled
    assert spelling.interval(spelled) == interval


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("monthly", EVERY),
        ("1.5 months", EVERY),
        ("-1 month", EVERY),
        ("1", EVERY),
        (None, EVERY),
        ("0 months", "must be 1 to 1200 months"),
        ("101 years", "must be 1 to 100 years"),
    ],
)
def test_what_is_no_period_is_refused(text, message):
    with pytest.raises(ValueError) as error:
        spelling.every(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("900", 900), (900, 900), ("15 minutes", 900), ("1 minute", 60), ("90s", 90), ("2 h", 7200), ("1 day", 86400)],
)
def test_a_duration_is_seconds(text, expected):
    assert spelling.seconds(text) == expected


@pytest.mark.parametrize("text", ["-1", "1.5", "15 parsecs", "minutes", None, True, 1.0, "1 month"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError) as error:
        spelling.seconds(text)
    assert str(error.value) == SECONDS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60/6", "60/6"),
        (" 60 / 6 ", "60/6"),
        ("per-second", "1/1"),
        ("per second", "1/1"),
        ("per minute", "60/60"),
        ("Per-Minute", "60/60"),
    ],
)
def test_increments_are_first_and_next(text, expected):
    assert spelling.increments(text) == expected


@pytest.mark.parametrize("text", ["60", "0/6", "60/0", "6/6/6", "per hour", "-6/6", "60/x", None, f"{2**53 + 1}/1"])
def test_what_is_no_increment_is_refused(text):
    with pytest.raises(ValueError) as error:
        spelling.increments(text)
    assert str(error.value) == STEPS


@pytest.mark.parametrize(
    ("text", "expected"), [(True, True), ("yes", True), ("On", True), (False, False), ("no", False), ("off", False)]
)
def test_a_flag_is_yes_or_no(text, expected):
    assert spelling.flag(text) is expected


@pytest.mark.parametrize(
    ("number", "currency", "text"),
    [("49", "USD", "49.00"), ("49.5", "USD", "49.50"), ("0.125", "USD", "0.125"), ("4900", "JPY", "4900"),
     ("4900.00", "JPY", "4900"), ("1", "KWD", "1.000"), ("100", "USD", "100.00")],
)  # fmt: skip
def test_an_amount_is_shown_with_its_currencys_places(number, currency, text):
    assert spelling.amount_text(Decimal(number), currency) == text


def test_the_nearest_word_ignores_case():
    assert spelling.nearest("Pirce", ["price", "packs"]) == "price"
    assert spelling.nearest("zebra", ["price", "packs"]) is None
