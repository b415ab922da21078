"""A platform that sends facts without a pause, as a process of its own: settings of the run in its environment.

It counts as a platform's own clients would: a fact is done when it is acknowledged by all replicas; after any error,
and after being killed, it sends everything again that it cannot know to be done. What is done is noted in its folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from rating.partitioner import partition_of
from streams.settings import Settings, load_settings
from streams.topics import ACCOUNT_EVENTS
from tests.faults.facts import Market, Sender

CHUNK_S = 0.1
VARIABLE = "FAULTS_LOAD"


def variables(market: Market, name: str, rate: float, folder: Path) -> dict[str, str]:
    """The environment that tells a platform what to send."""
    told = {
        "seed": market.seed,
        "accounts": market.accounts,
        "began": market.began.isoformat(),
        "seconds": market.seconds,
        "name": name,
        "rate": rate,
        "folder": str(folder),
    }
    return {VARIABLE: json.dumps(told)}


def done_file(folder: Path, name: str) -> Path:
    """Where a platform notes how many of its facts are acknowledged."""
    return folder / f"{name}.done"


class Platform:
    """Sends fact after fact at a steady rate; what it missed while the broker was away it sends afterwards."""

    def __init__(self, settings: Settings, told: dict[str, Any]) -> None:
        """Read what to do."""
        market = Market(told["seed"], told["accounts"], datetime.fromisoformat(told["began"]), told["seconds"])
        self._settings = settings
        self._sender = Sender(market, told["name"])
        self._random = random.Random(os.getpid())
        self._topic = settings.topic(ACCOUNT_EVENTS)
        self._done_file = done_file(Path(told["folder"]), told["name"])
        self._chunk = max(1, round(told["rate"] * CHUNK_S))
        self._done = int(self._done_file.read_text()) if self._done_file.exists() else 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop; then everything sent is acknowledged."""
        due = time.monotonic()
        while not stop.is_set():
            try:
                async with AIOKafkaProducer(
                    **self._settings.kafka_client(), acks="all", enable_idempotence=True, linger_ms=5
                ) as producer:
                    partitions = len(await producer.partitions_for(self._topic))
                    while not stop.is_set():
                        await self._send_chunk(producer, partitions)
                        due = max(due + CHUNK_S, time.monotonic() - 2.0)
                        await asyncio.sleep(max(0.0, due - time.monotonic()))
            except (KafkaError, OSError) as error:
                print(f"again: {error!r}", flush=True)
                await asyncio.sleep(0.2)

    async def _send_chunk(self, producer: AIOKafkaProducer, partitions: int) -> None:
        sent = []
        for number in range(self._done, self._done + self._chunk):
            value, account, astray = self._sender.fact(number)
            key = None if account is None else account.encode()
            partition = partition_of(key or b"", partitions)
            if astray:
                partition = self._random.randrange(partitions)
            sent.append(await producer.send(self._topic, value, key, partition))
        await asyncio.gather(*sent)
        self._done += self._chunk
        # Not at every chunk: a platform that is killed sends some of it again.
        if self._done // self._chunk % 10 == 0:
            self._note()

    def _note(self) -> None:
        new = self._done_file.with_suffix(".new")
        new.write_text(str(self._done))
        new.replace(self._done_file)

    def finish(self) -> None:
        """Note everything that is done."""
        self._note()


async def main() -> None:
    """Send until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    platform = Platform(load_settings(), json.loads(os.environ[VARIABLE]))
    await platform.run(stop)
    platform.finish()


if __name__ == "__main__":
    uvloop.run(main())
