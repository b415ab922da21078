"""The doctor finds each thing that is wrong, alone, and leaves everything as it was."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import uuid
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from deploy.kafka.broker import KafkaBroker
from jobs.doctor import kafka
from jobs.doctor.examine import examine
from jobs.doctor.finding import Finding, skew
from rating import ledger
from rating.fold import Fold
from rating.seen import SeenInMemory
from sinks.clickhouse import Store, target_of
from sinks.log_start import note_progress
from sinks.migrate import migrate
from streams import administration as administration_module
from streams.administration import administration, create_topics, find_topics
from streams.fenced import POSITION, encode_position
from streams.seen_calls import SeenCallsIndex
from streams.settings import Settings
from streams.topics import (
    ACCOUNT_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    BILLING_LEDGER,
    CATALOGUE,
    LEDGER,
    RATED_CALLS,
)
from tests.broker import command, delete_topics, produce, wait_until
from tests.cli.commands import as_settings, run
from tests.sinks.front import ClickHouse, clickhouse_front
from tests.streams.meters import encoded, subscribed

ACCOUNT = ledger.ACCOUNT + b"acct_0"


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with clickhouse_front(tmp_path_factory.mktemp("clickhouse"), password="secret") as running:
        yield running


@pytest.fixture(scope="module")
def deployed(
    broker: KafkaBroker, clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A deployment with nothing wrong. A test that breaks something mends it."""
    name = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings(
        kafka_bootstrap=broker.bootstrap,
        data_folder=tmp_path_factory.mktemp("data"),
        topic_prefix=f"{name}-",
        transactional_id=name,
        partitions=2,
        clickhouse_dsn=clickhouse.dsn(name),
    )
    asyncio.run(create_topics(settings))
    migrate(target_of(settings))
    yield settings
    asyncio.run(delete_topics(settings))


async def findings(settings: Settings) -> list[Finding]:
    """What is not as it should be. That there is one copy of each topic is so on this broker."""
    found = [one async for one in examine(settings, lambda *_: None)]
    return [one for one in found if one.status != "ok" and "topics have one copy" not in one.detail]


async def the_one(settings: Settings, status: str, check: str) -> Finding:
    """The only thing that is wrong."""
    found = await findings(settings)
    assert [(one.status, one.check) for one in found] == [(status, check)], found
    return found[0]


async def write(settings: Settings, topic: str, key: bytes, value: bytes | None, partition: int = 0) -> int:
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        return (await producer.send_and_wait(settings.topic(topic), value, key, partition)).offset


@asynccontextmanager
async def configured(settings: Settings, name: str, **config: str) -> AsyncIterator[None]:
    """A topic whose settings are others for a while."""
    spelled = {key.replace("_", "."): value for key, value in config.items()}
    before = (await find_topics(settings))[name].config
    async with administration(settings) as admin:

        async def alter(wanted: dict[str, str]) -> None:
            topic = ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), configs={**before, **wanted})
            await admin.alter_configs([topic])

            async def altered() -> bool:
                return wanted.items() <= dict((await find_topics(settings))[name].config).items()

            await wait_until(altered)

        await alter(spelled)
        try:
            yield
        finally:
            await alter({key: before[key] for key in spelled})


def test_where_nothing_is_wrong_it_says_what_it_looked_at(deployed: Settings) -> None:
    with as_settings(deployed):
        told, as_json = run("doctor"), run("doctor", "--json")
    assert (told.code, as_json.code) == (0, 0)
    lines = told.out.splitlines()
    assert [line.split()[0] for line in lines] == [one["status"] for one in as_json.json]
    assert {one["status"] for one in as_json.json if one["check"] != "copies"} == {"ok"}
    assert [one["check"] for one in as_json.json] == [
        "broker",
        "clock of Kafka",
        "topics",
        "partitions",
        "settings of topics",
        "copies",
        "records of ledger",
        "records of agency-ledger",
        "records of billing-ledger",
        "records of catalogue",
        "position of the meter",
        "position of the meter for agencies",
        "position of the billing job",
        "ClickHouse",
        "clock of ClickHouse",
        "schema",
        "positions of the sink",
        "disk",
        "index of rated calls",
    ]
    assert f"ok      broker: {deployed.bootstrap} answers: Kafka 4." in lines[0]
    assert "version 26." in as_json.out


