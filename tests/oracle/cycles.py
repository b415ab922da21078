"""Periods open, are split, close, and end with their subscription; what each asks for, line by line."""

from datetime import datetime
from typing import Any

from tests.oracle import named, numbers
from tests.oracle.anchored import days_later
from tests.oracle.book import Account, Period, Subscription, Terms, Today, Whole, is_owed
from tests.oracle.checks import MAX_INTEGER
from tests.oracle.journal import Journal


def dates(terms: Terms, raised: datetime) -> dict[str, datetime]:
    """When a request raised at that time is due, and when its grace ends."""
    due_at = days_later(raised, terms["due_days"], terms["timezone"])
    return {"due_at": due_at, "grace_ends_at": days_later(due_at, terms["grace_days"], terms["timezone"])}


def line(kind: str, price: int, span: tuple[datetime | None, datetime | None]) -> dict[str, Any]:
    amounts = {"quantity": 1, "unit_price_micros": price, "amount_micros": price}
    return {"kind": kind, **amounts, "period_start": span[0], "period_end": span[1]}


def all_lines(account: Account, own: list[dict[str, Any]], beside: int = 0) -> list[dict[str, Any]]:
    """Its own, what waits, and where that is less than nothing what it lacks; as much waits from then on."""
    lines, account.lines = own + account.lines, []
    debt = beside + sum(each["amount_micros"] for each in lines)
    while debt < 0:
        part = max(debt, -MAX_INTEGER)
        lines.append(line("carried_forward", -part, (None, None)))
        account.lines.append(line("carried_forward", part, (None, None)))
        debt -= part
    return lines


def in_trial(terms: Terms) -> Terms:
    minutes = terms["trial_included_minutes"]
    included = terms["included_minutes"] if minutes is None else minutes
    return terms | {"price_micros": 0, "included_minutes": included, "overage": "blocked"}


def same_rhythm(one: Terms, other: Terms) -> bool:
    return all(one[name] == other[name] for name in ("interval", "interval_count", "timezone"))


def follow(account: Account, terms: Terms, start: datetime) -> Subscription:
    """The same subscription goes on, on other terms or in another part of a period."""
    old = account.subscription
    anchor, first = old.anchor, old.next_number()
    if not same_rhythm(old.terms, terms):
        anchor, first = start, 0
    new = Subscription(old.subscription_id, start, terms, anchor, first, old.status, end=old.end)
    old.end, old.pending, old.status = start, None, "over"
    account.subscriptions.append(new)
    return new


def take_up(journal: Journal, account: Account, terms: Terms, start: datetime, at: datetime, when: str) -> None:
    """Other terms are in force from `start` on."""
    old = account.subscription
    new = follow(account, terms, start)
    if account.cap == old.terms["cap"]:
        account.cap = terms["cap"]
    plans = {"plan": terms["plan"], "previous_plan": old.terms["plan"]}
    journal.billing(account, new, "subscription.changed", at, when=when, **plans)


def status(journal: Journal, account: Account, at: datetime, new: str) -> None:
    account.subscription.status = new
    tell_status(journal, account, at)


def tell_status(journal: Journal, account: Account, at: datetime) -> None:
    """Says what the status is, where people see another one than was said last."""
    previous, account.shown = account.shown, account.status
    if account.status != previous:
        said = {"status": account.status, "previous": previous}
        journal.billing(account, account.subscription, "subscription.status_changed", at, **said)


def fall_due(journal: Journal, account: Account, moment: datetime, at: datetime) -> None:
    """Ticks have told of a moment at which something is due, or a grace is over."""
    account.time = max(moment, account.time or moment)
    for request in sorted(account.requests.values(), key=lambda one: (one["due_at"], one["payment_request_id"])):
        if is_owed(request) and not request["overdue_at"] and request["due_at"] <= account.time:
            request["overdue_at"] = request["updated_at"] = at
            if request["status"] == "pending":
                said = {"status": "overdue", "actor": "clock", "reference": None, "note": None}
                request |= said
                request["changes"] = [*request["changes"], said | {"at": at}]
            journal.write(
                "payment-requests", request["payment_request_id"], {k: v for k, v in request.items() if k != "refunded"}
            )
    tell_status(journal, account, at)


