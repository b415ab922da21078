"""What the platform waits for, since its month passes in seconds: in real life it was there days before."""

from __future__ import annotations

from datetime import datetime

from demo.expected import due_at
from demo.observed import Observed
from demo.planted import Planted


def may_begin(planted: Planted, observed: Observed, since: datetime, until: datetime) -> bool:
    """Whether an hour may begin: nobody owes before he is asked, pays before it is due, raises what is not reached.

    Args:
        planted: what is going to happen.
        observed: what came out so far.
        since: the hour's start.
        until: its end; what happens then belongs to it.
    """
    needed: list[tuple[datetime, bool]] = []
    for debt in planted.debts:
        account, due = debt.tenant.account_id, due_at(debt)
        needed.append((due, any(asked == account for asked, _ in observed.requests)))
        if debt.paid_at is not None:
            needed.append((debt.paid_at, (account, due, "past_due") in observed.status_changes))
    if (cap := planted.agency_cap) is not None:
        needed.append((cap.raised_at, sum(map(bool, observed.capped.values())) == cap.accounts))
    return all(there for at, there in needed if since < at <= until)
