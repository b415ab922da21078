"""Taxes that Stripe reckons: on top or included, by the sums that must hold; and what tells of payments."""

from __future__ import annotations

import time

import pytest

from jobs.gateways.base import Buyer, GatewayEvent, Rejected, Unavailable, WebhookRefused, ask, identity
from jobs.gateways.stripe import StripeGateway
from rating.request import line
from streams.settings import Settings
from tests.jobs.gateways.conftest import Place
from tests.jobs.gateways.requests import one_line, request_of
from tests.stripe_double import invoices
from tests.stripe_double.server import signed
from tests.stripe_double.state import Account

DE = {"country": "DE", "province": None, "postal_code": "10115"}


@pytest.mark.parametrize(
    ("tax", "currency", "total", "tax_micros", "included"),
    [
        ("exclusive", "USD", 10_890, 8_900_000, False),
        ("inclusive", "USD", 10_000, 8_170_000, True),
        ("inferred_by_currency", "USD", 10_890, 8_900_000, False),
        ("inferred_by_currency", "EUR", 10_000, 8_170_000, True),
        ("default", "USD", 10_890, 8_900_000, False),
        ("off", "USD", 10_000, 0, False),
    ],
)
async def test_stripes_total_is_ours_and_the_tax_on_top_or_in_it_is_known(
    agency: Account,
    at_double: Place,
    buyer: Buyer,
    tax: str,
    currency: str,
    total: int,
    tax_micros: int,
    included: bool,
) -> None:
    request = request_of(buyer, one_line(100_000_000), currency)
    asked = await ask(at_double.link(tax=tax), request, buyer)
    assert (asked.tax_micros, asked.tax_included) == (tax_micros, included)
    shown = invoices.shown(agency, agency.invoices[str(asked.external_id)])
    assert shown["total"] == total
    assert (shown["total_excluding_tax"] == 10_000) is not included or tax == "off"


