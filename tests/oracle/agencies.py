"""Agencies: totals of their months and days, their caps, and what these turn off. By docs/facts.md, "Agencies".

All calls are kept, and added up anew whenever somebody asks. One partition, and each line of the log is a transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.oracle.journal import Journal, Output

Rated = dict[str, Any]
HOUR = timedelta(hours=1)
MONEY = {"spend": "amount_micros", "cost": "cost_micros", "margin": "margin_micros"}
Y2K = datetime(2000, 1, 1, tzinfo=UTC)


def month_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(start: datetime) -> datetime:
    return month_of(start + timedelta(days=32))


def day_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@dataclass(eq=False)
class Agency:
    """`months` are the open ones; calls by the month and by the day they count in."""

    agency_id: str
    months: set[datetime] = field(default_factory=set)
    last_closed: datetime | None = None
    of_month: dict[datetime, list[Rated]] = field(default_factory=dict)
    of_day: dict[datetime, list[Rated]] = field(default_factory=dict)
    fired: dict[tuple[str, datetime, str], list[int]] = field(default_factory=dict)
    wallet_s: int = 0
    caps: list[dict[str, Any]] = field(default_factory=list)
    fact_ids: set[str] = field(default_factory=set)
    off: bool = False
    told: int = 0
    rearmed: int = 0

    def spent(self, cap: dict[str, Any], now: datetime | None) -> tuple[datetime, int, int] | None:
        """Start of the month or day looked at, what is used, and the limit; None where there is nothing to look at."""
        if not self.months or (cap["per"] == "day" and now is None):
            return None
        if cap["per"] == "day":
            assert now is not None
            start, calls = day_of(now), self.of_day.get(day_of(now), [])
        else:
            start, calls = max(self.months), self.of_month.get(max(self.months), [])
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

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.clock: datetime | None = None
        self.known: dict[str, Agency] = {}
        self.wallets: Counter[str] = Counter()
        self.facts: list[dict[str, Any]] = []

    def _agency(self, agency_id: str) -> Agency:
        return self.known.setdefault(agency_id, Agency(agency_id))

    def tick(self, before: datetime | None, now: datetime) -> None:
        """Only the first tick of a minute counts."""
        if before is not None and before.replace(second=0, microsecond=0) == now.replace(second=0, microsecond=0):
            return
        self.clock = now
        for agency in self.known.values():
            if agency.months:
                month = max(agency.months)
                while next_month(month) <= now:
                    month = next_month(month)
                    agency.months.add(month)
            for month in sorted(agency.months):
                if next_month(month) + HOUR <= now:
                    agency.months.remove(month)
                    agency.last_closed = max(month, agency.last_closed or month)
            self._look(agency, now)

    def rated(self, outputs: Iterable[Output], clock: datetime | None) -> None:
        """The rated calls of a line, all of one agency: there are two where a call is corrected. Month by month."""
        months: dict[datetime, list[dict[str, Any]]] = {}
        for output in outputs:
            if output["topic"] == "rated-calls":
                call = output["value"]
                months.setdefault(month_of(datetime.fromisoformat(call["ended_at"])), []).append(call)
        for month, calls in months.items():
            agency, home = self._agency(calls[0]["agency_id"]), month
            if agency.last_closed is not None and month <= agency.last_closed:
                home = max(agency.months)
            agency.months.add(home)
            agency.of_month.setdefault(home, []).extend(calls)
            if clock is not None:
                agency.of_day.setdefault(day_of(clock), []).extend(calls)
            self._look(agency, clock or month)

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
        if not agency.months:
            agency.months.add(month_of(self.clock or fact["at"]))
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
            "alert_id": f"{agency.agency_id}:{start:%Y%m%dT%H%M%SZ}:{cap['per']}:{cap['name']}:{level}{again}",
            "level": level,
            "account_id": "",
            "agency_id": agency.agency_id,
            "subscription_id": "",
            "period_start": max(agency.months),
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
