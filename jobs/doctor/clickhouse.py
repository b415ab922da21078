"""ClickHouse: is it there, are its tables those of this Callmeter, and are the sink's positions in the topics?"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from jobs.doctor.finding import Finding, failed, ok, skew, warning
from jobs.doctor.state import STALL_S, outside
from jobs.reading import TopicReader
from sinks.clickhouse import Store, target_of
from sinks.migrate import check_schema
from sinks.tables import TABLES
from streams.administration import find_topics
from streams.errors import CallmeterError, ClickHouseUnreachable
from streams.settings import Settings

# What this was built and tested with.
OLDEST = (26, 9)
Positions = dict[str, dict[int, int]]


class ClickHouseLook:
    """Looks at ClickHouse, then at what the sink has stored there.

    Attributes:
        positions: by topic and partition, the offset after the last row; None before `look_at_server` has read them.
        noted: the same, of what is known to be only markers behind it (`sinks.log_start`).
    """

    def __init__(self, settings: Settings) -> None:
        """Look where the settings say."""
        self._settings = settings
        self.positions: Positions | None = None
        self.noted: Positions = defaultdict(dict)

    async def look_at_server(self) -> AsyncIterator[Finding]:
        """Whether it answers, its version, clock and schema."""
        for finding in await asyncio.to_thread(lambda: list(self._server())):
            yield finding

    def _server(self) -> Iterator[Finding]:
        target = target_of(self._settings)
        if target.scheme == "chdb" and not Path(target.folder).exists():
            yield warning("ClickHouse", f"no engine in {target.folder} yet", "run: callmeter migrate, or callmeter up")
            return
        try:
            with Store(target) as store:
                yield from self._answering(store)
        except ClickHouseUnreachable as error:
            if "in use by another process" in str(error):
                yield warning("ClickHouse", str(error), "run the doctor while it is stopped, or use `callmeter up`")
                return
            yield failed("ClickHouse", str(error), "")

    def _answering(self, store: Store) -> Iterator[Finding]:
        version = str(store.value("SELECT version()"))
        said = f"{store.target} answers: version {version}"
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            tested = ".".join(map(str, OLDEST))
            yield warning("ClickHouse", said, f"older than {tested}, which Callmeter is tested with: update it")
        else:
            yield ok("ClickHouse", said)
        if not store.embedded:
            asked = time.time()
            there = int(store.value("SELECT toUnixTimestamp64Milli(now64(3))"))
            answered = time.time()
            ahead = (asked + answered) / 2 - there / 1000
            yield skew("clock of ClickHouse", "ClickHouse", ahead, (answered - asked) / 2)
        try:
            check_schema(store)
        except CallmeterError as error:
            yield failed("schema", str(error), "")
            return
        yield ok("schema", f"database {store.target.database} is up to date")
        self.positions = {table.topic: _positions(store, table.name) for table in TABLES}
        for row in store.rows(
            "SELECT kafka_topic, kafka_partition, max(position) AS next FROM sink_progress GROUP BY ALL"
        ):
            self.noted[row["kafka_topic"]][row["kafka_partition"]] = row["next"]

    async def look_at_positions(self) -> AsyncIterator[Finding]:
        """Whether what is stored is in the topics' logs still, or was.

        Raises:
            BrokerUnreachable: no broker answers.
            TimeoutError: it stopped to answer.
        """
        if self.positions is None:
            return
        found = await find_topics(self._settings)
        wrong: list[Finding] = []
        behind = 0
        for table in TABLES:
            if table.topic not in found:
                continue
            async with (
                asyncio.timeout(STALL_S),
                TopicReader(self._settings, table.topic, found[table.topic].partitions) as reader,
            ):
                starts, ends = await reader.starts(), await reader.ends()
            offsets = {partition: self.positions[table.topic].get(partition, 0) for partition in starts}
            offsets |= self.positions[table.topic]
            behind += sum(max(0, ends[at] - offset) for at, offset in offsets.items() if at in ends)
            # A compacted topic keeps what counts; elsewhere only markers may have gone.
            for at, offset in offsets.items():
                if at in starts and (table.compacted or self.noted[table.topic].get(at, 0) >= starts[at]):
                    offsets[at] = max(offset, starts[at])
            topic = self._settings.topic(table.topic)
            wrong += [
                one
                for one in outside("positions of the sink", topic, offsets, starts, ends, "The sink refuses to start")
                if one.status == "failed"
            ]
        for finding in wrong:
            yield finding
        if not wrong:
            yield ok("positions of the sink", f"in the logs, {behind:,} records or markers behind their ends")


def _positions(store: Store, table: str) -> dict[int, int]:
    rows = store.rows(
        f"SELECT kafka_partition AS partition, max(kafka_offset) + 1 AS next FROM {table} GROUP BY kafka_partition"
    )
    return {row["partition"]: row["next"] for row in rows}
