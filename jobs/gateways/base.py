"""What a gateway does for the billing job: it asks an account for money, once for each payment request.

The job may be killed between asking and writing down that it asked, and an old job may still run beside a new one. So
every request is looked up before it is created, and carries its own identity as the idempotency key: whoever comes
second finds, or is answered with, what the first one made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class ExternalRequest(NamedTuple):
    """A payment request as a gateway knows it. ``external_id`` is None where nothing exists outside of Callmeter."""

    external_id: str | None


class Gateway(Protocol):
    """Asks accounts for money.

    Requests are as `rating.request.request_for` builds them: amounts in micros, times as ISO 8601 text. What a method
    raises ends the job, which goes on from the same event when it is started again.
    """

    name: str

    async def find(self, request: Mapping[str, Any]) -> ExternalRequest | None:
        """What was created for this request before (see `identity`), if anything was."""

    async def create(self, request: Mapping[str, Any]) -> ExternalRequest:
        """Ask for the money, with `identity` as the idempotency key.

        Two calls with the same one, even at the same moment, must end in one request outside.
        """


def identity(request: Mapping[str, Any]) -> str:
    """What a payment request is known by outside: its id is unique in its account only."""
    return f"{request['account_id']}/{request['payment_request_id']}"


async def ask(gateway: Gateway, request: Mapping[str, Any]) -> ExternalRequest:
    """Ask for a payment request, unless that was done before."""
    found = await gateway.find(request)
    return await gateway.create(request) if found is None else found
