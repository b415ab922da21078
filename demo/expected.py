"""What must come out, worked out a second time from what was planted: short, by the price lists, not by `rating/`.

Amounts are micros of an agency's currency, time is whole seconds.
"""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from demo.market import (
    RETAIL_CARD,
    WHOLESALE,
    WHOLESALE_CARD,
    Destination,
    book,
    destinations,
    micros,
    plan_of,
)
from demo.planted import Call, Debt, PlanChange, Planted, Rental

DECEMBER = date(2026, 12, 1)
# 1 December and 1 January: numbers are charged in advance.
ADVANCES = 2


def billed_seconds(call: Call) -> int:
    """What the account's plan, or the destination on its rate card, makes of a call's seconds."""
    plan = plan_of(call.tenant)
    if not call.billable or call.seconds < plan.free_below_s:
        return 0
    increments = retail(call).increments if plan.rate_card else plan.increments
    return _in_increments(max(call.seconds, plan.minimum_s), increments)


def retail(call: Call) -> Destination:
    """The row of the retail card for a call."""
    return destinations(RETAIL_CARD)[call.prefix]


def cost_micros(call: Call) -> int:
    """What a call costs its agency: the cost that was reported, where that counts, or else the wholesale price."""
    prices = WHOLESALE[call.tenant.agency_id]
    if prices.reported and call.reported_cost_micros is not None:
        return call.reported_cost_micros
    if not call.billable:
        return 0
    if prices.rate_micros is not None:
        return _price(_in_increments(call.seconds, prices.increments), prices.rate_micros)
    row = destinations(WHOLESALE_CARD)[call.prefix]
    return _price(_in_increments(call.seconds, row.increments), row.rate_micros) + row.fee_micros * (call.seconds > 0)


def costs(planted: Planted) -> dict[str, int]:
    """Costs by currency."""
    found: Counter[str] = Counter()
    for call in planted.calls.values():
        found[WHOLESALE[call.tenant.agency_id].currency] += cost_micros(call)
    return dict(found)


def amounts_by_prefix(planted: Planted) -> dict[str, int]:
    """What accounts with a rate card pay for calls, by the prefix of the row that was meant. All of it is overage."""
    found: Counter[str] = Counter()
    for call in planted.calls.values():
        if plan_of(call.tenant).rate_card:
            row, seconds = retail(call), billed_seconds(call)
            found[call.prefix] += _price(seconds, row.rate_micros) + row.fee_micros * (seconds > 0)
    return dict(found)


def numbers(planted: Planted) -> dict[str, int]:
    """What rented numbers cost, by currency: days in November, and the months after it in advance."""
    found: Counter[str] = Counter()
    for rental in planted.rentals:
        price = micros(plan_of(rental.tenant).number_price or "0")
        found[_currency(rental)] += price * _november_days(rental) // 30
        if rental.released_at is None:
            found[_currency(rental)] += price * ADVANCES
    return dict(found)


def plan_change(change: PlanChange) -> dict[str, int]:
    """Of a change within November: credit and charge for the rest of it, and the seconds included in that."""
    zone = ZoneInfo(change.tenant.timezone)
    start, end = (datetime(2026, month, 1, tzinfo=zone).timestamp() for month in (11, 12))
    left, period = int(end - change.at.timestamp()), int(end - start)
    old, new = plan_of(change.tenant), book().plan(change.plan, change.tenant.agency_id)[1]
    return {
        "credit_micros": micros(old.price) * left // period,
        "charge_micros": micros(new.price) * left // period,
        "included_s": new.included_minutes * 60 * left // period,
    }


def due_at(debt: Debt) -> datetime:
    """Midnight where the account is, so many days after the month's first as its plan says."""
    return _midnight(debt, plan_of(debt.tenant).due_days)


def blocked_at(debt: Debt) -> datetime:
    """Midnight where the account is, at the end of the grace after that; or what would be it, had nobody paid."""
    plan = plan_of(debt.tenant)
    return _midnight(debt, plan.due_days + plan.grace_days)


def may_call(debt: Debt, at: datetime) -> bool:
    """Whether the account's campaigns run at this time."""
    return at < due_at(debt) or (debt.paid_at is not None and at >= debt.paid_at)


def status_changes(planted: Planted) -> Counter[tuple[str, datetime, str]]:
    """What subscriptions become by payment: (account, when, status), each of them once."""
    found: Counter[tuple[str, datetime, str]] = Counter()
    for debt in planted.debts:
        account = debt.tenant.account_id
        found[account, due_at(debt), "past_due"] += 1
        if debt.paid_at is not None and debt.paid_at < blocked_at(debt):
            found[account, debt.paid_at, "active"] += 1
        else:
            found[account, blocked_at(debt), "blocked"] += 1
    return found


def access_changes(planted: Planted) -> Counter[tuple[str, datetime, str]]:
    """Why campaigns stop, and that they go on (``ok``): (account, when, reason), each of them once."""
    changes = status_changes(planted)
    return Counter({(account, at, "ok" if to == "active" else to): n for (account, at, to), n in changes.items()})


def owed(planted: Planted, paid: bool) -> dict[str, int]:
    """The prices of the periods that were paid late, or never, by currency."""
    found: Counter[str] = Counter()
    for debt in planted.debts:
        if (debt.paid_at is not None) == paid:
            found[_currency(debt)] += micros(plan_of(debt.tenant).price)
    return dict(found)


def top_ups(planted: Planted, plan: str, pack_s: int, below_s: int) -> int:
    """How many packs were bought by wallets that ran low: each started with one, and none may stay low."""
    used: Counter[str] = Counter()
    for (account_id, _), call in planted.calls.items():
        if call.tenant.plan == plan:
            used[account_id] += billed_seconds(call)
    return sum(max(0, -(-(below_s + seconds) // pack_s) - 1) for seconds in used.values())


def _in_increments(seconds: int, increments: str) -> int:
    first, following = map(int, increments.split("/"))
    if seconds == 0 or seconds > first:
        return seconds and first + -(-(seconds - first) // following) * following
    return first


def _price(seconds: int, rate_micros: int) -> int:
    """Seconds at a price per minute, to the nearest micro, half a micro up."""
    return (2 * seconds * rate_micros + 60) // 120


def _november_days(rental: Rental) -> int:
    """Calendar days where the account is: the day it is rented counts, the day it is released does not."""
    zone = ZoneInfo(rental.tenant.timezone)
    rented = rental.rented_at.astimezone(zone).date()
    until = DECEMBER if rental.released_at is None else rental.released_at.astimezone(zone).date()
    return max((until - rented) // timedelta(days=1), 1)


def _midnight(debt: Debt, days: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=ZoneInfo(debt.tenant.timezone)) + timedelta(days=days)


def _currency(of: Rental | Debt) -> str:
    return book().agency(of.tenant.agency_id).currency
