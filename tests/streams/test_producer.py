"""Facts sent from outside reach their account's partition, in order, and are acknowledged or an error."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from deploy.kafka.broker import KafkaBroker
from rating.partitioner import partition_of
from streams import producer as module
from streams.errors import BrokerUnreachable, CallmeterError, TopicMissing
from streams.producer import FactProducer
from streams.settings import Settings
from tests.broker import delete_topics, read_topic, read_values, wait_until


def fact(account: int, number: int) -> dict[str, Any]:
    return {"type": "cap.set", "account_id": f"acct_{account}", "n": number}


async def test_facts_go_keyed_to_the_partitions_of_their_accounts(settings: Settings) -> None:
    async with FactProducer(settings) as producer:
        await producer.publish(*(fact(account, 0) for account in range(20)))
        assert producer.acknowledged == 20
    for record in await read_topic(settings, "account-events"):
        assert record.key == json.loads(record.value)["account_id"].encode()
        assert record.partition == partition_of(record.key, settings.partitions)


@pytest.mark.parametrize("kind", ["tick", "rules.set"])
async def test_time_and_rules_go_to_every_partition_without_a_key(settings: Settings, kind: str) -> None:
    async with FactProducer(settings) as producer:
        await producer.publish({"type": kind, "at": "2026-11-01T00:00:00Z"})
    records = await read_topic(settings, "account-events")
    assert [(record.partition, record.key) for record in records] == [
        (number, None) for number in range(settings.partitions)
    ]


async def test_many_facts_of_one_account_keep_their_order(settings: Settings) -> None:
    async with FactProducer(settings) as producer:
        for number in range(30_000):
            await producer.put(json.dumps(fact(number % 7, number)).encode())
    values = await read_values(settings, "account-events")
    assert len(values) == 30_000
    for account in range(7):
        numbers = [value["n"] for value in values if value["account_id"] == f"acct_{account}"]
        assert numbers == sorted(numbers)


async def test_a_single_fact_leaves_without_waiting_for_others(settings: Settings) -> None:
    async with FactProducer(settings) as producer:
        await producer.send("acct_1", b"{}")
        await wait_until(lambda: producer.acknowledged == 1)


@pytest.mark.parametrize("value", [b"", b"nope", b"[]", b'{"type": 7}', b'{"type": "cap.set", "account_id": null}'])
async def test_what_nobody_can_read_still_reaches_the_log(settings: Settings, value: bytes) -> None:
    async with FactProducer(settings) as producer:
        await producer.put(value)
    (record,) = await read_topic(settings, "account-events")
    assert (record.partition, record.key, record.value) == (0, None, value)


async def test_a_record_of_two_megabytes_is_taken(settings: Settings) -> None:
    async with FactProducer(settings) as producer:
        await producer.publish(fact(1, 1), {**fact(1, 2), "padding": "x" * 2_000_000}, fact(1, 3))
    assert [value["n"] for value in await read_values(settings, "account-events")] == [1, 2, 3]


async def test_a_record_above_the_brokers_limit_is_refused_and_so_is_everything_after(settings: Settings) -> None:
    producer = FactProducer(settings)
    with pytest.raises(CallmeterError, match=r"refuses facts: .*MessageSizeTooLarge"):
        async with producer:
            await producer.publish({**fact(1, 1), "padding": "x" * 9_000_000})
    with pytest.raises(CallmeterError, match="refuses facts"):
        await producer.send("acct_1", b"{}")


async def test_a_broker_that_hangs_for_a_while_loses_nothing(settings: Settings, broker: KafkaBroker) -> None:
    async with FactProducer(settings) as producer:
        await producer.publish(fact(1, 1))
        broker.freeze()
        try:
            for number in range(2, 50):
                await producer.put(json.dumps(fact(1, number)).encode())
            await asyncio.sleep(0)
            assert producer.acknowledged == 1
        finally:
            broker.thaw()
    assert [value["n"] for value in await read_values(settings, "account-events")] == list(range(1, 50))


def is_of_library(task: Any) -> bool:
    return "aiokafka" in task.get_coro().cr_code.co_filename


async def test_a_broker_that_goes_away_in_the_middle_is_an_error_in_time_and_sending_again_is_safe(
    settings: Settings, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = "within 1 s; whether it is in the log is not known, and sending it again is safe"
    try:
        with pytest.raises(BrokerUnreachable, match=known):
            async with FactProducer(settings) as producer:
                await producer.publish(fact(1, 1))
                monkeypatch.setattr(module, "DELIVERY_TIMEOUT_S", 1.0)
                broker.freeze()
                await producer.publish(fact(1, 2), fact(2, 2))
        assert producer.acknowledged == 1
        # Nothing goes on trying behind our back.
        await wait_until(lambda: not [task for task in asyncio.all_tasks() if is_of_library(task)])
    finally:
        broker.thaw()
    monkeypatch.undo()
    async with FactProducer(settings) as producer:
        await producer.publish(fact(1, 2), fact(2, 2))
    numbers = [value["n"] for value in await read_values(settings, "account-events")]
    assert set(numbers) == {1, 2}
    assert 3 <= len(numbers) <= 5


async def test_a_producer_that_cannot_begin_says_so_in_time(
    settings: Settings, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELIVERY_TIMEOUT_S", 1.0)

    async def check(*_: object) -> int:
        broker.freeze()
        return 4

    # It goes away after the topics were looked at.
    monkeypatch.setattr(module, "check_topics", check)
    try:
        with pytest.raises(BrokerUnreachable, match="no Kafka broker answers at"):
            async with FactProducer(settings):
                pass
    finally:
        broker.thaw()


async def test_a_broker_that_is_not_there_is_one_line(settings: Settings) -> None:
    with pytest.raises(BrokerUnreachable):
        async with FactProducer(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})):
            pass


async def test_without_the_log_there_is_nothing_to_send_to(settings: Settings) -> None:
    await delete_topics(settings)

    async def refused() -> bool:
        try:
            async with FactProducer(settings):
                return False
        except TopicMissing:
            return True

    await wait_until(refused)
