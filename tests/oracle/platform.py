"""What the platform asks an agency for. By docs/facts.md, "Wholesale periods".

Periods are walked through from the first terms on, whenever one is looked for; numbers and calls are kept as they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.oracle.anchored import boundary, days_later, zone_named
from tests.oracle.checks import Fact
from tests.oracle.cycles import all_lines
from tests.oracle.wholesale import Wholesale

if TYPE_CHECKING:
    from tests.oracle.agencies import Agency
    from tests.oracle.journal import Journal

Span = tuple[datetime, datetime]
SECOND = timedelta(seconds=1)
ABOUT_DAYS = {"day": 1, "week": 7, "month": 30.4, "year": 365.2}


@dataclass(eq=False)
class Held:
    """A number, of which account."""

    which: tuple[str, str]
    since: datetime
    until: datetime | None = None


@dataclass(eq=False)
class Period:
    """`whole` is the interval that it is, or is a part of; `wholesale` are its calls that cost by wholesale terms."""

    start: datetime
    end: datetime
    terms: Fact | None = None
    whole: Span | None = None
    calls: list[Fact] = field(default_factory=list)
    wholesale: list[Fact] = field(default_factory=list)

    @property
    def part(self) -> tuple[int, int]:
        """Seconds of it, and of the whole."""
        assert self.whole is not None
        return (self.end - self.start) // SECOND, (self.whole[1] - self.whole[0]) // SECOND


def lay(wholesale: Wholesale, moment: datetime) -> tuple[datetime, datetime, Fact | None, Span]:
    """Start, end, terms and whole interval of the period around a moment."""
    first = wholesale.first
    if first is None or moment < first:
        start = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = (start + timedelta(days=32)).replace(day=1)
        return start, min(end, first or end), None, (start, end)
    start, before, anchor = first, None, first
    while True:
        terms = wholesale.in_force(start)
        assert terms is not None
        if terms is not before:
            alike = before is not None and all(
                terms[name] == before[name] for name in ("interval", "interval_count", "timezone")
            )
            anchor = terms["anchor"] or (anchor if alike else start)
        if not any(start < at <= moment for at, _ in wholesale.versions):
            # These terms stay: their periods need not be gone through one by one.
            whole = around(anchor, terms, moment)
            return max(start, whole[0]), whole[1], terms, whole
        whole = around(anchor, terms, start)
        if moment < whole[1]:
            return start, whole[1], terms, whole
        start, before = whole[1], terms


def around(anchor: datetime, terms: Fact, moment: datetime) -> Span:
    def at(n: int) -> datetime:
        laid = (terms["interval"], terms["interval_count"], terms["timezone"])
        return boundary(anchor, *laid, n).astimezone(UTC)

    n = int((moment - anchor).days / (ABOUT_DAYS[terms["interval"]] * terms["interval_count"]))
    while at(n) > moment:
        n -= 1
    while at(n + 1) <= moment:
        n += 1
    return at(n), at(n + 1)


def begin(journal: Journal, agency: Agency, period: Period, terms: Fact, whole: Span, at: datetime) -> None:
    """A period is billed by these terms from now on: its price, in advance."""
    period.terms, period.whole = terms, whole
    left, seconds = period.part
    price = terms["price_micros"] * left // seconds
    own = []
    if price:
        kind = "recurring" if whole == (period.start, period.end) else "charge"
        own.append(_line(kind, 1, price, period))
    _say(
        journal,
        agency,
        "agency.cycle_opened",
        at,
        period,
        period.start,
        included_s=terms["included_minutes"] * 60 * left // seconds,
        price_micros=price,
        lines=all_lines(agency, own),
    )


def settle(journal: Journal, agency: Agency, period: Period, at: datetime) -> None:
    """A period is over: usage, less what is included, and numbers."""
    assert period.terms is not None
    left, seconds = period.part
    included_s = period.terms["included_minutes"] * 60 * left // seconds
    priced = [call for call in period.wholesale if call["cost_source"] == "wholesale"]
    reported = [call for call in period.wholesale if call["cost_source"] == "reported"]
    billed, cost, passed = (
        sum(call["wholesale_billed_s"] for call in priced),
        sum(call["cost_micros"] for call in priced),
        sum(call["cost_micros"] for call in reported),
    )
    used = max(0, min(included_s, billed))
    included = max(0, cost * used // billed) if used else 0
    days = Counter(_days(one, period) for one in agency.rentals)
    in_all = max(1, _day(period, period.whole[1]) - _day(period, period.whole[0]) if period.whole else 0)
    price = period.terms["number_price_micros"]
    own = [_line("number", days[n], price * n // in_all, period) for n in sorted(days) if n and price]
    lines = all_lines(agency, own, cost + passed - included)
    _say(
        journal,
        agency,
        "agency.cycle_closed",
        at,
        period,
        period.end,
        calls=_count(priced),
        billed_s=billed,
        cost_micros=cost,
        reported_calls=_count(reported),
        reported_micros=passed,
        usage_micros=cost + passed,
        included_s=included_s,
        included_used_s=used,
        included_micros=included,
        lines=lines,
        lines_micros=sum(each["amount_micros"] for each in lines),
    )


def _count(calls: list[Fact]) -> int:
    return sum(-1 if call.get("correction") == "refund" else 1 for call in calls)


def _day(period: Period, moment: datetime) -> int:
    assert period.terms is not None
    return moment.astimezone(zone_named(period.terms["timezone"])).toordinal()


def _days(held: Held, period: Period) -> int:
    """Days of the period that a number is there on: never its last day, but one where it came in this period."""
    if held.since >= period.end:
        return 0
    until = period.end if held.until is None else min(held.until, period.end)
    came = held.since >= period.start
    days = range(_day(period, held.since if came else period.start), _day(period, until))
    return max(len(days), int(came))


def _line(kind: str, quantity: int, price: int, period: Period) -> dict[str, Any]:
    amounts = {"quantity": quantity, "unit_price_micros": price, "amount_micros": quantity * price}
    return {"kind": kind, **amounts, "period_start": period.start, "period_end": period.end}


def _say(
    journal: Journal, agency: Agency, kind: str, at: datetime, period: Period, raised: datetime, **fields: Any
) -> None:
    assert period.terms is not None
    zone = period.terms["timezone"]
    due = days_later(raised, period.terms["due_days"], zone)
    value = {
        "type": kind,
        "account_id": "",
        "agency_id": agency.agency_id,
        "subscription_id": "",
        "at": at.astimezone(UTC),
        "period_start": period.start,
        "period_end": period.end,
        "currency": period.terms["currency"],
        "due_at": due,
        "grace_ends_at": days_later(due, period.terms["grace_days"], zone),
        **fields,
    }
    journal.write("billing-events", agency.agency_id, value)
