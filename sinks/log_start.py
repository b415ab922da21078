"""Whether a log still has everything that is not stored yet.

A log loses its oldest records by age. If its start has moved beyond our position, rows are missing for good and the
sink must not go on in silence. But a position is that of the last row, and what follows a row is often only the marker
that ended its transaction: in a partition that was quiet for long, the start moves over markers alone. So once an hour
the sink looks behind its position, and notes in ``sink_progress`` up to where there is nothing but markers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from sinks.clickhouse import Store
from sinks.tables import Table
from streams.errors import PositionOutOfLog
from streams.settings import Settings

log = structlog.get_logger("callmeter")

FETCH_MS = 100
EMPTY_FETCHES = 20


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        **settings.kafka_client(), isolation_level="read_committed", auto_offset_reset="none", max_poll_records=1
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def log_starts(settings: Settings, partitions: Iterable[TP]) -> dict[TP, int]:
    """Offset of the first record that each partition still has."""
    wanted = [TopicPartition(*tp) for tp in partitions]
    if not wanted:
        return {}
    async with _reader(settings) as consumer:
        return {TP(*tp): start for tp, start in (await consumer.beginning_offsets(wanted)).items()}


async def bare_ends(settings: Settings, positions: Mapping[TP, int]) -> dict[TP, int]:
    """The end of each partition that has nothing but transaction markers between a position and its end.

    Args:
        settings: checked settings.
        positions: by partition, the offset of the next record to store.
    """
    found: dict[TP, int] = {}
    async with _reader(settings) as consumer:
        keys = {TopicPartition(*tp): at for tp, at in positions.items()}
        ends = await consumer.end_offsets(list(keys))
        for key, at in keys.items():
            if at >= ends[key]:
                continue
            consumer.assign([key])
            consumer.seek(key, at)
            for _ in range(EMPTY_FETCHES):
                if await consumer.getmany(key, timeout_ms=FETCH_MS):
                    break
                if await consumer.position(key) >= ends[key]:
                    found[TP(*key)] = ends[key]
                    break
    return found


def note_progress(store: Store, topic: str, ends: Mapping[int, int]) -> None:
    """Note in ``sink_progress`` that everything of a topic below these offsets is stored. Blocks."""
    listed = ", ".join(f"('{topic}', {partition}, {end})" for partition, end in ends.items())
    store.command(f"INSERT INTO sink_progress (kafka_topic, kafka_partition, position) VALUES {listed}")


def progress(store: Store, topic: str, partition: int) -> int:
    """Up to where everything is known to be stored, as noted; 0 if nothing is. Blocks."""
    noted: int = store.value(
        "SELECT max(position) FROM sink_progress"
        " WHERE kafka_topic = {topic:String} AND kafka_partition = {partition:Int32}",
        {"topic": topic, "partition": partition},
    )
    return noted


def go_on(tp: TP, table: Table, position: int, start: int, noted: int, accept_lost: bool) -> int:
    """Where to go on in a log that starts beyond our position.

    Args:
        tp: the partition.
        table: where its rows are.
        position: the offset after its last row.
        start: the log's start, larger than that.
        noted: as of `progress`.
        accept_lost: go on even if rows are missing for good.

    Raises:
        PositionOutOfLog: records were deleted before they were stored.
    """
    if table.compacted or noted >= start:
        return start
    stored = f"rows up to offset {position - 1}" if position else "no rows"
    lost = (
        f"{tp.topic}-{tp.partition} starts at offset {start} now, but table {table.name} has {stored} of it: "
        f"records {position} to {start - 1} were deleted before they were stored"
    )
    if not accept_lost:
        raise PositionOutOfLog(f"{lost}. To go on without them: callmeter sink --accept-lost")
    log.warning("records are lost, going on as told", detail=lost)
    return start
