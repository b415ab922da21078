"""Stripe, on the agency's own connected account: a customer for each account, an invoice for each payment request.

An invoice is made in small steps, each with an idempotency key, and only its last ones ask for money: draft, lines,
a look at Stripe's total, then finalised and charged, or sent. Whoever comes to a request that was begun finds its
invoice among the customer's own, by our identity in its metadata, and goes on from there; a list is always up to date,
Stripe's search is not and is never used. Keys are forgotten after a day, metadata is not.

Where Stripe answers with a failure of its own, that answer is kept with the key; so a key that brings back an old
failure is given up for the next one, but only after another look for what may have been made under it.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

import stripe
from aiohttp import ClientError, TCPConnector
from stripe import AIOHTTPClient, StripeClient, StripeObject
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from jobs.gateways.base import (
    Buyer,
    ExternalRefund,
    ExternalRequest,
    GatewayEvent,
    ListedDocument,
    ListedRequest,
    Rejected,
    Request,
    Step,
    Unavailable,
    identity,
    short,
)
from jobs.gateways.stripe_check import check_agency, check_buyer
from jobs.gateways.stripe_events import (
    ACCOUNT,
    AGENCY,
    CORRECTION,
    DISPUTES,
    IDENTITY,
    LINE,
    SIGNATURE,
    UNCOLLECTIBLE,
    note_of_dispute,
    parse_event,
    parts_of_note,
)
from jobs.gateways.stripe_link import StripeLink, read_link
from jobs.gateways.stripe_money import items_of, to_micros, to_minor
from rating.money import micros_text
from streams.settings import Settings

MOST_KEYS = 5
# How often a page of a long list is asked for.
MOST_TRIES = 6
# An agency that has all set up is not looked at again for so long.
COMPLETE_FOR_S = 300.0
PAGE = 100
MOST_METADATA = 500

# What Stripe's invoices are to us.
STATUSES: Mapping[str, Literal["open", "paid", "canceled", "failed"]] = {
    "draft": "open",
    "open": "open",
    "paid": "paid",
    "void": "canceled",
    "uncollectible": "failed",
}

# The SDK's own types of parameters need literals; what is wrong in ours, Stripe's description finds in the tests.
Params = Any


class StripeGateway:
    """Asks one agency's accounts for money through Stripe."""

    name = "stripe"
    asks = True

    def __init__(self, agency_id: str, options: Mapping[str, str], settings: Settings) -> None:
        """Make the gateway; nothing is asked yet.

        Args:
            agency_id: whose it is.
            options: of its link, see `read_link`.
            settings: with the platform's key.

        Raises:
            CallmeterError: an option is wrong.
        """
        self.agency_id = agency_id
        self.link: StripeLink = read_link(options)
        self._settings = settings
        self._made: StripeClient | None = None
        self._http: AIOHTTPClient
        # By currencies what was found when nothing was missing, and when.
        self._found: dict[frozenset[str], tuple[list[Step], float]] = {}
        # By account the ids of its customers, oldest last; the newest customer of all that was listed.
        self._customers: dict[str, str] = {}
        self._newest_customer: str | None = None

    @property
    def _client(self) -> StripeClient:
        if self._made is None:
            key = self._settings.stripe_key
            if key is None or not key.get_secret_value():
                raise Unavailable("CALLMETER_STRIPE_KEY is not set: it is the platform's secret key at Stripe, sk_...")
            base = self._settings.stripe_api_base
            self._http = AIOHTTPClient(timeout=self._settings.stripe_timeout_s, connector=TCPConnector(ssl=_trusted()))
            self._made = StripeClient(
                key.get_secret_value(),
                stripe_account=self.link.account,
                base_addresses={"api": base} if base else {},
                # Pauses are made outside, between whole attempts: a rate limit concerns all that is asked.
                max_network_retries=0,
                http_client=self._http,
            )
        return self._made

    async def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            self._made = None
            await self._http.close_async()  # type: ignore[no-untyped-call]

    async def preflight(self, currencies: Iterable[str], buyer: Buyer | None = None) -> list[Step]:
        """What Stripe needs of the agency, and of a buyer."""
        sold = frozenset(currencies)
        steps, found_at = self._found.get(sold, ([], 0.0))
        if not steps or time.monotonic() - found_at > COMPLETE_FOR_S:
            steps = await self._call(lambda: check_agency(self._client, self.link, sold))
            if all(step.state == "done" for step in steps):
                self._found[sold] = steps, time.monotonic()
        if buyer is not None:
            customer = await self._customer(buyer, make=False)
            steps = [*steps, *check_buyer(self.link, buyer, customer)]
        return steps

    async def find(self, request: Request, buyer: Buyer) -> ExternalRequest | None:
        """The customer's invoice with our identity, unless it was only begun."""
        customer = await self._customer(buyer, make=False)
        invoice = None if customer is None else await self._invoice_of(customer["id"], request)
        if invoice is None or self._begun(invoice):
            return None
        return self._external(invoice)

    async def create(self, request: Request, buyer: Buyer) -> ExternalRequest:
        """Make the invoice, or go on with one that was begun; then charge or send it."""
        items = items_of(request, no_credits=self.link.tax != "off")
        behavior = await self._tax_behavior(request["currency"])
        customer = await self._customer(buyer, make=True)
        assert customer is not None
        await self._bring_up_to_date(customer, buyer)
        invoice = await self._invoice_of(customer["id"], request)
        if invoice is None:
            invoice = await self._draft(customer["id"], request)
        if invoice["status"] == "draft":
            await self._add_items(invoice, request, items, behavior, buyer.tax_code or self.link.tax_code)
            invoice = await self._checked(invoice["id"], request, behavior)
        try:
            invoice = await self._collect(invoice, request)
        except Rejected as refused:
            # The invoice is there: what failed is to collect it.
            invoice = await self._retrieve(invoice["id"])
            if invoice["status"] == "draft":
                await self._call(lambda: self._client.v1.invoices.delete_async(invoice["id"]))
                raise
            failed = self._external(invoice)
            if failed.status != "open" or invoice.get("next_payment_attempt"):
                return failed
            return failed._replace(status="failed", reason=str(refused))
        return self._external(invoice)

    async def cancel(self, request: Request) -> None:
        """Void the invoice, or say that it was paid outside of Stripe; a draft is deleted."""
        invoice = await self._retrieve(request["external_id"])
        paid = request["status"] == "paid"
        if invoice["status"] == "paid":
            if paid or not invoice["amount_paid"]:
                # Of what credit notes took off as a whole, nothing was paid.
                return
            raise Rejected(f"Stripe's invoice {invoice['id']} was paid; give the money back with a refund")
        if invoice["status"] == "draft":
            await self._call(lambda: self._client.v1.invoices.delete_async(invoice["id"]))
        elif paid and invoice["status"] in ("open", "uncollectible"):
            outside: Params = {"paid_out_of_band": True}
            await self._call(lambda: self._client.v1.invoices.pay_async(invoice["id"], outside))
        elif invoice["status"] in ("open", "uncollectible"):
            await self._call(lambda: self._client.v1.invoices.void_invoice_async(invoice["id"]))

    async def refund(self, request: Request, amount_micros: int, note: str, refund_id: str) -> ExternalRefund:
        """A credit note: of a paid invoice the money goes back, of an open one less is asked."""
        amount = to_minor(amount_micros, request["currency"])
        invoice = await self._retrieve(request["external_id"])
        own = short(f"{identity(request)}/{refund_id}")
        params: Params = {
            "invoice": invoice["id"],
            "amount": amount,
            "memo": note[:500],
            "metadata": {IDENTITY: own, AGENCY: self.agency_id, CORRECTION: refund_id[:MOST_METADATA]},
        }
        made = await self._credit_note_of(invoice["id"], own)
        if made is None:
            if invoice["status"] == "paid" and request["status"] != "paid":
                raise Rejected(f"Stripe's invoice {invoice['id']} was paid meanwhile; give money back with a refund")
            if invoice["status"] == "paid":
                through_stripe = invoice["amount_paid"] > invoice.get("amount_paid_off_stripe", 0)
                params["refund_amount" if through_stripe else "out_of_band_amount"] = amount
            made = await self._once(
                f"{identity(request)}/{refund_id}",
                "credit_note",
                lambda key: self._client.v1.credit_notes.create_async(params, {"idempotency_key": key}),
                lambda: self._credit_note_of(invoice["id"], own),
            )
        taxes = made.get("total_taxes") or []
        return ExternalRefund(made["id"], to_micros(sum(one["amount"] for one in taxes), request["currency"]))

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent | None:
        """What an event tells of an invoice of ours; its signature is looked at first."""
        return parse_event(body, headers.get(SIGNATURE, ""), self._settings.stripe_webhook_secret)

    async def requests(self, external_id: str | None = None) -> AsyncIterator[ListedRequest]:
        """The account's invoices with our identity, newest first; drafts left out."""
        documents = await self._documents(external_id)
        async for invoice in self._invoices(external_id):
            own = (invoice["metadata"] or {}).get(IDENTITY)
            if own is None or invoice["status"] == "draft":
                continue
            asked = self._external(invoice)
            credited = asked.status == "paid" and not invoice["amount_paid"] and invoice["total"]
            ended = invoice["status_transitions"]
            at = ended["paid_at"] or ended["voided_at"] or ended["marked_uncollectible_at"]
            currency = invoice["currency"].upper()
            yield ListedRequest(
                invoice["id"],
                own,
                invoice["metadata"].get(ACCOUNT, ""),
                "canceled" if credited else asked.status,
                datetime.fromtimestamp(at, UTC) if at else None,
                currency,
                to_micros(invoice["total"], currency),
                asked.tax_micros,
                asked.tax_included,
                documents.get(invoice["id"], ()),
            )

    async def _invoices(self, external_id: str | None) -> AsyncIterator[Params]:
        """All of the account's, newest first, or one."""
        if external_id is not None:
            yield await self._retrieve(external_id)
            return
        invoices = self._client.v1.invoices
        async for invoice in self._all(lambda params: invoices.list_async(params)):
            yield invoice

    async def _documents(self, external_id: str | None) -> dict[str, list[ListedDocument]]:
        """Credit notes, refunds that none of them tells of, and disputes, by invoice, oldest first; or of one only."""
        v1 = self._client.v1
        found: dict[str, list[ListedDocument]] = defaultdict(list)
        told: set[str] = set()
        of_invoice = {} if external_id is None else {"invoice": external_id}
        async for note in self._all(lambda params: v1.credit_notes.list_async(params), of_invoice):
            told.update(one["refund"] for one in note["refunds"])
            if note["status"] != "void":
                found[note["invoice"]] += [_document(note, *part, note.get("memo")) for part in parts_of_note(note)]
        paid_by = {}
        async for payment in self._all(lambda params: v1.invoice_payments.list_async(params), of_invoice):
            paid_by[payment["payment"].get("payment_intent")] = payment["invoice"]
        for of in [{}] if external_id is None else [{"payment_intent": intent} for intent in paid_by if intent]:
            async for refund in self._all(lambda params: v1.refunds.list_async(params), of):
                invoice = paid_by.get(refund["payment_intent"])
                gone = refund["id"] in told or refund["status"] in ("failed", "canceled")
                if invoice is not None and not gone:
                    found[invoice].append(_document(refund, "refund", _micros_of(refund)))
            async for dispute in self._all(lambda params: v1.disputes.list_async(params), of):
                invoice = paid_by.get(dispute["payment_intent"])
                if invoice is not None and dispute["status"] in DISPUTES:
                    listed = _document(dispute, "dispute", _micros_of(dispute), 0, note_of_dispute(dispute))
                    found[invoice].append(listed._replace(status=DISPUTES[dispute["status"]]))
        return {invoice: sorted(listed, key=lambda one: one.at) for invoice, listed in found.items()}

    async def _all(
        self, listing: Callable[[Params], Awaitable[Any]], which: Mapping[str, str] | None = None
    ) -> AsyncIterator[Params]:
        """Every object of a list, page by page; a page that Stripe cannot give now is asked for again."""
        params: Params = {"limit": PAGE, **(which or {})}
        while True:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(Unavailable),
                wait=wait_random_exponential(0.5, 20),
                stop=stop_after_attempt(MOST_TRIES),
                reraise=True,
            ):
                with attempt:
                    page = await self._call(lambda params=params: listing(params))  # type: ignore[misc]
            for one in page["data"]:
                yield one
            if not page["has_more"]:
                return
            params = {**params, "starting_after": page["data"][-1]["id"]}

    async def locate(self, event: GatewayEvent) -> GatewayEvent | None:
        """An event of a payment, refund or credit, with what Stripe knows of the invoice that it is of.

        Returns:
            None where it is of no invoice, or where the refund is part of a credit note, which tells of it.
        """
        name = event.external_id
        if name is None:
            of: Params = {"payment": {"type": "payment_intent", "payment_intent": event.payment_id}}
            payments = await self._call(lambda: self._client.v1.invoice_payments.list_async(of))
            if not payments["data"]:
                return None
            name = payments["data"][0]["invoice"]
            for note in await self._credit_notes_of(name):
                if any(one["refund"] == event.document_id for one in note["refunds"]):
                    return None
        metadata = (await self._retrieve(name))["metadata"] or {}
        return event._replace(
            external_id=name,
            identity=metadata.get(IDENTITY),
            account_id=metadata.get(ACCOUNT),
            agency_id=metadata.get(AGENCY),
        )

    async def _tax_behavior(self, currency: str) -> str | None:
        """``exclusive`` or ``inclusive``, None where tax is off."""
        behavior: str | None = self.link.tax
        if behavior == "off":
            return None
        if behavior == "default":
            settings = await self._call(lambda: self._client.v1.tax.settings.retrieve_async())
            behavior = settings["defaults"]["tax_behavior"]
            if behavior is None:
                raise Unavailable("Stripe's tax settings have no default tax behavior; see `callmeter tax check`")
        if behavior == "inferred_by_currency":
            return "exclusive" if currency in ("USD", "CAD") else "inclusive"
        return behavior

    async def _customer(self, buyer: Buyer, make: bool) -> Params | None:
        """The account's customer at Stripe: the oldest one with its id in the metadata."""
        if buyer.account_id not in self._customers:
            await self._list_customers(buyer.email)
        if buyer.account_id not in self._customers:
            if not make:
                return None
            # The parameters never change, or the key would be refused.
            params: Params = {"metadata": {ACCOUNT: buyer.account_id, AGENCY: self.agency_id}}

            async def listed() -> Params | None:
                await self._list_customers(buyer.email)
                return await self._customer(buyer, make=False)

            made = await self._once(
                f"{self.agency_id}/{buyer.account_id}",
                "customer",
                lambda key: self._client.v1.customers.create_async(params, {"idempotency_key": key}),
                listed,
            )
            self._customers.setdefault(buyer.account_id, made["id"])
        name = self._customers[buyer.account_id]
        found = await self._call(lambda: self._client.v1.customers.retrieve_async(name))
        if found.get("deleted"):
            del self._customers[buyer.account_id]
            self._newest_customer = None
            raise Unavailable(f"Stripe's customer {name} of {buyer.account_id} was deleted; another one will be made")
        return found

    async def _list_customers(self, email: str | None) -> None:
        """Take in the customers that were made since the last look, and those with an email address: somebody may have
        put our metadata on one that was there before."""
        since: Params = {"ending_before": self._newest_customer} if self._newest_customer else {}
        try:
            new = await self._customers_at(since)
        except Rejected:
            # The newest one was deleted meanwhile.
            new = await self._customers_at({})
        known = await self._customers_at({"email": email}) if email and since else []
        for customer in sorted([*new, *known], key=_age):
            account_id = (customer["metadata"] or {}).get(ACCOUNT)
            if account_id:
                self._customers.setdefault(account_id, customer["id"])
        if new:
            self._newest_customer = max(new, key=_age)["id"]

    async def _customers_at(self, which: Params) -> list[Params]:
        async def all_pages() -> list[Params]:
            page = await self._client.v1.customers.list_async(_with_limit(which))
            return [one.to_dict() async for one in page.auto_paging_iter()]

        found: list[Params] = await self._call(all_pages)
        return found

    async def _bring_up_to_date(self, customer: Params, buyer: Buyer) -> None:
        """Tell Stripe what the catalogue knows of the account; what it does not know stays as it is there."""
        changes: Params = {
            name: value
            for name, value in (("name", buyer.name), ("email", buyer.email))
            if value is not None and customer.get(name) != value
        }
        known = dict(customer.get("address") or {})
        address = {
            name: value
            for name, value in (
                ("country", buyer.country),
                ("postal_code", buyer.postal_code),
                ("state", buyer.province),
            )
            if value is not None
        }
        if any(known.get(name) != value for name, value in address.items()):
            kept = {name: value for name, value in known.items() if value is not None}
            changes["address"] = {**kept, **address}
        if changes:
            await self._call(lambda: self._client.v1.customers.update_async(customer["id"], changes))
        if buyer.tax_id:
            await self._ensure_tax_id(customer["id"], buyer.tax_id)

    async def _ensure_tax_id(self, customer: str, tax_id: str) -> None:
        kind, _, value = tax_id.partition(":")
        known = await self._call(lambda: self._client.v1.customers.tax_ids.list_async(customer, {"limit": PAGE}))
        if not any((one["type"], one["value"]) == (kind, value) for one in known["data"]):
            params: Any = {"type": kind, "value": value}
            await self._call(lambda: self._client.v1.customers.tax_ids.create_async(customer, params))

    async def _invoice_of(self, customer: str, request: Request) -> Params | None:
        """The customer's invoice with our identity; where there are several, the first that was made."""
        own = identity(request)

        async def all_pages() -> list[Any]:
            page = await self._client.v1.invoices.list_async({"customer": customer, "limit": PAGE})
            return [one.to_dict() async for one in page.auto_paging_iter()]

        mine = [one for one in await self._call(all_pages) if (one["metadata"] or {}).get(IDENTITY) == own]
        return min(mine, key=_age) if mine else None

    async def _draft(self, customer: str, request: Request) -> Params:
        currency = request["currency"]
        asked = request["subtotal_micros"] + request["rounding_micros"]
        params: Params = {
            "customer": customer,
            "currency": currency.lower(),
            "collection_method": "charge_automatically" if self.link.collection == "charge" else "send_invoice",
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "automatic_tax": {"enabled": self.link.tax != "off"},
            "metadata": {
                IDENTITY: identity(request),
                ACCOUNT: request["account_id"],
                AGENCY: request["agency_id"],
            },
        }
        if self.link.collection == "invoice":
            params["days_until_due"] = _due_days(request)
        if fee := self.link.fee_minor(asked, currency):
            params["application_fee_amount"] = fee

        async def create(key: str) -> Any:
            made = await self._client.v1.invoices.create_async(params, {"idempotency_key": key})
            if not _replayed(made.last_response):
                return made
            try:
                return await self._client.v1.invoices.retrieve_async(made.id)
            except stripe.InvalidRequestError:
                # A draft that was deleted since.
                raise _KeySpent from None

        return await self._once(identity(request), "invoice", create, lambda: self._invoice_of(customer, request))

    async def _add_items(
        self, invoice: Params, request: Request, items: list[Any], behavior: str | None, tax_code: str | None
    ) -> None:
        """The lines that the draft does not have yet."""
        name = invoice["id"]
        known = await self._lines_of(name)
        for item in items:
            if item.line_id in known:
                continue
            params: Params = {
                "invoice": name,
                "customer": invoice["customer"],
                "currency": invoice["currency"],
                "amount": item.amount,
                "description": item.text[:MOST_METADATA],
                "metadata": {LINE: item.line_id},
            }
            if item.period:
                start, end = (int(datetime.fromisoformat(at).timestamp()) for at in item.period)
                params["period"] = {"start": start, "end": end}
            if behavior is not None:
                params["tax_behavior"] = behavior
                if tax_code:
                    params["tax_code"] = tax_code
            await self._add_item(name, request, item.line_id, params)

    async def _add_item(self, invoice: str, request: Request, line_id: str, params: Params) -> None:
        async def added() -> Params | None:
            return (await self._lines_of(invoice)).get(line_id)

        await self._once(
            # A draft that was deleted and made anew has lines of its own.
            f"{identity(request)}/{invoice}",
            f"line {line_id}",
            lambda key: self._client.v1.invoice_items.create_async(params, {"idempotency_key": key}),
            added,
        )

    async def _lines_of(self, invoice: str) -> dict[str, Params]:
        async def all_pages() -> list[Any]:
            page = await self._client.v1.invoice_items.list_async({"invoice": invoice, "limit": PAGE})
            return [one.to_dict() async for one in page.auto_paging_iter()]

        return {(one["metadata"] or {}).get(LINE, ""): one for one in await self._call(all_pages)}

    async def _checked(self, name: str, request: Request, behavior: str | None) -> Params:
        """The draft, if Stripe's sum is ours; otherwise it is deleted, and nothing was asked."""
        invoice = await self._retrieve(name)
        if invoice["status"] != "draft":
            return invoice
        currency = request["currency"]
        ours = request["subtotal_micros"] + request["rounding_micros"]
        compared = "total" if behavior in (None, "inclusive") else "total_excluding_tax"
        theirs = to_micros(invoice[compared], currency)
        status = (invoice.get("automatic_tax") or {}).get("status")
        if status == "failed":
            raise Unavailable("Stripe could not reckon the tax")
        problem = None
        if status == "requires_location_inputs":
            problem = (
                "Stripe does not know where the customer is, so it cannot reckon the tax: give country and postal code"
            )
        elif theirs != ours:
            problem = (
                f"Stripe would ask for {micros_text(theirs)} {currency} where {micros_text(ours)} {currency} are owed; "
                "does the customer have a discount, or default tax rates, at Stripe?"
            )
        if problem:
            await self._call(lambda: self._client.v1.invoices.delete_async(name))
            raise Rejected(problem)
        return invoice

    async def _collect(self, invoice: Params, request: Request) -> Params:
        """Charge or send the invoice, finalised before; what was done of that is not done again."""
        name, own = invoice["id"], identity(request)
        invoices = self._client.v1.invoices
        if invoice["collection_method"] == "send_invoice":
            if invoice["status"] != "draft":
                return invoice
            # Sending a draft finalises it: one step.
            return await self._step(
                own, f"send {name}", lambda key: invoices.send_invoice_async(name, {}, {"idempotency_key": key})
            )
        if invoice["status"] == "draft":
            invoice = await self._step(
                own,
                f"finalize {name}",
                lambda key: invoices.finalize_invoice_async(name, {"auto_advance": True}, {"idempotency_key": key}),
            )
        if invoice["status"] == "open" and not invoice["attempted"]:
            invoice = await self._step(
                own, f"pay {name}", lambda key: invoices.pay_async(name, {}, {"idempotency_key": key})
            )
        return invoice

    async def _step(self, own: str, step: str, call: Callable[[str], Awaitable[Any]]) -> Params:
        """A step that Stripe itself does not do twice: where the key brings back a failure, it is tried anew."""

        async def nothing() -> None:
            return None

        return await self._once(own, step, call, nothing)

    def _begun(self, invoice: Params) -> bool:
        """Whether the invoice still has to be charged or sent."""
        if invoice["status"] == "draft":
            return True
        charged = invoice["collection_method"] == "charge_automatically"
        return charged and invoice["status"] == "open" and not invoice["attempted"]

    def _external(self, invoice: Params) -> ExternalRequest:
        status = STATUSES[invoice["status"]]
        currency = invoice["currency"].upper()
        taxes = invoice.get("total_taxes") or []
        return ExternalRequest(
            invoice["id"],
            status,
            UNCOLLECTIBLE if status == "failed" else None,
            to_micros(sum(one["amount"] for one in taxes), currency),
            any(one["tax_behavior"] == "inclusive" for one in taxes),
            invoice.get("hosted_invoice_url"),
        )

    async def _retrieve(self, name: str) -> Params:
        return await self._call(lambda: self._client.v1.invoices.retrieve_async(name))

    async def _credit_note_of(self, invoice: str, own: str) -> Params | None:
        notes = await self._credit_notes_of(invoice)
        return next((one for one in notes if (one["metadata"] or {}).get(IDENTITY) == own), None)

    async def _credit_notes_of(self, invoice: str) -> list[Params]:
        async def all_pages() -> list[Any]:
            page = await self._client.v1.credit_notes.list_async({"invoice": invoice, "limit": PAGE})
            return [one.to_dict() async for one in page.auto_paging_iter()]

        found: list[Params] = await self._call(all_pages)
        return found

    async def _once(
        self,
        own: str,
        step: str,
        call: Callable[[str], Awaitable[Any]],
        look: Callable[[], Awaitable[Params | None]],
    ) -> Params:
        """Do something that must be done once.

        Args:
            own: what it is done for.
            step: what is done; with ``own`` it makes the key.
            call: does it with a key.
            look: finds what was done before.

        Raises:
            Unavailable: it may or may not have been done.
            Rejected: Stripe refuses it.
        """
        for number in range(MOST_KEYS):
            key = _key(own, step, number)
            try:
                return await self._call(lambda key=key: call(key))  # type: ignore[misc]
            except _KeySpent:
                found = await look()
                if found is not None:
                    return found
        raise Unavailable(f"Stripe fails whenever it is asked to do this: {step}")

    async def _call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call Stripe, with its errors as ours, and its objects as plain ones."""
        try:
            answered = await call()
            return answered.to_dict() if isinstance(answered, StripeObject) else answered
        except stripe.IdempotencyError:
            # The same thing was asked for otherwise before, say with another fee.
            raise _KeySpent from None
        except (stripe.RateLimitError, stripe.APIConnectionError) as error:
            raise Unavailable(f"Stripe cannot be asked: {_words(error)}") from None
        except (stripe.AuthenticationError, stripe.PermissionError) as error:
            raise Unavailable(f"Stripe refuses the platform's key for {self.link.account}: {_words(error)}") from None
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            if error.http_status in (409, 429):
                raise Unavailable(f"Stripe cannot be asked: {_words(error)}") from None
            raise Rejected(_words(error)) from None
        except stripe.StripeError as error:
            if _replayed(error):
                raise _KeySpent from None
            raise Unavailable(f"Stripe fails: {_words(error)}") from None
        except (ClientError, TimeoutError) as error:
            # An answer that breaks off: the SDK knows only of what goes wrong before its first byte.
            raise Unavailable(f"Stripe's answer broke off: {error!r}") from None


class _KeySpent(Exception):
    """The idempotency key stands for something else, or for an old failure."""


@cache
def _trusted() -> ssl.SSLContext:
    """Whom the SDK trusts; read once, for each agency has connections of its own."""
    return ssl.create_default_context(cafile=stripe.ca_bundle_path)


def _with_limit(which: Params) -> Params:
    return {"limit": PAGE, **which}


def _age(of: Params) -> tuple[int, str]:
    """Orders objects by when they were made."""
    return of["created"], of["id"]


def _replayed(answer: Any) -> bool:
    """Whether an answer, or an error, is what an idempotency key was answered before."""
    headers = {name.lower(): value for name, value in (getattr(answer, "headers", None) or {}).items()}
    return headers.get("idempotent-replayed") == "true"


def _words(error: stripe.StripeError) -> str:
    """Stripe's reason as people read it."""
    text = error.user_message or str(error)
    return " ".join(text.split())


def _key(own: str, step: str, number: int) -> str:
    digest = hashlib.blake2b(f"{own}\0{step}".encode(), digest_size=20).hexdigest()
    return f"callmeter-{digest}-{number}"


def _document(
    of: Params,
    kind: Literal["credit_note", "refund", "dispute"],
    amount_micros: int,
    tax_micros: int = 0,
    note: str | None = None,
) -> ListedDocument:
    """A credit note, refund or dispute of Stripe's."""
    at = datetime.fromtimestamp(of["created"], UTC)
    correction_id = (of["metadata"] or {}).get(CORRECTION)
    return ListedDocument(kind, of["id"], correction_id, amount_micros, tax_micros, at, note)


def _micros_of(of: Params) -> int:
    return to_micros(of["amount"], of["currency"].upper())


def _due_days(request: Request) -> int:
    """Days from the raising of a request to its due date."""
    created = request.get("created_at") or request["at"]
    begins, due = (datetime.fromisoformat(str(at)).astimezone(UTC) for at in (created, request["due_at"]))
    return max(0, (due - begins).days)


def make(agency_id: str, options: Mapping[str, str], settings: Settings) -> StripeGateway:
    """The gateway of an agency."""
    return StripeGateway(agency_id, options, settings)
