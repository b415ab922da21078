"""Corrections: a rated call turns out to have been another one, or none.

Nothing is edited. The rating that stands is given back first, pool by pool, as a rated call of its own with all amounts
negated; then the call is rated as it was, in the account as it stands now. What falls on a period that is open changes
its usage; what falls on a closed one waits as a line for the next request.

Correcting a call back restores every balance: a correction that says what the call was rated as before takes the very
seconds and amounts that were taken then, where the pools have them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from rating.access import review_access
from rating.account import Account, ClosedPeriod, Correction, Period, WaitingLine
from rating.alerts import fire_allowance_alerts, fire_cap_alerts
from rating.books import Books, Refusal, within_bounds
from rating.calls import ClosedHome, check_call, find_home, fire_stuck
from rating.caps import count_cost
from rating.cycle import span
from rating.duration import billed_seconds
from rating.facts import CallCompleted, CallCorrected, CallVoided
from rating.money import cost_micros
from rating.outputs import RATED_CALLS, SpecialCall, encode
from rating.period import index_at
from rating.prices import Extras, draw_by_card
from rating.terms import LARGEST, Tariff
from rating.waterfall import Drawdown, draw
from rating.wholesale import cost_of, reported_counts

_decode_rated = msgspec.json.Decoder(SpecialCall).decode
# A call that is corrected more often than that may not be restored to what it was first.
MOST_FORMER = 10
CALL_FIELDS = CallCompleted.__struct_fields__
AMOUNTS = (
    "duration_s",
    "billed_s",
    "allowance_s",
    "wallet_s",
    "credit_s",
    "credit_micros",
    "overage_s",
    "written_off_s",
    "fee_micros",
    "amount_micros",
    "cost_micros",
    "margin_micros",
    "wholesale_billed_s",
)


COST_FIELDS = ("cost_micros", "cost_currency")


class Home(NamedTuple):
    """Where a rating counts: an open period; or a closed one, by its start, with what is known of it still."""

    subscription_id: str
    start: datetime
    period: Period | None
    closed: ClosedPeriod | None
    tariff: Tariff

    @property
    def allowance_left_s(self) -> int:
        """What its allowance has left; nothing of a period before the last closed one."""
        of = self.period or self.closed
        return of.allowance_left_s if of else 0


def correct_call(
    books: Books, account: Account, fact: CallCorrected | CallVoided, rated: bytes | None, latest_end: datetime
) -> None:
    """Take a rating back, and rate the call anew unless it is voided.

    Args:
        books: of the partition.
        account: whose call it is.
        fact: the correction.
        rated: how the call was rated first, as it stands in ``rated-calls``; None if it is not found there.
        latest_end: no call may end later.

    Raises:
        Refusal: ``unknown_call``; ``illegal_change`` for voiding a call that is voided; ``impossible_times``;
            ``no_subscription``; ``out_of_range``.
    """
    voids = isinstance(fact, CallVoided)
    call_id = fact.call_id if isinstance(fact, CallVoided) else fact.corrects
    known = books.history(account.account_id).corrections.get(call_id)
    if known is None:
        if rated is None:
            raise Refusal("unknown_call", f"call {call_id} was not rated, or too long ago to be found")
        known = Correction(rated)
    standing = _decode_rated(known.latest)
    if voids and known.voided:
        raise Refusal("illegal_change", f"call {call_id} is voided already")
    call = duration_s = None
    if isinstance(fact, CallCorrected):
        call = CallCompleted(
            call_id=call_id, **{name: getattr(fact, name) for name in CALL_FIELDS if name != "call_id"}
        )
        duration_s = check_call(books, call)
        if call.ended_at > latest_end:
            raise Refusal("impossible_times", f"ends more than {books.rules.max_future_s} s after the clock")
    if not known.voided:
        within_bounds("the wallet", account.wallet_s + standing.wallet_s)
        within_bounds("the credit", account.credit_micros + standing.credit_micros)
    at = fact.at.astimezone(UTC)
    home = old_home = _home_of(books, account, standing)
    before = None
    if call is not None and duration_s is not None:
        before = next((one for one in _ratings(known) if _is_same(books, one, call)), None)
        home = _home_of(books, account, before) if before else _new_home(books, account, call, old_home)
        _check_bounds(books, account, home, call, duration_s, at)
    if not known.voided:
        _count(books, account, old_home, standing, -1, fact.fact_id, at)
    if call is None or duration_s is None:
        kept = Correction(known.latest, known.former, voided=True)
    else:
        new = before
        if new is None or not _is_there_for(account, home, new):
            new = _rate(books, account, home, call, duration_s, (before or standing).late)
        new = _count(books, account, home, new, 1, fact.fact_id, at)
        former = [encode(one) for one in _ratings(known) if not _is_same(books, one, call)]
        kept = Correction(encode(new), former[MOST_FORMER - 1 :: -1])
        if new.cut:
            _tell_stuck(books, account, home, call, new.duration_s)
        if home.period is not None:
            fire_allowance_alerts(books, account, home.period, call.ended_at)
            fire_cap_alerts(books, account, call.ended_at)
    books.changed_history(account.account_id).corrections[call_id] = kept
    books.schedule(account)
    review_access(books, account, at)


def _ratings(known: Correction) -> list[SpecialCall]:
    """Everything that a call was rated as, the latest first."""
    return [_decode_rated(one) for one in (known.latest, *reversed(known.former))]


def _is_same(books: Books, rated: SpecialCall, call: CallCompleted) -> bool:
    """Whether a call is what it was when it was rated. A reported cost matters only where it counts."""
    if not all(getattr(rated, name) == getattr(call, name) for name in CALL_FIELDS if name not in COST_FIELDS):
        return False
    if rated.cost_source == "wholesale" and not reported_counts(books, call, rated.currency):
        return True
    return all(getattr(rated, name) == getattr(call, name) for name in COST_FIELDS)


def _home_of(books: Books, account: Account, rated: SpecialCall) -> Home:
    """Where a call was rated, as that period is now."""
    for period in account.periods:
        if period.start == rated.period_start and period.subscription_id == rated.subscription_id:
            return Home(period.subscription_id, period.start, period, None, books.tariffs[period.terms_id])
    tariff = _terms_of(books, account, rated)
    last = account.last_closed
    belongs = (rated.subscription_id, rated.period_start)
    closed = last if last is not None and (last.subscription_id, last.start) == belongs else None
    return Home(rated.subscription_id, rated.period_start, None, closed, tariff)


def _terms_of(books: Books, account: Account, rated: SpecialCall) -> Tariff:
    """The terms of the closed period of a rating. It may have no length: then no moment belongs to it."""
    start = rated.period_start
    past = (account.subscription, *reversed(books.history(account.account_id).subscriptions))
    of = next(one for one in past if one.subscription_id == rated.subscription_id and one.start <= start)
    terms = books.tariffs[of.terms_id].terms
    n = index_at(of.anchor, terms.interval, terms.interval_count, terms.timezone, start)
    return span(books, of, n)[0]


def _new_home(books: Books, account: Account, call: CallCompleted, old: Home) -> Home:
    """The open period that a corrected call belongs to; where its own is closed, it stays where it was rated."""
    found = find_home(books, account, call.ended_at)
    if isinstance(found, ClosedHome):
        return old
    return Home(found.subscription_id, found.start, found, None, books.tariffs[found.terms_id])


def _is_there_for(account: Account, home: Home, before: SpecialCall) -> bool:
    """Whether the pools still have what a rating took. What an older period's allowance gave comes back with it."""
    lapsed = home.period is None and home.closed is None
    return (
        (lapsed or home.allowance_left_s >= before.allowance_s)
        and account.wallet_s >= before.wallet_s
        and account.credit_micros >= before.credit_micros
    )


