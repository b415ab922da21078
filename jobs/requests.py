"""Payment requests as they stand, read from their topic (which needs no ClickHouse), and how they are settled."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any, Literal

import msgspec

from catalogue.facts import Fact, time_text
from jobs.reading import TopicReader
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.errors import Refused
from streams.settings import Settings
from streams.topics import PAYMENT_REQUESTS

Request = dict[str, Any]
MOST_ID_BYTES = 128

_decode = msgspec.json.Decoder(Request).decode


async def read_requests(
    settings: Settings, prefix: str = "", account_id: str | None = None, **fields: str | None
) -> list[Request]:
    """The latest state of payment requests, by due date.

    Args:
        settings: checked settings.
        prefix: what their ids begin with.
        account_id: only those of this account; then only its partition is read. Empty: those of the platform to
            agencies.
        fields: only those with these values; None for any.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    count = await check_topics(settings, [PAYMENT_REQUESTS])
    partitions = None if not account_id else [partition_of(account_id.encode(), count)]
    wanted = {name: value for name, value in {**fields, "account_id": account_id}.items() if value is not None}
    begins = prefix.encode()
    # Ids are unique in their account only.
    found: dict[tuple[str, bytes], Request] = {}
    async with TopicReader(settings, PAYMENT_REQUESTS, count) as reader:
        async for record in reader.read_all(partitions):
            if not record.key.startswith(begins):
                continue
            request = _decode(record.value)
            own = request["account_id"], record.key
            if all(request.get(name) == value for name, value in wanted.items()):
                found[own] = request
            else:
                # It may have been one of them before.
                found.pop(own, None)
    return sorted(found.values(), key=lambda request: (request["due_at"], request["payment_request_id"]))


