"""Reading topics outside of any group: what is committed up to now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.administration import check_topics
from streams.settings import Settings

# Offsets by partition number.
Offsets = Mapping[int, int]

# The last record of a transaction is two steps before the end: the transaction's marker comes after it.
FIRST_LOOK_BACK = 16


class TopicReader:
    """Committed records of all partitions of one topic, which must exist. An asynchronous context manager.

    Attributes:
        topic: the broker's name.
        partitions: numbers of the partitions.
    """

    def __init__(self, settings: Settings, name: str, partitions: int) -> None:
        """Make a reader that is not connected.

        Args:
            settings: checked settings.
            name: of the topic, without prefix.
            partitions: how many it has.
        """
        self.topic = settings.topic(name)
        self.partitions = range(partitions)
        self._tps = [TopicPartition(self.topic, number) for number in self.partitions]
        self._settings = settings
        self._consumer: AIOKafkaConsumer

    async def __aenter__(self) -> Self:
        """Connect; nothing is fetched before `seek`."""
        self._consumer = AIOKafkaConsumer(
            **self._settings.kafka_client(),
            isolation_level="read_committed",
            auto_offset_reset="none",
            max_poll_records=5_000,
            fetch_max_wait_ms=50,
        )
        await self._consumer.start()
        self._consumer.assign(self._tps)
        for tp in self._tps:
            # Without a position of ours the consumer would look for one of its own, paused or not.
            self._consumer.seek(tp, 0)
            self._consumer.pause(tp)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self._consumer.stop()

    async def starts(self) -> Offsets:
        """Where the log of each partition starts."""
        return {tp.partition: at for tp, at in (await self._consumer.beginning_offsets(self._tps)).items()}

    async def ends(self) -> Offsets:
        """The offset after the last committed record of each partition: what an open transaction holds is beyond it."""
        return {tp.partition: at for tp, at in (await self._consumer.end_offsets(self._tps)).items()}

    def seek(self, offsets: Offsets) -> None:
        """Read these partitions, and no others, from these offsets on."""
        for tp in self._tps:
            if tp.partition in offsets:
                self._consumer.seek(tp, offsets[tp.partition])
                self._consumer.resume(tp)
            else:
                self._consumer.pause(tp)

    async def fetch(self, timeout_s: float = 0.05) -> list[ConsumerRecord]:
        """The next records, none if none come within the time."""
        fetched = await self._consumer.getmany(timeout_ms=int(timeout_s * 1000))
        return [record for records in fetched.values() for record in records]

    async def has_reached(self, offsets: Offsets) -> bool:
        """Whether everything before these offsets was fetched."""
        for partition, offset in offsets.items():
            if await self._consumer.position(self._tps[partition]) < offset:
                return False
        return True

    async def read(self, starts: Offsets, ends: Offsets) -> AsyncIterator[ConsumerRecord]:
        """Every record from ``starts`` to before ``ends``, which name the same partitions. In order in each of them."""
        self.seek(starts)
        while not await self.has_reached(ends):
            for record in await self.fetch():
                if record.offset < ends[record.partition]:
                    yield record

    async def read_all(self, partitions: Iterable[int] | None = None) -> AsyncIterator[ConsumerRecord]:
        """Every record up to now, of all partitions or of some."""
        starts, ends = await self.starts(), await self.ends()
        chosen = self.partitions if partitions is None else partitions
        wanted = {partition: ends[partition] for partition in chosen}
        async for record in self.read({partition: starts[partition] for partition in wanted}, wanted):
            yield record


class Follower:
    """Takes in a whole topic, and later what was added to it, whenever somebody asks it to."""

    def __init__(self, settings: Settings, name: str, take: Callable[[ConsumerRecord], None]) -> None:
        """Know nothing; nothing is read before `refresh`.

        Args:
            settings: checked settings.
            name: of the topic, without prefix.
            take: called with each record, in order in each partition; with some of them again where a refresh was
                broken off.
        """
        self._settings = settings
        self._name = name
        self._take = take
        self._positions: dict[int, int] = {}
        self._reader: TopicReader | None = None
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Take in what was written since the last time.

        Raises:
            BrokerUnreachable, TopicMissing: there is nothing to read from.
        """
        async with self._reading:
            if self._reader is None:
                partitions = await check_topics(self._settings, [self._name])
                reader = TopicReader(self._settings, self._name, partitions)
                await reader.__aenter__()
                self._reader, self._positions = reader, dict(await reader.starts())
            ends = await self._reader.ends()
            new = {partition: end for partition, end in ends.items() if end > self._positions[partition]}
            if not new:
                return
            async for record in self._reader.read({one: self._positions[one] for one in new}, new):
                self._take(record)
            self._positions.update(new)

    async def close(self) -> None:
        """Let go of the broker; a refresh after that connects again, and takes in all."""
        async with self._reading:
            if self._reader is not None:
                reader, self._reader = self._reader, None
                await reader.__aexit__(None, None, None)


class NewestRecords:
    """The newest record of each partition, of all or of those with one key.

    Attributes:
        records: by partition, as of the last `refresh`; absent where there is none.
    """

    def __init__(self, reader: TopicReader, key: bytes | None = None) -> None:
        """Look at a topic; nothing is known before `refresh`.

        Args:
            reader: of the topic; `refresh` moves it.
            key: only records with this key; None for all.
        """
        self.records: dict[int, ConsumerRecord] = {}
        self._reader = reader
        self._key = key
        self._looked: dict[int, int] = {}

    async def refresh(self) -> None:
        """Look again. Only the end of the topic is read, however much was written."""
        starts, all_ends = await self._reader.starts(), await self._reader.ends()
        ends = {partition: end for partition, end in all_ends.items() if end > self._looked.get(partition, 0)}
        back = FIRST_LOOK_BACK
        while ends:
            lowest = {partition: max(starts[partition], self._looked.get(partition, 0)) for partition in ends}
            begin = {partition: max(lowest[partition], end - back) for partition, end in ends.items()}
            found = set()
            async for record in self._reader.read(begin, ends):
                if self._key is None or record.key == self._key:
                    self.records[record.partition] = record
                    found.add(record.partition)
            for partition in list(ends):
                if partition in found or begin[partition] == lowest[partition]:
                    self._looked[partition] = ends.pop(partition)
            back *= 16
