"""The Stripe gateway, as both our double and Stripe's sandbox must show it (`make test-stripe`)."""

from __future__ import annotations

import asyncio

import pytest

from jobs.gateways.base import Buyer, Rejected, Unavailable, ask, identity
from rating.request import line
from tests.jobs.gateways.conftest import Place
from tests.jobs.gateways.requests import one_line, request_of
from tests.stripe_double.state import Account


async def test_a_request_becomes_a_sent_invoice_with_our_lines_due_days_and_identity(
    place: Place, buyer: Buyer
) -> None:
    gateway = place.link()
    asked = await ask(gateway, request_of(buyer), buyer)
    assert (asked.status, asked.tax_micros, asked.tax_included) == ("open", 0, False)
    invoice = place.client.v1.invoices.retrieve(asked.external_id).to_dict()
    assert invoice["status"] == "open"
    assert invoice["currency"] == "usd"
    assert invoice["total"] == invoice["total_excluding_tax"] == 246
    assert invoice["collection_method"] == "send_invoice"
    assert 0 <= invoice["due_date"] - invoice["created"] - 7 * 86_400 < 60
    assert invoice["metadata"]["callmeter_identity"] == identity(request_of(buyer))
    assert invoice["hosted_invoice_url"] == asked.url
    lines = {one["metadata"]["callmeter_line"]: one for one in invoice["lines"]["data"]}
    assert {name: one["amount"] for name, one in lines.items()} == {"allowance": 0, "overage": 246, "call_rounding": 0}
    assert lines["overage"]["description"] == "Overage: 20 min 30 s at 0.12 USD a minute"
    assert lines["allowance"]["description"] == "Used from the allowance: 100 min 0 s"


async def test_a_request_is_asked_for_once_however_often_and_by_how_many(place: Place, buyer: Buyer) -> None:
    request = request_of(buyer)
    first, second = await asyncio.gather(*(ask(place.link(), request, buyer) for _ in range(2)), return_exceptions=True)
    done = [one for one in (first, second) if not isinstance(one, BaseException)]
    # Stripe tells one of two at the very same moment to come again.
    assert done
    assert all(isinstance(one, Unavailable) for one in (first, second) if isinstance(one, BaseException))
    again = await ask(place.link(), request, buyer)
    assert {one.external_id for one in done} == {again.external_id}
    own = [one for one in place.invoices() if one["metadata"].get("callmeter_identity") == identity(request)]
    assert [one["status"] for one in own] == ["open"]


async def test_another_request_of_the_account_is_another_invoice_of_the_same_customer(
    place: Place, buyer: Buyer
) -> None:
    gateway = place.link()
    one = await ask(gateway, request_of(buyer), buyer)
    other = await ask(gateway, request_of(buyer, payment_request_id="pack:f1"), buyer)
    assert one.external_id != other.external_id
    customers = {
        place.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()["customer"] for asked in (one, other)
    }
    assert len(customers) == 1
    customer = place.client.v1.customers.retrieve(customers.pop()).to_dict()
    assert (customer["name"], customer["email"]) == ("Jane Dental", "jane@example.com")
    assert customer["metadata"]["callmeter_account"] == buyer.account_id


