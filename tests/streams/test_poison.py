"""State that cannot be read stops its reader at once, and the line names topic, partition, offset and key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from jobs.positions import LedgerPositions
from jobs.reading import TopicReader
from rating import ledger
from rating.fold import Fold
from rating.seen import SeenInMemory
from streams.accounts import running_subscriptions, view_account
from streams.errors import LedgerUnusable
from streams.fenced import POSITION, FencedPartition
from streams.ledger import LedgerPartition
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS, BILLING_LEDGER, LEDGER, SEEN_CALLS
from tests.streams.meters import encoded, subscribed

ACCOUNT = ledger.ACCOUNT + b"acct_0"
HISTORY = ledger.HISTORY + b"acct_0"


def good_records() -> dict[bytes, bytes]:
    """A ledger of one account, as a meter writes it."""
    fold = Fold(0, 1, SeenInMemory())
    for offset, fact in enumerate(subscribed(1)):
        assert fold.fold(encoded(fact), offset)
    return dict(fold.drain_ledger())


@pytest.fixture
def one(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(partitions=1)


async def write(settings: Settings, topic: str, *records: tuple[bytes, bytes | None]) -> None:
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        for key, value in records:
            await producer.send_and_wait(settings.topic(topic), value, key, 0)


async def open_meter(settings: Settings) -> None:
    worker = LedgerPartition(TP(settings.topic(ACCOUNT_EVENTS), 0), settings, 1)
    try:
        await worker.open()
    finally:
        await worker.close()


def broken(key: bytes) -> bytes:
    """The right version and header, then something else."""
    return ledger.ACCOUNT_STATE.prefix + bytes(8) + b"\xc1" if key == ACCOUNT else b"\x01\xc1"


@pytest.mark.parametrize("key", [ACCOUNT, HISTORY, ledger.TERMS + b"hash", ledger.POSITION])
async def test_a_broken_ledger_record_stops_the_meter_before_it_rates(one: Settings, key: bytes) -> None:
    await write(one, LEDGER, *good_records().items(), (key, broken(key)))
    at = len(good_records())
    with pytest.raises(LedgerUnusable) as raised:
        await open_meter(one)
    assert str(raised.value).startswith(
        f"{one.topic(LEDGER)}-0: the record at offset {at}, key {key!r}, cannot be read: "
    )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (ACCOUNT, None, "a ledger record without a value"),
        (b"", b"\x01", "a record of an unknown kind"),
        (ledger.ACCOUNT + b"\xff", good_records()[ACCOUNT], "invalid start byte"),
        (ledger.ACCOUNT + b"acct_1", good_records()[ACCOUNT], "another account's"),
        (HISTORY, ledger.HISTORY_STATE.prefix + b"\x92\x90\x81\xa1r" + b"\x91" * 3000 + b"\xc0", ""),
    ],
)
async def test_whatever_the_record_is_it_is_one_line(one: Settings, key: bytes, value: bytes | None, why: str) -> None:
    await write(one, LEDGER, (key, value))
    with pytest.raises(LedgerUnusable, match=f"-0: the record at offset 0, key .*, cannot be read: .*{why}"):
        await open_meter(one)


async def test_a_broken_record_is_mended_by_a_good_one_with_its_key(one: Settings) -> None:
    good = good_records()
    await write(one, LEDGER, *good.items(), (ACCOUNT, broken(ACCOUNT)), (ACCOUNT, good[ACCOUNT]))
    await open_meter(one)


@pytest.mark.parametrize("value", [b"", b"too short", None])
async def test_a_broken_record_of_seen_calls_stops_the_meter(one: Settings, value: bytes | None) -> None:
    await write(one, SEEN_CALLS, (b"", value))
    with pytest.raises(LedgerUnusable, match=f"{one.topic(SEEN_CALLS)}-0: the record at offset 0, key b'', cannot"):
        await open_meter(one)


async def test_a_broken_position_stops_the_billing_job(one: Settings) -> None:
    class Billing(FencedPartition):
        async def handle(self, records: list[Any]) -> None:
            """Never called."""

    await write(one, BILLING_LEDGER, (POSITION, b"three"))
    worker = Billing(TP(one.topic(BILLING_EVENTS), 0), one, BILLING_LEDGER)
    with pytest.raises(LedgerUnusable, match=f"{one.topic(BILLING_LEDGER)}-0: the record at offset 0, key b'position'"):
        await worker.open()
    await worker.close()


@pytest.mark.parametrize(("topic", "value"), [(LEDGER, b"\x01\xc1"), (LEDGER, b"\xff"), (BILLING_LEDGER, b"three")])
async def test_whoever_looks_at_positions_names_a_broken_one(one: Settings, topic: str, value: bytes) -> None:
    await write(one, topic, (POSITION, value))
    async with TopicReader(one, topic, 1) as reader:
        positions = LedgerPositions(reader)
        await positions.refresh()
        with pytest.raises(LedgerUnusable, match=f"{one.topic(topic)}-0: the record at offset 0, key b'position'"):
            positions.meter() if topic == LEDGER else positions.billing()


@pytest.mark.parametrize("look", [lambda settings: view_account(settings, "acct_0"), running_subscriptions])
async def test_a_command_that_looks_at_the_account_names_a_broken_record(one: Settings, look: Any) -> None:
    await write(one, LEDGER, *good_records().items(), (ACCOUNT, broken(ACCOUNT)))
    with pytest.raises(LedgerUnusable, match=f"{one.topic(LEDGER)}-0: the record at offset 4, key .*acct_0"):
        await look(one)
