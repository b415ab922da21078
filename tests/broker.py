"""What tests on the real broker share: topics of their own, records in and out, processes under test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from pydantic import SecretStr

from rating.partitioner import partition_of
from streams.administration import administration, check_topics
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS
from tests.forks import Forked

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
Fact = Mapping[str, Any] | bytes | None


async def delete_topics(settings: Settings) -> None:
    """Delete every topic with the settings' prefix, which must not be empty."""
    assert settings.topic_prefix
    async with administration(settings) as admin:
        own = [name for name in await admin.list_topics() if name.startswith(settings.topic_prefix)]
        if own:
            await admin.delete_topics(own)


async def produce(
    settings: Settings, facts: Iterable[Fact], topic: str = ACCOUNT_EVENTS, compression: str | None = None
) -> None:
    """Write facts as an outside platform would: plain producer, Java's partitioner, in the order given.

    Args:
        settings: where to.
        facts: each a JSON object or raw bytes. What has an ``account_id`` goes, keyed, to the account's partition,
            or else by its ``agency_id``; ticks and rules go to every partition, anything else to partition 0 without a
            key. None is a tombstone.
        topic: name without prefix.
        compression: ``gzip``, ``snappy``, ``lz4`` or ``zstd``, as producers may choose.
    """
    name = settings.topic(topic)
    # Larger than what the broker takes, so that a test can send what does not fit.
    async with AIOKafkaProducer(
        **settings.kafka_client(),
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        max_request_size=32 << 20,
        compression_type=compression,
    ) as producer:
        partitions = len(await producer.partitions_for(name))
        sent = []
        for fact in facts:
            value = fact if fact is None or isinstance(fact, bytes) else json.dumps(fact).encode()
            key, targets = _key_and_partitions(fact, partitions)
            for partition in targets:
                sent.append(await producer.send(name, value, key, partition))
        await asyncio.gather(*sent)


def _key_and_partitions(fact: Fact, partitions: int) -> tuple[bytes | None, Iterable[int]]:
    if fact is None:
        # A tombstone is of some key, at least for our client.
        return b"", [0]
    if isinstance(fact, bytes):
        try:
            fact = json.loads(fact)
        except ValueError:
            return None, [0]
    if isinstance(fact, Mapping):
        if fact.get("type") in ("tick", "rules.set", "agency.access", "wholesale.set"):
            return None, range(partitions)
        if isinstance(account_id := fact.get("account_id") or fact.get("agency_id"), str):
            key = account_id.encode()
            return key, [partition_of(key, partitions)]
    return None, [0]


async def read_topic(settings: Settings, name: str) -> list[ConsumerRecord]:
    """Every committed record of a topic up to now, by partition and offset.

    Args:
        settings: where from.
        name: without prefix.
    """
    count = await check_topics(settings, [name])
    partitions = [TopicPartition(settings.topic(name), number) for number in range(count)]
    async with AIOKafkaConsumer(
        **settings.kafka_client(),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        consumer.assign(partitions)
        # With read_committed this is the last stable offset: what an open transaction holds back is not waited for.
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        await consumer.seek_to_beginning(*partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for fetched in (await consumer.getmany(timeout_ms=200)).values():
                records.extend(record for record in fetched if record.offset < ends[_partition_of(record)])
    return sorted(records, key=lambda record: (record.partition, record.offset))


def _partition_of(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


async def read_values(settings: Settings, name: str) -> list[dict[str, Any]]:
    """The JSON objects of a topic, by partition and offset; tombstones left out."""
    return [json.loads(record.value) for record in await read_topic(settings, name) if record.value is not None]


@overload
async def wait_until(condition: Callable[[], Awaitable[T]], timeout: float = 60.0, what: str = "") -> T: ...
@overload
async def wait_until(condition: Callable[[], T], timeout: float = 60.0, what: str = "") -> T: ...
async def wait_until(condition: Callable[[], Any], timeout: float = 60.0, what: str = "") -> Any:
    """Calls the condition until what it gives (awaited if need be) is true, and returns that.

    What takes long to look at is looked at less often, so that most of the time is left to what is waited for.

    Args:
        condition: a function or a coroutine function; an ``AssertionError`` in it counts as not yet.
        timeout: seconds.
        what: for the message of the failure.
    """
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        began = time.monotonic()
        try:
            found = condition()
            value = await found if isinstance(found, Awaitable) else found
            if value:
                return value
            last = value
        except AssertionError as error:
            last = error
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}; last: {last!r}")
        await asyncio.sleep(min(max(0.05, 2 * (now - began)), 1))


@dataclass
class Process:
    """A ``callmeter`` process under test; its standard output and error are in ``log``."""

    popen: Forked | subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def kill(self) -> None:
        """``kill -9``, and wait until it is gone."""
        self.popen.kill()
        self.popen.wait()

    def freeze(self) -> None:
        """Stop it without ending it."""
        self.popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self.popen.send_signal(signal.SIGCONT)

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM; its exit code. Fails the test if it has to be killed."""
        if self.alive():
            self.thaw()
            self.popen.terminate()
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout:g} s of SIGTERM:\n{self.output[-4000:]}") from None


def environment(settings: Settings) -> dict[str, str]:
    """The variables that give another process these settings; nothing of the caller's own ``CALLMETER_*``."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CALLMETER_")}
    for name, value in settings.model_dump(exclude_defaults=True, exclude_none=True).items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        variables["CALLMETER_" + name.upper()] = text
    return variables


@contextmanager
def process(settings: Settings, *arguments: str, **variables: str) -> Iterator[Process]:
    """Runs ``callmeter ARGUMENTS`` with these settings; whatever happens, it is gone at the end.

    Args:
        settings: given to it as ``CALLMETER_*`` variables.
        arguments: of the command.
        variables: more of its environment, for which it starts in an interpreter of its own.
    """
    logs = settings.folder / "processes"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{len(list(logs.iterdir())):03}-{arguments[0]}.log"
    with log.open("wb") as out, open(os.devnull, "rb") as nothing:
        popen: Forked | subprocess.Popen[bytes]
        if variables:
            popen = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *arguments],
                stdin=nothing,
                stdout=out,
                stderr=out,
                cwd=ROOT,
                env={**environment(settings), **variables},
            )
        else:
            popen = Forked(list(arguments), nothing.fileno(), out.fileno(), out.fileno(), environment(settings))
    running = Process(popen, log)
    try:
        yield running
    except BaseException:
        print(f"--- callmeter {' '.join(arguments)}\n{running.output[-8000:]}", file=sys.stderr)
        raise
    finally:
        if running.alive():
            running.thaw()
            popen.terminate()
            try:
                popen.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()


def command(
    settings: Settings, *arguments: str, stdin: str | bytes = b"", timeout: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Runs ``callmeter ARGUMENTS`` to its end, with these settings; text of standard output and error apart."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin.encode() if isinstance(stdin, str) else stdin)
        given.seek(0)
        running = Forked(list(arguments), given.fileno(), out.fileno(), err.fileno(), environment(settings))
        try:
            code = running.wait(timeout)
        finally:
            if running.poll() is None:
                running.kill()
                running.wait()
        said = [file.seek(0) or file.read().decode(errors="replace") for file in (out, err)]
    return subprocess.CompletedProcess(running.args, code, *said)
