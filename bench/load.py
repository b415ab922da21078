"""The load of all figures: calls of 408 bytes, for accounts that are subscribed to one plan."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaProducer

from rating.partitioner import partition_of
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS

CALL_BYTES = 408
AGENCIES = 50
# The producer's batches: large, for what is measured comes later.
BATCH_BYTES = 1 << 20

PLAIN: dict[str, Any] = {
    "plan": "plain",
    "currency": "USD",
    "interval": "month",
    "included_minutes": 100,
    "overage": "billed",
    "overage_micros_per_minute": 120_000,
    "increments": "60/6",
}
# Reached by no account, so that every call is held against it.
CAPPED = {**PLAIN, "plan": "capped", "cap": {"minutes": 1_000_000, "spend_micros": 10**12, "mode": "hard"}}


def account_id(number: int) -> str:
    """Id of an account."""
    return f"acct_{number:06d}"


def subscription(number: int, terms: dict[str, Any]) -> bytes:
    """An account's subscription, two days before its calls."""
    account = account_id(number)
    return json.dumps(
        {
            "type": "subscription.started",
            "fact_id": f"start_{number}",
            "account_id": account,
            "agency_id": f"agency_{number % AGENCIES:02d}",
            "subscription_id": f"sub_{number}",
            "at": "2026-11-01T00:00:00Z",
            "terms": terms,
        }
    ).encode()


TICK = b'{"type":"tick","at":"2026-11-03T10:30:00Z"}'


def calls(count: int, accounts: int, seed: int = 7) -> Iterator[tuple[int, bytes]]:
    """Calls of up to 400 s: number of the account and the fact, 408 bytes of JSON."""
    draw = random.Random(seed)
    for number in range(count):
        account, seconds = draw.randrange(accounts), draw.randrange(400)
        yield account, call(f"call_{number:027d}", account, seconds, draw.randrange(10**8))


def call(call_id: str, account: int, seconds: int, to_number: int) -> bytes:
    """One call that ended ``seconds`` after 10:16."""
    return (
        f'{{"type": "call.completed", "call_id": "{call_id}", "account_id": "{account_id(account)}", '
        f'"agency_id": "agency_{account % AGENCIES:02d}", "campaign_id": "camp_{account % 7}", '
        f'"direction": "outbound", "from_number": "+14155550100", "to_number": "+49{to_number:08d}", '
        f'"started_at": "2026-11-03T10:15:30.123Z", "answered_at": "2026-11-03T10:15:36.500Z", '
        f'"ended_at": "2026-11-03T10:{16 + seconds // 60:02d}:{seconds % 60:02d}.900Z", "outcome": "answered", '
        f'"agent_id": "agent_9"}}'
    ).encode()


class Filler:
    """Writes facts to ``account-events`` in batches, each to its account's partition."""

    def __init__(self, settings: Settings, accounts: int) -> None:
        """Prepare.

        Args:
            settings: where to; they know the number of partitions.
            accounts: how many there are.
        """
        self._topic = settings.topic(ACCOUNT_EVENTS)
        self._settings = settings
        self.partitions = settings.partitions
        self._keys = [account_id(number).encode() for number in range(accounts)]
        self._homes = [partition_of(key, self.partitions) for key in self._keys]

    async def fill(self, facts: Iterable[tuple[int, bytes]], ticks: Iterable[bytes] = ()) -> None:
        """Write facts (number of the account, value), then ticks to every partition."""
        partitions = range(self.partitions)
        records = ((self._homes[account], self._keys[account], value) for account, value in facts)
        everywhere = ((partition, None, tick) for tick in ticks for partition in partitions)
        await write(self._settings, self._topic, chain(records, everywhere))


async def write(settings: Settings, topic: str, records: Iterable[tuple[int, bytes | None, bytes]]) -> None:
    """Write records (partition, key, value) to a topic (the broker's name), in large batches.

    A batch may be as large as the topic takes it: a record that fits into none travels alone.
    """
    async with AIOKafkaProducer(**settings.kafka_client(), max_batch_size=BATCH_BYTES, linger_ms=5) as producer:
        batches: dict[int, Any] = {}
        sent: list[asyncio.Future[Any]] = []

        async def send(partition: int) -> None:
            batch = batches.pop(partition)
            batch.close()
            sent.append(await producer.send_batch(batch, topic, partition=partition))

        for partition, key, value in records:
            batch = batches.get(partition) or batches.setdefault(partition, producer.create_batch())
            if batch.append(key=key, value=value, timestamp=None) is None:
                await send(partition)
                batches[partition] = producer.create_batch()
                # The first record of a batch always fits.
                batches[partition].append(key=key, value=value, timestamp=None)
        for partition in tuple(batches):
            await send(partition)
        await asyncio.gather(*sent)