async def test_a_broker_that_is_away_fails_and_the_rest_is_looked_at(deployed: Settings) -> None:
    away = deployed.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    found = [one async for one in examine(away, lambda *_: None)]
    assert [one.check for one in found if one.status == "failed"] == ["broker"]
    assert "no Kafka broker answers at 127.0.0.1:1" in found[0].detail
    assert {"ClickHouse", "schema", "disk"} <= {one.check for one in found if one.status == "ok"}
    done = command(away, "doctor")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("failed  broker: no Kafka broker answers")


async def test_a_broker_that_hangs_fails_within_seconds(
    deployed: Settings, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration_module, "ANSWER_TIMEOUT_S", 1.0)
    broker.freeze()
    try:
        found = await findings(deployed)
    finally:
        broker.thaw()
    assert [one.check for one in found if one.status == "failed"] == ["broker"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda dsn: dsn.replace(":secret@", ":wrong@"), "refuses user 'callmeter' or its password"),
        (lambda dsn: dsn.rpartition("@")[0] + "@127.0.0.1:1/x", "does not answer at http://127.0.0.1:1/x"),
        (lambda dsn: "nonsense", "CALLMETER_CLICKHOUSE_DSN is not of the form"),
        (lambda dsn: dsn + "_nowhere", "callmeter migrate"),
    ],
)
async def test_a_clickhouse_that_is_away_or_refuses_fails(deployed: Settings, change: Any, says: str) -> None:
    assert deployed.clickhouse_dsn is not None
    dsn = change(deployed.clickhouse_dsn.get_secret_value())
    finding = await the_one(Settings(**{**deployed.model_dump(), "clickhouse_dsn": dsn}), "failed", "ClickHouse")
    assert says in finding.detail


async def test_an_embedded_engine_that_is_not_there_yet_is_not_made(deployed: Settings) -> None:
    embedded = deployed.model_copy(update={"clickhouse_dsn": None})
    finding = await the_one(embedded, "warning", "ClickHouse")
    assert "no engine in" in finding.detail
    assert not (deployed.folder / "clickhouse").exists()


async def test_a_schema_that_is_not_current_fails(deployed: Settings) -> None:
    with Store(target_of(deployed)) as store:
        store.command("CREATE TABLE kept AS schema_migrations")
        store.command("EXCHANGE TABLES kept AND schema_migrations")
        finding = await the_one(deployed, "failed", "schema")
        store.command("EXCHANGE TABLES kept AND schema_migrations")
        store.command("DROP TABLE kept SYNC")
    assert "lacks 0001_" in finding.detail and "run: callmeter migrate" in finding.detail


async def test_a_missing_topic_fails_and_so_does_one_with_other_partitions(deployed: Settings) -> None:
    async def delete() -> None:
        async with administration(deployed) as admin:
            await admin.delete_topics([deployed.topic(ALERTS)])

        async def gone() -> bool:
            return ALERTS not in await find_topics(deployed)

        await wait_until(gone)

    await delete()
    finding = await the_one(deployed, "failed", "topics")
    assert deployed.topic(ALERTS) in finding.detail and finding.advice == "run: callmeter topics create"
    async with administration(deployed) as admin:
        config = {"cleanup.policy": "delete", "retention.ms": str(30 * 86_400_000)}
        config["unclean.leader.election.enable"] = "false"
        await admin.create_topics([NewTopic(deployed.topic(ALERTS), 3, 1, topic_configs=config)])

    async def three() -> bool:
        found = (await find_topics(deployed)).get(ALERTS)
        return found is not None and found.partitions == 3

    await wait_until(three)
    finding = await the_one(deployed, "failed", "partitions")
    assert f"has 2 partitions, but {deployed.topic(ALERTS)} has 3" in finding.detail
    await delete()
    await create_topics(deployed)


