"""Limits: a million accounts in one worker, a million calls of one account, batches of the largest records.

- *Many accounts*: their records are written to the ledger as a meter would have left them. Then a real ``callmeter
  meter`` is started: seconds from its start to ``/ready``, and the memory it holds then. Next there is a call of each
  account, in no order, which decodes every one of them. Then a tick ends the period of them all. Last a meter is
  started again, on a ledger that holds the older snapshots, too.
- *One account*: so many calls in one period. A call must not cost more for those before it: the first tenth of them
  and the last.
- *Largest records*: calls of the largest size that is a fact, then values of 2 MB, which are dead letters.

Times are of the wall clock, watched from outside; memory is resident memory of the meter's process, and its peak what
was seen ten times a second.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import msgspec

from bench.figure import Run, size
from bench.lab import Cost, Lab, cost_of, step
from bench.load import PLAIN, TICK, Filler, account_id, call, subscription, write
from bench.meter import MeterFailed, Role, ends_reader, meter, partitions
from rating.facts import MAX_FACT_BYTES
from rating.fold import Fold
from rating.ledger import ACCOUNT, HISTORY, decode_account, decode_history, encode_account, encode_history
from rating.partitioner import partition_of
from rating.seen import SeenInMemory
from streams.administration import create_topics
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, LEDGER, RATED_CALLS

TITLE = "a million accounts, a million calls of one account, the largest records"
WATCH_S = 0.1
QUIET_S = 2.0
# Nothing has happened for so long: the meter hangs.
PATIENCE_S = 600.0
LETTER_BYTES = 2_000_000
PERIODS_END = b'{"type":"tick","at":"2026-12-02T00:00:00Z"}'
PERIODS_END_S = 1_796_169_600


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    accounts: int = size(1_000_000, "accounts")
    partitions: int = size(4, "partitions of every topic")
    rounds: int = size(3, "how often the accounts are restored before their first call")
    account_calls: int = size(1_000_000, "calls of the one account")
    largest: int = size(4_000, "calls of the largest size")
    letters: int = size(500, "dead letters of 2 MB")


@dataclass(frozen=True)
class Look:
    """The meter as it was at one moment: when, how many records of a topic were readable, what it had used."""

    at: float
    readable: int
    cost: Cost


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """One limit after the other."""
    if sizes.accounts:
        async for run in many_accounts(lab, sizes):
            yield run
    if sizes.account_calls:
        async for run in one_account(lab, sizes):
            yield run
    for name, count, value in (
        (f"calls of {MAX_FACT_BYTES:,} bytes", sizes.largest, largest_call),
        (f"dead letters of {LETTER_BYTES:,} bytes", sizes.letters, large_letter),
    ):
        if count:
            yield await largest_records(lab, name, count, value)


def lines(runs: Sequence[Run]) -> list[str]:
    """The worst of what has a bound: seconds of a restore, and memory."""
    shown = []
    if restored := [run.values["seconds"] for run in runs if run.what.startswith("restored")]:
        shown.append(f"limits_restore_s {max(restored):.1f}")
    if peaks := [run.values["peak MiB"] for run in runs]:
        shown.append(f"limits_peak_mib {max(peaks):.0f}")
    return shown


# -- many accounts


async def many_accounts(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Restore them, rate a call of each, end their periods, restore them again."""
    settings = lab.settings(partitions=sizes.partitions, http_port=free_port())
    with step(f"{sizes.accounts:,} accounts are written to the ledger"):
        await create_topics(settings)
        filler = Filler(settings, sizes.accounts)
        await write(settings, settings.topic(LEDGER), ledger_records(sizes.accounts, sizes.partitions))
    for number in range(1, sizes.rounds + 1):
        with step(f"restore {number} of {sizes.rounds}"):
            async with meter(settings) as running:
                yield Run("restored", await until_ready(settings, running))
    with step("a call of each account is written"):
        numbers = list(range(sizes.accounts))
        random.Random(7).shuffle(numbers)
        await filler.fill((n, call(f"call_{n:027d}", n, n % 400, n)) for n in numbers)
    async with meter(settings) as running:
        with step("a call of each account is rated"):
            looks = await watch(settings, running, RATED_CALLS, sizes.accounts)
            yield Run("a call of each", between(looks[0], looks[-1], looks))
        with step("their periods end"):
            yield Run("all periods end", await end_periods(settings, running, filler))
    with step("restore with older snapshots"):
        async with meter(settings) as running:
            yield Run("restored, with older snapshots", await until_ready(settings, running))


