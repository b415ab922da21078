"""Re-driving: a dead letter's bytes go back to the log, where the meter rates them, or refuses them again.

No letter is re-driven twice. The original bytes and a record in ``redrives`` that names the letter are one transaction,
by the producer of the letter's partition, which fences every other one (`streams.fenced`). So one that is killed half
way leaves nothing half done, and of two at once one is fenced.

Nor is a call rated twice that the platform has sent again meanwhile: the meter finds the duplicate, and refuses a
letter (``expired``) that is older than what it knows of rated calls.

Ticks and rules are never re-driven. Time has gone on since, and rules may have been set anew: an old one must not undo
a younger one.
"""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC
from typing import Literal

import msgspec
from faust.types import TP

from jobs.dead_letters import Letter, Show, Walk, Wanted, broker_errors, key_of, read_letters, show_nothing, spelled
from jobs.reading import TopicReader
from rating.facts import AgencyAccess, RulesSet, Tick, Undecodable, WholesaleSet, decode
from rating.outputs import encode
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.errors import CallmeterError, TakenOver
from streams.fenced import FencedProducer
from streams.redriven import Redriven
from streams.restore import read_to_end
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, REDRIVEN_HEADER, REDRIVES

# One transaction holds at most so many letters, or so many bytes of them and one letter more.
MOST_LETTERS = 1_000
MOST_BYTES = 8 << 20

# Why a letter that was asked for is not written back.
Skip = Literal["already re-driven", "no fact", "tick or rules", "expired"]


class Done(msgspec.Struct, frozen=True):
    """A record of ``redrives``; its key is the position of the refused record in the log.

    Attributes:
        dead_letter: "<partition>:<offset>" of the letter.
        partition: of the log, where its bytes went.
    """

    dead_letter: str
    partition: int


@dataclass
class Redrive:
    """One re-driving under way. The attributes may be shown while it runs.

    Attributes:
        settings: checked settings.
        wanted: which letters.
        dry_run: only count.
        show: called now and then with how many offsets were looked at, of how many.
        redriven: how many letters were written back, by reason; in a dry run, how many would be.
        skipped: how many were not, by why.
    """

    settings: Settings
    wanted: Wanted
    dry_run: bool = False
    show: Show = show_nothing
    redriven: Counter[str] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)

    async def run(self) -> None:
        """Re-drive the letters that there are now; those that come meanwhile are left.

        Raises:
            CallmeterError: another one has taken over; what was re-driven by then stays so.
            BrokerUnreachable, TopicMissing: there is nothing to read from or to write to.
            LedgerUnusable: the end of ``redrives`` cannot be trusted.
        """
        if self.dry_run:
            async with aclosing(read_letters(self.settings, self.wanted, self.show)) as found:
                async for letter, redriven_at in found:
                    if self._account_of(letter, redriven_at is not None):
                        self.redriven[letter.reason] += 1
            return
        count = await check_topics(self.settings, [DEAD_LETTERS, REDRIVES, ACCOUNT_EVENTS])
        async with broker_errors(self.settings), TopicReader(self.settings, DEAD_LETTERS, count) as reader:
            walk = await Walk.over(reader, self.wanted, self.show)
            for partition in walk.partitions:
                await self._redrive(walk, partition, count)

    async def _redrive(self, walk: Walk, partition: int, count: int) -> None:
        producer = FencedProducer(self.settings, TP(walk.reader.topic, partition))
        try:
            await producer.start()
            # Only now does nobody else write there.
            done = await self._done(partition)
            batch = _Batch(producer, count)
            async for letter in walk.letters(partition):
                key = key_of(letter)
                account_id = self._account_of(letter, key in done)
                if account_id is not None:
                    done.add(key)
                    batch.add(letter, key, account_id)
                    if batch.full:
                        self.redriven += await batch.commit()
            self.redriven += await batch.commit()
        except TakenOver:
            raise CallmeterError(
                "another `callmeter dead-letters redrive` has taken over, or this one stood still for too long; "
                f"{self.redriven.total():,} letters were re-driven here; run it again for the rest"
            ) from None
        finally:
            await producer.stop()

    async def _done(self, partition: int) -> set[bytes]:
        found: set[bytes] = set()
        async for records in read_to_end(self.settings, self.settings.topic(REDRIVES), partition):
            found.update(record.key for record in records)
        return found

    def _account_of(self, letter: Letter, done: bool) -> str | None:
        """Whose fact a letter holds; None, and counted, if it is skipped."""
        skip: Skip
        if done:
            skip = "already re-driven"
        elif letter.reason == "expired":
            skip = "expired"
        else:
            try:
                fact = decode(letter.record.value)
            except Undecodable:
                skip = "no fact"
            else:
                if not isinstance(fact, Tick | RulesSet | AgencyAccess | WholesaleSet):
                    return fact.account_id
                skip = "tick or rules"
        self.skipped[skip] += 1
        return None


class _Batch:
    """Letters that are re-driven in one transaction."""

    def __init__(self, producer: FencedProducer, partitions: int) -> None:
        self._producer = producer
        self._partitions = partitions
        self._reasons: Counter[str] = Counter()
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self._reasons.total() >= MOST_LETTERS or self._bytes >= MOST_BYTES

    def add(self, letter: Letter, key: bytes, account_id: str) -> None:
        value = letter.record.value
        to = partition_of(account_id.encode(), self._partitions)
        origin = Redriven(
            dead_letter=spelled(letter.position), source=key.decode(), refused_at=letter.refused_at.astimezone(UTC)
        )
        header = (REDRIVEN_HEADER, encode(origin))
        self._producer.add(ACCOUNT_EVENTS, account_id.encode(), value, [header], to)
        self._producer.add(REDRIVES, key, encode(Done(spelled(letter.position), to)))
        self._reasons[letter.reason] += 1
        self._bytes += len(value)

    async def commit(self) -> Counter[str]:
        """How many were re-driven by it, by reason."""
        reasons, self._reasons, self._bytes = self._reasons, Counter(), 0
        if reasons:
            await self._producer.commit()
        return reasons
