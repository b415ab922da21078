"""What is broken: a broker, a ClickHouse, the pipeline's processes, all under load; and how to see it heal."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from deploy.kafka.broker import KafkaBroker
from jobs.positions import LedgerPositions
from jobs.reading import TopicReader
from rating.partitioner import partition_of
from sinks.clickhouse import Store, parse_dsn
from sinks.tables import TABLES
from streams.errors import CallmeterError
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS, AGENCY_LEDGER, BILLING_EVENTS, BILLING_LEDGER, LEDGER
from tests.broker import ROOT, environment, produce
from tests.faults.clickhouse import ClickHouse
from tests.faults.facts import Market, Sender, canary
from tests.faults.load import done_file, variables
from tests.faults.rare import text
from tests.faults.units import Supervisor, Unit
from tests.oracle.rate_cards import CARDS

PARTITIONS = 3
ACCOUNTS = 150
PLATFORMS = 2
RATE = 100.0
# `callmeter send` gets so many facts at a time.
SENT_FACTS = 100
SEND_LIMIT_S = 120.0
RECOVERY_LIMIT_S = 120.0
SETTLE_LIMIT_S = 300.0
SMALL_DISK = "48m"


@dataclass
class World:
    """Everything of one run.

    Attributes:
        seed: of the run.
        folder: holds it all.
        settings: of the pipeline; a process differs from them in its data folder.
        longest_send_s: the longest `callmeter send` took.
        sends: how many `callmeter send` there were, and ``sends_failed`` of them.
    """

    seed: int
    folder: Path
    settings: Settings
    market: Market
    broker: KafkaBroker
    clickhouse: ClickHouse
    supervisor: Supervisor
    small_disk: Path | None = None
    longest_send_s: float = 0.0
    sends: int = 0
    sends_failed: int = 0
    done_by_send: int = 0
    canaries: int = 0
    troubles: list[str] = field(default_factory=list)
    sent: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Nothing is sent yet."""
        self.sending: asyncio.Task[None]
        self.platforms: list[Unit] = []

    @property
    def gateway(self) -> Path:
        """Folder of the gateway's outside."""
        return self.folder / "gateway"

    # -- processes

    def environment_of(self, name: str, **overrides: object) -> dict[str, str]:
        """The environment of a process on a machine of its own."""
        own = {"data_folder": self.folder / name, **overrides}
        return environment(self.settings.model_copy(update=own))

    def add(self, role: str, name: str, **overrides: object) -> Unit:
        """Start a process of a role, and keep it running."""
        (self.folder / name).mkdir(exist_ok=True)
        own = self.environment_of(name, **overrides)
        if role == "billing":
            return self.supervisor.add(name, role, own, "tests.faults.gateway", str(self.gateway))
        if role == "platform":
            own |= variables(self.market, name, RATE, self.folder)
            return self.supervisor.add(name, role, own, "tests.faults.load")
        return self.supervisor.add(name, role, own, "cli.main", role)

    async def command(self, *words: str, limit_s: float = 60.0) -> tuple[int, str]:
        """Run ``callmeter WORDS`` to its end: exit code and everything it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli.main",
            *words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(self.settings),
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), limit_s)
        except BaseException:
            with suppress(ProcessLookupError):
                process.kill()
            raise
        return process.returncode or 0, said.decode(errors="replace")

    async def stop_sending(self) -> None:
        """Let the last `callmeter send` come to its end, and start none any more."""
        self.sent.set()
        await self.sending

    async def keep_sending(self) -> None:
        """A platform that writes files and gives them to `callmeter send`, each again until it says it is sent."""
        sender = Sender(self.market, "send")
        number, file = 0, self.folder / "facts.jsonl"
        while not self.sent.is_set():
            facts = [sender.fact(number + each)[0] for each in range(SENT_FACTS)]
            file.write_bytes(b"\n".join(facts) + b"\n")
            while True:
                began = time.monotonic()
                try:
                    code, said = await self.command("send", "--unchecked", str(file), limit_s=SEND_LIMIT_S)
                except TimeoutError:
                    self.troubles.append(f"`callmeter send` hung for {SEND_LIMIT_S:g} s")
                    code, said = 1, "hung"
                self.longest_send_s = max(self.longest_send_s, time.monotonic() - began)
                self.sends += 1
                if code == 0:
                    break
                self.sends_failed += 1
                if not said.startswith("error: ") or said.count("\n") != 1:
                    self.troubles.append(f"`callmeter send` said: {said[-500:]}")
            number += SENT_FACTS
            self.done_by_send = number
            with suppress(TimeoutError):
                await asyncio.wait_for(self.sent.wait(), 3.0)

    def done(self) -> dict[str, int]:
        """By sender: how many of its facts were acknowledged."""
        noted = {unit.name: int(done_file(self.folder, unit.name).read_text()) for unit in self.platforms}
        return {**noted, "send": self.done_by_send}

    # -- whether it has healed

    async def come_through(self, limit_s: float = RECOVERY_LIMIT_S) -> float:
        """Send a call to every partition and wait until ClickHouse has them: seconds that took.

        Raises:
            AssertionError: it took too long.
        """
        began = time.monotonic()
        self.canaries += 1
        call_id = f"canary-{self.canaries}"
        while True:
            try:
                await produce(self.settings, [canary(account, call_id) for account in canary_accounts()])
                break
            except Exception:
                if time.monotonic() - began > limit_s:
                    raise
                await asyncio.sleep(0.1)

        def stored() -> int:
            try:
                with Store(parse_dsn(self.clickhouse.dsn)) as store:
                    found: int = store.value(
                        "SELECT uniqExact(account_id) FROM rated_calls WHERE agency_id = 'ag_0'"
                        " AND account_id IN {accounts:Array(String)} AND call_id = {call:String}",
                        {"accounts": canary_accounts(), "call": call_id},
                    )
                    return found
            except CallmeterError:
                return 0

        while await asyncio.to_thread(stored) < PARTITIONS:
            if time.monotonic() - began > limit_s:
                raise AssertionError(f"{call_id} did not come through within {limit_s:g} s")
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def settle(self) -> None:
        """Wait until everything in the log is rated, asked for and stored. Nobody may send any more.

        Raises:
            AssertionError: it took too long.
        """
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while missing := await self._missing():
            if time.monotonic() > deadline:
                raise AssertionError(f"not settled within {SETTLE_LIMIT_S:g} s: {missing}")
            await asyncio.sleep(0.3)

    async def _missing(self) -> str:
        before = await last_records(self.settings, ACCOUNT_EVENTS)
        async with TopicReader(self.settings, LEDGER, PARTITIONS) as reader:
            positions = LedgerPositions(reader)
            await positions.refresh()
            at = {partition: standing.offset for partition, standing in positions.meter().items()}
        if at != {partition: last + 1 for partition, last in before.items()}:
            return f"the meter is at {at}, the log has {before}"
        async with TopicReader(self.settings, AGENCY_LEDGER, PARTITIONS) as reader:
            positions = LedgerPositions(reader)
            await positions.refresh()
            at = positions.agencies()
        told = await last_records(self.settings, AGENCY_EVENTS)
        if at != {partition: last + 1 for partition, last in told.items()}:
            return f"agencies are at {at}, of {told}"
        async with TopicReader(self.settings, BILLING_LEDGER, PARTITIONS) as reader:
            positions = LedgerPositions(reader)
            await positions.refresh()
            at = positions.billing()
        events = await last_records(self.settings, BILLING_EVENTS)
        if at != {partition: last + 1 for partition, last in events.items()}:
            return f"billing is at {at}, of {events}"
        if await last_records(self.settings, ACCOUNT_EVENTS) != before:
            return "billing has written facts"
        for table in TABLES:
            if table.topic in (LEDGER, AGENCY_LEDGER):
                continue
            last = await last_records(self.settings, table.topic)
            stored = await asyncio.to_thread(self._stored, table.name)
            if stored != {partition: offset for partition, offset in last.items() if offset >= 0}:
                return f"{table.name} is at {stored}, of {last}"
        for name, topic, prefix in (
            ("accounts", LEDGER, b"account\0"),
            ("agency_totals", AGENCY_LEDGER, b"totals\0"),
        ):
            last = await last_records(self.settings, topic, prefix)
            stored = await asyncio.to_thread(self._stored, name)
            if stored != {partition: offset for partition, offset in last.items() if offset >= 0}:
                return f"{name} is at {stored}, of {last}"
        return ""

    def _stored(self, table: str) -> dict[int, int]:
        with Store(parse_dsn(self.clickhouse.dsn)) as store:
            listed = store.rows(
                f"SELECT kafka_partition, max(kafka_offset) AS last FROM {table} GROUP BY kafka_partition"
            )
        return {row["kafka_partition"]: row["last"] for row in listed}


async def last_records(settings: Settings, topic: str, prefix: bytes = b"") -> dict[int, int]:
    """Offset of the last committed record of each partition (whose key begins so), -1 where there is none."""
    async with TopicReader(settings, topic, PARTITIONS) as reader:
        ends = await reader.ends()
        last = dict.fromkeys(ends, -1)
        back = 64
        while lacking := {partition: end for partition, end in ends.items() if last[partition] < 0 < end}:
            async for record in reader.read({at: max(0, end - back) for at, end in lacking.items()}, lacking):
                if (record.key or b"").startswith(prefix):
                    last[record.partition] = record.offset
            if back > max(lacking.values()):
                break
            back *= 16
        return last


def canary_accounts() -> list[str]:
    """One account of our own in each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < PARTITIONS:
        account = f"canary_{number}"
        found.setdefault(partition_of(account.encode(), PARTITIONS), account)
        number += 1
    return list(found.values())


