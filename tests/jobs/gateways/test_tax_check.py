"""`callmeter tax check`: each thing that is missing alone, with its text, its link and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

import cli.tax
from catalogue.collection import Catalogue, Entry
from catalogue.model import Account, Agency, GatewayLink, Plan
from cli.main import app
from tests.stripe_double.server import KEY, StripeDouble
from tests.stripe_double.state import Account as AtStripe

TAX = "https://dashboard.stripe.com/settings/tax"
STATUS = "https://dashboard.stripe.com/account/status"
REGISTRATIONS = "https://dashboard.stripe.com/tax/registrations"
CUSTOMERS = "https://dashboard.stripe.com/customers"

Jane = {"agency": "acme", "name": "Jane Dental", "email": "jane@example.com", "country": "US", "postal_code": "10001"}
Change = Callable[["World"], None]


class World:
    """An agency that nothing is missing of, and what a test takes away."""

    def __init__(self, agency: AtStripe) -> None:
        self.at_stripe = agency
        self.options = {"account": agency.id, "tax": "default"}
        self.jane: dict[str, Any] = {**Jane, "tax_id": "us_ein:12-3456789"}
        self.currency = "USD"
        self.linked = True

    def catalogue(self) -> Catalogue:
        """The agency's catalogue as it was changed."""
        entries = [
            Entry("acme", "agency", "acme", Agency(name="Acme", currency=self.currency)),
            Entry("acme", "plan", "starter", Plan(agency="acme", every="1 month")),
            Entry("acme", "account", "jane", Account(**self.jane)),
        ]
        if self.linked:
            link = GatewayLink(agency="acme", gateway="stripe", options=self.options)
            entries.append(Entry("acme", "gateway", "acme", link))
        return Catalogue.of(entries)


@pytest.fixture
def world(agency: AtStripe) -> World:
    return World(agency)


