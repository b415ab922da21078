"""The index of rated calls of one partition, on disk: which calls are duplicates.

It is a copy of the ``seen-calls`` topic, where each of the meter's transactions writes what it rated. So it may lag, be
lost with its machine, or die in the middle of a write: it stores how far into that topic it got, together with the
entries, and catches up when it is opened. Entries not yet in RocksDB are looked up in memory first.

One look-up costs far more between other work than among its like, for all of RocksDB is cold in the processor's caches
by then; so calls are looked up by the hundred, before they are folded.

An entry that is too new does no harm: a call counts as a duplicate only of a smaller offset. Old entries stay; the
retention is judged by their clock.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import structlog
from aiokafka.structs import ConsumerRecord
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
    WriteOptions,
)

from rating.versions import Layout, StateError, same
from streams.errors import FolderInUse, LedgerUnusable
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
# Several records a transaction if need be: each stays within one ordinary batch.
RECORD_ENTRIES = 30_000
# Entries are written to RocksDB by the thousand: small enough not to hold up the loop, large enough to be cheap.
WRITE_ENTRIES = 4_000
MIB = 1 << 20
# Another process that stops, or is killed, lets go of the folder within this time.
LOCK_WAIT_S = 30.0

# What the index knows of itself: next offset in the topic, offset of the last record taken in, digest of that record.
_ABOUT = b"about"
_ABOUT_NUMBERS = struct.Struct(">qq16s")
# What it says is of the layout of the entries, too. An index that cannot be read is built anew, for it is a copy.
ABOUT = Layout("index", 2, {1: same}, unversioned=lambda value: len(value) == _ABOUT_NUMBERS.size)

# Shared by all partitions of the process, so that memory stays flat however many there are.
_cache = Cache(32 * MIB)
_write_options = WriteOptions()
# What a crash loses is read again from the topic.
_write_options.disable_wal = True


class SeenCallsIndex:
    """The rated calls of one partition (`rating.seen.SeenCalls`).

    Use: `open`; then for each transaction `find` and `put`, `take_records` into it, `committed` after it.
    """

    def __init__(self, settings: Settings, partition: int) -> None:
        """Make an index that is not open."""
        self._settings = settings
        self._topic = settings.topic(SEEN_CALLS)
        self._partition = partition
        self._folder = settings.folder / "seen-calls" / self._topic / str(partition)
        self._pending: dict[bytes, bytes] = {}
        self._fresh: list[bytes] = []
        self._about = (0, -1, bytes(HASH_BYTES))
        self._db: Rdict | None = None

    # -- the fold asks and tells

    def find(self, hashes: Sequence[bytes]) -> Sequence[tuple[int, int] | None]:
        """For each of these calls where and when it was rated, or None."""
        found: Sequence[bytes | None] = self._lookup(list(hashes))
        pending = self._pending
        if not any(found) and pending.keys().isdisjoint(hashes):
            return found  # type: ignore[return-value]  # all of them None
        values = (pending.get(digest) or value for digest, value in zip(hashes, found, strict=True))
        return [_unpack(value) if value else None for value in values]

    def put(self, rated: Mapping[bytes, tuple[int, int]]) -> None:
        """Remember calls as rated."""
        pending, fresh = self._pending, self._fresh
        for digest, (offset, clock) in rated.items():
            value = pending[digest] = _pack(offset, clock)
            fresh.append(digest + value)

    # -- around a transaction

    def take_records(self) -> list[bytes]:
        """Values of the ``seen-calls`` records for the transaction at hand: what was put since the last time."""
        fresh, self._fresh = self._fresh, []
        starts = range(0, len(fresh), RECORD_ENTRIES)
        return [RECORD.prefix + b"".join(fresh[at : at + RECORD_ENTRIES]) for at in starts]

    def committed(self, records: Sequence[bytes], end: int) -> None:
        """The transaction was committed, so what was put may be written to disk, now or later.

        Args:
            records: what `take_records` gave, at least one.
            end: the offset after the last of them.
        """
        self._about = (end, end - 1, _digest(records[-1]))
        if len(self._pending) >= WRITE_ENTRIES:
            self._write(self._pending)

    # -- opening and closing

    async def open(self, ledger_position: int) -> None:
        """Open the folder and catch up with the topic. What is missing, broken or of another topic is built anew.

        Args:
            ledger_position: where the partition's ledger stands. All entries are of smaller offsets.

        Raises:
            FolderInUse: another process holds the folder.
            LedgerUnusable: the topic has calls that the ledger does not know of: the ledger is lost or older.
        """
        await self._open_folder()
        if await self._catch_up(ledger_position):
            return
        log.warning("building the index of rated calls anew", folder=str(self._folder))
        await self._remove_folder()
        await self._open_folder()
        await self._catch_up(ledger_position)

    async def close(self) -> None:
        """Write what is pending and let go of the folder."""
        if self._db is not None:
            self._write(self._pending)
            db, self._db = self._db, None
            await asyncio.to_thread(_close, db)

    async def _open_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                db = await asyncio.to_thread(Rdict, str(self._folder), _options())
                break
            except Exception as error:
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
        db.set_write_options(_write_options)
        self._db, self._lookup = db, db.get
        about = db.get(_ABOUT)
        self._about = _read_about(about) if about else (0, -1, bytes(HASH_BYTES))

    async def _remove_folder(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            db.close()
        await asyncio.to_thread(shutil.rmtree, self._folder)

    async def _catch_up(self, ledger_position: int) -> bool:
        """False if the index is not of this topic: its last record is not there."""
        _, last, digest = self._about
        known = last < 0
        async for records in read_to_end(self._settings, self._topic, self._partition, max(last, 0)):
            if not known and (records[0].offset != last or _digest(records[0].value or b"") != digest):
                return False
            for record in records[0 if known else 1 :]:
                self._take_in(record)
            known = True
            self._check_order(records[-1], ledger_position)
        self._write(self._pending)
        return known

    def _check_order(self, record: ConsumerRecord, ledger_position: int) -> None:
        if _unpack(record.value[-_NUMBERS.size :])[0] >= ledger_position:
            raise LedgerUnusable(
                f"{self._topic}-{self._partition} tells of calls rated beyond offset {ledger_position}, where the "
                "ledger stands: the ledger was lost or set back, and calls would be rated twice"
            )

    def _take_in(self, record: ConsumerRecord) -> None:
        value, pending = record.value, self._pending
        try:
            entries = RECORD.upgraded(value or b"")[1:]
        except StateError as error:
            raise unreadable(record, error) from None
        if not entries or len(entries) % ENTRY_BYTES:
            raise unreadable(record, ValueError(f"it is not made of entries of {ENTRY_BYTES} bytes"))
        for at in range(0, len(entries), ENTRY_BYTES):
            pending[entries[at : at + HASH_BYTES]] = entries[at + HASH_BYTES : at + ENTRY_BYTES]
        self._about = (record.offset + 1, record.offset, _digest(value))
        if len(pending) >= WRITE_ENTRIES:
            self._write(pending)

    def _write(self, entries: dict[bytes, bytes]) -> None:
        assert self._db is not None
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        # In the order of the keys, each finds its place next to where the last one went.
        for key in sorted(entries):
            put(key, entries[key])
        put(_ABOUT, ABOUT.prefix + _ABOUT_NUMBERS.pack(*self._about))
        self._db.write(batch)
        entries.clear()


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


def _close(db: Rdict) -> None:
    db.flush()
    db.close()


def _options() -> Options:
    """RocksDB for 32-byte entries that are written once and mostly asked for in vain."""
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    # Filters and indexes stay with their files: in the cache, every look-up would pay for finding them there. That is
    # 1.6 bytes of memory a call kept; the rest is bounded.
    table.set_block_cache(_cache)
    table.set_block_size(16 << 10)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(8 * MIB)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.1)
    # Hashes come in no order, so levels would be rewritten over and over for a few entries each.
    options.set_compaction_style(DBCompactionStyle.universal())
    options.set_level_zero_file_num_compaction_trigger(4)
    options.set_compression_type(DBCompressionType.none())
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options
