"""Ticks: how time enters the log, written to every partition.

A tick more than 35 days past a partition's clock would close years of accounts for good if some clock was wrong, so the
meter refuses it unless it says ``jump``. Whoever writes a tick looks first, and says so in one line.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from jobs.positions import LedgerPositions
from jobs.reading import TopicReader
from rating.fold import LONGEST_STEP
from rating.outputs import encode
from streams.administration import check_topics
from streams.errors import Refused
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, LEDGER

# Further behind than that, and where a partition's clock will be is not worth finding out: the meter will judge.
MOST_PENDING = 20_000


class _MaybeTick(msgspec.Struct):
    type: str
    at: datetime | None = None


_decode = msgspec.json.Decoder(_MaybeTick).decode


def tick(at: datetime, jump: bool = False) -> bytes:
    """A tick as its record's value."""
    fact = {"type": "tick", "at": at.astimezone(UTC)}
    return encode({**fact, "jump": True} if jump else fact)


def steps_to(until: datetime, clock: datetime | None) -> list[datetime]:
    """Times of the ticks that bring a partition to a later time without a jump, ascending.

    Args:
        until: where to.
        clock: of the partition, None before the first tick, which may be any.
    """
    if clock is None:
        return [until]
    times = []
    while clock < until:
        clock = min(clock + LONGEST_STEP, until)
        times.append(clock)
    return times


async def clocks(settings: Settings) -> dict[int, datetime | None]:
    """The latest tick of each partition, whether rated or not; None where there is none, or nobody knows.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
        LedgerUnusable: the ledger is of another version.
    """
    count = await check_topics(settings, [LEDGER, ACCOUNT_EVENTS])
    async with TopicReader(settings, LEDGER, count) as ledger, TopicReader(settings, ACCOUNT_EVENTS, count) as log:
        positions = LedgerPositions(ledger)
        await positions.refresh()
        standings, ends = positions.meter(), await log.ends()
        latest = {partition: standing.clock for partition, standing in standings.items()}
        starts = {partition: standing.offset for partition, standing in standings.items()}
        for partition, end in ends.items():
            if end - starts[partition] > MOST_PENDING:
                latest[partition] = None
                starts[partition] = end
        async for record in log.read(starts, ends):
            at = _time_of(record.value)
            if at is not None:
                before = latest[record.partition]
                latest[record.partition] = at if before is None else max(at, before)
        return latest


def _time_of(value: bytes | None) -> datetime | None:
    if not value or b"tick" not in value:
        return None
    try:
        fact = _decode(value)
    except ValueError:
        return None
    return fact.at if fact.type == "tick" and fact.at is not None and fact.at.tzinfo is not None else None


def check_step(at: datetime, clocks: dict[int, datetime | None]) -> None:
    """See that no partition refuses a tick.

    Raises:
        Refused: one would, for it is further behind than a step may be.
    """
    for partition, clock in clocks.items():
        if clock is not None and at - clock > LONGEST_STEP:
            raise Refused(
                f"impossible_times: {at.isoformat()} is {(at - clock).days} days past the last tick of partition "
                f"{partition} ({clock.isoformat()}), and a step is at most {LONGEST_STEP.days} days. If no clock is "
                "wrong: `callmeter close --until TIME` goes there in steps, `callmeter clock --once --jump` at once"
            )
