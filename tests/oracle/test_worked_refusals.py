"""The oracle on what is refused, repeated or settled, worked out by hand from domain.md."""

import json
from typing import Any

import pytest

from tests.oracle.story import Told, call, canceled, fact, pack, started, tick


@pytest.mark.parametrize(
    ("terms", "wrong", "reason"),
    [
        ({}, pack("2026-11-02T00:00:00Z", 1, agency_id="ag 2"), "wrong_agency"),
        ({}, call("c", "2026-11-02T00:00:00Z", agency_id="ag 2"), "wrong_agency"),
        ({}, pack("2026-11-02T00:00:00Z", 1, currency="EUR"), "wrong_currency"),
        ({"packs": False}, pack("2026-11-02T00:00:00Z", 1), "packs_not_allowed"),
        ({"packs": ["boost-9"]}, pack("2026-11-02T00:00:00Z", 1), "packs_not_allowed"),
        ({}, pack("2026-11-02T00:00:00Z", 1, account_id="nobody"), "no_subscription"),
        ({}, call("c", "2026-11-02T00:00:00Z", account_id="nobody"), "no_subscription"),
        ({}, started("2026-11-02T00:00:00Z", "sub 2"), "already_subscribed"),
        ({}, canceled("2026-11-02T00:00:00Z", "now", "sub 2"), "illegal_change"),
        ({}, fact("wallet.adjusted", "w", "2026-11-02T00:00:00Z", minutes=-1, reason="r"), "illegal_change"),
        (
            {},
            fact("payment_request.settled", "s", "2026-11-02T00:00:00Z", payment_request_id="p", status="paid"),
            "unknown_request",
        ),
        ({}, tick("2026-11-02T00:00:00"), "malformed"),
        ({}, tick("2026-11-02T00:00:00.1234567Z"), "malformed"),
        ({}, {"type": "call.exploded", "account_id": "acct"}, "unknown_type"),
        ({}, b" " * 262_145, "too_large"),
        ({}, b"", "malformed"),
    ],
)
def test_refusals_change_nothing(terms: dict[str, Any], wrong: Any, reason: str) -> None:
    told = Told([started("2026-11-01T00:00:00Z", **terms), wrong])
    assert told.refusals == [reason]
    assert [output["topic"] for output in told.outputs] == ["billing-events", "billing-events", "dead-letters"]


def test_a_refused_fact_id_may_come_again_an_accepted_one_changes_nothing() -> None:
    wrong, right = (pack("2026-11-02T00:00:00Z", 1, currency=currency) for currency in ("EUR", "USD"))
    told = Told([started("2026-11-01T00:00:00Z"), wrong, right, right, wrong])
    assert told.refusals == ["wrong_currency"]
    assert told.billing("pack.credited", "wallet_left_s") == [60]


def test_a_payment_request_is_settled_once() -> None:
    at = "2026-11-02T00:00:00Z"
    created = fact("payment_request.created", "p", at, payment_request_id="p", kind="pack", currency="USD")
    line = {"line_id": "1", "kind": "pack", "description": "Boost", "quantity": 1, "unit": "pack"}
    line |= {"unit_price_micros": 9_000_000, "amount_micros": 9_000_000, "period_start": None, "period_end": None}
    created |= {"subscription_id": "sub", "period_start": None, "period_end": None, "lines": [line]}
    created |= {"subtotal_micros": 9_000_000, "rounding_micros": 0, "tax_micros": 0, "total_micros": 9_000_000}
    created |= {"due_at": "2026-11-02T01:00:00+01:00", "grace_ends_at": at}
    settled = [
        fact("payment_request.settled", f"s{i}", at, payment_request_id="p", status=status)
        for i, status in enumerate(("failed", "failed", "paid", "canceled"))
    ]
    told = Told([started("2026-11-01T00:00:00Z"), created, created, *settled])
    said = [(value["status"], value["paid_at"]) for value in told.on("payment-requests")]
    assert said == [("pending", None), ("failed", None), ("paid", at)]
    assert told.refusals == ["illegal_change", "illegal_change"]
    assert told.on("payment-requests")[0]["due_at"] == at
    assert json.dumps(told.outputs)
