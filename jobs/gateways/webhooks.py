"""Webhooks: what a gateway tells of payment requests becomes facts in the log, each once.

What a request became has the fact id that everybody uses who says the same (`jobs.requests.settling_id`), and a credit
or refund that of its document. So an event that comes twice, or that the asking job or a person has told before,
changes nothing; nor does one that is outdated, for it is held against the request as it stands. What cannot be taken
is written all the same: the meter makes a dead letter of it, with the reason.

Stripe has one endpoint for all agencies, and each may put any metadata on an invoice of its own. So the account that an
event comes from must be the one that the request was asked on. Of any other gateway each agency has an endpoint of its
own, and only requests of that agency and gateway are told of there.

Where a gateway did something before that was not told yet (credits before the payment, the payment before a refund),
that is written first, with the ids that its own webhook will have.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from aiokafka.errors import KafkaError

from catalogue.facts import Fact
from jobs.gateways.base import Gateway, GatewayEvent, Listing, Unavailable, WebhookRefused
from jobs.gateways.choice import gateways
from jobs.gateways.known_requests import KnownRequest, KnownRequests
from jobs.gateways.links import Links
from jobs.gateways.reconcile import document_fact
from jobs.gateways.stripe import StripeGateway
from jobs.gateways.stripe_events import SIGNATURE, parse_event
from jobs.requests import corrected, disputed, document_fact_id, settled, settling_id
from rating.dunning import OPEN
from streams.errors import CallmeterError
from streams.observe import GATEWAY_EVENTS
from streams.process import fail
from streams.producer import FactProducer
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, CATALOGUE, PAYMENT_REQUESTS

NEEDS = (ACCOUNT_EVENTS, CATALOGUE, PAYMENT_REQUESTS)
# Stripe waits for an answer for not much longer.
LONGEST_S = 9.0
LOOK_EVERY_S = 2.0
OWN_FIRST_S = 4.0
SILENCE_S = 15.0

# told: a fact was written. known: nothing new. not_ours: it is about something that was not asked for by us.
# unknown_request: a fact was written, and the meter will not take it.
Outcome = Literal["told", "known", "not_ours", "unknown_request"]
STRIPE = "stripe"
STATUSES: dict[str, Literal["paid", "failed", "canceled"]] = {
    "paid": "paid",
    "failed": "failed",
    "canceled": "canceled",
}
DISPUTES: dict[str, Literal["opened", "won", "lost"]] = {
    "disputed": "opened",
    "dispute_won": "won",
    "dispute_lost": "lost",
}

log = structlog.get_logger("callmeter")


class NoEndpoint(CallmeterError):
    """Nobody takes webhooks in there."""


class Webhooks:
    """Takes in the events of gateways."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected before `open`."""
        self._settings = settings
        self._links = Links(settings)
        self._requests = KnownRequests(settings)
        self._producer: FactProducer | None = None
        self._making = asyncio.Lock()
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> str | None:
        """What is waited for, None if webhooks are taken."""
        if self._looked_at is None:
            return "payment requests to be read"
        silent_s = time.monotonic() - self._looked_at
        return f"Kafka: no answer from the broker for {silent_s:.0f} s" if silent_s > SILENCE_S else None

    async def open(self) -> None:
        """Read what is known.

        Raises:
            BrokerUnreachable, TopicMissing: there is nothing to read from.
        """
        await self._ready_producer()
        await self._refresh()
        self._looking = asyncio.create_task(self._keep_looking(), name="webhooks-looking")

    async def close(self) -> None:
        """Disconnect."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        await self._drop_producer()
        await self._requests.close()
        await self._links.close()

    async def take(self, gateway: str, agency_id: str | None, body: bytes, headers: Mapping[str, str]) -> Outcome:
        """Take in a webhook; when this returns, the broker has acknowledged what came of it.

        Args:
            gateway: whose webhook it is, by the endpoint.
            agency_id: whose gateway it is; None for Stripe, whose events say whose they are.
            body: as it came in.
            headers: of the HTTP request; names in lower case.

        Raises:
            NoEndpoint: there is no such gateway, or the agency is not linked to it.
            WebhookRefused: it is not signed by the gateway, too old, or about another agency's request.
            Unavailable: it cannot be taken now; it has to come again.
        """
        outcome = "unavailable"
        try:
            async with asyncio.timeout(LONGEST_S):
                event = await self._parsed(gateway, agency_id, body, headers)
                told: Outcome = "not_ours" if event is None else await self._take(gateway, agency_id, event)
            outcome = told
            return told
        except NoEndpoint:
            # Of what anybody may ask for there are no counters.
            gateway, outcome = "none", "refused"
            raise
        except WebhookRefused:
            outcome = "refused"
            raise
        except TimeoutError:
            raise Unavailable(f"the broker or the gateway did not answer within {LONGEST_S:g} s") from None
        finally:
            GATEWAY_EVENTS.labels(gateway, outcome).inc()

    async def _parsed(
        self, gateway: str, agency_id: str | None, body: bytes, headers: Mapping[str, str]
    ) -> GatewayEvent | None:
        """What a webhook tells; its gateway has looked at its signature. Everything that is known is up to now then."""
        if gateway == STRIPE and agency_id is None:
            event = parse_event(body, headers.get(SIGNATURE, ""), self._settings.stripe_webhook_secret)
            await self._catch_up()
            return event
        if gateway in gateways():
            await self._catch_up()
        if gateway == STRIPE or agency_id is None or self._links.name_of(agency_id) != gateway:
            raise NoEndpoint(
                "webhooks come to /webhooks/stripe, or to /webhooks/GATEWAY/AGENCY of an agency that is linked to the "
                "gateway"
            )
        try:
            return self._links.gateway_of(agency_id).parse_webhook(body, headers)
        except (WebhookRefused, Unavailable):
            raise
        except CallmeterError as problem:
            raise Unavailable(str(problem)) from None
        except Exception as defect:
            log.error("a gateway has a defect", agency=agency_id, gateway=gateway, exc_info=defect)
            raise Unavailable(f"a defect of the gateway {gateway}: {defect!r}") from None

    async def _take(self, gateway: str, agency_id: str | None, event: GatewayEvent) -> Outcome:
        request = self._requests.find(event, gateway, agency_id)
        if request is None and event.kind not in STATUSES and gateway == STRIPE:
            located = await self._located(event)
            if located is None:
                return "not_ours"
            event = located
            request = self._requests.find(event, gateway, agency_id)
        self._check_account(gateway, agency_id, event, request)
        if request is None:
            return await self._take_unknown(gateway, event)
        if event.correction_id is not None:
            await self._wait_for_own(event, request)
        if self._is_known(event, request):
            return "known"
        await self._write(*await self._before(event, request), self._fact(gateway, event, request_of(request)))
        return "told"

    async def _before(self, event: GatewayEvent, request: KnownRequest) -> list[Fact]:
        """What the gateway did before this, as far as it was not told: facts must come in its order.

        A credit note of an open request takes off something; of a paid one it cannot. And only what was paid goes back.
        """
        credited = event.kind == "paid" and event.credited_micros > 0
        goes_back = event.kind in ("refunded", "dispute_lost") and request.status in OPEN
        gateway = self._gateway_of(event, request) if credited or goes_back else None
        if not isinstance(gateway, Listing):
            return []
        ours, facts = request_of(request), []
        try:
            async for theirs in gateway.requests(request.external_id or event.external_id):
                for document in theirs.documents:
                    fact = document_fact(ours, theirs, document)
                    if document.kind == "credit_note" and not self._requests.has(
                        request.account_id, fact["payment_request_id"]
                    ):
                        facts.append(fact)
                if goes_back and theirs.status == "paid":
                    paid = event._replace(kind="paid", at=theirs.at or event.at, note=None)
                    facts.append(self._fact(request.gateway, paid, ours))
        except Unavailable:
            raise
        except CallmeterError as problem:
            raise Unavailable(str(problem)) from None
        return facts

    def _gateway_of(self, event: GatewayEvent, request: KnownRequest) -> Gateway | None:
        """The gateway that asked for a request, None where its agency is linked otherwise by now."""
        link = self._links.link_of(request.agency_id)
        if link is None or link.gateway != request.gateway:
            return None
        if event.external_account and link.options.get("account") != event.external_account:
            return None
        return self._links.gateway_of(request.agency_id)

    async def _wait_for_own(self, event: GatewayEvent, request: KnownRequest) -> None:
        """Who had the gateway make a document is about to write it down, and knows by whom and why: he goes first."""
        deadline = time.monotonic() + OWN_FIRST_S
        while not self._is_known(event, request) and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            await self._refresh()

    async def _located(self, event: GatewayEvent) -> GatewayEvent | None:
        if not (event.external_id or event.payment_id) or not event.external_account:
            return None
        gateway = StripeGateway("", {"account": event.external_account}, self._settings)
        try:
            return await gateway.locate(event)
        except Unavailable:
            raise
        except CallmeterError as problem:
            raise Unavailable(str(problem)) from None
        finally:
            await gateway.close()

    def _check_account(
        self, gateway: str, agency_id: str | None, event: GatewayEvent, request: KnownRequest | None
    ) -> None:
        """See that the event comes from where the request was asked.

        Raises:
            WebhookRefused: it does not.
        """
        if agency_id is not None:
            right = request is None or (request.agency_id, request.gateway) == (agency_id, gateway)
            right = right and event.agency_id in (None, agency_id)
        elif request is not None and request.external_id is not None:
            right = request.external_id == event.external_id
        elif event.identity is None:
            return
        else:
            agency_id = request.agency_id if request is not None else event.agency_id or ""
            link = self._links.link_of(agency_id)
            right = link is not None and link.options.get("account") == event.external_account
        if not right:
            log.error(
                "a webhook is refused: it is about another account's request",
                gateway=gateway,
                agency=agency_id,
                external_account=event.external_account,
                external_id=event.external_id,
                identity=event.identity,
                event_id=event.event_id,
            )
            raise WebhookRefused(
                f"{event.external_id} of {event.external_account or agency_id} is not what {event.identity} was asked "
                "with"
            )

    async def _take_unknown(self, gateway: str, event: GatewayEvent) -> Outcome:
        """What carries our metadata becomes a dead letter; anything else is the agency's own business."""
        account_id, agency_id = event.account_id, event.agency_id
        if event.identity is None or not account_id or not agency_id:
            return "not_ours"
        log.warning(
            "a webhook is about a request that is not known",
            agency=agency_id,
            identity=event.identity,
            external_id=event.external_id,
            event_id=event.event_id,
        )
        request = {
            "account_id": account_id,
            "agency_id": agency_id,
            "payment_request_id": event.identity.removeprefix(f"{account_id}/"),
            "currency": event.currency,
        }
        await self._write(self._fact(gateway, event, request))
        return "unknown_request"

    def _is_known(self, event: GatewayEvent, request: KnownRequest) -> bool:
        """Whether there is nothing new in an event."""
        if event.kind in DISPUTES:
            known = self._requests.status_of(request.account_id, f"dispute:{event.document_id or event.event_id}")
            return known is not None and (known != "opened" or event.kind == "disputed")
        if event.kind not in STATUSES:
            fact = self._fact(request.gateway, event, request_of(request))
            return self._requests.has(request.account_id, fact["payment_request_id"])
        # Who pays late pays all the same, and what was canceled and is paid has to be looked at.
        return request.status == event.kind or (event.kind != "paid" and request.status not in OPEN)

    def _fact(self, gateway: str, event: GatewayEvent, request: dict[str, Any]) -> Fact:
        """What an event tells of a request, as a fact. The log takes no time that is still to come."""
        at = min(event.at, datetime.now(UTC))
        own = event.document_id or event.event_id
        said: dict[str, Any] = {"actor": gateway, "reference": event.external_id, "note": event.note}
        if event.kind in STATUSES:
            status = STATUSES[event.kind]
            return settled(request, status, at, settling_id(request["payment_request_id"], status), **said)
        if event.kind in DISPUTES:
            return disputed(request, own, DISPUTES[event.kind], event.amount_micros, at, **said)
        kind: Literal["credit_note", "refund"] = "credit_note" if event.kind == "credited" else "refund"
        fact_id = document_fact_id(kind, own, event.correction_id)
        fact = corrected(request, kind, event.amount_micros, at, fact_id, **said)
        return {**fact, "tax_micros": event.tax_micros, "external_id": event.document_id}

    async def _write(self, *facts: Fact) -> None:
        try:
            producer = await self._ready_producer()
            await producer.publish(*facts)
        except CallmeterError as problem:
            # A producer that failed once fails for ever.
            await self._drop_producer()
            raise Unavailable(str(problem)) from None

    async def _ready_producer(self) -> FactProducer:
        async with self._making:
            if self._producer is None:
                self._producer = await FactProducer(self._settings).__aenter__()
            return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            error = CallmeterError("dropped")
            await producer.__aexit__(CallmeterError, error, None)

    async def _catch_up(self) -> None:
        try:
            await self._refresh()
        except (CallmeterError, KafkaError) as problem:
            raise Unavailable(str(problem)) from None

    async def _refresh(self) -> None:
        await self._links.refresh()
        await self._requests.refresh()
        self._looked_at = time.monotonic()

    async def _keep_looking(self) -> None:
        """Keep up with the topics, so that a webhook has little to read, and know whether the broker answers."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._refresh()
            except (CallmeterError, KafkaError, TimeoutError, OSError) as problem:
                log.warning("the broker does not answer", reason=str(problem) or "it is silent")
            except Exception as error:
                fail(error)


def request_of(known: KnownRequest) -> dict[str, Any]:
    """A payment request as facts about it are made from."""
    return {name: getattr(known, name) for name in known.__struct_fields__}
