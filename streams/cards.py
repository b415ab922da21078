"""Rate cards in their compacted topic: written once, and read by whoever rates or shows them.

A card's id is the hash of its content, so a card that is there never changes, and whoever writes it again writes the
same. All records of a card are in the partition that its id belongs to, its head last: a card is there once that one
is. A process keeps the cards that its partitions need, and no others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from rating.cards import Card, Head, NoCard, card_of, decode_head, split_key
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.restore import read_to_end, unreadable
from streams.settings import Settings
from streams.topics import RATE_CARDS

log = structlog.get_logger("callmeter")

# Records in one request to the broker: a part is a few hundred kilobytes.
SENT_AT_ONCE = 4


class CardShelf:
    """The rate cards of a process.

    Attributes:
        cards: those that were loaded, by id.
    """

    def __init__(self, settings: Settings, partitions: int) -> None:
        """Start without cards; the topic has as many partitions as all others."""
        self.cards: dict[str, Card] = {}
        self._settings = settings
        self._partitions = partitions
        # Of each partition, where reading goes on for a card that nobody has heard of yet.
        self._read_to: dict[int, int] = defaultdict(int)
        self._heard_of: set[str] = set()
        self._reading = asyncio.Lock()

    async def load(self, card_ids: Iterable[str]) -> None:
        """Load the cards of some ids; one that the topic does not have, read to its end, is not there afterwards."""
        if self.cards.keys() >= (wanted := set(card_ids)):
            return
        async with self._reading:
            missing: dict[int, set[str]] = defaultdict(set)
            for card_id in wanted - self.cards.keys():
                missing[partition_of(card_id.encode(), self._partitions)].add(card_id)
            for partition, ids in missing.items():
                await self._load(partition, ids)

    async def _load(self, partition: int, wanted: set[str]) -> None:
        heads: dict[str, Head] = {}
        parts: dict[str, dict[int, bytes]] = defaultdict(dict)
        # What was read before and not kept has to be read again.
        start = 0 if wanted & self._heard_of else self._read_to[partition]
        async for record in _records(self._settings, partition, start):
            self._read_to[partition] = max(self._read_to[partition], record.offset + 1)
            try:
                card_id, part = split_key(record.key)
                self._heard_of.add(card_id)
                if card_id not in wanted:
                    continue
                if record.value is None:
                    heads.pop(card_id, None)
                elif part is None:
                    heads[card_id] = decode_head(record.value)
                else:
                    parts[card_id][part] = record.value
            except (ValueError, AttributeError) as error:
                log.error("no rate card", record=str(unreadable(record, error)))
        for card_id, head in heads.items():
            try:
                found = [parts[card_id][number] for number in range(head.parts)]
                self.cards[card_id] = await asyncio.to_thread(card_of, head, found, card_id)
            except (NoCard, KeyError) as error:
                log.error("no rate card", card=card_id, error=f"a part is missing: {error}")


async def find_card(settings: Settings, card_id: str) -> Card | None:
    """One card, None if the topic does not have it.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    shelf = CardShelf(settings, await check_topics(settings, [RATE_CARDS]))
    await shelf.load({card_id})
    return shelf.cards.get(card_id)


async def read_heads(settings: Settings) -> dict[str, Head]:
    """All cards that there are but for their rows, by id.

    Raises:
        as `find_card`; LedgerUnusable: a head cannot be read.
    """
    heads: dict[str, Head] = {}
    for partition in range(await check_topics(settings, [RATE_CARDS])):
        async for record in _records(settings, partition, 0):
            try:
                card_id, part = split_key(record.key)
                if part is None and record.value is None:
                    heads.pop(card_id, None)
                elif part is None:
                    heads[card_id] = decode_head(record.value)
            except (ValueError, AttributeError) as error:
                raise unreadable(record, error) from None
    return heads


async def put_card(
    settings: Settings, card: Card, created_at: str | None = None, show: Callable[[int, int], None] | None = None
) -> None:
    """Write a card, its head last.

    Args:
        settings: checked settings.
        card: the card.
        created_at: when, for people.
        show: called with how many rows were written, of how many.

    Raises:
        BrokerUnreachable, TopicMissing: there is nowhere to write to.
    """
    partition = partition_of(card.card_id.encode(), await check_topics(settings, [RATE_CARDS]))
    topic = settings.topic(RATE_CARDS)
    *parts, (key, head) = card.records(created_at)
    async with AIOKafkaProducer(**settings.kafka_client(), acks="all", enable_idempotence=True) as producer:
        for at in range(0, len(parts), SENT_AT_ONCE):
            some = parts[at : at + SENT_AT_ONCE]
            sent = [await producer.send(topic, value, own, partition=partition) for own, value in some]
            await asyncio.gather(*sent)
            if show:
                show(min(len(card.rows), (at + len(some)) * len(card.rows) // len(parts)), len(card.rows))
        await producer.send_and_wait(topic, head, key, partition=partition)


async def _records(settings: Settings, partition: int, start: int) -> AsyncIterator[ConsumerRecord]:
    async for records in read_to_end(settings, settings.topic(RATE_CARDS), partition, start):
        for record in records:
            yield record
