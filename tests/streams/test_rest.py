"""Workers that rest after a batch: each partition by itself, and not where waiting would be for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from faust.types import TP

from streams.flight import Run
from streams.records import Record
from streams.worker import PartitionWorker, Workers
from tests.broker import wait_until

ONE, TWO = TP("events", 0), TP("events", 1)
# Longer than any test takes.
FOR_EVER_S = 3_600.0


class Resting(PartitionWorker):
    """Notes the offsets of its batches; a batch is in hand until it is let go on."""

    rest_s = FOR_EVER_S

    def __init__(self, tp: TP) -> None:
        super().__init__(tp)
        self.batches: list[list[int]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun: list[float] = []
        self.ended: list[float] = []

    @property
    def position(self) -> int:
        return self.batches[-1][-1] + 1 if self.batches else 0

    async def open(self) -> None:
        pass

    async def handle(self, records: list[Record]) -> None:
        clock = asyncio.get_running_loop().time
        self.begun.append(clock())
        await self.go_on.wait()
        self.batches.append([record.offset for record in records])
        self.ended.append(clock())

    async def close(self) -> None:
        pass


class Short(Resting):
    rest_s = 0.5


async def opened(
    make: Callable[[TP], Resting], flight_records: int = 100, batch_records: int = 10
) -> tuple[Workers, dict[TP, Resting]]:
    workers = Workers(make, flight_records, batch_records)
    await workers.assigned({ONE, TWO})
    return workers, {worker.tp: worker for worker in workers if isinstance(worker, Resting)}


async def fetched(workers: Workers, tp: TP, offsets: range) -> None:
    records = [Record(tp.topic, tp.partition, offset, 0, None, b"", []) for offset in offsets]
    workers.flight.take_off(len(records))
    await workers.put(Run(tp, records, offsets.start, workers.flight.epoch, len(records)))


async def test_the_first_records_are_done_at_once_and_the_next_ones_after_a_rest() -> None:
    workers, by_partition = await opened(Short)
    one = by_partition[ONE]
    await fetched(workers, ONE, range(2))
    await wait_until(lambda: one.batches == [[0, 1]])
    for offset in (2, 3, 4):
        await fetched(workers, ONE, range(offset, offset + 1))
    await wait_until(lambda: one.batches == [[0, 1], [2, 3, 4]])
    assert one.begun[1] - one.ended[0] >= Short.rest_s
    await workers.close()


async def test_a_partition_that_rests_or_works_keeps_no_other_from_its_turn() -> None:
    workers, by_partition = await opened(Resting)
    by_partition[ONE].go_on.clear()
    await fetched(workers, ONE, range(1))
    await fetched(workers, TWO, range(3))
    await wait_until(lambda: by_partition[TWO].batches == [[0, 1, 2]])
    assert by_partition[ONE].batches == []
    by_partition[ONE].go_on.set()
    await workers.close()


async def test_enough_for_a_batch_ends_the_rest() -> None:
    workers, by_partition = await opened(Resting, batch_records=10)
    one = by_partition[ONE]
    await fetched(workers, ONE, range(1))
    await wait_until(lambda: len(one.batches) == 1)
    await fetched(workers, ONE, range(1, 6))
    await fetched(workers, ONE, range(6, 11))
    await wait_until(lambda: len(one.batches) == 2)
    assert one.batches[1] == list(range(1, 11))
    # Too few once more: it rests.
    await fetched(workers, ONE, range(11, 12))
    await workers.close()
    assert len(one.batches) == 2


async def test_a_full_flight_ends_the_rest_of_all_who_have_something() -> None:
    workers, by_partition = await opened(Resting, flight_records=10, batch_records=10)
    for tp in (ONE, TWO):
        await fetched(workers, tp, range(1))
    await wait_until(lambda: all(len(worker.batches) == 1 for worker in by_partition.values()))
    await fetched(workers, ONE, range(1, 6))
    await fetched(workers, TWO, range(1, 6))
    await wait_until(lambda: all(len(worker.batches) == 2 for worker in by_partition.values()))
    await asyncio.wait_for(workers.flight.room(), 60)
    # Who had nothing then rests on.
    await fetched(workers, ONE, range(6, 7))
    await workers.close()
    assert len(by_partition[ONE].batches) == 2


async def test_a_partition_taken_away_while_it_rests_is_given_up_at_once_and_read_again() -> None:
    workers, by_partition = await opened(Resting)
    one = by_partition[ONE]
    await fetched(workers, ONE, range(1))
    await wait_until(lambda: len(one.batches) == 1)
    await fetched(workers, ONE, range(1, 4))
    await asyncio.wait_for(workers.lost({ONE}), 60)
    assert one.batches == [[0]]
    assert await workers.assigned({ONE}) == {ONE: 1}
    await fetched(workers, ONE, range(1, 4))
    await wait_until(lambda: one.batches == [[0], [1, 2, 3]])
    await workers.close()
