"""Rating a call: find its period, draw it down, say what it costs.

The usual call ends in the newest open period. Around a boundary it may belong to the one before, open until its late
window is over, or to the next one, which it opens. A call whose period is closed is late: by the terms' policy it is
drawn in the current period, adjusted against the closed one, or written off. It is never lost.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import astuple

from rating.access import review_access
from rating.account import Account, Adjustment, ClosedPeriod, Period, Subscription
from rating.alerts import fire, fire_allowance_alerts, fire_cap_alerts, fire_forecast_alert
from rating.books import Books, Refusal, within_bounds
from rating.caps import count_cost, count_today
from rating.cycle import due_dates, open_next_period, span
from rating.duration import billed_seconds
from rating.facts import CallCompleted
from rating.outputs import RATED_CALLS, RatedCall, SpecialCall, encode_into
from rating.period import index_at
from rating.prices import Extras, draw_by_card
from rating.terms import LARGEST, Tariff
from rating.topups import top_up_if_low
from rating.unusual import count_hour
from rating.waterfall import Drawdown, draw
from rating.wholesale import cost_of


class ClosedHome(NamedTuple):
    """Where a late call belongs: a subscription, one of its closed periods by its start, and that one's terms."""

    subscription: Subscription
    period_start: datetime
    tariff: Tariff


def rate_call(books: Books, account: Account, call: CallCompleted, duration_s: int) -> None:
    """Rate a call of a known account.

    Raises:
        Refusal: ``no_subscription`` outside of any subscription; ``no_rate``; ``out_of_range``. Nothing has changed
            then, but that the period may have been opened that the call ended in.
    """
    ended_at = call.ended_at
    periods = account.periods
    late = written_off = False
    period = periods[-1] if periods else None
    if period is None or not period.start <= ended_at < period.end:
        home = find_home(books, account, ended_at)
        if isinstance(home, ClosedHome):
            newest = account.newest
            policy = books.tariffs[newest.terms_id].terms.late_calls if newest else "adjust"
            if newest is None or policy == "adjust":
                _adjust(books, account, call, duration_s, home)
                return
            home, late, written_off = newest, True, policy == "write_off"
        period = home

    tariff = books.tariffs[period.terms_id]
    reported_s = duration_s
    if duration_s > tariff.longest_s:
        duration_s = tariff.longest_s
    left_s = period.allowance_left_s
    extras: Extras | None = None
    if tariff.card is None:
        billed_s, fee = billed_seconds(tariff, duration_s, call.outcome, call.test)
        drawn = draw(tariff, billed_s, left_s, account.wallet_s, account.credit_micros)
    else:
        billed_s, fee, drawn, extras = draw_by_card(tariff, account, call, duration_s, left_s)
    if books.wholesale:
        call, costed = cost_of(books, call, duration_s, account.currency)
        extras = {**extras, **costed} if extras else costed or None
    if written_off:
        fee, drawn = 0, (0, 0, 0, 0, 0, billed_s, 0)
    allowance_s, wallet_s, _, credit_micros, overage_s, written_off_s, overage_micros = drawn
    total_s, amount = period.billed_s + billed_s, overage_micros + fee
    if total_s > LARGEST or (amount and period.overage_micros + period.fee_micros + amount > LARGEST):
        raise Refusal("out_of_range", "the period's billed seconds or usage would exceed 2^53")
    cost = call.cost_micros
    if cost is not None:
        if call.cost_currency is not None and call.cost_currency != account.currency:
            cost = None
        else:
            count_cost(period, cost, amount)

    # Most of these are 0 for most calls, and each field takes its time.
    period.calls += 1
    period.billed_s = total_s
    if allowance_s:
        period.allowance_s += allowance_s
        left_s -= allowance_s
        period.allowance_left_s = left_s
    if allowance_s != billed_s:
        if wallet_s:
            period.wallet_s += wallet_s
            account.wallet_s -= wallet_s
        if credit_micros:
            period.credit_micros += credit_micros
            account.credit_micros -= credit_micros
        if overage_s:
            period.overage_s += overage_s
            period.overage_micros += overage_micros
        if written_off_s:
            period.written_off_s += written_off_s
    if fee:
        period.fee_micros += fee
    if late:
        period.late_calls += 1
    caps = account.caps
    if caps is not None and caps.day is not None:
        count_today(caps.day, billed_s, amount, cost)
    if extras is not None and period.by_rate is not None:
        period.by_rate.count(extras["rate_micros_per_minute"], overage_s, overage_micros, fee)
    cut = duration_s != reported_s
    if cut:
        extras = {**(extras or {}), "cut": True}
    _give_out(
        books,
        account,
        call,
        period.subscription_id,
        period.start,
        duration_s,
        billed_s,
        fee,
        drawn,
        left_s,
        late,
        extras,
    )
    if allowance_s:
        levels, fired = tariff.levels, period.alerts_fired
        if fired < len(levels) and period.allowance_s * 100 >= levels[fired] * period.included_s:
            fire_allowance_alerts(books, account, period, ended_at)
    cap = account.cap
    if cap is not None:
        fire_cap_alerts(books, account, ended_at)
    if cut:
        fire_stuck(books, account, period, call, reported_s, duration_s)
    if tariff.watched:
        _watch(books, account, period, tariff, ended_at, billed_s)
    if allowance_s != billed_s and account.top_ups is not None and not written_off:
        top_up_if_low(books, account, ended_at)
    if cap is not None or caps is not None or tariff.blocked or account.reasons or len(periods) > 1:
        review_access(books, account, ended_at)


