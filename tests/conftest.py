"""Fixtures on real parts: one Kafka broker for the session, topics and a data folder of its own for each test."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
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


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ``CALLMETER_*`` variables change no test."""
    for name in os.environ:
        if name.startswith("CALLMETER_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """The session's broker, on ports of its own. A test that stops or freezes it must start or thaw it again."""
    running = KafkaBroker(tmp_path_factory.mktemp("kafka"), port=0)
    # Terminated like interrupted: with the fixtures torn down, or the broker would outlive the session.
    terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        signal.signal(signal.SIGTERM, terminated)
        # Its logs are worth keeping for a while, its data is not.
        shutil.rmtree(running.data, ignore_errors=True)


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
