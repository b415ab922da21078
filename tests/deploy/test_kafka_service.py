"""The compose file's broker: its variables as the image turns them into properties, on Apache Kafka of that version."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from deploy.kafka.broker import SHORT_JAVA_OPTIONS
from deploy.kafka.jars import java_command, kafka_jars
from deploy.kafka.process import free_port, wait
from deploy.kafka.wire import serving_brokers
from streams.administration import check_topics, create_topics
from streams.settings import Settings
from streams.topics import TOPICS
from tests.deploy.compose import read_compose

SERVICE = read_compose()["services"]["kafka"]
# Read by the image's start script, not by Kafka.
OF_THE_SCRIPT = {"KAFKA_HEAP_OPTS"}


def properties(folder: Path, ports: dict[str, str]) -> str:
    """``KAFKA_LOG_DIRS`` becomes ``log.dirs``; names and ports of the container become this machine's."""
    lines = []
    for name, value in SERVICE["environment"].items():
        if name not in OF_THE_SCRIPT:
            value = value.replace("kafka:", "127.0.0.1:").replace("/var/lib/kafka/data", str(folder / "data"))
            value = re.sub(r"(?<=:)\d+\b", lambda match: ports[match[0]], value)
            lines.append(f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}")
    return "\n".join(lines) + "\n"


def log_of(folder: Path) -> str:
    return (folder / "kafka.log").read_text(errors="replace")[-3000:]


@pytest.mark.slow
def test_kafka_runs_with_these_variables_and_takes_our_topics(tmp_path: Path) -> None:
    ports = {port: str(free_port()) for port in ("9092", "9093", "19092")}
    file = tmp_path / "server.properties"
    file.write_text(properties(tmp_path, ports))
    java = [java_command(), "-cp", f"{kafka_jars()}/*", *SHORT_JAVA_OPTIONS]
    identity = ["--cluster-id", "5L6g3nShT-eMCtK--X86sw", "--config", str(file)]
    subprocess.run([*java, "kafka.tools.StorageTool", "format", *identity], check=True, capture_output=True)
    with (tmp_path / "kafka.log").open("wb") as log:
        broker = subprocess.Popen([*java, "-Xmx512m", "kafka.Kafka", str(file)], stdout=log, stderr=log, cwd=tmp_path)
    try:
        # A listener for containers and one for the host: both lead to a broker that takes requests.
        for port in ("9092", "19092"):
            settings = Settings(kafka_bootstrap=f"127.0.0.1:{ports[port]}", partitions=2)
            number = int(ports[port])
            assert wait(lambda number=number: serving_brokers("127.0.0.1", number) > 0, 60), log_of(tmp_path)
            asyncio.run(create_topics(settings))
            assert asyncio.run(check_topics(settings, [topic.name for topic in TOPICS])) == 2
    finally:
        broker.terminate()
        broker.wait(60)
