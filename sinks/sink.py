"""The sink: what the meter gives out, into ClickHouse, each row exactly once.

Run it with ``callmeter sink``. Several share the partitions. Where to go on is read back from ClickHouse; a sink that
was thought dead and still writes is refused by the guard of `sinks.exactly_once`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any

import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from sinks.clickhouse import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Store, Target, target_of
from sinks.exactly_once import drop_orphans
from sinks.lane import Lane
from sinks.log_start import bare_ends, go_on, log_starts, note_progress, progress
from sinks.migrate import check_schema
from sinks.patience import Interrupted, Patience
from sinks.tables import REJECTS, TABLES, Reject, Table, reject_columns
from streams.observe import SINK_LAG_RECORDS
from streams.process import collect_seldom
from streams.settings import Settings
from streams.transport import PartitionWorker, RoleApp, Workers, make_app, runs

log = structlog.get_logger("callmeter")

# How often the sink looks whether there are only markers behind its positions.
LOOK_BEHIND_S = 3600.0


class SinkPartition(PartitionWorker):
    """One partition of one topic on its way into its table."""

    # An insert in hand is finished, or times out.
    settle_s = CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S + 5.0

    def __init__(self, tp: TP, table: Table, sink: Sink) -> None:
        """Make a worker that does nothing until it is opened."""
        super().__init__(tp)
        self.table = table
        self._sink = sink
        self._lane = sink.lanes[table.name]
        self._reject_lane = sink.reject_lanes[table.topic]
        self.rest_s = sink.rest_s
        self._stored: int | None = None
        # Not known until the first append, which finds out.
        self._rejected: int | None = None
        self._position = 0

    @property
    def position(self) -> int:
        """Offset of the next record to store."""
        return self._position

    async def open(self) -> None:
        """Read back from ClickHouse where to go on.

        Raises:
            PositionOutOfLog: records were deleted from the log before they were stored.
        """
        start = self._sink.starts[self.tp]
        try:
            self._stored = await self._lane.position(self.tp.partition, self._give_up)
            self._position = 0 if self._stored is None else self._stored + 1
            if self._position < start:
                noted = await self._sink.noted(self.tp.partition, self.table, self._give_up)
                self._position = go_on(self.tp, self.table, self._position, start, noted, self._sink.accept_lost)
        except Interrupted:
            self._position = start

    async def handle(self, records: list[ConsumerRecord]) -> None:
        """Store one chunk. While ClickHouse is away this waits, unless the partition is to be given up."""
        partition = self.tp.partition
        chunk = await asyncio.to_thread(self.table.chunk, records)
        try:
            # Rejects first: what the table's own position has passed is not read again.
            if chunk.rejects:
                self._say(chunk.rejects)
                columns = reject_columns(self.table.topic, chunk.rejects)
                self._rejected = await self._reject_lane.append(partition, columns, self._rejected, self._give_up)
            if chunk.columns["kafka_offset"]:
                self._stored = await self._lane.append(partition, chunk.columns, self._stored, self._give_up)
        except Interrupted:
            return
        self._position = records[-1].offset + 1

    async def close(self) -> None:
        """Show its lag no longer."""
        SINK_LAG_RECORDS.labels(self.table.topic, str(self.tp.partition))
        SINK_LAG_RECORDS.remove(self.table.topic, str(self.tp.partition))

    def lagging(self, records: int) -> None:
        """Show how many records are not stored yet."""
        super().lagging(records)
        SINK_LAG_RECORDS.labels(self.table.topic, str(self.tp.partition)).set(records)

    def _give_up(self) -> bool:
        return self.stopping or self._sink.closing

    def _say(self, rejects: Sequence[Reject]) -> None:
        log.error(
            "records of a topic of ours cannot be read; they are kept in sink_rejects",
            topic=self.tp.topic,
            partition=self.tp.partition,
            records=len(rejects),
            first_offset=rejects[0].record.offset,
            reason=rejects[0].error,
        )


class Sink(Workers):
    """The partitions that are ours to store, and what they share.

    Attributes:
        lanes: by table.
        reject_lanes: by topic: the way into ``sink_rejects``.
        rest_s: seconds from one insert of a partition to its next, in which its records are collected.
        starts: by partition, where its log starts, as of the latest assignment.
        accept_lost: go on where records were deleted before they were stored.
        closing: the process stops.
    """

    def __init__(self, settings: Settings, target: Target, accept_lost: bool = False) -> None:
        """Start without partitions."""
        super().__init__(self._partition, settings.sink_rows + settings.flight_records, settings.sink_rows)
        self.patience = Patience()
        self.lanes = {table.name: Lane(target, self.patience, table.name) for table in TABLES}
        self.reject_lanes = {
            table.topic: Lane(target, self.patience, REJECTS, {"kafka_topic": table.topic}) for table in TABLES
        }
        self.rest_s = settings.sink_interval_s
        self.starts: dict[TP, int] = {}
        self.accept_lost = accept_lost
        self.closing = False
        self._settings = settings
        self._target = target
        self._tables = {settings.topic(table.topic): table for table in TABLES}
        self._behind: asyncio.Task[None] | None = None

    @property
    def waiting_for(self) -> str | None:
        """What the role waits for, None if it is ready."""
        if self.patience.reason:
            return f"ClickHouse: {self.patience.reason}"
        return None if self.ready else "partitions to be assigned and their positions to be read back"

    async def assigned(self, partitions: Set[TP]) -> Mapping[TP, int]:
        """Read back where each partition goes on."""
        self.starts = await log_starts(self._settings, partitions)
        positions = await super().assigned(partitions)
        collect_seldom()
        if self._behind is None and not self.closing:
            self._behind = asyncio.create_task(self._look_behind())
        return positions

    async def close(self) -> None:
        """Finish what is in hand, drop the staging tables, disconnect."""
        self.closing = True
        if self._behind is not None:
            self._behind.cancel()
        await super().close()
        for lane in (*self.lanes.values(), *self.reject_lanes.values()):
            await asyncio.to_thread(lane.close)

    async def noted(self, partition: int, table: Table, give_up: Any) -> int:
        """Up to where everything of a partition is known to be stored, beyond its last row."""

        def read() -> int:
            with Store(self._target) as store:
                return progress(store, table.topic, partition)

        return await self.patience.call(read, give_up)

    def _partition(self, tp: TP) -> SinkPartition:
        return SinkPartition(tp, self._tables[tp.topic], self)

    async def _look_behind(self) -> None:
        """Now and then note where there are only transaction markers behind the last row; see `sinks.log_start`."""
        while True:
            await asyncio.sleep(LOOK_BEHIND_S)
            try:
                await self.look_behind()
            except Exception as error:
                # Done again in an hour; it matters only once records are older than their retention.
                log.warning("positions could not be noted", reason=str(error))

    async def look_behind(self) -> None:
        """Note in ``sink_progress`` where there are only transaction markers behind the last row."""
        own = [worker for worker in self if isinstance(worker, SinkPartition) and not worker.table.compacted]
        positions = {worker.tp: worker.position for worker in own}
        ends = await bare_ends(self._settings, positions)
        by_topic: dict[str, dict[int, int]] = defaultdict(dict)
        for worker in own:
            # What was stored meanwhile was no marker.
            if worker.tp in ends and worker.position == positions[worker.tp]:
                by_topic[worker.table.topic][worker.tp.partition] = ends[worker.tp]

        def note() -> None:
            with Store(self._target) as store:
                for topic, noted in by_topic.items():
                    note_progress(store, topic, noted)

        if by_topic:
            await asyncio.to_thread(note)


def make_sink(settings: Settings, accept_lost: bool = False) -> RoleApp:
    """The sink as a Faust app: each topic's records go, chunk by chunk, into its table.

    Args:
        settings: checked settings.
        accept_lost: go on where records were deleted before they were stored, instead of refusing.

    Raises:
        ClickHouseUnreachable: it does not answer, refuses us, or lacks tables.
    """
    target = target_of(settings, write=True)
    with Store(target) as store:
        check_schema(store)
        drop_orphans(store)
    sink = Sink(settings, target, accept_lost)
    app = make_app("sink", settings, sink, [table.topic for table in TABLES])

    async def store_runs(stream: Any) -> None:
        async for run in stream:
            await sink.put(run)

    for table in TABLES:
        app.agent(runs(app, table.topic), name=f"store-{table.name}")(store_runs)
    return app
