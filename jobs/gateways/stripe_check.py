"""What must be there at Stripe before an agency's accounts can be asked for money, with where to mend it.

Stripe Tax needs a head office, a tax code, a tax behavior and a registration. Settings that are ``active`` do not prove
that there is a registration: without one every tax is silently 0. So each is a step of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import stripe
from stripe import StripeClient

from jobs.gateways.base import Buyer, Step
from jobs.gateways.stripe_link import StripeLink

CONNECT = "https://dashboard.stripe.com/connect/accounts/overview"
STATUS = "https://dashboard.stripe.com/account/status"
TAX = "https://dashboard.stripe.com/settings/tax"
REGISTRATIONS = "https://dashboard.stripe.com/tax/registrations"
CUSTOMERS = "https://dashboard.stripe.com/customers"
CURRENCIES = "https://docs.stripe.com/currencies"


async def check_agency(client: StripeClient, link: StripeLink, currencies: Iterable[str]) -> list[Step]:
    """The agency's side, in the order in which things are set up.

    Args:
        client: of the platform, for the agency's account.
        link: how it is linked.
        currencies: that the agency sells in.

    Raises:
        stripe.StripeError: Stripe cannot be asked.
    """
    try:
        account = (await client.v1.accounts.retrieve_current_async()).to_dict()
    except stripe.PermissionError as error:
        todo = f"Stripe does not let the platform use {link.account}, have it connected anew: {error.user_message}"
        return [_missing("gateway_linked", "Gateway linked", todo, CONNECT)]
    steps = [
        _done("gateway_linked", "Gateway linked", f"Stripe account {link.account}, collected by {link.collection}")
    ]
    steps.append(_charges(account))
    spec = (await client.v1.country_specs.retrieve_async(account["country"])).to_dict()
    steps.append(_currencies(spec, account["country"], currencies))
    if link.tax == "off":
        return steps
    settings = (await client.v1.tax.settings.retrieve_async()).to_dict()
    listed = await client.v1.tax.registrations.list_async({"status": "active", "limit": 100})
    return [*steps, *_tax(settings, link), _registrations([one.country for one in listed.data])]


def _charges(account: Mapping[str, Any]) -> Step:
    title = "Charges enabled"
    if account["charges_enabled"]:
        return _done("charges_enabled", title, "Stripe takes payments for the account")
    due = ", ".join((account.get("requirements") or {}).get("currently_due") or ())
    wants = f"; it wants {due}" if due else ""
    return _missing("charges_enabled", title, f"Stripe takes no payments for the account yet{wants}", STATUS)


def _currencies(spec: Mapping[str, Any], country: str, currencies: Iterable[str]) -> Step:
    title = "Currency supported"
    sold = sorted(set(currencies))
    supported = set(spec["supported_payment_currencies"])
    unknown = [currency for currency in sold if currency.lower() not in supported]
    if not unknown:
        return _done("currency_supported", title, ", ".join(sold))
    todo = f"A Stripe account in {country} takes no {', '.join(unknown)}; sell in another currency, or link another one"
    return _missing("currency_supported", title, todo, CURRENCIES)


def _tax(settings: Mapping[str, Any], link: StripeLink) -> list[Step]:
    defaults = settings["defaults"]
    office = ((settings.get("head_office") or {}).get("address") or {}).get("country")
    code = link.tax_code or defaults["tax_code"]
    behavior = defaults["tax_behavior"] if link.tax == "default" else link.tax
    steps = []
    for name, title, found, todo in (
        ("head_office", "Head office", office, "Set the head office address, at least its country"),
        ("tax_code", "Tax code", code, "Choose the preset product tax code"),
        ("tax_behavior", "Tax behavior", behavior, "Choose whether prices include tax: yes, no, or by currency"),
    ):
        steps.append(
            _done(name, title, found) if found else _missing(name, title, f"{todo}, in Stripe's tax settings", TAX)
        )
    if settings["status"] == "active":
        return [*steps, _done("tax_status", "Tax settings", "active")]
    fields = ", ".join(settings["status_details"].get("pending", {}).get("missing_fields") or ())
    return [
        *steps,
        _missing("tax_status", "Tax settings", f"Stripe's tax settings are pending; missing: {fields}", TAX),
    ]


def _registrations(countries: Iterable[str]) -> Step:
    title = "Registrations"
    listed = sorted(set(countries))
    if listed:
        return _done("registrations", title, f"active in {', '.join(listed)}")
    todo = "Add a registration where tax is owed: without an active one every tax is 0"
    return _missing("registrations", title, todo, REGISTRATIONS)


def check_buyer(link: StripeLink, buyer: Buyer, customer: Mapping[str, Any] | None) -> list[Step]:
    """The side of the account that buys.

    Args:
        link: how its agency is linked.
        buyer: as the catalogue knows it.
        customer: as Stripe knows it; None: not at all yet.
    """
    steps = _location(buyer, customer) if link.tax != "off" else []
    where = f"{CUSTOMERS}/{customer['id']}" if customer else CUSTOMERS
    if link.collection == "invoice":
        email = buyer.email or (customer or {}).get("email")
        todo = f"Set email of account {buyer.account_id} in the catalogue: the invoice is sent there"
        steps.append(_buyers("buyer_email", "Email", email, todo, where))
    else:
        settings = (customer or {}).get("invoice_settings") or {}
        method = settings.get("default_payment_method") or (customer or {}).get("default_source")
        known = "Add a default payment method to the customer at Stripe"
        new = f"Add a customer at Stripe with the metadata callmeter_account={buyer.account_id} and a payment method"
        shown = None if not method else "on file"
        steps.append(_buyers("payment_method", "Payment method", shown, known if customer else new, where))
    return steps


def _location(buyer: Buyer, customer: Mapping[str, Any] | None) -> list[Step]:
    address = (customer or {}).get("address") or {}
    country = buyer.country or address.get("country")
    postal_code, province = buyer.postal_code or address.get("postal_code"), buyer.province or address.get("state")
    of = f"of account {buyer.account_id} in the catalogue"
    steps = [_buyers("buyer_country", "Country", country, f"Set country {of}, such as country: US", TAX)]
    if country == "US":
        steps.append(_buyers("buyer_postal_code", "Postal code", postal_code, f"Set postal_code {of}", TAX))
    if country == "CA":
        todo = f"Set province or postal_code {of}"
        steps.append(_buyers("buyer_postal_code", "Province or postal code", province or postal_code, todo, TAX))
    title = "Tax id"
    if buyer.tax_id:
        steps.append(Step("buyer_tax_id", title, "account", "done", buyer.tax_id))
    else:
        todo = f"Set tax_id {of} if it is a business, such as eu_vat:DE123456789; without, it is taxed as a consumer"
        steps.append(Step("buyer_tax_id", title, "account", "advised", todo, TAX))
    return steps


def _buyers(name: str, title: str, found: Any, todo: str, link: str) -> Step:
    if found:
        return Step(name, title, "account", "done", str(found))
    return Step(name, title, "account", "missing", todo, link)


def _done(name: str, title: str, found: str) -> Step:
    return Step(name, title, "agency", "done", found)


def _missing(name: str, title: str, todo: str, link: str) -> Step:
    return Step(name, title, "agency", "missing", todo, link)
