"""Large records count for several: what bounds records bounds the memory of a role and its transactions, too."""

from __future__ import annotations

import asyncio
import re

from faust.types import TP

from rating.facts import MAX_FACT_BYTES
from streams.flight import USUAL_BYTES, Run, weight_of
from streams.records import Record
from streams.topics import DEAD_LETTERS
from streams.worker import PartitionWorker, Workers
from tests.broker import process, produce, read_topic, wait_until
from tests.streams.meters import ask, calls, encoded, rated, subscribed

TOPIC = TP("events", 0)
LARGE = 2_000_000


def record(offset: int, value: bytes | None) -> Record:
    return Record("events", 0, offset, 0, None, value, [])


class Batches(PartitionWorker):
    """Notes how large its batches are; the first one waits for the others to queue up."""

    def __init__(self, tp: TP) -> None:
        super().__init__(tp)
        self.sizes: list[int] = []
        self.go_on = asyncio.Event()
        self._position = 0

    @property
    def position(self) -> int:
        return self._position

    async def open(self) -> None:
        pass

    async def handle(self, records: list[Record]) -> None:
        self.sizes.append(len(records))
        self._position = records[-1].offset + 1
        await self.go_on.wait()

    async def close(self) -> None:
        pass


def test_a_record_counts_for_as_many_as_would_fit_into_it():
    assert weight_of([record(0, b"x" * 408), record(1, b""), record(2, None)]) == 3
    assert weight_of([record(0, b"x" * MAX_FACT_BYTES)]) == MAX_FACT_BYTES // USUAL_BYTES
    assert weight_of([record(0, b"x" * (8 << 20)), record(1, b"")]) == 4096


async def test_batches_and_flight_are_bounded_by_what_records_weigh():
    workers = Workers(Batches, flight_records=20, batch_records=10)
    await workers.assigned({TOPIC})
    (worker,) = workers
    assert isinstance(worker, Batches)
    value = b"x" * (4 * USUAL_BYTES)
    for at in range(8):
        run = Run(TOPIC, [record(at, value)], at, workers.flight.epoch, 4)
        workers.flight.take_off(run.weight)
        await workers.put(run)
    full = asyncio.create_task(workers.flight.room())
    await asyncio.sleep(0)
    assert not full.done()
    worker.go_on.set()
    await asyncio.wait_for(full, 60)
    await wait_until(lambda: sum(worker.sizes) == 8)
    assert max(worker.sizes) == 3
    await workers.close()


async def test_the_largest_facts_and_letters_are_many_small_transactions(make_settings):
    settings = make_settings(partitions=1, batch_records=1_000, flight_records=2_000)
    facts = [encoded(call).ljust(MAX_FACT_BYTES) for call in calls(1, 0, 40)]
    letters = [encoded(call).ljust(LARGE) for call in calls(1, 40, 8)]
    await produce(settings, [*subscribed(1), *facts, *letters])
    with process(settings, "meter") as meter:
        assert len(await rated(settings, 40)) == 40

        async def read() -> list[bytes | None]:
            values = [record.value for record in await read_topic(settings, DEAD_LETTERS)]
            assert len(values) == len(letters)
            return values

        assert await wait_until(read) == letters
        # 10 MiB and 16 MB, of at most 4 MiB fetched at a time and 2 MiB in a batch, give or take one fetch.
        transactions = re.search(r"callmeter_batch_records_count (\S+)", ask(meter, "/metrics")[1])
        assert transactions is not None
        assert float(transactions[1]) >= 6
        assert meter.stop() == 0
