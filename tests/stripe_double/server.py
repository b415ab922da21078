"""The double's HTTP server: keys, accounts, idempotency, faults, and signed webhooks."""

from __future__ import annotations

import copy
import hmac
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from tests.stripe_double import invoices
from tests.stripe_double.description import Refused, check_request, check_response, operation_of, parameters
from tests.stripe_double.state import Account, Object, page

KEY = "sk_test_double"
WEBHOOK_SECRET = "whsec_double"
KEY_LIFE_S = 24 * 3600

# before: nothing happens; after: it has happened, but nobody is told. A 5xx is what the key answers from then on.
Fault = Literal["429", "500 before", "500 after", "silence before", "silence after", "silence within", "break within"]


@dataclass
class Call:
    """A request that came in: its operation as Stripe's description names it, and whose it is."""

    operation: str
    account: str
    given: Object
    key: str | None


@dataclass
class _Known:
    request: str
    at: int
    status: int = 0
    body: bytes = b""
    done: bool = False


@dataclass
class StripeDouble:
    """Stripe's API as far as `cut.OPERATIONS` go, of one platform.

    Attributes:
        url: where it listens.
        accounts: the connected ones; tests look into them and change them.
        calls: every request that came in, oldest first.
        faults: by the number of a call (the first is 0) what goes wrong with it.
        on_call: called with each call's number when it was done and before it is answered, in the server's thread.
        passed_s: how far the double's clock is ahead; tests add to it.
        search_lag_s: how old an invoice must be for a search to find it.
    """

    url: str = ""
    accounts: dict[str, Account] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: dict[int, Fault] = field(default_factory=dict)
    on_call: Callable[[int, Call], None] = lambda number, call: None
    passed_s: int = 0
    search_lag_s: int = 60
    _keys: dict[tuple[str, str], _Known] = field(default_factory=dict)

    def now(self) -> int:
        """Its clock, in unix seconds."""
        return int(time.time()) + self.passed_s

    def connect(self, name: str, **fields: Any) -> Account:
        """Connect an account, which has all that is needed but a registration."""
        self.accounts[name] = Account(name, self.now, **fields)
        return self.accounts[name]

    def next_fails(self, *faults: Fault) -> None:
        """Have the next calls go wrong, one after the other."""
        self.faults |= {len(self.calls) + number: fault for number, fault in enumerate(faults)}

    async def answer(self, request: Request) -> Response:
        """Any request."""
        text = (await request.body()).decode() or request.url.query
        number = len(self.calls)
        fault = self.faults.get(number)
        try:
            account = self._account_of(request)
            operation, names = operation_of(request.method, request.url.path)
            given = parameters(text)
            key = request.headers.get("idempotency-key") if request.method == "POST" else None
            call = Call(operation, account.id, given, key)
            self.calls.append(call)
            if fault == "429":
                raise Refused(429, "Too many requests hit the API too quickly.", code="rate_limit")
            if fault == "silence before":
                await self._silence(request)
            status, body, replayed = self._once(account, operation, names, text, call, fault)
            self.on_call(number, call)
            if fault == "silence after":
                await self._silence(request)
        except Refused as refused:
            status, body, replayed = refused.status, _encoded({"error": refused.error}), False
        headers = {"Request-Id": f"req_{number}", "Stripe-Should-Retry": "true"} if status == 429 else {}
        if replayed:
            headers["Idempotent-Replayed"] = "true"
        if fault in ("silence within", "break within"):
            headers["Content-Length"] = str(len(body))
            return StreamingResponse(self._half(request, body, fault), status, headers, "application/json")
        return Response(body, status, headers, "application/json")

    def _account_of(self, request: Request) -> Account:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Refused(401, "Invalid API Key provided: sk_test_****")
        name = request.headers.get("stripe-account", "")
        if name not in self.accounts:
            raise Refused(
                403,
                f"The provided key 'sk_test_****' does not have access to account '{name}' (or that account does not "
                "exist). Application access may have been revoked.",
                code="account_invalid",
            )
        return self.accounts[name]

    async def _silence(self, request: Request) -> None:
        """Do not answer for as long as anybody waits for it."""
        while (await request.receive())["type"] != "http.disconnect":
            pass

    async def _half(self, request: Request, body: bytes, fault: Fault) -> AsyncIterator[bytes]:
        """Half an answer, then nothing more."""
        yield body[: len(body) // 2]
        if fault == "silence within":
            await self._silence(request)
        raise ConnectionError("as a test wants it")

    def _once(
        self, account: Account, operation: str, names: dict[str, str], text: str, call: Call, fault: Fault | None
    ) -> tuple[int, bytes, bool]:
        """Do a request, or answer what its idempotency key was answered before."""
        typed = check_request(operation, call.given)
        own = (account.id, call.key or "")
        known = self._keys.get(own) if call.key else None
        if known and self.now() - known.at < KEY_LIFE_S:
            if known.request != f"{operation} {names} {text}":
                message = f"Keys for idempotent requests can only be used with the same parameters: '{call.key}'."
                raise Refused(400, message, "idempotency_error")
            return known.status, known.body, True
        known = _Known(f"{operation} {names} {text}", self.now())
        try:
            if fault == "500 before":
                raise Refused(500, "An unknown error occurred", "api_error")
            answered = self._do(account, operation, names, typed)
            check_response(operation, answered)
            known.status, known.body = 200, _encoded(answered)
            if fault == "500 after":
                raise Refused(500, "An unknown error occurred", "api_error")
        except Refused as refused:
            known.status, known.body = refused.status, _encoded({"error": refused.error})
        # What fails its validation is not kept; a card that is declined, or a failure of Stripe's own, is.
        if call.key and known.status != 400 and known.status != 404:
            self._keys[own] = known
        return known.status, known.body, False

    def _do(self, account: Account, operation: str, names: dict[str, str], given: Object) -> Object:
        path = operation.split(" ")[1]
        customer, name = names.get("customer", ""), names.get("invoice", "")
        match operation.removesuffix(path).strip(), path:
            case "get", "/v1/account":
                return account.as_object()
            case "get", "/v1/country_specs/{country}":
                return account.country_spec(names["country"])
            case "get", "/v1/customers":
                found = [one for one in account.customers.values() if given.get("email", one["email"]) == one["email"]]
                return page(found, given, path)
            case "post", "/v1/customers":
                return account.create_customer(given)
            case "get", "/v1/customers/{customer}":
                return account.find("customer", account.customers, customer)
            case "post", "/v1/customers/{customer}":
                return account.update_customer(customer, given)
            case "get", "/v1/customers/{customer}/tax_ids":
                own = [one for one in account.tax_ids.values() if one["customer"] == customer]
                return page(own, given, f"/v1/customers/{customer}/tax_ids")
            case "post", "/v1/customers/{customer}/tax_ids":
                return account.create_tax_id(customer, given)
            case "get", "/v1/tax/settings":
                return account.tax_settings()
            case "post", "/v1/tax/settings":
                return account.set_tax(given)
            case "get", "/v1/tax/registrations":
                status = given.get("status", "all")
                listed = [one for one in account.registrations.values() if status in ("all", one["status"])]
                return page(listed, given, path)
            case "post", "/v1/tax/registrations":
                return account.create_registration(given)
            case "get", "/v1/invoiceitems":
                own = [one for one in account.items.values() if given.get("invoice", one["invoice"]) == one["invoice"]]
                listed_items = page(own, given, path)
                return {**listed_items, "data": [_public(one) for one in listed_items["data"]]}
            case "post", "/v1/invoiceitems":
                return _public(invoices.add_item(account, given))
            case "get", "/v1/invoice_payments":
                own = [
                    one for one in account.payments.values() if given.get("invoice", one["invoice"]) == one["invoice"]
                ]
                intent = given.get("payment", {}).get("payment_intent")
                own = [one for one in own if intent in (None, one["payment"]["payment_intent"])]
                return page(own, given, path)
            case "get", "/v1/credit_notes":
                own = [one for one in account.credit_notes.values() if given.get("invoice") in (None, one["invoice"])]
                return page(own, given, path)
            case "get", "/v1/credit_notes/{id}":
                return account.find("credit note", account.credit_notes, names["id"])
            case "post", "/v1/credit_notes":
                return invoices.create_credit_note(account, given)
            case "get", "/v1/refunds":
                intent = given.get("payment_intent")
                refunds = [one for one in account.refunds.values() if intent in (None, one["payment_intent"])]
                return page(refunds, given, path)
            case "get", "/v1/disputes":
                intent = given.get("payment_intent")
                disputes = [one for one in account.disputes.values() if intent in (None, one["payment_intent"])]
                return page(disputes, given, path)
            case _, "/v1/disputes/{dispute}":
                dispute = account.find("dispute", account.disputes, names["dispute"])
                if given.get("submit"):
                    invoices.submit_evidence(account, dispute, given["evidence"])
                return dispute
            case "post", "/v1/refunds":
                return invoices.create_refund(account, given)
            case "get", "/v1/invoices":
                found = [one for one in account.invoices.values() if given.get("customer") in (None, one["customer"])]
                found = [one for one in found if given.get("status") in (None, one["status"])]
                listed_invoices = page(found, given, path)
                return {
                    **listed_invoices,
                    "data": [invoices.shown(account, one) for one in listed_invoices["data"]],
                }
            case "get", "/v1/invoices/search":
                old = self.now() - self.search_lag_s
                data = [invoices.shown(account, one) for one in account.invoices.values() if one["created"] < old]
                return {"object": "search_result", "url": path, "data": data, "has_more": False, "next_page": None}
            case "post", "/v1/invoices":
                return invoices.shown(account, invoices.create(account, given))
        invoice = account.find("invoice", account.invoices, name)
        match operation:
            case "get /v1/invoices/{invoice}":
                pass
            case "delete /v1/invoices/{invoice}":
                return invoices.delete(account, invoice)
            case "post /v1/invoices/{invoice}/finalize":
                invoices.finalize(account, invoice, given.get("auto_advance"))
            case "post /v1/invoices/{invoice}/send":
                invoices.send(account, invoice)
            case "post /v1/invoices/{invoice}/pay":
                invoices.pay(account, invoice, given)
            case "post /v1/invoices/{invoice}/void":
                invoices.void(account, invoice)
            case _:
                raise Refused(404, f"The double does not do {operation}.")
        return invoices.shown(account, invoice)


def signed(event: Object, at: int | None = None, secret: str = WEBHOOK_SECRET) -> tuple[bytes, str]:
    """An event's body and the ``Stripe-Signature`` that goes with it, of now or another time."""
    body = json.dumps(event).encode()
    stamp = int(time.time()) if at is None else at
    signature = hmac.new(secret.encode(), b"%d." % stamp + body, sha256).hexdigest()
    return body, f"t={stamp},v1={signature}"


@contextmanager
def stripe_double() -> Iterator[StripeDouble]:
    """A double that listens on a free port while the block runs."""
    double = StripeDouble()
    app = FastAPI(openapi_url=None)
    app.add_route("/{path:path}", double.answer, methods=["GET", "POST", "DELETE"])
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off", loop="asyncio")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the double did not start")
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    double.url = f"http://127.0.0.1:{port}"
    try:
        yield double
    finally:
        # Nobody is waited for who still waits.
        server.should_exit = server.force_exit = True
        thread.join()


def _public(of: Object) -> Object:
    return {key: copy.deepcopy(value) for key, value in of.items() if not key.startswith("_")}


def _encoded(of: Object) -> bytes:
    return json.dumps(of).encode()
