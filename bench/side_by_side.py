"""Side by side: the same calls and the same fold on what one would otherwise use.

- *bare*: plain aiokafka that only copies (`bench.bare`), with ``send_batch`` and with ``send``.
- *meter*: one ``callmeter meter``, everything in: the index of duplicates, dead letters, exactly once.
- *Kafka Streams*: Java, ``exactly_once_v2``, two threads, tuned, in memory and on RocksDB; its source is in
  `bench/peers/kafka_streams`. It does the arithmetic of the plain plan and writes the same rated calls; it knows no
  duplicates, no dead letters, no periods.
- *Faust agent*: an agent with a table as Faust's documentation shows it (`bench.peers.faust_agent`), at least once.

Everybody reads the whole log of one broker, in turns. What is timed is the last two thirds of the calls, so that the
JVM is warm; whoever is slow is timed for some seconds only. Done is what was committed: readable rated calls, or for
Kafka Streams the group's offsets, which its transactions carry. CPU and memory are the process's own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import NewTopic

from bench.figure import Run, size
from bench.hot_path import METER, against, bare_loops
from bench.lab import Lab, cost_of, step
from bench.load import PLAIN, Filler, calls
from bench.meter import (
    POLL_S,
    ROOT,
    START_TIMEOUT_S,
    STOP_TIMEOUT_S,
    MeterFailed,
    ends_reader,
    ledger_of,
    meter,
    partitions,
    start_afresh,
    subscribe,
)
from bench.peers.build import kafka_streams_classpath
from deploy.kafka.jars import java_command
from streams.administration import administration
from streams.restore import read_to_end
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, RATED_CALLS

TITLE = "side by side: the same calls, the same fold, one broker"
FAUST = "Faust agent with a table, at least once"
STREAMS = {"memory": "Kafka Streams, exactly once, in memory", "rocksdb": "Kafka Streams, exactly once, RocksDB"}
OUT = "peer-out"
THREADS = 2
# A JVM that takes what it likes would be measured by the machine's memory.
HEAP = "-Xmx1g"

SAMPLE = 5_000

Done = Callable[[], Awaitable[int]]


class Priced(msgspec.Struct, frozen=True):
    """What all contenders must agree on."""

    call_id: str
    billed_s: int
    allowance_s: int
    overage_s: int
    amount_micros: int
    allowance_left_s: int


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(3_000_000, "calls in the log")
    accounts: int = size(5_000, "accounts")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(1, "how often each contender runs")
    seconds: int = size(60, "longest time that one is timed")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Every contender once a round."""
    with step("the Kafka Streams peer is built"):
        classpath = await asyncio.to_thread(kafka_streams_classpath)
    settings = lab.settings(partitions=sizes.partitions)
    rated = partitions(settings, RATED_CALLS)
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
            async with ends_reader(settings) as reader, meter(settings) as running:
                values = await timed(lambda: records(reader, rated), running.check, running.pid, sizes)
            ours = await sample(settings, RATED_CALLS)
        yield Run(METER, {**values, **against(values, copied)})
        for store, name in STREAMS.items():
            with step(f"{said}: {name}"):
                yield Run(name, await streams(lab, settings, classpath, store, firsts, sizes, ours))
        with step(f"{said}: {FAUST}"):
            yield Run(FAUST, await faust_agent(lab, settings, sizes, ours))


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


async def streams(
    lab: Lab,
    settings: Settings,
    classpath: str,
    store: str,
    firsts: Sequence[int],
    sizes: Sizes,
    ours: Sequence[Priced],
) -> dict[str, float]:
    """Run the Java peer, and watch its group's offsets."""
    application = f"{settings.topic_prefix}{store}-{time.monotonic_ns()}"
    log = settings.topic(ACCOUNT_EVENTS)
    begins = {TopicPartition(log, number): first for number, first in enumerate(firsts)}
    folder = lab.folder / application
    words = [java_command(), HEAP, "-cp", classpath, "callmeter.Meter", settings.bootstrap, log]
    words += [settings.topic(OUT), application, str(folder), store, str(THREADS)]
    async with out_topic(settings, application), peer(words, folder) as (pid, check), administration(settings) as admin:

        async def committed() -> int:
            """Calls done; the subscriptions before them are not counted."""
            offsets = await admin.list_consumer_group_offsets(application, partitions=list(begins))
            return sum(max(0, offsets[tp].offset - begin) for tp, begin in begins.items() if tp in offsets)

        values = await timed(committed, check, pid, sizes)
        agree(application, await sample(settings, OUT), ours)
        return values


