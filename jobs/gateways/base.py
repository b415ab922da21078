"""What a gateway does: it asks an account for money, once for each payment request, and says how that stands.

Whoever asks may be killed between asking and writing down that he asked, and an old one may still run beside a new one.
So every request is looked up before it is created, and carries its own identity as the idempotency key: whoever comes
second finds, or is answered with, what the first one made.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from streams.errors import CallmeterError

Request = Mapping[str, Any]

# As much as a gateway must keep of an identity.
MOST_IDENTITY = 500


class Rejected(CallmeterError):
    """The gateway will never take this request as it is. The text says why, in plain words: it is shown to people."""


class Unavailable(CallmeterError):
    """The gateway cannot be asked for now: a limit of its rate, an outage, a setting that is missing. Nothing is lost
    by asking again later."""


class WebhookRefused(CallmeterError):
    """What came in as a webhook is not signed by the gateway, or too old."""


class Buyer(NamedTuple):
    """Who is asked, as the catalogue knows him; None where it does not.

    Attributes:
        tax_id: its kind and value, such as ``eu_vat:DE123456789``.
        tax_code: of what he is sold, the gateway's own code; None for the agency's default.
    """

    account_id: str
    agency_id: str
    name: str | None = None
    email: str | None = None
    country: str | None = None
    province: str | None = None
    postal_code: str | None = None
    tax_id: str | None = None
    tax_code: str | None = None


class ExternalRequest(NamedTuple):
    """A payment request as a gateway knows it.

    Attributes:
        external_id: None where nothing exists outside of Callmeter.
        status: ``failed``: nobody tries any more to collect it; ``open`` otherwise, until it is paid or canceled.
        reason: why it failed, in plain words.
        tax_micros: the tax that the gateway reckoned.
        tax_included: the tax is in the total that was asked; else it came on top.
        url: where the account can look at it and pay.
    """

    external_id: str | None
    status: Literal["open", "paid", "failed", "canceled"] = "open"
    reason: str | None = None
    tax_micros: int = 0
    tax_included: bool = False
    url: str | None = None


class ExternalRefund(NamedTuple):
    """Money that went back, or less that is asked, as a gateway knows it."""

    external_id: str | None
    tax_micros: int = 0


class Step(NamedTuple):
    """One thing that must be there before money can be asked for.

    Attributes:
        name: for programs.
        title: for people.
        side: whose it is: the agency's, or that of the account that buys.
        state: ``missing`` stops a request; ``advised`` does not.
        todo: what is known, or what to do where it is missing.
        link: where to do it.
    """

    name: str
    title: str
    side: Literal["agency", "account"]
    state: Literal["done", "missing", "advised"]
    todo: str = ""
    link: str = ""


class GatewayEvent(NamedTuple):
    """What a webhook tells.

    Attributes:
        event_id: the gateway's; the same one comes more than once.
        kind: what happened. ``credited``: less is asked; ``refunded``: money went back; ``disputed``: the payer's
            bank wants it back, and nothing is decided; ``dispute_won``: it does not get it; ``dispute_lost``: it has.
        external_account: whose it is outside; empty where the gateway has no accounts.
        external_id: of the payment request outside; None where only the payment is known.
        identity: of the payment request, see `identity`; None where the gateway does not tell.
        account_id, agency_id: of the payment request, where its identity is told.
        at: when it happened.
        amount_micros: of a credit, refund or dispute.
        tax_micros: how much of it is tax.
        currency: of the amount.
        note: for people.
        payment_id: of the payment outside, where only that is known.
        document_id: the gateway's, of a credit, refund or dispute.
        correction_id: of a credit or refund that was made here: the id of our document.
        credited_micros: of what was paid: what credits took off before.
    """

    event_id: str
    kind: Literal["paid", "failed", "canceled", "credited", "refunded", "disputed", "dispute_won", "dispute_lost"]
    external_account: str
    external_id: str | None
    identity: str | None
    at: datetime
    account_id: str | None = None
    agency_id: str | None = None
    amount_micros: int = 0
    tax_micros: int = 0
    currency: str | None = None
    note: str | None = None
    payment_id: str | None = None
    document_id: str | None = None
    correction_id: str | None = None
    credited_micros: int = 0


class ListedDocument(NamedTuple):
    """A credit note, refund or dispute as a gateway lists it; attributes as of `GatewayEvent`.

    Attributes:
        status: of a dispute.
    """

    kind: Literal["credit_note", "refund", "dispute"]
    document_id: str
    correction_id: str | None
    amount_micros: int
    tax_micros: int
    at: datetime
    note: str | None
    status: Literal["opened", "won", "lost"] | None = None


class ListedRequest(NamedTuple):
    """A payment request as a gateway lists it.

    Attributes:
        external_id: the gateway's.
        identity: see `identity`.
        account_id: as it was asked for.
        status: as of `ExternalRequest`; ``canceled`` also where credits took off all of it.
        at: since when it has its status; None where the gateway does not tell.
        currency: of the amounts.
        total_micros: what was asked, tax included, before credits.
        tax_micros, tax_included: as of `ExternalRequest`.
        documents: its credits, refunds and disputes, oldest first.
    """

    external_id: str
    identity: str
    account_id: str
    status: Literal["open", "paid", "failed", "canceled"]
    at: datetime | None
    currency: str
    total_micros: int
    tax_micros: int = 0
    tax_included: bool = False
    documents: Sequence[ListedDocument] = ()


@runtime_checkable
class Listing(Protocol):
    """A gateway that can say all that it was asked for: only such a one is reconciled."""

    def requests(self, external_id: str | None = None) -> AsyncIterator[ListedRequest]:
        """Every payment request with an identity of ours, but for those that were only begun; or only one of them.

        Raises:
            Unavailable: it cannot say so now.
        """


class Gateway(Protocol):
    """Asks the accounts of one agency for money.

    Requests are as on ``payment-requests``: amounts in micros, times as ISO 8601 text.

    Every method may raise `Unavailable`: it is called again later, with growing pauses, and nobody but this agency
    waits for it. What is none of the errors here is a defect: it is logged with its origin, and tried again, too.

    Attributes:
        name: as it is linked and shown.
        asks: False where there is nobody outside to ask: the agency collects its money by itself.
    """

    name: str
    asks: bool

    async def preflight(self, currencies: Iterable[str], buyer: Buyer | None = None) -> list[Step]:
        """Everything that must be there before money is asked for in these currencies: of the agency, and of a buyer
        if one is given."""

    async def find(self, request: Request, buyer: Buyer) -> ExternalRequest | None:
        """What was created for this request before (see `identity`), if it was created to its end."""

    async def create(self, request: Request, buyer: Buyer) -> ExternalRequest:
        """Ask for the money, with `identity` as the idempotency key.

        Two calls with the same one, even at the same moment, must end in one request outside. So must a call after one
        that was broken off anywhere.

        Raises:
            Rejected: the gateway will never take it; nothing is left outside.
        """

    async def cancel(self, request: Request) -> None:
        """Ask for the money no longer: the request was canceled, or paid otherwise, as its status says. Safe to repeat.

        Raises:
            Rejected: it was canceled here and paid outside.
        """

    async def refund(self, request: Request, amount_micros: int, note: str, refund_id: str) -> ExternalRefund:
        """Give money of a paid request back, or ask for less of one that is open.

        Args:
            request: as it stands.
            amount_micros: how much, tax included.
            note: for people.
            refund_id: the id of our document, and the idempotency key.

        Raises:
            Rejected: the gateway refuses; the text is its reason.
        """

    async def close(self) -> None:
        """Let go of connections."""

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent | None:
        """What a webhook tells, None if it is nothing that matters.

        Args:
            body: as it came in.
            headers: of the HTTP request; names in lower case.

        Raises:
            WebhookRefused: its signature is wrong, or it is too old.
            Unavailable: it cannot be read now; it has to come again.
        """


def identity(request: Request) -> str:
    """What a payment request is known by outside: its id is unique in its account only. At most 500 characters."""
    return short(f"{request['account_id']}/{request['payment_request_id']}")


def short(text: str) -> str:
    """A text, or its hash where it is longer than what gateways keep."""
    if len(text) <= MOST_IDENTITY:
        return text
    return f"blake2b:{hashlib.blake2b(text.encode(), digest_size=20).hexdigest()}"


async def ask(gateway: Gateway, request: Request, buyer: Buyer) -> ExternalRequest:
    """Ask for a payment request, unless that was done before."""
    found = await gateway.find(request, buyer)
    return await gateway.create(request, buyer) if found is None else found
