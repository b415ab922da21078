"""The gateway of an agency that collects its money by itself: nothing is asked outside of Callmeter.

The request is shown and exported; whoever sees the money come in settles it with ``callmeter requests mark-paid``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobs.gateways.base import ExternalRequest


class ManualGateway:
    """Asks nobody."""

    name = "manual"

    async def find(self, request: Mapping[str, Any]) -> ExternalRequest | None:
        """Nothing is ever found: there is no outside."""
        return None

    async def create(self, request: Mapping[str, Any]) -> ExternalRequest:
        """Nothing to do."""
        return ExternalRequest(None)
