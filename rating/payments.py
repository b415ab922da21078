"""Payment requests as the log tells them: created by the billing job, sent, paid, failed, canceled, corrected.

A request that can still change is kept whole, so that every change gives out the request as it now stands. A credit
note or a refund is a document of its own. What is not paid is looked at in `dunning`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from rating.access import applied
from rating.account import Account, Request, Settled
from rating.books import Books, Refusal
from rating.dunning import OPEN, add_up, change_request, emit_request, review_dunning
from rating.facts import (
    PaymentRequestCorrected,
    PaymentRequestCreated,
    PaymentRequestDisputed,
    PaymentRequestNumbered,
    PaymentRequestSent,
    PaymentRequestSettled,
    RequestLine,
)
from rating.money import micros_text
from rating.period import EPOCH, wall_clock

# What each status may become by a fact. Pending becomes overdue by a tick.
CHANGES = {
    "pending": ("paid", "failed", "canceled"),
    "overdue": ("paid", "failed", "canceled"),
    "failed": ("paid", "canceled"),
}
LARGEST_TOTAL = 2**62
# Kinds that are about another request: nothing is about them.
DOCUMENTS = ("credit_note", "refund", "dispute")
# Facts about a request that there must be: without its account there is none.
ABOUT_REQUESTS = (
    PaymentRequestSent,
    PaymentRequestSettled,
    PaymentRequestCorrected,
    PaymentRequestDisputed,
    PaymentRequestNumbered,
)
AboutRequest = PaymentRequestSent | PaymentRequestSettled | PaymentRequestCorrected | PaymentRequestNumbered

Timed = TypeVar("Timed", bound=msgspec.Struct)


def create_request(books: Books, account: Account, fact: PaymentRequestCreated) -> None:
    """Take up a payment request, pending.

    Raises:
        Refusal: ``wrong_currency``; ``illegal_change`` where the id is taken.
    """
    check_currency(account, fact.currency)
    _check_new(books, account, fact.payment_request_id)
    request = new_request(fact)
    keep(books, account, request)
    _ask_for_number(books, account, request)
    reviewed(books, account, fact)


def request_fact(books: Books, account: Account, fact: AboutRequest) -> None:
    """Change a payment request, or correct it by another document.

    Raises:
        Refusal: ``unknown_request``; ``illegal_change``; ``wrong_currency`` of a correction; ``out_of_range``.
    """
    if isinstance(fact, PaymentRequestCorrected):
        check_currency(account, fact.currency)
    request_id = fact.corrects if isinstance(fact, PaymentRequestCorrected) else fact.payment_request_id
    known = books.history(account.account_id).request(request_id)
    if known is None:
        raise Refusal("unknown_request", f"the account has no payment request {request_id}")
    if isinstance(fact, PaymentRequestCorrected):
        correct(books, account, fact, known)
    elif isinstance(known, Request) and known.kind != "dispute":
        if isinstance(fact, PaymentRequestSettled):
            settle(fact, known)
        elif isinstance(fact, PaymentRequestSent):
            _send(fact, known)
        else:
            _number(fact, known)
        keep(books, account, known)
    else:
        status = known if isinstance(known, str) else known.status
        raise Refusal("illegal_change", f"payment request {request_id} is {status}")
    reviewed(books, account, fact)


def settle(fact: PaymentRequestSettled, request: Request) -> None:
    """Give a request, to an account or an agency, the status that a fact says.

    Raises:
        Refusal: ``illegal_change``.
    """
    if fact.status not in CHANGES.get(request.status, ()):
        raise Refusal("illegal_change", f"payment request {fact.payment_request_id} is {request.status}")
    change_request(request, fact.status, fact.at.astimezone(UTC), fact.actor, fact.reference, fact.note)


def _send(fact: PaymentRequestSent, request: Request) -> None:
    if request.external_id is not None:
        raise Refusal(
            "illegal_change",
            f"payment request {fact.payment_request_id} is {request.external_id} at {request.gateway} already",
        )
    tax_micros = 0 if fact.tax_included else fact.tax_micros
    total_micros = request.subtotal_micros + request.rounding_micros + tax_micros
    if total_micros > LARGEST_TOTAL:
        raise Refusal("out_of_range", f"the total of {fact.payment_request_id} would exceed 2^62")
    request.gateway, request.external_id = fact.gateway, fact.external_id
    request.tax_micros, request.tax_included = fact.tax_micros, fact.tax_included
    request.total_micros, request.updated_at = total_micros, fact.at.astimezone(UTC)
    add_up(request)


def _number(fact: PaymentRequestNumbered, request: Request) -> None:
    if request.number is not None:
        raise Refusal("illegal_change", f"payment request {fact.payment_request_id} is number {request.number} already")
    request.number = fact.number


def correct(books: Books, account: Account, fact: PaymentRequestCorrected, known: Request | Settled | str) -> None:
    """Take up a credit note or a refund.

    Args:
        books: of the partition.
        account: whose it is.
        fact: in the account's currency.
        known: what is corrected.

    Raises:
        Refusal: ``illegal_change``.
    """
    _check_new(books, account, fact.payment_request_id)
    refunded = books.history(account.account_id).refunded.get(fact.corrects, 0)
    document = correction(fact, known, refunded)
    if fact.kind == "refund":
        books.changed_history(account.account_id).refunded[fact.corrects] = refunded + fact.amount_micros
    keep(books, account, document)
    _ask_for_number(books, account, document)
    if fact.kind == "credit_note" and isinstance(known, Request):
        keep(books, account, known)


def correction(fact: PaymentRequestCorrected, known: Request | Settled | str, refunded_micros: int) -> Request:
    """A credit note or refund, of a request to an account or an agency, as the document that it is.

    Args:
        fact: in the currency of the request.
        known: what is corrected; of a request that is open less is left then.
        refunded_micros: what was given back of it before.

    Raises:
        Refusal: ``illegal_change``.
    """
    if isinstance(known, str):
        raise Refusal("illegal_change", f"payment request {fact.corrects} was {known} before there were corrections")
    if known.kind in DOCUMENTS:
        raise Refusal("illegal_change", f"{fact.corrects} is a {known.kind} itself")
    if fact.kind == "refund":
        if known.status != "paid":
            raise Refusal("illegal_change", f"payment request {fact.corrects} is {known.status}: there is no refund")
        _check_amount(fact, known.paid_micros - refunded_micros, "was paid and not refunded yet")
    elif isinstance(known, Settled) or known.status not in OPEN:
        raise Refusal("illegal_change", f"payment request {fact.corrects} is {known.status}: there is no credit note")
    else:
        add_up(known)
        _check_amount(fact, known.left_micros, "is left to pay")
    document = _document(fact, known)
    if fact.kind == "credit_note" and isinstance(known, Request):
        known.credited_micros += fact.amount_micros
        known.updated_at = document.created_at
        add_up(known)
        if not known.left_micros:
            change_request(known, "canceled", document.created_at, fact.actor, document.payment_request_id, fact.note)
    return document


def _check_amount(fact: PaymentRequestCorrected, left_micros: int, what: str) -> None:
    if fact.amount_micros > left_micros:
        amount, left = f"{micros_text(fact.amount_micros)} {fact.currency}", micros_text(left_micros)
        raise Refusal("illegal_change", f"{amount} is more than the {left} of {fact.corrects} that {what}")


def _document(fact: PaymentRequestCorrected, corrected: Request | Settled) -> Request:
    """A credit note or refund, settled as it is made."""
    at = fact.at.astimezone(UTC)
    text = fact.description or ("Credit note" if fact.kind == "credit_note" else "Refund")
    net = -(fact.amount_micros - fact.tax_micros)
    line = RequestLine(
        line_id=fact.kind,
        kind=fact.kind,
        description=text,
        quantity=1,
        unit="document",
        unit_price_micros=net,
        amount_micros=net,
    )
    return Request(
        payment_request_id=fact.payment_request_id,
        kind=fact.kind,
        currency=fact.currency,
        lines=[line],
        subtotal_micros=net,
        rounding_micros=0,
        tax_micros=-fact.tax_micros,
        total_micros=-fact.amount_micros,
        due_at=at,
        grace_ends_at=at,
        subscription_id=corrected.subscription_id,
        gateway=corrected.gateway,
        external_id=fact.external_id,
        account_id=fact.account_id,
        agency_id=fact.agency_id,
        status="paid",
        reference=fact.reference,
        note=fact.note,
        created_at=at,
        updated_at=at,
        paid_at=at,
        actor=fact.actor,
        paid_micros=-fact.amount_micros if fact.kind == "refund" else 0,
        corrects=fact.corrects,
    )


def new_request(fact: PaymentRequestCreated) -> Request:
    """A payment request, to an account or an agency, as it is when it was created."""
    told = _in_utc(fact)
    same = {name: getattr(told, name) for name in Request.__struct_fields__ if hasattr(told, name)}
    same["lines"] = [_in_utc(line) for line in fact.lines]
    request = Request(**same, created_at=told.at, updated_at=told.at)
    add_up(request)
    return request


def check_currency(account: Account, currency: str) -> None:
    """See that a request is in its account's currency.

    Raises:
        Refusal: ``wrong_currency``.
    """
    if currency != account.currency:
        raise Refusal("wrong_currency", f"the account is in {account.currency}, the request in {currency}")


def _check_new(books: Books, account: Account, request_id: str) -> None:
    if books.history(account.account_id).request(request_id) is not None:
        raise Refusal("illegal_change", f"payment request {request_id} exists already")


def _in_utc(fact: Timed) -> Timed:
    """A fact or a line with all its times in UTC."""
    times = {name: at for name in fact.__struct_fields__ if isinstance(at := getattr(fact, name), datetime)}
    return msgspec.structs.replace(fact, **{name: at.astimezone(UTC) for name, at in times.items()})


def keep(books: Books, account: Account, request: Request) -> None:
    """Give a request out, and keep as much of it as can still change."""
    emit_request(books, account, request)
    done = request.status not in OPEN and request.number is not None
    # What a gateway has may still be told: an account may have paid before we know by which id it was asked.
    known = request.gateway == "manual" or request.external_id is not None
    history, request_id = books.changed_history(account.account_id), request.payment_request_id
    if done and known:
        history.requests.pop(request_id, None)
        history.settled[request_id] = Settled.of(request)
    else:
        history.requests[request_id] = request


def _ask_for_number(books: Books, account: Account, request: Request) -> None:
    """Where the agency is whole it gets its number, of the year that it is made in where the account is."""
    zone = books.tariffs[account.subscription.terms_id].terms.timezone
    at = request.created_at
    books.agencies.to_be_numbered(account, request.payment_request_id, wall_clock(at, zone).year, at, books.offset)


def reviewed(
    books: Books, account: Account, fact: PaymentRequestCreated | PaymentRequestDisputed | AboutRequest
) -> None:
    """What every one of these ends with: what is not paid is another matter now, and so may be access.

    A number makes no difference to that.
    """
    if not isinstance(fact, PaymentRequestNumbered):
        review_dunning(books, account, books.clock or EPOCH, fact.at)
    applied(books, account, fact)
