"""Fixtures on real parts: one Kafka broker for the session, topics and a data folder of its own for each test."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from deploy.kafka.broker import KafkaBroker
from streams.administration import create_topics
from streams.settings import Settings
from tests.broker import delete_topics

# No test asserts a time: a busy machine is no defect. The cases are the same in every run: `make fuzz` draws others.
hypothesis.settings.register_profile("callmeter", deadline=None, derandomize=True)
hypothesis.settings.load_profile("callmeter")
# Brokers of tests live for minutes, and would spend most of them on compiling themselves for a long life.
os.environ["JAVA_TOOL_OPTIONS"] = "-XX:TieredStopAtLevel=1"
# Modules are compiled once, not by every worker and by each of the processes under test.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A broker makes thousands of small files, and deletes them.
MEMORY = Path("/dev/shm")
BROKER_BYTES = 4 << 30


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@contextmanager
def _data_in_memory(data: Path) -> Iterator[None]:
    """Has a folder that is not there yet lie in memory, where there is enough of it; it is gone at the end."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > BROKER_BYTES
    with tempfile.TemporaryDirectory(prefix="callmeter-kafka-", dir=MEMORY if roomy else None) as folder:
        data.symlink_to(folder)
        yield


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ``CALLMETER_*`` variables change no test."""
    for name in os.environ:
        if name.startswith("CALLMETER_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """The session's broker, on ports of its own. A test that stops or freezes it must start or thaw it again."""
    # Its logs are worth keeping for a while, its data is not.
    running = KafkaBroker(tmp_path_factory.mktemp("kafka"), port=0)
    # Terminated like interrupted: with the fixtures torn down, or the broker would outlive the session.
    terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _data_in_memory(running.data):
        try:
            running.start()
            yield running
        finally:
            running.stop()
            signal.signal(signal.SIGTERM, terminated)


@pytest.fixture
def make_settings(broker: KafkaBroker, tmp_path: Path) -> Iterator[Callable[..., Settings]]:
    """Makes settings with names and a data folder of their own, and creates their topics; deletes those at the end.

    Call it with settings to override (``partitions=1``); ``topics=False`` leaves the topics to the test.
    """
    made: list[Settings] = []

    def make(topics: bool = True, **overrides: Any) -> Settings:
        name = f"t{uuid.uuid4().hex[:10]}"
        values = {
            "kafka_bootstrap": broker.bootstrap,
            "data_folder": tmp_path / name,
            "topic_prefix": f"{name}-",
            "group_id": name,
            "transactional_id": name,
            "partitions": 2,
            "http_port": 0,
        }
        settings = Settings(**{**values, **overrides})
        settings.folder.mkdir(parents=True, exist_ok=True)
        if topics:
            _run(create_topics(settings))
        made.append(settings)
        return settings

    yield make
    for settings in made:
        _run(delete_topics(settings))


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings of this test alone, with its topics (2 partitions) created."""
    return make_settings()


def _run(coroutine: Any) -> None:
    """Runs it to its end beside whatever loop the test runs in."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
