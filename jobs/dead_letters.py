"""Dead letters: what each tells, and finding those that are meant.

A letter is *open* until it was re-driven (`jobs.redrive`). What becomes of its bytes then is the meter's to say: if it
refuses them again, that is another letter, open in its turn, that names the one it came from.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

import msgspec
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from jobs.reading import Offsets, TopicReader
from rating.period import EPOCH
from streams import redriven
from streams.administration import check_topics, unreachable
from streams.errors import Refused
from streams.redriven import Redriven, redriven_of
from streams.settings import Settings
from streams.topics import DEAD_LETTERS, REDRIVES

# Progress is shown so often.
SHOW_OFFSETS = 500

# Partition and offset.
Position = tuple[int, int]
Show = Callable[[int, int], None]


def show_nothing(read: int, total: int) -> None:
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


async def read_letters(
    settings: Settings, wanted: Wanted, show: Show = show_nothing
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
    async with broker_errors(settings), TopicReader(settings, DEAD_LETTERS, count) as reader:
        walk = await Walk.over(reader, wanted, show)
        async with TopicReader(settings, REDRIVES, count) as redrives:
            done = {record.key: _time_of(record) async for record in redrives.read_all(walk.partitions)}
        for partition in walk.partitions:
            async for letter in walk.letters(partition):
                yield letter, done.get(key_of(letter))


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


class Walk:
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


def key_of(letter: Letter) -> bytes:
    """The key of a letter in ``redrives``: where its bytes were read. A record of the log is refused once at most."""
    assert letter.source is not None
    return spelled(letter.source).encode()


def _time_of(record: ConsumerRecord) -> datetime:
    return EPOCH + timedelta(milliseconds=record.timestamp)


@asynccontextmanager
async def broker_errors(settings: Settings) -> AsyncIterator[None]:
    """What goes wrong between us and the broker, as one line."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise unreachable(settings, error) from None
