"""The sink on the real broker: every record of our topics becomes one row, whatever happens on the way."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import ConsumerRecord, TopicPartition
from pydantic import SecretStr

from sinks.clickhouse import Store, Target, parse_dsn
from sinks.exactly_once import STAGING
from sinks.migrate import migrate
from sinks.tables import TABLES
from streams.administration import administration
from streams.settings import Settings
from streams.topics import ALERTS, RATED_CALLS
from tests.broker import Process, command, process, wait_until
from tests.sinks.front import ClickHouse
from tests.sinks.story import alerts, month, written

STORY = written(month())
MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_sink_settings(make_settings: MakeSettings, clickhouse: ClickHouse) -> MakeSettings:
    """Settings with a database of the ClickHouse behind HTTP, migrated."""

    def make(**overrides: Any) -> Settings:
        dsn = clickhouse.dsn(f"t{uuid.uuid4().hex[:10]}")
        migrate(parse_dsn(dsn))
        return make_settings(
            **{"clickhouse_dsn": SecretStr(dsn), "sink_interval_s": 0.1, "session_timeout_s": 6.0, **overrides}
        )

    return make


@pytest.fixture
def sink_settings(make_sink_settings: MakeSettings) -> Settings:
    """One partition a topic."""
    return make_sink_settings(partitions=1)


@pytest.fixture
def store(sink_settings: Settings) -> Iterator[Store]:
    """A connection to the test's database."""
    with Store(target(sink_settings)) as opened:
        yield opened


def target(settings: Settings) -> Target:
    assert settings.clickhouse_dsn is not None
    return parse_dsn(settings.clickhouse_dsn.get_secret_value())


async def send(settings: Settings, records: Iterable[ConsumerRecord], transactions: bool = False) -> None:
    """Write records to their topics and partitions, plainly or as the meter does: in a transaction."""
    identity = {"transactional_id": uuid.uuid4().hex} if transactions else {"enable_idempotence": True}
    async with AIOKafkaProducer(
        **settings.kafka_client(), acks="all", max_request_size=8 << 20, **identity
    ) as producer:
        if transactions:
            await producer.begin_transaction()
        for one in records:
            topic = settings.topic(one.topic)
            await producer.send(topic, one.value, one.key, one.partition, headers=list(one.headers))
        await (producer.commit_transaction() if transactions else producer.flush())


def everything() -> list[ConsumerRecord]:
    return [record for topic in STORY.values() for record in topic]


def counts(store: Store) -> dict[str, int]:
    return {table.name: store.value(f"SELECT count() FROM {table.name}") for table in TABLES}


async def wait_for(store: Store, table: str, rows: int, timeout: float = 60.0) -> None:
    def stored() -> bool:
        found: int = store.value(f"SELECT count() FROM {table}")
        assert found <= rows, f"{found} rows of {rows}"
        return found == rows

    await wait_until(stored, timeout, f"{rows} rows in {table}")


def pages(running: Process) -> str:
    """Address of a process' metrics, health and readiness; an AssertionError while there is none."""
    lines = [line for line in running.output.splitlines() if "serving metrics" in line]
    assert lines, "serves no pages yet"
    return lines[0].split("url=")[1].split()[0]


def ready(running: Process) -> tuple[bool, str]:
    """What ``/ready`` says of the sink."""
    try:
        with urllib.request.urlopen(f"{pages(running)}/ready", timeout=30) as answer:
            told = json.load(answer)["roles"]["sink"]
    except urllib.error.HTTPError as error:
        told = json.load(error)["roles"]["sink"]
    return told["ready"], told["waiting_for"] or ""


