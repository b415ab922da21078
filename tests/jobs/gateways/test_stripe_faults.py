"""Whatever goes wrong on the way to Stripe, and wherever: exactly one finalised invoice, and it was sent once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobs.gateways.base import Buyer, Rejected, Unavailable, ask
from jobs.gateways.stripe import StripeGateway
from streams.settings import Settings
from tests.jobs.gateways.conftest import Place
from tests.jobs.gateways.requests import request_of
from tests.stripe_double.server import Fault, StripeDouble
from tests.stripe_double.state import Account

TRIES = 20


async def keep_asking(place: Place, buyer: Buyer, options: dict[str, str]) -> Any:
    """Ask until it is done, each time as another process would: it knows nothing of the last one."""
    for _ in range(TRIES):
        try:
            return await ask(place.link(**options), request_of(buyer), buyer)
        except Unavailable:
            continue
    raise AssertionError("never done")


def finalised(agency: Account) -> list[dict[str, Any]]:
    """The invoices that ask for money."""
    return [one for one in agency.invoices.values() if one["status"] != "draft"]


def card(agency: Account, buyer: Buyer, method: str = "pm_card_visa") -> None:
    """Put a payment method on file."""
    given = {
        "metadata": {"callmeter_account": buyer.account_id},
        "invoice_settings": {"default_payment_method": method},
    }
    agency.create_customer(given)


FAULTS: list[Fault] = ["429", "500 before", "500 after", "silence after"]
WAYS = [{"collection": "invoice"}, {"collection": "charge"}, {"collection": "invoice", "tax": "default"}]


@pytest.mark.parametrize("later_s", [0, 3 * 86_400], ids=["at once", "when keys are forgotten"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", WAYS, ids=["sent", "charged", "taxed"])
async def test_a_fault_of_any_call_leaves_exactly_one_invoice(
    double: StripeDouble, at_double: Place, buyer: Buyer, way: dict[str, str], fault: Fault, later_s: int
) -> None:
    # Who is in a hurry may be late for what was answered: that is one more fault, and what comes out is the same.
    hurried, patient = (
        at_double.settings.model_copy(update={"stripe_timeout_s": seconds})
        for seconds in ((0.1, 1) if fault == "silence after" else (30, 30))
    )
    for number in range(40):
        agency = double.connect(f"acct_{fault.replace(' ', '')}{number}")
        agency.register("US")
        card(agency, buyer)
        begins = len(double.calls)
        double.faults = {begins + number: fault}
        gateway = StripeGateway("acme", {"account": agency.id, **way}, hurried)
        try:
            await ask(gateway, request_of(buyer), buyer)
        except Unavailable:
            double.passed_s += later_s
        again = StripeGateway("acme", {"account": agency.id, **way}, patient)
        asked = None
        for _ in range(TRIES):
            try:
                asked = await ask(again, request_of(buyer), buyer)
                break
            except Unavailable:
                continue
        await gateway.close()
        await again.close()
        assert asked is not None
        assert asked.status == ("paid" if way["collection"] == "charge" else "open")
        assert [one["id"] for one in agency.invoices.values()] == [asked.external_id]
        told = [one["type"] for one in agency.events]
        assert told.count("invoice.finalized") == 1
        assert told.count("invoice.sent") == (0 if way["collection"] == "charge" else 1)
        assert len(agency.customers) == 1
        if len(double.calls) - begins <= number:
            break
    else:
        raise AssertionError("there are more calls than were tried")
    assert number > 8


@pytest.mark.parametrize("fault", ["silence within", "break within"])
async def test_an_answer_that_breaks_off_is_asked_for_again(
    double: StripeDouble, agency: Account, at_double: Place, buyer: Buyer, fault: Fault
) -> None:
    at_double.settings = at_double.settings.model_copy(update={"stripe_timeout_s": 1})
    double.next_fails(fault)
    with pytest.raises(Unavailable, match="Stripe's answer broke off"):
        await ask(at_double.link(), request_of(buyer), buyer)
    assert (await ask(at_double.link(), request_of(buyer), buyer)).status == "open"


async def test_two_at_once_leave_one_invoice_wherever_each_of_them_is(
    double: StripeDouble, agency: Account, at_double: Place, buyer: Buyer
) -> None:
    for number in range(20):
        one = request_of(buyer, payment_request_id=f"r{number}")
        results = await asyncio.gather(*(ask(at_double.link(), one, buyer) for _ in range(3)))
        assert len({result.external_id for result in results}) == 1
    assert len(finalised(agency)) == len(agency.invoices) == 20
    assert [one["type"] for one in agency.events].count("invoice.sent") == 20
    assert len(agency.customers) == 1


async def test_what_was_asked_for_otherwise_before_is_still_asked_for_once(
    double: StripeDouble, agency: Account, at_double: Place, buyer: Buyer
) -> None:
    # The draft is there, its maker is gone; meanwhile the agency was linked otherwise.
    request = request_of(buyer)
    await at_double.link()._customer(buyer, make=True)
    await at_double.link(platform_fee="1%")._draft(next(iter(agency.customers)), request)
    asked = await ask(at_double.link(platform_fee="2%"), request, buyer)
    assert [one["id"] for one in finalised(agency)] == [asked.external_id]
    assert len(agency.invoices) == 1


async def test_stripes_search_which_lags_is_never_asked(double: StripeDouble, at_double: Place, buyer: Buyer) -> None:
    begins = len(double.calls)
    await ask(at_double.link(), request_of(buyer), buyer)
    assert not any("search" in call.operation for call in double.calls[begins:])
    found = at_double.client.v1.invoices.search({"query": f"metadata['callmeter_account']:'{buyer.account_id}'"})
    assert found.data == []


async def test_a_discount_at_stripe_is_found_before_anything_is_asked_and_mended_by_asking_again(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    agency.discount_percent = 10
    with pytest.raises(Rejected, match=r"Stripe would ask for 2\.22 USD where 2\.46 USD are owed"):
        await ask(at_double.link(), request_of(buyer), buyer)
    assert agency.invoices == {}
    agency.discount_percent = 0
    asked = await ask(at_double.link(), request_of(buyer), buyer)
    assert asked.status == "open"
    assert len(agency.invoices) == 1


async def test_a_card_that_is_declined_fails_with_stripes_words_once_nobody_tries_any_more(
    agency: Account, at_double: Place, buyer: Buyer
) -> None:
    card(agency, buyer, "pm_card_chargeCustomerFail")
    agency.retries = True
    tried = await ask(at_double.link(collection="charge"), request_of(buyer), buyer)
    assert (tried.status, tried.reason) == ("open", None)
    agency.retries = False
    other = request_of(buyer, payment_request_id="other")
    failed = await ask(at_double.link(collection="charge"), other, buyer)
    assert (failed.status, failed.reason) == ("failed", "Your card was declined.")


async def test_another_agencys_account_is_another_world(double: StripeDouble, at_double: Place, buyer: Buyer) -> None:
    other = double.connect("acct_elsewhere")
    asked = await ask(at_double.link(), request_of(buyer), buyer)
    gateway = StripeGateway("beta", {"account": other.id}, at_double.settings)
    assert await gateway.find(request_of(buyer), buyer) is None
    with pytest.raises(Rejected, match="No such invoice"):
        await gateway.cancel({**request_of(buyer), "external_id": asked.external_id})
    await gateway.close()


async def test_a_key_that_stripe_refuses_waits_and_is_never_shown(at_double: Place, buyer: Buyer) -> None:
    settings = at_double.settings.model_copy(update={"stripe_key": Settings(stripe_key="sk_test_secret123").stripe_key})
    gateway = StripeGateway("acme", {"account": at_double.account}, settings)
    with pytest.raises(Unavailable) as refused:
        await ask(gateway, request_of(buyer), buyer)
    assert "secret123" not in str(refused.value)
    await gateway.close()
    nobody = StripeGateway("acme", {"account": at_double.account}, Settings())
    with pytest.raises(Unavailable, match="CALLMETER_STRIPE_KEY is not set"):
        await ask(nobody, request_of(buyer), buyer)


async def test_no_stripe_at_the_address_waits(buyer: Buyer) -> None:
    settings = Settings(stripe_key="sk_test_x", stripe_api_base="http://127.0.0.1:9")
    gateway = StripeGateway("acme", {"account": "acct_1"}, settings)
    with pytest.raises(Unavailable, match="Stripe cannot be asked"):
        await ask(gateway, request_of(buyer), buyer)
    await gateway.close()