def canary_subscriptions() -> list[dict[str, object]]:
    """What puts them on a plan: a simple one, whose period is longer than any run."""
    return [
        {
            "type": "subscription.started", "fact_id": "start", "account_id": account, "agency_id": "ag_0",
            "subscription_id": f"sub-{account}", "at": text(datetime(2026, 1, 1, tzinfo=UTC)),
            "terms": {"plan": "canary", "currency": "USD", "interval": "year"},
        }
        for account in canary_accounts()
    ]  # fmt: skip


def agency_caps() -> list[dict[str, object]]:
    """Caps that some agencies reach within a run: their accounts are turned off, and on again the next day."""
    caps = [
        {"name": "daily", "on": "minutes", "limit": 200, "per": "day", "alerts_percent": [50, 100]},
        {"name": "all", "on": "minutes", "limit": 400, "mode": "soft"},
    ]
    at = text(datetime(2026, 1, 1, tzinfo=UTC))
    return [
        {"type": "agency.caps_set", "fact_id": "caps", "agency_id": f"ag_{number}", "at": at, "caps": caps}
        for number in range(3)
    ]


def card_files(folder: Path) -> Iterator[str]:
    """Every rate card of the oracle, as a file to be imported."""
    for card in CARDS:
        file = folder / f"{card.name}.json"
        file.write_text(json.dumps({"name": card.name, "currency": card.currency, "rows": card.rows}))
        yield str(file)


