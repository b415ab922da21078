"""The sink's way into the embedded engine: rated calls as they come from Kafka, decoded, turned into columns, appended.

The very code of ``callmeter sink`` for one partition: `sinks.tables` makes the columns, `sinks.exactly_once` appends
them under its guard. The engine merges in the background and its projections are kept, as in production. Fetching from
Kafka is not in it. The first round warms up and does not count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from bench.figure import Run, size
from bench.lab import Lab, cost_of, step
from bench.load import PLAIN, TICK, calls, subscription
from rating.fold import Fold
from rating.outputs import RATED_CALLS, DeadLetter
from rating.seen import SeenInMemory
from sinks.clickhouse import Store, Target
from sinks.exactly_once import Appender
from sinks.migrate import migrate
from sinks.tables import TABLES
from streams.process import collect_seldom

TITLE = "rated calls into the embedded ClickHouse engine, one partition"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rows: int = size(100_000, "rows of one insert")
    accounts: int = size(5_000, "accounts")
    rounds: int = size(5, "inserts that are measured")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """One insert a round, into one table that grows."""
    table = next(one for one in TABLES if one.topic == RATED_CALLS)
    target = Target("chdb", folder=str(lab.folder / "clickhouse"))
    with step("the engine is made ready"):
        await asyncio.to_thread(migrate, target)
        appender = Appender(Store(target), table.name)
    with step(f"{sizes.rows:,} calls are rated"):
        records = rated_calls(sizes)
    expected = None
    # As the sink does.
    collect_seldom()
    for number in range(sizes.rounds + 1):
        for record in records:
            record.offset += len(records) if number else 0
        with step(f"insert {number} of {sizes.rounds}"):
            began, before = time.perf_counter(), cost_of()
            columns = (await asyncio.to_thread(table.chunk, records)).columns
            made = time.perf_counter()
            expected = await asyncio.to_thread(appender.append, 0, columns, expected)
            seconds, after = time.perf_counter() - began, cost_of()
        assert expected == records[-1].offset
        if number:
            yield Run(
                "decode, columns, append",
                {
                    "rows/s": sizes.rows / seconds,
                    "CPU us/row": (after.cpu_s - before.cpu_s) / sizes.rows * 1e6,
                    "columns s": made - began,
                    "append s": began + seconds - made,
                },
            )
    await asyncio.to_thread(appender.close)


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


def rated_calls(sizes: Sizes) -> list[ConsumerRecord]:
    """Records of ``rated-calls``, as the sink reads them."""
    fold = Fold(0, None, SeenInMemory())
    facts = [subscription(number, PLAIN) for number in range(sizes.accounts)]
    for offset, value in enumerate([*facts, TICK, *(value for _, value in calls(sizes.rows, sizes.accounts))]):
        fold.fold(value, offset)
    return [
        ConsumerRecord(RATED_CALLS, 0, offset, 0, 0, key, value, None, len(key or b""), len(value), ())
        for offset, (key, value) in enumerate(
            (key, value)
            for topic, key, value in fold.outputs
            if topic == RATED_CALLS and not isinstance(value, DeadLetter)
        )
    ]
