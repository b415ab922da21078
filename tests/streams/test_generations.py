"""Generations of rated calls: what is too old goes, nothing that can be asked for does, and a crash loses no more than
the end."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest

from streams.generations import Generations
from tests.broker import ROOT

KEEP_S = 100
CRASHING = """
import os, struct, sys
from pathlib import Path
from streams.generations import Generations

store = Generations(Path(sys.argv[1]), 1_000_000)
for first in range(0, 400_000, 4_000):
    # Calls from before the first tick, of one generation and of the next.
    clock = -1 if first < 40_000 else 0 if first < 300_000 else 1_000_000
    entries = {i.to_bytes(16, "big"): struct.pack(">qq", i, clock) for i in range(first, first + 4_000)}
    store.write(entries, struct.pack(">q", first + 4_000))
os._exit(9)
"""


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def value(number: int, clock: int) -> bytes:
    return struct.pack(">qq", number, clock)


def rate(store: Generations, clocks: dict[int, int]) -> None:
    """Write calls by number, each with its clock."""
    store.write({digest(number): value(number, clock) for number, clock in clocks.items()}, b"about %d" % max(clocks))


def known(store: Generations, numbers) -> list[int]:
    found = store.find([digest(number) for number in numbers])
    assert all(one is None or one[:8] == digest(number)[8:] for number, one in zip(numbers, found, strict=True))
    return [number for number, one in zip(numbers, found, strict=True) if one is not None]


@pytest.fixture
def store(tmp_path):
    """Entries are kept for 100 s."""
    store = Generations(tmp_path, KEEP_S)
    yield store
    store.close()


def test_an_entry_is_kept_for_the_keeping_time_and_dropped_before_three_times_it(store):
    for number in range(1, 1_000):
        rate(store, {number: number})
        found = known(store, range(1, number + 1))
        assert found == list(range(found[0], number + 1))
        assert number - 2 * KEEP_S < found[0] <= max(1, number - KEEP_S)
        assert len(store.begins) <= 2


def test_the_disk_of_a_dropped_generation_is_given_back(tmp_path, store):
    def fill(first: int, clock: int) -> int:
        """Write many calls out; bytes on the disk then."""
        store.write({digest(number): value(number, clock) for number in range(first, first + 20_000)}, b"")
        store.flush()
        return sum(path.stat().st_size for path in tmp_path.glob("*.sst"))

    sizes = [fill(20_000 * turn, KEEP_S * turn) for turn in range(6)]
    assert sizes[0] > 20_000 * 20
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.02)
    assert sizes[2:] == pytest.approx([sizes[1]] * 4, rel=0.02)


def test_calls_before_the_first_tick_are_kept_for_ever(store):
    rate(store, {1: -1, 2: -1, 3: -1, 4: 5, 5: 6})
    assert known(store, range(8)) == [1, 2, 3, 4, 5]
    rate(store, {6: 6 + KEEP_S})
    rate(store, {7: 6 + 3 * KEEP_S})
    assert known(store, range(8)) == [1, 2, 3, 6, 7]


def test_the_newest_entry_of_a_call_counts(store):
    rate(store, {1: 0})
    store.write({digest(1): value(9, KEEP_S)}, b"")
    assert store.find([digest(1)]) == [value(9, KEEP_S)]


@pytest.mark.parametrize("clock", [-1, 0])
def test_it_knows_everything_after_it_was_closed(tmp_path, clock):
    store = Generations(tmp_path, KEEP_S)
    rate(store, {1: clock, 2: KEEP_S, 3: 2 * KEEP_S})
    rate(store, {4: 2 * KEEP_S})
    store.close()
    store = Generations(tmp_path, KEEP_S)
    assert store.about == b"about 4"
    assert known(store, range(6)) == [1, 2, 3, 4]
    # It goes on with the generation it was at.
    begins = store.begins
    rate(store, {5: 2 * KEEP_S + 1})
    assert store.begins == begins
    store.close()


def test_what_is_known_of_the_entries_is_never_ahead_of_them_whenever_it_dies(tmp_path):
    died = subprocess.run([sys.executable, "-c", CRASHING, str(tmp_path)], cwd=ROOT, timeout=60, check=False)
    assert died.returncode == 9
    store = Generations(tmp_path, 1_000_000)
    (upto,) = struct.unpack(">q", store.about)
    # Some of it was written out by itself, and the end of it was lost.
    assert 100_000 < upto < 400_000
    assert known(store, range(upto)) == list(range(upto))
    store.close()
