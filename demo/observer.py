"""Reads what comes out of the pipeline from its topics, like anybody else would: committed records only."""

from __future__ import annotations

import asyncio
import json

from aiokafka import AIOKafkaConsumer, TopicPartition

from demo.observed import Observed
from streams.administration import check_topics
from streams.settings import Settings
from streams.topics import (
    ACCESS_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    DEAD_LETTERS,
    DUPLICATES,
    PAYMENT_REQUESTS,
    RATED_CALLS,
)

TOPICS = (RATED_CALLS, ALERTS, ACCESS_EVENTS, BILLING_EVENTS, DUPLICATES, DEAD_LETTERS, PAYMENT_REQUESTS)


class Observer:
    """Follows the topics.

    Attributes:
        seen: what was read so far.
    """

    def __init__(self, settings: Settings) -> None:
        """Observe the topics of these settings."""
        self.seen = Observed()
        self._settings = settings
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to read, from the start of each topic."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.kafka_client(),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            max_poll_records=5_000,
            fetch_max_wait_ms=50,
        )
        await self._consumer.start()
        count = await check_topics(self._settings, TOPICS)
        partitions = [TopicPartition(self._settings.topic(name), n) for name in TOPICS for n in range(count)]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_beginning(*partitions)
        self._task = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._consumer is not None:
            await self._consumer.stop()

    async def _read(self) -> None:
        assert self._consumer is not None
        names = {self._settings.topic(name): name for name in TOPICS}
        while True:
            for tp, records in (await self._consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    if names[tp.topic] == DEAD_LETTERS:
                        self.seen.dead_letter(dict(record.headers)["reason"].decode(), record.value or b"")
                    elif record.value is not None:
                        self.seen.take(names[tp.topic], json.loads(record.value))
                await asyncio.sleep(0)
