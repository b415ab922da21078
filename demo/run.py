"""The demo from start to end: broker, pipeline, a month of calls, period close, payment, proof.

The pipeline runs as a user would run it, `callmeter up` in a process of its own; what this process does is what the
platform, an agency and an auditor do.
"""

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
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from catalogue.load import load
from catalogue.terms import terms_of
from demo.observer import Observer
from demo.platform import HERO, Platform, subscription_start, text
from demo.proof import Proof, prove
from demo.view import LiveView, day, proof_table, requests_table, story_lines, usage_table
from streams.errors import CallmeterError
from streams.producer import FactProducer
from streams.settings import CONFIG_VARIABLE, PREFIX, Settings, load_settings

CATALOGUE = Path(__file__).parent / "catalogue.yaml"
EVERYTHING_CLOSED = "2027-01-03T00:00:00Z"
HERO_PAYS_AT = "2026-12-05T15:00:00Z"
HERO_BUYS_PACK_AT = datetime(2026, 11, 10, tzinfo=UTC)
# The simulated month takes at least this long, so that a person can watch it.
WATCHABLE_S = 12.0
START_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Options:
    """What the command's flags say."""

    accounts: int
    calls: int
    seed: int
    keep: bool
    keep_log: Path | None


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


async def run_demo(options: Options, console: Console) -> Proof:
    """Run the whole demo.

    Args:
        options: of the command.
        console: where a person watches.

    Returns:
        The proof; `Proof.exact` says whether everything agreed.
    """
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(_pipeline(options, console))
        producer = await stack.enter_async_context(FactProducer(pipeline.settings))
        observed = Observer(pipeline.settings)
        await observed.start()
        stack.push_async_callback(observed.stop)
        platform = Platform(options.accounts, options.calls, options.seed)
        log = _Log(options.keep_log)
        stack.callback(log.close)

        console.print(f"An agency's price list: [bold]callmeter catalogue apply {CATALOGUE.name}")
        await pipeline.run("catalogue", "apply", str(CATALOGUE), "--yes", "--json")
        await _send(producer, log, subscriptions(platform))
        console.print(f"{options.accounts} accounts subscribed. November 2026 begins.")
        await _november(platform, producer, observed, log, console)

        console.print(f"\nThe periods are closed: [bold]callmeter close --until {EVERYTHING_CLOSED}")
        closed = await pipeline.run("close", "--until", EVERYTHING_CLOSED, "--json")
        log.write({"type": "tick", "at": EVERYTHING_CLOSED})
        await _pay(pipeline, observed, console)
        clickhouse = await _settled(pipeline, observed, json.loads(closed))
        proof = prove(platform.planted, observed, clickhouse)
        _show_end(console, observed, proof)
        if options.keep:
            await _keep(pipeline, console)
        return proof


@asynccontextmanager
async def _pipeline(options: Options, console: Console) -> AsyncIterator[Pipeline]:
    """A broker (the configured one, or our own) and `callmeter up` on topics and folders of their own."""
    settings = load_settings()
    folder = Path(tempfile.mkdtemp(prefix="callmeter-demo-"))
    async with AsyncExitStack() as stack:
        if not options.keep:
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


