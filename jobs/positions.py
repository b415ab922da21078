"""How far the meter and the billing job have come: the newest position record of each partition of their ledgers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from jobs.reading import TopicReader
from rating.fold import PositionRecord
from rating.ledger import StateError, check_version
from rating.period import EPOCH
from streams.errors import LedgerUnusable
from streams.fenced import POSITION

# A position is the last record of a transaction: two steps before the end, with the transaction's marker after it.
FIRST_LOOK_BACK = 16

_decode_meter = msgspec.msgpack.Decoder(PositionRecord).decode


class Standing(NamedTuple):
    """Where the meter stands in a partition: the next record to rate, and the latest tick (None before the first)."""

    offset: int
    clock: datetime | None


class LedgerPositions:
    """The position records of one ledger, as of the last `refresh`."""

    def __init__(self, ledger: TopicReader) -> None:
        """Look at a ledger; nothing is known before `refresh`."""
        self._ledger = ledger
        self._values: dict[int, bytes] = {}
        self._looked: dict[int, int] = {}

    async def refresh(self) -> None:
        """Look again. Only the end of the ledger is read, however much was written."""
        starts, all_ends = await self._ledger.starts(), await self._ledger.ends()
        ends = {partition: end for partition, end in all_ends.items() if end > self._looked.get(partition, 0)}
        back = FIRST_LOOK_BACK
        while ends:
            lowest = {partition: max(starts[partition], self._looked.get(partition, 0)) for partition in ends}
            begin = {partition: max(lowest[partition], end - back) for partition, end in ends.items()}
            found = set()
            async for record in self._ledger.read(begin, ends):
                if record.key == POSITION and record.value is not None:
                    self._values[record.partition] = record.value
                    found.add(record.partition)
            for partition in list(ends):
                if partition in found or begin[partition] == lowest[partition]:
                    self._looked[partition] = ends.pop(partition)
            back *= 16

    def billing(self) -> dict[int, int]:
        """Of the billing job's ledger: by partition, the next billing event."""
        return {partition: int(self._values.get(partition, b"0")) for partition in self._ledger.partitions}

    def meter(self) -> dict[int, Standing]:
        """Of the meter's ledger: by partition, where it stands.

        Raises:
            LedgerUnusable: a record cannot be read by this version.
        """
        return {partition: self._standing(partition) for partition in self._ledger.partitions}

    def _standing(self, partition: int) -> Standing:
        value = self._values.get(partition)
        if value is None:
            return Standing(0, None)
        try:
            check_version(value)
            record = _decode_meter(memoryview(value)[1:])
        except (StateError, msgspec.MsgspecError) as error:
            raise LedgerUnusable(f"{self._ledger.topic}-{partition}: {error}") from None
        micros = record.clock_micros
        return Standing(record.offset, None if micros is None else EPOCH + timedelta(microseconds=micros))
