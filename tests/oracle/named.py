"""Caps that have a name (`caps.set`): what they measure, when a level is reached, when it is said.

What is used is added up anew from the calls each time it is asked for.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.oracle.anchored import in_ids, zone_named

if TYPE_CHECKING:
    from tests.oracle.book import Account, Period, Today
    from tests.oracle.journal import Journal

Cap = dict[str, Any]


def midnights(moment: datetime, zone: str) -> tuple[datetime, datetime]:
    """When the local day of a moment begins and ends."""
    day = moment.astimezone(zone_named(zone)).date()
    first, last = (
        datetime(each.year, each.month, each.day, tzinfo=zone_named(zone)) for each in (day, day + timedelta(days=1))
    )
    return first.astimezone(UTC), last.astimezone(UTC)


def measured(account: Account, cap: Cap, period: Period) -> tuple[int, int] | None:
    """(used, limit) in seconds or micros; None: nothing to look at."""
    if cap["on"] == "wallet":
        return account.wallet_s, cap["limit"] * 60
    if cap["per"] == "day":
        assert account.today is not None
        rated = account.today.rated
    else:
        rated = period.rated
    if cap["on"] == "minutes":
        return sum(each["billed_s"] for each in rated), cap["limit"] * 60
    if cap["on"] == "spend":
        return sum(each["amount_micros"] for each in rated), int(cap["limit"])
    known = [each for each in rated if each["margin_micros"] is not None]
    cost, margin = (sum(each[name] for each in known) for name in ("cost_micros", "margin_micros"))
    if cap["on"] == "cost":
        return cost, int(cap["limit"])
    return (margin, int(cap["limit"])) if cost or margin else None


def reached(account: Account, cap: Cap, period: Period, level: int) -> bool:
    found = measured(account, cap, period)
    if found is None:
        return False
    used, limit = found
    if cap["on"] not in ("margin", "wallet"):
        return limit * level <= used * 100
    return used <= limit if limit <= 0 else used * level <= limit * 100


def say(journal: Journal, account: Account, at: datetime) -> None:
    """Levels newly reached; a wallet that rose above a level may say it again."""
    period = account.newest_open()
    if period is None:
        return
    for cap in account.caps:
        scope: Period | Today = period
        if cap["per"] == "day":
            assert account.today is not None
            scope = account.today
        said = scope.fired_of_caps.setdefault(cap["name"], [])
        if cap["on"] == "wallet":
            let_go = [
                level
                for level in said
                if level not in cap["alerts_percent"] or not reached(account, cap, period, level)
            ]
            for level in let_go:
                said.remove(level)
            account.rearmed += bool(let_go)
        for level in sorted(set(cap["alerts_percent"])):
            if level in said or not reached(account, cap, period, level):
                continue
            said.append(level)
            found = measured(account, cap, period)
            assert found is not None
            again = f":{account.rearmed}" if cap["on"] == "wallet" and account.rearmed else ""
            subscription_id = period.subscription.subscription_id
            start = in_ids(scope.start)
            value = {
                "type": "cap",
                "alert_id": f"{account.account_id}:{subscription_id}:{start}:{cap['per']}:{cap['name']}:{level}{again}",
                "level": level,
                "account_id": account.account_id,
                "agency_id": account.agency_id,
                "subscription_id": subscription_id,
                "period_start": period.start,
                "at": at.astimezone(UTC),
                "used": found[0],
                "limit": found[1],
                "cap": cap["name"],
                "on": cap["on"],
                "per": cap["per"],
                "mode": cap["mode"],
                "day_start": scope.start if cap["per"] == "day" else None,
            }
            journal.write("alerts", account.account_id, value)