async def test_a_setting_that_loses_records_fails_and_a_harmless_one_warns(deployed: Settings) -> None:
    async with configured(deployed, ACCOUNT_EVENTS, retention_ms="3600000"):
        finding = await the_one(deployed, "failed", "settings of topics")
        assert "retention.ms is 3600000, wanted -1" in finding.detail
        assert f"--entity-name {deployed.topic(ACCOUNT_EVENTS)} --add-config retention.ms=-1" in finding.advice
    async with configured(deployed, ALERTS, retention_ms="-1"):
        await the_one(deployed, "warning", "settings of topics")


async def test_more_copies_needed_than_there_are_fails(deployed: Settings) -> None:
    async with configured(deployed, RATED_CALLS, min_insync_replicas="2"):
        finding = await the_one(deployed, "failed", "copies")
        assert "has 1 copies, but min.insync.replicas is 2: nothing can be written" in finding.detail


async def test_settings_that_do_not_know_the_topics_warn(deployed: Settings) -> None:
    finding = await the_one(deployed.model_copy(update={"partitions": 9}), "warning", "partitions")
    assert "every topic has 2, but CALLMETER_PARTITIONS is 9" in finding.detail


def an_account() -> bytes:
    fold = Fold(0, 1, SeenInMemory())
    (fact,) = subscribed(1)
    assert fold.fold(encoded(fact), 0)
    return dict(fold.drain_ledger())[ACCOUNT]


@pytest.mark.parametrize(
    ("topic", "key", "broken", "good"),
    [
        (LEDGER, ACCOUNT, b"\xfe nonsense", an_account()),
        (LEDGER, ACCOUNT, an_account()[:-3], an_account()),
        (BILLING_LEDGER, POSITION, b"three", encode_position(0)),
        (CATALOGUE, b"acme/plan/p", b"{", None),
    ],
)
async def test_a_record_that_cannot_be_read_fails_with_its_place_until_a_good_one_takes_it(
    deployed: Settings, topic: str, key: bytes, broken: bytes, good: bytes | None
) -> None:
    offset = await write(deployed, topic, key, broken, partition=1)
    found = await findings(deployed)
    await write(deployed, topic, key, good, partition=1)
    named = f"{deployed.topic(topic)}-1: the record at offset {offset}, key {key!r}, cannot be read: "
    assert found[0].check == f"records of {topic}"
    assert found[0].detail.startswith(named)
    # A billing position that cannot be read is no position either.
    assert {one.check for one in found[1:]} <= {"positions"}
    assert not await findings(deployed)


def positioned(offset: int) -> bytes:
    fold = Fold(0, 1, SeenInMemory())
    fold.position = offset
    return dict(fold.drain_ledger())[ledger.POSITION]


async def test_a_position_beyond_the_logs_end_fails(deployed: Settings) -> None:
    await write(deployed, LEDGER, POSITION, positioned(1_000_000))
    finding = await the_one(deployed, "failed", "position of the meter")
    await write(deployed, LEDGER, POSITION, positioned(0))
    topic = deployed.topic(ACCOUNT_EVENTS)
    assert finding.detail.startswith(f"{topic}-0: offset 1000000 is beyond the log's end at ")


async def test_a_position_before_the_logs_start_fails(deployed: Settings) -> None:
    await produce(deployed, [b"one", b"two", b"three"], BILLING_EVENTS)
    topic = deployed.topic(BILLING_EVENTS)
    async with administration(deployed) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=2)})
    found = await findings(deployed)
    assert [(one.status, one.check, one.detail) for one in found] == [
        ("failed", check, f"{topic}-0: offset 0 is before the log's start at 2")
        for check in ("position of the billing job", "positions of the sink")
    ]
    await write(deployed, BILLING_LEDGER, POSITION, encode_position(2))
    # As where there were only markers.
    with Store(target_of(deployed)) as store:
        note_progress(store, BILLING_EVENTS, {0: 2})
    assert not await findings(deployed)


