"""Stripe's webhooks: what an event tells of a payment request of ours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import stripe
from pydantic import SecretStr

from jobs.gateways.base import GatewayEvent, Unavailable, WebhookRefused
from jobs.gateways.stripe_money import to_micros

# A webhook that is older was played back by somebody else; Stripe signs each of its own tries anew.
REPLAY_WINDOW_S = 300

# Of HTTP, in lower case.
SIGNATURE = "stripe-signature"

UNCOLLECTIBLE = "Stripe holds the invoice for uncollectible"

# Fields of our metadata.
IDENTITY, ACCOUNT, AGENCY, LINE = "callmeter_identity", "callmeter_account", "callmeter_agency", "callmeter_line"
CORRECTION = "callmeter_correction"

INVOICES: Mapping[str, Literal["paid", "failed", "canceled"]] = {
    "invoice.paid": "paid",
    "invoice.payment_failed": "failed",
    "invoice.marked_uncollectible": "failed",
    "invoice.voided": "canceled",
}

# What a dispute is by its status. An inquiry that is closed, and what was given back before, never became one.
DISPUTES: Mapping[str, Literal["opened", "won", "lost"]] = {
    "warning_needs_response": "opened",
    "warning_under_review": "opened",
    "needs_response": "opened",
    "under_review": "opened",
    "warning_closed": "won",
    "prevented": "won",
    "won": "won",
    "lost": "lost",
}
KINDS: Mapping[str, Literal["disputed", "dispute_won", "dispute_lost"]] = {
    "opened": "disputed",
    "won": "dispute_won",
    "lost": "dispute_lost",
}


def parse_event(body: bytes, signature: str, secret: SecretStr | None) -> GatewayEvent | None:
    """What an event tells, None if it is nothing that matters.

    A charge that failed matters once Stripe does not try it again. Of refunds and disputes only the payment is told; of
    a credit note of before and after the payment, what it gives back.

    Args:
        body: as it came in; another spelling of the same JSON has another signature.
        signature: of the header ``Stripe-Signature``.
        secret: of the webhook's endpoint.

    Raises:
        Unavailable: there is no secret.
        WebhookRefused: the signature is wrong, or older than five minutes; or it is no event, or one of another shape.
    """
    if secret is None:
        raise Unavailable(
            "CALLMETER_STRIPE_WEBHOOK_SECRET is not set: it is the secret of the webhook's endpoint, whsec_..."
        )
    try:
        event = stripe.Webhook.construct_event(body, signature, secret.get_secret_value(), REPLAY_WINDOW_S).to_dict()
    except (stripe.SignatureVerificationError, ValueError) as error:
        raise WebhookRefused(f"this is no event of Stripe's: {error}") from None
    try:
        return _told(event)
    except KeyError as error:
        missing = error.args[0]
        raise WebhookRefused(f"this is no event of Stripe's that is known here: it has no {missing}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise WebhookRefused(f"this is no event of Stripe's that is known here: {error}") from None


def _told(event: Mapping[str, Any]) -> GatewayEvent | None:
    of, kind = event["data"]["object"], event["type"]
    metadata = of.get("metadata") or {}
    told = GatewayEvent(
        event["id"],
        "paid",
        event.get("account") or "",
        None,
        metadata.get(IDENTITY),
        datetime.fromtimestamp(event["created"], UTC),
        metadata.get(ACCOUNT),
        metadata.get(AGENCY),
    )
    if kind in INVOICES:
        return _of_invoice(told, kind, of)
    if "amount" not in of or "currency" not in of:
        return None
    told = told._replace(
        identity=None,
        account_id=None,
        agency_id=None,
        amount_micros=_micros(of["amount"], of),
        currency=of["currency"].upper(),
        payment_id=of.get("payment_intent"),
    )
    match kind:
        case "credit_note.created" if of["pre_payment_amount"] or of["post_payment_amount"]:
            kind_of_note, amount, tax = parts_of_note(of)[-1]
            return told._replace(
                kind="credited" if kind_of_note == "credit_note" else "refunded",
                external_id=of["invoice"],
                amount_micros=amount,
                tax_micros=tax,
                note=of.get("memo"),
                document_id=of["id"],
                correction_id=metadata.get(CORRECTION),
            )
        case "refund.created" if of["status"] not in ("failed", "canceled"):
            return told._replace(kind="refunded", document_id=of["id"])
        case "charge.dispute.created" | "charge.dispute.closed" if of["status"] in DISPUTES:
            status = DISPUTES[of["status"]]
            return told._replace(kind=KINDS[status], note=note_of_dispute(of), document_id=of["id"])
    return None


def parts_of_note(of: Mapping[str, Any]) -> list[tuple[Literal["credit_note", "refund"], int, int]]:
    """What a credit note took off before the payment, and what it gives back after it: kind, amount and tax, in micros.

    One of them is nothing, but where an invoice was paid in part: then the note takes off what is left, and gives back
    the rest.
    """
    tax = sum(one["amount"] for one in of.get("total_taxes") or [])
    before, after = of["pre_payment_amount"], of["post_payment_amount"]
    tax_before = tax * before // max(1, before + after)
    parts: list[tuple[Literal["credit_note", "refund"], int, int]] = [
        ("credit_note", before, tax_before),
        ("refund", after, tax - tax_before),
    ]
    return [(kind, _micros(amount, of), _micros(part, of)) for kind, amount, part in parts if amount]


def note_of_dispute(of: Mapping[str, Any]) -> str:
    """A dispute in a few words."""
    said = {"opened": "Disputed", "won": "Dispute won", "lost": "Dispute lost"}[DISPUTES[of["status"]]]
    return f"{said}: {str(of.get('reason') or 'unknown').replace('_', ' ')}"


def _of_invoice(told: GatewayEvent, kind: str, of: Mapping[str, Any]) -> GatewayEvent | None:
    credited = _micros(of.get("pre_payment_credit_notes_amount") or 0, of)
    told = told._replace(kind=INVOICES[kind], external_id=of["id"], credited_micros=credited)
    if kind == "invoice.paid" and not of["amount_paid"] and of["pre_payment_credit_notes_amount"]:
        # Credit notes took off all of it, and tell so themselves.
        return None
    if kind == "invoice.marked_uncollectible":
        return told._replace(note=UNCOLLECTIBLE)
    if kind == "invoice.payment_failed":
        # Of an invoice that was sent, the account has tried to pay, and may do so again.
        tried_again = of.get("next_payment_attempt") or of["collection_method"] != "charge_automatically"
        return None if tried_again else told._replace(note="Stripe could not charge it, and does not try again")
    return told


def _micros(amount: int, of: Mapping[str, Any]) -> int:
    return to_micros(amount, of["currency"].upper())
