"""The demo's month without a broker: the fold, and payment requests as the billing job would write them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator

from demo import orders
from demo.market import text
from demo.observed import Observed
from demo.platform import Platform
from demo.proof import Proof, Stored, prove
from rating.request import request_for
from rating.simulate import simulate
from streams.topics import BILLING_EVENTS, DEAD_LETTERS
from streams.units import minor_digits

EVERYTHING_CLOSED = "2027-01-03T00:00:00Z"


def lines(platform: Platform) -> Iterator[bytes]:
    """All facts of the month in order, with their ticks; at the end every period is closed."""
    for at, sent in platform.hours():
        yield from (one.value for one in sent)
        yield json.dumps({"type": "tick", "at": text(at)}).encode()
    yield json.dumps({"type": "tick", "at": EVERYTHING_CLOSED}).encode()


def rated(platform: Platform) -> Observed:
    """What comes out of a platform's month."""
    observed = Observed()
    requests: deque[bytes] = deque()

    def facts() -> Iterator[bytes]:
        for line in lines(platform):
            yield line
            while requests:
                yield requests.popleft()

    cards = {card.card_id: card for card in orders.cards()}
    for output in simulate(facts(), cards):
        topic, value = output["topic"], output["value"]
        if topic == DEAD_LETTERS:
            observed.dead_letter(value["reason"], value["value"].encode())
            continue
        observed.take(topic, value)
        if topic == BILLING_EVENTS and (request := request_for(value, minor_digits)):
            kind = "payment_request.created" if request["account_id"] else "agency.payment_request_created"
            created = {"type": kind, **request, "gateway": "manual", "external_id": None}
            requests.append(json.dumps(created).encode())
    return observed


def proof_of(platform: Platform, observed: Observed) -> Proof:
    """The proof, with ClickHouse having every row."""
    stored: dict[str, dict[str, int]] = {}
    for agency, usage in observed.agencies.items():
        currency = observed.currencies[agency]
        names = {name for name in observed.rated if observed.currencies[name[0]] == currency}
        rows = len(names) + sum(count for (name, _), count in observed.corrections.items() if name in names)
        sums = {f"{name}_micros": usage[f"{name}_micros"] for name in ("amount", "cost", "margin")}
        stored[currency] = {"ids": len(names), "calls": rows, **sums}
    statuses = {account: status for account, _, status in sorted(observed.status_changes)}
    return prove(platform.planted, observed, Stored(stored, statuses))
