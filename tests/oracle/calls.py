"""Rating one call that is neither refused nor a duplicate."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from tests.oracle.anchored import in_ids, zone_named
from tests.oracle.book import Account, Period, Standing
from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.cycles import dates
from tests.oracle.journal import Journal
from tests.oracle.pricing import billed_and_fee, draw, is_allowed, lasted, terms_for
from tests.oracle.rate_cards import card_in
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


def rate(journal: Journal, account: Account, call: Fact, period: Period, clock: datetime | None) -> None:
    """Draws a call that ended in `period`: there, or by the policy for late calls if that one is closed."""
    newest = account.newest_open()
    if not period.closed:
        rated = drawn(account, call, period, period.allowance_left_s)
        _count(journal, account, period, rated)
        _watch(journal, account, call, period, rated, clock)
    elif newest is None or newest.terms["late_calls"] == "adjust":
        rated = _adjust(journal, account, call, period, at_once=newest is None)
        _top_up(journal, account, call, rated, clock)
    elif newest.terms["late_calls"] == "next_period":
        rated = drawn(account, call, newest, newest.allowance_left_s) | {"late": True}
        _count(journal, account, newest, rated)
        _watch(journal, account, call, newest, rated, clock)
    else:
        rated = _written_off(account, call, newest)
        _count(journal, account, newest, rated)
        _watch(journal, account, call, newest, rated, clock)


def stuck(journal: Journal, account: Account, call: Fact, period: Period) -> None:
    """A call that was cut is told, whatever becomes of it."""
    most = period.terms["max_call_s"]
    if most is not None and lasted(call) > most:
        name = call["call_id"]
        at = call["ended_at"]
        journal.alert(account, period, "stuck_call", most, at, lasted(call), most, once_for=name, call_id=name)


def _watch(
    journal: Journal, account: Account, call: Fact, period: Period, rated: Rated, clock: datetime | None
) -> None:
    stuck(journal, account, call, period)
    if period.terms["unusual_usage"] and rated["billed_s"]:
        _unusual(journal, account, call, period, rated["billed_s"])
    if period.terms["forecast_alert"] and period.included_s:
        _forecast(journal, account, call, period, clock)
    if not (rated["late"] and period.terms["late_calls"] == "write_off"):
        _top_up(journal, account, call, rated, clock)


def _top_up(journal: Journal, account: Account, call: Fact, rated: Rated, clock: datetime | None) -> None:
    """Buys the account's pack where the call took more than the allowance and left too little."""
    top_up, subscription = account.top_up, account.subscription
    if top_up is None or rated["allowance_s"] == rated["billed_s"] or subscription.status == "canceled":
        return
    pool, level = (
        (account.credit_micros, top_up["below_micros"])
        if top_up["below_s"] is None
        else (account.wallet_s, top_up["below_s"])
    )
    at = max(call["ended_at"], clock or call["ended_at"]).astimezone(UTC)
    local = at.astimezone(zone_named(subscription.terms["timezone"]))
    # Months never go back: a late call before the first tick counts in the latest month.
    month = max([(local.year, local.month), *account.topped_up])
    wallet, credit = account.wallet_s + 60 * top_up["minutes"], account.credit_micros + top_up["credit_micros"]
    if pool >= level or not is_allowed(top_up["pack"], subscription.terms) or max(wallet, credit) > MAX_INTEGER:
        return
    if account.topped_up[month] >= top_up["most_per_month"]:
        return
    account.topped_up[month] += 1
    account.wallet_s, account.credit_micros = wallet, credit
    name = f"topup:{journal.partition}:{journal.position}"
    account.fact_ids.add(name)
    own = {each: top_up[each] for each in ("pack", "minutes", "credit_micros", "price_micros", "currency")}
    left = {"wallet_left_s": wallet, "credit_left_micros": credit}
    terms = subscription.terms
    journal.billing(
        account, subscription, "pack.credited", at, fact_id=name, automatic=True, **own, **left, **dates(terms, at)
    )


