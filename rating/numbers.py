"""Numbers: rented at a price for each period, by local calendar days.

What is rented when a period opens is charged in advance, for the whole of it. When the period closes, what was rented
or released in the midst of it is settled: ``price * days // days_in_period``, less what was charged. The day a number
is rented counts, the day it is released does not, and it costs a day at least.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

from rating.account import Account, Period, Rental, WaitingLine
from rating.books import Books, Refusal, within_bounds
from rating.facts import NumberReleased, NumberRented
from rating.period import stamp, wall_clock
from rating.request import line


def rent_number(books: Books, account: Account, fact: NumberRented) -> None:
    """Rent a number to an account.

    Raises:
        Refusal: ``wrong_currency``, ``no_subscription``, ``illegal_change``, ``out_of_range``.
    """
    if fact.currency not in (None, account.currency):
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the number in {fact.currency}")
    if not account.subscription.runs:
        raise Refusal("no_subscription", "the account has no active subscription")
    at = fact.at.astimezone(UTC)
    _check_open(account, at)
    rentals = books.history(account.account_id).rentals
    for known in rentals:
        if known.number == fact.number and (known.released_at is None or at < known.released_at):
            raise Refusal("illegal_change", f"number {fact.number} is rented already")
    prices = sum(known.price_micros for known in rentals if known.released_at is None)
    within_bounds("the numbers' prices", prices + fact.price_micros)
    rental = Rental(fact.number, fact.price_micros, at, fact.label)
    books.changed_history(account.account_id).rentals.append(rental)
    account.numbers += 1
    account.rentals += 1
    books.agencies.number(account, fact.number, at, True, books.offset)
    _tell(books, account, "number.rented", fact.fact_id, rental, at)


def release_number(books: Books, account: Account, fact: NumberReleased) -> None:
    """Take a number back from an account.

    Raises:
        Refusal: ``illegal_change``.
    """
    at = fact.at.astimezone(UTC)
    rentals = books.history(account.account_id).rentals if account.rentals else []
    rental = next((known for known in rentals if known.number == fact.number and known.released_at is None), None)
    if rental is None:
        raise Refusal("illegal_change", f"number {fact.number} is not rented")
    if at < rental.rented_at:
        raise Refusal("illegal_change", f"number {fact.number} is rented from {rental.rented_at.isoformat()} on")
    _check_open(account, at)
    books.changed_history(account.account_id)
    rental.released_at = at
    account.numbers -= 1
    _forget(books, account)
    books.agencies.number(account, fact.number, at, False, books.offset)
    _tell(books, account, "number.released", fact.fact_id, rental, at)


def charge_numbers(books: Books, account: Account, period: Period) -> list[dict[str, Any]]:
    """Charge the numbers that are rented as a period opens for the whole of it: its lines."""
    if not account.rentals:
        return []
    start = period.start
    counted: Counter[int] = Counter()
    names: dict[int, str] = {}
    for rental in books.changed_history(account.account_id).rentals:
        if rental.rented_at <= start and (rental.released_at is None or rental.released_at > start):
            rental.charged.append(start)
            counted[rental.price_micros] += 1
            names[rental.price_micros] = rental.number
    return [
        line(f"number:{price}", "number", _named(counted[price], names[price]), counted[price], "number", price,
             start, period.end)
        for price in sorted(counted) if price
    ]  # fmt: skip


def settle_numbers(
    books: Books,
    account: Account,
    period: Period,
    zone_name: str,
    canceled_at: datetime | None = None,
    credit_rest: bool = True,
) -> list[WaitingLine]:
    """Settle what numbers cost in a period that is over, against what was charged in advance.

    Args:
        books: the partition's.
        account: whose numbers.
        period: the last, or only, part of the period, with its end as it was meant to be.
        zone_name: whose calendar days count.
        canceled_at: it is over before its end.
        credit_rest: whether what is rented by then, and charged in advance, is credited from then on.

    Returns:
        the lines: for each price, number of days and charge in advance the difference.
    """
    if period.numbers_settled:
        return []
    period.numbers_settled = True
    if not account.rentals:
        return []
    start, end = period.whole_from or period.start, period.end
    over = end if canceled_at is None else canceled_at
    first, last = wall_clock(start, zone_name).date(), wall_clock(end, zone_name).date()
    in_period = max(1, (last - first).days)
    counted: Counter[tuple[int, int, int]] = Counter()
    names: dict[tuple[int, int, int], str] = {}
    for rental in books.changed_history(account.account_id).rentals:
        charged = 0
        if start in rental.charged:
            rental.charged.remove(start)
            charged = rental.price_micros
            if canceled_at is not None and not credit_rest and _is_rented(rental, canceled_at):
                continue
        days = _days(rental, start, over, first, zone_name)
        if rental.price_micros * days // in_period != charged:
            key = (rental.price_micros, days, charged)
            counted[key] += 1
            names[key] = rental.number
    _forget(books, account, canceled_at)
    return [
        WaitingLine(
            f"number:{stamp(start)}:{price}:{days}:{charged}",
            "number",
            f"{_named(counted[key], names[key])}, {days} of {in_period} days{', charged in advance' * (charged > 0)}",
            counted[key],
            "number",
            price * days // in_period - charged,
            start,
            end,
        )
        for key in sorted(counted)
        for price, days, charged in [key]
    ]


def _is_rented(rental: Rental, at: datetime) -> bool:
    return rental.released_at is None or rental.released_at > at


def _days(rental: Rental, start: datetime, over: datetime, first: date, zone_name: str) -> int:
    """Local calendar days of a rental within ``[start, over)``: at least 1 where it began in there."""
    begins, ends = rental.rented_at, over
    if rental.released_at is not None and rental.released_at < over:
        ends = rental.released_at
    if begins >= over:
        return 0
    from_day = max(wall_clock(begins, zone_name).date(), first)
    days = (wall_clock(ends, zone_name).date() - from_day).days
    return max(days, 1 if begins >= start else 0)


def _check_open(account: Account, at: datetime) -> None:
    """Whatever is before the oldest open period has been asked for."""
    if account.periods:
        oldest = account.periods[0]
        if at < (oldest.whole_from or oldest.start):
            raise Refusal("illegal_change", "at is before the start of the oldest open period")


def _forget(books: Books, account: Account, canceled_at: datetime | None = None) -> None:
    """Let go of what is released and settled; what is released later than any period ends may yet be charged."""
    history = books.history(account.account_id)
    open_periods = [period for period in account.periods if not period.numbers_settled]
    latest = canceled_at or (account.periods[-1].end if account.periods else account.subscription.ends_at)

    def matters(rental: Rental) -> bool:
        released_at = rental.released_at
        if released_at is None or rental.charged or latest is None or released_at > latest:
            return True
        return any((period.whole_from or period.start) <= released_at for period in open_periods)

    history.rentals = [rental for rental in history.rentals if matters(rental)]
    account.rentals = len(history.rentals)


def _named(count: int, number: str) -> str:
    return f"Number {number}" if count == 1 else f"{count} numbers"


def _tell(books: Books, account: Account, kind: str, fact_id: str, rental: Rental, at: datetime) -> None:
    content = {
        "fact_id": fact_id,
        "number": rental.number,
        "price_micros": rental.price_micros,
        "currency": account.currency,
        "label": rental.label,
        "rented_at": rental.rented_at,
        "numbers": account.numbers,
    }
    books.emit_billing(kind, account, at, content)
