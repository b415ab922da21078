"""What the meter tells about agencies: the rated calls of a transaction, summed by agency, period, day and currency.

A partition does not know an agency's totals, for its accounts are in many partitions. So each transaction writes what
it adds to them, one ``agency.delta`` for each agency, period, day and currency that it touched, and what ticks it saw.
The second fold (`rating.agencies`) adds them up.

The period of a call is the agency's that contains its end (`rating.schedules`). Its day is the one that the partition's
clock is in, as for the caps of accounts.

What lays periods and what they cost is told, too: wholesale terms, by every partition, so that they come before all
that is summed up by them; and numbers that are rented or released.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET

from rating.account import Account
from rating.agency_facts import (
    LARGEST_SUM,
    AgencyNumberReleased,
    AgencyNumberRented,
    AgencyRequest,
    AgencyTick,
    AgencyWholesaleSet,
    Delta,
    Wallet,
    WholesaleSums,
)
from rating.facts import WholesaleSet
from rating.outputs import encode
from rating.period import day_of, unix_micros
from rating.schedules import FIRST_MONTH, NO_SCHEDULES, Schedule, span_at

MINUTE = 60_000_000


class Sums:
    """What a transaction adds to one agency in one period, day and currency."""

    __slots__ = (
        "agency_id", "amount_micros", "billed_s", "calls", "cost_micros", "currency", "day", "end", "margin_micros",
        "pending", "start", "wholesale",
    )  # fmt: skip

    def __init__(
        self,
        agency_id: str,
        start: datetime,
        end: datetime,
        day: tuple[datetime, datetime] | None,
        currency: str,
    ) -> None:
        self.agency_id = agency_id
        self.start = start
        self.end = end
        self.day = day
        self.currency = currency
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.pending = False
        self.calls = self.billed_s = self.amount_micros = self.cost_micros = self.margin_micros = 0
        self.wholesale: WholesaleSums | None = None

    def count_wholesale(self, source: str, billed_s: int, cost_micros: int, sign: int = 1) -> None:
        """Count what the platform asks for a call (1), or no longer asks (-1); see `rating.wholesale.cost_of`."""
        sums = self.wholesale
        if sums is None:
            sums = self.wholesale = WholesaleSums()
        if source == "reported":
            sums.reported_calls += sign
            sums.reported_micros += sign * cost_micros
        else:
            sums.calls += sign
            sums.billed_s += sign * billed_s
            sums.cost_micros += sign * cost_micros


class Told(NamedTuple):
    """A record for ``agency-events``: of one agency, or for all its partitions (None)."""

    agency_id: str | None
    value: bytes


class AgencySums:
    """The sums of one partition, since they were last taken.

    Attributes:
        latest: by agency, where its last call of this transaction was counted: the next one mostly belongs there, too.
    """

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self.latest: dict[str, Sums] = {}
        self.schedules: dict[str, tuple[Schedule, ...]] = {}
        self._pending: list[Sums] = []
        self._known: dict[tuple[str, datetime, str], Sums] = {}
        self._recent: dict[str, Sums] = {}
        self._told: list[Told] = []

    def sums_at(self, agency_id: str, currency: str, ended_at: datetime, clock: datetime | None) -> Sums:
        """Where a call is counted that is not counted where the last one was."""
        recent = self._recent.get(agency_id)
        if recent is not None and recent.currency == currency and recent.start <= ended_at < recent.end:
            sums = recent
        else:
            schedules = self.schedules.get(agency_id, NO_SCHEDULES)
            start, end, _ = span_at(schedules, ended_at)
            key = agency_id, start, currency
            known = self._known.get(key)
            if known is None:
                day = None if clock is None else day_of(clock, span_at(schedules, clock).schedule.timezone)
                known = self._known[key] = Sums(agency_id, start, end, day, currency)
            sums = self._recent[agency_id] = known
        if not sums.pending:
            sums.pending = True
            self._pending.append(sums)
        self.latest[agency_id] = sums
        return sums

    def wholesale_set(
        self, fact: WholesaleSet, schedules: tuple[Schedule, ...], clock: datetime | None, offset: int
    ) -> None:
        """An agency's periods are laid otherwise from now on; what was counted so far stays where it is."""
        self._tell(clock, offset)
        self.schedules[fact.agency_id] = schedules
        self._forget()
        told = AgencyWholesaleSet(
            fact_id=fact.fact_id,
            agency_id=fact.agency_id,
            at=fact.at,
            terms=fact.terms,
            source_partition=self._partition,
            source_offset=offset,
        )
        self._told.append(Told(fact.agency_id, encode(told)))

    def number(self, account: Account, number: str, at: datetime, rented: bool, offset: int) -> None:
        """An account of an agency rents or releases a number."""
        kind = AgencyNumberRented if rented else AgencyNumberReleased
        told = kind(
            agency_id=account.agency_id,
            at=at,
            account_id=account.account_id,
            number=number,
            source_partition=self._partition,
            source_offset=offset,
        )
        self._told.append(Told(account.agency_id, encode(told)))

    def begin_tick(self, before: datetime | None, now: datetime, offset: int) -> None:
        """The partition's clock goes on: what was counted so far is of the time before."""
        if _is_told(before, now):
            self._tell(before, offset)
            self._forget()

    def end_tick(self, before: datetime | None, now: datetime) -> None:
        """All that the tick had to do is told."""
        if _is_told(before, now):
            self._told.append(Told(None, encode(AgencyTick(at=now, source_partition=self._partition))))

    def to_be_numbered(self, account: Account, payment_request_id: str, year: int, at: datetime, offset: int) -> None:
        """Have a payment request, or a document that corrects one, numbered."""
        request = AgencyRequest(
            agency_id=account.agency_id,
            account_id=account.account_id,
            payment_request_id=payment_request_id,
            year=year,
            at=at,
            source_partition=self._partition,
            source_offset=offset,
        )
        self._told.append(Told(account.agency_id, encode(request)))

    def take(self, touched: Iterable[Account], clock: datetime | None, offset: int) -> list[Told]:
        """What is to be told with this transaction, in order.

        Args:
            touched: accounts that may have changed: what has become of their wallets is noted in them.
            clock: of the partition.
            offset: of the fact at hand.
        """
        self._tell(clock, offset)
        wallets: dict[str, int] = {}
        for account in touched:
            wallet_s = account.wallet_s
            if wallet_s != account.wallet_told_s:
                of = account.agency_id
                wallets[of] = wallets.get(of, 0) + wallet_s - account.wallet_told_s
                account.wallet_told_s = wallet_s
        told, self._told = self._told, []
        for agency_id, wallet_s in wallets.items():
            if wallet_s:
                wallet = Wallet(
                    agency_id=agency_id,
                    at=clock or FIRST_MONTH,
                    wallet_s=wallet_s,
                    source_partition=self._partition,
                    source_offset=offset,
                )
                told.append(Told(agency_id, encode(wallet)))
        return told

    def _tell(self, clock: datetime | None, offset: int) -> None:
        for sums in self._pending:
            day = sums.day
            delta = Delta(
                agency_id=sums.agency_id,
                at=clock or sums.start,
                period_start=sums.start,
                period_end=sums.end,
                day_start=day and day[0],
                day_end=day and day[1],
                currency=sums.currency,
                calls=sums.calls,
                billed_s=min(sums.billed_s, LARGEST_SUM),
                amount_micros=min(sums.amount_micros, LARGEST_SUM),
                cost_micros=min(sums.cost_micros, LARGEST_SUM),
                margin_micros=max(sums.margin_micros, -LARGEST_SUM),
                wholesale=UNSET if sums.wholesale is None else WholesaleSums().plus(sums.wholesale),
                source_partition=self._partition,
                source_offset=offset,
            )
            self._told.append(Told(sums.agency_id, encode(delta)))
            sums.clear()
        self._pending.clear()
        self.latest.clear()

    def _forget(self) -> None:
        self._recent.clear()
        self._known.clear()


def _is_told(before: datetime | None, now: datetime) -> bool:
    """Only the first tick of a minute is told: it goes to every partition."""
    return before is None or unix_micros(before) // MINUTE != unix_micros(now) // MINUTE
