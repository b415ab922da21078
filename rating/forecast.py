"""The forecast of a period: what it comes to if it goes on as it did so far, and when its allowance runs out."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from rating.terms import LARGEST
from rating.waterfall import Drawdown, Rate, draw

# In its first day a period tells too little.
FIRST_S = 86_400
SECOND = timedelta(seconds=1)


class Standing(NamedTuple):
    """Where a period and its account stand: seconds, and micros of the account's currency."""

    start: datetime
    end: datetime
    included_s: int
    allowance_left_s: int
    billed_s: int
    overage_s: int
    usage_micros: int
    fee_micros: int
    wallet_s: int
    credit_micros: int


class Forecast(NamedTuple):
    """What a period comes to; 2**53 stands for anything beyond, for the wire carries no more.

    Attributes:
        billed_s: seconds billed by its end.
        beyond_s: how many of them are beyond allowance, wallet and credit: overage, or written off where it is blocked.
        usage_micros: overage and fees by its end; None where overage is billed and the terms have no rate of their own.
        runs_out_at: when the allowance is used up; None where it lasts, is used up already, or there is none.
    """

    billed_s: int
    beyond_s: int
    usage_micros: int | None
    runs_out_at: datetime | None


def forecast(at: Standing, rate: Rate, has_rate: bool, now: datetime) -> Forecast | None:
    """Carry the usage of a period on to its end.

    Args:
        at: where it stands.
        rate: overage rate, and whether overage is blocked.
        has_rate: the rate is one; otherwise there is no saying what overage will cost.
        now: the time, in whole seconds since the period's start.

    Returns:
        None in the first 24 hours of the period, and once it is over.
    """
    elapsed_s, period_s = (now - at.start) // SECOND, (at.end - at.start) // SECOND
    if elapsed_s < FIRST_S or now >= at.end:
        return None
    billed_s = at.billed_s * period_s // elapsed_s
    more: Drawdown = draw(rate, billed_s - at.billed_s, at.allowance_left_s, at.wallet_s, at.credit_micros)
    _, _, _, _, overage_s, written_off_s, overage_micros = more
    fees = at.fee_micros * period_s // elapsed_s - at.fee_micros
    used_s = at.included_s - at.allowance_left_s
    runs_out_at = None
    if used_s > 0 and at.allowance_left_s > 0:
        lasts_s = elapsed_s * at.included_s // used_s
        runs_out_at = at.start + timedelta(seconds=lasts_s) if lasts_s < period_s else None
    return Forecast(
        billed_s=min(billed_s, LARGEST),
        beyond_s=at.overage_s + overage_s + written_off_s,
        usage_micros=min(at.usage_micros + overage_micros + fees, LARGEST) if has_rate else None,
        runs_out_at=runs_out_at,
    )
