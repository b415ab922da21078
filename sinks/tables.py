"""Which topic goes to which table, how its records are read, and what is no row of it but a reject."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import msgspec
from aiokafka.structs import ConsumerRecord

from rating.agencies import totals_row
from rating.ledger import account_row
from rating.versions import NewerState, StateError
from sinks import rows
from sinks.columns import Columns, ColumnsOf, nested_columns, struct_columns, union_columns
from streams import topics
from streams.restore import unreadable

REJECTS = "sink_rejects"
# Records that are read and taken apart together: as many as stay in the processor's cache.
BLOCK = 500


class Unreadable(Exception):
    """A record is no record of its topic; the text says why."""


class Reject(NamedTuple):
    """A record that is no record of its topic, and why."""

    record: ConsumerRecord
    error: str


class Chunk(NamedTuple):
    """Records of one partition, turned into columns.

    Attributes:
        columns: name to values, all of the same length; ``kafka_offset`` ascends. Times are integer microseconds,
            ``recorded_at`` milliseconds.
        rejects: the records that could not be read, in order.
    """

    columns: Columns
    rejects: list[Reject]


@dataclass(frozen=True)
class Table:
    """Where a topic's records go.

    Attributes:
        name: of the table.
        topic: without prefix.
        read: a record to what its row is made of, or None if it gives no row. Raises Unreadable or a msgspec error.
        columns_of: that to columns.
        compacted: the topic is compacted: what is missing from it was overtaken, not lost.
        timed: rows have ``recorded_at``, the broker's time of the record.
        last_of_key: only the last record of each key in a chunk counts.
    """

    name: str
    topic: str
    read: Callable[[ConsumerRecord], Any]
    columns_of: ColumnsOf
    compacted: bool = False
    timed: bool = False
    last_of_key: bool = False

    def chunk(self, records: Sequence[ConsumerRecord]) -> Chunk:
        """Turn records of one partition, in order, into columns and rejects."""
        if self.last_of_key:
            last = {record.key: record for record in records}
            records = [record for record in records if last[record.key] is record]
        chunk = Chunk({name: [] for name in self._columns([], [])}, [])
        for start in range(0, len(records), BLOCK):
            kept, decoded = self._read(records[start : start + BLOCK], chunk.rejects)
            for name, values in self._columns(kept, decoded).items():
                chunk.columns[name].extend(values)
        return chunk

    def _read(
        self, records: Sequence[ConsumerRecord], rejects: list[Reject]
    ) -> tuple[Sequence[ConsumerRecord], list[Any]]:
        """The records that give rows, and what these are made of."""
        read = self.read
        try:
            decoded = [read(record) for record in records]
            if None not in decoded:
                return records, decoded
        except (Unreadable, msgspec.MsgspecError):
            pass
        kept, decoded = [], []
        for record in records:
            try:
                row = read(record)
            except (Unreadable, msgspec.MsgspecError) as error:
                rejects.append(Reject(record, str(error)))
                continue
            if row is not None:
                kept.append(record)
                decoded.append(row)
        return kept, decoded

    def _columns(self, kept: Sequence[ConsumerRecord], decoded: list[Any]) -> Columns:
        columns = self.columns_of(decoded)
        columns["kafka_partition"] = [record.partition for record in kept]
        columns["kafka_offset"] = [record.offset for record in kept]
        if self.timed:
            columns["recorded_at"] = [record.timestamp for record in kept]
        return columns


def reject_columns(topic: str, rejects: Sequence[Reject]) -> Columns:
    """Rejects of one partition as columns of ``sink_rejects``."""
    return {
        "kafka_topic": [topic] * len(rejects),
        "kafka_partition": [reject.record.partition for reject in rejects],
        "kafka_offset": [reject.record.offset for reject in rejects],
        "recorded_at": [reject.record.timestamp for reject in rejects],
        "error": [reject.error for reject in rejects],
        "key": [reject.record.key for reject in rejects],
        "value": [reject.record.value for reject in rejects],
    }


def _json(kind: Any) -> Callable[[ConsumerRecord], Any]:
    decode = msgspec.json.Decoder(kind).decode

    def read(record: ConsumerRecord) -> Any:
        if record.value is None:
            raise Unreadable("a tombstone")
        return decode(record.value)

    return read


def _dead_letter(record: ConsumerRecord) -> rows.DeadLetterRow:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    try:
        return rows.DeadLetterRow(
            reason=headers["reason"],
            detail=headers["detail"],
            account_id=(record.key or b"").decode("utf-8", "replace"),
            source_topic=headers["topic"],
            source_partition=msgspec.convert(int(headers["partition"]), rows.Partition),
            source_offset=msgspec.convert(int(headers["offset"]), rows.Whole),
            value=record.value,
        )
    except KeyError as error:
        raise Unreadable(f"no header {error}") from None
    except ValueError as error:
        raise Unreadable(f"headers partition and offset: {error}") from None


def _state(
    row_of: Callable[[bytes, bytes], dict[str, Any] | None], kind: Callable[..., Any]
) -> Callable[[ConsumerRecord], Any]:
    """Reads the records of a ledger that are rows of a table."""

    def read(record: ConsumerRecord) -> Any:
        if record.key is None or record.value is None:
            return None
        try:
            row = row_of(record.key, record.value)
        except NewerState as error:
            # Not the record is wrong here, we are: the sink ends, rather than leave rows out of its table.
            raise unreadable(record, error) from None
        except StateError as error:
            raise Unreadable(str(error)) from None
        return None if row is None else kind(**row)

    return read


def _plain(name: str, topic: str, kind: Any, compacted: bool = False, timed: bool = False) -> Table:
    return Table(name, topic, _json(kind), struct_columns(kind), compacted, timed)


TABLES = (
    _plain("rated_calls", topics.RATED_CALLS, rows.RatedCallRow),
    Table(
        "billing_events",
        topics.BILLING_EVENTS,
        _json(rows.AnyBillingEvent),
        union_columns(rows.BillingEvent, get_args(rows.AnyBillingEvent)),
    ),
    _plain("alerts", topics.ALERTS, rows.Alert),
    _plain("access_events", topics.ACCESS_EVENTS, rows.AccessChanged, compacted=True),
    Table(
        "payment_requests",
        topics.PAYMENT_REQUESTS,
        _json(rows.PaymentRequest),
        nested_columns(rows.PaymentRequest, "lines", rows.RequestLine),
        compacted=True,
    ),
    _plain("duplicates", topics.DUPLICATES, rows.Duplicate, timed=True),
    Table("dead_letters", topics.DEAD_LETTERS, _dead_letter, struct_columns(rows.DeadLetterRow), timed=True),
    Table(
        "accounts",
        topics.LEDGER,
        _state(account_row, rows.AccountRow),
        struct_columns(rows.AccountRow),
        compacted=True,
        last_of_key=True,
    ),
    Table(
        "agency_totals",
        topics.AGENCY_LEDGER,
        _state(totals_row, rows.AgencyTotalsRow),
        struct_columns(rows.AgencyTotalsRow),
        compacted=True,
        last_of_key=True,
    ),
)
