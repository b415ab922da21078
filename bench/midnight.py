"""Midnight: one tick closes every subscription while calls go on. How long calls take meanwhile, and nobody is fenced.

As `bench.latency`; in the middle of each round the tick comes that closes the period of every account. Calls are timed
from then on, until all of them and all closed periods are readable; those of the quiet seconds before are a line of
their own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer

from bench.figure import Run, size
from bench.lab import Lab, step
from bench.latency import PERCENTILES, Watched
from bench.load import PLAIN
from bench.meter import POLL_S, MeterFailed, ends_reader, meter, partitions, subscribe
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS

TITLE = "one tick closes every subscription while calls flow: produced -> readable"
MIDNIGHT = b'{"type":"tick","at":"2026-12-01T00:00:00Z"}'
# Opened and closed, of each account.
EVENTS_AT_MIDNIGHT = 2


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rate: int = size(5_000, "calls produced a second")
    seconds: int = size(20, "how long calls are produced; the tick comes in the middle")
    warmup: int = size(3, "seconds at the beginning that do not count")
    accounts: int = size(100_000, "accounts, each with a subscription that ends then")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(1, "how often it is measured, each with new accounts")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """One midnight a round."""
    for number in range(1, sizes.rounds + 1):
        settings = lab.settings(partitions=sizes.partitions)
        with step(f"{sizes.accounts:,} accounts subscribe"):
            await subscribe(settings, sizes.accounts, PLAIN)
        with step(f"round {number} of {sizes.rounds}: {sizes.rate:,} calls/s for {sizes.seconds} s, and midnight"):
            async with meter(settings) as running:
                watched = Watched(settings, sizes)
                strike = asyncio.create_task(_strike(settings, sizes, watched.producing))
                await watched.run(f"midnight_{number}", running.check)
                struck, closed = await strike
                # One that was fenced has ended.
                running.check()
        for what, taken in (
            ("before midnight", [took for due, took in watched.arrived if due < struck]),
            ("from midnight on", [took for due, took in watched.arrived if due >= struck]),
        ):
            latencies = sorted(taken)
            values = {f"p{p} ms": latencies[int(len(latencies) * p / 100)] * 1e3 for p in PERCENTILES}
            values["max ms"] = latencies[-1] * 1e3
            if what == "from midnight on":
                values["all closed after s"] = closed - struck
            yield Run(what, values)


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


async def _strike(settings: Settings, sizes: Sizes, producing: asyncio.Event) -> tuple[float, float]:
    """Send the tick when half of the calls are on their way.

    Returns:
        when it was sent, and when all that comes of it was readable.
    """
    wanted = partitions(settings, BILLING_EVENTS)
    async with ends_reader(settings) as reader, AIOKafkaProducer(**settings.kafka_client(), acks="all") as producer:

        async def events() -> int:
            return sum((await reader.end_offsets(wanted)).values())

        await producing.wait()
        await asyncio.sleep(sizes.seconds / 2)
        before, struck = await events(), time.perf_counter()
        for partition in range(settings.partitions):
            await producer.send_and_wait(settings.topic(ACCOUNT_EVENTS), MIDNIGHT, partition=partition)
        while await events() - before < EVENTS_AT_MIDNIGHT * sizes.accounts:
            if time.perf_counter() - struck > 10 * sizes.seconds:
                raise MeterFailed("not every period was closed")
            await asyncio.sleep(POLL_S)
        return struck, time.perf_counter()
