"""Where figures are measured: a broker, settings with names of their own, and what a process costs."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from deploy.kafka.broker import KafkaBroker
from streams.administration import administration
from streams.settings import Settings, load_settings

MIB = 1 << 20


class Lab:
    """A temporary folder and a broker of its own, started when first needed.

    With ``CALLMETER_KAFKA_BOOTSTRAP`` set, that broker is used; the topics, ``bench-...``, are deleted at the end.
    """

    def __init__(self) -> None:
        """Prepare; nothing runs yet. Use as a context manager."""
        self._stack = ExitStack()
        self._prefix = f"bench-{os.getpid()}-"
        self._numbers = itertools.count(1)
        self._bootstrap: str | None = None

    def __enter__(self) -> Lab:
        """Make the folder."""
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="callmeter-bench-")))
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the broker and remove the folder."""
        self._stack.close()

    @property
    def bootstrap(self) -> str:
        """Where the broker is."""
        if self._bootstrap is None:
            self._bootstrap = load_settings().kafka_bootstrap or self._start_broker()
            if load_settings().kafka_bootstrap:
                self._stack.callback(lambda: asyncio.run(self._delete_topics()))
        return self._bootstrap

    def settings(self, **overrides: Any) -> Settings:
        """Settings with topics, group, transactional ids and folder of their own."""
        name = f"{self._prefix}{next(self._numbers)}"
        values = {
            "kafka_bootstrap": self.bootstrap,
            "data_folder": self.folder / name,
            "topic_prefix": f"{name}-",
            "group_id": name,
            "transactional_id": name,
            "http_port": 0,
        }
        settings = load_settings(**{**values, **overrides})
        settings.folder.mkdir(parents=True, exist_ok=True)
        return settings

    async def _delete_topics(self) -> None:
        async with administration(load_settings()) as admin:
            if ours := [name for name in await admin.list_topics() if name.startswith(self._prefix)]:
                await admin.delete_topics(ours)

    def _start_broker(self) -> str:
        broker = KafkaBroker(self.folder / "kafka", port=0)
        self._stack.callback(broker.stop)
        say("starting a broker")
        broker.start()
        return broker.bootstrap


@dataclass(frozen=True)
class Cost:
    """What a process has used so far: CPU seconds of all its threads, MiB it holds in memory."""

    cpu_s: float
    memory_mib: float


def cost_of(pid: int | None = None) -> Cost:
    """The cost of a process, this one by default."""
    process = psutil.Process(pid)
    with process.oneshot():
        times = process.cpu_times()
        return Cost(times.user + times.system, process.memory_info().rss / MIB)


def say(what: str) -> None:
    """Show progress."""
    print(f"  {what}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Show what begins."""
    say(what)
    yield
