"""Consuming on Faust without trusting its commits: what a role (meter, sink, billing job) builds on.

A role writes a `PartitionWorker` (how a partition's position and state are restored, what one batch does), and an agent
that reads as its topology::

    workers = Workers(SinkPartition, settings.flight_records, settings.batch_records)
    app = make_app("sink", settings, workers, ["rated-calls"])

    @app.agent(runs(app, "rated-calls"))
    async def store(stream):
        async for run in stream:
            await workers.put(run)

    await serve([app], settings)

Order on assignment: `Workers.assigned` fences, restores and names the positions; they are checked against the log's
start and end; then reading goes on there. When partitions are taken away, the batch in hand is finished first.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import faust
import structlog
from faust.app import BootStrategy
from faust.tables import TableManager

from streams import driver  # registers the transport's name, too
from streams.administration import check_topics
from streams.errors import CallmeterError
from streams.flight import Flight, Run
from streams.observe import Watch, configure_structlog, logging_config, observatory
from streams.process import fail
from streams.settings import Settings
from streams.worker import PartitionWorker, Workers

__all__ = ["Flight", "PartitionWorker", "RoleApp", "Run", "Workers", "make_app", "runs", "serve"]

log = structlog.get_logger("callmeter")

# Who is told to stop while it starts goes on starting for so long, and then stops in order.
START_LEFT_S = 5.0
# How late an answer of the broker may be before the role is no longer ready.
SILENCE_S = 5.0


class WithoutExtras(BootStrategy):
    """Faust starts no web server and no producer of its own, whatever its command line says."""

    enable_web = False
    enable_kafka_producer = False


class NoTables(TableManager):
    """There are no tables: nothing to wait a second for at each start and take-over."""

    async def on_start(self) -> None:
        """Register the channels, which tells the consumer to subscribe."""
        await self._update_channels()
        await self.recovery.start()


class Runs(faust.Schema):
    """The transport's messages carry a `Run` already: there is nothing to decode."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> None:
        """Runs have no key."""

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Run:
        """The run itself."""
        run: Run = message.value
        return run


class RoleApp(faust.App):
    """A Faust app that ends the process rather than go on after an error, and stops only between batches.

    Attributes:
        heard_at: when a broker last answered, as `time.monotonic` has it; None before the first time.
        given_up: it was told to end while it started; what goes wrong from then on is of no interest.
    """

    BootStrategy = WithoutExtras
    settings: Settings
    workers: Workers
    watch: Watch
    needs: Sequence[str]
    heard_at: float | None = None
    given_up = False

    @property
    def waiting_for(self) -> str | None:
        """Why the role is not ready, None if it is.

        That nothing is fetched proves nothing: while ClickHouse is away, say, nothing is asked for. But the client asks
        for metadata all the time.
        """
        if self.heard_at is not None:
            silent_s = time.monotonic() - self.heard_at
            if silent_s > driver.METADATA_AGE_S + SILENCE_S:
                return f"Kafka: no answer from the broker for {silent_s:.0f} s"
        return self.workers.waiting_for

    @property
    def flight(self) -> Flight:
        """The budget of records in flight."""
        return self.workers.flight

    async def on_first_start(self) -> None:
        """Faust would make folders for its tables; look instead whether the topics are there."""
        try:
            await _check(self.settings, self.needs)
        except CallmeterError as error:
            fail(error)

    async def on_start(self) -> None:
        """Show the role to the outside."""
        await observatory.add(self.watch, self.settings)
        await super().on_start()

    async def on_stop(self) -> None:
        """Stop the flow, finish the batches in hand; only then leave the group."""
        log.info("stopping", role=self.watch.role)
        await super().on_stop()
        try:
            await self.workers.close()
        except Exception as error:
            fail(error)
        await observatory.remove(self.watch)

    async def give_up(self) -> None:
        """End though it has not started: nothing is in hand. Without its broker an app starts for ever."""
        self.given_up = True
        await self.workers.close()
        if self._consumer is not None:
            await self._consumer.give_up()

    async def crash(self, reason: BaseException) -> None:
        """Whatever dies inside Faust takes the process with it."""
        fail(reason)


def make_app(role: str, settings: Settings, workers: Workers, needs: Iterable[str]) -> RoleApp:
    """A Faust app on our transport.

    Args:
        role: ``meter``, ``sink``, ``billing``; the consumer group is ``<group_id>-<role>``.
        settings: checked settings.
        workers: what handles the partitions, and knows where reading goes on.
        needs: all topics that the role reads or writes, without prefix. They must exist, with the same number of
            partitions.
    """
    configure_structlog()
    group = f"{settings.group_id}-{role}"
    app = RoleApp(
        group,
        broker=f"callmeter://{settings.bootstrap}",
        datadir=settings.folder / "faust",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        agent_supervisor="mode.supervisors.CrashingSupervisor",
        broker_max_poll_records=5_000,
        consumer_max_fetch_size=4 << 20,
        broker_commit_interval=2.0,
        # A restore may take long, and Faust would go on without it when this is over.
        broker_request_timeout=86_400.0,
        TableManager=NoTables,
        stream_wait_empty=False,
        stream_buffer_maxsize=1_000_000,
        logging_config=logging_config(settings),
    )
    app.settings = settings
    app.workers = workers
    app.needs = tuple(needs)
    app.watch = Watch(role, lambda: app.waiting_for)
    return app


def runs(app: RoleApp, *topics: str) -> Any:
    """The channel of an agent: runs of records of these topics (names without prefix)."""
    return app.topic(*map(app.settings.topic, topics), schema=Runs(), acks=False)


async def _check(settings: Settings, topics: Iterable[str]) -> None:
    # The library logs every address that does not answer; what is raised here says it once.
    library = logging.getLogger("aiokafka")
    level = library.level
    library.setLevel(logging.CRITICAL)
    try:
        await check_topics(settings, sorted(topics))
    finally:
        library.setLevel(level)


Job = Callable[[asyncio.Event], Awaitable[None]]


async def serve(apps: Sequence[RoleApp], settings: Settings, *beside: Job) -> None:
    """Run apps in this process until SIGTERM or SIGINT, then stop them one after the other, in order.

    Anything unexpected ends the process with a code other than 0; see `streams.process`.

    Args:
        apps: the roles.
        settings: checked settings.
        beside: jobs that run beside them, each until the event it is given is set; they stop before the apps.

    Raises:
        BrokerUnreachable: no broker answers at the start.
        TopicMissing: a topic that is needed is not there.
    """
    await _check(settings, {topic for app in apps for topic in app.needs})
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    started: list[RoleApp] = []
    starting = asyncio.create_task(_start(apps, started))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        await asyncio.wait((starting,), timeout=START_LEFT_S)
    if starting.done():
        await starting
        jobs = [asyncio.create_task(_run_beside(job, stop)) for job in beside]
        await stopping
        await asyncio.gather(*jobs)
    else:
        starting.cancel()
        await apps[len(started)].give_up()
    for app in started:
        await app.stop()


async def _start(apps: Sequence[RoleApp], started: list[RoleApp]) -> None:
    # All of them at once: the process is not ready before the last one is.
    for app in apps:
        await observatory.add(app.watch, app.settings)
    for app in apps:
        await app.start()
        started.append(app)


async def _run_beside(job: Job, stop: asyncio.Event) -> None:
    try:
        await job(stop)
    except Exception as error:
        fail(error)
