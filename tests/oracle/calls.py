"""Rating one call that is neither refused nor a duplicate."""

from datetime import UTC
from typing import Any

from tests.oracle.book import Account, Period
from tests.oracle.cycles import dates
from tests.oracle.journal import Journal
from tests.oracle.pricing import billed_and_fee, draw
from tests.oracle.reading import Fact

COUNTED = [
    "billed_s",
    "allowance_s",
    "wallet_s",
    "credit_micros",
    "overage_s",
    "written_off_s",
    "fee_micros",
    "amount_micros",
]


def rate(journal: Journal, account: Account, call: Fact, period: Period) -> None:
    """Draws a call that ended in `period`: there, or by the policy for late calls if that one is closed."""
    newest = account.newest_open()
    if not period.closed:
        _count(journal, account, call, period, *_drawn(journal, account, call, period, period.allowance_left_s))
    elif newest is None or newest.terms["late_calls"] == "adjust":
        _adjust(journal, account, call, period, at_once=newest is None)
    elif newest.terms["late_calls"] == "next_period":
        _count(
            journal, account, call, newest, *_drawn(journal, account, call, newest, newest.allowance_left_s, late=True)
        )
    else:
        _write_off(journal, account, call, newest)


def _drawn(
    journal: Journal, account: Account, call: Fact, period: Period, allowance: int, *, late: bool = False
) -> tuple[dict[str, Any], int]:
    """(the rated call, its overage in micros)"""
    terms = period.terms
    duration, billed, fee = billed_and_fee(call, terms)
    drawn = draw(billed, allowance, account.wallet_s, account.credit_micros, terms)
    overage = drawn.pop("overage_micros")
    account.wallet_s -= drawn["wallet_s"]
    account.credit_micros -= drawn["credit_micros"]
    times = {"duration_s": duration, "billed_s": billed}
    left = allowance - drawn["allowance_s"]
    return _say(journal, account, call, period, times | drawn, fee, overage + fee, left, late), overage


def _write_off(journal: Journal, account: Account, call: Fact, period: Period) -> None:
    duration, billed, _ = billed_and_fee(call, period.terms)
    drawn = draw(0, 0, 0, 0, period.terms) | {"written_off_s": billed}
    overage = drawn.pop("overage_micros")
    times = {"duration_s": duration, "billed_s": billed}
    rated = _say(journal, account, call, period, times | drawn, 0, 0, period.allowance_left_s, late=True)
    _count(journal, account, call, period, rated, overage)


def _adjust(journal: Journal, account: Account, call: Fact, period: Period, *, at_once: bool) -> None:
    """Only the last closed period still has an allowance to draw on."""
    allowance = period.allowance_left_s if period is account.last_closed else 0
    rated, _ = _drawn(journal, account, call, period, allowance, late=True)
    period.drawn_after_close_s += rated["allowance_s"]
    adjustment = {name: rated[name] for name in ("period_start", "amount_micros", "billed_s")}
    journal.billing(
        account,
        period.subscription,
        "usage.adjusted",
        call["ended_at"],
        call_id=call["call_id"],
        **adjustment,
        currency=period.terms["currency"],
        at_once=at_once,
        **dates(period.terms, call["ended_at"].astimezone(UTC)),
    )
    if not at_once:
        waiting = account.adjustments.setdefault(period.start, adjustment | dict(calls=0, amount_micros=0, billed_s=0))
        waiting["calls"] += 1
        waiting["billed_s"] += rated["billed_s"]
        waiting["amount_micros"] += rated["amount_micros"]


def _say(
    journal: Journal,
    account: Account,
    call: Fact,
    period: Period,
    drawn: dict[str, Any],
    fee: int,
    amount: int,
    allowance_left: int,
    late: bool,
) -> dict[str, Any]:
    currency = period.terms["currency"]
    cost, cost_currency = call["cost_micros"], call["cost_currency"] or currency
    rated = {
        **{name: value for name, value in call.items() if name != "type"},
        "subscription_id": period.subscription.subscription_id,
        "period_start": period.start,
        **drawn,
        "fee_micros": fee,
        "amount_micros": amount,
        "margin_micros": None if cost is None or cost_currency != currency else amount - cost,
        "currency": currency,
        "allowance_left_s": allowance_left,
        "wallet_left_s": account.wallet_s,
        "credit_left_micros": account.credit_micros,
        "late": late,
    }
    journal.write("rated-calls", account.account_id, rated)
    return rated


def _count(journal: Journal, account: Account, call: Fact, period: Period, rated: dict[str, Any], overage: int) -> None:
    """Into the period's totals, then alerts: allowance levels of that period, cap levels of the newest open one."""
    totals = period.totals
    totals.update({name: rated[name] for name in COUNTED})
    totals.update(calls=1, late=int(rated["late"]), overage_micros=overage)
    used, included = totals["allowance_s"], period.included_s
    for level in sorted(period.terms["allowance_alerts_percent"]):
        if included and used * 100 >= level * included:
            journal.alert(account, period, "allowance", level, call["ended_at"], used, included)
    newest = account.newest_open()
    if newest is not None and account.cap is not None:
        for level in sorted(account.cap["alerts_percent"]):
            reached = account.cap_reached_at(newest, level)
            if reached:
                journal.alert(account, newest, "cap", level, call["ended_at"], *reached)
