"""How far the meter and the billing job have come: the newest position record of each partition of their ledgers.

Both write it with the same key, see `rating.ledger` and `streams.fenced`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from jobs.reading import NewestRecords, TopicReader
from rating.agencies import decode_agency_position
from rating.fold import decode_position
from rating.ledger import POSITION
from rating.period import EPOCH
from streams.fenced import decode_position as decode_role_position
from streams.restore import unreadable


class Standing(NamedTuple):
    """Where the meter stands in a partition: the next record to rate, and the latest tick (None before the first)."""

    offset: int
    clock: datetime | None


class LedgerPositions:
    """The position records of one ledger, as of the last `refresh`."""

    def __init__(self, ledger: TopicReader) -> None:
        """Look at a ledger; nothing is known before `refresh`."""
        self._ledger = ledger
        self._newest = NewestRecords(ledger, POSITION)

    async def refresh(self) -> None:
        """Look again."""
        await self._newest.refresh()

    def billing(self) -> dict[int, int]:
        """Of the billing job's ledger: by partition, the next billing event.

        Raises:
            LedgerUnusable: a record cannot be read.
        """
        return {partition: self._asked(partition) for partition in self._ledger.partitions}

    def agencies(self) -> dict[int, int]:
        """Of the second fold's ledger: by partition, the next record of ``agency-events``.

        Raises:
            LedgerUnusable: a record cannot be read.
        """
        found = {}
        for partition in self._ledger.partitions:
            newest = self._newest.records.get(partition)
            try:
                found[partition] = 0 if newest is None else decode_agency_position(newest.value).offset
            except (ValueError, TypeError) as error:
                raise unreadable(newest, error) from None
        return found

    def meter(self) -> dict[int, Standing]:
        """Of the meter's ledger: by partition, where it stands.

        Raises:
            LedgerUnusable: a record cannot be read by this version.
        """
        return {partition: self._standing(partition) for partition in self._ledger.partitions}

    def _asked(self, partition: int) -> int:
        newest = self._newest.records.get(partition)
        if newest is None:
            return 0
        try:
            return decode_role_position(newest.value)
        except (ValueError, TypeError) as error:
            raise unreadable(newest, error) from None

    def _standing(self, partition: int) -> Standing:
        newest = self._newest.records.get(partition)
        if newest is None:
            return Standing(0, None)
        try:
            record = decode_position(newest.value)
        except ValueError as error:
            raise unreadable(newest, error) from None
        micros = record.done_clock_micros
        return Standing(record.done_offset, None if micros is None else EPOCH + timedelta(microseconds=micros))
