"""The transaction of a partition: one writer, all or nothing, and a ledger whose end can be trusted."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from faust.types import TP

from streams.errors import BrokerUnreachable, LedgerUnusable, RecordRefused, TakenOver
from streams.fenced import POSITION, FencedPartition, FencedProducer
from streams.topics import ACCOUNT_EVENTS, ALERTS, BILLING_EVENTS, BILLING_LEDGER, LEDGER
from tests.broker import read_topic
from tests.sinks import story


class Copier(FencedPartition):
    """Copies records to the alerts."""

    async def handle(self, records):
        for record in records:
            self.producer.add(ALERTS, record.key, record.value)
        await self.commit(records[-1])


@pytest.fixture
def one(make_settings):
    """Settings with one partition."""
    return make_settings(partitions=1, transaction_timeout_s=2)


def tp_of(settings):
    return TP(settings.topic(BILLING_EVENTS), 0)


async def test_a_second_producer_fences_the_first_and_its_open_transaction_comes_to_nothing(one):
    first, second = FencedProducer(one, tp_of(one)), FencedProducer(one, tp_of(one))
    await first.start()
    first.add(ALERTS, b"key", b"of the first")
    await second.start()
    with pytest.raises(TakenOver, match="another worker has taken this partition over"):
        await first.commit()
    second.add(ALERTS, b"key", b"of the second")
    await second.commit()
    await first.stop()
    await second.stop()
    assert [record.value for record in await read_topic(one, ALERTS)] == [b"of the second"]


async def test_who_learns_between_two_batches_that_it_was_fenced_says_so(one, monkeypatch):
    first, second = FencedProducer(one, tp_of(one)), FencedProducer(one, tp_of(one))
    await first.start()
    await second.start()
    send, transaction = first._producer.send_batch, first._producer._txn_manager

    async def slowly(*batch, **where):
        future = await send(*batch, **where)
        while transaction.is_in_transaction():
            await asyncio.sleep(0.01)
        return future

    monkeypatch.setattr(first._producer, "send_batch", slowly)
    first.add(ALERTS, b"key", b"one batch")
    first.add(LEDGER, b"key", b"another one")
    with pytest.raises(TakenOver, match="another worker has taken this partition over"):
        await first.commit()
    await first.stop()
    await second.stop()


async def test_a_broker_that_has_only_begun_to_start_is_no_defect(one, monkeypatch):
    lookup = AIOKafkaClient.coordinator_lookup

    async def nowhere(client, *sought):
        # It answers, and names no broker, itself neither.
        monkeypatch.setattr(client, "get_random_node", lambda: None)
        try:
            return await lookup(client, *sought)
        finally:
            monkeypatch.undo()

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", nowhere)
    with pytest.raises(BrokerUnreachable, match="knows of no broker yet: it has only begun to start"):
        await FencedProducer(one, tp_of(one)).start()


async def test_more_than_one_batch_and_records_above_one_are_one_transaction(one):
    producer = FencedProducer(one, tp_of(one))
    await producer.start()
    small = [(LEDGER, b"key %d" % number, b"x" * 1_000) for number in range(2_500)]
    producer.add_many(small)
    producer.add(LEDGER, b"large", b"y" * 5_000_000)
    producer.add_many([(LEDGER, b"large too", b"z" * 1_500_000), *small[:10]])
    assert producer.counts() == {LEDGER: 2_512}
    ends = await producer.commit()
    await producer.stop()
    records = await read_topic(one, LEDGER)
    assert [record.key for record in records] == [
        *(key for _, key, _ in small),
        b"large",
        b"large too",
        *(key for _, key, _ in small[:10]),
    ]
    assert ends == {LEDGER: records[-1].offset + 1}


async def test_a_record_that_no_batch_takes_is_refused_by_name(one):
    producer = FencedProducer(one, tp_of(one))
    await producer.start()
    with pytest.raises(RecordRefused, match="key b'acct_1', has 16777216 bytes"):
        producer.add(LEDGER, b"acct_1", bytes(16 << 20))
    await producer.stop()


async def test_results_and_position_survive_together(one):
    worker = Copier(tp_of(one), one, BILLING_LEDGER)
    await worker.open()
    assert worker.position == 0
    worker.producer.add(ALERTS, None, b"one")
    await worker.commit(story.record(BILLING_EVENTS, 6, b"the seventh"))
    worker.producer.add(ALERTS, None, b"never committed")
    await worker.close()
    again = Copier(tp_of(one), one, BILLING_LEDGER)
    await again.open()
    assert again.position == 7
    await again.close()
    assert [record.value for record in await read_topic(one, ALERTS)] == [b"one"]


async def test_a_foreign_open_transaction_on_the_ledger_is_waited_for_then_named(one):
    topic = one.topic(BILLING_LEDGER)
    stranger = AIOKafkaProducer(**one.kafka_client(), transactional_id=one.topic("stranger"))
    await stranger.start()
    await stranger.begin_transaction()
    await stranger.send_and_wait(topic, b"0", POSITION, 0)
    worker = Copier(tp_of(one), one, BILLING_LEDGER)
    with pytest.raises(LedgerUnusable, match=f"{topic}-0: somebody's transaction has been open since offset 0"):
        await worker.open()
    await stranger.abort_transaction()
    await worker.close()
    await worker.open()
    assert worker.position == 0
    await worker.close()
    await stranger.stop()


async def test_an_unreadable_ledger_record_is_named(one):
    topic = one.topic(BILLING_LEDGER)
    async with AIOKafkaProducer(**one.kafka_client()) as producer:
        await producer.send_and_wait(topic, b"1", POSITION, 0)
        await producer.send_and_wait(topic, b"what is this", b"unknown", 0)
    worker = Copier(tp_of(one), one, BILLING_LEDGER)
    with pytest.raises(LedgerUnusable, match=f"{topic}-0: the record at offset 1, key b'unknown', cannot be read"):
        await worker.open()
    await worker.close()


def test_each_partition_has_a_transactional_id_of_its_own(one):
    producer = FencedProducer(one, TP(one.topic(ACCOUNT_EVENTS), 3))
    assert producer.transactional_id == f"{one.transactional_id}-{one.topic(ACCOUNT_EVENTS)}-3"
