"""What rented numbers cost: whole periods in advance, the rest by the calendar days of a zone."""

from collections import Counter
from datetime import datetime
from typing import Any

from tests.oracle.anchored import zone_named
from tests.oracle.book import Account, Rental, Whole

Line = dict[str, Any]


def _line(price: int, quantity: int, whole: Whole) -> Line:
    amounts = {"quantity": quantity, "unit_price_micros": price, "amount_micros": quantity * price}
    return {"kind": "number", **amounts, "period_start": whole.start, "period_end": whole.end}


def in_advance(account: Account, whole: Whole) -> list[Line]:
    """For a period that opens: whatever is rented at its start."""
    held = [each for each in account.rentals if each.held_at(whole.start)]
    assert whole.paid is not None
    whole.paid.extend(held)
    prices = Counter(each.price for each in held)
    return [_line(price, prices[price], whole) for price in sorted(prices) if price > 0]


def settled(
    account: Account, whole: Whole, zone: str, over: datetime | None = None, *, refund: bool = True
) -> list[Line]:
    """For a period that is over, at its end or at a cancellation: what numbers cost in it less what was paid."""
    if whole.paid is None:
        return []
    paid, whole.paid = whole.paid, None
    end = over or whole.end
    in_period = max(1, _day(whole.end, zone) - _day(whole.start, zone))
    found: Counter[tuple[int, int, int]] = Counter()
    for rental in account.rentals:
        before = rental.price if rental in paid else 0
        if rental in paid and not refund and rental.held_at(end):
            continue
        found[rental.price, days_of(rental, whole, end, zone), before] += 1
    owed = [(price * days // in_period - before, found[price, days, before]) for price, days, before in sorted(found)]
    return [_line(difference, count, whole) for difference, count in owed if difference]


def days_of(rental: Rental, whole: Whole, over: datetime, zone: str) -> int:
    """Every day that the number is rented on within the period but the last, and one where it is rented in it."""
    if rental.since >= over:
        return 0
    end = over if rental.until is None else min(rental.until, over)
    rented_here = rental.since >= whole.start
    days = range(_day(rental.since if rented_here else whole.start, zone), _day(end, zone))
    return max(len(days), int(rented_here))


def _day(moment: datetime, zone: str) -> int:
    return moment.astimezone(zone_named(zone)).toordinal()