def _check_bounds(
    books: Books, account: Account, home: Home, call: CallCompleted, duration_s: int, at: datetime
) -> None:
    """Refuse what would be beyond all bounds if every second of it were overage."""
    tariff, period = home.tariff, home.period
    try:
        billed_s, fee, _, _ = _drawn(tariff, account, call, min(duration_s, tariff.longest_s), 0)
        cost_of(books, call, min(duration_s, tariff.longest_s), account.currency)
    except Refusal:
        # A period may have been opened all the same.
        review_access(books, account, at)
        raise
    if tariff.card is not None:
        tariff = tariff.priced(call.to_number, call.direction, call.tier)
    most = cost_micros(billed_s, tariff.rate) + fee
    used_s, used = (period.billed_s, period.usage_micros) if period else (0, 0)
    if used_s + billed_s > LARGEST or used + most > LARGEST:
        review_access(books, account, at)
        raise Refusal("out_of_range", "the period's billed seconds or usage could exceed 2^53")


def _rate(
    books: Books, account: Account, home: Home, call: CallCompleted, duration_s: int, was_late: bool
) -> SpecialCall:
    """The call on the terms of its period, drawn from the pools as they are now; nothing has changed yet."""
    tariff = home.tariff
    rated_s = min(duration_s, tariff.longest_s)
    late = was_late if home.period is None else not home.start <= call.ended_at < home.period.end
    billed_s, fee, drawn, extras = _drawn(tariff, account, call, rated_s, home.allowance_left_s)
    if late and home.period is not None and tariff.terms.late_calls == "write_off":
        fee, drawn = 0, (0, 0, 0, 0, 0, billed_s, 0)
    allowance_s, wallet_s, credit_s, credit_micros, overage_s, written_off_s, overage_micros = drawn
    call, costed = cost_of(books, call, rated_s, account.currency)
    amount, cost = overage_micros + fee, call.cost_micros
    if cost is not None and call.cost_currency not in (None, account.currency):
        cost = None
    rated = SpecialCall(
        **asdict(call),
        subscription_id=home.subscription_id,
        period_start=home.start,
        duration_s=rated_s,
        billed_s=billed_s,
        allowance_s=allowance_s,
        wallet_s=wallet_s,
        credit_s=credit_s,
        credit_micros=credit_micros,
        overage_s=overage_s,
        written_off_s=written_off_s,
        fee_micros=fee,
        amount_micros=amount,
        margin_micros=None if cost is None else amount - cost,
        currency=account.currency,
        allowance_left_s=0,
        wallet_left_s=0,
        credit_left_micros=0,
        late=late,
        source_partition=books.partition,
        source_offset=books.offset,
        **extras,
        **costed,
    )
    return replace(rated, cut=True) if rated_s != duration_s else rated


