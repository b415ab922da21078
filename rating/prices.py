"""Prices that are looked up for a call: of terms with a rate card.

Plain terms have one price and never come here. What is found is also what a rated call tells of its price.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from rating.account import Account
from rating.books import Refusal
from rating.duration import billed_seconds
from rating.facts import CallCompleted
from rating.terms import Tariff
from rating.waterfall import Drawdown, draw

# Fields of a rated call that most calls do not have (`rating.outputs.SpecialCall`).
Extras: TypeAlias = dict[str, Any]


def draw_by_card(
    tariff: Tariff, account: Account, call: CallCompleted, duration_s: int, allowance_left_s: int
) -> tuple[int, int, Drawdown, Extras]:
    """Draw a call on terms that have a rate card.

    Returns:
        billed seconds, connection fee, where the seconds come from, and what the rated call tells of its price.

    Raises:
        Refusal: ``no_rate``: it bills seconds, no row matches, and the terms have no rate.
    """
    priced = tariff.priced(call.to_number, call.direction, call.tier)
    billed_s, fee = billed_seconds(priced, duration_s, call.outcome, call.test)
    if billed_s and not priced.has_rate:
        raise no_rate(tariff, call, "the terms have none")
    if priced.pools:
        drawn = draw(priced, billed_s, allowance_left_s, account.wallet_s, account.credit_micros)
    else:
        drawn = draw(priced, billed_s, 0, 0, 0)
    return billed_s, fee, drawn, {"rate_micros_per_minute": priced.price_of_a_minute, "rate_prefix": priced.prefix}


def no_rate(tariff: Tariff, call: CallCompleted, otherwise: str) -> Refusal:
    """No row of a card matches a call, and there is no other rate."""
    assert tariff.card is not None
    whereto = f"{call.direction} call to {call.to_number or 'no number'}"
    tier = "" if call.tier is None else f" of tier {call.tier}"
    return Refusal("no_rate", f"no row of rate card {tariff.card.card_id} is for an {whereto}{tier}, and {otherwise}")