def fire_stuck(
    books: Books, account: Account, period: Period | ClosedPeriod, call: CallCompleted, reported_s: int, limit_s: int
) -> None:
    """Say that a call was longer than calls may be, once for each call."""
    more = {"call_id": call.call_id}
    fire(books, account, period, call.ended_at, "stuck_call", limit_s, reported_s, limit_s, call.call_id, more)


def _watch(books: Books, account: Account, period: Period, tariff: Tariff, ended_at: datetime, billed_s: int) -> None:
    """What terms may ask to be looked at with each call."""
    if tariff.terms.unusual_usage:
        count_hour(books, account, period, ended_at, billed_s)
    if tariff.terms.forecast_alert:
        fire_forecast_alert(books, account, period, ended_at)


def find_home(books: Books, account: Account, ended_at: datetime) -> Period | ClosedHome:
    """The open period that a call belongs to, opening it if it comes next; or the closed one.

    Raises:
        Refusal: ``no_subscription``.
    """
    for period in account.periods:
        if period.start <= ended_at < period.end:
            return period
    subscription = account.subscription
    if subscription.ends_at is None and ended_at >= account.periods[-1].end:
        while ended_at >= account.periods[-1].end:
            period = open_next_period(books, account, ended_at)
        books.schedule(account)
        books.touch(account)
        return period
    for candidate in (subscription, *reversed(books.history(account.account_id).subscriptions)):
        if candidate.start <= ended_at and (candidate.ends_at is None or ended_at < candidate.ends_at):
            terms = books.tariffs[candidate.terms_id].terms
            n = index_at(candidate.anchor, terms.interval, terms.interval_count, terms.timezone, ended_at)
            tariff, start, _ = span(books, candidate, n)
            # Of a period that was split, the later part begins where these terms do.
            return ClosedHome(candidate, max(start, candidate.start), tariff)
    raise Refusal("no_subscription", f"no subscription of the account covers {ended_at.isoformat()}")


