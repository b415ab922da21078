"""Anchored periods: the n-th boundary is ``anchor + n * interval`` on the wall clock of a time zone.

Counting from the anchor, never from the last boundary, is what keeps 31 January monthly at 28 February, 31 March,
30 April, and a daylight-saving change at the same hour. A wall-clock time that a change skips moves forward by the gap;
one that occurs twice means the first. Time zones come from the pinned ``tzdata`` package, so that a replay years later
finds the rules it was rated with.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Interval = Literal["day", "week", "month", "year"]


@cache
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        ValueError: there is no such zone in ``tzdata``.
    """
    if name not in _zone_names():
        raise ValueError(f"unknown time zone {name!r}")
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text().split())


def wall_clock(at: datetime, zone_name: str) -> datetime:
    """The naive local time of an instant."""
    return at.astimezone(zone(zone_name)).replace(tzinfo=None, fold=0)


def instant(local: datetime, zone_name: str) -> datetime:
    """The UTC instant of a naive local time (skipped: moved forward by the gap; ambiguous: the first)."""
    return local.replace(tzinfo=zone(zone_name)).astimezone(UTC)


@lru_cache(maxsize=65_536)
def boundary(anchor: datetime, interval: Interval, count: int, zone_name: str, n: int) -> datetime:
    """The start of the n-th period (counted from 0) of an anchor, in UTC.

    Args:
        anchor: start of the first period, with a zone.
        interval: unit of a period.
        count: units in one period, at least 1.
        zone_name: IANA name of the zone whose wall clock is kept.
        n: which boundary, at least 0.
    """
    if n == 0:
        return anchor.astimezone(UTC)
    local = wall_clock(anchor, zone_name)
    steps = n * count
    if interval == "month":
        local += relativedelta(months=steps)
    elif interval == "year":
        local += relativedelta(years=steps)
    else:
        local += timedelta(days=steps if interval == "day" else 7 * steps)
    return instant(local, zone_name)


def index_at(anchor: datetime, interval: Interval, count: int, zone_name: str, at: datetime) -> int:
    """Which period of an anchor contains an instant.

    Returns:
        n with ``boundary(n) <= at < boundary(n + 1)``; negative where ``at`` is before the anchor.
    """
    if at < anchor:
        return -1
    days = (at - anchor).days
    n = int(days // ({"day": 1, "week": 7, "month": 31, "year": 366}[interval] * count))
    n = max(n - 1, 0)
    while boundary(anchor, interval, count, zone_name, n + 1) <= at:
        n += 1
    return n


def days_later(at: datetime, days: int, zone_name: str) -> datetime:
    """The instant some local calendar days later at the same wall-clock time, in UTC."""
    if days == 0:
        return at.astimezone(UTC)
    return instant(wall_clock(at, zone_name) + timedelta(days=days), zone_name)


def day_of(at: datetime, zone_name: str) -> tuple[datetime, datetime]:
    """Start and end of the local calendar day that contains an instant, in UTC."""
    midnight = wall_clock(at, zone_name).replace(hour=0, minute=0, second=0, microsecond=0)
    return instant(midnight, zone_name), instant(midnight + timedelta(days=1), zone_name)


def stamp(at: datetime) -> str:
    """An instant as it stands in ids, such as ``20261101T000000Z``; two instants never look the same.

    What is left of a second is told where there is any: ``20261101T000000.250000Z``.
    """
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ" if at.microsecond else "%Y%m%dT%H%M%SZ")


def unix_micros(at: datetime) -> int:
    """Whole microseconds since 1970, exact."""
    return (at - EPOCH) // MICROSECOND
