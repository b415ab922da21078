"""One task a partition: what queued up since the last batch was begun becomes the next batch.

A role (meter, sink, billing job) says what a batch is by a subclass of `PartitionWorker`; `Workers` opens and closes
them as partitions come and go.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from typing import NamedTuple, final

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from streams.flight import Flight, Run
from streams.process import fail

# A batch that is in hand when its partition is taken away has this long to be finished.
SETTLE_S = 20.0


class LostRun(Exception):
    """A run does not follow the one before it: records would be skipped."""


class Progress(NamedTuple):
    """How far something is that takes its time: so much done, above 0 of it in all."""

    what: str
    done: int
    total: int


class PartitionWorker(ABC):
    """Handles the records of one partition, batch by batch, in order.

    An exception of any of its methods ends the process: nothing is retried in place, nothing is skipped. Whoever starts
    next goes on from the position that was stored together with the last result.

    Attributes:
        tp: the partition it reads.
        behind: records of the log not done yet, as of a few seconds ago.
        progress: of what takes long while it is opened, None if nothing does.
        knows_log: its log is kept for ever, and known again by `landmark`, see `streams.landmark`.
        landmark: of the record before `position`, as restored; None where there is none.
        stopping: set when the partition is taken away or the process stops: a long `handle` should return at the next
            point where its position is stored.
        rest_s: seconds after a batch in which records are only collected, so that batches are few and large. It ends
            sooner where there are enough for a batch, or where the flight is full and nothing more is fetched.
    """

    settle_s = SETTLE_S
    rest_s = 0.0
    knows_log = False
    landmark: bytes | None = None

    def __init__(self, tp: TP) -> None:
        """Make a worker that does nothing until it is opened."""
        self.tp = tp
        self.behind = 0
        self.progress: Progress | None = None
        self.stopping = False
        self._queue: deque[Run] = deque()
        self._weight = 0
        self._queued = asyncio.Event()
        self._enough = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._next = 0
        self._batch_records = 0

    @property
    @abstractmethod
    def position(self) -> int:
        """Offset of the next record to handle: stored together with what came of the records before it."""

    @property
    def unfinished(self) -> bool:
        """Whether there is more to do though no record has come: `handle` is called with none, then."""
        return False

    @abstractmethod
    async def open(self) -> None:
        """Keep any other owner out, and restore the state and the position."""

    @abstractmethod
    async def handle(self, records: list[ConsumerRecord]) -> None:
        """Do one batch, and store its result and the new position as one. It may stop short only if `stopping`."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of what `open` took. Nothing is in hand then."""

    def lagging(self, records: int) -> None:
        """Called every few seconds: how many records of the log are not done yet."""
        self.behind = records

    @final
    def start(self, flight: Flight, batch_records: int) -> None:
        """Begin to handle runs, from `position` on."""
        self.stopping = False
        self._next = self.position
        self._batch_records = batch_records
        self._enough.clear()
        flight.done[self.tp] = self._next
        self._task = asyncio.create_task(self._work(flight), name=f"{self.tp.topic}-{self.tp.partition}")

    @final
    def put(self, run: Run) -> None:
        """Queue a run.

        Raises:
            LostRun: it does not follow the one before it.
        """
        if run.follows != self._next:
            raise LostRun(f"{self.tp.topic}-{self.tp.partition}: got records after {run.follows}, not {self._next}")
        self._next = run.records[-1].offset + 1
        self._queue.append(run)
        self._weight += run.weight
        self._queued.set()
        if self._weight >= self._batch_records:
            self._enough.set()

    @final
    def hurry(self) -> None:
        """Rest no longer, if anything is queued."""
        if self._queue:
            self._enough.set()

    @final
    async def settle(self) -> None:
        """Finish the batch in hand and drop what is queued; it will be read again.

        Raises:
            TimeoutError: the batch took longer than ``settle_s``; it was cancelled and its state must not be used.
        """
        self.stopping = True
        self._queue.clear()
        self._weight = 0
        self._queued.set()
        self._enough.set()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait_for(task, self.settle_s)

    async def _work(self, flight: Flight) -> None:
        queue, queued, batch_records = self._queue, self._queued, self._batch_records
        clock = asyncio.get_running_loop().time
        rested = 0.0
        try:
            while not self.stopping:
                if not self.unfinished:
                    await queued.wait()
                if clock() < rested:
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(rested):
                            await self._enough.wait()
                records: list[ConsumerRecord] = []
                weight = 0
                while queue and weight < batch_records:
                    run = queue.popleft()
                    records.extend(run.records)
                    weight += run.weight
                self._weight -= weight
                if self._weight < batch_records:
                    self._enough.clear()
                if not queue:
                    queued.clear()
                if records or self.unfinished:
                    epoch = flight.epoch
                    await self.handle(records)
                    if epoch == flight.epoch:
                        flight.land(self.tp, weight, self.position)
                    rested = clock() + self.rest_s
        except Exception as error:
            fail(error)