def open_next(journal: Journal, account: Account, at: datetime) -> Period:
    subscription = account.subscription
    if subscription.pending is not None:
        begins = subscription.periods[-1].end
        take_up(journal, account, subscription.pending, begins, at, "next_period")
        subscription = account.subscription
    if not subscription.periods and subscription.start < subscription.anchor and subscription.status == "trialing":
        start, end, terms = subscription.start, subscription.anchor, in_trial(subscription.terms)
    else:
        n = subscription.next_number()
        start, end, terms = subscription.boundary(n), subscription.boundary(n + 1), subscription.terms
        if subscription.status == "trialing":
            status(journal, account, at, "active")
    return begin(journal, account, at, Whole(start, end), start, terms)


def begin(journal: Journal, account: Account, at: datetime, whole: Whole, start: datetime, terms: Terms) -> Period:
    """A period, or the rest of one."""
    subscription = account.subscription
    paused, is_part = subscription.status == "paused", start > whole.start
    price, included = terms["price_micros"], terms["included_minutes"] * 60
    if is_part:
        price, included = whole.share(price, start), whole.share(included, start)
    if paused:
        price = included = 0
    span = (start, whole.end)
    period = Period(subscription, *span, terms, whole, included, paused)
    subscription.periods.append(period)
    own = [line("charge" if is_part else "recurring", price, span)] if price else []
    if not is_part:
        own += numbers.in_advance(account, whole)
    journal.billing(
        account,
        subscription,
        "cycle.opened",
        at,
        period_start=start,
        period_end=whole.end,
        plan=terms["plan"],
        price_micros=price,
        included_s=included,
        currency=terms["currency"],
        lines=all_lines(account, own),
        status=account.status,
        **dates(terms, start),
    )
    return period


def split(journal: Journal, account: Account, at: datetime, terms: Terms | None = None) -> None:
    """The newest period ends, and what is left of it is another one, on other terms or the same."""
    old = account.subscription
    newest = old.periods[-1]
    if terms is None:
        pending = old.pending
        follow(account, old.terms, at).pending = pending
    else:
        take_up(journal, account, terms, at, at, "now")
    newest.end = at
    begin(journal, account, at, newest.whole, at, account.subscription.terms)


def close(journal: Journal, account: Account, period: Period, at: datetime) -> None:
    terms, totals = period.terms, period.totals
    summed = ("calls", "billed_s", "allowance_s", "wallet_s", "credit_micros", "overage_s", "written_off_s")
    adjustments, account.adjustments = list(account.adjustments.values()), {}
    adjusted = sum(each["amount_micros"] for each in adjustments)
    own = numbers.settled(account, period.whole, terms["timezone"]) if period.is_last_part else []
    lines = all_lines(account, own, totals["amount_micros"] + adjusted)
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
        adjustments_micros=adjusted,
        lines=lines,
        lines_micros=sum(each["amount_micros"] for each in lines),
        **dates(terms, period.end),
    )
    period.closed = True
    account.last_closed = period


def _by_rate(period: Period) -> dict[str, Any]:
    """Of terms with a card: each rate and each fee with what it came to. A log has fewer than would be put together."""
    if period.terms["rate_card"] is None:
        return {}
    rates = [{"rate_micros_per_minute": rate} | period.by_rate[rate] for rate in sorted(period.by_rate)]
    fees = [{"connection_fee_micros": fee} | period.by_fee[fee] for fee in sorted(period.by_fee)]
    return {"overage_rates": rates, "connection_fees": fees}


def end(journal: Journal, account: Account, at: datetime) -> None:
    status(journal, account, at, "canceled")


def _due(account: Account) -> list[tuple[datetime, int, datetime, Any]]:
    """What waits for its time: (when, rank at one instant, period start, (step, its argument))."""
    waiting: list[tuple[datetime, int, datetime, Any]] = [
        (period.closes_at, 1, period.start, (close, period)) for period in account.open_periods()
    ]
    subscription = account.subscription
    newest = subscription.periods[-1]
    if subscription.status != "canceled" and subscription.end is None:
        waiting.append((newest.end, 0, newest.start, (open_next, None)))
    elif subscription.status != "canceled":
        waiting.append((newest.end, 2, newest.start, (end, None)))
    for request in account.requests.values():
        if is_owed(request):
            if not request["overdue_at"]:
                waiting.append((request["due_at"], 3, request["due_at"], (fall_due, request["due_at"])))
            elif request["kind"] == "cycle" and (account.time is None or request["grace_ends_at"] > account.time):
                waiting.append((request["grace_ends_at"], 3, request["due_at"], (fall_due, request["grace_ends_at"])))
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
        step, about = min(waiting, key=lambda item: item[:3])[3]
        step(*(each for each in (journal, account, about, at) if each is not None))
    account.time = at
    if account.open_periods():
        new_day(account, at)
