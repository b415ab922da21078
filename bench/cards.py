"""Rate cards: microseconds to find the row of a call in a card of so many prefixes, and to make such a card ready.

Prefixes have one to eight digits, as destinations have; every number called begins with one of them, and no two calls
in a row need be near each other. CPU time of one thread.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from random import Random

from bench.figure import Run, size
from bench.lab import Lab, step
from rating.cards import Card, Row

TITLE = "finding the row of a call in a rate card, pure, one thread"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    prefixes: int = size(100_000, "prefixes in the card")
    calls: int = size(200_000, "calls looked up in a run")
    rounds: int = size(5, "how often each card is measured")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """A card by prefix only, and one whose rows tell directions and tiers apart, in turns; the first round warms up."""
    random = Random(1)
    ordered = prefixes_of(sizes.prefixes)
    numbers = [f"+{random.choice(ordered)}{random.randint(0, 999_999):06}" for _ in range(sizes.calls)]
    began = time.process_time()
    by_prefix = Card("by prefix", "USD", [Row(prefix, None, None, 60_000) for prefix in ordered])
    ready_s = time.process_time() - began
    kinds = [(direction, tier) for direction in (None, "outbound") for tier in (None, "gold")]
    rows = [Row(prefix, *kinds[number % 4], 60_000) for number, prefix in enumerate(ordered)]
    by_all = Card("by prefix, direction and tier", "USD", rows)
    for number in range(sizes.rounds + 1):
        for card in (by_prefix, by_all):
            with step(f"{card.name}, round {number} of {sizes.rounds}"):
                seconds = look_up(card, numbers)
            if number:
                yield Run(card.name, {"us/look-up": seconds / sizes.calls * 1e6, "ready s": ready_s})


def prefixes_of(count: int) -> list[str]:
    """So many prefixes, in order."""
    random = Random(2)
    prefixes: set[str] = set()
    while len(prefixes) < count:
        prefixes.add(str(random.randint(1, 10 ** random.randint(1, 8) - 1)))
    return sorted(prefixes)


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


def look_up(card: Card, numbers: list[str]) -> float:
    """CPU seconds to look up the numbers, less what it takes to go through them and read each."""
    return _through(card.find, numbers) - _through(_read, numbers)


def _through(find: Callable[[str, str, str], object], numbers: list[str]) -> float:
    began = time.process_time()
    for number in numbers:
        find(number, "outbound", "gold")
    return time.process_time() - began


def _read(number: str, direction: str, tier: str) -> bool:
    return number.startswith("-")