class _Log:
    """Keeps the input, one line a record, in the order it was sent."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("wb") if path else None

    def write(self, value: dict[str, Any] | bytes) -> None:
        """Keep one record."""
        if self._file:
            self._file.write((value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n")

    def close(self) -> None:
        """Finish the file."""
        if self._file:
            self._file.close()


def subscriptions(platform: Platform) -> list[tuple[str, bytes]]:
    """The facts that put every account on its plan, and sell the prepaid ones their minutes: (account, bytes)."""
    book = load(CATALOGUE)
    facts = []
    for tenant in platform.tenants:
        agency = book.agency(tenant.agency_id)
        name, plan = book.plan(tenant.plan, tenant.agency_id)
        fact = {
            "type": "subscription.started",
            "fact_id": f"start-{tenant.account_id}",
            "account_id": tenant.account_id,
            "agency_id": tenant.agency_id,
            "subscription_id": f"sub-{tenant.account_id}",
            "at": text(subscription_start(tenant)),
            "terms": terms_of(name, plan, agency),
        }
        facts.append((tenant.account_id, json.dumps(fact).encode()))
        if tenant.plan == "prepaid":
            block = pack_sold(tenant.account_id, "block-500", 500, 45_000_000, subscription_start(tenant))
            facts.append((tenant.account_id, json.dumps(block).encode()))
    return facts


async def _send(producer: FactProducer, log: _Log, facts: Sequence[tuple[str, bytes]]) -> None:
    for key, value in facts:
        log.write(value)
        await producer.send(key, value)


async def _november(
    platform: Platform, producer: FactProducer, observed: Observer, log: _Log, console: Console
) -> None:
    """Send the month hour by hour, each with its tick, while the view follows."""
    view = LiveView(platform, observed)
    pause = WATCHABLE_S / 800 if console.is_terminal else 0.0
    pack_sent = False
    with Live(view, console=console, refresh_per_second=8, transient=False) as live:
        for at, facts in platform.hours():
            if at >= HERO_BUYS_PACK_AT and not pack_sent:
                pack_sent = True
                await _send(producer, log, [(HERO, json.dumps(hero_pack(at)).encode())])
            await _send(producer, log, facts)
            tick = {"type": "tick", "at": text(at)}
            log.write(tick)
            await producer.send_everywhere(json.dumps(tick).encode())
            view.simulated = day(at)
            await asyncio.sleep(pause)
        await producer.flush()
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while _lag(platform, observed) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        live.refresh()


def hero_pack(at: datetime) -> dict[str, Any]:
    """The fact with which the hero buys a pack."""
    return pack_sold(HERO, "boost-60", 60, 9_000_000, at)


def pack_sold(account_id: str, pack: str, minutes: int, price_micros: int, at: datetime) -> dict[str, Any]:
    """The fact that sells a pack of the first agency to an account."""
    return {
        "type": "pack.applied", "fact_id": f"{pack}-{account_id}", "account_id": account_id, "agency_id": "acme",
        "at": text(at), "pack": pack, "minutes": minutes, "credit_micros": 0, "price_micros": price_micros,
        "currency": "USD",
    }  # fmt: skip


def _lag(platform: Platform, observed: Observer) -> int:
    done = observed.rated.total() + observed.duplicates.total() + observed.dead_letters_count
    return platform.planted.records - done


async def _pay(pipeline: Pipeline, observed: Observer, console: Console) -> None:
    """The hero pays the overage of November."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        for (account, request_id), request in observed.requests.items():
            if account == HERO and request["kind"] == "usage" and request["status"] == "pending":
                console.print(f"{HERO} pays: [bold]callmeter requests mark-paid {request_id} --reference 'wire 4711'")
                await pipeline.run(
                    "requests", "mark-paid", request_id, "--reference", "wire 4711", "--at", HERO_PAYS_AT, "--json"
                )
                return
        await asyncio.sleep(0.1)


async def _settled(pipeline: Pipeline, observed: Observer, closed: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Wait until ClickHouse has what the topics have; what it has by then."""
    from sinks.clickhouse import open_store

    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    store = await asyncio.to_thread(open_store, pipeline.settings)
    try:
        while True:
            found = {
                row["currency"]: row
                for row in await asyncio.to_thread(
                    store.rows,
                    "SELECT currency, count() AS calls, uniqExact(account_id, call_id) AS ids, "
                    "sum(amount_micros) AS amount_micros FROM rated_calls GROUP BY currency",
                )
            }
            paid = any(request["status"] == "paid" for request in observed.requests.values())
            complete = sum(row["calls"] for row in found.values()) >= observed.rated.total() and paid
            if complete or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)
    finally:
        store.close()


def _show_end(console: Console, observed: Observer, proof: Proof) -> None:
    console.print(f"\n[bold]The story of {HERO}")
    for at, line in story_lines(observed):
        console.print(f"  {at}  {line}")
    console.print()
    for table in (usage_table(observed), requests_table(observed), proof_table(proof)):
        console.print(table)
    verdict = "[bold green]Every sum agrees, to the micro." if proof.exact else "[bold red]The sums do not agree."
    console.print(verdict)


async def _keep(pipeline: Pipeline, console: Console) -> None:
    """Leave it running until the user has seen enough."""
    console.print("\nThe pipeline goes on. In another terminal:\n")
    console.print(f"  export {CONFIG_VARIABLE}={pipeline.config}", soft_wrap=True)
    for command in (
        "callmeter usage --by day",
        f"callmeter accounts show {HERO}",
        "callmeter alerts list",
        f"callmeter requests list --account {HERO}",
        "callmeter usage --by campaign --json",
    ):
        console.print(f"  {command}")
    console.print("\nCtrl-C ends it.")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
