"""The cycle of a subscription: periods open, end and close.

Only ticks close; a tick opens the next period, and so does a call that belongs to it.

At one instant: open, then close, then the end of a canceled subscription.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec.structs import asdict

from rating.account import OTHERS, Account, ByRate, ClosedPeriod, Period
from rating.books import Books, closing_time, first_to_close
from rating.caps import begin_day
from rating.period import boundary, days_later
from rating.request import recurring_lines
from rating.terms import Terms

Used = TypeVar("Used")


def period_boundary(terms: Terms, anchor: datetime, n: int) -> datetime:
    """The n-th boundary of a subscription on these terms."""
    return boundary(anchor, terms.interval, terms.interval_count, terms.timezone, n)


def due_dates(terms: Terms, raised_at: datetime) -> dict[str, datetime]:
    """When a request raised at some instant is due, and when its grace ends, in local calendar days."""
    due_at = days_later(raised_at, terms.due_days, terms.timezone)
    return {"due_at": due_at, "grace_ends_at": days_later(due_at, terms.grace_days, terms.timezone)}


def open_next_period(books: Books, account: Account, at: datetime) -> Period:
    """Open the subscription's next period, with its allowance, and say so."""
    subscription = account.subscription
    tariff = books.tariffs[subscription.terms_id]
    terms = tariff.terms
    start = period_boundary(terms, subscription.anchor, subscription.opened)
    period = Period(
        start=start,
        end=period_boundary(terms, subscription.anchor, subscription.opened + 1),
        subscription_id=subscription.subscription_id,
        terms_id=tariff.terms_id,
        included_s=tariff.included_s,
        allowance_left_s=tariff.included_s,
        by_rate=None if tariff.card is None else ByRate(),
    )
    subscription.opened += 1
    account.periods.append(period)
    content = {
        "period_start": period.start,
        "period_end": period.end,
        "plan": terms.plan,
        "included_s": tariff.included_s,
        "price_micros": terms.price_micros,
        "currency": terms.currency,
        **due_dates(terms, start),
        "lines": recurring_lines(terms, period.start, period.end),
    }
    books.emit_billing("cycle.opened", account, at.astimezone(UTC), content)
    return period


def _close_period(books: Books, account: Account, period: Period, at: datetime) -> None:
    account.periods.remove(period)
    terms = books.tariffs[period.terms_id].terms
    adjustments, account.adjustments = account.adjustments, []
    account.last_closed = ClosedPeriod(period.subscription_id, period.start, period.end, period.allowance_left_s)
    content = {
        "period_start": period.start,
        "period_end": period.end,
        "plan": terms.plan,
        "calls": period.calls,
        "late_calls": period.late_calls,
        "billed_s": period.billed_s,
        "allowance_s": period.allowance_s,
        "wallet_s": period.wallet_s,
        "credit_micros": period.credit_micros,
        "overage_s": period.overage_s,
        "written_off_s": period.written_off_s,
        "overage_micros": period.overage_micros,
        "fee_micros": period.fee_micros,
        "usage_micros": period.usage_micros,
        "overage_micros_per_minute": terms.overage_micros_per_minute,
        "connection_fee_micros": terms.connection_fee_micros,
        **_by_rate(period.by_rate),
        "adjustments": [
            {"period_start": a.period_start, "calls": a.calls, "billed_s": a.billed_s, "amount_micros": a.amount_micros}
            for a in adjustments
        ],
        "adjustments_micros": sum(adjustment.amount_micros for adjustment in adjustments),
        "currency": account.currency,
        **due_dates(terms, period.end),
    }
    books.emit_billing("cycle.closed", account, at, content, period.subscription_id)


def _by_rate(by_rate: ByRate | None) -> dict[str, Any]:
    """Overage by rate and fees by amount, ascending, the rest last; nothing for terms without a rate card."""
    if by_rate is None:
        return {}
    return {
        "overage_rates": [
            {"rate_micros_per_minute": None if rate == OTHERS else rate, **asdict(used)}
            for rate, used in _ascending(by_rate.rates)
        ],
        "connection_fees": [
            {"connection_fee_micros": None if fee == OTHERS else fee, **asdict(used)}
            for fee, used in _ascending(by_rate.fees)
        ],
    }


def _ascending(used: dict[int, Used]) -> list[tuple[int, Used]]:
    return sorted(used.items(), key=lambda item: (item[0] == OTHERS, item[0]))


def end_subscription(books: Books, account: Account, at: datetime) -> None:
    """The subscription is over: its status becomes canceled."""
    previous, account.subscription.status = account.subscription.status, "canceled"
    books.emit_billing("subscription.status_changed", account, at, {"status": "canceled", "previous": previous})


def advance(books: Books, account: Account, now: datetime) -> None:
    """Do everything that is due for the account at ``now`` or before, in order, each period of a jump in turn."""
    at = now.astimezone(UTC)
    while True:
        subscription = account.subscription
        steps = []
        if subscription.ends_at is None:
            steps.append((account.periods[-1].end, 0))
        elif subscription.status == "active":
            steps.append((subscription.ends_at, 2))
        closing = first_to_close(books, account)
        if closing is not None:
            steps.append((closing_time(books, closing), 1))
        due, step = min(steps, default=(None, 0))
        if due is None or due > now:
            break
        if step == 0:
            open_next_period(books, account, at)
        elif step == 1 and closing is not None:
            _close_period(books, account, closing, at)
        else:
            end_subscription(books, account, at)
    if account.caps is not None and account.periods:
        begin_day(books, account, now)
    books.schedule(account)
