"""Freshness: from a call being produced to its row being in ClickHouse; one meter, one sink on the embedded engine.

As `bench.latency`, but the other end is the sink's: it counts the rows that it has written and read back the position
of, and its ``/metrics`` tell how many of each partition. The rows of a partition come in the order of its calls, so
the n-th row is taken for the n-th call of its partition.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.figure import Run, size
from bench.lab import Lab, step
from bench.latency import PERCENTILES, Watched
from bench.limits import free_port
from bench.load import PLAIN
from bench.meter import meter, role, subscribe
from sinks.clickhouse import target_of
from sinks.migrate import migrate
from streams.settings import Settings

TITLE = "produced -> row in ClickHouse"
POLL_S = 0.05
ROWS = re.compile(r'callmeter_sink_rows_total\{partition="(\d+)",table="rated_calls"\} (\S+)')


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rate: int = size(10_000, "calls produced a second")
    seconds: int = size(20, "how long calls are produced in a round")
    warmup: int = size(5, "seconds at the beginning of a round that do not count")
    accounts: int = size(5_000, "accounts")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(3, "how often it is measured, each with a new meter and sink")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """One meter and one sink a round."""
    settings = lab.settings(partitions=sizes.partitions)
    with step(f"{sizes.accounts:,} accounts subscribe"):
        await subscribe(settings, sizes.accounts, PLAIN)
        await asyncio.to_thread(migrate, target_of(settings, write=True))
    for number in range(1, sizes.rounds + 1):
        with step(f"round {number} of {sizes.rounds}: {sizes.rate:,} calls/s for {sizes.seconds} s"):
            port = free_port()
            sinks = settings.model_copy(update={"http_port": port})
            async with meter(settings) as running, role(sinks, "sink") as sink:

                def check(running=running, sink=sink) -> None:  # type: ignore[no-untyped-def]
                    running.check()
                    sink.check()

                watched = Stored(settings, sizes, port)
                await watched.run(f"round_{number}", check)
        latencies = sorted(took for _, took in watched.arrived)
        values = {f"p{p} ms": latencies[int(len(latencies) * p / 100)] * 1e3 for p in PERCENTILES}
        yield Run(f"{sizes.rate:,} calls/s", {**values, "max ms": latencies[-1] * 1e3})


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


class Stored(Watched):
    """Calls on their way to ClickHouse, in order, and how long those took that are there."""

    def __init__(self, settings: Settings, sizes: Sizes, port: int) -> None:
        """Prepare one round.

        Args:
            settings: where to produce.
            sizes: how much.
            port: where the sink tells its metrics.
        """
        super().__init__(settings, sizes)
        self._metrics = f"http://127.0.0.1:{port}/metrics"
        self._on_their_way: list[deque[str]] = [deque() for _ in range(sizes.partitions)]

    async def _send(self, producer: AIOKafkaProducer, call_id: str, account: int, due: float) -> None:
        self._on_their_way[self._homes[account]].append(call_id)
        await super()._send(producer, call_id, account, due)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        known = [0] * len(self._on_their_way)
        async with aiohttp.ClientSession() as session:
            while True:
                stored = await self._stored(session)
                now = time.perf_counter()
                for partition, rows in stored.items():
                    for _ in range(rows - known[partition]):
                        due = self._due.pop(self._on_their_way[partition].popleft())
                        if due >= self._counted_from:
                            self.arrived.append((due, now - due))
                    known[partition] = rows
                await asyncio.sleep(POLL_S)

    async def _stored(self, session: aiohttp.ClientSession) -> dict[int, int]:
        """By partition, rated calls that the sink has stored since it was started."""
        try:
            async with session.get(self._metrics) as answer:
                told = ROWS.findall(await answer.text())
        except aiohttp.ClientConnectionError:
            # It is not up yet.
            return {}
        return {int(partition): int(float(rows)) for partition, rows in told}
