"""The compose file's own services, command and environment as written there, as processes on this machine.

Only what names another container is replaced: the broker's address by the test broker's, ClickHouse's by that of an
HTTP front on the embedded engine, the port of the pages by a free one; and names that keep this test apart from others.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

import pytest
import yaml

from deploy.kafka.broker import KafkaBroker
from deploy.kafka.process import free_port
from streams.settings import Settings
from tests.broker import Process, delete_topics, produce
from tests.deploy.compose import local_environment, ours, read_compose, roles
from tests.deploy.prometheus_tools import command_or_skip
from tests.deploy.test_dashboards import targets
from tests.deploy.test_dockerfile import stages
from tests.deploy.test_prometheus import CONFIGURATION, RULES
from tests.rating.builders import call, subscription, tick
from tests.sinks.front import clickhouse_front

COMPOSE = read_compose(PARTITIONS="4")
ROLES = list(roles(COMPOSE))
ENTRYPOINT = json.loads(dict(stages()[-1])["ENTRYPOINT"])
TIMEOUT_S = 90.0


@dataclass
class Stack:
    """The services, started in the order in which they depend on one another."""

    folder: Path
    settings: Settings
    replaced: dict[str, str]
    ports: dict[str, int]
    processes: dict[str, Process] = field(default_factory=dict)

    def command(self, name: str) -> list[str]:
        """How a container of the service is started: the image's entry point and the service's command."""
        entry = [str(Path(sys.executable).parent / ENTRYPOINT[0]), *ENTRYPOINT[1:]]
        return [*entry, *ours(COMPOSE)[name]["command"]]

    def environment(self, name: str, port: int = 0) -> dict[str, str]:
        """Its variables; replicas of a service share a volume, and so a data folder."""
        return local_environment(
            ours(COMPOSE)[name],
            self.replaced,
            CALLMETER_HTTP_PORT=str(port),
            CALLMETER_API_PORT="0",
            CALLMETER_TOPIC_PREFIX=self.settings.topic_prefix,
            CALLMETER_GROUP_ID=self.settings.group_id,
            CALLMETER_TRANSACTIONAL_ID=self.settings.transactional_id,
            CALLMETER_DATA_FOLDER=str(self.folder / name),
        )

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Runs a service that ends by itself."""
        return subprocess.run(
            self.command(name), env=self.environment(name), cwd=self.folder, capture_output=True, text=True,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip

    @contextmanager
    def process(self, name: str, port: int) -> Iterator[Process]:
        """Starts a service that runs for ever; it is gone at the end, whatever happens."""
        log = self.folder / f"{name}-{port}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(
                self.command(name), env=self.environment(name, port), cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        running = Process(popen, log)
        try:
            yield running
        finally:
            if running.alive():
                running.kill()


def page(port: int, path: str) -> tuple[int, str]:
    """Status and text of one of a role's pages; (0, reason) while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (URLError, OSError) as error:
        return 0, str(error)


def wait_for(condition: Any, what: str) -> Any:
    """What the condition gives as soon as that is true; fails the test after a while, telling the last it gave."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {TIMEOUT_S:g} s"
        time.sleep(0.1)
    return found


def wait_until_ready(process: Process, port: int) -> None:
    def ready() -> bool:
        assert process.alive(), process.output[-3000:]
        return page(port, "/ready")[0] == 200

    wait_for(ready, f"{page(port, '/ready')}, {process.output[-3000:]}")


@pytest.fixture(scope="module")
def stack(broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All services, ready, with a few facts sent through them."""
    folder, name = tmp_path_factory.mktemp("services"), f"t{uuid.uuid4().hex[:10]}"
    settings = Settings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=f"{name}-", group_id=name, transactional_id=name,
        data_folder=folder, partitions=4,
    )  # fmt: skip
    with ExitStack() as running:
        front = running.enter_context(clickhouse_front(folder / "clickhouse", password="development"))
        replaced = {"kafka:9092": broker.bootstrap, "clickhouse:8123": front}
        built = Stack(folder, settings, replaced, {role: free_port() for role in ROLES})
        running.callback(lambda: asyncio.run(delete_topics(settings)))
        for one_shot in ("topics", "migrate"):
            done = built.run(one_shot)
            assert done.returncode == 0, done.stderr
        for role, port in built.ports.items():
            built.processes[role] = running.enter_context(built.process(role, port))
        for role, process in built.processes.items():
            wait_until_ready(process, built.ports[role])
        asyncio.run(produce(settings, facts()))
        yield built


def facts() -> list[Any]:
    """An account's last days, in real time, for the clock tells that: a call, once more, and something unreadable."""
    now = datetime.now(UTC).replace(microsecond=0)
    start, at = now - timedelta(days=2), now - timedelta(days=1)
    rated = call(1, ended=(at + timedelta(minutes=20)).isoformat(), answered=at.isoformat(), cost_micros=30_000)
    return [
        tick(start.isoformat()),
        subscription(at=start.isoformat(), price_micros=49_000_000, included_minutes=20),
        rated,
        rated,
        b"not a fact",
    ]


@pytest.fixture(autouse=True)
def every_role_runs_on(stack: Stack) -> Iterator[None]:
    """No test makes a service end that it did not start itself."""
    yield
    for role, process in stack.processes.items():
        assert process.alive(), f"{role} has ended:\n{process.output[-5000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["topics", "migrate"])
def test_what_runs_first_is_safe_to_run_again(stack: Stack, name: str) -> None:
    assert stack.run(name).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_healthy_by_the_compose_files_own_check(stack: Stack, role: str) -> None:
    service = roles(COMPOSE)[role]
    how, program, *arguments = service["healthcheck"]["test"]
    assert (how, program) == ("CMD", "python")
    own = [
        word.replace(f":{service['environment']['CALLMETER_HTTP_PORT']}/", f":{stack.ports[role]}/")
        for word in arguments
    ]
    wait_for(lambda: subprocess.run([sys.executable, *own], capture_output=True).returncode == 0, f"{role} healthy")
    wrong = [word.replace("/ready", "/nowhere") for word in own]
    assert subprocess.run([sys.executable, *wrong], capture_output=True, check=False).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_alive_and_says_which_it_is(stack: Stack, role: str) -> None:
    status, text = page(stack.ports[role], "/health")
    assert status == 200
    # The meter has the fold of the agencies beside it.
    assert json.loads(text)["roles"][0] == role


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_one_more_of_a_role_joins_and_stops_on_sigterm_with_code_0(stack: Stack, role: str) -> None:
    port = free_port()
    with stack.process(role, port) as process:
        wait_until_ready(process, port)
        assert process.stop(timeout=60) == 0, process.output[-3000:]


@pytest.mark.slow
def test_every_prometheus_query_of_a_dashboard_or_alert_is_answered_from_the_roles(
    stack: Stack, tmp_path: Path
) -> None:
    program = command_or_skip("prometheus")
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration(stack.ports, port)))
    log = tmp_path / "prometheus.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"],
            stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        for parameter in targets("prometheus"):
            query = parameter.values[0].replace("$__rate_interval", "20s")
            wait_for(lambda query=query: answer(port, query), f"{parameter.id}: {query}\n{log.read_text()}")
        firing = {row["metric"]["alertname"] for row in answer(port, 'ALERTS{alertstate="firing"}')}
        assert firing == {"CallmeterDeadLetters"}
    finally:
        server.terminate()
        server.wait(30)


def configuration(ports: Mapping[str, int], own: int) -> dict[str, Any]:
    """Prometheus' configuration as written, but for names in DNS and the pace."""
    written = yaml.safe_load(CONFIGURATION.read_text())
    written["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    written["rule_files"] = [str(path) for path in RULES]
    for job in written["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports.get(job['job_name'], own)}"]}]
    return written


def answer(port: int, query: str) -> list[Any]:
    """The rows of an instant query; none while Prometheus is not there."""
    status, text = page(port, "/api/v1/query?" + urlencode({"query": query}))
    return json.loads(text)["data"]["result"] if status == 200 else []
