"""What the platforms of a run send: facts of every kind, some of them bad, each a function of seed, sender and number.

Times are those of this machine, because the clock under test tells them. Every account has a period of a day whose
boundary falls into the run, so that periods open and close all the time.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.oracle.anchored import boundary

DAY = timedelta(days=1)
OUTCOMES = ("answered",) * 12 + ("voicemail", "no_answer", "busy", "failed")
CURRENCIES = ("USD", "EUR", "JPY")
# The first so many accounts have four calls in five, and keep their subscriptions.
BUSIEST = 10
# The first field of every fact: sender and number.
SENT = "sent"


def text(at: datetime) -> str:
    """A time as a platform writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Market:
    """The accounts of a run.

    Attributes:
        seed: of the run.
        accounts: how many there are from the beginning.
        began: when the run began; all anchors are counted from there.
        seconds: how long it lasts: boundaries of periods are spread over it.
    """

    seed: int
    accounts: int
    began: datetime
    seconds: float

    def agency(self, account: str) -> str:
        """The agency of an account."""
        return f"ag_{random.Random(account).randrange(4)}"

    def subscription(self, account: str, at: datetime | None = None) -> dict[str, Any]:
        """The fact that puts an account on its plan.

        Args:
            account: its id.
            at: the start; default: a day before some moment of the run, so that the first period ends in it.
        """
        rnd = random.Random(f"{self.seed} {account}")
        agency = self.agency(account)
        moment = self.began + timedelta(seconds=rnd.uniform(3, max(self.seconds, 4)))
        start = moment - DAY if at is None else at
        overage = rnd.choice(("billed", "billed", "blocked"))
        mode = rnd.choice(("hard", "soft"))
        return {
            "type": "subscription.started",
            "fact_id": f"start:{text(start)}",
            "account_id": account,
            "agency_id": agency,
            "subscription_id": f"sub-{account}",
            "at": text(start),
            "terms": {
                "plan": rnd.choice(("starter", "growth")),
                "currency": CURRENCIES[int(agency[-1]) % 3],
                "interval": "day",
                "interval_count": 1,
                "timezone": rnd.choice(("UTC", "America/New_York", "Asia/Kathmandu")),
                "price_micros": rnd.choice((0, 49_000_000, 9_990_000)),
                "included_minutes": rnd.choice((0, 5, 60, 600)),
                "overage": overage,
                "overage_micros_per_minute": 120_001 if overage == "billed" else None,
                "increments": rnd.choice(("1/1", "6/6", "60/6", "60/60")),
                "connection_fee_micros": rnd.choice((0, 0, 5_003)),
                "packs": rnd.random() < 0.9,
                "due_days": 7,
                "grace_days": 3,
                "late_calls": rnd.choice(("next_period", "adjust", "write_off")),
                "late_window_s": rnd.choice((0, 2, 10)),
                "cap": rnd.choice((None, {"minutes": 90, "spend_micros": None, "mode": mode, "alerts_percent": [100]})),
            },
        }

    def beginning(self) -> Iterator[dict[str, Any]]:
        """The accounts that are there before the first call."""
        for number in range(self.accounts):
            yield self.subscription(f"acct_{number}")