async def faust_agent(lab: Lab, settings: Settings, sizes: Sizes, ours: Sequence[Priced]) -> dict[str, float]:
    """Run the Faust peer, and watch what it wrote."""
    application = f"{settings.topic_prefix}faust-{time.monotonic_ns()}"
    folder = lab.folder / application
    words = [sys.executable, "-m", "bench.peers.faust_agent", settings.bootstrap, settings.topic(ACCOUNT_EVENTS)]
    words += [settings.topic(OUT), application, str(folder), str(sizes.partitions)]
    async with (
        out_topic(settings, application),
        peer(words, folder) as (pid, check),
        ends_reader(settings) as reader,
    ):
        wanted = partitions(settings, OUT)
        values = await timed(lambda: records(reader, wanted), check, pid, sizes, warm=1)
        agree(application, await sample(settings, OUT), ours)
        return values


async def records(reader: AIOKafkaConsumer, wanted: Sequence[TopicPartition]) -> int:
    """Records that can be read; the marker of each transaction takes an offset too."""
    return sum((await reader.end_offsets(wanted)).values())


async def sample(settings: Settings, topic: str) -> list[Priced]:
    """The first rated calls of a partition, as they were written."""
    decode = msgspec.json.Decoder(Priced).decode
    found: list[Priced] = []
    async for records in read_to_end(settings, settings.topic(topic), 0):
        found += [decode(record.value or b"") for record in records[: SAMPLE - len(found)]]
        if len(found) == SAMPLE:
            break
    return found


def agree(who: str, theirs: Sequence[Priced], ours: Sequence[Priced]) -> None:
    """See that a peer did the same arithmetic, for else its time says nothing.

    Raises:
        MeterFailed: it did not.
    """
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            raise MeterFailed(f"{who} rated {one}, the meter {other}")
    if not theirs:
        raise MeterFailed(f"{who} rated nothing")


@asynccontextmanager
async def out_topic(settings: Settings, application: str) -> AsyncIterator[None]:
    """An empty topic to write to; it goes at the end, and so does what the application made of its own."""
    out = settings.topic(OUT)
    async with administration(settings) as admin:
        await admin.create_topics([NewTopic(out, settings.partitions, settings.replication)])
        try:
            yield
        finally:
            names = await admin.list_topics()
            await admin.delete_topics([name for name in names if name == out or name.startswith(application)])
            while out in await admin.list_topics():
                await asyncio.sleep(POLL_S)


@asynccontextmanager
async def peer(words: Sequence[str], folder: Path) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """A process that runs; its id, and what raises once it has ended."""
    folder.mkdir(parents=True)
    log = folder / "peer.log"
    with log.open("wb") as said:
        process = subprocess.Popen(  # noqa: ASYNC220  quick
            list(words), stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ}
        )

    def check() -> None:
        if process.poll() is not None:
            raise MeterFailed(f"{words[0]} ended:\n{log.read_text()[-4000:]}")

    try:
        yield process.pid, check
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def timed(
    done: Done, check: Callable[[], None], pid: int, sizes: Sizes, warm: int | None = None
) -> dict[str, float]:
    """Watch calls being done, from when it is warm to the last, or for as long as the sizes say.

    Args:
        done: how many calls are.
        check: raises if the process has ended.
        pid: of the process.
        sizes: how many calls there are.
        warm: timing begins with so many done; default: a third of them.
    """
    begins_with = sizes.calls // 3 if warm is None else warm
    started = time.perf_counter()
    while (first := await done()) < begins_with:
        check()
        if not first and time.perf_counter() - started > START_TIMEOUT_S:
            raise MeterFailed("nothing is rated")
        await asyncio.sleep(POLL_S)
    began, before = time.perf_counter(), cost_of(pid)
    last, seconds, after = first, 0.0, before
    while last < sizes.calls and time.perf_counter() - began < sizes.seconds:
        now = await done()
        if now != last:
            last, seconds, after = now, time.perf_counter() - began, cost_of(pid)
        check()
        await asyncio.sleep(POLL_S)
    if last == first:
        raise MeterFailed("all calls were done at once; measure more of them: --calls")
    return {
        "calls/s": (last - first) / seconds,
        "CPU us/call": (after.cpu_s - before.cpu_s) / (last - first) * 1e6,
        "memory MiB": after.memory_mib,
    }