def _drawn(
    tariff: Tariff, account: Account, call: CallCompleted, duration_s: int, allowance_left_s: int
) -> tuple[int, int, Drawdown, Extras]:
    """Billed seconds, fee, and where they come from.

    Raises:
        Refusal: ``no_rate``.
    """
    if tariff.card is not None:
        return draw_by_card(tariff, account, call, duration_s, allowance_left_s)
    billed_s, fee = billed_seconds(tariff, duration_s, call.outcome, call.test)
    return billed_s, fee, draw(tariff, billed_s, allowance_left_s, account.wallet_s, account.credit_micros), {}


def _count(
    books: Books, account: Account, home: Home, rated: SpecialCall, sign: int, fact_id: str, at: datetime
) -> SpecialCall:
    """Take a rating's seconds and amounts out of the pools (1), or give them back (-1), and say so."""
    if home.period is not None:
        _count_in(home.period, rated, sign)
    elif home.closed is not None:
        home.closed.allowance_left_s -= sign * rated.allowance_s
    account.wallet_s -= sign * rated.wallet_s
    account.credit_micros -= sign * rated.credit_micros
    _count_for_agency(books, account, rated, sign)
    told = replace(
        rated,
        allowance_left_s=home.allowance_left_s,
        wallet_left_s=account.wallet_s,
        credit_left_micros=account.credit_micros,
        source_partition=books.partition,
        source_offset=books.offset,
        correction="rerated" if sign > 0 else "refund",
        fact_id=fact_id,
    )
    negated = {name: -value for name in AMOUNTS if (value := getattr(told, name)) not in (None, UNSET)}
    given = told if sign > 0 else replace(told, **negated)
    books.outputs.append((RATED_CALLS, account.account_id.encode(), encode(given)))
    if home.period is None:
        _tell_closed(books, account, home, given, at)
    return told