def ledger_records(accounts: int, count: int) -> Iterator[tuple[int, bytes, bytes]]:
    """The ledger after each account's subscription and a tick: partition, key, value."""
    fold = Fold(0, None, SeenInMemory())
    fold.fold(subscription(0, PLAIN), 0)
    fold.fold(TICK, 1)
    # The log itself is empty.
    fold.position = 0
    for key, value in fold.drain_ledger():
        if key.startswith(ACCOUNT):
            account = decode_account(value)
        elif key.startswith(HISTORY):
            history = decode_history(value)
        else:
            yield from ((partition, key, value) for partition in range(count))
    for number in range(accounts):
        fact = msgspec.json.decode(subscription(number, PLAIN))
        name = account_id(number).encode()
        account.account_id, account.agency_id = fact["account_id"], fact["agency_id"]
        account.subscription.subscription_id = account.periods[0].subscription_id = fact["subscription_id"]
        history.fact_ids = {fact["fact_id"]}
        partition = partition_of(name, count)
        yield partition, ACCOUNT + name, encode_account(account)
        yield partition, HISTORY + name, encode_history(history)


async def until_ready(settings: Settings, running: Role) -> dict[str, float]:
    """Wait for ``/ready``; the memory is looked at when it is there, and a moment later for good measure."""
    began, peak = time.perf_counter(), 0.0
    async with aiohttp.ClientSession() as session:
        while True:
            running.check()
            peak = max(peak, cost_of(running.pid).memory_mib)
            # It does not listen yet.
            with suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{settings.http_port}/ready") as answer:
                    if answer.status == 200:
                        break
            if time.perf_counter() - began > PATIENCE_S:
                raise MeterFailed("the meter is not ready")
            await asyncio.sleep(WATCH_S)
    seconds, cost = time.perf_counter() - began, cost_of(running.pid)
    return {
        "seconds": seconds,
        "CPU s": cost.cpu_s,
        "memory MiB": cost.memory_mib,
        "peak MiB": max(peak, cost.memory_mib),
    }


async def end_periods(settings: Settings, running: Role, filler: Filler) -> dict[str, float]:
    """Write the tick, and wait until every partition's clock has it."""
    before, began, peak = cost_of(running.pid), time.perf_counter(), 0.0
    await filler.fill([], [PERIODS_END])
    async with aiohttp.ClientSession() as session:
        while True:
            running.check()
            peak = max(peak, cost_of(running.pid).memory_mib)
            async with session.get(f"http://127.0.0.1:{settings.http_port}/metrics") as answer:
                page = await answer.text()
            clocks = [line.split()[1] for line in page.splitlines() if line.startswith("callmeter_partition_clock_s")]
            if len(clocks) == settings.partitions and all(float(clock) >= PERIODS_END_S for clock in clocks):
                break
            if time.perf_counter() - began > PATIENCE_S:
                raise MeterFailed("the periods do not end")
            await asyncio.sleep(WATCH_S)
    after = cost_of(running.pid)
    return {
        "seconds": time.perf_counter() - began,
        "CPU s": after.cpu_s - before.cpu_s,
        "memory MiB": after.memory_mib,
        "peak MiB": max(peak, after.memory_mib),
    }


# -- one account


