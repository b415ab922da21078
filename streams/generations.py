"""Rated calls on disk, by the generation: what is too old to be a duplicate of goes with its generation, all at once.

A generation begins with the clock of a call, and takes all entries until the next one begins, a keeping time later.
Clocks only go forward, so no entry of it is younger than the beginning of the next; once that is longer ago than the
keeping time, the generation is dropped, which costs nothing, however large it is. So there are two of them, the disk
holds twice the keeping time at most, and what a look-up costs does not grow with the years.

Calls rated before the first tick have no time to count from. They are kept apart, for ever.

Each generation is a column family of one database. They are written out together (`set_atomic_flush`), so that what the
index knows of itself is never ahead of its entries, without a log of RocksDB's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompactionStyle,
    DBCompressionType,
    MemtableFactory,
    Options,
    Rdict,
    SliceTransform,
    WriteBatch,
    WriteOptions,
)

DAY_S = 86_400
MIB = 1 << 20
DEFAULT = "default"
ABOUT = b"about"
KEY_BYTES = 16
# As many as entries fit into a write buffer, or so.
BUCKETS = 1 << 16

# Shared by all partitions of the process, so that memory stays flat however many there are.
_cache = Cache(32 * MIB)
_write_options = WriteOptions()
# What a crash loses is read again from the topic.
_write_options.disable_wal = True


class Generations:
    """Entries of one partition. An entry's value is 16 bytes: offset and clock, signed and big-endian.

    Attributes:
        keep_s: an entry is kept for at least so long, by the clocks of later ones.
    """

    def __init__(self, folder: Path, keep_s: int) -> None:
        """Open, or make, the database of a folder, which must exist.

        Raises:
            Exception: of RocksDB; its text has "lock" in it where another process holds the folder.
        """
        self.keep_s = keep_s
        names = Rdict.list_cf(str(folder), _options()) if (folder / "CURRENT").exists() else []
        families = {name: _family_options() for name in names if name != DEFAULT}
        self._db = Rdict(str(folder), _options(), column_families=families)
        self._db.set_write_options(_write_options)
        # By the clock each begins with, oldest first.
        self._families = {int(name): self._db.get_column_family(name) for name in sorted(families, key=int)}
        self._timeless = len(list(islice(self._db.keys(), 2))) > 1
        self._arrange()

    @property
    def begins(self) -> list[int]:
        """The clock that each generation begins with, oldest first."""
        return list(self._families)

    @property
    def about(self) -> bytes | None:
        """What was written about the entries with the last of them, None before the first."""
        about: bytes | None = self._db.get(ABOUT)
        return about

    def find(self, hashes: list[bytes]) -> Sequence[bytes | None]:
        """The values of entries, None where there is none."""
        found: Sequence[bytes | None] = self._newest.get(hashes)
        for older in self._older:
            values = older.get(hashes)
            if any(values):
                found = [one or other for one, other in zip(found, values, strict=True)]
        return found

    def write(self, entries: dict[bytes, bytes], about: bytes) -> None:
        """Write entries, and what is to be known about them, as one.

        Args:
            entries: value by hash, in the order they were rated.
            about: takes the place of what was written last.
        """
        batch = WriteBatch(raw_mode=True)
        batch.put(ABOUT, about)
        if entries:
            clock = _clock_of(next(reversed(entries.values())))
            if clock >= 0:
                self._turn(clock)
            self._fill(batch, entries)
        self._db.write(batch)

    def flush(self) -> None:
        """Write out what is in memory."""
        # What is known about the entries goes last: it must not be ahead of them.
        for family in self._families.values():
            family.flush()
        self._db.flush()

    def close(self) -> None:
        """Write out what is in memory, and let go of the folder."""
        self.flush()
        self.abandon()

    def abandon(self) -> None:
        """Let go of the folder as it is."""
        for family in self._families.values():
            family.close()
        self._db.close()

    def _fill(self, batch: WriteBatch, entries: dict[bytes, bytes]) -> None:
        if _clock_of(next(iter(entries.values()))) < 0:
            before_time = {key: value for key, value in entries.items() if _clock_of(value) < 0}
            _put_all(batch, before_time)
            entries = {key: value for key, value in entries.items() if key not in before_time}
            self._timeless = True
            self._arrange()
        if entries:
            batch.set_default_column_family(self._db.get_column_family_handle(str(self.begins[-1])))
            _put_all(batch, entries)

    def _turn(self, clock: int) -> None:
        """Begin a generation if it is time, and drop those that are too old."""
        begins = self.begins
        if begins and clock < begins[-1] + self.keep_s:
            return
        self._families[clock] = self._db.create_column_family(str(clock), _family_options())
        # Of each but the last, all entries are older than the beginning of the last, and so than the keeping time.
        for begin in begins[:-1]:
            self._families.pop(begin).close()
            self._db.drop_column_family(str(begin))
        self._arrange()

    def _arrange(self) -> None:
        """In which order to look."""
        families = list(reversed(self._families.values()))
        if self._timeless or not families:
            families.append(self._db)
        self._newest, *self._older = families


def _put_all(batch: WriteBatch, entries: dict[bytes, bytes]) -> None:
    # Without a loop of Python's own.
    deque(map(batch.put, entries, entries.values()), maxlen=0)


def _clock_of(value: bytes) -> int:
    return int.from_bytes(value[8:], "big", signed=True)


def _options() -> Options:
    """RocksDB for 32-byte entries that are written once and mostly asked for in vain."""
    table = BlockBasedOptions()
    table.set_bloom_filter(10, False)
    # Filters and indexes stay with their files, 1.3 bytes of memory an entry: in the cache, finding them there makes a
    # look-up three times as dear with a million entries, and seven times with ten. The rest of the memory is bounded.
    table.set_block_cache(_cache)
    table.set_block_size(16 << 10)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_atomic_flush(True)
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
    # Which hash tables in memory do not bear.
    options.set_allow_concurrent_memtable_write(False)
    return options


def _family_options() -> Options:
    """The same, with a hash table for what is in memory: half the time of a sorted list, which is paid when it is
    written out, by another thread."""
    options = _options()
    options.set_prefix_extractor(SliceTransform.create_fixed_prefix(KEY_BYTES))
    options.set_memtable_factory(MemtableFactory.hash_link_list(BUCKETS))
    return options


def about_of(folder: Path) -> bytes | None:
    """What was written about the entries, and that all families can be opened: without the lock, changing nothing.

    Raises:
        Exception: of RocksDB: there is none, or it cannot be read.
    """
    names = Rdict.list_cf(str(folder), Options(raw_mode=True))
    families = {name: Options(raw_mode=True) for name in names if name != DEFAULT}
    db = Rdict(str(folder), Options(raw_mode=True), families, AccessType.read_only())
    try:
        about: bytes | None = db.get(ABOUT)
        return about
    finally:
        db.close()