@asynccontextmanager
async def world(seed: int, folder: Path, seconds: float) -> AsyncIterator[World]:
    """Start everything, and the load; whatever happens, it is gone at the end."""
    async with AsyncExitStack() as stack:
        broker = KafkaBroker(folder / "kafka", port=0)
        stack.callback(broker.stop)
        await asyncio.to_thread(broker.start)
        clickhouse = ClickHouse(folder / "clickhouse")
        stack.callback(clickhouse.close)
        await asyncio.to_thread(clickhouse.start)
        settings = Settings(
            kafka_bootstrap=broker.bootstrap,
            data_folder=folder,
            partitions=PARTITIONS,
            clickhouse_dsn=SecretStr(clickhouse.dsn),
            session_timeout_s=3.0,
            transaction_timeout_s=8.0,
            http_port=0,
        )
        market = Market(seed, ACCOUNTS, datetime.now(UTC), seconds)
        supervisor = Supervisor(folder / "processes")
        stack.push_async_callback(supervisor.close)
        made = World(seed, folder, settings, market, broker, clickhouse, supervisor)
        made.gateway.mkdir()
        made.small_disk = small_disk(folder / "meter-1", stack)
        for words in (("topics", "create"), ("migrate",), *(("rates", "import", file) for file in card_files(folder))):
            code, said = await made.command(*words)
            assert code == 0, said
        await produce(settings, [*canary_subscriptions(), *market.beginning()])
        await produce(settings, agency_caps(), AGENCY_EVENTS)
        for name in ("meter-1", "meter-2", "sink-1", "sink-2", "billing-1", "billing-2", "clock-1"):
            made.add(name.split("-")[0], name)
        for number in range(PLATFORMS):
            made.platforms.append(made.add("platform", f"platform-{number}"))
        supervisor.start()
        sending = asyncio.create_task(made.keep_sending())
        made.sending = sending
        try:
            await made.come_through()
            yield made
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def small_disk(folder: Path, stack: AsyncExitStack) -> Path | None:
    """A disk of a few MiB at a folder, if this user may mount one."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        return None
    stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
    return folder


class OpenTransactions:
    """Sees transactions that are open: partitions whose last stable offset is not their end."""

    def __init__(self, settings: Settings, topic: str) -> None:
        """Look at a topic of ours. An asynchronous context manager."""
        self._settings = settings
        self._tps = [TopicPartition(settings.topic(topic), number) for number in range(PARTITIONS)]

    async def __aenter__(self) -> OpenTransactions:
        """Connect."""
        self._consumers = [
            AIOKafkaConsumer(**self._settings.kafka_client(), isolation_level=level)
            for level in ("read_committed", "read_uncommitted")
        ]
        for consumer in self._consumers:
            await consumer.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Disconnect."""
        for consumer in self._consumers:
            await consumer.stop()

    async def committed(self) -> dict[int, int]:
        """The last stable offset of each partition."""
        return {tp.partition: at for tp, at in (await self._consumers[0].end_offsets(self._tps)).items()}

    async def open(self) -> dict[int, int]:
        """Where a transaction is open, and since which offset."""
        stable = await self.committed()
        ends = await self._consumers[1].end_offsets(self._tps)
        return {tp.partition: stable[tp.partition] for tp, end in ends.items() if stable[tp.partition] < end}