def metrics(running: Process, name: str) -> list[float]:
    with urllib.request.urlopen(f"{pages(running)}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]


def metric(running: Process, name: str) -> float:
    return sum(metrics(running, name))


async def test_every_topic_reaches_its_table_and_a_second_start_stores_nothing_again(
    sink_settings: Settings, store: Store
) -> None:
    await send(sink_settings, everything(), transactions=True)
    with process(sink_settings, "sink") as sink:
        for table in TABLES:
            if table.name not in ("accounts", "agency_totals"):
                await wait_for(store, table.name, len(STORY[table.topic]))
        await wait_until(lambda: store.value("SELECT count() FROM accounts_current") == 3)
        await wait_until(lambda: ready(sink) == (True, ""))
        states = len(STORY["ledger"]) + len(STORY["agency-ledger"])
        assert metric(sink, "callmeter_sink_rows_total") >= sum(map(len, STORY.values())) - states
        assert metric(sink, "callmeter_sink_waiting") == 0
        # The markers of transactions, which end each topic, are no records: nothing is left to be read.
        await wait_until(lambda: set(metrics(sink, "callmeter_sink_lag_records{")) == {0.0})
        assert sink.stop() == 0
    micros = sum(json.loads(record.value)["amount_micros"] for record in STORY[RATED_CALLS])
    assert store.value("SELECT sum(amount_micros) FROM rated_calls") == micros
    assert not staging(store)
    before = counts(store)
    with process(sink_settings, "sink") as sink:
        await send(sink_settings, alerts(range(1)))
        await wait_for(store, "alerts", before["alerts"] + 1)
        assert sink.stop() == 0
    assert counts(store) == {**before, "alerts": before["alerts"] + 1}


def staging(store: Store) -> list[dict[str, Any]]:
    return store.rows(
        f"SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '{STAGING}')"
    )


async def test_it_works_on_the_embedded_engine_as_well(make_settings: MakeSettings) -> None:
    settings = make_settings(partitions=2, sink_interval_s=0.1)
    done = command(settings, "migrate")
    assert (done.returncode, "applied 0001_rated_calls.sql" in done.stdout) == (0, True), done.stderr
    assert "is up to date" in command(settings, "migrate").stdout
    await send(settings, everything())
    with process(settings, "sink") as sink:
        rows = len(STORY[RATED_CALLS])
        await wait_until(
            lambda: (
                "serving metrics" in sink.output
                and metric(sink, 'callmeter_sink_rows_total{partition="0",table="rated_calls"}') == rows
            )
        )
        assert sink.stop() == 0
    shown = command(settings, "usage", "--by", "agency", "--json")
    assert sum(row["calls"] for row in json.loads(shown.stdout)) == rows, shown.stderr


async def test_two_sinks_and_kills_lose_and_double_nothing(make_sink_settings: MakeSettings) -> None:
    settings = make_sink_settings(partitions=3, sink_rows=400)
    rows = 9_000
    records = [record for partition in range(3) for record in alerts(range(rows // 3), partition)]
    with Store(target(settings)) as store, process(settings, "sink") as first, process(settings, "sink") as second:
        sending = asyncio.create_task(send(settings, records))
        await wait_until(lambda: store.value("SELECT count() FROM alerts") > 500)
        first.freeze()
        await wait_until(lambda: store.value("SELECT uniqExact(kafka_partition) FROM alerts") == 3)
        second.kill()
        with process(settings, "sink") as third:
            # The frozen one was thought dead; it comes back beside its successor.
            first.thaw()
            await sending
            await wait_for(store, "alerts", rows)
            third.kill()
            with process(settings, "sink"):
                await send(settings, alerts(range(rows // 3, rows // 3 + 10)))
                await wait_for(store, "alerts", rows + 10)
        assert store.value("SELECT uniqExact(kafka_partition, kafka_offset) FROM alerts") == rows + 10


async def test_clickhouse_away_is_waited_for_and_nothing_is_lost(
    sink_settings: Settings, store: Store, clickhouse: ClickHouse
) -> None:
    with process(sink_settings, "sink") as sink:
        await send(sink_settings, alerts(range(50)))
        await wait_for(store, "alerts", 50)
        clickhouse.go_away()
        try:
            await send(sink_settings, alerts(range(50, 90)))
            await wait_until(lambda: ready(sink)[1].startswith("ClickHouse: ClickHouse does not answer"))
            assert metric(sink, "callmeter_sink_waiting") == 1
            assert "waiting for ClickHouse; nothing is lost" in sink.output
            assert "secret" not in sink.output
        finally:
            clickhouse.come_back()
        await wait_for(store, "alerts", 90)
        await wait_until(lambda: ready(sink) == (True, ""))
        assert metric(sink, "callmeter_sink_waiting") == 0
        assert "ClickHouse answers again" in sink.output


async def test_a_sink_that_waits_can_be_stopped(sink_settings: Settings, store: Store, clickhouse: ClickHouse) -> None:
    with process(sink_settings, "sink") as sink:
        await wait_until(lambda: ready(sink)[0])
        clickhouse.go_away()
        try:
            await send(sink_settings, alerts(range(5)))
            await wait_until(lambda: "waiting for ClickHouse" in sink.output)
            assert sink.stop() == 0
        finally:
            clickhouse.come_back()
    with process(sink_settings, "sink"):
        await wait_for(store, "alerts", 5)


async def test_what_is_no_record_of_ours_is_kept_and_stops_nothing(sink_settings: Settings, store: Store) -> None:
    records = alerts(range(6))
    foreign = [b"\xff\x00", b"{}", None]
    await send(sink_settings, records[:3])
    await send_raw(sink_settings, ALERTS, foreign)
    await send(sink_settings, records[3:])
    await send_raw(sink_settings, RATED_CALLS, [b"not ours"])
    for _ in range(2):
        with process(sink_settings, "sink") as sink:
            await wait_for(store, "alerts", 6)
            await wait_for(store, "sink_rejects", 4)
            await wait_until(lambda: ready(sink)[0])
            # Rejects at the end of a topic are read at each start, and are not doubled.
            await wait_until(lambda: "cannot be read" in sink.output)
            assert sink.stop() == 0
    rows = store.rows(
        "SELECT kafka_topic, kafka_offset, value, error FROM sink_rejects ORDER BY kafka_topic, kafka_offset"
    )
    assert [(row["kafka_topic"], row["kafka_offset"]) for row in rows] == [
        ("alerts", 3),
        ("alerts", 4),
        ("alerts", 5),
        ("rated-calls", 0),
    ]
    assert all(row["error"] for row in rows)
    assert store.value("SELECT hex(value) FROM sink_rejects WHERE kafka_offset = 3") == "FF00"


async def send_raw(settings: Settings, topic: str, values: Iterable[bytes | None]) -> None:
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        for value in values:
            await producer.send_and_wait(settings.topic(topic), value, b"key", 0)


async def test_records_deleted_before_they_were_stored_are_not_passed_over_in_silence(
    sink_settings: Settings, store: Store
) -> None:
    await send(sink_settings, alerts(range(10)))
    await delete(sink_settings, ALERTS, 4)
    done = command(sink_settings, "sink")
    assert done.returncode == 1
    assert f"{sink_settings.topic(ALERTS)}-0 starts at offset 4 now, but table alerts has no rows of it" in done.stderr
    assert "records 0 to 3" in done.stderr and "--accept-lost" in done.stderr
    assert "Traceback" not in done.stderr
    with process(sink_settings, "sink", "--accept-lost") as sink:
        await wait_for(store, "alerts", 6)
        assert "records are lost, going on as told" in sink.output


async def test_a_log_that_lost_only_markers_is_read_on(sink_settings: Settings, store: Store) -> None:
    from sinks.sink import Sink

    await send(sink_settings, alerts(range(3)), transactions=True)
    with process(sink_settings, "sink"):
        await wait_for(store, "alerts", 3)
    looking = Sink(sink_settings, target(sink_settings))
    tp = TopicPartition(sink_settings.topic(ALERTS), 0)
    await looking.assigned({tp})  # type: ignore[arg-type]
    await looking.look_behind()
    await looking.close()
    assert store.value("SELECT max(position) FROM sink_progress WHERE kafka_topic = 'alerts'") == 4
    await delete(sink_settings, ALERTS, 4)
    with process(sink_settings, "sink"):
        await send(sink_settings, alerts(range(3, 5)))
        await wait_for(store, "alerts", 5)


async def delete(settings: Settings, topic: str, before: int) -> None:
    """Delete the records of partition 0 before an offset, as age does."""
    async with administration(settings) as admin:
        await admin.delete_records({TopicPartition(settings.topic(topic), 0): RecordsToDelete(before_offset=before)})


@pytest.mark.parametrize(
    "name", ["http://u:geheim@127.0.0.1:1/x", "postgres://u:geheim@h/x", "wrong password", "no tables"]
)
def test_a_clickhouse_that_cannot_be_used_is_one_line(
    make_settings: MakeSettings, clickhouse: ClickHouse, name: str
) -> None:
    dsn = {
        "wrong password": clickhouse.dsn("default", password="geheim"),
        "no tables": clickhouse.dsn("default"),
    }.get(name, name)
    settings = make_settings(topics=False, clickhouse_dsn=SecretStr(dsn))
    for words in (["sink"], *([["usage"], ["migrate"]] if name != "no tables" else [])):
        done = command(settings, *words)
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
        assert "geheim" not in done.stderr
