"""The same log gives the same outputs, byte for byte but for positions: by `simulate` and by the meter."""

from __future__ import annotations

import pytest

from rating.fold import Fold
from rating.outputs import DeadLetter
from rating.seen import SeenInMemory
from streams.topics import DEAD_LETTERS
from tests.broker import process, produce, read_topic, wait_until
from tests.rating.builders import encode
from tests.rating.logs import a_log, by_topic_and_account

TOPICS = ("rated-calls", "billing-events", "payment-requests", "alerts", "access-events", "duplicates", DEAD_LETTERS)


def by_the_core(lines):
    """The outputs of `simulate`: one partition, all in memory."""
    fold = Fold(0, None, SeenInMemory())
    for offset, line in enumerate(lines):
        assert fold.fold(line, offset)
    return by_topic_and_account(fold.outputs)


async def by_the_meter(settings):
    """The outputs on the broker so far."""
    found = []
    for topic in TOPICS:
        for record in await read_topic(settings, topic):
            value = record.value
            if topic == DEAD_LETTERS:
                reason = dict(record.headers)["reason"].decode()
                value = DeadLetter(reason, "", "", 0, 0, value)
            found.append((topic, record.key, value))
    return by_topic_and_account(found)


@pytest.mark.parametrize(("partitions", "batch_records"), [(1, 20_000), (4, 50), (7, 1)])
async def test_the_meter_gives_what_simulate_gives(make_settings, partitions, batch_records):
    settings = make_settings(partitions=partitions, batch_records=batch_records)
    lines = encode(a_log(7))
    expected = by_the_core(lines)
    outputs = sum(map(len, expected.values()))
    await produce(settings, lines)
    with process(settings, "meter"):

        async def complete():
            found = await by_the_meter(settings)
            return found if sum(map(len, found.values())) >= outputs else None

        assert await wait_until(complete, 60, f"{outputs} outputs") == expected
