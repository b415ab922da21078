"""What running jobs know of agencies' gateways and of the accounts that are asked: the catalogue, as it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aiokafka.structs import ConsumerRecord

from catalogue.collection import Entry
from catalogue.model import Account, Assignment, GatewayLink, Plan
from catalogue.store import entry_of
from jobs.gateways.base import Buyer, Gateway
from jobs.gateways.choice import make_gateway
from jobs.reading import Follower
from streams.settings import Settings
from streams.topics import CATALOGUE


class Links:
    """The catalogue of a running job. Entries are decoded when they are asked for: there may be very many."""

    def __init__(self, settings: Settings) -> None:
        """Know nothing; nothing is read before `refresh`."""
        self._settings = settings
        self._records: dict[str, Any] = {}
        self._catalogue = Follower(settings, CATALOGUE, self._take)
        self._gateways: dict[str, tuple[GatewayLink | None, Gateway]] = {}

    async def refresh(self) -> None:
        """Take in what was changed since the last time.

        Raises:
            BrokerUnreachable, TopicMissing: there is nothing to read from.
        """
        await self._catalogue.refresh()

    async def close(self) -> None:
        """Let go of the broker and of the gateways' connections; what is asked for after that connects again."""
        gateways, self._gateways = self._gateways, {}
        for _, gateway in gateways.values():
            await gateway.close()
        await self._catalogue.close()

    def _take(self, record: ConsumerRecord) -> None:
        self._records[record.key.decode(errors="replace")] = record

    def name_of(self, agency_id: str) -> str:
        """The name of the gateway that an agency is linked to."""
        link = self.link_of(agency_id)
        return "manual" if link is None else link.gateway

    def gateway_of(self, agency_id: str) -> Gateway:
        """The gateway of an agency, the same object as long as its link stays as it is.

        Raises:
            CallmeterError: this process does not have it, or its options are wrong.
        """
        link = self.link_of(agency_id)
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

    def link_of(self, agency_id: str) -> GatewayLink | None:
        """How an agency is linked; None where it collects its money by itself."""
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
