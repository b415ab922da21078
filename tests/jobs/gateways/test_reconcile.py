"""Reconciling with Stripe: what the webhooks never brought, and what only people can mend."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from catalogue.collection import Entry
from catalogue.model import Account
from catalogue.store import put
from jobs.gateways.base import Buyer, ListedDocument, ListedRequest, identity
from jobs.gateways.reconcile import compare
from streams.settings import Settings
from tests.broker import command, produce, read_values
from tests.jobs.gateways.conftest import Place
from tests.jobs.gateways.requests import request_of
from tests.jobs.gateways.test_asking import begin, link, requests_of
from tests.stripe_double import invoices
from tests.stripe_double.server import StripeDouble
from tests.stripe_double.state import Account as AtStripe

AT = datetime(2026, 11, 3, tzinfo=UTC)
JANE = Buyer("jane", "acme")


def ours(status: str = "pending", external_id: str | None = "in_1", **fields: Any) -> dict[str, Any]:
    return request_of(JANE, status=status, gateway="stripe", external_id=external_id, corrects=None, **fields)


def theirs(status: Any = "open", external_id: str = "in_1", **fields: Any) -> ListedRequest:
    of = ours()
    known: dict[str, Any] = {"currency": "USD", "total_micros": of["total_micros"], "at": AT, **fields}
    return ListedRequest(external_id, identity(of), "jane", status, **known)


def kinds(requests: list[dict[str, Any]], *listed: ListedRequest) -> list[tuple[str, list[Any]]]:
    found = compare(requests, listed, "stripe")
    return [(one.kind, [fact.get("status") or fact["type"] for fact in one.facts]) for one in found]


@pytest.mark.parametrize("status", ["pending", "overdue", "paid", "failed", "canceled"])
@pytest.mark.parametrize("there", ["open", "paid", "failed", "canceled"])
def test_of_two_states_the_gateways_counts_as_long_as_nothing_is_settled_here(status: str, there: str) -> None:
    same = {("pending", "open"), ("overdue", "open"), ("failed", "open"), (status, status)}
    if (status, there) in same:
        expected: list[Any] = []
    elif status in ("paid", "canceled"):
        expected = [("status", [])]
    else:
        expected = [("status", [there])]
    assert kinds([ours(status)], theirs(there)) == expected


def test_what_was_asked_and_not_told_is_told_with_its_tax_and_what_became_of_it() -> None:
    request = ours(external_id=None)
    listed = theirs("paid", tax_micros=200_000, total_micros=request["total_micros"] + 200_000)
    found = compare([request], [listed], "stripe")
    assert [one.kind for one in found] == ["not_told", "status"]
    (sent,), (settled,) = (one.facts for one in found)
    assert (sent["external_id"], sent["tax_micros"], sent["tax_included"]) == ("in_1", 200_000, False)
    assert (settled["status"], settled["reference"], settled["at"]) == ("paid", "in_1", "2026-11-03T00:00:00Z")


def test_what_people_have_to_mend_is_named() -> None:
    second = theirs("open", "in_2")
    # Newest first, as gateways list.
    assert kinds([ours()], second, theirs()) == [("twice", [])]
    assert kinds([ours(external_id=None)], second, theirs()) == [("not_told", ["payment_request.sent"]), ("twice", [])]
    assert kinds([ours()], second._replace(status="canceled"), theirs()) == []
    assert kinds([ours()]) == [("missing_outside", [])]
    assert kinds([ours(external_id=None)]) == []
    assert kinds([], theirs()) == [("unknown_here", [])]
    assert kinds([], theirs("canceled")) == []
    assert kinds([ours()], theirs(total_micros=1)) == [("amount", [])]
    assert kinds([{**ours(), "gateway": "post"}]) == []


def test_credits_come_before_the_payment_and_refunds_after_it() -> None:
    credit = ListedDocument("credit_note", "cn_1", None, 1_000_000, 0, AT, "Goodwill")
    refund = ListedDocument("refund", "cn_2", "refund:f1", 500_000, 0, AT, None)
    listed = theirs("paid", documents=(credit, refund))
    found = compare([ours()], [listed], "stripe")
    assert [one.kind for one in found] == ["credit_note", "status", "refund"]
    assert [one.facts[0]["fact_id"] for one in found if one.kind != "status"] == ["cn_1", "f1"]
    made = [
        {**ours("paid", "cn_1"), "payment_request_id": "credit_note:cn_1", "kind": "credit_note"},
        {**ours("paid", "cn_2"), "payment_request_id": "refund:f1", "kind": "refund"},
    ]
    documents = [{**one, "corrects": ours()["payment_request_id"]} for one in made]
    assert kinds([ours("paid"), *documents], listed) == []
    assert kinds([ours("paid"), *documents], theirs("paid")) == [("credit_note", []), ("refund", [])]
    assert kinds([ours()], theirs("canceled", documents=(credit,))) == [("credit_note", ["payment_request.corrected"])]
    # Here it was paid as a whole: that is no more to be credited.
    assert kinds([ours("paid")], theirs("paid", documents=(credit,))) == [("credit_note", [])]


@pytest.mark.parametrize("here", [None, "opened", "won", "lost"])
@pytest.mark.parametrize("there", [None, "opened", "won", "lost"])
def test_disputes_are_brought_up_to_the_banks_decision(here: str | None, there: Any) -> None:
    dispute = ListedDocument("dispute", "dp_1", None, 1_000_000, 0, AT, "Disputed: fraudulent", there)
    listed = theirs("paid", documents=(dispute,) if there else ())
    document = {"payment_request_id": "dispute:dp_1", "kind": "dispute", "disputed_micros": 1_000_000}
    known = {**ours(here or "", "dp_1"), **document, "corrects": ours()["payment_request_id"]}
    found = kinds([ours("paid"), *([known] if here else [])], listed)
    if here == there:
        assert found == []
    else:
        repaired = there is not None and here in (None, "opened")
        assert found == [("dispute", [there] if repaired else [])]


async def test_long_lists_are_read_to_their_end_whatever_fails_meanwhile(
    double: StripeDouble, agency: AtStripe, at_double: Place
) -> None:
    customer = agency.create_customer({})
    for number in range(205):
        made = invoices.create(
            agency,
            {"customer": customer["id"], "metadata": {"callmeter_identity": f"jane/{number}"} if number % 2 else {}},
        )
        invoices.finalize(agency, made)
    # Something is begun, and no more.
    invoices.create(agency, {"customer": customer["id"], "metadata": {"callmeter_identity": "jane/draft"}})
    double.next_fails("429", "500 before")
    listed = [one.identity async for one in at_double.link().requests()]
    assert sorted(listed) == sorted(f"jane/{number}" for number in range(1, 205, 2))


async def test_what_webhooks_never_brought_is_repaired_and_the_rest_is_left(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own = await link(pipeline, agency, tax="exclusive")
    clients = [f"{name}-{own}" for name in ("paid", "void", "credited", "refunded", "gone", "same")]
    for client in clients:
        buyer = Account(agency=own, name="C", email="c@example.com", country="US", postal_code="10001")
        await put(pipeline, Entry(own, "account", client, buyer))
    await produce(pipeline, [begin(own, client, due_days=14) for client in clients])
    requests = await requests_of(pipeline, 6, agency_id=own, external_id=bool)
    invoice = {one["account_id"].split("-")[0]: agency.invoices[one["external_id"]] for one in requests}

    def run(*options: str) -> tuple[int, Any]:
        done = command(pipeline, "gateway", "reconcile", own, "--json", *options)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    code, found = run()
    assert (code, found) == (0, {"agency_id": own, "requests": 6, "listed": 6, "repaired": [], "left": []})
    for name in ("paid", "refunded"):
        agency.customers[invoice[name]["customer"]]["invoice_settings"]["default_payment_method"] = "pm_card_visa"
        invoices.pay(agency, invoice[name], {})
    invoices.void(agency, invoice["void"])
    invoices.create_credit_note(agency, {"invoice": invoice["credited"]["id"], "amount": 5_336})
    note = {"invoice": invoice["refunded"]["id"], "amount": 100, "refund_amount": 100}
    invoices.create_credit_note(agency, note)
    lost = invoices.dispute(agency, invoice["refunded"], 300)
    lost["status"] = "lost"
    payment = next(one for one in agency.payments.values() if one["invoice"] == invoice["refunded"]["id"])
    intent = payment["payment"]["payment_intent"]
    plain = invoices.create_refund(agency, {"payment_intent": intent, "amount": 200})
    del agency.invoices[invoice["gone"]["id"]]
    code, found = run()
    assert (code, found["repaired"]) == (1, [])
    assert {(one["account_id"].split("-")[0], one["kind"]) for one in found["left"]} == {
        ("paid", "status"),
        ("void", "status"),
        ("credited", "credit_note"),
        ("refunded", "status"),
        ("refunded", "refund"),
        ("refunded", "dispute"),
        ("gone", "missing_outside"),
    }
    code, found = run("--repair")
    assert (code, len(found["repaired"]), [one["kind"] for one in found["left"]]) == (1, 7, ["missing_outside"])
    by_account = {
        one["account_id"].split("-")[0]: one["status"]
        for one in await requests_of(pipeline, 6, agency_id=own, kind="cycle")
    }
    assert by_account == {
        "paid": "paid",
        "void": "canceled",
        "credited": "canceled",
        "refunded": "paid",
        "gone": "pending",
        "same": "pending",
    }
    refunds = await requests_of(pipeline, 3, agency_id=own, kind="refund")
    assert {(one["external_id"], one["total_micros"]) for one in refunds} == {
        (next(reversed(agency.credit_notes)), -1_000_000),
        (plain["id"], -2_000_000),
        (lost["id"], -3_000_000),
    }
    assert run("--repair") == (1, {**found, "repaired": []})
    assert [one for one in await read_values(pipeline, "dead-letters") if one.get("agency_id") == own] == []
    shown = command(pipeline, "gateway", "reconcile", own)
    assert (shown.returncode, "1 difference left" in shown.stdout) == (1, True)


async def test_what_cannot_be_reconciled_is_refused(pipeline: Settings, agency: AtStripe) -> None:
    own = await link(pipeline, agency)
    assert command(pipeline, "gateway", "unlink", own).returncode == 0
    refused = command(pipeline, "gateway", "reconcile", own)
    assert (refused.returncode, "not_linked" in refused.stderr) == (1, True)
    assert command(pipeline, "gateway", "reconcile", "nobody").returncode == 1
