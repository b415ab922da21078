"""Asking: payment requests go to the gateways of their agencies, and what became of them goes back into the log.

Nothing that a gateway does holds up the billing job or the meter: a request is a fact, pending, before anybody is
asked. What has to be asked is what the topic ``payment-requests`` says: pending, of an agency with a gateway, and not
sent. So this job keeps no position: it reads the topic from its beginning, which compaction keeps short. Each agency of
each partition has a loop of its own, with its own pauses.

Killed anywhere, it comes to the same requests again, and a gateway finds what it created (`jobs.gateways.base`). The
facts have ids of their own, so a second one changes nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from jobs.gateways.base import ExternalRequest, Gateway, Rejected, Unavailable, ask
from jobs.gateways.links import Links
from jobs.gateways.preflight import text
from jobs.requests import sent, settled, settling_id
from rating.outputs import PAYMENT_REQUESTS
from streams.errors import CallmeterError
from streams.observe import GATEWAY_ANSWERS, GATEWAY_WAITING
from streams.process import fail
from streams.producer import FactProducer
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, CATALOGUE
from streams.transport import PartitionWorker, RoleApp, Run, Workers, make_app, runs

BATCH_RECORDS = 2_000
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 300.0
# Statuses of requests that are asked for.
ASKED = ("pending", "overdue")
# What was settled by hand is told to its gateway, for as long after that; also again, by whoever starts meanwhile.
TELL_FOR = timedelta(days=7)

log = structlog.get_logger("callmeter")
Request = dict[str, Any]
Key = tuple[str, str]

_decode = msgspec.json.Decoder(Request).decode


def make_asking(settings: Settings, links: Links) -> RoleApp:
    """The app that asks the gateways. It runs beside the billing job's.

    Args:
        settings: checked settings.
        links: says which gateway is whose.
    """
    shared = Shared(settings, links)
    workers = Workers(lambda tp: AskingPartition(tp, shared), settings.flight_records, BATCH_RECORDS)
    app = make_app("asking", settings, workers, [PAYMENT_REQUESTS, ACCOUNT_EVENTS, CATALOGUE])

    @app.agent(runs(app, PAYMENT_REQUESTS))
    async def ask_gateways(stream: AsyncIterator[Run]) -> None:
        async for run in stream:
            await workers.put(run)

    return app


class Shared:
    """What the partitions of one process share: the catalogue and a producer."""

    def __init__(self, settings: Settings, links: Links) -> None:
        """Nothing is connected before it is used."""
        self.settings = settings
        self.links = links
        self._producer: FactProducer | None = None
        self._users = 0
        self._changing = asyncio.Lock()

    async def join(self) -> None:
        """A partition begins to use this."""
        async with self._changing:
            self._users += 1
            if self._producer is None:
                self._producer = await FactProducer(self.settings).__aenter__()
                await self.links.refresh()

    async def leave(self) -> None:
        """A partition does so no longer; the last one disconnects."""
        async with self._changing:
            self._users -= 1
            if self._users == 0 and self._producer is not None:
                producer, self._producer = self._producer, None
                await producer.__aexit__(None, None, None)
                await self.links.close()

    async def write(self, *facts: Mapping[str, Any]) -> None:
        """Write facts into the log, and return when they are there."""
        assert self._producer is not None
        await self._producer.publish(*facts)

    async def check(self, gateway: Gateway, request: Request) -> None:
        """See that nothing is missing at the gateway before a request is sent.

        Raises:
            Unavailable: something is; it is named.
        """
        steps = await gateway.preflight({request["currency"]}, self.links.buyer_of(request))
        missing = [step for step in steps if step.state == "missing"]
        if missing:
            raise Unavailable("; ".join(map(text, missing)))


class AskingPartition(PartitionWorker):
    """The requests of one partition that have to be asked for, by agency."""

    def __init__(self, tp: TP, shared: Shared) -> None:
        """Make a worker that does nothing until it is opened."""
        super().__init__(tp)
        self._shared = shared
        self._position = 0
        self._agencies: dict[str, Courier] = {}

    @property
    def position(self) -> int:
        """Where reading goes on: after it was opened, from the topic's beginning."""
        return self._position

    async def open(self) -> None:
        """Nobody else has to be kept out: who asks again finds what was created."""
        self._position = 0
        await self._shared.join()

    async def handle(self, records: list[ConsumerRecord]) -> None:
        """Take in how requests stand now."""
        for record in records:
            if record.value is not None:
                request = _decode(record.value)
                if request["gateway"] != "manual":
                    self._courier(request["agency_id"]).take(request)
        self._position = records[-1].offset + 1
        GATEWAY_WAITING.labels(str(self.tp.partition)).set(sum(one.waiting for one in self._agencies.values()))

    async def close(self) -> None:
        """Stop asking; what is in hand is broken off, and found by whoever asks next."""
        agencies, self._agencies = self._agencies, {}
        GATEWAY_WAITING.labels(str(self.tp.partition)).set(0)
        for courier in agencies.values():
            await courier.stop()
        await self._shared.leave()

    def _courier(self, agency_id: str) -> Courier:
        courier = self._agencies.get(agency_id)
        if courier is None:
            courier = self._agencies[agency_id] = Courier(agency_id, self._shared)
        return courier


