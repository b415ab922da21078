"""What a check found."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "warning", "failed"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's report.

    Attributes:
        check: what was looked at, in a word or two.
        status: whether something is wrong; a warning is for a person to judge.
        detail: what was found.
        advice: what to do; empty where there is nothing to do.
    """

    check: str
    status: Status
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, "ok", detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    """Something a person should know of; the pipeline works."""
    return Finding(check, "warning", detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    """The pipeline does not work, or will not."""
    return Finding(check, "failed", detail, advice)


# Seconds between two clocks.
SKEW_WARNING_S = 2.0
SKEW_FAILED_S = 60.0


def skew(check: str, whose: str, ahead_s: float, within_s: float) -> Finding:
    """What a difference of clocks means.

    Args:
        check: the check's name.
        whose: the other clock.
        ahead_s: how far ours is ahead, negative where it is behind.
        within_s: how exactly that is known: half the time of the question and its answer.
    """
    apart = max(0.0, abs(ahead_s) - within_s)
    way = "ahead of" if ahead_s > 0 else "behind"
    if apart < SKEW_WARNING_S:
        return ok(check, f"this machine and {whose} agree to {abs(ahead_s) + within_s:.1f} s")
    detail = f"this machine's clock is {abs(ahead_s):.1f} s {way} that of {whose}"
    advice = "synchronize the machines' clocks (NTP): ticks are written by this time, and close periods"
    return failed(check, detail, advice) if apart > SKEW_FAILED_S else warning(check, detail, advice)
