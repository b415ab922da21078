"""Appending exactly once to ClickHouse: a compare-and-swap on the position that the rows themselves hold.

Rows carry ``kafka_partition`` and ``kafka_offset``, and the largest offset of a partition is its position. Rows go to a
staging table that only this sink uses, and from there into the table by one insert of one atomic part which

- inserts nothing unless the position is still the expected one: an old replay is refused;
- carries a token made of that position: of two inserts at the same moment that expect the same position the second is
  dropped whole, even if its rows are others.

How many rows an insert wrote does not tell which of the two happened: the position is read back, and whoever lost goes
on from there.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from sinks.clickhouse import ClickHouseRefused, Store
from sinks.columns import Columns

# One insert is one part up to here, as the engine was measured.
MOST_ROWS = 500_000
STAGING = "staging_"
UNKNOWN_TABLE = 60
# A part that was lost leaves its token behind: so many others are tried.
TOKENS = 4
# How often rows must be missing in a row before somebody hides them.
LOOKS = 3


class Appender:
    """Appends to one table. Blocks; one thread at a time.

    All methods may raise `ClickHouseAway` and `ClickHouseRefused`. After either, whether the rows are in is not known:
    read the position again, or just append again.
    """

    def __init__(self, store: Store, table: str, scope: Mapping[str, str] | None = None) -> None:
        """Make an appender.

        Args:
            store: a connection that nobody else uses.
            table: its name.
            scope: further columns and values that, with the partition, say whose position it is.
        """
        self._store = store
        self._table = table
        self._scope = dict(scope or {})
        self._staging = f"{STAGING}{table}_{uuid.uuid4().hex}"
        # Of the staging table's columns, once it was made.
        self._types: dict[str, str] = {}
        self._loads = 0
        self._staged = False

    def position(self, partition: int) -> int | None:
        """Offset of the last row of a partition; None if it has none.

        Raises:
            RowsHidden: the table has rows that we are not shown, so the position is not known.
        """
        self._refuse_hidden_rows()
        return self._read_position(partition)

    def append(self, partition: int, columns: Columns, expected: int | None) -> int | None:
        """Append rows of one partition, unless they are there.

        Args:
            partition: Kafka's.
            columns: every column, ``kafka_offset`` ascending.
            expected: the position as last seen.

        Returns:
            the position now: at least the last row's offset, or ``expected`` where there are no new rows.

        Raises:
            PositionMoved: the position went back: rows are gone, and appending would leave a hole.
            RowsHidden: the table has rows that we are not shown.
        """
        offsets = columns["kafka_offset"]
        tries = 0
        while (start := 0 if expected is None else bisect_right(offsets, expected)) < len(offsets):
            rows = {name: values[start : start + MOST_ROWS] for name, values in columns.items()}
            self._swap(partition, rows, expected, tries)
            position = self._read_position(partition)
            if position != rows["kafka_offset"][-1]:
                # What is there and only hidden from us must not come in again, be it with another token.
                self._refuse_hidden_rows()
            if position == expected:
                tries += 1
                if tries == TOKENS:
                    raise ClickHouseRefused(f"table {self._table} does not take the rows after {expected}")
                continue
            if position is None or (expected is not None and position < expected):
                raise PositionMoved(
                    f"table {self._table}: rows of partition {partition} were there up to offset {expected}, now only "
                    f"up to {position}; the sink has to start again from what is left"
                )
            expected, tries = position, 0
        return expected

    def close(self) -> None:
        """Drop the staging table and disconnect."""
        try:
            if self._types:
                self._store.command(f"DROP TABLE IF EXISTS {self._staging}")
        finally:
            self._store.close()

    def _swap(self, partition: int, rows: Columns, expected: int | None, tries: int) -> None:
        """Insert the rows if the position is the expected one and nobody else does so at this moment."""
        if not self._types:
            self._make_staging()
        try:
            self._stage(rows)
        except ClickHouseRefused as error:
            if error.code != UNKNOWN_TABLE:
                raise
            # A later sink took it for one of the dead.
            self._make_staging()
            self._stage(rows)
        count = len(rows["kafka_offset"])
        # Sorted by all columns, as the engine demands for a token; the offset first, for it decides at once.
        names = ", ".join(f"`{name}`" for name in sorted(self._types, key=lambda name: name != "kafka_offset"))
        token = ":".join([*self._scope.values(), str(partition), str(expected), *([str(tries)] if tries else [])])
        self._store.command(
            f"INSERT INTO {self._table} ({names}) SETTINGS async_insert = 0, insert_deduplicate = 1,"
            f" deduplicate_insert_select = 'force_enable', insert_deduplication_token = '{token}',"
            # All rows are one block, and so one part, which is there as a whole or not at all.
            " max_insert_threads = 1, min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 0"
            f" SELECT {names} FROM {self._staging} WHERE load_id = {self._loads}"
            f" AND (SELECT count() FROM {self._staging} WHERE load_id = {self._loads}) = {count}"
            f" AND (SELECT {self._largest_offset}) IS NOT DISTINCT FROM {{expected:Nullable(Int64)}} ORDER BY ALL",
            {"expected": expected, **self._whose(partition)},
        )
        self._store.command(f"TRUNCATE TABLE {self._staging}")
        self._staged = False

    def _stage(self, rows: Columns) -> None:
        """Fill the staging table, which has nothing else in it but what late inserts bring."""
        if self._staged:
            self._store.command(f"TRUNCATE TABLE {self._staging}")
        self._staged = True
        # Told apart by load: an insert that timed out here may still arrive there.
        self._loads += 1
        told = {name: values for name, values in rows.items() if not _only_default(values, self._types[name])}
        loads = {"load_id": [self._loads] * len(rows["kafka_offset"])}
        self._store.insert(self._staging, {**loads, **told}, {"load_id": "UInt64", **self._types})

    def _make_staging(self) -> None:
        listed = self._store.rows(
            "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
            " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position",
            {"table": self._table},
        )
        self._types = {row["name"]: row["type"] for row in listed}
        staged = ", ".join(f"`{name}` {kind}" for name, kind in self._types.items())
        self._store.command(f"CREATE TABLE IF NOT EXISTS {self._staging} (load_id UInt64, {staged}) ENGINE = Memory")

    def _read_position(self, partition: int) -> int | None:
        position: int | None = self._store.value(f"SELECT {self._largest_offset}", self._whose(partition))
        return position

    def _refuse_hidden_rows(self) -> None:
        """See that we are shown every row of the table. Both numbers are metadata: no row is read."""
        for _ in range(LOOKS):
            stored = self._store.value(
                "SELECT total_rows FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
                {"table": self._table},
            )
            shown = self._store.value(f"SELECT count() FROM {self._table}")
            # What is inserted in between makes more of them; only a merge that replaces rows makes fewer.
            if stored is None or shown >= stored:
                return
        raise RowsHidden(
            f"table {self._table} has {stored} rows, of which this user is shown {shown}: a row policy applies to it, "
            "so the sink cannot know what is stored. Exempt its user from the policy"
        )

    @property
    def _largest_offset(self) -> str:
        scope = "".join(f" AND {name} = {{{name}:String}}" for name in self._scope)
        return f"maxOrNull(kafka_offset) FROM {self._table} WHERE kafka_partition = {{partition:Int32}}{scope}"

    def _whose(self, partition: int) -> dict[str, Any]:
        return {"partition": partition, **self._scope}


def _only_default(values: Sequence[Any], kind: str) -> bool:
    """Whether a column has nothing in it but what it has if it is not written."""
    return values.count(None) == len(values) if kind.startswith("Nullable") else not any(values)


class PositionMoved(ClickHouseRefused):
    """Rows that were in a table are gone."""


class RowsHidden(ClickHouseRefused):
    """A row policy applies to the user of the sink."""


def drop_orphans(store: Store) -> None:
    """Drop staging tables of sinks that died: in the embedded engine all there are, on a server those of yesterday.

    Must be called before this process makes any. A sink that still lives makes its own again.
    """
    age = "" if store.embedded else " AND metadata_modification_time < now() - INTERVAL 1 DAY"
    orphans = store.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase()"
        f" AND engine = 'Memory' AND startsWith(name, '{STAGING}'){age}"
    )
    for orphan in orphans:
        store.command(f"DROP TABLE IF EXISTS {orphan['name']}")
