"""Periods open, close, and end with their subscription."""

from datetime import datetime
from typing import Any

from tests.oracle import named
from tests.oracle.anchored import days_later
from tests.oracle.book import Account, Period, Subscription, Terms, Today
from tests.oracle.journal import Journal


def dates(terms: Terms, raised: datetime) -> dict[str, datetime]:
    """When a request raised at that time is due, and when its grace ends."""
    due_at = days_later(raised, terms["due_days"], terms["timezone"])
    return {"due_at": due_at, "grace_ends_at": days_later(due_at, terms["grace_days"], terms["timezone"])}


def open_next(journal: Journal, account: Account, subscription: Subscription, at: datetime) -> Period:
    period = subscription.next_period()
    terms = subscription.terms
    span = {"period_start": period.start, "period_end": period.end}
    price = terms["price_micros"]
    line = {"kind": "recurring", "quantity": 1, "unit_price_micros": price, "amount_micros": price, **span}
    journal.billing(
        account,
        subscription,
        "cycle.opened",
        at,
        **span,
        plan=terms["plan"],
        price_micros=price,
        included_s=period.included_s,
        currency=terms["currency"],
        lines=[line] if price else [],
        **dates(terms, period.start),
    )
    return period


def close(journal: Journal, account: Account, period: Period, at: datetime) -> None:
    terms, totals = period.terms, period.totals
    summed = ("calls", "billed_s", "allowance_s", "wallet_s", "credit_micros", "overage_s", "written_off_s")
    adjustments, account.adjustments = list(account.adjustments.values()), {}
    journal.billing(
        account,
        period.subscription,
        "cycle.closed",
        at,
        period_start=period.start,
        period_end=period.end,
        plan=terms["plan"],
        **{name: totals[name] for name in summed},
        overage_micros=totals["overage_micros"],
        fee_micros=totals["fee_micros"],
        usage_micros=totals["amount_micros"],
        overage_micros_per_minute=terms["overage_micros_per_minute"],
        connection_fee_micros=terms["connection_fee_micros"],
        currency=terms["currency"],
        late_calls=totals["late"],
        **_by_rate(period),
        adjustments=adjustments,
        adjustments_micros=sum(each["amount_micros"] for each in adjustments),
        **dates(terms, period.end),
    )
    period.closed = True
    account.last_closed = period


def _by_rate(period: Period) -> dict[str, Any]:
    """Of terms with a card: each rate and each fee with what it came to. A log has fewer than would be put together."""
    if period.subscription.card is None:
        return {}
    rates = [{"rate_micros_per_minute": rate} | period.by_rate[rate] for rate in sorted(period.by_rate)]
    fees = [{"connection_fee_micros": fee} | period.by_fee[fee] for fee in sorted(period.by_fee)]
    return {"overage_rates": rates, "connection_fees": fees}


def end(journal: Journal, account: Account, subscription: Subscription, at: datetime) -> None:
    subscription.status = "canceled"
    journal.billing(account, subscription, "subscription.status_changed", at, status="canceled", previous="active")


def _due(account: Account) -> list[tuple[datetime, int, datetime, Any]]:
    """What waits for its time: (when, rank at one instant, period start, (step, its argument))."""
    waiting: list[tuple[datetime, int, datetime, Any]] = [
        (period.closes_at, 1, period.start, (close, period)) for period in account.open_periods()
    ]
    subscription = account.subscription
    newest = subscription.periods[-1]
    if subscription.status == "active" and subscription.end is None:
        waiting.append((newest.end, 0, newest.start, (open_next, subscription)))
    elif subscription.status == "active":
        waiting.append((newest.end, 2, newest.start, (end, subscription)))
    return waiting


def day_now(account: Account, now: datetime) -> Today:
    return Today(*named.midnights(now, account.subscription.terms["timezone"]))


def new_day(account: Account, now: datetime | None) -> None:
    """Begins the day of `now`, where days are counted and the last one is over."""
    if account.today is not None and now is not None and account.today.end <= now:
        account.today = day_now(account, now)


def advance(journal: Journal, account: Account, at: datetime) -> None:
    """Does everything due by a tick's time, one by one: open before close, then the end of a canceled subscription."""
    while True:
        waiting = [item for item in _due(account) if item[0] <= at]
        if not waiting:
            break
        step, argument = min(waiting, key=lambda item: item[:3])[3]
        step(journal, account, argument, at)
    if account.open_periods():
        new_day(account, at)