def _unusual(journal: Journal, account: Account, call: Fact, period: Period, billed: int) -> None:
    """Its clock hour against those of the 28 days before it that are still kept: 28 days before the newest."""
    hour = call["ended_at"].astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    newest = max([hour, *account.hours])
    oldest = newest - timedelta(days=28)
    if hour < oldest:
        return
    account.hours[hour] += billed
    for gone in [each for each in account.hours if each < oldest]:
        del account.hours[gone]
    before = [seconds for each, seconds in account.hours.items() if each < hour]
    if len(before) < 24 or hour in account.unusual:
        return
    most = max(Fraction(3_600), 4 * Fraction(sum(before), len(before)))
    used = account.hours[hour]
    if used > most:
        account.unusual.add(hour)
        told = in_ids(hour)
        journal.alert(
            account, period, "unusual_usage", 400, call["ended_at"], used, int(most), once_for=told, hour=hour
        )


def _forecast(journal: Journal, account: Account, call: Fact, period: Period, clock: datetime | None) -> None:
    """Usage so far, carried on to the period's end as one more call."""
    now = max(call["ended_at"], clock or call["ended_at"])
    second = timedelta(seconds=1)
    elapsed, whole = (now - period.start) // second, (period.end - period.start) // second
    if elapsed < 86_400 or now >= period.end:
        return
    totals, terms = period.totals, period.terms
    ahead = totals["billed_s"] * whole // elapsed
    more = draw(ahead - totals["billed_s"], period.allowance_left_s, account.wallet_s, account.credit_micros, terms)
    if totals["overage_s"] + more["overage_s"] + more["written_off_s"] == 0:
        return
    fees = totals["fee_micros"] * whole // elapsed
    has_rate = terms["overage"] == "blocked" or terms["overage_micros_per_minute"] is not None
    usage = min(totals["overage_micros"] + more["overage_micros"] + fees, MAX_INTEGER)
    runs_out = None
    if totals["allowance_s"] and period.allowance_left_s:
        lasts = elapsed * period.included_s // totals["allowance_s"]
        runs_out = period.start + lasts * second if lasts < whole else None
    journal.alert(
        account,
        period,
        "forecast_overage",
        100,
        call["ended_at"],
        min(ahead, MAX_INTEGER),
        period.included_s,
        forecast_micros=usage if has_rate else None,
        runs_out_at=runs_out,
    )


def drawn(account: Account, call: Fact, period: Period, allowance: int) -> Rated:
    """The call on the terms of `period`; no pool has changed yet."""
    terms = terms_of(account, call, period)
    duration, billed, fee = billed_and_fee(call, terms)
    pools = (allowance, account.wallet_s, account.credit_micros) if terms["pools"] else (0, 0, 0)
    drawn = draw(billed, *pools, terms)
    return _rated(account, call, period, duration, drawn, fee) | {"allowance_left_s": allowance - drawn["allowance_s"]}


def terms_of(account: Account, call: Fact, period: Period) -> Fact:
    """The terms for this call, unless it bills seconds that have no price."""
    terms = terms_for(call, period.terms)
    _, billed, _ = billed_and_fee(call, terms)
    if billed and terms["overage"] == "billed" and terms["overage_micros_per_minute"] is None:
        raise Refused("no_rate", account.account_id)
    return terms


def _written_off(account: Account, call: Fact, period: Period) -> Rated:
    duration, billed, _ = billed_and_fee(call, terms_of(account, call, period))
    drawn = draw(0, 0, 0, 0, period.terms) | {"written_off_s": billed}
    return _rated(account, call, period, duration, drawn, 0) | {"late": True}


def _rated(account: Account, call: Fact, period: Period, duration: int, drawn: dict[str, int], fee: int) -> Rated:
    amount = drawn["overage_micros"] + fee
    seconds = ("allowance_s", "wallet_s", "credit_s", "overage_s", "written_off_s")
    currency = period.terms["currency"]
    costs = account.wholesale.cost(account.account_id, call, period.terms["max_call_s"], currency)
    call = call | {name: value for name, value in costs.items() if name in call}
    cost = call["cost_micros"]
    comparable = cost is not None and (call["cost_currency"] or currency) == currency
    return {
        **{name: value for name, value in call.items() if name != "type"},
        **costs,
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
        **({"cut": True} if lasted(call) > duration else {}),
        **_price(call, period),
    }


def _price(call: Fact, period: Period) -> Rated:
    """What calls of terms with a card tell besides."""
    card = card_in(period.terms)
    if card is None:
        return {}
    row = card.row_for(call)
    if row is None:
        return {"rate_micros_per_minute": period.terms["overage_micros_per_minute"], "rate_prefix": None}
    return {"rate_micros_per_minute": row["rate_micros_per_minute"], "rate_prefix": row["prefix"]}


