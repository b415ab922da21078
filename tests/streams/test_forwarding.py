"""A record in the wrong partition is passed on to the right one, once."""

from __future__ import annotations

from collections import Counter

from aiokafka import AIOKafkaProducer

from rating.partitioner import partition_of
from streams.topics import ACCOUNT_EVENTS, FORWARDED_HEADER
from tests.broker import process, read_topic, wait_until
from tests.rating.builders import call, subscription
from tests.streams.meters import encoded, headers_of, rated

ACCOUNT = "acct_1"


async def test_a_misplaced_record_is_rated_where_its_account_lives(make_settings):
    settings = make_settings(partitions=2)
    right = partition_of(ACCOUNT.encode(), 2)
    wrong = 1 - right
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        topic = settings.topic(ACCOUNT_EVENTS)
        await producer.send_and_wait(topic, encoded(subscription()), ACCOUNT.encode(), right)
        await producer.send_and_wait(topic, encoded(call(0)), b"another key", wrong)
        await producer.send_and_wait(topic, encoded(call(1)), None, wrong)
        # Somebody marked it, yet it does not belong here: passing it on again could go round for ever.
        await producer.send_and_wait(topic, encoded(call(2)), None, wrong, headers=[(FORWARDED_HEADER, b"0:9")])
        await producer.send_and_wait(topic, encoded(call(3)), ACCOUNT.encode(), right)
    with process(settings, "meter") as meter:
        ids = await rated(settings, 3)

        async def refused():
            return [headers_of(letter) for letter in await read_topic(settings, "dead-letters")]

        (letter,) = await wait_until(refused)
        assert meter.stop() == 0, meter.output
    assert Counter(ids) == Counter(["call_0", "call_1", "call_3"])
    assert (letter["reason"], letter["partition"], letter["offset"]) == ("misrouted", str(wrong), "2")
    forwarded = [record for record in await read_topic(settings, ACCOUNT_EVENTS) if record.headers]
    assert [
        (record.partition, dict(record.headers)[FORWARDED_HEADER]) for record in forwarded if record.partition == right
    ] == [
        (right, b"%d:0" % wrong),
        (right, b"%d:1" % wrong),
    ]
