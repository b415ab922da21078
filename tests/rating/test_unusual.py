"""Hours and their alerts: the core against the oracle, on logs with enough hours to tell what is usual."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from rating.fold import Fold
from rating.seen import SeenInMemory
from rating.simulate import simulate
from tests.oracle.compare import first_difference
from tests.oracle.oracle import run
from tests.rating.builders import call, encode, outputs, subscription, tick

START = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = {"overage_micros_per_minute": 1, "unusual_usage": True, "interval": "year", "included_minutes": 0}


def hourly(number, hour, seconds, at_s=0):
    ended = START + timedelta(hours=hour, seconds=at_s)
    return call(number, ended.isoformat(), (ended - timedelta(seconds=seconds)).isoformat())


@st.composite
def busy_logs(draw):
    """Calls of some hours before, mostly in order, and then of hours at the edge of what is kept."""
    usual = draw(st.integers(1, 1_500))
    facts = [subscription(START.isoformat(), **TERMS)]
    hours = [3 * n + 1 for n in range(draw(st.integers(22, 40)))]
    facts += [hourly(f"usual{hour}", hour, usual) for hour in hours]
    ends = draw(st.lists(st.sampled_from((0, 1, 2, 30, 60, 100, 671, 672, 673, 720, 800)), max_size=25))
    for number, hour in enumerate(ends):
        seconds = draw(st.sampled_from((0, 1, 599, 600, 1_000, 3_599, 3_600, 3_601, 4 * usual, 4 * usual + 1)))
        facts.append(hourly(f"more{number}", hour + draw(st.integers(0, 2)), seconds, draw(st.integers(0, 3_599))))
    return facts


@settings(max_examples=150, deadline=None)
@given(busy_logs())
def test_unusual_hours_are_those_of_the_oracle(facts):
    lines = encode(facts)
    assert first_difference(run(lines), simulate(lines)) is None


@settings(max_examples=40, deadline=None)
@given(busy_logs(), st.integers(1, 40))
def test_hours_survive_a_restore_anywhere(facts, cut):
    lines = encode(facts)
    whole, first = Fold(0, None, SeenInMemory()), Fold(0, None, SeenInMemory())
    for offset, line in enumerate(lines):
        whole.fold(line, offset)
    for offset, line in enumerate(lines[:cut]):
        first.fold(line, offset)
    second = Fold(0, None, SeenInMemory())
    for key, value in first.drain_ledger():
        second.restore(key, value)
    second.restored()
    for offset, line in enumerate(lines[cut:], cut):
        second.fold(line, offset)
    assert [*first.outputs, *second.outputs] == whole.outputs
    after, drained = dict(whole.drain_ledger()), dict(second.drain_ledger())
    assert {key: after[key] for key in drained} == drained


def test_with_fewer_than_24_hours_nothing_is_unusual():
    facts = [subscription(START.isoformat(), **TERMS), *(hourly(n, n, 10) for n in range(23)), hourly("x", 30, 9_000)]
    assert not outputs(*facts)["alerts"]
    facts.insert(1, hourly("one more", 29, 10))
    assert [alert["used"] for alert in outputs(*facts, tick("2026-02-01T00:00:00Z"))["alerts"]] == [9_000]


def test_terms_that_do_not_ask_for_it_keep_no_hours():
    fold = Fold(0, None, SeenInMemory())
    for offset, line in enumerate(encode([subscription(START.isoformat()), hourly("a", 1, 60), hourly("b", 2, 60)])):
        fold.fold(line, offset)
    assert not [key for key, _ in fold.drain_ledger() if key.startswith(b"hours")]