async def one_account(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """All calls of one account in one period: the first tenth of them and the last."""
    settings = lab.settings(partitions=sizes.partitions, http_port=free_port())
    count = sizes.account_calls
    with step(f"{count:,} calls of one account are written"):
        await create_topics(settings)
        filler = Filler(settings, 1)
        await write(settings, settings.topic(LEDGER), ledger_records(1, sizes.partitions))
        await filler.fill((0, call(f"call_{n:027d}", 0, n % 400, n)) for n in range(count))
    with step("they are rated"):
        async with meter(settings) as running:
            looks = await watch(settings, running, RATED_CALLS, count)
    first = next(look for look in looks if look.readable >= looks[0].readable + count / 10)
    last = next(look for look in reversed(looks) if look.readable <= looks[-1].readable - count / 10)
    yield Run("one account, first tenth", between(looks[0], first, looks))
    yield Run("one account, last tenth", between(last, looks[-1], looks))


# -- largest records


async def largest_records(lab: Lab, name: str, count: int, value: Callable[[int], bytes]) -> Run:
    """Records of one partition, all in the log before the meter starts."""
    settings = lab.settings(partitions=1, http_port=free_port())
    with step(f"{count:,} {name} are written"):
        await create_topics(settings)
        await write(settings, settings.topic(LEDGER), ledger_records(1, 1))
        key = account_id(0).encode()
        await write(settings, settings.topic(ACCOUNT_EVENTS), ((0, key, value(number)) for number in range(count)))
    topic = RATED_CALLS if value is largest_call else DEAD_LETTERS
    with step("they are folded"):
        async with meter(settings) as running:
            looks = await watch(settings, running, topic, count)
    return Run(name, {**between(looks[0], looks[-1], looks), "MB": count * len(value(0)) / 1e6})


def largest_call(number: int) -> bytes:
    """A call that is as large as a fact may be, by a field that nobody reads."""
    fact = call(f"call_{number:027d}", 0, 60, number)
    padding = MAX_FACT_BYTES - len(fact) - len(b', "notes": ""')
    return fact[:-1] + b', "notes": "' + b"x" * padding + b'"}'


def large_letter(number: int) -> bytes:
    """Bytes that are no fact, for there are too many."""
    return call(f"call_{number:027d}", 0, 60, number).ljust(LETTER_BYTES)


# -- watching


async def watch(settings: Settings, running: Role, topic: str, count: int) -> list[Look]:
    """Look at the meter until so many records are readable and no more come.

    Returns:
        the moment before its first record and every change; what was readable at the beginning counts for nothing.
    """
    wanted = partitions(settings, topic)
    async with ends_reader(settings) as reader:

        async def readable() -> int:
            """Markers of transactions take offsets too, so it is only roughly the number of records."""
            return sum((await reader.end_offsets(wanted)).values())

        return await _watched(running, readable, count)


async def _watched(running: Role, readable: Callable[[], Awaitable[int]], count: int) -> list[Look]:
    looks: list[Look] = []
    before = await readable()
    changed = time.perf_counter()
    while True:
        running.check()
        look = Look(time.perf_counter(), await readable() - before, cost_of(running.pid))
        if not looks or look.readable != looks[-1].readable or look.cost.memory_mib > looks[-1].cost.memory_mib:
            if looks and look.readable != looks[-1].readable:
                changed = look.at
            looks.append(look)
        quiet = look.at - changed
        if look.readable >= count and quiet > QUIET_S:
            break
        if quiet > PATIENCE_S:
            raise MeterFailed(f"{look.readable:,} of {count:,} records came, and then none for {quiet:.0f} s")
        await asyncio.sleep(WATCH_S)
    # Before the first record, the process only starts.
    first = next(at for at, one in enumerate(looks) if one.readable)
    last = next(at for at, one in enumerate(looks) if one.readable == looks[-1].readable)
    return looks[first : last + 1]


def between(first: Look, last: Look, looks: Sequence[Look]) -> dict[str, float]:
    """What happened from one look to another."""
    done, seconds = last.readable - first.readable, last.at - first.at
    values = {"seconds": seconds}
    if done and seconds:
        values["records/s"] = done / seconds
        values["CPU us/record"] = (last.cost.cpu_s - first.cost.cpu_s) / done * 1e6
    peak = max(look.cost.memory_mib for look in looks if look.at <= last.at)
    return {**values, "memory MiB": last.cost.memory_mib, "peak MiB": peak}


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
