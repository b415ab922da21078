"""All checks, one after the other, whatever becomes of the ones before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from aiokafka.errors import KafkaError

from jobs.doctor.clickhouse import ClickHouseLook
from jobs.doctor.finding import Finding, failed, warning
from jobs.doctor.kafka import look_at_broker, look_at_topics
from jobs.doctor.machine import look_at_disk, look_at_indexes
from jobs.doctor.state import Show, look_at_positions, look_at_state
from streams.errors import CallmeterError
from streams.settings import Settings


async def examine(settings: Settings, show: Show) -> AsyncIterator[Finding]:
    """Look a deployment over; findings come as they are made.

    Args:
        settings: checked settings.
        show: told how far a long read is.
    """
    there = True
    async for finding in _guarded("broker", look_at_broker(settings)):
        there = there and finding.status != "failed"
        yield finding
    clickhouse = ClickHouseLook(settings)
    looks: list[tuple[str, Callable[[], AsyncIterator[Finding]]]] = [
        ("topics", lambda: look_at_topics(settings)),
        ("records of the ledgers", lambda: look_at_state(settings, show)),
        ("positions", lambda: look_at_positions(settings)),
    ]
    for check, look in looks:
        if there:
            async for finding in _guarded(check, look()):
                yield finding
        else:
            yield warning(check, "not looked at, for want of a broker", "look again when it answers")
    async for finding in _guarded("ClickHouse", clickhouse.look_at_server()):
        yield finding
    if there:
        async for finding in _guarded("positions of the sink", clickhouse.look_at_positions()):
            yield finding
    for beside in (look_at_disk, look_at_indexes):
        for finding in await asyncio.to_thread(_all, beside, settings):
            yield finding


def _all(look: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    return list(look(settings))


async def _guarded(check: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
    """What cannot be looked at is a finding too."""
    try:
        async for finding in findings:
            yield finding
    except CallmeterError as error:
        yield failed(check, str(error), "")
    except TimeoutError:
        yield failed(check, "Kafka has stopped to answer", "see the broker's log, and look again")
    except (KafkaError, OSError) as error:
        yield failed(check, f"Kafka does not do its part: {error!r}", "see the broker's log")
