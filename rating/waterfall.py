"""The drawdown: allowance, then wallet, then credit, then overage (or written off). One call may straddle all."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from rating.terms import Tariff

# Where the billed seconds of a call come from: allowance_s, wallet_s, credit_s, credit_micros, overage_s,
# written_off_s, overage_micros. A plain tuple, for one is made for each call.
Drawdown: TypeAlias = tuple[int, int, int, int, int, int, int]


class Rate(Protocol):
    """What a drawdown needs to know of a tariff."""

    @property
    def rate(self) -> int:
        """Overage rate in micros per minute; 0 where there is none."""

    @property
    def blocked(self) -> bool:
        """Overage is not billed but written off."""


def draw(tariff: Rate, billed_s: int, allowance_left_s: int, wallet_s: int, credit_micros: int) -> Drawdown:
    """Draw billed seconds from the pools in their fixed order.

    Args:
        tariff: gives the overage rate and whether overage is blocked.
        billed_s: seconds to draw.
        allowance_left_s: seconds left of the period's allowance.
        wallet_s: purchased seconds.
        credit_micros: prepaid money; it pays the largest whole number of seconds that it can at the overage rate.

    Returns:
        seconds from the allowance, the wallet and the credit, micros taken from the credit, seconds of overage, seconds
        written off, micros of overage.
    """
    from_allowance = billed_s if billed_s <= allowance_left_s else allowance_left_s
    left = billed_s - from_allowance
    if not left:
        return (from_allowance, 0, 0, 0, 0, 0, 0)
    from_wallet = 0
    if wallet_s:
        from_wallet = left if left <= wallet_s else wallet_s
        left -= from_wallet
    rate = tariff.rate
    from_credit = paid = 0
    if credit_micros > 0 and left and rate > 0:
        from_credit = min(left, (60 * credit_micros + 29) // rate)
        paid = (from_credit * rate + 30) // 60
        left -= from_credit
    if tariff.blocked:
        return (from_allowance, from_wallet, from_credit, paid, 0, left, 0)
    return (from_allowance, from_wallet, from_credit, paid, left, 0, (left * rate + 30) // 60)


def pools_are_empty(tariff: Tariff, allowance_left_s: int, wallet_s: int, credit_micros: int) -> bool:
    """Whether overage is blocked and the pools cannot give one more second, at the lowest rate there is."""
    if not tariff.blocked or allowance_left_s > 0 or wallet_s > 0:
        return False
    rate = tariff.least_rate
    return not (credit_micros > 0 and rate > 0 and 60 * credit_micros + 29 >= rate)
