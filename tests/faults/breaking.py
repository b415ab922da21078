"""How each kind of fault is done. A function returns when what it broke is whole again, or left to the supervisor."""

from __future__ import annotations

import asyncio
import itertools
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import psutil
from aiokafka import AIOKafkaProducer

from rating.partitioner import partition_of
from streams.administration import create_topics
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS, BILLING_LEDGER, LEDGER, RATED_CALLS
from tests.broker import environment, produce, read_values
from tests.faults.facts import due_at
from tests.faults.gateway import CRASH
from tests.faults.schedule import Fault
from tests.faults.units import Unit
from tests.faults.world import PARTITIONS, OpenTransactions, World
from tests.streams.meters import calls, make_anew, rated, subscribed

PLACING_S = 60.0
REFUSAL = "somebody's transaction has been open"
# Four slices of the meter's.
LARGE_TICK_ACCOUNTS = 8_000
SLICE_ACCOUNTS = 2_000
LARGE_TICK_IN_S = 12.0


class NotPlaced(Exception):
    """The moment for a fault did not come, or it cannot be done on this machine."""


async def kill(world: World, fault: Fault) -> None:
    """Kill a process."""
    (await _some(world, fault)).kill()


async def terminate(world: World, fault: Fault) -> None:
    """Ask a process to end."""
    (await _some(world, fault)).send(signal.SIGTERM)


async def freeze(world: World, fault: Fault) -> None:
    """Stop a process for longer than its session, so that others take over, and let it go on."""
    unit = await _some(world, fault)
    unit.freeze()
    await asyncio.sleep(fault.seconds)
    unit.thaw()


async def kill_broker(world: World, fault: Fault) -> None:
    """Kill the broker and start it again."""
    await asyncio.to_thread(world.broker.kill)
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(world.broker.start)


async def freeze_broker(world: World, fault: Fault) -> None:
    """Stop the broker for a while."""
    await asyncio.to_thread(world.broker.freeze)
    await asyncio.sleep(fault.seconds)
    world.broker.thaw()


async def slow_clickhouse(world: World, fault: Fault) -> None:
    """Every answer of ClickHouse takes a second."""
    await asyncio.to_thread(world.clickhouse.tell, "slow 1")
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(world.clickhouse.tell, "slow 0")


async def freeze_clickhouse(world: World, fault: Fault) -> None:
    """Stop ClickHouse for a while."""
    await asyncio.to_thread(world.clickhouse.freeze)
    await asyncio.sleep(fault.seconds)
    world.clickhouse.thaw()


async def clickhouse_away(world: World, fault: Fault) -> None:
    """ClickHouse refuses connections for a while."""
    await asyncio.to_thread(world.clickhouse.tell, "away")
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(world.clickhouse.tell, "back")


async def kill_clickhouse(world: World, fault: Fault) -> None:
    """Kill ClickHouse and start it again."""
    await asyncio.to_thread(world.clickhouse.kill)
    await asyncio.sleep(fault.seconds)
    await asyncio.to_thread(world.clickhouse.start)


async def fight(world: World, fault: Fault) -> None:
    """A sink of another group stores the same partitions into the same tables."""
    name = f"fighter-{fault.dice}"
    fighter = world.add("sink", name, group_id=name)
    await asyncio.sleep(fault.seconds)
    if fault.dice % 2:
        fighter.wanted = False
        fighter.kill()
    else:
        await world.supervisor.stop(fighter)


async def two_clocks(world: World, fault: Fault) -> None:
    """A second clock beside the first."""
    clock = world.add("clock", f"clock-{fault.dice}")
    await asyncio.sleep(fault.seconds)
    await world.supervisor.stop(clock)


async def wrong_clock(world: World, fault: Fault) -> None:
    """A clock on a machine whose time is wrong, beside the right one: an hour or a little late, ahead, or far ahead."""
    off = (-3_600.0, -30.0, 15.0, 40 * 86_400.0)[fault.dice % 4]
    name = f"wrong-clock-{fault.dice}"
    clock = world.supervisor.add(name, "clock", world.environment_of(name), "tests.faults.wrong_clock", str(off))
    await asyncio.sleep(fault.seconds)
    await world.supervisor.stop(clock)


async def storm(world: World, fault: Fault) -> None:
    """Every two seconds a meter comes or goes, orderly or not."""
    rnd, until, number = random.Random(fault.dice), time.monotonic() + fault.seconds, 0
    extra: list[Unit] = []
    while time.monotonic() < until:
        if extra and rnd.random() < 0.5:
            unit = extra.pop(rnd.randrange(len(extra)))
            unit.wanted = False
            unit.send(rnd.choice((signal.SIGTERM, signal.SIGKILL)))
        else:
            number += 1
            extra.append(world.add("meter", f"storm-{fault.dice}-{number}"))
        await asyncio.sleep(2.0)
    await asyncio.gather(*(world.supervisor.stop(unit) for unit in extra))


async def kill_in_transaction(world: World, fault: Fault) -> None:
    """Kill a process while its transaction is open."""
    (await _frozen_in_transaction(world, fault)).kill()


