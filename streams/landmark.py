"""Knowing a log again: the digest of the record before a position, kept together with the position.

An offset says nothing of the log it is of. A topic that was deleted and made anew, or a broker that lost the end of its
log, has other records there; once it has grown beyond the position nobody could tell, and reading on would pass over
everything before it in silence.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from hashlib import blake2b

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.errors import PositionOutOfLog
from streams.settings import Settings

# On a position record: the landmark of the record before it.
LANDMARK_HEADER = "callmeter-after"
_NUMBERS = struct.Struct(">qqi")


def landmark(record: ConsumerRecord) -> bytes:
    """16 bytes that no other record of another log has: of its offset, time stamp, key and value."""
    key, value = record.key or b"", record.value or b""
    return blake2b(_NUMBERS.pack(record.offset, record.timestamp, len(key)) + key + value, digest_size=16).digest()


async def check_landmarks(settings: Settings, marks: Mapping[TP, tuple[int, bytes]]) -> None:
    """See that the records before some positions are the ones they were.

    Where a log does not reach there at all, nothing is said: whoever reads on checks its bounds.

    Args:
        settings: checked settings.
        marks: by partition, of topics that are never compacted or deleted by age: a position, and the landmark of the
            record before it.

    Raises:
        PositionOutOfLog: it is another record, or a marker.
    """
    if not marks:
        return
    tps = {tp: TopicPartition(*tp) for tp in marks}
    async with AIOKafkaConsumer(
        **settings.kafka_client(), auto_offset_reset="none", max_poll_records=1, fetch_max_wait_ms=20
    ) as consumer:
        consumer.assign(list(tps.values()))
        starts = await consumer.beginning_offsets(list(tps.values()))
        ends = await consumer.end_offsets(list(tps.values()))
        for tp, (position, mark) in marks.items():
            if starts[tps[tp]] < position <= ends[tps[tp]]:
                record = await _record_at(consumer, tps[tp], position - 1)
                if record is None or landmark(record) != mark:
                    raise PositionOutOfLog(
                        f"{tp.topic}-{tp.partition}: reading should go on at offset {position}, but the record before "
                        "it is not the one that was read: the topic was made anew, or its end was lost"
                    )


async def _record_at(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> ConsumerRecord | None:
    """The record at an offset that the log reaches; None for a marker of a transaction."""
    consumer.pause(*consumer.assignment())
    consumer.seek(tp, offset)
    consumer.resume(tp)
    # The position passes markers without giving any record.
    while await consumer.position(tp) <= offset:
        for record in (await consumer.getmany(tp, timeout_ms=50)).get(tp, ()):
            return record if record.offset == offset else None
    return None
