"""Rented numbers: days are local, what is charged in advance and settled at the close is what the days cost."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rating.builders import fact, outputs, refused, subscription, tick

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = {"interval": "week", "price_micros": 0}


def rented(at, number="+1", price=700):
    own = fact("number.rented", f"rent {number} {at}", at, price_micros=price)
    return {**own, "number": number}


def released(at, number="+1"):
    return {**fact("number.released", f"release {number} {at}", at), "number": number}


def number_lines(found):
    events = found["billing-events"]
    return [
        (line["quantity"], line["unit_price_micros"])
        for event in events
        for line in event.get("lines", ())
        if line["kind"] == "number"
    ]


# Weeks from Sunday, 1 November 2026, UTC; 700 a week is 100 a day.
@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        # Rented as the period is open: settled at its close, whole weeks in advance from then on.
        ([rented("2026-11-03T12:00:00Z")], [(1, 700), (1, 500)]),
        # The very start of an open period is the whole of it.
        ([rented("2026-11-01T00:00:00Z")], [(1, 700), (1, 700)]),
        # The last day alone; a microsecond of it.
        ([rented("2026-11-07T23:59:59.999999Z")], [(1, 700), (1, 100)]),
        # On one day and off on the same: one day. Off on the next: one day, too.
        ([rented("2026-11-03T00:00:00Z"), released("2026-11-03T00:00:00Z")], [(1, 100)]),
        ([rented("2026-11-03T23:00:00Z"), released("2026-11-04T01:00:00Z")], [(1, 100)]),
        # Twice on one day is twice a day.
        (
            [rented("2026-11-03T01:00:00Z"), released("2026-11-03T02:00:00Z"), rented("2026-11-03T03:00:00Z"),
             released("2026-11-03T04:00:00Z")],
            [(2, 100)],
        ),
        # In advance, and given back: on the first day nothing is left of it.
        ([rented("2026-11-01T00:00:00Z"), tick("2026-11-08T00:00:00Z"), released("2026-11-08T12:00:00Z")],
         [(1, 700), (1, 700), (1, -700)]),
        ([rented("2026-11-01T00:00:00Z"), tick("2026-11-08T00:00:00Z"), released("2026-11-12T12:00:00Z")],
         [(1, 700), (1, 700), (1, -300)]),
        # What is for nothing has no line.
        ([rented("2026-11-03T12:00:00Z", price=0)], []),
        # To come: from the week on that it is in.
        ([rented("2026-11-12T12:00:00Z")], [(1, 700), (1, 300)]),
        # Numbers of one price are one line.
        ([rented("2026-11-02T00:00:00Z"), rented("2026-11-02T00:00:00Z", "+2"),
          rented("2026-11-02T00:00:00Z", "+3", 7)],
         [(1, 7), (2, 700), (1, 6), (2, 600)]),
    ],
)  # fmt: skip
def test_what_numbers_cost(facts, lines):
    last = "2026-11-15T00:00:00Z" if any(one["type"] == "tick" for one in facts) else "2026-11-08T00:00:00Z"
    until = "2026-11-15T00:00:00Z" if facts[0]["at"] > "2026-11-08" else last
    found = outputs(subscription(**WEEK), *facts, tick(until))
    assert not found["dead-letters"]
    assert number_lines(found) == lines


def test_days_are_those_of_the_terms_zone():
    # 22:30 UTC on the 3rd is 23:30 there, 23:30 UTC is the 4th.
    for at, days in (("2026-11-03T22:30:00Z", 5), ("2026-11-03T23:30:00Z", 4)):
        found = outputs(
            subscription("2026-10-31T23:00:00Z", **WEEK, timezone="Europe/Berlin"), rented(at),
            tick("2026-11-07T23:00:00Z"),
        )  # fmt: skip
        assert number_lines(found) == [(1, 700), (1, days * 100)]


def test_a_change_of_plan_leaves_numbers_alone():
    terms = {"plan": "other", "currency": "USD", "interval": "week"}
    change = fact("subscription.changed", 1, "2026-11-10T00:00:00Z", subscription_id="sub_1", when="now", terms=terms)
    same = (rented("2026-11-01T00:00:00Z"), tick("2026-11-08T00:00:00Z"))
    rest = (rented("2026-11-11T00:00:00Z", "+2"), released("2026-11-12T00:00:00Z"), tick("2026-11-15T00:00:00Z"))
    expected = [(1, 700), (1, 700), (1, 700), (1, -300), (1, 400)]
    assert sorted(number_lines(outputs(subscription(**WEEK), *same, *rest))) == sorted(expected)
    assert sorted(number_lines(outputs(subscription(**WEEK), *same, change, *rest))) == sorted(expected)


@pytest.mark.parametrize(
    ("credit", "lines"), [("unused", [(1, -500), (1, 200)]), ("none", [(1, 200)])], ids=["unused", "none"]
)
def test_a_cancellation_settles_numbers_up_to_its_day(credit, lines):
    found = outputs(
        subscription(**WEEK, cancel_credit=credit),
        rented("2026-11-01T00:00:00Z"),
        tick("2026-11-08T00:00:00Z"),
        rented("2026-11-08T00:00:00Z", "+2"),
        fact("subscription.canceled", 1, "2026-11-10T12:00:00Z", subscription_id="sub_1", when="now"),
        tick("2026-11-11T00:00:00Z"),
    )
    assert sorted(number_lines(found)[2:]) == sorted(lines)
    assert not found["dead-letters"]


def test_what_is_still_rented_is_charged_when_a_subscription_starts_again():
    end = fact("subscription.canceled", 1, "2026-11-03T00:00:00Z", subscription_id="sub_1", when="now")
    again = subscription("2026-12-01T00:00:00Z", fact="again", sub="sub_2", **WEEK)
    found = outputs(subscription(**WEEK), rented("2026-11-01T00:00:00Z"), end, tick("2026-11-04T00:00:00Z"), again)
    assert number_lines(found) == [(1, 200), (1, 700)]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([rented("2026-11-02T00:00:00Z"), rented("2026-11-03T00:00:00Z")], "illegal_change"),
        ([released("2026-11-02T00:00:00Z")], "illegal_change"),
        ([rented("2026-11-02T00:00:00Z"), released("2026-11-01T00:00:00Z")], "illegal_change"),
        ([rented("2026-10-31T23:59:59Z")], "illegal_change"),
        ([rented("2026-11-02T00:00:00Z"), released("2026-11-04T00:00:00Z"), released("2026-11-05T00:00:00Z")],
         "illegal_change"),
        ([rented("2026-11-02T00:00:00Z"), released("2026-11-04T00:00:00Z"), rented("2026-11-03T00:00:00Z")],
         "illegal_change"),
        ([rented("2026-11-02T00:00:00Z", price=2**53), rented("2026-11-02T00:00:00Z", "+2", 1)], "out_of_range"),
        ([rented("2026-11-02T00:00:00Z") | {"currency": "EUR"}], "wrong_currency"),
        ([rented("2026-11-02T00:00:00Z", price=-1)], "malformed"),
        ([rented("2026-11-02T00:00:00Z", "x" * 129)], "malformed"),
        ([fact("subscription.canceled", 1, subscription_id="sub_1", when="now"), rented("2026-11-03T00:00:00Z")],
         "no_subscription"),
    ],
)  # fmt: skip
def test_what_is_refused(facts, reason):
    assert refused(subscription(**WEEK), *facts) == [reason]


def test_the_same_fact_again_rents_nothing():
    once = rented("2026-11-02T00:00:00Z")
    assert number_lines(outputs(subscription(**WEEK), once, once, tick("2026-11-08T00:00:00Z"))) == [(1, 700), (1, 600)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60 * 24), st.integers(0, 40 * 24), st.integers(0, 10**7)), max_size=5),
    st.sampled_from(["day", "week", "month"]),
    st.integers(0, 2**53 // 10**9),
)
def test_over_all_periods_numbers_cost_what_their_days_cost(rentals, interval, base):
    """However they lie to the periods: the sum of all lines is that of ``price * days // days_in_period``."""
    start = datetime(2026, 9, 15, 15, tzinfo=BERLIN)
    events, spans = [], []
    for number, (hour, hours, price) in enumerate(rentals):
        begins = start.astimezone(UTC) + timedelta(hours=hour)
        ends = begins + timedelta(hours=hours)
        spans.append((begins, ends, base + price))
        events.append((begins, 0, rented(begins.isoformat(), f"+{number}", base + price)))
        events.append((ends, 1, released(ends.isoformat(), f"+{number}")))
    events += [(at, 2, tick(at.isoformat())) for day in range(1, 160)
               for at in [start.astimezone(UTC) + timedelta(days=day, hours=7)]]  # fmt: skip
    facts = [each for *_, each in sorted(events, key=lambda event: event[:2])]
    terms = {"interval": interval, "price_micros": 0, "timezone": "Europe/Berlin"}
    found = outputs(subscription(start.isoformat(), **terms), *facts)
    assert not found["dead-letters"]
    opened = [event for event in found["billing-events"] if event["type"] == "cycle.opened"]
    expected = 0
    for event in opened:
        first, last = (datetime.fromisoformat(event[name]) for name in ("period_start", "period_end"))
        for begins, ends, price in spans:
            if begins < last and ends >= first:
                begin_day = max(local_day(begins), local_day(first))
                days = (min(local_day(ends), local_day(last)) - begin_day).days
                days = max(days, 1 if begins >= first else 0)
                expected += price * days // max(1, (local_day(last) - local_day(first)).days)
    assert sum(quantity * price for quantity, price in number_lines(found)) == expected


def local_day(moment: datetime) -> date:
    return moment.astimezone(BERLIN).date()
