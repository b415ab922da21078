"""A tick that changes very many accounts is committed slice by slice, and goes on in the middle after a kill.

Calls that come after it in the log are rated meanwhile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from jobs.positions import LedgerPositions
from jobs.reading import TopicReader
from rating.simulate import simulate
from streams.ledger import LedgerPartition
from streams.observe import PARTITION_CLOCK
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS, LEDGER, RATED_CALLS
from tests.broker import read_topic, read_values
from tests.rating.builders import call, encode, tick
from tests.streams.meters import subscribed

ACCOUNTS = 4_500
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)


def as_records(tp: TP, values: list[bytes]) -> list[ConsumerRecord]:
    return [
        ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, None, value, None, 0, len(value), ())
        for offset, value in enumerate(values)
    ]


async def test_a_killed_large_tick_goes_on_where_it_was_and_calls_do_not_wait_for_it(make_settings):
    settings = make_settings(partitions=1)
    tp = TP(settings.topic(ACCOUNT_EVENTS), 0)
    # Of the account that the tick comes to last.
    values = encode([*subscribed(ACCOUNTS), tick("2026-12-01T00:00:00Z"), call(1, account="acct_999")])
    records = as_records(tp, values)
    killed = LedgerPartition(tp, settings, 1)
    await killed.open()
    await killed.handle(records[:ACCOUNTS])
    await killed.handle(records[ACCOUNTS:])
    assert killed.position == len(records)
    assert killed.unfinished
    opened = Counter(value["type"] for value in await read_values(settings, BILLING_EVENTS))
    assert ACCOUNTS < opened["cycle.opened"] < 2 * ACCOUNTS
    assert [value["account_id"] for value in await read_values(settings, RATED_CALLS)] == ["acct_999"]
    # Whoever waits for the tick is not told that it is done.
    assert await standing(settings) == (ACCOUNTS, None)
    assert shown_clock() < DECEMBER.timestamp()
    # Not closed: nothing may depend on an orderly end. Only the folder's lock would be freed by a real one.
    await killed._seen.close()

    second = LedgerPartition(tp, settings, 1)
    await second.open()
    assert second.position == len(records)
    while second.unfinished:
        await second.handle([])
    assert shown_clock() == DECEMBER.timestamp()
    await second.close()
    await killed.producer.stop()

    assert await standing(settings) == (len(records), DECEMBER)
    expected = by_account(output["value"] for output in simulate(values) if output["topic"] == "billing-events")
    assert by_account(await read_values(settings, BILLING_EVENTS)) == expected


async def test_a_large_tick_writes_at_most_a_slice_or_two_per_transaction(make_settings):
    settings = make_settings(partitions=1)
    tp = TP(settings.topic(ACCOUNT_EVENTS), 0)
    worker = LedgerPartition(tp, settings, 1)
    await worker.open()
    await worker.handle(as_records(tp, encode([*subscribed(ACCOUNTS), tick("2026-12-01T00:00:00Z")])))
    while worker.unfinished:
        await worker.handle([])
    await worker.close()
    touched, slices = 0, []
    for record in await read_topic(settings, LEDGER):
        touched += record.key.startswith(b"account\0")
        if record.key == b"position":
            slices.append(touched)
            touched = 0
    # The subscriptions go with the tick's first slice and the batch's; those accounts are among them.
    assert slices == [ACCOUNTS] + [500] * 7


def shown_clock():
    return PARTITION_CLOCK.labels("0")._value.get()


def by_account(values):
    found = defaultdict(list)
    for value in values:
        found[value["account_id"]].append(value)
    return found


async def standing(settings):
    async with TopicReader(settings, LEDGER, 1) as reader:
        positions = LedgerPositions(reader)
        await positions.refresh()
        return positions.meter()[0]
