"""How an agency's periods are laid: by its wholesale terms, and before the first of them by calendar months in UTC.

Terms that follow others take over where a period begins, as a change of plan at the next period does: no period is ever
cut, but for the calendar month that the first terms begin in. Both folds lay periods by this, so what a partition sums
up and what the second fold opens and closes are the same periods.
"""

from __future__ import annotations

from bisect import insort_right
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from rating.period import Interval, boundary, index_at
from rating.terms import WholesaleTerms

FIRST_MONTH = datetime(2000, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class WholesaleVersion(msgspec.Struct, array_like=True):
    """Wholesale terms, in force from ``at`` until those of the next version are."""

    at: datetime
    terms: WholesaleTerms


def add_version(versions: list[WholesaleVersion], at: datetime, terms: WholesaleTerms) -> None:
    """Take terms in; of two with the same ``at`` those that were set later count."""
    insort_right(versions, WholesaleVersion(at.astimezone(UTC), terms), key=lambda one: one.at)


class Schedule(NamedTuple):
    """From when an agency's periods are laid how: boundaries counted from ``anchor``, before it, too."""

    since: datetime
    anchor: datetime
    interval: Interval
    interval_count: int
    timezone: str
    terms: WholesaleTerms | None = None

    def around(self, at: datetime) -> tuple[datetime, datetime]:
        """Start and end of the whole period that contains an instant."""
        laid = self.anchor, self.interval, self.interval_count, self.timezone
        n = index_at(*laid, at)
        while n < 0 and boundary(*laid, n) > at:
            n -= 1
        return boundary(*laid, n), boundary(*laid, n + 1)

    def part_of(self, amount: int, start: datetime, end: datetime) -> int:
        """What falls on ``[start, end)``, in whole seconds, of an amount for the whole period. Rounded down."""
        whole_start, whole_end = self.around(start)
        return amount * ((end - start) // SECOND) // ((whole_end - whole_start) // SECOND)


CALENDAR = Schedule(FIRST_MONTH, FIRST_MONTH, "month", 1, "UTC")
NO_SCHEDULES = (CALENDAR,)


class Laid(NamedTuple):
    """A period of an agency ``[start, end)``, and the schedule that it is by."""

    start: datetime
    end: datetime
    schedule: Schedule


def schedules_of(versions: list[WholesaleVersion]) -> tuple[Schedule, ...]:
    """How periods are laid, given all wholesale terms of an agency, ascending by ``at``."""
    schedules = [CALENDAR]
    left = list(versions)
    since = left[0].at if left else FIRST_MONTH
    while left:
        # Of those that take over at one time the last counts.
        while len(left) > 1 and left[1].at <= since:
            del left[0]
        terms = left.pop(0).terms
        before = schedules[-1]
        laid = (terms.interval, terms.interval_count, terms.timezone)
        keeps_time = before.terms is not None and laid == before[2:5]
        anchor = terms.anchor or (before.anchor if keeps_time else since)
        schedules.append(Schedule(since, anchor, *laid, terms))
        if left:
            start, end = schedules[-1].around(left[0].at)
            since = left[0].at if left[0].at == max(start, since) else end
    return tuple(schedules)


def span_at(schedules: tuple[Schedule, ...], at: datetime) -> Laid:
    """An agency's period that contains an instant.

    Args:
        schedules: ascending by ``since``; the first one holds for all time before.
        at: any instant.
    """
    n = max((k for k, one in enumerate(schedules) if one.since <= at), default=0)
    one = schedules[n]
    start, end = one.around(at)
    if n:
        start = max(start, one.since)
    if n + 1 < len(schedules):
        end = min(end, schedules[n + 1].since)
    return Laid(start, end, one)
