"""Caps of an agency: the levels of `rating.caps`, held against what all its accounts have used together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rating.agency import Agency, Span
from rating.agency_facts import AgencyCap
from rating.caps import level_is_reached
from rating.period import stamp


def used_of(agency: Agency, cap: AgencyCap, span: Span) -> tuple[int, int] | None:
    """How much of a cap is used, and its limit, in seconds or micros; None where there is nothing to look at yet."""
    if cap.on == "wallet":
        return agency.wallet_s, cap.limit * 60
    if cap.on == "minutes":
        return sum(totals.billed_s for totals in span.totals.values()), cap.limit * 60
    totals = span.totals.get(cap.currency or "")
    if cap.on == "margin":
        known = totals is not None and (totals.margin_micros or totals.cost_micros)
        return (totals.margin_micros, cap.limit) if totals is not None and known else None
    used = 0 if totals is None else totals.amount_micros if cap.on == "spend" else totals.cost_micros
    return used, cap.limit


def off_now(agency: Agency, clock: datetime | None) -> AgencyCap | None:
    """The first hard cap that is reached; None where calls are allowed."""
    for cap, span in _looked_at(agency, clock):
        if cap.mode == "hard":
            used = used_of(agency, cap, span)
            if used is not None and level_is_reached(cap, 100, *used):
                return cap
    return None


def new_alerts(agency: Agency, clock: datetime | None, at: datetime) -> list[dict[str, Any]]:
    """Fire the levels reached and not fired yet, cap by cap, ascending: the values of their alerts."""
    alerts: list[dict[str, Any]] = []
    for cap, span in _looked_at(agency, clock):
        used = used_of(agency, cap, span)
        if used is None:
            continue
        before = span.caps_fired.get(cap.name, [])
        reached = [level for level in cap.alerts_percent if level_is_reached(cap, level, *used)]
        kept = [level for level in before if level in reached or cap.on != "wallet"]
        new = [level for level in reached if level not in before]
        if len(kept) < len(before):
            agency.rearmed += 1
        if new or len(kept) < len(before):
            span.caps_fired = {**span.caps_fired, cap.name: kept + new}
        alerts.extend(_alert(agency, cap, span, level, at, *used) for level in new)
    return alerts


def _looked_at(agency: Agency, clock: datetime | None) -> Iterator[tuple[AgencyCap, Span]]:
    newest = agency.newest
    if newest is None:
        return
    today = None if clock is None else next((day for day in agency.days if day.start <= clock < day.end), None)
    for cap in agency.caps:
        if cap.per == "period":
            yield cap, newest
        elif today is not None:
            yield cap, today


def _alert(
    agency: Agency, cap: AgencyCap, span: Span, level: int, at: datetime, used: int, limit: int
) -> dict[str, Any]:
    again = f":{agency.rearmed}" if cap.on == "wallet" and agency.rearmed else ""
    return {
        "type": "agency_cap",
        "alert_id": f"{agency.agency_id}:{stamp(span.start)}:{cap.per}:{cap.name}:{level}{again}",
        "level": level,
        "account_id": "",
        "agency_id": agency.agency_id,
        "subscription_id": "",
        "period_start": agency.periods[-1].start,
        "at": at.astimezone(UTC),
        "used": used,
        "limit": limit,
        "cap": cap.name,
        "on": cap.on,
        "per": cap.per,
        "mode": cap.mode,
        "day_start": span.start if cap.per == "day" else None,
        "currency": cap.currency,
    }
