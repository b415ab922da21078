"""The second fold: what all partitions tell about agencies becomes their totals.

The same protocol as the first one (`rating.fold`): records in, outputs, state and position out. Its clock is the
earliest of the source partitions' latest ticks, so nothing closes before the slowest of them has delivered. An agency's
period closes an hour after its end by that clock; what comes later counts in the newest open period, as late. Periods
that have wholesale terms are asked for, see `rating.agency_billing`.

Nothing here raises for bad input; an exception is a defect.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from rating import agency_billing, agency_requests
from rating.account import Request
from rating.agency import Agency, AgencyHistory, Rental, Span, Totals
from rating.agency_caps import new_alerts, off_now
from rating.agency_facts import (
    AgencyCapsSet,
    AgencyFact,
    AgencyNumberReleased,
    AgencyNumberRented,
    AgencyRequest,
    AgencyRequestChange,
    AgencyRequestCorrected,
    AgencyRequestCreated,
    AgencyRequestSettled,
    AgencyTick,
    AgencyWholesaleSet,
    Decided,
    Delta,
    Wallet,
    WholesaleSums,
    decode,
)
from rating.books import Refusal
from rating.facts import AgencyAccess, PaymentRequestNumbered, Undecodable
from rating.outputs import ALERTS, BILLING_EVENTS, DEAD_LETTERS, PAYMENT_REQUESTS, DeadLetter, Output, encode
from rating.partitioner import partition_of
from rating.period import EPOCH, day_of, stamp, unix_micros
from rating.schedules import NO_SCHEDULES, Schedule, add_version, schedules_of, span_at
from rating.versions import Layout, StateError, same

AGENCY_EVENTS = "agency-events"
LATE_WINDOW = timedelta(hours=1)

# 2: wholesale terms of a period, and what calls in it cost. 3: numbers of payment requests.
AGENCY_STATE = Layout("agency", version=3, upgrades={1: same, 2: same})
# 2: what was settled of its payment requests, and their numbers.
AGENCY_HISTORY_STATE = Layout("agency history", version=2, upgrades={1: same})
NUMBER_STATE = Layout("number of an agency")
TOTALS_STATE = Layout("agency totals")
AGENCY_POSITION_STATE = Layout("agency position")
AGENCY = b"agency\0"
AGENCY_HISTORY = b"history\0"
NUMBER = b"number\0"
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


class Numbered(NamedTuple):
    """A ``payment_request.numbered`` fact for ``account-events``: the partition and the key there, the bytes."""

    partition: int
    key: bytes
    value: bytes


class Forward(NamedTuple):
    """A record that belongs to another partition: its number, the key there, the bytes, the offset here."""

    partition: int
    key: bytes
    value: bytes
    offset: int


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_agency = msgspec.msgpack.Decoder(Agency).decode
_decode_position = msgspec.msgpack.Decoder(AgencyPosition).decode
_decode_history = msgspec.msgpack.Decoder(AgencyHistory).decode
_decode_number = msgspec.msgpack.Decoder(tuple[str, str, str]).decode
_decode_rentals = msgspec.msgpack.Decoder(list[Rental]).decode
_decode_totals = msgspec.msgpack.Decoder(TotalsRow).decode


class AgencyFold:
    """The second fold, of one partition of ``agency-events``.

    Attributes:
        position: offset of the next record to fold.
        outputs: what the records gave out; whoever takes it clears it.
        facts: ``agency.access`` facts, each for every partition of ``account-events``; whoever takes them clears them.
        numbered: numbers of payment requests, for ``account-events``; whoever takes them clears them.
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
        self.numbered: list[Numbered] = []
        self.forwards: list[Forward] = []
        self.clock: datetime | None = None
        self.agencies: dict[str, Agency] = {}
        self._clocks: dict[int, int] = {}
        self._due: list[tuple[int, str]] = []
        self._offset = 0
        self._touched: dict[str, Agency] = {}
        self.histories: dict[str, AgencyHistory] = {}
        self._touched_histories: set[str] = set()
        # By agency, and by account and number.
        self._rentals: dict[str, dict[tuple[str, str], list[Rental]]] = {}
        self._touched_rentals: set[tuple[str, str, str]] = set()
        self._schedules: dict[str, tuple[Schedule, ...]] = {}
        self._totals: dict[tuple[str, datetime, str], TotalsRow] = {}

    # -- folding

    def fold(self, value: bytes | None, offset: int, key: bytes | None = None, forwarded: bool = False) -> None:
        """Fold one record; ``forwarded``: another partition passed it on to this one."""
        self._offset = offset
        try:
            fact = decode(value)
            if isinstance(fact, AgencyTick):
                self._tick(fact)
            elif isinstance(fact, AgencyRequest):
                self._check_partition(fact.source_partition)
                self._number(self._agency(fact.agency_id), fact)
            elif not isinstance(fact, Decided) or not self._belongs_elsewhere(fact, value, forwarded):
                self._agency_fact(self._agency(fact.agency_id), fact)
        except (Undecodable, Refusal) as refused:
            self._dead_letter(refused.reason, str(refused), value, key)
        self.position = offset + 1

    def _agency_fact(self, agency: Agency, fact: AgencyFact) -> None:
        match fact:
            case Delta():
                self._add(agency, fact)
            case Wallet():
                agency.wallet_s += fact.wallet_s
                self._review(agency, fact.at)
            case AgencyWholesaleSet():
                self._set_wholesale(agency, fact)
            case AgencyNumberRented():
                self._rent(agency, fact)
            case AgencyNumberReleased():
                self._release(agency, fact)
            case AgencyCapsSet():
                self._set_caps(agency, fact)
            case AgencyRequestCreated() | AgencyRequestSettled() | AgencyRequestCorrected():
                self._request(agency, fact)

    def _tick(self, tick: AgencyTick) -> None:
        micros = unix_micros(tick.at)
        self._check_partition(tick.source_partition)
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

    def _check_partition(self, partition: int) -> None:
        if not 0 <= partition < self.partitions:
            raise Undecodable("malformed", f"there is no partition {partition}")

    def _add(self, agency: Agency, delta: Delta) -> None:
        period, late = self._place(agency, delta.period_start, delta.at)
        period.of(delta.currency).add(delta, late)
        if delta.wholesale:
            period.wholesale = (period.wholesale or WholesaleSums()).plus(delta.wholesale)
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

    def _number(self, agency: Agency, request: AgencyRequest) -> None:
        """Give a request the next number of its year. State, position and fact are one transaction: there is no gap."""
        year = str(request.year)
        last = agency.numbers[year] = agency.numbers.get(year, 0) + 1
        number = f"{year}-{last:06d}"
        fact = PaymentRequestNumbered(
            fact_id=f"number:{number}",
            account_id=request.account_id,
            agency_id=agency.agency_id,
            at=request.at,
            payment_request_id=request.payment_request_id,
            number=number,
        )
        self.numbered.append(Numbered(request.source_partition, request.account_id.encode(), encode(fact)))
        self._touched[agency.agency_id] = agency

    def _set_caps(self, agency: Agency, fact: AgencyCapsSet) -> None:
        if fact.fact_id in agency.fact_ids:
            return
        agency.fact_ids.add(fact.fact_id)
        agency.caps = fact.caps
        if agency.newest is None:
            self._open(agency, self.clock or fact.at, fact.at)
        self._review(agency, fact.at)

    def _belongs_elsewhere(self, fact: Decided, value: bytes | None, forwarded: bool) -> bool:
        right = partition_of(fact.agency_id.encode(), self.partitions)
        if right == self.partition:
            return False
        if forwarded:
            raise Undecodable("misrouted", f"belongs to partition {right} and was forwarded here before")
        assert value is not None
        self.forwards.append(Forward(right, fact.agency_id.encode(), value, self._offset))
        return True

    # -- wholesale

    def _set_wholesale(self, agency: Agency, fact: AgencyWholesaleSet) -> None:
        """Wholesale terms: each partition tells of them before it sums up by them, and the first one counts."""
        history = self._history(agency)
        if fact.fact_id in history.fact_ids:
            return
        self._changed_history(agency).fact_ids.add(fact.fact_id)
        add_version(history.versions, fact.at, fact.terms)
        schedules = self._schedules[agency.agency_id] = schedules_of(history.versions)
        newest, at = agency.newest, self.clock or fact.at
        if newest is None and self.clock is None:
            self._open_next(agency, at)
        elif newest is not None and newest.terms is None:
            laid = span_at(schedules, newest.start)
            newest.end = min(newest.end, laid.end) if laid.schedule.terms is None else laid.end
            self._ask_for(agency, newest, laid.schedule, at)
        if self.clock is not None:
            self._advance(agency, self.clock)
        self._review(agency, at)

    def _ask_for(self, agency: Agency, period: Span, schedule: Schedule, at: datetime) -> None:
        """Say that a period opened that the platform asks something for."""
        if schedule.terms is not None:
            content = agency_billing.opened(self._changed_history(agency), period, schedule)
            self._emit_billing("agency.cycle_opened", agency, at, content)

    def _rent(self, agency: Agency, fact: AgencyNumberRented) -> None:
        begins = fact.at.astimezone(UTC)
        if agency.closed_until is not None:
            # Closed periods were asked for.
            begins = max(begins, agency.closed_until)
        self._rentals_of(agency, fact).append(Rental(begins))

    def _release(self, agency: Agency, fact: AgencyNumberReleased) -> None:
        for rental in self._rentals_of(agency, fact):
            if rental.released_at is None:
                rental.released_at = fact.at.astimezone(UTC)

    def _rentals_of(self, agency: Agency, fact: AgencyNumberRented | AgencyNumberReleased) -> list[Rental]:
        self._touched_rentals.add((agency.agency_id, fact.account_id, fact.number))
        of_agency = self._rentals.setdefault(agency.agency_id, {})
        return of_agency.setdefault((fact.account_id, fact.number), [])

    def _settle(self, agency: Agency, period: Span, at: datetime) -> None:
        """Ask for what was used in a period, and let go of numbers that are settled with it."""
        of_agency = self._rentals.get(agency.agency_id, {})
        if period.terms is not None:
            rentals = [one for several in of_agency.values() for one in several]
            content = agency_billing.closed(self._changed_history(agency), period, rentals)
            self._emit_billing("agency.cycle_closed", agency, at, content)
        elif period.wholesale is not None:
            # Terms that are told of late: what nobody is asked for here is asked for with the next period.
            newest = agency.periods[-1]
            newest.wholesale = (newest.wholesale or WholesaleSums()).plus(period.wholesale)
        for (account_id, number), rentals in list(of_agency.items()):
            left = [
                one
                for one in rentals
                if one.released_at is None or one.released_at > period.end or one.rented_at >= period.end
            ]
            if len(left) < len(rentals):
                self._touched_rentals.add((agency.agency_id, account_id, number))
                of_agency[account_id, number] = left
                if not left:
                    del of_agency[account_id, number]

    def _request(self, agency: Agency, fact: AgencyRequestChange) -> None:
        """What is told of a payment request to an agency."""
        history = self._history(agency)
        if fact.fact_id in history.fact_ids:
            return
        self._emit_requests(agency, agency_requests.change(history, fact))
        history.fact_ids.add(fact.fact_id)
        self._schedule(agency)
        self._touched[agency.agency_id] = agency

    def _emit_requests(self, agency: Agency, requests: Iterable[Request]) -> None:
        """Give out payment requests to an agency as they now stand."""
        self._changed_history(agency)
        for one in requests:
            told = msgspec.structs.asdict(one)
            value = {**told, "source_partition": self.partition, "source_offset": self._offset}
            self.outputs.append((PAYMENT_REQUESTS, one.payment_request_id.encode(), encode(value)))

    def _emit_billing(self, kind: str, agency: Agency, at: datetime, content: dict[str, Any]) -> None:
        value = {
            "type": kind,
            "account_id": "",
            "agency_id": agency.agency_id,
            "subscription_id": "",
            "at": at.astimezone(UTC),
            **content,
            "source_partition": self.partition,
            "source_offset": self._offset,
        }
        self.outputs.append((BILLING_EVENTS, agency.agency_id.encode(), encode(value)))

    def _history(self, agency: Agency) -> AgencyHistory:
        return self.histories.setdefault(agency.agency_id, AgencyHistory())

    def _changed_history(self, agency: Agency) -> AgencyHistory:
        self._touched_histories.add(agency.agency_id)
        return self._history(agency)

    # -- periods and days

    def _agency(self, agency_id: str) -> Agency:
        agency = self.agencies.get(agency_id)
        if agency is None:
            agency = self.agencies[agency_id] = Agency(agency_id=agency_id)
        return agency

    def _laid_by(self, agency: Agency) -> tuple[Schedule, ...]:
        return self._schedules.get(agency.agency_id, NO_SCHEDULES)

    def _place(self, agency: Agency, start: datetime, at: datetime) -> tuple[Span, bool]:
        """The open period that a partition's period counts in, and whether it is late there; it may open now."""
        newest = agency.newest
        if newest is not None and agency.closed_until is not None and start < agency.closed_until:
            return newest, True
        for period in reversed(agency.periods):
            if period.start <= start < period.end:
                return period, False
        laid = span_at(self._laid_by(agency), start)
        if laid.schedule.terms is None:
            return self._open(agency, start, at), False
        if newest is not None and start < newest.end:
            return newest, True
        while newest is None or newest.end <= start:
            newest = self._open_next(agency, at)
        return newest, False

    def _open_next(self, agency: Agency, at: datetime) -> Span:
        """Open the period that follows the newest one; if there is none, the first one of the wholesale terms."""
        newest = agency.newest
        return self._open(agency, self._history(agency).versions[0].at if newest is None else newest.end, at)

    def _open(self, agency: Agency, instant: datetime, at: datetime) -> Span:
        """Open the period that contains an instant, as far as no open one does."""
        start, end, schedule = span_at(self._laid_by(agency), instant)
        for other in agency.periods:
            if other.end <= instant:
                start = max(start, other.end)
            else:
                end = min(end, other.start)
        period = Span(start=start, end=end)
        agency.periods.append(period)
        agency.periods.sort(key=lambda one: one.start)
        self._ask_for(agency, period, schedule, at)
        return period

    def _today(self, agency: Agency, now: datetime) -> None:
        """Have the day of the clock, though nothing may have been told of it yet."""
        if not any(day.start <= now < day.end for day in agency.days):
            start, end = day_of(now, span_at(self._laid_by(agency), now).schedule.timezone)
            agency.days.append(Span(start=start, end=end))
            agency.days.sort(key=lambda one: one.start)

    def _advance(self, agency: Agency, now: datetime) -> None:
        """Periods open and close, and days are over, in the order of time."""
        versions = self._history(agency).versions
        if not agency.periods and versions and versions[0].at <= now:
            self._open_next(agency, now)
        while agency.periods:
            newest, oldest = agency.periods[-1], agency.periods[0]
            if newest.end <= now and newest.end <= oldest.end + LATE_WINDOW:
                self._open_next(agency, now)
            elif oldest.end + LATE_WINDOW <= now:
                self._close(agency, oldest, now)
            else:
                break
        agency.days = [day for day in agency.days if day.end > now]
        if overdue := agency_requests.fall_due(self._history(agency), now):
            self._emit_requests(agency, overdue)

    def _close(self, agency: Agency, period: Span, at: datetime) -> None:
        agency.periods.remove(period)
        agency.closed_until = period.end if agency.closed_until is None else max(agency.closed_until, period.end)
        for currency in period.totals:
            self._note(agency, period, currency, closed=True)
        self._settle(agency, period, at)

    def _schedule(self, agency: Agency) -> None:
        times = [day.end for day in agency.days]
        if agency.periods:
            times += [agency.periods[-1].end, agency.periods[0].end + LATE_WINDOW]
        elif versions := self._history(agency).versions:
            times.append(versions[0].at)
        if (request_due := agency_requests.next_due(self._history(agency))) is not None:
            times.append(request_due)
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

    def numbers_of(self, agency_id: str) -> int:
        """How many numbers the accounts of an agency rent now."""
        of_agency = self._rentals.get(agency_id, {})
        return sum(one.released_at is None for rentals in of_agency.values() for one in rentals)

    # -- what is not folded

    def _dead_letter(self, reason: str, detail: str, value: bytes | None, key: bytes | None) -> None:
        letter = DeadLetter(reason, detail, AGENCY_EVENTS, self.partition, self._offset, value, self.clock)
        self.outputs.append((DEAD_LETTERS, key, letter))

    # -- the ledger

    def _note(self, agency: Agency, period: Span, currency: str, closed: bool = False) -> None:
        """Have the totals of a period written as a row with this transaction."""
        row = TotalsRow(agency.agency_id, period.start, period.end, currency, closed, period.totals[currency])
        self._totals[agency.agency_id, period.start, currency] = row

    def drain_ledger(self) -> list[tuple[bytes, bytes | None]]:
        """What is to be written to the ledger now: (key, value), the position last; None takes a record away."""
        records: list[tuple[bytes, bytes | None]] = [
            (AGENCY + agency_id.encode(), AGENCY_STATE.prefix + _encode(agency))
            for agency_id, agency in self._touched.items()
        ]
        for agency_id in self._touched_histories:
            value = AGENCY_HISTORY_STATE.prefix + _encode(self.histories[agency_id])
            records.append((AGENCY_HISTORY + agency_id.encode(), value))
        for agency_id, account_id, number in self._touched_rentals:
            rentals = self._rentals[agency_id].get((account_id, number))
            kept = None if rentals is None else NUMBER_STATE.prefix + _encode(rentals)
            records.append((NUMBER + _encode((agency_id, account_id, number)), kept))
        for (agency_id, start, currency), row in self._totals.items():
            key = f"{agency_id}\0{stamp(start)}\0{currency}".encode()
            records.append((TOTALS + key, TOTALS_STATE.prefix + _encode(row)))
        position = AgencyPosition(self.position, sorted(self._clocks.items()))
        records.append((POSITION, AGENCY_POSITION_STATE.prefix + _encode(position)))
        self._touched.clear()
        self._touched_histories.clear()
        self._touched_rentals.clear()
        self._totals.clear()
        return records

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the ledger, oldest first.

        Raises:
            StateError: the record cannot be read.
        """
        if value is None and not key.startswith(NUMBER):
            raise StateError("an agency ledger record without a value")
        try:
            if value is None:
                agency_id, account_id, number = _decode_number(key[len(NUMBER) :])
                self._rentals.get(agency_id, {}).pop((account_id, number), None)
            elif key.startswith(AGENCY):
                agency = _decode_agency(memoryview(AGENCY_STATE.upgraded(value))[1:])
                if agency.agency_id.encode() != key[len(AGENCY) :]:
                    raise StateError("agency record: it is another agency's")
                self.agencies[agency.agency_id] = agency
            elif key.startswith(AGENCY_HISTORY):
                history = _decode_history(memoryview(AGENCY_HISTORY_STATE.upgraded(value))[1:])
                agency_id = key[len(AGENCY_HISTORY) :].decode()
                self.histories[agency_id] = history
                self._schedules[agency_id] = schedules_of(history.versions)
            elif key.startswith(NUMBER):
                agency_id, account_id, number = _decode_number(key[len(NUMBER) :])
                rentals = _decode_rentals(memoryview(NUMBER_STATE.upgraded(value))[1:])
                self._rentals.setdefault(agency_id, {})[account_id, number] = rentals
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
