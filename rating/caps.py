"""Caps that have a name: levels of minutes, spend, cost, margin or wallet, in a period or in a day.

Minutes, spend and cost have a ceiling. Margin and wallet have a floor, which is reached when they are at or below it. A
period is the newest open one. A day is a local calendar day of the terms' zone, as ticks tell it: what is rated while
the clock is in it counts in it. Days are counted only for accounts that have a cap per day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rating.account import Account, Caps, Day, Period
from rating.books import Books
from rating.outputs import ALERTS
from rating.period import day_of, stamp
from rating.terms import NamedCap

# Of sums that nothing bounds: far beyond any money, and still an integer of the ledger.
LARGEST_SUM = 2**62


def used_of(account: Account, cap: NamedCap, counted: Period | Day) -> tuple[int, int] | None:
    """How much of a cap is used, and its limit, in seconds or micros; None where there is nothing to look at yet.

    There is no margin before the first call whose cost is known.
    """
    match cap.on:
        case "minutes":
            return counted.billed_s, cap.limit * 60
        case "spend":
            return counted.usage_micros, cap.limit
        case "cost":
            return counted.cost_micros, cap.limit
        case "margin":
            return (counted.margin_micros, cap.limit) if counted.margin_micros or counted.cost_micros else None
        case "wallet":
            return account.wallet_s, cap.limit * 60


def level_is_reached(cap: NamedCap, level: int, used: int, limit: int) -> bool:
    """Whether a ceiling is used up to a percentage, or what is left has come down to a floor.

    A level of a floor is reached where the floor is that percentage of what is left: 80 % of a floor of 100 at 125. A
    floor of 0 or below has one level only.
    """
    if cap.on in ("margin", "wallet"):
        return used * level <= limit * 100 if limit > 0 else used <= limit
    return used * 100 >= level * limit


def hard_cap_is_reached(account: Account, caps: Caps, newest: Period) -> bool:
    """Whether one of the caps turns access off now."""
    for cap, counted in _looked_at(caps, newest):
        if cap.mode == "hard":
            used = used_of(account, cap, counted)
            if used is not None and level_is_reached(cap, 100, *used):
                return True
    return False


def fire_caps(books: Books, account: Account, caps: Caps, at: datetime) -> None:
    """Fire the levels reached and not fired yet in this period or day, cap by cap, ascending.

    A level of the wallet that was fired fires again once the wallet was above it.
    """
    newest = account.newest
    if newest is None:
        return
    for cap, counted in _looked_at(caps, newest):
        used = used_of(account, cap, counted)
        if used is None:
            continue
        before = (counted.caps_fired or {}).get(cap.name, [])
        reached = [level for level in cap.alerts_percent if level_is_reached(cap, level, *used)]
        fired = [level for level in before if level in reached or cap.on != "wallet"]
        new = [level for level in reached if level not in before]
        if cap.on == "wallet" and len(fired) < len(before):
            caps.rearmed += 1
        if new or len(fired) < len(before):
            counted.caps_fired = {**(counted.caps_fired or {}), cap.name: fired + new}
        for level in new:
            _fire(books, account, caps, cap, counted, level, at, *used)


def replace_caps(books: Books, account: Account, caps: tuple[NamedCap, ...], at: datetime) -> None:
    """Set the caps. Counts go on, and levels that were fired stay fired, by the names of the caps."""
    old = account.caps
    account.caps = Caps(caps=caps, rearmed=old.rearmed if old else 0)
    if any(cap.per == "day" for cap in caps):
        account.caps.day = old.day if old else None
        if account.caps.day is None:
            account.caps.day = _today(books, account, books.clock or at)
    if not caps and not account.caps.rearmed:
        account.caps = None


def begin_day(books: Books, account: Account, now: datetime) -> None:
    """Begin the day that ``now`` is in, if the account counts days and the one before is over."""
    caps = account.caps
    if caps is not None and caps.day is not None and now >= caps.day.end:
        caps.day = _today(books, account, now)


def count_cost(counted: Period | Day, cost: int, amount: int) -> None:
    """Count a call's cost, and what is left of its amount. A call is not refused for its cost, so sums have an end."""
    counted.cost_micros = min(counted.cost_micros + cost, LARGEST_SUM)
    counted.margin_micros = max(counted.margin_micros + amount - cost, -LARGEST_SUM)


def count_today(day: Day, billed_s: int, amount: int, cost: int | None) -> None:
    """Count a call; ``cost`` is None where it is not known in the account's currency.

    A period refuses calls that go beyond its bounds, but before the first tick a day may have thousands of periods.
    """
    day.billed_s = min(day.billed_s + billed_s, LARGEST_SUM)
    day.usage_micros = min(day.usage_micros + amount, LARGEST_SUM)
    if cost is not None:
        count_cost(day, cost, amount)
        day.margin_micros = min(day.margin_micros, LARGEST_SUM)


def _today(books: Books, account: Account, now: datetime) -> Day:
    start, end = day_of(now, books.tariffs[account.subscription.terms_id].terms.timezone)
    return Day(start=start, end=end)


def _looked_at(caps: Caps, newest: Period) -> Iterator[tuple[NamedCap, Period | Day]]:
    for cap in caps.caps:
        counted = newest if cap.per == "period" else caps.day
        if counted is not None:
            yield cap, counted


def _fire(
    books: Books,
    account: Account,
    caps: Caps,
    cap: NamedCap,
    counted: Period | Day,
    level: int,
    at: datetime,
    used: int,
    limit: int,
) -> None:
    newest = account.periods[-1]
    subscription_id = newest.subscription_id
    again = f":{caps.rearmed}" if cap.on == "wallet" and caps.rearmed else ""
    of = f"{account.account_id}:{subscription_id}:{stamp(counted.start)}"
    value = {
        "type": "cap",
        "alert_id": f"{of}:{cap.per}:{cap.name}:{level}{again}",
        "level": level,
        "account_id": account.account_id,
        "agency_id": account.agency_id,
        "subscription_id": subscription_id,
        "period_start": newest.start,
        "at": at.astimezone(UTC),
        "used": used,
        "limit": limit,
        "cap": cap.name,
        "on": cap.on,
        "per": cap.per,
        "mode": cap.mode,
        "day_start": counted.start if cap.per == "day" else None,
    }
    books.emit(ALERTS, account, value)
