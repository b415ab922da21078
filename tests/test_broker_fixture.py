"""The tools of the tests themselves: what they read back is what was written and committed."""

from __future__ import annotations

import signal
from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from rating.partitioner import partition_of
from streams.settings import Settings
from tests.broker import command, process, produce, read_topic, read_values, wait_until


async def test_facts_are_read_back_from_their_accounts_partition_in_order(settings: Settings) -> None:
    facts = [{"type": "x", "account_id": f"acct_{number % 3}", "n": number} for number in range(30)]
    await produce(settings, [*facts, b"\xff", None])
    records = await read_topic(settings, "account-events")
    assert len(records) == 32
    for account in (b"acct_0", b"acct_1", b"acct_2"):
        own = [record for record in records if record.key == account]
        assert {record.partition for record in own} == {partition_of(account, settings.partitions)}
        assert [record.offset for record in own] == sorted(record.offset for record in own)
    assert [record.value for record in records if not record.key] == [b"\xff", None]


async def test_a_tick_goes_to_every_partition(settings: Settings) -> None:
    await produce(settings, [{"type": "tick", "at": "2026-11-01T00:00:00Z"}])
    assert [record.partition for record in await read_topic(settings, "account-events")] == list(
        range(settings.partitions)
    )


async def test_only_committed_records_are_read(settings: Settings) -> None:
    topic = settings.topic("alerts")
    arguments = {**settings.kafka_client(), "transactional_id": settings.transactional_id}
    async with AIOKafkaProducer(**arguments) as producer:
        for number, commits in enumerate([True, False, True, False]):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b'{"n": %d}' % number, partition=1)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
        assert [value["n"] for value in await read_values(settings, "alerts")] == [0, 2]
        async with producer.transaction():
            await producer.send_and_wait(topic, b'{"n": 9}', partition=1)
            assert [value["n"] for value in await read_values(settings, "alerts")] == [0, 2]


async def test_each_settings_have_topics_of_their_own(make_settings: Callable[..., Settings]) -> None:
    one, other = make_settings(partitions=1), make_settings(partitions=2)
    await produce(one, [{"type": "x", "account_id": "a"}])
    assert len(await read_topic(one, "account-events")) == 1
    assert await read_topic(other, "account-events") == []


async def test_a_process_gets_the_settings_and_is_gone_afterwards(settings: Settings) -> None:
    with process(settings, "topics", "list", "--json") as running:
        await wait_until(lambda: not running.alive())
        assert settings.topic("ledger") in running.output
    assert running.popen.returncode == 0
    assert command(settings, "--version").stdout.startswith("callmeter ")


async def test_how_a_process_ended_is_known(settings: Settings) -> None:
    with process(settings, "meter") as running:
        await wait_until(lambda: "serving metrics" in running.output)
        running.kill()
        assert running.popen.returncode == -signal.SIGKILL
    refused = command(settings, "simulate", "-", "--nothing", stdin="{}")
    assert (refused.returncode, refused.stdout, "--nothing" in refused.stderr) == (2, "", True)
