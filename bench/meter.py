"""The real meter, and other roles, as processes under measurement: the same for every figure."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.load import TICK, Filler, subscription, write
from rating.ledger import ACCOUNT
from streams.administration import administration, create_topics
from streams.errors import CallmeterError
from streams.restore import read_to_end
from streams.settings import PREFIX, Settings
from streams.topics import ACCOUNT_EVENTS, LEDGER, TOPICS

ROOT = Path(__file__).parent.parent
POLL_S = 0.01
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class MeterFailed(CallmeterError):
    """A role ended, or did not get anywhere; the text has the end of its log."""


class Role:
    """A role of ours, such as ``callmeter meter``, that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        """Watch a process whose standard output and error are in ``log``."""
        self.pid = process.pid
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raise MeterFailed if it has ended."""
        if self._process.poll() is not None:
            raise MeterFailed(f"{self._log.stem} ended:\n{self._log.read_text()[-4000:]}")


def meter(settings: Settings) -> AbstractAsyncContextManager[Role]:
    """Run one worker with these settings; it is stopped in an orderly way at the end."""
    return role(settings, "meter")


def variables_of(settings: Settings) -> dict[str, str]:
    """The environment that gives a process these settings, and no others of ours."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            secret = getattr(value, "get_secret_value", None)
            variables[PREFIX + name.upper()] = str(secret() if secret else value)
    return variables


@asynccontextmanager
async def role(settings: Settings, name: str) -> AsyncIterator[Role]:
    """Run ``callmeter NAME`` with these settings; it is stopped in an orderly way at the end."""
    log = settings.folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: ASYNC220  quick, and its like would want to be read from
            [sys.executable, "-m", "cli.main", name],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=variables_of(settings),
        )
    try:
        yield Role(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def subscribe(settings: Settings, accounts: int, terms: dict[str, object]) -> list[int]:
    """Create the topics and let a meter fold the subscriptions and a tick.

    Returns:
        by partition, the end of the log: where the calls will begin.
    """
    await create_topics(settings)
    await Filler(settings, accounts).fill(((n, subscription(n, terms)) for n in range(accounts)), [TICK])
    async with meter(settings) as running:
        while len(await accounts_of(settings)) < accounts:
            running.check()
            await asyncio.sleep(POLL_S)
    async with ends_reader(settings) as reader:
        ends = await reader.end_offsets(partitions(settings, ACCOUNT_EVENTS))
    return [ends[partition] for partition in partitions(settings, ACCOUNT_EVENTS)]


async def accounts_of(settings: Settings) -> set[bytes]:
    """Keys of the accounts in the ledger."""
    return {key for records in await ledger_of(settings) for key, _ in records if key.startswith(ACCOUNT)}


async def ledger_of(settings: Settings) -> list[list[tuple[bytes, bytes]]]:
    """By partition: every record of the ledger."""
    topic = settings.topic(LEDGER)
    return [
        [(one.key, one.value) async for some in read_to_end(settings, topic, number) for one in some]
        for number in range(settings.partitions)
    ]


async def start_afresh(settings: Settings, ledger: Sequence[Sequence[tuple[bytes, bytes]]]) -> None:
    """Make every topic but the log anew, with this ledger: a meter finds the accounts, and no call rated."""
    names = [settings.topic(topic.name) for topic in TOPICS if topic.name != ACCOUNT_EVENTS]
    async with administration(settings) as admin:
        existing = set(await admin.list_topics())
        await admin.delete_topics([name for name in names if name in existing])
        while existing.intersection(names):
            await asyncio.sleep(POLL_S)
            existing = set(await admin.list_topics())
    await create_topics(settings)
    records = ((number, key, value) for number, some in enumerate(ledger) for key, value in some)
    await write(settings, settings.topic(LEDGER), records)


def partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    """All partitions of one of our topics."""
    return [TopicPartition(settings.topic(topic), number) for number in range(settings.partitions)]


@asynccontextmanager
async def ends_reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer to ask for ends of logs, as a reader with ``read_committed`` sees them."""
    async with AIOKafkaConsumer(**settings.kafka_client(), isolation_level="read_committed") as reader:
        yield reader
