"""The meter's worker of one partition: its fold, its ledger, its index of rated calls.

One transaction per batch holds the outputs, the snapshots of the accounts touched, the calls rated, what is passed on
to other partitions, and the new position. So everything happens once, or not at all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord
from faust.types import TP

from rating.facts import account_of
from rating.fold import Fold, cards_named
from rating.outputs import DeadLetter
from rating.partitioner import partition_of
from rating.seen import call_hash
from rating.versions import StateError
from streams.cards import CardShelf
from streams.errors import LedgerUnusable
from streams.fenced import RECORD_BYTES, FencedPartition, FencedProducer
from streams.observe import (
    ACCOUNTS,
    BATCH_RECORDS,
    CALLS_RATED,
    DEAD_LETTERS_WRITTEN,
    DUPLICATE_CALLS,
    LAG_RECORDS,
    PARTITION_CLOCK,
    RECORDS_FORWARDED,
    TRANSACTION_SECONDS,
)
from streams.ratings import Ratings
from streams.redriven import Redriven, redriven_of, refused_s
from streams.redriven import encode as encode_redriven
from streams.seen_calls import SeenCallsIndex
from streams.settings import Settings
from streams.topics import (
    ACCESS_EVENTS,
    ACCOUNT_EVENTS,
    AGENCY_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    DEAD_LETTERS,
    DUPLICATES,
    FORWARDED_HEADER,
    LEDGER,
    PAYMENT_REQUESTS,
    RATE_CARDS,
    RATED_CALLS,
    REDRIVEN_HEADER,
    SEEN_CALLS,
)
from streams.worker import Progress

NEEDS = (
    ACCOUNT_EVENTS,
    AGENCY_EVENTS,
    RATE_CARDS,
    RATED_CALLS,
    BILLING_EVENTS,
    PAYMENT_REQUESTS,
    ALERTS,
    ACCESS_EVENTS,
    DUPLICATES,
    DEAD_LETTERS,
    LEDGER,
    SEEN_CALLS,
)


# The event loop gets its turn after so many records: a few milliseconds of work.
BREATH_RECORDS = 1_000
# So many are decoded, looked up and rated together: few enough to stay in the processor's caches.
RUN_RECORDS = 250
# Room for the headers is left below what the topic takes.
LETTER_BYTES = RECORD_BYTES - 65_536
BEGINNING_BYTES = 65_536


class LedgerPartition(FencedPartition):
    """Rates one partition of the log."""

    def __init__(self, tp: TP, settings: Settings, partitions: int, shelf: CardShelf | None = None) -> None:
        """Make a worker that does nothing until it is opened.

        Args:
            tp: the partition of ``account-events``.
            settings: checked settings.
            partitions: how many partitions there are: accounts that belong elsewhere are passed on.
            shelf: the rate cards of the process; None for some of its own.
        """
        super().__init__(tp, settings, LEDGER)
        self._seen = SeenCallsIndex(settings, tp.partition, self._show_progress)
        self._shelf = shelf or CardShelf(settings, partitions)
        self._fold = Fold(tp.partition, partitions, self._seen, cards=self._shelf.cards)
        self._partitions = partitions
        # Where agencies' records go.
        self._home: dict[str, int] = {}
        self._ratings = Ratings(settings, tp.partition)
        # Of the records at hand that were re-driven, by offset, where they come from.
        self._redriven: dict[int, Redriven] = {}
        # Dead letters of the transaction at hand, by reason.
        self._refused: Counter[str] = Counter()
        label = str(tp.partition)
        self._lag, self._accounts = LAG_RECORDS.labels(label), ACCOUNTS.labels(label)
        self._clock = PARTITION_CLOCK.labels(label)

    @property
    def position(self) -> int:
        """Offset of the next record to rate, as the ledger has it."""
        return self._fold.position

    @property
    def unfinished(self) -> bool:
        """Whether a tick is at work."""
        return self._fold.tick_at_work

    async def open(self) -> None:
        """Fence, restore the accounts, load the rate cards they need, then let the index of rated calls catch up.

        Raises:
            LedgerUnusable: among others, a rate card that the ledger's terms name is not there.
        """
        await super().open()
        await self._shelf.load(self._fold.cards_needed())
        try:
            self._fold.restored()
        except StateError as error:
            raise LedgerUnusable(f"{self.settings.topic(RATE_CARDS)}: {error}") from None
        await self._seen.open(self._fold.position)
        self._show()

    async def close(self) -> None:
        """Let go of the index and the producer."""
        await self._ratings.close()
        await self._seen.close()
        await super().close()
        for gauge in (LAG_RECORDS, ACCOUNTS, PARTITION_CLOCK):
            gauge.remove(str(self.tp.partition))

    def _show_progress(self, what: str, done: int, total: int) -> None:
        if total:
            self.progress = Progress(what, done, total)

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one ledger record."""
        self._fold.restore(key, value)

    def lagging(self, records: int) -> None:
        """Show how far behind the partition is."""
        super().lagging(records)
        self._lag.set(records)

    async def handle(self, records: list[ConsumerRecord]) -> None:
        """Rate a batch, then do a slice of the tick at work: calls that come after a large tick do not wait for it."""
        fold = self._fold
        done = at = breathed = 0
        while at < len(records):
            if at >= breathed:
                breathed = at + BREATH_RECORDS
                await asyncio.sleep(0)
            run = records[at : at + RUN_RECORDS]
            folded = fold.fold_calls(run)
            at += folded
            if folded < len(run):
                record = records[at]
                forwarded, refused = self._look_at(record)
                if named := cards_named(record.value):
                    await self._shelf.load(named)
                rated = None
                if (call_id := fold.corrected_call(record.value)) is not None:
                    # What was rated in this very batch can be found once it is committed.
                    self._collect()
                    if at > done:
                        await self._store(records[done:at])
                        done = at
                        if self.stopping:
                            return
                    rated = await self._rating_of(record.value, call_id, record.offset)
                while not fold.fold(record.value, record.offset, record.key, forwarded, refused, rated):
                    if fold.position > record.offset:
                        break
                    await self._store(records[done:at])
                    done = at
                    if self.stopping:
                        return
                at += 1
            self._collect()
        if fold.tick_at_work:
            fold.work()
        await self._store(records[done:])

    async def _rating_of(self, correction: bytes, call_id: str, offset: int) -> bytes | None:
        """How the call that a correction at an offset names was rated, None if that cannot be found."""
        account_id = account_of(correction) or ""
        first = self._seen.find((call_hash(account_id, call_id),))[0]
        if first is None or first[0] >= offset:
            return None
        return await self._ratings.find(account_id, call_id, first[0])

    def _look_at(self, record: ConsumerRecord) -> tuple[bool, int | None]:
        """Whether a record was passed on to us; and when its bytes were first refused, if it was re-driven."""
        forwarded = any(name == FORWARDED_HEADER for name, _ in record.headers)
        redriven = redriven_of(record.headers)
        if redriven is None:
            return forwarded, None
        self._redriven[record.offset] = redriven
        return forwarded, refused_s(redriven)

    def _origin(self, offset: int) -> list[tuple[str, bytes]]:
        redriven = self._redriven.get(offset)
        return [] if redriven is None else [(REDRIVEN_HEADER, encode_redriven(redriven))]

    def _collect(self) -> None:
        """Put what the fold gave out into the transaction at hand, while it is warm in the processor's caches."""
        producer, outputs, forwards = self.producer, self._fold.outputs, self._fold.forwards
        letters = [(key, letter) for _, key, letter in outputs if isinstance(letter, DeadLetter)]
        for key, letter in letters:
            write_letter(producer, self.settings, key, letter, self._origin(letter.offset))
            self._refused[letter.reason] += 1
        producer.add_many([output for output in outputs if output[0] != DEAD_LETTERS] if letters else outputs)
        outputs.clear()
        for partition, key, value, offset in forwards:
            headers = [(FORWARDED_HEADER, b"%d:%d" % (self.tp.partition, offset)), *self._origin(offset)]
            producer.add(ACCOUNT_EVENTS, key, value, headers, partition)
        forwards.clear()
        self._redriven.clear()

    def _tell_agencies(self) -> None:
        """Put what the transaction at hand adds to agencies' totals into it."""
        producer, home = self.producer, self._home
        for agency_id, value in self._fold.drain_agencies():
            if agency_id is None:
                for partition in range(self._partitions):
                    producer.add(AGENCY_EVENTS, None, value, partition=partition)
                continue
            key = agency_id.encode()
            partition = home.get(agency_id, -1)
            if partition < 0:
                partition = home[agency_id] = partition_of(key, self._partitions)
            producer.add(AGENCY_EVENTS, key, value, partition=partition)

    async def _store(self, folded: list[ConsumerRecord]) -> None:
        """Commit what the fold gave out, and its position after the records folded, as one transaction."""
        began = time.perf_counter()
        producer, seen = self.producer, self._seen
        self._collect()
        self._tell_agencies()
        calls = seen.take_records()
        for packed in calls:
            producer.add(SEEN_CALLS, None, packed)
        *state, (_, position) = self._fold.drain_ledger()
        producer.add_many((LEDGER, key, value) for key, value in state)
        self.add_position(position, folded[-1] if folded else None)
        counts = producer.counts()
        ends = await producer.commit()
        if calls:
            seen.committed(calls, ends[SEEN_CALLS])
        self._ratings.committed(ends.get(RATED_CALLS, 0))
        TRANSACTION_SECONDS.observe(time.perf_counter() - began)
        BATCH_RECORDS.observe(len(folded))
        CALLS_RATED.inc(counts.get(RATED_CALLS, 0))
        DUPLICATE_CALLS.inc(counts.get(DUPLICATES, 0))
        RECORDS_FORWARDED.inc(counts.get(ACCOUNT_EVENTS, 0))
        for reason, count in self._refused.items():
            DEAD_LETTERS_WRITTEN.labels(reason).inc(count)
        self._refused.clear()
        self._show()

    def _show(self) -> None:
        self._accounts.set(self._fold.accounts_count)
        if self._fold.done_clock is not None:
            self._clock.set(self._fold.done_clock.timestamp())


def write_letter(
    producer: FencedProducer,
    settings: Settings,
    key: bytes | None,
    letter: DeadLetter,
    origin: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Collect a dead letter for the next transaction: the original key and bytes, with why and where in its headers.

    The log's bound is on bytes as they travel, which may be compressed. Of a record that is larger than a dead letter
    can be, the beginning is kept, and ``whole_bytes`` says how many there were; all of it stays in the log.
    """
    value, headers = letter.value, headers_of(settings, letter)
    whole = len(key or b"") + len(value or b"")
    if whole > LETTER_BYTES:
        key, value = key and key[:BEGINNING_BYTES], value and value[:BEGINNING_BYTES]
        headers.append(("whole_bytes", b"%d" % whole))
    producer.add(DEAD_LETTERS, key, value, [*headers, *origin])


def headers_of(settings: Settings, letter: DeadLetter) -> list[tuple[str, bytes]]:
    """Why a record was refused, and where it was read."""
    named = {
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": settings.topic(letter.topic),
        "partition": str(letter.partition),
        "offset": str(letter.offset),
    }
    if letter.clock is not None:
        named["clock"] = letter.clock.isoformat()
    return [(name, value.encode()) for name, value in named.items()]
