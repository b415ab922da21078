"""Closing a month: every period is closed, the next one opened, and every request raised and readable.

Each account has one plan with a price, made one call beyond its allowance, and is asked for its usage and for the next
month. What is timed is the command: ``callmeter close --until`` from its start to its end, with one meter and one
billing job. It ends when every cycle is closed and every request is in ``payment-requests``. Numbers come a moment
later; until they are there is told beside it, and a request without one fails the figure.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer

from bench.figure import Run, size
from bench.lab import Lab, cost_of, step
from bench.load import PLAIN, TICK, Filler, call, subscription
from bench.meter import ROOT, MeterFailed, Role, partitions, role, variables_of
from streams.administration import create_topics
from streams.settings import Settings
from streams.topics import PAYMENT_REQUESTS

TITLE = "a month is closed: one meter, one billing job, manual payment requests"
UNTIL = "2026-12-01T00:30:00Z"
ROLES = ("meter", "billing")
NUMBER = b'"number":"'
TERMS: dict[str, Any] = {**PLAIN, "price_micros": 49_000_000, "included_minutes": 1}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    few: int = size(10_000, "subscriptions of the smaller close")
    many: int = size(100_000, "subscriptions of the larger close")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(1, "how often each is closed")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Few, then many."""
    for number in range(1, sizes.rounds + 1):
        for count in (sizes.few, sizes.many):
            settings = lab.settings(partitions=sizes.partitions)
            await create_topics(settings)
            async with AsyncExitStack() as stack:
                meter, billing = [await stack.enter_async_context(role(settings, name)) for name in ROLES]
                with step(f"{count:,} accounts subscribe, and call once"):
                    await Filler(settings, count).fill(
                        (fact for n in range(count) for fact in ((n, subscription(n, TERMS)), (n, _call(n)))), [TICK]
                    )
                    requests = await stack.enter_async_context(_numbered(settings, meter, billing))
                    await requests.reach(count)
                with step(f"round {number} of {sizes.rounds}: {count:,} subscriptions are closed"):
                    before = [cost_of(one.pid) for one in (meter, billing)]
                    began = time.perf_counter()
                    seconds = await _close(settings, count)
                    await requests.reach(3 * count)
                    numbered = time.perf_counter() - began
                    after = [cost_of(one.pid) for one in (meter, billing)]
            meter_us, billing_us = (
                (last.cpu_s - first.cpu_s) / (2 * count) * 1e6 for first, last in zip(before, after, strict=True)
            )
            yield Run(
                f"{count:,} subscriptions",
                {
                    "s": seconds,
                    "subscriptions/s": count / seconds,
                    "s to numbers": numbered,
                    "meter CPU us/request": meter_us,
                    "billing CPU us/request": billing_us,
                },
            )


def lines(runs: Sequence[Run]) -> list[str]:
    """How the time grows."""
    few, many = (
        min(run.values["s"] for run in runs if run.what == what) for what in dict.fromkeys(r.what for r in runs)
    )
    return [f"close_growth {many / few:.2f}"]


def _call(number: int) -> bytes:
    return call(f"call_{number:027d}", number, 300, number)


class _Numbered:
    """Requests that have their numbers, as a reader sees them."""

    def __init__(self, consumer: AIOKafkaConsumer, roles: Sequence[Role]) -> None:
        self._consumer, self._roles = consumer, roles
        self._known: set[bytes] = set()

    async def reach(self, count: int) -> None:
        """Wait until there are so many of them."""
        while len(self._known) < count:
            for one in self._roles:
                one.check()
            for records in (await self._consumer.getmany(timeout_ms=100)).values():
                self._known.update(one.key for one in records if NUMBER in one.value)
        if len(self._known) > count:
            raise MeterFailed(f"{len(self._known):,} requests are numbered instead of {count:,}")


@asynccontextmanager
async def _numbered(settings: Settings, *roles: Role) -> AsyncIterator[_Numbered]:
    async with AIOKafkaConsumer(
        **settings.kafka_client(), isolation_level="read_committed", max_poll_records=5_000
    ) as consumer:
        wanted = partitions(settings, PAYMENT_REQUESTS)
        consumer.assign(wanted)
        await consumer.seek_to_beginning(*wanted)
        yield _Numbered(consumer, roles)


async def _close(settings: Settings, count: int) -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "close", "--until", UNTIL, "--json", "--timeout", "600"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=variables_of(settings),
    )
    said, errors = await process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise MeterFailed(f"callmeter close ended with {process.returncode}: {errors.decode()[-2000:]}")
    agencies = json.loads(said.decode())["agencies"].values()
    closed, asked = (sum(totals[name] for totals in agencies) for name in ("periods_closed", "requests"))
    if (closed, asked) != (count, 2 * count):
        raise MeterFailed(f"{closed:,} periods were closed and {asked:,} requests raised, for {count:,} subscriptions")
    return seconds
