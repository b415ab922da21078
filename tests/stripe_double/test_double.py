"""The double itself: what it refuses, what it remembers, and that it answers in the shape of Stripe's answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from jobs.gateways.base import Buyer, Rejected, ask
from jobs.gateways.stripe import StripeGateway
from streams.settings import Settings
from tests.jobs.gateways.requests import request_of
from tests.stripe_double.cut import CUT, STRIPE_MOCK, cut, published
from tests.stripe_double.server import KEY, StripeDouble, stripe_double
from tests.stripe_double.state import Account

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="stripe-mock is a Go module, and there is no Go here")


@pytest.fixture(scope="module")
def double() -> Iterator[StripeDouble]:
    with stripe_double() as running:
        yield running


@pytest.fixture
def account(double: StripeDouble) -> Account:
    double.faults.clear()
    return double.connect(f"acct_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def client(double: StripeDouble, account: Account) -> stripe.StripeClient:
    return client_of(double.url, KEY, account.id)


def client_of(url: str, key: str, account: str | None) -> stripe.StripeClient:
    return stripe.StripeClient(key, stripe_account=account, base_addresses={"api": url}, max_network_retries=0)


def open_invoice(client: stripe.StripeClient) -> Any:
    """An invoice of 12.34 that asks for money."""
    customer = client.v1.customers.create({"name": "Jane", "email": "jane@example.com"})
    invoice = client.v1.invoices.create(
        {"customer": customer.id, "currency": "usd", "collection_method": "send_invoice", "days_until_due": 7}
    )
    item: Any = {"customer": customer.id, "invoice": invoice.id, "amount": 1234, "currency": "usd"}
    client.v1.invoice_items.create(item)
    return client.v1.invoices.send_invoice(str(invoice.id))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"customer": "cus_1", "colour": "red"}, "Received unknown parameter: colour"),
        (
            {"customer": "cus_1", "automatic_tax": {"liability": {"type": "self"}}},
            "Missing required param: automatic_tax[enabled]",
        ),
        ({"customer": "cus_1", "days_until_due": "soon"}, "Invalid days_until_due: 'soon' is not of type 'integer'"),
        ({"customer": "cus_1", "collection_method": "by_hand"}, "Invalid collection_method: 'by_hand' is not one of"),
        ({"customer": "cus_1"}, "No such customer: 'cus_1'"),
    ],
)
def test_what_fails_stripes_description_is_refused(client: stripe.StripeClient, given: Any, words: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.invoices.create(given)
    assert words in str(refused.value)


def test_what_is_not_described_is_not_there(client: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
        client.v1.coupons.list()


def test_an_account_sees_its_own_objects_only(double: StripeDouble, client: stripe.StripeClient) -> None:
    invoice = open_invoice(client)
    other = client_of(double.url, KEY, double.connect("acct_other").id)
    with pytest.raises(stripe.InvalidRequestError, match="No such invoice"):
        other.v1.invoices.retrieve(invoice.id)
    assert other.v1.invoices.list().data == []
    with pytest.raises(stripe.PermissionError, match="does not have access to account 'acct_nobody'"):
        client_of(double.url, KEY, "acct_nobody").v1.customers.list()
    with pytest.raises(stripe.AuthenticationError):
        client_of(double.url, "sk_test_wrong", "acct_other").v1.customers.list()


def test_a_key_is_answered_as_before_until_it_is_forgotten(
    double: StripeDouble, account: Account, client: stripe.StripeClient
) -> None:
    options: Any = {"idempotency_key": uuid.uuid4().hex}
    first = client.v1.customers.create({"name": "Jane"}, options)
    again = client.v1.customers.create({"name": "Jane"}, options)
    assert again.id == first.id
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "June"}, options)
    double.passed_s += 24 * 3600
    assert client.v1.customers.create({"name": "Jane"}, options).id != first.id
    assert len(account.customers) == 2


def test_a_failure_is_kept_with_its_key_and_what_was_refused_is_not(
    double: StripeDouble, account: Account, client: stripe.StripeClient
) -> None:
    options: Any = {"idempotency_key": uuid.uuid4().hex}
    double.next_fails("500 after")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            client.v1.customers.create({"name": "Jane"}, options)
    assert (failed.value.headers or {})["idempotent-replayed"] == "true"
    assert len(account.customers) == 1
    refused: Any = {"idempotency_key": uuid.uuid4().hex}
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.create({"customer": "cus_later"}, refused)
    customer = client.v1.customers.create()
    assert client.v1.invoices.create({"customer": customer.id}, refused).customer == customer.id


def test_limits_silence_and_failures_come_when_they_are_told(double: StripeDouble, client: stripe.StripeClient) -> None:
    double.next_fails("429", "500 before")
    with pytest.raises(stripe.RateLimitError):
        client.v1.customers.list()
    with pytest.raises(stripe.APIError):
        client.v1.customers.list()
    assert client.v1.customers.list().data == []


def test_a_search_lags_behind_and_a_list_does_not(double: StripeDouble, client: stripe.StripeClient) -> None:
    invoice = open_invoice(client)
    assert client.v1.invoices.search({"query": "total>0"}).data == []
    assert [one.id for one in client.v1.invoices.list().data] == [invoice.id]
    double.passed_s += 61
    assert [one.id for one in client.v1.invoices.search({"query": "total>0"}).data] == [invoice.id]


def test_lists_have_pages_newest_first(client: stripe.StripeClient) -> None:
    made = [client.v1.customers.create({"name": str(number)}).id for number in range(5)]
    first = client.v1.customers.list({"limit": 2})
    assert ([one.id for one in first.data], first.has_more) == ([made[4], made[3]], True)
    assert [one.id for one in client.v1.customers.list({"limit": 2}).auto_paging_iter()] == made[::-1]
    newer = client.v1.customers.list({"limit": 2, "ending_before": made[0]}).auto_paging_iter()
    assert sorted(str(one.id) for one in newer) == made[1:]


def test_an_invoice_goes_from_draft_to_open_to_paid_or_void_and_no_other_way(client: stripe.StripeClient) -> None:
    invoice = open_invoice(client)
    assert (invoice.status, invoice.total, invoice.amount_remaining) == ("open", 1234, 1234)
    item: Any = {"customer": invoice.customer, "invoice": invoice.id, "amount": 1, "currency": "usd"}
    for illegal in (
        lambda: client.v1.invoices.delete(invoice.id),
        lambda: client.v1.invoices.finalize_invoice(invoice.id),
        lambda: client.v1.invoice_items.create(item),
    ):
        with pytest.raises(stripe.InvalidRequestError):
            illegal()
    assert client.v1.invoices.pay(invoice.id, {"paid_out_of_band": True}).status == "paid"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.void_invoice(invoice.id)
    other = open_invoice(client)
    assert client.v1.invoices.void_invoice(other.id).status == "void"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.pay(other.id)


def test_tax_needs_settings_and_a_place_and_is_nothing_without_a_registration(
    account: Account, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create()
    taxed: Any = {"customer": customer.id, "automatic_tax": {"enabled": True}}
    account.tax["head_office"] = None
    with pytest.raises(stripe.InvalidRequestError, match="head office"):
        client.v1.invoices.create(taxed)
    client.v1.tax.settings.update({"head_office": {"address": {"country": "DE"}}})
    with pytest.raises(stripe.InvalidRequestError, match="location isn't recognized"):
        client.v1.invoices.create(taxed)
    client.v1.customers.update(str(customer.id), {"address": {"country": "DE"}})
    invoice = client.v1.invoices.create(taxed)
    item: Any = {"customer": customer.id, "invoice": invoice.id, "amount": 1000, "currency": "usd"}
    client.v1.invoice_items.create(item)
    assert client.v1.invoices.retrieve(str(invoice.id)).total == 1000
    registration: Any = {
        "country": "DE",
        "country_options": {"de": {"type": "standard", "standard": {"place_of_supply_scheme": "standard"}}},
        "active_from": "now",
    }
    client.v1.tax.registrations.create(registration)
    assert client.v1.invoices.retrieve(str(invoice.id)).total == 1190
    with pytest.raises(stripe.InvalidRequestError, match="negative"):
        client.v1.invoice_items.create({**item, "amount": -1})


# Stripe's own description, and stripe-mock, where they can be had.


@needs_go
def test_the_cut_is_of_the_description_that_stripe_mock_carries() -> None:
    assert json.loads(CUT.read_text()) == cut(published())


@pytest.fixture(scope="module")
def stripe_mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where stripe-mock listens: it holds requests against Stripe's description, and forgets everything."""
    folder: Path = tmp_path_factory.mktemp("stripe-mock")
    build = ["go", "install", STRIPE_MOCK]
    environment = {**os.environ, "GOBIN": str(folder)}
    subprocess.run(build, cwd=folder, env=environment, check=True, capture_output=True)
    running = subprocess.Popen(
        [str(folder / "stripe-mock"), "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        for said in running.stdout:
            if "Listening for HTTP" in said:
                yield f"http://{said.rsplit(' ', 1)[1].strip()}"
                break
    finally:
        running.kill()
        running.wait()


@needs_go
@pytest.mark.parametrize("options", [{}, {"tax": "exclusive"}, {"collection": "charge", "platform_fee": "2%"}])
async def test_stripe_mock_takes_all_that_the_gateway_asks(stripe_mock: str, options: dict[str, str]) -> None:
    settings = Settings(stripe_key="sk_test_123", stripe_api_base=stripe_mock)
    gateway = StripeGateway("acme", {"account": "acct_1", **options}, settings)
    buyer = Buyer("jane", "acme", "Jane", "jane@example.com", "US", "NY", "10001", "us_ein:12-3456789")
    assert {step.name for step in await gateway.preflight(["USD"], buyer)} >= {"charges_enabled", "currency_supported"}
    # Its invoice is always the same one, so the sum is not ours: up to there, everything was taken.
    with pytest.raises(Rejected, match="Stripe would ask for"):
        await ask(gateway, request_of(buyer), buyer)
    await gateway.close()


@needs_go
def test_answers_have_no_field_that_stripe_mocks_have_not(stripe_mock: str, client: stripe.StripeClient) -> None:
    mock = client_of(stripe_mock, "sk_test_123", None)
    looks: list[Callable[[stripe.StripeClient], Any]] = [
        lambda place: place.v1.customers.create({"name": "Jane"}),
        open_invoice,
        lambda place: place.v1.invoice_items.list().data[0],
        lambda place: place.v1.invoices.list().data[0].lines.data[0],
        lambda place: place.v1.tax.settings.retrieve(),
        lambda place: place.v1.country_specs.retrieve("US"),
    ]
    for look in looks:
        ours, theirs = look(client).to_dict(), look(mock).to_dict()
        assert set(ours) <= set(theirs)
