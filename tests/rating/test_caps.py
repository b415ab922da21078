"""Caps that have a name: what they measure, when their levels fire, when they turn access off and on again."""

from datetime import UTC, datetime

import pytest

from rating.account import Day
from rating.caps import count_today
from tests.rating.builders import call, fact, outputs, pack, refused, subscription, tick


def caps_set(number, *caps, at="2026-11-02T00:00:00Z"):
    return fact("caps.set", number, at=at, caps=list(caps))


def cap(on, limit, name="one", **fields):
    return {"name": name, "on": on, "limit": limit, **fields}


def fired(*facts):
    return [(alert["cap"], alert["level"], alert["used"]) for alert in outputs(*facts)["alerts"] if "on" in alert]


def access(*facts):
    return [event["reasons"] for event in outputs(*facts)["access-events"]]


def minute(number, at="2026-11-03T10:01:00Z", **fields):
    return call(number, ended=at, answered=at.replace(":01:", ":00:"), **fields)


# One call of a minute at 0.12, its cost 0.05; nothing is included.
PAYG = subscription(included_minutes=0)


@pytest.mark.parametrize(
    ("on", "limit", "used"),
    [("minutes", 1, 60), ("spend", 120_000, 120_000), ("cost", 50_000, 50_000), ("margin", 70_000, 70_000)],
)
@pytest.mark.parametrize("per", ["period", "day"])
def test_each_measure_reaches_its_limit_exactly(on, limit, used, per):
    one = minute(1, cost_micros=50_000)
    facts = PAYG, caps_set(1, cap(on, limit, per=per, alerts_percent=[100])), one
    assert fired(*facts) == [("one", 100, used)]
    assert access(*facts) == [["cap_reached"]]
    not_quite = limit - 1 if on == "margin" else limit + 1
    assert fired(PAYG, caps_set(1, cap(on, not_quite, per=per, alerts_percent=[100])), one) == []


def test_a_wallet_fires_again_once_it_was_filled():
    floor = caps_set(1, cap("wallet", 1, mode="soft", alerts_percent=[50, 100]))
    facts = PAYG, pack(9, minutes=3), floor, minute(1), minute(2), pack(10, minutes=2), minute(3)
    assert fired(*facts) == [("one", 50, 120), ("one", 100, 60), ("one", 50, 120)]
    ids = [alert["alert_id"] for alert in outputs(*facts)["alerts"]]
    assert ids[0] == "acct_1:sub_1:20261101T000000Z:period:one:50"
    assert ids[2] == "acct_1:sub_1:20261101T000000Z:period:one:50:1"


def test_a_floor_of_margin_is_not_looked_at_before_a_cost_is_known():
    floor = caps_set(1, cap("margin", 0, alerts_percent=[100]))
    assert access(PAYG, floor, minute(1)) == []
    assert access(PAYG, floor, minute(1, cost_micros=130_000)) == [["cap_reached"]]
    assert access(PAYG, floor, minute(1, cost_micros=130_000, cost_currency="EUR")) == []


def test_a_cap_is_raised_and_lowered_at_once():
    low, high = cap("minutes", 1), cap("minutes", 2)
    facts = PAYG, caps_set(1, low), minute(1), caps_set(2, high), caps_set(3, low), caps_set(4)
    assert access(*facts) == [["cap_reached"], [], ["cap_reached"], []]
    assert fired(*facts) == [("one", 80, 60), ("one", 100, 60)]


def test_a_cap_that_is_set_below_what_is_used_fires_at_once():
    assert fired(PAYG, minute(1), caps_set(1, cap("spend", 60_000))) == [("one", 80, 120_000), ("one", 100, 120_000)]


def test_a_day_ends_by_a_tick_and_calls_in_progress_are_still_rated():
    daily = caps_set(1, cap("minutes", 1, per="day"))
    facts = (
        subscription(included_minutes=0, timezone="America/New_York"), tick("2026-11-03T00:00:00Z"), daily,
        minute(1), minute(2), tick("2026-11-03T04:59:59Z"), minute(3), tick("2026-11-03T05:00:00Z"), minute(4),
    )  # fmt: skip
    assert access(*facts) == [["cap_reached"], [], ["cap_reached"]]
    assert len(outputs(*facts)["rated-calls"]) == 4
    starts = [alert["day_start"] for alert in outputs(*facts)["alerts"] if alert["level"] == 100]
    assert starts == ["2026-11-02T05:00:00Z", "2026-11-03T05:00:00Z"]


def test_levels_of_a_period_fire_anew_in_the_next():
    soft = caps_set(1, cap("minutes", 1, mode="soft", alerts_percent=[100]))
    later = minute(2, at="2026-12-01T10:01:00Z")
    assert fired(PAYG, soft, minute(1), tick("2026-12-01T00:00:00Z", jump=True), later) == [("one", 100, 60)] * 2


@pytest.mark.parametrize(
    "caps",
    [
        [cap("minutes", -1)],
        [cap("minutes", 2**53 // 60 + 1)],
        [cap("cost", 1), cap("spend", 1)],
        [cap("length", 1)],
        [cap("cost", 1, per="year")],
        [cap("cost", 1, name="é" * 65)],
        [cap("cost", 1, name=str(n)) for n in range(33)],
    ],
)
def test_caps_that_make_no_sense_are_no_fact(caps):
    assert refused(PAYG, caps_set(1, *caps)) == ["malformed"]


def test_no_call_is_refused_for_its_cost_however_large_the_sum():
    calls = [minute(number, cost_micros=2**53) for number in range(2_000)]
    capped = fired(PAYG, *calls, caps_set(1, cap("cost", 2**53, alerts_percent=[100])))
    assert capped == [("one", 100, 2**62)]


def test_a_day_with_thousands_of_periods_has_sums_that_end():
    day = Day(start=datetime(2026, 11, 1, tzinfo=UTC), end=datetime(2026, 11, 2, tzinfo=UTC))
    for _ in range(3_000):
        count_today(day, 2**53, 2**53, 0)
    assert (day.billed_s, day.usage_micros, day.margin_micros) == (2**62, 2**62, 2**62)