def _count_in(period: Period, rated: SpecialCall, sign: int) -> None:
    """Count a rating in its open period (1), or take it out (-1)."""
    overage_micros = rated.amount_micros - rated.fee_micros
    period.calls += sign
    period.late_calls += sign * rated.late
    period.billed_s += sign * rated.billed_s
    period.allowance_s += sign * rated.allowance_s
    period.allowance_left_s -= sign * rated.allowance_s
    period.wallet_s += sign * rated.wallet_s
    period.credit_micros += sign * rated.credit_micros
    period.overage_s += sign * rated.overage_s
    period.written_off_s += sign * rated.written_off_s
    period.overage_micros += sign * overage_micros
    period.fee_micros += sign * rated.fee_micros
    if period.by_rate is not None and not isinstance(rated.rate_micros_per_minute, UnsetType):
        count = period.by_rate.count if sign > 0 else period.by_rate.take_back
        count(rated.rate_micros_per_minute or 0, rated.overage_s, overage_micros, rated.fee_micros)
    if rated.margin_micros is not None:
        count_cost(period, sign * (rated.amount_micros - rated.margin_micros), sign * rated.amount_micros)


def _tell_closed(books: Books, account: Account, home: Home, given: SpecialCall, at: datetime) -> None:
    """A closed period is not changed: what a correction gives out for it waits for the next request."""
    if given.amount_micros:
        what = "rated anew" if given.correction == "rerated" else "taken back"
        text = f"Call {given.call_id} corrected: {what}"
        line_id = f"{given.correction}:{given.fact_id}"
        account.lines.append(
            WaitingLine(line_id, "adjustment", text, 1, "call", given.amount_micros, period_start=home.start)
        )
    content = {
        "fact_id": given.fact_id,
        "call_id": given.call_id,
        "correction": given.correction,
        "period_start": home.start,
        "billed_s": given.billed_s,
        "amount_micros": given.amount_micros,
        "currency": account.currency,
    }
    books.emit_billing("usage.corrected", account, at, content, home.subscription_id)


def _count_for_agency(books: Books, account: Account, rated: SpecialCall, sign: int) -> None:
    sums = books.agencies.sums_at(account.agency_id, account.currency, rated.ended_at, books.clock)
    sums.calls += sign
    sums.billed_s += sign * rated.billed_s
    sums.amount_micros += sign * rated.amount_micros
    if rated.margin_micros is not None:
        sums.cost_micros += sign * (rated.amount_micros - rated.margin_micros)
        sums.margin_micros += sign * rated.margin_micros
    if not isinstance(rated.cost_source, UnsetType) and not isinstance(rated.wholesale_billed_s, UnsetType):
        sums.count_wholesale(rated.cost_source, rated.wholesale_billed_s, rated.cost_micros or 0, sign)


def _tell_stuck(books: Books, account: Account, home: Home, call: CallCompleted, limit_s: int) -> None:
    reported_s = check_call(books, call)
    of = home.period or ClosedPeriod(home.subscription_id, home.start, home.start, 0)
    fire_stuck(books, account, of, call, reported_s, limit_s)
