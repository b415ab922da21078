"""A limit on the minutes of all accounts of one agency, and who must be told of it when."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from demo.market import Tenant

# It has one plan, by which billed seconds are easily told.
CAPPED = "sakura"
EARLY_WARNING, CEILING = "early-warning", "ceiling"
SHARE = 0.6
RAISED_BY = 10
LEAST_MINUTES = 10


class Ceiling:
    """60 % of the minutes that the agency would use: it is reached, accounts pause, and a day later it is raised.

    Attributes:
        minutes: the hard limit; at half of it there is an alert.
        raised_at: when it is raised; None while it was not reached.
    """

    def __init__(self, wanted_s: int, before: datetime) -> None:
        """Limit an agency.

        Args:
            wanted_s: billed seconds that the agency would use.
            before: when it must be reached; later, it does not count any more.
        """
        self.minutes = int(wanted_s * SHARE) // 60
        self.raised_at: datetime | None = None
        self._before = before
        self._used_s = 0
        self._late_s = 0

    def pauses(self, tenant: Tenant, at: datetime) -> bool:
        """Whether an account's calls stop at this time."""
        return tenant.agency_id == CAPPED and self.raised_at is not None and at < self.raised_at

    def add(self, billed_s: int, ended_at: datetime, late: bool) -> None:
        """Count a call of the agency; a late one counts in the next month."""
        if late:
            self._late_s += billed_s
            return
        self._used_s += billed_s
        reached = self.minutes >= LEAST_MINUTES and self._used_s >= self.minutes * 60
        if reached and self.raised_at is None and ended_at < self._before:
            self.raised_at = ended_at + timedelta(days=1)

    def limits(self, raised: bool) -> dict[str, tuple[int, str, list[int]]]:
        """The caps, by name: minutes, soft or hard, percents that are told."""
        hard = self.minutes * (RAISED_BY if raised else 1)
        return {EARLY_WARNING: (self.minutes // 2, "soft", [100]), CEILING: (hard, "hard", [80, 100])}

    def alerts(self) -> Counter[tuple[str, int]]:
        """How often each level of each cap is told: once in the month, and in the next if late calls reach it."""
        told: Counter[tuple[str, int]] = Counter()
        for name, (_, _, levels) in self.limits(raised=False).items():
            told.update((name, level) for level in levels)
        for name, (minutes, _, levels) in self.limits(raised=True).items():
            told.update((name, level) for level in levels if self._late_s * 100 >= minutes * 60 * level)
        return told
