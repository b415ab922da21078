"""The cycle of a subscription: periods open, are split, end and close.

Only ticks close; a tick opens the next period, and so does a call that belongs to it. Where terms change, another
`Subscription` of the same id takes over, so that each knows where its own periods are.

At one instant: open, then close, then the end of a canceled subscription, then what falls due.
"""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import asdict

from rating.account import OTHERS, Account, ByRate, ClosedPeriod, Period, Subscription
from rating.books import Books, closing_time, first_to_close
from rating.caps import begin_day
from rating.dunning import fall_due, tell_status
from rating.lines import as_line, part_of, take_lines
from rating.numbers import charge_numbers, settle_numbers
from rating.period import boundary, days_later
from rating.request import recurring_lines
from rating.terms import Tariff, Terms, WholesaleTerms

Used = TypeVar("Used")


def period_boundary(terms: Terms, anchor: datetime, n: int) -> datetime:
    """The n-th boundary of a subscription on these terms."""
    return boundary(anchor, terms.interval, terms.interval_count, terms.timezone, n)


def due_dates(terms: Terms | WholesaleTerms, raised_at: datetime) -> dict[str, datetime]:
    """When a request raised at some instant is due, and when its grace ends, in local calendar days."""
    due_at = days_later(raised_at, terms.due_days, terms.timezone)
    return {"due_at": due_at, "grace_ends_at": days_later(due_at, terms.grace_days, terms.timezone)}


def span(books: Books, subscription: Subscription, n: int) -> tuple[Tariff, datetime, datetime]:
    """Terms, start and end of the period that begins at the n-th boundary; -1 is the trial."""
    tariff = books.tariffs[subscription.terms_id]
    terms, anchor = tariff.terms, subscription.anchor
    if n < 0:
        return books.tariff_of(terms.of_trial), subscription.start, anchor
    return tariff, period_boundary(terms, anchor, n), period_boundary(terms, anchor, n + 1)


def open_next_period(books: Books, account: Account, at: datetime) -> Period:
    """Open the subscription's next period, with its allowance, and say so."""
    if account.subscription.next_terms_id is not None:
        _change_terms(books, account, at)
    subscription = account.subscription
    tariff, start, end = span(books, subscription, subscription.opened)
    if subscription.status == "trialing" and subscription.opened >= 0:
        change_status(books, account, at, "active")
    subscription.opened += 1
    return _open(books, account, at, tariff, start, end)


def split_period(books: Books, account: Account, at: datetime, terms_id: bytes | None = None) -> Period:
    """End the newest open period, and open another one from then to its end, on other terms or the same."""
    old, period = account.subscription, account.periods[-1]
    end, period.end = period.end, at
    whole_from = period.whole_from or period.start
    period.numbers_settled = True
    tariff = books.tariffs[terms_id or old.terms_id]
    taken_over = replaced(old, tariff.terms_id, tariff.terms.plan, at)
    taken_over.ends_at, taken_over.next_terms_id = old.ends_at, old.next_terms_id
    _take_over(books, account, taken_over, at)
    if terms_id is not None:
        _tell_change(books, account, old, at, "now")
    return _open(books, account, at, tariff, at, end, whole_from)


def _open(
    books: Books,
    account: Account,
    at: datetime,
    tariff: Tariff,
    start: datetime,
    end: datetime,
    whole_from: datetime | None = None,
) -> Period:
    subscription, terms = account.subscription, tariff.terms
    period = Period(
        start=start,
        end=end,
        subscription_id=subscription.subscription_id,
        terms_id=tariff.terms_id,
        included_s=tariff.included_s,
        allowance_left_s=tariff.included_s,
        whole_from=whole_from,
        by_rate=None if tariff.card is None else ByRate(),
    )
    price = terms.price_micros
    if whole_from is not None:
        price = part_of(price, period, start)
        period.included_s = part_of(tariff.included_s, period, start)
    if subscription.status == "paused":
        period.paused = True
        price = period.included_s = 0
    period.allowance_left_s = period.included_s
    account.periods.append(period)
    own = recurring_lines(terms, start, end, price, whole_from is not None)
    if whole_from is None:
        own += charge_numbers(books, account, period)
    content = {
        "period_start": start,
        "period_end": end,
        "plan": terms.plan,
        "included_s": period.included_s,
        "price_micros": price,
        "currency": terms.currency,
        **due_dates(terms, start),
        "lines": take_lines(account, own, start),
        "status": account.status,
    }
    books.emit_billing("cycle.opened", account, at.astimezone(UTC), content)
    return period


# -- other terms


def replaced(old: Subscription, terms_id: bytes, plan: str, start: datetime) -> Subscription:
    """What a subscription goes on as, from some instant on, where its boundaries stay."""
    return Subscription(
        subscription_id=old.subscription_id,
        plan=plan,
        anchor=old.anchor,
        terms_id=terms_id,
        opened=old.opened,
        status=old.status,
        starts_at=start,
    )


