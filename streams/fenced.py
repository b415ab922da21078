"""Exactly once for one partition: everything written, and the position it came from, in one fenced transaction.

`FencedPartition` is the building block: the meter keeps its accounts and its position that way (`streams.ledger`), the
billing job its position alone::

    class BillingPartition(FencedPartition):
        async def handle(self, records):
            for record in records:
                self.producer.add(ACCOUNT_EVENTS, key, fact)
            await self.commit(records[-1])

    Workers(lambda tp: BillingPartition(tp, settings, BILLING_LEDGER), ...)

Its ledger is a compacted topic of its own with as many partitions as the one it reads; two roles never share one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, InvalidProducerEpoch, InvalidTxnState, ProducerFenced
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from rating.versions import Layout, same
from streams.errors import BrokerUnreachable, RecordRefused, TakenOver
from streams.landmark import LANDMARK_HEADER, landmark
from streams.restore import Restoring, read_to_end
from streams.settings import Settings
from streams.worker import PartitionWorker

# The broker takes batches up to message.max.bytes = 1,048,588; a larger record travels alone, to topics that allow it.
BATCH_BYTES = 1_000_000
RECORD_BYTES = (16 << 20) - 1024
POSITION = b"position"

# A role's position in its own ledger; without a version byte, as decimal digits, before there were versions.
ROLE_POSITION = Layout("position", version=2, upgrades={1: same}, unversioned=bytes.isdigit)

FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState)
Headers = Sequence[tuple[str, bytes]]
NO_HEADERS: list[tuple[str, bytes]] = []


class FencedProducer:
    """The one producer that may write what comes of a partition. Starting it fences every earlier one.

    Records are collected by `add` and written by `commit`, in one transaction. It is not safe for two tasks.
    """

    def __init__(self, settings: Settings, tp: TP) -> None:
        """Make a producer that is not started.

        Args:
            settings: checked settings.
            tp: the partition that is read (the broker's name); it names the transactional id.
        """
        self.partition = tp.partition
        self.transactional_id = f"{settings.transactional_id}-{tp.topic}-{tp.partition}"
        self._settings = settings
        self._batches: dict[tuple[str, int], list[Any]] = {}
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Fence whoever had the partition before; an open transaction of his is aborted.

        Raises:
            BrokerUnreachable: the broker has only begun to start.
        """
        self._producer = AIOKafkaProducer(
            **self._settings.kafka_client(),
            client_id=self.transactional_id,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=int(self._settings.transaction_timeout_s * 1000),
            max_batch_size=BATCH_BYTES,
            linger_ms=0,
        )
        try:
            await self._producer.start()
        except AssertionError:
            # Until brokers know of themselves, they answer that there are none, which the library asserts cannot be.
            await self.stop()
            raise BrokerUnreachable(
                f"the Kafka broker at {self._settings.bootstrap} knows of no broker yet: it has only begun to start"
            ) from None

    async def stop(self) -> None:
        """Close the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    def add(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Collect a record for the next transaction.

        Args:
            topic: name without prefix.
            key: its key.
            value: its value; None for a tombstone.
            headers: its headers.
            partition: where to; default: the number of the partition that is read.

        Raises:
            RecordRefused: no batch would take it.
        """
        if value is not None and len(value) > RECORD_BYTES:
            raise RecordRefused(
                f"a record for {topic}, key {key!r}, has {len(value)} bytes; at most {RECORD_BYTES} fit"
            )
        batches = self._batches_of(topic, self.partition if partition is None else partition)
        if batches[-1].append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
            self._append_to_new(batches, topic, key, value, headers)

    def add_many(self, records: Iterable[tuple[str, bytes | None, Any]]) -> None:
        """Collect records (topic, key, value) without headers for our own partition; like `add`, but faster."""
        now, at = "", int(time.time() * 1000)
        batch: Any = None
        count = 0
        for topic, key, value in records:
            if topic != now:
                if batch is not None:
                    batch._relative_offset = count
                now, batch = topic, self._batches_of(topic, self.partition)[-1]
                append, count = batch._builder.append, batch._relative_offset
            # What `BatchBuilder.append` does, which itself takes longer than what it calls.
            if append(count, at, key, value, NO_HEADERS) is None:
                batch._relative_offset = count
                batch.close()
                self.add(topic, key, value)
                batch = self._batches_of(topic, self.partition)[-1]
                append, count = batch._builder.append, batch._relative_offset
            else:
                count += 1
        if batch is not None:
            batch._relative_offset = count

    def _batches_of(self, topic: str, partition: int) -> list[Any]:
        batches = self._batches.get((topic, partition))
        if batches is None:
            assert self._producer is not None
            batches = self._batches[topic, partition] = [self._producer.create_batch()]
        return batches

    def _append_to_new(
        self, batches: list[Any], topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        assert self._producer is not None
        batches.append(self._producer.create_batch())
        if batches[-1].append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
            raise RecordRefused(f"a record for {topic}, key {key!r}, does not fit into an empty batch")

    async def commit(self) -> dict[str, int]:
        """Write everything collected as one transaction.

        Returns:
            by topic (without prefix), for what went to our own partition: the offset after its last record.

        Raises:
            TakenOver: another producer has fenced this one; nothing was written.
        """
        collected, self._batches = self._batches, {}
        producer = self._producer
        assert producer is not None
        ends: dict[str, int] = {}
        try:
            async with producer.transaction():
                written = []
                for (topic, partition), batches in collected.items():
                    for batch in batches:
                        batch.close()
                        count = batch.record_count()
                        future = await self._send(producer, batch, topic, partition)
                        # If another batch is refused first, nobody asks for the outcome of this one.
                        future.add_done_callback(_noticed)
                        written.append((topic, partition, count, future))
                await asyncio.gather(*(future for *_, future in written))
        except FENCED:
            raise TakenOver(f"{self.transactional_id}: another worker has taken this partition over") from None
        for topic, partition, count, future in written:
            if partition == self.partition:
                ends[topic] = future.result().offset + count
        return ends

    async def _send(self, producer: AIOKafkaProducer, batch: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        try:
            sent: asyncio.Future[Any] = await producer.send_batch(
                batch, self._settings.topic(topic), partition=partition
            )
            return sent
        except IllegalOperation:
            # The transaction has failed since the batch before: why, is what its end says.
            end = producer._txn_manager.wait_for_transaction_end()
            if end.done():
                end.result()
            raise

    def counts(self) -> dict[str, int]:
        """By topic: how many records are collected."""
        counted: dict[str, int] = {}
        for (topic, _), batches in self._batches.items():
            counted[topic] = counted.get(topic, 0) + sum(batch.record_count() for batch in batches)
        return counted


def _noticed(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class FencedPartition(PartitionWorker):
    """A worker whose results and position are written together, and restored from its own ledger topic.

    Attributes:
        producer: collects what `handle` writes; `commit` adds the position.
        landmark: of the record before the position, None before there is one: the log is known again by it.
    """

    knows_log = True

    def __init__(self, tp: TP, settings: Settings, ledger: str) -> None:
        """Make a worker that does nothing until it is opened.

        Args:
            tp: the partition to read.
            settings: checked settings.
            ledger: name without prefix of the compacted topic that holds this role's state, and nobody else's.
        """
        super().__init__(tp)
        self.settings = settings
        self.ledger = ledger
        self.producer = FencedProducer(settings, tp)
        self._position = 0
        self.landmark = None

    @property
    def position(self) -> int:
        """Offset of the next record to handle, as committed."""
        return self._position

    async def open(self) -> None:
        """Fence, then restore: in this order, or what is read could still change.

        Raises:
            LedgerUnusable: the ledger's end cannot be trusted, or a record cannot be read.
        """
        await self.producer.start()
        restoring = Restoring(self.restore)
        async for records in read_to_end(self.settings, self.settings.topic(self.ledger), self.tp.partition):
            restoring.take(records)
            for record in records:
                if record.key == POSITION:
                    # None: written before there were landmarks.
                    self.landmark = dict(record.headers).get(LANDMARK_HEADER)
        restoring.finish()

    async def close(self) -> None:
        """Close the producer."""
        await self.producer.stop()

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one ledger record, oldest first.

        Raises:
            ValueError: it cannot be read.
        """
        if key != POSITION or value is None:
            raise ValueError("a record of an unknown kind")
        self._position = decode_position(value)

    async def commit(self, last: ConsumerRecord) -> None:
        """Write what was added, and the position after the last record handled, as one transaction."""
        self.add_position(encode_position(last.offset + 1), last)
        await self.producer.commit()
        self._position = last.offset + 1

    def add_position(self, value: bytes, last: ConsumerRecord | None) -> None:
        """Collect the position record.

        Args:
            value: of the record.
            last: the record before the position; None: the same as last time.
        """
        if last is not None:
            self.landmark = landmark(last)
        headers = [] if self.landmark is None else [(LANDMARK_HEADER, self.landmark)]
        self.producer.add(self.ledger, POSITION, value, headers)


def encode_position(position: int) -> bytes:
    """A role's position as its ledger's record."""
    return ROLE_POSITION.prefix + b"%d" % position


def decode_position(value: bytes) -> int:
    """A role's position from its ledger's record.

    Raises:
        ValueError: it cannot be read.
    """
    return int(ROLE_POSITION.upgraded(value)[1:])
