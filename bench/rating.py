"""The pure core: microseconds to decode, rate and encode one call, without any broker.

The same `Fold` that the meter runs, given runs of calls as the meter gives them, over calls in memory; duplicates are
looked up in a dictionary. Ledger snapshots are not in it. Garbage collection is on, as the meter sets it.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cards import prefixes_of
from bench.figure import Run, size
from bench.lab import Lab, step
from bench.load import AGENCIES, CAPPED, PLAIN, TICK, account_id, calls, subscription
from rating.cards import Card, Row
from rating.fold import Fold
from rating.seen import SeenInMemory
from streams.ledger import RUN_RECORDS
from streams.process import GC_THRESHOLDS
from streams.records import Record

TITLE = "decode + rate + encode, pure, one thread"
# The meter writes the outputs batch by batch.
BATCH = 5_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(100_000, "calls in a run")
    accounts: int = size(5_000, "accounts")
    prefixes: int = size(100_000, "prefixes of the rate card")
    rounds: int = size(5, "how often each plan is measured")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """All plans in turns; the first round warms up and does not count."""
    values = [(account_id(number).encode(), value) for number, value in calls(sizes.calls, sizes.accounts)]
    card = Card("destinations", "USD", [Row(prefix, None, None, 60_000) for prefix in prefixes_of(sizes.prefixes)])
    wholesale = list(wholesale_terms(card))
    plans: list[tuple[str, dict[str, Any], list[bytes]]] = [
        ("plain plan", PLAIN, []),
        ("plan with caps", CAPPED, []),
        (f"caps, wholesale, card of {sizes.prefixes:,} prefixes", {**CAPPED, "rate_card": card.card_id}, wholesale),
    ]
    gc.set_threshold(*GC_THRESHOLDS)
    for number in range(sizes.rounds + 1):
        for plan, terms, before in plans:
            with step(f"{plan}, round {number} of {sizes.rounds}"):
                seconds = fold_all(values, sizes.accounts, terms, before, {card.card_id: card})
            if number:
                yield Run(plan, {"us/call": seconds / sizes.calls * 1e6, "calls/s": sizes.calls / seconds})


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


def wholesale_terms(card: Card) -> Iterator[bytes]:
    """Facts that have every agency pay by a card."""
    for number in range(AGENCIES):
        yield json.dumps(
            {
                "type": "wholesale.set",
                "fact_id": f"wholesale_{number}",
                "agency_id": f"agency_{number:02d}",
                "at": "2026-11-01T00:00:00Z",
                "terms": {"currency": "USD", "rate_card": card.card_id, "rate_micros_per_minute": 30_000},
            }
        ).encode()


def prepared(accounts: int, terms: dict[str, Any], before: Sequence[bytes], cards: dict[str, Card]) -> Fold:
    """A fold whose accounts are subscribed, and that gave out nothing yet."""
    fold = Fold(0, None, SeenInMemory(), cards=cards)
    for offset, value in enumerate([*before, *(subscription(number, terms) for number in range(accounts)), TICK]):
        fold.fold(value, offset)
    assert not any(topic == "dead-letters" for topic, *_ in fold.outputs)
    fold.outputs.clear()
    return fold


def fold_all(
    values: list[tuple[bytes, bytes]],
    accounts: int,
    terms: dict[str, Any],
    before: Sequence[bytes],
    cards: dict[str, Card],
) -> float:
    """CPU seconds to fold the calls; the accounts are there before."""
    fold = prepared(accounts, terms, before, cards)
    records = [Record("", 0, offset, 0, *value, []) for offset, value in enumerate(values, fold.position)]
    began = time.process_time()
    for at in range(0, len(records), RUN_RECORDS):
        run = records[at : at + RUN_RECORDS]
        assert fold.fold_calls(run) == len(run)
        if not at % BATCH:
            assert not any(topic == "dead-letters" for topic, *_ in fold.outputs[:1])
            fold.outputs.clear()
            fold.books.touched.clear()
    return time.process_time() - began
