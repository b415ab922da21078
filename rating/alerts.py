"""Alerts: once per level and period. Allowance levels look at the call's period, caps at the newest open one.

An alert that is not once a level and period has in its id what it is once for: a call, an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rating.access import cap_is_reached
from rating.account import Account, ClosedPeriod, Period
from rating.books import Books
from rating.forecast import Standing, forecast
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
        fire(books, account, period, at, "allowance", levels[period.alerts_fired], period.allowance_s, included_s)
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
        fire(books, account, period, at, "cap", level, used, limit)
        period.cap_levels_fired.append(level)


def fire_forecast_alert(books: Books, account: Account, period: Period, at: datetime) -> None:
    """Fire once a period when it will go beyond allowance, wallet and credit, if it goes on as it did so far."""
    if period.forecast_fired or not period.included_s:
        return
    tariff, clock = books.tariffs[period.terms_id], books.clock
    found = forecast(standing(account, period), tariff, tariff.has_rate, at if clock is None else max(at, clock))
    if found is not None and found.beyond_s:
        more = {"forecast_micros": found.usage_micros, "runs_out_at": found.runs_out_at}
        fire(books, account, period, at, "forecast_overage", 100, found.billed_s, period.included_s, None, more)
        period.forecast_fired = True


def standing(account: Account, period: Period) -> Standing:
    """What a forecast of a period starts from."""
    return Standing(
        start=period.start,
        end=period.end,
        included_s=period.included_s,
        allowance_left_s=period.allowance_left_s,
        billed_s=period.billed_s,
        overage_s=period.overage_s,
        usage_micros=period.usage_micros,
        fee_micros=period.fee_micros,
        wallet_s=account.wallet_s,
        credit_micros=account.credit_micros,
    )


def fire(
    books: Books,
    account: Account,
    period: Period | ClosedPeriod,
    at: datetime,
    kind: str,
    level: int,
    used: int,
    limit: int,
    once_for: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Give out an alert.

    Args:
        books: of the partition.
        account: whose it is.
        period: the period it is about.
        at: time of the fact that caused it.
        kind: its type.
        level: percent or amount.
        used: seconds or micros.
        limit: what ``used`` is a part of.
        once_for: what it is fired once for; None: its level.
        more: fields of its type.
    """
    about = level if once_for is None else once_for
    value = {
        "type": kind,
        "alert_id": f"{account.account_id}:{period.subscription_id}:{stamp(period.start)}:{kind}:{about}",
        "level": level,
        "account_id": account.account_id,
        "agency_id": account.agency_id,
        "subscription_id": period.subscription_id,
        "period_start": period.start,
        "at": at.astimezone(UTC),
        "used": used,
        "limit": limit,
        **(more or {}),
    }
    books.emit(ALERTS, account, value)
