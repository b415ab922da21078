"""Waiting for ClickHouse as long as it takes: with growing pauses, and said in the log, ``/ready`` and a metric."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_combine, wait_exponential, wait_random

from sinks.clickhouse import ClickHouseAway
from streams.observe import SINK_WAITING

log = structlog.get_logger("callmeter")

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
# How often a pause looks whether it should end.
LOOK_S = 0.1

T = TypeVar("T")


class Interrupted(Exception):
    """The wait was given up, because whoever waits has to stop."""


class Patience:
    """Runs blocking calls to ClickHouse in threads, again and again while it is away.

    Attributes:
        reason: why nothing can be stored now; None while ClickHouse answers.
    """

    def __init__(self) -> None:
        """Start without anybody waiting."""
        self._reasons: dict[int, str] = {}
        self._since = 0.0
        self._waiters = count()

    @property
    def reason(self) -> str | None:
        """Why nothing can be stored now; None while ClickHouse answers."""
        return next(iter(self._reasons.values()), None)

    async def call(self, blocking: Callable[[], T], give_up: Callable[[], bool]) -> T:
        """Call until ClickHouse answers.

        Args:
            blocking: must be safe to repeat after an unknown outcome.
            give_up: looked at while waiting.

        Raises:
            Interrupted: ``give_up`` said so.
            ClickHouseRefused, ClickHouseUnreachable: waiting does not help.
        """
        if give_up():
            raise Interrupted
        waiter = next(self._waiters)

        async def pause(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                if give_up():
                    raise Interrupted
                await asyncio.sleep(min(LOOK_S, seconds))

        async def attempt() -> T:
            return await asyncio.to_thread(blocking)

        def say(state: RetryCallState) -> None:
            assert state.outcome is not None and state.next_action is not None
            self._waits(waiter, str(state.outcome.exception()), state.next_action.sleep)

        try:
            result: T = await AsyncRetrying(
                retry=retry_if_exception_type(ClickHouseAway),
                wait=wait_combine(wait_exponential(FIRST_PAUSE_S, LONGEST_PAUSE_S), wait_random(0, FIRST_PAUSE_S)),
                sleep=pause,
                before_sleep=say,
                reraise=True,
            )(attempt)
        finally:
            waited = self._reasons.pop(waiter, None) is not None
            SINK_WAITING.set(bool(self._reasons))
        if waited and not self._reasons:
            log.info("ClickHouse answers again", waited_s=round(time.monotonic() - self._since, 1))
        return result

    def _waits(self, waiter: int, reason: str, pause_s: float) -> None:
        if not self._reasons:
            self._since = time.monotonic()
        # One of those who wait says so for all of them.
        if waiter == next(iter(self._reasons), waiter):
            log.warning("waiting for ClickHouse; nothing is lost", reason=reason, pause_s=round(pause_s, 1))
        self._reasons[waiter] = reason
        SINK_WAITING.set(1)
