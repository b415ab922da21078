"""Anchored period boundaries and calendar days, worked out on naive local times.

The n-th boundary is `anchor + n * interval` on the wall clock of the plan's zone. The sum is made on naive local times
and converted back to UTC with fold 0, as Python does it:

* a local time that does not exist (the hour a clock skips) moves forward by the gap: 02:30 becomes 03:30;
* a local time that exists twice is the first of the two.

Nothing added (n = 0, or 0 days) gives the very instant back, also when that is the second of two equal local times.
"""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo


@lru_cache(maxsize=64)
def zone_named(name: str) -> ZoneInfo:
    """The zone as the pinned tzdata package has it; ValueError when there is none of that name."""
    parts = name.split("/")
    if not all(part and part.strip(".") == part for part in parts):
        raise ValueError(f"no time zone {name!r}")
    try:
        with files("tzdata.zoneinfo").joinpath(*parts).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError) as error:
        raise ValueError(f"no time zone {name!r}") from error


def in_ids(instant: datetime) -> str:
    """As ids tell it: `20261101T000000Z`, and with six more digits where it is no whole second."""
    text = instant.astimezone(UTC).isoformat().removesuffix("+00:00")
    return text.replace("-", "").replace(":", "") + "Z"


def _naive(instant: datetime, zone: str) -> datetime:
    return instant.astimezone(zone_named(zone)).replace(tzinfo=None, fold=0)


def _utc(naive: datetime, zone: str) -> datetime:
    return naive.replace(tzinfo=zone_named(zone), fold=0).astimezone(UTC)


def _months_later(naive: datetime, months: int) -> datetime:
    year, month = naive.year, naive.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    for _ in range(-months):
        year, month = (year - 1, 12) if month == 1 else (year, month - 1)
    return naive.replace(year=year, month=month, day=min(naive.day, monthrange(year, month)[1]))


@lru_cache(maxsize=100_000)
def boundary(anchor: datetime, interval: str, count: int, zone: str, n: int) -> datetime:
    """The n-th boundary, in UTC; `interval` is day, week, month or year, `count` how many of them make one period."""
    if n == 0:
        return anchor
    local = _naive(anchor, zone)
    if interval == "day":
        return _utc(local + timedelta(days=n * count), zone)
    if interval == "week":
        return _utc(local + timedelta(days=7 * n * count), zone)
    return _utc(_months_later(local, n * count * {"month": 1, "year": 12}[interval]), zone)


def days_later(instant: datetime, days: int, zone: str) -> datetime:
    """The same wall-clock time `days` calendar days later in `zone`, in UTC."""
    return _utc(_naive(instant, zone) + timedelta(days=days), zone) if days else instant
