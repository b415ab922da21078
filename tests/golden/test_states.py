"""Upgrades: this Callmeter reads what every older one wrote, and refuses what a newer one wrote."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from jobs.positions import LedgerPositions
from jobs.reading import TopicReader
from rating import ledger
from rating.fold import Fold, decode_position
from rating.seen import SeenInMemory
from rating.terms import Terms
from rating.versions import Layout, NewerState, StateError, same
from sinks.tables import TABLES
from streams.accounts import view_account
from streams.errors import LedgerUnusable
from streams.fenced import FencedPartition
from streams.fenced import decode_position as decode_role_position
from streams.ledger import LedgerPartition
from streams.seen_calls import RECORD, SeenCallsIndex
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS, BILLING_LEDGER, LEDGER, SEEN_CALLS
from tests.broker import wait_until
from tests.golden import read_log
from tests.golden.states import ACCOUNT, ENTRY, LAYOUTS, LINES, folded, read, written_now

ALL = [(kind, version) for kind, layout in LAYOUTS.items() for version in range(1, layout.version + 1)]
LEDGER_KINDS = ("account", "history", "terms", "position")
CHANGED = (
    "the layout of {kind} state has changed: what is in ledgers now would be misread, or lose fields to an older "
    "Callmeter. Give its Layout the next version with an upgrade, then: python -m tests.golden"
)


def restored(records: dict[str, tuple[bytes, bytes]], others: Sequence[tuple[bytes, bytes]] = ()) -> Fold:
    fold = Fold(0, None, SeenInMemory())
    for other in others:
        fold.restore(*other)
    for kind in LEDGER_KINDS:
        fold.restore(*records[kind])
    fold.restored()
    return fold


def by_terms(fold: Fold) -> Any:
    """The account, with its terms in place of their ids."""
    tariffs = fold.books.tariffs

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(one) for one in value]
        return tariffs[value].terms if isinstance(value, bytes) else value

    return resolved(msgspec.to_builtins(fold.books.account(ACCOUNT), builtin_types=(bytes, datetime)))


# -- the layouts


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_layout_changes_with_its_version_only(kind: str) -> None:
    assert written_now()[kind] == read(kind, LAYOUTS[kind].version), CHANGED.format(kind=kind)


@pytest.mark.parametrize(("kind", "version"), ALL)
def test_what_each_version_wrote_is_read_as_if_it_were_written_now(kind: str, version: int) -> None:
    key, value = read(kind, version)
    _, now = read(kind, LAYOUTS[kind].version)
    assert LAYOUTS[kind].version_of(value) == version
    upgraded = LAYOUTS[kind].upgraded(value)
    # A field that is new at the end is not in what is older; its default is there once it was read.
    assert upgraded == now if version == LAYOUTS[kind].version else upgraded[:1] == now[:1]
    if kind == "role-position":
        assert decode_role_position(value) == 1_234
    elif kind in LEDGER_KINDS:
        ledger_records = {name: read(name, LAYOUTS[name].version) for name in LEDGER_KINDS}
        # Terms of each version, for an older account knows them by the hash that they had then.
        terms = [read("terms", each) for each in range(1, LAYOUTS["terms"].version + 1)]
        fold = restored({**ledger_records, kind: (key, value)}, terms)
        known = folded()
        assert by_terms(fold) == by_terms(known)
        assert fold.books.history(ACCOUNT) == known.books.history(ACCOUNT)
        assert (fold.clock, fold.position, fold.books.rules) == (known.clock, LINES, known.books.rules)


@pytest.mark.parametrize("kind", LAYOUTS)
def test_what_a_newer_version_wrote_is_refused_with_what_to_do(kind: str) -> None:
    newest = LAYOUTS[kind].version
    newer = bytes([newest + 1]) + read(kind, newest)[1][1:]
    expected = f"state of version {newest + 1}; this Callmeter reads versions 1 to {newest}.*start that one again"
    with pytest.raises(NewerState, match=expected):
        LAYOUTS[kind].upgraded(newer)


@pytest.mark.parametrize("value", [b"", b"\0", b"\0abc"])
def test_what_has_no_version_is_refused(value: bytes) -> None:
    with pytest.raises(StateError):
        ledger.ACCOUNT_STATE.upgraded(value)


def test_a_version_without_an_upgrade_to_it_cannot_be_made() -> None:
    with pytest.raises(AssertionError, match="an upgrade for each version before 3"):
        Layout("account", 3, {2: same})


# -- upgrades at work


def test_an_account_of_an_older_layout_is_rated_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second version is one small function."""
    records = written_now()
    key, now = records["account"]
    account = msgspec.msgpack.decode(now[ledger.HEADER :])
    # Version 1 had the wallet in minutes; here it is made of the account as it is, so that both must agree.
    account[5] = 3
    older = b"\x01" + now[1 : ledger.HEADER] + msgspec.msgpack.encode(account)

    def wallet_in_seconds(rest: bytes) -> bytes:
        due, fields = rest[:8], msgspec.msgpack.decode(rest[8:])
        fields[5] *= 60
        return due + msgspec.msgpack.encode(fields)

    monkeypatch.setattr(ledger, "ACCOUNT_STATE", Layout("account", 2, {1: wallet_in_seconds}))
    fold = restored({**records, "account": (key, older)})
    found = fold.books.account(ACCOUNT)
    assert found is not None
    assert found.wallet_s == 180
    rest = [line for line in read_log()[LINES:] if ACCOUNT.encode() in line or b'"tick"' in line]
    for offset, line in enumerate(rest, LINES):
        while not fold.fold(line, offset):
            continue
    assert any(topic == "billing-events" for topic, *_ in fold.outputs)
    assert dict(fold.drain_ledger())[key][0] == 2


