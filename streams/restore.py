"""Reading a partition to its end, where the end can be trusted."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.errors import LedgerUnusable
from streams.settings import Settings


def _show_nothing(read: int, total: int) -> None:
    """Nobody looks."""


async def read_to_end(
    settings: Settings, topic: str, partition: int, start: int = 0, show: Callable[[int, int], None] = _show_nothing
) -> AsyncGenerator[list[ConsumerRecord]]:
    """Committed records of a partition, in order, from ``start`` to the end.

    The end is where the last stable offset equals the high watermark. While a transaction is open the two differ, and
    what it wrote may or may not come to count.

    Args:
        settings: checked settings.
        topic: the broker's name.
        partition: its number.
        start: offset of the first record wanted; the log's start or end if it lies outside of the log.
        show: called now and then with how many offsets were read, of how many.

    Raises:
        LedgerUnusable: a transaction stays open for longer than our own ones ever could.
    """
    tp = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(
        **settings.kafka_client(),
        isolation_level="read_committed",
        auto_offset_reset="none",
        max_poll_records=10_000,
        max_partition_fetch_bytes=8 << 20,
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    try:
        consumer.assign([tp])
        first, last = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        first = min(max(start, first), last)
        consumer.seek(tp, first)
        show(0, last - first)
        held_at, deadline = -1, 0.0
        while True:
            records = (await consumer.getmany(tp, timeout_ms=50)).get(tp)
            if records:
                yield records
            position = await consumer.position(tp)
            show(min(position, last) - first, last - first)
            stable, high = consumer.last_stable_offset(tp), consumer.highwater(tp)
            if high is None or position < stable:
                continue
            if stable == high:
                return
            if stable != held_at:
                # Counted from here: getting this far may have taken longer than any transaction.
                held_at, deadline = stable, time.monotonic() + settings.transaction_timeout_s + 5
            if time.monotonic() > deadline:
                raise LedgerUnusable(
                    f"{topic}-{partition}: somebody's transaction has been open since offset {stable}, so the "
                    "partition has no end that can be trusted; kafka-transactions.sh find-hanging names its producer"
                )
    finally:
        await consumer.stop()


async def read_some(settings: Settings, topic: str, partition: int, start: int) -> list[ConsumerRecord]:
    """The first committed records of a partition from ``start`` on; none where it ends there.

    Raises:
        as `read_to_end`.
    """
    async with aclosing(read_to_end(settings, topic, partition, start)) as found:
        async for records in found:
            return records
    return []


def unreadable(record: ConsumerRecord, error: BaseException) -> LedgerUnusable:
    """The one line for a record that cannot be read: where it is, its key, and why."""
    return LedgerUnusable(
        f"{record.topic}-{record.partition}: the record at offset {record.offset}, key {record.key!r}, cannot be read: "
        f"{error}"
    )


class Restoring:
    """Takes in the records of a compacted topic, where only the newest of each key counts.

    A record that cannot be read is no reason to stop if a later one took its place. So a broken record can be mended by
    writing a good one with its key.
    """

    def __init__(self, restore: Callable[[bytes, bytes | None], None]) -> None:
        """Take in records by a function of key and value, which raises ValueError for what it cannot read."""
        self._restore = restore
        self._broken: dict[bytes, LedgerUnusable] = {}

    def take(self, records: Iterable[ConsumerRecord]) -> None:
        """Take in records, oldest first."""
        restore, broken = self._restore, self._broken
        for record in records:
            try:
                restore(record.key, record.value)
            except (ValueError, RecursionError) as error:
                broken[record.key] = unreadable(record, error)
            else:
                if broken:
                    broken.pop(record.key, None)

    @property
    def broken(self) -> list[LedgerUnusable]:
        """Of the records taken in so far, those that count and cannot be read."""
        return list(self._broken.values())

    def finish(self) -> None:
        """All were taken in.

        Raises:
            LedgerUnusable: one that counts cannot be read; the first of them is named.
        """
        for broken in self.broken:
            raise broken
