"""Faust's transport on aiokafka, changed where money is at stake.

- An agent gets one event per fetched run of records, not one per record.
- Everything is read with ``read_committed``.
- Reading goes on where `Workers` say, never from the group's committed offsets. Those are written now and then, for
  tools that show lag, and read by nobody here.
- The brake is `Flight`, not Faust's full buffers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as base
from faust.types import TP, ConsumerMessage

from streams import records  # noqa: F401  has consumers make records of ours
from streams.errors import PositionOutOfLog
from streams.flight import Run, weight_of
from streams.landmark import check_landmarks, landmark
from streams.process import fail

log = structlog.get_logger("callmeter")

# How long members may take to finish the batch in hand when partitions are handed over.
REBALANCE_TIMEOUT_MS = 60_000
# A role that waits (for ClickHouse, say) must not lose its partitions for it: the heartbeat shows that it lives.
NEVER_MS = 2**31 - 1
# A topic that comes back is found again within this time.
METADATA_AGE_S = 10


class RebalanceListener(base.ConsumerRebalanceListener):
    """Keeps aiokafka from choosing a position of its own before we seek."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> Any:
        """Park the partitions at once, before the fetcher looks up committed offsets."""
        consumer = self._thread._ensure_consumer()
        for tp in assigned:
            consumer.seek(tp, 0)
            consumer.pause(tp)
        return super().on_partitions_assigned(assigned)


