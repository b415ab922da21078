"""The clock: a tick to every partition, at whole multiples of an interval.

The times are aligned, so that several clocks write the same ticks, of which the meter ignores all but the first. A
clock that is late leaves out what it missed: only the newest tick counts. It never jumps: where a step would be too
long, on this machine's word alone, it stops and says so.
"""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta

import structlog

from jobs.ticks import check_step, clocks, tick
from rating.period import EPOCH
from streams.observe import TICKS, Watch, observatory
from streams.producer import FactProducer
from streams.settings import Settings

# How late the broker's answer may be before the clock is no longer ready. After 30 s it ends.
SILENCE_S = 5.0
SHORTEST_INTERVAL = timedelta(milliseconds=1)

log = structlog.get_logger("callmeter")


async def run_clock(settings: Settings) -> None:
    """Tick until SIGTERM or SIGINT.

    Raises:
        Refused: the last tick is more than 35 days ago.
        BrokerUnreachable, TopicMissing: there is nothing to write to.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await keep_ticking(settings, stop)


async def keep_ticking(settings: Settings, stop: asyncio.Event) -> None:
    """Tick until an event is set; raises like `run_clock`."""
    interval = max(timedelta(seconds=settings.tick_interval_s), SHORTEST_INTERVAL)
    latest = await clocks(settings)
    check_step(datetime.now(UTC), latest)
    ticked = False
    # Since when a tick has been waiting to be acknowledged; None between two ticks.
    asked_at: float | None = None

    def waiting() -> str | None:
        if not ticked:
            return "the first tick to be acknowledged"
        silent_s = 0.0 if asked_at is None else time.monotonic() - asked_at
        return f"Kafka: no answer from the broker for {silent_s:.0f} s" if silent_s > SILENCE_S else None

    watch = Watch("clock", waiting)
    async with FactProducer(settings) as producer:
        await observatory.add(watch, settings)
        try:
            while not stop.is_set():
                at = aligned(datetime.now(UTC), interval)
                check_step(at, latest)
                asked_at = time.monotonic()
                await producer.publish(tick(at))
                ticked, asked_at = True, None
                TICKS.inc()
                latest = dict.fromkeys(latest, at)
                await _sleep_until(at + interval, stop)
        finally:
            await observatory.remove(watch)
    log.info("stopped", role="clock")


async def tick_once(settings: Settings, at: datetime, jump: bool = False) -> None:
    """Write one tick to every partition.

    Args:
        settings: checked settings.
        at: the time, with a zone.
        jump: allow it to be more than 35 days past the last one.

    Raises:
        Refused: it is further, without ``jump``.
        BrokerUnreachable, TopicMissing: there is nothing to write to.
    """
    if not jump:
        check_step(at, await clocks(settings))
    async with FactProducer(settings) as producer:
        await producer.publish(tick(at, jump))


def aligned(at: datetime, interval: timedelta) -> datetime:
    """The latest multiple of an interval, counted from 1970, that is not after a time."""
    return EPOCH + (at - EPOCH) // interval * interval


async def _sleep_until(at: datetime, stop: asyncio.Event) -> None:
    seconds = (at - datetime.now(UTC)).total_seconds()
    if seconds > 0:
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
