"""Anchored periods: month ends, daylight saving, and finding the period of an instant."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.period import boundary, days_later, index_at, instant, stamp, unix_micros, zone

BERLIN = "Europe/Berlin"
NEW_YORK = "America/New_York"


def local(text, zone_name):
    return instant(datetime.fromisoformat(text), zone_name)


def boundaries(anchor, interval, count, zone_name, n):
    found = [boundary(anchor, interval, count, zone_name, i).astimezone(zone(zone_name)) for i in range(n)]
    return [f"{at:%Y-%m-%d %H:%M}" for at in found]


def test_the_31st_monthly_stays_at_month_ends_and_comes_back():
    anchor = datetime(2026, 1, 31, tzinfo=UTC)
    assert boundaries(anchor, "month", 1, "UTC", 5) == [
        "2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00", "2026-04-30 00:00", "2026-05-31 00:00",
    ]  # fmt: skip


def test_29_february_yearly_is_28_in_common_years():
    anchor = datetime(2028, 2, 29, tzinfo=UTC)
    assert boundaries(anchor, "year", 1, "UTC", 5)[1:] == [
        "2029-02-28 00:00", "2030-02-28 00:00", "2031-02-28 00:00", "2032-02-29 00:00",
    ]  # fmt: skip


def test_a_daylight_saving_change_keeps_the_wall_clock_hour():
    anchor = local("2026-10-20T09:00", BERLIN)
    assert boundaries(anchor, "week", 1, BERLIN, 3) == ["2026-10-20 09:00", "2026-10-27 09:00", "2026-11-03 09:00"]
    first, second = (boundary(anchor, "week", 1, BERLIN, n) for n in (0, 1))
    assert second - first == timedelta(days=7, hours=1)


def test_a_skipped_hour_moves_forward_by_the_gap():
    anchor = local("2026-02-08T02:30", NEW_YORK)  # 8 March 2026, 02:30 does not exist
    assert boundaries(anchor, "month", 1, NEW_YORK, 3) == ["2026-02-08 02:30", "2026-03-08 03:30", "2026-04-08 02:30"]


def test_an_hour_that_occurs_twice_means_the_first():
    anchor = local("2026-10-01T01:30", NEW_YORK)  # 1 November 2026, 01:30 occurs twice
    assert boundary(anchor, "month", 1, NEW_YORK, 1) == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


def test_an_anchor_in_the_second_of_two_hours_is_kept():
    anchor = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    assert boundary(anchor, "day", 1, NEW_YORK, 0) == anchor


def test_due_days_are_local_calendar_days():
    assert days_later(local("2026-10-24T12:00", BERLIN), 2, BERLIN) == local("2026-10-26T12:00", BERLIN)


def test_an_unknown_zone_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="Mars/Olympus"):
        zone("Mars/Olympus")
    with pytest.raises(ValueError, match="etc/passwd"):
        zone("../../etc/passwd")


def test_stamps_are_utc():
    assert stamp(local("2026-11-01T00:00", NEW_YORK)) == "20261101T040000Z"


def test_stamps_tell_every_two_instants_apart():
    assert stamp(datetime(2026, 11, 1, 0, 0, 0, 20, tzinfo=UTC)) == "20261101T000000.000020Z"


def test_unix_microseconds_are_exact():
    assert unix_micros(datetime(2026, 11, 3, 10, 15, 36, 500_001, tzinfo=UTC)) == 1_793_700_936_500_001


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)),
    st.integers(0, 20 * 365 * 86_400),
    st.sampled_from(["day", "week", "month", "year"]),
    st.integers(1, 5),
    st.sampled_from([BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_every_instant_after_the_anchor_is_in_exactly_one_period(start, seconds, interval, count, zone_name):
    anchor = start.replace(tzinfo=UTC)
    at = anchor + timedelta(seconds=seconds)
    n = index_at(anchor, interval, count, zone_name, at)
    assert boundary(anchor, interval, count, zone_name, n) <= at < boundary(anchor, interval, count, zone_name, n + 1)
