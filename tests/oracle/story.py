"""Facts in few words, for tests that tell a story: account `acct`, agency `ag`, US dollars."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tests.oracle.oracle import run

Fact = dict[str, Any]
TERMS = {
    "plan": "starter",
    "plan_version": "v1",
    "currency": "USD",
    "interval": "month",
    "interval_count": 1,
    "overage": "billed",
    "overage_micros_per_minute": 120_000,
}


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def call(call_id: str, ended_at: str, seconds: float = 60, **fields: Any) -> Fact:
    """An answered outbound call of so many seconds; `fields` add or replace."""
    ended = datetime.fromisoformat(ended_at)
    answered = _iso(ended - timedelta(microseconds=round(seconds * 10**6)))
    return {
        "type": "call.completed",
        "call_id": call_id,
        "account_id": "acct",
        "agency_id": "ag",
        "direction": "outbound",
        "started_at": answered,
        "answered_at": answered,
        "ended_at": ended_at,
        "outcome": "answered",
    } | fields


def tick(at: str, **fields: Any) -> Fact:
    return {"type": "tick", "at": at} | fields


def fact(of: str, fact_id: str, at: str, **fields: Any) -> Fact:
    return {"type": of, "fact_id": fact_id, "account_id": "acct", "agency_id": "ag", "at": at} | fields


def started(at: str, name: str = "sub", /, **terms: Any) -> Fact:
    return fact("subscription.started", f"start {name}", at, subscription_id=name, terms=TERMS | terms)


def canceled(at: str, when: str, name: str = "sub") -> Fact:
    return fact("subscription.canceled", f"cancel {name} {when}", at, subscription_id=name, when=when)


def pack(at: str, minutes: int = 0, credit: int = 0, **fields: Any) -> Fact:
    own = {
        "pack": "boost-60",
        "minutes": minutes,
        "credit_micros": credit,
        "price_micros": 9_000_000,
        "currency": "USD",
    }
    return fact("pack.applied", f"pack {at}", at, **own | fields)


def capped(at: str, minutes: int | None, **fields: Any) -> Fact:
    cap = {"minutes": minutes, "spend_micros": None, "mode": "hard", "alerts_percent": [80, 100]} | fields
    return fact("cap.set", f"cap {at}", at, cap=cap)


class Told:
    """What was said to a story, by topic."""

    def __init__(self, facts: Iterable[Fact | bytes]) -> None:
        lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in facts]
        self.outputs = run(lines)

    def on(self, topic: str) -> list[dict[str, Any]]:
        return [output["value"] for output in self.outputs if output["topic"] == topic]

    def calls(self, *fields: str) -> list[Any]:
        """Of each rated call the given fields, as a tuple; of one field, the bare value."""
        return [_picked(value, fields) for value in self.on("rated-calls")]

    def billing(self, kind: str, *fields: str) -> list[Any]:
        return [_picked(value, fields) for value in self.on("billing-events") if value["type"] == kind]

    @property
    def refusals(self) -> list[str]:
        return [value["reason"] for value in self.on("dead-letters")]

    @property
    def access(self) -> list[list[str]]:
        return [value["reasons"] for value in self.on("access-events")]

    @property
    def alerts(self) -> list[tuple[str, int]]:
        return [(value["type"], value["level"]) for value in self.on("alerts")]


def _picked(value: dict[str, Any], fields: tuple[str, ...]) -> Any:
    return value[fields[0]] if len(fields) == 1 else tuple(value[field] for field in fields)
