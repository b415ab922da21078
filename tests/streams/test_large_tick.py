"""A tick that changes very many accounts is committed slice by slice, and goes on in the middle after a kill."""

from __future__ import annotations

from collections import Counter

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from rating.simulate import simulate
from streams.ledger import LedgerPartition
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS, LEDGER
from tests.broker import read_topic, read_values
from tests.rating.builders import call, encode, tick
from tests.streams.meters import subscribed

ACCOUNTS = 4_500


def as_records(tp: TP, values: list[bytes]) -> list[ConsumerRecord]:
    return [
        ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, None, value, None, 0, len(value), ())
        for offset, value in enumerate(values)
    ]


async def test_a_killed_large_tick_goes_on_where_it_was(make_settings):
    settings = make_settings(partitions=1)
    tp = TP(settings.topic(ACCOUNT_EVENTS), 0)
    values = encode([*subscribed(ACCOUNTS), tick("2026-12-01T00:00:00Z"), call(1, account="acct_7")])
    records = as_records(tp, values)
    killed = LedgerPartition(tp, settings, 1)
    await killed.open()
    await killed.handle(records[:ACCOUNTS])
    # What a worker that is taken away does, too: it stops after the slice in hand.
    killed.stopping = True
    await killed.handle(records[ACCOUNTS:])
    assert killed.position == ACCOUNTS
    opened = Counter(value["type"] for value in await read_values(settings, BILLING_EVENTS))
    assert ACCOUNTS < opened["cycle.opened"] < 2 * ACCOUNTS
    # Not closed: nothing may depend on an orderly end. Only the folder's lock would be freed by a real one.
    await killed._seen.close()

    second = LedgerPartition(tp, settings, 1)
    await second.open()
    assert second.position == ACCOUNTS
    await second.handle(records[ACCOUNTS:])
    assert second.position == len(records)
    await second.close()
    await killed.producer.stop()

    expected = [output["value"] for output in simulate(values) if output["topic"] == "billing-events"]
    assert await read_values(settings, BILLING_EVENTS) == expected
    positions = [record.offset for record in await read_topic(settings, LEDGER) if record.key == b"position"]
    assert len(positions) == 1 + 3


async def test_a_large_tick_writes_at_most_a_slice_per_transaction(make_settings):
    settings = make_settings(partitions=1)
    tp = TP(settings.topic(ACCOUNT_EVENTS), 0)
    worker = LedgerPartition(tp, settings, 1)
    await worker.open()
    await worker.handle(as_records(tp, encode([*subscribed(ACCOUNTS), tick("2026-12-01T00:00:00Z")])))
    await worker.close()
    touched, slices = 0, []
    for record in await read_topic(settings, LEDGER):
        touched += record.key.startswith(b"account\0")
        if record.key == b"position":
            slices.append(touched)
            touched = 0
    # The subscriptions go with the first slice of the tick; those accounts are among them.
    assert slices == [ACCOUNTS, 2_000, 500]
