"""A tick with nothing due, at few accounts and at many: it must cost the same. The fold alone, no broker."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.figure import Run, size
from bench.lab import Lab, step
from bench.load import PLAIN, TICK, subscription
from rating.fold import Fold
from rating.seen import SeenInMemory

TITLE = "a tick with nothing due, the fold alone"
BEGIN = datetime.fromisoformat("2026-11-03T11:00:00Z")
TICKS = 1_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    few: int = size(1_000, "accounts of the smaller fold")
    many: int = size(1_000_000, "accounts of the larger fold")
    rounds: int = size(5, f"how often {TICKS:,} ticks are folded by each")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Both, in turns."""
    folds = {}
    for accounts in (sizes.few, sizes.many):
        with step(f"{accounts:,} accounts subscribe"):
            folds[accounts] = _restored(accounts)
    for number in range(sizes.rounds):
        ticks = [_tick(number * TICKS + second) for second in range(TICKS)]
        for accounts, fold in folds.items():
            took = []
            for tick in ticks:
                began = time.perf_counter()
                fold.fold(tick, fold.position)
                took.append(time.perf_counter() - began)
            yield Run(f"{accounts:,} accounts", {"us/tick": sorted(took)[TICKS // 2] * 1e6})


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


def _tick(second: int) -> bytes:
    return b'{"type":"tick","at":"%s"}' % (BEGIN + timedelta(seconds=second)).isoformat().encode()


def _restored(accounts: int) -> Fold:
    """A fold as after a restart: its accounts are bytes, and in the heap of what is due."""
    one = Fold(0, None, SeenInMemory())
    fold = Fold(0, None, SeenInMemory())
    for number in range(accounts):
        one.fold(subscription(number, PLAIN), number)
        for key, value in one.drain_ledger():
            fold.restore(key, value)
        one.outputs.clear()
        one.books.accounts.clear()
    fold.restored()
    fold.fold(TICK, fold.position)
    return fold
