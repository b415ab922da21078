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

from tests.faults.rare import CURRENCIES, DAY, RareFacts, text
from tests.oracle.rate_cards import CARDS

OUTCOMES = ("answered",) * 12 + ("voicemail", "no_answer", "busy", "failed")
# The first field of every fact: sender and number.
SENT = "sent"


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
        currency = CURRENCIES[int(agency[-1]) % 3]
        cards = [card.card_id for card in CARDS if card.currency == currency]
        return {
            "type": "subscription.started",
            "fact_id": f"start:{text(start)}",
            "account_id": account,
            "agency_id": agency,
            "subscription_id": f"sub-{account}",
            "at": text(start),
            "terms": {
                "plan": rnd.choice(("starter", "growth")),
                "currency": currency,
                "rate_card": rnd.choice([None, None, *cards]),
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
        """What agencies pay, and the accounts that are there before the first call."""
        for number, currency in enumerate(("USD", "EUR")):
            (card, *_) = [card.card_id for card in CARDS if card.currency == currency]
            yield {
                "type": "wholesale.set", "fact_id": f"wholesale-{number}", "agency_id": f"ag_{number}",
                "at": text(self.began - 3 * DAY),
                "terms": {
                    "currency": currency, "rate_card": card, "rate_micros_per_minute": 20_001, "increments": "6/6",
                    "cost_policy": ("card", "reported")[number], "anchor": text(self.began - 3 * DAY),
                },
            }  # fmt: skip
        for number in range(self.accounts):
            yield self.subscription(f"acct_{number}")


class Sender:
    """One platform: its facts by number."""

    def __init__(self, market: Market, name: str) -> None:
        """Send under a name of one's own."""
        self._market = market
        self._name = name
        self._rare = RareFacts(market, name)

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
        if kind < 0.96:
            correction, account = self._correction(rnd, number)
            return correction, account, False
        return self._encoded(number, self._rare.fact(rnd, account, number)), account, False

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

    def _correction(self, rnd: random.Random, number: int) -> tuple[bytes, str]:
        """Of a call not long ago, if it was one: another one in its stead, or none. Its bytes, and the account."""
        before = rnd.randint(max(0, number - 5_000), number)
        account = self._account(before)
        own = {"fact_id": f"{self._name}-{number}", "at": text(datetime.now(UTC))}
        if rnd.random() < 0.3:
            voided = {"account_id": account, "agency_id": self._market.agency(account)}
            called = {"type": "call.voided", "call_id": f"{self._name}-{before}"}
            return self._encoded(number, own | voided | called), account
        call = json.loads(self._call(rnd, account, number, before))
        call["corrects"] = call.pop("call_id")
        return self._encoded(number, {**call, **own, "type": "call.corrected"}), account


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
