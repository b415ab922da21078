"""Records on their way: runs, and the budget of those fetched and not yet done.

Faust's own brake (full stream buffers) sleeps a whole second, so the streams' buffers are made larger than they can
ever get, and the brake is here: the transport does not fetch while the budget is used up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord
from faust.types import TP

# Bounds are in records of up to so many bytes, which nearly all are; a larger one counts for as many as would fit into
# it. So what bounds records bounds memory and transactions, too: ten thousand of the largest would be 80 GiB.
USUAL_BYTES = 2_048


class Run(NamedTuple):
    """Records of one partition, fetched together; the value of one Faust event.

    Attributes:
        tp: where they were read.
        records: at least one, in the order of their offsets.
        follows: the offset reading stood at before them. Offsets may have holes (compaction, transaction markers), so a
            lost run shows only here.
        epoch: which assignment they were fetched under.
        weight: how many records they count for, see `weight_of`.
    """

    tp: TP
    records: Sequence[ConsumerRecord]
    follows: int
    epoch: int
    weight: int


def weight_of(records: Sequence[ConsumerRecord]) -> int:
    """How many usual records some records are in memory: their number, or more if they are large."""
    return max(len(records), sum([len(record.value or b"") for record in records]) // USUAL_BYTES)


class Flight:
    """The budget of records in flight of one app, and the epoch of its assignment.

    Attributes:
        epoch: grows whenever partitions are taken over; runs of an older one are stale, for their records will be read
            again.
        done: by partition, the offset of the next record after those done.
    """

    def __init__(self, budget: int) -> None:
        """Start empty.

        Args:
            budget: weight in flight beyond which nothing more is fetched; one fetch may go over it.
        """
        self.budget = budget
        self.epoch = 0
        self.done: dict[TP, int] = {}
        self._weight = 0
        self._room = asyncio.Event()
        self._room.set()

    def take_off(self, weight: int) -> None:
        """Records of this weight were handed to a stream."""
        self._weight += weight
        if self._weight >= self.budget:
            self._room.clear()

    def land(self, tp: TP, weight: int, position: int) -> None:
        """Records of this weight are done; ``position`` is the next offset of the partition."""
        self.done[tp] = position
        self._weight -= weight
        if self._weight < self.budget:
            self._room.set()

    @property
    def full(self) -> bool:
        """Nothing more is fetched until something is done."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until more may be fetched."""
        await self._room.wait()

    def new_epoch(self) -> None:
        """Forget what is in flight: it is stale, and will be read again."""
        self.epoch += 1
        self._weight = 0
        self.done.clear()
        self._room.set()
