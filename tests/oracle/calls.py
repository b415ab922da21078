"""Rating one call that is neither refused nor a duplicate."""

from datetime import UTC
from typing import Any

from tests.oracle.book import Account, Period
from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.cycles import dates
from tests.oracle.journal import Journal
from tests.oracle.pricing import billed_and_fee, draw
from tests.oracle.reading import Refused

COUNTED = (
    "billed_s",
    "allowance_s",
    "wallet_s",
    "credit_micros",
    "overage_s",
    "written_off_s",
    "fee_micros",
    "amount_micros",
)
Rated = dict[str, Any]


def rate(journal: Journal, account: Account, call: Fact, period: Period) -> None:
    """Draws a call that ended in `period`: there, or by the policy for late calls if that one is closed."""
    newest = account.newest_open()
    if not period.closed:
        rated = _drawn(account, call, period, period.allowance_left_s)
        _count(journal, account, period, rated)
    elif newest is None or newest.terms["late_calls"] == "adjust":
        _adjust(journal, account, call, period, at_once=newest is None)
    elif newest.terms["late_calls"] == "next_period":
        _count(journal, account, newest, _drawn(account, call, newest, newest.allowance_left_s) | {"late": True})
    else:
        _count(journal, account, newest, _written_off(account, call, newest))


def _drawn(account: Account, call: Fact, period: Period, allowance: int) -> Rated:
    """The call on the terms of `period`; no pool has changed yet."""
    duration, billed, fee = billed_and_fee(call, period.terms)
    drawn = draw(billed, allowance, account.wallet_s, account.credit_micros, period.terms)
    return _rated(account, call, period, duration, drawn, fee) | {"allowance_left_s": allowance - drawn["allowance_s"]}


def _written_off(account: Account, call: Fact, period: Period) -> Rated:
    duration, billed, _ = billed_and_fee(call, period.terms)
    drawn = draw(0, 0, 0, 0, period.terms) | {"written_off_s": billed}
    return _rated(account, call, period, duration, drawn, 0) | {"late": True}


def _rated(account: Account, call: Fact, period: Period, duration: int, drawn: dict[str, int], fee: int) -> Rated:
    amount = drawn["overage_micros"] + fee
    seconds = ("allowance_s", "wallet_s", "credit_s", "overage_s", "written_off_s")
    currency = period.terms["currency"]
    cost = call["cost_micros"]
    comparable = cost is not None and (call["cost_currency"] or currency) == currency
    return {
        **{name: value for name, value in call.items() if name != "type"},
        "subscription_id": period.subscription.subscription_id,
        "period_start": period.start,
        "duration_s": duration,
        "billed_s": sum(drawn[name] for name in seconds),
        **{name: value for name, value in drawn.items() if name != "overage_micros"},
        "fee_micros": fee,
        "amount_micros": amount,
        "margin_micros": amount - cost if comparable else None,
        "currency": currency,
        "allowance_left_s": period.allowance_left_s,
        "wallet_left_s": account.wallet_s - drawn["wallet_s"],
        "credit_left_micros": account.credit_micros - drawn["credit_micros"],
        "late": False,
    }


def _take(journal: Journal, account: Account, rated: Rated, sums: dict[str, int]) -> None:
    """Says the call and takes its seconds from the pools, unless the sums it goes into would grow beyond all bounds."""
    if max(sums["billed_s"] + rated["billed_s"], sums["amount_micros"] + rated["amount_micros"]) > MAX_INTEGER:
        raise Refused("out_of_range", account.account_id)
    journal.write("rated-calls", account.account_id, rated)
    account.wallet_s = rated["wallet_left_s"]
    account.credit_micros = rated["credit_left_micros"]


def _adjust(journal: Journal, account: Account, call: Fact, period: Period, *, at_once: bool) -> None:
    """Only the last closed period still has an allowance to draw on."""
    allowance = period.allowance_left_s if period is account.last_closed else 0
    rated = _drawn(account, call, period, allowance) | {"late": True}
    none: Rated = {"period_start": period.start, "calls": 0, "billed_s": 0, "amount_micros": 0}
    waiting = none if at_once else account.adjustments.get(period.start, none)
    _take(journal, account, rated, waiting)
    period.drawn_after_close_s += rated["allowance_s"]
    journal.billing(
        account,
        period.subscription,
        "usage.adjusted",
        call["ended_at"],
        **{name: rated[name] for name in ("call_id", "period_start", "billed_s", "amount_micros", "currency")},
        at_once=at_once,
        **dates(period.terms, call["ended_at"].astimezone(UTC)),
    )
    if not at_once:
        waiting["calls"] += 1
        waiting["billed_s"] += rated["billed_s"]
        waiting["amount_micros"] += rated["amount_micros"]
        account.adjustments[period.start] = waiting


def _count(journal: Journal, account: Account, period: Period, rated: Rated) -> None:
    """Into the period's totals, then alerts: allowance levels of that period, cap levels of the newest open one."""
    totals, at = period.totals, rated["ended_at"]
    _take(journal, account, rated, totals)
    period.rated.append(rated)
    if account.today is not None:
        account.today.rated.append(rated)
    totals.update({name: rated[name] for name in COUNTED})
    totals.update(calls=1, late=int(rated["late"]), overage_micros=rated["amount_micros"] - rated["fee_micros"])
    used, included = totals["allowance_s"], period.included_s
    for level in sorted(period.terms["allowance_alerts_percent"]):
        if included and used * 100 >= level * included:
            journal.alert(account, period, "allowance", level, at, used, included)
    newest = account.newest_open()
    if newest is not None and account.cap is not None:
        for level in sorted(account.cap["alerts_percent"]):
            reached = account.cap_reached_at(newest, level)
            if reached:
                journal.alert(account, newest, "cap", level, at, *reached)
