"""The index of rated calls: what a call costs to look up and to write, and the memory of a call that is kept.

The very store of the meter (`streams.generations`), asked by the run and written by the thousand, as the meter does,
over two generations, which is the most there are. Sizes take turns round by round, with other work in between: RocksDB
would otherwise stay in the processor's caches, which it does not beside a fold. Times are CPU seconds: of the asking
thread for a look-up; of the whole process for a write, which RocksDB's own threads sort and merge later.
"""

from __future__ import annotations

import os
import random
import statistics
import struct
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.figure import Run, size
from bench.lab import MIB, Lab, step
from streams.generations import ABOUT, DAY_S, Generations
from streams.ledger import RUN_RECORDS
from streams.seen_calls import KEEP_DAYS, WRITE_ENTRIES

TITLE = "the index of rated calls: look-up, write and memory of a call"
CLOCK = 1_790_000_000
# More than the processor's own caches hold, copied between two runs.
OTHER_WORK = bytearray(16 * MIB)
PACK = struct.Struct(">qq").pack


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    entries: int = size(1_000_000, "calls kept, in the smaller index")
    many_entries: int = size(10_000_000, "calls kept, in the larger index")
    lookups: int = size(20_000, "calls looked up in a round, new ones and duplicates each")
    rounds: int = size(5, "how often each index is measured")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """Build both, then ask them in turns."""
    indexes = []
    for entries in (sizes.entries, sizes.many_entries):
        with step(f"writing {entries:,} calls"):
            index = Index(lab.folder / f"index-{entries}", entries)
        indexes.append(index)
        yield Run(index.name, {"write us": index.write_us, "memory MiB": index.memory_mib, "disk B/call": index.disk})
    for number in range(sizes.rounds):
        with step(f"looking up, round {number + 1} of {sizes.rounds}"):
            for index in indexes:
                new, known = index.ask(sizes.lookups)
                yield Run(index.name, {"new us": new, "duplicate us": known})
    for index in indexes:
        index.store.close()


def lines(runs: Sequence[Run]) -> list[str]:
    """What a usual call costs, at the larger size: a look-up in vain and a write."""
    largest = runs[-1].what
    new = statistics.median(run.values["new us"] for run in runs if run.what == largest and "new us" in run.values)
    (write,) = (run.values["write us"] for run in runs if run.what == largest and "write us" in run.values)
    return [f"duplicates_us_per_call {new + write:.2f}"]


class Index:
    """An index with so many calls in two generations, and some of them to ask for."""

    def __init__(self, folder: Path, entries: int) -> None:
        folder.mkdir(parents=True)
        self.name = f"{entries:,} calls"
        self.known: list[bytes] = []
        self._numbers = random.Random(entries)
        before, began = _anonymous_bytes(), time.process_time()
        self.store = Generations(folder, KEEP_DAYS * DAY_S)
        for first in range(0, entries, WRITE_ENTRIES):
            clock = CLOCK + (KEEP_DAYS * DAY_S if first >= entries / 2 else 0)
            count = min(WRITE_ENTRIES, entries - first)
            written = {os.urandom(16): PACK(number, clock) for number in range(first, first + count)}
            self.known.extend(self._numbers.sample(list(written), max(1, count // 100)))
            self.store.write(written, ABOUT)
        assert len(self.store.begins) == 2
        self.store.flush()
        _until_idle()
        self.write_us = (time.process_time() - began) / entries * 1e6
        self.memory_mib = (_anonymous_bytes() - before) / MIB
        self.disk = sum(path.stat().st_size for path in folder.iterdir()) / entries

    def ask(self, count: int) -> tuple[float, float]:
        """Microseconds to look up a new call, and one that is known."""
        new = self._seconds([os.urandom(16) for _ in range(count)], known=False)
        known = self._seconds([self._numbers.choice(self.known) for _ in range(count)], known=True)
        return new / count * 1e6, known / count * 1e6

    def _seconds(self, hashes: list[bytes], known: bool) -> float:
        seconds = 0.0
        for at in range(0, len(hashes), RUN_RECORDS):
            bytes(OTHER_WORK)
            asked = hashes[at : at + RUN_RECORDS]
            began = time.thread_time()
            found = self.store.find(asked)
            seconds += time.thread_time() - began
            assert all(found) if known else not any(found)
        return seconds


def _until_idle() -> None:
    """RocksDB has merged what it wants to merge."""
    busy = True
    while busy:
        began = time.process_time()
        time.sleep(0.5)
        busy = time.process_time() - began > 0.02


def _anonymous_bytes() -> int:
    """Memory of the process that is not of files."""
    found = psutil.Process().memory_info()
    return int(found.rss - found.shared)
