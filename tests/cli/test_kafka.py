"""`callmeter kafka`: start, find, stop, each in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.kafka.broker import KafkaBroker
from deploy.kafka.process import free_port
from streams.settings import load_settings
from tests.broker import command


def test_a_broker_is_started_found_and_stopped_by_separate_commands(tmp_path: Path) -> None:
    settings = load_settings(data_folder=tmp_path)
    port = free_port()
    try:
        assert command(settings, "kafka", "status").returncode == 3

        started = command(settings, "kafka", "start", "--port", str(port), "--json", timeout=300)
        assert started.returncode == 0, started.stderr
        assert json.loads(started.stdout)["bootstrap"] == f"127.0.0.1:{port}"
        assert command(settings, "kafka", "start").stdout.startswith("Kafka runs already: 127.0.0.1")

        found = command(settings, "kafka", "status", "--json")
        assert (found.returncode, json.loads(found.stdout)["answers"]) == (0, True)
        # With nothing set, every other command finds the local broker.
        assert command(settings, "topics", "create", "--partitions", "1").returncode == 0

        assert command(settings, "kafka", "stop").stdout == "Kafka stopped\n"
        assert command(settings, "kafka", "stop").stdout == "Kafka does not run\n"
        assert json.loads(command(settings, "kafka", "status", "--json").stdout)["running"] is False
    finally:
        KafkaBroker(settings.broker_run_file.parent).stop()
