"""The life of payment requests of the platform to an agency: as of those to accounts, but that nothing is paused.

They are numbered as they are made, for all of them are here: a series of their own, for it is the platform that asks.
"""

from __future__ import annotations

from datetime import UTC, datetime

from rating.account import Request, Settled
from rating.agency import AgencyHistory
from rating.agency_facts import AgencyRequestChange, AgencyRequestCorrected, AgencyRequestCreated
from rating.books import Refusal
from rating.dunning import OPEN, change_request
from rating.payments import correction, new_request, settle
from rating.period import wall_clock


def change(history: AgencyHistory, fact: AgencyRequestChange) -> list[Request]:
    """Take up what is told of a request.

    Args:
        history: of the agency.
        fact: a request was made, settled or corrected.

    Returns:
        What is given out: requests and documents as they now stand.

    Raises:
        Refusal: ``unknown_request``; ``illegal_change``; ``wrong_currency`` of a correction.
    """
    if isinstance(fact, AgencyRequestCreated):
        _check_new(history, fact.payment_request_id)
        return [_keep(history, _numbered(history, new_request(fact)))]
    request_id = fact.corrects if isinstance(fact, AgencyRequestCorrected) else fact.payment_request_id
    known = history.request(request_id)
    if known is None:
        raise Refusal("unknown_request", f"the agency has no payment request {request_id}")
    if isinstance(fact, AgencyRequestCorrected):
        return _correct(history, fact, known)
    if not isinstance(known, Request):
        status = known if isinstance(known, str) else known.status
        raise Refusal("illegal_change", f"payment request {request_id} is {status}")
    settle(fact, known)
    return [_keep(history, known)]


def fall_due(history: AgencyHistory, now: datetime) -> list[Request]:
    """Requests that are due and not paid are overdue from now on; they are given out."""
    due = [one for one in _waiting(history) if one.due_at <= now]
    for request in due:
        request.overdue_at = request.updated_at = now
        if request.status == "pending":
            change_request(request, "overdue", now, actor="clock")
    return due


def next_due(history: AgencyHistory) -> datetime | None:
    """When the next request falls due; None where none waits."""
    return min((one.due_at for one in _waiting(history)), default=None)


def _waiting(history: AgencyHistory) -> list[Request]:
    found = [one for one in history.requests.values() if isinstance(one, Request)]
    found = [one for one in found if one.status in OPEN and one.overdue_at is None]
    return sorted(found, key=lambda one: (one.due_at, one.payment_request_id))


def _correct(history: AgencyHistory, fact: AgencyRequestCorrected, known: Request | Settled | str) -> list[Request]:
    currency = history.versions[-1].terms.currency if history.versions else fact.currency
    if fact.currency != currency:
        raise Refusal("wrong_currency", f"the agency is asked in {currency}, not in {fact.currency}")
    _check_new(history, fact.payment_request_id)
    refunded = history.refunded.get(fact.corrects, 0)
    document = correction(fact, known, refunded)
    if fact.kind == "refund":
        history.refunded[fact.corrects] = refunded + fact.amount_micros
    given = [_keep(history, _numbered(history, document))]
    if fact.kind == "credit_note" and isinstance(known, Request):
        given.append(_keep(history, known))
    return given


def _check_new(history: AgencyHistory, request_id: str) -> None:
    if history.request(request_id) is not None:
        raise Refusal("illegal_change", f"payment request {request_id} exists already")


def _numbered(history: AgencyHistory, request: Request) -> Request:
    """With the next number of its year, where the terms are."""
    zone = history.versions[-1].terms.timezone if history.versions else "UTC"
    year = str(wall_clock(request.created_at.astimezone(UTC), zone).year)
    last = history.numbers[year] = history.numbers.get(year, 0) + 1
    request.number = f"{year}-{last:06d}"
    return request


def _keep(history: AgencyHistory, request: Request) -> Request:
    """As much of it as can still change, or a refund of it needs."""
    if request.status in OPEN:
        history.requests[request.payment_request_id] = request
    else:
        history.requests.pop(request.payment_request_id, None)
        history.settled[request.payment_request_id] = Settled.of(request)
    return request
