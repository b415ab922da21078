"""What the meter is compared with: consume with plain aiokafka, and produce the same records again. It rates nothing.

``python -m bench.bare batch|send BOOTSTRAP LOG OUT FIRST,FIRST,... CALLS`` reads every partition of LOG from
its FIRST offset, writes to OUT, and prints what it took as one JSON object. Neither transactions nor anything else that
would make it exact.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from bench.lab import cost_of

FETCH_RECORDS = 5_000
FETCH_BYTES = 4 << 20
BATCH_BYTES = 1 << 20
LINGER_MS = 5


async def loop(how: str, bootstrap: str, log: str, out: str, firsts: Sequence[int], count: int) -> dict[str, float]:
    """Calls per second and CPU microseconds a call, from the first records in hand to the last one acknowledged."""
    partitions = {TopicPartition(log, number): first for number, first in enumerate(firsts)}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, max_poll_records=FETCH_RECORDS, max_partition_fetch_bytes=FETCH_BYTES
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=LINGER_MS, max_batch_size=BATCH_BYTES)
    async with consumer, producer:
        consumer.assign(list(partitions))
        for partition, first in partitions.items():
            consumer.seek(partition, first)
        done = 0
        while done < count:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=FETCH_RECORDS)
            if not done:
                began, before = time.perf_counter(), cost_of()
            acknowledged: list[asyncio.Future[object]] = []
            for partition, records in fetched.items():
                done += len(records)
                if how == "send":
                    for record in records:
                        acknowledged.append(await producer.send(out, record.value, record.key, partition.partition))
                else:
                    acknowledged += await send_batches(producer, records, out, partition.partition)
            await asyncio.gather(*acknowledged)
        seconds, after = time.perf_counter() - began, cost_of()
    return {
        "calls/s": done / seconds,
        "CPU us/call": (after.cpu_s - before.cpu_s) / done * 1e6,
        "memory MiB": after.memory_mib,
    }


async def send_batches(
    producer: AIOKafkaProducer, records: Sequence[ConsumerRecord], out: str, partition: int
) -> list[asyncio.Future[object]]:
    """Write records as batches of our own; one future a batch."""
    sent = []
    batch = producer.create_batch()
    for record in records:
        if batch.append(key=record.key, value=record.value, timestamp=None) is None:
            batch.close()
            sent.append(await producer.send_batch(batch, out, partition=partition))
            batch = producer.create_batch()
            batch.append(key=record.key, value=record.value, timestamp=None)
    batch.close()
    sent.append(await producer.send_batch(batch, out, partition=partition))
    return sent


if __name__ == "__main__":
    how, bootstrap, log, out, firsts, count = sys.argv[1:]
    took = uvloop.run(loop(how, bootstrap, log, out, [int(first) for first in firsts.split(",")], int(count)))
    print(json.dumps(took))
