"""Unusual usage: an alert when an account's clock hour bills far more than its hours use to.

An hour is one of UTC, a call's is that of its end, and an hour without billed seconds does not count. What is kept are
the newest hour, in `Account`, and the hours of the 28 days before it, in a record of their own that is written when an
hour ends, for it is large. A call of an hour before the kept ones is not counted.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from rating.account import Account, Hour, Period
from rating.alerts import fire
from rating.books import Books
from rating.period import EPOCH, stamp, unix_micros

KEPT_HOURS = 28 * 24
# With fewer hours to compare with there is no telling what is usual.
LEAST_HOURS = 24
LEAST_S = 3_600
TIMES = 4
HOUR = timedelta(hours=1)
HOUR_MICROS = 3_600 * 1_000_000
NEVER_S = 2**62


def count_hour(books: Books, account: Account, period: Period, ended_at: datetime, billed_s: int) -> None:
    """Count a call in its hour, and fire the hour's alert when it is reached."""
    if not billed_s:
        return
    number = unix_micros(ended_at) // HOUR_MICROS
    newest = account.hour
    if newest is None or number > newest.number:
        newest = account.hour = _begin(books, account, number)
    if number == newest.number:
        newest.billed_s += billed_s
        if newest.billed_s <= LEAST_S or newest.fired:
            return
        if newest.limit_s is None:
            newest.limit_s = _limit_s(books, account, number)
        used, limit_s = newest.billed_s, newest.limit_s
        if used > limit_s:
            newest.fired = True
    elif number < newest.number - KEPT_HOURS:
        return
    else:
        hours = books.changed_hours(account.account_id)
        newest.limit_s = None
        used = hours.billed_s[number] = hours.billed_s.get(number, 0) + billed_s
        if number in hours.fired:
            return
        limit_s = _limit_s(books, account, number)
        if used > limit_s:
            hours.fired.append(number)
    if used > limit_s:
        hour = EPOCH + number * HOUR
        more = {"hour": hour}
        fire(books, account, period, ended_at, "unusual_usage", 100 * TIMES, used, limit_s, stamp(hour), more)


def _begin(books: Books, account: Account, number: int) -> Hour:
    """A new newest hour; the one before goes to the others, and the oldest go."""
    before = account.hour
    if before is not None:
        hours = books.changed_hours(account.account_id)
        hours.billed_s[before.number] = before.billed_s
        if before.fired:
            hours.fired.append(before.number)
        oldest = number - KEPT_HOURS
        hours.billed_s = {one: billed_s for one, billed_s in hours.billed_s.items() if one >= oldest}
        hours.fired = [one for one in hours.fired if one >= oldest]
    return Hour(number)


def _limit_s(books: Books, account: Account, number: int) -> int:
    """The most seconds that are not unusual for an hour: four times the mean of those before it, rounded down."""
    before = [billed_s for one, billed_s in books.hours(account.account_id).billed_s.items() if one < number]
    if len(before) < LEAST_HOURS:
        return NEVER_S
    return max(LEAST_S, TIMES * sum(before) // len(before))
