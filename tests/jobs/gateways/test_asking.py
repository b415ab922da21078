"""Payment requests on their way to Stripe and back into the log, on the real broker, meter and billing job."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from catalogue.collection import Entry
from catalogue.model import Account, Agency, GatewayLink, Pack, Plan
from catalogue.store import put
from jobs.requests import read_requests, settled
from streams.settings import Settings
from tests.broker import Process, command, process, produce, read_values, wait_until
from tests.jobs.gateways.conftest import at
from tests.rating.builders import pack, subscription
from tests.stripe_double import invoices
from tests.stripe_double.server import Call, StripeDouble
from tests.stripe_double.state import Account as AtStripe

Make = Callable[..., Settings]
JANE = {"name": "Jane", "email": "jane@example.com", "country": "US", "postal_code": "10001"}


@pytest.fixture
def to_stripe(make_settings: Make, double: StripeDouble) -> Settings:
    """Settings of this test alone, with the double for Stripe."""
    double.faults.clear()
    return make_settings(**at(double))


async def link(settings: Settings, at_stripe: AtStripe, agency: str = "", **options: str) -> str:
    """Put an agency into the catalogue that Stripe asks for, with the client ``jane-of-<agency>``; the agency's id."""
    agency = agency or f"agency_{at_stripe.id}"
    bodies: list[tuple[Any, str, Any]] = [
        ("agency", agency, Agency(name="Acme", currency="USD")),
        ("plan", "starter", Plan(agency=agency, every="1 month")),
        ("gateway", agency, GatewayLink(agency=agency, gateway="stripe", options={"account": at_stripe.id, **options})),
        ("account", f"jane-of-{agency}", Account(agency=agency, **JANE)),
    ]
    for kind, own, body in bodies:
        await put(settings, Entry(agency, kind, own, body))
    return agency


def begin(agency: str, account: str = "", **terms: Any) -> dict[str, Any]:
    """A client is put on a plan of 49.00."""
    account = account or f"jane-of-{agency}"
    return subscription(account=account, agency=agency, sub=f"sub_{account}", price_micros=49_000_000, **terms)