async def test_rows_of_records_that_no_log_has_fail(deployed: Settings) -> None:
    with Store(target_of(deployed)) as store:
        store.command("INSERT INTO alerts (kafka_partition, kafka_offset) VALUES (1, 41)")
        try:
            finding = await the_one(deployed, "failed", "positions of the sink")
        finally:
            store.command("ALTER TABLE alerts DELETE WHERE 1 SETTINGS mutations_sync = 2")
    assert finding.detail == f"{deployed.topic(ALERTS)}-1: offset 42 is beyond the log's end at 0"


@pytest.mark.parametrize(("shift_s", "status"), [(10.0, "warning"), (-100.0, "failed")])
async def test_a_clock_that_differs_is_told(
    deployed: Settings, monkeypatch: pytest.MonkeyPatch, shift_s: float, status: str
) -> None:
    real = time.time
    monkeypatch.setattr(kafka.time, "time", lambda: real() + shift_s)
    found = await findings(deployed)
    clocks = {one.check: one for one in found if one.check.startswith("clock of")}
    assert set(clocks) == {"clock of Kafka", "clock of ClickHouse"}
    for one in clocks.values():
        assert one.status == status
        assert ("ahead of" if shift_s > 0 else "behind") in one.detail


def test_a_slow_answer_is_no_difference_of_clocks() -> None:
    assert skew("clock", "x", 3.0, 2.5).status == "ok"
    assert skew("clock", "x", -5.0, 0.1).status == "warning"


async def test_ticks_of_the_future_are_told(deployed: Settings) -> None:
    fold = Fold(0, 1, SeenInMemory())
    fold.fold(encoded({"type": "tick", "at": "2090-01-01T00:00:00Z"}), 0)
    fold.position = 0
    await write(deployed, LEDGER, POSITION, dict(fold.drain_ledger())[ledger.POSITION])
    finding = await the_one(deployed, "warning", "ticks")
    await write(deployed, LEDGER, POSITION, positioned(0))
    assert "2090-01-01T00:00:00+00:00, ahead of this machine's" in finding.detail


@pytest.mark.parametrize(("free", "status"), [(100 << 20, "failed"), (1 << 30, "warning")])
async def test_a_disk_that_is_full_is_told(
    deployed: Settings, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1 << 40, 0, free))
    finding = await the_one(deployed, status, "disk")
    assert "of 1,024.0 GiB are free" in finding.detail


async def test_an_index_is_read_beside_a_running_meter_and_a_damaged_one_is_told(deployed: Settings) -> None:
    index = SeenCallsIndex(deployed, 0)
    await index.open(0)
    folder = next((deployed.folder / "seen-calls").glob("*/0"))
    try:
        beside = [one async for one in examine(deployed, lambda *_: None)]
        assert beside[-1].detail == "of 1 partitions on this machine, all can be read"
    finally:
        await index.close()
    (folder / "CURRENT").write_text("MANIFEST-999999\n")
    finding = await the_one(deployed, "warning", "index of rated calls")
    shutil.rmtree(folder.parent)
    assert f"{folder} cannot be read: " in finding.detail


def test_what_it_says_in_json_can_be_read_when_something_failed(deployed: Settings) -> None:
    with as_settings(deployed.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})):
        ran = run("doctor", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)[0]["status"] == "failed"


def test_the_folder_is_not_made(deployed: Settings, tmp_path: Path) -> None:
    with as_settings(deployed.model_copy(update={"data_folder": tmp_path / "none"})):
        run("doctor")
    assert not (tmp_path / "none").exists()
