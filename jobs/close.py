"""Closing: bring the time to a given instant, and wait until everything that follows has happened.

All is decided from the log. A tick is written to every partition. The meter's ledgers tell when it is rated, and with
it every period that was due is closed; the ledgers of agencies tell the same of what the meter told about them. The
billing events given out by then tell which requests have to be raised, and the topic of payment requests which ones
were. Whatever the billing job had not got round to before is waited for too.

Memory is bounded by the requests of one closing, a few hundred bytes each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.structs import ConsumerRecord

from jobs.positions import LedgerPositions, Standing
from jobs.reading import NewestRecords, Offsets, TopicReader
from jobs.report import Report, Tally
from jobs.ticks import steps_to, tick
from rating.outputs import BILLING_EVENTS, PAYMENT_REQUESTS
from rating.period import MICROSECOND
from rating.request import request_for
from streams.administration import check_topics
from streams.errors import ClickHouseUnreachable
from streams.producer import FactProducer
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS, AGENCY_LEDGER, BILLING_LEDGER, LEDGER
from streams.units import minor_digits

if TYPE_CHECKING:
    from sinks.clickhouse import Store

NEEDS = (
    ACCOUNT_EVENTS,
    LEDGER,
    AGENCY_EVENTS,
    AGENCY_LEDGER,
    BILLING_EVENTS,
    BILLING_LEDGER,
    PAYMENT_REQUESTS,
)
MOST_NAMED = 5
PAUSE_S = 0.1
STORED = "SELECT kafka_partition, max(kafka_offset) AS newest FROM payment_requests GROUP BY kafka_partition"

# Of a payment request: partition, account, id. Ids are unique in their account only.
Key = tuple[int, str, str]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Closing:
    """One closing under way. The attributes may be shown while it runs.

    Attributes:
        partitions: how many there are; 0 before that is known.
        behind: partitions where the meter has not reached the time.
        agencies_behind: partitions where agencies are not added up to it.
        called_for: payment requests that billing events called for so far.
        missing: those of them that are not raised yet.
        tally: what was closed so far.
        show: called whenever something may have changed.
    """

    def __init__(
        self,
        settings: Settings,
        until: datetime,
        jump: bool = False,
        store: Store | None = None,
    ) -> None:
        """Prepare a closing.

        Args:
            settings: checked settings.
            until: the time to bring every partition to.
            jump: go there in one step, however far it is, instead of at most 35 days at a time.
            store: ClickHouse, where the requests have to be in the end; None: not looked at.
        """
        self.partitions = 0
        self.behind: list[int] = []
        self.agencies_behind: list[int] = []
        self.called_for = 0
        self.missing: set[Key] = set()
        self.tally = Tally()
        self.show: Callable[[], None] = lambda: None
        self._settings, self._until, self._jump, self._store = settings, until, jump, store
        self._digits = partial(minor_digits, units=settings.units)
        self._raised_early: set[Key] = set()
        self._requests_began: Offsets = {}
        self._events_end: Offsets | None = None
        self._not_stored: list[int] = []

    async def run(self, timeout_s: float) -> Report:
        """Close.

        Args:
            timeout_s: longest wait for meter, billing job and sink together.

        Raises:
            BrokerUnreachable, TopicMissing: there is nothing to close.
        """
        done = False
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._run()
                done = True
        return Report(
            self._until, done, [] if done else self._open(timeout_s), self._store is not None, self.tally.agencies()
        )

    async def _run(self) -> None:
        self.partitions = await check_topics(self._settings, NEEDS)
        async with AsyncExitStack() as stack:
            readers = [TopicReader(self._settings, name, self.partitions) for name in NEEDS]
            entered = [await stack.enter_async_context(reader) for reader in readers]
            log, ledger, told, agency_ledger, events, billing, requests = entered
            self._events, self._requests = events, requests
            await self._begin_to_read(LedgerPositions(billing))
            await self._bring_time(log, LedgerPositions(ledger))
            await self._wait_for_agencies(told, LedgerPositions(agency_ledger))
            self._events_end = await events.ends()
            while self.missing or not await events.has_reached(self._events_end):
                await self._read_on()
            if self._store is not None:
                await self._wait_for(self._store)

    async def _begin_to_read(self, billing: LedgerPositions) -> None:
        """Find what the billing job has not got round to, and go on reading from here."""
        # In this order: the request of an event that is read later cannot be before the end taken here.
        self._requests_began = await self._requests.ends()
        await billing.refresh()
        starts, ends = await self._events.starts(), await self._events.ends()
        begin = {at: min(max(starts[at], position), ends[at]) for at, position in billing.billing().items()}
        async for record in self._events.read(begin, ends):
            self._take_event(record, old=True)
        # What the job does again, because its ledger was lost, was raised long ago.
        earlier = await self._requests.starts()
        waiting = {partition for partition, _, _ in self.missing}
        self._requests.seek({at: earlier[at] if at in waiting else end for at, end in self._requests_began.items()})
        self._events.seek(ends)

    async def _bring_time(self, log: TopicReader, meter: LedgerPositions) -> None:
        """Tick until every partition is rated up to here, and has reached the time."""
        await meter.refresh()
        while True:
            ours = await self._write_ticks(log, meter.meter())
            while True:
                await meter.refresh()
                standings = meter.meter()
                self.behind = [at for at, standing in standings.items() if standing.offset <= ours[at]]
                self.show()
                if not self.behind:
                    break
                await self._read_on()
            # A tick that was written before ours and not rated yet may have made ours a step too far: then once more.
            if all(clock is not None and clock >= self._until for _, clock in standings.values()):
                return

    async def _wait_for_agencies(self, told: TopicReader, agencies: LedgerPositions) -> None:
        """Wait until everything is added up that the meter told of agencies, the time among it."""
        newest = NewestRecords(told)
        await newest.refresh()
        while True:
            await agencies.refresh()
            positions = agencies.agencies()
            self.agencies_behind = [at for at, record in newest.records.items() if positions[at] <= record.offset]
            self.show()
            if not self.agencies_behind:
                return
            await self._read_on()

    async def _write_ticks(self, log: TopicReader, standings: Mapping[int, Standing]) -> Offsets:
        """Bring every partition to the time; where the last tick stands in each."""
        log.seek(await log.ends())
        last = {}
        async with FactProducer(self._settings) as producer:
            for partition, (_, clock) in standings.items():
                for at in self._steps(clock):
                    last[partition] = tick(at, self._jump)
                    await producer.send_to(partition, last[partition])
        ours: dict[int, int] = {}
        # What is behind an open transaction of somebody else's is read only when that ends.
        while len(ours) < self.partitions:
            for record in await log.fetch():
                if record.value == last[record.partition]:
                    ours[record.partition] = record.offset
        return ours

    def _steps(self, clock: datetime | None) -> list[datetime]:
        if clock is not None and clock >= self._until:
            # A subscription that was started in the past is looked at by the next tick that is past the clock.
            return [clock + MICROSECOND]
        return [self._until] if self._jump else steps_to(self._until, clock)

    async def _read_on(self) -> None:
        """Read what the meter has given out since."""
        for record in await self._events.fetch(PAUSE_S / 2):
            if self._events_end is None or record.offset < self._events_end[record.partition]:
                self._take_event(record)
        for record in await self._requests.fetch(PAUSE_S / 2):
            self._take_request(record)
        self.show()

    def _take_event(self, record: ConsumerRecord, old: bool = False) -> None:
        event = _decode(record.value)
        if not old:
            if event["type"] == "cycle.closed":
                self.tally.period_closed(event)
            elif event["type"] == "agency.cycle_closed":
                self.tally.wholesale_period_closed(event)
        request = request_for(event, self._digits)
        if request is None:
            return
        self.called_for += 1
        self.tally.request_called_for(request)
        key = (record.partition, request["account_id"], request["payment_request_id"])
        if key in self._raised_early:
            self._raised_early.remove(key)
        else:
            self.missing.add(key)

    def _take_request(self, record: ConsumerRecord) -> None:
        request = _decode(record.value)
        key = (record.partition, request["account_id"], request["payment_request_id"])
        if key in self.missing:
            self.missing.remove(key)
        elif record.offset >= self._requests_began[record.partition]:
            self._raised_early.add(key)

    async def _wait_for(self, store: Store) -> None:
        """Wait until ClickHouse has all requests up to here, by the positions of its rows."""
        newest = NewestRecords(self._requests)
        await newest.refresh()
        self._not_stored = list(newest.records)
        while self._not_stored:
            # ClickHouse may go away and come back; the timeout limits that too.
            with suppress(ClickHouseUnreachable):
                rows = await asyncio.to_thread(store.rows, STORED)
                stored = {row["kafka_partition"]: row["newest"] for row in rows}
                self._not_stored = [at for at, record in newest.records.items() if stored.get(at, -1) < record.offset]
            self.show()
            if self._not_stored:
                await asyncio.sleep(PAUSE_S)

    def _open(self, timeout_s: float) -> list[str]:
        """What is open, each with where to look."""
        found = []
        if self.behind:
            found.append(
                f"{len(self.behind)} of {self.partitions} partitions ({_some(self.behind)}) are not rated up to "
                f"{self._until.isoformat()}: does `callmeter meter` run?"
            )
        if self.agencies_behind:
            found.append(
                f"agencies of partitions {_some(self.agencies_behind)} are not added up: does `callmeter meter` run?"
            )
        if self.missing:
            ids = _some(sorted(request_id for _, _, request_id in self.missing))
            found.append(
                f"{len(self.missing)} payment requests ({ids}) are not raised: "
                "does `callmeter billing` run? If it does, look for them in the dead letters"
            )
        if self._not_stored:
            found.append(
                f"partitions {_some(self._not_stored)} are not up to date in ClickHouse: does `callmeter sink` run?"
            )
        return found or [f"the topics could not be read to their ends within {timeout_s:g} s"]


def _some(named: list[Any]) -> str:
    more = ", ..." if len(named) > MOST_NAMED else ""
    return ", ".join(map(str, named[:MOST_NAMED])) + more
