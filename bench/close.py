"""Closing a month: every period is closed, the next one opened, and every request raised and readable.

Each account has one plan with a price, made one call beyond its allowance, and is asked for its usage and for the next
month. What is timed is the command: ``callmeter close --until`` from its start to its end, with one meter and one
billing job. It ends when every cycle is closed and every request is in ``payment-requests``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figure import Run, size
from bench.lab import Lab, step
from bench.load import PLAIN, TICK, Filler, call, subscription
from bench.meter import POLL_S, ROOT, MeterFailed, Role, ends_reader, partitions, role, variables_of
from streams.administration import create_topics
from streams.settings import Settings
from streams.topics import PAYMENT_REQUESTS

TITLE = "a month is closed: one meter, one billing job, manual payment requests"
UNTIL = "2026-12-01T00:30:00Z"
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
            async with role(settings, "meter") as meter, role(settings, "billing") as billing:
                with step(f"{count:,} accounts subscribe, and call once"):
                    await Filler(settings, count).fill(
                        (fact for n in range(count) for fact in ((n, subscription(n, TERMS)), (n, _call(n)))), [TICK]
                    )
                    await _requests(settings, count, meter, billing)
                with step(f"round {number} of {sizes.rounds}: {count:,} subscriptions are closed"):
                    seconds = await _close(settings, count)
            yield Run(f"{count:,} subscriptions", {"s": seconds, "subscriptions/s": count / seconds})


def lines(runs: Sequence[Run]) -> list[str]:
    """How the time grows."""
    few, many = (
        min(run.values["s"] for run in runs if run.what == what) for what in dict.fromkeys(r.what for r in runs)
    )
    return [f"close_growth {many / few:.2f}"]


def _call(number: int) -> bytes:
    return call(f"call_{number:027d}", number, 300, number)


async def _requests(settings: Settings, count: int, *roles: Role) -> None:
    """Wait until so many requests are readable; the marker of a transaction takes an offset too."""
    wanted = partitions(settings, PAYMENT_REQUESTS)
    async with ends_reader(settings) as reader:
        while sum((await reader.end_offsets(wanted)).values()) < count:
            for one in roles:
                one.check()
            await asyncio.sleep(POLL_S)


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
