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
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from demo import orders
from demo.ceiling import CAPPED, Ceiling
from demo.expected import billed_seconds, may_call
from demo.market import (
    DEBTORS,
    HERO,
    HOME_PREFIX,
    PAYS_LATE,
    RETAIL_CARD,
    WHOLESALE,
    Tenant,
    destinations,
    month_start,
    number_in,
    tenants_of,
    text,
)
from demo.planted import AgencyCap, Call, Debt, Name, PlanChange, Planted, Rental
from demo.spoiled import spoiled
from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS

# Calls end between these two, inside November in every agency's time zone.
FIRST_CALL = datetime(2026, 11, 1, 6, tzinfo=UTC)
LAST_CALL = datetime(2026, 11, 30, 14, tzinfo=UTC)
START = datetime(2026, 10, 31, 12, tzinfo=UTC)
NOVEMBER_IS_CLOSED = datetime(2026, 12, 2, tzinfo=UTC)
END = datetime(2026, 12, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Calls that ended since then may come late.
LATE_SINCE = LAST_CALL - timedelta(days=5)

# Minutes of the hero's scripted calls: 100 included, 60 from a pack, 40 of overage up to the cap. The first one is
# short, so that later ones straddle the pools. Then those on the plan that it changes to.
HERO_MINUTES = (5, *[10] * 19, 5)
HERO_LATER_MINUTES = (10,) * 6
HERO_BUYS_PACK_AT = datetime(2026, 11, 10, tzinfo=UTC)
HERO_RENTS_AT = datetime(2026, 11, 11, 15, tzinfo=UTC)
HERO_CHANGES_AT = datetime(2026, 11, 21, 5, tzinfo=UTC)
HERO_CHANGES_TO = "business"
# Between the day that it is due and the day that the account would be blocked.
DEBT_IS_PAID_AT = datetime(2026, 11, 14, 15, tzinfo=UTC)

# Billed seconds after which access goes off on these plans: a cap, a block of prepaid minutes.
ALLOWED_S = {"starter": 200 * 60, "prepaid": 500 * 60}
PREPAID = ("prepaid", "refill")
# No call is longer, so a wallet above it lasts for one more.
TOP_UP_BELOW_S, MOST_TOP_UPS = 3_600, 50
LONGEST_MS = 3_500_000
CORRECTABLE = ("business", "basis", "world")
# Its periods are weeks; these accounts rent no numbers, and none of their calls is late.
WEEKLY = "woche"
CAMPAIGNS = ("recall", "booking", "survey", "reminder")
BILLED_OUTCOMES = ("answered", "voicemail")
OUTCOMES = ("answered",) * 16 + ("voicemail", "voicemail", "no_answer", "busy")


class Sent(NamedTuple):
    """A record to send; key None: to every partition."""

    topic: str
    key: str | None
    value: bytes


class Draw(NamedTuple):
    """What is drawn for a call: how long, how it ended, whether it is a test."""

    milliseconds: int
    outcome: str
    test: bool


class Platform:
    """Sends a month of facts, hour by hour of simulated time.

    Attributes:
        tenants: its accounts.
        planted: what became due of everything sent so far.
        records: how many reports of calls there are in all.
    """

    def __init__(self, accounts: int, calls: int, seed: int) -> None:
        """Plan the month.

        Args:
            accounts: how many accounts, the hero and those that do not pay in time among them.
            calls: how many calls, duplicates and bad records not counted.
            seed: the same seed gives the same bytes.
        """
        self.tenants = tenants_of(accounts, seed)
        self._others = [tenant for tenant in self.tenants if tenant.account_id not in (HERO, *DEBTORS)]
        self.planted = Planted()
        self.records = 0
        self._rnd = random.Random(f"calls {seed}")
        self._due: list[tuple[datetime, int, Sent]] = []
        self._number = 0
        self._correctable: list[tuple[dict[str, Any], Name, datetime]] = []
        self._plan_subscriptions()
        self._plan_hero()
        self._plan_debts()
        self._plan_calls(max(calls - len(self.planted.calls), 0))
        self._plan_bad_records(max(calls // 400, 8))
        self._plan_corrections(max(calls // 1_000, 4))
        self._plan_numbers()
        self._due.sort()

    def hours(self) -> Iterator[tuple[datetime, list[Sent]]]:
        """Each hour's end and what is sent in it, in order. Send them, then a tick of that time."""
        at, taken = START, 0
        while at < END:
            at += HOUR
            sent: list[Sent] = []
            while taken < len(self._due) and self._due[taken][0] <= at:
                sent.append(self._due[taken][2])
                taken += 1
            self.planted.records += sum(b"call.completed" in one.value for one in sent)
            yield at, sent

    def _send(self, at: datetime, key: str | None, value: dict[str, Any] | bytes, topic: str = ACCOUNT_EVENTS) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        self.records += b"call.completed" in content
        self._due.append((at, len(self._due), Sent(topic, key, content)))

    def _plan_subscriptions(self) -> None:
        """What is agreed before the month: wholesale prices, everyone's plan, the prepaid ones' minutes."""
        wholesale_card = orders.cards()[1].card_id
        for agency_id in WHOLESALE:
            self._send(START, None, orders.wholesale_set(agency_id, wholesale_card))
        for tenant in self.tenants:
            self._send(START, tenant.account_id, orders.subscription_started(tenant))
            if tenant.plan in PREPAID:
                self._sell_pack(tenant, "block-500", START, month_start(tenant.timezone))
            if tenant.plan == "refill":
                fact = orders.top_up_set(tenant, "block-500", TOP_UP_BELOW_S, MOST_TOP_UPS)
                self._send(START, tenant.account_id, fact)

    def _sell_pack(self, tenant: Tenant, pack: str, sent_at: datetime, at: datetime) -> None:
        fact = orders.pack_applied(tenant, pack, at)
        self.planted.packs[fact["currency"]] += fact["price_micros"]
        self._send(sent_at, tenant.account_id, fact)

    def _call(
        self, tenant: Tenant, prefix: str, ended_at: datetime, milliseconds: int, outcome: str, test: bool = False
    ) -> dict[str, Any]:
        rnd = self._rnd
        self._number += 1
        answered = outcome in BILLED_OUTCOMES
        answered_at = ended_at - timedelta(milliseconds=milliseconds)
        return {
            "type": "call.completed",
            "call_id": f"call-{self._number:07d}",
            "account_id": tenant.account_id,
            "agency_id": tenant.agency_id,
            "campaign_id": rnd.choice(CAMPAIGNS),
            "agent_id": f"agent-{rnd.randint(1, 5)}",
            "direction": rnd.choice(("outbound", "outbound", "inbound")),
            "from_number": tenant.number,
            "to_number": number_in(prefix, rnd),
            "started_at": text(answered_at - timedelta(seconds=rnd.randint(1, 20))),
            "answered_at": text(answered_at) if answered else None,
            "ended_at": text(ended_at),
            "outcome": outcome,
            "test": test,
            "cost_micros": _reported_cost(tenant, milliseconds * answered) if rnd.random() < 0.9 else None,
        }

    def _plant(
        self, tenant: Tenant, ended_at: datetime, milliseconds: int, outcome: str = "answered", test: bool = False
    ) -> tuple[dict[str, Any], Name]:
        """A valid call, and what must become of it."""
        prefix = HOME_PREFIX[tenant.agency_id]
        if tenant.plan == "world":
            prefix = self._rnd.choice(list(destinations(RETAIL_CARD)))
        fact = self._call(tenant, prefix, ended_at, milliseconds, outcome, test)
        name = (tenant.account_id, fact["call_id"])
        call = _truth(tenant, Draw(milliseconds, outcome, test))
        self.planted.calls[name] = replace(call, prefix=prefix, reported_cost_micros=fact["cost_micros"])
        return fact, name

    def _plan_call(self, tenant: Tenant, ended_at: datetime, draw: Draw) -> Name:
        rnd = self._rnd
        fact, name = self._plant(tenant, ended_at, draw.milliseconds, draw.outcome, draw.test)
        sent_at = ended_at + timedelta(seconds=rnd.randint(0, 120))
        kind = rnd.random()
        if kind < 0.02 and ended_at > LATE_SINCE and tenant.plan != WEEKLY:
            sent_at = NOVEMBER_IS_CLOSED + timedelta(seconds=rnd.randint(0, 3_600))
            self.planted.late.add(name)
        self._send(sent_at, tenant.account_id, fact)
        if kind > 0.99:
            again = sent_at + timedelta(seconds=rnd.choice((0, 1, 60, 86_400)))
            if rnd.random() < 0.5:
                fact = {**fact, "ended_at": text(ended_at + timedelta(seconds=1))}
            self.planted.duplicates.append(name)
            self._send(min(again, END), tenant.account_id, fact)
        elif tenant.plan in CORRECTABLE and draw.outcome == "answered" and draw.milliseconds > 20_000:
            self._correctable.append((fact, name, sent_at))
        return name

    def _plan_hero(self) -> None:
        """Calls that use up the allowance, then the wallet, and then reach the cap; a number, and a larger plan."""
        hero = self.tenants[0]
        for number, minutes in enumerate((*HERO_MINUTES, *HERO_LATER_MINUTES)):
            days = 1 + number * 20 / 24 + 3 * (number >= len(HERO_MINUTES))
            ended_at = FIRST_CALL + timedelta(days=days, hours=9)
            fact, _ = self._plant(hero, ended_at, minutes * 60_000)
            self._send(ended_at, HERO, fact)
        self._sell_pack(hero, "boost-60", HERO_BUYS_PACK_AT, HERO_BUYS_PACK_AT)
        self._rent(Rental(hero, HERO_RENTS_AT, None), "front desk")
        self.planted.plan_change = change = PlanChange(hero, HERO_CHANGES_TO, HERO_CHANGES_AT)
        self._send(change.at, HERO, orders.plan_changed(hero, change.plan, change.at))

    def _plan_debts(self) -> None:
        """Accounts that do not pay in time: they call once a day, while they may."""
        for tenant in self.tenants:
            if tenant.account_id not in DEBTORS:
                continue
            debt = Debt(tenant, DEBT_IS_PAID_AT if tenant.account_id == PAYS_LATE else None)
            self.planted.debts.append(debt)
            for day in range((LAST_CALL - FIRST_CALL).days):
                ended_at = FIRST_CALL + timedelta(days=day, hours=10)
                if may_call(debt, ended_at):
                    fact, _ = self._plant(tenant, ended_at, 7 * 60_000)
                    self._send(ended_at, tenant.account_id, fact)
            if debt.paid_at is not None:
                self._send(debt.paid_at, tenant.account_id, orders.period_paid(tenant, debt.paid_at, "wire 4710"))

    def _plan_calls(self, calls: int) -> None:
        """Calls in the order of time. An account whose access is off pauses: its calls are others' from then on."""
        rnd = self._rnd
        others = self._others
        unlimited = [tenant for tenant in others if tenant.plan not in ALLOWED_S and tenant.agency_id != CAPPED]
        span = (LAST_CALL - FIRST_CALL).total_seconds()
        times = sorted(rnd.random() * span for _ in range(calls))
        chosen = rnd.choices(others, [tenant.weight for tenant in others], k=calls)
        draws = [_draw(rnd) for _ in range(calls)]
        cap = Ceiling(
            sum(
                billed_seconds(_truth(tenant, draw))
                for tenant, draw in zip(chosen, draws, strict=True)
                if tenant.agency_id == CAPPED
            ),
            LATE_SINCE,
        )
        used: Counter[str] = Counter()
        for time, tenant, draw in zip(times, chosen, draws, strict=True):
            ended_at = FIRST_CALL + timedelta(milliseconds=round(time * 1000))
            if used[tenant.account_id] >= ALLOWED_S.get(tenant.plan, math.inf) or cap.pauses(tenant, ended_at):
                if not unlimited:
                    continue
                tenant = rnd.choice(unlimited)
            name = self._plan_call(tenant, ended_at, draw)
            billed = billed_seconds(self.planted.calls[name])
            used[tenant.account_id] += billed
            if tenant.agency_id == CAPPED:
                cap.add(billed, ended_at, name in self.planted.late)
        if cap.raised_at is not None:
            self._plan_agency_cap(cap, cap.raised_at)

    def _plan_agency_cap(self, cap: Ceiling, raised_at: datetime) -> None:
        for at, fact_id, raised in ((START, "cap", False), (raised_at, "cap-raised", True)):
            fact = orders.agency_caps_set(CAPPED, fact_id, cap.limits(raised), at)
            self._send(at, CAPPED, fact, AGENCY_EVENTS)
        accounts = sum(tenant.agency_id == CAPPED for tenant in self.tenants)
        self.planted.agency_cap = AgencyCap(CAPPED, accounts, cap.minutes, raised_at, cap.alerts())

    def _plan_corrections(self, count: int) -> None:
        """Some calls are taken back, some were shorter than reported: most the day after, some in the next period."""
        rnd = self._rnd
        for number, (fact, name, sent_at) in enumerate(
            rnd.sample(self._correctable, min(count, len(self._correctable)))
        ):
            at = NOVEMBER_IS_CLOSED + 2 * HOUR if number % 4 == 3 else sent_at + HOUR
            call = self.planted.calls[name]
            if number % 2:
                self.planted.voided.add(name)
                call.billable, call.reported_cost_micros = False, 0
                self._send(at, name[0], orders.call_voided(fact, at))
                continue
            self.planted.corrected.add(name)
            call.seconds //= 2
            call.reported_cost_micros = _reported_cost(call.tenant, call.seconds * 1_000)
            ended_at = datetime.fromisoformat(fact["answered_at"]) + timedelta(seconds=call.seconds)
            corrected = orders.call_corrected(fact, ended_at, call.reported_cost_micros, at)
            self._send(at, name[0], corrected)

    def _plan_numbers(self) -> None:
        """Some accounts rent a number in the month, and some of those give it back."""
        rnd = self._rnd
        renting = [tenant for tenant in self._others if tenant.plan != WEEKLY]
        for tenant in rnd.sample(renting, len(renting) // 3):
            rented_at = FIRST_CALL + timedelta(seconds=rnd.randrange(28 * 86_400))
            released_at = rented_at + timedelta(hours=rnd.randrange(1, 240)) if rnd.random() < 0.4 else None
            kept = released_at is None or released_at > LAST_CALL
            self._rent(Rental(tenant, rented_at, None if kept else released_at), None)

    def _rent(self, rental: Rental, label: str | None) -> None:
        tenant, at = rental.tenant, rental.rented_at
        self.planted.rentals.append(rental)
        self._send(at, tenant.account_id, orders.number_rented(tenant, label, at))
        if rental.released_at is not None:
            released = orders.number_released(tenant, rental.released_at)
            self._send(rental.released_at, tenant.account_id, released)

    def _plan_bad_records(self, count: int) -> None:
        rnd = self._rnd
        for number in range(count):
            tag = f"bad-{number:05d}"
            at = FIRST_CALL + timedelta(seconds=rnd.random() * (LAST_CALL - FIRST_CALL).total_seconds())
            tenant = rnd.choice(self.tenants)
            fact = {**self._call(tenant, HOME_PREFIX[tenant.agency_id], at, 60_000, "answered"), "call_id": tag}
            reason, value = spoiled(fact, number)
            self.planted.dead_letters[tag] = reason
            self._send(at, tenant.account_id, value)


def _truth(tenant: Tenant, draw: Draw) -> Call:
    billable = draw.outcome in BILLED_OUTCOMES and not draw.test
    return Call(tenant, -(-draw.milliseconds // 1_000), billable, HOME_PREFIX[tenant.agency_id], None)


def _draw(rnd: random.Random) -> Draw:
    milliseconds = min(max(round(rnd.expovariate(1 / 95_000)), 1), LONGEST_MS)
    return Draw(milliseconds, rnd.choice(OUTCOMES), rnd.random() < 0.005)


def _reported_cost(tenant: Tenant, milliseconds: int) -> int | None:
    """What the carrier says that a call cost; None where the wholesale card alone knows."""
    rate = WHOLESALE[tenant.agency_id].rate_micros
    return None if rate is None else round(milliseconds * rate / 60_000)
