"""The forecast of a period is an integer that the wire can carry, whatever the usage so far."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rating.forecast import Standing, forecast
from rating.terms import LARGEST, Tariff, Terms

START = datetime(2026, 11, 1, tzinfo=UTC)


def test_a_forecast_ends_where_integers_do():
    terms = Terms(
        plan="p",
        currency="USD",
        interval="year",
        included_minutes=1,
        overage="billed",
        overage_micros_per_minute=1,
    )
    standing = Standing(START, START + timedelta(days=36_500), 60, 0, LARGEST, LARGEST, LARGEST, LARGEST, 0, 0)
    found = forecast(standing, Tariff(terms), True, START + timedelta(days=2))
    assert found is not None
    assert (found.billed_s, found.usage_micros) == (LARGEST, LARGEST)
