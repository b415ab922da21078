"""Latency: from a call being produced to its rated call being readable with ``read_committed``.

Calls are produced at a steady rate by a plain producer (``acks=all``, a linger of 2 ms) and read by a plain consumer,
both in the process that measures; one ``callmeter meter`` rates them. A call's time begins when it is *due*, so a stall
of the producer counts against the figure and is not hidden by it. The first seconds warm up and do not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.figure import Run, size
from bench.lab import Lab, step
from bench.load import PLAIN, account_id, call
from bench.meter import POLL_S, START_TIMEOUT_S, MeterFailed, meter, partitions, subscribe
from rating.partitioner import partition_of
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, RATED_CALLS

TITLE = "produced -> readable with read_committed"
LINGER_MS = 2
FETCH_WAIT_MS = 5
PAUSE_S = 0.002
PERCENTILES = (50, 99)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rate: int = size(5_000, "calls produced a second")
    high_rate: int = size(10_000, "and the same once more with so many")
    seconds: int = size(15, "how long calls are produced in a round")
    warmup: int = size(3, "seconds at the beginning of a round that do not count")
    accounts: int = size(5_000, "accounts")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(3, "how often each rate is measured, each time with a new worker")


class Identified(msgspec.Struct):
    """What has to be known of a rated call."""

    call_id: str


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """One worker a round."""
    settings = lab.settings(partitions=sizes.partitions)
    with step(f"{sizes.accounts:,} accounts subscribe"):
        await subscribe(settings, sizes.accounts, PLAIN)
    for number in range(1, sizes.rounds + 1):
        for rate in (sizes.rate, sizes.high_rate):
            with step(f"round {number} of {sizes.rounds}: {rate:,} calls/s for {sizes.seconds} s"):
                async with meter(settings) as running:
                    watched = Watched(settings, replace(sizes, rate=rate))
                    await watched.run(f"round_{number}_{rate}", running.check)
            latencies = sorted(took for _, took in watched.arrived)
            values = {f"p{p} ms": latencies[int(len(latencies) * p / 100)] * 1e3 for p in PERCENTILES}
            yield Run(f"{rate:,} calls/s", {**values, "max ms": latencies[-1] * 1e3})


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


class Load(Protocol):
    """What is to be produced."""

    @property
    def rate(self) -> int:
        """Calls a second."""

    @property
    def seconds(self) -> int:
        """For how long."""

    @property
    def warmup(self) -> int:
        """Seconds at the beginning that do not count."""

    @property
    def accounts(self) -> int:
        """Of how many accounts."""

    @property
    def partitions(self) -> int:
        """In how many partitions."""


class Watched:
    """Calls on their way, and how long those took that arrived.

    Attributes:
        arrived: when a call was due (`time.perf_counter`), and the seconds it took from then until it was readable; of
            every call due after the warm-up.
        producing: set when the worker is up, and calls begin to be produced at their rate.
    """

    def __init__(self, settings: Settings, sizes: Load) -> None:
        """Prepare one round."""
        self._settings, self._sizes = settings, sizes
        self._topic = settings.topic(ACCOUNT_EVENTS)
        self._keys = [account_id(number).encode() for number in range(sizes.accounts)]
        self._homes = [partition_of(key, sizes.partitions) for key in self._keys]
        self._due: dict[str, float] = {}
        self.arrived: list[tuple[float, float]] = []
        self.producing = asyncio.Event()
        self._counted_from = float("inf")

    async def run(self, name: str, check: Callable[[], None]) -> None:
        """Produce and read, until every call has come back.

        Args:
            name: of the round, unique: it is part of the calls' ids.
            check: raises if the worker has ended.
        """
        client = self._settings.kafka_client()
        producer = AIOKafkaProducer(**client, linger_ms=LINGER_MS, acks="all")
        consumer = AIOKafkaConsumer(**client, isolation_level="read_committed", fetch_max_wait_ms=FETCH_WAIT_MS)
        async with producer, consumer:
            wanted = partitions(self._settings, RATED_CALLS)
            consumer.assign(wanted)
            await consumer.seek_to_end(*wanted)
            reading = asyncio.create_task(self._read(consumer))
            try:
                # The worker is up when a first call comes back.
                await self._send(producer, f"{name}_first", 0, time.perf_counter())
                await self._all_back(check)
                await self._produce(producer, name)
                await self._all_back(check)
            finally:
                reading.cancel()

    async def _produce(self, producer: AIOKafkaProducer, name: str) -> None:
        began, rate, number = time.perf_counter(), self._sizes.rate, 0
        self._counted_from = began + self._sizes.warmup
        self.producing.set()
        while (passed := time.perf_counter() - began) < self._sizes.seconds:
            while number < passed * rate:
                await self._send(producer, f"{name}_{number}", number % self._sizes.accounts, began + number / rate)
                number += 1
            await asyncio.sleep(PAUSE_S)

    async def _send(self, producer: AIOKafkaProducer, call_id: str, account: int, due: float) -> None:
        self._due[call_id] = due
        value = call(call_id, account, 60, account)
        await producer.send(self._topic, value, self._keys[account], self._homes[account])

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        decode = msgspec.json.Decoder(Identified).decode
        while True:
            fetched = await consumer.getmany(timeout_ms=FETCH_WAIT_MS)
            now = time.perf_counter()
            for records in fetched.values():
                for record in records:
                    due = self._due.pop(decode(record.value).call_id)
                    if due >= self._counted_from:
                        self.arrived.append((due, now - due))

    async def _all_back(self, check: Callable[[], None]) -> None:
        """Wait until every call has come back."""
        deadline = time.perf_counter() + START_TIMEOUT_S
        while self._due:
            check()
            if time.perf_counter() > deadline:
                raise MeterFailed(f"{len(self._due)} calls were not rated within {START_TIMEOUT_S:g} s")
            await asyncio.sleep(POLL_S)