def test_accounts_find_their_terms_though_these_have_another_hash_today() -> None:
    """A field that terms get later is in no record of today; read back, they are encoded, and hashed, with it."""
    records = written_now()
    key, now = records["terms"]
    fields = msgspec.msgpack.decode(now[1:])
    # As of a Callmeter that did not know of caps.
    assert fields.pop("cap") is None
    older = ledger.TERMS_STATE.prefix + msgspec.msgpack.encode(fields)
    fold = restored({**records, "terms": (key, older)})
    terms_id = key[len(ledger.TERMS) :]
    assert isinstance(fold.books.tariffs[terms_id].terms, Terms)
    # The next periods are on the same terms: those that are in the ledger.
    for offset, line in enumerate((line for line in read_log()[LINES:] if b'"tick"' in line), LINES):
        while not fold.fold(line, offset):
            continue
    again = dict(fold.drain_ledger())
    assert not any(name.startswith(ledger.TERMS) for name in again)
    restored({**records, "terms": (key, older), "account": (records["account"][0], again[records["account"][0]])})


# -- on the broker: the line that a person reads


async def write(settings: Settings, topic: str, key: bytes, value: bytes) -> None:
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        await producer.send_and_wait(settings.topic(topic), value, key, 0)


class Billing(FencedPartition):
    async def handle(self, records: list[Any]) -> None: ...


@pytest.fixture
def one(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(partitions=1)


def line(settings: Settings, topic: str, key: bytes, newer: int) -> str:
    named = f"{settings.topic(topic)}-0: the record at offset 0, key {key!r}, cannot be read"
    return f"^{named}: .*state of version {newer}; this Callmeter reads versions 1 to {newer - 1}".replace("\\", ".*")


async def test_a_newer_ledger_stops_the_meter_and_whoever_looks_at_it(one: Settings) -> None:
    key, value = read("account", 1)
    newer = bytes([ledger.ACCOUNT_STATE.version + 1]) + value[1:]
    await write(one, LEDGER, key, newer)
    worker = LedgerPartition(TP(one.topic(ACCOUNT_EVENTS), 0), one, 1)
    expected = line(one, LEDGER, key, ledger.ACCOUNT_STATE.version + 1)
    with pytest.raises(LedgerUnusable, match=expected):
        await worker.open()
    await worker.close()
    with pytest.raises(LedgerUnusable, match=expected):
        await view_account(one, ACCOUNT)


async def test_a_newer_ledger_stops_the_sink_rather_than_leave_accounts_out(one: Settings) -> None:
    key, value = read("account", 1)
    await write(one, LEDGER, key, bytes([ledger.ACCOUNT_STATE.version + 1]) + value[1:])
    async with TopicReader(one, LEDGER, 1) as reader:
        records = [record async for record in reader.read_all()]
    (table,) = [table for table in TABLES if table.topic == LEDGER]
    with pytest.raises(LedgerUnusable, match=line(one, LEDGER, key, ledger.ACCOUNT_STATE.version + 1)):
        table.chunk(records)


async def test_newer_positions_are_refused_and_older_ones_read(one: Settings) -> None:
    worker = Billing(TP(one.topic(BILLING_EVENTS), 0), one, BILLING_LEDGER)
    await write(one, BILLING_LEDGER, *read("role-position", 1))
    await worker.open()
    assert worker.position == 1_234
    await worker.commit(ConsumerRecord("events", 0, 1_299, 0, 0, b"", b"", None, 0, 0, []))
    await worker.close()
    async with TopicReader(one, BILLING_LEDGER, 1) as reader:
        positions = LedgerPositions(reader)

        async def stands_at() -> int:
            await positions.refresh()
            return positions.billing()[0]

        await wait_until(lambda: _is(stands_at, 1_300))
        await write(one, BILLING_LEDGER, b"position", b"\x03" + b"1400")
        with pytest.raises(LedgerUnusable, match="version 3; this Callmeter reads versions 1 to 2"):
            await wait_until(lambda: _is(stands_at, 1_400))
    assert decode_position(read("position", 1)[1]).offset == LINES


async def test_rated_calls_of_every_version_are_known_and_newer_ones_refused(one: Settings) -> None:
    await write(one, SEEN_CALLS, b"", read("seen-calls", 1)[1])
    await write(one, SEEN_CALLS, b"", RECORD.prefix + ENTRY[::-1][:16] + ENTRY[16:])
    index = SeenCallsIndex(one, 0)
    await index.open(1_000)
    assert list(index.find([ENTRY[:16], ENTRY[::-1][:16], b"x" * 16])) == [(7, 1_790_000_000)] * 2 + [None]
    await index.close()
    await write(one, SEEN_CALLS, b"", b"\x03" + ENTRY)
    again = SeenCallsIndex(one, 0)
    with pytest.raises(LedgerUnusable, match="version 3; this Callmeter reads versions 1 to 2"):
        await again.open(1_000)
    await again.close()


async def _is(look: Callable[[], Awaitable[int]], expected: int) -> bool:
    return await look() == expected
