"""Lines that wait for an account's next request, and credits that no request can hold.

A request must not be negative: tax is not reckoned on less than nothing. So an event whose lines sum below 0 gets one
more line that lifts it to 0, and as much credit waits for the next event. Nothing is lost, and nothing is asked twice.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Protocol

from rating.account import Account, Period, WaitingLine
from rating.period import stamp
from rating.request import line
from rating.terms import LARGEST

SECOND = timedelta(seconds=1)


def part_of(amount: int, period: Period, at: datetime) -> int:
    """What falls on the rest of a period, from ``at`` on, of an amount that is for the whole of it. Rounded down."""
    left = (period.end - at) // SECOND
    whole = (period.end - (period.whole_from or period.start)) // SECOND
    return amount * left // whole if whole else 0


def credit_rest(account: Account, period: Period, price_micros: int, at: datetime) -> None:
    """Have the unused part of a price wait as a credit, if it is any. A period that opened paused had none."""
    credit = 0 if period.paused else part_of(price_micros, period, at)
    if credit:
        text = "Credit for the unused part of the period"
        account.lines.append(WaitingLine(f"credit:{stamp(at)}", "credit", text, 1, "period", -credit, at, period.end))


def as_line(one: WaitingLine) -> dict[str, Any]:
    """A waiting line as events and requests have it."""
    return line(
        one.line_id,
        one.kind,
        one.description,
        one.quantity,
        one.unit,
        one.unit_price_micros,
        one.period_start,
        one.period_end,
    )


class HasLines(Protocol):
    """An account, or an agency: lines wait for its next request."""

    lines: list[WaitingLine]


def take_lines(
    account: HasLines, own: list[dict[str, Any]], at: datetime, asked_micros: int = 0
) -> list[dict[str, Any]]:
    """All lines of an event: its own, those that waited, and what is carried forward, so that it is not negative.

    Args:
        account: whose lines wait; those that are taken wait no longer, what is carried forward does.
        own: lines of the event itself.
        at: time of the fact that caused the event; part of ids.
        asked_micros: what the event asks for beside its lines.
    """
    if not account.lines and asked_micros >= 0 and not own:
        return own
    lines = [*own, *map(as_line, account.lines)]
    account.lines = []
    credit = -asked_micros - sum(one["amount_micros"] for one in lines)
    number = 0
    while credit > 0:
        carried = min(credit, LARGEST)
        suffix = f":{number}" if number else ""
        lines.append(
            line(f"carried_forward{suffix}", "carried_forward", "Credit for the next request", 1, "credit", carried)
        )
        line_id = f"carried_forward:{stamp(at)}{suffix}"
        text = "Credit carried forward"
        account.lines.append(WaitingLine(line_id, "carried_forward", text, 1, "credit", -carried))
        credit -= carried
        number += 1
    return lines