class ConsumerThread(base.AIOKafkaConsumerThread):
    """aiokafka's consumer in a thread of its own, so that heartbeats go on while a batch is folded."""

    _serving: asyncio.Task[None] | None = None

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        await super()._serve()

    def _start_thread(self) -> None:
        with suppress(asyncio.CancelledError):
            super()._start_thread()

    async def give_up(self) -> None:
        """End the thread though it has not started: without its broker it would go on trying to."""
        thread = self._thread
        if thread is not None:
            if self._serving is not None:
                self.thread_loop.call_soon_threadsafe(self._serving.cancel)
            await asyncio.to_thread(thread.join)

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        conf, settings = self.app.conf, self.app.settings
        session_ms = int(settings.session_timeout_s * 1000)
        # The library keeps its state on the class, which two apps in one process must not share.
        assignor = type("Sticky", (StickyPartitionAssignor,), {})
        consumer = AIOKafkaConsumer(
            **settings.kafka_client(),
            client_id=conf.id,
            group_id=conf.id,
            partition_assignment_strategy=[assignor],
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=NEVER_MS,
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // 3,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            metadata_max_age_ms=METADATA_AGE_S * 1000,
        )
        self.troubled = False
        self._metadata_at = 0.0
        consumer._client.cluster.add_listener(self._metadata_came)
        return consumer

    async def on_thread_stop(self) -> None:
        """Close the consumer, also while the broker is away.

        The library waits for fetches that it has canceled, and one that stands still before its next try then raises
        that it was canceled. Nobody waits for this thread but the process that wants to end.
        """
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            await self._ensure_consumer()._client.close()

    def _metadata_came(self, cluster: Any) -> None:
        """The client asks for metadata when it is old; sooner only when a broker gave an error, or no answer."""
        now = time.monotonic()
        if now - self._metadata_at < 0.95 * METADATA_AGE_S:
            self.troubled = True
        self._metadata_at = self.app.heard_at = now

    async def bounds(self, tps: Iterable[TP]) -> Mapping[TP, tuple[int, int]]:
        """Log start and log end of partitions."""
        bounds: Mapping[TP, tuple[int, int]] = await self.call_thread(self._bounds, list(tps))
        return bounds

    async def _bounds(self, tps: list[TP]) -> Mapping[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        wanted = [TopicPartition(*tp) for tp in tps]
        starts, ends = await consumer.beginning_offsets(wanted), await consumer.end_offsets(wanted)
        return {TP(*tp): (starts[tp], ends[tp]) for tp in wanted}

    async def go_on(self, positions: Mapping[TP, int]) -> None:
        """Fetch from these positions; partitions that are no longer assigned are left out."""
        await self.call_thread(self._go_on, positions)

    async def _go_on(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp in consumer.assignment():
            position = positions.get(TP(*tp))
            if position is not None:
                consumer.seek(tp, position)
                consumer.resume(tp)

    async def fetched(self, tps: Iterable[TP]) -> Mapping[TP, tuple[int, int]]:
        """Where the next fetch begins (behind markers of transactions, which are no records) and the log's end."""
        fetched: Mapping[TP, tuple[int, int]] = await self.call_thread(self._fetched, list(tps))
        return fetched

    async def _fetched(self, tps: list[TP]) -> Mapping[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        found = {}
        for tp in consumer.assignment().intersection(TopicPartition(*tp) for tp in tps):
            end = consumer.last_stable_offset(tp)
            if end is not None:
                found[TP(*tp)] = (await consumer.position(tp), end)
        return found

    async def publish(self, positions: Mapping[TP, int]) -> None:
        """Write the group's offsets, if that is possible just now."""
        await self.call_thread(self._publish, positions)

    async def _publish(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        offsets = {TopicPartition(*tp): OffsetAndMetadata(at, "") for tp, at in positions.items()}
        offsets = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except KafkaError as error:
            log.debug("group offsets not written", reason=repr(error))


class Consumer(base.Consumer):
    """Faust's consumer: hands out runs, and asks `Workers` where to go on."""

    RebalanceListener = RebalanceListener

    def _new_consumer_thread(self) -> ConsumerThread:
        self._reading: dict[TP, int] = {}
        self._published: dict[TP, int] = {}
        self._landmarks: dict[TP, tuple[int, bytes]] = {}
        self._last: dict[TP, ConsumerRecord] = {}
        self._takeover = asyncio.Lock()
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def give_up(self) -> None:
        """End though it has not started."""
        await self._thread.give_up()

    # -- fetching

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch, and give out one message per partition whose value is a `Run`."""
        flight = self.app.flight
        await flight.room()
        epoch = flight.epoch
        fetched, active = await self._wait_next_records(timeout)
        if not fetched or self.should_stop:
            return
        await self._check_logs()
        dropped: dict[TP, int] = {}
        generation = self.app.consumer_generation_id
        for key, read in fetched.items():
            tp = TP(*key)
            follows = self._reading.get(tp)
            stale = not self.flow_active or flight.epoch != epoch or self.app.consumer_generation_id != generation
            if stale or follows is None or (active is not None and tp not in active):
                # Fetched under an assignment that has ended: if the partition is ours again, it must be read again.
                if follows is not None:
                    dropped[tp] = follows
                continue
            last = read[-1]
            self._reading[tp] = last.offset + 1
            self._last[tp] = last
            run = Run(tp, read, follows, epoch, weight_of(read))
            flight.take_off(run.weight)
            yield (
                tp,
                ConsumerMessage(
                    tp.topic, tp.partition, last.offset, 0.0, 0, (), None, run, None, 0, 0, tp, generation_id=generation
                ),
            )
        if dropped:
            await self._thread.go_on({tp: at for tp, at in dropped.items() if self._reading.get(tp) == at})

    async def _check_logs(self) -> None:
        """After any trouble with the broker: see that the logs are still those that were read, before reading on."""
        if not self._thread.troubled:
            return
        self._thread.troubled = False
        known = {worker.tp for worker in self.app.workers if worker.knows_log}
        read = {tp: (last.offset + 1, landmark(last)) for tp, last in self._last.items() if tp in known}
        try:
            await check_landmarks(self.app.settings, {**self._landmarks, **read})
        except Exception as error:
            fail(error)

    # -- taking over

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Take over the partitions assigned now, and go on where their owner says."""
        # Faust cancels this when the next rebalance comes; a half-opened partition must be finished first all the same.
        return await asyncio.shield(asyncio.ensure_future(self._take_over()))

    async def _take_over(self) -> Mapping[TP, int]:
        try:
            async with self._takeover:
                assigned = self.assignment()
                self._reading.clear()
                self._last.clear()
                positions: Mapping[TP, int] = await self.app.workers.assigned(assigned)
                if self.app.should_stop:
                    # Nothing is read any more, and the thread that would read may have ended.
                    return {}
                for tp, (start, end) in (await self._thread.bounds(positions) if positions else {}).items():
                    if not start <= positions[tp] <= end:
                        raise PositionOutOfLog(
                            f"{tp.topic}-{tp.partition}: reading should go on at offset {positions[tp]}, but the log "
                            f"has {start} to {end}: records were lost, or the topic was made anew"
                        )
                self._landmarks = {
                    worker.tp: (positions[worker.tp], worker.landmark)
                    for worker in (self.app.workers if positions else ())
                    if worker.knows_log and worker.landmark is not None
                }
                await check_landmarks(self.app.settings, self._landmarks)
                self._reading.update(positions)
                await self._thread.go_on(positions)
                return positions
        except Exception as error:
            if self.app.given_up or self.app.should_stop:
                return {}
            fail(error)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop the flow, then let the batches in hand be finished before anybody else may have the partitions."""
        await super().on_partitions_revoked(revoked)
        try:
            async with self._takeover:
                await self.app.workers.lost(revoked)
        except Exception as error:
            fail(error)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Faust seeks only if there is something to seek; what is gone must be closed even then."""
        await super().on_partitions_assigned(assigned, generation_id)
        if not assigned:
            await self._take_over()

    # -- group offsets: a hint

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Write the positions reached as group offsets, for tools that show lag. Called by Faust's own timer."""
        done = dict(self.app.flight.done)
        for tp, (fetched, end) in (await self._thread.fetched(done) if done else {}).items():
            # While nothing is in flight, what was fetched is done, and only markers can be between the two.
            position = fetched if self._reading.get(tp) == done[tp] else done[tp]
            self.app.workers.lagging(tp, max(0, end - position))
        if done != self._published and not self.app.rebalancing:
            await self._thread.publish(done)
            self._published = done
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's check looks at acknowledgements, which are not used here."""


class Producer(base.Producer):
    """Never started: what is written goes through the fenced producer of a partition."""

    async def flush(self) -> None:
        """Nothing is ever buffered."""


class Transport(base.Transport):
    """Registered for broker addresses that begin with ``callmeter://``."""

    Consumer = Consumer
    Producer = Producer


TRANSPORTS.aliases["callmeter"] = "streams.driver:Transport"