class Workers:
    """The workers of one app, opened and closed as partitions come and go.

    Attributes:
        flight: the app's budget of records in flight.
        ready: every partition that is ours was opened and restored.
    """

    def __init__(self, make: Callable[[TP], PartitionWorker], flight_records: int, batch_records: int) -> None:
        """Start without partitions.

        Args:
            make: makes the worker of a partition.
            flight_records: most records fetched and not yet done; large ones count for several, see `weight_of`.
            batch_records: most records in one batch, give or take one run; large ones count for several, too.
        """
        self.flight = Flight(flight_records)
        self.ready = False
        self._make = make
        self._batch_records = batch_records
        self._workers: dict[TP, PartitionWorker] = {}
        self._opening: list[PartitionWorker] = []
        self._being_opened: asyncio.Future[list[None]]
        # Partitions may be taken away, or the process stop, while others are still being restored.
        self._changing = asyncio.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[PartitionWorker]:
        """The workers of the partitions that are ours now."""
        return iter(tuple(self._workers.values()))

    @property
    def waiting_for(self) -> str | None:
        """Why it is not ready, None if it is; how far it is, where that takes long."""
        if self.ready:
            return None
        begun = [worker.progress for worker in self._opening if worker.progress]
        if not begun:
            return "partitions to be assigned and restored"
        what = max(progress.what for progress in begun)
        shown = [progress for progress in begun if progress.what == what]
        done, total = sum(progress.done for progress in shown), sum(progress.total for progress in shown)
        return f"{what}: {100 * done // total} %"

    async def put(self, run: Run) -> None:
        """Give a run to its partition's worker; a stale one is dropped."""
        if run.epoch != self.flight.epoch:
            return
        self._workers[run.tp].put(run)
        if self.flight.full:
            for worker in self._workers.values():
                worker.hurry()

    async def lost(self, partitions: Set[TP]) -> None:
        """These may go elsewhere: finish what is in hand. They stay open until `assigned` says who has them."""
        async with self._changing:
            await self._settle(partitions)

    async def assigned(self, partitions: Set[TP]) -> Mapping[TP, int]:
        """Close workers of partitions that are gone, open those of new ones.

        Args:
            partitions: all that are ours from now on.

        Returns:
            for each of them, the offset where reading goes on; nothing if the process stops.
        """
        async with self._changing:
            if self._closed:
                return {}
            await self._settle(set(self._workers))
            await self._close_all_but(partitions)
            new = {tp: self._make(tp) for tp in partitions - set(self._workers)}
            self._opening = list(new.values())
            self._being_opened = asyncio.gather(*(worker.open() for worker in self._opening))
            try:
                await self._being_opened
            except asyncio.CancelledError:
                if not self._closed:
                    raise
                await asyncio.gather(*(worker.close() for worker in self._opening))
                return {}
            finally:
                self._opening = []
            self._workers.update(new)
            for worker in self._workers.values():
                worker.start(self.flight, self._batch_records)
            self.ready = True
            return {tp: worker.position for tp, worker in self._workers.items()}

    def lagging(self, tp: TP, records: int) -> None:
        """Tell a worker how far behind it is."""
        if worker := self._workers.get(tp):
            worker.lagging(records)

    async def close(self) -> None:
        """Finish what is in hand and close everything, for good."""
        self._closed = True
        if self._opening:
            # Nothing is in hand there yet. Without its broker a partition opens for ever.
            self._being_opened.cancel()
        async with self._changing:
            await self._settle(set(self._workers))
            await self._close_all_but(set())

    async def _settle(self, partitions: Set[TP]) -> None:
        self.ready = False
        self.flight.new_epoch()
        await asyncio.gather(*(worker.settle() for tp, worker in self._workers.items() if tp in partitions))

    async def _close_all_but(self, partitions: Set[TP]) -> None:
        gone = [self._workers.pop(tp) for tp in set(self._workers) - partitions]
        await asyncio.gather(*(worker.close() for worker in gone))
