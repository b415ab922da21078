"""What the platform asks an agency for: by its wholesale terms, period by period.

As for an account: in advance the price of the period, as it opens; at its close what was used, and numbers. A period is
billed by the terms that were in force as it opened; each call costs what was in force when it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rating.agency import AgencyHistory, Rental, Span
from rating.agency_facts import WholesaleSums
from rating.cycle import due_dates
from rating.lines import take_lines
from rating.period import wall_clock
from rating.request import line
from rating.schedules import Schedule


def opened(history: AgencyHistory, period: Span, schedule: Schedule) -> dict[str, Any]:
    """A period opens: the content of its ``agency.cycle_opened``.

    Args:
        history: of the agency; lines that waited are taken.
        period: gets its allowance.
        schedule: by which it is laid; it has terms.
    """
    start, end, terms = period.start, period.end, schedule.terms
    assert terms is not None
    period.terms = terms
    period.included_s = schedule.part_of(terms.included_minutes * 60, start, end)
    price = schedule.part_of(terms.price_micros, start, end)
    whole = schedule.around(start)
    period.whole_days = max(1, _days(*whole, terms.timezone))
    kind, text = ("recurring", "Wholesale") if whole == (start, end) else ("charge", "Wholesale, part of a period")
    own = [line(kind, kind, text, 1, "period", price, start, end)] if price else []
    return {
        "period_start": start,
        "period_end": end,
        "included_s": period.included_s,
        "price_micros": price,
        "currency": terms.currency,
        **due_dates(terms, start),
        "lines": take_lines(history, own, start),
    }


def closed(history: AgencyHistory, period: Span, rentals: Iterable[Rental]) -> dict[str, Any]:
    """A period closes: the content of its ``agency.cycle_closed``.

    Args:
        history: of the agency; lines that waited are taken.
        period: it has terms.
        rentals: numbers of the agency's accounts.
    """
    start, end, terms = period.start, period.end, period.terms
    assert terms is not None
    sums = period.wholesale or WholesaleSums()
    used_s = max(0, min(period.included_s, sums.billed_s))
    included = max(0, sums.cost_micros * used_s // sums.billed_s) if used_s else 0
    usage = sums.cost_micros + sums.reported_micros
    numbers = _number_lines(period, rentals)
    lines = take_lines(history, numbers, end, usage - included)
    return {
        "period_start": start,
        "period_end": end,
        "calls": sums.calls,
        "billed_s": sums.billed_s,
        "cost_micros": sums.cost_micros,
        "reported_calls": sums.reported_calls,
        "reported_micros": sums.reported_micros,
        "usage_micros": usage,
        "included_s": period.included_s,
        "included_used_s": used_s,
        "included_micros": included,
        "lines": lines,
        "lines_micros": sum(one["amount_micros"] for one in lines),
        "currency": terms.currency,
        **due_dates(terms, end),
    }


def _number_lines(period: Span, rentals: Iterable[Rental]) -> list[dict[str, Any]]:
    """What numbers cost in a period: one line for each number of days, ascending."""
    terms = period.terms
    assert terms is not None
    if not terms.number_price_micros:
        return []
    in_period = period.whole_days
    counted = Counter(days_of(one, period, terms.timezone) for one in rentals)
    return [
        line(f"number:{days}", "number", f"Numbers, {days} of {in_period} days", counted[days], "number",
             terms.number_price_micros * days // in_period, period.start, period.end)
        for days in sorted(counted) if days
    ]  # fmt: skip


def days_of(rental: Rental, period: Span, zone_name: str) -> int:
    """Local calendar days of a rental within a period: at least 1 where it began in there."""
    begins, ends = max(rental.rented_at, period.start), period.end
    if rental.released_at is not None and rental.released_at < ends:
        ends = rental.released_at
    if begins >= period.end:
        return 0
    days = _days(begins, ends, zone_name)
    return max(days, 1 if rental.rented_at >= period.start else 0)


def _days(start: datetime, end: datetime, zone_name: str) -> int:
    return (wall_clock(end, zone_name).date() - wall_clock(start, zone_name).date()).days
