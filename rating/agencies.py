"""The second fold: what all partitions tell about agencies becomes their totals.

The same protocol as the first one (`rating.fold`): records in, outputs, state and position out. Its clock is the
earliest of the source partitions' latest ticks, so nothing closes before the slowest of them has delivered. An agency's
period closes an hour after its end by that clock; what comes later counts in the newest open period, as late.

Nothing here raises for bad input; an exception is a defect.
"""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from rating.agency import Agency, Span, Totals
from rating.agency_caps import new_alerts, off_now
from rating.agency_facts import AgencyCapsSet, AgencyTick, Delta, Wallet, decode
from rating.agency_sums import NO_SCHEDULES, span_at
from rating.facts import AgencyAccess, Undecodable
from rating.outputs import ALERTS, DEAD_LETTERS, DeadLetter, Output, encode
from rating.partitioner import partition_of
from rating.period import EPOCH, day_of, stamp, unix_micros
from rating.versions import Layout, StateError

AGENCY_EVENTS = "agency-events"
LATE_WINDOW = timedelta(hours=1)

AGENCY_STATE = Layout("agency")
TOTALS_STATE = Layout("agency totals")
AGENCY_POSITION_STATE = Layout("agency position")
AGENCY = b"agency\0"
TOTALS = b"totals\0"
POSITION = b"position"


class AgencyPosition(msgspec.Struct, array_like=True):
    """Offset of the next record; latest tick of each source partition, in unix microseconds."""

    offset: int
    clocks: list[tuple[int, int]]


class TotalsRow(msgspec.Struct, array_like=True):
    """Totals of one agency, period and currency, as ClickHouse shows them."""

    agency_id: str
    period_start: datetime
    period_end: datetime
    currency: str
    closed: bool
    totals: Totals


class Forward(NamedTuple):
    """A record that belongs to another partition: its number, the key there, the bytes, the offset here."""

    partition: int
    key: bytes
    value: bytes
    offset: int


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_agency = msgspec.msgpack.Decoder(Agency).decode
_decode_position = msgspec.msgpack.Decoder(AgencyPosition).decode
_decode_totals = msgspec.msgpack.Decoder(TotalsRow).decode


