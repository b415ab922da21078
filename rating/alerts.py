"""Alerts: once per level and period. Allowance levels look at the call's period, caps at the newest open one."""

from __future__ import annotations

from datetime import UTC, datetime

from rating.access import cap_is_reached
from rating.account import Account, Period
from rating.books import Books
from rating.outputs import ALERTS
from rating.period import stamp


def fire_allowance_alerts(books: Books, account: Account, period: Period, at: datetime) -> None:
    """Fire the levels of the allowance that the period's use has reached, ascending."""
    included_s = period.included_s
    levels = books.tariffs[period.terms_id].levels
    while (
        included_s
        and period.alerts_fired < len(levels)
        and period.allowance_s * 100 >= levels[period.alerts_fired] * included_s
    ):
        _fire(books, account, period, at, "allowance", levels[period.alerts_fired], period.allowance_s, included_s)
        period.alerts_fired += 1


def fire_cap_alerts(books: Books, account: Account, at: datetime) -> None:
    """Fire the levels of the cap that the newest open period has reached, ascending."""
    cap, period = account.cap, account.newest
    if cap is None or period is None:
        return
    for level in cap.alerts_percent:
        if level in period.cap_levels_fired:
            continue
        if not cap_is_reached(cap, level, period.billed_s, period.usage_micros):
            break
        if cap.minutes is not None and period.billed_s * 100 >= level * cap.minutes * 60:
            used, limit = period.billed_s, cap.minutes * 60
        else:
            used, limit = period.usage_micros, cap.spend_micros or 0
        _fire(books, account, period, at, "cap", level, used, limit)
        period.cap_levels_fired.append(level)


def _fire(
    books: Books, account: Account, period: Period, at: datetime, kind: str, level: int, used: int, limit: int
) -> None:
    value = {
        "type": kind,
        "alert_id": f"{account.account_id}:{period.subscription_id}:{stamp(period.start)}:{kind}:{level}",
        "level": level,
        "account_id": account.account_id,
        "agency_id": account.agency_id,
        "subscription_id": period.subscription_id,
        "period_start": period.start,
        "at": at.astimezone(UTC),
        "used": used,
        "limit": limit,
    }
    books.emit(ALERTS, account, value)