def _take(journal: Journal, account: Account, rated: Rated, sums: dict[str, int]) -> None:
    """Says the call and takes its seconds from the pools, unless the sums it goes into would grow beyond all bounds."""
    if max(sums["billed_s"] + rated["billed_s"], sums["amount_micros"] + rated["amount_micros"]) > MAX_INTEGER:
        raise Refused("out_of_range", account.account_id)
    journal.write("rated-calls", account.account_id, rated)
    account.wallet_s = rated["wallet_left_s"]
    account.credit_micros = rated["credit_left_micros"]


def _adjust(journal: Journal, account: Account, call: Fact, period: Period, *, at_once: bool) -> Rated:
    """Only the last closed period still has an allowance to draw on."""
    allowance = period.allowance_left_s if period is account.last_closed else 0
    rated = drawn(account, call, period, allowance) | {"late": True}
    none: Rated = {"period_start": period.start, "calls": 0, "billed_s": 0, "amount_micros": 0}
    waiting = none if at_once else account.adjustments.get(period.start, none)
    _take(journal, account, rated, waiting)
    period.drawn_after_close_s += rated["allowance_s"]
    keep(account, rated, period)
    journal.billing(
        account,
        period.subscription,
        "usage.adjusted",
        call["ended_at"],
        **{name: rated[name] for name in ("call_id", "period_start", "billed_s", "amount_micros", "currency")},
        at_once=at_once,
        **dates(period.terms, call["ended_at"].astimezone(UTC)),
    )
    stuck(journal, account, call, period)
    if not at_once:
        waiting["calls"] += 1
        waiting["billed_s"] += rated["billed_s"]
        waiting["amount_micros"] += rated["amount_micros"]
        account.adjustments[period.start] = waiting
    return rated


def _count(journal: Journal, account: Account, period: Period, rated: Rated) -> None:
    """Into the period's totals, then alerts: allowance levels of that period, cap levels of the newest open one."""
    totals, at = period.totals, rated["ended_at"]
    _take(journal, account, rated, totals)
    period.rated.append(rated)
    if account.today is not None:
        account.today.rated.append(rated)
    totals.update({name: rated[name] for name in COUNTED})
    totals.update(calls=1, late=int(rated["late"]), overage_micros=rated["amount_micros"] - rated["fee_micros"])
    count_by_rate(period, rated, 1)
    keep(account, rated, period)
    fire_levels(journal, account, period, at)


def count_by_rate(period: Period, rated: Rated, sign: int) -> None:
    """Of terms with a card: overage by rate, fees by amount. What was taken back whole is as if it had never been."""
    if "rate_prefix" not in rated:
        return
    if rated["overage_s"]:
        rate, overage = rated["rate_micros_per_minute"], rated["amount_micros"] - rated["fee_micros"]
        at = period.by_rate.setdefault(rate, Counter())
        at.update({"overage_s": sign * rated["overage_s"], "overage_micros": sign * overage})
        if not at["overage_s"]:
            del period.by_rate[rate]
    if rated["fee_micros"]:
        of = period.by_fee.setdefault(rated["fee_micros"], Counter())
        of.update({"calls": sign, "fee_micros": sign * rated["fee_micros"]})
        if not of["calls"]:
            del period.by_fee[rated["fee_micros"]]


def keep(account: Account, rated: Rated, period: Period) -> None:
    """How a call was rated, for corrections; one that was corrected is known as it was corrected."""
    known = account.standing.get(rated["call_id"])
    if known is None or not known.corrected:
        account.standing[rated["call_id"]] = Standing(rated, period)


def fire_levels(journal: Journal, account: Account, period: Period, at: datetime) -> None:
    used, included = period.totals["allowance_s"], period.included_s
    for level in sorted(period.terms["allowance_alerts_percent"]):
        if included and used * 100 >= level * included:
            journal.alert(account, period, "allowance", level, at, used, included)
    newest = account.newest_open()
    if newest is not None and account.cap is not None:
        for level in sorted(account.cap["alerts_percent"]):
            reached = account.cap_reached_at(newest, level)
            if reached:
                journal.alert(account, newest, "cap", level, at, *reached)