async def find_request(settings: Settings, id_or_prefix: str, account_id: str | None = None) -> Request:
    """One payment request, by its id or by the only id that begins so.

    Raises:
        Refused: there is none, or there are several.
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    found = await read_requests(settings, id_or_prefix, account_id)
    exact = [request for request in found if request["payment_request_id"] == id_or_prefix]
    chosen = exact or found
    if not chosen:
        of = f" of account {account_id}" if account_id else ""
        raise Refused(
            f"unknown_request: no payment request{of} begins with {id_or_prefix!r}; see `callmeter requests list`"
        )
    if len(chosen) > 1:
        few = ", ".join(f"{request['payment_request_id']} of {request['account_id']}" for request in chosen[:3])
        more = ", ..." if len(chosen) > 3 else ""
        raise Refused(
            f"unknown_request: {len(chosen)} payment requests begin with {id_or_prefix!r} ({few}{more}); give the "
            "whole id, and --account where accounts share it"
        )
    return chosen[0]


def settling_id(payment_request_id: str, status: str) -> str:
    """The id of the fact that gives a request a status, where nobody chose one: a repeat changes nothing."""
    text = f"{payment_request_id}:{status}"
    if len(text.encode()) <= MOST_ID_BYTES:
        return text
    return f"{hashlib.blake2b(payment_request_id.encode(), digest_size=16).hexdigest()}:{status}"


def sent(request: Request, at: datetime, external_id: str, tax_micros: int, tax_included: bool, actor: str) -> Fact:
    """The fact that a request's gateway has it.

    Args:
        request: as `find_request` gives it.
        at: when that was, with a zone.
        external_id: as what the gateway has it.
        tax_micros: the tax that the gateway reckoned.
        tax_included: it is in the total, else it comes on top.
        actor: who says so.
    """
    own = request["payment_request_id"]
    return {
        "type": "payment_request.sent",
        **_of(request, settling_id(own, "sent"), at),
        "payment_request_id": own,
        "gateway": request["gateway"],
        "external_id": external_id,
        "tax_micros": tax_micros,
        "tax_included": tax_included,
        "actor": actor,
    }


def settled(
    request: Request,
    status: Literal["paid", "failed", "canceled"],
    at: datetime,
    fact_id: str,
    actor: str | None = None,
    reference: str | None = None,
    note: str | None = None,
) -> Fact:
    """The fact that a request was paid, failed or was canceled.

    Args:
        request: as `find_request` gives it.
        status: its new status.
        at: when that was, with a zone.
        fact_id: of the fact.
        actor: who says so.
        reference: of the payment, such as a wire's number.
        note: for people.
    """
    of_account = {"account_id": request["account_id"]} if request["account_id"] else {}
    return {
        "type": "payment_request.settled" if of_account else "agency.payment_request_settled",
        "fact_id": fact_id,
        **of_account,
        "agency_id": request["agency_id"],
        "at": time_text(at),
        "payment_request_id": request["payment_request_id"],
        "status": status,
        "actor": actor,
        "reference": reference,
        "note": note,
    }


def document_fact_id(kind: str, document_id: str, correction_id: str | None) -> str:
    """The id of the fact that a credit note or refund of a gateway comes to.

    Args:
        kind: ``credit_note`` or ``refund``.
        document_id: the gateway's.
        correction_id: of our document, where it was made here.
    """
    return (correction_id or document_id).removeprefix(f"{kind}:")


def corrected(
    request: Request,
    kind: Literal["credit_note", "refund"],
    amount_micros: int,
    at: datetime,
    fact_id: str,
    description: str = "",
    actor: str | None = None,
    reference: str | None = None,
    note: str | None = None,
) -> Fact:
    """The fact that a request is corrected by a credit note or a refund, a document of its own.

    Args:
        request: as `find_request` gives it.
        kind: of the document.
        amount_micros: what it takes off, or gives back; above 0.
        at: its time, with a zone.
        fact_id: of the fact; the document's id is made of it.
        description: of its line.
        actor: who says so.
        reference: such as of the transfer.
        note: for people.
    """
    return {
        "type": "payment_request.corrected" if request["account_id"] else "agency.payment_request_corrected",
        **_of(request, fact_id, at),
        "payment_request_id": f"{kind}:{fact_id}",
        "corrects": request["payment_request_id"],
        "kind": kind,
        "amount_micros": amount_micros,
        "currency": request["currency"],
        "description": description,
        "actor": actor,
        "reference": reference,
        "note": note,
    }


def disputed(
    request: Request,
    dispute_id: str,
    status: Literal["opened", "won", "lost"],
    amount_micros: int,
    at: datetime,
    actor: str | None = None,
    reference: str | None = None,
    note: str | None = None,
) -> Fact:
    """The fact that the payer's bank wants the money of a request back, or how that was decided.

    Args:
        request: as `find_request` gives it.
        dispute_id: the gateway's, or the bank's.
        status: of the dispute.
        amount_micros: what is wanted back; above 0.
        at: when that was, with a zone.
        actor: who says so.
        reference: such as of the payment.
        note: for people.
    """
    return {
        "type": "payment_request.disputed",
        **_of(request, settling_id(f"dispute:{dispute_id}", status), at),
        "payment_request_id": request["payment_request_id"],
        "dispute_id": dispute_id,
        "status": status,
        "amount_micros": amount_micros,
        "currency": request["currency"],
        "actor": actor,
        "reference": reference,
        "note": note,
    }


def _of(request: Request, fact_id: str, at: datetime) -> Fact:
    own = {name: request[name] for name in ("account_id", "agency_id")}
    return {"fact_id": fact_id, **own, "at": time_text(at)}


def one_time_charged(
    account_id: str, agency_id: str, amount_micros: int, currency: str, description: str, at: datetime, fact_id: str
) -> Fact:
    """The fact that an account is to be asked for an amount once."""
    return {
        "type": "one_time.charged",
        "fact_id": fact_id,
        "account_id": account_id,
        "agency_id": agency_id,
        "at": time_text(at),
        "amount_micros": amount_micros,
        "currency": currency,
        "description": description,
    }


async def read_corrections(settings: Settings, request: Request) -> list[Request]:
    """Credit notes and refunds that correct a request, oldest first.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    found = await read_requests(settings, account_id=request["account_id"], corrects=request["payment_request_id"])
    return sorted(found, key=lambda one: (one["created_at"], one["payment_request_id"]))
