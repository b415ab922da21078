"""The billing job: what the meter says happened becomes payment requests, each raised once.

Reads billing events and writes a ``payment_request.created`` fact to the log, with the name of the agency's gateway.
The meter folds that fact and gives out the accepted request, pending; only then is a gateway asked (`jobs.asking`), so
that nobody's bill waits for somebody's gateway.

What agencies are asked by the platform goes the same way, as ``agency.payment_request_created``, to where agencies are
added up; the platform collects it by itself (gateway ``manual``).

Facts and the job's own position are one fenced transaction, so a fact is written once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import msgspec
from aiokafka.structs import ConsumerRecord
from faust.types import TP

from jobs.gateways.links import Links
from rating.outputs import BILLING_EVENTS, encode
from rating.request import request_for
from streams.fenced import FencedPartition
from streams.observe import PAYMENT_REQUESTS_RAISED
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, AGENCY_EVENTS, BILLING_LEDGER, CATALOGUE
from streams.transport import RoleApp, Run, Workers, make_app, runs
from streams.units import minor_digits

BATCH_EVENTS = 2_000
LONGEST_TRANSACTION_S = 1.0
OF_PLATFORM = "manual"

_decode = msgspec.json.Decoder().decode


def make_billing(settings: Settings, links: Links) -> RoleApp:
    """The billing job's app.

    Args:
        settings: checked settings.
        links: says which gateway is whose.
    """
    workers = Workers(lambda tp: BillingPartition(tp, settings, links), settings.flight_records, BATCH_EVENTS)
    needs = [BILLING_EVENTS, ACCOUNT_EVENTS, AGENCY_EVENTS, BILLING_LEDGER, CATALOGUE]
    app = make_app("billing", settings, workers, needs)

    @app.agent(runs(app, BILLING_EVENTS))
    async def raise_requests(stream: AsyncIterator[Run]) -> None:
        async for run in stream:
            await workers.put(run)

    return app


class BillingPartition(FencedPartition):
    """The billing events of one partition. Its facts go to the same partition of the log: there the accounts live."""

    def __init__(self, tp: TP, settings: Settings, links: Links) -> None:
        """Make a worker that does nothing until it is opened."""
        super().__init__(tp, settings, BILLING_LEDGER)
        self._links = links
        self._digits = partial(minor_digits, units=settings.units)
        self._raised: Counter[str] = Counter()

    async def handle(self, records: list[ConsumerRecord]) -> None:
        """Raise what the events call for, and write facts and position down at least every second."""
        began = time.monotonic()
        await self._links.refresh()
        for record in records:
            self._raise_request(record.value)
            if self.stopping or time.monotonic() - began > LONGEST_TRANSACTION_S:
                await self.commit(record)
                if self.stopping:
                    return
                began = time.monotonic()
        await self.commit(records[-1])

    def _raise_request(self, event: bytes) -> None:
        request = request_for(_decode(event), self._digits)
        if request is None:
            return
        if request["account_id"]:
            gateway = self._links.name_of(request["agency_id"])
            topic, key, kind = ACCOUNT_EVENTS, request["account_id"], "payment_request.created"
        else:
            gateway = OF_PLATFORM
            topic, key, kind = AGENCY_EVENTS, request["agency_id"], "agency.payment_request_created"
        fact = {"type": kind, **request, "gateway": gateway, "external_id": None}
        self.producer.add(topic, key.encode(), encode(fact))
        self._raised[request["kind"]] += 1

    async def commit(self, last: ConsumerRecord) -> None:
        """Write the facts and the position as one transaction, then count them."""
        await super().commit(last)
        for kind, count in self._raised.items():
            PAYMENT_REQUESTS_RAISED.labels(kind).inc(count)
        self._raised.clear()
