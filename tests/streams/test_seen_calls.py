"""The index of rated calls: it may lag, be lost, or be of another topic, and still knows every call."""

from __future__ import annotations

import resource
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from faust.types import TP

from rating.seen import call_hash
from rating.versions import Layout
from streams import seen_calls
from streams.errors import FolderInUse, FolderUnusable, LedgerUnusable
from streams.fenced import FencedProducer
from streams.seen_calls import WRITE_ENTRIES, SeenCallsIndex
from streams.topics import ACCOUNT_EVENTS, SEEN_CALLS
from tests.streams.meters import make_anew

CLOCK = 1_790_000_000


@pytest.fixture
def one(make_settings):
    """Settings with one partition."""
    return make_settings(partitions=1)


def digest(number: int) -> bytes:
    return call_hash("acct_1", f"call_{number}")


def folder_of(settings):
    return settings.folder / "seen-calls" / settings.topic(SEEN_CALLS) / "0"


async def opened(settings, ledger_position: int) -> SeenCallsIndex:
    index = SeenCallsIndex(settings, 0)
    await index.open(ledger_position)
    return index


class Meter:
    """Puts calls and commits them, as the meter's transactions do."""

    def __init__(self, settings, index):
        self.producer = FencedProducer(settings, TP(settings.topic(ACCOUNT_EVENTS), 0))
        self.index = index

    async def rate(self, numbers) -> None:
        self.index.put({digest(number): number for number in numbers}, CLOCK)
        records = self.index.take_records()
        for record in records:
            self.producer.add(SEEN_CALLS, None, record)
        self.index.committed(records, (await self.producer.commit())[SEEN_CALLS])


@pytest.fixture
async def meter(one):
    """A meter that rated calls 0 to 99 in two transactions; its index is open."""
    index = await opened(one, 0)
    meter = Meter(one, index)
    await meter.producer.start()
    await meter.rate(range(60))
    await meter.rate(range(60, 100))
    yield meter
    await meter.producer.stop()
    await index.close()


def knows(index: SeenCallsIndex, numbers, absent=()) -> bool:
    found = index.find([digest(number) for number in numbers])
    return list(found) == [(number, CLOCK) for number in numbers] and not any(index.find(list(map(digest, absent))))


async def test_it_knows_what_was_put_and_nothing_else(meter):
    assert knows(meter.index, range(100), absent=range(100, 200))


async def test_it_knows_after_it_was_closed(one, meter):
    await meter.index.close()
    index = await opened(one, 100)
    assert knows(index, range(100), absent=range(100, 200))
    await index.close()


async def test_entries_written_to_disk_are_known_too(meter):
    await meter.rate(range(100, 100 + WRITE_ENTRIES))
    assert not meter.index._pending
    assert knows(meter.index, range(0, 100 + WRITE_ENTRIES, 7), absent=range(10_000, 10_100))


async def test_one_that_died_with_entries_unwritten_catches_up(one, meter):
    meter.index._store.abandon()
    meter.index._store = None
    index = await opened(one, 100)
    assert knows(index, range(100))
    await index.close()


@contextmanager
def full_disk():
    """No file of this process grows beyond a few bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_that_is_full_when_it_is_closed_is_one_clear_line(meter):
    with full_disk(), pytest.raises(FolderUnusable, match=r"File too large.*; nothing is lost"):
        await meter.index.close()


async def test_a_disk_that_is_full_when_it_is_opened_is_no_reason_to_build_it_anew(one, meter):
    await meter.index.close()
    before = {path.name for path in folder_of(one).iterdir()}
    with full_disk(), pytest.raises(FolderUnusable, match=r"File too large.*; nothing is lost"):
        await opened(one, 100)
    assert before <= {path.name for path in folder_of(one).iterdir()}
    index = await opened(one, 100)
    assert knows(index, range(100), absent=range(100, 200))
    await index.close()


@pytest.mark.parametrize("damage", ["lost", "no database", "a broken manifest"])
async def test_a_damaged_one_is_built_anew(one, meter, damage):
    await meter.index.close()
    folder = folder_of(one)
    if damage == "lost":
        shutil.rmtree(folder)
    elif damage == "no database":
        for path in folder.iterdir():
            path.write_bytes(b"rubbish")
    else:
        (manifest,) = folder.glob("MANIFEST-*")
        manifest.write_bytes(b"rubbish")
    index = await opened(one, 100)
    assert knows(index, range(100), absent=range(100, 200))
    await index.close()


async def test_one_of_another_topic_is_built_anew(one, meter):
    await meter.index.close()
    await make_anew(one, SEEN_CALLS)
    index = await opened(one, 0)
    assert knows(index, [], absent=range(100))
    await index.close()


async def test_calls_beyond_the_ledger_mean_that_the_ledger_was_lost(one, meter):
    await meter.index.close()
    index = SeenCallsIndex(one, 0)
    with pytest.raises(LedgerUnusable, match="beyond offset 99, where the ledger stands"):
        await index.open(99)
    await index.close()


async def test_a_folder_that_another_holds_is_named(one, meter, monkeypatch):
    monkeypatch.setattr(seen_calls, "LOCK_WAIT_S", 0.2)
    with pytest.raises(FolderInUse, match=str(folder_of(one))):
        await opened(one, 100)


async def test_many_calls_of_one_transaction_are_several_records(one):
    index = SeenCallsIndex(one, 0)
    await index.open(0)
    for number in range(70_000):
        index.put({number.to_bytes(16, "big"): number}, -1)
    assert [len(record) for record in index.take_records()] == [960_001, 960_001, 320_001]
    assert index.take_records() == []
    index._pending.clear()
    await index.close()


@pytest.mark.parametrize(("lost", "what"), [(True, "rebuilding"), (False, "catching up with")])
async def test_it_tells_how_far_it_is(one, meter, lost, what):
    await meter.index.close()
    if lost:
        shutil.rmtree(folder_of(one))
    told = []
    index = SeenCallsIndex(one, 0, lambda *progress: told.append(progress))
    await index.open(100)
    assert {text for text, _, _ in told} == {f"{what} the index of rated calls"}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[0][1] == 0 and told[-1][1] == told[-1][2] > 0
    await index.close()


async def test_one_of_an_older_layout_is_built_anew(one, meter, monkeypatch):
    monkeypatch.setattr(seen_calls, "ABOUT", Layout("index", 1))
    await meter.rate(range(100, 100 + WRITE_ENTRIES))
    await meter.index.close()
    monkeypatch.undo()
    index = await opened(one, 100 + WRITE_ENTRIES)
    assert knows(index, range(0, 100 + WRITE_ENTRIES, 7))
    await index.close()


def test_a_call_is_found_in_a_record_where_its_entry_begins_and_nowhere_else():
    calls = [digest(number) for number in range(3)]
    # What looks like the second call lies across two entries, before its own.
    straddling = calls[0] + bytes(8) + calls[1][:8] + calls[1][8:] + bytes(24)
    entries = straddling + b"".join(
        one + (number + 7).to_bytes(8, "big") + bytes(8) for number, one in enumerate(calls)
    )
    record = SimpleNamespace(topic="t", partition=0, offset=0, key=None, value=seen_calls.RECORD.prefix + entries)
    assert [seen_calls.offset_in(record, one) for one in calls[1:]] == [8, 9]
    assert seen_calls.offset_in(record, digest(9)) is None
    record.value = b"?"
    with pytest.raises(LedgerUnusable, match="cannot be read"):
        seen_calls.offset_in(record, calls[0])