@pytest.fixture
def check(world: World, double: StripeDouble, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Runs the command with --json: its exit code, and the object it printed."""

    async def read(settings: Any) -> Catalogue:
        return world.catalogue()

    monkeypatch.setattr(cli.tax, "read_catalogue", read)
    monkeypatch.setenv("CALLMETER_STRIPE_KEY", KEY)
    monkeypatch.setenv("CALLMETER_STRIPE_API_BASE", double.url)

    def run(*arguments: str) -> tuple[int, Any]:
        done = CliRunner().invoke(app, ["tax", "check", "acme", "--json", *arguments], catch_exceptions=False)
        return done.exit_code, json.loads(done.stdout)

    return run


def no_registration(world: World) -> None:
    world.at_stripe.registrations.clear()


def expired_registration(world: World) -> None:
    world.at_stripe.registrations.clear()
    world.at_stripe.register("US", status="expired")


def unlinked(world: World) -> None:
    world.linked = False


def disconnected(world: World) -> None:
    world.options["account"] = "acct_gone"


def no_charges(world: World) -> None:
    world.at_stripe.charges_enabled = False
    world.at_stripe.requirements.append("external_account")


def other_currency(world: World) -> None:
    world.currency = "RUB"


def no_head_office(world: World) -> None:
    world.at_stripe.tax["head_office"] = None


def no_tax_code(world: World) -> None:
    world.at_stripe.tax["tax_code"] = None


def no_behavior(world: World) -> None:
    world.at_stripe.tax["tax_behavior"] = None


def pending(world: World) -> None:
    world.at_stripe.tax_missing.append("head_office.address.postal_code")


AGENCY = [
    (unlinked, "gateway_linked", "callmeter gateway link acme --stripe-account acct_...", "/connect/accounts/overview"),
    (disconnected, "gateway_linked", "Stripe does not let the platform use acct_gone", "/connect/accounts/overview"),
    (no_charges, "charges_enabled", "takes no payments for the account yet; it wants external_account", STATUS),
    (other_currency, "currency_supported", "A Stripe account in US takes no RUB", "docs.stripe.com/currencies"),
    (no_head_office, "head_office", "Set the head office address, at least its country", TAX),
    (no_tax_code, "tax_code", "Choose the preset product tax code", TAX),
    (no_behavior, "tax_behavior", "Choose whether prices include tax: yes, no, or by currency", TAX),
    (pending, "tax_status", "pending; missing: head_office.address.postal_code", TAX),
    (no_registration, "registrations", "without an active one every tax is 0", REGISTRATIONS),
    (expired_registration, "registrations", "without an active one every tax is 0", REGISTRATIONS),
]  # fmt: skip


@pytest.mark.parametrize(("change", "name", "text", "link"), AGENCY, ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_missing_of_the_agency_is_told_with_what_to_do_and_where(
    world: World, check: Callable[..., tuple[int, Any]], change: Change, name: str, text: str, link: str
) -> None:
    change(world)
    code, told = check()
    missing = {step["name"]: step for step in told["steps"] if step["state"] == "missing"}
    assert (code, told["ready"]) == (1, False)
    # Without a head office or a code Stripe's own status is pending, too.
    assert set(missing) - {"tax_status"} == {name} - {"tax_status"}
    assert text in missing[name]["todo"]
    assert link in missing[name]["link"]
    assert missing[name]["side"] == "agency"


def test_stripes_own_status_is_pending_with_the_fields_it_names(
    world: World, check: Callable[..., tuple[int, Any]]
) -> None:
    no_head_office(world)
    _, told = check()
    status = next(step for step in told["steps"] if step["name"] == "tax_status")
    assert (status["state"], "head_office.address" in status["todo"]) == ("missing", True)


def test_active_settings_prove_no_registration(world: World, check: Callable[..., tuple[int, Any]]) -> None:
    no_registration(world)
    _, told = check()
    states = {step["name"]: step["state"] for step in told["steps"]}
    assert (states["tax_status"], states["registrations"]) == ("done", "missing")


def without(**fields: Any) -> Change:
    def change(world: World) -> None:
        world.jane.update(fields)

    return change


def canada(**fields: Any) -> Change:
    return without(country="CA", postal_code=None, **fields)


def by_charge(world: World) -> None:
    world.options["collection"] = "charge"


ACCOUNT = [
    (without(country=None), "buyer_country", "Set country of account jane in the catalogue", TAX),
    (without(postal_code=None), "buyer_postal_code", "Set postal_code of account jane in the catalogue", TAX),
    (canada(), "buyer_postal_code", "Set province or postal_code of account jane in the catalogue", TAX),
    (without(email=None), "buyer_email", "Set email of account jane in the catalogue", CUSTOMERS),
    (by_charge, "payment_method", "with the metadata callmeter_account=jane and a payment method", CUSTOMERS),
]


@pytest.mark.parametrize(("change", "name", "text", "link"), ACCOUNT)
def test_what_is_missing_of_the_account_is_told_with_what_to_do_and_where(
    world: World, check: Callable[..., tuple[int, Any]], change: Change, name: str, text: str, link: str
) -> None:
    change(world)
    assert check()[0] == 0
    code, told = check("--account", "jane")
    missing = {step["name"]: step for step in told["steps"] if step["state"] == "missing"}
    assert (code, set(missing)) == (1, {name})
    assert text in missing[name]["todo"]
    assert link in missing[name]["link"]
    assert missing[name]["side"] == "account"


def test_a_tax_id_is_advised_and_stops_nothing(world: World, check: Callable[..., tuple[int, Any]]) -> None:
    world.jane["tax_id"] = None
    code, told = check("--account", "jane")
    step = next(step for step in told["steps"] if step["name"] == "buyer_tax_id")
    assert (code, step["state"], step["link"]) == (0, "advised", TAX)
    assert "such as eu_vat:DE123456789; without, it is taxed as a consumer" in step["todo"]


@pytest.mark.parametrize("change", [without(country="DE", postal_code=None), canada(province="ON"), lambda world: None])
def test_nothing_is_missing(world: World, check: Callable[..., tuple[int, Any]], change: Change) -> None:
    change(world)
    code, told = check("--account", "jane")
    assert (code, told["ready"]) == (0, True)
    assert {step["state"] for step in told["steps"]} == {"done"}


def test_what_stripe_knows_of_the_customer_counts(world: World, check: Callable[..., tuple[int, Any]]) -> None:
    world.jane.update(country=None, postal_code=None, email=None)
    world.options["collection"] = "charge"
    world.at_stripe.create_customer(
        {
            "metadata": {"callmeter_account": "jane"},
            "address": {"country": "US", "postal_code": "10001"},
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    )
    assert check("--account", "jane")[0] == 0


def test_tax_off_skips_what_only_taxes_need(world: World, check: Callable[..., tuple[int, Any]]) -> None:
    for change in (no_head_office, no_tax_code, no_behavior, no_registration, without(country=None)):
        change(world)
    world.options["tax"] = "off"
    code, told = check("--account", "jane")
    assert code == 0
    assert [step["name"] for step in told["steps"]] == [
        "gateway_linked", "charges_enabled", "currency_supported", "buyer_email",
    ]  # fmt: skip


def test_a_behavior_and_a_code_of_the_link_need_none_at_stripe(
    world: World, check: Callable[..., tuple[int, Any]]
) -> None:
    no_behavior(world)
    world.options |= {"tax": "exclusive"}
    assert check()[0] == 0


def test_the_table_has_each_step_and_its_link(
    world: World, check: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    no_registration(world)
    done = CliRunner().invoke(app, ["tax", "check", "acme"], catch_exceptions=False)
    assert done.exit_code == 1
    assert "https://dashboard.stripe.com/tax/registrations" in done.stdout
    assert "1 of 8 missing" in done.stdout
