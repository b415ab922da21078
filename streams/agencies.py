"""The second fold at work: what the meter tells about agencies becomes their totals, exactly once.

It runs beside the meter, as an app of its own. Its partitions are those of ``agency-events``; its state and position
are in ``agency-ledger``, in one transaction with the alerts, with what agencies are to be asked for and were asked for,
and with the facts that turn accounts off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Set
from typing import Any

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from rating.agencies import AgencyFold
from rating.outputs import DeadLetter
from streams.administration import check_topics
from streams.fenced import FencedPartition
from streams.ledger import write_letter
from streams.settings import Settings
from streams.topics import (
    ACCOUNT_EVENTS,
    AGENCY_EVENTS,
    AGENCY_LEDGER,
    ALERTS,
    BILLING_EVENTS,
    DEAD_LETTERS,
    FORWARDED_HEADER,
    PAYMENT_REQUESTS,
)
from streams.transport import RoleApp, Workers, make_app, runs

NEEDS = (
    AGENCY_EVENTS,
    AGENCY_LEDGER,
    ACCOUNT_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    PAYMENT_REQUESTS,
    DEAD_LETTERS,
)
# Every transaction of every partition of the meter tells something: they are taken together.
PAUSE_S = 0.25


class AgencyPartition(FencedPartition):
    """Adds up one partition of ``agency-events``."""

    def __init__(self, tp: TP, settings: Settings, partitions: int) -> None:
        """Make a worker that does nothing until it is opened."""
        super().__init__(tp, settings, AGENCY_LEDGER)
        self._partitions = partitions
        self._fold = AgencyFold(tp.partition, partitions)
        self._committed_at = 0.0

    @property
    def position(self) -> int:
        """Offset of the next record, as the ledger has it."""
        return self._fold.position

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one ledger record."""
        self._fold.restore(key, value)

    async def open(self) -> None:
        """Fence, then restore the agencies."""
        await super().open()
        self._fold.restored()

    async def handle(self, records: list[ConsumerRecord]) -> None:
        """Fold a batch, and store what came of it. The pause lets the next batch grow."""
        fold, producer = self._fold, self.producer
        for record in records:
            forwarded = any(name == FORWARDED_HEADER for name, _ in record.headers)
            fold.fold(record.value, record.offset, record.key, forwarded)
        for topic, key, value in fold.outputs:
            if isinstance(value, DeadLetter):
                write_letter(producer, self.settings, key, value)
            else:
                producer.add(topic, key, value)
        fold.outputs.clear()
        for fact in fold.facts:
            for partition in range(self._partitions):
                producer.add(ACCOUNT_EVENTS, None, fact, partition=partition)
        fold.facts.clear()
        for partition, key, value in fold.numbered:
            producer.add(ACCOUNT_EVENTS, key, value, partition=partition)
        fold.numbered.clear()
        for partition, key, value, offset in fold.forwards:
            header = (FORWARDED_HEADER, b"%d:%d" % (self.tp.partition, offset))
            producer.add(AGENCY_EVENTS, key, value, [header], partition)
        fold.forwards.clear()
        *state, (_, position) = fold.drain_ledger()
        assert position is not None
        producer.add_many((AGENCY_LEDGER, key, value) for key, value in state)
        self.add_position(position, records[-1])
        await producer.commit()
        pause = self._committed_at + PAUSE_S - time.monotonic()
        self._committed_at = time.monotonic()
        if pause > 0 and not self.stopping:
            await asyncio.sleep(pause)


class Agencies(Workers):
    """The partitions of agencies that are ours to add up."""

    def __init__(self, settings: Settings) -> None:
        """Start without partitions."""
        super().__init__(self._partition, settings.flight_records, settings.batch_records)
        self._settings = settings
        self._partitions = 0

    async def assigned(self, partitions: Set[TP]) -> Mapping[TP, int]:
        """Open and close partitions as they come and go."""
        self._partitions = await check_topics(self._settings, NEEDS)
        return await super().assigned(partitions)

    def _partition(self, tp: TP) -> AgencyPartition:
        return AgencyPartition(tp, self._settings, self._partitions)


def make_agencies(settings: Settings) -> RoleApp:
    """The second fold as a Faust app, run in the meter's process."""
    agencies = Agencies(settings)
    app = make_app("agencies", settings, agencies, NEEDS)

    @app.agent(runs(app, AGENCY_EVENTS))
    async def add_up(stream: Any) -> None:
        async for run in stream:
            await agencies.put(run)

    return app