async def requests_of(settings: Settings, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """Payment requests, once so many of them are like that."""
    agency = fields.pop("agency_id")

    async def found() -> list[dict[str, Any]] | None:
        listed = await read_requests(settings, agency_id=agency)
        like = [one for one in listed if all(test(one[name]) for name, test in tests.items())]
        return like if len(like) == count else None

    tests = {name: value if callable(value) else value.__eq__ for name, value in fields.items()}
    return await wait_until(found, what=f"{count} requests with {fields}")


async def test_a_request_is_raised_asked_for_and_known_with_its_invoice(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own = await link(pipeline, agency, tax="exclusive")
    await produce(pipeline, [begin(own, due_days=14)])
    (request,) = await requests_of(pipeline, agency_id=own, external_id=bool)
    (invoice,) = agency.invoices.values()
    assert (request["gateway"], request["external_id"], request["status"]) == ("stripe", invoice["id"], "pending")
    shown = invoices.shown(agency, invoice)
    assert (shown["status"], shown["total_excluding_tax"], shown["total"]) == ("open", 4_900, 5_336)
    assert (request["tax_micros"], request["total_micros"]) == (4_360_000, 53_360_000)
    assert invoice["due_date"] - invoice["created"] == 14 * 86_400


async def test_a_charge_that_succeeds_is_paid_and_one_that_is_declined_failed(
    pipeline: Settings, agency: AtStripe
) -> None:
    own = await link(pipeline, agency, collection="charge")
    for account, method in (("rich", "pm_card_visa"), ("poor", "pm_declined")):
        agency.create_customer(
            {
                "metadata": {"callmeter_account": f"{account}-{own}"},
                "invoice_settings": {"default_payment_method": method},
            }
        )
        await produce(pipeline, [begin(own, f"{account}-{own}")])
    (paid,) = await requests_of(pipeline, agency_id=own, status="paid")
    (failed,) = await requests_of(pipeline, agency_id=own, status="failed")
    assert paid["account_id"].startswith("rich")
    assert (paid["reference"], paid["actor"]) == (paid["external_id"], "stripe")
    assert (failed["note"], bool(failed["external_id"])) == ("Your card was declined.", True)


async def test_what_stripe_will_never_take_is_failed_with_its_reason(pipeline: Settings, agency: AtStripe) -> None:
    own = await link(pipeline, agency)
    agency.discount_percent = 50
    await produce(pipeline, [begin(own)])
    (failed,) = await requests_of(pipeline, agency_id=own, status="failed")
    assert failed["note"].startswith("Stripe would ask for 24.5 USD where 49 USD are owed")
    assert failed["external_id"] is None
    # It may be tried once more when its number comes, before it is known that it failed.
    await wait_until(lambda: not agency.invoices)


async def test_nobody_waits_for_an_agency_whose_stripe_account_is_not_ready(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    other = double.connect(f"{agency.id}other", charges_enabled=False)
    broken = await link(pipeline, other)
    own = await link(pipeline, agency)
    clients = [f"client_{number}-{own}" for number in range(8)]
    for client in clients:
        await put(pipeline, Entry(own, "account", client, Account(agency=own, name="C", email="c@example.com")))
    await produce(pipeline, [begin(broken, f"{client}-broken") for client in clients])
    await produce(pipeline, [begin(own, client) for client in clients])
    await requests_of(pipeline, 8, agency_id=own, external_id=bool)
    await requests_of(pipeline, 8, agency_id=broken, external_id=lambda one: one is None, status="pending")
    other.charges_enabled = True
    for client in clients:
        account = Account(agency=broken, name="C", email="c@example.com")
        await put(pipeline, Entry(broken, "account", f"{client}-broken", account))
    await requests_of(pipeline, 8, agency_id=broken, external_id=bool)


async def test_limits_and_outages_are_waited_out(pipeline: Settings, double: StripeDouble, agency: AtStripe) -> None:
    own = await link(pipeline, agency)
    double.next_fails("429", "429", "500 before", "500 before")
    await produce(pipeline, [begin(own)])
    await requests_of(pipeline, agency_id=own, external_id=bool)
    assert [one["status"] for one in agency.invoices.values()] == ["open"]


async def test_what_is_settled_by_hand_is_told_to_stripe(pipeline: Settings, agency: AtStripe) -> None:
    own = await link(pipeline, agency)
    await produce(pipeline, [begin(own), pack("1", account=f"jane-of-{own}", agency_id=own)])
    for request, status in zip(
        await requests_of(pipeline, 2, agency_id=own, external_id=bool), ("paid", "canceled"), strict=True
    ):
        await produce(pipeline, [settled(request, status, datetime.now(UTC), f"by-hand-{status}")])  # type: ignore[arg-type]
        name = request["external_id"]
        await wait_until(lambda name=name: agency.invoices[name]["status"] in ("paid", "void"))
    assert sorted(one["status"] for one in agency.invoices.values()) == ["paid", "void"]
    (paid,) = [one for one in agency.invoices.values() if one["status"] == "paid"]
    assert paid["amount_paid_off_stripe"] == paid["amount_paid"] > 0


async def test_an_agency_without_a_link_is_asked_by_nobody(pipeline: Settings, agency: AtStripe) -> None:
    await produce(pipeline, [begin("by-hand")])
    (request,) = await requests_of(pipeline, agency_id="by-hand")
    assert (request["gateway"], request["external_id"], request["status"]) == ("manual", None, "pending")


async def test_a_link_is_made_shown_and_undone_and_what_is_missing_stops_a_sale(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own = f"cli-{agency.id}"
    bodies: list[tuple[Any, str, Any]] = [
        ("agency", own, Agency(name="Acme", currency="USD")),
        ("plan", "starter", Plan(agency=own, every="1 month")),
        ("plan", "pro", Plan(agency=own, every="1 month", included_minutes=100)),
        ("pack", "boost", Pack(agency=own, minutes=60, price="9.00")),
        ("account", f"jane-{own}", Account(agency=own, name="Jane", country="US", postal_code="10001")),
    ]
    for kind, name, body in bodies:
        await put(pipeline, Entry(own, kind, name, body))

    def run(*arguments: str) -> Any:
        return command(pipeline, *arguments)

    assert run("tax", "check", own).returncode == 1
    made = run(
        "gateway", "link", own, "--stripe-account", agency.id, "--tax", "default", "--platform-fee", "2%", "--json"
    )
    assert made.returncode == 0, made.stderr
    assert {step["state"] for step in json.loads(made.stdout)["steps"]} == {"done"}
    shown = json.loads(run("gateway", "show", own, "--json").stdout)
    assert shown == {
        "agency_id": own,
        "gateway": "stripe",
        "options": {"account": agency.id, "tax": "default", "platform_fee": "2%"},
    }
    assert run("tax", "check", own).returncode == 0
    agency.registrations.clear()
    client = f"jane-{own}"
    refused = run("subscribe", client, "starter")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "not_ready: nothing was sold" in refused.stderr
    assert "Registrations: Add a registration" in refused.stderr
    assert "Email: Set email of account" in refused.stderr
    assert run("gateway", "unlink", own).returncode == 0
    assert json.loads(run("gateway", "show", own, "--json").stdout)["gateway"] == "manual"
    again = run("gateway", "unlink", own)
    assert (again.returncode, "not_linked" in again.stderr) == (1, True)
    assert run("subscribe", client, "starter").returncode == 0
    assert run("gateway", "link", own, "--stripe-account", agency.id, "--tax", "default").returncode == 0
    for sale in (
        ("numbers", "rent", client, "+14155550100", "--price", "1"),
        ("apply-pack", client, "boost"),
        ("change-plan", client, "pro"),
    ):
        assert "not_ready: nothing was sold" in run(*sale).stderr
    assert await read_requests(pipeline, agency_id=own) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say who asks: --stripe-account acct_..., or --gateway NAME"),
        (("--stripe-account", "42"), "--stripe-account '42' is no connected account"),
        (("--stripe-account", "acct_1", "--platform-fee", "101%"), "--platform-fee '101%' is neither a share"),
        (("--stripe-account", "acct_1", "--collection", "hand"), "--collection 'hand' is none of charge, invoice"),
        (("--stripe-account", "acct_1", "--tax", "yes"), "--tax 'yes' is none of off, default, exclusive"),
        (("--stripe-account", "acct_1", "--tax-code", "x"), "--tax-code 'x' is no tax code of Stripe's"),
        (("--gateway", "strip"), "there is no gateway 'strip' here"),
        (("--gateway", "manual", "--tax", "off"), "--tax is an option of the gateway stripe"),
        (("--gateway", "manual", "--option", "a"), "--option 'a' is no NAME=VALUE"),
    ],
)
async def test_a_wrong_link_is_refused_by_name(pipeline: Settings, arguments: tuple[str, ...], words: str) -> None:
    await put(pipeline, Entry("wrong", "agency", "wrong", Agency(name="Wrong", currency="USD")))
    done = await asyncio.to_thread(command, pipeline, "gateway", "link", "wrong", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert words in done.stderr


class Killer:
    """Kills a process with one of the calls that come to the double, after it was done and before it is answered."""

    def __init__(self, double: StripeDouble) -> None:
        self.double = double
        self.victim: Process | None = None
        self.at = -1
        double.on_call = self

    def __call__(self, number: int, call: Call) -> None:
        if number == self.at and self.victim is not None:
            os.kill(self.victim.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_job_killed_after_any_single_call_leaves_exactly_one_invoice(
    to_stripe: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own = await link(to_stripe, agency, collection="charge")
    client = f"jane-of-{own}"
    agency.create_customer(
        {"metadata": {"callmeter_account": client}, "invoice_settings": {"default_payment_method": "pm_card_visa"}}
    )
    killer = Killer(double)
    groups = itertools.count()

    async def paid(job: Process, count: int) -> bool:
        found = await read_requests(to_stripe, agency_id=own, status="paid")
        return not job.alive() or len(found) == count

    with ExitStack() as stack:
        stack.enter_context(process(to_stripe, "meter"))

        def start() -> Process:
            # A group of its own has all partitions at once.
            settings = to_stripe.model_copy(update={"group_id": f"{to_stripe.group_id}-{next(groups)}"})
            return stack.enter_context(process(settings, "billing"))

        await produce(to_stripe, [subscription(account=client, agency=own)])
        job = start()
        for number in range(30):
            began = len(double.calls)
            killer.victim, killer.at = job, began + number
            await produce(to_stripe, [pack(f"{number}", account=client, agency_id=own)])
            await wait_until(partial(paid, job, number + 1))
            survived = job.alive()
            if not survived:
                job = start()
                await wait_until(partial(paid, job, number + 1))
            assert [one["status"] for one in agency.invoices.values()] == ["paid"] * (number + 1)
            if survived:
                break
    double.on_call = lambda number, call: None
    told = [event["type"] for event in agency.events]
    assert told.count("invoice.finalized") == told.count("invoice.paid") == len(agency.invoices)
    assert len(agency.customers) == 1
    assert next(groups) > 8
    assert await read_values(to_stripe, "dead-letters") == []


async def test_two_jobs_at_once_leave_one_invoice_for_each_request(
    to_stripe: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own = await link(to_stripe, agency)
    clients = [f"client_{number}" for number in range(10)]
    for client in clients:
        await put(to_stripe, Entry(own, "account", client, Account(agency=own, name="C", email="c@example.com")))
    # Fenced by nobody: each raises and asks for everything.
    name = f"{to_stripe.group_id}-other"
    other = to_stripe.model_copy(update={"group_id": name, "transactional_id": name})
    with process(to_stripe, "meter"), process(to_stripe, "billing"), process(other, "billing") as zombie:
        await produce(to_stripe, [begin(own, client) for client in clients])
        asked = await requests_of(to_stripe, 10, agency_id=own, external_id=bool)
        assert zombie.alive()
    assert {one["external_id"] for one in asked} == set(agency.invoices)
    assert {one["status"] for one in agency.invoices.values()} == {"open"}
    assert [event["type"] for event in agency.events].count("invoice.sent") == 10
    assert len(agency.customers) == 10
