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


class Run(NamedTuple):
    """Records of one partition, fetched together; the value of one Faust event.

    Attributes:
        tp: where they were read.
        records: at least one, in the order of their offsets.
        follows: the offset reading stood at before them. Offsets may have holes (compaction, transaction markers), so a
            lost run shows only here.
        epoch: which assignment they were fetched under.
    """

    tp: TP
    records: Sequence[ConsumerRecord]
    follows: int
    epoch: int


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
            budget: records in flight beyond which nothing more is fetched; one fetch may go over it.
        """
        self.budget = budget
        self.epoch = 0
        self.done: dict[TP, int] = {}
        self._records = 0
        self._room = asyncio.Event()
        self._room.set()

    def take_off(self, records: int) -> None:
        """Records were handed to a stream."""
        self._records += records
        if self._records >= self.budget:
            self._room.clear()

    def land(self, tp: TP, records: int, position: int) -> None:
        """Records are done; ``position`` is the next offset of the partition."""
        self.done[tp] = position
        self._records -= records
        if self._records < self.budget:
            self._room.set()

    async def room(self) -> None:
        """Wait until more may be fetched."""
        await self._room.wait()

    def new_epoch(self) -> None:
        """Forget what is in flight: it is stale, and will be read again."""
        self.epoch += 1
        self._records = 0
        self.done.clear()
        self._room.set()
