"""Dead letters: finding them, and writing their bytes back to the log once the cause is gone.

A letter is *open* until it was re-driven. What becomes of the bytes then is the meter's to say: if it refuses them
again, that is another letter, open in its turn, that names the one it came from.

No letter is re-driven twice. The original bytes and a record in ``redrives`` that names the letter are one transaction,
by the producer of the letter's partition, which fences every other one (`streams.fenced`). So one that is killed half
way leaves nothing half done, and of two at once one is fenced.

Nor is a call rated twice that the platform has sent again meanwhile: the meter finds the duplicate, and refuses a
letter (``expired``) that is older than what it knows of rated calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, Self

import msgspec
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from jobs.reading import Offsets, TopicReader
from rating.facts import RulesSet, Tick, Undecodable, decode
from rating.partitioner import partition_of
from rating.period import EPOCH
from streams import redriven
from streams.administration import check_topics, unreachable
from streams.errors import CallmeterError, Refused, TakenOver
from streams.fenced import FencedProducer
from streams.redriven import Redriven, redriven_of
from streams.restore import read_to_end
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, DEAD_LETTERS, REDRIVEN_HEADER, REDRIVES

# One transaction holds at most so many letters, or so many bytes of them and one letter more.
MOST_LETTERS = 1_000
MOST_BYTES = 8 << 20

# Progress is shown so often.
SHOW_OFFSETS = 500

# Partition and offset.
Position = tuple[int, int]
Show = Callable[[int, int], None]
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


def _show_nothing(read: int, total: int) -> None:
    """Nobody looks."""


_decode_any = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Letter:
    """One dead letter, as far as it can be read."""

    record: ConsumerRecord

    @property
    def position(self) -> Position:
        """Where it is in ``dead-letters``."""
        return self.record.partition, self.record.offset

    @property
    def recorded_at(self) -> datetime:
        """When it was written, by the meter's machine."""
        return _time_of(self.record)

    @cached_property
    def headers(self) -> dict[str, str]:
        """All headers as text."""
        return {name: value.decode("utf-8", "replace") for name, value in self.record.headers}

    @property
    def reason(self) -> str:
        """Why it was refused."""
        return self.headers.get("reason", "")

    @cached_property
    def source(self) -> Position | None:
        """Where it was read in the log; None where the record tells of none, so that no meter has written it."""
        try:
            return int(self.headers["partition"]), int(self.headers["offset"])
        except (KeyError, ValueError):
            return None

    @cached_property
    def redriven(self) -> Redriven | None:
        """Which letter it was before; None if it was refused for the first time."""
        return redriven_of(self.record.headers)

    @property
    def refused_at(self) -> datetime:
        """The clock of its partition when its bytes were first refused; the machine's time before the first tick."""
        if self.redriven:
            return self.redriven.refused_at
        try:
            return redriven.clock_of(self.headers["clock"])
        except (KeyError, ValueError):
            return self.recorded_at

    @cached_property
    def content(self) -> dict[str, Any]:
        """What its bytes say, if they are a JSON object."""
        try:
            content = _decode_any(self.record.value or b"")
        except (ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def named(self, name: str) -> str | None:
        """A text of its content, such as ``account_id``; None where it has none."""
        value = self.content.get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which letters are meant: those that agree with everything that is given.

    Attributes:
        reasons: any of them.
        agency: where the bytes are readable.
        account: where the bytes are readable.
        kind: type of the fact, where the bytes are readable.
        since: written then or later.
        until: written before.
        positions: in ``dead-letters``, any of them.
        source: in the log.
    """

    reasons: Collection[str] = ()
    agency: str | None = None
    account: str | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    positions: Collection[Position] = ()
    source: Position | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.positions or letter.position in self.positions)
            and (self.source is None or letter.source == self.source)
            and (self.since is None or letter.recorded_at >= self.since)
            and (self.until is None or letter.recorded_at < self.until)
            and (self.agency is None or letter.named("agency_id") == self.agency)
            and (self.account is None or letter.named("account_id") == self.account)
            and (self.kind is None or letter.named("type") == self.kind)
        )


def spelled(position: Position) -> str:
    """A position as people and headers write it, ``<partition>:<offset>``."""
    return f"{position[0]}:{position[1]}"


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
    show: Show = _show_nothing
    redriven: Counter[str] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)

    async def run(self) -> None:
        """Re-drive the letters that there are now; those that come meanwhile are left.

        Raises:
            CallmeterError: another one has taken over.
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
        async with _broker(self.settings), TopicReader(self.settings, DEAD_LETTERS, count) as reader:
            walk = await _Walk.over(reader, self.wanted, self.show)
            for partition in walk.partitions:
                await self._redrive(walk, partition, count)

    async def _redrive(self, walk: _Walk, partition: int, count: int) -> None:
        producer = FencedProducer(self.settings, TP(walk.reader.topic, partition))
        try:
            await producer.start()
            # Only now does nobody else write there.
            done = await self._done(partition)
            batch = _Batch(producer, count)
            async for letter in walk.letters(partition):
                key = _key(letter)
                account_id = self._account_of(letter, key in done)
                if account_id is not None:
                    done.add(key)
                    batch.add(letter, key, account_id)
                    if batch.full:
                        self.redriven += await batch.commit()
            self.redriven += await batch.commit()
        except TakenOver:
            raise CallmeterError(
                f"another `callmeter dead-letters redrive` has taken over; {self.redriven.total():,} letters were "
                "re-driven here, each once"
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
                if not isinstance(fact, Tick | RulesSet):
                    return fact.account_id
                skip = "tick or rules"
        self.skipped[skip] += 1
        return None


async def read_letters(
    settings: Settings, wanted: Wanted, show: Show = _show_nothing
) -> AsyncGenerator[tuple[Letter, datetime | None], None]:
    """The letters that are meant, by partition and offset, each with when it was re-driven (None: it is open).

    Args:
        settings: checked settings.
        wanted: which.
        show: called now and then with how many offsets were looked at, of how many.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    count = await check_topics(settings, [DEAD_LETTERS, REDRIVES])
    async with _broker(settings), TopicReader(settings, DEAD_LETTERS, count) as reader:
        walk = await _Walk.over(reader, wanted, show)
        async with TopicReader(settings, REDRIVES, count) as redrives:
            done = {record.key: _time_of(record) async for record in redrives.read_all(walk.partitions)}
        for partition in walk.partitions:
            async for letter in walk.letters(partition):
                yield letter, done.get(_key(letter))


async def find_letter(settings: Settings, position: Position) -> tuple[Letter, datetime | None]:
    """One letter, with when it was re-driven (None: it is open).

    Raises:
        Refused: there is none at this position.
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    async with aclosing(read_letters(settings, Wanted(positions=[position]))) as found:
        async for letter in found:
            return letter
    raise Refused(f"there is no dead letter {spelled(position)}; see `callmeter dead-letters list --all`")


class _Walk:
    """The letters that are meant and were there when the walk began, partition by partition.

    Attributes:
        reader: of ``dead-letters``.
        partitions: those that have any to look at.
    """

    def __init__(self, reader: TopicReader, wanted: Wanted, show: Show, starts: Offsets, ends: Offsets) -> None:
        self.reader = reader
        self.partitions = [at for at in starts if starts[at] < ends[at]]
        self._wanted, self._show, self._starts, self._ends = wanted, show, starts, ends
        self._total = sum(ends[at] - starts[at] for at in self.partitions)
        self._passed = 0

    @classmethod
    async def over(cls, reader: TopicReader, wanted: Wanted, show: Show) -> Self:
        starts, ends = {}, {}
        log_starts, log_ends = await reader.starts(), await reader.ends()
        for at in reader.partitions:
            # Where letters are named, only what lies between the first and the last of them.
            named = [offset for partition, offset in wanted.positions if partition == at]
            starts[at] = max(log_starts[at], min(named, default=log_ends[at] if wanted.positions else 0))
            ends[at] = min(log_ends[at], max(named) + 1) if named else log_ends[at]
        return cls(reader, wanted, show, starts, ends)

    async def letters(self, partition: int) -> AsyncIterator[Letter]:
        start, end = self._starts[partition], self._ends[partition]
        async for record in self.reader.read({partition: start}, {partition: end}):
            if not record.offset % SHOW_OFFSETS:
                self._show(self._passed + record.offset - start, self._total)
            letter = Letter(record)
            if letter.source is not None and self._wanted.takes(letter):
                yield letter
        self._passed += end - start
        self._show(self._passed, self._total)


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
        header = (REDRIVEN_HEADER, redriven.encode(origin))
        self._producer.add(ACCOUNT_EVENTS, account_id.encode(), value, [header], to)
        self._producer.add(REDRIVES, key, redriven.encode(Done(spelled(letter.position), to)))
        self._reasons[letter.reason] += 1
        self._bytes += len(value)

    async def commit(self) -> Counter[str]:
        """How many were re-driven by it, by reason."""
        reasons, self._reasons, self._bytes = self._reasons, Counter(), 0
        if reasons:
            await self._producer.commit()
        return reasons


def _key(letter: Letter) -> bytes:
    """The key of a letter in ``redrives``: where its bytes were read. A record of the log is refused once at most."""
    assert letter.source is not None
    return spelled(letter.source).encode()


def _time_of(record: ConsumerRecord) -> datetime:
    return EPOCH + timedelta(milliseconds=record.timestamp)


@asynccontextmanager
async def _broker(settings: Settings) -> AsyncIterator[None]:
    """What goes wrong between us and the broker, as one line."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from None
