"""A voice platform, simulated: agencies, accounts, and a month of calls with everything that goes wrong in real life.

The month is November 2026 in simulated time. What is planted is remembered, so that afterwards the proof knows which
call must have been rated, reported as a duplicate, or dead-lettered and why. The same seed gives the same bytes.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from rating.period import instant

# Calls end between these two, inside November in every agency's time zone.
FIRST_CALL = datetime(2026, 11, 1, 6, tzinfo=UTC)
LAST_CALL = datetime(2026, 11, 30, 14, tzinfo=UTC)
START = datetime(2026, 10, 31, 12, tzinfo=UTC)
NOVEMBER_IS_CLOSED = datetime(2026, 12, 2, tzinfo=UTC)
END = datetime(2026, 12, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOCAL_START = datetime(2026, 11, 1)

HERO = "jane-dental"
# Minutes of the hero's scripted calls: 100 included, 60 from a pack, 40 of overage up to the cap. The first one is
# short, so that later ones straddle the pools.
HERO_MINUTES = (5, *[10] * 19, 5)
# Billed seconds after which access goes off on these plans: a cap, a block of prepaid minutes.
ALLOWED_S = {"starter": 200 * 60, "prepaid": 500 * 60}
CAMPAIGNS = ("recall", "booking", "survey", "reminder")
OUTCOMES = ("answered",) * 16 + ("voicemail", "voicemail", "no_answer", "busy")


@dataclass(frozen=True)
class Tenant:
    """An account of the simulated platform, the plan it is on, and how busy it is compared with others."""

    account_id: str
    agency_id: str
    plan: str
    timezone: str
    weight: float
    wholesale_micros_per_minute: int


@dataclass
class Planted:
    """What the platform has sent, by what must become of it. Calls are named (account, call id)."""

    rated: set[tuple[str, str]] = field(default_factory=set)
    late: set[tuple[str, str]] = field(default_factory=set)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    dead_letters: dict[str, str] = field(default_factory=dict)  # a tag found in the bytes -> the reason
    records: int = 0


# Plan, agency, time zone, share of the accounts, wholesale price a minute in micros of the agency's currency.
MARKET = (
    ("starter", "acme", "America/New_York", 0.25, 30_000),
    ("business", "acme", "America/New_York", 0.15, 30_000),
    ("prepaid", "acme", "America/New_York", 0.10, 30_000),
    ("basis", "nordlicht", "Europe/Berlin", 0.20, 25_000),
    ("woche", "nordlicht", "Europe/Berlin", 0.10, 25_000),
    ("hyojun", "sakura", "Asia/Tokyo", 0.20, 4_000_000),
)


def tenants(count: int, seed: int) -> list[Tenant]:
    """The accounts: the hero first, then others spread over the plans of the market."""
    rnd = random.Random(f"tenants {seed}")
    found = [Tenant(HERO, "acme", "starter", "America/New_York", 0.0, 30_000)]
    for number in range(1, count):
        plan, agency, timezone, _, wholesale = rnd.choices(MARKET, [row[3] for row in MARKET])[0]
        account = f"{agency}-{number:03d}"
        found.append(Tenant(account, agency, plan, timezone, rnd.paretovariate(1.4), wholesale))
    return found


class Platform:
    """Sends a month of facts, hour by hour of simulated time.

    Attributes:
        tenants: its accounts.
        planted: what became due of everything sent so far.
    """

    def __init__(self, accounts: int, calls: int, seed: int) -> None:
        """Plan the month.

        Args:
            accounts: how many accounts, the hero among them.
            calls: how many calls, duplicates and bad records not counted.
            seed: the same seed gives the same bytes.
        """
        self.tenants = tenants(accounts, seed)
        self.planted = Planted()
        self._rnd = random.Random(f"calls {seed}")
        self._due: list[tuple[datetime, int, str, bytes]] = []
        self._number = 0
        self._plan_hero()
        self._plan_calls(max(calls - len(HERO_MINUTES), 0))
        self._plan_bad_records(max(calls // 400, 8))
        self._due.sort()

    @property
    def records(self) -> int:
        """How many records there are in all, ticks not counted."""
        return len(self._due)

    def hours(self) -> Iterator[tuple[datetime, list[tuple[str, bytes]]]]:
        """Each hour's end and what is sent in it: (key, bytes), in order. Send them, then a tick of that time."""
        at, taken = START, 0
        while at < END:
            at += HOUR
            sent: list[tuple[str, bytes]] = []
            while taken < len(self._due) and self._due[taken][0] <= at:
                sent.append(self._due[taken][2:])
                taken += 1
            self.planted.records += len(sent)
            yield at, sent

    def _send(self, at: datetime, key: str, value: dict[str, Any] | bytes) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        self._due.append((at, len(self._due), key, content))

    def _call(self, tenant: Tenant, ended_at: datetime, seconds: float, outcome: str, test: bool) -> dict[str, Any]:
        rnd = self._rnd
        self._number += 1
        answered = outcome in ("answered", "voicemail")
        answered_at = ended_at - timedelta(microseconds=round(seconds * 1e6))
        started_at = answered_at - timedelta(seconds=rnd.randint(1, 20))
        known = rnd.random() < 0.9
        cost = round(seconds * tenant.wholesale_micros_per_minute / 60) if answered else 0
        return {
            "type": "call.completed",
            "call_id": f"call-{self._number:07d}",
            "account_id": tenant.account_id,
            "agency_id": tenant.agency_id,
            "campaign_id": rnd.choice(CAMPAIGNS),
            "agent_id": f"agent-{rnd.randint(1, 5)}",
            "direction": rnd.choice(("outbound", "outbound", "inbound")),
            "from_number": "+14155550100",
            "to_number": f"+1{rnd.randint(2_000_000_000, 9_999_999_999)}",
            "started_at": text(started_at),
            "answered_at": text(answered_at) if answered else None,
            "ended_at": text(ended_at),
            "outcome": outcome,
            "test": test,
            "cost_micros": cost if known else None,
        }

    def _plan_call(self, tenant: Tenant, ended_at: datetime, seconds: float, outcome: str, test: bool = False) -> None:
        rnd = self._rnd
        fact = self._call(tenant, ended_at, seconds, outcome, test)
        name = (tenant.account_id, fact["call_id"])
        self.planted.rated.add(name)
        sent_at = ended_at + timedelta(seconds=rnd.randint(0, 120))
        kind = rnd.random()
        if kind < 0.02 and ended_at > LAST_CALL - timedelta(days=5) and tenant.plan != "woche":
            sent_at = NOVEMBER_IS_CLOSED + timedelta(seconds=rnd.randint(0, 3_600))
            self.planted.late.add(name)
        self._send(sent_at, tenant.account_id, fact)
        if kind > 0.99:
            again = sent_at + timedelta(seconds=rnd.choice((0, 1, 60, 86_400)))
            if rnd.random() < 0.5:
                fact = {**fact, "ended_at": text(ended_at + timedelta(seconds=1))}
            self.planted.duplicates.append(name)
            self._send(min(again, END), tenant.account_id, fact)

    def _plan_hero(self) -> None:
        """Calls that use up the allowance, then the wallet, and then reach the cap."""
        hero = self.tenants[0]
        for number, minutes in enumerate(HERO_MINUTES):
            ended_at = FIRST_CALL + timedelta(days=1 + number * 20 / 24, hours=9)
            fact = self._call(hero, ended_at, minutes * 60, "answered", False)
            self.planted.rated.add((hero.account_id, fact["call_id"]))
            self._send(ended_at, hero.account_id, fact)

    def _plan_calls(self, calls: int) -> None:
        """Calls in the order of time. An account whose access is off pauses: its calls are others' from then on."""
        rnd = self._rnd
        others = self.tenants[1:]
        weights = [tenant.weight for tenant in others]
        unlimited = [tenant for tenant in others if tenant.plan not in ALLOWED_S]
        span = (LAST_CALL - FIRST_CALL).total_seconds()
        times = sorted(rnd.random() * span for _ in range(calls))
        used: Counter[str] = Counter()
        for time, tenant in zip(times, rnd.choices(others, weights, k=calls), strict=True):
            if unlimited and used[tenant.account_id] >= ALLOWED_S.get(tenant.plan, math.inf):
                tenant = rnd.choice(unlimited)
            ended_at = FIRST_CALL + timedelta(milliseconds=round(time * 1000))
            outcome = rnd.choice(OUTCOMES)
            seconds = min(rnd.expovariate(1 / 95), 3_500.0)
            if outcome in ("answered", "voicemail"):
                used[tenant.account_id] += math.ceil(seconds)
            self._plan_call(tenant, ended_at, seconds, outcome, test=rnd.random() < 0.005)

    def _plan_bad_records(self, count: int) -> None:
        rnd = self._rnd
        makers = (self._not_json, self._wrong_type, self._unknown_account, self._impossible, self._wrong_agency)
        for number in range(count):
            tag = f"bad-{number:05d}"
            at = FIRST_CALL + timedelta(seconds=rnd.random() * (LAST_CALL - FIRST_CALL).total_seconds())
            tenant = rnd.choice(self.tenants)
            fact = {**self._call(tenant, at, 60.0, "answered", False), "call_id": tag}
            reason, value = makers[number % len(makers)](fact)
            self.planted.dead_letters[tag] = reason
            self._send(at, tenant.account_id, value)

    @staticmethod
    def _not_json(fact: dict[str, Any]) -> tuple[str, bytes]:
        return "malformed", json.dumps(fact).encode()[:-1]

    @staticmethod
    def _wrong_type(fact: dict[str, Any]) -> tuple[str, bytes]:
        return "malformed", json.dumps({**fact, "cost_micros": "12 cents"}).encode()

    @staticmethod
    def _unknown_account(fact: dict[str, Any]) -> tuple[str, bytes]:
        return "no_subscription", json.dumps({**fact, "account_id": "nobody-" + fact["call_id"]}).encode()

    @staticmethod
    def _impossible(fact: dict[str, Any]) -> tuple[str, bytes]:
        return "impossible_times", json.dumps({**fact, "ended_at": "2026-10-30T00:00:00Z"}).encode()

    @staticmethod
    def _wrong_agency(fact: dict[str, Any]) -> tuple[str, bytes]:
        return "wrong_agency", json.dumps({**fact, "agency_id": "someone-else"}).encode()


def subscription_start(tenant: Tenant) -> datetime:
    """Midnight of 1 November where the agency is."""
    return instant(LOCAL_START, tenant.timezone)


def text(at: datetime) -> str:
    """A time as the platform reports it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