async def terminate_in_transaction(world: World, fault: Fault) -> None:
    """Ask a process to end while its transaction is open."""
    unit = await _frozen_in_transaction(world, fault)
    unit.send(signal.SIGTERM)
    unit.thaw()


async def freeze_in_transaction(world: World, fault: Fault) -> None:
    """Stop a process while its transaction is open, for longer than its session, and let it go on."""
    unit = await _frozen_in_transaction(world, fault)
    await asyncio.sleep(fault.seconds)
    unit.thaw()


async def kill_at_gateway(world: World, fault: Fault) -> None:
    """Kill the billing job after the gateway was asked and before the fact is written."""
    crash = world.gateway.parent / CRASH
    crash.touch()
    now = datetime.now(UTC)
    await produce(
        world.settings,
        [
            {
                "type": "pack.applied", "fact_id": f"pack-{fault.dice}-{number}", "account_id": f"canary_{number}",
                "agency_id": "ag_0", "at": now.isoformat(), "pack": "boost", "minutes": 1, "price_micros": 1_000_000,
                "currency": "USD",
            }
            for number in range(8)
        ],
    )  # fmt: skip
    await _until(lambda: not crash.exists(), "the gateway to be asked")


async def kill_before_insert(world: World, fault: Fault) -> None:
    """Kill a sink whose insert was sent, but not done; it is done long after."""
    await _hold_and_kill(world, "before")
    # By then another sink has stored these rows.
    await asyncio.sleep(3 + fault.dice % 5)
    await asyncio.to_thread(world.clickhouse.release)


async def kill_after_insert(world: World, fault: Fault) -> None:
    """Kill a sink whose insert was done, before it knows."""
    await _hold_and_kill(world, "after")
    await asyncio.to_thread(world.clickhouse.release)


async def kill_in_large_tick(world: World, fault: Fault) -> None:
    """Kill every meter while one tick closes the periods of thousands of accounts, and some are done."""
    partition = fault.dice % PARTITIONS
    boundary = datetime.now(UTC) + timedelta(seconds=LARGE_TICK_IN_S)
    names = (f"tick-{fault.dice}-{number}" for number in itertools.count())
    mine = (name for name in names if partition_of(name.encode(), PARTITIONS) == partition)
    accounts = list(itertools.islice(mine, LARGE_TICK_ACCOUNTS))
    async with OpenTransactions(world.settings, BILLING_EVENTS) as events:
        before = (await events.committed())[partition]
        await produce(world.settings, [due_at(account, boundary) for account in accounts])
        # Each gives out its status and its first period.
        while (await events.committed())[partition] < before + 2 * len(accounts):
            if datetime.now(UTC) > boundary:
                raise NotPlaced("the accounts were not there in time")
            await asyncio.sleep(0.1)
        before = (await events.committed())[partition]
        # One slice of accounts, of each the end of a period and the beginning of the next.
        while (await events.committed())[partition] < before + SLICE_ACCOUNTS:
            if datetime.now(UTC) > boundary + timedelta(seconds=PLACING_S):
                raise NotPlaced("the tick did not come")
            await asyncio.sleep(0)
        meters = [unit for unit in world.supervisor.of("meter") if unit.freeze()]
        done = (await events.committed())[partition] - before
        if done >= 2 * len(accounts):
            for unit in meters:
                unit.thaw()
            raise NotPlaced("the tick was done too soon")
        for unit in meters:
            unit.kill()


async def fill_disk(world: World, fault: Fault) -> None:
    """The disk of a meter is full when it starts, or is told to end; later there is room again."""
    if world.small_disk is None:
        raise NotPlaced("this user may not mount a small disk")
    filler = world.small_disk / "filler"
    (meter,) = [unit for unit in world.supervisor.of("meter") if unit.name == world.small_disk.name]
    try:
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        meter.send(signal.SIGTERM if fault.dice % 2 else signal.SIGKILL)
        await asyncio.sleep(fault.seconds)
    finally:
        filler.unlink(missing_ok=True)


