"""Where the time of a call goes: each stage of the hot path by itself, without a broker, one thread.

The stages do what the meter does with a run of 250 calls. What is missing to a meter's CPU microseconds a call (figure
`hot_path`) is the client: fetching, unpacking and sending, which the bare loop has too, Faust, and RocksDB's own
threads. A stage by itself finds the processor's caches warmer than in the meter, so the sum is a lower bound.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from aiokafka.producer.message_accumulator import BatchBuilder
from msgspec.structs import astuple

from bench.duplicates import CLOCK
from bench.figure import Run, size
from bench.lab import Lab, step
from bench.load import PLAIN, account_id, calls
from bench.rating import prepared
from rating.books import ENCODED_BYTES
from rating.facts import CallCompleted, decode
from rating.ledger import ACCOUNT, encode_account
from rating.outputs import RATED_CALLS, RatedCall, encode_into
from rating.seen import call_hash
from streams.fenced import BATCH_BYTES, NO_HEADERS
from streams.generations import ABOUT, DAY_S, Generations
from streams.ledger import RUN_RECORDS
from streams.process import GC_THRESHOLDS
from streams.records import Record
from streams.seen_calls import KEEP_DAYS, WRITE_ENTRIES

TITLE = "a call, stage by stage, no broker, one thread"
# A partition's transaction at full load.
TRANSACTION = 10_000
_decode_rated = msgspec.json.Decoder(RatedCall).decode
T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    calls: int = size(100_000, "calls in a run")
    accounts: int = size(1_250, "accounts of the partition")
    rounds: int = size(5, "how often each stage is measured")


async def measure(lab: Lab, sizes: Sizes) -> AsyncIterator[Run]:
    """All stages in turns; the first round warms up and does not count."""
    gc.set_threshold(*GC_THRESHOLDS)
    values = [(account_id(number).encode(), value) for number, value in calls(sizes.calls, sizes.accounts)]
    for number in range(sizes.rounds + 1):
        with step(f"round {number} of {sizes.rounds}"):
            stages = Stages(values, sizes.accounts, Generations(lab.folder / f"stages-{number}", KEEP_DAYS * DAY_S))
            found = {
                name: stage() / sizes.calls * 1e6
                for name, stage in (
                    ("decode", stages.decode),
                    ("hash", stages.hash),
                    ("look up in the index", stages.look_up),
                    ("rate and encode", stages.rate),
                    ("append to batches", stages.append),
                    ("check sums of batches", stages.close_batches),
                    ("write to the index", stages.write),
                    ("snapshots of accounts", stages.snapshots),
                )
            }
            found["all of them"] = sum(found.values())
            found["of rate and encode: the record alone"] = stages.record() / sizes.calls * 1e6
            stages.index.close()
        if number:
            for name, micros in found.items():
                yield Run(name, {"us/call": micros})


def lines(runs: Sequence[Run]) -> list[str]:
    """Nothing more than the table."""
    return []


class Stages:
    """Each method is a stage over all calls, in this order, and gives its CPU seconds."""

    def __init__(self, values: list[tuple[bytes, bytes]], accounts: int, index: Generations) -> None:
        self.index = index
        self._fold = prepared(accounts, PLAIN, (), {})
        self._fold.books.touched.clear()
        self._values = [value for _, value in values]
        self._records = [Record("", 0, at, 0, *value, []) for at, value in enumerate(values, self._fold.position)]
        self._outputs: list[tuple[str, bytes | None, bytes]] = []
        self._batches: list[BatchBuilder] = []
        self._snapshots = 0

    def decode(self) -> float:
        """Strict decoding."""
        found, seconds = _timed(lambda: [decode(value) for value in self._values])
        self._calls = [call for call in found if isinstance(call, CallCompleted)]
        return seconds

    def hash(self) -> float:
        """What the index knows a call by."""
        self._hashes, seconds = _timed(lambda: [call_hash(call.account_id, call.call_id) for call in self._calls])
        return seconds

    def look_up(self) -> float:
        """New calls: nothing is found."""
        starts = range(0, len(self._hashes), RUN_RECORDS)
        runs = [self._hashes[at : at + RUN_RECORDS] for at in starts]
        return _timed(lambda: [self.index.find(run) for run in runs])[1]

    def rate(self) -> float:
        """The fold, less decoding and hashing, which it does too; duplicates are looked up in a dictionary."""
        fold, seconds = self._fold, 0.0
        for at in range(0, len(self._records), RUN_RECORDS):
            run = self._records[at : at + RUN_RECORDS]
            seconds += _timed(lambda run=run: fold.fold_calls(run))[1]  # type: ignore[misc]
            self._outputs += fold.outputs  # type: ignore[arg-type]
            fold.outputs.clear()
            if (at + RUN_RECORDS) % TRANSACTION == 0:
                self._snapshots += len(fold.books.touched)
                fold.books.touched.clear()
        again = _timed(lambda: [decode(value) for value in self._values])[1]
        return seconds - again - _timed(lambda: [call_hash(one.account_id, one.call_id) for one in self._calls])[1]

    def record(self) -> float:
        """The rated calls, known already, built from their fields and encoded: what no rule can save."""
        rated = [_decode_rated(value) for topic, _, value in self._outputs if topic == RATED_CALLS]
        buffer = bytearray(ENCODED_BYTES)

        def encode_all() -> None:
            for one in rated:
                encode_into(RatedCall(*astuple(one)), buffer)
                bytes(buffer)

        return _timed(encode_all)[1]

    def append(self) -> float:
        """Rated calls into record batches."""

        def append_all() -> None:
            batch, count = _batch(), 0
            for _, key, value in self._outputs:
                if batch._builder.append(count, 0, key, value, NO_HEADERS) is None:
                    self._batches.append(batch)
                    batch, count = _batch(), 0
                    batch._builder.append(count, 0, key, value, NO_HEADERS)
                count += 1
                batch._relative_offset = count
            self._batches.append(batch)

        return _timed(append_all)[1]

    def close_batches(self) -> float:
        """Check sums and headers of the batches."""
        return _timed(lambda: [batch._build() for batch in self._batches])[1]

    def write(self) -> float:
        """Into the index, which sorts and merges later; by all its threads."""
        seconds = 0.0
        for first in range(0, len(self._hashes), WRITE_ENTRIES):
            entry = CLOCK.to_bytes(16, "big")
            entries = dict.fromkeys(self._hashes[first : first + WRITE_ENTRIES], entry)
            seconds += _timed(lambda entries=entries: self.index.write(entries, ABOUT))[1]  # type: ignore[misc]
        return seconds

    def snapshots(self) -> float:
        """Ledger records of the accounts that a transaction touched, and their place in a batch."""
        books, batch = self._fold.books, _batch()
        accounts = [account for name in books.accounts if (account := books.account(name)) is not None]

        def snapshot() -> None:
            for account in accounts:
                batch._builder.append(0, 0, ACCOUNT + account.account_id.encode(), encode_account(account), NO_HEADERS)

        return _timed(snapshot)[1] / len(accounts) * self._snapshots


def _batch() -> BatchBuilder:
    return BatchBuilder(BATCH_BYTES, 0, is_transactional=True, key_serializer=None, value_serializer=None)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.process_time()
    found = work()
    return found, time.process_time() - began