def _adjust(books: Books, account: Account, call: CallCompleted, duration_s: int, home: ClosedHome) -> None:
    """Rate a late call against its closed period: its allowance if it was the last to close, then the pools."""
    tariff = home.tariff
    reported_s, duration_s = duration_s, min(duration_s, tariff.longest_s)
    cut = duration_s != reported_s
    last = account.last_closed
    belongs = (home.subscription.subscription_id, home.period_start)
    closed = last if last is not None and (last.subscription_id, last.start) == belongs else None
    left_s = closed.allowance_left_s if closed else 0
    extras: Extras | None = None
    if tariff.card is None:
        billed_s, fee = billed_seconds(tariff, duration_s, call.outcome, call.test)
        drawn = draw(tariff, billed_s, left_s, account.wallet_s, account.credit_micros)
    else:
        billed_s, fee, drawn, extras = draw_by_card(tariff, account, call, duration_s, left_s)
    if books.wholesale:
        call, costed = cost_of(books, call, duration_s, account.currency)
        extras = {**extras, **costed} if extras else costed or None
    allowance_s, wallet_s, _, credit_micros, _, _, overage_micros = drawn
    amount = overage_micros + fee
    adjustment = next((a for a in account.adjustments if a.period_start == home.period_start), None)
    within_bounds("the adjustment", (adjustment.amount_micros if adjustment else 0) + amount)
    within_bounds("the adjusted seconds", (adjustment.billed_s if adjustment else 0) + billed_s)
    account.wallet_s -= wallet_s
    account.credit_micros -= credit_micros
    if closed:
        closed.allowance_left_s = left_s - allowance_s
    subscription_id = home.subscription.subscription_id
    left_s -= allowance_s
    if cut:
        extras = {**(extras or {}), "cut": True}
    start = home.period_start
    _give_out(books, account, call, subscription_id, start, duration_s, billed_s, fee, drawn, left_s, True, extras)
    if cut:
        fire_stuck(books, account, ClosedPeriod(subscription_id, start, start, 0), call, reported_s, duration_s)
    at_once = account.newest is None
    if not at_once:
        if adjustment is None:
            adjustment = Adjustment(home.period_start, 0, 0, 0)
            account.adjustments.append(adjustment)
        adjustment.calls += 1
        adjustment.billed_s += billed_s
        adjustment.amount_micros += amount
    at = call.ended_at.astimezone(UTC)
    content = {
        "call_id": call.call_id,
        "period_start": home.period_start,
        "billed_s": billed_s,
        "amount_micros": amount,
        "currency": account.currency,
        "at_once": at_once,
        **due_dates(tariff.terms, at),
    }
    books.emit_billing("usage.adjusted", account, at, content, subscription_id)
    if allowance_s != billed_s and account.top_ups is not None:
        top_up_if_low(books, account, at)
    review_access(books, account, at)


def _give_out(
    books: Books,
    account: Account,
    call: CallCompleted,
    subscription_id: str,
    period_start: datetime,
    duration_s: int,
    billed_s: int,
    fee: int,
    drawn: Drawdown,
    allowance_left_s: int,
    late: bool,
    extras: Extras | None,
) -> None:
    allowance_s, wallet_s, credit_s, credit_micros, overage_s, written_off_s, overage_micros = drawn
    amount = overage_micros + fee
    currency = account.currency
    margin = call.cost_micros
    if margin is not None:
        margin = amount - margin if call.cost_currency is None or call.cost_currency == currency else None
    agency_id = account.agency_id
    sums = books.agency_sums.get(agency_id)
    if sums is None or not sums.start <= call.ended_at < sums.end or sums.currency != currency:
        sums = books.agencies.sums_at(agency_id, currency, call.ended_at, books.clock)
    sums.calls += 1
    sums.billed_s += billed_s
    if amount:
        sums.amount_micros += amount
    if margin is not None:
        sums.cost_micros += amount - margin
        sums.margin_micros += margin
    fields = (
        *astuple(call),
        subscription_id,
        period_start,
        duration_s,
        billed_s,
        allowance_s,
        wallet_s,
        credit_s,
        credit_micros,
        overage_s,
        written_off_s,
        fee,
        amount,
        margin,
        currency,
        allowance_left_s,
        account.wallet_s,
        account.credit_micros,
        late,
        books.partition,
        books.offset,
    )
    if extras is None:
        rated = RatedCall(*fields)
    else:
        rated = SpecialCall(*fields, **extras)
        if "cost_source" in extras:
            sums.count_wholesale(extras["cost_source"], extras["wholesale_billed_s"], call.cost_micros or 0)
    buffer = books.buffer
    encode_into(rated, buffer)
    books.outputs.append((RATED_CALLS, call.account_id.encode(), bytes(buffer)))


def check_call(books: Books, call: CallCompleted) -> int:
    """Check what a call says of itself, whatever its account.

    Returns:
        Whole seconds from answer to end, rounded up; 0 if never answered.

    Raises:
        Refusal: ``impossible_times``.
    """
    answered_at, ended_at = call.answered_at, call.ended_at
    if answered_at is None:
        if ended_at < call.started_at:
            raise Refusal("impossible_times", "ended_at is before started_at")
        return 0
    if answered_at < call.started_at:
        raise Refusal("impossible_times", "answered_at is before started_at")
    if ended_at < answered_at:
        raise Refusal("impossible_times", "ended_at is before answered_at")
    lasted = ended_at - answered_at
    duration_s = lasted.days * 86_400 + lasted.seconds + (lasted.microseconds > 0)
    if duration_s > books.rules.max_call_s:
        raise Refusal("impossible_times", f"lasts {duration_s} s; the longest call is {books.rules.max_call_s} s")
    return duration_s
