"""What is kept in compacted topics: can every record that counts be read, and is every position in its log?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

from catalogue.store import decode as decode_entry
from jobs.doctor.finding import Finding, failed, ok, warning
from jobs.positions import LedgerPositions
from jobs.reading import Offsets, TopicReader
from rating.agencies import AgencyFold, totals_row
from rating.fold import Fold
from rating.seen import SeenInMemory
from streams.administration import find_topics
from streams.errors import CallmeterError
from streams.fenced import POSITION, decode_position
from streams.restore import Restoring
from streams.settings import Settings
from streams.topics import (
    ACCOUNT_EVENTS,
    AGENCY_EVENTS,
    AGENCY_LEDGER,
    BILLING_EVENTS,
    BILLING_LEDGER,
    CATALOGUE,
    LEDGER,
)

# How far a topic was read: its name, records so far, records in all.
Show = Callable[[str, int, int], None]
Restore = Callable[[bytes, bytes | None], None]

# Without any record for so long, the broker has gone away.
STALL_S = 30.0
BROKEN_SHOWN = 20
AHEAD = timedelta(minutes=1)


def _ledger(partition: int) -> Restore:
    """The meter's own way to read."""
    return Fold(partition, None, SeenInMemory()).restore


def _billing(partition: int) -> Restore:
    def restore(key: bytes, value: bytes | None) -> None:
        if key != POSITION or value is None:
            raise ValueError("a record of an unknown kind")
        decode_position(value)

    return restore


def _catalogue(partition: int) -> Restore:
    def restore(key: bytes, value: bytes | None) -> None:
        if value is not None:
            decode_entry(key, value)

    return restore


def _agencies(partition: int) -> Restore:
    """The second fold's own way to read, and the sink's."""
    fold = AgencyFold(partition, partition + 1)

    def restore(key: bytes, value: bytes | None) -> None:
        fold.restore(key, value)
        if value is not None:
            totals_row(key, value)

    return restore


TOPICS = {LEDGER: _ledger, AGENCY_LEDGER: _agencies, BILLING_LEDGER: _billing, CATALOGUE: _catalogue}
WHO_STOPS = {
    LEDGER: "the meter",
    AGENCY_LEDGER: "the meter",
    BILLING_LEDGER: "the billing job",
    CATALOGUE: "every command that reads the catalogue",
}


async def look_at_state(settings: Settings, show: Show) -> AsyncIterator[Finding]:
    """Read every record of the ledgers and of the catalogue.

    Raises:
        BrokerUnreachable: no broker answers.
        TimeoutError: it stopped to answer.
    """
    found = await find_topics(settings)
    for name in TOPICS:
        if name not in found:
            continue
        check = f"records of {name}"
        broken, records = await _read(settings, name, found[name].partitions, show)
        if not broken:
            yield ok(check, f"{records:,} read")
            continue
        for error in broken[:BROKEN_SHOWN]:
            yield failed(
                check,
                str(error),
                f"it stops {WHO_STOPS[name]}. A version of Callmeter that wrote it reads it; else write a good record "
                "with its key, or restore the topics from a backup (docs/deployment.md)",
            )
        if len(broken) > BROKEN_SHOWN:
            yield failed(check, f"{len(broken) - BROKEN_SHOWN:,} more of {records:,} cannot be read", "")


async def _read(settings: Settings, name: str, partitions: int, show: Show) -> tuple[list[CallmeterError], int]:
    """The records that count and cannot be read, and how many there are in all, outdated ones too."""
    broken: list[CallmeterError] = []
    records = done = 0
    loop = asyncio.get_running_loop()
    async with TopicReader(settings, name, partitions) as reader:
        starts, ends = await reader.starts(), await reader.ends()
        total = sum(ends.values()) - sum(starts.values())
        for partition in reader.partitions:
            restoring = Restoring(TOPICS[name](partition))
            async with asyncio.timeout(STALL_S) as limit:
                async for record in reader.read({partition: starts[partition]}, {partition: ends[partition]}):
                    restoring.take([record])
                    records += 1
                    if not records % 1_000:
                        limit.reschedule(loop.time() + STALL_S)
                        show(name, done + record.offset - starts[partition], total)
            done += ends[partition] - starts[partition]
            show(name, done, total)
            broken += restoring.broken
    return broken, records


async def look_at_positions(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the positions of meter and billing job are in their logs, and no clock is ahead of ours.

    Raises:
        BrokerUnreachable: no broker answers.
        LedgerUnusable: a position cannot be read.
        TimeoutError: the broker stopped to answer.
    """
    found = await find_topics(settings)
    for role, ledger, log in (
        ("meter", LEDGER, ACCOUNT_EVENTS),
        ("meter for agencies", AGENCY_LEDGER, AGENCY_EVENTS),
        ("billing job", BILLING_LEDGER, BILLING_EVENTS),
    ):
        if ledger not in found or log not in found or found[ledger].partitions != found[log].partitions:
            continue
        async with (
            asyncio.timeout(STALL_S),
            TopicReader(settings, ledger, found[ledger].partitions) as reader,
            TopicReader(settings, log, found[log].partitions) as logs,
        ):
            positions = LedgerPositions(reader)
            await positions.refresh()
            standings = positions.meter() if ledger == LEDGER else {}
            offsets = {at: one.offset for at, one in standings.items()} or (
                positions.agencies() if ledger == AGENCY_LEDGER else positions.billing()
            )
            starts, ends = await logs.starts(), await logs.ends()
        for finding in outside(
            f"position of the {role}", settings.topic(log), offsets, starts, ends, "It refuses to start"
        ):
            yield finding
        clocks = {partition: one.clock for partition, one in standings.items() if one.clock}
        if clocks:
            yield _ticks(clocks)


def outside(check: str, topic: str, offsets: Offsets, starts: Offsets, ends: Offsets, then: str) -> list[Finding]:
    """What is to be said of positions: one finding for each that is not in its log, or one for all.

    Args:
        check: the check's name.
        topic: the broker's name of the log.
        offsets: by partition, where reading goes on.
        starts, ends: of the log's partitions.
        then: what comes of it.
    """
    findings = []
    for partition, offset in offsets.items():
        if partition not in ends:
            detail = f"{topic} has no partition {partition}, which a position of {offset} is for"
        elif offset > ends[partition]:
            detail = f"{topic}-{partition}: offset {offset} is beyond the log's end at {ends[partition]}"
        elif offset < starts[partition]:
            detail = f"{topic}-{partition}: offset {offset} is before the log's start at {starts[partition]}"
        else:
            continue
        findings.append(
            failed(
                check, detail, f"{then}: records were lost, or the topic was made anew. Restore it (docs/deployment.md)"
            )
        )
    behind = sum(ends[partition] - offset for partition, offset in offsets.items() if partition in ends)
    return findings or [ok(check, f"in the log, {behind:,} records or markers behind its end")]


def _ticks(clocks: dict[int, datetime]) -> Finding:
    latest = max(clocks.values())
    if latest - datetime.now(UTC) > AHEAD:
        return warning(
            "ticks",
            f"the log's clock is at {latest.isoformat()}, ahead of this machine's",
            "if nobody meant it, a machine that ticks has a wrong clock: synchronize it; periods close early",
        )
    return ok("ticks", f"the latest is of {latest.isoformat()}")
