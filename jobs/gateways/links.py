"""What running jobs know of agencies' gateways and of the accounts that are asked: the catalogue, as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from catalogue.collection import Entry
from catalogue.model import Account, Assignment, GatewayLink, Plan
from catalogue.store import entry_of
from jobs.gateways.base import Buyer, Gateway
from jobs.gateways.choice import make_gateway
from jobs.reading import TopicReader
from streams.administration import check_topics
from streams.settings import Settings
from streams.topics import CATALOGUE


class Links:
    """The catalogue of a running job. Entries are decoded when they are asked for: there may be very many."""

    def __init__(self, settings: Settings) -> None:
        """Know nothing; nothing is read before `refresh`."""
        self._settings = settings
        self._records: dict[str, Any] = {}
        self._positions: dict[int, int] = {}
        self._reader: TopicReader | None = None
        self._gateways: dict[str, tuple[GatewayLink | None, Gateway]] = {}
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Take in what was changed since the last time.

        Raises:
            BrokerUnreachable, TopicMissing: there is nothing to read from.
        """
        async with self._reading:
            if self._reader is None:
                partitions = await check_topics(self._settings, [CATALOGUE])
                self._reader = TopicReader(self._settings, CATALOGUE, partitions)
                await self._reader.__aenter__()
                self._positions = dict(await self._reader.starts())
            ends = await self._reader.ends()
            new = {partition: end for partition, end in ends.items() if end > self._positions[partition]}
            if not new:
                return
            starts = {partition: self._positions[partition] for partition in new}
            async for record in self._reader.read(starts, new):
                self._records[record.key.decode(errors="replace")] = record
            self._positions.update(new)

    async def close(self) -> None:
        """Let go of the broker and of the gateways' connections; what is asked for after that connects again."""
        async with self._reading:
            for _, gateway in self._gateways.values():
                await gateway.close()
            self._gateways.clear()
            if self._reader is not None:
                reader, self._reader = self._reader, None
                await reader.__aexit__(None, None, None)

    def name_of(self, agency_id: str) -> str:
        """The name of the gateway that an agency is linked to."""
        link = self._link(agency_id)
        return "manual" if link is None else link.gateway

    def gateway_of(self, agency_id: str) -> Gateway:
        """The gateway of an agency, the same object as long as its link stays as it is.

        Raises:
            CallmeterError: this process does not have it, or its options are wrong.
        """
        link = self._link(agency_id)
        known = self._gateways.get(agency_id)
        if known is None or known[0] != link:
            self._gateways[agency_id] = known = link, make_gateway(agency_id, link, self._settings)
        return known[1]

    def buyer_of(self, request: Mapping[str, Any]) -> Buyer:
        """Who is asked by a payment request. What he is sold is the plan that is assigned to him."""
        account_id, agency_id = request["account_id"], request["agency_id"]
        account = self._entry(agency_id, "account", account_id)
        offered = self._entry(agency_id, "assignment", account_id)
        plan = self._entry(agency_id, "plan", cast(Assignment, offered.body).plan) if offered else None
        return buyer(
            account_id,
            agency_id,
            cast(Account, account.body) if account else None,
            cast(Plan, plan.body) if plan else None,
        )

    def _link(self, agency_id: str) -> GatewayLink | None:
        entry = self._entry(agency_id, "gateway", agency_id)
        return None if entry is None or entry.retired else cast(GatewayLink, entry.body)

    def _entry(self, agency_id: str, kind: str, own: str) -> Entry | None:
        return self._decoded(f"{agency_id}/{kind}/{own}")

    def _decoded(self, key: str) -> Entry | None:
        found = self._records.get(key)
        if found is None or isinstance(found, Entry):
            return found
        if found.value is None:
            return None
        self._records[key] = entry = entry_of(found)
        return entry


def buyer(account_id: str, agency_id: str, account: Account | None, plan: Plan | None) -> Buyer:
    """An account as gateways know it, and what it is sold."""
    tax_code = plan.tax_code if plan else None
    if account is None:
        return Buyer(account_id, agency_id, tax_code=tax_code)
    return Buyer(
        account_id,
        agency_id,
        account.name,
        account.email,
        account.country,
        account.province,
        account.postal_code,
        account.tax_id,
        tax_code,
    )