async def hold_ledger(world: World, fault: Fault) -> None:
    """Somebody else's transaction stays open in a partition of the ledger, and the meters start again meanwhile."""
    producer = AIOKafkaProducer(
        **world.settings.kafka_client(),
        transactional_id=f"foreign-{fault.dice}",
        transaction_timeout_ms=300_000,
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(world.settings.topic(LEDGER), b"?", b"foreign", fault.dice % PARTITIONS)
        ended = len(world.supervisor.ends)
        for unit in world.supervisor.of("meter"):
            unit.kill()
        if fault.dice % 2:
            # Longer than a meter waits: it must end and name the partition, rather than trust the ledger.
            await _until(lambda: any(REFUSAL in end.words for end in world.supervisor.ends[ended:]), REFUSAL)
        else:
            await asyncio.sleep(fault.seconds)
        await producer.abort_transaction()
    except NotPlaced:
        world.troubles.append("no meter refused a ledger with an open transaction of somebody else's")
    finally:
        await producer.stop()


async def make_log_anew(world: World, fault: Fault) -> None:
    """The log of another pipeline is deleted and made anew, shorter or longer than it was: nobody may rate on."""
    name = f"anew-{fault.dice}"
    settings = world.settings.model_copy(
        update={
            "topic_prefix": f"{name}-",
            "group_id": name,
            "transactional_id": name,
            "partitions": 1,
            "data_folder": world.folder / name,
        }
    )
    settings.folder.mkdir()
    await create_topics(settings)
    before = [*subscribed(5), *calls(5, 0, 100)]
    await produce(settings, before)
    meter = world.supervisor.add(name, "other meter", environment(settings), "cli.main", "meter")
    await rated(settings, 100)
    if fault.dice % 2:
        # It is not even running then.
        await world.supervisor.stop(meter)
    await make_anew(settings, ACCOUNT_EVENTS)
    longer = fault.dice % 4 < 2
    await produce(settings, [*subscribed(5), *calls(5, 1_000, 300 if longer else 20)])
    ended = len(world.supervisor.ends)
    if not meter.wanted:
        meter = world.supervisor.add(f"{name}-2", "other meter", environment(settings), "cli.main", "meter")

    def refused() -> bool:
        return any(end.unit == meter.name and end.code == 1 for end in world.supervisor.ends[ended:])

    try:
        await _until(refused, "the meter to refuse the log")
    except NotPlaced:
        world.troubles.append(f"a meter did not refuse a log made anew ({'longer' if longer else 'shorter'})")
    meter.wanted = False
    meter.kill()
    found = await read_values(settings, RATED_CALLS)
    if len(found) != 100:
        world.troubles.append(f"a meter rated {len(found) - 100} calls of a log made anew")


BREAK: dict[str, Callable[[World, Fault], Awaitable[None]]] = {
    "kill -9": kill,
    "SIGTERM": terminate,
    "frozen beyond fencing": freeze,
    "broker killed": kill_broker,
    "broker frozen": freeze_broker,
    "ClickHouse slow": slow_clickhouse,
    "ClickHouse frozen": freeze_clickhouse,
    "ClickHouse away": clickhouse_away,
    "ClickHouse killed": kill_clickhouse,
    "sinks fight": fight,
    "two clocks": two_clocks,
    "wrong clock": wrong_clock,
    "rebalance storm": storm,
    "killed in a transaction": kill_in_transaction,
    "SIGTERM in a transaction": terminate_in_transaction,
    "frozen in a transaction": freeze_in_transaction,
    "killed between gateway and fact": kill_at_gateway,
    "sink killed before an insert": kill_before_insert,
    "sink killed after an insert": kill_after_insert,
    "killed in a large tick": kill_in_large_tick,
    "disk full": fill_disk,
    "foreign transaction": hold_ledger,
    "log made anew": make_log_anew,
}


async def _some(world: World, fault: Fault) -> Unit:
    """A process of the fault's role, which one is in its dice."""
    rnd = random.Random(fault.dice)
    deadline = time.monotonic() + PLACING_S
    while True:
        alive = [unit for unit in world.supervisor.of(fault.role) if unit.alive() and not unit.frozen]
        if alive:
            return rnd.choice(alive)
        if time.monotonic() > deadline:
            raise NotPlaced(f"there is no {fault.role} that runs")
        await asyncio.sleep(0.05)


async def _frozen_in_transaction(world: World, fault: Fault) -> Unit:
    """A process of the fault's role, stopped while a transaction of its own is open."""
    topic = BILLING_LEDGER if fault.role == "billing" else LEDGER
    rnd, deadline = random.Random(fault.dice), time.monotonic() + PLACING_S
    async with OpenTransactions(world.settings, topic) as transactions:
        while time.monotonic() < deadline:
            unit = await _some(world, fault)
            if unit.freeze():
                first = await transactions.open()
                if first:
                    # Others' transactions end meanwhile; that of a stopped process does not.
                    await asyncio.sleep(0.2)
                    if first.items() & (await transactions.open()).items():
                        return unit
                unit.thaw()
            await asyncio.sleep(rnd.uniform(0.0, 0.05))
    raise NotPlaced(f"no {fault.role} had a transaction open")


async def _hold_and_kill(world: World, where: str) -> None:
    clickhouse = world.clickhouse
    await asyncio.to_thread(clickhouse.tell, f"hold {where}")
    try:
        await _until(lambda: clickhouse.held is not None, "a sink's insert")
        sinks = [unit for unit in world.supervisor.of("sink") if unit.alive() and clickhouse.held in _ports(unit)]
        if not sinks:
            raise NotPlaced("the sink whose insert was held has ended")
        sinks[0].kill()
    except NotPlaced:
        await asyncio.to_thread(clickhouse.release)
        raise


def _ports(unit: Unit) -> set[int]:
    return {each.laddr.port for each in psutil.Process(unit.pid).net_connections("tcp") if each.laddr}


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PLACING_S
    while not condition():
        if time.monotonic() > deadline:
            raise NotPlaced(f"waited {PLACING_S:g} s for {what}")
        await asyncio.sleep(0.01)
