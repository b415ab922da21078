"""Billed seconds of a call: policy, minimum, increments.

The worked example of the domain: 4 min 3.2 s at 60/6 is 244 s, billed as ``60 + 31 * 6 = 246`` s.
"""

from __future__ import annotations

from rating.terms import Tariff


def billed_seconds(tariff: Tariff, duration_s: int, outcome: str, test: bool) -> tuple[int, int]:
    """Billed seconds and connection fee of a call.

    Args:
        duration_s: whole seconds from answer to end, rounded up; 0 if never answered.
        outcome: outcome as reported.
        test: a test call, billed only where the terms bill test calls and its outcome.

    Returns:
        Seconds, rounded up to the increments, and micros. Both 0 where the call is not billed or shorter than the
        free seconds.
    """
    if outcome not in tariff.billed_outcomes or (test and not tariff.test_billed) or duration_s < tariff.free_below_s:
        return 0, 0
    seconds = duration_s if duration_s > tariff.minimum_s else tariff.minimum_s
    if seconds == 0:
        return 0, tariff.fee_micros
    first = tariff.first
    if seconds <= first:
        return first, tariff.fee_micros
    following = tariff.next
    return first + -(-(seconds - first) // following) * following, tariff.fee_micros
