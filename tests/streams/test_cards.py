"""Rate cards reach the meter: written before a subscription names them, while it runs, and after a restart."""

from __future__ import annotations

import json

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from rating.cards import Card, Row
from rating.partitioner import partition_of
from streams.accounts import view_account
from streams.cards import CardShelf, find_card, put_card, read_heads
from streams.errors import LedgerUnusable
from streams.ledger import LedgerPartition
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, RATE_CARDS, RATED_CALLS
from tests.broker import process, produce, read_topic, wait_until
from tests.rating.builders import call, encode, subscription


def card(name: str, rate: int = 120_000, rows: int = 1) -> Card:
    return Card(name, "USD", [Row("49", None, None, rate), *(Row(f"1{n:06}", None, None, n) for n in range(rows))])


async def delete(settings, key: str, card_id: str) -> None:
    partition = partition_of(card_id.encode(), settings.partitions)
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        await producer.send_and_wait(settings.topic(RATE_CARDS), None, key.encode(), partition)


async def reasons(settings):
    return [dict(one.headers)["reason"].decode() for one in await read_topic(settings, DEAD_LETTERS)]


async def rated(settings):
    return [json.loads(one.value) for one in await read_topic(settings, RATED_CALLS)]


async def test_a_card_is_found_by_its_id_and_in_no_half_state(make_settings):
    settings = make_settings(partitions=3)
    one, other = card("one", rows=12_000), card("other")
    shown = []
    await put_card(settings, one, "2026-11-01T00:00:00Z", lambda done, of: shown.append((done, of)))
    await put_card(settings, other)
    assert shown[-1] == (12_001, 12_001)
    heads = await read_heads(settings)
    assert {card_id: head.rows for card_id, head in heads.items()} == {one.card_id: 12_001, other.card_id: 2}
    found = await find_card(settings, one.card_id)
    assert found is not None
    assert (found.rows, found.card_id) == (one.rows, one.card_id)
    assert await find_card(settings, "0" * 32) is None
    # A card whose part, or whose head, is gone is no card; written again, it is.
    await delete(settings, f"{one.card_id}/1", one.card_id)
    assert await find_card(settings, one.card_id) is None
    await put_card(settings, one)
    assert await find_card(settings, one.card_id) is not None
    await delete(settings, one.card_id, one.card_id)
    assert await find_card(settings, one.card_id) is None


async def test_a_shelf_finds_cards_that_come_later_and_those_it_passed_by(make_settings):
    settings = make_settings(partitions=1)
    shelf = CardShelf(settings, 1)
    first, second, third = card("first"), card("second"), card("third")
    for one in (first, second):
        await put_card(settings, one)
    await shelf.load({second.card_id})
    await shelf.load({first.card_id, third.card_id})
    assert set(shelf.cards) == {first.card_id, second.card_id}
    await put_card(settings, third)
    await shelf.load({third.card_id})
    assert set(shelf.cards) == {first.card_id, second.card_id, third.card_id}


async def test_the_meter_rates_by_cards_old_and_new_and_says_when_one_is_unknown(make_settings):
    settings = make_settings(partitions=2)
    old, new = card("old"), card("new", 60_000)
    await put_card(settings, old)
    facts = [
        subscription(rate_card=old.card_id, included_minutes=0),
        call(1, to_number="+49123"),
        subscription(account="acct_2", rate_card=new.card_id, included_minutes=0),
    ]
    await produce(settings, encode(facts))
    with process(settings, "meter"):
        await wait_until(lambda: _is(lambda: reasons(settings), ["unknown_rate_card"]))
        await put_card(settings, new)
        again = {**facts[2], "fact_id": "again"}
        await produce(settings, encode([again, call(2, to_number="+49123", account="acct_2")]))

        async def amounts():
            return sorted(one["amount_micros"] for one in await rated(settings))

        # 10 minutes at 0.06 and at 0.12.
        await wait_until(lambda: _is(amounts, [600_000, 1_200_000]))
    # Another process finds both by what its ledger says.
    await produce(settings, encode([call(3, to_number="+49123"), call(4, to_number="+49123", account="acct_2")]))
    with process(settings, "meter"):
        await wait_until(lambda: _is(amounts, [600_000, 600_000, 1_200_000, 1_200_000]))
    view = await view_account(settings, "acct_1")
    unknown = subscription(account="acct_9", rate_card="0" * 32)
    assert ((await view.outcome(encode([unknown])[0])).refused or ("",))[0] == "unknown_rate_card"


async def test_a_worker_whose_terms_name_a_card_that_is_gone_refuses_to_start(make_settings):
    settings = make_settings(partitions=1)
    gone = card("gone")
    await put_card(settings, gone)
    await produce(settings, encode([subscription(rate_card=gone.card_id), call(1, to_number="+49123")]))
    with process(settings, "meter"):
        await wait_until(lambda: _is(lambda: _count(rated(settings)), 1))
    await delete(settings, gone.card_id, gone.card_id)
    worker = LedgerPartition(TP(settings.topic(ACCOUNT_EVENTS), 0), settings, 1)
    with pytest.raises(LedgerUnusable, match=f"rate-cards: rate card {gone.card_id}, of plan starter, is gone: import"):
        await worker.open()
    await worker.close()


async def _count(found):
    return len(await found)


async def _is(look, expected):
    return await look() == expected
