"""Reconciling: what was asked for here, against what an agency's gateway says, both ways.

Where the gateway knows more than the log, and there is only one way to go on, facts repair it: the same ones, with the
same ids, that a webhook would have brought, so that doing it twice, or beside one, changes nothing. Everything else is
for people: nothing is changed at the gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from catalogue.facts import Fact
from catalogue.spelling import micros_text
from jobs.gateways.base import ListedDocument, ListedRequest, Listing, identity
from jobs.requests import corrected, disputed, document_fact_id, read_requests, sent, settled, settling_id
from streams.producer import FactProducer
from streams.settings import Settings

Request = dict[str, Any]
Status = Literal["paid", "failed", "canceled"]

# By our status and the gateway's: what a fact makes of ours.
REPAIRS: dict[tuple[str, str], Status] = {
    ("pending", "paid"): "paid",
    ("pending", "canceled"): "canceled",
    ("pending", "failed"): "failed",
    ("overdue", "paid"): "paid",
    ("overdue", "canceled"): "canceled",
    ("overdue", "failed"): "failed",
    ("failed", "paid"): "paid",
    ("failed", "canceled"): "canceled",
}
# What only people can mend: what to do.
WHAT_TO_DO = {
    ("paid", "open"): "It was paid otherwise: mark it as paid at the gateway, outside of it",
    ("paid", "failed"): "It was paid otherwise: mark it as paid at the gateway, outside of it",
    ("paid", "canceled"): "It is paid here and canceled there: see who is right; refund it here if nothing was paid",
    ("canceled", "open"): "Cancel it at the gateway: it can still be paid there",
    ("canceled", "failed"): "Cancel it at the gateway: it can still be paid there",
    ("canceled", "paid"): "It was paid though it was canceled here: give the money back at the gateway",
}


class Difference(NamedTuple):
    """One thing that is not the same here and there.

    Attributes:
        kind: ``status``, ``amount``; ``not_told``: the log does not know by which id it was asked;
            ``missing_outside``, ``unknown_here``; ``twice``: a second one there; ``credit_note``, ``refund``,
            ``dispute``: there is such a document there and none here, or the other way round; of a dispute also where
            it stands otherwise.
        account_id, payment_request_id: of the request here; its identity there where it is not known here.
        external_id: the gateway's.
        here, there: what each says; None: nothing.
        todo: what to do.
        facts: what repairs it; none: people have to.
    """

    kind: str
    account_id: str
    payment_request_id: str
    external_id: str
    here: str | None
    there: str | None
    todo: str
    facts: Sequence[Fact] = ()


REPAIR = "--repair writes it down"
CREDITED_BEFORE = (
    "It was paid here as a whole, and less was to be paid: see what came in, and write down the rest with callmeter "
    "requests refund --outside"
)
# How long the meter may take to take up what was written.
TAKEN_UP_S = 30.0
LOOK_EVERY_S = 0.2


class Reconciled(NamedTuple):
    """What became of a reconciliation.

    Attributes:
        requests: how many there are here.
        listed: how many there are at the gateway.
        repaired: differences that are gone.
        left: those that are not.
    """

    requests: int
    listed: int
    repaired: Sequence[Difference]
    left: Sequence[Difference]


async def reconcile(
    settings: Settings,
    agency_id: str,
    name: str,
    gateway: Listing,
    repair: bool = False,
    show: Callable[[int, int], None] = lambda listed, requests: None,
) -> Reconciled:
    """Compare an agency's requests with its gateway's, and write what repairs them.

    Args:
        settings: checked settings.
        agency_id: whose requests.
        name: the gateway's.
        gateway: the agency's.
        repair: write the facts, and wait until the meter has taken them up.
        show: called with how many the gateway listed so far, and how many there are here.

    Raises:
        Unavailable: the gateway cannot be asked.
        BrokerUnreachable, TopicMissing: there is nothing to read from, or to write to.
    """
    before = await read_requests(settings, agency_id=agency_id)
    sent_before = [one for one in before if one["gateway"] == name and one["external_id"] and not one.get("corrects")]
    # What is asked for meanwhile is in neither list, or in one.
    known = {(one["account_id"], one["payment_request_id"]) for one in sent_before}
    listed: list[ListedRequest] = []
    show(0, len(sent_before))
    async for one in gateway.requests():
        listed.append(one)
        show(len(listed), len(sent_before))

    async def differences() -> list[Difference]:
        found = compare(await read_requests(settings, agency_id=agency_id), listed, name)
        return [
            one for one in found if one.kind != "missing_outside" or (one.account_id, one.payment_request_id) in known
        ]

    found = left = await differences()
    facts = [fact for one in found for fact in one.facts]
    if repair and facts:
        async with FactProducer(settings) as producer:
            await producer.publish(*facts)
        deadline = time.monotonic() + TAKEN_UP_S
        while any(one.facts for one in left) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY_S)
            left = await differences()
    still = {one[:4] for one in left}
    return Reconciled(len(sent_before), len(listed), [one for one in found if one[:4] not in still], left)


def compare(requests: Iterable[Request], listed: Iterable[ListedRequest], gateway: str) -> list[Difference]:
    """Everything that is not the same.

    Args:
        requests: the agency's, with credit notes and refunds, as on ``payment-requests``.
        listed: everything that the gateway lists.
        gateway: its name; requests of other ones are left out.
    """
    asked = {}
    documents: dict[tuple[str, str], list[Request]] = defaultdict(list)
    for request in requests:
        if request.get("corrects"):
            documents[request["account_id"], request["corrects"]].append(request)
        elif request["gateway"] == gateway and request["account_id"]:
            asked[identity(request)] = request
    by_external_id = {one["external_id"]: one for one in asked.values() if one["external_id"] is not None}
    found: list[Difference] = []
    seen = set()
    # The oldest first: of two for one request it is the one that counts.
    for theirs in reversed(list(listed)):
        ours = by_external_id.get(theirs.external_id) or asked.get(theirs.identity)
        if ours is None:
            if theirs.status != "canceled":
                found.append(_unknown(theirs))
            continue
        own = identity(ours)
        if theirs.external_id == ours["external_id"] or (ours["external_id"] is None and own not in seen):
            seen.add(own)
            found += _compare_one(ours, theirs, documents[ours["account_id"], ours["payment_request_id"]])
        elif theirs.status != "canceled":
            todo = f"A second one for the same request: cancel it at the gateway; {ours['external_id']} counts"
            found.append(_difference("twice", ours, theirs, None, _amount(theirs), todo))
    for own, ours in asked.items():
        if ours["external_id"] is not None and own not in seen:
            todo = "It was deleted there, or the agency is linked to another account: link that, or settle it by hand"
            found.append(
                Difference(
                    "missing_outside",
                    ours["account_id"],
                    ours["payment_request_id"],
                    ours["external_id"],
                    ours["status"],
                    None,
                    todo,
                )
            )
    return found


def _compare_one(ours: Request, theirs: ListedRequest, documents: Sequence[Request]) -> list[Difference]:
    """What is not the same of one request: in the order in which facts must repair it."""
    found = []
    credits, later = _missing_documents(ours, theirs, documents)
    total_micros = ours["total_micros"]
    if ours["external_id"] is None:
        told = theirs.external_id, theirs.tax_micros, theirs.tax_included
        fact = sent(ours, datetime.now(UTC), *told, ours["gateway"])
        found.append(_difference("not_told", ours, theirs, None, theirs.external_id, REPAIR, fact))
        if not theirs.tax_included:
            total_micros = ours["subtotal_micros"] + ours["rounding_micros"] + theirs.tax_micros
    if total_micros != theirs.total_micros:
        todo = "Neither is edited: cancel it on both sides and ask anew, or correct it with a credit note"
        here = micros_text(total_micros, ours["currency"])
        found.append(_difference("amount", ours, theirs, here, _amount(theirs), todo))
    found += credits
    # Credits that are still to be told cancel it by themselves.
    if not (credits and theirs.status == "canceled"):
        found += _compare_status(ours, theirs)
    return found + later


def _compare_status(ours: Request, theirs: ListedRequest) -> list[Difference]:
    pair = ours["status"], theirs.status
    if pair in REPAIRS:
        status = REPAIRS[pair]
        at = min(theirs.at or datetime.now(UTC), datetime.now(UTC))
        fact_id = settling_id(ours["payment_request_id"], status)
        fact = settled(ours, status, at, fact_id, ours["gateway"], theirs.external_id)
        return [_difference("status", ours, theirs, *pair, REPAIR, fact)]
    if pair in WHAT_TO_DO:
        return [_difference("status", ours, theirs, *pair, WHAT_TO_DO[pair])]
    return []


def _missing_documents(
    ours: Request, theirs: ListedRequest, documents: Sequence[Request]
) -> tuple[list[Difference], list[Difference]]:
    """Credit notes, and then refunds and disputes, that are on one side only, or not the same."""
    found: dict[str, list[Difference]] = {"credit_note": [], "refund": [], "dispute": []}
    known = {one["payment_request_id"]: one["status"] for one in documents}
    for document in theirs.documents:
        fact, kind = document_fact(ours, theirs, document), document.kind
        amount = micros_text(document.amount_micros, ours["currency"])
        if kind == "dispute":
            here = known.get(f"dispute:{document.document_id}")
            if here != document.status:
                repairs = here in (None, "opened")
                todo = REPAIR if repairs else "It was decided here, and is otherwise there: see what the bank says"
                there = f"{document.status}, {amount}"
                found[kind].append(_difference(kind, ours, theirs, here, there, todo, *[fact] * repairs))
        elif fact["payment_request_id"] not in known:
            late = kind == "credit_note" and ours["status"] == "paid"
            todo = CREDITED_BEFORE if late else REPAIR
            found[kind].append(_difference(kind, ours, theirs, None, amount, todo, *[fact] * (not late)))
    listed = {document.document_id for document in theirs.documents}
    for one in documents:
        # What went back otherwise has no id there.
        external_id = one["external_id"]
        if external_id is not None and external_id not in listed:
            todo = f"{external_id} is not there any more: see whether the money went back"
            amount = micros_text(one.get("disputed_micros") or -one["total_micros"], ours["currency"])
            found[one["kind"]].append(_difference(one["kind"], ours, theirs, amount, None, todo))
    return found["credit_note"], found["refund"] + found["dispute"]


def document_fact(ours: Request, theirs: ListedRequest, document: ListedDocument) -> Fact:
    """The fact that a credit note, refund or dispute of a gateway comes to.

    Args:
        ours: the request as it stands here.
        theirs: the same as the gateway lists it.
        document: one of its documents.
    """
    at = min(document.at, datetime.now(UTC))
    said = {"actor": ours["gateway"], "reference": theirs.external_id, "note": document.note}
    if document.kind == "dispute":
        assert document.status is not None
        return disputed(ours, document.document_id, document.status, document.amount_micros, at, **said)
    fact_id = document_fact_id(document.kind, document.document_id, document.correction_id)
    fact = corrected(ours, document.kind, document.amount_micros, at, fact_id, **said)
    return {**fact, "tax_micros": document.tax_micros, "external_id": document.document_id}


def _unknown(theirs: ListedRequest) -> Difference:
    todo = "No request here is known by this: cancel it at the gateway, or give the money back, unless it is needed"
    return Difference(
        "unknown_here", theirs.account_id, theirs.identity, theirs.external_id, None, _amount(theirs), todo
    )


def _difference(
    kind: str, ours: Request, theirs: ListedRequest, here: str | None, there: str | None, todo: str, *facts: Fact
) -> Difference:
    own = ours["account_id"], ours["payment_request_id"]
    return Difference(kind, *own, theirs.external_id, here, there, todo, facts)


def _amount(theirs: ListedRequest) -> str:
    return f"{theirs.status}, {micros_text(theirs.total_micros, theirs.currency)}"
