"""The catalogue in its compacted topic: one record an entry, key ``agency/kind/id``, the latest counts.

Whoever applies a file is fenced like a worker: of two that started at the same time, the one that started first is
refused, so nobody writes on the ground of a catalogue that has changed since it was shown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from catalogue.collection import MODELS, Catalogue, Entry
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.errors import CallmeterError, TakenOver
from streams.restore import read_to_end, unreadable
from streams.settings import Settings
from streams.topics import CATALOGUE

if TYPE_CHECKING:
    from streams.fenced import FencedProducer


def encode(entry: Entry) -> bytes:
    """An entry as its record's value: the fields of its model, spelled as in a file, and ``retired``."""
    content = {**entry.body.model_dump(mode="json"), "retired": entry.retired}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def decode(key: bytes, value: bytes) -> Entry:
    """An entry from a record.

    Raises:
        ValueError: it cannot be read here; the text says why.
    """
    agency, kind, own = key.decode().split("/", 2)
    if kind not in MODELS:
        raise ValueError(f"{kind!r} is no kind of entry")
    content = json.loads(value)
    if not isinstance(content, dict) or not isinstance(content.get("retired"), bool):
        raise ValueError("not an object with retired: true or false")
    retired = content.pop("retired")
    try:
        return Entry(agency, kind, own, MODELS[kind].model_validate(content), retired)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


async def read(settings: Settings) -> Catalogue:
    """The whole catalogue as it stands.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
        LedgerUnusable: a record cannot be read; its topic, partition, offset and key are named.
    """
    partitions = await check_topics(settings, [CATALOGUE])
    return await _read(settings, partitions)


async def _read(settings: Settings, partitions: int) -> Catalogue:
    parts = await asyncio.gather(*(_read_partition(settings, number) for number in range(partitions)))
    return Catalogue.of(sorted((entry for part in parts for entry in part), key=lambda entry: entry.key))


async def _read_partition(settings: Settings, partition: int) -> Iterable[Entry]:
    latest: dict[bytes, ConsumerRecord] = {}
    async for records in read_to_end(settings, settings.topic(CATALOGUE), partition):
        for record in records:
            latest[record.key] = record
    return [entry_of(record) for record in latest.values() if record.value is not None]


def entry_of(record: ConsumerRecord) -> Entry:
    """An entry from its record.

    Raises:
        LedgerUnusable: it cannot be read; topic, partition, offset and key are named.
    """
    try:
        return decode(record.key, record.value)
    except (ValueError, AttributeError, RecursionError) as error:
        raise unreadable(record, error) from None


class Editor:
    """The right to change the catalogue, until somebody else takes it.

    Attributes:
        current: the catalogue as it stands since that right was taken.
    """

    def __init__(self, current: Catalogue, producer: FencedProducer, partitions: int) -> None:
        self.current = current
        self._producer = producer
        self._partitions = partitions

    async def write(self, entries: Iterable[Entry], facts: Iterable[tuple[str, str, bytes]] = ()) -> None:
        """Write entries and the facts that follow from them, all or none.

        Args:
            entries: of the catalogue.
            facts: each with its topic (without prefix) and its key, which decides the partition.

        Raises:
            CallmeterError: somebody else has started to change the catalogue; nothing was written.
        """
        for entry in entries:
            key = entry.key.encode()
            self._producer.add(CATALOGUE, key, encode(entry), partition=partition_of(key, self._partitions))
        for topic, owner, fact in facts:
            key = owner.encode()
            self._producer.add(topic, key, fact, partition=partition_of(key, self._partitions))
        try:
            await self._producer.commit()
        except TakenOver:
            raise CallmeterError("somebody else is changing the catalogue; look at it and run this again") from None


@asynccontextmanager
async def editing(settings: Settings) -> AsyncIterator[Editor]:
    """Take the right to change the catalogue, and read it.

    Raises:
        as `read`.
    """
    # Late: this brings in Faust, half a second that a command which only reads need not wait.
    from faust.types import TP

    from streams.fenced import FencedProducer

    partitions = await check_topics(settings, [CATALOGUE])
    producer = FencedProducer(settings, TP(settings.topic(CATALOGUE), 0))
    await producer.start()
    try:
        yield Editor(await _read(settings, partitions), producer, partitions)
    finally:
        await producer.stop()


async def put(settings: Settings, entry: Entry) -> None:
    """Write one entry that no file holds, such as an assignment, whoever else is changing the catalogue.

    Raises:
        BrokerUnreachable, TopicMissing: there is nowhere to write to.
    """
    from aiokafka import AIOKafkaProducer

    partitions = await check_topics(settings, [CATALOGUE])
    key = entry.key.encode()
    async with AIOKafkaProducer(**settings.kafka_client(), acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(
            settings.topic(CATALOGUE), encode(entry), key, partition=partition_of(key, partitions)
        )
