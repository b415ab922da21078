"""A rated call turns out to have been another one, or none: it is given back, then rated as it was."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.oracle.book import Account, Period, Standing
from tests.oracle.calls import COUNTED, count_by_rate, drawn, fire_levels, stuck, terms_of
from tests.oracle.checks import MAX_INTEGER, Fact
from tests.oracle.cycles import line, open_next
from tests.oracle.journal import Journal
from tests.oracle.pricing import MICROSECOND, billed_and_fee, microseconds_answered, price_of
from tests.oracle.reading import FACTS, Refused

Rated = dict[str, Any]
NEGATED = (*COUNTED, "duration_s", "credit_s", "cost_micros", "margin_micros", "wholesale_billed_s")
CALL_FIELDS = tuple(FACTS["call.completed"])


@dataclass
class Place:
    """Where a call is rated now, and whether it is late there."""

    period: Period
    late: bool


def corrected(journal: Journal, account: Account, fact: Fact) -> None:
    voids = fact["type"] == "call.voided"
    name = fact["call_id"] if voids else fact["corrects"]
    standing = account.standing.get(name)
    if standing is None:
        raise Refused("unknown_call", account.account_id)
    if voids and standing.voided:
        raise Refused("illegal_change", account.account_id)
    call: Fact | None = None
    if not voids:
        call = {field: fact[field] for field in CALL_FIELDS if field != "call_id"} | {"call_id": name}
        _check(account, call, fact)
    if not standing.voided:
        pools = (account.wallet_s + standing.rated["wallet_s"], account.credit_micros + standing.rated["credit_micros"])
        if max(pools) > MAX_INTEGER:
            raise Refused("out_of_range", account.account_id)
    history = [*standing.former, (standing.rated, standing.period)]
    former = None
    others = []
    for rated, period in history:
        if call is not None and _is_same(account, rated, call):
            former = rated, period
        else:
            others.append((rated, period))
    place = None
    if former is not None:
        place = Place(former[1], former[0]["late"])
    elif call is not None:
        place = _place(journal, account, call, standing)
    if call is not None and place is not None:
        _check_bounds(journal, account, call, place.period, fact["at"])
    if not standing.voided:
        _tell(journal, account, standing.rated, standing.period, fact, -1)
    if call is None or place is None:
        account.standing[name] = Standing(standing.rated, standing.period, standing.former, voided=True, corrected=True)
        return
    rated = _as_before(account, former) or _anew(account, call, place)
    told = _tell(journal, account, rated, place.period, fact, 1)
    account.standing[name] = Standing(told, place.period, others[-10:], corrected=True)
    stuck(journal, account, call, place.period)
    if not place.period.closed:
        fire_levels(journal, account, place.period, call["ended_at"])


def _is_same(account: Account, rated: Rated, call: Fact) -> bool:
    """Every field as it was; a reported cost only where one counts."""
    costs = ("cost_micros", "cost_currency")
    if any(rated[field] != value for field, value in call.items() if field not in costs):
        return False
    if rated.get("cost_source") == "wholesale" and not account.wholesale.passes_on(call, account.currency):
        return True
    return all(rated[field] == call[field] for field in costs)


def _check(account: Account, call: Fact, fact: Fact) -> None:
    answered = call["answered_at"] or call["started_at"]
    if not call["started_at"] <= answered <= call["ended_at"]:
        raise Refused("impossible_times", account.account_id)
    if microseconds_answered(call) > fact["rules"]["max_call_s"] * 10**6:
        raise Refused("impossible_times", account.account_id)
    clock: datetime | None = fact["clock"]
    if clock is not None and (call["ended_at"] - clock) // MICROSECOND > fact["rules"]["max_future_s"] * 10**6:
        raise Refused("impossible_times", account.account_id)


def _place(journal: Journal, account: Account, call: Fact, standing: Standing) -> Place:
    """The period that it ended in if that is open, else where it was rated before."""
    ended = call["ended_at"]
    subscription = account.subscription_at(ended)
    while subscription is not None and subscription.end is None and subscription.periods[-1].end <= ended:
        open_next(journal, account, ended)
        subscription = account.subscription_at(ended)
    if subscription is None:
        raise Refused("no_subscription", account.account_id)
    period = next(each for each in subscription.periods if each.start <= ended < each.end)
    if not period.closed:
        return Place(period, False)
    return Place(standing.period, True if not standing.period.closed else standing.rated["late"])


def _check_bounds(journal: Journal, account: Account, call: Fact, period: Period, at: datetime) -> None:
    try:
        terms = terms_of(account, call, period)
        account.wholesale.cost(account.account_id, call, period.terms["max_call_s"], account.currency)
    except Refused:
        journal.access(account, at)
        raise
    _, billed, fee = billed_and_fee(call, terms)
    most = price_of(billed, terms["overage_micros_per_minute"] or 0) + fee
    if not period.closed:
        billed, most = billed + period.totals["billed_s"], most + period.totals["amount_micros"]
    if max(billed, most) > MAX_INTEGER:
        journal.access(account, at)
        raise Refused("out_of_range", account.account_id)


def _as_before(account: Account, former: tuple[Rated, Period] | None) -> Rated | None:
    """What the call was rated as when it was the same, if everything is there for it."""
    if former is None:
        return None
    rated, period = former
    may_be_short = not period.closed or period is account.last_closed
    if may_be_short and period.allowance_left_s < rated["allowance_s"]:
        return None
    enough = account.wallet_s >= rated["wallet_s"] and account.credit_micros >= rated["credit_micros"]
    return rated if enough else None


def _anew(account: Account, call: Fact, place: Place) -> Rated:
    period = place.period
    has_allowance = not period.closed or period is account.last_closed
    rated = drawn(account, call, period, period.allowance_left_s if has_allowance else 0)
    if place.late and not period.closed and period.terms["late_calls"] == "write_off":
        _, billed, _ = billed_and_fee(call, terms_of(account, call, period))
        nothing = dict.fromkeys((*COUNTED, "credit_s"), 0)
        cost = rated["margin_micros"] is not None
        margin = -rated["cost_micros"] if cost else None
        rated |= nothing | {"billed_s": billed, "written_off_s": billed, "margin_micros": margin}
    return rated | {"late": place.late}


def _tell(journal: Journal, account: Account, rated: Rated, period: Period, fact: Fact, sign: int) -> Rated:
    """Take it from the pools (1) or give it back (-1)."""
    account.wallet_s -= sign * rated["wallet_s"]
    account.credit_micros -= sign * rated["credit_micros"]
    kind = "rerated" if sign > 0 else "refund"
    amount = sign * rated["amount_micros"]
    told = rated | {"correction": kind, "fact_id": fact["fact_id"]}
    if sign < 0:
        told |= {name: -told[name] for name in NEGATED if told.get(name) is not None}
    left = 0
    if not period.closed:
        period.totals.update({name: sign * rated[name] for name in COUNTED})
        overage = rated["amount_micros"] - rated["fee_micros"]
        period.totals.update(calls=sign, late=sign * rated["late"], overage_micros=sign * overage)
        period.rated.append(told)
        count_by_rate(period, rated, sign)
        left = period.allowance_left_s
    elif period is account.last_closed:
        period.drawn_after_close_s += sign * rated["allowance_s"]
        left = period.allowance_left_s
    pools = {"wallet_left_s": account.wallet_s, "credit_left_micros": account.credit_micros}
    told |= {"allowance_left_s": left, **pools}
    journal.write("rated-calls", account.account_id, told)
    if period.closed:
        if amount:
            account.lines.append(line("adjustment", amount, (period.start, None)))
        journal.billing(
            account,
            period.subscription,
            "usage.corrected",
            fact["at"],
            fact_id=fact["fact_id"],
            call_id=rated["call_id"],
            correction=kind,
            period_start=period.start,
            billed_s=sign * rated["billed_s"],
            amount_micros=amount,
            currency=account.currency,
        )
    return told
