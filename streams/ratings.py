"""How a call was rated, from the meter's own output: corrections need to know.

Rated calls of a partition stand in their topic in the order of the facts that they come from. So the one of a fact is
found by halving, with a read for each step; what is no longer there, for the topic is kept 30 days, is not found.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from rating.seen import call_hash
from streams.errors import CallmeterError
from streams.restore import read_to_end
from streams.seen_calls import offset_in
from streams.settings import Settings
from streams.topics import RATED_CALLS, SEEN_CALLS

# A record has 2 KB at most; whoever seeks reads one.
FETCH_BYTES = 16_384
LONGEST_WAIT_S = 20.0


class _Rated(msgspec.Struct):
    call_id: str
    account_id: str
    source_offset: int


_decode = msgspec.json.Decoder(_Rated).decode


class RatingsUnreadable(CallmeterError):
    """The broker does not give what it has of ``rated-calls``."""


async def first_rating(settings: Settings, partition: int, account_id: str, call_id: str) -> bytes | None:
    """How a call was rated first, found without the meter's index; None if it was not, or is no longer known.

    All of ``seen-calls`` of the partition is read: 32 bytes for each call of three months.

    Raises:
        RatingsUnreadable: ``rated-calls`` cannot be read.
        LedgerUnusable: ``seen-calls`` cannot be read.
    """
    digest = call_hash(account_id, call_id)
    offset = None
    async for records in read_to_end(settings, settings.topic(SEEN_CALLS), partition):
        for record in records:
            found = offset_in(record, digest)
            offset = offset if found is None else found
    if offset is None:
        return None
    ratings = Ratings(settings, partition)
    try:
        return await ratings.find(account_id, call_id, offset)
    finally:
        await ratings.close()


class Ratings:
    """The rated calls of one partition. Made when one is looked for first; `close` lets go of its connection."""

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings = settings
        self._tp = TopicPartition(settings.topic(RATED_CALLS), partition)
        self._consumer: AIOKafkaConsumer | None = None
        self._written = 0

    def committed(self, end: int) -> None:
        """Our own transaction wrote records below this offset; they can be read a moment later."""
        self._written = max(self._written, end)

    async def find(self, account_id: str, call_id: str, source_offset: int) -> bytes | None:
        """The rated call that came of the fact at an offset; None if there is none, or no longer.

        Raises:
            RatingsUnreadable: the topic cannot be read.
        """
        consumer, tp = await self._open(), self._tp
        low = (await consumer.beginning_offsets([tp]))[tp]
        high = await self._end(consumer)
        end = high
        # The first record at `high` or beyond is of that fact or a later one; the last before `low` of an earlier one.
        while low < high:
            middle = (low + high) // 2
            record = await self._read(middle, end)
            if record is None or _decode(record.value).source_offset >= source_offset:
                high = middle
            else:
                low = record.offset + 1
        while (record := await self._read(low, end)) is not None:
            rated = _decode(record.value)
            if rated.source_offset != source_offset:
                return None
            if (rated.account_id, rated.call_id) == (account_id, call_id):
                value: bytes = record.value
                return value
            low = record.offset + 1
        return None

    async def close(self) -> None:
        """Let go of the connection."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await consumer.stop()

    async def _end(self, consumer: AIOKafkaConsumer) -> int:
        """Where what is committed ends. The broker tells of a commit before everybody can read it."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while (end := (await consumer.end_offsets([self._tp]))[self._tp]) < self._written:
            if time.monotonic() > deadline:
                raise RatingsUnreadable(f"{self._tp.topic}-{self._tp.partition} ends at {end}, not {self._written}")
            await asyncio.sleep(0.01)
        return int(end)

    async def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._settings.kafka_client(),
                isolation_level="read_committed",
                auto_offset_reset="none",
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=20,
            )
            await consumer.start()
            consumer.assign([self._tp])
            self._consumer = consumer
        return self._consumer

    async def _read(self, offset: int, end: int) -> ConsumerRecord | None:
        """The first committed record at an offset or after it; None if there is none before the end."""
        assert self._consumer is not None
        consumer, tp = self._consumer, self._tp
        consumer.seek(tp, offset)
        deadline = time.monotonic() + LONGEST_WAIT_S
        while await consumer.position(tp) < end:
            records = (await consumer.getmany(tp, timeout_ms=50, max_records=1)).get(tp)
            if records:
                return records[0]
            if time.monotonic() > deadline:
                raise RatingsUnreadable(f"{tp.topic}-{tp.partition} cannot be read at offset {offset}")
        return None