async def test_without_a_registration_for_the_country_the_tax_is_nothing(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    asked = await ask(at_double.link(tax="exclusive"), request_of(buyer), buyer._replace(**DE))
    assert asked.tax_micros == 0


async def test_the_plans_tax_code_comes_before_the_links_before_stripes(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    for number, (link, of_plan, used) in enumerate(
        [(None, None, "txcd_10000000"), ("txcd_2", None, "txcd_2"), ("txcd_2", "txcd_3", "txcd_3")]
    ):
        options = {"tax": "exclusive", **({"tax_code": link} if link else {})}
        request = request_of(buyer, one_line(1_000_000), payment_request_id=f"r{number}")
        await ask(at_double.link(**options), request, buyer._replace(tax_code=of_plan))
        assert list(agency.items.values())[-1]["_tax_code"] == used


async def test_credits_are_taken_off_the_largest_line_where_tax_allows_no_negative_amount(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    lines = [
        line("charge", "charge", "Plan pro, part of a period", 1, "period", 50_000_000),
        line("number", "number", "Numbers", 2, "number", 1_000_000),
        line("credit", "credit", "Plan starter, unused", 1, "period", -20_000_000),
    ]
    asked = await ask(at_double.link(tax="exclusive"), request_of(buyer, lines), buyer)
    shown = invoices.shown(agency, agency.invoices[str(asked.external_id)])
    assert [(one["description"], one["amount"]) for one in shown["lines"]["data"]] == [
        ("Plan pro, part of a period (less credits)", 3_000),
        ("Numbers: 2 at 1 USD", 200),
        ("Plan starter, unused", 0),
    ]
    off = await ask(at_double.link(), request_of(buyer, lines, payment_request_id="off"), buyer)
    assert invoices.shown(agency, agency.invoices[str(off.external_id)])["lines"]["data"][2]["amount"] == -2_000


async def test_a_customer_that_stripe_cannot_place_is_rejected_in_its_words(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    nowhere = buyer._replace(country=None, province=None, postal_code=None)
    with pytest.raises(Rejected, match="The customer's location isn't recognized"):
        await ask(at_double.link(tax="exclusive"), request_of(buyer), nowhere)
    assert agency.invoices == {}


async def test_a_tax_id_is_given_to_the_customer_once(agency: Account, at_double: Place, buyer: Buyer) -> None:
    known = buyer._replace(**DE, tax_id="eu_vat:DE123456789")
    for number in range(2):
        await ask(at_double.link(), request_of(buyer, payment_request_id=f"r{number}"), known)
    assert [(one["type"], one["value"]) for one in agency.tax_ids.values()] == [("eu_vat", "DE123456789")]


async def test_a_paid_invoice_is_told_with_our_identity(agency: Account, at_double: Place, buyer: Buyer) -> None:
    gateway = at_double.link()
    asked = await ask(gateway, request_of(buyer), buyer)
    invoices.pay(agency, agency.invoices[str(asked.external_id)], {"paid_out_of_band": True})
    told = told_by(gateway, *signed(agency.events[-1]))
    assert told is not None
    assert (told.kind, told.external_account, told.external_id) == ("paid", agency.id, asked.external_id)
    assert told.identity == identity(request_of(buyer))
    assert told.event_id == agency.events[-1]["id"]


async def test_what_matters_of_an_invoices_life_is_told(agency: Account, at_double: Place, buyer: Buyer) -> None:
    agency.create_customer(
        {
            "metadata": {"callmeter_account": buyer.account_id},
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    gateway = at_double.link(collection="charge")
    asked = await ask(gateway, request_of(buyer), buyer)
    await gateway.refund(
        {**request_of(buyer), "external_id": asked.external_id, "status": "paid"}, 1_000_000, "Line was down", "r1"
    )
    invoices.dispute(agency, agency.invoices[str(asked.external_id)])
    sent = at_double.link()
    other = await ask(sent, request_of(buyer, payment_request_id="other"), buyer)
    await sent.cancel({**request_of(buyer), "external_id": other.external_id})
    told = [told_by(gateway, *signed(event)) for event in agency.events]
    kinds = [(one.kind, one.amount_micros, one.correction_id) for one in told if one is not None]
    assert kinds == [
        ("paid", 0, None),
        ("refunded", 1_000_000, None),
        ("refunded", 1_000_000, "r1"),
        ("disputed", 2_460_000, None),
        ("canceled", 0, None),
    ]


async def test_a_charge_that_stripe_tries_again_is_no_failure_yet(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    agency.create_customer(
        {"metadata": {"callmeter_account": buyer.account_id}, "invoice_settings": {"default_payment_method": "pm_no"}}
    )
    gateway = at_double.link(collection="charge")
    for retries, kinds in ((True, []), (False, ["failed"])):
        agency.retries = retries
        agency.events.clear()
        await ask(gateway, request_of(buyer, payment_request_id=f"r{retries}"), buyer)
        told = [told_by(gateway, *signed(event)) for event in agency.events]
        assert [one.kind for one in told if one] == kinds


EVENT = {"id": "evt_1", "object": "event", "type": "ping", "created": 1, "data": {"object": {}}, "account": "acct_1"}


def test_what_is_not_signed_by_stripe_is_refused() -> None:
    gateway = StripeGateway("acme", {"account": "acct_1"}, Settings(stripe_webhook_secret="whsec_double"))
    body, signature = signed(EVENT)
    assert told_by(gateway, body, signature) is None
    for wrong in (
        (body.replace(b"evt_1", b"evt_2"), signature),
        (body, signature.replace("v1=", "v1=00")),
        (body, ""),
        signed(EVENT, secret="whsec_other"),
        signed(EVENT, at=int(time.time()) - 301),
    ):
        with pytest.raises(WebhookRefused):
            told_by(gateway, *wrong)
    with pytest.raises(Unavailable, match="CALLMETER_STRIPE_WEBHOOK_SECRET is not set"):
        told_by(StripeGateway("acme", {"account": "acct_1"}, Settings()), body, signature)


def told_by(gateway: StripeGateway, body: bytes, signature: str) -> GatewayEvent | None:
    return gateway.parse_webhook(body, {"stripe-signature": signature})