class AgencyFold:
    """The second fold, of one partition of ``agency-events``.

    Attributes:
        position: offset of the next record to fold.
        outputs: what the records gave out; whoever takes it clears it.
        facts: ``agency.access`` facts, each for every partition of ``account-events``; whoever takes them clears them.
        forwards: records that belong elsewhere, to be written there in the same transaction.
        clock: the earliest of the source partitions' latest ticks; None until each had one.
    """

    def __init__(self, partition: int, partitions: int) -> None:
        """Start without agencies.

        Args:
            partition: number of this partition.
            partitions: how many there are, of this topic and of the sources.
        """
        self.partition = partition
        self.partitions = partitions
        self.position = 0
        self.outputs: list[Output] = []
        self.facts: list[bytes] = []
        self.forwards: list[Forward] = []
        self.clock: datetime | None = None
        self.agencies: dict[str, Agency] = {}
        self._clocks: dict[int, int] = {}
        self._due: list[tuple[int, str]] = []
        self._offset = 0
        self._touched: dict[str, Agency] = {}
        self._totals: dict[tuple[str, datetime, str], TotalsRow] = {}

    # -- folding

    def fold(self, value: bytes | None, offset: int, key: bytes | None = None, forwarded: bool = False) -> None:
        """Fold one record; ``forwarded``: another partition passed it on to this one."""
        self._offset = offset
        try:
            fact = decode(value)
            if isinstance(fact, AgencyTick):
                self._tick(fact)
            elif isinstance(fact, AgencyCapsSet):
                self._set_caps(fact, value, forwarded)
            else:
                agency = self._agency(fact.agency_id)
                if isinstance(fact, Delta):
                    self._add(agency, fact)
                else:
                    self._fill(agency, fact)
        except Undecodable as refused:
            self._dead_letter(refused.reason, str(refused), value, key)
        self.position = offset + 1

    def _tick(self, tick: AgencyTick) -> None:
        micros = unix_micros(tick.at)
        if not 0 <= tick.source_partition < self.partitions:
            raise Undecodable("malformed", f"there is no partition {tick.source_partition}")
        if micros <= self._clocks.get(tick.source_partition, -1):
            return
        self._clocks[tick.source_partition] = micros
        if len(self._clocks) < self.partitions:
            return
        now = EPOCH + timedelta(microseconds=min(self._clocks.values()))
        if self.clock is not None and now <= self.clock:
            return
        if self.clock is None:
            # Only now there is a day to look at.
            for agency in self.agencies.values():
                agency.next_due = 0
                heapq.heappush(self._due, (0, agency.agency_id))
        self.clock = now
        limit = unix_micros(now)
        while self._due and self._due[0][0] <= limit:
            due, agency_id = heapq.heappop(self._due)
            agency = self.agencies[agency_id]
            if agency.next_due == due:
                agency.next_due = None
                self._advance(agency, now)
                self._review(agency, now)

    def _add(self, agency: Agency, delta: Delta) -> None:
        late = agency.closed_until is not None and delta.period_end <= agency.closed_until
        period = self._newest(agency) if late else self._period(agency, delta.period_start, delta.period_end)
        period.of(delta.currency).add(delta, late)
        self._note(agency, period, delta.currency)
        if delta.day_start is not None and delta.day_end is not None:
            day = next((one for one in agency.days if one.start == delta.day_start), None)
            over = self.clock is not None and delta.day_end <= self.clock
            if day is None and not over:
                day = Span(start=delta.day_start, end=delta.day_end)
                agency.days.append(day)
                agency.days.sort(key=lambda one: one.start)
            if day is not None:
                day.of(delta.currency).add(delta)
        self._review(agency, delta.at)

    def _fill(self, agency: Agency, wallet: Wallet) -> None:
        agency.wallet_s += wallet.wallet_s
        self._review(agency, wallet.at)

    def _set_caps(self, fact: AgencyCapsSet, value: bytes | None, forwarded: bool) -> None:
        right = partition_of(fact.agency_id.encode(), self.partitions)
        if right != self.partition:
            if forwarded:
                raise Undecodable("misrouted", f"belongs to partition {right} and was forwarded here before")
            assert value is not None
            self.forwards.append(Forward(right, fact.agency_id.encode(), value, self._offset))
            return
        agency = self._agency(fact.agency_id)
        if fact.fact_id in agency.fact_ids:
            return
        agency.fact_ids.add(fact.fact_id)
        agency.caps = fact.caps
        if not agency.periods:
            self._newest(agency, fact.at)
        self._review(agency, fact.at)

    # -- periods and days

    def _agency(self, agency_id: str) -> Agency:
        agency = self.agencies.get(agency_id)
        if agency is None:
            agency = self.agencies[agency_id] = Agency(agency_id=agency_id)
        return agency

    def _period(self, agency: Agency, start: datetime, end: datetime) -> Span:
        """The open period that starts then; it is opened if there is none."""
        for period in reversed(agency.periods):
            if period.start == start:
                return period
        period = Span(start=start, end=end)
        agency.periods.append(period)
        agency.periods.sort(key=lambda one: one.start)
        return period

    def _newest(self, agency: Agency, at: datetime | None = None) -> Span:
        """The newest open period; if none is open, the one that the clock is in."""
        newest = agency.newest
        if newest is None:
            now = self.clock or at
            assert now is not None
            start, end, _ = span_at(NO_SCHEDULES, now)
            newest = self._period(agency, start, end)
        return newest

    def _today(self, agency: Agency, now: datetime) -> None:
        """Have the day of the clock, though nothing may have been told of it yet."""
        if not any(day.start <= now < day.end for day in agency.days):
            start, end = day_of(now, span_at(NO_SCHEDULES, now)[2])
            agency.days.append(Span(start=start, end=end))
            agency.days.sort(key=lambda one: one.start)

    def _advance(self, agency: Agency, now: datetime) -> None:
        """Periods open and close, and days are over, in the order of time."""
        while agency.periods:
            newest, oldest = agency.periods[-1], agency.periods[0]
            if newest.end <= now and newest.end <= oldest.end + LATE_WINDOW:
                start, end, _ = span_at(NO_SCHEDULES, newest.end)
                self._period(agency, max(start, newest.end), end)
            elif oldest.end + LATE_WINDOW <= now:
                self._close(agency, oldest)
            else:
                break
        agency.days = [day for day in agency.days if day.end > now]

    def _close(self, agency: Agency, period: Span) -> None:
        agency.periods.remove(period)
        agency.closed_until = period.end if agency.closed_until is None else max(agency.closed_until, period.end)
        for currency in period.totals:
            self._note(agency, period, currency, closed=True)

    def _schedule(self, agency: Agency) -> None:
        times = [day.end for day in agency.days]
        if agency.periods:
            times += [agency.periods[-1].end, agency.periods[0].end + LATE_WINDOW]
        due = unix_micros(min(times)) if times else None
        if due != agency.next_due:
            agency.next_due = due
            if due is not None:
                heapq.heappush(self._due, (due, agency.agency_id))

    # -- caps

    def _review(self, agency: Agency, at: datetime) -> None:
        """After anything happened to an agency: levels fired, accounts told to be off or no longer."""
        if self.clock is not None and any(cap.per == "day" for cap in agency.caps):
            self._today(agency, self.clock)
        for alert in new_alerts(agency, self.clock, at) if agency.caps else ():
            content = {**alert, "source_partition": self.partition, "source_offset": self._offset}
            self.outputs.append((ALERTS, agency.agency_id.encode(), encode(content)))
        reached = off_now(agency, self.clock)
        if (reached is not None) != agency.off:
            agency.off = reached is not None
            agency.accesses += 1
            access = AgencyAccess(
                fact_id=f"agency.access:{agency.accesses}",
                agency_id=agency.agency_id,
                at=at,
                sequence=agency.accesses,
                allowed=not agency.off,
            )
            self.facts.append(encode(access))
        self._schedule(agency)
        self._touched[agency.agency_id] = agency

    # -- what is not folded

    def _dead_letter(self, reason: str, detail: str, value: bytes | None, key: bytes | None) -> None:
        letter = DeadLetter(reason, detail, AGENCY_EVENTS, self.partition, self._offset, value, self.clock)
        self.outputs.append((DEAD_LETTERS, key, letter))

    # -- the ledger

    def _note(self, agency: Agency, period: Span, currency: str, closed: bool = False) -> None:
        """Have the totals of a period written as a row with this transaction."""
        row = TotalsRow(agency.agency_id, period.start, period.end, currency, closed, period.totals[currency])
        self._totals[agency.agency_id, period.start, currency] = row

    def drain_ledger(self) -> list[tuple[bytes, bytes]]:
        """What is to be written to the ledger now: (key, value), the position last."""
        records = [
            (AGENCY + agency_id.encode(), AGENCY_STATE.prefix + _encode(agency))
            for agency_id, agency in self._touched.items()
        ]
        for (agency_id, start, currency), row in self._totals.items():
            key = f"{agency_id}\0{stamp(start)}\0{currency}".encode()
            records.append((TOTALS + key, TOTALS_STATE.prefix + _encode(row)))
        position = AgencyPosition(self.position, sorted(self._clocks.items()))
        records.append((POSITION, AGENCY_POSITION_STATE.prefix + _encode(position)))
        self._touched.clear()
        self._totals.clear()
        return records

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the ledger, oldest first.

        Raises:
            StateError: the record cannot be read.
        """
        if value is None:
            raise StateError("an agency ledger record without a value")
        try:
            if key.startswith(AGENCY):
                agency = _decode_agency(memoryview(AGENCY_STATE.upgraded(value))[1:])
                if agency.agency_id.encode() != key[len(AGENCY) :]:
                    raise StateError("agency record: it is another agency's")
                self.agencies[agency.agency_id] = agency
            elif key == POSITION:
                position = decode_agency_position(value)
                self.position, self._clocks = position.offset, dict(position.clocks)
            elif not key.startswith(TOTALS):
                raise StateError("a record of an unknown kind")
        except msgspec.MsgspecError as error:
            raise StateError(f"agency ledger: {error}") from None

    def restored(self) -> None:
        """The ledger was read to its end: find out what is due when."""
        if len(self._clocks) == self.partitions:
            self.clock = EPOCH + timedelta(microseconds=min(self._clocks.values()))
        self._due = [(one.next_due, agency_id) for agency_id, one in self.agencies.items() if one.next_due is not None]
        heapq.heapify(self._due)


def decode_agency_position(value: bytes) -> AgencyPosition:
    """Where an agency ledger stands, from its position record's value.

    Raises:
        StateError, msgspec.MsgspecError: it cannot be read.
    """
    return _decode_position(memoryview(AGENCY_POSITION_STATE.upgraded(value))[1:])


def totals_row(key: bytes, value: bytes) -> dict[str, Any] | None:
    """Totals of an agency, a period and a currency as a flat row; None for records of another kind.

    Raises:
        StateError: the record cannot be read.
    """
    if not key.startswith(TOTALS):
        return None
    try:
        row = _decode_totals(memoryview(TOTALS_STATE.upgraded(value))[1:])
    except msgspec.MsgspecError as error:
        raise StateError(f"agency totals record: {error}") from None
    return {
        "agency_id": row.agency_id,
        "period_start": row.period_start,
        "period_end": row.period_end,
        "currency": row.currency,
        "closed": row.closed,
        **msgspec.structs.asdict(row.totals),
    }