class Sender:
    """One platform: its facts by number."""

    def __init__(self, market: Market, name: str) -> None:
        """Send under a name of one's own."""
        self._market = market
        self._name = name

    def fact(self, number: int) -> tuple[bytes, str | None, bool]:
        """Fact ``number``, as of now: its bytes, its account if it has one, whether it goes to a wrong partition."""
        rnd = random.Random(f"{self._market.seed} {self._name} {number}")
        account = self._account(number)
        kind = rnd.random()
        if kind < 0.88:
            return self._call(rnd, account, number, number), account, rnd.random() < 0.01
        if kind < 0.91:
            # The same call again, of the same account, with other times.
            again = rnd.randint(max(0, number - 2_000), number)
            account = self._account(again)
            return self._call(rnd, account, number, again), account, False
        if kind < 0.94:
            return self._bad(rnd, account, number), account, False
        return self._encoded(number, self._rare(rnd, account, number)), account, False

    def _encoded(self, number: int, fact: dict[str, Any]) -> bytes:
        """Every fact says first which one it is, so that it can be found in the log even if nobody can read it."""
        return json.dumps({SENT: f"{self._name}-{number}", **fact}).encode()

    def _account(self, number: int) -> str:
        rnd = random.Random(f"{self._market.seed} {self._name} account {number}")
        return f"acct_{min(int(rnd.paretovariate(0.7)) - 1, 10**6) % self._market.accounts}"

    def _call(self, rnd: random.Random, account: str, number: int, call: int, **fields: Any) -> bytes:
        ended = datetime.now(UTC) - timedelta(seconds=rnd.choice((0, 0, 0, 1, 5, 60, 900)))
        answered = ended - timedelta(seconds=min(rnd.expovariate(1 / 90), 3_000))
        outcome = rnd.choice(OUTCOMES)
        return self._encoded(
            number,
            {
                "type": "call.completed",
                "call_id": f"{self._name}-{call}",
                "account_id": account,
                "agency_id": self._market.agency(account),
                "campaign_id": f"camp_{rnd.randrange(3)}",
                "direction": rnd.choice(("inbound", "outbound", "web")),
                "from_number": "+14155550100",
                "to_number": f"+49{rnd.randrange(10**9)}",
                "started_at": text(answered - timedelta(seconds=rnd.randrange(20))),
                "answered_at": text(answered) if outcome in ("answered", "voicemail") else None,
                "ended_at": text(ended),
                "outcome": outcome,
                "cost_micros": rnd.choice((None, rnd.randrange(300_000))),
                **fields,
            },
        )

    def _bad(self, rnd: random.Random, account: str, number: int) -> bytes:
        match rnd.randrange(6):
            case 0:
                return self._call(rnd, account, number, number)[:-1]
            case 1:
                return self._call(rnd, account, number, number, cost_micros="12 cents")
            case 2:
                return self._call(rnd, account, number, number, agency_id="someone-else")
            case 3:
                return self._call(rnd, account, number, number, ended_at="2026-01-01T00:00:00Z")
            case 4:
                return self._encoded(number, {"type": "call.abducted", "account_id": account})
            case _:
                return self._call(rnd, account, number, number, tier="x" * rnd.choice((10, 300_000)))

    def _rare(self, rnd: random.Random, account: str, number: int) -> dict[str, Any]:
        agency, now = self._market.agency(account), datetime.now(UTC)
        fact = {
            "fact_id": f"{self._name}-{number}",
            "account_id": account,
            "agency_id": agency,
            "at": text(now),
        }
        currency = CURRENCIES[int(agency[-1]) % 3]
        kind = rnd.randrange(10)
        if kind < 3:
            sold = {"pack": "boost", "minutes": rnd.choice((5, 60)), "credit_micros": rnd.choice((0, 1_000_003))}
            return fact | sold | {"type": "pack.applied", "price_micros": 9_004_000, "currency": currency}
        if kind < 5:
            minutes, credit = rnd.randint(-3, 9), rnd.choice((0, 500_000))
            return fact | {"type": "wallet.adjusted", "minutes": minutes, "credit_micros": credit, "reason": "goodwill"}
        if kind < 6:
            # The oracle adds up all calls for each look at such caps, so there are none where calls are many.
            if int(account.removeprefix("acct_")) >= BUSIEST:
                return fact | {"type": "caps.set", "caps": [_named_cap(rnd, name) for name in range(rnd.randrange(4))]}
            cap = {"minutes": rnd.randint(10, 400), "spend_micros": None, "mode": "hard", "alerts_percent": [50, 100]}
            return fact | {"type": "cap.set", "cap": cap}
        if kind < 8:
            start = datetime.fromisoformat(self._market.subscription(account)["at"])
            zone = self._market.subscription(account)["terms"]["timezone"]
            stamp = boundary(start, "day", 1, zone, rnd.randrange(2)).strftime("%Y%m%dT%H%M%SZ")
            request = f"sub-{account}:{stamp}:{rnd.choice(('cycle', 'usage'))}"
            status = rnd.choice(("paid", "paid", "failed"))
            settled = {"type": "payment_request.settled", "payment_request_id": request, "status": status}
            return fact | settled | {"reference": f"wire {number}"}
        if kind < 9:
            return self._market.subscription(f"{self._name}-new-{number}", now - DAY + timedelta(seconds=10))
        when = rnd.choice(("now", "period_end"))
        # Mostly a mistake, and never of those who call most, or there would soon be nobody left to rate.
        ends = rnd.random() < 0.3 and int(account.removeprefix("acct_")) >= BUSIEST
        subscription = f"sub-{account}" if ends else "sub-nobody"
        return fact | {"type": "subscription.canceled", "subscription_id": subscription, "when": when}


def _named_cap(rnd: random.Random, name: int) -> dict[str, Any]:
    on = rnd.choice(("minutes", "spend", "cost", "margin", "wallet"))
    limit = rnd.randint(1, 400) * (1 if on in ("minutes", "wallet") else 1_000_003)
    return {
        "name": f"cap-{name}",
        "on": on,
        "limit": -limit if on == "margin" else limit,
        "per": rnd.choice(("period", "day")),
        "mode": rnd.choice(("hard", "soft")),
        "alerts_percent": [50, 100],
    }


def due_at(account: str, boundary: datetime) -> dict[str, Any]:
    """A subscription whose first period ends then; one in ten has a price."""
    return {
        "type": "subscription.started", "fact_id": "start", "account_id": account, "agency_id": "ag_0",
        "subscription_id": f"sub-{account}", "at": text(boundary - DAY),
        "terms": {
            "plan": "daily", "currency": "USD", "interval": "day", "interval_count": 1,
            "price_micros": 0 if int(account[-1]) else 1_000_000,
        },
    }  # fmt: skip


def canary(account: str, call_id: str) -> dict[str, Any]:
    """A call that shows, once it is in ClickHouse, that everything before it has come through."""
    now = text(datetime.now(UTC))
    return {
        "type": "call.completed", "call_id": call_id, "account_id": account, "agency_id": "ag_0",
        "direction": "outbound", "started_at": now, "answered_at": now, "ended_at": now, "outcome": "answered",
    }  # fmt: skip
