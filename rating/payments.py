"""Payment requests as the log tells them: created by the billing job, then paid, failed or canceled.

The state of a request that can still change is kept whole, so that every change gives out the request as it now is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from rating.account import Account
from rating.books import Books, Refusal
from rating.facts import PaymentRequestCreated, PaymentRequestSettled
from rating.outputs import PAYMENT_REQUESTS

# What each status may become.
CHANGES = {
    "pending": {"paid", "failed", "canceled"},
    "overdue": {"paid", "failed", "canceled"},
    "failed": {"paid", "canceled"},
}
FINAL = {"paid", "canceled"}


def create_request(books: Books, account: Account, fact: PaymentRequestCreated) -> None:
    """Take up a payment request, pending.

    Raises:
        Refusal: ``wrong_currency``; ``illegal_change`` where the id is taken.
    """
    if fact.currency != account.currency:
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the request in {fact.currency}")
    if fact.payment_request_id in books.history(account.account_id).requests:
        raise Refusal("illegal_change", f"payment request {fact.payment_request_id} exists already")
    _keep(books, account, created(fact))


def created(fact: PaymentRequestCreated) -> dict[str, Any]:
    """A payment request as it is when it was created."""
    request: dict[str, Any] = msgspec.to_builtins(_in_utc(fact))
    request["lines"] = [msgspec.to_builtins(_in_utc(line)) for line in fact.lines]
    for field in ("type", "fact_id", "at"):
        request.pop(field, None)
    at = msgspec.to_builtins(fact.at.astimezone(UTC))
    request.update(status="pending", reference=None, note=None, created_at=at, updated_at=at, paid_at=None)
    return request


def settle_request(books: Books, account: Account | None, fact: PaymentRequestSettled) -> None:
    """Change the status of a payment request.

    Raises:
        Refusal: ``unknown_request``; ``illegal_change``.
    """
    known = books.history(account.account_id).requests.get(fact.payment_request_id) if account else None
    if account is None or known is None:
        raise Refusal("unknown_request", f"the account has no payment request {fact.payment_request_id}")
    _keep(books, account, settled(known, fact))


def settled(known: dict[str, Any] | str, fact: PaymentRequestSettled) -> dict[str, Any]:
    """A payment request, whole or only its final status, as it is after it was settled.

    Raises:
        Refusal: ``illegal_change``.
    """
    status = known if isinstance(known, str) else known["status"]
    if fact.status not in CHANGES.get(status, ()) or isinstance(known, str):
        raise Refusal("illegal_change", f"payment request {fact.payment_request_id} is {status}")
    at = msgspec.to_builtins(fact.at.astimezone(UTC))
    changed = {**known, "status": fact.status, "reference": fact.reference, "note": fact.note, "updated_at": at}
    if fact.status == "paid":
        changed["paid_at"] = at
    return changed


def _in_utc(fact: Any) -> Any:
    """A fact or a line with all its times in UTC."""
    times = {name: at for name in fact.__struct_fields__ if isinstance(at := getattr(fact, name), datetime)}
    return msgspec.structs.replace(fact, **{name: at.astimezone(UTC) for name, at in times.items()})


def _keep(books: Books, account: Account, request: dict[str, Any]) -> None:
    request_id, status = request["payment_request_id"], request["status"]
    books.changed_history(account.account_id).requests[request_id] = status if status in FINAL else request
    books.emit(PAYMENT_REQUESTS, account, request, key=request_id)
