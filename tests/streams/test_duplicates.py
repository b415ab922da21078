"""Duplicates by the meter as a process: over days, restarts, batches, and an index that was lost or is old."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter

from aiokafka import AIOKafkaProducer

from streams.seen_calls import RECORD, RECORD_ENTRIES
from streams.topics import DUPLICATES, SEEN_CALLS
from tests.broker import process, produce, read_values, wait_until
from tests.rating.builders import call, subscription, tick
from tests.streams.meters import ask, rated, ready


def copies(numbers, day: int) -> list[dict]:
    """Calls again, as if they had ended another day."""
    time = f"2026-11-{day:02d}T11:0"
    return [call(number, f"{time}5:00Z", f"{time}0:00Z", account="acct_1") for number in numbers]


async def test_a_second_copy_is_found_days_later_after_restarts_and_with_a_stale_index_but_not_after_the_retention(
    make_settings, tmp_path
):
    settings = make_settings(partitions=1)
    folder = settings.folder / SEEN_CALLS
    stale = tmp_path / "stale"
    await produce(settings, [tick("2026-11-04T00:00:00Z"), subscription(), *map(call, range(10))])
    with process(settings, "meter") as meter:
        await rated(settings, 10)
        assert meter.stop() == 0, meter.output
    shutil.copytree(folder, stale)
    # Another time stamp, another day, another batch; and calls that the stale index will not know.
    await produce(settings, [tick("2026-11-20T00:00:00Z"), *copies(range(5), day=19), *map(call, range(10, 20))])
    with process(settings, "meter") as meter:
        await rated(settings, 20)
        assert meter.stop() == 0, meter.output
    shutil.rmtree(folder)
    shutil.copytree(stale, folder)
    # 90 days after the calls were rated, to the second; then a second more.
    await produce(settings, [tick("2027-02-02T00:00:00Z", jump=True), call(5), call(15), call(20)])
    with process(settings, "meter") as meter:
        await rated(settings, 21)
        await produce(settings, [tick("2027-02-02T00:00:01Z"), call(6), call(16), call(21)])
        ids = await rated(settings, 23)
        assert meter.stop() == 0, meter.output
    assert Counter(ids) == Counter([*(f"call_{number}" for number in range(22)), "call_6"])
    duplicates = [value["call_id"] for value in await read_values(settings, DUPLICATES)]
    assert duplicates == [f"call_{number}" for number in (0, 1, 2, 3, 4, 5, 15, 16)]


async def test_the_readiness_page_and_the_log_tell_how_far_a_rebuild_is(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, [subscription(), call(1)])
    with process(settings, "meter") as meter:
        await rated(settings, 1)
        assert meter.stop() == 0, meter.output
    shutil.rmtree(settings.folder / SEEN_CALLS)
    async with AIOKafkaProducer(**settings.kafka_client(), max_request_size=2 << 20) as producer:
        for _ in range(12):
            many = b"".join(os.urandom(16) + bytes(16) for _ in range(RECORD_ENTRIES))
            await producer.send_and_wait(settings.topic(SEEN_CALLS), RECORD.prefix + many)
    with process(settings, "meter") as meter:
        told = set()

        def shown() -> bool:
            status, body = ask(meter, "/ready")
            told.update(re.findall(r"rebuilding the index of rated calls: \d+ %", body))
            return status == 200

        await wait_until(shown)
        assert told, meter.output
        await ready(meter)
        await produce(settings, [call(1), call(2)])
        assert await rated(settings, 2) == ["call_1", "call_2"]
