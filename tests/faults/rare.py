"""Facts that are rare beside calls: what is sold, capped and settled, and what becomes of a subscription and a call."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.oracle.anchored import boundary, in_ids

if TYPE_CHECKING:
    from tests.faults.facts import Market

Fact = dict[str, Any]
# The first so many accounts have four calls in five, and keep their subscriptions.
BUSIEST = 10
CURRENCIES = ("USD", "EUR", "JPY")
DAY = timedelta(days=1)


def text(at: datetime) -> str:
    """A time as a platform writes it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


class RareFacts:
    """Writes the fact of a number, as of now."""

    def __init__(self, market: Market, name: str) -> None:
        """Write for the platform of a name."""
        self._market = market
        self._name = name
        self._kinds: list[tuple[int, Callable[[random.Random, str, int], Fact]]] = [
            (30, self._pack),
            (20, self._wallet),
            (10, self._cap),
            (20, self._settled),
            (10, self._subscription),
            (10, self._canceled),
            (10, self._changed),
            (6, self._paused),
            (10, self._resumed),
            (14, self._rented),
            (10, self._released),
            (6, self._top_up),
        ]

    def fact(self, rnd: random.Random, account: str, number: int) -> Fact:
        """A fact of some kind of an account."""
        weights, makers = zip(*self._kinds, strict=True)
        (make,) = rnd.choices(makers, weights)
        own = {
            "fact_id": f"{self._name}-{number}",
            "account_id": account,
            "agency_id": self._market.agency(account),
            "at": text(datetime.now(UTC)),
        }
        return own | make(rnd, account, number)

    def _currency(self, account: str) -> str:
        return CURRENCIES[int(self._market.agency(account)[-1]) % 3]

    def _is_busy(self, account: str) -> bool:
        return int(account.removeprefix("acct_")) < BUSIEST

    # -- pools and caps

    def _pack(self, rnd: random.Random, account: str, number: int) -> Fact:
        sold = {"pack": "boost", "minutes": rnd.choice((5, 60)), "credit_micros": rnd.choice((0, 1_000_003))}
        return sold | {"type": "pack.applied", "price_micros": 9_004_000, "currency": self._currency(account)}

    def _wallet(self, rnd: random.Random, account: str, number: int) -> Fact:
        minutes, credit = rnd.randint(-3, 9), rnd.choice((0, 500_000))
        return {"type": "wallet.adjusted", "minutes": minutes, "credit_micros": credit, "reason": "goodwill"}

    def _top_up(self, rnd: random.Random, account: str, number: int) -> Fact:
        top_up = {
            "pack": "refill", "minutes": rnd.choice((5, 30)), "price_micros": 4_000_000, "below_s": 120,
            "currency": self._currency(account), "most_per_month": rnd.choice((1, 5)),
        }  # fmt: skip
        return {"type": "top_up.set", "top_up": rnd.choice((top_up, top_up, None))}

    def _cap(self, rnd: random.Random, account: str, number: int) -> Fact:
        # The oracle adds up all calls for each look at such caps, so there are none where calls are many.
        if not self._is_busy(account):
            return {"type": "caps.set", "caps": [_named_cap(rnd, name) for name in range(rnd.randrange(4))]}
        cap = {"minutes": rnd.randint(10, 400), "spend_micros": None, "mode": "hard", "alerts_percent": [50, 100]}
        return {"type": "cap.set", "cap": cap}

    # -- payment

    def _settled(self, rnd: random.Random, account: str, number: int) -> Fact:
        start = datetime.fromisoformat(self._market.subscription(account)["at"])
        zone = self._market.subscription(account)["terms"]["timezone"]
        stamp = in_ids(boundary(start, "day", 1, zone, rnd.randrange(2)))
        request = f"sub-{account}:{stamp}:{rnd.choice(('cycle', 'usage'))}"
        status = rnd.choice(("paid", "paid", "failed"))
        settled = {"type": "payment_request.settled", "payment_request_id": request, "status": status}
        return settled | {"reference": f"wire {number}"}

    # -- the life of a subscription

    def _subscription(self, rnd: random.Random, account: str, number: int) -> Fact:
        return self._market.subscription(f"{self._name}-new-{number}", datetime.now(UTC) - DAY + timedelta(seconds=10))

    def _canceled(self, rnd: random.Random, account: str, number: int) -> Fact:
        when = rnd.choice(("now", "period_end"))
        # Mostly a mistake, and never of those who call most, or there would soon be nobody left to rate.
        ends = rnd.random() < 0.3 and not self._is_busy(account)
        subscription = f"sub-{account}" if ends else "sub-nobody"
        return {"type": "subscription.canceled", "subscription_id": subscription, "when": when}

    def _changed(self, rnd: random.Random, account: str, number: int) -> Fact:
        """To the terms of another account, in the same rhythm."""
        own = self._market.subscription(account)["terms"]
        other = self._market.subscription(f"{account}-{number}")["terms"]
        same = {name: own[name] for name in ("currency", "timezone", "rate_card")}
        return {
            "type": "subscription.changed",
            "subscription_id": f"sub-{account}",
            "when": rnd.choice(("now", "next_period")),
            "terms": other | same,
        }

    def _paused(self, rnd: random.Random, account: str, number: int) -> Fact:
        of = "sub-nobody" if self._is_busy(account) else f"sub-{account}"
        return {"type": "subscription.paused", "subscription_id": of}

    def _resumed(self, rnd: random.Random, account: str, number: int) -> Fact:
        return {"type": "subscription.resumed", "subscription_id": f"sub-{account}"}

    # -- numbers

    def _rented(self, rnd: random.Random, account: str, number: int) -> Fact:
        return {
            "type": "number.rented", "number": f"+1415555{rnd.randrange(5):04d}",
            "price_micros": rnd.choice((0, 2_000_001)), "currency": self._currency(account),
        }  # fmt: skip

    def _released(self, rnd: random.Random, account: str, number: int) -> Fact:
        return {"type": "number.released", "number": f"+1415555{rnd.randrange(5):04d}"}


def _named_cap(rnd: random.Random, name: int) -> Fact:
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
