"""Disputes: the payer's bank wants the money of a payment request back, and decides for the agency or against it.

A dispute is a document of its own that names the request: ``opened``, then ``won`` or ``lost``. What is lost went back,
so it is a refund, too. It is not numbered, for nothing is asked with it.
"""

from __future__ import annotations

from datetime import UTC

from rating.account import Account, Request, Settled
from rating.books import Books, Refusal
from rating.dunning import change_request
from rating.facts import PaymentRequestCorrected, PaymentRequestDisputed
from rating.outputs import ALERTS
from rating.payments import DOCUMENTS, check_currency, correct, keep, reviewed


def dispute_request(books: Books, account: Account, fact: PaymentRequestDisputed) -> None:
    """Take up a dispute that was opened, won or lost; whoever hears only of its end hears of it then.

    Raises:
        Refusal: ``wrong_currency``; ``unknown_request``; ``illegal_change``.
    """
    check_currency(account, fact.currency)
    history, request_id = books.history(account.account_id), fact.payment_request_id
    about = history.request(request_id)
    if about is None:
        raise Refusal("unknown_request", f"the account has no payment request {request_id}")
    if isinstance(about, str):
        raise Refusal("illegal_change", f"payment request {request_id} was {about} before there were disputes")
    if about.kind in DOCUMENTS:
        raise Refusal("illegal_change", f"{request_id} is a {about.kind} itself")
    document_id = f"dispute:{fact.dispute_id}"
    known = history.request(document_id)
    if known is not None:
        if not isinstance(known, Request) or known.kind != "dispute" or known.corrects != request_id:
            raise Refusal("illegal_change", f"payment request {document_id} exists already")
        if fact.status == "opened":
            # Told late: that it was opened is known.
            reviewed(books, account, fact)
            return
        if known.status != "opened":
            raise Refusal("illegal_change", f"payment request {document_id} is {known.status}")
    if fact.status == "lost":
        _refund(books, account, fact, about)
    document = known or _document(account, fact, about, document_id)
    document.disputed_micros = fact.amount_micros
    change_request(document, fact.status, fact.at.astimezone(UTC), fact.actor, fact.reference, fact.note)
    keep(books, account, document)
    if known is None:
        _alert(books, account, fact, about)
    reviewed(books, account, fact)


def _refund(books: Books, account: Account, fact: PaymentRequestDisputed, about: Request | Settled) -> None:
    """The money went back, unless that was told before."""
    refund_id = f"refund:{fact.dispute_id}"
    if books.history(account.account_id).request(refund_id) is not None:
        return
    refund = PaymentRequestCorrected(
        fact_id=fact.fact_id,
        account_id=fact.account_id,
        agency_id=fact.agency_id,
        at=fact.at,
        payment_request_id=refund_id,
        corrects=fact.payment_request_id,
        kind="refund",
        amount_micros=fact.amount_micros,
        currency=fact.currency,
        description="Dispute lost",
        actor=fact.actor,
        reference=fact.reference,
        note=fact.note,
        external_id=fact.dispute_id,
    )
    correct(books, account, refund, about)


def _document(account: Account, fact: PaymentRequestDisputed, about: Request | Settled, document_id: str) -> Request:
    """The document of a dispute, which asks for nothing."""
    at = fact.at.astimezone(UTC)
    return Request(
        payment_request_id=document_id,
        kind="dispute",
        currency=fact.currency,
        lines=[],
        subtotal_micros=0,
        rounding_micros=0,
        tax_micros=0,
        total_micros=0,
        due_at=at,
        grace_ends_at=at,
        subscription_id=about.subscription_id,
        gateway=about.gateway,
        external_id=fact.dispute_id,
        account_id=account.account_id,
        agency_id=account.agency_id,
        created_at=at,
        updated_at=at,
        corrects=fact.payment_request_id,
    )


def _alert(books: Books, account: Account, fact: PaymentRequestDisputed, about: Request | Settled) -> None:
    """Once for each dispute, whatever is told of it first: there is a day by which it has to be answered."""
    at = fact.at.astimezone(UTC)
    value = {
        "type": "dispute",
        "alert_id": f"{account.account_id}:dispute:{fact.dispute_id}",
        "level": 100,
        "account_id": account.account_id,
        "agency_id": account.agency_id,
        "subscription_id": about.subscription_id or "",
        "period_start": at,
        "at": at,
        "used": fact.amount_micros,
        "limit": about.paid_micros,
        "currency": fact.currency,
        "payment_request_id": fact.payment_request_id,
        "dispute_id": fact.dispute_id,
    }
    books.emit(ALERTS, account, value)