def changed(books: Books, old: Subscription, start: datetime) -> Subscription:
    """What a subscription goes on as where its next period, which starts then, is on other terms."""
    assert old.next_terms_id is not None
    terms = books.tariffs[old.next_terms_id].terms
    taken_over = replaced(old, old.next_terms_id, terms.plan, start)
    if not terms.keeps_time_of(books.tariffs[old.terms_id].terms):
        taken_over.anchor, taken_over.opened = start, 0
    return taken_over


def _change_terms(books: Books, account: Account, at: datetime) -> None:
    old = account.subscription
    start = account.periods[-1].end
    _take_over(books, account, changed(books, old, start), start)
    _tell_change(books, account, old, at, "next_period")


def _take_over(books: Books, account: Account, taken_over: Subscription, at: datetime) -> None:
    old = account.subscription
    old.ends_at, old.next_terms_id, old.status = at, None, "changed"
    books.changed_history(account.account_id).subscriptions.append(old)
    account.subscription = taken_over


def _tell_change(books: Books, account: Account, old: Subscription, at: datetime, when: str) -> None:
    """New terms are in force: their cap, too, unless another one was set."""
    new = account.subscription
    if account.cap == books.tariffs[old.terms_id].terms.cap:
        account.cap = books.tariffs[new.terms_id].terms.cap
    content = {"plan": new.plan, "previous_plan": old.plan, "when": when}
    books.emit_billing("subscription.changed", account, at.astimezone(UTC), content)


class Ahead(NamedTuple):
    """The newest open period as it will be, and the subscription that it will be of (a copy)."""

    subscription: Subscription
    start: datetime
    end: datetime
    paused: bool


def look_ahead(books: Books, account: Account, at: datetime, at_end: bool = True) -> Ahead:
    """What `bring_forward` will find, with nothing changed yet."""
    subscription, newest = copy(account.subscription), account.periods[-1]
    start, end, paused = newest.start, newest.end, newest.paused
    while subscription.ends_at is None and (at > end or (at_end and at == end)):
        if subscription.next_terms_id is not None:
            subscription = changed(books, subscription, end)
        _, start, end = span(books, subscription, subscription.opened)
        subscription.opened += 1
        paused = subscription.status == "paused"
    return Ahead(subscription, start, end, paused)


def bring_forward(books: Books, account: Account, at: datetime, at_end: bool = True) -> Period:
    """Open the periods that start by ``at`` (without ``at_end``: before), as a call would; the newest one."""
    while account.subscription.ends_at is None:
        end = account.periods[-1].end
        if not (at > end or (at_end and at == end)):
            break
        open_next_period(books, account, at)
    return account.periods[-1]


def _close_period(books: Books, account: Account, period: Period, at: datetime) -> None:
    account.periods.remove(period)
    terms = books.tariffs[period.terms_id].terms
    adjustments, account.adjustments = account.adjustments, []
    adjustments_micros = sum(adjustment.amount_micros for adjustment in adjustments)
    numbers = [as_line(one) for one in settle_numbers(books, account, period, terms.timezone)]
    lines = take_lines(account, numbers, period.end, period.usage_micros + adjustments_micros)
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
        "adjustments_micros": adjustments_micros,
        "lines": lines,
        "lines_micros": sum(one["amount_micros"] for one in lines),
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


def change_status(books: Books, account: Account, at: datetime, status: str) -> None:
    """The subscription has another status: ``trialing``, ``active``, ``paused``, ``canceled``."""
    previous, account.subscription.status = account.status, status
    tell_status(books, account, at, previous)


def advance(books: Books, account: Account, now: datetime) -> None:
    """Do everything that is due for the account at ``now`` or before, in order, each period of a jump in turn."""
    at = now.astimezone(UTC)
    while True:
        subscription = account.subscription
        steps = []
        if subscription.ends_at is None:
            steps.append((account.periods[-1].end, 0))
        elif subscription.runs:
            steps.append((subscription.ends_at, 2))
        closing = first_to_close(books, account)
        if closing is not None:
            steps.append((closing_time(books, closing), 1))
        if account.dunning is not None and account.dunning.due_at is not None:
            steps.append((account.dunning.due_at, 3))
        due, step = min(steps, default=(None, 0))
        if due is None or due > now:
            break
        if step == 0:
            open_next_period(books, account, at)
        elif step == 1 and closing is not None:
            _close_period(books, account, closing, at)
        elif step == 3:
            fall_due(books, account, at)
        else:
            change_status(books, account, at, "canceled")
    if account.caps is not None and account.periods:
        begin_day(books, account, now)
    books.schedule(account)
