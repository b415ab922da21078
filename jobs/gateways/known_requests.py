"""Payment requests as webhooks find them: by what they are known by outside, in memory, as they change."""

from __future__ import annotations

import sys

import msgspec
from aiokafka.structs import ConsumerRecord

from jobs.gateways.base import GatewayEvent, identity
from jobs.reading import Follower
from streams.settings import Settings
from streams.topics import PAYMENT_REQUESTS


class KnownRequest(msgspec.Struct):
    """As much of a payment request as a webhook needs."""

    payment_request_id: str
    account_id: str
    agency_id: str
    currency: str
    status: str
    gateway: str
    external_id: str | None
    corrects: str | None = None


_decode = msgspec.json.Decoder(KnownRequest).decode


class KnownRequests:
    """Every payment request of a gateway. Each process that wants them reads all of them."""

    def __init__(self, settings: Settings) -> None:
        """Know nothing; nothing is read before `refresh`."""
        self._follower = Follower(settings, PAYMENT_REQUESTS, self._take)
        self._by_identity: dict[str, KnownRequest] = {}
        self._by_external_id: dict[tuple[str, str, str], KnownRequest] = {}

    async def refresh(self) -> None:
        """Take in what was changed since the last time; raises as `Follower.refresh`."""
        await self._follower.refresh()

    async def close(self) -> None:
        """Let go of the broker."""
        await self._follower.close()

    def find(self, event: GatewayEvent, gateway: str, agency_id: str | None) -> KnownRequest | None:
        """The payment request that an event is about.

        Args:
            event: of the gateway.
            gateway: its name.
            agency_id: whose gateway it is; None for Stripe, whose ids are unique among all agencies.
        """
        found = self._by_external_id.get((gateway, agency_id or "", event.external_id)) if event.external_id else None
        return found or (self._by_identity.get(event.identity) if event.identity else None)

    def has(self, account_id: str, payment_request_id: str) -> bool:
        """Whether there is such a request, credit note, refund or dispute."""
        return self.status_of(account_id, payment_request_id) is not None

    def status_of(self, account_id: str, payment_request_id: str) -> str | None:
        """The status of a request or document; None if there is none."""
        own = identity({"account_id": account_id, "payment_request_id": payment_request_id})
        known = self._by_identity.get(own)
        return None if known is None else known.status

    def _take(self, record: ConsumerRecord) -> None:
        if record.value is None:
            return
        request = _decode(record.value)
        if request.gateway == "manual":
            return
        for name in ("agency_id", "currency", "status", "gateway"):
            # A few values, many requests.
            setattr(request, name, sys.intern(getattr(request, name)))
        own = identity({"account_id": request.account_id, "payment_request_id": request.payment_request_id})
        self._by_identity[own] = request
        if request.external_id is not None and request.corrects is None:
            agency_id = "" if request.gateway == "stripe" else request.agency_id
            self._by_external_id[request.gateway, agency_id, request.external_id] = request
