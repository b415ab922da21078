"""The pipeline of the demo: a broker and `callmeter up` in a process of its own, on topics and folders of their own."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from rich.console import Console

from streams.errors import CallmeterError
from streams.settings import CONFIG_VARIABLE, PREFIX, Settings, load_settings

START_TIMEOUT_S = 60.0


class Pipeline:
    """A running `callmeter up` with settings of its own, and the commands a user would type beside it."""

    def __init__(self, config: Path, settings: Settings) -> None:
        """Use the settings of this file."""
        self.config = config
        self.settings = settings
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self._environment[CONFIG_VARIABLE] = str(config)
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it serves.

        Raises:
            CallmeterError: it ended, or was not ready in time.
        """
        log = (self.settings.folder / "up.log").open("wb")
        self.process = await asyncio.create_subprocess_exec(
            *self.command("up", "--no-clock"), stdout=log, stderr=log, env=self._environment, start_new_session=True
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.settings.clickhouse_run_file.exists():
            if self.process.returncode is not None or time.monotonic() > deadline:
                raise CallmeterError(f"`callmeter up` did not start; its log:\n{Path(log.name).read_text()[-2000:]}")
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """SIGTERM, and wait for a clean end."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await self.process.wait()

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """A `callmeter` command as a list of words."""
        return [sys.executable, "-m", "cli.main", *arguments]

    async def run(self, *arguments: str) -> str:
        """Run a command to its end; progress goes to our standard error.

        Raises:
            CallmeterError: it failed.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments), stdout=asyncio.subprocess.PIPE, env=self._environment
        )
        out, _ = await process.communicate()
        if process.returncode:
            raise CallmeterError(f"`callmeter {shlex.join(arguments)}` failed with exit code {process.returncode}")
        return out.decode()


@asynccontextmanager
async def running_pipeline(keep: bool, console: Console) -> AsyncIterator[Pipeline]:
    """A broker (the configured one, or our own) and `callmeter up`; ``keep`` leaves its folder."""
    settings = load_settings()
    folder = Path(tempfile.mkdtemp(prefix="callmeter-demo-"))
    async with AsyncExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bootstrap = settings.kafka_bootstrap
        if bootstrap is None:
            from deploy.kafka.broker import KafkaBroker

            broker = KafkaBroker(settings.broker_run_file.parent)
            began = time.monotonic()
            if await asyncio.to_thread(broker.start):
                stack.callback(broker.stop)
                console.print(f"A broker, Apache Kafka {broker.status().version}: {time.monotonic() - began:.1f} s")
            bootstrap = broker.bootstrap
        name = folder.name.removeprefix("callmeter-")
        config = folder / "callmeter.toml"
        own = {
            "kafka_bootstrap": bootstrap,
            "data_folder": str(folder),
            "topic_prefix": f"{name}-",
            "group_id": name,
            "transactional_id": name,
            "partitions": 4,
            "http_port": 0,
        }
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in own.items()))
        pipeline = Pipeline(config, load_settings(**own))
        await pipeline.run("topics", "create", "--json")
        await pipeline.start()
        stack.push_async_callback(pipeline.stop)
        console.print("Meter, sink, billing and the embedded ClickHouse engine run: [bold]callmeter up")
        yield pipeline
