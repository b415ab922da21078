"""What Stripe tells of its objects, by webhook and by list, as double and sandbox must show it (`make test-stripe`).

The objects are the account's own; the events around them are made and signed here, for no sandbox reaches this machine.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobs.gateways.base import Buyer, GatewayEvent, ListedRequest, ask
from jobs.gateways.reconcile import compare
from jobs.gateways.stripe import StripeGateway
from jobs.gateways.stripe_events import parts_of_note
from tests.broker import wait_until
from tests.jobs.gateways.conftest import Place
from tests.jobs.gateways.requests import request_of
from tests.stripe_double.server import WEBHOOK_SECRET, signed

Ours = dict[str, Any]


def told(place: Place, kind: str, of: Any) -> GatewayEvent | None:
    """What an event of one of the account's objects tells."""
    event = {
        "id": f"evt_{of.id}", "object": "event", "type": kind, "account": place.account, "created": int(time.time()),
        "data": {"object": of.to_dict()},
    }  # fmt: skip
    body, signature = signed(event, secret=WEBHOOK_SECRET)
    return place.link().parse_webhook(body, {"stripe-signature": signature})


async def located(place: Place, kind: str, of: Any) -> GatewayEvent:
    """The same, with the invoice that it is of."""
    event = told(place, kind, of)
    assert event is not None
    found = await place.link().locate(event)
    assert found is not None
    return found


async def listed(place: Place, external_id: str | None) -> ListedRequest:
    (found,) = [one async for one in place.link().requests(external_id)]
    return found


async def asked(place: Place, buyer: Buyer, card: str | None = None) -> tuple[StripeGateway, Ours]:
    """A request as we know it once it is asked for: sent, or charged to a card."""
    if card is not None:
        place.client.v1.customers.create(
            {
                "metadata": {"callmeter_account": buyer.account_id},
                "payment_method": card,
                "invoice_settings": {"default_payment_method": card},
            }
        )
    gateway = place.link(collection="charge" if card else "invoice")
    ours = request_of(buyer, gateway="stripe", corrects=None)
    found = await ask(gateway, ours, buyer)
    return gateway, {**ours, "external_id": found.external_id, "status": "paid" if card else "pending"}


def differences(ours: Ours, theirs: ListedRequest) -> list[tuple[str, str | None]]:
    found = compare([ours], [theirs], "stripe")
    return [(one.kind, one.facts[0]["status"] if one.kind == "status" else None) for one in found]


async def test_an_invoice_that_is_paid_or_voided_is_told_and_listed_so(place: Place, buyer: Buyer) -> None:
    _, ours = await asked(place, buyer)
    invoices = place.client.v1.invoices
    assert differences(ours, await listed(place, ours["external_id"])) == []
    paid = told(place, "invoice.paid", invoices.pay(ours["external_id"], {"paid_out_of_band": True}))
    assert paid is not None
    assert (paid.kind, paid.external_id, paid.account_id) == ("paid", ours["external_id"], buyer.account_id)
    assert differences(ours, await listed(place, ours["external_id"])) == [("status", "paid")]
    _, other = await asked(place, buyer._replace(account_id=f"{buyer.account_id}_2"))
    void = told(place, "invoice.voided", invoices.void_invoice(other["external_id"]))
    assert void is not None
    assert (void.kind, void.external_id) == ("canceled", other["external_id"])
    assert differences(other, await listed(place, other["external_id"])) == [("status", "canceled")]


async def test_a_credit_note_takes_off_before_the_payment_and_gives_back_after_it(place: Place, buyer: Buyer) -> None:
    gateway, ours = await asked(place, buyer)
    client, name = place.client.v1, ours["external_id"]
    first = await gateway.refund(ours, 1_000_000, "Goodwill", "credit_note:f1")
    credited = told(place, "credit_note.created", client.credit_notes.retrieve(str(first.external_id)))
    assert credited is not None
    assert (credited.kind, credited.amount_micros, credited.correction_id) == ("credited", 1_000_000, "credit_note:f1")
    paid = told(place, "invoice.paid", client.invoices.pay(name, {"paid_out_of_band": True}))
    assert paid is not None
    assert (paid.kind, paid.credited_micros) == ("paid", 1_000_000)
    assert differences(ours, await listed(place, name)) == [("credit_note", None), ("status", "paid")]
    second = await gateway.refund({**ours, "status": "paid"}, 1_460_000, "Line was down", "refund:f2")
    note = told(place, "credit_note.created", client.credit_notes.retrieve(str(second.external_id)))
    assert note is not None
    assert (note.kind, note.amount_micros) == ("refunded", 1_460_000)
    kinds = [(one.kind, one.amount_micros) for one in (await listed(place, name)).documents]
    assert sorted(kinds) == [("credit_note", 1_000_000), ("refund", 1_460_000)]


async def test_a_refund_of_the_payment_is_found_to_be_of_the_invoice(place: Place, buyer: Buyer) -> None:
    _, ours = await asked(place, buyer, "pm_card_visa")
    client, name = place.client.v1, ours["external_id"]
    (payment,) = client.invoice_payments.list({"invoice": name}).data
    refund = client.refunds.create({"payment_intent": str(payment.payment.payment_intent), "amount": 100})
    event = await located(place, "refund.created", refund)
    assert (event.kind, event.external_id, event.amount_micros) == ("refunded", name, 1_000_000)
    assert differences(ours, await listed(place, name)) == [("refund", None)]


@pytest.mark.parametrize("decided", ["won", "lost"])
async def test_a_dispute_is_told_and_listed_as_it_stands(place: Place, buyer: Buyer, decided: str) -> None:
    # Stripe's card for tests whose payer disputes the charge, and its words for the evidence.
    _, ours = await asked(place, buyer, "pm_card_createDispute")
    client, name = place.client.v1, ours["external_id"]
    (payment,) = client.invoice_payments.list({"invoice": name}).data

    def disputed() -> Any:
        return client.disputes.list({"payment_intent": str(payment.payment.payment_intent)}).data

    (dispute,) = await wait_until(disputed, timeout=60)
    event = await located(place, "charge.dispute.created", dispute)
    assert (event.kind, event.external_id, event.amount_micros) == ("disputed", name, 2_460_000)
    evidence = {"won": "winning_evidence", "lost": "losing_evidence"}[decided]
    client.disputes.update(dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": True})

    def closed() -> Any:
        found = client.disputes.retrieve(dispute.id)
        return found if found.status == decided else None

    event = await located(place, "charge.dispute.closed", await wait_until(closed, timeout=60))
    assert (event.kind, event.document_id) == (f"dispute_{decided}", dispute.id)
    (document,) = [one for one in (await listed(place, name)).documents if one.kind == "dispute"]
    assert (document.status, document.amount_micros) == (decided, 2_460_000)
    assert differences(ours, await listed(place, name)) == [("dispute", None)]


def test_a_credit_note_of_what_was_paid_in_part_is_both_with_its_share_of_the_tax() -> None:
    note = {"currency": "usd", "pre_payment_amount": 300, "post_payment_amount": 100, "total_taxes": [{"amount": 41}]}
    assert parts_of_note(note) == [("credit_note", 3_000_000, 300_000), ("refund", 1_000_000, 110_000)]
    assert parts_of_note({**note, "pre_payment_amount": 0}) == [("refund", 1_000_000, 410_000)]
    assert parts_of_note({**note, "post_payment_amount": 0}) == [("credit_note", 3_000_000, 410_000)]