async def test_a_customer_that_is_marked_as_the_accounts_is_charged_by_what_it_has_on_file(
    place: Place, buyer: Buyer
) -> None:
    customer = place.client.v1.customers.create(
        {
            "email": buyer.email or "",
            "metadata": {"callmeter_account": buyer.account_id},
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    asked = await ask(place.link(collection="charge"), request_of(buyer), buyer)
    assert asked.status == "paid"
    assert place.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()["customer"] == customer.id


async def test_without_a_payment_method_a_charge_fails_with_stripes_reason(place: Place, buyer: Buyer) -> None:
    asked = await ask(place.link(collection="charge"), request_of(buyer), buyer)
    assert asked.status == "failed"
    assert "payment method" in str(asked.reason)


@pytest.mark.parametrize(
    ("currency", "micros", "minor"),
    [("USD", 12_340_000, 1_234), ("JPY", 1_234_000_000, 1_234), ("EUR", 10_000, 1), ("KWD", 5_120_000, 5_120)],
)
async def test_amounts_are_whole_minor_units_of_the_currency(
    at_double: Place, buyer: Buyer, currency: str, micros: int, minor: int
) -> None:
    asked = await ask(at_double.link(), request_of(buyer, one_line(micros), currency), buyer)
    assert at_double.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()["total"] == minor


async def test_what_stripe_cannot_ask_for_is_rejected_before_anything_is_made(place: Place, buyer: Buyer) -> None:
    with pytest.raises(Rejected, match=r"Stripe takes KWD in steps of 0\.01 only, and not 5\.124"):
        await ask(place.link(), request_of(buyer, one_line(5_124_000), "KWD"), buyer)
    assert [one for one in place.invoices() if one["metadata"].get("callmeter_account") == buyer.account_id] == []


async def test_an_invoice_is_canceled_once_and_a_paid_one_is_not(place: Place, buyer: Buyer) -> None:
    gateway = place.link()
    request = request_of(buyer)
    asked = await ask(gateway, request, buyer)
    sent = {**request, "external_id": asked.external_id}
    await gateway.cancel(sent)
    await gateway.cancel(sent)
    assert place.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()["status"] == "void"
    other = request_of(buyer, payment_request_id="other")
    paid = await ask(gateway, other, buyer)
    place.client.v1.invoices.pay(str(paid.external_id), {"paid_out_of_band": True})
    with pytest.raises(Rejected, match="was paid"):
        await gateway.cancel({**other, "external_id": paid.external_id})


async def test_money_goes_back_once_for_a_refund(place: Place, buyer: Buyer) -> None:
    place.client.v1.customers.create(
        {
            "metadata": {"callmeter_account": buyer.account_id},
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    gateway = place.link(collection="charge")
    request = request_of(buyer)
    paid = await ask(gateway, request, buyer)
    sent = {**request, "external_id": paid.external_id, "status": "paid"}
    first = await gateway.refund(sent, 1_000_000, "Line was down", "refund:f1")
    assert await gateway.refund(sent, 1_000_000, "Line was down", "refund:f1") == first
    notes = place.client.v1.credit_notes.list({"invoice": str(paid.external_id)}).to_dict()["data"]
    assert [(one["id"], one["amount"]) for one in notes] == [(first.external_id, 100)]
    with pytest.raises(Rejected):
        await gateway.refund(sent, 9_000_000, "Too much", "refund:f2")


async def test_of_an_open_invoice_less_is_asked_after_a_credit_note(place: Place, buyer: Buyer) -> None:
    gateway = place.link()
    request = request_of(buyer)
    asked = await ask(gateway, request, buyer)
    await gateway.refund({**request, "external_id": asked.external_id}, 1_000_000, "Goodwill", "credit:f1")
    assert place.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()["amount_remaining"] == 146


async def test_more_lines_than_an_invoice_has_room_for_are_summed_up(at_double: Place, buyer: Buyer) -> None:
    lines = [line(f"overage:{n}", "overage", f"Rate {n}", 1, "period", 10_000) for n in range(300)]
    asked = await ask(at_double.link(), request_of(buyer, lines), buyer)
    invoice = at_double.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()
    assert (len(invoice["lines"]["data"]), invoice["total"]) == (200, 300)
    assert "101 further lines" in {one["description"] for one in invoice["lines"]["data"]}


async def test_lines_that_are_no_whole_cents_sum_to_our_total(at_double: Place, buyer: Buyer) -> None:
    lines = [line(f"line:{n}", "overage", f"Rate {n}", 1, "period", 3_335) for n in range(7)]
    asked = await ask(at_double.link(), request_of(buyer, lines), buyer)
    invoice = at_double.client.v1.invoices.retrieve(str(asked.external_id)).to_dict()
    assert invoice["total"] == 2
    assert sorted(one["amount"] for one in invoice["lines"]["data"]) == [0] * 5 + [1] * 2


@pytest.mark.parametrize(
    ("fee", "minor"), [("2.5%", 6), ("0.50", 50), ("100%", 246), ("9.99", 246), ("0.204%", 1), ("0%", None)]
)
async def test_the_platform_keeps_its_fee(
    at_double: Place, agency: Account, buyer: Buyer, fee: str, minor: int | None
) -> None:
    asked = await ask(at_double.link(platform_fee=fee), request_of(buyer), buyer)
    assert agency.invoices[str(asked.external_id)]["_application_fee"] == minor
