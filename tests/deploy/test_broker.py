"""The local broker is found, restarted and stopped from anywhere, and says clearly what it lacks."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.kafka import jars
from deploy.kafka.broker import KafkaBroker
from deploy.kafka.process import first_free_port, free_port
from deploy.kafka.wire import serving_brokers
from streams.administration import create_topics
from streams.errors import CallmeterError
from streams.settings import load_settings
from tests.broker import produce, read_values


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker to kill and restart."""
    broker = KafkaBroker(tmp_path_factory.mktemp("own kafka"), port=0)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves only some commands on the path, each a shell script; the cache is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(**scripts: str) -> None:
        for name, script in scripts.items():
            (folder / name).write_text(f"#!/bin/sh\n{script}\n")
            (folder / name).chmod(0o755)

    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return install


JAVA_17 = """echo 'openjdk version "17.0.1" 2021-10-19' >&2"""


def test_it_is_started_once_and_found_by_its_folder(own: KafkaBroker) -> None:
    other = KafkaBroker(own.folder)
    assert other.start() is False
    status = other.status()
    assert status.running and status.answers
    assert status.bootstrap == own.bootstrap
    assert json.loads(own.run_file.read_text())["pid"] == status.pid


def test_it_listens_on_loopback_only(own: KafkaBroker) -> None:
    configuration = (own.folder / "server.properties").read_text()
    listeners = [
        line for line in configuration.splitlines() if line.startswith(("listeners=", "advertised.listeners="))
    ]
    assert len(listeners) == 2
    assert all(
        address.startswith("//127.0.0.1:")
        for line in listeners
        for address in line.split("CLIENT:")[1].split("CONTROLLER:")
    )


async def test_what_it_acknowledged_survives_a_kill_and_a_stop(own: KafkaBroker, tmp_path: Path) -> None:
    settings = load_settings(
        kafka_bootstrap=own.bootstrap, partitions=1, topic_prefix="survives-", data_folder=tmp_path
    )
    await create_topics(settings)
    await produce(settings, [{"type": "x", "account_id": "a", "n": 1}])
    own.kill()
    assert own.status().running is False
    assert own.run_file.exists()
    assert own.start() is True
    assert own.bootstrap == settings.bootstrap, "clients find it where it was"
    await produce(settings, [{"type": "x", "account_id": "a", "n": 2}])
    assert own.stop() is True
    assert own.stop() is False
    assert not own.run_file.exists()
    assert KafkaBroker(own.folder).start() is True
    assert own.bootstrap == settings.bootstrap, "another invocation chooses the port it had"
    assert [value["n"] for value in await read_values(settings, "account-events")] == [1, 2]


def test_a_frozen_one_runs_and_does_not_answer(own: KafkaBroker) -> None:
    own.freeze()
    try:
        status = own.status()
        assert status.running and not status.answers
    finally:
        own.thaw()
    assert serving_brokers("127.0.0.1", int(own.bootstrap.rpartition(":")[2]), timeout_s=10) == 1


def test_another_process_with_the_number_of_a_dead_broker_is_left_alone(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path)
    broker.run_file.write_text(
        json.dumps(
            {"bootstrap": "127.0.0.1:1", "pid": os.getpid(), "version": "4.4.0", "started": "2026-01-01T00:00:00Z"}
        )
    )
    assert broker.status().running is False
    assert broker.stop() is False
    with pytest.raises(CallmeterError, match="no Kafka broker runs"):
        broker.kill()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_run_file_is_no_broker(tmp_path: Path, content: str) -> None:
    broker = KafkaBroker(tmp_path)
    broker.run_file.write_text(content)
    assert broker.status().running is False


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CallmeterError, match=f"port {port} is taken"):
            KafkaBroker(tmp_path, port).start()


def test_a_wanted_port_that_is_taken_gives_way_to_the_next_and_then_to_any_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = free_port()
        assert first_free_port(None, port, other) == other
        assert first_free_port(port, port) not in (None, port)


def test_when_kafka_refuses_to_start_its_own_error_is_named(tmp_path: Path) -> None:
    broker = KafkaBroker(tmp_path, port=0)
    broker.data.mkdir()
    (broker.data / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    with pytest.raises(CallmeterError, match=r"(?s)ended at its start: .*node.*see"):
        broker.start()
    assert broker.status().running is False


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CallmeterError, match="cannot use"):
        KafkaBroker(tmp_path / "file" / "kafka").start()


def test_a_port_that_accepts_and_says_nothing_is_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert serving_brokers("127.0.0.1", silent.getsockname()[1], timeout_s=0.2) == 0


def test_a_missing_java_says_what_to_install(tools: Callable[..., None], tmp_path: Path) -> None:
    with pytest.raises(CallmeterError, match=r"needs Java 17 or newer: .* install .*CALLMETER_KAFKA_BOOTSTRAP"):
        KafkaBroker(tmp_path / "kafka").start()


def test_an_old_java_is_named(tools: Callable[..., None]) -> None:
    tools(java="""echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    with pytest.raises(CallmeterError, match=r"bin/java is Java 11, .* needs 17 or newer"):
        jars.java_command()


def test_a_missing_maven_says_what_to_install(tools: Callable[..., None], tmp_path: Path) -> None:
    tools(java=JAVA_17)
    with pytest.raises(CallmeterError, match=r"Maven, which is missing: .*CALLMETER_KAFKA_BOOTSTRAP"):
        KafkaBroker(tmp_path / "kafka").start()


def test_the_first_error_of_maven_is_shown_and_nothing_half_fetched_stays(
    tools: Callable[..., None], tmp_path: Path
) -> None:
    tools(mvn="echo '[INFO] Scanning'; echo '[ERROR] Unknown host repo'; echo '[ERROR] read more'; exit 1")
    with pytest.raises(CallmeterError, match=r"^Maven could not fetch Apache Kafka: Unknown host repo$"):
        jars.kafka_jars()
    assert [path.name for path in (tmp_path / "cache" / "callmeter").iterdir()] == ["kafka.lock"]


def test_jars_are_fetched_once(own: KafkaBroker, tools: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> None:
    mkdir = shutil.which("mkdir", path="/bin:/usr/bin")
    tools(mvn=f"""for argument; do case "$argument" in -DoutputDirectory=*) {mkdir} "${{argument#*=}}";; esac; done""")
    folder = jars.kafka_jars()
    assert "Fetching Apache Kafka" in capfd.readouterr().err
    tools(mvn="exit 1")
    assert jars.kafka_jars() == folder
    assert capfd.readouterr().err == ""
