"""Billed seconds: increments, minimum, fee, free seconds, outcome policy."""

from datetime import UTC, datetime, timedelta

import pytest

from rating.books import Books
from rating.calls import check_call
from rating.duration import billed_seconds
from rating.facts import CallCompleted
from rating.terms import Outcomes, Tariff, Terms

AT = datetime(2026, 11, 3, 10, 0, tzinfo=UTC)


def tariff(**fields):
    return Tariff(Terms(**{"plan": "p", "currency": "USD", "interval": "month", **fields}))


def duration(answered_at, ended_at):
    """Whole seconds of a call with these times."""
    books = Books(0)
    books.rules.max_call_s = 100_000
    return check_call(
        books,
        CallCompleted(
            call_id="c", account_id="a", agency_id="g", direction="web", outcome="answered",
            started_at=AT, answered_at=answered_at, ended_at=ended_at,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("micros", "seconds"),
    [(0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (243_200_000, 244), (86_400_000_001, 86_401)],
)
def test_duration_rounds_up_to_whole_seconds(micros, seconds):
    assert duration(AT, AT + timedelta(microseconds=micros)) == seconds


def test_a_call_never_answered_lasts_no_second():
    assert duration(None, AT) == 0


@pytest.mark.parametrize(
    ("increments", "duration", "billed"),
    [
        ("1/1", 0, 0), ("1/1", 1, 1), ("1/1", 59, 59),
        ("6/6", 1, 6), ("6/6", 6, 6), ("6/6", 7, 12),
        ("30/6", 30, 30), ("30/6", 31, 36), ("30/6", 36, 36),
        ("60/6", 244, 246), ("60/6", 60, 60), ("60/6", 61, 66),
        ("60/60", 61, 120), ("60/60", 120, 120), ("60/60", 121, 180),
    ],
)  # fmt: skip
def test_seconds_are_rounded_to_the_increments(increments, duration, billed):
    assert billed_seconds(tariff(increments=increments), duration, "answered", False) == (billed, 0)


def test_the_minimum_is_rounded_to_the_increments_too():
    assert billed_seconds(tariff(increments="6/6", minimum_s=20), 3, "answered", False) == (24, 0)


def test_a_call_shorter_than_the_free_seconds_costs_not_even_the_fee():
    terms = tariff(free_below_s=10, connection_fee_micros=5, minimum_s=60)
    assert billed_seconds(terms, 9, "answered", False) == (0, 0)
    assert billed_seconds(terms, 10, "answered", False) == (60, 5)


def test_an_answered_call_of_no_length_costs_the_fee():
    assert billed_seconds(tariff(connection_fee_micros=5), 0, "answered", False) == (0, 5)


@pytest.mark.parametrize("outcome", ["no_answer", "busy", "failed", "canceled"])
def test_only_answered_and_voicemail_are_billed_by_default(outcome):
    assert billed_seconds(tariff(connection_fee_micros=5, minimum_s=60), 30, outcome, False) == (0, 0)
    assert billed_seconds(tariff(), 30, "voicemail", False) == (30, 0)


def test_the_policy_of_the_terms_wins_over_the_default():
    terms = tariff(outcomes=Outcomes(busy=True, answered=False, test=True))
    assert billed_seconds(terms, 30, "busy", False) == (30, 0)
    assert billed_seconds(terms, 30, "answered", False) == (0, 0)


def test_a_test_call_is_billed_only_where_the_terms_bill_test_calls():
    assert billed_seconds(tariff(), 30, "answered", True) == (0, 0)
    assert billed_seconds(tariff(outcomes=Outcomes(test=True)), 30, "answered", True) == (30, 0)
    assert billed_seconds(tariff(outcomes=Outcomes(test=True)), 30, "busy", True) == (0, 0)
