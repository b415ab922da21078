"""What one call costs: billed seconds, and the pools its seconds come from. No state, only arithmetic."""

from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Any

from tests.oracle.checks import Fact
from tests.oracle.rate_cards import card_in
from tests.oracle.reading import BILLED_BY_DEFAULT

MICROSECOND = timedelta(microseconds=1)


def microseconds_answered(call: Fact) -> int:
    """From answer to end; 0 if it was never answered."""
    answered: datetime | None = call["answered_at"]
    return 0 if answered is None else (call["ended_at"] - answered) // MICROSECOND


def lasted(call: Fact) -> int:
    """Whole seconds from answer to end, as reported."""
    return ceil(Fraction(microseconds_answered(call), 10**6))


def is_billed(call: Fact, terms: dict[str, Any]) -> bool:
    policy = BILLED_BY_DEFAULT | terms["outcomes"]
    return bool(policy.get(call["outcome"], False) and (not call["test"] or policy.get("test", False)))


def terms_for(call: Fact, terms: dict[str, Any]) -> dict[str, Any]:
    """The terms as they are for this call: those of the row of their card, where there is one."""
    card = card_in(terms)
    row = card.row_for(call) if card else None
    if row is None:
        return terms | {"row": None, "pools": True}
    own = {"overage_micros_per_minute": row["rate_micros_per_minute"], "pools": row["pools"], "row": row}
    if row["increments"] is not None:
        own["increments"] = tuple(int(part) for part in row["increments"].split("/"))
    if row["connection_fee_micros"] is not None:
        own["connection_fee_micros"] = row["connection_fee_micros"]
    return terms | own


def billed_and_fee(call: Fact, terms: dict[str, Any]) -> tuple[int, int, int]:
    """(duration_s, billed_s, fee_micros)."""
    duration = min(lasted(call), terms["max_call_s"] or lasted(call))
    if not is_billed(call, terms) or duration < terms["free_below_s"]:
        return duration, 0, 0
    first, following = terms["increments"]
    wanted = max(duration, terms["minimum_s"])
    billed = 0
    if wanted > 0:
        billed = first + following * max(0, ceil(Fraction(wanted - first, following)))
    return duration, billed, terms["connection_fee_micros"]


def is_allowed(pack: str, terms: dict[str, Any]) -> bool:
    """Whether the terms let a pack be bought."""
    allowed = terms["packs"]
    return allowed if isinstance(allowed, bool) else pack in allowed


def price_of(seconds: int, rate: int) -> int:
    """Micros for seconds at a rate a minute, half up."""
    return (seconds * rate + 30) // 60


def seconds_credit_pays(credit: int, rate: int, wanted: int) -> int:
    """The largest number of seconds, at most `wanted`, whose price the credit can pay: by halving, not by formula."""
    if credit <= 0 or rate <= 0:
        return 0
    paid, unpaid = 0, wanted + 1
    while unpaid - paid > 1:
        middle = (paid + unpaid) // 2
        if price_of(middle, rate) <= credit:
            paid = middle
        else:
            unpaid = middle
    return paid


def draw(billed: int, allowance: int, wallet: int, credit: int, terms: dict[str, Any]) -> dict[str, int]:
    """Where billed seconds come from, in the fixed order, and what they cost."""
    rate = terms["overage_micros_per_minute"] or 0
    from_allowance = min(billed, allowance)
    from_wallet = min(billed - from_allowance, wallet)
    left = billed - from_allowance - from_wallet
    from_credit = seconds_credit_pays(credit, rate, left)
    left -= from_credit
    billed_over = terms["overage"] == "billed"
    return {
        "allowance_s": from_allowance,
        "wallet_s": from_wallet,
        "credit_s": from_credit,
        "credit_micros": price_of(from_credit, rate) if from_credit else 0,
        "overage_s": left if billed_over else 0,
        "written_off_s": 0 if billed_over else left,
        "overage_micros": price_of(left, rate) if billed_over else 0,
    }
