"""The index of rated calls of one partition, on disk: which calls are duplicates.

It is a copy of the ``seen-calls`` topic, where each of the meter's transactions writes what it rated. So it may lag, be
lost with its machine, or die in the middle of a write: it stores how far into that topic it got, together with the
entries, and catches up when it is opened. Entries not yet in RocksDB are looked up in memory first.

One look-up costs far more between other work than among its like, for all of RocksDB is cold in the processor's caches
by then; so calls are looked up by the hundred, before they are folded.

An entry that is too new does no harm: a call counts as a duplicate only of a smaller offset. Nor does one that is too
old, for the retention is judged by its clock; such entries go by the generation (`streams.generations`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain, repeat

import structlog
from aiokafka.structs import ConsumerRecord

from rating.facts import LONGEST_RETENTION_DAYS
from rating.versions import Layout, StateError, same
from streams.errors import FolderInUse, FolderUnusable, LedgerUnusable
from streams.generations import DAY_S, Generations
from streams.restore import read_to_end, unreadable
from streams.settings import Settings
from streams.topics import SEEN_CALLS

log = structlog.get_logger("callmeter")

# 16 bytes of hash; offset and clock (unix seconds, -1 before the first tick), both signed and big-endian.
HASH_BYTES = 16
ENTRY_BYTES = 32
# A record of the topic: a version byte and the entries; the entries alone before there were versions.
RECORD = Layout("seen-calls", 2, {1: same}, unversioned=lambda value: len(value) % ENTRY_BYTES == 0)
_NUMBERS = struct.Struct(">qq")
_pack, _unpack = _NUMBERS.pack, _NUMBERS.unpack
# As long as the topic keeps them.
KEEP_DAYS = LONGEST_RETENTION_DAYS + 1
# Several records a transaction if need be: each stays within one ordinary batch.
RECORD_ENTRIES = 30_000
# Entries are written to RocksDB by the thousand: small enough not to hold up the loop, large enough to be cheap.
WRITE_ENTRIES = 4_000
# Another process that stops, or is killed, lets go of the folder within this time.
LOCK_WAIT_S = 30.0
# With these the index itself may be whole.
DISK_ERRORS = tuple(
    map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EMFILE))
)

# Said in the log that often.
TELL_S = 5.0


def _refuse(about: bytes) -> bytes:
    """Before there were generations, nothing could be dropped."""
    raise StateError("an index without generations")


# What the index knows of itself: next offset in the topic, offset of the last record taken in, digest of that record.
_ABOUT_NUMBERS = struct.Struct(">qq16s")
# What it says is of the layout of the entries, too. An index that cannot be read is built anew, for it is a copy.
ABOUT = Layout("index", 3, {1: same, 2: _refuse}, unversioned=lambda value: len(value) == _ABOUT_NUMBERS.size)


class SeenCallsIndex:
    """The rated calls of one partition (`rating.seen.SeenCalls`).

    Use: `open`; then for each transaction `find` and `put`, `take_records` into it, `committed` after it.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        show: Callable[[str, int, int], None] = lambda what, done, total: None,
    ) -> None:
        """Make an index that is not open.

        Args:
            settings: checked settings.
            partition: of the log.
            show: called while it is opened with what is done, how many offsets of the topic, and of how many.
        """
        self._settings = settings
        self._show = show
        self._topic = settings.topic(SEEN_CALLS)
        self._partition = partition
        self._folder = settings.folder / "seen-calls" / self._topic / str(partition)
        self._pending: dict[bytes, bytes] = {}
        self._fresh: dict[bytes, bytes] = {}
        self._about = (0, -1, bytes(HASH_BYTES))
        self._store: Generations | None = None
        self._find: Callable[[list[bytes]], Sequence[bytes | None]]

    # -- the fold asks and tells

    def find(self, hashes: Sequence[bytes]) -> Sequence[tuple[int, int] | None]:
        """For each of these calls where and when it was rated, or None."""
        found = self._find(list(hashes))
        pending = self._pending
        if not any(found) and pending.keys().isdisjoint(hashes):
            return found  # type: ignore[return-value]  # all of them None
        values = (pending.get(digest) or value for digest, value in zip(hashes, found, strict=True))
        return [_unpack(value) if value else None for value in values]

    def put(self, rated: Mapping[bytes, int], clock_s: int) -> None:
        """Remember calls as rated: their offsets, and the clock at the time."""
        entries = dict(zip(rated, map(_pack, rated.values(), repeat(clock_s)), strict=True))
        self._pending.update(entries)
        self._fresh.update(entries)

    # -- around a transaction

    def take_records(self) -> list[bytes]:
        """Values of the ``seen-calls`` records for the transaction at hand: what was put since the last time."""
        fresh, self._fresh = list(chain.from_iterable(self._fresh.items())), {}
        starts = range(0, len(fresh), 2 * RECORD_ENTRIES)
        return [RECORD.prefix + b"".join(fresh[at : at + 2 * RECORD_ENTRIES]) for at in starts]

    def committed(self, records: Sequence[bytes], end: int) -> None:
        """The transaction was committed, so what was put may be written to disk, now or later.

        Args:
            records: what `take_records` gave, at least one.
            end: the offset after the last of them.
        """
        self._about = (end, end - 1, _digest(records[-1]))
        if len(self._pending) >= WRITE_ENTRIES:
            self._write()

    # -- opening and closing

    async def open(self, ledger_position: int) -> None:
        """Open the folder and catch up with the topic. What is missing, broken or of another topic is built anew.

        Args:
            ledger_position: where the partition's ledger stands. All entries are of smaller offsets.

        Raises:
            FolderInUse: another process holds the folder.
            FolderUnusable: its disk is full, or cannot be used. The index is left as it is: nothing is wrong with it.
            LedgerUnusable: the topic has calls that the ledger does not know of: the ledger is lost or older.
        """
        await self._open_folder()
        if await self._catch_up(ledger_position):
            return
        log.warning("the index of rated calls is not of its topic, and is built anew", folder=str(self._folder))
        await self._remove_folder()
        await self._open_folder()
        await self._catch_up(ledger_position)

    async def close(self) -> None:
        """Write what is pending and let go of the folder.

        Raises:
            FolderUnusable: it cannot be written. The next one to open it catches up.
        """
        if self._store is not None:
            self._write()
            store, self._store = self._store, None
            try:
                await asyncio.to_thread(store.close)
            except Exception as error:
                raise self._unusable(error) from None

    async def _open_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                store = await asyncio.to_thread(Generations, self._folder, KEEP_DAYS * DAY_S)
                break
            except Exception as error:
                if _is_of_the_disk(error):
                    raise self._unusable(error) from None
                if "lock" not in str(error).lower():
                    log.warning("the index of rated calls cannot be opened", reason=str(error))
                    await self._remove_folder()
                    self._folder.mkdir(parents=True, exist_ok=True)
                elif time.monotonic() > deadline:
                    raise FolderInUse(
                        f"{self._folder} is held by another process, which has lost this partition but hangs; end it, "
                        "or set CALLMETER_DATA_FOLDER to another folder"
                    ) from None
                await asyncio.sleep(0.1)
        self._store, self._find = store, store.find
        about = store.about
        self._about = _read_about(about) if about else (0, -1, bytes(HASH_BYTES))

    async def _remove_folder(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            store.abandon()
        await asyncio.to_thread(shutil.rmtree, self._folder)

    async def _catch_up(self, ledger_position: int) -> bool:
        """False if the index is not of this topic: its last record is not there."""
        _, last, digest = self._about
        known = last < 0
        what = "rebuilding the index of rated calls" if known else "catching up with the index of rated calls"
        telling = _Telling(what, self._partition, self._show)
        start = max(last, 0)
        async for records in read_to_end(self._settings, self._topic, self._partition, start, telling.progress):
            if not known and (records[0].offset != last or _digest(records[0].value or b"") != digest):
                return False
            for record in records[0 if known else 1 :]:
                self._take_in(record)
                # A record may hold thousands of calls.
                await asyncio.sleep(0)
            known = True
            self._check_order(records[-1], ledger_position)
        self._write()
        telling.end()
        return known

    def _check_order(self, record: ConsumerRecord, ledger_position: int) -> None:
        if _unpack(record.value[-_NUMBERS.size :])[0] >= ledger_position:
            raise LedgerUnusable(
                f"{self._topic}-{self._partition} tells of calls rated beyond offset {ledger_position}, where the "
                "ledger stands: the ledger was lost or set back, and calls would be rated twice"
            )

    def _take_in(self, record: ConsumerRecord) -> None:
        value, pending = record.value, self._pending
        entries = _entries(record)
        for at in range(0, len(entries), ENTRY_BYTES):
            pending[entries[at : at + HASH_BYTES]] = entries[at + HASH_BYTES : at + ENTRY_BYTES]
        self._about = (record.offset + 1, record.offset, _digest(value))
        if len(pending) >= WRITE_ENTRIES:
            self._write()

    def _write(self) -> None:
        assert self._store is not None
        try:
            self._store.write(self._pending, ABOUT.prefix + _ABOUT_NUMBERS.pack(*self._about))
        except Exception as error:
            raise self._unusable(error) from None
        self._pending.clear()

    def _unusable(self, error: Exception) -> FolderUnusable:
        return FolderUnusable(
            f"the index of rated calls in {self._folder} cannot be written: {error}; nothing is lost, and the meter "
            "goes on where it was when it is started with room on the disk"
        )


def offset_in(record: ConsumerRecord, digest: bytes) -> int | None:
    """Where the call of a hash was rated, if a record of ``seen-calls`` says so; None if it does not.

    Raises:
        LedgerUnusable: the record cannot be read.
    """
    entries = _entries(record)
    at = entries.find(digest)
    while at >= 0 and at % ENTRY_BYTES:
        at = entries.find(digest, at + 1)
    return None if at < 0 else int(_unpack(entries[at + HASH_BYTES : at + ENTRY_BYTES])[0])


def _entries(record: ConsumerRecord) -> bytes:
    try:
        entries = RECORD.upgraded(record.value or b"")[1:]
    except StateError as error:
        raise unreadable(record, error) from None
    if not entries or len(entries) % ENTRY_BYTES:
        raise unreadable(record, ValueError(f"it is not made of entries of {ENTRY_BYTES} bytes"))
    return entries


def _is_of_the_disk(error: Exception) -> bool:
    """Whether RocksDB passes on that the disk cannot be used, rather than that its files are not as they should be."""
    return any(reason in str(error) for reason in DISK_ERRORS)


class _Telling:
    """Says how far the index is: in the log now and then, and to whoever asks the process."""

    def __init__(self, what: str, partition: int, show: Callable[[str, int, int], None]) -> None:
        self._what, self._partition, self._show = what, partition, show
        self._began = self._told = time.monotonic()
        self._records = 0

    def progress(self, done: int, total: int) -> None:
        self._records = total
        self._show(self._what, done, total)
        if time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            log.info(f"{self._what}: {100 * done // max(total, 1)} %", partition=self._partition)

    def end(self) -> None:
        if self._told > self._began:
            seconds = round(time.monotonic() - self._began, 1)
            log.info(f"{self._what}: done", partition=self._partition, records=self._records, seconds=seconds)


def _read_about(value: bytes) -> tuple[int, int, bytes]:
    try:
        next_offset, last, digest = _ABOUT_NUMBERS.unpack(ABOUT.upgraded(value)[1:])
    except (StateError, struct.error) as error:
        log.warning("the index of rated calls cannot be read", reason=str(error))
        # A record that there is not: so it is built anew.
        return 0, 0, bytes(HASH_BYTES)
    return next_offset, last, digest


def _digest(record: bytes) -> bytes:
    return blake2b(record, digest_size=HASH_BYTES).digest()
