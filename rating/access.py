"""Access: whether an account's campaigns may run, as a set of reasons to be off. Empty means calls are allowed.

Every reason is a function of the state, looked at after every fact that touches the account; an event is given out only
when the set changes. So an account that is off for two reasons stays off when one of them goes.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rating.account import Account
from rating.books import Books
from rating.caps import fire_caps, hard_cap_is_reached
from rating.facts import AccountFact
from rating.outputs import ACCESS_EVENTS
from rating.terms import Cap
from rating.waterfall import pools_are_empty

# Which reason is shown where there are several.
PRECEDENCE = ("canceled", "blocked", "past_due", "cap_reached", "agency_cap_reached", "pools_empty", "paused")


def cap_is_reached(cap: Cap, percent: int, billed_s: int, usage_micros: int) -> bool:
    """Whether usage of a period reaches a percentage of a cap, on minutes or on spend."""
    if cap.minutes is not None and billed_s * 100 >= percent * cap.minutes * 60:
        return True
    return cap.spend_micros is not None and usage_micros * 100 >= percent * cap.spend_micros


def reasons_to_be_off(books: Books, account: Account) -> list[str]:
    """All reasons there are now, sorted. Caps and pools look at the newest open period only."""
    reasons = []
    newest = account.newest
    if newest is not None:
        cap = account.cap
        if (
            cap is not None and cap.mode == "hard" and cap_is_reached(cap, 100, newest.billed_s, newest.usage_micros)
        ) or (account.caps is not None and hard_cap_is_reached(account, account.caps, newest)):
            reasons.append("cap_reached")
        access = books.access_of.get(account.agency_id)
        if access is not None and access.off:
            reasons.append("agency_cap_reached")
        tariff = books.tariffs[newest.terms_id]
        if pools_are_empty(tariff, newest.allowance_left_s, account.wallet_s, account.credit_micros):
            reasons.append("pools_empty")
    status = account.subscription.status
    if status in ("canceled", "paused"):
        reasons.append(status)
    if account.dunning is not None and account.dunning.status is not None:
        reasons.append(account.dunning.status)
    reasons.sort()
    return reasons


def review_access(books: Books, account: Account, at: datetime) -> None:
    """Look at caps that have a name, then at the reasons, and give out ``access.changed`` if they are others now."""
    if account.caps is not None:
        fire_caps(books, account, account.caps, at)
    reasons = reasons_to_be_off(books, account)
    if reasons == account.reasons:
        return
    account.reasons = reasons
    first = next((reason for reason in PRECEDENCE if reason in reasons), "ok")
    value = {
        "type": "access.changed",
        "account_id": account.account_id,
        "agency_id": account.agency_id,
        "allowed": not reasons,
        "reasons": reasons,
        "reason": first,
        "at": at.astimezone(UTC),
    }
    books.emit(ACCESS_EVENTS, account, value)


def applied(books: Books, account: Account, fact: AccountFact) -> None:
    """What every rare fact ends with: when the account is next due, and whether its access is another."""
    books.schedule(account)
    review_access(books, account, fact.at)
