"""What a connected account of the double holds, and the objects in it that are not invoices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.stripe_double.description import VERSION, Refused

Object = dict[str, Any]
HEAD_OFFICE = {
    "address": {"line1": "1 Main St", "city": "New York", "state": "NY", "postal_code": "10001", "country": "US"}
}
CURRENCIES = ["usd", "eur", "gbp", "cad", "jpy", "kwd", "ugx", "chf"]


@dataclass
class Account:
    """A connected account. Tests set its attributes to what they need.

    Attributes:
        id: ``acct_...``.
        country: two letters.
        charges_enabled: whether it may be paid.
        requirements: what Stripe still wants to know of it.
        tax: settings of Stripe Tax: ``head_office``, ``tax_behavior`` and ``tax_code``, each None where not set.
        tax_missing: more that Stripe Tax waits for.
        currencies: that its country can be paid in.
        retries: whether a declined charge is tried again by Stripe.
        discount_percent: what every invoice is less, as by a coupon of the agency's own.
        customers, tax_ids, invoices, items, credit_notes, refunds, disputes, registrations, payments: by id, oldest
            first.
        events: what happened, oldest first.
    """

    id: str
    now: Callable[[], int]
    country: str = "US"
    charges_enabled: bool = True
    requirements: list[str] = field(default_factory=list)
    tax: dict[str, Any] = field(
        default_factory=lambda: {"head_office": HEAD_OFFICE, "tax_behavior": "exclusive", "tax_code": "txcd_10000000"}
    )
    tax_missing: list[str] = field(default_factory=list)
    currencies: list[str] = field(default_factory=lambda: list(CURRENCIES))
    retries: bool = False
    discount_percent: int = 0
    customers: dict[str, Object] = field(default_factory=dict)
    tax_ids: dict[str, Object] = field(default_factory=dict)
    invoices: dict[str, Object] = field(default_factory=dict)
    items: dict[str, Object] = field(default_factory=dict)
    credit_notes: dict[str, Object] = field(default_factory=dict)
    refunds: dict[str, Object] = field(default_factory=dict)
    disputes: dict[str, Object] = field(default_factory=dict)
    registrations: dict[str, Object] = field(default_factory=dict)
    payments: dict[str, Object] = field(default_factory=dict)
    events: list[Object] = field(default_factory=list)
    _count: Any = field(default_factory=lambda: itertools.count(1))

    def new_id(self, prefix: str) -> str:
        """An id that no other object of the account has."""
        return f"{prefix}_{self.id.removeprefix('acct_')}{next(self._count):06}"

    def find(self, kind: str, objects: dict[str, Object], name: str) -> Object:
        """An object by its id.

        Raises:
            Refused: the account has none.
        """
        if name not in objects:
            raise Refused(404, f"No such {kind}: '{name}'", code="resource_missing", param="id")
        return objects[name]

    def tell(self, kind: str, of: Object) -> None:
        """Note an event."""
        import copy

        self.events.append(
            {
                "id": self.new_id("evt"),
                "object": "event",
                "account": self.id,
                "api_version": VERSION,
                "created": self.now(),
                "data": {"object": copy.deepcopy(of)},
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": None, "idempotency_key": None},
                "type": kind,
            }
        )

    def register(self, country: str, status: str = "active") -> Object:
        """Add a registration of Stripe Tax."""
        return self.create_registration(
            {"country": country, "country_options": {}, "active_from": "now"}, status=status
        )

    def create_registration(self, given: Object, status: str = "active") -> Object:
        """``POST /v1/tax/registrations``."""
        made = {
            "id": self.new_id("taxreg"),
            "object": "tax.registration",
            "active_from": self.now(),
            "country": given["country"],
            "country_options": given["country_options"],
            "created": self.now(),
            "expires_at": None,
            "livemode": False,
            "status": status,
        }
        self.registrations[made["id"]] = made
        return made

    def as_object(self) -> Object:
        """``GET /v1/account``."""
        return {
            "id": self.id,
            "object": "account",
            "country": self.country,
            "default_currency": "usd",
            "charges_enabled": self.charges_enabled,
            "payouts_enabled": self.charges_enabled,
            "details_submitted": self.charges_enabled,
            "type": "standard",
            "requirements": {
                "currently_due": self.requirements,
                "past_due": [],
                "eventually_due": [],
                "pending_verification": [],
                "alternatives": [],
                "current_deadline": None,
                "disabled_reason": None if self.charges_enabled else "requirements.past_due",
                "errors": [],
            },
        }

    def country_spec(self, country: str) -> Object:
        """``GET /v1/country_specs/{country}``."""
        return {
            "id": country,
            "object": "country_spec",
            "default_currency": "usd",
            "supported_bank_account_currencies": {"usd": [country]},
            "supported_payment_currencies": self.currencies,
            "supported_payment_methods": ["card"],
            "supported_transfer_countries": [country],
            "verification_fields": {
                "company": {"additional": [], "minimum": []},
                "individual": {"additional": [], "minimum": []},
            },
        }

    def tax_settings(self) -> Object:
        """``GET /v1/tax/settings``."""
        missing = [
            name
            for name, value in (
                ("defaults.tax_code", self.tax["tax_code"]),
                ("head_office.address", self.tax["head_office"]),
            )
            if value is None
        ] + self.tax_missing
        details = {"pending": {"missing_fields": missing}} if missing else {"active": {}}
        return {
            "object": "tax.settings",
            "defaults": {
                "provider": "stripe",
                "tax_behavior": self.tax["tax_behavior"],
                "tax_code": self.tax["tax_code"],
            },
            "head_office": self.tax["head_office"],
            "livemode": False,
            "status": "pending" if missing else "active",
            "status_details": details,
        }

    def set_tax(self, given: Object) -> Object:
        """``POST /v1/tax/settings``."""
        self.tax.update(given.get("defaults", {}))
        if "head_office" in given:
            self.tax["head_office"] = given["head_office"]
        return self.tax_settings()

    def create_customer(self, given: Object) -> Object:
        """``POST /v1/customers``."""
        made: Object = {
            "id": self.new_id("cus"),
            "object": "customer",
            "address": None,
            "created": self.now(),
            "default_source": None,
            "email": None,
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": {},
            "name": None,
        }
        self.customers[made["id"]] = made
        return self.update_customer(made["id"], given)

    def update_customer(self, name: str, given: Object) -> Object:
        """``POST /v1/customers/{customer}``."""
        customer = self.find("customer", self.customers, name)
        for key in ("name", "email"):
            if key in given:
                customer[key] = given[key]
        if "address" in given:
            empty = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
            customer["address"] = {**empty, **given["address"]} if given["address"] else None
        method = given.get("invoice_settings", {}).get("default_payment_method") or given.get("payment_method")
        if method:
            customer["invoice_settings"]["default_payment_method"] = method
        customer["metadata"] |= given.get("metadata", {})
        return customer

    def create_tax_id(self, customer: str, given: Object) -> Object:
        """``POST /v1/customers/{customer}/tax_ids``."""
        self.find("customer", self.customers, customer)
        made = {
            "id": self.new_id("txi"),
            "object": "tax_id",
            "country": given["value"][:2],
            "created": self.now(),
            "customer": customer,
            "livemode": False,
            "type": given["type"],
            "value": given["value"],
            "verification": None,
        }
        self.tax_ids[made["id"]] = made
        return made


def page(objects: Iterable[Object], given: Object, url: str) -> Object:
    """A page of a list: newest first, at most ``limit``, after or before an object.

    Raises:
        Refused: the limit is beyond 100.
    """
    newest = list(objects)[::-1]
    names = [one["id"] for one in newest]
    limit = given.get("limit", 10)
    if not 1 <= limit <= 100:
        raise Refused(400, "Invalid integer: limit must be between 1 and 100", param="limit")
    if before := given.get("ending_before"):
        known = newest[: names.index(before)] if before in names else []
        return {"object": "list", "url": url, "data": known[-limit:], "has_more": len(known) > limit}
    if after := given.get("starting_after"):
        newest = newest[names.index(after) + 1 :] if after in names else []
    return {"object": "list", "url": url, "data": newest[:limit], "has_more": len(newest) > limit}
