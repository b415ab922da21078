"""Dunning: payment requests fall due, and what is not paid pauses the account, then blocks it.

Only requests of kind ``cycle`` do so. What they do is a function of them and of the clock, looked at whenever one of
them changes or a tick reaches the next of their times; it stands beside all other reasons to be off.
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from rating.account import Account, Change, Dunning, Request
from rating.books import Books
from rating.money import micros_text
from rating.outputs import PAYMENT_REQUESTS
from rating.period import EPOCH, wall_clock

# Statuses of requests that are still to be paid.
OPEN = ("pending", "overdue", "failed")


def emit_request(books: Books, account: Account, request: Request) -> None:
    """Give out a payment request as it now stands."""
    books.emit(PAYMENT_REQUESTS, account, msgspec.structs.asdict(request), key=request.payment_request_id)


def open_requests(books: Books, account: Account) -> list[Request]:
    """Requests that are still to be paid, by due date."""
    found = [
        one
        for one in books.history(account.account_id).requests.values()
        if isinstance(one, Request) and one.status in OPEN
    ]
    return sorted(found, key=lambda one: (one.due_at, one.payment_request_id))


def change_request(
    request: Request,
    status: str,
    at: datetime,
    actor: str | None = None,
    reference: str | None = None,
    note: str | None = None,
) -> None:
    """Give a request another status, and remember by whom."""
    request.status, request.updated_at = status, at
    request.actor, request.reference, request.note = actor, reference, note
    request.changes = [*request.changes, Change(status, at, actor, reference, note)]
    if status == "paid":
        request.paid_at = at
    add_up(request)


def add_up(request: Request) -> None:
    """What is left to be paid of a request, and what was."""
    owed = request.total_micros - request.credited_micros
    request.left_micros = owed if request.status in OPEN else 0
    request.paid_micros = owed if request.status == "paid" else 0


def fall_due(books: Books, account: Account, at: datetime) -> None:
    """A tick reached the time that the account waits for: requests are overdue from now on, or their grace is over.

    Args:
        books: of the partition.
        account: one with such a time.
        at: time of the tick.
    """
    assert account.dunning is not None
    assert account.dunning.due_at is not None
    reached = max(account.dunning.due_at, books.clock or EPOCH)
    for request in open_requests(books, account):
        if request.overdue_at is None and request.due_at <= reached:
            books.changed_history(account.account_id)
            request.overdue_at = request.updated_at = at
            if request.status == "pending":
                change_request(request, "overdue", at, actor="clock")
            emit_request(books, account, request)
    review_dunning(books, account, reached, at)


def review_dunning(books: Books, account: Account, reached: datetime, at: datetime) -> None:
    """Work out what unpaid requests do to the account, and say so if its status is another one.

    Args:
        books: of the partition.
        account: whose requests may have changed.
        reached: the time that ticks have told so far.
        at: time of the fact.
    """
    waiting = open_requests(books, account)
    overdue = [one for one in waiting if one.kind == "cycle" and one.overdue_at is not None]
    times = [one.due_at for one in waiting if one.overdue_at is None]
    times += [one.grace_ends_at for one in overdue if one.grace_ends_at > reached]
    status = None
    if overdue:
        status = "blocked" if any(one.grace_ends_at <= reached for one in overdue) else "past_due"
    previous = account.status
    account.dunning = (
        Dunning(status, min(times, default=None), status and _banner(books, account, overdue, status))
        if waiting
        else None
    )
    tell_status(books, account, at, previous)


def _banner(books: Books, account: Account, overdue: list[Request], status: str) -> str:
    zone = books.tariffs[account.subscription.terms_id].terms.timezone
    due = wall_clock(min(one.due_at for one in overdue), zone).date()
    amount = micros_text(sum(one.left_micros for one in overdue))
    text = f"{amount} {account.currency} is past due since {due}."
    if status == "blocked":
        return f"{text} The account is blocked until it is paid."
    grace = wall_clock(min(one.grace_ends_at for one in overdue), zone).date()
    return f"{text} Campaigns are paused until it is paid. From {grace} on the account is blocked."


def tell_status(books: Books, account: Account, at: datetime, previous: str | None) -> None:
    """Say what status the account's subscription is shown with, if it is another one than before."""
    status = account.status
    if status != previous:
        banner = account.dunning.banner if account.dunning else None
        content = {"status": status, "previous": previous, "banner": banner}
        books.emit_billing("subscription.status_changed", account, at.astimezone(UTC), content)
