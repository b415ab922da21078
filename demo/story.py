"""What happened to the accounts that the demo follows, line by line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cli.tables import duration_text
from demo.figures import day_text, money_text
from demo.market import DEBTORS, HERO
from demo.observed import Observed

Part = tuple[str, str, str, dict[str, Any]]

STORY_OF_ALERT = {
    "allowance": "alert: {level} % of the included minutes used",
    "cap": "alert: {level} % of the cap reached",
}


# Topics are read side by side, so the order of arrival means little: of an account at one instant, the cause is first.
CAUSES_FIRST = ("billing", "request", "status", "alert", "pool", "access")


def story_lines(observed: Observed) -> list[tuple[str, str]]:
    """The hero's story so far: (date, line)."""
    told = ((day_text(at), tell(kind, what, event)) for at, kind, what, event in _in_order(observed.stories[HERO]))
    return [(at, line) for at, line in told if line]


def debt_lines(observed: Observed) -> list[tuple[str, str, str]]:
    """What came of not paying in time, so far: (date, account, line)."""
    return [
        (day_text(at), event["account_id"], line)
        for at, kind, what, event in _story_of_debts(observed)
        if (line := tell(kind, what, event))
    ]


def debt_days(observed: Observed) -> list[tuple[str, str, str]]:
    """The same in short, a line for each day of an account."""
    days: dict[tuple[str, str], list[str]] = {}
    for at, kind, what, event in _story_of_debts(observed):
        if kind == "request":
            line = f"{money_text(event['total_micros'], event['currency'])} {what}"
        elif kind == "access":
            line = "campaigns run" if event["allowed"] else "campaigns stop"
        else:
            line = what
        days.setdefault((day_text(at), event["account_id"]), []).append(line)
    return [(at, account, ", ".join(lines)) for (at, account), lines in days.items()]


def _story_of_debts(observed: Observed) -> list[Part]:
    story = _in_order([part for account in DEBTORS for part in observed.stories[account]])
    return [part for part in story if part[1] in ("request", "status", "access")]


def _in_order(story: list[Part]) -> list[Part]:
    def place(part: Part) -> tuple[datetime, str, int]:
        at, kind, _, event = part
        return datetime.fromisoformat(at), event["account_id"], CAUSES_FIRST.index(kind)

    return sorted(story, key=place)


def agency_lines(observed: Observed) -> list[tuple[str, str, str]]:
    """What agencies' caps did: (date, agency, line); accounts that were told the same are counted."""
    lines: dict[tuple[str, str, str], int] = {}
    for at, kind, event in sorted(observed.agency_story, key=lambda part: datetime.fromisoformat(part[0])):
        if kind == "alert":
            cap = f"{event['cap']}, a {event['mode']} cap of {event['limit'] // 60:,} minutes"
            line = f"{cap}: {event['level']} %"
        else:
            line = "access off" if kind == "off" else "the cap is raised, and access is on again"
        key = (day_text(at), event["agency_id"], line)
        lines[key] = lines.get(key, 0) + (kind != "alert")
    return [(at, agency, f"{line}: {count} accounts" if count else line) for (at, agency, line), count in lines.items()]


def tell(kind: str, what: str, event: dict[str, Any]) -> str | None:
    """One line of the story, or None where there is nothing to tell."""
    if kind == "alert":
        return STORY_OF_ALERT[what].format(**event) if what in STORY_OF_ALERT else None
    if kind == "pool":
        empty = "included minutes used up" if what == "allowance_left_s" else "wallet used up"
        return f"{empty}; this call: {call_sources(event)}"
    if kind == "access":
        return "campaigns may run again" if event["allowed"] else f"access off: {', '.join(event['reasons'])}"
    if kind == "status":
        return f"{event['previous']} -> {what}" + (f": {event['banner']}" if event["banner"] else "")
    if kind == "request":
        amount = money_text(event["total_micros"], event["currency"])
        return f"payment request ({event['kind']}): {amount}, {event['status']}"
    return _tell_billing(what, event)


def _tell_billing(what: str, event: dict[str, Any]) -> str | None:
    if what == "pack.credited":
        return f"pack {event['pack']} applied: wallet {duration_text(event['wallet_left_s'])}"
    if what == "number.rented":
        return f"number {event['number']} rented: {money_text(event['price_micros'], event['currency'])} a month"
    if what == "subscription.changed":
        return f"plan changed: {event['previous_plan']} to {event['plan']}"
    if what == "cycle.opened":
        price = money_text(event["price_micros"], event["currency"])
        minutes, seconds = divmod(event["included_s"], 60)
        included = duration_text(event["included_s"]) if seconds else f"{minutes}"
        return f"period opens: {included} included minutes for {price}"
    if what == "cycle.closed" and event["calls"]:
        amount = money_text(event["usage_micros"], event["currency"])
        return f"period closes: {event['calls']} calls, {duration_text(event['billed_s'])} billed, usage {amount}"
    return None


def call_sources(call: dict[str, Any]) -> str:
    """Where a call's seconds came from."""
    names = ("allowance", "wallet", "credit", "overage", "written_off")
    parts = [f"{duration_text(call[f'{name}_s'])} {name}" for name in names if call[f"{name}_s"]]
    return " + ".join(parts)
