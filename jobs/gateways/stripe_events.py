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

Kind = Literal["paid", "failed", "canceled", "refunded", "disputed"]
INVOICES: Mapping[str, Kind] = {
    "invoice.paid": "paid",
    "invoice.payment_failed": "failed",
    "invoice.marked_uncollectible": "failed",
    "invoice.voided": "canceled",
}


def parse_event(body: bytes, signature: str, secret: SecretStr | None) -> GatewayEvent | None:
    """What an event tells, None if it is nothing that matters.

    A charge that failed matters once Stripe does not try it again.

    Args:
        body: as it came in; another spelling of the same JSON has another signature.
        signature: of the header ``Stripe-Signature``.
        secret: of the webhook's endpoint.

    Raises:
        Unavailable: there is no secret.
        WebhookRefused: the signature is wrong, or older than five minutes; or it is no event.
    """
    if secret is None:
        raise Unavailable(
            "CALLMETER_STRIPE_WEBHOOK_SECRET is not set: it is the secret of the webhook's endpoint, whsec_..."
        )
    try:
        event = stripe.Webhook.construct_event(body, signature, secret.get_secret_value(), REPLAY_WINDOW_S).to_dict()
    except (stripe.SignatureVerificationError, ValueError) as error:
        raise WebhookRefused(f"this is no event of Stripe's: {error}") from None
    return _told(event)


def _told(event: Mapping[str, Any]) -> GatewayEvent | None:
    of, kind = event["data"]["object"], event["type"]
    own = (of.get("metadata") or {}).get("callmeter_identity")
    at = datetime.fromtimestamp(event["created"], UTC)
    head = event["id"], event.get("account") or ""
    if kind in INVOICES:
        if kind == "invoice.payment_failed" and of.get("next_payment_attempt"):
            return None
        return GatewayEvent(head[0], INVOICES[kind], head[1], of["id"], own, at)
    amount = to_micros(of["amount"], of["currency"].upper()) if "amount" in of and "currency" in of else None
    if kind == "credit_note.created" and of["post_payment_amount"]:
        return GatewayEvent(head[0], "refunded", head[1], of["invoice"], None, at, amount, of.get("memo"))
    if kind == "charge.dispute.created":
        return GatewayEvent(head[0], "disputed", head[1], of["payment_intent"], None, at, amount, of.get("reason"))
    return None
