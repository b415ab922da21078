"""What the meter tells about agencies: the rated calls of a transaction, summed by agency, period, day and currency.

A partition does not know an agency's totals, for its accounts are in many partitions. So each transaction writes what
it adds to them, one ``agency.delta`` for each agency, period, day and currency that it touched, and what ticks it saw.
The second fold (`rating.agencies`) adds them up.

The period of a call is the agency's that contains its end: without wholesale terms a calendar month in UTC. Its day is
the one that the partition's clock is in, as for the caps of accounts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from rating.account import Account
from rating.agency_facts import AgencyTick, Delta, Wallet
from rating.outputs import encode
from rating.period import Interval, boundary, day_of, index_at, unix_micros

LARGEST_SUM = 2**62
MINUTE = 60_000_000
FIRST_MONTH = datetime(2000, 1, 1, tzinfo=UTC)


class Schedule(NamedTuple):
    """From when an agency's periods are laid how: boundaries of ``anchor``, cut off where the next schedule begins."""

    since: datetime
    anchor: datetime
    interval: Interval
    interval_count: int
    timezone: str


CALENDAR = Schedule(FIRST_MONTH, FIRST_MONTH, "month", 1, "UTC")
NO_SCHEDULES = (CALENDAR,)


def span_at(schedules: tuple[Schedule, ...], at: datetime) -> tuple[datetime, datetime, str]:
    """Start and end of an agency's period that contains an instant, and its zone.

    Args:
        schedules: ascending by ``since``; the first one holds for all time before.
        at: any instant.
    """
    n = max((k for k, one in enumerate(schedules) if one.since <= at), default=0)
    one = schedules[n]
    laid = one.anchor, one.interval, one.interval_count, one.timezone
    index = max(index_at(*laid, at), 0)
    start, end = boundary(*laid, index), boundary(*laid, index + 1)
    if at < start:
        # Before its anchor there is one long period.
        start, end = one.since if one.since <= at else FIRST_MONTH, start
    if n:
        start = max(start, one.since)
    if n + 1 < len(schedules):
        end = min(end, schedules[n + 1].since)
    return start, end, one.timezone


class Sums:
    """What a transaction adds to one agency in one period, day and currency."""

    __slots__ = (
        "agency_id", "amount_micros", "billed_s", "calls", "cost_micros", "currency", "day", "end", "margin_micros",
        "pending", "start",
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
            start, end, zone = span_at(self.schedules.get(agency_id, NO_SCHEDULES), ended_at)
            key = agency_id, start, currency
            known = self._known.get(key)
            if known is None:
                day = None if clock is None else day_of(clock, zone)
                known = self._known[key] = Sums(agency_id, start, end, day, currency)
            sums = self._recent[agency_id] = known
        if not sums.pending:
            sums.pending = True
            self._pending.append(sums)
        self.latest[agency_id] = sums
        return sums

    def scheduled(self, agency_id: str, schedules: tuple[Schedule, ...], clock: datetime | None, offset: int) -> None:
        """An agency's periods are laid otherwise from now on; what was counted so far stays where it is."""
        self._tell(clock, offset)
        self.schedules[agency_id] = schedules
        self._forget()

    def tick(self, before: datetime | None, now: datetime, offset: int) -> None:
        """The partition's clock goes on. Only the first tick of a minute is told: it goes to every partition."""
        minute = unix_micros(now) // MINUTE
        if before is None or unix_micros(before) // MINUTE != minute:
            self._tell(before, offset)
            self._forget()
            self._told.append(Told(None, encode(AgencyTick(at=now, source_partition=self._partition))))

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
