"""What a call costs as things grow: accounts, partitions, workers, and the size of a transaction.

One thing at a time is changed, against 5,000 accounts, 4 partitions, one worker and transactions as they are by
default. Rates and costs are of the second half of the calls: by then every worker has its partitions. There are as many
calls for each worker, or most of what several do would be on its way already when the second half begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from bench.figure import Run, size
from bench.lab import Cost, Lab, cost_of, step
from bench.load import PLAIN, Filler, calls
from bench.meter import POLL_S, START_TIMEOUT_S, MeterFailed, Role, ends_reader, meter, partitions, subscribe
from streams.settings import Settings
from streams.topics import RATED_CALLS

TITLE = "cost of a call as accounts, partitions, workers and transactions grow"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(400_000, "calls in the log of each point, for each of its workers")
    most_accounts: int = size(1_000_000, "the most accounts")
    points: int = size(100, "most points that are measured, the first ones")
    rounds: int = size(1, "how often each point is measured")


class Point(NamedTuple):
    """One thing that is measured."""

    what: str
    accounts: int = 5_000
    partitions: int = 4
    workers: int = 1
    batch_records: int = 10_000


def points(sizes: Sizes) -> Iterator[Point]:
    """Every point, once."""
    for accounts in (1_000, 10_000, 100_000, 1_000_000):
        if accounts <= sizes.most_accounts:
            yield Point(f"{accounts:,} accounts", accounts=accounts)
    for count in (1, 4, 12, 48):
        yield Point(f"{count} partitions", partitions=count)
    for count in (1, 2, 4):
        yield Point(f"{count} workers, 12 partitions", workers=count, partitions=12)
    for records in (250, 1_000, 4_000, 10_000):
        yield Point(f"transactions of {records:,} records", batch_records=records)


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Every point once a round."""
    for _ in range(sizes.rounds):
        for point in islice(points(sizes), sizes.points):
            settings = lab.settings(partitions=point.partitions, batch_records=point.batch_records)
            count = sizes.calls * point.workers
            with step(f"{point.what}: {point.accounts:,} accounts subscribe, {count:,} calls are written"):
                await subscribe(settings, point.accounts, PLAIN)
                await Filler(settings, point.accounts).fill(calls(count, point.accounts))
            with step(f"{point.what}: {point.workers} meter(s)"):
                yield Run(point.what, await second_half(settings, count, point.workers))


async def second_half(settings: Settings, count: int, workers: int) -> dict[str, float]:
    """Rate of some workers together, and what they cost, while the second half of the calls becomes readable."""
    wanted = partitions(settings, RATED_CALLS)
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(ends_reader(settings))
        running: list[Role] = []
        for number in range(workers):
            folder = settings.folder / f"worker-{number}"
            folder.mkdir()
            own = settings.model_copy(update={"data_folder": folder})
            running.append(await stack.enter_async_context(meter(own)))

        async def readable() -> int:
            for one in running:
                one.check()
            return sum((await reader.end_offsets(wanted)).values())

        def costs() -> Cost:
            found = [cost_of(one.pid) for one in running]
            return Cost(sum(one.cpu_s for one in found), max(one.memory_mib for one in found))

        # Markers of transactions are offsets, too: the end is when nothing comes any more.
        began = time.perf_counter()
        while (first := await readable()) < count // 2:
            if time.perf_counter() - began > START_TIMEOUT_S + count / 1_000:
                raise MeterFailed(f"{first:,} calls are rated after {time.perf_counter() - began:.0f} s")
            await asyncio.sleep(POLL_S)
        start, before = time.perf_counter(), costs()
        last, seconds, after = first, 0.0, before
        while last < count or time.perf_counter() - start - seconds < 1:
            now = await readable()
            if now != last:
                last, seconds, after = now, time.perf_counter() - start, costs()
            await asyncio.sleep(POLL_S)
    done = last - first
    if done <= 0 or not seconds:
        raise MeterFailed("the first transactions held every call; measure more of them: --calls")
    return {
        "calls/s": done / seconds,
        "CPU us/call": (after.cpu_s - before.cpu_s) / done * 1e6,
        "memory MiB, each": after.memory_mib,
    }


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []
