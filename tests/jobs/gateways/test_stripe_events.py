"""Signed events of another shape, as of a newer Stripe: they are refused with the reason, and are no defect."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from pydantic import SecretStr

from jobs.gateways.base import WebhookRefused
from jobs.gateways.stripe_events import parse_event
from tests.stripe_double.server import WEBHOOK_SECRET, signed

INVOICE = {
    "id": "in_1", "object": "invoice", "currency": "usd", "amount_paid": 4_900, "pre_payment_credit_notes_amount": 0,
    "collection_method": "charge_automatically", "next_payment_attempt": None,
    "metadata": {"callmeter_identity": "pr_1", "callmeter_account": "acct_1", "callmeter_agency": "acme"},
}  # fmt: skip
NOTE = {
    "id": "cn_1", "object": "credit_note", "currency": "usd", "amount": 700, "pre_payment_amount": 700,
    "post_payment_amount": 0, "invoice": "in_1", "memo": None, "total_taxes": [{"amount": 50}], "metadata": {},
}  # fmt: skip
REFUND = {"id": "re_1", "object": "refund", "currency": "usd", "amount": 700, "status": "succeeded", "metadata": {}}
DISPUTE = {
    "id": "dp_1", "object": "dispute", "currency": "usd", "amount": 700, "status": "needs_response",
    "payment_intent": "pi_1", "reason": "fraudulent",
}  # fmt: skip
EVENTS = [
    ("invoice.paid", INVOICE),
    ("invoice.payment_failed", INVOICE),
    ("credit_note.created", NOTE),
    ("refund.created", REFUND),
    ("charge.dispute.created", DISPUTE),
]


def event_of(kind: str, of: Any) -> dict[str, Any]:
    return {
        "id": "evt_1", "object": "event", "type": kind, "account": "acct_s", "created": int(time.time()),
        "data": {"object": of},
    }  # fmt: skip


def parsed(event: Any) -> Any:
    body, signature = signed(event, secret=WEBHOOK_SECRET)
    return parse_event(body, signature, SecretStr(WEBHOOK_SECRET))


def places(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every place in an object."""
    for name, value in content.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from places(value, (*path, name))


@pytest.mark.parametrize(("kind", "of"), EVENTS, ids=[kind for kind, _ in EVENTS])
def test_an_event_of_another_shape_is_told_or_refused_and_never_a_defect(kind: str, of: Any) -> None:
    assert parsed(event_of(kind, of)) is not None
    for *above, name in places(event_of(kind, of)):
        for other in (None, [], {}, "x", -1, 10**30, ...):
            event = deepcopy(event_of(kind, of))
            place = event
            for step in above:
                place = place[step]
            if other is ...:
                del place[name]
            else:
                place[name] = other
            try:
                parsed(event)
            except WebhookRefused as refused:
                assert str(refused).startswith("this is no event of Stripe's"), (above, name, other)


def test_what_is_missing_is_named() -> None:
    event = event_of("invoice.paid", INVOICE)
    del event["created"]
    with pytest.raises(WebhookRefused, match="it has no created"):
        parsed(event)
