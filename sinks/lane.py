"""The way into one table, for the coroutines of a sink."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog

from sinks.clickhouse import ClickHouseAway, Store, Target
from sinks.columns import Columns
from sinks.exactly_once import Appender
from sinks.patience import Patience
from streams.observe import SINK_INSERT_SECONDS, SINK_ROWS

log = structlog.get_logger("callmeter")

GiveUp = Callable[[], bool]
T = TypeVar("T")


class Lane:
    """One connection, one staging table, one call at a time. Waits while ClickHouse is away; connects when first used.

    Both methods take ``give_up``, which is looked at while waiting, and raise `Interrupted` when it says so.
    """

    def __init__(self, target: Target, patience: Patience, table: str, scope: Mapping[str, str] | None = None) -> None:
        """Make a lane into a table; ``scope`` as for `Appender`."""
        self._target = target
        self._patience = patience
        self._table = table
        self._scope = scope
        self._appender: Appender | None = None
        self._turn = asyncio.Lock()

    async def position(self, partition: int, give_up: GiveUp) -> int | None:
        """Offset of the last row of a partition; None if it has none."""
        return await self._call(lambda appender: appender.position(partition), give_up)

    async def append(self, partition: int, columns: Columns, expected: int | None, give_up: GiveUp) -> int | None:
        """Append rows unless they are there; see `Appender.append`."""

        def append(appender: Appender) -> int | None:
            begin = time.perf_counter()
            position = appender.append(partition, columns, expected)
            SINK_INSERT_SECONDS.observe(time.perf_counter() - begin)
            return position

        position = await self._call(append, give_up)
        SINK_ROWS.labels(self._table, str(partition)).inc(len(columns["kafka_offset"]))
        return position

    def close(self) -> None:
        """Drop the staging table and disconnect, if ClickHouse is there for it."""
        if self._appender is None:
            return
        try:
            self._appender.close()
        except ClickHouseAway as error:
            log.warning("a staging table stays behind; a later sink removes it", reason=str(error))

    async def _call(self, use: Callable[[Appender], T], give_up: GiveUp) -> T:
        def call() -> T:
            if self._appender is None:
                self._appender = Appender(Store(self._target), self._table, self._scope)
            return use(self._appender)

        async with self._turn:
            return await self._patience.call(call, give_up)
