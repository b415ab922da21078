"""Which faults come, and in which order: a function of the seed and of nothing else.

The kinds are dealt like cards, so that each comes up before any comes again. Some rounds bring two at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

ROLES = ("meter", "sink", "billing")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        kind: its name, as in `KINDS`.
        role: of the processes it hits, where it hits processes.
        seconds: how long it lasts, where it lasts.
        dice: for choices that are made where it happens (which process of a role, for example).
    """

    kind: str
    role: str
    seconds: float
    dice: int

    def __str__(self) -> str:
        """As in the progress."""
        of = f" of {self.role}" if self.role else ""
        lasting = f", {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind}{of}{lasting}"


@dataclass(frozen=True)
class Kind:
    """How faults of a kind are drawn.

    Attributes:
        cards: how many there are in the deck.
        roles: one of these is hit.
        seconds: shortest and longest duration.
        alone: it is placed at a certain moment, and another fault at the same time would spoil that.
    """

    cards: int = 1
    roles: tuple[str, ...] = ("",)
    seconds: tuple[float, float] = (0.0, 0.0)
    alone: bool = False


KINDS = {
    "kill -9": Kind(4, (*ROLES, "meter", "platform", "clock")),
    "SIGTERM": Kind(2, (*ROLES, "clock")),
    "frozen beyond fencing": Kind(3, (*ROLES, "meter"), (5.0, 9.0)),
    "broker killed": Kind(2, seconds=(0.0, 4.0)),
    "broker frozen": Kind(1, seconds=(2.0, 10.0)),
    "ClickHouse slow": Kind(1, seconds=(5.0, 9.0)),
    "ClickHouse frozen": Kind(1, seconds=(4.0, 10.0)),
    "ClickHouse away": Kind(1, seconds=(3.0, 8.0)),
    "ClickHouse killed": Kind(1, seconds=(0.0, 3.0)),
    "sinks fight": Kind(1, seconds=(6.0, 10.0)),
    "two clocks": Kind(1, seconds=(2.0, 5.0)),
    "wrong clock": Kind(1, seconds=(3.0, 5.0)),
    "rebalance storm": Kind(1, seconds=(8.0, 14.0)),
    "killed in a transaction": Kind(1, ("meter", "billing"), alone=True),
    "SIGTERM in a transaction": Kind(1, ("meter",), alone=True),
    "frozen in a transaction": Kind(1, ("meter",), (5.0, 8.0), alone=True),
    "killed between gateway and fact": Kind(2, alone=True),
    "sink killed before an insert": Kind(1, alone=True),
    "sink killed after an insert": Kind(1, alone=True),
    "killed in a large tick": Kind(1, alone=True),
    "disk full": Kind(1, seconds=(3.0, 6.0), alone=True),
    "foreign transaction": Kind(1, seconds=(3.0, 6.0), alone=True),
    "log made anew": Kind(1, alone=True),
}
TWO_AT_ONCE = 0.4


def rounds(seed: int) -> Iterator[tuple[Fault, ...]]:
    """One or two faults at a time, for ever."""
    rnd = random.Random(f"faults {seed}")
    while True:
        deck = [name for name, kind in KINDS.items() for _ in range(kind.cards)]
        rnd.shuffle(deck)
        while deck:
            first = deck.pop()
            dealt = [first]
            if deck and rnd.random() < TWO_AT_ONCE and not KINDS[first].alone:
                second = next((name for name in reversed(deck) if _together(first, name)), None)
                if second:
                    deck.reverse()
                    deck.remove(second)
                    deck.reverse()
                    dealt.append(second)
            yield tuple(_drawn(rnd, name) for name in dealt)


def _together(first: str, second: str) -> bool:
    """Two faults of the same thing would only be one."""
    return not KINDS[second].alone and first.split()[0] != second.split()[0]


def _drawn(rnd: random.Random, name: str) -> Fault:
    kind = KINDS[name]
    return Fault(name, rnd.choice(kind.roles), round(rnd.uniform(*kind.seconds), 1), rnd.randrange(2**32))
