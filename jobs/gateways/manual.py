"""The gateway of an agency that collects its money by itself: nothing is asked outside of Callmeter.

The request is shown and exported; whoever sees the money come in settles it with ``callmeter requests mark-paid``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobs.gateways.base import Buyer, ExternalRefund, ExternalRequest, GatewayEvent, Request, Step


class ManualGateway:
    """Asks nobody."""

    name = "manual"
    asks = False

    async def preflight(self, currencies: Iterable[str], buyer: Buyer | None = None) -> list[Step]:
        """Nothing is needed."""
        return []

    async def find(self, request: Request, buyer: Buyer) -> ExternalRequest | None:
        """Nothing is ever found: there is no outside."""
        return None

    async def create(self, request: Request, buyer: Buyer) -> ExternalRequest:
        """Nothing to do."""
        return ExternalRequest(None)

    async def cancel(self, request: Request) -> None:
        """Nothing to do."""

    async def refund(self, request: Request, amount_micros: int, note: str, refund_id: str) -> ExternalRefund:
        """The agency gives it back by itself."""
        return ExternalRefund(None)

    async def close(self) -> None:
        """There are no connections."""

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> GatewayEvent | None:
        """Nobody sends any."""
        return None
