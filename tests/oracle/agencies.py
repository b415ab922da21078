"""Agencies: totals of their periods and days, their caps, and what these turn off. By docs/facts.md, "Agencies".

All calls are kept, and added up anew whenever somebody asks. One partition, and each line of the log is a transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.oracle.anchored import in_ids
from tests.oracle.journal import Journal, Output
from tests.oracle.platform import Held, Period, begin, lay, settle
from tests.oracle.wholesale import Wholesale

Rated = dict[str, Any]
HOUR = timedelta(hours=1)
MONEY = {"spend": "amount_micros", "cost": "cost_micros", "margin": "margin_micros"}
Y2K = datetime(2000, 1, 1, tzinfo=UTC)


def day_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(eq=False)
class Agency:
    """`open` are its periods, the newest one last; calls by the day they count in."""

    agency_id: str
    wholesale: Wholesale
    open: list[Period] = field(default_factory=list)
    closed_until: datetime | None = None
    of_day: dict[datetime, list[Rated]] = field(default_factory=dict)
    fired: dict[tuple[str, datetime, str], list[int]] = field(default_factory=dict)
    wallet_s: int = 0
    caps: list[dict[str, Any]] = field(default_factory=list)
    fact_ids: set[str] = field(default_factory=set)
    off: bool = False
    told: int = 0
    rearmed: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    rentals: list[Held] = field(default_factory=list)

    def spent(self, cap: dict[str, Any], now: datetime | None) -> tuple[datetime, int, int] | None:
        """Start of the month or day looked at, what is used, and the limit; None where there is nothing to look at."""
        if not self.open or (cap["per"] == "day" and now is None):
            return None
        if cap["per"] == "day":
            assert now is not None
            start, calls = day_of(now), self.of_day.get(day_of(now), [])
        else:
            start, calls = self.open[-1].start, self.open[-1].calls
        if cap["on"] == "wallet":
            return start, self.wallet_s, cap["limit"] * 60
        if cap["on"] == "minutes":
            return start, sum(call["billed_s"] for call in calls), cap["limit"] * 60
        calls = [call for call in calls if call["currency"] == cap["currency"]]
        known = [call for call in calls if call["margin_micros"] is not None]
        sums = {name: sum(call[of] for call in (calls if name == "spend" else known)) for name, of in MONEY.items()}
        if cap["on"] == "margin" and not (sums["margin"] or sums["cost"]):
            return None
        return start, sums[cap["on"]], cap["limit"]


def reached(cap: dict[str, Any], level: int, used: int, limit: int) -> bool:
    if cap["on"] in ("margin", "wallet"):
        return used * level <= limit * 100 if limit > 0 else used <= limit
    return used * 100 >= level * limit


class Agencies:
    """Told of everything that happens; says alerts, and gives the facts that turn accounts off and on."""

    def __init__(self, journal: Journal, wholesale: dict[str, Wholesale]) -> None:
        self.journal = journal
        self.wholesale = wholesale
        self.clock: datetime | None = None
        self.known: dict[str, Agency] = {}
        self.wallets: Counter[str] = Counter()
        self.facts: list[dict[str, Any]] = []

    def _agency(self, agency_id: str) -> Agency:
        return self.known.setdefault(agency_id, Agency(agency_id, self.wholesale[agency_id]))

    def tick(self, before: datetime | None, now: datetime) -> None:
        """Only the first tick of a minute counts."""
        if before is not None and before.replace(second=0, microsecond=0) == now.replace(second=0, microsecond=0):
            return
        self.clock = now
        for agency in self.known.values():
            self._time(agency, now)
            self._look(agency, now)

    def _time(self, agency: Agency, now: datetime) -> None:
        """What is due by now, in its order: at one moment a period opens before another closes."""
        first = agency.wholesale.first
        if not agency.open and first is not None and first <= now:
            self._open(agency, first, now)
        while agency.open:
            opens, closes = agency.open[-1].end, agency.open[0].end + HOUR
            if min(opens, closes) > now:
                break
            if opens <= closes:
                self._open(agency, opens, now)
            else:
                self._close(agency, now)

    def _open(self, agency: Agency, moment: datetime, at: datetime) -> Period:
        """The period around a moment, but not where there is another one."""
        start, end, terms, whole = lay(agency.wholesale, moment)
        start = max([start, *(one.end for one in agency.open if one.end <= moment)])
        end = min([end, *(one.start for one in agency.open if one.start > moment)])
        period = Period(start, end)
        agency.open.append(period)
        agency.open.sort(key=lambda one: one.start)
        if terms is not None:
            begin(self.journal, agency, period, terms, whole, at)
        return period

    def _close(self, agency: Agency, at: datetime) -> None:
        period = agency.open.pop(0)
        agency.closed_until = max(period.end, agency.closed_until or period.end)
        if period.terms is not None:
            settle(self.journal, agency, period, at)
        else:
            agency.open[-1].wholesale.extend(period.wholesale)

    def wholesale_set(self, agency_id: str, at: datetime) -> None:
        """Terms were set: the month that is open goes on by them, or ends where they begin."""
        agency = self._agency(agency_id)
        now, first = self.clock or at, agency.wholesale.first
        assert first is not None
        if not agency.open and self.clock is None:
            self._open(agency, first, now)
        elif agency.open and agency.open[-1].terms is None:
            newest = agency.open[-1]
            _, end, terms, whole = lay(agency.wholesale, newest.start)
            if terms is None:
                newest.end = min(newest.end, end)
            else:
                newest.end = end
                begin(self.journal, agency, newest, terms, whole, now)
        if self.clock is not None:
            self._time(agency, self.clock)
        self._look(agency, now)

    def numbers(self, outputs: Iterable[Output]) -> None:
        """What is said of numbers that are rented and released."""
        for output in outputs:
            said = output["value"]
            if output["topic"] == "billing-events" and said["type"] in ("number.rented", "number.released"):
                agency, at = self._agency(said["agency_id"]), datetime.fromisoformat(said["at"])
                which = said["account_id"], said["number"]
                if said["type"] == "number.rented":
                    agency.rentals.append(Held(which, max(at, agency.closed_until or at)))
                else:
                    next(one for one in agency.rentals if one.which == which and one.until is None).until = at

    def rated(self, outputs: Iterable[Output], clock: datetime | None) -> None:
        """The rated calls of a line, all of one agency: there are two where a call is corrected. Period by period."""
        periods: dict[datetime, list[Rated]] = {}
        for output in outputs:
            if output["topic"] == "rated-calls":
                call = output["value"]
                agency = self._agency(call["agency_id"])
                start = lay(agency.wholesale, datetime.fromisoformat(call["ended_at"]))[0]
                periods.setdefault(start, []).append(call)
        for start, calls in periods.items():
            home = self._home(agency, start, clock or start)
            home.calls.extend(calls)
            home.wholesale.extend(call for call in calls if call.get("cost_source"))
            if clock is not None:
                agency.of_day.setdefault(day_of(clock), []).extend(calls)
            self._look(agency, clock or start)

    def _home(self, agency: Agency, start: datetime, at: datetime) -> Period:
        """The period that something counts in that begins then, by the terms known to who tells of it."""
        if agency.open and agency.closed_until is not None and start < agency.closed_until:
            return agency.open[-1]
        for period in agency.open:
            if period.start <= start < period.end:
                return period
        if lay(agency.wholesale, start)[2] is None:
            return self._open(agency, start, at)
        if agency.open and start < agency.open[-1].end:
            return agency.open[-1]
        while not agency.open or agency.open[-1].end <= start:
            first = agency.wholesale.first
            assert first is not None
            self._open(agency, agency.open[-1].end if agency.open else first, at)
        return agency.open[-1]

    def wallets_are(self, wallets: Counter[str], clock: datetime | None) -> None:
        """Seconds in the wallets of all accounts, by agency."""
        for name in sorted(wallets.keys() | self.wallets.keys()):
            if wallets[name] != self.wallets[name]:
                agency = self._agency(name)
                agency.wallet_s = wallets[name]
                self._look(agency, clock or Y2K)
        self.wallets = wallets

    def caps_set(self, fact: dict[str, Any]) -> None:
        agency = self._agency(fact["agency_id"])
        if fact["fact_id"] in agency.fact_ids:
            return
        agency.fact_ids.add(fact["fact_id"])
        agency.caps = fact["caps"]
        if not agency.open:
            self._open(agency, self.clock or fact["at"], fact["at"])
        self._look(agency, fact["at"])

    def _look(self, agency: Agency, at: datetime) -> None:
        off = False
        for cap in agency.caps:
            found = agency.spent(cap, self.clock)
            if found is None:
                continue
            start, used, limit = found
            off = off or (cap["mode"] == "hard" and reached(cap, 100, used, limit))
            said = agency.fired.setdefault((cap["per"], start, cap["name"]), [])
            if cap["on"] == "wallet":
                still = [each for each in said if each in cap["alerts_percent"] and reached(cap, each, used, limit)]
                agency.rearmed += len(still) < len(said)
                said[:] = still
            for level in sorted(set(cap["alerts_percent"])):
                if level not in said and reached(cap, level, used, limit):
                    said.append(level)
                    self._say(agency, cap, start, level, at, used, limit)
        if off != agency.off:
            agency.off = off
            agency.told += 1
            fact = {"agency_id": agency.agency_id, "at": at, "sequence": agency.told, "allowed": not off}
            self.facts.append(fact)

    def _say(
        self, agency: Agency, cap: dict[str, Any], start: datetime, level: int, at: datetime, used: int, limit: int
    ) -> None:
        again = f":{agency.rearmed}" if cap["on"] == "wallet" and agency.rearmed else ""
        value = {
            "type": "agency_cap",
            "alert_id": f"{agency.agency_id}:{in_ids(start)}:{cap['per']}:{cap['name']}:{level}{again}",
            "level": level,
            "account_id": "",
            "agency_id": agency.agency_id,
            "subscription_id": "",
            "period_start": agency.open[-1].start,
            "at": at.astimezone(UTC),
            "used": used,
            "limit": limit,
            "cap": cap["name"],
            "on": cap["on"],
            "per": cap["per"],
            "mode": cap["mode"],
            "day_start": start if cap["per"] == "day" else None,
            "currency": cap["currency"],
        }
        self.journal.write("alerts", agency.agency_id, value)