@dataclass
class _Waiting:
    request: Request
    failures: int = 0


class Courier:
    """Asks for the requests of one agency and partition, one after the other, for as long as there are any.

    One that cannot be asked for waits behind the others. While several in a row fail, all of them wait longer.
    """

    def __init__(self, agency_id: str, shared: Shared) -> None:
        """Start with nothing to do."""
        self._agency_id = agency_id
        self._shared = shared
        self._waiting: dict[Key, _Waiting] = {}
        self._queue: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        # By request: as what it stands outside, where that was made here and the log does not tell yet.
        self._made: dict[Key, str] = {}
        # Requests that were rejected, where the log does not tell yet.
        self._rejected: set[Key] = set()
        self._failures = 0
        self._something = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._waiting)

    def take(self, request: Request) -> None:
        """Note how a request stands now."""
        key = request["account_id"], request["payment_request_id"]
        if request["external_id"] is not None:
            self._made.pop(key, None)
        elif key in self._made:
            request = {**request, "external_id": self._made[key]}
        if request["status"] not in ASKED:
            self._rejected.discard(key)
        if key in self._rejected or not (to_ask(request) or to_tell(request)):
            self._waiting.pop(key, None)
            return
        known = self._waiting.get(key)
        if known is not None:
            known.request = request
            return
        self._waiting[key] = _Waiting(request)
        heapq.heappush(self._queue, (time.monotonic(), next(self._order), key))
        self._something.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"asking-{self._agency_id}")

    async def stop(self) -> None:
        """Break off what is in hand."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            while True:
                self._something.clear()
                if not self._queue:
                    await self._something.wait()
                due, _, key = self._queue[0]
                if (left := due - time.monotonic()) > 0:
                    await self._sleep(left)
                    continue
                heapq.heappop(self._queue)
                if key in self._waiting:
                    await self._try(key, self._waiting[key])
        except Exception as error:
            fail(error)

    async def _sleep(self, seconds: float) -> None:
        """Until the time is over, or something else has to be asked for."""
        try:
            async with asyncio.timeout(seconds):
                await self._something.wait()
        except TimeoutError:
            return

    async def _try(self, key: Key, waiting: _Waiting) -> None:
        request = waiting.request
        try:
            outcome = await self._do(key, request)
        except Unavailable as problem:
            waiting.failures += 1
            self._failures += 1
            pause = pause_s(waiting.failures)
            log.warning(
                "a gateway cannot be asked; trying again",
                agency=self._agency_id,
                gateway=request["gateway"],
                payment_request=key[1],
                reason=str(problem),
                pause_s=round(pause, 1),
            )
            GATEWAY_ANSWERS.labels(request["gateway"], "unavailable").inc()
            heapq.heappush(self._queue, (time.monotonic() + pause, next(self._order), key))
            await asyncio.sleep(min(pause_s(self._failures), pause))
            return
        self._failures = 0
        GATEWAY_ANSWERS.labels(request["gateway"], outcome).inc()
        if self._waiting.get(key) is waiting:
            del self._waiting[key]
            if waiting.request is not request:
                # It changed meanwhile.
                self.take(waiting.request)

    async def _do(self, key: Key, request: Request) -> str:
        """Ask, or tell that nothing is asked any more; what became of it.

        Raises:
            Unavailable: it has to be tried again.
        """
        await self._shared.links.refresh()
        try:
            asked = await self._answer(request)
        except Unavailable:
            raise
        except CallmeterError as problem:
            raise Unavailable(str(problem)) from None
        except Exception as defect:
            # Of the gateway, with what this agency has there: nobody else waits for that to be mended.
            log.error("a gateway has a defect", agency=self._agency_id, payment_request=key[1], exc_info=defect)
            raise Unavailable(f"a defect of the gateway {request['gateway']}: {defect!r}") from None
        if to_ask(request):
            await self._shared.write(*facts_of(request, asked))
            if asked.external_id is not None:
                self._made[key] = asked.external_id
            elif asked.status == "failed":
                self._rejected.add(key)
        return asked.status

    async def _answer(self, request: Request) -> ExternalRequest:
        """What the gateway says to a request that is to be asked for, or was settled here."""
        links = self._shared.links
        if links.name_of(self._agency_id) != request["gateway"]:
            raise Unavailable(
                f"agency {self._agency_id} is no longer linked to {request['gateway']}; link it again, or settle the "
                "request by hand"
            )
        gateway = links.gateway_of(self._agency_id)
        if to_tell(request):
            try:
                await gateway.cancel(request)
            except Rejected as refused:
                log.error(
                    "a gateway does not cancel",
                    agency=self._agency_id,
                    payment_request=request["payment_request_id"],
                    reason=str(refused),
                )
            return ExternalRequest(request["external_id"], "canceled")
        await self._shared.check(gateway, request)
        try:
            return await ask(gateway, request, links.buyer_of(request))
        except Rejected as refused:
            return ExternalRequest(None, "failed", str(refused))


def to_ask(request: Request) -> bool:
    """Whether a request still has to be asked for."""
    return request["status"] in ASKED and request["external_id"] is None


def to_tell(request: Request) -> bool:
    """Whether a gateway has to be told that a request was settled here, by hand or by a credit note."""
    if request["status"] not in ("paid", "canceled") or request["external_id"] is None:
        return False
    if request.get("corrects") is not None or request.get("actor") == request["gateway"]:
        return False
    return datetime.now(UTC) - datetime.fromisoformat(request["updated_at"]) < TELL_FOR


def facts_of(request: Request, asked: ExternalRequest) -> list[dict[str, Any]]:
    """What the log is told of an answer: that the request was sent, and that it is settled where it is."""
    now = datetime.now(UTC)
    own, actor = request["payment_request_id"], request["gateway"]
    facts = []
    if asked.external_id is not None:
        facts.append(sent(request, now, asked.external_id, asked.tax_micros, asked.tax_included, actor))
    if asked.status != "open":
        status = asked.status
        facts.append(settled(request, status, now, settling_id(own, status), actor, asked.external_id, asked.reason))
    return facts


def pause_s(failures: int) -> float:
    """How long to wait after so many failures: twice as long each time, up to five minutes, never quite the same."""
    longest: float = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2 ** min(failures - 1, 20))
    return longest * random.uniform(0.5, 1)
