"""The hot path: the whole meter against loops that only copy, over the same calls, in turns.

- *bare batch*: plain aiokafka, consume and ``send_batch``. *Bare send*: consume and ``send``. See `bench.bare`.
- *meter*: one ``callmeter meter``, everything in: strict decoding, the index of duplicates, rating, the ledger, one
  transaction per batch, exactly once.

Every contender is a process of its own on the same partitions of the same log. A meter starts each round with the
accounts in its ledger and no call rated. What is timed begins with the first calls that are in hand (bare) or readable
with ``read_committed`` (meter), and ends with the last; the calls that were readable at the beginning do not count. So
starting Python, joining the group and restoring the ledger are in no figure.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import NewTopic

from bench.figure import Run, size
from bench.lab import Lab, cost_of, step
from bench.load import PLAIN, Filler, calls
from bench.meter import (
    POLL_S,
    ROOT,
    START_TIMEOUT_S,
    MeterFailed,
    ends_reader,
    ledger_of,
    meter,
    partitions,
    start_afresh,
    subscribe,
)
from streams.administration import administration
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, RATED_CALLS

TITLE = "hot path, one worker, broker on the same machine"
BARE = {"batch": "bare consume + send_batch", "send": "bare consume + send"}
METER = "meter, exactly once"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(300_000, "calls in the log")
    accounts: int = size(5_000, "accounts")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(3, "how often each contender runs")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Every contender once a round."""
    settings = lab.settings(partitions=sizes.partitions)
    with step(f"{sizes.accounts:,} accounts subscribe"):
        firsts = await subscribe(settings, sizes.accounts, PLAIN)
        ledger = await ledger_of(settings)
    with step(f"{sizes.calls:,} calls are written"):
        await Filler(settings, sizes.accounts).fill(calls(sizes.calls, sizes.accounts))
    for number in range(1, sizes.rounds + 1):
        said = f"round {number} of {sizes.rounds}"
        copied = [run async for run in bare_loops(settings, said, firsts, sizes.calls)]
        for run in copied:
            yield run
        with step(f"{said}: {METER}"):
            await start_afresh(settings, ledger)
            values = await metered(settings, sizes.calls)
        yield Run(METER, {**values, **against(values, copied)})


def lines(runs: Sequence[Run]) -> list[str]:
    """The ratio to the bare loop with ``send_batch``: median of the rounds."""
    ratios = [run.values["against batch"] for run in runs if run.what == METER]
    return [f"hot_path_ratio_batch {statistics.median(ratios):.3f}"]


async def bare_loops(settings: Settings, said: str, firsts: Sequence[int], count: int) -> AsyncIterator[Run]:
    """Each of the bare loops once; ``said`` is shown before each."""
    for how, name in BARE.items():
        with step(f"{said}: {name}"):
            yield Run(name, await bare(settings, how, firsts, count))


def against(values: Mapping[str, float], copied: Sequence[Run]) -> dict[str, float]:
    """The rate of a contender as ratios to those of the bare loops."""
    rates = {run.what: run.values["calls/s"] for run in copied}
    return {f"against {how}": values["calls/s"] / rates[name] for how, name in BARE.items()}


async def bare(settings: Settings, how: str, firsts: Sequence[int], count: int) -> dict[str, float]:
    """Run a bare loop in a process of its own, on an empty topic."""
    log, out = settings.topic(ACCOUNT_EVENTS), settings.topic("plain-out")
    async with administration(settings) as admin:
        await admin.create_topics([NewTopic(out, settings.partitions, settings.replication)])
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "bench.bare", how, settings.bootstrap, log, out),
                *(",".join(map(str, firsts)), str(count)),
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            printed, _ = await process.communicate()
        finally:
            await admin.delete_topics([out])
            while out in await admin.list_topics():
                await asyncio.sleep(POLL_S)
    values: dict[str, float] = json.loads(printed)
    return values


async def metered(settings: Settings, count: int) -> dict[str, float]:
    """Run a meter over the calls of the log, and watch from outside how many are readable."""
    wanted = partitions(settings, RATED_CALLS)
    async with ends_reader(settings) as reader, meter(settings) as running:

        async def readable() -> int:
            """Calls that can be read; the marker of each transaction takes an offset too, at most one a partition."""
            return sum((await reader.end_offsets(wanted)).values())

        started = time.perf_counter()
        while not (first := await readable()):
            running.check()
            if time.perf_counter() - started > START_TIMEOUT_S:
                raise MeterFailed("the meter rates nothing")
            await asyncio.sleep(POLL_S)
        began, before = time.perf_counter(), cost_of(running.pid)
        last, seconds, after = first, 0.0, before
        while last < count or time.perf_counter() - began - seconds < 1:
            now = await readable()
            if now != last:
                last, seconds, after = now, time.perf_counter() - began, cost_of(running.pid)
            running.check()
            await asyncio.sleep(POLL_S)
    done = count - first
    if done <= 0 or not seconds:
        raise MeterFailed("the first transactions held every call; measure more of them: --calls")
    return {
        "calls/s": done / seconds,
        "CPU us/call": (after.cpu_s - before.cpu_s) / done * 1e6,
        "memory MiB": after.memory_mib,
    }
