"""What the platform has sent, and what must become of it: filled while the month is planned, asked by the proof."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from demo.market import Tenant

# A call: (account, call id).
Name = tuple[str, str]


@dataclass
class Call:
    """A call as it finally stands, after corrections.

    Attributes:
        tenant: whose it is.
        seconds: connected, whole seconds rounded up.
        billable: whether its outcome is billed, and it is no test.
        prefix: of the destination it was made to.
        reported_cost_micros: what the carrier reported, None where it did not.
    """

    tenant: Tenant
    seconds: int
    billable: bool
    prefix: str
    reported_cost_micros: int | None


@dataclass(frozen=True)
class Rental:
    """An account rents its number; ``released_at`` None: to this day."""

    tenant: Tenant
    rented_at: datetime
    released_at: datetime | None


@dataclass(frozen=True)
class PlanChange:
    """An account goes from one plan to another within a period."""

    tenant: Tenant
    plan: str
    at: datetime


@dataclass(frozen=True)
class Debt:
    """An account does not pay for its period in time; ``paid_at`` None: not at all."""

    tenant: Tenant
    paid_at: datetime | None


@dataclass(frozen=True)
class AgencyCap:
    """An agency limits the minutes of all its accounts, and raises the limit a day after it was reached.

    Attributes:
        agency_id: the agency.
        accounts: how many it has.
        minutes: the hard limit; half of it is the soft one.
        raised_at: when it is raised.
        alerts: how often each level of each cap must fire: (cap, percent).
    """

    agency_id: str
    accounts: int
    minutes: int
    raised_at: datetime
    alerts: Counter[tuple[str, int]]


@dataclass
class Planted:
    """What must become of what is sent. Calls are named (account, call id).

    Attributes:
        calls: the valid ones: each must be rated once.
        late: those of them that come when their period is closed.
        duplicates: calls that are sent again.
        dead_letters: a tag found in the bytes of each bad record, and the reason.
        voided: calls that are taken back; with ``billable`` off in ``calls``.
        corrected: calls that turn out to be shorter; ``calls`` has the truth.
        packs: what is sold in packs by hand, in micros by currency.
        debts: what is not paid in time; everything else falls due after the demo.
        records: how many reports of calls were sent so far, bad ones among them.
    """

    calls: dict[Name, Call] = field(default_factory=dict)
    late: set[Name] = field(default_factory=set)
    duplicates: list[Name] = field(default_factory=list)
    dead_letters: dict[str, str] = field(default_factory=dict)
    voided: set[Name] = field(default_factory=set)
    corrected: set[Name] = field(default_factory=set)
    rentals: list[Rental] = field(default_factory=list)
    packs: Counter[str] = field(default_factory=Counter)
    debts: list[Debt] = field(default_factory=list)
    plan_change: PlanChange | None = None
    agency_cap: AgencyCap | None = None
    records: int = 0
