"""The pure core: microseconds to decode, rate and encode one call, without any broker.

The same `Fold` that the meter runs, over calls in memory, duplicates looked up in a dictionary. Ledger snapshots are
not in it. Garbage collection is on, as Python sets it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bench.figure import Run, size
from bench.lab import Lab, step
from bench.load import CAPPED, PLAIN, TICK, calls, subscription
from rating.fold import Fold
from rating.seen import SeenInMemory

TITLE = "decode + rate + encode, pure, one thread"
# The meter takes the outputs batch by batch.
BATCH = 5_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(100_000, "calls in a run")
    accounts: int = size(5_000, "accounts")
    rounds: int = size(5, "how often each plan is measured")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Both plans in turns; the first round warms up and does not count."""
    values = [value for _, value in calls(sizes.calls, sizes.accounts)]
    for number in range(sizes.rounds + 1):
        for plan, terms in (("plain plan", PLAIN), ("plan with caps", CAPPED)):
            with step(f"{plan}, round {number} of {sizes.rounds}"):
                seconds = fold_all(values, sizes.accounts, terms)
            if number:
                yield Run(plan, {"us/call": seconds / sizes.calls * 1e6, "calls/s": sizes.calls / seconds})


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


def fold_all(values: list[bytes], accounts: int, terms: dict[str, object]) -> float:
    """CPU seconds to fold the calls; the accounts are there before."""
    fold = Fold(0, None, SeenInMemory())
    for offset, value in enumerate([*(subscription(number, terms) for number in range(accounts)), TICK]):
        fold.fold(value, offset)
    fold.outputs.clear()
    first = fold.position
    began = time.process_time()
    for offset, value in enumerate(values, first):
        fold.fold(value, offset)
        if not offset % BATCH:
            assert not any(topic == "dead-letters" for topic, *_ in fold.outputs[:1])
            fold.outputs.clear()
            fold.books.touched.clear()
    return time.process_time() - began
